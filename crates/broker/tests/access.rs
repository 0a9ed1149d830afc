//! An access tool: one fixed policy (`access/acl.toml`, `access/passwords`), and every way to get around it, over TCP, TLS,
//! WebSocket and WebSocket over TLS, by 3.1.1 and 5.0. What it holds against the policy is written by hand below.
//!
//! Classes of `docs/trust.md`: side doors, rights that outlive their withdrawal, wildcards in names, comparing, timing.
#![forbid(unsafe_code)]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use cork_broker::Broker;
use cork_conform::{
    Published, Received,
    wire::{self, Connect, V5, V311, Version, Will},
};
use support::{Authority, Client, Folder, VERSIONS};

const CONFIG: &str = "\
shards = 1
[auth]
password_file = 'passwords'
acl_file = 'acl.toml'
[limits]
sys_interval = '1s'
[[listener]]
url = 'mqtt://127.0.0.1:0'
[[listener]]
url = 'mqtts://127.0.0.1:0'
tls = { cert = 'cert.pem', key = 'key.pem' }
[[listener]]
url = 'ws://127.0.0.1:0'
[[listener]]
url = 'wss://127.0.0.1:0'
tls = { cert = 'cert.pem', key = 'key.pem' }
";

const PASSWORDS: [(&str, &str); 8] = [
    ("ann", "wonderland"),
    ("bob", "builder"),
    ("eve", "apple"),
    ("admin", "root"),
    ("+", "plus"),
    ("u/#", "hash"),
    ("a/b", "slash"),
    ("caf\u{e9}", "milk"),
];

