//! Literals of strings and bytes: quotes, prefixes `r` and `b`, triple quotes, escapes.

use crate::{Fault, token::Token};

/// A literal at the start of `rest`, which begins at byte `at` of the expression, and its length; `None` when there is
/// none.
pub(crate) fn text_or_bytes(rest: &str, at: usize) -> Result<Option<(Token, usize)>, Fault> {
    let prefix = rest.bytes().take(2).take_while(|byte| matches!(byte, b'r' | b'R' | b'b' | b'B')).count();
    let marks = &rest.as_bytes()[..prefix];
    let raw = marks.iter().filter(|byte| byte.eq_ignore_ascii_case(&b'r')).count();
    let bytes = prefix - raw;
    let body = &rest[prefix..];
    if raw > 1 || bytes > 1 || !body.starts_with(['"', '\'']) {
        return Ok(None);
    }
    let quote =
        ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| body.starts_with(*quote)).unwrap_or("\"");
    let inner = &body[quote.len()..];
    let Some(len) = closing(inner, quote, raw == 1) else {
        return Err(Fault::at(at, "this string has no closing quote"));
    };
    let start = at + prefix + quote.len();
    let token = if bytes == 1 {
        Token::Bytes(unescape(&inner[..len], raw == 1, true, start)?)
    } else {
        let text = unescape(&inner[..len], raw == 1, false, start)?;
        Token::Text(String::from_utf8(text).map_err(|_| Fault::at(at, "this string is not UTF-8"))?)
    };
    Ok(Some((token, prefix + 2 * quote.len() + len)))
}

/// Where the closing quote stands. A string with single quotes ends with its line at the latest.
fn closing(inner: &str, quote: &str, raw: bool) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in inner.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' && !raw {
            escaped = true;
        } else if inner[at..].starts_with(quote) {
            return Some(at);
        } else if quote.len() == 1 && matches!(character, '\n' | '\r') {
            return None;
        }
    }
    None
}

fn unescape(inner: &str, raw: bool, bytes: bool, start: usize) -> Result<Vec<u8>, Fault> {
    if raw || !inner.contains('\\') {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(character) = inner[at..].chars().next() {
        if character != '\\' {
            out.extend_from_slice(&inner.as_bytes()[at..at + character.len_utf8()]);
            at += character.len_utf8();
            continue;
        }
        let (code, raw_byte, len) = escape(&inner[at + 1..], bytes)
            .ok_or_else(|| Fault::at(start + at, "no such escape; a backslash itself is written `\\\\`"))?;
        match u8::try_from(code) {
            Ok(byte) if bytes && raw_byte => out.push(byte),
            _ => {
                let character =
                    char::from_u32(code).ok_or_else(|| Fault::at(start + at, "no such character"))?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        at += 1 + len;
    }
    Ok(out)
}

/// What stands behind a backslash: the code, whether it is a byte where bytes are meant, and its length.
fn escape(rest: &str, bytes: bool) -> Option<(u32, bool, usize)> {
    let first = *rest.as_bytes().first()?;
    let simple = match first {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => 0x0A,
        b'r' => 0x0D,
        b't' => 0x09,
        b'v' => 0x0B,
        b'\\' | b'\'' | b'"' | b'`' | b'?' => u32::from(first),
        b'x' | b'X' => return digits(rest, 1, 2, 16).map(|code| (code, true, 3)),
        b'u' if !bytes => return digits(rest, 1, 4, 16).map(|code| (code, false, 5)),
        b'U' if !bytes => return digits(rest, 1, 8, 16).map(|code| (code, false, 9)),
        b'0'..=b'3' => return digits(rest, 0, 3, 8).map(|code| (code, true, 3)),
        _ => return None,
    };
    Some((simple, true, 1))
}

fn digits(rest: &str, from: usize, count: usize, radix: u32) -> Option<u32> {
    let digits = rest.get(from..from + count)?;
    digits.bytes().all(|byte| char::from(byte).is_digit(radix)).then_some(())?;
    u32::from_str_radix(digits, radix).ok()
}
