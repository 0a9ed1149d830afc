use super::*;
use crate::table::{cases, encode, id, properties};
use crate::{Packet, PacketType, PropertiesBuf, Property};

const QOS_0: Publish<'static> = Publish {
    dup: false,
    qos: QoS::AtMostOnce,
    retain: false,
    topic: "a/b",
    packet_id: None,
    properties: Properties::EMPTY,
    payload: b"hi",
};

fn with_id(qos: QoS, packet_id: u16) -> Publish<'static> {
    Publish { qos, packet_id: Some(id(packet_id)), ..QOS_0 }
}

fn with_properties(receiver: Receiver, raw: &'static [u8]) -> Publish<'static> {
    Publish { properties: properties(place(receiver), raw), ..QOS_0 }
}

cases! {
    mqtt31_3_3_qos_0: V31 Server
        [0x30, 0x07, 0x00, 0x03, b'a', b'/', b'b', b'h', b'i'] => Exact Packet::Publish(QOS_0);
    mqtt311_3_3_qos_0: V311 Server [
        0x30, 0x07, // PUBLISH
        0x00, 0x03, b'a', b'/', b'b', // Topic Name
        b'h', b'i', // payload
    ] => Exact Packet::Publish(QOS_0);
    mqtt5_3_3_qos_0: V5 Client [
        0x30, 0x08, // PUBLISH
        0x00, 0x03, b'a', b'/', b'b', // Topic Name
        0x00, // Property Length
        b'h', b'i', // payload
    ] => Exact Packet::Publish(QOS_0);
    mqtt311_3_3_qos_1_retained: V311 Server [
        0x33, 0x09, // PUBLISH, QoS 1, RETAIN
        0x00, 0x03, b'a', b'/', b'b', // Topic Name
        0x00, 0x0A, // Packet Identifier
        b'h', b'i', // payload
    ] => Exact Packet::Publish(Publish { retain: true, ..with_id(QoS::AtLeastOnce, 10) });
    mqtt5_3_3_qos_2_dup: V5 Server [
        0x3C, 0x0A, // PUBLISH, DUP, QoS 2
        0x00, 0x03, b'a', b'/', b'b', // Topic Name
        0xFF, 0xFF, // Packet Identifier
        0x00, // Property Length
        b'h', b'i', // payload
    ] => Exact Packet::Publish(Publish { dup: true, ..with_id(QoS::ExactlyOnce, 65_535) });
    mqtt31_3_3_qos_2: V31 Client [
        0x34, 0x09, // PUBLISH, QoS 2
        0x00, 0x03, b'a', b'/', b'b', // Topic Name
        0x01, 0x00, // Packet Identifier
        b'h', b'i', // payload
    ] => Exact Packet::Publish(with_id(QoS::ExactlyOnce, 256));
    mqtt311_3_3_3_no_payload: V311 Server
        [0x31, 0x05, 0x00, 0x03, b'a', b'/', b'b']
            => Exact Packet::Publish(Publish { retain: true, payload: b"", ..QOS_0 });
    mqtt5_3_3_2_3_all_properties: V5 Server [
        0x30, 0x2D, // PUBLISH
        0x00, 0x03, b'a', b'/', b'b', // Topic Name
        0x25, // Property Length
        0x01, 0x01, // Payload Format Indicator: text
        0x02, 0x00, 0x00, 0x00, 0x0A, // Message Expiry Interval
        0x23, 0x00, 0x07, // Topic Alias
        0x08, 0x00, 0x02, b'r', b'/', // Response Topic
        0x09, 0x00, 0x01, 0x00, // Correlation Data
        0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'v', // User Property
        0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'w', // User Property of the same name
        0x03, 0x00, 0x01, b't', // Content Type
        b'h', b'i', // payload
    ] => Exact Packet::Publish(with_properties(Receiver::Server, &[
        0x01, 0x01, 0x02, 0x00, 0x00, 0x00, 0x0A, 0x23, 0x00, 0x07, 0x08, 0x00, 0x02, b'r', b'/',
        0x09, 0x00, 0x01, 0x00, 0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'v',
        0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'w', 0x03, 0x00, 0x01, b't',
    ]));
    mqtt5_3_3_2_1_alias_stands_for_the_topic: V5 Server [
        0x30, 0x08, // PUBLISH
        0x00, 0x00, // empty Topic Name
        0x03, 0x23, 0x00, 0x01, // Topic Alias
        b'h', b'i', // payload
    ]
        => Exact Packet::Publish(Publish { topic: "", ..with_properties(Receiver::Server, &[0x23, 0x00, 0x01]) });
    mqtt5_3_3_4_4_two_subscription_identifiers: V5 Client [
        0x30, 0x0D, // PUBLISH
        0x00, 0x03, b'a', b'/', b'b', // Topic Name
        0x05, 0x0B, 0x01, 0x0B, 0x80, 0x01, // Subscription Identifiers 1 and 128
        b'h', b'i', // payload
    ] => Exact Packet::Publish(with_properties(Receiver::Client, &[0x0B, 0x01, 0x0B, 0x80, 0x01]));
    mqtt311_1_5_3_3_byte_order_mark_stays: V311 Server
        [0x30, 0x05, 0x00, 0x03, 0xEF, 0xBB, 0xBF]
            => Exact Packet::Publish(Publish { topic: "\u{FEFF}", payload: b"", ..QOS_0 });
    mqtt31_3_3_dup_with_qos_0: V31 Server
        [0x38, 0x05, 0x00, 0x03, b'a', b'/', b'b']
            => Exact Packet::Publish(Publish { dup: true, payload: b"", ..QOS_0 });

    mqtt311_3_3_1_2_dup_with_qos_0: V311 Server
        [0x38, 0x05, 0x00, 0x03, b'a', b'/', b'b'] => Error DecodeError::DupWithQos0;
    mqtt5_3_3_1_2_dup_with_qos_0: V5 Server
        [0x38, 0x06, 0x00, 0x03, b'a', b'/', b'b', 0x00] => Error DecodeError::DupWithQos0;
    mqtt311_3_3_1_4_qos_3: V311 Server
        [0x36, 0x07, 0x00, 0x03, b'a', b'/', b'b', 0x00, 0x01] => Error DecodeError::PublishQos;
    mqtt5_3_3_1_4_qos_3: V5 Server
        [0x36, 0x08, 0x00, 0x03, b'a', b'/', b'b', 0x00, 0x01, 0x00] => Error DecodeError::PublishQos;
    mqtt31_3_3_qos_3: V31 Server
        [0x36, 0x07, 0x00, 0x03, b'a', b'/', b'b', 0x00, 0x01] => Error DecodeError::PublishQos;
    mqtt311_3_3_2_1_topic_not_utf8: V311 Server
        [0x30, 0x03, 0x00, 0x01, 0xFE] => Error DecodeError::NotUtf8(Field::TopicName);
    mqtt5_3_3_2_1_topic_not_utf8: V5 Server
        [0x30, 0x06, 0x00, 0x03, 0xED, 0xBF, 0xBF, 0x00] => Error DecodeError::NotUtf8(Field::TopicName);
    mqtt311_1_5_3_2_nul_in_the_topic: V311 Server
        [0x30, 0x05, 0x00, 0x03, b'a', 0x00, b'b'] => Error DecodeError::NulInString(Field::TopicName);
    mqtt311_3_3_2_2_plus_in_the_topic: V311 Server
        [0x30, 0x05, 0x00, 0x03, b'a', b'/', b'+'] => Error DecodeError::TopicName;
    mqtt5_3_3_2_2_hash_in_the_topic: V5 Server
        [0x30, 0x06, 0x00, 0x03, b'#', b'/', b'b', 0x00] => Error DecodeError::TopicName;
    mqtt311_4_7_3_1_empty_topic: V311 Server
        [0x30, 0x04, 0x00, 0x00, b'h', b'i'] => Error DecodeError::EmptyTopicName;
    mqtt5_3_3_2_1_empty_topic_without_alias: V5 Server
        [0x30, 0x03, 0x00, 0x00, 0x00] => Error DecodeError::EmptyTopicName;
    mqtt311_2_3_1_1_publish_identifier_0: V311 Server
        [0x32, 0x05, 0x00, 0x01, b'a', 0x00, 0x00] => Error DecodeError::PacketIdZero;
    mqtt5_2_2_1_4_publish_identifier_0: V5 Client
        [0x34, 0x06, 0x00, 0x01, b'a', 0x00, 0x00, 0x00] => Error DecodeError::PacketIdZero;
    qos_1_without_identifier: V311 Server
        [0x32, 0x04, 0x00, 0x01, b'a', 0x00] => Error DecodeError::EndsInside(Field::PacketId);
    no_topic_at_all: V311 Server [0x30, 0x00] => Error DecodeError::EndsInside(Field::TopicName);
    topic_longer_than_the_packet: V311 Server
        [0x30, 0x04, 0xFF, 0xFF, b'a', b'b'] => Error DecodeError::EndsInside(Field::TopicName);
    mqtt5_3_3_2_3_no_property_length: V5 Server
        [0x30, 0x03, 0x00, 0x01, b'a'] => Error DecodeError::EndsInside(Field::PropertyLength);
    mqtt5_3_3_4_6_subscription_identifier_from_a_client: V5 Server
        [0x30, 0x06, 0x00, 0x01, b'a', 0x02, 0x0B, 0x01]
        => Error DecodeError::PropertyWrongDirection(PropertyId::SubscriptionIdentifier);
    mqtt5_3_3_2_8_topic_alias_0: V5 Server
        [0x30, 0x07, 0x00, 0x01, b'a', 0x03, 0x23, 0x00, 0x00] => Error DecodeError::TopicAliasZero;
    mqtt5_3_3_2_3_4_topic_alias_twice: V5 Server
        [0x30, 0x0A, 0x00, 0x01, b'a', 0x06, 0x23, 0x00, 0x01, 0x23, 0x00, 0x01]
        => Error DecodeError::DuplicateProperty(PropertyId::TopicAlias);
    mqtt5_3_3_2_14_wildcard_in_the_response_topic: V5 Server
        [0x30, 0x08, 0x00, 0x01, b'a', 0x04, 0x08, 0x00, 0x01, b'#'] => Error DecodeError::ResponseTopic;
    mqtt5_3_3_2_13_response_topic_not_utf8: V5 Server
        [0x30, 0x08, 0x00, 0x01, b'a', 0x04, 0x08, 0x00, 0x01, 0xFF]
        => Error DecodeError::NotUtf8(Field::Property(PropertyId::ResponseTopic));
    mqtt5_3_3_2_19_content_type_not_utf8: V5 Server
        [0x30, 0x08, 0x00, 0x01, b'a', 0x04, 0x03, 0x00, 0x01, 0xFF]
        => Error DecodeError::NotUtf8(Field::Property(PropertyId::ContentType));
    mqtt5_3_3_2_3_2_payload_format_2: V5 Server
        [0x30, 0x06, 0x00, 0x01, b'a', 0x02, 0x01, 0x02]
        => Error DecodeError::PropertyValue(PropertyId::PayloadFormatIndicator);
    mqtt5_2_2_2_2_property_of_connect: V5 Server
        [0x30, 0x07, 0x00, 0x01, b'a', 0x03, 0x21, 0x00, 0x01]
        => Error DecodeError::PropertyNotAllowed(PropertyId::ReceiveMaximum);
    mqtt5_3_3_2_3_will_delay_is_not_for_publish: V5 Client
        [0x30, 0x09, 0x00, 0x01, b'a', 0x05, 0x18, 0x00, 0x00, 0x00, 0x00]
        => Error DecodeError::PropertyNotAllowed(PropertyId::WillDelayInterval);
}

#[test]
fn refuses_to_write_what_it_would_not_read() {
    let refused = |publish: Publish<'_>| {
        Packet::Publish(publish).encode(ProtocolVersion::V311, &mut Vec::new()).unwrap_err()
    };
    assert_eq!(refused(Publish { packet_id: Some(id(1)), ..QOS_0 }), EncodeError::PacketId);
    assert_eq!(refused(Publish { qos: QoS::AtLeastOnce, ..QOS_0 }), EncodeError::PacketId);
    assert_eq!(refused(Publish { dup: true, ..QOS_0 }), EncodeError::DupWithQos0);
    let topic = "a".repeat(65_536);
    assert_eq!(refused(Publish { topic: &topic, ..QOS_0 }), EncodeError::TooLong(Field::TopicName));
}

