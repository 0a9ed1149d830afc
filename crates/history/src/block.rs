//! Many messages as columns: what they have in common once, times and numbers compressed as numbers, the rest as text.
//!
//! ```text
//! tables (lz4)   publishers, kinds (publisher, shard, epoch, QoS, RETAIN), groups: topic, rows, plain numbers, fields
//! arrived (pco)  of all rows, group after group, ascending within each
//! kind    (pco)  of all rows
//! plain   (pco)  of the rows that are a plain number and nothing else, group after group
//! fields  (pco)  of each group, for each numeric field: rows it stands in (unless all), values
//! texts   (lz4)  of all other rows: expiry, properties, payload
//! ```
//!
//! A chart reads tables, times and one column of numbers; the texts are read only for whole messages.

use std::{collections::BTreeMap, sync::Arc};

use cork_store::{Message, MessageId, Publisher, Row, WallTime};
use pco::{ChunkConfig, data_types::Number};

use crate::{
    number,
    wire::{self, Cursor, Malformed, put_bytes, put_varint},
};

/// Sections of a block, in their order.
const TABLES: usize = 0;
const ARRIVED: usize = 1;
const KINDS: usize = 2;
const PLAIN: usize = 3;
const FIELDS: usize = 4;
const TEXTS: usize = 5;
const SECTIONS: usize = 6;
/// Rows of a block that is sound: far fewer.
const ROWS_MAX: usize = 1 << 22;
/// Of pco: 8 is its default; 6 is twice as fast and hardly larger.
const LEVEL: usize = 6;

/// Which rows of a group are plain numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PlainRows {
    None,
    All,
    /// A bit for each row.
    Some(Vec<u8>),
}

impl PlainRows {
    fn has(&self, row: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(bits) => bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1),
        }
    }

    fn count(&self, rows: usize) -> usize {
        (0..rows).filter(|row| self.has(*row)).count()
    }
}

