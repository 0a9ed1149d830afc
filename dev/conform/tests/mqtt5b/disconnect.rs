//! DISCONNECT: section 3.14.

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Props, Received,
    wire::{self, Connect, V5, Will},
};

use crate::{
    auth::{auth_lab, begin},
    common::{REASON_STRING, SESSION_EXPIRY, USER_PROPERTY, publish, subscribe},
};

/// Codes of DISCONNECT, whichever side sends it. 0x8C stands in the table of all codes (2.4), not in that of DISCONNECT.
const CODES: [u8; 30] = [
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
    0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

/// Everything that makes the broker end a connection it had accepted.
pub(crate) const CAUSES: [&str; 15] = [
    "malformed packet",
    "packet of the other side",
    "second CONNECT",
    "ill-formed filter",
    "wildcard in a topic",
    "alias never defined",
    "packet too large",
    "too many under way",
    "AUTH without a method",
    "re-authentication denied",
    "nothing heard",
    "taken over",
    "expiry from zero",
    "payload is not text",
    "shutdown",
];

/// A client whose connection the broker has just ended, its packets not taken yet. `maximum`: Maximum Packet Size.
pub(crate) fn ended(cause: &str, maximum: u32) -> (Lab, ClientIx) {
    let mut lab = auth_lab(|config| {
        config.limits.receive_maximum = 2;
        config.limits.packet_bytes_max = 1000;
        config.limits.payload_format_check = true;
    });
    let mut connect = Connect { keep_alive: 60, ..Connect::new(V5, "a") };
    connect.properties = [&[0x27][..], &maximum.to_be_bytes()].concat();
    if cause == "re-authentication denied" {
        connect.properties.extend(begin("M", b"ok"));
    }
    let client = lab.connect_with(V5, &connect);
    let bytes = match cause {
        "malformed packet" => wire::packet(0xC0, b"x"),
        "packet of the other side" => wire::packet(0x20, &[0, 0, 0]),
        "second CONNECT" => Connect::new(V5, "a").bytes(),
        "ill-formed filter" => wire::subscribe(V5, 1, &[("a#", 0)]),
        "wildcard in a topic" => wire::publish(V5, 0, "a/+", None, b""),
        "alias never defined" => wire::publish_with(V5, 0, "", None, &[0x23, 0, 9], b""),
        "packet too large" => wire::publish(V5, 0, "t", None, &[0; 1000]),
        "too many under way" => (1..4).flat_map(|id| wire::publish(V5, 4, "t", Some(id), b"x")).collect(),
        "AUTH without a method" => wire::auth(0x19, "M", b"ok"),
        "re-authentication denied" => wire::auth(0x19, "M", b"no"),
        "expiry from zero" => wire::disconnect_with(0, &[0x11, 0, 0, 0, 9]),
        "payload is not text" => wire::publish_with(V5, 0, "t", None, &[0x01, 1], &[0xFF]),
        _ => Vec::new(),
    };
    lab.send(client, &bytes);
    match cause {
        "nothing heard" => lab.advance(Duration::from_secs(91)),
        "taken over" => {
            lab.connect(V5, "a");
        }
        "shutdown" => lab.drain(),
        _ => {}
    }
    (lab, client)
}

/// Code, properties and length of each DISCONNECT in every situation.
fn disconnects(maximum: u32) -> Vec<(&'static str, usize, u8, Props)> {
    let mut found = Vec::new();
    for cause in CAUSES {
        let (mut lab, client) = ended(cause, maximum);
        for (length, packet) in lab.sized_packets(client) {
            if let Received::Disconnect { reason, props } = packet {
                found.push((cause, length, reason, props));
            }
        }
    }
    found
}

#[test]
fn mqtt5_3_14_0_1_no_disconnect_before_a_good_connack() {
    let bad_flags = Connect::new(V5, "a").bytes_with_flags(0x01);
    let bad_level = Connect { version: 9, ..Connect::new(V5, "a") }.bytes();
    let unknown_method = Connect { properties: begin("?", b""), ..Connect::new(V5, "a") }.bytes();
    let exchange = Connect { properties: begin("M", b""), ..Connect::new(V5, "a") }.bytes();
    let first: [&[u8]; 8] = [
        &wire::disconnect(),
        &wire::pingreq(),
        &wire::auth(0x18, "M", b""),
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF],
        &bad_flags,
        &bad_level,
        &unknown_method,
        &exchange,
    ];
    let then: [&[u8]; 5] =
        [b"", &wire::auth(0x18, "M", b"no"), &wire::auth(0x18, "?", b""), &wire::pingreq(), &[0xC3, 0]];
    for (first, then) in first.iter().flat_map(|first| then.iter().map(move |then| (first, then))) {
        for finish in 0..3 {
            let mut lab = auth_lab(|_| {});
            let client = lab.open(V5);
            lab.send(client, first);
            lab.send(client, then);
            match finish {
                0 => lab.advance(Duration::from_secs(60)),
                1 => lab.drain(),
                _ => {
                    lab.connect(V5, "a");
                }
            }
            let packets = lab.packets(client);
            assert!(!packets.iter().any(|p| matches!(p, Received::Disconnect { .. })), "{packets:?}");
        }
    }
    // CONNACK waits for the store.
    for takeover in [false, true] {
        let mut lab = Lab::new();
        lab.pause_store();
        let client = lab.open(V5);
        lab.send(client, &Connect::persistent(V5, "a").bytes());
        if takeover {
            lab.connect(V5, "a");
        } else {
            lab.drain();
        }
        let packets = lab.packets(client);
        let good = packets.iter().any(|packet| matches!(packet, Received::ConnAck { code: ..0x80, .. }));
        assert!(good || !packets.iter().any(|p| matches!(p, Received::Disconnect { .. })), "{packets:?}");
    }
}

