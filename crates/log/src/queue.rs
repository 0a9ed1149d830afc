//! Where things lie, and the deliveries of one Session by number: about 14 bytes each.

use std::collections::BTreeMap;

/// Where a record lies, and how much of its segment's weight it is.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// Of a delivery: [`cork_store::Message::cost_bytes`].
    pub(crate) weight: u32,
}

impl Place {
    /// Whether it is the same record.
    pub(crate) const fn is_at(&self, segment: u32, offset: u32) -> bool {
        self.segment == segment && self.offset == offset
    }
}

const CHUNK: u64 = 64;

/// Up to 64 consecutive numbers: a bit for each, and the places of those that are there.
#[derive(Clone, Debug, Default)]
struct Chunk {
    there: u64,
    places: Vec<Place>,
}

impl Chunk {
    const fn bit(number: u64) -> u64 {
        1 << (number % CHUNK)
    }

    /// Index into `places` of this number, there or not.
    const fn rank(&self, number: u64) -> usize {
        (self.there & (Self::bit(number) - 1)).count_ones() as usize
    }

    fn get(&self, number: u64) -> Option<&Place> {
        if self.there & Self::bit(number) == 0 { None } else { self.places.get(self.rank(number)) }
    }
}

/// Deliveries that wait, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    chunks: BTreeMap<u64, Chunk>,
    len: u64,
    bytes: u64,
}

impl Queue {
    /// How many wait.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Their weights together.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Place> {
        self.chunks.get(&(number / CHUNK))?.get(number)
    }

    /// Puts a delivery in; gives back where it was before.
    pub(crate) fn insert(&mut self, number: u64, place: Place) -> Option<Place> {
        let chunk = self.chunks.entry(number / CHUNK).or_default();
        let rank = chunk.rank(number);
        self.bytes += u64::from(place.weight);
        if chunk.there & Chunk::bit(number) != 0 {
            let before = std::mem::replace(&mut chunk.places[rank], place);
            self.bytes -= u64::from(before.weight);
            return Some(before);
        }
        chunk.there |= Chunk::bit(number);
        chunk.places.insert(rank, place);
        self.len += 1;
        None
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Place> {
        let chunk = self.chunks.get_mut(&(number / CHUNK))?;
        let rank = chunk.rank(number);
        if chunk.there & Chunk::bit(number) == 0 {
            return None;
        }
        chunk.there &= !Chunk::bit(number);
        let place = chunk.places.remove(rank);
        if chunk.there == 0 {
            self.chunks.remove(&(number / CHUNK));
        }
        self.len -= 1;
        self.bytes -= u64::from(place.weight);
        Some(place)
    }

    /// Takes out some, from the front.
    pub(crate) fn pop_chunk(&mut self) -> Option<Vec<Place>> {
        let places = self.chunks.pop_first()?.1.places;
        self.len -= places.len() as u64;
        self.bytes -= places.iter().map(|place| u64::from(place.weight)).sum::<u64>();
        Some(places)
    }

    /// All from a number on, ascending.
    pub(crate) fn from(&self, first: u64) -> impl Iterator<Item = (u64, Place)> + '_ {
        self.chunks.range(first / CHUNK..).flat_map(move |(high, chunk)| {
            (0..CHUNK)
                .filter(|low| chunk.there & 1 << low != 0)
                .map(move |low| high * CHUNK + low)
                .zip(chunk.places.iter().copied())
                .filter(move |(number, _)| *number >= first)
        })
    }

    /// The smallest number from here on.
    pub(crate) fn next_from(&self, first: u64) -> Option<u64> {
        self.from(first).next().map(|(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..400_u64, any::<bool>(), 0..9_u32), 0..600)) {
            let (mut queue, mut model) = (Queue::default(), BTreeMap::new());
            for (number, insert, weight) in steps {
                let place = Place { segment: 1, offset: weight, weight };
                if insert {
                    prop_assert_eq!(queue.insert(number, place), model.insert(number, place));
                } else {
                    prop_assert_eq!(queue.remove(number), model.remove(&number));
                }
                prop_assert_eq!(queue.len(), model.len() as u64);
                prop_assert_eq!(queue.get(number), model.get(&number));
            }
            prop_assert_eq!(queue.bytes(), model.values().map(|place| u64::from(place.weight)).sum::<u64>());
            for first in [0, 63, 64, 65, 399] {
                let expected: Vec<_> = model.range(first..).map(|(number, place)| (*number, *place)).collect();
                prop_assert_eq!(queue.from(first).collect::<Vec<_>>(), expected);
            }
            while queue.pop_chunk().is_some() {}
            prop_assert_eq!((queue.len(), queue.bytes()), (0, 0));
        }
    }
}
