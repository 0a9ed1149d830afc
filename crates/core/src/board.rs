//! The part of a shard that everything else works on: connections, Sessions, what waits to be sent or stored.
//!
//! It knows how to send and how to hold back; it knows nothing of routing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use cork_access::Acl;
use cork_packet::{Ack, Packet, PacketId, PacketType, PropertiesBuf, Property, ProtocolVersion, ReasonCode};
use cork_proto::Time;
use cork_store::{Fetch, Load, MessageId, Record, SessionKey, Ticket, WallTime};
use cork_topic::RetainedSet;
use slab::Slab;

use crate::{
    absent::Absent,
    accounts::Accounts,
    config::{ShardConfig, Users},
    conn::{Answer, Conn, Dirty, Holds, SessionIx, Stage},
    drops::Droppers,
    event::Event,
    filters::Filters,
    gather::Elsewhere,
    gone::Gone,
    history::Past,
    hooks::Hooks,
    io::{ConnId, Output},
    lanes::Insides,
    outbuf::Pool,
    pressure::{Pressure, Sweep},
    retained::Retained,
    session::Session,
    share::Shares,
    stats::Stats,
    waits::Waits,
};

/// Something to be done at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// CONNECT must be complete, or Keep Alive is over.
    Conn(ConnId),
    /// A delayed Will is due.
    Will(SessionKey, SessionIx),
    /// A Session without connection ends.
    Expire(SessionKey, SessionIx),
    /// A retained message may have expired.
    Retained(Box<Name>),
    /// `$SYS` is due.
    Sys,
    /// Changes of who is there are due.
    Presence,
    /// The store is told of Sessions that left.
    Absent,
    /// The store is asked again for retained messages.
    Fetch(SessionKey, SessionIx),
    /// A client that was too fast has rested.
    Rate(ConnId),
    /// A packet that was begun must have grown.
    HalfPacket(ConnId),
    /// What a filter kept of a topic may go: the subscription's place.
    Held(u32, Box<Name>),
}

/// A topic. One pointer leads to it: every connection has a timer, and few timers have a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) Box<str>);

impl From<&str> for Box<Name> {
    fn from(topic: &str) -> Self {
        Self::new(Name(topic.into()))
    }
}

const _: () = assert!(size_of::<Timer>() == 16, "there is one for each connection");

/// An output buffer fuller than this gets no more of what can wait in a queue instead.
pub(crate) const OUTPUT_HIGH_BYTES: usize = 256 << 10;
/// Below this, waiting messages are sent on.
pub(crate) const OUTPUT_LOW_BYTES: usize = 64 << 10;
/// Bits of a Session's key that count; the store's epoch is above them.
const SESSION_COUNTER_BITS: u32 = 40;
/// From so many Sessions that ended on, those whose end is stored are forgotten.
const ENDING_MANY: usize = 1024;
/// Answers that may wait for the store on one connection before it is no longer read.
const HELD_MAX: usize = 32 << 10;