/// User, Client Identifier, topic, and whether that client may read and write it.
type Row = (&'static str, &'static str, &'static str, bool, bool);

const ROWS: [Row; 62] = [
    ("ann", "a", "home/x", true, true),
    ("ann", "a", "home", true, true),
    ("ann", "a", "home/secret", false, false),
    // Other bytes are another topic: those are below `home`, those are not.
    ("ann", "a", "home/Secret", true, true),
    ("ann", "a", "home//secret", true, true),
    ("ann", "a", "home/secret/", true, true),
    ("ann", "a", "home/secret\u{200b}", true, true),
    ("ann", "a", "home/s\u{435}cret", true, true),
    ("ann", "a", "HOME/secret", false, false),
    ("ann", "a", "Home/x", false, false),
    ("ann", "a", "/home", false, false),
    ("ann", "a", "/", false, false),
    ("ann", "a", "homes", false, false),
    ("ann", "a", "hom\u{435}/x", false, false),
    ("ann", "a", "home%2Fsecret", false, false),
    ("ann", "a", "%68ome/x", false, false),
    ("ann", "a", " home/x", false, false),
    ("ann", "a", "home/kitchen/readonly", true, false),
    ("ann", "a", "home/kitchen/readonly2", true, true),
    ("ann", "a", "home/readonly", true, true),
    ("ann", "a", "family/board", true, true),
    ("ann", "a", "family/board/x", false, false),
    ("ann", "a", "family", false, false),
    ("ann", "a", "user/ann/x", true, true),
    ("ann", "a", "user/ann", true, true),
    ("ann", "a", "user/Ann/x", false, false),
    ("ann", "a", "user/bob/x", false, false),
    ("ann", "a", "user/%u/x", false, false),
    ("ann", "a", "user/ann/log", true, false),
    ("ann", "a", "client/a/x", true, true),
    ("ann", "a", "client/a/x/y", false, false),
    ("ann", "a", "client/b/x", false, false),
    ("ann", "a", "client/%c/x", false, false),
    ("ann", "a", "cmd/x", false, false),
    ("ann", "a", "device/7", false, false),
    ("ann", "a", "$SYS/x", false, false),
    ("ann", "a", "kaffee/caf\u{e9}", false, false),
    ("bob", "b", "home/kitchen/state", true, false),
    ("bob", "b", "home/state", false, false),
    ("bob", "b", "home/a/b/state", false, false),
    ("bob", "b", "home/kitchen/State", false, false),
    ("bob", "b", "home/x", false, false),
    ("bob", "b", "cmd/x", false, true),
    ("bob", "b", "cmd", false, true),
    ("bob", "b", "CMD/x", false, false),
    ("bob", "b", "user/ann/x", false, false),
    ("eve", "e", "home/x", false, false),
    ("eve", "e", "family/board", false, false),
    ("eve", "e", "user/eve/x", true, true),
    ("eve", "device-7", "device/7", true, true),
    ("eve", "device-7", "device/8", false, false),
    // Names with wildcards, slashes and patterns in them are filled in as they are, or the rule does not fit.
    ("eve", "+", "client/a/x", false, false),
    ("eve", "#", "client/a/x", false, false),
    ("eve", "a/b", "client/a/b/x", false, false),
    ("eve", "%u", "client/eve/x", false, false),
    ("eve", "%u", "client/%u/x", true, true),
    ("+", "p", "user/ann/x", false, false),
    ("u/#", "h", "user/u/x", false, false),
    ("a/b", "s", "user/a/b", false, false),
    ("caf\u{e9}", "c", "kaffee/caf\u{e9}", true, true),
    ("caf\u{e9}", "c", "kaffee/cafe\u{301}", false, false),
    ("admin", "r", "$SYS/x", true, false),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
}

const TRANSPORTS: [Transport; 4] = [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Plain(u8),
    Retained,
    Will,
    RetainedWill,
    /// An alias of the topic, defined and used.
    Alias,
    /// An alias of an innocent topic, pointed elsewhere.
    AliasTurned,
}

const WRITES: [Write; 8] = [
    Write::Plain(0),
    Write::Plain(1),
    Write::Plain(2),
    Write::Retained,
    Write::Will,
    Write::RetainedWill,
    Write::Alias,
    Write::AliasTurned,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Exact,
    Shared,
    Retained,
    /// `#`, or as many `+` as the topic has levels: more than may be read, unless everything may be.
    Wide(bool),
    WideShared,
    WideRetained,
    /// Of a Session whose client was away.
    Queued,
}

const READS: [Read; 8] = [
    Read::Exact,
    Read::Shared,
    Read::Retained,
    Read::Wide(false),
    Read::Wide(true),
    Read::WideShared,
    Read::WideRetained,
    Read::Queued,
];

struct Tool {
    folder: Folder,
    broker: Broker,
    authority: Authority,
    addresses: Vec<SocketAddr>,
    /// Sees everything and may write everywhere.
    admin: Client,
    checks: usize,
    findings: Vec<String>,
}

impl Tool {
    fn new() -> Self {
        let folder = Folder::new("access");
        folder.write("passwords", include_str!("access/passwords"));
        folder.write("acl.toml", include_str!("access/acl.toml"));
        let authority = Authority::new("home");
        let own = authority.sign("broker", 1);
        folder.write("cert.pem", own.cert);
        folder.write("key.pem", own.key);
        let broker = folder.start(CONFIG);
        let addresses: Vec<SocketAddr> = (0..4).map(|n| support::address(&broker, n)).collect();
        let mut admin = Client::tcp(addresses[0], V5);
        assert_eq!(admin.connect(&login(V5, "admin", "admin")), Some(0));
        admin.send(&wire::subscribe(V5, 1, &[("#", 0), ("$SYS/x", 0)]));
        assert_eq!(admin.packet().map(|suback| suback[0]), Some(0x90));
        Self { folder, broker, authority, addresses, admin, checks: 0, findings: Vec::new() }
    }

    fn reload(&mut self) {
        let config = self.folder.config(CONFIG).expect("it was good before");
        self.broker.reload(&config).expect("the rights are good");
    }

    fn open(&self, transport: Transport, version: Version) -> Client {
        match transport {
            Transport::Tcp => Client::tcp(self.addresses[0], version),
            Transport::Tls => Client::tls(self.addresses[1], version, &self.authority, None),
            Transport::Ws => Client::tcp(self.addresses[2], version).upgrade(),
            Transport::Wss => Client::tls(self.addresses[3], version, &self.authority, None).upgrade(),
        }
    }

    fn enter(&self, transport: Transport, connect: &Connect) -> Client {
        let mut client = self.open(transport, connect.version);
        assert_eq!(client.connect(connect), Some(0), "{connect:?}");
        client
    }

    fn check(&mut self, right: bool, story: impl FnOnce() -> String) {
        self.checks += 1;
        if !right {
            self.findings.push(story());
        }
    }

    /// Publishes as somebody who may, and waits until it is done.
    fn say(&mut self, topic: &str, payload: &[u8], retain: bool) {
        self.admin.send(&wire::publish(V5, u8::from(retain), topic, None, payload));
        heard(&mut self.admin, V5);
    }

    fn end(self) {
        println!("{} checks", self.checks);
        assert!(self.findings.is_empty(), "{} findings:\n{}", self.findings.len(), self.findings.join("\n"));
    }
}

fn login(version: Version, user: &str, client_id: &str) -> Connect {
    let password = PASSWORDS.iter().find(|(name, _)| *name == user).map_or("", |(_, password)| password);
    let user = Some(user.to_owned());
    Connect { user, password: Some(password.as_bytes().to_vec()), ..Connect::new(version, client_id) }
}

/// Everything that came to a client until now.
fn heard(client: &mut Client, version: Version) -> Vec<Received> {
    let bytes: Vec<u8> = client.until_answered().concat();
    cork_conform::split(version, &bytes)
}

fn publications(client: &mut Client, version: Version) -> Vec<Published> {
    heard(client, version).into_iter().filter_map(Received::into_publish).collect()
}

/// Waits until something comes to a client that is expected there: what the store keeps takes its time.
fn awaited(client: &mut Client, version: Version, wanted: impl Fn(&Published) -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        if publications(client, version).iter().any(&wanted) {
            return true;
        }
    }
    false
}

