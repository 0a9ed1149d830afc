//! Which rule a peer broke.

use std::fmt;

use cork_packet::{DecodeError, PacketId, ReasonCode};

/// A rule of the specification, or a limit of this end, that the peer broke. It ends the Network Connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// The bytes are no packet.
    Decode(DecodeError),
    /// A packet longer than this end accepts (5.0 [MQTT-3.2.2-15], 4.13); both in bytes.
    PacketTooLarge {
        /// Length the fixed header announced.
        length: usize,
        /// What is accepted.
        maximum: usize,
    },
    /// The first packet is not CONNECT (3.1.1 and 5.0 [MQTT-3.1.0-1]).
    FirstPacketNotConnect,
    /// A second CONNECT (3.1.1 and 5.0 [MQTT-3.1.0-2]).
    SecondConnect,
    /// AUTH without an Authentication Method in CONNECT, or out of turn (5.0 [MQTT-4.12.0-6]).
    UnexpectedAuth,
    /// AUTH with another Authentication Method than the CONNECT's (5.0 [MQTT-4.12.0-5]).
    AuthMethodChanged,
    /// Another packet than AUTH or DISCONNECT before the authentication ended; from a server, before CONNACK
    /// (3.1.1 and 5.0 [MQTT-3.2.0-1]).
    PacketBeforeConnAck,
    /// A second CONNACK (5.0 [MQTT-3.2.0-2]).
    SecondConnAck,
    /// An acknowledgement of another kind, or with another number of codes, than the packet it names wants.
    AckMismatch(PacketId),
    /// More QoS 1 and 2 publications under way than the Receive Maximum allows (5.0 [MQTT-3.3.4-9]).
    ReceiveMaximumExceeded,
    /// A Topic Alias of zero or above the maximum (5.0 [MQTT-3.3.2-8], [MQTT-3.3.2-9]).
    TopicAliasInvalid(u16),
    /// A Topic Alias without Topic Name that was never defined (5.0 3.3.4).
    TopicAliasUnknown(u16),
    /// A Topic Filter that breaks the syntax (5.0 4.7, 4.8).
    TopicFilterInvalid,
    /// No Local on a shared subscription (5.0 [MQTT-3.8.3-4]).
    NoLocalOnShared,
    /// A second User Property `filter` in a SUBSCRIBE: one filter holds for all its Topic Filters.
    SecondContentFilter,
    /// A Topic Name deeper than the configured number of levels, or with wildcards.
    TopicNameInvalid,
    /// DISCONNECT set a Session Expiry Interval although CONNECT said zero (5.0 3.14.2.2.2).
    SessionExpiryFromZero,
    /// The payload is not UTF-8 although its Payload Format Indicator says so.
    PayloadFormatInvalid,
}

impl PeerError {
    /// The Reason Code that a DISCONNECT (or CONNACK) carries for it.
    #[must_use]
    pub fn reason_code(&self) -> ReasonCode {
        match self {
            Self::Decode(error) => error.reason_code(),
            Self::PacketTooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            Self::FirstPacketNotConnect
            | Self::SecondConnect
            | Self::UnexpectedAuth
            | Self::AuthMethodChanged
            | Self::PacketBeforeConnAck
            | Self::SecondConnAck
            | Self::AckMismatch(_)
            | Self::TopicAliasUnknown(_)
            | Self::NoLocalOnShared
            | Self::SecondContentFilter
            | Self::SessionExpiryFromZero => ReasonCode::PROTOCOL_ERROR,
            Self::ReceiveMaximumExceeded => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            Self::TopicAliasInvalid(_) => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::TopicFilterInvalid => ReasonCode::TOPIC_FILTER_INVALID,
            Self::TopicNameInvalid => ReasonCode::TOPIC_NAME_INVALID,
            Self::PayloadFormatInvalid => ReasonCode::PAYLOAD_FORMAT_INVALID,
        }
    }
}

impl From<DecodeError> for PeerError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::PacketTooLarge { length, maximum } => {
                write!(f, "packet of {length} bytes; at most {maximum} are accepted")
            }
            Self::FirstPacketNotConnect => f.write_str("the first packet is not CONNECT"),
            Self::SecondConnect => f.write_str("a second CONNECT"),
            Self::UnexpectedAuth => f.write_str("AUTH without a running authentication"),
            Self::AuthMethodChanged => f.write_str("AUTH changes the Authentication Method"),
            Self::PacketBeforeConnAck => f.write_str("a packet before the authentication ended"),
            Self::SecondConnAck => f.write_str("a second CONNACK"),
            Self::AckMismatch(id) => write!(f, "an answer that does not fit the packet with identifier {id}"),
            Self::ReceiveMaximumExceeded => f.write_str("more publications under way than Receive Maximum"),
            Self::TopicAliasInvalid(alias) => write!(f, "Topic Alias {alias} is not allowed"),
            Self::TopicAliasUnknown(alias) => write!(f, "Topic Alias {alias} was never defined"),
            Self::TopicFilterInvalid => f.write_str("Topic Filter breaks the syntax"),
            Self::NoLocalOnShared => f.write_str("No Local on a shared subscription"),
            Self::SecondContentFilter => f.write_str("a second user property `filter` in SUBSCRIBE"),
            Self::TopicNameInvalid => f.write_str("Topic Name not accepted"),
            Self::SessionExpiryFromZero => {
                f.write_str("DISCONNECT sets a Session Expiry Interval, CONNECT had none")
            }
            Self::PayloadFormatInvalid => f.write_str("payload is not the UTF-8 it claims to be"),
        }
    }
}

impl std::error::Error for PeerError {}
