//! Makes one commit's records of what several batches say.
//!
//! A message is written once for all who wait for it in a row, and a delivery at QoS 1 that is over within the group
//! not at all: whoever restarts in between cannot tell the difference.

use std::sync::Arc;

use cork_packet::QoS;
use cork_store::{Fetch, Load, Message, MessageId, Record, SessionKey, Ticket};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::{
    format::Builder,
    index::Index,
    record::{
        put_done, put_forgotten, put_publish, put_received, put_receiver, put_released, put_session,
        put_session_ended, put_shifted, put_subscribed, put_unsubscribed, put_will_armed, put_will_disarmed,
    },
    retained::TopicHash,
};

/// Something a shard wants of the log.
#[derive(Clone, Debug)]
pub enum Op {
    /// Records to keep.
    Append {
        /// Of which shard.
        shard: u16,
        /// Its number there.
        ticket: Ticket,
        /// What is to be kept.
        records: Vec<Record>,
    },
    /// Deliveries to read, as they are after what was appended before.
    Load {
        /// For which shard.
        shard: u16,
        /// Which.
        load: Load,
    },
    /// Retained messages to read. [`crate::Log::commit`] leaves these to [`crate::Log::locate_retained`].
    Fetch {
        /// For which shard.
        shard: u16,
        /// Which.
        fetch: Fetch,
    },
}

impl Op {
    /// Whose it is.
    #[must_use]
    pub const fn shard(&self) -> u16 {
        match self {
            Self::Append { shard, .. } | Self::Load { shard, .. } | Self::Fetch { shard, .. } => *shard,
        }
    }
}

/// What is known of a group while it is written.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Deliveries that begin and end within the group.
    passing: HashSet<(SessionKey, u64), FixedState>,
    /// Identity of the retained message of each topic that the group changes.
    retained: HashMap<TopicHash, MessageId, FixedState>,
    /// Largest delivery number per Session whose state the group writes.
    given: HashMap<SessionKey, u64, FixedState>,
    /// Sessions that end in the group: nothing more is kept of them.
    ended: HashSet<SessionKey, FixedState>,
    /// Loads, each with how many records come before it.
    pub(crate) loads: Vec<(usize, u16, Load)>,
    pub(crate) latest_arrival: u64,
    /// There are new messages among the records.
    pub(crate) grows: bool,
    next_made: u64,
}

impl Group {
    /// Writes the group behind what is in `builder` already.
    pub(crate) fn write(&mut self, ops: &[Op], index: &Index, builder: &mut Builder) {
        self.loads.clear();
        self.retained.clear();
        self.ended.clear();
        self.latest_arrival = index.latest_arrival;
        self.next_made = index.next_made;
        self.grows = false;
        self.look_ahead(ops);
        for op in ops {
            match op {
                Op::Append { records, .. } => self.batch(records, index, builder),
                Op::Fetch { .. } => {} // whatever is there then will do
                Op::Load { shard, load } => self.loads.push((builder.records(), *shard, *load)),
            }
        }
    }

    /// Finds deliveries that need not be written, and numbers that Sessions gave.
    fn look_ahead(&mut self, ops: &[Op]) {
        self.passing.clear();
        self.given.clear();
        let mut begun: HashSet<(SessionKey, u64), FixedState> = HashSet::default();
        let batches = || {
            ops.iter().flat_map(|op| match op {
                Op::Append { records, .. } => &records[..],
                Op::Load { .. } | Op::Fetch { .. } => &[],
            })
        };
        let (mut queued, mut done, mut states) = (false, false, false);
        for record in batches() {
            queued |= matches!(record, Record::Queued { .. });
            done |= matches!(record, Record::Done { .. });
            states |= matches!(record, Record::Session { .. });
        }
        if !queued || !(done || states) {
            return;
        }
        for record in batches() {
            match record {
                Record::Session { session, .. } => {
                    self.given.entry(*session).or_default();
                }
                Record::Queued { session, queued } if done && queued.qos == QoS::AtLeastOnce => {
                    begun.insert((*session, queued.delivery));
                }
                Record::Done { session, delivery } if begun.contains(&(*session, *delivery)) => {
                    self.passing.insert((*session, *delivery));
                }
                _ => {}
            }
        }
        if states {
            for record in batches() {
                if let Record::Queued { session, queued } = record
                    && let Some(given) = self.given.get_mut(session)
                {
                    *given = queued.delivery.max(*given);
                }
            }
        }
    }

    fn batch(&mut self, records: &[Record], index: &Index, builder: &mut Builder) {
        let mut rest = records;
        while let Some(first) = rest.first() {
            match first {
                Record::SessionEnded { session } => drop(self.ended.insert(*session)),
                Record::Session { session, .. }
                | Record::Subscribed { session, .. }
                | Record::Shifted { session, .. }
                | Record::Released { session, .. }
                | Record::Received { session, .. }
                    if self.has_ended(*session, index) =>
                {
                    rest = &rest[1..];
                    continue;
                }
                _ => {}
            }
            let run = match first {
                Record::Queued { queued, .. } => self.publish(&queued.message, rest, index, builder),
                Record::Retained { message } | Record::Remembered { message } => {
                    self.publish(message, rest, index, builder)
                }
                Record::Done { session, .. } => self.done(*session, rest, builder),
                _ => {
                    self.one(first, index, builder);
                    1
                }
            };
            rest = &rest[run..];
        }
    }

