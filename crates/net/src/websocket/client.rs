//! The client's end of a WebSocket connection (RFC 6455), without a socket: bytes in, bytes out.
//!
//! It asks for the subprotocol `mqtt` ([MQTT-6.0.0-3]), masks what it sends, and hands on the payload of binary
//! frames as it arrives: frame borders mean nothing to MQTT.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    HandshakeError, WsError,
    frame::{self, Control},
    handshake,
};

/// One WebSocket connection as the client sees it.
///
/// ```
/// use cork_net::WebSocketClient;
///
/// let mut request = Vec::new();
/// let mut websocket = WebSocketClient::new("127.0.0.1:8083", "/mqtt", [7; 24], &mut request);
/// assert!(request.starts_with(b"GET /mqtt HTTP/1.1\r\n") && !websocket.is_open());
/// # let _ = &mut websocket;
/// ```
#[derive(Debug)]
pub struct WebSocketClient {
    /// What is half read: the answer to the handshake, a frame's header, the payload of a control frame.
    half_read: Vec<u8>,
    /// Bytes of the current data frame still to come.
    remaining: u64,
    phase: Phase,
    fragmented: bool,
    close_sent: bool,
    /// What the server must answer to the key.
    accept: String,
    /// The next mask comes from here.
    random: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Header,
    Data,
    Control(Control, usize),
    Closed,
}

/// Why a connection through WebSocket failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WsClientError {
    /// The server answered the handshake with another status than 101; its first line.
    Status(String),
    /// The answer is no HTTP, or longer than 8 KiB.
    NotHttp,
    /// The answer lacks this, or has it wrong.
    Header(&'static str),
    /// A frame broke a rule.
    Frame(WsError),
    /// The server masked a frame (RFC 6455, 5.1).
    Masked,
}

impl WebSocketClient {
    /// Appends the opening request to `out`. `host` as the `Host` field has it; `random` must be unpredictable.
    #[must_use]
    pub fn new(host: &str, path: &str, random: [u8; 24], out: &mut Vec<u8>) -> Self {
        let key = STANDARD.encode(&random[..16]);
        let [.., a, b, c, d, e, f, g, h] = random;
        let path = if path.is_empty() { "/" } else { path };
        out.extend_from_slice(
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
            )
            .as_bytes(),
        );
        Self {
            half_read: Vec::new(),
            remaining: 0,
            phase: Phase::Handshake,
            fragmented: false,
            close_sent: false,
            accept: handshake::accept_key(key.as_bytes()),
            random: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    /// Whether the handshake succeeded and the server did not close since.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Handshake | Phase::Closed)
    }

    /// Whether the server closed.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Appends one binary frame with `payload`, masked.
    pub fn send(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let mut header = [0; 10];
        let len = frame::encode_header(payload.len(), &mut header);
        self.put(&header[..len], payload, out);
    }

    /// Appends a CLOSE frame; nothing may be sent after it.
    pub fn close(&mut self, code: u16, out: &mut Vec<u8>) {
        if self.is_open() && !self.close_sent {
            self.close_sent = true;
            let mut plain = Vec::new();
            frame::put_control(Control::Close, &code.to_be_bytes(), &mut plain);
            self.put(&plain[..2], &plain[2..], out);
        }
    }

    /// Writes header, mask and masked payload.
    fn put(&mut self, header: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        let mask = self.mask();
        out.extend_from_slice(header);
        let length = out.len() - header.len() + 1;
        out[length] |= frame::MASK;
        out.extend_from_slice(&mask);
        let start = out.len();
        out.extend_from_slice(payload);
        frame::unmask(&mut out[start..], mask);
    }

    /// SplitMix64 from an unpredictable start: masks protect careless proxies from chosen bytes (RFC 6455, 10.3), and
    /// are no secret.
    fn mask(&mut self) -> [u8; 4] {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let [a, b, c, d, ..] = (z ^ (z >> 31)).to_le_bytes();
        [a, b, c, d]
    }

