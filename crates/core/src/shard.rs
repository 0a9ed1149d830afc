//! The machine: one input in, outputs drained, a timeout to wait for.

use std::{collections::BTreeMap, hash::BuildHasher, io::IoSlice, sync::Arc};

use cork_packet::{Packet, PacketType, ProtocolVersion, Receiver, decode};
use cork_proto::{PeerError, Time, split_packet};
use cork_store::{Publisher, StoreError, Ticket};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::{
    Peer,
    backlog::Backlogs,
    board::{Board, OUTPUT_HIGH_BYTES, OUTPUT_LOW_BYTES, Timer},
    config::ShardConfig,
    conn::{Conn, Holds, SessionIx, Stage},
    end::Leaver,
    event::{Ended, Event},
    gather::Gathers,
    hooks::Hooks,
    io::{ConnId, Input, Output},
    peers::Peers,
    presence::Presence,
    quarrel::Quarrels,
    router::{Router, SHARDS_MAX},
    stats::Stats,
    sys::Sys,
    watchers::Watchers,
};

/// The shard a Client Identifier's Session lives on, of `shards`. The same on every shard, for a given seed.
#[must_use]
pub fn home_shard(client_id: &str, shards: u16, seed: u64) -> u16 {
    if shards <= 1 {
        return 0;
    }
    // Both lanes of one Session live on one shard.
    let client_id = cork_store::first_lane(client_id).unwrap_or(client_id);
    let hash = FixedState::with_seed(seed).hash_one(client_id);
    u16::try_from(hash % u64::from(shards)).unwrap_or(0)
}

/// The core of the broker, for the Sessions of one thread. See the crate's first page for how to drive it.
pub struct Shard {
    pub(crate) board: Board,
    pub(crate) router: Router,
    pub(crate) peers: Peers,
    pub(crate) sys: Sys,
    pub(crate) backlogs: Backlogs,
    /// When `$SYS` is published next.
    pub(crate) sys_due: Time,
    /// Client Identifiers to Sessions; the strings are the Sessions'.
    pub(crate) clients: HashTable<SessionIx>,
    pub(crate) hasher: FixedState,
    pub(crate) draining: bool,
    pub(crate) quarrels: Quarrels,
    pub(crate) gathers: Gathers,
    /// Sessions that have ended and still have something for others.
    pub(crate) leavers: BTreeMap<SessionIx, Leaver>,
    pub(crate) presence: Presence,
    /// Who published last.
    pub(crate) publishing: Option<Arc<Publisher>>,
    /// Pages that watch what is published here.
    pub(crate) watchers: Option<Box<Watchers>>,
}

/// What became of a packet.
pub(crate) enum Flow {
    /// Go on with the next one.
    Next,
    /// Keep the rest: the connection is held, or has moved.
    Stop,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shard({}, {} sessions)", self.board.config.shard, self.board.sessions.len())
    }
}

impl Shard {
    /// A shard without clients.
    ///
    /// # Panics
    /// If there are to be more than 64 shards.
    #[must_use]
    pub fn new(config: ShardConfig) -> Self {
        assert!(config.shards <= SHARDS_MAX, "{} shards are more than {SHARDS_MAX}", config.shards);
        let mut shard = Self {
            router: Router::new(config.seed),
            peers: Peers::new(config.shards),
            sys: Sys::default(),
            backlogs: Backlogs::default(),
            sys_due: Time::NEVER,
            clients: HashTable::new(),
            hasher: FixedState::with_seed(config.seed),
            draining: false,
            quarrels: Quarrels::default(),
            gathers: Gathers::default(),
            leavers: BTreeMap::new(),
            presence: Presence::new(config.seed),
            publishing: None,
            watchers: None,
            board: Board::new(config),
        };
        shard.start_sys();
        shard
    }

    /// Asks and tells these hooks from now on.
    pub fn set_hooks(&mut self, hooks: Arc<dyn Hooks>) {
        self.board.hooks = Some(hooks);
    }

