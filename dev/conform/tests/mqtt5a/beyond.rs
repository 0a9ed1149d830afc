//! What chapters 3.1 to 3.3 ask without giving it a number; the Will is in `beyond_will`.

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Props, Received,
    wire::{self, Connect, V5},
};
use cork_core::AuthOutcome;

use crate::steps::{
    ASSIGNED_CLIENT_ID, AUTH_DATA, AUTH_METHOD, CONTENT_TYPE, CORRELATION_DATA, MAXIMUM_PACKET_SIZE,
    MESSAGE_EXPIRY, PAYLOAD_FORMAT, REASON_STRING, RECEIVE_MAXIMUM, REQUEST_PROBLEM_INFO,
    REQUEST_RESPONSE_INFO, RESPONSE_INFO, RESPONSE_TOPIC, SERVER_KEEP_ALIVE, SESSION_EXPIRY, SUBSCRIPTION_ID,
    TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM, USER_PROPERTY, byte, connack, disconnect_code, disconnect_reason,
    durable, durable_with, forbid_all, forwarded, fresh, long, pair, publish, publish_with, refusal_code,
    refuses, retained, short, sub_id, subscribe, take, text, wait, with,
};

/// The CONNACK properties of who is let in.
fn welcome(lab: &mut Lab, connect: &Connect) -> (ClientIx, Props) {
    let (client, answer) = connack(lab, connect);
    let Some(Received::ConnAck { code: 0, props, .. }) = answer else { panic!("not let in: {answer:?}") };
    (client, props)
}

// ---- CONNECT ---------------------------------------------------------------------------------------------------

#[test]
fn mqtt5_beyond_every_connect_property_is_taken_once() {
    let all = [
        long(SESSION_EXPIRY, 100),
        short(RECEIVE_MAXIMUM, 10),
        long(MAXIMUM_PACKET_SIZE, 1000),
        short(TOPIC_ALIAS_MAXIMUM, 5),
        byte(REQUEST_RESPONSE_INFO, 1),
        byte(REQUEST_PROBLEM_INFO, 1),
        text(AUTH_METHOD, "m"),
        text(AUTH_DATA, "d"),
    ];
    let mut lab = Lab::new();
    lab.on_exchange(|_, _| AuthOutcome::Allowed { user: None, data: None });
    welcome(&mut lab, &with("c", &all.concat()));
    for property in &all {
        let method = if property[0] == AUTH_DATA { text(AUTH_METHOD, "m") } else { Vec::new() };
        let twice = [&method[..], property, property].concat();
        assert_eq!(refusal_code(&with("c", &twice).bytes()), Some(0x82), "{:x} twice", property[0]);
    }
    let many: Vec<u8> = (0..100).flat_map(|n| pair("name", format!("{n}"))).collect();
    welcome(&mut lab, &with("c", &many));
}

#[test]
fn mqtt5_beyond_forbidden_values_of_connect_properties_are_protocol_errors() {
    let cases = [
        ("Receive Maximum 0", short(RECEIVE_MAXIMUM, 0)),
        ("Maximum Packet Size 0", long(MAXIMUM_PACKET_SIZE, 0)),
        ("Request Response Information 2", byte(REQUEST_RESPONSE_INFO, 2)),
        ("Request Problem Information 2", byte(REQUEST_PROBLEM_INFO, 2)),
        ("Request Problem Information 255", byte(REQUEST_PROBLEM_INFO, 255)),
        ("Authentication Data alone", text(AUTH_DATA, "x")),
    ];
    for (name, property) in cases {
        assert_eq!(refusal_code(&with("c", &property).bytes()), Some(0x82), "{name}");
        assert!(refuses(&with("c", &property).bytes()), "{name}");
    }
}

