//! One line of the log: what was said, noted where it happens; how it looks, made by the thread that writes it.
//!
//! Whoever logs is a shard with clients that wait, so a line costs it two allocations and no more text than its values.

use std::{
    fmt::{self, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// What was said.
#[derive(Debug)]
pub(super) struct Line {
    at: SystemTime,
    pub(super) level: Level,
    /// Of the subsystem, or the crate that forgot to say it.
    pub(super) target: &'static str,
    /// The values, one behind the other.
    text: String,
    values: Vec<Noted>,
}

/// One value.
#[derive(Debug)]
struct Noted {
    name: &'static str,
    kind: Kind,
    /// Where it ends in the text.
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What others chose: in quotation marks.
    Text,
    /// Words of ours, addresses, errors.
    Words,
    /// A number, `true`, `false`.
    Bare,
}

/// The field that holds the sentence.
const MESSAGE: &str = "message";

impl Line {
    pub(super) fn new(level: Level, target: &'static str) -> Self {
        Self {
            at: SystemTime::now(),
            level,
            target,
            text: String::with_capacity(TEXT_USUAL),
            values: Vec::with_capacity(VALUES_USUAL),
        }
    }

    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut line = Self::new(*metadata.level(), metadata.target());
        event.record(&mut line);
        line
    }

    /// A line that is nothing but a sentence.
    pub(super) fn saying(level: Level, target: &'static str, message: fmt::Arguments<'_>) -> Self {
        let mut line = Self::new(level, target);
        line.note(MESSAGE, Kind::Words, message);
        line
    }

    /// About the memory it takes.
    pub(super) const fn bytes(&self) -> usize {
        self.text.len() + OVERHEAD
    }

    fn note(&mut self, name: &'static str, kind: Kind, value: fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(value); // a string takes everything; what can't be shown is left out
        self.values.push(Noted { name, kind, end: self.text.len() });
    }

    /// Name, kind and text of each value but the sentence.
    fn fields(&self) -> impl Iterator<Item = (&'static str, Kind, &str)> {
        self.values().filter(|(name, ..)| *name != MESSAGE)
    }

    fn values(&self) -> impl Iterator<Item = (&'static str, Kind, &str)> {
        let mut start = 0;
        self.values.iter().map(move |value| {
            let text = &self.text[start..value.end];
            start = value.end;
            (value.name, value.kind, text)
        })
    }

    pub(super) fn message(&self) -> &str {
        self.values().find(|(name, ..)| *name == MESSAGE).map_or("", |(.., text)| text)
    }

    /// RFC 3339, UTC, microseconds.
    pub(super) fn time(&self) -> String {
        let since = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        cork_sink::rfc3339(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    pub(super) const fn level_name(&self) -> &'static str {
        match self.level {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "TRACE",
        }
    }

    /// The values but the sentence, as JSON has them.
    pub(super) fn to_json_fields(&self) -> Vec<(&'static str, Value)> {
        self.fields().map(|(name, kind, text)| (name, to_json(kind, text))).collect()
    }
}

fn to_json(kind: Kind, text: &str) -> Value {
    match kind {
        // Numbers that JSON has not, as infinity, are text.
        Kind::Bare => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Kind::Text | Kind::Words => text.into(),
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field.name(), Kind::Words, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let kind = if field.name() == MESSAGE { Kind::Words } else { Kind::Text };
        self.text.push_str(value);
        self.values.push(Noted { name: field.name(), kind, end: self.text.len() });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field.name(), Kind::Bare, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field.name(), Kind::Bare, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field.name(), Kind::Bare, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field.name(), Kind::Bare, format_args!("{value}"));
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// For people; with its time where nobody else notes it, and with colours on a terminal.
    Text { time: bool, colours: bool },
    /// One JSON object a line.
    Json,
}

impl Look {
    /// The line, with a line feed at its end.
    pub(super) fn show(self, line: &Line) -> String {
        match self {
            Self::Text { time, colours } => as_text(line, time, colours),
            Self::Json => as_json(line),
        }
    }
}

fn as_text(line: &Line, time: bool, colours: bool) -> String {
    let mut out = String::with_capacity(line.text.len() + 160);
    let paint = |code: &'static str| if colours { code } else { "" };
    let (dim, italic, plain) = (paint("\x1b[2m"), paint("\x1b[3m"), paint("\x1b[0m"));
    let colour = paint(match line.level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    });
    if time {
        let _ = write!(out, "{dim}{}{plain} ", line.time());
    }
    let _ = write!(out, "{colour}{:>5}{plain} {dim}{}:{plain} ", line.level_name(), line.target);
    put_escaped(&mut out, line.message());
    for (name, kind, text) in line.fields() {
        let _ = write!(out, " {italic}{name}{plain}{dim}={plain}");
        match kind {
            Kind::Text => {
                let _ = write!(out, "{text:?}");
            }
            Kind::Words | Kind::Bare => put_escaped(&mut out, text),
        }
    }
    out.push('\n');
    out
}

/// A line break or a terminal's command in what somebody else said must not look like ours.
fn put_escaped(out: &mut String, text: &str) {
    if !text.chars().any(char::is_control) {
        return out.push_str(text);
    }
    for char in text.chars() {
        if char.is_control() { out.extend(char.escape_default()) } else { out.push(char) }
    }
}

fn as_json(line: &Line) -> String {
    let mut fields = serde_json::Map::new();
    fields.insert(MESSAGE.to_owned(), line.message().into());
    fields.extend(line.fields().map(|(name, kind, text)| (name.to_owned(), to_json(kind, text))));
    let mut object = serde_json::Map::new();
    object.insert("timestamp".to_owned(), line.time().into());
    object.insert("level".to_owned(), line.level_name().into());
    object.insert("fields".to_owned(), fields.into());
    object.insert("target".to_owned(), line.target.into());
    format!("{}\n", Value::Object(object))
}

/// What lines have as a rule.
const TEXT_USUAL: usize = 128;
const VALUES_USUAL: usize = 8;
/// What a line takes beside its text.
const OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let mut line =
            Line::saying(Level::WARN, "net", format_args!("it \x1b[31mbroke\nINFO broker: all is well"));
        line.at = UNIX_EPOCH + std::time::Duration::from_micros(1_795_318_479_123_456);
        line.note("client", Kind::Text, format_args!("a\"b\n"));
        line.note("peer", Kind::Words, format_args!("127.0.0.1:9\n"));
        line.note("keep_alive", Kind::Bare, format_args!("60"));
        line
    }

    #[test]
    fn nothing_that_others_say_looks_like_a_line_or_a_command_of_ours() {
        let text = Look::Text { time: true, colours: false }.show(&line());
        assert_eq!(
            text,
            "2026-11-22T03:34:39.123456Z  WARN net: it \\u{1b}[31mbroke\\nINFO broker: all is well \
             client=\"a\\\"b\\n\" peer=127.0.0.1:9\\n keep_alive=60\n"
        );
        let coloured = Look::Text { time: false, colours: true }.show(&line());
        assert!(coloured.starts_with("\x1b[33m WARN\x1b[0m \x1b[2mnet:\x1b[0m it \\u{1b}"), "{coloured:?}");
        assert_eq!(coloured.matches('\n').count(), 1);
    }

    #[test]
    fn json_has_numbers_as_numbers() {
        let value: Value = serde_json::from_str(&Look::Json.show(&line())).unwrap();
        assert_eq!(value["timestamp"], "2026-11-22T03:34:39.123456Z");
        assert_eq!((&value["level"], &value["target"]), (&"WARN".into(), &"net".into()));
        assert_eq!(value["fields"]["keep_alive"], 60);
        assert_eq!(value["fields"]["client"], "a\"b\n");
        assert_eq!(line().to_json_fields()[2], ("keep_alive", 60.into()));
    }
}