/// What came, and what came a moment later: a queue is read from the store.
fn settled(client: &mut Client, version: Version) -> Vec<Published> {
    let mut all = publications(client, version);
    std::thread::sleep(Duration::from_millis(5));
    all.extend(publications(client, version));
    all
}

/// Lets a client write in one of the ways. It may be told no, or cut.
fn write(tool: &Tool, way: Write, transport: Transport, connect: &Connect, topic: &str, payload: &[u8]) {
    const ALIAS: [u8; 3] = [0x23, 0, 1];
    let version = connect.version;
    if matches!(way, Write::Will | Write::RetainedWill) {
        let retain = way == Write::RetainedWill;
        let will = Will { topic: topic.to_owned(), payload: payload.to_vec(), retain, ..Will::default() };
        let mut client = tool.open(transport, version);
        // Perhaps refused right here.
        client.connect(&Connect { will: Some(will), ..connect.clone() });
        return;
    }
    let mut client = tool.enter(transport, connect);
    match way {
        Write::Plain(qos) => {
            client.send(&wire::publish(version, qos << 1, topic, (qos > 0).then_some(1), payload));
            if qos == 2 {
                client.send(&wire::ack(0x62, 1));
            }
        }
        Write::Retained => client.send(&wire::publish(version, 1, topic, None, payload)),
        Write::Alias => {
            client.send(&wire::publish_with(version, 0, topic, None, &ALIAS, b"first"));
            client.send(&wire::publish_with(version, 0, "", None, &ALIAS, payload));
        }
        Write::AliasTurned => {
            client.send(&wire::publish_with(version, 0, "innocent", None, &ALIAS, b""));
            client.send(&wire::publish_with(version, 0, topic, None, &ALIAS, b"first"));
            client.send(&wire::publish_with(version, 0, "", None, &ALIAS, payload));
        }
        Write::Will | Write::RetainedWill => {}
    }
    client.is_alive();
}

