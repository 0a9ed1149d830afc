//! CONNACK (5.0 3.2).

use std::time::Duration;

use cork_conform::{
    Lab, Props, Received,
    wire::{self, Connect, V5},
};
use cork_core::AuthOutcome;

use crate::steps::{
    ASSIGNED_CLIENT_ID, AUTH_METHOD, MAXIMUM_PACKET_SIZE, MAXIMUM_QOS, REASON_STRING, REQUEST_RESPONSE_INFO,
    RETAIN_AVAILABLE, SERVER_KEEP_ALIVE, USER_PROPERTY, closes, connack, durable, durable_with, fresh,
    lasting, let_in, long, publish, refused_connects, subscribe, text, with,
};

/// The CONNACKs among packets: flags, code, properties.
fn connacks(packets: Vec<Received>) -> Vec<(u8, u8, Props)> {
    let connacks = packets.into_iter().filter_map(|packet| match packet {
        Received::ConnAck { flags, code, props } => Some((flags, code, props)),
        _ => None,
    });
    connacks.collect()
}

/// The CONNACK properties of a new broker that lets a client in.
fn welcome(connect: &Connect) -> Props {
    let mut lab = Lab::new();
    match connack(&mut lab, connect).1 {
        Some(Received::ConnAck { code: 0, props, .. }) => props,
        _ => Props::default(),
    }
}

/// All packets before the first CONNACK; all, if there is none.
fn before_welcome(packets: Vec<Received>) -> Vec<Received> {
    packets.into_iter().take_while(|packet| !matches!(packet, Received::ConnAck { .. })).collect()
}

#[test]
fn mqtt5_3_2_0_1_nothing_but_auth_comes_before_connack() {
    // A Session with flights, a queue and retained messages on their way.
    let mut lab = Lab::new();
    let client = lab.connect_with(V5, &lasting("client", 100));
    let sender = lab.connect(V5, "sender");
    subscribe(&mut lab, client, "#", 2);
    publish(&mut lab, sender, 0x02, "t", b"in flight");
    publish(&mut lab, sender, 0x04, "t", b"in flight");
    lab.cut(client);
    publish(&mut lab, sender, 0x03, "t", b"queued");
    lab.pause_store();
    let client = lab.open(V5);
    let mut bytes = durable("client", 100).with_will("w", b"").bytes();
    bytes.extend(wire::subscribe(V5, 1, &[("#", 1)]));
    bytes.extend(wire::pingreq());
    lab.send(client, &bytes);
    publish(&mut lab, sender, 0x00, "t", b"live");
    publish(&mut lab, sender, 0x02, "t", b"live");
    let mut packets = lab.packets(client);
    lab.store_answers();
    packets.extend(lab.packets(client));
    assert_eq!(before_welcome(packets), [], "CONNACK is held back, and nothing overtakes it");
    // A takeover, everything in one turn.
    let second = lab.open(V5);
    lab.send(second, &bytes);
    let packets = lab.packets(second);
    assert_eq!(before_welcome(packets), [], "takeover");
    // An exchange of AUTH packets.
    let mut lab = Lab::new();
    lab.on_exchange(|begin, _| match begin {
        Some(_) => AuthOutcome::Continue { data: b"go on".to_vec() },
        None => AuthOutcome::Allowed { user: None, data: None },
    });
    let client = lab.open(V5);
    let mut bytes = with("client", &text(AUTH_METHOD, "m")).bytes();
    bytes.extend(wire::auth(0x18, "m", b"answer"));
    bytes.extend(wire::pingreq());
    lab.send(client, &bytes);
    let early = before_welcome(lab.packets(client));
    assert!(early.iter().all(|packet| matches!(packet, Received::Auth { .. })), "{early:?}");
}

