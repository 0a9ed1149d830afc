//! CONNECT up to the moment somebody is let in: versions, Client Identifiers, authentication (5.0 3.1, 4.12).

use std::{hash::BuildHasher, sync::Arc};

use cork_access::CredentialsBuf;
use cork_packet::{
    Auth, Connect, Packet, PropertiesBuf, Property, ProtocolVersion, ReasonCode, decode_connect,
};
use cork_proto::PeerError;
use cork_store::{Facts, Proof};

use crate::{
    Peer,
    config::Door,
    conn::{Authenticating, Holds, Moving, NO_SESSION, Stage},
    event::{Ended, Refused},
    io::{AuthOutcome, Claim, ConnId, Output},
    refuse::RESERVED,
    shard::{Flow, Shard, home_shard},
};

/// Set for the answer to a CONNECT that was let in.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// User Name in force.
    pub(crate) user: Option<Box<str>>,
    /// Who vouches for it.
    pub(crate) proof: Proof,
    /// Authentication Data of the last step.
    pub(crate) auth_data: Option<Vec<u8>>,
}

impl Shard {
    /// The layers below MQTT know who it is.
    pub(crate) fn on_identified(&mut self, id: ConnId, peer: Peer, user: Option<Box<str>>, inside: bool) {
        if let Some(conn) = self.board.conn(id).filter(|conn| matches!(conn.stage, Stage::AwaitConnect)) {
            conn.peer = peer;
            if user.is_some() {
                conn.rare_mut().proven_user = user;
            }
            conn.inside = inside;
        }
    }

    /// The first packet of a connection.
    pub(crate) fn on_connect(&mut self, id: ConnId, packet: &[u8]) -> Flow {
        let connect = match decode_connect(packet) {
            Ok(connect) => connect,
            Err(error) => {
                self.refuse_undecodable(id, error);
                return Flow::Stop;
            }
        };
        let Some(conn) = self.board.conn(id) else { return Flow::Stop };
        conn.version = connect.version;
        conn.packet_bytes_max = connect.properties.maximum_packet_size().unwrap_or(u32::MAX);
        conn.facts = conn.inside && wants_facts(&connect);
        let assigned = connect.client_id.is_empty();
        let reserved = connect.client_id.starts_with(INSIDE_PREFIX) && !conn.inside;
        if reserved || (assigned && !may_be_assigned(&connect)) {
            let why = if reserved { RESERVED } else { "an empty Client Identifier needs a clean Session" };
            self.refuse(id, Refused::connect(&connect, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID).saying(why));
            return Flow::Stop;
        }
        let config = &self.board.config;
        let (shard, shards, seed) = (config.shard, config.shards, config.seed);
        let client_id: Box<str> = if assigned { self.assign_client_id() } else { connect.client_id.into() };
        let home = home_shard(&client_id, shards, seed);
        if home != shard {
            if let Some(conn) = self.board.conn(id) {
                conn.stage = Stage::Moving(Box::new(Moving { shard: home, packet: packet.to_vec() }));
            }
            return Flow::Stop;
        }
        if self.draining {
            // 0x8B is a DISCONNECT's; CONNACK has no code for an end (5.0 [MQTT-3.2.2-8]).
            match self.board.config.server_reference.clone() {
                Some(server) => {
                    let refused = Refused::connect(&connect, ReasonCode::USE_ANOTHER_SERVER);
                    self.refuse_to(id, refused, Some(&server));
                }
                None => self.refuse(id, Refused::connect(&connect, ReasonCode::SERVER_UNAVAILABLE)),
            }
            return Flow::Stop;
        }
        self.authenticate(id, packet, &connect, client_id, assigned)
    }

