//! Listeners that come and go.
#![forbid(unsafe_code)]

mod support;

use std::{io::Read as _, net::TcpListener, time::Duration};

use cork_broker::Config;
use support::{Served, until};

fn config(urls: &[String]) -> Config {
    let text: String = urls.iter().map(|url| format!("[[listener]]\nurl = '{url}'\n")).collect();
    Config::from_toml(&text, "cork.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// A port that was free a moment ago.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let served = Served::open();
    let before = served.server.addresses();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = [format!("http://127.0.0.1:{}", port()), format!("http://{}", taken.local_addr().unwrap())];
    assert!(served.server.plan(&config(&urls)).is_err());
    assert_eq!(served.server.addresses(), before);
    assert_eq!(served.ask("GET", "/healthz", "", "").status, 200);
}

#[test]
fn every_interface_takes_over_from_one() {
    let mut served = Served::open();
    let port = port();
    for url in [
        format!("http://127.0.0.1:{port}"),
        format!("http://0.0.0.0:{port}"),
        format!("http://127.0.0.1:{port}"),
    ] {
        assert_eq!(served.server.listen(&config(std::slice::from_ref(&url))).unwrap(), Vec::<String>::new());
        served.address = ([127, 0, 0, 1], port).into();
        assert_eq!(served.ask("GET", "/healthz", "", "").status, 200, "{url}");
    }
    // Nobody else's socket is shared.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("http://0.0.0.0:{}", taken.local_addr().unwrap().port());
    assert!(served.server.plan(&config(&[other])).is_err());
}

#[test]
fn who_is_connected_stays_when_a_listener_goes() {
    let served = Served::open();
    let mut stream = served.stream("/api/v1/overview/stream", "");
    served.server.listen(&config(&[format!("http://127.0.0.1:{}", port())])).unwrap();
    assert!(std::net::TcpStream::connect(served.address).is_err(), "somebody accepts");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = [0; 100_000];
    for _ in 0..3 {
        assert!(stream.read(&mut bytes).is_ok_and(|length| length > 0), "it ended");
    }
}

#[test]
fn listeners_that_a_reload_opens_or_closes_are_told() {
    let served = Served::open();
    let told = || served.ask("GET", "/api/v1/overview", "", "").json()["listeners"].clone();
    let urls = [port(), port()].map(|port| format!("mqtt://127.0.0.1:{port}"));
    for urls in [&urls[..], &urls[1..], &urls[..1]] {
        let mut changed = served.base.clone();
        changed.listeners = config(urls).listeners;
        served.broker.lock().unwrap().reload(&changed).unwrap();
        until("the listeners", || told() == serde_json::json!(urls));
    }
}
