//! RETAIN (section 3.3.1.3), and what outlives a Session (3.1.2-7).

use cork_conform::{
    ClientIx, Lab,
    wire::{self, V311},
};

use crate::support::{
    DAY, has, message, newcomer, persistent, persistent_subscriber, publish, retained, subscribe, subscriber,
};

fn with_publisher() -> (Lab, ClientIx) {
    let mut lab = Lab::new();
    let publisher = lab.connect(V311, "publisher");
    (lab, publisher)
}

#[test]
fn mqtt311_3_3_1_5_a_retained_message_is_stored_with_its_qos() {
    for qos in 0..3 {
        let (mut lab, publisher) = with_publisher();
        publish(&mut lab, publisher, &retained(qos, "t", b"kept"));
        assert_eq!(lab.stats(0).retained, 1);
        // Whether a new subscription is sent it is for 3.3.1-6.
        for stored in newcomer(&mut lab, "t") {
            assert_eq!((stored.qos, stored.payload.as_slice()), (qos, &b"kept"[..]));
        }
    }
}

#[test]
fn mqtt311_3_3_1_6_a_new_subscription_gets_the_last_retained_message_of_each_topic() {
    let topics = ["a", "a/b", "a/c", "a/b/c", "b/b"];
    for (filter, wanted) in [
        ("a", &["a"][..]),
        ("a/+", &["a/b", "a/c"]),
        ("a/#", &["a", "a/b", "a/b/c", "a/c"]),
        ("+/b", &["a/b", "b/b"]),
        ("#", &["a", "a/b", "a/b/c", "a/c", "b/b"]),
        ("x", &[]),
    ] {
        for qos in 0..3 {
            let (mut lab, publisher) = with_publisher();
            for payload in [b"first", b"later"] {
                for topic in topics {
                    publish(&mut lab, publisher, &retained(1, topic, payload));
                }
            }
            // That they are stored is for 3.3.1-5.
            if lab.stats(0).retained != topics.len() as u64 {
                return;
            }
            let client = lab.connect(V311, "client");
            lab.send(client, &wire::subscribe(V311, 1, &[(filter, qos)]));
            let mut got: Vec<_> =
                lab.publishes(client).into_iter().map(|publish| (publish.topic, publish.payload)).collect();
            got.sort();
            let wanted: Vec<_> =
                wanted.iter().map(|topic| ((*topic).to_owned(), b"later".to_vec())).collect();
            assert_eq!(got, wanted, "{filter} with QoS {qos}");
        }
    }
}

#[test]
fn mqtt311_3_3_1_7_a_retained_qos_0_message_replaces_the_one_before() {
    for qos in 0..3 {
        let (mut lab, publisher) = with_publisher();
        publish(&mut lab, publisher, &retained(qos, "t", b"old"));
        let stored = lab.stats(0).retained;
        publish(&mut lab, publisher, &retained(0, "t", b"new"));
        assert!(!has(&newcomer(&mut lab, "t"), b"old"), "after QoS {qos}");
        // This broker keeps the new one; whether a new subscription is sent it is for 3.3.1-6.
        assert_eq!(lab.stats(0).retained, stored);
    }
}

#[test]
fn mqtt311_3_3_1_8_retain_is_1_in_what_a_new_subscription_gets() {
    for (published, granted) in [(0, 0), (0, 2), (1, 0), (1, 1), (2, 1), (2, 2)] {
        let (mut lab, publisher) = with_publisher();
        for topic in ["a/1", "a/2", "a/3"] {
            publish(&mut lab, publisher, &retained(published, topic, b"kept"));
        }
        let client = lab.connect(V311, "client");
        for _ in 0..2 {
            lab.send(client, &wire::subscribe(V311, 1, &[("a/+", granted)]));
            assert!(lab.publishes(client).iter().all(|publish| publish.retain), "{published}, {granted}");
        }
    }
}

#[test]
fn mqtt311_3_3_1_9_retain_is_0_in_what_an_established_subscription_gets() {
    for (published, granted) in [(0, 0), (0, 2), (1, 0), (1, 1), (2, 1), (2, 2)] {
        for make in [message, retained] {
            let (mut lab, publisher) = with_publisher();
            let live = subscriber(&mut lab, "live", "t", granted);
            let overlapping = subscriber(&mut lab, "overlapping", "t", granted);
            subscribe(&mut lab, overlapping, "+", granted);
            let absent = persistent_subscriber(&mut lab, "absent", "t", granted);
            lab.cut(absent);
            publish(&mut lab, publisher, &make(published, "t", b"x"));
            let absent = persistent(&mut lab, "absent");
            for client in [live, overlapping, absent] {
                assert!(
                    lab.publishes(client).iter().all(|publish| !publish.retain),
                    "{published}, {granted}"
                );
            }
        }
    }
}

#[test]
fn mqtt311_3_3_1_10_an_empty_retained_message_is_delivered_and_removes_the_one_before() {
    for qos in 0..3 {
        let (mut lab, publisher) = with_publisher();
        let watcher = subscriber(&mut lab, "watcher", "t", 0);
        publish(&mut lab, publisher, &retained(qos, "t", b"old"));
        lab.bytes(watcher);
        let other = lab.connect(V311, "other publisher");
        publish(&mut lab, other, &retained(qos, "t", b""));
        assert!(has(&lab.publishes(watcher), b""), "processed as normal");
        assert!(!has(&newcomer(&mut lab, "t"), b"old"), "QoS {qos}");
    }
}

#[test]
fn mqtt311_3_3_1_11_an_empty_message_is_not_retained() {
    for qos in 0..3 {
        let (mut lab, publisher) = with_publisher();
        publish(&mut lab, publisher, &retained(qos, "t", b""));
        assert!(newcomer(&mut lab, "t").is_empty(), "QoS {qos}");
        assert_eq!(lab.stats(0).retained, 0, "QoS {qos}");
    }
}

#[test]
fn mqtt311_3_3_1_12_a_message_without_retain_is_not_stored_and_changes_nothing() {
    for qos in 0..3 {
        let (mut lab, publisher) = with_publisher();
        publish(&mut lab, publisher, &message(qos, "new", b"x"));
        assert!(newcomer(&mut lab, "new").is_empty());
        publish(&mut lab, publisher, &retained(1, "t", b"kept"));
        let before = newcomer(&mut lab, "t");
        for payload in [&b"x"[..], b""] {
            publish(&mut lab, publisher, &message(qos, "t", payload));
            let after = newcomer(&mut lab, "t");
            assert_eq!(after.len(), before.len(), "QoS {qos}");
            assert!(after.iter().zip(&before).all(|(after, before)| after.payload == before.payload));
        }
    }
}

#[test]
fn mqtt311_3_1_2_7_retained_messages_do_not_end_with_the_session() {
    for clean in [true, false] {
        let mut lab = Lab::new();
        let connect = wire::Connect { clean, ..wire::Connect::new(V311, "a") };
        let publisher = lab.connect_with(V311, &connect);
        for qos in 0..3u8 {
            publish(&mut lab, publisher, &retained(qos, &format!("t/{qos}"), b"kept"));
        }
        let before = newcomer(&mut lab, "t/+").len();
        // The Session ends: with its connection, by CleanSession, or by its age.
        lab.cut(publisher);
        let other = lab.connect(V311, "a");
        lab.send(other, &wire::disconnect());
        lab.advance(DAY * 400);
        assert_eq!(newcomer(&mut lab, "t/+").len(), before);
    }
}
