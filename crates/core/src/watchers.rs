//! Pages that watch what is published, without being subscribers: a shard notes of each topic the last message, once for
//! all pages, and a page collects now and then what has changed.
//!
//! Whoever watches so is told less than a subscriber: not each message, but the last one of each topic and how many there
//! were. That costs a copy of a small value and a look-up for each publication, instead of a packet for each page, and
//! nothing but a look at an empty field where no page watches. A publication is noted on the shard it comes to and
//! nowhere else. What a page may see is decided for each topic when it is noted first, and again when the rights change;
//! what was noted before and may not be seen any more is left out when the sample is taken.
//!
//! A publication is only jotted down when it comes, behind the one before it. Thousands of topics are not in the
//! processor's cache between two readings of sockets, so looking them up one by one, each at its time, costs several
//! times what looking up many in a row does; that is done when somebody asks, or enough has come together.

use std::{collections::VecDeque, hash::BuildHasher};

use cork_access::{Acl, Action};
use cork_packet::{QoS, matches};
use cork_store::WallTime;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::{
    deliver::Publication,
    query::Reader,
    sample::{Sample, Sampled},
    shard::Shard,
};

/// Pages that watch at once, at most: bits of a mask.
const WATCHERS_MAX: usize = 64;
/// Topics that are noted, at most. Of further ones messages are only counted, until others have been collected.
const TOPICS_MAX: usize = 50_000;
/// Bytes of topics and values that are noted, at most. Payloads are cut so that they fit.
const BYTES_MAX: usize = 16 << 20;
/// So many are found before they are noted.
const LOOKED_AHEAD: usize = 64;
/// Publications that are jotted down before they are looked through, at most.
const JOTTED_MAX: usize = 4096;
/// Bytes that are jotted down before they are looked through, at most (one message more).
const JOTTED_BYTES_MAX: usize = 256 << 10;
/// Larger properties are left out.
const PROPERTIES_MAX: usize = 1024;
/// Bytes in one sample, at most (one message more).
const SAMPLE_BYTES_MAX: usize = 4 << 20;
/// Topics that are looked at for one sample, at most.
const STEPS_MAX: usize = 8192;
/// What a value takes may be so many times what it needs before memory is given back.
const SLACK: usize = 4;

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
    before: u64,
}

/// A topic.
struct Entry {
    /// Topic, properties, and the beginning of the payload: side by side, as they are looked at together.
    text: Vec<u8>,
    topic: usize,
    properties: usize,
    size: usize,
    qos: QoS,
    at: WallTime,
    /// Messages, as long as it is noted.
    count: u64,
    /// Whose filters and rights it fits; as of `epoch`.
    wanted: u64,
    epoch: u64,
    /// Who has not been told of the last message.
    changed: u64,
    /// It stands in the queue of those that may go.
    may_go: bool,
    hash: u64,
}

/// All pages of a shard.
pub(crate) struct Watchers {
    pages: Vec<Option<Watcher>>,
    /// What came since all was looked through.
    jotted: Sample,
    slots: HashTable<u32>,
    entries: Vec<Entry>,
    /// A topic came or went, so that what was found before may be elsewhere.
    moved: bool,
    free: Vec<u32>,
    /// Topics of which everybody was told, the oldest first; some of them have changed since.
    told: VecDeque<u32>,
    bytes: usize,
    /// The most that a page wants.
    payload_max: usize,
    /// Grows with each change of pages or rights.
    epoch: u64,
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

    /// Notes a publication. Only asked where pages watch.
    #[inline(never)]
    pub(crate) fn note(&mut self, publication: &Publication<'_>) {
        let wall = self.board.wall();
        if let Some(watchers) = &mut self.watchers
            && !publication.topic.starts_with('$')
        {
            watchers.jot(publication, wall, &self.board.rights);
        }
    }
}

fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        mask &= mask.checked_sub(1)?;
        Some(bit as usize)
    })
}

