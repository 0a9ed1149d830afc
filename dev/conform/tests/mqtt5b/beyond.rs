//! What the chapters say without a number: every Reason Code in its place, short forms, malformed packets in every
//! state, authentication, order, packet identifiers, retained messages for a slow reader.

use std::{collections::BTreeSet, time::Duration};

use cork_access::Actions;
use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5},
};

use crate::{
    acks::{RELEASING, TAKING},
    auth::{auth_lab, authenticated, begin, connecting},
    common::{
        PUBACK, PUBCOMP, PUBREC, PUBREL, REASON_STRING, acks_of, connect_props, deny, disconnect_code,
        publish, publish_done, receive_maximum, resume, resume_with, subacks, subscribe, take, take_all,
        unsubacks,
    },
    disconnect::{CAUSES, ended},
};

// ---- Reason Codes ------------------------------------------------------------------------------------------------

#[test]
fn mqtt5_beyond_a_publication_is_answered_with_the_code_of_its_fate() {
    for shards in 1..4 {
        for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
            for explain in [true, false] {
                let mut lab = Lab::with(|config| {
                    config.shards = shards;
                    config.limits.payload_format_check = true;
                });
                lab.set_rights(&deny(&[(Actions::WRITE, "secret")]));
                for n in 0..4 {
                    let listener = lab.connect(V5, &format!("listener{n}"));
                    subscribe(&mut lab, listener, "heard", 0);
                }
                let client = connect_props(&mut lab, "a", &[0x17, u8::from(explain)]);
                let cases: [(&str, &[u8], &[u8], u8); 5] = [
                    ("heard", &[], b"x", 0x00),
                    ("unheard", &[], b"x", 0x10),
                    ("secret", &[], b"x", 0x87),
                    ("heard", &[0x01, 1], &[0xFF], 0x99),
                    ("heard", &[0x01, 0], &[0xFF], 0x00),
                ];
                for (id, (topic, props, payload, code)) in (1..).zip(cases) {
                    lab.send(client, &wire::publish_with(V5, qos << 1, topic, Some(id), props, payload));
                    let acks = acks_of(&mut lab, client, first);
                    assert_eq!(acks.len(), 1);
                    assert_eq!((acks[0].id, acks[0].reason), (id, code), "{topic} on {shards} shards");
                    // 5.0 3.1.2.11.7: explanations only for who wants them.
                    let explained = acks[0].props.get(REASON_STRING).is_some();
                    assert_eq!(explained, explain && code >= 0x80, "{topic}");
                }
            }
        }
    }
}

#[test]
fn mqtt5_beyond_an_unknown_packet_identifier_is_told() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    lab.send(client, &wire::ack(PUBREC, 7));
    let acks = acks_of(&mut lab, client, PUBREL);
    assert_eq!((acks[0].id, acks[0].reason), (7, 0x92));
    lab.send(client, &wire::ack(PUBREL, 8));
    let acks = acks_of(&mut lab, client, PUBCOMP);
    assert_eq!((acks[0].id, acks[0].reason), (8, 0x92));
    // A refusal asks for nothing more, and these end what is not there.
    for packet in [wire::ack_with(PUBREC, 7, 0x80), wire::ack(PUBACK, 7), wire::ack(PUBCOMP, 7)] {
        lab.send(client, &packet);
        assert!(lab.packets(client).is_empty());
    }
    assert!(!lab.is_closed(client));
}

#[test]
fn mqtt5_beyond_each_filter_is_answered_with_the_code_of_its_fate() {
    let mut lab = Lab::with(|config| config.limits.topic_levels_max = 3);
    lab.set_rights(&deny(&[(Actions::READ, "secret/#")]));
    let client = lab.connect(V5, "a");
    let filters =
        [("a", 0), ("a/+", 1), ("$share/g/a", 2), ("secret/x", 1), ("a/b/c/d", 0), ("$share/g/a/b/c", 1)];
    lab.send(client, &wire::subscribe(V5, 1, &filters));
    assert_eq!(subacks(&mut lab, client), [(1, vec![0, 1, 2, 0x87, 0x8F, 1])]);
    lab.send(client, &wire::unsubscribe(V5, 2, &["a", "a", "secret/x", "$share/g/a", "$share/h/a"]));
    assert_eq!(unsubacks(&mut lab, client), [(2, vec![0x00, 0x11, 0x11, 0x00, 0x11])]);
}

