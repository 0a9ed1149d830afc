//! Publications to the server: checked, queued, sent, acknowledged, sent again.

use cork_packet::{
    Ack, Packet, PacketId, Properties, PropertiesBuf, Property, PropertyId, PropertyPlace, PublishFrame, QoS,
    ReasonCode, validate_name,
};
use cork_proto::{Acked, AliasUse, PeerError, Phase as Awaits, Time};

use super::{Event, Flying, Machine, Published, Record, Released, Token};
use crate::{Publish, PublishError, store::Ledger};

/// How far a publication came at once.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// QoS 0, encoded: it is written when so many bytes were transmitted on this connection.
    Encoded(u64),
    /// An event with the token will tell.
    Pending,
}

impl Machine {
    /// Takes a publication. QoS 0 goes out at once, QoS 1 and 2 as soon as Receive Maximum allows; all wait while
    /// there is no connection. How many wait is for the caller to bound, with [`Machine::queued`].
    ///
    /// # Errors
    /// What is wrong with it, as far as this end can tell; it is not taken then.
    pub fn publish(
        &mut self,
        now: Time,
        publish: Publish,
        token: Option<Token>,
    ) -> Result<Accepted, PublishError> {
        self.check(&publish)?;
        if publish.qos == QoS::AtMostOnce && self.is_online() && self.queue.is_empty() {
            self.encode(&publish, false, None, publish.properties.as_properties(), true);
            return Ok(Accepted::Encoded(self.produced));
        }
        let number = self.next_number;
        self.next_number += u64::from(publish.qos != QoS::AtMostOnce);
        if self.settings.records && publish.qos != QoS::AtMostOnce {
            self.events.push_back(Event::Record(Record::Accepted(number, publish.clone())));
        }
        let flying = Flying { publish, token, since: now, number, sent: false };
        if self.is_online() && self.queue.is_empty() && self.has_room(flying.publish.qos) {
            self.launch(now, flying);
        } else {
            self.queue_bytes += flying.publish.weight();
            self.queue.push_back(flying);
        }
        Ok(Accepted::Pending)
    }

    /// Takes over what an earlier run of the program left, before the first connection. `token` names those who
    /// wait for each publication.
    pub(crate) fn restore(&mut self, ledger: &Ledger, mut token: impl FnMut() -> Token) {
        let mut sent: Vec<_> = ledger.publications.iter().collect();
        sent.sort_by_key(|(_, saved)| saved.sent_at);
        for (&number, saved) in sent {
            let token = Some(token());
            let flying = saved.publish.clone().map(|publish| {
                let sent = saved.packet_id.is_some();
                Flying { publish, token, since: Time::ZERO, number, sent }
            });
            match (saved.packet_id, flying) {
                (None, Some(flying)) => {
                    self.queue_bytes += flying.publish.weight();
                    self.queue.push_back(flying);
                }
                (Some(id), Some(flying)) => {
                    let second = flying.publish.qos == QoS::ExactlyOnce;
                    self.second_open += usize::from(second);
                    let awaits = if second { Awaits::Pubrec } else { Awaits::Puback };
                    self.inflight.restore(id, awaits, Some(flying));
                }
                (Some(id), None) => {
                    self.second_open += 1;
                    self.inflight.restore(id, Awaits::Pubcomp, None);
                    self.released.insert(id, Released { token, number, result: Published::success() });
                }
                // Released, and then the server lost the Session: nothing is owed any more.
                (None, None) => self.finish(token, number, QoS::ExactlyOnce, Err(PublishError::SessionLost)),
            }
        }
        self.next_number = ledger.next;
        ledger.received.iter().for_each(|id| self.acks.restore(*id));
        if let Some(client_id) = &ledger.client_id {
            self.client_id = client_id.as_str().into();
            self.has_session = true;
            self.connected_before = true;
        }
    }

