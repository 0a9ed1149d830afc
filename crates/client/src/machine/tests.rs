//! The machine against hand-written answers of a server. Statements of the specification have their number in front.

use std::sync::Arc;

use cork_packet::{
    Ack, Auth, ConnAck, Connect, Packet, PacketId, Properties, PropertiesBuf, Property, ProtocolVersion, QoS,
    ReasonCode, Receiver, SubAck, SubscriptionOptions, decode,
};
use cork_proto::{Time, split_packet};
use proptest::prelude::*;

use super::{Event, Incoming, Machine, Request, Settings};
use crate::{Authentication, Disconnected, Exchange, Publish, PublishError};

const BOTH: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];

/// A machine, and the bytes it sent.
struct Wire {
    machine: Machine,
    now: Time,
    sent: Vec<u8>,
}

impl Wire {
    fn new(settings: Settings) -> Self {
        Self { machine: Machine::new(settings), now: Time::ZERO, sent: Vec::new() }
    }

    /// With a Session that outlives connections, and accepted.
    fn connected(version: ProtocolVersion, properties: &[Property<'_>]) -> Self {
        let client_id = "c".to_owned();
        let mut wire = Self::new(Settings { version, client_id, session_expiry: 100, ..Settings::default() });
        wire.open();
        wire.connack(false, properties);
        wire.sent.clear();
        wire
    }

    fn open(&mut self) {
        self.machine.opened(self.now);
        self.flush();
    }

    fn connack(&mut self, session_present: bool, properties: &[Property<'_>]) {
        let properties: PropertiesBuf = properties.iter().copied().collect();
        self.hear(Packet::ConnAck(ConnAck {
            session_present,
            code: 0,
            properties: properties.as_properties(),
        }));
    }

    fn hear(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.machine.version(), &mut bytes).unwrap();
        self.machine.handle_bytes(self.now, &bytes);
        self.flush();
    }

    /// A PUBLISH of the server.
    fn message(&mut self, qos: QoS, id: u16) {
        let packet_id = PacketId::new(id);
        let publish = cork_packet::Publish {
            dup: false,
            qos,
            retain: false,
            topic: "t",
            packet_id,
            properties: Properties::EMPTY,
            payload: b"x",
        };
        self.hear(Packet::Publish(publish));
    }

    fn ack(&mut self, packet: fn(Ack<'static>) -> Packet<'static>, id: u16) {
        self.hear(packet(Ack::success(PacketId::new(id).unwrap())));
    }

    fn publish(&mut self, qos: QoS, payload: &str) {
        let publish = Publish::new("topic", payload.to_owned()).qos(qos);
        self.machine.publish(self.now, publish, None).unwrap();
        self.flush();
    }

    fn reconnect(&mut self, session_present: bool, properties: &[Property<'_>]) {
        self.machine.closed();
        self.sent.clear();
        self.open();
        self.connack(session_present, properties);
    }

    fn flush(&mut self) {
        self.machine.transmit(&mut self.sent);
    }

    /// What was sent since the last call, in short.
    fn shown(&mut self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.sent);
        let (mut rest, mut shown) = (&bytes[..], Vec::new());
        while let Some(packet) = split_packet(&mut rest, usize::MAX).unwrap() {
            shown.push(show(&decode(self.machine.version(), Receiver::Server, packet).unwrap()));
        }
        assert!(rest.is_empty());
        shown
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    fn messages(&mut self) -> Vec<Incoming> {
        let events = self.events().into_iter();
        events
            .filter_map(|event| if let Event::Message(incoming) = event { Some(incoming) } else { None })
            .collect()
    }

    fn ended(&mut self) -> Option<Disconnected> {
        self.events()
            .into_iter()
            .find_map(|event| if let Event::Ended(why) = event { Some(why) } else { None })
    }
}

fn show(packet: &Packet<'_>) -> String {
    let ack = |name: &str, ack: &Ack<'_>| {
        let bad = if ack.reason == ReasonCode::SUCCESS {
            String::new()
        } else {
            format!(" 0x{:02X}", ack.reason.0)
        };
        format!("{name} {}{bad}", ack.packet_id)
    };
    match packet {
        Packet::Publish(publish) => {
            let dup = if publish.dup { " dup" } else { "" };
            let id = publish.packet_id.map_or(0, PacketId::get);
            let payload = String::from_utf8_lossy(publish.payload);
            format!("PUBLISH {id} {payload}{dup}")
        }
        Packet::PubAck(puback) => ack("PUBACK", puback),
        Packet::PubRec(pubrec) => ack("PUBREC", pubrec),
        Packet::PubRel(pubrel) => ack("PUBREL", pubrel),
        Packet::PubComp(pubcomp) => ack("PUBCOMP", pubcomp),
        Packet::Subscribe(subscribe) => format!("SUBSCRIBE {}", subscribe.packet_id),
        Packet::Disconnect(disconnect) => format!("DISCONNECT 0x{:02X}", disconnect.reason.0),
        Packet::Auth(auth) => format!("AUTH 0x{:02X}", auth.reason.0),
        other => other.packet_type().to_string(),
    }
}

fn settings(version: ProtocolVersion, client_id: &str) -> Settings {
    Settings { version, client_id: client_id.to_owned(), ..Settings::default() }
}

fn subscribe() -> Request {
    let filters = vec![("a/#".to_owned(), SubscriptionOptions::default())];
    Request::Subscribe { filters, properties: PropertiesBuf::new() }
}

/// The CONNECT a machine sends.
fn connect_of(wire: &Wire, check: impl FnOnce(Connect<'_>)) {
    check(cork_packet::decode_connect(&wire.sent).unwrap());
}

/// Flights get identifiers of their own, requests too.
fn identifiers_are_not_shared(version: ProtocolVersion) {
    let mut wire = Wire::connected(version, &[]);
    wire.publish(QoS::AtLeastOnce, "a");
    wire.machine.request(subscribe(), 0).unwrap();
    wire.publish(QoS::AtLeastOnce, "b");
    wire.flush();
    assert_eq!(wire.shown(), ["PUBLISH 1 a", "SUBSCRIBE 2", "PUBLISH 3 b"]);
    wire.ack(Packet::PubAck, 1);
    wire.publish(QoS::AtLeastOnce, "c");
    assert_eq!(wire.shown(), ["PUBLISH 4 c"]);
}

#[test]
fn mqtt311_2_3_1_2_a_new_packet_gets_an_unused_identifier() {
    identifiers_are_not_shared(ProtocolVersion::V311);
}

#[test]
fn mqtt5_2_2_1_3_a_new_packet_gets_an_unused_identifier() {
    identifiers_are_not_shared(ProtocolVersion::V5);
}

#[test]
fn mqtt311_2_3_1_3_a_repeated_packet_keeps_its_identifier() {
    let mut wire = Wire::connected(ProtocolVersion::V311, &[]);
    wire.publish(QoS::AtLeastOnce, "a");
    wire.publish(QoS::ExactlyOnce, "b");
    wire.shown();
    wire.reconnect(true, &[]);
    assert_eq!(wire.shown()[1..], ["PUBLISH 1 a dup", "PUBLISH 2 b dup"]);
}

/// PINGREQ comes before the time is over, and not while other packets go.
fn pings_in_time(version: ProtocolVersion, properties: &[Property<'_>], keep_alive: u64) {
    let mut wire = Wire::connected(version, properties);
    let limit = Time::ZERO.plus_seconds(keep_alive);
    let due = wire.machine.next_timeout().unwrap();
    assert!(due > Time::ZERO && due < limit);
    wire.now = due;
    wire.machine.handle_timeout(due);
    wire.flush();
    assert_eq!(wire.shown(), ["PINGREQ"]);
    wire.hear(Packet::PingResp);
    assert!(wire.machine.next_timeout().unwrap() < due.plus_seconds(keep_alive));
    assert!(wire.ended().is_none());
}

#[test]
fn mqtt311_3_1_2_23_a_packet_goes_within_keep_alive() {
    pings_in_time(ProtocolVersion::V311, &[], 60);
}

#[test]
fn mqtt5_3_1_2_20_pingreq_goes_when_nothing_else_does() {
    pings_in_time(ProtocolVersion::V5, &[], 60);
}

#[test]
fn mqtt5_3_1_2_21_server_keep_alive_holds() {
    pings_in_time(ProtocolVersion::V5, &[Property::ServerKeepAlive(7)], 7);
}

#[test]
fn mqtt5_3_2_2_21_server_keep_alive_replaces_the_clients() {
    let wire = Wire::connected(ProtocolVersion::V5, &[Property::ServerKeepAlive(600)]);
    assert!(wire.machine.next_timeout().unwrap() > Time::ZERO.plus_seconds(500));
    let wire = Wire::connected(ProtocolVersion::V5, &[Property::ServerKeepAlive(0)]);
    assert_eq!(wire.machine.next_timeout(), None);
}

#[test]
fn a_server_that_is_silent_after_pingreq_is_given_up() {
    for version in BOTH {
        let mut wire = Wire::connected(version, &[]);
        for _ in 0..2 {
            wire.now = wire.machine.next_timeout().unwrap();
            wire.machine.handle_timeout(wire.now);
        }
        assert!(matches!(wire.ended(), Some(Disconnected::KeepAlive { waited: 10 })));
    }
}

#[test]
fn mqtt311_3_1_3_7_without_identifier_clean_session_is_set() {
    let unnamed = Settings { clean_start: false, session_expiry: 9, ..settings(ProtocolVersion::V311, "") };
    let mut wire = Wire::new(unnamed);
    wire.open();
    connect_of(&wire, |connect| assert!(connect.clean_start && connect.client_id.is_empty()));
}

/// Each message is acknowledged by its QoS.
fn every_message_is_acknowledged(version: ProtocolVersion) {
    let mut wire = Wire::connected(version, &[]);
    wire.message(QoS::AtLeastOnce, 5);
    wire.message(QoS::ExactlyOnce, 6);
    for message in wire.messages() {
        wire.machine.ack(message.ack.unwrap(), ReasonCode::SUCCESS);
    }
    wire.flush();
    assert_eq!(wire.shown(), ["PUBACK 5", "PUBREC 6"]);
    wire.ack(Packet::PubRel, 6);
    assert_eq!(wire.shown(), ["PUBCOMP 6"]);
}

#[test]
fn mqtt311_4_5_0_2_every_message_is_acknowledged_by_its_qos() {
    every_message_is_acknowledged(ProtocolVersion::V311);
}

#[test]
fn mqtt5_4_5_0_2_every_message_is_acknowledged_by_its_qos() {
    every_message_is_acknowledged(ProtocolVersion::V5);
}

/// The program finishes in another order than the messages came.
fn acknowledged_in_order(version: ProtocolVersion, qos: QoS, name: &str) {
    let mut wire = Wire::connected(version, &[]);
    for id in [7, 3, 5] {
        wire.message(qos, id);
    }
    for message in wire.messages().iter().rev() {
        wire.machine.ack(message.ack.unwrap(), ReasonCode::SUCCESS);
    }
    wire.flush();
    assert_eq!(wire.shown(), [7, 3, 5].map(|id| format!("{name} {id}")));
}

#[test]
fn mqtt311_4_6_0_2_pubacks_go_in_the_order_of_the_messages() {
    acknowledged_in_order(ProtocolVersion::V311, QoS::AtLeastOnce, "PUBACK");
}

#[test]
fn mqtt5_4_6_0_2_pubacks_go_in_the_order_of_the_messages() {
    acknowledged_in_order(ProtocolVersion::V5, QoS::AtLeastOnce, "PUBACK");
}

#[test]
fn mqtt311_4_6_0_3_pubrecs_go_in_the_order_of_the_messages() {
    acknowledged_in_order(ProtocolVersion::V311, QoS::ExactlyOnce, "PUBREC");
}

#[test]
fn mqtt5_4_6_0_3_pubrecs_go_in_the_order_of_the_messages() {
    acknowledged_in_order(ProtocolVersion::V5, QoS::ExactlyOnce, "PUBREC");
}

fn pubrels_in_order(version: ProtocolVersion) {
    let mut wire = Wire::connected(version, &[]);
    for payload in ["a", "b", "c"] {
        wire.publish(QoS::ExactlyOnce, payload);
    }
    wire.shown();
    for id in [2, 3, 1] {
        wire.ack(Packet::PubRec, id);
    }
    assert_eq!(wire.shown(), ["PUBREL 2", "PUBREL 3", "PUBREL 1"]);
}

#[test]
fn mqtt311_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs() {
    pubrels_in_order(ProtocolVersion::V311);
}

#[test]
fn mqtt5_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs() {
    pubrels_in_order(ProtocolVersion::V5);
}

#[test]
fn mqtt5_4_6_0_1_messages_are_sent_again_in_their_first_order() {
    let mut wire = Wire::connected(ProtocolVersion::V5, &[]);
    for payload in ["a", "b", "c", "d"] {
        wire.publish(QoS::ExactlyOnce, payload);
    }
    wire.ack(Packet::PubRec, 2);
    wire.publish(QoS::AtLeastOnce, "e");
    wire.shown();
    wire.reconnect(true, &[Property::ReceiveMaximum(2)]);
    let again = wire.shown();
    assert_eq!(again[1..], ["PUBLISH 1 a dup", "PUBREL 2", "PUBLISH 3 c dup"]);
    wire.ack(Packet::PubRec, 1);
    wire.ack(Packet::PubComp, 1);
    wire.ack(Packet::PubComp, 2);
    assert_eq!(wire.shown(), ["PUBREL 1", "PUBLISH 4 d dup"]);
}

/// Answers `no` to everything.
#[derive(Debug)]
struct Method;

impl Authentication for Method {
    fn method(&self) -> &'static str {
        "M"
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Answering)
    }
}

struct Answering;

impl Exchange for Answering {
    fn first(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn answer(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(Some(data.to_vec()))
    }

    fn finish(&mut self, _: Option<&[u8]>) -> Result<(), String> {
        Ok(())
    }
}

fn challenge(wire: &mut Wire) {
    let properties: PropertiesBuf =
        [Property::AuthenticationMethod("M"), Property::AuthenticationData(b"?")].into_iter().collect();
    let reason = ReasonCode::CONTINUE_AUTHENTICATION;
    wire.hear(Packet::Auth(Auth { reason, properties: properties.as_properties() }));
}

fn authenticating() -> Wire {
    let method: Option<Arc<dyn Authentication>> = Some(Arc::new(Method));
    let mut wire = Wire::new(Settings { authentication: method, ..settings(ProtocolVersion::V5, "c") });
    wire.open();
    wire
}

#[test]
fn mqtt5_3_1_2_30_before_connack_nothing_goes_but_auth() {
    let mut wire = authenticating();
    wire.publish(QoS::AtMostOnce, "a");
    wire.machine.request(subscribe(), 0).unwrap();
    challenge(&mut wire);
    wire.publish(QoS::AtLeastOnce, "b");
    assert_eq!(wire.shown(), ["CONNECT", "AUTH 0x18"]);
    wire.connack(false, &[Property::AuthenticationMethod("M")]);
    assert_eq!(wire.shown(), ["SUBSCRIBE 1", "PUBLISH 0 a", "PUBLISH 2 b"]);
}

#[test]
fn mqtt5_4_12_0_3_auth_is_answered_with_continue_authentication() {
    let mut wire = authenticating();
    wire.sent.clear();
    challenge(&mut wire);
    challenge(&mut wire);
    assert_eq!(wire.shown(), ["AUTH 0x18", "AUTH 0x18"]);
}

#[test]
fn mqtt5_3_2_2_4_session_present_without_a_session_closes() {
    let mut wire = Wire::new(settings(ProtocolVersion::V5, "c"));
    wire.open();
    wire.connack(true, &[]);
    assert!(matches!(wire.ended(), Some(Disconnected::SessionPresentUnexpected)));
    assert!(wire.machine.is_ending());
}

#[test]
fn mqtt5_3_2_2_5_without_session_present_the_session_is_discarded() {
    let mut wire = Wire::connected(ProtocolVersion::V5, &[]);
    for (qos, payload) in [(QoS::AtLeastOnce, "a"), (QoS::ExactlyOnce, "b"), (QoS::ExactlyOnce, "c")] {
        wire.machine
            .publish(wire.now, Publish::new("t", payload).qos(qos), Some(usize::from(qos.bits())))
            .unwrap();
    }
    wire.ack(Packet::PubRec, 3);
    wire.message(QoS::ExactlyOnce, 9);
    wire.events();
    wire.reconnect(false, &[]);
    // QoS 1 is a new publication; what may have arrived is not doubled, and the program is told.
    assert_eq!(wire.shown()[1..], ["PUBLISH 1 a"]);
    let lost = wire.events().into_iter();
    let lost =
        lost.filter(|event| matches!(event, Event::Published(2, Err(PublishError::SessionLost)))).count();
    assert_eq!(lost, 2);
    wire.message(QoS::ExactlyOnce, 9);
    assert_eq!(wire.messages().len(), 1);
}

/// What the machine says to a publication with these limits.
fn refused(properties: &[Property<'_>], publish: Publish) -> PublishError {
    let mut wire = Wire::connected(ProtocolVersion::V5, properties);
    let early = wire.machine.publish(wire.now, publish.clone(), None).unwrap_err();
    // The same when it waited for the connection.
    wire.machine.closed();
    wire.machine.publish(wire.now, publish, Some(1)).unwrap();
    wire.open();
    wire.connack(false, properties);
    let late = wire.events().into_iter().find_map(|event| match event {
        Event::Published(1, Err(error)) => Some(error),
        _ => None,
    });
    assert_eq!(late.unwrap().to_string(), early.to_string());
    assert!(wire.shown().iter().all(|packet| !packet.starts_with("PUBLISH")));
    early
}

#[test]
fn mqtt5_3_2_2_11_maximum_qos_is_kept() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let error = refused(&[Property::MaximumQoS(QoS::AtMostOnce)], Publish::new("a", "").qos(qos));
        assert!(matches!(error, PublishError::QosNotSupported { maximum: QoS::AtMostOnce }), "{error}");
    }
}

#[test]
fn mqtt5_3_2_2_14_no_retained_message_where_there_are_none() {
    let error = refused(&[Property::RetainAvailable(false)], Publish::new("a", "").retain(true));
    assert!(matches!(error, PublishError::RetainNotSupported), "{error}");
}

#[test]
fn a_packet_above_the_servers_maximum_is_not_sent() {
    let error = refused(&[Property::MaximumPacketSize(20)], Publish::new("a", vec![0; 20]));
    assert!(matches!(error, PublishError::TooLarge { length: 26, maximum: 20 }), "{error}");
}

/// The aliases of the PUBLISH packets for these topics, and whether the topic goes with each.
fn aliases(maximum: Option<u16>, topics: &[&str]) -> Vec<(Option<u16>, bool)> {
    let properties: Vec<_> = maximum.map(Property::TopicAliasMaximum).into_iter().collect();
    let mut wire = Wire::connected(ProtocolVersion::V5, &properties);
    for topic in topics {
        wire.machine.publish(wire.now, Publish::new(*topic, ""), None).unwrap();
    }
    wire.flush();
    let (mut rest, mut found) = (&wire.sent[..], Vec::new());
    while let Some(packet) = split_packet(&mut rest, usize::MAX).unwrap() {
        if let Packet::Publish(publish) = decode(ProtocolVersion::V5, Receiver::Server, packet).unwrap() {
            found.push((publish.properties.topic_alias(), !publish.topic.is_empty()));
        }
    }
    found
}

#[test]
fn mqtt5_3_2_2_17_no_topic_alias_above_the_maximum() {
    let used = aliases(Some(2), &["room/1", "room/2", "room/3", "room/1", "room/3"]);
    assert_eq!(used, [(Some(1), true), (Some(2), true), (None, true), (Some(1), false), (None, true)]);
}

#[test]
fn mqtt5_3_2_2_18_no_topic_alias_where_none_is_allowed() {
    assert_eq!(aliases(None, &["room/1", "room/1"]), [(None, true), (None, true)]);
}

#[test]
fn mqtt5_3_3_4_8_receive_maximum_holds_back_nothing_but_publish() {
    let mut wire = Wire::connected(ProtocolVersion::V5, &[Property::ReceiveMaximum(1)]);
    wire.publish(QoS::AtLeastOnce, "a");
    wire.publish(QoS::AtLeastOnce, "b");
    wire.machine.request(subscribe(), 0).unwrap();
    wire.message(QoS::AtLeastOnce, 9);
    let message = wire.messages().remove(0);
    wire.machine.ack(message.ack.unwrap(), ReasonCode::SUCCESS);
    wire.now = wire.machine.next_timeout().unwrap();
    wire.machine.handle_timeout(wire.now);
    wire.machine.disconnect(ReasonCode::SUCCESS, Properties::EMPTY);
    wire.flush();
    assert_eq!(wire.shown(), ["PUBLISH 1 a", "SUBSCRIBE 2", "PUBACK 9", "PINGREQ", "DISCONNECT 0x00"]);
}

#[test]
fn mqtt5_3_3_4_7_never_more_under_way_than_receive_maximum() {
    let mut wire = Wire::connected(ProtocolVersion::V5, &[Property::ReceiveMaximum(2)]);
    for payload in ["a", "b", "c", "d"] {
        wire.publish(QoS::ExactlyOnce, payload);
    }
    assert_eq!(wire.shown(), ["PUBLISH 1 a", "PUBLISH 2 b"]);
    wire.ack(Packet::PubRec, 1);
    assert_eq!(wire.shown(), ["PUBREL 1"]);
    wire.ack(Packet::PubComp, 1);
    assert_eq!(wire.shown(), ["PUBLISH 3 c"]);
    let refused = Ack {
        packet_id: PacketId::new(2).unwrap(),
        reason: ReasonCode::QUOTA_EXCEEDED,
        properties: Properties::EMPTY,
    };
    wire.hear(Packet::PubRec(refused));
    assert_eq!(wire.shown(), ["PUBLISH 4 d"]);
}

#[test]
fn a_server_that_breaks_the_protocol_is_told_and_left() {
    let good = [0x30, 4, 0, 1, b'a', 0];
    for (bytes, reason) in [
        (&[0x20, 3, 0, 0, 0][..], "DISCONNECT 0x82"), // a second CONNACK
        (&[0x90, 4, 0, 9, 0, 0], "DISCONNECT 0x82"),  // SUBACK of nothing
        (&[0x36, 6, 0, 1, b'a', 0, 1, 0], "DISCONNECT 0x81"), // QoS 3
        (&[0x30, 7, 0, 0, 3, 0x23, 0, 9, 0], "DISCONNECT 0x82"), // an unknown alias
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], "DISCONNECT 0x95"), // too large
        (&[0x10, 0], "DISCONNECT 0x82"),              // CONNECT
    ] {
        let mut wire = Wire::connected(ProtocolVersion::V5, &[]);
        wire.machine.handle_bytes(wire.now, bytes);
        wire.machine.handle_bytes(wire.now, &good);
        wire.flush();
        assert_eq!(wire.shown(), [reason], "{bytes:?}");
        assert!(wire.messages().is_empty());
    }
}