#[test]
fn mqtt5_beyond_each_end_has_its_reason_code() {
    let codes = [0x81, 0x82, 0x82, 0x8F, 0x90, 0x82, 0x95, 0x93, 0x82, 0x87, 0x8D, 0x8E, 0x82, 0x99, 0x8B];
    for (cause, code) in CAUSES.into_iter().zip(codes) {
        let (mut lab, client) = ended(cause, u32::MAX);
        assert_eq!(disconnect_code(&mut lab, client), Some(code), "{cause}");
        assert!(lab.is_closed(client), "{cause}");
    }
    let mut lab = Lab::with(|config| config.server_reference = Some("other.example:1883".to_owned()));
    let client = lab.connect(V5, "a");
    lab.drain();
    let packets = lab.packets(client);
    let [Received::Disconnect { reason: 0x9C, props }] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(props.text(0x1C).as_deref(), Some("other.example:1883"));
}

#[test]
fn mqtt5_beyond_topic_aliases_that_cannot_be_are_told_apart() {
    for (topic, alias, code) in
        [("t", 0, 0x94), ("t", 65, 0x94), ("", 0, 0x94), ("", 65, 0x94), ("", 9, 0x82)]
    {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::publish_with(V5, 0, topic, None, &[0x23, 0, alias], b""));
        assert_eq!(disconnect_code(&mut lab, client), Some(code), "{topic:?} with alias {alias}");
    }
}

// ---- forms of acknowledgements -----------------------------------------------------------------------------------

/// Every legal way to write an acknowledgement that succeeds.
fn forms(first: u8, id: u16) -> [Vec<u8>; 5] {
    let [high, low] = id.to_be_bytes();
    let explained =
        [&[0x1F][..], &wire::string("fine"), &[0x26], &wire::string("k"), &wire::string("v")].concat();
    [
        wire::ack(first, id),
        wire::ack_with(first, id, 0),
        wire::packet(first, &[high, low, 0, 0]),
        wire::packet(first, &[&[high, low, 0][..], &wire::properties(&explained)].concat()),
        wire::packet(
            first,
            &[&[high, low, 0][..], &wire::properties(&[&explained[7..], &explained[7..]].concat())].concat(),
        ),
    ]
}

#[test]
fn mqtt5_beyond_short_and_long_forms_of_acknowledgements_mean_the_same() {
    for form in 0..5 {
        let mut lab = Lab::new();
        let client = resume_with(&mut lab, "a", &receive_maximum(1));
        subscribe(&mut lab, client, "t", 2);
        let publisher = lab.connect(V5, "p");
        for n in 0..4 {
            publish_done(&mut lab, publisher, "t", 1 + n % 2, &[n]);
        }
        for n in 0..4 {
            let got = lab.publishes(client);
            assert_eq!(got.len(), 1, "form {form}, message {n}");
            let id = got[0].id.unwrap();
            if got[0].qos == 1 {
                lab.send(client, &forms(PUBACK, id)[form]);
            } else {
                lab.send(client, &forms(PUBREC, id)[form]);
                assert_eq!(acks_of(&mut lab, client, PUBREL).len(), 1, "form {form}");
                lab.send(client, &forms(PUBCOMP, id)[form]);
            }
        }
        lab.send(client, &wire::publish(V5, 4, "u", Some(3), b"x"));
        lab.send(client, &forms(PUBREL, 3)[form]);
        assert_eq!(acks_of(&mut lab, client, PUBCOMP)[0].reason, 0, "form {form}");
    }
}

#[test]
fn mqtt5_beyond_every_legal_code_of_an_acknowledgement_is_taken() {
    let codes: [(u8, &[u8]); 4] =
        [(PUBACK, &TAKING), (PUBREC, &TAKING), (PUBREL, &RELEASING), (PUBCOMP, &RELEASING)];
    for (first, codes) in codes {
        for code in codes {
            let mut lab = Lab::new();
            let client = lab.connect(V5, "a");
            lab.send(client, &wire::ack_with(first, 1, *code));
            lab.send(client, &wire::pingreq());
            assert!(lab.packets(client).contains(&Received::PingResp), "0x{first:02X} with 0x{code:02X}");
        }
    }
}

#[test]
fn mqtt5_beyond_good_answers_are_sent_in_their_shortest_form() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    subscribe(&mut lab, client, "t", 2);
    lab.send(client, &wire::publish(V5, 2, "t", Some(1), b"x"));
    lab.send(client, &wire::publish(V5, 2, "unheard", Some(2), b"x"));
    lab.send(client, &wire::publish(V5, 4, "t", Some(3), b"x"));
    lab.send(client, &wire::ack(PUBREL, 3));
    lab.send(client, &wire::ack(PUBREC, 2));
    let lengths: Vec<(u8, usize)> = lab
        .sized_packets(client)
        .into_iter()
        .filter_map(|(length, packet)| Some((packet.into_ack()?.first, length)))
        .collect();
    assert_eq!(lengths, [(PUBACK, 4), (PUBACK, 5), (PUBREC, 4), (PUBCOMP, 4), (PUBREL, 4)]);
}

