//! The server's end of a WebSocket connection (RFC 6455), without a socket: bytes in, bytes out.
//!
//! Fed with whatever was read, it answers the opening handshake, then hands on the payload of binary frames and
//! answers PING and CLOSE. Frame borders mean nothing to MQTT ([MQTT-6.0.0-2]), so payloads are handed on as they
//! arrive and a frame of any length needs no buffer. The other direction is [`encode_header`] and [`close_frame`]:
//! the caller puts a header before its bytes.
//!
//! Invariant: how the bytes are split over calls changes neither payload nor replies nor the error.

mod client;
mod error;
mod frame;
mod handshake;

pub use client::{WebSocketClient, WsClientError};
pub use error::{HandshakeError, WsError};
use frame::{Control, HEADER_BYTES_MAX};
pub use frame::{close_frame, encode_header};

/// One WebSocket connection as the server sees it.
///
/// Small, because most connections are idle: 56 bytes, and memory besides only while a handshake or a control frame
/// is half read.
///
/// ```
/// # use cork_net::WebSocket;
/// let mut websocket = WebSocket::new();
/// let mut input = b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
///     Sec-WebSocket-Protocol: mqtt\r\n\r\n\
///     \x82\x82\x00\x00\x00\x00\xC0\x00".to_vec();
/// let (mut replies, mut payload) = (Vec::new(), Vec::new());
/// websocket.receive(&mut input, &mut replies, &mut |bytes| payload.extend_from_slice(bytes))?;
/// assert!(websocket.is_open() && replies.starts_with(b"HTTP/1.1 101 "));
/// assert_eq!(payload, [0xC0, 0x00]); // a PINGREQ
/// # Ok::<(), cork_net::WsError>(())
/// ```
#[derive(Debug)]
pub struct WebSocket {
    /// What is half read: the request during the handshake, later the payload of a control frame. Else unallocated.
    half_read: Vec<u8>,
    /// Bytes of the current frame's payload still to come.
    remaining: u64,
    /// The mask of the current frame, turned so that its first byte belongs to the next payload byte.
    mask: [u8; 4],
    /// The begin of a header that was split over reads.
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    phase: Phase,
    /// The last data frame said that its message goes on.
    fragmented: bool,
    /// A CLOSE, or the refusal of a handshake, is among the replies: nothing may be sent after it.
    output_ended: bool,
}

/// What the next byte is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Header,
    Data,
    Control(Control),
    /// Nothing: the peer closed or broke a rule.
    Closed,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self::new()
    }
}

impl WebSocket {
    /// A connection on which nothing arrived yet; the opening handshake comes first.
    pub fn new() -> Self {
        Self {
            half_read: Vec::new(),
            remaining: 0,
            mask: [0; 4],
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            phase: Phase::Handshake,
            fragmented: false,
            output_ended: false,
        }
    }

    /// Whether the opening handshake is not over yet.
    pub fn is_handshaking(&self) -> bool {
        self.phase == Phase::Handshake
    }

