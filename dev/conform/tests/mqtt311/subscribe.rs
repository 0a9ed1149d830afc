//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (sections 3.8 to 3.11).

use cork_conform::{
    ClientIx, Lab, Published,
    wire::{self, V311},
};

use crate::{
    encoding::subscription_answers,
    support::{
        ACK, COMP, PUBLISH, PUBREL, REC, Raw, SUBACK, UNSUBACK, closes_on, forbid, ids_of, matches, message,
        newcomer, persistent, persistent_subscriber, publish, publish_once, raw, raw_of, retained, subscribe,
        subscriber,
    },
};

/// Sends a SUBSCRIBE and returns the SUBACK's codes.
fn codes(lab: &mut Lab, client: ClientIx, filters: &[(&str, u8)]) -> Option<Vec<u8>> {
    lab.send(client, &wire::subscribe(V311, 1, filters));
    raw_of(lab, client, SUBACK).into_iter().next().and_then(|ack| ack.body.get(2..).map(<[u8]>::to_vec))
}

#[test]
fn mqtt311_3_8_3_2_filters_with_wildcards_work_where_they_are_granted() {
    let topics = ["a", "a/", "/a", "a/b", "a/b/c", "b", "b/a", "/", "//", "a//b", "c/a/b"];
    let filters = ["#", "+", "a/#", "a/+", "+/a", "+/b", "+/+", "+/#", "/+", "/#", "a/+/c", "+//+", "+/a/#"];
    // Each alone, and all beside each other.
    for group in filters.chunks(1).chain([&filters[..]]) {
        let mut lab = Lab::new();
        let mut clients = Vec::new();
        for filter in group {
            let client = lab.connect(V311, filter);
            let code = codes(&mut lab, client, &[(filter, 0)]).and_then(|codes| codes.first().copied());
            // A broker without wildcards would say so; this one grants them, so they have to match.
            if code != Some(0x80) && !lab.is_closed(client) {
                clients.push((filter, client));
            }
        }
        // A name that does not even come to its own filter is for 4.7.3-4.
        let literal =
            topics.map(|topic| (topic, subscriber(&mut lab, &format!("literally {topic}"), topic, 0)));
        let publisher = lab.connect(V311, "publisher");
        for topic in topics {
            lab.send(publisher, &message(0, topic, topic.as_bytes()));
        }
        let name = |payload: Vec<u8>| String::from_utf8_lossy(&payload).into_owned();
        let mut names = |client| lab.payloads(client).into_iter().map(name).collect::<Vec<_>>();
        let plain: Vec<_> = literal
            .into_iter()
            .filter(|(topic, client)| names(*client) == [*topic])
            .map(|(topic, _)| topic)
            .collect();
        for (filter, client) in clients {
            let mut got = names(client);
            let mut wanted: Vec<_> = plain.iter().copied().filter(|topic| matches(filter, topic)).collect();
            got.retain(|topic| plain.contains(&topic.as_str()));
            got.sort();
            wanted.sort_unstable();
            assert_eq!(got, wanted, "{filter}");
        }
    }
}

#[test]
fn mqtt311_3_8_3_3_subscribe_has_at_least_one_filter() {
    assert!(closes_on(&wire::packet(0x82, &[0, 1])));
}

#[test]
fn mqtt311_3_8_3_4_reserved_bits_and_qos_3_in_subscribe_close_the_connection() {
    let bits = [0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFC];
    for options in bits.into_iter().flat_map(|bit| [bit, bit | 1, bit | 2]).chain([3, 0xFF]) {
        assert!(closes_on(&wire::subscribe(V311, 1, &[("t", options)])), "{options:08b}");
        let second = wire::subscribe(V311, 1, &[("t", 0), ("u", options)]);
        assert!(closes_on(&second), "{options:08b} for the second filter");
    }
}

