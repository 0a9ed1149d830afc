//! Messages on their way into the history, many in one piece of memory.
//!
//! A message that is built to be handed over takes two allocations on its shard, which another core gives back later.
//! So what is to be kept is copied, one behind the other; the history writes, keeps and seals the same bytes. A row says
//! only what differs from the one before it:
//!
//! ```text
//! what      bits 0 and 1: QoS, 2: RETAIN, 3: topic, 4: publisher as before, 5: identity follows from the one before,
//!           6: it expires, 7: it has properties
//! identity  microseconds since the one before (varint), or arrival (8), shard (2), epoch (4)
//! topic, publisher, expiry, properties, payload: what there is of them; each but the expiry behind its length (varint)
//! ```
//!
//! The first row of a piece says everything, so pieces can stand behind each other.

use std::{mem::size_of, sync::Arc};

use cork_packet::QoS;

use crate::{Message, MessageId, Proof, Publisher, WallTime};

const QOS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const SAME_TOPIC: u8 = 1 << 3;
const SAME_AUTHOR: u8 = 1 << 4;
const LATER: u8 = 1 << 5;
const EXPIRES: u8 = 1 << 6;
const PROPERTIES: u8 = 1 << 7;

/// In an author's first byte: there is a User Name; who vouches for it.
const USER: u8 = 1 << 4;
const PROOF_SHIFT: u8 = 5;

/// Memory that is kept for the next rows, at most.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// Bytes that are no rows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct NoRows;

/// One message as it stands among others.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Stable identity and wall-clock arrival.
    pub id: MessageId,
    /// QoS it was published with.
    pub qos: QoS,
    /// RETAIN as it was published.
    pub retain: bool,
    /// When it expires.
    pub expires: Option<WallTime>,
    /// Topic Name.
    pub topic: &'a str,
    /// Who published it, as [`put_author`] writes it.
    pub author: &'a [u8],
    /// v5 properties to forward, without their length.
    pub properties: &'a [u8],
    /// The Application Message's payload.
    pub payload: &'a [u8],
}

impl<'a> Row<'a> {
    /// The parts of a message; its author is left out.
    #[must_use]
    pub fn of(message: &'a Message) -> Self {
        Self {
            id: message.id(),
            qos: message.qos,
            retain: message.retain,
            expires: message.expires(),
            topic: message.topic(),
            author: &[],
            properties: message.properties(),
            payload: message.payload(),
        }
    }

    /// The whole message; `like` is a publisher that it may share. `None` if its author is none.
    #[must_use]
    pub fn message(&self, like: &mut Arc<Publisher>) -> Option<Message> {
        let author = publisher(self.author)?;
        if **like != author {
            *like = Arc::new(author);
        }
        let mut message = Message::new(self.id, self.topic, self.properties, self.payload, Arc::clone(like));
        (message.qos, message.retain) = (self.qos, self.retain);
        message.set_expires(self.expires);
        Some(message)
    }

    /// What [`Message::cost_bytes`] says of the same message.
    #[must_use]
    pub const fn cost_bytes(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len() + size_of::<Message>()
    }
}

/// Writes who published a message: whether there is a User Name and who vouches for it, then the names.
pub fn put_author(into: &mut Vec<u8>, publisher: &Publisher) {
    into.push(author_flags(publisher));
    put_bytes(into, publisher.client_id.as_bytes());
    if let Some(user) = &publisher.user_name {
        put_bytes(into, user.as_bytes());
    }
}

/// The first byte of an author: bits 4 to 6.
fn author_flags(publisher: &Publisher) -> u8 {
    let proof = match publisher.proof {
        Proof::Nobody => 0,
        Proof::Users => 1,
        Proof::Connection => 2,
        Proof::Inside => 3,
    };
    let user = if publisher.user_name.is_some() { USER } else { 0 };
    user | proof << PROOF_SHIFT
}

