//! Ends: of Network Connections, of Sessions, and the Wills they set free (5.0 3.1.2.5, 3.14, 4.13).

use std::sync::Arc;

use cork_packet::{Disconnect, Packet, PropertiesBuf, Property, ProtocolVersion, QoS, ReasonCode};
use cork_proto::{PeerError, Phase, Time};
use cork_store::{Message, Record, SessionKey, Will};

use crate::{
    Peer,
    board::Timer,
    conn::{NO_SESSION, SessionIx, Stage, is_inside},
    deliver::{Ask, Publication},
    event::{Ended, Event},
    hooks::{self, Client},
    io::{ConnId, Item, Output, Waiter},
    rights::Denied,
    router::Turn,
    session::{NO_CONN, NO_GROUP, Queued, WILL_PUBLISHED},
    shard::Shard,
    waits::{Tally, Waits},
};

/// What a Session that has ended, and still has something for others, needs to be known by.
#[derive(Debug, Default)]
pub(crate) struct Leaver {
    /// The shared subscriptions it had: what its messages call them, and their names.
    shares: Vec<(u32, Arc<str>)>,
    /// Shards that have not stored yet what they were given.
    waits: Waits,
}

impl Shard {
    /// Ends a Network Connection: tells the peer why where the protocol can, detaches the Session, asks the driver to
    /// close. Does nothing for one that is closing already.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the cause on the spot")]
    pub(crate) fn end(&mut self, id: ConnId, cause: Ended) {
        let Some(conn) = self.board.conn(id) else { return };
        if matches!(conn.stage, Stage::Closing | Stage::Moving(_)) {
            return;
        }
        let before = std::mem::replace(&mut conn.stage, Stage::Closing);
        let (session, peer) = (std::mem::replace(&mut conn.session, NO_SESSION), conn.peer.clone());
        let (address, version) = (peer.clone(), conn.version);
        let greeted = matches!(before, Stage::Connected { connack_sent: true });
        let opened = conn.opened;
        conn.drop_answers();
        conn.take_list();
        drop(conn.inbox.take());
        match (&before, &cause) {
            (Stage::Connected { connack_sent: true }, _) => self.send_disconnect(id, &cause),
            // Not DISCONNECT yet: 5.0 [MQTT-3.14.0-1].
            (Stage::Authenticating(_), Ended::Rule(error)) => {
                self.send_refusal(id, error.reason_code(), None);
            }
            (Stage::Authenticating(_), Ended::NoRoomForStrangers) => {
                self.send_refusal(id, ReasonCode::SERVER_BUSY, None);
            }
            _ => {}
        }
        self.count_strange_bytes(id);
        self.board.stats.count_end(&cause);
        let farewell = !matches!(cause, Ended::ByClient | Ended::ByClientWithWill | Ended::Lost);
        let client_id = match (self.board.sessions.get(session as usize), before, &cause) {
            (Some(session), ..) => session.client_id().into(),
            // Which device has the wrong password is what its owner wants to know.
            (None, _, Ended::Refused(refused)) => refused.client_id.clone(),
            (None, Stage::Authenticating(waiting), _) => waiting.client_id,
            (None, ..) => Box::default(),
        };
        let lasted = self.board.now.since(opened);
        self.board.event(Event::Disconnected { client_id, peer, cause: cause.clone(), lasted });
        // After the event: an address that is banned for this is banned before its client hears of it and comes again.
        self.board.outputs.push_back(Output::Close { conn: id, farewell });
        if session != NO_SESSION {
            if !greeted {
                // What says that it has a connection may be in this very batch.
                self.board.sessions[session as usize].told.online = false;
            }
            if let Some(hooks) = &self.board.hooks {
                let publisher = &self.board.sessions[session as usize].publisher;
                hooks.disconnect(&Client::new(publisher, Some(&address)), &cause);
            }
            self.detach(session, &cause, &address, version);
        }
    }

