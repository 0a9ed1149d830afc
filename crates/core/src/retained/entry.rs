//! A retained message as the set keeps it: as small as it can be, for there may be millions that nobody asks for.

use std::sync::Arc;

use cork_packet::QoS;
use cork_store::{Message, MessageId, Publisher, RetainedStub, WallTime};
use cork_topic::Retained as HasTopic;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use crate::deliver::Publication;

/// Bytes of topic, properties and payload up to which a message is packed. What a larger one could save is little of
/// it, and it is better shared with those who are sent it than copied.
pub(crate) const PACKED_BYTES: usize = 512;

/// A retained message in the set.
#[derive(Debug)]
pub(crate) enum Retained {
    /// Shared with other shards, or with whoever is sent it.
    Here(Arc<Message>),
    /// In one piece of memory, with or without its content.
    Packed(Packed),
}

/// A message in one piece of memory, or all that is known of one whose content only the store has.
///
/// Arrival, shard, epoch, flags. Then, with the content: number of the publisher, length of the topic; without: cost.
/// Then when it expires, if it does, and the length of the properties, if there are any; topic, properties, payload.
#[derive(Clone, Debug)]
pub(crate) struct Packed(Box<[u8]>);

const FLAGS_AT: usize = 8 + 2 + 4;
const HEAD: usize = FLAGS_AT + 1;
const PUBLISHER: usize = 4;
const TOPIC_LENGTH: usize = 2;
const COST: usize = 4;
const EXPIRY: usize = 8;
const PROPERTIES_LENGTH: usize = 2;

// Flags. The two lowest bits are the QoS.
const QOS_BITS: u8 = 3;
const EXPIRES: u8 = 1 << 2;
const RETAIN: u8 = 1 << 3;
const PROPERTIES: u8 = 1 << 4;
/// The content is here.
const CONTENT: u8 = 1 << 5;

const _: () = assert!(PACKED_BYTES <= u16::MAX as usize, "lengths are two bytes");

/// Bytes of topic, properties and payload.
fn content_bytes(message: &Message) -> usize {
    message.topic.len() + message.properties().len() + message.payload().len()
}

