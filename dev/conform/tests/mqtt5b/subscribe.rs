//! SUBSCRIBE and SUBACK: sections 3.8 and 3.9.

use cork_access::Actions;
use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, V5},
};

use crate::common::{
    REASON_STRING, USER_PROPERTY, connect_props, connect_sized, deny, props_of, publish, publish_done,
    receive_maximum, resume, retain, subacks, subscribe, take_all, was_malformed,
};

/// Byte sequences that are not UTF-8.
pub(crate) const NOT_UTF8: [&[u8]; 5] =
    [b"a\x80", b"\xC0\x80", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"a/\xE2\x82"];

#[test]
fn mqtt5_3_8_1_1_subscribe_with_other_flags_ends_the_connection() {
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        let mut packet = wire::subscribe(V5, 1, &[("t", 0)]);
        packet[0] = 0x80 | flags;
        lab.send(client, &packet);
        assert!(was_malformed(&mut lab, client), "flags {flags:04b}");
    }
}

#[test]
fn mqtt5_3_8_3_1_a_filter_is_a_utf8_string() {
    for filter in NOT_UTF8 {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        let body = [&[0, 1, 0][..], &wire::string(filter), &[0]].concat();
        lab.send(client, &wire::packet(0x82, &body));
        assert!(lab.is_closed(client), "{filter:x?}");
    }
}

#[test]
fn mqtt5_3_8_3_2_subscribe_without_a_filter_is_refused() {
    for properties in [&[0u8][..], &[2, 0x0B, 1]] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::packet(0x82, &[&[0, 1][..], properties].concat()));
        assert!(lab.is_closed(client));
    }
}

#[test]
fn mqtt5_3_8_3_3_no_local_keeps_a_clients_own_messages_from_it() {
    for qos in 0..3 {
        for filters in [&[("t", 0x06)][..], &[("#", 0x04)], &[("t", 0x05), ("+", 0x06)]] {
            let mut lab = Lab::new();
            let client = lab.connect(V5, "a");
            lab.send(client, &wire::subscribe(V5, 1, filters));
            publish(&mut lab, client, "t", qos, 1, b"own");
            assert!(lab.payloads(client).is_empty(), "{filters:?} at QoS {qos}");
        }
    }
    // Nor as a retained message, nor to a later connection of the same client.
    for retain in [0, 1] {
        let mut lab = Lab::new();
        let client = resume(&mut lab, "a");
        lab.send(client, &wire::publish(V5, 2 | retain, "t", Some(1), b"own"));
        lab.bytes(client);
        lab.send(client, &wire::subscribe(V5, 1, &[("t", 0x06)]));
        assert!(lab.payloads(client).is_empty(), "retained");
        lab.send(client, &wire::publish(V5, 2, "t", Some(2), b"own"));
        lab.cut(client);
        let client = resume(&mut lab, "a");
        assert!(lab.payloads(client).is_empty(), "after the connection");
    }
}

#[test]
fn mqtt5_3_8_3_4_no_local_on_a_shared_subscription_is_an_error() {
    for options in [0x04, 0x05, 0x0E] {
        for filters in [&[("$share/g/t", options)][..], &[("t", 0), ("$share/g/#", options)]] {
            let mut lab = Lab::new();
            let client = lab.connect(V5, "a");
            lab.send(client, &wire::subscribe(V5, 1, filters));
            assert!(lab.is_closed(client), "{filters:?}");
        }
    }
}

#[test]
fn mqtt5_3_8_3_5_reserved_bits_of_the_options_end_the_connection() {
    for bits in [0x40, 0x80, 0xC0, 0x41, 0xAA] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::subscribe(V5, 1, &[("t", 0), ("u", bits)]));
        assert!(was_malformed(&mut lab, client), "options {bits:02x}");
    }
}

