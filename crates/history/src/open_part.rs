//! The rows of a shelf that are in no block yet: in memory, and one after another in a file, each with its checksum.
//!
//! The file's name is the number of its first row. When its rows are sealed, the next file is begun and this one removed;
//! after a crash between the two, rows whose number a block has already are not taken twice.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use cork_store::{Message, Publisher};

use crate::wire::{self, Cursor};

/// Bytes before each row: its length and checksum.
const ROW_HEAD: usize = 8;

pub(crate) struct OpenPart {
    path: PathBuf,
    file: File,
    /// Number of the first row.
    pub(crate) first_row: u64,
    pub(crate) rows: Vec<Arc<Message>>,
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
        let (rows, scratch) = (Vec::new(), Vec::new());
        Ok(Self { path, file, first_row, rows, bytes: 0, dirty: false, scratch })
    }

    /// Adds rows, as one write.
    pub(crate) fn append(&mut self, messages: &[Arc<Message>]) -> io::Result<()> {
        self.scratch.clear();
        for message in messages {
            let at = self.scratch.len();
            self.scratch.extend_from_slice(&[0; ROW_HEAD]);
            wire::put_message(&mut self.scratch, message);
            let row = &self.scratch[at + ROW_HEAD..];
            let length = u32::try_from(row.len()).map_err(io::Error::other)?;
            let crc = crc32fast::hash(row);
            self.scratch[at..at + 4].copy_from_slice(&length.to_le_bytes());
            self.scratch[at + 4..at + ROW_HEAD].copy_from_slice(&crc.to_le_bytes());
        }
        let before = self.bytes;
        if let Err(error) = self.file.write_all(&self.scratch) {
            // Half a row would hide those behind it.
            self.file.set_len(before)?;
            io::Seek::seek(&mut self.file, io::SeekFrom::Start(before))?;
            return Err(error);
        }
        self.bytes += self.scratch.len() as u64;
        self.rows.extend_from_slice(messages);
        self.scratch.shrink_to(1 << 20);
        self.dirty = true;
        Ok(())
    }

    /// Makes what was appended durable.
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

/// What a file of rows has.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) rows: Vec<Arc<Message>>,
    /// Places that are not as they were written: offset and bytes.
    pub(crate) damaged: Vec<(u64, u64)>,
    /// Bytes at the end that a crash left of a row.
    pub(crate) torn: u64,
}

/// Reads all sound rows of a file, also those behind damaged ones.
pub(crate) fn read_rows(path: &Path) -> io::Result<Read> {
    let bytes = fs::read(path)?;
    let mut publisher = Arc::new(Publisher::default());
    let (mut read, mut at) = (Read::default(), 0);
    while at < bytes.len() {
        if let Some(end) = row_end(&bytes, at)
            && let Ok(message) = wire::message(&mut Cursor(&bytes[at + ROW_HEAD..end]), &mut publisher)
        {
            read.rows.push(Arc::new(message));
            at = end;
            continue;
        }
        let next = sound_row_behind(&bytes, at);
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

/// The end of the row that begins here, if it is sound.
fn row_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = Cursor(bytes.get(at..)?);
    let (length, crc) = (from.u32().ok()?, from.u32().ok()?);
    let row = from.take(length as usize).ok()?;
    let sound = wire::is_message(row) && crc32fast::hash(row) == crc;
    sound.then_some(at + ROW_HEAD + row.len())
}

/// Where the next sound row begins behind a damaged one: where that one says it ends, else wherever there is one.
fn sound_row_behind(bytes: &[u8], at: usize) -> Option<usize> {
    let length = Cursor(&bytes[at..]).u32().ok()? as usize;
    let said = at.checked_add(ROW_HEAD + length).filter(|end| row_end(bytes, *end).is_some());
    said.or_else(|| (at + 1..bytes.len()).find(|from| row_end(bytes, *from).is_some()))
}

/// Whether the end of a file looks as a crash leaves it: a row begins and is not there to its end, or nothing was written.
fn is_torn(rest: &[u8]) -> bool {
    let length = Cursor(rest).u32().map_or(usize::MAX, |length| length as usize);
    length > rest.len().saturating_sub(ROW_HEAD) || rest.iter().all(|byte| *byte == 0)
}
