//! Publications whose records several shards make, and that must hold together or not at all.
//!
//! A QoS 2 publication is routed once only if its identifier and all that it queued become durable in one batch; a Will
//! likewise with the record that it is gone. Where Sessions of several shards get it, each shard hands its records to
//! the one it came to, which stores them as one batch and tells the others when that is done:
//!
//! ```text
//! first    Publish{gather: 7} ->   ... Gathered ->  Store[Received, Queued, Queued]   Stored: Release ->
//! other                         route, keep back                                                  send on
//! ```
//!
//! Until then what they queued waits under a ticket that no batch has.

use std::collections::{BTreeMap, VecDeque};

use cork_packet::PacketId;
use cork_store::{Record, SessionKey, Ticket};

use crate::{
    board::Board,
    conn::SessionIx,
    io::{ConnId, Item},
    shard::Shard,
    waits::{Tally, Waits},
};

/// Marks tickets of things that are stored with another shard's batch.
const ELSEWHERE: u64 = 1 << 63;

/// What waits for records that are stored with another shard's batch, or with a later one of this shard.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    next: u64,
    /// Sessions whose queue holds something of it.
    waiting: BTreeMap<u64, Vec<SessionIx>>,
}

impl Elsewhere {
    fn begin(&mut self) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, Vec::new());
        self.next
    }
}

/// Records on their way to this shard.
#[derive(Debug, Default)]
struct Gather {
    /// Shards that have not answered yet.
    waits: Waits,
    records: Vec<Record>,
    /// Who has, and what it calls its part.
    parts: Vec<(u16, u64)>,
    /// The answers that wait for it: connection and number.
    answers: Vec<(ConnId, u64)>,
    /// The publication it belongs to.
    flow: Option<(SessionKey, PacketId)>,
}

/// Gathers of this shard.
#[derive(Debug, Default)]
pub(crate) struct Gathers {
    pending: BTreeMap<u64, Gather>,
    /// Of each publisher those that are not in a batch yet, in the order of its publications. They are stored in this
    /// order: what is sent again after a crash must not come behind what was published later.
    flows: BTreeMap<SessionKey, VecDeque<u64>>,
    /// Complete, and in a batch.
    written: VecDeque<(Ticket, Written)>,
}

/// A gather in a batch: its number, and the shards that have a part with the number of it.
type Written = (u64, Vec<(u16, u64)>);

impl Gathers {
    /// A gather that can be written down now.
    fn take(&mut self, number: u64) -> Option<(u64, Gather)> {
        let gather = self.pending.get(&number).filter(|gather| gather.waits.is_over())?;
        if let Some((publisher, _)) = gather.flow
            && self.flows.get(&publisher).is_some_and(|flow| flow.front() != Some(&number))
        {
            return None;
        }
        Some((number, self.pending.remove(&number)?))
    }

    /// The first of a publisher is in a batch; which is the next?
    fn next_of(&mut self, publisher: SessionKey) -> Option<u64> {
        let flow = self.flows.get_mut(&publisher)?;
        flow.pop_front();
        let next = flow.front().copied();
        if next.is_none() {
            self.flows.remove(&publisher);
        }
        next
    }
}

impl Board {
    /// Whether what waits for this ticket may go on.
    #[inline]
    pub(crate) fn is_stored(&self, ticket: Ticket) -> bool {
        if ticket.0 & ELSEWHERE == 0 {
            return ticket <= self.stored;
        }
        !self.elsewhere.waiting.contains_key(&(ticket.0 & !ELSEWHERE))
    }

    /// Whether what has this ticket does not wait for a batch of another shard.
    pub(crate) fn is_stored_elsewhere(&self, ticket: Ticket) -> bool {
        !is_elsewhere(ticket) || self.is_stored(ticket)
    }

    /// Lets a Session's queue go on once this is stored.
    pub(crate) fn delay(&mut self, ticket: Ticket, six: SessionIx) {
        if ticket.0 & ELSEWHERE != 0 {
            if let Some(waiting) = self.elsewhere.waiting.get_mut(&(ticket.0 & !ELSEWHERE)) {
                waiting.push(six);
            }
        } else if ticket > self.stored && self.delayed.back() != Some(&(ticket, six)) {
            self.delayed.push_back((ticket, six));
        }
    }
}

/// Whether what has this ticket is stored with another batch than this shard's next.
pub(crate) const fn is_elsewhere(ticket: Ticket) -> bool {
    ticket.0 & ELSEWHERE != 0
}

