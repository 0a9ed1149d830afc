//! Every file a configuration names, empty, damaged, unreadable, missing or something else than a file: at the start
//! and at a reload. Class "configuration that opens" of `docs/trust.md`: nothing of this ever lets anybody in.
#![forbid(unsafe_code)]

mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use cork_broker::{Broker, Config, config::ConfigErrors};
use cork_conform::wire::{self, V5};
use support::{Authority, Client, Folder};

const FILES: [&str; 7] = ["cork.toml", "passwords", "acl.toml", "cert.pem", "key.pem", "ca.pem", "crl.pem"];

const CONFIG: &str = "\
[auth]
password_file = 'passwords'
acl_file = 'acl.toml'

[[listener]]
url = 'mqtt://127.0.0.1:0'

[[listener]]
url = 'mqtts://127.0.0.1:0'
tls = { cert = 'cert.pem', key = 'key.pem', client_ca = 'ca.pem', crl = 'crl.pem' }
";

const RIGHTS: &str = "[[rule]]\nuser = 'ann'\nallow = ['read', 'write']\ntopic = 'home/#'\n";
/// Of a length that cuts a keyword in half.
const MOSQUITTO: &str = "user ann\ntopic readwrite home/#\nuser bob\ntopic a/b\n";

/// What can have become of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Missing,
    Empty,
    Blank,
    OnlyComments,
    Binary,
    Zeros,
    CutInALine,
    Directory,
    /// A link that leads nowhere but to itself, which even root cannot read.
    Unreadable,
    Pipe,
    OtherFile,
}

const DAMAGES: [Damage; 11] = [
    Damage::Missing,
    Damage::Empty,
    Damage::Blank,
    Damage::OnlyComments,
    Damage::Binary,
    Damage::Zeros,
    Damage::CutInALine,
    Damage::Directory,
    Damage::Unreadable,
    Damage::Pipe,
    Damage::OtherFile,
];

impl Damage {
    fn inflict(self, path: &Path) {
        let good = fs::read(path).expect("it was good");
        fs::remove_file(path).expect("it goes");
        match self {
            Self::Missing => {}
            Self::Empty => fs::write(path, "").expect("written"),
            Self::Blank => fs::write(path, "\n  \n\n").expect("written"),
            Self::OnlyComments => fs::write(path, "# nothing\n# here\n").expect("written"),
            Self::Binary => fs::write(path, (0..=255).collect::<Vec<u8>>()).expect("written"),
            Self::Zeros => fs::write(path, vec![0; good.len()]).expect("written"),
            Self::CutInALine => fs::write(path, &good[..good.len() * 2 / 3]).expect("written"),
            Self::Directory => fs::create_dir(path).expect("made"),
            Self::Unreadable => symlink(path, path).expect("made"),
            Self::Pipe => {
                let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
                assert!(made.success());
            }
            Self::OtherFile => fs::write(path, "<html>404 not found</html>\n").expect("written"),
        }
    }
}

/// An empty rights file is one without rules: it closes everything, which nobody can mistake for an open door.
fn closes(file: &str, damage: Damage) -> bool {
    file.starts_with("acl") && matches!(damage, Damage::Empty | Damage::Blank | Damage::OnlyComments)
}

struct House {
    folder: Folder,
    good: Vec<(PathBuf, Vec<u8>)>,
}

impl House {
    fn new(rights: &str) -> Self {
        let folder = Folder::new("files");
        folder.password("ann", "pw");
        let authority = Authority::new("home");
        let pair = authority.sign("broker", 1);
        folder.write("cert.pem", pair.cert);
        folder.write("key.pem", pair.key);
        folder.write("ca.pem", &authority.pem);
        folder.write("crl.pem", authority.revoke(&[7]));
        let name = if rights == RIGHTS { "acl.toml" } else { "acl.conf" };
        folder.write(name, rights);
        folder.write("cork.toml", CONFIG.replace("acl.toml", name));
        let files = FILES.map(|file| folder.path(if file == "acl.toml" { name } else { file }));
        let good = files.map(|path| (path.clone(), fs::read(path).expect("it is there")));
        Self { folder, good: good.into() }
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.folder.path("cork.toml"))
    }

    fn start(&self) -> Result<Broker, String> {
        let config = self.load().map_err(|errors| errors.to_string())?;
        Broker::start(&config).map_err(|error| error.to_string())
    }

    /// Everything as it was.
    fn heal(&self) {
        for (path, content) in &self.good {
            if path.is_dir() {
                fs::remove_dir(path).expect("it goes");
            } else {
                let _ = fs::remove_file(path);
            }
            fs::write(path, content).expect("written");
        }
    }

    /// Every file in every state.
    fn each(&self, mut try_it: impl FnMut(&str, Damage)) {
        for (path, _) in &self.good {
            for damage in DAMAGES {
                damage.inflict(path);
                let file = path.file_name().and_then(|name| name.to_str()).expect("a name");
                try_it(file, damage);
                self.heal();
            }
        }
    }
}

fn login(broker: &Broker, user: Option<&str>, password: &str) -> (Client, Option<u8>) {
    let mut client = Client::tcp(support::address(broker, 0), V5);
    let connect = wire::Connect {
        user: user.map(str::to_owned),
        password: user.map(|_| password.as_bytes().to_vec()),
        ..wire::Connect::new(V5, "")
    };
    let code = client.connect(&connect);
    (client, code)
}

/// The code of the PUBACK.
fn publish(client: &mut Client, topic: &str) -> u8 {
    client.send(&wire::publish(V5, 2, topic, Some(1), b"x"));
    let packet = client.packet().expect("an answer");
    assert_eq!(packet[0], 0x40);
    packet.get(4).copied().unwrap_or(0)
}