/// What a client gets to read of a topic in one of the ways; `None`: its SUBSCRIBE was refused.
fn read(
    tool: &mut Tool,
    way: Read,
    transport: Transport,
    connect: &Connect,
    (topic, expected): (&str, bool),
    payload: &[u8],
) -> Option<bool> {
    let version = connect.version;
    let levels = vec!["+"; topic.split('/').count()].join("/");
    let filter = match way {
        Read::Exact | Read::Retained | Read::Queued => topic.to_owned(),
        Read::Shared => format!("$share/group/{topic}"),
        Read::Wide(true) => levels,
        Read::Wide(false) | Read::WideRetained => "#".to_owned(),
        Read::WideShared => "$share/group/#".to_owned(),
    };
    let retained = matches!(way, Read::Retained | Read::WideRetained);
    if retained {
        tool.say(topic, payload, true);
    }
    let qos = u8::from(way == Read::Queued);
    let mut connect = connect.clone();
    if qos == 1 {
        connect.clean = false;
        connect.properties = if version == V5 { vec![0x11, 0, 0, 0x0E, 0x10] } else { Vec::new() };
    }
    let mut client = tool.enter(transport, &connect);
    client.send(&wire::subscribe(version, 1, &[(&filter, qos)]));
    let mut got = heard(&mut client, version);
    let granted =
        got.iter().any(|packet| matches!(packet, Received::SubAck { codes, .. } if codes[0] < 0x80));
    if way == Read::Queued {
        client.send(&wire::disconnect());
        client.wait_for_end();
        tool.admin.send(&wire::publish(V5, 2, topic, Some(1), payload));
        heard(&mut tool.admin, V5);
        client = tool.enter(transport, &connect);
    } else if !retained {
        tool.say(topic, payload, false);
    }
    got.extend(heard(&mut client, version));
    let is_it = |publish: &Published| publish.payload == payload;
    let mut arrived = got.into_iter().filter_map(Received::into_publish).any(|publish| is_it(&publish));
    if way == Read::Queued && !arrived {
        let late = if expected {
            awaited(&mut client, version, is_it)
        } else {
            settled(&mut client, version).iter().any(is_it)
        };
        arrived = late;
    }
    if retained {
        tool.say(topic, b"", true);
    }
    if way == Read::Queued {
        // Nothing of it stays for the next row.
        tool.enter(transport, &Connect { clean: true, properties: Vec::new(), ..connect });
    }
    (granted || arrived).then_some(arrived)
}

#[test]
fn side_doors_every_way_to_say_a_topic_over_every_transport() {
    let mut tool = Tool::new();
    let mut number = 0_u32;
    for version in VERSIONS {
        for transport in TRANSPORTS {
            for (user, client_id, topic, may_read, may_write) in ROWS {
                let connect = login(version, user, client_id);
                for way in WRITES {
                    if version == V311 && matches!(way, Write::Alias | Write::AliasTurned) {
                        continue;
                    }
                    number += 1;
                    let payload = number.to_string().into_bytes();
                    write(&tool, way, transport, &connect, topic, &payload);
                    let is_it = |publish: &Published| publish.topic == topic && publish.payload == payload;
                    let mut arrived = publications(&mut tool.admin, V5).iter().any(is_it);
                    // A Will goes out when the broker has noticed the end of its connection.
                    let begin = Instant::now();
                    while may_write && !arrived && begin.elapsed() < Duration::from_secs(5) {
                        arrived = publications(&mut tool.admin, V5).iter().any(is_it);
                    }
                    let story =
                        format!("{version} {transport:?} {user} as {client_id}: {way:?} to {topic:?}");
                    tool.check(arrived == may_write, || format!("{story}: arrived {arrived}"));
                    if matches!(way, Write::Retained | Write::RetainedWill) {
                        tool.admin.send(&wire::subscribe(V5, 2, &[(topic, 0)]));
                        let kept = publications(&mut tool.admin, V5);
                        let kept = kept.iter().any(|publish| publish.retain && publish.payload == payload);
                        tool.check(kept == may_write, || format!("{story}: kept {kept}"));
                        tool.say(topic, b"", true);
                        tool.admin.send(&wire::unsubscribe(V5, 3, &[topic]));
                        if topic == "$SYS/x" {
                            tool.admin.send(&wire::subscribe(V5, 2, &[(topic, 0)]));
                        }
                        heard(&mut tool.admin, V5);
                    }
                }
                for way in READS.into_iter().filter(|_| !topic.starts_with('$')) {
                    number += 1;
                    let payload = number.to_string().into_bytes();
                    let got = read(&mut tool, way, transport, &connect, (topic, may_read), &payload);
                    let exact = matches!(way, Read::Exact | Read::Shared | Read::Retained | Read::Queued);
                    // A wide filter may be refused; if it is granted, it brings what may be read and nothing else.
                    let right = if may_read && exact {
                        got == Some(true)
                    } else {
                        got.is_none_or(|got| got == may_read)
                    };
                    tool.check(right, || {
                        format!(
                            "{version} {transport:?} {user} as {client_id}: {way:?} of {topic:?}: {got:?}"
                        )
                    });
                }
            }
        }
    }
    assert!(tool.checks > 4 * 2 * 260, "only {} checks", tool.checks);
    tool.end();
}