    /// Lets a connection in, or asks the access port.
    fn authenticate(
        &mut self,
        id: ConnId,
        packet: &[u8],
        connect: &Connect<'_>,
        client_id: Box<str>,
        assigned: bool,
    ) -> Flow {
        if let Some(method) = connect.properties.authentication_method() {
            let data = connect.properties.authentication_data().map(<[u8]>::to_vec);
            let begin = Some((method.into(), client_id.clone()));
            self.wait_for_answer(id, Authenticating::new(packet, client_id, assigned));
            if let Some(conn) = self.board.conn(id) {
                conn.rare_mut().auth_method = Some(method.into());
                conn.exchanging = true;
            }
            self.board.outputs.push_back(Output::Exchange { conn: id, begin, data });
            return Flow::Stop;
        }
        let inside = self.board.conn(id).is_some_and(|conn| conn.inside);
        let proven = self.board.conn(id).and_then(|conn| conn.proven_user().map(Box::from));
        let admitted = match self.board.users.door {
            _ if inside || proven.is_some() => true,
            Door::Open => true,
            Door::Anonymous => connect.user_name.is_none() && connect.password.is_none(),
            Door::Checked => false,
        };
        if admitted {
            let proof = match proven {
                _ if inside => Proof::Inside,
                Some(_) => Proof::Connection,
                None => Proof::Nobody,
            };
            let user = proven.or_else(|| connect.user_name.map(Box::from));
            let admission = Admission { user, proof, auth_data: None };
            if self.board.config.mesh {
                let waiting = Authenticating::new(packet, client_id, assigned);
                self.claim(id, waiting, admission);
                return Flow::Stop;
            }
            self.admit(id, connect, &client_id, assigned, &admission);
            let open = self.board.conn(id).is_some_and(|conn| conn.is_open());
            return if open { Flow::Next } else { Flow::Stop };
        }
        let peer = self.board.conn(id).map(|conn| conn.peer.clone()).unwrap_or_default();
        let credentials = Box::new(CredentialsBuf {
            user_name: connect.user_name.map(str::to_owned),
            password: connect.password.map(<[u8]>::to_vec),
            client_id: client_id.to_string(),
            peer: peer.to_string(),
        });
        self.wait_for_answer(id, Authenticating::new(packet, client_id, assigned));
        self.board.outputs.push_back(Output::Authenticate { conn: id, credentials });
        Flow::Stop
    }

    fn wait_for_answer(&mut self, id: ConnId, waiting: Authenticating) {
        let Some(conn) = self.board.conn(id) else { return };
        conn.stage = Stage::Authenticating(Box::new(waiting));
        self.board.hold(id.index, Holds::CONNECT);
    }

    /// Asks the mesh whether the Session of who was let in is served here.
    fn claim(&mut self, id: ConnId, waiting: Authenticating, admission: Admission) {
        let client_id = waiting.client_id.clone();
        self.wait_for_answer(id, Authenticating { admission: Some(admission), ..waiting });
        self.board.outputs.push_back(Output::Claim { conn: id, client_id });
    }

    /// The mesh answered.
    pub(crate) fn on_claimed(&mut self, id: ConnId, claim: Claim) {
        match claim {
            Claim::Granted => {
                if let Some(mut waiting) = self.take_waiting(id) {
                    let admission = waiting.admission.take().unwrap_or_default();
                    self.admit_waiting(id, &waiting, &admission);
                }
            }
            Claim::Elsewhere(node) => {
                let refused = self.refused_waiting(id, ReasonCode::USE_ANOTHER_SERVER, None);
                self.refuse_to(id, refused, Some(&node));
            }
            Claim::Unavailable => self.refuse_waiting(id, ReasonCode::SERVER_UNAVAILABLE, None),
        }
    }

    fn take_waiting(&mut self, id: ConnId) -> Option<Box<Authenticating>> {
        let conn = self.board.conn(id)?;
        match std::mem::replace(&mut conn.stage, Stage::AwaitConnect) {
            Stage::Authenticating(waiting) => Some(waiting),
            other => {
                conn.stage = other;
                None
            }
        }
    }

    fn admit_waiting(&mut self, id: ConnId, waiting: &Authenticating, admission: &Admission) {
        let Ok(connect) = decode_connect(&waiting.packet) else { return };
        self.admit(id, &connect, &waiting.client_id, waiting.assigned, admission);
        if self.board.conn(id).is_some_and(|conn| conn.is_open()) {
            self.opened_for_traffic(id);
        }
    }