#[test]
fn mqtt5_3_8_4_1_subscribe_is_answered_by_suback() {
    for shards in 1..4 {
        let mut lab = Lab::with(|config| {
            config.shards = shards;
            config.limits.topic_levels_max = 3;
        });
        lab.set_rights(&deny(&[(Actions::READ, "secret")]));
        let cases: [&[(&str, u8)]; 7] = [
            &[("t", 0)],
            &[("t", 1)],
            &[("a", 0), ("a", 1), ("b/+", 2)],
            &[("$share/g/t", 1)],
            &[("secret", 0)],
            &[("a/b/c/d", 0)],
            &[("#", 2)],
        ];
        for filters in cases {
            let client = resume(&mut lab, "a");
            lab.bytes(client);
            lab.send(client, &wire::subscribe(V5, 1, filters));
            assert!(!subacks(&mut lab, client).is_empty(), "{filters:?} on {shards} shards");
        }
    }
}

#[test]
fn mqtt5_3_8_4_2_suback_has_the_packet_identifier_of_its_subscribe() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    for id in [1, 2, 0x00FF, 0x0100, 0x1234, 0xFFFF] {
        lab.send(client, &wire::subscribe(V5, id, &[("t", 0), ("u", 1)]));
        for (acknowledged, _) in subacks(&mut lab, client) {
            assert_eq!(acknowledged, id);
        }
    }
}

#[test]
fn mqtt5_3_8_4_3_an_identical_filter_replaces_the_subscription() {
    for filter in ["t", "+", "#"] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        subscribe(&mut lab, client, filter, 0x04); // No Local: own messages do not come
        subscribe(&mut lab, client, filter, 0x00);
        publish(&mut lab, client, "t", 0, 0, b"own");
        assert_eq!(lab.payloads(client), [b"own".to_vec()], "{filter}");
    }
}

#[test]
fn mqtt5_3_8_4_4_replacing_sends_retained_messages_again_and_loses_none() {
    let mut lab = Lab::new();
    retain(&mut lab, "t/1", 0, b"one");
    retain(&mut lab, "t/2", 0, b"two");
    let client = lab.connect(V5, "a");
    for _ in 0..3 {
        lab.send(client, &wire::subscribe(V5, 1, &[("t/+", 0)]));
        let mut got = lab.payloads(client);
        got.sort_unstable();
        assert_eq!(got, [b"one".to_vec(), b"two".to_vec()]);
    }
    // What waits for room in the window when the subscription is replaced.
    let mut lab = Lab::new();
    let client = connect_props(&mut lab, "b", &receive_maximum(1));
    subscribe(&mut lab, client, "t", 1);
    let publisher = lab.connect(V5, "p");
    for n in 0..10 {
        publish(&mut lab, publisher, "t", 1, 1, &[n]);
        let options = [0x01, 0x02, 0x09][usize::from(n) % 3];
        lab.send(client, &wire::subscribe(V5, 2, &[("t", options)]));
    }
    let mut got: Vec<u8> = take_all(&mut lab, client).into_iter().map(|publish| publish.payload[0]).collect();
    got.sort_unstable();
    assert_eq!(got, Vec::from_iter(0..10));
}

#[test]
fn mqtt5_3_8_4_5_several_filters_are_a_sequence_with_one_answer() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    lab.send(client, &wire::subscribe(V5, 1, &[("a", 0), ("b", 2), ("c/+", 1)]));
    assert_eq!(subacks(&mut lab, client).len(), 1);
    for topic in ["a", "b", "c/d"] {
        publish(&mut lab, client, topic, 0, 0, topic.as_bytes());
        assert_eq!(lab.payloads(client), [topic.as_bytes().to_vec()]);
    }
}

#[test]
fn mqtt5_3_8_4_6_suback_has_one_code_for_each_filter() {
    let mut lab = Lab::new();
    lab.set_rights(&deny(&[(Actions::READ, "secret")]));
    let client = lab.connect(V5, "a");
    for many in [1, 2, 3, 10, 300] {
        for topic in ["t", "secret"] {
            let mut filters = vec![("u", 1); many];
            filters[many / 2] = (topic, 0);
            lab.send(client, &wire::subscribe(V5, 1, &filters));
            for (_, codes) in subacks(&mut lab, client) {
                assert_eq!(codes.len(), many);
            }
        }
    }
}

