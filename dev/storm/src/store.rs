//! The store of a storm: one writer that gathers the batches of all shards, commits some of them at a time, and
//! answers when it likes. What was not committed is gone after a crash.

use std::collections::VecDeque;

use cork_core::Batch;
use cork_store::{
    Answer, Fetch, Load, ModelStore, QueuedDelivery, Record, Recovered, SessionKey, StoreError, Ticket,
};

use crate::{
    disk::OnDisk,
    plant::{Plant, Saboteur},
    rng::Rng,
};

/// What a shard wants of the store.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append { shard: u16, ticket: Ticket, records: Vec<Record> },
    Load { shard: u16, load: Load },
    Fetch { shard: u16, fetch: Fetch },
}

/// What becomes of a commit.
pub(crate) enum Outcome {
    /// It is durable; this is what was asked for in it.
    Kept(Vec<(u16, Answer)>),
    /// There was no space: it can be tried again.
    NoSpace,
    /// Nothing is known of it, and nothing more will be kept.
    Failed(String),
}

/// What the store is made of.
pub(crate) enum Engine {
    /// Nothing is kept; there are no crashes.
    Volatile,
    /// What records mean, without a disk.
    Model(Box<ModelStore>),
    /// The durable log on a simulated disk.
    Log(Box<OnDisk>),
}

/// How a broker dies.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process ends; what it wrote stays.
    Kill,
    /// Of what was not synced any part may be gone.
    PowerCut,
}

pub(crate) struct Keeper {
    engine: Engine,
    /// Not written yet, in order.
    pending: VecDeque<Op>,
    /// On its way to the disk.
    commit: Vec<Op>,
    /// By shard, in order.
    stored: Vec<VecDeque<Answer>>,
    loaded: Vec<VecDeque<Answer>>,
    full: bool,
    /// It refused something and does not have everything since: what need not wait for it then did not.
    behind: bool,
    /// The next commit fails.
    fails_next: bool,
    failed: Option<String>,
    /// The commit that failed: what is on the disk of it, nobody knows.
    doubtful: Vec<Op>,
    saboteur: Saboteur,
}

impl Keeper {
    pub(crate) fn new(engine: Engine, shards: u16, saboteur: Saboteur) -> Self {
        let mut keeper = Self {
            engine,
            pending: VecDeque::new(),
            commit: Vec::new(),
            stored: Vec::new(),
            loaded: Vec::new(),
            full: false,
            behind: false,
            fails_next: false,
            failed: None,
            doubtful: Vec::new(),
            saboteur,
        };
        keeper.set_shards(shards);
        keeper
    }

    fn set_shards(&mut self, shards: u16) {
        self.stored = vec![VecDeque::new(); usize::from(shards)];
        self.loaded = vec![VecDeque::new(); usize::from(shards)];
    }

    /// Whether it can survive a crash.
    pub(crate) const fn is_durable(&self) -> bool {
        !matches!(self.engine, Engine::Volatile)
    }

    pub(crate) fn append(&mut self, shard: usize, ticket: Ticket, records: Vec<Record>) {
        if !self.is_durable() {
            return self.stored[shard].push_back(Answer::Stored { ticket, result: Ok(()) });
        }
        if self.saboteur.has(Plant::AnswersBeforeWriting) {
            self.stored[shard].push_back(Answer::Stored { ticket, result: Ok(()) });
        }
        let records = self.saboteur.records(records);
        let shard = u16::try_from(shard).unwrap_or(u16::MAX);
        self.pending.push_back(Op::Append { shard, ticket, records });
    }

    pub(crate) fn load(&mut self, shard: usize, load: Load) {
        let shard = u16::try_from(shard).unwrap_or(u16::MAX);
        self.pending.push_back(Op::Load { shard, load });
    }

    pub(crate) fn fetch(&mut self, shard: usize, fetch: Fetch) {
        let shard = u16::try_from(shard).unwrap_or(u16::MAX);
        self.pending.push_back(Op::Fetch { shard, fetch });
    }

    /// What shards have for each other.
    pub(crate) fn mail(&mut self, batch: Batch) -> Batch {
        self.saboteur.mail(batch)
    }

    /// Whether nothing is under way and all answers are given.
    pub(crate) fn is_idle(&self) -> bool {
        let waits = |queues: &[VecDeque<Answer>]| queues.iter().any(|queue| !queue.is_empty());
        self.pending.is_empty() && self.commit.is_empty() && !waits(&self.stored) && !waits(&self.loaded)
    }

