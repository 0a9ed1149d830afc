//! Looks through a log without changing it, and saves what is sound of a damaged one.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use cork_store::Ticket;

use crate::{
    disk::{Disk, DiskFile, RealDisk},
    error::{Cut, Damage, OpenError},
    format::segment_number,
    group::Op,
    keeper::LOG_FOLDER,
    log::Log,
    open::Replay,
    options::{Durability, Options},
    record::View,
    segment::{Commit, Fault, SegmentReader},
    snapshot::Snapshot,
    walk::{Visit, survey, walk},
};

/// What is in a log, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Segments whose commits are needed.
    pub segments: usize,
    /// Commits in them.
    pub commits: u64,
    /// Records in them, by kind.
    pub records: BTreeMap<&'static str, u64>,
    /// Bytes of commits.
    pub used_bytes: u64,
    /// Bytes of what is still needed, estimated.
    pub live_bytes: u64,
    /// Sessions.
    pub sessions: usize,
    /// Deliveries that wait.
    pub queued: u64,
    /// Retained messages.
    pub retained: usize,
    /// The unfinished end that a crash left; the next start cuts it off.
    pub cut: Option<Cut>,
    /// What was durable and is not what it was.
    pub damages: Vec<Damage>,
    /// Files that do not belong to a log.
    pub strangers: Vec<String>,
}

/// Counts while it takes in.
struct Count {
    replay: Replay<'static>,
    records: BTreeMap<&'static str, u64>,
}

impl<F: DiskFile> Visit<F> for Count {
    fn segment(&mut self, number: u32, first_commit: u64) {
        Visit::<F>::segment(&mut self.replay, number, first_commit);
    }

    fn commit(&mut self, reader: &mut SegmentReader<F>, commit: &Commit) -> io::Result<Option<Fault>> {
        for (_, bytes) in reader.records(commit)? {
            if let Ok(view) = View::read(bytes) {
                *self.records.entry(view.kind()).or_default() += 1;
            }
        }
        self.replay.commit(reader, commit)
    }

    fn damaged(
        &mut self,
        reader: &mut SegmentReader<F>,
        offset: u64,
        header: crate::format::CommitHeader,
    ) -> io::Result<()> {
        self.replay.damaged(reader, offset, header)
    }
}

pub(crate) fn existing(data_dir: &Path) -> Result<RealDisk, OpenError> {
    let folder = data_dir.join(LOG_FOLDER);
    RealDisk::existing(&folder).map_err(OpenError::io(format!("open the log's folder {}", folder.display())))
}

/// Looks through the log in `data_dir`. A broker may be running; then its last commits may look unfinished.
///
/// # Errors
/// The disk cannot be read, or the format is newer. Damage is no error here.
pub fn check(data_dir: &Path) -> Result<CheckReport, OpenError> {
    let disk = existing(data_dir)?;
    let (report, _) = look(&disk)?;
    Ok(report)
}

pub(crate) fn look(disk: &RealDisk) -> Result<(CheckReport, Snapshot<RealDisk>), OpenError> {
    let survey = survey(disk)?;
    let mut count = Count { replay: Replay::new(1, None), records: BTreeMap::new() };
    let walked = walk(&survey, &mut count)?;
    let Count { replay: Replay { mut index, .. }, records } = count;
    while index.bury(usize::MAX) {}
    let names = disk.list().map_err(OpenError::io("list the log's files"))?;
    let (used_bytes, live_bytes) = index.books.bytes();
    let report = CheckReport {
        segments: walked.needed.len(),
        commits: walked.commits,
        records,
        used_bytes,
        live_bytes,
        sessions: index.sessions.len(),
        queued: index.sessions.values().map(|session| session.queue.len()).sum(),
        retained: index.retained.places().count(),
        cut: walked.cut,
        damages: walked.damages,
        strangers: names.into_iter().filter(|name| segment_number(name).is_none()).collect(),
    };
    Ok((report, Snapshot::new(index, &survey)))
}

/// What [`repair`] did.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What was there before.
    pub before: CheckReport,
    /// What is known to have been there and could not be saved, each with file and offset.
    pub left_out: Vec<Damage>,
    /// Where the damaged log is now; `None`: nothing was damaged and nothing done.
    pub moved_to: Option<PathBuf>,
}

/// Copies what is sound of a damaged log into a new one, and puts that in its place; the damaged one stays beside it.
/// The caller sees to it that nobody else has the data directory.
///
/// What was said in a damaged commit is not known any more. If it said that a delivery was over, the delivery is there
/// again and will be sent once more.
///
/// # Errors
/// Of the disk; nothing is changed then, except that a folder `log.new` may be there.
pub fn repair(data_dir: &Path) -> Result<Repaired, OpenError> {
    let disk = existing(data_dir)?;
    let (before, snapshot) = look(&disk)?;
    if before.damages.is_empty() {
        return Ok(Repaired { before, left_out: Vec::new(), moved_to: None });
    }
    let new = data_dir.join("log.new");
    let about = |what: &str, path: &Path| OpenError::io(format!("{what} {}", path.display()));
    if new.exists() {
        fs::remove_dir_all(&new).map_err(about("remove", &new))?;
    }
    let (recovered, unreadable) = snapshot.recover()?;
    let mut left_out = unreadable;
    let target = RealDisk::new(&new).map_err(about("make", &new))?;
    let options = Options { durability: Durability::None, ..Options::default() };
    let mut log = Log::create(target, options, recovered.epoch)?;
    log.index.latest_arrival = recovered.last_arrival;
    let written = snapshot.batches(&recovered, &mut left_out, |records| {
        let op = Op::Append { shard: 0, ticket: Ticket(0), records };
        log.commit(&[op]).map(drop)
    });
    let written = written.and_then(|()| log.close());
    written.map_err(|error| about("write", &new)(io::Error::other(error.to_string())))?;
    drop(log);
    let old = data_dir.join(LOG_FOLDER);
    let moved_to = (1..)
        .map(|number| data_dir.join(format!("log.damaged-{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| data_dir.join("log.damaged"));
    fs::rename(&old, &moved_to).map_err(about("move away", &old))?;
    fs::rename(&new, &old).map_err(about("put in its place", &new))?;
    fs::File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(about("sync", data_dir))?;
    Ok(Repaired { before, left_out, moved_to: Some(moved_to) })
}
