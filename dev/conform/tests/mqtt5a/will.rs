//! The Will: how it is given, kept, published, removed (5.0 3.1.2.5 to 3.1.2.7, 3.1.3.2 to 3.1.3.4).

use cork_conform::{
    ClientIx, Lab, Published, Received,
    wire::{self, Connect, V5, Will},
};
use cork_store::Record;

use crate::steps::{
    NOT_UTF8, USER_PROPERTY, WILL_DELAY, closes, connack, connect_raw, durable, fresh, keeps_order, lasting,
    let_in, long, pair, puback_with_reason_string, publish, refuses, retained, stored_wills, subscribe, wait,
};

/// A Will to `will`, payload `gone`.
fn will(qos: u8, retain: bool, properties: &[u8]) -> Option<Will> {
    let properties = properties.to_vec();
    Some(Will { topic: "will".into(), payload: b"gone".to_vec(), qos, retain, properties })
}

/// A lab with a client that hears Wills.
fn lab_with_listener() -> (Lab, ClientIx) {
    let mut lab = Lab::new();
    let listener = lab.connect(V5, "listener");
    subscribe(&mut lab, listener, "#", 2);
    lab.bytes(listener);
    (lab, listener)
}

/// What a listener hears when the connection of a client with this Will breaks.
fn heard(will: Option<Will>) -> Vec<Published> {
    let (mut lab, listener) = lab_with_listener();
    let client = lab.connect_with(V5, &Connect { will, ..fresh("client") });
    lab.cut(client);
    lab.publishes(listener)
}

#[test]
fn mqtt5_3_1_2_7_a_will_is_stored_with_the_session() {
    for (qos, retain) in [(0, false), (1, true), (2, false)] {
        let mut lab = Lab::new();
        lab.connect_with(V5, &Connect { will: will(qos, retain, &[]), ..lasting("client", 10) });
        if let_in(&lab).is_empty() {
            continue; // a Will the broker does not support
        }
        let stored = stored_wills(&lab);
        let [stored] = stored[..] else { panic!("{} Wills stored", stored.len()) };
        assert_eq!(&*stored.publisher.client_id, "client");
    }
}

/// Ends the connection of a client.
type End<'a> = &'a dyn Fn(&mut Lab, ClientIx);

#[test]
fn mqtt5_3_1_2_8_a_stored_will_is_published_when_the_connection_ends_without_disconnect() {
    // How the connection ends.
    let ends: [(&str, End<'_>); 4] = [
        ("the network breaks", &|lab, client| lab.cut(client)),
        ("a rule is broken", &|lab, client| lab.send(client, &[0x00, 0])),
        ("a second CONNECT", &|lab, client| lab.send(client, &fresh("client").bytes())),
        ("silence", &|lab, _| wait(lab, 100)),
    ];
    for (name, end) in ends {
        let (mut lab, listener) = lab_with_listener();
        let connect = Connect { will: will(1, false, &[]), keep_alive: 10, ..fresh("client") };
        let client = lab.connect_with(V5, &connect);
        let stored = stored_wills(&lab).len();
        assert!(lab.publishes(listener).is_empty(), "{name}: not before the end");
        end(&mut lab, client);
        let ended = lab.is_closed(client) || name == "the network breaks";
        let ended = ended && !lab.is_closed(listener);
        assert!(!ended || lab.publishes(listener).len() >= stored, "{name}");
    }
    // When: after the delay or at the end of the Session, whichever comes first.
    for (delay, expiry, when) in [(5, 100, 5), (100, 5, 5), (7, 7, 7), (5, 0, 0), (0, 5, 0)] {
        let (mut lab, listener) = lab_with_listener();
        let connect = Connect { will: will(1, false, &long(WILL_DELAY, delay)), ..durable("client", expiry) };
        let client = lab.connect_with(V5, &connect);
        let stored = stored_wills(&lab).len();
        lab.cut(client);
        if when > 0 {
            wait(&mut lab, when - 1);
            // The listener has a Session too.
            let session_lives = lab.stats(0).sessions > 1;
            let early = lab.publishes(listener).len();
            assert!(!session_lives || early == 0, "delay {delay}, expiry {expiry}: too early");
            if early > 0 {
                continue;
            }
            wait(&mut lab, 1);
        }
        assert!(lab.publishes(listener).len() >= stored, "delay {delay}, expiry {expiry}: not published");
    }
}

#[test]
fn mqtt5_3_1_2_9_will_fields_must_be_there_and_are_used() {
    // Will Properties, Will Topic and Will Payload, each missing with all that follow.
    let fields = [wire::string("c"), wire::properties(&[]), wire::string("will"), wire::string("gone")];
    for present in 1..fields.len() {
        assert!(refuses(&connect_raw(0x06, &[], &fields[..present])), "{present} fields");
    }
    for qos in 0..3 {
        for publish in heard(will(qos, false, &[])) {
            assert_eq!(publish.qos, qos, "the Will QoS is used");
        }
    }
}

/// Records that say that a Will is no longer stored.
fn disarmed(lab: &Lab) -> usize {
    let records = lab.stored.iter().flat_map(|(_, records)| records);
    records.filter(|record| matches!(record, Record::WillDisarmed { .. })).count()
}

#[test]
fn mqtt5_3_1_2_10_a_will_is_removed_once_published_or_after_disconnect() {
    // Published: not again, when the Session's next connection breaks or when the Session ends.
    let (mut lab, listener) = lab_with_listener();
    let client = lab.connect_with(V5, &Connect { will: will(1, false, &[]), ..durable("client", 100) });
    let stored = stored_wills(&lab).len();
    lab.cut(client);
    let published = lab.publishes(listener).len();
    assert!(published == 0 || disarmed(&lab) == stored, "published, and still in the store");
    let again = lab.connect_with(V5, &durable("client", 100));
    lab.cut(again);
    wait(&mut lab, 1000);
    assert!(published == 0 || lab.publishes(listener).is_empty(), "published twice");
    // Cancelled by DISCONNECT with 0x00, said or left out.
    for disconnect in [wire::disconnect(), wire::disconnect_with(0x00, &[])] {
        let (mut lab, _) = lab_with_listener();
        let client = lab.connect_with(V5, &Connect { will: will(1, false, &[]), ..durable("client", 100) });
        let stored = stored_wills(&lab).len();
        lab.send(client, &disconnect);
        assert_eq!(disarmed(&lab), stored, "cancelled, and still in the store");
    }
}

#[test]
fn mqtt5_3_1_2_11_a_will_qos_without_will_is_refused() {
    for qos in [0x08, 0x10] {
        assert!(refuses(&fresh("c").bytes_with_flags(0x02 | qos)), "flags {qos:x}");
    }
}

#[test]
fn mqtt5_3_1_2_12_a_will_qos_of_3_is_refused() {
    let connect = Connect { will: will(3, false, &[]), ..fresh("c") };
    assert!(refuses(&connect.bytes()));
}

#[test]
fn mqtt5_3_1_2_13_a_will_retain_without_will_is_refused() {
    assert!(refuses(&fresh("c").bytes_with_flags(0x02 | 0x20)));
}

/// Whether a retained message is there after a Will with this Will Retain, and after a retained PUBLISH.
fn retained_after(will_retain: bool) -> (bool, bool) {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &Connect { will: will(1, will_retain, &[]), ..fresh("client") });
    publish(&mut lab, client, 0x03, "published", b"kept");
    lab.cut(client);
    let kept = retained(&mut lab, "#");
    (
        kept.iter().any(|publish| publish.topic != "published"),
        kept.iter().any(|publish| publish.topic == "published"),
    )
}

