//! A relay between two brokers that are played by hand: bytes in, bytes out, the clock moved by hand.

use cork_conform::wire::{self, V5, V311, Version};
use cork_packet::FixedHeader;

use super::*;
use crate::map::Rule;

mod silent;
mod suspects;

const START: Time = Time::from_micros(1_000_000);

struct Pair {
    relay: Relay,
    now: Time,
}

fn rule(filter: &str, strip: &str, add: &str, qos: QoS) -> Rule {
    Rule { filter: filter.into(), strip: strip.into(), add: add.into(), qos, ..Rule::default() }
}

fn plan() -> Plan {
    Plan {
        out: Map::new(vec![rule("#", "", "site/", QoS::ExactlyOnce)]),
        into: Map::new(vec![rule("down/#", "down/", "", QoS::ExactlyOnce)]),
        local_id: "$cork/bridge/a".into(),
        remote_id: "cork-a".into(),
        keep_alive: Duration::from_secs(60),
        ack_timeout: Duration::from_secs(30),
        inflight: 100,
        packet_bytes_max: 1000,
        topic_levels_max: 5,
        mark: "here".into(),
        remote_mark: "there".into(),
        ..Plan::default()
    }
}

fn opening(version: ProtocolVersion) -> Opening {
    Opening {
        probe_pause: Duration::ZERO,
        suspects: Suspects::default(),
        version,
        bridge: !version.is_v5(),
        wall: 5_000_000_000,
        subscribed: false,
        doubtful: false,
        fresh: false,
        new_filters: Vec::new(),
        old_filters: Vec::new(),
        inflight: 0,
    }
}

/// CONNACK with Session Present and properties.
fn connack(version: Version, present: bool, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![u8::from(present), 0];
    if version == V5 {
        body.extend(wire::properties(properties));
    }
    wire::packet(0x20, &body)
}

fn suback(version: Version, codes: &[u8]) -> Vec<u8> {
    let mut body = vec![0xFF, 0xFF];
    if version == V5 {
        body.push(0);
    }
    body.extend(codes);
    wire::packet(0x90, &body)
}

/// Cuts bytes into packets.
fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(header) = FixedHeader::decode(bytes).unwrap() {
        let (packet, rest) = bytes.split_at(header.packet_len());
        found.push(packet.to_vec());
        bytes = rest;
    }
    found
}

impl Pair {
    fn new(plan: Plan, opening: Opening) -> Self {
        Self { relay: Relay::new(Arc::new(plan), opening, START), now: START }
    }

    /// Both brokers let the relay in, with what each says of it: (Session Present here, there, properties there).
    fn open(plan: Plan, version: ProtocolVersion, here: bool, there: bool, properties: &[u8]) -> Self {
        let mut pair = Self::new(plan, opening(version));
        let wire_version = if version.is_v5() { V5 } else { V311 };
        assert_eq!(pair.remote()[0][0], 0x10, "CONNECT");
        pair.remote_says(&connack(wire_version, there, properties));
        assert!(pair.relay.wants_local());
        pair.relay.local_opened(pair.now);
        assert_eq!(pair.local()[0][0], 0x10, "CONNECT");
        pair.local_says(&connack(V5, here, &[]));
        pair
    }

    /// The usual case: both know the session.
    fn online(version: ProtocolVersion) -> Self {
        let mut pair = Self::open(plan(), version, true, true, &[]);
        let wire_version = if version.is_v5() { V5 } else { V311 };
        assert_eq!(pair.remote()[0][0], 0x82, "SUBSCRIBE");
        assert_eq!(pair.local(), [] as [Vec<u8>; 0]);
        pair.remote_says(&suback(wire_version, &[2]));
        assert!(pair.relay.is_online());
        pair
    }

    fn local_says(&mut self, bytes: &[u8]) {
        self.relay.handle(Side::Local, self.now, bytes);
    }

    fn remote_says(&mut self, bytes: &[u8]) {
        self.relay.handle(Side::Remote, self.now, bytes);
    }

    fn local(&mut self) -> Vec<Vec<u8>> {
        packets(&std::mem::take(self.relay.output(Side::Local)))
    }

    fn remote(&mut self) -> Vec<Vec<u8>> {
        packets(&std::mem::take(self.relay.output(Side::Remote)))
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now + by;
        self.relay.handle_timeout(self.now);
    }
}

/// A User Property as it stands in a packet.
fn hop(mark: &str) -> Vec<u8> {
    [vec![0x26], wire::string("cork-hop"), wire::string(mark)].concat()
}

