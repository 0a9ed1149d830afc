//! Retained messages, with or without their content in memory.
//!
//! When memory is short the content of a retained message is only in the store; what stays here says that it is there.
//! A new subscription's cursor then asks the store for what it meets, some messages at a time, and waits for them.

mod entry;

use std::sync::Arc;

use cork_packet::QoS;
use cork_store::{Fetch, Fetched, Message, MessageId, Publisher, WallTime};
use cork_topic::Retained as _;

use crate::{
    board::{Board, Timer},
    conn::SessionIx,
    event::Event,
    io::Output,
    shard::Shard,
};

pub(crate) use entry::{Publishers, Retained, Taken};

/// Messages asked for in one go.
const FETCH_MESSAGES_MAX: usize = 256;
/// No more once so many bytes are reached.
const FETCH_BYTES_MAX: u64 = 64 << 10;
/// The first pause before the store is asked again for what it does not have yet.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(5);

/// A message that is no longer retained.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) id: MessageId,
    pub(crate) expires: Option<WallTime>,
    /// `None`: only the store knew.
    pub(crate) publisher: Option<Arc<Publisher>>,
}

impl Board {
    /// Bytes that retained messages may take in memory now.
    fn retained_bytes_max(&self) -> u64 {
        if self.pressure.is_lean() { 0 } else { self.config.limits.retained_bytes_max }
    }

    /// Keeps the retained message of a topic; gives back the one it takes the place of. `kept`: the store has it, or
    /// soon will.
    pub(crate) fn insert_retained(&mut self, message: &Arc<Message>, kept: bool) -> Option<Former> {
        let kept = kept && self.config.loads;
        if !kept && self.config.loads {
            self.unkept.insert(message.topic.clone());
        } else if !self.unkept.is_empty() {
            self.unkept.remove(&message.topic);
        }
        let most = self.retained_bytes_max();
        let before = if most == u64::MAX {
            0
        } else {
            self.retained.get(&message.topic).map_or(0, Retained::bytes_here)
        };
        let entry = self.entry_of(message);
        let fits = self.retained_bytes - before + entry.bytes_here() <= most;
        // What the broker says of itself it must be able to read.
        if fits || !kept || message.topic.starts_with('$') {
            return self.put_retained(entry);
        }
        let away = entry.to_away();
        self.publishers.give_back(&entry);
        self.put_retained(away.unwrap_or(entry))
    }

    /// The entry of a message with its content. Several shards share it; the only one makes it small.
    pub(crate) fn entry_of(&mut self, message: &Arc<Message>) -> Retained {
        if self.config.shards == 1 {
            self.publishers.pack(message)
        } else {
            Retained::Here(Arc::clone(message))
        }
    }

    /// Puts an entry in; what it takes the place of.
    pub(crate) fn put_retained(&mut self, entry: Retained) -> Option<Former> {
        self.retained_bytes += entry.bytes_here();
        let replaced = self.retained.insert(entry)?;
        Some(self.let_go(&replaced))
    }

    /// An entry is no longer in the set.
    fn let_go(&mut self, entry: &Retained) -> Former {
        self.retained_bytes -= entry.bytes_here();
        Former { id: entry.id(), expires: entry.expires(), publisher: self.publishers.give_back(entry) }
    }

    /// Takes the retained message of a topic away.
    pub(crate) fn remove_retained(&mut self, topic: &str) -> Option<Former> {
        self.unkept.remove(topic);
        self.unwritten.remove(topic);
        let removed = self.retained.remove(topic)?;
        Some(self.let_go(&removed))
    }

    /// The retained message of a topic, if its content is here.
    pub(crate) fn retained_message(&self, topic: &str) -> Option<Arc<Message>> {
        Some(self.publishers.take(self.retained.get(topic)?)?.into_message())
    }

    /// Lets the content of retained messages go that the store has, so many topics from the one after `after` on. Where
    /// to go on.
    pub(crate) fn let_retained_go(&mut self, after: &str, topics: usize) -> Option<Box<str>> {
        let (mut going, mut found, mut last) = (Vec::new(), 0, None);
        let from = Some(after).filter(|after| !after.is_empty());
        self.retained.for_each_match("#", from, |entry| {
            found += 1;
            going.extend(entry.to_away().filter(|away| !self.unkept.contains(away.topic())));
            if found < topics {
                return std::ops::ControlFlow::Continue(());
            }
            last = Some(entry.topic().into());
            std::ops::ControlFlow::Break(())
        });
        for away in going {
            self.put_retained(away);
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
            if entry.is_away() {
                topics.push(entry.topic().into());
                bytes += entry.bytes_away();
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
        let came = fetched.messages.first().and_then(Option::as_ref).map(|message| message.id);
        // Otherwise what was fetched is of before, or after, what has come here by mail so far.
        let damaged = fetched.damaged.iter().any(|(topic, _)| *topic == first);
        let useful = match self.board.retained.get(&first) {
            Some(entry) if entry.is_away() && !damaged => Some(entry.id()) == came,
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
