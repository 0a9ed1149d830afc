//! What leaves memory when it is short comes back when it is wanted.
#![forbid(unsafe_code)]

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V5, V311},
};
use cork_core::{Health, Pressure, ShardConfig};

const RETAIN_QOS1: u8 = 3;

fn lab(change: impl FnOnce(&mut ShardConfig)) -> Lab {
    Lab::with(|config| {
        config.limits.retained_bytes_max = 0;
        change(config);
    })
}

fn press(lab: &mut Lab, pressure: Pressure) {
    lab.measured(Health { pressure, ..Health::default() });
    lab.advance(Duration::from_millis(1));
}

/// Retains `count` messages on `t/0000` and so on, each with its topic as payload.
fn retain(lab: &mut Lab, count: u16) -> Vec<String> {
    let publisher = lab.connect(V5, "publisher");
    let topics: Vec<String> = (0..count).map(|n| format!("t/{n:04}")).collect();
    for (id, topic) in (1..).zip(&topics) {
        lab.send(publisher, &wire::publish(V5, RETAIN_QOS1, topic, Some(id), topic.as_bytes()));
    }
    topics
}

fn subscribe(lab: &mut Lab, name: &str, filter: &str, qos: u8) -> ClientIx {
    let client = lab.connect(V5, name);
    lab.send(client, &wire::subscribe(V5, 1, &[(filter, qos)]));
    lab.advance(Duration::from_secs(2));
    client
}

fn topics(lab: &mut Lab, client: ClientIx) -> Vec<String> {
    let message = |it: cork_conform::Published| {
        assert_eq!(it.payload, it.topic.as_bytes());
        it.topic
    };
    lab.publishes(client).into_iter().map(message).collect()
}

#[test]
fn retained_messages_that_only_the_store_has_come_all_and_in_order() {
    for (shards, qos) in [(1, 0), (1, 1), (3, 0), (3, 2)] {
        let mut lab = lab(|config| config.shards = shards);
        let expected = retain(&mut lab, 1000);
        for name in ["a", "b"] {
            let client = subscribe(&mut lab, name, "t/+", qos);
            assert_eq!(topics(&mut lab, client), expected, "{shards} shards, QoS {qos}");
        }
    }
}

#[test]
fn a_slow_reader_gets_them_as_it_reads() {
    let mut lab = lab(|_| {});
    let expected = retain(&mut lab, 3000);
    let client = lab.connect(V5, "slow");
    lab.set_window(client, 0);
    lab.send(client, &wire::subscribe(V5, 1, &[("#", 0)]));
    let mut got = Vec::new();
    while got.len() < expected.len() {
        // SUBACK, and whole packets.
        lab.set_window(client, if got.is_empty() { 6 + 17 * 100 } else { 17 * 100 });
        lab.advance(Duration::from_millis(1));
        let before = got.len();
        got.extend(topics(&mut lab, client));
        assert_eq!(got.len(), before + 100);
    }
    assert_eq!(got, expected);
}

#[test]
fn what_changes_while_the_store_reads_is_sent_as_it_is_then() {
    let mut lab = lab(|_| {});
    retain(&mut lab, 3);
    let publisher = lab.connect(V5, "other");
    lab.pause_loads();
    let client = subscribe(&mut lab, "new", "t/+", 0);
    lab.send(publisher, &wire::publish(V5, RETAIN_QOS1, "t/0000", Some(1), b""));
    lab.send(publisher, &wire::publish(V5, RETAIN_QOS1, "t/0001", Some(2), b"changed"));
    let live: Vec<_> = lab.payloads(client);
    assert_eq!(live, [b"".to_vec(), b"changed".to_vec()]);
    lab.loads_arrive();
    lab.advance(Duration::from_secs(1));
    assert_eq!(lab.payloads(client), [b"changed".to_vec(), b"t/0002".to_vec()]);
}

