//! QoS 0, QoS 1, delivery retry and order: sections 4.3.1, 4.3.2, 4.4, 4.6.

use std::{collections::BTreeSet, time::Duration};

use cork_access::Actions;
use cork_conform::{
    Lab,
    wire::{self, Connect, V5},
};

use crate::common::{
    PUBACK, PUBCOMP, PUBREC, PUBREL, acks_of, connect_props, deny, id_of, publish, publish_done,
    receive_maximum, resume, resume_with, subscribe, take, take_all,
};

#[test]
fn mqtt5_4_3_1_1_qos_0_is_sent_with_qos_0_and_without_dup() {
    let mut lab = Lab::with(|config| config.limits.queue_qos0 = true);
    let client = resume(&mut lab, "a");
    subscribe(&mut lab, client, "zero", 2);
    subscribe(&mut lab, client, "lowered", 0);
    let publisher = lab.connect(V5, "p");
    // The DUP of the publisher is its own affair.
    for _ in 0..2 {
        lab.send(publisher, &wire::publish(V5, 0x00, "zero", None, b"x"));
        lab.send(publisher, &wire::publish(V5, 0x0A, "lowered", Some(1), b"x"));
        lab.send(publisher, &wire::publish(V5, 0x0C, "lowered", Some(2), b"x"));
        lab.cut(client);
    }
    let client = resume(&mut lab, "a");
    for publish in lab.publishes(client) {
        assert!(publish.qos == 0 || publish.topic != "zero", "{publish:?}");
        assert!(publish.qos != 0 || !publish.dup, "{publish:?}");
    }
}

/// An identifier that is in use is not given to another message, however the others come and go.
pub(crate) fn identifiers_are_unused(qos: u8) {
    let mut lab = Lab::new();
    let client = resume(&mut lab, "a");
    subscribe(&mut lab, client, "t", qos);
    let publisher = lab.connect(V5, "p");
    // All at once.
    for _ in 0..200 {
        publish_done(&mut lab, publisher, "t", qos, b"x");
    }
    let flights = lab.publishes(client);
    let mut used: BTreeSet<u16> = flights.iter().filter_map(|publish| publish.id).collect();
    assert_eq!(used.len(), flights.len(), "doubled within one window");
    // All but two are answered, from the end; then the identifiers go round once.
    for publish in flights[2..].iter().rev() {
        take(&mut lab, client, publish);
        used.remove(&id_of(publish));
    }
    if qos == 2 {
        lab.send(client, &wire::ack(PUBREC, id_of(&flights[1]))); // still in use
    }
    for _ in 0..700 {
        for _ in 0..100 {
            publish_done(&mut lab, publisher, "t", qos, b"x");
        }
        for publish in lab.publishes(client) {
            let id = id_of(&publish);
            assert!(used.insert(id), "{id} is in use");
            take(&mut lab, client, &publish);
            used.remove(&id);
        }
    }
}

/// The first sending of a message has the QoS and no DUP, at once, out of the window's queue, after an absence.
pub(crate) fn first_sending_has_no_dup(qos: u8) {
    let mut lab = Lab::new();
    let mut client = resume_with(&mut lab, "a", &receive_maximum(2));
    subscribe(&mut lab, client, "t", 2);
    let publisher = lab.connect(V5, "p");
    let mut seen = BTreeSet::new();
    for n in 0..20 {
        // Each second one with the publisher's DUP.
        let id = u16::from(n) + 1;
        lab.send(publisher, &wire::publish(V5, qos << 1 | (n & 1) << 3, "t", Some(id), &[n]));
        lab.send(publisher, &wire::ack(PUBREL, id));
        if n % 7 == 6 {
            lab.cut(client);
        }
        if n % 7 == 1 && n > 7 {
            client = resume_with(&mut lab, "a", &receive_maximum(2));
        }
        for publish in lab.publishes(client) {
            if seen.insert(publish.payload.clone()) {
                assert_eq!((publish.qos, publish.dup), (qos, false), "message {n}");
                assert!(publish.id.is_some());
            }
            if n % 7 < 5 {
                take(&mut lab, client, &publish);
            }
        }
    }
}

#[test]
fn mqtt5_4_3_2_1_a_new_message_gets_an_unused_packet_identifier() {
    identifiers_are_unused(1);
}