#[test]
fn logins_compare_every_byte() {
    let mut tool = Tool::new();
    let long = "x".repeat(72);
    let tail = format!("{long}tail");
    let cases: [(&str, &str, bool); 20] = [
        ("ann", "wonderland", true),
        ("ann", "Wonderland", false),
        ("ann", "wonderland ", false),
        ("ann", "wonderlan", false),
        ("ann", "wonderland\0", false),
        ("ann", "wonderland\0x", false),
        ("ann", "", false),
        ("ann", "builder", false),
        ("Ann", "wonderland", false),
        ("ANN", "wonderland", false),
        ("ann ", "wonderland", false),
        (" ann", "wonderland", false),
        ("%61nn", "wonderland", false),
        ("\u{430}nn", "wonderland", false),
        ("", "", false),
        ("nobody", "wonderland", false),
        ("caf\u{e9}", "milk", true),
        ("cafe\u{301}", "milk", false),
        ("long", &tail, true),
        ("long", &long, false),
    ];
    for version in VERSIONS {
        for transport in TRANSPORTS {
            for (user, password, may) in cases {
                let connect = Connect {
                    user: Some(user.to_owned()),
                    password: Some(password.as_bytes().to_vec()),
                    ..Connect::new(version, "")
                };
                let code = tool.open(transport, version).connect(&connect);
                let refused = if version == V5 { [0x86, 0x87] } else { [4, 5] };
                let right =
                    if may { code == Some(0) } else { code.is_some_and(|code| refused.contains(&code)) };
                tool.check(right, || format!("{version} {transport:?} {user:?} {password:?}: {code:?}"));
            }
            for user in [None, Some(&b"ann\0"[..]), Some(b"\xff")] {
                let code = tool.open(transport, version).connect_raw(&raw_login(version, user));
                tool.check(code != Some(0), || format!("{version} {transport:?} {user:?}: {code:?}"));
            }
        }
    }
    tool.end();
}

/// A CONNECT whose User Name need not be text.
fn raw_login(version: Version, user: Option<&[u8]>) -> Vec<u8> {
    let mut body = wire::string("MQTT");
    body.extend([version, if user.is_some() { 0xC2 } else { 0x02 }, 0, 0]);
    if version == V5 {
        body.push(0);
    }
    body.extend(wire::string("raw"));
    if let Some(user) = user {
        body.extend(wire::string(user));
        body.extend(wire::string("wonderland"));
    }
    wire::packet(0x10, &body)
}

#[test]
fn side_doors_sys_topics_are_for_those_who_may_read_them() {
    let mut tool = Tool::new();
    for version in VERSIONS {
        for transport in TRANSPORTS {
            for (user, may) in [("ann", false), ("eve", false), ("u/#", false), ("admin", true)] {
                for filter in [
                    "$SYS/#",
                    "$SYS/broker/version",
                    "$SYS/+/version",
                    "$share/g/$SYS/#",
                    "#",
                    "+/broker/version",
                ] {
                    let mut client = tool.enter(transport, &login(version, user, ""));
                    client.send(&wire::subscribe(version, 1, &[(filter, 0)]));
                    let got =
                        publications(&mut client, version).iter().any(|one| one.topic.starts_with("$SYS"));
                    // Neither shared subscriptions nor wildcards at the front get retained `$SYS` messages.
                    let expected = may && filter.starts_with("$SYS");
                    tool.check(got == expected, || {
                        format!("{version} {transport:?} {user}: {filter}: {got}")
                    });
                }
            }
        }
    }
    tool.end();
}

#[test]
fn side_doors_a_foreign_session_is_not_taken_over() {
    let mut tool = Tool::new();
    for version in VERSIONS {
        for (at, transport) in TRANSPORTS.into_iter().enumerate() {
            let name = format!("hers{version}{at}");
            let properties = if version == V5 { vec![0x11, 0, 0, 0x0E, 0x10] } else { Vec::new() };
            let stay = |user| Connect {
                clean: false,
                properties: properties.clone(),
                ..login(version, user, &name)
            };
            let mut ann = tool.enter(transport, &stay("ann"));
            ann.send(&wire::subscribe(version, 1, &[("home/#", 1)]));
            ann.is_alive();
            // While she is connected, and when she is away.
            for away in [false, true] {
                if away {
                    ann.send(&wire::disconnect());
                    ann.wait_for_end();
                    tool.admin.send(&wire::publish(V5, 2, "home/x", Some(1), b"for ann"));
                    heard(&mut tool.admin, V5);
                }
                for user in ["eve", "bob"] {
                    let mut thief = tool.open(transport, version);
                    let code = thief.connect(&stay(user));
                    let got = code == Some(0) && !publications(&mut thief, version).is_empty();
                    tool.check(!got, || format!("{version} {transport:?}: {user} got ann's messages"));
                    tool.check(code != Some(0), || {
                        format!("{version} {transport:?}: {user} got ann's session: {code:?}")
                    });
                }
                if !away {
                    let alive = ann.is_alive();
                    tool.check(alive, || format!("{version} {transport:?}: ann was pushed out"));
                }
            }
            let mut ann = tool.enter(transport, &stay("ann"));
            let there = awaited(&mut ann, version, |publish| publish.payload == b"for ann");
            tool.check(there, || format!("{version} {transport:?}: ann lost her message"));
        }
    }
    tool.end();
}

