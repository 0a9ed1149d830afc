//! Frames: segment headers, commit headers, records. The bytes stand in `docs/design/store.md`.

use crate::wire::{Cursor, Malformed};

/// The version of the format this code writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes at the beginning of a segment that its header takes: a sector of its own.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 512;
/// Bytes of a commit before its records.
pub(crate) const COMMIT_HEADER_BYTES: usize = 48;
/// Bytes of a record before its kind.
pub(crate) const FRAME_BYTES: usize = 8;
/// Most bytes of records in one commit: offsets within a segment are 32 bits.
pub(crate) const COMMIT_BYTES_MAX: usize = 2 << 30;

const SEGMENT_MAGIC: [u8; 8] = *b"CorkLog\n";
const SEGMENT_CHECKSUM_AT: usize = SEGMENT_HEADER_BYTES - 4;
pub(crate) const COMMIT_MAGIC: [u8; 4] = [0xc7, b'C', b'm', 0xd3];
const COMMIT_CHECKSUM_AT: usize = COMMIT_HEADER_BYTES - 4;

/// Which log this is: random, the same in all of its segments.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogId(pub(crate) [u8; 16]);

/// What all checksums of a segment begin with, so that nothing from elsewhere is taken for its own.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(id: LogId, segment: u32) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&id.0);
        hasher.update(&segment.to_le_bytes());
        Self(hasher.finalize())
    }

    fn checksum(self, offset: u32, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0 ^ offset);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// The name of a segment's file.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:016x}")
}

/// The number in a segment's name; `None` for other files.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let number = u32::try_from(u64::from_str_radix(name, 16).ok()?).ok()?;
    (segment_name(number) == name).then_some(number)
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) epoch: u32,
    pub(crate) id: LogId,
    /// Bytes that the file had when it was made; it never gets shorter.
    pub(crate) length: u64,
    /// The segment before it; 0: there was none, or the header is of an older program that did not say.
    pub(crate) before: u32,
}

/// Why a segment's header is none.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// All zero, or too short: never written.
    Blank,
    /// Of a format this code does not know.
    Newer(u32),
    /// Not what was written.
    Damaged(&'static str),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&u64::from(self.number).to_le_bytes());
        bytes[24..40].copy_from_slice(&self.id.0);
        bytes[40..48].copy_from_slice(&self.length.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.before.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..SEGMENT_CHECKSUM_AT]);
        bytes[SEGMENT_CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], name_says: u32) -> Result<Self, HeaderFault> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(HeaderFault::Blank);
        }
        let damaged = |what| HeaderFault::Damaged(what);
        let bytes: &[u8; SEGMENT_HEADER_BYTES] =
            bytes.try_into().map_err(|_| damaged("the segment's header is cut short"))?;
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(damaged("this is no segment of a log"));
        }
        let (covered, checksum) = bytes.split_at(SEGMENT_CHECKSUM_AT);
        if crc32fast::hash(covered).to_le_bytes() != *checksum {
            return Err(damaged("the checksum of the segment's header is wrong"));
        }
        // The magic, the version and the checksum of the sector stay where they are in every later version.
        let mut cursor = Cursor::new(&bytes[8..]);
        let mut read = || -> Result<(u32, u64, Self), Malformed> {
            let (version, epoch, number) = (cursor.u32()?, cursor.u32()?, cursor.u64()?);
            let id = LogId(cursor.take(16)?.try_into().map_err(|_| Malformed)?);
            let (length, before) = (cursor.u64()?, cursor.u32()?);
            Ok((version, number, Self { number: name_says, epoch, id, length, before }))
        };
        let (version, number, header) = read().map_err(|_| damaged("the segment's header is cut short"))?;
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Newer(version));
        }
        if number != u64::from(name_says) {
            return Err(damaged("the segment's header has another number than the file's name"));
        }
        Ok(header)
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitHeader {
    /// Ascending by one.
    pub(crate) number: u64,
    /// Records in it.
    pub(crate) records: u32,
    /// Bytes of records in it.
    pub(crate) bytes: u32,
    /// All commits up to this one were durable when this one was written.
    pub(crate) synced: u64,
    /// Commits before this one are not needed once this one is durable.
    pub(crate) first: u64,
    /// Latest arrival of a message so far.
    pub(crate) latest_arrival: u64,
}

