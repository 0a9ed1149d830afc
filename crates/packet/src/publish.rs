//! PUBLISH: one message (section 3.3).
//!
//! ```text
//! byte 1: 0011 DUP QoS QoS RETAIN
//! Topic Name | Packet Identifier (QoS 1, 2) | 5.0: Properties | Payload
//! ```

use crate::read::Reader;
use crate::{
    DecodeError, EncodeError, Field, PacketId, Properties, PropertyId, PropertyPlace, ProtocolVersion,
    PublishFrame, QoS, Receiver,
};

#[cfg(test)]
pub(crate) mod tests;

/// A message on its way.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// The sender may have sent this before.
    pub dup: bool,
    /// QoS of this delivery.
    pub qos: QoS,
    /// To a server: keep the message for later subscribers. To a client: it was kept.
    pub retain: bool,
    /// Topic Name. In 5.0 empty if a Topic Alias stands for it.
    pub topic: &'a str,
    /// Present exactly if QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// The payload, maybe empty. Whether it is what Payload Format Indicator says is for the caller to check.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    #[inline]
    pub(crate) fn decode(
        version: ProtocolVersion,
        receiver: Receiver,
        flags: u8,
        body: &'a [u8],
    ) -> Result<Self, DecodeError> {
        // 3.1.1, 5.0 [MQTT-3.3.1-4]
        let qos = QoS::from_bits(flags >> 1 & 0x03).ok_or(DecodeError::PublishQos)?;
        let dup = flags & DUP != 0;
        // 3.1.1, 5.0 [MQTT-3.3.1-2]; 3.1 does not rule it out.
        if dup && qos == QoS::AtMostOnce && version != ProtocolVersion::V31 {
            return Err(DecodeError::DupWithQos0);
        }
        let mut reader = Reader::new(body);
        // 3.1.1, 5.0 [MQTT-3.3.2-1], [MQTT-3.3.2-2]
        let topic = reader.topic_name(Field::TopicName, DecodeError::TopicName)?;
        // 3.1.1 [MQTT-2.3.1-5], 5.0 [MQTT-2.2.1-2]
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties = reader.properties(version, place(receiver))?;
        // 3.1.1, 5.0 [MQTT-4.7.3-1]; 5.0 section 3.3.2.1
        if topic.is_empty() && !properties.has(PropertyId::TopicAlias) {
            return Err(DecodeError::EmptyTopicName);
        }
        let retain = flags & RETAIN != 0;
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    pub(crate) fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.packet_id.is_some() == (self.qos == QoS::AtMostOnce) {
            return Err(EncodeError::PacketId);
        }
        if self.dup && self.qos == QoS::AtMostOnce && version != ProtocolVersion::V31 {
            return Err(EncodeError::DupWithQos0);
        }
        if self.topic.len() > crate::MAX_TOPIC_LEN {
            return Err(EncodeError::TooLong(Field::TopicName));
        }
        let frame = PublishFrame {
            version,
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic,
            topic_alias: None,
            packet_id: self.packet_id,
            message_expiry: None,
            subscription_ids: &[],
            properties: if version.is_v5() { self.properties.encodable()? } else { &[] },
            payload_len: self.payload.len(),
        };
        if !frame.fits() {
            return Err(EncodeError::PacketTooLarge);
        }
        out.reserve(frame.encoded_len());
        frame.encode_head(out);
        out.extend_from_slice(self.payload);
        Ok(())
    }
}

#[inline]
const fn place(receiver: Receiver) -> PropertyPlace {
    match receiver {
        Receiver::Server => PropertyPlace::PublishToServer,
        Receiver::Client => PropertyPlace::PublishToClient,
    }
}

pub(crate) const DUP: u8 = 0x08;
pub(crate) const RETAIN: u8 = 0x01;
