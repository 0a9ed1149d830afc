//! What is written down.

use std::sync::Arc;

use cork_packet::{PacketId, QoS};

use crate::{Message, Proof, WallTime};

/// A Session, by a number that is never used again: 24 bits of the store's epoch, 40 bits of a counter.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u64);

/// Subscription Identifiers that go with a delivery, ascending; nearly always none or one (5.0 3.8.2.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionIds {
    /// None.
    #[default]
    None,
    /// One.
    One(u32),
    /// Several subscriptions matched.
    Many(Box<[u32]>),
}

impl SubscriptionIds {
    /// Keeps `ids`.
    #[must_use]
    pub fn from_slice(ids: &[u32]) -> Self {
        match ids {
            [] => Self::None,
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }

    /// The identifiers.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A Will as it was armed at CONNECT (5.0 3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The Will Message; its expiry counts from the moment it is published.
    pub message: Arc<Message>,
    /// Will Delay Interval in seconds.
    pub delay_seconds: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_seconds: Option<u32>,
    /// Keep Alive of the connection that armed it, in seconds: how long its client may be believed to be there.
    pub keep_alive_seconds: u16,
}

/// A Session as such: who owns it and how long it lives. The last one written counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Client Identifier.
    pub client_id: Arc<str>,
    /// User Name of its owner.
    pub user_name: Option<Box<str>>,
    /// Who vouches for the User Name.
    pub proof: Proof,
    /// Seconds it lives without a connection; `u32::MAX`: for ever.
    pub expiry_seconds: u32,
    /// It has a connection, or lost it so short a time before that nobody was told.
    pub online: bool,
    /// Since when it has, or has not, a connection; of one that is online perhaps an earlier one.
    pub since: WallTime,
    /// Deliveries up to this number were sent at least once. Known when the connection ended; while it lasts any
    /// delivery may have been.
    pub sent_up_to: u64,
}

/// A message that waits for a Session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedDelivery {
    /// The Session's number of this delivery, ascending from 1; the Packet Identifier follows from it.
    pub delivery: u64,
    /// What.
    pub message: Arc<Message>,
    /// QoS of this delivery, 1 or 2.
    pub qos: QoS,
    /// RETAIN of this delivery.
    pub retain: bool,
    /// Share it came through, as `<share name>/<filter>`.
    pub share: Option<Arc<str>>,
    /// Subscription Identifiers that go with it.
    pub subscription_ids: SubscriptionIds,
}

/// Beside the Subscription Options: retained messages that the subscription asked for may not have been sent yet. They are
/// sent once more, from the first one on, when the broker has started.
pub const OWES_RETAINED: u8 = 0x40;

/// One change of what must survive.
///
/// A batch of records holds as a whole or not at all. Of a Session nothing is kept that came before its first
/// record or after [`Record::SessionEnded`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A Session that outlives its connection began, or its connection, expiry or owner changed.
    Session {
        /// Which.
        session: SessionKey,
        /// Its present state.
        state: Box<SessionState>,
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
        /// Subscription Options byte (5.0 3.8.3.1), and [`OWES_RETAINED`] besides.
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
    /// A message waits for a Session. The same message for several Sessions follows one another in a batch.
    Queued {
        /// Whose.
        session: SessionKey,
        /// What.
        queued: QueuedDelivery,
    },
    /// From delivery `from` on, identifiers are counted from `delivery + shift`: the identifier that would have
    /// been next was still in use.
    Shifted {
        /// Whose.
        session: SessionKey,
        /// First delivery it holds for.
        from: u64,
        /// What is added to a delivery's number.
        shift: u64,
    },
    /// PUBREC came: the message is the client's, PUBREL is owed.
    Released {
        /// Whose.
        session: SessionKey,
        /// Which delivery.
        delivery: u64,
    },
    /// A delivery is over: PUBACK or PUBCOMP came, or it was dropped (expired, handed to another, by a limit).
    Done {
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
    /// The retained message of a topic is this one now; an empty payload clears it. Of two for one topic the one
    /// with the larger identity counts.
    Retained {
        /// The message.
        message: Arc<Message>,
    },
    /// A message belongs to the history too; a start gives those back that the history does not have.
    Remembered {
        /// The message.
        message: Arc<Message>,
    },
    /// A Will was armed; for a Session that ends with its connection this may be all that is known of it.
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

impl Record {
    /// Roughly the bytes it takes while it waits to be stored.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        const HEAD: usize = 64;
        HEAD + match self {
            Self::Queued { queued, .. } => queued.message.cost_bytes(),
            Self::Retained { message } | Self::Remembered { message } => message.cost_bytes(),
            Self::WillArmed { will, .. } => will.message.cost_bytes(),
            Self::Subscribed { filter, .. } | Self::Unsubscribed { filter, .. } => filter.len(),
            _ => 0,
        }
    }
}
