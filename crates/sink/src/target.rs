//! What a target has to do, and what can go wrong there.

use std::{fmt, future::Future, pin::Pin};

use crate::Row;

/// A future of a [`Sink`].
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Why rows were not saved. Texts are for operators and carry no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The target cannot be reached, is busy, refuses the login, or lacks what an operator must give it: the same rows
    /// are worth another try later.
    Unavailable(String),
    /// It did not work, and whether that lies in the target or in a row is unknown: the connection ended in the middle,
    /// there was no answer in time, or one that says nothing. The same rows are worth another try, in the end one by one.
    Failed(String),
    /// The target refused the rows because of what is in them. Which one it was is unknown; those it took already may be
    /// offered again.
    Refused(String),
    /// These rows, by their places, can never be saved, each with the reason; all others are saved.
    Rejected(Vec<(usize, String)>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) | Self::Failed(why) | Self::Refused(why) => f.write_str(why),
            Self::Rejected(rows) => {
                let why = rows.first().map_or("", |(_, why)| why.as_str());
                write!(f, "{} rows cannot be saved: {why}", rows.len())
            }
        }
    }
}

impl std::error::Error for Fault {}

/// How a target is opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// To be used: what is missing there (a table, an index, a collection) is made.
    Make,
    /// To be looked at: nothing is changed.
    Look,
}

/// A place outside the broker where rows are saved.
///
/// Calls come one after the other: [`open`](Self::open) before the first [`save`](Self::save) and again after each
/// [`Fault::Unavailable`] and [`Fault::Failed`]. A call that takes too long is dropped; `open` follows, and may not assume anything.
pub trait Sink: Send {
    /// Connects, and makes sure that rows can be saved. Says what it made, or, when only looking, would make; one phrase
    /// each, as "table readings".
    fn open(&mut self, opening: Opening) -> Work<'_, Vec<String>>;

    /// Saves rows; done when they are safe. A row whose id is there already counts as saved.
    fn save<'a>(&'a mut self, rows: &'a [Row]) -> Work<'a, ()>;
}
