//! PUBLISH: flags, topic, what is done with it (5.0 3.3.1, 3.3.2.1, 3.3.4).

use cork_conform::{
    ClientIx, Lab, Published,
    wire::{self, V5},
};

use crate::steps::{
    NOT_UTF8, RECEIVE_MAXIMUM, SUBSCRIPTION_ID, closes, durable, durable_with, fresh, long,
    puback_with_reason_string, publish, publish_with, retained, short, sub_id, subscribe, take, with,
};

/// Retain As Published.
const AS_PUBLISHED: u8 = 0x08;

#[test]
fn mqtt5_3_3_1_1_what_is_sent_again_has_dup() {
    let mut lab = Lab::new();
    let first = lab.connect_with(V5, &durable("client", 100));
    subscribe(&mut lab, first, "t", 2);
    let sender = lab.connect(V5, "sender");
    for flags in [0x02, 0x04, 0x02, 0x04] {
        publish(&mut lab, sender, flags, "t", b"");
    }
    let sent: Vec<Option<u16>> = lab.publishes(first).into_iter().map(|publish| publish.id).collect();
    for _ in 0..2 {
        lab.cut(first);
        let again = lab.connect_with(V5, &durable("client", 100));
        for publish in lab.publishes(again) {
            assert!(publish.dup || !sent.contains(&publish.id), "{publish:?}");
        }
    }
}

#[test]
fn mqtt5_3_3_1_2_dup_is_0_at_qos_0() {
    assert!(closes(&wire::publish(V5, 0x08, "t", None, b"")), "from a client");
    // To a client, whatever the message had on its way here.
    let mut lab = Lab::new();
    let receiver = lab.connect(V5, "receiver");
    subscribe(&mut lab, receiver, "t", 0);
    let sender = lab.connect(V5, "sender");
    for flags in [0x00, 0x0A, 0x0C] {
        publish(&mut lab, sender, flags, "t", b"");
    }
    assert!(lab.publishes(receiver).iter().all(|publish| publish.qos > 0 || !publish.dup));
}

#[test]
fn mqtt5_3_3_1_3_dup_is_not_taken_over_from_the_publisher() {
    for qos in [0x02, 0x04] {
        let mut lab = Lab::new();
        let receiver = lab.connect(V5, "receiver");
        subscribe(&mut lab, receiver, "t", 2);
        let sender = lab.connect(V5, "sender");
        publish(&mut lab, sender, qos | 0x08, "t", b"");
        assert!(lab.publishes(receiver).iter().all(|publish| !publish.dup), "flags {qos:x}");
    }
}

#[test]
fn mqtt5_3_3_1_4_qos_3_closes() {
    for flags in [0x06, 0x07, 0x0E, 0x0F] {
        assert!(closes(&wire::publish(V5, flags, "t", Some(1), b"")), "flags {flags:x}");
    }
}

/// Publishes these payloads to `t` one after the other, with RETAIN or without.
fn sequence(messages: &[(bool, &[u8])]) -> Lab {
    let mut lab = Lab::new();
    let sender = lab.connect(V5, "sender");
    for (n, (retain, payload)) in messages.iter().enumerate() {
        let qos = [0x00, 0x02, 0x04][n % 3];
        publish(&mut lab, sender, qos | u8::from(*retain), "t", payload);
    }
    lab
}

fn payloads(publishes: Vec<Published>) -> Vec<Vec<u8>> {
    publishes.into_iter().map(|publish| publish.payload).collect()
}

#[test]
fn mqtt5_3_3_1_5_retain_replaces_what_was_retained() {
    for messages in [
        &[(true, &b"new"[..])][..],
        &[(true, b"old"), (true, b"new")],
        &[(true, b"old"), (true, b"older"), (true, b"new")],
    ] {
        let mut lab = sequence(messages);
        assert_eq!(payloads(retained(&mut lab, "t")), [b"new"], "{messages:?}");
    }
}

