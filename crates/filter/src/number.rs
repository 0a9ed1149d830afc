//! Numbers in text, and the order of whole and fractional numbers among each other.

use std::cmp::Ordering;

/// A number as an expression knows it.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Uint(u64),
    Double(f64),
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
    pub(crate) fn to_double(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Uint(value) => value as f64,
            Self::Double(value) => value,
        }
    }

    /// Compares by value, whatever the types; `None` with a NaN.
    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(&b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Uint(b)) => Some(u64::try_from(a).map_or(Ordering::Less, |a| a.cmp(&b))),
            (Self::Uint(_), Self::Int(_)) | (Self::Double(_), _) => other.order(self).map(Ordering::reverse),
            (Self::Int(a), Self::Double(b)) => whole_and_double(i128::from(a), b),
            (Self::Uint(a), Self::Double(b)) => whole_and_double(i128::from(a), b),
        }
    }
}

/// Exactly: a double has no more digits than an `i128` once it is not far out.
fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    const FAR: f64 = 1e30;
    if double.is_nan() {
        return None;
    }
    if double.abs() >= FAR {
        return Some(if double > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    #[expect(clippy::cast_possible_truncation, reason = "within 10^30, and the fraction is compared below")]
    let floor = double.floor() as i128;
    let fraction = double > double.floor();
    Some(whole.cmp(&floor).then(if fraction { Ordering::Less } else { Ordering::Equal }))
}

/// Where the JSON number at `from` ends; `None` when there is none. What it says is looked at when somebody asks.
#[inline(always)]
pub(crate) fn json_end(text: &[u8], from: usize) -> Option<usize> {
    let first = if text.get(from) == Some(&b'-') { from + 1 } else { from };
    let mut at = digits_end(text, first);
    if at == first || (text.get(first) == Some(&b'0') && at - first > 1) {
        return None;
    }
    if text.get(at) == Some(&b'.') {
        let fraction = at + 1;
        at = digits_end(text, fraction);
        (at > fraction).then_some(())?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let power = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = digits_end(text, power);
        (at > power).then_some(())?;
    }
    Some(at)
}

#[inline(always)]
fn digits_end(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// Digits with a point among them, few enough that a division says what they say exactly rounded: both numbers are
/// doubles without error then.
#[inline]
fn short_decimal(negative: bool, unsigned: &[u8]) -> Option<Number> {
    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    if unsigned.len() < 2 || unsigned.len() > POWERS.len() {
        return None;
    }
    let (mut digits, mut point) = (0_u64, None);
    for (at, byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let fraction = unsigned.len() - 1 - point?;
    #[expect(clippy::cast_precision_loss, reason = "fifteen digits have at most 50 bits")]
    let value = digits as f64 / POWERS[fraction];
    Some(Number::Double(if negative { -value } else { value }))
}

/// The number a text says, and nothing but that: digits with an optional sign, fraction and power of ten.
///
/// Whole numbers are exact as far as 64 bits go. What is too large for a double is no number.
pub(crate) fn parse(text: &[u8]) -> Option<Number> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if unsigned.len() <= 18 && !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit) {
        let value = unsigned.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        return Some(Number::Int(if negative { -value } else { value }));
    }
    if let Some(number) = short_decimal(negative, unsigned) {
        return Some(number);
    }
    let plain = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    let first = unsigned.iter().find(|byte| **byte != b'.')?;
    if !first.is_ascii_digit() || !text.iter().all(plain) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let whole = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-'));
    if whole && let Ok(value) = text.parse() {
        return Some(Number::Int(value));
    }
    if whole && let Ok(value) = text.parse() {
        return Some(Number::Uint(value));
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Number::Double)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_are_read_as_what_they_say() {
        let cases: [(&str, Option<Number>); 22] = [
            ("0", Some(Number::Int(0))),
            ("-7", Some(Number::Int(-7))),
            ("+7", Some(Number::Int(7))),
            ("007", Some(Number::Int(7))),
            ("21.5", Some(Number::Double(21.5))),
            ("-.5", Some(Number::Double(-0.5))),
            ("5.", Some(Number::Double(5.0))),
            ("1e3", Some(Number::Double(1000.0))),
            ("9223372036854775807", Some(Number::Int(i64::MAX))),
            ("-9223372036854775808", Some(Number::Int(i64::MIN))),
            ("18446744073709551615", Some(Number::Uint(u64::MAX))),
            ("18446744073709551616", Some(Number::Double(18_446_744_073_709_551_616.0))),
            ("1e999", None),
            ("", None),
            ("-", None),
            (".", None),
            ("nan", None),
            ("inf", None),
            ("0x10", None),
            ("1 2", None),
            ("1-2", None),
            ("e5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn whole_numbers_and_doubles_are_compared_exactly() {
        let large = 1_i64 << 53;
        let cases = [
            (Number::Int(1), Number::Double(1.0), Some(Ordering::Equal)),
            (Number::Int(1), Number::Double(1.5), Some(Ordering::Less)),
            (Number::Int(-1), Number::Double(-1.5), Some(Ordering::Greater)),
            (Number::Int(large + 1), Number::Double(9_007_199_254_740_992.0), Some(Ordering::Greater)),
            (Number::Int(i64::MAX), Number::Double(9_223_372_036_854_775_808.0), Some(Ordering::Less)),
            (Number::Uint(u64::MAX), Number::Double(1e300), Some(Ordering::Less)),
            (Number::Uint(0), Number::Double(f64::NEG_INFINITY), Some(Ordering::Greater)),
            (Number::Int(-1), Number::Uint(u64::MAX), Some(Ordering::Less)),
            (Number::Int(0), Number::Double(f64::NAN), None),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.order(b), expected, "{a:?} {b:?}");
            assert_eq!(b.order(a), expected.map(Ordering::reverse), "{b:?} {a:?}");
        }
    }
}