/// Reads what [`put_author`] wrote.
#[must_use]
pub fn publisher(author: &[u8]) -> Option<Publisher> {
    let mut from = Reader(author);
    let flags = from.byte()?;
    let text = |bytes| std::str::from_utf8(bytes).ok().map(Into::into);
    let client_id = text(from.bytes()?)?;
    let user_name = if flags & USER == 0 { None } else { Some(text(from.bytes()?)?) };
    let proof = match flags >> PROOF_SHIFT {
        0 => Proof::Nobody,
        1 => Proof::Users,
        2 => Proof::Connection,
        3 => Proof::Inside,
        _ => return None,
    };
    from.0.is_empty().then_some(Publisher { client_id, user_name, proof })
}

/// Messages one behind the other.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    count: usize,
    /// The next row follows another one of the same piece.
    follows: bool,
    /// Where the last one's topic and author stand.
    topic: (usize, usize),
    author: (usize, usize),
    /// The last one's author, if it was given so.
    by: Option<Arc<Publisher>>,
    last: MessageId,
}

impl Rows {
    /// Puts a message in that `by` published; what the row says of its author is not looked at.
    #[inline]
    pub fn push_by(&mut self, row: &Row<'_>, by: &Arc<Publisher>) {
        let same = self.follows && self.by.as_ref().is_some_and(|last| Arc::ptr_eq(last, by));
        self.put_head(row, same);
        if !same {
            let user = by.user_name.as_ref().map_or(0, |user| user.len() + varint_len(user.len()));
            let length = 1 + varint_len(by.client_id.len()) + by.client_id.len() + user;
            put_varint(&mut self.bytes, length as u64);
            self.author = (self.bytes.len(), length);
            put_author(&mut self.bytes, by);
            self.by = Some(Arc::clone(by));
        }
        self.put_rest(row);
    }

    /// Puts a message in.
    #[inline]
    pub fn push(&mut self, row: &Row<'_>) {
        let same = self.follows && self.slice(self.author) == row.author;
        self.put_head(row, same);
        if !same {
            put_varint(&mut self.bytes, row.author.len() as u64);
            self.author = (self.bytes.len(), row.author.len());
            self.bytes.extend_from_slice(row.author);
            self.by = None;
        }
        self.put_rest(row);
    }

    fn slice(&self, (at, length): (usize, usize)) -> &[u8] {
        &self.bytes[at..at + length]
    }

    #[inline]
    fn put_head(&mut self, row: &Row<'_>, same_author: bool) {
        let last = std::mem::replace(&mut self.last, row.id);
        let later = row.id.arrived.0.checked_sub(last.arrived.0);
        let later =
            later.filter(|_| self.follows && (row.id.shard, row.id.epoch) == (last.shard, last.epoch));
        let same_topic = self.follows && self.slice(self.topic) == row.topic.as_bytes();
        let mut what = row.qos.bits();
        for (bit, is) in [
            (RETAIN, row.retain),
            (SAME_TOPIC, same_topic),
            (SAME_AUTHOR, same_author),
            (LATER, later.is_some()),
            (EXPIRES, row.expires.is_some()),
            (PROPERTIES, !row.properties.is_empty()),
        ] {
            what |= if is { bit } else { 0 };
        }
        self.bytes.push(what);
        if let Some(later) = later {
            put_varint(&mut self.bytes, later);
        } else {
            let mut id = [0; 14];
            id[..8].copy_from_slice(&row.id.arrived.0.to_le_bytes());
            id[8..10].copy_from_slice(&row.id.shard.to_le_bytes());
            id[10..].copy_from_slice(&row.id.epoch.to_le_bytes());
            self.bytes.extend_from_slice(&id);
        }
        if !same_topic {
            put_varint(&mut self.bytes, row.topic.len() as u64);
            self.topic = (self.bytes.len(), row.topic.len());
            self.bytes.extend_from_slice(row.topic.as_bytes());
        }
        self.follows = true;
    }

