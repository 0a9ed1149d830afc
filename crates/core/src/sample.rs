//! What a page that watches gets: of each topic that changed the last message, in one piece of memory.

use cork_packet::QoS;
use cork_store::WallTime;

/// What was published since the page took its last sample: of each topic the last message, no more than was asked for.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Messages that came since the sample before, whether they are in this one or not.
    pub seen: u64,
    /// Messages that are in no sample, because a later one of the topic came before it was taken or there was no room.
    pub skipped: u64,
    /// Topics that changed and are not in it: they come first in the next one.
    pub waiting: usize,
    /// When the first of those changed; what the next samples bring is not older.
    pub waiting_since: Option<WallTime>,
    topics: String,
    bytes: Vec<u8>,
    items: Vec<Item>,
}

/// The last message of a topic.
#[derive(Copy, Clone, Debug)]
pub struct Sampled<'a> {
    /// Topic Name.
    pub topic: &'a str,
    /// Properties as they are forwarded, encoded; empty if they are larger than a sample keeps.
    pub properties: &'a [u8],
    /// The beginning of the payload.
    pub payload: &'a [u8],
    /// Bytes of the whole payload.
    pub size: usize,
    /// As published.
    pub qos: QoS,
    /// When it came.
    pub at: WallTime,
    /// Messages of the topic since it was in a sample.
    pub count: u64,
}

/// How much of the memory is an item's. Small, as there are thousands a second.
#[derive(Copy, Clone, Debug)]
struct Item {
    at: WallTime,
    count: u64,
    payload: u32,
    size: u32,
    topic: u16,
    properties: u16,
    qos: QoS,
}

impl Sample {
    pub(crate) fn push(&mut self, one: &Sampled<'_>) {
        self.topics.push_str(one.topic);
        self.bytes.extend_from_slice(one.properties);
        self.bytes.extend_from_slice(one.payload);
        let Sampled { topic, properties, payload, size, qos, at, count } = *one;
        let (topic, properties) = (short_len(topic.len()), short_len(properties.len()));
        let (payload, size) = (len(payload.len()), len(size));
        self.items.push(Item { at, count, payload, size, topic, properties, qos });
    }

    /// Makes room for so many items of the size usual for values.
    pub(crate) fn reserve(&mut self, items: usize) {
        self.items.reserve(items);
        self.topics.reserve(items * 32);
        self.bytes.reserve(items * 16);
    }

    /// Bytes of topics, properties and payloads.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.topics.len() + self.bytes.len()
    }

    /// Topics in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The topics, in the order in which they changed first.
    pub fn iter(&self) -> impl Iterator<Item = Sampled<'_>> {
        let (mut topics, mut bytes) = (&*self.topics, &*self.bytes);
        self.items.iter().map(move |item| {
            let topic = topics.split_at(usize::from(item.topic));
            let properties = bytes.split_at(usize::from(item.properties));
            let payload = properties.1.split_at(item.payload as usize);
            (topics, bytes) = (topic.1, payload.1);
            let Item { size, qos, at, count, .. } = *item;
            let size = size as usize;
            Sampled { topic: topic.0, properties: properties.0, payload: payload.0, size, qos, at, count }
        })
    }
}

/// A length in few bytes; no packet is longer.
#[inline]
pub(crate) fn len(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The same of a topic, or of properties that are noted.
#[inline]
pub(crate) fn short_len(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
