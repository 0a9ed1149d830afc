//! Thousands of random configurations, good and bad ones, are given to a running broker while clients are connected.
//!
//! `CORK_RELOADS=100000 CORK_SEED=7 cargo test -p cork-broker --test reload_random` for more, or the same again.
#![forbid(unsafe_code)]

mod support;

use std::{
    env,
    fmt::Write as _,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use cork_broker::{Address, Broker};
use cork_conform::wire::{self, V5, V311};
use support::{Authority, Client, Folder, Pair};

/// What a run takes if nothing else is said.
const RELOADS: u64 = 10_000;
/// A slow machine tries fewer.
const PATIENCE: Duration = Duration::from_secs(45);

/// Random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        let at = usize::try_from(self.below(from.len() as u64)).expect("a short list");
        from[at]
    }
}

/// What goes wrong, whatever else is said. Each alone must make the broker refuse everything.
const FAULTS: [&str; 25] = [
    "shards = 0",
    "memory = '9MB'",
    "durability = 'sometimes'",
    "data_dir = 'cork.toml'",
    "unknown = 1",
    "[limits]\nmax_packet_size = 1",
    "[limits]\nmax_packet_siz = '1MiB'",
    "[limits]\nreceive_maximum = 0",
    "[limits]\nqueue_qos0 = 'yes'",
    "[limits]\nsys_interval = '1ms'",
    "[limits]\nconnect_timeout = '2h'",
    "[auth]\npassword_file = 'missing'",
    "[auth]\npassword_file = 'damaged'",
    "[auth]\npassword_file = 'folder'",
    "[auth]\nacl_file = 'missing.toml'",
    "[auth]\nacl_file = 'damaged.toml'",
    "[auth]\nallow_anonymous = false",
    "[auth]\n# what was here is lost",
    "[log]\nlevel = 'loud'",
    "[log]\nlevels = { nobody = 'info' }",
    "[drain]\ntimeout = 5",
    "[[listener]]\nurl = 'mqtt://127.0.0.1:TAKEN'",
    "[[listener]]\nurl = 'mqtts://127.0.0.1:0'\ntls = { cert = 'damaged', key = 'key.pem' }",
    "[[listener]]\nurl = 'unix:///nowhere/at/all/s'",
    "[[listener]\nurl = 'mqtt://127.0.0.1:0'",
];

/// The world in which configurations are made.
struct World {
    folder: Folder,
    dice: Dice,
    /// Ports that can be listened on, and one that cannot.
    ports: Vec<u16>,
    taken: TcpListener,
    /// The broker that runs has some.
    has_users: bool,
    has_rights: bool,
}

impl World {
    /// A configuration, and whether a broker must refuse it.
    fn configuration(&mut self) -> (String, bool) {
        let fault = self.dice.chance(40).then(|| self.dice.pick(&FAULTS));
        let section_of_fault = fault.and_then(|fault| fault.split('\n').next()).unwrap_or_default();
        let mut text = String::new();
        let mut add = |section: &str, lines: &str| {
            // A table must not stand there twice: what the fault says, counts.
            if section != section_of_fault && !lines.is_empty() {
                let _ = writeln!(text, "{section}\n{lines}");
            }
        };
        add("", &self.top());
        add("[auth]", &self.auth());
        add("[limits]", &self.limits());
        add("[log]", self.dice.pick(&["", "level = 'debug'", "format = 'json'", "levels = { net = 'off' }"]));
        add("[drain]", self.dice.pick(&["", "timeout = '1s'", "server_reference = 'other'"]));
        let listeners = self.listeners();
        let Some(fault) = fault else { return (text + &listeners, false) };
        let taken = self.taken.local_addr().expect("it listens").port().to_string();
        let fault = fault.replace("TAKEN", &taken);
        if fault.contains("is lost") {
            // Only a broker that has users refuses to forget them.
            let users = "[auth]\npassword_file = 'passwords'\nacl_file = 'open.toml'\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n";
            let text = if self.has_users { text + &fault } else { users.to_owned() };
            return (text, self.has_users);
        }
        // Nobody could log in, but only without passwords and certificates.
        if fault.contains("allow_anonymous = false") {
            return (format!("{text}{fault}\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n"), true);
        }
        if fault.starts_with('[') {
            (format!("{text}{listeners}{fault}\n"), true)
        } else {
            (format!("{fault}\n{}{listeners}", text.trim_start_matches(|c| c != '[')), true)
        }
    }

