//! Laws that hold for all bytes and for all packets.

mod any;

use proptest::collection::vec;
use proptest::prelude::*;

use self::any::{parts, place, properties, version};
use crate::table::encode;
use crate::{
    FixedHeader, Packet, Properties, PropertiesBuf, Property, PropertyId, PropertyPlace, ProtocolVersion,
    Publish, PublishFrame, Receiver, decode, decode_connect, matches, split_share, validate_filter,
    validate_name, write,
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
