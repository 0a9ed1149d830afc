//! Defects that are planted on purpose, between the core and its store, or between two shards: what the checks do not find they do not prove.

use std::fmt;

use cork_core::{Batch, Item};
use cork_store::{Loaded, Record, Recovered};

use crate::{presence::ROOT, rng::Rng, store::Op};

/// One defect.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the defects say what they are")]
pub enum Plant {
    AnswersBeforeWriting,
    AnswersBeforeSync,
    FailedSyncTriedAgain,
    FullDropsRecords,
    BatchTorn,
    DoneLost,
    ReleasedLost,
    ReceivedLate,
    ForgottenLost,
    SubscribedLost,
    UnsubscribedLost,
    SessionLost,
    SessionEndedLost,
    RetainedLost,
    ClearedRetainedLost,
    WillArmedLost,
    WillDisarmedLost,
    TailReordered,
    LoadSkipsOne,
    ReleasedNotRestored,
    ReceivedNotRestored,
    SubscriptionOptionsNotRestored,
    SentUpToNotRestored,
    EpochStays,
    FolderNotSynced,
    FailedSyncIgnored,
    PresenceNotPassedOn,
    PresenceTurnedRound,
    PresenceNotRestored,
    AccountsNotTold,
    PastHasPresent,
    PastSkipsOne,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::AnswersBeforeWriting,
        Self::AnswersBeforeSync,
        Self::FailedSyncTriedAgain,
        Self::FullDropsRecords,
        Self::BatchTorn,
        Self::DoneLost,
        Self::ReleasedLost,
        Self::ReceivedLate,
        Self::ForgottenLost,
        Self::SubscribedLost,
        Self::UnsubscribedLost,
        Self::SessionLost,
        Self::SessionEndedLost,
        Self::RetainedLost,
        Self::ClearedRetainedLost,
        Self::WillArmedLost,
        Self::WillDisarmedLost,
        Self::TailReordered,
        Self::LoadSkipsOne,
        Self::ReleasedNotRestored,
        Self::ReceivedNotRestored,
        Self::SubscriptionOptionsNotRestored,
        Self::SentUpToNotRestored,
        Self::EpochStays,
        Self::FolderNotSynced,
        Self::FailedSyncIgnored,
        Self::PresenceNotPassedOn,
        Self::PresenceTurnedRound,
        Self::PresenceNotRestored,
        Self::AccountsNotTold,
        Self::PastHasPresent,
        Self::PastSkipsOne,
    ];

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| plant.to_string() == name)
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Who does it.
pub(crate) struct Saboteur {
    plant: Option<Plant>,
    rng: Rng,
    /// Records that come one batch late.
    late: Vec<Record>,
    /// The disk is full.
    pub(crate) full: bool,
}

/// Of so many records one is lost; of those that matter only at a crash, each.
const ONE_OF: usize = 6;

impl Saboteur {
    pub(crate) fn new(plant: Option<Plant>, seed: u64) -> Self {
        Self { plant, rng: Rng::new(seed ^ 0xBAD), late: Vec::new(), full: false }
    }

