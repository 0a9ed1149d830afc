//! Chapters 1 and 2: strings, integers, fixed headers, Packet Identifiers, property lengths.

use std::collections::BTreeSet;

use cork_conform::{
    Lab, Received,
    wire::{self, Connect, V5},
};

use crate::steps::{
    CONTENT_TYPE, NOT_UTF8, RESPONSE_TOPIC, closes, connect_raw, fresh, pair, puback_with_reason_string,
    publish, refuses, short, subscribe, text, with,
};

#[test]
fn mqtt5_1_5_4_1_a_string_that_is_not_utf8_closes() {
    for bad in NOT_UTF8 {
        assert!(closes(&puback_with_reason_string(bad)), "{bad:x?}");
    }
}

#[test]
fn mqtt5_1_5_4_2_a_string_with_u_0000_closes() {
    for bad in ["\0", "a\0", "\0a", "a\0b"] {
        assert!(closes(&puback_with_reason_string(bad.as_bytes())), "{bad:?}");
    }
    // Long strings are searched in another way.
    let long_one = format!("{}\0", "a".repeat(1000));
    assert!(closes(&puback_with_reason_string(long_one.as_bytes())));
}

#[test]
fn mqtt5_1_5_4_3_a_byte_order_mark_is_a_character_like_any_other() {
    let mut lab = Lab::new();
    let receiver = lab.connect(V5, "receiver");
    lab.send(receiver, &wire::subscribe(V5, 1, &[("\u{FEFF}a", 0), ("b\u{FEFF}", 0), ("c", 0)]));
    let sender = lab.connect(V5, "sender");
    for topic in ["\u{FEFF}a", "b\u{FEFF}", "\u{FEFF}c", "c\u{FEFF}", "a", "b"] {
        publish(&mut lab, sender, 0, topic, b"");
    }
    let topics: Vec<String> = lab.publishes(receiver).into_iter().map(|p| p.topic).collect();
    assert_eq!(topics, ["\u{FEFF}a", "b\u{FEFF}"]);
}

#[test]
fn mqtt5_1_5_5_1_variable_byte_integers_are_as_short_as_can_be() {
    // Remaining Length, Property Length, Subscription Identifier with a needless byte.
    assert!(closes(&[0xC0, 0x80, 0x00]), "Remaining Length of PINGREQ");
    assert!(closes(&[0x30, 0x84, 0x00, 0, 1, b't', 0]), "Remaining Length of PUBLISH");
    assert!(closes(&wire::packet(0x30, &[0, 1, b't', 0x80, 0x00])), "Property Length");
    assert!(
        closes(&wire::subscribe_with(V5, 1, &[0x0B, 0x81, 0x00], &[("t", 0)])),
        "Subscription Identifier"
    );
    let plain = fresh("c").bytes();
    let padded = [&[0x10, plain[1] | 0x80, 0x00][..], &plain[2..]].concat();
    assert!(refuses(&padded), "Remaining Length of CONNECT");
    // What the broker writes itself, around the lengths where one byte more is needed.
    let mut lab = Lab::new();
    let receiver = lab.connect(V5, "receiver");
    subscribe(&mut lab, receiver, "t", 0);
    let sender = lab.connect(V5, "sender");
    lab.bytes(receiver);
    for length in [0, 100, 122, 123, 124, 127, 128, 16_378, 16_379, 16_380, 20_000] {
        publish(&mut lab, sender, 0, "t", &vec![b'x'; length]);
        let bytes = lab.bytes(receiver);
        let used = bytes.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let needed = wire::varint(bytes.len().saturating_sub(1 + used)).len();
        assert_eq!(used, needed, "payload of {length} bytes");
    }
}

#[test]
fn mqtt5_1_5_7_1_both_strings_of_a_pair_are_strings() {
    let mut bad_strings = NOT_UTF8.to_vec();
    bad_strings.push(b"a\0b");
    for bad in bad_strings {
        // A string that is wrong elsewhere is wrong here.
        let wrong = closes(&puback_with_reason_string(bad));
        for props in [pair(bad, "value"), pair("name", bad)] {
            assert!(!wrong || refuses(&with("c", &props).bytes()), "CONNECT with {bad:x?}");
            let packet = wire::publish_with(V5, 0, "t", None, &props, b"");
            assert!(!wrong || closes(&packet), "PUBLISH with {bad:x?}");
        }
    }
}

