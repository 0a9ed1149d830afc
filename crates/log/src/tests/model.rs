//! The naive model: what must be there after a restart, kept in maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cork_packet::{PacketId, QoS};
use cork_store::{
    Message, MessageId, Proof, Publisher, QueuedDelivery, Record, Recovered, SessionKey, SessionState,
    SubscriptionIds, Ticket, WallTime, Will,
};

use super::basics::load;
use crate::{Disk, Log, Op};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Session {
    state: Option<SessionState>,
    subscriptions: Vec<(Box<str>, u8, u32)>,
    will: Option<Box<Will>>,
    received: BTreeSet<u16>,
    pub(super) queue: BTreeMap<u64, QueuedDelivery>,
    pub(super) released: BTreeSet<u64>,
    shifts: BTreeMap<u64, u64>,
}

impl Session {
    fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    fn shifts_that_matter(&self) -> Vec<(u64, u64)> {
        let used = |from: u64, to: u64| {
            self.queue.range(from..to).next().is_some() || self.released.range(from..to).next().is_some()
        };
        let ends = self.shifts.keys().skip(1).map(|next| Some(*next)).chain([None]);
        let all = self.shifts.iter().zip(ends);
        all.filter(|((from, _), to)| to.is_none_or(|to| used(**from, to)))
            .map(|((from, shift), _)| (*from, *shift))
            .collect()
    }
}

/// State, and what a Session's numbers may be.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) sessions: BTreeMap<SessionKey, Session>,
    retained: BTreeMap<Box<str>, Arc<Message>>,
    /// Largest delivery number of each Session: of those that are written, and of all.
    last: BTreeMap<SessionKey, (u64, u64)>,
}

impl Model {
    /// Takes in what a commit of these records means as a whole.
    fn end_commit(&mut self, records: &[Record]) {
        let done: BTreeSet<_> = records
            .iter()
            .filter_map(|record| match record {
                Record::Done { session, delivery } => Some((*session, *delivery)),
                _ => None,
            })
            .collect();
        for record in records {
            if let Record::Queued { session, queued } = record {
                let last = self.last.entry(*session).or_default();
                last.1 = last.1.max(queued.delivery);
                if queued.qos == QoS::ExactlyOnce || !done.contains(&(*session, queued.delivery)) {
                    last.0 = last.0.max(queued.delivery);
                }
            }
        }
        self.sessions.retain(|_, session| !session.is_empty());
    }

    fn session(&mut self, key: SessionKey) -> &mut Session {
        self.sessions.entry(key).or_default()
    }

    fn one(&mut self, record: &Record) {
        match record {
            Record::Session { session, state } => self.session(*session).state = Some((**state).clone()),
            Record::SessionEnded { session } => drop(self.sessions.remove(session)),
            Record::Subscribed { session, filter, options, subscription_id } => {
                let known = self.session(*session);
                known.subscriptions.retain(|(other, ..)| other != filter);
                known.subscriptions.push((filter.clone(), *options, *subscription_id));
            }
            Record::Unsubscribed { session, filter } => {
                self.session(*session).subscriptions.retain(|(other, ..)| other != filter);
            }
            Record::Queued { session, queued } => {
                self.session(*session).queue.insert(queued.delivery, queued.clone());
            }
            Record::Shifted { session, from, shift } => {
                self.session(*session).shifts.insert(*from, *shift);
            }
            Record::Released { session, delivery } => {
                let known = self.session(*session);
                known.queue.remove(delivery);
                known.released.insert(*delivery);
            }
            Record::Done { session, delivery } => {
                let known = self.session(*session);
                known.queue.remove(delivery);
                known.released.remove(delivery);
            }
            Record::Received { session, packet_id } => {
                self.session(*session).received.insert(packet_id.get());
            }
            Record::Forgotten { session, packet_id } => {
                self.session(*session).received.remove(&packet_id.get());
            }
            Record::Retained { message } => {
                let older = |known: &Arc<Message>| known.id() <= message.id();
                if self.retained.get(message.topic()).is_none_or(older) {
                    self.retained.insert(message.topic().into(), Arc::clone(message));
                }
            }
            Record::WillArmed { session, will } => self.session(*session).will = Some(will.clone()),
            Record::WillDisarmed { session } => self.session(*session).will = None,
            Record::Remembered { .. } => {} // the history's
        }
    }

