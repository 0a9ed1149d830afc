//! One shard's thread: wait, read, let the shard work, write, wait.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use cork_access::{Acl, Exchange};
use cork_core::{Claim, ConnId, Event, Input, Output, Shard, ShardConfig, TurnedAway, Users};
use cork_mesh::{Alone, Mesh};
use cork_net::{Stream, Transport, Wrap};
use cork_proto::Time;
use cork_store::{Answer, Forgetful, History, Recovered, Store, Ticket, Volatile};
use mio::{Events, Interest, Poll, Token};

use crate::{
    access::{AccessDesk, Job, Question},
    arrivals::Arrivals,
    carrier::add_carriers,
    connections::{Connections, Ending, Line},
    gate::{Entry, Gate, Site},
    log::log,
    mail::{Mail, Mailbox, Post},
    peer::{broken_rule, peer_of},
    probe::Times,
    tap::{Listening, Moved, Taps},
};

/// The token of the mailbox.
pub(crate) const WAKE: Token = Token(0);
/// Listeners have the tokens from here.
pub(crate) const LISTENERS: usize = 1;
/// Listeners at once, at most.
pub(crate) const LISTENERS_MAX: usize = 1000;
/// Connections have the tokens from here.
const CONNECTIONS: usize = LISTENERS + LISTENERS_MAX;
/// Bytes read from one connection in one turn, at most: others get their turn then.
const READ_BYTES: usize = 256 << 10;
/// The same when many have something to say, and for those who are not logged in: enough for the longest message of a
/// TLS handshake.
const READ_BYTES_IN_CROWD: usize = 64 << 10;
/// So many are a crowd.
const CROWD: usize = 8;
/// Time in one turn for accepting, for reading those who come, for reading those who go, and for writing, each: whoever
/// is not served then is served in the next turn, after those who are inside.
const SLICE: Duration = Duration::from_millis(2);
/// The same for reading those who are inside.
const SLICE_INSIDE: Duration = Duration::from_millis(5);
/// Short steps between two looks at the clock: accepting, writing, reading a CONNECT.
const FEW: usize = 8;
/// Connections accepted in one turn, at most.
const ACCEPTS_PER_TURN: usize = 128;
/// Events taken from the system at once.
const EVENTS: usize = 1024;
/// Writes to one connection in one turn, at most.
const WRITES_PER_TURN: usize = 4;
/// How long accepting rests when there is no descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(200);

pub(crate) struct Listener {
    /// Its number; its token follows from it.
    pub(crate) slot: usize,
    pub(crate) socket: cork_net::Listener,
    pub(crate) wrap: Wrap,
    /// There may be somebody to accept.
    pub(crate) ready: bool,
}

pub(crate) struct Worker {
    pub(crate) shard: Shard,
    number: u16,
    pub(crate) poll: Poll,
    mailbox: Mailbox,
    posts: Vec<Post>,
    desk: AccessDesk,
    pub(crate) gate: Arc<Gate>,
    /// How long the answer to a CONNECT may take.
    pub(crate) connect_timeout: Duration,
    pub(crate) store: Box<dyn Store>,
    pub(crate) history: Box<dyn History>,
    pub(crate) mesh: Box<dyn Mesh>,
    pub(crate) connections_max: usize,
    pub(crate) connections: Connections,
    pub(crate) listeners: Vec<Listener>,
    /// Slots of connections whose certificates are still to be looked at again.
    pub(crate) to_check: Vec<usize>,
    /// Accepting rests until then: there is no descriptor left.
    accept_rests_until: Option<Time>,
    /// Who comes now comes in a crowd.
    arrivals: Arrivals,
    /// That accepting rests was said; once is enough until somebody is accepted again.
    rest_reported: bool,
    /// Running enhanced authentications.
    exchanges: BTreeMap<ConnId, Box<dyn Exchange>>,
    /// Who is listened in on.
    taps: Taps,
    /// How long things took.
    times: Times,
    /// What the store has and did not answer, and since when.
    storing: VecDeque<(Ticket, Time)>,
    buffer: Vec<u8>,
    started: Instant,
    draining: bool,
    restoring: bool,
    stopped: bool,
}

