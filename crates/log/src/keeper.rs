//! The log with its threads, as a broker uses it.
//!
//! The *writer* takes all that waits, writes it as one commit and answers; what comes meanwhile waits for the next one.
//! So an idle broker commits at once, and a busy one commits much with one sync. The *helper* makes segments ahead and
//! removes old ones; the *reader* reads deliveries that are asked for.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::Ordering,
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cork_store::{Answer, Histogram, Recovered, Store, StoreError};

use crate::{
    disk::{RealDisk, RealFile},
    error::OpenError,
    fetch::LocatedRetained,
    group::Op,
    handle::{Desk, Waiting, lock},
    log::{Log, OpenReport, Stats},
    open::Wants,
    options::{Durability, Options},
    restore::Located,
};

/// The log's folder, within the data directory.
pub const LOG_FOLDER: &str = "log";

/// A log in a folder, kept by threads of its own until it is stopped.
#[derive(Debug)]
pub struct Keeper {
    desk: Arc<Desk>,
    stats: Arc<Mutex<Stats>>,
    commits: Arc<Mutex<Histogram>>,
    writer: Option<JoinHandle<Result<(), StoreError>>>,
    others: Vec<JoinHandle<()>>,
}

/// How often a full disk is looked at again.
const FULL_RETRY: Duration = Duration::from_millis(200);
/// How long nobody must have written before space is given back unasked.
const IDLE: Duration = Duration::from_millis(20);
/// How often figures are made ready for [`Keeper::stats`].
const STATS_EVERY: Duration = Duration::from_millis(500);

impl Keeper {
    /// Opens the log in `data_dir`, or makes one, and starts its threads. The caller sees to it that the data directory
    /// has one owner.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(data_dir: &Path, options: Options) -> Result<(Self, Recovered, OpenReport), OpenError> {
        Self::open_with(data_dir, options, &mut |_, _| false)
    }

    /// The same for a log beside a history: the report has the messages that the history should have and `wants`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with<'a>(
        data_dir: &Path,
        options: Options,
        wants: &'a mut Wants<'a>,
    ) -> Result<(Self, Recovered, OpenReport), OpenError> {
        let folder = data_dir.join(LOG_FOLDER);
        let disk = RealDisk::new(&folder)
            .map_err(OpenError::io(format!("open the log's folder {}", folder.display())))?;
        let (mut log, recovered, report) = Log::open_with(disk, options, wants)?;
        let start = |name: &str| thread::Builder::new().name(name.to_owned());
        let failed = || OpenError::io("start the store's threads");
        let helper = log.ahead.by_helper();
        let (to_read, located) = channel::<ToRead>();
        let desk = Arc::new(Desk::default());
        let stats = Arc::new(Mutex::new(log.stats()));
        let commits = Arc::default();
        let mut others = vec![start("cork-segments").spawn(helper).map_err(failed())?];
        let answers = Arc::clone(&desk);
        let read = move || {
            for located in located {
                match located {
                    ToRead::Load(it) => answers.answer(it.shard, [Answer::Loaded(it.read())]),
                    ToRead::Fetch(it) => answers.answer(it.shard, [Answer::Fetched(it.read())]),
                }
            }
        };
        others.push(start("cork-load").spawn(read).map_err(failed())?);
        let mut writer = Writer {
            log,
            desk: Arc::clone(&desk),
            stats: Arc::clone(&stats),
            commits: Arc::clone(&commits),
            to_read,
            options,
            unsynced_since: None,
            stats_at: Instant::now(),
            tried_at: Instant::now(),
            at_mark: false,
            stop: false,
        };
        writer.look();
        writer.desk.set_full(writer.is_full());
        writer.desk.set_stuck(writer.log.is_stuck());
        let writer = start("cork-store").spawn(move || writer.run()).map_err(failed())?;
        Ok((Self { desk, stats, commits, writer: Some(writer), others }, recovered, report))
    }

    /// The end of one shard. `wake` is called, from any thread, when there are answers, and not again until they were
    /// looked for.
    #[must_use]
    pub fn handle(&self, shard: u16, wake: Arc<dyn Fn() + Send + Sync>) -> Box<dyn Store> {
        Box::new(self.desk.handle(shard, wake))
    }

    /// Bytes that were appended and are not answered: who appends should wait when they are many.
    #[must_use]
    pub fn unanswered_bytes(&self) -> usize {
        self.desk.unanswered_bytes.load(Ordering::Relaxed)
    }

    /// Figures, half a second old at most while something is written.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.stats).clone()
    }

    /// How long commits took, those that waited for space not counted.
    #[must_use]
    pub fn commit_times(&self) -> Histogram {
        *lock(&self.commits)
    }

    /// Writes and syncs everything and ends the threads.
    ///
    /// # Errors
    /// What was appended last may not be stored.
    pub fn stop(mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.desk.stop();
        let panicked = || StoreError::Failed("a thread of the store panicked".to_owned());
        let result = match self.writer.take() {
            Some(writer) => writer.join().unwrap_or_else(|_| Err(panicked())),
            None => Ok(()),
        };
        for thread in self.others.drain(..) {
            thread.join().map_err(|_| panicked())?;
        }
        result
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `stop`.
        let _ = self.end();
    }
}