// ---- malformed packets -------------------------------------------------------------------------------------------

/// Packets no client may send, with the code that says why.
fn malformed() -> Vec<(&'static str, Vec<u8>, u8)> {
    let twice = [0x1F, 0, 1, b'a', 0x1F, 0, 1, b'b'];
    let ack = |first, props: &[u8]| wire::packet(first, &[&[0, 1, 0][..], &wire::properties(props)].concat());
    let subscribe = |props: &[u8]| wire::subscribe_with(V5, 1, props, &[("t", 0)]);
    vec![
        ("reserved packet type", vec![0x00, 0], 0x81),
        ("reserved packet type with flags", vec![0x0F, 0], 0x81),
        ("five length bytes", vec![0xC0, 0x80, 0x80, 0x80, 0x80], 0x81),
        ("a padded length", vec![0xC0, 0x80, 0x00], 0x81),
        ("a second CONNECT", Connect::new(V5, "b").bytes(), 0x82),
        ("CONNACK", wire::packet(0x20, &[0, 0, 0]), 0x82),
        ("SUBACK", wire::packet(0x90, &[0, 1, 0, 0]), 0x82),
        ("UNSUBACK", wire::packet(0xB0, &[0, 1, 0, 0]), 0x82),
        ("PINGRESP", vec![0xD0, 0], 0x82),
        ("PUBLISH at QoS 3", wire::publish(V5, 6, "t", Some(1), b""), 0x81),
        ("PUBLISH at QoS 0 with DUP", wire::publish(V5, 8, "t", None, b""), 0x81),
        ("PUBLISH with identifier 0", wire::publish(V5, 2, "t", Some(0), b""), 0x82),
        ("PUBLISH without a topic", wire::publish(V5, 0, "", None, b""), 0x82),
        ("PUBLISH to a wildcard", wire::publish(V5, 0, "a/#", None, b""), 0x90),
        ("PUBLISH to a topic that is not UTF-8", wire::packet(0x30, &[0, 1, 0x80, 0]), 0x81),
        ("PUBLISH to a topic with U+0000", wire::packet(0x30, &[0, 1, 0, 0]), 0x81),
        ("PUBLISH whose topic is cut", wire::packet(0x30, &[0, 9, b't', 0]), 0x81),
        ("PUBLISH without properties", wire::packet(0x30, &[0, 1, b't']), 0x81),
        ("PUBLISH whose properties are cut", wire::packet(0x30, &[0, 1, b't', 5, 0x01]), 0x81),
        (
            "PUBLISH with a Subscription Identifier",
            wire::publish_with(V5, 0, "t", None, &[0x0B, 1], b""),
            0x82,
        ),
        ("PUBLISH with alias 0", wire::publish_with(V5, 0, "t", None, &[0x23, 0, 0], b""), 0x94),
        ("PUBLISH with a format of 2", wire::publish_with(V5, 0, "t", None, &[0x01, 2], b""), 0x82),
        ("PUBLISH with two formats", wire::publish_with(V5, 0, "t", None, &[0x01, 0, 0x01, 0], b""), 0x82),
        ("PUBLISH with an unknown property", wire::publish_with(V5, 0, "t", None, &[0x04, 0], b""), 0x81),
        (
            "PUBLISH with a property of CONNECT",
            wire::publish_with(V5, 0, "t", None, &[0x21, 0, 1], b""),
            0x81,
        ),
        (
            "PUBLISH answered to a wildcard",
            wire::publish_with(V5, 0, "t", None, &[0x08, 0, 1, b'#'], b""),
            0x82,
        ),
        ("PUBACK of one byte", wire::packet(PUBACK, &[0]), 0x81),
        ("PUBACK of identifier 0", wire::ack(PUBACK, 0), 0x82),
        ("PUBACK with flags", wire::ack(PUBACK | 2, 1), 0x81),
        ("PUBACK with a code of PUBREL", wire::ack_with(PUBACK, 1, 0x92), 0x82),
        ("PUBACK with two Reason Strings", ack(PUBACK, &twice), 0x82),
        ("PUBACK with a Topic Alias", ack(PUBACK, &[0x23, 0, 1]), 0x81),
        ("PUBACK with something behind", wire::packet(PUBACK, &[0, 1, 0, 0, 7]), 0x81),
        ("PUBREC with flags", wire::ack(PUBREC | 1, 1), 0x81),
        ("PUBREC with a code of nothing", wire::ack_with(PUBREC, 1, 0x7F), 0x82),
        ("PUBREL without its flags", wire::ack(0x60, 1), 0x81),
        ("PUBREL with DUP", wire::ack(0x6A, 1), 0x81),
        ("PUBREL of nothing", wire::packet(PUBREL, &[]), 0x81),
        ("PUBCOMP with flags", wire::ack(0x72, 1), 0x81),
        ("PUBCOMP whose properties are cut", wire::packet(PUBCOMP, &[0, 1, 0, 9]), 0x81),
        ("SUBSCRIBE without its flags", wire::packet(0x80, &[0, 1, 0, 0, 1, b't', 0]), 0x81),
        ("SUBSCRIBE with identifier 0", wire::subscribe(V5, 0, &[("t", 0)]), 0x82),
        ("SUBSCRIBE without a filter", wire::subscribe(V5, 1, &[]), 0x82),
        ("SUBSCRIBE without options", wire::packet(0x82, &[0, 1, 0, 0, 1, b't']), 0x81),
        ("SUBSCRIBE at QoS 3", wire::subscribe(V5, 1, &[("t", 3)]), 0x82),
        ("SUBSCRIBE with Retain Handling 3", wire::subscribe(V5, 1, &[("t", 0x30)]), 0x82),
        ("SUBSCRIBE with reserved options", wire::subscribe(V5, 1, &[("t", 0x80)]), 0x81),
        ("SUBSCRIBE with No Local shared", wire::subscribe(V5, 1, &[("$share/g/t", 4)]), 0x82),
        ("SUBSCRIBE with Subscription Identifier 0", subscribe(&[0x0B, 0]), 0x82),
        ("SUBSCRIBE with two Subscription Identifiers", subscribe(&[0x0B, 1, 0x0B, 2]), 0x82),
        ("SUBSCRIBE with a Reason String", subscribe(&[0x1F, 0, 1, b'a']), 0x81),
        ("SUBSCRIBE to an ill-formed filter", wire::subscribe(V5, 1, &[("a", 0), ("a#", 0)]), 0x8F),
        ("SUBSCRIBE to an empty filter", wire::subscribe(V5, 1, &[("", 0)]), 0x8F),
        ("SUBSCRIBE to a share without a filter", wire::subscribe(V5, 1, &[("$share/g", 0)]), 0x8F),
        ("UNSUBSCRIBE without its flags", wire::packet(0xA0, &[0, 1, 0, 0, 1, b't']), 0x81),
        ("UNSUBSCRIBE with identifier 0", wire::unsubscribe(V5, 0, &["t"]), 0x82),
        ("UNSUBSCRIBE without a filter", wire::unsubscribe(V5, 1, &[]), 0x82),
        ("UNSUBSCRIBE of a share without a name", wire::unsubscribe(V5, 1, &["$share//t"]), 0x8F),
        (
            "UNSUBSCRIBE with a Subscription Identifier",
            wire::packet(0xA2, &[0, 1, 2, 0x0B, 1, 0, 1, b't']),
            0x81,
        ),
        ("PINGREQ with flags", vec![0xC1, 0], 0x81),
        ("PINGREQ with a body", wire::packet(0xC0, &[0]), 0x81),
        ("DISCONNECT with flags", vec![0xE8, 0], 0x81),
        ("DISCONNECT with a code of CONNACK", wire::disconnect_with(0x84, &[]), 0x82),
        ("DISCONNECT whose properties are cut", wire::packet(0xE0, &[0, 5, 0x11]), 0x81),
        ("DISCONNECT with something behind", wire::packet(0xE0, &[0, 0, 7]), 0x81),
        (
            "DISCONNECT with two expiries",
            wire::disconnect_with(0, &[0x11, 0, 0, 0, 0, 0x11, 0, 0, 0, 0]),
            0x82,
        ),
        ("DISCONNECT with a Receive Maximum", wire::disconnect_with(0, &[0x21, 0, 1]), 0x81),
        ("DISCONNECT that begins an expiry", wire::disconnect_with(0, &[0x11, 0, 0, 0, 1]), 0x82),
        ("AUTH without a method in CONNECT", wire::auth(0x18, "M", b""), 0x82),
        ("AUTH with flags", wire::packet(0xF2, &[]), 0x81),
        ("AUTH with a code of nothing", wire::packet(0xF0, &[0x01, 0]), 0x82),
        ("AUTH whose properties are missing", wire::packet(0xF0, &[0x18]), 0x81),
        ("AUTH with data and no method", wire::packet(0xF0, &[0x18, 3, 0x16, 0, 0]), 0x82),
    ]
}

