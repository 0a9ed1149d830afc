//! What a machine has to say.

use std::sync::Arc;

use bytes::Bytes;
use cork_packet::{PacketId, PropertiesBuf, ProtocolVersion, QoS, ReasonCode};

use super::{Record, ServerLimits};
use crate::{Disconnected, Publish, PublishError, SubscribeError};

/// What the caller gave with a command, to know its answer by.
pub type Token = usize;

/// Something happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The server accepted the connection.
    Connected(Box<Connected>),
    /// The connection must be closed once what is to be sent is sent; nothing else will be read.
    Ended(Disconnected),
    /// A message arrived.
    Message(Incoming),
    /// A publication came to its end.
    Published(Token, Result<Published, PublishError>),
    /// A QoS 0 publication was encoded; it is written when this many bytes were transmitted on this connection.
    Encoded(Token, u64),
    /// SUBACK: one code for each Topic Filter.
    Subscribed(Token, Granted),
    /// UNSUBACK: one code for each Topic Filter, none in 3.1.1.
    Unsubscribed(Token, Granted),
    /// A request that waited for a connection cannot be sent on the one that came.
    RequestFailed(Token, SubscribeError),
    /// A re-authentication succeeded.
    Reauthenticated,
    /// A change of the Session that has to be saved before bytes are transmitted.
    Record(Record),
}

/// What CONNACK said.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connected {
    /// The version spoken.
    pub version: ProtocolVersion,
    /// Whether the server still had the Session.
    pub session_present: bool,
    /// The Client Identifier, assigned by the server if it was left to it.
    pub client_id: Arc<str>,
    /// What the server allows.
    pub limits: ServerLimits,
    /// All Properties of CONNACK: Response Information, Server Reference, User Properties and so on.
    pub properties: PropertiesBuf,
}

/// How a publication ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Of PUBACK, or of PUBREC; success for QoS 0. [`ReasonCode::NO_MATCHING_SUBSCRIBERS`] is a success, too.
    pub reason: ReasonCode,
    /// Reason String and User Properties of the answer.
    pub properties: PropertiesBuf,
}

impl Published {
    pub(crate) const fn success() -> Self {
        Self { reason: ReasonCode::SUCCESS, properties: PropertiesBuf::new() }
    }
}

/// What the server answered to a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// One for each Topic Filter, in order.
    pub codes: Vec<ReasonCode>,
    /// Reason String and User Properties.
    pub properties: PropertiesBuf,
}

/// A message that arrived.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Topic Name, an alias resolved.
    pub topic: Arc<str>,
    /// Payload.
    pub payload: Bytes,
    /// QoS of this delivery.
    pub qos: QoS,
    /// The server kept it.
    pub retain: bool,
    /// The server may have sent it before.
    pub dup: bool,
    /// Properties, Subscription Identifiers among them.
    pub properties: PropertiesBuf,
    /// What [`Machine::ack`](super::Machine::ack) wants; `None` for QoS 0.
    pub ack: Option<AckKey>,
}

/// Which message an acknowledgement is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AckKey {
    pub(super) sequence: u64,
    pub(super) packet_id: PacketId,
    pub(super) qos: QoS,
}

/// A publication that is not finished.
#[derive(Clone, Debug)]
pub(crate) struct Flying {
    pub(crate) publish: Publish,
    /// Whom to tell; `None` for what an earlier run of the program left.
    pub(crate) token: Option<Token>,
    /// When it was given to the machine.
    pub(crate) since: cork_proto::Time,
    /// Its number in the records.
    pub(crate) number: u64,
    /// Whether its PUBLISH went out on a connection before, with this identifier.
    pub(crate) sent: bool,
}
