//! The way a broker writes PUBLISH: everything known, nothing built in between.

use crate::publish::{DUP, RETAIN};
use crate::{MAX_REMAINING_LENGTH, PacketId, PacketType, PropertyId, ProtocolVersion, QoS, write};

/// A PUBLISH to write, its payload left to the caller.
///
/// The fields are trusted, as they come from a decoded packet and the Session: `topic` is at most 65535
/// bytes, a Packet Identifier is there exactly for QoS 1 and 2, and [`fits`](Self::fits) holds. Debug builds
/// assert this.
///
/// ```text
/// byte 1 | Remaining Length | Topic Name | Packet Identifier | in 5.0 the Properties | payload
/// Properties: their length | Topic Alias | Message Expiry Interval | Subscription Identifiers | `properties`
/// ```
#[derive(Copy, Clone, Debug)]
pub struct PublishFrame<'a> {
    /// The receiver's version; 3.x ignores alias, expiry, Subscription Identifiers and properties.
    pub version: ProtocolVersion,
    /// Sent before.
    pub dup: bool,
    /// QoS of this delivery.
    pub qos: QoS,
    /// The RETAIN flag of this delivery.
    pub retain: bool,
    /// Topic Name; empty when the receiver knows `topic_alias` already.
    pub topic: &'a str,
    /// Topic Alias, never 0.
    pub topic_alias: Option<u16>,
    /// The receiver's Packet Identifier.
    pub packet_id: Option<PacketId>,
    /// What is left of the Message Expiry Interval, in seconds (5.0 [MQTT-3.3.2-6]).
    pub message_expiry: Option<u32>,
    /// The Subscription Identifiers of all subscriptions that matched, none of them 0 (5.0 [MQTT-3.3.4-3]).
    pub subscription_ids: &'a [u32],
    /// Properties to pass on as they are; see [`Properties::forward_into`](crate::Properties::forward_into).
    pub properties: &'a [u8],
    /// Length of the payload that follows the head.
    pub payload_len: usize,
}

impl PublishFrame<'_> {
    /// The whole packet in bytes: fixed header, head and payload. Compare it with Maximum Packet Size.
    #[inline]
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let remaining = self.remaining_len(self.properties_len());
        1 + write::var_int_len(saturate(remaining)) + remaining
    }

    /// Whether Remaining Length can express the packet; false only for payloads near 256 MiB.
    #[inline]
    #[must_use]
    pub fn fits(&self) -> bool {
        self.remaining_len(self.properties_len()) <= MAX_REMAINING_LENGTH as usize
    }

    /// Appends everything but the payload.
    #[inline]
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        debug_assert!(self.fits(), "the caller checks the size");
        debug_assert_eq!(
            self.packet_id.is_some(),
            self.qos != QoS::AtMostOnce,
            "identifier and QoS go together"
        );
        let properties_len = self.properties_len();
        let remaining = self.remaining_len(properties_len);
        let start = out.len();
        // 1 type, 4 length
        out.reserve(5 + remaining - self.payload_len);
        out.push(self.first_byte());
        write::var_int(out, saturate(remaining));
        out.extend_from_slice(&two_bytes(self.topic.len()));
        out.extend_from_slice(self.topic.as_bytes());
        if let Some(id) = self.packet_id {
            out.extend_from_slice(&id.get().to_be_bytes());
        }
        if self.version.is_v5() {
            self.encode_properties(properties_len, out);
        }
        debug_assert_eq!(out.len() - start + self.payload_len, self.encoded_len());
    }

    fn encode_properties(&self, len: usize, out: &mut Vec<u8>) {
        write::var_int(out, saturate(len));
        if let Some(alias) = self.topic_alias {
            out.push(PropertyId::TopicAlias as u8);
            out.extend_from_slice(&alias.to_be_bytes());
        }
        if let Some(seconds) = self.message_expiry {
            out.push(PropertyId::MessageExpiryInterval as u8);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        for &id in self.subscription_ids {
            out.push(PropertyId::SubscriptionIdentifier as u8);
            write::var_int(out, id);
        }
        out.extend_from_slice(self.properties);
    }

    #[inline]
    const fn first_byte(&self) -> u8 {
        let dup = if self.dup { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        PacketType::Publish.first_byte() | dup | self.qos.bits() << 1 | retain
    }

    /// The Property Length; 0 in 3.x.
    #[inline]
    fn properties_len(&self) -> usize {
        if !self.version.is_v5() {
            return 0;
        }
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry.is_some() { 5 } else { 0 };
        let ids: usize = self.subscription_ids.iter().map(|id| 1 + write::var_int_len(*id)).sum();
        alias + expiry + ids + self.properties.len()
    }

    #[inline]
    fn remaining_len(&self, properties_len: usize) -> usize {
        let id = if self.packet_id.is_some() { 2 } else { 0 };
        let length = if self.version.is_v5() { write::var_int_len(saturate(properties_len)) } else { 0 };
        2 + self.topic.len() + id + length + properties_len + self.payload_len
    }
}

/// Lengths are far below the limit whenever [`PublishFrame::fits`].
#[inline]
fn saturate(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The length of a string of at most 65535 bytes.
#[inline]
fn two_bytes(len: usize) -> [u8; 2] {
    debug_assert!(len <= crate::MAX_TOPIC_LEN, "the caller checks the topic");
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}
