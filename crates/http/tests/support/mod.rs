//! A broker with the API on a real socket, and requests byte by byte.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cork_broker::{
    Broker, Config, Reload,
    config::{LogLevel, MANAGED_FILE, Subsystem},
    managed::{self, Edit, EditError},
};
use cork_http::{Host, LettersPage, Server, Surroundings};
use serde_json::Value;

/// How long an answer may take; far longer than it ever should.
const PATIENCE: Duration = Duration::from_secs(30);
/// The administrator and the viewer of every broker with users.
pub(crate) const ADMIN: &str = "ann";
pub(crate) const VIEWER: &str = "bob";
pub(crate) const PASSWORD: &str = "pw";

const RIGHTS: &str = "default = 'allow'\n[groups]\nadmin = ['ann']\nviewer = ['bob', 'carl']\n";

/// A running broker, and its API.
pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) broker: Arc<Mutex<Broker>>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: PathBuf,
    pub(crate) base: Config,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }
}

/// What `cork serve` does, as far as these tests need it.
struct Office {
    broker: Arc<Mutex<Broker>>,
    base: Config,
}

impl Host for Office {
    fn reload(&self) -> Result<Reload, String> {
        self.broker
            .lock()
            .expect("no test has panicked")
            .reload(&self.base)
            .map_err(|errors| errors.to_string())
    }

    fn manage(&self, edit: Edit) -> Result<Reload, EditError> {
        let mut broker = self.broker.lock().expect("no test has panicked");
        let before = broker.operator().config();
        managed::change(
            &self.base.data_dir,
            |table| edit.apply(table, &before),
            |text| {
                let mut whole = self.base.clone();
                let wrong = |errors: cork_broker::config::ConfigErrors| EditError::Wrong(errors.to_string());
                whole.take_managed(text, &self.base.data_dir.join(MANAGED_FILE)).map_err(wrong)?;
                broker.reload(&whole).map_err(wrong)
            },
        )
    }

    fn set_log_level(&self, _: Option<Subsystem>, _: LogLevel) -> Result<(), String> {
        Ok(())
    }

    fn letters(&self, _: &str, _: Option<&str>, _: usize) -> Result<LettersPage, String> {
        Err("there are no sinks".to_owned())
    }

    fn replay(&self, _: &str, _: Option<&[String]>) -> Result<u64, String> {
        Err("there are no sinks".to_owned())
    }

    fn discard(&self, _: &str) -> Result<u64, String> {
        Err("there are no sinks".to_owned())
    }
}

impl Served {
    /// With an administrator and a viewer.
    pub(crate) fn closed() -> Self {
        Self::start("[auth]\npassword_file = 'passwords'\nacl_file = 'acl.toml'\n")
    }

    /// Without users.
    pub(crate) fn open() -> Self {
        Self::start("")
    }

    /// With these sections in its configuration.
    pub(crate) fn start(sections: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cork-http-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for user in [ADMIN, VIEWER] {
            let file = folder.join("passwords");
            cork_access::passwd::set_password(&file, user, PASSWORD.as_bytes(), false).expect("a password");
        }
        fs::write(folder.join("acl.toml"), RIGHTS).expect("a file");
        let data = folder.join("data");
        let text = format!(
            "data_dir = '{}'\nshards = 1\ndurability = 'none'\n{sections}[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n[[listener]]\nurl = 'http://127.0.0.1:0'\n",
            data.display()
        );
        let config = Config::from_toml(&text, &folder.join("cork.toml").display().to_string())
            .unwrap_or_else(|error| panic!("{error}"));
        let broker = Broker::start(&config).unwrap_or_else(|error| panic!("{error}"));
        let operator = broker.operator();
        let broker = Arc::new(Mutex::new(broker));
        let office = Office { broker: Arc::clone(&broker), base: config.clone() };
        let around = Surroundings { host: Some(Arc::new(office)), ..Surroundings::default() };
        let server = Server::start(operator, around).expect("a server");
        server.listen(&config).expect("a listener");
        let address = server.addresses()[0].1;
        Self { server, broker, address, folder, base: config }
    }

    /// Reads the configuration and its files again.
    pub(crate) fn reload(&self) {
        self.broker.lock().expect("no test has panicked").reload(&self.base).expect("it is accepted");
    }

    /// A connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        socket
    }

    /// The bytes of a request.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        )
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut socket = self.connect();
        socket.write_all(self.request(method, path, headers, body).as_bytes()).expect("it is sent");
        answer(&mut socket)
    }

    /// Sends a request and is gone.
    pub(crate) fn ask_and_go(&self, method: &str, path: &str, headers: &str, body: &str) {
        let mut socket = self.connect();
        socket.write_all(self.request(method, path, headers, body).as_bytes()).expect("it is sent");
    }

    /// The answer to a login.
    pub(crate) fn try_login(&self, user: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "user": user, "password": password }).to_string();
        self.ask("POST", "/api/v1/session", "", &body)
    }

    /// The headers of a login.
    pub(crate) fn log_in(&self, user: &str, password: &str) -> String {
        let answer = self.try_login(user, password);
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie =
            answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        let csrf = answer.json()["csrf"].as_str().expect("a token").to_owned();
        let cookie = cookie.split(';').next().unwrap_or_default();
        format!("Cookie: {cookie}\r\nX-Csrf-Token: {csrf}\r\n")
    }

    /// The headers of a new token of whoever these headers are of.
    pub(crate) fn token(&self, headers: &str, rest: &str) -> (String, String) {
        let made = self.ask("POST", "/api/v1/tokens", headers, &format!("{{\"name\":\"t\",{rest}}}"));
        assert_eq!(made.status, 201, "{made:?}");
        let text = |key: &str| made.json()[key].as_str().expect("a text").to_owned();
        (format!("Authorization: Bearer {}\r\n", text("token")), text("id"))
    }

    /// Begins a stream of events; its first bytes have come.
    pub(crate) fn stream(&self, path: &str, headers: &str) -> TcpStream {
        let mut socket = self.connect();
        socket.write_all(self.request("GET", path, headers, "").as_bytes()).expect("it is sent");
        let mut first = [0; 2048];
        let length = socket.read(&mut first).expect("it begins");
        assert!(
            first[..length].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&first[..length])
        );
        socket
    }
}

/// Reads to the end.
pub(crate) fn answer(socket: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let end = socket.read_to_end(&mut bytes);
    assert!(end.is_ok() || !bytes.is_empty(), "{end:?}");
    Answer::of(&String::from_utf8_lossy(&bytes))
}

/// Looks again and again until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not within ten seconds: {what}");
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