pub(crate) struct Board {
    pub(crate) config: ShardConfig,
    pub(crate) now: Time,
    pub(crate) conns: Vec<Option<Box<Conn>>>,
    pub(crate) sessions: Slab<Box<Session>>,
    pub(crate) pool: Pool,
    pub(crate) dirty: Dirty,
    pub(crate) output_bytes: usize,
    /// Bytes kept for those who are not logged in.
    pub(crate) strange_bytes: usize,
    pub(crate) records: Vec<Record>,
    /// What comes before them: Sessions that the store is told of although they end with their connections.
    pub(crate) begun: Vec<Record>,
    /// What the store is asked for once they are on their way to it.
    pub(crate) loads: Vec<(SessionIx, Load)>,
    /// Number of the batch that `records` will be.
    pub(crate) ticket: Ticket,
    /// The last batch that is stored.
    pub(crate) stored: Ticket,
    /// Connections with answers that wait for a batch, in the order of batches.
    pub(crate) waiting: VecDeque<(Ticket, ConnId)>,
    pub(crate) timers: BTreeSet<(Time, Timer)>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) stats: Stats,
    /// Sessions that lose messages.
    pub(crate) droppers: Droppers,
    /// What parts of the broker asked for their Sessions.
    pub(crate) insides: Insides,
    /// Bytes that wait for each user, while that has a limit.
    pub(crate) accounts: Accounts,
    /// Sessions that lost their connection and of which the store is not told yet.
    pub(crate) absent: Absent,
    /// Bytes of all queues, and of their parts in memory.
    pub(crate) queue_bytes: u64,
    pub(crate) heads_bytes: u64,
    /// Sessions whose queue waits for a batch to be stored, in the order of batches.
    pub(crate) delayed: VecDeque<(Ticket, SessionIx)>,
    /// The same, for what is stored with another shard's batch.
    pub(crate) elsewhere: Elsewhere,
    /// Sessions that the store knows.
    pub(crate) kept_sessions: u64,
    /// Every retained message.
    pub(crate) retained: RetainedSet<Retained>,
    /// Bytes of those whose content is here.
    pub(crate) retained_bytes: u64,
    /// Topics whose retained message the store does not have.
    pub(crate) unkept: BTreeSet<Box<str>>,
    /// Topics whose retained message came here at QoS 0 while the store took nothing new: written down when it does.
    pub(crate) unwritten: BTreeSet<Box<str>>,
    /// Who waits for which question for retained messages, and those not asked yet.
    pub(crate) fetching: BTreeMap<u64, (SessionIx, Box<str>)>,
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) next_fetch: u64,
    /// How near the process is to the memory it may take, and what is still to leave it.
    pub(crate) pressure: Pressure,
    pub(crate) sweep: Sweep,
    /// Those that were removed lately; empty with one shard.
    pub(crate) gone: Gone,
    /// Subscriptions with filters.
    pub(crate) filters: Filters,
    /// Memory for looking at one message after another.
    pub(crate) looking: cork_filter::Scratch,
    /// What is kept, and asked for again.
    pub(crate) past: Past,
    pub(crate) rights: Arc<Acl>,
    /// What the program around the broker wants to be asked.
    pub(crate) hooks: Option<Arc<dyn Hooks>>,
    /// Who may be in.
    pub(crate) users: Users,
    /// Sessions whose retained messages are searched for on at the next turn.
    pub(crate) again: VecDeque<SessionIx>,
    /// Connections with a long list of filters that is gone on with at the next turn.
    pub(crate) lists: VecDeque<ConnId>,
    /// Grows whenever a Session may have become ready to be sent something at once.
    pub(crate) readied: u64,
    /// Publishers that had their share of the turn.
    pub(crate) shares: Shares,
    /// Sessions that ended, by hash of their client: in which batch, and what says so. Those not stored yet count.
    ending: BTreeMap<u64, (Ticket, Record)>,
    last_arrival: u64,
    next_session: u64,
    /// Bytes of the batches that are not stored yet.
    unstored: VecDeque<(Ticket, usize)>,
    unstored_bytes: usize,
    /// Connections that are not read because of them.
    held_back: Vec<ConnId>,
    /// The store takes no new messages.
    pub(crate) store_full: bool,
    /// It takes nothing at all.
    pub(crate) store_stuck: bool,
    store_failed: bool,
}

