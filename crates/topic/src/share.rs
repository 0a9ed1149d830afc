//! The members of one shared subscription (5.0 section 4.8.2), chosen in turn.
//!
//! One `ShareGroup` stands for one pair of ShareName and Topic Filter. It knows whose turn it is, not what a member
//! can take: the caller says so per message with a closure.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// Members of one `$share/<name>/<filter>`, handed out in a round in ascending key order.
///
/// The turn is remembered as the key picked last, not as a position: members may come and go without giving anybody
/// two turns in a row or passing anybody over. A member that leaves and comes back under the same key right after its
/// turn waits for the next round.
#[derive(Debug, Clone)]
pub struct ShareGroup<M: Copy> {
    members: BTreeMap<u32, M>,
    last: Option<u32>,
}

impl<M: Copy> ShareGroup<M> {
    /// A group without members.
    #[must_use]
    pub const fn new() -> Self {
        Self { members: BTreeMap::new(), last: None }
    }

    /// Adds a member, or replaces what is known of it and returns the former value. A replaced member keeps its place.
    pub fn insert(&mut self, key: u32, member: M) -> Option<M> {
        self.members.insert(key, member)
    }

    /// Takes a member out; the others keep their order and the turn.
    pub fn remove(&mut self, key: u32) -> Option<M> {
        self.members.remove(&key)
    }

    /// The member with this key.
    #[must_use]
    pub fn get(&self, key: u32) -> Option<M> {
        self.members.get(&key).copied()
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is left; the owner then drops the group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All members in ascending key order.
    pub fn members(&self) -> impl Iterator<Item = (u32, M)> + '_ {
        self.members.iter().map(|(key, member)| (*key, *member))
    }

    /// The next member after the one picked last for which `usable` holds, or `None` when it holds for nobody.
    ///
    /// `usable` is asked at most once per member. Costs one look-up in an ordered tree plus the members skipped.
    /// Each message goes to one member only (5.0 [MQTT-4.8.2-4] to [MQTT-4.8.2-6] say which members are candidates;
    /// the choice among them is ours).
    pub fn pick(&mut self, mut usable: impl FnMut(u32, &M) -> bool) -> Option<(u32, M)> {
        let mut ask = |(key, member): (&u32, &M)| usable(*key, member).then_some((*key, *member));
        let picked = match self.last {
            None => self.members.iter().find_map(ask),
            Some(last) => self
                .members
                .range((Excluded(last), Unbounded))
                .find_map(&mut ask)
                .or_else(|| self.members.range(..=last).find_map(ask)),
        }?;
        self.last = Some(picked.0);
        Some(picked)
    }
}

impl<M: Copy> Default for ShareGroup<M> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(keys: impl IntoIterator<Item = u32>) -> ShareGroup<char> {
        let mut group = ShareGroup::new();
        for key in keys {
            group.insert(key, 'm');
        }
        group
    }

    fn picks(group: &mut ShareGroup<char>, count: usize) -> Vec<u32> {
        (0..count).filter_map(|_| group.pick(|_, _| true)).map(|(key, _)| key).collect()
    }

    #[test]
    fn everybody_gets_a_turn_in_key_order() {
        assert_eq!(picks(&mut group([5, 1, u32::MAX, 0]), 6), [0, 1, 5, u32::MAX, 0, 1]);
    }

    #[test]
    fn nobody_is_picked_from_an_empty_group() {
        assert_eq!(group([]).pick(|_, _| true), None);
    }

    #[test]
    fn unusable_members_are_asked_once_and_skipped() {
        let mut group = group([1, 2, 3]);
        assert_eq!(group.pick(|key, _| key == 2).map(|it| it.0), Some(2));
        let mut asked = Vec::new();
        let picked = group.pick(|key, _| {
            asked.push(key);
            false
        });
        assert_eq!((picked, asked), (None, vec![3, 1, 2]));
        assert_eq!(picks(&mut group, 1), [3], "a round without a taker does not move the turn");
    }

    #[test]
    fn the_only_usable_member_is_picked_again() {
        let mut group = group([1, 2, 3]);
        for _ in 0..3 {
            assert_eq!(group.pick(|key, _| key == 2).map(|it| it.0), Some(2));
        }
    }

    #[test]
    fn leaving_gives_nobody_a_second_turn() {
        let mut group = group([1, 2, 3, 4]);
        assert_eq!(picks(&mut group, 2), [1, 2]);
        group.remove(1);
        group.remove(2);
        assert_eq!(picks(&mut group, 3), [3, 4, 3]);
    }

    #[test]
    fn coming_back_after_ones_turn_waits_for_the_next_round() {
        let mut group = group([1, 2, 3]);
        assert_eq!(picks(&mut group, 2), [1, 2]);
        group.remove(2);
        group.insert(2, 'n');
        assert_eq!(picks(&mut group, 4), [3, 1, 2, 3]);
        assert_eq!((group.get(2), group.len()), (Some('n'), 3));
    }

    #[test]
    fn replacing_returns_the_former_value_and_keeps_the_place() {
        let mut group = group([1, 2]);
        assert_eq!(picks(&mut group, 1), [1]);
        assert_eq!(group.insert(1, 'x'), Some('m'));
        assert_eq!(picks(&mut group, 1), [2]);
        assert_eq!(group.members().collect::<Vec<_>>(), [(1, 'x'), (2, 'm')]);
    }

    proptest! {
        /// Within any stretch of picks, a member that stays has been picked as often as any other that stays, give
        /// or take one, whatever the rest of the group does.
        #[test]
        fn members_that_stay_share_alike(changes in proptest::collection::vec((0u32..12, any::<bool>()), 1..200)) {
            let stay = [2, 5, 9];
            let mut group = group(stay);
            let mut turns = [0i64; 12];
            for (key, join) in changes {
                if !stay.contains(&key) {
                    if join { group.insert(key, 'g'); } else { group.remove(key); }
                }
                turns[group.pick(|_, _| true).unwrap().0 as usize] += 1;
                let counts = stay.map(|key| turns[key as usize]);
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            }
        }
    }
}