#[test]
fn mqtt5_3_2_0_2_there_is_one_connack_at_most() {
    for second in [fresh("client"), fresh("other"), with("client", &long(0x11, 5))] {
        let mut lab = Lab::new();
        let client = lab.open(V5);
        lab.send(client, &fresh("client").bytes());
        lab.send(client, &second.bytes());
        assert!(connacks(lab.packets(client)).len() <= 1, "a second CONNECT");
    }
    let mut lab = Lab::new();
    lab.on_exchange(|_, _| AuthOutcome::Allowed { user: None, data: None });
    let client = lab.open(V5);
    lab.send(client, &with("client", &text(AUTH_METHOD, "m")).bytes());
    lab.send(client, &wire::auth(0x19, "m", b""));
    assert!(connacks(lab.packets(client)).len() <= 1, "re-authentication");
    for (name, mut lab, connect) in refused_connects() {
        let client = lab.open(V5);
        lab.send(client, &connect);
        assert!(connacks(lab.packets(client)).len() <= 1, "{name}");
    }
}

#[test]
fn mqtt5_3_2_2_1_the_upper_flags_of_connack_are_0() {
    let mut lab = Lab::new();
    let mut all = Vec::new();
    for connect in [durable("client", 100), durable("client", 100), fresh("client"), fresh("")] {
        let client = lab.open(V5);
        lab.send(client, &connect.bytes());
        all.extend(connacks(lab.packets(client)));
    }
    for (_, mut lab, connect) in refused_connects() {
        let client = lab.open(V5);
        lab.send(client, &connect);
        all.extend(connacks(lab.packets(client)));
    }
    for (flags, code, _) in all {
        assert_eq!(flags & 0xFE, 0, "with code {code:x}");
    }
}

#[test]
fn mqtt5_3_2_2_2_clean_start_is_answered_without_session_present() {
    let mut lab = Lab::new();
    let sender = lab.connect(V5, "sender");
    let first = lab.connect_with(V5, &durable("client", 100));
    subscribe(&mut lab, first, "t", 1);
    for cut in [true, false] {
        if cut {
            lab.cut(first);
        }
        let clean = Connect { clean: true, ..durable("client", 100) };
        let (client, answer) = connack(&mut lab, &clean);
        publish(&mut lab, sender, 0x02, "t", b"x");
        // If the old Session goes on in spite of Clean Start, then that is what is wrong.
        let goes_on = !lab.publishes(client).is_empty();
        if let Some(Received::ConnAck { flags, code: 0, .. }) = answer {
            assert!(flags & 1 == 0 || goes_on, "old connection cut: {cut}");
        }
    }
}

#[test]
fn mqtt5_3_2_2_3_session_present_tells_whether_there_was_a_session() {
    // First connection's expiry, and how long the client is away. Whether the Session is there is asked of the
    // subscription made before.
    for (expiry, away) in [(0, 0), (100, 0), (100, 50), (10, 9), (10, 11), (u32::MAX, 1_000_000)] {
        let mut lab = Lab::with(|config| config.limits.session_expiry_seconds_max = u32::MAX);
        let first = lab.connect_with(V5, &Connect { clean: true, ..durable("client", expiry) });
        subscribe(&mut lab, first, "t", 1);
        lab.cut(first);
        lab.advance(Duration::from_secs(away));
        let (client, answer) = connack(&mut lab, &durable("client", 100));
        let sender = lab.connect(V5, "sender");
        publish(&mut lab, sender, 0x02, "t", b"x");
        let was_there = !lab.publishes(client).is_empty();
        if let Some(Received::ConnAck { flags, code: 0, .. }) = answer {
            assert_eq!(flags & 1 == 1, was_there, "expiry {expiry}, away for {away} s");
        }
    }
}

#[test]
fn mqtt5_3_2_2_6_a_refusal_says_no_session_present() {
    for (name, mut lab, connect) in refused_connects() {
        let client = lab.open(V5);
        lab.send(client, &connect);
        for (flags, code, _) in connacks(lab.packets(client)) {
            assert!(code == 0 || flags & 1 == 0, "{name}: flags {flags:x}, code {code:x}");
        }
    }
}

#[test]
fn mqtt5_3_2_2_7_after_a_refusal_the_connection_is_closed() {
    for (name, mut lab, connect) in refused_connects() {
        let client = lab.open(V5);
        lab.send(client, &connect);
        let refused = connacks(lab.packets(client)).iter().any(|(_, code, _)| *code >= 0x80);
        assert!(!refused || lab.is_closed(client), "{name}");
    }
}