#[test]
fn publications_and_their_answers_pass_both_ways_under_the_same_identifiers() {
    let mut pair = Pair::online(ProtocolVersion::V5);
    let out = |flags| wire::publish(V5, flags, "s/1", Some(7), b"x");
    pair.local_says(&out(2));
    assert_eq!(pair.remote(), [wire::publish_with(V5, 2, "site/s/1", Some(7), &hop("here"), b"x")]);
    pair.remote_says(&wire::ack(0x40, 7));
    assert_eq!(pair.local(), [wire::ack(0x40, 7)]);

    pair.local_says(&out(4 | 8 | 1));
    assert_eq!(pair.remote(), [wire::publish_with(V5, 13, "site/s/1", Some(7), &hop("here"), b"x")]);
    for (from_remote, first) in [(true, 0x50), (false, 0x62), (true, 0x70)] {
        match from_remote {
            true => pair.remote_says(&wire::ack(first, 7)),
            false => pair.local_says(&wire::ack(first, 7)),
        }
        let passed = if from_remote { pair.local() } else { pair.remote() };
        assert_eq!(passed, [wire::ack(first, 7)]);
    }

    pair.remote_says(&wire::publish(V5, 4, "down/lamp", Some(9), b"on"));
    assert_eq!(pair.local(), [wire::publish_with(V5, 4, "lamp", Some(9), &hop("there"), b"on")]);
    for (from_local, first) in [(true, 0x50), (false, 0x62), (true, 0x70)] {
        match from_local {
            true => pair.local_says(&wire::ack(first, 9)),
            false => pair.remote_says(&wire::ack(first, 9)),
        }
        let passed = if from_local { pair.remote() } else { pair.local() };
        assert_eq!(passed, [wire::ack(first, 9)]);
    }
    let counters = Counters { out: 2, into: 1, ..Counters::default() };
    assert_eq!(pair.relay.counters(), counters);
}

#[test]
fn any_split_of_the_bytes_gives_the_same() {
    let bytes = [
        wire::publish(V5, 2, "s/1", Some(1), b"first"),
        wire::ack(0x62, 3),
        wire::publish(V5, 0, "s/2", None, b"second"),
    ]
    .concat();
    let mut whole = Pair::online(ProtocolVersion::V5);
    whole.local_says(&bytes);
    let whole = whole.remote();
    for at in 0..=bytes.len() {
        let mut pair = Pair::online(ProtocolVersion::V5);
        pair.local_says(&bytes[..at]);
        pair.local_says(&bytes[at..]);
        assert_eq!(pair.remote(), whole, "{at}");
    }
}

#[test]
fn properties_pass_and_are_left_out_for_3_1_1() {
    let expiry = [0x02, 0, 0, 0, 9];
    let mut pair = Pair::online(ProtocolVersion::V5);
    pair.local_says(&wire::publish_with(V5, 0, "a", None, &expiry, b"x"));
    let properties = [expiry.to_vec(), hop("here")].concat();
    assert_eq!(pair.remote(), [wire::publish_with(V5, 0, "site/a", None, &properties, b"x")]);
    let mut pair = Pair::online(ProtocolVersion::V311);
    pair.local_says(&wire::publish_with(V5, 1, "a", None, &expiry, b"x"));
    assert_eq!(pair.remote(), [wire::publish(V311, 1, "site/a", None, b"x")]);
    // Reason Codes, too: the message counts as taken, since 3.1.1 cannot be told otherwise.
    pair.remote_says(&wire::publish(V311, 2, "down/a", Some(3), b"x"));
    pair.local();
    pair.local_says(&wire::ack_with(0x40, 3, 0x87));
    assert_eq!(pair.remote(), [wire::ack(0x40, 3)]);
    assert_eq!(pair.relay.counters().refused_local, 1);
}

#[test]
fn connect_says_who_it_is_and_what_it_takes() {
    let user = Plan { user_name: Some("ann".into()), password: Some(b"pw".to_vec()), ..plan() };
    let mut pair = Pair::new(user, opening(ProtocolVersion::V311));
    let connect = pair.remote().remove(0);
    let decoded = cork_packet::decode_connect(&connect).unwrap();
    assert!(decoded.bridge && !decoded.clean_start && decoded.version == ProtocolVersion::V311);
    assert_eq!(
        (decoded.client_id, decoded.user_name, decoded.password),
        ("cork-a", Some("ann"), Some(&b"pw"[..]))
    );

    let mut pair = Pair::new(plan(), opening(ProtocolVersion::V5));
    let connect = pair.remote().remove(0);
    let decoded = cork_packet::decode_connect(&connect).unwrap();
    assert_eq!(decoded.properties.session_expiry_interval(), Some(u32::MAX));
    assert_eq!(decoded.properties.maximum_packet_size(), Some(1000));
    // The other broker takes 5 at once, so this one is to have no more under way.
    pair.remote_says(&connack(V5, true, &[0x21, 0, 5]));
    pair.relay.local_opened(pair.now);
    let connect = pair.local().remove(0);
    let decoded = cork_packet::decode_connect(&connect).unwrap();
    assert_eq!(decoded.client_id, "$cork/bridge/a");
    assert_eq!(decoded.properties.receive_maximum(), Some(5));
    assert!(!decoded.clean_start);
}

