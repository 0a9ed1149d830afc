//! Acknowledgements owed to the server: in the order of arrival, whatever the order in which the program is done
//! (3.1.1 [MQTT-4.6.0-2], [MQTT-4.6.0-3]).

use std::collections::{BTreeMap, VecDeque};

use cork_packet::{PacketId, QoS, ReasonCode};
use cork_proto::Received;

use super::AckKey;

/// One acknowledgement owed: for whom, and what it says once the program is done.
struct Owed {
    packet_id: PacketId,
    reason: Option<ReasonCode>,
    /// Whether it went already, past others.
    sent: bool,
}

/// PUBACKs, or PUBRECs, in order of arrival.
#[derive(Default)]
struct Row {
    /// Sequence of `owed[0]`.
    base: u64,
    owed: VecDeque<Owed>,
    /// Those of `owed` that went already.
    sent: usize,
}

impl Row {
    fn push(&mut self, packet_id: PacketId, reason: Option<ReasonCode>) -> u64 {
        self.owed.push_back(Owed { packet_id, reason, sent: false });
        self.base + self.owed.len() as u64 - 1
    }

    /// False when `sequence` is of an earlier connection.
    fn mark(&mut self, sequence: u64, reason: ReasonCode) -> bool {
        let at = sequence.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        let owed = at.and_then(|at| self.owed.get_mut(at));
        owed.map(|owed| owed.reason.get_or_insert(reason)).is_some()
    }

    /// Takes one out of the row; nothing when it is of an earlier connection.
    fn take(&mut self, sequence: u64) -> Option<PacketId> {
        let at = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        let owed = self.owed.get_mut(at).filter(|owed| !owed.sent)?;
        owed.sent = true;
        self.sent += 1;
        let packet_id = owed.packet_id;
        while self.owed.front().is_some_and(|owed| owed.sent) {
            self.owed.pop_front();
            self.base += 1;
            self.sent -= 1;
        }
        Some(packet_id)
    }

    fn pop(&mut self) -> Option<(PacketId, ReasonCode)> {
        let &Owed { packet_id, reason: Some(reason), .. } = self.owed.front()? else { return None };
        self.owed.pop_front();
        self.base += 1;
        Some((packet_id, reason))
    }

    fn clear(&mut self) {
        self.base += self.owed.len() as u64;
        self.owed.clear();
        self.sent = 0;
    }
}

/// What arrived with QoS 1 and 2 and is not finished.
#[derive(Default)]
pub(super) struct Acks {
    puback: Row,
    pubrec: Row,
    /// Identifiers of QoS 2 messages from PUBLISH to PUBREL.
    received: Received,
    /// Those among them that the program still holds, and their sequence now, if the server asked on this
    /// connection.
    held: BTreeMap<PacketId, Option<u64>>,
}

/// What to do with a QoS 2 PUBLISH.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Second {
    /// Hand it out; the key is for the program.
    New(u64),
    /// It was handed out before.
    Repeated,
}

impl Acks {
    /// QoS 1 and 2 messages of the server under way.
    pub(super) fn open(&self) -> usize {
        self.puback.owed.len() - self.puback.sent + self.received.len()
    }

    pub(super) fn publish1(&mut self, packet_id: PacketId) -> u64 {
        self.puback.push(packet_id, None)
    }

    pub(super) fn publish2(&mut self, packet_id: PacketId) -> Second {
        if self.received.insert(packet_id) {
            let sequence = self.pubrec.push(packet_id, None);
            self.held.insert(packet_id, Some(sequence));
            return Second::New(sequence);
        }
        match self.held.get_mut(&packet_id) {
            // Twice on one connection: the first will be answered.
            Some(Some(_)) => {}
            Some(now) => *now = Some(self.pubrec.push(packet_id, None)),
            None => {
                self.pubrec.push(packet_id, Some(ReasonCode::SUCCESS));
            }
        }
        Second::Repeated
    }

    /// PUBREL came. False when the identifier is unknown.
    pub(super) fn pubrel(&mut self, packet_id: PacketId) -> bool {
        self.held.remove(&packet_id);
        self.received.remove(packet_id)
    }

    /// The program is done with a message.
    pub(super) fn done(&mut self, key: AckKey, reason: ReasonCode) {
        if key.qos != QoS::ExactlyOnce {
            self.puback.mark(key.sequence, reason);
        } else if let Some(now) = self.held.remove(&key.packet_id)
            && let Some(sequence) = now
        {
            self.pubrec.mark(sequence, reason);
            if reason.is_error() {
                self.received.remove(key.packet_id);
            }
        }
    }