    /// The access port answered.
    pub(crate) fn on_authenticated(&mut self, id: ConnId, outcome: AuthOutcome) {
        let Some(conn) = self.board.conn(id) else { return };
        if matches!(conn.stage, Stage::Connected { .. }) {
            return self.on_reauthenticated(id, outcome);
        }
        match outcome {
            AuthOutcome::Allowed { user, data } => {
                conn.exchanging = false;
                let certified = conn.proven_user().filter(|_| user.is_none()).map(Box::from);
                let proof = if certified.is_some() { Proof::Connection } else { Proof::Users };
                let user = user.or(certified);
                let Some(waiting) = self.take_waiting(id) else { return };
                let Ok(connect) = decode_connect(&waiting.packet) else { return };
                let user = user.or_else(|| connect.user_name.map(Box::from));
                let admission = Admission { user, proof, auth_data: data };
                if self.board.config.mesh {
                    return self.claim(id, *waiting, admission);
                }
                self.admit_waiting(id, &waiting, &admission);
            }
            AuthOutcome::Denied { user } => {
                let by_method = conn.auth_method().is_some();
                let codes = [ReasonCode::BAD_USER_NAME_OR_PASSWORD, ReasonCode::NOT_AUTHORIZED];
                self.refuse_waiting(id, codes[usize::from(by_method)], user.as_deref());
            }
            AuthOutcome::UnknownMethod => {
                self.refuse_waiting(id, ReasonCode::BAD_AUTHENTICATION_METHOD, None);
            }
            AuthOutcome::Busy => self.refuse_waiting(id, ReasonCode::SERVER_BUSY, None),
            AuthOutcome::Continue { data } => {
                self.send_auth(id, ReasonCode::CONTINUE_AUTHENTICATION, Some(&data));
                self.board.unhold(id.index, Holds::CONNECT);
                self.go_on_reading(id);
            }
        }
    }

    /// CONNACK is on its way: what the client sent meanwhile is read, what waits for it is sent.
    pub(crate) fn opened_for_traffic(&mut self, id: ConnId) {
        self.board.unhold(id.index, Holds::CONNECT);
        if let Some(session) = self.board.conn(id).map(|conn| conn.session) {
            self.board.pump(session);
        }
        self.go_on_reading(id);
    }

    /// A packet between CONNECT and CONNACK: only AUTH and DISCONNECT may come (5.0 4.12).
    pub(crate) fn on_authenticating_packet(
        &mut self,
        id: ConnId,
        packet: Packet<'_>,
    ) -> Result<(), PeerError> {
        match packet {
            Packet::Auth(auth) => self.on_auth(id, &auth),
            Packet::Disconnect(_) => {
                self.end(id, Ended::ByClient);
                Ok(())
            }
            Packet::Connect(_) => Err(PeerError::SecondConnect),
            _ => Err(PeerError::PacketBeforeConnAck),
        }
    }

    /// AUTH: the next step of an exchange, or the first of a re-authentication (5.0 4.12.1).
    pub(crate) fn on_auth(&mut self, id: ConnId, auth: &Auth<'_>) -> Result<(), PeerError> {
        let Some(conn) = self.board.conn(id) else { return Ok(()) };
        let Some(method) = conn.auth_method().map(Box::<str>::from) else {
            return Err(PeerError::UnexpectedAuth);
        };
        if auth.properties.authentication_method() != Some(&method) {
            return Err(PeerError::AuthMethodChanged); // 5.0 [MQTT-4.12.0-5], [MQTT-4.12.1-1]
        }
        let data = auth.properties.authentication_data().map(<[u8]>::to_vec);
        let connected = matches!(conn.stage, Stage::Connected { .. });
        let begin = match auth.reason {
            ReasonCode::CONTINUE_AUTHENTICATION if conn.exchanging => None,
            ReasonCode::RE_AUTHENTICATE if connected && !conn.exchanging => {
                conn.exchanging = true;
                let session = conn.session;
                let client_id = self.board.sessions.get(session as usize).map(|s| s.client_id().into());
                Some((method, client_id.unwrap_or_default()))
            }
            _ => return Err(PeerError::UnexpectedAuth),
        };
        // One step at a time: the next packet is read when this one is answered.
        self.board.hold(id.index, if connected { Holds::ACCESS } else { Holds::CONNECT });
        self.board.outputs.push_back(Output::Exchange { conn: id, begin, data });
        Ok(())
    }

