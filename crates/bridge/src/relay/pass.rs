//! Packets that pass from one side to the other.

use std::{sync::Arc, time::Duration};

use cork_packet::{
    MAX_TOPIC_LEN, Packet, PacketId, Properties, PropertyId, Publish, PublishFrame, QoS, ReasonCode,
    Receiver, decode, levels,
};

use cork_store::Facts;

use super::{End, HELD_BYTES_MAX, Note, Relay, Side, breaker::Verdict, suspects::Trial};
use crate::hops;

/// Kinds of notes, each written once a connection.
const REFUSED_REMOTE: u8 = 1;
const REFUSED_LOCAL: u8 = 2;
const TOO_LARGE: u8 = 4;
const CIRCLE: u8 = 8;

/// Why a publication does not pass.
pub(super) enum Stop {
    Unmapped,
    Circle,
    TooOld,
    TooLarge(usize),
}

impl Relay {
    pub(super) fn on_local(&mut self, packet: &Packet<'_>, bytes: &[u8]) {
        match packet {
            Packet::Publish(publish) if self.is_free(publish, bytes) => self.publish_out(publish),
            Packet::PubAck(ack) if self.passes(Side::Local, ack.reason) => {
                self.incoming_over(ack.packet_id);
                if self.lowered_in.contains(ack.packet_id) {
                    if ack.reason.is_error() && self.opening.version.is_v5() {
                        self.lowered_in.remove(ack.packet_id);
                    }
                    return self.ack(Side::Remote, Packet::PubRec, ack.packet_id, ack.reason);
                }
                self.ack(Side::Remote, Packet::PubAck, ack.packet_id, ack.reason);
            }
            Packet::PubRec(ack) if self.passes(Side::Local, ack.reason) => {
                if ack.reason.is_error() {
                    self.incoming_over(ack.packet_id);
                }
                self.ack(Side::Remote, Packet::PubRec, ack.packet_id, ack.reason);
            }
            Packet::PubRel(ack) => self.release_out(ack.packet_id, ack.reason),
            Packet::PubComp(ack) => {
                if self.swept_local.remove(ack.packet_id) {
                    return self.settle();
                }
                self.incoming_over(ack.packet_id);
                self.ack(Side::Remote, Packet::PubComp, ack.packet_id, ack.reason);
            }
            // A server sends nothing else; what it must not send was refused before.
            _ => {}
        }
    }

    pub(super) fn on_remote(&mut self, packet: &Packet<'_>, bytes: &[u8]) {
        match packet {
            Packet::Publish(publish) => {
                let full = publish.packet_id.is_some() && self.incoming_count >= self.incoming_max;
                if full || !self.held.is_empty() {
                    return self.hold(bytes);
                }
                self.publish_in(publish);
            }
            Packet::PubAck(ack) if self.suspects.trial() == Trial::Called(ack.packet_id) => {
                self.witnessed(ack.reason);
            }
            Packet::PubAck(ack) if self.passes(Side::Remote, ack.reason) => {
                self.answered();
                self.suspects.answered(self.now, ack.packet_id, !ack.reason.is_error());
                if self.lowered_out.contains(ack.packet_id) {
                    if ack.reason.is_error() {
                        self.lowered_out.remove(ack.packet_id);
                    }
                    return self.ack(Side::Local, Packet::PubRec, ack.packet_id, ack.reason);
                }
                self.ack(Side::Local, Packet::PubAck, ack.packet_id, ack.reason);
            }
            Packet::PubRec(ack) if self.passes(Side::Remote, ack.reason) => {
                self.answered();
                self.suspects.answered(self.now, ack.packet_id, !ack.reason.is_error());
                if !ack.reason.is_error() {
                    self.unreleased += 1;
                    if !self.remote.present {
                        self.taken.insert(ack.packet_id);
                    }
                }
                self.ack(Side::Local, Packet::PubRec, ack.packet_id, ack.reason);
            }
            Packet::PubRel(ack) if self.lowered_in.remove(ack.packet_id) => {
                self.ack(Side::Remote, Packet::PubComp, ack.packet_id, ReasonCode::SUCCESS);
            }
            Packet::PubRel(ack) => self.ack(Side::Local, Packet::PubRel, ack.packet_id, ack.reason),
            Packet::PubComp(ack) => {
                if self.swept_remote.remove(ack.packet_id) {
                    return;
                }
                self.answered();
                self.unreleased = self.unreleased.saturating_sub(1);
                self.taken.remove(ack.packet_id);
                self.ack(Side::Local, Packet::PubComp, ack.packet_id, ack.reason);
            }
            _ => {}
        }
    }