    #[inline]
    fn put_rest(&mut self, row: &Row<'_>) {
        if let Some(at) = row.expires {
            put_varint(&mut self.bytes, at.0);
        }
        if !row.properties.is_empty() {
            put_bytes(&mut self.bytes, row.properties);
        }
        put_bytes(&mut self.bytes, row.payload);
        self.count += 1;
    }

    /// The next row says everything: what stands behind here is a piece by itself.
    pub fn begin_piece(&mut self) {
        (self.follows, self.by) = (false, None);
    }

    /// Takes rows out again: all but the first `count`, which end at `bytes`.
    pub fn cut(&mut self, bytes: usize, count: usize) {
        self.bytes.truncate(bytes);
        self.count = count;
        self.begin_piece();
    }

    /// Empties it. Memory that grew very large is given back.
    pub fn clear(&mut self) {
        self.cut(0, 0);
        self.bytes.shrink_to(SPARE_BYTES_MAX);
    }

    /// Messages in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As bytes, for [`rows`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        rows(&self.bytes).map_while(Result::ok)
    }

    /// In their order, as messages of their own.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        let mut like = Arc::default();
        self.iter().map_while(move |row| row.message(&mut like))
    }
}

/// Reads rows, up to their end or the first that is none.
pub fn rows(bytes: &[u8]) -> impl Iterator<Item = Result<Row<'_>, NoRows>> {
    let first = Row {
        id: MessageId::default(),
        qos: QoS::AtMostOnce,
        retain: false,
        expires: None,
        topic: "",
        author: &[],
        properties: &[],
        payload: &[],
    };
    let (mut from, mut last, mut follows) = (Reader(bytes), first, false);
    std::iter::from_fn(move || {
        if from.0.is_empty() {
            return None;
        }
        let row = from.row(&last, follows);
        follows = true;
        match row {
            Some(row) => last = row,
            None => from.0 = &[],
        }
        Some(row.ok_or(NoRows))
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    fn row(&mut self, last: &Row<'a>, follows: bool) -> Option<Row<'a>> {
        let what = self.byte()?;
        if !follows && what & (SAME_TOPIC | SAME_AUTHOR | LATER) != 0 {
            return None;
        }
        let id = if what & LATER == 0 {
            let (arrived, shard, epoch) = (self.array()?, self.array()?, self.array()?);
            MessageId {
                arrived: WallTime(u64::from_le_bytes(arrived)),
                shard: u16::from_le_bytes(shard),
                epoch: u32::from_le_bytes(epoch),
            }
        } else {
            MessageId { arrived: WallTime(last.id.arrived.0.checked_add(self.varint()?)?), ..last.id }
        };
        let topic =
            if what & SAME_TOPIC == 0 { std::str::from_utf8(self.bytes()?).ok()? } else { last.topic };
        let author = if what & SAME_AUTHOR == 0 { self.bytes()? } else { last.author };
        let expires = if what & EXPIRES == 0 { None } else { Some(WallTime(self.varint()?)) };
        let properties = if what & PROPERTIES == 0 { &[] } else { self.bytes()? };
        let (qos, retain) = (QoS::from_bits(what & QOS)?, what & RETAIN != 0);
        let payload = self.bytes()?;
        Some(Row { id, qos, retain, expires, topic, author, properties, payload })
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(first.into());
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Writes a number seven bits a byte, low ones first, where small numbers are the rule.
#[inline]
pub fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}

const fn varint_len(value: usize) -> usize {
    let (mut length, mut rest) = (1, value >> 7);
    while rest > 0 {
        (length, rest) = (length + 1, rest >> 7);
    }
    length
}

/// Writes bytes behind their length, which is a [varint](put_varint).
#[inline]
pub fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publishers() -> [Arc<Publisher>; 3] {
        let (long, user) = ("c".repeat(300), Some("ann".into()));
        [
            Publisher::default(),
            Publisher { client_id: long.into(), user_name: user, proof: Proof::Users },
            Publisher {
                client_id: "b".into(),
                user_name: Some("u".repeat(200).into()),
                proof: Proof::Inside,
            },
        ]
        .map(Arc::new)
    }

    /// Repetitions, times that go back, other shards and lives, and everything a message can have.
    fn messages() -> Vec<Message> {
        let publishers = publishers();
        let ids =
            [(9, 0, 1), (10, 0, 1), (400, 0, 1), (399, 0, 1), (500, 1, 1), (500, 1, 2), (u64::MAX, 1, 2)];
        let mut messages = Vec::new();
        for (n, (arrived, shard, epoch)) in ids.into_iter().cycle().take(40).enumerate() {
            let id = MessageId { arrived: WallTime(arrived), shard, epoch };
            let topic = ["a/b", "a/b", "\u{e9}\u{1f600}", ""][n % 4];
            let properties: &[u8] = if n % 3 == 0 { b"\x26\0\x01a\0\x01b" } else { b"" };
            let payload = vec![7; [0, 3, 127, 128, 70_000][n % 5]];
            let mut message =
                Message::new(id, topic, properties, &payload, Arc::clone(&publishers[n / 2 % 3]));
            message.qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
            message.retain = n % 2 == 0;
            message.set_expires((n % 7 == 0).then_some(WallTime(1 << 50)));
            messages.push(message);
        }
        messages
    }

    #[test]
    fn what_comes_out_is_what_was_put_in() {
        let messages = messages();
        let (mut rows, mut again) = (Rows::default(), Rows::default());
        for round in 0..2 {
            for (n, message) in messages.iter().enumerate() {
                rows.push_by(&Row::of(message), &message.publisher);
                if n % 11 == 10 {
                    rows.begin_piece();
                }
            }
            assert_eq!((rows.len(), rows.is_empty()), (messages.len(), false), "round {round}");
            assert_eq!(rows.messages().collect::<Vec<_>>(), messages);
            rows.iter().for_each(|row| again.push(&row));
            assert_eq!(again.messages().collect::<Vec<_>>(), messages);
            let costs = rows.iter().map(|row| row.cost_bytes());
            assert!(costs.eq(messages.iter().map(Message::cost_bytes)));
            assert_eq!(
                Arc::strong_count(&messages[0].publisher),
                messages.iter().filter(|it| { Arc::ptr_eq(&it.publisher, &messages[0].publisher) }).count()
                    + usize::from(rows.by.as_ref().is_some_and(|by| Arc::ptr_eq(by, &messages[0].publisher)))
            );
            rows.clear();
            again.clear();
            assert!(rows.by.is_none(), "nobody is held by empty rows");
            assert_eq!(rows.iter().count(), 0);
        }
    }

    #[test]
    fn what_is_cut_leaves_the_rest_as_it_was() {
        let messages = messages();
        let mut rows = Rows::default();
        messages[..10].iter().for_each(|message| rows.push_by(&Row::of(message), &message.publisher));
        let end = rows.as_bytes().len();
        messages[10..].iter().for_each(|message| rows.push_by(&Row::of(message), &message.publisher));
        rows.cut(end, 10);
        messages[30..].iter().for_each(|message| rows.push_by(&Row::of(message), &message.publisher));
        let left: Vec<_> = rows.messages().collect();
        assert_eq!(left, [&messages[..10], &messages[30..]].concat());
    }

    #[test]
    fn other_bytes_are_refused_and_nothing_panics() {
        let mut sound = Rows::default();
        messages()[..4].iter().for_each(|message| sound.push_by(&Row::of(message), &message.publisher));
        let bytes = sound.as_bytes();
        for end in 0..bytes.len() {
            assert!(rows(&bytes[..end]).flatten().count() < 4);
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.to_vec();
                other[at] ^= 1 << bit;
                rows(&other).flatten().for_each(|row| drop(row.message(&mut Arc::default())));
            }
        }
        assert_eq!(rows(&[SAME_TOPIC, 0]).next(), Some(Err(NoRows)), "as which?");
        assert_eq!(rows(&[LATER, 0]).next(), Some(Err(NoRows)));
    }
}