#[test]
fn mqtt5_beyond_properties_of_other_packets_make_connect_malformed() {
    let others = [
        byte(PAYLOAD_FORMAT, 0),
        long(MESSAGE_EXPIRY, 1),
        text(CONTENT_TYPE, "x"),
        text(RESPONSE_TOPIC, "x"),
        text(CORRELATION_DATA, "x"),
        sub_id(1),
        text(ASSIGNED_CLIENT_ID, "x"),
        short(SERVER_KEEP_ALIVE, 1),
        long(0x18, 1),
        text(RESPONSE_INFO, "x"),
        text(0x1C, "x"),
        text(REASON_STRING, "x"),
        short(TOPIC_ALIAS, 1),
        byte(0x24, 1),
        byte(0x25, 1),
        byte(0x28, 1),
        byte(0x29, 1),
        byte(0x2A, 1),
        vec![0x00, 0],
        vec![0x7F, 0],
    ];
    for property in others {
        assert_eq!(refusal_code(&with("c", &property).bytes()), Some(0x81), "{:x}", property[0]);
    }
}

#[test]
fn mqtt5_beyond_malformed_connects_hear_0x81() {
    let flags = fresh("c").flags();
    let cases = [
        ("reserved flag", fresh("c").bytes_with_flags(flags | 1)),
        ("Will QoS 3", fresh("c").with_will("w", b"").bytes_with_flags(0x06 | 0x18)),
        ("Will QoS without Will", fresh("c").bytes_with_flags(flags | 0x08)),
        ("Will Retain without Will", fresh("c").bytes_with_flags(flags | 0x20)),
        ("U+0000", fresh("c\0").bytes()),
        ("bytes left over", wire::packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01cX")),
        ("cut short", wire::packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x09c")),
        ("Property Length too long", wire::packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x7F\x00\x01c")),
        (
            "Property Length of five bytes",
            wire::packet(0x10, b"\x00\x04MQTT\x05\x02\0\0\x80\x80\x80\x80\x01\0\x01c"),
        ),
    ];
    for (name, packet) in cases {
        assert_eq!(refusal_code(&packet), Some(0x81), "{name}");
    }
}

#[test]
fn mqtt5_beyond_an_unfinished_connect_is_not_waited_for_for_ever() {
    let mut lab = Lab::new();
    let (silent, half) = (lab.open(V5), lab.open(V5));
    lab.send(half, &fresh("c").bytes()[..8]);
    wait(&mut lab, 60);
    assert!(lab.is_closed(silent) && lab.is_closed(half));
    let slow = lab.open(V5);
    for byte in fresh("slow").bytes() {
        lab.send(slow, &[byte]);
        lab.advance(Duration::from_millis(100));
    }
    assert!(!lab.is_closed(slow));
}

// ---- CONNACK ---------------------------------------------------------------------------------------------------

#[test]
fn mqtt5_beyond_connack_says_what_differs_from_the_defaults() {
    let mut lab = Lab::with(|config| {
        config.limits.receive_maximum = 7;
        config.limits.packet_bytes_max = 5000;
        config.limits.topic_alias_maximum = 3;
        config.limits.keep_alive_seconds_max = 50;
        config.limits.session_expiry_seconds_max = 1000;
    });
    let asked = Connect { keep_alive: 60, ..durable("c", 2000) };
    let (_, props) = welcome(&mut lab, &asked);
    for (property, value) in [
        (RECEIVE_MAXIMUM, 7),
        (MAXIMUM_PACKET_SIZE, 5000),
        (TOPIC_ALIAS_MAXIMUM, 3),
        (SERVER_KEEP_ALIVE, 50),
        (SESSION_EXPIRY, 1000),
    ] {
        assert_eq!(props.number(property), Some(value), "{property:x}");
    }
    // What the broker has, it has without saying so; nothing was assigned, nothing asked for.
    for property in [0x24, 0x25, 0x28, 0x29, 0x2A, ASSIGNED_CLIENT_ID, RESPONSE_INFO, AUTH_METHOD] {
        assert!(props.number(property).unwrap_or(1) == 1, "{property:x}");
    }
    let modest = Connect { keep_alive: 40, ..durable("c", 500) };
    let (_, props) = welcome(&mut lab, &modest);
    assert_eq!((props.get(SERVER_KEEP_ALIVE), props.get(SESSION_EXPIRY)), (None, None), "as asked");
}

#[test]
fn mqtt5_beyond_server_keep_alive_counts_instead_of_the_clients() {
    for asked in [0, 60, u16::MAX] {
        let mut lab = Lab::with(|config| config.limits.keep_alive_seconds_max = 10);
        let (client, props) = welcome(&mut lab, &Connect { keep_alive: asked, ..fresh("c") });
        assert_eq!(props.number(SERVER_KEEP_ALIVE), Some(10), "asked for {asked}");
        lab.advance(Duration::from_millis(14_900));
        assert!(!lab.is_closed(client), "asked for {asked}");
        lab.advance(Duration::from_millis(200));
        assert!(lab.is_closed(client), "asked for {asked}");
        assert_eq!(disconnect_reason(&mut lab, client), Some(0x8D));
    }
}

#[test]
fn mqtt5_beyond_response_information_comes_when_asked_for_and_is_the_clients_own() {
    let mut lab = Lab::new();
    let (_, one) = welcome(&mut lab, &with("one", &byte(REQUEST_RESPONSE_INFO, 1)));
    let (_, two) = welcome(&mut lab, &with("two", &byte(REQUEST_RESPONSE_INFO, 1)));
    let (one, two) = (one.text(RESPONSE_INFO), two.text(RESPONSE_INFO));
    assert!(one.is_some() && two.is_some() && one != two, "{one:?} {two:?}");
}

#[test]
fn mqtt5_beyond_problem_information_is_there_unless_declined() {
    for property in [Vec::new(), byte(REQUEST_PROBLEM_INFO, 1)] {
        let mut lab = Lab::new();
        let (client, _) = welcome(&mut lab, &with("c", &property));
        forbid_all(&mut lab);
        lab.send(client, &wire::subscribe(V5, 1, &[("t", 1)]));
        lab.send(client, &wire::publish(V5, 0x02, "t", Some(3), b""));
        for packet in lab.packets(client) {
            let (Received::SubAck { props, .. } | Received::Ack(cork_conform::Ack { props, .. })) = &packet
            else {
                panic!("{packet:?}");
            };
            assert!(props.get(REASON_STRING).is_some(), "{packet:?}");
        }
    }
}

#[test]
fn mqtt5_beyond_an_assigned_identifier_can_be_used_again() {
    let mut lab = Lab::new();
    let (client, props) = welcome(&mut lab, &durable("", 100));
    let id = props.text(ASSIGNED_CLIENT_ID).expect("an identifier");
    subscribe(&mut lab, client, "t", 1);
    lab.cut(client);
    let (client, props) = welcome(&mut lab, &durable(&id, 100));
    assert_eq!(props.get(ASSIGNED_CLIENT_ID), None, "it was given");
    let sender = lab.connect(V5, "sender");
    publish(&mut lab, sender, 0x02, "t", b"x");
    assert_eq!(lab.payloads(client), [b"x"]);
}

#[test]
fn mqtt5_beyond_session_present_ends_with_a_clean_start_and_begins_anew() {
    let mut lab = Lab::new();
    let mut present = |connect: &Connect| {
        let (client, answer) = connack(&mut lab, connect);
        lab.cut(client);
        matches!(answer, Some(Received::ConnAck { flags: 1, code: 0, .. }))
    };
    let keep = durable("c", 100);
    let clean = Connect { clean: true, ..keep.clone() };
    let last = Connect { clean: false, ..fresh("c") };
    let sequence = [&keep, &keep, &clean, &keep, &last, &keep].map(&mut present);
    assert_eq!(sequence, [false, true, false, true, true, false]);
}

// ---- Session expiry --------------------------------------------------------------------------------------------

/// Whether a Session is there some seconds after its connection ended.
fn session_after(expiry: u32, disconnect: Option<u32>, seconds: u64) -> bool {
    let mut lab = Lab::with(|config| config.limits.session_expiry_seconds_max = u32::MAX);
    let client = lab.connect_with(V5, &durable("c", expiry));
    match disconnect {
        Some(changed) => lab.send(client, &wire::disconnect_with(0, &long(SESSION_EXPIRY, changed))),
        None => lab.cut(client),
    }
    wait(&mut lab, seconds);
    lab.stats(0).sessions > 0
}

#[test]
fn mqtt5_beyond_a_session_lives_exactly_as_long_as_agreed() {
    for (expiry, changed, seconds, there) in [
        (0, None, 0, false),
        (10, None, 9, true),
        (10, None, 10, false),
        (u32::MAX, None, 5_000_000_000, true),
        (10, Some(20), 19, true),
        (10, Some(20), 20, false),
        (20, Some(10), 10, false),
        (10, Some(0), 0, false),
        (10, Some(u32::MAX), 5_000_000_000, true),
        (u32::MAX, Some(5), 5, false),
        (0, Some(0), 0, false),
    ] {
        assert_eq!(
            session_after(expiry, changed, seconds),
            there,
            "{expiry}, {changed:?}, after {seconds} s"
        );
    }
}

#[test]
fn mqtt5_beyond_a_session_expiry_of_zero_cannot_be_raised_at_the_end() {
    for expiry in [1, u32::MAX] {
        let packet = wire::disconnect_with(0, &long(SESSION_EXPIRY, expiry));
        assert_eq!(disconnect_code(&packet), Some(0x82));
        assert!(!session_after(0, Some(expiry), 0), "the Session is gone all the same");
    }
}

#[test]
fn mqtt5_beyond_each_connect_agrees_on_the_session_expiry_anew() {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &durable("c", 10));
    lab.cut(client);
    wait(&mut lab, 5);
    let client = lab.connect_with(V5, &durable("c", 30));
    wait(&mut lab, 100);
    lab.cut(client);
    wait(&mut lab, 29);
    assert_eq!(lab.stats(0).sessions, 1, "a connected Session does not expire; then 30 s count, not 10");
    wait(&mut lab, 1);
    assert_eq!(lab.stats(0).sessions, 0);
}

// ---- Topic aliases, Receive Maximum, Maximum Packet Size -------------------------------------------------------

#[test]
fn mqtt5_beyond_topic_aliases_of_a_client_work_and_can_be_changed() {
    let mut lab = Lab::new();
    let receiver = lab.connect(V5, "receiver");
    subscribe(&mut lab, receiver, "#", 1);
    let sender = lab.connect(V5, "sender");
    for (topic, alias) in [("one", 1), ("", 1), ("two", 2), ("", 1), ("three", 1), ("", 1), ("", 2)] {
        publish_with(&mut lab, sender, 0x02, topic, &short(TOPIC_ALIAS, alias), b"");
    }
    let got = lab.publishes(receiver);
    let topics: Vec<&str> = got.iter().map(|publish| publish.topic.as_str()).collect();
    assert_eq!(topics, ["one", "one", "two", "one", "three", "three", "two"]);
    assert!(
        got.iter().all(|publish| publish.props.get(TOPIC_ALIAS).is_none()),
        "the sender's aliases are its own"
    );
    // Aliases of one client mean nothing to another.
    let other = lab.connect(V5, "other");
    publish_with(&mut lab, other, 0, "", &short(TOPIC_ALIAS, 1), b"");
    assert!(lab.is_closed(other));
}

#[test]
fn mqtt5_beyond_wrong_topic_aliases_have_their_reason_codes() {
    let alias = |alias, topic: &str| wire::publish_with(V5, 0, topic, None, &short(TOPIC_ALIAS, alias), b"");
    assert_eq!(disconnect_code(&alias(0, "t")), Some(0x94), "0");
    assert_eq!(disconnect_code(&alias(u16::MAX, "t")), Some(0x94), "above the maximum");
    assert!(matches!(disconnect_code(&alias(1, "")), Some(0x82 | 0x94)), "not defined");
    assert_eq!(disconnect_code(&wire::publish(V5, 0, "", None, b"")), Some(0x82), "neither topic nor alias");
    let twice = [short(TOPIC_ALIAS, 1), short(TOPIC_ALIAS, 1)].concat();
    assert_eq!(disconnect_code(&wire::publish_with(V5, 0, "t", None, &twice, b"")), Some(0x82), "twice");
}

#[test]
fn mqtt5_beyond_the_broker_uses_the_aliases_a_client_allows() {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &with("c", &short(TOPIC_ALIAS_MAXIMUM, 2)));
    subscribe(&mut lab, client, "#", 1);
    let sender = lab.connect(V5, "sender");
    for topic in ["long/topic/1", "long/topic/1", "long/topic/2", "long/topic/3", "long/topic/2"] {
        publish(&mut lab, sender, 0x02, topic, b"");
    }
    let got: Vec<_> =
        lab.publishes(client).into_iter().map(|p| (p.props.number(TOPIC_ALIAS), p.topic)).collect();
    let wanted = [
        (Some(1), "long/topic/1"),
        (Some(1), ""),
        (Some(2), "long/topic/2"),
        (None, "long/topic/3"),
        (Some(2), ""),
    ];
    assert_eq!(got, wanted.map(|(alias, topic)| (alias, topic.to_owned())));
}

#[test]
fn mqtt5_beyond_too_much_under_way_is_0x93_and_too_long_is_0x95() {
    let mut lab = Lab::with(|config| {
        config.limits.receive_maximum = 2;
        config.limits.packet_bytes_max = 100;
    });
    let client = lab.connect(V5, "c");
    for id in 1..4 {
        lab.send(client, &wire::publish(V5, 0x04, "t", Some(id), b""));
    }
    assert_eq!(disconnect_reason(&mut lab, client), Some(0x93));
    let client = lab.connect(V5, "c");
    lab.send(client, &wire::publish(V5, 0, "t", None, &[0; 200]));
    assert_eq!(disconnect_reason(&mut lab, client), Some(0x95));
    // A PUBLISH that is sent again is no new one; QoS 0 is not counted.
    let client = lab.connect(V5, "c");
    for id in [1, 2, 1, 2, 1] {
        lab.send(client, &wire::publish(V5, 0x0C, "t", Some(id), b""));
        lab.send(client, &wire::publish(V5, 0x00, "t", None, b""));
    }
    assert!(!lab.is_closed(client));
}

#[test]
fn mqtt5_beyond_a_refused_qos_2_publish_is_no_longer_under_way() {
    let mut lab = Lab::with(|config| config.limits.receive_maximum = 2);
    let client = lab.connect(V5, "c");
    forbid_all(&mut lab);
    for id in 1..20 {
        lab.send(client, &wire::publish(V5, 0x04, "t", Some(id), b""));
        lab.send(client, &wire::publish(V5, 0x02, "t", Some(id), b""));
    }
    assert!(!lab.is_closed(client));
    assert!(lab.acks(client).iter().all(|ack| ack.reason == 0x87));
}

#[test]
fn mqtt5_beyond_receive_maximum_holds_for_resent_messages_and_all_arrive_in_order() {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &durable("c", 100));
    subscribe(&mut lab, client, "t", 2);
    let sender = lab.connect(V5, "sender");
    for n in 0..6u8 {
        publish(&mut lab, sender, if n % 2 == 0 { 0x02 } else { 0x04 }, "t", &[n]);
    }
    lab.cut(client);
    for n in 6..9u8 {
        publish(&mut lab, sender, 0x02, "t", &[n]);
    }
    let client = lab.connect_with(V5, &durable_with("c", 100, &short(RECEIVE_MAXIMUM, 2)));
    let mut payloads = Vec::new();
    for _ in 0..20 {
        let got = lab.publishes(client);
        assert!(got.len() <= 2, "{got:?}");
        for publish in &got {
            payloads.push(publish.payload[0]);
            assert_eq!(publish.dup, publish.payload[0] < 6);
        }
        for publish in &got {
            take(&mut lab, client, publish);
        }
    }
    assert_eq!(payloads, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn mqtt5_beyond_maximum_packet_size_is_exact() {
    // 2 bytes of fixed header, 3 of topic, 1 of property length, then the payload.
    for (maximum, arrives) in [(16, true), (15, false)] {
        let mut lab = Lab::new();
        let client = lab.connect_with(V5, &with("c", &long(MAXIMUM_PACKET_SIZE, maximum)));
        subscribe(&mut lab, client, "t", 0);
        let sender = lab.connect(V5, "sender");
        publish(&mut lab, sender, 0, "t", &[0; 10]);
        assert_eq!(!lab.publishes(client).is_empty(), arrives, "{maximum}");
        assert_eq!(retained(&mut lab, "t").len(), 0);
    }
}

// ---- PUBLISH properties ----------------------------------------------------------------------------------------

#[test]
fn mqtt5_beyond_publish_properties_appear_once_with_legal_values() {
    let cases = [
        ("Payload Format Indicator twice", [byte(PAYLOAD_FORMAT, 1), byte(PAYLOAD_FORMAT, 1)].concat(), 0x82),
        ("Payload Format Indicator 2", byte(PAYLOAD_FORMAT, 2), 0x82),
        ("Message Expiry twice", [long(MESSAGE_EXPIRY, 1), long(MESSAGE_EXPIRY, 1)].concat(), 0x82),
        ("Content Type twice", [text(CONTENT_TYPE, "a"), text(CONTENT_TYPE, "a")].concat(), 0x82),
        ("Response Topic twice", [text(RESPONSE_TOPIC, "a"), text(RESPONSE_TOPIC, "a")].concat(), 0x82),
        ("Correlation Data twice", [text(CORRELATION_DATA, "a"), text(CORRELATION_DATA, "a")].concat(), 0x82),
        ("Subscription Identifier", sub_id(1), 0x82),
        ("Session Expiry", long(SESSION_EXPIRY, 1), 0x81),
        ("Reason String", text(REASON_STRING, "x"), 0x81),
        ("Will Delay", long(0x18, 1), 0x81),
        ("unknown", vec![0x7E, 0], 0x81),
    ];
    for (name, props, code) in cases {
        assert_eq!(disconnect_code(&wire::publish_with(V5, 0, "t", None, &props, b"")), Some(code), "{name}");
    }
}

#[test]
fn mqtt5_beyond_all_publish_properties_arrive_together() {
    let props = [
        byte(PAYLOAD_FORMAT, 1),
        pair("a", "1"),
        long(MESSAGE_EXPIRY, 60),
        text(CONTENT_TYPE, "text/plain"),
        pair("a", "2"),
        text(RESPONSE_TOPIC, "answer"),
        text(CORRELATION_DATA, [0, 1, 2]),
        short(TOPIC_ALIAS, 1),
    ];
    let got = forwarded(&props.concat());
    let got = &got.first().expect("it arrives").props;
    assert_eq!(got.number(PAYLOAD_FORMAT), Some(1));
    assert_eq!(got.number(MESSAGE_EXPIRY), Some(60));
    assert_eq!(got.text(CONTENT_TYPE).as_deref(), Some("text/plain"));
    assert_eq!(got.text(RESPONSE_TOPIC).as_deref(), Some("answer"));
    assert_eq!(got.get(CORRELATION_DATA), Some(&[0, 1, 2][..]));
    assert_eq!(got.all(USER_PROPERTY), [b"a\x001", b"a\x002"]);
    assert_eq!(got.0.len(), 7, "and nothing else: {got:?}");
}

#[test]
fn mqtt5_beyond_an_expiry_of_zero_reaches_those_who_are_there_only() {
    let mut lab = Lab::new();
    let live = lab.connect(V5, "live");
    subscribe(&mut lab, live, "t", 1);
    let sender = lab.connect(V5, "sender");
    publish_with(&mut lab, sender, 0x03, "t", &long(MESSAGE_EXPIRY, 0), b"x");
    assert_eq!(lab.publishes(live).len(), 1);
    wait(&mut lab, 1);
    assert!(retained(&mut lab, "t").is_empty());
}

#[test]
fn mqtt5_beyond_a_payload_that_is_not_the_utf8_it_claims_is_0x99_when_checked() {
    let mut lab = Lab::with(|config| config.limits.payload_format_check = true);
    let listener = lab.connect(V5, "listener");
    subscribe(&mut lab, listener, "#", 0);
    let claim = byte(PAYLOAD_FORMAT, 1);
    for (flags, first) in [(0x02, 0x40), (0x04, 0x50)] {
        let client = lab.connect(V5, "c");
        lab.send(client, &wire::publish_with(V5, flags, "t", Some(1), &claim, b"\xFF"));
        let answers: Vec<_> = lab.acks(client).into_iter().map(|ack| (ack.first, ack.reason)).collect();
        assert_eq!(answers, [(first, 0x99)]);
    }
    let client = lab.connect(V5, "c");
    lab.send(client, &wire::publish_with(V5, 0, "t", None, &claim, "\u{E4}".as_bytes()));
    lab.send(client, &wire::publish_with(V5, 0, "t", None, &byte(PAYLOAD_FORMAT, 0), b"\xFF"));
    assert_eq!(lab.payloads(listener), ["\u{E4}".as_bytes(), b"\xFF"]);
    lab.send(client, &wire::publish_with(V5, 0, "t", None, &claim, b"\xFF"));
    assert_eq!(disconnect_reason(&mut lab, client), Some(0x99));
    assert!(lab.payloads(listener).is_empty());
}

// ---- Subscription options, as far as they say what is published to whom ----------------------------------------

#[test]
fn mqtt5_beyond_no_local_keeps_a_clients_own_messages_away() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "c");
    lab.send(client, &wire::subscribe(V5, 1, &[("own", 0x05), ("both", 0x05), ("both/#", 0x01)]));
    let other = lab.connect(V5, "other");
    publish(&mut lab, client, 0x02, "own", b"mine");
    publish(&mut lab, other, 0x02, "own", b"theirs");
    assert_eq!(lab.payloads(client), [&b"theirs"[..]]);
    publish(&mut lab, client, 0x02, "both", b"mine");
    assert_eq!(lab.payloads(client), [b"mine"], "another subscription wants it");
    // Only the option of today counts.
    lab.send(client, &wire::subscribe(V5, 1, &[("own", 0x01)]));
    publish(&mut lab, client, 0x02, "own", b"mine");
    assert_eq!(lab.payloads(client), [b"mine"]);
    assert_eq!(disconnect_code(&wire::subscribe(V5, 1, &[("$share/g/t", 0x04)])), Some(0x82));
}