#[test]
fn mqtt5_3_8_4_7_a_code_shows_the_granted_qos_or_a_failure() {
    let mut lab = Lab::new();
    lab.set_rights(&deny(&[(Actions::READ, "secret/#")]));
    let client = lab.connect(V5, "a");
    for qos in 0..3 {
        // This broker grants what is asked for, so the code must say exactly that.
        for filter in ["t", "t/+", "$share/g/t"] {
            lab.send(client, &wire::subscribe(V5, 1, &[(filter, qos)]));
            for (_, codes) in subacks(&mut lab, client) {
                assert!(codes.iter().all(|code| *code == qos), "{filter} at {qos}: {codes:x?}");
            }
        }
        lab.send(client, &wire::subscribe(V5, 1, &[("secret/t", qos)]));
        for (_, codes) in subacks(&mut lab, client) {
            assert!(codes.iter().all(|code| *code >= 0x80), "{codes:x?}");
        }
    }
}

#[test]
fn mqtt5_3_8_4_8_messages_come_with_the_lower_of_both_qos() {
    for published in 0..3u8 {
        for granted in 0..3u8 {
            for filter in ["t", "#"] {
                let mut lab = Lab::new();
                retain(&mut lab, "t/retained", published, b"old");
                let client = lab.connect(V5, "a");
                lab.send(client, &wire::subscribe(V5, 1, &[(filter, granted), ("t/+", granted)]));
                let publisher = lab.connect(V5, "p");
                publish_done(&mut lab, publisher, "t", published, b"new");
                for publish in take_all(&mut lab, client) {
                    assert_eq!(publish.qos, published.min(granted), "{published} to {granted}");
                }
            }
        }
    }
}

/// A client whose SUBSCRIBE of a forbidden filter is refused with an explanation.
fn refused(maximum: u32) -> (Lab, ClientIx) {
    let mut lab = Lab::new();
    lab.set_rights(&deny(&[(Actions::READ, "secret")]));
    let client = connect_sized(&mut lab, "a", maximum);
    lab.send(client, &wire::subscribe(V5, 1, &[("secret", 0), ("t", 1)]));
    (lab, client)
}

fn never_too_long_with(property: u8) {
    for maximum in 8..70 {
        let (mut lab, client) = refused(maximum);
        for (length, packet) in lab.sized_packets(client) {
            if matches!(packet, Received::SubAck { .. }) && props_of(&packet).get(property).is_some() {
                assert!(length <= maximum as usize, "{length} bytes, {maximum} accepted");
            }
        }
    }
}

#[test]
fn mqtt5_3_9_2_1_suback_leaves_out_a_reason_string_that_does_not_fit() {
    never_too_long_with(REASON_STRING);
}

#[test]
fn mqtt5_3_9_2_2_suback_leaves_out_user_properties_that_do_not_fit() {
    never_too_long_with(USER_PROPERTY);
}

#[test]
fn mqtt5_3_9_3_1_codes_stand_in_the_order_of_the_filters() {
    let mut lab = Lab::new();
    lab.set_rights(&deny(&[(Actions::READ, "no/+")]));
    let client = lab.connect(V5, "a");
    let filters = ["a", "b", "no/1", "c", "no/2", "no/3", "no/4", "d"].map(|filter| (filter, 1));
    lab.send(client, &wire::subscribe(V5, 1, &filters));
    for (_, codes) in subacks(&mut lab, client) {
        // Only granted or not: which code it is, and how many there are, does not matter here.
        let granted: Vec<bool> = codes.iter().map(|code| *code < 0x80).collect();
        let wanted = [true, true, false, true, false, false, false, true];
        assert!(wanted.starts_with(&granted), "{codes:x?}");
    }
}

#[test]
fn mqtt5_3_9_3_2_each_code_is_one_of_suback() {
    let legal = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
    let mut lab = Lab::with(|config| config.limits.topic_levels_max = 2);
    lab.set_rights(&deny(&[(Actions::READ, "secret")]));
    let client = lab.connect(V5, "a");
    let filters = [("a", 0), ("a", 1), ("a", 2), ("secret", 0), ("a/b/c", 1), ("$share/g/a", 2)];
    lab.send(client, &wire::subscribe(V5, 1, &filters));
    for (_, codes) in subacks(&mut lab, client) {
        assert!(codes.iter().all(|code| legal.contains(code)), "{codes:x?}");
    }
}
