//! How a relay goes about [suspects](super::suspects): what is aside does not pass, what is tried is tried alone.

use std::{sync::Arc, time::Duration};

use cork_packet::{Packet, Properties, ProtocolVersion, Publish, QoS, ReasonCode, Receiver, decode};
use cork_proto::Time;

use super::{
    End, Found, Note, Phase, Relay, Side, Suspects,
    suspects::{Fate, Trial},
};

/// How long what was said before a deliberate end has to get out.
const FAREWELL: Duration = Duration::from_millis(200);

impl Relay {
    /// Whether a message of this broker is none of the suspects, so that it passes now.
    pub(super) fn is_free(&mut self, publish: &Publish<'_>, packet: &[u8]) -> bool {
        match self.suspects.fate(publish, packet) {
            Fate::Sent => true,
            Fate::Aside => false,
            Fate::Dropped(news) => {
                self.drop_convicted(publish, news);
                false
            }
        }
    }

    fn drop_convicted(&mut self, publish: &Publish<'_>, news: bool) {
        self.counters.disconnected += 1;
        let (topic, bytes) = (publish.topic.to_owned(), publish.payload.len());
        self.notes.push(Note::Disconnected { topic, bytes, news });
        let Some(id) = publish.packet_id else { return };
        let plan = Arc::clone(&self.plan);
        let qos_there =
            plan.out.rename(publish.topic).map_or(QoS::AtMostOnce, |(_, qos)| qos.min(self.qos_max));
        match (publish.qos, qos_there) {
            (QoS::ExactlyOnce, QoS::ExactlyOnce) => {
                // Perhaps it was taken all the same: then the identifier must be released there before another message
                // has it.
                self.ack(Side::Local, Packet::PubRec, id, ReasonCode::SUCCESS);
            }
            (QoS::ExactlyOnce, _) => {
                self.ack(Side::Local, Packet::PubRec, id, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
            }
            _ => self.ack(Side::Local, Packet::PubAck, id, ReasonCode::SUCCESS),
        }
    }

    /// After each change: goes on with a trial, and with what waited for an answer.
    pub(super) fn go_on(&mut self) {
        if !self.suspects.one_by_one() && !self.local_held {
            return;
        }
        self.go_on_with_trial();
        let free = !self.suspects.hold() || self.waits_for_release();
        if self.local_held && self.end.is_none() && free {
            self.local_held = false;
            let kept = self.local.inbound.take();
            self.feed(Side::Local, &kept);
        }
    }

    fn go_on_with_trial(&mut self) {
        if self.end.is_some() || !matches!(self.phase, Phase::Settling | Phase::Online) {
            return;
        }
        if self.now >= self.suspects.trial_from() {
            self.suspects.set_trial(Trial::Waiting);
        }
        let ready = self.awaiting == 0 && self.pinged.is_none() && !self.waits_for_release();
        if self.suspects.trial() == Trial::Waiting && ready {
            if self.suspects.wants_witness() && self.call_witness() {
                return;
            }
            self.ping();
            self.suspects.set_trial(Trial::Asked);
        } else if self.suspects.trial() == Trial::Asked && self.pinged.is_none() {
            self.try_suspect();
        }
    }

    /// A broker that takes one message at a time must have finished it before the trial. Others may do so afterwards.
    pub(super) fn waits_for_release(&self) -> bool {
        self.suspects.trial() == Trial::Waiting && self.opening.inflight == 1 && self.unreleased > 0
    }

    /// Sends a message of the link's own beside the suspect's topic, to see whether the other broker takes any; false if it
    /// cannot be sent.
    fn call_witness(&mut self) -> bool {
        let plan = Arc::clone(&self.plan);
        let Some((topic, id)) = self.suspects.witness() else { return false };
        let Some(((add, rest), _)) = plan.out.rename(topic) else { return false };
        let topic = self.breaker_out.beside(&format!("{add}{rest}"));
        let message = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: &topic,
            packet_id: Some(id),
            properties: Properties::EMPTY,
            payload: b"",
        };
        let sent = self.qos_max > QoS::AtMostOnce
            && self.write(Side::Remote, &message, (message.qos, &[]), ("", &topic)).is_ok();
        if sent {
            self.suspects.set_trial(Trial::Called(id));
            self.awaits();
        } else {
            self.suspects.witnessed(false);
        }
        sent
    }

    /// The other broker answered that message.
    pub(super) fn witnessed(&mut self, reason: ReasonCode) {
        self.answered();
        self.suspects.witnessed(!reason.is_error());
    }

    fn try_suspect(&mut self) {
        let packet = self.suspects.try_it(self.now).unwrap_or_default();
        if let Ok(Packet::Publish(publish)) = decode(ProtocolVersion::V5, Receiver::Client, &packet) {
            self.publish_out(&publish);
        }
        if !self.suspects.is_one_under_way() {
            // Too old by now, perhaps.
            self.suspects.finished(self.now);
        }
    }

    /// When a trial wants to go on by itself.
    pub(super) fn trial_due(&self) -> Time {
        match self.suspects.trial() {
            Trial::None if self.suspects.one_by_one() => self.suspects.trial_from(),
            Trial::Over(at) => at + FAREWELL,
            _ => Time::NEVER,
        }
    }

    /// The suspect was taken: a connection that begins anew has everything in order, and the usual window.
    pub(super) fn leave_after_trial(&mut self) {
        if let Trial::Over(at) = self.suspects.trial()
            && self.now >= at + FAREWELL
        {
            self.end_with(End::Acquitted);
        }
    }

    /// Messages that are set aside.
    pub(crate) fn aside(&self) -> u64 {
        self.suspects.len() as u64
    }

    /// The connection is over; whether the other broker ended it. What that shows, and what the next one is to know.
    pub(crate) fn conclude(&mut self, by_remote: bool) -> (Found, Suspects) {
        let found = self.suspects.ended(self.now, by_remote);
        (found, std::mem::take(&mut self.suspects))
    }
}
