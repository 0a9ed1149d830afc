//! What is in the log and still needed: places only, never contents.
//!
//! A commit and a restart use the same [`Index::apply`], record by record in the order of the log. Whatever is decided
//! by other means than the order of records (a message's identity, a delivery's number) is decided here.

use std::collections::{BTreeMap, VecDeque};

use cork_store::SessionKey;
use foldhash::quality::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::{
    books::Books,
    few::Few,
    queue::{Place, Queue},
    record::{PublishView, View},
    retained::{Entry, Retained, TopicHash},
};

/// Places of one Session. There may be a million that say nothing: what few of them need stands behind a pointer.
#[derive(Debug, Default)]
pub(crate) struct SessionIndex {
    pub(crate) state: Option<Place>,
    pub(crate) will: Option<Place>,
    /// Largest delivery number that was ever given.
    pub(crate) last: u64,
    pub(crate) queue: Queue,
    /// By the hash of the filter.
    pub(crate) subscriptions: Few,
    rare: Option<Box<Rare>>,
}

/// What few Sessions have.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) released: BTreeMap<u64, Place>,
    pub(crate) received: BTreeMap<u16, Place>,
    /// Shift and place by the first delivery it holds for.
    pub(crate) shifts: BTreeMap<u64, (u64, Place)>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.released.is_empty() && self.received.is_empty() && self.shifts.is_empty()
    }
}

static NOTHING_RARE: Rare =
    Rare { released: BTreeMap::new(), received: BTreeMap::new(), shifts: BTreeMap::new() };

impl SessionIndex {
    /// Whether nothing at all is known of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.is_none()
            && self.will.is_none()
            && self.queue.len() == 0
            && self.subscriptions.is_empty()
            && self.rare().is_empty()
    }

    pub(crate) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING_RARE)
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Takes something out of what few have, and gives its memory back if that was the last of it.
    fn take_rare<T>(&mut self, take: impl FnOnce(&mut Rare) -> Option<T>) -> Option<T> {
        let taken = take(self.rare.as_deref_mut()?);
        if self.rare().is_empty() {
            self.rare = None;
        }
        taken
    }

    /// Whether the shift that begins here is the last one, or a delivery that is not over needs it.
    pub(crate) fn shift_matters(&self, from: u64) -> bool {
        let Rare { released, shifts, .. } = self.rare();
        let Some((next, _)) = shifts.range(from.saturating_add(1)..).next() else { return true };
        self.queue.next_from(from).is_some_and(|number| number < *next)
            || released.range(from..*next).next().is_some()
    }
}

pub(crate) struct Index {
    pub(crate) sessions: HashMap<SessionKey, Box<SessionIndex>, FixedState>,
    pub(crate) retained: Retained,
    pub(crate) books: Books,
    /// Latest arrival of a message.
    pub(crate) latest_arrival: u64,
    /// Orders subscriptions; larger than all that are known.
    pub(crate) next_made: u64,
    filters: FixedState,
    /// Queues of Sessions that ended, still to be taken off the books.
    ended: Vec<Queue>,
    /// Sessions that ended lately, for records of them that come late: from another shard.
    lately: HashSet<SessionKey, FixedState>,
    lately_in_order: VecDeque<SessionKey>,
    /// Topics that were cleared in segments that are gone, each with its segment: older messages may come late, too.
    cleared_lately: VecDeque<(TopicHash, u32)>,
}

/// Ended Sessions, and cleared topics, that are remembered: what is older comes late by as much as a message between two
/// threads does.
const LATELY_MAX: usize = 1 << 16;

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

