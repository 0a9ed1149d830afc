//! JSON (RFC 8259), read strictly and in one go.
//!
//! One loop goes from value to value; where it is within the payload, and in which list or map, it holds in its hands
//! (and so in registers) instead of leaving it to calls within calls. Only what is rare is a function of its own.

use crate::{
    number, scan,
    tape::{Kind, NotThis, Stop, Writer, place},
};

/// Reads a payload that is one JSON value and nothing else, and says how many values it wrote.
pub(crate) fn read(payload: &str, writer: Writer<'_>) -> Result<usize, Stop> {
    let bytes = payload.as_bytes();
    // In most payloads no string has anything but its quote to look for. To know that is worth a look at long ones.
    let special = bytes.len() < LONG || scan::has_special(bytes);
    if special { values::<true>(bytes, writer) } else { values::<false>(bytes, writer) }
}

/// Bytes from which on a payload is long.
const LONG: usize = 256;

/// Reads the value. Without `SPECIAL`, there is neither a backslash nor a control character in the payload.
fn values<const SPECIAL: bool>(bytes: &[u8], writer: Writer<'_>) -> Result<usize, Stop> {
    let mut writer = writer.in_hand();
    let mut within = Within::NOTHING;
    let (mut first, mut at) = token(bytes, 0)?;
    loop {
        // A value begins here.
        match first {
            b'"' => at = string::<SPECIAL>(bytes, at, &mut writer)?,
            b'0'..=b'9' | b'-' => {
                let to = number::json_end(bytes, at).ok_or(Stop::NotThis)?;
                writer.value(Kind::Digits(place(at), place(to)))?;
                at = to;
            }
            b'{' | b'[' => {
                within = within.open(first, &mut writer)?;
                (first, at) = token(bytes, at + 1)?;
                if first != within.close {
                    if within.close == b'}' {
                        (first, at) = key::<SPECIAL>(bytes, first, at, &mut writer)?;
                    }
                    continue;
                }
                at += 1;
                within = within.leave(&mut writer);
            }
            b't' => at = word(bytes, at, b"true", Kind::Bool(true), &mut writer)?,
            b'f' => at = word(bytes, at, b"false", Kind::Bool(false), &mut writer)?,
            b'n' => at = word(bytes, at, b"null", Kind::Null, &mut writer)?,
            _ => return Err(Stop::NotThis),
        }
        // And has its end, perhaps with what it is in.
        loop {
            within.count += 1;
            if within.close == 0 {
                return if token(bytes, at).is_err() { Ok(writer.used()) } else { Err(Stop::NotThis) };
            }
            (first, at) = token(bytes, at)?;
            at += 1;
            if first == b',' {
                (first, at) = token(bytes, at)?;
                if within.close == b'}' {
                    (first, at) = key::<SPECIAL>(bytes, first, at, &mut writer)?;
                }
                break;
            }
            if first != within.close {
                return Err(Stop::NotThis);
            }
            within = within.leave(&mut writer);
        }
    }
}

/// The list or map that is being read.
#[derive(Copy, Clone)]
struct Within {
    /// Its place on the tape, where the place of what it is in stands until its own end is known.
    at: u32,
    /// Elements or pairs so far.
    count: u32,
    /// What ends it; 0 in no list or map.
    close: u8,
}

impl Within {
    const NOTHING: Self = Self { at: u32::MAX, count: 0, close: 0 };

    /// Into a list or map that begins with `first`.
    #[inline(always)]
    fn open(self, first: u8, writer: &mut Writer<'_>) -> Result<Self, Stop> {
        writer.leave_open(self.at, self.count, self.close);
        let at = writer.open(self.at)?;
        Ok(Self { at, count: 0, close: first + 2 }) // { and }, [ and ] are two apart
    }

    /// Back out of it.
    #[inline(always)]
    fn leave(self, writer: &mut Writer<'_>) -> Self {
        let kind = if self.close == b'}' { Kind::Map(self.count) } else { Kind::List(self.count) };
        let at = writer.close(self.at, kind);
        writer.left_open(at).map_or(Self::NOTHING, |(count, close)| Self { at, count, close })
    }
}

/// The next byte from `at` on that is no blank, and its place.
#[inline(always)]
fn token(bytes: &[u8], at: usize) -> Result<(u8, usize), NotThis> {
    match bytes.get(at) {
        Some(byte) if *byte > b' ' => Ok((*byte, at)),
        _ => token_behind_blank(bytes, at),
    }
}

