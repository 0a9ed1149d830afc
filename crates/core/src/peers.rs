//! The other shards: who is told what, in one batch a turn each.
//!
//! Nothing of this runs with one shard. With several, a publication is handed only to shards that said they have a
//! subscriber; a retained one to all, as every shard keeps all retained messages.

use std::{collections::VecDeque, sync::Arc};

use cork_store::Ticket;

use crate::{
    conn::NO_SESSION,
    deliver::{Ask, Publication},
    filters::FilterCounts,
    io::{Batch, Item, Output, Waiter},
    presence,
    router::Remote,
    shard::Shard,
    stats::Stats,
};

/// What is known of, and waits for, the other shards.
pub(crate) struct Peers {
    /// By shard.
    batches: Vec<Vec<Item>>,
    /// Shared subscriptions of the present publication whose turn falls to another shard.
    pub(crate) chosen: Vec<(u16, Arc<str>)>,
    /// Those with Sessions that outlive their connections, by shard.
    keeps: Vec<bool>,
    /// Who is told that a batch is stored, in the order of batches.
    owed: VecDeque<(Ticket, u16, Waiter)>,
    /// Their last counters, by shard.
    pub(crate) stats: Vec<Stats>,
    /// What named filters did there, by shard.
    pub(crate) filters: Vec<Vec<(Box<str>, FilterCounts)>>,
}

impl Peers {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            batches: (0..shards).map(|_| Vec::new()).collect(),
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
        for (shard, items) in (0u16..).zip(&mut self.peers.batches) {
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
        let interested: Vec<u16> = self.router.interested_shards(publication.topic).collect();
        let chosen = std::mem::take(&mut self.peers.chosen);
        let anybody = here || !interested.is_empty() || !chosen.is_empty();
        for shard in self.others() {
            let plain = interested.contains(&shard);
            let groups: Vec<Arc<str>> =
                chosen.iter().filter(|(to, _)| *to == shard).map(|(_, name)| Arc::clone(name)).collect();
            if plain || publication.retain || !groups.is_empty() {
                let message = self.board.message(publication);
                let routed = plain || !groups.is_empty();
                let (answer, gather) = match publication.ask {
                    Ask::Stored(waiter) if routed && self.peers.keeps[usize::from(shard)] => {
                        (Some(waiter), None)
                    }
                    Ask::Records(gather) if routed => (None, Some(gather)),
                    _ => (None, None),
                };
                publication.asked += u16::from(answer.is_some() || gather.is_some());
                let (retain, unkept, with) = (publication.retain, publication.unkept, Vec::new());
                let item = Item::Publish { message, plain, groups, retain, unkept, with, answer, gather };
                self.peers.tell(shard, item);
            }
        }
        anybody
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
        let (group, online) = (Arc::clone(&entry.name), entry.online);
        for shard in self.others() {
            self.peers.tell(shard, Item::Members { group: Arc::clone(&group), online, all });
        }
    }

    /// What another shard has for this one.
    pub(crate) fn on_batch(&mut self, batch: Batch) {
        let from = batch.from;
        for item in batch.items {
            match item {
                Item::Publish { message, plain, groups, retain, unkept, with, answer, gather } => {
                    let mark = self.board.records.len();
                    let part = gather.map(|_| self.begin_part());
                    let ticket = (!with.is_empty()).then_some(self.board.ticket);
                    let once = part.map(|(_, ticket)| ticket).or(ticket);
                    self.board.records.extend(with);
                    let mut publication = Publication { once, unkept, ..Publication::of(&message) };
                    if retain {
                        self.retain(&mut publication, false);
                    }
                    if plain {
                        self.route(&mut publication, NO_SESSION, false);
                    }
                    for name in groups {
                        if let Some(group) = self.router.group(&name) {
                            self.deliver_to_group(group, &mut publication);
                        }
                    }
                    if let (Some(gather), Some((part, _))) = (gather, part) {
                        let records = self.board.records.split_off(mark);
                        self.peers.tell(from, Item::Gathered { gather, part, records });
                    }
                    if let Some(waiter) = answer {
                        if self.board.records.len() > mark {
                            self.peers.owed.push_back((self.board.ticket, from, waiter));
                        } else {
                            self.peers.tell(from, Item::Noted(waiter));
                        }
                    }
                }
                Item::Gathered { gather, part, records } => self.on_gathered(from, gather, part, records),
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
                Item::Members { group, online, all } => self.on_members(from, &group, online, all),
                Item::Ask(waiter) => self.peers.tell(from, Item::Noted(waiter)),
                Item::Noted(waiter) => self.on_noted(waiter),
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

    /// Tells others that what they asked about is stored.
    pub(crate) fn answer_others(&mut self) {
        while let Some((_, shard, waiter)) =
            self.peers.owed.pop_front_if(|(ticket, ..)| *ticket <= self.board.stored)
        {
            self.peers.tell(shard, Item::Noted(waiter));
        }
    }

    /// Counts Sessions that outlive their connection, and says so when there is a first or no more.
    pub(crate) fn count_kept(&mut self, by: i64) {
        let before = self.board.kept_sessions;
        self.board.kept_sessions = before.saturating_add_signed(by);
        let keeps = self.board.kept_sessions > 0;
        if (before > 0) != keeps {
            for shard in self.others() {
                self.peers.tell(shard, Item::Keeps(keeps));
            }
        }
    }

    /// Asks all others to say when they know what they were told up to now. Returns how many there are.
    pub(crate) fn ask_others(&mut self, waiter: Waiter) -> u16 {
        self.others().map(|shard| self.peers.tell(shard, Item::Ask(waiter))).fold(0, |count, ()| count + 1)
    }

    fn on_members(&mut self, from: u16, name: &str, online: u32, all: u32) {
        let Some(group_ix) = self.group_by_name(name) else { return };
        let group = &mut self.router.groups[group_ix as usize];
        group.remotes.retain(|remote| remote.shard != from);
        if all > 0 {
            group.remotes.push(Remote { shard: from, online, all });
            group.remotes.sort_unstable_by_key(|remote| remote.shard);
        }
        self.drop_group(group_ix);
    }

    /// Another shard knows the routes an answer waited for.
    fn on_noted(&mut self, waiter: Waiter) {
        let Waiter { conn: id, number } = waiter;
        if let Some(conn) = self.board.conn(id)
            && let Some(held) = conn.held_by_number(number)
        {
            held.waits = held.waits.saturating_sub(1);
        }
        self.release(id);
    }
}
