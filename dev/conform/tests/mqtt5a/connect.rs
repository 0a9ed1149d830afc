//! CONNECT: first packet, variable header, what the server makes of it (5.0 3.1.0, 3.1.2, 3.1.4).

use std::time::Duration;

use cork_conform::{
    Lab, Received,
    wire::{self, Connect, V5},
};

use crate::steps::{
    AUTH_METHOD, MAXIMUM_PACKET_SIZE, REASON_STRING, RECEIVE_MAXIMUM, REQUEST_PROBLEM_INFO,
    REQUEST_RESPONSE_INFO, RESPONSE_INFO, TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM, USER_PROPERTY, byte, checked_lab,
    connack, connect_raw, durable, durable_with, forbid_all, fresh, lasting, long, publish, refused_connects,
    refuses, refuses_and_closes, short, subscribe, take, text, user, wait, with,
};

#[test]
fn mqtt5_3_1_0_1_a_first_packet_that_is_not_connect_closes() {
    let others = [
        wire::publish(V5, 0, "t", None, b"x"),
        wire::publish(V5, 0x02, "t", Some(1), b"x"),
        wire::subscribe(V5, 1, &[("t", 0)]),
        wire::unsubscribe(V5, 1, &["t"]),
        wire::ack(0x40, 1),
        wire::ack(0x50, 1),
        wire::ack(0x62, 1),
        wire::ack(0x70, 1),
        wire::pingreq(),
        wire::disconnect(),
        wire::auth(0x18, "m", b""),
        vec![0x20, 3, 0, 0, 0],
        vec![0x00, 0],
    ];
    for packet in others {
        let mut lab = Lab::new();
        let client = lab.open(V5);
        lab.send(client, &packet);
        assert!(lab.is_closed(client), "first packet {packet:x?}");
    }
}

#[test]
fn mqtt5_3_1_0_2_a_second_connect_closes() {
    for second in [fresh("client"), fresh("other"), durable("client", 10)] {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "client");
        lab.send(client, &second.bytes());
        assert!(lab.is_closed(client), "{second:?}");
    }
}

#[test]
fn mqtt5_3_1_2_1_another_protocol_name_closes() {
    for name in ["", "M", "MQT", "mqtt", "Mqtt", "MQTTX", "MQTT ", "AMQP"] {
        let connect = Connect { name: name.to_owned(), ..fresh("c") };
        assert!(refuses_and_closes(&connect.bytes()), "{name:?}");
    }
}

#[test]
fn mqtt5_3_1_2_2_a_protocol_version_that_is_not_spoken_closes() {
    for version in [0, 1, 2, 6, 7, 0x7F, 0xFF] {
        let mut bytes = fresh("c").bytes();
        bytes[8] = version;
        assert!(refuses_and_closes(&bytes), "version {version}");
    }
}

#[test]
fn mqtt5_3_1_2_3_the_reserved_connect_flag_closes() {
    for connect in [fresh("c"), fresh("c").with_will("w", b"")] {
        assert!(refuses(&connect.bytes_with_flags(connect.flags() | 0x01)), "{connect:?}");
    }
}

/// A Session that subscribed `t`, its connection cut.
fn session_with_subscription(lab: &mut Lab) {
    let client = lab.connect_with(V5, &durable("client", 100));
    subscribe(lab, client, "t", 1);
    lab.cut(client);
}

/// Whether `client` gets what somebody publishes to `t` now.
fn hears(lab: &mut Lab, client: cork_conform::ClientIx) -> bool {
    let sender = lab.connect(V5, "sender");
    publish(lab, sender, 0x02, "t", b"now");
    lab.payloads(client).contains(&b"now".to_vec())
}

#[test]
fn mqtt5_3_1_2_4_clean_start_discards_the_session_there_was() {
    let mut lab = Lab::new();
    session_with_subscription(&mut lab);
    let sender = lab.connect(V5, "before");
    publish(&mut lab, sender, 0x02, "t", b"queued");
    let client = lab.connect_with(V5, &Connect { clean: true, ..durable("client", 100) });
    assert!(lab.payloads(client).is_empty(), "a queued message survived");
    assert!(!hears(&mut lab, client), "a subscription survived");
}

#[test]
fn mqtt5_3_1_2_5_without_clean_start_the_session_goes_on() {
    let mut lab = Lab::new();
    session_with_subscription(&mut lab);
    let kept = lab.stats(0).sessions > 0;
    let client = lab.connect_with(V5, &durable("client", 100));
    assert!(!kept || hears(&mut lab, client));
}

