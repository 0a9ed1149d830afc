//! Publications on their way to another shard, many in one piece of memory.
//!
//! A message that is built to be handed over takes two allocations here, and another core gives them back: ten times
//! what the publication costs otherwise. So those that are small, and that nobody keeps, are copied one behind the
//! other, in as few bytes as possible: each cache line that goes from core to core costs as much as handling a message.
//! A parcel that was worth it comes back to the shard that filled it, which empties it: so neither memory nor a count of
//! references is given back by another core than took it. Two cores that do so wait for each other's allocator.

use std::{iter, sync::Arc};

use cork_packet::QoS;
use cork_store::{MessageId, Publisher, WallTime};

use crate::{
    deliver::{Ask, Publication},
    io::{ConnId, Waiter},
};

/// Bytes of a payload that is worth being copied.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 2048;
/// A parcel with less than this in it is not worth sending back,
const RETURNED_BYTES_MIN: usize = 4 << 10;
/// and one whose memory is more than this not worth keeping.
const RETURNED_BYTES_MAX: usize = 256 << 10;

// What the first byte of a publication says. Its two lowest bits are the QoS.
const QOS_BITS: u8 = 3;
/// No topic: it is the one before's.
const SAME_TOPIC: u8 = 1 << 2;
/// It has the publisher behind the one before's.
const NEXT_PUBLISHER: u8 = 1 << 3;
/// Its whole identity follows, not only how much later than the one before it arrived.
const WHOLE_ID: u8 = 1 << 4;
const EXPIRES: u8 = 1 << 5;
const PROPERTIES: u8 = 1 << 6;
/// Its publisher's acknowledgement waits for an answer.
const ASKS: u8 = 1 << 7;

/// Publications for plain subscriptions, in order.
#[derive(Debug, Default)]
pub struct Parcel {
    topics: String,
    /// Head, properties and payload of each.
    bytes: Vec<u8>,
    publishers: Vec<Arc<Publisher>>,
    /// Where the last one's topic begins.
    last_topic: usize,
    last_id: MessageId,
}

