//! What a payload says, whatever it is written in: one tree for JSON, CBOR and MessagePack.

use std::fmt;

use base64::Engine as _;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value of JSON, CBOR or MessagePack. Maps keep their order and repeated names.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number; CBOR and MessagePack know infinity and NaN, too.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes; JSON has none.
    Bytes(Vec<u8>),
    /// Values in a row.
    List(Vec<Self>),
    /// Names and values; JSON's names are text.
    Map(Vec<(Self, Self)>),
    /// A value with a tag (CBOR) or type (MessagePack's extensions) that says how to take it.
    Tagged(i128, Box<Self>),
}

/// CBOR and MessagePack nested deeper than this are not looked at.
const DEPTH_MAX: usize = 64;

impl Value {
    /// A value of JSON and nothing beside it but white space. A number too large for a float is null.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).ok();
        read(bytes).or_else(|| read(&without_infinite(bytes)?))
    }

    /// A value of CBOR that uses all bytes.
    #[must_use]
    pub fn from_cbor(mut bytes: &[u8]) -> Option<Self> {
        let value: ciborium::Value =
            ciborium::de::from_reader_with_recursion_limit(&mut bytes, DEPTH_MAX).ok()?;
        if bytes.is_empty() { Some(value.into()) } else { None }
    }

    /// A value of MessagePack that uses all bytes.
    #[must_use]
    pub fn from_msgpack(mut bytes: &[u8]) -> Option<Self> {
        let value = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH_MAX).ok()?;
        if bytes.is_empty() { Some(value.into()) } else { None }
    }

    /// Whether it is a map or a list, with a tag or without: CBOR may begin with the tag 55799, which says that it is CBOR.
    #[must_use]
    pub const fn is_container(&self) -> bool {
        match self {
            Self::Map(_) | Self::List(_) => true,
            Self::Tagged(_, inner) => inner.is_container(),
            _ => false,
        }
    }

    /// A map with text for names.
    pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Map(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// Appends it as JSON in one line. What JSON can't say becomes: bytes, Base64 text; a tag, nothing; infinity and
    /// NaN, null; a name that is not text, the text of its JSON.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(value) => out.push_str(&value.to_string()),
            Self::Float(value) if value.is_finite() => out.push_str(&float(*value)),
            Self::Float(_) => out.push_str("null"),
            Self::Text(text) => write_json_text(text, out),
            Self::Bytes(bytes) => write_json_text(&base64::prelude::BASE64_STANDARD.encode(bytes), out),
            Self::Tagged(_, value) => value.write_json(out),
            Self::List(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    value.write_json(out);
                }
                out.push(']');
            }
            Self::Map(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    name.write_json_name(out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    fn write_json_name(&self, out: &mut String) {
        match self {
            Self::Text(name) => write_json_text(name, out),
            other => {
                let mut name = String::new();
                other.write_json(&mut name);
                write_json_text(&name, out);
            }
        }
    }
}

/// JSON knows numbers that no float holds, and its reader refuses them: the text with null in their place, if it has some.
fn without_infinite(json: &[u8]) -> Option<Vec<u8>> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let (mut out, mut rest, mut found) = (Vec::with_capacity(json.len()), json, false);
    while let Some(&byte) = rest.first() {
        let length = match byte {
            b'"' => text_length(rest),
            b'-' | b'0'..=b'9' => rest.iter().take_while(|byte| is_part(byte)).count(),
            _ => 1,
        };
        let (token, behind) = rest.split_at(length);
        let infinite = (byte == b'-' || byte.is_ascii_digit()) && is_infinite(token);
        out.extend_from_slice(if infinite { b"null" } else { token });
        (rest, found) = (behind, found | infinite);
    }
    found.then_some(out)
}

/// The length of a text with its quotes, or of all there is if it does not end.
fn text_length(json: &[u8]) -> usize {
    let mut escaped = false;
    let end = json.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

/// Whether it is a number as RFC 8259, 6, has them, and too large.
fn is_infinite(token: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(token) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
        && text.parse::<f64>().is_ok_and(f64::is_infinite)
}

/// The shortest digits that mean this number.
pub(crate) fn float(value: f64) -> String {
    if value.is_finite() && (value == 0.0 || (1e-5..1e16).contains(&value.abs())) {
        let text = value.to_string();
        if text.contains('.') { text } else { text + ".0" }
    } else {
        format!("{value:e}")
    }
}

/// Appends text with the quotes and escapes of JSON.
pub(crate) fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match escape(c) {
            Some(escape) => out.push_str(escape),
            None if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            None => out.push(c),
        }
    }
    out.push('"');
}

