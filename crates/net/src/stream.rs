//! One accepted Network Connection: a socket, and what is wrapped around MQTT on it.
//!
//! Layers, from the wire up: the socket ([`Socket`]: non-blocking reads and writes), then WebSocket framing if the
//! listener says so, then the caller's bytes. A layer that encrypts is a [`Socket`] that holds a `TcpStream`; nothing
//! above it changes.

mod framed;

use crate::listener::Transport;
use framed::Framed;
use mio::net::TcpStream;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};

/// What one [`Stream::read`] brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOutcome {
    /// Bytes taken from the socket; with WebSocket more than the sink was given.
    pub bytes: usize,
    /// The buffer was filled, so there may be more: read again before waiting for the next event.
    ///
    /// If it was not filled, all that had arrived is read, but perhaps not the end of the stream behind it: after an
    /// event with `is_read_closed` read on until `eof`.
    pub more: bool,
    /// The peer sends no more: end of the TCP stream, or a WebSocket CLOSE.
    pub eof: bool,
}

/// A Network Connection as MQTT sees it: an ordered stream of bytes, whatever carries it.
///
/// Nothing here blocks or waits. With edge-triggered events: read while `more`; a [`Stream::write`] that takes fewer
/// bytes than given has filled the socket, and a writable event follows. After each read and after each writable
/// event, [`Stream::flush_control`] while [`Stream::wants_write`].
#[derive(Debug)]
pub struct Stream {
    pipe: Pipe<TcpStream>,
    peer: SocketAddr,
}

impl Stream {
    /// Takes over a socket accepted from a listener of [`bind`](crate::bind), which set `TCP_NODELAY` for all its
    /// connections: turns of the shard are the batches, Nagle's delay would only add to them. `peer` is the address
    /// accepting gave.
    #[must_use]
    pub fn new(tcp: TcpStream, peer: SocketAddr, transport: Transport) -> Self {
        Self { pipe: Pipe::new(tcp, transport), peer }
    }

    /// The address of the other end of the TCP connection.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The socket, to register it with an event loop.
    pub fn source(&mut self) -> &mut TcpStream {
        &mut self.pipe.socket
    }

    /// What carries the bytes.
    pub fn transport(&self) -> Transport {
        if self.pipe.framed.is_some() { Transport::WebSocket } else { Transport::Tcp }
    }

    /// Whether bytes of MQTT can flow: at once for TCP, after the opening handshake for WebSocket, and until a CLOSE.
    pub fn is_open(&self) -> bool {
        self.pipe.framed.as_ref().is_none_or(|framed| framed.is_open())
    }

    /// Reads from the socket once, into `buffer` (scratch, shared by all streams, not empty), and hands the bytes of
    /// MQTT in it to `sink`: piece by piece, none of them empty.
    ///
    /// Nothing there to read is no error: `bytes` is 0 and `eof` is false then.
    ///
    /// # Errors
    /// `InvalidData` with a [`WsError`](crate::WsError) inside when the client broke a rule of WebSocket; what it must
    /// be told is queued, so [`Stream::shutdown`] ends the connection properly. Else those of the system. In each case
    /// the connection is over.
    pub fn read(&mut self, buffer: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> io::Result<ReadOutcome> {
        self.pipe.read(buffer, sink)
    }

    /// Writes bytes of MQTT; returns how many of them were taken, which the caller must not offer again.
    ///
    /// For WebSocket each call makes one binary frame of all it is given (a frame that an earlier call left unfinished
    /// is filled up first), and control replies go out before it.
    ///
    /// # Errors
    /// `WouldBlock` when none were taken, because the socket is full or the WebSocket handshake is not over.
    /// `BrokenPipe` after either side sent a WebSocket CLOSE. Else those of the system.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.pipe.write(slices)
    }

    /// Whether there are control replies (answer to the handshake, PONG, CLOSE) that could be sent now.
    ///
    /// Replies wait while a data frame is unfinished; the caller has bytes to write then anyway.
    pub fn wants_write(&self) -> bool {
        self.pipe.wants_write()
    }

    /// Sends control replies as far as the socket takes them; [`Stream::wants_write`] says whether some are left.
    ///
    /// # Errors
    /// Those of the system, but not `WouldBlock`.
    pub fn flush_control(&mut self) -> io::Result<()> {
        self.pipe.flush_control()
    }