impl Board {
    pub(crate) fn new(config: ShardConfig) -> Self {
        Self {
            next_session: u64::from(config.epoch) << SESSION_COUNTER_BITS | u64::from(config.shard),
            now: Time::ZERO,
            conns: Vec::new(),
            sessions: Slab::new(),
            pool: Pool::default(),
            dirty: Dirty::default(),
            output_bytes: 0,
            strange_bytes: 0,
            records: Vec::new(),
            begun: Vec::new(),
            loads: Vec::new(),
            ticket: Ticket(1),
            stored: Ticket(0),
            waiting: VecDeque::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            droppers: Droppers::default(),
            insides: Insides::new(),
            accounts: Accounts::new(config.limits.user_queue_bytes_max),
            absent: Absent::new(),
            queue_bytes: 0,
            heads_bytes: 0,
            delayed: VecDeque::new(),
            elsewhere: Elsewhere::default(),
            kept_sessions: 0,
            retained: RetainedSet::new(config.seed),
            retained_bytes: 0,
            unkept: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            fetching: BTreeMap::new(),
            fetches: Vec::new(),
            next_fetch: 0,
            pressure: Pressure::None,
            sweep: Sweep::default(),
            gone: Gone::default(),
            filters: Filters::new(config.seed, Arc::clone(&config.filters)),
            looking: cork_filter::Scratch::default(),
            past: Past::default(),
            rights: Arc::new(Acl::permissive()),
            hooks: None,
            users: Users { door: config.door, names: None, bans: Arc::default() },
            again: VecDeque::new(),
            ending: BTreeMap::new(),
            last_arrival: config.last_arrival,
            unstored: VecDeque::new(),
            unstored_bytes: 0,
            held_back: Vec::new(),
            store_full: false,
            store_stuck: false,
            lists: VecDeque::new(),
            readied: 0,
            shares: Shares::default(),
            config,
            store_failed: false,
        }
    }

    /// Wall clock now.
    pub(crate) fn wall(&self) -> WallTime {
        WallTime(self.config.started.0 + self.now.as_micros())
    }

    /// The wall clock's `at` on the shard's clock.
    pub(crate) fn time_of(&self, at: WallTime) -> Time {
        Time::from_micros(at.0.saturating_sub(self.config.started.0))
    }

    /// Identity of a message that arrives now.
    pub(crate) fn next_message_id(&mut self) -> MessageId {
        self.last_arrival = self.wall().0.max(self.last_arrival + 1);
        MessageId { arrived: WallTime(self.last_arrival), shard: self.config.shard, epoch: self.config.epoch }
    }

    /// Arrival of the last message that has an identity, in microseconds since 1970.
    pub(crate) fn last_arrival(&self) -> u64 {
        self.last_arrival
    }

    /// A Session number never used before, on any shard.
    pub(crate) fn next_session_key(&mut self) -> SessionKey {
        self.next_session += u64::from(self.config.shards);
        SessionKey(self.next_session)
    }

    // ---- connections -------------------------------------------------------------------------------------------

