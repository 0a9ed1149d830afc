use super::*;
use crate::{PropertyError, QoS, ReasonCode};

/// One Property of each identifier, with a value in its range.
const EACH: [Property<'_>; 27] = [
    Property::PayloadFormatIndicator(1),
    Property::MessageExpiryInterval(u32::MAX),
    Property::ContentType("text"),
    Property::ResponseTopic("r/1"),
    Property::CorrelationData(&[0, 1, 2]),
    Property::SubscriptionIdentifier(268_435_455),
    Property::SessionExpiryInterval(0),
    Property::AssignedClientIdentifier("id"),
    Property::ServerKeepAlive(60),
    Property::AuthenticationMethod("m"),
    Property::AuthenticationData(&[]),
    Property::RequestProblemInformation(false),
    Property::WillDelayInterval(7),
    Property::RequestResponseInformation(true),
    Property::ResponseInformation("i"),
    Property::ServerReference("s"),
    Property::ReasonString(""),
    Property::ReceiveMaximum(1),
    Property::TopicAliasMaximum(0),
    Property::TopicAlias(65_535),
    Property::MaximumQoS(QoS::AtLeastOnce),
    Property::RetainAvailable(true),
    Property::UserProperty("k", "ü"),
    Property::MaximumPacketSize(1),
    Property::WildcardSubscriptionAvailable(false),
    Property::SubscriptionIdentifierAvailable(true),
    Property::SharedSubscriptionAvailable(false),
];

const PLACES: [PropertyPlace; 11] = [
    PropertyPlace::Connect,
    PropertyPlace::Will,
    PropertyPlace::ConnAck,
    PropertyPlace::PublishToServer,
    PropertyPlace::PublishToClient,
    PropertyPlace::Acknowledgement,
    PropertyPlace::Subscribe,
    PropertyPlace::Unsubscribe,
    PropertyPlace::DisconnectToServer,
    PropertyPlace::DisconnectToClient,
    PropertyPlace::Auth,
];

/// The places of each identifier as the table of 5.0 section 2.2.2.2 lists them, in the order of [`PLACES`].
fn places(id: PropertyId) -> &'static str {
    match id {
        PropertyId::PayloadFormatIndicator
        | PropertyId::MessageExpiryInterval
        | PropertyId::ContentType
        | PropertyId::ResponseTopic
        | PropertyId::CorrelationData => ".W.PP......",
        PropertyId::SubscriptionIdentifier => "....P.S....",
        PropertyId::SessionExpiryInterval => "C.A.....D..",
        PropertyId::AuthenticationMethod | PropertyId::AuthenticationData => "C.A.......A",
        PropertyId::RequestProblemInformation | PropertyId::RequestResponseInformation => "C..........",
        PropertyId::WillDelayInterval => ".W.........",
        PropertyId::ServerReference => "..A.....DD.",
        PropertyId::ReasonString => "..A..A..DDA",
        PropertyId::ReceiveMaximum | PropertyId::TopicAliasMaximum | PropertyId::MaximumPacketSize => {
            "C.A........"
        }
        PropertyId::TopicAlias => "...PP......",
        PropertyId::UserProperty => "CWAPPASUDDA",
        PropertyId::AssignedClientIdentifier
        | PropertyId::ServerKeepAlive
        | PropertyId::ResponseInformation
        | PropertyId::MaximumQoS
        | PropertyId::RetainAvailable
        | PropertyId::WildcardSubscriptionAvailable
        | PropertyId::SubscriptionIdentifierAvailable
        | PropertyId::SharedSubscriptionAvailable => "..A........",
    }
}

