//! How many answers of other shards are still to come, where one that was asked may pass the question on.

/// How an answer of another shard counts for who waits for it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// It comes from a shard that was not asked: one that was passed it on.
    pub passed: bool,
    /// To how many others the question was passed on; each answers, too. Who was passed it does not split it again: it
    /// answers, or passes it on and says nothing.
    pub more: u16,
}

/// Answers that are still to come, in any order: one that was passed on may be here before it is known that it was.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    asked: u32,
    /// Below zero while more came than were announced.
    passed: i32,
}

impl Waits {
    /// So many were asked.
    pub(crate) const fn of(asked: u16) -> Self {
        Self { asked: asked as u32, passed: 0 }
    }

    /// One more was asked.
    pub(crate) const fn ask(&mut self) {
        self.asked += 1;
    }

    /// Whether there is nothing to wait for.
    #[inline]
    pub(crate) const fn is_over(self) -> bool {
        self.asked == 0 && self.passed == 0
    }

    /// One answer came.
    pub(crate) const fn answered(&mut self, tally: Tally) {
        if tally.passed {
            self.passed -= 1;
        } else {
            self.asked = self.asked.saturating_sub(1);
        }
        self.passed += tally.more as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, Waits};

    #[test]
    fn answers_that_were_passed_on_come_in_any_order() {
        let (plain, passed) = (Tally::default(), Tally { passed: true, more: 0 });
        let split = Tally { passed: false, more: 2 };
        for order in [
            [split, plain, passed, passed],
            [passed, passed, split, plain],
            [passed, plain, passed, split],
            [plain, passed, split, passed],
        ] {
            let mut waits = Waits::of(2);
            for (n, tally) in order.into_iter().enumerate() {
                assert!(!waits.is_over(), "{order:?} at {n}");
                waits.answered(tally);
            }
            assert!(waits.is_over(), "{order:?}");
        }
        assert!(Waits::of(0).is_over());
    }
}
