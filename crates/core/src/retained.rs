//! Retained messages, with or without their content in memory.
//!
//! When memory is short the content of a retained message is only in the store; what stays here says that it is there.
//! A new subscription's cursor then asks the store for what it meets, some messages at a time, and waits for them.

use std::sync::Arc;

use cork_packet::QoS;
use cork_store::{Fetch, Fetched, Message, MessageId, OWES_RETAINED, Record, RetainedStub, WallTime};
use cork_topic::Retained as HasTopic;

use crate::{
    board::{Board, Timer},
    conn::SessionIx,
    cursors::RetainedCursor,
    event::Event,
    io::Output,
    session::SubValue,
    shard::Shard,
};

/// Messages asked for in one go.
const FETCH_MESSAGES_MAX: usize = 256;
/// No more once so many bytes are reached.
const FETCH_BYTES_MAX: u64 = 64 << 10;
/// The first pause before the store is asked again for what it does not have yet.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(5);

/// A retained message in the set.
#[derive(Clone, Debug)]
pub(crate) enum Retained {
    Here(Arc<Message>),
    /// Only the store has it.
    Away(Away),
}

/// All that is known of a message that is not here, in one piece of memory: arrival, shard, epoch, cost, whether it
/// expires, then when if it does, topic.
#[derive(Clone, Debug)]
pub(crate) struct Away(Box<[u8]>);

const HEAD: usize = 8 + 2 + 4 + 4 + 1;
const EXPIRY: usize = 8;

impl Away {
    fn new(topic: &str, id: MessageId, expires: Option<WallTime>, cost: u32) -> Self {
        let expiry = if expires.is_some() { EXPIRY } else { 0 };
        let mut bytes = Vec::with_capacity(HEAD + expiry + topic.len());
        bytes.extend_from_slice(&id.arrived.0.to_le_bytes());
        bytes.extend_from_slice(&id.shard.to_le_bytes());
        bytes.extend_from_slice(&id.epoch.to_le_bytes());
        bytes.extend_from_slice(&cost.to_le_bytes());
        bytes.push(expires.is_some().into());
        bytes.extend(expires.map(|at| at.0.to_le_bytes()).into_iter().flatten());
        bytes.extend_from_slice(topic.as_bytes());
        Self(bytes.into_boxed_slice())
    }

    fn of(message: &Message) -> Self {
        let cost = u32::try_from(message.cost_bytes()).unwrap_or(u32::MAX);
        Self::new(message.topic(), message.id(), message.expires(), cost)
    }

    /// `N` bytes of the head, or of what follows it; all of them are always there.
    fn head<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[at..at + N]);
        bytes
    }

    fn id(&self) -> MessageId {
        MessageId {
            arrived: WallTime(u64::from_le_bytes(self.head(0))),
            shard: u16::from_le_bytes(self.head(8)),
            epoch: u32::from_le_bytes(self.head(10)),
        }
    }

    fn expires(&self) -> Option<WallTime> {
        self.does_expire().then(|| WallTime(u64::from_le_bytes(self.head(HEAD))))
    }

    fn cost_bytes(&self) -> u64 {
        u32::from_le_bytes(self.head(14)).into()
    }

    fn does_expire(&self) -> bool {
        self.0[HEAD - 1] != 0
    }

    fn topic(&self) -> &str {
        // It was made of text.
        std::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }

    fn topic_bytes(&self) -> &[u8] {
        let expiry = if self.does_expire() { EXPIRY } else { 0 };
        &self.0[HEAD + expiry..]
    }
}

impl HasTopic for Retained {
    fn topic(&self) -> &str {
        match self {
            Self::Here(message) => message.topic(),
            Self::Away(away) => away.topic(),
        }
    }

    fn topic_bytes(&self) -> &[u8] {
        match self {
            Self::Here(message) => message.topic_bytes(),
            Self::Away(away) => away.topic_bytes(),
        }
    }
}

impl From<RetainedStub> for Retained {
    fn from(stub: RetainedStub) -> Self {
        Self::Away(Away::new(&stub.topic, stub.id, stub.expires, stub.cost_bytes))
    }
}

impl Retained {
    /// Which message it is.
    pub(crate) fn id(&self) -> MessageId {
        match self {
            Self::Here(message) => message.id(),
            Self::Away(away) => away.id(),
        }
    }

