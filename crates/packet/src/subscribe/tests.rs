use super::*;
use crate::table::{cases, encode, properties, subscribe};
use crate::{Packet, PropertyId};

const QOS_0: SubscriptionOptions = SubscriptionOptions::with_qos(QoS::AtMostOnce);
const QOS_1: SubscriptionOptions = SubscriptionOptions::with_qos(QoS::AtLeastOnce);
const QOS_2: SubscriptionOptions = SubscriptionOptions::with_qos(QoS::ExactlyOnce);
/// 0x2E: everything 5.0 can ask for.
const EVERYTHING: SubscriptionOptions = SubscriptionOptions {
    qos: QoS::ExactlyOnce,
    no_local: true,
    retain_as_published: true,
    retain_handling: RetainHandling::DoNotSend,
};

cases! {
    mqtt31_3_8_one_filter: V31 Server [
        0x82, 0x08, // SUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, 0x03, b'a', b'/', b'b', // Topic Filter
        0x01, // Requested QoS
    ] => Exact Packet::Subscribe(subscribe(10, Properties::EMPTY, &[("a/b", QOS_1)]));
    mqtt311_3_8_two_filters: V311 Server [
        0x82, 0x0B, // SUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, 0x01, b'#', // Topic Filter
        0x02, // Requested QoS
        0x00, 0x02, 0xC3, 0xA4, // Topic Filter "ä"
        0x00, // Requested QoS
    ] => Exact Packet::Subscribe(subscribe(10, Properties::EMPTY, &[("#", QOS_2), ("ä", QOS_0)]));
    mqtt5_3_8_3_1_all_options: V5 Server [
        0x82, 0x07, // SUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, // Property Length
        0x00, 0x01, b'+', // Topic Filter
        0x2E, // Retain Handling 2, Retain As Published, No Local, QoS 2
    ] => Exact Packet::Subscribe(subscribe(10, Properties::EMPTY, &[("+", EVERYTHING)]));
    mqtt5_3_8_2_1_2_subscription_identifier: V5 Server [
        0x82, 0x0A, // SUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x03, // Property Length
        0x0B, 0x80, 0x01, // Subscription Identifier 128
        0x00, 0x01, b'a', // Topic Filter
        0x01, // QoS 1
    ] => Exact Packet::Subscribe(subscribe(
        10,
        properties(PropertyPlace::Subscribe, &[0x0B, 0x80, 0x01]),
        &[("a", QOS_1)],
    ));
    mqtt5_3_8_odd_filters_are_for_the_caller: V5 Server [
        0x82, 0x0B, // SUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, // Property Length
        0x00, 0x00, // empty Topic Filter
        0x00, // QoS 0
        0x00, 0x02, b'a', b'#', // Topic Filter "a#"
        0x00, // QoS 0
    ] => Exact Packet::Subscribe(subscribe(10, Properties::EMPTY, &[("", QOS_0), ("a#", QOS_0)]));
    mqtt31_3_8_dup: V31 Server [
        0x8A, 0x06, // SUBSCRIBE, DUP, QoS 1
        0x00, 0x0A, // Packet Identifier
        0x00, 0x01, b'a', // Topic Filter
        0x00, // Requested QoS
    ] => Lenient Packet::Subscribe(subscribe(10, Properties::EMPTY, &[("a", QOS_0)]));
    mqtt31_3_8_unused_bits_of_the_requested_qos: V31 Server [
        0x80, 0x06, // SUBSCRIBE, QoS 0
        0x00, 0x0A, // Packet Identifier
        0x00, 0x01, b'a', // Topic Filter
        0xFD, // Requested QoS 1, the rest is not used
    ] => Lenient Packet::Subscribe(subscribe(10, Properties::EMPTY, &[("a", QOS_1)]));

    mqtt311_3_8_3_3_no_filter: V311 Server [0x82, 0x02, 0x00, 0x0A] => Error DecodeError::NoTopicFilter;
    mqtt5_3_8_3_2_no_filter: V5 Server [0x82, 0x03, 0x00, 0x0A, 0x00] => Error DecodeError::NoTopicFilter;
    mqtt31_3_8_no_filter: V31 Server [0x82, 0x02, 0x00, 0x0A] => Error DecodeError::NoTopicFilter;
    mqtt311_3_8_3_4_qos_3: V311 Server
        [0x82, 0x06, 0x00, 0x0A, 0x00, 0x01, b'a', 0x03] => Error DecodeError::SubscribeQos;
    mqtt31_3_8_qos_3: V31 Server
        [0x82, 0x06, 0x00, 0x0A, 0x00, 0x01, b'a', 0x03] => Error DecodeError::SubscribeQos;
    mqtt5_3_8_3_1_qos_3: V5 Server
        [0x82, 0x07, 0x00, 0x0A, 0x00, 0x00, 0x01, b'a', 0x03] => Error DecodeError::SubscribeQos;
    mqtt5_3_8_3_1_retain_handling_3: V5 Server
        [0x82, 0x07, 0x00, 0x0A, 0x00, 0x00, 0x01, b'a', 0x30] => Error DecodeError::RetainHandling;
    mqtt311_3_8_3_4_reserved_bits: V311 Server
        [0x82, 0x06, 0x00, 0x0A, 0x00, 0x01, b'a', 0x04] => Error DecodeError::SubscriptionOptions;
    mqtt5_3_8_3_5_reserved_bit_6: V5 Server
        [0x82, 0x07, 0x00, 0x0A, 0x00, 0x00, 0x01, b'a', 0x40] => Error DecodeError::SubscriptionOptions;
    mqtt5_3_8_3_5_reserved_bit_7: V5 Server
        [0x82, 0x07, 0x00, 0x0A, 0x00, 0x00, 0x01, b'a', 0x80] => Error DecodeError::SubscriptionOptions;
    mqtt311_3_8_1_1_flags_0: V311 Server
        [0x80, 0x06, 0x00, 0x0A, 0x00, 0x01, b'a', 0x00] => Error DecodeError::Flags(PacketType::Subscribe);
    mqtt311_3_8_1_1_flags_dup: V311 Server
        [0x8A, 0x06, 0x00, 0x0A, 0x00, 0x01, b'a', 0x00] => Error DecodeError::Flags(PacketType::Subscribe);
    mqtt5_3_8_1_1_flags_3: V5 Server
        [0x83, 0x07, 0x00, 0x0A, 0x00, 0x00, 0x01, b'a', 0x00]
            => Error DecodeError::Flags(PacketType::Subscribe);
    mqtt311_2_3_1_1_subscribe_identifier_0: V311 Server
        [0x82, 0x06, 0x00, 0x00, 0x00, 0x01, b'a', 0x00] => Error DecodeError::PacketIdZero;
    mqtt5_2_2_1_3_subscribe_identifier_0: V5 Server
        [0x82, 0x07, 0x00, 0x00, 0x00, 0x00, 0x01, b'a', 0x00] => Error DecodeError::PacketIdZero;
    mqtt311_3_8_3_1_not_utf8: V311 Server
        [0x82, 0x06, 0x00, 0x0A, 0x00, 0x01, 0xC0, 0x00] => Error DecodeError::NotUtf8(Field::TopicFilter);
    mqtt5_1_5_4_1_surrogate_in_the_filter: V5 Server [
        0x82, 0x09, // SUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, // Property Length
        0x00, 0x03, 0xED, 0xA0, 0x80, // U+D800
        0x00, // QoS 0
    ] => Error DecodeError::NotUtf8(Field::TopicFilter);
    mqtt311_1_5_3_2_nul_in_the_filter: V311 Server
        [0x82, 0x06, 0x00, 0x0A, 0x00, 0x01, 0x00, 0x00]
            => Error DecodeError::NulInString(Field::TopicFilter);
    filter_without_options: V311 Server
        [0x82, 0x05, 0x00, 0x0A, 0x00, 0x01, b'a']
            => Error DecodeError::EndsInside(Field::SubscriptionOptions);
    mqtt5_3_8_2_1_2_subscription_identifier_0: V5 Server
        [0x82, 0x09, 0x00, 0x0A, 0x02, 0x0B, 0x00, 0x00, 0x01, b'a', 0x00]
        => Error DecodeError::PropertyValue(PropertyId::SubscriptionIdentifier);
    mqtt5_3_8_2_1_2_subscription_identifier_twice: V5 Server
        [0x82, 0x0B, 0x00, 0x0A, 0x04, 0x0B, 0x01, 0x0B, 0x01, 0x00, 0x01, b'a', 0x00]
        => Error DecodeError::DuplicateProperty(PropertyId::SubscriptionIdentifier);
}