#[test]
fn mqtt5_3_2_2_8_connack_has_one_of_its_reason_codes() {
    let known = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
        0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
    ];
    for (name, mut lab, connect) in refused_connects() {
        let client = lab.open(V5);
        lab.send(client, &connect);
        for (_, code, _) in connacks(lab.packets(client)) {
            assert!(known.contains(&code), "{name}: {code:x}");
        }
    }
    let mut lab = Lab::new();
    let odd = [
        fresh("c").with_will("a/#", b"").bytes(),
        with("c", &[0x7F]).bytes(),
        with("c", &[0x21, 0, 0]).bytes(),
        wire::packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x09c"),
        fresh("c").bytes(),
    ];
    for connect in odd {
        let client = lab.open(V5);
        lab.send(client, &connect);
        for (_, code, _) in connacks(lab.packets(client)) {
            assert!(known.contains(&code), "{code:x} for {connect:x?}");
        }
    }
}

#[test]
fn mqtt5_3_2_2_9_maximum_qos_is_announced_unless_all_qos_are_supported() {
    let most = welcome(&fresh("c")).number(MAXIMUM_QOS).unwrap_or(2);
    let mut lab = Lab::new();
    let client = lab.connect(V5, "c");
    for (qos, flags) in [(1, 0x02), (2, 0x04)] {
        if qos <= most {
            lab.send(client, &wire::publish(V5, flags, "t", Some(5), b""));
            assert!(!lab.is_closed(client), "QoS {qos} is not supported, and CONNACK does not say so");
        }
    }
}

#[test]
fn mqtt5_3_2_2_10_subscriptions_of_every_qos_are_taken() {
    for qos in 0..3 {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "c");
        lab.send(client, &wire::subscribe(V5, 1, &[("t", qos)]));
        assert!(!lab.is_closed(client), "QoS {qos}");
        for packet in lab.packets(client) {
            if let Received::SubAck { codes, .. } = packet {
                assert!(codes.iter().all(|code| *code <= 2), "QoS {qos}: {codes:x?}");
            }
        }
    }
}

#[test]
fn mqtt5_3_2_2_12_a_will_qos_is_refused_only_above_the_maximum() {
    let most = welcome(&fresh("c")).number(MAXIMUM_QOS).unwrap_or(2);
    for qos in 0..3u8 {
        let mut connect = fresh("c").with_will("w", b"");
        connect.will = connect.will.map(|will| wire::Will { qos, ..will });
        let mut lab = Lab::new();
        let (client, _) = connack(&mut lab, &connect);
        assert_eq!(lab.is_closed(client), u32::from(qos) > most, "Will QoS {qos}, Maximum QoS {most}");
    }
}

#[test]
fn mqtt5_3_2_2_13_a_will_retain_is_refused_only_without_retained_messages() {
    let available = welcome(&fresh("c")).number(RETAIN_AVAILABLE).unwrap_or(1) == 1;
    let mut connect = fresh("c").with_will("w", b"");
    connect.will = connect.will.map(|will| wire::Will { retain: true, ..will });
    let mut lab = Lab::new();
    let (client, _) = connack(&mut lab, &connect);
    assert_eq!(lab.is_closed(client), !available);
}

#[test]
fn mqtt5_3_2_2_15_a_packet_above_the_brokers_maximum_closes() {
    for (over, whole) in [(0, true), (1, true), (1, false), (1_000_000, false)] {
        let mut lab = Lab::with(|config| config.limits.packet_bytes_max = 1000);
        let client = lab.connect(V5, "c");
        // 3 bytes of fixed header, 3 of topic, 1 of property length.
        let packet = wire::publish(V5, 0, "t", None, &vec![0; 1000 - 7 + over]);
        // Its beginning says how long it will be.
        lab.send(client, if whole { &packet } else { &packet[..10] });
        assert_eq!(lab.is_closed(client), over > 0, "{over} bytes over, whole {whole}");
    }
}

