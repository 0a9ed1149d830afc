//! The broker's last life taken up: Sessions, retained messages and Wills as the store gives them back.

use std::sync::Arc;

use cork_proto::Time;
use cork_store::{Publisher, Recovered, RecoveredSession, SessionState, WallTime, Will};
use cork_topic::Retained as _;

use crate::{
    board::Timer,
    conn::SessionIx,
    queue::Queue,
    retained::Retained,
    session::{SubValue, WILL_PUBLISHED},
    shard::{Shard, home_shard, keep_alive_grace},
};

/// Gives each of `shards` shards its Sessions, and all of them all retained messages.
#[must_use]
pub fn share_out(recovered: Recovered, shards: u16, seed: u64) -> Vec<Recovered> {
    let Recovered { epoch, last_arrival, sessions, retained, stubs } = recovered;
    let part = || Recovered {
        epoch,
        last_arrival,
        sessions: Vec::new(),
        retained: retained.clone(),
        stubs: stubs.clone(),
    };
    let mut parts: Vec<Recovered> = (0..shards).map(|_| part()).collect();
    for session in sessions {
        let home = home_shard(session.client_id(), shards, seed);
        parts[usize::from(home)].sessions.push(session);
    }
    parts
}

impl Shard {
    /// Takes up what was recovered for this shard. Once, before anything else is handled.
    ///
    /// With several shards all of them do this first, and what they have for each other then ([`crate::Output::Forward`])
    /// arrives before anything else is handled: until then they do not know of each other's subscriptions.
    pub fn restore(&mut self, now: Time, recovered: Recovered) {
        self.board.now = self.board.now.max(now);
        self.begin_presence();
        let records = self.board.records.len();
        for message in recovered.retained {
            self.restore_retained(Retained::Here(message));
        }
        for stub in recovered.stubs {
            self.restore_retained(stub.into());
        }
        let mut over = Vec::new();
        for session in recovered.sessions {
            let six = self.restore_session(session);
            let session = &self.board.sessions[six as usize];
            if session.expiry_seconds == 0 && session.will.is_none() {
                over.push(six);
            }
        }
        self.board.records.truncate(records); // all of it is written down already
        for six in over {
            self.end_session(six); // it was to end with its connection
        }
        self.forget_expired_retained();
        self.restore_presence();
    }

    fn restore_retained(&mut self, entry: Retained) {
        if let Some(at) = entry.expires() {
            let when = self.board.time_of(at);
            self.board.at(when, Timer::Retained(entry.topic().into()));
        }
        self.board.put_retained(entry);
    }

    fn forget_expired_retained(&mut self) {
        let due = |timer: &&(Time, Timer)| timer.0 <= self.board.now;
        let expired: Vec<(Time, Timer)> = self.board.timers.iter().take_while(due).cloned().collect();
        for timer in expired {
            if let Timer::Retained(topic) = &timer.1 {
                self.board.timers.remove(&timer);
                self.on_retained_timer(&topic.0);
            }
        }
    }

    fn restore_session(&mut self, recovered: RecoveredSession) -> SessionIx {
        let publisher = match (&recovered.state, &recovered.will) {
            (Some(state), _) => Arc::new(publisher_of(state)),
            (None, Some(will)) => Arc::clone(&will.message.publisher),
            (None, None) => Arc::default(),
        };
        // A Will that was published, and a Session that was at its end, are not their client's any more: it may have
        // another Session besides.
        let due = |will: &Will| will.delay_seconds == WILL_PUBLISHED;
        let nameless = match (&recovered.state, &recovered.will) {
            (None, will) => will.as_deref().is_none_or(due),
            (Some(state), will) => state.expiry_seconds == 0 && will.is_none(),
        };
        let six = if nameless {
            self.insert_nameless(recovered.key, publisher)
        } else {
            self.insert_session(recovered.key, publisher)
        };
        let online = recovered.state.as_ref().is_none_or(|state| state.online);
        let session = &mut self.board.sessions[six as usize];
        if let Some(state) = &recovered.state {
            session.recorded = true;
            session.told.online = state.online;
            session.expiry_seconds = state.expiry_seconds;
            session.since = state.since;
        }
        for subscription in &recovered.subscriptions {
            let value = SubValue { options: subscription.options, sub_id: subscription.subscription_id };
            self.restore_subscription(six, &subscription.filter, value);
        }
        self.restore_outgoing(six, &recovered, online);
        let session = &mut self.board.sessions[six as usize];
        for packet_id in &recovered.received {
            session.received.insert(*packet_id);
        }
        if recovered.state.is_some() {
            self.count_kept(1);
        }
        self.restore_timers(six, recovered.state.as_ref(), recovered.will);
        six
    }