    /// Takes bytes as read, in any split: payloads go to `sink`, PONG and CLOSE are appended to `replies`.
    ///
    /// # Errors
    /// What the server did wrong; the connection is of no use then.
    pub fn receive(
        &mut self,
        mut input: &[u8],
        replies: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), WsClientError> {
        while !input.is_empty() {
            match self.phase {
                Phase::Closed => return Ok(()),
                Phase::Handshake => input = self.handshake(input)?,
                Phase::Header => input = self.header(input)?,
                Phase::Data => {
                    let length = usize::try_from(self.remaining).map_or(input.len(), |n| n.min(input.len()));
                    let (payload, rest) = input.split_at(length);
                    sink(payload);
                    self.remaining -= length as u64;
                    input = rest;
                }
                Phase::Control(control, length) => {
                    let missing = length - self.half_read.len();
                    let (piece, rest) = input.split_at(missing.min(input.len()));
                    self.half_read.extend_from_slice(piece);
                    input = rest;
                    if self.half_read.len() == length {
                        self.control(control, replies)?;
                    }
                }
            }
            if let Phase::Control(control, 0) = self.phase {
                self.control(control, replies)?;
            }
            if self.phase == Phase::Data && self.remaining == 0 {
                self.phase = Phase::Header;
            }
        }
        Ok(())
    }

    fn handshake<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], WsClientError> {
        let before = self.half_read.len();
        self.half_read.extend_from_slice(input);
        let Some(end) = memchr::memmem::find(&self.half_read, b"\r\n\r\n") else {
            return if self.half_read.len() > ANSWER_BYTES_MAX {
                Err(WsClientError::NotHttp)
            } else {
                Ok(&[])
            };
        };
        let answer = std::mem::take(&mut self.half_read);
        self.check_answer(&answer[..end])?;
        self.phase = Phase::Header;
        Ok(&input[end + 4 - before..])
    }

    fn check_answer(&self, answer: &[u8]) -> Result<(), WsClientError> {
        let answer = str::from_utf8(answer).map_err(|_| WsClientError::NotHttp)?;
        let mut lines = answer.split("\r\n");
        let status = lines.next().unwrap_or_default();
        if !status.starts_with("HTTP/1.1 ") && !status.starts_with("HTTP/1.0 ") {
            return Err(WsClientError::NotHttp);
        }
        if status.split(' ').nth(1) != Some("101") {
            return Err(WsClientError::Status(status.chars().take(100).collect()));
        }
        let field = |name: &str| {
            let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
            fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        if field("Sec-WebSocket-Accept") != Some(&self.accept) {
            return Err(WsClientError::Header("Sec-WebSocket-Accept"));
        }
        if !field("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err(WsClientError::Header("Upgrade"));
        }
        // [MQTT-6.0.0-4]: the server must take the subprotocol.
        if field("Sec-WebSocket-Protocol") != Some("mqtt") {
            return Err(WsClientError::Header("Sec-WebSocket-Protocol"));
        }
        Ok(())
    }

    fn header<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], WsClientError> {
        let before = self.half_read.len();
        let mut head = [0; 10];
        head[..before].copy_from_slice(&self.half_read);
        let new = input.len().min(head.len() - before);
        head[before..before + new].copy_from_slice(&input[..new]);
        let head = &head[..before + new];
        let keep = |this: &mut Self| {
            this.half_read.extend_from_slice(input);
            Ok(&input[input.len()..])
        };
        let &[first, second, ..] = head else { return keep(self) };
        if second & frame::MASK != 0 {
            return Err(WsClientError::Masked);
        }
        // The rules are those of a client's frame, which has a mask.
        let start =
            frame::start(first, second | frame::MASK, self.fragmented).map_err(WsClientError::Frame)?;
        let Some(header) = head.get(..start.header_len - 4) else { return keep(self) };
        let mut masked = [0; 14];
        masked[..header.len()].copy_from_slice(header);
        let (length, _) = frame::rest(&masked[..start.header_len]).map_err(WsClientError::Frame)?;
        self.half_read.clear();
        self.phase = match start.control {
            Some(control) => Phase::Control(control, usize::try_from(length).unwrap_or_default()),
            None => {
                self.fragmented = !start.fin;
                self.remaining = length;
                Phase::Data
            }
        };
        Ok(&input[header.len() - before..])
    }

    fn control(&mut self, control: Control, replies: &mut Vec<u8>) -> Result<(), WsClientError> {
        let payload = std::mem::take(&mut self.half_read);
        self.phase = Phase::Header;
        match control {
            Control::Pong => {}
            Control::Ping if self.close_sent => {}
            Control::Ping => {
                let mut plain = Vec::new();
                frame::put_control(Control::Pong, &payload, &mut plain);
                self.put(&plain[..2], &plain[2..], replies);
            }
            Control::Close => {
                frame::check_close(&payload).map_err(WsClientError::Frame)?;
                self.close(1000, replies);
                self.phase = Phase::Closed;
            }
        }
        Ok(())
    }
}