#[test]
fn mqtt5_3_3_4_9_more_than_our_receive_maximum_ends_the_connection() {
    let mut wire = Wire::new(Settings { receive_maximum: 2, ..settings(ProtocolVersion::V5, "c") });
    wire.open();
    wire.connack(false, &[]);
    wire.sent.clear();
    for id in 1..=3 {
        wire.message(QoS::AtLeastOnce, id);
    }
    assert_eq!(wire.shown(), ["DISCONNECT 0x93"]);
}

#[test]
fn a_wrong_number_of_codes_ends_the_connection() {
    let mut wire = Wire::connected(ProtocolVersion::V311, &[]);
    wire.machine.request(subscribe(), 0).unwrap();
    let packet_id = PacketId::FIRST;
    wire.hear(Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes: &[0, 0] }));
    assert!(matches!(wire.ended(), Some(Disconnected::ProtocolError(_))));
}

#[test]
fn an_assigned_client_identifier_is_used_from_then_on() {
    let mut wire = Wire::new(Settings { session_expiry: 9, ..settings(ProtocolVersion::V5, "") });
    wire.open();
    wire.connack(false, &[Property::AssignedClientIdentifier("given")]);
    wire.machine.closed();
    wire.sent.clear();
    wire.open();
    connect_of(&wire, |connect| assert_eq!((connect.client_id, connect.clean_start), ("given", false)));
}