#[test]
fn mqtt5_beyond_a_malformed_packet_is_answered_with_its_code_however_it_is_cut() {
    for (name, packet, code) in malformed() {
        for step in [packet.len(), 1, 3] {
            let mut lab = Lab::new();
            let client = lab.connect(V5, "a");
            let witness = lab.connect(V5, "witness");
            subscribe(&mut lab, witness, "#", 0);
            for part in packet.chunks(step) {
                lab.send(client, part);
            }
            assert_eq!(disconnect_code(&mut lab, client), Some(code), "{name}, {step} bytes a time");
            assert!(lab.is_closed(client), "{name}");
            // Nobody else is harmed, and nothing of it was acted on.
            lab.send(witness, &wire::pingreq());
            assert_eq!(lab.packets(witness), [Received::PingResp], "{name}");
            let ends =
                lab.events.iter().filter(|event| matches!(event, cork_core::Event::Disconnected { .. }));
            assert_eq!(ends.count(), 1, "{name}: one line for the log");
        }
    }
}

#[test]
fn mqtt5_beyond_a_malformed_packet_before_connect_is_not_answered() {
    for (name, packet, _) in malformed().into_iter().filter(|(_, packet, _)| packet[0] != 0x10) {
        let mut lab = Lab::new();
        let client = lab.open(V5);
        lab.send(client, &packet);
        assert!(lab.is_closed(client), "{name}");
        assert!(lab.bytes(client).is_empty(), "{name}");
    }
}

