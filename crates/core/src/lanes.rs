//! What parts of the broker ask for their Sessions: a limit of their own for what waits, and a second lane.
//!
//! ```text
//! subscriptions ── Session ────── 5000 waiting ──> drains in order, at its pace
//!                     └─ second lane ──────────> what is published now, in order, at once
//! ```
//!
//! Both lanes are Sessions with a queue, numbers and a connection each; the first has the subscriptions of both. A message
//! goes into one of them when it is delivered, and stays there. The other one gets what comes from the moment on at which
//! this one has a backlog and the other has none: so there are never more than two orders.

use std::collections::BTreeMap;

use cork_packet::Connect;
use cork_store::{LANE_ASKED_BY, QUEUE_BYTES_ASKED_BY, SessionKey, first_lane};

use crate::{
    board::Board,
    conn::SessionIx,
    io::ConnId,
    session::{Outgoing, Session},
    shard::Shard,
};

/// Messages that may wait in a lane before the other one is taken.
const BACKLOG_MIN: u64 = 64;

/// What Sessions of parts of the broker asked for; theirs have [`Session::inside`] set.
pub(crate) type Insides = BTreeMap<SessionIx, Inside>;

/// What one of them asked for.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Inside {
    queue_bytes_max: Option<u64>,
    second: Option<Lane>,
}

#[derive(Copy, Clone, Debug)]
struct Lane {
    six: SessionIx,
    key: SessionKey,
    /// It gets what comes; else the first one does.
    in_use: bool,
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
        let Some(first) = first_lane(connect.client_id).and_then(|first| self.session_of(first)) else {
            return;
        };
        let key = self.board.sessions[six as usize].key;
        let before = self.board.insides.get(&first).and_then(|inside| inside.second);
        let second = asked(LANE_ASKED_BY).map(|_| {
            let same = before.filter(|lane| lane.key == key);
            same.unwrap_or(Lane { six, key, in_use: false })
        });
        if second.is_some() || before.is_some() {
            self.board.inside(first).second = second;
        }
    }
}

impl Board {
    fn inside(&mut self, six: SessionIx) -> &mut Inside {
        self.sessions[six as usize].inside = true;
        self.insides.entry(six).or_default()
    }

    /// A Session is gone.
    pub(crate) fn forget_inside(&mut self, six: SessionIx, session: &Session) {
        if session.inside {
            self.insides.remove(&six);
        }
    }

    /// Bytes that may wait in a Session.
    pub(crate) fn queue_bytes_max(&self, six: SessionIx) -> u64 {
        let own = || self.insides.get(&six)?.queue_bytes_max;
        let inside = self.sessions.get(six as usize).is_some_and(|session| session.inside);
        inside.then(own).flatten().unwrap_or(self.config.limits.queue_bytes_max)
    }

    /// The Session that gets what the subscriptions of a part of the broker bring now, if it is another one.
    #[cold]
    pub(crate) fn lane_of(&mut self, six: SessionIx) -> Option<SessionIx> {
        let lane = self.insides.get(&six)?.second?;
        let there = self.sessions.get(lane.six as usize).is_some_and(|one| one.key == lane.key && !one.over);
        if !there {
            self.inside(six).second = None;
            return None;
        }
        let (used, other) = if lane.in_use { (lane.six, six) } else { (six, lane.six) };
        let waiting = |outgoing: &Outgoing| outgoing.queue.len() > BACKLOG_MIN;
        let backlog = self.sessions[used as usize].outgoing.as_deref().is_some_and(waiting);
        let changes = backlog && self.can_send_now(other);
        if changes {
            self.inside(six).second = Some(Lane { in_use: !lane.in_use, ..lane });
        }
        Some(if changes { other } else { used }).filter(|lane| *lane != six)
    }
}