impl CommitHeader {
    pub(crate) fn encode(&self, seed: Seed, offset: u32) -> [u8; COMMIT_HEADER_BYTES] {
        let mut bytes = [0; COMMIT_HEADER_BYTES];
        bytes[..4].copy_from_slice(&COMMIT_MAGIC);
        bytes[4..8].copy_from_slice(&self.records.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.latest_arrival.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.bytes.to_le_bytes());
        let checksum = seed.checksum(offset, &bytes[..COMMIT_CHECKSUM_AT]);
        bytes[COMMIT_CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header at `offset` of the segment, if there is a sound one.
    pub(crate) fn decode(bytes: &[u8], seed: Seed, offset: u32) -> Option<Self> {
        let (covered, checksum) = bytes.get(..COMMIT_HEADER_BYTES)?.split_at(COMMIT_CHECKSUM_AT);
        if covered[..4] != COMMIT_MAGIC || seed.checksum(offset, covered).to_le_bytes() != *checksum {
            return None;
        }
        let mut cursor = Cursor::new(&covered[4..]);
        let mut read = || -> Result<Self, Malformed> {
            let records = cursor.u32()?;
            let (number, synced) = (cursor.u64()?, cursor.u64()?);
            let (first, latest_arrival) = (cursor.u64()?, cursor.u64()?);
            Ok(Self { number, records, bytes: cursor.u32()?, synced, first, latest_arrival })
        };
        read().ok()
    }
}

/// The record that begins at `bytes[0]`, which is `offset` of the segment: its kind and fields.
pub(crate) fn read_frame(bytes: &[u8], seed: Seed, offset: u32) -> Result<&[u8], &'static str> {
    let length = frame_length(bytes).ok_or("a record is cut short")?;
    let covered = bytes.get(4..length).ok_or("a record is longer than what holds it")?;
    if seed.checksum(offset, covered).to_le_bytes() != bytes[..4] {
        return Err("the checksum of a record is wrong");
    }
    Ok(&bytes[FRAME_BYTES..length])
}

/// Bytes of the record that begins here, its frame included, as far as it says so itself.
pub(crate) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(4..FRAME_BYTES)?.try_into().ok()?);
    FRAME_BYTES.checked_add(usize::try_from(length).ok()?)
}

/// A commit in the making.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    /// Where each record begins.
    frames: Vec<u32>,
}

impl Builder {
    /// Begins anew, and keeps the memory unless it is unusually much.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.resize(COMMIT_HEADER_BYTES, 0);
        self.frames.clear();
    }

    pub(crate) fn records(&self) -> usize {
        self.frames.len()
    }

    /// Its length on disk so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record: `fill` writes kind and fields.
    pub(crate) fn record(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.frames.push(u32::try_from(start).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(&[0; FRAME_BYTES]);
        fill(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start - FRAME_BYTES).unwrap_or(u32::MAX);
        self.bytes[start + 4..start + FRAME_BYTES].copy_from_slice(&length.to_le_bytes());
    }

    /// Checksums everything for its place, and gives out what to write.
    pub(crate) fn seal(&mut self, header: CommitHeader, seed: Seed, offset: u32) -> &[u8] {
        let head = header.encode(seed, offset);
        self.bytes[..COMMIT_HEADER_BYTES].copy_from_slice(&head);
        for at in 0..self.frames.len() {
            let start = self.frames[at];
            let end = self.frames.get(at + 1).map_or(self.bytes.len(), |next| *next as usize);
            let checksum = seed.checksum(offset + start, &self.bytes[start as usize + 4..end]);
            self.bytes[start as usize..start as usize + 4].copy_from_slice(&checksum.to_le_bytes());
        }
        &self.bytes
    }

    /// Record `at`: where in the commit it begins, its kind and fields.
    pub(crate) fn get(&self, at: usize) -> (u32, &[u8]) {
        let start = self.frames[at];
        let end = self.frames.get(at + 1).map_or(self.bytes.len(), |next| *next as usize);
        (start, &self.bytes[start as usize + FRAME_BYTES..end])
    }
}

/// A larger buffer than this is given back after use.
const KEPT_BYTES_MAX: usize = 4 << 20;
