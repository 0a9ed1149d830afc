//! The client's end of a connection: TCP, perhaps TLS on it, perhaps WebSocket on that. Nothing here blocks.

use std::io::{self, ErrorKind, Read as _, Write as _};

use mio::net::TcpStream;
use rustls::ClientConnection;

use crate::websocket::WebSocket;

/// A connection, as a stream of the bytes of MQTT.
pub(crate) struct Wire {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    websocket: Option<Box<WebSocket>>,
    /// Bytes ready for TLS or the socket that were taken and not yet sent.
    pending: Vec<u8>,
}

impl Wire {
    pub(crate) const fn new(
        socket: TcpStream,
        tls: Option<Box<ClientConnection>>,
        websocket: Option<Box<WebSocket>>,
    ) -> Self {
        Self { socket, tls, websocket, pending: Vec::new() }
    }

    pub(crate) const fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether the bytes of MQTT are the bytes of the socket.
    pub(crate) const fn is_plain(&self) -> bool {
        self.tls.is_none() && self.websocket.is_none()
    }

    /// Whether what was written may still be here although [`Wire::write`] took it.
    pub(crate) fn wants_write(&self) -> bool {
        !self.pending.is_empty()
            || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
            || self.websocket.as_ref().is_some_and(|websocket| websocket.wants_write())
    }

    /// Reads once; bytes of MQTT are then at the front of `buffer`. `None` when all that there was has been read,
    /// `Some(0)` also after bytes that were not MQTT's.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end of the stream; those of the system, of TLS and of WebSocket.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let got = match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => read_tls(tls, &mut self.socket, buffer),
        };
        let got = match got {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Some(0)),
            Err(error) => return Err(error),
        };
        match &mut self.websocket {
            None => Ok(Some(got)),
            Some(websocket) => websocket.receive(&mut buffer[..got]).map(Some),
        }
    }

    /// Takes bytes of MQTT as far as the connection takes them; returns how many. Fewer than given means that a
    /// writable event follows.
    ///
    /// # Errors
    /// Those of the system and of TLS.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_plain() {
            return match self.socket.write(bytes) {
                Err(error) if would_wait(&error) => Ok(0),
                result => result,
            };
        }
        self.flush()?;
        if self.wants_write() && !self.is_shaking_hands() {
            return Ok(0);
        }
        let taken = match &mut self.websocket {
            Some(websocket) if !websocket.is_open() => 0,
            Some(websocket) => {
                websocket.send(bytes, &mut self.pending);
                bytes.len()
            }
            None => {
                self.pending.extend_from_slice(bytes);
                bytes.len()
            }
        };
        self.flush()?;
        Ok(taken)
    }

    /// Sends what the layers hold, as far as the socket takes it.
    ///
    /// # Errors
    /// Those of the system and of TLS.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(websocket) = &mut self.websocket {
            websocket.take_control(&mut self.pending);
        }
        let sent = match &mut self.tls {
            None => flush_plain(&mut self.socket, &mut self.pending),
            Some(tls) => flush_tls(tls, &mut self.socket, &mut self.pending),
        };
        match sent {
            Err(error) if would_wait(&error) => Ok(()),
            sent => sent,
        }
    }

    fn is_shaking_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }
}

fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}

fn read_tls(tls: &mut ClientConnection, socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
        if tls.read_tls(socket)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    }
}

fn flush_plain(socket: &mut TcpStream, pending: &mut Vec<u8>) -> io::Result<()> {
    while !pending.is_empty() {
        let sent = socket.write(pending)?;
        pending.drain(..sent);
    }
    Ok(())
}

fn flush_tls(tls: &mut ClientConnection, socket: &mut TcpStream, pending: &mut Vec<u8>) -> io::Result<()> {
    loop {
        while tls.wants_write() {
            tls.write_tls(socket)?;
        }
        // During the handshake rustls would keep all we give it.
        if pending.is_empty() || tls.is_handshaking() {
            return Ok(());
        }
        let taken = tls.writer().write(pending)?;
        pending.drain(..taken);
    }
}
