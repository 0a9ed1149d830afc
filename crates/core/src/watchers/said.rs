//! What a message said, as far as pages are shown it, and the place where a shard keeps the last one of a topic.

use cork_packet::QoS;
use cork_store::WallTime;

use super::trail::NOWHERE;
use crate::{
    deliver::Publication,
    sample::{Sampled, len, short_len},
};

/// Topic, properties and payload that need no memory of their own.
pub(super) const SHORT_BYTES: usize = 50;

/// A message as it is jotted down, and as it is kept. The longer ones have their texts beside it.
#[repr(C)]
#[derive(Copy, Clone)]
pub(super) struct Said {
    /// Of the topic.
    pub(super) hash: u64,
    pub(super) at: WallTime,
    /// Bytes of the whole payload.
    size: u32,
    /// Bytes of the payload that are here, of the properties before it, and of the topic before those.
    payload: u32,
    properties: u16,
    topic: u16,
    qos: QoS,
    /// All three are in `short`.
    is_short: bool,
    /// What is behind them means nothing.
    short: [u8; SHORT_BYTES],
}

/// No epoch: who wants a topic has not been found out.
const NEVER: u32 = u32::MAX;

/// The last message of a topic. Two lines of the processor's cache, which it fetches together: with thousands of topics,
/// fetching these is what noting costs.
#[repr(C, align(128))]
pub(super) struct Entry {
    pub(super) said: Said,
    /// Whose filters and rights the topic fits; as of `epoch`.
    pub(super) wanted: u64,
    /// Who has not been told of the last message.
    pub(super) changed: u64,
    /// The texts of a message that is not short, or was not: what there is behind them means nothing.
    long: Box<[u8]>,
    pub(super) epoch: u32,
    /// Messages, as long as the topic is noted. It may begin anew; only differences matter.
    pub(super) count: u32,
    /// The topic that came after it on its connection; see [`super::trail`].
    pub(super) next: u32,
    /// It stands in the queue of those that may go.
    pub(super) may_go: bool,
    /// All there is of the message is short, without properties.
    is_plain: bool,
}

/// The texts of a message.
#[derive(Copy, Clone)]
pub(super) struct Texts<'a> {
    pub(super) topic: &'a [u8],
    pub(super) properties: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl Texts<'_> {
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Leaves out what does not fit into so many bytes, but never the topic.
    pub(super) fn cut(&mut self, bytes: usize) {
        if self.topic.len() + self.properties.len() > bytes {
            self.properties = &[];
        }
        let room = bytes.saturating_sub(self.topic.len() + self.properties.len());
        self.payload = &self.payload[..self.payload.len().min(room)];
    }

    /// Writes all three one behind the other; there is room.
    #[inline]
    fn write(&self, to: &mut [u8]) {
        let (topic, rest) = to.split_at_mut(self.topic.len());
        topic.copy_from_slice(self.topic);
        let rest = if self.properties.is_empty() {
            rest
        } else {
            let (properties, rest) = rest.split_at_mut(self.properties.len());
            properties.copy_from_slice(self.properties);
            rest
        };
        rest[..self.payload.len()].copy_from_slice(self.payload);
    }
}

impl Said {
    pub(super) const NOTHING: Self = Self {
        hash: 0,
        at: WallTime(0),
        size: 0,
        payload: 0,
        properties: 0,
        topic: 0,
        qos: QoS::AtMostOnce,
        is_short: true,
        short: [0; SHORT_BYTES],
    };

    /// Writes a message down; false if its texts are too long for here. `size`: of the whole payload.
    #[inline]
    pub(super) fn jot(&mut self, hash: u64, at: WallTime, qos: QoS, size: usize, texts: &Texts<'_>) -> bool {
        (self.hash, self.at, self.qos, self.size) = (hash, at, qos, len(size));
        self.measure(texts);
        if self.is_short {
            texts.write(&mut self.short);
        }
        self.is_short
    }

    /// Notes how long these texts are.
    #[inline]
    fn measure(&mut self, texts: &Texts<'_>) {
        self.topic = short_len(texts.topic.len());
        self.properties = short_len(texts.properties.len());
        self.payload = len(texts.payload.len());
        self.is_short = texts.len() <= SHORT_BYTES;
    }