    fn top(&mut self) -> String {
        self.dice
            .pick(&["", "shards = 1", "shards = 2", "durability = 'none'", "data_dir = 'other'"])
            .to_owned()
    }

    fn auth(&mut self) -> String {
        let who = self.dice.pick(&[
            "allow_anonymous = true",
            "password_file = 'passwords'",
            "password_file = 'more'",
            "password_file = 'passwords'\nallow_anonymous = true",
        ]);
        let what = self.dice.pick(&[
            // Once there are rights, they are not forgotten.
            if self.has_rights { "acl_file = 'open.toml'" } else { "" },
            "acl_file = 'acl.toml'",
            "acl_file = 'acl.conf'",
            "acl_file = 'empty.toml'",
        ]);
        format!("{who}\n{what}")
    }

    fn limits(&mut self) -> String {
        let mut lines = String::new();
        let mut maybe = |key: &str, value: String| {
            if self.dice.chance(30) {
                let _ = writeln!(lines, "{key} = {value}");
            }
        };
        // Never so low that the clients that watch would not come in again.
        maybe("max_connections", "100".to_owned());
        maybe("max_packet_size", "5000".to_owned());
        maybe("max_session_expiry", "'1h'".to_owned());
        maybe("queue_max_bytes", "'1MiB'".to_owned());
        maybe("queue_max_bytes_per_user", "'2MiB'".to_owned());
        maybe("queue_qos0", "true".to_owned());
        maybe("max_keep_alive", "60".to_owned());
        maybe("receive_maximum", "5".to_owned());
        maybe("topic_alias_maximum", "0".to_owned());
        maybe("topic_levels_max", "4".to_owned());
        maybe("output_buffer_max", "'64KiB'".to_owned());
        maybe("connect_timeout", "'5s'".to_owned());
        maybe("payload_format_check", "true".to_owned());
        maybe("sys_interval", "'1s'".to_owned());
        lines
    }

    /// One to four, on different places.
    fn listeners(&mut self) -> String {
        let mut text = String::new();
        let mut ports = self.ports.clone();
        for number in 0..=self.dice.below(4) {
            let scheme = self.dice.pick(&["mqtt", "ws", "mqtts", "wss", "unix"]);
            let port = match self.dice.below(2) {
                0 => 0,
                _ => ports.pop().unwrap_or(0),
            };
            let place = match scheme {
                "unix" => format!("unix://{}", self.folder.path(&format!("s{number}")).display()),
                _ => format!("{scheme}://127.0.0.1:{port}"),
            };
            let _ = writeln!(text, "[[listener]]\nurl = '{place}'");
            if matches!(scheme, "mqtts" | "wss") {
                let files = self
                    .dice
                    .pick(&["cert = 'cert.pem', key = 'key.pem'", "cert = 'cert2.pem', key = 'key2.pem'"]);
                let clients = self.dice.pick(&[
                    "",
                    ", client_ca = 'ca.pem'",
                    ", client_ca = 'ca.pem', client_cert = 'optional'",
                    ", client_ca = 'ca.pem', crl = 'crl.pem'",
                ]);
                let _ = writeln!(text, "tls = {{ {files}{clients} }}");
            }
            if scheme == "unix" {
                let _ = writeln!(text, "mode = '{}'", self.dice.pick(&["0600", "0660"]));
            } else if self.dice.chance(20) {
                text += "proxy = true\n";
            }
        }
        text
    }
}

fn with_password(mut client: Client, client_id: &str) -> Client {
    let user = Some("ann".to_owned());
    let connect = wire::Connect { user, password: Some(b"pw".to_vec()), ..wire::Connect::new(V5, client_id) };
    assert_eq!(client.connect(&connect), Some(0));
    client
}

/// Ports outside of the range from which the system chooses.
fn ports(dice: &mut Dice) -> Vec<u16> {
    let mut found = Vec::new();
    while found.len() < 4 {
        let port = u16::try_from(20_000 + dice.below(10_000)).expect("a small number");
        if !found.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            found.push(port);
        }
    }
    found
}

