//! What a shard notes for pages that watch: of each topic the last message.
//!
//! A publication is only jotted down when it comes, behind the one before it. Thousands of topics are not in the
//! processor's cache between two readings of sockets, so looking them up one by one, each at its time, costs several
//! times what looking up many in a row does; that is done when somebody asks, or enough has come together.

use std::hash::BuildHasher as _;

use cork_access::Acl;
use cork_packet::QoS;
use cork_store::WallTime;

use super::{Change, Watchers};
use crate::{
    deliver::Publication,
    router::bits,
    sample::{Sample, Sampled},
};

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
/// What a value takes may be so many times what it needs before memory is given back.
const SLACK: usize = 4;

/// A topic.
pub(super) struct Entry {
    /// Topic, properties, and the beginning of the payload: side by side, as they are looked at together.
    text: Vec<u8>,
    topic: usize,
    properties: usize,
    size: usize,
    qos: QoS,
    at: WallTime,
    /// Messages, as long as it is noted.
    pub(super) count: u64,
    /// Whose filters and rights it fits; as of `epoch`.
    wanted: u64,
    epoch: u64,
    /// Who has not been told of the last message.
    pub(super) changed: u64,
    /// It stands in the queue of those that may go.
    pub(super) may_go: bool,
    hash: u64,
}

impl Watchers {
    /// Writes a publication down as it comes.
    pub(super) fn jot(&mut self, publication: &Publication<'_>, at: WallTime, rights: &Acl) {
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
    pub(super) fn look_through(&mut self, rights: &Acl) {
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
            let Some(page) = &mut self.pages[usize::from(page)] else { continue };
            page.seen += 1;
        }
        for page in bits(newly) {
            let Some(page) = &mut self.pages[usize::from(page)] else { continue };
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
            let Some(page) = &mut self.pages[usize::from(page)] else { continue };
            page.seen += 1;
            page.skipped += 1;
        }
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

    pub(super) fn name(&self) -> &str {
        str::from_utf8(self.topic()).unwrap_or_default() // a topic's bytes are written here nowhere but as text
    }

    pub(super) fn shown(&self, payload_max: usize, count: u64) -> Sampled<'_> {
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
