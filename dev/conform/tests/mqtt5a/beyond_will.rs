//! The Will in its combinations: delay, Session Expiry, takeover, Clean Start, DISCONNECT (5.0 3.1.2.5, 3.1.3.2).

use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V5, Will},
};

use crate::steps::{
    CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY, PAYLOAD_FORMAT, RESPONSE_TOPIC, SESSION_EXPIRY,
    TOPIC_ALIAS, USER_PROPERTY, WILL_DELAY, byte, durable, fresh, long, pair, refusal_code, retained, short,
    sub_id, subscribe, text, wait,
};

/// A CONNECT with a Will that waits for `delay` seconds, of a Session that lives for `expiry`.
fn with_will(delay: u32, expiry: u32) -> Connect {
    let properties = long(WILL_DELAY, delay);
    let will =
        Will { topic: "will".into(), payload: b"gone".to_vec(), qos: 1, properties, ..Will::default() };
    Connect { will: Some(will), ..durable("client", expiry) }
}

/// How the connection ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum End {
    Cut,
    /// DISCONNECT with a Reason Code.
    Disconnect(u8),
    /// DISCONNECT with 0x04 and another Session Expiry Interval.
    Expiry(u32),
    /// Another connection takes over, with Clean Start or without.
    Takeover(bool),
    /// Cut, and back after five seconds, with Clean Start or without.
    Back(bool),
}

/// The second at which the Will comes, if it does.
fn will_at(delay: u32, expiry: u32, end: End) -> Option<u64> {
    let mut lab = Lab::new();
    let listener = lab.connect(V5, "listener");
    subscribe(&mut lab, listener, "will", 1);
    let client = lab.connect_with(V5, &with_will(delay, expiry));
    match end {
        End::Cut | End::Back(_) => lab.cut(client),
        End::Disconnect(reason) => lab.send(client, &wire::disconnect_with(reason, &[])),
        End::Expiry(changed) => {
            lab.send(client, &wire::disconnect_with(0x04, &long(SESSION_EXPIRY, changed)));
        }
        End::Takeover(clean) => {
            lab.connect_with(V5, &Connect { clean, ..durable("client", expiry) });
        }
    }
    let mut at = None;
    for second in 0..200 {
        if let (5, End::Back(clean)) = (second, end) {
            lab.connect_with(V5, &Connect { clean, ..durable("client", expiry) });
        }
        for _ in lab.publishes(listener) {
            assert_eq!(at, None, "the Will comes twice: delay {delay}, expiry {expiry}, {end:?}");
            at = Some(second);
        }
        wait(&mut lab, 1);
    }
    at
}

#[test]
fn mqtt5_beyond_a_will_comes_at_its_time_however_the_connection_ends() {
    let cases = [
        (0, 0, End::Cut, Some(0)),
        (0, 100, End::Cut, Some(0)),
        (10, 0, End::Cut, Some(0)),
        (10, 100, End::Cut, Some(10)),
        (10, 10, End::Cut, Some(10)),
        (100, 10, End::Cut, Some(10)),
        (u32::MAX, 10, End::Cut, Some(10)),
        (0, 0, End::Disconnect(0x00), None),
        (10, 100, End::Disconnect(0x00), None),
        (0, 0, End::Disconnect(0x04), Some(0)),
        (0, 100, End::Disconnect(0x04), Some(0)),
        (10, 100, End::Disconnect(0x04), Some(10)),
        (100, 10, End::Disconnect(0x04), Some(10)),
        (10, 100, End::Disconnect(0x80), Some(10)),
        (10, 0, End::Disconnect(0x81), Some(0)),
        (10, 100, End::Expiry(0), Some(0)),
        (10, 100, End::Expiry(3), Some(3)),
        (50, 10, End::Expiry(100), Some(50)),
        (0, 100, End::Takeover(false), Some(0)),
        (10, 100, End::Takeover(false), None),
        (10, 0, End::Takeover(false), Some(0)),
        (0, 100, End::Takeover(true), Some(0)),
        (10, 100, End::Takeover(true), Some(0)),
        (10, 100, End::Back(false), None),
        (10, 100, End::Back(true), Some(5)),
        (3, 100, End::Back(false), Some(3)),
        (3, 100, End::Back(true), Some(3)),
        (10, 2, End::Back(false), Some(2)),
    ];
    for (delay, expiry, end, expected) in cases {
        assert_eq!(will_at(delay, expiry, end), expected, "delay {delay}, expiry {expiry}, {end:?}");
    }
}

#[test]
fn mqtt5_beyond_a_reconnecting_client_brings_its_own_will() {
    let mut lab = Lab::new();
    let listener = lab.connect(V5, "listener");
    subscribe(&mut lab, listener, "#", 1);
    let client = lab.connect_with(V5, &with_will(10, 100));
    lab.cut(client);
    let client = lab.connect_with(V5, &durable("client", 100).with_will("second", b"second"));
    wait(&mut lab, 50);
    assert!(lab.payloads(listener).is_empty());
    lab.cut(client);
    assert_eq!(lab.payloads(listener), [b"second"]);
    wait(&mut lab, 200);
    assert!(lab.payloads(listener).is_empty());
}