#[test]
fn mqtt5_3_1_2_6_without_clean_start_and_session_there_is_a_new_one() {
    let mut lab = Lab::new();
    let other = lab.connect_with(V5, &durable("other", 100));
    subscribe(&mut lab, other, "t", 1);
    lab.cut(other);
    let before = lab.stats(0).sessions;
    let client = lab.connect_with(V5, &durable("client", 100));
    assert_eq!(lab.stats(0).sessions, before + 1, "a Session of its own");
    assert!(!hears(&mut lab, client), "it is new: nothing is subscribed");
    subscribe(&mut lab, client, "t", 1);
    assert!(hears(&mut lab, client), "and it works");
}

#[test]
fn mqtt5_3_1_2_16_a_user_name_without_its_flag_is_refused() {
    assert!(refuses(&connect_raw(0x02, &[], &[wire::string("c"), wire::string("user")])));
}

#[test]
fn mqtt5_3_1_2_17_a_user_name_flag_without_user_name_is_refused() {
    assert!(refuses(&connect_raw(0x82, &[], &[wire::string("c")])));
}

#[test]
fn mqtt5_3_1_2_18_a_password_without_its_flag_is_refused() {
    let fields = [wire::string("c"), wire::string("user"), wire::string("password")];
    assert!(refuses(&connect_raw(0x82, &[], &fields)));
}

#[test]
fn mqtt5_3_1_2_19_a_password_flag_without_password_is_refused() {
    assert!(refuses(&connect_raw(0xC2, &[], &[wire::string("c"), wire::string("user")])));
    assert!(refuses(&connect_raw(0x42, &[], &[wire::string("c")])));
}

#[test]
fn mqtt5_3_1_2_22_silence_of_one_and_a_half_keep_alive_closes() {
    for seconds in [1, 2, 10, 61, u16::MAX] {
        let grace = Duration::from_millis(u64::from(seconds) * 1500);
        let slack = Duration::from_millis(50);
        let mut lab = Lab::new();
        let client = lab.connect_with(V5, &Connect { keep_alive: seconds, ..fresh("c") });
        lab.advance(grace - slack);
        // For long times a server may have an opinion of its own; then it is another statement that it breaks.
        assert!(seconds > 60 || !lab.is_closed(client), "Keep Alive {seconds}: closed too early");
        lab.send(client, &wire::pingreq());
        lab.advance(grace - slack);
        assert!(
            seconds > 60 || !lab.is_closed(client),
            "Keep Alive {seconds}: a packet starts the time anew"
        );
        lab.advance(slack * 2);
        assert!(lab.is_closed(client), "Keep Alive {seconds}: not closed");
    }
}

#[test]
fn mqtt5_3_1_2_23_a_session_with_expiry_is_kept_after_the_connection() {
    for seconds in [1, 100, u32::MAX] {
        let mut lab = Lab::new();
        let client = lab.connect_with(V5, &lasting("client", seconds));
        lab.cut(client);
        lab.advance(Duration::from_millis(900));
        assert_eq!(lab.stats(0).sessions, 1, "Session Expiry Interval {seconds}");
    }
}

/// Everything a client with this Maximum Packet Size is sent in a busy life, packet by packet in lengths.
fn lengths_sent(maximum: u32) -> Vec<usize> {
    let mut lab = Lab::new();
    let mut connect = durable("client", 100);
    connect.properties.extend(long(MAXIMUM_PACKET_SIZE, maximum));
    connect.properties.extend(short(TOPIC_ALIAS_MAXIMUM, 10));
    connect.properties.extend(byte(REQUEST_RESPONSE_INFO, 1));
    let sender = lab.connect(V5, "sender");
    let mut bytes = Vec::new();
    for round in 0..2 {
        for length in (0..80).chain([200, 9000]) {
            let topic = format!("topic/{}", length % 7);
            let flags = [0x00, 0x02, 0x04, 0x01][length % 4];
            publish(&mut lab, sender, flags, &topic, &vec![b'x'; length]);
        }
        let client = lab.open(V5);
        lab.send(client, &connect.bytes());
        if round == 0 {
            lab.send(client, &wire::subscribe(V5, 1, &[("#", 2)]));
            lab.send(client, &wire::subscribe(V5, 2, &[("a", 0); 40]));
            lab.send(client, &wire::unsubscribe(V5, 3, &["a"; 40]));
            for length in 0..80 {
                publish(&mut lab, sender, [0x00, 0x02, 0x04][length % 3], "live/topic", &vec![b'x'; length]);
            }
        } else {
            forbid_all(&mut lab);
            lab.send(client, &wire::publish(V5, 0x02, "t", Some(9), b""));
            lab.send(client, &wire::subscribe(V5, 1, &[("t", 2)]));
            lab.send(client, &wire::publish(V5, 0x02, "#", Some(9), b""));
        }
        bytes.extend(lab.bytes(client));
        lab.cut(client);
    }
    let (mut lengths, mut rest) = (Vec::new(), &bytes[..]);
    while let Some(length) = wire::packet_length(rest) {
        lengths.push(length);
        rest = &rest[length..];
    }
    lengths
}