#[test]
fn older_versions_leave_out_the_properties() {
    let publish = Packet::Publish(with_properties(Receiver::Server, &[0x01, 0x01]));
    assert_eq!(encode(publish, ProtocolVersion::V311), b"\x30\x07\x00\x03a/bhi");
}

/// A frame with everything a broker can add.
fn frame(version: ProtocolVersion) -> PublishFrame<'static> {
    PublishFrame {
        version,
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "a/b",
        topic_alias: Some(7),
        packet_id: Some(id(10)),
        message_expiry: Some(60),
        subscription_ids: &[1, 128],
        properties: &[0x01, 0x01],
        payload_len: 2,
    }
}

fn written(frame: &PublishFrame<'_>) -> Vec<u8> {
    let mut out = vec![0xAA];
    frame.encode_head(&mut out);
    out.extend(std::iter::repeat_n(b'x', frame.payload_len));
    assert_eq!(out.remove(0), 0xAA);
    assert_eq!(out.len(), frame.encoded_len());
    out
}

#[test]
fn frame_in_5_0_carries_everything() {
    let bytes = written(&frame(ProtocolVersion::V5));
    let mut expected = PropertiesBuf::new();
    expected.extend([
        Property::TopicAlias(7),
        Property::MessageExpiryInterval(60),
        Property::SubscriptionIdentifier(1),
        Property::SubscriptionIdentifier(128),
        Property::PayloadFormatIndicator(1),
    ]);
    let publish = Publish {
        dup: true,
        retain: true,
        properties: expected.as_properties(),
        payload: b"xx",
        ..with_id(QoS::AtLeastOnce, 10)
    };
    assert_eq!(crate::decode(ProtocolVersion::V5, Receiver::Client, &bytes), Ok(Packet::Publish(publish)));
    assert_eq!(bytes[0], PacketType::Publish.first_byte() | 0x0B);
}

