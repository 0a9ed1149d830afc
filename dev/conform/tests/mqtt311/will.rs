//! The Will (sections 3.1.2.5 to 3.1.2.7, 3.14.4).

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Published,
    wire::{self, Connect, V311, Will, string},
};

use crate::support::{
    DAY, closes_at_connect, connect_bytes, has, message, newcomer, publish_once, retained, subscriber,
};

type End = fn(&mut Lab, ClientIx);

/// Ways to end a connection without DISCONNECT.
const ENDS: [(&str, End); 4] = [
    ("broken", |lab, client| lab.cut(client)),
    ("rule broken", |lab, client| lab.send(client, &[0xF6, 0])),
    ("silent", |lab, _| lab.advance(Duration::from_secs(16))),
    ("taken over", |lab, _| {
        lab.connect(V311, "a");
    }),
];

fn with_will(qos: u8, retain: bool) -> Connect {
    let will = Will { topic: "w".to_owned(), payload: b"gone".to_vec(), qos, retain, ..Will::default() };
    Connect { will: Some(will), keep_alive: 10, ..Connect::new(V311, "a") }
}

#[test]
fn mqtt311_3_1_2_8_the_will_is_published_when_the_connection_ends_without_disconnect() {
    for clean in [true, false] {
        for (how, end) in ENDS {
            let mut lab = Lab::new();
            let watcher = subscriber(&mut lab, "watcher", "w", 0);
            let client = lab.connect_with(V311, &Connect { clean, ..with_will(0, false) });
            assert!(lab.publishes(watcher).is_empty(), "not before the end");
            end(&mut lab, client);
            // Whether the broker has to end it here is another statement's business.
            if how == "broken" || lab.is_closed(client) {
                assert!(has(&lab.publishes(watcher), b"gone"), "{how}");
            }
        }
    }
}

/// What a watcher with QoS 2 sees of a Will, and of an ordinary message like it.
fn will_and_like(qos: u8) -> (Vec<Published>, Vec<Published>) {
    let mut lab = Lab::new();
    let watcher = subscriber(&mut lab, "watcher", "w", 2);
    let client = lab.connect_with(V311, &with_will(qos, false));
    lab.cut(client);
    let will = lab.publishes(watcher);
    publish_once(&mut lab, qos, "w", b"gone");
    (will, lab.publishes(watcher))
}

#[test]
fn mqtt311_3_1_2_9_with_the_will_flag_there_are_topic_and_message_and_will_qos_counts() {
    assert!(closes_at_connect(&connect_bytes(0x06, &[string("a")])), "neither topic nor message");
    assert!(closes_at_connect(&connect_bytes(0x06, &[string("a"), string("w")])), "no message");
    for qos in 0..3 {
        let (will, like) = will_and_like(qos);
        for (will, like) in will.iter().zip(&like) {
            assert_eq!(will.qos, like.qos, "Will QoS {qos}");
        }
    }
}

#[test]
fn mqtt311_3_1_2_10_the_will_is_removed_once_published_or_after_disconnect() {
    for clean in [true, false] {
        let mut lab = Lab::new();
        let watcher = subscriber(&mut lab, "watcher", "w", 0);
        let connect = Connect { clean, ..with_will(0, false) };
        let client = lab.connect_with(V311, &connect);
        lab.cut(client);
        lab.advance(DAY * 40);
        assert!(lab.publishes(watcher).len() <= 1, "published once, also when the Session ends later");

        let client = lab.connect_with(V311, &connect);
        lab.send(client, &wire::disconnect());
        lab.bytes(watcher); // at once: for 3.14.4-3
        lab.advance(DAY * 20);
        let client = lab.connect_with(V311, &Connect { will: None, ..connect });
        lab.cut(client);
        lab.advance(DAY * 40);
        assert!(lab.publishes(watcher).is_empty(), "nothing is left after DISCONNECT");
    }
}

#[test]
fn mqtt311_3_1_2_11_without_the_will_flag_there_are_no_will_fields() {
    assert!(closes_at_connect(&connect_bytes(0x02, &[string("a"), string("w"), string("gone")])));
    let with_user = [string("a"), string("w"), string("gone"), string("user")];
    assert!(closes_at_connect(&connect_bytes(0x82, &with_user)));
    assert!(closes_at_connect(&connect_bytes(0x2A, &[string("a")])), "Will QoS and Will Retain");
}

#[test]
fn mqtt311_3_1_2_12_without_the_will_flag_nothing_is_published_at_the_end() {
    for clean in [true, false] {
        for (how, end) in ENDS {
            let mut lab = Lab::new();
            let watcher = subscriber(&mut lab, "watcher", "#", 0);
            let connect = Connect { clean, will: None, ..with_will(0, false) };
            let client = lab.connect_with(V311, &connect);
            end(&mut lab, client);
            lab.advance(DAY * 40);
            assert!(lab.publishes(watcher).is_empty(), "{how}");
        }
    }
}

#[test]
fn mqtt311_3_1_2_13_without_the_will_flag_will_qos_is_0() {
    for qos in [1, 2, 3] {
        assert!(closes_at_connect(&connect_bytes(0x02 | qos << 3, &[string("a")])), "Will QoS {qos}");
    }
}

#[test]
fn mqtt311_3_1_2_14_will_qos_is_not_3() {
    for retain in [0, 0x20] {
        let payload = [string("a"), string("w"), string("gone")];
        assert!(closes_at_connect(&connect_bytes(0x02 | 0x04 | 0x18 | retain, &payload)));
    }
}

#[test]
fn mqtt311_3_1_2_15_without_the_will_flag_will_retain_is_0() {
    assert!(closes_at_connect(&connect_bytes(0x22, &[string("a")])));
}

/// Whether a Will was published, and whether somebody gets it who comes later; then whether somebody who comes later
/// gets an ordinary message like it.
fn kept_for_later(qos: u8, retain: bool) -> (bool, bool, bool) {
    let mut lab = Lab::new();
    let watcher = subscriber(&mut lab, "watcher", "w", 0);
    let client = lab.connect_with(V311, &with_will(qos, retain));
    lab.cut(client);
    let published = !lab.publishes(watcher).is_empty();
    let will = !newcomer(&mut lab, "w").is_empty();
    let publisher = lab.connect(V311, "publisher");
    let make = if retain { retained } else { message };
    lab.send(publisher, &make(qos, "like", b"gone"));
    (published, will, !newcomer(&mut lab, "like").is_empty())
}

#[test]
fn mqtt311_3_1_2_16_without_will_retain_the_will_is_not_retained() {
    for qos in 0..3 {
        let (_, will, like) = kept_for_later(qos, false);
        assert!(!will || like, "Will QoS {qos}");
    }
}

#[test]
fn mqtt311_3_1_2_17_with_will_retain_the_will_is_retained() {
    for qos in 0..3 {
        let (published, will, like) = kept_for_later(qos, true);
        assert!(!published || will || !like, "Will QoS {qos}");
    }
}

#[test]
fn mqtt311_3_14_4_3_disconnect_discards_the_will() {
    for clean in [true, false] {
        let mut lab = Lab::new();
        let watcher = subscriber(&mut lab, "watcher", "w", 0);
        let client = lab.connect_with(V311, &Connect { clean, ..with_will(0, false) });
        lab.send(client, &wire::disconnect());
        lab.cut(client);
        assert!(lab.publishes(watcher).is_empty());
    }
}