#[test]
fn mosquitto_of_3_1_1_gets_20_at_qos_2_and_more_at_qos_1() {
    let lower = Plan { out: Map::new(vec![rule("#", "", "", QoS::AtLeastOnce)]), ..plan() };
    for (plan, window) in [(plan(), 20), (lower, 100)] {
        let mut pair = Pair::new(plan, opening(ProtocolVersion::V311));
        pair.remote_says(&connack(V311, true, &[]));
        pair.relay.local_opened(pair.now);
        let connect = pair.local().remove(0);
        assert_eq!(cork_packet::decode_connect(&connect).unwrap().properties.receive_maximum(), Some(window));
    }
}

#[test]
fn a_refusal_ends_it_with_the_reason() {
    for (version, wire_version, code, reason) in [
        // A broker that knows no 5.0 answers in its own version.
        (ProtocolVersion::V5, V311, 1, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION),
        (ProtocolVersion::V5, V5, 0x86, ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        (ProtocolVersion::V311, V311, 4, ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        (ProtocolVersion::V311, V311, 1, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION),
    ] {
        let mut pair = Pair::new(plan(), opening(version));
        let mut answer = connack(wire_version, false, &[]);
        answer[3] = code;
        pair.remote_says(&answer);
        assert_eq!(pair.relay.ended(), Some(&End::Refused(reason, None)));
    }
}

#[test]
fn an_older_version_that_is_doubtful_is_left_again_and_its_session_counts_as_new() {
    let mut pair = Pair::new(plan(), Opening { doubtful: true, ..opening(ProtocolVersion::V311) });
    pair.remote_says(&connack(V311, false, &[]));
    assert_eq!(pair.relay.ended(), Some(&End::Doubtful(false)));
    let mut pair = Pair::new(plan(), Opening { fresh: true, ..opening(ProtocolVersion::V5) });
    pair.remote_says(&connack(V5, true, &[]));
    pair.relay.local_opened(pair.now);
    pair.local();
    pair.local_says(&connack(V5, false, &[]));
    assert_eq!(pair.local()[0][0], 0x82, "what is retained here is sent");
}

#[test]
fn what_repeats_the_password_does_not_show_it() {
    for (password, told) in [("sesame", "not `sesame`"), ("a\"b", "no a\"b, no a\\\"b")] {
        let plan = Plan { password: Some(password.into()), ..plan() };
        let text = End::Refused(ReasonCode::NOT_AUTHORIZED, Some(told.into())).to_string();
        let blotted = plan.blot(&text);
        let escaped = password.escape_debug().to_string();
        assert!(
            blotted.contains("***") && !blotted.contains(password) && !blotted.contains(&escaped),
            "{blotted}"
        );
    }
    assert_eq!(plan().blot("as it is"), "as it is");
}

#[test]
fn what_the_other_broker_sends_before_this_one_is_there_waits() {
    let mut pair = Pair::new(plan(), opening(ProtocolVersion::V5));
    pair.remote();
    let early = wire::publish(V5, 10, "down/a", Some(1), b"again");
    pair.remote_says(&[connack(V5, true, &[]), early[..5].to_vec()].concat());
    pair.remote_says(&early[5..]);
    assert!(!pair.relay.reads(Side::Remote, 1000));
    pair.relay.local_opened(pair.now);
    pair.local();
    pair.local_says(&connack(V5, true, &[]));
    assert_eq!(pair.local(), [wire::publish_with(V5, 10, "a", Some(1), &hop("there"), b"again")]);
}

// (a) one of the two brokers has lost its session

#[test]
fn flows_the_other_broker_forgot_are_finished_without_it() {
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, true, false, &[]);
    pair.remote();
    pair.local();
    // PUBREC was passed on the connection before; the other broker has nothing to release.
    pair.local_says(&wire::ack(0x62, 5));
    assert_eq!(pair.local(), [wire::ack(0x70, 5)]);
    assert_eq!(pair.remote(), [] as [Vec<u8>; 0]);
    // One that is sent anew goes its usual way.
    pair.local_says(&wire::publish(V5, 12, "a", Some(6), b"x"));
    pair.remote_says(&wire::ack(0x50, 6));
    pair.local_says(&wire::ack(0x62, 6));
    assert_eq!(pair.remote()[1..], [wire::ack(0x62, 6)]);
}

#[test]
fn identifiers_of_a_session_that_is_gone_there_are_released_here_before_it_subscribes_again() {
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, true, false, &[]);
    let here = pair.local();
    assert_eq!(here.len(), 65_536, "65,535 PUBRELs and SUBSCRIBE");
    assert_eq!(here[0], wire::ack(0x62, 1));
    assert_eq!(here[65_535][0], 0x82);
    assert_eq!(pair.remote(), [] as [Vec<u8>; 0], "not yet");
    pair.local_says(&suback(V5, &[2]));
    for id in 1..=u16::MAX {
        pair.local_says(&wire::ack_with(0x70, id, 0x92));
    }
    let there = pair.remote();
    assert_eq!(there.len(), 1, "their PUBCOMPs are not for the other broker");
    assert_eq!(there[0][0], 0x82);
    pair.remote_says(&suback(V5, &[2]));
    assert!(pair.relay.is_online());
    // An ordinary one is.
    pair.local_says(&wire::ack(0x70, 1));
    assert_eq!(pair.remote(), [wire::ack(0x70, 1)]);
}

