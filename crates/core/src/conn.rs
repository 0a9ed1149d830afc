//! What the shard knows of one Network Connection.

use std::collections::VecDeque;

use cork_packet::{PacketId, PacketType, ProtocolVersion, ReasonCode};
use cork_proto::{AliasIn, AliasOut, Inbound, Time};
use cork_store::{Proof, Publisher, Ticket};

use crate::{
    config::Granted, connect::Admission, io::ConnId, list::LongList, outbuf::OutBuf, peer::Peer, rate::Rate,
    rights::Denials, waits::Waits,
};

/// Index of a Session in the shard.
pub(crate) type SessionIx = u32;
/// No Session.
pub(crate) const NO_SESSION: SessionIx = u32::MAX;
/// The peer of a client within the program, as the driver names it.
const IN_PROCESS: &str = "in-process";

/// From so many bytes on a connection waits behind those that have less to send.
const BULK_BYTES: usize = 64 << 10;

/// Connections with something to send. Who has little goes first: it would wait for megabytes of others otherwise.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    little: VecDeque<ConnId>,
    much: VecDeque<ConnId>,
}

impl Dirty {
    pub(crate) fn len(&self) -> usize {
        self.little.len() + self.much.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.little.is_empty() && self.much.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<ConnId> {
        self.little.pop_front().or_else(|| self.much.pop_front())
    }
}

/// Whether it is nobody from outside: a part of the broker, or of the program around it. Who is counted as such must be
/// so when it comes and when it goes: everybody asks here. `peer`: of its connection, if it has one.
pub(crate) fn is_inside(publisher: &Publisher, peer: Option<&Peer>) -> bool {
    publisher.proof == Proof::Inside || peer.is_some_and(|peer| peer.is(IN_PROCESS))
}

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Nothing but CONNECT may come.
    AwaitConnect,
    /// CONNECT came; the access port or the mesh is being asked.
    Authenticating(Box<Authenticating>),
    /// CONNECT came, but the Session's home is another shard.
    Moving(Box<Moving>),
    /// A Session is attached. Until CONNACK is on its way (`connack_sent`), nothing else is sent or read.
    Connected { connack_sent: bool },
    /// What waits is sent, then the connection is closed. Input is ignored.
    Closing,
}

/// A CONNECT on its way to the shard it belongs to.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) shard: u16,
    /// The whole packet.
    pub(crate) packet: Vec<u8>,
}

/// A CONNECT that waits for an answer.
#[derive(Debug)]
pub(crate) struct Authenticating {
    /// The whole packet.
    pub(crate) packet: Vec<u8>,
    /// Client Identifier in force: the one given, or the one assigned.
    pub(crate) client_id: Box<str>,
    /// Whether it was assigned.
    pub(crate) assigned: bool,
    /// Set once the access port has let it in and the mesh is asked.
    pub(crate) admission: Option<Admission>,
}

impl Authenticating {
    pub(crate) fn new(packet: &[u8], client_id: Box<str>, assigned: bool) -> Self {
        Self { packet: packet.to_vec(), client_id, assigned, admission: None }
    }
}

/// Reasons not to read from a connection.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holds(u16);

impl Holds {
    /// CONNECT is being worked on.
    pub(crate) const CONNECT: u16 = 1;
    /// The client does not read the answers it is owed.
    pub(crate) const OUTPUT: u16 = 2;
    /// Too many acknowledgements wait for the store.
    pub(crate) const STORE: u16 = 4;
    /// A step of a re-authentication is being checked.
    pub(crate) const ACCESS: u16 = 8;
    /// It publishes faster than it may.
    pub(crate) const RATE: u16 = 16;
    /// A long SUBSCRIBE or UNSUBSCRIBE is being seen to.
    pub(crate) const LIST: u16 = 32;
    /// The store is too far behind.
    pub(crate) const BACKLOG: u16 = 64;
    /// The client's next publication needs the store, which takes nothing new.
    pub(crate) const FULL: u16 = 128;
    /// It had its share of the turn.
    pub(crate) const SHARE: u16 = 256;

    pub(crate) fn set(&mut self, reason: u16) -> bool {
        let before = self.0;
        self.0 |= reason;
        before == 0
    }

    /// True when this was the last reason.
    pub(crate) fn clear(&mut self, reason: u16) -> bool {
        let before = self.0;
        self.0 &= !reason;
        before != 0 && self.0 == 0
    }

    pub(crate) fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether there is a reason besides this one.
    pub(crate) fn any_but(self, reason: u16) -> bool {
        self.0 & !reason != 0
    }
}

