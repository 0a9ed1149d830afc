//! What waits in a Session: its first messages in memory, the rest in the store if that can give them back.
//!
//! ```text
//! number      7   8   9  10 | 11 ........................ 5000
//!             head (memory)  | tail (records of the store)
//! ```
//!
//! A Session whose queue is short never has a tail. Once it has one, new messages join the tail, and the head is
//! filled from it by [`Load`]s as it drains.

use std::{collections::VecDeque, sync::Arc};

use cork_packet::QoS;
use cork_store::{Load, Loaded, Message, Record, Ticket};

use crate::{
    board::Board,
    conn::SessionIx,
    deliver::{How, Publication},
    event::Event,
    gather::is_elsewhere,
    io::Output,
    session::{Delivery, NO_GROUP, Queued},
    shard::Shard,
};

/// Bytes of a queue's head beyond which a queue gets a tail.
const HEAD_BYTES_MAX: u64 = 256 << 10;
/// A head with less than this is filled up from the tail.
const HEAD_BYTES_LOW: u64 = 96 << 10;
/// Bytes the heads of all queues of a shard may hold together before every queue gets a tail.
const HEADS_BYTES_MAX: u64 = 32 << 20;
/// Messages, and bytes of them, asked for in one go.
const LOAD_MESSAGES_MAX: u32 = 1024;
const LOAD_BYTES_MAX: u32 = 256 << 10;

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
    /// Nor before this one is, with another shard's batch.
    elsewhere: Ticket,
    loading: bool,
    /// What was stored when the load under way was asked for: what came later need not be in its answer.
    asked: Ticket,
}

