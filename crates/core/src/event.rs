//! Things an operator may want to know; log lines are made from them, at most one per connection and cause.

use std::time::Duration;

use cork_packet::{ProtocolVersion, ReasonCode};
use cork_proto::PeerError;

use crate::Peer;

/// Why a Network Connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// DISCONNECT by the client.
    ByClient,
    /// DISCONNECT by the client that asks for its Will (5.0 0x04).
    ByClientWithWill,
    /// The connection broke or was closed without DISCONNECT.
    Lost,
    /// Nothing was heard for one and a half Keep Alive (3.1.1 and 5.0 [MQTT-3.1.2-22] and -24).
    KeepAliveTimeout,
    /// No complete CONNECT in time.
    ConnectTimeout,
    /// Another connection took the Session over (3.1.1 [MQTT-3.1.4-2], 5.0 [MQTT-3.1.4-3]).
    TakenOver {
        /// Address of the new connection.
        by: Peer,
    },
    /// The peer broke a rule.
    Rule(PeerError),
    /// The peer broke this rule of what carries MQTT; no more packets can be told apart.
    Transport(Box<str>),
    /// A packet was begun, and not gone on with.
    PacketTimeout,
    /// All who are not logged in kept more than they may together, and this one much of it.
    NoRoomForStrangers,
    /// CONNECT, or a later step of Enhanced Authentication, was refused.
    Refused(Box<Refused>),
    /// The user may not be here any more: it was taken out of the user database.
    UserRemoved,
    /// It would not be let in any more, for this reason: its certificate, its address.
    Expelled(Box<str>),
    /// Somebody who operates the broker wants it gone, for this reason.
    Kicked(Box<str>),
    /// The store has space again, and this client of 3.1.1 is to send again what it published while there was none.
    LeftOut,
    /// The broker shuts down.
    Shutdown,
}

impl Ended {
    /// Whether the peer failed to log in, or to keep to the protocol: what an address that tries passwords, or that does
    /// not speak MQTT, does again and again.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Rule(_)
            | Self::Transport(_)
            | Self::ConnectTimeout
            | Self::PacketTimeout
            | Self::NoRoomForStrangers => true,
            Self::Refused(refused) => refused.is_login(),
            Self::ByClient
            | Self::ByClientWithWill
            | Self::Lost
            | Self::KeepAliveTimeout
            | Self::TakenOver { .. }
            | Self::UserRemoved
            | Self::Expelled(_)
            | Self::Kicked(_)
            | Self::LeftOut
            | Self::Shutdown => false,
        }
    }
}

/// A CONNECT that was refused: who wanted in, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the client was told.
    pub code: ReasonCode,
    /// The same in words.
    pub why: Box<str>,
    /// Client Identifier; empty when the client left it to the broker and none was assigned.
    pub client_id: Box<str>,
    /// User Name as the client said it, whether it is one or not.
    pub user_name: Option<Box<str>>,
    /// The topic of a Will that was the reason, and the rule that refused it, as in [`Event::PublishDenied`].
    pub will: Option<(Box<str>, Option<Box<str>>)>,
}

impl Refused {
    /// Whether the client is not who it says, or may not be here.
    pub(crate) fn is_login(&self) -> bool {
        matches!(
            self.code,
            ReasonCode::BAD_USER_NAME_OR_PASSWORD
                | ReasonCode::NOT_AUTHORIZED
                | ReasonCode::BAD_AUTHENTICATION_METHOD
        )
    }
}

/// Something worth a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A client is in.
    Connected {
        /// Client Identifier.
        client_id: Box<str>,
        /// User Name.
        user_name: Option<Box<str>>,
        /// Address.
        peer: Peer,
        /// Version it speaks.
        version: ProtocolVersion,
        /// Keep Alive in force, seconds.
        keep_alive: u16,
        /// Whether a Session was there.
        session_present: bool,
    },
    /// A connection ended.
    Disconnected {
        /// Client Identifier; empty when CONNECT never came.
        client_id: Box<str>,
        /// Address.
        peer: Peer,
        /// Why.
        cause: Ended,
        /// How long it lasted.
        lasted: Duration,
    },
    /// A publication, or a Will that was due, was refused by the rights. At most one for each topic and connection, and
    /// 32 for a connection, until the rights change.
    PublishDenied {
        /// Client Identifier.
        client_id: Box<str>,
        /// User Name.
        user_name: Option<Box<str>>,
        /// Topic Name.
        topic: Box<str>,
        /// The rule that refused, `file:line`, or `hook: ` and why; none: no rule fits, and the default closes.
        rule: Option<Box<str>>,
    },
    /// A subscription was refused by the rights. At most as many as of [`Event::PublishDenied`].
    SubscribeDenied {
        /// Client Identifier.
        client_id: Box<str>,
        /// User Name.
        user_name: Option<Box<str>>,
        /// Topic Filter.
        filter: Box<str>,
        /// The rule that refused, `file:line`, or `hook: ` and why; none: no rule fits, and the default closes.
        rule: Option<Box<str>>,
    },
    /// A message was not delivered because of the rights. At most as many as of [`Event::PublishDenied`].
    DeliveryDenied {
        /// Client Identifier.
        client_id: Box<str>,
        /// User Name.
        user_name: Option<Box<str>>,
        /// Topic Name.
        topic: Box<str>,
        /// The rule that refused, `file:line`, or `hook: ` and why; none: no rule fits, and the default closes.
        rule: Option<Box<str>>,
    },
    /// Clients take one Client Identifier from each other again and again. At most one a minute for each.
    Quarrel {
        /// Client Identifier.
        client_id: Box<str>,
        /// Address of the connection that was ended.
        old: Peer,
        /// Address of the connection that took over.
        new: Peer,
    },
    /// The first message was dropped for a Session because its queue is full. Further ones are counted only.
    QueueFull {
        /// Client Identifier.
        client_id: Box<str>,
        /// Bytes queued.
        bytes: u64,
    },
    /// The first message was dropped because the queues of all Sessions of its user are full together. Again once they
    /// were half empty; each shard says it for its own Sessions.
    UserQueueFull {
        /// User Name.
        user: Box<str>,
        /// Bytes queued.
        bytes: u64,
    },
    /// The store has no space for new messages, or has some again.
    StoreFull {
        /// Which of the two.
        full: bool,
    },
    /// The store's record of a message that waited for a Session is damaged; the message is lost.
    DeliveryDamaged {
        /// Client Identifier.
        client_id: Box<str>,
        /// The Session's number of the delivery.
        delivery: u64,
        /// Where the record lies and what is wrong with it.
        error: Box<str>,
    },
    /// The store could not read a retained message; a new subscriber did not get it.
    RetainedDamaged {
        /// Topic Name.
        topic: Box<str>,
        /// Where the record lies and what is wrong with it.
        error: Box<str>,
    },
    /// A client publishes faster than it may and is not read for a while. At most one for each connection.
    Slowed {
        /// Client Identifier.
        client_id: Box<str>,
        /// Address.
        peer: Peer,
    },
    /// The store failed; acknowledgements that rely on it are not given.
    StoreFailed {
        /// How.
        error: String,
    },
}
