//! The delivery protocols (section 4.3), repeating (4.4), ownership (4.5) and order (4.6).

use std::collections::BTreeSet;

use cork_conform::{
    ClientIx, Lab,
    wire::{self, V311},
};

use crate::{
    encoding::{answered_with, identifiers_collide},
    support::{
        ACK, COMP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, REC, REL, Raw, ids_of, message, persistent,
        persistent_subscriber, publish_once, raw, raw_of, subscriber,
    },
};

/// The first PUBLISH of a message to a subscriber with this QoS.
fn first_publish(qos: u8) -> Option<Raw> {
    let mut lab = Lab::new();
    let receiver = subscriber(&mut lab, "receiver", "t", qos);
    publish_once(&mut lab, 2, "t", b"x");
    raw_of(&mut lab, receiver, PUBLISH).into_iter().next()
}

/// What comes after the next CONNECT when a message was answered like this: first byte, and whether with another
/// Packet Identifier.
fn sent_again(qos: u8, answers: &[(u8, bool)]) -> Vec<Raw> {
    let mut lab = Lab::new();
    let client = persistent_subscriber(&mut lab, "a", "t", qos);
    publish_once(&mut lab, qos, "t", b"x");
    let id = raw_of(&mut lab, client, PUBLISH).iter().find_map(Raw::publish_id).unwrap_or(1);
    for (first, other) in answers {
        lab.send(client, &wire::ack(*first, id + u16::from(*other) * 1000));
    }
    lab.cut(client);
    let client = persistent(&mut lab, "a");
    raw(&mut lab, client)
}

fn publish_again(qos: u8, answers: &[(u8, bool)]) -> bool {
    sent_again(qos, answers).iter().any(|packet| packet.kind == PUBLISH)
}

fn pubrel_again(answers: &[(u8, bool)]) -> bool {
    sent_again(2, answers).iter().any(|packet| packet.kind == PUBREL)
}

#[test]
fn mqtt311_4_3_1_1_qos_0_is_sent_once_with_qos_0_and_dup_0() {
    let publish = first_publish(0).expect("the message arrives");
    assert_eq!(publish.flags & 0x0E, 0);
    let mut lab = Lab::new();
    let client = persistent_subscriber(&mut lab, "a", "t", 0);
    publish_once(&mut lab, 0, "t", b"x");
    assert_eq!(raw_of(&mut lab, client, PUBLISH).len(), 1);
    lab.cut(client);
    let client = persistent(&mut lab, "a");
    assert!(raw_of(&mut lab, client, PUBLISH).is_empty(), "no second time");
}

#[test]
fn mqtt311_4_3_2_1_a_qos_1_message_is_unacknowledged_until_its_puback() {
    // Identifiers that collide with QoS 2 too are for 2.3.1-4.
    assert!(!identifiers_collide(&[1, 1]) || identifiers_collide(&[2, 2]));
    let publish = first_publish(1).expect("the message arrives");
    assert_eq!(publish.flags & 0x0E, 0x02, "QoS 1, DUP 0");
    // Whether anything is sent again at all is for 4.4.0-1.
    let repeats = publish_again(1, &[]);
    for answer in [(REC, false), (COMP, false), (ACK, true)] {
        assert!(publish_again(1, &[answer]) || !repeats, "{answer:x?} ends nothing");
    }
    assert!(!publish_again(1, &[(ACK, false)]), "PUBACK does");
}

#[test]
fn mqtt311_4_3_2_2_qos_1_gets_puback_and_its_identifier_is_free_then() {
    let wrong = |qos| answered_with(qos, 0x0102).iter().any(|id| *id != 0x0102);
    assert!(!wrong(1) || wrong(2), "wrong identifiers everywhere are for 2.3.1-6");
    let mut lab = Lab::new();
    let receiver = subscriber(&mut lab, "receiver", "t", 0);
    let publisher = lab.connect(V311, "publisher");
    for (flags, payload) in [(0x02, b"1"), (0x02, b"2"), (0x0A, b"3"), (0x0A, b"3"), (0x02, b"3")] {
        lab.send(publisher, &wire::publish(V311, flags, "t", Some(7), payload));
    }
    assert_eq!(lab.payloads(receiver), [b"1", b"2", b"3", b"3", b"3"], "each is a new publication");
}

