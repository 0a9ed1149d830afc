//! Strings, flags and Packet Identifiers (sections 1.5.3, 2.2.2, 2.3.1).

use std::collections::BTreeSet;

use cork_conform::{
    Lab,
    wire::{self, Connect, V311, string},
};

use crate::support::{
    ACK, COMP, CONNACK, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, REC, REL,
    SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, closes_at_connect, closes_on, connect_bytes, ids_of, message,
    open_with, raw, raw_of, retained, subscriber,
};

/// Where a client sends strings.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    ClientId,
    UserName,
    WillTopic,
    TopicName,
    SubscribeFilter,
    UnsubscribeFilter,
}

use Place::{ClientId, SubscribeFilter, TopicName, UnsubscribeFilter, UserName, WillTopic};

const PLACES: [Place; 6] = [ClientId, UserName, WillTopic, TopicName, SubscribeFilter, UnsubscribeFilter];

/// The places where the broker takes `text` without closing the connection.
pub(crate) fn accepted_in(text: &[u8]) -> Vec<Place> {
    let closes = |place: &Place| match place {
        ClientId => closes_at_connect(&connect_bytes(0x02, &[string(text)])),
        UserName => closes_at_connect(&connect_bytes(0x82, &[string("a"), string(text)])),
        WillTopic => closes_at_connect(&connect_bytes(0x06, &[string("a"), string(text), string("")])),
        TopicName => closes_on(&wire::packet(0x30, &string(text))),
        SubscribeFilter => closes_on(&wire::packet(0x82, &[&[0, 1][..], &string(text), &[0]].concat())),
        UnsubscribeFilter => closes_on(&wire::packet(0xA2, &[&[0, 1][..], &string(text)].concat())),
    };
    PLACES.into_iter().filter(|place| !closes(place)).collect()
}

/// Whether `place` takes ill-formed UTF-8 although strings in general are checked: most other places refuse it.
fn alone_takes_ill_formed_utf8(place: Place) -> bool {
    let accepted = accepted_in(b"a\xFFb");
    accepted.contains(&place) && accepted.len() <= 2
}

#[test]
fn mqtt311_1_5_3_1_ill_formed_utf8_closes_the_connection() {
    let surrogates: [&[u8]; 3] = [b"\xED\xA0\x80", b"a\xED\xAF\xBF", b"\xED\xBF\xBFb"];
    let others: [&[u8]; 5] = [b"a\xFFb", b"\xC0\xAF", b"\xE2\x82", b"\x80", b"\xF4\x90\x80\x80"];
    for text in surrogates.into_iter().chain(others) {
        // One place alone is the business of the statement about that place.
        let accepted = accepted_in(text);
        assert!(accepted.len() < 2, "{text:x?} is taken in {accepted:?}");
    }
}

#[test]
fn mqtt311_1_5_3_2_the_null_character_closes_the_connection() {
    for text in [&b"\0"[..], b"a\0b", b"a\0"] {
        // Topics alone are the business of 4.7.3-2.
        let accepted = accepted_in(text);
        let elsewhere = accepted.iter().any(|place| matches!(place, ClientId | UserName));
        assert!(!elsewhere, "{text:x?} is taken in {accepted:?}");
    }
}

#[test]
fn mqtt311_4_7_3_2_topics_have_no_null_character() {
    for text in [&b"\0"[..], b"a\0b", b"a\0", b"some/longer/topic/\0"] {
        let accepted = accepted_in(text);
        let elsewhere = accepted.iter().any(|place| matches!(place, ClientId | UserName));
        assert!(elsewhere || accepted.is_empty(), "{text:x?} is taken in {accepted:?}");
    }
}

#[test]
fn mqtt311_1_5_3_3_a_byte_order_mark_is_a_character_like_others() {
    for (with, without) in [("\u{FEFF}t", "t"), ("a/\u{FEFF}", "a/"), ("b\u{FEFF}c", "bc")] {
        let mut lab = Lab::new();
        let marked = subscriber(&mut lab, "\u{FEFF}a", with, 0);
        let plain = subscriber(&mut lab, "a", without, 0);
        let publisher = lab.connect(V311, "publisher");
        lab.send(publisher, &message(0, with, b"x"));
        let got = lab.publishes(marked);
        assert!(got.iter().any(|publish| publish.payload == b"x"), "with the mark in name and filter");
        assert!(got.iter().all(|publish| publish.topic != without), "handed on with the mark");
        assert!(lab.publishes(plain).is_empty());
        assert!(!lab.is_closed(marked), "two different Client Identifiers");
    }
}

