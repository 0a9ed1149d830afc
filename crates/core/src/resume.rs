//! Letting a client in: takeover, Clean Start, the Session, the Will, CONNACK (5.0 3.1.4, 3.2).

use std::{hash::BuildHasher, sync::Arc};

use cork_packet::{ConnAck, Connect, Packet, PropertiesBuf, Property, ProtocolVersion, ReasonCode};
use cork_proto::{AliasOut, Time};
use cork_store::{Message, Proof, Publisher, Record, SessionKey, Will};

use crate::{
    board::{Timer, encode_within},
    config::{Door, Limits},
    conn::{Answer, Conn, Holds, SessionIx, Stage},
    connect::Admission,
    event::{Ended, Event, Refused},
    filters::reaches_back,
    hooks::Client,
    io::ConnId,
    refuse::FOREIGN,
    session::{NO_CONN, NO_GROUP, Session, WILL_PUBLISHED},
    shard::{Shard, keep_alive_grace},
};

/// Topic Aliases used towards one client at most, however many it allows: each keeps its Topic Name in memory.
const ALIASES_OUT_MAX: u16 = 256;

impl Shard {
    /// The Session of a Client Identifier.
    pub(crate) fn session_of(&self, client_id: &str) -> Option<SessionIx> {
        let sessions = &self.board.sessions;
        let same = |six: &SessionIx| sessions.get(*six as usize).is_some_and(|s| s.client_id() == client_id);
        self.clients.find(self.hasher.hash_one(client_id), same).copied()
    }

    /// Whether CONNACK would have to wait for the store.
    fn needs_record(&self, connect: &Connect<'_>, proof: Proof, existing: Option<SessionIx>) -> bool {
        let kept = |six: SessionIx| self.board.sessions[six as usize].is_persistent();
        connect.will.is_some() || self.session_expiry(connect, proof) > 0 || existing.is_some_and(kept)
    }

    /// Lets a client in.
    pub(crate) fn admit(
        &mut self,
        id: ConnId,
        connect: &Connect<'_>,
        client_id: &str,
        assigned: bool,
        admission: &Admission,
    ) {
        let Admission { user, proof, .. } = admission;
        let publisher =
            Arc::new(Publisher { client_id: client_id.into(), user_name: user.clone(), proof: *proof });
        if !self.board.users.may_stay(&publisher) {
            let refused = Refused::publisher(&publisher, ReasonCode::NOT_AUTHORIZED);
            return self.refuse(id, refused.saying("the users changed while this one was being checked"));
        }
        if self.board.users.bans.hold_for(&publisher, self.board.wall()) {
            // What tells a client of 3.1.1 most of it is `not authorized`.
            return self.refuse(id, Refused::publisher(&publisher, ReasonCode::BANNED));
        }
        if let Some(refused) = self.refusal_of_will(connect, &publisher) {
            return self.refuse(id, refused);
        }
        let records = self.board.records.len();
        let existing = self.session_of(client_id);
        if self.board.store_stuck && self.needs_record(connect, *proof, existing) {
            let refused = Refused::publisher(&publisher, ReasonCode::QUOTA_EXCEEDED);
            return self.refuse(id, refused.saying("the store has no space left for a Session"));
        }
        if let Some(six) = existing {
            let owner = &self.board.sessions[six as usize].publisher;
            let same = owner.user_name == publisher.user_name;
            let foreign = match self.board.users.door {
                Door::Checked => !same,
                // What somebody anonymous left is nobody's; a name that is vouched for is not taken by saying it.
                Door::Open | Door::Anonymous => {
                    let owned = owner.user_name.is_some() && owner.proof != Proof::Nobody;
                    owned && (!same || publisher.proof == Proof::Nobody)
                }
            };
            if foreign {
                let refused = Refused::publisher(&publisher, ReasonCode::NOT_AUTHORIZED);
                return self.refuse(id, refused.saying(FOREIGN));
            }
        }
        if let Some(hooks) = &self.board.hooks {
            let client = Client::new(&publisher, self.board.peer_of(id.index));
            if let Err(refusal) = hooks.connect(&client, connect) {
                return self.refuse_because(id, &publisher, &refusal);
            }
        }
        if let Some(six) = existing {
            self.take_over(six, id);
            if self.session_of(client_id) == Some(six) {
                self.returned(six);
            }
        }
        // The takeover may have ended the Session.
        let mut existing = self.session_of(client_id);
        if let Some(six) = existing.filter(|_| connect.clean_start) {
            self.end_session(six); // 5.0 [MQTT-3.1.2-4]
            existing = None;
        }
        if existing.is_none() {
            self.board.end_again(self.hasher.hash_one(client_id));
        }
        let session_present = existing.is_some();
        let expiry = self.session_expiry(connect, publisher.proof);
        let six = existing.unwrap_or_else(|| self.new_session(&publisher));
        self.attach(id, six, connect, publisher, expiry);
        self.note_wishes(id, six, connect);
        let keep_alive = self.board.conn(id).map_or(0, |conn| conn.keep_alive);
        self.arm_will(six, connect, keep_alive);
        // Also when all there is to know of a new Session is that the old one is gone, with its Will; and what was told
        // of this one before must be stored, too.
        let unstored = self.board.last_ticket() > self.board.stored;
        let durable = self.board.records.len() > records
            || (unstored && self.board.sessions[six as usize].is_persistent());
        self.send_connack(id, connect, client_id, assigned, session_present, expiry, admission, durable);
        self.event_connected(id, six, session_present);
        if self.board.sessions.get(six as usize).is_some_and(|session| session.conn == id.index) {
            self.arrived(id, six);
        }
    }

