//! Ends: of Network Connections, of Sessions, and the Wills they set free (5.0 3.1.2.5, 3.14, 4.13).

use std::{collections::VecDeque, sync::Arc};

use cork_access::Action;
use cork_packet::{Disconnect, Packet, PropertiesBuf, Property, ReasonCode};
use cork_proto::{PeerError, Phase, Time};
use cork_store::{Record, SessionKey, Will};

use crate::{
    board::Timer,
    conn::{NO_SESSION, SessionIx, Stage},
    deliver::Publication,
    event::{Ended, Event},
    io::{ConnId, Item, Output},
    rights::Denied,
    router::Turn,
    session::{NO_CONN, NO_GROUP, Queued},
    shard::Shard,
};

impl Shard {
    /// Ends a Network Connection: tells the peer why where the protocol can, detaches the Session, asks the driver to
    /// close. Does nothing for one that is closing already.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the cause on the spot")]
    pub(crate) fn end(&mut self, id: ConnId, cause: Ended) {
        let Some(conn) = self.board.conn(id) else { return };
        if matches!(conn.stage, Stage::Closing | Stage::Moving { .. }) {
            return;
        }
        let before = std::mem::replace(&mut conn.stage, Stage::Closing);
        let (session, peer) = (std::mem::replace(&mut conn.session, NO_SESSION), conn.peer.clone());
        let opened = conn.opened;
        conn.held.clear();
        conn.list = None;
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
        let client_id = match (self.board.sessions.get(session as usize), before) {
            (Some(session), _) => session.client_id().into(),
            // Refused: which device has the wrong password is what its owner wants to know.
            (None, Stage::Authenticating(waiting)) => waiting.client_id,
            (None, _) => Box::default(),
        };
        let lasted = self.board.now.since(opened);
        self.board.event(Event::Disconnected { client_id, peer, cause: cause.clone(), lasted });
        // After the event: an address that is banned for this is banned before its client hears of it and comes again.
        self.board.outputs.push_back(Output::Close { conn: id, farewell });
        if session != NO_SESSION {
            self.detach(session, &cause);
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
            Ended::Refused(reason) => (*reason, None),
            Ended::UserRemoved => (ReasonCode::NOT_AUTHORIZED, None),
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
            let session = &mut self.board.sessions[six as usize];
            if session.expiry_seconds == 0 && expiry != 0 {
                return Err(PeerError::SessionExpiryFromZero); // 5.0 3.14.2.2.2
            }
            if session.expiry_seconds != expiry.min(most) {
                session.expiry_seconds = expiry.min(most);
                self.record_session(six);
            }
        }
        let with_will = disconnect.reason != ReasonCode::NORMAL_DISCONNECTION;
        self.end(id, if with_will { Ended::ByClientWithWill } else { Ended::ByClient });
        Ok(())
    }

