//! The client's end of WebSocket, as far as MQTT needs it (RFC 6455, and section 6 of MQTT).

use std::io::{self, ErrorKind};

use crate::payload::fold;

/// Framing in both directions.
#[derive(Debug)]
pub(crate) struct WebSocket {
    request: String,
    /// Bytes of the answer to the request, until it is complete; `None` then.
    answer: Option<Vec<u8>>,
    /// The head of a frame that is not complete.
    head: Vec<u8>,
    /// Bytes of the frame's payload that are still to come.
    left: u64,
    opcode: u8,
    control: Vec<u8>,
    replies: Vec<u8>,
    mask: u64,
}

impl WebSocket {
    /// A connection that asks `host` (as in a URL, with its port) for `path`.
    pub(crate) fn new(host: &str, path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        Self {
            request,
            answer: Some(Vec::new()),
            head: Vec::new(),
            left: 0,
            opcode: 0,
            control: Vec::new(),
            replies: Vec::new(),
            mask: 1,
        }
    }

    /// Whether frames can flow.
    pub(crate) const fn is_open(&self) -> bool {
        self.answer.is_none()
    }

    /// Whether [`WebSocket::take_control`] has something.
    pub(crate) const fn wants_write(&self) -> bool {
        !self.request.is_empty() || !self.replies.is_empty()
    }

    /// Moves what has to be sent besides frames of MQTT: the request, PONG, CLOSE.
    pub(crate) fn take_control(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(std::mem::take(&mut self.request).as_bytes());
        out.append(&mut self.replies);
    }

    /// Appends one binary frame with `bytes` to `out`.
    pub(crate) fn send(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.mask = fold(self.mask, bytes.len() as u64);
        frame(BINARY, bytes, self.mask, out);
    }

    /// Takes bytes off the wire; moves the bytes of MQTT in them to the front and returns how many they are.
    ///
    /// # Errors
    /// `ConnectionRefused` when the server did not agree to WebSocket, `UnexpectedEof` at a CLOSE, `InvalidData` for a
    /// frame that is none.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (mut read, mut kept) = (0, 0);
        if let Some(answer) = &mut self.answer {
            answer.extend_from_slice(buffer);
            let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(0) };
            check_answer(&String::from_utf8_lossy(&answer[..end]))?;
            // What follows the answer is at the end of the buffer.
            read = buffer.len() - (answer.len() - end - 4);
            self.answer = None;
        }
        while read < buffer.len() {
            if self.left == 0 {
                self.head.push(buffer[read]);
                read += 1;
                self.parse_head()?;
            } else {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len() - read);
                if self.opcode < CLOSE {
                    buffer.copy_within(read..read + here, kept);
                    kept += here;
                } else {
                    self.control.extend_from_slice(&buffer[read..read + here]);
                }
                read += here;
                self.left -= here as u64;
            }
            if self.left == 0 && self.head.is_empty() {
                self.end_frame()?;
            }
        }
        Ok(kept)
    }

    fn parse_head(&mut self) -> io::Result<()> {
        let &[first, second, ref rest @ ..] = self.head.as_slice() else { return Ok(()) };
        let len = match (second, rest) {
            (0..=125, []) => u64::from(second),
            (126, &[a, b]) => u64::from(u16::from_be_bytes([a, b])),
            (127, rest) if rest.len() == 8 => rest.iter().fold(0, |len, &byte| len << 8 | u64::from(byte)),
            (126 | 127, _) => return Ok(()),
            _ => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "the server sent a masked WebSocket frame",
                ));
            }
        };
        (self.opcode, self.left) = (first & 0x0F, len);
        self.head.clear();
        Ok(())
    }

    fn end_frame(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.opcode) {
            CLOSE => return Err(ErrorKind::UnexpectedEof.into()),
            PING => frame(PONG, &self.control, self.mask, &mut self.replies),
            _ => {}
        }
        self.control.clear();
        Ok(())
    }
}

fn check_answer(answer: &str) -> io::Result<()> {
    let first = answer.lines().next().unwrap_or_default();
    if !first.starts_with("HTTP/1.1 101") {
        let message = format!("the server does not speak WebSocket here: it answered `{first}`");
        return Err(io::Error::new(ErrorKind::ConnectionRefused, message));
    }
    if answer.lines().any(|line| line.ends_with(ACCEPT)) {
        Ok(())
    } else {
        Err(io::Error::new(
            ErrorKind::InvalidData,
            "the server's WebSocket handshake has no right accept key",
        ))
    }
}

/// Appends one masked frame.
fn frame(opcode: u8, bytes: &[u8], mask: u64, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
        (Ok(len @ ..=125), _) => out.push(0x80 | len),
        (_, Ok(len)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        }
    }
    let [a, b, c, d, ..] = mask.to_be_bytes();
    let (one, eight) = ([a, b, c, d], u64::from_be_bytes([a, b, c, d, a, b, c, d]));
    out.extend_from_slice(&one);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        out.extend_from_slice(&(u64::from_be_bytes(*word) ^ eight).to_be_bytes());
    }
    out.extend(rest.iter().zip(one.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// The key of the example in RFC 6455, section 1.3, and what a server makes of it. It need not be secret: it only
/// shows that the other end speaks WebSocket.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Vec<u8> {
        format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n").into_bytes()
    }

    /// Feeds `bytes` in pieces of `step`; returns the bytes of MQTT.
    fn feed(websocket: &mut WebSocket, bytes: &[u8], step: usize) -> Vec<u8> {
        let mut got = Vec::new();
        for piece in bytes.chunks(step) {
            let mut buffer = piece.to_vec();
            let len = websocket.receive(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..len]);
        }
        got
    }

    #[test]
    fn frames_in_any_pieces() {
        let long = vec![7; 300];
        let mut bytes = answer();
        bytes.extend_from_slice(b"\x82\x03abc\x82\x00\x02\x02de\x89\x01!\x82\x7E\x01\x2C");
        bytes.extend_from_slice(&long);
        for step in [1, 2, 3, 5, 64, 1000] {
            let mut websocket = WebSocket::new("localhost", "/mqtt");
            let got = feed(&mut websocket, &bytes, step);
            assert_eq!(got, [b"abcde", long.as_slice()].concat(), "pieces of {step}");
            let mut out = Vec::new();
            websocket.take_control(&mut out);
            assert_eq!(out[out.len() - 7..out.len() - 5], [0x8A, 0x81], "PONG of one masked byte");
        }
    }

    #[test]
    fn what_is_sent_is_masked_and_has_its_length() {
        for len in [0, 5, 125, 126, 70_000] {
            let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
            let mut out = Vec::new();
            frame(BINARY, &bytes, 0x0102_0304_0506_0708, &mut out);
            let head = out.len() - len;
            assert_eq!(out[head - 4..head], [1, 2, 3, 4]);
            let mask = [1, 2, 3, 4];
            assert!(out[head..].iter().enumerate().all(|(at, byte)| byte ^ mask[at % 4] == bytes[at]));
            assert_eq!(
                head,
                if len < 126 {
                    6
                } else if len < 65_536 {
                    8
                } else {
                    14
                }
            );
        }
    }

    #[test]
    fn another_protocol_is_told_from_websocket() {
        let mut websocket = WebSocket::new("localhost", "/");
        let error = websocket.receive(&mut b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()).unwrap_err();
        assert!(error.to_string().contains("`HTTP/1.1 404 Not Found`"), "{error}");
        let close =
            WebSocket::new("localhost", "/").receive(&mut [answer(), vec![0x88, 0]].concat()).unwrap_err();
        assert_eq!(close.kind(), ErrorKind::UnexpectedEof);
    }
}
