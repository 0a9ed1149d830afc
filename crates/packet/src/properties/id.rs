//! Property Identifiers: their wire type and the packets they belong in (5.0 section 2.2.2.2).

use std::fmt;

use crate::DecodeError;

/// The number that says which Property follows.
#[derive(Copy, Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PropertyId {
    /// Byte; PUBLISH, Will.
    PayloadFormatIndicator = 0x01,
    /// Four Byte Integer, seconds; PUBLISH, Will.
    MessageExpiryInterval = 0x02,
    /// String; PUBLISH, Will.
    ContentType = 0x03,
    /// String; PUBLISH, Will.
    ResponseTopic = 0x08,
    /// Binary Data; PUBLISH, Will.
    CorrelationData = 0x09,
    /// Variable Byte Integer; PUBLISH, SUBSCRIBE.
    SubscriptionIdentifier = 0x0B,
    /// Four Byte Integer, seconds; CONNECT, CONNACK, DISCONNECT.
    SessionExpiryInterval = 0x11,
    /// String; CONNACK.
    AssignedClientIdentifier = 0x12,
    /// Two Byte Integer, seconds; CONNACK.
    ServerKeepAlive = 0x13,
    /// String; CONNECT, CONNACK, AUTH.
    AuthenticationMethod = 0x15,
    /// Binary Data; CONNECT, CONNACK, AUTH.
    AuthenticationData = 0x16,
    /// Byte, 0 or 1; CONNECT.
    RequestProblemInformation = 0x17,
    /// Four Byte Integer, seconds; Will.
    WillDelayInterval = 0x18,
    /// Byte, 0 or 1; CONNECT.
    RequestResponseInformation = 0x19,
    /// String; CONNACK.
    ResponseInformation = 0x1A,
    /// String; CONNACK, DISCONNECT.
    ServerReference = 0x1C,
    /// String; CONNACK, DISCONNECT, AUTH and every acknowledgement.
    ReasonString = 0x1F,
    /// Two Byte Integer; CONNECT, CONNACK.
    ReceiveMaximum = 0x21,
    /// Two Byte Integer; CONNECT, CONNACK.
    TopicAliasMaximum = 0x22,
    /// Two Byte Integer; PUBLISH.
    TopicAlias = 0x23,
    /// Byte, 0 or 1; CONNACK.
    MaximumQoS = 0x24,
    /// Byte, 0 or 1; CONNACK.
    RetainAvailable = 0x25,
    /// String Pair, as often as the sender likes; everywhere.
    UserProperty = 0x26,
    /// Four Byte Integer, bytes; CONNECT, CONNACK.
    MaximumPacketSize = 0x27,
    /// Byte, 0 or 1; CONNACK.
    WildcardSubscriptionAvailable = 0x28,
    /// Byte, 0 or 1; CONNACK.
    SubscriptionIdentifierAvailable = 0x29,
    /// Byte, 0 or 1; CONNACK.
    SharedSubscriptionAvailable = 0x2A,
}

/// Where a block of Properties stands, which decides what may be in it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub enum PropertyPlace {
    /// CONNECT.
    Connect,
    /// The Will Properties in the payload of CONNECT.
    Will,
    /// CONNACK.
    ConnAck,
    /// PUBLISH from a client.
    PublishToServer,
    /// PUBLISH from a server: Subscription Identifiers are allowed, more than one too.
    PublishToClient,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK.
    Acknowledgement,
    /// SUBSCRIBE.
    Subscribe,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// DISCONNECT from a client.
    DisconnectToServer,
    /// DISCONNECT from a server: Session Expiry Interval is forbidden.
    DisconnectToClient,
    /// AUTH.
    Auth,
}

/// How the value of a Property is written.
#[derive(Copy, Clone)]
pub(super) enum Shape {
    Byte,
    TwoBytes,
    FourBytes,
    VarInt,
    /// String or Binary Data: a length and bytes.
    Blob,
    /// Two strings.
    Pair,
}