    /// Records of one message, as many as follow one another: how many.
    fn publish(
        &mut self,
        message: &Arc<Message>,
        records: &[Record],
        index: &Index,
        builder: &mut Builder,
    ) -> usize {
        self.latest_arrival = self.latest_arrival.max(message.id().arrived.0);
        let of_message = |record: &Record| match record {
            Record::Queued { queued, .. } => Arc::ptr_eq(&queued.message, message),
            Record::Retained { message: other } | Record::Remembered { message: other } => {
                Arc::ptr_eq(other, message)
            }
            _ => false,
        };
        let run = records.iter().take_while(|record| of_message(record)).count().max(1);
        let mut retained = false;
        let mut remembered = false;
        let mut wait = false;
        for record in &records[..run] {
            match record {
                Record::Retained { .. } => retained |= self.retains(message, index),
                Record::Remembered { .. } => remembered = true,
                Record::Queued { session, queued } => {
                    wait |= !self.passes(*session, queued.delivery) && !self.has_ended(*session, index);
                }
                _ => {}
            }
        }
        if retained || remembered || wait {
            self.grows |= !message.payload().is_empty();
            builder.record(|into| {
                put_publish(into, retained, remembered, message);
                for record in &records[..run] {
                    if let Record::Queued { session, queued } = record
                        && !self.passes(*session, queued.delivery)
                        && !self.has_ended(*session, index)
                    {
                        put_receiver(into, *session, queued);
                    }
                }
            });
        }
        run
    }

    /// Whether a Session has ended. Its messages may come from another shard after that.
    fn has_ended(&self, session: SessionKey, index: &Index) -> bool {
        (!self.ended.is_empty() && self.ended.contains(&session)) || index.has_ended(session)
    }

    fn passes(&self, session: SessionKey, delivery: u64) -> bool {
        !self.passing.is_empty() && self.passing.contains(&(session, delivery))
    }

    /// Whether this is the latest message of its topic. One that is not is never written as retained, so that it
    /// cannot come back when what was later is forgotten.
    fn retains(&mut self, message: &Message, index: &Index) -> bool {
        let topic = index.retained.hash(message.topic());
        let known = index.retained.get(topic).map(crate::retained::Entry::id);
        let latest = self.retained.get(&topic).copied().max(known);
        if latest.is_some_and(|latest| latest > message.id()) {
            return false;
        }
        self.retained.insert(topic, message.id());
        true
    }

    /// Deliveries of one Session that are over, as many as follow one another: how many.
    fn done(&self, session: SessionKey, records: &[Record], builder: &mut Builder) -> usize {
        let deliveries = || {
            records.iter().map_while(move |record| match record {
                Record::Done { session: other, delivery } if *other == session => Some(*delivery),
                _ => None,
            })
        };
        let mut kept = deliveries().filter(|delivery| !self.passes(session, *delivery)).peekable();
        if kept.peek().is_some() {
            builder.record(|into| put_done(into, session, kept));
        }
        deliveries().count()
    }

    fn one(&mut self, record: &Record, index: &Index, builder: &mut Builder) {
        builder.record(|into| match record {
            Record::Session { session, state } => {
                let known = index.sessions.get(session).map_or(0, |known| known.last);
                let given = self.given.get(session).copied().unwrap_or(0);
                put_session(into, *session, known.max(given), state);
            }
            Record::SessionEnded { session } => put_session_ended(into, *session),
            Record::Subscribed { session, filter, options, subscription_id } => {
                put_subscribed(into, *session, self.next_made, (filter, *options, *subscription_id));
                self.next_made += 1;
            }
            Record::Unsubscribed { session, filter } => put_unsubscribed(into, *session, filter),
            Record::Shifted { session, from, shift } => put_shifted(into, *session, *from, *shift),
            Record::Released { session, delivery } => put_released(into, *session, *delivery),
            Record::Received { session, packet_id } => put_received(into, *session, *packet_id),
            Record::Forgotten { session, packet_id } => put_forgotten(into, *session, *packet_id),
            Record::WillArmed { session, will } => {
                self.latest_arrival = self.latest_arrival.max(will.message.id().arrived.0);
                put_will_armed(into, *session, will);
            }
            Record::WillDisarmed { session } => put_will_disarmed(into, *session),
            // These come in runs.
            Record::Queued { queued, .. } => put_publish(into, false, false, &queued.message),
            Record::Retained { message } => put_publish(into, true, false, message),
            Record::Remembered { message } => put_publish(into, false, true, message),
            Record::Done { session, delivery } => put_done(into, *session, [*delivery].into_iter()),
        });
    }
}
