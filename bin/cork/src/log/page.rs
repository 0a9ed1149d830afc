//! Lines of the log as they are noted where something happens: their values, one behind the other.
//!
//! Whoever logs is a shard with clients that wait, so a line costs it no more than copying its values: it takes no memory
//! of its own, and how it looks is the writing thread's affair.

use std::{
    fmt::{self, Write as _},
    time::SystemTime,
};

use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// The field that holds the sentence.
const MESSAGE: &str = "message";

/// Lines, in the order in which they were noted.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    values: Vec<Noted>,
    heads: Vec<Head>,
}

/// One line: where it ends.
#[derive(Clone, Copy, Debug)]
struct Head {
    at: SystemTime,
    level: Level,
    target: &'static str,
    text_end: usize,
    values_end: usize,
}

/// One value.
#[derive(Clone, Copy, Debug)]
struct Noted {
    name: &'static str,
    kind: Kind,
    /// Length of its text.
    len: u32,
}

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What others chose: in quotation marks.
    Text,
    /// Words of ours, addresses, errors.
    Words,
    /// A number, `true`, `false`.
    Bare,
}

impl Page {
    /// Forgets its lines, not its memory.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
        self.heads.clear();
    }

    /// The memory it holds.
    pub(super) const fn capacity(&self) -> usize {
        bytes_of(self.text.capacity(), self.values.capacity(), self.heads.capacity())
    }

    /// The memory its lines need.
    pub(super) const fn bytes(&self) -> usize {
        bytes_of(self.text.len(), self.values.len(), self.heads.len())
    }

    pub(super) const fn len(&self) -> usize {
        self.heads.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Notes what happened.
    pub(super) fn note(&mut self, event: &Event<'_>) {
        event.record(self);
        self.end_line(*event.metadata().level(), event.metadata().target());
    }

    /// Notes a line that is nothing but a sentence.
    pub(super) fn say(&mut self, level: Level, target: &'static str, message: fmt::Arguments<'_>) {
        self.put(MESSAGE, Kind::Words, message);
        self.end_line(level, target);
    }

    /// Adds the lines of another page.
    pub(super) fn append(&mut self, other: &Self) {
        let (text, values) = (self.text.len(), self.values.len());
        self.text.push_str(&other.text);
        self.values.extend_from_slice(&other.values);
        self.heads.extend(other.heads.iter().map(|head| Head {
            text_end: head.text_end + text,
            values_end: head.values_end + values,
            ..*head
        }));
    }

    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = Line<'_>> + ExactSizeIterator {
        (0..self.len()).map(|at| self.line(at))
    }

    /// The line at this position, which must be there.
    pub(super) fn line(&self, at: usize) -> Line<'_> {
        let (head, (text, values)) = (self.heads[at], self.begin_of(at));
        Line {
            at: head.at,
            level: head.level,
            target: head.target,
            text: &self.text[text..head.text_end],
            values: &self.values[values..head.values_end],
        }
    }

    /// Where the text and the values of a line begin.
    fn begin_of(&self, line: usize) -> (usize, usize) {
        let before = line.checked_sub(1).map(|before| self.heads[before]);
        before.map_or((0, 0), |before| (before.text_end, before.values_end))
    }

    /// A page with the last lines, at most so many, in memory that just suffices.
    pub(super) fn last(&self, most: usize) -> Self {
        let from = self.len().saturating_sub(most);
        let (text, values) = self.begin_of(from);
        let cut = |head: &Head| Head {
            text_end: head.text_end - text,
            values_end: head.values_end - values,
            ..*head
        };
        Self {
            text: self.text[text..].to_owned(),
            values: self.values[values..].to_vec(),
            heads: self.heads[from..].iter().map(cut).collect(),
        }
    }

    pub(super) fn put(&mut self, name: &'static str, kind: Kind, value: fmt::Arguments<'_>) {
        let before = self.text.len();
        let _ = self.text.write_fmt(value); // a string takes everything; what can't be shown is left out
        self.end_value(name, kind, before);
    }

    fn end_value(&mut self, name: &'static str, kind: Kind, before: usize) {
        // A value of 4 GB would have filled the memory before.
        let len = u32::try_from(self.text.len() - before).unwrap_or(u32::MAX);
        self.values.push(Noted { name, kind, len });
    }

    pub(super) fn end_line(&mut self, level: Level, target: &'static str) {
        let (text_end, values_end) = (self.text.len(), self.values.len());
        self.heads.push(Head { at: SystemTime::now(), level, target, text_end, values_end });
    }
}

const fn bytes_of(text: usize, values: usize, heads: usize) -> usize {
    text + values * size_of::<Noted>() + heads * size_of::<Head>()
}

impl Visit for Page {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), Kind::Words, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let kind = if field.name() == MESSAGE { Kind::Words } else { Kind::Text };
        let before = self.text.len();
        self.text.push_str(value);
        self.end_value(field.name(), kind, before);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), Kind::Bare, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), Kind::Bare, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), Kind::Bare, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), Kind::Bare, format_args!("{value}"));
    }
}

/// A line of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) at: SystemTime,
    pub(super) level: Level,
    /// Of the subsystem, or the crate that forgot to say it.
    pub(super) target: &'static str,
    text: &'a str,
    values: &'a [Noted],
}

impl<'a> Line<'a> {
    /// The sentence.
    pub(super) fn message(self) -> &'a str {
        self.values().find(|(name, ..)| *name == MESSAGE).map_or("", |(.., text)| text)
    }

    /// Name, kind and text of each value but the sentence.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'static str, Kind, &'a str)> {
        self.values().filter(|(name, ..)| *name != MESSAGE)
    }

    fn values(self) -> impl Iterator<Item = (&'static str, Kind, &'a str)> {
        let mut rest = self.text;
        self.values.iter().map(move |value| {
            let (text, behind) = rest.split_at_checked(value.len as usize).unwrap_or((rest, ""));
            rest = behind;
            (value.name, value.kind, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_apart_when_pages_are_put_together() {
        let mut all = Page::default();
        for number in 0..3 {
            let mut one = Page::default();
            one.put("n", Kind::Bare, format_args!("{number}"));
            one.say(Level::INFO, "net", format_args!("line {number}"));
            all.append(&one);
        }
        let said: Vec<_> =
            all.lines().map(|line| (line.message(), line.fields().next().unwrap().2)).collect();
        assert_eq!(said, [("line 0", "0"), ("line 1", "1"), ("line 2", "2")]);
        for most in 0..5 {
            let last = all.last(most);
            let said: Vec<_> =
                last.lines().map(|line| (line.message(), line.fields().next().unwrap().2)).collect();
            let expected = [("line 0", "0"), ("line 1", "1"), ("line 2", "2")];
            assert_eq!(said, expected[3 - most.min(3)..]);
        }
        all.clear();
        assert!(all.is_empty() && all.bytes() == 0 && all.capacity() > 0);
    }
}
