//! A payload's values in the order they stand in it: where each begins and ends, and what follows it.
//!
//! Read once for a message, whatever its format, and then looked into by every expression. Strings and the numbers of
//! JSON stay where they are in the payload until somebody asks for them.
//!
//! ```text
//! {"a": [1, "x"]}      0 Map(1) next 5
//!                      1   Text "a"
//!                      2   List(2) next 5
//!                      3     Number 1
//!                      4     Text "x"
//! ```

use std::borrow::Cow;

use crate::{PAYLOAD_DEPTH_MAX, PAYLOAD_VALUES_MAX, json, number};

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
    /// A JSON string that has escapes: from, to.
    Escaped(u32, u32),
    Bytes(u32, u32),
    /// Elements.
    List(u32),
    /// Pairs; each is two values.
    Map(u32),
    /// Something CBOR or MessagePack can say and an expression cannot look at.
    Opaque,
}

/// One value.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// The value after this one and all that is in it.
    pub(crate) next: u32,
}

/// The payload is not of this format, or says more than is looked at.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotThis;

/// Writes a tape.
pub(crate) struct Writer<'t> {
    entries: &'t mut Vec<Entry>,
    depth: usize,
}

impl<'t> Writer<'t> {
    pub(crate) fn new(entries: &'t mut Vec<Entry>) -> Self {
        entries.clear();
        Self { entries, depth: 0 }
    }

    #[inline]
    pub(crate) fn value(&mut self, kind: Kind) -> Result<(), NotThis> {
        if self.entries.len() >= PAYLOAD_VALUES_MAX {
            return Err(NotThis);
        }
        let next = place(self.entries.len() + 1);
        self.entries.push(Entry { kind, next });
        Ok(())
    }

    /// Begins a list or map, whose size is told at its end.
    pub(crate) fn open(&mut self) -> Result<usize, NotThis> {
        self.depth += 1;
        if self.depth > PAYLOAD_DEPTH_MAX {
            return Err(NotThis);
        }
        self.value(Kind::Null)?;
        Ok(self.entries.len() - 1)
    }

    pub(crate) fn close(&mut self, at: usize, kind: Kind) {
        self.depth -= 1;
        self.entries[at] = Entry { kind, next: place(self.entries.len()) };
    }
}

/// Places in a payload and a tape are far below 2^32: see [`crate::PAYLOAD_BYTES_MAX`].
#[inline]
pub(crate) fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A payload and its tape.
#[derive(Copy, Clone)]
pub(crate) struct Document<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) entries: &'a [Entry],
}

impl<'a> Document<'a> {
    pub(crate) fn kind(&self, at: u32) -> Kind {
        self.entries.get(at as usize).map_or(Kind::Opaque, |entry| entry.kind)
    }

    fn next(&self, at: u32) -> u32 {
        self.entries.get(at as usize).map_or(u32::MAX, |entry| entry.next)
    }

    fn range(&self, from: u32, to: u32) -> &'a [u8] {
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

    /// The value of a map under a text key; the last one, if it is there several times.
    pub(crate) fn field(self, map: u32, name: &str) -> Option<u32> {
        let end = self.next(map);
        let (mut key, mut found) = (map + 1, None);
        let last = name.as_bytes().last();
        while key < end {
            let Some(entry) = self.entries.get(key as usize) else { break };
            let value = entry.next;
            let same = match entry.kind {
                // Names of one payload often begin alike: the last byte tells most of them apart.
                Kind::Text(from, to) => {
                    (to - from) as usize == name.len()
                        && self.payload.get(to.wrapping_sub(1) as usize).filter(|_| to > from) == last
                        && self.range(from, to) == name.as_bytes()
                }
                Kind::Escaped(..) => self.text(key).is_some_and(|text| text == name),
                _ => false,
            };
            if same {
                found = Some(value);
            }
            key = self.next(value);
        }
        found
    }

    /// The text of a string.
    pub(crate) fn text(self, at: u32) -> Option<Cow<'a, str>> {
        match self.kind(at) {
            // Checked when the tape was written; checked again, as nothing here is worth trusting a place blindly.
            Kind::Text(from, to) => std::str::from_utf8(self.range(from, to)).ok().map(Cow::Borrowed),
            Kind::Escaped(from, to) => json::unescape(self.range(from, to)).map(Cow::Owned),
            _ => None,
        }
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