#[test]
fn side_doors_no_transport_skips_the_certificate() {
    let folder = Folder::new("certificate");
    let (home, others) = (Authority::new("home"), Authority::new("others"));
    let own = home.sign("broker", 1);
    folder.write("cert.pem", own.cert);
    folder.write("key.pem", own.key);
    folder.write("ca.pem", &home.pem);
    folder.write("crl.pem", home.revoke(&[7]));
    folder.write("acl.toml", include_str!("access/acl.toml"));
    let files = "cert = 'cert.pem', key = 'key.pem', client_ca = 'ca.pem', crl = 'crl.pem'";
    let listeners = ["mqtts", "wss"]
        .map(|scheme| format!("[[listener]]\nurl = '{scheme}://127.0.0.1:0'\ntls = {{ {files} }}\n"));
    let broker = folder.start(&format!("[auth]\nacl_file = 'acl.toml'\n{}", listeners.concat()));
    let (good, revoked, foreign) = (home.sign("ann", 8), home.sign("ann", 7), others.sign("ann", 8));
    for version in VERSIONS {
        for at in [0, 1] {
            for (shown, may) in
                [(None, false), (Some(&revoked), false), (Some(&foreign), false), (Some(&good), true)]
            {
                let mut client = Client::tls(support::address(&broker, at), version, &home, shown);
                if at == 1 {
                    let Some(upgraded) = client.try_upgrade() else {
                        assert!(!may, "{version} {at}");
                        continue;
                    };
                    client = upgraded;
                }
                // The name in CONNECT counts for nothing.
                let code = client.connect(&login(version, "admin", ""));
                assert_eq!(code == Some(0), may, "{version} {at}: {code:?}");
                if may && version == V5 {
                    client.send(&wire::publish(V5, 2, "home/secret", Some(1), b""));
                    let puback = client.packet().expect("an answer");
                    assert_eq!(puback[4], 0x87, "she is ann, not admin");
                }
            }
        }
    }
}

