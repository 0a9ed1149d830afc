//! What a shard notes for pages that watch: of each topic the last message.
//!
//! A publication is only jotted down when it comes, behind the one before it. Thousands of topics are not in the
//! processor's cache between two readings of sockets, so looking them up one by one, each at its time, costs several
//! times what looking up many in a row does; that is done when somebody asks, or enough has come together.

use std::hash::{BuildHasher as _, Hasher as _};

use cork_access::Acl;
use cork_store::WallTime;

use super::{
    Change, Watchers,
    said::{Entry, SHORT_BYTES, Said, Texts},
};
use crate::{deliver::Publication, router::bits};

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
    number: usize,
    /// The texts of those that are not short, one behind the other.
    long: Vec<u8>,
}

impl Default for Jotted {
    fn default() -> Self {
        Self { said: vec![Said::NOTHING; JOTTED_MAX].into(), number: 0, long: Vec::new() }
    }
}

impl Watchers {
    /// Writes a publication down as it comes.
    #[inline]
    pub(super) fn jot(&mut self, publication: &Publication<'_>, at: WallTime, rights: &Acl) {
        let Publication { topic, properties, payload, qos, .. } = *publication;
        let properties = if properties.len() <= PROPERTIES_MAX { properties } else { &[] };
        let (topic, size) = (topic.as_bytes(), payload.len());
        let texts = Texts { topic, properties, payload: &payload[..size.min(self.payload_max)] };
        let mut hasher = self.hasher.build_hasher();
        hasher.write(topic);
        let Jotted { said, number, long } = &mut self.jotted;
        let Some(place) = said.get_mut(*number) else { return }; // there is one: they were looked through in time
        *number += 1;
        if !place.jot(hasher.finish(), at, qos, size, &texts) {
            long.extend_from_slice(texts.topic);
            long.extend_from_slice(texts.properties);
            long.extend_from_slice(texts.payload);
        }
        if *number == JOTTED_MAX || long.len() >= JOTTED_BYTES_MAX {
            self.look_through(rights);
        }
    }

    /// Notes what was jotted down.
    #[inline(never)]
    pub(super) fn look_through(&mut self, rights: &Acl) {
        let Jotted { said, number, mut long } =
            std::mem::replace(&mut self.jotted, Jotted { said: Box::default(), number: 0, long: Vec::new() });
        self.note_all(&said[..number], &long, rights);
        long.clear();
        long.shrink_to(2 * JOTTED_BYTES_MAX);
        self.jotted = Jotted { said, number: 0, long };
    }

    fn note_all(&mut self, jotted: &[Said], mut long: &[u8], rights: &Acl) {
        let mut found = [None; JOTTED_MAX];
        // Nothing but finding, so that the processor finds some at a time.
        for (place, one) in found.iter_mut().zip(jotted) {
            let (entries, hash) = (&self.entries, one.hash);
            *place = self.slots.find(hash, |slot| entries[*slot as usize].said.hash == hash).copied();
        }
        self.moved = false;
        // Who has seen so many messages that were not counted yet: mostly the same ones.
        let (mut seen_by, mut seen) = (0, 0);
        for (place, one) in found.into_iter().zip(jotted) {
            let place = place.filter(|_| !self.moved);
            let entry = place.and_then(|slot| self.entries.get_mut(slot as usize));
            let wanted = if entry.is_some_and(|entry| entry.goes_on(one, self.epoch, seen_by)) {
                seen_by
            } else {
                self.note(place, one, &mut long, rights)
            };
            if wanted != seen_by {
                self.seen(seen_by, seen);
                (seen_by, seen) = (wanted, 0);
            }
            seen += 1;
        }
        self.seen(seen_by, seen);
    }

    /// Counts messages for these pages.
    fn seen(&mut self, by: u64, messages: u64) {
        for page in bits(by) {
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

    /// Notes a message; returns who has seen it and was not counted. `place`: where its topic may be noted. `long`: the texts
    /// of messages that are not short, this one's first if it is one.
    #[inline(never)]
    fn note(&mut self, place: Option<u32>, one: &Said, long: &mut &[u8], rights: &Acl) -> u64 {
        let (own, rest) = if one.is_short() { (&[][..], *long) } else { long.split_at(one.len()) };
        *long = rest;
        let topic = one.topic(own);
        let slot = place.filter(|slot| self.entries[*slot as usize].topic() == topic);
        let slot = slot.or_else(|| self.find(topic, one.hash));
        let Some(slot) = slot.or_else(|| self.admit(one, topic)) else {
            self.leave_out(name(topic), rights);
            return 0;
        };
        let entry = &mut self.entries[slot as usize];
        if entry.epoch != self.epoch {
            (entry.wanted, entry.epoch) = (Self::who_wants(&self.pages, name(topic), rights), self.epoch);
        }
        let (wanted, newly) = (entry.wanted, entry.wanted & !entry.changed);
        if wanted == 0 {
            return 0;
        }
        let change = Change { slot, at: one.at, before: entry.count };
        entry.changed |= newly;
        entry.count = entry.count.wrapping_add(1);
        self.keep(slot, one, one.texts(own));
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

/// Memory of its own that texts of so many bytes need.
const fn long_bytes(texts: usize) -> usize {
    if texts <= SHORT_BYTES { 0 } else { texts }
}

fn name(topic: &[u8]) -> &str {
    str::from_utf8(topic).unwrap_or_default() // it came from a text
}
