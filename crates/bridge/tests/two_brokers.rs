//! Links between brokers of this program: what passes, what waits, and what a reload does.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use cork_bridge::Bridges;
use cork_broker::{Broker, Config, TestBroker};
use cork_client::{
    Options, Publish, QoS,
    blocking::{Client, Subscription},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn client(url: &str) -> Client {
    Client::connect(Options::new(url).unwrap()).unwrap()
}

/// A broker in memory, with links.
fn local(links: &str) -> (Broker, Bridges, Client) {
    let config = config(links);
    let mut broker = Broker::start_closed(&config).unwrap();
    let bridges = Bridges::start(&broker).unwrap();
    broker.open();
    let connector = broker.connector();
    let options = Options::in_process(move || connector.connect());
    (broker, bridges, Client::connect(options).unwrap())
}

fn config(links: &str) -> Config {
    let mut config = Config::from_toml(links, "cork.toml").unwrap();
    config.in_memory = true;
    config.listeners.clear();
    config
}

fn link(url: &str, topics: &str) -> String {
    format!("[[bridge]]\nname = 'a'\nurl = '{url}'\nreconnect_max = '1s'\n{topics}")
}

fn topic(rest: &str) -> String {
    format!("[[bridge.topic]]\nqos = 2\n{rest}\n")
}

/// The next message's topic and payload.
fn next(subscription: &mut Subscription) -> (String, String) {
    let message = subscription.next_timeout(PATIENCE).unwrap().expect("a message");
    (message.topic().to_string(), String::from_utf8_lossy(message.payload()).into_owned())
}

fn pair(topic: &str, payload: &str) -> (String, String) {
    (topic.to_owned(), payload.to_owned())
}

fn send(client: &Client, topic: &str, payload: &str) {
    client.deliver(Publish::new(topic, payload.to_owned()).qos(QoS::ExactlyOnce)).unwrap();
}

#[test]
fn messages_pass_both_ways_under_their_prefixes() {
    let remote = TestBroker::start();
    let there = client(&remote.url());
    let mut sites = there.subscribe("site/#").unwrap();
    let topics = topic("filter = 'up/#'\nremote_prefix = 'site/'")
        + &topic("filter = 'down/#'\ndirection = 'in'\nremote_prefix = 'site/'\nlocal_prefix = 'lab/'");
    let (broker, bridges, here) = local(&link(&remote.url(), &topics));
    let mut lab = here.subscribe("lab/#").unwrap();
    send(&here, "up/1", "first");
    assert_eq!(next(&mut sites), pair("site/up/1", "first"));
    // The link subscribed there before it let the first message pass.
    let deadline = Instant::now() + PATIENCE;
    let came = loop {
        send(&there, "site/down/1", "second");
        match lab.next_timeout(Duration::from_millis(200)) {
            Ok(message) => break message.expect("a message"),
            Err(_) => assert!(Instant::now() < deadline, "nothing came"),
        }
    };
    assert_eq!((&**came.topic(), &came.payload()[..]), ("lab/down/1", &b"second"[..]));
    bridges.stop();
    broker.shutdown();
}

/// A way to `to` that lets in and hangs up so often before it is open, as a load balancer without a backend does.
fn opens_late(to: String, hang_ups: usize) -> u16 {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port();
    thread::spawn(move || {
        for (number, caller) in door.incoming().enumerate() {
            let mut caller = caller.unwrap();
            if number < hang_ups {
                // What it says is read, so that it finds an end and no reset.
                let _ = caller.read(&mut [0; 1000]);
                continue;
            }
            let server = TcpStream::connect(&to).unwrap();
            for (mut from, mut to) in
                [(caller.try_clone().unwrap(), server.try_clone().unwrap()), (server, caller)]
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn who_hangs_up_is_asked_for_5_0_again() {
    for hang_ups in 1..=4 {
        let remote = TestBroker::start();
        let port = opens_late(remote.url().trim_start_matches("mqtt://").to_owned(), hang_ups);
        let there = client(&remote.url());
        let mut all = there.subscribe("#").unwrap();
        let (broker, bridges, here) =
            local(&link(&format!("mqtt://127.0.0.1:{port}"), &topic("filter = 'a'")));
        let message = Publish::new("a", "x").qos(QoS::ExactlyOnce).retain(true).user_property("unit", "C");
        here.deliver(message).unwrap();
        let message = all.next_timeout(PATIENCE).unwrap().expect("a message");
        let unit = message.properties().user_properties().any(|pair| pair == ("unit", "C"));
        assert!(unit, "after {hang_ups} it is 3.1.1");
        bridges.stop();
        broker.shutdown();
    }
}

#[test]
fn a_broker_that_says_nothing_costs_seconds_and_only_links_have_a_backlog() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = TestBroker::start();
    let there = client(&remote.url());
    let mut all = there.subscribe("#").unwrap();
    let urls = format!("mqtt://{}', '{}", silent.local_addr().unwrap(), remote.url());
    let links = link("", &topic("filter = 'a'")).replace("''", &format!("['{urls}']"));
    let (broker, bridges, here) = local(&format!("[limits]\nsys_interval = '1s'\n{links}"));
    let began = Instant::now();
    send(&here, "a", "x");
    assert_eq!(next(&mut all), pair("a", "x"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let mut figures = here.subscribe("$SYS/broker/bridge/#").unwrap();
    let mut topics = Vec::new();
    while let Ok(Some(message)) = figures.next_timeout(Duration::from_secs(2)) {
        topics.push(message.topic().to_string());
        assert!(topics.len() < 1000, "{topics:?}");
    }
    let of = |start: &str| topics.iter().any(|topic| topic.starts_with(start));
    assert!(of("$SYS/broker/bridge/a/backlog/") && !of("$SYS/broker/bridge/backlog/"), "{topics:?}");
    bridges.stop();
    broker.shutdown();
}

#[test]
fn each_url_has_its_own_version() {
    let doors = ["127.0.0.1:0"; 2].map(|address| TcpListener::bind(address).unwrap());
    let urls = doors.each_ref().map(|door| format!("mqtt://{}", door.local_addr().unwrap()));
    let [newer, older] = doors;
    // The first knows 5.0 and goes away.
    thread::spawn(move || {
        for caller in newer.incoming().take(2) {
            let mut caller = caller.unwrap();
            let _ = caller.read(&mut [0; 1000]);
            caller.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
            thread::sleep(Duration::from_millis(500));
        }
    });
    // The second knows 3.1.1 only.
    let (told, levels) = mpsc::channel();
    thread::spawn(move || {
        for caller in older.incoming() {
            let (mut caller, mut connect) = (caller.unwrap(), [0; 1000]);
            let _ = caller.read(&mut connect);
            // Behind the fixed header and `MQTT`.
            let level = connect[8];
            caller.write_all(&[0x20, 2, 0, u8::from(level == 5)]).unwrap();
            let _ = told.send(level);
            if level != 5 {
                thread::park();
            }
        }
    });
    let links = link("", &topic("filter = 'a'")).replace("''", &format!("['{}', '{}']", urls[0], urls[1]));
    let (broker, bridges, _here) = local(&links.replace("reconnect_max", "order = 'single'\nreconnect_max"));
    let mut asked = Vec::new();
    while !asked.contains(&0x84) {
        asked.push(levels.recv_timeout(PATIENCE).expect("it goes on asking for 5.0"));
        assert!(asked.len() < 5, "it goes on asking for 5.0: {asked:?}");
    }
    bridges.stop();
    broker.shutdown();
}

#[test]
fn a_reload_takes_links_over_and_keeps_what_waits() {
    let remote = TestBroker::start();
    let url = remote.url();
    let link = |url: &str, topics: &str| format!("[limits]\nsys_interval = '1s'\n{}", link(url, topics));
    let before = link("mqtt://127.0.0.1:1", &topic("filter = 'a'"));
    let (broker, mut bridges, here) = local(&before);
    send(&here, "a", "waits");
    assert_eq!(bridges.reload(&config(&before)).unwrap(), [] as [String; 0]);
    let there = client(&url);
    let mut all = there.subscribe("#").unwrap();
    let after = link(&url, &(topic("filter = 'a'") + &topic("filter = 'b'")));
    assert_eq!(bridges.reload(&config(&after)).unwrap(), ["bridge a: changed"]);
    send(&here, "b", "new");
    assert_eq!([next(&mut all), next(&mut all)], [pair("a", "waits"), pair("b", "new")]);
    // What is counted goes on.
    let mut out = here.subscribe("$SYS/broker/bridge/a/messages/out").unwrap();
    while next(&mut out).1 != "2" {}
    let slower = after.replace("reconnect_max = '1s'", "reconnect_max = '2s'");
    assert_eq!(bridges.reload(&config(&slower)).unwrap(), ["bridge a: changed"]);
    send(&here, "b", "newer");
    assert_eq!((next(&mut all), next(&mut out).1.as_str()), (pair("b", "newer"), "3"));
    let gone = bridges.reload(&config("durability = 'always'")).unwrap();
    assert_eq!(gone, ["bridge a: gone, with what waited for it"]);
    send(&here, "b", "nobody's");
    assert!(all.next_timeout(Duration::from_millis(300)).is_err(), "nothing comes");
    let wrong = config(&link("http://a", &topic("filter = 'a'")));
    assert!(bridges.reload(&wrong).unwrap_err().to_string().contains("there is no scheme `http`"));
    bridges.stop();
    broker.shutdown();
}