fn buf(properties: &[Property<'_>]) -> PropertiesBuf {
    properties.iter().copied().collect()
}

#[test]
fn mqtt5_2_2_2_2_each_property_belongs_to_its_packets() {
    for property in EACH {
        let id = property.id();
        for (place, listed) in PLACES.into_iter().zip(places(id).bytes()) {
            // Authentication Data needs its method.
            let method = id == PropertyId::AuthenticationData && listed != b'.';
            let both = [Property::AuthenticationMethod("m"), property];
            let block = buf(&both[usize::from(!method)..]);
            let decoded = Properties::decode(block.as_properties().raw(), place);
            if listed == b'.' {
                let error = decoded.unwrap_err();
                let wrong_way = error == DecodeError::PropertyWrongDirection(id);
                assert!(
                    wrong_way || error == DecodeError::PropertyNotAllowed(id),
                    "{id} in {place:?}: {error}"
                );
                let code = if wrong_way { ReasonCode::PROTOCOL_ERROR } else { ReasonCode::MALFORMED_PACKET };
                assert_eq!(error.reason_code(), code);
            } else {
                assert_eq!(decoded, Ok(block.as_properties()), "{id} in {place:?}");
                assert_eq!(decoded.unwrap().iter().last(), Some(property));
            }
        }
    }
}

#[test]
fn mqtt5_2_2_2_2_nothing_but_user_properties_repeats() {
    for property in EACH {
        let id = property.id();
        for (place, listed) in PLACES.into_iter().zip(places(id).bytes()) {
            if listed == b'.' {
                continue;
            }
            let block = buf(&[property, property]);
            let decoded = Properties::decode(block.as_properties().raw(), place);
            // 5.0 section 3.3.2.3.8: one Subscription Identifier per subscription.
            let identifiers =
                id == PropertyId::SubscriptionIdentifier && place == PropertyPlace::PublishToClient;
            if id == PropertyId::UserProperty || identifiers {
                assert_eq!(decoded.map(|properties| properties.iter().count()), Ok(2));
            } else {
                assert_eq!(decoded, Err(DecodeError::DuplicateProperty(id)), "{id} in {place:?}");
            }
        }
    }
}

#[test]
fn mqtt5_2_2_2_2_unknown_identifiers() {
    for byte in 0..=255 {
        if PropertyId::from_bits(byte).is_none() {
            let unknown = Properties::decode(&[byte, 0], PropertyPlace::Connect).map(|_| ());
            assert_eq!(unknown, Err(DecodeError::UnknownProperty(byte)));
        }
    }
    let known = (0..=255).filter(|byte| PropertyId::from_bits(*byte).is_some()).count();
    assert_eq!(known, EACH.len());
}

#[test]
fn flags_are_0_or_1() {
    let flags = [0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A, 0x01];
    for byte in flags {
        let id = PropertyId::from_bits(byte).unwrap();
        let place = PLACES.into_iter().find(|place| place.allowed() & id.bit() != 0).unwrap();
        assert!(Properties::decode(&[byte, 0], place).is_ok());
        assert!(Properties::decode(&[byte, 1], place).is_ok());
        for value in 2..=255 {
            let decoded = Properties::decode(&[byte, value], place).map(|_| ());
            assert_eq!(decoded, Err(DecodeError::PropertyValue(id)), "{id} {value}");
        }
    }
}

#[test]
fn zero_is_no_value_for_some() {
    let decode = |raw: &[u8], place| Properties::decode(raw, place).map(|_| ()).unwrap_err();
    let value = DecodeError::PropertyValue;
    let size = decode(&[0x27, 0, 0, 0, 0], PropertyPlace::Connect);
    assert_eq!(size, value(PropertyId::MaximumPacketSize));
    let maximum = decode(&[0x21, 0, 0], PropertyPlace::ConnAck);
    assert_eq!(maximum, value(PropertyId::ReceiveMaximum));
    let identifier = decode(&[0x0B, 0], PropertyPlace::PublishToClient);
    assert_eq!(identifier, value(PropertyId::SubscriptionIdentifier));
    let alias = decode(&[0x23, 0, 0], PropertyPlace::PublishToClient);
    assert_eq!((alias, alias.reason_code()), (DecodeError::TopicAliasZero, ReasonCode::TOPIC_ALIAS_INVALID));
}

#[test]
fn mqtt5_1_5_5_1_subscription_identifiers_are_minimal() {
    let field = Field::Property(PropertyId::SubscriptionIdentifier);
    let decode = |raw: &[u8]| Properties::decode(raw, PropertyPlace::Subscribe).map(|_| ());
    assert_eq!(decode(&[0x0B, 0x81, 0x00]), Err(DecodeError::VarIntNotMinimal(field)));
    assert_eq!(decode(&[0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]), Err(DecodeError::VarIntTooLong(field)));
    assert_eq!(decode(&[0x0B, 0xFF]), Err(DecodeError::EndsInside(field)));
}

#[test]
fn mqtt5_1_5_7_1_string_pairs_are_utf8() {
    let field = Field::Property(PropertyId::UserProperty);
    let decode = |raw: &[u8]| Properties::decode(raw, PropertyPlace::Unsubscribe).map(|_| ());
    assert_eq!(decode(&[0x26, 0, 1, 0xFF, 0, 0]), Err(DecodeError::NotUtf8(field)));
    assert_eq!(decode(&[0x26, 0, 0, 0, 1, 0xFF]), Err(DecodeError::NotUtf8(field)));
    assert_eq!(decode(&[0x26, 0, 0, 0, 1, 0x00]), Err(DecodeError::NulInString(field)));
    assert_eq!(decode(&[0x26, 0, 0]), Err(DecodeError::EndsInside(field)));
}

#[test]
fn mqtt5_3_1_2_11_10_authentication_data_needs_a_method() {
    let data = buf(&[Property::AuthenticationData(b"x")]);
    for place in [PropertyPlace::Connect, PropertyPlace::ConnAck, PropertyPlace::Auth] {
        let decoded = Properties::decode(data.as_properties().raw(), place);
        assert_eq!(decoded, Err(DecodeError::AuthenticationDataWithoutMethod));
    }
}

#[test]
fn every_truncation_is_an_error() {
    for property in EACH {
        let block = buf(&[property]);
        let raw = block.as_properties().raw();
        let place = PLACES.into_iter().find(|place| place.allowed() & property.id().bit() != 0).unwrap();
        for len in 1..raw.len() {
            let error = Properties::decode(&raw[..len], place).unwrap_err();
            assert_eq!(error, DecodeError::EndsInside(Field::Property(property.id())), "{property:?}");
        }
    }
}

#[test]
fn absent_properties_are_none() {
    let empty = Properties::default();
    assert!(empty.is_empty());
    assert_eq!(empty.topic_alias(), None);
    assert_eq!(empty.user_properties().next(), None);
    assert_eq!(empty.subscription_identifiers().next(), None);
    assert_eq!(format!("{empty:?}"), "[]");
}

#[test]
fn getters_find_their_property_among_others() {
    let all = buf(&EACH);
    let all = all.as_properties();
    assert_eq!(all.payload_format_indicator(), Some(1));
    assert_eq!(all.message_expiry_interval(), Some(u32::MAX));
    assert_eq!(all.content_type(), Some("text"));
    assert_eq!(all.response_topic(), Some("r/1"));
    assert_eq!(all.correlation_data(), Some(&[0, 1, 2][..]));
    assert_eq!(all.subscription_identifier(), Some(268_435_455));
    assert_eq!(all.subscription_identifiers().collect::<Vec<_>>(), [268_435_455]);
    assert_eq!(all.session_expiry_interval(), Some(0));
    assert_eq!(all.request_problem_information(), Some(false));
    assert_eq!(all.request_response_information(), Some(true));
    assert_eq!(all.will_delay_interval(), Some(7));
    assert_eq!(all.topic_alias(), Some(65_535));
    assert_eq!(all.topic_alias_maximum(), Some(0));
    assert_eq!(all.maximum_qos(), Some(QoS::AtLeastOnce));
    assert_eq!(all.user_properties().collect::<Vec<_>>(), [("k", "ü")]);
    assert_eq!(all.iter().collect::<Vec<_>>(), EACH);
}

#[test]
fn mqtt5_3_3_2_17_forwarding_leaves_out_what_was_for_the_server() {
    let message = [
        Property::TopicAlias(1),
        Property::UserProperty("b", "1"),
        Property::MessageExpiryInterval(5),
        Property::UserProperty("a", "2"),
        Property::SubscriptionIdentifier(300),
        Property::PayloadFormatIndicator(0),
        Property::WillDelayInterval(9),
    ];
    let block = buf(&message);
    assert!(!block.as_properties().forwardable());
    let mut out = vec![0xAA];
    block.as_properties().forward_into(&mut out);
    let kept = buf(&[message[1], message[3], message[5]]);
    assert_eq!(out[1..], *kept.as_properties().raw());

    assert!(kept.as_properties().forwardable());
    let mut again = Vec::new();
    kept.as_properties().forward_into(&mut again);
    assert_eq!(again, out[1..]);
}

#[test]
fn a_value_that_cannot_be_written_fails_the_packet() {
    let long = "x".repeat(65_536);
    for (bad, fault) in [
        (
            Property::ReasonString(&long),
            PropertyError::TooLong { id: PropertyId::ReasonString, length: 65_536 },
        ),
        (
            Property::UserProperty("a", &long),
            PropertyError::TooLong { id: PropertyId::UserProperty, length: 65_536 },
        ),
        (
            Property::SubscriptionIdentifier(268_435_456),
            PropertyError::OutOfRange { id: PropertyId::SubscriptionIdentifier },
        ),
    ] {
        let mut block = buf(&[Property::ReceiveMaximum(1)]);
        block.push(bad);
        let properties = block.as_properties();
        assert_eq!(properties.iter().count(), 1, "the bytes stay valid");
        assert_eq!(properties.encodable(), Err(EncodeError::Properties));
        block.remove(PropertyId::ReceiveMaximum);
        assert_eq!((block.as_properties().iter().count(), block.check()), (0, Err(fault)));
        assert_eq!(block.as_properties().encodable(), Err(EncodeError::Properties));
        block.clear();
        assert_eq!(block.check(), Ok(()));
        assert_eq!(block.as_properties().encodable(), Ok(&[][..]));
    }
}

#[test]
fn a_buffer_copies_a_block() {
    let original = buf(&EACH[..5]);
    let copy = PropertiesBuf::from(original.as_properties());
    assert_eq!(copy, original);
    assert_eq!(copy.as_properties(), original.as_properties());
    assert_eq!(format!("{:?}", buf(&[Property::TopicAlias(1)])), "[TopicAlias(1)]");
}
