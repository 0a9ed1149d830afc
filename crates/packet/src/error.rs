//! What can be wrong with a packet: one variant per broken rule.

use std::fmt;

use crate::{PacketType, PropertyId, ReasonCode};

/// The part of a packet an error speaks of.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub enum Field {
    /// Remaining Length in the fixed header.
    RemainingLength,
    /// Protocol Name of CONNECT.
    ProtocolName,
    /// Protocol Level (5.0: Protocol Version) of CONNECT.
    ProtocolLevel,
    /// Connect Flags.
    ConnectFlags,
    /// Keep Alive of CONNECT.
    KeepAlive,
    /// Client Identifier.
    ClientId,
    /// Topic of the Will.
    WillTopic,
    /// Payload of the Will (3.1.1: Will Message).
    WillPayload,
    /// User Name.
    UserName,
    /// Password.
    Password,
    /// Connect Acknowledge Flags.
    ConnAckFlags,
    /// Reason Code (3.x: return code).
    ReasonCode,
    /// Topic Name of PUBLISH.
    TopicName,
    /// Packet Identifier.
    PacketId,
    /// Topic Filter of SUBSCRIBE or UNSUBSCRIBE.
    TopicFilter,
    /// Subscription Options (3.x: Requested QoS).
    SubscriptionOptions,
    /// Property Length.
    PropertyLength,
    /// The block of Properties.
    Properties,
    /// The value of one Property.
    Property(PropertyId),
}