/// Ann may in and write below `home`; nobody else may anything.
fn doors_are_as_they_were(broker: &Broker) {
    let (mut ann, code) = login(broker, Some("ann"), "pw");
    assert_eq!(code, Some(0));
    assert!(matches!(publish(&mut ann, "home/x"), 0 | 0x10));
    assert_eq!(publish(&mut ann, "garden/x"), 0x87);
    for (user, password) in [(None, ""), (Some("ann"), "wrong"), (Some("eve"), "pw"), (Some(""), "")] {
        let (_, code) = login(broker, user, password);
        assert!(matches!(code, Some(0x86 | 0x87)), "{user:?} {password}: {code:?}");
    }
}

#[test]
fn configuration_that_opens_at_the_start() {
    for rights in [RIGHTS, MOSQUITTO] {
        let house = House::new(rights);
        house.each(|file, damage| match house.start() {
            Err(error) => {
                let named = error.contains(file) || (file == "cork.toml" && error.contains("configuration"));
                assert!(named && !closes(file, damage), "{file} {damage:?}: {error}");
            }
            Ok(broker) => {
                assert!(closes(file, damage), "{file} {damage:?} was taken");
                let (mut ann, code) = login(&broker, Some("ann"), "pw");
                assert_eq!(code, Some(0));
                assert_eq!(publish(&mut ann, "home/x"), 0x87, "{file} {damage:?}");
            }
        });
    }
}

#[test]
fn configuration_that_opens_at_a_reload() {
    for rights in [RIGHTS, MOSQUITTO] {
        let house = House::new(rights);
        let mut broker = house.start().unwrap();
        doors_are_as_they_were(&broker);
        let (mut client, _) = login(&broker, Some("ann"), "pw");
        house.each(|file, damage| {
            let before = broker.config().clone();
            let result = house.load().and_then(|config| broker.reload(&config));
            assert_eq!(result.is_ok(), closes(file, damage), "{file} {damage:?}: {result:?}");
            assert!(client.is_alive(), "{file} {damage:?}");
            if result.is_ok() {
                assert_eq!(publish(&mut client, "home/x"), 0x87, "{file} {damage:?}");
                house.heal();
                broker.reload(&house.load().unwrap()).unwrap();
            } else {
                assert!(*broker.config() == before, "{file} {damage:?}");
            }
        });
        doors_are_as_they_were(&broker);
    }
}

#[test]
fn a_configuration_that_lost_its_users_does_not_open_a_running_broker() {
    let house = House::new(RIGHTS);
    let mut broker = house.start().unwrap();
    let text = "[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n";
    let error = broker.reload(&house.folder.config(text).unwrap()).unwrap_err().to_string();
    assert!(
        error.contains("`auth.password_file`: is not there, but the running broker has users"),
        "{error}"
    );
    doors_are_as_they_were(&broker);
    let said = format!("[auth]\nallow_anonymous = true\nacl_file = 'acl.toml'\n{text}");
    broker.reload(&house.folder.config(&said).unwrap()).unwrap();
    assert_eq!(login(&broker, None, "").1, Some(0));
}

#[test]
fn a_configuration_that_lost_its_rights_does_not_open_a_running_broker() {
    for rights in [RIGHTS, MOSQUITTO] {
        let house = House::new(rights);
        let mut broker = house.start().unwrap();
        let (mut ann, _) = login(&broker, Some("ann"), "pw");
        let text = "[auth]\npassword_file = 'passwords'\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n";
        for lost in [text.to_owned(), text.replace("[auth]", "[auth]\nallow_anonymous = true")] {
            let error = broker.reload(&house.folder.config(&lost).unwrap()).unwrap_err().to_string();
            assert!(error.contains("`auth.acl_file`: is not there, but the running broker has"), "{error}");
            assert_eq!(publish(&mut ann, "garden"), 0x87);
        }
        house.folder.write("open.toml", "default = 'allow'");
        let said = text.replace("[auth]", "[auth]\nacl_file = 'open.toml'");
        broker.reload(&house.folder.config(&said).unwrap()).unwrap();
        assert_ne!(publish(&mut ann, "garden"), 0x87);
    }
}

#[test]
fn a_configuration_that_lost_its_client_certificates_does_not_open_a_running_broker() {
    let house = House::new(RIGHTS);
    let tls = |rest: &str| {
        format!(
            "[[listener]]\nurl = 'mqtts://127.0.0.1:0'\ntls = {{ cert = 'cert.pem', key = 'key.pem'{rest} }}\n"
        )
    };
    let with = tls(", client_ca = 'ca.pem'");
    let mut broker = house.folder.start(&with);
    let plain = "[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n";
    let lost =
        [tls(""), tls(", client_ca = 'ca.pem', client_cert = 'optional'"), plain.to_owned(), " ".to_owned()];
    for lost in lost {
        let error = broker.reload(&house.folder.config(&lost).unwrap()).unwrap_err().to_string();
        assert!(error.contains("in the running broker it takes a certificate"), "{lost}: {error}");
        let said = format!("[auth]\nallow_anonymous = true\n{lost}");
        broker.reload(&house.folder.config(&said).unwrap()).unwrap();
        broker.reload(&house.folder.config(&with).unwrap()).unwrap();
    }
    // Another door beside one that was open before.
    broker
        .reload(&house.folder.config(&format!("{with}[auth]\nallow_anonymous = true\n{plain}")).unwrap())
        .unwrap();
    broker.reload(&house.folder.config(&format!("{with}{plain}")).unwrap()).unwrap();
}
