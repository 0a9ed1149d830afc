//! A shard's end of the store, and what waits between it and the writer.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cork_store::{Answer, Fetch, Load, Record, Store, Ticket};

use crate::group::Op;

/// Locks, whoever panicked before: what is guarded is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called when answers came.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Answers on their way to one shard.
struct End {
    answers: Mutex<VecDeque<Answer>>,
    /// The shard was woken and has not looked yet.
    woken: AtomicBool,
    wake: Wake,
}

/// What waits for the writer.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) ops: Vec<Op>,
    /// Bytes of each.
    pub(crate) sizes: Vec<usize>,
    /// Nothing more will come.
    pub(crate) stop: bool,
}

/// Between shards and the writer.
#[derive(Default)]
pub(crate) struct Desk {
    waiting: Mutex<Waiting>,
    came: Condvar,
    /// Bytes of all that was appended and is not answered.
    pub(crate) unanswered_bytes: AtomicUsize,
    ends: Mutex<BTreeMap<u16, Arc<End>>>,
    full: AtomicBool,
    stuck: AtomicBool,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    fn push(&self, op: Op, bytes: usize) {
        self.unanswered_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut waiting = lock(&self.waiting);
        let first = waiting.ops.is_empty();
        waiting.ops.push(op);
        waiting.sizes.push(bytes);
        drop(waiting);
        if first {
            self.came.notify_one();
        }
    }

    pub(crate) fn stop(&self) {
        lock(&self.waiting).stop = true;
        self.came.notify_one();
    }

    /// Waits so long, or until nothing more will come: whether that is so.
    pub(crate) fn wait_for_stop(&self, time: Duration) -> bool {
        let waiting = lock(&self.waiting);
        let goes_on = |waiting: &mut Waiting| !waiting.stop;
        let waited = self.came.wait_timeout_while(waiting, time, goes_on);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Takes all that waits; waits for something at most so long.
    pub(crate) fn take(&self, into: &mut Waiting, wait: Option<Duration>) {
        let waiting = lock(&self.waiting);
        let idle = |waiting: &mut Waiting| waiting.ops.is_empty() && !waiting.stop;
        let mut waiting = match wait {
            None => self.came.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner),
            Some(time) if time.is_zero() => waiting,
            Some(time) => {
                self.came.wait_timeout_while(waiting, time, idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        into.stop = waiting.stop;
        std::mem::swap(&mut into.ops, &mut waiting.ops);
        std::mem::swap(&mut into.sizes, &mut waiting.sizes);
    }

    /// Gives one shard answers.
    pub(crate) fn answer(&self, shard: u16, answers: impl IntoIterator<Item = Answer>) {
        let Some(end) = lock(&self.ends).get(&shard).map(Arc::clone) else { return };
        lock(&end.answers).extend(answers);
        if !end.woken.swap(true, Ordering::AcqRel) {
            (end.wake)();
        }
    }

    /// Tells everybody that space ran out, or is there again.
    pub(crate) fn set_full(&self, full: bool) {
        self.tell(&self.full, full, &Answer::Full(full));
    }

    /// The same of space for anything at all.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.tell(&self.stuck, stuck, &Answer::Stuck(stuck));
    }

    fn tell(&self, known: &AtomicBool, now: bool, answer: &Answer) {
        let shards: Vec<u16> = {
            let ends = lock(&self.ends);
            if known.swap(now, Ordering::AcqRel) == now {
                return;
            }
            ends.keys().copied().collect()
        };
        for shard in shards {
            self.answer(shard, [answer.clone()]);
        }
    }

    pub(crate) fn handle(self: &Arc<Self>, shard: u16, wake: Wake) -> Handle {
        let end = Arc::new(End { answers: Mutex::default(), woken: AtomicBool::new(false), wake });
        let mut ends = lock(&self.ends);
        ends.insert(shard, Arc::clone(&end));
        let full = self.full.load(Ordering::Acquire);
        let stuck = self.stuck.load(Ordering::Acquire);
        drop(ends);
        let news = [(full, Answer::Full(true)), (stuck, Answer::Stuck(true))];
        for (_, answer) in news.into_iter().filter(|(is, _)| *is) {
            self.answer(shard, [answer]);
        }
        Handle { shard, desk: Arc::clone(self), end, answers: VecDeque::new() }
    }
}

/// One shard's end of a [`crate::Keeper`].
pub(crate) struct Handle {
    shard: u16,
    desk: Arc<Desk>,
    end: Arc<End>,
    answers: VecDeque<Answer>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// Bytes that a load counts for.
const LOAD_BYTES: usize = 64;

impl Store for Handle {
    fn append(&mut self, ticket: Ticket, records: Vec<Record>) {
        let bytes = records.iter().map(Record::cost_bytes).sum();
        self.desk.push(Op::Append { shard: self.shard, ticket, records }, bytes);
    }

    fn load(&mut self, load: Load) {
        self.desk.push(Op::Load { shard: self.shard, load }, LOAD_BYTES);
    }

    fn fetch(&mut self, fetch: Fetch) {
        let bytes = LOAD_BYTES + fetch.topics.iter().map(|topic| topic.len()).sum::<usize>();
        self.desk.push(Op::Fetch { shard: self.shard, fetch }, bytes);
    }

    fn poll(&mut self) -> Option<Answer> {
        if self.answers.is_empty() && self.end.woken.swap(false, Ordering::AcqRel) {
            std::mem::swap(&mut self.answers, &mut *lock(&self.end.answers));
        }
        self.answers.pop_front()
    }

    fn can_load(&self) -> bool {
        true
    }
}
