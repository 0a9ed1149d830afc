use super::*;
use crate::table::{cases, properties};
use crate::{Packet, PropertyId};

/// Authentication Method "m", Authentication Data 0x2A.
const EXCHANGE: &[u8] = &[0x15, 0x00, 0x01, b'm', 0x16, 0x00, 0x01, 0x2A];

fn auth(reason: u8, raw: &'static [u8]) -> Packet<'static> {
    Packet::Auth(Auth { reason: ReasonCode(reason), properties: properties(PropertyPlace::Auth, raw) })
}

cases! {
    mqtt5_3_15_2_1_short_form: V5 Client [0xF0, 0x00] => Exact auth(0x00, &[]);
    mqtt5_3_15_2_1_needless_long_form: V5 Client [0xF0, 0x02, 0x00, 0x00] => Lenient auth(0x00, &[]);
    mqtt5_3_15_2_1_continue: V5 Server [
        0xF0, 0x0A, // AUTH
        0x18, // Continue authentication
        0x08, // Property Length
        0x15, 0x00, 0x01, b'm', // Authentication Method
        0x16, 0x00, 0x01, 0x2A, // Authentication Data
    ] => Exact auth(0x18, EXCHANGE);
    mqtt5_3_15_2_1_re_authenticate_without_properties: V5 Server
        [0xF0, 0x02, 0x19, 0x00] => Exact auth(0x19, &[]);

    mqtt5_3_15_2_1_other_code: V5 Server [0xF0, 0x02, 0x87, 0x00] => Error DecodeError::ReasonCode(0x87);
    mqtt5_3_15_2_2_code_without_property_length: V5 Server
        [0xF0, 0x01, 0x18] => Error DecodeError::EndsInside(Field::PropertyLength);
    mqtt5_3_15_2_2_data_without_method: V5 Server
        [0xF0, 0x06, 0x18, 0x04, 0x16, 0x00, 0x01, 0x2A]
            => Error DecodeError::AuthenticationDataWithoutMethod;
    mqtt5_3_15_2_2_method_twice: V5 Server [
        0xF0, 0x08, // AUTH
        0x18, // Continue authentication
        0x06, // Property Length
        0x15, 0x00, 0x00, // Authentication Method
        0x15, 0x00, 0x00, // again
    ] => Error DecodeError::DuplicateProperty(PropertyId::AuthenticationMethod);
    mqtt5_3_15_1_1_flags: V5 Server [0xF1, 0x00] => Error DecodeError::Flags(PacketType::Auth);
    mqtt5_3_15_bytes_after_the_properties: V5 Server
        [0xF0, 0x03, 0x18, 0x00, 0x00] => Error DecodeError::TrailingBytes;
}

#[test]
fn does_not_exist_before_5_0() {
    let mut out = Vec::new();
    let refused = auth(0x18, EXCHANGE).encode(ProtocolVersion::V311, &mut out);
    assert_eq!(refused, Err(EncodeError::NotInVersion(PacketType::Auth)));
    assert!(out.is_empty());
}
