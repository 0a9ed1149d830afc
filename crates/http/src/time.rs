//! Times in answers: RFC 3339, UTC, milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use cork_store::WallTime;

/// Now.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// `2026-11-21T20:15:00.123Z`.
pub(crate) fn text(at: WallTime) -> String {
    let mut text = at.to_rfc3339();
    text.truncate(text.len() - "456Z".len());
    text.push('Z');
    text
}

/// Writes many times, of which most are in the same second.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    second: Option<u64>,
    text: [u8; 24],
}

impl Writer {
    /// What [`text`] says.
    pub(crate) fn write(&mut self, at: WallTime) -> &[u8] {
        let second = at.0 / 1_000_000;
        if self.second != Some(second) {
            let text = text(at);
            // Until the year 9999 it is as long as that.
            let front = text.as_bytes().first_chunk().copied();
            (self.second, self.text) = (Some(second), front.unwrap_or([b'?'; 24]));
        }
        for (place, unit) in [(20, 100_000), (21, 10_000), (22, 1000)] {
            self.text[place] = b'0' + u8::try_from(at.0 / unit % 10).unwrap_or(0);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_date_does() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000_000, "2024-03-01T00:00:00.000Z"),
            (1_795_291_200_123_456, "2026-11-21T20:00:00.123Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(WallTime(micros)), expected);
        }
    }

    #[test]
    fn many_times_are_written_as_each_of_them() {
        let mut writer = Writer::default();
        for micros in
            [0, 999, 1000, 999_999, 1_000_000, 1_000_000, 951_782_400_123_456, 951_782_400_999_999, 5]
        {
            assert_eq!(writer.write(WallTime(micros)), text(WallTime(micros)).as_bytes());
        }
    }
}