#[test]
fn mqtt311_4_3_3_1_a_qos_2_message_goes_through_pubrel() {
    assert!(!identifiers_collide(&[2, 2]) || identifiers_collide(&[1, 1]));
    let publish = first_publish(2).expect("the message arrives");
    assert_eq!(publish.flags & 0x0E, 0x04, "QoS 2, DUP 0");

    let mut lab = Lab::new();
    let receiver = subscriber(&mut lab, "receiver", "t", 2);
    publish_once(&mut lab, 2, "t", b"x");
    let id = raw_of(&mut lab, receiver, PUBLISH).iter().find_map(Raw::publish_id).unwrap_or(1);
    assert!(ids_of(&mut lab, receiver, PUBREL).is_empty(), "not before PUBREC");
    lab.send(receiver, &wire::ack(REC, id));
    assert_eq!(raw_of(&mut lab, receiver, PUBREL).len(), 1);

    // Whether anything is sent again at all is for 4.4.0-1.
    let repeats = publish_again(2, &[]);
    for answer in [(ACK, false), (COMP, false), (REC, true)] {
        assert!(publish_again(2, &[answer]) || !repeats, "{answer:x?} ends nothing");
    }
    let received = (REC, false);
    assert!(!publish_again(2, &[received]), "no PUBLISH once PUBREL was sent");
    let repeats = pubrel_again(&[received]);
    for answer in [(ACK, false), received, (COMP, true)] {
        assert!(pubrel_again(&[received, answer]) || !repeats, "{answer:x?} does not complete it");
    }
    assert!(sent_again(2, &[received, (COMP, false)]).iter().all(|p| p.kind != PUBLISH && p.kind != PUBREL));
}

#[test]
fn mqtt311_4_3_3_2_a_qos_2_message_is_received_once() {
    for qos in 0..3 {
        let mut lab = Lab::new();
        let receiver = subscriber(&mut lab, "receiver", "t", qos);
        let publisher = lab.connect(V311, "publisher");
        lab.send(publisher, &wire::publish(V311, 0x04, "t", Some(7), b"1"));
        // Whether a PUBLISH is answered at all is for 3.3.4-1.
        let answers = !ids_of(&mut lab, publisher, PUBREC).is_empty();
        for flags in [0x0C, 0x04, 0x0C] {
            lab.send(publisher, &wire::publish(V311, flags, "t", Some(7), b"1"));
            assert!(!answers || ids_of(&mut lab, publisher, PUBREC).len() == 1, "answered again");
        }
        assert_eq!(lab.payloads(receiver).len(), 1, "and not delivered again");
        // The second time because PUBCOMP may be lost on its way.
        for _ in 0..2 {
            lab.send(publisher, &wire::ack(REL, 7));
            let completed = ids_of(&mut lab, publisher, PUBCOMP);
            // Wrong identifiers in every answer are for 2.3.1-6.
            assert_eq!(completed.len(), 1);
            assert!(completed == [7] || answered_with(2, 7) != [7]);
        }
        lab.send(publisher, &wire::publish(V311, 0x04, "t", Some(7), b"2"));
        assert_eq!(lab.payloads(receiver), [b"2"], "a new publication");
    }
}