    /// What is different between this and what a restart gave back, if anything is.
    pub(super) fn differs<D: Disk>(&self, recovered: &Recovered, log: &Log<D>) -> Option<String> {
        let keys: Vec<_> = recovered.sessions.iter().map(|session| session.key).collect();
        if keys != self.sessions.keys().copied().collect::<Vec<_>>() {
            return Some(format!("sessions {keys:?} for {:?}", self.sessions.keys()));
        }
        for found in &recovered.sessions {
            let known = &self.sessions[&found.key];
            let loaded = log.locate(0, load(found.key.0)).read();
            assert_eq!((loaded.next, &loaded.damaged[..]), (None, &[][..]));
            let session = Session {
                state: found.state.clone(),
                subscriptions: found
                    .subscriptions
                    .iter()
                    .map(|known| (known.filter.clone(), known.options, known.subscription_id))
                    .collect(),
                will: found.will.clone(),
                received: found.received.iter().map(|packet_id| packet_id.get()).collect(),
                released: found.released.iter().copied().collect(),
                queue: loaded.deliveries.into_iter().map(|queued| (queued.delivery, queued)).collect(),
                shifts: known.shifts.clone(),
            };
            if session != *known {
                return Some(format!("session {:?}: {session:?} for {known:?}", found.key));
            }
            if found.shifts != known.shifts_that_matter() {
                return Some(format!("shifts {:?} for {:?}", found.shifts, known.shifts_that_matter()));
            }
            let live = known.queue.keys().chain(&known.released);
            let first = live.min().copied().unwrap_or(0);
            let bytes: usize = known.queue.values().map(|queued| queued.message.cost_bytes()).sum();
            let extent = (found.queue.first, found.queue.messages, found.queue.bytes);
            if extent != (first, known.queue.len() as u64, bytes as u64) {
                return Some(format!("queue {:?} for {first} {bytes}", found.queue));
            }
            let (least, most) = self.last.get(&found.key).copied().unwrap_or_default();
            if known.state.is_some() && !(least..=most).contains(&found.queue.last) {
                return Some(format!("last {} for {least} to {most}", found.queue.last));
            }
        }
        let live = self.retained.values().filter(|message| !message.payload().is_empty());
        let expected: BTreeMap<_, _> = live.map(|message| (message.topic(), message)).collect();
        let found: BTreeMap<_, _> =
            recovered.retained.iter().map(|message| (message.topic(), message)).collect();
        if found.len() != recovered.retained.len() || found != expected {
            return Some(format!("retained {found:?} for {expected:?}"));
        }
        let newest = recovered.retained.iter().map(|message| message.id().arrived.0).max().unwrap_or(0);
        (newest > recovered.last_arrival).then(|| "the latest arrival is too early".to_owned())
    }
}

/// A step that a number stands for, made to fit what is there.
#[derive(Debug, Default)]
pub(super) struct Driver {
    next_key: u64,
    /// Present Session of each slot, and its next delivery.
    slots: BTreeMap<u64, (SessionKey, u64)>,
    arrived: u64,
    tickets: u64,
    /// What `arrived` was when this life began.
    born: u64,
    pub(super) model: Model,
}

pub(super) const SLOTS: u64 = 4;

impl Driver {
    fn message(&mut self, number: u64) -> Arc<Message> {
        self.arrived += 3;
        // One in four is older than some before it and comes from another shard: by a moment, and never from an earlier
        // life. That a topic was cleared is known in a later life only as long as the segment lasts that says so.
        let late = if number % 4 == 3 { (5 + number % 8).min(self.arrived - self.born) } else { 0 };
        let shard = if late > 0 { u16::try_from(self.arrived % 60_000).unwrap() + 1 } else { 0 };
        let id = MessageId { arrived: WallTime(1000 + self.arrived - late), shard, epoch: 1 };
        let user_name = (number % 3 == 1).then(|| "ann".into());
        let publisher = Arc::new(Publisher { client_id: "c".into(), user_name, proof: Proof::Users });
        let payload = vec![7; usize::try_from(number % 5 * 60).unwrap()];
        let properties: &[u8] = if number.is_multiple_of(2) { &[] } else { &[1, 1] };
        let topic = format!("topic/{}", number / 5 % 4);
        let mut message = Message::new(id, &topic, properties, &payload, publisher);
        message.qos = if number.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        message.retain = number.is_multiple_of(3);
        message.set_expires((number % 7 == 1).then_some(WallTime(number)));
        Arc::new(message)
    }

    fn session(&mut self, slot: u64, records: &mut Vec<Record>) -> SessionKey {
        if let Some((key, _)) = self.slots.get(&slot) {
            return *key;
        }
        self.next_key += 1;
        let key = SessionKey(self.next_key << 3 | slot);
        self.slots.insert(slot, (key, 1));
        let state = Box::new(self.state(slot, 0));
        records.push(Record::Session { session: key, state });
        key
    }

    fn state(&self, slot: u64, number: u64) -> SessionState {
        SessionState {
            client_id: format!("client {slot}").into(),
            user_name: number.is_multiple_of(2).then(|| "bob".into()),
            proof: Proof::Connection,
            expiry_seconds: u32::try_from(number % 1000).unwrap(),
            online: number.is_multiple_of(3),
            since: WallTime(number),
            sent_up_to: self.slots[&slot].1,
        }
    }

