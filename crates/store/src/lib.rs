//! The store port: what must survive a crash, and when an acknowledgement may rely on it.
//!
//! The brain (`cork-core`) never calls a store. It emits one batch of [`Record`]s a turn under a [`Ticket`] and holds
//! back every acknowledgement that relies on them until the driver says that the ticket is stored. A store gets the
//! batches of all shards in order and answers tickets in the order of their shard: ticket *n* stored means all
//! before it are.
//!
//! ```
//! use cork_store::{Answer, Record, SessionKey, Store, Ticket, Volatile};
//!
//! let mut store = Volatile::default();
//! store.append(Ticket(1), vec![Record::SessionEnded { session: SessionKey(7) }]);
//! assert_eq!(store.poll(), Some(Answer::Stored { ticket: Ticket(1), result: Ok(()) }));
//! assert_eq!(store.poll(), None);
//! ```
#![forbid(unsafe_code)]

mod facts;
mod histogram;
mod history;
mod inside;
mod message;
#[cfg(feature = "model")]
mod model;
mod record;
mod recovered;
mod rows;
mod stubs;

pub use facts::{Facts, NoMessageId};
pub use histogram::{BOUNDS_MICROS, Histogram};
pub use history::{Forgetful, History, MayRead, Replay, ReplayFrom, Replayed};
pub use inside::{
    ASLEEP_ASKED_BY, LANE_ASKED_BY, LANE_LIVE_FIRST, LANE_STRICT, LANE_SUFFIX, PACKET_BYTES_ASKED_BY,
    QUEUE_BYTES_ASKED_BY, first_lane,
};
pub use message::{Message, MessageId, Proof, Publisher, WallTime};
#[cfg(feature = "model")]
pub use model::ModelStore;
pub use record::{OWES_RETAINED, QueuedDelivery, Record, SessionKey, SessionState, SubscriptionIds, Will};
pub use recovered::{QueueExtent, Recovered, RecoveredSession, RecoveredSubscription};
pub use rows::{NoRows, Row, Rows, publisher, put_author, put_bytes, put_varint, rows};
pub use stubs::{IntoStubs, RetainedStub, RetainedStubs};

use std::{collections::VecDeque, fmt, sync::Arc};

/// Number of a batch of records, ascending within a shard.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// The ticket after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Why a batch could not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// No space is left; reading and draining go on.
    Full,
    /// The device failed; the text says how.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("no space left for the store"),
            Self::Failed(how) => write!(f, "the store failed: {how}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Asks for deliveries of a Session that the shard does not hold in memory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The asker's own number for it, given back.
    pub token: u64,
    /// Whose.
    pub session: SessionKey,
    /// From this delivery number on.
    pub from: u64,
    /// At most so many.
    pub messages_max: u32,
    /// No more once so many bytes ([`Message::cost_bytes`]) are reached.
    pub bytes_max: u32,
}

/// The answer to a [`Load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The number it was asked with.
    pub token: u64,
    /// Whose.
    pub session: SessionKey,
    /// What was asked for.
    pub from: u64,
    /// Deliveries that are not over and not released, ascending.
    pub deliveries: Vec<QueuedDelivery>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<u64>,
    /// Deliveries in between that cannot be read: where each lies and what is wrong.
    pub damaged: Vec<(u64, String)>,
}

/// Asks for retained messages of which the shard knows only that they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The asker's own number for it, given back.
    pub token: u64,
    /// Their Topic Names.
    pub topics: Vec<Box<str>>,
}

/// The answer to a [`Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The number it was asked with.
    pub token: u64,
    /// For each topic that was asked for its retained message, as after all batches appended before or later; `None`: it
    /// has none.
    pub messages: Vec<Option<Arc<Message>>>,
    /// Topics whose message cannot be read: where it lies and what is wrong.
    pub damaged: Vec<(Box<str>, String)>,
}

/// What a store has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The fate of a batch; answers come in the order of tickets.
    Stored {
        /// Which.
        ticket: Ticket,
        /// Its fate. After a failure no later batch is stored.
        result: Result<(), StoreError>,
    },
    /// What was asked for.
    Loaded(Loaded),
    /// What was asked for.
    Fetched(Fetched),
    /// Space for new messages ran out, or there is some again. What was appended before is kept either way;
    /// records that free space are taken as long as the reserve for them lasts.
    Full(bool),
    /// Nothing at all can be stored for want of space, or something can again: whoever would have to wait for it is
    /// better told.
    Stuck(bool),
}

/// A place where records are kept: one shard's end of it.
pub trait Store: Send {
    /// Takes a batch. Returns at once; an [`Answer::Stored`] says when it is kept.
    fn append(&mut self, ticket: Ticket, records: Vec<Record>);

    /// Asks for deliveries, as they are after all batches appended so far. Returns at once.
    fn load(&mut self, load: Load);

    /// Asks for retained messages. Returns at once.
    fn fetch(&mut self, fetch: Fetch);

    /// The next answer.
    fn poll(&mut self) -> Option<Answer>;

    /// Whether deliveries can be loaded: a shard need not hold them all in memory then.
    fn can_load(&self) -> bool;
}

/// The store of a broker that keeps its state in the memory of the process only: every batch counts as stored at once.
///
/// The Sessions themselves live in the shard; keeping the records a second time would protect from nothing.
#[derive(Debug, Default)]
pub struct Volatile {
    stored: VecDeque<Ticket>,
}

impl Store for Volatile {
    fn append(&mut self, ticket: Ticket, records: Vec<Record>) {
        drop(records);
        self.stored.push_back(ticket);
    }

    fn load(&mut self, load: Load) {
        debug_assert!(false, "nothing is kept here that {load:?} could give back");
    }

    fn fetch(&mut self, fetch: Fetch) {
        debug_assert!(false, "nothing is kept here that {fetch:?} could give back");
    }

    fn poll(&mut self) -> Option<Answer> {
        Some(Answer::Stored { ticket: self.stored.pop_front()?, result: Ok(()) })
    }

    fn can_load(&self) -> bool {
        false
    }
}
