//! What `cork bench --verify` must find: each kind of fault that a relay plants, as often as it does, and nothing else.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod relay;

use std::path::PathBuf;

use clap::Parser;
use cork_bench::{BenchArgs, Faults, Report};
use cork_broker::{Address, Broker, Config, Overrides};
use relay::{Fault, Relay};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    bench: BenchArgs,
}

/// A broker of this process, and its folder.
struct Running {
    broker: Option<Broker>,
    port: u16,
    folder: PathBuf,
}

impl Running {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cork-bench-{name}-{}", std::process::id()));
        let mut config = Config::default();
        let listen = vec!["mqtt://127.0.0.1:0".to_owned()];
        let data_dir = Some(folder.clone());
        config.apply(&Overrides { listen, data_dir, allow_anonymous: true, ..Overrides::default() }).unwrap();
        let broker = Broker::start(&config).unwrap();
        let Address::Net(address) = broker.addresses()[0].1 else { panic!("not TCP") };
        Self { broker: Some(broker), port: address.port(), folder }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.shutdown();
        }
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Runs `line` through a relay; returns the report and how many messages were spoilt.
fn run(fault: Fault, every: u64, line: &str) -> (Report, u64) {
    let name = format!("{fault:?}-{every}-{}", line.len());
    let running = Running::start(&name);
    let relay = Relay::start(running.port, fault, every);
    let url = format!("--url=mqtt://127.0.0.1:{}", relay.port);
    let words = std::iter::once("bench").chain(line.split(' ')).chain([url.as_str(), "--verify"]);
    let report = cork_bench::run(&Line::parse_from(words).bench).unwrap();
    (report, relay.spoilt())
}

const PAIRS: &str = "pairs -n 3 --messages 6k --window 50";

fn found(fault: Fault, line: &str, expected: impl Fn(u64) -> Faults) {
    let (report, spoilt) = run(fault, 97, line);
    assert!(spoilt >= 30, "{spoilt} messages were spoilt");
    assert_eq!(report.faults, expected(spoilt), "{line}");
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    for qos in 0..3 {
        let (report, spoilt) = run(Fault::Nothing, 97, &format!("{PAIRS} --qos {qos}"));
        assert_eq!((report.faults, spoilt), (Faults::default(), 0), "QoS {qos}");
        assert!(report.is_clean());
        assert!(report.get("delivered_per_second").unwrap() > 0.0);
    }
}

#[test]
fn dropped_messages_are_lost() {
    found(Fault::Drop, PAIRS, |spoilt| Faults { lost: spoilt, ..Faults::default() });
    found(Fault::Drop, "fan-out -n 3 --messages 2k --window 50", |spoilt| Faults {
        lost: spoilt,
        ..Faults::default()
    });
    found(Fault::Drop, "wildcard --filters 300 --messages 6k", |spoilt| Faults {
        lost: spoilt,
        ..Faults::default()
    });
}

#[test]
fn doubled_messages_are_duplicates() {
    found(Fault::Double, PAIRS, |spoilt| Faults { duplicated: spoilt, ..Faults::default() });
    found(Fault::Double, "shared -n 3 --members 2 --messages 6k", |spoilt| Faults {
        duplicated: spoilt,
        ..Faults::default()
    });
}

#[test]
fn swapped_messages_are_out_of_order() {
    found(Fault::Swap, PAIRS, |spoilt| Faults { reordered: spoilt, ..Faults::default() });
}

#[test]
fn corrupt_messages_are_seen_and_missing() {
    let expected = |spoilt| Faults { corrupt: spoilt, lost: spoilt, ..Faults::default() };
    found(Fault::Corrupt, PAIRS, expected);
    found(Fault::Corrupt, "pairs -n 2 --messages 6k --window 50 --size 48-300 --protocol 5", expected);
}

#[test]
fn misrouted_messages_are_seen_and_missing() {
    found(Fault::Misroute, PAIRS, |spoilt| Faults { misrouted: spoilt, lost: spoilt, ..Faults::default() });
}

#[test]
fn open_loop_finds_them_too() {
    let line = "pairs -n 2 --messages 4k --rate 20k --qos 0";
    found(Fault::Drop, line, |spoilt| Faults { lost: spoilt, ..Faults::default() });
}

#[test]
fn a_doubled_retained_message_is_a_duplicate() {
    let (report, spoilt) = run(Fault::Double, 50, "retained --messages 2k");
    assert_eq!((spoilt, report.faults), (40, Faults { duplicated: 40, ..Faults::default() }));
}

#[test]
fn a_lost_queued_message_is_missing() {
    // Dropped on the way: the broker waits for its acknowledgement, and the session ends with messages still queued.
    let (report, spoilt) = run(Fault::Drop, 500, "offline -n 4 --messages 250");
    assert_eq!(spoilt, 2);
    assert_eq!(report.faults, Faults { lost: 2, ..Faults::default() });
}

#[test]
fn nobody_there_is_an_error_that_says_where() {
    let line = Line::parse_from(["bench", "pairs", "--url", "mqtt://127.0.0.1:1"]);
    let failure = cork_bench::run(&line.bench).unwrap_err();
    assert_eq!(failure.exit_code(), cork_bench::EXIT_FAILED);
    let text = failure.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("refused the connection"), "{text}");
}
