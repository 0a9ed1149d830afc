//! What waits in a Session: its first messages in memory, the rest in the store if that can give them back.
//!
//! ```text
//! number      7   8   9  10 | 11 ........................ 5000
//!             head (memory)  | tail (records of the store)
//! ```
//!
//! A Session whose queue is short never has a tail. Once it has one, new messages join the tail, and the head is
//! filled from it by [`Load`]s as it drains.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use cork_packet::QoS;
use cork_store::{Load, Loaded, Message, Record, Ticket};

use crate::{
    board::Board,
    conn::SessionIx,
    deliver::{How, Publication},
    drops::Dropped,
    event::Event,
    gather::is_elsewhere,
    io::Output,
    session::{Delivery, NO_GROUP, Queued, Session},
    shard::Shard,
    weed::{self, Weeds},
};

/// Bytes that a queue gets back in one go at least, however many others are to get some.
const LOAD_BYTES_LOW: u64 = 16 << 10;
/// Messages asked for in one go; of bytes as many as a head may hold.
const LOAD_MESSAGES_MAX: u32 = 1024;

/// The messages that wait in a Session.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) head: VecDeque<Queued>,
    head_bytes: u64,
    tail: Tail,
    /// Of head and tail.
    pub(crate) bytes: u64,
    /// Number of the last QoS 0 message that was queued.
    last_qos0: u64,
    /// What is known of its QoS 0 messages, if it has had any.
    pub(crate) weeds: Option<Box<Weeds>>,
    /// The full queue was reported.
    full_reported: bool,
}

/// Deliveries that only the store has.
#[derive(Debug, Default)]
struct Tail {
    /// Where to look for the first one.
    from: u64,
    messages: u64,
    /// Not all of it is in the store before this batch is.
    ticket: Ticket,
    /// Nor before these are, with other shards' batches, which come in any order.
    elsewhere: Vec<Ticket>,
    loading: bool,
    /// What was last asked for is as it was before this batch.
    asked: Ticket,
    /// Handed to other shards, which write that down: the store may give them back until then.
    passed: BTreeSet<u64>,
    /// The last delivery that is handed over. What comes while that goes on comes because nobody with a connection can
    /// have it; handed over in turn, it would go round for ever between those who have none.
    passes_up_to: u64,
    /// Number of the last question: answers to earlier ones come too late.
    question: u32,
}

impl Queue {
    /// A queue of which everything is in the store.
    pub(crate) fn stored(extent: cork_store::QueueExtent, with_qos0: bool) -> Self {
        Self {
            tail: Tail { from: extent.first, messages: extent.messages, ..Tail::default() },
            bytes: extent.bytes,
            last_qos0: if with_qos0 { extent.last } else { 0 },
            weeds: (with_qos0 && extent.bytes > 0).then(|| Box::new(Weeds::perhaps(extent.bytes))),
            ..Self::default()
        }
    }

    /// Whether another shard took this delivery, which the store may still give back.
    pub(crate) fn was_passed(&self, delivery: u64) -> bool {
        self.tail.passed.contains(&delivery)
    }

    /// If nothing waits any more, the next time it is full is news again.
    fn note_empty(&mut self) {
        if self.is_empty() {
            self.full_reported = false;
            self.weeds.take_if(|weeds| !weeds.is_asked());
        }
    }

    /// Whoever was asked for deliveries need not answer any more.
    pub(crate) fn forget_question(&mut self) {
        self.tail.question = weed::next_question(self.tail.question);
        self.tail.loading = false;
    }

    fn take_passed(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.tail.passed)
    }

    pub(crate) fn len(&self) -> u64 {
        self.head.len() as u64 + self.tail.messages
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.messages == 0
    }

    /// Number of the first message, or one before it.
    pub(crate) fn first_number(&self) -> Option<u64> {
        self.head.front().map(|first| first.number).or_else(|| self.first_in_store())
    }

    /// Number of the first message that only the store has, or one before it.
    pub(crate) fn first_in_store(&self) -> Option<u64> {
        (self.tail.messages > 0).then_some(self.tail.from)
    }

    pub(crate) fn bytes_in_memory(&self) -> u64 {
        self.head_bytes
    }

    /// Whether a QoS 0 message waits.
    pub(crate) fn has_qos0(&self) -> bool {
        let first = self.head.front().map_or(self.tail.from, |first| first.number);
        !self.is_empty() && first <= self.last_qos0
    }

    /// Whether some of it is in the store only.
    pub(crate) fn has_tail(&self) -> bool {
        self.tail.messages > 0
    }
}

