//! What a shard notes for pages that watch: of each topic the last message.
//!
//! A publication is only jotted down when it comes, behind the one before it. Thousands of topics are not in the
//! processor's cache between two readings of sockets, so looking them up one by one, each at its time, costs several
//! times what looking up many in a row does; that is done when somebody asks, or enough has come together. Where it is
//! known which topic comes next, none of that is needed, and the message is noted at once.

use std::{
    hash::{BuildHasher as _, Hasher as _},
    hint::black_box,
};

use cork_access::Acl;
use cork_store::WallTime;

use super::{
    Change, Watchers,
    said::{Entry, SHORT_BYTES, Said, Texts},
};
use crate::{conn::SessionIx, deliver::Publication, router::bits};

/// Topics that are noted, at most. Of further ones messages are only counted, until others have been collected.
const TOPICS_MAX: usize = 50_000;
/// Bytes of topics and values that are noted, at most, beyond those that are short. Payloads are cut so that they fit.
const BYTES_MAX: usize = 16 << 20;
/// Publications that are jotted down before they are looked through: enough for the processor to fetch what is known of
/// many topics at once, and so few that they stay in its nearest cache.
const JOTTED_MAX: usize = 64;
/// Bytes of long ones that are jotted down before they are looked through, at most (one message more).
const JOTTED_BYTES_MAX: usize = 64 << 10;
/// Larger properties are left out.
const PROPERTIES_MAX: usize = 1024;
/// What a value takes may be so many times what it needs before memory is given back.
const SLACK: usize = 4;

/// Publications as they came.
pub(super) struct Jotted {
    /// Some of them are old: there are `number`.
    said: Box<[Said]>,
    /// Whose they are.
    from: Box<[SessionIx]>,
    number: usize,
    /// The texts of those that are not short, one behind the other.
    long: Vec<u8>,
}

impl Default for Jotted {
    fn default() -> Self {
        let (said, from) = (vec![Said::NOTHING; JOTTED_MAX].into(), vec![0; JOTTED_MAX].into());
        Self { said, from, number: 0, long: Vec::new() }
    }
}

impl Jotted {
    /// Whether a message of a topic may be among them.
    #[inline]
    fn has(&self, hash: u64) -> bool {
        self.said[..self.number].iter().any(|one| one.hash == hash)
    }
}

impl Watchers {
    /// Notes a publication at once if its topic is the one that came next the time before. False: it is to be jotted down.
    #[inline]
    pub(super) fn follow(&mut self, publication: &Publication<'_>, at: WallTime, from: SessionIx) -> bool {
        let payload = publication.payload;
        let Some(step) = self.trail.step(from) else { return false };
        let Some(entry) = self.entries.get_mut(step.next as usize) else { return false };
        let shown = &payload[..payload.len().min(self.payload_max)];
        let is_plain = entry.tells_nobody(self.epoch, self.seen_by)
            && self.jotted.number == 0
            && publication.properties.is_empty();
        if !is_plain || !entry.overwrite(publication, shown, at) {
            return self.follow_slowly(publication, at, from);
        }
        self.seen += 1;
        step.go_on(entry.next);
        let next = step.next as usize;
        self.trail.was_right();
        self.fetch_entry(next);
        true
    }

    /// Has the processor fetch what is noted of a topic while the message before goes its way.
    #[inline]
    fn fetch_entry(&self, slot: usize) {
        black_box(self.entries.get(slot).map_or(0, |entry| entry.changed ^ entry.said.hash));
    }

    /// The same in all other cases.
    #[inline(never)]
    fn follow_slowly(&mut self, publication: &Publication<'_>, at: WallTime, from: SessionIx) -> bool {
        let Some(step) = self.trail.step(from) else { return false };
        let (slot, epoch) = (step.next, self.epoch);
        let Some(entry) = self.entries.get(slot as usize) else { return false };
        let (is_it, newly) = (entry.topic() == publication.topic.as_bytes(), entry.wanted & !entry.changed);
        // What was jotted down of the topic comes first, and what changed before it stands before it in the queues.
        let has_turn = self.jotted.number == 0 || (newly == 0 && !self.jotted.has(entry.said.hash));
        if !is_it || !has_turn || entry.epoch != epoch {
            self.trail.leave(from, !is_it);
            return false;
        }
        let next = entry.next;
        let (mut said, texts) = (Said::NOTHING, texts(publication, self.payload_max));
        said.jot(entry.said.hash, at, publication.qos, publication.payload.len(), &texts);
        let wanted = self.note_at(slot, &said, texts);
        self.has_seen(wanted);
        if let Some(step) = self.trail.step(from) {
            step.go_on(next);
        }
        self.trail.was_right();
        self.fetch_entry(next as usize);
        true
    }

