//! Sizes and times as people write them: `16MiB`, `30d`.

use std::time::Duration;

/// Bytes per unit: powers of 1000 without, of 1024 with `i`.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Milliseconds per unit.
const TIME_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Reads a size in bytes: digits, then a unit in any case, or no unit for bytes. `None` for anything else, and for
/// more than a `u64` holds.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, bytes) = SIZE_UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(bytes)
}

/// Reads a time: digits, then one of `ms`, `s`, `m`, `h`, `d`, `w`. Only 0 needs no unit. `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    if unit.is_empty() && number == 0 {
        return Some(Duration::ZERO);
    }
    let (_, millis) = TIME_UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Writes a time with the largest unit up to days that makes it a whole number.
pub fn show_duration(time: Duration) -> String {
    let millis = time.as_millis();
    let mut upto_days = TIME_UNITS.into_iter().rev().filter(|(name, _)| *name != "w");
    let fitting = upto_days.find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)));
    match fitting {
        Some((name, unit)) if millis > 0 => format!("{}{name}", millis / u128::from(unit)),
        _ => "0s".to_owned(),
    }
}

/// Writes a size with the largest binary, else decimal, unit that makes it a whole number.
pub fn show_size(bytes: u64) -> String {
    let fitting = SIZE_UNITS.into_iter().rev().find(|(_, unit)| bytes.is_multiple_of(*unit));
    match fitting {
        Some((name, unit)) if bytes > 0 => format!("{}{name}", bytes / unit),
        _ => "0".to_owned(),
    }
}

/// The leading digits, and what follows them after at most one space.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit.strip_prefix(' ').unwrap_or(unit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("16MiB", Some(16 << 20)),
            ("256MB", Some(256_000_000)),
            ("1 GiB", Some(1 << 30)),
            ("10kb", Some(10_000)),
            ("3B", Some(3)),
            ("", None),
            ("MiB", None),
            ("-1MB", None),
            ("1.5GB", None),
            ("16M", None),
            ("16  MB", None),
            ("16MBs", None),
            ("99999999TiB", None),
            ("99999999999999999999", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn times() {
        let cases = [
            ("100ms", Some(100)),
            ("10s", Some(10_000)),
            ("5 m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("30d", Some(2_592_000_000)),
            ("2w", Some(1_209_600_000)),
            ("0", Some(0)),
            ("10", None),
            ("10S", None),
            ("10M", None),
            ("1h30m", None),
            ("s", None),
            ("", None),
            ("999999999999999999d", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(number in any::<u64>()) {
            prop_assert_eq!(parse_size(&show_size(number)), Some(number));
            let time = Duration::from_millis(number);
            prop_assert_eq!(parse_duration(&show_duration(time)), Some(time));
            prop_assert!(!show_duration(time).contains('w'), "a week is shown as seven days");
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