impl PropertyId {
    /// The identifier with this number, if the standard defines one.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x01 => Self::PayloadFormatIndicator,
            0x02 => Self::MessageExpiryInterval,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0B => Self::SubscriptionIdentifier,
            0x11 => Self::SessionExpiryInterval,
            0x12 => Self::AssignedClientIdentifier,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblemInformation,
            0x18 => Self::WillDelayInterval,
            0x19 => Self::RequestResponseInformation,
            0x1A => Self::ResponseInformation,
            0x1C => Self::ServerReference,
            0x1F => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQoS,
            0x25 => Self::RetainAvailable,
            0x26 => Self::UserProperty,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardSubscriptionAvailable,
            0x29 => Self::SubscriptionIdentifierAvailable,
            0x2A => Self::SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// The name the standard uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PayloadFormatIndicator => "Payload Format Indicator",
            Self::MessageExpiryInterval => "Message Expiry Interval",
            Self::ContentType => "Content Type",
            Self::ResponseTopic => "Response Topic",
            Self::CorrelationData => "Correlation Data",
            Self::SubscriptionIdentifier => "Subscription Identifier",
            Self::SessionExpiryInterval => "Session Expiry Interval",
            Self::AssignedClientIdentifier => "Assigned Client Identifier",
            Self::ServerKeepAlive => "Server Keep Alive",
            Self::AuthenticationMethod => "Authentication Method",
            Self::AuthenticationData => "Authentication Data",
            Self::RequestProblemInformation => "Request Problem Information",
            Self::WillDelayInterval => "Will Delay Interval",
            Self::RequestResponseInformation => "Request Response Information",
            Self::ResponseInformation => "Response Information",
            Self::ServerReference => "Server Reference",
            Self::ReasonString => "Reason String",
            Self::ReceiveMaximum => "Receive Maximum",
            Self::TopicAliasMaximum => "Topic Alias Maximum",
            Self::TopicAlias => "Topic Alias",
            Self::MaximumQoS => "Maximum QoS",
            Self::RetainAvailable => "Retain Available",
            Self::UserProperty => "User Property",
            Self::MaximumPacketSize => "Maximum Packet Size",
            Self::WildcardSubscriptionAvailable => "Wildcard Subscription Available",
            Self::SubscriptionIdentifierAvailable => "Subscription Identifier Available",
            Self::SharedSubscriptionAvailable => "Shared Subscription Available",
        }
    }

    /// One bit per identifier; they all fit because the largest is 0x2A.
    #[inline]
    pub(super) const fn bit(self) -> u64 {
        1 << self as u8
    }

    #[inline]
    pub(super) const fn shape(self) -> Shape {
        match self {
            Self::PayloadFormatIndicator
            | Self::RequestProblemInformation
            | Self::RequestResponseInformation
            | Self::MaximumQoS
            | Self::RetainAvailable
            | Self::WildcardSubscriptionAvailable
            | Self::SubscriptionIdentifierAvailable
            | Self::SharedSubscriptionAvailable => Shape::Byte,
            Self::ServerKeepAlive | Self::ReceiveMaximum | Self::TopicAliasMaximum | Self::TopicAlias => {
                Shape::TwoBytes
            }
            Self::MessageExpiryInterval
            | Self::SessionExpiryInterval
            | Self::WillDelayInterval
            | Self::MaximumPacketSize => Shape::FourBytes,
            Self::SubscriptionIdentifier => Shape::VarInt,
            Self::ContentType
            | Self::ResponseTopic
            | Self::CorrelationData
            | Self::AssignedClientIdentifier
            | Self::AuthenticationMethod
            | Self::AuthenticationData
            | Self::ResponseInformation
            | Self::ServerReference
            | Self::ReasonString => Shape::Blob,
            Self::UserProperty => Shape::Pair,
        }
    }
}

