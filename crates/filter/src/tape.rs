//! A payload's values in the order they stand in it: where each begins and ends, and what follows it.
//!
//! Read once for a message, whatever its format, and then looked into by every expression. Strings and the numbers of
//! JSON stay where they are in the payload; what JSON strings with escapes say, and CBOR's in pieces, is written down beside
//! the tape, once.
//!
//! ```text
//! {"a": [1, "x"]}      0 Map(1) next 5
//!                      1   Text "a"
//!                      2   List(2) next 5
//!                      3     Number 1
//!                      4     Text "x"
//! ```

use crate::{PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX, PAYLOAD_VALUES_MAX, number};

/// What a value is, with what is needed to get at it.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    /// The digits of a JSON number: from, to.
    Digits(u32, u32),
    /// A string without its quotes: from, to.
    Text(u32, u32),
    /// A JSON string that had escapes, or a CBOR text in pieces: from, to in what was unescaped.
    Escaped(u32, u32),
    Bytes(u32, u32),
    /// Elements.
    List(u32),
    /// Pairs; each is two values.
    Map(u32),
    /// Something CBOR or MessagePack can say and an expression cannot look at.
    Opaque,
}

/// One value, in 16 bytes: a [`Kind`] is made of it when somebody looks.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Entry {
    tag: Tag,
    /// The last byte of a text. Names of one payload often begin alike: it tells most of them apart.
    last: u8,
    /// Bytes of a text, a number's digits or bytes; elements or pairs; the upper half of a number.
    size: u32,
    /// Where it begins; the lower half of a number.
    from: u32,
    /// The value after this one and all that is in it.
    pub(crate) next: u32,
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
enum Tag {
    #[default]
    Null,
    False,
    True,
    Int,
    Uint,
    Double,
    Digits,
    Text,
    Escaped,
    Bytes,
    List,
    Map,
    Opaque,
}

impl Entry {
    #[inline(always)]
    pub(crate) fn new(kind: Kind, next: u32) -> Self {
        let wide = |tag, bytes: [u8; 8]| {
            let [a, b, c, d, e, f, g, h] = bytes;
            (tag, u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
        };
        let (tag, from, size) = match kind {
            Kind::Null => (Tag::Null, 0, 0),
            Kind::Bool(false) => (Tag::False, 0, 0),
            Kind::Bool(true) => (Tag::True, 0, 0),
            Kind::Int(value) => wide(Tag::Int, value.to_le_bytes()),
            Kind::Uint(value) => wide(Tag::Uint, value.to_le_bytes()),
            Kind::Double(value) => wide(Tag::Double, value.to_le_bytes()),
            Kind::Digits(from, to) => (Tag::Digits, from, to.wrapping_sub(from)),
            Kind::Text(from, to) => (Tag::Text, from, to.wrapping_sub(from)),
            Kind::Escaped(from, to) => (Tag::Escaped, from, to.wrapping_sub(from)),
            Kind::Bytes(from, to) => (Tag::Bytes, from, to.wrapping_sub(from)),
            Kind::List(count) => (Tag::List, 0, count),
            Kind::Map(count) => (Tag::Map, 0, count),
            Kind::Opaque => (Tag::Opaque, 0, 0),
        };
        Self { tag, last: NO_LAST, size, from, next }
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        let Self { tag, size, from, .. } = self;
        let wide = || {
            let ([a, b, c, d], [e, f, g, h]) = (from.to_le_bytes(), size.to_le_bytes());
            [a, b, c, d, e, f, g, h]
        };
        let to = from.wrapping_add(size);
        match tag {
            Tag::Null => Kind::Null,
            Tag::False => Kind::Bool(false),
            Tag::True => Kind::Bool(true),
            Tag::Int => Kind::Int(i64::from_le_bytes(wide())),
            Tag::Uint => Kind::Uint(u64::from_le_bytes(wide())),
            Tag::Double => Kind::Double(f64::from_le_bytes(wide())),
            Tag::Digits => Kind::Digits(from, to),
            Tag::Text => Kind::Text(from, to),
            Tag::Escaped => Kind::Escaped(from, to),
            Tag::Bytes => Kind::Bytes(from, to),
            Tag::List => Kind::List(size),
            Tag::Map => Kind::Map(size),
            Tag::Opaque => Kind::Opaque,
        }
    }
}

/// The payload is not of this format, or says more than is looked at.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotThis;

/// The values of a payload.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    /// Room for values, of earlier payloads too: `used` of them are of this one.
    pub(crate) entries: Vec<Entry>,
    used: usize,
    /// The texts of the strings that had escapes or came in pieces, one behind the other.
    pub(crate) unescaped: String,
}

