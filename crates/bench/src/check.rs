//! What has arrived of what was sent: loss, duplicates, order.

use std::collections::BTreeMap;

/// What a delivery turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The first time, and in order.
    New,
    /// The first time, but a later one was here before.
    Late,
    /// Seen before.
    Again,
}

/// Messages of one publisher that one subscriber must get all of, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    next: u32,
    /// Gaps below `next`: first missing to the one after the last missing.
    gaps: BTreeMap<u32, u32>,
}

impl Stream {
    /// Notes the arrival of `sequence`; how far the stream moved on is the difference in [`Stream::next`].
    #[inline]
    pub(crate) fn see(&mut self, sequence: u32) -> Seen {
        if sequence >= self.next {
            if sequence > self.next {
                self.gaps.insert(self.next, sequence);
            }
            self.next = sequence + 1;
            return Seen::New;
        }
        self.fill(sequence)
    }

    /// One past the highest sequence number seen.
    #[inline]
    pub(crate) const fn next(&self) -> u32 {
        self.next
    }

    /// How many of the first `sent` messages are missing.
    pub(crate) fn lost(&self, sent: u32) -> u64 {
        let gaps: u64 = self.gaps.iter().map(|(from, to)| u64::from(to - from)).sum();
        gaps + u64::from(sent.saturating_sub(self.next))
    }

    fn fill(&mut self, sequence: u32) -> Seen {
        let Some((&from, &to)) = self.gaps.range(..=sequence).next_back() else { return Seen::Again };
        if sequence >= to {
            return Seen::Again;
        }
        self.gaps.remove(&from);
        if from < sequence {
            self.gaps.insert(from, sequence);
        }
        if sequence + 1 < to {
            self.gaps.insert(sequence + 1, to);
        }
        Seen::Late
    }
}

/// Messages of one publisher of which each must arrive once, wherever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    words: Vec<u64>,
}

impl Set {
    /// Notes the arrival; false if it was here before.
    #[inline]
    pub(crate) fn insert(&mut self, sequence: u32) -> bool {
        let (word, bit) = (sequence as usize / 64, 1 << (sequence % 64));
        if word >= self.words.len() {
            self.words.resize((word + 1).next_power_of_two(), 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }
}

/// Everything that went wrong in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries that came once more.
    pub duplicated: u64,
    /// Deliveries that came after a later one of the same publisher and topic.
    pub reordered: u64,
    /// Payloads that are not as they were sent.
    pub corrupt: u64,
    /// Messages that came to a subscriber, or under a topic, that is not theirs; or that nobody sent.
    pub misrouted: u64,
    /// Acknowledgements that say no.
    pub refused: u64,
    /// Connections that the broker ended.
    pub ended: u64,
    /// Publishers whose window did not move for two seconds.
    pub stalled: u64,
    /// Sessions that should have been there and were not.
    pub forgotten: u64,
}

impl Faults {
    /// Name and number of each.
    pub fn each(&self) -> [(&'static str, u64); 9] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupt", self.corrupt),
            ("misrouted", self.misrouted),
            ("refused", self.refused),
            ("ended", self.ended),
            ("stalled", self.stalled),
            ("forgotten", self.forgotten),
        ]
    }

    /// All of them together, of which QoS 0 may lose.
    pub fn total(&self, may_lose: bool) -> u64 {
        let all: u64 = self.each().iter().map(|(_, count)| count).sum();
        if may_lose { all - self.lost } else { all }
    }

    /// Adds what another part of the run found.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.misrouted += other.misrouted;
        self.refused += other.refused;
        self.ended += other.ended;
        self.stalled += other.stalled;
        self.forgotten += other.forgotten;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(arrivals: &[u32]) -> (Stream, Vec<Seen>) {
        let mut stream = Stream::default();
        let seen = arrivals.iter().map(|&sequence| stream.see(sequence)).collect();
        (stream, seen)
    }

    #[test]
    fn in_order_nothing_is_missing() {
        let (stream, seen) = stream(&[0, 1, 2]);
        assert_eq!((seen, stream.lost(3), stream.next()), (vec![Seen::New; 3], 0, 3));
    }

    #[test]
    fn swapped_is_late_and_not_lost() {
        let (stream, seen) = stream(&[0, 2, 1, 3]);
        assert_eq!((seen, stream.lost(4)), (vec![Seen::New, Seen::New, Seen::Late, Seen::New], 0));
    }

    #[test]
    fn a_gap_stays_lost_until_it_is_filled() {
        let (mut stream, _) = stream(&[0, 5]);
        assert_eq!(stream.lost(8), 4 + 2);
        assert_eq!([3, 3, 1, 2, 4, 4].map(|sequence| stream.see(sequence)), {
            use Seen::{Again, Late};
            [Late, Again, Late, Late, Late, Again]
        });
        assert_eq!(stream.lost(8), 2);
    }

    #[test]
    fn twice_is_again_also_the_first() {
        let (stream, seen) = stream(&[0, 0, 1, 0, 1]);
        assert_eq!(seen, [Seen::New, Seen::Again, Seen::New, Seen::Again, Seen::Again]);
        assert_eq!(stream.lost(2), 0);
    }

    #[test]
    fn a_set_knows_each_once() {
        let mut set = Set::default();
        assert!(set.insert(700) && set.insert(0) && set.insert(63) && set.insert(64));
        assert!(!set.insert(700) && !set.insert(64));
    }

    #[test]
    fn qos_0_may_lose_and_nothing_else() {
        let faults = Faults { lost: 5, reordered: 1, ..Faults::default() };
        assert_eq!((faults.total(true), faults.total(false)), (1, 6));
    }
}
