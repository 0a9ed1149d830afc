//! The kinds of values: each takes a TOML value or says what it would take.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use crate::units::{parse_duration, parse_size, show_duration, show_size};

/// `true` or `false`.
///
/// # Errors
/// What would be accepted.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "accepted are `true` and `false`".to_owned())
}

/// Text that is not empty.
///
/// # Errors
/// What would be accepted.
pub fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("accepted is text in quotes".to_owned()),
    }
}

/// A whole number; `N` is wide enough for the range.
pub fn number<N: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<N, String> {
    move |value| {
        let number = integer(value).filter(|number| range.contains(number));
        number
            .and_then(|number| N::try_from(number).ok())
            .ok_or_else(|| format!("accepted is a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A number of bytes, plain or with a unit.
pub fn size<N: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<N, String> {
    move |value| {
        let bytes = match value {
            DeValue::String(text) => parse_size(text),
            other => integer(other),
        };
        let bytes = bytes.filter(|bytes| range.contains(bytes)).and_then(|bytes| N::try_from(bytes).ok());
        bytes.ok_or_else(|| {
            let bounds = match (*range.start(), *range.end()) {
                (0, u64::MAX) => String::new(),
                (least, u64::MAX) => format!(", at least {}", show_size(least)),
                (least, most) => format!(", from {} to {}", show_size(least), show_size(most)),
            };
            format!("accepted is a size such as \"256MB\" or \"16MiB\", or a number of bytes{bounds}")
        })
    }
}

/// A time with a unit; only 0 may stand without.
pub fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| {
        read_duration(value).filter(|time| range.contains(time)).ok_or_else(|| {
            let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
            format!("accepted is a time such as \"100ms\", \"10s\" or \"30d\", from {least} to {most}")
        })
    }
}

/// A time that MQTT carries in seconds.
pub fn whole_seconds(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| match duration(range.clone())(value) {
        Ok(time) if time.subsec_nanos() > 0 => Err("accepted are whole seconds, as \"90s\"".to_owned()),
        other => other,
    }
}

/// A time that may also be 0, for "never".
pub fn zero_or(
    read: impl Fn(&DeValue<'_>) -> Result<Duration, String>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| match read_duration(value) {
        Some(Duration::ZERO) => Ok(Duration::ZERO),
        _ => read(value).map_err(|accepted| format!("{accepted}, or 0")),
    }
}

fn read_duration(value: &DeValue<'_>) -> Option<Duration> {
    match value {
        DeValue::String(text) => parse_duration(text),
        other => integer(other).filter(|number| *number == 0).map(|_| Duration::ZERO),
    }
}

/// One of a few words.
pub fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("accepted are {}", list.join(", "))
        })
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}