    /// Writes a publication down as it comes.
    #[inline(never)]
    pub(super) fn jot(&mut self, publication: &Publication<'_>, at: WallTime, from: SessionIx, rights: &Acl) {
        let texts = texts(publication, self.payload_max);
        let mut hasher = self.hasher.build_hasher();
        hasher.write(texts.topic);
        let Jotted { said, from: whose, number, long } = &mut self.jotted;
        let (Some(place), Some(whose)) = (said.get_mut(*number), whose.get_mut(*number)) else {
            return; // there is one: they were looked through in time
        };
        *number += 1;
        *whose = from;
        if !place.jot(hasher.finish(), at, publication.qos, publication.payload.len(), &texts) {
            long.extend_from_slice(texts.topic);
            long.extend_from_slice(texts.properties);
            long.extend_from_slice(texts.payload);
        }
        // An exception is looked up at once: what its Session publishes next can be followed again.
        if *number == JOTTED_MAX || long.len() >= JOTTED_BYTES_MAX || self.trail.is_certain() {
            self.look_through(rights);
        }
    }

    /// Notes what was jotted down.
    #[inline(never)]
    pub(super) fn look_through(&mut self, rights: &Acl) {
        let nothing = Jotted { said: Box::default(), from: Box::default(), number: 0, long: Vec::new() };
        let Jotted { said, from, number, mut long } = std::mem::replace(&mut self.jotted, nothing);
        self.note_all(&said[..number], &from[..number], &long, rights);
        long.clear();
        long.shrink_to(2 * JOTTED_BYTES_MAX);
        self.jotted = Jotted { said, from, number: 0, long };
    }

    fn note_all(&mut self, jotted: &[Said], from: &[SessionIx], mut long: &[u8], rights: &Acl) {
        let mut found = [None; JOTTED_MAX];
        // Nothing but finding, so that the processor finds some at a time.
        for (place, one) in found.iter_mut().zip(jotted) {
            let (entries, hash) = (&self.entries, one.hash);
            *place = self.slots.find(hash, |slot| entries[*slot as usize].said.hash == hash).copied();
        }
        self.moved = false;
        let learns = self.trail.learns();
        for ((place, one), from) in found.into_iter().zip(jotted).zip(from) {
            let place = place.filter(|_| !self.moved);
            let entry = place.and_then(|slot| self.entries.get_mut(slot as usize));
            let slot = if entry.is_some_and(|entry| entry.goes_on(one, self.epoch, self.seen_by)) {
                self.seen += 1;
                place
            } else {
                self.note(place, one, &mut long, rights)
            };
            if learns && let Some(slot) = slot {
                self.trail.learn(*from, slot, &mut self.entries);
            }
        }
        self.count_seen();
    }

    /// These pages have seen one more message.
    #[inline]
    fn has_seen(&mut self, by: u64) {
        if by != self.seen_by {
            self.count_seen();
            self.seen_by = by;
        }
        self.seen += 1;
    }

    /// Counts, for the pages, messages that they have seen.
    pub(super) fn count_seen(&mut self) {
        let messages = std::mem::take(&mut self.seen);
        for page in bits(self.seen_by) {
            if let Some(page) = &mut self.pages[usize::from(page)] {
                page.seen += messages;
            }
        }
    }

    /// Where a topic is noted.
    #[cold]
    fn find(&self, topic: &[u8], hash: u64) -> Option<u32> {
        self.slots.find(hash, |slot| self.entries[*slot as usize].topic() == topic).copied()
    }

