use super::*;
use crate::table::{cases, encode, id, properties};
use crate::{Field, Packet};

fn suback(codes: &'static [u8]) -> SubAck<'static> {
    SubAck { packet_id: id(10), properties: Properties::EMPTY, codes }
}

cases! {
    mqtt31_3_9_three_codes: V31 Client [
        0x90, 0x05, // SUBACK
        0x00, 0x0A, // Packet Identifier
        0x00, 0x01, 0x02, // granted
    ] => Exact Packet::SubAck(suback(&[0, 1, 2]));
    mqtt311_3_9_3_failure: V311 Client [
        0x90, 0x04, // SUBACK
        0x00, 0x0A, // Packet Identifier
        0x02, 0x80, // granted QoS 2, failure
    ] => Exact Packet::SubAck(suback(&[0x02, 0x80]));
    mqtt5_3_9_codes: V5 Client [
        0x90, 0x05, // SUBACK
        0x00, 0x0A, // Packet Identifier
        0x00, // Property Length
        0x01, 0x8F, // granted QoS 1, Topic Filter invalid
    ] => Exact Packet::SubAck(suback(&[0x01, 0x8F]));
    mqtt5_3_9_2_properties: V5 Client [
        0x90, 0x0B, // SUBACK
        0x00, 0x0A, // Packet Identifier
        0x07, // Property Length
        0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'v', // User Property
        0x00, // granted QoS 0
    ] => Exact Packet::SubAck(SubAck {
        properties: properties(PropertyPlace::Acknowledgement, &[0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'v']),
        ..suback(&[0x00])
    });

    mqtt311_3_9_3_2_reserved_code: V311 Client
        [0x90, 0x03, 0x00, 0x0A, 0x03] => Error DecodeError::ReasonCode(0x03);
    mqtt311_3_9_3_2_code_of_5_0: V311 Client
        [0x90, 0x03, 0x00, 0x0A, 0x87] => Error DecodeError::ReasonCode(0x87);
    mqtt5_3_9_3_2_reserved_code: V5 Client
        [0x90, 0x04, 0x00, 0x0A, 0x00, 0x11] => Error DecodeError::ReasonCode(0x11);
    mqtt311_3_9_no_code: V311 Client [0x90, 0x02, 0x00, 0x0A] => Error DecodeError::NoReasonCode;
    mqtt5_3_9_no_code: V5 Client [0x90, 0x03, 0x00, 0x0A, 0x00] => Error DecodeError::NoReasonCode;
    mqtt5_3_9_no_property_length: V5 Client
        [0x90, 0x02, 0x00, 0x0A] => Error DecodeError::EndsInside(Field::PropertyLength);
    mqtt311_2_2_2_1_suback_flags: V311 Client
        [0x92, 0x03, 0x00, 0x0A, 0x00] => Error DecodeError::Flags(PacketType::SubAck);
    mqtt5_2_2_1_6_suback_identifier_0: V5 Client
        [0x90, 0x04, 0x00, 0x00, 0x00, 0x00] => Error DecodeError::PacketIdZero;
}

#[test]
fn mqtt311_3_9_3_2_older_versions_know_one_failure() {
    let packet = Packet::SubAck(suback(&[0x01, 0x87, 0x80]));
    assert_eq!(encode(packet, ProtocolVersion::V311), [0x90, 0x05, 0x00, 0x0A, 0x01, 0x80, 0x80]);
}

#[test]
fn refuses_to_answer_nothing() {
    let refused = Packet::SubAck(suback(&[])).encode(ProtocolVersion::V5, &mut Vec::new());
    assert_eq!(refused, Err(EncodeError::Empty(PacketType::SubAck)));
}
