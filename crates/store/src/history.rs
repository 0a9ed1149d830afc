//! The history port: what is kept of messages that nobody waits for, and how it is given back.
//!
//! As with the store, the brain never calls it. A shard hands over what a `[[history]]` asks for, in the order it came,
//! and asks for pages of it; both are taken in that order. A message is never waited for: who keeps it may be behind.

use std::{collections::VecDeque, fmt, sync::Arc};

use crate::{Message, MessageId, Rows, WallTime};

/// Where a replay begins.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ReplayFrom {
    /// With the last so many messages.
    Last(u32),
    /// With the first message that came then or later.
    Since(WallTime),
    /// Behind this message.
    After(MessageId),
}

/// Asks for a page of what was kept.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The asker's own number for it, given back.
    pub token: u64,
    /// Topic Filter.
    pub filter: Box<str>,
    /// Where to begin.
    pub from: ReplayFrom,
    /// By shard: arrival of the last message that counts, in microseconds since 1970. What came later is delivered live.
    /// Of shards beyond the end everything counts.
    pub upto: Arc<[u64]>,
    /// Messages in the page, at most.
    pub messages_max: u32,
    /// What the asker may read: nothing else is given, or counted.
    pub may_read: MayRead,
}

/// Tells of a topic whether somebody may read it. By default everything may be read.
#[derive(Clone, Default)]
pub struct MayRead(Option<Arc<Asked>>);

type Asked = dyn Fn(&str) -> bool + Send + Sync;

impl MayRead {
    /// What `asked` says.
    pub fn new(asked: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(asked)))
    }

    /// Whether a topic may be read.
    #[must_use]
    pub fn allows(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|asked| asked(topic))
    }
}

impl fmt::Debug for MayRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "MayRead(some)" } else { "MayRead(all)" })
    }
}

impl Replay {
    /// Whether a message lies before the place from which on it is delivered live.
    #[must_use]
    pub fn counts(&self, id: MessageId) -> bool {
        self.upto.get(usize::from(id.shard)).is_none_or(|last| id.arrived.0 <= *last)
    }
}

/// The answer to a [`Replay`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The number it was asked with.
    pub token: u64,
    /// In the order of their identities.
    pub messages: Vec<Arc<Message>>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<MessageId>,
}

/// A place where messages are kept beyond their delivery: one shard's end of it.
pub trait History: Send {
    /// Takes messages, and leaves `rows` empty. Returns at once.
    fn remember(&mut self, rows: &mut Rows);

    /// The same, for who hands the memory on.
    fn empty(&mut self, mut rows: Box<Rows>) -> Box<Rows> {
        self.remember(&mut rows);
        rows
    }

    /// Asks for a page. What any shard handed over before is in it. Returns at once.
    fn replay(&mut self, replay: Replay);

    /// The next answer.
    fn poll(&mut self) -> Option<Replayed>;
}

/// The history of a broker that keeps none.
#[derive(Debug, Default)]
pub struct Forgetful {
    answers: VecDeque<Replayed>,
}

impl History for Forgetful {
    fn remember(&mut self, rows: &mut Rows) {
        rows.clear();
    }

    fn replay(&mut self, replay: Replay) {
        self.answers.push_back(Replayed { token: replay.token, ..Replayed::default() });
    }

    fn poll(&mut self) -> Option<Replayed> {
        self.answers.pop_front()
    }
}
