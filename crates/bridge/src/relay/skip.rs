//! A message of the other broker that is too large for this one. 5.0 says beforehand what is taken; a broker of 3.1.1
//! cannot know, and would send it again for ever. So its head is read, it is answered, and the rest is thrown away as it
//! comes.

use cork_packet::{FixedHeader, Packet, PacketId, QoS, ReasonCode};

use super::{Relay, Side, pass::Stop};

/// The longest fixed header.
const HEADER_MAX: usize = 5;

impl Relay {
    /// Takes bytes of such a message off the front: whether there may be more in `input`, or nothing if it begins with
    /// something else.
    pub(super) fn skip(&mut self, input: &mut &[u8]) -> Option<bool> {
        if self.skipping > 0 {
            let count = self.skipping.min(input.len());
            self.skipping -= count;
            *input = &input[count..];
            return Some(!input.is_empty());
        }
        let kept = &mut self.remote.inbound;
        let header = match kept.is_empty() {
            true => FixedHeader::decode(input),
            false => FixedHeader::decode(&kept.head(input, HEADER_MAX)),
        };
        let header = header.ok()??;
        if header.first >> 4 != 3 || header.packet_len() <= self.plan.packet_bytes_max as usize {
            return None;
        }
        let qos = QoS::from_bits(header.first >> 1 & 3)?;
        let behind = if qos == QoS::AtMostOnce { 0 } else { 2 };
        let topic_at = header.len + 2;
        let head = kept.head(input, topic_at + usize::from(u16::MAX) + behind);
        let Some(length) = head.get(header.len..topic_at) else { return Some(self.wait(input)) };
        let topic_end = topic_at + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let end = topic_end + behind;
        if end > header.packet_len() {
            return None;
        }
        let Some(id) = head.get(topic_end..end) else { return Some(self.wait(input)) };
        let id =
            if let [high, low] = *id { Some(PacketId::new(u16::from_be_bytes([high, low]))?) } else { None };
        let topic = String::from_utf8_lossy(&head[topic_at..topic_end]).into_owned();
        *input = &input[end - kept.len()..];
        drop(kept.take());
        self.skipping = header.packet_len() - end;
        self.stopped(Side::Local, &topic, &Stop::TooLarge(header.packet_len()));
        match (id, qos) {
            (Some(id), QoS::ExactlyOnce) => self.ack(Side::Remote, Packet::PubRec, id, ReasonCode::SUCCESS),
            (Some(id), _) => self.ack(Side::Remote, Packet::PubAck, id, ReasonCode::SUCCESS),
            (None, _) => {}
        }
        Some(!input.is_empty())
    }

    /// Its head is not all there.
    fn wait(&mut self, input: &mut &[u8]) -> bool {
        self.remote.inbound.keep(input);
        *input = &[];
        false
    }
}
