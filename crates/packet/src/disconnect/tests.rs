use super::*;
use crate::table::{cases, encode, properties};
use crate::{Packet, PacketType, PropertyId};

const NORMAL: Disconnect<'static> =
    Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties: Properties::EMPTY };

fn with_code(reason: u8) -> Packet<'static> {
    Packet::Disconnect(Disconnect { reason: ReasonCode(reason), ..NORMAL })
}

cases! {
    mqtt31_3_14_disconnect: V31 Server [0xE0, 0x00] => Exact Packet::Disconnect(NORMAL);
    mqtt311_3_14_disconnect: V311 Server [0xE0, 0x00] => Exact Packet::Disconnect(NORMAL);
    mqtt5_3_14_2_1_short_form: V5 Server [0xE0, 0x00] => Exact Packet::Disconnect(NORMAL);
    mqtt5_3_14_2_1_needless_code: V5 Server [0xE0, 0x01, 0x00] => Lenient Packet::Disconnect(NORMAL);
    mqtt5_3_14_2_2_needless_property_length: V5 Server
        [0xE0, 0x02, 0x00, 0x00] => Lenient Packet::Disconnect(NORMAL);
    mqtt5_3_14_2_1_with_will: V5 Server [0xE0, 0x01, 0x04] => Exact with_code(0x04);
    mqtt5_3_14_2_1_session_taken_over: V5 Client [0xE0, 0x01, 0x8E] => Exact with_code(0x8E);
    mqtt5_3_14_2_2_new_session_expiry: V5 Server [
        0xE0, 0x07, // DISCONNECT
        0x00, // Normal disconnection must stay when Properties follow
        0x05, // Property Length
        0x11, 0x00, 0x00, 0x00, 0x3C, // Session Expiry Interval 60
    ] => Exact Packet::Disconnect(Disconnect {
        properties: properties(PropertyPlace::DisconnectToServer, &[0x11, 0x00, 0x00, 0x00, 0x3C]),
        ..NORMAL
    });
    mqtt5_3_14_2_2_server_moved: V5 Client [
        0xE0, 0x06, // DISCONNECT
        0x9D, // Server moved
        0x04, // Property Length
        0x1C, 0x00, 0x01, b'x', // Server Reference
    ] => Exact Packet::Disconnect(Disconnect {
        reason: ReasonCode::SERVER_MOVED,
        properties: properties(PropertyPlace::DisconnectToClient, &[0x1C, 0x00, 0x01, b'x']),
    });

    mqtt5_3_14_2_2_session_expiry_from_a_server: V5 Client [
        0xE0, 0x07, // DISCONNECT
        0x00, // Normal disconnection
        0x05, // Property Length
        0x11, 0x00, 0x00, 0x00, 0x3C, // Session Expiry Interval
    ] => Error DecodeError::PropertyWrongDirection(PropertyId::SessionExpiryInterval);
    mqtt5_3_14_2_1_code_of_another_packet: V5 Server
        [0xE0, 0x01, 0x01] => Error DecodeError::ReasonCode(0x01);
    mqtt5_3_14_2_1_code_of_connack: V5 Client [0xE0, 0x01, 0x8A] => Error DecodeError::ReasonCode(0x8A);
    mqtt311_3_14_1_1_flags: V311 Server [0xE1, 0x00] => Error DecodeError::Flags(PacketType::Disconnect);
    mqtt5_3_14_1_1_flags: V5 Server [0xE2, 0x00] => Error DecodeError::Flags(PacketType::Disconnect);
    mqtt311_3_14_no_body: V311 Server [0xE0, 0x01, 0x00] => Error DecodeError::TrailingBytes;
    mqtt5_3_14_bytes_after_the_properties: V5 Server
        [0xE0, 0x03, 0x00, 0x00, 0x00] => Error DecodeError::TrailingBytes;
}

#[test]
fn older_versions_leave_out_the_code() {
    assert_eq!(encode(with_code(0x8E), ProtocolVersion::V311), [0xE0, 0x00]);
}