#[test]
fn mqtt311_3_8_4_1_subscribe_is_answered_with_suback() {
    for clean in [true, false] {
        let mut lab = Lab::new();
        lab.set_rights(&forbid("secret"));
        let client = if clean { lab.connect(V311, "a") } else { persistent(&mut lab, "a") };
        let filters: [&[(&str, u8)]; 5] =
            [&[("t", 0)], &[("t", 0)], &[("t", 2)], &[("secret", 1)], &[("#", 1), ("t/+", 2)]];
        for filters in filters {
            lab.send(client, &wire::subscribe(V311, 1, filters));
            assert!(!raw_of(&mut lab, client, SUBACK).is_empty(), "{filters:?}");
        }
    }
}

/// Whether the answer to a SUBSCRIBE, or UNSUBSCRIBE, has another identifier.
fn wrong_identifier(kind: u8) -> bool {
    [1, 0x0102, 0xFF00]
        .into_iter()
        .any(|id| subscription_answers(kind, id).iter().any(|answer| *answer != id))
}

#[test]
fn mqtt311_3_8_4_2_suback_has_the_identifier_of_subscribe() {
    // Both answers wrong is for 2.3.1-7.
    assert!(!wrong_identifier(SUBACK) || wrong_identifier(UNSUBACK));
}

/// What a client gets that made one subscription after another with the same filter: retained messages each time, and
/// live ones of QoS 2 after that.
fn after_subscribing(levels: &[u8]) -> (Vec<usize>, Vec<Published>) {
    let mut lab = Lab::new();
    let publisher = lab.connect(V311, "publisher");
    lab.send(publisher, &retained(1, "t/a", b"kept"));
    lab.send(publisher, &retained(1, "t/b", b"kept"));
    let client = lab.connect(V311, "client");
    let mut kept = Vec::new();
    for qos in levels {
        lab.send(client, &wire::subscribe(V311, 1, &[("t/+", *qos)]));
        kept.push(lab.publishes(client).len());
    }
    lab.send(publisher, &message(2, "t/c", b"live"));
    (kept, lab.publishes(client))
}

#[test]
fn mqtt311_3_8_4_3_a_repeated_filter_replaces_the_subscription() {
    for (first, second) in [(0, 2), (2, 0), (1, 2), (2, 1), (1, 1)] {
        let (kept, live) = after_subscribing(&[first, second]);
        assert_eq!(kept[1], kept[0], "retained messages are sent again");
        let (_, like) = after_subscribing(&[second]);
        let qos = |messages: &[Published]| messages.iter().map(|publish| publish.qos).collect::<Vec<_>>();
        assert_eq!(qos(&live), qos(&like), "one subscription with the new QoS: {first}, then {second}");
    }
    // The flow of messages goes on: what is under way is completed, what waits is delivered.
    assert_eq!(flow(true), flow(false));
}

/// What a client gets of three messages, of which only one may be under way at a time, when it makes its subscription
/// again after the second one, or does not.
fn flow(again: bool) -> Vec<u8> {
    let mut lab = Lab::with(|config| config.limits.inflight_max = 1);
    let client = persistent_subscriber(&mut lab, "client", "t", 1);
    publish_once(&mut lab, 1, "t", b"1");
    publish_once(&mut lab, 1, "t", b"2");
    if again {
        lab.send(client, &wire::subscribe(V311, 2, &[("t", 1)]));
    }
    publish_once(&mut lab, 1, "t", b"3");
    let mut seen: Vec<u8> = Vec::new();
    loop {
        let packets = raw_of(&mut lab, client, PUBLISH);
        if packets.is_empty() {
            break;
        }
        for packet in packets {
            seen.extend(packet.body.last());
            lab.send(client, &wire::ack(ACK, packet.publish_id().unwrap_or(1)));
        }
    }
    seen.sort_unstable();
    seen
}

