//! Two threads beside the shards: one writes what they hand over, one reads what they ask for.
//!
//! A shard hands over by copying its rows into a lane of its own: no allocation, no message built, and nobody woken while
//! the writer is about. The writer takes what all lanes have together, some hundred times a second at the most, and what
//! it gets it gets in the order it came to that shard. Before a question is passed on all lanes are emptied: a page has
//! everything that any shard handed over before it was asked for. Nobody waits for the writer: when it is too far behind,
//! messages are left out and counted.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cork_store::{History, Replay, Replayed, Rows, WallTime};

use crate::{options::Rules, page::Cache, vault::Vault};

/// Bytes of messages that wait for the writer, at most: what comes then is left out.
pub const WAITING_BYTES_MAX: usize = 32 << 20;
/// Bytes that are written before they are synced, at most.
const UNSYNCED_BYTES_MAX: usize = 4 << 20;
/// How often what was written is synced, and what is too old let go.
const TICK: Duration = Duration::from_secs(1);
/// How long the writer lets messages gather, unless somebody asks for them,
const NAP: Duration = Duration::from_millis(5);
/// or a lane has so many bytes.
const LANE_BYTES: usize = 256 << 10;

/// Wakes a shard.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

enum Job {
    Replay(Replay, Return),
    /// Whoever asked goes on when this is dropped: what was handed over before is written.
    Settle(Sender<()>),
    Rules(Box<Rules>, Sender<()>),
    Stop,
}

/// Where an answer goes.
#[derive(Clone)]
struct Return {
    answers: Arc<Mutex<VecDeque<Replayed>>>,
    wake: Wake,
}

/// Counters of what became of messages.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that were written.
    pub written: AtomicU64,
    /// Messages that were left out: the writer was too far behind, or the disk did not take them.
    pub left_out: AtomicU64,
    waiting: AtomicUsize,
}

/// What a shard handed over and the writer did not take yet: [`Rows`], as bytes.
#[derive(Debug, Default)]
struct Lane(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    count: u64,
}

/// What the shards and whoever asks share with the writer.
#[derive(Default)]
struct Desk {
    jobs: Mutex<Jobs>,
    /// For the writer, when it naps or sleeps.
    bell: Condvar,
    /// The writer sleeps, and does not look into the lanes by itself.
    sleeps: AtomicBool,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// A lane is full enough.
    hurry: bool,
    /// The writer has ended.
    closed: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Has something done, behind all that was handed over before. False: there is nobody any more who does.
    fn ask(&self, job: Job) -> bool {
        let mut jobs = locked(&self.jobs);
        if jobs.closed {
            return false;
        }
        jobs.waiting.push_back(job);
        self.bell.notify_one();
        true
    }

    /// Waits until what was handed over is written.
    fn settle(&self) {
        let (sender, done) = channel();
        if self.ask(Job::Settle(sender)) {
            let _ = done.recv(); // it is dropped, not sent to
        }
    }

    fn hurry(&self) {
        locked(&self.jobs).hurry = true;
        self.bell.notify_one();
    }
}

/// The running history. It ends when it is dropped, after everything handed over is written.
pub struct Engine {
    vault: Arc<Vault>,
    counters: Arc<Counters>,
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("vault", &self.vault).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// No threads left.
    pub fn start(vault: Vault) -> io::Result<Self> {
        let (vault, counters, desk) =
            (Arc::new(vault), Arc::new(Counters::default()), Arc::<Desk>::default());
        let (reads, reader_jobs) = channel::<(Replay, Return)>();
        let reading = Arc::clone(&vault);
        let reader = thread::Builder::new().name("history-read".to_owned());
        let reader = reader.spawn(move || {
            let cache = Cache::default();
            for (replay, to) in reader_jobs {
                let replayed = reading.page_of_written(&replay, wall(), &cache);
                locked(&to.answers).push_back(replayed);
                (to.wake)();
            }
        })?;
        let writer = Writer {
            vault: Arc::clone(&vault),
            counters: Arc::clone(&counters),
            desk: Arc::clone(&desk),
            reads,
            taken: Waiting::default(),
            unsynced: 0,
            failing: false,
        };
        let writing = thread::Builder::new().name("history".to_owned());
        let writing = writing.spawn(move || writer.run())?;
        let asked = Arc::downgrade(&desk);
        vault.set_catch_up(move || {
            if let Some(desk) = asked.upgrade() {
                desk.settle();
            }
        });
        Ok(Self { vault, counters, desk, threads: vec![writing, reader] })
    }

    /// A shard's end; `wake` is called when it has answers.
    #[must_use]
    pub fn handle(&self, wake: Wake) -> Box<dyn History> {
        let (back, lane) = (Return { answers: Arc::default(), wake }, Arc::<Lane>::default());
        locked(&self.desk.lanes).push(Arc::clone(&lane));
        let (desk, counters) = (Arc::clone(&self.desk), Arc::clone(&self.counters));
        Box::new(Handle { desk, lane, counters, back, late: false })
    }

    /// What is kept, for who asks from other threads.
    #[must_use]
    pub fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault)
    }

    /// What became of messages.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Keeps by other rules from now on: what is handed over behind this call is kept by them.
    pub fn set_rules(&self, rules: &Rules) {
        let (sender, done) = channel();
        if self.desk.ask(Job::Rules(Box::new(rules.clone()), sender)) {
            let _ = done.recv(); // it is dropped, not sent to
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.desk.ask(Job::Stop);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(target: "store", "a thread of the history ended by a panic");
            }
        }
    }
}

