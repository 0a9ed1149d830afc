//! Sessions that lost their connection a moment ago, of which the store is not told yet.
//!
//! A client that is back soon, as after a short outage or between two readings of a battery powered sensor, finds in the
//! store what it would have to be told again: that the Session has a connection. So neither leaving nor returning is a
//! record, and CONNACK waits for nothing. What a crash in between makes of it is what it makes of every client that was
//! connected: its Session's time counts from the restart. That is why only those are left out that have nothing to lose
//! by it: no Will, nothing under way or waiting, and an expiry beside which this moment does not count.

use std::{collections::VecDeque, time::Duration};

use cork_proto::Time;
use cork_store::SessionKey;

use crate::{
    board::{Board, Timer},
    conn::SessionIx,
    event::Ended,
    session::Session,
    shard::Shard,
};

/// How long the store is not told that a Session lost its connection.
const TOLD_AFTER: Duration = Duration::from_secs(30);
/// Of a Session that expires sooner the store is told at once.
const EXPIRY_MIN: Duration = Duration::from_secs(600);
/// Sessions of which it is told at once when their time has come; more of them go on in the next turn.
const TOLD_PER_TURN: usize = 256;
/// When that is.
const NEXT_TURN: Duration = Duration::from_millis(1);

/// Those that left, in the order in which the store is to be told of them.
pub(crate) type Absent = VecDeque<(Time, SessionIx, SessionKey)>;

/// What the store knows of whether a Session has a connection.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// By the last record of it the Session has a connection.
    pub(crate) online: bool,
    /// It stands in the list of those that left.
    listed: bool,
}

impl Session {
    /// Whether the store need not know yet that it lost its connection.
    fn may_be_back(&self) -> bool {
        self.told.online
            && Duration::from_secs(self.expiry_seconds.into()) >= EXPIRY_MIN
            && self.will.is_none()
            && self.outgoing.as_ref().is_none_or(|outgoing| {
                outgoing.inflight.is_empty() && outgoing.queue.is_empty() && outgoing.cursors.is_empty()
            })
    }

    /// Whether the store does not know yet that it lost its connection.
    const fn left_untold(&self) -> bool {
        self.told.listed && self.told.online && !self.is_online()
    }
}

impl Board {
    /// A message is about to wait for a Session: what was sent to it, and what was not, the store has to know now.
    pub(crate) fn tell_before_message(&mut self, six: SessionIx) {
        let session = &mut self.sessions[six as usize];
        if session.left_untold() {
            session.told.online = false;
            let record = session.to_record();
            self.begun.push(record); // not with what several shards store together, which may be stored later
        }
    }

    fn list_absent(&mut self, six: SessionIx) {
        let session = &mut self.sessions[six as usize];
        session.told.listed = true;
        let (due, key) = (self.now + TOLD_AFTER, session.key);
        if self.absent.is_empty() {
            self.at(due, Timer::Absent);
        }
        self.absent.push_back((due, six, key));
    }
}

impl Shard {
    /// A Session that outlives its connection has lost it: tells the store, or will do so if its client stays away.
    pub(crate) fn record_absence(&mut self, six: SessionIx, cause: &Ended) {
        let session = &self.board.sessions[six as usize];
        if matches!(cause, Ended::Shutdown) || !session.may_be_back() {
            self.record_session(six);
        } else if !session.told.listed {
            self.board.list_absent(six);
        }
    }

    /// Tells the store of those that are away for long enough.
    pub(crate) fn on_absent_timer(&mut self) {
        let (now, wall) = (self.board.now, self.board.wall());
        for _ in 0..TOLD_PER_TURN {
            let Some((_, six, key)) = self.board.absent.pop_front_if(|(due, ..)| *due <= now) else { break };
            let Some(session) =
                self.board.sessions.get_mut(six as usize).filter(|session| session.key == key)
            else {
                continue;
            };
            let untold = session.left_untold();
            session.told.listed = false;
            let away_micros = wall.0.saturating_sub(session.since.0);
            if untold && u128::from(away_micros) < TOLD_AFTER.as_micros() {
                self.board.list_absent(six); // it was back meanwhile
            } else if untold {
                self.record_session(six);
            }
        }
        if let Some((due, ..)) = self.board.absent.front() {
            let next = (*due).max(now + NEXT_TURN);
            self.board.at(next, Timer::Absent);
        }
    }

    /// Tells the store of all of them: the broker ends.
    pub(crate) fn record_absent(&mut self) {
        for (_, six, key) in std::mem::take(&mut self.board.absent) {
            let session = self.board.sessions.get(six as usize);
            if session.is_some_and(|session| session.key == key && session.left_untold()) {
                self.record_session(six);
            }
        }
    }
}