#[test]
fn mqtt311_3_1_3_4_the_client_identifier_is_utf8() {
    assert!(!alone_takes_ill_formed_utf8(ClientId));
    assert!(!closes_at_connect(&Connect::new(V311, "ß-東京-🦀").bytes()));
}

#[test]
fn mqtt311_3_1_3_10_the_will_topic_is_utf8() {
    assert!(!alone_takes_ill_formed_utf8(WillTopic));
    assert!(!closes_at_connect(&Connect::new(V311, "a").with_will("größe/東京/🦀", b"").bytes()));
}

#[test]
fn mqtt311_3_1_3_11_the_user_name_is_utf8() {
    assert!(!alone_takes_ill_formed_utf8(UserName));
    let connect = Connect { user: Some("jürgen-🦀".to_owned()), ..Connect::new(V311, "a") };
    assert!(!closes_at_connect(&connect.bytes()));
}

#[test]
fn mqtt311_3_3_2_1_the_topic_name_comes_first_and_is_utf8() {
    assert!(!alone_takes_ill_formed_utf8(TopicName));
    let without: [&[u8]; 4] = [b"", b"\0", b"\0\x05a/b", b"\xFF\xFFa"];
    for body in without {
        assert!(closes_on(&wire::packet(0x30, body)), "{body:x?}");
    }
    for qos in 0..3 {
        let mut lab = Lab::new();
        let receiver = subscriber(&mut lab, "receiver", "größe/+", qos);
        let publisher = lab.connect(V311, "publisher");
        lab.send(publisher, &message(qos, "größe/🦀", b"x"));
        for publish in raw_of(&mut lab, receiver, PUBLISH) {
            let (length, rest) = publish.body.split_at(2);
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let topic = rest.get(..length).and_then(|topic| std::str::from_utf8(topic).ok());
            assert!(topic.is_some_and(|topic| topic.starts_with("größe")), "{publish:x?}");
        }
    }
}

#[test]
fn mqtt311_3_8_3_1_the_filters_of_subscribe_are_utf8() {
    assert!(!alone_takes_ill_formed_utf8(SubscribeFilter));
    assert!(!closes_on(&wire::subscribe(V311, 1, &[("größe/+/東京/🦀", 0)])));
}

#[test]
fn mqtt311_3_10_3_1_the_filters_of_unsubscribe_are_utf8_and_packed() {
    assert!(!alone_takes_ill_formed_utf8(UnsubscribeFilter));
    assert!(!closes_on(&wire::unsubscribe(V311, 1, &["größe/+", "東京/🦀", "#"])));
    // One byte too many, or too few, between or after them: they are not contiguous.
    let loose: [&[u8]; 3] = [b"\0\x01\0\x01a\0", b"\0\x01\0\x01a\0\x05b", b"\0\x01\0\x02a"];
    for body in loose {
        assert!(closes_on(&wire::packet(0xA2, body)), "{body:x?}");
    }
}

#[test]
fn mqtt311_2_2_2_1_the_brokers_packets_have_the_flags_of_the_table() {
    let mut lab = Lab::new();
    let connect = Connect::persistent(V311, "a").bytes();
    let client = open_with(&mut lab, &connect);
    let mut packets = raw(&mut lab, client);
    lab.send(client, &wire::subscribe(V311, 1, &[("t", 2)]));
    lab.send(client, &message(1, "t", b"x"));
    lab.send(client, &message(2, "t", b"x"));
    packets.extend(raw(&mut lab, client));
    let sent: Vec<_> = packets.iter().filter(|p| p.kind == PUBLISH).filter_map(|p| p.publish_id()).collect();
    for id in sent {
        lab.send(client, &wire::ack(REC, id));
    }
    lab.send(client, &wire::ack(REL, 7));
    lab.send(client, &wire::pingreq());
    lab.send(client, &wire::unsubscribe(V311, 2, &["t"]));
    packets.extend(raw(&mut lab, client));
    // A PUBREL that is sent again has the same flags.
    lab.cut(client);
    let client = open_with(&mut lab, &connect);
    packets.extend(raw(&mut lab, client));
    for packet in packets.iter().filter(|packet| packet.kind != PUBLISH) {
        let wanted = if packet.kind == PUBREL { 0x02 } else { 0x00 };
        assert_eq!(packet.flags, wanted, "{packet:x?}");
    }
    let mut refused = Lab::new();
    let refused_client = open_with(&mut refused, &Connect::persistent(V311, "").bytes());
    for packet in raw_of(&mut refused, refused_client, CONNACK) {
        assert_eq!(packet.flags, 0);
    }
}