    /// DISCONNECT to a v5 client, when it is the server that ends the connection (5.0 4.13).
    fn send_disconnect(&mut self, id: ConnId, cause: &Ended) {
        let Some(conn) = self.board.conn(id) else { return };
        if !conn.version.is_v5() {
            return; // 3.1.1 has no DISCONNECT from the server
        }
        let (reason, text) = match cause {
            Ended::ByClient
            | Ended::ByClientWithWill
            | Ended::Lost
            | Ended::Transport(_)
            | Ended::ConnectTimeout
            | Ended::NoRoomForStrangers => return,
            Ended::KeepAliveTimeout => (ReasonCode::KEEP_ALIVE_TIMEOUT, None),
            Ended::PacketTimeout => {
                (ReasonCode::UNSPECIFIED_ERROR, Some("a packet was begun and not gone on with".to_owned()))
            }
            Ended::TakenOver { .. } => (ReasonCode::SESSION_TAKEN_OVER, None),
            Ended::Rule(error) => (error.reason_code(), Some(error.to_string())),
            Ended::Refused(refused) => (refused.code, Some(refused.why.to_string())),
            Ended::UserRemoved => (ReasonCode::NOT_AUTHORIZED, None),
            Ended::Expelled(why) | Ended::Kicked(why) => (ReasonCode::NOT_AUTHORIZED, Some(why.to_string())),
            Ended::LeftOut => (ReasonCode::SERVER_BUSY, None),
            Ended::Shutdown => (ReasonCode::SERVER_SHUTTING_DOWN, None),
        };
        let mut properties = PropertiesBuf::default();
        if let Some(text) = &text {
            properties.push(Property::ReasonString(text));
        }
        let elsewhere = self.board.config.server_reference.clone();
        let reason = match (cause, &elsewhere) {
            (Ended::Shutdown, Some(elsewhere)) => {
                properties.push(Property::ServerReference(elsewhere));
                ReasonCode::USE_ANOTHER_SERVER
            }
            _ => reason,
        };
        let disconnect = Disconnect { reason, properties: properties.as_properties() };
        self.board.send_packet(id.index, &Packet::Disconnect(disconnect));
    }

    /// DISCONNECT from the client (5.0 3.14, 3.1.1 3.14).
    pub(crate) fn on_disconnect(&mut self, id: ConnId, disconnect: &Disconnect<'_>) -> Result<(), PeerError> {
        let Some(conn) = self.board.conn(id) else { return Ok(()) };
        let six = conn.session;
        if let Some(expiry) = disconnect.properties.session_expiry_interval() {
            let most = self.board.config.limits.session_expiry_seconds_max;
            let before = self.board.sessions[six as usize].expiry_seconds;
            if before == 0 && expiry != 0 {
                return Err(PeerError::SessionExpiryFromZero); // 5.0 3.14.2.2.2
            }
            if before != expiry.min(most) {
                self.set_expiry(six, expiry.min(most));
                self.record_session(six);
                self.board.sessions[six as usize].told.online = false; // it leaves with the same batch
            }
        }
        let with_will = disconnect.reason != ReasonCode::NORMAL_DISCONNECTION;
        self.end(id, if with_will { Ended::ByClientWithWill } else { Ended::ByClient });
        Ok(())
    }