    /// Records of one batch; the model takes them in.
    pub(super) fn batch(&mut self, steps: &[(u8, u8, u16)]) -> Vec<Record> {
        let mut records = Vec::new();
        for (kind, slot, number) in steps {
            let (slot, number) = (u64::from(*slot) % SLOTS, u64::from(*number));
            let before = records.len();
            self.step(*kind, slot, number, &mut records);
            records[before..].iter().for_each(|record| self.model.one(record));
        }
        self.model.end_commit(&records);
        records
    }

    fn step(&mut self, kind: u8, slot: u64, number: u64, records: &mut Vec<Record>) {
        let session = self.session(slot, records);
        let known = self.model.sessions.get(&session);
        let packet_id = PacketId::new(u16::try_from(number % 5 + 1).unwrap()).unwrap();
        let filter: Box<str> = format!("filter/{}/#", number % 5).into();
        match kind % 16 {
            0..=4 => {
                let message = self.message(number);
                for other in 0..=number % 3 {
                    let session = self.session((slot + other) % SLOTS, records);
                    let next = &mut self.slots.get_mut(&((slot + other) % SLOTS)).unwrap().1;
                    *next += number % 2 + 1;
                    let queued = QueuedDelivery {
                        delivery: *next,
                        message: Arc::clone(&message),
                        qos: if number % 4 == 1 { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
                        retain: number % 9 == 1,
                        share: (number % 6 == 1).then(|| "group/filter".into()),
                        subscription_ids: SubscriptionIds::from_slice(
                            &[1, 2, 300_000][..slot.min(3) as usize],
                        ),
                    };
                    records.push(Record::Queued { session, queued });
                }
                if number % 5 == 2 {
                    records.push(Record::Retained { message: Arc::clone(&message) });
                }
                if number % 3 == 1 {
                    records.push(Record::Remembered { message });
                }
            }
            5..=7 => {
                let live = known.iter().flat_map(|known| known.queue.keys().chain(&known.released));
                let skipped = usize::try_from(number % 3).unwrap();
                let count = usize::try_from(number % 5 + 1).unwrap();
                let done = live.skip(skipped).take(count);
                records.extend(done.map(|delivery| Record::Done { session, delivery: *delivery }));
            }
            8 => {
                let queued = known.iter().flat_map(|known| known.queue.values());
                let qos2 = queued.filter(|queued| queued.qos == QoS::ExactlyOnce).take(2);
                let released = qos2.map(|queued| queued.delivery);
                records.extend(released.map(|delivery| Record::Released { session, delivery }));
            }
            9 => records.push(Record::Retained { message: self.message(number) }),
            10 => records.push(Record::Subscribed {
                session,
                filter,
                options: number.to_le_bytes()[0],
                subscription_id: u32::try_from(number).unwrap(),
            }),
            11 => records.push(Record::Unsubscribed { session, filter }),
            12 => records.push(Record::Received { session, packet_id }),
            13 if number.is_multiple_of(2) => records.push(Record::Forgotten { session, packet_id }),
            13 => {
                let from = self.slots[&slot].1 + 1;
                records.push(Record::Shifted { session, from, shift: number });
            }
            14 if number.is_multiple_of(2) => records.push(Record::WillDisarmed { session }),
            14 => {
                let will = Will {
                    message: self.message(number),
                    delay_seconds: 5,
                    expiry_seconds: (number % 3 == 1).then_some(9),
                    keep_alive_seconds: 60,
                };
                records.push(Record::WillArmed { session, will: Box::new(will) });
            }
            _ if number.is_multiple_of(4) => {
                self.slots.remove(&slot);
                records.push(Record::SessionEnded { session });
            }
            _ => {
                let state = Box::new(self.state(slot, number));
                records.push(Record::Session { session, state });
            }
        }
    }

    /// After a restart Sessions are those that came back.
    pub(super) fn forget_what_is_gone(&mut self) {
        self.born = self.arrived;
        let (sessions, last) = (&self.model.sessions, &self.model.last);
        self.slots.retain(|_, (key, _)| sessions.contains_key(key));
        for (key, next) in self.slots.values_mut() {
            *next = (*next).max(last.get(key).map_or(0, |last| last.1) + 1);
        }
    }

    pub(super) fn op(&mut self, records: Vec<Record>) -> Op {
        self.tickets += 1;
        Op::Append { shard: 0, ticket: Ticket(self.tickets), records }
    }
}

/// Steps from one number (splitmix64): for runs that are the same each time.
pub(super) fn steps(seed: u64, count: usize) -> Vec<(u8, u8, u16)> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).to_le_bytes()
    };
    let step = |bytes: [u8; 8]| (bytes[0], bytes[1], u16::from_le_bytes([bytes[2], bytes[3]]));
    (0..count).map(|_| step(next())).collect()
}
