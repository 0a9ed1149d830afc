//! How a line of the log looks.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cork_store::WallTime;
use serde_json::Value;
use tracing::Level;

use super::page::{Kind, Line};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// For people; with its time where nobody else notes it, and with colours on a terminal.
    Text { time: bool, colours: bool },
    /// One JSON object a line.
    Json,
}

impl Look {
    /// Appends the line, with a line feed at its end.
    pub(super) fn show(self, line: Line<'_>, clock: &mut Clock, out: &mut String) {
        match self {
            Self::Text { time, colours } => put_text(out, line, time.then_some(clock), colours),
            Self::Json => put_json(out, line, clock),
        }
    }
}

/// Times as text: RFC 3339, UTC, microseconds. Most lines are of the same second as the one before.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: Option<u64>,
    text: String,
}

impl Clock {
    pub(super) fn text(&mut self, at: SystemTime) -> &str {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.text = wall(since).to_rfc3339();
        }
        self.text.truncate(self.text.len() - FRACTION);
        let (micros, mut place) = (since.subsec_micros(), 100_000);
        while place > 0 {
            self.text.extend(char::from_digit(micros / place % 10, 10));
            place /= 10;
        }
        self.text.push('Z');
        &self.text
    }
}

fn wall(since_1970: Duration) -> WallTime {
    WallTime(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
}

/// Bytes of `123456Z`.
const FRACTION: usize = 7;

pub(super) const fn name_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// A line as it is written.
pub(super) struct Written<'a> {
    pub(super) level: Level,
    pub(super) subsystem: &'static str,
    /// With a line feed at its end.
    pub(super) text: &'a str,
}

/// The number syslog has for it.
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The values but the sentence, as JSON has them.
pub(super) fn json_fields(line: Line<'_>) -> impl Iterator<Item = (&'static str, Value)> {
    line.fields().map(|(name, kind, text)| (name, to_json(kind, text)))
}

fn to_json(kind: Kind, text: &str) -> Value {
    match kind {
        // Numbers that JSON has not, as infinity, are text.
        Kind::Bare => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Kind::Text | Kind::Words => text.into(),
    }
}

fn put_text(out: &mut String, line: Line<'_>, clock: Option<&mut Clock>, colours: bool) {
    let paint = |code: &'static str| if colours { code } else { "" };
    let (dim, italic, plain) = (paint("\x1b[2m"), paint("\x1b[3m"), paint("\x1b[0m"));
    let colour = paint(match line.level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    });
    if let Some(clock) = clock {
        put(out, &[dim, clock.text(line.at), plain, " "]);
    }
    let level = name_of(line.level);
    put(out, &[colour, &"     "[level.len()..], level, plain, " ", dim, line.target, ":", plain, " "]);
    put_escaped(out, line.message());
    for (name, kind, text) in line.fields() {
        put(out, &[" ", italic, name, plain, dim, "=", plain]);
        match kind {
            Kind::Text if is_plain(text) => put(out, &["\"", text, "\""]),
            Kind::Text => {
                let _ = write!(out, "{text:?}");
            }
            Kind::Words | Kind::Bare => put_escaped(out, text),
        }
    }
    out.push('\n');
}

fn put(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

/// Whether there is nothing in it that would be written in another way, quoted or not: as in nearly every line.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' && byte != b'\'')
}

/// A line break or a terminal's command in what somebody else said must not look like ours.
fn put_escaped(out: &mut String, text: &str) {
    if is_plain(text) || !text.chars().any(char::is_control) {
        return out.push_str(text);
    }
    for char in text.chars() {
        if char.is_control() { out.extend(char.escape_default()) } else { out.push(char) }
    }
}

fn put_json(out: &mut String, line: Line<'_>, clock: &mut Clock) {
    let mut fields = serde_json::Map::new();
    fields.insert("message".to_owned(), line.message().into());
    fields.extend(json_fields(line).map(|(name, value)| (name.to_owned(), value)));
    let mut object = serde_json::Map::new();
    object.insert("timestamp".to_owned(), clock.text(line.at).into());
    object.insert("level".to_owned(), name_of(line.level).into());
    object.insert("fields".to_owned(), fields.into());
    object.insert("target".to_owned(), line.target.into());
    let _ = writeln!(out, "{}", Value::Object(object));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::page::Page;

    fn shown(look: Look) -> String {
        let mut page = Page::default();
        page.put("message", Kind::Words, format_args!("it \x1b[31mbroke\nINFO broker: all is well"));
        page.put("client", Kind::Text, format_args!("a\"b\n"));
        page.put("peer", Kind::Words, format_args!("127.0.0.1:9\n"));
        page.put("keep_alive", Kind::Bare, format_args!("60"));
        page.end_line(Level::WARN, "net");
        let at = UNIX_EPOCH + Duration::from_micros(1_795_318_479_123_456);
        let mut line = page.lines().next().unwrap();
        line.at = at;
        assert_eq!(json_fields(line).nth(2), Some(("keep_alive", 60.into())));
        let mut out = String::new();
        look.show(line, &mut Clock::default(), &mut out);
        out
    }

    #[test]
    fn nothing_that_others_say_looks_like_a_line_or_a_command_of_ours() {
        assert_eq!(
            shown(Look::Text { time: true, colours: false }),
            "2026-11-22T03:34:39.123456Z  WARN net: it \\u{1b}[31mbroke\\nINFO broker: all is well \
             client=\"a\\\"b\\n\" peer=127.0.0.1:9\\n keep_alive=60\n"
        );
        let coloured = shown(Look::Text { time: false, colours: true });
        assert!(coloured.starts_with("\x1b[33m WARN\x1b[0m \x1b[2mnet:\x1b[0m it \\u{1b}"), "{coloured:?}");
        assert_eq!(coloured.matches('\n').count(), 1);
    }

    #[test]
    fn json_has_numbers_as_numbers() {
        let value: Value = serde_json::from_str(&shown(Look::Json)).unwrap();
        assert_eq!(value["timestamp"], "2026-11-22T03:34:39.123456Z");
        assert_eq!((&value["level"], &value["target"]), (&"WARN".into(), &"net".into()));
        assert_eq!(value["fields"]["keep_alive"], 60);
        assert_eq!(value["fields"]["client"], "a\"b\n");
    }

    #[test]
    fn a_clock_writes_every_time_as_it_is() {
        let mut clock = Clock::default();
        for micros in [1_795_318_479_123_456, 1_795_318_479_000_001, 1_795_318_480_999_999, 0] {
            let at = UNIX_EPOCH + Duration::from_micros(micros);
            assert_eq!(clock.text(at), WallTime(micros).to_rfc3339());
        }
    }
}
