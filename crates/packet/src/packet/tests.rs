//! Packets without a body, and what the fixed header alone decides.

use crate::table::cases;
use crate::{DecodeError, EncodeError, Field, Packet, PacketType};

cases! {
    mqtt31_3_12_pingreq: V31 Server [0xC0, 0x00] => Exact Packet::PingReq;
    mqtt311_3_12_pingreq: V311 Server [0xC0, 0x00] => Exact Packet::PingReq;
    mqtt5_3_12_pingreq: V5 Server [0xC0, 0x00] => Exact Packet::PingReq;
    mqtt31_3_13_pingresp: V31 Client [0xD0, 0x00] => Exact Packet::PingResp;
    mqtt311_3_13_pingresp: V311 Client [0xD0, 0x00] => Exact Packet::PingResp;
    mqtt5_3_13_pingresp: V5 Client [0xD0, 0x00] => Exact Packet::PingResp;

    mqtt5_3_12_pingreq_with_a_body: V5 Server [0xC0, 0x01, 0x00] => Error DecodeError::TrailingBytes;
    mqtt5_3_13_pingresp_with_a_body: V5 Client [0xD0, 0x01, 0x00] => Error DecodeError::TrailingBytes;

    mqtt311_2_2_2_1_pingreq_flags: V311 Server [0xC1, 0x00] => Error DecodeError::Flags(PacketType::PingReq);
    mqtt5_2_1_3_1_pingreq_flags: V5 Server [0xC8, 0x00] => Error DecodeError::Flags(PacketType::PingReq);
    mqtt31_pingreq_flags: V31 Server [0xC2, 0x00] => Error DecodeError::Flags(PacketType::PingReq);

    mqtt311_2_2_1_type_0_is_reserved: V311 Server [0x00, 0x00] => Error DecodeError::PacketType(0);
    mqtt5_2_1_2_type_0_is_reserved: V5 Client [0x00, 0x00] => Error DecodeError::PacketType(0);
    mqtt311_2_2_1_type_15_is_reserved: V311 Server [0xF0, 0x00] => Error DecodeError::PacketType(15);
    mqtt31_2_1_type_15_is_reserved: V31 Client [0xF0, 0x00] => Error DecodeError::PacketType(15);

    connect_to_a_client: V5 Client [0x10, 0x00] => Error DecodeError::WrongDirection(PacketType::Connect);
    connack_to_a_server: V5 Server [0x20, 0x00] => Error DecodeError::WrongDirection(PacketType::ConnAck);
    subscribe_to_a_client: V311 Client
        [0x82, 0x00] => Error DecodeError::WrongDirection(PacketType::Subscribe);
    suback_to_a_server: V311 Server [0x90, 0x00] => Error DecodeError::WrongDirection(PacketType::SubAck);
    unsubscribe_to_a_client: V5 Client
        [0xA2, 0x00] => Error DecodeError::WrongDirection(PacketType::Unsubscribe);
    unsuback_to_a_server: V5 Server [0xB0, 0x00] => Error DecodeError::WrongDirection(PacketType::UnsubAck);
    pingreq_to_a_client: V311 Client [0xC0, 0x00] => Error DecodeError::WrongDirection(PacketType::PingReq);
    pingresp_to_a_server: V5 Server [0xD0, 0x00] => Error DecodeError::WrongDirection(PacketType::PingResp);
    disconnect_to_a_3_1_1_client: V311 Client
        [0xE0, 0x00] => Error DecodeError::WrongDirection(PacketType::Disconnect);

    mqtt311_2_2_3_padded_length_is_allowed: V311 Server [0xC0, 0x80, 0x80, 0x00] => Lenient Packet::PingReq;
    mqtt31_2_1_padded_length_is_allowed: V31 Server [0xC0, 0x80, 0x00] => Lenient Packet::PingReq;
    mqtt5_1_5_5_1_padded_length: V5 Server
        [0xC0, 0x80, 0x00] => Error DecodeError::VarIntNotMinimal(Field::RemainingLength);
    five_length_bytes: V311 Server
        [0xC0, 0x80, 0x80, 0x80, 0x80, 0x00] => Error DecodeError::RemainingLength;
    a_body_shorter_than_announced: V311 Server [0xC0, 0x02, 0x00] => Error DecodeError::Incomplete;
}

#[test]
fn names_its_type() {
    assert_eq!(Packet::PingReq.packet_type(), PacketType::PingReq);
    assert_eq!(Packet::PingResp.packet_type().to_string(), "PINGRESP");
}

#[test]
fn errors_say_what_and_where() {
    assert_eq!(
        DecodeError::EndsInside(Field::ClientId).to_string(),
        "the packet ends inside Client Identifier"
    );
    assert_eq!(
        DecodeError::Flags(PacketType::PubRel).to_string(),
        "the fixed header of PUBREL has reserved flags set"
    );
    assert_eq!(EncodeError::TooLong(Field::TopicName).to_string(), "Topic Name is longer than 65535 bytes");
    assert!(size_of::<DecodeError>() <= 4, "errors travel in registers");
}