    fn new_session(&mut self, publisher: &Arc<Publisher>) -> SessionIx {
        let key = self.board.next_session_key();
        self.insert_session(key, Arc::clone(publisher))
    }

    /// Adds a Session that has nothing yet, and that nobody will find by its client.
    pub(crate) fn insert_nameless(&mut self, key: SessionKey, publisher: Arc<Publisher>) -> SessionIx {
        let six = self.board.sessions.insert(Box::new(Session::new(key, publisher)));
        SessionIx::try_from(six).expect("fewer than 2^31 Sessions fit into memory")
    }

    /// Adds a Session that has nothing yet.
    pub(crate) fn insert_session(&mut self, key: SessionKey, publisher: Arc<Publisher>) -> SessionIx {
        let client_id = Arc::clone(&publisher);
        let client_id = &*client_id.client_id;
        let six = self.insert_nameless(key, publisher);
        self.watch_backlog(six, client_id);
        let (hasher, sessions) = (&self.hasher, &self.board.sessions);
        self.clients.insert_unique(hasher.hash_one(client_id), six, |other| {
            hasher.hash_one(sessions[*other as usize].client_id())
        });
        six
    }

    /// Seconds the Session will live without a connection.
    fn session_expiry(&self, connect: &Connect<'_>, proof: Proof) -> u32 {
        let asked = match connect.version {
            ProtocolVersion::V5 => connect.properties.session_expiry_interval().unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX, // 3.1.1 3.1.2.4: it has no end of its own
        };
        if proof == Proof::Inside {
            return asked; // what a bridge or a sink holds ends when the operator says so
        }
        asked.min(self.board.config.limits.session_expiry_seconds_max)
    }

    /// Binds connection and Session to each other.
    fn attach(
        &mut self,
        id: ConnId,
        six: SessionIx,
        connect: &Connect<'_>,
        publisher: Arc<Publisher>,
        expiry: u32,
    ) {
        let limits = &self.board.config.limits;
        let properties = &connect.properties;
        let keep_alive = match (connect.keep_alive, limits.keep_alive_seconds_max) {
            (asked, 0) => asked,
            (0, most) => most,
            (asked, most) => asked.min(most),
        };
        let window = properties.receive_maximum().unwrap_or(u16::MAX).min(limits.inflight_max);
        let (now, granted) = (self.board.now, self.granted(id, connect));
        let Some(conn) = self.board.conn(id) else { return };
        conn.granted = granted;
        conn.version = connect.version;
        conn.bridge = connect.bridge;
        conn.stage = Stage::Connected { connack_sent: false };
        conn.session = six;
        conn.keep_alive = keep_alive;
        conn.last_seen = now;
        conn.window = window;
        conn.problem_information = properties.request_problem_information().unwrap_or(true);
        conn.alias_out = properties
            .topic_alias_maximum()
            .filter(|maximum| *maximum > 0)
            .map(|maximum| Box::new(AliasOut::new(maximum.min(ALIASES_OUT_MAX))));
        let timer = if keep_alive == 0 { Time::NEVER } else { now + keep_alive_grace(keep_alive) };
        self.board.bring_conn_timer_forward(id, timer);

        let wall = self.board.wall();
        let session = &mut self.board.sessions[six as usize];
        session.conn = id.index;
        session.since = wall;
        session.owes = false;
        if std::mem::take(&mut session.handing_over) {
            session.outgoing().queue.forget_question();
        }
        let changes_hands = session.publisher != publisher;
        let before = changes_hands.then(|| std::mem::replace(&mut session.publisher, publisher));
        let was_persistent = session.is_persistent();
        // Coming back soon, to the same Session, is no news for the store.
        let known = session.told.online && session.expiry_seconds == expiry && !changes_hands;
        let (key, expires) = (session.key, std::mem::replace(&mut session.expires, Time::NEVER));
        if let Some(outgoing) = session.outgoing.as_deref_mut() {
            outgoing.inflight.reconnected();
        }
        if session.filtered.values().any(|own| reaches_back(&own.record)) {
            session.outgoing().seen = Some(Box::default());
        }
        self.board.cancel(expires, Timer::Expire(key, six));
        self.set_expiry(six, expiry);
        if (expiry != 0 || was_persistent) && !known {
            self.record_session(six);
        }
        let inside = self.is_inside(&self.board.sessions[six as usize]);
        self.count_connected(1, inside);
        if let Some(before) = before {
            self.board.queue_changes_hands(six, before.user_name.as_deref());
            self.reattach(six);
        }
        for subscription in self.board.sessions[six as usize].subscriptions.clone().iter() {
            if subscription.group != NO_GROUP {
                self.router.member_online(subscription.group, six, true);
                self.announce_group(subscription.group);
            }
        }
    }

