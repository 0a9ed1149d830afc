//! A broker without sockets, threads or clock.

use std::{
    collections::{BTreeMap, VecDeque},
    io::IoSlice,
    sync::Arc,
    time::Duration,
};

use cork_access::Acl;
use cork_core::{
    AuthOutcome, Batch, Claim, ConnId, Event, Health, Input, Output, Settings, Shard, ShardConfig, Users,
    share_out,
};
use cork_packet::matches;
use cork_proto::Time;
use cork_store::{Message, ModelStore, Record, Replay, ReplayFrom, Replayed, Ticket};

use crate::{
    received::{Ack, Published, Received, split},
    wire::{self, Version},
};

/// Things shards want one after another, at most; with more of them they never come to rest.
const OUTPUTS_MAX: usize = 1_000_000;

/// A client of the lab: which connection it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientIx(usize);

#[derive(Debug)]
struct Client {
    /// `None` once the broker, or the client, closed the connection.
    conn: Option<(usize, ConnId)>,
    version: Version,
    /// Bytes the broker sent and the test did not take yet.
    inbox: Vec<u8>,
    /// Bytes the client's socket takes before it is full; `usize::MAX`: it reads all the time.
    window: usize,
    closed_by_broker: bool,
    /// It is a part of the broker.
    inside: bool,
}

/// What the access port is asked in a lab.
type Authenticate = Box<dyn FnMut(&cork_access::CredentialsBuf) -> AuthOutcome>;
type Exchange = Box<dyn FnMut(Option<&str>, Option<&[u8]>) -> AuthOutcome>;

