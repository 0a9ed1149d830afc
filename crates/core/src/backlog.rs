//! What waits for the parts of the broker that have a Session of their own (bridges, sinks), as `$SYS` tells it: for the
//! Session `$cork/bridge/cloud`, `$SYS/broker/bridge/cloud/backlog/messages`, `.../bytes` and `.../age`. What waits in a
//! second lane waits for the first, too.

use std::collections::{BTreeMap, BTreeSet};

use cork_store::first_lane;

use crate::{conn::SessionIx, connect::INSIDE_PREFIX, session::Session, shard::Shard};

/// The Sessions of this shard that may be such, and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct Backlogs {
    /// One that is gone is noticed when it is looked at.
    sessions: BTreeSet<SessionIx>,
    told: BTreeSet<String>,
}

/// Messages that were not taken yet, the bytes they cost, and how many seconds the oldest has waited.
type Backlog = (u64, u64, u64);

const KEYS: [&str; 3] = ["messages", "bytes", "age"];

impl Shard {
    /// A Session is new.
    pub(crate) fn watch_backlog(&mut self, six: SessionIx, client_id: &str) {
        // Who has no name of its own, as the client that tells of all links, is no link.
        if client_id.strip_prefix(INSIDE_PREFIX).is_some_and(|name| name.contains('/')) {
            self.backlogs.sessions.insert(six);
        }
    }

    /// Publishes what changed.
    pub(crate) fn tell_backlogs(&mut self) {
        let Backlogs { sessions, told } = std::mem::take(&mut self.backlogs);
        let now = self.board.wall().0;
        let (mut left, mut found) = (BTreeSet::new(), BTreeMap::<&str, Backlog>::new());
        for six in sessions {
            let Some(session) = self.board.sessions.get(six as usize) else { continue };
            left.insert(six);
            let (messages, bytes, age) = backlog(session, now);
            for id in [Some(session.client_id()), first_lane(session.client_id())].into_iter().flatten() {
                let Some(name) = id.strip_prefix(INSIDE_PREFIX) else { continue };
                let sum = found.entry(name).or_default();
                *sum = (sum.0 + messages, sum.1 + bytes, sum.2.max(age));
            }
        }
        let found: Vec<_> = found.into_iter().map(|(name, sum)| (format!("{name}/backlog"), sum)).collect();
        let mut names = BTreeSet::new();
        for (name, (messages, bytes, age)) in found {
            for (key, value) in KEYS.into_iter().zip([messages, bytes, age]) {
                self.sys_value(&format!("{name}/{key}"), &value);
            }
            names.insert(name);
        }
        for gone in told.difference(&names) {
            for key in KEYS {
                self.sys_value(&format!("{gone}/{key}"), &"");
            }
        }
        self.backlogs = Backlogs { sessions: left, told: names };
    }
}

fn backlog(session: &Session, now: u64) -> Backlog {
    let Some(outgoing) = session.outgoing.as_deref() else { return (0, 0, 0) };
    let (mut messages, mut bytes) = (outgoing.queue.len(), outgoing.queue.bytes);
    let mut oldest = outgoing.queue.head.front().map_or(now, |queued| queued.message.id().arrived.0);
    for queued in outgoing.inflight.iter().filter_map(|(_, flight)| flight.item.as_ref()?.as_deref()) {
        messages += 1;
        bytes += queued.message.cost_bytes() as u64;
        oldest = oldest.min(queued.message.id().arrived.0);
    }
    (messages, bytes, now.saturating_sub(oldest) / 1_000_000)
}
