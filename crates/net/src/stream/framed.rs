//! WebSocket on a socket: the received side is [`WebSocket`], the sent side is here.
//!
//! Two things go out: data frames, whose payload stays the caller's until the socket took it, and control replies,
//! which are queued here. Invariant: once the first byte of a frame's header is sent, nothing but the rest of that
//! frame follows until it is complete, even if the caller's next call brings fewer bytes, or more.

use crate::link::retry;
use crate::websocket::{WebSocket, WsError, encode_header};
use std::io::{self, ErrorKind, IoSlice, Write};

/// A WebSocket connection and what it still has to send.
#[derive(Debug, Default)]
pub(super) struct Framed {
    websocket: WebSocket,
    /// Control replies, in order; the first may be sent in part. Unallocated when empty.
    control: Vec<u8>,
    /// The data frame that is being sent.
    frame: Frame,
}

/// The unsent part of one data frame.
#[derive(Debug, Default)]
struct Frame {
    head: [u8; 10],
    head_sent: usize,
    head_len: usize,
    /// Payload bytes that the header promised and that are still to be sent.
    owed: usize,
}

impl Frame {
    fn new(payload_len: usize) -> Self {
        let mut frame = Self { owed: payload_len, ..Self::default() };
        frame.head_len = encode_header(payload_len, &mut frame.head);
        frame
    }

    fn is_complete(&self) -> bool {
        self.owed == 0
    }

    fn unsent_head(&self) -> &[u8] {
        &self.head[self.head_sent..self.head_len]
    }

    /// Counts `sent` bytes off; returns how many of them were payload.
    fn advance(&mut self, sent: usize) -> usize {
        let of_head = sent.min(self.unsent_head().len());
        self.head_sent += of_head;
        self.owed -= sent - of_head;
        sent - of_head
    }
}

/// How far one write went.
struct Progress {
    /// Application bytes taken.
    taken: usize,
    /// The socket took less than it was offered.
    full: bool,
}

impl Framed {
    pub(super) fn is_open(&self) -> bool {
        self.websocket.can_send()
    }

    pub(super) fn input_ended(&self) -> bool {
        self.websocket.closed()
    }

    pub(super) fn wants_write(&self) -> bool {
        self.frame.is_complete() && !self.control.is_empty()
    }

    pub(super) fn receive(&mut self, input: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.websocket.receive(input, &mut self.control, sink).map_err(|error| self.fail(error))
    }

    /// Refuses to read on while the peer lets its replies pile up.
    pub(super) fn make_room<S: Write>(&mut self, socket: &mut S) -> io::Result<()> {
        if self.control.len() > CONTROL_BYTES_MAX {
            self.flush_control(socket)?;
            if self.control.len() > CONTROL_BYTES_MAX {
                return Err(self.fail(WsError::UnreadReplies));
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: WsError) -> io::Error {
        if let Some(code) = error.close_code() {
            self.close(code);
        }
        io::Error::new(ErrorKind::InvalidData, error)
    }

    pub(super) fn close(&mut self, code: u16) {
        self.websocket.close(code, &mut self.control);
    }

    pub(super) fn flush_control<S: Write>(&mut self, socket: &mut S) -> io::Result<()> {
        while self.wants_write() {
            match retry(|| socket.write(&self.control)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => self.control_sent(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn control_sent(&mut self, sent: usize) {
        if sent == self.control.len() {
            self.control = Vec::new();
        } else {
            self.control.drain(..sent);
        }
    }

    /// Writes until all is taken or the socket is full: stopping earlier would leave the caller waiting for a writable
    /// event that never comes.
    pub(super) fn write<S: Write>(&mut self, socket: &mut S, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        if total == 0 {
            self.flush_control(socket)?;
            return Ok(0);
        }
        let mut taken = 0;
        while taken < total {
            match self.write_once(socket, slices, taken) {
                Ok(progress) => {
                    taken += progress.taken;
                    if progress.full {
                        break;
                    }
                }
                // The error comes again with the next write; what was taken before it must be told now.
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// One vectored write: the rest of the frame that is being sent, or else control replies and a new frame. The
    /// first `skip` bytes of `slices` are taken already.
    fn write_once<S: Write>(
        &mut self,
        socket: &mut S,
        slices: &[IoSlice<'_>],
        skip: usize,
    ) -> io::Result<Progress> {
        let between_frames = self.frame.is_complete();
        if between_frames && !self.websocket.can_send() {
            return self.refuse(socket);
        }
        let limit = if between_frames { usize::MAX } else { self.frame.owed };
        let mut segments = [IoSlice::new(&[]); SEGMENTS];
        let (count, payload_len) = gather(&mut segments[2..], slices, skip, limit);
        if between_frames {
            self.frame = Frame::new(payload_len);
        }
        let control = if between_frames { self.control.as_slice() } else { &[] };
        let control_len = control.len();
        segments[0] = IoSlice::new(control);
        segments[1] = IoSlice::new(self.frame.unsent_head());
        let offered = control_len + segments[1].len() + payload_len;
        let result = retry(|| socket.write_vectored(&segments[..2 + count]));
        let sent = *result.as_ref().unwrap_or(&0);
        if between_frames && sent <= control_len {
            // Not a byte of the new frame went out, so nothing is promised; a later reply may still go before it.
            self.frame = Frame::default();
        }
        match result {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let of_control = sent.min(control_len);
        self.control_sent(of_control);
        let taken = self.frame.advance(sent - of_control);
        Ok(Progress { taken, full: sent < offered })
    }

    /// No frame may begin: the handshake is not over yet, or a CLOSE was the last word.
    fn refuse<S: Write>(&mut self, socket: &mut S) -> io::Result<Progress> {
        self.flush_control(socket)?;
        if self.websocket.is_handshaking() || self.wants_write() {
            Err(ErrorKind::WouldBlock.into())
        } else {
            Err(ErrorKind::BrokenPipe.into())
        }
    }
}

/// Fills `segments` with at most `limit` bytes of `slices`, without their first `skip` bytes; returns how many
/// segments and how many bytes.
fn gather<'a>(
    segments: &mut [IoSlice<'a>],
    slices: &'a [IoSlice<'_>],
    mut skip: usize,
    limit: usize,
) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for slice in slices {
        if count == segments.len() || bytes == limit {
            break;
        }
        if skip >= slice.len() {
            skip -= slice.len();
            continue;
        }
        let rest = &slice[skip..];
        let rest = &rest[..rest.len().min(limit - bytes)];
        skip = 0;
        segments[count] = IoSlice::new(rest);
        count += 1;
        bytes += rest.len();
    }
    (count, bytes)
}

/// Slices in one vectored write: control replies, a header, and up to 62 of the caller's. The array is filled anew
/// for each write, so larger is not faster.
const SEGMENTS: usize = 64;

/// Queued control replies beyond which the connection is not read any more: 516 answers to the longest PINGs. One read
/// may go beyond it by its own length.
const CONTROL_BYTES_MAX: usize = 65_536;
