//! PUBLISH: flags, topics, rights, overlapping subscriptions (section 3.3 without RETAIN).

use cork_conform::{
    Lab, Published,
    wire::{self, Connect, V311},
};

use crate::support::{
    ACK, PUBACK, PUBCOMP, PUBREC, REL, closes_on, forbid, has, ids_of, matches, message, newcomer,
    persistent, persistent_subscriber, publish_once, raw, retained, subscriber,
};

/// A message to a Session that stays, unanswered, then the connection breaks: what comes after the next CONNECT.
fn sent_again(qos: u8) -> Vec<Published> {
    let mut lab = Lab::new();
    let client = persistent_subscriber(&mut lab, "a", "t", 2);
    publish_once(&mut lab, qos, "t", b"x");
    lab.cut(client);
    let client = persistent(&mut lab, "a");
    lab.publishes(client)
}

#[test]
fn mqtt311_3_3_1_1_dup_is_set_when_a_publish_is_sent_again() {
    for qos in [1, 2] {
        for publish in sent_again(qos) {
            assert!(publish.dup, "QoS {qos}");
        }
    }
    // And again, when it was not answered the second time.
    let mut lab = Lab::new();
    let mut client = persistent_subscriber(&mut lab, "a", "t", 2);
    publish_once(&mut lab, 1, "t", b"x");
    for _ in 0..3 {
        lab.cut(client);
        client = persistent(&mut lab, "a");
        assert!(lab.publishes(client).iter().all(|publish| publish.dup));
    }
}

#[test]
fn mqtt311_3_3_1_2_dup_is_0_with_qos_0() {
    for flags in [0x08, 0x09] {
        assert!(closes_on(&wire::publish(V311, flags, "t", None, b"x")));
    }
    for qos in 0..3 {
        let mut lab = Lab::new();
        let receiver = subscriber(&mut lab, "receiver", "t", 0);
        publish_once(&mut lab, qos, "t", b"x");
        assert!(lab.publishes(receiver).iter().all(|publish| publish.qos != 0 || !publish.dup));
    }
}

#[test]
fn mqtt311_3_3_1_3_dup_of_the_publisher_does_not_reach_the_subscriber() {
    for (qos, granted) in [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)] {
        let mut lab = Lab::new();
        let receiver = subscriber(&mut lab, "receiver", "t", granted);
        let absent = persistent_subscriber(&mut lab, "absent", "t", granted);
        lab.cut(absent);
        let publisher = lab.connect(V311, "publisher");
        lab.send(publisher, &wire::publish(V311, qos << 1, "t", Some(1), b"first"));
        lab.send(publisher, &wire::publish(V311, qos << 1 | 8, "t", Some(2), b"again"));
        let live = lab.publishes(receiver);
        let absent = persistent(&mut lab, "absent");
        // Sent for the first time, however late; compared, because whether that means DUP 0 is for 4.3.
        let first = live.first().map(|publish| publish.dup);
        for publish in live.into_iter().chain(lab.publishes(absent)) {
            assert_eq!(Some(publish.dup), first, "QoS {qos}, granted {granted}");
        }
    }
}

#[test]
fn mqtt311_3_3_1_4_a_publish_with_both_qos_bits_closes_the_connection() {
    for flags in [0x06, 0x07, 0x0E, 0x0F] {
        assert!(closes_on(&wire::publish(V311, flags, "t", Some(1), b"x")));
        assert!(closes_on(&wire::publish(V311, flags, "t", None, b"")));
    }
}

#[test]
fn mqtt311_3_3_2_2_a_topic_name_has_no_wildcards() {
    for topic in ["#", "+", "a/#", "a/+", "+/a", "a/+/b", "a#", "a+b", "a/b/#c"] {
        for qos in 0..3 {
            assert!(closes_on(&message(qos, topic, b"x")), "{topic}");
        }
    }
}