#[test]
fn mqtt5_beyond_a_malformed_packet_during_authentication_is_answered_by_connack() {
    for (name, packet, code) in malformed() {
        // In this state another packet is wrong whatever is in it.
        if packet[0] & 0xF0 != 0xF0 && code != 0x81 {
            continue;
        }
        if name == "AUTH without a method in CONNECT" {
            continue; // there is one here
        }
        let mut lab = auth_lab(|_| {});
        let client = connecting(&mut lab, "M", b"");
        lab.bytes(client);
        lab.send(client, &packet);
        assert!(lab.is_closed(client), "{name}");
        let packets = lab.packets(client);
        assert!(
            matches!(&packets[..], [Received::ConnAck { flags: 0, code: sent, .. }] if *sent == code),
            "{name}: {packets:?}"
        );
    }
}

#[test]
fn mqtt5_beyond_packet_after_packet_is_handled_up_to_the_malformed_one() {
    for (name, packet, _) in malformed() {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        let witness = lab.connect(V5, "witness");
        subscribe(&mut lab, witness, "#", 0);
        let before = wire::publish(V5, 0, "t", None, b"before");
        let after = wire::publish(V5, 0, "t", None, b"after");
        lab.send(client, &[before, packet, after].concat());
        assert_eq!(lab.payloads(witness), [b"before".to_vec()], "{name}");
    }
}

// ---- DISCONNECT --------------------------------------------------------------------------------------------------

#[test]
fn mqtt5_beyond_disconnect_with_any_other_code_than_0_sends_the_will() {
    for (code, sent) in [(0x00, false), (0x04, true), (0x80, true), (0x81, true), (0x93, true), (0x98, true)]
    {
        let mut lab = Lab::new();
        let watcher = lab.connect(V5, "watcher");
        subscribe(&mut lab, watcher, "will", 0);
        let client = lab.connect_with(V5, &Connect::new(V5, "a").with_will("will", b"gone"));
        lab.send(client, &wire::disconnect_with(code, &[0x1F, 0, 1, b'x', 0x26, 0, 1, b'k', 0, 1, b'v']));
        assert!(lab.is_closed(client));
        assert!(lab.bytes(client).is_empty(), "a DISCONNECT is not answered");
        assert_eq!(!lab.payloads(watcher).is_empty(), sent, "0x{code:02X}");
    }
}

#[test]
fn mqtt5_beyond_disconnect_may_change_the_session_expiry() {
    for (first, then, wait, stays) in [
        (10u32, Some(100u32), 50, true),
        (10, Some(0), 0, false),
        (100, Some(10), 50, false),
        (10, None, 5, true),
    ] {
        let mut lab = Lab::new();
        let mut connect = Connect { clean: false, ..Connect::new(V5, "a") };
        connect.properties = [&[0x11][..], &first.to_be_bytes()].concat();
        let client = lab.connect_with(V5, &connect);
        let props = then.map_or(Vec::new(), |then| [&[0x11][..], &then.to_be_bytes()].concat());
        lab.send(client, &wire::disconnect_with(0, &props));
        lab.advance(Duration::from_secs(wait));
        let client = lab.open(V5);
        lab.send(client, &connect.bytes());
        let packets = lab.packets(client);
        let [Received::ConnAck { flags, code: 0, .. }] = packets[..] else { panic!("{packets:?}") };
        assert_eq!(flags == 1, stays, "{first}, then {then:?}, after {wait} s");
    }
}

