//! Two threads beside the shards: one writes what they hand over, one reads what they ask for.
//!
//! What is handed over is taken in the order it came, and questions with it: a page has everything that any shard handed
//! over before it was asked for. Nobody waits for the writer: when it is too far behind, messages are left out and
//! counted.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cork_store::{History, Message, Replay, Replayed, WallTime};

use crate::{options::Rules, page::Cache, vault::Vault};

/// Bytes of messages that wait for the writer, at most: what comes then is left out.
pub const WAITING_BYTES_MAX: usize = 32 << 20;
/// Bytes that are written before they are synced, at most.
const UNSYNCED_BYTES_MAX: usize = 4 << 20;
/// How often what was written is synced, and what is too old let go.
const TICK: Duration = Duration::from_secs(1);
/// Messages written in one go, at most.
const BATCH_MAX: usize = 4096;

/// Wakes a shard.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

enum Job {
    Remember(Vec<Arc<Message>>, usize),
    Replay(Replay, Return),
    Rules(Box<Rules>),
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

/// The running history. It ends when it is dropped, after everything handed over is written.
pub struct Engine {
    vault: Arc<Vault>,
    counters: Arc<Counters>,
    jobs: Sender<Job>,
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
        let (vault, counters) = (Arc::new(vault), Arc::new(Counters::default()));
        let (jobs, writer_jobs) = channel();
        let (reads, reader_jobs) = channel::<(Replay, Return)>();
        let reading = Arc::clone(&vault);
        let reader = thread::Builder::new().name("history-read".to_owned());
        let reader = reader.spawn(move || {
            let cache = Cache::default();
            for (replay, to) in reader_jobs {
                let replayed = reading.page(&replay, wall(), &cache);
                to.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(replayed);
                (to.wake)();
            }
        })?;
        let writer = Writer {
            vault: Arc::clone(&vault),
            counters: Arc::clone(&counters),
            reads,
            unsynced: 0,
            failing: false,
        };
        let writing = thread::Builder::new().name("history".to_owned());
        let writing = writing.spawn(move || writer.run(&writer_jobs))?;
        Ok(Self { vault, counters, jobs, threads: vec![writing, reader] })
    }

    /// A shard's end; `wake` is called when it has answers.
    #[must_use]
    pub fn handle(&self, wake: Wake) -> Box<dyn History> {
        let back = Return { answers: Arc::default(), wake };
        Box::new(Handle { jobs: self.jobs.clone(), counters: Arc::clone(&self.counters), back, late: false })
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

    /// Keeps by other rules from now on.
    pub fn set_rules(&self, rules: &Rules) {
        let _ = self.jobs.send(Job::Rules(Box::new(rules.clone()))); // the writer ends with this value
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.jobs.send(Job::Stop);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(target: "store", "a thread of the history ended by a panic");
            }
        }
    }
}

struct Handle {
    jobs: Sender<Job>,
    counters: Arc<Counters>,
    back: Return,
    /// That messages were left out was said.
    late: bool,
}

impl History for Handle {
    fn remember(&mut self, messages: Vec<Arc<Message>>) {
        let bytes: usize = messages.iter().map(|message| message.cost_bytes()).sum();
        let waiting = self.counters.waiting.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > WAITING_BYTES_MAX && waiting > 0 {
            self.counters.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.counters.left_out.fetch_add(messages.len() as u64, Ordering::Relaxed);
            if !std::mem::replace(&mut self.late, true) {
                let count = messages.len();
                tracing::warn!(target: "store", count, "the history cannot keep up: messages are left out of it");
            }
            return;
        }
        self.late = false;
        let _ = self.jobs.send(Job::Remember(messages, bytes)); // the broker ends: so do the shards
    }

    fn replay(&mut self, replay: Replay) {
        let _ = self.jobs.send(Job::Replay(replay, self.back.clone()));
    }

    fn poll(&mut self) -> Option<Replayed> {
        self.back.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

struct Writer {
    vault: Arc<Vault>,
    counters: Arc<Counters>,
    reads: Sender<(Replay, Return)>,
    unsynced: usize,
    /// That the disk does not take anything was said.
    failing: bool,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut tick = Instant::now() + TICK;
        loop {
            let job = jobs.recv_timeout(tick.saturating_duration_since(Instant::now()));
            let more = match job {
                Ok(job) => self.work(job, jobs),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if Instant::now() >= tick || self.unsynced > UNSYNCED_BYTES_MAX || !more {
                self.tick();
                tick = Instant::now() + TICK;
            }
            if !more {
                return;
            }
        }
    }

    /// Does a job, and what waits behind it of the same kind. False: it was the last one.
    fn work(&mut self, mut job: Job, jobs: &Receiver<Job>) -> bool {
        loop {
            let mut next = None;
            match job {
                Job::Remember(mut messages, mut bytes) => {
                    while messages.len() < BATCH_MAX {
                        match jobs.try_recv() {
                            Ok(Job::Remember(more, size)) => {
                                messages.extend(more);
                                bytes += size;
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.write(&messages, bytes);
                }
                Job::Replay(replay, back) => {
                    let _ = self.reads.send((replay, back)); // the reader ends behind this thread
                }
                Job::Rules(rules) => match self.vault.set_rules(&rules) {
                    Ok(report) => report.tell(),
                    Err(error) => {
                        tracing::error!(target: "store", %error, "the history cannot follow its new rules");
                    }
                },
                Job::Stop => return false,
            }
            match next {
                Some(other) => job = other,
                None => return true,
            }
        }
    }

    fn write(&mut self, messages: &[Arc<Message>], bytes: usize) {
        let count = messages.len() as u64;
        match self.vault.append(messages) {
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

/// Now.
#[must_use]
pub fn wall() -> WallTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
}
