//! UNSUBSCRIBE and UNSUBACK: sections 3.10 and 3.11.

use cork_conform::{
    Lab, Received,
    wire::{self, V5},
};

use crate::{
    common::{
        PUBREC, PUBREL, REASON_STRING, USER_PROPERTY, acks_of, connect_sized, props_of, publish,
        publish_done, resume, subscribe, unsubacks, was_malformed,
    },
    subscribe::NOT_UTF8,
};

#[test]
fn mqtt5_3_10_1_1_unsubscribe_with_other_flags_ends_the_connection() {
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        let mut packet = wire::unsubscribe(V5, 1, &["t"]);
        packet[0] = 0xA0 | flags;
        lab.send(client, &packet);
        assert!(was_malformed(&mut lab, client), "flags {flags:04b}");
    }
}

#[test]
fn mqtt5_3_10_3_1_a_filter_is_a_utf8_string() {
    for filter in NOT_UTF8 {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::packet(0xA2, &[&[0, 1, 0][..], &wire::string(filter)].concat()));
        assert!(lab.is_closed(client), "{filter:x?}");
    }
}

#[test]
fn mqtt5_3_10_3_2_unsubscribe_without_a_filter_is_refused() {
    for properties in [&[0u8][..], &[7, 0x26, 0, 1, b'a', 0, 1, b'b']] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::packet(0xA2, &[&[0, 1][..], properties].concat()));
        assert!(lab.is_closed(client));
    }
}

#[test]
fn mqtt5_3_10_4_1_only_the_identical_filter_is_deleted() {
    let filters =
        ["a/b", "a/+", "a/#", "+/b", "#", "A/b", "a/b/", "/a/b", "$share/g/a/b", "$share/h/a/b", "a\u{e9}"];
    for held in filters {
        for deleted in filters {
            let mut lab = Lab::new();
            let client = lab.connect(V5, "a");
            subscribe(&mut lab, client, held, 0);
            lab.send(client, &wire::unsubscribe(V5, 1, &[deleted]));
            lab.bytes(client);
            let plain = held.trim_start_matches("$share/g/").trim_start_matches("$share/h/");
            let topic = plain.replace(['+', '#'], "b");
            publish(&mut lab, client, &topic, 0, 0, b"x");
            let is_held = !lab.payloads(client).is_empty();
            assert_eq!(is_held, held != deleted, "{held} after UNSUBSCRIBE of {deleted}");
        }
    }
}

#[test]
fn mqtt5_3_10_4_2_nothing_new_is_added_after_unsubscribe() {
    for filter in ["t", "+", "#", "$share/g/t"] {
        for qos in 0..3 {
            let mut lab = Lab::new();
            let client = resume(&mut lab, "a");
            subscribe(&mut lab, client, filter, qos);
            let publisher = lab.connect(V5, "p");
            publish_done(&mut lab, publisher, "t", qos, b"before"); // routes are remembered by topic
            lab.bytes(client);
            lab.send(client, &wire::unsubscribe(V5, 1, &[filter]));
            publish_done(&mut lab, publisher, "t", qos, b"connected");
            assert!(!lab.payloads(client).contains(&b"connected".to_vec()), "{filter} at QoS {qos}");
            lab.cut(client);
            publish_done(&mut lab, publisher, "t", qos, b"away");
            let client = resume(&mut lab, "a");
            assert!(!lab.payloads(client).contains(&b"away".to_vec()), "{filter} at QoS {qos}");
        }
    }
}

#[test]
fn mqtt5_3_10_4_3_a_delivery_that_began_is_completed() {
    for filter in ["t", "#", "$share/g/t"] {
        for qos in [1, 2] {
            let mut lab = Lab::new();
            let client = resume(&mut lab, "a");
            subscribe(&mut lab, client, filter, qos);
            let publisher = lab.connect(V5, "p");
            publish_done(&mut lab, publisher, "t", qos, b"x");
            let sent: Vec<_> = lab.publishes(client).into_iter().map(|publish| publish.id).collect();
            lab.send(client, &wire::unsubscribe(V5, 1, &[filter]));
            lab.cut(client);
            let client = resume(&mut lab, "a");
            let again = lab.publishes(client);
            assert_eq!(
                again.iter().map(|publish| publish.id).collect::<Vec<_>>(),
                sent,
                "{filter} QoS {qos}"
            );
            if qos == 2 {
                let id = again[0].id.unwrap();
                lab.send(client, &wire::ack(PUBREC, id));
                assert_eq!(acks_of(&mut lab, client, PUBREL).len(), 1, "{filter}");
            }
        }
    }
}

