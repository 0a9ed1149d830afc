//! Times as text and as numbers.

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Microseconds since 1970-01-01 UTC as RFC 3339 with six decimals, as `2026-11-21T20:07:43.000001Z`. Years before 0 or
/// after 9999 have more digits or a sign.
#[must_use]
pub fn rfc3339(micros: i64) -> String {
    let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let (seconds, fraction) = (rest / SECOND, rest % SECOND);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

/// Reads RFC 3339, as microseconds since 1970-01-01 UTC; the offset may be missing (then it is UTC), and so may the
/// seconds. Decimals beyond the sixth are cut. `None` for anything else.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at(at);
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, decimals) = seconds.split_once('.').unwrap_or((seconds, "0"));
            let six: String = decimals.chars().chain("000000".chars()).take(6).collect();
            digits(decimals)?;
            (digits(whole)?, digits(&six)?)
        }
    };
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && self::date(days(year, month, day)) == (year, month, day)
        && hour < 24
        && minute < 60
        && second <= 60
        && date.len() == 10;
    if !in_range {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second - offset(zone)?;
    Some(days(year, month, day) * DAY + seconds * SECOND + fraction)
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next() {
        None | Some('Z' | 'z') => return (zone.len() <= 1).then_some(0),
        Some('-') => -1,
        Some(_) => 1,
    };
    let (hours, minutes) = zone[1..].split_once(':').or_else(|| zone[1..].split_at_checked(2))?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// A time as devices send it in a number: seconds since 1970, or thousandths, millionths, billionths of them. Which is
/// told by its size: seconds until the year 5138, milliseconds from 1973 on, and so forth.
#[allow(clippy::cast_possible_truncation, reason = "out of range is checked first")]
pub(crate) fn from_number(number: f64) -> Option<i64> {
    let factor = match number.abs() {
        below if below < 1e11 => 1e6,
        below if below < 1e14 => 1e3,
        below if below < 1e17 => 1.0,
        _ => 1e-3,
    };
    let micros = number * factor;
    (micros.abs() < 9.2e18).then_some(micros.round() as i64)
}

fn digits(text: &str) -> Option<i64> {
    let all = !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

/// Year, month and day of a day counted from 1970-01-01, in the calendar used today. Years begin in March here, so that
/// the day that leap years add is their last.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let days = days + 719_468; // from 0000-03-01
    let (era, day) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// The day of a date, counted from 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_795_291_663_000_001, "2026-11-21T20:07:43.000001Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (32_503_680_000_000_000, "3000-01-01T00:00:00.000000Z"),
        ];
        for (micros, text) in cases {
            assert_eq!(rfc3339(micros), text);
            assert_eq!(parse_rfc3339(text), Some(micros));
        }
    }

    #[test]
    fn other_ways_to_write_a_time() {
        let cases = [
            ("2000-02-29T00:00:00Z", Some(951_782_400_000_000)),
            ("2000-02-29 01:00+01:00", Some(951_782_400_000_000)),
            ("2000-02-28T19:30:00.5-0430", Some(951_782_400_500_000)),
            ("2000-02-29t00:00:00.1234567890z", Some(951_782_400_123_456)),
            ("2000-02-29", None),
            ("2000-13-01T00:00:00Z", None),
            ("2000-02-30T00:00:00Z", None),
            ("2023-02-29T12:00:00Z", None),
            ("2023-04-31T12:00:00Z", None),
            ("2100-02-29T12:00:00Z", None),
            ("2000-01-01T00:00:00+24:00", None),
            ("2000-01-01T00:00:00+01:60", None),
            ("2000-01-01T25:00:00Z", None),
            ("2000-01-01T00:00:00.Z", None),
            ("2000-01-01T00:00:00Zx", None),
            ("now", None),
            ("", None),
        ];
        for (text, micros) in cases {
            assert_eq!(parse_rfc3339(text), micros, "{text}");
        }
    }

    #[test]
    fn numbers_say_their_unit_by_their_size() {
        for number in [1_700_000_000.0, 1_700_000_000_000.0, 1.7e15, 1.7e18] {
            assert_eq!(from_number(number), Some(1_700_000_000_000_000), "{number}");
        }
        assert_eq!(from_number(1e300), None);
        assert_eq!(from_number(f64::NAN), None);
    }

    proptest! {
        #[test]
        fn times_come_back(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(micros)), Some(micros));
        }

        #[test]
        fn any_text_is_a_time_or_not(text in ".*") {
            let _ = parse_rfc3339(&text);
        }

        #[test]
        fn any_number_is_a_time_or_not(number in any::<f64>()) {
            let _ = from_number(number);
        }
    }
}