#[test]
fn rights_that_outlive_their_withdrawal() {
    const CLOSED: &str = "[[rule]]\nuser = 'admin'\nallow = ['read', 'write']\ntopic = '#'\n";
    const OPEN: &str = include_str!("access/acl.toml");
    let mut tool = Tool::new();
    for version in VERSIONS {
        for (at, transport) in TRANSPORTS.into_iter().enumerate() {
            let story = |what: &str| format!("{version} {transport:?}: {what}");
            let properties = if version == V5 { vec![0x11, 0, 0, 0x0E, 0x10] } else { Vec::new() };
            let name = |what: &str| format!("{what}{version}{at}");
            let stay = |what: &str| Connect {
                clean: false,
                properties: properties.clone(),
                ..login(version, "ann", &name(what))
            };
            // Everything is begun while it is allowed.
            let mut live = tool.enter(transport, &login(version, "ann", &name("live")));
            live.send(&wire::subscribe(version, 1, &[("home/live", 0), ("$share/g/home/live", 0)]));
            let mut late = tool.enter(transport, &login(version, "ann", &name("late")));
            late.send(&wire::subscribe(version, 1, &[("home/late", 0)]));
            let (mut queued, mut flight) =
                (tool.enter(transport, &stay("queued")), tool.enter(transport, &stay("flight")));
            queued.send(&wire::subscribe(version, 1, &[("home/queued", 2)]));
            flight.send(&wire::subscribe(version, 1, &[("home/flight", 2)]));
            for client in [&mut live, &mut late, &mut queued, &mut flight] {
                assert!(client.is_alive());
            }
            queued.send(&wire::disconnect());
            queued.wait_for_end();
            for (id, topic) in [(1, "home/queued"), (2, "home/flight")] {
                tool.admin.send(&wire::publish(V5, 4, topic, Some(id), b"before"));
                tool.admin.send(&wire::ack(0x62, id));
            }
            tool.say("home/late", b"kept", true);
            let begun = awaited(&mut flight, version, |publish| publish.payload == b"before");
            assert!(begun, "it has arrived, and is not acknowledged");
            let will = Will { topic: "home/will".to_owned(), payload: b"will".to_vec(), ..Will::default() };
            let mut dying =
                tool.enter(transport, &Connect { will: Some(will), ..login(version, "ann", &name("dying")) });
            assert!(dying.is_alive());
            let mut writer = tool.enter(transport, &login(version, "ann", &name("writer")));
            writer.send(&wire::publish_with(
                version,
                0,
                "home/alias",
                None,
                &[0x23, 0, 1][..if version == V5 { 3 } else { 0 }],
                b"ok",
            ));
            assert!(writer.is_alive());
            heard(&mut late, version);
            heard(&mut tool.admin, V5);

            tool.folder.write("acl.toml", CLOSED);
            tool.reload();
            // The reload has been handed to the shard before anything that is sent from here on.
            tool.say("home/live", b"after", false);
            let got = publications(&mut live, version);
            tool.check(got.is_empty(), || story(&format!("a live subscription brought {got:?}")));
            late.send(&wire::subscribe(version, 1, &[("home/late", 0)]));
            let got = publications(&mut late, version).iter().any(|publish| publish.payload == b"kept");
            tool.check(!got, || story("a retained message was sent"));
            let mut queued = tool.enter(transport, &stay("queued"));
            let got = settled(&mut queued, version);
            tool.check(got.is_empty(), || story(&format!("the queue brought {got:?}")));
            drop(flight);
            let mut flight = tool.enter(transport, &stay("flight"));
            let got = settled(&mut flight, version);
            tool.check(got.is_empty(), || story(&format!("a flow half done was sent again: {got:?}")));
            drop(dying);
            if version == V5 {
                writer.send(&wire::publish_with(version, 0, "", None, &[0x23, 0, 1], b"alias"));
            }
            writer.send(&wire::publish(version, 0, "home/alias", None, b"plain"));
            writer.is_alive();
            // Long enough for a Will to come, if one did.
            std::thread::sleep(Duration::from_millis(50));
            let got = publications(&mut tool.admin, V5);
            let leaked =
                got.iter().any(|publish| matches!(&publish.payload[..], b"alias" | b"plain" | b"will"));
            tool.check(!leaked, || story(&format!("written after the withdrawal: {got:?}")));
            tool.say("home/late", b"", true);
            tool.folder.write("acl.toml", OPEN);
            tool.reload();
            for what in ["queued", "flight"] {
                tool.enter(transport, &login(version, "ann", &name(what)));
            }
        }
    }
    tool.end();
}

#[test]
fn timing_a_refusal_takes_as_long_for_an_unknown_user() {
    const ROUNDS: usize = 25;
    let folder = Folder::new("timing");
    folder.password("ann", "pw");
    let broker =
        folder.start("[auth]\npassword_file = 'passwords'\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n");
    let at = support::address(&broker, 0);
    let refusal = |user: &str| {
        let mut client = Client::tcp(at, V5);
        let (user, password) = (Some(user.to_owned()), Some(b"wrong".to_vec()));
        let begin = Instant::now();
        let code = client.connect(&Connect { user, password, ..Connect::new(V5, "") });
        assert!(matches!(code, Some(0x86 | 0x87)));
        begin.elapsed()
    };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (times, user) in times.iter_mut().zip(["ann", "somebody-else"]) {
            times.push(refusal(user));
        }
    }
    // The shortest of each: what else the machine does only makes a refusal longer.
    let [known, unknown] = times.map(|times| times.into_iter().min().unwrap_or_default());
    println!("refusals: known user {known:?}, unknown user {unknown:?}");
    let (less, more) = (known.min(unknown), known.max(unknown));
    assert!(more < less.mul_f64(1.5), "known {known:?}, unknown {unknown:?}");
}