impl Watchers {
    fn new(seed: u64) -> Self {
        Self {
            pages: Vec::new(),
            jotted: Sample::default(),
            slots: HashTable::new(),
            entries: Vec::new(),
            moved: false,
            free: Vec::new(),
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

    /// Writes a publication down as it comes.
    fn jot(&mut self, publication: &Publication<'_>, at: WallTime, rights: &Acl) {
        let Publication { topic, properties, payload, qos, .. } = *publication;
        let properties = if properties.len() <= PROPERTIES_MAX { properties } else { &[] };
        let (size, payload) = (payload.len(), &payload[..payload.len().min(self.payload_max)]);
        self.jotted.push(&Sampled { topic, properties, payload, size, qos, at, count: 1 });
        if self.jotted.len() >= JOTTED_MAX || self.jotted.bytes() >= JOTTED_BYTES_MAX {
            self.look_through(rights);
        }
    }

    /// Notes what was jotted down.
    #[inline(never)]
    fn look_through(&mut self, rights: &Acl) {
        let mut jotted = std::mem::take(&mut self.jotted);
        self.note_all(&jotted, rights);
        jotted.clear(2 * JOTTED_BYTES_MAX);
        self.jotted = jotted;
    }

    fn note_all(&mut self, jotted: &Sample, rights: &Acl) {
        let (mut ahead, mut found) = (jotted.iter(), [(0, None); LOOKED_AHEAD]);
        for (number, one) in jotted.iter().enumerate() {
            let number = number % LOOKED_AHEAD;
            if number == 0 {
                // Nothing but finding, so that the processor finds some at a time.
                for (place, one) in found.iter_mut().zip(&mut ahead) {
                    let hash = self.hasher.hash_one(one.topic);
                    *place = (hash, self.find(one.topic, hash));
                }
                self.moved = false;
            }
            let (hash, slot) = found[number];
            let slot = if self.moved { self.find(one.topic, hash) } else { slot };
            match slot.or_else(|| self.admit(one.topic, hash)) {
                Some(slot) => self.note(slot, &one, rights),
                None => self.leave_out(one.topic, rights),
            }
        }
    }

    /// Where a topic is noted.
    #[inline]
    fn find(&self, topic: &str, hash: u64) -> Option<u32> {
        let found = self.slots.find(hash, |slot| self.entries[*slot as usize].topic() == topic.as_bytes());
        found.copied()
    }

    fn note(&mut self, slot: u32, one: &Sampled<'_>, rights: &Acl) {
        let entry = &mut self.entries[slot as usize];
        if entry.epoch != self.epoch {
            (entry.wanted, entry.epoch) = (Self::who_wants(&self.pages, one.topic, rights), self.epoch);
        }
        let (wanted, newly) = (entry.wanted, entry.wanted & !entry.changed);
        if wanted == 0 {
            return;
        }
        let change = Change { slot, at: one.at, before: entry.count };
        entry.changed |= newly;
        entry.count += 1;
        (entry.at, entry.qos, entry.size) = (one.at, one.qos, one.size);
        self.keep(slot, one);
        for page in bits(wanted) {
            let Some(page) = &mut self.pages[page] else { continue };
            page.seen += 1;
        }
        for page in bits(newly) {
            let Some(page) = &mut self.pages[page] else { continue };
            page.queue.push_back(change);
        }
    }

    /// Keeps what a message says instead of what the one before it said.
    #[inline]
    fn keep(&mut self, slot: u32, one: &Sampled<'_>) {
        let (properties, mut payload) = (one.properties, one.payload);
        let (needed, had) = {
            let entry = &self.entries[slot as usize];
            (entry.topic + properties.len() + payload.len(), entry.text.capacity())
        };
        let fits = needed <= had && had <= SLACK * (needed + 16);
        if !fits {
            self.make_room(needed.saturating_sub(had));
            let room = had + BYTES_MAX.saturating_sub(self.bytes);
            let others = needed - payload.len();
            payload = &payload[..payload.len().min(room.saturating_sub(others))];
        }
        let entry = &mut self.entries[slot as usize];
        entry.text.truncate(entry.topic);
        if !fits {
            entry.text.shrink_to(needed);
            entry.text.reserve_exact(properties.len() + payload.len());
            self.bytes = self.bytes - had + entry.text.capacity();
        }
        entry.text.extend_from_slice(properties);
        entry.text.extend_from_slice(payload);
        entry.properties = properties.len();
    }

    /// A place for a topic that is not noted; none if all places are of topics that somebody still has to be told of.
    #[cold]
    fn admit(&mut self, topic: &str, hash: u64) -> Option<u32> {
        self.moved = true;
        self.make_room(topic.len());
        if self.bytes + topic.len() > BYTES_MAX {
            return None;
        }
        if self.free.is_empty() && self.entries.len() == TOPICS_MAX {
            self.let_go();
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.entries.len() < TOPICS_MAX => {
                self.entries.push(Entry::default());
                u32::try_from(self.entries.len() - 1).ok()?
            }
            None => return None,
        };
        // Whoever wants it is found out with the first message.
        let text = topic.as_bytes().to_vec();
        let entry = Entry { text, topic: topic.len(), hash, epoch: u64::MAX, ..Entry::default() };
        self.bytes += entry.text.capacity();
        self.entries[slot as usize] = entry;
        self.was_told(slot, 0);
        let entries = &self.entries;
        self.slots.insert_unique(hash, slot, |slot| entries[*slot as usize].hash);
        Some(slot)
    }

    /// Forgets topics of which everybody was told until so many bytes fit, or there are none.
    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > BYTES_MAX && self.let_go() {}
    }

    /// Forgets a topic of which everybody was told.
    fn let_go(&mut self) -> bool {
        while let Some(slot) = self.told.pop_front() {
            let entry = &mut self.entries[slot as usize];
            entry.may_go = false;
            if entry.changed != 0 {
                continue;
            }
            if let Ok(place) = self.slots.find_entry(entry.hash, |other| *other == slot) {
                place.remove();
            }
            self.moved = true;
            self.bytes -= entry.text.capacity();
            *entry = Entry::default();
            self.free.push(slot);
            return true;
        }
        false
    }

    /// Counts a message that there is no place for.
    #[cold]
    fn leave_out(&mut self, topic: &str, rights: &Acl) {
        for page in bits(Self::who_wants(&self.pages, topic, rights)) {
            let Some(page) = &mut self.pages[page] else { continue };
            page.seen += 1;
            page.skipped += 1;
        }
    }

    fn sample(&mut self, watch: u64, topics_max: usize, rights: &Acl) -> Sample {
        self.look_through(rights);
        let mut sample = Sample::default();
        let Some(place) = self.place(watch) else { return sample };
        let Some(mut page) = self.pages[place].take() else { return sample };
        sample.reserve(topics_max.min(page.queue.len()));
        let mut steps = 0;
        while sample.len() < topics_max && sample.bytes() < SAMPLE_BYTES_MAX && steps < STEPS_MAX {
            let Some(Change { slot, before, .. }) = page.queue.pop_front() else { break };
            steps += 1;
            self.was_told(slot, 1 << place);
            let entry = &self.entries[slot as usize];
            let count = entry.count - before;
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

impl Default for Entry {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            topic: 0,
            properties: 0,
            size: 0,
            qos: QoS::AtMostOnce,
            at: WallTime(0),
            count: 0,
            wanted: 0,
            epoch: 0,
            changed: 0,
            may_go: false,
            hash: 0,
        }
    }
}

impl Entry {
    fn topic(&self) -> &[u8] {
        &self.text[..self.topic]
    }

    fn name(&self) -> &str {
        str::from_utf8(self.topic()).unwrap_or_default() // a topic's bytes are written here nowhere but as text
    }

    fn shown(&self, payload_max: usize, count: u64) -> Sampled<'_> {
        let (properties, payload) = self.text[self.topic..].split_at(self.properties);
        Sampled {
            topic: self.name(),
            properties,
            payload: &payload[..payload.len().min(payload_max)],
            size: self.size,
            qos: self.qos,
            at: self.at,
            count,
        }
    }
}