/// The rule that the received bytes break.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The slice ends before the packet its fixed header announces.
    Incomplete,
    /// Bytes are left after the last field of the packet.
    TrailingBytes,
    /// The fixed header's length goes on past its fourth byte.
    RemainingLength,
    /// The number of the packet type means nothing in this version.
    PacketType(u8),
    /// This packet only travels the other way.
    WrongDirection(PacketType),
    /// The first packet of a connection is another than CONNECT: 3.1.1, 5.0 [MQTT-3.1.0-1].
    NotConnect,
    /// Reserved flags of the fixed header: 3.1.1 [MQTT-2.2.2-2], 5.0 [MQTT-2.1.3-1].
    Flags(PacketType),
    /// The packet ends inside a field, or the field's length points past the end.
    EndsInside(Field),
    /// Not well-formed UTF-8, surrogates included: 3.1.1 [MQTT-1.5.3-1], 5.0 [MQTT-1.5.4-1].
    NotUtf8(Field),
    /// U+0000 in a string: 3.1.1 [MQTT-1.5.3-2], 5.0 [MQTT-1.5.4-2].
    NulInString(Field),
    /// A Variable Byte Integer of more than four bytes.
    VarIntTooLong(Field),
    /// A Variable Byte Integer with needless bytes: 5.0 [MQTT-1.5.5-1].
    VarIntNotMinimal(Field),
    /// Neither `MQTT` nor `MQIsdp`: 3.1.1, 5.0 [MQTT-3.1.2-1].
    ProtocolName,
    /// A Protocol Level that does not exist or does not go with the name: 3.1.1, 5.0 [MQTT-3.1.2-2].
    UnsupportedProtocolLevel(u8),
    /// The reserved bit of the Connect Flags is set: 3.1.1, 5.0 [MQTT-3.1.2-3].
    ConnectReservedFlag,
    /// Will QoS 3: 3.1.1 [MQTT-3.1.2-14], 5.0 [MQTT-3.1.2-12].
    WillQos,
    /// Will QoS without Will: 3.1.1 [MQTT-3.1.2-13], 5.0 [MQTT-3.1.2-11].
    WillQosWithoutWill,
    /// Will Retain without Will: 3.1.1 [MQTT-3.1.2-15], 5.0 [MQTT-3.1.2-13].
    WillRetainWithoutWill,
    /// The Will Topic is empty or has wildcards: 3.1.1 [MQTT-4.7.1-1], 5.0 [MQTT-4.7.0-1], both
    /// [MQTT-4.7.3-1].
    WillTopic,
    /// Password without User Name: 3.1.1 [MQTT-3.1.2-22]. Allowed in 5.0.
    PasswordWithoutUserName,
    /// Reserved bits of the Connect Acknowledge Flags: 5.0 [MQTT-3.2.2-1].
    ConnAckFlags,
    /// Session Present with a refusal: 3.1.1 [MQTT-3.2.2-4], 5.0 [MQTT-3.2.2-6].
    SessionPresent,
    /// QoS 3: 3.1.1, 5.0 [MQTT-3.3.1-4].
    PublishQos,
    /// DUP with QoS 0: 3.1.1, 5.0 [MQTT-3.3.1-2].
    DupWithQos0,
    /// A wildcard in a Topic Name: 3.1.1, 5.0 [MQTT-3.3.2-2].
    TopicName,
    /// An empty Topic Name, in 5.0 without Topic Alias: 3.1.1, 5.0 [MQTT-4.7.3-1].
    EmptyTopicName,
    /// Packet Identifier 0: 3.1.1 [MQTT-2.3.1-1], 5.0 [MQTT-2.2.1-3] and [MQTT-2.2.1-4].
    PacketIdZero,
    /// A Reason Code that this packet cannot carry: 3.1.1, 5.0 [MQTT-3.9.3-2] and its siblings.
    ReasonCode(u8),
    /// No Topic Filter: 3.1.1 [MQTT-3.8.3-3], [MQTT-3.10.3-2], 5.0 [MQTT-3.8.3-2], [MQTT-3.10.3-2].
    NoTopicFilter,
    /// SUBACK or UNSUBACK without a single code.
    NoReasonCode,
    /// Requested QoS 3: 3.1.1 [MQTT-3.8.3-4], 5.0 section 3.8.3.1.
    SubscribeQos,
    /// Retain Handling 3: 5.0 section 3.8.3.1.
    RetainHandling,
    /// Reserved bits of the Subscription Options: 3.1.1 [MQTT-3.8.3-4], 5.0 [MQTT-3.8.3-5].
    SubscriptionOptions,
    /// A Property Identifier the standard does not define: 5.0 section 2.2.2.2.
    UnknownProperty(u8),
    /// A Property that does not belong in this packet: 5.0 section 2.2.2.2.
    PropertyNotAllowed(PropertyId),
    /// A Property that only the other side may send in this packet: 5.0 [MQTT-3.3.4-6], [MQTT-3.14.2-2].
    PropertyWrongDirection(PropertyId),
    /// A Property that may appear once appears again.
    DuplicateProperty(PropertyId),
    /// A value outside the range of the Property.
    PropertyValue(PropertyId),
    /// Topic Alias 0: 5.0 [MQTT-3.3.2-8].
    TopicAliasZero,
    /// A wildcard in the Response Topic: 5.0 [MQTT-3.3.2-14].
    ResponseTopic,
    /// Authentication Data without Authentication Method: 5.0 section 3.1.2.11.10.
    AuthenticationDataWithoutMethod,
}

/// Why a packet cannot be written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum EncodeError {
    /// A string or binary field of more than 65535 bytes.
    TooLong(Field),
    /// A packet of more than 268 435 455 bytes behind its fixed header.
    PacketTooLarge,
    /// A value was pushed to the Properties that no packet can carry.
    Properties,
    /// The packet type does not exist in this version.
    NotInVersion(PacketType),
    /// A Packet Identifier with QoS 0, or none above: 3.1.1 [MQTT-2.3.1-1], [MQTT-2.3.1-5], 5.0
    /// [MQTT-2.2.1-2].
    PacketId,
    /// DUP with QoS 0: 3.1.1, 5.0 [MQTT-3.3.1-2].
    DupWithQos0,
    /// Password without User Name: 3.1.1 [MQTT-3.1.2-22].
    PasswordWithoutUserName,
    /// No Topic Filter, or no Reason Code to answer one.
    Empty(PacketType),
}

