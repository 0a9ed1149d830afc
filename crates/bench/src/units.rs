//! Numbers as people write and read them: times, sizes, rates; and the few conversions that lose something on purpose.

use std::time::Duration;

/// Nanoseconds; the unit of all times in this crate.
pub(crate) type Nanos = u64;

/// One second.
pub(crate) const SECOND: Nanos = 1_000_000_000;
/// One millisecond.
pub(crate) const MILLI: Nanos = 1_000_000;
/// One microsecond.
pub(crate) const MICRO: Nanos = 1_000;

/// A time as nanoseconds; what does not fit (584 years) is the largest there is.
pub(crate) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The whole part of a number; 0 for what is below, and for no number.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what is meant"
)]
pub(crate) fn whole(number: f64) -> u64 {
    number as u64
}

/// A small count as `u32`; what does not fit is the largest there is.
pub(crate) fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// `a / b`, or 0 when there is nothing to divide by.
pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Reads a time such as `5`, `5s`, `250ms`, `2m`; a bare number is seconds.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write for example `5s`, `250ms` or `2m`");
    let (number, unit) = split_unit(text);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "m" => 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * factor).map_err(|_| wrong())
}

/// Reads a count such as `5000`, `5k`, `1.5M`.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let number = parse_rate(text)
        .map_err(|_| format!("`{text}` is no number; write for example `5000`, `5k` or `1M`"))?;
    Ok(whole(number))
}

/// Reads a rate per second such as `20000`, `20k`, `0.5`.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no rate; write for example `2000`, `20k` or `0.5`");
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        _ => return Err(wrong()),
    };
    match number.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number * factor),
        _ => Err(wrong()),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len()))
}

/// A number with as many digits as say something: `1.95 M`, `20.4 k`, `0.046`.
pub(crate) fn show(number: f64) -> String {
    let size = number.abs();
    if size >= 1e6 {
        format!("{} M", digits(number / 1e6))
    } else if size >= 1e4 {
        format!("{} k", digits(number / 1e3))
    } else {
        digits(number)
    }
}

fn digits(number: f64) -> String {
    match number.abs() {
        0.0 => "0".into(),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 0.1 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_counts() {
        assert_eq!(parse_time("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_time("-1s").is_err() && parse_time("soon").is_err() && parse_time("3h").is_err());
        assert_eq!((parse_count("1.5k"), parse_count("2M")), (Ok(1500), Ok(2_000_000)));
        assert!(parse_count("many").unwrap_err().contains("`many` is no number"));
        assert!(parse_rate("-3").is_err() && parse_rate("inf").is_err());
    }

    #[test]
    fn numbers_to_read() {
        assert_eq!(
            [0.0, 0.046_12, 0.5, 14.23, 9_876.0, 20_400.0, 1_950_000.0].map(show),
            ["0", "0.0461", "0.50", "14.2", "9876", "20.4 k", "1.95 M"]
        );
    }
}
