//! A running broker takes a changed configuration over while clients are connected.
#![forbid(unsafe_code)]

mod support;

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
};

use cork_broker::Broker;
use cork_conform::wire::{self, V5, V311};
use support::{Authority, Client, Folder, VERSIONS, address};

const NOT_AUTHORIZED: u8 = 0x87;

fn listener(port: u16) -> String {
    format!("[[listener]]\nurl = 'mqtt://127.0.0.1:{port}'\n")
}

fn reload(broker: &mut Broker, folder: &Folder, text: &str) -> Result<Vec<String>, String> {
    let config = folder.config(text).map_err(|error| error.to_string())?;
    broker.reload(&config).map(|done| done.changed).map_err(|error| error.to_string())
}

#[test]
fn listeners_come_and_go_and_clients_stay() {
    for shards in [1, 3] {
        listeners_come_and_go(shards);
    }
}

fn listeners_come_and_go(shards: u16) {
    let with = |listeners: &str| format!("shards = {shards}\n{listeners}");
    let folder = Folder::new("come-and-go");
    let mut broker = folder.start(&with(&listener(0)));
    let first = address(&broker, 0);
    let mut client = Client::tcp(first, V5).named("a");

    let both = format!("{}[[listener]]\nurl = 'ws://127.0.0.1:0'\n", listener(0));
    reload(&mut broker, &folder, &with(&both)).expect("it is a good configuration");
    assert_eq!(address(&broker, 0), first, "it is still the same socket");
    let second = address(&broker, 1);
    let mut web = Client::tcp(second, V311).upgrade().named("b");
    assert!(client.is_alive() && web.is_alive());

    let only_web = "[[listener]]\nurl = 'ws://127.0.0.1:0'\n";
    let said = reload(&mut broker, &folder, &with(only_web)).expect("it is a good configuration");
    assert_eq!(said, ["listener mqtt://127.0.0.1:0: closed, its clients stay"]);
    assert!(TcpStream::connect(first).is_err(), "nobody listens there any more");
    assert!(client.is_alive() && web.is_alive());
    assert_eq!(address(&broker, 0), second);
    // At once again, on the very same port.
    reload(&mut broker, &folder, &with(&listener(first.port()))).expect("it is a good configuration");
    // Of several, some are accepted by each shard.
    let mut again: Vec<Client> =
        (0..20).map(|number| Client::tcp(first, V5).named(&format!("c{number}"))).collect();
    assert!(again.iter_mut().all(Client::is_alive) && client.is_alive() && web.is_alive());
}

#[test]
fn a_port_that_is_taken_changes_nothing() {
    let folder = Folder::new("taken");
    folder.password("ann", "pw");
    let mut broker = folder.start(&listener(0));
    let before = (broker.config().clone(), broker.addresses().to_vec());
    let mut client = Client::tcp(address(&broker, 0), V5).named("a");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let wrong = format!(
        "[auth]\npassword_file = 'passwords'\n[limits]\nmax_packet_size = 500\n\
         [[listener]]\nurl = 'mqtt://127.0.0.1:0'\nproxy = true\n[[listener]]\nurl = 'ws://127.0.0.1:0'\n{}",
        listener(port)
    );
    let error = reload(&mut broker, &folder, &wrong).unwrap_err();
    assert!(error.contains("cork.toml:11: key `listener.url`: cannot listen on 127.0.0.1:"), "{error}");
    assert!(error.contains("in use by another program; stop that, or choose another port"), "{error}");
    assert_eq!((broker.config().clone(), broker.addresses().to_vec()), before);
    assert!(client.is_alive());
    Client::tcp(before.1[0].1.to_string().parse().unwrap(), V311).named("b");
}

#[test]
fn a_listener_moves_to_all_addresses_without_a_gap() {
    let folder = Folder::new("move");
    let mut broker = folder.start(&listener(0));
    let at = address(&broker, 0);
    let mut client = Client::tcp(at, V5).named("a");
    for host in ["0.0.0.0", "127.0.0.1", "0.0.0.0"] {
        let text =
            format!("[auth]\nallow_anonymous = true\n[[listener]]\nurl = 'mqtt://{host}:{}'\n", at.port());
        reload(&mut broker, &folder, &text).unwrap();
        assert_eq!(address(&broker, 0).ip().to_string(), host);
        assert!(Client::tcp(at, V311).named("b").is_alive());
        assert!(client.is_alive());
    }
}

#[test]
fn every_interface_is_that_of_both_families_until_ipv4_is_named() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return; // a machine without IPv6
    }
    let folder = Folder::new("families");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let every = format!("[auth]\nallow_anonymous = true\n[[listener]]\nurl = 'mqtt://[::]:{port}'\n");
    let mut broker = folder.start(&every);
    let (four, six) = ((Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into());
    let mut first = Client::tcp(four, V5).named("a");
    let mut second = Client::tcp(six, V5).named("b");
    let apart = format!("{every}[[listener]]\nurl = 'ws://0.0.0.0:{port}'\n");
    reload(&mut broker, &folder, &apart).unwrap();
    assert!(Client::tcp(four, V5).upgrade().named("c").is_alive());
    assert!(Client::tcp(six, V5).named("d").is_alive());
    reload(&mut broker, &folder, &every).unwrap();
    assert!(Client::tcp(four, V5).named("e").is_alive());
    assert!(first.is_alive() && second.is_alive());
}