impl fmt::Display for WsClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(line) => write!(f, "the server answered \"{line}\" where 101 is wanted"),
            Self::NotHttp => f.write_str("the answer is no HTTP: is this a WebSocket port?"),
            Self::Header(name) => write!(f, "the server's {name} is missing or wrong"),
            Self::Frame(error) => error.fmt(f),
            Self::Masked => f.write_str("WebSocket frame of a server with a mask"),
        }
    }
}

impl std::error::Error for WsClientError {}

impl From<HandshakeError> for WsClientError {
    fn from(error: HandshakeError) -> Self {
        Self::Frame(WsError::Handshake(error))
    }
}

/// The longest answer read.
const ANSWER_BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::WebSocket;

    /// A client and a server that shook hands.
    fn pair() -> (WebSocketClient, WebSocket) {
        let mut request = Vec::new();
        let mut client = WebSocketClient::new("a", "/mqtt", [3; 24], &mut request);
        let (mut server, mut answer) = (WebSocket::new(), Vec::new());
        server.receive(&mut request, &mut answer, &mut |_| ()).unwrap();
        client.receive(&answer, &mut Vec::new(), &mut |_| ()).unwrap();
        assert!(client.is_open() && server.is_open());
        (client, server)
    }

    proptest! {
        #[test]
        fn what_one_end_sends_the_other_gets_in_any_split(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70_000), 1..4),
            chunk in 1usize..5000,
        ) {
            let (mut client, mut server) = pair();
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            for payload in &payloads {
                client.send(payload, &mut to_server);
                let mut header = [0; 10];
                let len = frame::encode_header(payload.len(), &mut header);
                to_client.extend_from_slice(&header[..len]);
                to_client.extend_from_slice(payload);
            }
            let (mut up, mut down) = (Vec::new(), Vec::new());
            for piece in to_server.chunks_mut(chunk) {
                server.receive(piece, &mut Vec::new(), &mut |bytes| up.extend_from_slice(bytes)).unwrap();
            }
            for piece in to_client.chunks(chunk) {
                client.receive(piece, &mut Vec::new(), &mut |bytes| down.extend_from_slice(bytes)).unwrap();
            }
            prop_assert!(up == payloads.concat() && down == up);
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (mut client, _) = pair();
            let _ = client.receive(&bytes, &mut Vec::new(), &mut |_| ());
        }
    }

    /// The header field, and that a server which takes no subprotocol is refused.
    fn offers_mqtt() {
        let mut request = Vec::new();
        let mut client = WebSocketClient::new("a", "/mqtt", [3; 24], &mut request);
        let request = String::from_utf8(request).unwrap();
        assert!(request.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{request}");
        let answer = format!(
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            client.accept
        );
        let refused = client.receive(answer.as_bytes(), &mut Vec::new(), &mut |_| ());
        assert_eq!(refused, Err(WsClientError::Header("Sec-WebSocket-Protocol")));
    }

    #[test]
    fn mqtt311_6_0_0_3_the_client_offers_mqtt() {
        offers_mqtt();
    }

    #[test]
    fn mqtt5_6_0_0_3_the_client_offers_mqtt() {
        offers_mqtt();
    }

    #[test]
    fn ping_is_answered_and_close_ends() {
        let (mut client, mut server) = pair();
        let mut replies = Vec::new();
        client.receive(&[0x89, 2, 1, 2, 0x88, 2, 3, 0xE8], &mut replies, &mut |_| ()).unwrap();
        assert!(client.closed());
        let mut answer = Vec::new();
        server.receive(&mut replies, &mut answer, &mut |_| ()).unwrap();
        assert!(server.closed());
        assert_eq!(answer, [0x88, 2, 3, 0xE8]);
    }

    #[test]
    fn answers_that_are_refused() {
        for (answer, expected) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", WsClientError::Status("HTTP/1.1 404 Not Found".into())),
            ("SSH-2.0\r\n\r\n", WsClientError::NotHttp),
            ("HTTP/1.1 101 x\r\n\r\n", WsClientError::Header("Sec-WebSocket-Accept")),
        ] {
            let mut client = WebSocketClient::new("a", "", [3; 24], &mut Vec::new());
            assert_eq!(client.receive(answer.as_bytes(), &mut Vec::new(), &mut |_| ()), Err(expected));
        }
        let (mut client, _) = pair();
        let masked = client.receive(&[0x82, 0x81, 0, 0, 0, 0, 1], &mut Vec::new(), &mut |_| ());
        assert_eq!(masked, Err(WsClientError::Masked));
    }
}