/// An answer that waits for the store or for other shards.
#[derive(Debug)]
pub(crate) struct Held {
    /// Wait until this batch is stored.
    pub(crate) ticket: Ticket,
    /// Other shards that have not answered yet.
    pub(crate) waits: Waits,
    /// Number by which other shards answer.
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

/// An answer to a client.
#[derive(Debug)]
pub(crate) enum Answer {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack { kind: PacketType, id: PacketId, reason: ReasonCode },
    /// A whole encoded packet.
    Packet(Box<[u8]>),
    /// CONNACK: the connection is open once this is on its way.
    ConnAck(Box<[u8]>),
}

/// Answers of one connection that wait, numbered without gaps.
#[derive(Debug, Default)]
pub(crate) struct HeldLine {
    line: VecDeque<Held>,
    /// How many were ever held.
    numbers: u64,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// What the rights refused it and was reported; `None`: nothing.
    pub(crate) denials: Option<Box<Denials>>,
    /// Method of the enhanced authentication in force.
    pub(crate) auth_method: Option<Box<str>>,
    /// User name that a layer below MQTT has proven.
    pub(crate) proven_user: Option<Box<str>>,
    /// A long SUBSCRIBE or UNSUBSCRIBE that is being seen to.
    pub(crate) list: Option<Box<LongList>>,
    /// `None` until a rate holds for it.
    rate: Option<Box<Rate>>,
    /// `None` until a packet did not come in one piece.
    half: Option<Box<Half>>,
}

/// How an unfinished packet gets on.
#[derive(Debug)]
pub(crate) struct Half {
    /// How far it was when it was looked at last; 0: not yet.
    pub(crate) bytes: usize,
    /// How far it was when it counted for Keep Alive last.
    pub(crate) heard_bytes: usize,
    /// When that is looked at again; [`Time::NEVER`]: nothing is unfinished.
    pub(crate) until: Time,
}

impl Default for Half {
    fn default() -> Self {
        Self { bytes: 0, heard_bytes: 0, until: Time::NEVER }
    }
}

/// What went in and out of a connection.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// PUBLISH packets from the client.
    pub(crate) messages_in: u64,
    /// PUBLISH packets to the client.
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// One Network Connection. There may be a million that say nothing: what few of them need stands behind a pointer.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) version: ProtocolVersion,
    pub(crate) stage: Stage,
    pub(crate) session: SessionIx,
    pub(crate) inbox: Inbound,
    pub(crate) out: OutBuf,
    /// It stands in the shard's list of connections to transmit.
    pub(crate) dirty: bool,
    pub(crate) holds: Holds,
    /// The packet being handled is to be kept and handled again later.
    pub(crate) unread: bool,
    /// 3.1.1: a publication of it could not be stored. It was left out, unacknowledged, and so is each after it.
    pub(crate) deaf: bool,
    /// CONNECT allows Reason Strings everywhere (5.0 3.1.2.11.7).
    pub(crate) problem_information: bool,
    /// Seconds; 0: no keep alive.
    pub(crate) keep_alive: u16,
    pub(crate) opened: Time,
    pub(crate) last_seen: Time,
    /// What went in and out so far.
    pub(crate) traffic: Traffic,
    /// When its timer goes off.
    pub(crate) timer: Time,
    /// Publications under way to the client at most.
    pub(crate) window: u16,
    /// QoS 1 and 2 publications of the client that are not answered for good.
    pub(crate) receiving: u16,
    /// What it was promised; `u32::MAX` and the like until then.
    pub(crate) granted: Granted,
    /// Longest packet the client accepts, bytes.
    pub(crate) packet_bytes_max: u32,
    pub(crate) alias_in: Option<Box<AliasIn>>,
    pub(crate) alias_out: Option<Box<AliasOut>>,
    /// An AUTH exchange is running (at CONNECT, or again later).
    pub(crate) exchanging: bool,
    /// There since an answer had to wait.
    held: Option<Box<HeldLine>>,
    pub(crate) peer: Peer,
    /// It is a part of the broker itself.
    pub(crate) inside: bool,
    /// By its Protocol Level it is a bridge of 3.1 or 3.1.1.
    pub(crate) bridge: bool,
    /// What it is sent carries the facts of each message.
    pub(crate) facts: bool,
    /// What counts of it towards the budget of those who are not logged in.
    pub(crate) strange_bytes: usize,
    rare: Option<Box<Rare>>,
}

