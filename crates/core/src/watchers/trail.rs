//! Which topic comes next: a client that publishes many mostly goes through them in the same order again and again.
//!
//! So a topic that is noted names the one that followed it on its connection, and the next message is compared with that
//! one instead of being jotted down and looked up. Where clients keep no order that would cost more than it saves, so
//! it is done only while it is right mostly; otherwise it is only seen, of what was looked up anyway, whether it would
//! have been.

use super::said::Entry;

/// No topic.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Sessions that are followed apart from each other; a power of two. More share their places, and spoil them for each other.
const SESSIONS_MAX: usize = 1 << 16;
/// As far as trust goes, in either direction: so many that were right, one after the other, make a trail trusted.
const FULL_TRUST: i32 = 64;
/// What was right so often has to make up for one time that was not, as that cost a look at a topic in vain.
const WRONG_COSTS: i32 = 4;

/// Where nothing is in order, it is learned for some of so many looks at what was jotted down: enough to see tens of
/// thousands of topics come twice.
const LEARNED: u32 = 2048;
const LEARNED_OF: u32 = 8192;

/// Where the topics of all Sessions go on.
pub(super) struct Trail {
    steps: Vec<Step>,
    /// How often what was jotted down has been looked through.
    looks: u32,
    /// Below 0 it is only learned.
    trust: i32,
}

/// Where a Session is.
#[derive(Copy, Clone)]
pub(super) struct Step {
    /// The topic of its last message that was noted.
    last: u32,
    /// The one that came after that the time before; nowhere if there is none, or a message waits to be looked up.
    pub(super) next: u32,
}

impl Step {
    /// The topic was the one that came next, and after that `next` did.
    #[inline]
    pub(super) fn go_on(&mut self, next: u32) {
        *self = Self { last: self.next, next };
    }
}

impl Trail {
    pub(super) const fn new() -> Self {
        Self { steps: Vec::new(), looks: 0, trust: -FULL_TRUST }
    }

    #[inline]
    pub(super) const fn is_trusted(&self) -> bool {
        self.trust >= 0
    }

    /// Whether what is not where it was thought to be is an exception.
    #[inline]
    pub(super) const fn is_certain(&self) -> bool {
        self.trust >= FULL_TRUST - WRONG_COSTS
    }

    /// Where a Session is, if it can be trusted that it goes on from there.
    #[inline]
    pub(super) fn step(&mut self, from: u32) -> Option<&mut Step> {
        if !self.is_trusted() {
            return None;
        }
        self.steps.get_mut(from as usize % SESSIONS_MAX)
    }

    /// Where a message was noted is where it was thought to be.
    #[inline]
    pub(super) fn was_right(&mut self) {
        self.trust = FULL_TRUST.min(self.trust + 1);
    }

    /// It is not, or is not to be asked. A Session's messages are looked up from here on until that is done.
    #[cold]
    pub(super) fn leave(&mut self, from: u32, was_wrong: bool) {
        if let Some(step) = self.steps.get_mut(from as usize % SESSIONS_MAX) {
            step.next = NOWHERE;
        }
        if was_wrong {
            self.trust -= WRONG_COSTS;
        }
    }

    /// Messages are looked up. Returns whether it is to be learned where they are found.
    pub(super) fn learns(&mut self) -> bool {
        self.looks = self.looks.wrapping_add(1);
        self.trust > -FULL_TRUST || self.looks % LEARNED_OF <= LEARNED
    }

    /// A Session's next message was found here.
    #[inline]
    pub(super) fn learn(&mut self, from: u32, slot: u32, entries: &mut [Entry]) {
        let Some(step) = self.steps.get_mut(from as usize % SESSIONS_MAX) else { return self.grow(from) };
        let right = entries.get_mut(step.last as usize).is_some_and(|last| {
            let before = std::mem::replace(&mut last.next, slot);
            before == slot
        });
        *step = Step { last: slot, next: entries.get(slot as usize).map_or(NOWHERE, |entry| entry.next) };
        self.trust = (self.trust + if right { 1 } else { -1 }).clamp(-FULL_TRUST, FULL_TRUST);
    }

    #[cold]
    fn grow(&mut self, from: u32) {
        // What the broker itself publishes, and Wills, have no Session.
        if from != crate::conn::NO_SESSION {
            let sessions = (from as usize % SESSIONS_MAX + 1).next_power_of_two();
            self.steps.resize(sessions, Step { last: NOWHERE, next: NOWHERE });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_trusted_once_it_was_seen_again_and_no_more_when_it_is_lost() {
        let mut entries: Vec<Entry> = (0..50).map(|_| Entry::default()).collect();
        let mut trail = Trail::new();
        for round in 0..6 {
            assert_eq!(trail.is_trusted(), round > 2, "in round {round}");
            // Two Sessions, one of them the other way round.
            for slot in 0..25 {
                trail.learn(7, slot, &mut entries);
                trail.learn(2, 49 - slot, &mut entries);
            }
        }
        assert_eq!(trail.step(7).map(|step| step.next), Some(0));
        assert_eq!(trail.step(2).map(|step| step.next), Some(49));
        trail.leave(7, true);
        assert_eq!(trail.step(7).map(|step| step.next), Some(NOWHERE), "until it is found again");
        trail.learn(7, 3, &mut entries);
        assert_eq!(trail.step(7).map(|step| step.next), Some(4));
        assert!(trail.step(70).is_none(), "nothing is known of it");
        trail.learn(crate::conn::NO_SESSION, 3, &mut entries);
        assert!(trail.steps.len() < 64, "nor is of those without a Session");
        let mut random = 7_u32;
        for _ in 0..200 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            trail.learn(7, (random >> 16) % 50, &mut entries);
        }
        assert!(!trail.is_trusted());
    }
}
