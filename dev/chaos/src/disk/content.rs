//! The content of one file: as the running system sees it, and as a power cut would leave it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cork_storm::Rng;

/// What a disk writes as a whole or not at all, in bytes.
pub(crate) const SECTOR: usize = 512;
/// What space is taken in, in bytes.
pub(crate) const BLOCK: usize = 4096;

type Block = Arc<[u8; BLOCK]>;

/// Length and blocks; a block that is not there is a hole, read as zeros.
#[derive(Clone, Debug, Default)]
struct Bytes {
    length: u64,
    blocks: BTreeMap<u64, Block>,
}

impl Bytes {
    fn cut_off(&mut self, length: u64) {
        self.length = length;
        let end = length.div_ceil(BLOCK as u64);
        self.blocks.split_off(&end);
        let inside = usize::try_from(length % BLOCK as u64).unwrap_or(0);
        if inside > 0
            && let Some(block) = self.blocks.get_mut(&(end - 1))
        {
            Arc::make_mut(block)[inside..].fill(0);
        }
    }

    fn blocks_mut(&mut self, number: u64) -> &mut [u8; BLOCK] {
        Arc::make_mut(self.blocks.entry(number).or_insert_with(|| Arc::new([0; BLOCK])))
    }
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    now: Bytes,
    safe: Bytes,
    /// Blocks written since the last sync.
    dirty: BTreeSet<u64>,
    /// Whether space was taken since then without writing to it.
    taken: bool,
    /// The least length since the last sync: what lay behind it is gone for good once the new length is kept.
    shortest: u64,
}

/// What of the unsynced is lost in a power cut.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Everything.
    All,
    /// A random half, sector by sector and name by name.
    Half,
}

impl Content {
    /// Bytes.
    pub(crate) fn length(&self) -> u64 {
        self.now.length
    }

    /// Blocks taken.
    pub(crate) fn blocks(&self) -> u64 {
        self.now.blocks.len() as u64
    }

    /// Blocks that writing, or taking space for, `length` bytes at `offset` would add.
    pub(crate) fn missing(&self, offset: u64, length: u64) -> u64 {
        if length == 0 {
            return 0;
        }
        let (from, to) = (offset / BLOCK as u64, (offset + length - 1) / BLOCK as u64);
        (to - from + 1) - self.now.blocks.range(from..=to).count() as u64
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.now.length.min(offset.saturating_add(length as u64));
        let mut bytes = Vec::with_capacity(length);
        let mut at = offset;
        while at < end {
            let (number, inside) = place(at);
            let part = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK - inside);
            match self.now.blocks.get(&number) {
                Some(block) => bytes.extend_from_slice(&block[inside..inside + part]),
                None => bytes.resize(bytes.len() + part, 0),
            }
            at += part as u64;
        }
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, mut bytes: &[u8]) {
        let mut at = offset;
        while !bytes.is_empty() {
            let (number, inside) = place(at);
            let part = bytes.len().min(BLOCK - inside);
            self.now.blocks_mut(number)[inside..inside + part].copy_from_slice(&bytes[..part]);
            self.dirty.insert(number);
            at += part as u64;
            bytes = &bytes[part..];
        }
        self.now.length = self.now.length.max(at);
    }

    /// Takes space up to `offset + length`, all of it zeros where nothing was.
    pub(crate) fn allocate(&mut self, offset: u64, length: u64) {
        let end = offset + length;
        let zeros: Block = Arc::new([0; BLOCK]);
        for number in offset / BLOCK as u64..end.div_ceil(BLOCK as u64) {
            self.now.blocks.entry(number).or_insert_with(|| zeros.clone());
        }
        self.now.length = self.now.length.max(end);
        self.taken = true;
    }

    pub(crate) fn set_length(&mut self, length: u64) {
        if length < self.now.length {
            self.now.cut_off(length);
            self.shortest = self.shortest.min(length);
        }
        self.now.length = length;
    }

    /// Everything so far is safe.
    pub(crate) fn sync(&mut self) {
        if self.shortest < self.safe.length {
            self.safe.cut_off(self.shortest);
        }
        for number in std::mem::take(&mut self.dirty) {
            match self.now.blocks.get(&number) {
                Some(block) => self.safe.blocks.insert(number, block.clone()),
                None => self.safe.blocks.remove(&number),
            };
        }
        if std::mem::take(&mut self.taken) {
            for (number, block) in &self.now.blocks {
                self.safe.blocks.entry(*number).or_insert_with(|| block.clone());
            }
        }
        self.safe.length = self.now.length;
        self.shortest = self.now.length;
    }

    /// A sync that failed: what was written stays readable, counts as clean, and is not on the disk, as with ext4.
    pub(crate) fn sync_failed(&mut self) {
        self.dirty.clear();
        // Holes for `sync` above, so that no later success makes these blocks safe.
        for number in self.now.blocks.keys() {
            self.safe.blocks.entry(*number).or_insert_with(|| Arc::new([0; BLOCK]));
        }
    }

    /// A power cut.
    pub(crate) fn cut(&mut self, loss: Loss, rng: &mut Rng) {
        let mut left = self.safe.clone();
        if loss == Loss::Half {
            let resized = self.now.length != self.safe.length || self.shortest < self.safe.length;
            if resized && rng.chance(50) {
                left.cut_off(self.shortest.min(left.length));
                left.length = self.now.length;
            }
            for number in &self.dirty {
                if let Some(block) = self.now.blocks.get(number) {
                    keep_half(&mut left, *number, block, rng);
                }
            }
        }
        let end = left.length.div_ceil(BLOCK as u64);
        left.blocks.split_off(&end);
        *self = Self { now: left.clone(), shortest: left.length, safe: left, ..Self::default() };
    }
}

