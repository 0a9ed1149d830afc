//! What stands between the socket and MQTT, or WebSocket: perhaps a PROXY header first, perhaps TLS.

use crate::proxy::ProxyHeader;
use crate::tls::{Tls, TlsAcceptor, TlsError, TlsView};
use crate::wire::Wire;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the layers stand on. Reads and writes do not block, but fail with `WouldBlock`.
pub(crate) trait Socket: Read + Write {
    /// Tells the peer that no more bytes come.
    fn end_output(&mut self);
}

impl Socket for Wire {
    fn end_output(&mut self) {
        Self::end_output(self);
    }
}

/// What one reading brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Bytes at the front of the buffer.
    pub(crate) bytes: usize,
    /// There may be more to read.
    pub(crate) more: bool,
    /// The peer sends no more.
    pub(crate) eof: bool,
}

/// A socket with its layers.
#[derive(Debug)]
pub(crate) struct Link<S> {
    pub(crate) socket: S,
    /// `None` if there are none; boxed so that plain connections stay small.
    layers: Option<Box<Layers>>,
}

#[derive(Debug, Default)]
struct Layers {
    /// What has arrived of the PROXY header, until it is complete.
    prelude: Option<Vec<u8>>,
    /// The client's address, by the PROXY header.
    source: Option<SocketAddr>,
    /// What TLS begins with once the header is complete.
    acceptor: Option<Arc<TlsAcceptor>>,
    tls: Option<Tls>,
    /// Who it is, by the word of who made the connection.
    user: Option<Box<str>>,
    /// What the reading that settled the layers brought besides: it waits until the caller has asked who it is.
    early: Vec<u8>,
    /// TLS said with it that no more comes, and says so once.
    early_eof: bool,
}

impl<S: Socket> Link<S> {
    /// No layers.
    pub(crate) fn plain(socket: S) -> Self {
        Self { socket, layers: None }
    }

    /// No layers, but somebody vouches for the user.
    pub(crate) fn vouched(socket: S, user: &str) -> Self {
        let layers = Layers { user: Some(user.into()), ..Layers::default() };
        Self { socket, layers: Some(Box::new(layers)) }
    }

    /// With the layers of a listener.
    pub(crate) fn new(socket: S, proxy: bool, acceptor: Option<Arc<TlsAcceptor>>) -> io::Result<Self> {
        if !proxy && acceptor.is_none() {
            return Ok(Self::plain(socket));
        }
        let mut layers = Layers { prelude: proxy.then(Vec::new), acceptor, ..Layers::default() };
        if !proxy {
            layers.begin_tls(Vec::new())?;
        }
        Ok(Self { socket, layers: Some(Box::new(layers)) })
    }

    /// Whether header and handshake, if any, are done.
    pub(crate) fn is_settled(&self) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.is_settled())
    }

    pub(crate) fn awaits_header(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.prelude.is_some())
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.tls.is_some())
    }

    pub(crate) fn source(&self) -> Option<SocketAddr> {
        self.layers.as_ref()?.source
    }

    pub(crate) fn user(&self) -> Option<&str> {
        let layers = self.layers.as_ref()?;
        layers.user.as_deref().or_else(|| layers.tls.as_ref()?.user())
    }

    /// What TLS agreed upon.
    pub(crate) fn tls(&self) -> Option<TlsView> {
        self.layers.as_ref()?.tls.as_ref()?.view()
    }

    /// Whether the client's certificate, or that it has none, would still do.
    pub(crate) fn check_certificate(&mut self) -> Result<(), TlsError> {
        match self.layers.as_mut().and_then(|layers| layers.tls.as_mut()) {
            Some(tls) if tls.is_open() => tls.check(),
            _ => Ok(()),
        }
    }

    /// Reads once into `buffer`.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<Filled> {
        match &mut self.layers {
            None => fill_plain(&mut self.socket, buffer),
            Some(layers) => layers.fill(&mut self.socket, buffer),
        }
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.layers.as_ref().and_then(|layers| layers.tls.as_ref()).is_some_and(Tls::wants_write)
    }

    /// Sends what the layers hold, as far as the socket takes it.
    pub(crate) fn flush_held(&mut self) -> io::Result<()> {
        match self.layers.as_mut().and_then(|layers| layers.tls.as_mut()) {
            Some(tls) if tls.wants_write() => tls.flush(&mut self.socket),
            _ => Ok(()),
        }
    }

    #[cfg(test)]
    pub(crate) fn held_capacity(&self) -> usize {
        let tls = self.layers.as_ref().and_then(|layers| layers.tls.as_ref());
        tls.map_or(0, Tls::held_capacity) + self.layers.as_ref().map_or(0, |layers| layers.early.capacity())
    }

    pub(crate) fn end_output(&mut self) {
        match self.layers.as_mut().and_then(|layers| layers.tls.as_mut()) {
            Some(tls) => tls.end_output(&mut self.socket),
            None => self.socket.end_output(),
        }
    }
}

