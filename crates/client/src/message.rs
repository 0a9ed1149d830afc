//! A message that arrived.

use std::sync::Arc;

use bytes::Bytes;
use cork_packet::{Properties, PropertiesBuf, QoS, ReasonCode};

use crate::{
    machine::{AckKey, Incoming},
    shared::Shared,
};

/// A message from a subscription.
///
/// QoS 1 and 2 messages are acknowledged when they are dropped: the server keeps them until the program is done with
/// them. With [`Options::manual_acks`](crate::Options::manual_acks) only [`Message::ack`] does it, and what is dropped
/// without comes again on the next connection.
#[derive(Debug)]
pub struct Message {
    topic: Arc<str>,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    dup: bool,
    properties: PropertiesBuf,
    acker: Option<Acker>,
}

impl Message {
    pub(crate) fn new(incoming: Incoming, shared: &Arc<Shared>) -> Self {
        let Incoming { topic, payload, qos, retain, dup, properties, ack } = incoming;
        let acker = ack.map(|key| Acker { shared: Arc::clone(shared), key: Some(key) });
        Self { topic, payload, qos, retain, dup, properties, acker }
    }

    /// The Topic Name; cheap to clone.
    #[must_use]
    pub const fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The payload; cheap to clone.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// QoS of this delivery.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether the server had kept it (or, with Retain As Published, the publisher had said so).
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.retain
    }

    /// Whether the server may have sent it before.
    #[must_use]
    pub const fn dup(&self) -> bool {
        self.dup
    }

    /// Its Properties; empty in 3.1.1.
    #[must_use]
    pub fn properties(&self) -> Properties<'_> {
        self.properties.as_properties()
    }

    /// Acknowledges it now. QoS 0 needs none.
    pub fn ack(mut self) {
        if let Some(acker) = &mut self.acker {
            acker.answer(ReasonCode::SUCCESS);
        }
    }

    /// Refuses it: a 5.0 server is told this Reason Code (0x80 or above: 0x83, 0x87, 0x90, 0x97, 0x99), an older one
    /// that the message was taken.
    pub fn reject(mut self, reason: ReasonCode) {
        if let Some(acker) = &mut self.acker {
            acker.answer(reason);
        }
    }
}

/// Owes an acknowledgement.
#[derive(Debug)]
struct Acker {
    shared: Arc<Shared>,
    key: Option<AckKey>,
}

impl Acker {
    fn answer(&mut self, reason: ReasonCode) {
        if let Some(key) = self.key.take() {
            self.shared.ack(key, reason);
        }
    }
}

impl Drop for Acker {
    fn drop(&mut self) {
        // A handler that panics is not done with its message.
        if !self.shared.manual_acks && !std::thread::panicking() {
            self.answer(ReasonCode::SUCCESS);
        }
    }
}