impl fmt::Display for PropertyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PropertyPlace {
    /// Whether a Property may appear here.
    #[inline]
    #[must_use]
    pub const fn allows(self, id: PropertyId) -> bool {
        self.allowed() & id.bit() != 0
    }

    /// The bits of the identifiers that may appear here.
    #[inline]
    pub(super) const fn allowed(self) -> u64 {
        match self {
            Self::Connect => CONNECT,
            Self::Will => WILL,
            Self::ConnAck => CONNACK,
            Self::PublishToServer => PUBLISH,
            Self::PublishToClient => PUBLISH | SUBSCRIBE,
            Self::Acknowledgement => ACKNOWLEDGEMENT,
            Self::Subscribe => SUBSCRIBE,
            Self::Unsubscribe => USER,
            Self::DisconnectToServer => ACKNOWLEDGEMENT | SERVER_REFERENCE | SESSION_EXPIRY,
            Self::DisconnectToClient => ACKNOWLEDGEMENT | SERVER_REFERENCE,
            Self::Auth => ACKNOWLEDGEMENT | AUTHENTICATION,
        }
    }

    /// The bits of the identifiers that may appear more than once here.
    #[inline]
    pub(super) const fn repeatable(self) -> u64 {
        match self {
            // 5.0 section 3.3.2.3.8: one for each subscription that matched.
            Self::PublishToClient => SUBSCRIBE,
            _ => USER,
        }
    }

    /// The error for an identifier that is not allowed here.
    #[cold]
    pub(super) const fn refusal(self, id: PropertyId) -> DecodeError {
        match (self, id) {
            (Self::PublishToServer, PropertyId::SubscriptionIdentifier)
            | (Self::DisconnectToClient, PropertyId::SessionExpiryInterval) => {
                DecodeError::PropertyWrongDirection(id)
            }
            _ => DecodeError::PropertyNotAllowed(id),
        }
    }
}

const USER: u64 = PropertyId::UserProperty.bit();
const SESSION_EXPIRY: u64 = PropertyId::SessionExpiryInterval.bit();
const SERVER_REFERENCE: u64 = PropertyId::ServerReference.bit();
const ACKNOWLEDGEMENT: u64 = USER | PropertyId::ReasonString.bit();
const SUBSCRIBE: u64 = USER | PropertyId::SubscriptionIdentifier.bit();
const AUTHENTICATION: u64 = PropertyId::AuthenticationMethod.bit() | PropertyId::AuthenticationData.bit();
/// What CONNECT and CONNACK both carry.
const CONNECTION: u64 = USER
    | SESSION_EXPIRY
    | AUTHENTICATION
    | PropertyId::ReceiveMaximum.bit()
    | PropertyId::MaximumPacketSize.bit()
    | PropertyId::TopicAliasMaximum.bit();
const CONNECT: u64 =
    CONNECTION | PropertyId::RequestProblemInformation.bit() | PropertyId::RequestResponseInformation.bit();
const CONNACK: u64 = CONNECTION
    | ACKNOWLEDGEMENT
    | SERVER_REFERENCE
    | PropertyId::MaximumQoS.bit()
    | PropertyId::RetainAvailable.bit()
    | PropertyId::AssignedClientIdentifier.bit()
    | PropertyId::WildcardSubscriptionAvailable.bit()
    | PropertyId::SubscriptionIdentifierAvailable.bit()
    | PropertyId::SharedSubscriptionAvailable.bit()
    | PropertyId::ServerKeepAlive.bit()
    | PropertyId::ResponseInformation.bit();
/// What PUBLISH and the Will Properties both carry.
const MESSAGE: u64 = USER
    | PropertyId::PayloadFormatIndicator.bit()
    | PropertyId::MessageExpiryInterval.bit()
    | PropertyId::ContentType.bit()
    | PropertyId::ResponseTopic.bit()
    | PropertyId::CorrelationData.bit();
const WILL: u64 = MESSAGE | PropertyId::WillDelayInterval.bit();
const PUBLISH: u64 = MESSAGE | PropertyId::TopicAlias.bit();