impl Tape {
    /// The values that were written last.
    pub(crate) fn values(&self) -> &[Entry] {
        self.entries.get(..self.used).unwrap_or_default()
    }
}

/// Writes a tape. What it wrote counts once its reader says how much it was: [`Tape::write`].
pub(crate) struct Writer<'t> {
    room: &'t mut [Entry],
    used: usize,
    depth: usize,
    pub(crate) unescaped: &'t mut String,
}

/// Why a payload was not read to its end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is not of this format, or says more than is looked at.
    NotThis,
    /// There is no room for its values: it is read again with more.
    Full,
}

impl From<NotThis> for Stop {
    fn from(_: NotThis) -> Self {
        Self::NotThis
    }
}

impl Tape {
    /// Has a payload read by `read`, which says how many values it wrote, and again with more room where it wrote too
    /// many. Once there is room for most payloads, as there soon is, it is read once.
    #[inline]
    pub(crate) fn write(&mut self, read: impl Fn(Writer<'_>) -> Result<usize, Stop>) -> Result<(), NotThis> {
        self.used = 0;
        loop {
            self.unescaped.clear();
            let room = &mut *self.entries;
            match read(Writer { room, used: 0, depth: 0, unescaped: &mut self.unescaped }) {
                Ok(used) => {
                    self.used = used;
                    return Ok(());
                }
                Err(Stop::Full) if self.entries.len() < PAYLOAD_VALUES_MAX => self.grow(),
                Err(_) => return Err(NotThis),
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        let room = (self.entries.len() * 4).clamp(ROOM_MIN, PAYLOAD_VALUES_MAX);
        self.entries = vec![Entry::default(); room];
    }
}

impl Writer<'_> {
    /// The same anew, so that the compiler sees that nobody else looks at it and keeps it in registers.
    #[inline(always)]
    pub(crate) fn in_hand(self) -> Self {
        let Self { room, used, depth, unescaped } = self;
        Self { room, used, depth, unescaped }
    }

    /// How many values were written.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    #[inline(always)]
    pub(crate) fn value(&mut self, kind: Kind) -> Result<(), Stop> {
        let room = self.room.get_mut(self.used).ok_or(Stop::Full)?;
        self.used += 1;
        *room = Entry::new(kind, place(self.used));
        Ok(())
    }

    /// A text in the payload, from, to, with its last byte: see [`last_of`].
    #[inline(always)]
    pub(crate) fn text(&mut self, from: usize, to: usize, last: u8) -> Result<(), Stop> {
        let room = self.room.get_mut(self.used).ok_or(Stop::Full)?;
        self.used += 1;
        *room = Entry { last, ..Entry::new(Kind::Text(place(from), place(to)), place(self.used)) };
        Ok(())
    }

    /// A text that was put together at the end of `unescaped`, from `from` on.
    pub(crate) fn unescaped(&mut self, from: usize) -> Result<(), Stop> {
        let to = self.unescaped.len();
        let last = last_of(self.unescaped.as_bytes().get(from..).unwrap_or_default());
        self.value(Kind::Escaped(place(from), place(to)))?;
        if let Some(entry) = self.used.checked_sub(1).and_then(|at| self.room.get_mut(at)) {
            entry.last = last;
        }
        Ok(())
    }

    /// Begins a list or map, whose size is told at its end; `outer` is kept for it until then.
    #[inline(always)]
    pub(crate) fn open(&mut self, outer: u32) -> Result<u32, Stop> {
        if self.depth >= PAYLOAD_DEPTH_MAX {
            return Err(Stop::NotThis);
        }
        let room = self.room.get_mut(self.used).ok_or(Stop::Full)?;
        *room = Entry::new(Kind::Null, outer);
        self.depth += 1;
        self.used += 1;
        Ok(place(self.used - 1))
    }

    /// Ends the list or map that was begun at `at`, and returns its `outer`.
    #[inline(always)]
    pub(crate) fn close(&mut self, at: u32, kind: Kind) -> u32 {
        self.depth -= 1;
        let next = place(self.used);
        let entry = self.room.get_mut(at as usize);
        entry.map_or(u32::MAX, |entry| std::mem::replace(entry, Entry::new(kind, next)).next)
    }

    /// Notes of a list or map that a value in it is begun: how many there were before, and what will end it.
    #[inline(always)]
    pub(crate) fn leave_open(&mut self, at: u32, count: u32, close: u8) {
        if let Some(entry) = self.room.get_mut(at as usize) {
            (entry.size, entry.last) = (count, close);
        }
    }

    /// What was noted; `None` when there is no such list or map.
    #[inline(always)]
    pub(crate) fn left_open(&self, at: u32) -> Option<(u32, u8)> {
        self.room.get(at as usize).map(|entry| (entry.size, entry.last))
    }
}

/// What stands for the last byte where there is none: in JSON, what stands before the end of an empty string.
const NO_LAST: u8 = b'"';

#[inline]
pub(crate) fn last_of(text: &[u8]) -> u8 {
    text.last().copied().unwrap_or(NO_LAST)
}

/// Values there is room for from the first one on.
const ROOM_MIN: usize = 64;

/// Places in a payload and a tape are far below 2^32.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "no payload longer than PAYLOAD_BYTES_MAX is looked into"
)]
pub(crate) fn place(at: usize) -> u32 {
    debug_assert!(at <= 2 * PAYLOAD_BYTES_MAX, "{at}");
    at as u32
}

