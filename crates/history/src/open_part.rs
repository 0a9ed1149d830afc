//! The rows of a shelf that are in no block yet: in memory, and the same bytes in a file, a frame for each write.
//!
//! A frame is its length, its checksum, a mark, and a piece of [`Rows`]. The file's name is the number of its first row.
//! When its rows are sealed, the next file is begun and this one removed; after a crash between the two, rows whose number
//! a block has already are not taken twice.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use cork_store::{Row, Rows, rows};

use crate::wire::Cursor;

/// Bytes before each frame: its length and checksum.
const FRAME_HEAD: usize = 8;
/// What a frame begins with, so that not every checksum is tried where one is looked for behind damage.
const FRAME_MARK: [u8; 2] = [0xfb, 0x52];
/// Bytes of a frame's rows, at most (one row more): what is damaged takes no more with it.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Memory for writing that is kept.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

pub(crate) struct OpenPart {
    path: PathBuf,
    file: File,
    /// Number of the first row.
    pub(crate) first_row: u64,
    pub(crate) rows: Rows,
    /// Of the rows' bytes, and rows, what is in the file,
    written: (usize, usize),
    /// and where each frame ends that is not.
    frames: Vec<usize>,
    /// Of the file.
    pub(crate) bytes: u64,
    dirty: bool,
    scratch: Vec<u8>,
}

pub(crate) fn open_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".rows")?, 16).ok()
}

impl OpenPart {
    pub(crate) fn create(folder: &Path, first_row: u64) -> io::Result<Self> {
        let path = folder.join(format!("{first_row:016x}.rows"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self {
            path,
            file,
            first_row,
            rows: Rows::default(),
            written: (0, 0),
            frames: Vec::new(),
            bytes: 0,
            dirty: false,
            scratch: Vec::new(),
        })
    }

    /// Adds a row, which is in the file behind the next [`OpenPart::flush`].
    pub(crate) fn push(&mut self, row: &Row<'_>) {
        self.rows.push(row);
        let end = self.rows.as_bytes().len();
        if end - self.frames.last().map_or(self.written.0, |end| *end) >= FRAME_BYTES_MAX {
            self.end_frame(end);
        }
    }

    fn end_frame(&mut self, end: usize) {
        self.frames.push(end);
        self.rows.begin_piece();
    }

    /// Writes what was added, as one write. If that fails it is not here any more either.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let (from, end) = (self.written.0, self.rows.as_bytes().len());
        if end == from {
            return Ok(());
        }
        if self.frames.last() != Some(&end) {
            self.end_frame(end);
        }
        self.scratch.clear();
        let mut at = from;
        for end in self.frames.drain(..) {
            put_frame(&mut self.scratch, &self.rows.as_bytes()[at..end])?;
            at = end;
        }
        let before = self.bytes;
        if let Err(error) = self.file.write_all(&self.scratch) {
            self.rows.cut(from, self.written.1);
            // Half a frame would hide those behind it.
            self.file.set_len(before)?;
            io::Seek::seek(&mut self.file, io::SeekFrom::Start(before))?;
            return Err(error);
        }
        self.bytes += self.scratch.len() as u64;
        self.written = (end, self.rows.len());
        self.scratch.shrink_to(SCRATCH_BYTES_MAX);
        self.dirty = true;
        Ok(())
    }

    /// Everything is in a block: nothing of it is needed in memory.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.frames.clear();
        self.written = (0, 0);
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Everything is in a block: the file is not needed any more.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

fn put_frame(into: &mut Vec<u8>, piece: &[u8]) -> io::Result<()> {
    let at = into.len();
    into.extend_from_slice(&[0; FRAME_HEAD]);
    into.extend_from_slice(&FRAME_MARK);
    into.extend_from_slice(piece);
    let frame = &into[at + FRAME_HEAD..];
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let crc = crc32fast::hash(frame);
    into[at..at + 4].copy_from_slice(&length.to_le_bytes());
    into[at + 4..at + FRAME_HEAD].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// What a file of rows has.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) rows: Rows,
    /// Places that are not as they were written: offset and bytes.
    pub(crate) damaged: Vec<(u64, u64)>,
    /// Bytes at the end that a crash left of a frame.
    pub(crate) torn: u64,
}

/// Reads all sound rows of a file, also those behind damaged ones.
pub(crate) fn read_rows(path: &Path) -> io::Result<Read> {
    let bytes = fs::read(path)?;
    let (mut read, mut at) = (Read::default(), 0);
    while at < bytes.len() {
        if let Some(end) = frame_end(&bytes, at)
            && take_frame(&mut read.rows, &bytes[at + FRAME_HEAD..end])
        {
            at = end;
            continue;
        }
        let next = sound_frame_behind(&bytes, at);
        let lost = (next.unwrap_or(bytes.len()) - at) as u64;
        if next.is_none() && is_torn(&bytes[at..]) {
            read.torn = lost;
        } else {
            read.damaged.push((at as u64, lost));
        }
        at = next.unwrap_or(bytes.len());
    }
    Ok(read)
}

/// Takes the rows of a frame over, all or none.
fn take_frame(into: &mut Rows, frame: &[u8]) -> bool {
    let piece = frame.strip_prefix(&FRAME_MARK).unwrap_or_default();
    let known = |row: &Row<'_>| cork_store::publisher(row.author).is_some();
    if piece.is_empty() || !rows(piece).all(|row| row.is_ok_and(|row| known(&row))) {
        return false;
    }
    rows(piece).flatten().for_each(|row| into.push(&row));
    true
}

/// The end of the frame that begins here, if it is sound.
fn frame_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = Cursor(bytes.get(at..)?);
    let (length, crc) = (from.u32().ok()?, from.u32().ok()?);
    let frame = from.take(length as usize).ok()?;
    let sound = frame.starts_with(&FRAME_MARK) && crc32fast::hash(frame) == crc;
    sound.then_some(at + FRAME_HEAD + frame.len())
}

/// Where the next sound frame begins behind a damaged one: where that one says it ends, else wherever there is one.
fn sound_frame_behind(bytes: &[u8], at: usize) -> Option<usize> {
    let length = Cursor(&bytes[at..]).u32().ok()? as usize;
    let said = at.checked_add(FRAME_HEAD + length).filter(|end| frame_end(bytes, *end).is_some());
    said.or_else(|| (at + 1..bytes.len()).find(|from| frame_end(bytes, *from).is_some()))
}

/// Whether the end of a file looks as a crash leaves it: a frame begins and is not there to its end, or nothing was
/// written.
fn is_torn(rest: &[u8]) -> bool {
    let length = Cursor(rest).u32().map_or(usize::MAX, |length| length as usize);
    length > rest.len().saturating_sub(FRAME_HEAD) || rest.iter().all(|byte| *byte == 0)
}