    /// Ends the outgoing direction, as [`Stream::close`] does without a code.
    pub fn shutdown(&mut self) {
        self.close(None);
    }

    /// Ends the outgoing direction: a CLOSE with `code` (RFC 6455, 7.4.1; 1000, normal, if `None`) for WebSocket, then
    /// the end of the TCP stream. Without effect on a CLOSE that was queued before.
    ///
    /// If the socket does not take the CLOSE now, [`Stream::wants_write`] stays true, and the call of
    /// [`Stream::flush_control`] that sends the rest ends the TCP stream. A data frame left unfinished is given up.
    /// Reading goes on until the peer ends its direction or the caller drops the stream.
    pub fn close(&mut self, code: Option<u16>) {
        self.pipe.close(code);
    }
}

/// What the layers stand on. Reads and writes do not block, but fail with `WouldBlock`.
trait Socket: Read + Write {
    /// Tells the peer that no more bytes come.
    fn end_output(&mut self);
}

impl Socket for TcpStream {
    fn end_output(&mut self) {
        // Fails only if the connection is gone, and then its end is told already.
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// [`Stream`] over any socket.
#[derive(Debug)]
struct Pipe<S> {
    socket: S,
    /// `None` for TCP; boxed so that connections over TCP stay small.
    framed: Option<Box<Framed>>,
    /// The output ends once the control replies are sent.
    ending: bool,
}

impl<S: Socket> Pipe<S> {
    fn new(socket: S, transport: Transport) -> Self {
        let framed = match transport {
            Transport::Tcp => None,
            Transport::WebSocket => Some(Box::default()),
        };
        Self { socket, framed, ending: false }
    }

    fn read(&mut self, buffer: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> io::Result<ReadOutcome> {
        debug_assert!(!buffer.is_empty(), "reading into nothing looks like the end of the stream");
        if let Some(framed) = &mut self.framed {
            framed.make_room(&mut self.socket)?;
        }
        let bytes = match retry(|| self.socket.read(buffer)) {
            Ok(0) => return Ok(ReadOutcome { eof: true, ..ReadOutcome::default() }),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(ReadOutcome::default()),
            Err(error) => return Err(error),
        };
        let more = bytes == buffer.len();
        let input = &mut buffer[..bytes];
        let eof = match &mut self.framed {
            None => {
                sink(input);
                false
            }
            Some(framed) => {
                framed.receive(input, sink)?;
                framed.input_ended()
            }
        };
        Ok(ReadOutcome { bytes, more, eof })
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.framed {
            None => write_plain(&mut self.socket, slices),
            Some(framed) => framed.write(&mut self.socket, slices),
        }
    }

    fn wants_write(&self) -> bool {
        self.framed.as_ref().is_some_and(|framed| framed.wants_write())
    }

    fn flush_control(&mut self) -> io::Result<()> {
        if let Some(framed) = &mut self.framed {
            framed.flush_control(&mut self.socket)?;
        }
        if self.ending && !self.wants_write() {
            self.ending = false;
            self.socket.end_output();
        }
        Ok(())
    }

    fn close(&mut self, code: Option<u16>) {
        if let Some(framed) = &mut self.framed {
            framed.close(code.unwrap_or(NORMAL_CLOSURE));
        }
        self.ending = true;
        if self.flush_control().is_err() {
            // Broken already; the next read says so. Ending it keeps the peer from waiting in the odd case.
            self.socket.end_output();
        }
    }
}

/// Bytes without frames: one vectored write, unless there are more slices than the system takes at once.
fn write_plain<S: Socket>(socket: &mut S, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    if let [only] = slices {
        return retry(|| socket.write(only)); // the usual case; the system copies no list of slices for it
    }
    let mut taken = 0;
    for batch in slices.chunks(SLICES_MAX) {
        match retry(|| socket.write_vectored(batch)) {
            Ok(sent) => {
                taken += sent;
                // Stopping early must mean a full socket, or no writable event would come.
                if slices.len() > SLICES_MAX && sent < batch.iter().map(|slice| slice.len()).sum() {
                    break;
                }
            }
            // The error comes again with the next write; what was taken before it must be told now.
            Err(_) if taken > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Repeats a call of the system that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Slices in one vectored write; the standard library cuts longer lists there (`IOV_MAX` of Linux).
const SLICES_MAX: usize = 1024;

/// The purpose of the connection is fulfilled (RFC 6455, 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;

#[cfg(test)]
mod tests;
