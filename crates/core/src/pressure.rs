//! What a shard does when the process comes near the memory it may take.
//!
//! Nothing that is lost by a level could have been kept by a lower one: first what the store has anyway leaves memory,
//! then QoS 0 messages for those who do not read, and last those who publish are read more slowly.

use std::time::Duration;

use crate::{board::Board, conn::SessionIx, io::ConnId, shard::Shard};

/// How near the process is to the memory it may take.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pressure {
    /// There is room.
    #[default]
    None,
    /// What the store has anyway leaves memory: heads of queues, contents of retained messages.
    Lean,
    /// QoS 0 messages are dropped for who has something to read already.
    Tight,
    /// Who publishes what must be kept is read more slowly.
    Short,
}

impl Pressure {
    pub(crate) fn is_lean(self) -> bool {
        self >= Self::Lean
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lean => "lean",
            Self::Tight => "tight",
            Self::Short => "short",
        }
    }
}

/// Topics, or Sessions, looked at in one turn for what can leave memory.
const SWEEP_STEPS: usize = 512;
/// How long a publisher rests after a message that must be kept, when memory is short.
const REST: Duration = Duration::from_millis(100);

/// What is still to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The topic that was looked at last; `None`: all were.
    topics: Option<Box<str>>,
    /// The Session that is looked at next.
    sessions: Option<SessionIx>,
}

impl Sweep {
    pub(crate) fn is_over(&self) -> bool {
        self.topics.is_none() && self.sessions.is_none()
    }
}

impl Shard {
    /// The driver measured how near the limit is.
    pub(crate) fn on_pressure(&mut self, pressure: Pressure) {
        let before = std::mem::replace(&mut self.board.pressure, pressure);
        // Without a store that gives it back nothing can leave.
        if self.board.config.loads && pressure > before {
            self.board.sweep = Sweep { topics: Some(Box::default()), sessions: Some(0) };
        }
    }

    /// Goes on letting leave memory what the store has, a slice at a time.
    pub(crate) fn go_on_with_sweep(&mut self) {
        let board = &mut self.board;
        if let Some(after) = board.sweep.topics.take() {
            board.sweep.topics = board.let_retained_go(&after, SWEEP_STEPS);
        }
        if let Some(first) = board.sweep.sessions.take() {
            board.sweep.sessions = board.let_heads_go(first, SWEEP_STEPS);
        }
    }
}

impl Board {
    /// Where to go on.
    fn let_heads_go(&mut self, first: SessionIx, sessions: usize) -> Option<SessionIx> {
        let first = first as usize;
        let slots = self.sessions.capacity();
        let until = (first + sessions).min(slots);
        for six in first..until {
            let asleep = self.sessions.get(six).is_some_and(|session| !session.is_online());
            if let Some(six) = SessionIx::try_from(six).ok().filter(|_| asleep) {
                self.put_head_away(six);
            }
        }
        (until < slots).then(|| SessionIx::try_from(until).ok()).flatten()
    }

    /// Lets a client rest that published what must be kept, while memory is short.
    pub(crate) fn slow_down(&mut self, id: ConnId) {
        if self.pressure == Pressure::Short {
            self.rest(id, REST);
        }
    }
}