    /// Changes how long a Session outlives its connection; shared subscriptions count the members that do.
    pub(crate) fn set_expiry(&mut self, six: SessionIx, seconds: u32) {
        let session = &mut self.board.sessions[six as usize];
        let before = std::mem::replace(&mut session.expiry_seconds, seconds);
        if (before == 0) == (seconds == 0) {
            return;
        }
        for subscription in session.subscriptions.clone().iter() {
            if subscription.group != NO_GROUP {
                self.router.member_kept(subscription.group, six, seconds != 0);
                self.announce_group(subscription.group);
            }
        }
    }

    /// Writes down that a Session exists, or its changed expiry.
    pub(crate) fn record_session(&mut self, six: SessionIx) {
        let session = &mut self.board.sessions[six as usize];
        let first = !std::mem::replace(&mut session.recorded, true);
        if first {
            session.kept_from = session.outgoing.as_ref().map_or(0, |outgoing| outgoing.numbers);
        }
        session.told.online = session.is_online();
        let record = session.to_record();
        self.board.record(record);
        if first {
            self.count_kept(1);
        }
    }

    /// Counts one that is through CONNECT, or gone; `inside` as the Session is seen by who asks for it.
    pub(crate) fn count_connected(&mut self, by: i64, inside: bool) {
        let stats = &mut self.board.stats;
        stats.clients_connected = stats.clients_connected.saturating_add_signed(by);
        if inside {
            stats.clients_inside = stats.clients_inside.saturating_add_signed(by);
        }
        stats.clients_connected_max = stats.clients_connected_max.max(stats.clients_connected);
        stats.connects += u64::from(by > 0);
    }

    /// Another connection with the same Client Identifier is ended (3.1.1 [MQTT-3.1.4-2], 5.0 [MQTT-3.1.4-3]).
    fn take_over(&mut self, six: SessionIx, by: ConnId) {
        let index = self.board.sessions[six as usize].conn;
        if index == NO_CONN {
            return;
        }
        let by = self.board.conn(by).map(|conn| conn.peer.clone()).unwrap_or_default();
        if let Some((old, peer)) = self.board.conn_at(index).map(|conn| (conn.id, conn.peer.clone())) {
            let client_id: Box<str> = self.board.sessions[six as usize].client_id().into();
            if self.quarrels.took_over(self.hasher.hash_one(&*client_id), self.board.now) {
                self.board.event(Event::Quarrel { client_id, old: peer, new: by.clone() });
            }
            self.end(old, Ended::TakenOver { by });
        }
    }

    /// Keeps the Will of a CONNECT until it is due or cancelled; an earlier, delayed one is cancelled: its Session
    /// goes on (5.0 [MQTT-3.1.3-9]).
    fn arm_will(&mut self, six: SessionIx, connect: &Connect<'_>, keep_alive: u16) {
        self.disarm_will(six);
        let Some(will) = &connect.will else { return };
        let mut properties = Vec::new();
        will.properties.forward_into(&mut properties);
        let id = self.board.next_message_id();
        let session = &mut self.board.sessions[six as usize];
        let mut message =
            Message::new(id, will.topic, &properties, will.payload, Arc::clone(&session.publisher));
        message.qos = will.qos;
        message.retain = will.retain;
        let will = Box::new(Will {
            message: Arc::new(message),
            delay_seconds: will.properties.will_delay_interval().unwrap_or(0).min(WILL_PUBLISHED - 1),
            expiry_seconds: will.properties.message_expiry_interval(),
            keep_alive_seconds: keep_alive,
        });
        let record = Record::WillArmed { session: session.key, will: will.clone() };
        session.will = Some(will);
        self.board.record(record);
    }