impl Board {
    /// Gives a message the Session's next number and records it as waiting, if the Session is kept or its `tail` gets
    /// it.
    pub(crate) fn number_queued(
        &mut self,
        six: SessionIx,
        message: &Arc<Message>,
        how: How<'_>,
        tail: bool,
    ) -> u64 {
        self.tell_before_message(six);
        let session = &mut self.sessions[six as usize];
        let (key, persistent) = (session.key, session.is_persistent());
        if tail && !persistent && !std::mem::replace(&mut session.spilled, true) {
            // A crash ends it: all that is stored of it is then dropped.
            let record = session.to_record();
            self.begun.push(record); // not with what several shards store together, which may be after its end
        }
        let session = &mut self.sessions[six as usize];
        let outgoing = session.outgoing();
        outgoing.numbers += 1;
        let number = outgoing.numbers;
        if persistent || tail {
            let queued = cork_store::QueuedDelivery {
                delivery: number,
                message: Arc::clone(message),
                qos: how.qos,
                retain: how.retain,
                share: how.share.cloned(),
                subscription_ids: cork_store::SubscriptionIds::from_slice(how.sub_ids),
            };
            self.record(Record::Queued { session: key, queued });
        }
        number
    }

    /// Whether a Session has room for one more message. Those of QoS 0 make room for the others.
    fn has_room(&mut self, six: SessionIx, cost: u64, qos: QoS) -> bool {
        let queue_bytes_max = self.queue_bytes_max(six);
        let limits = &self.config.limits;
        let queue = &self.sessions[six as usize].outgoing().queue;
        let bytes = if qos == QoS::AtMostOnce { queue.bytes } else { queue.bytes_that_stay() };
        let full = bytes + cost > queue_bytes_max
            || queue.bytes + cost > queue_bytes_max.saturating_mul(2)
            || (!self.config.loads && self.queue_bytes + cost > limits.queue_bytes_total_max);
        if full {
            self.report_full(six);
        }
        !full
    }

    /// Says that a queue is full, once until it was empty.
    pub(crate) fn report_full(&mut self, six: SessionIx) {
        let queue = &mut self.sessions[six as usize].outgoing().queue;
        if !std::mem::replace(&mut queue.full_reported, true) {
            let bytes = queue.bytes;
            let client_id = self.sessions[six as usize].client_id().into();
            self.event(Event::QueueFull { client_id, bytes });
        }
    }

