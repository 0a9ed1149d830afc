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
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
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

/// Reads a file of rows up to its end, or up to what a crash left of one. Says how many bytes were not sound.
pub(crate) fn read_rows(path: &Path) -> io::Result<(Vec<Arc<Message>>, u64)> {
    let bytes = fs::read(path)?;
    let (mut from, mut rows) = (Cursor(&bytes), Vec::new());
    let mut publisher = Arc::new(Publisher::default());
    while !from.0.is_empty() {
        let mut next = from;
        let Some(message) = read_row(&mut next, &mut publisher) else { break };
        rows.push(Arc::new(message));
        from = next;
    }
    Ok((rows, from.0.len() as u64))
}

fn read_row(from: &mut Cursor<'_>, publisher: &mut Arc<Publisher>) -> Option<Message> {
    let (length, crc) = (from.u32().ok()?, from.u32().ok()?);
    let row = from.take(length as usize).ok()?;
    if length == 0 || crc32fast::hash(row) != crc {
        return None;
    }
    wire::message(&mut Cursor(row), publisher).ok()
}
