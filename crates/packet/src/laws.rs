//! Laws that hold for all bytes and for all packets.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::table::encode;
use crate::{
    Ack, Auth, ConnAck, Connect, Disconnect, FixedHeader, Packet, PacketId, Properties, PropertiesBuf,
    Property, PropertyId, PropertyPlace, ProtocolVersion, Publish, PublishFrame, QoS, ReasonCode, Receiver,
    SubAck, SubscribeBuf, SubscriptionOptions, UnsubAck, UnsubscribeBuf, Will, decode, decode_connect,
    matches, split_share, validate_filter, validate_name, write,
};

const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
const RECEIVERS: [Receiver; 2] = [Receiver::Server, Receiver::Client];

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let header = FixedHeader::decode(&bytes);
        if let Ok(Some(header)) = header {
            prop_assert!((2..=5).contains(&header.len));
            prop_assert!(header.packet_len() >= header.len);
        }
        read_all_ways(&bytes);
    }

    #[test]
    fn any_body_never_panics(first in any::<u8>(), body in vec(any::<u8>(), 0..300)) {
        read_all_ways(&with_header(first, &body));
    }

    #[test]
    fn any_connect_body_never_panics(version in version(), rest in vec(any::<u8>(), 0..100)) {
        let mut body = Vec::new();
        write::string(&mut body, version.protocol_name(), crate::Field::ProtocolName)?;
        body.push(version.level());
        body.extend(rest);
        read_all_ways(&with_header(0x10, &body));
    }

    #[test]
    fn any_property_bytes_never_panic(raw in vec(0_u8..0x30, 0..60), place in place()) {
        if let Ok(properties) = Properties::decode(&raw, place) {
            let again: PropertiesBuf = properties.iter().collect();
            prop_assert_eq!(again.as_properties(), properties);
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same(parts in parts()) {
        parts.with_packet(|version, receiver, packet| {
            let bytes = encode(packet, version);
            let header = FixedHeader::decode(&bytes)?.expect("whole");
            prop_assert_eq!(header.packet_len(), bytes.len());
            prop_assert_eq!(header.packet_type(), Some(packet.packet_type()));
            prop_assert!(header.is_minimal());
            prop_assert_eq!(decode(version, receiver, &bytes), Ok(packet));
            if let Packet::Connect(connect) = packet {
                prop_assert_eq!(decode_connect(&bytes), Ok(connect));
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_damaged_packet_never_panics(
        parts in parts(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        parts.with_packet(|version, _, packet| {
            let mut bytes = encode(packet, version);
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            read_all_ways(&bytes);
        });
    }

    #[test]
    fn forwarding_keeps_all_others_in_order(properties in properties(PropertyPlace::PublishToClient)) {
        let properties = properties.as_properties();
        let ours = |property: &Property<'_>| matches!(
            property.id(),
            PropertyId::TopicAlias | PropertyId::MessageExpiryInterval | PropertyId::SubscriptionIdentifier
        );
        let mut forwarded = Vec::new();
        properties.forward_into(&mut forwarded);
        let kept: PropertiesBuf = properties.iter().filter(|property| !ours(property)).collect();
        prop_assert_eq!(Properties::decode(&forwarded, PropertyPlace::PublishToServer), Ok(kept.as_properties()));
        prop_assert_eq!(properties.forwardable(), !properties.iter().any(|property| ours(&property)));
    }

    #[test]
    fn a_will_forwards_as_a_publish(properties in properties(PropertyPlace::Will)) {
        let mut forwarded = Vec::new();
        properties.as_properties().forward_into(&mut forwarded);
        prop_assert!(Properties::decode(&forwarded, PropertyPlace::PublishToServer).is_ok());
    }

    #[test]
    fn a_frame_is_the_packet_it_stands_for(
        parts in parts(),
        alias in prop::option::of(1_u16..),
        expiry in any::<Option<u32>>(),
        ids in vec(1_u32..=268_435_455, 0..3),
    ) {
        let version = parts.version;
        let mut properties = PropertiesBuf::new();
        properties.extend(alias.map(Property::TopicAlias));
        properties.extend(expiry.map(Property::MessageExpiryInterval));
        properties.extend(ids.iter().copied().map(Property::SubscriptionIdentifier));
        let own = parts.user_properties();
        properties.extend(own.as_properties());
        let publish = Publish { properties: properties.as_properties(), ..parts.publish() };
        let frame = PublishFrame {
            version,
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic,
            topic_alias: alias,
            packet_id: publish.packet_id,
            message_expiry: expiry,
            subscription_ids: &ids,
            properties: own.as_properties().raw(),
            payload_len: publish.payload.len(),
        };
        let mut bytes = Vec::new();
        frame.encode_head(&mut bytes);
        bytes.extend_from_slice(publish.payload);
        prop_assert_eq!(bytes.len(), frame.encoded_len());
        prop_assert_eq!(bytes, encode(Packet::Publish(publish), version));
    }

    #[test]
    fn a_filter_is_valid_if_its_levels_are(filter in "[ab+#/]{0,8}") {
        let levels: Vec<&str> = filter.split('/').collect();
        let valid = levels.iter().enumerate().all(|(at, level)| match *level {
            "+" => true,
            "#" => at + 1 == levels.len(),
            text => !text.contains(['+', '#']),
        });
        prop_assert_eq!(validate_filter(&filter).is_ok(), valid && !filter.is_empty());
        prop_assert_eq!(crate::levels(&filter), levels.len());
    }

    #[test]
    fn a_name_matches_itself_and_what_generalises_it(name in "[ab/]{1,8}", at in any::<prop::sample::Index>()) {
        prop_assert_eq!(validate_name(&name), Ok(()));
        prop_assert!(matches(&name, &name));
        prop_assert!(matches("#", &name));
        let mut levels: Vec<&str> = name.split('/').collect();
        let at = at.index(levels.len());
        levels[at] = "+";
        prop_assert!(matches(&levels.join("/"), &name));
        levels[at] = "#";
        prop_assert!(matches(&levels[..=at].join("/"), &name));
    }

    #[test]
    fn a_share_is_put_together_from_its_parts(share in "[a+#/]{0,3}", filter in "[a+#/]{0,4}") {
        let whole = format!("$share/{share}/{filter}");
        if let Ok(parts) = split_share(&whole) {
            let (share, filter) = parts.expect("it begins with $share/");
            prop_assert_eq!(format!("$share/{share}/{filter}"), whole.as_str());
            prop_assert_eq!(validate_filter(filter), Ok(()));
            prop_assert!(!share.is_empty() && !share.contains(['+', '#', '/']));
        }
    }
}

/// Decodes as every receiver in every version; what decodes must survive encoding.
fn read_all_ways(bytes: &[u8]) {
    if let Ok(connect) = decode_connect(bytes) {
        survives(connect.version, Receiver::Server, Packet::Connect(connect));
    }
    for version in VERSIONS {
        for receiver in RECEIVERS {
            if let Ok(packet) = decode(version, receiver, bytes) {
                survives(version, receiver, packet);
            }
        }
    }
}

fn survives(version: ProtocolVersion, receiver: Receiver, packet: Packet<'_>) {
    let bytes = encode(packet, version);
    assert_eq!(decode(version, receiver, &bytes), Ok(packet));
}

fn with_header(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::packet(&mut bytes, first, |out| {
        out.extend_from_slice(body);
        Ok(())
    })
    .unwrap();
    bytes
}

/// Owns what a packet borrows.
#[derive(Debug)]
struct Parts {
    /// 1 to 15; AUTH becomes PINGREQ before 5.0.
    packet_type: u8,
    version: ProtocolVersion,
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
    fn with_packet<T>(&self, check: impl FnOnce(ProtocolVersion, Receiver, Packet<'_>) -> T) -> T {
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

    fn user_properties(&self) -> PropertiesBuf {
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

    fn publish(&self) -> Publish<'_> {
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

fn parts() -> impl Strategy<Value = Parts> {
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
fn properties(place: PropertyPlace) -> impl Strategy<Value = PropertiesBuf> {
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

fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop::sample::select(&VERSIONS[..])
}

fn place() -> impl Strategy<Value = PropertyPlace> {
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
