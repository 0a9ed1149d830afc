//! An expression, ready to be asked about messages.

use std::{fmt, hash::BuildHasher};

use crate::{
    FilterError,
    compile::{Class, Node, compile},
    eval::Eval,
    message::Seen,
    parse::parse,
    reading::{Reading, reading_of},
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
        let mut eval = Eval::new(seen);
        let truth = eval.truth(&self.node);
        eval.finish();
        match truth {
            Ok(true) => Outcome::Passes,
            Ok(false) => Outcome::Fails,
            Err(_) => Outcome::NotUnderstood,
        }
    }

    /// Its value for a message; `None` when it has none.
    #[must_use]
    pub fn reading(&self, seen: &Seen<'_>, hasher: &impl BuildHasher) -> Option<Reading> {
        let mut eval = Eval::new(seen);
        let reading = eval.value(&self.node).and_then(|value| reading_of(&mut eval, &value, hasher));
        eval.finish();
        reading.ok()
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}