// ---- authentication ----------------------------------------------------------------------------------------------

#[test]
fn mqtt5_beyond_an_exchange_carries_its_data_both_ways() {
    let mut lab = auth_lab(|_| {});
    let client = connecting(&mut lab, "M", b"hello");
    let data = |packets: &[Received]| crate::common::props_of(&packets[0]).get(0x16).map(<[u8]>::to_vec);
    let packets = lab.packets(client);
    assert!(matches!(packets[..], [Received::Auth { reason: 0x18, .. }]), "{packets:?}");
    assert_eq!(data(&packets), Some(b"who are you?".to_vec()));
    lab.send(client, &wire::auth(0x18, "M", b"ok"));
    let packets = lab.packets(client);
    assert!(matches!(packets[..], [Received::ConnAck { flags: 0, code: 0, .. }]), "{packets:?}");
    assert_eq!(data(&packets), Some(b"welcome".to_vec()));
    lab.send(client, &wire::auth(0x19, "M", b"ok"));
    let packets = lab.packets(client);
    assert!(matches!(packets[..], [Received::Auth { reason: 0x00, .. }]), "{packets:?}");
    assert_eq!(data(&packets), Some(b"welcome".to_vec()));
}

#[test]
fn mqtt5_beyond_only_auth_and_disconnect_may_come_during_the_exchange() {
    let others = [
        wire::pingreq(),
        wire::publish(V5, 0, "t", None, b""),
        wire::subscribe(V5, 1, &[("t", 0)]),
        wire::ack(PUBACK, 1),
        Connect::new(V5, "a").bytes(),
        wire::auth(0x19, "M", b"ok"),
        wire::auth(0x00, "M", b"ok"),
    ];
    for packet in others {
        let mut lab = auth_lab(|_| {});
        let client = connecting(&mut lab, "M", b"");
        lab.bytes(client);
        lab.send(client, &packet);
        assert!(lab.is_closed(client), "{packet:x?}");
        let packets = lab.packets(client);
        assert!(matches!(packets[..], [Received::ConnAck { code: 0x82, .. }]), "{packet:x?}: {packets:?}");
    }
    let mut lab = auth_lab(|_| {});
    let client = connecting(&mut lab, "M", b"");
    lab.bytes(client);
    lab.send(client, &wire::disconnect());
    assert!(lab.is_closed(client) && lab.bytes(client).is_empty());
}

#[test]
fn mqtt5_beyond_auth_out_of_turn_is_a_protocol_error() {
    for packet in [wire::auth(0x18, "M", b"ok"), wire::auth(0x00, "M", b"ok"), wire::packet(0xF0, &[])] {
        let mut lab = auth_lab(|_| {});
        let client = authenticated(&mut lab);
        lab.send(client, &packet);
        assert_eq!(disconnect_code(&mut lab, client), Some(0x82), "{packet:x?}");
    }
    let mut lab = auth_lab(|_| {});
    let client = authenticated(&mut lab);
    lab.send(client, &wire::auth(0x19, "M", b"hm"));
    lab.send(client, &wire::auth(0x19, "M", b"hm"));
    assert_eq!(disconnect_code(&mut lab, client), Some(0x82), "a second beginning");
}

#[test]
fn mqtt5_beyond_messages_flow_on_during_a_re_authentication() {
    let mut lab = auth_lab(|_| {});
    let client = authenticated(&mut lab);
    subscribe(&mut lab, client, "t", 1);
    lab.send(client, &wire::auth(0x19, "M", b"hm"));
    publish(&mut lab, client, "t", 1, 1, b"x");
    assert_eq!(lab.payloads(client), [b"x".to_vec()]);
    lab.send(client, &wire::auth(0x18, "M", b"no"));
    assert_eq!(disconnect_code(&mut lab, client), Some(0x87));
}

#[test]
fn mqtt5_beyond_an_exchange_that_is_never_finished_is_ended() {
    let mut lab = auth_lab(|_| {});
    let client = connecting(&mut lab, "M", b"");
    lab.advance(Duration::from_secs(30));
    assert!(lab.is_closed(client));
    let mut lab = auth_lab(|_| {});
    let client = lab.open(V5);
    let connect = Connect { properties: begin("M", b"no"), ..Connect::new(V5, "a") };
    lab.send(client, &connect.bytes());
    let packets = lab.packets(client);
    assert!(matches!(packets[..], [Received::ConnAck { code: 0x87, .. }]), "{packets:?}");
}

// ---- order and identifiers ---------------------------------------------------------------------------------------