/// The short escapes.
pub(crate) const fn escape(c: char) -> Option<&'static str> {
    Some(match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        _ => return None,
    })
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<ciborium::Value> for Value {
    fn from(value: ciborium::Value) -> Self {
        match value {
            ciborium::Value::Bool(value) => Self::Bool(value),
            ciborium::Value::Integer(value) => Self::Integer(value.into()),
            ciborium::Value::Float(value) => Self::Float(value),
            ciborium::Value::Text(text) => Self::Text(text),
            ciborium::Value::Bytes(bytes) => Self::Bytes(bytes),
            ciborium::Value::Tag(tag, value) => Self::Tagged(tag.into(), Box::new((*value).into())),
            ciborium::Value::Array(values) => Self::List(values.into_iter().map(Into::into).collect()),
            ciborium::Value::Map(members) => {
                Self::Map(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
            }
            // Null, and what later versions of the library may tell apart.
            _ => Self::Null,
        }
    }
}

impl From<rmpv::Value> for Value {
    fn from(value: rmpv::Value) -> Self {
        match value {
            rmpv::Value::Nil => Self::Null,
            rmpv::Value::Boolean(value) => Self::Bool(value),
            rmpv::Value::Integer(value) => {
                let unsigned = value.as_u64().map(i128::from);
                Self::Integer(unsigned.or_else(|| value.as_i64().map(i128::from)).unwrap_or_default())
            }
            rmpv::Value::F32(value) => Self::Float(value.into()),
            rmpv::Value::F64(value) => Self::Float(value),
            rmpv::Value::String(text) => match text.into_str() {
                Some(text) => Self::Text(text),
                None => Self::Text(char::REPLACEMENT_CHARACTER.to_string()),
            },
            rmpv::Value::Binary(bytes) => Self::Bytes(bytes),
            rmpv::Value::Ext(kind, bytes) => Self::Tagged(kind.into(), Box::new(Self::Bytes(bytes))),
            rmpv::Value::Array(values) => Self::List(values.into_iter().map(Into::into).collect()),
            rmpv::Value::Map(members) => {
                Self::Map(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Json)
    }
}

/// Makes a [`Value`] of what JSON has.
struct Json;

impl<'de> Visitor<'de> for Json {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            members.push((Value::Text(name), value));
        }
        Ok(Value::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &Value) -> String {
        let mut out = String::new();
        value.write_json(&mut out);
        out
    }

    #[test]
    fn json_comes_out_as_it_went_in_without_space() {
        for (written, kept) in [
            (
                r#" {"a": 1.5, "b": [1, 2, {"c": null}], "a": true} "#,
                r#"{"a":1.5,"b":[1,2,{"c":null}],"a":true}"#,
            ),
            ("[1e3,-0.0,18446744073709551615,1e300,0.1]", "[1000.0,-0.0,18446744073709551615,1e300,0.1]"),
            (r#""\u00e9\ud83d\ude00\u0001\n\/""#, "\"\u{e9}\u{1f600}\\u0001\\n/\""),
        ] {
            assert_eq!(json(&Value::from_json(written.as_bytes()).unwrap()), kept);
        }
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in ["", " ", "abc", "[1,]", "{\"a\"}", "5 x", "\u{1}", "\"a", "[[[["] {
            assert_eq!(Value::from_json(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Value::from_json(&[b'['; 100_000]), None, "nesting has a limit");
    }

    #[test]
    fn cbor_and_msgpack_say_the_same_as_json() {
        // {"a": [1, -2, 1.5, true, null, "x", h'01ff']}
        let cbor = b"\xa1\x61a\x87\x01\x21\xf9\x3e\x00\xf5\xf6\x61x\x42\x01\xff";
        let msgpack = b"\x81\xa1a\x97\x01\xfe\xca\x3f\xc0\x00\x00\xc3\xc0\xa1x\xc4\x02\x01\xff";
        let wanted = r#"{"a":[1,-2,1.5,true,null,"x","Af8="]}"#;
        assert_eq!(json(&Value::from_cbor(cbor).unwrap()), wanted);
        assert_eq!(json(&Value::from_msgpack(msgpack).unwrap()), wanted);
    }

    #[test]
    fn bytes_left_over_or_missing_are_no_value() {
        assert_eq!(Value::from_cbor(b"\xa0\x00"), None);
        assert_eq!(Value::from_cbor(b"\xa1\x61a"), None);
        assert_eq!(Value::from_msgpack(b"\x80\x00"), None);
        assert_eq!(Value::from_msgpack(b"\x91"), None);
        assert_eq!(Value::from_cbor(&[0x81; 100_000]), None, "nesting has a limit");
        assert_eq!(Value::from_msgpack(&[0x91; 100_000]), None, "nesting has a limit");
        assert_eq!(Value::from_msgpack(b"\xdd\xff\xff\xff\xff"), None, "a length that lies");
        assert_eq!(Value::from_cbor(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), None, "a length that lies");
    }

    #[test]
    fn what_json_cannot_say_is_said_otherwise() {
        let value = Value::Map(vec![
            (Value::Integer(1), Value::Float(f64::NAN)),
            (Value::List(vec![Value::Bool(true)]), Value::Tagged(1, Box::new(Value::Integer(5)))),
        ]);
        assert_eq!(json(&value), r#"{"1":null,"[true]":5}"#);
    }
}
