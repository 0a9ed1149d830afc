//! Reads a format.

use std::{
    fmt,
    iter::{Enumerate, Peekable},
    str::{Chars, FromStr},
};

use super::{Field, Format, Piece};

/// What is wrong with a format, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// The format.
    format: String,
    /// Characters before the fault.
    at: usize,
    what: String,
}

/// Letters that may follow `%`.
const LETTERS: &str = "%ACDEFIJjlmPpqRrStUXx";

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(format: &str) -> Result<Self, FormatError> {
        let error = |at, what: String| FormatError { format: format.to_owned(), at, what };
        let mut pieces = Vec::new();
        let mut rest = format.chars().enumerate().peekable();
        while let Some((at, c)) = rest.next() {
            match c {
                '%' => {
                    // Each once, and in this order.
                    let mut field = Field {
                        left: rest.next_if(|(_, c)| *c == '-').is_some(),
                        zero: rest.next_if(|(_, c)| *c == '0').is_some(),
                        width: number(&mut rest).unwrap_or(0),
                        ..Field::default()
                    };
                    if rest.next_if(|(_, c)| *c == '.').is_some() {
                        field.precision = Some(number(&mut rest).unwrap_or(0));
                    }
                    match rest.next() {
                        Some((_, '%')) => pieces.push(Piece::Literal(b"%".to_vec())),
                        Some((_, letter)) if LETTERS.contains(letter) => {
                            field.letter = letter;
                            pieces.push(Piece::Field(field));
                        }
                        Some((at, other)) => {
                            return Err(error(at, format!("`%{other}` means nothing; {KNOWN_FIELDS}")));
                        }
                        None => return Err(error(at, format!("nothing follows `%`; {KNOWN_FIELDS}"))),
                    }
                }
                '@' => match rest.next() {
                    Some((_, '@')) => pieces.push(Piece::Literal(b"@".to_vec())),
                    Some((_, 'N')) => pieces.push(Piece::Nanoseconds),
                    Some((_, conversion)) => pieces.push(Piece::Time(conversion)),
                    None => {
                        return Err(error(at, "nothing follows `@`; for the character write `@@`".into()));
                    }
                },
                '\\' => match rest.next().map(|(at, c)| (at, c, escape(c))) {
                    Some((_, _, Some(byte))) => pieces.push(Piece::Literal(vec![byte])),
                    Some((at, c, None)) => {
                        let what =
                            format!("`\\{c}` means nothing; there are \\\\ \\0 \\a \\e \\n \\r \\t \\v");
                        return Err(error(at, what));
                    }
                    None => {
                        return Err(error(at, "nothing follows `\\`; for the character write `\\\\`".into()));
                    }
                },
                other => pieces.push(Piece::Literal(other.to_string().into_bytes())),
            }
        }
        Ok(Self(merged(pieces)))
    }
}

type Rest<'a> = Peekable<Enumerate<Chars<'a>>>;

/// Digits, if there are any.
fn number(rest: &mut Rest<'_>) -> Option<usize> {
    let mut number = None;
    while let Some((_, digit)) = rest.next_if(|(_, c)| c.is_ascii_digit()) {
        let digit = digit.to_digit(10).map_or(0, |digit| digit as usize);
        number = Some((number.unwrap_or(0) * 10 + digit).min(WIDTH_MAX));
    }
    number
}

/// Wider than any line.
const WIDTH_MAX: usize = 1_000_000;

const KNOWN_FIELDS: &str = "there are %% and %A %C %D %E %F %I %J %j %l %m %P %p %q %R %r %S %t %U %X %x";

const fn escape(c: char) -> Option<u8> {
    Some(match c {
        '\\' => b'\\',
        '0' => 0,
        'a' => 7,
        'e' => 0x1b,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0xb,
        _ => return None,
    })
}

/// Literals that follow each other become one.
fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (out.last_mut(), piece) {
            (Some(Piece::Literal(before)), Piece::Literal(bytes)) => before.extend_from_slice(&bytes),
            (_, piece) => out.push(piece),
        }
    }
    out
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  {}\n  {}^", self.what, self.format, " ".repeat(self.at))
    }
}

impl std::error::Error for FormatError {}
