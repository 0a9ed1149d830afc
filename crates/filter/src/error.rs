//! What is wrong with a filter.

use std::fmt;

/// A fault while an expression is read: the byte it was found at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    at: usize,
    why: String,
}

impl Fault {
    pub(crate) fn at(at: usize, why: impl Into<String>) -> Self {
        Self { at, why: why.into() }
    }

    /// For people: the character, counted from 1.
    pub(crate) fn within(self, text: &str) -> FilterError {
        let before = text.get(..self.at).unwrap_or(text);
        FilterError { position: Some(before.chars().count() + 1), why: self.why }
    }
}

/// What is wrong with a filter, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    pub(crate) position: Option<usize>,
    pub(crate) why: String,
}

impl FilterError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { position: None, why: why.into() }
    }

    /// The character of the expression, from 1.
    #[must_use]
    pub const fn position(&self) -> Option<usize> {
        self.position
    }

    /// The reason, and what would be accepted.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "at character {position}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for FilterError {}
