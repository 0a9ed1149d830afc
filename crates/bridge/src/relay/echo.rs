//! Which messages passed lately, by a hash of each, in bounded memory: to suspect a circle, and to break one.

use std::time::Duration;

use cork_proto::Time;

/// So often within [`MEMORY`] the same message is suspicious.
const ALIKE_MAX: u32 = 4;

/// More often in each second it is so beyond what most sensors do.
const ALIKE_PER_SECOND_MAX: u32 = 100;

/// How long a message is remembered, which is also the longest way round that is noticed.
const MEMORY: Duration = Duration::from_secs(60);

/// After so long a message that came once makes room for another one.
const ONCE: Duration = Duration::from_secs(10);

/// Places where a message may stand.
const WAYS: usize = 8;

/// Watched while all is well: 96 KiB.
const WATCHED: usize = 4096;

/// Expected back at once, where messages go round: 1.5 MiB.
const EXPECTED: usize = 65_536;

#[derive(Copy, Clone, Debug, Default)]
struct Entry {
    hash: u64,
    since: Time,
    count: u32,
}

impl Entry {
    fn is_for(&self, now: Time, hash: u64) -> bool {
        self.hash == hash && self.count > 0 && now.since(self.since) < MEMORY
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
    /// It came again, as a steady sensor's does.
    Some,
    /// It came far more often.
    Strong,
}

/// Counts what comes again. It knows some of very many messages, which is enough: in a circle all come again.
#[derive(Debug, Default)]
pub(super) struct Watched(Vec<Entry>);

impl Watched {
    /// How suspicious this message is.
    pub(super) fn again(&mut self, now: Time, hash: u64) -> Suspicion {
        let places = places(&mut self.0, WATCHED, hash);
        if let Some(known) = places.iter_mut().find(|entry| entry.is_for(now, hash)) {
            known.count += 1;
            let seconds = u32::try_from(now.since(known.since).as_secs()).unwrap_or(u32::MAX);
            return match known.count {
                count if count > ALIKE_PER_SECOND_MAX.saturating_mul(seconds + 1) => Suspicion::Strong,
                count if count >= ALIKE_MAX => Suspicion::Some,
                _ => Suspicion::None,
            };
        }
        let is_free = |entry: &&mut Entry| {
            let age = now.since(entry.since);
            entry.count == 0 || age >= MEMORY || (entry.count == 1 && age >= ONCE)
        };
        if let Some(free) = places.iter_mut().find(is_free) {
            *free = Entry { hash, since: now, count: 1 };
        }
        Suspicion::None
    }
}

/// What passed and has not come back.
#[derive(Debug, Default)]
pub(super) struct Expected(Vec<Entry>);

impl Expected {
    /// Whether a message like this one is expected back, which is then over; otherwise this one is from now on.
    pub(super) fn is_echo(&mut self, now: Time, hash: u64) -> bool {
        let places = places(&mut self.0, EXPECTED, hash);
        if let Some(known) = places.iter_mut().find(|entry| entry.is_for(now, hash)) {
            known.count -= 1;
            return true;
        }
        let age = |entry: &&mut Entry| if entry.count == 0 { Duration::MAX } else { now.since(entry.since) };
        if let Some(oldest) = places.iter_mut().max_by_key(age) {
            *oldest = Entry { hash, since: now, count: 1 };
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
