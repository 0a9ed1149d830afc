//! A store without a disk: what records mean, said in the plainest way. Tests and simulations hold the real one, and
//! the core, against it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    Fetch, Fetched, Load, Loaded, Message, QueueExtent, QueuedDelivery, Record, Recovered, RecoveredSession,
    RecoveredSubscription, SessionKey, SessionState, Will,
};
use cork_packet::PacketId;

#[derive(Clone, Debug, Default)]
struct Session {
    state: Option<SessionState>,
    subscriptions: Vec<RecoveredSubscription>,
    will: Option<Box<Will>>,
    received: BTreeSet<PacketId>,
    released: BTreeSet<u64>,
    queue: BTreeMap<u64, QueuedDelivery>,
    last: u64,
    shifts: Vec<(u64, u64)>,
}

/// What is kept of all records so far.
#[derive(Clone, Debug, Default)]
pub struct ModelStore {
    sessions: BTreeMap<SessionKey, Session>,
    retained: BTreeMap<Box<str>, Arc<Message>>,
    ended: BTreeSet<SessionKey>,
    epoch: u32,
    last_arrival: u64,
}

impl ModelStore {
    /// Takes one record.
    pub fn apply(&mut self, record: &Record) {
        let key = match record {
            Record::Retained { message } => return self.retain(message),
            Record::Remembered { message } => {
                self.last_arrival = self.last_arrival.max(message.id().arrived.0);
                return;
            }
            Record::SessionEnded { session } => {
                self.sessions.remove(session);
                self.ended.insert(*session);
                return;
            }
            Record::Session { session, .. }
            | Record::Subscribed { session, .. }
            | Record::Unsubscribed { session, .. }
            | Record::Queued { session, .. }
            | Record::Shifted { session, .. }
            | Record::Released { session, .. }
            | Record::Done { session, .. }
            | Record::Received { session, .. }
            | Record::Forgotten { session, .. }
            | Record::WillArmed { session, .. }
            | Record::WillDisarmed { session } => *session,
        };
        if !self.ended.contains(&key) {
            if let Record::Queued { queued, .. } = record {
                self.last_arrival = self.last_arrival.max(queued.message.id().arrived.0);
            }
            let session = self.sessions.entry(key).or_default();
            session.apply(record);
            if session.state.is_none() && session.will.is_none() {
                self.sessions.remove(&key); // only its Will was known
            }
        }
    }

    fn retain(&mut self, message: &Arc<Message>) {
        self.last_arrival = self.last_arrival.max(message.id().arrived.0);
        if self.retained.get(message.topic()).is_some_and(|kept| kept.id() > message.id()) {
            return;
        }
        // What clears a topic stays known, for older messages that are stored later.
        self.retained.insert(message.topic().into(), Arc::clone(message));
    }

    /// Gives deliveries back.
    #[must_use]
    pub fn load(&self, load: &Load) -> Loaded {
        let (mut deliveries, mut bytes, mut next) = (Vec::new(), 0, None);
        let queue = self.sessions.get(&load.session).map(|session| &session.queue);
        for (number, queued) in queue.into_iter().flat_map(|queue| queue.range(load.from..)) {
            if deliveries.len() >= load.messages_max as usize
                || (bytes >= load.bytes_max as usize && !deliveries.is_empty())
            {
                next = Some(*number);
                break;
            }
            bytes += queued.message.cost_bytes();
            deliveries.push(queued.clone());
        }
        let Load { token, session, from, .. } = *load;
        Loaded { token, session, from, deliveries, next, damaged: Vec::new() }
    }

    /// Gives retained messages back.
    #[must_use]
    pub fn fetch(&self, fetch: &Fetch) -> Fetched {
        let there = |topic: &str| self.retained.get(topic).filter(|it| !it.payload().is_empty()).cloned();
        let messages = fetch.topics.iter().map(|topic| there(topic)).collect();
        Fetched { token: fetch.token, messages, damaged: Vec::new() }
    }

    /// What the next start finds.
    #[must_use]
    pub fn restart(&mut self) -> Recovered {
        self.epoch += 1;
        self.recovered()
    }

    /// What a start would find now.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        let sessions = self.sessions.iter().map(|(key, session)| session.recovered(*key)).collect();
        let retained = self.retained_messages().cloned().collect();
        Recovered {
            epoch: self.epoch,
            last_arrival: self.last_arrival,
            sessions,
            retained,
            stubs: crate::RetainedStubs::new(),
        }
    }

    /// Sessions and retained messages that are kept.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.sessions.len(), self.retained_messages().count())
    }

    fn retained_messages(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.retained.values().filter(|message| !message.payload().is_empty())
    }
}

impl Session {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Session { state, .. } => self.state = Some((**state).clone()),
            Record::Subscribed { filter, options, subscription_id, .. } => {
                self.subscriptions.retain(|it| it.filter != *filter);
                let (options, subscription_id) = (*options, *subscription_id);
                let filter = filter.clone();
                self.subscriptions.push(RecoveredSubscription { filter, options, subscription_id });
            }
            Record::Unsubscribed { filter, .. } => self.subscriptions.retain(|it| it.filter != *filter),
            Record::Queued { queued, .. } => {
                self.last = self.last.max(queued.delivery);
                self.queue.insert(queued.delivery, queued.clone());
            }
            Record::Shifted { from, shift, .. } => self.shifts.push((*from, *shift)),
            Record::Released { delivery, .. } => {
                self.queue.remove(delivery);
                self.released.insert(*delivery);
            }
            Record::Done { delivery, .. } => {
                self.queue.remove(delivery);
                self.released.remove(delivery);
            }
            Record::Received { packet_id, .. } => {
                self.received.insert(*packet_id);
            }
            Record::Forgotten { packet_id, .. } => {
                self.received.remove(packet_id);
            }
            Record::WillArmed { will, .. } => self.will = Some(will.clone()),
            Record::WillDisarmed { .. } => self.will = None,
            Record::SessionEnded { .. } | Record::Retained { .. } | Record::Remembered { .. } => {}
        }
    }

    fn recovered(&self, key: SessionKey) -> RecoveredSession {
        let queue = QueueExtent {
            first: self.queue.keys().next().copied().unwrap_or(0),
            last: self.last,
            messages: self.queue.len() as u64,
            bytes: self.queue.values().map(|queued| queued.message.cost_bytes() as u64).sum(),
        };
        RecoveredSession {
            key,
            state: self.state.clone(),
            subscriptions: self.subscriptions.clone(),
            will: self.will.clone(),
            received: self.received.iter().copied().collect(),
            released: self.released.iter().copied().collect(),
            queue,
            shifts: self.shifts.clone(),
        }
    }
}
