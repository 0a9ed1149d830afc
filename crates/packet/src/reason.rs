//! Reason Codes of 5.0 and the CONNACK return codes of 3.x.

use std::fmt;

/// The outcome of an operation in one byte (5.0 section 2.4); 0x80 and above are failures.
///
/// A newtype and not an enum: which values a packet may carry depends on the packet, and `decode` checks
/// that.
#[derive(Copy, Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, Default)]
pub struct ReasonCode(pub u8);

/// The outcome of a CONNECT in 3.1 and 3.1.1 (3.1.1 section 3.2.2.3); everything but 0 is a refusal.
#[derive(Copy, Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, Default)]
pub struct ConnectReturnCode(pub u8);

impl ReasonCode {
    /// 0x00 in DISCONNECT: the Network Connection ends and the Will is not sent.
    pub const NORMAL_DISCONNECTION: Self = Self(0x00);
    /// 0x00 in SUBACK: subscribed, deliveries use at most QoS 0.
    pub const GRANTED_QOS_0: Self = Self(0x00);

    /// Whether the code reports a failure, that is 0x80 or above (5.0 section 2.4).
    #[inline]
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The CONNACK return code that tells a 3.x client the same.
    ///
    /// 3.x knows five refusals; what fits none of them becomes [`ConnectReturnCode::SERVER_UNAVAILABLE`].
    #[must_use]
    pub const fn to_connect_return_code(self) -> ConnectReturnCode {
        match self {
            Self::SUCCESS => ConnectReturnCode::ACCEPTED,
            Self::UNSUPPORTED_PROTOCOL_VERSION => ConnectReturnCode::UNACCEPTABLE_PROTOCOL_VERSION,
            Self::CLIENT_IDENTIFIER_NOT_VALID => ConnectReturnCode::IDENTIFIER_REJECTED,
            Self::BAD_USER_NAME_OR_PASSWORD => ConnectReturnCode::BAD_USER_NAME_OR_PASSWORD,
            Self::NOT_AUTHORIZED | Self::BANNED | Self::BAD_AUTHENTICATION_METHOD => {
                ConnectReturnCode::NOT_AUTHORIZED
            }
            _ => ConnectReturnCode::SERVER_UNAVAILABLE,
        }
    }
}

