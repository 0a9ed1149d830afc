//! Any valid packet.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use super::VERSIONS;
use crate::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property,
    PropertyId, PropertyPlace, ProtocolVersion, Publish, QoS, ReasonCode, Receiver, SubAck, SubscribeBuf,
    SubscriptionOptions, UnsubAck, UnsubscribeBuf, Will,
};

/// Owns what a packet borrows.
#[derive(Debug)]
pub(super) struct Parts {
    /// 1 to 15; AUTH becomes PINGREQ before 5.0.
    packet_type: u8,
    pub(super) version: ProtocolVersion,
    packet_id: PacketId,
    options: Vec<SubscriptionOptions>,
    flags: [bool; 4],
    qos: QoS,
    keep_alive: u16,
    topic: String,
    strings: Vec<String>,
    bytes: Vec<u8>,
    /// For the packet that `packet_type` says.
    properties: PropertiesBuf,
    will_properties: PropertiesBuf,
}

impl Parts {
    pub(super) fn with_packet<T>(&self, check: impl FnOnce(ProtocolVersion, Receiver, Packet<'_>) -> T) -> T {
        let (packet_id, version) = (self.packet_id, self.version);
        let properties = self.properties();
        let pick = |codes: &'static [u8]| codes[usize::from(self.keep_alive) % codes.len()];
        let pick_reason = |codes| if version.is_v5() { ReasonCode(pick(codes)) } else { ReasonCode::SUCCESS };
        let ack = |codes| Ack { packet_id, reason: pick_reason(codes), properties };
        let codes: Vec<u8> = self.strings.iter().map(|string| u8::from(string.len() > 3) * 0x80).collect();
        let (mut subscribe, mut unsubscribe) = (SubscribeBuf::new(), UnsubscribeBuf::new());
        for (filter, options) in self.strings.iter().zip(self.options.iter().cycle()) {
            let all = version.is_v5();
            let options = if all { *options } else { SubscriptionOptions::with_qos(options.qos) };
            subscribe.push(filter, options).unwrap();
            unsubscribe.push(filter).unwrap();
        }
        let (receiver, packet) = match self.packet_type {
            1 => (Receiver::Server, Packet::Connect(self.connect())),
            2 => (Receiver::Client, Packet::ConnAck(self.connack())),
            3 => (Receiver::Server, Packet::Publish(Publish { properties, ..self.publish() })),
            4 => (Receiver::Server, Packet::PubAck(ack(&[0x00, 0x10, 0x80, 0x97, 0x99]))),
            5 => (Receiver::Client, Packet::PubRec(ack(&[0x00, 0x10, 0x83, 0x87, 0x90, 0x91]))),
            6 => (Receiver::Server, Packet::PubRel(ack(&[0x00, 0x92]))),
            7 => (Receiver::Client, Packet::PubComp(ack(&[0x00, 0x92]))),
            8 => (Receiver::Server, Packet::Subscribe(subscribe.subscribe(packet_id, properties))),
            9 => (Receiver::Client, Packet::SubAck(SubAck { packet_id, properties, codes: &codes })),
            10 => (Receiver::Server, Packet::Unsubscribe(unsubscribe.unsubscribe(packet_id, properties))),
            11 => {
                let codes = if version.is_v5() { codes.as_slice() } else { &[] };
                (Receiver::Client, Packet::UnsubAck(UnsubAck { packet_id, properties, codes }))
            }
            13 => (Receiver::Client, Packet::PingResp),
            14 => {
                let reason = pick_reason(&[0x00, 0x04, 0x80, 0x8E, 0xA2]);
                (Receiver::Server, Packet::Disconnect(Disconnect { reason, properties }))
            }
            15 if version.is_v5() => {
                let reason = pick_reason(&[0x00, 0x18, 0x19]);
                (Receiver::Client, Packet::Auth(Auth { reason, properties }))
            }
            _ => (Receiver::Server, Packet::PingReq),
        };
        check(version, receiver, packet)
    }

    fn properties(&self) -> Properties<'_> {
        if self.version.is_v5() { self.properties.as_properties() } else { Properties::EMPTY }
    }

    pub(super) fn user_properties(&self) -> PropertiesBuf {
        self.properties.as_properties().iter().filter(|one| one.id() == PropertyId::UserProperty).collect()
    }

    fn connect(&self) -> Connect<'_> {
        let [clean_start, retain, bridge, password] = self.flags;
        let user_name = self.strings.get(1).map(String::as_str);
        let will_properties =
            if self.version.is_v5() { self.will_properties.as_properties() } else { Properties::EMPTY };
        let will = Will {
            qos: self.qos,
            retain,
            topic: &self.topic,
            payload: &self.bytes,
            properties: will_properties,
        };
        Connect {
            version: self.version,
            bridge: bridge && !self.version.is_v5(),
            clean_start,
            keep_alive: self.keep_alive,
            client_id: &self.strings[0],
            will: (self.strings.len() > 2).then_some(will),
            user_name,
            password: (password && (user_name.is_some() || self.version.is_v5())).then_some(&self.bytes),
            properties: self.properties(),
        }
    }

    fn connack(&self) -> ConnAck<'_> {
        let codes: &[u8] = if self.version.is_v5() { &[0x00, 0x80, 0x86, 0x9F] } else { &[0, 1, 5] };
        let code = codes[usize::from(self.keep_alive) % codes.len()];
        let session_present = self.flags[0] && code == 0 && self.version != ProtocolVersion::V31;
        ConnAck { session_present, code, properties: self.properties() }
    }

    pub(super) fn publish(&self) -> Publish<'_> {
        let acknowledged = self.qos != QoS::AtMostOnce;
        Publish {
            dup: self.flags[0] && acknowledged,
            qos: self.qos,
            retain: self.flags[1],
            topic: &self.topic,
            packet_id: acknowledged.then_some(self.packet_id),
            properties: Properties::EMPTY,
            payload: &self.bytes,
        }
    }
}