    /// Bytes of all texts.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.topic as usize + self.properties as usize + self.payload as usize
    }

    #[inline]
    pub(super) const fn is_short(&self) -> bool {
        self.is_short
    }

    /// The topic. `long`: where the texts are if they are not short.
    #[inline]
    pub(super) fn topic<'a>(&'a self, long: &'a [u8]) -> &'a [u8] {
        &self.text(long)[..usize::from(self.topic)]
    }

    /// All three texts.
    #[inline]
    pub(super) fn texts<'a>(&'a self, long: &'a [u8]) -> Texts<'a> {
        let (topic, rest) = self.text(long).split_at(usize::from(self.topic));
        let (properties, rest) = rest.split_at(usize::from(self.properties));
        Texts { topic, properties, payload: &rest[..self.payload as usize] }
    }

    #[inline]
    fn text<'a>(&'a self, long: &'a [u8]) -> &'a [u8] {
        if self.is_short { &self.short } else { long }
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            said: Said::NOTHING,
            wanted: 0,
            changed: 0,
            long: Box::default(),
            epoch: NEVER,
            count: 0,
            next: NOWHERE,
            may_go: false,
            is_plain: false,
        }
    }
}

impl Entry {
    #[inline]
    pub(super) fn topic(&self) -> &[u8] {
        self.said.topic(&self.long)
    }

    pub(super) fn name(&self) -> &str {
        str::from_utf8(self.topic()).unwrap_or_default() // a topic's bytes come from a text
    }

    /// Bytes of memory that is its own.
    #[inline]
    pub(super) const fn long_bytes(&self) -> usize {
        self.long.len()
    }

    /// Has so many bytes of memory of its own from now on.
    pub(super) fn resize(&mut self, bytes: usize) {
        self.long = vec![0; bytes].into();
    }

    /// Keeps a message whose texts are these: short, or there is room for them.
    pub(super) fn keep(&mut self, said: &Said, texts: &Texts<'_>) {
        self.said = *said;
        self.said.measure(texts);
        texts.write(if self.said.is_short { &mut self.said.short } else { &mut self.long });
        self.is_plain = self.said.is_short && self.said.properties == 0 && self.long.is_empty();
    }

    /// Keeps a message if it is what most are: short as the one before it, of the same topic, and nobody has to be told that
    /// the topic has changed but those who know. `epoch`: the present one; `wanted`: those who know.
    #[inline]
    pub(super) fn goes_on(&mut self, said: &Said, epoch: u32, wanted: u64) -> bool {
        let tells_nobody = self.tells_nobody(epoch, wanted);
        let Self { said: before, .. } = self;
        let is_short = said.is_short && before.is_short && self.long.is_empty();
        if !is_short || !tells_nobody || before.topic(&[]) != said.topic(&[]) {
            return false;
        }
        *before = *said;
        self.is_plain = said.properties == 0;
        self.count = self.count.wrapping_add(1);
        true
    }

    /// Nobody has to be told that the topic has changed but those who know, `wanted`. `epoch`: the present one.
    #[inline]
    pub(super) const fn tells_nobody(&self, epoch: u32, wanted: u64) -> bool {
        self.epoch == epoch && self.wanted == wanted && wanted & !self.changed == 0
    }

    /// Keeps a message without properties if it is of this topic, and need only be written over one that was like it.
    /// `shown`: of its payload.
    ///
    /// Always inlined: it is most of what noting a message costs, and the compiler takes it for too large.
    #[inline(always)]
    pub(super) fn overwrite(&mut self, publication: &Publication<'_>, shown: &[u8], at: WallTime) -> bool {
        let topic = publication.topic.as_bytes();
        let Self { said, is_plain, .. } = self;
        if !*is_plain || usize::from(said.topic) != topic.len() {
            return false;
        }
        let Some((name, room)) = said.short.split_at_mut_checked(topic.len()) else { return false };
        let Some(room) = room.get_mut(..shown.len()) else { return false };
        if *name != *topic {
            return false;
        }
        room.copy_from_slice(shown);
        (said.size, said.payload) = (len(publication.payload.len()), len(shown.len()));
        (said.at, said.qos) = (at, publication.qos);
        self.count = self.count.wrapping_add(1);
        true
    }

    /// What a page is told. `count`: messages since it was told before.
    pub(super) fn shown(&self, payload_max: usize, count: u64) -> Sampled<'_> {
        let Texts { topic, properties, payload } = self.said.texts(&self.long);
        Sampled {
            topic: str::from_utf8(topic).unwrap_or_default(), // as with its name
            properties,
            payload: &payload[..payload.len().min(payload_max)],
            size: self.said.size as usize,
            qos: self.said.qos,
            at: self.said.at,
            count,
        }
    }
}