impl Parcel {
    /// Puts a publication in.
    pub(crate) fn push(&mut self, id: MessageId, publication: &Publication<'_>) {
        let Publication { topic, properties, payload, qos, expires, publisher, ask, .. } = publication;
        let last = std::mem::replace(&mut self.last_id, id);
        let later = u8::try_from(id.arrived.0.wrapping_sub(last.arrived.0)).ok();
        let later =
            later.filter(|_| (id.shard, id.epoch) == (last.shard, last.epoch) && !self.bytes.is_empty());
        let asks =
            if let Ask::Stored(Waiter::Answer { conn, number }) = ask { Some((conn, number)) } else { None };
        let mut first = qos.bits();
        if !self.bytes.is_empty() && self.topics[self.last_topic..] == **topic {
            first |= SAME_TOPIC;
        }
        if self.publishers.last().is_none_or(|last| !Arc::ptr_eq(last, publisher)) {
            first |= NEXT_PUBLISHER;
            self.publishers.push(Arc::clone(publisher));
        }
        first |= if later.is_none() { WHOLE_ID } else { 0 };
        first |= if expires.is_some() { EXPIRES } else { 0 };
        first |= if properties.is_empty() { 0 } else { PROPERTIES };
        first |= if asks.is_some() { ASKS } else { 0 };
        let bytes = &mut self.bytes;
        let [low, high] = short(payload.len());
        bytes.extend_from_slice(&[first, later.unwrap_or_default(), low, high]);
        if first & SAME_TOPIC == 0 {
            bytes.extend_from_slice(&short(topic.len()));
            self.last_topic = self.topics.len();
            self.topics.push_str(topic);
        }
        if first & !(QOS_BITS | SAME_TOPIC | NEXT_PUBLISHER) != 0 {
            if later.is_none() {
                bytes.extend_from_slice(&id.arrived.0.to_le_bytes());
                bytes.extend_from_slice(&id.epoch.to_le_bytes());
                bytes.extend_from_slice(&id.shard.to_le_bytes());
            }
            if let Some(WallTime(at)) = expires {
                bytes.extend_from_slice(&at.to_le_bytes());
            }
            if let Some((conn, number)) = asks {
                bytes.extend_from_slice(&conn.index.to_le_bytes());
                bytes.extend_from_slice(&conn.generation.to_le_bytes());
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            if !properties.is_empty() {
                let length = u32::try_from(properties.len()).expect("a packet is shorter than 4 GiB");
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(properties);
            }
        }
        bytes.extend_from_slice(payload);
    }

    /// Takes them out, in order.
    pub(crate) fn publications(&self) -> impl Iterator<Item = Publication<'_>> {
        let mut reader = Reader { bytes: &self.bytes, topics: &self.topics, topic: "" };
        let mut publishers = self.publishers.iter();
        let mut publisher = None;
        let mut id = MessageId::default();
        iter::from_fn(move || {
            let [first, later, low, high] = reader.take()?;
            if first & NEXT_PUBLISHER != 0 {
                publisher = publishers.next();
            }
            if first & SAME_TOPIC == 0 {
                reader.next_topic()?;
            }
            id.arrived.0 = id.arrived.0.wrapping_add(u64::from(later));
            if first & WHOLE_ID != 0 {
                id.arrived = WallTime(u64::from_le_bytes(reader.take()?));
                id.epoch = u32::from_le_bytes(reader.take()?);
                id.shard = u16::from_le_bytes(reader.take()?);
            }
            let mut publication = Publication::new(reader.topic, &[], publisher?);
            if first & EXPIRES != 0 {
                publication.expires = Some(WallTime(u64::from_le_bytes(reader.take()?)));
            }
            if first & ASKS != 0 {
                let [index, generation] = [reader.take()?, reader.take()?].map(u32::from_le_bytes);
                let (conn, number) = (ConnId { index, generation }, u64::from_le_bytes(reader.take()?));
                publication.ask = Ask::Stored(Waiter::Answer { conn, number });
            }
            if first & PROPERTIES != 0 {
                let length = u32::from_le_bytes(reader.take()?) as usize;
                publication.properties = reader.cut(length)?;
            }
            publication.payload = reader.cut(usize::from(u16::from_le_bytes([low, high])))?;
            publication.qos = QoS::from_bits(first & QOS_BITS)?;
            publication.id = Some(id);
            Some(publication)
        })
    }

    /// Whether its memory is too large to be kept by anybody.
    pub(crate) fn is_too_large(&self) -> bool {
        self.bytes.capacity() + self.topics.capacity() > RETURNED_BYTES_MAX
    }

    /// Whether its memory is worth going back to who filled it. By what is in it: a large one that carries little is not
    /// sent to and fro for that.
    pub(crate) const fn is_worth_returning(&self) -> bool {
        self.bytes.len() >= RETURNED_BYTES_MIN
    }

    /// Empties it for the next turn; `None` if it grew so large that it is not kept.
    pub(crate) fn emptied(mut self: Box<Self>) -> Option<Box<Self>> {
        self.topics.clear();
        self.bytes.clear();
        self.publishers.clear();
        (self.last_topic, self.last_id) = (0, MessageId::default());
        (!self.is_too_large()).then_some(self)
    }
}