    /// A Session loses its connection.
    fn detach(&mut self, six: SessionIx, cause: &Ended, address: &Peer, version: ProtocolVersion) {
        // The connection is out of its slot by now, so the Session cannot be asked with it.
        let inside = is_inside(&self.board.sessions[six as usize].publisher, Some(address));
        self.count_connected(-1, inside);
        let wall = self.board.wall();
        let session = &mut self.board.sessions[six as usize];
        session.conn = NO_CONN;
        if let Some(outgoing) = session.outgoing.as_deref_mut() {
            (outgoing.replays, outgoing.seen) = (None, None);
        }
        session.since = wall;
        let (key, expiry) = (session.key, session.expiry_seconds);
        if session.is_persistent() {
            self.record_absence(six, cause);
        }
        self.left(six, address, version, cause);
        let session = &self.board.sessions[six as usize];
        for subscription in session.subscriptions.clone().iter() {
            if subscription.group != NO_GROUP {
                self.router.member_online(subscription.group, six, false);
                self.announce_group(subscription.group);
            }
        }
        if matches!(cause, Ended::ByClient) {
            self.disarm_will(six); // 3.1.1 [MQTT-3.14.4-3], 5.0 [MQTT-3.14.4-3]
        } else if matches!(cause, Ended::Shutdown) {
            return; // Session and Will stay as they are, for the next start
        } else {
            self.schedule_will(six, expiry);
        }
        if expiry == 0 {
            return self.end_session(six);
        }
        self.hand_over(six);
        self.hand_over_tail(six);
        if expiry != u32::MAX {
            let when = self.board.in_seconds(expiry, Timer::Expire(key, six));
            self.board.sessions[six as usize].expires = when;
        }
    }

    /// The Will goes out after its delay, or when the Session ends, whichever comes first (5.0 3.1.3.2.2).
    fn schedule_will(&mut self, six: SessionIx, expiry: u32) {
        let session = &mut self.board.sessions[six as usize];
        let Some(will) = &session.will else { return };
        let (key, delay) = (session.key, will.delay_seconds);
        if delay == 0 || expiry == 0 {
            return self.publish_will(six);
        }
        // A Session that ends earlier publishes it in `end_session`.
        let when = self.board.in_seconds(delay, Timer::Will(key, six));
        self.board.sessions[six as usize].will_at = when;
    }

    pub(crate) fn on_will_timer(&mut self, key: SessionKey, six: SessionIx) {
        let Some(session) = self.board.sessions.get(six as usize) else { return };
        let ends = session.expiry_seconds == 0; // of an earlier life of the broker; only the Will was left
        if session.key == key && session.conn == NO_CONN {
            self.publish_will(six);
            if ends {
                self.end_session(six);
            }
        }
    }

    pub(crate) fn on_expire_timer(&mut self, key: SessionKey, six: SessionIx) {
        let now = self.board.now;
        let due =
            |s: &crate::session::Session| s.key == key && s.conn == NO_CONN && s.expires <= now && !s.over;
        if self.board.sessions.get(six as usize).is_some_and(|session| due(session)) {
            self.board.stats.sessions_expired += 1;
            self.end_session(six);
        }
    }

    /// Takes the Will out of a Session, with its timer.
    fn take_will(&mut self, six: SessionIx) -> Option<Box<Will>> {
        let session = &mut self.board.sessions[six as usize];
        let will = session.will.take()?;
        let (key, at) = (session.key, std::mem::replace(&mut session.will_at, Time::NEVER));
        let recorded = session.recorded;
        self.board.cancel(at, Timer::Will(key, six));
        self.board.record(Record::WillDisarmed { session: key });
        if !recorded {
            self.note_ending(six, Record::WillDisarmed { session: key }); // nothing else of it is known
        }
        Some(will)
    }

    pub(crate) fn disarm_will(&mut self, six: SessionIx) {
        self.take_will(six);
    }

    /// Remembers until it is stored that a Session is gone: its client's next one is not answered before.
    fn note_ending(&mut self, six: SessionIx, record: Record) {
        let client_id = self.board.sessions[six as usize].client_id();
        let hash = std::hash::BuildHasher::hash_one(&self.hasher, client_id);
        self.board.note_ending(hash, record);
    }

