//! The sink port: batches of messages saved outside the broker.
//!
//! A sink is the consumer of a persistent Session inside the broker. It gets batches in the order of arrival and says
//! for each whether it is safe where it was saved; only then are its messages acknowledged to the Session. A batch may
//! come again after a crash, so a sink writes by the message's identity ([`MessageId`]): what is
//! there already is not written twice.
//!
//! ```
//! use std::sync::Arc;
//! use cork_sink::{InMemory, Sink};
//! use cork_store::{Message, MessageId, Publisher, WallTime};
//!
//! let id = MessageId { arrived: WallTime(1), ..MessageId::default() };
//! let reading = Arc::new(Message::new(id, "room/1", &[], b"21.5", Arc::new(Publisher::default())));
//! let mut sink = InMemory::default();
//! sink.save(&[Arc::clone(&reading)])?;
//! sink.save(&[reading])?; // the same batch again, after a crash
//! assert_eq!(sink.saved().count(), 1);
//! # Ok::<(), cork_sink::SinkError>(())
//! ```
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, fmt, sync::Arc};

use cork_store::{Message, MessageId};

/// Why a batch was not saved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkError {
    /// The target cannot be reached or is busy: the same batch is worth another try later.
    Unavailable(String),
    /// These messages of the batch can never be saved, with the reason of each; all others are saved.
    Rejected(Vec<(MessageId, String)>),
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the target is not available: {why}"),
            Self::Rejected(messages) => write!(f, "{} messages cannot be saved", messages.len()),
        }
    }
}

impl std::error::Error for SinkError {}

/// A place outside the broker where messages are saved.
pub trait Sink: Send {
    /// Saves a batch. Returns when it is safe; may block, and is never called on a shard's thread.
    ///
    /// # Errors
    /// [`SinkError`]: try again, or give these messages up.
    fn save(&mut self, batch: &[Arc<Message>]) -> Result<(), SinkError>;
}

/// A sink that keeps messages in memory, once each: for tests.
#[derive(Debug, Default)]
pub struct InMemory {
    saved: BTreeMap<MessageId, Arc<Message>>,
}

impl InMemory {
    /// What was saved, in the order of arrival.
    pub fn saved(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.saved.values()
    }
}

impl Sink for InMemory {
    fn save(&mut self, batch: &[Arc<Message>]) -> Result<(), SinkError> {
        self.saved.extend(batch.iter().map(|message| (message.id, Arc::clone(message))));
        Ok(())
    }
}
