//! From a node and a level to the child: one table for all nodes.
//!
//! A slot is one word, the high half a hash, the low half the child's id, so that a probe reads one cache line and a
//! miss almost never touches a node. Slots lie in the order of their hashes, each at its home (the hash's top bits) or
//! right after the slots before it: a search ends at the first larger hash, and growing copies front to back.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// Slots, a power of two, of the smallest table.
const MIN_BITS: u32 = 6;

/// Room behind the last home for its overflow; more is added when needed.
const TAIL: usize = 8;

/// The table; ids are never 0 (the root is nobody's child), so neither is a used slot.
#[derive(Debug)]
pub(super) struct ChildTable {
    /// `2^bits` homes and a tail; the last slot is always empty.
    slots: Vec<u64>,
    bits: u32,
    len: usize,
}

impl ChildTable {
    pub(super) fn new() -> Self {
        Self { slots: vec![0; (1 << MIN_BITS) + TAIL], bits: MIN_BITS, len: 0 }
    }

    /// The first child with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.candidates(hash).find(|id| is_it(*id))
    }

    /// The first child with this hash; to be checked against the node.
    #[inline]
    pub(super) fn candidate(&self, hash: u32) -> Option<u32> {
        self.candidates(hash).next()
    }

    /// Reads the slot where a search for the hash begins; 0 if it would find nothing.
    #[inline]
    pub(super) fn touch(&self, hash: u32) -> u64 {
        self.slots[self.home(hash)]
    }

    #[inline]
    fn candidates(&self, hash: u32) -> impl Iterator<Item = u32> + '_ {
        self.slots[self.home(hash)..]
            .iter()
            .take_while(move |slot| **slot != 0 && hash_of(**slot) <= hash)
            .filter(move |slot| hash_of(**slot) == hash)
            .map(|slot| id_of(*slot))
    }

    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        debug_assert_ne!(id, 0);
        if (self.len + 1) * 10 > 7 << self.bits {
            self.resize(self.bits + 1);
        }
        let mut at = self.home(hash);
        while self.slots[at] != 0 && hash_of(self.slots[at]) <= hash {
            at += 1;
        }
        let mut carried = u64::from(hash) << 32 | u64::from(id);
        while carried != 0 {
            std::mem::swap(&mut self.slots[at], &mut carried);
            at += 1;
        }
        self.close();
        self.len += 1;
    }

    pub(super) fn remove(&mut self, hash: u32, id: u32) {
        let slot = u64::from(hash) << 32 | u64::from(id);
        let home = self.home(hash);
        let Some(at) = self.slots[home..].iter().take_while(|it| **it != 0).position(|it| *it == slot) else {
            debug_assert!(false, "a child that is not in the table");
            return;
        };
        let mut at = home + at;
        // Slots that are not at home move up.
        while self.slots[at + 1] != 0 && self.home(hash_of(self.slots[at + 1])) <= at {
            self.slots[at] = self.slots[at + 1];
            at += 1;
        }
        self.slots[at] = 0;
        self.len -= 1;
        if self.bits > MIN_BITS && self.len * 8 < 1 << self.bits {
            self.resize(self.bits - 1);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        (hash >> (u32::BITS - self.bits)) as usize
    }

    fn resize(&mut self, bits: u32) {
        self.bits = bits.min(u32::BITS);
        let former = std::mem::replace(&mut self.slots, vec![0; (1 << self.bits) + TAIL]);
        let mut next = 0;
        for slot in former.into_iter().filter(|slot| *slot != 0) {
            next = self.home(hash_of(slot)).max(next);
            if next == self.slots.len() {
                self.slots.push(0);
            }
            self.slots[next] = slot;
            next += 1;
        }
        self.close();
    }

    /// Keeps an empty slot at the end, where every search stops.
    fn close(&mut self) {
        if self.slots.last() != Some(&0) {
            self.slots.push(0);
        }
    }
}

#[inline]
fn hash_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn id_of(slot: u64) -> u32 {
    slot as u32
}

/// Keyed hashes of levels. All of foldhash's constants are derived from the secret seed, so that a peer cannot
/// construct levels that collide.
#[derive(Debug)]
pub(super) struct LevelHasher {
    seed: u64,
    mix: u64,
    shared: SharedSeed,
}

impl LevelHasher {
    pub(super) fn new(seed: u64) -> Self {
        // A seed may be small (a simulation's); its bits are spread before anything is multiplied by them, as a factor
        // of few bits would crowd all children into a few homes.
        let seed = spread(seed);
        let mix = spread(seed) | 1;
        Self { seed, mix, shared: SharedSeed::from_u64(spread(mix)) }
    }

    /// Gives everything the same hash.
    #[cfg(test)]
    pub(super) fn colliding() -> Self {
        Self { mix: 0, ..Self::new(0) }
    }

    /// A level's hash, which serves for all parents.
    #[inline]
    pub(super) fn level(&self, level: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(level);
        hasher.finish()
    }

    /// The key of the level under a parent.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "folding the product's halves")]
    pub(super) fn child(&self, parent: u32, level: u64) -> u32 {
        // An odd factor spreads neighbouring ids over all bits before they meet the level.
        let parent = u64::from(parent).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let product = u128::from(level ^ parent) * u128::from(self.mix);
        let folded = (product >> 64) as u64 ^ product as u64;
        (folded >> 32) as u32
    }
}

/// Every bit of the result depends on every bit of the number (the finalizer of splitmix64).
fn spread(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// With every seed, small ones too, a slot stands near its home. (It did not with seed 0: inserting the millionth
    /// filter took 50 microseconds.)
    #[test]
    fn no_seed_crowds_the_table() {
        for seed in (0..8).chain([u64::MAX, 1 << 63]) {
            let (hasher, mut table) = (LevelHasher::new(seed), ChildTable::new());
            for parent in 0..300u32 {
                for level in 0..100 {
                    let hash = hasher.child(parent, hasher.level(level.to_string().as_bytes()));
                    table.insert(hash, parent * 100 + level + 1);
                }
            }
            let away = |(at, slot): (usize, &u64)| at.saturating_sub(table.home(hash_of(*slot)));
            let used = table.slots.iter().enumerate().filter(|(_, slot)| **slot != 0);
            let furthest = used.map(away).max().unwrap();
            assert!(furthest < 100, "seed {seed}: {furthest} slots from home");
        }
    }

    #[test]
    fn a_full_last_home_overflows_behind_the_table() {
        let mut table = ChildTable::new();
        for id in 1..=40 {
            table.insert(u32::MAX, id);
        }
        assert_eq!(table.find(u32::MAX, |id| id == 40), Some(40));
        for id in 1..=40 {
            table.remove(u32::MAX, id);
        }
        assert_eq!((table.len(), table.candidate(u32::MAX)), (0, None));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec((0u32..40, 1u32..30, any::<bool>()), 1..400)) {
            let mut table = ChildTable::new();
            let mut model = BTreeSet::new();
            for (hash, id, add) in steps {
                // Few hashes, spread over the homes and crowding the last.
                let hash = if hash < 20 { hash << 27 } else { u32::MAX - hash };
                if add && model.insert((hash, id)) {
                    table.insert(hash, id);
                } else if !add && model.remove(&(hash, id)) {
                    table.remove(hash, id);
                }
                prop_assert_eq!(table.len(), model.len());
                for id in 1..30 {
                    let found = table.find(hash, |it| it == id).is_some();
                    prop_assert_eq!(found, model.contains(&(hash, id)));
                }
            }
        }
    }
}