#[test]
fn mqtt311_3_3_2_3_the_topic_name_matches_the_filter() {
    let topics = ["a", "a/b", "a/B", "a/b/c", "b/a", "/a", "b", "a//b", "ab", "a/bc"];
    for filter in ["a/+", "a/#", "+", "+/+", "/+", "a/b", "a/b/c", "a"] {
        for qos in 0..3 {
            let mut lab = Lab::new();
            let live = subscriber(&mut lab, "live", filter, qos);
            let absent = persistent_subscriber(&mut lab, "absent", filter, qos);
            lab.cut(absent);
            let publisher = lab.connect(V311, "publisher");
            for topic in topics {
                lab.send(publisher, &retained(1, topic, topic.as_bytes()));
            }
            let absent = persistent(&mut lab, "absent");
            let got = [lab.publishes(live), lab.publishes(absent), newcomer(&mut lab, filter)];
            for publish in got.into_iter().flatten() {
                assert!(matches(filter, &publish.topic), "{filter} and {}", publish.topic);
                let named = publish.payload.is_empty() || publish.topic.as_bytes() == publish.payload;
                assert!(named, "the name it was published with");
            }
        }
    }
}

#[test]
fn mqtt311_3_3_4_1_each_qos_gets_its_answer() {
    for (qos, answers) in [(0, &[][..]), (1, &[PUBACK]), (2, &[PUBREC])] {
        for subscribed in [false, true] {
            let mut lab = Lab::new();
            if subscribed {
                persistent_subscriber(&mut lab, "receiver", "t", 2);
            }
            let publisher = lab.connect(V311, "publisher");
            lab.send(publisher, &message(qos, "t", b"x"));
            let kinds: Vec<_> = raw(&mut lab, publisher).iter().map(|packet| packet.kind).collect();
            assert_eq!(kinds, answers, "QoS {qos}");
        }
    }
}

#[test]
fn mqtt311_3_3_5_1_overlapping_subscriptions_deliver_with_the_highest_qos() {
    let filters = ["a/b", "a/#", "#"];
    for granted in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 1], [0, 0, 2]] {
        for retain in [false, true] {
            let mut lab = Lab::new();
            let receiver = lab.connect(V311, "receiver");
            let most = subscriber(&mut lab, "most", "a/b", granted.into_iter().max().unwrap_or(0));
            for (filter, qos) in filters.iter().zip(granted) {
                lab.send(receiver, &wire::subscribe(V311, 1, &[(filter, qos)]));
            }
            let publisher = lab.connect(V311, "publisher");
            let make = if retain { retained } else { message };
            lab.send(publisher, &make(2, "a/b", b"x"));
            // As somebody gets it who has the subscription with the highest QoS only.
            let highest = |messages: Vec<Published>| messages.iter().map(|publish| publish.qos).max();
            assert_eq!(highest(lab.publishes(receiver)), highest(lab.publishes(most)), "{granted:?}");
        }
    }
}

#[test]
fn mqtt311_3_3_5_2_a_publish_that_is_not_authorized_is_acknowledged_or_the_connection_closed() {
    for qos in [1, 2] {
        let mut lab = Lab::new();
        let publisher = lab.connect(V311, "publisher");
        lab.set_rights(&forbid("secret"));
        // What an authorized one gets: that there is an answer at all is for 3.3.4-1.
        let answer = |lab: &mut Lab, topic| {
            lab.send(publisher, &message(qos, topic, b"x"));
            let first = !ids_of(lab, publisher, if qos == 1 { PUBACK } else { PUBREC }).is_empty();
            lab.send(publisher, &wire::ack(REL, 7));
            (first, qos == 1 || !ids_of(lab, publisher, PUBCOMP).is_empty())
        };
        let usual = answer(&mut lab, "allowed");
        assert!(answer(&mut lab, "secret") >= usual || lab.is_closed(publisher), "QoS {qos}");
    }
    // QoS 0 has no answer: nothing to see but that the message goes nowhere.
    let mut lab = Lab::new();
    let publisher = lab.connect_with(V311, &Connect::new(V311, "publisher"));
    let watcher = subscriber(&mut lab, "watcher", "#", 0);
    lab.set_rights(&forbid("secret"));
    lab.send(publisher, &message(0, "secret", b"x"));
    lab.send(publisher, &wire::ack(ACK, 1));
    assert!(!has(&lab.publishes(watcher), b"x"));
}