    fn publish_will(&mut self, six: SessionIx) {
        let Some(will) = self.take_will(six) else { return };
        let message = &will.message;
        let publisher = Arc::clone(&message.publisher);
        // Checked at CONNECT too; rights and users may have changed since.
        if !self.board.may_write(&publisher, message.topic()) {
            self.board.stats.denied_publish += 1;
            return self.board.event_denied(&publisher, Denied::Publish(message.topic()), None);
        }
        if !self.board.users.may_stay(&publisher) {
            self.board.stats.denied_publish += 1;
            return;
        }
        let mut asked = hooks::Publication::of_will(message);
        // One that was published before the broker died went by the hooks then.
        let published = will.delay_seconds == WILL_PUBLISHED;
        if !published && let Err(refusal) = self.board.ask_publish(&publisher, None, &mut asked) {
            self.board.stats.denied_publish += 1;
            return self.board.event_denied(&publisher, Denied::Publish(message.topic()), Some(&refusal));
        }
        let message = self.will_to_message(&will, &asked.topic, &asked.payload);
        // A crash before the store knows that it is gone would let it be published once more.
        let gather = self.leaves(message.topic()).then(|| self.begin_gather());
        // Until the records of all shards are together, a Will of its own stands for it: what becomes of its Session,
        // and of the Session's next Will, is written down meanwhile.
        let alone = gather.map(|_| self.board.next_session_key());
        if let Some(session) = alone {
            let message = Arc::clone(&message);
            let will =
                Will { message, delay_seconds: WILL_PUBLISHED, keep_alive_seconds: 0, expiry_seconds: None };
            self.board.record(Record::WillArmed { session, will: Box::new(will) });
        }
        let once = Some(gather.map_or(self.board.ticket, |(_, ticket)| ticket));
        let ask = gather.map_or(Ask::Nothing, |(number, _)| Ask::Records(number));
        let mut publication =
            Publication { once, ask, retained_before: published, ..Publication::of(&message) };
        if publication.to_retain() {
            // Not with what the others store, which may be after somebody cleared the topic: a crash in between would
            // have it retained once more.
            self.retain(&mut publication, true);
        }
        let mark = self.board.records.len();
        self.board.records.extend(alone.map(|session| Record::WillDisarmed { session }));
        self.hand_on(&mut publication, NO_SESSION);
        if let Some((number, _)) = gather {
            let asked = publication.asked;
            self.gather(number, mark, asked, None);
            self.finish_gather(number);
        }
    }

    /// The message of a Will that is published now, or was before the broker died.
    fn will_to_message(&mut self, will: &Will, topic: &str, payload: &[u8]) -> Arc<Message> {
        let armed = &will.message;
        if will.delay_seconds == WILL_PUBLISHED {
            return Arc::clone(armed); // under its own identity: what was retained since is newer
        }
        let (id, publisher) = (self.board.next_message_id(), Arc::clone(&armed.publisher));
        let mut message = Message::new(id, topic, armed.properties(), payload, publisher);
        message.qos = armed.qos;
        message.retain = armed.retain;
        let wall = self.board.wall();
        message.set_expires(will.expiry_seconds.map(|seconds| wall.plus_seconds(seconds)));
        Arc::new(message)
    }

    /// Ends a Session: its Will if one is left, its subscriptions, its queue.
    pub(crate) fn end_session(&mut self, six: SessionIx) {
        self.publish_will(six); // 5.0 [MQTT-3.1.2-8]: due at the end of the Session at the latest
        let hash =
            std::hash::BuildHasher::hash_one(&self.hasher, self.board.sessions[six as usize].client_id());
        if let Ok(entry) = self.clients.find_entry(hash, |other| *other == six) {
            entry.remove();
        }
        let subscriptions = &self.board.sessions[six as usize].subscriptions;
        let groups: Vec<u32> = subscriptions.iter().map(|subscription| subscription.group).collect();
        let named = |group: &u32| Some((*group, Arc::clone(&self.router.groups.get(*group as usize)?.name)));
        let shares: Vec<(u32, Arc<str>)> = groups.iter().filter_map(named).collect();
        for subscription in std::mem::take(&mut self.board.sessions[six as usize].subscriptions).iter() {
            self.drop_subscription(six, *subscription);
        }
        for own in std::mem::take(&mut self.board.sessions[six as usize].filtered).into_values() {
            self.drop_own(six, &own);
        }
        self.board.sessions[six as usize].over = true;
        self.hand_over(six);
        let session = &mut self.board.sessions[six as usize];
        let has_tail = session.outgoing.as_ref().is_some_and(|outgoing| outgoing.queue.has_tail());
        if session.owes || (!shares.is_empty() && has_tail) || self.leavers.contains_key(&six) {
            if session.owes {
                self.leavers.entry(six).or_default().shares = shares;
            }
            if session.recorded {
                // From now on it is at its end for the store, too; its number goes when its messages have gone.
                session.expiry_seconds = 0;
                self.record_session(six);
                if let Some(record) = self.board.records.last().cloned() {
                    self.note_ending(six, record);
                }
            }
            return self.hand_over_tail(six);
        }
        self.remove_session(six);
    }

