//! A full queue gives up its QoS 0 messages first: they do not count against what must not be lost.
//!
//! Only `queue_qos0`, and a client that comes back while messages wait, bring QoS 0 into a queue; for any other queue this
//! costs nothing. What is in memory goes at once. What only the store has is looked through page by page, oldest first,
//! each page once; meanwhile the queue may be longer than its limit, up to twice as long.

use cork_packet::QoS;
use cork_store::{Load, Loaded, Record};

use crate::{board::Board, conn::SessionIx, drops::Dropped, queue::Queue, shard::Shard};

/// Marks questions of this file among those a queue asks to read itself back.
const WEEDS: u32 = 1 << 31;
/// Messages of one page.
const PAGE_MESSAGES_MAX: u32 = 1024;
/// Bytes of one page.
const PAGE_BYTES_MAX: u32 = 256 << 10;
/// Of a long head so many parts at most are taken: each costs a walk through all of it.
const HEAD_PARTS: u64 = 64;

/// The QoS 0 messages of a queue.
#[derive(Debug, Default)]
pub(crate) struct Weeds {
    /// They have so many bytes at most.
    bytes: u64,
    /// Of those that came since the store was last asked.
    since: u64,
    /// What the store has before this delivery was looked through.
    from: u64,
    /// Number of the last question.
    question: u32,
    asked: bool,
}

impl Weeds {
    /// Of a queue that was recovered, of which nobody knows what it has.
    pub(crate) fn perhaps(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    pub(crate) fn came(&mut self, cost: u64) {
        self.bytes += cost;
        self.since += cost;
    }

    pub(crate) fn went(&mut self, cost: u64) {
        self.bytes = self.bytes.saturating_sub(cost);
    }

    /// What was in memory is in the store only, from this delivery on: it is looked through there, and what was asked for
    /// before that says nothing any more.
    pub(crate) fn look_again_from(&mut self, delivery: u64) {
        self.from = self.from.min(delivery);
        self.asked = false;
    }

    /// Whether an answer is under way, which must not meet another one's number.
    pub(crate) const fn is_asked(&self) -> bool {
        self.asked
    }
}

/// Whether the store was asked for this to look for QoS 0.
pub(crate) const fn is_for_weeds(token: u64) -> bool {
    (token >> 32) & WEEDS as u64 != 0
}

/// The next number of a question that a queue asks to read itself back.
pub(crate) const fn next_question(question: u32) -> u32 {
    question.wrapping_add(1) & !WEEDS
}

impl Queue {
    /// Bytes that count against the limit of what is not QoS 0.
    pub(crate) fn bytes_that_stay(&self) -> u64 {
        self.bytes.saturating_sub(self.weeds.as_ref().map_or(0, |weeds| weeds.bytes))
    }
}

impl Board {
    /// A queue may be longer than its limit: QoS 0 goes.
    pub(crate) fn weed(&mut self, six: SessionIx) {
        let most = self.queue_bytes_max(six);
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref() else { return };
        let queue = &outgoing.queue;
        if queue.bytes > most && queue.weeds.is_some() {
            self.report_full(six);
            self.weed_head(six, most);
            self.ask_for_weeds(six, most);
        }
    }

    /// Takes QoS 0 out of what is in memory, the oldest first.
    fn weed_head(&mut self, six: SessionIx, most: u64) {
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref() else { return };
        let queue = &outgoing.queue;
        let enough = (queue.bytes - most).max(queue.bytes_in_memory() / HEAD_PARTS);
        let (mut found, mut up_to) = (0, 0);
        let qos0 = queue.head.iter().filter(|queued| queued.delivery.qos == QoS::AtMostOnce);
        for queued in qos0 {
            up_to = queued.number;
            found += queued.message.cost_bytes() as u64;
            if found >= enough {
                break;
            }
        }
        if found == 0 {
            return;
        }
        // What is stored with another batch must not be over before it is there.
        let late: Vec<u64> = queue
            .head
            .iter()
            .filter(|queued| !self.is_stored_elsewhere(queued.ticket))
            .map(|queued| queued.number)
            .collect();
        let gone = self.take_from_head(six, |queued| {
            queued.delivery.qos == QoS::AtMostOnce
                && queued.number <= up_to
                && late.binary_search(&queued.number).is_err()
        });
        let session = &self.sessions[six as usize];
        let (key, persistent) = (session.key, session.is_persistent());
        for queued in gone.iter().filter(|_| persistent) {
            self.record(Record::Done { session: key, delivery: queued.number });
        }
        self.count_drops(six, Dropped::QueueFull, gone.len() as u64);
        self.something_over(six);
    }

