//! The store port: what must survive a crash, and when an acknowledgement may rely on it.
//!
//! The brain (`cork-core`) never calls a store. It emits one batch of [`Record`]s a turn under a [`Ticket`] and holds
//! back every acknowledgement that relies on them until the driver says that the ticket is stored. A store gets the
//! batches of all shards in order and answers tickets in the order of their shard: ticket *n* stored means all
//! before it are.
//!
//! ```
//! use cork_store::{Record, SessionKey, Store, Ticket, Volatile};
//!
//! let mut store = Volatile::default();
//! store.append(Ticket(1), vec![Record::SessionEnded { session: SessionKey(7) }]);
//! assert_eq!(store.poll_stored(), Some((Ticket(1), Ok(()))));
//! assert_eq!(store.poll_stored(), None);
//! ```
#![forbid(unsafe_code)]

mod message;
mod record;

pub use message::{Message, MessageId, Proof, Publisher, WallTime};
pub use record::{Record, SessionKey, Will};

use std::{collections::VecDeque, fmt};

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

/// A place where records are kept.
pub trait Store: Send {
    /// Takes a batch. Returns at once; [`Store::poll_stored`] says when it is kept.
    fn append(&mut self, ticket: Ticket, records: Vec<Record>);

    /// The next batch whose fate is known, in the order they were appended.
    fn poll_stored(&mut self) -> Option<(Ticket, Result<(), StoreError>)>;
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

    fn poll_stored(&mut self) -> Option<(Ticket, Result<(), StoreError>)> {
        Some((self.stored.pop_front()?, Ok(())))
    }
}