impl Packed {
    fn begin(id: MessageId, flags: u8, more: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + more);
        bytes.extend_from_slice(&id.arrived.0.to_le_bytes());
        bytes.extend_from_slice(&id.shard.to_le_bytes());
        bytes.extend_from_slice(&id.epoch.to_le_bytes());
        bytes.push(flags);
        bytes
    }

    /// What stays of a message whose content the store keeps.
    fn away(topic: &str, id: MessageId, expires: Option<WallTime>, cost: u32) -> Self {
        let (flags, expiry) = if expires.is_some() { (EXPIRES, EXPIRY) } else { (0, 0) };
        let mut bytes = Self::begin(id, flags, COST + expiry + topic.len());
        bytes.extend_from_slice(&cost.to_le_bytes());
        bytes.extend(expires.map(|at| at.0.to_le_bytes()).into_iter().flatten());
        bytes.extend_from_slice(topic.as_bytes());
        Self(bytes.into_boxed_slice())
    }

    /// All of a message, [`PACKED_BYTES`] at most, but its publisher, who has a number.
    fn whole(message: &Message, publisher: u32) -> Self {
        let (properties, payload) = (message.properties(), message.payload());
        let length = content_bytes(message);
        let short = |length: usize| u16::try_from(length).unwrap_or_default().to_le_bytes(); // see above
        let flag = |set: bool, flag: u8, bytes: usize| if set { (flag, bytes) } else { (0, 0) };
        let (expires, expiry) = flag(message.expires.is_some(), EXPIRES, EXPIRY);
        let (more, counted) = flag(!properties.is_empty(), PROPERTIES, PROPERTIES_LENGTH);
        let (retain, _) = flag(message.retain, RETAIN, 0);
        let flags = message.qos.bits() | expires | more | retain | CONTENT;
        let mut bytes = Self::begin(message.id, flags, PUBLISHER + TOPIC_LENGTH + expiry + counted + length);
        bytes.extend_from_slice(&publisher.to_le_bytes());
        bytes.extend_from_slice(&short(message.topic.len()));
        bytes.extend(message.expires.map(|at| at.0.to_le_bytes()).into_iter().flatten());
        if !properties.is_empty() {
            bytes.extend_from_slice(&short(properties.len()));
        }
        bytes.extend_from_slice(message.topic.as_bytes());
        bytes.extend_from_slice(properties);
        bytes.extend_from_slice(payload);
        Self(bytes.into_boxed_slice())
    }

    /// `N` bytes of what stands before the topic.
    fn head<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..].first_chunk().copied().unwrap_or([0; N]) // all of them are always there
    }

    fn has(&self, flag: u8) -> bool {
        self.0[FLAGS_AT] & flag != 0
    }

    fn expiry_at(&self) -> usize {
        HEAD + if self.has(CONTENT) { PUBLISHER + TOPIC_LENGTH } else { COST }
    }

    fn topic_at(&self) -> usize {
        let expiry = if self.has(EXPIRES) { EXPIRY } else { 0 };
        self.expiry_at() + expiry + if self.has(PROPERTIES) { PROPERTIES_LENGTH } else { 0 }
    }

    fn id(&self) -> MessageId {
        MessageId {
            arrived: WallTime(u64::from_le_bytes(self.head(0))),
            shard: u16::from_le_bytes(self.head(8)),
            epoch: u32::from_le_bytes(self.head(10)),
        }
    }

    fn expires(&self) -> Option<WallTime> {
        self.has(EXPIRES).then(|| WallTime(u64::from_le_bytes(self.head(self.expiry_at()))))
    }

    /// What is behind the lengths, and where its first part, the topic, ends.
    fn parts(&self) -> (&[u8], usize) {
        let rest = &self.0[self.topic_at()..];
        let topic = u16::from_le_bytes(self.head(HEAD + PUBLISHER)).into();
        (rest, if self.has(CONTENT) { topic } else { rest.len() })
    }

    #[inline]
    fn topic(&self) -> &str {
        let (rest, topic) = self.parts();
        // It was made of text.
        std::str::from_utf8(&rest[..topic]).unwrap_or_default()
    }

    /// The number of its publisher, if the content is here.
    fn publisher(&self) -> Option<u32> {
        self.has(CONTENT).then(|| u32::from_le_bytes(self.head(HEAD)))
    }

    /// All of it, if the content is here.
    pub(crate) fn publication<'a>(&'a self, publisher: &'a Arc<Publisher>) -> Publication<'a> {
        let (rest, topic) = self.parts();
        let properties: usize = if self.has(PROPERTIES) {
            u16::from_le_bytes(self.head(self.topic_at() - PROPERTIES_LENGTH)).into()
        } else {
            0
        };
        let (properties, payload) = rest[topic..].split_at(properties);
        Publication {
            properties,
            qos: QoS::from_bits(self.0[FLAGS_AT] & QOS_BITS).unwrap_or_default(),
            retain: self.has(RETAIN),
            expires: self.expires(),
            id: Some(self.id()),
            ..Publication::new(self.topic(), payload, publisher)
        }
    }

    /// [`Message::cost_bytes`] of a message that is away.
    fn cost_bytes(&self) -> u64 {
        u32::from_le_bytes(self.head(HEAD)).into()
    }
}

impl HasTopic for Retained {
    #[inline]
    fn topic(&self) -> &str {
        match self {
            Self::Here(message) => &message.topic,
            Self::Packed(packed) => packed.topic(),
        }
    }
}

impl From<RetainedStub> for Retained {
    fn from(stub: RetainedStub) -> Self {
        Self::Packed(Packed::away(&stub.topic, stub.id, stub.expires, stub.cost_bytes))
    }
}

impl Retained {
    /// Without the content, which the store has; `None` if that is so already.
    pub(crate) fn to_away(&self) -> Option<Self> {
        let cost = match self {
            Self::Here(message) => message.cost_bytes(),
            Self::Packed(packed) if packed.has(CONTENT) => {
                let (rest, _) = packed.parts();
                rest.len() + size_of::<Message>()
            }
            Self::Packed(_) => return None,
        };
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        Some(Self::Packed(Packed::away(self.topic(), self.id(), self.expires(), cost)))
    }

