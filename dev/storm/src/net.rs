//! The broker's shards and everything between them and the clients: connections, the store, the access port, the mail
//! between shards. Whoever uses it says what happens next; nothing happens by itself.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::IoSlice,
};

use cork_core::{
    AuthOutcome, Batch, ConnId, Ended, Event, Health, Input, Output, Peer, Pressure, Stats, share_out,
};
use cork_proto::Time;
use cork_store::{Answer, Record, Recovered, SessionKey};

use crate::{
    disk::OnDisk,
    link::{Greeting, Link, LinkIx, take_front},
    node::Node,
    options::{Options, StoreKind},
    past::Past,
    plant::Saboteur,
    rng::Rng,
    store::{Death, Engine, Keeper},
};

/// Something the broker said of a connection, at the moment it happened.
#[derive(Debug)]
pub(crate) enum Notice {
    Connected {
        link: LinkIx,
        session_present: bool,
    },
    Ended {
        link: LinkIx,
        cause: Ended,
    },
    QueueFull,
    /// The disk did not give back a message.
    Damaged,
    /// The store was told of a Session it did not know.
    Recorded {
        client_id: Box<str>,
        key: SessionKey,
    },
}

pub(crate) struct Net {
    nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    by_conn: BTreeMap<(usize, ConnId), LinkIx>,
    /// By sender and receiver, in order.
    mail: BTreeMap<(usize, usize), VecDeque<Batch>>,
    asked: Vec<(usize, ConnId)>,
    pub(crate) notices: VecDeque<(Time, Notice)>,
    pub(crate) keeper: Keeper,
    pub(crate) past: Past,
    /// Sessions the store was told of.
    known: BTreeSet<SessionKey>,
    /// Hash of everything that went over any connection, in order.
    pub(crate) trace: u64,
}

