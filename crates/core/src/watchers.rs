//! Pages that watch what is published, without being subscribers: a shard notes of each topic the last message, once for
//! all pages, and a page collects now and then what has changed.
//!
//! Whoever watches so is told less than a subscriber: not each message, but the last one of each topic and how many there
//! were. That costs a copy of a small value and a look-up for each publication, instead of a packet for each page, and
//! nothing but a look at an empty field where no page watches. A publication is noted on the shard it comes to and
//! nowhere else. What a page may see is decided for each topic when it is noted first, and again when the rights change;
//! what was noted before and may not be seen any more is left out when the sample is taken.

mod notes;
mod said;
mod trail;

use std::{collections::VecDeque, hint::black_box};

use cork_access::{Acl, Action};
use cork_packet::matches;
use cork_store::WallTime;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use self::{notes::Jotted, said::Entry, trail::Trail};
use crate::{conn::SessionIx, deliver::Publication, query::Reader, sample::Sample, shard::Shard};

/// Pages that watch at once, at most: bits of a mask.
const WATCHERS_MAX: usize = 64;
/// Bytes in one sample, at most (one message more).
const SAMPLE_BYTES_MAX: usize = 4 << 20;
/// Topics that are fetched at once for a sample.
const LOOKED_AHEAD: usize = 32;
/// Topics that are looked at for one sample, at most.
const STEPS_MAX: usize = 8192;

/// What a page wants to watch.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Its number: none that is used already.
    pub id: u64,
    /// Topic Filters, plain ones that do not begin with `$`.
    pub filters: Vec<Box<str>>,
    /// Who looks at it.
    pub reader: Reader,
    /// Bytes of a payload it wants.
    pub payload_max: usize,
}

/// A page.
struct Watcher {
    watch: Watch,
    /// Topics that changed since it took them, in the order of their changes.
    queue: VecDeque<Change>,
    seen: u64,
    skipped: u64,
}

/// A topic that changed since a page took it.
#[derive(Copy, Clone)]
struct Change {
    slot: u32,
    at: WallTime,
    /// Messages it had before.
    before: u32,
}

/// All pages of a shard.
pub(crate) struct Watchers {
    pages: Vec<Option<Watcher>>,
    /// What came since all was looked through.
    jotted: Jotted,
    slots: HashTable<u32>,
    entries: Vec<Entry>,
    /// A topic came or went, so that what was found before may be elsewhere.
    moved: bool,
    free: Vec<u32>,
    trail: Trail,
    /// Who has seen so many messages that were not counted yet: mostly the same ones.
    seen_by: u64,
    seen: u64,
    /// Topics of which everybody was told, the oldest first; some of them have changed since.
    told: VecDeque<u32>,
    bytes: usize,
    /// The most that a page wants.
    payload_max: usize,
    /// Grows with each change of pages or rights.
    epoch: u32,
    hasher: FixedState,
}

impl Shard {
    /// Notes from now on, for a page, what is published on this shard. Nobody who speaks MQTT notices.
    ///
    /// False if as many watch as there may be, if a filter is none that can be watched, or if a program's hooks have a
    /// say in who gets what: then the page is to subscribe.
    pub fn watch(&mut self, watch: Watch) -> bool {
        let fits = |filter: &str| !filter.is_empty() && !filter.starts_with('$');
        if self.board.hooks.is_some() || !watch.filters.iter().all(|filter| fits(filter)) {
            return false;
        }
        let seed = self.board.config.seed;
        self.watchers.get_or_insert_with(|| Box::new(Watchers::new(seed))).begin(watch, &self.board.rights)
    }

    /// What changed since the last time, `topics_max` topics at most. Empty for a page that does not watch.
    pub fn sample(&mut self, watch: u64, topics_max: usize) -> Sample {
        let Some(watchers) = &mut self.watchers else { return Sample::default() };
        watchers.sample(watch, topics_max, &self.board.rights)
    }

    /// Ends a watch. With the last one everything that was noted is forgotten.
    pub fn unwatch(&mut self, watch: u64) {
        if self.watchers.as_deref_mut().is_some_and(|watchers| watchers.end(watch)) {
            self.watchers = None;
        }
    }

    /// Notes a publication of this Session, if it has one. Only asked where pages watch.
    #[inline(never)]
    pub(crate) fn note(&mut self, publication: &Publication<'_>, from: SessionIx) {
        let wall = self.board.wall();
        if let Some(watchers) = &mut self.watchers
            && !watchers.follow(publication, wall, from)
            && !publication.topic.starts_with('$')
        {
            watchers.jot(publication, wall, from, &self.board.rights);
        }
    }
}