    /// Only the store has it.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Packed(packed) if !packed.has(CONTENT))
    }

    /// What reading it from the store brings into memory.
    pub(crate) fn bytes_away(&self) -> u64 {
        match self {
            Self::Packed(packed) if self.is_away() => packed.cost_bytes(),
            _ => 0,
        }
    }

    /// Which message it is.
    pub(crate) fn id(&self) -> MessageId {
        match self {
            Self::Here(message) => message.id,
            Self::Packed(packed) => packed.id(),
        }
    }

    /// When it expires.
    pub(crate) fn expires(&self) -> Option<WallTime> {
        match self {
            Self::Here(message) => message.expires,
            Self::Packed(packed) => packed.expires(),
        }
    }

    pub(crate) fn is_expired(&self, now: WallTime) -> bool {
        self.expires().is_some_and(|at| at <= now)
    }

    /// Bytes its content takes beyond its place in the set.
    pub(crate) fn bytes_here(&self) -> u64 {
        match self {
            Self::Here(message) => message.cost_bytes() as u64,
            Self::Packed(packed) if packed.has(CONTENT) => packed.0.len() as u64,
            Self::Packed(_) => 0,
        }
    }
}

/// A retained message taken from the set, whose content was there, for whoever is to get it.
#[derive(Debug)]
pub(crate) enum Taken {
    Shared(Arc<Message>),
    Copy(Packed, Arc<Publisher>),
}

impl Taken {
    pub(crate) fn publication(&self) -> Publication<'_> {
        match self {
            Self::Shared(message) => Publication::of(message),
            Self::Copy(packed, publisher) => packed.publication(publisher),
        }
    }

    pub(crate) fn into_message(self) -> Arc<Message> {
        match self {
            Self::Shared(message) => message,
            Self::Copy(..) => Arc::new(self.publication().to_message(self.id())),
        }
    }

    fn id(&self) -> MessageId {
        match self {
            Self::Shared(message) => message.id,
            Self::Copy(packed, _) => packed.id(),
        }
    }
}

/// Who published the messages that are packed. A number takes less there than a pointer, and the same one published
/// many.
#[derive(Debug, Default)]
pub(crate) struct Publishers {
    /// With the number of messages.
    list: Slab<(Arc<Publisher>, u32)>,
    /// By address, which nobody else has while it is in the list.
    numbers: HashMap<usize, u32, FixedState>,
}

impl Publishers {
    /// The entry for a message: packed, if it is small enough for that.
    pub(crate) fn pack(&mut self, message: &Arc<Message>) -> Retained {
        if content_bytes(message) > PACKED_BYTES {
            return Retained::Here(Arc::clone(message));
        }
        let (publisher, list) = (&message.publisher, &mut self.list);
        let number = *self.numbers.entry(Arc::as_ptr(publisher).addr()).or_insert_with(|| {
            u32::try_from(list.insert((Arc::clone(publisher), 0))).expect("fewer publishers than 2^32")
        });
        list[number as usize].1 += 1;
        Retained::Packed(Packed::whole(message, number))
    }

    /// Its content for whoever is to get it, if it is here.
    pub(crate) fn take(&self, entry: &Retained) -> Option<Taken> {
        Some(match entry {
            Retained::Here(message) => Taken::Shared(Arc::clone(message)),
            Retained::Packed(packed) => Taken::Copy(packed.clone(), Arc::clone(self.of(packed)?)),
        })
    }

    fn of(&self, packed: &Packed) -> Option<&Arc<Publisher>> {
        self.list.get(packed.publisher()? as usize).map(|(publisher, _)| publisher)
    }