#[test]
fn identifiers_of_a_session_that_is_gone_here_are_released_there() {
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, false, true, &[]);
    let there = pair.remote();
    assert_eq!(there.len(), 65_536, "65,535 PUBRELs and SUBSCRIBE");
    pair.local_says(&wire::publish(V5, 4, "a", Some(1), b"x"));
    pair.remote_says(&wire::ack_with(0x70, 1, 0x92));
    assert_eq!(pair.local(), [] as [Vec<u8>; 0], "the answer to the release");
    pair.remote_says(&wire::ack(0x50, 1));
    pair.local_says(&wire::ack(0x62, 1));
    pair.remote_says(&wire::ack(0x70, 1));
    assert_eq!(pair.local(), [wire::ack(0x50, 1), wire::ack(0x70, 1)]);
}

#[test]
fn without_qos_2_nothing_has_to_be_released() {
    let lower = Plan {
        out: Map::new(vec![rule("#", "", "", QoS::AtLeastOnce)]),
        into: Map::new(vec![rule("d/#", "", "", QoS::AtLeastOnce)]),
        ..plan()
    };
    for (here, there) in [(true, false), (false, true)] {
        let mut pair = Pair::open(lower.clone(), ProtocolVersion::V5, here, there, &[]);
        assert!(pair.local().len() + pair.remote().len() <= 2);
    }
}

// (d), (f) versions and QoS

#[test]
fn qos_2_goes_out_at_qos_1_where_there_is_no_qos_2() {
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, true, true, &[0x24, 1]);
    pair.remote();
    pair.local_says(&wire::publish(V5, 4, "a", Some(3), b"x"));
    assert_eq!(pair.remote(), [wire::publish_with(V5, 2, "site/a", Some(3), &hop("here"), b"x")]);
    pair.remote_says(&wire::ack(0x40, 3));
    assert_eq!(pair.local(), [wire::ack(0x50, 3)]);
    pair.local_says(&wire::ack(0x62, 3));
    assert_eq!(pair.local(), [wire::ack(0x70, 3)]);
    // One that came at QoS 1 gets its own answer.
    pair.local_says(&wire::publish(V5, 2, "a", Some(4), b"x"));
    pair.remote_says(&wire::ack(0x40, 4));
    assert_eq!(pair.local(), [wire::ack(0x40, 4)]);
    assert_eq!(pair.remote().len(), 1);
}

#[test]
fn everything_goes_out_at_qos_0_where_there_is_nothing_else() {
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, true, true, &[0x24, 0]);
    pair.remote();
    pair.local_says(&wire::publish(V5, 4, "a", Some(3), b"x"));
    assert_eq!(pair.remote(), [wire::publish_with(V5, 0, "site/a", None, &hop("here"), b"x")]);
    assert_eq!(pair.local(), [wire::ack(0x50, 3)]);
    assert_eq!(pair.relay.next_timeout(), START + Duration::from_secs(60), "nothing is awaited");
}

#[test]
fn retain_is_left_out_where_nothing_is_retained() {
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, true, true, &[0x25, 0]);
    pair.remote();
    pair.local_says(&wire::publish(V5, 1, "a", None, b"x"));
    assert_eq!(pair.remote()[0][0], 0x30);
}

// (e) refusals

