//! Where the retained message of each topic lies: about 50 bytes a topic, whatever its length.

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
const TABLES: usize = 256;

#[derive(Debug)]
pub(crate) struct Retained {
    tables: Vec<HashTable<Entry>>,
    hash: FixedState,
    check: FixedState,
}

impl Retained {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            tables: vec![HashTable::new(); TABLES],
            hash: FixedState::with_seed(seed),
            check: FixedState::with_seed(!seed),
        }
    }

    pub(crate) fn hash(&self, topic: &str) -> TopicHash {
        (self.hash.hash_one(topic), u32::try_from(self.check.hash_one(topic) >> 32).unwrap_or(0))
    }

    fn table((hash, check): TopicHash) -> (usize, u64, impl Fn(&Entry) -> bool) {
        // The table's own position and control bits are the highest and lowest ones of `hash`.
        let at = check as usize % TABLES;
        (at, hash, move |entry: &Entry| entry.hash == hash && entry.check == check)
    }

    pub(crate) fn get(&self, topic: TopicHash) -> Option<&Entry> {
        let (at, hash, same) = Self::table(topic);
        self.tables[at].find(hash, same)
    }

    /// Puts an entry in; gives back what was there.
    pub(crate) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let (at, hash, same) = Self::table((entry.hash, entry.check));
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
        let (at, hash, same) = Self::table(topic);
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
