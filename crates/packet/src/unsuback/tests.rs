use super::*;
use crate::table::{cases, encode, id, properties};
use crate::{Field, Packet};

fn unsuback(codes: &'static [u8]) -> UnsubAck<'static> {
    UnsubAck { packet_id: id(10), properties: Properties::EMPTY, codes }
}

cases! {
    mqtt31_3_11_unsuback: V31 Client [0xB0, 0x02, 0x00, 0x0A] => Exact Packet::UnsubAck(unsuback(&[]));
    mqtt311_3_11_unsuback: V311 Client [0xB0, 0x02, 0x00, 0x0A] => Exact Packet::UnsubAck(unsuback(&[]));
    mqtt5_3_11_codes: V5 Client [
        0xB0, 0x05, // UNSUBACK
        0x00, 0x0A, // Packet Identifier
        0x00, // Property Length
        0x00, 0x11, // Success, No subscription existed
    ] => Exact Packet::UnsubAck(unsuback(&[0x00, 0x11]));
    mqtt5_3_11_2_properties: V5 Client [
        0xB0, 0x08, // UNSUBACK
        0x00, 0x0A, // Packet Identifier
        0x04, // Property Length
        0x1F, 0x00, 0x01, b'!', // Reason String
        0x87, // Not authorized
    ] => Exact Packet::UnsubAck(UnsubAck {
        properties: properties(PropertyPlace::Acknowledgement, &[0x1F, 0x00, 0x01, b'!']),
        ..unsuback(&[0x87])
    });

    mqtt311_3_11_has_no_codes: V311 Client [0xB0, 0x03, 0x00, 0x0A, 0x00] => Error DecodeError::TrailingBytes;
    mqtt5_3_11_3_2_reserved_code: V5 Client
        [0xB0, 0x04, 0x00, 0x0A, 0x00, 0x01] => Error DecodeError::ReasonCode(0x01);
    mqtt5_3_11_no_code: V5 Client [0xB0, 0x03, 0x00, 0x0A, 0x00] => Error DecodeError::NoReasonCode;
    mqtt5_3_11_no_property_length: V5 Client
        [0xB0, 0x02, 0x00, 0x0A] => Error DecodeError::EndsInside(Field::PropertyLength);
    mqtt5_2_1_3_1_unsuback_flags: V5 Client
        [0xB2, 0x04, 0x00, 0x0A, 0x00, 0x00] => Error DecodeError::Flags(PacketType::UnsubAck);
    mqtt311_2_3_1_1_unsuback_identifier_0: V311 Client
        [0xB0, 0x02, 0x00, 0x00] => Error DecodeError::PacketIdZero;
}

#[test]
fn older_versions_leave_out_the_codes() {
    assert_eq!(encode(Packet::UnsubAck(unsuback(&[0x11])), ProtocolVersion::V311), [0xB0, 0x02, 0x00, 0x0A]);
}

#[test]
fn refuses_to_answer_nothing_in_5_0() {
    let refused = Packet::UnsubAck(unsuback(&[])).encode(ProtocolVersion::V5, &mut Vec::new());
    assert_eq!(refused, Err(EncodeError::Empty(PacketType::UnsubAck)));
}
