//! One accepted Network Connection: a socket, and what is wrapped around MQTT on it.
//!
//! Layers, from the wire up: the socket ([`Wire`]: non-blocking reads and writes), a PROXY header and TLS if the
//! listener says so ([`Link`]), WebSocket framing if the listener says so, then the caller's bytes.

mod framed;

use crate::link::{Link, Socket, retry};
use crate::listener::{Transport, Wrap};
use crate::tls::{TlsError, TlsView};
use crate::wire::{Peer, Wire};
use framed::Framed;
use std::io::{self, IoSlice, Write};
use std::net::IpAddr;

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
    pipe: Pipe<Wire>,
    peer: Peer,
    /// A PROXY header says, or will say, who it is.
    proxied: bool,
}

impl Stream {
    /// Takes over an accepted socket without PROXY header and TLS. `peer` is the address accepting gave.
    ///
    /// Listeners of [`bind`](crate::bind) set `TCP_NODELAY` for all their connections: turns of the shard are the
    /// batches, Nagle's delay would only add to them.
    #[must_use]
    pub fn new(socket: impl Into<Wire>, peer: impl Into<Peer>, transport: Transport) -> Self {
        Self { pipe: Pipe::new(Link::plain(socket.into()), transport), peer: peer.into(), proxied: false }
    }

    /// One end of a pipe to another part of this program, which may vouch for the user name at its end.
    #[must_use]
    pub fn in_process(socket: impl Into<Wire>, user: Option<&str>) -> Self {
        let link = match user {
            Some(user) => Link::vouched(socket.into(), user),
            None => Link::plain(socket.into()),
        };
        Self { pipe: Pipe::new(link, Transport::Tcp), peer: Peer::InProcess, proxied: false }
    }

    /// One end of a pipe to a part of the broker itself, which no rule keeps out.
    #[must_use]
    pub fn inside(socket: impl Into<Wire>) -> Self {
        Self { peer: Peer::Inside, ..Self::in_process(socket, None) }
    }

    /// Whether a part of the broker itself is at the other end.
    pub fn is_inside(&self) -> bool {
        self.peer == Peer::Inside
    }

    /// Takes over an accepted socket with all that its listener wraps around MQTT.
    ///
    /// # Errors
    /// rustls found no randomness.
    pub fn accept(socket: impl Into<Wire>, peer: impl Into<Peer>, wrap: &Wrap) -> io::Result<Self> {
        let link = Link::new(socket.into(), wrap.proxy, wrap.tls.clone())?;
        Ok(Self { pipe: Pipe::new(link, wrap.transport), peer: peer.into(), proxied: wrap.proxy })
    }

    /// Who is at the other end: by the PROXY header, where there is one to believe, else by the socket.
    pub fn peer(&self) -> Peer {
        self.pipe.socket.source().map_or(self.peer, Peer::Net)
    }

    /// Who is at the other end of the socket itself, be it a balancer.
    pub fn neighbour(&self) -> Peer {
        self.peer
    }

    /// The address that limits per address hold for. `None` for a Unix domain socket, and where a balancer stands
    /// between and speaks for nobody, or has not yet spoken: see [`Stream::awaits_origin`].
    pub fn origin(&self) -> Option<IpAddr> {
        if self.proxied { self.pipe.socket.source().map(|source| source.ip()) } else { self.peer.ip() }
    }

    /// Whether the PROXY header that says where it comes from is still to come. Nothing is done for TLS by the
    /// [`Stream::read`] that brings it, nor before.
    pub fn awaits_origin(&self) -> bool {
        self.pipe.socket.awaits_header()
    }

    /// Whether the address is a balancer's, not the client's.
    pub fn is_behind_balancer(&self) -> bool {
        self.proxied && self.pipe.socket.source().is_none()
    }

    /// The user name in the certificate that the client has proven to be its own, or that [`Stream::in_process`] was
    /// given.
    pub fn user(&self) -> Option<&str> {
        self.pipe.socket.user()
    }