    /// The number that the next QoS 1 or 2 publication gets in the records: how many were taken so far.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Publications that wait to be sent, and their weight in bytes.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queue_bytes)
    }

    /// Publications sent and not finished.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.inflight.len()
    }

    fn check(&self, publish: &Publish) -> Result<(), PublishError> {
        validate_name(&publish.topic).map_err(PublishError::Topic)?;
        publish.properties.check().map_err(PublishError::Property)?;
        let properties = publish.properties.as_properties();
        if publish.properties != PropertiesBuf::new() {
            if properties.has(PropertyId::TopicAlias) {
                return Err(PublishError::Properties("Topic Aliases are chosen by the client itself".into()));
            }
            Properties::decode(properties.raw(), PropertyPlace::PublishToServer)
                .map_err(|error| PublishError::Properties(error.to_string()))?;
        }
        let length = self.frame(publish, PacketId::FIRST).encoded_len();
        let maximum = cork_packet::MAX_REMAINING_LENGTH as usize;
        if length > maximum {
            return Err(PublishError::TooLarge { length, maximum });
        }
        self.check_limits(publish)
    }

    /// What the server said it does not take.
    fn check_limits(&self, publish: &Publish) -> Result<(), PublishError> {
        let Some(limits) = &self.limits else { return Ok(()) };
        // 5.0 [MQTT-3.2.2-11]
        if publish.qos > limits.maximum_qos {
            return Err(PublishError::QosNotSupported { maximum: limits.maximum_qos });
        }
        // 5.0 [MQTT-3.2.2-14]
        if publish.retain && !limits.retain_available {
            return Err(PublishError::RetainNotSupported);
        }
        // 5.0 [MQTT-3.1.2-24] holds for servers; 3.2.2.3.6 asks the same of clients.
        let length = self.frame(publish, PacketId::FIRST).encoded_len();
        if !self.fits(length) {
            return Err(PublishError::TooLarge { length, maximum: limits.maximum_packet_size as usize });
        }
        Ok(())
    }

    fn frame<'a>(&self, publish: &'a Publish, packet_id: PacketId) -> PublishFrame<'a> {
        PublishFrame {
            version: self.version,
            dup: false,
            qos: publish.qos,
            retain: publish.retain,
            topic: &publish.topic,
            topic_alias: None,
            packet_id: (publish.qos != QoS::AtMostOnce).then_some(packet_id),
            message_expiry: None,
            subscription_ids: &[],
            properties: publish.properties.as_properties().raw(),
            payload_len: publish.payload.len(),
        }
    }

    /// Writes a PUBLISH.
    fn encode(
        &mut self,
        publish: &Publish,
        dup: bool,
        packet_id: Option<PacketId>,
        properties: Properties<'_>,
        alias: bool,
    ) {
        let start = self.out.len();
        let mut frame = self.frame(publish, packet_id.unwrap_or(PacketId::FIRST));
        frame.dup = dup;
        frame.properties = properties.raw();
        let choice = if alias { self.alias_out.choose(&publish.topic) } else { AliasUse::None };
        match choice {
            AliasUse::Known(alias) => {
                frame.topic = "";
                frame.topic_alias = Some(alias);
            }
            AliasUse::New(alias) => frame.topic_alias = Some(alias),
            AliasUse::None => {}
        }
        if !self.fits(frame.encoded_len()) {
            frame.topic = &publish.topic;
            frame.topic_alias = None;
        } else if let AliasUse::New(alias) = choice {
            self.alias_out.define(alias, &publish.topic);
        }
        frame.encode_head(&mut self.out);
        self.out.extend_from_slice(&publish.payload);
        self.wrote(start);
    }

    /// Whether another QoS 1 or 2 publication may go (5.0 [MQTT-3.3.4-7]).
    fn has_room(&self, qos: QoS) -> bool {
        let theirs = self.limits.as_ref().map_or(0, |limits| limits.receive_maximum);
        let window = usize::from(theirs.min(self.settings.inflight_max));
        if qos == QoS::ExactlyOnce
            && !self.version.is_v5()
            && self.second_open >= usize::from(self.settings.inflight_qos2_v311_max)
        {
            return false;
        }
        self.inflight.open() < window && !self.inflight.is_resending() && self.inflight.len() < FLIGHTS_MAX
    }

    /// Sends a publication for the first time on this connection.
    fn launch(&mut self, now: Time, mut flying: Flying) {
        let waited = now.since(flying.since).as_secs();
        let publish = flying.publish.clone();
        let shortened;
        let mut properties = publish.properties.as_properties();
        if let Some(seconds) = properties.message_expiry_interval().filter(|_| waited > 0) {
            let left = u64::from(seconds).saturating_sub(waited);
            if left == 0 {
                return self.finish(
                    flying.token,
                    flying.number,
                    flying.publish.qos,
                    Err(PublishError::Expired),
                );
            }
            shortened = with_expiry(properties, u32::try_from(left).unwrap_or(seconds));
            properties = shortened.as_properties();
        }
        if let Err(error) = self.check_limits(&flying.publish) {
            return self.finish(flying.token, flying.number, flying.publish.qos, Err(error));
        }
        if publish.qos == QoS::AtMostOnce {
            self.encode(&publish, false, None, properties, true);
            if let Some(token) = flying.token {
                self.events.push_back(Event::Encoded(token, self.produced));
            }
            return;
        }
        flying.sent = true;
        self.second_open += usize::from(publish.qos == QoS::ExactlyOnce);
        let number = flying.number;
        // `has_room` left identifiers over, and requests take no more than those.
        let Some(packet_id) = self.inflight.push(flying, publish.qos) else { return };
        if self.settings.records {
            self.events.push_back(Event::Record(Record::Sent(number, packet_id)));
        }
        self.encode(&publish, false, Some(packet_id), properties, true);
    }

    /// Sends again what is owed, then what waits, as far as the window allows.
    pub(super) fn fill_window(&mut self, now: Time) {
        if !self.is_online() {
            return;
        }
        if self.inflight.is_resending() {
            self.resend();
        }
        while let Some(next) = self.queue.front() {
            if next.publish.qos != QoS::AtMostOnce && !self.has_room(next.publish.qos) {
                break;
            }
            let Some(flying) = self.queue.pop_front() else { break };
            self.queue_bytes -= flying.publish.weight();
            self.launch(now, flying);
        }
    }

    /// 5.0 [MQTT-4.4.0-1], 3.1.1 [MQTT-4.4.0-1]: PUBLISH with DUP, PUBREL as it was, in the order of first sending.
    fn resend(&mut self) {
        let theirs = self.limits.as_ref().map_or(1, |limits| limits.receive_maximum);
        let window = usize::from(theirs.min(self.settings.inflight_max));
        while let Some((packet_id, flight)) = self.inflight.resend(window) {
            if flight.awaits == Awaits::Pubcomp {
                self.send(&Packet::PubRel(Ack::success(packet_id))).unwrap_or_default();
            } else if let Some(publish) = flight.item.as_ref().map(|flying| flying.publish.clone()) {
                let properties = publish.properties.as_properties();
                self.encode(&publish, true, Some(packet_id), properties, true);
            }
        }
    }

    pub(super) fn handle_puback(&mut self, ack: &Ack<'_>) -> Result<(), PeerError> {
        match self.inflight.puback(ack.packet_id) {
            Acked::Taken(Some(flying)) => {
                self.finish(flying.token, flying.number, QoS::AtLeastOnce, outcome(ack));
                Ok(())
            }
            Acked::Taken(None) | Acked::Again => Ok(()),
            Acked::Unknown => self.stray(ack.packet_id),
        }
    }

    /// An acknowledgement of nothing. For a QoS 1 or 2 flight that waits for another packet it breaks the protocol;
    /// for an unknown identifier it may be late, and is passed over.
    fn stray(&mut self, packet_id: PacketId) -> Result<(), PeerError> {
        if self.inflight.awaits(packet_id).is_some() {
            Err(PeerError::AckMismatch(packet_id))
        } else {
            Ok(())
        }
    }

    pub(super) fn handle_pubrec(&mut self, ack: &Ack<'_>) -> Result<(), PeerError> {
        let refused = ack.reason.is_error();
        match self.inflight.pubrec(ack.packet_id, refused) {
            Acked::Taken(Some(flying)) if refused => {
                self.second_open -= 1;
                self.finish(flying.token, flying.number, QoS::ExactlyOnce, outcome(ack));
                return Ok(());
            }
            Acked::Taken(Some(flying)) => {
                let result = outcome(ack).unwrap_or(Published::success());
                if self.settings.records {
                    self.events.push_back(Event::Record(Record::Released(flying.number)));
                }
                let released = Released { token: flying.token, number: flying.number, result };
                self.released.insert(ack.packet_id, released);
            }
            Acked::Taken(None) | Acked::Again => {}
            Acked::Unknown if refused => return self.stray(ack.packet_id),
            Acked::Unknown => {
                self.stray(ack.packet_id)?;
                // 5.0 4.3.3: the server is told that there is nothing to release.
                let unknown = Ack {
                    packet_id: ack.packet_id,
                    reason: ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
                    properties: Properties::EMPTY,
                };
                self.send(&Packet::PubRel(unknown)).unwrap_or_default();
                return Ok(());
            }
        }
        // 5.0 [MQTT-4.3.3-4]; in the order of the PUBRECs ([MQTT-4.6.0-4] of 3.1.1).
        self.send(&Packet::PubRel(Ack::success(ack.packet_id))).unwrap_or_default();
        Ok(())
    }

    pub(super) fn handle_pubcomp(&mut self, ack: &Ack<'_>) {
        if let Acked::Taken(_) = self.inflight.pubcomp(ack.packet_id) {
            self.second_open -= 1;
            let Some(released) = self.released.remove(&ack.packet_id) else { return };
            self.finish(released.token, released.number, QoS::ExactlyOnce, Ok(released.result));
        }
    }

    pub(super) fn finish(
        &mut self,
        token: Option<Token>,
        number: u64,
        qos: QoS,
        result: Result<Published, PublishError>,
    ) {
        if self.settings.records && qos != QoS::AtMostOnce {
            self.events.push_back(Event::Record(Record::Finished(number)));
        }
        if let Some(token) = token {
            self.events.push_back(Event::Published(token, result));
        }
    }

    /// The server has no Session any more. What was certainly not processed, and QoS 1, goes out as new, before what
    /// waits; a QoS 2 message that may have been taken is given up, because it must not arrive twice.
    pub(super) fn forget_flights(&mut self) {
        let mut again = Vec::new();
        self.second_open = 0;
        for (packet_id, flight) in self.inflight.take_all() {
            match (flight.awaits, flight.item) {
                (Awaits::Puback, Some(mut flying)) => {
                    flying.sent = false;
                    again.push(flying);
                }
                (Awaits::Pubrec, Some(flying)) => {
                    let lost = Err(PublishError::SessionLost);
                    self.finish(flying.token, flying.number, QoS::ExactlyOnce, lost);
                }
                _ => {
                    if let Some(released) = self.released.remove(&packet_id) {
                        let lost = Err(PublishError::SessionLost);
                        self.finish(released.token, released.number, QoS::ExactlyOnce, lost);
                    }
                }
            }
        }
        for flying in again.into_iter().rev() {
            self.queue_bytes += flying.publish.weight();
            self.queue.push_front(flying);
        }
    }
}

/// Packet Identifiers for publications; the rest is left for SUBSCRIBE and UNSUBSCRIBE.
const FLIGHTS_MAX: usize = 65_535 - super::subscribe::REQUESTS_MAX;

fn outcome(ack: &Ack<'_>) -> Result<Published, PublishError> {
    if ack.reason.is_error() {
        let reason_string = ack.properties.reason_string().map(str::to_owned);
        return Err(PublishError::Refused { reason: ack.reason, reason_string });
    }
    Ok(Published { reason: ack.reason, properties: ack.properties.into() })
}

fn with_expiry(properties: Properties<'_>, seconds: u32) -> PropertiesBuf {
    let mut changed = PropertiesBuf::from(properties);
    changed.remove(PropertyId::MessageExpiryInterval);
    changed.push(Property::MessageExpiryInterval(seconds));
    changed
}