#[test]
fn mqtt5_3_1_2_14_a_will_without_will_retain_is_not_retained() {
    assert!(!retained_after(false).0);
}

#[test]
fn mqtt5_3_1_2_15_a_will_with_will_retain_is_retained() {
    let published = !heard(will(1, true, &[])).is_empty();
    let (kept, retaining_works) = retained_after(true);
    assert!(!(published && retaining_works) || kept);
}

#[test]
fn mqtt5_3_1_3_9_a_client_that_is_back_within_the_delay_leaves_no_will() {
    // The new connection comes after a break of five seconds, or while the old one still stands.
    for (expiry, takeover) in [(20, false), (100, false), (20, true), (100, true)] {
        let (mut lab, listener) = lab_with_listener();
        let connect = Connect { will: will(1, false, &long(WILL_DELAY, 10)), ..durable("client", expiry) };
        let client = lab.connect_with(V5, &connect);
        if !takeover {
            lab.cut(client);
            wait(&mut lab, 5);
        }
        let (back, answer) = connack(&mut lab, &durable("client", expiry));
        if !matches!(answer, Some(Received::ConnAck { flags, .. }) if flags & 1 == 1) {
            continue; // another Session: the old one's Will is due
        }
        wait(&mut lab, 200);
        assert!(lab.publishes(listener).is_empty(), "takeover {takeover}: in the new connection's time");
        // Nor later, unless it was taken from the store and yet not removed.
        let removed = disarmed(&lab) > 0;
        lab.cut(back);
        wait(&mut lab, 200);
        assert!(removed || lab.publishes(listener).is_empty(), "takeover {takeover}: after it");
    }
}

#[test]
fn mqtt5_3_1_3_10_user_properties_of_a_will_keep_their_order() {
    let names = ["c", "a", "b", "a", "z", ""];
    // Among others, one of which is not for the receiver.
    let mut properties = Vec::new();
    for (n, name) in names.iter().enumerate() {
        properties.extend(pair(name, n.to_string()));
        if n == 2 {
            properties.extend(long(WILL_DELAY, 0));
        }
    }
    let wanted: Vec<Vec<u8>> =
        (0..).zip(names).map(|(n, name)| format!("{name}\0{n}").into_bytes()).collect();
    for publish in heard(will(1, false, &properties)) {
        let got = publish.props.all(USER_PROPERTY);
        assert!(keeps_order(&got, &wanted), "{got:x?}");
    }
}

#[test]
fn mqtt5_3_1_3_11_a_will_topic_is_a_utf8_string() {
    for bad in NOT_UTF8 {
        let wrong = closes(&puback_with_reason_string(bad));
        // The payload may be any bytes, so the same ones do there.
        let fields = [wire::string("c"), wire::properties(&[]), wire::string(bad), wire::string(bad)];
        assert!(!wrong || refuses(&connect_raw(0x06, &[], &fields)), "{bad:x?}");
    }
}

#[test]
fn mqtt5_beyond_a_will_topic_with_wildcards_or_empty_is_refused() {
    for topic in ["", "a/+", "#"] {
        assert!(refuses(&fresh("c").with_will(topic, b"").bytes()), "{topic:?}");
    }
    let mut lab = Lab::new();
    let (_, answer) = connack(&mut lab, &fresh("c").with_will("ok", b""));
    assert!(matches!(answer, Some(Received::ConnAck { code: 0, .. })), "{answer:?}");
}