    /// Puts a message into a Session's queue, within its limits. `ticket`: not sent before this batch is stored.
    pub(crate) fn enqueue(
        &mut self,
        six: SessionIx,
        publication: &mut Publication<'_>,
        how: How<'_>,
        ticket: Ticket,
    ) {
        let message = self.message(publication);
        let cost = message.cost_bytes() as u64;
        if !self.has_room(six, cost, how.qos) {
            return self.count_drops(six, Dropped::QueueFull, 1);
        }
        if self.user_is_full(six, cost) {
            return self.count_drops(six, Dropped::UserQueueFull, 1);
        }
        let limits = &self.config.limits;
        let (one_max, all_max) = (limits.queue_head_bytes_max, limits.heads_bytes_max);
        let session = &mut self.sessions[six as usize];
        let asleep = self.pressure.is_lean() && !session.is_online();
        let queue = &session.outgoing().queue;
        let long = asleep || queue.head_bytes + cost > one_max || self.heads_bytes + cost > all_max;
        let to_tail = self.config.loads && (queue.has_tail() || long);
        // What is in the tail comes from the store, which has it once its records are stored, wherever that is.
        let ticket = publication.once.filter(|once| to_tail && is_elsewhere(*once)).unwrap_or(ticket);
        let number = self.number_queued(six, &message, how, to_tail);
        self.delay(ticket, six);
        let batch = self.ticket;
        let queue = &mut self.sessions[six as usize].outgoing().queue;
        if how.qos == QoS::AtMostOnce {
            queue.last_qos0 = number;
            queue.weeds.get_or_insert_default().came(cost);
        }
        let weedy = queue.weeds.is_some();
        queue.bytes += cost;
        if to_tail {
            let tail = &mut queue.tail;
            if tail.messages == 0 {
                tail.from = number;
            }
            tail.messages += 1;
            tail.ticket = batch;
            if is_elsewhere(ticket) && tail.elsewhere.last() != Some(&ticket) {
                tail.elsewhere.push(ticket);
            }
        } else {
            queue.head.push_back(Queued { message, delivery: how.to_delivery(), number, ticket });
            queue.head_bytes += cost;
            self.heads_bytes += cost;
        }
        self.queue_grew(six, cost);
        self.stats.queued_messages += 1;
        if weedy {
            self.weed(six);
        }
    }

    /// Takes the first message off the head of a Session's queue.
    pub(crate) fn dequeue(&mut self, six: SessionIx) -> Option<Queued> {
        let queue = &mut self.sessions[six as usize].outgoing.as_deref_mut()?.queue;
        let queued = queue.head.pop_front()?;
        let cost = queued.message.cost_bytes() as u64;
        queue.bytes -= cost;
        queue.head_bytes -= cost;
        if queued.delivery.qos == QoS::AtMostOnce
            && let Some(weeds) = queue.weeds.as_deref_mut()
        {
            weeds.went(cost);
        }
        queue.note_empty();
        if queue.head.is_empty() {
            queue.head.shrink_to(64);
        }
        self.heads_bytes -= cost;
        self.queue_shrank(six, cost);
        self.stats.queued_messages -= 1;
        Some(queued)
    }

