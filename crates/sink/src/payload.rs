//! What a payload is.

use serde_json::Value;

use crate::Row;

/// How deep a JSON document may be nested to count as one; MongoDB takes 100 levels, its own included.
pub const JSON_LEVELS_MAX: usize = 90;
/// How much memory a JSON document may take while it is looked at, about; one that would take more counts as text. A
/// sender could have the broker hold a hundred times what it sent otherwise.
pub const JSON_MEMORY_MAX: usize = 128 << 20;

/// What a value takes in memory, in bytes.
const VALUE_BYTES: usize = 32;
/// What an object takes, even one with a single member: room for eleven.
const OBJECT_BYTES: usize = 640;

/// A payload, taken for what it is.
///
/// The Content Type counts first: `application/octet-stream` is binary, `text/...` but `text/plain` (which senders put
/// on everything) is text. Then come a plain number, a JSON document (object, array, string, `true`, `false`, `null`),
/// UTF-8 text, and what is none of these is binary. NaN, infinities and numbers out of range are text, and so is JSON
/// that is damaged, nested too deep ([`JSON_LEVELS_MAX`]) or made of too many parts ([`JSON_MEMORY_MAX`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Payload<'a> {
    /// A number as JSON writes them, with or without white space around.
    Number(Number<'a>),
    /// A JSON document, and its text.
    Json(Value, &'a str),
    /// Text.
    Text(&'a str),
    /// Anything else.
    Binary(&'a [u8]),
}

/// A number.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Number<'a> {
    /// Its value, or what comes nearest to it.
    pub value: f64,
    /// Its value, if it was written as an integer of 64 bits.
    pub integer: Option<i64>,
    /// As it was written.
    pub text: &'a str,
}

impl Number<'_> {
    /// Whether `value` says it all: an integer is not beyond 2^53, and there are no more than 17 digits.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        const EXACT_MAX: u64 = 1 << 53;
        match self.integer {
            Some(integer) => integer.unsigned_abs() <= EXACT_MAX,
            None => {
                self.text.bytes().take_while(|b| !b"eE".contains(b)).filter(u8::is_ascii_digit).count() <= 17
            }
        }
    }

    fn parse(text: &str) -> Option<Number<'_>> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        let first = *text.as_bytes().first()?;
        if !(first == b'-' || first.is_ascii_digit()) || text.len() > 512 {
            return None;
        }
        // What JSON calls a number: no leading zeros, which belong to codes rather than to quantities.
        let number: serde_json::Number = serde_json::from_str(text).ok()?;
        Some(Number { value: text.parse().ok()?, integer: number.as_i64(), text })
    }
}

impl<'a> Payload<'a> {
    /// The payload of a row.
    #[must_use]
    pub fn of(row: &'a Row) -> Self {
        let bytes = &row.payload[..];
        let content_type = row.content_type.as_deref().unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if content_type == "application/octet-stream" {
            return Self::Binary(bytes);
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Binary(bytes) };
        if content_type.starts_with("text/") && content_type != "text/plain" {
            return Self::Text(text);
        }
        if let Some(number) = Number::parse(text) {
            return Self::Number(number);
        }
        match json(text) {
            Some(value) => Self::Json(value, text),
            None => Self::Text(text),
        }
    }

