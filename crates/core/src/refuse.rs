//! A CONNECT that is refused: what the client hears, and what the operator reads.

use cork_packet::{
    ConnAck, Connect, ConnectError, DecodeError, Packet, Properties, PropertiesBuf, Property, ReasonCode,
    decode_connect,
};
use cork_proto::PeerError;
use cork_store::Publisher;

use crate::{
    board::{encode_within, explanation},
    conn::Stage,
    event::{Ended, Refused},
    hooks::Refusal,
    io::ConnId,
    rights::Denied,
    shard::Shard,
};

/// What who calls itself like a part of the broker hears.
pub(crate) const RESERVED: &str = "Client Identifiers that begin with $cork/ belong to the broker itself";
/// What who asks for a Session of somebody else hears: not whose it is.
pub(crate) const FOREIGN: &str = "the Session of this Client Identifier belongs to another user";

impl Refused {
    fn new(client_id: &str, user_name: Option<&str>, code: ReasonCode) -> Self {
        let why = words(code).into();
        Self { code, why, client_id: client_id.into(), user_name: user_name.map(Box::from), will: None }
    }

    /// Of what a CONNECT says.
    pub(crate) fn connect(connect: &Connect<'_>, code: ReasonCode) -> Self {
        Self::new(connect.client_id, connect.user_name, code)
    }

    /// Of somebody who proved who it is.
    pub(crate) fn publisher(publisher: &Publisher, code: ReasonCode) -> Self {
        Self::new(&publisher.client_id, publisher.user_name.as_deref(), code)
    }

    /// With other words.
    pub(crate) fn saying(self, why: &str) -> Self {
        Self { why: why.into(), ..self }
    }
}

impl Shard {
    /// Answers a CONNECT with an error and closes.
    pub(crate) fn refuse(&mut self, id: ConnId, refused: Refused) {
        self.refuse_to(id, refused, None);
    }

    /// The same, naming a server to go to (5.0 4.11).
    pub(crate) fn refuse_to(&mut self, id: ConnId, refused: Refused, server: Option<&str>) {
        self.send_refusal_saying(id, refused.code, &refused.why, server);
        self.end(id, Ended::Refused(Box::new(refused)));
    }

    /// The same for a refusal by a hook.
    pub(crate) fn refuse_because(&mut self, id: ConnId, publisher: &Publisher, refusal: &Refusal) {
        self.refuse(id, Refused::publisher(publisher, refusal.code()).saying(refusal.why()));
    }

    /// The same for one that waits for an answer. `user`: whom the client said to be meanwhile.
    pub(crate) fn refuse_waiting(&mut self, id: ConnId, code: ReasonCode, user: Option<&str>) {
        let refused = self.refused_waiting(id, code, user);
        self.refuse(id, refused);
    }

    pub(crate) fn refused_waiting(&mut self, id: ConnId, code: ReasonCode, user: Option<&str>) -> Refused {
        let Some(conn) = self.board.conn(id) else { return Refused::new("", None, code) };
        let Stage::Authenticating(waiting) = &conn.stage else { return Refused::new("", None, code) };
        let connect = decode_connect(&waiting.packet);
        let said = connect.as_ref().ok().and_then(|connect| connect.user_name);
        Refused::new(&waiting.client_id, user.or(conn.proven_user()).or(said), code)
    }

    /// Ends a connection that was let in and failed to prove itself again.
    pub(crate) fn end_refused(&mut self, id: ConnId, why: &str) {
        let Some(session) = self.board.conn(id).map(|conn| conn.session as usize) else { return };
        let Some(session) = self.board.sessions.get(session) else { return };
        let refused = Refused::publisher(&session.publisher, ReasonCode::NOT_AUTHORIZED).saying(why);
        self.end(id, Ended::Refused(Box::new(refused)));
    }

    /// Why the Will of a CONNECT may not be published by who connects, if it may not. With rights in Mosquitto's format
    /// that is asked when it is due, as Mosquitto does.
    pub(crate) fn refusal_of_will(
        &mut self,
        connect: &Connect<'_>,
        publisher: &Publisher,
    ) -> Option<Refused> {
        let topic = connect.will.as_ref()?.topic;
        if self.board.rights.grants_every_filter() || self.board.may_write(publisher, topic) {
            return None;
        }
        self.board.stats.denied_publish += 1;
        let rule = self.board.rule_of(publisher, Denied::Publish(topic), None);
        let refused = Refused::publisher(publisher, ReasonCode::NOT_AUTHORIZED)
            .saying("the Will's topic may not be written to");
        Some(Refused { will: Some((topic.into(), rule)), ..refused })
    }

    pub(crate) fn send_refusal(&mut self, id: ConnId, reason: ReasonCode, server: Option<&str>) {
        self.send_refusal_saying(id, reason, words(reason), server);
    }

    fn send_refusal_saying(&mut self, id: ConnId, reason: ReasonCode, why: &str, server: Option<&str>) {
        let Some(conn) = self.board.conn(id) else { return };
        let (version, maximum) = (conn.version, conn.packet_bytes_max);
        let mut properties = PropertiesBuf::default();
        let code = if version.is_v5() {
            properties.push(Property::ReasonString(why));
            if let Some(server) = server {
                properties.push(Property::ServerReference(server));
            }
            reason.0
        } else {
            reason.to_connect_return_code().0
        };
        let ack = ConnAck { session_present: false, code, properties: properties.as_properties() };
        let bytes = encode_within(&Packet::ConnAck(ack), version, maximum).or_else(|| {
            let bare = ConnAck { session_present: false, code, properties: Properties::default() };
            encode_within(&Packet::ConnAck(bare), version, maximum)
        });
        if let Some(bytes) = bytes {
            self.board.send(id.index, |out| out.extend_from_slice(&bytes));
        }
    }

    /// A CONNECT that cannot be read: a v5 client hears why, an unknown protocol level hears "unacceptable" in the
    /// form every version reads (3.1.1 [MQTT-3.1.2-2]), an older client is closed.
    pub(crate) fn refuse_undecodable(&mut self, id: ConnId, failed: ConnectError) {
        if let DecodeError::UnsupportedProtocolLevel(_) = failed.error {
            self.send_refusal(id, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, None);
        } else if let Some(version) = failed.version {
            if let Some(conn) = self.board.conn(id) {
                conn.version = version;
            }
            if version.is_v5() {
                self.send_refusal(id, failed.error.reason_code(), None);
            }
        }
        self.end(id, Ended::Rule(PeerError::Decode(failed.error)));
    }
}

/// What a code means, for a CONNECT.
fn words(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => "this broker speaks MQTT 3.1, 3.1.1 and 5.0",
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => "this Client Identifier is not accepted",
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => "user name or password is wrong",
        ReasonCode::BAD_AUTHENTICATION_METHOD => "this Authentication Method is not supported",
        ReasonCode::SERVER_UNAVAILABLE => {
            "the broker shuts down, or its cluster cannot serve this client now"
        }
        ReasonCode::SERVER_BUSY => "too many log in at once; try again later",
        ReasonCode::USE_ANOTHER_SERVER => "another server serves this Client Identifier",
        ReasonCode::MALFORMED_PACKET => "the CONNECT packet is malformed",
        ReasonCode::PROTOCOL_ERROR => "the CONNECT packet breaks the protocol",
        ReasonCode::PACKET_TOO_LARGE => "the CONNECT packet is too large",
        ReasonCode::BANNED => "an administrator has banned this client",
        other => explanation(other),
    }
}