    /// When it expires.
    pub(crate) fn expires(&self) -> Option<WallTime> {
        match self {
            Self::Here(message) => message.expires(),
            Self::Away(away) => away.expires(),
        }
    }

    pub(crate) fn is_expired(&self, now: WallTime) -> bool {
        self.expires().is_some_and(|at| at <= now)
    }

    /// Bytes it takes beyond its place in the set.
    pub(crate) fn bytes_here(&self) -> u64 {
        match self {
            Self::Here(message) => message.cost_bytes() as u64,
            Self::Away(_) => 0,
        }
    }
}

impl Board {
    /// Bytes that retained messages may take in memory now.
    fn retained_bytes_max(&self) -> u64 {
        if self.pressure.is_lean() { 0 } else { self.config.limits.retained_bytes_max }
    }

    /// Keeps the retained message of a topic; gives back the one it takes the place of. `kept`: the store has it, or
    /// soon will.
    pub(crate) fn insert_retained(&mut self, message: &Arc<Message>, kept: bool) -> Option<Retained> {
        let kept = kept && self.config.loads;
        if !kept && self.config.loads {
            self.unkept.insert(message.topic().into());
        } else if !self.unkept.is_empty() {
            self.unkept.remove(message.topic());
        }
        let most = self.retained_bytes_max();
        let before = if most == u64::MAX {
            0
        } else {
            self.retained.get(message.topic()).map_or(0, Retained::bytes_here)
        };
        let fits = self.retained_bytes - before + message.cost_bytes() as u64 <= most;
        // What the broker says of itself it must be able to read.
        let entry = if fits || !kept || message.topic().starts_with('$') {
            Retained::Here(Arc::clone(message))
        } else {
            Retained::Away(Away::of(message))
        };
        self.put_retained(entry)
    }

    pub(crate) fn put_retained(&mut self, entry: Retained) -> Option<Retained> {
        self.retained_bytes += entry.bytes_here();
        let replaced = self.retained.insert(entry);
        self.retained_bytes -= replaced.as_ref().map_or(0, Retained::bytes_here);
        replaced
    }

    /// Takes the retained message of a topic away.
    pub(crate) fn remove_retained(&mut self, topic: &str) -> Option<Retained> {
        self.unkept.remove(topic);
        self.unwritten.remove(topic);
        let removed = self.retained.remove(topic)?;
        self.retained_bytes -= removed.bytes_here();
        Some(removed)
    }

    /// Lets the content of retained messages go that the store has, so many topics from the one after `after` on. Where
    /// to go on.
    pub(crate) fn let_retained_go(&mut self, after: &str, topics: usize) -> Option<Box<str>> {
        let (mut seen, mut found) = (Vec::new(), 0);
        let from = Some(after).filter(|after| !after.is_empty());
        self.retained.for_each_match("#", from, |entry| {
            found += 1;
            seen.push(entry.clone());
            if found < topics {
                std::ops::ControlFlow::Continue(())
            } else {
                std::ops::ControlFlow::Break(())
            }
        });
        let last = (found == topics).then(|| seen.last().map(|entry| entry.topic().into())).flatten();
        for entry in seen {
            if let Retained::Here(message) = entry
                && !self.unkept.contains(message.topic())
            {
                self.put_retained(Retained::Away(Away::of(&message)));
            }
        }
        last
    }

    /// Asks the store for the next messages of a Session's first cursor, beginning with one that is not here.
    pub(crate) fn fetch_retained(&mut self, six: SessionIx) {
        let token = self.next_fetch;
        let Some(outgoing) = self.sessions.get(six as usize).and_then(|it| it.outgoing.as_deref()) else {
            return;
        };
        let cursors = &outgoing.cursors;
        let Some(cursor) = cursors.first().filter(|_| cursors.fetch.is_none() && !cursors.patient) else {
            return;
        };
        let (mut topics, mut bytes, mut steps) = (Vec::new(), 0, 0);
        self.retained.for_each_match(&cursor.filter, cursor.after.as_deref(), |entry| {
            if let Retained::Away(away) = entry {
                topics.push(entry.topic().into());
                bytes += away.cost_bytes();
            }
            steps += 1;
            if topics.len() < FETCH_MESSAGES_MAX && bytes < FETCH_BYTES_MAX && steps < 4 * FETCH_MESSAGES_MAX
            {
                std::ops::ControlFlow::Continue(())
            } else {
                std::ops::ControlFlow::Break(())
            }
        });
        let Some(first) = topics.first().cloned() else { return };
        self.fetching.insert(token, (six, first));
        self.next_fetch += 1;
        if let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() {
            outgoing.cursors.fetch = Some(token);
        }
        self.fetches.push(Fetch { token, topics });
    }

