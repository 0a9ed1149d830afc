//! TLS between the socket and what is above it, by rustls.
//!
//! A [`Tls`] does no I/O of its own: it is handed the socket for each call. Received records are decrypted where they
//! were read to, and the plain bytes moved together at the front of the same buffer. An idle connection keeps nothing
//! but rustls' keys: what is held is the beginning of a record that has not arrived yet, and what the socket did not
//! take.

mod acceptor;
mod certificate;
mod clients;
mod crl;
mod error;
mod failure;
mod files;
mod servers;
mod view;

pub use acceptor::{ClientFiles, Identity, TlsAcceptor, TlsFault, TlsFile, TlsFiles, TlsSettings};
pub use error::TlsError;
pub use failure::{Remedy, TlsFailure};
pub use files::client_identity;
pub use servers::{Authorities, ServerJudge};
pub use view::TlsView;

use crate::link::{Filled, Socket, retry};
use acceptor::Current;
use rustls::ProtocolVersion;
use rustls::pki_types::UnixTime;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, WriteTraffic};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;
use view::{subject, suite_name};

type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    /// A rule was broken; what arrives is thrown away.
    Failed,
}

/// The server's end of a TLS connection.
pub(crate) struct Tls {
    connection: UnbufferedServerConnection,
    identity: Option<Identity>,
    acceptor: Arc<TlsAcceptor>,
    /// Of the acceptor's settings it began with.
    generation: u64,
    /// When the handshake was over.
    opened: UnixTime,
    stage: Stage,
    /// The client sent anything at all.
    heard: bool,
    /// The beginning of a record, unallocated when empty.
    held: Vec<u8>,
    /// `held` was not looked at yet.
    held_is_new: bool,
    /// Records that the socket did not take yet, unallocated when empty.
    out: Vec<u8>,
    /// The output of the socket ends after `out`.
    ending: bool,
    /// The name in the client's certificate.
    user: Option<Box<str>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("stage", &self.stage).field("user", &self.user).finish_non_exhaustive()
    }
}

/// What went over from ciphertext to plaintext.
#[derive(Default)]
struct Step {
    /// Bytes of the buffer that are used up.
    discard: usize,
    /// Nothing more can be done with what is there.
    stop: bool,
    /// The client sends no more.
    eof: bool,
}