/// The same where there is a blank; most often it is one only.
#[inline(never)]
fn token_behind_blank(bytes: &[u8], mut at: usize) -> Result<(u8, usize), NotThis> {
    loop {
        let byte = *bytes.get(at).ok_or(NotThis)?;
        if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok((byte, at));
        }
        at += 1;
    }
}

/// A pair's key, which begins with `first` at `at`. Its value's first byte, and the place of that.
#[inline(always)]
fn key<const SPECIAL: bool>(
    bytes: &[u8],
    first: u8,
    at: usize,
    writer: &mut Writer<'_>,
) -> Result<(u8, usize), Stop> {
    if first != b'"' {
        return Err(Stop::NotThis);
    }
    let (colon, at) = token(bytes, string::<SPECIAL>(bytes, at, writer)?)?;
    if colon == b':' { Ok(token(bytes, at + 1)?) } else { Err(Stop::NotThis) }
}

/// A string from its quote at `at` on, and the place behind it.
#[inline(always)]
fn string<const SPECIAL: bool>(bytes: &[u8], at: usize, writer: &mut Writer<'_>) -> Result<usize, Stop> {
    let from = at + 1;
    let to = if SPECIAL { scan::text_end(bytes, from) } else { scan::quote(bytes, from) };
    // Nearly always the first byte that is not plain is the quote at the end.
    if bytes.get(to) == Some(&b'"') {
        let last = bytes.get(to - 1).copied().unwrap_or_default();
        writer.text(from, to, last)?;
        return Ok(to + 1);
    }
    let begin = writer.unescaped.len();
    let to = escaped(bytes, from, to, writer.unescaped)?;
    writer.unescaped(begin)?;
    Ok(to)
}

fn word(bytes: &[u8], at: usize, word: &[u8], kind: Kind, writer: &mut Writer<'_>) -> Result<usize, Stop> {
    let to = at + word.len();
    if bytes.get(at..to) != Some(word) {
        return Err(Stop::NotThis);
    }
    writer.value(kind)?;
    Ok(to)
}

/// A string from `from` on that has an escape at `at`, or something that must not be there. What it says goes to
/// `text`; the place behind its quote is returned.
#[cold]
#[inline(never)]
fn escaped(bytes: &[u8], from: usize, mut at: usize, text: &mut String) -> Result<usize, NotThis> {
    loop {
        match bytes.get(at).ok_or(NotThis)? {
            b'"' => break,
            b'\\' => at += escape_len(&bytes[at..]).ok_or(NotThis)?,
            _ => return Err(NotThis), // a control character
        }
        at = scan::text_end(bytes, at);
    }
    unescape(&bytes[from..at], text).ok_or(NotThis)?;
    Ok(at + 1)
}

/// The length of the escape at the start of `bytes`. Halves of surrogate pairs must be whole pairs.
fn escape_len(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => match four_digits(bytes)? {
            0xD800..=0xDBFF => {
                let low = four_digits(bytes.get(6..)?)?;
                (bytes.get(6..8) == Some(b"\\u") && matches!(low, 0xDC00..=0xDFFF)).then_some(12)
            }
            0xDC00..=0xDFFF => None,
            _ => Some(6),
        },
        _ => None,
    }
}

fn four_digits(escape: &[u8]) -> Option<u32> {
    let digits = escape.get(2..6)?;
    digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
}

/// Appends the text of a string with escapes, which stands between its quotes.
fn unescape(mut bytes: &[u8], text: &mut String) -> Option<()> {
    while let Some(at) = memchr::memchr(b'\\', bytes) {
        text.push_str(std::str::from_utf8(&bytes[..at]).ok()?);
        let escape = &bytes[at..];
        let len = escape_len(escape)?;
        text.push(match escape[1] {
            b'b' => '\x08',
            b'f' => '\x0C',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' if len == 12 => {
                let (high, low) = (four_digits(escape)?, four_digits(&escape[6..])?);
                char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))?
            }
            b'u' => char::from_u32(four_digits(escape)?)?,
            other => char::from(other),
        });
        bytes = &escape[len..];
    }
    text.push_str(std::str::from_utf8(bytes).ok()?);
    Some(())
}

#[cfg(test)]
mod tests;
