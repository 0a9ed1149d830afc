//! What goes wrong, and whose doing it is.

use std::{fmt, io, sync::Arc};

use cork_net::TlsFailure;
use cork_packet::{ConnectReturnCode, PropertyError, ProtocolVersion, QoS, ReasonCode, TopicError};
use cork_proto::PeerError;

use crate::Server;

/// Why there is no connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The options contradict each other or name a file that can't be read; nothing was tried.
    Options(String),
    /// A Property of CONNECT or of the Will whose value fits into no packet; nothing was tried.
    Property(PropertyError),
    /// The host has no address.
    Dns {
        /// The name that was looked up.
        host: String,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// No transport: refused, unreachable, cut.
    Io {
        /// Server as the options name it.
        server: String,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// TLS failed: the certificate is not trusted, is for another name, the server wants one from us, and so on.
    Tls {
        /// Server as the options name it.
        server: String,
        /// The cause.
        cause: TlsFailure,
    },
    /// The WebSocket handshake failed.
    WebSocket {
        /// Server as the options name it.
        server: String,
        /// The cause.
        cause: String,
    },
    /// No CONNACK within the connect timeout.
    Timeout {
        /// Server as the options name it.
        server: String,
    },
    /// The server refused.
    Refused(Refusal),
    /// The connection ended before CONNACK.
    Disconnected(Disconnected),
    /// The client was closed by this program.
    Closed,
}

/// What CONNACK said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The Reason Code; a return code of 3.1.1 as the Reason Code that says the same.
    pub reason: ReasonCode,
    /// The version that was spoken.
    pub version: ProtocolVersion,
    /// What the server said of it.
    pub reason_string: Option<String>,
    /// Another server to use (5.0 4.13).
    pub server_reference: Option<String>,
}

impl Refusal {
    /// Whether it makes sense to come again: the server was busy, shutting down, and the like.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self.reason,
            ReasonCode::UNSPECIFIED_ERROR
                | ReasonCode::SERVER_UNAVAILABLE
                | ReasonCode::SERVER_BUSY
                | ReasonCode::QUOTA_EXCEEDED
                | ReasonCode::CONNECTION_RATE_EXCEEDED
                | ReasonCode::USE_ANOTHER_SERVER
        )
    }

    pub(crate) fn reason_of(code: ConnectReturnCode) -> ReasonCode {
        match code {
            ConnectReturnCode::ACCEPTED => ReasonCode::SUCCESS,
            ConnectReturnCode::UNACCEPTABLE_PROTOCOL_VERSION => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            ConnectReturnCode::IDENTIFIER_REJECTED => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            ConnectReturnCode::SERVER_UNAVAILABLE => ReasonCode::SERVER_UNAVAILABLE,
            ConnectReturnCode::BAD_USER_NAME_OR_PASSWORD => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            ConnectReturnCode::NOT_AUTHORIZED => ReasonCode::NOT_AUTHORIZED,
            _ => ReasonCode::UNSPECIFIED_ERROR,
        }
    }
}

/// Who ended a Network Connection, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Disconnected {
    /// This program asked for it.
    ByUs,
    /// The server sent DISCONNECT (5.0).
    ByServer {
        /// Why.
        reason: ReasonCode,
        /// The same in words.
        reason_string: Option<String>,
        /// Another server to use.
        server_reference: Option<String>,
    },
    /// The server refused in CONNACK.
    Refused(Refusal),
    /// The server closed the connection without a word.
    Eof,
    /// The network failed.
    Io(Arc<io::Error>),
    /// No PINGRESP in time (3.1.1 and 5.0 3.1.2.10).
    KeepAlive {
        /// Seconds that were waited.
        waited: u16,
    },
    /// The server broke a rule of the specification; 5.0 servers were told so.
    ProtocolError(PeerError),
    /// The server said Session Present to a client that has none (3.1.1 and 5.0 [MQTT-3.2.2-4]).
    SessionPresentUnexpected,
    /// The server failed to prove itself in enhanced authentication.
    Authentication(String),
    /// What this client owes could not be saved.
    Store(Arc<io::Error>),
}

impl From<io::Error> for Disconnected {
    /// A transport that failed. Inside TLS and WebSocket a stream that ends without goodbye is an error, but it is the
    /// same thing: the server is gone.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Eof,
            _ => Self::Io(Arc::new(error)),
        }
    }
}

impl Disconnected {
    /// Whether to try again. A server that ended the connection because another one took the Session over, or for
    /// what the client may not do, is left alone.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::ByUs | Self::Store(_) | Self::SessionPresentUnexpected | Self::Authentication(_) => false,
            Self::ByServer { reason, .. } => !matches!(
                *reason,
                ReasonCode::SESSION_TAKEN_OVER
                    | ReasonCode::NOT_AUTHORIZED
                    | ReasonCode::BANNED
                    | ReasonCode::BAD_AUTHENTICATION_METHOD
            ),
            Self::Refused(refusal) => refusal.is_temporary(),
            Self::Eof | Self::Io(_) | Self::KeepAlive { .. } | Self::ProtocolError(_) => true,
        }
    }
}