#[test]
fn mqtt5_beyond_what_is_sent_again_keeps_its_first_order() {
    let mut lab = Lab::new();
    let client = resume(&mut lab, "a");
    subscribe(&mut lab, client, "t", 2);
    let publisher = lab.connect(V5, "p");
    for n in 0..12 {
        publish_done(&mut lab, publisher, "t", 1 + n % 2, &[n]);
    }
    let sent = lab.publishes(client);
    // Some are over, some are released, in any order.
    for n in [7usize, 3, 9] {
        lab.send(client, &wire::ack(PUBREC, sent[n].id.unwrap()));
    }
    for n in [4usize, 0] {
        lab.send(client, &wire::ack(PUBACK, sent[n].id.unwrap()));
    }
    lab.cut(client);
    let client = resume(&mut lab, "a");
    let again: Vec<(u16, bool)> = lab
        .packets(client)
        .into_iter()
        .map(|packet| match packet {
            Received::Publish(publish) => (publish.id.unwrap(), publish.dup),
            Received::Ack(ack) => (ack.id, ack.first != PUBREL),
            other => panic!("{other:?}"),
        })
        .collect();
    let wanted: Vec<(u16, bool)> = (0..12usize)
        .filter(|n| ![0, 4].contains(n))
        .map(|n| (sent[n].id.unwrap(), ![3, 7, 9].contains(&n)))
        .collect();
    assert_eq!(again, wanted);
}

#[test]
fn mqtt5_beyond_pubrel_after_a_resumed_session_ends_the_publishers_flow() {
    let mut lab = Lab::new();
    let publisher = resume(&mut lab, "p");
    publish(&mut lab, publisher, "t", 2, 1, b"x");
    lab.cut(publisher);
    let publisher = resume(&mut lab, "p");
    lab.send(publisher, &wire::ack(PUBREL, 1));
    assert_eq!(acks_of(&mut lab, publisher, PUBCOMP)[0].reason, 0);
    lab.send(publisher, &wire::ack(PUBREL, 1));
    assert_eq!(acks_of(&mut lab, publisher, PUBCOMP)[0].reason, 0x92, "the identifier is free again");
}

#[test]
fn mqtt5_beyond_both_sides_number_their_packets_for_themselves() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    subscribe(&mut lab, client, "t", 2);
    publish(&mut lab, client, "t", 2, 1, b"x");
    let packets = lab.packets(client);
    let id = packets.iter().find_map(|p| p.clone().into_publish()).unwrap().id.unwrap();
    assert_eq!(id, 1, "the broker's first identifier is the client's own");
    // The client's PUBREC for the broker's 1 and PUBREL for its own 1 meet nobody else's flow.
    lab.send(client, &wire::ack(PUBREC, 1));
    assert_eq!(acks_of(&mut lab, client, PUBREL)[0].reason, 0);
    lab.send(client, &wire::ack(PUBREL, 1));
    assert_eq!(acks_of(&mut lab, client, PUBCOMP)[0].reason, 0);
    lab.send(client, &wire::ack(PUBCOMP, 1));
    lab.send(client, &wire::subscribe(V5, 1, &[("u", 0)]));
    assert_eq!(subacks(&mut lab, client), [(1, vec![0])]);
}

#[test]
fn mqtt5_beyond_qos_0_flows_though_receive_maximum_is_used_up() {
    let mut lab = Lab::new();
    let client = connect_props(&mut lab, "a", &receive_maximum(1));
    subscribe(&mut lab, client, "t", 1);
    let publisher = lab.connect(V5, "p");
    publish(&mut lab, publisher, "t", 1, 1, b"one");
    publish(&mut lab, publisher, "t", 1, 2, b"held");
    publish(&mut lab, publisher, "t", 0, 0, b"zero");
    assert_eq!(lab.payloads(client), [b"one".to_vec(), b"zero".to_vec()]);
}

#[test]
fn mqtt5_beyond_receive_maximum_of_the_broker_counts_what_is_under_way() {
    let mut lab = Lab::with(|config| config.limits.receive_maximum = 2);
    let client = lab.connect(V5, "a");
    for id in 1..=50 {
        publish(&mut lab, client, "t", 1, id, b"x");
        publish(&mut lab, client, "t", 2, 100 + id, b"x");
        lab.send(client, &wire::ack(PUBREL, 100 + id));
    }
    publish(&mut lab, client, "t", 2, 1, b"x");
    publish(&mut lab, client, "t", 2, 2, b"x");
    lab.send(client, &wire::publish(V5, 0x0C, "t", Some(1), b"x")); // a repetition is not a third
    assert!(!lab.is_closed(client));
    publish(&mut lab, client, "t", 2, 3, b"x");
    assert_eq!(disconnect_code(&mut lab, client), Some(0x93));
}