    /// A Session loses its connection.
    fn detach(&mut self, six: SessionIx, cause: &Ended) {
        self.count_connected(-1);
        let session = &mut self.board.sessions[six as usize];
        session.conn = NO_CONN;
        let (key, expiry) = (session.key, session.expiry_seconds);
        for subscription in session.subscriptions.clone() {
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
        if self.board.sessions.get(six as usize).is_some_and(|s| s.key == key && s.conn == NO_CONN) {
            self.publish_will(six);
        }
    }

    pub(crate) fn on_expire_timer(&mut self, key: SessionKey, six: SessionIx) {
        let now = self.board.now;
        let due = |s: &crate::session::Session| s.key == key && s.conn == NO_CONN && s.expires <= now;
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
        self.board.timers.remove(&(at, Timer::Will(key, six)));
        self.board.record(Record::WillDisarmed { session: key });
        Some(will)
    }

    pub(crate) fn disarm_will(&mut self, six: SessionIx) {
        self.take_will(six);
    }

    fn publish_will(&mut self, six: SessionIx) {
        let Some(will) = self.take_will(six) else { return };
        let message = &will.message;
        let publisher = Arc::clone(&message.publisher);
        // Checked at CONNECT too; rights and users may have changed since.
        if !self.board.rights.allows(self.board.subject(&publisher), Action::Write, &message.topic) {
            self.board.stats.denied_publish += 1;
            return self.board.event_denied(&publisher, Denied::Publish(&message.topic));
        }
        if !self.board.users.may_stay(&publisher) {
            self.board.stats.denied_publish += 1;
            return;
        }
        let wall = self.board.wall();
        let expires = will.expiry_seconds.map(|seconds| wall.plus_seconds(seconds));
        let mut publication = Publication { expires, message: None, ..Publication::of(message) };
        self.publish(&mut publication, NO_SESSION);
    }

    /// Ends a Session: its Will if one is left, its subscriptions, its queue.
    pub(crate) fn end_session(&mut self, six: SessionIx) {
        self.publish_will(six); // 5.0 [MQTT-3.1.2-8]: due at the end of the Session at the latest
        for subscription in std::mem::take(&mut self.board.sessions[six as usize].subscriptions) {
            self.drop_subscription(six, subscription);
        }
        self.hand_over(six);
        let session = self.board.sessions.remove(six as usize);
        self.board.timers.remove(&(session.expires, Timer::Expire(session.key, six)));
        if let Some(outgoing) = &session.outgoing {
            self.board.queue_bytes -= outgoing.queue_bytes;
            self.board.stats.queued_messages -= outgoing.queue.len() as u64;
            self.board.stats.inflight -= outgoing.inflight.len() as u64;
        }
        if session.recorded {
            self.board.record(Record::SessionEnded { session: session.key });
        }
        let hash = std::hash::BuildHasher::hash_one(&self.hasher, session.client_id());
        if let Ok(entry) = self.clients.find_entry(hash, |other| *other == six) {
            entry.remove();
        }
    }

    /// Gives the messages a shared subscription chose this Session for, and that it has not taken, to other members
    /// (5.0 4.8.2): QoS 1 not acknowledged, QoS 2 not begun. A QoS 2 flow that has begun stays ([MQTT-4.8.2-4]).
    fn hand_over(&mut self, six: SessionIx) {
        for Queued { message, delivery, .. } in self.take_shared(six) {
            let Some(group) = self.router.groups.get_mut(delivery.group as usize) else { continue };
            if let Turn::Shard(shard) = group.next_turn() {
                let groups = vec![Arc::clone(&group.name)];
                self.peers.tell(shard, Item::Publish { message, plain: false, groups, retain: false });
            } else {
                self.deliver_to_group(delivery.group, &mut Publication::of(&message));
            }
        }
    }

    fn take_shared(&mut self, six: SessionIx) -> Vec<Queued> {
        let groups = &self.router.groups;
        let others = |group: u32| {
            groups.get(group as usize).is_some_and(|group| {
                group.online > 0
                    || group.members.members().any(|(member, _)| member != six)
                    || !group.remotes.is_empty()
            })
        };
        let goes = |queued: &Queued| queued.delivery.group != NO_GROUP && others(queued.delivery.group);
        let session = &mut self.board.sessions[six as usize];
        let key = session.key;
        let Some(outgoing) = session.outgoing.as_deref_mut() else { return Vec::new() };
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
                self.board.records.push(Record::Delivered { session: key, packet_id });
                self.board.stats.inflight -= 1;
                taken.push(*queued);
            }
        }
        if outgoing.queue.iter().any(goes) {
            let all = std::mem::take(&mut outgoing.queue);
            let (shared, own): (VecDeque<Queued>, VecDeque<Queued>) = all.into_iter().partition(goes);
            outgoing.queue = own;
            for queued in shared {
                let cost = queued.message.cost_bytes() as u64;
                outgoing.queue_bytes -= cost;
                self.board.queue_bytes -= cost;
                self.board.stats.queued_messages -= 1;
                self.board.records.push(Record::Dropped { session: key, delivery: queued.number });
                taken.push(queued);
            }
        }
        taken
    }

    /// The operator ends the broker: everybody is told (5.0 0x8B) and closed. Sessions stay.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        let ids: Vec<ConnId> = self.board.conns.iter().flatten().map(|conn| conn.id).collect();
        for id in ids {
            self.end(id, Ended::Shutdown);
        }
    }
}