#[test]
fn mqtt5_beyond_retained_messages_come_with_retain_and_identifier() {
    let mut lab = Lab::new();
    let sender = lab.connect(V5, "sender");
    publish(&mut lab, sender, 0x03, "t", b"x");
    for options in [0x01, 0x09, 0x02] {
        let client = lab.connect(V5, "c");
        lab.send(client, &wire::subscribe_with(V5, 1, &sub_id(300), &[("t", options)]));
        let packets = lab.packets(client);
        assert!(matches!(packets.first(), Some(Received::SubAck { .. })), "SUBACK first: {packets:?}");
        let [got] = &packets.into_iter().filter_map(Received::into_publish).collect::<Vec<_>>()[..] else {
            panic!("one message")
        };
        assert!(got.retain, "options {options:x}");
        assert_eq!(got.props.number(SUBSCRIPTION_ID), Some(300));
        assert_eq!(got.qos, 1, "the message's QoS is the most");
    }
    assert_eq!(disconnect_code(&wire::subscribe(V5, 1, &[("t", 0x30)])), Some(0x82), "Retain Handling 3");
}

#[test]
fn mqtt5_beyond_a_subscription_identifier_is_changed_and_dropped_by_subscribing_again() {
    let mut lab = Lab::new();
    let client = lab.connect(V5, "c");
    let sender = lab.connect(V5, "sender");
    let mut seen = Vec::new();
    for id in [5, 6, 0] {
        let props = if id == 0 { Vec::new() } else { sub_id(id) };
        lab.send(client, &wire::subscribe_with(V5, 1, &props, &[("t", 0)]));
        publish(&mut lab, sender, 0, "t", b"");
        seen.extend(lab.publishes(client).iter().map(|publish| publish.props.number(SUBSCRIPTION_ID)));
    }
    assert_eq!(seen, [Some(5), Some(6), None]);
    for wrong in [sub_id(0), [sub_id(1), sub_id(2)].concat()] {
        assert_eq!(disconnect_code(&wire::subscribe_with(V5, 1, &wrong, &[("t", 0)])), Some(0x82));
    }
}
