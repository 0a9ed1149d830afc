//! Values as far as it must be known whether they changed.

use std::{cmp::Ordering, hash::BuildHasher};

use crate::{
    eval::Eval,
    message::{Root, Seen},
    number::Number,
    tape::Kind,
    value::{Miss, Result, Value},
};

/// A value as far as it is needed to tell whether it changed.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Reading {
    /// A number that a double holds exactly.
    Number(f64),
    /// Anything else, by a hash.
    Other(u64),
}

impl Reading {
    /// Whether `self` is new after `last`: it differs, for two numbers by more than `deadband`.
    #[must_use]
    pub fn differs(self, last: Self, deadband: f64) -> bool {
        match (self, last) {
            (Self::Number(new), Self::Number(old)) => {
                let same = new == old || (new.is_nan() && old.is_nan());
                let step = (new - old).abs();
                // A step to or from what is no number is news, whatever the deadband.
                !same && (step > deadband || step.is_nan())
            }
            (new, old) => new != old,
        }
    }
}

impl Seen<'_> {
    /// The payload as a whole, as `changed` compares it: its number, its text, the values in it, or its bytes. Looked at
    /// once, however many ask; no limit of steps holds for it.
    pub fn reading(&self, hasher: &impl BuildHasher) -> Reading {
        if let Some(reading) = self.reading.get() {
            return reading;
        }
        let mut eval = Eval::unbounded(self);
        let reading = match self.root() {
            Root::Number(number) => number_reading(number, hasher),
            Root::Text(text) => Reading::Other(hasher.hash_one((1_u8, text.as_bytes()))),
            Root::Bytes(bytes) => Reading::Other(hasher.hash_one((2_u8, bytes))),
            Root::Tape(_) => match self.number() {
                Some(number) => number_reading(number, hasher),
                None => Reading::Other(Hashing::new(&mut eval, hasher).part(0).unwrap_or_default()),
            },
        };
        eval.finish();
        self.reading.set(Some(reading));
        reading
    }
}

/// A value that was worked out.
pub(crate) fn reading_of<'e, S: BuildHasher>(
    eval: &mut Eval<'e, '_>,
    value: &Value<'e>,
    hasher: &S,
) -> Result<Reading> {
    match value {
        Value::Number(number) => Ok(number_reading(*number, hasher)),
        value => Hashing::new(eval, hasher).value(value).map(Reading::Other),
    }
}

fn number_reading(number: Number, hasher: &impl BuildHasher) -> Reading {
    match (number, number.to_double()) {
        (Number::Double(_), double) => Reading::Number(double),
        (_, double) if number.order(Number::Double(double)).is_some_and(Ordering::is_eq) => {
            Reading::Number(double)
        }
        // Beyond 2^53 two numbers can share a double.
        _ => Reading::Other(hasher.hash_one((6_u8, format!("{number:?}")))),
    }
}

/// One hash for all values that are equal, however they are written: `1` and `1.0`, the members of an object in any
/// order, a list of the payload and one that an expression made.
struct Hashing<'h, 'e, 'm, S> {
    eval: &'h mut Eval<'e, 'm>,
    hasher: &'h S,
    /// The pairs of the maps that are gone through, the innermost last.
    pairs: Vec<(u64, u64)>,
}

impl<'h, 'e, 'm: 'e, S: BuildHasher> Hashing<'h, 'e, 'm, S> {
    fn new(eval: &'h mut Eval<'e, 'm>, hasher: &'h S) -> Self {
        Self { eval, hasher, pairs: Vec::new() }
    }

    fn value(&mut self, value: &Value<'e>) -> Result<u64> {
        self.eval.step(1)?;
        match value {
            Value::Null => Ok(self.hasher.hash_one(4_u8)),
            Value::Bool(value) => Ok(self.hasher.hash_one((3_u8, value))),
            Value::Number(number) => Ok(self.number(*number)),
            Value::Text(text) => self.bytes(1, text.as_bytes()),
            Value::Bytes(bytes) => self.bytes(2, bytes),
            Value::Part(at) => self.part(*at),
            Value::Map(pairs) => {
                let begin = self.pairs.len();
                for (key, value) in &**pairs {
                    let pair = (self.value(key)?, self.value(value)?);
                    self.pairs.push(pair);
                }
                Ok(self.map_since(begin))
            }
            Value::List(_) | Value::Levels => {
                let elements = self.eval.elements(value)?.unwrap_or_default();
                elements.iter().try_fold(LIST, |sum, one| Ok(self.hasher.hash_one((sum, self.value(one)?))))
            }
            Value::Void | Value::Properties => Err(Miss::Absent),
        }
    }

    /// A part of the payload. As deep as a payload may be.
    fn part(&mut self, at: u32) -> Result<u64> {
        let document = self.eval.seen().document();
        self.eval.step(1)?;
        match document.kind(at) {
            Kind::List(_) => {
                let mut children = document.children(at);
                children.try_fold(LIST, |sum, at| Ok(self.hasher.hash_one((sum, self.part(at)?))))
            }
            Kind::Map(_) => {
                let begin = self.pairs.len();
                let mut children = document.children(at);
                while let (Some(key), Some(value)) = (children.next(), children.next()) {
                    let pair = (self.part(key)?, self.part(value)?);
                    self.pairs.push(pair);
                }
                Ok(self.map_since(begin))
            }
            Kind::Digits(from, to) => match document.digits(from, to) {
                Some(number) => Ok(self.number(number)),
                // Beyond a double's range: what it says can still change.
                None => self.bytes(5, document.range(from, to)),
            },
            Kind::Opaque => Ok(0),
            _ => match self.eval.part(at)? {
                Value::Part(_) => Err(Miss::Absent), // lists and maps were seen to above
                scalar => self.value(&scalar),
            },
        }
    }

    /// The pairs from `begin` on as one value: in no order, and of those with one key the last.
    fn map_since(&mut self, begin: usize) -> u64 {
        let pairs = &mut self.pairs[begin..];
        pairs.sort_by_key(|(key, _)| *key); // stable
        let sum = pairs.chunk_by(|a, b| a.0 == b.0).filter_map(|same| same.last());
        let sum = sum.fold(MAP, |sum, pair| self.hasher.hash_one((sum, pair)));
        self.pairs.truncate(begin);
        sum
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) -> Result<u64> {
        self.eval.reads(bytes.len())?;
        Ok(self.hasher.hash_one((tag, bytes)))
    }

    fn number(&self, number: Number) -> u64 {
        let bits = match number_reading(number, self.hasher) {
            Reading::Number(value) => (0_u8, if value == 0.0 { 0 } else { value.to_bits() }),
            Reading::Other(hash) => (1, hash),
        };
        self.hasher.hash_one((7_u8, bits))
    }
}

/// Where a list's sum begins, and a map's.
const LIST: u64 = 8;
const MAP: u64 = 9;