/// The Will of a client whose Will has these properties, and its topic's retained message ten seconds later.
fn published_will(lab: &mut Lab, listener: ClientIx, properties: &[u8]) -> Vec<cork_conform::Published> {
    let mut connect = with_will(0, 0);
    connect.will = connect.will.map(|will| Will { properties: properties.to_vec(), retain: true, ..will });
    let client = lab.connect_with(V5, &connect);
    // Time with the connection does not count.
    wait(lab, 1000);
    lab.cut(client);
    let mut got = lab.publishes(listener);
    wait(lab, 10);
    got.extend(retained(lab, "will"));
    got
}

#[test]
fn mqtt5_beyond_will_properties_are_published_with_it() {
    let mut lab = Lab::new();
    let listener = lab.connect(V5, "listener");
    subscribe(&mut lab, listener, "will", 1);
    let properties = [
        pair("b", "1"),
        byte(PAYLOAD_FORMAT, 1),
        long(MESSAGE_EXPIRY, 60),
        long(WILL_DELAY, 0),
        text(CONTENT_TYPE, "text/plain"),
        pair("a", "2"),
        text(RESPONSE_TOPIC, "answer"),
        text(CORRELATION_DATA, [0, 1, 2]),
    ];
    let got = published_will(&mut lab, listener, &properties.concat());
    let expiries: Vec<_> = got.iter().map(|publish| publish.props.number(MESSAGE_EXPIRY)).collect();
    assert_eq!(expiries, [Some(60), Some(50)], "from the moment it is published");
    for publish in got {
        let props = &publish.props;
        assert_eq!(props.number(PAYLOAD_FORMAT), Some(1));
        assert_eq!(props.text(CONTENT_TYPE).as_deref(), Some("text/plain"));
        assert_eq!(props.text(RESPONSE_TOPIC).as_deref(), Some("answer"));
        assert_eq!(props.get(CORRELATION_DATA), Some(&[0, 1, 2][..]));
        assert_eq!(props.all(USER_PROPERTY), [b"b\x001", b"a\x002"]);
        assert_eq!(props.0.len(), 7, "no Will Delay Interval: {props:?}");
    }
}

#[test]
fn mqtt5_beyond_wrong_will_properties_refuse_the_connect() {
    let cases = [
        ("Will Delay twice", [long(WILL_DELAY, 1), long(WILL_DELAY, 1)].concat(), 0x82),
        ("Payload Format Indicator 2", byte(PAYLOAD_FORMAT, 2), 0x82),
        ("Message Expiry twice", [long(MESSAGE_EXPIRY, 1), long(MESSAGE_EXPIRY, 1)].concat(), 0x82),
        ("Content Type twice", [text(CONTENT_TYPE, "a"), text(CONTENT_TYPE, "a")].concat(), 0x82),
        ("Response Topic with wildcards", text(RESPONSE_TOPIC, "a/#"), 0x82),
        ("Topic Alias", short(TOPIC_ALIAS, 1), 0x81),
        ("Subscription Identifier", sub_id(1), 0x81),
        ("Session Expiry", long(SESSION_EXPIRY, 1), 0x81),
        ("unknown", vec![0x7E, 0], 0x81),
    ];
    for (name, properties, code) in cases {
        let mut connect = fresh("c").with_will("will", b"");
        connect.will = connect.will.map(|will| Will { properties, ..will });
        assert_eq!(refusal_code(&connect.bytes()), Some(code), "{name}");
    }
}

#[test]
fn mqtt5_beyond_a_will_of_every_size_and_qos_arrives_whole() {
    for qos in 0..3 {
        for payload in [Vec::new(), b"\0\xFF".to_vec(), vec![7; 65_535]] {
            let mut lab = Lab::new();
            let listener = lab.connect(V5, "listener");
            subscribe(&mut lab, listener, "will", 2);
            let mut connect = with_will(0, 0);
            connect.will = connect.will.map(|will| Will { payload: payload.clone(), qos, ..will });
            let client = lab.connect_with(V5, &connect);
            lab.cut(client);
            let got = lab.publishes(listener);
            assert_eq!(got.len(), 1);
            assert_eq!((&got[0].payload, got[0].qos), (&payload, qos));
        }
    }
}

#[test]
fn mqtt5_beyond_a_due_will_is_there_before_the_connack_of_who_took_over() {
    let mut lab = Lab::new();
    let mut connect = with_will(0, 100);
    connect.will = connect.will.map(|will| Will { retain: true, ..will });
    lab.connect_with(V5, &connect);
    let second = lab.open(V5);
    let mut bytes = durable("client", 100).bytes();
    bytes.extend(wire::subscribe(V5, 1, &[("will", 1)]));
    lab.send(second, &bytes);
    assert_eq!(lab.payloads(second), [b"gone"]);
}
