//! A payload's values in the order they stand in it: where each begins and ends, and what follows it.
//!
//! Read once for a message, whatever its format, and then looked into by every expression. Strings and the numbers of
//! JSON stay where they are in the payload; what JSON strings with escapes say is written down beside the tape, once.
//!
//! ```text
//! {"a": [1, "x"]}      0 Map(1) next 5
//!                      1   Text "a"
//!                      2   List(2) next 5
//!                      3     Number 1
//!                      4     Text "x"
//! ```

use crate::{PAYLOAD_DEPTH_MAX, PAYLOAD_VALUES_MAX, number};

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
    /// A JSON string that had escapes: from, to in what was unescaped.
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

/// The values of a payload.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub(crate) entries: Vec<Entry>,
    /// The texts of the strings that had escapes, one behind the other.
    pub(crate) unescaped: String,
}

/// Writes a tape.
pub(crate) struct Writer<'t> {
    tape: &'t mut Tape,
    depth: usize,
}

impl<'t> Writer<'t> {
    pub(crate) fn new(tape: &'t mut Tape) -> Self {
        tape.entries.clear();
        tape.unescaped.clear();
        Self { tape, depth: 0 }
    }

    #[inline]
    pub(crate) fn value(&mut self, kind: Kind) -> Result<(), NotThis> {
        let entries = &mut self.tape.entries;
        if entries.len() >= PAYLOAD_VALUES_MAX {
            return Err(NotThis);
        }
        let next = place(entries.len() + 1);
        entries.push(Entry { kind, next });
        Ok(())
    }

    /// A string that `write` appends without its escapes.
    pub(crate) fn unescaped(
        &mut self,
        write: impl FnOnce(&mut String) -> Result<(), NotThis>,
    ) -> Result<(), NotThis> {
        let from = self.tape.unescaped.len();
        write(&mut self.tape.unescaped)?;
        self.value(Kind::Escaped(place(from), place(self.tape.unescaped.len())))
    }

    /// Begins a list or map, whose size is told at its end.
    pub(crate) fn open(&mut self) -> Result<usize, NotThis> {
        self.depth += 1;
        if self.depth > PAYLOAD_DEPTH_MAX {
            return Err(NotThis);
        }
        self.value(Kind::Null)?;
        Ok(self.tape.entries.len() - 1)
    }

    pub(crate) fn close(&mut self, at: usize, kind: Kind) {
        self.depth -= 1;
        let next = place(self.tape.entries.len());
        self.tape.entries[at] = Entry { kind, next };
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
    /// The payload as a text, if it is JSON: any place between two characters may be trusted then.
    pub(crate) text: &'a str,
    pub(crate) entries: &'a [Entry],
    pub(crate) unescaped: &'a str,
}

impl<'a> Document<'a> {
    pub(crate) fn kind(&self, at: u32) -> Kind {
        self.entries.get(at as usize).map_or(Kind::Opaque, |entry| entry.kind)
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
        let last = name.as_bytes().last();
        while key < end {
            let Some(entry) = self.entries.get(key as usize) else { break };
            let value = entry.next;
            let (bytes, from, to) = match entry.kind {
                Kind::Text(from, to) => (self.payload, from, to),
                Kind::Escaped(from, to) => (self.unescaped.as_bytes(), from, to),
                _ => (self.payload, 1, 0),
            };
            // Names of one payload often begin alike: the last byte tells most of them apart.
            if to.wrapping_sub(from) as usize == name.len()
                && bytes.get(to.wrapping_sub(1) as usize).filter(|_| to > from) == last
            {
                *compared += name.len();
                if bytes.get(from as usize..to as usize) == Some(name.as_bytes()) {
                    found = Some(value);
                }
            }
            key = self.next(value);
        }
        found
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