#[test]
fn mqtt5_3_14_1_1_reserved_flags_are_answered_with_malformed_packet() {
    for flags in 1..16 {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &[0xE0 | flags, 0]);
        let packets = lab.packets(client);
        let answered =
            packets.iter().any(|packet| matches!(packet, Received::Disconnect { reason: 0x81, .. }));
        assert!(answered, "flags {flags:04b}: {packets:?}");
    }
}

#[test]
fn mqtt5_3_14_2_1_disconnect_has_one_of_its_reason_codes() {
    for (cause, _, reason, _) in disconnects(u32::MAX) {
        assert!(CODES.contains(&reason), "{cause}: 0x{reason:02X}");
    }
    // Another code is no DISCONNECT: the client hears that it is wrong.
    for reason in (0..=u8::MAX).filter(|reason| !CODES.contains(reason)) {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::disconnect_with(reason, &[]));
        let packets = lab.packets(client);
        assert!(packets.iter().any(|p| matches!(p, Received::Disconnect { .. })), "took 0x{reason:02X}");
    }
}

#[test]
fn mqtt5_3_14_2_2_the_broker_sends_no_session_expiry_interval() {
    for (cause, _, _, props) in disconnects(u32::MAX) {
        assert_eq!(props.get(SESSION_EXPIRY), None, "{cause}");
    }
}

fn never_too_long_with(property: u8) {
    for maximum in (8..60).step_by(3).chain([80]) {
        for (cause, length, _, props) in disconnects(maximum) {
            let fits = length <= maximum as usize;
            assert!(fits || props.get(property).is_none(), "{cause}: {length} bytes, {maximum} accepted");
        }
    }
}

#[test]
fn mqtt5_3_14_2_3_disconnect_leaves_out_a_reason_string_that_does_not_fit() {
    never_too_long_with(REASON_STRING);
}

#[test]
fn mqtt5_3_14_2_4_disconnect_leaves_out_user_properties_that_do_not_fit() {
    never_too_long_with(USER_PROPERTY);
}

#[test]
fn mqtt5_3_14_4_1_nothing_follows_a_disconnect() {
    for cause in CAUSES {
        let (mut lab, client) = ended(cause, u32::MAX);
        // The client may not know yet, and others go on.
        lab.send(client, &wire::pingreq());
        lab.send(client, &wire::subscribe(V5, 1, &[("#", 0)]));
        let other = lab.connect(V5, "other");
        publish(&mut lab, other, "t", 0, 0, b"x");
        lab.advance(Duration::from_secs(3600));
        let packets = lab.packets(client);
        let at = packets.iter().position(|packet| matches!(packet, Received::Disconnect { .. }));
        assert!(at.is_none_or(|at| at + 1 == packets.len()), "{cause}: {packets:?}");
    }
    // In one read with what ends the connection.
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    subscribe(&mut lab, client, "t", 0);
    let error = wire::packet(0xC0, b"x");
    lab.send(client, &[&error[..], &wire::pingreq(), &wire::publish(V5, 0, "t", None, b"x")].concat());
    let packets = lab.packets(client);
    let at = packets.iter().position(|packet| matches!(packet, Received::Disconnect { .. }));
    assert!(at.is_none_or(|at| at + 1 == packets.len()), "{packets:?}");
}

#[test]
fn mqtt5_3_14_4_2_the_connection_is_closed_after_a_disconnect() {
    for cause in CAUSES {
        let (mut lab, client) = ended(cause, u32::MAX);
        if lab.packets(client).iter().any(|packet| matches!(packet, Received::Disconnect { .. })) {
            assert!(lab.is_closed(client), "{cause}");
        }
    }
}

#[test]
fn mqtt5_3_14_4_3_a_normal_disconnect_discards_the_will() {
    for form in [wire::disconnect(), wire::packet(0xE0, &[0]), wire::disconnect_with(0, &[])] {
        for (delay, expiry) in [(0, 0), (0, 60), (5, 60), (60, 5), (5, 0)] {
            for retain in [false, true] {
                let mut lab = Lab::new();
                let watcher = lab.connect(V5, "watcher");
                subscribe(&mut lab, watcher, "will", 1);
                let mut connect = Connect::new(V5, "a");
                connect.properties = vec![0x11, 0, 0, 0, expiry];
                connect.will = Some(Will {
                    topic: "will".to_owned(),
                    payload: b"gone".to_vec(),
                    qos: 1,
                    retain,
                    properties: vec![0x18, 0, 0, 0, delay],
                });
                let client = lab.connect_with(V5, &connect);
                lab.send(client, &form);
                lab.cut(client);
                lab.advance(Duration::from_secs(3600));
                assert!(lab.payloads(watcher).is_empty(), "{form:x?}, delay {delay}, expiry {expiry}");
            }
        }
    }
}
