//! What a WebSocket client can do wrong, one name per rule.

use std::fmt;

/// A rule of WebSocket that the client broke; the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WsError {
    /// The opening handshake was refused; the HTTP answer says so already.
    Handshake(HandshakeError),
    /// A frame without a mask (RFC 6455, 5.1).
    Unmasked,
    /// A reserved bit is set though no extension was agreed on (RFC 6455, 5.2).
    ReservedBits,
    /// An opcode without a meaning (RFC 6455, 5.2).
    UnknownOpcode,
    /// A text frame; MQTT travels in binary frames only ([MQTT-6.0.0-1]).
    Text,
    /// A control frame in several fragments (RFC 6455, 5.5).
    ControlFragmented,
    /// A control frame with more than 125 bytes (RFC 6455, 5.5).
    ControlTooLong,
    /// A continuation frame with nothing to continue (RFC 6455, 5.4).
    ContinuationWithoutStart,
    /// A new message inside a fragmented one (RFC 6455, 5.4).
    MessageInsideMessage,
    /// A payload length with its top bit set (RFC 6455, 5.2).
    LengthTooLarge,
    /// A payload length in more bytes than it needs (RFC 6455, 5.2).
    LengthNotMinimal,
    /// A CLOSE whose payload is one byte, or begins with a code that must not be sent (RFC 6455, 5.5.1 and 7.4).
    CloseCode,
    /// A CLOSE whose reason is not UTF-8 (RFC 6455, 5.5.1).
    CloseReason,
    /// So many PINGs, with none of the answers read, that their answers fill the limit.
    UnreadReplies,
}

impl WsError {
    /// The status code of the CLOSE frame that tells the client (RFC 6455, 7.4.1).
    ///
    /// `None` when there is no WebSocket connection yet to close.
    pub fn close_code(self) -> Option<u16> {
        match self {
            Self::Handshake(_) => None,
            Self::Text => Some(1003),
            Self::CloseReason => Some(1007),
            Self::UnreadReplies => Some(1008),
            Self::Unmasked
            | Self::ReservedBits
            | Self::UnknownOpcode
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::ContinuationWithoutStart
            | Self::MessageInsideMessage
            | Self::LengthTooLarge
            | Self::LengthNotMinimal
            | Self::CloseCode => Some(1002),
        }
    }
}

impl fmt::Display for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake(error) => return write!(f, "WebSocket handshake refused: {error}"),
            Self::Unmasked => "WebSocket frame without a mask",
            Self::ReservedBits => "WebSocket frame with a reserved bit set",
            Self::UnknownOpcode => "WebSocket frame with an unknown opcode",
            Self::Text => "WebSocket text frame where MQTT needs binary frames",
            Self::ControlFragmented => "fragmented WebSocket control frame",
            Self::ControlTooLong => "WebSocket control frame with more than 125 bytes",
            Self::ContinuationWithoutStart => "WebSocket continuation frame with nothing to continue",
            Self::MessageInsideMessage => "new WebSocket message inside a fragmented one",
            Self::LengthTooLarge => "WebSocket frame length with its top bit set",
            Self::LengthNotMinimal => "WebSocket frame length in more bytes than it needs",
            Self::CloseCode => "WebSocket close frame with an invalid code",
            Self::CloseReason => "WebSocket close frame with a reason that is not UTF-8",
            Self::UnreadReplies => "WebSocket pings without end whose answers are not read",
        })
    }
}

impl std::error::Error for WsError {}

/// Why an opening handshake was refused. The text of `Display` is what the HTTP answer tells the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The bytes are no HTTP request (RFC 9112, 3 and 5).
    Malformed,
    /// The request header is longer than 8 KiB.
    TooLong,
    /// The method is not GET (RFC 6455, 4.1).
    Method,
    /// The HTTP version is not 1.1 (RFC 6455, 4.1).
    HttpVersion,
    /// No `Upgrade: websocket` (RFC 6455, 4.2.1).
    Upgrade,
    /// No `Connection: upgrade` (RFC 6455, 4.2.1).
    Connection,
    /// `Host` is missing, or there twice (RFC 6455, 4.2.1; RFC 9112, 3.2).
    Host,
    /// `Sec-WebSocket-Version` is not 13 (RFC 6455, 4.2.2).
    Version,
    /// `Sec-WebSocket-Key` is missing, there twice, or not 16 bytes in base64 (RFC 6455, 4.2.1).
    Key,
    /// The client offers no subprotocol, but must offer `mqtt` ([MQTT-6.0.0-3]).
    NoSubprotocol,
    /// The client offers subprotocols, but `mqtt` is not among them ([MQTT-6.0.0-3]).
    OtherSubprotocol,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "this is no HTTP request; this port speaks MQTT over WebSocket",
            Self::TooLong => "the request header is longer than 8 KiB",
            Self::Method => "a WebSocket connection begins with GET",
            Self::HttpVersion => "a WebSocket connection begins with an HTTP/1.1 request",
            Self::Upgrade => "this port speaks MQTT over WebSocket: \"Upgrade: websocket\" is missing",
            Self::Connection => "\"Connection: Upgrade\" is missing",
            Self::Host => "\"Host\" must be there once",
            Self::Version => "\"Sec-WebSocket-Version: 13\" is needed",
            Self::Key => "\"Sec-WebSocket-Key\" must be there once, with 16 bytes in base64",
            Self::NoSubprotocol => "\"Sec-WebSocket-Protocol: mqtt\" is missing [MQTT-6.0.0-3]",
            Self::OtherSubprotocol => "\"Sec-WebSocket-Protocol\" must offer mqtt [MQTT-6.0.0-3]",
        })
    }
}

impl std::error::Error for HandshakeError {}
