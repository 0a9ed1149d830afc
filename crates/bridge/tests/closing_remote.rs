//! Links to a broker that ends the connection at some messages instead of answering them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use cork_bridge::Bridges;
use cork_broker::{Broker, Config, TestBroker};
use cork_client::{Options, Publish, QoS, blocking::Client};
use cork_packet::{Packet, ProtocolVersion, Receiver, decode};
use cork_proto::{Inbound, split_packet};

const PATIENCE: Duration = Duration::from_secs(60);

/// At which messages it ends the connection.
const BAD: u8 = 0;
const ALL: u8 = 1;
const NONE: u8 = 2;

/// A broker that ends connections at messages: what stands before one that does not.
struct Front {
    port: u16,
    closes_at: Arc<AtomicU8>,
    ends: Arc<AtomicU32>,
}

impl Front {
    /// `last` is what it says before it closes.
    fn new(to: &str, last: &'static [u8]) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = door.local_addr().unwrap().port();
        let (closes_at, ends) = <(Arc<AtomicU8>, Arc<AtomicU32>)>::default();
        let to = to.trim_start_matches("mqtt://").to_owned();
        let front = Self { port, closes_at: Arc::clone(&closes_at), ends: Arc::clone(&ends) };
        thread::spawn(move || {
            for caller in door.incoming() {
                let (mut caller, server) = (caller.unwrap(), TcpStream::connect(&to).unwrap());
                let (mut from, mut back) = (server.try_clone().unwrap(), caller.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut back);
                    let _ = back.shutdown(Shutdown::Both);
                });
                let (closes_at, ends) = (Arc::clone(&closes_at), Arc::clone(&ends));
                thread::spawn(move || {
                    if passes_on(&mut caller, &server, &closes_at).is_none() {
                        ends.fetch_add(1, Ordering::Relaxed);
                        // What was taken before is answered first.
                        thread::sleep(Duration::from_millis(20));
                        let _ = caller.write_all(last);
                    }
                    let _ = (server.shutdown(Shutdown::Both), caller.shutdown(Shutdown::Both));
                });
            }
        });
        front
    }

    fn set(&self, closes_at: u8) {
        self.closes_at.store(closes_at, Ordering::Relaxed);
    }

    fn wait_for_ends(&self, count: u32) {
        let deadline = Instant::now() + PATIENCE;
        while self.ends.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "no {count} ends");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Until the caller is gone (`Some`), or a message came at which the connection ends.
fn passes_on(caller: &mut TcpStream, mut server: &TcpStream, closes_at: &AtomicU8) -> Option<()> {
    let (mut kept, mut buffer) = (Inbound::default(), vec![0; 64 << 10]);
    loop {
        let count = caller.read(&mut buffer).unwrap_or_default();
        if count == 0 {
            return Some(());
        }
        kept.keep(&buffer[..count]);
        let bytes = kept.take();
        let mut input = bytes.as_slice();
        while let Ok(Some(packet)) = split_packet(&mut input, usize::MAX) {
            let bad = match closes_at.load(Ordering::Relaxed) {
                BAD => packet.windows(3).any(|three| three == b"bad"),
                ALL => true,
                _ => false,
            };
            if packet[0] >> 4 == 3 && bad {
                return None;
            }
            if server.write_all(packet).is_err() {
                return Some(());
            }
        }
        kept.keep(input);
    }
}

fn local(front: &Front, version: &str, qos: u8) -> (Broker, Bridges, Client) {
    local_to(front.port, version, qos)
}

fn local_to(port: u16, version: &str, qos: u8) -> (Broker, Bridges, Client) {
    let link = format!(
        "[limits]\nsys_interval = '1s'\n[[bridge]]\nname = 'a'\nurl = 'mqtt://127.0.0.1:{}'\nversion = '{version}'\n\
         reconnect_max = '1s'\n[[bridge.topic]]\nqos = {qos}\nfilter = 'data/#'\n",
        port
    );
    let mut config = Config::from_toml(&link, "cork.toml").unwrap();
    config.in_memory = true;
    config.listeners.clear();
    let mut broker = Broker::start_closed(&config).unwrap();
    let bridges = Bridges::start(&broker).unwrap();
    broker.open();
    let connector = broker.connector();
    let options = Options::in_process(move || connector.connect());
    (broker, bridges, Client::connect(options).unwrap())
}