fn keep_half(left: &mut Bytes, number: u64, block: &Block, rng: &mut Rng) {
    for sector in 0..BLOCK / SECTOR {
        let from = sector * SECTOR;
        if number * BLOCK as u64 + (from as u64) < left.length && rng.chance(50) {
            left.blocks_mut(number)[from..from + SECTOR].copy_from_slice(&block[from..from + SECTOR]);
        }
    }
}

/// Number of the block, and where in it.
fn place(offset: u64) -> (u64, usize) {
    let inside = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
    (offset / BLOCK as u64, inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.write(0, bytes);
        content.sync();
        content
    }

    #[test]
    fn a_cut_drops_what_was_not_synced() {
        let mut content = synced(b"safe");
        content.write(0, b"LOST and more");
        assert_eq!(content.read(0, 100), b"LOST and more");
        content.cut(Loss::All, &mut Rng::new(1));
        assert_eq!(content.read(0, 100), b"safe");
    }

    #[test]
    fn a_truncation_that_was_not_synced_is_undone() {
        let mut content = synced(&[7; 10_000]);
        content.set_length(5);
        assert_eq!(content.read(0, 100), [7; 5]);
        content.cut(Loss::All, &mut Rng::new(1));
        assert_eq!(content.read(0, 20_000), [7; 10_000]);
    }

    #[test]
    fn what_was_cut_off_and_synced_does_not_come_back() {
        let mut content = synced(&[7; 10_000]);
        content.set_length(5);
        content.set_length(10_000);
        content.sync();
        content.cut(Loss::All, &mut Rng::new(1));
        assert_eq!(content.read(0, 10), [7, 7, 7, 7, 7, 0, 0, 0, 0, 0]);
        assert_eq!(content.read(4000, 6000), [0; 6000]);
    }

    #[test]
    fn half_of_the_sectors_survive_a_cut() {
        let mut content = synced(&[0; 512 * 1000]);
        content.write(0, &[1; 512 * 1000]);
        content.cut(Loss::Half, &mut Rng::new(3));
        let bytes = content.read(0, 512 * 1000);
        let whole = bytes.chunks(SECTOR).filter(|sector| sector.iter().all(|byte| *byte == 1)).count();
        let none = bytes.chunks(SECTOR).filter(|sector| sector.iter().all(|byte| *byte == 0)).count();
        assert_eq!(whole + none, 1000, "a sector is written as a whole or not at all");
        assert!((400..600).contains(&whole), "{whole}");
    }

    #[test]
    fn after_a_failed_sync_the_pages_are_read_and_never_written() {
        let mut content = synced(b"old");
        content.write(0, b"new");
        content.write(9000, b"further");
        content.sync_failed();
        assert_eq!(content.read(0, 3), b"new");
        content.write(20_000, b"later");
        content.sync();
        content.cut(Loss::All, &mut Rng::new(1));
        assert_eq!(content.read(0, 3), b"old");
        assert_eq!(content.read(9000, 7), [0; 7]);
        assert_eq!(content.read(20_000, 5), b"later");
    }

    #[test]
    fn space_is_counted_in_blocks() {
        let mut content = Content::default();
        assert_eq!(content.missing(4000, 200), 2);
        content.write(4000, &[1; 200]);
        assert_eq!((content.blocks(), content.missing(0, 8192), content.missing(0, 8193)), (2, 0, 1));
        content.allocate(0, 100_000);
        assert_eq!((content.blocks(), content.length()), (25, 100_000));
    }
}