/// Why a Property cannot stand in any packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PropertyError {
    /// A string or Binary Data of more than 65535 bytes; of a User Property its name or its value.
    TooLong {
        /// Which Property.
        id: PropertyId,
        /// How long the value is, in bytes.
        length: usize,
    },
    /// A number that cannot be written: a Subscription Identifier above 268 435 455.
    OutOfRange {
        /// Which Property.
        id: PropertyId,
    },
}

impl DecodeError {
    /// The Reason Code for the CONNACK or DISCONNECT that reports this error (5.0 section 4.13).
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::ProtocolName | Self::UnsupportedProtocolLevel(_) => {
                ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
            }
            Self::TopicName | Self::WillTopic => ReasonCode::TOPIC_NAME_INVALID,
            Self::TopicAliasZero => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::WrongDirection(_)
            | Self::NotConnect
            | Self::SessionPresent
            | Self::EmptyTopicName
            | Self::PacketIdZero
            | Self::ReasonCode(_)
            | Self::NoTopicFilter
            | Self::NoReasonCode
            | Self::SubscribeQos
            | Self::RetainHandling
            | Self::PropertyWrongDirection(_)
            | Self::DuplicateProperty(_)
            | Self::PropertyValue(_)
            | Self::ResponseTopic
            | Self::AuthenticationDataWithoutMethod
            | Self::PasswordWithoutUserName => ReasonCode::PROTOCOL_ERROR,
            Self::Incomplete
            | Self::TrailingBytes
            | Self::RemainingLength
            | Self::PacketType(_)
            | Self::Flags(_)
            | Self::EndsInside(_)
            | Self::NotUtf8(_)
            | Self::NulInString(_)
            | Self::VarIntTooLong(_)
            | Self::VarIntNotMinimal(_)
            | Self::ConnectReservedFlag
            | Self::WillQos
            | Self::WillQosWithoutWill
            | Self::WillRetainWithoutWill
            | Self::ConnAckFlags
            | Self::PublishQos
            | Self::DupWithQos0
            | Self::SubscriptionOptions
            | Self::UnknownProperty(_)
            | Self::PropertyNotAllowed(_) => ReasonCode::MALFORMED_PACKET,
        }
    }
}

