//! QoS 2: section 4.3.3.

use std::time::Duration;

use cork_access::{Acl, Actions};
use cork_conform::{
    ClientIx, Lab,
    wire::{self, V5},
};

use crate::{
    common::{
        PUBACK, PUBCOMP, PUBREC, PUBREL, acks_of, deny, id_of, publish, publish_done, resume, subscribe,
    },
    qos::{first_sending_has_no_dup, identifiers_are_unused},
};

/// A Session with one QoS 2 message on its way to it, and the message's Packet Identifier.
fn under_way() -> (Lab, ClientIx, u16) {
    let mut lab = Lab::new();
    let client = resume(&mut lab, "a");
    subscribe(&mut lab, client, "t", 2);
    let publisher = lab.connect(V5, "p");
    publish_done(&mut lab, publisher, "t", 2, b"x");
    let id = id_of(&lab.publishes(client)[0]);
    (lab, client, id)
}

#[test]
fn mqtt5_4_3_3_1_a_new_message_gets_an_unused_packet_identifier() {
    identifiers_are_unused(2);
}

#[test]
fn mqtt5_4_3_3_2_the_first_publish_has_qos_2_and_no_dup() {
    first_sending_has_no_dup(2);
}

#[test]
fn mqtt5_4_3_3_3_a_message_is_under_way_until_its_pubrec() {
    let (mut lab, mut client, id) = under_way();
    for packet in [Vec::new(), wire::ack(PUBACK, id), wire::ack(PUBCOMP, id), wire::ack(PUBREC, id + 1)] {
        lab.send(client, &packet);
        lab.cut(client);
        client = resume(&mut lab, "a");
        let again: Vec<_> = lab.publishes(client).iter().map(|publish| publish.id).collect();
        assert_eq!(again, [Some(id)], "after {packet:x?}");
    }
}

#[test]
fn mqtt5_4_3_3_4_pubrec_is_answered_by_pubrel_with_its_identifier() {
    for packet in [
        |id| wire::ack(PUBREC, id),
        |id| wire::ack_with(PUBREC, id, 0x00),
        |id| wire::ack_with(PUBREC, id, 0x10),
    ] {
        let (mut lab, client, id) = under_way();
        // Also when it comes again.
        for _ in 0..2 {
            lab.send(client, &packet(id));
            let ids: Vec<u16> = acks_of(&mut lab, client, PUBREL).iter().map(|ack| ack.id).collect();
            assert_eq!(ids, [id]);
        }
    }
}

#[test]
fn mqtt5_4_3_3_5_pubrel_is_under_way_until_its_pubcomp() {
    let (mut lab, mut client, id) = under_way();
    lab.send(client, &wire::ack(PUBREC, id));
    for packet in [Vec::new(), wire::ack(PUBACK, id), wire::ack(PUBREC, id), wire::ack(PUBCOMP, id + 1)] {
        lab.send(client, &packet);
        lab.cut(client);
        client = resume(&mut lab, "a");
        let ids: Vec<u16> = acks_of(&mut lab, client, PUBREL).iter().map(|ack| ack.id).collect();
        assert_eq!(ids, [id], "after {packet:x?}");
    }
}

#[test]
fn mqtt5_4_3_3_6_publish_is_not_sent_again_once_pubrel_is_sent() {
    let (mut lab, mut client, id) = under_way();
    lab.send(client, &wire::ack(PUBREC, id));
    for again in 0..3 {
        assert!(lab.publishes(client).is_empty(), "connection {again}");
        lab.send(client, &wire::ack(PUBREC, id));
        lab.cut(client);
        client = resume(&mut lab, "a");
    }
}

#[test]
fn mqtt5_4_3_3_7_a_message_that_was_sent_does_not_expire() {
    let mut lab = Lab::new();
    let client = resume(&mut lab, "a");
    subscribe(&mut lab, client, "t", 2);
    let publisher = lab.connect(V5, "p");
    lab.send(publisher, &wire::publish_with(V5, 4, "t", Some(1), &[0x02, 0, 0, 0, 2], b"x"));
    lab.bytes(client);
    lab.cut(client);
    lab.advance(Duration::from_secs(100));
    let client = resume(&mut lab, "a");
    assert_eq!(lab.payloads(client), [b"x".to_vec()]);
}

