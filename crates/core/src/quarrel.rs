//! Clients that take one Client Identifier from each other again and again: nearly always two devices that were given
//! the same one, each throwing the other out whenever it comes back.

use std::{collections::BTreeMap, time::Duration};

use cork_proto::Time;

/// As many takeovers within this time are a quarrel.
const TAKEOVERS: u32 = 3;
const WITHIN: Duration = Duration::from_secs(10);
/// One Client Identifier's quarrel is reported once in this time.
const SILENCE: Duration = Duration::from_secs(60);
/// Client Identifiers watched at once. With more, new ones are not watched until old ones are quiet.
const WATCHED_MAX: usize = 4096;

#[derive(Debug)]
struct Recent {
    since: Time,
    takeovers: u32,
    reported: Option<Time>,
}

/// Takeovers of late, by the hash of the Client Identifier: names may be long.
#[derive(Debug, Default)]
pub(crate) struct Quarrels(BTreeMap<u64, Recent>);

impl Quarrels {
    /// A connection was taken over. Returns whether that is worth telling.
    pub(crate) fn took_over(&mut self, client: u64, now: Time) -> bool {
        if self.0.len() >= WATCHED_MAX && !self.0.contains_key(&client) {
            self.0.retain(|_, recent| now.since(recent.since) <= SILENCE);
            if self.0.len() >= WATCHED_MAX {
                return false;
            }
        }
        let recent =
            self.0.entry(client).or_insert_with(|| Recent { since: now, takeovers: 0, reported: None });
        if now.since(recent.since) > WITHIN {
            (recent.since, recent.takeovers) = (now, 0);
        }
        recent.takeovers += 1;
        let silent = recent.reported.is_some_and(|at| now.since(at) < SILENCE);
        let report = recent.takeovers >= TAKEOVERS && !silent;
        if report {
            recent.reported = Some(now);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn three_within_ten_seconds_are_reported_once_a_minute() {
        let mut quarrels = Quarrels::default();
        let told: Vec<u64> = (0..130).filter(|second| quarrels.took_over(7, at(*second))).collect();
        assert_eq!(told, [2, 62, 123]);
    }

    #[test]
    fn somebody_who_comes_back_now_and_then_quarrels_with_nobody() {
        let mut quarrels = Quarrels::default();
        assert!((0..100).all(|n| !quarrels.took_over(7, at(n * 6))));
    }

    #[test]
    fn those_who_are_quiet_make_room() {
        let mut quarrels = Quarrels::default();
        for client in 0..10_000 {
            quarrels.took_over(client, at(0));
        }
        assert_eq!(quarrels.0.len(), WATCHED_MAX);
        assert!(!quarrels.took_over(20_000, at(61)) && quarrels.0.contains_key(&20_000));
        assert_eq!(quarrels.0.len(), 1);
    }
}