    /// An entry that [`Self::pack`] made is no longer in the set. Who published its message, if that is known.
    pub(crate) fn give_back(&mut self, entry: &Retained) -> Option<Arc<Publisher>> {
        let packed = match entry {
            Retained::Here(message) => return Some(Arc::clone(&message.publisher)),
            Retained::Packed(packed) => packed,
        };
        let number = packed.publisher()?;
        let (publisher, messages) = self.list.get_mut(number as usize)?;
        *messages -= 1;
        if *messages > 0 {
            return Some(Arc::clone(publisher));
        }
        let (publisher, _) = self.list.remove(number as usize);
        self.numbers.remove(&Arc::as_ptr(&publisher).addr());
        Some(publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId { arrived: WallTime(1_795_108_972_295_166), shard: 3, epoch: 77 };

    #[test]
    fn a_message_that_is_away_is_known_by_topic_identity_and_expiry() {
        for expires in [None, Some(WallTime(5))] {
            let stub = RetainedStub { topic: "größe/1".into(), id: ID, expires, cost_bytes: 1234 };
            let entry = Retained::from(stub);
            assert_eq!((entry.topic(), entry.id(), entry.expires()), ("größe/1", ID, expires));
            assert_eq!((entry.bytes_here(), entry.is_expired(WallTime(5))), (0, expires.is_some()));
            assert_eq!((entry.is_away(), entry.bytes_away()), (true, 1234));
            assert!(entry.to_away().is_none() && Publishers::default().take(&entry).is_none());
        }
    }

    fn messages(publisher: &Arc<Publisher>) -> Vec<Arc<Message>> {
        let mut messages = Vec::new();
        let contents: [(&[u8], &[u8]); 5] = [
            (b"", b"x"),
            (b"\x26\0\x01a\0\x01b", b"pay"),
            (b"prop", b""),
            (b"", &[7; 508]),
            (b"", &[7; 509]),
        ];
        for (properties, payload) in contents {
            for (qos, retain, expires) in [
                (QoS::AtMostOnce, true, None),
                (QoS::AtLeastOnce, false, Some(WallTime(u64::MAX))),
                (QoS::ExactlyOnce, true, Some(WallTime(9))),
            ] {
                let mut message = Message::new(ID, "ü/1", properties, payload, Arc::clone(publisher));
                (message.qos, message.retain, message.expires) = (qos, retain, expires);
                messages.push(Arc::new(message));
            }
        }
        messages
    }

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        let publisher = Arc::new(Publisher { client_id: "c".into(), ..Publisher::default() });
        let mut publishers = Publishers::default();
        for message in messages(&publisher) {
            let entry = publishers.pack(&message);
            let large = message.payload().len() > 508;
            assert_eq!(matches!(entry, Retained::Here(_)), large);
            assert_eq!((entry.topic(), entry.id(), entry.expires()), (&*message.topic, ID, message.expires));
            assert_eq!(*publishers.take(&entry).unwrap().into_message(), *message);
            let away = entry.to_away().unwrap();
            assert_eq!((away.topic(), away.id(), away.expires()), (&*message.topic, ID, message.expires));
            assert_eq!(away.bytes_away(), message.cost_bytes() as u64);
            assert!(Arc::ptr_eq(&publishers.give_back(&entry).unwrap(), &publisher));
            assert!(publishers.list.is_empty() && publishers.numbers.is_empty());
        }
    }

    #[test]
    fn a_publisher_is_remembered_as_long_as_a_message_of_its_is_there() {
        let [ann, bob] =
            ["ann", "bob"].map(|name| Arc::new(Publisher { client_id: name.into(), ..Publisher::default() }));
        let mut publishers = Publishers::default();
        let [first, second] = [&ann, &ann].map(|who| publishers.pack(&messages(who)[0]));
        let third = publishers.pack(&messages(&bob)[0]);
        assert_eq!(publishers.list.len(), 2);
        publishers.give_back(&first);
        let name = |entry| publishers.take(entry).unwrap().into_message().publisher.client_id.clone();
        assert_eq!((&*name(&second), &*name(&third)), ("ann", "bob"));
        publishers.give_back(&second);
        assert_eq!((Arc::strong_count(&ann), publishers.list.len()), (1, 1));
        let fourth = publishers.pack(&messages(&ann)[0]);
        assert_eq!(&*publishers.take(&fourth).unwrap().into_message().publisher.client_id, "ann");
    }

    #[test]
    fn an_entry_is_two_words() {
        assert_eq!(size_of::<Retained>(), 2 * size_of::<usize>());
    }
}