/// What is left of a parcel.
struct Reader<'a> {
    bytes: &'a [u8],
    topics: &'a str,
    topic: &'a str,
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*taken)
    }

    fn cut(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn next_topic(&mut self) -> Option<()> {
        let length = u16::from_le_bytes(self.take()?);
        (self.topic, self.topics) = self.topics.split_at_checked(usize::from(length))?;
        Some(())
    }
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("as MQTT's strings, and payloads that are copied").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_what_was_put_in() {
        let [ann, bob] =
            ["ann", "bob"].map(|name| Arc::new(Publisher { client_id: name.into(), ..Publisher::default() }));
        let waiter = |number| Waiter::Answer { conn: ConnId { index: 1 << 20, generation: 3 }, number };
        let long = "l".repeat(65_535);
        let sent = [
            Publication::new("a/b", b"21", &ann),
            Publication {
                properties: b"\x26\0\x01a\0\x01b",
                qos: QoS::AtLeastOnce,
                expires: Some(WallTime(7)),
                ..Publication::new("a/\u{e9}\u{1f600}", b"", &ann)
            },
            Publication { qos: QoS::ExactlyOnce, ..Publication::new("x", b"\xff\0", &bob) },
            Publication::new("a/b", b"22", &ann),
            Publication {
                ask: Ask::Stored(waiter(u64::MAX)),
                ..Publication::new("a/b", &[7; PAYLOAD_BYTES_MAX], &ann)
            },
            Publication {
                ask: Ask::Stored(waiter(2)),
                expires: Some(WallTime(u64::MAX)),
                ..Publication::new("", b"22", &ann)
            },
            Publication::new("", b"", &bob),
            Publication::new(&long, b"", &bob),
        ];
        let id = |arrived, shard, epoch| MessageId { arrived: WallTime(arrived), shard, epoch };
        // Right behind each other, long after, before, and of another shard or life of the broker.
        let ids = [
            id(1 << 50, 3, 2),
            id((1 << 50) + 1, 3, 2),
            id((1 << 50) + 256, 3, 2),
            id((1 << 50) + 512, 3, 2),
            id(5, 3, 2),
            id(6, 4, 2),
            id(7, 4, 9),
            id(7 + 255, 4, 9),
        ];
        let mut parcel = Box::<Parcel>::default();
        for round in 0..2 {
            ids.iter().zip(&sent).for_each(|(id, publication)| parcel.push(*id, publication));
            let out: Vec<_> = parcel.publications().collect();
            assert_eq!(out.len(), sent.len());
            for ((n, id), (sent, out)) in ids.iter().enumerate().zip(sent.iter().zip(&out)) {
                assert_eq!((out.topic, out.properties), (sent.topic, sent.properties), "{round}: {n}");
                assert_eq!((out.payload, out.qos), (sent.payload, sent.qos), "{round}: {n}");
                assert_eq!(
                    (out.expires, out.id, out.ask),
                    (sent.expires, Some(*id), sent.ask),
                    "{round}: {n}"
                );
                assert!(Arc::ptr_eq(out.publisher, sent.publisher), "{round}: {n}");
            }
            parcel = parcel.emptied().expect("not too large to keep");
            assert_eq!(parcel.publications().count(), 0);
            assert_eq!(Arc::strong_count(&ann), 1, "nobody is held by an empty parcel");
        }
    }

    #[test]
    fn what_is_small_or_grew_too_large_is_not_kept() {
        let ann = Arc::new(Publisher::default());
        let mut parcel = Box::<Parcel>::default();
        parcel.push(MessageId::default(), &Publication::new("a", b"1", &ann));
        assert!(!parcel.is_worth_returning());
        for _ in 0..RETURNED_BYTES_MIN / 1024 {
            parcel.push(MessageId::default(), &Publication::new("a", &[0; 1024], &ann));
        }
        assert!(parcel.is_worth_returning());
        parcel = parcel.emptied().expect("not too large to keep");
        parcel.push(MessageId::default(), &Publication::new("a", b"1", &ann));
        assert!(!parcel.is_worth_returning(), "large, but with little in it");
        for _ in 0..=RETURNED_BYTES_MAX / PAYLOAD_BYTES_MAX {
            parcel.push(MessageId::default(), &Publication::new("a", &[0; PAYLOAD_BYTES_MAX], &ann));
        }
        assert!(parcel.emptied().is_none());
    }
}