impl std::error::Error for DecodeError {}
impl std::error::Error for EncodeError {}
impl std::error::Error for PropertyError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("the bytes end before the packet does"),
            Self::TrailingBytes => f.write_str("bytes follow the last field of the packet"),
            Self::RemainingLength => f.write_str("Remaining Length is longer than four bytes"),
            Self::PacketType(bits) => write!(f, "packet type {bits} does not exist in this version"),
            Self::WrongDirection(packet) => write!(f, "{packet} came from the side that only receives it"),
            Self::NotConnect => f.write_str("the first packet is not CONNECT"),
            Self::Flags(packet) => write!(f, "the fixed header of {packet} has reserved flags set"),
            Self::EndsInside(field) => write!(f, "the packet ends inside {field}"),
            Self::NotUtf8(field) => write!(f, "{field} is not UTF-8"),
            Self::NulInString(field) => write!(f, "{field} contains U+0000"),
            Self::VarIntTooLong(field) => write!(f, "{field} is longer than four bytes"),
            Self::VarIntNotMinimal(field) => write!(f, "{field} is written with more bytes than it needs"),
            Self::ProtocolName => f.write_str("Protocol Name is neither MQTT nor MQIsdp"),
            Self::UnsupportedProtocolLevel(level) => write!(f, "Protocol Level {level} is not supported"),
            Self::ConnectReservedFlag => f.write_str("Connect Flags have the reserved bit set"),
            Self::WillQos => f.write_str("Will QoS is 3"),
            Self::WillQosWithoutWill => f.write_str("Connect Flags have a Will QoS but no Will"),
            Self::WillRetainWithoutWill => f.write_str("Connect Flags have Will Retain but no Will"),
            Self::WillTopic => f.write_str("Will Topic is empty or contains a wildcard"),
            Self::PasswordWithoutUserName => f.write_str("Connect Flags have a Password but no User Name"),
            Self::ConnAckFlags => f.write_str("Connect Acknowledge Flags have reserved bits set"),
            Self::SessionPresent => f.write_str("CONNACK refuses and yet says Session Present"),
            Self::PublishQos => f.write_str("PUBLISH has QoS 3"),
            Self::DupWithQos0 => f.write_str("PUBLISH has DUP set with QoS 0"),
            Self::TopicName => f.write_str("Topic Name contains a wildcard"),
            Self::EmptyTopicName => f.write_str("Topic Name is empty and no Topic Alias stands for it"),
            Self::PacketIdZero => f.write_str("Packet Identifier is 0"),
            Self::ReasonCode(code) => write!(f, "Reason Code 0x{code:02X} does not belong in this packet"),
            Self::NoTopicFilter => f.write_str("the payload has no Topic Filter"),
            Self::NoReasonCode => f.write_str("the payload has no Reason Code"),
            Self::SubscribeQos => f.write_str("Subscription Options have QoS 3"),
            Self::RetainHandling => f.write_str("Subscription Options have Retain Handling 3"),
            Self::SubscriptionOptions => f.write_str("Subscription Options have reserved bits set"),
            Self::UnknownProperty(id) => write!(f, "Property Identifier 0x{id:02X} does not exist"),
            Self::PropertyNotAllowed(id) => write!(f, "{id} does not belong in this packet"),
            Self::PropertyWrongDirection(id) => {
                write!(f, "{id} came from the side that must not send it here")
            }
            Self::DuplicateProperty(id) => write!(f, "{id} appears more than once"),
            Self::PropertyValue(id) => write!(f, "{id} has a value outside its range"),
            Self::TopicAliasZero => f.write_str("Topic Alias is 0"),
            Self::ResponseTopic => f.write_str("Response Topic contains a wildcard"),
            Self::AuthenticationDataWithoutMethod => {
                f.write_str("Authentication Data comes without Authentication Method")
            }
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(field) => write!(f, "{field} is longer than 65535 bytes"),
            Self::PacketTooLarge => f.write_str("the packet is larger than 268435455 bytes"),
            Self::Properties => f.write_str("a Property has a value that cannot be written"),
            Self::NotInVersion(packet) => write!(f, "{packet} does not exist in this version"),
            Self::PacketId => f.write_str("Packet Identifier and QoS do not go together"),
            Self::DupWithQos0 => f.write_str("DUP is set with QoS 0"),
            Self::PasswordWithoutUserName => f.write_str("a Password needs a User Name before 5.0"),
            Self::Empty(packet) => write!(f, "{packet} needs at least one entry"),
        }
    }
}

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { id, length } => {
                let what = if *id == PropertyId::UserProperty { "a name or value of " } else { "" };
                write!(f, "{id} has {what}{length} bytes; at most 65535 fit into a packet")
            }
            Self::OutOfRange { id } => write!(f, "{id} is above 268435455, the largest number for it"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RemainingLength => "Remaining Length",
            Self::ProtocolName => "Protocol Name",
            Self::ProtocolLevel => "Protocol Level",
            Self::ConnectFlags => "Connect Flags",
            Self::KeepAlive => "Keep Alive",
            Self::ClientId => "Client Identifier",
            Self::WillTopic => "Will Topic",
            Self::WillPayload => "Will Payload",
            Self::UserName => "User Name",
            Self::Password => "Password",
            Self::ConnAckFlags => "Connect Acknowledge Flags",
            Self::ReasonCode => "Reason Code",
            Self::TopicName => "Topic Name",
            Self::PacketId => "Packet Identifier",
            Self::TopicFilter => "Topic Filter",
            Self::SubscriptionOptions => "Subscription Options",
            Self::PropertyLength => "Property Length",
            Self::Properties => "the Properties",
            Self::Property(id) => id.name(),
        })
    }
}