pub(super) fn parts() -> impl Strategy<Value = Parts> {
    (1_u8..=15).prop_flat_map(|packet_type| {
        let scalars = (version(), 1_u16.., any::<[bool; 4]>(), qos(), any::<u16>());
        let data = (topic(), vec(text(), 1..4), vec(any::<u8>(), 0..200), vec(options(), 1..4));
        let blocks = (properties(place_of(packet_type)), properties(PropertyPlace::Will));
        (scalars, data, blocks).prop_map(move |(scalars, data, blocks)| {
            let (version, packet_id, flags, qos, keep_alive) = scalars;
            let (topic, strings, bytes, options) = data;
            let (properties, will_properties) = blocks;
            let packet_id = PacketId::new(packet_id).unwrap();
            Parts {
                packet_type,
                version,
                packet_id,
                options,
                flags,
                qos,
                keep_alive,
                topic,
                strings,
                bytes,
                properties,
                will_properties,
            }
        })
    })
}

/// The place of the Properties of a packet, as [`Parts::with_packet`] sends it.
fn place_of(packet_type: u8) -> PropertyPlace {
    match packet_type {
        1 => PropertyPlace::Connect,
        2 => PropertyPlace::ConnAck,
        3 => PropertyPlace::PublishToServer,
        8 => PropertyPlace::Subscribe,
        10 => PropertyPlace::Unsubscribe,
        14 => PropertyPlace::DisconnectToServer,
        15 => PropertyPlace::Auth,
        _ => PropertyPlace::Acknowledgement,
    }
}

/// A valid block for `place`: some of its Properties, in any order, and some User Properties.
pub(super) fn properties(place: PropertyPlace) -> impl Strategy<Value = PropertiesBuf> {
    let numbers = (any::<bool>(), 1_u16.., 1_u32.., 1_u32..=268_435_455);
    let data = (text(), topic(), vec(any::<u8>(), 0..20));
    let order = Just(POSSIBLE_IDS.collect::<Vec<u8>>()).prop_shuffle();
    (order, any::<u64>(), numbers, data).prop_map(move |(order, chosen, numbers, data)| {
        let (flag, short, long, var_int) = numbers;
        let (text, topic, bytes) = data;
        let mut buf = PropertiesBuf::new();
        for id in order.into_iter().filter_map(PropertyId::from_bits) {
            let wanted = chosen >> (id as u8) & 1 == 1;
            if !wanted || !place.allows(id) {
                continue;
            }
            let property = match id {
                PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(u8::from(flag)),
                PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(long),
                PropertyId::ContentType => Property::ContentType(&text),
                PropertyId::ResponseTopic => Property::ResponseTopic(&topic),
                PropertyId::CorrelationData => Property::CorrelationData(&bytes),
                PropertyId::SubscriptionIdentifier => Property::SubscriptionIdentifier(var_int),
                PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(long),
                PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(&text),
                PropertyId::ServerKeepAlive => Property::ServerKeepAlive(short),
                PropertyId::AuthenticationMethod => Property::AuthenticationMethod(&text),
                // Pushed below, if its method is.
                PropertyId::AuthenticationData => continue,
                PropertyId::RequestProblemInformation => Property::RequestProblemInformation(flag),
                PropertyId::WillDelayInterval => Property::WillDelayInterval(long),
                PropertyId::RequestResponseInformation => Property::RequestResponseInformation(flag),
                PropertyId::ResponseInformation => Property::ResponseInformation(&text),
                PropertyId::ServerReference => Property::ServerReference(&text),
                PropertyId::ReasonString => Property::ReasonString(&text),
                PropertyId::ReceiveMaximum => Property::ReceiveMaximum(short),
                PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(short),
                PropertyId::TopicAlias => Property::TopicAlias(short),
                PropertyId::MaximumQoS => {
                    Property::MaximumQoS(if flag { QoS::AtLeastOnce } else { QoS::AtMostOnce })
                }
                PropertyId::RetainAvailable => Property::RetainAvailable(flag),
                PropertyId::UserProperty => Property::UserProperty(&text, &topic),
                PropertyId::MaximumPacketSize => Property::MaximumPacketSize(long),
                PropertyId::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(flag),
                PropertyId::SubscriptionIdentifierAvailable => {
                    Property::SubscriptionIdentifierAvailable(flag)
                }
                PropertyId::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(flag),
            };
            buf.push(property);
            if matches!(property, Property::UserProperty(..)) {
                buf.push(Property::UserProperty(&topic, &text));
            }
            if matches!(property, Property::AuthenticationMethod(_)) && flag {
                buf.push(Property::AuthenticationData(&bytes));
            }
        }
        buf
    })
}

const POSSIBLE_IDS: Range<u8> = 0..0x30;

pub(super) fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop::sample::select(&VERSIONS[..])
}

pub(super) fn place() -> impl Strategy<Value = PropertyPlace> {
    prop::sample::select(vec![
        PropertyPlace::Connect,
        PropertyPlace::Will,
        PropertyPlace::ConnAck,
        PropertyPlace::PublishToServer,
        PropertyPlace::PublishToClient,
        PropertyPlace::Acknowledgement,
        PropertyPlace::Auth,
    ])
}

fn qos() -> impl Strategy<Value = QoS> {
    (0_u8..3).prop_map(|bits| QoS::from_bits(bits).unwrap())
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    any::<u8>().prop_filter_map("reserved bits", SubscriptionOptions::from_bits)
}

fn text() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,12}"
}

fn topic() -> impl Strategy<Value = String> {
    "[^\u{0}+#]{1,12}"
}