    /// It has everything.
    pub(crate) const fn settle(&mut self) {
        self.behind = self.refuses();
    }

    /// Whether something may have been told that it does not have, as it refused it.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether it takes nothing new, for want of space or for good.
    pub(crate) const fn refuses(&self) -> bool {
        self.full || self.failed.is_some()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some() || matches!(&self.engine, Engine::Log(disk) if disk.has_failed())
    }

    /// Begins a commit, or ends the one on its way. False: there is nothing to do, or no space to do it.
    pub(crate) fn step(&mut self, rng: &mut Rng) -> bool {
        if !self.commit.is_empty() {
            return self.end_commit();
        }
        if self.pending.is_empty() {
            if let Engine::Log(disk) = &mut self.engine {
                disk.clean();
            }
            return false;
        }
        let many = rng.between(1, self.pending.len());
        self.commit = self.pending.drain(..many).collect();
        if self.saboteur.has(Plant::AnswersBeforeSync) {
            let tickets: Vec<_> = self.commit.iter().filter_map(ticket_of).collect();
            self.answer_all(&tickets, &Ok(()));
        }
        true
    }

    fn end_commit(&mut self) -> bool {
        let ops = std::mem::take(&mut self.commit);
        let tickets: Vec<_> = ops.iter().filter_map(ticket_of).collect();
        let outcome = match &self.failed {
            Some(how) => Outcome::Failed(how.clone()),
            None if std::mem::take(&mut self.fails_next) => Outcome::Failed("as it was told to".to_owned()),
            None => self.engine.commit(&ops),
        };
        let early =
            self.saboteur.has(Plant::AnswersBeforeWriting) || self.saboteur.has(Plant::AnswersBeforeSync);
        match outcome {
            Outcome::Kept(loaded) => {
                if !early {
                    self.answer_all(&tickets, &Ok(()));
                }
                for (shard, mut answer) in loaded {
                    if let Answer::Loaded(loaded) = &mut answer {
                        self.saboteur.loaded(loaded);
                    }
                    self.loaded[usize::from(shard)].push_back(answer);
                }
            }
            Outcome::NoSpace => {
                self.commit = ops;
                self.say_full(true);
                return false;
            }
            Outcome::Failed(how) => {
                let result = if self.saboteur.has(Plant::FailedSyncTriedAgain) {
                    Ok(())
                } else {
                    if self.failed.is_none() {
                        self.doubtful = ops;
                    }
                    self.failed = Some(how.clone());
                    self.behind = true;
                    Err(StoreError::Failed(how))
                };
                self.answer_all(&tickets, &result);
            }
        }
        if let Engine::Log(disk) = &self.engine {
            self.say_full(disk.is_full());
        }
        true
    }

    fn answer_all(&mut self, tickets: &[(u16, Ticket)], result: &Result<(), StoreError>) {
        for (shard, ticket) in tickets {
            let answer = Answer::Stored { ticket: *ticket, result: result.clone() };
            self.stored[usize::from(*shard)].push_back(answer);
        }
    }

    /// Something the store has to say to a shard.
    pub(crate) fn answer(&mut self, shard: usize, rng: &mut Rng) -> Option<Answer> {
        let (stored, loaded) = (&mut self.stored[shard], &mut self.loaded[shard]);
        if !loaded.is_empty() && (stored.is_empty() || rng.chance(50)) {
            return loaded.pop_front();
        }
        stored.pop_front()
    }

    /// Space runs out, or there is some again.
    pub(crate) fn set_full(&mut self, full: bool, rng: &mut Rng) {
        match &mut self.engine {
            Engine::Volatile => {}
            Engine::Model(_) => self.say_full(full),
            Engine::Log(disk) => {
                disk.set_full(full, rng);
                if !full {
                    disk.retry();
                    let still = disk.is_full();
                    self.say_full(still);
                }
            }
        }
    }

    fn say_full(&mut self, full: bool) {
        if self.full != full {
            self.full = full;
            self.behind |= full;
            for queue in &mut self.stored {
                queue.push_back(Answer::Full(full));
            }
            self.saboteur.full = full;
        }
    }

    /// The next commit fails, or one of the next calls of the disk.
    pub(crate) fn fail_next(&mut self, rng: &mut Rng) {
        match &mut self.engine {
            Engine::Volatile => {}
            Engine::Model(_) => self.fails_next = true,
            Engine::Log(disk) => disk.fail(rng),
        }
    }