#[test]
fn frame_in_3_1_1_leaves_out_what_5_0_added() {
    let bytes = written(&frame(ProtocolVersion::V311));
    let publish = Publish { dup: true, retain: true, payload: b"xx", ..with_id(QoS::AtLeastOnce, 10) };
    assert_eq!(bytes, encode(Packet::Publish(publish), ProtocolVersion::V311));
}

#[test]
fn frame_with_a_known_alias_leaves_out_the_topic() {
    let frame = PublishFrame {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "",
        packet_id: None,
        message_expiry: None,
        subscription_ids: &[],
        properties: &[],
        ..frame(ProtocolVersion::V5)
    };
    assert_eq!(written(&frame), [0x30, 0x08, 0x00, 0x00, 0x03, 0x23, 0x00, 0x07, b'x', b'x']);
}

#[test]
fn frame_lengths_at_the_edges() {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        for payload_len in [0, 100, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            for spare in 0..20 {
                let frame =
                    PublishFrame { payload_len: payload_len - spare.min(payload_len), ..frame(version) };
                let mut head = Vec::new();
                frame.encode_head(&mut head);
                assert_eq!(head.len() + frame.payload_len, frame.encoded_len());
                let header = crate::FixedHeader::decode(&head).unwrap().unwrap();
                assert_eq!(header.packet_len(), frame.encoded_len());
                assert!(header.is_minimal());
            }
        }
    }
}

#[test]
fn a_frame_of_more_than_256_mib_does_not_fit() {
    let frame = |payload_len| PublishFrame { payload_len, ..frame(ProtocolVersion::V5) };
    assert!(frame(crate::MAX_REMAINING_LENGTH as usize - 100).fits());
    assert!(!frame(crate::MAX_REMAINING_LENGTH as usize).fits());
}