struct Handle {
    desk: Arc<Desk>,
    lane: Arc<Lane>,
    counters: Arc<Counters>,
    back: Return,
    /// That messages were left out was said.
    late: bool,
}

impl History for Handle {
    fn remember(&mut self, rows: &mut Rows) {
        let (bytes, count) = (rows.as_bytes().len(), rows.len() as u64);
        let waiting = self.counters.waiting.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > WAITING_BYTES_MAX && waiting > 0 {
            self.counters.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.counters.left_out.fetch_add(count, Ordering::Relaxed);
            rows.clear();
            if !std::mem::replace(&mut self.late, true) {
                tracing::warn!(target: "store", count, "the history cannot keep up: messages are left out of it");
            }
            return;
        }
        self.late = false;
        let (before, after) = {
            let mut lane = locked(&self.lane.0);
            let before = lane.bytes.len();
            lane.bytes.extend_from_slice(rows.as_bytes());
            lane.count += count;
            (before, lane.bytes.len())
        };
        rows.clear();
        // The writer says that it sleeps before it looks into the lanes for the last time.
        let sleeps =
            self.desk.sleeps.load(Ordering::SeqCst) && self.desk.sleeps.swap(false, Ordering::SeqCst);
        if sleeps || (before < LANE_BYTES && after >= LANE_BYTES) {
            self.desk.hurry();
        }
    }

    fn replay(&mut self, replay: Replay) {
        self.desk.ask(Job::Replay(replay, self.back.clone())); // the broker ends: so do the shards
    }

    fn poll(&mut self) -> Option<Replayed> {
        locked(&self.back.answers).pop_front()
    }
}

struct Writer {
    vault: Arc<Vault>,
    counters: Arc<Counters>,
    desk: Arc<Desk>,
    reads: Sender<(Replay, Return)>,
    /// Memory that goes to and fro between here and the lanes.
    taken: Waiting,
    unsynced: usize,
    /// That the disk does not take anything was said.
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        let mut tick = Instant::now() + TICK;
        loop {
            // What was handed over before a job comes before it: jobs are taken first, lanes emptied then.
            let jobs = std::mem::take(&mut locked(&self.desk.jobs).waiting);
            let took = self.take_lanes();
            let more = jobs.into_iter().all(|job| self.work(job));
            if Instant::now() >= tick || self.unsynced > UNSYNCED_BYTES_MAX || !more {
                self.tick();
                tick = Instant::now() + TICK;
            }
            if !more {
                return;
            }
            // After a first message others often follow: they gather. When nothing came for that long, it sleeps.
            if took {
                self.wait(NAP);
                continue;
            }
            self.desk.sleeps.store(true, Ordering::SeqCst);
            if self.lanes_are_empty() {
                self.wait(tick.saturating_duration_since(Instant::now()));
            }
            self.desk.sleeps.store(false, Ordering::SeqCst);
        }
    }

    /// Waits, unless there is something to be done.
    fn wait(&self, time: Duration) {
        let jobs = locked(&self.desk.jobs);
        let idle = |jobs: &mut Jobs| jobs.waiting.is_empty() && !jobs.hurry;
        let waited = self.desk.bell.wait_timeout_while(jobs, time, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.hurry = false;
    }

    fn lanes_are_empty(&self) -> bool {
        locked(&self.desk.lanes).iter().all(|lane| locked(&lane.0).bytes.is_empty())
    }

    /// Writes what the lanes have. Whether there was anything.
    fn take_lanes(&mut self) -> bool {
        let lanes = locked(&self.desk.lanes).clone();
        let mut took = false;
        for lane in lanes {
            std::mem::swap(&mut *locked(&lane.0), &mut self.taken);
            if self.taken.count > 0 {
                took = true;
                self.write();
            }
        }
        took
    }

    fn write(&mut self) {
        let (count, bytes) = (self.taken.count, self.taken.bytes.len());
        match self.vault.append_rows(&self.taken.bytes) {
            Ok(()) => {
                self.failing = false;
                self.unsynced += bytes;
                self.counters.written.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => {
                self.counters.left_out.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(target: "store", %error, "the history cannot be written: messages are left out of it");
                }
            }
        }
        self.counters.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.taken.count = 0;
        self.taken.bytes.clear();
        self.taken.bytes.shrink_to(4 * LANE_BYTES);
    }

    /// False: it was the last one.
    fn work(&self, job: Job) -> bool {
        match job {
            Job::Replay(replay, back) => {
                let _ = self.reads.send((replay, back)); // the reader ends behind this thread
            }
            Job::Settle(done) => drop(done),
            Job::Rules(rules, done) => {
                match self.vault.set_rules(&rules) {
                    Ok(report) => report.tell(),
                    Err(error) => {
                        tracing::error!(target: "store", %error, "the history cannot follow its new rules");
                    }
                }
                drop(done);
            }
            Job::Stop => return false,
        }
        true
    }

    fn tick(&mut self) {
        let synced = self.vault.sync();
        self.unsynced = 0;
        let retained = self.vault.retain(wall());
        if let Err(error) = synced.and(retained)
            && !std::mem::replace(&mut self.failing, true)
        {
            tracing::error!(target: "store", %error, "the history's disk failed");
        }
    }
}

impl Drop for Writer {
    /// Nothing is asked any more; what was asked meanwhile is let go, and with it whoever waits for that.
    fn drop(&mut self) {
        let mut jobs = locked(&self.desk.jobs);
        jobs.closed = true;
        jobs.waiting.clear();
    }
}

/// Now.
#[must_use]
pub fn wall() -> WallTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