#[test]
fn mqtt5_3_3_1_6_an_empty_retained_payload_removes_what_was_retained() {
    let mut lab = sequence(&[(true, b"old"), (true, b"")]);
    assert!(!payloads(retained(&mut lab, "t")).contains(&b"old".to_vec()));
    // It is a message like any other to those who are there.
    let mut lab = Lab::new();
    let receiver = lab.connect(V5, "receiver");
    subscribe(&mut lab, receiver, "t", 1);
    let sender = lab.connect(V5, "sender");
    publish(&mut lab, sender, 0x01, "t", b"");
    assert_eq!(lab.payloads(receiver), [b""]);
}

#[test]
fn mqtt5_3_3_1_7_an_empty_payload_is_not_retained() {
    for messages in [&[(true, &b""[..])][..], &[(true, b"old"), (true, b"")], &[(true, b""), (true, b"")]] {
        let mut lab = sequence(messages);
        assert!(!payloads(retained(&mut lab, "t")).contains(&Vec::new()), "{messages:?}");
    }
}

#[test]
fn mqtt5_3_3_1_8_without_retain_nothing_is_stored_replaced_or_removed() {
    let mut lab = sequence(&[(false, b"live"), (false, b"live"), (false, b"live")]);
    assert!(retained(&mut lab, "t").is_empty(), "stored");
    for payload in [&b"live"[..], b""] {
        let before = payloads(retained(&mut sequence(&[(true, b"old")]), "t"));
        let mut lab = sequence(&[(true, b"old"), (false, payload), (false, payload), (false, payload)]);
        assert_eq!(payloads(retained(&mut lab, "t")), before, "after {payload:?}");
    }
}

/// How many retained messages the second of two SUBSCRIBEs brings.
fn second_subscribe_brings(first: Option<u8>, second: u8) -> usize {
    let mut lab = Lab::new();
    let sender = lab.connect(V5, "sender");
    publish(&mut lab, sender, 0x01, "t/1", b"x");
    publish(&mut lab, sender, 0x01, "t/2", b"x");
    let client = lab.connect(V5, "client");
    if let Some(options) = first {
        lab.send(client, &wire::subscribe(V5, 1, &[("t/+", options)]));
    }
    lab.bytes(client);
    lab.send(client, &wire::subscribe(V5, 2, &[("t/+", second)]));
    lab.publishes(client).len()
}

#[test]
fn mqtt5_3_3_1_9_retain_handling_0_sends_retained_messages_at_each_subscribe() {
    for first in [None, Some(0x00), Some(0x20)] {
        assert_eq!(second_subscribe_brings(first, 0x00), 2, "subscribed before: {first:?}");
    }
}

#[test]
fn mqtt5_3_3_1_10_retain_handling_1_sends_retained_messages_to_new_subscriptions() {
    assert_eq!(second_subscribe_brings(None, 0x10), 2, "new");
    for first in [0x00, 0x01, 0x10, 0x20] {
        assert_eq!(second_subscribe_brings(Some(first), 0x10), 0, "there before, with {first:x}");
    }
    // A Session that goes on has its subscriptions: they are not new.
    let mut lab = sequence(&[(true, b"x")]);
    let client = lab.connect_with(V5, &durable("client", 100));
    subscribe(&mut lab, client, "t", 0x20);
    lab.cut(client);
    let (client, kept) = (lab.connect_with(V5, &durable("client", 100)), lab.stats(0).subscriptions > 0);
    subscribe(&mut lab, client, "t", 0x10);
    assert!(!kept || lab.publishes(client).is_empty(), "a Session that goes on");
}

#[test]
fn mqtt5_3_3_1_11_retain_handling_2_sends_no_retained_messages() {
    for first in [None, Some(0x00), Some(0x20)] {
        assert_eq!(second_subscribe_brings(first, 0x20), 0, "subscribed before: {first:?}");
    }
}

