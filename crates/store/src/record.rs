//! What is written down.

use std::sync::Arc;

use cork_packet::{PacketId, QoS};

use crate::Message;

/// A Session, by a number that is never used again.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u64);

/// A Will as it was armed at CONNECT (5.0 3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The Will Message; its expiry counts from the moment it is published.
    pub message: Arc<Message>,
    /// Will Delay Interval in seconds.
    pub delay_seconds: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_seconds: Option<u32>,
}

/// One change of what must survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A Session that outlives its connection began, or its expiry or owner changed.
    Session {
        /// Which.
        session: SessionKey,
        /// Client Identifier.
        client_id: Arc<str>,
        /// User Name of its owner.
        user_name: Option<Box<str>>,
        /// Seconds it lives without a connection.
        expiry_seconds: u32,
    },
    /// The Session ended with all that belongs to it.
    SessionEnded {
        /// Which.
        session: SessionKey,
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// Whose.
        session: SessionKey,
        /// Topic Filter as the client wrote it, `$share/<group>/` included.
        filter: Box<str>,
        /// Subscription Options byte (5.0 3.8.3.1).
        options: u8,
        /// Subscription Identifier, 0 for none.
        subscription_id: u32,
    },
    /// A subscription ended.
    Unsubscribed {
        /// Whose.
        session: SessionKey,
        /// Topic Filter as the client wrote it.
        filter: Box<str>,
    },
    /// A message waits for a Session.
    Queued {
        /// Whose.
        session: SessionKey,
        /// The Session's number of this delivery, ascending.
        delivery: u64,
        /// What.
        message: Arc<Message>,
        /// QoS of this delivery.
        qos: QoS,
        /// RETAIN of this delivery.
        retain: bool,
    },
    /// A queued message got its Packet Identifier and was sent.
    Sent {
        /// Whose.
        session: SessionKey,
        /// Which delivery.
        delivery: u64,
        /// Its identifier.
        packet_id: PacketId,
    },
    /// PUBREC came: the message is the client's, PUBREL is owed.
    Released {
        /// Whose.
        session: SessionKey,
        /// Which flight.
        packet_id: PacketId,
    },
    /// PUBACK or PUBCOMP came: the flight is over.
    Delivered {
        /// Whose.
        session: SessionKey,
        /// Which flight.
        packet_id: PacketId,
    },
    /// A queued message was dropped (expired, or by a limit).
    Dropped {
        /// Whose.
        session: SessionKey,
        /// Which delivery.
        delivery: u64,
    },
    /// A QoS 2 PUBLISH arrived under this identifier.
    Received {
        /// From whom.
        session: SessionKey,
        /// Its identifier.
        packet_id: PacketId,
    },
    /// PUBREL came for it.
    Forgotten {
        /// From whom.
        session: SessionKey,
        /// Its identifier.
        packet_id: PacketId,
    },
    /// The retained message of a topic is this one now; an empty payload clears it.
    Retained {
        /// The message.
        message: Arc<Message>,
    },
    /// A Will was armed.
    WillArmed {
        /// Whose.
        session: SessionKey,
        /// What.
        will: Box<Will>,
    },
    /// The Will was published or cancelled.
    WillDisarmed {
        /// Whose.
        session: SessionKey,
    },
}