    fn restore_outgoing(&mut self, six: SessionIx, recovered: &RecoveredSession, online: bool) {
        let extent = recovered.queue;
        if extent.last == 0 {
            return;
        }
        let with_qos0 = self.board.config.limits.queue_qos0;
        let sent_up_to = recovered.state.as_ref().map_or(0, |state| state.sent_up_to);
        let outgoing = self.board.sessions[six as usize].outgoing();
        outgoing.numbers = extent.last;
        outgoing.sent_up_to = sent_up_to;
        // Nobody wrote down what was sent on the last connection, nor, perhaps, what of it was acknowledged.
        outgoing.dup_up_to = if online { extent.last } else { sent_up_to };
        outgoing.shifts.clone_from(&recovered.shifts);
        for delivery in &recovered.released {
            let sequence = outgoing.sequence_of(*delivery);
            outgoing.inflight.restore_released(sequence);
        }
        outgoing.queue = Queue::stored(extent, with_qos0);
        self.board.queue_grew(six, extent.bytes);
        self.board.stats.queued_messages += extent.messages;
        self.board.stats.inflight += recovered.released.len() as u64;
    }

    /// When a Session ends and its Will is due. The Will of a client that was connected gives it as much time to
    /// return as it would have had to be missed.
    fn restore_timers(&mut self, six: SessionIx, state: Option<&SessionState>, will: Option<Box<Will>>) {
        let now = self.board.now;
        let since = state.filter(|state| !state.online).map(|state| state.since);
        let started = self.board.config.started;
        let due = |since: Option<WallTime>, seconds: u32| match since {
            Some(since) => Time::from_micros(since.plus_seconds(seconds).0.saturating_sub(started.0)),
            None => now + std::time::Duration::from_secs(seconds.into()),
        };
        let session = &self.board.sessions[six as usize];
        let (key, expiry) = (session.key, session.expiry_seconds);
        if expiry != 0 && expiry != u32::MAX {
            let when = due(since, expiry);
            self.board.sessions[six as usize].expires = when;
            self.board.at(when, Timer::Expire(key, six));
        }
        if let Some(will) = will {
            let delay = if will.delay_seconds == WILL_PUBLISHED { 0 } else { will.delay_seconds };
            let mut when = due(since, delay);
            if since.is_none() {
                when = when.max(now + keep_alive_grace(will.keep_alive_seconds));
            }
            let session = &mut self.board.sessions[six as usize];
            session.will_restored = since.is_none();
            session.will = Some(will);
            session.will_at = when;
            self.board.at(when, Timer::Will(key, six));
        }
    }

    /// The client of a restored Session returns: the Will it left in the broker's last life is void, and so is the
    /// Session if it was to end with its connection.
    pub(crate) fn returned(&mut self, six: SessionIx) {
        let session = &mut self.board.sessions[six as usize];
        let over = session.expiry_seconds == 0 && !session.is_online();
        if std::mem::take(&mut session.will_restored) {
            self.disarm_will(six);
        }
        if over {
            self.end_session(six);
        }
    }
}

fn publisher_of(state: &SessionState) -> Publisher {
    Publisher { client_id: (*state.client_id).into(), user_name: state.user_name.clone(), proof: state.proof }
}