impl Watchers {
    fn new(seed: u64) -> Self {
        Self {
            pages: Vec::new(),
            jotted: Jotted::default(),
            slots: HashTable::new(),
            entries: Vec::new(),
            moved: false,
            free: Vec::new(),
            trail: Trail::new(),
            seen_by: 0,
            seen: 0,
            told: VecDeque::new(),
            bytes: 0,
            payload_max: 0,
            epoch: 0,
            hasher: FixedState::with_seed(seed),
        }
    }

    /// The rights are other ones from now on.
    pub(crate) fn follow_rights(&mut self, before: &Acl) {
        self.look_through(before);
        self.look_anew();
    }

    /// The rights changed, or who watches.
    fn look_anew(&mut self) {
        self.epoch += 1;
        self.payload_max = self.pages.iter().flatten().map(|page| page.watch.payload_max).max().unwrap_or(0);
    }

    fn begin(&mut self, watch: Watch, rights: &Acl) -> bool {
        self.look_through(rights);
        let place = self.pages.iter().position(Option::is_none).unwrap_or(self.pages.len());
        if place == WATCHERS_MAX {
            return false;
        }
        let page = Watcher { watch, queue: VecDeque::new(), seen: 0, skipped: 0 };
        if place == self.pages.len() {
            self.pages.push(None);
        }
        self.pages[place] = Some(page);
        self.look_anew();
        true
    }

    /// Whether nobody is left.
    fn end(&mut self, watch: u64) -> bool {
        self.count_seen();
        let Some(place) = self.place(watch) else { return self.pages.iter().all(Option::is_none) };
        let page = self.pages[place].take();
        for Change { slot, .. } in page.into_iter().flat_map(|page| page.queue) {
            self.was_told(slot, 1 << place);
        }
        self.look_anew();
        self.pages.iter().all(Option::is_none)
    }

    fn place(&self, watch: u64) -> Option<usize> {
        self.pages.iter().position(|page| page.as_ref().is_some_and(|page| page.watch.id == watch))
    }

    /// Those of `page` need not be told of a topic any more.
    fn was_told(&mut self, slot: u32, page: u64) {
        let entry = &mut self.entries[slot as usize];
        entry.changed &= !page;
        if entry.changed == 0 && !entry.may_go {
            entry.may_go = true;
            self.told.push_back(slot);
        }
    }

    /// Whose filters and rights a topic fits.
    fn who_wants(pages: &[Option<Watcher>], topic: &str, rights: &Acl) -> u64 {
        let wants = |page: &Watcher| {
            let Watch { filters, reader, .. } = &page.watch;
            filters.iter().any(|filter| matches(filter, topic))
                && reader.subject().is_none_or(|subject| rights.allows(subject, Action::Read, topic))
        };
        pages.iter().enumerate().fold(0, |all, (place, page)| match page {
            Some(page) if wants(page) => all | (1_u64 << place),
            _ => all,
        })
    }

    /// Has the processor fetch some of the topics that are to be told next, at once instead of one after the other.
    fn fetch(&self, queue: &VecDeque<Change>) {
        let next = queue.iter().take(LOOKED_AHEAD);
        black_box(next.fold(0, |all, change| all ^ self.entries[change.slot as usize].changed));
    }

    fn sample(&mut self, watch: u64, topics_max: usize, rights: &Acl) -> Sample {
        self.look_through(rights);
        let mut sample = Sample::default();
        let Some(place) = self.place(watch) else { return sample };
        let Some(mut page) = self.pages[place].take() else { return sample };
        sample.reserve(topics_max.min(page.queue.len()));
        let mut steps = 0;
        while sample.len() < topics_max && sample.bytes() < SAMPLE_BYTES_MAX && steps < STEPS_MAX {
            if steps % LOOKED_AHEAD == 0 {
                self.fetch(&page.queue);
            }
            let Some(Change { slot, before, .. }) = page.queue.pop_front() else { break };
            steps += 1;
            self.was_told(slot, 1 << place);
            let entry = &self.entries[slot as usize];
            let count = u64::from(entry.count.wrapping_sub(before));
            // Since it was noted, the rights may have changed.
            let subject = page.watch.reader.subject();
            if subject.is_some_and(|subject| !rights.allows(subject, Action::Read, entry.name())) {
                page.skipped += count;
                continue;
            }
            page.skipped += count - 1;
            sample.push(&entry.shown(page.watch.payload_max, count));
        }
        (sample.seen, sample.skipped) = (std::mem::take(&mut page.seen), std::mem::take(&mut page.skipped));
        (sample.waiting, sample.waiting_since) =
            (page.queue.len(), page.queue.front().map(|change| change.at));
        self.pages[place] = Some(page);
        sample
    }
}