fn world(seed: u64) -> (World, Authority, Pair) {
    let folder = Folder::new("random");
    folder.password("ann", "pw");
    std::fs::copy(folder.path("passwords"), folder.path("more")).expect("a copy");
    cork_broker::passwd::set_password(&folder.path("more"), "bob", b"pw", false).expect("a password");
    let authority = Authority::new("home");
    for (cert, key) in [("cert.pem", "key.pem"), ("cert2.pem", "key2.pem")] {
        let pair = authority.sign("broker", 1);
        folder.write(cert, pair.cert);
        folder.write(key, pair.key);
    }
    let lamp = authority.sign("lamp", 8);
    folder.write("ca.pem", &authority.pem);
    folder.write("crl.pem", authority.revoke(&[7]));
    folder.write("acl.toml", "[[rule]]\nuser = 'ann'\nallow = ['read']\ntopic = '#'\n");
    folder.write("acl.conf", "user ann\ntopic readwrite a/#\n");
    folder.write("empty.toml", "");
    folder.write("open.toml", "default = 'allow'\n");
    folder.write("damaged", "\u{0}nothing of the kind");
    folder.write("damaged.toml", "[[rule]\n");
    folder.write("cork.toml", "");
    std::fs::create_dir(folder.path("folder")).expect("a folder");
    let mut dice = Dice(seed.max(1));
    let ports = ports(&mut dice);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    (World { folder, dice, ports, taken, has_users: true, has_rights: false }, authority, lamp)
}

/// Whether somebody accepts everywhere the broker says it listens.
fn all_accept(broker: &Broker) -> bool {
    broker.addresses().iter().all(|(_, address)| match address {
        Address::Net(address) => std::net::TcpStream::connect(address).is_ok(),
        Address::Unix { path, .. } => std::os::unix::net::UnixStream::connect(path).is_ok(),
    })
}

#[test]
fn random_configurations_drop_nobody_and_bad_ones_change_nothing() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CORK_SEED").unwrap_or(42);
    let asked = number("CORK_RELOADS");
    let (mut world, authority, lamp) = world(seed);
    let first = "[auth]\npassword_file = 'passwords'\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n\
                 [[listener]]\nurl = 'ws://127.0.0.1:0'\n\
                 [[listener]]\nurl = 'mqtts://127.0.0.1:0'\ntls = { cert = 'cert.pem', key = 'key.pem', client_ca = 'ca.pem' }\n";
    let mut broker = world.folder.start(first);
    let at = |n| support::address(&broker, n);
    let addresses: [SocketAddr; 3] = [at(0), at(1), at(2)];
    let mut clients = [
        with_password(Client::tcp(addresses[0], V5), "tcp"),
        with_password(Client::tcp(addresses[1], V5).upgrade(), "web"),
        Client::tls(addresses[2], V311, &authority, Some(&lamp)).named("tls"),
    ];
    let (mut good, mut bad) = (0_u64, 0_u64);
    let begin = Instant::now();
    while good + bad < asked.unwrap_or(RELOADS) {
        if asked.is_none() && begin.elapsed() > PATIENCE {
            break;
        }
        let (text, faulty) = world.configuration();
        let before = (broker.config().clone(), broker.addresses().to_vec());
        let result = world.folder.config(&text).and_then(|config| broker.reload(&config));
        let number = good + bad;
        let story = || format!("seed {seed}, number {number}: {result:?}\n{text}");
        assert_eq!(result.is_err(), faulty, "{}", story());
        if faulty {
            assert!((broker.config().clone(), broker.addresses().to_vec()) == before, "{}", story());
            bad += 1;
        } else {
            world.has_users = broker.config().auth.password_file.is_some();
            world.has_rights = broker.config().auth.acl_file.is_some();
            good += 1;
        }
        for client in &mut clients {
            assert!(client.is_alive(), "{}", story());
        }
        if number % 50 == 0 {
            assert!(all_accept(&broker), "{}", story());
        }
    }
    // Sockets of listeners that went are closed: a few listeners, clients and threads are all there is.
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    assert!(descriptors < 100, "{descriptors} descriptors are open");
    println!("{good} good and {bad} bad configurations in {:?}", begin.elapsed());
    assert!(good > 100 && bad > 100, "too few: {good} good, {bad} bad");
}