/// The RETAIN flags of live messages to a subscription with these options: published with RETAIN, and without.
fn live_retain_flags(options: u8) -> Vec<bool> {
    let mut lab = Lab::new();
    let receiver = lab.connect_with(V5, &durable("receiver", 100));
    subscribe(&mut lab, receiver, "t", options);
    let sender = lab.connect(V5, "sender");
    let mut flags = Vec::new();
    for qos in [0x00, 0x02, 0x04] {
        publish(&mut lab, sender, qos | 0x01, "t", b"retained");
        publish(&mut lab, sender, qos, "t", b"live");
    }
    let publishes = lab.publishes(receiver);
    for publish in &publishes {
        take(&mut lab, receiver, publish);
    }
    flags.extend(publishes.iter().map(|publish| publish.retain));
    // Through the queue too.
    lab.cut(receiver);
    publish(&mut lab, sender, 0x03, "t", b"retained");
    publish(&mut lab, sender, 0x02, "t", b"live");
    let receiver = lab.connect_with(V5, &durable("receiver", 100));
    flags.extend(lab.publishes(receiver).iter().map(|publish| publish.retain));
    flags
}

#[test]
fn mqtt5_3_3_1_12_without_retain_as_published_the_flag_is_0() {
    for qos in 0..3 {
        let flags = live_retain_flags(qos);
        assert!(flags.iter().all(|flag| !flag), "QoS {qos}: {flags:?}");
    }
}

#[test]
fn mqtt5_3_3_1_13_with_retain_as_published_the_flag_is_the_publishers() {
    for qos in 0..3 {
        let flags = live_retain_flags(AS_PUBLISHED | qos);
        for (n, flag) in flags.iter().enumerate() {
            assert_eq!(*flag, n % 2 == 0, "QoS {qos}, message {n}");
        }
    }
}

#[test]
fn mqtt5_3_3_2_1_the_topic_name_comes_first_and_is_a_utf8_string() {
    assert!(closes(&wire::packet(0x30, &[])), "no Topic Name");
    assert!(closes(&wire::packet(0x30, &[0])), "half a length");
    assert!(closes(&wire::packet(0x30, &[0, 9, b't', 0, b'x'])), "longer than the packet");
    for bad in NOT_UTF8 {
        let wrong = closes(&puback_with_reason_string(bad));
        let packet = wire::packet(0x30, &[wire::string(bad), vec![0]].concat());
        assert!(!wrong || closes(&packet), "{bad:x?}");
    }
    // From the broker: right after the fixed header.
    for flags in [0x00, 0x02, 0x04] {
        let mut lab = Lab::new();
        let receiver = lab.connect(V5, "receiver");
        subscribe(&mut lab, receiver, "some/topic", 2);
        lab.bytes(receiver);
        let sender = lab.connect(V5, "sender");
        publish(&mut lab, sender, flags, "some/topic", b"x");
        let bytes = lab.bytes(receiver);
        assert!(bytes.is_empty() || bytes[2..].starts_with(b"\0\x0Asome/topic"), "{bytes:x?}");
    }
}

#[test]
fn mqtt5_3_3_2_2_a_topic_name_with_wildcards_closes() {
    let long = format!("{}/+", "a".repeat(200));
    for topic in ["#", "+", "a/#", "a/+/b", "a+", "#a", "+/a", "a/b#", &long] {
        assert!(closes(&wire::publish(V5, 0, topic, None, b"")), "{topic:?}");
        assert!(closes(&wire::publish(V5, 0x02, topic, Some(1), b"")), "{topic:?}");
    }
}

/// Whether a filter matches a topic, level by level.
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        ([wanted, filter @ ..], [level, topic @ ..]) if *wanted == "+" || wanted == level => {
            matches(filter, topic)
        }
        _ => false,
    }
}

#[test]
fn mqtt5_3_3_2_3_a_subscriber_gets_only_topics_its_filter_matches() {
    let filters =
        ["#", "+", "a", "a/#", "a/+", "+/b", "a/b/c", "+/+/c", "/", "/+", "+/", "a//b", "a/+/b", "$S/#"];
    let topics =
        ["a", "b", "a/b", "a/b/c", "a/b/d", "/", "//", "/a", "a/", "a//b", "A", "a/B", "x/y/c", "$S/a", "$S"];
    let mut lab = Lab::new();
    let sender = lab.connect(V5, "sender");
    let receivers: Vec<ClientIx> = filters.iter().map(|filter| lab.connect(V5, filter)).collect();
    for (receiver, filter) in receivers.iter().zip(filters) {
        subscribe(&mut lab, *receiver, filter, 1);
    }
    for topic in topics {
        publish(&mut lab, sender, 0x01, topic, b"x");
        publish(&mut lab, sender, 0x02, topic, b"x");
    }
    for (receiver, filter) in receivers.into_iter().zip(filters) {
        let mut got = lab.publishes(receiver);
        got.extend(retained(&mut lab, filter));
        let filter_levels: Vec<&str> = filter.split('/').collect();
        // Without Topic Name an alias stands for it; there are statements enough about those.
        for publish in got.into_iter().filter(|publish| !publish.topic.is_empty()) {
            let levels: Vec<&str> = publish.topic.split('/').collect();
            assert!(matches(&filter_levels, &levels), "{filter:?} got {:?}", publish.topic);
        }
    }
}