    /// Has the store give back a page of a queue that is still too long, unless one is under way.
    fn ask_for_weeds(&mut self, six: SessionIx, most: u64) {
        let Some(session) = self.sessions.get_mut(six as usize) else { return };
        let (key, handing_over) = (session.key, session.handing_over);
        let Some(outgoing) = session.outgoing.as_deref_mut() else { return };
        let queue = &mut outgoing.queue;
        let (bytes, first) = (queue.bytes, queue.first_in_store());
        let (Some(first), Some(weeds)) = (first, queue.weeds.as_deref_mut()) else { return };
        if bytes <= most || weeds.bytes == 0 || weeds.asked || handing_over {
            return;
        }
        weeds.asked = true;
        weeds.question = weeds.question.wrapping_add(1);
        weeds.since = 0;
        let load = Load {
            token: u64::from(six) | u64::from(weeds.question | WEEDS) << 32,
            session: key,
            from: weeds.from.max(first),
            messages_max: PAGE_MESSAGES_MAX,
            bytes_max: PAGE_BYTES_MAX,
        };
        self.loads.push((six, load));
    }
}

impl Shard {
    /// A page of a queue that was too long when it was asked for.
    pub(crate) fn on_weeds(&mut self, six: SessionIx, loaded: &Loaded) {
        let board = &mut self.board;
        let most = board.queue_bytes_max(six);
        let session = board.sessions.get_mut(six as usize).filter(|session| session.key == loaded.session);
        let Some(session) = session else { return };
        let handing_over = session.handing_over;
        let Some(outgoing) = session.outgoing.as_deref_mut() else { return };
        let queue = &mut outgoing.queue;
        let (bytes, first) = (queue.bytes, queue.first_in_store());
        // What another shard took is no longer this queue's, although the store may not know yet.
        let own: Vec<_> = loaded.deliveries.iter().filter(|one| !queue.was_passed(one.delivery)).collect();
        let Some(weeds) = queue.weeds.as_deref_mut() else { return };
        if !weeds.asked || loaded.token >> 32 != u64::from(weeds.question | WEEDS) {
            return;
        }
        weeds.asked = false;
        if handing_over {
            return; // others take it out of the queue; it is asked again with the next message
        }
        let (mut gone, mut cost, mut enough) = (Vec::new(), 0, false);
        for one in own {
            if bytes.saturating_sub(cost) <= most {
                enough = true;
                break;
            }
            weeds.from = one.delivery + 1;
            // Before that it is in memory by now, or over.
            if one.qos == QoS::AtMostOnce && first.is_some_and(|first| one.delivery >= first) {
                cost += one.message.cost_bytes() as u64;
                gone.push(one.delivery);
            }
        }
        weeds.went(cost);
        if let Some(next) = loaded.next.filter(|_| !enough) {
            weeds.from = weeds.from.max(next);
        } else if !enough {
            // Whatever it was thought to have: it is there, or has come since.
            let here = queue.head.iter().filter(|queued| queued.delivery.qos == QoS::AtMostOnce);
            weeds.bytes = weeds.since + here.map(|queued| queued.message.cost_bytes() as u64).sum::<u64>();
        }
        board.weed_tail(six, loaded.session, &gone, cost.min(bytes));
        // Whoever reads the queue asks first: what it gets is void as soon as another page was looked through.
        board.pump(six);
        if loaded.next.is_some() {
            board.ask_for_weeds(six, most);
        }
    }
}

impl Board {
    /// Takes deliveries out of what only the store has.
    fn weed_tail(&mut self, six: SessionIx, session: cork_store::SessionKey, gone: &[u64], cost: u64) {
        if gone.is_empty() {
            return;
        }
        for delivery in gone {
            self.record(Record::Done { session, delivery: *delivery });
        }
        self.drop_from_tail(six, gone.len() as u64, cost);
        if let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() {
            // An answer that is under way may have them still.
            outgoing.queue.forget_question();
        }
        self.count_drops(six, Dropped::QueueFull, gone.len() as u64);
        self.something_over(six);
    }
}
