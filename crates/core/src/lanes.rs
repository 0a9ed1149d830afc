//! What parts of the broker ask for their Sessions: a limit of their own for what waits, and a second lane.
//!
//! ```text
//! subscriptions ── Session ──────────────────> in order
//!                     └─ second lane ────────> in order, beside it
//! ```
//!
//! Both lanes are Sessions with a queue, numbers and a connection each; the first has the subscriptions of both. A message
//! goes into one of them when it is delivered, and stays there. Which one:
//!
//! - *strict*: into the first one, which takes a few of each topic; the second one has what is more. Each topic is in
//!   order across both lanes: see [`strict`].
//! - *live first*: into the other one as soon as this one has a backlog and the other has none. Each lane is in order.

mod strict;

use std::collections::BTreeMap;

use cork_packet::Connect;
use cork_store::{
    ASLEEP_ASKED_BY, LANE_ASKED_BY, LANE_LIVE_FIRST, QUEUE_BYTES_ASKED_BY, SessionKey, first_lane,
};

use self::strict::{BACKLOG_MIN, Strict, View};
use crate::{board::Board, conn::SessionIx, io::ConnId, session::Session, shard::Shard};

/// What Sessions of parts of the broker asked for; theirs have [`Session::inside`] set.
pub(crate) type Insides = BTreeMap<SessionIx, Inside>;

/// What one of them asked for.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    queue_bytes_max: Option<u64>,
    /// Its connection wants nothing.
    asleep: bool,
    second: Option<Box<Lane>>,
    /// It is the second lane of this one.
    first: Option<SessionIx>,
}

#[derive(Debug)]
struct Lane {
    six: SessionIx,
    key: SessionKey,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// The second lane gets whatever comes while it is in use, else the first one does.
    LiveFirst {
        in_use: bool,
    },
    Strict(Strict),
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
        let asleep = asked(ASLEEP_ASKED_BY).is_some();
        if queue_bytes_max.is_some() || asleep || self.board.sessions[six as usize].inside {
            let inside = self.board.inside(six);
            (inside.queue_bytes_max, inside.asleep) = (queue_bytes_max, asleep);
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
        let finished = self.has_finished(six);
        let before = self.insides.get_mut(&first).and_then(|inside| inside.second.as_mut());
        match (before.filter(|lane| lane.key == key).map(|lane| &mut lane.order), live_first) {
            (Some(Order::LiveFirst { .. }), Some(true)) => return,
            (Some(Order::Strict(strict)), Some(false)) => {
                strict.is_ending = false;
                return;
            }
            (Some(Order::Strict(strict)), None) if !finished => {
                strict.is_ending = true;
                return;
            }
            (Some(_), None) => return self.drop_second_lane(first),
            (None, None) if finished => return,
            _ => {}
        }
        let strict = |is_ending| Strict::new(&self.lane_view(first), &self.lane_view(six), is_ending);
        let order = match live_first {
            Some(true) => Order::LiveFirst { in_use: false },
            Some(false) => Order::Strict(strict(false)),
            None => Order::Strict(strict(true)),
        };
        self.inside(six).first = Some(first);
        self.inside(first).second = Some(Box::new(Lane { six, key, order }));
        self.again.push_back(first);
    }

    /// Whatever is in it may go.
    fn drop_second_lane(&mut self, first: SessionIx) {
        if let Some(lane) = self.inside(first).second.take() {
            self.again.extend([first, lane.six]);
        }
    }

    /// A Session is gone.
    pub(crate) fn forget_inside(&mut self, six: SessionIx, session: &Session) {
        if !session.inside {
            return;
        }
        let Some(inside) = self.insides.remove(&six) else { return };
        self.again.extend(inside.second.map(|lane| lane.six));
        let second = |first: &SessionIx| self.insides.get(first)?.second.as_ref().map(|lane| lane.key);
        if let Some(first) = inside.first.filter(|first| second(first) == Some(session.key)) {
            self.drop_second_lane(first);
        }
    }