impl Net {
    pub(crate) fn new(options: &Options) -> Self {
        let started = Time::from_micros(1);
        let config = |number| options.config(number, started, &Recovered::default());
        let node = |number| Node::new(config(number), started, None);
        let engine = match options.engine {
            StoreKind::Volatile => Engine::Volatile,
            StoreKind::Model => Engine::Model(Box::default()),
            StoreKind::Log => Engine::Log(Box::new(OnDisk::new(options.seed, options.plant))),
        };
        let saboteur = Saboteur::new(options.plant, options.seed);
        Self {
            nodes: (0..options.shards).map(node).collect(),
            links: Vec::new(),
            by_conn: BTreeMap::new(),
            mail: BTreeMap::new(),
            asked: Vec::new(),
            notices: VecDeque::new(),
            keeper: Keeper::new(engine, options.shards, saboteur),
            past: Past::new(options.plant),
            known: BTreeSet::new(),
            trace: 0xCBF2_9CE4_8422_2325,
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.nodes.iter().for_each(|node| sum.add(&node.stats()));
        sum
    }

    /// All clients are one user's: no shard lets more wait for them than `most` bytes, except for what waited before.
    pub(crate) fn users_within(&mut self, most: u64) -> Result<(), String> {
        if most == 0 {
            return Ok(());
        }
        for (shard, node) in self.nodes.iter_mut().enumerate() {
            let queued = node.stats().queued_bytes;
            if queued > most.max(node.queued) {
                return Err(format!("{queued} bytes wait on shard {shard} where {most} may for one user"));
            }
            node.queued = queued;
        }
        Ok(())
    }

    /// All shards hear how short memory is.
    pub(crate) fn press(&mut self, now: Time, pressure: Pressure) {
        for node in &mut self.nodes {
            node.handle(now, Input::Health(Health { pressure, ..Health::default() }));
        }
    }

    /// When a shard's timers were last looked at before the present moment: within it the order is not known.
    pub(crate) fn fired(&self, now: Time, shard: usize) -> Time {
        let [last, before] = self.nodes[shard].fired;
        if last < now { last } else { before }
    }

    pub(crate) fn next_timeout(&self, shard: usize) -> Option<Time> {
        self.nodes[shard].next_timeout()
    }

    /// A client connects, to some shard.
    pub(crate) fn open(&mut self, now: Time, client: usize, shard: usize, greeting: Greeting) -> LinkIx {
        let link = self.links.len();
        self.links.push(Link::new(client, greeting, now));
        self.adopt(now, link, shard, &[]);
        link
    }

    fn adopt(&mut self, now: Time, link: LinkIx, shard: usize, bytes: &[u8]) {
        let node = &mut self.nodes[shard];
        let index = node.free.pop().unwrap_or_else(|| {
            node.generations.push(0);
            u32::try_from(node.generations.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = node.generations[index as usize];
        let conn = ConnId { index, generation };
        self.links[link].at = Some((shard, conn));
        self.links[link].ready = false;
        self.links[link].reading = true;
        self.by_conn.insert((shard, conn), link);
        node.handle(now, Input::Opened { conn, peer: format!("{link}").into() });
        if !bytes.is_empty() {
            node.fed.push(link);
            node.handle(now, Input::Bytes { conn, bytes });
        }
    }

    /// Drains a shard before a connection it was fed from is touched again: it may have to move.
    fn settle_link(&mut self, now: Time, link: LinkIx) {
        while let Some((shard, _)) = self.links[link].at {
            if !self.nodes[shard].fed.contains(&link) {
                return;
            }
            self.drain(now, shard);
        }
    }

    /// Up to `most` bytes of a client reach the broker. Returns how many.
    pub(crate) fn feed(&mut self, now: Time, link: LinkIx, most: usize) -> usize {
        self.settle_link(now, link);
        let Some((shard, conn)) = self.links[link].at else { return 0 };
        let entry = &mut self.links[link];
        if !entry.reading {
            return 0;
        }
        let many = most.min(entry.up.len());
        if many == 0 {
            if entry.fin {
                self.close(now, link);
            }
            return 0;
        }
        let bytes = take_front(&mut entry.up, many);
        self.note(now, link, &bytes);
        self.nodes[shard].fed.push(link);
        self.nodes[shard].handle(now, Input::Bytes { conn, bytes: &bytes });
        many
    }

    /// Up to `most` bytes of the broker reach a client's socket. Returns how many.
    pub(crate) fn transmit(&mut self, now: Time, link: LinkIx, most: usize) -> usize {
        self.settle_link(now, link);
        let Some((shard, conn)) = self.links[link].at else { return 0 };
        if !self.links[link].ready || most == 0 {
            return 0;
        }
        let mut bytes = Vec::new();
        self.nodes[shard].touched = true;
        let left = self.nodes[shard].transmit(now, conn, |slices: &[IoSlice<'_>]| {
            for slice in slices {
                bytes.extend_from_slice(&slice[..slice.len().min(most - bytes.len())]);
            }
            Ok::<usize, ()>(bytes.len())
        });
        self.links[link].ready = left.is_ok_and(|left| left > 0);
        self.note(now, link, &bytes);
        self.links[link].down.extend(&bytes);
        bytes.len()
    }

    /// The network breaks: what was under way is lost.
    pub(crate) fn cut(&mut self, now: Time, link: LinkIx) {
        self.links[link].cut = true;
        self.links[link].down.clear();
        self.close(now, link);
    }

    fn close(&mut self, now: Time, link: LinkIx) {
        self.settle_link(now, link);
        if let Some((shard, conn)) = self.links[link].at.take() {
            self.release(shard, conn);
            self.nodes[shard].handle(now, Input::Closed { conn });
            self.drain(now, shard);
        }
        self.links[link].up.clear();
        self.links[link].over.get_or_insert(now);
    }

    fn release(&mut self, shard: usize, conn: ConnId) {
        self.by_conn.remove(&(shard, conn));
        let node = &mut self.nodes[shard];
        node.generations[conn.index as usize] += 1;
        node.free.push(conn.index);
    }

    /// The store says something to a shard.
    pub(crate) fn answer_store(&mut self, now: Time, shard: usize, rng: &mut Rng) -> bool {
        let Some(answer) = self.keeper.answer(shard, rng) else { return false };
        let input = match answer {
            Answer::Stored { ticket, result } => Input::Stored { ticket, result },
            Answer::Loaded(loaded) => Input::Loaded(loaded),
            Answer::Fetched(fetched) => Input::Fetched(fetched),
            Answer::Full(full) => Input::Full(full),
            Answer::Stuck(stuck) => Input::Stuck(stuck),
        };
        self.nodes[shard].handle(now, input);
        true
    }

    /// The access port answers one question: everybody is who he says.
    pub(crate) fn answer_access(&mut self, now: Time, which: usize) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        let (shard, conn) = self.asked.remove(which % self.asked.len());
        let outcome = AuthOutcome::Allowed { user: None, data: None };
        self.nodes[shard].handle(now, Input::Authenticated { conn, outcome });
        true
    }

    /// One question for the past is answered.
    pub(crate) fn answer_past(&mut self, now: Time, which: usize) -> bool {
        let Some((shard, replayed)) = self.past.answer(which) else { return false };
        self.nodes[shard].handle(now, Input::Replayed(replayed));
        true
    }

    /// Pairs of shards with mail under way.
    pub(crate) fn posts(&self) -> Vec<(usize, usize)> {
        self.mail.iter().filter(|(_, batches)| !batches.is_empty()).map(|(pair, _)| *pair).collect()
    }

    /// The oldest batch between two shards arrives.
    pub(crate) fn deliver_mail(&mut self, now: Time, pair: (usize, usize)) {
        if let Some(batch) = self.mail.get_mut(&pair).and_then(VecDeque::pop_front) {
            self.nodes[pair.1].deliver(now, batch);
        }
    }

    /// A shard looks at its timers, if one is due.
    pub(crate) fn fire(&mut self, now: Time, shard: usize) -> bool {
        let node = &mut self.nodes[shard];
        if node.next_timeout().is_none_or(|when| when > now) {
            return false;
        }
        if now > node.fired[0] {
            node.fired = [now, node.fired[0]];
        }
        node.handle(now, Input::Timeout);
        true
    }

    /// Whether store, access port and mail have nothing to do, and no shard has a due timer.
    pub(crate) fn is_idle(&self, now: Time) -> bool {
        self.asked.is_empty()
            && self.posts().is_empty()
            && self.keeper.is_idle()
            && self.past.is_idle()
            && self.nodes.iter().all(|node| node.next_timeout().is_none_or(|when| when > now))
    }

    /// Drains all shards; twice, as a connection may move to one that was drained already.
    pub(crate) fn drain_all(&mut self, now: Time) {
        for shard in (0..self.nodes.len()).chain(0..self.nodes.len()) {
            if self.nodes[shard].touched {
                self.drain(now, shard);
            }
        }
    }

    /// Carries out what a shard wants.
    pub(crate) fn drain(&mut self, now: Time, shard: usize) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.nodes[shard].poll_output() {
                quiet = false;
                self.carry_out(now, shard, output);
            }
            while let Some(conn) = self.nodes[shard].poll_transmit() {
                if let Some(link) = self.by_conn.get(&(shard, conn)) {
                    self.links[*link].ready = true;
                }
            }
            if quiet {
                break;
            }
        }
        self.nodes[shard].fed.clear();
        self.nodes[shard].touched = false;
    }

    fn carry_out(&mut self, now: Time, shard: usize, output: Output) {
        match output {
            Output::Close { conn, .. } => {
                if let Some(&link) = self.by_conn.get(&(shard, conn)) {
                    self.last_words(now, shard, link);
                    self.links[link].at = None;
                    self.links[link].over = Some(now);
                    self.links[link].up.clear();
                    self.release(shard, conn);
                }
                self.nodes[shard].handle(now, Input::Closed { conn });
            }
            Output::Move { conn, shard: to, bytes } => {
                if let Some(&link) = self.by_conn.get(&(shard, conn)) {
                    self.release(shard, conn);
                    self.adopt(now, link, usize::from(to), &bytes);
                }
            }
            Output::Forward { shard: to, batch } => {
                let batch = self.keeper.mail(batch);
                self.mail.entry((shard, usize::from(to))).or_default().push_back(batch);
            }
            Output::Store { ticket, records } => {
                self.note_sessions(now, &records);
                self.keeper.append(shard, ticket, records);
            }
            Output::Load(load) => self.keeper.load(shard, load),
            Output::Fetch(fetch) => self.keeper.fetch(shard, fetch),
            Output::Authenticate { conn, .. } | Output::Exchange { conn, .. } => {
                self.asked.push((shard, conn));
            }
            Output::Reading { conn, wanted } => {
                if let Some(&link) = self.by_conn.get(&(shard, conn)) {
                    self.links[link].reading = wanted;
                }
            }
            Output::Event(event) => self.on_event(now, event),
            Output::Remember(rows) => self.past.take(&rows),
            Output::Replay(asked) => self.past.ask(shard, asked),
            Output::Announce { .. } | Output::Claim { .. } => {}
        }
    }

    /// Tells of Sessions that are written down for the first time.
    fn note_sessions(&mut self, now: Time, records: &[Record]) {
        for record in records {
            let (key, client_id) = match record {
                // One that ends with its connection is only there because its queue is long.
                Record::Session { session, state }
                    if state.expiry_seconds != 0 || self.known.contains(session) =>
                {
                    (*session, &*state.client_id)
                }
                Record::WillArmed { session, will } => (*session, &*will.message.publisher.client_id),
                _ => continue,
            };
            // A Will that is being published has a number of its own.
            let again = matches!(record, Record::WillArmed { will, .. } if will.delay_seconds == u32::MAX);
            if self.known.insert(key) && !again {
                self.notices.push_back((now, Notice::Recorded { client_id: client_id.into(), key }));
            }
        }
    }

    /// The broker dies: connections, mail and everything in memory are gone. What clients have in their sockets they
    /// can still read, or a part of it.
    pub(crate) fn crash(&mut self, now: Time, death: Death, rng: &mut Rng) {
        self.keeper.crash(death, rng);
        for link in self.links.iter_mut().filter(|link| link.at.is_some()) {
            link.at = None;
            link.over = Some(now);
            link.crashed = true;
            link.up.clear();
            if rng.chance(30) {
                let kept = rng.below(link.down.len() + 1);
                link.down.truncate(kept);
            }
        }
        self.by_conn.clear();
        self.mail.clear();
        self.asked.clear();
        self.past.crash();
        self.nodes.clear();
    }

    /// The broker starts again with what the store gives back.
    pub(crate) fn restart(&mut self, now: Time, options: &Options, mut recovered: Recovered) {
        recovered.last_arrival = recovered.last_arrival.max(self.past.last_arrival());
        // A start of which nothing got to the disk may have used this epoch, too.
        self.known.retain(|key| key.0 >> 40 < u64::from(recovered.epoch));
        let config = |number| options.config(number, now, &recovered);
        let configs: Vec<_> = (0..options.shards).map(config).collect();
        let parts = share_out(recovered, options.shards, options.seed);
        let nodes = configs.into_iter().zip(parts);
        self.nodes = nodes.map(|(config, part)| Node::new(config, now, Some(part))).collect();
    }

    /// What waits for a connection that closes goes out as far as its socket takes it.
    fn last_words(&mut self, now: Time, shard: usize, link: LinkIx) {
        while let Some(conn) = self.nodes[shard].poll_transmit() {
            if let Some(link) = self.by_conn.get(&(shard, conn)) {
                self.links[*link].ready = true;
            }
        }
        // Not through `transmit`: the connection is being settled right now.
        let Some((_, conn)) = self.links[link].at else { return };
        let mut bytes = Vec::new();
        let taken = self.nodes[shard].transmit(now, conn, |slices: &[IoSlice<'_>]| {
            slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
            Ok::<usize, ()>(bytes.len())
        });
        if taken.is_ok() && !self.links[link].abandoned {
            self.note(now, link, &bytes);
            self.links[link].down.extend(&bytes);
        }
    }

    fn on_event(&mut self, now: Time, event: Event) {
        let link_of = |peer: &Peer| peer.to_string().parse::<LinkIx>().unwrap_or(LinkIx::MAX);
        let notice = match event {
            Event::Connected { peer, session_present, .. } => {
                Notice::Connected { link: link_of(&peer), session_present }
            }
            Event::Disconnected { peer, cause, .. } => Notice::Ended { link: link_of(&peer), cause },
            Event::QueueFull { .. } | Event::UserQueueFull { .. } => Notice::QueueFull,
            Event::DeliveryDamaged { .. } => Notice::Damaged,
            _ => return,
        };
        self.notices.push_back((now, notice));
    }

    /// Adds bytes to the trace.
    fn note(&mut self, now: Time, link: LinkIx, bytes: &[u8]) {
        let mut hash = self.trace ^ now.as_micros() ^ ((link as u64) << 48);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
        }
        self.trace = hash.wrapping_mul(0x0100_0000_01B3);
    }
}