#[test]
fn mqtt5_4_3_3_8_qos_2_is_answered_by_pubrec_with_its_identifier() {
    for shards in 1..4 {
        let mut lab = Lab::with(|config| config.shards = shards);
        lab.set_rights(&deny(&[(Actions::WRITE, "secret")]));
        let away = resume(&mut lab, "away");
        subscribe(&mut lab, away, "kept", 2);
        for publisher in [lab.connect(V5, "clean"), resume(&mut lab, "stays")] {
            for (topic, id) in [("unheard", 0x00FF), ("kept", 0x0100), ("secret", 0xFFFF)] {
                publish(&mut lab, publisher, topic, 2, id, b"x");
                let ids: Vec<u16> = acks_of(&mut lab, publisher, PUBREC).iter().map(|ack| ack.id).collect();
                assert_eq!(ids, [id], "{topic} on {shards} shards");
            }
        }
    }
}

#[test]
fn mqtt5_4_3_3_9_after_a_refusing_pubrec_the_same_identifier_is_a_new_message() {
    for flags in [0x04, 0x0C] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        subscribe(&mut lab, client, "t", 0);
        let publisher = lab.connect(V5, "p");
        lab.set_rights(&deny(&[(Actions::WRITE, "t")]));
        publish(&mut lab, publisher, "t", 2, 1, b"refused");
        lab.set_rights(&Acl::permissive().into());
        lab.send(publisher, &wire::publish(V5, flags, "t", Some(1), b"taken"));
        assert!(lab.payloads(client).contains(&b"taken".to_vec()), "flags {flags:x}");
    }
}

#[test]
fn mqtt5_4_3_3_10_until_pubrel_a_repetition_is_answered_and_not_delivered() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    subscribe(&mut lab, client, "t", 0);
    let mut publisher = resume(&mut lab, "p");
    publish(&mut lab, publisher, "t", 2, 1, b"x");
    lab.bytes(publisher);
    lab.bytes(client);
    for (n, flags) in [0x0C, 0x04, 0x0C, 0x04].into_iter().enumerate() {
        if n >= 2 {
            lab.cut(publisher);
            publisher = resume(&mut lab, "p");
        }
        lab.send(publisher, &wire::publish(V5, flags, "t", Some(1), b"x"));
        let ids: Vec<u16> = acks_of(&mut lab, publisher, PUBREC).iter().map(|ack| ack.id).collect();
        assert_eq!(ids, [1], "repetition {n}");
        assert!(lab.publishes(client).is_empty(), "repetition {n}");
    }
}

#[test]
fn mqtt5_4_3_3_11_pubrel_is_answered_by_pubcomp_with_its_identifier() {
    let mut lab = Lab::new();
    for publisher in [lab.connect(V5, "clean"), resume(&mut lab, "stays")] {
        for id in [1, 0x00FF, 0x0100, 0xFFFF] {
            publish(&mut lab, publisher, "t", 2, id, b"x");
            // A second time, too: then it is no longer known.
            for packet in [wire::ack(PUBREL, id), wire::ack_with(PUBREL, id, 0)] {
                lab.send(publisher, &packet);
                let ids: Vec<u16> = acks_of(&mut lab, publisher, PUBCOMP).iter().map(|ack| ack.id).collect();
                assert_eq!(ids, [id]);
            }
        }
    }
}

#[test]
fn mqtt5_4_3_3_12_after_pubcomp_the_same_identifier_is_a_new_message() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "a");
    subscribe(&mut lab, client, "t", 0);
    let publisher = resume(&mut lab, "p");
    for (n, flags) in [0x04, 0x04, 0x0C].into_iter().enumerate() {
        lab.send(publisher, &wire::publish(V5, flags, "t", Some(1), b"x"));
        lab.send(publisher, &wire::ack(PUBREL, 1));
        assert_eq!(lab.publishes(client).len(), 1, "message {n}");
    }
}

#[test]
fn mqtt5_4_3_3_13_the_flow_goes_on_though_the_message_expired() {
    let mut lab = Lab::new();
    let away = resume(&mut lab, "away");
    subscribe(&mut lab, away, "t", 2);
    lab.cut(away);
    let mut publisher = resume(&mut lab, "p");
    for (id, breaks) in [(1, false), (2, true)] {
        lab.send(publisher, &wire::publish_with(V5, 5, "t", Some(id), &[0x02, 0, 0, 0, 1], b"x"));
        lab.advance(Duration::from_secs(10));
        if breaks {
            lab.cut(publisher);
            publisher = resume(&mut lab, "p");
        }
        lab.bytes(publisher);
        lab.send(publisher, &wire::publish_with(V5, 0x0D, "t", Some(id), &[0x02, 0, 0, 0, 1], b"x"));
        assert_eq!(acks_of(&mut lab, publisher, PUBREC).len(), 1, "a repetition is answered");
        lab.send(publisher, &wire::ack(PUBREL, id));
        assert_eq!(acks_of(&mut lab, publisher, PUBCOMP).len(), 1);
    }
}