    #[allow(clippy::too_many_arguments, reason = "each is one fact that CONNACK tells")]
    fn send_connack(
        &mut self,
        id: ConnId,
        connect: &Connect<'_>,
        client_id: &str,
        assigned: bool,
        session_present: bool,
        expiry: u32,
        admission: &Admission,
        durable: bool,
    ) {
        let Some(conn) = self.board.conn(id) else { return };
        let (version, maximum, keep_alive) = (conn.version, conn.packet_bytes_max, conn.keep_alive);
        let packet_bytes_max = conn.granted.packet_bytes_max;
        let method = conn.auth_method().map(Box::<str>::from);
        let method = method.as_deref();
        let facts =
            Facts { connect, client_id, assigned, expiry, keep_alive, packet_bytes_max, method, admission };
        // 3.1 knows no Session Present; its clients expect a zero there.
        let session_present = session_present && version != ProtocolVersion::V31;
        let encode = |properties: &PropertiesBuf| {
            let ack = ConnAck { session_present, code: 0, properties: properties.as_properties() };
            encode_within(&Packet::ConnAck(ack), version, maximum)
        };
        let limits = &self.board.config.limits;
        // A client may accept very short packets only: what it can do without is left out then.
        let Some(bytes) = encode(&facts.all(limits)).or_else(|| encode(&facts.needed(limits))) else {
            let refused = Refused::connect(connect, ReasonCode::PACKET_TOO_LARGE);
            let refused = refused.saying("CONNACK is longer than its Maximum Packet Size");
            return self.end(id, Ended::Refused(Box::new(refused)));
        };
        if !durable {
            return self.board.give_connack(id.index, &bytes); // no other answer stands before it
        }
        self.board.hold(id.index, Holds::CONNECT);
        let relies_on = Some(self.board.last_ticket());
        self.board.answer_after(id.index, relies_on, 0, Answer::ConnAck(bytes.into()));
    }

    fn event_connected(&mut self, id: ConnId, six: SessionIx, session_present: bool) {
        let Some(session) = self.board.sessions.get(six as usize) else { return };
        let publisher = Arc::clone(&session.publisher);
        let Some(Conn { peer, version, keep_alive, .. }) = self.board.conn(id) else { return };
        let (peer, version, keep_alive) = (peer.clone(), *version, *keep_alive);
        self.board.event(Event::Connected {
            client_id: publisher.client_id.clone(),
            user_name: publisher.user_name.clone(),
            peer,
            version,
            keep_alive,
            session_present,
        });
    }
}

/// What a CONNACK tells.
struct Facts<'a> {
    connect: &'a Connect<'a>,
    client_id: &'a str,
    assigned: bool,
    expiry: u32,
    keep_alive: u16,
    packet_bytes_max: u32,
    method: Option<&'a str>,
    admission: &'a Admission,
}

impl Facts<'_> {
    /// What the client has to know to behave: without one of these it would break a rule, or wait in vain.
    fn needed(&self, limits: &Limits) -> PropertiesBuf {
        let mut properties = PropertiesBuf::default();
        if !self.connect.version.is_v5() {
            return properties;
        }
        if self.expiry != self.connect.properties.session_expiry_interval().unwrap_or(0) {
            properties.push(Property::SessionExpiryInterval(self.expiry));
        }
        if limits.receive_maximum != u16::MAX {
            properties.push(Property::ReceiveMaximum(limits.receive_maximum));
        }
        if self.keep_alive != self.connect.keep_alive {
            properties.push(Property::ServerKeepAlive(self.keep_alive));
        }
        if self.assigned {
            properties.push(Property::AssignedClientIdentifier(self.client_id));
        }
        if let Some(method) = self.method {
            properties.push(Property::AuthenticationMethod(method));
        }
        if let Some(data) = &self.admission.auth_data {
            properties.push(Property::AuthenticationData(data));
        }
        properties
    }

    fn all(&self, limits: &Limits) -> PropertiesBuf {
        let mut properties = self.needed(limits);
        if !self.connect.version.is_v5() {
            return properties;
        }
        properties.push(Property::MaximumPacketSize(self.packet_bytes_max));
        if limits.topic_alias_maximum > 0 {
            properties.push(Property::TopicAliasMaximum(limits.topic_alias_maximum));
        }
        if self.connect.properties.request_response_information() == Some(true) {
            properties.push(Property::ResponseInformation(&format!("response/{}/", self.client_id)));
        }
        properties
    }
}