    /// The other broker does something with what it was sent.
    pub(super) fn answered(&mut self) {
        self.awaiting = self.awaiting.saturating_sub(1);
        self.progress = self.now;
    }

    pub(super) fn awaits(&mut self) {
        if self.awaiting == 0 {
            self.progress = self.now;
        }
        self.awaiting += 1;
    }

    pub(super) fn publish_out(&mut self, publish: &Publish<'_>) {
        match self.send_out(publish) {
            Ok(()) => self.counters.out += 1,
            Err(stop) => {
                self.stopped(Side::Remote, publish.topic, &stop);
                // It will never pass: for this broker the flow is over.
                match (publish.packet_id, publish.qos) {
                    (Some(id), QoS::ExactlyOnce) => {
                        self.ack(Side::Local, Packet::PubRec, id, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
                    }
                    (Some(id), _) => self.ack(Side::Local, Packet::PubAck, id, ReasonCode::SUCCESS),
                    (None, _) => {}
                }
            }
        }
    }

    fn send_out(&mut self, publish: &Publish<'_>) -> Result<(), Stop> {
        let plan = Arc::clone(&self.plan);
        let (renamed_topic, qos_max) = plan.out.rename(publish.topic).ok_or(Stop::Unmapped)?;
        let mut properties = publish.properties.raw();
        if let Some(max_age) = plan.max_age {
            properties = self.young(&publish.properties, max_age)?;
        }
        if publish.properties.has(PropertyId::UserProperty)
            && hops::is_circle(&publish.properties, &[&plan.mark])
        {
            return Err(Stop::Circle);
        }
        let verdict = self.breaker_out.look(self.now, publish.topic, publish.payload);
        if verdict == Verdict::Drop {
            return Err(Stop::Circle);
        }
        let qos = publish.qos.min(self.qos_max).min(qos_max);
        let renamed = Publish { retain: publish.retain && self.retain_available, ..*publish };
        self.write(Side::Remote, &renamed, (qos, properties), renamed_topic)?;
        self.pace();
        if verdict == Verdict::Probe && !self.suspects.one_by_one() {
            self.probe(Side::Remote, publish.topic);
        }
        if qos == QoS::AtMostOnce {
            self.suspects.sent_at_most_once();
        } else {
            self.suspects.sent(publish);
        }
        let Some(id) = publish.packet_id else { return Ok(()) };
        match (publish.qos, qos) {
            (QoS::ExactlyOnce, QoS::AtMostOnce) => {
                self.lowered_out.insert(id);
                self.ack(Side::Local, Packet::PubRec, id, ReasonCode::SUCCESS);
            }
            (_, QoS::AtMostOnce) => self.ack(Side::Local, Packet::PubAck, id, ReasonCode::SUCCESS),
            (QoS::ExactlyOnce, QoS::AtLeastOnce) => {
                self.lowered_out.insert(id);
                self.awaits();
            }
            _ => self.awaits(),
        }
        Ok(())
    }

    /// The properties of a message that is young enough, without what this broker says of it behind them.
    fn young<'a>(&self, properties: &Properties<'a>, max_age: Duration) -> Result<&'a [u8], Stop> {
        let raw = properties.raw();
        let mut last = [("", ""); 2];
        for pair in properties.user_properties() {
            last = [last[1], pair];
        }
        let [id, who] = last;
        let Some(facts) = Facts::from_pairs(id, who) else { return Ok(raw) };
        let now = self.opening.wall + self.now.as_micros();
        if u128::from(now.saturating_sub(facts.id.arrived.0)) > max_age.as_micros() {
            return Err(Stop::TooOld);
        }
        // An identifier and two lengths each.
        let facts_len = 10 + id.0.len() + id.1.len() + who.0.len() + who.1.len();
        Ok(&raw[..raw.len().saturating_sub(facts_len)])
    }

    /// A message went out: when may the next one? A read may hold more than one, which are then paid for afterwards.
    fn pace(&mut self) {
        if let Some(pause) = Duration::from_secs(1).checked_div(self.plan.messages_per_second) {
            self.paced = self.paced.max(self.now) + pause;
        }
    }

    /// Sends a message that shows, should it come back, that messages of this topic go round.
    fn probe(&mut self, to: Side, like: &str) {
        let plan = Arc::clone(&self.plan);
        let (map, breaker) = match to {
            Side::Remote => (&plan.out, &mut self.breaker_out),
            Side::Local => (&plan.into, &mut self.breaker_in),
        };
        let Some(rule) = map.rule(like) else { return };
        let Some(topic) = breaker.begin(self.now, rule, like) else { return };
        let probe = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: &topic,
            packet_id: None,
            properties: Properties::EMPTY,
            payload: b"",
        };
        if let Some((renamed, _)) = map.rename(&topic) {
            // One that is too long shows nothing.
            let _ = self.write(to, &probe, (QoS::AtMostOnce, &[]), renamed);
        }
    }

    /// PUBREL of a message that went out.
    fn release_out(&mut self, id: PacketId, reason: ReasonCode) {
        // Where there is no QoS 2, or the other broker forgot the session, it has nothing to release.
        let forgotten = !self.remote.present && !self.taken.contains(id);
        if self.lowered_out.remove(id) || self.qos_max < QoS::ExactlyOnce || forgotten {
            return self.ack(Side::Local, Packet::PubComp, id, ReasonCode::SUCCESS);
        }
        self.awaits();
        self.ack(Side::Remote, Packet::PubRel, id, reason);
    }

    fn publish_in(&mut self, publish: &Publish<'_>) {
        let plan = Arc::clone(&self.plan);
        let circle = || {
            publish.properties.has(PropertyId::UserProperty)
                && hops::is_circle(&publish.properties, &[&plan.mark, &plan.remote_mark])
        };
        let verdict = self.breaker_in.look(self.now, publish.topic, publish.payload);
        let sent = match plan.into.rename(publish.topic) {
            None => Err(Stop::Unmapped),
            Some(_) if verdict == Verdict::Drop || circle() => Err(Stop::Circle),
            Some(((add, rest), _)) if self.is_too_deep(add, rest) => {
                Err(Stop::TooLarge(add.len() + rest.len()))
            }
            Some((topic, qos_max)) => {
                let qos = publish.qos.min(qos_max);
                self.write(Side::Local, publish, (qos, publish.properties.raw()), topic).map(|()| qos)
            }
        };
        if verdict == Verdict::Probe {
            self.probe(Side::Local, publish.topic);
        }
        match sent {
            Ok(qos) => {
                self.counters.into += 1;
                if let Some(id) = publish.packet_id {
                    self.awaits_local(id, publish.qos, qos);
                }
            }
            Err(stop) => {
                self.stopped(Side::Local, publish.topic, &stop);
                match (publish.packet_id, publish.qos) {
                    (Some(id), QoS::ExactlyOnce) => {
                        self.ack(Side::Remote, Packet::PubRec, id, ReasonCode::SUCCESS);
                    }
                    (Some(id), _) => self.ack(Side::Remote, Packet::PubAck, id, ReasonCode::SUCCESS),
                    (None, _) => {}
                }
            }
        }
    }

    /// This broker was given a message, perhaps at a lower QoS than it came with.
    fn awaits_local(&mut self, id: PacketId, came: QoS, qos: QoS) {
        if came == QoS::ExactlyOnce && qos < came {
            self.lowered_in.insert(id);
        }
        match (came, qos) {
            (QoS::ExactlyOnce, QoS::AtMostOnce) => {
                self.ack(Side::Remote, Packet::PubRec, id, ReasonCode::SUCCESS);
            }
            (_, QoS::AtMostOnce) => self.ack(Side::Remote, Packet::PubAck, id, ReasonCode::SUCCESS),
            _ => self.incoming_count += usize::from(self.incoming.insert(id)),
        }
    }

    fn is_too_deep(&self, add: &str, rest: &str) -> bool {
        let deepest = self.plan.topic_levels_max;
        // Two parts have one level less than both have alone.
        deepest != 0 && levels(add) + levels(rest) > deepest + 1
    }

    fn incoming_over(&mut self, id: PacketId) {
        self.incoming_count -= usize::from(self.incoming.remove(id));
        while self.incoming_count < self.incoming_max
            && let Some(bytes) = self.held.pop_front()
        {
            self.held_bytes -= bytes.len();
            // It was decoded when it came.
            if let Ok(Packet::Publish(publish)) = decode(self.opening.version, Receiver::Client, &bytes) {
                self.publish_in(&publish);
            }
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held_bytes += bytes.len();
        if self.held_bytes > HELD_BYTES_MAX {
            return self.end_with(End::TooMuch);
        }
        self.held.push_back(bytes.to_vec());
    }

    /// Appends a publication under the name it has on that side, with the mark of where it comes from.
    pub(super) fn write(
        &mut self,
        side: Side,
        publish: &Publish<'_>,
        (qos, properties): (QoS, &[u8]),
        topic: (&str, &str),
    ) -> Result<(), Stop> {
        let version = self.version(side);
        let (add, rest) = topic;
        let topic = if add.is_empty() {
            rest
        } else {
            self.topic.clear();
            self.topic.push_str(add);
            self.topic.push_str(rest);
            &self.topic
        };
        self.properties.clear();
        if version.is_v5() {
            self.properties.extend_from_slice(properties);
            self.properties.extend_from_slice(if side == Side::Remote {
                &self.out_mark
            } else {
                &self.in_mark
            });
        }
        let at_most_once = qos == QoS::AtMostOnce;
        let frame = PublishFrame {
            version,
            dup: publish.dup && !at_most_once,
            qos,
            retain: publish.retain,
            topic,
            topic_alias: None,
            packet_id: publish.packet_id.filter(|_| !at_most_once),
            message_expiry: None,
            subscription_ids: &[],
            properties: &self.properties,
            payload_len: publish.payload.len(),
        };
        let peer = if side == Side::Remote { &mut self.remote } else { &mut self.local };
        let length = frame.encoded_len();
        if topic.is_empty() || topic.len() > MAX_TOPIC_LEN || !frame.fits() || length > peer.packet_bytes_max
        {
            return Err(Stop::TooLarge(length));
        }
        peer.output.reserve(length);
        frame.encode_head(&mut peer.output);
        peer.output.extend_from_slice(publish.payload);
        Ok(())
    }

    pub(super) fn stopped(&mut self, side: Side, topic: &str, stop: &Stop) {
        let topic = topic.to_owned();
        match *stop {
            Stop::Unmapped => self.counters.unmapped += 1,
            Stop::TooOld => self.counters.too_old += 1,
            Stop::Circle => {
                self.counters.circles += 1;
                self.note(CIRCLE, || Note::Circle { topic });
            }
            Stop::TooLarge(bytes) => {
                self.counters.too_large += 1;
                self.note(TOO_LARGE, || Note::TooLarge { side, topic, bytes });
            }
        }
    }

    /// Whether an answer may be passed on. One that says "no room" may not: acknowledged, the message would be lost, so
    /// it stays where it is and the link is broken off.
    fn passes(&mut self, side: Side, reason: ReasonCode) -> bool {
        if !reason.is_error() {
            return true;
        }
        if reason == ReasonCode::QUOTA_EXCEEDED {
            self.end_with(End::Full(side, reason));
            return false;
        }
        match side {
            Side::Remote => {
                self.counters.refused_remote += 1;
                self.note(REFUSED_REMOTE, || Note::Refused { side, reason });
            }
            Side::Local => {
                self.counters.refused_local += 1;
                self.note(REFUSED_LOCAL, || Note::Refused { side, reason });
            }
        }
        true
    }
}