#[test]
fn mqtt5_2_1_3_1_wrong_reserved_flags_close() {
    // PUBREL, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT and AUTH have statements of their own.
    for first in [0x40, 0x50, 0x70] {
        for flags in [0x01, 0x02, 0x04, 0x08, 0x0F] {
            assert!(closes(&wire::ack(first | flags, 1)), "{:x}", first | flags);
        }
    }
    for flags in 1..16 {
        assert!(closes(&[0xC0 | flags, 0]), "PINGREQ with flags {flags:x}");
        let mut connect = fresh("c").bytes();
        connect[0] |= flags;
        let mut lab = Lab::new();
        let client = lab.open(V5);
        lab.send(client, &connect);
        let welcome = matches!(lab.take_one(client), Some(Received::ConnAck { code: 0, .. }));
        assert!(!welcome, "CONNECT with flags {flags:x}");
    }
}

#[test]
fn mqtt5_2_2_1_2_a_qos_0_publish_has_no_packet_identifier() {
    // Published at each QoS, delivered at QoS 0: by the highest QoS of the subscription, or of the message.
    for (flags, granted) in [(0x00, 2), (0x02, 0), (0x04, 0)] {
        let mut lab = Lab::new();
        let receiver = lab.connect(V5, "receiver");
        subscribe(&mut lab, receiver, "t", granted);
        let sender = lab.connect(V5, "sender");
        lab.bytes(receiver);
        publish(&mut lab, sender, flags, "t", b"payload");
        let bytes = lab.bytes(receiver);
        // After the fixed header (2), the topic (3) there is the Property Length (1), and then the payload.
        assert!(bytes.is_empty() || bytes.len() == 2 + 3 + 1 + 7, "{bytes:x?}");
    }
}

#[test]
fn mqtt5_2_2_1_3_a_new_packet_with_identifier_0_closes() {
    assert!(closes(&wire::subscribe(V5, 0, &[("t", 0)])), "SUBSCRIBE");
    assert!(closes(&wire::unsubscribe(V5, 0, &["t"])), "UNSUBSCRIBE");
    assert!(closes(&wire::publish(V5, 0x02, "t", Some(0), b"")), "PUBLISH with QoS 1");
    assert!(closes(&wire::publish(V5, 0x04, "t", Some(0), b"")), "PUBLISH with QoS 2");
}

#[test]
fn mqtt5_2_2_1_4_the_broker_uses_identifiers_that_are_free_and_not_0() {
    let mut lab = Lab::new();
    let receiver = lab.connect(V5, "receiver");
    subscribe(&mut lab, receiver, "t", 2);
    let sender = lab.connect(V5, "sender");
    let mut in_use = BTreeSet::new();
    let mut sent = 0usize;
    // Each tenth of the first thousand stays unanswered; then the identifiers go round once.
    while sent < 67_000 {
        let mut batch = Vec::new();
        for _ in 0..100 {
            batch.extend(wire::publish(V5, 0x02, "t", Some(1), b""));
        }
        lab.send(sender, &batch);
        lab.bytes(sender);
        let mut answers = Vec::new();
        let got = lab.publishes(receiver);
        if got.is_empty() {
            return; // nothing is delivered: nothing to say about identifiers
        }
        for publish in got {
            let id = publish.id.unwrap_or(0);
            assert_ne!(id, 0, "message {sent}");
            assert!(in_use.insert(id), "identifier {id} is in use at message {sent}");
            if sent >= 1000 || !sent.is_multiple_of(10) {
                answers.extend(wire::ack(0x40, id));
                in_use.remove(&id);
            }
            sent += 1;
        }
        lab.send(receiver, &answers);
    }
}

