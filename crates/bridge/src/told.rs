//! What the log is told of a link that is down: each reason once.

use std::time::Duration;

/// A connection that lasted so long counts as one: the next wait is short again.
pub(crate) const STEADY: Duration = Duration::from_secs(10);

/// What the log has been told since the link was last up for good.
#[derive(Debug, Default)]
pub(crate) struct Told {
    reasons: Vec<String>,
    /// It comes up for moments, which is said.
    pub(crate) flaps: bool,
    /// The last end was provoked: neither that nor the next beginning is worth a line.
    pub(crate) hushed: bool,
}

/// What there is to say of a link that is down.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Down {
    /// For a reason that was not said yet, or after a time that counts.
    New,
    /// For one that was said, after a moment: from now on nothing is said of that.
    Flaps,
    Known,
}

/// Reasons that are remembered; more are said again.
const REASONS_MAX: usize = 16;

impl Told {
    pub(crate) fn down(&mut self, reason: &str, online: Duration) -> Down {
        let known = self.reasons.iter().any(|said| said == reason);
        if online >= STEADY || !known {
            if online >= STEADY || self.reasons.len() >= REASONS_MAX {
                self.reasons.clear();
            }
            self.flaps &= online < STEADY;
            self.reasons.push(reason.to_owned());
            return Down::New;
        }
        if online.is_zero() || self.flaps {
            return Down::Known;
        }
        self.flaps = true;
        Down::Flaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_and_flapping_once() {
        let (mut told, moment) = (Told::default(), Duration::from_millis(300));
        for (reason, online, said) in [
            ("a: refused", Duration::ZERO, Down::New),
            ("b: refused", Duration::ZERO, Down::New),
            ("a: refused", Duration::ZERO, Down::Known),
            ("b: refused", Duration::ZERO, Down::Known),
            ("a: closed", moment, Down::New),
            ("a: closed", moment, Down::Flaps),
            ("a: closed", moment, Down::Known),
            ("a: silent", moment, Down::New),
            ("a: closed", moment, Down::Known),
            ("a: closed", STEADY, Down::New),
            ("a: refused", Duration::ZERO, Down::New),
        ] {
            assert_eq!(told.down(reason, online), said, "{reason} {online:?}");
        }
    }
}