#[test]
fn mqtt311_3_8_4_4_several_filters_are_like_several_packets_with_one_answer() {
    let filters = [("a", 0), ("b/+", 1), ("c/#", 2), ("d", 1)];
    let topics = ["a", "b/x", "c/x/y", "d"];
    let received = |together: bool| {
        let mut lab = Lab::new();
        let publisher = lab.connect(V311, "publisher");
        for topic in topics {
            publish(&mut lab, publisher, &retained(2, topic, b"kept"));
        }
        let client = lab.connect(V311, "client");
        if together {
            lab.send(client, &wire::subscribe(V311, 1, &filters));
        } else {
            filters.iter().for_each(|filter| lab.send(client, &wire::subscribe(V311, 1, &[*filter])));
        }
        let packets = raw(&mut lab, client);
        let answers = packets.iter().filter(|packet| packet.kind == SUBACK).count();
        let mut kept: Vec<_> = packets.into_iter().filter(|packet| packet.kind == PUBLISH).collect();
        for topic in topics {
            publish(&mut lab, publisher, &message(2, topic, b"live"));
        }
        kept.extend(raw_of(&mut lab, client, PUBLISH));
        let mut got: Vec<_> = kept.into_iter().map(|Raw { flags, body, .. }| (flags, body)).collect();
        // Packet Identifiers follow the order of sending, which need not be the same.
        for (flags, body) in &mut got {
            if *flags & 0x06 != 0 {
                let topic_len = usize::from(body[1]);
                body.drain(2 + topic_len..4 + topic_len);
            }
        }
        got.sort();
        (answers, got)
    };
    let (answers, together) = received(true);
    assert!(answers <= 1, "one SUBACK");
    assert_eq!(together, received(false).1);
    // The same filter twice: the later one replaces the earlier.
    let mut lab = Lab::new();
    let client = lab.connect(V311, "client");
    lab.send(client, &wire::subscribe(V311, 1, &[("t", 2), ("t", 0)]));
    let like = subscriber(&mut lab, "like", "t", 2);
    subscribe(&mut lab, like, "t", 0);
    publish_once(&mut lab, 2, "t", b"x");
    let qos = |messages: Vec<Published>| messages.iter().map(|publish| publish.qos).collect::<Vec<_>>();
    assert_eq!(qos(lab.publishes(client)), qos(lab.publishes(like)));
}

/// Filters with their requested QoS, and codes.
type Codes = (&'static [(&'static str, u8)], &'static [u8]);

/// SUBSCRIBEs and the codes this broker owes: what was asked for, and 0x80 where the rights forbid it.
const CODES: [Codes; 4] = [
    (&[("a", 0)], &[0]),
    (&[("a", 2), ("b", 1), ("c", 0)], &[2, 1, 0]),
    (&[("a", 1), ("secret", 2), ("b/#", 2), ("+/c", 0)], &[1, 0x80, 2, 0]),
    (&[("secret", 0)], &[0x80]),
];

fn codes_with_rights(filters: &[(&str, u8)]) -> Option<Vec<u8>> {
    let mut lab = Lab::new();
    lab.set_rights(&forbid("secret"));
    let client = lab.connect(V311, "client");
    codes(&mut lab, client, filters)
}

fn sorted(codes: &[u8]) -> Vec<u8> {
    let mut codes = codes.to_vec();
    codes.sort_unstable();
    codes
}

#[test]
fn mqtt311_3_8_4_5_suback_has_a_code_for_each_filter() {
    for (filters, expected) in CODES {
        // Their order is for 3.9.3-1, and which failure it is for 3.9.3-2.
        let failure = |code| if code > 2 { 0x80 } else { code };
        let codes = codes_with_rights(filters)
            .map(|codes| sorted(&codes).into_iter().map(failure).collect::<Vec<_>>());
        assert!(codes.is_none_or(|codes| codes == sorted(expected)), "{filters:?}");
    }
}

#[test]
fn mqtt311_3_9_3_1_the_codes_are_in_the_order_of_the_filters() {
    for (filters, expected) in CODES {
        let codes = codes_with_rights(filters).filter(|codes| sorted(codes) == sorted(expected));
        assert!(codes.is_none_or(|codes| codes == expected), "{filters:?}");
    }
}