#[test]
fn mqtt311_4_4_0_1_unanswered_publish_and_pubrel_are_sent_again_with_their_identifiers() {
    if identifiers_collide(&[1, 2, 2, 1]) {
        return; // for 2.3.1-4
    }
    for broken in [true, false] {
        let mut lab = Lab::new();
        let client = persistent_subscriber(&mut lab, "a", "t/+", 2);
        for (qos, topic) in [(1, "t/1"), (2, "t/2"), (2, "t/released"), (1, "t/answered")] {
            publish_once(&mut lab, qos, topic, topic.as_bytes());
        }
        let mut expected = Vec::new();
        for publish in raw_of(&mut lab, client, PUBLISH) {
            let Some(id) = publish.publish_id() else { continue };
            if publish.body.ends_with(b"t/released") {
                lab.send(client, &wire::ack(REC, id));
                expected.push((PUBREL, id));
            } else if publish.body.ends_with(b"t/answered") {
                lab.send(client, &wire::ack(ACK, id));
            } else {
                expected.push((PUBLISH, id));
            }
        }
        if broken {
            lab.cut(client);
        } else {
            lab.send(client, &wire::disconnect());
        }
        let client = persistent(&mut lab, "a");
        let packets = raw(&mut lab, client);
        publish_once(&mut lab, 0, "t/now", b"x");
        if raw_of(&mut lab, client, PUBLISH).is_empty() {
            continue; // the Session is gone altogether: for 3.1.2-4
        }
        let again: Vec<_> = packets
            .iter()
            .filter_map(|packet| match packet.kind {
                PUBLISH => Some((PUBLISH, packet.publish_id()?)),
                PUBREL => Some((PUBREL, packet.id()?)),
                _ => None,
            })
            .collect();
        // What should not come again is for 4.3.
        assert!(expected.iter().all(|packet| again.contains(packet)), "{expected:?}, but {again:?}");
    }
}

#[test]
fn mqtt311_4_5_0_1_a_message_reaches_every_session_with_a_matching_subscription() {
    for qos in 0..3 {
        let mut lab = Lab::new();
        let clients: Vec<_> =
            (0..40).map(|n| subscriber(&mut lab, &format!("client {n}"), "t", n % 3)).collect();
        let stays = persistent_subscriber(&mut lab, "stays", "t", 2);
        let another = subscriber(&mut lab, "another", "u", 2);
        // The publisher's own subscription counts like any other.
        lab.send(clients[0], &message(qos, "t", b"x"));
        for client in clients.into_iter().chain([stays]) {
            assert!(lab.payloads(client).contains(&b"x".to_vec()), "QoS {qos}");
        }
        assert!(lab.payloads(another).is_empty());
    }
}

/// Publishes numbered messages to `t`.
fn publish_numbers(lab: &mut Lab, publisher: ClientIx, qos: u8, numbers: std::ops::Range<u16>) {
    for number in numbers {
        let id = (qos > 0).then_some(number + 1);
        lab.send(publisher, &wire::publish(V311, qos << 1, "t", id, &number.to_be_bytes()));
    }
}

/// The numbers in PUBLISH packets, in the order they came.
fn numbers(packets: &[Raw]) -> Vec<u16> {
    let publishes = packets.iter().filter(|packet| packet.kind == PUBLISH);
    publishes.filter_map(|packet| packet.body.last_chunk().map(|bytes| u16::from_be_bytes(*bytes))).collect()
}

#[test]
fn mqtt311_4_6_0_1_messages_are_sent_again_in_their_order() {
    let mut lab = Lab::new();
    let client = persistent_subscriber(&mut lab, "a", "t", 2);
    let publisher = lab.connect(V311, "publisher");
    for number in 0..60 {
        publish_numbers(&mut lab, publisher, 1 + u8::from(number % 3 == 0), number..number + 1);
    }
    let sent = raw_of(&mut lab, client, PUBLISH);
    for (at, publish) in sent.iter().enumerate() {
        let Some(id) = publish.publish_id() else { continue };
        // Some are answered, in no particular order.
        if at % 7 == 3 {
            lab.send(client, &wire::ack(if publish.flags & 0x04 == 0 { ACK } else { REC }, id));
        }
    }
    lab.cut(client);
    let client = persistent(&mut lab, "a");
    let again: Vec<_> = raw_of(&mut lab, client, PUBLISH).into_iter().filter(Raw::is_dup).collect();
    let (first, again) = (numbers(&sent), numbers(&again));
    let in_first_order: Vec<_> = first.into_iter().filter(|number| again.contains(number)).collect();
    assert_eq!(again, in_first_order);
}

