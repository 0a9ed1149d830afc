//! Payloads for people: indented, coloured, and harmless to a terminal.

use std::fmt::Write as _;

use crate::{
    payload::Payload,
    value::{Value, float, write_json_text},
};

/// Whether to use colours.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Palette {
    /// Plain text.
    Plain,
    /// With the escape sequences of terminals.
    Colours,
}

/// What is painted.
#[derive(Copy, Clone, Debug)]
pub enum Ink {
    /// Names of members, and topics.
    Name,
    /// Text.
    Text,
    /// Numbers.
    Number,
    /// `true`, `false`, `null`.
    Word,
    /// What is said about a payload and is not in it.
    Note,
    /// Yes.
    Good,
    /// No.
    Bad,
}

impl Palette {
    /// `text` in the colour of its kind.
    #[must_use]
    pub fn paint(self, ink: Ink, text: &str) -> String {
        if self == Self::Plain {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Name => "34",
            Ink::Text | Ink::Good => "32",
            Ink::Number => "36",
            Ink::Word => "35",
            Ink::Note => "2",
            Ink::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A line that is no longer than this stays one.
const LINE_MAX: usize = 72;
/// Bytes of a binary payload that are shown.
const DUMP_BYTES_MAX: usize = 512;

/// The payload as a person wants to see it: JSON, CBOR and MessagePack indented; text with its control characters
/// shown; bytes as a dump of at most 512 bytes.
#[must_use]
pub fn pretty(bytes: &[u8], palette: Palette) -> String {
    let payload = Payload::of(bytes);
    let note = palette.paint(Ink::Note, payload.name());
    match payload {
        Payload::Number(_) => palette.paint(Ink::Number, String::from_utf8_lossy(bytes).trim()),
        Payload::Json(value) => tree(&value, palette),
        Payload::Text(text) => shown(text),
        Payload::Cbor(value) | Payload::MsgPack(value) => format!("{note} {}", tree(&value, palette)),
        Payload::Binary(bytes) => format!("{note} {} bytes\n{}", bytes.len(), dump(bytes, palette)),
    }
}

/// Text with control characters replaced, so that a publisher can't command the terminal. Line ends and tabs stay.
#[must_use]
pub fn shown(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

fn tree(value: &Value, palette: Palette) -> String {
    let mut out = String::new();
    write(value, palette, 0, &mut out);
    out
}

fn write(value: &Value, palette: Palette, depth: usize, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) => out.push_str(&palette.paint(Ink::Word, &plain(value))),
        Value::Integer(_) | Value::Float(_) => out.push_str(&palette.paint(Ink::Number, &plain(value))),
        Value::Text(_) => out.push_str(&palette.paint(Ink::Text, &plain(value))),
        Value::Bytes(_) => out.push_str(&palette.paint(Ink::Note, &plain(value))),
        Value::Tagged(tag, inner) => {
            out.push_str(&palette.paint(Ink::Note, &format!("{tag}(")));
            write(inner, palette, depth, out);
            out.push_str(&palette.paint(Ink::Note, ")"));
        }
        Value::List(values) => {
            let broken = !values.is_empty() && plain(value).chars().count() + 2 * depth > LINE_MAX;
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                separate(at, broken, depth + 1, out);
                write(value, palette, depth + 1, out);
            }
            close(']', broken, depth, out);
        }
        Value::Map(members) => {
            let broken =
                !members.is_empty() && (depth == 0 || plain(value).chars().count() + 2 * depth > LINE_MAX);
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                separate(at, broken, depth + 1, out);
                out.push_str(&palette.paint(Ink::Name, &plain(name)));
                out.push_str(": ");
                write(value, palette, depth + 1, out);
            }
            close('}', broken, depth, out);
        }
    }
}

fn separate(at: usize, broken: bool, depth: usize, out: &mut String) {
    match (at, broken) {
        (0, false) => {}
        (_, false) => out.push_str(", "),
        (at, true) => {
            out.push_str(if at == 0 { "\n" } else { ",\n" });
            out.push_str(&"  ".repeat(depth));
        }
    }
}

