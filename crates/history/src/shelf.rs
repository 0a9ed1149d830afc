//! What one rule keeps: a folder of segments, oldest first, and the open part.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cork_store::{MessageId, Row, WallTime, rows};

use crate::{
    block::{self, Block},
    found::{Aside, Found, Left, only_holds},
    open_part::{OpenPart, open_number},
    options::{OpenError, Rule},
    segment::{BlockHead, Segment},
};

/// Rows of a block, at most.
const BLOCK_ROWS_MAX: usize = 16_384;
/// A shelf is cut into so many parts, of which the oldest goes when its time or space is up.
const PARTS: u64 = 16;

pub(crate) struct Shelf {
    pub(crate) rule: Rule,
    folder: PathBuf,
    segments: Vec<Segment>,
    /// Number of the next one: no file of the folder has it, whatever is in it.
    next_segment: u64,
    /// Files of rows that are damaged; what was sound of them is in a block.
    aside: Vec<Aside>,
    open: OpenPart,
    /// Bytes of the messages in the open part.
    open_weight: usize,
    syncs: bool,
}

/// A block and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: Arc<Path>,
    pub(crate) file: Arc<File>,
    pub(crate) head: BlockHead,
}

/// What a query looks at; it stays whole whatever becomes of the shelf.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Blocks that overlap the time in question, oldest first.
    pub(crate) places: Vec<Place>,
    /// Of the open part, as bytes.
    open: Vec<u8>,
    /// What arrived before is not kept any more.
    pub(crate) cutoff: u64,
}

impl Snapshot {
    /// What is in no block.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        rows(&self.open).flatten()
    }
}

impl Shelf {
    pub(crate) fn open(folder: PathBuf, rule: Rule, syncs: bool) -> Result<(Self, Left), OpenError> {
        let at = |path: &Path| OpenError::at(path);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let mut found = Found::in_folder(&folder)?;
        let segments = found.segments()?;
        let sealed = segments.iter().filter_map(Segment::next_row).max().unwrap_or(0);
        let (unsealed, next) = found.rows(sealed)?;
        found.make_room_for(next)?;
        let first = next.saturating_sub(unsealed.len() as u64);
        let mut open = OpenPart::create(&folder, next).map_err(at(&folder))?;
        open.rows = unsealed;
        let (next_segment, aside) = (found.next_segment, Vec::new());
        let mut shelf = Self { rule, folder, segments, next_segment, aside, open, open_weight: 0, syncs };
        shelf.seal_rows(first).map_err(at(&shelf.folder))?;
        shelf.write_about().map_err(at(&shelf.folder))?;
        found.finish()?;
        shelf.aside = found.aside;
        Ok((shelf, found.left))
    }

    /// The rule stands beside its data: what nobody configures any more ends as it was promised.
    fn write_about(&self) -> io::Result<()> {
        let (new, about) = (self.folder.join("about.new"), self.folder.join("about"));
        fs::write(&new, self.rule.to_text())?;
        fs::rename(new, about) // a crash leaves the old one or the new one
    }

    pub(crate) fn set_rule(&mut self, rule: Rule) -> io::Result<()> {
        if self.rule != rule {
            self.rule = rule;
            self.write_about()?;
        }
        Ok(())
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        let aside = self.aside.iter().map(|file| file.bytes).sum::<u64>();
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + self.open.bytes + aside
    }

    /// Rows it has.
    pub(crate) fn rows(&self) -> u64 {
        let sealed = self.segments.iter().flat_map(|segment| &segment.blocks);
        sealed.map(|block| u64::from(block.rows)).sum::<u64>() + self.open.rows.len() as u64
    }

    /// Latest arrival in it, in microseconds since 1970.
    pub(crate) fn last_arrival(&self) -> u64 {
        let sealed = self.segments.iter().flat_map(|segment| &segment.blocks).map(|block| block.last);
        let open = self.open.rows.iter().map(|row| row.id);
        sealed.chain(open).map(|id| id.arrived.0).max().unwrap_or(0)
    }

    fn block_weight_max(&self) -> usize {
        usize::try_from((self.rule.max_bytes / (2 * PARTS)).clamp(16 << 10, 2 << 20)).unwrap_or(2 << 20)
    }

    /// Takes a row in. It is there, and in the file, behind the next [`Shelf::flush`].
    pub(crate) fn push(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.open.push(row);
        self.open_weight += row.cost_bytes();
        if self.open.rows.len() >= BLOCK_ROWS_MAX || self.open_weight >= self.block_weight_max() {
            self.flush()?;
            self.seal()?;
        }
        Ok(())
    }

