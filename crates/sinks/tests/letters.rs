//! Dead letters of a real broker, behind a webhook that takes what it is told to take.
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cork_broker::{Broker, Config};
use cork_client::{Options, Publish, QoS, blocking::Client};
use cork_sinks::Sinks;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A webhook that answers 400 to all that says `bad`, until it is mended.
#[derive(Clone, Default)]
struct Hook {
    mended: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    fn start() -> (Self, u16) {
        let hook = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = hook.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let hook = serving.clone();
                thread::spawn(move || hook.serve(&stream.unwrap()));
            }
        });
        (hook, port)
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(bytes) = line.strip_prefix("content-length:") {
                    length = bytes.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let text = String::from_utf8(body).unwrap();
            let is_fine = self.mended.load(Ordering::SeqCst) || !text.contains("bad");
            if is_fine {
                self.taken.lock().unwrap().push(text);
            }
            let status = if is_fine { "200 OK" } else { "400 Bad Request" };
            let mut stream = stream;
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").ok()?;
        }
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A broker in memory with these limits and a sink to the hook.
fn start(limits: &str) -> (Broker, Sinks, Client, Hook) {
    let (hook, port) = Hook::start();
    let sink = format!(
        "[[sink]]\nname = 'hook'\ntype = 'http'\nurl = 'http://127.0.0.1:{port}/'\nfilter = 's/#'\nretry_max = '200ms'\n"
    );
    let config = format!("durability = 'none'\n[limits]\n{limits}\n{sink}");
    let mut config = Config::from_toml(&config, "cork.toml").unwrap();
    config.in_memory = true;
    config.listeners.clear();
    let broker = Broker::start(&config).unwrap();
    let sinks = Sinks::start(&broker).unwrap();
    let connector = broker.connector();
    let client = Client::connect(Options::in_process(move || connector.connect()).reconnect(None)).unwrap();
    (broker, sinks, client, hook)
}

fn publish(client: &Client, topic: &str, payload: &str) {
    client.deliver(Publish::new(topic, payload.to_owned()).qos(QoS::AtLeastOnce)).unwrap();
}

#[test]
fn a_bad_row_as_long_as_packets_may_be_is_a_dead_letter_all_the_same() {
    let (broker, sinks, client, hook) = start("max_packet_size = '1KiB'");
    publish(&client, "s/1", &format!("bad{}", "x".repeat(990)));
    publish(&client, "s/2", "good");
    until("the row behind it", || hook.taken() == 1);
    let letters = sinks.letters();
    let page = letters.list("hook", None, 10).unwrap();
    assert_eq!(page.items.iter().map(|letter| letter.payload.len()).collect::<Vec<_>>(), [993]);
    hook.mended.store(true, Ordering::SeqCst);
    assert_eq!(letters.replay("hook", None).unwrap(), 1);
    until("the letter", || hook.taken() == 2);
    sinks.stop();
    broker.shutdown();
}

#[test]
fn a_sink_whose_dead_letters_are_full_waits_and_loses_none() {
    let (broker, sinks, client, hook) = start("queue_max_bytes = '30KiB'");
    const ROWS: usize = 40;
    for number in 0..ROWS {
        publish(&client, &format!("s/{number}"), &format!("bad{}", "x".repeat(500)));
        // What waits for the sink itself has room.
        thread::sleep(Duration::from_millis(5));
    }
    let letters = sinks.letters();
    let there = || letters.list("hook", None, 1000).unwrap().items.len();
    until("the first letters", || there() > 5);
    thread::sleep(Duration::from_millis(500));
    assert!(there() < ROWS - 10, "there is room for all of them, so this tests nothing");
    // A replay is asked for before the database is mended, as one does; and once more after.
    publish(&client, "$cork/sink/hook/replay", "");
    hook.mended.store(true, Ordering::SeqCst);
    until("what waited", || hook.taken() + there() >= ROWS);
    publish(&client, "$cork/sink/hook/replay", "");
    until("all of them", || hook.taken() == ROWS);
    let mut taken = hook.taken.lock().unwrap().clone();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), ROWS, "each once");
    sinks.stop();
    broker.shutdown();
}

#[test]
fn a_sink_that_waits_for_room_can_be_stopped() {
    let (broker, sinks, client, _hook) = start("queue_max_bytes = '10KiB'");
    for number in 0..20 {
        publish(&client, &format!("s/{number}"), &format!("bad{}", "x".repeat(500)));
        thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    sinks.stop();
    broker.shutdown();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_letter_is_tried_again_by_the_id_of_its_row() {
    let (broker, sinks, client, hook) = start("");
    let mut inbox = client.subscribe("$dead/#").unwrap();
    for number in 0..3 {
        publish(&client, &format!("s/{number}"), "bad");
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        let letter = inbox.next_timeout(PATIENCE).unwrap().unwrap();
        let id = letter.properties().user_properties().find(|(name, _)| *name == "dead-id").unwrap();
        ids.push(id.1.to_owned());
    }
    hook.mended.store(true, Ordering::SeqCst);
    publish(&client, "$cork/sink/hook/replay", &ids[1]);
    until("the one that was named", || hook.taken() == 1);
    assert!(hook.taken.lock().unwrap()[0].contains(&format!("\"{}\"", ids[1])));
    let letters = sinks.letters();
    until("the others", || letters.list("hook", None, 10).unwrap().items.len() == 2);
    sinks.stop();
    broker.shutdown();
}