/// Makes a block of messages.
pub(crate) fn seal(messages: &[Row<'_>]) -> Vec<u8> {
    let mut groups: BTreeMap<&str, Vec<&Row<'_>>> = BTreeMap::new();
    // One after another of the same topic needs no search.
    for run in messages.chunk_by(|one, next| one.topic == next.topic) {
        groups.entry(run[0].topic).or_default().extend(run);
    }
    let mut sealing = Sealing::default();
    put_varint(&mut sealing.groups, groups.len() as u64);
    for (topic, mut rows) in groups {
        rows.sort_by_key(|row| row.id);
        sealing.group(topic, &rows);
    }
    sealing.finish()
}

#[derive(Default)]
struct Sealing<'a> {
    publishers: Vec<u8>,
    publisher_numbers: BTreeMap<&'a [u8], u64>,
    kinds: Vec<u8>,
    kind_numbers: BTreeMap<(u64, u16, u32, u8), u32>,
    /// The kind that was asked for last: the next message is often of the same.
    last_kind: Option<(&'a [u8], u16, u32, u8, u32)>,
    groups: Vec<u8>,
    arrived: Vec<u64>,
    kind_column: Vec<u32>,
    plain: Vec<f64>,
    fields: Vec<u8>,
    texts: Vec<u8>,
}

impl<'a> Sealing<'a> {
    fn group(&mut self, topic: &str, rows: &[&Row<'a>]) {
        put_bytes(&mut self.groups, topic.as_bytes());
        put_varint(&mut self.groups, rows.len() as u64);
        let mut bits = vec![0_u8; rows.len().div_ceil(8)];
        let mut fields: BTreeMap<String, (Vec<u32>, Vec<f64>)> = BTreeMap::new();
        let mut plain = 0;
        for (row, message) in (0_u32..).zip(rows) {
            self.arrived.push(message.id.arrived.0);
            let kind = self.kind(message);
            self.kind_column.push(kind);
            let bare = message.properties.is_empty() && message.expires.is_none();
            if let Some(value) = number::canonical(message.payload).filter(|_| bare) {
                self.plain.push(value);
                bits[row as usize / 8] |= 1 << (row % 8);
                plain += 1;
                continue;
            }
            self.text(message);
            let mut note = |path: &str, value| {
                let column = match fields.get_mut(path) {
                    Some(column) => column,
                    None => fields.entry(path.to_owned()).or_default(),
                };
                if column.0.last() != Some(&row) {
                    column.0.push(row);
                    column.1.push(value);
                }
            };
            match number::plain(message.payload) {
                Some(value) => note("", value),
                None => number::fields(message.payload, note),
            }
        }
        match plain {
            0 => self.groups.push(0),
            all if all == rows.len() => self.groups.push(1),
            _ => {
                self.groups.push(2);
                put_bytes(&mut self.groups, &bits);
            }
        }
        put_varint(&mut self.groups, fields.len() as u64);
        for (path, (at, values)) in fields {
            put_bytes(&mut self.groups, path.as_bytes());
            let all = at.len() == rows.len();
            put_bytes(&mut self.fields, &if all { Vec::new() } else { packed(&at) });
            put_bytes(&mut self.fields, &packed(&values));
        }
    }

    fn kind(&mut self, row: &Row<'a>) -> u32 {
        let (flags, MessageId { shard, epoch, .. }) = (wire::flags_of(row), row.id);
        if let Some((by, last_shard, last_epoch, last_flags, kind)) = self.last_kind
            && (last_shard, last_epoch, last_flags) == (shard, epoch, flags)
            && (by.as_ptr() == row.author.as_ptr() || by == row.author)
        {
            return kind;
        }
        let kind = self.kind_of(row, flags);
        self.last_kind = Some((row.author, shard, epoch, flags, kind));
        kind
    }

    fn kind_of(&mut self, row: &Row<'a>, flags: u8) -> u32 {
        let next = self.publisher_numbers.len() as u64;
        let by = *self.publisher_numbers.entry(row.author).or_insert_with(|| {
            self.publishers.extend_from_slice(row.author);
            next
        });
        let key = (by, row.id.shard, row.id.epoch, flags);
        let next = u32::try_from(self.kind_numbers.len()).unwrap_or(u32::MAX);
        *self.kind_numbers.entry(key).or_insert_with(|| {
            put_varint(&mut self.kinds, by);
            put_varint(&mut self.kinds, u64::from(key.1));
            put_varint(&mut self.kinds, u64::from(key.2));
            self.kinds.push(flags);
            next
        })
    }

    fn text(&mut self, row: &Row<'_>) {
        put_varint(&mut self.texts, row.expires.map_or(0, |at| at.0));
        put_bytes(&mut self.texts, row.properties);
        put_bytes(&mut self.texts, row.payload);
    }

    fn finish(self) -> Vec<u8> {
        let mut tables = Vec::new();
        put_varint(&mut tables, self.publisher_numbers.len() as u64);
        tables.extend_from_slice(&self.publishers);
        put_varint(&mut tables, self.kind_numbers.len() as u64);
        tables.extend_from_slice(&self.kinds);
        tables.extend_from_slice(&self.groups);
        let sections = [
            lz4_flex::compress_prepend_size(&tables),
            packed(&self.arrived),
            packed(&self.kind_column),
            packed(&self.plain),
            self.fields,
            lz4_flex::compress_prepend_size(&self.texts),
        ];
        let mut all = Vec::new();
        for section in &sections {
            put_varint(&mut all, section.len() as u64);
        }
        sections.iter().for_each(|section| all.extend_from_slice(section));
        all
    }
}

fn packed<T: Number>(numbers: &[T]) -> Vec<u8> {
    if numbers.is_empty() {
        return Vec::new();
    }
    let config = ChunkConfig::default().with_compression_level(LEVEL);
    pco::standalone::simple_compress(numbers, &config).unwrap_or_default() // writing to memory, a valid configuration
}

fn unpacked_text(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let said = Cursor(bytes).u32()? as usize;
    if said > bytes.len().saturating_mul(256) {
        return Err(Malformed); // lz4 cannot do that
    }
    lz4_flex::decompress_size_prepended(bytes).map_err(|_| Malformed)
}

fn unpacked<T: Number>(bytes: &[u8], count: usize) -> Result<Vec<T>, Malformed> {
    let numbers = if bytes.is_empty() {
        Vec::new()
    } else {
        pco::standalone::simple_decompress(bytes).map_err(|_| Malformed)?
    };
    if numbers.len() == count { Ok(numbers) } else { Err(Malformed) }
}

/// One topic of a block.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) topic: Box<str>,
    /// Its rows among all rows.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    plain: PlainRows,
    plain_first: usize,
    plain_rows: usize,
    /// Paths of numeric fields; empty: the payload itself, where its text says more than its number.
    pub(crate) fields: Vec<Box<str>>,
    fields_first: usize,
}

impl Group {
    /// Whether it has numbers under this name; the empty one is the payload itself.
    pub(crate) fn has(&self, field: &str) -> bool {
        (field.is_empty() && self.plain_rows > 0) || self.fields.iter().any(|path| **path == *field)
    }
}

/// A block's tables, read.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    sections: [&'a [u8]; SECTIONS],
    publishers: Vec<Arc<Publisher>>,
    kinds: Vec<Kind>,
    pub(crate) groups: Vec<Group>,
    rows: usize,
    plain_rows: usize,
}