#[test]
fn what_does_not_fit_is_dropped_and_its_flow_finished() {
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, true, true, &[0x27, 0, 0, 0, 60]);
    pair.remote();
    let long = [0; 60];
    pair.local_says(&wire::publish(V5, 2, "a", Some(1), &long));
    pair.local_says(&wire::publish(V5, 4, "a", Some(2), &long));
    pair.local_says(&wire::publish(V5, 0, "a", None, &long));
    pair.local_says(&wire::publish(V5, 2, "a", Some(3), b"x"));
    assert_eq!(pair.remote().len(), 1);
    assert_eq!(pair.local(), [wire::ack(0x40, 1), wire::ack_with(0x50, 2, 0x83)]);
    assert_eq!(pair.relay.counters().too_large, 3);
    assert_eq!(pair.relay.take_notes().len(), 1, "one line");

    // From there to here: 3.1.1 knows no limit.
    let mut pair = Pair::online(ProtocolVersion::V311);
    pair.remote_says(&wire::publish(V311, 2, "down/a/b/c/d/e", Some(1), b"x"));
    pair.remote_says(&wire::publish(V311, 4, "down/a/b/c/d/e/f", Some(2), b"x"));
    assert_eq!(pair.local().len(), 1, "five levels are allowed");
    assert_eq!(pair.remote(), [wire::ack(0x50, 2)]);
}

#[test]
fn refused_messages_are_counted_and_do_not_block() {
    let mut pair = Pair::online(ProtocolVersion::V5);
    pair.local_says(&wire::publish(V5, 2, "a", Some(1), b"x"));
    pair.local_says(&wire::publish(V5, 4, "a", Some(2), b"x"));
    pair.remote_says(&wire::ack_with(0x40, 1, 0x87));
    pair.remote_says(&wire::ack_with(0x50, 2, 0x87));
    assert_eq!(pair.local(), [wire::ack_with(0x40, 1, 0x87), wire::ack_with(0x50, 2, 0x87)]);
    assert_eq!(pair.relay.counters().refused_remote, 2);
    let refused = Note::Refused { side: Side::Remote, reason: ReasonCode::NOT_AUTHORIZED };
    assert_eq!(pair.relay.take_notes(), [refused]);
    assert_eq!(pair.relay.ended(), None);
}

#[test]
fn a_broker_without_room_keeps_nothing_from_being_sent_again() {
    let mut pair = Pair::online(ProtocolVersion::V5);
    pair.local_says(&wire::publish(V5, 2, "a", Some(1), b"x"));
    pair.remote_says(&wire::ack_with(0x40, 1, 0x97));
    assert_eq!(pair.relay.ended(), Some(&End::Full(Side::Remote, ReasonCode::QUOTA_EXCEEDED)));
    assert_eq!(pair.local(), [] as [Vec<u8>; 0], "not acknowledged");

    let mut pair = Pair::online(ProtocolVersion::V5);
    pair.remote_says(&wire::publish(V5, 4, "down/a", Some(1), b"x"));
    pair.local_says(&wire::ack_with(0x50, 1, 0x97));
    assert_eq!(pair.relay.ended(), Some(&End::Full(Side::Local, ReasonCode::QUOTA_EXCEEDED)));
    assert_eq!(pair.remote(), [] as [Vec<u8>; 0], "not acknowledged");
}

#[test]
fn what_no_rule_is_for_does_not_pass() {
    let mapped = Plan { out: Map::new(vec![rule("lab/#", "lab/", "", QoS::AtLeastOnce)]), ..plan() };
    let mut pair = Pair::open(mapped, ProtocolVersion::V5, true, true, &[]);
    pair.remote();
    pair.local_says(&wire::publish(V5, 2, "other", Some(1), b"x"));
    assert_eq!((pair.local(), pair.remote().len()), (vec![wire::ack(0x40, 1)], 0));
    assert_eq!(pair.relay.counters().unmapped, 1);
}

#[test]
fn refused_subscriptions_are_told_one_by_one() {
    let two = Plan {
        into: Map::new(vec![rule("a", "", "", QoS::AtMostOnce), rule("b", "", "", QoS::AtMostOnce)]),
        ..plan()
    };
    let mut pair = Pair::open(two, ProtocolVersion::V5, true, true, &[]);
    pair.remote_says(&suback(V5, &[0, 0x87]));
    assert!(pair.relay.is_online());
    let note = Note::Subscription { filter: "b".into(), reason: ReasonCode::NOT_AUTHORIZED };
    assert_eq!(pair.relay.take_notes(), [note]);
}

// (h) retained messages