#[test]
fn mqtt311_4_6_0_5_topics_are_ordered_by_default() {
    for qos in 0..3 {
        for granted in 0..3 {
            let mut lab = Lab::new();
            let client = subscriber(&mut lab, "client", "t", granted);
            let publisher = lab.connect(V311, "publisher");
            publish_numbers(&mut lab, publisher, qos, 0..200);
            let got = numbers(&raw(&mut lab, client));
            assert!(got.is_sorted(), "QoS {qos}, granted {granted}: {got:?}");
        }
    }
}

#[test]
fn mqtt311_4_6_0_6_messages_keep_their_order_in_queues_and_windows_too() {
    for qos in [1, 2] {
        // Two under way at the most; the others wait, first without a connection.
        let mut lab = Lab::with(|config| config.limits.inflight_max = 2);
        let client = persistent_subscriber(&mut lab, "a", "t", qos);
        let publisher = lab.connect(V311, "publisher");
        lab.cut(client);
        publish_numbers(&mut lab, publisher, qos, 0..30);
        let client = persistent(&mut lab, "a");
        publish_numbers(&mut lab, publisher, qos, 30..60);
        let mut order = Vec::new();
        loop {
            let packets = raw(&mut lab, client);
            if packets.is_empty() {
                break;
            }
            order.extend(numbers(&packets));
            for packet in packets {
                match (packet.kind, packet.publish_id(), packet.id()) {
                    (PUBLISH, Some(id), _) => {
                        lab.send(client, &wire::ack(if qos == 1 { ACK } else { REC }, id));
                    }
                    (PUBREL, _, Some(id)) => lab.send(client, &wire::ack(COMP, id)),
                    _ => {}
                }
            }
        }
        assert!(order.is_sorted(), "QoS {qos}: {order:?}");
    }
    // A client that reads slowly: what it can take next goes behind what waits for it.
    let mut lab = Lab::new();
    let client = persistent_subscriber(&mut lab, "a", "t", 1);
    let publisher = lab.connect(V311, "publisher");
    let publish_large = |lab: &mut Lab, numbers: std::ops::Range<u16>| {
        for number in numbers {
            let payload = [&[0; 20_000][..], &number.to_be_bytes()].concat();
            lab.send(publisher, &wire::publish(V311, 0x02, "t", Some(number + 1), &payload));
        }
    };
    lab.set_window(client, 0);
    publish_large(&mut lab, 0..40);
    lab.set_window(client, 100_000);
    publish_large(&mut lab, 40..60);
    lab.set_window(client, usize::MAX);
    let order = numbers(&raw(&mut lab, client));
    assert!(order.is_sorted(), "{order:?}");
    // The rules for acknowledgements: PUBREL in the order of PUBREC, PUBACK and PUBREC in the order of PUBLISH.
    let mut lab = Lab::new();
    let client = subscriber(&mut lab, "client", "t", 2);
    let publisher = lab.connect(V311, "publisher");
    publish_numbers(&mut lab, publisher, 2, 0..20);
    assert!(in_order(&ids_of(&mut lab, publisher, PUBREC), &(1..=20).collect::<Vec<_>>()));
    let mut ids: Vec<_> = raw_of(&mut lab, client, PUBLISH).iter().filter_map(Raw::publish_id).collect();
    ids.rotate_left(5);
    ids.iter().for_each(|id| lab.send(client, &wire::ack(REC, *id)));
    assert!(in_order(&ids_of(&mut lab, client, PUBREL), &ids));
    publish_numbers(&mut lab, publisher, 1, 20..40);
    assert!(in_order(&ids_of(&mut lab, publisher, PUBACK), &(21..=40).collect::<Vec<_>>()));
}

/// Whether the answers come in the order of what they answer. Other identifiers than expected are for 2.3.1-6.
fn in_order(answers: &[u16], expected: &[u16]) -> bool {
    let sorted = |ids: &[u16]| ids.iter().copied().collect::<BTreeSet<_>>();
    answers == expected || sorted(answers) != sorted(expected)
}