    /// The part of a JSON document at the end of a path of keys (of arrays: places from 0). The empty path is all of it.
    #[must_use]
    pub fn part(&self, path: &[Box<str>]) -> Option<&Value> {
        let Self::Json(value, _) = self else { return None };
        path.iter().try_fold(value, |value, key| match value {
            Value::Object(object) => object.get(&**key),
            Value::Array(array) => array.get(key.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// What it is, in one word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Json(..) => "json",
            Self::Text(_) => "text",
            Self::Binary(_) => "binary",
        }
    }
}

fn json(text: &str) -> Option<Value> {
    let first = text.trim_start_matches([' ', '\t', '\r', '\n']).bytes().next()?;
    if !b"{[\"tfn".contains(&first) || takes_too_much(text) {
        return None;
    }
    serde_json::from_str(text).ok().filter(|value| levels(value) <= JSON_LEVELS_MAX)
}

/// Whether a text, were it a JSON document, would take more than [`JSON_MEMORY_MAX`].
fn takes_too_much(text: &str) -> bool {
    if text.len() <= JSON_MEMORY_MAX / OBJECT_BYTES {
        return false;
    }
    let (mut bytes, mut in_string, mut escaped) = (text.len(), false, false);
    for byte in text.bytes() {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => bytes += OBJECT_BYTES,
            b',' | b':' | b'[' => bytes += VALUE_BYTES,
            _ => {}
        }
    }
    bytes > JSON_MEMORY_MAX
}

/// How deep a document is nested; the parser's own limit is 128.
fn levels(value: &Value) -> usize {
    match value {
        Value::Array(array) => 1 + array.iter().map(levels).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(payload: &[u8], content_type: &str) -> Row {
        let content_type = Some(content_type).filter(|text| !text.is_empty()).map(Into::into);
        Row { content_type, ..Row::new("1", 0, "t", payload) }
    }

    #[test]
    fn what_payloads_are() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let (deep, too_deep) = (nested(JSON_LEVELS_MAX), nested(JSON_LEVELS_MAX + 1));
        let bottomless = "[".repeat(100_000);
        let cases: [(&[u8], &str, &str); 40] = [
            (b"21.5", "", "number"),
            (b"-1e3", "", "number"),
            (b" 7\r\n", "", "number"),
            (b"0", "application/json", "number"),
            (b"21.5", "text/plain", "number"),
            (b"21.5", "text/plain; charset=utf-8", "number"),
            (b"9223372036854775808", "", "number"),
            (b"007", "", "text"),
            (b"+5", "", "text"),
            (b".5", "", "text"),
            (b"0x10", "", "text"),
            (b"1_000", "", "text"),
            (b"NaN", "", "text"),
            (b"-inf", "", "text"),
            (b"1e400", "", "text"),
            (b"", "", "text"),
            (b"21.5 C", "", "text"),
            (b"{\"a\":1}", "", "json"),
            (b" [1, 2] ", "", "json"),
            (b"\"on\"", "", "json"),
            (b"true", "", "json"),
            (b"null", "", "json"),
            (b"{\"a\":NaN}", "", "text"),
            (b"{\"a\":1", "", "text"),
            (b"{\"a\":1}}", "", "text"),
            (b"{\"a\":1e999}", "", "text"),
            (b"\"\\ud800\"", "", "text"),
            (b"nothing", "", "text"),
            (b"on", "", "text"),
            (b"a\0b", "", "text"),
            (deep.as_bytes(), "", "json"),
            (too_deep.as_bytes(), "", "text"),
            (bottomless.as_bytes(), "", "text"),
            (b"\xFF\xFE", "", "binary"),
            (b"\xC3\x28", "application/json", "binary"),
            (b"\xA1\x61\x61\x01", "application/cbor", "binary"),
            (b"21.5", "application/octet-stream", "binary"),
            (b"21.5", "Application/Octet-Stream; x=y", "binary"),
            (b"21.5", "text/csv", "text"),
            (b"\xFF", "text/csv", "binary"),
        ];
        for (payload, content_type, kind) in cases {
            let row = row(payload, content_type);
            let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]);
            assert_eq!(Payload::of(&row).kind(), kind, "{shown} {content_type}");
        }
    }

    #[test]
    fn documents_of_too_many_parts_are_text() {
        let list = |part: &str, count: usize| format!("[{}]", vec![part; count].join(","));
        let cases = [
            (list("0", 3_000_000), "json"),
            (list("0", 4_300_000), "text"),
            (list("{}", 150_000), "json"),
            (list("{}", 250_000), "text"),
            (format!("[\"{}\"]", ",{[\\\"".repeat(2_000_000)), "json"),
        ];
        for (payload, kind) in cases {
            assert_eq!(Payload::of(&row(payload.as_bytes(), "")).kind(), kind, "{}", &payload[..20]);
        }
    }

    #[test]
    fn numbers_that_a_double_cannot_hold_are_known() {
        let cases = [
            ("9007199254740992", true),
            ("9007199254740993", false),
            ("-9007199254740993", false),
            ("18446744073709551615", false),
            ("0.1", true),
            ("3.14159265358979323846", false),
            ("1e22", true),
        ];
        for (text, exact) in cases {
            let row = row(text.as_bytes(), "");
            let Payload::Number(number) = Payload::of(&row) else { panic!("{text}") };
            assert_eq!((number.is_exact(), number.text), (exact, text));
        }
    }

    #[test]
    fn paths_into_documents() {
        let row = row(br#"{"a": {"b": [10, {"c": "x"}]}, "": 1}"#, "");
        let payload = Payload::of(&row);
        let part = |path: &[&str]| {
            let path: Vec<Box<str>> = path.iter().map(|key| (*key).into()).collect();
            payload.part(&path).cloned()
        };
        assert_eq!(part(&["a", "b", "0"]), Some(10.into()));
        assert_eq!(part(&["a", "b", "1", "c"]), Some("x".into()));
        assert_eq!(part(&[""]), Some(1.into()));
        assert!(part(&[]).is_some_and(|value| value.is_object()));
        for missing in [&["a", "c"][..], &["a", "b", "2"], &["a", "b", "x"], &["a", "b", "0", "y"]] {
            assert_eq!(part(missing), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_something(bytes in any::<Vec<u8>>()) {
            let row = row(&bytes, "");
            match Payload::of(&row) {
                Payload::Binary(all) => prop_assert_eq!(all, &bytes[..]),
                Payload::Text(text) | Payload::Json(_, text) => prop_assert_eq!(text.as_bytes(), &bytes[..]),
                Payload::Number(number) => prop_assert!(number.value.is_finite()),
            }
        }

        #[test]
        fn every_double_comes_back(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let text = format!("{number:e}");
            let row = row(text.as_bytes(), "");
            let Payload::Number(read) = Payload::of(&row) else { panic!("{text}") };
            prop_assert_eq!(read.value.to_bits(), number.to_bits());
        }
    }
}
