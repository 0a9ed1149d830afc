//! When to send: the timetable of an open loop, and the naps of a closed one.

use crate::units::{MICRO, MILLI, Nanos, whole};

/// The timetable of an open loop: message `k` of the run is due at `start + k / rate`, whatever happened before.
///
/// The time in a message is the time it was due. A broker that stalls cannot hide it by slowing the generator down:
/// the waiting of everything that became due meanwhile counts as latency (no "coordinated omission").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timetable {
    start: Nanos,
    interval: f64,
    next: u64,
}

impl Timetable {
    /// `rate` messages per second in all, the first one at `start`.
    pub(crate) fn new(start: Nanos, rate: f64) -> Self {
        Self { start, interval: 1e9 / rate, next: 0 }
    }

    /// When message `k` of the run is due.
    pub(crate) fn due(&self, k: u64) -> Nanos {
        self.start + whole(k as f64 * self.interval)
    }

    /// When the next one is due that was not taken yet.
    pub(crate) fn next_due(&self) -> Nanos {
        self.due(self.next)
    }

    /// Takes the next message if it is due: its number in the run.
    pub(crate) fn take(&mut self, now: Nanos, end: Nanos) -> Option<u64> {
        let due = self.next_due();
        if due > now || due >= end {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

/// In a closed loop on few cores a generator that wakes for each message takes the time that the broker needs, and
/// makes it send message by message. So it sleeps for a part of the time that the broker will be busy anyway with
/// what it has: the broker never runs dry, and both work in batches.
///
/// No nap when messages come in bulk already, nor one too short for the system's timers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Naps {
    since: Nanos,
    deliveries: u64,
    reads: u64,
    /// Deliveries per nanosecond, smoothed.
    speed: f64,
    /// Deliveries per read, smoothed.
    bulk: f64,
}

impl Naps {
    /// How long to sleep now; 0 for not at all. `deliveries` and `reads` count from the beginning of the run, `ahead`
    /// is how many deliveries to let the broker do meanwhile.
    pub(crate) fn next(&mut self, now: Nanos, deliveries: u64, reads: u64, ahead: u64) -> Nanos {
        if now >= self.since + SAMPLE {
            let time = (now - self.since) as f64;
            let weight = if self.since == 0 { 1.0 } else { WEIGHT };
            let arrived = (deliveries - self.deliveries) as f64;
            self.speed += weight * (arrived / time - self.speed);
            self.bulk += weight * (arrived / (reads - self.reads).max(1) as f64 - self.bulk);
            (self.since, self.deliveries, self.reads) = (now, deliveries, reads);
        }
        if self.speed <= 0.0 || self.bulk >= BULK {
            return 0;
        }
        let nap = whole(ahead as f64 / self.speed);
        if nap < NAP_MIN { 0 } else { nap.min(NAP_MAX) }
    }
}

const SAMPLE: Nanos = 2 * MILLI;
/// Of a fresh sample against the past.
const WEIGHT: f64 = 0.3;
/// Deliveries per read that are bulk enough.
const BULK: f64 = 50.0;
const NAP_MIN: Nanos = 100 * MICRO;
const NAP_MAX: Nanos = 10 * MILLI;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_due_during_a_stall_keeps_its_time() {
        let mut table = Timetable::new(1_000, 1e6);
        assert_eq!(table.take(999, Nanos::MAX), None);
        assert_eq!(table.take(1_000, Nanos::MAX), Some(0));
        assert_eq!(table.take(1_500, Nanos::MAX), None);
        // Nobody looked for 5 us: all five are due, each at its own time.
        let numbers: Vec<u64> = std::iter::from_fn(|| table.take(6_000, Nanos::MAX)).collect();
        let late: Vec<Nanos> = numbers.into_iter().map(|k| table.due(k)).collect();
        assert_eq!(late, [2_000, 3_000, 4_000, 5_000, 6_000]);
        assert_eq!(table.next_due(), 7_000);
    }

    #[test]
    fn the_timetable_does_not_drift() {
        let table = Timetable::new(0, 3.0);
        assert_eq!(table.due(3_000_000), 1_000_000 * 1_000_000_000);
    }

    #[test]
    fn nothing_is_due_after_the_end() {
        let mut table = Timetable::new(0, 1e6);
        assert_eq!((table.take(9_000, 1_000), table.take(9_000, 1_000)), (Some(0), None));
    }

    #[test]
    fn naps_grow_with_what_the_broker_holds_and_end_in_bulk() {
        let mut naps = Naps::default();
        // 100 deliveries in 1 ms, one per read: 10 us each.
        assert_eq!(naps.next(10 * MILLI, 1000, 1000, 1), 0, "10 us are not worth a nap");
        assert_eq!(naps.next(10 * MILLI, 1000, 1000, 20), 200 * MICRO);
        assert_eq!(naps.next(10 * MILLI, 1000, 1000, 1_000_000), NAP_MAX);
        let mut bulk = Naps::default();
        assert_eq!(bulk.next(10 * MILLI, 1000, 10, 160), 0);
    }
}
