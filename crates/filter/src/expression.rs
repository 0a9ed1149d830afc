//! An expression, ready to be asked about messages.

use std::{fmt, hash::BuildHasher};

use crate::{
    FilterError,
    compile::{Class, Node, compile},
    eval::Eval,
    message::{Root, Seen},
    number::Number,
    parse::parse,
    tape::{Document, Kind},
    value::Value,
};

/// What an expression says of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is true.
    Passes,
    /// It is false.
    Fails,
    /// It has no value: a field is missing, a type is wrong, or it would take too long. The message does not pass.
    NotUnderstood,
}

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

/// An expression, read and checked.
pub struct Expression {
    source: Box<str>,
    node: Node,
}

impl Expression {
    /// Reads an expression that has any value: what `changed` looks at.
    ///
    /// # Errors
    /// Where in the text something is wrong, and what.
    pub fn value(source: &str) -> Result<Self, FilterError> {
        Self::read(source, false)
    }

    /// Reads an expression that is true or false.
    ///
    /// # Errors
    /// As [`Expression::value`], and when it can be neither.
    pub fn condition(source: &str) -> Result<Self, FilterError> {
        Self::read(source, true)
    }

    fn read(source: &str, condition: bool) -> Result<Self, FilterError> {
        let expr = parse(source).map_err(|fault| fault.within(source))?;
        let (node, class) = compile(&expr).map_err(|fault| fault.within(source))?;
        if condition && !matches!(class, Class::Any | Class::Bool) {
            return Err(FilterError::new(
                "a filter is true or false; this is a value, compare it with another",
            ));
        }
        Ok(Self { source: source.into(), node })
    }

    /// The text it was read from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Asks about a message.
    #[must_use]
    pub fn test(&self, seen: &Seen<'_>) -> Outcome {
        match Eval::new(seen).truth(&self.node) {
            Ok(true) => Outcome::Passes,
            Ok(false) => Outcome::Fails,
            Err(_) => Outcome::NotUnderstood,
        }
    }

    /// Its value for a message; `None` when it has none.
    #[must_use]
    pub fn reading(&self, seen: &Seen<'_>, hasher: &impl BuildHasher) -> Option<Reading> {
        let mut eval = Eval::new(seen);
        let value = eval.value(&self.node).ok()?;
        Some(match &value {
            Value::Number(number) => number_reading(*number, hasher),
            Value::Text(text) => Reading::Other(hasher.hash_one((1_u8, text.as_bytes()))),
            Value::Bytes(bytes) => Reading::Other(hasher.hash_one((2_u8, &**bytes))),
            Value::Bool(value) => Reading::Other(hasher.hash_one((3_u8, value))),
            Value::Null => Reading::Other(hasher.hash_one(4_u8)),
            Value::Part(at) => Reading::Other(part_hash(seen.document(), *at, hasher)),
            Value::Properties => return None,
            other => {
                let elements = eval.elements(other).ok()??;
                let texts: Vec<String> = elements.iter().map(|element| format!("{element:?}")).collect();
                Reading::Other(hasher.hash_one((5_u8, texts)))
            }
        })
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

impl Seen<'_> {
    /// The payload as a whole, as `changed` compares it: its number, its text, the values in it, or its bytes.
    pub fn reading(&self, hasher: &impl BuildHasher) -> Reading {
        match self.root() {
            Root::Number(number) => number_reading(number, hasher),
            Root::Text(text) => Reading::Other(hasher.hash_one((1_u8, text.as_bytes()))),
            Root::Bytes(bytes) => Reading::Other(hasher.hash_one((2_u8, bytes))),
            Root::Tape => match self.number() {
                Some(number) => number_reading(number, hasher),
                None => Reading::Other(part_hash(self.document(), 0, hasher)),
            },
        }
    }
}

fn number_reading(number: Number, hasher: &impl BuildHasher) -> Reading {
    match (number, number.to_double()) {
        (Number::Double(_), double) => Reading::Number(double),
        (_, double) if number.order(Number::Double(double)).is_some_and(std::cmp::Ordering::is_eq) => {
            Reading::Number(double)
        }
        // Beyond 2^53 two numbers can share a double.
        _ => Reading::Other(hasher.hash_one((6_u8, format!("{number:?}")))),
    }
}

/// The same for two parts with the same values, however they are written. As deep as a payload may be.
fn part_hash(document: Document<'_>, at: u32, hasher: &impl BuildHasher) -> u64 {
    let children = |tag: u8| {
        document
            .children(at)
            .fold(u64::from(tag), |sum, at| hasher.hash_one((sum, part_hash(document, at, hasher))))
    };
    match document.kind(at) {
        Kind::List(_) => children(8),
        Kind::Map(_) => children(9),
        Kind::Text(..) | Kind::Escaped(..) => {
            hasher.hash_one((1_u8, document.text(at).unwrap_or_default().as_bytes()))
        }
        Kind::Bytes(..) => hasher.hash_one((2_u8, document.bytes(at).unwrap_or_default())),
        Kind::Bool(value) => hasher.hash_one((3_u8, value)),
        Kind::Null => hasher.hash_one(4_u8),
        Kind::Digits(from, to) => {
            let number = document.digits(from, to).map(|number| number_reading(number, hasher));
            hasher.hash_one((7_u8, bits(number)))
        }
        Kind::Int(value) => hasher.hash_one((7_u8, bits(Some(number_reading(Number::Int(value), hasher))))),
        Kind::Uint(value) => hasher.hash_one((7_u8, bits(Some(number_reading(Number::Uint(value), hasher))))),
        Kind::Double(value) => hasher.hash_one((7_u8, bits(Some(Reading::Number(value))))),
        Kind::Opaque => 0,
    }
}

fn bits(reading: Option<Reading>) -> (u8, u64) {
    match reading {
        Some(Reading::Number(value)) => (0, if value == 0.0 { 0 } else { value.to_bits() }),
        Some(Reading::Other(hash)) => (1, hash),
        None => (2, 0),
    }
}
