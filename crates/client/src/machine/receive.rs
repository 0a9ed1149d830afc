//! Messages from the server, and their acknowledgements.

use std::sync::Arc;

use bytes::Bytes;
use cork_packet::{Ack, Packet, Properties, PropertiesBuf, Publish, QoS, ReasonCode};
use cork_proto::PeerError;

use super::{AckKey, Event, Incoming, Machine, Record, acks::Second};

impl Machine {
    pub(super) fn handle_publish(&mut self, publish: &Publish<'_>) -> Result<(), PeerError> {
        let topic = self.topic(publish)?;
        let ack = match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                let sequence = self.acks.publish1(packet_id);
                Some(AckKey { sequence, packet_id, qos: QoS::AtLeastOnce })
            }
            (QoS::ExactlyOnce, Some(packet_id)) => match self.acks.publish2(packet_id) {
                Second::New(sequence) => Some(AckKey { sequence, packet_id, qos: QoS::ExactlyOnce }),
                Second::Repeated => return self.check_window(),
            },
            _ => None,
        };
        if ack.is_some() {
            self.check_window()?;
        }
        let properties =
            if publish.properties.is_empty() { PropertiesBuf::new() } else { publish.properties.into() };
        self.events.push_back(Event::Message(Incoming {
            topic,
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            properties,
            ack,
        }));
        Ok(())
    }

    /// 5.0 [MQTT-3.3.4-9]: more under way than this end allowed. 3.1.1 knows no such limit.
    fn check_window(&self) -> Result<(), PeerError> {
        let maximum = usize::from(self.settings.receive_maximum.max(1));
        if self.version.is_v5() && self.acks.open() > maximum {
            return Err(PeerError::ReceiveMaximumExceeded);
        }
        Ok(())
    }

    fn topic(&mut self, publish: &Publish<'_>) -> Result<Arc<str>, PeerError> {
        let maximum = self.settings.topic_alias_maximum;
        let name = match publish.properties.topic_alias() {
            None => publish.topic,
            Some(alias) if publish.topic.is_empty() => self.alias_in.resolve(alias, maximum)?,
            Some(alias) => {
                self.alias_in.define(alias, publish.topic, maximum)?;
                publish.topic
            }
        };
        if *self.last_topic != *name {
            self.last_topic = name.into();
        }
        Ok(Arc::clone(&self.last_topic))
    }

    pub(super) fn handle_pubrel(&mut self, ack: &Ack<'_>) {
        let known = self.acks.pubrel(ack.packet_id);
        if known && self.settings.records {
            self.events.push_back(Event::Record(Record::Completed(ack.packet_id)));
        }
        let reason = if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
        let answer = Ack { packet_id: ack.packet_id, reason, properties: Properties::EMPTY };
        self.send(&Packet::PubComp(answer)).unwrap_or_default();
    }

    /// The program is done with a message: its acknowledgement goes out, once those before it went. A Reason Code of
    /// 0x80 or above tells a 5.0 server that the message was refused.
    pub fn ack(&mut self, key: AckKey, reason: ReasonCode) {
        if self.settings.pubacks_at_once && key.qos == QoS::AtLeastOnce {
            let packet_id = if self.is_online() { self.acks.done_at_once(key) } else { None };
            if let Some(packet_id) = packet_id {
                let ack = Ack { packet_id, reason, properties: Properties::EMPTY };
                self.send(&Packet::PubAck(ack)).unwrap_or_default();
            }
            return;
        }
        self.acks.done(key, reason);
        self.send_acks();
    }

    pub(super) fn send_acks(&mut self) {
        if !self.is_online() {
            return;
        }
        while let Some((packet_id, reason)) = self.acks.next_puback() {
            let ack = Ack { packet_id, reason, properties: Properties::EMPTY };
            self.send(&Packet::PubAck(ack)).unwrap_or_default();
        }
        while let Some((packet_id, reason)) = self.acks.next_pubrec() {
            if self.settings.records && !reason.is_error() {
                self.events.push_back(Event::Record(Record::Received(packet_id)));
            }
            let ack = Ack { packet_id, reason, properties: Properties::EMPTY };
            self.send(&Packet::PubRec(ack)).unwrap_or_default();
        }
    }
}