impl Shard {
    /// Whether a publication has receivers on other shards.
    pub(crate) fn leaves(&mut self, topic: &str) -> bool {
        if self.board.config.shards == 1 {
            return false;
        }
        if !self.router.interested_shards(topic).is_empty() || self.board.filters.may_want(topic) {
            return true;
        }
        let (matching, groups, _) = self.router.matching(topic);
        matching.iter().any(|(key, _)| groups_elsewhere(*key, groups))
    }

    /// Begins a gather; what it queues waits for the ticket.
    pub(crate) fn begin_gather(&mut self) -> (u64, Ticket) {
        let number = self.board.elsewhere.begin();
        self.gathers.pending.insert(number, Gather::default());
        (number, Ticket(number | ELSEWHERE))
    }

    /// Everybody was told: from `mark` on the records belong to it, and `waits` shards have some too.
    pub(crate) fn gather(
        &mut self,
        number: u64,
        mark: usize,
        waits: u16,
        flow: Option<(SessionKey, PacketId)>,
    ) {
        let records = self.board.records.split_off(mark);
        if let Some(gather) = self.gathers.pending.get_mut(&number) {
            gather.records = records;
            gather.waits = Waits::of(waits);
            gather.flow = flow;
            if let Some((publisher, _)) = flow {
                self.gathers.flows.entry(publisher).or_default().push_back(number);
            }
        }
    }

    /// Whether something of this publisher is not in a batch yet.
    pub(crate) fn is_gathering(&self, publisher: SessionKey) -> bool {
        self.gathers.flows.contains_key(&publisher)
    }

    /// An answer waits for a gather.
    pub(crate) fn answer_gathered(&mut self, number: u64, answer: (ConnId, u64)) {
        if let Some(gather) = self.gathers.pending.get_mut(&number) {
            gather.answers.push(answer);
        }
        self.finish_gather(number);
    }

    /// The gather of a publication that is not stored yet.
    pub(crate) fn gather_of(&self, flow: (SessionKey, PacketId)) -> Option<u64> {
        let mut pending = self.gathers.pending.iter();
        pending.find(|(_, gather)| gather.flow == Some(flow)).map(|(number, _)| *number)
    }

    /// Another shard's part of a gather came.
    pub(crate) fn on_gathered(
        &mut self,
        from: u16,
        number: u64,
        part: u64,
        records: Vec<Record>,
        tally: Tally,
    ) {
        if let Some(gather) = self.gathers.pending.get_mut(&number) {
            gather.records.extend(records);
            gather.parts.push((from, part));
            gather.waits.answered(tally);
        }
        self.finish_gather(number);
    }

    /// Writes a gather down if it is complete and nothing of its publisher is before it, and those behind it likewise.
    pub(crate) fn finish_gather(&mut self, number: u64) {
        let mut next = Some(number);
        while let Some(gather) = next.and_then(|number| self.gathers.take(number)) {
            next = gather.1.flow.and_then(|(publisher, _)| self.gathers.next_of(publisher));
            self.write_gather(gather.0, gather.1);
        }
    }

    fn write_gather(&mut self, number: u64, gather: Gather) {
        self.board.records.extend(gather.records);
        let ticket = self.board.ticket;
        self.gathers.written.push_back((ticket, (number, gather.parts)));
        for (id, answer) in gather.answers {
            if let Some(held) = self.board.conn(id).and_then(|conn| conn.held_by_number(answer)) {
                held.ticket = ticket;
                held.waits.answered(Tally::default());
            }
            self.board.waiting.push_back((ticket, id));
        }
    }

    /// Tells everybody whose part of a gather is stored.
    pub(crate) fn release_gathers(&mut self) {
        while let Some((_, (number, parts))) =
            self.gathers.written.pop_front_if(|(ticket, ..)| *ticket <= self.board.stored)
        {
            self.on_part_stored(number);
            for (shard, part) in parts {
                self.peers.tell(shard, Item::PartStored(part));
            }
        }
    }

    /// What waits elsewhere under this number is stored.
    pub(crate) fn on_part_stored(&mut self, number: u64) {
        for six in self.board.elsewhere.waiting.remove(&number).unwrap_or_default() {
            self.board.pump(six);
            self.hand_over_late(six);
        }
    }

    /// Begins this shard's part of another shard's gather.
    pub(crate) fn begin_part(&mut self) -> (u64, Ticket) {
        let number = self.board.elsewhere.begin();
        (number, Ticket(number | ELSEWHERE))
    }
}

fn groups_elsewhere(key: u32, groups: &slab::Slab<crate::router::Group>) -> bool {
    use crate::session::GROUP_BIT;
    key & GROUP_BIT != 0
        && groups.get((key & !GROUP_BIT) as usize).is_some_and(|group| !group.remotes.is_empty())
}
