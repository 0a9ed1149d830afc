//! How fast one client may publish: who is over its rate is not read for a while.
//!
//! Nothing is lost by that. What the client sends meanwhile waits in its socket, and TCP tells it to send slower; its
//! Keep Alive does not count, since it is this end that does not read.

use std::time::Duration;

use cork_proto::Time;

use crate::{
    board::{Board, Timer},
    conn::{Conn, Holds},
    event::Event,
    io::ConnId,
    shard::Shard,
};

/// What may be published at once after a silence, as a time at the permitted rate.
const BURST: Duration = Duration::from_secs(1);
/// A client that is read again may publish this much before it rests again: it is not woken for each message.
const BREATH: Duration = Duration::from_millis(100);

/// What a client has published lately, in time at its permitted rates.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    messages: Pace,
    bytes: Pace,
    /// When it is read again; in the past while it is read.
    pub(crate) rests_until: Time,
    /// That it is too fast was told.
    reported: bool,
}

/// One token bucket, kept as a debt: each unit costs its part of a second, and time pays.
#[derive(Debug, Default)]
struct Pace {
    owed_nanos: u64,
    since: Time,
}

impl Pace {
    /// Takes `units` at `per_second` (0: no limit) and says how long to rest.
    fn spend(&mut self, now: Time, units: u64, per_second: u64) -> Duration {
        if per_second == 0 {
            return Duration::ZERO;
        }
        let paid = u64::try_from(now.since(self.since).as_nanos()).unwrap_or(u64::MAX);
        let cost = u128::from(units) * 1_000_000_000 / u128::from(per_second);
        self.since = now;
        self.owed_nanos = self
            .owed_nanos
            .saturating_sub(paid)
            .saturating_add(u64::try_from(cost).unwrap_or(u64::MAX))
            .min(A_YEAR_NANOS);
        let owed = Duration::from_nanos(self.owed_nanos);
        if owed > BURST { owed - BURST + BREATH } else { Duration::ZERO }
    }
}

/// A debt that no packet can make: a year.
const A_YEAR_NANOS: u64 = 31_536_000_000_000_000;

impl Shard {
    /// Counts a PUBLISH of `bytes` bytes, and lets its client rest if it is over its rate.
    #[inline]
    pub(crate) fn pace(&mut self, id: ConnId, bytes: usize) {
        let limits = &self.board.config.limits;
        if limits.messages_per_second != 0 || limits.publish_bytes_per_second != 0 {
            self.board.pace(id, bytes);
        }
    }

    /// A client has rested long enough.
    pub(crate) fn on_rate_timer(&mut self, id: ConnId) {
        let now = self.board.now;
        let Some(conn) = self.board.conn(id) else { return };
        if conn.rate().is_none_or(|rate| rate.rests_until > now) {
            return;
        }
        // Nothing was heard of it because nobody listened.
        conn.last_seen = now;
        if self.board.unhold(id.index, Holds::RATE) {
            self.go_on_reading(id);
        }
    }
}

impl Board {
    fn pace(&mut self, id: ConnId, bytes: usize) {
        let now = self.now;
        let limits = &self.config.limits;
        let (messages, per_second) = (limits.messages_per_second, limits.publish_bytes_per_second);
        let Some(conn) = self.conn(id).filter(|conn| !conn.inside) else { return };
        let rate = conn.rate_mut();
        let rest = rate.messages.spend(now, 1, u64::from(messages));
        let rest = rest.max(rate.bytes.spend(now, bytes as u64, per_second));
        if rest.is_zero() {
            return;
        }
        self.rest(id, rest);
    }

    /// Does not read a client for so long.
    pub(crate) fn rest(&mut self, id: ConnId, rest: Duration) {
        let now = self.now;
        let Some(conn) = self.conn(id) else { return };
        let rate = conn.rate_mut();
        rate.rests_until = now + rest;
        let (until, first) = (rate.rests_until, !std::mem::replace(&mut rate.reported, true));
        self.stats.slowed += 1;
        self.at(until, Timer::Rate(id));
        self.hold(id.index, Holds::RATE);
        if first {
            self.report_slowed(id);
        }
    }

    fn report_slowed(&mut self, id: ConnId) {
        let Some(Conn { session, peer, .. }) = self.conn(id) else { return };
        let (session, peer) = (*session, peer.clone());
        if let Some(session) = self.sessions.get(session as usize) {
            let client_id = session.client_id().into();
            self.event(Event::Slowed { client_id, peer });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_a_second_brings_what_a_second_may() {
        for rate in [1u64, 7, 1000, 2_000_000_000] {
            let (mut pace, mut now, mut taken) = (Pace::default(), Time::ZERO, 0u64);
            let step = rate.div_ceil(1000);
            while now < Time::from_micros(20_000_000) {
                let rest = pace.spend(now, step, rate);
                taken += step;
                now = now + rest;
            }
            // One second's worth at once, one breath, and one step beyond each.
            assert!((20 * rate..=22 * rate + 2 * step).contains(&taken), "{taken} at {rate}");
        }
    }

    #[test]
    fn a_steady_client_below_its_rate_never_rests() {
        let mut pace = Pace::default();
        for n in 0..10_000 {
            assert_eq!(pace.spend(Time::from_micros(n * 10_000), 1, 101), Duration::ZERO, "message {n}");
        }
    }

    #[test]
    fn no_limit_costs_nothing_and_a_tiny_one_does_not_overflow() {
        let mut pace = Pace::default();
        assert_eq!(pace.spend(Time::ZERO, u64::MAX, 0), Duration::ZERO);
        assert_eq!(pace.spend(Time::ZERO, u64::MAX, u64::MAX), Duration::ZERO);
        let rest = pace.spend(Time::ZERO, u64::MAX, 1);
        assert_eq!(rest, Duration::from_nanos(A_YEAR_NANOS) - BURST + BREATH);
    }
}