    #[inline]
    pub(crate) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.index as usize)?.as_deref_mut().filter(|conn| conn.id == id)
    }

    /// The connection in a slot, whichever it is: for Sessions, which name only the slot.
    #[inline]
    pub(crate) fn conn_at(&mut self, index: u32) -> Option<&mut Conn> {
        self.conns.get_mut(index as usize)?.as_deref_mut()
    }

    /// Appends to a connection's output what `write` writes.
    #[inline]
    pub(crate) fn send(&mut self, index: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else { return };
        self.output_bytes += conn.out.append(&mut self.pool, write);
        self.stats.packets_sent += 1;
        conn.mark_dirty(&mut self.dirty);
    }

    /// Sends a packet; one the client's Maximum Packet Size forbids loses its Reason String and User Properties, and
    /// is dropped if it is too long even so (5.0 [MQTT-3.1.2-24], [MQTT-3.2.2-19]).
    pub(crate) fn send_packet(&mut self, index: u32, packet: &Packet<'_>) {
        let Some(conn) = self.conn_at(index) else { return };
        if let Some(bytes) = encode_within(packet, conn.version, conn.packet_bytes_max) {
            self.send(index, |out| out.extend_from_slice(&bytes));
        }
    }

    /// Answers a client: at once, or, when the answer relies on this turn's records or an earlier answer still
    /// waits, in its turn (5.0 [MQTT-4.6.0-2] and following: answers keep the order of what they answer).
    #[inline]
    pub(crate) fn answer(&mut self, index: u32, relies_on_store: bool, waits: u16, answer: Answer) -> u64 {
        let ticket = relies_on_store.then_some(self.ticket);
        self.answer_after(index, ticket, waits, answer)
    }

    /// The same for an answer that relies on the records of this batch, which may be an earlier one.
    #[inline]
    pub(crate) fn answer_after(
        &mut self,
        index: u32,
        ticket: Option<Ticket>,
        waits: u16,
        answer: Answer,
    ) -> u64 {
        let ticket = ticket.filter(|ticket| *ticket > self.stored);
        let relies_on_store = ticket.is_some();
        let ticket = ticket.unwrap_or(Ticket(0));
        let Some(conn) = self.conn_at(index) else { return 0 };
        if !relies_on_store && waits == 0 && conn.held().len() == 0 {
            self.give(index, answer);
            return 0;
        }
        let number = conn.keep_answer(ticket, Waits::of(waits), answer);
        let (id, many) = (conn.id, conn.held().len() >= HELD_MAX);
        if relies_on_store && self.waiting.back() != Some(&(ticket, id)) {
            self.waiting.push_back((ticket, id));
        }
        if many {
            self.hold(index, Holds::STORE);
        }
        number
    }

    fn give(&mut self, index: u32, answer: Answer) {
        match answer {
            Answer::Ack { kind, id, reason } => self.send_ack(index, kind, id, reason),
            Answer::Packet(bytes) => self.send(index, |out| out.extend_from_slice(&bytes)),
            Answer::ConnAck(bytes) => self.give_connack(index, &bytes),
        }
    }

    /// Sends CONNACK: from now on others may send something, too.
    pub(crate) fn give_connack(&mut self, index: u32, bytes: &[u8]) {
        self.send(index, |out| out.extend_from_slice(bytes));
        if let Some(conn) = self.conn_at(index) {
            conn.stage = Stage::Connected { connack_sent: true };
        }
    }

    #[inline]
    fn send_ack(&mut self, index: u32, kind: PacketType, id: PacketId, reason: ReasonCode) {
        let Some(conn) = self.conn_at(index) else { return };
        let ends_flow = match kind {
            PacketType::PubAck => true,
            PacketType::PubRec => reason.is_error(),
            PacketType::PubComp => !reason.is_error(),
            _ => false,
        };
        conn.receiving = conn.receiving.saturating_sub(u16::from(ends_flow));
        let v5 = conn.version.is_v5();
        let explain = v5 && reason.is_error() && conn.problem_information;
        let [high, low] = id.get().to_be_bytes();
        let flags = if kind == PacketType::PubRel { 0x02 } else { 0x00 };
        let first = ((kind as u8) << 4) | flags;
        if explain {
            let mut properties = PropertiesBuf::default();
            properties.push(Property::ReasonString(explanation(reason)));
            let ack = Ack { packet_id: id, reason, properties: properties.as_properties() };
            let packet = match kind {
                PacketType::PubRec => Packet::PubRec(ack),
                PacketType::PubRel => Packet::PubRel(ack),
                PacketType::PubComp => Packet::PubComp(ack),
                _ => Packet::PubAck(ack),
            };
            self.send_packet(index, &packet);
        } else if v5 && reason != ReasonCode::SUCCESS {
            self.send(index, |out| out.extend_from_slice(&[first, 3, high, low, reason.0]));
        } else {
            self.send(index, |out| out.extend_from_slice(&[first, 2, high, low]));
        }
    }

    /// Gives the answers of a connection that no longer wait for anything. Returns whether its CONNACK was among them.
    pub(crate) fn release(&mut self, id: ConnId) -> bool {
        let (stored, mut connack) = (self.stored, false);
        loop {
            let Some(conn) = self.conn(id) else { return connack };
            let Some(answer) = conn.take_answer(stored) else { break };
            connack |= matches!(answer, Answer::ConnAck(_));
            self.give(id.index, answer);
        }
        if self.conn(id).is_some_and(|conn| conn.held().len() < HELD_MAX / 2) {
            self.unhold(id.index, Holds::STORE);
        }
        connack
    }

    /// Stops reading from a connection.
    pub(crate) fn hold(&mut self, index: u32, reason: u16) {
        let Some(conn) = self.conn_at(index) else { return };
        if conn.holds.set(reason) {
            let conn = conn.id;
            self.outputs.push_back(Output::Reading { conn, wanted: false });
        }
    }

    /// Takes one reason not to read away. True when reading goes on: what was kept is to be processed.
    pub(crate) fn unhold(&mut self, index: u32, reason: u16) -> bool {
        let Some(conn) = self.conn_at(index) else { return false };
        let go_on = conn.holds.clear(reason);
        if go_on {
            let conn = conn.id;
            self.outputs.push_back(Output::Reading { conn, wanted: true });
        }
        go_on
    }

    /// Bytes this connection's output may hold before QoS 0 messages for it are dropped.
    ///
    /// Half of what the shard has left, as in a switch with a shared buffer: one slow reader may use much while
    /// nobody else does, a thousand of them little each.
    #[inline]
    pub(crate) fn output_allowance(&self) -> usize {
        let limits = &self.config.limits;
        let free = limits.output_bytes_total_max.saturating_sub(self.output_bytes);
        if self.pressure >= Pressure::Tight {
            return OUTPUT_LOW_BYTES;
        }
        (free / 2).clamp(OUTPUT_LOW_BYTES, limits.output_bytes_max.max(OUTPUT_LOW_BYTES))
    }

    // ---- store -------------------------------------------------------------------------------------------------

    #[inline]
    pub(crate) fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Remembers that the end of a Session is in the present batch.
    pub(crate) fn note_ending(&mut self, client: u64, record: Record) {
        if self.ending.len() >= ENDING_MANY {
            let stored = self.stored;
            self.ending.retain(|_, (ticket, _)| *ticket > stored);
        }
        self.ending.insert(client, (self.ticket, record));
    }

    /// Lets the present batch say once more that a client's last Session ended, if that may not be stored yet: who
    /// relies on this batch relies on that.
    pub(crate) fn end_again(&mut self, client: u64) {
        if let Some((_, record)) = self.ending.remove(&client).filter(|(ticket, _)| *ticket > self.stored) {
            self.ending.insert(client, (self.ticket, record.clone()));
            self.record(record);
        }
    }

    /// The last batch that has, or will have, records.
    pub(crate) fn last_ticket(&self) -> Ticket {
        let closed = self.records.is_empty() && self.begun.is_empty();
        if closed { Ticket(self.ticket.0.saturating_sub(1)) } else { self.ticket }
    }

    /// Emits the turn's records as one batch.
    pub(crate) fn close_batch(&mut self) -> bool {
        if self.records.is_empty() && self.begun.is_empty() {
            return false;
        }
        let mut records = std::mem::take(&mut self.records);
        if !self.begun.is_empty() {
            records.splice(..0, std::mem::take(&mut self.begun));
        }
        let bytes = records.iter().map(Record::cost_bytes).sum();
        self.unstored_bytes += bytes;
        self.unstored.push_back((self.ticket, bytes));
        self.outputs.push_back(Output::Store { ticket: self.ticket, records });
        self.ticket = self.ticket.next();
        true
    }

    /// A batch is stored; returns the connections that may have answers to release.
    pub(crate) fn stored(&mut self, ticket: Ticket) -> Vec<ConnId> {
        if self.store_failed {
            return Vec::new(); // a later batch is stored, but what lies between is not
        }
        self.stored = self.stored.max(ticket);
        while let Some((_, bytes)) = self.unstored.pop_front_if(|(other, _)| *other <= ticket) {
            self.unstored_bytes -= bytes;
        }
        let mut ready = Vec::new();
        while let Some((ticket, _)) = self.waiting.front() {
            if *ticket > self.stored {
                break;
            }
            ready.extend(self.waiting.pop_front().map(|(_, conn)| conn));
        }
        ready
    }

    /// Stops reading from a publisher while the store is too far behind.
    pub(crate) fn hold_back(&mut self, id: ConnId) {
        if self.unstored_bytes > self.config.limits.unstored_bytes_max {
            self.hold(id.index, Holds::BACKLOG);
            self.held_back.push(id);
        }
    }

    /// Connections that can be read again: the store has caught up.
    pub(crate) fn caught_up(&mut self) -> Vec<ConnId> {
        if self.unstored_bytes > self.config.limits.unstored_bytes_max / 2 {
            return Vec::new();
        }
        std::mem::take(&mut self.held_back)
    }

    /// Whether nothing new can be stored: there is no space, or the store failed.
    pub(crate) fn refuses_new(&self) -> bool {
        self.store_full || self.store_failed
    }

    /// Whether what frees space can be stored.
    pub(crate) const fn store_works(&self) -> bool {
        !self.store_failed
    }

    /// The store failed: from now on no answer that relies on it is given.
    pub(crate) fn store_failed(&mut self, error: String) {
        if !self.store_failed {
            self.store_failed = true;
            self.outputs.push_back(Output::Event(Event::StoreFailed { error }));
        }
    }

    // ---- timers ------------------------------------------------------------------------------------------------

    pub(crate) fn at(&mut self, when: Time, timer: Timer) {
        if when != Time::NEVER {
            self.timers.insert((when, timer));
        }
    }

    /// Sets a connection's only timer.
    pub(crate) fn set_conn_timer(&mut self, id: ConnId, when: Time) {
        let Some(conn) = self.conn(id) else { return };
        let before = std::mem::replace(&mut conn.timer, when);
        self.cancel(before, Timer::Conn(id));
        self.at(when, Timer::Conn(id));
    }

    /// Has a connection's timer go off then at the latest. Sooner does no harm: it sees what is due, and is set anew.
    pub(crate) fn bring_conn_timer_forward(&mut self, id: ConnId, when: Time) {
        if self.conn(id).is_some_and(|conn| when < conn.timer) {
            self.set_conn_timer(id, when);
        }
    }

    /// Takes a timer back that was set for then.
    pub(crate) fn cancel(&mut self, when: Time, timer: Timer) {
        if when != Time::NEVER {
            self.timers.remove(&(when, timer));
        }
    }

    pub(crate) fn in_seconds(&mut self, seconds: u32, timer: Timer) -> Time {
        let when = self.now + Duration::from_secs(u64::from(seconds));
        self.at(when, timer);
        when
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// The encoded packet, without Reason String and User Properties if it would exceed `maximum` with them; `None` if it
/// is too long even so.
pub(crate) fn encode_within(packet: &Packet<'_>, version: ProtocolVersion, maximum: u32) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(64);
    packet.encode(version, &mut bytes).ok()?;
    if bytes.len() <= maximum as usize {
        return Some(bytes);
    }
    let bare = match packet {
        Packet::PubAck(ack) => Packet::PubAck(Ack { properties: Default::default(), ..*ack }),
        Packet::PubRec(ack) => Packet::PubRec(Ack { properties: Default::default(), ..*ack }),
        Packet::PubRel(ack) => Packet::PubRel(Ack { properties: Default::default(), ..*ack }),
        Packet::PubComp(ack) => Packet::PubComp(Ack { properties: Default::default(), ..*ack }),
        Packet::Disconnect(d) => {
            Packet::Disconnect(cork_packet::Disconnect { properties: Default::default(), ..*d })
        }
        Packet::SubAck(s) => Packet::SubAck(cork_packet::SubAck { properties: Default::default(), ..*s }),
        _ => return None,
    };
    bytes.clear();
    bare.encode(version, &mut bytes).ok()?;
    (bytes.len() <= maximum as usize).then_some(bytes)
}

/// What a Reason String says; for people, not for programs (5.0 [MQTT-3.4.2-2] and its likes).
pub(crate) fn explanation(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::NOT_AUTHORIZED => "the rights do not allow this",
        ReasonCode::PAYLOAD_FORMAT_INVALID => "the payload is not the UTF-8 it claims to be",
        ReasonCode::PACKET_IDENTIFIER_NOT_FOUND => "nothing is under way with this Packet Identifier",
        ReasonCode::PACKET_IDENTIFIER_IN_USE => "this Packet Identifier is in use",
        ReasonCode::QUOTA_EXCEEDED => "a limit of the broker is reached",
        ReasonCode::TOPIC_NAME_INVALID => "this Topic Name is not accepted",
        ReasonCode::TOPIC_FILTER_INVALID => "this Topic Filter is not accepted",
        _ => "refused",
    }
}
