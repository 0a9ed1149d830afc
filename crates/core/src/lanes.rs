//! What parts of the broker ask for their Sessions: a limit of their own for what waits, and a second lane.
//!
//! ```text
//! subscriptions ── Session ────── 5000 waiting ──> drains in order, at its pace
//!                     └─ second lane ──────────> what need not wait for them, in order, at once
//! ```
//!
//! Both lanes are Sessions with a queue, numbers and a connection each; the first has the subscriptions of both. A message
//! goes into one of them when it is delivered, and stays there. Which one:
//!
//! - *strict*: all of a topic go into one lane until that lane has nothing left, waiting or under way; only then may the
//!   topic change. So each topic is in order across both lanes. After a restart nobody knows which topics a lane
//!   holds: as long as both hold something, what comes joins the first one, which waits for the second to end.
//! - *live first*: into the other one as soon as this one has a backlog and the other has none. Each lane is in order.

use std::collections::BTreeMap;

use cork_packet::Connect;
use cork_store::{LANE_ASKED_BY, LANE_LIVE_FIRST, QUEUE_BYTES_ASKED_BY, SessionKey, first_lane};
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::{board::Board, conn::SessionIx, io::ConnId, session::Session, shard::Shard};

/// Messages that may wait in a lane before the other one is taken.
const BACKLOG_MIN: u64 = 64;

/// Topics of one lane that are told apart: half a megabyte. Beyond that all count as being in it.
const TOPICS_MAX: usize = 65_536;

/// What Sessions of parts of the broker asked for; theirs have [`Session::inside`] set.
pub(crate) type Insides = BTreeMap<SessionIx, Inside>;

/// What one of them asked for.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    queue_bytes_max: Option<u64>,
    second: Option<Box<Lane>>,
    /// It is the second lane of this one.
    first: Option<SessionIx>,
}

#[derive(Debug)]
struct Lane {
    six: SessionIx,
    key: SessionKey,
    /// It gets whatever comes; else the first one does. Nothing in strict order.
    in_use: bool,
    /// In strict order: what both lanes hold.
    held: Option<[Topics; 2]>,
    /// It has taken messages since it is one: only then may messages wait for it.
    proven: bool,
    /// The first lane waits until this one has nothing left.
    first_waits: bool,
}

/// The topics that a lane may hold messages of.
#[derive(Debug)]
struct Topics {
    hashes: HashSet<u64, FixedState>,
    /// Any but those that the other lane is known to hold.
    all: bool,
}

impl Topics {
    fn new(all: bool) -> Self {
        Self { hashes: HashSet::with_hasher(FixedState::with_seed(0)), all }
    }

    fn contains(&self, topic: u64) -> bool {
        self.hashes.contains(&topic)
    }

    fn insert(&mut self, topic: u64) {
        if self.hashes.len() < TOPICS_MAX {
            self.hashes.insert(topic);
        } else {
            self.all = true;
        }
    }

    fn clear(&mut self) {
        if self.all || !self.hashes.is_empty() {
            *self = Self::new(false);
        }
    }
}

impl Shard {
    /// A part of the broker has connected.
    pub(crate) fn note_wishes(&mut self, id: ConnId, six: SessionIx, connect: &Connect<'_>) {
        if !self.board.conn(id).is_some_and(|conn| conn.inside) {
            return;
        }
        let asked = |wanted: &str| {
            connect.properties.user_properties().find(|(name, _)| *name == wanted).map(|(_, value)| value)
        };
        let queue_bytes_max = asked(QUEUE_BYTES_ASKED_BY).and_then(|bytes| bytes.parse().ok());
        if queue_bytes_max.is_some() || self.board.sessions[six as usize].inside {
            self.board.inside(six).queue_bytes_max = queue_bytes_max;
        }
        if let Some(first) = first_lane(connect.client_id).and_then(|first| self.session_of(first)) {
            let live_first = asked(LANE_ASKED_BY).map(|order| order == LANE_LIVE_FIRST);
            self.board.set_second_lane(first, six, live_first);
        }
    }
}

impl Board {
    fn inside(&mut self, six: SessionIx) -> &mut Inside {
        self.sessions[six as usize].inside = true;
        self.insides.entry(six).or_default()
    }

    /// Makes `six` the second lane of `first`, in one of the two orders, or ends that.
    fn set_second_lane(&mut self, first: SessionIx, six: SessionIx, live_first: Option<bool>) {
        let key = self.sessions[six as usize].key;
        let before = self.insides.get(&first).and_then(|inside| inside.second.as_ref());
        let Some(live_first) = live_first else {
            if before.is_some() {
                self.drop_second_lane(first);
            }
            return;
        };
        if before.is_some_and(|lane| lane.key == key && lane.held.is_none() == live_first) {
            return;
        }
        let held = [first, six].map(|lane| Topics::new(!self.has_finished(lane)));
        let first_waits = !live_first && held.iter().all(|topics| topics.all);
        let held = (!live_first).then_some(held);
        self.inside(six).first = Some(first);
        let lane = Lane { six, key, in_use: false, held, proven: false, first_waits };
        self.inside(first).second = Some(Box::new(lane));
        self.again.push_back(first);
    }