impl<S: Socket> Write for Link<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.socket.write(bytes),
            Some(layers) => layers.write(&mut self.socket, &[IoSlice::new(bytes)]),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.socket.write_vectored(slices),
            Some(layers) => layers.write(&mut self.socket, slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_held()
    }
}

impl Layers {
    fn is_settled(&self) -> bool {
        self.prelude.is_none() && self.tls.as_ref().is_none_or(Tls::is_open)
    }

    fn begin_tls(&mut self, read: Vec<u8>) -> io::Result<()> {
        match self.acceptor.take() {
            Some(acceptor) => self.tls = Some(Tls::new(acceptor, read)?),
            None => self.early = read,
        }
        Ok(())
    }

    fn fill<S: Socket>(&mut self, socket: &mut S, buffer: &mut [u8]) -> io::Result<Filled> {
        if !self.early.is_empty() {
            let bytes = self.early.len().min(buffer.len());
            buffer[..bytes].copy_from_slice(&self.early[..bytes]);
            self.early.drain(..bytes);
            if self.early.is_empty() {
                self.early = Vec::new();
            }
            return Ok(Filled { bytes, more: true, eof: self.early_eof && self.early.is_empty() });
        }
        if self.prelude.is_some() {
            return self.fill_prelude(socket, buffer);
        }
        let Some(tls) = &mut self.tls else { return fill_plain(socket, buffer) };
        let was_open = tls.is_open();
        let mut filled = tls.fill(socket, buffer)?;
        if !was_open && filled.bytes > 0 {
            self.early.extend_from_slice(&buffer[..filled.bytes]);
            self.early_eof = filled.eof;
            filled = Filled { bytes: 0, more: true, eof: false };
        }
        Ok(filled)
    }

    fn fill_prelude<S: Socket>(&mut self, socket: &mut S, buffer: &mut [u8]) -> io::Result<Filled> {
        let mut filled = fill_plain(socket, buffer)?;
        let Some(prelude) = &mut self.prelude else { return Ok(filled) };
        prelude.extend_from_slice(&buffer[..filled.bytes]);
        filled.bytes = 0;
        let header =
            ProxyHeader::parse(prelude).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        if let Some(header) = header {
            let read = prelude.split_off(header.len);
            self.prelude = None;
            self.source = header.source;
            self.begin_tls(read)?;
            filled.more = true;
            filled.eof = false; // seen again when what came before it is used
        }
        Ok(filled)
    }

    fn write<S: Socket>(&mut self, socket: &mut S, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.prelude.is_some() {
            return Err(ErrorKind::WouldBlock.into());
        }
        match (&mut self.tls, slices) {
            (Some(tls), _) => tls.write(socket, slices),
            (None, [only]) => socket.write(only),
            (None, _) => socket.write_vectored(slices),
        }
    }
}

fn fill_plain<S: Socket>(socket: &mut S, buffer: &mut [u8]) -> io::Result<Filled> {
    match retry(|| socket.read(buffer)) {
        Ok(0) => Ok(Filled { eof: true, ..Filled::default() }),
        Ok(bytes) => Ok(Filled { bytes, more: bytes == buffer.len(), eof: false }),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Filled::default()),
        Err(error) => Err(error),
    }
}

/// Repeats a call of the system that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