#[test]
fn mqtt5_3_2_2_16_without_client_identifier_a_new_one_is_assigned() {
    let mut lab = Lab::new();
    let mut taken: Vec<String> = Vec::new();
    for n in 0..20 {
        let before = let_in(&lab);
        let (_, answer) = connack(&mut lab, &durable("", 100));
        let Some(Received::ConnAck { code: 0, props, .. }) = answer else { continue };
        let id = props.text(ASSIGNED_CLIENT_ID).unwrap_or_default();
        assert!(!id.is_empty(), "connection {n} has no identifier");
        assert!(!taken.contains(&id) && !before.contains(&id), "{id:?} is somebody else's");
        taken.push(id);
        lab.connect(V5, &format!("named {n}"));
    }
}

/// The answers to CONNECTs that are taken and refused, of a client that takes packets up to `maximum`; with their
/// lengths.
fn connacks_within(maximum: u32) -> Vec<(usize, Received)> {
    let limit = long(MAXIMUM_PACKET_SIZE, maximum);
    let connects = [
        with("c", &limit),
        durable_with("", 100, &limit),
        with("c", &[&limit[..], &[REQUEST_RESPONSE_INFO, 1]].concat()),
        with("c", &[limit, text(AUTH_METHOD, "unknown")].concat()),
    ];
    // Two brokers that do the same: one is asked for the bytes, one for what they say.
    let answered = |connect: &Connect, draining: bool| {
        let mut lab = Lab::new();
        if draining {
            lab.drain();
        }
        let client = lab.open(V5);
        lab.send(client, &connect.bytes());
        (lab, client)
    };
    let mut all = Vec::new();
    for (connect, draining) in connects.iter().flat_map(|connect| [(connect, false), (connect, true)]) {
        let (mut lab, client) = answered(connect, draining);
        let length = wire::packet_length(&lab.bytes(client)).unwrap_or(0);
        let (mut lab, client) = answered(connect, draining);
        all.extend(lab.take_one(client).map(|packet| (length, packet)));
    }
    all
}

/// A CONNACK with this property is never longer than its client allows.
fn assert_never_too_long_with(property: u8) {
    for maximum in (1..150).chain([1000]) {
        for (length, packet) in connacks_within(maximum) {
            if let Received::ConnAck { props, .. } = packet {
                let fits = length <= maximum as usize;
                assert!(fits || props.get(property).is_none(), "{length} bytes for a maximum of {maximum}");
            }
        }
    }
}

#[test]
fn mqtt5_3_2_2_19_no_reason_string_makes_connack_too_long() {
    assert_never_too_long_with(REASON_STRING);
}

#[test]
fn mqtt5_3_2_2_20_no_user_property_makes_connack_too_long() {
    assert_never_too_long_with(USER_PROPERTY);
}

#[test]
fn mqtt5_3_2_2_22_without_server_keep_alive_the_clients_own_counts() {
    // How long a silent client lives, in units of its Keep Alive, is the same for every Keep Alive.
    let mut lives = Vec::new();
    for seconds in [4u16, 20, 100, 3000] {
        let mut lab = Lab::new();
        let (client, answer) = connack(&mut lab, &Connect { keep_alive: seconds, ..fresh("c") });
        let Some(Received::ConnAck { props, .. }) = answer else { continue };
        if props.get(SERVER_KEEP_ALIVE).is_some() {
            continue;
        }
        let tenth = Duration::from_millis(u64::from(seconds) * 100);
        let tenths = (0..40).take_while(|_| {
            lab.advance(tenth);
            !lab.is_closed(client)
        });
        lives.push(tenths.count());
    }
    lives.dedup();
    assert!(lives.len() <= 1, "{lives:?}");
    // Zero turns it off.
    let mut lab = Lab::new();
    let (client, answer) = connack(&mut lab, &fresh("c"));
    if let Some(Received::ConnAck { props, .. }) = answer {
        lab.advance(Duration::from_secs(10_000_000));
        assert!(props.get(SERVER_KEEP_ALIVE).is_some() || !lab.is_closed(client), "Keep Alive 0");
    }
}

#[test]
fn mqtt5_beyond_connack_comes_only_from_a_server() {
    assert!(closes(&[0x20, 3, 0, 0, 0]));
}
