use super::*;
use crate::table::{cases, encode, properties};
use crate::{Packet, PacketType, PropertyId, QoS};

fn connack(session_present: bool, code: u8) -> ConnAck<'static> {
    ConnAck { session_present, code, properties: Properties::EMPTY }
}

/// Every Property of CONNACK once.
const ALL: &[u8] = &[
    0x11, 0x00, 0x00, 0x00, 0x0A, // Session Expiry Interval 10
    0x21, 0x00, 0x14, // Receive Maximum 20
    0x24, 0x01, // Maximum QoS 1
    0x25, 0x00, // Retain Available: no
    0x27, 0x00, 0x01, 0x00, 0x00, // Maximum Packet Size 65536
    0x12, 0x00, 0x02, b'i', b'd', // Assigned Client Identifier
    0x22, 0x00, 0x05, // Topic Alias Maximum 5
    0x1F, 0x00, 0x02, b'o', b'k', // Reason String
    0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'v', // User Property
    0x28, 0x01, // Wildcard Subscription Available: yes
    0x29, 0x00, // Subscription Identifier Available: no
    0x2A, 0x01, // Shared Subscription Available: yes
    0x13, 0x00, 0x3C, // Server Keep Alive 60
    0x1A, 0x00, 0x02, b'r', b'/', // Response Information
    0x1C, 0x00, 0x01, b's', // Server Reference
    0x15, 0x00, 0x01, b'm', // Authentication Method
    0x16, 0x00, 0x01, 0x2A, // Authentication Data
];

cases! {
    mqtt31_3_2_accepted: V31 Client [0x20, 0x02, 0x00, 0x00] => Exact Packet::ConnAck(connack(false, 0));
    mqtt31_3_2_first_byte_is_unused: V31 Client
        [0x20, 0x02, 0xFF, 0x02] => Lenient Packet::ConnAck(connack(false, 2));
    mqtt311_3_2_2_2_session_present: V311 Client
        [0x20, 0x02, 0x01, 0x00] => Exact Packet::ConnAck(connack(true, 0));
    mqtt311_3_2_2_3_not_authorized: V311 Client
        [0x20, 0x02, 0x00, 0x05] => Exact Packet::ConnAck(connack(false, 5));
    mqtt5_3_2_accepted: V5 Client [
        0x20, 0x03, // CONNACK
        0x01, // Session Present
        0x00, // Success
        0x00, // Property Length
    ] => Exact Packet::ConnAck(connack(true, 0));
    mqtt5_3_2_2_refused_with_a_reason: V5 Client [
        0x20, 0x07, // CONNACK
        0x00, // no Session
        0x86, // Bad User Name or Password
        0x04, // Property Length
        0x1F, 0x00, 0x01, b'?', // Reason String
    ] => Exact Packet::ConnAck(ConnAck {
        properties: properties(PropertyPlace::ConnAck, &[0x1F, 0x00, 0x01, b'?']),
        ..connack(false, 0x86)
    });

    mqtt311_3_2_2_4_session_present_with_a_refusal: V311 Client
        [0x20, 0x02, 0x01, 0x05] => Error DecodeError::SessionPresent;
    mqtt5_3_2_2_6_session_present_with_a_refusal: V5 Client
        [0x20, 0x03, 0x01, 0x87, 0x00] => Error DecodeError::SessionPresent;
    mqtt311_3_2_2_1_reserved_flags: V311 Client [0x20, 0x02, 0x02, 0x00] => Error DecodeError::ConnAckFlags;
    mqtt5_3_2_2_1_reserved_flags: V5 Client [0x20, 0x03, 0x80, 0x00, 0x00] => Error DecodeError::ConnAckFlags;
    mqtt311_3_2_2_3_reserved_code: V311 Client [0x20, 0x02, 0x00, 0x06] => Error DecodeError::ReasonCode(6);
    mqtt31_3_2_reserved_code: V31 Client [0x20, 0x02, 0x00, 0x06] => Error DecodeError::ReasonCode(6);
    mqtt5_3_2_2_8_code_of_another_packet: V5 Client
        [0x20, 0x03, 0x00, 0x8E, 0x00] => Error DecodeError::ReasonCode(0x8E);
    mqtt5_3_2_2_8_code_of_3_1_1: V5 Client [0x20, 0x03, 0x00, 0x01, 0x00] => Error DecodeError::ReasonCode(1);
    mqtt5_3_2_no_property_length: V5 Client
        [0x20, 0x02, 0x00, 0x00] => Error DecodeError::EndsInside(Field::PropertyLength);
    mqtt311_3_2_body_of_three_bytes: V311 Client
        [0x20, 0x03, 0x00, 0x00, 0x00] => Error DecodeError::TrailingBytes;
    mqtt311_2_2_2_1_connack_flags: V311 Client
        [0x21, 0x02, 0x00, 0x00] => Error DecodeError::Flags(PacketType::ConnAck);
    mqtt5_3_2_2_3_receive_maximum_0: V5 Client
        [0x20, 0x06, 0x00, 0x00, 0x03, 0x21, 0x00, 0x00]
        => Error DecodeError::PropertyValue(PropertyId::ReceiveMaximum);
    mqtt5_3_2_2_3_maximum_qos_2: V5 Client
        [0x20, 0x05, 0x00, 0x00, 0x02, 0x24, 0x02]
            => Error DecodeError::PropertyValue(PropertyId::MaximumQoS);
    mqtt5_3_2_2_3_property_of_connect: V5 Client
        [0x20, 0x05, 0x00, 0x00, 0x02, 0x17, 0x00]
        => Error DecodeError::PropertyNotAllowed(PropertyId::RequestProblemInformation);
}

#[test]
fn mqtt5_3_2_2_3_all_properties() {
    let all = properties(PropertyPlace::ConnAck, ALL);
    assert_eq!(all.session_expiry_interval(), Some(10));
    assert_eq!(all.receive_maximum(), Some(20));
    assert_eq!(all.maximum_qos(), Some(QoS::AtLeastOnce));
    assert_eq!(all.retain_available(), Some(false));
    assert_eq!(all.maximum_packet_size(), Some(65_536));
    assert_eq!(all.assigned_client_identifier(), Some("id"));
    assert_eq!(all.topic_alias_maximum(), Some(5));
    assert_eq!(all.reason_string(), Some("ok"));
    assert_eq!(all.user_properties().collect::<Vec<_>>(), [("k", "v")]);
    assert_eq!(all.wildcard_subscription_available(), Some(true));
    assert_eq!(all.subscription_identifier_available(), Some(false));
    assert_eq!(all.shared_subscription_available(), Some(true));
    assert_eq!(all.server_keep_alive(), Some(60));
    assert_eq!(all.response_information(), Some("r/"));
    assert_eq!(all.server_reference(), Some("s"));
    assert_eq!(all.authentication_method(), Some("m"));
    assert_eq!(all.authentication_data(), Some(&[0x2A][..]));
    assert_eq!(all.iter().count(), 17);
}

#[test]
fn mqtt31_has_no_session_present() {
    assert_eq!(encode(Packet::ConnAck(connack(true, 0)), ProtocolVersion::V31), [0x20, 0x02, 0x00, 0x00]);
}