#[test]
fn mqtt5_2_2_1_5_an_acknowledgement_has_the_identifier_of_the_publish() {
    for id in [1, 2, 0x0100, 0x1234, u16::MAX] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "client");
        lab.send(client, &wire::publish(V5, 0x02, "t", Some(id), b""));
        lab.send(client, &wire::publish(V5, 0x04, "t", Some(id), b""));
        lab.send(client, &wire::ack(0x62, id));
        let acks = lab.acks(client);
        assert!(acks.iter().all(|ack| ack.id == id), "answers to {id}: {acks:?}");
    }
    // The broker as the sender: its PUBREL.
    let mut lab = Lab::new();
    let receiver = lab.connect(V5, "receiver");
    subscribe(&mut lab, receiver, "t", 2);
    let sender = lab.connect(V5, "sender");
    for _ in 0..3 {
        publish(&mut lab, sender, 0x04, "t", b"");
    }
    for publish in lab.publishes(receiver) {
        let id = publish.id.unwrap_or(0);
        lab.send(receiver, &wire::ack(0x50, id));
        let acks = lab.acks(receiver);
        assert!(acks.iter().all(|ack| ack.id == id), "PUBREL after {id}: {acks:?}");
    }
}

#[test]
fn mqtt5_2_2_1_6_suback_and_unsuback_have_the_identifier_of_the_request() {
    for wanted in [1, 2, 0x0100, 0x1234, u16::MAX] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "client");
        lab.send(client, &wire::subscribe(V5, wanted, &[("t", 0)]));
        lab.send(client, &wire::unsubscribe(V5, wanted, &["t"]));
        for packet in lab.packets(client) {
            if let Received::SubAck { id, .. } | Received::UnsubAck { id, .. } = packet {
                assert_eq!(id, wanted);
            }
        }
    }
}

#[test]
fn mqtt5_2_2_2_1_no_properties_are_said_by_a_length_of_zero() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "client");
    lab.send(client, &wire::subscribe(V5, 7, &[("t", 1)]));
    assert_eq!(lab.bytes(client).get(4), Some(&0), "SUBACK");
    lab.send(client, &wire::publish(V5, 0, "t", None, b"x"));
    assert_eq!(lab.bytes(client).get(5), Some(&0), "PUBLISH with QoS 0");
    let sender = lab.connect(V5, "sender");
    publish(&mut lab, sender, 0x02, "t", b"x");
    assert_eq!(lab.bytes(client).get(7), Some(&0), "PUBLISH with QoS 1");
    lab.send(client, &wire::unsubscribe(V5, 8, &["t"]));
    assert_eq!(lab.bytes(client).get(4), Some(&0), "UNSUBACK");
    // From the client: a packet that ends where the length would be is no packet.
    assert!(closes(&wire::packet(0x30, &[0, 1, b't'])), "PUBLISH without the length");
    assert!(closes(&wire::packet(0x82, &[0, 1])), "SUBSCRIBE without the length");
}

#[test]
fn mqtt5_beyond_u_0000_is_refused_in_every_string() {
    let bad = "a\0b";
    assert!(refuses(&fresh(bad).bytes()), "Client Identifier");
    assert!(refuses(&fresh("c").with_will(bad, b"").bytes()), "Will Topic");
    assert!(refuses(&Connect { user: Some(bad.to_owned()), ..fresh("c") }.bytes()), "User Name");
    assert!(closes(&wire::publish(V5, 0, bad, None, b"")), "Topic Name");
    for property in [CONTENT_TYPE, RESPONSE_TOPIC] {
        assert!(closes(&wire::publish_with(V5, 0, "t", None, &text(property, bad), b"")), "{property:x}");
    }
}

#[test]
fn mqtt5_beyond_a_remaining_length_of_five_bytes_closes() {
    assert!(closes(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x01]));
    assert!(refuses(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]));
}

#[test]
fn mqtt5_beyond_packets_are_understood_however_the_stream_is_cut() {
    // Without Session Expiry: nothing waits for the store, so the answers come in one order only.
    let mut stream = connect_raw(0x02, &short(0x21, 5), &[wire::string("c")]);
    stream.extend(wire::subscribe(V5, 1, &[("t", 0)]));
    stream.extend(wire::publish(V5, 0, "t", None, &[b'x'; 200]));
    stream.extend(wire::pingreq());
    let mut whole = Vec::new();
    for step in [stream.len(), 1, 2, 3, 7, 50] {
        let mut lab = Lab::new();
        let client = lab.open(V5);
        for part in stream.chunks(step) {
            lab.send(client, part);
        }
        let packets = lab.packets(client);
        if step == stream.len() {
            whole.clone_from(&packets);
            assert_eq!(whole.len(), 4, "{whole:?}");
        }
        assert_eq!(packets, whole, "in pieces of {step}");
    }
}
