//! What the program prints: to somebody who does not read it, and to a newcomer.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const CORK: &str = env!("CARGO_BIN_EXE_cork");

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cork-outputs-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// A process that goes with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// One end of a pipe whose other end is closed.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

fn connect(port: u16) -> TcpStream {
    let begin = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(20), "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What the broker answers to these bytes: one packet.
fn ask(port: u16, packet: &[u8]) -> Vec<u8> {
    let mut stream = connect(port);
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(packet).expect("the broker listens");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("an answer");
    assert!(head[1] < 0x80, "longer than this test reads");
    let mut rest = vec![0; head[1].into()];
    stream.read_exact(&mut rest).expect("all of it");
    [&head[..], &rest].concat()
}

#[test]
fn nobody_reads_the_output_and_nothing_panics() {
    let folder = Folder::new("closed");
    let good = folder.file("good.toml", "durability = \"always\"\n");
    let bad = folder.file("bad.toml", "durability = \"sometimes\"\n");
    let good = good.to_str().expect("a name");
    let lines: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["check", good],
        &["check", bad.to_str().expect("a name")],
        &["completions", "bash"],
        &["match", "a/+", "a/b"],
        &["match", "a/+", "b"],
        &["match", "a/#/b", "b"],
        &["sim", "--print", "--messages", "2000", "--speed", "max"],
        &["pub", "-t", "a"],
        &["sub", "-p", "1", "-t", "a"],
        &["store", "stats", "/nowhere"],
        &["acl", "explain", "--config", good, "--client", "c", "--topic", "t", "--action", "read"],
        &["bench", "pairs", "--port", "1"],
        &["ctl", "clients", "--url", "http://127.0.0.1:1"],
        &["serve", "--listen", "gopher://nowhere"],
        &["unheard-of"],
    ];
    for line in lines {
        let status =
            Command::new(CORK).args(*line).stdout(closed()).stderr(closed()).status().expect("it runs");
        // 101: a panic. SIGPIPE would be the system's own way, and is no panic either.
        assert!(
            status.code() != Some(101) && status.signal().is_none_or(|signal| signal == 13),
            "{line:?}: {status}"
        );
    }
}

#[test]
fn a_broker_serves_on_although_nobody_reads_what_it_says() {
    let (folder, port) = (Folder::new("serve"), free_port());
    let listen = format!("mqtt://127.0.0.1:{port}");
    let data = folder.0.join("data");
    let broker = Command::new(CORK)
        .args(["serve", "--listen", &listen, "--data-dir"])
        .arg(&data)
        .stdout(closed())
        .stderr(closed())
        .spawn();
    let mut broker = Running(broker.expect("it runs"));
    for _ in 0..20 {
        // Each of these is worth a line of the log.
        assert_eq!(ask(port, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"), [0x20, 2, 0, 0]);
    }
    assert!(broker.0.try_wait().expect("its state").is_none(), "it ended");
}

/// Starts a broker and reads what it says until it is ready.
fn welcome(folder: &Path, config: &Path) -> (Running, String) {
    let broker = Command::new(CORK)
        .args(["serve", "--config"])
        .arg(config)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("log")).expect("a file"))
        .spawn();
    let mut broker = Running(broker.expect("it runs"));
    let mut text = String::new();
    for line in BufReader::new(broker.0.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        text += &format!("{line}\n");
        if line.starts_with("Stop with") {
            break;
        }
    }
    (broker, text)
}

#[test]
fn the_welcome_says_where_it_listens_and_what_will_work() {
    let (folder, port) = (Folder::new("welcome"), free_port());
    let listener = format!("[[listener]]\nurl = \"mqtt://127.0.0.1:{port}\"\n");
    folder.file("rights.toml", "default = \"deny\"\n");
    add_user(&folder.0, "ann", &[]);
    for (name, auth, says, not) in [
        ("open", "", "everybody who can connect may publish and subscribe", "USER"),
        ("users", "[auth]\npassword_file = \"passwords\"\n", "-u USER -P PASSWORD", "everybody"),
        (
            "rights",
            "[auth]\nallow_anonymous = true\nacl_file = \"rights.toml\"\n",
            "the rights file decides",
            "Try it",
        ),
    ] {
        let config = folder.file("cork.toml", &format!("data_dir = \"{name}\"\n{auth}{listener}"));
        let (_broker, text) = welcome(&folder.0, &config);
        assert!(text.contains(&format!("mqtt://127.0.0.1:{port}")) && text.contains(name), "{text}");
        assert!(text.contains(says) && !text.contains(not), "{text}");
        assert!(text.contains("on the disk before they are acknowledged"), "{text}");
    }
}

fn add_user(folder: &Path, user: &str, options: &[&str]) {
    let mut passwd = Command::new(CORK)
        .args(["passwd", "passwords", user])
        .args(options)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .expect("it runs");
    passwd.stdin.take().expect("a pipe").write_all(b"secret\n").expect("it reads");
    assert!(passwd.wait().expect("its end").success());
}

/// The salt and iterations that SCRAM-SHA-256 tells somebody who says he is `user`.
fn challenge(port: u16, user: &str) -> String {
    let property =
        |id: u8, text: &str| [&[id, 0, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let properties =
        [property(0x15, "SCRAM-SHA-256"), property(0x16, &format!("n,,n={user},r=fyko"))].concat();
    let sizes = |bytes: &[u8]| u8::try_from(bytes.len()).expect("short");
    let body =
        [b"\x00\x04MQTT\x05\x02\x00\x00", &[sizes(&properties)][..], &properties, b"\x00\x01a"].concat();
    let answer = ask(port, &[&[0x10, sizes(&body)], &body[..]].concat());
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (_, challenge) = text.split_once(",s=").unwrap_or_else(|| panic!("no challenge: {text:?}"));
    challenge.to_owned()
}

#[test]
fn an_unknown_user_meets_the_same_salt_after_a_restart_with_another_password_file() {
    let (folder, port) = (Folder::new("salts"), free_port());
    let config = folder.file(
        "cork.toml",
        &format!("data_dir = \"data\"\n[auth]\npassword_file = \"passwords\"\n[[listener]]\nurl = \"mqtt://127.0.0.1:{port}\"\n"),
    );
    let meet = || {
        let _broker = welcome(&folder.0, &config);
        ["ann", "ghost", "spectre"].map(|user| challenge(port, user))
    };
    add_user(&folder.0, "ann", &["--scram"]);
    let before = meet();
    assert!(before[0] != before[1] && before[1] != before[2], "{before:?}");
    // The first user goes, another one comes: nothing of the old file but ann is left.
    fs::rename(folder.0.join("passwords"), folder.0.join("old")).expect("a new name");
    add_user(&folder.0, "zoe", &["--scram"]);
    let ann = fs::read_to_string(folder.0.join("old")).expect("text");
    let zoe = fs::read_to_string(folder.0.join("passwords")).expect("text");
    fs::write(folder.0.join("passwords"), zoe + &ann).expect("both");
    assert_eq!(meet(), before);
}