/// One constant per code and the name lookup, from a single list.
macro_rules! codes {
    ($type:ident { $($(#[$doc:meta])+ $constant:ident = $value:literal $name:literal,)+ }) => {
        impl $type {
            $($(#[$doc])+ pub const $constant: Self = Self($value);)+

            /// The name the standard gives the code; `None` for a value it does not assign.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} (0x{:02X})", self.name().unwrap_or("unassigned code"), self.0)
            }
        }
    };
}

codes!(ReasonCode {
    /// 0x00: it worked.
    SUCCESS = 0x00 "Success",
    /// 0x01 in SUBACK: subscribed, deliveries use at most QoS 1.
    GRANTED_QOS_1 = 0x01 "Granted QoS 1",
    /// 0x02 in SUBACK: subscribed, deliveries use at most QoS 2.
    GRANTED_QOS_2 = 0x02 "Granted QoS 2",
    /// 0x04 in DISCONNECT: the client leaves and wants its Will sent.
    DISCONNECT_WITH_WILL = 0x04 "Disconnect with Will Message",
    /// 0x10 in PUBACK and PUBREC: accepted, nobody subscribes to it.
    NO_MATCHING_SUBSCRIBERS = 0x10 "No matching subscribers",
    /// 0x11 in UNSUBACK: there was nothing to remove.
    NO_SUBSCRIPTION_EXISTED = 0x11 "No subscription existed",
    /// 0x18 in AUTH: another step of the exchange follows.
    CONTINUE_AUTHENTICATION = 0x18 "Continue authentication",
    /// 0x19 in AUTH: the client starts the exchange anew.
    RE_AUTHENTICATE = 0x19 "Re-authenticate",
    /// 0x80: a failure whose cause is not told.
    UNSPECIFIED_ERROR = 0x80 "Unspecified error",
    /// 0x81: the bytes cannot be read as the packet they claim to be.
    MALFORMED_PACKET = 0x81 "Malformed Packet",
    /// 0x82: readable, but forbidden here.
    PROTOCOL_ERROR = 0x82 "Protocol Error",
    /// 0x83: valid, but not accepted by this receiver.
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83 "Implementation specific error",
    /// 0x84: the server does not speak this level.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84 "Unsupported Protocol Version",
    /// 0x85: a valid string, but not a Client Identifier this server takes.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85 "Client Identifier not valid",
    /// 0x86: the credentials are refused.
    BAD_USER_NAME_OR_PASSWORD = 0x86 "Bad User Name or Password",
    /// 0x87: the client lacks the right.
    NOT_AUTHORIZED = 0x87 "Not authorized",
    /// 0x88: the server is not available.
    SERVER_UNAVAILABLE = 0x88 "Server unavailable",
    /// 0x89: the server is busy, try later.
    SERVER_BUSY = 0x89 "Server busy",
    /// 0x8A: an operator shut this client out.
    BANNED = 0x8A "Banned",
    /// 0x8B: the server goes down.
    SERVER_SHUTTING_DOWN = 0x8B "Server shutting down",
    /// 0x8C: the Authentication Method is unknown or not the one in use.
    BAD_AUTHENTICATION_METHOD = 0x8C "Bad authentication method",
    /// 0x8D: nothing came for one and a half Keep Alive periods.
    KEEP_ALIVE_TIMEOUT = 0x8D "Keep Alive timeout",
    /// 0x8E: another connection uses the Client Identifier now.
    SESSION_TAKEN_OVER = 0x8E "Session taken over",
    /// 0x8F: a well-formed Topic Filter that is not accepted.
    TOPIC_FILTER_INVALID = 0x8F "Topic Filter invalid",
    /// 0x90: a well-formed Topic Name that is not accepted.
    TOPIC_NAME_INVALID = 0x90 "Topic Name invalid",
    /// 0x91: the Packet Identifier is still in flight; the two ends disagree about the Session.
    PACKET_IDENTIFIER_IN_USE = 0x91 "Packet Identifier in use",
    /// 0x92 in PUBREL and PUBCOMP: no such flow. Not an error during recovery.
    PACKET_IDENTIFIER_NOT_FOUND = 0x92 "Packet Identifier not found",
    /// 0x93: more unacknowledged PUBLISH packets than Receive Maximum.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93 "Receive Maximum exceeded",
    /// 0x94: zero, above Topic Alias Maximum, or never defined.
    TOPIC_ALIAS_INVALID = 0x94 "Topic Alias invalid",
    /// 0x95: larger than the receiver's Maximum Packet Size.
    PACKET_TOO_LARGE = 0x95 "Packet too large",
    /// 0x96: the received data rate is too high.
    MESSAGE_RATE_TOO_HIGH = 0x96 "Message rate too high",
    /// 0x97: a limit set by an operator or the implementation is reached.
    QUOTA_EXCEEDED = 0x97 "Quota exceeded",
    /// 0x98: an operator closed the connection.
    ADMINISTRATIVE_ACTION = 0x98 "Administrative action",
    /// 0x99: the payload is not what its Payload Format Indicator says.
    PAYLOAD_FORMAT_INVALID = 0x99 "Payload format invalid",
    /// 0x9A: the server keeps no retained messages.
    RETAIN_NOT_SUPPORTED = 0x9A "Retain not supported",
    /// 0x9B: a QoS above the server's Maximum QoS.
    QOS_NOT_SUPPORTED = 0x9B "QoS not supported",
    /// 0x9C: go to another server for now.
    USE_ANOTHER_SERVER = 0x9C "Use another server",
    /// 0x9D: go to another server for good.
    SERVER_MOVED = 0x9D "Server moved",
    /// 0x9E: no Shared Subscriptions here.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E "Shared Subscriptions not supported",
    /// 0x9F: connections come in too fast.
    CONNECTION_RATE_EXCEEDED = 0x9F "Connection rate exceeded",
    /// 0xA0: this connection has lasted as long as it may.
    MAXIMUM_CONNECT_TIME = 0xA0 "Maximum connect time",
    /// 0xA1: no Subscription Identifiers here.
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1 "Subscription Identifiers not supported",
    /// 0xA2: no wildcards here.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2 "Wildcard Subscriptions not supported",
});

codes!(ConnectReturnCode {
    /// 0: connected.
    ACCEPTED = 0 "Connection Accepted",
    /// 1: the server does not speak this level.
    UNACCEPTABLE_PROTOCOL_VERSION = 1 "Unacceptable protocol version",
    /// 2: not a Client Identifier this server takes.
    IDENTIFIER_REJECTED = 2 "Identifier rejected",
    /// 3: the MQTT service is not available.
    SERVER_UNAVAILABLE = 3 "Server unavailable",
    /// 4: the credentials are malformed or refused.
    BAD_USER_NAME_OR_PASSWORD = 4 "Bad user name or password",
    /// 5: the client lacks the right to connect.
    NOT_AUTHORIZED = 5 "Not authorized",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_name_and_hex() {
        assert_eq!(ReasonCode::PROTOCOL_ERROR.to_string(), "Protocol Error (0x82)");
        assert_eq!(ReasonCode(0x7F).to_string(), "unassigned code (0x7F)");
        assert_eq!(ConnectReturnCode::NOT_AUTHORIZED.to_string(), "Not authorized (0x05)");
    }

    #[test]
    fn errors_start_at_0x80() {
        assert!(!ReasonCode::RE_AUTHENTICATE.is_error());
        assert!(ReasonCode::UNSPECIFIED_ERROR.is_error());
    }

    #[test]
    fn every_refusal_stays_a_refusal_for_3_x() {
        for code in 0x80..=0xFF {
            let mapped = ReasonCode(code).to_connect_return_code();
            assert!((1..=5).contains(&mapped.0), "{code:#x} became {mapped}");
        }
        assert_eq!(ReasonCode::SUCCESS.to_connect_return_code(), ConnectReturnCode::ACCEPTED);
    }
}