#[test]
fn mqtt5_beyond_a_retained_message_does_not_overtake_the_queue() {
    let mut lab = Lab::new();
    let client = connect_props(&mut lab, "a", &receive_maximum(60_000));
    subscribe(&mut lab, client, "fill", 1);
    let publisher = lab.connect(V5, "p");
    // The client's socket is full when it subscribes, so that messages queue behind.
    lab.set_window(client, 0);
    publish_done(&mut lab, publisher, "fill", 1, &vec![0; 300 << 10]);
    lab.send(publisher, &wire::publish(V5, 3, "t", Some(1), &[1]));
    lab.send(client, &wire::subscribe(V5, 1, &[("t", 1)]));
    for n in 2..20 {
        lab.send(publisher, &wire::publish(V5, 3, "t", Some(1), &[n]));
    }
    lab.set_window(client, usize::MAX);
    let got: Vec<u8> = take_all(&mut lab, client)
        .iter()
        .filter(|p| p.topic == "t")
        .map(|publish| publish.payload[0])
        .collect();
    assert_eq!(got.iter().collect::<BTreeSet<_>>().last(), Some(&&19));
    assert!(got.is_sorted(), "{got:?}");
}

// ---- retained messages for a slow reader -------------------------------------------------------------------------

fn wildcard_gets_every_retained_message(qos: u8, window: usize) {
    const MANY: usize = 50_000;
    let mut lab = Lab::new();
    let publisher = lab.connect(V5, "p");
    for n in 0..MANY {
        let topic = format!("site/{}/sensor/{n}", n % 97);
        lab.send(publisher, &wire::publish(V5, 1, &topic, None, &n.to_be_bytes()));
    }
    let client: ClientIx = connect_props(&mut lab, "a", &receive_maximum(100));
    lab.set_window(client, 0);
    lab.send(client, &wire::subscribe(V5, 1, &[("site/+/sensor/#", qos)]));
    let mut seen = vec![0u8; MANY];
    let mut pending = Vec::new();
    let mut rounds = 0;
    while seen.contains(&0) {
        rounds += 1;
        assert!(rounds < 100_000, "{} of {MANY} came", seen.iter().filter(|n| **n > 0).count());
        lab.set_window(client, window);
        // A long search goes on at the next turn.
        lab.advance(Duration::from_millis(1));
        pending.extend(lab.bytes(client));
        while let Some(length) = wire::packet_length(&pending) {
            let packet: Vec<u8> = pending.drain(..length).collect();
            if packet[0] & 0xF0 == 0x30 {
                assert_eq!(packet[0] & 1, 1, "RETAIN");
                let topic_length = usize::from(packet[3]);
                let payload: [u8; 8] = *packet.last_chunk().expect("a number");
                seen[usize::from_be_bytes(payload)] += 1;
                if qos == 1 {
                    let at = 4 + topic_length;
                    lab.send(client, &wire::ack(PUBACK, u16::from_be_bytes([packet[at], packet[at + 1]])));
                }
            }
        }
    }
    assert!(seen.iter().all(|n| *n == 1), "none twice");
    // What waited for the reader never was more than a buffer.
    assert_eq!(lab.stats(0).queued_messages, 0);
}

#[test]
fn mqtt5_beyond_a_wildcard_gets_50000_retained_messages_at_its_own_pace() {
    wildcard_gets_every_retained_message(0, 10_000);
}

#[test]
fn mqtt5_beyond_publications_do_not_wait_for_a_reader_of_retained_messages() {
    let mut lab = Lab::new();
    let publisher = lab.connect(V5, "p");
    for n in 0..20_000 {
        lab.send(publisher, &wire::publish(V5, 1, &format!("r/{n}"), None, &[0; 100]));
    }
    let client = lab.connect(V5, "a");
    lab.set_window(client, 0);
    lab.send(client, &wire::subscribe(V5, 1, &[("#", 1)]));
    let other = lab.connect(V5, "b");
    subscribe(&mut lab, other, "live", 1);
    for n in 0..100 {
        publish(&mut lab, publisher, "live", 1, 1, &[n]);
    }
    assert_eq!(take_all(&mut lab, other).len(), 100);
    // The slow reader gets them, too, in order, once it reads.
    lab.set_window(client, usize::MAX);
    let mut live = Vec::new();
    for _ in 0..100 {
        for publish in lab.publishes(client) {
            take(&mut lab, client, &publish);
            if publish.topic == "live" {
                live.push(publish.payload[0]);
            }
        }
        lab.advance(Duration::from_millis(1));
    }
    assert_eq!(live, Vec::from_iter(0..100));
}