#[test]
fn mqtt5_3_1_2_24_no_packet_is_longer_than_the_client_allows() {
    for maximum in [1, 4, 5, 6, 16, 20, 30, 50, 70, 100] {
        let longest = lengths_sent(maximum).into_iter().max().unwrap_or(0);
        assert!(longest <= maximum as usize, "{longest} bytes for a client that takes {maximum}");
    }
}

/// Whether a message that fits reaches a client that takes packets of 50 bytes, one by one, behind some that are too
/// long; and whether the client's connection stands afterwards.
fn arrives_behind(too_long: usize, flags: u8, offline: bool) -> (bool, bool) {
    let mut lab = Lab::new();
    let limits = [long(MAXIMUM_PACKET_SIZE, 50), short(RECEIVE_MAXIMUM, 1)].concat();
    let connect = durable_with("client", 100, &limits);
    let mut client = lab.connect_with(V5, &connect);
    subscribe(&mut lab, client, "t", 2);
    let sender = lab.connect(V5, "sender");
    if offline {
        lab.cut(client);
    }
    for _ in 0..too_long {
        publish(&mut lab, sender, flags, "t", &[b'x'; 200]);
    }
    publish(&mut lab, sender, 0x02, "t", b"fits");
    if offline {
        client = lab.connect_with(V5, &connect);
    }
    let mut arrived = false;
    for _ in 0..10 {
        for publish in lab.publishes(client) {
            arrived |= publish.payload == b"fits";
            take(&mut lab, client, &publish);
        }
    }
    (arrived, !lab.is_closed(client))
}

#[test]
fn mqtt5_3_1_2_25_a_message_that_is_too_long_counts_as_sent() {
    for flags in [0x00, 0x02, 0x04] {
        for offline in [false, true] {
            let alone = arrives_behind(0, flags, offline);
            assert_eq!(arrives_behind(5, flags, offline), alone, "flags {flags:x}, offline {offline}");
        }
    }
}

/// The Topic Aliases of twenty messages on ten topics to a client with these properties.
fn aliases_sent(properties: &[u8]) -> Vec<u32> {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &with("client", properties));
    subscribe(&mut lab, client, "#", 1);
    let sender = lab.connect(V5, "sender");
    for n in 0..20 {
        publish(&mut lab, sender, 0x02, &format!("some/topic/{}", n % 10), b"");
    }
    lab.publishes(client).iter().filter_map(|publish| publish.props.number(TOPIC_ALIAS)).collect()
}

#[test]
fn mqtt5_3_1_2_26_no_topic_alias_is_above_the_clients_maximum() {
    for maximum in [1, 3, 9] {
        let aliases = aliases_sent(&short(TOPIC_ALIAS_MAXIMUM, maximum));
        assert!(aliases.iter().all(|alias| *alias <= u32::from(maximum)), "{maximum}: {aliases:?}");
    }
}

#[test]
fn mqtt5_3_1_2_27_no_topic_alias_without_a_maximum_or_with_zero() {
    assert!(aliases_sent(&[]).is_empty(), "no maximum");
    assert!(aliases_sent(&short(TOPIC_ALIAS_MAXIMUM, 0)).is_empty(), "a maximum of zero");
}

#[test]
fn mqtt5_3_1_2_28_no_response_information_unless_asked_for() {
    for properties in [Vec::new(), byte(REQUEST_RESPONSE_INFO, 0)] {
        let mut lab = Lab::new();
        if let (_, Some(Received::ConnAck { props, .. })) = connack(&mut lab, &with("c", &properties)) {
            assert_eq!(props.get(RESPONSE_INFO), None, "{properties:x?}");
        }
    }
}

#[test]
fn mqtt5_3_1_2_29_no_reason_string_in_answers_when_not_wanted() {
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &with("c", &byte(REQUEST_PROBLEM_INFO, 0)));
    forbid_all(&mut lab);
    lab.send(client, &wire::subscribe(V5, 1, &[("t", 1)]));
    lab.send(client, &wire::unsubscribe(V5, 2, &["t"]));
    lab.send(client, &wire::publish(V5, 0x02, "t", Some(3), b""));
    lab.send(client, &wire::publish(V5, 0x04, "t", Some(4), b""));
    lab.send(client, &wire::ack(0x62, 5));
    lab.send(client, &wire::ack(0x50, 6));
    for packet in lab.packets(client) {
        let (Received::SubAck { props, .. }
        | Received::UnsubAck { props, .. }
        | Received::Ack(cork_conform::Ack { props, .. })) = &packet
        else {
            continue;
        };
        assert_eq!((props.get(REASON_STRING), props.get(USER_PROPERTY)), (None, None), "{packet:?}");
    }
}