/// The broker and its clients.
pub struct Lab {
    shards: Vec<Shard>,
    now: Time,
    clients: Vec<Client>,
    /// By shard and connection.
    by_conn: BTreeMap<(usize, ConnId), usize>,
    next_index: Vec<u32>,
    mail: VecDeque<(usize, Batch)>,
    mail_paused: bool,
    /// What the store gave back and nobody has got yet.
    loaded: VecDeque<(usize, Input<'static>)>,
    loads_paused: bool,
    /// Batches of records, in order, with their shard.
    pub stored: Vec<(usize, Vec<Record>)>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// What was handed to the history, in order.
    pub history: Vec<Arc<Message>>,
    /// Messages in one page of it, at most.
    pub page_max: usize,
    replayed: VecDeque<(usize, Replayed)>,
    replays_paused: bool,
    store_paused: bool,
    unanswered: VecDeque<(usize, Ticket, Vec<Record>)>,
    /// What is stored.
    disk: ModelStore,
    config: ShardConfig,
    authenticate: Authenticate,
    exchange: Exchange,
    claim: Box<dyn FnMut(&str) -> Claim>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// One shard, default limits, everybody is let in, no `$SYS`.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with a changed configuration; `config.shards` says how many shards there are.
    #[must_use]
    pub fn with(change: impl FnOnce(&mut ShardConfig)) -> Self {
        let mut config = ShardConfig { seed: 42, ..ShardConfig::default() };
        config.started = cork_store::WallTime(1_700_000_000_000_000);
        config.limits.sys_interval = Duration::ZERO;
        change(&mut config);
        config.loads = true;
        let shards = (0..config.shards).map(|shard| Shard::new(ShardConfig { shard, ..config.clone() }));
        let shards: Vec<Shard> = shards.collect();
        Self {
            next_index: vec![0; shards.len()],
            shards,
            now: Time::from_micros(1),
            clients: Vec::new(),
            by_conn: BTreeMap::new(),
            mail: VecDeque::new(),
            mail_paused: false,
            loaded: VecDeque::new(),
            loads_paused: false,
            stored: Vec::new(),
            events: Vec::new(),
            history: Vec::new(),
            page_max: usize::MAX,
            replayed: VecDeque::new(),
            replays_paused: false,
            store_paused: false,
            unanswered: VecDeque::new(),
            disk: ModelStore::default(),
            config,
            authenticate: Box::new(|_| AuthOutcome::Denied { user: None }),
            exchange: Box::new(|_, _| AuthOutcome::UnknownMethod),
            claim: Box::new(|_| Claim::Granted),
        }
    }

    /// Who answers for user names and passwords (asked when `config.door` is not open).
    pub fn on_authenticate(
        &mut self,
        answer: impl FnMut(&cork_access::CredentialsBuf) -> AuthOutcome + 'static,
    ) {
        self.authenticate = Box::new(answer);
    }

    /// Who answers for enhanced authentication: gets the method at the first step, and the data.
    pub fn on_exchange(&mut self, answer: impl FnMut(Option<&str>, Option<&[u8]>) -> AuthOutcome + 'static) {
        self.exchange = Box::new(answer);
    }

    /// Who answers for the mesh (asked when `config.mesh` is set).
    pub fn on_claim(&mut self, answer: impl FnMut(&str) -> Claim + 'static) {
        self.claim = Box::new(answer);
    }

    /// New rights for everybody.
    pub fn set_rights(&mut self, rights: &Arc<Acl>) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Rights(Arc::clone(rights)));
        }
        self.settle();
    }

    /// The user database changed.
    pub fn set_users(&mut self, users: &Users) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Users(users.clone()));
        }
        self.settle();
    }

    /// New limits for everybody.
    pub fn set_settings(&mut self, settings: &Settings) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Settings(Box::new(settings.clone())));
        }
        self.settle();
    }

    /// The driver measured this.
    pub fn measured(&mut self, health: Health) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Health(health));
        }
        self.settle();
    }

    /// The store has no space for new messages, or has some again.
    pub fn store_is_full(&mut self, full: bool) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Full(full));
        }
        self.settle();
    }

    /// The same for anything at all.
    pub fn store_is_stuck(&mut self, stuck: bool) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Stuck(stuck));
        }
        self.settle();
    }

    /// The operator wants a client gone.
    pub fn expel(&mut self, client: ClientIx, why: &str) {
        if let Some((shard, conn)) = self.clients[client.0].conn {
            self.input(shard, Input::Expel { conn, why: why.into() });
            self.settle();
        }
    }

    /// Asks a shard.
    #[must_use]
    pub fn ask(&self, shard: usize, query: &cork_core::Query) -> cork_core::Answer {
        self.shards[shard].ask(query)
    }

    /// A page watches what is published on a shard; whether it may.
    pub fn watch(&mut self, shard: usize, watch: cork_core::Watch) -> bool {
        self.shards[shard].watch(watch)
    }

    /// What a page that watches is given.
    pub fn sample(&mut self, shard: usize, watch: u64, topics_max: usize) -> cork_core::Sample {
        self.shards[shard].sample(watch, topics_max)
    }

    /// A page watches no more.
    pub fn unwatch(&mut self, shard: usize, watch: u64) {
        self.shards[shard].unwatch(watch);
    }

    /// The operator wants the client of this name gone, with all that is kept for it if `session`.
    pub fn send_off(&mut self, client_id: &str, session: bool) {
        for shard in 0..self.shards.len() {
            let (client_id, why) = (client_id.into(), "because".into());
            self.input(
                shard,
                match session {
                    true => Input::EndSession { client_id, why },
                    false => Input::Kick { client_id, why },
                },
            );
        }
        self.settle();
    }

    /// From now on the store keeps its answers back; [`Lab::store_answers`] gives them.
    pub fn pause_store(&mut self) {
        self.store_paused = true;
    }

    /// The store answers everything it kept back and goes on answering at once.
    pub fn store_answers(&mut self) {
        self.store_paused = false;
        self.answer_stored();
        self.settle();
    }

    fn answer_stored(&mut self) {
        while let Some((shard, ticket, records)) = self.unanswered.pop_front() {
            records.iter().for_each(|record| self.disk.apply(record));
            self.input(shard, Input::Stored { ticket, result: Ok(()) });
        }
    }

    /// The broker dies and starts again `after` that time: all connections are gone, and all that was not stored.
    pub fn crash(&mut self, after: Duration) {
        let shards = self.config.shards;
        self.crash_to(after, shards);
    }

    /// The same, starting with another number of shards.
    pub fn crash_to(&mut self, after: Duration, shards: u16) {
        self.unanswered.clear();
        self.mail.clear();
        self.loaded.clear();
        self.replayed.clear();
        self.replays_paused = false;
        self.by_conn.clear();
        self.store_paused = false;
        for client in &mut self.clients {
            client.conn = None;
        }
        // The clock of a shard begins with its start; the wall clock goes on.
        let passed = self.now.since(Time::ZERO) + after;
        self.config.started.0 += u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        self.now = Time::from_micros(1);
        let mut recovered = self.disk.restart();
        let last = self.history.iter().map(|message| message.id().arrived.0).max();
        recovered.last_arrival = recovered.last_arrival.max(last.unwrap_or(0));
        self.config = ShardConfig {
            shards,
            epoch: recovered.epoch,
            last_arrival: recovered.last_arrival,
            ..self.config.clone()
        };
        self.next_index = vec![0; usize::from(shards)];
        self.shards.clear();
        for (number, part) in (0..).zip(share_out(recovered, shards, self.config.seed)) {
            let mut shard = Shard::new(ShardConfig { shard: number, ..self.config.clone() });
            shard.restore(self.now, part);
            self.shards.push(shard);
        }
        // What shards have for each other arrives before anything else is handled.
        self.mail_paused = false;
        self.loads_paused = true;
        self.settle();
        self.loads_arrive();
    }

    /// Sessions and retained messages that are stored.
    #[must_use]
    pub fn stored_sizes(&self) -> (usize, usize) {
        self.disk.sizes()
    }

    /// The store fails everything it kept back, and works again from then on.
    pub fn store_fails(&mut self) {
        self.store_paused = false;
        while let Some((shard, ticket, _)) = self.unanswered.pop_front() {
            let result = Err(cork_store::StoreError::Failed("the lab wants it so".to_owned()));
            self.input(shard, Input::Stored { ticket, result });
        }
        self.settle();
    }

    /// From now on what shards have for each other stays on its way; [`Lab::mail_arrives`] delivers it.
    pub fn pause_mail(&mut self) {
        self.mail_paused = true;
    }

    /// What was on its way between shards arrives, in order, and goes on arriving at once.
    pub fn mail_arrives(&mut self) {
        self.mail_paused = false;
        self.settle();
    }

    /// What is on its way to this shard arrives, in order; the rest, and what comes now, stays on its way.
    pub fn mail_arrives_at(&mut self, shard: usize) {
        let (here, rest) = std::mem::take(&mut self.mail).into_iter().partition(|(to, _)| *to == shard);
        self.mail = rest;
        let here: VecDeque<(usize, Batch)> = here;
        for (shard, batch) in here {
            self.input(shard, Input::Batch(batch));
        }
        self.settle();
    }

    /// From now on the store looks at once for what it is asked for, and answers late.
    pub fn pause_loads(&mut self) {
        self.loads_paused = true;
    }

    /// Those answers arrive.
    pub fn loads_arrive(&mut self) {
        self.loads_paused = false;
        self.give_loaded();
        self.settle();
    }

    fn give_loaded(&mut self) {
        while let Some((shard, loaded)) = self.loaded.pop_front() {
            self.input(shard, loaded);
        }
    }

    /// Opens a connection on the first shard and sends nothing.
    pub fn open(&mut self, version: Version) -> ClientIx {
        let client = self.clients.len();
        self.clients.push(Client {
            conn: None,
            version,
            inbox: Vec::new(),
            window: usize::MAX,
            closed_by_broker: false,
            inside: false,
        });
        self.adopt(0, client, &[]);
        self.settle();
        ClientIx(client)
    }

    /// The same for a part of the broker (a bridge, a sink): see [`Input::Identified`].
    pub fn open_inside(&mut self, version: Version) -> ClientIx {
        let client = self.open(version);
        self.clients[client.0].inside = true;
        self.identify(client.0);
        client
    }

    fn identify(&mut self, client: usize) {
        if let Some((shard, conn)) = self.clients[client].conn.filter(|_| self.clients[client].inside) {
            self.input(shard, Input::Identified { conn, peer: "inside".into(), user: None, inside: true });
        }
    }

    /// Opens a connection and connects with a clean session and Keep Alive 0; drops the CONNACK.
    pub fn connect(&mut self, version: Version, client_id: &str) -> ClientIx {
        self.connect_with(version, &wire::Connect::new(version, client_id))
    }

    /// Opens a connection and connects as told; drops the CONNACK (and whatever comes right after it stays).
    pub fn connect_with(&mut self, version: Version, connect: &wire::Connect) -> ClientIx {
        let client = self.open(version);
        self.send(client, &connect.bytes());
        self.take_one(client);
        client
    }

    /// Connects with a Session that is kept; says whether it was present.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn come_back(&mut self, version: Version, client_id: &str) -> (ClientIx, bool) {
        let client = self.open(version);
        self.send(client, &wire::Connect::persistent(version, client_id).bytes());
        match self.take_one(client) {
            Some(Received::ConnAck { flags, code: 0, .. }) => (client, flags == 1),
            other => panic!("{other:?}"),
        }
    }

    /// Sends bytes from a client, as one read of the broker.
    pub fn send(&mut self, client: ClientIx, bytes: &[u8]) {
        if let Some((shard, conn)) = self.clients[client.0].conn {
            self.input(shard, Input::Bytes { conn, bytes });
            self.settle();
        }
    }

    /// The client's connection breaks without DISCONNECT.
    pub fn cut(&mut self, client: ClientIx) {
        if let Some((shard, conn)) = self.clients[client.0].conn.take() {
            self.by_conn.remove(&(shard, conn));
            self.input(shard, Input::Closed { conn });
            self.settle();
        }
    }

    /// The client's socket takes no more than `bytes` until it is told to take more.
    pub fn set_window(&mut self, client: ClientIx, bytes: usize) {
        self.clients[client.0].window = bytes;
        if let Some((shard, conn)) = self.clients[client.0].conn {
            self.shards[shard].transmit_again(conn);
        }
        self.settle();
    }

    /// Time goes on; timeouts fire on the way, each at its moment.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let next = (0..self.shards.len())
                .filter_map(|shard| Some((self.shards[shard].next_timeout()?, shard)))
                .min()
                .filter(|(when, _)| *when <= end);
            let Some((when, shard)) = next else { break };
            self.now = self.now.max(when);
            self.input(shard, Input::Timeout);
            self.settle();
        }
        self.now = end;
    }

    /// The operator ends the broker.
    pub fn drain(&mut self) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Drain);
        }
        self.settle();
    }

    /// Whether the broker closed the client's connection.
    #[must_use]
    pub fn is_closed(&self, client: ClientIx) -> bool {
        self.clients[client.0].closed_by_broker
    }

    /// All bytes the broker sent to the client since they were last taken.
    pub fn bytes(&mut self, client: ClientIx) -> Vec<u8> {
        std::mem::take(&mut self.clients[client.0].inbox)
    }

    /// The same, as packets.
    pub fn packets(&mut self, client: ClientIx) -> Vec<Received> {
        let bytes = self.bytes(client);
        split(self.clients[client.0].version, &bytes)
    }

    /// The same, each with its length on the wire.
    pub fn sized_packets(&mut self, client: ClientIx) -> Vec<(usize, Received)> {
        let (version, bytes) = (self.clients[client.0].version, self.bytes(client));
        let (mut rest, mut packets) = (bytes.as_slice(), Vec::new());
        while let Some(length) = wire::packet_length(rest) {
            let (packet, after) = rest.split_at(length);
            packets.extend(split(version, packet).into_iter().map(|packet| (length, packet)));
            rest = after;
        }
        packets
    }

    /// The same, PUBLISH packets only; the others are dropped.
    pub fn publishes(&mut self, client: ClientIx) -> Vec<Published> {
        self.packets(client).into_iter().filter_map(Received::into_publish).collect()
    }

    /// The same, acknowledgements only (PUBACK, PUBREC, PUBREL, PUBCOMP); the others are dropped.
    pub fn acks(&mut self, client: ClientIx) -> Vec<Ack> {
        self.packets(client).into_iter().filter_map(Received::into_ack).collect()
    }

    /// The payloads of the PUBLISH packets; everything else is dropped.
    pub fn payloads(&mut self, client: ClientIx) -> Vec<Vec<u8>> {
        self.publishes(client).into_iter().map(|publish| publish.payload).collect()
    }

    /// The first packet, if one came.
    pub fn take_one(&mut self, client: ClientIx) -> Option<Received> {
        let inbox = &mut self.clients[client.0].inbox;
        let length = wire::packet_length(inbox)?;
        let packet: Vec<u8> = inbox.drain(..length).collect();
        split(self.clients[client.0].version, &packet).into_iter().next()
    }

    /// The counters of a shard.
    #[must_use]
    pub fn stats(&self, shard: usize) -> cork_core::Stats {
        self.shards[shard].stats()
    }

    fn input(&mut self, shard: usize, input: Input<'_>) {
        self.shards[shard].handle(self.now, input);
    }

    fn adopt(&mut self, shard: usize, client: usize, bytes: &[u8]) {
        let index = self.next_index[shard];
        self.next_index[shard] += 1;
        let conn = ConnId { index, generation: 0 };
        self.clients[client].conn = Some((shard, conn));
        self.by_conn.insert((shard, conn), client);
        self.input(shard, Input::Opened { conn, peer: format!("lab:{client}").into() });
        self.identify(client);
        if !bytes.is_empty() {
            self.input(shard, Input::Bytes { conn, bytes });
        }
    }

    /// Carries out everything the shards want, until they want nothing more.
    ///
    /// # Panics
    /// If there is no end to that.
    fn settle(&mut self) {
        let mut outputs = 0;
        loop {
            let mut quiet = true;
            for shard in 0..self.shards.len() {
                while let Some(output) = self.shards[shard].poll_output() {
                    quiet = false;
                    outputs += 1;
                    assert!(outputs < OUTPUTS_MAX, "it does not come to rest");
                    self.carry_out(shard, output);
                }
                while let Some(conn) = self.shards[shard].poll_transmit() {
                    quiet &= !self.transmit(shard, conn);
                }
            }
            while !self.mail_paused {
                let Some((shard, batch)) = self.mail.pop_front() else { break };
                quiet = false;
                self.input(shard, Input::Batch(batch));
            }
            if quiet {
                return;
            }
        }
    }

    /// A page of what was handed over so far.
    fn page(&self, replay: &Replay) -> Replayed {
        let wanted = |message: &&Arc<Message>| {
            let topic = message.topic();
            replay.counts(message.id()) && matches(&replay.filter, topic) && replay.may_read.allows(topic)
        };
        let mut all: Vec<Arc<Message>> = self.history.iter().filter(wanted).cloned().collect();
        all.sort_by_key(|message| message.id());
        all.dedup_by_key(|message| message.id()); // as the real one
        match replay.from {
            ReplayFrom::Last(count) => drop(all.drain(..all.len().saturating_sub(count as usize))),
            ReplayFrom::Since(at) => all.retain(|message| message.id().arrived >= at),
            ReplayFrom::After(id) => all.retain(|message| message.id() > id),
        }
        let most = (replay.messages_max as usize).min(self.page_max);
        let next = (all.len() > most).then(|| all[most - 1].id());
        all.truncate(most);
        Replayed { token: replay.token, messages: all, next }
    }

    fn give_replayed(&mut self) {
        while let Some((shard, replayed)) = self.replayed.pop_front() {
            self.input(shard, Input::Replayed(replayed));
        }
    }

    /// From now on pages of the history stay under way.
    pub fn pause_replays(&mut self) {
        self.replays_paused = true;
    }

    /// Those that are under way arrive; so do later ones.
    pub fn replays_arrive(&mut self) {
        self.replays_paused = false;
        self.give_replayed();
        self.settle();
    }

    fn carry_out(&mut self, shard: usize, output: Output) {
        match output {
            Output::Close { conn, .. } => {
                while self.transmit(shard, conn) {}
                if let Some(client) = self.by_conn.remove(&(shard, conn)) {
                    self.clients[client].conn = None;
                    self.clients[client].closed_by_broker = true;
                }
                self.input(shard, Input::Closed { conn });
            }
            Output::Move { conn, shard: to, bytes } => {
                if let Some(client) = self.by_conn.remove(&(shard, conn)) {
                    self.adopt(usize::from(to), client, &bytes);
                }
            }
            Output::Forward { shard: to, batch } => self.mail.push_back((usize::from(to), batch)),
            Output::Store { ticket, records } => {
                self.stored.push((shard, records.clone()));
                self.unanswered.push_back((shard, ticket, records));
                if !self.store_paused {
                    self.answer_stored();
                }
            }
            Output::Load(load) => {
                let loaded = self.disk.load(&load);
                self.loaded.push_back((shard, Input::Loaded(loaded)));
                if !self.loads_paused {
                    self.give_loaded();
                }
            }
            Output::Fetch(fetch) => {
                let fetched = self.disk.fetch(&fetch);
                self.loaded.push_back((shard, Input::Fetched(fetched)));
                if !self.loads_paused {
                    self.give_loaded();
                }
            }
            Output::Authenticate { conn, credentials } => {
                let outcome = (self.authenticate)(&credentials);
                self.input(shard, Input::Authenticated { conn, outcome });
            }
            Output::Exchange { conn, begin, data } => {
                let outcome = (self.exchange)(begin.as_ref().map(|(method, _)| &**method), data.as_deref());
                self.input(shard, Input::Authenticated { conn, outcome });
            }
            Output::Claim { conn, client_id } => {
                let claim = (self.claim)(&client_id);
                self.input(shard, Input::Claimed { conn, claim });
            }
            Output::Remember(rows) => self.history.extend(rows.messages().map(Arc::new)),
            Output::Replay(replay) => {
                let replayed = self.page(&replay);
                self.replayed.push_back((shard, replayed));
                if !self.replays_paused {
                    self.give_replayed();
                }
            }
            Output::Event(event) => self.events.push(event),
            Output::Reading { .. } | Output::Announce { .. } => {}
        }
    }

    /// Moves bytes from the broker to a client; false when nothing moved.
    fn transmit(&mut self, shard: usize, conn: ConnId) -> bool {
        let Some(client) = self.by_conn.get(&(shard, conn)).map(|client| &mut self.clients[*client]) else {
            return false;
        };
        let mut moved = 0;
        let left = self.shards[shard].transmit(self.now, conn, |slices: &[IoSlice<'_>]| {
            for slice in slices {
                let room = client.window.min(slice.len());
                client.inbox.extend_from_slice(&slice[..room]);
                if client.window != usize::MAX {
                    client.window -= room;
                }
                moved += room;
            }
            Ok::<usize, ()>(moved)
        });
        if moved > 0 && left.is_ok_and(|left| left > 0) {
            self.shards[shard].transmit_again(conn);
        }
        moved > 0
    }
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lab({} shards, {} clients, at {})", self.shards.len(), self.clients.len(), self.now)
    }
}
