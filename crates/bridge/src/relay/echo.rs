//! Which messages passed lately, by a hash of each, in bounded memory: to suspect a circle, and to break one.

use std::time::Duration;

use cork_proto::Time;

/// So often, each time this soon after the time before, the same message is suspicious. A steady sensor takes a second
/// or more, the way round a fraction of one, unless very much goes round.
const ALIKE_MAX: u32 = 4;
const SOON: Duration = Duration::from_millis(750);

/// Where so many pass in a second, and half of them not for the first time, all are.
const CROWD: u32 = 200;

/// More often in each second it is so beyond what most sensors do.
const ALIKE_PER_SECOND_MAX: u32 = 100;

/// How long a message is remembered, which is also the longest way round that is noticed.
const MEMORY: Duration = Duration::from_secs(60);

/// After so long a message that came once makes room for another one.
const ONCE: Duration = Duration::from_secs(10);

/// Places where a message may stand.
const WAYS: usize = 8;

/// Watched while all is well: 256 KiB.
const WATCHED: usize = 8192;

/// Expected back at once, where messages go round: 1.5 MiB.
const EXPECTED: usize = 65_536;

#[derive(Copy, Clone, Debug, Default)]
struct Entry {
    hash: u64,
    since: Time,
    last: Time,
    count: u32,
}

impl Entry {
    fn first(now: Time, hash: u64) -> Self {
        Self { hash, since: now, last: now, count: 1 }
    }

    fn is_for(&self, now: Time, hash: u64) -> bool {
        self.hash == hash && self.count > 0 && now.since(self.last) < MEMORY
    }
}

/// The places of a hash. The table is made when it is first needed.
fn places(entries: &mut Vec<Entry>, len: usize, hash: u64) -> &mut [Entry] {
    if entries.is_empty() {
        entries.resize(len, Entry::default());
    }
    let first = usize::try_from(hash % (len / WAYS) as u64).unwrap_or_default() * WAYS;
    &mut entries[first..first + WAYS]
}

/// Whether a message may be one that goes round.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    None,
    /// It came again and again, or most messages did.
    Some,
    /// It came far more often.
    Strong,
}

/// Counts what comes again. It knows some of very many messages, which is enough: in a circle all come again.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    entries: Vec<Entry>,
    crowd: Crowd,
}

/// How many of those that are known pass in a second, and how many of them came again.
#[derive(Copy, Clone, Debug, Default)]
struct Crowd {
    since: Time,
    passed: u32,
    again: u32,
    /// The second before was one of many messages that came again.
    goes_round: bool,
}

impl Crowd {
    fn count(&mut self, now: Time, again: bool) {
        if now.since(self.since) >= Duration::from_secs(1) {
            let goes_round = self.passed >= CROWD && self.again * 2 >= self.passed;
            *self = Self { since: now, goes_round, ..Self::default() };
        }
        self.passed += 1;
        self.again += u32::from(again);
    }
}

impl Watched {
    /// How suspicious this message is.
    pub(super) fn again(&mut self, now: Time, hash: u64) -> Suspicion {
        let places = places(&mut self.entries, WATCHED, hash);
        if let Some(known) = places.iter_mut().find(|entry| entry.is_for(now, hash)) {
            self.crowd.count(now, true);
            if now.since(known.last) >= SOON {
                *known = Entry::first(now, hash);
            } else {
                (known.last, known.count) = (now, known.count + 1);
            }
            let seconds = u32::try_from(now.since(known.since).as_secs()).unwrap_or(u32::MAX);
            return match known.count {
                count if count > ALIKE_PER_SECOND_MAX.saturating_mul(seconds + 1) => Suspicion::Strong,
                count if count >= ALIKE_MAX || self.crowd.goes_round => Suspicion::Some,
                _ => Suspicion::None,
            };
        }
        let is_free = |entry: &&mut Entry| {
            let age = now.since(entry.last);
            entry.count == 0 || age >= MEMORY || (entry.count == 1 && age >= ONCE)
        };
        if let Some(free) = places.iter_mut().find(is_free) {
            *free = Entry::first(now, hash);
            self.crowd.count(now, false);
        }
        Suspicion::None
    }
}

/// What passed and has not come back.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected(Vec<Entry>);

impl Expected {
    /// Whether a message like this one is expected back, which is then over; otherwise this one is from now on.
    pub(super) fn is_echo(&mut self, now: Time, hash: u64) -> bool {
        let places = places(&mut self.0, EXPECTED, hash);
        if let Some(known) = places.iter_mut().find(|entry| entry.is_for(now, hash)) {
            known.count -= 1;
            return true;
        }
        let age = |entry: &&mut Entry| if entry.count == 0 { Duration::MAX } else { now.since(entry.last) };
        if let Some(oldest) = places.iter_mut().max_by_key(age) {
            *oldest = Entry::first(now, hash);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_comes_back_once() {
        let (mut expected, now) = (Expected::default(), Time::from_micros(5));
        // Far more than there is room for: the newest are still known.
        for hash in 0..200_000 {
            assert!(!expected.is_echo(now + Duration::from_micros(hash), hash), "{hash}");
        }
        let now = now + Duration::from_secs(1);
        assert!((150_000..200_000).all(|hash| expected.is_echo(now, hash)));
        assert!(!expected.is_echo(now, 199_999));
        assert!(!expected.is_echo(now + MEMORY, 199_999), "too late for an echo");
        assert_eq!(expected.0.len(), EXPECTED);
    }

    #[test]
    fn many_other_messages_do_not_hide_one_that_comes_again() {
        let (mut watched, mut suspicious) = (Watched::default(), 0);
        for lap in 0..100 {
            let now = Time::from_micros(1_000_000 * lap);
            suspicious += (0..50_000).filter(|hash| watched.again(now, *hash) != Suspicion::None).count();
        }
        assert!(suspicious > 1000, "{suspicious}");
    }
}
