//! JSON (RFC 8259), read strictly and in one go.

use crate::{
    number,
    tape::{Kind, NotThis, Writer, place},
};

/// Reads a payload that is one JSON value and nothing else.
pub(crate) fn read(payload: &str, writer: &mut Writer<'_>) -> Result<(), NotThis> {
    let mut reader = Reader { bytes: payload.as_bytes(), at: 0 };
    let first = reader.token()?;
    reader.value(first, writer)?;
    reader.skip_blank();
    if reader.at == payload.len() { Ok(()) } else { Err(NotThis) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn skip_blank(&mut self) {
        // Nearly always there is none, and one comparison says so.
        while let Some(byte) = self.peek().filter(|byte| *byte <= b' ') {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return;
            }
            self.at += 1;
        }
    }

    /// The next byte that is no blank.
    #[inline]
    fn token(&mut self) -> Result<u8, NotThis> {
        self.skip_blank();
        self.peek().ok_or(NotThis)
    }

    /// A value that begins with `first`.
    fn value(&mut self, first: u8, writer: &mut Writer<'_>) -> Result<(), NotThis> {
        match first {
            b'"' => self.string(writer),
            b'{' => self.object(writer),
            b'[' => self.array(writer),
            b't' => self.word(b"true", Kind::Bool(true), writer),
            b'f' => self.word(b"false", Kind::Bool(false), writer),
            b'n' => self.word(b"null", Kind::Null, writer),
            _ => {
                let len = number::json_len(&self.bytes[self.at..]).ok_or(NotThis)?;
                let from = self.at;
                self.at += len;
                writer.value(Kind::Digits(place(from), place(self.at)))
            }
        }
    }

    fn word(&mut self, word: &[u8], kind: Kind, writer: &mut Writer<'_>) -> Result<(), NotThis> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(NotThis);
        }
        self.at += word.len();
        writer.value(kind)
    }

    fn object(&mut self, writer: &mut Writer<'_>) -> Result<(), NotThis> {
        let map = writer.open()?;
        let mut pairs = 0;
        self.at += 1;
        let mut next = self.token()?;
        while next != b'}' || pairs > 0 {
            if next != b'"' {
                return Err(NotThis);
            }
            self.string(writer)?;
            if self.token()? != b':' {
                return Err(NotThis);
            }
            self.at += 1;
            let first = self.token()?;
            self.value(first, writer)?;
            pairs += 1;
            if !self.goes_on(b'}')? {
                break;
            }
            next = self.token()?;
        }
        if pairs == 0 {
            self.at += 1;
        }
        writer.close(map, Kind::Map(pairs));
        Ok(())
    }

    fn array(&mut self, writer: &mut Writer<'_>) -> Result<(), NotThis> {
        let list = writer.open()?;
        let mut elements = 0;
        self.at += 1;
        let mut next = self.token()?;
        while next != b']' || elements > 0 {
            self.value(next, writer)?;
            elements += 1;
            if !self.goes_on(b']')? {
                break;
            }
            next = self.token()?;
        }
        if elements == 0 {
            self.at += 1;
        }
        writer.close(list, Kind::List(elements));
        Ok(())
    }

    /// Behind an element: a comma, or the end. It is behind that then.
    #[inline]
    fn goes_on(&mut self, close: u8) -> Result<bool, NotThis> {
        let byte = self.token()?;
        self.at += 1;
        match byte {
            b',' => Ok(true),
            byte if byte == close => Ok(false),
            _ => Err(NotThis),
        }
    }

    #[inline]
    fn string(&mut self, writer: &mut Writer<'_>) -> Result<(), NotThis> {
        let from = self.at + 1;
        let rest = self.bytes.get(from..).ok_or(NotThis)?;
        let to = from + plain_len(rest);
        // Nearly always the first byte that is not plain is the quote at the end.
        if self.bytes.get(to) == Some(&b'"') {
            self.at = to + 1;
            return writer.value(Kind::Text(place(from), place(to)));
        }
        self.escaped(from, to, writer)
    }

    /// A string from `from` on that has an escape at `at`, or something that must not be there.
    #[cold]
    fn escaped(&mut self, from: usize, at: usize, writer: &mut Writer<'_>) -> Result<(), NotThis> {
        self.at = at;
        loop {
            match self.peek().ok_or(NotThis)? {
                b'"' => break,
                b'\\' => self.at += escape_len(&self.bytes[self.at..]).ok_or(NotThis)?,
                _ => return Err(NotThis), // a control character
            }
            self.at += plain_len(&self.bytes[self.at..]);
        }
        self.at += 1;
        let bytes = &self.bytes[from..self.at - 1];
        writer.unescaped(|text| unescape(bytes, text).ok_or(NotThis))
    }
}

/// How many bytes there are before the first quote, backslash or control character. Eight at a time.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let zero_in = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let quote = zero_in(word ^ (ONES * 0x22));
        let backslash = zero_in(word ^ (ONES * 0x5C));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        // The lowest mark is right; those above it may be borrowed from it.
        let marks = quote | backslash | control;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
    let rest = &bytes[at..];
    at + rest.iter().position(special).unwrap_or(rest.len())
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