    /// Notes a message; returns where, if there is a place. `place`: where its topic may be noted. `long`: the texts of
    /// messages that are not short, this one's first if it is one.
    #[inline(never)]
    fn note(&mut self, place: Option<u32>, one: &Said, long: &mut &[u8], rights: &Acl) -> Option<u32> {
        let (own, rest) = if one.is_short() { (&[][..], *long) } else { long.split_at(one.len()) };
        *long = rest;
        let topic = one.topic(own);
        let slot = place.filter(|slot| self.entries[*slot as usize].topic() == topic);
        let slot = slot.or_else(|| self.find(topic, one.hash));
        let Some(slot) = slot.or_else(|| self.admit(one, topic)) else {
            self.leave_out(name(topic), rights);
            return None;
        };
        let entry = &mut self.entries[slot as usize];
        if entry.epoch != self.epoch {
            (entry.wanted, entry.epoch) = (Self::who_wants(&self.pages, name(topic), rights), self.epoch);
        }
        let wanted = self.note_at(slot, one, one.texts(own));
        self.has_seen(wanted);
        Some(slot)
    }

    /// Notes a message where its topic is; returns who wants to see it.
    fn note_at(&mut self, slot: u32, one: &Said, texts: Texts<'_>) -> u64 {
        let entry = &mut self.entries[slot as usize];
        let (wanted, newly) = (entry.wanted, entry.wanted & !entry.changed);
        if wanted == 0 {
            return 0;
        }
        let change = Change { slot, at: one.at, before: entry.count };
        entry.changed |= newly;
        entry.count = entry.count.wrapping_add(1);
        self.keep(slot, one, texts);
        for page in bits(newly) {
            let Some(page) = &mut self.pages[usize::from(page)] else { continue };
            page.queue.push_back(change);
        }
        wanted
    }

    /// Keeps what a message says instead of what the one before it said.
    fn keep(&mut self, slot: u32, one: &Said, mut texts: Texts<'_>) {
        let (needed, had) = (long_bytes(texts.len()), self.entries[slot as usize].long_bytes());
        let fits = needed <= had && had <= SLACK * (needed + 16);
        if !fits {
            self.make_room(needed.saturating_sub(had));
            texts.cut(SHORT_BYTES.max(had + BYTES_MAX.saturating_sub(self.bytes)));
            let needed = long_bytes(texts.len());
            self.bytes = self.bytes - had + needed;
            self.entries[slot as usize].resize(needed);
        }
        self.entries[slot as usize].keep(one, &texts);
    }

    /// A place for a topic that is not noted; none if all places are of topics that somebody still has to be told of.
    #[cold]
    fn admit(&mut self, one: &Said, topic: &[u8]) -> Option<u32> {
        self.moved = true;
        let bytes = long_bytes(topic.len());
        self.make_room(bytes);
        if self.bytes + bytes > BYTES_MAX {
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
        let mut entry = Entry::default();
        entry.resize(bytes);
        entry.keep(one, &Texts { topic, properties: &[], payload: &[] });
        self.bytes += bytes;
        self.entries[slot as usize] = entry;
        self.was_told(slot, 0);
        let entries = &self.entries;
        self.slots.insert_unique(one.hash, slot, |slot| entries[*slot as usize].said.hash);
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
            if let Ok(place) = self.slots.find_entry(entry.said.hash, |other| *other == slot) {
                place.remove();
            }
            self.moved = true;
            self.bytes -= entry.long_bytes();
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
            let Some(page) = &mut self.pages[usize::from(page)] else { continue };
            page.seen += 1;
            page.skipped += 1;
        }
    }
}

/// What is noted of a publication for pages that want so many bytes of payload.
#[inline]
fn texts<'a>(publication: &Publication<'a>, payload_max: usize) -> Texts<'a> {
    let Publication { topic, properties, payload, .. } = *publication;
    let properties = if properties.len() <= PROPERTIES_MAX { properties } else { &[] };
    Texts { topic: topic.as_bytes(), properties, payload: &payload[..payload.len().min(payload_max)] }
}

/// Memory of its own that texts of so many bytes need.
const fn long_bytes(texts: usize) -> usize {
    if texts <= SHORT_BYTES { 0 } else { texts }
}

fn name(topic: &[u8]) -> &str {
    str::from_utf8(topic).unwrap_or_default() // it came from a text
}
