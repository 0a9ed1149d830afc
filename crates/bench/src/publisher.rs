//! A publisher's end: what it may send, and its packets.

use cork_packet::{PacketId, ProtocolVersion, PublishFrame, QoS};

use crate::payload::{Filler, STAMP_LEN, Stamp, filler_sum};
use crate::sizes::Sizes;
use crate::units::Nanos;

/// One publisher.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    /// Its connection.
    pub(crate) id: usize,
    /// Messages without acknowledgement.
    pub(crate) unacknowledged: u32,
    /// How many there may be.
    pub(crate) inflight_max: u32,
    /// Deliveries (for fan-out: messages) under way.
    pub(crate) under_way: u32,
    /// Open loop: numbers in the timetable of messages that are due and not sent.
    pub(crate) due: std::collections::VecDeque<u64>,
    /// Open loop: Packet Identifiers without acknowledgement, and when each message was due.
    pub(crate) owed: std::collections::VecDeque<(PacketId, Nanos)>,
    /// On the list of those that may send.
    pub(crate) ready: bool,
    /// When something last moved.
    pub(crate) moved_at: Nanos,
    packet_id: PacketId,
}

impl Publisher {
    pub(crate) fn new(id: usize, inflight_max: u32) -> Self {
        Self {
            id,
            unacknowledged: 0,
            inflight_max,
            under_way: 0,
            due: std::collections::VecDeque::new(),
            owed: std::collections::VecDeque::new(),
            ready: false,
            moved_at: 0,
            packet_id: LAST,
        }
    }

    /// The Packet Identifier of the next message; `None` for QoS 0.
    pub(crate) fn next_packet_id(&mut self, qos: QoS) -> Option<PacketId> {
        if qos == QoS::AtMostOnce {
            return None;
        }
        self.packet_id = self.packet_id.next();
        self.unacknowledged += 1;
        Some(self.packet_id)
    }

    /// When the message was due that is acknowledged now. Brokers answer in order, so it is nearly always the first.
    pub(crate) fn settle(&mut self, id: PacketId) -> Option<Nanos> {
        let place = self.owed.iter().position(|(owed, _)| *owed == id)?;
        self.owed.remove(place).map(|(_, due)| due)
    }
}

/// So that the first one is 1.
const LAST: PacketId = match PacketId::new(u16::MAX) {
    Some(id) => id,
    None => unreachable!(),
};

/// Writes PUBLISH packets.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    version: ProtocolVersion,
    qos: QoS,
    retain: bool,
    sizes: Sizes,
    filler: Filler,
    /// The filler's sum, where all payloads have one size.
    sum: u64,
    /// By publisher: a packet as it was sent last, where size and topic never change.
    ready: Vec<Vec<u8>>,
}

impl Writer {
    pub(crate) fn new(version: ProtocolVersion, qos: QoS, retain: bool, sizes: &Sizes) -> Self {
        let filler = Filler::new(sizes.max());
        let sum = sizes.only().map_or(0, |size| filler_sum(filler.bytes(size)));
        Self { version, qos, retain, sizes: sizes.clone(), filler, sum, ready: Vec::new() }
    }

    /// Prepares the packets of publishers that always send to the same topic, if all payloads have one size.
    pub(crate) fn prepare<'a>(&mut self, topics: impl Iterator<Item = &'a str>) {
        let Some(size) = self.sizes.only() else { return };
        let id = if self.qos == QoS::AtMostOnce { None } else { Some(LAST) };
        let packets = topics.map(|topic| {
            let mut packet = Vec::new();
            self.frame(topic, id, size).encode_head(&mut packet);
            packet.extend_from_slice(&[0; STAMP_LEN]);
            packet.extend_from_slice(self.filler.bytes(size));
            packet
        });
        self.ready = packets.collect();
    }

    /// Appends the message with `stamp` to `out`.
    #[inline]
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, topic: &str, id: Option<PacketId>, stamp: Stamp) {
        if let Some(packet) = self.ready.get_mut(stamp.publisher as usize) {
            let size = self.sizes.only().unwrap_or(STAMP_LEN);
            let payload = packet.len() - size;
            packet[payload..payload + STAMP_LEN].copy_from_slice(&stamp.encode(self.sum));
            if let Some(id) = id {
                // In 5.0 one byte for the length of no Properties stands between.
                let at = payload - if self.version.is_v5() { 3 } else { 2 };
                packet[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
            }
            out.extend_from_slice(packet);
            return;
        }
        let size = self.sizes.of(stamp.publisher, stamp.sequence);
        let filler = self.filler.bytes(size);
        self.frame(topic, id, size).encode_head(out);
        out.extend_from_slice(&stamp.encode(filler_sum(filler)));
        out.extend_from_slice(filler);
    }

    fn frame<'a>(&self, topic: &'a str, packet_id: Option<PacketId>, payload_len: usize) -> PublishFrame<'a> {
        PublishFrame {
            version: self.version,
            dup: false,
            qos: self.qos,
            retain: self.retain,
            topic,
            topic_alias: None,
            packet_id,
            message_expiry: None,
            subscription_ids: &[],
            properties: &[],
            payload_len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cork_packet::{Packet, Receiver, decode};

    #[test]
    fn an_acknowledgement_is_told_from_the_others_by_its_identifier() {
        let mut publisher = Publisher::new(0, 10);
        let ids: Vec<PacketId> = (0..3).filter_map(|_| publisher.next_packet_id(QoS::AtLeastOnce)).collect();
        publisher.owed.extend(ids.iter().copied().zip([10, 20, 30]));
        assert_eq!(publisher.settle(ids[0]), Some(10));
        assert_eq!(publisher.settle(ids[2]), Some(30), "out of order");
        assert_eq!(publisher.settle(ids[2]), None, "once");
        assert_eq!(publisher.settle(ids[1]), Some(20));
    }

    #[test]
    fn prepared_packets_are_the_same_as_written_ones() {
        for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let mut written = Writer::new(version, qos, false, &"300".parse().unwrap());
                let mut prepared = written.clone();
                prepared.prepare(["a/0", "a/b/1"].into_iter());
                let mut publisher = Publisher::new(0, 10);
                for sequence in 0..3 {
                    let stamp = Stamp { run: 1, publisher: 1, sequence, time: 5 };
                    let id = publisher.next_packet_id(qos);
                    let (mut one, mut other) = (Vec::new(), Vec::new());
                    written.write(&mut one, "a/b/1", id, stamp);
                    prepared.write(&mut other, "a/b/1", id, stamp);
                    assert_eq!(one, other);
                    let Packet::Publish(publish) = decode(version, Receiver::Server, &one).unwrap() else {
                        panic!()
                    };
                    assert_eq!((publish.topic, publish.packet_id, publish.payload.len()), ("a/b/1", id, 300));
                    assert_eq!(Stamp::decode(publish.payload, true), Some(stamp));
                }
            }
        }
    }
}
