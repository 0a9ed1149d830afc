//! The opening handshake: an HTTP request read, an HTTP answer written.
//!
//! This is not an HTTP server. One request header is looked at as a whole, for the six things RFC 6455 asks of it.

use super::error::HandshakeError;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest as _, Sha1};

/// What a request that may go on asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted<'a> {
    /// `Sec-WebSocket-Key` as sent: base64 text, not the bytes it stands for.
    key: &'a [u8],
    /// The subprotocol that the answer repeats.
    subprotocol: &'static str,
}

/// Reads a request header, from the request line to the empty line that ends it, both included.
///
/// Any path will do. `Host` must be there, but what it says, as `Origin`, is not looked at: who may connect is decided
/// by CONNECT.
pub(super) fn read_request(request: &[u8]) -> Result<Accepted<'_>, HandshakeError> {
    let mut lines = Lines { rest: request };
    check_request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for line in lines {
        fields.add(line)?;
    }
    fields.check()
}

/// Appends the answer that opens the connection (RFC 6455, 4.2.2).
pub(super) fn write_accepted(accepted: &Accepted<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    out.extend_from_slice(b"Sec-WebSocket-Accept: ");
    out.extend_from_slice(accept_key(accepted.key).as_bytes());
    out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
    out.extend_from_slice(accepted.subprotocol.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

/// What a server answers to a client's key (RFC 6455, 4.2.2).
pub(super) fn accept_key(key: &[u8]) -> String {
    let mut digest = Sha1::new();
    digest.update(key);
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"); // fixed by RFC 6455, 1.3
    BASE64.encode(digest.finalize())
}

/// Appends the answer that refuses the connection and says why.
pub(super) fn write_refused(error: HandshakeError, out: &mut Vec<u8>) {
    let (status, extra) = match error {
        HandshakeError::Method => ("405 Method Not Allowed", "Allow: GET\r\n"),
        // RFC 6455, 4.4: the client is told which version would do.
        HandshakeError::Version => {
            ("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        }
        HandshakeError::Malformed
        | HandshakeError::TooLong
        | HandshakeError::HttpVersion
        | HandshakeError::Upgrade
        | HandshakeError::Connection
        | HandshakeError::Host
        | HandshakeError::Key
        | HandshakeError::NoSubprotocol
        | HandshakeError::OtherSubprotocol => ("400 Bad Request", ""),
    };
    let body = format!("{error}\n");
    // RFC 9110, 7.8: whoever sends Upgrade names it in Connection too.
    let connection = if extra.starts_with("Upgrade") { "close, Upgrade" } else { "close" };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: {connection}\r\n{extra}\r\n{body}",
        body.len()
    );
    out.extend_from_slice(answer.as_bytes());
}

/// The lines of a header without their CR LF, up to the empty line.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memmem::find(self.rest, b"\r\n")?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 2..];
        (!line.is_empty()).then_some(line)
    }
}

fn check_request_line(line: &[u8]) -> Result<(), HandshakeError> {
    check_characters(line)?;
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HandshakeError::Malformed);
    };
    if !is_token(method) || target.is_empty() || !version.starts_with(b"HTTP/") {
        return Err(HandshakeError::Malformed);
    }
    if method != b"GET" {
        return Err(HandshakeError::Method);
    }
    if version != b"HTTP/1.1" {
        return Err(HandshakeError::HttpVersion);
    }
    Ok(())
}

/// The header fields that matter, as far as they were seen.
#[derive(Default)]
struct Fields<'a> {
    hosts: u8,
    upgrade: bool,
    connection: bool,
    version: Option<&'a [u8]>,
    version_repeated: bool,
    key: Option<&'a [u8]>,
    key_repeated: bool,
    offers_any: bool,
    offers_mqtt: bool,
    offers_mqttv31: bool,
}

impl<'a> Fields<'a> {
    fn add(&mut self, line: &'a [u8]) -> Result<(), HandshakeError> {
        check_characters(line)?;
        let colon = memchr::memchr(b':', line).ok_or(HandshakeError::Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Also refuses lines folded in the old way, which begin with a space.
        if !is_token(name) {
            return Err(HandshakeError::Malformed);
        }
        if name.eq_ignore_ascii_case(b"Host") {
            self.hosts = self.hosts.saturating_add(1);
        } else if name.eq_ignore_ascii_case(b"Upgrade") {
            self.upgrade |= list(value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
        } else if name.eq_ignore_ascii_case(b"Connection") {
            self.connection |= list(value).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
        } else if name.eq_ignore_ascii_case(b"Sec-WebSocket-Version") {
            self.version_repeated |= self.version.replace(value).is_some();
        } else if name.eq_ignore_ascii_case(b"Sec-WebSocket-Key") {
            self.key_repeated |= self.key.replace(value).is_some();
        } else if name.eq_ignore_ascii_case(b"Sec-WebSocket-Protocol") {
            self.offers_any = true;
            self.offers_mqtt |= list(value).any(|token| token == MQTT.as_bytes());
            self.offers_mqttv31 |= list(value).any(|token| token == MQTTV31.as_bytes());
        }
        Ok(())
    }

    fn check(&self) -> Result<Accepted<'a>, HandshakeError> {
        if !self.upgrade {
            return Err(HandshakeError::Upgrade);
        }
        if !self.connection {
            return Err(HandshakeError::Connection);
        }
        if self.hosts != 1 {
            return Err(HandshakeError::Host);
        }
        if self.version != Some(b"13") || self.version_repeated {
            return Err(HandshakeError::Version);
        }
        let key = self.key.filter(|key| is_key(key) && !self.key_repeated).ok_or(HandshakeError::Key)?;
        Ok(Accepted { key, subprotocol: self.subprotocol()? })
    }

    /// [MQTT-6.0.0-3]: the client must offer `mqtt`; [MQTT-6.0.0-4]: it is what the answer names.
    fn subprotocol(&self) -> Result<&'static str, HandshakeError> {
        if self.offers_mqtt {
            Ok(MQTT)
        } else if self.offers_mqttv31 {
            Ok(MQTTV31)
        } else if self.offers_any {
            Err(HandshakeError::OtherSubprotocol)
        } else {
            Err(HandshakeError::NoSubprotocol)
        }
    }
}

/// The elements of a comma-separated list (RFC 9110, 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Refuses what another reader of the same header could take for the end of a line.
fn check_characters(line: &[u8]) -> Result<(), HandshakeError> {
    match memchr::memchr3(b'\r', b'\n', 0, line) {
        Some(_) => Err(HandshakeError::Malformed),
        None => Ok(()),
    }
}

/// RFC 9110, 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn is_key(key: &[u8]) -> bool {
    // The decoder wants room for whole groups: 18 bytes for 24 characters.
    let mut bytes = [0; 18];
    key.len() == 24 && BASE64.decode_slice(key, &mut bytes) == Ok(16)
}

/// Lenient about the unused bits of the last character: small clients draw 22 random characters.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The registered name, for all versions of MQTT since 3.1.1.
const MQTT: &str = "mqtt";
/// What clients of MQTT 3.1 offer.
const MQTTV31: &str = "mqttv3.1";