#[test]
fn mqtt5_4_3_2_2_the_first_publish_has_qos_1_and_no_dup() {
    first_sending_has_no_dup(1);
}

#[test]
fn mqtt5_4_3_2_3_a_message_is_under_way_until_its_puback() {
    let mut lab = Lab::new();
    let client = resume(&mut lab, "a");
    subscribe(&mut lab, client, "t", 1);
    let publisher = lab.connect(V5, "p");
    publish(&mut lab, publisher, "t", 1, 1, b"x");
    let sent = lab.publishes(client);
    let id = sent[0].id.unwrap();
    // None of these is its PUBACK.
    for packet in [Vec::new(), wire::ack(PUBREC, id), wire::ack(PUBCOMP, id), wire::ack(PUBACK, id + 1)] {
        let client = resume(&mut lab, "a");
        lab.bytes(client);
        lab.send(client, &packet);
        lab.cut(client);
        let client = resume(&mut lab, "a");
        assert_eq!(lab.payloads(client), [b"x".to_vec()], "after {packet:x?}");
        lab.cut(client);
    }
}

#[test]
fn mqtt5_4_3_2_4_qos_1_is_answered_by_puback_with_its_identifier() {
    for shards in 1..4 {
        let mut lab = Lab::with(|config| config.shards = shards);
        lab.set_rights(&deny(&[(Actions::WRITE, "secret")]));
        let away = resume(&mut lab, "away");
        subscribe(&mut lab, away, "kept", 1);
        let client = lab.connect(V5, "a");
        subscribe(&mut lab, client, "heard", 1);
        for (topic, id) in [("heard", 1), ("unheard", 0x00FF), ("kept", 0x0100), ("secret", 0xFFFF)] {
            for flags in [0x02, 0x03, 0x0A] {
                lab.send(client, &wire::publish(V5, flags, topic, Some(id), b"x"));
                let ids: Vec<u16> = acks_of(&mut lab, client, PUBACK).iter().map(|ack| ack.id).collect();
                assert_eq!(ids, [id], "{topic} on {shards} shards");
            }
        }
    }
}

#[test]
fn mqtt5_4_3_2_5_after_puback_the_same_identifier_is_a_new_message() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    subscribe(&mut lab, client, "t", 0);
    let publisher = lab.connect(V5, "p");
    for (n, flags) in [0x02, 0x02, 0x0A, 0x0A, 0x02].into_iter().enumerate() {
        lab.send(publisher, &wire::publish(V5, flags, "t", Some(1), b"x"));
        assert_eq!(lab.publishes(client).len(), 1, "message {n}");
    }
}

#[test]
fn mqtt5_4_4_0_1_a_resumed_session_gets_what_is_unacknowledged_and_only_then() {
    let mut lab = Lab::new();
    let client = resume(&mut lab, "a");
    subscribe(&mut lab, client, "#", 2);
    let publisher = lab.connect(V5, "p");
    publish_done(&mut lab, publisher, "one", 1, b"one");
    publish_done(&mut lab, publisher, "two", 2, b"two");
    publish_done(&mut lab, publisher, "released", 2, b"released");
    let sent = lab.publishes(client);
    let id = |topic: &str| sent.iter().find(|publish| publish.topic == topic).unwrap().id.unwrap();
    lab.send(client, &wire::ack(PUBREC, id("released")));
    lab.bytes(client);
    // Never on an open connection.
    lab.advance(Duration::from_secs(86_400));
    lab.send(client, &wire::pingreq());
    publish_done(&mut lab, publisher, "zero", 0, b"zero");
    let packets = lab.packets(client);
    assert!(packets.iter().all(|packet| packet.clone().into_ack().is_none()), "{packets:?}");
    let topics: Vec<String> =
        packets.into_iter().filter_map(|p| p.into_publish()).map(|publish| publish.topic).collect();
    assert!(!topics.iter().any(|topic| topic != "zero"), "{topics:?}");
    for _ in 0..3 {
        lab.cut(client);
        let client = resume(&mut lab, "a");
        let packets = lab.packets(client);
        let publishes: Vec<_> = packets.iter().filter_map(|packet| packet.clone().into_publish()).collect();
        let again: Vec<(&str, u16)> = publishes.iter().map(|p| (&*p.topic, p.id.unwrap())).collect();
        assert_eq!(again, [("one", id("one")), ("two", id("two"))]);
        let acks: Vec<_> = packets.into_iter().filter_map(|packet| packet.into_ack()).collect();
        let released: Vec<u16> = acks.iter().filter(|ack| ack.first == PUBREL).map(|ack| ack.id).collect();
        assert_eq!(released, [id("released")]);
        lab.cut(client);
    }
    let client = lab.connect_with(V5, &Connect { clean: true, ..Connect::persistent(V5, "a") });
    assert!(lab.packets(client).is_empty(), "a clean start has nothing to be sent again");
}

