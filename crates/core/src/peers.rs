//! The other shards: who is told what, in one batch a turn each.
//!
//! Nothing of this runs with one shard. With several, a publication is handed only to shards that said they have a
//! subscriber; a retained one to all, as every shard keeps all retained messages.

#![expect(clippy::vec_box, reason = "a box goes to another shard and comes back, whole")]

use std::{collections::VecDeque, sync::Arc};

use cork_store::{Message, MessageId, Ticket};

use crate::{
    board::Board,
    conn::NO_SESSION,
    deliver::{Ask, Publication},
    filters::FilterCounts,
    io::{Batch, Item, Output, Waiter},
    parcel::{self, Parcel},
    presence,
    router::{Group, Remote, ShardSet},
    shard::Shard,
    stats::Stats,
    waits::Tally,
};

/// Emptied parcels that make a batch of their own; fewer wait for one that goes there anyway.
const EMPTIED_TOGETHER: usize = 4;
/// Empty parcels that are kept for the next turns.
const SPARE_PARCELS_MAX: usize = 16;

/// A shared subscription whose turn falls to another shard.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) shard: u16,
    pub(crate) group: Arc<str>,
    /// What its members get outlives the broker.
    pub(crate) outlives: bool,
}

/// Whether a publication goes to other shards in a parcel, if nobody retains it and no shared subscription wants it: it
/// is not built as a message yet, is short, and whoever asks about it may be answered in few words.
fn is_small(publication: &Publication<'_>) -> bool {
    publication.message.is_none()
        && publication.payload.len() <= parcel::PAYLOAD_BYTES_MAX
        && matches!(publication.ask, Ask::Nothing | Ask::Stored(Waiter::Answer { .. }))
}

/// What is known of, and waits for, the other shards.
pub(crate) struct Peers {
    /// By shard.
    batches: Vec<Vec<Item>>,
    /// Parcels of each shard that go back to it.
    emptied: Vec<Vec<Box<Parcel>>>,
    /// This shard's own that came back.
    spare: Vec<Box<Parcel>>,
    /// Shared subscriptions of the present publication whose turn falls to another shard.
    pub(crate) chosen: Vec<Chosen>,
    /// Those with Sessions that outlive their connections, by shard.
    keeps: Vec<bool>,
    /// Who is told that a batch is stored, in the order of batches; and whether also where this shard's present begins.
    owed: VecDeque<(Ticket, u16, Waiter, Tally, bool)>,
    /// Their last counters, by shard.
    pub(crate) stats: Vec<Stats>,
    /// What named filters did there, by shard.
    pub(crate) filters: Vec<Vec<(Box<str>, FilterCounts)>>,
}

impl Peers {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            batches: (0..shards).map(|_| Vec::new()).collect(),
            emptied: (0..shards).map(|_| Vec::new()).collect(),
            spare: Vec::new(),
            chosen: Vec::new(),
            keeps: vec![false; usize::from(shards)],
            owed: VecDeque::new(),
            stats: vec![Stats::default(); usize::from(shards)],
            filters: vec![Vec::new(); usize::from(shards)],
        }
    }

    pub(crate) fn tell(&mut self, shard: u16, item: Item) {
        if let Some(batch) = self.batches.get_mut(usize::from(shard)) {
            batch.push(item);
        }
    }

    /// Hands a small publication over that nobody keeps.
    fn pack(&mut self, shard: u16, id: MessageId, publication: &Publication<'_>) {
        let Some(batch) = self.batches.get_mut(usize::from(shard)) else { return };
        if let Some(Item::Parcel(parcel)) = batch.last_mut() {
            return parcel.push(id, publication);
        }
        let mut parcel = self.spare.pop().unwrap_or_default();
        parcel.push(id, publication);
        batch.push(Item::Parcel(parcel));
    }

    /// Keeps a parcel that was taken out of until something goes to the shard that it came from.
    fn give_back(&mut self, shard: u16, parcel: Box<Parcel>) {
        if parcel.is_worth_returning()
            && let Some(emptied) = self.emptied.get_mut(usize::from(shard))
        {
            emptied.push(parcel);
        }
    }

    fn take_back(&mut self, parcels: Vec<Box<Parcel>>) {
        for parcel in parcels {
            if let Some(parcel) = parcel.emptied().filter(|_| self.spare.len() < SPARE_PARCELS_MAX) {
                self.spare.push(parcel);
            }
        }
    }

    /// Tells a shard that what a publication caused here, if anything, is stored.
    fn tell_noted(&mut self, shard: u16, waiter: Waiter) {
        let Some(batch) = self.batches.get_mut(usize::from(shard)) else { return };
        match batch.last_mut() {
            Some(Item::AllNoted(waiters)) => waiters.push(waiter),
            _ => batch.push(Item::AllNoted(vec![waiter])),
        }
    }

    /// As [`Shard::count_kept`].
    pub(crate) fn count_kept(&mut self, board: &mut Board, by: i64) {
        let before = board.kept_sessions;
        board.kept_sessions = before.saturating_add_signed(by);
        let keeps = board.kept_sessions > 0;
        if (before > 0) != keeps {
            for shard in (0..board.config.shards).filter(|shard| *shard != board.config.shard) {
                self.tell(shard, Item::Keeps(keeps));
            }
        }
    }
}