impl Tls {
    /// Waits for a client's first message. `held`: what was read from the socket before.
    pub(crate) fn new(acceptor: Arc<TlsAcceptor>, held: Vec<u8>) -> io::Result<Self> {
        let Current { config, identity, generation, .. } = acceptor.current();
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self {
            connection,
            identity,
            acceptor,
            generation,
            opened: UnixTime::since_unix_epoch(Duration::ZERO),
            stage: Stage::Handshake,
            heard: !held.is_empty(),
            held_is_new: !held.is_empty(),
            held,
            out: Vec::new(),
            ending: false,
            user: None,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// What was agreed upon; none before the handshake is over.
    pub(crate) fn view(&self) -> Option<TlsView> {
        let version = match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "1.2",
            ProtocolVersion::TLSv1_3 => "1.3",
            _ => return None, // no other one is spoken
        };
        let shown = self.connection.peer_certificates().and_then(|chain| chain.first());
        Some(TlsView {
            version,
            cipher_suite: suite_name(self.connection.negotiated_cipher_suite()?.suite()),
            client_subject: shown.and_then(|certificate| subject(certificate)),
        })
    }

    /// Whether the client would be let in today; see [`TlsAcceptor::check`]. Costs nothing if the settings are the same.
    pub(crate) fn check(&mut self) -> Result<(), TlsError> {
        let generation = self.acceptor.generation();
        if generation != self.generation {
            let chain = self.connection.peer_certificates().unwrap_or_default();
            self.acceptor.check(chain, self.user(), self.opened)?;
            self.generation = generation;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn held_capacity(&self) -> usize {
        self.held.capacity() + self.out.capacity()
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Reads from the socket once and leaves what was decrypted at the front of `buffer`.
    pub(crate) fn fill<S: Socket>(&mut self, socket: &mut S, buffer: &mut [u8]) -> io::Result<Filled> {
        let held = self.held.len();
        let Some((front, free)) = buffer.split_at_mut_checked(held).filter(|(_, free)| !free.is_empty())
        else {
            return Err(
                self.fail(socket, TlsError::new(!self.is_open(), "a message is longer than any may be"))
            );
        };
        front.copy_from_slice(&self.held);
        let (read, more) = match retry(|| socket.read(free)) {
            Ok(0) => return self.hung_up(),
            Ok(read) => (read, read == free.len()),
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.held_is_new => (0, false),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Filled::default()),
            Err(error) => return Err(error),
        };
        (self.heard, self.held_is_new) = (true, false);
        if self.stage == Stage::Failed {
            return Ok(Filled { bytes: 0, more, eof: false });
        }
        let end = held + read;
        let (mut start, mut plain_len, mut plain) = (0, 0, Vec::new());
        let mut eof = false;
        loop {
            let step = match step(&mut self.connection, &mut buffer[start..end], &mut plain, &mut self.out) {
                Ok(step) => step,
                Err(error) => {
                    self.put_alert();
                    return Err(self.fail(socket, TlsError::of(&error, self.stage == Stage::Handshake)));
                }
            };
            start += step.discard;
            eof |= step.eof;
            // A record is longer than what was in it, so there is room before `start`.
            debug_assert!(plain_len + plain.len() <= start);
            buffer[plain_len..plain_len + plain.len()].copy_from_slice(&plain);
            plain_len += plain.len();
            plain.clear();
            if step.stop {
                break;
            }
        }
        self.hold(&buffer[start..end]);
        if self.stage == Stage::Handshake && !self.connection.is_handshaking() {
            self.welcome(socket)?;
        }
        self.flush(socket)?;
        Ok(Filled { bytes: plain_len, more, eof })
    }

    fn hold(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.held = Vec::new();
        } else {
            self.held.clear();
            self.held.extend_from_slice(rest);
        }
    }

    /// The stream ended, with or without the farewell that TLS asks for: MQTT has its own.
    fn hung_up(&mut self) -> io::Result<Filled> {
        if self.stage == Stage::Handshake && self.heard {
            self.stage = Stage::Failed;
            let error = TlsError::new(true, "the client hung up in the midst of it");
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(Filled { eof: true, ..Filled::default() })
    }

    /// The handshake is over: who is it?
    fn welcome<S: Socket>(&mut self, socket: &mut S) -> io::Result<()> {
        let shown = self.connection.peer_certificates().and_then(|chain| chain.first());
        if let (Some(identity), Some(certificate)) = (self.identity, shown) {
            match identity.user(certificate) {
                Ok(user) => self.user = Some(user),
                Err(why) => {
                    let error = TlsError::new(true, format!("the client's certificate {why}"));
                    return Err(self.fail(socket, error));
                }
            }
        }
        self.opened = UnixTime::now();
        // What was withdrawn while its handshake went on, it must not slip through with.
        if let Err(error) = self.check() {
            return Err(self.fail(socket, error));
        }
        self.stage = Stage::Open;
        Ok(())
    }

    /// What rustls has to say on an error. Only that: it must not be made to look at the input again.
    fn put_alert(&mut self) {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    if put_message(data, &mut self.out).is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
    }

    /// The connection is over; what is due is sent if the socket takes it.
    fn fail<S: Socket>(&mut self, socket: &mut S, error: TlsError) -> io::Error {
        self.stage = Stage::Failed;
        self.held = Vec::new();
        let _ = self.flush(socket); // the connection is broken in any case
        io::Error::new(ErrorKind::InvalidData, error)
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush<S: Socket>(&mut self, socket: &mut S) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match retry(|| socket.write(&self.out[sent..])) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.out.drain(..sent);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.out = Vec::new();
        if std::mem::take(&mut self.ending) {
            socket.end_output();
        }
        Ok(())
    }

    /// Encrypts and sends. Taken is what was encrypted: if the socket does not take the whole record, the rest waits.
    pub(crate) fn write<S: Socket>(&mut self, socket: &mut S, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.stage {
            Stage::Open => {}
            Stage::Handshake => return Err(ErrorKind::WouldBlock.into()),
            Stage::Failed => return Err(ErrorKind::BrokenPipe.into()),
        }
        self.flush(socket)?;
        let mut pieces = Pieces { slices, at: 0 };
        let (mut taken, mut plain) = (0, Vec::new());
        while !self.wants_write() {
            // As many records as are worth one call of the system.
            while self.out.len() < WRITE_BYTES {
                let piece = pieces.next(&mut plain);
                if piece.is_empty() {
                    break;
                }
                send(&mut self.connection, &mut self.held, &mut self.out, |traffic, room| {
                    traffic.encrypt(piece, room)
                })?;
                taken += piece.len();
            }
            if !self.wants_write() {
                return Ok(taken);
            }
            // What was taken must be told; a broken connection shows at the next call.
            if let Err(error) = self.flush(socket) {
                return if taken > 0 { Ok(taken) } else { Err(error) };
            }
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Says that no more comes; the socket's output ends when that is sent.
    pub(crate) fn end_output<S: Socket>(&mut self, socket: &mut S) {
        if self.stage == Stage::Open {
            let (connection, out) = (&mut self.connection, &mut self.out);
            // If it cannot be said, the end of the stream says it.
            let _ = send(connection, &mut self.held, out, |traffic, room| traffic.queue_close_notify(room));
        }
        self.ending = true;
        if self.flush(socket).is_err() {
            socket.end_output();
        }
    }
}

/// Lets rustls do one thing with what is there.
fn step(
    connection: &mut UnbufferedServerConnection,
    input: &mut [u8],
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Step, rustls::Error> {
    let status = connection.process_tls_records(input);
    let mut step = Step { discard: status.discard, ..Step::default() };
    match status.state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                step.discard += record.discard;
                plain.extend_from_slice(record.payload);
            }
        }
        ConnectionState::EncodeTlsData(data) => put_message(data, out)?,
        // It waits in `out`, and nothing overtakes it there.
        ConnectionState::TransmitTlsData(data) => data.done(),
        ConnectionState::PeerClosed => step.eof = true,
        ConnectionState::Closed => (step.eof, step.stop) = (true, true),
        _ => step.stop = true,
    }
    Ok(step)
}

fn put_message<T>(mut data: EncodeTlsData<'_, T>, out: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let needed = |error: &EncodeError| match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    };
    grow(out, |room| data.encode(room), needed).map_err(|error| rustls::Error::General(format!("{error:?}")))
}

/// Puts something of ours into `out`. `held` is shown again, since rustls remembers how much of it it has seen.
fn send(
    connection: &mut UnbufferedServerConnection,
    held: &mut Vec<u8>,
    out: &mut Vec<u8>,
    mut what: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<()> {
    loop {
        let status = connection.process_tls_records(held);
        let discard = status.discard;
        let sent = match status.state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                Some(grow(out, |room| what(&mut traffic, room), needed).map_err(io::Error::other))
            }
            Ok(ConnectionState::EncodeTlsData(data)) => {
                put_message(data, out).map_err(io::Error::other)?;
                None
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            // The farewell was noticed when it was read.
            Ok(ConnectionState::PeerClosed) => None,
            _ => Some(Err(ErrorKind::BrokenPipe.into())),
        };
        held.drain(..discard);
        if let Some(sent) = sent {
            return sent;
        }
    }
}

fn needed(error: &EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Appends what `put` writes; it is called again with the room that it says it needs.
fn grow<E>(
    out: &mut Vec<u8>,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, E>,
    needed: impl Fn(&E) -> Option<usize>,
) -> Result<(), E> {
    let begin = out.len();
    let written = match put(&mut []) {
        Err(error) => match needed(&error) {
            Some(room) => {
                out.resize(begin + room, 0);
                put(&mut out[begin..])
            }
            None => Err(error),
        },
        written => written,
    };
    out.truncate(begin + *written.as_ref().unwrap_or(&0));
    written.map(|_| ())
}

/// Slices, record by record.
struct Pieces<'a, 'b> {
    slices: &'a [IoSlice<'b>],
    /// Bytes of the first slice that are done.
    at: usize,
}

impl<'a> Pieces<'a, '_> {
    /// The next bytes, one record at most; small slices are put together in `plain`. Empty at the end.
    fn next<'p>(&mut self, plain: &'p mut Vec<u8>) -> &'p [u8]
    where
        'a: 'p,
    {
        plain.clear();
        while let [first, rest @ ..] = self.slices {
            let first = &first[self.at..];
            if first.is_empty() {
                (self.slices, self.at) = (rest, 0);
                continue;
            }
            if plain.is_empty() && (rest.is_empty() || first.len() >= RECORD_BYTES) {
                let piece = &first[..first.len().min(RECORD_BYTES)];
                self.at += piece.len();
                return piece;
            }
            let len = first.len().min(RECORD_BYTES - plain.len());
            if len == 0 {
                break;
            }
            plain.extend_from_slice(&first[..len]);
            self.at += len;
        }
        plain
    }
}

/// The most that is in one record (RFC 8446, 5.1).
const RECORD_BYTES: usize = 16_384;

/// Encrypted before the socket is asked to take it; up to one record more waits if it does not.
const WRITE_BYTES: usize = 65_536;

#[cfg(test)]
mod tests;