#[test]
fn retained_messages_are_asked_for_only_where_they_are_missing() {
    // SUBSCRIBE there: No Local, Retain As Published, retained messages only for a new subscription.
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, true, true, &[]);
    assert_eq!(*pair.remote()[0].last().unwrap(), 2 | 4 | 8 | 0x10);
    assert_eq!(pair.local(), [] as [Vec<u8>; 0], "the other broker has what is retained here");
    // SUBSCRIBE here, where the other broker begins from nothing.
    let mut pair = Pair::open(plan(), ProtocolVersion::V5, false, false, &[]);
    assert_eq!(*pair.local()[0].last().unwrap(), 2 | 4 | 8);
    // For one filter that is new.
    let new = Opening { new_filters: vec!["#".into()], ..opening(ProtocolVersion::V5) };
    let mut pair = Pair::new(plan(), new);
    pair.remote_says(&connack(V5, true, &[]));
    pair.relay.local_opened(pair.now);
    pair.local();
    pair.local_says(&connack(V5, true, &[]));
    assert_eq!(pair.local().len(), 1);
}

#[test]
fn what_is_retained_is_asked_for_once_while_connections_end_at_messages() {
    let mut suspects = Suspects::default();
    for (asked, owed) in [(1, 0), (0, 1), (0, 1)] {
        let mut pair = Pair::new(plan(), Opening { suspects, ..opening(ProtocolVersion::V311) });
        pair.remote_says(&connack(V311, false, &[]));
        pair.relay.local_opened(pair.now);
        pair.local();
        pair.local_says(&connack(V5, true, &[]));
        let subscribes = pair.local().iter().filter(|packet| packet[0] == 0x82).count();
        assert_eq!((subscribes, pair.relay.take_owed_filters().len()), (asked, owed));
        if asked > 0 {
            pair.local_says(&suback(V5, &[2]));
        }
        pair.remote();
        pair.local_says(&wire::publish(V5, 2, "a", Some(1), b"bad"));
        (_, suspects) = pair.relay.conclude(true);
    }
}

#[test]
fn a_broker_of_3_1_1_is_not_subscribed_twice_in_a_row() {
    for (present, asked) in [(true, 0), (false, 1)] {
        let again = Opening { subscribed: true, ..opening(ProtocolVersion::V311) };
        let plan = Plan { into: Map::new(vec![rule("a", "", "", QoS::AtLeastOnce)]), ..plan() };
        let mut pair = Pair::new(plan, again);
        pair.remote();
        pair.remote_says(&connack(V311, present, &[]));
        pair.relay.local_opened(pair.now);
        pair.local();
        pair.local_says(&connack(V5, true, &[]));
        pair.local_says(&suback(V5, &[2]));
        assert_eq!(pair.remote().len(), asked, "it would send everything that is retained again");
        assert_eq!(pair.relay.is_online(), asked == 0);
    }
}

// (i) circles

#[test]
fn what_was_here_before_does_not_go_round() {
    let mut pair = Pair::online(ProtocolVersion::V5);
    pair.local_says(&wire::publish_with(V5, 2, "a", Some(1), &hop("here"), b"x"));
    assert_eq!((pair.local(), pair.remote().len()), (vec![wire::ack(0x40, 1)], 0));
    for mark in ["here", "there"] {
        pair.remote_says(&wire::publish_with(V5, 2, "down/a", Some(1), &hop(mark), b"x"));
        assert_eq!((pair.remote(), pair.local().len()), (vec![wire::ack(0x40, 1)], 0));
    }
    assert_eq!(pair.relay.counters().circles, 3);
    assert_eq!(pair.relay.take_notes().len(), 1);
    pair.local_says(&wire::publish_with(V5, 2, "a", Some(1), &hop("elsewhere"), b"x"));
    let marks = [hop("elsewhere"), hop("here")].concat();
    assert_eq!(pair.remote(), [wire::publish_with(V5, 2, "site/a", Some(1), &marks, b"x")]);
}

#[test]
fn a_circle_through_a_broker_without_properties_is_found_and_broken() {
    let mut pair = Pair::online(ProtocolVersion::V311);
    let message = |topic: &str| wire::publish(V5, 0, topic, None, b"on");
    let mut probe = None;
    for _ in 0..200 {
        pair.local_says(&message("lamp"));
        let sent = pair.remote();
        assert!(!sent.is_empty(), "nothing is proven yet");
        probe = probe.or_else(|| sent.get(1).cloned());
    }
    // The other broker's own bridge brings it back.
    let probe = probe.expect("a probe");
    let topic = std::str::from_utf8(&probe[4..]).unwrap().strip_prefix("site/").unwrap().to_owned();
    pair.local_says(&message(&topic));
    assert_eq!(pair.remote(), [] as [Vec<u8>; 0]);
    for (topic, passes) in [("lamp", 1), ("lamp", 0), ("door", 1), ("door", 0), ("lamp", 1)] {
        pair.local_says(&message(topic));
        assert_eq!(pair.remote().len(), passes, "{topic}");
    }
    assert_eq!(pair.relay.counters().circles, 3);
}

