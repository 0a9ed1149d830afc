use super::*;
use crate::table::{Case, cases, properties};
use crate::{Packet, PropertyId, Receiver};

const PLAIN: Connect<'static> = Connect {
    version: ProtocolVersion::V311,
    bridge: false,
    clean_start: true,
    keep_alive: 60,
    client_id: "id",
    will: None,
    user_name: None,
    password: None,
    properties: Properties::EMPTY,
};
const WILL_T: Will<'static> =
    Will { qos: QoS::AtLeastOnce, retain: true, topic: "w", payload: b"bye", properties: Properties::EMPTY };
const V31: Connect<'static> = Connect { version: ProtocolVersion::V31, ..PLAIN };
const V5: Connect<'static> = Connect { version: ProtocolVersion::V5, ..PLAIN };

cases! {
    mqtt31_3_1_plain: V31 Server [
        0x10, 0x10, // CONNECT
        0x00, 0x06, b'M', b'Q', b'I', b's', b'd', b'p', 0x03, // Protocol Name and Level
        0x02, // clean session
        0x00, 0x3C, // Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Exact Packet::Connect(V31);
    mqtt311_3_1_plain: V311 Server [
        0x10, 0x0E, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0x02, // CleanSession
        0x00, 0x3C, // Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Exact Packet::Connect(PLAIN);
    mqtt5_3_1_plain: V5 Server [
        0x10, 0x0F, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0x02, // Clean Start
        0x00, 0x3C, // Keep Alive
        0x00, // Property Length
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Exact Packet::Connect(V5);
    mqtt311_3_1_3_everything: V311 Server [
        0x10, 0x1C, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0xEC, // User Name, Password, Will Retain, Will QoS 1, Will
        0xFF, 0xFF, // Keep Alive
        0x00, 0x00, // empty Client Identifier
        0x00, 0x01, b'w', // Will Topic
        0x00, 0x03, b'b', b'y', b'e', // Will Message
        0x00, 0x01, b'u', // User Name
        0x00, 0x03, 0xFF, 0x00, 0xFE, // Password: any bytes
    ] => Exact Packet::Connect(Connect {
        clean_start: false,
        keep_alive: 65_535,
        client_id: "",
        will: Some(WILL_T),
        user_name: Some("u"),
        password: Some(&[0xFF, 0x00, 0xFE]),
        ..PLAIN
    });
    mqtt31_3_1_everything: V31 Server [
        0x10, 0x1F, // CONNECT
        0x00, 0x06, b'M', b'Q', b'I', b's', b'd', b'p', 0x03, // Protocol Name and Level
        0xEE, // user name, password, will retain, will QoS 1, will, clean session
        0x00, 0x3C, // Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, 0x01, b'w', // will topic
        0x00, 0x03, b'b', b'y', b'e', // will message
        0x00, 0x01, b'u', // user name
        0x00, 0x02, b'p', b'w', // password
    ] => Exact Packet::Connect(Connect {
        will: Some(WILL_T),
        user_name: Some("u"),
        password: Some(b"pw"),
        ..V31
    });
    mqtt5_3_1_everything: V5 Server [
        0x10, 0x40, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0xF6, // User Name, Password, Will Retain, Will QoS 2, Will, Clean Start
        0x00, 0x3C, // Keep Alive
        0x1E, // Property Length
        0x11, 0xFF, 0xFF, 0xFF, 0xFF, // Session Expiry Interval: never
        0x21, 0x00, 0x0A, // Receive Maximum
        0x27, 0x00, 0x00, 0x01, 0x00, // Maximum Packet Size
        0x22, 0x00, 0x05, // Topic Alias Maximum
        0x19, 0x01, // Request Response Information
        0x17, 0x00, // Request Problem Information
        0x15, 0x00, 0x01, b'm', // Authentication Method
        0x16, 0x00, 0x03, b'a', b'b', b'c', // Authentication Data
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x05, // Will Property Length
        0x18, 0x00, 0x00, 0x00, 0x0A, // Will Delay Interval
        0x00, 0x01, b'w', // Will Topic
        0x00, 0x03, b'b', b'y', b'e', // Will Payload
        0x00, 0x01, b'u', // User Name
        0x00, 0x00, // empty Password
    ] => Exact Packet::Connect(Connect {
        will: Some(Will {
            qos: QoS::ExactlyOnce,
            properties: properties(PropertyPlace::Will, &[0x18, 0x00, 0x00, 0x00, 0x0A]),
            ..WILL_T
        }),
        user_name: Some("u"),
        password: Some(b""),
        properties: properties(PropertyPlace::Connect, &[
            0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0x00, 0x0A, 0x27, 0x00, 0x00, 0x01, 0x00, 0x22, 0x00, 0x05,
            0x19, 0x01, 0x17, 0x00, 0x15, 0x00, 0x01, b'm', 0x16, 0x00, 0x03, b'a', b'b', b'c',
        ]),
        ..V5
    });
    mqtt5_3_1_2_9_password_without_user_name: V5 Server [
        0x10, 0x12, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0x42, // Password, Clean Start
        0x00, 0x3C, // Keep Alive
        0x00, // Property Length
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, 0x01, b'p', // Password
    ] => Exact Packet::Connect(Connect { password: Some(b"p"), ..V5 });
    bridge_of_3_1_1: V311 Server [
        0x10, 0x0E, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x84, // Protocol Name and Level, bridge bit
        0x02, 0x00, 0x3C, // CleanSession, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Exact Packet::Connect(Connect { bridge: true, ..PLAIN });
    bridge_of_3_1: V31 Server [
        0x10, 0x10, // CONNECT
        0x00, 0x06, b'M', b'Q', b'I', b's', b'd', b'p', 0x83, // Protocol Name and Level, bridge bit
        0x02, 0x00, 0x3C, // clean session, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Exact Packet::Connect(Connect { bridge: true, ..V31 });
    mqtt31_3_1_reserved_flag_means_nothing: V31 Server [
        0x10, 0x10, // CONNECT
        0x00, 0x06, b'M', b'Q', b'I', b's', b'd', b'p', 0x03, // Protocol Name and Level
        0x03, 0x00, 0x3C, // clean session and bit 0, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Lenient Packet::Connect(V31);
    mqtt31_3_1_will_bits_without_will_are_disregarded: V31 Server [
        0x10, 0x10, // CONNECT
        0x00, 0x06, b'M', b'Q', b'I', b's', b'd', b'p', 0x03, // Protocol Name and Level
        0x3A, 0x00, 0x3C, // will retain, will QoS 3, clean session, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Lenient Packet::Connect(V31);
    mqtt31_3_1_user_name_and_password_missing_at_the_end: V31 Server [
        0x10, 0x10, // CONNECT
        0x00, 0x06, b'M', b'Q', b'I', b's', b'd', b'p', 0x03, // Protocol Name and Level
        0xC2, 0x00, 0x3C, // user name, password, clean session, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier; the Remaining Length ends here
    ] => Lenient Packet::Connect(V31);
    mqtt31_3_1_password_missing_at_the_end: V31 Server [
        0x10, 0x13, // CONNECT
        0x00, 0x06, b'M', b'Q', b'I', b's', b'd', b'p', 0x03, // Protocol Name and Level
        0xC2, 0x00, 0x3C, // user name, password, clean session, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, 0x01, b'u', // user name; the Remaining Length ends here
    ] => Lenient Packet::Connect(Connect { user_name: Some("u"), ..V31 });
    mqtt311_2_2_3_padded_remaining_length: V311 Server [
        0x10, 0x8E, 0x00, // CONNECT, length in two bytes
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0x02, 0x00, 0x3C, // CleanSession, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Lenient Packet::Connect(PLAIN);
    mqtt5_1_5_5_1_padded_remaining_length: V5 Server [
        0x10, 0x8F, 0x00, // CONNECT, length in two bytes
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0x02, 0x00, 0x3C, 0x00, // Clean Start, Keep Alive, Property Length
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Error DecodeError::VarIntNotMinimal(Field::RemainingLength);

    mqtt311_3_1_2_1_other_name: V311 Server [
        0x10, 0x0E, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b't', 0x04, // Protocol Name in the wrong case
        0x02, 0x00, 0x3C, 0x00, 0x02, b'i', b'd',
    ] => Error DecodeError::ProtocolName;
    mqtt5_3_1_2_2_level_6: V5 Server [
        0x10, 0x0F, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x06, // a version to come
        0x02, 0x00, 0x3C, 0x00, 0x00, 0x02, b'i', b'd',
    ] => Error DecodeError::UnsupportedProtocolLevel(6);
    mqtt311_3_1_2_2_level_3_with_the_new_name: V311 Server [
        0x10, 0x0E, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x03, // level 3 goes with MQIsdp
        0x02, 0x00, 0x3C, 0x00, 0x02, b'i', b'd',
    ] => Error DecodeError::UnsupportedProtocolLevel(3);
    mqtt31_level_4_with_the_old_name: V31 Server [
        0x10, 0x10, // CONNECT
        0x00, 0x06, b'M', b'Q', b'I', b's', b'd', b'p', 0x04, // level 4 goes with MQTT
        0x02, 0x00, 0x3C, 0x00, 0x02, b'i', b'd',
    ] => Error DecodeError::UnsupportedProtocolLevel(4);
    mqtt5_has_no_bridge_bit: V5 Server [
        0x10, 0x0F, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x85, // 5 with the bridge bit
        0x02, 0x00, 0x3C, 0x00, 0x00, 0x02, b'i', b'd',
    ] => Error DecodeError::UnsupportedProtocolLevel(0x85);

    mqtt311_3_1_0_1_first_packet_is_flawed: V311 Server [
        0x11, 0x0E, // CONNECT with a flag
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04,
        0x02, 0x00, 0x3C, 0x00, 0x02, b'i', b'd',
    ] => Error DecodeError::Flags(PacketType::Connect);
    mqtt311_3_1_3_1_bytes_after_the_client_identifier: V311 Server [
        0x10, 0x0F, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0x02, 0x00, 0x3C, // CleanSession, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, // one more
    ] => Error DecodeError::TrailingBytes;
    mqtt311_3_1_2_19_user_name_missing: V311 Server [
        0x10, 0x0E, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0x82, 0x00, 0x3C, // User Name, CleanSession, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Error DecodeError::EndsInside(Field::UserName);
    mqtt5_3_1_2_19_password_missing: V5 Server [
        0x10, 0x12, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0xC2, 0x00, 0x3C, 0x00, // User Name, Password, Clean Start, Keep Alive, Property Length
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, 0x01, b'u', // User Name
    ] => Error DecodeError::EndsInside(Field::Password);
    mqtt311_3_1_3_4_client_identifier_not_utf8: V311 Server [
        0x10, 0x0E, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0x02, 0x00, 0x3C, // CleanSession, Keep Alive
        0x00, 0x02, 0xC3, 0x28, // Client Identifier
    ] => Error DecodeError::NotUtf8(Field::ClientId);
    mqtt5_1_5_4_2_nul_in_the_client_identifier: V5 Server [
        0x10, 0x0F, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0x02, 0x00, 0x3C, 0x00, // Clean Start, Keep Alive, Property Length
        0x00, 0x02, b'i', 0x00, // Client Identifier
    ] => Error DecodeError::NulInString(Field::ClientId);
    mqtt5_3_1_2_11_receive_maximum_0: V5 Server [
        0x10, 0x12, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0x02, 0x00, 0x3C, // Clean Start, Keep Alive
        0x03, 0x21, 0x00, 0x00, // Properties: Receive Maximum 0
        0x00, 0x02, b'i', b'd', // Client Identifier
    ] => Error DecodeError::PropertyValue(PropertyId::ReceiveMaximum);
    mqtt5_3_1_3_2_property_of_connect_in_the_will: V5 Server [
        0x10, 0x17, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0x06, 0x00, 0x3C, 0x00, // Will, Clean Start, Keep Alive, Property Length
        0x00, 0x00, // Client Identifier
        0x03, 0x21, 0x00, 0x01, // Will Properties: Receive Maximum
        0x00, 0x01, b'w', // Will Topic
        0x00, 0x01, b'x', // Will Payload
    ] => Error DecodeError::PropertyNotAllowed(PropertyId::ReceiveMaximum);
    mqtt311_4_7_1_1_wildcard_in_the_will_topic: V311 Server [
        0x10, 0x14, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0x06, 0x00, 0x3C, // Will, CleanSession, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, 0x02, b'a', b'+', // Will Topic
        0x00, 0x00, // Will Message
    ] => Error DecodeError::WillTopic;
    mqtt5_4_7_3_1_empty_will_topic: V5 Server [
        0x10, 0x14, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, // Protocol Name and Version
        0x06, 0x00, 0x3C, 0x00, // Will, Clean Start, Keep Alive, Property Length
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, // Will Property Length
        0x00, 0x00, // Will Topic
        0x00, 0x00, // Will Payload
    ] => Error DecodeError::WillTopic;
    mqtt311_3_1_3_10_will_topic_not_utf8: V311 Server [
        0x10, 0x13, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0x06, 0x00, 0x3C, // Will, CleanSession, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, 0x01, 0xFF, // Will Topic
        0x00, 0x00, // Will Message
    ] => Error DecodeError::NotUtf8(Field::WillTopic);
    mqtt311_3_1_3_11_user_name_not_utf8: V311 Server [
        0x10, 0x11, // CONNECT
        0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, // Protocol Name and Level
        0x82, 0x00, 0x3C, // User Name, CleanSession, Keep Alive
        0x00, 0x02, b'i', b'd', // Client Identifier
        0x00, 0x01, 0x80, // User Name
    ] => Error DecodeError::NotUtf8(Field::UserName);
}

/// A CONNECT of `$level` whose flags are `$flags`, and nothing after the Client Identifier.
macro_rules! flags {
    (4, $flags:literal) => {
        [0x10, 0x0E, 0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, $flags, 0x00, 0x3C, 0x00, 0x02, b'i', b'd']
    };
    (5, $flags:literal) => {
        [
            0x10, 0x0F, 0x00, 0x04, b'M', b'Q', b'T', b'T', 0x05, $flags, 0x00, 0x3C, 0x00, 0x00, 0x02, b'i',
            b'd',
        ]
    };
}

pub(crate) const FLAGS: &[Case] = flag_tests::CASES;

mod flag_tests {
    use super::{DecodeError, cases};

    cases! {
        mqtt311_3_1_2_3_reserved_flag: V311 Server flags!(4, 0x03) => Error DecodeError::ConnectReservedFlag;
        mqtt5_3_1_2_3_reserved_flag: V5 Server flags!(5, 0x01) => Error DecodeError::ConnectReservedFlag;
        mqtt311_3_1_2_13_will_qos_without_will: V311 Server
            flags!(4, 0x0A) => Error DecodeError::WillQosWithoutWill;
        mqtt5_3_1_2_11_will_qos_without_will: V5 Server
            flags!(5, 0x12) => Error DecodeError::WillQosWithoutWill;
        mqtt311_3_1_2_14_will_qos_3: V311 Server flags!(4, 0x1E) => Error DecodeError::WillQos;
        mqtt5_3_1_2_12_will_qos_3: V5 Server flags!(5, 0x1C) => Error DecodeError::WillQos;
        mqtt311_3_1_2_15_will_retain_without_will: V311 Server
            flags!(4, 0x22) => Error DecodeError::WillRetainWithoutWill;
        mqtt5_3_1_2_13_will_retain_without_will: V5 Server
            flags!(5, 0x20) => Error DecodeError::WillRetainWithoutWill;
        mqtt311_3_1_2_22_password_without_user_name: V311 Server
            flags!(4, 0x42) => Error DecodeError::PasswordWithoutUserName;
    }
}

#[test]
fn mqtt31_3_1_will_qos_3_and_password_without_user_name() {
    let connect = |flags| {
        let mut bytes = b"\x10\x10\x00\x06MQIsdp\x03\x00\x00\x3C\x00\x02id".to_vec();
        bytes[11] = flags;
        decode_connect(&bytes).map(|_| ()).map_err(|refused| refused.error)
    };
    assert_eq!(connect(0x1C), Err(DecodeError::WillQos));
    assert_eq!(connect(0x40), Err(DecodeError::PasswordWithoutUserName));
}

#[test]
fn mqtt311_3_1_0_1_first_packet_is_another() {
    let refused = decode_connect(&[0xC0, 0x00]).unwrap_err();
    assert_eq!(refused, ConnectError { version: None, error: DecodeError::NotConnect });
    assert_eq!(decode_connect(&[0x00, 0x00]).unwrap_err().error, DecodeError::PacketType(0));
}

#[test]
fn an_error_tells_the_version_once_it_was_read() {
    let whole = b"\x10\x0E\x00\x04MQTT\x04\x03\x00\x3C\x00\x02id";
    let refused = decode_connect(whole).unwrap_err();
    assert_eq!(refused.version, Some(ProtocolVersion::V311));
    assert_eq!(refused.to_string(), "CONNECT of MQTT 3.1.1: Connect Flags have the reserved bit set");

    let ends_in_the_name = decode_connect(b"\x10\x05\x00\x04MQT").unwrap_err();
    assert_eq!(ends_in_the_name.version, None);
    assert_eq!(ends_in_the_name.error, DecodeError::EndsInside(Field::ProtocolName));

    let ends_after_the_level = decode_connect(b"\x10\x07\x00\x04MQTT\x05").unwrap_err();
    assert_eq!(ends_after_the_level.version, Some(ProtocolVersion::V5));
    assert_eq!(ends_after_the_level.error, DecodeError::EndsInside(Field::ConnectFlags));
}

#[test]
fn a_second_connect_is_still_a_connect() {
    let bytes = b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x3C\x00\x02id";
    let packet = crate::decode(ProtocolVersion::V5, Receiver::Server, bytes);
    assert_eq!(packet, Ok(Packet::Connect(PLAIN)));
}

#[test]
fn refuses_to_write_what_it_would_not_read() {
    let refused = |connect| Packet::Connect(connect).encode(ProtocolVersion::V311, &mut Vec::new());
    let password = Connect { password: Some(b"p"), ..PLAIN };
    assert_eq!(refused(password), Err(EncodeError::PasswordWithoutUserName));
    let long = "a".repeat(65_536);
    let user_name = Connect { user_name: Some(&long), ..PLAIN };
    assert_eq!(refused(user_name), Err(EncodeError::TooLong(Field::UserName)));
}