proptest! {
    /// Whatever a server sends, in whatever pieces, nothing panics, and the pieces make no difference.
    #[test]
    fn any_bytes_in_any_split(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        cut in any::<prop::sample::Index>(),
        v5 in any::<bool>(),
    ) {
        let version = if v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
        let cut = cut.index(bytes.len() + 1);
        let (mut whole, mut split) = (Wire::connected(version, &[]), Wire::connected(version, &[]));
        whole.machine.handle_bytes(Time::ZERO, &bytes);
        for piece in [&bytes[..cut], &bytes[cut..]] {
            split.machine.handle_bytes(Time::ZERO, piece);
        }
        prop_assert_eq!(format!("{:?}", whole.events()), format!("{:?}", split.events()));
    }

    /// A stream of valid packets: every QoS 2 message comes out once, however the connection is cut.
    #[test]
    fn qos_2_messages_come_out_once(cuts in prop::collection::vec(0u8..4, 1..40)) {
        let mut wire = Wire::connected(ProtocolVersion::V5, &[]);
        let (mut out, mut id) = (0, 1u16);
        for cut in cuts {
            wire.message(QoS::ExactlyOnce, id);
            let got = wire.messages();
            out += got.len();
            if cut == 0 {
                wire.reconnect(true, &[]);
                got.iter().for_each(|message| wire.machine.ack(message.ack.unwrap(), ReasonCode::SUCCESS));
                continue;
            }
            got.iter().for_each(|message| wire.machine.ack(message.ack.unwrap(), ReasonCode::SUCCESS));
            if cut == 1 {
                wire.reconnect(true, &[]);
                continue;
            }
            wire.ack(Packet::PubRel, id);
            id += 1;
        }
        prop_assert!(out <= usize::from(id));
        prop_assert!(out >= usize::from(id) - 1);
    }
}
