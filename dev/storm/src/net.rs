//! The broker's shards and everything between them and the clients: connections, the store, the access port, the mail
//! between shards. Whoever uses it says what happens next; nothing happens by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    io::IoSlice,
};

use cork_core::{AuthOutcome, Batch, ConnId, Ended, Event, Input, Output, Shard, Stats};
use cork_proto::Time;
use cork_store::Ticket;

use crate::{
    link::{Greeting, Link, LinkIx, take_front},
    options::Options,
};

/// Something the broker said of a connection, at the moment it happened.
#[derive(Debug)]
pub(crate) enum Notice {
    Connected { link: LinkIx, session_present: bool },
    Ended { link: LinkIx, cause: Ended },
    QueueFull,
}

/// One shard with what it waits for.
struct Node {
    shard: Shard,
    /// Uses of each connection slot, and which are free.
    generations: Vec<u32>,
    free: Vec<u32>,
    tickets: VecDeque<Ticket>,
    /// Connections that were fed since outputs were drained: they may have to move.
    fed: Vec<LinkIx>,
    /// Something happened since outputs were drained.
    touched: bool,
    /// When timers were last looked at, and the time before that.
    fired: [Time; 2],
}

pub(crate) struct Net {
    nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    by_conn: BTreeMap<(usize, ConnId), LinkIx>,
    /// By sender and receiver, in order.
    mail: BTreeMap<(usize, usize), VecDeque<Batch>>,
    asked: Vec<(usize, ConnId)>,
    pub(crate) notices: VecDeque<(Time, Notice)>,
    /// Hash of everything that went over any connection, in order.
    pub(crate) trace: u64,
}

impl Node {
    fn handle(&mut self, now: Time, input: Input<'_>) {
        self.touched = true;
        self.shard.handle(now, input);
    }
}

impl Net {
    pub(crate) fn new(options: &Options) -> Self {
        let node = |number| Node {
            shard: Shard::new(options.config(number)),
            generations: Vec::new(),
            free: Vec::new(),
            tickets: VecDeque::new(),
            fed: Vec::new(),
            touched: false,
            fired: [Time::ZERO; 2],
        };
        Self {
            nodes: (0..options.shards).map(node).collect(),
            links: Vec::new(),
            by_conn: BTreeMap::new(),
            mail: BTreeMap::new(),
            asked: Vec::new(),
            notices: VecDeque::new(),
            trace: 0xCBF2_9CE4_8422_2325,
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.nodes.iter().for_each(|node| sum.add(&node.shard.stats()));
        sum
    }

    /// When a shard's timers were last looked at before the present moment: within it the order is not known.
    pub(crate) fn fired(&self, now: Time, shard: usize) -> Time {
        let [last, before] = self.nodes[shard].fired;
        if last < now { last } else { before }
    }

    pub(crate) fn next_timeout(&self, shard: usize) -> Option<Time> {
        self.nodes[shard].shard.next_timeout()
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
        let left = self.nodes[shard].shard.transmit(now, conn, |slices: &[IoSlice<'_>]| {
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

    /// The store says that a shard's oldest batch is kept.
    pub(crate) fn answer_store(&mut self, now: Time, shard: usize) -> bool {
        let node = &mut self.nodes[shard];
        let Some(ticket) = node.tickets.pop_front() else { return false };
        node.handle(now, Input::Stored { ticket, result: Ok(()) });
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

    /// Pairs of shards with mail under way.
    pub(crate) fn posts(&self) -> Vec<(usize, usize)> {
        self.mail.iter().filter(|(_, batches)| !batches.is_empty()).map(|(pair, _)| *pair).collect()
    }

    /// The oldest batch between two shards arrives.
    pub(crate) fn deliver_mail(&mut self, now: Time, pair: (usize, usize)) {
        if let Some(batch) = self.mail.get_mut(&pair).and_then(VecDeque::pop_front) {
            self.nodes[pair.1].handle(now, Input::Batch(batch));
        }
    }

    /// A shard looks at its timers, if one is due.
    pub(crate) fn fire(&mut self, now: Time, shard: usize) -> bool {
        let node = &mut self.nodes[shard];
        if node.shard.next_timeout().is_none_or(|when| when > now) {
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
            && self.nodes.iter().all(|node| {
                node.tickets.is_empty() && node.shard.next_timeout().is_none_or(|when| when > now)
            })
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
            while let Some(output) = self.nodes[shard].shard.poll_output() {
                quiet = false;
                self.carry_out(now, shard, output);
            }
            while let Some(conn) = self.nodes[shard].shard.poll_transmit() {
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
                self.mail.entry((shard, usize::from(to))).or_default().push_back(batch);
            }
            Output::Store { ticket, .. } => self.nodes[shard].tickets.push_back(ticket),
            Output::Authenticate { conn, .. } | Output::Exchange { conn, .. } => {
                self.asked.push((shard, conn));
            }
            Output::Reading { conn, wanted } => {
                if let Some(&link) = self.by_conn.get(&(shard, conn)) {
                    self.links[link].reading = wanted;
                }
            }
            Output::Event(event) => self.on_event(now, event),
            Output::Announce { .. } | Output::Claim { .. } | Output::Load(_) => {}
        }
    }

    /// What waits for a connection that closes goes out as far as its socket takes it.
    fn last_words(&mut self, now: Time, shard: usize, link: LinkIx) {
        while let Some(conn) = self.nodes[shard].shard.poll_transmit() {
            if let Some(link) = self.by_conn.get(&(shard, conn)) {
                self.links[*link].ready = true;
            }
        }
        // Not through `transmit`: the connection is being settled right now.
        let Some((_, conn)) = self.links[link].at else { return };
        let mut bytes = Vec::new();
        let taken = self.nodes[shard].shard.transmit(now, conn, |slices: &[IoSlice<'_>]| {
            slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
            Ok::<usize, ()>(bytes.len())
        });
        if taken.is_ok() && !self.links[link].abandoned {
            self.note(now, link, &bytes);
            self.links[link].down.extend(&bytes);
        }
    }

    fn on_event(&mut self, now: Time, event: Event) {
        let link_of = |peer: &str| peer.parse::<LinkIx>().unwrap_or(LinkIx::MAX);
        let notice = match event {
            Event::Connected { peer, session_present, .. } => {
                Notice::Connected { link: link_of(&peer), session_present }
            }
            Event::Disconnected { peer, cause, .. } => Notice::Ended { link: link_of(&peer), cause },
            Event::QueueFull { .. } => Notice::QueueFull,
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