#[test]
fn what_is_too_large_for_this_broker_is_answered_and_does_not_block_the_rest() {
    let large = vec![b'x'; 1500];
    let bytes = [
        wire::publish(V311, 2, "down/a", Some(1), &large),
        wire::publish(V311, 4, "down/b", Some(2), &large),
        wire::publish(V311, 0, "down/c", None, &large),
        wire::publish(V311, 2, "down/a", Some(3), b"small"),
    ]
    .concat();
    for at in 0..bytes.len() {
        let mut pair = Pair::online(ProtocolVersion::V311);
        pair.remote_says(&bytes[..at]);
        pair.remote_says(&bytes[at..]);
        assert_eq!(pair.relay.ended(), None);
        assert_eq!(pair.remote(), [wire::ack(0x40, 1), wire::ack(0x50, 2)]);
        assert_eq!(pair.local().len(), 1, "{at}");
        pair.remote_says(&wire::ack(0x62, 2));
        assert_eq!(pair.local(), [wire::ack(0x62, 2)]);
        let note = Note::TooLarge { side: Side::Local, topic: "down/a".into(), bytes: 1513 };
        assert_eq!((pair.relay.counters().too_large, pair.relay.take_notes()), (3, vec![note]));
    }
}

#[test]
fn the_first_rule_says_the_qos_both_ways() {
    let rules = |first: &str, all: &str, qos| {
        Map::new(vec![rule(first, "", "", qos), rule(all, "", "", QoS::ExactlyOnce)])
    };
    for (qos, flags) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 2)] {
        let plan = Plan { out: rules("a/#", "#", qos), into: rules("a/#", "#", qos), ..plan() };
        let mut pair = Pair::open(plan, ProtocolVersion::V311, true, true, &[]);
        pair.remote_says(&suback(V311, &[qos.bits(), 2]));
        pair.remote();
        let id = (flags > 0).then_some(7);
        pair.local_says(&wire::publish(V5, 4, "a/1", Some(7), b"x"));
        assert_eq!(pair.remote(), [wire::publish(V311, flags, "a/1", id, b"x")]);
        if flags > 0 {
            assert_eq!(pair.local(), [] as [Vec<u8>; 0]);
            pair.remote_says(&wire::ack(0x40, 7));
        }
        assert_eq!(pair.local(), [wire::ack(0x50, 7)]);
        pair.local_says(&wire::ack(0x62, 7));
        assert_eq!((pair.local(), pair.remote()), (vec![wire::ack(0x70, 7)], Vec::new()));
        // The same identifier again, for a message that keeps its QoS.
        pair.local_says(&wire::publish(V5, 4, "b", Some(7), b"x"));
        assert_eq!(pair.remote(), [wire::publish(V311, 4, "b", Some(7), b"x")]);

        pair.remote_says(&wire::publish(V311, 4, "a/1", Some(9), b"x"));
        assert_eq!(pair.local(), [wire::publish_with(V5, flags, "a/1", id.map(|_| 9), &hop("there"), b"x")]);
        if flags > 0 {
            pair.local_says(&wire::ack(0x40, 9));
        }
        assert_eq!(pair.remote(), [wire::ack(0x50, 9)]);
        pair.remote_says(&wire::ack(0x62, 9));
        assert_eq!((pair.remote(), pair.local()), (vec![wire::ack(0x70, 9)], Vec::new()));
        pair.remote_says(&wire::publish(V311, 4, "b", Some(9), b"x"));
        pair.local();
        pair.local_says(&wire::ack(0x50, 9));
        pair.remote_says(&wire::ack(0x62, 9));
        assert_eq!(pair.local(), [wire::ack(0x62, 9)]);
    }
}

// Bounds