    /// Something that a Session without a connection has is stored now: others of a share can take it.
    pub(crate) fn hand_over_late(&mut self, six: SessionIx) {
        let Some(session) = self.board.sessions.get(six as usize) else { return };
        if !session.owes || session.is_online() {
            return;
        }
        self.name_groups_again(six);
        self.hand_over(six);
        self.hand_over_tail(six);
        self.remove_if_over(six);
    }

    /// What a Session that has ended had from a shared subscription knows it by an index, which may mean another one by
    /// now.
    fn name_groups_again(&mut self, six: SessionIx) {
        let Some(Leaver { shares, .. }) = self.leavers.get_mut(&six) else { return };
        let Some(outgoing) = self.board.sessions[six as usize].outgoing.as_deref_mut() else { return };
        let kept = outgoing.inflight.items_mut().flatten().map(|kept| &mut **kept);
        let shared = |queued: &&mut Queued| queued.delivery.group != NO_GROUP;
        for queued in kept.chain(&mut outgoing.queue.head).filter(shared) {
            let name = shares.iter().find(|(group, _)| *group == queued.delivery.group);
            queued.delivery.group = name.and_then(|(_, name)| self.router.group(name)).unwrap_or(NO_GROUP);
        }
        for (group, name) in shares {
            *group = self.router.group(name).unwrap_or(NO_GROUP);
        }
    }

    /// Drops a Session that has ended once others have all they can take of it.
    pub(crate) fn remove_if_over(&mut self, six: SessionIx) {
        let Some(session) = self.board.sessions.get(six as usize) else { return };
        let waits = self.leavers.get(&six).is_some_and(|leaver| !leaver.waits.is_over());
        if session.over && !session.owes && !session.handing_over && !waits {
            self.remove_session(six);
        }
    }

    /// Something of a Session that has ended is stored as another's.
    pub(crate) fn on_left(&mut self, six: SessionIx, key: SessionKey, tally: Tally) {
        if self.board.sessions.get(six as usize).is_none_or(|session| session.key != key) {
            return;
        }
        if let Some(leaver) = self.leavers.get_mut(&six) {
            leaver.waits.answered(tally);
        }
        self.remove_if_over(six);
    }

    /// Drops what is left of a Session that has ended.
    pub(crate) fn remove_session(&mut self, six: SessionIx) {
        self.leavers.remove(&six);
        let session = &self.board.sessions[six as usize];
        if session.recorded {
            let session = session.key;
            self.note_ending(six, Record::SessionEnded { session });
        }
        let session = self.board.sessions.remove(six as usize);
        self.board.droppers.forget(six, &session);
        self.board.forget_inside(six, &session);
        self.board.cancel(session.expires, Timer::Expire(session.key, six));
        if let Some(outgoing) = &session.outgoing {
            self.board.drop_queue(&session, &outgoing.queue);
            self.board.stats.inflight -= outgoing.inflight.len() as u64;
        }
        if session.recorded || session.spilled {
            self.board.record(Record::SessionEnded { session: session.key });
            self.count_kept(-i64::from(session.recorded));
        }
    }

    /// Gives the messages a shared subscription chose this Session for, and that it has not taken, to other members
    /// (5.0 4.8.2): QoS 1 not acknowledged, QoS 2 not begun. A QoS 2 flow that has begun stays ([MQTT-4.8.2-4]).
    fn hand_over(&mut self, six: SessionIx) {
        let key = self.board.sessions[six as usize].key;
        for Queued { message, delivery, number, .. } in self.take_shared(six) {
            self.pass_on(six, delivery.group, message, Record::Done { session: key, delivery: number });
        }
    }