#[derive(Copy, Clone, Debug)]
struct Kind {
    publisher: usize,
    shard: u16,
    epoch: u32,
    flags: u8,
}

/// Numbers with their times, of one group.
pub(crate) type Points = Vec<(u64, f64)>;

impl<'a> Block<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Cursor(bytes);
        let mut lengths = [0; SECTIONS];
        for length in &mut lengths {
            *length = from.length()?;
        }
        let mut sections = [&[][..]; SECTIONS];
        for (section, length) in sections.iter_mut().zip(lengths) {
            *section = from.take(length)?;
        }
        let tables = unpacked_text(sections[TABLES])?;
        let mut from = Cursor(&tables);
        let mut publishers = Vec::new();
        for _ in 0..from.length()? {
            publishers.push(Arc::new(wire::publisher(&mut from)?));
        }
        let mut kinds = Vec::new();
        for _ in 0..from.length()? {
            kinds.push(Kind {
                publisher: from.length()?,
                shard: u16::try_from(from.varint()?).map_err(|_| Malformed)?,
                epoch: u32::try_from(from.varint()?).map_err(|_| Malformed)?,
                flags: from.u8()?,
            });
        }
        let mut block = Self { sections, publishers, kinds, groups: Vec::new(), rows: 0, plain_rows: 0 };
        let mut fields_first = 0;
        for _ in 0..from.length()? {
            let group = block.read_group(&mut from, fields_first)?;
            fields_first += group.fields.len();
            block.rows += group.rows;
            block.plain_rows += group.plain_rows;
            block.groups.push(group);
        }
        Ok(block)
    }

    fn read_group(&self, from: &mut Cursor<'_>, fields_first: usize) -> Result<Group, Malformed> {
        let (topic, rows) = (from.text()?.into(), from.length()?);
        if rows > ROWS_MAX - self.rows.min(ROWS_MAX) {
            return Err(Malformed);
        }
        let plain = match from.u8()? {
            0 => PlainRows::None,
            1 => PlainRows::All,
            2 => PlainRows::Some(from.bytes()?.to_vec()),
            _ => return Err(Malformed),
        };
        let mut fields = Vec::new();
        for _ in 0..from.length()? {
            fields.push(from.text()?.into());
        }
        let (first, plain_first, plain_rows) = (self.rows, self.plain_rows, plain.count(rows));
        Ok(Group { topic, first, rows, plain, plain_first, plain_rows, fields, fields_first })
    }

    /// When the rows came, in microseconds since 1970, group after group.
    pub(crate) fn arrived(&self) -> Result<Vec<u64>, Malformed> {
        unpacked(self.sections[ARRIVED], self.rows)
    }

    /// All plain numbers, group after group.
    pub(crate) fn plain(&self) -> Result<Vec<f64>, Malformed> {
        unpacked(self.sections[PLAIN], self.plain_rows)
    }

    /// The numbers of one field of one group, in the order of time; `arrived` and `plain` are the whole columns.
    pub(crate) fn points(
        &self,
        group: &Group,
        field: &str,
        arrived: &[u64],
        plain: &[f64],
    ) -> Result<Points, Malformed> {
        let times = arrived.get(group.first..group.first + group.rows).ok_or(Malformed)?;
        let mut points = Points::new();
        if field.is_empty() && group.plain_rows > 0 {
            let mut values = plain.get(group.plain_first..).ok_or(Malformed)?.iter();
            if group.plain == PlainRows::All {
                points.extend(times.iter().copied().zip(values.copied()));
            } else {
                for (row, time) in times.iter().enumerate().filter(|(row, _)| group.plain.has(*row)) {
                    debug_assert!(row < group.rows);
                    points.push((*time, *values.next().ok_or(Malformed)?));
                }
            }
        }
        let Some(at) = group.fields.iter().position(|path| **path == *field) else { return Ok(points) };
        let mut from = Cursor(self.sections[FIELDS]);
        for _ in 0..2 * (group.fields_first + at) {
            from.bytes()?;
        }
        let (rows, values) = (from.bytes()?, from.bytes()?);
        let values: Vec<f64> = pco::standalone::simple_decompress(values).map_err(|_| Malformed)?;
        if rows.is_empty() {
            points.extend(times.iter().copied().zip(values));
        } else {
            let rows: Vec<u32> = unpacked(rows, values.len())?;
            for (row, value) in rows.into_iter().zip(values) {
                points.push((*times.get(row as usize).ok_or(Malformed)?, value));
            }
        }
        if field.is_empty() {
            points.sort_by_key(|(time, _)| *time);
        }
        Ok(points)
    }

    /// Which messages the rows are, in no particular order.
    pub(crate) fn ids(&self) -> Result<Vec<MessageId>, Malformed> {
        let kinds: Vec<u32> = unpacked(self.sections[KINDS], self.rows)?;
        let id = |(arrived, kind): (u64, u32)| {
            let kind = self.kinds.get(kind as usize).ok_or(Malformed)?;
            Ok(MessageId { arrived: WallTime(arrived), shard: kind.shard, epoch: kind.epoch })
        };
        self.arrived()?.into_iter().zip(kinds).map(id).collect()
    }

    /// The whole messages, in the order of their identities.
    pub(crate) fn messages(&self) -> Result<Vec<Arc<Message>>, Malformed> {
        let arrived = self.arrived()?;
        let kinds: Vec<u32> = unpacked(self.sections[KINDS], self.rows)?;
        let mut plain = self.plain()?.into_iter();
        let texts = unpacked_text(self.sections[TEXTS])?;
        let mut from = Cursor(&texts);
        let mut messages = Vec::with_capacity(self.rows);
        for group in &self.groups {
            for row in 0..group.rows {
                let at = group.first + row;
                let kind = *self.kinds.get(kinds[at] as usize).ok_or(Malformed)?;
                let publisher = Arc::clone(self.publishers.get(kind.publisher).ok_or(Malformed)?);
                let id = MessageId { arrived: WallTime(arrived[at]), shard: kind.shard, epoch: kind.epoch };
                let mut message = if group.plain.has(row) {
                    let text = number::shortest(plain.next().ok_or(Malformed)?);
                    Message::new(id, &group.topic, &[], text.as_bytes(), publisher)
                } else {
                    let expires = from.varint()?;
                    let (properties, payload) = (from.bytes()?, from.bytes()?);
                    let mut message = Message::new(id, &group.topic, properties, payload, publisher);
                    message.set_expires(Some(WallTime(expires)).filter(|at| at.0 > 0));
                    message
                };
                wire::set_flags(&mut message, kind.flags)?;
                messages.push(Arc::new(message));
            }
        }
        messages.sort_by_key(|message| message.id());
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use cork_packet::QoS;
    use cork_store::{Proof, Rows};
    use proptest::prelude::*;

    use super::*;

    fn any_message() -> impl Strategy<Value = Arc<Message>> {
        let payload = prop_oneof![
            any::<i16>().prop_map(|n| (f64::from(n) / 8.0).to_string().into_bytes()),
            any::<i16>().prop_map(|n| format!("{n}.50").into_bytes()),
            any::<u8>().prop_map(|n| format!("{{\"t\":{n},\"in\":{{\"x\":1.5}},\"s\":\"a\"}}").into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        let properties = prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![1, 1])];
        let who =
            (0..3_u8, proptest::option::of("[a-c]"), prop_oneof![Just(Proof::Nobody), Just(Proof::Users)]);
        let head = (1..500_u64, 0..2_u16, 0..2_u32, 0..3_u8, any::<bool>());
        (head, 0..4_u8, payload, properties, proptest::option::of(1..9_u64), who).prop_map(
            |(
                (arrived, shard, epoch, qos, retain),
                topic,
                payload,
                properties,
                expires,
                (client, user, proof),
            )| {
                let publisher = Arc::new(Publisher {
                    client_id: format!("c{client}").into(),
                    user_name: user.map(Into::into),
                    proof,
                });
                let id = MessageId { arrived: WallTime(arrived), shard, epoch };
                let mut message = Message::new(id, &format!("t/{topic}"), &properties, &payload, publisher);
                message.qos = QoS::from_bits(qos).unwrap();
                message.retain = retain;
                message.set_expires(expires.map(WallTime));
                Arc::new(message)
            },
        )
    }

    fn sealed(messages: &[Arc<Message>]) -> Vec<u8> {
        let mut rows = Rows::default();
        messages.iter().for_each(|message| rows.push_by(&Row::of(message), &message.publisher));
        seal(&rows.iter().collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn what_is_sealed_comes_back(messages in proptest::collection::vec(any_message(), 1..60)) {
            let mut messages = messages;
            messages.sort_by_key(|message| message.id());
            messages.dedup_by_key(|message| message.id());
            let bytes = sealed(&messages);
            let block = Block::open(&bytes).unwrap();
            prop_assert_eq!(block.messages().unwrap(), messages.clone());
            let (arrived, plain) = (block.arrived().unwrap(), block.plain().unwrap());
            for group in &block.groups {
                for field in ["", "t", "in.x"] {
                    let mut wanted = Points::new();
                    for message in messages.iter().filter(|message| message.topic() == &*group.topic) {
                        let value = if field.is_empty() {
                            number::plain(message.payload())
                        } else {
                            let mut value = None;
                            number::fields(message.payload(), |path, number| {
                                if path == field { value = Some(number); }
                            });
                            value
                        };
                        wanted.extend(value.map(|value| (message.id().arrived.0, value)));
                    }
                    let mut points = block.points(group, field, &arrived, &plain).unwrap();
                    prop_assert_eq!(group.has(field), !wanted.is_empty());
                    // Two shards may have had one at the same moment.
                    points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
                    wanted.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
                    prop_assert_eq!(points, wanted);
                }
            }
        }

        #[test]
        fn damaged_bytes_are_refused_or_read(messages in proptest::collection::vec(any_message(), 1..20),
            at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = sealed(&messages);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(block) = Block::open(&bytes) {
                let _ = block.plain();
            }
        }
    }

    #[test]
    fn a_regular_value_takes_less_than_two_bytes() {
        let publisher = Arc::new(Publisher { client_id: "c".into(), ..Publisher::default() });
        let messages: Vec<_> = (0..16_384_u32)
            .map(|n| {
                let arrived = WallTime(1_790_000_000_000_000 + u64::from(n) * 1_000_000);
                let value = (f64::from(n) / 500.0).sin() * 50.0 + 200.0;
                let text = ((value).round() / 10.0).to_string();
                let id = MessageId { arrived, shard: 0, epoch: 0 };
                Arc::new(Message::new(id, "t", &[], text.as_bytes(), Arc::clone(&publisher)))
            })
            .collect();
        let bytes = sealed(&messages).len();
        assert!(bytes < 2 * messages.len(), "{bytes} bytes");
    }
}
