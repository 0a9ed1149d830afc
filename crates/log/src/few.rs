//! The places of a Session's subscriptions, by the hash of the filter: of nearly all Sessions none or one.

use std::collections::BTreeMap;

use crate::queue::Place;

/// A map that needs no memory of its own for one entry, for which a tree takes a node of 240 bytes.
#[derive(Debug, Default)]
pub(crate) enum Few {
    #[default]
    None,
    One(u64, Place),
    #[expect(clippy::box_collection, reason = "three words in every Session, not four")]
    Many(Box<BTreeMap<u64, Place>>),
}

impl Few {
    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&Place> {
        match self {
            Self::None => None,
            Self::One(one, place) => (*one == key).then_some(place),
            Self::Many(many) => many.get(&key),
        }
    }

    /// Puts a place in; gives back what was there.
    pub(crate) fn insert(&mut self, key: u64, place: Place) -> Option<Place> {
        match self {
            Self::None => {
                *self = Self::One(key, place);
                None
            }
            Self::One(one, before) if *one == key => Some(std::mem::replace(before, place)),
            Self::One(one, before) => {
                *self = Self::Many(Box::new(BTreeMap::from([(*one, *before), (key, place)])));
                None
            }
            Self::Many(many) => many.insert(key, place),
        }
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<Place> {
        match self {
            Self::One(one, place) if *one == key => {
                let place = *place;
                *self = Self::None;
                Some(place)
            }
            Self::None | Self::One(..) => None,
            Self::Many(many) => {
                let removed = many.remove(&key);
                if many.len() == 1
                    && let Some((key, place)) = many.pop_first()
                {
                    *self = Self::One(key, place);
                }
                removed
            }
        }
    }

    /// All places, in the order of the keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Place> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(_, place) => (Some(place), None),
            Self::Many(many) => (None, Some(many.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((any::<bool>(), 0u64..4, any::<u32>()), 0..40)) {
            let (mut few, mut model) = (Few::default(), BTreeMap::new());
            for (insert, key, offset) in steps {
                let place = Place { offset, ..Place::default() };
                if insert {
                    prop_assert_eq!(few.insert(key, place), model.insert(key, place));
                } else {
                    prop_assert_eq!(few.remove(key), model.remove(&key));
                }
                prop_assert!(few.values().eq(model.values()));
                prop_assert_eq!(few.is_empty(), model.is_empty());
                prop_assert!((0..4).all(|key| few.get(key) == model.get(&key)));
                prop_assert_eq!(matches!(few, Few::Many(_)), model.len() > 1);
            }
        }
    }

    #[test]
    fn it_takes_three_words() {
        assert_eq!(size_of::<Few>(), 24);
    }
}