    /// Takes those messages off the head of a Session's queue that `goes` names.
    pub(crate) fn take_from_head(
        &mut self,
        six: SessionIx,
        goes: impl Fn(&Queued) -> bool,
    ) -> VecDeque<Queued> {
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else {
            return VecDeque::new();
        };
        let queue = &mut outgoing.queue;
        if !queue.head.iter().any(&goes) {
            return VecDeque::new();
        }
        let (taken, own): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut queue.head).into_iter().partition(goes);
        queue.head = own;
        let cost: u64 = taken.iter().map(|queued| queued.message.cost_bytes() as u64).sum();
        if let Some(weeds) = queue.weeds.as_deref_mut() {
            let qos0 = taken.iter().filter(|queued| queued.delivery.qos == QoS::AtMostOnce);
            weeds.went(qos0.map(|queued| queued.message.cost_bytes() as u64).sum());
        }
        queue.bytes -= cost;
        queue.head_bytes -= cost;
        queue.note_empty();
        self.queue_shrank(six, cost);
        self.heads_bytes -= cost;
        self.stats.queued_messages -= taken.len() as u64;
        taken
    }

    /// Leaves the head of a queue to the store, which has all of it.
    pub(crate) fn put_head_away(&mut self, six: SessionIx) {
        let batch = self.ticket;
        let Some(session) = self.sessions.get_mut(six as usize) else { return };
        if !session.recorded || session.handing_over {
            return;
        }
        let kept_from = session.kept_from;
        let Some(outgoing) = session.outgoing.as_deref_mut() else { return };
        outgoing.cursors.fetched.clear();
        let queue = &mut outgoing.queue;
        let first = queue.head.front().map(|first| first.number);
        let Some(first) = first.filter(|first| *first > kept_from) else { return };
        if let Some(weeds) = queue.weeds.as_deref_mut() {
            weeds.look_again_from(first);
        }
        queue.tail.from = first;
        queue.tail.messages += queue.head.len() as u64;
        queue.tail.ticket = batch;
        for ticket in queue.head.iter().map(|queued| queued.ticket).filter(|ticket| is_elsewhere(*ticket)) {
            if !queue.tail.elsewhere.contains(&ticket) {
                queue.tail.elsewhere.push(ticket);
            }
        }
        self.heads_bytes -= std::mem::take(&mut queue.head_bytes);
        queue.head = VecDeque::new();
        queue.forget_question();
    }

    /// Asks the store for the next messages of a queue whose head runs out.
    pub(crate) fn refill(&mut self, six: SessionIx) {
        // A head with less than this is filled up.
        let low = self.config.limits.queue_head_bytes_max / 8 * 3;
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return };
        let queue = &mut outgoing.queue;
        let tail = &mut queue.tail;
        if tail.messages == 0 || tail.loading || queue.head_bytes >= low.max(1) {
            return;
        }
        let (from, mut elsewhere) = (tail.from, std::mem::take(&mut tail.elsewhere));
        elsewhere.retain(|ticket| !self.is_stored(*ticket));
        let first = elsewhere.first().copied();
        if let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() {
            outgoing.queue.tail.elsewhere = elsewhere;
        }
        if let Some(ticket) = first {
            return self.delay(ticket, six); // the store may have what is behind it before it has this
        }
        if let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() {
            outgoing.queue.tail.loading = true;
        }
        self.load(six, from);
    }

    /// Whether the tail of a queue has something that is stored with another shard's batch, and is not yet.
    pub(crate) fn tail_waits_elsewhere(&self, six: SessionIx) -> bool {
        let session = self.sessions.get(six as usize);
        let outgoing = session.and_then(|session| session.outgoing.as_ref());
        outgoing.is_some_and(|outgoing| {
            outgoing.queue.tail.elsewhere.iter().any(|ticket| !self.is_stored(*ticket))
        })
    }

    /// Asks for what comes from delivery `from` on, as it is after the present batch.
    fn load(&mut self, six: SessionIx, from: u64) {
        let limits = &self.config.limits;
        // When many return at once each gets less.
        let room = limits.heads_bytes_max.saturating_sub(self.heads_bytes) / 16;
        let bytes_max = room.max(LOAD_BYTES_LOW).min(limits.queue_head_bytes_max.max(1));
        let Some(session) = self.sessions.get_mut(six as usize) else { return };
        let key = session.key;
        let tail = &mut session.outgoing().queue.tail;
        tail.question = weed::next_question(tail.question);
        let load = Load {
            token: u64::from(six) | u64::from(tail.question) << 32,
            session: key,
            from,
            messages_max: LOAD_MESSAGES_MAX,
            bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX),
        };
        self.loads.push((six, load));
    }

    /// Emits what is asked of the store, behind the batch that was just closed.
    pub(crate) fn close_loads(&mut self) {
        let batch = self.ticket;
        for (six, load) in std::mem::take(&mut self.loads) {
            let session = self.sessions.get_mut(six as usize).filter(|session| session.key == load.session);
            let Some(session) = session else { continue };
            let (handing_over, Some(outgoing)) = (session.handing_over, session.outgoing.as_deref_mut())
            else {
                continue;
            };
            if weed::is_for_weeds(load.token) {
                self.outputs.push_back(Output::Load(load));
                continue;
            }
            let tail = &mut outgoing.queue.tail;
            // What came in this turn may be stored later than what comes behind it.
            if let Some(ticket) = tail.elsewhere.last().copied().filter(|_| !handing_over) {
                outgoing.queue.forget_question();
                self.delay(ticket, six);
                continue;
            }
            tail.asked = batch;
            self.outputs.push_back(Output::Load(load));
        }
    }

    /// Whether this answers the last question.
    fn is_awaited(&self, six: SessionIx, loaded: &Loaded) -> bool {
        self.sessions.get(six as usize).is_some_and(|session| {
            let tail = session.outgoing.as_ref().map(|outgoing| &outgoing.queue.tail);
            session.key == loaded.session
                && tail.is_some_and(|tail| u64::from(tail.question) == loaded.token >> 32)
        })
    }

    /// Takes the queue of a Session that has ended out of the sums.
    pub(crate) fn drop_queue(&mut self, session: &Session, queue: &Queue) {
        self.queue_went(session, queue.bytes);
        self.heads_bytes -= queue.head_bytes;
        self.stats.queued_messages -= queue.len();
    }

    /// Takes deliveries that only the store has out of a queue.
    pub(crate) fn drop_from_tail(&mut self, six: SessionIx, messages: u64, cost: u64) {
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return };
        let queue = &mut outgoing.queue;
        queue.tail.messages -= messages.min(queue.tail.messages);
        queue.bytes -= cost;
        queue.note_empty();
        self.queue_shrank(six, cost);
        self.stats.queued_messages -= messages;
    }

    /// Puts what the store gave back at the end of a queue's head.
    fn fill_head(&mut self, six: SessionIx, deliveries: Vec<Queued>, lost: u64, next: Option<u64>) {
        let stored = self.stored;
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return };
        let queue = &mut outgoing.queue;
        let tail = &mut queue.tail;
        tail.loading = false;
        let came = deliveries.len() as u64;
        let last = deliveries.last().map(|queued| queued.number);
        tail.from = next.or_else(|| last.map(|last| last + 1)).unwrap_or(tail.from);
        // An end that came too early: the rest came after the question, or is not there.
        let short = next.is_none() && tail.ticket < tail.asked && tail.messages > came;
        let gone =
            if short { tail.messages - came } else { lost.min(tail.messages - came.min(tail.messages)) };
        let more = came.saturating_sub(tail.messages);
        tail.messages = tail.messages.saturating_sub(came + gone);
        let cost: u64 = deliveries.iter().map(|queued| queued.message.cost_bytes() as u64).sum();
        queue.head_bytes += cost;
        self.heads_bytes += cost;
        queue.head.extend(deliveries);
        let mut excess = 0;
        if tail.messages == 0 {
            tail.passed.clear();
            // Nobody knows how long they were: what is left is what the head holds.
            excess = queue.bytes.saturating_sub(queue.head_bytes);
            queue.bytes -= excess;
        }
        // Nor how many there are, once some could not be read: what came counts.
        let missing = queue.head_bytes.saturating_sub(queue.bytes);
        queue.bytes += missing;
        self.stats.queued_messages += more;
        self.stats.queued_messages -= gone;
        let waits = came == 0 && !short && tail.messages > 0;
        let ticket = tail.ticket;
        self.queue_shrank(six, excess);
        self.queue_grew(six, missing);
        self.count_drops(six, Dropped::Damaged, gone);
        self.something_over(six);
        if waits && ticket > stored {
            self.delayed.push_back((ticket, six));
        }
    }
}

