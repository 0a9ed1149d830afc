//! What a shelf's folder has at the start: what is sound is taken over, wherever it stands; what is not is said.
//!
//! Only what a crash left unfinished is cut off: the end of the newest segment, while its rows still have their own file.
//! Everything else that cannot be read stays where it is, and its number is never given to another file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use cork_store::Rows;

use crate::{
    open_part::{open_number, read_rows},
    options::OpenError,
    segment::{Fault, Segment, Unsound, segment_number},
};

/// What was found beside sound data.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Bytes that a crash left unfinished; they were cut off.
    pub(crate) cut_bytes: u64,
    /// Places that are not as they were written: file, offset, bytes.
    pub(crate) damaged: Vec<String>,
    /// Files that could not be read.
    pub(crate) unreadable: Vec<String>,
}

/// A damaged file of rows that was renamed. It goes as everything does: when it is too old, or too much.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// In microseconds since 1970.
    pub(crate) written: u64,
}

/// A folder at the start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    blocks: Vec<(u64, PathBuf)>,
    numbered_rows: Vec<(u64, PathBuf)>,
    /// No file has this number, or a later one.
    pub(crate) next_segment: u64,
    pub(crate) aside: Vec<Aside>,
    pub(crate) left: Left,
    /// The newest segment ends in something damaged.
    damaged_end: bool,
    /// Files of rows that are not needed any more once those are in a block.
    rows: Vec<PathBuf>,
    /// Likewise, but something in them is damaged.
    damaged_rows: Vec<PathBuf>,
}

impl Found {
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, OpenError> {
        let at = || OpenError::at(folder);
        let mut found = Self { next_segment: 1, ..Self::default() };
        for entry in fs::read_dir(folder).map_err(at())? {
            let path = entry.map_err(at())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            found.blocks.extend(segment_number(&name).map(|number| (number, path.clone())));
            found.numbered_rows.extend(open_number(&name).map(|number| (number, path.clone())));
            if name.contains(ASIDE) {
                found.aside.push(aside(&path).map_err(OpenError::at(&path))?);
            }
        }
        found.blocks.sort();
        found.numbered_rows.sort();
        found.aside.sort_by_key(|file| file.written);
        if let Some((last, _)) = found.blocks.last() {
            found.next_segment = last.saturating_add(1);
        }
        Ok(found)
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&mut self) -> Result<Vec<Segment>, OpenError> {
        let mut segments: Vec<Segment> = Vec::new();
        let newest = self.blocks.len();
        for (nth, (_, path)) in (1..).zip(std::mem::take(&mut self.blocks)) {
            let at = || OpenError::at(&path);
            match Segment::open(path.clone()) {
                Ok((mut segment, unsound)) => {
                    let before = segments.iter().filter_map(Segment::next_row).max();
                    self.judge(&mut segment, &unsound, before, nth == newest).map_err(at())?;
                    segments.push(segment);
                }
                Err(Fault::Io(error)) => return Err(at()(error)),
                Err(Fault::Unborn) => fs::remove_file(&path).map_err(at())?,
                Err(Fault::Foreign(why)) => {
                    self.left.unreadable.push(format!("{}: {why}", path.display()));
                }
            }
        }
        Ok(segments)
    }

    /// Cuts off what a crash left unfinished, and says what else is damaged.
    fn judge(
        &mut self,
        segment: &mut Segment,
        unsound: &Unsound,
        before: Option<u64>,
        newest: bool,
    ) -> io::Result<()> {
        let path = Arc::clone(&segment.path);
        let mut tail = unsound.tail;
        if newest && tail == 0 && !segment.last_is_whole()? {
            let last = segment.blocks.last().copied();
            if last.is_some_and(|last| self.has_rows_from(last.first_row)) {
                let end = segment.bytes;
                segment.drop_last();
                tail = end - segment.bytes;
            } else if let Some(last) = last {
                self.say(&path, last.at, last.bytes.into());
            }
        }
        for (from, bytes) in &unsound.ranges {
            self.say(&path, *from, *bytes);
        }
        // The rows' file goes only when their block is on disk: while it is there, nothing is lost by cutting.
        let next = segment.next_row().max(before).unwrap_or(0);
        if tail > 0 && newest && self.has_rows_from(next) {
            self.left.cut_bytes += tail;
            segment.cut_tail()?;
            tail = 0;
        }
        if tail > 0 {
            self.say(&path, segment.bytes, tail);
        }
        self.damaged_end = tail > 0;
        if tail > 0 || !unsound.ranges.is_empty() {
            segment.close()?;
        }
        Ok(())
    }

