//! Circles that no mark shows: through a broker of 3.1.1, which takes no properties off a message but all of them.
//!
//! The same topic and payload a hundred times within a second is a suspicion, not more: some sensors do that. So a probe
//! is sent, a message of its own that nobody else could send. If it comes back, messages do go round, and from then on
//! none passes that passed in the ten seconds before.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use cork_proto::Time;

use crate::{hops, map::Rule};

/// Recent messages that are remembered; two that share a place push each other out.
const SLOTS: usize = 4096;

/// What is looked at of a payload.
const HASHED_BYTES_MAX: usize = 1024;

/// So many alike within [`WINDOW`] are suspicious.
const ALIKE_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);

/// Between two probes.
const PROBE_PAUSE: Duration = Duration::from_secs(10);

/// In a circle, how long a message that passed keeps others like it from passing.
const CIRCLE_WINDOW: Duration = Duration::from_secs(10);

#[derive(Copy, Clone, Debug, Default)]
struct Slot {
    hash: u64,
    since: Time,
    count: u32,
}

/// What becomes of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// It passes, and a probe is to be sent behind it.
    Probe,
    /// It has been round.
    Drop,
}

/// Watches what goes out.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    slots: Vec<Slot>,
    /// The topic here of the probe that is under way, and when it was sent.
    probe: Option<(String, Time)>,
    proven: bool,
}

impl Breaker {
    pub(super) fn judge(&mut self, now: Time, topic: &str, payload: &[u8]) -> Verdict {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let mut hasher = DefaultHasher::new();
        (topic, payload.len(), &payload[..payload.len().min(HASHED_BYTES_MAX)]).hash(&mut hasher);
        let hash = hasher.finish();
        let place = usize::try_from(hash % SLOTS as u64).unwrap_or_default();
        let slot = &mut self.slots[place];
        let window = if self.proven { CIRCLE_WINDOW } else { WINDOW };
        if slot.hash != hash || slot.count == 0 || now.since(slot.since) >= window {
            *slot = Slot { hash, since: now, count: 1 };
            return Verdict::Pass;
        }
        slot.count += 1;
        if self.proven {
            return Verdict::Drop;
        }
        let may_probe = self.probe.as_ref().is_none_or(|(_, sent)| now.since(*sent) >= PROBE_PAUSE);
        if slot.count > ALIKE_MAX && may_probe { Verdict::Probe } else { Verdict::Pass }
    }

    /// The topic of a new probe, here. Nothing for a rule whose filter leaves no room for one.
    pub(super) fn begin(&mut self, now: Time, rule: &Rule) -> Option<&str> {
        let level = rule.filter.strip_suffix('#').filter(|level| !level.contains('+'))?;
        let topic = format!("{level}cork-probe/{}", hops::new_mark());
        Some(&self.probe.insert((topic, now)).0)
    }

    /// Whether this is a probe; if so, messages go round.
    pub(super) fn is_probe(&mut self, topic: &str) -> bool {
        let probe = self.probe.as_ref().is_some_and(|(probe, _)| probe == topic);
        self.proven |= probe;
        probe
    }
}

#[cfg(test)]
mod tests {
    use cork_packet::QoS;

    use super::*;

    fn rule(filter: &str) -> Rule {
        Rule { filter: filter.into(), strip: String::new(), add: String::new(), qos: QoS::AtMostOnce }
    }

    fn at(millis: u64) -> Time {
        Time::from_micros(1_000_000 + millis * 1000)
    }

    #[test]
    fn alike_messages_pass_unless_a_probe_came_back() {
        let mut breaker = Breaker::default();
        let mut probes = 0;
        for n in 0..1000 {
            match breaker.judge(at(n), "a", b"on") {
                Verdict::Pass => {}
                Verdict::Probe => {
                    probes += 1;
                    breaker.begin(at(n), &rule("#")).unwrap();
                }
                Verdict::Drop => panic!("a fast sensor is no circle"),
            }
        }
        assert_eq!(probes, 1);
        let topic = breaker.begin(at(1000), &rule("x/#")).unwrap().to_owned();
        assert!(topic.starts_with("x/cork-probe/"));
        assert!(!breaker.is_probe("x/other") && breaker.is_probe(&topic));
        assert_eq!(breaker.judge(at(2000), "b", b"on"), Verdict::Pass);
        assert_eq!(breaker.judge(at(2001), "b", b"on"), Verdict::Drop);
        assert_eq!(breaker.judge(at(2002), "b", b"off"), Verdict::Pass);
        assert_eq!(breaker.judge(at(12_000), "b", b"on"), Verdict::Pass, "it may happen again");
    }

    #[test]
    fn slow_or_different_messages_are_no_suspicion() {
        let mut breaker = Breaker::default();
        for n in 0..1000_u64 {
            assert_eq!(breaker.judge(at(n * 11), "a", b"on"), Verdict::Pass);
            assert_eq!(breaker.judge(at(n), "b", &n.to_le_bytes()), Verdict::Pass);
        }
        assert_eq!(breaker.begin(at(0), &rule("a/+/#")), None);
        assert_eq!(breaker.begin(at(0), &rule("a")), None);
    }
}
