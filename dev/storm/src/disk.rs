//! The durable log on a simulated disk, as a storm's store.

use std::io;

use cork_log::{
    Disk, DiskFile, Log, Options,
    sim::{Fault, SimDisk, SimFile},
};
use cork_store::{Answer, Recovered, StoreError};

use crate::{
    plant::Plant,
    rng::Rng,
    store::{Death, Op, Outcome},
};

/// Calls of the disk within which a fault that is wanted comes.
const CALLS_MAX: usize = 12;
/// Bytes of a segment: a storm fills a few.
const SEGMENT_BYTES: usize = 4096;
const SLACK_BYTES: usize = 2 * SEGMENT_BYTES;

pub(crate) struct OnDisk {
    disk: SimDisk,
    plant: Option<Plant>,
    options: Options,
    /// `None`: the broker is not running.
    log: Option<Log<Planted>>,
    /// For questions about what a restart would find.
    epoch: u32,
}

impl OnDisk {
    /// A log on an empty disk.
    pub(crate) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let options = Options {
            segment_bytes: SEGMENT_BYTES as u64,
            spare_segments: 1,
            slack_bytes: SLACK_BYTES as u64,
            clean_slice_bytes: 1024,
            seed: Some(seed),
            ..Options::default()
        };
        let mut engine = Self { disk: SimDisk::new(seed), plant, options, log: None, epoch: 0 };
        engine.open().ok();
        engine
    }

    fn open(&mut self) -> Result<Recovered, String> {
        let disk = Planted { disk: self.disk.clone(), plant: self.plant };
        let (log, recovered, _) = Log::open(disk, self.options).map_err(|error| error.to_string())?;
        (self.log, self.epoch) = (Some(log), recovered.epoch);
        Ok(recovered)
    }

    pub(crate) fn commit(&mut self, ops: &[Op]) -> Outcome {
        let Some(log) = &mut self.log else { return Outcome::Failed("it is not open".to_owned()) };
        let ops: Vec<cork_log::Op> = ops.iter().map(to_op).collect();
        match log.commit(&ops) {
            Ok(located) => {
                let loads = located.into_iter().map(|it| (it.shard, Answer::Loaded(it.read())));
                let fetches = ops.iter().filter_map(|op| match op {
                    cork_log::Op::Fetch { shard, fetch } => Some(log.locate_retained(*shard, fetch.clone())),
                    _ => None,
                });
                let fetches = fetches.map(|it| (it.shard, Answer::Fetched(it.read())));
                Outcome::Kept(loads.chain(fetches).collect())
            }
            Err(StoreError::Full) => Outcome::NoSpace,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// Gives space back, as the broker does when nobody writes.
    pub(crate) fn clean(&mut self) {
        if let Some(log) = &mut self.log {
            let _ = log.clean_step();
        }
    }

    /// Whether nothing will be written any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.failure().is_some())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.log.as_ref().is_some_and(Log::is_full)
    }

    /// The disk holds hardly more than it does now, or as much as it likes.
    pub(crate) fn set_full(&mut self, full: bool, rng: &mut Rng) {
        let used: usize = self.disk.contents().values().map(Vec::len).sum();
        let room = rng.below(3 * SEGMENT_BYTES) + 1;
        self.disk.set_capacity(full.then_some((used + room) as u64));
    }

    /// Looks whether there is space again.
    pub(crate) fn retry(&mut self) {
        if let Some(log) = &mut self.log {
            log.retry();
        }
    }

    /// One of the next calls of the disk fails.
    pub(crate) fn fail(&mut self, rng: &mut Rng) {
        self.disk.set_fault(Fault::Once(rng.between(1, CALLS_MAX) as u64));
    }

    pub(crate) fn calm_down(&mut self) {
        self.disk.set_fault(Fault::Never);
    }

    /// The broker dies, perhaps in the middle of a commit.
    pub(crate) fn crash(&mut self, commit: &[Op], death: Death, rng: &mut Rng) {
        if !commit.is_empty() && rng.chance(70) {
            self.disk.set_fault(Fault::From(rng.between(1, CALLS_MAX) as u64));
            self.commit(commit);
        }
        self.die(death);
    }

    fn die(&mut self, death: Death) {
        self.log = None;
        self.disk.set_capacity(None);
        match death {
            Death::Kill => self.disk.set_fault(Fault::Never),
            Death::PowerCut => self.disk.crash(),
        }
    }

    /// The broker starts again, perhaps only at the second attempt.
    pub(crate) fn restart(&mut self, death: Death, rng: &mut Rng) -> Result<Recovered, String> {
        if rng.chance(30) {
            self.disk.set_fault(Fault::From(rng.between(1, 2 * CALLS_MAX) as u64));
            let _ = self.open();
            self.die(death);
        }
        self.open()
    }

    pub(crate) fn peek(&self) -> Option<Recovered> {
        self.log.as_ref()?.recovered(self.epoch).ok()
    }

    /// Bytes of all files, once all that can be given back is.
    pub(crate) fn bytes_at_rest(&mut self) -> usize {
        while self.log.as_mut().is_some_and(|log| log.clean_step() == Ok(true)) {}
        self.disk.contents().values().map(Vec::len).sum()
    }

    /// Bytes that the files of a log that holds `live` bytes may take.
    pub(crate) const fn bytes_max(live: usize) -> usize {
        // Slack, the segment that is written, one made ahead, and some that are about to go.
        SLACK_BYTES + 5 * SEGMENT_BYTES + 3 * live
    }
}

fn to_op(op: &Op) -> cork_log::Op {
    match op {
        Op::Append { shard, ticket, records } => {
            cork_log::Op::Append { shard: *shard, ticket: *ticket, records: records.clone() }
        }
        Op::Load { shard, load } => cork_log::Op::Load { shard: *shard, load: *load },
        Op::Fetch { shard, fetch } => cork_log::Op::Fetch { shard: *shard, fetch: fetch.clone() },
    }
}

/// The disk, with a defect if one is wanted.
struct Planted {
    disk: SimDisk,
    plant: Option<Plant>,
}

/// One of its files.
pub(crate) struct PlantedFile {
    file: SimFile,
    plant: Option<Plant>,
}

impl Planted {
    fn wrap(&self, file: io::Result<SimFile>) -> io::Result<PlantedFile> {
        Ok(PlantedFile { file: file?, plant: self.plant })
    }
}

impl Disk for Planted {
    type File = PlantedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<PlantedFile> {
        self.wrap(self.disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<PlantedFile> {
        self.wrap(self.disk.open(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        match self.plant {
            Some(Plant::FolderNotSynced) => Ok(()),
            _ => self.disk.sync_dir(),
        }
    }
}

impl DiskFile for PlantedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        match (self.plant, self.file.sync_data()) {
            (Some(Plant::FailedSyncIgnored), _) => Ok(()),
            (_, synced) => synced,
        }
    }
}