    /// No more faults, but for those that happened.
    pub(crate) fn calm_down(&mut self, rng: &mut Rng) {
        self.fails_next = false;
        if let Engine::Log(disk) = &mut self.engine {
            disk.calm_down();
        }
        self.set_full(false, rng);
    }

    /// The broker dies.
    pub(crate) fn crash(&mut self, death: Death, rng: &mut Rng) {
        let mut commit = std::mem::take(&mut self.commit);
        let doubtful = std::mem::take(&mut self.doubtful);
        if self.failed.is_some() {
            commit = doubtful; // nothing was written behind it
        }
        self.pending.clear();
        self.engine.crash(&commit, death, rng, &mut self.saboteur);
        (self.full, self.failed, self.fails_next, self.saboteur.full) = (false, None, false, false);
        self.behind = false;
    }

    /// The broker starts again.
    ///
    /// # Errors
    /// What the store says of its disk.
    pub(crate) fn restart(&mut self, shards: u16, death: Death, rng: &mut Rng) -> Result<Recovered, String> {
        self.set_shards(shards);
        let mut recovered = match &mut self.engine {
            Engine::Volatile => return Err("nothing was kept".to_owned()),
            Engine::Model(model) => model.restart(),
            Engine::Log(disk) => disk.restart(death, rng)?,
        };
        self.saboteur.recovered(&mut recovered);
        Ok(recovered)
    }

    /// What waits for a Session, as the store has it.
    pub(crate) fn queue_of(&mut self, session: SessionKey) -> Vec<QueuedDelivery> {
        let load = Load { token: 0, session, from: 0, messages_max: u32::MAX, bytes_max: u32::MAX };
        let outcome = self.engine.commit(&[Op::Load { shard: 0, load }]);
        let Outcome::Kept(loaded) = outcome else { return Vec::new() };
        let deliveries = |(_, answer)| match answer {
            Answer::Loaded(loaded) => loaded.deliveries,
            _ => Vec::new(),
        };
        loaded.into_iter().flat_map(deliveries).collect()
    }

    /// What a restart would find now.
    pub(crate) fn peek(&self) -> Option<Recovered> {
        self.engine.peek()
    }

    /// Everybody has left, and `live` bytes are retained.
    ///
    /// # Errors
    /// The disk holds far more.
    pub(crate) fn space_is_free(&mut self, live: usize) -> Result<(), String> {
        let Engine::Log(disk) = &mut self.engine else { return Ok(()) };
        let (bytes, most) = (disk.bytes_at_rest(), OnDisk::bytes_max(live));
        if bytes > most {
            Err(format!("{bytes} bytes are on the disk for {live}, at most {most} should be"))
        } else {
            Ok(())
        }
    }
}

fn ticket_of(op: &Op) -> Option<(u16, Ticket)> {
    match op {
        Op::Append { shard, ticket, .. } => Some((*shard, *ticket)),
        Op::Load { .. } | Op::Fetch { .. } => None,
    }
}

impl Engine {
    fn commit(&mut self, ops: &[Op]) -> Outcome {
        match self {
            Self::Volatile => Outcome::Kept(Vec::new()),
            Self::Model(model) => {
                let mut loaded = Vec::new();
                for op in ops {
                    match op {
                        Op::Append { records, .. } => records.iter().for_each(|record| model.apply(record)),
                        Op::Load { shard, load } => loaded.push((*shard, Answer::Loaded(model.load(load)))),
                        Op::Fetch { shard, fetch } => {
                            loaded.push((*shard, Answer::Fetched(model.fetch(fetch))));
                        }
                    }
                }
                Outcome::Kept(loaded)
            }
            Self::Log(disk) => disk.commit(ops),
        }
    }

    fn crash(&mut self, commit: &[Op], death: Death, rng: &mut Rng, saboteur: &mut Saboteur) {
        match self {
            Self::Volatile => {}
            Self::Model(_) => {
                // Written or not yet; after a power cut synced by chance or not.
                if rng.chance(if death == Death::Kill { 70 } else { 40 }) {
                    self.commit(&saboteur.torn(commit));
                }
            }
            Self::Log(disk) => disk.crash(commit, death, rng),
        }
    }

    fn peek(&self) -> Option<Recovered> {
        match self {
            Self::Volatile => None,
            Self::Model(model) => Some(model.recovered()),
            Self::Log(disk) => disk.peek(),
        }
    }
}
