//! Wall clock time, as the tools print it.

use jiff::{Zoned, fmt::strtime, tz::TimeZone};

/// A point in time, in the time zone of the system (or of `TZ`).
#[derive(Clone, Debug)]
pub struct Moment(Zoned);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().to_zoned(TimeZone::try_system().unwrap_or(TimeZone::UTC)))
    }

    /// One conversion of strftime(3) in the C locale: `%` and this character. One that strftime does not know stays
    /// as it is.
    #[must_use]
    pub fn conversion(&self, conversion: char) -> String {
        let plain = match conversion {
            // jiff has ideas of its own of these, or none.
            'c' => "%a %b %e %H:%M:%S %Y",
            'x' | 'D' => "%m/%d/%y",
            'X' | 'T' => "%H:%M:%S",
            'r' => "%I:%M:%S %p",
            'R' => "%H:%M",
            'F' => "%Y-%m-%d",
            'h' => "%b",
            'n' => "\n",
            't' => "\t",
            's' => return self.0.timestamp().as_second().to_string(),
            'A' | 'a' | 'B' | 'b' | 'C' | 'd' | 'e' | 'G' | 'g' | 'H' | 'I' | 'j' | 'k' | 'l' | 'M' | 'm'
            | 'P' | 'p' | 'S' | 'U' | 'u' | 'V' | 'W' | 'w' | 'Y' | 'y' | 'Z' | 'z' | '%' => {
                return self.format(&format!("%{conversion}"));
            }
            other => return format!("%{other}"),
        };
        self.format(plain)
    }

    /// Nanoseconds of the present second, nine digits.
    #[must_use]
    pub fn nanoseconds(&self) -> String {
        format!("{:09}", self.0.subsec_nanosecond())
    }

    /// Seconds since 1970 and nanoseconds: `1470818943.786368637`.
    #[must_use]
    pub fn unix(&self) -> String {
        format!("{}.{}", self.0.timestamp().as_second(), self.nanoseconds())
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_milliseconds(&self) -> i64 {
        self.0.timestamp().as_millisecond()
    }

    /// ISO 8601 with the offset of the time zone: `2016-08-10T09:47:38+0100`.
    #[must_use]
    pub fn iso(&self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%z")
    }

    /// As mosquitto_sub 2.0 writes it in JSON, microseconds, `Z` and offset: `2016-08-10T09:47:38.786368Z+0100`.
    #[must_use]
    pub fn mosquitto(&self) -> String {
        let micros = self.0.subsec_nanosecond() / 1000;
        format!("{}.{micros:06}Z{}", self.format("%Y-%m-%dT%H:%M:%S"), self.format("%z"))
    }

    /// RFC 3339 in UTC, microseconds: `2016-08-10T08:47:38.786368Z`.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        let utc = self.0.with_time_zone(TimeZone::UTC);
        let micros = utc.subsec_nanosecond() / 1000;
        format!("{}.{micros:06}Z", strtime::format("%Y-%m-%dT%H:%M:%S", &utc).unwrap_or_default())
    }

    /// The time of day with milliseconds: `09:47:38.786`.
    #[must_use]
    pub fn time_of_day(&self) -> String {
        format!("{}.{:03}", self.format("%H:%M:%S"), self.0.subsec_nanosecond() / 1_000_000)
    }

    /// The formats are this file's own and all of them are known.
    fn format(&self, format: &str) -> String {
        strtime::format(format, &self.0).unwrap_or_default()
    }

    /// For tests: this second of this time zone.
    #[cfg(test)]
    pub(crate) fn at(second: i64, nanosecond: i32, offset_hours: i8) -> Self {
        let zone = TimeZone::fixed(jiff::tz::offset(offset_hours));
        Self(jiff::Timestamp::new(second, nanosecond).unwrap().to_zoned(zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_conversion_of_the_c_locale() {
        let moment = Moment::at(1_770_000_000, 5_006_007, 1);
        for (conversion, wanted) in [
            ('c', "Mon Feb  2 03:40:00 2026"),
            ('x', "02/02/26"),
            ('X', "03:40:00"),
            ('D', "02/02/26"),
            ('F', "2026-02-02"),
            ('r', "03:40:00 AM"),
            ('R', "03:40"),
            ('T', "03:40:00"),
            ('e', " 2"),
            ('k', " 3"),
            ('l', " 3"),
            ('I', "03"),
            ('j', "033"),
            ('p', "AM"),
            ('P', "am"),
            ('C', "20"),
            ('g', "26"),
            ('G', "2026"),
            ('V', "06"),
            ('U', "05"),
            ('W', "05"),
            ('u', "1"),
            ('w', "1"),
            ('z', "+0100"),
            ('s', "1770000000"),
            ('h', "Feb"),
            ('A', "Monday"),
            ('n', "\n"),
            ('%', "%"),
            ('q', "%q"),
            ('+', "%+"),
        ] {
            assert_eq!(moment.conversion(conversion), wanted, "%{conversion}");
        }
    }

    #[test]
    fn whole_times() {
        let moment = Moment::at(1_770_000_000, 5_006_007, 1);
        assert_eq!(moment.unix(), "1770000000.005006007");
        assert_eq!(moment.iso(), "2026-02-02T03:40:00+0100");
        assert_eq!(moment.mosquitto(), "2026-02-02T03:40:00.005006Z+0100");
        assert_eq!(moment.rfc3339(), "2026-02-02T02:40:00.005006Z");
        assert_eq!(moment.time_of_day(), "03:40:00.005");
        assert_eq!(moment.unix_milliseconds(), 1_770_000_000_005);
    }
}