impl Index {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            sessions: HashMap::with_hasher(FixedState::with_seed(seed.rotate_left(17))),
            retained: Retained::new(seed),
            books: Books::default(),
            latest_arrival: 0,
            next_made: 1,
            filters: FixedState::with_seed(seed.rotate_left(31)),
            ended: Vec::new(),
            lately: HashSet::with_hasher(FixedState::with_seed(seed.rotate_left(47))),
            lately_in_order: VecDeque::new(),
            cleared_lately: VecDeque::new(),
        }
    }

    /// Whether a Session ended lately: of it nothing more is kept.
    pub(crate) fn has_ended(&self, session: SessionKey) -> bool {
        !self.lately.is_empty() && self.lately.contains(&session)
    }

    fn remember_end(&mut self, session: SessionKey) {
        if self.lately.insert(session) {
            self.lately_in_order.push_back(session);
        }
        if self.lately_in_order.len() > LATELY_MAX
            && let Some(oldest) = self.lately_in_order.pop_front()
        {
            self.lately.remove(&oldest);
        }
    }

    pub(crate) fn filter_hash(&self, filter: &str) -> u64 {
        std::hash::BuildHasher::hash_one(&self.filters, filter)
    }

    fn session(&mut self, key: SessionKey) -> &mut SessionIndex {
        self.sessions.entry(key).or_default()
    }

    /// Takes in the record at this place; its weight is its length, except where a message is concerned.
    pub(crate) fn apply(&mut self, view: &View<'_>, place: Place) {
        let before = match *view {
            View::Publish(ref publish) => return self.publish(publish, place),
            View::SessionEnded { session } => return self.end(session),
            View::Done { session, deliveries } => {
                self.books.add_dead(place.segment, place.weight);
                for delivery in deliveries {
                    self.done(session, delivery);
                }
                return self.drop_if_empty(session);
            }
            View::Unsubscribed { session, filter } => {
                let hash = self.filter_hash(filter);
                return self.undo(session, place, |known| known.subscriptions.remove(hash));
            }
            View::Forgotten { session, packet_id } => {
                return self.undo(session, place, |known| {
                    known.take_rare(|rare| rare.received.remove(&packet_id.get()))
                });
            }
            View::WillDisarmed { session } => {
                return self.undo(session, place, |known| known.will.take());
            }
            View::Session { session, last, .. } => {
                let known = self.session(session);
                known.last = known.last.max(last);
                known.state.replace(place)
            }
            View::Subscribed { session, made, filter, .. } => {
                let hash = self.filter_hash(filter);
                self.next_made = self.next_made.max(made.saturating_add(1));
                self.session(session).subscriptions.insert(hash, place)
            }
            View::Shifted { session, from, shift } => {
                self.session(session).rare_mut().shifts.insert(from, (shift, place)).map(|(_, place)| place)
            }
            View::Received { session, packet_id } => {
                self.session(session).rare_mut().received.insert(packet_id.get(), place)
            }
            View::WillArmed { session, ref will } => {
                self.latest_arrival = self.latest_arrival.max(will.message.id.arrived.0);
                self.session(session).will.replace(place)
            }
            View::Released { session, delivery } => {
                let known = self.session(session);
                known.last = known.last.max(delivery);
                let queued = known.queue.remove(delivery);
                let before = known.rare_mut().released.insert(delivery, place);
                if let Some(queued) = queued {
                    self.books.release(queued);
                }
                before
            }
        };
        self.books.add(place);
        if let Some(before) = before {
            self.books.release(before);
        }
    }

    fn publish(&mut self, publish: &PublishView<'_>, place: Place) {
        let id = publish.message.id;
        self.latest_arrival = self.latest_arrival.max(id.arrived.0);
        let place = Place { weight: publish.message.cost_bytes(), ..place };
        for receiver in publish.receivers() {
            let known = self.session(receiver.session);
            known.last = known.last.max(receiver.delivery);
            let before = known.queue.insert(receiver.delivery, place);
            self.books.add(place);
            if let Some(before) = before {
                self.books.release(before);
            }
        }
        if publish.remembered && !publish.retained && publish.receivers().next().is_none() {
            self.books.add_dead(place.segment, place.weight);
        }
        if !publish.retained {
            return;
        }
        let topic = self.retained.hash(publish.message.topic);
        if self.retained.get(topic).is_some_and(|known| known.id() > id) {
            return self.books.add_dead(place.segment, place.weight);
        }
        let cleared = publish.message.clears_retained();
        if cleared {
            self.books.add_dead(place.segment, place.weight);
            self.books.note_cleared(place.segment, topic);
        } else {
            self.books.add(place);
        }
        if let Some(before) = self.retained.insert(Entry::new(topic, id, place, cleared))
            && !before.cleared
        {
            self.books.release(before.place());
        }
    }

    fn done(&mut self, session: SessionKey, delivery: u64) {
        let Some(known) = self.sessions.get_mut(&session) else { return };
        known.last = known.last.max(delivery);
        let queued = known.queue.remove(delivery);
        let released = known.take_rare(|rare| rare.released.remove(&delivery));
        for place in [queued, released].into_iter().flatten() {
            self.books.release(place);
        }
    }

    /// Something is over that one place was kept for.
    fn undo(
        &mut self,
        session: SessionKey,
        place: Place,
        take: impl FnOnce(&mut SessionIndex) -> Option<Place>,
    ) {
        self.books.add_dead(place.segment, place.weight);
        if let Some(before) = self.sessions.get_mut(&session).and_then(|known| take(known)) {
            self.books.release(before);
            self.drop_if_empty(session);
        }
    }

    fn drop_if_empty(&mut self, session: SessionKey) {
        if self.sessions.get(&session).is_some_and(|known| known.state.is_none() && known.is_empty()) {
            self.sessions.remove(&session);
        }
    }

    fn end(&mut self, session: SessionKey) {
        self.remember_end(session);
        let Some(known) = self.sessions.remove(&session) else { return };
        let known = *known;
        let Rare { released, received, shifts } = known.rare();
        let places = known.state.iter().chain(&known.will).chain(released.values());
        let places = places.chain(received.values()).chain(known.subscriptions.values());
        for place in places.chain(shifts.values().map(|(_, place)| place)).copied() {
            self.books.release(place);
        }
        if known.queue.len() > 0 {
            self.ended.push(known.queue);
        }
    }

    /// Takes some of what ended Sessions left off the books: so many chunks of 64 at most. True: there is more.
    pub(crate) fn bury(&mut self, chunks_max: usize) -> bool {
        for _ in 0..chunks_max {
            let Some(queue) = self.ended.last_mut() else { return false };
            match queue.pop_chunk() {
                Some(places) => places.into_iter().for_each(|place| self.books.release(place)),
                None => drop(self.ended.pop()),
            }
        }
        !self.ended.is_empty()
    }

    /// Closes the account of the oldest segment, of which nothing is needed any more.
    pub(crate) fn drop_oldest(&mut self) -> Option<u32> {
        let book = self.books.pop_oldest()?;
        for topic in book.cleared {
            self.cleared_lately.push_back((topic, book.number));
            if self.cleared_lately.len() > LATELY_MAX
                && let Some((topic, segment)) = self.cleared_lately.pop_front()
            {
                self.retained.forget_cleared(topic, segment);
            }
        }
        Some(book.number)
    }
}
