//! Publications on their way to another shard, many in one piece of memory.
//!
//! A message that is built to be handed over takes three allocations here, and another core gives them back: ten times
//! what the publication costs otherwise. So those that are small, and that nobody keeps, asks about or answers for, are
//! copied one behind the other.

use std::sync::Arc;

use cork_packet::QoS;
use cork_store::{MessageId, Publisher, WallTime};

use crate::deliver::Publication;

/// Bytes of a payload that is worth being copied.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 2048;

/// Publications for plain subscriptions, in order.
#[derive(Debug, Default)]
pub struct Parcel {
    heads: Vec<Head>,
    topics: String,
    /// Properties and payload of each.
    bodies: Vec<u8>,
    publishers: Vec<Arc<Publisher>>,
}

/// What is known of one.
#[derive(Debug)]
struct Head {
    id: MessageId,
    expires: Option<WallTime>,
    publisher: u32,
    properties_len: u32,
    payload_len: u32,
    topic_len: u16,
    qos: QoS,
}

impl Parcel {
    /// Puts a publication in.
    pub(crate) fn push(&mut self, id: MessageId, publication: &Publication<'_>) {
        if self.publishers.last().is_none_or(|last| !Arc::ptr_eq(last, publication.publisher)) {
            self.publishers.push(Arc::clone(publication.publisher));
        }
        self.heads.push(Head {
            id,
            expires: publication.expires,
            publisher: short(self.publishers.len() - 1),
            properties_len: short(publication.properties.len()),
            payload_len: short(publication.payload.len()),
            topic_len: u16::try_from(publication.topic.len()).expect("as MQTT's strings"),
            qos: publication.qos,
        });
        self.topics.push_str(publication.topic);
        self.bodies.extend_from_slice(publication.properties);
        self.bodies.extend_from_slice(publication.payload);
    }

    /// Takes them out, in order.
    pub(crate) fn publications(&self) -> impl Iterator<Item = Publication<'_>> {
        let (mut topics, mut bodies) = (&*self.topics, &*self.bodies);
        self.heads.iter().map(move |head| {
            let (topic, other_topics) = topics.split_at(usize::from(head.topic_len));
            let (properties, rest) = bodies.split_at(head.properties_len as usize);
            let (payload, other_bodies) = rest.split_at(head.payload_len as usize);
            (topics, bodies) = (other_topics, other_bodies);
            Publication {
                properties,
                qos: head.qos,
                expires: head.expires,
                id: Some(head.id),
                ..Publication::new(topic, payload, &self.publishers[head.publisher as usize])
            }
        })
    }
}

fn short(length: usize) -> u32 {
    u32::try_from(length).expect("a packet is shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_what_was_put_in() {
        let [ann, bob] =
            ["ann", "bob"].map(|name| Arc::new(Publisher { client_id: name.into(), ..Publisher::default() }));
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
        ];
        let id = |number| MessageId { arrived: WallTime(number), shard: 3, epoch: 2 };
        let mut parcel = Parcel::default();
        (1..).zip(&sent).for_each(|(number, publication)| parcel.push(id(number), publication));
        let out: Vec<_> = parcel.publications().collect();
        assert_eq!(out.len(), sent.len());
        for (number, (sent, out)) in (1..).zip(sent.iter().zip(&out)) {
            assert_eq!((out.topic, out.properties, out.payload), (sent.topic, sent.properties, sent.payload));
            assert_eq!((out.qos, out.expires, out.id), (sent.qos, sent.expires, Some(id(number))));
            assert!(Arc::ptr_eq(out.publisher, sent.publisher));
        }
    }
}