#[test]
fn mqtt311_3_9_3_2_the_codes_are_0_1_2_and_0x80() {
    let mut lab = Lab::with(|config| config.limits.topic_levels_max = 3);
    lab.set_rights(&forbid("secret"));
    let client = lab.connect(V311, "client");
    let filters = ["t", "#", "secret", "a/b/c/d/e", "$SYS/#", "$share/g/t", "$share/g/secret", "//////"];
    for filter in filters {
        for qos in 0..3 {
            for code in codes(&mut lab, client, &[(filter, qos)]).unwrap_or_default() {
                assert!(matches!(code, 0..=2 | 0x80), "{filter} with QoS {qos}: {code:#x}");
            }
        }
    }
}

#[test]
fn mqtt311_3_8_4_6_messages_come_with_the_lower_qos() {
    for published in 0..3 {
        for granted in 0..3 {
            let mut lab = Lab::new();
            let live = subscriber(&mut lab, "live", "t", granted);
            let absent = persistent_subscriber(&mut lab, "absent", "t", granted);
            lab.cut(absent);
            let publisher = lab.connect(V311, "publisher");
            lab.send(publisher, &retained(published, "t", b"x"));
            let late = lab.connect(V311, "late");
            lab.send(late, &wire::subscribe(V311, 1, &[("t", granted)]));
            let absent = persistent(&mut lab, "absent");
            for client in [live, absent] {
                for publish in lab.publishes(client) {
                    assert_eq!(
                        publish.qos,
                        published.min(granted),
                        "published {published}, granted {granted}"
                    );
                }
            }
            // With which QoS it was retained is for 3.3.1-5.
            let stored = newcomer(&mut lab, "t").first().map_or(published, |publish| publish.qos);
            for publish in lab.publishes(late) {
                assert_eq!(publish.qos, stored.min(granted), "stored {stored}, granted {granted}");
            }
        }
    }
}

#[test]
fn mqtt311_3_10_3_2_unsubscribe_has_at_least_one_filter() {
    assert!(closes_on(&wire::packet(0xA2, &[0, 1])));
}

/// Whether a subscription still works after an UNSUBSCRIBE with these filters.
fn works_after(subscribed: &str, unsubscribed: &[&str], topic: &str) -> bool {
    let mut lab = Lab::new();
    let client = subscriber(&mut lab, "client", subscribed, 1);
    if !unsubscribed.is_empty() {
        lab.send(client, &wire::unsubscribe(V311, 2, unsubscribed));
    }
    publish_once(&mut lab, 1, topic, b"x");
    !lab.publishes(client).is_empty()
}

#[test]
fn mqtt311_3_10_4_1_filters_are_compared_character_by_character() {
    let others =
        ["A/b", "a/B", "a/b/", "/a/b", "a", "a/", "a/b/c", "+", "a/+", "a/#", "#", "+/+", "a//b", " a/b"];
    for other in others {
        assert!(works_after("a/b", &[other], "a/b"), "{other} is another filter");
    }
    for (filter, other) in [("a/+", "a/b"), ("a/+", "a/#"), ("a/#", "a/+"), ("#", "+/+"), ("+/b", "a/b")] {
        assert!(works_after(filter, &[other], "a/b"), "{other} is another filter than {filter}");
        // That nothing comes after it at all is for 3.10.4-2.
        let plain = works_after("a/b", &["a/b"], "a/b");
        assert!(!works_after(filter, &[filter], "a/b") || plain, "{filter} is the same filter");
    }
}

