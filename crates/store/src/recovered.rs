//! What a store gives back at the next start.

use std::sync::Arc;

use cork_packet::PacketId;

use crate::{Message, RetainedStubs, SessionKey, SessionState, Will};

/// A subscription of a recovered Session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredSubscription {
    /// Topic Filter as the client wrote it, `$share/<group>/` included.
    pub filter: Box<str>,
    /// Subscription Options byte (5.0 3.8.3.1), and [`OWES_RETAINED`](crate::OWES_RETAINED) besides.
    pub options: u8,
    /// Subscription Identifier, 0 for none.
    pub subscription_id: u32,
}

/// The deliveries of a Session that are not over, without the messages: those come by [`crate::Load`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueExtent {
    /// Number of the first one that is not over; 0 when there is none.
    pub first: u64,
    /// Largest number that was ever given.
    pub last: u64,
    /// How many are not over, released ones not counted.
    pub messages: u64,
    /// Their [`Message::cost_bytes`] together.
    pub bytes: u64,
}

/// One Session as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredSession {
    /// Its key.
    pub key: SessionKey,
    /// Its state; `None` when it ended with its connection and only its Will is left.
    pub state: Option<SessionState>,
    /// Its subscriptions, in the order they were made.
    pub subscriptions: Vec<RecoveredSubscription>,
    /// Its armed Will.
    pub will: Option<Box<Will>>,
    /// Identifiers of QoS 2 PUBLISH packets that came and were not released.
    pub received: Vec<PacketId>,
    /// Deliveries that wait for PUBCOMP, ascending.
    pub released: Vec<u64>,
    /// What waits.
    pub queue: QueueExtent,
    /// The shifts that still matter: `(from, shift)`, ascending. The last one holds for new deliveries.
    pub shifts: Vec<(u64, u64)>,
}

impl RecoveredSession {
    /// Client Identifier.
    #[must_use]
    pub fn client_id(&self) -> &str {
        match (&self.state, &self.will) {
            (Some(state), _) => &state.client_id,
            (None, Some(will)) => &will.message.publisher.client_id,
            (None, None) => "",
        }
    }
}

/// All that was recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How often the store was started before: part of every [`crate::MessageId`] and [`SessionKey`] from now on.
    pub epoch: u32,
    /// Latest arrival of a message, in microseconds since 1970-01-01 UTC: new ones count as later.
    pub last_arrival: u64,
    /// Sessions, in no particular order.
    pub sessions: Vec<RecoveredSession>,
    /// Retained messages, in no particular order.
    pub retained: Vec<Arc<Message>>,
    /// Those that would have been too much for memory; none of a topic that begins with `$`.
    pub stubs: RetainedStubs,
}
