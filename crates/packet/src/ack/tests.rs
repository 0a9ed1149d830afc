use super::*;
use crate::Packet;
use crate::table::{cases, encode, id, properties};

/// Reason String "no".
const NO: &[u8] = &[0x1F, 0x00, 0x02, b'n', b'o'];

fn with_code(packet_id: u16, reason: u8) -> Ack<'static> {
    Ack { reason: ReasonCode(reason), ..Ack::success(id(packet_id)) }
}

fn with_text(packet_id: u16, reason: u8) -> Ack<'static> {
    Ack { properties: properties(PropertyPlace::Acknowledgement, NO), ..with_code(packet_id, reason) }
}

cases! {
    mqtt31_3_4_puback: V31 Server [0x40, 0x02, 0x00, 0x0A] => Exact Packet::PubAck(Ack::success(id(10)));
    mqtt311_3_4_puback: V311 Server [0x40, 0x02, 0xFF, 0xFF] => Exact Packet::PubAck(Ack::success(id(65535)));
    mqtt5_3_4_puback: V5 Client [0x40, 0x02, 0x00, 0x0A] => Exact Packet::PubAck(Ack::success(id(10)));
    mqtt31_3_5_pubrec: V31 Client [0x50, 0x02, 0x01, 0x00] => Exact Packet::PubRec(Ack::success(id(256)));
    mqtt311_3_5_pubrec: V311 Client [0x50, 0x02, 0x01, 0x00] => Exact Packet::PubRec(Ack::success(id(256)));
    mqtt5_3_5_pubrec: V5 Client [0x50, 0x02, 0x01, 0x00] => Exact Packet::PubRec(Ack::success(id(256)));
    mqtt31_3_6_pubrel: V31 Server [0x62, 0x02, 0x00, 0x01] => Exact Packet::PubRel(Ack::success(id(1)));
    mqtt311_3_6_pubrel: V311 Server [0x62, 0x02, 0x00, 0x01] => Exact Packet::PubRel(Ack::success(id(1)));
    mqtt5_3_6_pubrel: V5 Client [0x62, 0x02, 0x00, 0x01] => Exact Packet::PubRel(Ack::success(id(1)));
    mqtt31_3_7_pubcomp: V31 Server [0x70, 0x02, 0x00, 0x01] => Exact Packet::PubComp(Ack::success(id(1)));
    mqtt311_3_7_pubcomp: V311 Server [0x70, 0x02, 0x00, 0x01] => Exact Packet::PubComp(Ack::success(id(1)));
    mqtt5_3_7_pubcomp: V5 Client [0x70, 0x02, 0x00, 0x01] => Exact Packet::PubComp(Ack::success(id(1)));

    mqtt5_3_4_2_1_puback_with_code_only: V5 Server [
        0x40, 0x03, // PUBACK
        0x00, 0x0A, // Packet Identifier
        0x10, // No matching subscribers; no Property Length
    ] => Exact Packet::PubAck(with_code(10, 0x10));
    mqtt5_3_4_2_1_puback_with_needless_success: V5 Server [
        0x40, 0x03, // PUBACK
        0x00, 0x0A, // Packet Identifier
        0x00, // Success could be left out
    ] => Lenient Packet::PubAck(with_code(10, 0x00));
    mqtt5_3_4_2_2_puback_with_needless_property_length: V5 Server [
        0x40, 0x04, // PUBACK
        0x00, 0x0A, // Packet Identifier
        0x10, // No matching subscribers
        0x00, // Property Length could be left out
    ] => Lenient Packet::PubAck(with_code(10, 0x10));
    mqtt5_3_5_2_pubrec_with_properties: V5 Client [
        0x50, 0x09, // PUBREC
        0x00, 0x0A, // Packet Identifier
        0x97, // Quota exceeded
        0x05, // Property Length
        0x1F, 0x00, 0x02, b'n', b'o', // Reason String
    ] => Exact Packet::PubRec(with_text(10, 0x97));
    mqtt5_3_7_2_pubcomp_success_with_properties: V5 Client [
        0x70, 0x09, // PUBCOMP
        0x00, 0x0A, // Packet Identifier
        0x00, // Success must stay when Properties follow
        0x05, // Property Length
        0x1F, 0x00, 0x02, b'n', b'o', // Reason String
    ] => Exact Packet::PubComp(with_text(10, 0x00));
    mqtt5_3_6_2_1_pubrel_not_found: V5 Server
        [0x62, 0x03, 0x00, 0x01, 0x92] => Exact Packet::PubRel(with_code(1, 0x92));

    mqtt5_3_4_2_1_puback_code_of_another_packet: V5 Server
        [0x40, 0x03, 0x00, 0x01, 0x92] => Error DecodeError::ReasonCode(0x92);
    mqtt5_3_5_2_1_pubrec_code_of_another_packet: V5 Server
        [0x50, 0x03, 0x00, 0x01, 0x8E] => Error DecodeError::ReasonCode(0x8E);
    mqtt5_3_6_2_1_pubrel_code_of_another_packet: V5 Server
        [0x62, 0x03, 0x00, 0x01, 0x10] => Error DecodeError::ReasonCode(0x10);
    mqtt5_3_7_2_1_pubcomp_code_of_another_packet: V5 Server
        [0x70, 0x03, 0x00, 0x01, 0x80] => Error DecodeError::ReasonCode(0x80);
    mqtt311_3_4_puback_has_no_code: V311 Server
        [0x40, 0x03, 0x00, 0x01, 0x00] => Error DecodeError::TrailingBytes;
    mqtt5_3_4_bytes_after_the_properties: V5 Server
        [0x40, 0x05, 0x00, 0x01, 0x00, 0x00, 0x00] => Error DecodeError::TrailingBytes;
    mqtt5_3_4_properties_past_the_end: V5 Server
        [0x40, 0x04, 0x00, 0x01, 0x00, 0x01] => Error DecodeError::EndsInside(Field::Properties);

    mqtt311_2_3_1_1_puback_identifier_0: V311 Server
        [0x40, 0x02, 0x00, 0x00] => Error DecodeError::PacketIdZero;
    mqtt5_2_2_1_3_pubrel_identifier_0: V5 Server [0x62, 0x02, 0x00, 0x00] => Error DecodeError::PacketIdZero;
    puback_without_identifier: V311 Server [0x40, 0x00] => Error DecodeError::EndsInside(Field::PacketId);
    puback_with_half_an_identifier: V5 Server
        [0x40, 0x01, 0x00] => Error DecodeError::EndsInside(Field::PacketId);

    mqtt311_3_6_1_1_pubrel_flags_0: V311 Server
        [0x60, 0x02, 0x00, 0x01] => Error DecodeError::Flags(PacketType::PubRel);
    mqtt5_3_6_1_1_pubrel_flags_0: V5 Server
        [0x60, 0x02, 0x00, 0x01] => Error DecodeError::Flags(PacketType::PubRel);
    mqtt311_3_6_1_1_pubrel_dup: V311 Server
        [0x6A, 0x02, 0x00, 0x01] => Error DecodeError::Flags(PacketType::PubRel);
    mqtt311_2_2_2_2_puback_flags: V311 Server
        [0x42, 0x02, 0x00, 0x01] => Error DecodeError::Flags(PacketType::PubAck);
    mqtt5_2_1_3_1_pubrec_flags: V5 Server
        [0x58, 0x02, 0x00, 0x01] => Error DecodeError::Flags(PacketType::PubRec);
    mqtt5_2_1_3_1_pubcomp_flags: V5 Server
        [0x72, 0x02, 0x00, 0x01] => Error DecodeError::Flags(PacketType::PubComp);
    mqtt31_3_6_pubrel_dup: V31 Server [0x6A, 0x02, 0x00, 0x01] => Lenient Packet::PubRel(Ack::success(id(1)));
    mqtt31_3_6_pubrel_qos_0: V31 Server
        [0x60, 0x02, 0x00, 0x01] => Lenient Packet::PubRel(Ack::success(id(1)));
    mqtt31_3_6_pubrel_retain: V31 Server
        [0x63, 0x02, 0x00, 0x01] => Error DecodeError::Flags(PacketType::PubRel);
}

#[test]
fn older_versions_leave_out_what_they_cannot_say() {
    let ack = Packet::PubAck(with_text(10, 0x87));
    assert_eq!(encode(ack, ProtocolVersion::V311), [0x40, 0x02, 0x00, 0x0A]);
    assert_eq!(encode(ack, ProtocolVersion::V31), [0x40, 0x02, 0x00, 0x0A]);
}