#[test]
fn mqtt5_4_4_0_2_a_refused_message_is_not_sent_again() {
    for (qos, first, codes) in
        [(1, PUBACK, [0x80, 0x83, 0x87, 0x97, 0x99]), (2, PUBREC, [0x80, 0x90, 0x91, 0x97, 0x99])]
    {
        for code in codes {
            let mut lab = Lab::new();
            let client = resume(&mut lab, "a");
            subscribe(&mut lab, client, "t", qos);
            let publisher = lab.connect(V5, "p");
            publish_done(&mut lab, publisher, "t", qos, b"x");
            let sent = lab.publishes(client);
            lab.send(client, &wire::ack_with(first, sent[0].id.unwrap(), code));
            lab.cut(client);
            let client = resume(&mut lab, "a");
            assert!(lab.publishes(client).is_empty(), "QoS {qos}, 0x{code:02X}");
        }
    }
}

/// Numbered messages of one publisher to `topic`, taken through a small window with a break in the middle.
fn numbers_in_order(shards: u16, filter: &str, topic: &str, qos: u8) {
    let mut lab = Lab::with(|config| {
        config.shards = shards;
        config.limits.queue_qos0 = true;
    });
    let mut client = resume_with(&mut lab, "a", &receive_maximum(3));
    subscribe(&mut lab, client, filter, 2);
    let publisher = lab.connect(V5, "p");
    let mut got = Vec::new();
    for n in 0..60u8 {
        publish_done(&mut lab, publisher, topic, qos, &[n]);
        if n == 20 {
            lab.cut(client);
        }
        if n == 40 {
            client = resume_with(&mut lab, "a", &receive_maximum(3));
        }
        if n % 5 == 0 {
            let publishes = lab.publishes(client);
            for publish in publishes.iter().rev() {
                take(&mut lab, client, publish);
            }
            got.extend(publishes);
        }
    }
    got.extend(take_all(&mut lab, client));
    let first = |got: &[cork_conform::Published]| {
        let mut seen = BTreeSet::new();
        got.iter().filter(|p| seen.insert(p.payload[0])).map(|p| p.payload[0]).collect::<Vec<u8>>()
    };
    assert!(first(&got).is_sorted(), "{filter} at QoS {qos} on {shards} shards: {:?}", first(&got));
}

#[test]
fn mqtt5_4_6_0_5_messages_of_one_client_topic_and_qos_stay_in_order() {
    for shards in 1..4 {
        for qos in 0..3 {
            numbers_in_order(shards, "t", "t", qos);
        }
    }
    // And when the connection's window opens wide at once.
    let mut lab = Lab::new();
    let client = connect_props(&mut lab, "a", &receive_maximum(30));
    subscribe(&mut lab, client, "t", 1);
    lab.set_window(client, 0);
    let publisher = lab.connect(V5, "p");
    for n in 0..100 {
        publish(&mut lab, publisher, "t", 1, 1, &[n]);
    }
    lab.set_window(client, usize::MAX);
    let got: Vec<u8> = take_all(&mut lab, client).into_iter().map(|publish| publish.payload[0]).collect();
    assert!(got.is_sorted(), "{got:?}");
}

#[test]
fn mqtt5_4_6_0_6_every_topic_is_ordered() {
    for (filter, topic) in
        [("a/+/c", "a/b/c"), ("#", "/"), ("+/+", "x/"), ("$x/#", "$x/y"), ("\u{e9}", "\u{e9}")]
    {
        for qos in 0..3 {
            numbers_in_order(1, filter, topic, qos);
        }
    }
}
