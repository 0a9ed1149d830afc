//! Where the retained message of each topic lies: about 65 bytes a topic, whatever its length.

use std::hash::BuildHasher;

use cork_store::{MessageId, WallTime};
use foldhash::quality::FixedState;
use hashbrown::HashTable;

use crate::queue::Place;

/// Two hashes of a topic: 96 bits that stand for it. Their seed is random, so that nobody can make two topics the same.
pub(crate) type TopicHash = (u64, u32);

/// What is known of a topic.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Entry {
    hash: u64,
    arrived: u64,
    place: Place,
    check: u32,
    epoch: u32,
    shard: u16,
    /// The topic has no retained message; older ones that come late are told by the identity of what cleared it.
    pub(crate) cleared: bool,
}

impl Entry {
    pub(crate) fn new((hash, check): TopicHash, id: MessageId, place: Place, cleared: bool) -> Self {
        Self { hash, check, place, cleared, arrived: id.arrived.0, epoch: id.epoch, shard: id.shard }
    }

    pub(crate) const fn place(&self) -> Place {
        self.place
    }

    pub(crate) const fn id(&self) -> MessageId {
        MessageId { arrived: WallTime(self.arrived), shard: self.shard, epoch: self.epoch }
    }
}

/// Tables, so that one that grows does not make everybody wait.
///
/// They take unequal parts of the topics: the last twice as many as the first, with the same ratio from each to the next.
/// So, however many topics there are, some have just doubled and some are nearly full; were they all alike, all would
/// double together, and half of the memory be empty at once.
const TABLES: usize = 256;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^32")]
fn starts() -> Vec<u32> {
    let share = |table: usize| f64::exp2(table as f64 / TABLES as f64) - 1.0;
    (1..TABLES).map(|table| (share(table) * 2f64.powi(32)) as u32).collect()
}

#[derive(Debug)]
pub(crate) struct Retained {
    tables: Vec<HashTable<Entry>>,
    /// The first `check` of each table but the first.
    starts: Vec<u32>,
    hash: FixedState,
    check: FixedState,
}

impl Retained {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            tables: vec![HashTable::new(); TABLES],
            starts: starts(),
            hash: FixedState::with_seed(seed),
            check: FixedState::with_seed(!seed),
        }
    }

    pub(crate) fn hash(&self, topic: &str) -> TopicHash {
        (self.hash.hash_one(topic), u32::try_from(self.check.hash_one(topic) >> 32).unwrap_or(0))
    }

    fn table(&self, (hash, check): TopicHash) -> (usize, u64, impl Fn(&Entry) -> bool + use<>) {
        // The table's own position and control bits are the highest and lowest ones of `hash`.
        let at = self.starts.partition_point(|start| *start <= check);
        (at, hash, move |entry: &Entry| entry.hash == hash && entry.check == check)
    }

    pub(crate) fn get(&self, topic: TopicHash) -> Option<&Entry> {
        let (at, hash, same) = self.table(topic);
        self.tables[at].find(hash, same)
    }

    /// Puts an entry in; gives back what was there.
    pub(crate) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let (at, hash, same) = self.table((entry.hash, entry.check));
        match self.tables[at].entry(hash, same, |entry| entry.hash) {
            hashbrown::hash_table::Entry::Occupied(mut there) => {
                Some(std::mem::replace(there.get_mut(), entry))
            }
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(entry);
                None
            }
        }
    }

    /// Forgets that a topic was cleared, if it was cleared in this segment or before and is not in use again.
    pub(crate) fn forget_cleared(&mut self, topic: TopicHash, segment: u32) {
        let (at, hash, same) = self.table(topic);
        if let Ok(there) = self.tables[at].find_entry(hash, same)
            && there.get().cleared
            && there.get().place.segment <= segment
        {
            there.remove();
        }
    }

    /// Places of all retained messages, in no particular order.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.tables.iter().flat_map(HashTable::iter).filter(|entry| !entry.cleared).map(Entry::place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_never_all_half_empty() {
        let mut retained = Retained::new(7);
        let (mut count, mut most) = (0, 0.0_f64);
        for topic in 0..120_000_u64 {
            let hash = retained.hash(&topic.to_string());
            let id = MessageId { arrived: WallTime(topic), shard: 0, epoch: 1 };
            assert!(retained.insert(Entry::new(hash, id, Place::default(), false)).is_none());
            assert_eq!(retained.get(hash).map(Entry::id), Some(id));
            count += 1;
            if count > 40_000 && count % 1_000 == 0 {
                let places: usize = retained.tables.iter().map(HashTable::capacity).sum();
                most = most.max(places as f64 / f64::from(count));
            }
        }
        assert!(most < 1.5, "{most} places for one topic");
        assert_eq!(retained.places().count(), 120_000);
    }
}
