//! What a client owes, in a file: publications that are not finished and QoS 2 identifiers survive the process.
//!
//! The file is a log that is only ever appended to, and written anew when most of it is done with:
//!
//! ```text
//! "corkcl1\n"                                          once, at the start
//! length (4 bytes) | CRC-32 of what follows (4) | kind (1) | fields       little-endian, one for each change
//! ```
//!
//! A record that a crash cut short ends the log; it is cut off at the next start. What it would have said was not
//! sent yet: the records of a turn are written before the turn's packets.

mod codec;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use cork_packet::PacketId;

use crate::{ConnectError, Publish, machine::Record};

/// Where to keep what a client owes; see [`Options::store`](crate::Options::store).
///
/// One file belongs to one Client Identifier and one process. Give the client a `session_expiry` besides: the server
/// has to keep its half, too.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
    durable: bool,
}

impl FileStore {
    /// In this file, made when it is not there. Survives the end of the process, not that of the machine.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), durable: false }
    }

    /// Whether to wait for the disk (`fdatasync`) before a PUBLISH, PUBREL or PUBREC goes out, once for all that go
    /// together; then it survives a power cut, too.
    #[must_use]
    pub const fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    pub(crate) fn open(&self) -> Result<Log, ConnectError> {
        Log::open(&self.path, self.durable).map_err(|error| {
            ConnectError::Options(format!("cannot use the file store {}: {error}", self.path.display()))
        })
    }
}

/// One publication as the log knows it.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// Gone once PUBREC came.
    pub(crate) publish: Option<Publish>,
    pub(crate) packet_id: Option<PacketId>,
    /// The order of sending.
    pub(crate) sent_at: u64,
}

/// What the records add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) client_id: Option<String>,
    pub(crate) publications: BTreeMap<u64, Saved>,
    pub(crate) received: BTreeSet<PacketId>,
    /// The number of the next publication.
    pub(crate) next: u64,
    sent: u64,
}

impl Ledger {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Session(client_id) => self.client_id = Some(client_id.to_string()),
            Record::Next(number) => self.next = self.next.max(*number),
            Record::Accepted(number, publish) => {
                self.next = self.next.max(number + 1);
                let saved = Saved { publish: Some(publish.clone()), packet_id: None, sent_at: 0 };
                self.publications.insert(*number, saved);
            }
            Record::Sent(number, packet_id) => {
                self.sent += 1;
                if let Some(saved) = self.publications.get_mut(number) {
                    saved.packet_id = Some(*packet_id);
                    saved.sent_at = self.sent;
                }
            }
            Record::Released(number) => {
                if let Some(saved) = self.publications.get_mut(number) {
                    saved.publish = None;
                }
            }
            Record::Finished(number) => {
                self.publications.remove(number);
            }
            Record::Received(packet_id) => {
                self.received.insert(*packet_id);
            }
            Record::Completed(packet_id) => {
                self.received.remove(packet_id);
            }
            Record::SessionLost => {
                self.received.clear();
                self.publications.values_mut().for_each(|saved| saved.packet_id = None);
            }
        }
    }

    /// The shortest log that adds up to this.
    fn records(&self) -> Vec<Record> {
        let mut records: Vec<_> =
            self.client_id.iter().map(|id| Record::Session(id.as_str().into())).collect();
        records.push(Record::Next(self.next));
        let accepted = self.publications.iter().map(|(number, saved)| {
            let publish = saved.publish.clone().unwrap_or_else(|| Publish::new("released", ""));
            Record::Accepted(*number, publish)
        });
        records.extend(accepted);
        let mut sent: Vec<_> = self.publications.iter().collect();
        sent.sort_by_key(|(_, saved)| saved.sent_at);
        for (number, saved) in sent {
            records.extend(saved.packet_id.map(|packet_id| Record::Sent(*number, packet_id)));
            if saved.publish.is_none() {
                records.push(Record::Released(*number));
            }
        }
        records.extend(self.received.iter().map(|packet_id| Record::Received(*packet_id)));
        records
    }
}

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    durable: bool,
    bytes: u64,
    /// Bytes right after the last compaction.
    compact_bytes: u64,
    pub(crate) ledger: Ledger,
    buffer: Vec<u8>,
}

const MAGIC: &[u8; 8] = b"corkcl1\n";
/// A log smaller than this is left alone.
const COMPACT_BYTES_MIN: u64 = 1 << 20;

impl Log {
    fn open(path: &Path, durable: bool) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|_| io::Error::other("another process uses it"))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        if content.len() < MAGIC.len() && MAGIC.starts_with(&content) {
            content = MAGIC.to_vec();
            file.rewind()?;
            file.write_all(MAGIC)?;
        }
        let Some(records) = content.strip_prefix(MAGIC) else {
            return Err(io::Error::other("it is something else"));
        };
        let mut ledger = Ledger::default();
        let whole = codec::read(records, |record| ledger.apply(&record));
        let bytes = (MAGIC.len() + whole) as u64;
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        if durable {
            file.sync_all()?;
            sync_folder(path)?;
        }
        let path = path.to_owned();
        Ok(Self { path, file, durable, bytes, compact_bytes: 0, ledger, buffer: Vec::new() })
    }

    /// Whether saving may take long.
    pub(crate) const fn is_slow(&self) -> bool {
        self.durable
    }

    /// Saves the records of a turn.
    pub(crate) fn save(&mut self, records: &[Record]) -> io::Result<()> {
        self.buffer.clear();
        for record in records {
            self.ledger.apply(record);
            codec::write(record, &mut self.buffer);
        }
        self.file.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        if self.durable {
            self.file.sync_data()?;
        }
        if self.bytes > COMPACT_BYTES_MIN.max(self.compact_bytes * 3) {
            self.compact()?;
        }
        Ok(())
    }

    /// Writes what still counts to a new file and puts it in the old one's place.
    fn compact(&mut self) -> io::Result<()> {
        let mut content = MAGIC.to_vec();
        self.ledger.records().iter().for_each(|record| codec::write(record, &mut content));
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&fresh)?;
        file.try_lock().map_err(|_| io::Error::other("another process uses it"))?;
        file.write_all(&content)?;
        // Without this a crash of the machine could leave an empty file under the good name.
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        sync_folder(&self.path)?;
        self.file = file;
        self.bytes = content.len() as u64;
        self.compact_bytes = self.bytes;
        Ok(())
    }
}

/// Makes a new name in a folder last.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