    /// The program is done with a QoS 1 message, and others may wait.
    pub(super) fn done_at_once(&mut self, key: AckKey) -> Option<PacketId> {
        if key.qos == QoS::ExactlyOnce { None } else { self.puback.take(key.sequence) }
    }

    /// The next PUBACK that may go.
    pub(super) fn next_puback(&mut self) -> Option<(PacketId, ReasonCode)> {
        self.puback.pop()
    }

    /// The next PUBREC that may go.
    pub(super) fn next_pubrec(&mut self) -> Option<(PacketId, ReasonCode)> {
        self.pubrec.pop()
    }

    /// The Network Connection is gone: the server sends again what was not acknowledged.
    pub(super) fn connection_ended(&mut self) {
        self.puback.clear();
        self.pubrec.clear();
        self.held.values_mut().for_each(|now| *now = None);
    }

    /// The Session is gone.
    pub(super) fn session_lost(&mut self) {
        self.connection_ended();
        self.received = Received::default();
        self.held.clear();
    }

    /// An identifier that an earlier run of the program had taken.
    pub(super) fn restore(&mut self, packet_id: PacketId) {
        self.received.insert(packet_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    fn key(qos: QoS, sequence: u64, n: u16) -> AckKey {
        AckKey { sequence, packet_id: id(n), qos }
    }

    #[test]
    fn acknowledgements_wait_for_those_before_them() {
        let mut acks = Acks::default();
        let keys: Vec<_> = (1..=3).map(|n| key(QoS::AtLeastOnce, acks.publish1(id(n)), n)).collect();
        acks.done(keys[1], ReasonCode::SUCCESS);
        assert_eq!(acks.next_puback(), None);
        acks.done(keys[0], ReasonCode::NOT_AUTHORIZED);
        assert_eq!(acks.next_puback(), Some((id(1), ReasonCode::NOT_AUTHORIZED)));
        assert_eq!(acks.next_puback(), Some((id(2), ReasonCode::SUCCESS)));
        assert_eq!((acks.next_puback(), acks.open()), (None, 1));
    }

    #[test]
    fn within_a_broker_acknowledgements_need_not_wait() {
        let mut acks = Acks::default();
        let mut keys: Vec<_> = (1..=3).map(|n| key(QoS::AtLeastOnce, acks.publish1(id(n)), n)).collect();
        assert_eq!(acks.done_at_once(keys[1]), Some(id(2)));
        assert_eq!((acks.done_at_once(keys[1]), acks.open()), (None, 2));
        keys.push(key(QoS::AtLeastOnce, acks.publish1(id(2)), 2));
        assert_eq!((acks.done_at_once(keys[0]), acks.open()), (Some(id(1)), 2));
        assert_eq!(acks.done_at_once(keys[3]), Some(id(2)));
        acks.connection_ended();
        assert_eq!((acks.done_at_once(keys[2]), acks.open()), (None, 0));
    }

    #[test]
    fn a_qos_1_message_of_an_earlier_connection_is_not_acknowledged_on_the_next() {
        let mut acks = Acks::default();
        let old = key(QoS::AtLeastOnce, acks.publish1(id(1)), 1);
        acks.connection_ended();
        let new = key(QoS::AtLeastOnce, acks.publish1(id(1)), 1);
        acks.done(old, ReasonCode::SUCCESS);
        assert_eq!(acks.next_puback(), None);
        acks.done(new, ReasonCode::SUCCESS);
        assert_eq!(acks.next_puback(), Some((id(1), ReasonCode::SUCCESS)));
    }

    #[test]
    fn a_qos_2_message_held_over_a_reconnection_is_handed_out_once() {
        for done_before in [true, false] {
            let mut acks = Acks::default();
            let Second::New(sequence) = acks.publish2(id(7)) else { panic!("new") };
            let held = key(QoS::ExactlyOnce, sequence, 7);
            acks.connection_ended();
            if done_before {
                acks.done(held, ReasonCode::SUCCESS);
            }
            assert_eq!(acks.publish2(id(7)), Second::Repeated);
            if !done_before {
                assert_eq!(acks.next_pubrec(), None);
                acks.done(held, ReasonCode::SUCCESS);
            }
            assert_eq!(acks.next_pubrec(), Some((id(7), ReasonCode::SUCCESS)));
            assert_eq!(acks.open(), 1);
            assert!(acks.pubrel(id(7)) && !acks.pubrel(id(7)));
            assert_eq!(acks.open(), 0);
        }
    }
}
