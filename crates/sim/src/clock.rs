//! Simulated time: what a device's clock shows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// Where a simulation with a seed begins unless it is told: eight in the morning, UTC. Now would not be reproducible.
pub(crate) const SEEDED_START: &str = "2026-01-01T08:00:00Z";

/// The clock of all devices: begins at some time, and goes on with the schedule.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    start: Timestamp,
    /// From midnight to the start, where the simulation believes to be.
    of_day: Duration,
}

/// One moment of the simulation.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Moment {
    /// The date.
    pub(crate) time: Timestamp,
    /// Time since the first midnight.
    pub(crate) of_day: Duration,
}

impl Clock {
    /// Begins now, in the time zone of this machine.
    pub(crate) fn now() -> Self {
        Self::local(Timestamp::now(), TimeZone::system())
    }

    /// Begins at `start`, in UTC.
    pub(crate) fn at(start: Timestamp) -> Self {
        Self::local(start, TimeZone::UTC)
    }

    fn local(start: Timestamp, zone: TimeZone) -> Self {
        let time = start.to_zoned(zone).time();
        let since_midnight = time.duration_since(jiff::civil::Time::midnight());
        Self { start, of_day: Duration::try_from(since_midnight).unwrap_or_default() }
    }

    pub(crate) fn moment(&self, elapsed: Duration) -> Moment {
        let signed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        let time = self.start.checked_add(signed).unwrap_or(Timestamp::MAX);
        Moment { time, of_day: self.of_day.saturating_add(elapsed) }
    }
}

/// Reads a date and time: RFC 3339, or without a zone, which then is UTC.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_goes_on() {
        let clock = Clock::at(SEEDED_START.parse().unwrap());
        let moment = clock.moment(Duration::from_secs(3661));
        assert_eq!(moment.time.to_string(), "2026-01-01T09:01:01Z");
        assert_eq!(moment.of_day, Duration::from_secs(9 * 3600 + 61));
        assert_eq!(clock.moment(Duration::MAX).time, Timestamp::MAX);
    }

    #[test]
    fn times() {
        let cases = [
            ("2026-01-01T08:00:00Z", Some("2026-01-01T08:00:00Z")),
            (" 2026-01-01 08:00:00 ", Some("2026-01-01T08:00:00Z")),
            ("2026-01-01T08:00:00.250+02:00", Some("2026-01-01T06:00:00.25Z")),
            ("2026-01-01", Some("2026-01-01T00:00:00Z")),
            ("8 o'clock", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
    }
}