#[test]
fn what_the_store_does_not_have_stays() {
    for shards in [1, 2] {
        let mut lab = lab(|config| config.shards = shards);
        lab.store_is_full(true);
        let publisher = lab.connect(V5, "publisher");
        lab.send(publisher, &wire::publish(V5, 1, "t/a", None, b"t/a"));
        lab.store_is_full(false);
        press(&mut lab, Pressure::Lean);
        lab.send(publisher, &wire::publish(V5, 1, "t/b", None, b"t/b"));
        for name in ["a", "b", "c"] {
            let client = subscribe(&mut lab, name, "t/+", 0);
            assert_eq!(topics(&mut lab, client), ["t/a", "t/b"], "{shards} shards");
        }
    }
}

#[test]
fn contents_leave_when_memory_gets_short() {
    let mut lab = lab(|config| config.limits.retained_bytes_max = u64::MAX);
    let expected = retain(&mut lab, 2000);
    let first = subscribe(&mut lab, "first", "#", 0);
    assert_eq!(topics(&mut lab, first), expected);
    press(&mut lab, Pressure::Lean);
    lab.pause_loads();
    let second = subscribe(&mut lab, "second", "#", 0);
    assert_eq!(lab.payloads(second), [[0; 0]; 0], "nothing is here any more");
    lab.loads_arrive();
    lab.advance(Duration::from_secs(1));
    assert_eq!(topics(&mut lab, second), expected);
}

#[test]
fn queues_leave_when_memory_gets_short_and_come_back_in_order() {
    for version in [V5, V311] {
        let mut lab = lab(|_| {});
        let sleeper = lab.connect_with(version, &Connect::persistent(version, "sleeper"));
        lab.send(sleeper, &wire::subscribe(version, 1, &[("q", 2)]));
        lab.cut(sleeper);
        let publisher = lab.connect(V5, "publisher");
        let payloads: Vec<Vec<u8>> = (0..600u16).map(|n| n.to_be_bytes().to_vec()).collect();
        let mut id = 0;
        let mut publish = |lab: &mut Lab, payloads: &[Vec<u8>]| {
            for payload in payloads {
                id += 1;
                lab.send(publisher, &wire::publish(V5, 2, "q", Some(id), payload));
            }
        };
        publish(&mut lab, &payloads[..300]);
        press(&mut lab, Pressure::Lean);
        publish(&mut lab, &payloads[300..500]);
        press(&mut lab, Pressure::None);
        publish(&mut lab, &payloads[500..]);
        lab.pause_loads();
        let back = lab.connect_with(version, &Connect::persistent(version, "sleeper"));
        assert_eq!(lab.payloads(back), [[0; 0]; 0], "nothing is here any more");
        lab.loads_arrive();
        let mut got = Vec::new();
        for _ in 0..payloads.len() {
            for message in lab.publishes(back) {
                assert!(!message.dup);
                lab.send(back, &wire::ack(0x40, message.id.expect("an identifier")));
                got.push(message.payload);
            }
        }
        assert_eq!(got, payloads);
        let stats = lab.stats(0);
        assert_eq!((stats.queued_messages, stats.queued_bytes, stats.inflight), (0, 0, 0));
    }
}

#[test]
fn last_of_all_publishers_are_slowed_and_lose_nothing() {
    let mut lab = lab(|_| {});
    let sleeper = lab.connect_with(V5, &Connect::persistent(V5, "sleeper"));
    lab.send(sleeper, &wire::subscribe(V5, 1, &[("q", 1)]));
    lab.cut(sleeper);
    let publisher = lab.connect(V5, "publisher");
    press(&mut lab, Pressure::Short);
    for id in 1..=50 {
        lab.send(publisher, &wire::publish(V5, 2, "q", Some(id), b"x"));
    }
    assert_eq!(lab.acks(publisher).len(), 1, "then it rests");
    lab.advance(Duration::from_secs(1));
    let soon = lab.acks(publisher).len();
    assert!((5..=11).contains(&soon), "{soon} in a second");
    press(&mut lab, Pressure::None);
    lab.advance(Duration::from_secs(1));
    assert_eq!(lab.acks(publisher).len(), 49 - soon);
    assert_eq!(lab.stats(0).queued_messages, 50);
}