/// A well-formed packet of a client, but for its flags.
fn with_flags(kind: u8, flags: u8) -> Vec<u8> {
    let mut packet = match kind {
        SUBSCRIBE => wire::subscribe(V311, 1, &[("t", 0)]),
        UNSUBSCRIBE => wire::unsubscribe(V311, 1, &["t"]),
        PINGREQ => wire::pingreq(),
        DISCONNECT => wire::disconnect(),
        _ => wire::ack(kind << 4, 1),
    };
    packet[0] = kind << 4 | flags;
    packet
}

/// Whether a packet type is taken with some other flags than it should have.
fn takes_wrong_flags(kind: u8) -> bool {
    let right = if matches!(kind, PUBREL | SUBSCRIBE | UNSUBSCRIBE) { 0x02 } else { 0x00 };
    (0..16).filter(|flags| *flags != right).any(|flags| !closes_on(&with_flags(kind, flags)))
}

/// Packet types whose flags no other statement speaks of.
const GENERAL: [u8; 4] = [PUBACK, PUBREC, PUBCOMP, PINGREQ];

/// Whether this packet type is taken with wrong flags, and not simply every one.
fn especially_takes_wrong_flags(kind: u8) -> bool {
    takes_wrong_flags(kind) && !GENERAL.into_iter().all(takes_wrong_flags)
}

#[test]
fn mqtt311_2_2_2_2_invalid_flags_close_the_connection() {
    for kind in GENERAL {
        assert!(!takes_wrong_flags(kind), "packet type {kind}");
    }
    for flags in 1..16 {
        let mut connect = Connect::new(V311, "a").bytes();
        connect[0] |= flags;
        assert!(closes_at_connect(&connect), "CONNECT with flags {flags:04b}");
    }
}

#[test]
fn mqtt311_3_6_1_1_pubrel_has_its_reserved_flags() {
    assert!(!especially_takes_wrong_flags(PUBREL));
}

#[test]
fn mqtt311_3_8_1_1_subscribe_has_its_reserved_flags() {
    assert!(!especially_takes_wrong_flags(SUBSCRIBE));
}

#[test]
fn mqtt311_3_10_1_1_unsubscribe_has_its_reserved_flags() {
    assert!(!especially_takes_wrong_flags(UNSUBSCRIBE));
}

#[test]
fn mqtt311_3_14_1_1_disconnect_has_its_reserved_flags() {
    // A DISCONNECT that counts closes the connection too, but takes the Will with it.
    let will_after = |bytes: &[u8]| {
        let mut lab = Lab::new();
        let watcher = subscriber(&mut lab, "watcher", "w", 0);
        let client = lab.connect_with(V311, &Connect::new(V311, "a").with_will("w", b"gone"));
        lab.send(client, bytes);
        (lab.is_closed(client), !lab.publishes(watcher).is_empty())
    };
    let (_, wills_work) = will_after(&[0xF6, 0]);
    for flags in 1..16 {
        let (closed, will) = will_after(&with_flags(DISCONNECT, flags));
        let everything_goes = GENERAL.into_iter().all(takes_wrong_flags);
        assert!(closed && (will || !wills_work) || everything_goes, "flags {flags:04b}");
    }
}

#[test]
fn mqtt311_2_3_1_1_packet_identifier_zero_is_refused() {
    let zero = [
        ("SUBSCRIBE", wire::subscribe(V311, 0, &[("t", 0)])),
        ("UNSUBSCRIBE", wire::unsubscribe(V311, 0, &["t"])),
        ("PUBLISH with QoS 1", wire::publish(V311, 0x02, "t", Some(0), b"x")),
        ("PUBLISH with QoS 2", wire::publish(V311, 0x04, "t", Some(0), b"x")),
    ];
    for (what, packet) in zero {
        assert!(closes_on(&packet), "{what}");
    }
}

/// The identifiers of a few messages of these QoS levels under way to one client.
fn identifiers_under_way(levels: &[u8]) -> Vec<u16> {
    let mut lab = Lab::new();
    let receiver = subscriber(&mut lab, "receiver", "t", 2);
    let publisher = lab.connect(V311, "publisher");
    for (id, qos) in (1..).zip(levels) {
        lab.send(publisher, &wire::publish(V311, qos << 1, "t", Some(id), b"x"));
    }
    raw_of(&mut lab, receiver, PUBLISH).iter().filter_map(|publish| publish.publish_id()).collect()
}

/// Whether two of them share an identifier.
pub(crate) fn identifiers_collide(levels: &[u8]) -> bool {
    let ids = identifiers_under_way(levels);
    ids.iter().collect::<BTreeSet<_>>().len() < ids.len()
}