#[test]
fn mqtt311_3_10_4_2_no_new_messages_after_unsubscribe() {
    assert!(!works_after("a/b", &["a/b"], "a/b"));
    for persistent_session in [true, false] {
        let mut lab = Lab::new();
        let client = if persistent_session {
            persistent_subscriber(&mut lab, "a", "t", 2)
        } else {
            subscriber(&mut lab, "a", "t", 2)
        };
        publish_once(&mut lab, 1, "t", b"before");
        lab.bytes(client);
        lab.send(client, &wire::unsubscribe(V311, 2, &["t"]));
        for qos in 0..3 {
            publish_once(&mut lab, qos, "t", b"x");
        }
        assert!(lab.publishes(client).is_empty());
        lab.cut(client);
        publish_once(&mut lab, 1, "t", b"absent");
        let client = persistent(&mut lab, "a");
        assert!(lab.publishes(client).iter().all(|publish| publish.payload == b"before"));
    }
}

/// What comes of messages whose delivery has begun: PUBREL for PUBREC, and a second PUBLISH after a break.
fn completed(unsubscribe: bool) -> (usize, usize) {
    let mut lab = Lab::new();
    let client = persistent_subscriber(&mut lab, "a", "t", 2);
    publish_once(&mut lab, 2, "t", b"1");
    publish_once(&mut lab, 1, "t", b"2");
    publish_once(&mut lab, 2, "t", b"3");
    let ids: Vec<_> = raw_of(&mut lab, client, PUBLISH).iter().filter_map(Raw::publish_id).collect();
    if unsubscribe {
        lab.send(client, &wire::unsubscribe(V311, 2, &["t"]));
    }
    if let Some(id) = ids.first() {
        lab.send(client, &wire::ack(REC, *id));
    }
    let released = ids_of(&mut lab, client, PUBREL);
    released.iter().for_each(|id| lab.send(client, &wire::ack(COMP, *id)));
    lab.cut(client);
    let client = persistent(&mut lab, "a");
    (released.len(), raw_of(&mut lab, client, PUBLISH).len())
}

#[test]
fn mqtt311_3_10_4_3_deliveries_that_have_begun_are_completed_after_unsubscribe() {
    assert_eq!(completed(true), completed(false));
}

/// How many UNSUBACKs come when these filters are unsubscribed, of which the client has `a` and `b`.
fn unsubacks(filters: &[&str]) -> usize {
    let mut lab = Lab::new();
    let client = lab.connect(V311, "client");
    subscribe(&mut lab, client, "a", 0);
    subscribe(&mut lab, client, "b", 0);
    lab.send(client, &wire::unsubscribe(V311, 2, filters));
    raw_of(&mut lab, client, UNSUBACK).len()
}

#[test]
fn mqtt311_3_10_4_4_unsubscribe_is_answered_with_unsuback_and_its_identifier() {
    assert!(unsubacks(&["a"]) > 0);
    // Both answers wrong is for 2.3.1-7.
    assert!(!wrong_identifier(UNSUBACK) || wrong_identifier(SUBACK));
}

#[test]
fn mqtt311_3_10_4_5_unsubscribe_is_answered_even_where_nothing_is_deleted() {
    for filters in [&["c"][..], &["A"], &["+"], &["c", "d"]] {
        assert!(unsubacks(filters) > 0 || unsubacks(&["a"]) == 0, "{filters:?}");
    }
    let mut lab = Lab::new();
    let client = lab.connect(V311, "without subscriptions");
    lab.send(client, &wire::unsubscribe(V311, 2, &["a"]));
    assert!(!raw_of(&mut lab, client, UNSUBACK).is_empty() || unsubacks(&["a"]) == 0);
}

#[test]
fn mqtt311_3_10_4_6_several_filters_are_like_several_packets_with_one_answer() {
    assert!(unsubacks(&["a", "b"]) <= 1, "one UNSUBACK");
    for (filters, topic) in [(["a", "b"], "a"), (["a", "b"], "b"), (["x", "b"], "b"), (["b", "x"], "b")] {
        // That a filter is deleted at all is for 3.10.4-1 and -2.
        assert!(!works_after(topic, &filters, topic) || works_after(topic, &[topic], topic), "{filters:?}");
    }
}