/// Publishes numbers from 0 on, the third of them bad.
fn send(here: &Client, count: usize) {
    for number in 0..count {
        let payload = if number == 2 { "bad".to_owned() } else { number.to_string() };
        here.deliver(Publish::new(format!("data/{}", number % 2), payload).qos(QoS::ExactlyOnce)).unwrap();
    }
}

/// Waits for numbers below `count` without the bad one; whether all of them came once, and each topic in order.
fn all_came(there: &mut cork_client::blocking::Subscription, count: usize) -> bool {
    let (mut came, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    let wanted = (0..count).filter(|number| *number != 2);
    while !wanted.clone().all(|number| came.contains(&number)) {
        assert!(Instant::now() < deadline, "only {came:?} came");
        if let Ok(Some(message)) = there.next_timeout(Duration::from_secs(1)) {
            came.push(String::from_utf8_lossy(message.payload()).parse().unwrap());
        }
    }
    let topic = |parity| came.iter().filter(move |number| **number % 2 == parity);
    came.len() == count - 1 && topic(0).is_sorted() && topic(1).is_sorted()
}

/// Waits for what `$SYS` says of the link.
fn told(here: &Client, key: &str, wanted: &str) {
    let mut told = here.subscribe(format!("$SYS/broker/bridge/a/{key}")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{key} is not {wanted}");
        if let Ok(Some(message)) = told.next_timeout(Duration::from_secs(1))
            && String::from_utf8_lossy(message.payload()).contains(wanted)
        {
            return;
        }
    }
}

fn one_bad_message(version: &str, last: &'static [u8], reason: &str) {
    let remote = TestBroker::start();
    for qos in [1, 2] {
        let front = Front::new(&remote.url(), last);
        let there = Client::connect(Options::new(&remote.url()).unwrap()).unwrap();
        let mut all = there.subscribe("data/#").unwrap();
        let (broker, bridges, here) = local(&front, version, qos);
        send(&here, 20);
        assert!(all_came(&mut all, 20) || qos == 1, "not each once, in order");
        told(&here, "messages/dropped/disconnected", "1");
        told(&here, "messages/aside", "0");
        told(&here, "backlog/messages", "0");
        told(&here, "last_error", reason);
        assert!(front.ends.load(Ordering::Relaxed) <= 9);
        bridges.stop();
        broker.shutdown();
    }
}

#[test]
fn a_message_at_which_a_broker_of_3_1_1_closes_does_not_block_the_rest() {
    one_bad_message("3.1.1", &[], "it closed the connection");
}

#[test]
fn a_message_at_which_a_broker_of_5_0_disconnects_does_not_block_the_rest() {
    one_bad_message("5", &[0xE0, 2, 0x95, 0], "acket too large");
}

#[test]
fn a_broker_that_closes_at_every_message_loses_none() {
    let remote = TestBroker::start();
    let front = Front::new(&remote.url(), &[0xE0, 2, 0x87, 0]);
    front.set(ALL);
    let there = Client::connect(Options::new(&remote.url()).unwrap()).unwrap();
    let mut all = there.subscribe("data/#").unwrap();
    let (broker, bridges, here) = local(&front, "5", 2);
    let numbers = [0, 1, 3, 4, 5];
    for number in numbers {
        here.deliver(Publish::new("data/a", number.to_string()).qos(QoS::ExactlyOnce)).unwrap();
    }
    front.wait_for_ends(14);
    told(&here, "messages/dropped/disconnected", "0");
    front.set(NONE);
    let mut came: Vec<usize> = Vec::new();
    while came.len() < numbers.len() {
        let message = all.next_timeout(PATIENCE).unwrap().expect("a message");
        came.push(String::from_utf8_lossy(message.payload()).parse().unwrap());
    }
    came.sort_unstable();
    assert_eq!(came, numbers);
    told(&here, "backlog/messages", "0");
    told(&here, "messages/dropped/disconnected", "0");
    bridges.stop();
    broker.shutdown();
}

#[test]
fn suspects_are_found_again_after_a_restart_of_the_link() {
    let remote = TestBroker::start();
    let front = Front::new(&remote.url(), &[]);
    let there = Client::connect(Options::new(&remote.url()).unwrap()).unwrap();
    let mut all = there.subscribe("data/#").unwrap();
    let (broker, bridges, here) = local(&front, "3.1.1", 2);
    send(&here, 3);
    told(&here, "messages/aside", "1");
    bridges.stop();
    let bridges = Bridges::start(&broker).unwrap();
    for number in 3..10 {
        here.deliver(Publish::new(format!("data/{}", number % 2), number.to_string()).qos(QoS::ExactlyOnce))
            .unwrap();
    }
    assert!(all_came(&mut all, 10), "not each once, in order");
    told(&here, "messages/dropped/disconnected", "1");
    told(&here, "backlog/messages", "0");
    bridges.stop();
    broker.shutdown();
}

/// A broker that answers all that came by one read with one write, what is bad with `last`, and closes. It reads nothing
/// before `begin`.
fn answers_in_one_breath(
    door: TcpListener,
    last: &'static [u8],
    begin: mpsc::Receiver<()>,
    came: mpsc::Sender<String>,
) {
    thread::spawn(move || {
        begin.recv().unwrap();
        for caller in door.incoming() {
            let (mut caller, came) = (caller.unwrap(), came.clone());
            thread::spawn(move || while answers_one_read(&mut caller, last, &came) {});
        }
    });
}

/// Whether the connection goes on. What comes by one read ends with a packet: the link writes no halves of small ones.
fn answers_one_read(caller: &mut TcpStream, last: &[u8], came: &mpsc::Sender<String>) -> bool {
    let mut buffer = vec![0; 64 << 10];
    let count = caller.read(&mut buffer).unwrap_or_default();
    let (mut input, mut answers, mut open) = (&buffer[..count], Vec::new(), count > 0);
    while let (true, Ok(Some(packet))) = (open, split_packet(&mut input, usize::MAX)) {
        match decode(ProtocolVersion::V5, Receiver::Server, packet).unwrap() {
            Packet::Connect(_) => answers.extend([0x20, 3, 1, 0, 0]),
            Packet::PingReq => answers.extend([0xD0, 0]),
            Packet::Publish(publish) if publish.payload == b"bad" => {
                answers.extend(last);
                open = false;
            }
            Packet::Publish(publish) => {
                let _ = came.send(String::from_utf8_lossy(publish.payload).into_owned());
                let [high, low] = publish.packet_id.unwrap().get().to_be_bytes();
                answers.extend([0x40, 2, high, low]);
            }
            _ => {}
        }
    }
    caller.write_all(&answers).is_ok() && open
}

/// One bad message of twenty, at which the broker says `last` behind its acknowledgements of those before it.
fn answered_in_one_breath(last: &'static [u8]) {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port();
    let ((begin, begins), (came, comes)) = (mpsc::channel(), mpsc::channel());
    answers_in_one_breath(door, last, begins, came);
    let (broker, bridges, here) = local_to(port, "5", 1);
    send(&here, 20);
    begin.send(()).unwrap();
    let mut all: Vec<String> = Vec::new();
    while all.last().is_none_or(|last| last != "19") {
        all.push(comes.recv_timeout(PATIENCE).expect("the rest"));
    }
    told(&here, "messages/dropped/disconnected", "1");
    told(&here, "backlog/messages", "0");
    all.sort_by_key(|number| number.parse::<u32>().unwrap());
    let wanted: Vec<String> =
        (0..20).filter(|number| *number != 2).map(|number| number.to_string()).collect();
    assert_eq!(all, wanted, "each of them once");
    bridges.stop();
    broker.shutdown();
}

#[test]
fn what_is_acknowledged_in_one_breath_with_the_end_counts() {
    answered_in_one_breath(&[0xE0, 1, 0x83]);
}

#[test]
fn what_breaks_the_protocol_at_a_message_does_not_block_the_rest() {
    // Packet too large, which PUBACK cannot say.
    answered_in_one_breath(&[0x40, 3, 0, 3, 0x95]);
}