#[test]
fn mqtt5_3_10_4_4_unsubscribe_is_answered_by_unsuback() {
    for shards in 1..4 {
        let mut lab = Lab::with(|config| config.shards = shards);
        let client = resume(&mut lab, "a");
        subscribe(&mut lab, client, "t", 0);
        subscribe(&mut lab, client, "$share/g/t", 0);
        for filters in [&["t"][..], &["t"], &["never"], &["a", "b"], &["$share/g/t", "#"]] {
            lab.send(client, &wire::unsubscribe(V5, 1, filters));
            assert!(!unsubacks(&mut lab, client).is_empty(), "{filters:?} on {shards} shards");
        }
    }
}

#[test]
fn mqtt5_3_10_4_5_unsuback_has_the_packet_identifier_of_its_unsubscribe() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    for id in [1, 2, 0x00FF, 0x0100, 0x1234, 0xFFFF] {
        // Held in every second round: also where nothing is deleted.
        if id % 2 == 1 {
            subscribe(&mut lab, client, "t", 0);
        }
        lab.send(client, &wire::unsubscribe(V5, id, &["t"]));
        let ids: Vec<u16> = unsubacks(&mut lab, client).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [id]);
    }
}

#[test]
fn mqtt5_3_10_4_6_several_filters_are_a_sequence_with_one_answer() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    for filter in ["a", "b", "c"] {
        subscribe(&mut lab, client, filter, 0);
    }
    lab.send(client, &wire::unsubscribe(V5, 1, &["a", "never", "c", "a"]));
    assert_eq!(unsubacks(&mut lab, client).len(), 1);
    for topic in ["a", "b", "c"] {
        publish(&mut lab, client, topic, 0, 0, topic.as_bytes());
    }
    assert_eq!(lab.payloads(client), [b"b".to_vec()]);
}

fn never_too_long_with(property: u8) {
    for maximum in 8..70 {
        let mut lab = Lab::new();
        let client = connect_sized(&mut lab, "a", maximum);
        subscribe(&mut lab, client, "t", 0);
        for filters in [&["t"][..], &["t"], &["never", "ever"]] {
            lab.send(client, &wire::unsubscribe(V5, 1, filters));
        }
        for (length, packet) in lab.sized_packets(client) {
            if matches!(packet, Received::UnsubAck { .. }) && props_of(&packet).get(property).is_some() {
                assert!(length <= maximum as usize, "{length} bytes, {maximum} accepted");
            }
        }
    }
}

#[test]
fn mqtt5_3_11_2_1_unsuback_leaves_out_a_reason_string_that_does_not_fit() {
    never_too_long_with(REASON_STRING);
}

#[test]
fn mqtt5_3_11_2_2_unsuback_leaves_out_user_properties_that_do_not_fit() {
    never_too_long_with(USER_PROPERTY);
}

#[test]
fn mqtt5_3_11_3_1_codes_stand_in_the_order_of_the_filters() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    for filter in ["a", "b", "c", "d"] {
        subscribe(&mut lab, client, filter, 0);
    }
    lab.send(client, &wire::unsubscribe(V5, 1, &["a", "b", "no", "c", "no", "no", "no", "d"]));
    for (_, codes) in unsubacks(&mut lab, client) {
        // Only deleted or not: which code it is, and how many there are, does not matter here.
        let deleted: Vec<bool> = codes.iter().map(|code| *code == 0).collect();
        let wanted = [true, true, false, true, false, false, false, true];
        assert!(wanted.starts_with(&deleted), "{codes:x?}");
    }
}

#[test]
fn mqtt5_3_11_3_2_each_filter_has_a_code_of_unsuback() {
    let legal = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    subscribe(&mut lab, client, "t", 0);
    for filters in [&["t", "never"][..], &["t"], &["$share/g/t", "#", "+/+"]] {
        lab.send(client, &wire::unsubscribe(V5, 1, filters));
        for (_, codes) in unsubacks(&mut lab, client) {
            assert_eq!(codes.len(), filters.len());
            assert!(codes.iter().all(|code| legal.contains(code)), "{codes:x?}");
        }
    }
}