    fn on_reauthenticated(&mut self, id: ConnId, outcome: AuthOutcome) {
        self.step_reauthentication(id, outcome);
        self.board.unhold(id.index, Holds::ACCESS);
        self.go_on_reading(id);
    }

    fn step_reauthentication(&mut self, id: ConnId, outcome: AuthOutcome) {
        let Some(conn) = self.board.conn(id) else { return };
        match outcome {
            AuthOutcome::Continue { data } => {
                self.send_auth(id, ReasonCode::CONTINUE_AUTHENTICATION, Some(&data));
            }
            AuthOutcome::Allowed { data, user } => {
                conn.exchanging = false;
                if !self.is_same_user(id, user.as_deref()) {
                    // What it may do, and whose the Session is, was settled by the first one.
                    return self.end_refused(id, "re-authenticated as another user");
                }
                self.send_auth(id, ReasonCode::SUCCESS, data.as_deref());
            }
            AuthOutcome::Denied { .. } | AuthOutcome::UnknownMethod => {
                self.end_refused(id, "the re-authentication failed");
            }
            AuthOutcome::Busy => self.end_refused(id, "too many log in at once"),
        }
    }

    /// Whether who proved to be `user` is who connected; nobody is another one by not saying a name.
    fn is_same_user(&mut self, id: ConnId, user: Option<&str>) -> bool {
        let session = self.board.conn(id).map_or(NO_SESSION, |conn| conn.session);
        let publisher = self.board.sessions.get(session as usize).map(|session| &session.publisher);
        publisher.is_some_and(|publisher| user.is_none() || publisher.user_name.as_deref() == user)
    }

    fn send_auth(&mut self, id: ConnId, reason: ReasonCode, data: Option<&[u8]>) {
        let Some(method) = self.board.conn(id).and_then(|conn| conn.auth_method().map(Box::<str>::from))
        else {
            return;
        };
        let mut properties = PropertiesBuf::default();
        properties.push(Property::AuthenticationMethod(&method));
        if let Some(data) = data {
            properties.push(Property::AuthenticationData(data));
        }
        let auth = Auth { reason, properties: properties.as_properties() };
        self.board.send_packet(id.index, &Packet::Auth(auth));
    }

    /// A Client Identifier nobody has, whose home is this shard.
    fn assign_client_id(&mut self) -> Box<str> {
        let (shard, shards, seed) = {
            let config = &self.board.config;
            (config.shard, config.shards, config.seed)
        };
        loop {
            // Hashed with the secret seed, so that nobody guesses the identifier of somebody else.
            let id = self.board.next_message_id();
            let name = format!("cork-{:016x}", self.hasher.hash_one(id));
            if home_shard(&name, shards, seed) == shard && self.session_of(&name).is_none() {
                return name.into();
            }
        }
    }

    /// Sends a connection to the shard its Session lives on, with all that was read from it.
    pub(crate) fn finish_move(&mut self, id: ConnId) {
        let Some(conn) = self.board.conn(id) else { return };
        let Stage::Moving(moving) = &mut conn.stage else { return };
        let (shard, mut bytes) = (moving.shard, std::mem::take(&mut moving.packet));
        bytes.append(&mut conn.inbox.take());
        self.forget(id);
        self.board.outputs.push_back(Output::Move { conn: id, shard, bytes });
    }
}

/// What a part of the broker itself is called begins so. Nobody else may use such a Client Identifier.
pub const INSIDE_PREFIX: &str = "$cork/";

/// Whether a part of the broker wants to know more of each message than MQTT tells: see [`cork_store::Facts`].
fn wants_facts(connect: &Connect<'_>) -> bool {
    connect.properties.user_properties().any(|(name, _)| name == Facts::ASKED_BY)
}

/// An empty Client Identifier: fine in 5.0; in 3.1.1 only with Clean Session ([MQTT-3.1.3-7], [MQTT-3.1.3-8]);
/// never in 3.1.
fn may_be_assigned(connect: &Connect<'_>) -> bool {
    match connect.version {
        ProtocolVersion::V5 => true,
        ProtocolVersion::V311 => connect.clean_start,
        ProtocolVersion::V31 => false,
    }
}

/// The home of who publishes for the broker itself.
pub(crate) fn broker_publisher() -> Arc<cork_store::Publisher> {
    Arc::default()
}