    /// Tells the store whether a subscription is owed retained messages. What was sent to it is in the store, or over, by
    /// then: a crash before the store knows that nothing is owed sends some of them again.
    pub(crate) fn record_cursor(&mut self, six: SessionIx, cursor: &RetainedCursor, owed: bool) {
        let session = &self.sessions[six as usize];
        if session.is_persistent() {
            let filter = session.filtered.get(&*cursor.name).map_or(&*cursor.name, |own| &*own.record).into();
            let SubValue { options, sub_id } = cursor.value;
            let options = if owed { options | OWES_RETAINED } else { options };
            let record =
                Record::Subscribed { session: session.key, filter, options, subscription_id: sub_id };
            self.record(record);
        }
    }

    /// Emits what is asked of the store, behind the batch that was just closed.
    pub(crate) fn close_fetches(&mut self) {
        self.outputs.extend(self.fetches.drain(..).map(Output::Fetch));
    }
}

impl Shard {
    /// The store gives retained messages back.
    pub(crate) fn on_fetched(&mut self, fetched: Fetched) {
        let Some((six, first)) = self.board.fetching.remove(&fetched.token) else { return };
        // It may be the disk's fault, and read well the next time: whoever wanted it now goes without.
        for (topic, error) in &fetched.damaged {
            let (topic, error) = (topic.clone(), error.as_str().into());
            self.board.event(Event::RetainedDamaged { topic, error });
        }
        let session = self.board.sessions.get_mut(six as usize);
        let Some(session) = session.filter(|session| {
            session.outgoing.as_ref().is_some_and(|outgoing| outgoing.cursors.fetch == Some(fetched.token))
        }) else {
            return; // it ended meanwhile, or its client left
        };
        let key = session.key;
        let came = fetched.messages.first().and_then(Option::as_ref).map(|message| message.id());
        // Otherwise what was fetched is of before, or after, what has come here by mail so far.
        let damaged = fetched.damaged.iter().any(|(topic, _)| *topic == first);
        let useful = match self.board.retained.get(&first) {
            Some(entry @ Retained::Away(_)) if !damaged => Some(entry.id()) == came,
            _ => true, // it cannot be read, or is not wanted any more, and the next one gets an answer of its own
        };
        let cursors = &mut session.outgoing().cursors;
        cursors.fetch = None;
        cursors.fetched = fetched.messages.into_iter().flatten().collect();
        cursors.damaged = fetched.damaged.into_iter().map(|(topic, _)| topic).collect();
        if useful {
            cursors.tries = 0;
            return self.board.pump(six);
        }
        cursors.patient = true;
        let pause = PATIENCE * (1 << cursors.tries.min(7));
        cursors.tries += 1;
        let when = self.board.now + pause;
        self.board.at(when, Timer::Fetch(key, six));
    }

    pub(crate) fn on_fetch_timer(&mut self, key: cork_store::SessionKey, six: SessionIx) {
        let session = self.board.sessions.get_mut(six as usize).filter(|session| session.key == key);
        if let Some(outgoing) = session.and_then(|session| session.outgoing.as_deref_mut()) {
            outgoing.cursors.patient = false;
            self.board.pump(six);
        }
    }
}

/// Whether the store keeps a retained message of this QoS.
pub(crate) fn is_kept(board: &Board, qos: QoS) -> bool {
    qos != QoS::AtMostOnce || !board.refuses_new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_away_is_known_by_topic_identity_and_expiry() {
        let id = MessageId { arrived: WallTime(1_795_108_972_295_166), shard: 3, epoch: 77 };
        for expires in [None, Some(WallTime(5))] {
            let stub = RetainedStub { topic: "größe/1".into(), id, expires, cost_bytes: 1234 };
            let entry = Retained::from(stub);
            assert_eq!((entry.topic(), entry.id(), entry.expires()), ("größe/1", id, expires));
            assert_eq!((entry.bytes_here(), entry.is_expired(WallTime(5))), (0, expires.is_some()));
        }
    }

    #[test]
    fn an_entry_is_two_words() {
        assert_eq!(size_of::<Retained>(), 2 * size_of::<usize>());
    }
}