impl Shard {
    /// The store gives deliveries back.
    pub(crate) fn on_loaded(&mut self, loaded: Loaded) {
        let Ok(six) = SessionIx::try_from(loaded.token & u64::from(u32::MAX)) else { return };
        if weed::is_for_weeds(loaded.token) {
            return self.on_weeds(six, &loaded);
        }
        if !self.board.is_awaited(six, &loaded) {
            return; // the Session ended meanwhile, or its client left or came
        }
        let session = &self.board.sessions[six as usize];
        for (delivery, error) in &loaded.damaged {
            let client_id = session.client_id().into();
            let event =
                Event::DeliveryDamaged { client_id, delivery: *delivery, error: error.as_str().into() };
            self.board.outputs.push_back(Output::Event(event));
        }
        let persistent = session.is_persistent();
        if session.handing_over {
            return self.hand_over_loaded(six, loaded);
        }
        if !persistent {
            // It is in memory now, and no crash would give it back.
            let done = |delivery| Record::Done { session: loaded.session, delivery };
            let records = loaded.deliveries.iter().map(|one| done(one.delivery));
            self.board.records.extend(records);
        }
        let lost = loaded.damaged.len() as u64;
        let passed = self.board.sessions[six as usize].outgoing().queue.take_passed();
        let deliveries = loaded
            .deliveries
            .into_iter()
            .filter(|one| !passed.contains(&one.delivery))
            .map(|delivery| self.queued_again(six, delivery));
        let deliveries: Vec<Queued> = deliveries.collect();
        self.board.sessions[six as usize].outgoing().queue.tail.passed = passed;
        self.board.fill_head(six, deliveries, lost, loaded.next);
        self.board.pump(six);
    }