#[test]
fn mqtt5_3_3_4_1_a_publish_is_answered_by_its_qos() {
    for (flags, id, expected) in
        [(0x00, None, None), (0x02, Some(9), Some(0x40)), (0x04, Some(9), Some(0x50))]
    {
        for subscribed in [false, true] {
            let mut lab = Lab::new();
            if subscribed {
                let receiver = lab.connect(V5, "receiver");
                subscribe(&mut lab, receiver, "t", 0);
            }
            let client = lab.connect(V5, "client");
            lab.send(client, &wire::publish(V5, flags, "t", id, b""));
            let answers: Vec<u8> = lab.acks(client).into_iter().map(|ack| ack.first).collect();
            assert_eq!(answers, Vec::from_iter(expected), "flags {flags:x}");
        }
    }
}

/// The messages a client with these subscriptions (filter, options, Subscription Identifier) gets for one message
/// with QoS 2 on `a/b`.
fn overlapping(subscriptions: &[(&str, u8, usize)]) -> Vec<Published> {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "client");
    for (filter, options, id) in subscriptions {
        let props = if *id == 0 { Vec::new() } else { sub_id(*id) };
        lab.send(client, &wire::subscribe_with(V5, 1, &props, &[(filter, *options)]));
    }
    let sender = lab.connect(V5, "sender");
    publish(&mut lab, sender, 0x04, "a/b", b"x");
    lab.publishes(client)
}