#[test]
fn other_settings_of_a_listener_are_for_new_connections() {
    let folder = Folder::new("settings");
    let mut broker = folder.start(&listener(0));
    let at = address(&broker, 0);
    let mut plain = Client::tcp(at, V5).named("a");
    let proxy = "proxy = true\n[auth]\nallow_anonymous = true\n";
    reload(&mut broker, &folder, &format!("{}{proxy}", listener(0))).unwrap();
    let mut behind = Client::tcp(at, V5);
    behind.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 1883\r\n");
    let mut behind = behind.named("b");
    assert!(plain.is_alive() && behind.is_alive());
    let mut without = Client::tcp(at, V311);
    assert_eq!(without.connect(&wire::Connect::new(V311, "c")), None, "the header is missing");
    reload(&mut broker, &folder, &listener(0)).unwrap();
    assert!(Client::tcp(at, V5).named("d").is_alive() && behind.is_alive());
}

#[test]
fn unix_sockets_get_other_permissions_and_go() {
    let folder = Folder::new("unix");
    let unix = |mode: &str| {
        format!("[[listener]]\nurl = 'unix://{}'\nmode = '{mode}'\n", folder.path("s").display())
    };
    let mut broker = folder.start(&unix("0600"));
    let mut client = Client::unix(&folder.path("s"), V5).named("a");
    let mode = || fs::metadata(folder.path("s")).unwrap().permissions().mode() & 0o777;
    reload(&mut broker, &folder, &unix("0666")).unwrap();
    assert_eq!(mode(), 0o666);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong = format!("{}{}", unix("0600"), listener(taken.local_addr().unwrap().port()));
    reload(&mut broker, &folder, &wrong).unwrap_err();
    assert_eq!(mode(), 0o666, "nothing changed");
    reload(&mut broker, &folder, &listener(0)).unwrap();
    assert!(!folder.path("s").exists() && client.is_alive());
    reload(&mut broker, &folder, &unix("0600")).unwrap();
    assert_eq!(mode(), 0o600);
    assert!(Client::unix(&folder.path("s"), V311).named("b").is_alive() && client.is_alive());
}

#[test]
fn clients_with_a_revoked_certificate_are_told_and_disconnected() {
    for shards in [1, 3] {
        clients_with_a_revoked_certificate(shards);
    }
}

fn clients_with_a_revoked_certificate(shards: u16) {
    let folder = Folder::new("revoked");
    let authority = Authority::new("home");
    let own = authority.sign("broker", 1);
    folder.write("cert.pem", own.cert);
    folder.write("key.pem", own.key);
    folder.write("ca.pem", &authority.pem);
    folder.write("crl.pem", authority.revoke(&[]));
    let text = |more: &str| {
        format!(
            "shards = {shards}\n[auth]\nallow_anonymous = true\n[[listener]]\nurl = 'mqtts://127.0.0.1:0'\n\
             tls = {{ cert = 'cert.pem', key = 'key.pem', client_ca = 'ca.pem', crl = 'crl.pem' }}\n{more}"
        )
    };
    let mut broker = folder.start(&text(""));
    let at = address(&broker, 0);
    let (lost, kept) = (authority.sign("lost", 7), authority.sign("kept", 8));
    let tls = |version, pair| Client::tls(at, version, &authority, Some(pair));
    let mut all = VERSIONS.map(|version| {
        let name = |who: &str| format!("{who}{version:?}");
        (tls(version, &lost).named(&name("lost")), tls(version, &kept).named(&name("kept")))
    });
    folder.write("crl.pem", authority.revoke(&[7]));
    let said = reload(&mut broker, &folder, &text("")).expect("it is a good configuration");
    assert_eq!(said, ["listener mqtts://127.0.0.1:0: other certificates"]);
    for ((lost, kept), version) in all.iter_mut().zip(VERSIONS) {
        assert_eq!(lost.wait_for_end(), (version == V5).then_some(NOT_AUTHORIZED));
        assert!(kept.is_alive());
    }
    assert_eq!(tls(V5, &lost).connect(&wire::Connect::new(V5, "lost")), None, "nor does it come in again");
    // The listener goes, its clients stay; a revocation finds them all the same.
    let open = format!("{}[auth]\nallow_anonymous = true\n", listener(0));
    reload(&mut broker, &folder, &open).expect("it is a good configuration");
    assert!(all.iter_mut().all(|(_, kept)| kept.is_alive()));
    folder.write("crl.pem", authority.revoke(&[7, 8]));
    reload(&mut broker, &folder, &open).expect("it is a good configuration");
    for ((_, kept), version) in all.iter_mut().zip(VERSIONS) {
        assert_eq!(kept.wait_for_end(), (version == V5).then_some(NOT_AUTHORIZED));
    }
}

#[test]
fn clients_of_users_that_went_are_disconnected_and_all_others_stay() {
    let folder = Folder::new("users");
    folder.password("ann", "pw");
    folder.password("bob", "pw");
    let text = format!("{}[auth]\npassword_file = 'passwords'\nallow_anonymous = true\n", listener(0));
    let mut broker = folder.start(&text);
    let at = address(&broker, 0);
    let with = |user: &str| {
        let mut client = Client::tcp(at, V5);
        let user = Some(user.to_owned());
        let connect = wire::Connect { user, password: Some(b"pw".to_vec()), ..wire::Connect::new(V5, "") };
        assert_eq!(client.connect(&connect), Some(0));
        client
    };
    let (mut ann, mut bob, mut nobody) = (with("ann"), with("bob"), Client::tcp(at, V5).named("n"));
    cork_broker::passwd::delete_user(&folder.path("passwords"), "bob").unwrap();
    assert_eq!(reload(&mut broker, &folder, &text).unwrap(), ["users: 1 gone (`bob`)"]);
    assert_eq!(bob.wait_for_end(), Some(NOT_AUTHORIZED));
    assert!(ann.is_alive() && nobody.is_alive());
    reload(&mut broker, &folder, &text.replace("true", "false")).unwrap();
    assert_eq!(nobody.wait_for_end(), Some(NOT_AUTHORIZED));
    assert!(ann.is_alive());
}