    fn drop_second_lane(&mut self, first: SessionIx) {
        self.inside(first).second = None;
        self.again.push_back(first);
    }

    /// A Session is gone.
    pub(crate) fn forget_inside(&mut self, six: SessionIx, session: &Session) {
        if !session.inside {
            return;
        }
        let first = self.insides.remove(&six).and_then(|inside| inside.first);
        let second = |first: &SessionIx| self.insides.get(first)?.second.as_ref().map(|lane| lane.key);
        if let Some(first) = first.filter(|first| second(first) == Some(session.key)) {
            self.drop_second_lane(first);
        }
    }

    /// Bytes that may wait in a Session.
    pub(crate) fn queue_bytes_max(&self, six: SessionIx) -> u64 {
        let own = || self.insides.get(&six)?.queue_bytes_max;
        let inside = self.sessions.get(six as usize).is_some_and(|session| session.inside);
        inside.then(own).flatten().unwrap_or(self.config.limits.queue_bytes_max)
    }

    /// Whether nothing waits in a Session and nothing of it is under way.
    fn has_finished(&self, six: SessionIx) -> bool {
        let outgoing = self.sessions.get(six as usize).and_then(|session| session.outgoing.as_deref());
        outgoing.is_none_or(|outgoing| outgoing.queue.is_empty() && outgoing.inflight.is_empty())
    }

    /// Messages that wait in a Session.
    fn waiting(&self, six: SessionIx) -> u64 {
        let outgoing = self.sessions.get(six as usize).and_then(|session| session.outgoing.as_deref());
        outgoing.map_or(0, |outgoing| outgoing.queue.len())
    }

    fn has_backlog(&self, six: SessionIx) -> bool {
        self.waiting(six) > BACKLOG_MIN
    }

    /// Whether a Session is a first lane that must wait for its second one.
    #[cold]
    pub(crate) fn waits_for_lane(&self, six: SessionIx) -> bool {
        let second = self.insides.get(&six).and_then(|inside| inside.second.as_ref());
        second.is_some_and(|lane| lane.first_waits && !self.has_finished(lane.six))
    }

    /// Something of a second lane is over: the first one may have waited for it.
    #[cold]
    pub(crate) fn lane_moved(&mut self, six: SessionIx) {
        let Some(first) = self.insides.get(&six).and_then(|inside| inside.first) else { return };
        let second = self.insides.get(&first).and_then(|inside| inside.second.as_ref());
        if second.is_some_and(|lane| lane.first_waits && lane.six == six) && self.has_finished(six) {
            self.again.push_back(first);
        }
    }

    /// The Session that gets a message that the subscriptions of a part of the broker bring, if it is another one.
    #[cold]
    pub(crate) fn lane_of(&mut self, six: SessionIx, topic: &str) -> Option<SessionIx> {
        let mut lane = self.insides.get_mut(&six)?.second.take()?;
        let there = self.sessions.get(lane.six as usize).is_some_and(|one| one.key == lane.key && !one.over);
        if !there {
            self.again.push_back(six);
            return None;
        }
        let second = match lane.held.take() {
            Some(mut held) => {
                let second = self.choose_strict(six, &mut lane, &mut held, topic);
                lane.held = Some(held);
                second
            }
            None => {
                let (used, other) = if lane.in_use { (lane.six, six) } else { (six, lane.six) };
                lane.in_use ^= self.has_backlog(used) && self.can_send_now(other);
                lane.in_use
            }
        };
        let chosen = second.then_some(lane.six);
        self.inside(six).second = Some(lane);
        chosen
    }

    /// Whether a message goes into the second lane, so that its topic stays in order.
    fn choose_strict(
        &mut self,
        six: SessionIx,
        lane: &mut Lane,
        held: &mut [Topics; 2],
        topic: &str,
    ) -> bool {
        let lanes = [six, lane.six];
        for (topics, six) in held.iter_mut().zip(lanes) {
            if self.has_finished(six) {
                topics.clear();
            }
        }
        let [first, second] = held;
        if lane.first_waits {
            if second.all {
                first.all = true;
                return false; // it is behind whatever the second lane holds
            }
            lane.first_waits = false;
            self.again.push_back(six);
        }
        let topic = std::hash::BuildHasher::hash_one(first.hashes.hasher(), topic);
        if second.contains(topic) {
            return true;
        }
        if first.contains(topic) || first.all {
            return false;
        }
        lane.proven |= self.can_send_now(lane.six);
        let room = second.hashes.len() < TOPICS_MAX && self.waiting(lane.six) < self.waiting(six);
        if second.all || (room && lane.proven && self.has_backlog(six)) {
            second.insert(topic);
            return true;
        }
        first.insert(topic);
        false
    }
}