    /// Bytes that may wait in a Session.
    pub(crate) fn queue_bytes_max(&self, six: SessionIx) -> u64 {
        let own = || self.insides.get(&six)?.queue_bytes_max;
        let inside = self.sessions.get(six as usize).is_some_and(|session| session.inside);
        inside.then(own).flatten().unwrap_or(self.config.limits.queue_bytes_max)
    }

    fn lane_view(&self, six: SessionIx) -> View {
        let outgoing = self.sessions.get(six as usize).and_then(|session| session.outgoing.as_deref());
        let Some(outgoing) = outgoing else {
            return View { last: 0, first: u64::MAX, first_waiting: u64::MAX, waiting: 0 };
        };
        let flying = outgoing.inflight.first().map(|sequence| outgoing.number_of(sequence));
        let first_waiting = outgoing.queue.first_number().unwrap_or(u64::MAX);
        View {
            last: outgoing.numbers,
            first: flying.map_or(first_waiting, |flying| flying.min(first_waiting)),
            first_waiting,
            waiting: outgoing.queue.len(),
        }
    }

    /// Whether nothing waits in a Session and nothing of it is under way.
    fn has_finished(&self, six: SessionIx) -> bool {
        self.lane_view(six).first == u64::MAX
    }

    fn has_backlog(&self, six: SessionIx) -> bool {
        self.lane_view(six).waiting > BACKLOG_MIN
    }

    /// Whether nothing is sent of what a Session has: it is a second lane that must wait for its first one, or asleep.
    #[cold]
    pub(crate) fn is_held(&self, six: SessionIx) -> bool {
        let own = self.insides.get(&six);
        if own.is_some_and(|inside| inside.asleep) {
            return true;
        }
        let first = own.and_then(|inside| inside.first);
        let Some((first, inside)) = first.and_then(|first| Some((first, self.insides.get(&first)?))) else {
            return false;
        };
        let lane = inside.second.as_deref().filter(|lane| lane.six == six);
        let Some(Lane { order: Order::Strict(strict), .. }) = lane else { return false };
        let own = self.lane_view(six);
        strict.waits(self.lane_view(first).first, own.first_waiting.min(own.last + 1))
    }

    /// A delivery of a Session is over.
    #[inline]
    pub(crate) fn something_over(&mut self, six: SessionIx) {
        if self.sessions.get(six as usize).is_some_and(|session| session.inside) {
            self.lane_moved(six);
        }
    }

    /// Something of a first lane is over: the second one may have waited for it.
    #[cold]
    pub(crate) fn lane_moved(&mut self, six: SessionIx) {
        let first = self.lane_view(six).first;
        let Some(lane) = self.insides.get_mut(&six).and_then(|inside| inside.second.as_deref_mut()) else {
            return;
        };
        if let Order::Strict(strict) = &mut lane.order
            && strict.pass(first)
        {
            self.again.push_back(lane.six);
        }
    }

    /// The Session that gets a message that the subscriptions of a part of the broker bring, if it is another one.
    #[cold]
    pub(crate) fn lane_of(&mut self, six: SessionIx, topic: &str) -> Option<SessionIx> {
        let mut lane = self.insides.get_mut(&six)?.second.take()?;
        let there = self.sessions.get(lane.six as usize).is_some_and(|one| one.key == lane.key && !one.over);
        if !there {
            return None;
        }
        let second = match &mut lane.order {
            Order::LiveFirst { in_use } => {
                let (used, other) = if *in_use { (lane.six, six) } else { (six, lane.six) };
                *in_use ^= self.has_backlog(used) && self.can_send_now(other);
                *in_use
            }
            Order::Strict(strict) => {
                let views = [self.lane_view(six), self.lane_view(lane.six)];
                strict.second_gets(views, self.can_send_now(lane.six), topic)
            }
        };
        let chosen = second.then_some(lane.six);
        self.inside(six).second = Some(lane);
        chosen
    }
}