    /// Whether the handshake succeeded and the peer neither closed nor broke a rule since.
    pub fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Handshake | Phase::Closed)
    }

    /// Whether all further input is ignored: after the peer's CLOSE and after an error.
    pub fn closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether data frames may be sent: after the handshake, until either side closed.
    pub fn can_send(&self) -> bool {
        self.is_open() && !self.output_ended
    }

    /// Takes bytes as read from the socket, in any split.
    ///
    /// Payloads of data frames are unmasked in place and handed to `sink` piece by piece, never empty. What must be
    /// sent (the answer to the handshake, PONG, CLOSE) is appended to `replies`, at most about as much as `input` is
    /// long besides one answer to the handshake. Cost: linear in `input`.
    ///
    /// # Errors
    /// The rule that the peer broke. What came before it has been handed on. The caller sends the error's
    /// [`close_code`](WsError::close_code) with [`WebSocket::close`] and ends the connection; further input is
    /// ignored. After [`WsError::Handshake`] the refusal is in `replies` already.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        replies: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), WsError> {
        let result = if self.phase == Phase::Handshake {
            match self.handshake(input, replies) {
                Ok(used) => self.frames(&mut input[used..], replies, sink),
                Err(error) => {
                    handshake::write_refused(error, replies);
                    self.output_ended = true;
                    Err(WsError::Handshake(error))
                }
            }
        } else {
            self.frames(input, replies, sink)
        };
        if result.is_err() {
            self.phase = Phase::Closed;
            self.half_read = Vec::new();
        }
        result
    }

    /// Appends a CLOSE frame with `code` to `replies`; after that no data frame may be sent.
    ///
    /// Nothing happens during the handshake, or if a CLOSE or a refusal was sent before.
    pub fn close(&mut self, code: u16, replies: &mut Vec<u8>) {
        if self.phase != Phase::Handshake && !self.output_ended {
            close_frame(code, replies);
            self.output_ended = true;
        }
    }

    /// Collects the request; once it is complete, answers it. Returns how many bytes of `input` belong to it.
    fn handshake(&mut self, input: &[u8], replies: &mut Vec<u8>) -> Result<usize, HandshakeError> {
        let before = self.half_read.len();
        // A client of plain MQTT, or of TLS, need not wait until it has sent a whole header.
        if before == 0 && !input.first().is_none_or(u8::is_ascii_uppercase) {
            return Err(HandshakeError::Malformed);
        }
        let room = &input[..input.len().min(REQUEST_BYTES_MAX - before)];
        // The usual request comes in one piece and is read where it is.
        if before == 0
            && let Some(end) = header_end(room, 0)
        {
            self.answer(&room[..end], replies)?;
            return Ok(end);
        }
        self.half_read.extend_from_slice(room);
        let Some(end) = header_end(&self.half_read, before) else {
            return if self.half_read.len() == REQUEST_BYTES_MAX {
                Err(HandshakeError::TooLong)
            } else {
                Ok(input.len())
            };
        };
        let request = std::mem::take(&mut self.half_read);
        self.answer(&request[..end], replies)?;
        Ok(end - before)
    }

    fn answer(&mut self, request: &[u8], replies: &mut Vec<u8>) -> Result<(), HandshakeError> {
        handshake::write_accepted(&handshake::read_request(request)?, replies);
        self.phase = Phase::Header;
        Ok(())
    }

    fn frames(
        &mut self,
        mut input: &mut [u8],
        replies: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), WsError> {
        while !input.is_empty() {
            let used = match self.phase {
                Phase::Header => match self.read_whole_frames(input, sink)? {
                    0 => self.read_header(input, replies)?,
                    used => used,
                },
                Phase::Data => self.read_data(input, sink),
                Phase::Control(control) => self.read_control(control, input, replies)?,
                Phase::Handshake | Phase::Closed => return Ok(()),
            };
            input = &mut input[used..];
        }
        Ok(())
    }

    /// The usual way: data frames that are complete in `input`. Does nothing that the steps below would not do, but
    /// keeps what it knows in registers: three times as fast for small frames.
    #[inline]
    fn read_whole_frames(&mut self, input: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, WsError> {
        let mut used = 0;
        while self.header_len == 0
            && let rest = &mut input[used..]
            && let [first, second, ..] = *rest
        {
            let start = frame::start(first, second, self.fragmented)?;
            let Some((header, rest)) = rest.split_at_mut_checked(start.header_len) else { break };
            let (len, mask) = frame::rest(header)?;
            let Some(payload) = usize::try_from(len).ok().and_then(|len| rest.get_mut(..len)) else { break };
            if start.control.is_some() {
                break;
            }
            frame::unmask(payload, mask);
            if !payload.is_empty() {
                sink(payload);
            }
            self.fragmented = !start.fin;
            used += start.header_len + payload.len();
        }
        Ok(used)
    }

    #[inline]
    fn read_header(&mut self, input: &[u8], replies: &mut Vec<u8>) -> Result<usize, WsError> {
        if self.header_len == 0
            && let [first, second, ..] = *input
        {
            let start = frame::start(first, second, self.fragmented)?;
            if let Some(header) = input.get(..start.header_len) {
                self.begin_frame(start, header, replies)?;
                return Ok(start.header_len);
            }
        }
        self.collect_header(input, replies)
    }

    /// The rare way: a header that was split, or is about to be.
    #[cold]
    fn collect_header(&mut self, input: &[u8], replies: &mut Vec<u8>) -> Result<usize, WsError> {
        for (index, &byte) in input.iter().enumerate() {
            let mut len = usize::from(self.header_len);
            self.header[len] = byte;
            self.header_len += 1;
            len += 1;
            if len < 2 {
                continue;
            }
            let start = frame::start(self.header[0], self.header[1], self.fragmented)?;
            if len == start.header_len {
                let header = self.header;
                self.header_len = 0;
                self.begin_frame(start, &header[..len], replies)?;
                return Ok(index + 1);
            }
        }
        Ok(input.len())
    }

    #[inline]
    fn begin_frame(
        &mut self,
        start: frame::Start,
        header: &[u8],
        replies: &mut Vec<u8>,
    ) -> Result<(), WsError> {
        (self.remaining, self.mask) = frame::rest(header)?;
        match start.control {
            None => {
                self.fragmented = !start.fin;
                self.phase = if self.remaining == 0 { Phase::Header } else { Phase::Data };
                Ok(())
            }
            Some(control) if self.remaining == 0 => self.finish_control(control, &[], replies),
            Some(control) => {
                self.phase = Phase::Control(control);
                Ok(())
            }
        }
    }

    #[inline]
    fn read_data(&mut self, input: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> usize {
        let piece = self.unmask_piece(input);
        sink(piece);
        let used = piece.len();
        if self.remaining == 0 {
            self.phase = Phase::Header;
        }
        used
    }

    fn read_control(
        &mut self,
        control: Control,
        input: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> Result<usize, WsError> {
        let piece = self.unmask_piece(input);
        let used = piece.len();
        if self.remaining == 0 && self.half_read.is_empty() {
            self.finish_control(control, piece, replies)?;
        } else {
            self.half_read.extend_from_slice(piece);
            if self.remaining == 0 {
                let payload = std::mem::take(&mut self.half_read);
                self.finish_control(control, &payload, replies)?;
            }
        }
        Ok(used)
    }

    /// Unmasks as much of the current frame's payload as `input` begins with, and counts it off.
    #[inline]
    fn unmask_piece<'a>(&mut self, input: &'a mut [u8]) -> &'a [u8] {
        let len = usize::try_from(self.remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
        let piece = &mut input[..len];
        frame::unmask(piece, self.mask);
        self.remaining -= len as u64;
        if self.remaining != 0 {
            self.mask.rotate_left(len % 4);
        }
        piece
    }

    fn finish_control(
        &mut self,
        control: Control,
        payload: &[u8],
        replies: &mut Vec<u8>,
    ) -> Result<(), WsError> {
        self.phase = Phase::Header;
        match control {
            Control::Pong => {}
            Control::Ping if self.output_ended => {}
            Control::Ping => frame::put_control(Control::Pong, payload, replies),
            Control::Close => {
                frame::check_close(payload)?;
                if !self.output_ended {
                    // RFC 6455, 5.5.1: the answer repeats the code, if there is one.
                    frame::put_control(Control::Close, &payload[..payload.len().min(2)], replies);
                }
                self.output_ended = true;
                self.phase = Phase::Closed;
            }
        }
        Ok(())
    }
}

/// Where the empty line ends that ends a header, if it is there; `seen` bytes were searched before.
fn header_end(request: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    memchr::memmem::find(&request[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

/// The longest request header read. Browsers send about 1 KiB, more with cookies.
const REQUEST_BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests;