fn close(bracket: char, broken: bool, depth: usize, out: &mut String) {
    if broken {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    }
    out.push(bracket);
}

/// In one line, without colour, with bytes as `h'01ff'`.
fn plain(value: &Value) -> String {
    match value {
        Value::Float(value) => float(*value),
        Value::Text(text) => {
            let mut out = String::new();
            write_json_text(text, &mut out);
            shown(&out)
        }
        Value::Bytes(bytes) => {
            let mut out = "h'".to_owned();
            for byte in bytes {
                // Writing to a string can't fail.
                let _ = write!(out, "{byte:02x}");
            }
            out + "'"
        }
        Value::Tagged(tag, inner) => format!("{tag}({})", plain(inner)),
        Value::List(values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Map(members) => {
            let members = members.iter().map(|(name, value)| format!("{}: {}", plain(name), plain(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) => {
            let mut out = String::new();
            value.write_json(&mut out);
            out
        }
    }
}

/// Sixteen bytes a line: place, hexadecimal, what is printable.
fn dump(bytes: &[u8], palette: Palette) -> String {
    let mut lines = Vec::new();
    for (at, row) in bytes[..bytes.len().min(DUMP_BYTES_MAX)].chunks(16).enumerate() {
        let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = row
            .iter()
            .map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' })
            .collect();
        let place = palette.paint(Ink::Note, &format!("{:04x}", at * 16));
        lines.push(format!("{place}  {:<47}  {text}", hex.join(" ")));
    }
    if bytes.len() > DUMP_BYTES_MAX {
        lines.push(palette.paint(Ink::Note, &format!("... {} bytes more", bytes.len() - DUMP_BYTES_MAX)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plainly(bytes: &[u8]) -> String {
        pretty(bytes, Palette::Plain)
    }

    #[test]
    fn objects_are_indented_and_short_members_stay_in_a_line() {
        let json = br#"{"t":21.5,"where":{"room":"kitchen","floor":0},"tags":[1,2,3],"long":["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"],"e":{},"l":[]}"#;
        let wanted = r#"{
  "t": 21.5,
  "where": {"room": "kitchen", "floor": 0},
  "tags": [1, 2, 3],
  "long": [
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
  ],
  "e": {},
  "l": []
}"#;
        assert_eq!(plainly(json), wanted);
    }

    #[test]
    fn binary_formats_say_what_they_are() {
        assert_eq!(plainly(b"\xa2\x61a\x42\x01\xff\x01\xc1\x05"), "cbor {\n  \"a\": h'01ff',\n  1: 1(5)\n}");
        assert_eq!(plainly(b"\x81\xa1a\xd4\x05\x01"), "msgpack {\n  \"a\": 5(h'01')\n}");
        let dump = plainly(&[&b"\xff\x00AB "[..], &[0x20; 12]].concat());
        assert!(dump.starts_with("binary 17 bytes\n0000  ff 00 41 42 20"), "{dump}");
        assert!(dump.contains("..AB") && dump.lines().count() == 3, "{dump}");
        assert!(plainly(&[0xff; 600]).ends_with("... 88 bytes more"));
    }

    #[test]
    fn a_publisher_cannot_command_the_terminal() {
        assert_eq!(plainly(b"a\x1b[31mred\r\nb\tc"), "a\\u{1b}[31mred\\r\nb\tc");
        assert!(!plainly(b"{\"a\":\"\\u001b[2J\\u009b\"}").contains(['\u{1b}', '\u{9b}']));
    }

    #[test]
    fn colours_only_when_asked_for() {
        assert!(!plainly(b"[1,\"a\",null]").contains('\u{1b}'));
        assert!(pretty(b"[1,\"a\",null]", Palette::Colours).contains("\u{1b}[36m1\u{1b}[0m"));
    }
}