#[test]
fn mqtt5_3_1_4_1_a_connect_that_is_no_connect_closes() {
    let good = fresh("client").bytes();
    // Cut off inside each field, the Remaining Length saying so; at byte 11 all of the payload is missing, which is
    // another statement's affair.
    for length in (0..good.len() - 2).filter(|length| *length != 11) {
        assert!(refuses_and_closes(&wire::packet(0x10, &good[2..2 + length])), "cut to {length} bytes");
    }
    let cases = [
        (
            "properties longer than the packet",
            wire::packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x7F\x00\x01c"),
        ),
        ("unknown property", with("c", &[0x7E, 0]).bytes()),
        ("property of another packet", with("c", &text(0x03, "text")).bytes()),
        ("property that ends early", with("c", &[0x11, 0, 0]).bytes()),
        ("property twice", with("c", &[long(0x11, 1), long(0x11, 1)].concat()).bytes()),
        ("Receive Maximum 0", with("c", &short(RECEIVE_MAXIMUM, 0)).bytes()),
    ];
    for (name, packet) in cases {
        assert!(refuses_and_closes(&packet), "{name}");
    }
}

#[test]
fn mqtt5_3_1_4_2_a_connect_that_fails_the_checks_closes() {
    let mut lab = checked_lab();
    for connect in [user("c", "ann", "wrong"), fresh("c")] {
        let client = lab.connect_with(V5, &connect);
        assert!(lab.is_closed(client), "wrong or no password: {connect:?}");
    }
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &with("c", &text(AUTH_METHOD, "unknown")));
    assert!(lab.is_closed(client), "unknown Authentication Method");
    forbid_all(&mut lab);
    let client = lab.connect_with(V5, &fresh("c").with_will("w", b""));
    assert!(lab.is_closed(client), "Will to a forbidden topic");
}

#[test]
fn mqtt5_3_1_4_3_the_older_connection_hears_0x8e_and_is_closed() {
    for (first, second) in [
        (fresh("client"), fresh("client")),
        (lasting("client", 10), lasting("client", 10)),
        (lasting("client", 10), fresh("client")),
        (fresh("client").with_will("w", b""), lasting("client", 10)),
    ] {
        let mut lab = Lab::new();
        let old = lab.connect_with(V5, &first);
        let new = lab.connect_with(V5, &second);
        let last = lab.packets(old).pop();
        assert!(matches!(last, Some(Received::Disconnect { reason: 0x8E, .. })), "{last:?}");
        assert!(lab.is_closed(old));
        assert!(!lab.is_closed(new), "the newer one stays");
    }
}

#[test]
fn mqtt5_3_1_4_4_clean_start_is_obeyed_at_takeover_too() {
    for clean in [false, true] {
        let mut lab = Lab::new();
        let old = lab.connect_with(V5, &lasting("client", 100));
        subscribe(&mut lab, old, "t", 1);
        let new = lab.connect_with(V5, &Connect { clean, ..durable("client", 100) });
        let kept = lab.stats(0).subscriptions > 0;
        assert_eq!(hears(&mut lab, new), kept && !clean, "Clean Start {clean}");
    }
}

#[test]
fn mqtt5_3_1_4_5_a_good_connect_is_answered_by_connack_0x00() {
    let mut full = user("client", "ann", "pw").with_will("w", b"payload");
    (full.keep_alive, full.clean) = (60, true);
    for connect in [fresh("client"), lasting("client", 10), full] {
        let mut lab = Lab::new();
        let (_, answer) = connack(&mut lab, &connect);
        assert!(matches!(answer, Some(Received::ConnAck { code: 0, .. })), "{connect:?}: {answer:?}");
    }
}

#[test]
fn mqtt5_3_1_4_6_after_a_refused_connect_nothing_is_processed() {
    for (name, mut lab, connect) in refused_connects() {
        let listener = lab.connect_with(V5, &user("listener", "eve", "pw"));
        subscribe(&mut lab, listener, "#", 0);
        let client = lab.open(V5);
        let mut bytes = connect;
        bytes.extend(wire::subscribe(V5, 1, &[("t", 0)]));
        bytes.extend(wire::publish(V5, 0x03, "t", Some(1), b"smuggled"));
        bytes.extend(wire::pingreq());
        lab.send(client, &bytes);
        lab.send(client, &wire::publish(V5, 0, "t", None, b"smuggled"));
        wait(&mut lab, 1);
        let answers = lab.packets(client);
        if answers.iter().any(|packet| matches!(packet, Received::ConnAck { code: 0, .. })) {
            continue; // let in: there was no refusal
        }
        assert!(lab.payloads(listener).is_empty(), "{name}: a message was routed");
        let other = |p: &Received| !matches!(p, Received::ConnAck { .. } | Received::Disconnect { .. });
        assert!(!answers.iter().any(other), "{name}: {answers:?}");
        assert_eq!(lab.stats(0).retained, 0, "{name}: a message was retained");
    }
}