    /// Gives a message that a Session had to a shared subscription once more. `done` says that it has it no longer, in
    /// one batch with whose it is now.
    pub(crate) fn pass_on(&mut self, six: SessionIx, group_ix: u32, message: Arc<Message>, done: Record) {
        let Some(group) = self.router.groups.get_mut(group_ix as usize) else {
            return self.board.record(done);
        };
        if let Turn::Shard(shard) = group.next_turn() {
            let groups = vec![Arc::clone(&group.name)];
            let session = &self.board.sessions[six as usize];
            // That a Session is gone is not stored before its messages are others'.
            let waits = session.over && (session.recorded || session.spilled);
            let waiter = waits.then_some(Waiter::End { session: six, key: session.key });
            if waits {
                self.leavers.entry(six).or_default().waits.ask();
            }
            self.tell_share(shard, message, groups, vec![done], waiter);
        } else {
            self.board.record(done);
            let once = Some(self.board.ticket);
            self.deliver_to_group(group_ix, &mut Publication { once, ..Publication::of(&message) });
        }
    }

    /// Hands a message to those of a shared subscription on another shard.
    pub(crate) fn tell_share(
        &mut self,
        shard: u16,
        message: Arc<Message>,
        groups: Vec<Arc<str>>,
        with: Vec<Record>,
        answer: Option<Waiter>,
    ) {
        let (plain, retain, gather, passed) = (false, false, None, None);
        self.peers.tell(
            shard,
            Item::Publish { message, plain, groups, retain, unkept: false, with, answer, gather, passed },
        );
    }

    fn take_shared(&mut self, six: SessionIx) -> Vec<Queued> {
        let router = &self.router;
        let session = &self.board.sessions[six as usize];
        let begun = session.outgoing.as_ref().map_or(0, |outgoing| outgoing.dup_up_to);
        let may_go = |queued: &Queued| {
            queued.delivery.group != NO_GROUP
                && router.has_others(queued.delivery.group, six)
                && !(queued.delivery.qos == QoS::ExactlyOnce && queued.number <= begun)
        };
        // What is stored with another batch stays until it is: whose it is now, and that it is over, must not be stored
        // before it is known where it came from.
        let head = session.outgoing.iter().flat_map(|outgoing| &outgoing.queue.head);
        let unstored = head.filter(|queued| !self.board.is_stored_elsewhere(queued.ticket) && may_go(queued));
        let unstored: Vec<u64> = unstored.map(|queued| queued.number).collect();
        let owes = !unstored.is_empty() || self.board.tail_waits_elsewhere(six);
        let session = &mut self.board.sessions[six as usize];
        session.owes = owes;
        let Some(outgoing) = session.outgoing.as_deref_mut() else { return Vec::new() };
        let goes = |queued: &Queued| may_go(queued) && unstored.binary_search(&queued.number).is_err();
        let mut taken = Vec::new();
        let ids: Vec<_> = outgoing
            .inflight
            .iter()
            .filter(|(_, flight)| flight.awaits == Phase::Puback)
            .filter(|(_, flight)| flight.item.as_ref().is_some_and(|kept| kept.as_deref().is_some_and(goes)))
            .map(|(id, _)| id)
            .collect();
        for packet_id in ids {
            if let cork_proto::Acked::Taken(Some(Some(queued))) = outgoing.inflight.puback(packet_id) {
                self.board.stats.inflight -= 1;
                taken.push(*queued);
            }
        }
        taken.extend(self.board.take_from_head(six, goes));
        taken
    }

    /// The operator ends the broker: everybody is told (5.0 0x8B) and closed. Sessions stay.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.record_absent();
        let ids: Vec<ConnId> = self.board.conns.iter().flatten().map(|conn| conn.id).collect();
        for id in ids {
            self.end(id, Ended::Shutdown);
        }
    }
}