/// Why a publication did not come to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The Topic Name is none.
    Topic(TopicError),
    /// A Property whose value fits into no packet; nothing was sent.
    Property(PropertyError),
    /// A Property that does not belong into a PUBLISH, or has a value that may not stand there.
    Properties(String),
    /// The packet is larger than the server, or MQTT, allows; both in bytes.
    TooLarge {
        /// The packet.
        length: usize,
        /// What is allowed.
        maximum: usize,
    },
    /// The server knows no such QoS (5.0 [MQTT-3.2.2-11]).
    QosNotSupported {
        /// The largest it knows.
        maximum: QoS,
    },
    /// The server keeps no messages (5.0 [MQTT-3.2.2-14]).
    RetainNotSupported,
    /// `try_publish` only: the queue is full. The message comes back.
    Full(Box<crate::Publish>),
    /// Its Message Expiry Interval ran out while it waited in this client; it was not sent.
    Expired,
    /// The server refused it: Reason Code 0x80 or above in PUBACK or PUBREC.
    Refused {
        /// Why.
        reason: ReasonCode,
        /// The same in words.
        reason_string: Option<String>,
    },
    /// QoS 0: the connection ended before the message was written.
    ConnectionLost,
    /// QoS 2: the server lost the Session, so nobody knows whether the message got across. Not sent again, because
    /// it might arrive twice.
    SessionLost,
    /// The client is closed, or gave up.
    Closed,
}

/// Why there is no subscription (or it did not end).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No Topic Filter was given.
    Empty,
    /// A Topic Filter breaks the syntax.
    Filter {
        /// The filter.
        filter: String,
        /// The rule it breaks.
        error: TopicError,
    },
    /// The server said it has no wildcard, shared subscriptions (5.0 3.2.2.3); nothing was sent.
    NotSupported(ReasonCode),
    /// No Local on a shared subscription (5.0 [MQTT-3.8.3-4]).
    NoLocalOnShared,
    /// A Property whose value fits into no packet; nothing was sent.
    Property(PropertyError),
    /// The packet is larger than the server allows, or has a Property that does not belong there.
    Packet(String),
    /// The server refused every Topic Filter; one code for each.
    Refused(Vec<ReasonCode>),
    /// The client is closed, or gave up.
    Closed,
}

impl ConnectError {
    /// Of a connection that ended before CONNACK.
    pub(crate) fn ended(server: &Server, why: Disconnected) -> Self {
        // TLS 1.3 servers refuse a client's certificate after the handshake.
        let failure = if let Disconnected::Io(error) = &why { TlsFailure::of(error) } else { None };
        match failure {
            Some(cause) => Self::Tls { server: server.to_string(), cause },
            None => Self::Disconnected(why),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(what) => f.write_str(what),
            Self::Property(error) => error.fmt(f),
            Self::Dns { host, error } => write!(f, "cannot find the address of {host}: {error}"),
            Self::Io { server, error } => write!(f, "cannot connect to {server}: {error}"),
            Self::Tls { server, cause } => write!(f, "TLS with {server} failed: {cause}"),
            Self::WebSocket { server, cause } => write!(f, "WebSocket to {server} failed: {cause}"),
            Self::Timeout { server } => write!(f, "no answer from {server} in time"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Disconnected(why) => write!(f, "the connection ended before CONNACK: {why}"),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server refused the connection: {}", self.reason)?;
        say(f, self.reason_string.as_deref(), self.server_reference.as_deref())
    }
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByUs => f.write_str("disconnected by this program"),
            Self::ByServer { reason, reason_string, server_reference } => {
                write!(f, "the server ended the connection: {reason}")?;
                say(f, reason_string.as_deref(), server_reference.as_deref())
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Eof => f.write_str("the server closed the connection"),
            Self::Io(error) => match TlsFailure::of(error) {
                Some(failure) => write!(f, "TLS failed: {failure}"),
                None => write!(f, "the network failed: {error}"),
            },
            Self::KeepAlive { waited } => write!(f, "the server was silent for {waited} s after PINGREQ"),
            Self::ProtocolError(error) => write!(f, "the server broke the protocol: {error}"),
            Self::SessionPresentUnexpected => {
                f.write_str("the server claims a Session that this client does not have [MQTT-3.2.2-4]")
            }
            Self::Authentication(cause) => write!(f, "the server did not prove itself: {cause}"),
            Self::Store(error) => write!(f, "cannot save what is under way: {error}"),
        }
    }
}

fn say(f: &mut fmt::Formatter<'_>, reason: Option<&str>, reference: Option<&str>) -> fmt::Result {
    if let Some(reason) = reason {
        write!(f, " ({reason})")?;
    }
    match reference {
        Some(reference) => write!(f, "; it names {reference}"),
        None => Ok(()),
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::Property(error) => error.fmt(f),
            Self::Properties(what) => f.write_str(what),
            Self::TooLarge { length, maximum } => {
                write!(f, "a packet of {length} bytes; at most {maximum} are allowed")
            }
            Self::QosNotSupported { maximum } => {
                write!(f, "the server takes QoS {} at most", maximum.bits())
            }
            Self::RetainNotSupported => f.write_str("the server keeps no retained messages"),
            Self::Full(_) => f.write_str("the queue of outgoing messages is full"),
            Self::Expired => f.write_str("the message expired before it could be sent"),
            Self::Refused { reason, reason_string } => {
                write!(f, "the server refused the message: {reason}")?;
                say(f, reason_string.as_deref(), None)
            }
            Self::ConnectionLost => f.write_str("the connection ended before the message was written"),
            Self::SessionLost => f.write_str(
                "the server lost the Session while the message was under way; its fate is unknown",
            ),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no Topic Filter"),
            Self::Filter { filter, error } => write!(f, "Topic Filter `{filter}`: {error}"),
            Self::NotSupported(reason) => write!(f, "not with this server: {reason}"),
            Self::NoLocalOnShared => f.write_str("No Local does not go with a shared subscription"),
            Self::Property(error) => error.fmt(f),
            Self::Packet(what) => f.write_str(what),
            Self::Refused(codes) => {
                f.write_str("the server refused:")?;
                codes.iter().try_for_each(|code| write!(f, " {code}"))
            }
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for ConnectError {}
impl std::error::Error for Disconnected {}
impl std::error::Error for PublishError {}
impl std::error::Error for SubscribeError {}