    pub(crate) fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// What becomes of a batch on its way into the store.
    pub(crate) fn records(&mut self, mut records: Vec<Record>) -> Vec<Record> {
        let Some(plant) = self.plant else { return records };
        if plant == Plant::FullDropsRecords && self.full {
            return Vec::new();
        }
        let rng = &mut self.rng;
        let all = matches!(plant, Plant::ReleasedLost | Plant::ClearedRetainedLost);
        records.retain(|record| !is_target(plant, record) || (!all && rng.below(ONE_OF) != 0));
        if plant == Plant::ReceivedLate {
            let (late, rest): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|record| matches!(record, Record::Received { .. }));
            records = std::mem::replace(&mut self.late, late);
            records.extend(rest);
        }
        records
    }

    /// What becomes of a commit that was under way when the broker died.
    pub(crate) fn torn(&mut self, commit: &[Op]) -> Vec<Op> {
        let mut ops = commit.to_vec();
        if self.has(Plant::BatchTorn)
            && let Some(Op::Append { records, .. }) = ops.last_mut()
        {
            records.truncate(self.rng.below(records.len()));
        }
        ops
    }

    /// What becomes of deliveries that are given back.
    pub(crate) fn loaded(&mut self, loaded: &mut Loaded) {
        if self.has(Plant::TailReordered) && loaded.deliveries.len() > 1 {
            let last = loaded.deliveries.len() - 1;
            loaded.deliveries.swap(last - 1, last);
        }
        if self.has(Plant::LoadSkipsOne) && loaded.next.is_some() {
            loaded.next = loaded.next.map(|next| next + 1);
        }
    }

    /// What becomes of what one shard has for another.
    pub(crate) fn mail(&mut self, mut batch: Batch) -> Batch {
        let Some(plant) = self.plant else { return batch };
        let rng = &mut self.rng;
        match plant {
            Plant::PresenceNotPassedOn => {
                batch.items.retain(|item| !is_presence(item) || rng.below(ONE_OF) != 0);
            }
            Plant::AccountsNotTold => {
                let account = |item: &Item| matches!(item, Item::Account { .. });
                batch.items.retain(|item| !account(item) || rng.below(ONE_OF) != 0);
            }
            Plant::PresenceTurnedRound => {
                let changes = (0..batch.items.len()).filter(|at| is_presence(&batch.items[*at]));
                if let [.., last, next] = changes.collect::<Vec<_>>()[..] {
                    batch.items.swap(last, next);
                }
            }
            _ => {}
        }
        batch
    }

    /// What becomes of what a restart finds.
    pub(crate) fn recovered(&mut self, recovered: &mut Recovered) {
        self.late.clear();
        let Some(plant) = self.plant else { return };
        if plant == Plant::EpochStays {
            recovered.epoch = 0;
        }
        if plant == Plant::PresenceNotRestored {
            recovered.retained.retain(|message| !message.topic().starts_with(ROOT));
        }
        for session in &mut recovered.sessions {
            match plant {
                Plant::ReleasedNotRestored => session.released.clear(),
                Plant::ReceivedNotRestored => session.received.clear(),
                Plant::SubscriptionOptionsNotRestored => {
                    session.subscriptions.iter_mut().for_each(|subscription| subscription.options &= !3);
                }
                Plant::SentUpToNotRestored => {
                    if let Some(state) = &mut session.state {
                        state.sent_up_to = 0;
                    }
                }
                _ => {}
            }
        }
    }
}

/// Whether this is a change of somebody's presence.
fn is_presence(item: &Item) -> bool {
    matches!(item, Item::Publish { message, .. } if message.topic().starts_with(ROOT))
}

/// Whether a defect loses such records.
fn is_target(plant: Plant, record: &Record) -> bool {
    match record {
        Record::Done { .. } => plant == Plant::DoneLost,
        Record::Released { .. } => plant == Plant::ReleasedLost,
        Record::Forgotten { .. } => plant == Plant::ForgottenLost,
        Record::Subscribed { .. } => plant == Plant::SubscribedLost,
        Record::Unsubscribed { .. } => plant == Plant::UnsubscribedLost,
        Record::Session { .. } => plant == Plant::SessionLost,
        Record::SessionEnded { .. } => plant == Plant::SessionEndedLost,
        Record::Retained { message } if message.payload().is_empty() => plant == Plant::ClearedRetainedLost,
        Record::Retained { .. } => plant == Plant::RetainedLost,
        Record::WillArmed { .. } => plant == Plant::WillArmedLost,
        Record::WillDisarmed { .. } => plant == Plant::WillDisarmedLost,
        Record::Queued { .. }
        | Record::Shifted { .. }
        | Record::Received { .. }
        | Record::Remembered { .. } => false,
    }
}