#[test]
fn options_and_bits_agree() {
    for bits in 0..=255_u8 {
        let valid = bits & 0xC0 == 0 && bits & 0x03 != 3 && bits >> 4 != 3;
        let options = SubscriptionOptions::from_bits(bits);
        assert_eq!(options.is_some(), valid, "{bits:#x}");
        assert!(options.is_none_or(|options| options.bits() == bits));
    }
    assert_eq!(EVERYTHING.bits(), 0x2E);
    assert_eq!(SubscriptionOptions::default(), QOS_0);
}

#[test]
fn filters_know_how_many_they_are() {
    let packet = subscribe(1, Properties::EMPTY, &[("a", QOS_0), ("b", QOS_1)]);
    let mut filters = packet.filters();
    assert_eq!(filters.len(), 2);
    assert_eq!(filters.next(), Some(SubscribeFilter { filter: "a", options: QOS_0 }));
    assert_eq!(filters.len(), 1);
    assert_eq!(filters.map(|subscription| subscription.filter).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn older_versions_leave_out_all_options_but_the_qos() {
    let packet = Packet::Subscribe(subscribe(10, Properties::EMPTY, &[("a", EVERYTHING)]));
    let bytes = [0x82, 0x06, 0x00, 0x0A, 0x00, 0x01, b'a', 0x02];
    assert_eq!(encode(packet, ProtocolVersion::V311), bytes);
}

#[test]
fn the_builder_refuses_what_cannot_be_written() {
    let mut buf = SubscribeBuf::new();
    assert_eq!(buf.push(&"a".repeat(65_536), QOS_0), Err(EncodeError::TooLong(Field::TopicFilter)));
    let empty = Packet::Subscribe(buf.subscribe(PacketId::FIRST, Properties::EMPTY));
    let refused = empty.encode(ProtocolVersion::V5, &mut Vec::new());
    assert_eq!(refused, Err(EncodeError::Empty(PacketType::Subscribe)));
}