/// What the reader is asked for.
enum ToRead {
    Load(Located<RealFile>),
    Fetch(LocatedRetained<RealFile>),
}

struct Writer {
    log: Log<RealDisk>,
    desk: Arc<Desk>,
    stats: Arc<Mutex<Stats>>,
    commits: Arc<Mutex<Histogram>>,
    to_read: Sender<ToRead>,
    options: Options,
    unsynced_since: Option<Instant>,
    stats_at: Instant,
    /// When a full disk was looked at last.
    tried_at: Instant,
    /// As much is needed as may be.
    at_mark: bool,
    stop: bool,
}

impl Writer {
    fn run(&mut self) -> Result<(), StoreError> {
        let (mut waiting, mut more, mut idle) = (Waiting::default(), true, false);
        while !self.stop {
            let wait = if more { Some(if idle { Duration::ZERO } else { IDLE }) } else { None };
            let wait = [wait, self.until_sync(), self.log.is_full().then_some(FULL_RETRY)];
            self.desk.take(&mut waiting, wait.into_iter().flatten().min());
            self.stop |= waiting.stop;
            idle = waiting.ops.is_empty();
            if !idle {
                self.write(&waiting);
                waiting.ops.clear();
                waiting.sizes.clear();
                more = true;
            }
            if self.log.is_full() && (idle || self.tried_at.elapsed() >= FULL_RETRY) {
                self.log.retry();
                self.tried_at = Instant::now();
            }
            if self.until_sync().is_some_and(|left| left.is_zero()) {
                // A failure shows with the next batch.
                let _ = self.log.sync();
                self.unsynced_since = None;
            }
            if idle && more {
                more = self.log.clean_step().unwrap_or(false);
                self.wrote();
            }
            if self.stats_at.elapsed() >= STATS_EVERY || idle && !more {
                self.look();
            }
            self.desk.set_full(self.is_full());
            self.desk.set_stuck(self.log.is_stuck());
        }
        self.log.close()
    }

    /// Takes figures.
    fn look(&mut self) {
        let stats = self.log.stats();
        if let Some(most) = self.options.live_bytes_max {
            let mark = if self.at_mark { most - most / 16 } else { most };
            self.at_mark = stats.live_bytes >= mark;
        }
        *lock(&self.stats) = stats;
        self.stats_at = Instant::now();
    }

    fn is_full(&self) -> bool {
        self.at_mark || self.log.is_full()
    }

    /// Time until what was written must be synced, if anything must.
    fn until_sync(&self) -> Option<Duration> {
        let Durability::Interval(interval) = self.options.durability else { return None };
        Some(interval.saturating_sub(self.unsynced_since?.elapsed()))
    }

    fn wrote(&mut self) {
        self.unsynced_since.get_or_insert_with(Instant::now);
    }

    fn write(&mut self, waiting: &Waiting) {
        let (mut ops, mut sizes) = (&waiting.ops[..], &waiting.sizes[..]);
        while !ops.is_empty() {
            let mut bytes = 0;
            let fits = |size: &&usize| {
                bytes += **size;
                bytes <= self.options.group_bytes_max
            };
            let count = sizes.iter().take_while(fits).count().max(1);
            let (group, rest) = ops.split_at(count);
            let (done, left) = sizes.split_at(count);
            self.write_group(group, done.iter().sum());
            (ops, sizes) = (rest, left);
        }
    }

    fn write_group(&mut self, group: &[Op], bytes: usize) {
        let result = loop {
            let begun = Instant::now();
            match self.log.commit(group) {
                Err(StoreError::Full) if !self.stop => {
                    // What was appended is kept, be it later.
                    self.desk.set_full(true);
                    self.desk.set_stuck(true);
                    self.stop = self.desk.wait_for_stop(FULL_RETRY);
                    self.log.retry();
                }
                result => {
                    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                    lock(&self.commits).record(micros);
                    break result;
                }
            }
        };
        self.desk.unanswered_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let result = match result {
            Ok(located) => {
                self.wrote();
                self.answer(group, &Ok(()));
                located
            }
            Err(error) => {
                self.answer(group, &Err(error));
                let loads = group.iter().filter_map(|op| match op {
                    Op::Load { shard, load } => Some(self.log.locate(*shard, *load)),
                    Op::Append { .. } | Op::Fetch { .. } => None,
                });
                loads.collect()
            }
        };
        let fetches = group.iter().filter_map(|op| match op {
            Op::Fetch { shard, fetch } => Some(self.log.locate_retained(*shard, fetch.clone())),
            _ => None,
        });
        for wanted in result.into_iter().map(ToRead::Load).chain(fetches.map(ToRead::Fetch)) {
            // Without a reader there is nobody left to tell.
            let _ = self.to_read.send(wanted);
        }
    }

    /// Tells the fate of each batch, shard by shard.
    fn answer(&self, group: &[Op], result: &Result<(), StoreError>) {
        let mut shards: Vec<u16> = group.iter().map(Op::shard).collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            let answers = group.iter().filter_map(|op| match op {
                Op::Append { shard: other, ticket, .. } if *other == shard => {
                    Some(Answer::Stored { ticket: *ticket, result: result.clone() })
                }
                _ => None,
            });
            self.desk.answer(shard, answers);
        }
    }
}
