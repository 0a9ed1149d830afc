//! Sessions and the end of connections (sections 4.1, 3.14.4).

use std::time::Duration;

use cork_conform::{
    Lab,
    wire::{self, Connect, V311},
};

use crate::support::{
    DAY, PUBREC, ids_of, message, newcomer, persistent, persistent_subscriber, publish_once, retained,
    subscribe, subscriber,
};

/// What is left of a Session that was left for a while: its subscription, a message that waited, and the identifier of
/// a QoS 2 message it had published and not released.
fn left_after(absence: Duration) -> (bool, bool, bool) {
    let mut lab = Lab::new();
    let watcher = subscriber(&mut lab, "watcher", "half done", 0);
    let client = persistent_subscriber(&mut lab, "a", "t", 1);
    lab.send(client, &message(2, "half done", b"x"));
    lab.bytes(watcher);
    lab.cut(client);
    publish_once(&mut lab, 1, "t", b"waiting");
    lab.advance(absence);
    let client = persistent(&mut lab, "a");
    let waited = lab.payloads(client).contains(&b"waiting".to_vec());
    publish_once(&mut lab, 0, "t", b"x");
    let subscribed = !lab.payloads(client).is_empty();
    lab.send(client, &wire::publish(V311, 0x0C, "half done", Some(7), b"x"));
    let recognised = !ids_of(&mut lab, client, PUBREC).is_empty() && lab.publishes(watcher).is_empty();
    (subscribed, waited, recognised)
}

#[test]
fn mqtt311_4_1_0_1_session_state_is_stored_as_long_as_the_session_lasts() {
    let (at_once, later) = (left_after(Duration::ZERO), left_after(DAY * 20));
    // A Session, or its messages, not stored in the first place are for 3.1.2-4 and 3.1.2-5.
    let stored = at_once.0;
    assert!(at_once.2 || !stored, "the half of a QoS 2 delivery");
    assert!(later == at_once || !stored, "twenty days later");
}

#[test]
fn mqtt311_4_1_0_2_a_session_lasts_at_least_as_long_as_its_connection() {
    for clean in [true, false] {
        let mut lab = Lab::new();
        let connect = Connect { clean, ..Connect::new(V311, "a") };
        // Connected once before, so that an end of the earlier Session may be due.
        let first = lab.connect_with(V311, &connect);
        lab.cut(first);
        lab.advance(DAY * 15);
        let client = lab.connect_with(V311, &connect);
        subscribe(&mut lab, client, "t", 1);
        for _ in 0..10 {
            lab.advance(DAY * 10);
            publish_once(&mut lab, 1, "t", b"x");
            assert_eq!(lab.payloads(client), [b"x"]);
        }
    }
}

#[test]
fn mqtt311_3_14_4_1_the_connection_is_closed_after_disconnect() {
    for clean in [true, false] {
        let mut lab = Lab::new();
        let client = lab.connect_with(V311, &Connect { clean, ..Connect::new(V311, "a") });
        lab.send(client, &wire::disconnect());
        assert!(lab.is_closed(client));
    }
}

#[test]
fn mqtt311_3_14_4_2_nothing_counts_that_comes_after_disconnect() {
    for apart in [false, true] {
        let mut lab = Lab::new();
        let watcher = subscriber(&mut lab, "watcher", "#", 0);
        let client = lab.connect(V311, "a");
        let packets = [wire::disconnect(), message(0, "t", b"x"), retained(1, "t", b"y")];
        if apart {
            packets.iter().for_each(|packet| lab.send(client, packet));
        } else {
            lab.send(client, &packets.concat());
        }
        // A connection that is not closed is for 3.14.4-1.
        let processed = !lab.publishes(watcher).is_empty() || !newcomer(&mut lab, "#").is_empty();
        assert!(!processed || !lab.is_closed(client));
    }
}