impl Conn {
    pub(crate) fn new(id: ConnId, peer: Peer, now: Time) -> Self {
        Self {
            id,
            version: ProtocolVersion::V311,
            stage: Stage::AwaitConnect,
            session: NO_SESSION,
            inbox: Inbound::default(),
            out: OutBuf::default(),
            dirty: false,
            holds: Holds::default(),
            unread: false,
            deaf: false,
            problem_information: true,
            keep_alive: 0,
            opened: now,
            last_seen: now,
            traffic: Traffic::default(),
            timer: Time::NEVER,
            window: u16::MAX,
            receiving: 0,
            granted: Granted {
                packet_bytes_max: u32::MAX,
                receive_maximum: u16::MAX,
                topic_alias_maximum: u16::MAX,
            },
            packet_bytes_max: u32::MAX,
            alias_in: None,
            alias_out: None,
            exchanging: false,
            held: None,
            peer,
            inside: false,
            bridge: false,
            facts: false,
            strange_bytes: 0,
            rare: None,
        }
    }

    /// Puts it on the list of connections to transmit, once.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, dirty: &mut Dirty) {
        if !self.dirty {
            self.dirty = true;
            let line = if self.out.len() < BULK_BYTES { &mut dirty.little } else { &mut dirty.much };
            line.push_back(self.id);
        }
    }

    #[inline]
    fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// What few connections have, to be changed.
    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The method of the enhanced authentication in force.
    pub(crate) fn auth_method(&self) -> Option<&str> {
        self.rare()?.auth_method.as_deref()
    }

    /// The user name that a layer below MQTT has proven.
    pub(crate) fn proven_user(&self) -> Option<&str> {
        self.rare()?.proven_user.as_deref()
    }

    /// A long SUBSCRIBE or UNSUBSCRIBE is being seen to.
    #[inline]
    pub(crate) fn has_list(&self) -> bool {
        self.rare().is_some_and(|rare| rare.list.is_some())
    }

    /// The rate that holds for it, if one did already.
    pub(crate) fn rate(&self) -> Option<&Rate> {
        self.rare()?.rate.as_deref()
    }

    /// The rate that holds for it from now on.
    pub(crate) fn rate_mut(&mut self) -> &mut Rate {
        self.rare_mut().rate.get_or_insert_default()
    }

    /// The packet that is unfinished, or the last one that was.
    pub(crate) fn half(&self) -> Option<&Half> {
        self.rare()?.half.as_deref()
    }

    /// The same, to be changed.
    pub(crate) fn half_mut(&mut self) -> &mut Half {
        self.rare_mut().half.get_or_insert_default()
    }

    /// When its timers for its rate and for an unfinished packet go off.
    pub(crate) fn further_timers(&self) -> (Time, Time) {
        let rests_until = self.rate().map_or(Time::NEVER, |rate| rate.rests_until);
        (rests_until, self.half().map_or(Time::NEVER, |half| half.until))
    }

    /// Ends the long SUBSCRIBE or UNSUBSCRIBE.
    pub(crate) fn take_list(&mut self) -> Option<Box<LongList>> {
        self.rare.as_mut()?.list.take()
    }

    /// The rights changed: what they refuse is worth a report again.
    pub(crate) fn forget_denials(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.denials = None;
        }
    }

    /// Answers that wait.
    #[inline]
    pub(crate) fn held(&self) -> impl ExactSizeIterator<Item = &Held> {
        self.held.as_ref().map(|held| held.line.iter()).unwrap_or_default()
    }

    /// The number that the next answer that waits gets.
    pub(crate) fn next_held_number(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.numbers) + 1
    }

    /// Lets an answer wait; returns its number.
    pub(crate) fn keep_answer(&mut self, ticket: Ticket, waits: Waits, answer: Answer) -> u64 {
        let held = self.held.get_or_insert_default();
        held.numbers += 1;
        held.line.push_back(Held { ticket, waits, number: held.numbers, answer });
        held.numbers
    }

    /// Takes the first answer if it waits for nothing any more.
    pub(crate) fn take_answer(&mut self, stored: Ticket) -> Option<Answer> {
        let line = &mut self.held.as_mut()?.line;
        line.pop_front_if(|held| held.ticket <= stored && held.waits.is_over()).map(|held| held.answer)
    }

    /// Nobody waits for its answers any more.
    pub(crate) fn drop_answers(&mut self) {
        if let Some(held) = &mut self.held {
            held.line.clear();
        }
    }

    /// An answer that waits, by its number: they are numbered without gaps.
    pub(crate) fn held_by_number(&mut self, number: u64) -> Option<&mut Held> {
        let line = &mut self.held.as_mut()?.line;
        let first = line.front()?.number;
        line.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// Whether messages may be sent to it.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Connected { connack_sent: true })
    }
}

impl std::fmt::Debug for OutBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutBuf({} bytes)", self.len())
    }
}
