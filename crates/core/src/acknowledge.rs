//! PUBACK, PUBREC, PUBREL, PUBCOMP (5.0 3.4 to 3.7, 4.3).

use cork_packet::{PacketId, PacketType, ReasonCode};
use cork_proto::Acked;
use cork_store::Record;

use crate::{
    conn::{Answer, SessionIx},
    io::ConnId,
    shard::Shard,
};

impl Shard {
    fn session_at(&mut self, id: ConnId) -> Option<SessionIx> {
        let session = self.board.conn(id)?.session;
        self.board.sessions.contains(session as usize).then_some(session)
    }

    /// A subscriber took a QoS 1 message.
    pub(crate) fn on_puback(&mut self, id: ConnId, packet_id: PacketId) {
        let Some(six) = self.session_at(id) else { return };
        let outgoing = self.board.sessions[six as usize].outgoing();
        let Some(delivery) = outgoing.delivery_of(packet_id) else { return };
        if let Acked::Taken(_) = outgoing.inflight.puback(packet_id) {
            self.flight_over(six, delivery);
        }
    }

    /// A subscriber took a QoS 2 message, or refused it.
    pub(crate) fn on_pubrec(&mut self, id: ConnId, packet_id: PacketId, reason: ReasonCode) {
        let Some(six) = self.session_at(id) else { return };
        let session = &mut self.board.sessions[six as usize];
        let (key, persistent, refused) = (session.key, session.is_persistent(), reason.is_error());
        let outgoing = session.outgoing();
        let delivery = outgoing.delivery_of(packet_id).unwrap_or(0);
        let (relies, reason) = match outgoing.inflight.pubrec(packet_id, refused) {
            Acked::Taken(_) if refused => return self.flight_over(six, delivery),
            Acked::Taken(_) => {
                if persistent {
                    self.board.record(Record::Released { session: key, delivery });
                }
                (persistent, ReasonCode::SUCCESS)
            }
            Acked::Again => (false, ReasonCode::SUCCESS),
            Acked::Unknown if refused => return,
            // Nothing is under way: the client is told, so that it does not wait (5.0 3.6.2.1).
            Acked::Unknown => (false, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND),
        };
        let answer = Answer::Ack { kind: PacketType::PubRel, id: packet_id, reason };
        self.board.answer(id.index, relies, 0, answer);
    }

    /// A QoS 2 message is the subscriber's for good.
    pub(crate) fn on_pubcomp(&mut self, id: ConnId, packet_id: PacketId) {
        let Some(six) = self.session_at(id) else { return };
        let outgoing = self.board.sessions[six as usize].outgoing();
        let Some(delivery) = outgoing.delivery_of(packet_id) else { return };
        if let Acked::Taken(_) = outgoing.inflight.pubcomp(packet_id) {
            self.flight_over(six, delivery);
        }
    }

    /// A publisher releases a Packet Identifier.
    pub(crate) fn on_pubrel(&mut self, id: ConnId, packet_id: PacketId) {
        let Some(six) = self.session_at(id) else { return };
        let session = &mut self.board.sessions[six as usize];
        let known = session.received.remove(packet_id);
        let relies = known && session.is_persistent();
        if relies {
            let session = session.key;
            self.board.record(Record::Forgotten { session, packet_id });
        }
        let reason = if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
        let answer = Answer::Ack { kind: PacketType::PubComp, id: packet_id, reason };
        self.board.answer(id.index, relies, 0, answer);
    }

    /// Room in the window: the next message may go.
    #[inline]
    fn flight_over(&mut self, six: SessionIx, delivery: u64) {
        let session = &self.board.sessions[six as usize];
        let (key, persistent, waiting) = (session.key, session.is_persistent(), session.has_waiting());
        let inside = session.inside;
        self.board.stats.inflight -= 1;
        if persistent {
            self.board.record(Record::Done { session: key, delivery });
        }
        if waiting {
            self.board.pump(six);
        }
        self.board.note_readied(six);
        if inside {
            self.board.lane_moved(six);
        }
    }
}