    /// Looks through what only the store has of a Session that lost its connection, for messages that others of a
    /// share can take (5.0 4.8.2).
    pub(crate) fn hand_over_tail(&mut self, six: SessionIx) {
        let session = &mut self.board.sessions[six as usize];
        let shares = session.over || session.subscriptions.iter().any(|one| one.group != NO_GROUP);
        let Some(outgoing) = session.outgoing.as_deref_mut() else { return };
        if shares && outgoing.queue.has_tail() {
            session.handing_over = true;
            let last = outgoing.numbers;
            let tail = &mut outgoing.queue.tail;
            (tail.loading, tail.passes_up_to) = (false, last);
            let from = tail.from;
            self.board.load(six, from);
        }
    }

    fn hand_over_loaded(&mut self, six: SessionIx, loaded: Loaded) {
        let (mut messages, mut cost, mut weeds_cost, mut passed) = (0, 0, 0, Vec::new());
        let key = loaded.session;
        let session = &self.board.sessions[six as usize];
        let (begun, up_to) = session
            .outgoing
            .as_ref()
            .map_or((0, 0), |outgoing| (outgoing.dup_up_to, outgoing.queue.tail.passes_up_to));
        for delivery in loaded.deliveries.into_iter().take_while(|delivery| delivery.delivery <= up_to) {
            // 5.0 [MQTT-4.8.2-4]: perhaps it was sent before the broker died.
            if delivery.qos == QoS::ExactlyOnce && delivery.delivery <= begun {
                continue;
            }
            if session.outgoing.as_ref().is_some_and(|it| it.queue.was_passed(delivery.delivery)) {
                continue;
            }
            let group = delivery.share.as_ref().and_then(|name| self.router.group(name));
            let Some(group) = group.filter(|group| self.router.has_others(*group, six)) else { continue };
            messages += 1;
            cost += delivery.message.cost_bytes() as u64;
            if delivery.qos == QoS::AtMostOnce {
                weeds_cost += delivery.message.cost_bytes() as u64;
            }
            passed.push((group, delivery.message, delivery.delivery));
        }
        self.board.drop_from_tail(six, messages, cost);
        if let Some(outgoing) = self.board.sessions[six as usize].outgoing.as_deref_mut() {
            if let Some(weeds) = outgoing.queue.weeds.as_deref_mut() {
                weeds.went(weeds_cost);
            }
            outgoing.queue.tail.passed.extend(passed.iter().map(|(_, _, delivery)| *delivery));
        }
        for (group, message, delivery) in passed {
            self.pass_on(six, group, message, Record::Done { session: key, delivery });
        }
        match loaded.next.filter(|next| *next <= up_to) {
            Some(next) => self.board.load(six, next),
            None => {
                let session = &mut self.board.sessions[six as usize];
                session.handing_over = false;
                self.remove_if_over(six);
            }
        }
    }

    /// What the store knows of a delivery, as the queue holds it.
    pub(crate) fn queued_again(&self, six: SessionIx, delivery: cork_store::QueuedDelivery) -> Queued {
        let member = |name: &Arc<str>| {
            let group = self.router.group(name)?;
            let members = &self.router.groups.get(group as usize)?.members;
            members.members().any(|(member, _)| member == six).then_some(group)
        };
        Queued {
            message: delivery.message,
            delivery: Delivery {
                qos: delivery.qos,
                retain: delivery.retain,
                group: delivery.share.as_ref().and_then(member).unwrap_or(NO_GROUP),
                sub_ids: delivery.subscription_ids,
            },
            number: delivery.delivery,
            ticket: Ticket(0),
        }
    }
}
