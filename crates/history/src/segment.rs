//! A file of sealed blocks, only ever appended to and removed as a whole.
//!
//! ```text
//! file    "CorkHist", version as 4 bytes, crc32 of these 12; blocks follow without gaps
//! block   c7 68 69 73, bytes of the body (4), rows (4), number of the first row (8), first and last identity (16 each),
//!         crc32 of the body (4), crc32 of this head before it (4); the body
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
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
    /// It ends before its first block: a crash came when it was made.
    Unborn,
}

/// What of a file is not as it was written.
#[derive(Debug, Default)]
pub(crate) struct Unsound {
    /// Where, and how many bytes; something sound stands behind each.
    pub(crate) ranges: Vec<(u64, u64)>,
    /// Bytes behind the last block.
    pub(crate) tail: u64,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: Arc<Path>,
    pub(crate) file: Arc<File>,
    pub(crate) blocks: Vec<BlockHead>,
    /// Its end: where the next block goes.
    pub(crate) bytes: u64,
    /// Something in it is damaged, nothing is appended: when it was last written, in microseconds since 1970.
    pub(crate) closed_at: Option<u64>,
}

pub(crate) fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.blocks"))
}

pub(crate) fn segment_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".blocks")?, 16).ok()
}

impl Segment {
    /// A new one, without blocks. A file that is there already is never touched.
    pub(crate) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path: Arc<Path> = segment_path(folder, number).into();
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = file.write_all_at(&file_head(), 0) {
            let _ = fs::remove_file(&path); // nothing is in it
            return Err(error);
        }
        Ok(Self { path, file: Arc::new(file), blocks: Vec::new(), bytes: FILE_HEAD, closed_at: None })
    }

    /// One that is there. Nothing of it is changed.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Unsound), Fault> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let mut head = vec![0; FILE_HEAD_BYTES.min(usize::try_from(length).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut head, 0)?;
        let sound = head == file_head();
        if !sound && is_newer(&head) {
            return Err(Fault::Foreign("it is of a newer format than this program's"));
        }
        if !sound
            && length <= FILE_HEAD
            && (file_head().starts_with(&head) || head.iter().all(|byte| *byte == 0))
        {
            return Err(Fault::Unborn);
        }
        let file = Arc::new(file);
        let mut segment = Self { path: path.into(), file, blocks: Vec::new(), bytes: 0, closed_at: None };
        let mut unsound = Unsound::default();
        if sound {
            segment.bytes = FILE_HEAD;
        }
        loop {
            while let Some(block) = segment.block_at(segment.bytes, length)?.filter(|_| segment.bytes > 0) {
                segment.bytes = block.at + u64::from(block.bytes);
                segment.blocks.push(block);
            }
            if segment.bytes >= length {
                break;
            }
            let Some(next) = segment.sound_block_behind(segment.bytes, length)? else {
                unsound.tail = length - segment.bytes;
                break;
            };
            unsound.ranges.push((segment.bytes, next - segment.bytes));
            segment.bytes = next;
        }
        if !sound && segment.blocks.is_empty() {
            return Err(Fault::Foreign("it does not begin as a file of history does"));
        }
        Ok((segment, unsound))
    }

    /// Number of the row behind its last block.
    pub(crate) fn next_row(&self) -> Option<u64> {
        self.blocks.last().map(|block| block.first_row.saturating_add(u64::from(block.rows)))
    }

    /// Whether the last block's body is what was written.
    pub(crate) fn last_is_whole(&self) -> io::Result<bool> {
        self.blocks.last().map_or(Ok(true), |last| Ok(last.read(&self.file)?.is_some()))
    }

    /// Where the next block with a sound head begins behind a place that has none, if there is one.
    fn sound_block_behind(&self, at: u64, length: u64) -> io::Result<Option<u64>> {
        let rest = usize::try_from(length - at).map_err(io::Error::other)?;
        let mut bytes = vec![0; rest];
        self.file.read_exact_at(&mut bytes, at)?;
        let next = self.next_row().unwrap_or(0);
        let found = (1..rest.saturating_sub(BLOCK_HEAD - 1)).find(|from| {
            let Some(head) = bytes[*from..].first_chunk() else { return false };
            // A payload may look like a block, too.
            read_head(head, at + *from as u64 + BLOCK_HEAD as u64)
                .is_ok_and(|block| block.at + u64::from(block.bytes) <= length && block.first_row >= next)
        });
        Ok(found.map(|from| at + from as u64))
    }

    /// Cuts off what stands behind the last sound block.
    pub(crate) fn cut_tail(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)
    }

    /// Takes the last block away, and says which it was.
    pub(crate) fn drop_last(&mut self) -> Option<BlockHead> {
        let last = self.blocks.pop()?;
        self.bytes = last.at - BLOCK_HEAD as u64;
        Some(last)
    }

    /// Nothing is appended any more: what is damaged stays as it is, until all of it is too old.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        let about = self.file.metadata()?;
        self.bytes = about.len();
        let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.closed_at = Some(u64::try_from(written.as_micros()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Latest arrival in it, in microseconds since 1970; if something in it cannot be read, when it was last written.
    pub(crate) fn latest(&self) -> u64 {
        let known = self.blocks.iter().map(|block| block.last.arrived.0).max();
        known.max(self.closed_at).unwrap_or(0)
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
}

fn file_head() -> [u8; FILE_HEAD_BYTES] {
    let mut head = [0; FILE_HEAD_BYTES];
    head[..8].copy_from_slice(FILE_MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&head[..12]);
    head[12..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Whether a file is one of history, but not of this version.
fn is_newer(head: &[u8]) -> bool {
    let Some((about, crc)) = head.split_at_checked(12) else { return false };
    about.starts_with(FILE_MAGIC)
        && crc == crc32fast::hash(about).to_le_bytes()
        && about[8..] != VERSION.to_le_bytes()
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
