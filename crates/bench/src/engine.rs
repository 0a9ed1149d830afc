//! The event loop: connections of clients on one thread, their packets in and out.
//!
//! One large read buffer for all, one write per connection and turn. A [`Handler`] is called for each packet and puts
//! its answers into [`Engine::out`]; they leave at the beginning of the next turn.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use cork_net::{Remedy, TlsFailure};
use cork_packet::{Packet, ProtocolVersion, Receiver, decode};
use cork_proto::split_packet;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::target::Target;
use crate::units::{Nanos, SECOND, nanos};
use crate::wire::Wire;

/// What to do with packets.
pub(crate) trait Handler {
    /// A packet came on connection `id`.
    fn packet(&mut self, engine: &mut Engine, id: usize, packet: Packet<'_>, now: Nanos);

    /// Connection `id` was begun for session `number` of those that are being dialled.
    fn opened(&mut self, _id: usize, _number: usize) {}

    /// The connection is over, and not because of [`Engine::close`]. Its place may be used again in the next turn.
    fn closed(&mut self, engine: &mut Engine, id: usize, why: &str);
}

struct Conn {
    wire: Wire,
    out: Vec<u8>,
    /// How much of `out` is sent.
    sent: usize,
    /// The beginning of a packet that is not complete.
    kept: Vec<u8>,
    /// On the list of those that have something to send.
    dirty: bool,
    /// Why sending failed; told when the connection is read next.
    failed: Option<String>,
    /// The socket is full (or not connected yet): a writable event follows.
    blocked: bool,
}

/// See the module.
pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// Places to use again from the next turn on.
    freed: Vec<usize>,
    dirty: Vec<usize>,
    buffer: Vec<u8>,
    clock: Instant,
    version: ProtocolVersion,
    /// Reads from sockets so far.
    pub(crate) reads: u64,
}