    /// Takes one input. `now` never goes back.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.board.now = self.board.now.max(now);
        match input {
            Input::Bytes { conn, bytes } => self.on_bytes(conn, bytes),
            Input::Opened { conn, peer } => self.on_opened(conn, peer),
            Input::Identified { conn, peer, user, inside } => self.on_identified(conn, peer, user, inside),
            Input::Closed { conn } => self.on_closed(conn, Ended::Lost),
            Input::Broken { conn, rule } => self.on_closed(conn, Ended::Transport(rule)),
            Input::Authenticated { conn, outcome } => {
                self.on_authenticated(conn, outcome);
                self.count_strange_bytes(conn);
            }
            Input::Claimed { conn, claim } => {
                self.on_claimed(conn, claim);
                self.count_strange_bytes(conn);
            }
            Input::Stored { ticket, result } => self.on_stored(ticket, result),
            Input::Loaded(loaded) => self.on_loaded(loaded),
            Input::Fetched(fetched) => self.on_fetched(fetched),
            Input::Replayed(replayed) => self.on_replayed(replayed),
            Input::Full(full) => self.on_full(full),
            Input::Stuck(stuck) => self.board.store_stuck = stuck,
            Input::Batch(batch) => self.on_batch(batch),
            Input::Rights(rights) => self.on_rights(rights),
            Input::Users(users) => self.on_users(users),
            Input::Settings(settings) => self.on_settings(*settings),
            Input::Expel { conn, why } => self.on_expel(conn, Ended::Expelled(why)),
            Input::Kick { client_id, why } => self.on_kick(&client_id, why),
            Input::EndSession { client_id, why } => self.on_end_session(&client_id, why),
            Input::Health(health) => {
                self.sys.health = health;
                self.on_pressure(health.pressure);
            }
            Input::TurnedAway(how) => self.board.stats.count_turned_away(how),
            Input::Timeout => self.on_timeout(),
            Input::Drain => self.drain(),
        }
    }

    /// What the shard wants done. Drain until `None`; the records of all inputs since the last drain become one
    /// batch, and each other shard gets one batch.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.board.outputs.is_empty() {
            self.board.close_batch();
            self.board.close_loads();
            self.board.close_fetches();
            self.board.close_past(); // before other shards hear of anything
            self.tell_accounts();
            self.close_forwards();
        }
        self.board.outputs.pop_front()
    }

    /// A connection that has something to send. Each comes up once until it is handed to [`Shard::transmit`] or gets
    /// more to send.
    pub fn poll_transmit(&mut self) -> Option<ConnId> {
        loop {
            let id = self.board.dirty.pop()?;
            if self.board.dirty.is_empty() {
                self.board.shares.all_is_written();
            }
            if let Some(conn) = self.board.conn(id) {
                conn.dirty = false;
                return Some(id);
            }
        }
    }

    /// How many connections have something to send: what [`Shard::poll_transmit`] would hand out now.
    #[must_use]
    pub fn transmits(&self) -> usize {
        self.board.dirty.len()
    }

    /// Shows what waits for a connection to `write`, which says how many bytes the socket took. More may have been
    /// queued by then: the connection comes up in [`Shard::poll_transmit`] again if so. Returns what still waits.
    ///
    /// # Errors
    /// Whatever `write` returns; nothing is taken then.
    pub fn transmit<E>(
        &mut self,
        now: Time,
        id: ConnId,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.board.now = self.board.now.max(now);
        let board = &mut self.board;
        let Some(Some(conn)) = board.conns.get_mut(id.index as usize) else { return Ok(0) };
        if conn.id != id || conn.out.is_empty() {
            return Ok(0);
        }
        let was_high = conn.out.len();
        let taken = conn.out.transmit(&mut board.pool, write)?;
        conn.traffic.bytes_out += taken as u64;
        let (left, session, held) = (conn.out.len(), conn.session, conn.holds.any());
        if held && taken > 0 {
            conn.last_seen = board.now; // it is not read from, but reads: it is there
        }
        board.output_bytes -= taken;
        board.stats.bytes_sent += taken as u64;
        if left < OUTPUT_LOW_BYTES {
            board.readied += u64::from(was_high >= OUTPUT_LOW_BYTES);
            if held && board.unhold(id.index, Holds::OUTPUT) {
                self.go_on_reading(id);
            }
            let board = &mut self.board;
            if board.sessions.get(session as usize).is_some_and(|session| session.has_waiting()) {
                board.pump(session);
            }
        } else if was_high >= OUTPUT_HIGH_BYTES && left < OUTPUT_HIGH_BYTES {
            board.pump(session);
            board.readied += 1;
        }
        Ok(left)
    }

    /// Lets a connection that still has something to send come up in [`Shard::poll_transmit`] again.
    pub fn transmit_again(&mut self, id: ConnId) {
        let Some(Some(conn)) = self.board.conns.get_mut(id.index as usize) else { return };
        if conn.id == id && !conn.out.is_empty() {
            conn.mark_dirty(&mut self.board.dirty);
        }
    }

    /// Whether a connection belongs to a client that is logged in.
    #[must_use]
    pub fn is_connected(&self, id: ConnId) -> bool {
        let conn = self.board.conns.get(id.index as usize).and_then(Option::as_deref);
        conn.is_some_and(|conn| conn.id == id && conn.is_open())
    }

    /// Bytes that wait for a connection's socket.
    #[must_use]
    pub fn waiting_bytes(&self, id: ConnId) -> usize {
        match self.board.conns.get(id.index as usize) {
            Some(Some(conn)) if conn.id == id => conn.out.len(),
            _ => 0,
        }
    }

    /// When to come back with [`Input::Timeout`] at the latest. In the past: at once.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let board = &self.board;
        let done = board.again.is_empty() && board.lists.is_empty() && board.shares.is_over();
        if !(done && board.sweep.is_over()) {
            return Some(Time::ZERO);
        }
        self.board.timers.first().map(|(when, _)| *when)
    }

    /// Counters, with the present numbers filled in.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.board.stats;
        stats.sessions = self.board.sessions.len() as u64;
        stats.retained = self.board.retained.len() as u64;
        stats.queued_bytes = self.board.queue_bytes;
        stats.queue_users = self.board.accounts.users();
        stats.output_bytes = self.board.output_bytes as u64;
        stats
    }

    fn on_opened(&mut self, id: ConnId, peer: Peer) {
        let index = id.index as usize;
        if self.board.conns.len() <= index {
            self.board.conns.resize_with(index + 1, || None);
        }
        let now = self.board.now;
        self.board.conns[index] = Some(Box::new(Conn::new(id, peer, now)));
        self.board.stats.sockets += 1;
        let when = now + self.board.config.limits.connect_timeout;
        self.board.set_conn_timer(id, when);
    }

    fn on_closed(&mut self, id: ConnId, cause: Ended) {
        if self.board.conn(id).is_none() {
            return;
        }
        self.end(id, cause);
        self.forget(id);
    }

    /// Drops what is left of a connection.
    pub(crate) fn forget(&mut self, id: ConnId) {
        self.board.set_conn_timer(id, Time::NEVER);
        if let Some(slot) = self.board.conns.get_mut(id.index as usize)
            && let Some(conn) = slot.take_if(|conn| conn.id == id)
        {
            self.board.output_bytes -= conn.out.len();
            self.board.strange_bytes -= conn.strange_bytes;
            let (rests_until, half_until) = conn.further_timers();
            self.board.cancel(half_until, Timer::HalfPacket(id));
            self.board.cancel(rests_until, Timer::Rate(id));
            self.board.stats.sockets -= 1;
        }
    }

    fn on_bytes(&mut self, id: ConnId, bytes: &[u8]) {
        self.board.stats.bytes_received += bytes.len() as u64;
        let Some(conn) = self.board.conn(id) else { return };
        if matches!(conn.stage, Stage::Closing) {
            return;
        }
        conn.traffic.bytes_in += bytes.len() as u64;
        if conn.holds.any() {
            // Read before the driver knew: bounded by one read of its buffer.
            conn.inbox.keep(bytes);
            return self.watch_stranger(id);
        }
        self.process(id, bytes);
        self.finish_move(id);
        self.hold_if_not_reading(id);
        self.watch_stranger(id);
    }

    /// Who is not logged in may keep little.
    fn watch_stranger(&mut self, id: ConnId) {
        let logged_in =
            |conn: &mut Conn| matches!(conn.stage, Stage::Connected { .. }) && conn.strange_bytes == 0;
        if !self.board.conn(id).is_none_or(logged_in) {
            self.count_strange_bytes(id);
            self.shed_strangers();
        }
    }

    /// A client that does not read what it is owed is not read from either.
    fn hold_if_not_reading(&mut self, id: ConnId) {
        let allowance = self.board.output_allowance() + OUTPUT_HIGH_BYTES;
        if self.board.conn(id).is_some_and(|conn| conn.out.len() > allowance) {
            self.board.hold(id.index, Holds::OUTPUT);
        }
    }

    /// Cuts packets off `input` and handles them; keeps what is left.
    fn process(&mut self, id: ConnId, mut input: &[u8]) {
        let (begun, most) = (self.board.shares.deliveries, self.board.shares.deliveries_max());
        loop {
            let maximum = self.packet_bytes_max(id);
            let Some(conn) = self.board.conn(id) else { return };
            if matches!(conn.stage, Stage::AwaitConnect) {
                let first = conn.inbox.first().or_else(|| input.first().copied());
                if first.is_some_and(|first| first != 0x10) {
                    // Not even a CONNECT's first byte: nothing is answered, nothing more is read.
                    return self.end(id, Ended::Rule(PeerError::FirstPacketNotConnect));
                }
            }
            let flow = if conn.inbox.is_empty() {
                match split_packet(&mut input, maximum) {
                    Ok(Some(packet)) => self.on_packet(id, packet),
                    Ok(None) => {
                        if !input.is_empty() {
                            conn.inbox.keep(input);
                            self.note_half_packet(id, true);
                        }
                        return;
                    }
                    Err(error) => return self.end(id, Ended::Rule(error)),
                }
            } else {
                match conn.inbox.complete(&mut input, maximum) {
                    Ok(Some(packet)) => self.on_packet(id, &packet),
                    Ok(None) => return self.note_half_packet(id, false),
                    Err(error) => return self.end(id, Ended::Rule(error)),
                }
            };
            let had_share = self.board.shares.deliveries - begun >= most;
            if had_share {
                self.board.had_share(id);
            }
            if had_share || matches!(flow, Flow::Stop) {
                if let Some(conn) = self.board.conn(id)
                    && !matches!(conn.stage, Stage::Closing)
                    && !input.is_empty()
                {
                    conn.inbox.keep(input);
                }
                return;
            }
        }
    }

    /// Works off what was kept while a connection was held.
    pub(crate) fn go_on_reading(&mut self, id: ConnId) {
        let Some(conn) = self.board.conn(id) else { return };
        if conn.holds.any() || conn.inbox.is_empty() || matches!(conn.stage, Stage::Closing) {
            return;
        }
        let kept = conn.inbox.take();
        self.process(id, &kept);
    }

    fn packet_bytes_max(&mut self, id: ConnId) -> usize {
        let limits = &self.board.config.limits;
        let (usual, first) = (limits.packet_bytes_max, limits.connect_bytes_max);
        match self.board.conn(id) {
            Some(Conn { stage: Stage::AwaitConnect, .. }) => first.min(usual) as usize,
            Some(Conn { stage: Stage::Connected { .. }, granted, .. }) => granted.packet_bytes_max as usize,
            _ => usual as usize,
        }
    }

    /// Handles one whole packet.
    fn on_packet(&mut self, id: ConnId, packet: &[u8]) -> Flow {
        self.board.stats.packets_received += 1;
        let now = self.board.now;
        let Some(conn) = self.board.conn(id) else { return Flow::Stop };
        conn.last_seen = now;
        conn.traffic.messages_in += u64::from(packet[0] >> 4 == PacketType::Publish as u8);
        let version = conn.version;
        let connected = match conn.stage {
            Stage::AwaitConnect => return self.on_connect(id, packet),
            Stage::Authenticating(_) => false,
            Stage::Connected { .. } => true,
            Stage::Moving(_) | Stage::Closing => return Flow::Stop,
        };
        let raw = packet;
        let result = match decode(version, Receiver::Server, packet) {
            Ok(decoded) if connected => self.on_connected_packet(id, version, decoded, packet.len()),
            Ok(packet) => self.on_authenticating_packet(id, packet),
            Err(error) => Err(PeerError::Decode(error)),
        };
        if let Err(error) = result {
            self.end(id, Ended::Rule(error));
        }
        if let Some(conn) = self.board.conn(id).filter(|conn| conn.unread) {
            conn.unread = false;
            conn.inbox.keep(raw);
            return Flow::Stop;
        }
        match self.board.conn(id) {
            Some(conn) if !conn.holds.any() && !matches!(conn.stage, Stage::Closing) => Flow::Next,
            _ => Flow::Stop,
        }
    }

    fn on_connected_packet(
        &mut self,
        id: ConnId,
        version: ProtocolVersion,
        packet: Packet<'_>,
        length: usize,
    ) -> Result<(), PeerError> {
        match packet {
            Packet::Publish(publish) => {
                let records = self.board.records.len();
                self.on_publish(id, version, &publish)?;
                if self.board.records.len() > records {
                    self.board.hold_back(id);
                    self.board.slow_down(id);
                }
                self.pace(id, length);
            }
            Packet::PubAck(ack) => self.on_puback(id, ack.packet_id),
            Packet::PubRec(ack) => self.on_pubrec(id, ack.packet_id, ack.reason),
            Packet::PubRel(ack) => self.on_pubrel(id, ack.packet_id),
            Packet::PubComp(ack) => self.on_pubcomp(id, ack.packet_id),
            Packet::Subscribe(subscribe) => self.on_subscribe(id, version, &subscribe)?,
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(id, version, &unsubscribe)?,
            Packet::PingReq => self.board.send(id.index, |out| out.extend_from_slice(&[0xD0, 0])),
            Packet::Disconnect(disconnect) => self.on_disconnect(id, &disconnect)?,
            Packet::Auth(auth) => self.on_auth(id, &auth)?,
            Packet::Connect(_) => return Err(PeerError::SecondConnect),
            // The decoder refuses these from a client.
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {}
        }
        Ok(())
    }

    fn on_stored(&mut self, ticket: Ticket, result: Result<(), StoreError>) {
        match result {
            Ok(()) => {
                let ready = self.board.stored(ticket);
                self.say_presence(false);
                for id in ready {
                    self.release(id);
                }
                self.release_gathers();
                self.answer_others();
                for id in self.board.caught_up() {
                    if self.board.unhold(id.index, Holds::BACKLOG) {
                        self.go_on_reading(id);
                    }
                }
                if !self.board.unwritten.is_empty() {
                    self.write_unwritten();
                }
                while let Some((ticket, six)) = self.board.delayed.front().copied() {
                    if ticket > self.board.stored {
                        break;
                    }
                    self.board.delayed.pop_front();
                    self.board.pump(six);
                }
            }
            Err(error) => {
                self.board.store_failed(error.to_string());
                self.say_presence(true);
            }
        }
    }

    /// The store ran out of space, or has some again.
    fn on_full(&mut self, full: bool) {
        if std::mem::replace(&mut self.board.store_full, full) != full {
            self.board.event(Event::StoreFull { full });
        }
        if full {
            return;
        }
        self.write_unwritten();
        let all: Vec<(ConnId, bool)> =
            self.board.conns.iter().flatten().map(|conn| (conn.id, conn.deaf)).collect();
        for (id, deaf) in all {
            if deaf {
                self.end(id, Ended::LeftOut);
            } else if self.board.unhold(id.index, Holds::FULL) {
                self.go_on_reading(id);
            }
        }
    }

    /// Gives answers that wait no longer, and goes on with a connection whose CONNACK was among them.
    pub(crate) fn release(&mut self, id: ConnId) {
        let held = self.board.conn(id).is_some_and(|conn| conn.holds.any());
        if self.board.release(id) {
            self.opened_for_traffic(id);
        } else if held {
            self.go_on_reading(id);
        }
        if let Some(session) = self.board.conn(id).map(|conn| conn.session)
            && self.board.sessions.get(session as usize).is_some_and(|session| session.has_waiting())
        {
            self.board.pump(session);
        }
    }

    fn on_timeout(&mut self) {
        self.go_on_with_lists();
        self.go_on_with_shares();
        self.go_on_with_sweep();
        for _ in 0..self.board.again.len() {
            if let Some(session) = self.board.again.pop_front() {
                self.board.pump(session);
            }
        }
        for _ in 0..TIMERS_PER_TURN {
            if self.board.timers.first().is_none_or(|(when, _)| *when > self.board.now) {
                return;
            }
            let Some((_, timer)) = self.board.timers.pop_first() else { return };
            match timer {
                Timer::Conn(id) => self.on_conn_timer(id),
                Timer::Will(key, session) => self.on_will_timer(key, session),
                Timer::Expire(key, session) => self.on_expire_timer(key, session),
                Timer::Retained(topic) => self.on_retained_timer(&topic.0),
                Timer::Fetch(key, session) => self.on_fetch_timer(key, session),
                Timer::Sys => self.on_sys_timer(),
                Timer::Presence => self.on_presence_timer(),
                Timer::Absent => self.on_absent_timer(),
                Timer::Rate(id) => self.on_rate_timer(id),
                Timer::HalfPacket(id) => self.on_half_packet_timer(id),
                Timer::Held(key, topic) => self.on_held_timer(key, &topic.0),
            }
        }
    }

    /// CONNECT is late, or nothing was heard for one and a half Keep Alive.
    fn on_conn_timer(&mut self, id: ConnId) {
        let now = self.board.now;
        let Some(conn) = self.board.conn(id) else { return };
        match conn.stage {
            Stage::Moving(_) | Stage::Closing => {}
            Stage::AwaitConnect | Stage::Authenticating(_) => self.end(id, Ended::ConnectTimeout),
            Stage::Connected { .. } if conn.keep_alive == 0 => {}
            Stage::Connected { .. } => {
                // While this end does not read, silence is not the client's fault; unless it is because the client
                // takes nothing.
                let our_fault = conn.holds.any_but(Holds::OUTPUT);
                let since = if our_fault { now } else { conn.last_seen };
                let deadline = since + keep_alive_grace(conn.keep_alive);
                if deadline <= now && !our_fault {
                    self.end(id, Ended::KeepAliveTimeout);
                } else {
                    self.board.set_conn_timer(id, deadline);
                }
            }
        }
    }
}

/// Timers that go off in one turn; the rest of a crowd does in the next ones.
const TIMERS_PER_TURN: usize = 256;

/// One and a half times the Keep Alive (3.1.1 [MQTT-3.1.2-24], 5.0 [MQTT-3.1.2-22]).
pub(crate) fn keep_alive_grace(seconds: u16) -> std::time::Duration {
    std::time::Duration::from_millis(u64::from(seconds) * 1500)
}