    fn has_rows_from(&self, number: u64) -> bool {
        self.numbered_rows.iter().any(|(first, _)| *first == number)
    }

    fn say(&mut self, path: &Path, from: u64, bytes: u64) {
        self.left.damaged.push(format!("{}: {bytes} bytes from offset {from} on", path.display()));
    }

    /// Rows that are in no block, which end before row `sealed`; and the number of the next row.
    pub(crate) fn rows(&mut self, sealed: u64) -> Result<(Rows, u64), OpenError> {
        let (mut next, mut unsealed) = (sealed, Rows::default());
        if self.numbered_rows.is_empty() && self.damaged_end {
            next = next.saturating_add(ROWS_SKIPPED); // those of the block that cannot be read, of which nobody says how many it has
        }
        for (first, path) in std::mem::take(&mut self.numbered_rows) {
            let at = || OpenError::at(&path);
            let read = read_rows(&path).map_err(at())?;
            let end = first.saturating_add(read.rows.len() as u64);
            let known = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
            let empty = read.rows.is_empty();
            read.rows.iter().skip(known).for_each(|row| unsealed.push(&row));
            next = next.max(end);
            self.left.cut_bytes += read.torn;
            for (from, bytes) in &read.damaged {
                self.say(&path, *from, *bytes);
            }
            if read.damaged.is_empty() {
                self.rows.push(path);
            } else if empty {
                self.aside.push(set_aside(&path).map_err(at())?); // its number may be the next one
            } else {
                self.damaged_rows.push(path);
            }
        }
        Ok((unsealed, next))
    }

    /// A file of this number that has no rows makes room for the next one.
    pub(crate) fn make_room_for(&mut self, next: u64) -> Result<(), OpenError> {
        let own = |path: &PathBuf| path.file_name().and_then(|name| open_number(&name.to_string_lossy()));
        for path in self.rows.extract_if(.., |path| own(path) == Some(next)) {
            fs::remove_file(&path).map_err(OpenError::at(&path))?;
        }
        Ok(())
    }

    /// All rows are in a block: their files go, or are set aside if not all in them could be read.
    pub(crate) fn finish(&mut self) -> Result<(), OpenError> {
        for path in self.rows.drain(..) {
            fs::remove_file(&path).map_err(OpenError::at(&path))?;
        }
        for path in self.damaged_rows.drain(..) {
            self.aside.push(set_aside(&path).map_err(OpenError::at(&path))?);
        }
        Ok(())
    }
}

/// More than a block has.
const ROWS_SKIPPED: u64 = 1 << 20;
/// In the name of a file of rows that is damaged.
const ASIDE: &str = ".rows.damaged";

/// Renames a damaged file of rows: its number is needed for others.
fn set_aside(path: &Path) -> io::Result<Aside> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let names = (1..).map(|nth| path.with_file_name(format!("{stem}{ASIDE}-{nth}")));
    let free = names.into_iter().find(|name| !name.exists()).unwrap_or_default();
    fs::rename(path, &free)?;
    aside(&free)
}

fn aside(path: &Path) -> io::Result<Aside> {
    let about = fs::metadata(path)?;
    let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let written = u64::try_from(written.as_micros()).unwrap_or(u64::MAX);
    Ok(Aside { path: path.to_owned(), bytes: about.len(), written })
}

/// Whether a folder has nothing but files with names that are `known`.
pub(crate) fn only_holds(folder: &Path, known: impl Fn(&str) -> bool) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if !known(&entry?.file_name().to_string_lossy()) {
            return Ok(false);
        }
    }
    Ok(true)
}