#[test]
fn messages_that_are_too_old_do_not_pass_and_what_tells_their_age_does_not_either() {
    let aged = Plan { max_age: Some(Duration::from_secs(60)), ..plan() };
    let mut pair = Pair::new(aged, opening(ProtocolVersion::V5));
    pair.remote_says(&connack(V5, true, &[]));
    pair.remote();
    pair.relay.local_opened(pair.now);
    let connect = pair.local().remove(0);
    let asked = cork_packet::decode_connect(&connect).unwrap().properties;
    assert!(asked.user_properties().any(|(name, _)| name == "cork-facts"));
    pair.local_says(&connack(V5, true, &[]));
    pair.remote();
    let property = |name: &str, value: &str| [vec![0x26], wire::string(name), wire::string(value)].concat();
    for (arrived, passes) in [("4941000001", true), ("4940999999", false)] {
        let (own, id, who) =
            (property("a", "b"), property(&format!("1-0-{arrived}"), "1"), property("lamp", ""));
        let properties = [own.clone(), id, who].concat();
        pair.local_says(&wire::publish_with(V5, 2, "a", Some(1), &properties, b"x"));
        let passed = wire::publish_with(V5, 2, "site/a", Some(1), &[own, hop("here")].concat(), b"x");
        assert_eq!(pair.remote(), if passes { vec![passed] } else { Vec::new() });
        assert_eq!(pair.local(), if passes { Vec::new() } else { vec![wire::ack(0x40, 1)] });
    }
    assert_eq!(pair.relay.counters().too_old, 1);
}

#[test]
fn no_more_messages_go_out_in_a_second_than_may() {
    let paced = Plan { messages_per_second: 100, ..plan() };
    let mut pair = Pair::open(paced, ProtocolVersion::V5, true, true, &[]);
    pair.remote();
    let mut sent = 0;
    for _ in 0..500 {
        if pair.relay.reads(Side::Local, 10_000) {
            pair.local_says(&wire::publish(V5, 0, "a", None, b"x").repeat(3));
            sent += pair.remote().len();
        } else {
            let due = pair.relay.next_timeout();
            assert!(
                pair.now < due && due <= pair.now + Duration::from_millis(30),
                "it is read again in time"
            );
        }
        pair.later(Duration::from_millis(2));
    }
    assert!((99..=103).contains(&sent), "{sent} in a second");
    assert_eq!(pair.relay.ended(), None);
}

#[test]
fn a_side_is_not_read_while_the_other_does_not_take_what_there_is() {
    let mut pair = Pair::online(ProtocolVersion::V5);
    assert!(pair.relay.reads(Side::Local, 100) && pair.relay.reads(Side::Remote, 100));
    pair.local_says(&wire::publish(V5, 0, "a", None, &[0; 100]));
    assert!(!pair.relay.reads(Side::Local, 100) && pair.relay.reads(Side::Remote, 100));
    pair.remote();
    pair.remote_says(&wire::publish(V5, 0, "down/a", None, &[0; 100]));
    assert!(pair.relay.reads(Side::Local, 100) && !pair.relay.reads(Side::Remote, 100));
}

#[test]
fn a_broker_that_sends_more_than_this_one_takes_at_once_waits_in_order() {
    let mut pair = Pair::new(plan(), opening(ProtocolVersion::V311));
    pair.remote_says(&connack(V311, true, &[]));
    pair.relay.local_opened(pair.now);
    pair.local_says(&connack(V5, true, &[0x21, 0, 2]));
    pair.local();
    for id in 1..=4 {
        pair.remote_says(&wire::publish(V311, 4, "down/a", Some(id), &id.to_be_bytes()));
    }
    pair.remote_says(&wire::publish(V311, 0, "down/a", None, b"last"));
    let sent = |pair: &mut Pair| -> Vec<Vec<u8>> {
        pair.local().into_iter().filter(|one| one[0] >> 4 == 3).collect()
    };
    assert_eq!(sent(&mut pair).len(), 2);
    pair.local_says(&wire::ack(0x50, 1));
    assert_eq!(sent(&mut pair).len(), 0);
    pair.local_says(&wire::ack(0x70, 1));
    assert_eq!(sent(&mut pair).len(), 1);
    pair.local_says(&wire::ack(0x70, 2));
    let rest = sent(&mut pair);
    assert_eq!(rest.len(), 1);
    pair.local_says(&wire::ack(0x70, 3));
    assert!(sent(&mut pair)[0].ends_with(b"last"));
}

#[test]
fn nonsense_from_the_other_broker_ends_it() {
    for bytes in [&[0xF0, 0][..], &[0x00, 0], &[0x82, 0], &[0x20, 2, 0, 0], &[0x36, 0]] {
        let mut pair = Pair::online(ProtocolVersion::V311);
        pair.remote_says(bytes);
        assert!(matches!(pair.relay.ended(), Some(End::Broken(_))), "{bytes:?}");
    }
    let mut pair = Pair::online(ProtocolVersion::V5);
    pair.remote_says(&wire::disconnect_with(0x8B, &[]));
    assert_eq!(pair.relay.ended(), Some(&End::Disconnected(ReasonCode::SERVER_SHUTTING_DOWN, None)));
}