impl Engine {
    /// An engine for connections that speak `version`. Times count from `clock`.
    pub(crate) fn new(version: ProtocolVersion, clock: Instant) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            timer,
            conns: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            dirty: Vec::new(),
            buffer: vec![0; BUFFER_LEN],
            clock,
            version,
            reads: 0,
        })
    }

    /// Nanoseconds since the engine's clock began.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        nanos(self.clock.elapsed())
    }

    /// Begins a connection; what is put into its [`Engine::out`] goes as soon as it stands.
    ///
    /// # Errors
    /// Those of the system; a connection that is refused later is told by [`Handler::closed`].
    pub(crate) fn open(&mut self, target: &Target, source: Option<SocketAddr>) -> io::Result<usize> {
        let mut wire = target.open(source)?;
        let id = self.free.pop().unwrap_or(self.conns.len());
        self.poll.registry().register(wire.socket(), Token(id), Interest::READABLE | Interest::WRITABLE)?;
        let conn = Conn {
            wire,
            out: Vec::new(),
            sent: 0,
            kept: Vec::new(),
            dirty: false,
            failed: None,
            blocked: true,
        };
        if id == self.conns.len() {
            self.conns.push(Some(conn));
        } else {
            self.conns[id] = Some(conn);
        }
        Ok(id)
    }

    /// Where to put packets for connection `id`; of a connection that is over they go nowhere.
    #[inline]
    pub(crate) fn out(&mut self, id: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(conn) = &mut self.conns[id] {
            write(&mut conn.out);
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push(id);
            }
        }
    }

    /// Puts a packet that the generator made itself, and that can therefore be written.
    pub(crate) fn send(&mut self, id: usize, packet: &Packet<'_>) {
        let version = self.version;
        self.out(id, |out| {
            let written = packet.encode(version, out);
            debug_assert!(written.is_ok(), "{written:?}");
        });
    }

    /// Bytes that wait for the socket.
    #[inline]
    pub(crate) fn backlog(&self, id: usize) -> usize {
        self.conns[id].as_ref().map_or(0, |conn| conn.out.len() - conn.sent)
    }

    /// Whether the connection is there.
    pub(crate) fn is_open(&self, id: usize) -> bool {
        self.conns.get(id).is_some_and(Option::is_some)
    }

    /// Ends a connection without a word to the handler.
    pub(crate) fn close(&mut self, id: usize) {
        if self.conns[id].take().is_some() {
            self.freed.push(id);
        }
    }

    /// Sends what there is to send.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            if let Some(conn) = &mut self.conns[id] {
                conn.dirty = false;
                if !conn.blocked {
                    conn.flush();
                }
            }
        }
        self.dirty = dirty;
    }

    /// One turn: sends, waits at most `wait`, reads every connection that has something and hands its packets out.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn turn(&mut self, handler: &mut impl Handler, wait: Nanos) -> io::Result<()> {
        self.flush();
        self.free.append(&mut self.freed);
        self.wait(wait)?;
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Token(id) = event.token();
            if event.token() == TIMER {
                continue;
            }
            if event.is_writable()
                && let Some(conn) = &mut self.conns[id]
            {
                conn.flush();
            }
            if event.is_readable() || event.is_error() || event.is_read_closed() {
                self.read(handler, id);
            }
        }
        self.events = events;
        Ok(())
    }

    /// The system's event call knows whole milliseconds; the timer knows better.
    fn wait(&mut self, wait: Nanos) -> io::Result<()> {
        let timeout = if wait == 0 {
            Duration::ZERO
        } else {
            let value = Timespec {
                tv_sec: i64::try_from(wait / SECOND).unwrap_or(i64::MAX),
                tv_nsec: (wait % SECOND).cast_signed(),
            };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &once)?;
            Duration::from_nanos(wait) + Duration::from_millis(5)
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    fn read(&mut self, handler: &mut impl Handler, id: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let ended = loop {
            let Some(conn) = &mut self.conns[id] else { break None };
            let old = conn.kept.len();
            if buffer.len() < old + BUFFER_LEN {
                buffer.resize(2 * old + BUFFER_LEN, 0);
            }
            buffer[..old].copy_from_slice(&conn.kept);
            let room = buffer.len() - old;
            self.reads += 1;
            let got = match conn.wire.read(&mut buffer[old..]) {
                Ok(Some(got)) => got,
                Ok(None) => break None,
                Err(error) => break Some(conn.failed.take().unwrap_or_else(|| describe(&error))),
            };
            if let Err(why) = self.packets(handler, id, &buffer[..old + got]) {
                break Some(why);
            }
            // With layers in between, a read that did not fill the buffer says nothing.
            if got < room && self.conns[id].as_ref().is_some_and(|conn| conn.wire.is_plain()) {
                break None;
            }
        };
        self.buffer = buffer;
        // A handshake went on, and what waited for it may go.
        if let Some(conn) = &mut self.conns[id]
            && !conn.wire.is_plain()
            && (conn.wire.wants_write() || !conn.out.is_empty())
        {
            conn.flush();
        }
        if let Some(why) = ended {
            self.close(id);
            handler.closed(self, id, &why);
        }
    }

    fn packets(&mut self, handler: &mut impl Handler, id: usize, mut input: &[u8]) -> Result<(), String> {
        let now = self.now();
        while let Some(packet) = split_packet(&mut input, PACKET_MAX).map_err(|error| error.to_string())? {
            let packet = decode(self.version, Receiver::Client, packet)
                .map_err(|error| format!("sent a packet that breaks a rule of MQTT: {error}"))?;
            handler.packet(self, id, packet, now);
            if self.conns[id].is_none() {
                return Ok(());
            }
        }
        if let Some(conn) = &mut self.conns[id] {
            conn.kept.clear();
            conn.kept.extend_from_slice(input);
            if input.is_empty() && conn.kept.capacity() > KEPT_MAX {
                conn.kept = Vec::new();
            }
        }
        Ok(())
    }
}

impl Conn {
    /// Sends as much as the socket takes.
    fn flush(&mut self) {
        self.blocked = false;
        while self.sent < self.out.len() {
            match self.wire.write(&self.out[self.sent..]) {
                Ok(0) => {
                    self.blocked = true;
                    break;
                }
                Ok(sent) => self.sent += sent,
                Err(error) => {
                    self.sent = self.out.len();
                    self.failed.get_or_insert_with(|| describe(&error));
                }
            }
        }
        if self.out.is_empty() {
            match self.wire.flush() {
                Ok(()) => self.blocked = self.wire.wants_write(),
                Err(error) => self.failed = Some(describe(&error)),
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            // Thousands of idle connections must not keep what one burst needed.
            if self.out.capacity() > KEPT_MAX {
                self.out = Vec::new();
            }
        } else if self.sent > KEPT_MAX {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "ended the connection".into(),
        io::ErrorKind::ConnectionRefused => "refused the connection".into(),
        _ => match TlsFailure::of(error) {
            Some(failure) => format!("TLS failed: {failure}{}", remedy(&failure)),
            None => format!("connection failed: {error}"),
        },
    }
}

/// What the user can do for TLS.
const fn remedy(failure: &TlsFailure) -> &'static str {
    match failure.remedy() {
        Remedy::Trust | Remedy::Name => " (name its authority with --ca, or trust anybody with --insecure)",
        Remedy::Port => " (is it the right port?)",
        Remedy::Certificate | Remedy::Elsewhere => "",
    }
}

const TIMER: Token = Token(usize::MAX >> 1);
const BUFFER_LEN: usize = 256 * 1024;
const KEPT_MAX: usize = 1024 * 1024;
/// The largest packet there is.
const PACKET_MAX: usize = 5 + 268_435_455;