/// All Subscription Identifiers of a message, sorted.
fn ids(publish: &Published) -> Vec<u32> {
    let ids = publish.props.all(SUBSCRIPTION_ID).into_iter();
    let mut ids: Vec<u32> =
        ids.map(|id| id.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn mqtt5_3_3_4_2_overlapping_subscriptions_deliver_at_the_highest_qos() {
    let filters = ["a/b", "a/+", "#"];
    for most in 0..3 {
        for at in 0..3 {
            let subscriptions: Vec<_> =
                (0..).zip(filters).map(|(n, filter)| (filter, if n == at { most } else { 0 }, 0)).collect();
            let best = overlapping(&subscriptions).iter().map(|publish| publish.qos).max();
            assert!(best.is_none_or(|best| best == most), "{subscriptions:?}: QoS {best:?}");
        }
    }
}

#[test]
fn mqtt5_3_3_4_3_subscription_identifiers_come_with_the_message() {
    for id in [1, 127, 128, 16_384, 268_435_455] {
        for subscriptions in
            [&[("a/b", 1, id)][..], &[("a/b", 1, id), ("a/+", 1, 0)], &[("a/b", 1, 0), ("#", 1, id)]]
        {
            let got = overlapping(subscriptions);
            let all: Vec<u32> = got.iter().flat_map(ids).collect();
            assert!(
                got.is_empty() || all.iter().any(|got| *got as usize == id),
                "{subscriptions:?}: {all:?}"
            );
        }
    }
}

#[test]
fn mqtt5_3_3_4_4_a_single_copy_has_the_identifiers_of_all_subscriptions() {
    for subscriptions in [
        &[("a/b", 0, 1), ("a/+", 1, 2)][..],
        &[("a/b", 2, 3), ("a/+", 1, 2), ("#", 0, 1)],
        &[("a/b", 1, 3), ("a/+", 1, 0), ("#", 1, 200)],
    ] {
        if let [only] = &overlapping(subscriptions)[..] {
            let mut wanted: Vec<u32> = subscriptions
                .iter()
                .filter_map(|(_, _, id)| u32::try_from(*id).ok())
                .filter(|id| *id > 0)
                .collect();
            wanted.sort_unstable();
            // With one identifier alone nothing was promised about the others.
            assert_eq!(ids(only), wanted, "{subscriptions:?}");
        }
    }
}

#[test]
fn mqtt5_3_3_4_5_several_copies_have_each_the_identifier_of_its_subscription() {
    let plain = ("a/b", 1, 1);
    // Whether the plain subscription gets its identifier at all is another statement's affair.
    let alone: Vec<Vec<u32>> = overlapping(&[plain]).iter().map(ids).collect();
    let copies = overlapping(&[plain, ("$share/g/a/+", 1, 2), ("$share/h/#", 1, 3)]);
    if copies.len() > 1 {
        let mut all: Vec<Vec<u32>> = copies.iter().map(ids).collect();
        all.sort_unstable();
        let wanted: Vec<Vec<u32>> = alone.into_iter().chain([vec![2], vec![3]]).collect();
        assert_eq!(all, wanted);
    }
}

#[test]
fn mqtt5_3_3_4_6_a_subscription_identifier_from_a_client_closes() {
    assert!(closes(&wire::publish_with(V5, 0, "t", None, &sub_id(1), b"")));
    assert!(closes(&wire::publish_with(V5, 0x02, "t", Some(1), &sub_id(300), b"")));
}

#[test]
fn mqtt5_3_3_4_7_more_than_the_brokers_receive_maximum_closes() {
    let send = |lab: &mut Lab, client: ClientIx, ids: std::ops::Range<u16>| {
        for id in ids {
            lab.send(client, &wire::publish(V5, 0x04, "t", Some(id), b""));
        }
    };
    let mut lab = Lab::with(|config| config.limits.receive_maximum = 3);
    let client = lab.connect(V5, "client");
    send(&mut lab, client, 1..4);
    assert!(!lab.is_closed(client), "three at once are allowed");
    send(&mut lab, client, 4..5);
    assert!(lab.is_closed(client), "four at once are not");
    // Those that are over do not count.
    let client = lab.connect(V5, "client");
    for round in 0..10 {
        send(&mut lab, client, 1..4);
        for id in 1..4 {
            lab.send(client, &wire::ack(0x62, id));
        }
        lab.bytes(client);
        for _ in 0..5 {
            lab.send(client, &wire::publish(V5, 0x02, "t", Some(1), b""));
            if lab.acks(client).is_empty() && !lab.is_closed(client) {
                return; // not answered: it goes on counting
            }
        }
        assert!(!lab.is_closed(client), "round {round}");
    }
}

/// Publications under way to a client, as it sees them, and the most there were at once.
#[derive(Default)]
struct Window {
    open: Vec<Published>,
    most: usize,
}

impl Window {
    fn see(&mut self, publishes: Vec<Published>) {
        for publish in publishes.into_iter().filter(|publish| publish.qos > 0) {
            if self.open.iter().all(|other| other.id != publish.id) {
                self.open.push(publish);
            }
        }
        self.most = self.most.max(self.open.len());
    }
}

/// A client with this Receive Maximum gets thirty messages, live, queued, retained and again after a break, and takes
/// them one by one: the most that were under way at once.
fn most_under_way(maximum: u16) -> usize {
    let mut lab = Lab::new();
    let sender = lab.connect(V5, "sender");
    for n in 0..10 {
        publish(&mut lab, sender, 0x03, &format!("t/{n}"), b"retained");
    }
    let connect = durable_with("client", 1000, &short(RECEIVE_MAXIMUM, maximum));
    let mut most = 0;
    for phase in 0..3 {
        let client = lab.connect_with(V5, &connect);
        let mut window = Window::default();
        if phase == 0 {
            subscribe(&mut lab, client, "t/#", 2);
        }
        for n in 0..10 {
            let flags = if n % 2 == 0 { 0x02 } else { 0x04 };
            publish(&mut lab, sender, flags, "t/live", b"live");
        }
        for _ in 0..5 + phase * 5 {
            window.see(lab.publishes(client));
            if window.open.is_empty() {
                break;
            }
            if window.open[0].qos == 2 {
                // PUBREC alone makes no room.
                lab.send(client, &wire::ack(0x50, window.open[0].id.unwrap_or(0)));
                window.see(lab.publishes(client));
                let taken = window.open.remove(0);
                lab.send(client, &wire::ack(0x70, taken.id.unwrap_or(0)));
            } else {
                let taken = window.open.remove(0);
                take(&mut lab, client, &taken);
            }
        }
        most = most.max(window.most);
        lab.cut(client);
    }
    most
}

#[test]
fn mqtt5_3_3_4_9_the_broker_keeps_to_the_clients_receive_maximum() {
    for maximum in [1, 2, 5] {
        let most = most_under_way(maximum);
        assert!(most <= usize::from(maximum), "{most} at once, {maximum} allowed");
    }
}

#[test]
fn mqtt5_3_3_4_10_other_packets_do_not_wait_for_receive_maximum() {
    // All answers a client gets that has one message, of three, under way.
    let answers = |maximum: u16| {
        let mut lab = Lab::new();
        let connect = durable_with("client", 100, &short(RECEIVE_MAXIMUM, maximum));
        let client = lab.connect_with(V5, &connect);
        subscribe(&mut lab, client, "t", 2);
        let sender = lab.connect(V5, "sender");
        for _ in 0..3 {
            publish(&mut lab, sender, 0x04, "t", b"");
        }
        lab.bytes(client);
        lab.send(client, &wire::pingreq());
        lab.send(client, &wire::subscribe(V5, 7, &[("other", 0)]));
        lab.send(client, &wire::unsubscribe(V5, 8, &["other"]));
        lab.send(client, &wire::publish(V5, 0x02, "x", Some(9), b""));
        lab.send(client, &wire::publish(V5, 0x04, "x", Some(10), b""));
        lab.send(client, &wire::ack(0x62, 10));
        lab.packets(client)
    };
    assert_eq!(answers(1), answers(100));
    // PUBREL for a flight of the last connection, behind two whose PUBLISH has to wait.
    let released_again = |maximum: u16| {
        let mut lab = Lab::new();
        let client = lab.connect_with(V5, &durable("client", 100));
        subscribe(&mut lab, client, "t", 2);
        let sender = lab.connect(V5, "sender");
        for _ in 0..3 {
            publish(&mut lab, sender, 0x04, "t", b"");
        }
        let last = lab.publishes(client).last().and_then(|publish| publish.id).unwrap_or(0);
        lab.send(client, &wire::ack(0x50, last));
        lab.cut(client);
        let client = lab.connect_with(V5, &durable_with("client", 100, &short(RECEIVE_MAXIMUM, maximum)));
        lab.acks(client).iter().any(|ack| (ack.first, ack.id) == (0x62, last))
    };
    assert_eq!(released_again(1), released_again(100), "PUBREL waits for Receive Maximum");
}

#[test]
fn mqtt5_beyond_an_acknowledgement_nobody_waits_for_is_no_error() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "client");
    for first in [0x40, 0x50, 0x62, 0x70] {
        lab.send(client, &wire::ack(first, 77));
    }
    assert!(!lab.is_closed(client));
    // The two that have an answer say that nothing is under way.
    let answers: Vec<_> = lab.acks(client).into_iter().map(|ack| (ack.first, ack.id, ack.reason)).collect();
    assert_eq!(answers, [(0x62, 77, 0x92), (0x70, 77, 0x92)]);
}

#[test]
fn mqtt5_beyond_nobody_subscribed_is_told_by_0x10() {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &fresh("client"));
    publish_with(&mut lab, client, 0x02, "nobody", &long(0x02, 5), b"");
    let receiver = lab.connect_with(V5, &with("receiver", &[]));
    subscribe(&mut lab, receiver, "somebody", 0);
    publish(&mut lab, client, 0x02, "somebody", b"");
    let reasons: Vec<u8> = lab.acks(client).into_iter().map(|ack| ack.reason).collect();
    assert_eq!(reasons, [0x10, 0x00]);
}
