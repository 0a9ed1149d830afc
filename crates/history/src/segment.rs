//! A file of sealed blocks, only ever appended to and removed as a whole.
//!
//! ```text
//! file    "CorkHist", version as 4 bytes, crc32 of these 12; blocks follow without gaps
//! block   c7 68 69 73, bytes of the body (4), rows (4), number of the first row (8), first and last identity (16 each),
//!         crc32 of the body (4), crc32 of this head before it (4); the body
//! ```

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use cork_store::MessageId;

use crate::wire::{Cursor, Malformed, put_id};

const FILE_MAGIC: &[u8; 8] = b"CorkHist";
const VERSION: u32 = 1;
/// Bytes before the first block.
const FILE_HEAD: u64 = FILE_HEAD_BYTES as u64;
const FILE_HEAD_BYTES: usize = 16;
const BLOCK_MAGIC: [u8; 4] = [0xc7, 0x68, 0x69, 0x73];
/// Bytes before a block's body.
const BLOCK_HEAD: usize = 60;

/// What is known of a block without reading it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockHead {
    /// Where its body begins in the file, and how long it is.
    pub(crate) at: u64,
    pub(crate) bytes: u32,
    pub(crate) rows: u32,
    /// Number of its first row among all rows of the shelf.
    pub(crate) first_row: u64,
    pub(crate) first: MessageId,
    pub(crate) last: MessageId,
    crc: u32,
}

/// Why a file cannot be used, or not from a place on.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    /// It is no file of this format, or of a later one.
    Foreign(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    pub(crate) number: u64,
    pub(crate) blocks: Vec<BlockHead>,
    /// Its end: where the next block goes.
    pub(crate) bytes: u64,
}

pub(crate) fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.blocks"))
}

pub(crate) fn segment_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".blocks")?, 16).ok()
}

impl Segment {
    /// A new one, without blocks.
    pub(crate) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = segment_path(folder, number);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut head = Vec::from(*FILE_MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        file.write_all_at(&head, 0)?;
        Ok(Self { path, file: Arc::new(file), number, blocks: Vec::new(), bytes: FILE_HEAD })
    }

    /// One that is there. What stands behind its last sound block is cut off if it is the `newest`; says how many bytes
    /// that were.
    pub(crate) fn open(path: PathBuf, number: u64, newest: bool) -> Result<(Self, u64), Fault> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let mut segment = Self { path, file: Arc::new(file), number, blocks: Vec::new(), bytes: FILE_HEAD };
        if !segment.has_head(length)? {
            return Err(Fault::Foreign("it does not begin as a file of history does"));
        }
        while let Some(block) = segment.block_at(segment.bytes, length)? {
            segment.bytes = block.at + u64::from(block.bytes);
            segment.blocks.push(block);
        }
        // The last body may have been written in part: the others were synced before it was begun.
        if newest
            && let Some(last) = segment.blocks.last().copied()
            && segment.read(&last)?.is_none()
        {
            segment.bytes = last.at - BLOCK_HEAD as u64;
            segment.blocks.pop();
        }
        let cut = length.saturating_sub(segment.bytes);
        if newest && cut > 0 {
            segment.file.set_len(segment.bytes)?;
        }
        Ok((segment, cut))
    }

    fn has_head(&self, length: u64) -> Result<bool, Fault> {
        let mut head = [0; FILE_HEAD_BYTES];
        if length < FILE_HEAD {
            return Ok(false);
        }
        self.file.read_exact_at(&mut head, 0)?;
        let sound = crc32fast::hash(&head[..12]).to_le_bytes() == head[12..];
        if head[..8] == *FILE_MAGIC && sound && head[8..12] != VERSION.to_le_bytes() {
            return Err(Fault::Foreign("it is of a newer format than this program's"));
        }
        Ok(head[..8] == *FILE_MAGIC && sound)
    }

    fn block_at(&self, at: u64, length: u64) -> io::Result<Option<BlockHead>> {
        let mut head = [0; BLOCK_HEAD];
        if at + BLOCK_HEAD as u64 > length {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, at)?;
        let block = read_head(&head, at + BLOCK_HEAD as u64).ok();
        Ok(block.filter(|block| block.at + u64::from(block.bytes) <= length))
    }

    /// Adds a block behind the others; nothing is synced.
    pub(crate) fn append(
        &mut self,
        body: &[u8],
        rows: u32,
        first_row: u64,
        (first, last): (MessageId, MessageId),
    ) -> io::Result<()> {
        let bytes = u32::try_from(body.len()).map_err(io::Error::other)?;
        let at = self.bytes + BLOCK_HEAD as u64;
        let block = BlockHead { at, bytes, rows, first_row, first, last, crc: crc32fast::hash(body) };
        let mut all = put_head(&block);
        all.extend_from_slice(body);
        self.file.write_all_at(&all, self.bytes)?;
        self.bytes += all.len() as u64;
        self.blocks.push(block);
        Ok(())
    }

    fn read(&self, block: &BlockHead) -> io::Result<Option<Vec<u8>>> {
        block.read(&self.file)
    }
}

impl BlockHead {
    /// The body; `None` if it is not what was written.
    pub(crate) fn read(&self, file: &File) -> io::Result<Option<Vec<u8>>> {
        let mut body = vec![0; self.bytes as usize];
        match file.read_exact_at(&mut body, self.at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        Ok((crc32fast::hash(&body) == self.crc).then_some(body))
    }
}

fn put_head(block: &BlockHead) -> Vec<u8> {
    let mut head = Vec::with_capacity(BLOCK_HEAD + block.bytes as usize);
    head.extend_from_slice(&BLOCK_MAGIC);
    head.extend_from_slice(&block.bytes.to_le_bytes());
    head.extend_from_slice(&block.rows.to_le_bytes());
    head.extend_from_slice(&block.first_row.to_le_bytes());
    put_id(&mut head, block.first);
    put_id(&mut head, block.last);
    head.extend_from_slice(&block.crc.to_le_bytes());
    head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
    head
}

fn read_head(head: &[u8; BLOCK_HEAD], at: u64) -> Result<BlockHead, Malformed> {
    let mut from = Cursor(head);
    let magic = from.take(4)?;
    let (bytes, rows, first_row) = (from.u32()?, from.u32()?, from.u64()?);
    let (first, last, crc) = (from.id()?, from.id()?, from.u32()?);
    let sound = from.u32()? == crc32fast::hash(&head[..BLOCK_HEAD - 4]);
    if magic != BLOCK_MAGIC || !sound {
        return Err(Malformed);
    }
    Ok(BlockHead { at, bytes, rows, first_row, first, last, crc })
}