/// A payload and its tape.
#[derive(Copy, Clone)]
pub(crate) struct Document<'a> {
    pub(crate) payload: &'a [u8],
    /// The payload as a text, if it is JSON: any place between two characters may be trusted then.
    pub(crate) text: &'a str,
    pub(crate) entries: &'a [Entry],
    pub(crate) unescaped: &'a str,
}

impl<'a> Document<'a> {
    pub(crate) fn kind(&self, at: u32) -> Kind {
        self.entries.get(at as usize).map_or(Kind::Opaque, |entry| entry.kind())
    }

    fn next(&self, at: u32) -> u32 {
        self.entries.get(at as usize).map_or(u32::MAX, |entry| entry.next)
    }

    pub(crate) fn range(&self, from: u32, to: u32) -> &'a [u8] {
        self.payload.get(from as usize..to as usize).unwrap_or_default()
    }

    /// The elements of a list, or the keys and values of a map by turns.
    pub(crate) fn children(self, at: u32) -> impl Iterator<Item = u32> + use<'a> {
        let end = self.next(at);
        let mut child = at + 1;
        std::iter::from_fn(move || {
            let present = child;
            (present < end).then(|| {
                child = self.next(present);
                present
            })
        })
    }

    /// The value of a map under a text key; the last one, if it is there several times. `compared` grows by the bytes
    /// of the keys that nearly were it.
    pub(crate) fn field(self, map: u32, name: &str, compared: &mut usize) -> Option<u32> {
        let end = self.next(map);
        let (mut key, mut found) = (map + 1, None);
        let last = last_of(name.as_bytes());
        while key < end {
            let Some([entry, value]) = self.entries.get(key as usize..).and_then(<[_]>::first_chunk) else {
                break;
            };
            if !matches!(entry.tag, Tag::Text | Tag::Escaped) {
                key = self.next(entry.next);
                continue;
            }
            // Nothing is in a text: its value is the next one.
            if entry.last == last && entry.size as usize == name.len() {
                *compared += name.len();
                if self.says(*entry, name.as_bytes()) {
                    found = Some(key + 1);
                }
            }
            key = value.next;
        }
        found
    }

    /// Whether a text of as many bytes is this one.
    fn says(self, text: Entry, name: &[u8]) -> bool {
        let all = if text.tag == Tag::Text { self.payload } else { self.unescaped.as_bytes() };
        all.get(text.from as usize..).is_some_and(|rest| rest.starts_with(name))
    }

    /// The text of a string.
    pub(crate) fn text(self, at: u32) -> Option<&'a str> {
        match self.kind(at) {
            Kind::Text(from, to) if self.is_text() => self.text.get(from as usize..to as usize),
            // Checked when the tape was written; checked again, as nothing here is worth trusting a place blindly.
            Kind::Text(from, to) => std::str::from_utf8(self.range(from, to)).ok(),
            Kind::Escaped(from, to) => self.unescaped.get(from as usize..to as usize),
            _ => None,
        }
    }

    /// Whether a string of it is got at without looking at the string.
    pub(crate) const fn is_text(self) -> bool {
        !self.text.is_empty()
    }

    pub(crate) fn bytes(self, at: u32) -> Option<&'a [u8]> {
        match self.kind(at) {
            Kind::Bytes(from, to) => Some(self.range(from, to)),
            _ => None,
        }
    }

    /// The number a JSON number's digits say.
    pub(crate) fn digits(self, from: u32, to: u32) -> Option<number::Number> {
        number::parse(self.range(from, to))
    }
}