impl Worker {
    pub(crate) fn new(
        shard: ShardConfig,
        poll: Poll,
        mailbox: Mailbox,
        posts: Vec<Post>,
        desk: AccessDesk,
        gate: Arc<Gate>,
        started: Instant,
    ) -> Self {
        Self {
            number: shard.shard,
            connect_timeout: shard.limits.connect_timeout,
            shard: Shard::new(shard),
            poll,
            mailbox,
            posts,
            desk,
            gate,
            store: Box::new(Volatile::default()),
            history: Box::new(Forgetful::default()),
            mesh: Box::new(Alone::default()),
            connections_max: 0,
            connections: Connections::default(),
            listeners: Vec::new(),
            to_check: Vec::new(),
            accept_rests_until: None,
            arrivals: Arrivals::default(),
            rest_reported: false,
            exchanges: BTreeMap::new(),
            taps: Taps::default(),
            times: Times::default(),
            storing: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            started,
            draining: false,
            restoring: false,
            stopped: false,
        }
    }

    pub(crate) fn set_rights(&mut self, rights: Arc<Acl>) {
        self.shard.handle(Time::ZERO, Input::Rights(rights));
    }

    pub(crate) fn set_users(&mut self, users: Users) {
        self.shard.handle(Time::ZERO, Input::Users(users));
    }

    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stopped {
            let mut timeout = self.timeout();
            if timeout != Some(Duration::ZERO) && !self.mailbox.lie_down() {
                timeout = Some(Duration::ZERO);
            }
            let polled = self.poll.poll(&mut events, timeout);
            self.mailbox.get_up();
            if let Err(error) = polled {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::error!(target: "net", %error, "waiting for sockets failed");
                    std::thread::sleep(Duration::from_millis(10));
                }
                continue;
            }
            let now = self.now();
            for event in &events {
                self.on_event(event, now);
            }
            self.turn(now);
            self.times.turns.record(micros(self.now().since(now)));
        }
    }

    /// How long to wait at most.
    fn timeout(&self) -> Option<Duration> {
        let accepting = self.accept_rests_until.is_none() && self.listeners.iter().any(|l| l.ready);
        if self.connections.any_ready()
            || self.shard.transmits() > 0
            || accepting
            || !self.to_check.is_empty()
            || self.arrivals.are_awaited(|| self.now())
        {
            return Some(Duration::ZERO);
        }
        let shard = [self.shard.next_timeout(), self.connections.next_deadline()];
        let times = shard.into_iter().chain([self.accept_rests_until, self.gate.due()]);
        let wait = times.flatten().min()?.since(self.now());
        // Rounded up: waking a little early would only mean waking twice. What goes on in each turn does not wait.
        Some(if wait.is_zero() { wait } else { wait + Duration::from_micros(500) })
    }

    fn on_event(&mut self, event: &mio::event::Event, now: Time) {
        let token = event.token().0;
        if token == WAKE.0 {
            return; // the mailbox is opened in every turn
        }
        if let Some(slot) = token.checked_sub(CONNECTIONS) {
            if event.is_writable()
                && let Some(connection) = self.connections.at(slot)
                && (connection.blocked || connection.stream.wants_write())
            {
                connection.blocked = false;
                let id = connection.id;
                self.flush(id, now);
            }
            if event.is_read_closed()
                && let Some(connection) = self.connections.at(slot)
            {
                connection.hung_up = true;
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.connections.mark_readable(slot);
            }
        } else if let Some(listener) =
            self.listeners.iter_mut().find(|listener| LISTENERS + listener.slot == token)
        {
            listener.ready = true;
        }
    }

    /// Everything that can be done without waiting.
    fn turn(&mut self, now: Time) {
        self.open_mail(now);
        self.take_stored(now);
        self.take_replayed(now);
        self.take_claims(now);
        self.accept(now);
        self.check_some(now);
        self.read_ready(now);
        if self.shard.next_timeout().is_some_and(|when| when <= now) {
            self.shard.handle(now, Input::Timeout);
        }
        self.carry_out(now);
        self.flush_all();
        self.carry_out(now);
        self.gate.pass_time(now);
        self.arrivals.pass_time(now);
        while let Some(id) = self.connections.overdue(now) {
            self.drop_connection(id, now);
        }
        if self.draining && self.connections.len() == 0 {
            self.stopped = true;
        }
    }

    /// Reads everybody once, of each line as many as its slice of time allows.
    fn read_ready(&mut self, now: Time) {
        let crowd = self.connections.ready_in(Line::Inside) > CROWD;
        let bytes = if crowd { READ_BYTES_IN_CROWD } else { READ_BYTES };
        for line in [Line::Inside, Line::Leaving, Line::Outside] {
            let inside = line == Line::Inside;
            let (bytes, slice) = if inside { (bytes, SLICE_INSIDE) } else { (READ_BYTES_IN_CROWD, SLICE) };
            let begun = Instant::now();
            for number in 1..=self.connections.ready_in(line) {
                if let Some(slot) = self.connections.next_in(line) {
                    self.read(slot, bytes, now);
                }
                if (inside || number % FEW == 0) && begun.elapsed() >= slice {
                    break;
                }
            }
        }
    }

    /// Writes to each connection that has something to send; when that takes long, to the others in the next turn.
    fn flush_all(&mut self) {
        let begun = self.now();
        let mut now = begun;
        for number in 1..=self.shard.transmits() {
            if let Some(id) = self.shard.poll_transmit() {
                self.flush(id, now);
            }
            if number % FEW == 0 {
                now = self.now();
                if now.since(begun) >= SLICE {
                    break;
                }
            }
        }
    }

    fn open_mail(&mut self, now: Time) {
        let mails: Vec<Mail> = self.mailbox.open().collect();
        for mail in mails {
            match mail {
                Mail::Batch(batch) => self.shard.handle(now, Input::Batch(batch)),
                Mail::Adopt { stream, bytes } => self.adopt(*stream, &bytes, now),
                Mail::Access { conn, outcome, exchange } => {
                    if let Some(exchange) = exchange.filter(|_| self.connections.get(conn).is_some()) {
                        self.exchanges.insert(conn, exchange);
                    }
                    self.shard.handle(now, Input::Authenticated { conn, outcome });
                }
                Mail::Rights(rights) => self.shard.handle(now, Input::Rights(rights)),
                Mail::Users(users) => self.shard.handle(now, Input::Users(users)),
                Mail::Listeners(changes, done) => {
                    self.change_listeners(*changes, now);
                    let _ = done.send(()); // whoever asked may have ended
                }
                Mail::Settings(settings, connections_max) => {
                    self.change_settings(settings, connections_max, now);
                }
                Mail::Health(health) => self.shard.handle(now, Input::Health(health)),
                Mail::CheckCertificates => self.begin_checks(),
                Mail::CheckAddresses => self.expel_banned(now),
                Mail::Query(query, reply) => {
                    let mut answer = self.shard.ask(&query);
                    add_carriers(&mut answer, &self.connections);
                    reply(answer);
                }
                Mail::Watch(watch, reply) => reply(self.shard.watch(*watch)),
                Mail::Sample(watch, most, reply) => reply(self.shard.sample(watch, most)),
                Mail::Unwatch(watch) => self.shard.unwatch(watch),
                Mail::TurnedAway(how) => self.shard.handle(now, Input::TurnedAway(how)),
                Mail::Times(reply) => reply(self.times),
                Mail::Expel { client_id, why, session: false } => {
                    self.shard.handle(now, Input::Kick { client_id, why });
                }
                Mail::Expel { client_id, why, session: true } => {
                    self.shard.handle(now, Input::EndSession { client_id, why });
                }
                Mail::Tap { client_id, tap } => {
                    self.taps.add(Listening::new(client_id, tap, &self.shard));
                }
                Mail::Drain => {
                    self.draining = true;
                    self.listeners.clear();
                    self.shard.handle(now, Input::Drain);
                }
                Mail::Stop => self.stopped = true,
            }
        }
    }

    // ---- sockets in ----------------------------------------------------------------------------------------------

    pub(crate) fn accept(&mut self, now: Time) {
        if self.accept_rests_until.is_some_and(|until| until > now) {
            return;
        }
        self.accept_rests_until = None;
        let begun = Instant::now();
        for at in 0..self.listeners.len() {
            for number in 1..=ACCEPTS_PER_TURN {
                if number % FEW == 0 && begun.elapsed() >= SLICE {
                    break; // the listener stays ready
                }
                let listener = &mut self.listeners[at];
                if !listener.ready {
                    break;
                }
                if self.connections_max > 0 && self.connections.len() >= self.connections_max {
                    if !std::mem::replace(&mut self.rest_reported, true) {
                        let limit = self.connections_max;
                        tracing::warn!(target: "net", limit, "connection limit reached: accepting pauses");
                    }
                    self.accept_rests_until = Some(now + ACCEPT_REST);
                    return;
                }
                match listener.socket.accept() {
                    Ok((socket, peer)) => {
                        self.rest_reported = false;
                        if !listener.wrap.proxy && !may_enter(&self.gate, &mut self.shard, peer.ip(), now) {
                            continue;
                        }
                        self.arrivals.count(now);
                        match Stream::accept(socket, peer, &listener.wrap) {
                            Ok(stream) => self.adopt(stream, &[], now),
                            Err(error) => tracing::warn!(target: "net", %peer, %error, "TLS could not begin"),
                        }
                    }
                    Err(error) => {
                        listener.ready = error.kind() == io::ErrorKind::Interrupted;
                        if !self.accept_failed(&error, at, now) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Returns whether to go on accepting.
    fn accept_failed(&mut self, error: &io::Error, at: usize, now: Time) -> bool {
        const EMFILE: i32 = 24;
        const ENFILE: i32 = 23;
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::WouldBlock, _) => false,
            (io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted, _) => {
                self.listeners[at].ready = true;
                true
            }
            (_, Some(EMFILE | ENFILE)) => {
                if !std::mem::replace(&mut self.rest_reported, true) {
                    tracing::warn!(
                        target: "net", connections = self.connections.len(),
                        "no file descriptor left: accepting pauses; raise the limit of open files (ulimit -n)"
                    );
                }
                self.listeners[at].ready = true;
                self.accept_rests_until = Some(now + ACCEPT_REST);
                false
            }
            _ => {
                if !std::mem::replace(&mut self.rest_reported, true) {
                    tracing::warn!(target: "net", %error, "accepting a connection failed");
                }
                self.listeners[at].ready = true;
                self.accept_rests_until = Some(now + ACCEPT_REST);
                false
            }
        }
    }

    /// Takes a connection in, new or from another shard.
    fn adopt(&mut self, stream: Stream, bytes: &[u8], now: Time) {
        let peer = peer_of(&stream);
        let id = self.connections.insert(stream);
        let slot = id.index as usize;
        let token = Token(CONNECTIONS + slot);
        let Some(connection) = self.connections.at(slot) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(connection.stream.source(), token, interest) {
            tracing::warn!(target: "net", %error, "a socket could not be watched");
            self.connections.remove(id);
            return;
        }
        self.shard.handle(now, Input::Opened { conn: id, peer });
        // One from another shard: its layers are settled already.
        let settled = connection.stream.is_encrypted() && connection.stream.is_settled();
        let user: Option<Box<str>> = connection.stream.user().map(Box::from);
        let inside = connection.stream.is_inside();
        if inside || user.is_some() {
            let peer = peer_of(&connection.stream);
            self.shard.handle(now, Input::Identified { conn: id, peer, user, inside });
        }
        if settled {
            // What certificates must be may have changed while it was under way from one shard to the other.
            self.to_check.push(slot);
        }
        if !bytes.is_empty() {
            handle_tapped(&mut self.shard, &mut self.taps, self.number, now, id, bytes);
        }
        // Whatever came before it was watched shows as an event.
    }

    fn read(&mut self, slot: usize, bytes: usize, now: Time) {
        let Some(connection) = self.connections.at(slot) else { return };
        connection.queued = false;
        if connection.paused && connection.ending == Ending::No {
            if connection.deaf {
                // Nothing it could take would change what the shard waits for.
                let id = connection.id;
                self.drop_connection(id, now);
            }
            return;
        }
        let (id, ending) = (connection.id, connection.ending);
        let (was_settled, awaited_origin) =
            (connection.stream.is_settled(), connection.stream.awaits_origin());
        let (shard, taps, number) = (&mut self.shard, &mut self.taps, self.number);
        let mut sink = |bytes: &[u8]| {
            if ending != Ending::No {
            } else if taps.is_empty() {
                shard.handle(now, Input::Bytes { conn: id, bytes });
            } else {
                handle_tapped(shard, taps, number, now, id, bytes);
            }
        };
        match connection.stream.read(&mut self.buffer[..bytes], &mut sink) {
            Ok(outcome) => {
                connection.readable = outcome.more;
                connection.inside = connection.inside || self.shard.is_connected(id);
                if awaited_origin && !connection.stream.awaits_origin() {
                    let origin = connection.stream.origin();
                    if !may_enter(&self.gate, &mut self.shard, origin, now) {
                        return self.drop_connection(id, now);
                    }
                }
                if !was_settled && connection.stream.is_settled() {
                    let peer = peer_of(&connection.stream);
                    let user = connection.stream.user().map(Box::from);
                    self.shard.handle(now, Input::Identified { conn: id, peer, user, inside: false });
                }
                if connection.stream.wants_write() {
                    let _ = connection.stream.flush_control(); // an error shows at the next read
                }
                if outcome.eof || (connection.deaf && !outcome.more) {
                    self.on_eof(id, now);
                } else if outcome.more || connection.hung_up {
                    // After a hang-up there is no other event: the end comes behind what was read now.
                    self.connections.mark_readable(slot);
                }
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    connection.stream.close(None);
                    let rule = broken_rule(&error);
                    self.shard.handle(now, Input::Broken { conn: id, rule });
                    self.connections.set_ending(id, Ending::Lingering, now);
                } else {
                    self.drop_connection(id, now);
                }
            }
        }
    }

    /// The peer sends nothing more. What is owed to it is sent if the socket takes it at once.
    fn on_eof(&mut self, id: ConnId, now: Time) {
        if self.connections.get(id).is_some_and(|connection| connection.ending == Ending::No) {
            self.carry_out(now);
            self.flush(id, now);
        }
        self.drop_connection(id, now);
    }

    fn drop_connection(&mut self, id: ConnId, now: Time) {
        self.exchanges.remove(&id);
        self.taps.forget(id);
        if let Some(connection) = self.connections.remove(id) {
            // Closing the descriptor takes it out of the poll as well.
            if connection.ending != Ending::Lingering {
                self.shard.handle(now, Input::Closed { conn: id });
            }
        }
    }

    // ---- sockets out ---------------------------------------------------------------------------------------------

    fn flush(&mut self, id: ConnId, now: Time) {
        for _ in 0..WRITES_PER_TURN {
            let Some(connection) = self.connections.get(id) else { return };
            if connection.blocked || connection.deaf {
                return;
            }
            let stream = &mut connection.stream;
            if stream.wants_write() && stream.flush_control().is_err() {
                break;
            }
            let mut copy = (!self.taps.is_empty()).then(Vec::new);
            let written = self.shard.transmit(now, id, |slices| {
                let taken = stream.write(slices)?;
                if let Some(copy) = &mut copy {
                    copy.extend(slices.iter().flat_map(|slice| slice.iter()).take(taken));
                }
                Ok::<_, io::Error>(taken)
            });
            if let Some(bytes) = copy.filter(|copy| !copy.is_empty()) {
                let left = self.shard.waiting_bytes(id) > 0;
                let (number, bytes) = (self.number, &bytes[..]);
                let moved =
                    Moved { number, conn: id, sent_by_client: false, bytes, whole: false, left, known: &[] };
                self.taps.give(&self.shard, moved);
            }
            match written {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.blocked = true;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if connection.ending == Ending::No && !connection.paused => {
                    (connection.deaf, connection.hung_up) = (true, true);
                    return self.connections.mark_readable(id.index as usize);
                }
                Err(_) => return self.drop_connection(id, now),
            }
        }
        self.after_flush(id, now);
    }

    /// Closes a connection that is to be closed once everything is sent, or comes back to one that has more.
    fn after_flush(&mut self, id: ConnId, now: Time) {
        let waiting = self.shard.waiting_bytes(id);
        let Some(connection) = self.connections.get(id) else { return };
        if waiting > 0 {
            self.shard.transmit_again(id);
        } else if connection.ending == Ending::Flushing && !connection.stream.wants_write() {
            connection.stream.close(None);
            self.shard.handle(now, Input::Closed { conn: id });
            self.connections.set_ending(id, Ending::Lingering, now);
            self.connections.mark_readable(id.index as usize);
        }
    }

    // ---- what the shard wants --------------------------------------------------------------------------------------

    fn carry_out(&mut self, now: Time) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Close { conn, farewell } => self.close(conn, farewell, now),
                Output::Move { conn, shard, bytes } => self.send_away(conn, shard, bytes),
                Output::Forward { shard, batch } => self.posts[usize::from(shard)].send(Mail::Batch(batch)),
                Output::Store { ticket, records } => {
                    self.storing.push_back((ticket, now));
                    self.store.append(ticket, records);
                    self.take_stored(now);
                }
                Output::Load(load) => {
                    self.store.load(load);
                    self.take_stored(now);
                }
                Output::Fetch(fetch) => {
                    self.store.fetch(fetch);
                    self.take_stored(now);
                }
                Output::Remember(rows) => self.shard.reuse(self.history.empty(rows)),
                Output::Replay(replay) => {
                    self.history.replay(replay);
                    self.take_replayed(now);
                }
                Output::Reading { conn, wanted } => self.set_reading(conn, wanted),
                Output::Authenticate { conn, credentials } => {
                    self.ask(conn, Question::Password { credentials });
                }
                Output::Exchange { conn, begin, data } => {
                    let exchange = self.exchanges.remove(&conn);
                    self.ask(conn, Question::Exchange { begin, exchange, data });
                }
                Output::Claim { conn, client_id } => self.claim(conn, &client_id, now),
                Output::Announce { filter, interested } => self.mesh.announce(&filter, interested),
                Output::Event(event) => {
                    self.note_end(&event, now);
                    log(&event);
                }
            }
        }
    }

    /// Takes up an earlier life of the broker.
    pub(crate) fn restore(&mut self, recovered: Recovered) {
        let now = self.now();
        self.shard.restore(now, recovered);
        // What the other shards have to say comes before anything else: until then nobody hears the store.
        self.restoring = true;
        self.carry_out(now);
        self.restoring = false;
    }

    /// Hands the store's answers to the shard.
    fn take_stored(&mut self, now: Time) {
        if self.restoring {
            return;
        }
        while let Some(answer) = self.store.poll() {
            let input = match answer {
                Answer::Stored { ticket, result } => {
                    // They are answered in order.
                    while self.storing.front().is_some_and(|(other, _)| other.0 <= ticket.0) {
                        let since = self.storing.pop_front().map_or(now, |(_, since)| since);
                        self.times.stored.record(micros(now.since(since)));
                    }
                    Input::Stored { ticket, result }
                }
                Answer::Loaded(loaded) => Input::Loaded(loaded),
                Answer::Fetched(fetched) => Input::Fetched(fetched),
                Answer::Full(full) => Input::Full(full),
                Answer::Stuck(stuck) => Input::Stuck(stuck),
            };
            self.shard.handle(now, input);
        }
    }

    /// Hands the history's answers to the shard.
    fn take_replayed(&mut self, now: Time) {
        while let Some(replayed) = self.history.poll() {
            self.shard.handle(now, Input::Replayed(replayed));
        }
    }

    /// Tells the gate how a connection ended.
    fn note_end(&mut self, event: &Event, now: Time) {
        let Event::Disconnected { peer, cause, lasted, .. } = event else { return };
        if self.gate.ended(peer, cause, *lasted, now) {
            self.shard.handle(now, Input::TurnedAway(TurnedAway::BanBegins));
        }
    }

    /// Asks the mesh; its answers are taken at once or in a later turn, whenever they come.
    fn claim(&mut self, conn: ConnId, client_id: &str, now: Time) {
        self.mesh.claim(u64::from(conn.index) << 32 | u64::from(conn.generation), client_id);
        self.take_claims(now);
    }

    fn take_claims(&mut self, now: Time) {
        while let Some((ticket, answer)) = self.mesh.poll_claim() {
            let [index, generation] = [ticket >> 32, ticket & u64::from(u32::MAX)];
            let (Ok(index), Ok(generation)) = (u32::try_from(index), u32::try_from(generation)) else {
                continue;
            };
            let claim = match answer {
                cork_mesh::Claim::Granted => Claim::Granted,
                cork_mesh::Claim::Elsewhere(node) => Claim::Elsewhere(node.into()),
                _ => Claim::Unavailable,
            };
            self.shard.handle(now, Input::Claimed { conn: ConnId { index, generation }, claim });
        }
    }

    /// Sends what waits and closes: with all care when the peer should hear why, at once when it said goodbye itself.
    fn close(&mut self, id: ConnId, farewell: bool, now: Time) {
        let Some(connection) = self.connections.get(id) else { return };
        // A WebSocket has a closing handshake of its own.
        if farewell || connection.stream.transport() == Transport::WebSocket {
            self.connections.set_ending(id, Ending::Flushing, now);
            self.flush(id, now);
        } else {
            self.flush(id, now);
            // TLS has a farewell too, but nobody waits for its answer.
            if let Some(connection) = self.connections.get(id).filter(|at| at.stream.is_encrypted()) {
                connection.stream.close(None);
            }
            self.drop_connection(id, now);
        }
    }

    fn ask(&mut self, conn: ConnId, question: Question) {
        let Some(connection) = self.connections.get(conn) else { return };
        let site = connection.stream.origin().map(Site::of);
        let asker = Arc::downgrade(connection.asking.get_or_insert_default());
        // An exchange may also belong to a client that is in already, and that no timeout ends.
        let password = matches!(question, Question::Password { .. });
        let wanted_until = password.then(|| Instant::now() + self.connect_timeout);
        let answer_to = self.posts[usize::from(self.number)].clone();
        let limited = site.is_some_and(|site| self.gate.holds_for(site));
        self.desk.ask(Job { conn, asker, site, limited, answer_to, question, wanted_until });
    }

    fn send_away(&mut self, conn: ConnId, shard: u16, bytes: Vec<u8>) {
        let Some(mut connection) = self.connections.remove(conn) else { return };
        if let Err(error) = self.poll.registry().deregister(connection.stream.source()) {
            tracing::warn!(target: "net", %error, "a socket could not be moved to its shard");
            return;
        }
        self.posts[usize::from(shard)].send(Mail::Adopt { stream: Box::new(connection.stream), bytes });
    }

    fn set_reading(&mut self, id: ConnId, wanted: bool) {
        let Some(connection) = self.connections.get(id) else { return };
        connection.paused = !wanted;
        if wanted && connection.readable {
            self.connections.mark_readable(id.index as usize);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Hands bytes to the shard, and a copy to who listens in: the shard may learn from them, or forget by them, whose they
/// are.
fn handle_tapped(shard: &mut Shard, taps: &mut Taps, number: u16, now: Time, conn: ConnId, bytes: &[u8]) {
    taps.notice(shard, conn);
    let (whole, known) = (shard.is_between_packets(conn), taps.known(shard, conn));
    shard.handle(now, Input::Bytes { conn, bytes });
    taps.notice(shard, conn);
    taps.give(shard, Moved { number, conn, sent_by_client: true, bytes, whole, left: false, known: &known });
}

/// Whether somebody may connect, as far as that depends on the address; who may not is counted.
fn may_enter(gate: &Gate, shard: &mut Shard, from: Option<IpAddr>, now: Time) -> bool {
    let why = match gate.enter(from, now) {
        Entry::Welcome => return true,
        Entry::TooOften => TurnedAway::Rate,
        Entry::Banned => TurnedAway::Banned,
    };
    shard.handle(now, Input::TurnedAway(why));
    false
}