    /// Whether the client would still be let in by what the TLS of its listener asks today: its certificate may have
    /// been revoked since, say. Costs nothing if that has not changed since it was asked last, else one or two verifications
    /// of a signature if it showed a certificate.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check_certificate(&mut self) -> Result<(), TlsError> {
        self.pipe.socket.check_certificate()
    }

    /// Whether [`Stream::peer`] and [`Stream::user`] are final: PROXY header and TLS handshake, if any, are done. No
    /// byte of MQTT is handed out by the [`Stream::read`] that settles it, nor before.
    pub fn is_settled(&self) -> bool {
        self.pipe.socket.is_settled()
    }

    /// Whether there is TLS.
    pub fn is_encrypted(&self) -> bool {
        self.pipe.socket.is_encrypted()
    }

    /// What TLS agreed upon; none before its handshake is over, or if there is none. The client's certificate is read
    /// anew each time, so this is for an operator's eyes.
    pub fn tls(&self) -> Option<TlsView> {
        self.pipe.socket.tls()
    }

    /// The socket, to register it with an event loop.
    pub fn source(&mut self) -> &mut Wire {
        &mut self.pipe.socket.socket
    }

    /// What carries the bytes.
    pub fn transport(&self) -> Transport {
        if self.pipe.framed.is_some() { Transport::WebSocket } else { Transport::Tcp }
    }

    /// Whether bytes of MQTT can flow: at once for TCP, after the handshakes of TLS and WebSocket, and until a CLOSE.
    pub fn is_open(&self) -> bool {
        self.is_settled() && self.pipe.framed.as_ref().is_none_or(|framed| framed.is_open())
    }

    /// Reads from the socket once, into `buffer` (scratch, shared by all streams, not empty; with TLS there must be room
    /// for the longest handshake message, which is 64 KiB), and hands the bytes of
    /// MQTT in it to `sink`: piece by piece, none of them empty.
    ///
    /// Nothing there to read is no error: `bytes` is 0 and `eof` is false then.
    ///
    /// # Errors
    /// `InvalidData` with a [`WsError`](crate::WsError) inside when the client broke a rule of WebSocket; what it must
    /// be told is queued, so [`Stream::shutdown`] ends the connection properly. `InvalidData` with a
    /// [`TlsError`](crate::TlsError) or a [`ProxyError`](crate::ProxyError) likewise. Else those of the system. In each
    /// case the connection is over.
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

    /// Whether there is something of the layers (a handshake's answer, PONG, CLOSE, encrypted bytes that were taken but
    /// not sent) that could be sent now.
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

/// [`Stream`] over any socket.
#[derive(Debug)]
struct Pipe<S> {
    socket: Link<S>,
    /// `None` for TCP; boxed so that connections over TCP stay small.
    framed: Option<Box<Framed>>,
    /// The output ends once the control replies are sent.
    ending: bool,
}

impl<S: Socket> Pipe<S> {
    fn new(socket: Link<S>, transport: Transport) -> Self {
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
        let filled = self.socket.fill(buffer)?;
        let (bytes, more, mut eof) = (filled.bytes, filled.more, filled.eof);
        if bytes > 0 {
            let input = &mut buffer[..bytes];
            match &mut self.framed {
                None => sink(input),
                Some(framed) => {
                    framed.receive(input, sink)?;
                    eof |= framed.input_ended();
                }
            }
        }
        Ok(ReadOutcome { bytes, more, eof })
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.framed {
            None => write_plain(&mut self.socket, slices),
            Some(framed) => framed.write(&mut self.socket, slices),
        }
    }

    fn wants_write(&self) -> bool {
        self.socket.wants_write() || self.framed_wants_write()
    }

    fn framed_wants_write(&self) -> bool {
        self.framed.as_ref().is_some_and(|framed| framed.wants_write())
    }

    fn flush_control(&mut self) -> io::Result<()> {
        self.socket.flush_held()?;
        if let Some(framed) = &mut self.framed {
            framed.flush_control(&mut self.socket)?;
        }
        if self.ending && !self.framed_wants_write() {
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
fn write_plain(socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
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

/// Slices in one vectored write; the standard library cuts longer lists there (`IOV_MAX` of Linux).
const SLICES_MAX: usize = 1024;

/// The purpose of the connection is fulfilled (RFC 6455, 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;

#[cfg(test)]
mod tests;
