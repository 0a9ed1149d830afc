//! A Session: what the broker keeps for a Client Identifier (5.0 4.1).

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use cork_packet::QoS;
use cork_proto::{Inflight, Received, Time};
use cork_store::{Message, Publisher, SessionKey, Will};
use cork_topic::FilterId;

use crate::{conn::NO_SESSION, cursors::Cursors};

/// No connection.
pub(crate) const NO_CONN: u32 = u32::MAX;
/// No shared subscription group.
pub(crate) const NO_GROUP: u32 = u32::MAX;

/// Subscription Identifiers that go with a delivery, ascending; nearly always none or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum SubIds {
    #[default]
    None,
    One(u32),
    Many(Box<[u32]>),
}

impl SubIds {
    pub(crate) fn from_slice(ids: &[u32]) -> Self {
        match ids {
            [] => Self::None,
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// How a message goes to one Session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Shared subscription it came through.
    pub(crate) group: u32,
    pub(crate) sub_ids: SubIds,
}

/// A message that waits in a Session.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) message: Arc<Message>,
    pub(crate) delivery: Delivery,
    /// The Session's number for it in the store's records.
    pub(crate) number: u64,
}

/// What a flight keeps for being sent again. Nothing when the Session ends with its connection: then there is no
/// second sending.
pub(crate) type Kept = Option<Box<Queued>>;

/// The sending side of a Session, there once it was used.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) inflight: Inflight<Kept>,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) queue_bytes: u64,
    pub(crate) numbers: u64,
    /// Number of the last QoS 0 message that was queued.
    pub(crate) last_queued_qos0: u64,
    pub(crate) cursors: Cursors,
    /// The full queue was reported.
    pub(crate) full_reported: bool,
}

impl Outgoing {
    /// Whether a QoS 0 message waits in the queue.
    pub(crate) fn has_queued_qos0(&self) -> bool {
        self.queue.front().is_some_and(|first| first.number <= self.last_queued_qos0)
    }

    /// The Session leaves a shared subscription: what it was chosen for stays its own. The group's index may soon
    /// mean another group.
    pub(crate) fn leave_group(&mut self, group: u32) {
        let kept = self.inflight.items_mut().flatten().map(|kept| &mut **kept);
        for queued in kept.chain(&mut self.queue).filter(|queued| queued.delivery.group == group) {
            queued.delivery.group = NO_GROUP;
        }
    }
}

/// One subscription of a Session.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscription {
    /// Where the filter stands in the index. For a shared subscription `group` is the index's subscriber.
    pub(crate) filter: FilterId,
    pub(crate) group: u32,
}

/// A Session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) publisher: Arc<Publisher>,
    /// The connection's slot, or [`NO_CONN`].
    pub(crate) conn: u32,
    /// Seconds it lives without a connection; `u32::MAX`: for ever.
    pub(crate) expiry_seconds: u32,
    /// The store knows it.
    pub(crate) recorded: bool,
    /// When it ends, while it has no connection.
    pub(crate) expires: Time,
    /// A tree, not a sorted vector: one UNSUBSCRIBE may name a million filters, each at the front of the rest.
    pub(crate) subscriptions: BTreeSet<Subscription>,
    pub(crate) will: Option<Box<Will>>,
    /// When the Will goes out, while it is due but delayed.
    pub(crate) will_at: Time,
    pub(crate) outgoing: Option<Box<Outgoing>>,
    pub(crate) received: Received,
}

impl Session {
    pub(crate) fn new(key: SessionKey, publisher: Arc<Publisher>) -> Self {
        Self {
            key,
            publisher,
            conn: NO_CONN,
            expiry_seconds: 0,
            recorded: false,
            expires: Time::NEVER,
            subscriptions: BTreeSet::new(),
            will: None,
            will_at: Time::NEVER,
            outgoing: None,
            received: Received::default(),
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.publisher.client_id
    }

    pub(crate) fn is_online(&self) -> bool {
        self.conn != NO_CONN
    }

    /// Whether it outlives its connection, so that its state is worth a record.
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry_seconds != 0
    }

    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        self.outgoing.get_or_insert_default()
    }
}

/// Marks index keys that are shared subscription groups, not Sessions.
pub(crate) const GROUP_BIT: u32 = 1 << 31;

/// What the index holds for a subscription: options and Subscription Identifier (0: none).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubValue {
    /// Subscription Options byte.
    pub(crate) options: u8,
    pub(crate) sub_id: u32,
}

impl SubValue {
    pub(crate) fn qos(self) -> QoS {
        QoS::from_bits(self.options & 0x03).unwrap_or_default()
    }

    pub(crate) fn no_local(self) -> bool {
        self.options & 0x04 != 0
    }

    pub(crate) fn retain_as_published(self) -> bool {
        self.options & 0x08 != 0
    }
}

const _: () = assert!(NO_SESSION & GROUP_BIT != 0, "no Session index looks like a group");