    /// Writes what was taken in.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let flushed = self.open.flush();
        if flushed.is_err() {
            self.open_weight = self.open.rows.iter().map(|row| row.cost_bytes()).sum();
        }
        flushed
    }

    /// Makes a block of the open part and begins another one.
    fn seal(&mut self) -> io::Result<()> {
        if self.open.rows.is_empty() {
            return Ok(());
        }
        let next = self.open.first_row.saturating_add(self.open.rows.len() as u64);
        self.seal_rows(self.open.first_row)?;
        self.open.first_row = next; // also if there can be no new file: this one has what is sealed, too
        let mut next = OpenPart::create(&self.folder, next)?;
        if self.syncs {
            File::open(&self.folder)?.sync_all()?; // the new file's name, before the old one goes
        }
        std::mem::swap(&mut next.rows, &mut self.open.rows); // its memory; it is empty
        std::mem::replace(&mut self.open, next).remove()
    }

    /// Makes a block of the rows of the open part. If that fails they stay where they are, in memory and in their file.
    fn seal_rows(&mut self, first_row: u64) -> io::Result<()> {
        let rows: Vec<Row<'_>> = self.open.rows.iter().collect();
        if rows.is_empty() {
            return Ok(());
        }
        let ids = || rows.iter().map(|row| row.id);
        let range = (ids().min().unwrap_or_default(), ids().max().unwrap_or_default());
        let count = u32::try_from(rows.len()).map_err(io::Error::other)?;
        let body = block::seal(&rows);
        drop(rows);
        if self.needs_segment(range.1) {
            let number = self.next_segment;
            self.next_segment = number.saturating_add(1);
            self.segments.push(Segment::create(&self.folder, number)?);
            if self.syncs {
                File::open(&self.folder)?.sync_all()?;
            }
        }
        let Some(segment) = self.segments.last_mut() else { return Ok(()) };
        segment.append(&body, count, first_row, range)?;
        if self.syncs
            && let Err(error) = segment.file.sync_data()
        {
            segment.drop_last();
            return Err(error);
        }
        self.open.clear();
        self.open_weight = 0;
        Ok(())
    }

    /// Whether the next block begins a new segment: the last one is large, or spans long.
    fn needs_segment(&self, last: MessageId) -> bool {
        let Some(segment) = self.segments.last().filter(|last| last.closed_at.is_none()) else { return true };
        let most = (self.rule.max_bytes / PARTS).clamp(32 << 10, 16 << 20);
        let span = micros(self.rule.keep) / PARTS;
        let began = segment.blocks.first().map_or(last, |block| block.first);
        segment.bytes >= most || last.arrived.0.saturating_sub(began.arrived.0) > span
    }

    /// Lets go of what is too old or too much. A part goes as a whole: nothing is copied, nobody waits.
    pub(crate) fn retain(&mut self, now: WallTime) -> io::Result<()> {
        let cutoff = self.cutoff(now);
        let oldest = self.open.rows.iter().next().map_or(u64::MAX, |row| row.id.arrived.0);
        if now.0.saturating_sub(oldest.min(now.0)) > micros(self.rule.keep) / PARTS {
            self.seal()?;
        }
        while let Some(file) = self.aside.first() {
            if file.written >= cutoff && !self.is_too_much() {
                break;
            }
            fs::remove_file(&file.path)?;
            self.aside.remove(0);
        }
        while let Some(segment) = self.segments.first() {
            if segment.latest() >= cutoff && !self.is_too_much() {
                break;
            }
            fs::remove_file(&segment.path)?;
            self.segments.remove(0);
        }
        Ok(())
    }

    fn is_too_much(&self) -> bool {
        self.bytes() + self.block_weight_max() as u64 > self.rule.max_bytes
    }

    fn cutoff(&self, now: WallTime) -> u64 {
        now.0.saturating_sub(micros(self.rule.keep))
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.open.sync()
    }

    /// What there is between two times, in microseconds since 1970.
    pub(crate) fn snapshot(&self, since: u64, until: u64, now: WallTime) -> Snapshot {
        let cutoff = self.cutoff(now);
        let from = since.max(cutoff);
        let blocks = self.segments.iter().flat_map(|segment| {
            let place = |head: &BlockHead| Place {
                path: Arc::clone(&segment.path),
                file: Arc::clone(&segment.file),
                head: *head,
            };
            segment.blocks.iter().map(place)
        });
        let places =
            blocks.filter(|place| place.head.last.arrived.0 >= from && place.head.first.arrived.0 < until);
        Snapshot { places: places.collect(), open: self.open.rows.as_bytes().to_vec(), cutoff }
    }

    /// Whether a message that a crash may have kept from here is missing; `known` remembers the block looked at last.
    pub(crate) fn misses(&self, id: MessageId, now: WallTime, known: &mut Known) -> bool {
        let blocks = || self.segments.iter().flat_map(|segment| &segment.blocks);
        // What was let go shall not come back.
        let gone = blocks().next().is_some_and(|block| block.first_row > 0 && id < block.first);
        if gone || id.arrived.0 < self.cutoff(now) || self.open.rows.iter().any(|row| row.id == id) {
            return false;
        }
        for segment in &self.segments {
            for block in segment.blocks.iter().filter(|block| block.first <= id && id <= block.last) {
                if known.block != Some((block.first, block.at)) {
                    let body = block.read(&segment.file).ok().flatten().unwrap_or_default();
                    let ids = Block::open(&body).and_then(|block| block.ids()).unwrap_or_default();
                    *known = Known { block: Some((block.first, block.at)), ids: ids.into_iter().collect() };
                }
                if known.ids.contains(&id) {
                    return false;
                }
            }
        }
        true
    }

    /// Removes a shelf that nobody asks for any more, once it is empty. Whether it is gone. What cannot be read stays,
    /// and its folder.
    pub(crate) fn remove_if_empty(&self) -> bool {
        let empty = self.segments.is_empty() && self.aside.is_empty() && self.open.rows.is_empty();
        let known = |name: &str| name == "about" || open_number(name).is_some();
        empty && only_holds(&self.folder, known).unwrap_or(false) && fs::remove_dir_all(&self.folder).is_ok()
    }
}

/// Identities of the rows of one block.
#[derive(Default)]
pub(crate) struct Known {
    block: Option<(MessageId, u64)>,
    ids: BTreeSet<MessageId>,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
