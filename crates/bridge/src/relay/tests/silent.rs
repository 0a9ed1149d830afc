//! Brokers that are silent, and links that are only slow.

use super::*;

#[test]
fn a_broker_that_acknowledges_nothing_is_left() {
    let mut pair = Pair::online(ProtocolVersion::V5);
    for id in 1..=3 {
        pair.local_says(&wire::publish(V5, 2, "a", Some(id), b"x"));
    }
    pair.later(Duration::from_secs(20));
    pair.remote_says(&wire::ack(0x40, 1));
    pair.later(Duration::from_secs(29));
    assert_eq!(pair.relay.ended(), None, "it does something");
    pair.later(Duration::from_secs(1));
    assert_eq!(pair.relay.ended(), Some(&End::Unacknowledged(Duration::from_secs(30))));
}

#[test]
fn a_broker_that_does_not_answer_pings_is_left() {
    let mut pair = Pair::online(ProtocolVersion::V5);
    pair.later(Duration::from_secs(59));
    assert_eq!(pair.remote(), [] as [Vec<u8>; 0]);
    pair.later(Duration::from_secs(1));
    assert_eq!(pair.remote(), [wire::pingreq()]);
    pair.relay.wrote_remote(pair.now, false);
    pair.remote_says(&[0xD0, 0]);
    pair.later(Duration::from_secs(60));
    assert_eq!(pair.remote(), [wire::pingreq()]);
    pair.later(Duration::from_secs(10));
    assert_eq!(pair.relay.ended(), Some(&End::Silent(Duration::from_secs(10))));
}

#[test]
fn a_slow_link_is_not_a_dead_one() {
    // A long message on its way there: what is written gets through now and then, and nothing can be answered before.
    let mut pair = Pair::online(ProtocolVersion::V5);
    pair.local_says(&wire::publish(V5, 2, "a", Some(1), b"x"));
    for _ in 0..20 {
        pair.later(Duration::from_secs(9));
        pair.relay.wrote_remote(pair.now, true);
    }
    assert_eq!(pair.relay.ended(), None);
    for _ in 0..4 {
        // That goes into a buffer of this system.
        pair.relay.wrote_remote(pair.now, false);
        pair.later(Duration::from_secs(9));
    }
    assert!(pair.relay.ended().is_some(), "now it is");

    // A long message on its way here: answers come behind it.
    let large = Plan { packet_bytes_max: 1_000_000, ..plan() };
    let mut pair = Pair::open(large, ProtocolVersion::V5, true, true, &[]);
    pair.remote_says(&suback(V5, &[2]));
    pair.remote();
    pair.local_says(&wire::publish(V5, 2, "a", Some(1), b"x"));
    for part in wire::publish(V5, 2, "down/a", Some(1), &[0; 500_000]).chunks(20_000) {
        pair.later(Duration::from_secs(9));
        pair.remote_says(part);
    }
    assert_eq!((pair.relay.ended(), pair.relay.counters().into), (None, 1));
    pair.later(Duration::from_secs(30));
    assert!(pair.relay.ended().is_some(), "it sends, and answers nothing");
}

#[test]
fn the_other_broker_sets_the_keep_alive() {
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, true, true, &[0x13, 0, 5]);
    pair.remote_says(&suback(V5, &[2]));
    pair.remote();
    pair.later(Duration::from_secs(5));
    assert_eq!(pair.remote(), [wire::pingreq()]);
}
