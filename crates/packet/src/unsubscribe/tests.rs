use super::*;
use crate::Packet;
use crate::table::{cases, properties, unsubscribe};

cases! {
    mqtt31_3_10_one_filter: V31 Server [
        0xA2, 0x07, // UNSUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, 0x03, b'a', b'/', b'b', // Topic Filter
    ] => Exact Packet::Unsubscribe(unsubscribe(10, Properties::EMPTY, &["a/b"]));
    mqtt311_3_10_two_filters: V311 Server [
        0xA2, 0x09, // UNSUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, 0x01, b'#', // Topic Filter
        0x00, 0x02, 0xC3, 0xA4, // Topic Filter "ä"
    ] => Exact Packet::Unsubscribe(unsubscribe(10, Properties::EMPTY, &["#", "ä"]));
    mqtt5_3_10_one_filter: V5 Server [
        0xA2, 0x06, // UNSUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, // Property Length
        0x00, 0x01, b'+', // Topic Filter
    ] => Exact Packet::Unsubscribe(unsubscribe(10, Properties::EMPTY, &["+"]));
    mqtt5_3_10_2_1_user_property: V5 Server [
        0xA2, 0x0B, // UNSUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x05, // Property Length
        0x26, 0x00, 0x00, 0x00, 0x00, // User Property, both strings empty
        0x00, 0x01, b'a', // Topic Filter
    ] => Exact Packet::Unsubscribe(unsubscribe(
        10,
        properties(PropertyPlace::Unsubscribe, &[0x26, 0x00, 0x00, 0x00, 0x00]),
        &["a"],
    ));
    mqtt311_3_10_odd_filters_are_for_the_caller: V311 Server [
        0xA2, 0x08, // UNSUBSCRIBE
        0x00, 0x0A, // Packet Identifier
        0x00, 0x00, // empty Topic Filter
        0x00, 0x02, b'#', b'a', // Topic Filter "#a"
    ] => Exact Packet::Unsubscribe(unsubscribe(10, Properties::EMPTY, &["", "#a"]));
    mqtt31_3_10_dup: V31 Server [
        0xAA, 0x05, // UNSUBSCRIBE, DUP, QoS 1
        0x00, 0x0A, // Packet Identifier
        0x00, 0x01, b'a', // Topic Filter
    ] => Lenient Packet::Unsubscribe(unsubscribe(10, Properties::EMPTY, &["a"]));

    mqtt311_3_10_3_2_no_filter: V311 Server [0xA2, 0x02, 0x00, 0x0A] => Error DecodeError::NoTopicFilter;
    mqtt5_3_10_3_2_no_filter: V5 Server [0xA2, 0x03, 0x00, 0x0A, 0x00] => Error DecodeError::NoTopicFilter;
    mqtt31_3_10_no_filter: V31 Server [0xA2, 0x02, 0x00, 0x0A] => Error DecodeError::NoTopicFilter;
    mqtt311_3_10_1_1_flags_0: V311 Server
        [0xA0, 0x05, 0x00, 0x0A, 0x00, 0x01, b'a'] => Error DecodeError::Flags(PacketType::Unsubscribe);
    mqtt5_3_10_1_1_flags_dup: V5 Server
        [0xAA, 0x06, 0x00, 0x0A, 0x00, 0x00, 0x01, b'a'] => Error DecodeError::Flags(PacketType::Unsubscribe);
    mqtt311_2_3_1_1_unsubscribe_identifier_0: V311 Server
        [0xA2, 0x05, 0x00, 0x00, 0x00, 0x01, b'a'] => Error DecodeError::PacketIdZero;
    mqtt311_3_10_3_1_not_utf8: V311 Server
        [0xA2, 0x05, 0x00, 0x0A, 0x00, 0x01, 0xFF] => Error DecodeError::NotUtf8(Field::TopicFilter);
    mqtt5_1_5_4_2_nul_in_the_filter: V5 Server
        [0xA2, 0x06, 0x00, 0x0A, 0x00, 0x00, 0x01, 0x00]
            => Error DecodeError::NulInString(Field::TopicFilter);
    filter_longer_than_the_packet: V311 Server
        [0xA2, 0x05, 0x00, 0x0A, 0x00, 0x02, b'a'] => Error DecodeError::EndsInside(Field::TopicFilter);
}

#[test]
fn filters_know_how_many_they_are() {
    let packet = unsubscribe(1, Properties::EMPTY, &["a", "b"]);
    let mut filters = packet.filters();
    assert_eq!(filters.len(), 2);
    assert_eq!(filters.next(), Some("a"));
    assert_eq!(filters.len(), 1);
    assert_eq!(filters.collect::<Vec<_>>(), ["b"]);
}

#[test]
fn the_builder_refuses_what_cannot_be_written() {
    let mut buf = UnsubscribeBuf::new();
    assert_eq!(buf.push(&"a".repeat(65_536)), Err(EncodeError::TooLong(Field::TopicFilter)));
    let empty = Packet::Unsubscribe(buf.unsubscribe(PacketId::FIRST, Properties::EMPTY));
    let refused = empty.encode(ProtocolVersion::V311, &mut Vec::new());
    assert_eq!(refused, Err(EncodeError::Empty(PacketType::Unsubscribe)));
}
