//! A set of Packet Identifiers.

use cork_packet::PacketId;

/// Eight kilobytes once anything is in it, nothing before.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    words: Vec<u64>,
    count: usize,
}

/// One bit for each of 0 to 65,535.
const WORDS: usize = 1024;

impl Ids {
    /// Every identifier there is.
    pub(crate) fn all() -> Self {
        let mut words = vec![u64::MAX; WORDS];
        words[0] ^= 1; // there is no identifier 0
        Self { words, count: usize::from(u16::MAX) }
    }

    /// Puts `id` in. False when it was there.
    pub(crate) fn insert(&mut self, id: PacketId) -> bool {
        if self.words.is_empty() {
            self.words.resize(WORDS, 0);
        }
        let (word, bit) = place(id);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(new);
        new
    }

    /// Takes `id` out. False when it was not there.
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        let (word, bit) = place(id);
        let Some(bits) = self.words.get_mut(word).filter(|bits| **bits & bit != 0) else { return false };
        *bits ^= bit;
        self.count -= 1;
        true
    }

    pub(crate) fn contains(&self, id: PacketId) -> bool {
        let (word, bit) = place(id);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn place(id: PacketId) -> (usize, u64) {
    let number = usize::from(id.get());
    (number / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    #[test]
    fn identifiers_come_and_go() {
        let mut ids = Ids::default();
        assert!(ids.is_empty() && !ids.contains(id(1)) && !ids.remove(id(1)));
        for number in [1, 63, 64, 65535] {
            assert!(ids.insert(id(number)) && !ids.insert(id(number)) && ids.contains(id(number)));
        }
        assert!(ids.remove(id(64)) && !ids.contains(id(64)) && !ids.remove(id(64)) && !ids.is_empty());
    }

    #[test]
    fn all_are_all_but_zero() {
        let mut ids = Ids::all();
        for number in 1..=u16::MAX {
            assert!(ids.remove(id(number)), "{number}");
        }
        assert!(ids.is_empty());
    }
}
