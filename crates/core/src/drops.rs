//! Who loses messages, and why: counted for the broker as a whole and for each Session that loses any.
//!
//! `$SYS/broker/sessions/<client id>/dropped/<reason>`; the client identifier is encoded as below `$presence`. It goes
//! with its Session. Sessions that lose nothing cost nothing.

use std::collections::BTreeSet;

use crate::{
    board::Board, conn::SessionIx, presence::push_client_level, session::Session, shard::Shard, stats::Stats,
};

/// Sessions of one shard that are shown; of further ones only the sums know.
const DROPPERS_MAX: usize = 1000;

/// Why a message is not delivered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    SlowReader,
    QueueFull,
    UserQueueFull,
    Expired,
    TooLarge,
    Damaged,
}

impl Dropped {
    const ALL: [(Self, &'static str); 6] = [
        (Self::SlowReader, "slow_reader"),
        (Self::QueueFull, "queue_full"),
        (Self::UserQueueFull, "user_queue_full"),
        (Self::Expired, "expired"),
        (Self::TooLarge, "too_large"),
        (Self::Damaged, "damaged"),
    ];

    fn sum(self, stats: &mut Stats) -> &mut u64 {
        match self {
            Self::SlowReader => &mut stats.dropped_slow_reader,
            Self::QueueFull => &mut stats.dropped_queue_full,
            Self::UserQueueFull => &mut stats.dropped_user_queue_full,
            Self::Expired => &mut stats.dropped_expired,
            Self::TooLarge => &mut stats.dropped_too_large,
            Self::Damaged => &mut stats.lost_damaged,
        }
    }
}

/// What one Session has lost, by reason.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Drops([u64; Dropped::ALL.len()]);

/// Sessions that lose messages.
#[derive(Debug, Default)]
pub(crate) struct Droppers {
    shown: BTreeSet<SessionIx>,
    /// Clients that were shown and have no Session any more.
    gone: Vec<Box<str>>,
}

impl Droppers {
    /// A Session is about to be forgotten.
    pub(crate) fn forget(&mut self, six: SessionIx, session: &Session) {
        if session.drops.is_some() && self.shown.remove(&six) {
            self.gone.push(session.client_id().into());
        }
    }
}

impl Board {
    /// Counts messages that a Session does not get.
    pub(crate) fn count_drops(&mut self, six: SessionIx, why: Dropped, messages: u64) {
        if messages == 0 {
            return;
        }
        *why.sum(&mut self.stats) += messages;
        let shown = &mut self.droppers.shown;
        let Some(session) = self.sessions.get_mut(six as usize) else { return };
        if session.drops.is_none() {
            if shown.len() >= DROPPERS_MAX {
                return;
            }
            shown.insert(six);
        }
        session.drops.get_or_insert_default().0[why as usize] += messages;
    }
}

impl Shard {
    /// Publishes what changed.
    pub(crate) fn publish_drops(&mut self) {
        for client_id in std::mem::take(&mut self.board.droppers.gone) {
            for (_, reason) in Dropped::ALL {
                self.sys_clear(&topic(&client_id, reason));
            }
        }
        let shown: Vec<SessionIx> = self.board.droppers.shown.iter().copied().collect();
        for six in shown {
            let Some(session) = self.board.sessions.get(six as usize) else { continue };
            let Some(drops) = session.drops.as_deref().copied() else { continue };
            let client_id: Box<str> = session.client_id().into();
            for (why, reason) in Dropped::ALL {
                let count = drops.0[why as usize];
                if count > 0 {
                    self.sys_value(&topic(&client_id, reason), &count);
                }
            }
        }
    }
}

/// Below `$SYS/broker/`.
fn topic(client_id: &str, reason: &str) -> String {
    let mut topic = "sessions/".to_owned();
    push_client_level(&mut topic, client_id);
    topic + "/dropped/" + reason
}
