//! What a payload is.

use crate::value::Value;

/// A payload, taken for what it looks like.
///
/// Recognised in this order: a plain number; a JSON object, list, string, `true`, `false`, `null`; UTF-8 text; CBOR,
/// then MessagePack, if it is a map or list that uses all bytes; else bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload<'a> {
    /// A number in digits.
    Number(Value),
    /// JSON other than a number.
    Json(Value),
    /// UTF-8; the empty payload, too.
    Text(&'a str),
    /// A CBOR map or list.
    Cbor(Value),
    /// A MessagePack map or list.
    MsgPack(Value),
    /// Anything else.
    Binary(&'a [u8]),
}

impl<'a> Payload<'a> {
    /// Looks at the bytes.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        let Ok(text) = str::from_utf8(bytes) else { return Self::of_binary(bytes) };
        match Value::from_json(bytes) {
            Some(number @ (Value::Integer(_) | Value::Float(_))) => Self::Number(number),
            Some(json) => Self::Json(json),
            // A small CBOR or MessagePack map may well be UTF-8, but text has few control characters.
            None if bytes.iter().any(|&byte| byte < b' ' && !byte.is_ascii_whitespace() && byte != 0x1b) => {
                match Self::of_binary(bytes) {
                    Self::Binary(_) => Self::Text(text),
                    other => other,
                }
            }
            None => Self::Text(text),
        }
    }

    fn of_binary(bytes: &'a [u8]) -> Self {
        if let Some(value) = Value::from_cbor(bytes).filter(Value::is_container) {
            return Self::Cbor(value);
        }
        if let Some(value) = Value::from_msgpack(bytes).filter(Value::is_container) {
            return Self::MsgPack(value);
        }
        Self::Binary(bytes)
    }

    /// The word for what it is: `number`, `json`, `text`, `cbor`, `msgpack`, `binary`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Json(_) => "json",
            Self::Text(_) => "text",
            Self::Cbor(_) => "cbor",
            Self::MsgPack(_) => "msgpack",
            Self::Binary(_) => "binary",
        }
    }

    /// The value: of text the text, of bytes the bytes.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Self::Number(value) | Self::Json(value) | Self::Cbor(value) | Self::MsgPack(value) => value,
            Self::Text(text) => text.into(),
            Self::Binary(bytes) => Value::Bytes(bytes.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognition() {
        for (bytes, name) in [
            (&b"21.5"[..], "number"),
            (b"-0", "number"),
            (b"{}", "json"),
            (b" [1]\n", "json"),
            (b"true", "json"),
            (b"\"x\"", "json"),
            (b"", "text"),
            (b"on", "text"),
            (b"{broken", "text"),
            (b"two\nlines", "text"),
            ("gr\u{fc}n".as_bytes(), "text"),
            (b"\xa1\x61a\x01", "cbor"),
            (b"\xd9\xd9\xf7\xa1\x61a\x01", "cbor"),
            (b"\x81\xa1a\x01", "msgpack"),
            (b"\x82\x01\x02", "cbor"),
            (b"\x00\x01\x02", "text"),
            (b"\xff\x00", "binary"),
            (b"\xa1", "binary"),
        ] {
            assert_eq!(Payload::of(bytes).name(), name, "{bytes:02x?}");
        }
    }
}
