//! The subscriptions of one Session, in order.

use std::{collections::BTreeSet, ops::Bound};

use crate::session::Subscription;

/// A sorted set. Most Sessions have one subscription, which lies here without memory of its own.
///
/// A tree for many, not a sorted vector: one UNSUBSCRIBE may name a million filters, each at the front of the rest.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "two words in every Session, not four")]
pub(crate) enum Subscriptions {
    #[default]
    None,
    One(Subscription),
    Many(Box<BTreeSet<Subscription>>),
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }

    pub(crate) fn contains(&self, subscription: Subscription) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => *one == subscription,
            Self::Many(many) => many.contains(&subscription),
        }
    }

    /// False when it was there.
    pub(crate) fn insert(&mut self, subscription: Subscription) -> bool {
        match self {
            Self::None => {
                *self = Self::One(subscription);
                true
            }
            Self::One(one) if *one == subscription => false,
            Self::One(one) => {
                *self = Self::Many(Box::new(BTreeSet::from([*one, subscription])));
                true
            }
            Self::Many(many) => many.insert(subscription),
        }
    }

    /// True when it was there.
    pub(crate) fn remove(&mut self, subscription: Subscription) -> bool {
        match self {
            Self::None => false,
            Self::One(one) if *one == subscription => {
                *self = Self::None;
                true
            }
            Self::One(_) => false,
            Self::Many(many) => {
                let removed = many.remove(&subscription);
                if many.is_empty() {
                    *self = Self::None;
                }
                removed
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.after(None)
    }

    /// Those behind `place`; all when there is none.
    pub(crate) fn after(&self, place: Option<Subscription>) -> impl Iterator<Item = &Subscription> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(one) => (Some(one).filter(|one| place.is_none_or(|place| **one > place)), None),
            Self::Many(many) => {
                let first = place.map_or(Bound::Unbounded, Bound::Excluded);
                (None, Some(many.range((first, Bound::Unbounded))))
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use cork_topic::FilterId;

    use super::*;

    fn one(n: u32) -> Subscription {
        Subscription { filter: FilterId(n / 2), group: n % 2 }
    }

    #[test]
    fn is_a_sorted_set() {
        // Every sequence of six insertions and removals of three subscriptions.
        for sequence in 0..6_u32.pow(6) {
            let (mut set, mut model, mut steps) = (Subscriptions::default(), BTreeSet::new(), sequence);
            for _ in 0..6 {
                let (put, it) = (steps % 2 == 0, one(steps % 6 / 2));
                steps /= 6;
                if put {
                    assert_eq!(set.insert(it), model.insert(it));
                } else {
                    assert_eq!(set.remove(it), model.remove(&it));
                }
                assert_eq!((set.len(), set.contains(it)), (model.len(), model.contains(&it)));
                assert!(set.iter().eq(model.iter()));
                assert!(set.after(Some(it)).eq(model.range((Bound::Excluded(it), Bound::Unbounded))));
            }
        }
    }

    #[test]
    fn is_two_words() {
        assert_eq!(size_of::<Subscriptions>(), 2 * size_of::<usize>());
    }
}
