//! An expression's text cut into tokens.

use crate::{Fault, literal};

/// What stands at one place of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Ident(String),
    /// Without its sign: the parser knows whether a minus belongs to it.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// An operator or bracket, as it is written.
    Sign(&'static str),
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ident(name) => write!(f, "`{name}`"),
            Self::Int(number) => write!(f, "`{number}`"),
            Self::Uint(number) => write!(f, "`{number}u`"),
            Self::Double(number) => write!(f, "`{number}`"),
            Self::Text(_) => f.write_str("a string"),
            Self::Bytes(_) => f.write_str("a bytes literal"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Longer ones first: the first that fits is taken.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ",", ".", "(", ")",
    "[", "]", "{", "}", "=",
];

/// Cuts an expression into tokens, each with the byte it begins at; the last one is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at = skip_blank(text, at);
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            found.push((at, Token::End));
            return Ok(found);
        };
        let (token, len) = if let Some((literal, len)) = literal::text_or_bytes(rest, at)? {
            (literal, len)
        } else if first.is_ascii_digit()
            || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            number(rest, at)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Ident(rest[..len].to_owned()), len)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            return Err(Fault::at(at, format!("`{}` has no meaning here", first.escape_default())));
        };
        found.push((at, token));
        at += len;
    }
}

fn skip_blank(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0C']).len();
        at += blank;
        if !text[at..].starts_with("//") {
            return at;
        }
        at += text[at..].find('\n').unwrap_or(text.len() - at);
    }
}

/// A number without sign: `10`, `0x1F`, `10u`, `1.5`, `1e3`, `.5`.
fn number(rest: &str, at: usize) -> Result<(Token, usize), Fault> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (radix, mut len, mut fraction) = if rest.starts_with("0x") || rest.starts_with("0X") {
        let hex = bytes[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        (16, 2 + hex, false)
    } else {
        (10, digits(0), false)
    };
    if radix == 10 {
        if bytes.get(len) == Some(&b'.') && digits(len + 1) > 0 {
            len += 1 + digits(len + 1);
            fraction = true;
        }
        if matches!(bytes.get(len), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
            let power = digits((len + 1 + sign).min(bytes.len()));
            if power > 0 {
                len += 1 + sign + power;
                fraction = true;
            }
        }
    }
    let unsigned = !fraction && matches!(bytes.get(len), Some(b'u' | b'U'));
    let end = len + usize::from(unsigned);
    if bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return Err(Fault::at(at, "this is neither a number nor a name"));
    }
    let too_large = || Fault::at(at, format!("the number {} is too large", &rest[..len]));
    if fraction {
        let value: f64 = rest[..len].parse().map_err(|_| too_large())?;
        return if value.is_finite() { Ok((Token::Double(value), end)) } else { Err(too_large()) };
    }
    let digits = if radix == 16 { &rest[2..len] } else { &rest[..len] };
    let value = u64::from_str_radix(digits, radix).map_err(|_| too_large())?;
    Ok((if unsigned { Token::Uint(value) } else { Token::Int(value) }, end))
}