impl Queue {
    /// A queue of which everything is in the store.
    pub(crate) fn stored(extent: cork_store::QueueExtent, with_qos0: bool) -> Self {
        Self {
            tail: Tail { from: extent.first, messages: extent.messages, ..Tail::default() },
            bytes: extent.bytes,
            last_qos0: if with_qos0 { extent.last } else { 0 },
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.head.len() as u64 + self.tail.messages
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.messages == 0
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
        let session = &mut self.sessions[six as usize];
        let (key, persistent) = (session.key, session.is_persistent());
        if tail && !persistent && !std::mem::replace(&mut session.spilled, true) {
            // A crash ends it: all that is stored of it is then dropped.
            let record = session.to_record();
            self.records.push(record);
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

    /// Whether a Session has room for one more message.
    fn has_room(&mut self, six: SessionIx, cost: u64) -> bool {
        let limits = &self.config.limits;
        let queue = &mut self.sessions[six as usize].outgoing().queue;
        let full = queue.bytes + cost > limits.queue_bytes_max
            || (!self.config.loads && self.queue_bytes + cost > limits.queue_bytes_total_max);
        if full && !std::mem::replace(&mut queue.full_reported, true) {
            let bytes = queue.bytes;
            let client_id = self.sessions[six as usize].client_id().into();
            self.event(Event::QueueFull { client_id, bytes });
        }
        !full
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
        if !self.has_room(six, cost) {
            self.stats.dropped_queue_full += 1;
            return;
        }
        let queue = &self.sessions[six as usize].outgoing().queue;
        let long = queue.head_bytes + cost > HEAD_BYTES_MAX || self.heads_bytes + cost > HEADS_BYTES_MAX;
        let to_tail = self.config.loads && (queue.has_tail() || long);
        let number = self.number_queued(six, &message, how, to_tail);
        self.delay(ticket, six);
        let batch = self.ticket;
        let queue = &mut self.sessions[six as usize].outgoing().queue;
        if how.qos == QoS::AtMostOnce {
            queue.last_qos0 = number;
        }
        queue.bytes += cost;
        if to_tail {
            let tail = &mut queue.tail;
            if tail.messages == 0 {
                tail.from = number;
            }
            tail.messages += 1;
            tail.ticket = batch;
            if is_elsewhere(ticket) {
                tail.elsewhere = ticket;
            }
        } else {
            queue.head.push_back(Queued { message, delivery: how.to_delivery(), number, ticket });
            queue.head_bytes += cost;
            self.heads_bytes += cost;
        }
        self.queue_bytes += cost;
        self.stats.queued_messages += 1;
    }

    /// Takes the first message off the head of a Session's queue.
    pub(crate) fn dequeue(&mut self, six: SessionIx) -> Option<Queued> {
        let queue = &mut self.sessions[six as usize].outgoing.as_deref_mut()?.queue;
        let queued = queue.head.pop_front()?;
        let cost = queued.message.cost_bytes() as u64;
        queue.bytes -= cost;
        queue.head_bytes -= cost;
        if queue.is_empty() {
            queue.full_reported = false;
        }
        if queue.head.is_empty() {
            queue.head.shrink_to(64);
        }
        self.heads_bytes -= cost;
        self.queue_bytes -= cost;
        self.stats.queued_messages -= 1;
        Some(queued)
    }

    /// Takes those messages off the head of a Session's queue that `goes` names.
    pub(crate) fn take_from_head(&mut self, six: SessionIx, goes: impl Fn(&Queued) -> bool) -> Vec<Queued> {
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return Vec::new() };
        let queue = &mut outgoing.queue;
        if !queue.head.iter().any(&goes) {
            return Vec::new();
        }
        let all = std::mem::take(&mut queue.head);
        let (taken, own): (Vec<Queued>, VecDeque<Queued>) = {
            let (mut taken, mut own) = (Vec::new(), VecDeque::new());
            for queued in all {
                if goes(&queued) { taken.push(queued) } else { own.push_back(queued) }
            }
            (taken, own)
        };
        queue.head = own;
        let cost: u64 = taken.iter().map(|queued| queued.message.cost_bytes() as u64).sum();
        queue.bytes -= cost;
        queue.head_bytes -= cost;
        self.queue_bytes -= cost;
        self.heads_bytes -= cost;
        self.stats.queued_messages -= taken.len() as u64;
        taken
    }

    /// Asks the store for the next messages of a queue whose head runs out.
    pub(crate) fn refill(&mut self, six: SessionIx) {
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return };
        let queue = &mut outgoing.queue;
        let tail = &mut queue.tail;
        if tail.messages == 0 || tail.loading || queue.head_bytes >= HEAD_BYTES_LOW {
            return;
        }
        let (from, elsewhere) = (tail.from, tail.elsewhere);
        if !self.is_stored(elsewhere) {
            return self.delay(elsewhere, six); // the store may have what is behind it before it has this
        }
        let stored = self.stored;
        if let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() {
            outgoing.queue.tail.loading = true;
            outgoing.queue.tail.asked = stored;
        }
        self.load(six, from);
    }

    fn load(&mut self, six: SessionIx, from: u64) {
        let load = Load {
            token: u64::from(six),
            session: self.sessions[six as usize].key,
            from,
            messages_max: LOAD_MESSAGES_MAX,
            bytes_max: LOAD_BYTES_MAX,
        };
        self.outputs.push_back(Output::Load(load));
    }

    /// Whether what the store gave back from delivery `from` on is what the head of a queue lacks.
    fn continues_head(&mut self, six: SessionIx, from: u64) -> bool {
        let outgoing = self.sessions[six as usize].outgoing.as_deref_mut();
        outgoing.is_some_and(|outgoing| {
            let tail = &mut outgoing.queue.tail;
            tail.loading &= tail.from != from;
            tail.from == from
        })
    }

    /// Takes a Session's queue out of the sums.
    pub(crate) fn drop_queue(&mut self, queue: &Queue) {
        self.queue_bytes -= queue.bytes;
        self.heads_bytes -= queue.head_bytes;
        self.stats.queued_messages -= queue.len();
    }

    /// Takes deliveries that only the store has out of a queue.
    fn drop_from_tail(&mut self, six: SessionIx, messages: u64, cost: u64) {
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return };
        let queue = &mut outgoing.queue;
        queue.tail.messages -= messages.min(queue.tail.messages);
        queue.bytes -= cost;
        self.queue_bytes -= cost;
        self.stats.queued_messages -= messages;
    }