#[test]
fn mqtt311_2_3_1_4_the_brokers_own_identifiers_are_unused_and_not_zero() {
    let mixed = [1, 2, 2, 1, 1, 2];
    assert!(!identifiers_under_way(&mixed).contains(&0));
    let alone = identifiers_collide(&[1, 1]) != identifiers_collide(&[2, 2]);
    assert!(alone || !identifiers_collide(&mixed));

    if identifiers_collide(&[1, 1]) {
        return; // no need to go further
    }
    // All 65,535 identifiers around, one of them still in use.
    let mut lab = Lab::new();
    let receiver = subscriber(&mut lab, "receiver", "t", 1);
    let publisher = lab.connect(V311, "publisher");
    lab.send(publisher, &message(1, "t", b"x"));
    let in_use = raw_of(&mut lab, receiver, PUBLISH).iter().find_map(|publish| publish.publish_id());
    let mut seen = 0u32;
    for _ in 0..66_000 {
        lab.send(publisher, &message(1, "t", b"x"));
        lab.bytes(publisher);
        for publish in raw_of(&mut lab, receiver, PUBLISH) {
            let Some(id) = publish.publish_id() else { continue };
            assert_ne!(id, 0);
            assert_ne!(Some(id), in_use, "after {seen} messages");
            lab.send(receiver, &wire::ack(ACK, id));
            seen += 1;
        }
    }
}

#[test]
fn mqtt311_2_3_1_5_a_qos_0_publish_has_no_packet_identifier() {
    let mut lab = Lab::new();
    let receiver = subscriber(&mut lab, "receiver", "t", 0);
    let publisher = lab.connect(V311, "publisher");
    // What could be taken for an identifier is payload, in both directions.
    let payload = b"\x12\x34rest";
    lab.send(publisher, &message(0, "t", payload));
    lab.send(publisher, &message(1, "t", payload));
    lab.send(publisher, &retained(0, "t", payload));
    for publish in raw_of(&mut lab, receiver, PUBLISH) {
        assert_eq!(publish.body, [&string("t")[..], payload].concat());
    }
}

/// PUBACK and PUBREC for these identifiers: those that came.
pub(crate) fn answered_with(qos: u8, id: u16) -> Vec<u16> {
    let mut lab = Lab::new();
    let publisher = lab.connect(V311, "publisher");
    lab.send(publisher, &wire::publish(V311, qos << 1, "t", Some(id), b"x"));
    ids_of(&mut lab, publisher, if qos == 1 { PUBACK } else { PUBREC })
}

#[test]
fn mqtt311_2_3_1_6_acknowledgements_have_the_identifier_of_their_publish() {
    for id in [1, 0x0102, 0x7FFF, 0xFF00, 0xFFFF] {
        for qos in [1, 2] {
            for answer in answered_with(qos, id) {
                assert_eq!(answer, id, "QoS {qos}");
            }
        }
    }
    let mut lab = Lab::new();
    let receiver = subscriber(&mut lab, "receiver", "t", 2);
    let publisher = lab.connect(V311, "publisher");
    for id in 1..300 {
        lab.send(publisher, &wire::publish(V311, 0x04, "t", Some(id), b"x"));
    }
    for publish in raw_of(&mut lab, receiver, PUBLISH) {
        let Some(id) = publish.publish_id() else { continue };
        lab.send(receiver, &wire::ack(REC, id));
        for release in ids_of(&mut lab, receiver, PUBREL) {
            assert_eq!(release, id);
        }
        lab.send(receiver, &wire::ack(COMP, id));
    }
}

/// The identifiers of the answer to a SUBSCRIBE, or an UNSUBSCRIBE, with this one.
pub(crate) fn subscription_answers(kind: u8, id: u16) -> Vec<u16> {
    let mut lab = Lab::new();
    let client = lab.connect(V311, "a");
    if kind == SUBACK {
        lab.send(client, &wire::subscribe(V311, id, &[("t", 0)]));
    } else {
        lab.send(client, &wire::subscribe(V311, 0x5555, &[("t", 0)]));
        lab.bytes(client);
        lab.send(client, &wire::unsubscribe(V311, id, &["t"]));
    }
    ids_of(&mut lab, client, kind)
}

#[test]
fn mqtt311_2_3_1_7_suback_and_unsuback_have_the_identifier_they_answer() {
    for id in [1, 0x0102, 0x7FFF, 0xFF00, 0xFFFF] {
        for kind in [SUBACK, UNSUBACK] {
            for answer in subscription_answers(kind, id) {
                assert_eq!(answer, id);
            }
        }
    }
}

#[test]
fn mqtt311_3_12_4_1_pingreq_is_answered_with_pingresp() {
    let mut lab = Lab::new();
    let client = lab.connect(V311, "a");
    for many in 1..4 {
        lab.send(client, &wire::pingreq().repeat(many));
        assert_eq!(raw_of(&mut lab, client, PINGRESP).len(), many);
    }
}