impl Shard {
    fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let own = self.board.config.shard;
        (0..self.board.config.shards).filter(move |shard| *shard != own)
    }

    /// Whether anybody wants to hear of routes.
    pub(crate) fn tells_others(&self) -> bool {
        self.board.config.shards > 1 || self.board.config.mesh
    }

    /// Emits what waits for other shards.
    pub(crate) fn close_forwards(&mut self) {
        let from = self.board.config.shard;
        let ways = self.peers.batches.iter_mut().zip(&mut self.peers.emptied);
        for (shard, (items, emptied)) in (0u16..).zip(ways) {
            let due = emptied.len() >= EMPTIED_TOGETHER || emptied.iter().any(|parcel| parcel.is_too_large());
            if due || !(emptied.is_empty() || items.is_empty()) {
                items.push(Item::Emptied(std::mem::take(emptied)));
            }
            if !items.is_empty() {
                let batch = Batch { from, items: std::mem::take(items) };
                self.board.outputs.push_back(Output::Forward { shard, batch });
            }
        }
    }

    /// Hands a publication to the other shards that have an interest. Returns whether anybody here or there has.
    pub(crate) fn forward(&mut self, publication: &mut Publication<'_>, here: bool) -> bool {
        if self.board.config.shards == 1 {
            return here;
        }
        let interested = match publication.shards {
            Some(shards) => shards,
            None => self.router.interested_shards(publication.topic),
        };
        if self.peers.chosen.is_empty() && !publication.to_retain() {
            if interested.is_empty() {
                return here;
            }
            if is_small(publication) {
                self.pack(interested, publication);
                return true;
            }
        }
        let chosen = std::mem::take(&mut self.peers.chosen);
        let anybody = here || !interested.is_empty() || !chosen.is_empty();
        for shard in self.others() {
            let plain = interested.contains(shard);
            let here = chosen.iter().filter(|chosen| chosen.shard == shard);
            let outlives = here.clone().any(|chosen| chosen.outlives);
            let groups: Vec<Arc<str>> = here.map(|chosen| Arc::clone(&chosen.group)).collect();
            if plain || publication.to_retain() || !groups.is_empty() {
                let routed = plain || !groups.is_empty();
                let (answer, gather) = match publication.ask {
                    Ask::Stored(waiter) if routed && (outlives || self.peers.keeps[usize::from(shard)]) => {
                        (Some(waiter), None)
                    }
                    Ask::Records(gather) if routed => (None, Some(gather)),
                    _ => (None, None),
                };
                let asks = answer.is_some() || gather.is_some();
                publication.asked += u16::from(asks);
                let message = self.board.message(publication);
                let (retain, unkept, with) = (publication.to_retain(), publication.unkept, Vec::new());
                let passed = None;
                let item =
                    Item::Publish { message, plain, groups, retain, unkept, with, answer, gather, passed };
                self.peers.tell(shard, item);
            }
        }
        anybody
    }

    /// Hands a small publication over in parcels.
    fn pack(&mut self, interested: ShardSet, publication: &mut Publication<'_>) {
        let id = *publication.id.get_or_insert_with(|| self.board.next_message_id());
        let ask = publication.ask;
        for shard in interested.iter() {
            let asks = ask != Ask::Nothing && self.peers.keeps.get(usize::from(shard)) == Some(&true);
            publication.ask = if asks { ask } else { Ask::Nothing };
            publication.asked += u16::from(asks);
            self.peers.pack(shard, id, publication);
        }
        publication.ask = ask;
    }

    /// Has the other shards retain a message, and hand it to nobody.
    pub(crate) fn forward_retained(&mut self, message: &Arc<Message>) {
        for shard in self.others() {
            let item = Item::Publish {
                message: Arc::clone(message),
                plain: false,
                groups: Vec::new(),
                retain: true,
                unkept: false,
                with: Vec::new(),
                answer: None,
                gather: None,
                passed: None,
            };
            self.peers.tell(shard, item);
        }
    }

    /// A filter got its first, or lost its last, plain subscriber here.
    pub(crate) fn announce_filter(&mut self, filter: &str, interested: bool) {
        for shard in self.others() {
            self.peers.tell(shard, Item::Interest { filter: filter.into(), interested });
        }
        if self.board.config.mesh {
            self.board.outputs.push_back(Output::Announce { filter: filter.into(), interested });
        }
    }

    /// The members of a shared subscription here changed.
    pub(crate) fn announce_group(&mut self, group: u32) {
        if self.board.config.shards == 1 {
            return;
        }
        let Some(entry) = self.router.groups.get(group as usize) else { return };
        let all = u32::try_from(entry.members.len()).unwrap_or(u32::MAX);
        let (group, online, kept) = (Arc::clone(&entry.name), entry.online, entry.kept > 0);
        for shard in self.others() {
            self.peers.tell(shard, Item::Members { group: Arc::clone(&group), online, all, kept });
        }
    }

    /// What another shard has for this one.
    pub(crate) fn on_batch(&mut self, batch: Batch) {
        let from = batch.from;
        for item in batch.items {
            match item {
                Item::Publish { .. } => self.on_publication(from, item),
                Item::Parcel(parcel) => {
                    self.on_parcel(from, &parcel);
                    self.peers.give_back(from, parcel);
                }
                Item::Emptied(parcels) => self.peers.take_back(parcels),
                Item::AllNoted(waiters) => {
                    for waiter in waiters {
                        self.on_noted(from, waiter, Tally::default(), 0);
                    }
                }
                Item::Gathered { gather, part, records, tally } => {
                    self.on_gathered(from, gather, part, records, tally);
                }
                Item::PartStored(part) => self.on_part_stored(part),
                Item::Keeps(keeps) => {
                    if let Some(slot) = self.peers.keeps.get_mut(usize::from(from)) {
                        *slot = keeps;
                    }
                }
                Item::Interest { filter, interested } => {
                    if presence::concerns(&filter) {
                        self.watch_presence(interested);
                    }
                    if interested {
                        self.router.interest.insert(&filter, u32::from(from), ());
                    } else if let Some(id) = self.router.interest.find(&filter) {
                        self.router.interest.remove(id, u32::from(from));
                    }
                }
                Item::Members { group, online, all, kept } => {
                    self.on_members(&group, Remote { shard: from, online, all, kept });
                }
                Item::Account { user, before, now } => self.on_account(&user, before, now),
                Item::Ask(waiter) => {
                    self.start_presence(); // somebody subscribes: all know of each other by now
                    match self.presence_waits_for() {
                        Some(ticket) => {
                            self.peers.owed.push_back((ticket, from, waiter, Tally::default(), true));
                        }
                        None => self.tell_present(from, waiter),
                    }
                }
                Item::Noted { waiter, tally, last } => self.on_noted(from, waiter, tally, last),
                Item::Filters(counts) => {
                    if let Some(slot) = self.peers.filters.get_mut(usize::from(from)) {
                        *slot = counts;
                    }
                }
                Item::Stats(stats) => {
                    if let Some(slot) = self.peers.stats.get_mut(usize::from(from)) {
                        *slot = *stats;
                    }
                }
            }
        }
    }

    /// Another shard has small publications for plain subscriptions here.
    fn on_parcel(&mut self, from: u16, parcel: &Parcel) {
        for mut publication in parcel.publications() {
            let mark = self.board.records.len();
            let ask = std::mem::take(&mut publication.ask);
            publication.handed_by = Some(from);
            self.route(&mut publication, NO_SESSION, false);
            let relies = self.board.records.len() > mark;
            if relies && !self.board.config.history.is_empty() {
                self.board.record_remembered(&mut publication);
            }
            if let Ask::Stored(waiter) = ask {
                if relies {
                    let tally = Tally::default();
                    self.peers.owed.push_back((self.board.ticket, from, waiter, tally, false));
                } else {
                    self.peers.tell_noted(from, waiter);
                }
            }
        }
    }

    /// Another shard has a publication for this one.
    fn on_publication(&mut self, from: u16, item: Item) {
        let Item::Publish { message, plain, groups, retain, unkept, mut with, answer, gather, passed } = item
        else {
            return;
        };
        let (asks, mut tally) = (passed.unwrap_or(from), Tally { passed: passed.is_some(), more: 0 });
        let mark = self.board.records.len();
        let mut here = Vec::new();
        for name in groups {
            let Some(group) = self.router.group(&name) else { continue };
            // Those this shard was chosen for may have left meanwhile: the message goes on to who is left elsewhere,
            // and whoever waits for it waits for them.
            let Some(shard) = self.router.groups.get_mut(group as usize).and_then(Group::moved_on) else {
                here.push(group);
                continue;
            };
            tally.more += u16::from(answer.is_some() || gather.is_some());
            let item = Item::Publish {
                message: Arc::clone(&message),
                plain: false,
                groups: vec![name],
                retain: false,
                unkept: false,
                with: std::mem::take(&mut with),
                answer,
                gather,
                passed: Some(asks),
            };
            self.peers.tell(shard, item);
        }
        if passed.is_some() && here.is_empty() && tally.more > 0 {
            return; // whoever has it now answers
        }
        let part = gather.map(|_| self.begin_part());
        let ticket = (!with.is_empty()).then_some(self.board.ticket);
        let once = part.map(|(_, ticket)| ticket).or(ticket);
        self.board.records.extend(with);
        let handed_by = Some(from);
        let mut publication = Publication { once, unkept, handed_by, ..Publication::of(&message) };
        if retain {
            self.retain(&mut publication, false);
        }
        if plain {
            self.route(&mut publication, NO_SESSION, false);
        }
        for group in here {
            self.deliver_to_group(group, &mut publication);
        }
        if self.board.records.len() > mark && !self.board.config.history.is_empty() {
            self.board.record_remembered(&mut publication);
        }
        if let (Some(gather), Some((part, _))) = (gather, part) {
            let records = self.board.records.split_off(mark);
            self.peers.tell(asks, Item::Gathered { gather, part, records, tally });
        }
        if let Some(waiter) = answer {
            if self.board.records.len() > mark {
                self.peers.owed.push_back((self.board.ticket, asks, waiter, tally, false));
            } else {
                self.peers.tell(asks, Item::Noted { waiter, tally, last: 0 });
            }
        }
    }

    /// Tells others that what they asked about is stored.
    pub(crate) fn answer_others(&mut self) {
        while let Some((_, shard, waiter, tally, present)) =
            self.peers.owed.pop_front_if(|(ticket, ..)| *ticket <= self.board.stored)
        {
            if present {
                self.tell_present(shard, waiter);
            } else if tally == Tally::default() {
                self.peers.tell_noted(shard, waiter);
            } else {
                self.peers.tell(shard, Item::Noted { waiter, tally, last: 0 });
            }
        }
    }

    /// Tells a shard that its routes are known, and where the present begins: what it was sent up to now is the past, for
    /// until it hears this it takes it for that.
    fn tell_present(&mut self, shard: u16, waiter: Waiter) {
        let (tally, last) = (Tally::default(), self.board.last_arrival());
        self.peers.tell(shard, Item::Noted { waiter, tally, last });
    }

    /// Counts Sessions that outlive their connection, and says so when there is a first or no more.
    pub(crate) fn count_kept(&mut self, by: i64) {
        self.peers.count_kept(&mut self.board, by);
    }

    /// Asks all others to say when they know what they were told up to now. Returns how many there are.
    pub(crate) fn ask_others(&mut self, waiter: Waiter) -> u16 {
        self.others().map(|shard| self.peers.tell(shard, Item::Ask(waiter))).fold(0, |count, ()| count + 1)
    }

    fn on_members(&mut self, name: &str, members: Remote) {
        let Some(group_ix) = self.group_by_name(name) else { return };
        let group = &mut self.router.groups[group_ix as usize];
        group.remotes.retain(|remote| remote.shard != members.shard);
        if members.all > 0 {
            group.remotes.push(members);
            group.remotes.sort_unstable_by_key(|remote| remote.shard);
        }
        self.drop_group(group_ix);
    }

    /// Another shard knows the routes, or has stored, what was waited for.
    fn on_noted(&mut self, from: u16, waiter: Waiter, tally: Tally, last: u64) {
        let (id, number) = match waiter {
            Waiter::Answer { conn, number } => (conn, number),
            Waiter::End { session, key } => return self.on_left(session, key, tally),
        };
        if let Some(conn) = self.board.conn(id)
            && let Some(held) = conn.held_by_number(number)
        {
            held.waits.answered(tally);
            let session = conn.session;
            self.note_present(session, number, from, last);
        }
        self.release(id);
    }
}

#[cfg(test)]
mod tests;