    /// Puts what the store gave back at the end of a queue's head.
    fn fill_head(&mut self, six: SessionIx, deliveries: Vec<Queued>, lost: u64, next: Option<u64>) {
        let batch = self.ticket;
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return };
        let queue = &mut outgoing.queue;
        let tail = &mut queue.tail;
        tail.loading = false;
        let came = deliveries.len() as u64;
        let last = deliveries.last().map(|queued| queued.number);
        tail.from = next.or_else(|| last.map(|last| last + 1)).unwrap_or(tail.from);
        // An end that came too early: the rest was on its way into the store, or is not there.
        let short = next.is_none() && tail.ticket <= tail.asked && tail.messages > came;
        let gone =
            if short { tail.messages - came } else { lost.min(tail.messages - came.min(tail.messages)) };
        tail.messages = tail.messages.saturating_sub(came + gone);
        let cost: u64 = deliveries.iter().map(|queued| queued.message.cost_bytes() as u64).sum();
        queue.head_bytes += cost;
        self.heads_bytes += cost;
        queue.head.extend(deliveries);
        if gone > 0 && tail.messages == 0 {
            // Nobody knows how long they were: what is left is what the head holds.
            let excess = queue.bytes.saturating_sub(queue.head_bytes);
            queue.bytes -= excess;
            self.queue_bytes -= excess;
        }
        self.stats.queued_messages -= gone;
        self.stats.lost_damaged += gone;
        let waits = came == 0 && !short && tail.messages > 0;
        if waits {
            let ticket = tail.ticket.min(batch);
            self.delayed.push_back((ticket, six));
        }
    }
}

impl Shard {
    /// The store gives deliveries back.
    pub(crate) fn on_loaded(&mut self, loaded: Loaded) {
        let Ok(six) = SessionIx::try_from(loaded.token) else { return };
        let Some(session) = self.board.sessions.get(six as usize) else { return };
        if session.key != loaded.session {
            return; // the Session ended meanwhile
        }
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
        if !self.board.continues_head(six, loaded.from) {
            return self.board.pump(six); // asked for while the client was away, for another purpose
        }
        if !persistent {
            // It is in memory now, and no crash would give it back.
            let done = |delivery| Record::Done { session: loaded.session, delivery };
            let records = loaded.deliveries.iter().map(|one| done(one.delivery));
            self.board.records.extend(records);
        }
        let lost = loaded.damaged.len() as u64;
        let deliveries = loaded.deliveries.into_iter().map(|delivery| self.queued_again(six, delivery));
        let deliveries: Vec<Queued> = deliveries.collect();
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
            let from = outgoing.queue.tail.from;
            outgoing.queue.tail.loading = false;
            self.board.load(six, from);
        }
    }

    fn hand_over_loaded(&mut self, six: SessionIx, loaded: Loaded) {
        let (mut messages, mut cost, mut passed) = (0, 0, Vec::new());
        let key = loaded.session;
        let outgoing = self.board.sessions[six as usize].outgoing.as_deref();
        let begun_up_to = outgoing.map_or(0, |outgoing| outgoing.dup_up_to);
        for delivery in loaded.deliveries {
            if delivery.qos == QoS::ExactlyOnce && delivery.delivery <= begun_up_to {
                continue; // it may have gone out before a crash
            }
            let group = delivery.share.as_ref().and_then(|name| self.router.group(name));
            let Some(group) = group.filter(|group| self.router.has_others(*group, six)) else { continue };
            messages += 1;
            cost += delivery.message.cost_bytes() as u64;
            let done = Record::Done { session: key, delivery: delivery.delivery };
            passed.push((group, delivery.message, done));
        }
        self.board.drop_from_tail(six, messages, cost);
        for (group, message, done) in passed {
            self.pass_on(group, message, done);
        }
        match loaded.next {
            Some(next) => self.board.load(six, next),
            None => {
                let session = &mut self.board.sessions[six as usize];
                session.handing_over = false;
                if session.over {
                    self.remove_session(six);
                }
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

const _: () = assert!(HEAD_BYTES_LOW < HEAD_BYTES_MAX && HEAD_BYTES_MAX < HEADS_BYTES_MAX);
