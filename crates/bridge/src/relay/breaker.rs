//! Circles that no mark shows: through a broker of 3.1.1, which takes no properties off a message but all of them.
//!
//! The same topic and payload again and again, faster than sensors repeat themselves, is a suspicion, not more. So a probe
//! is sent, a message of its own that nobody else could send. If it comes back, messages of that level do go round, and from
//! then on each that passes is expected back: the next one like it is taken for its echo and does not pass. Each echo is
//! dropped once, so a value that is published again passes again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use cork_packet::matches;
use cork_proto::Time;

use super::echo::{Expected, Suspicion, Watched};
use crate::{hops, map::Rule};

/// What is looked at of a payload as long as nothing is proven.
const HASHED_BYTES_MAX: usize = 1024;

/// Between two probes without an answer: it doubles, for they are seen by who subscribes to everything.
const PROBE_PAUSE: Duration = Duration::from_secs(2);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(600);

/// The same for a message that comes very often.
const STRONG_PAUSE: Duration = Duration::from_secs(10);

/// Between two probes of a circle that is known.
const AGAIN: Duration = Duration::from_secs(60);

/// After so many probes without an answer a circle is no more.
const UNANSWERED_MAX: u32 = 5;

/// Circles that are known at once; another one takes the place of the oldest.
const CIRCLES_MAX: usize = 64;

/// What becomes of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// It passes, and a probe is to be sent behind it.
    Probe,
    /// It has been round.
    Drop,
}

/// Topics that go round: all that begin so.
#[derive(Clone, Debug)]
struct Circle {
    prefix: String,
    next_probe: Time,
    unanswered: u32,
}

/// Watches what goes one way.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    watched: Watched,
    expected: Expected,
    circles: Vec<Circle>,
    /// The last level of all probes; none was sent yet: empty.
    name: String,
    probed: Option<Time>,
    /// Before the next one.
    pause: Duration,
    /// Every other probe stands beside the message that is suspicious.
    beside: bool,
}

impl Breaker {
    /// One that sends no probe for so long.
    pub(super) fn new(now: Time, pause: Duration) -> Self {
        Self { probed: (!pause.is_zero()).then_some(now), pause, ..Self::default() }
    }

    /// Between its last probe and the next one.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// What becomes of a message, which may be a probe that comes back.
    pub(super) fn look(&mut self, now: Time, topic: &str, payload: &[u8]) -> Verdict {
        if self.is_probe(now, topic) { Verdict::Drop } else { self.judge(now, topic, payload) }
    }

    fn judge(&mut self, now: Time, topic: &str, payload: &[u8]) -> Verdict {
        if let Some(at) = self.circle(topic) {
            if self.expected.is_echo(now, hash(topic, payload)) {
                return Verdict::Drop;
            }
            let due = now >= self.circles[at].next_probe;
            return if due { Verdict::Probe } else { Verdict::Pass };
        }
        let looked_at = &payload[..payload.len().min(HASHED_BYTES_MAX)];
        let pause = match self.watched.again(now, hash((topic, payload.len()), looked_at)) {
            Suspicion::None => return Verdict::Pass,
            Suspicion::Some => self.pause,
            Suspicion::Strong => self.pause.min(STRONG_PAUSE),
        };
        let due = self.probed.is_none_or(|probed| now.since(probed) >= pause);
        if due { Verdict::Probe } else { Verdict::Pass }
    }

    fn circle(&self, topic: &str) -> Option<usize> {
        self.circles.iter().position(|circle| topic.starts_with(&circle.prefix))
    }

    /// The topic of a new probe, where the message `like` came from. Nothing for a rule whose filter leaves no room for one.
    pub(super) fn begin(&mut self, now: Time, rule: &Rule, like: &str) -> Option<String> {
        self.take_name();
        if let Some(at) = self.circle(like) {
            return self.ask_again(now, at);
        }
        self.pause = (self.pause * 2).clamp(PROBE_PAUSE, PROBE_PAUSE_MAX);
        self.probed = Some(now);
        let level = rule.filter.strip_suffix('#').filter(|level| !level.contains('+'));
        let parent = like.rfind('/').map_or("", |slash| &like[..=slash]);
        let places = if self.beside { [Some(parent), level] } else { [level, Some(parent)] };
        self.beside = !self.beside;
        let probes = places.into_iter().flatten().map(|place| format!("{place}{}", self.name));
        probes.into_iter().find(|probe| matches(&rule.filter, probe))
    }

    fn take_name(&mut self) {
        if self.name.is_empty() {
            self.name = format!("cork-probe-{}", hops::new_mark());
        }
    }

    /// The topic of a probe at the level of another topic. Whoever sends it finds out as well whether it comes back.
    pub(super) fn beside(&mut self, topic: &str) -> String {
        self.take_name();
        let parent = topic.rfind('/').map_or("", |slash| &topic[..=slash]);
        format!("{parent}{}", self.name)
    }

    /// A circle that is known is looked at from time to time: it may be gone.
    fn ask_again(&mut self, now: Time, at: usize) -> Option<String> {
        let circle = &mut self.circles[at];
        if circle.unanswered >= UNANSWERED_MAX {
            self.circles.remove(at);
            if self.circles.is_empty() {
                self.expected = Expected::default();
            }
            return None;
        }
        circle.unanswered += 1;
        circle.next_probe = now + AGAIN;
        Some(format!("{}{}", circle.prefix, self.name))
    }

    /// Whether this is a probe; if so, messages of its level go round.
    fn is_probe(&mut self, now: Time, topic: &str) -> bool {
        if self.name.is_empty() {
            return false;
        }
        let Some(prefix) = topic.strip_suffix(self.name.as_str()) else { return false };
        if let Some(known) = self.circles.iter_mut().find(|circle| circle.prefix == prefix) {
            known.unanswered = 0;
            return true;
        }
        if self.circles.len() >= CIRCLES_MAX {
            self.circles.remove(0);
        }
        let next_probe = now + AGAIN;
        self.circles.push(Circle { prefix: prefix.to_owned(), next_probe, unanswered: 0 });
        self.pause = Duration::ZERO;
        true
    }
}

fn hash(what: impl std::hash::Hash, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (what, payload).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rule(filter: &str) -> Rule {
        Rule { filter: filter.into(), ..Rule::default() }
    }

    fn at(micros: u64) -> Time {
        Time::from_micros(1_000_000 + micros)
    }

    /// What passes comes back after so many microseconds, until nothing goes round or a minute is over: how many messages
    /// passed, by topic, without the probes.
    fn round(lap: u64, filter: &str, returns: &str, published: &[(u64, String)]) -> BTreeMap<String, usize> {
        let mut breaker = Breaker::default();
        let mut events: BTreeMap<(u64, usize), String> = BTreeMap::new();
        for (number, (when, topic)) in published.iter().enumerate() {
            events.insert((*when, number), topic.clone());
        }
        let (mut passed, mut number) = (BTreeMap::new(), published.len());
        while let Some(((now, _), topic)) = events.pop_first() {
            assert!(now < 60_000_000, "it goes round for ever");
            let verdict = breaker.look(at(now), &topic, b"on");
            let probe = match verdict {
                Verdict::Drop => continue,
                Verdict::Pass => None,
                Verdict::Probe => breaker.begin(at(now), &rule(filter), &topic),
            };
            *passed.entry(topic.clone()).or_default() += 1;
            for back in [Some(topic), probe].into_iter().flatten().filter(|topic| matches(returns, topic)) {
                number += 1;
                events.insert((now + lap, number), back);
            }
        }
        passed
    }

    #[test]
    fn what_goes_round_stops_at_any_speed_and_in_any_number() {
        for (lap, count) in [(300, 1), (50_000, 1), (700_000, 1), (50_000, 200), (1_300_000, 5000)] {
            let published: Vec<_> = (0..count).map(|n| (n, format!("a/{n}"))).collect();
            let passed = round(lap, "#", "#", &published);
            assert_eq!(passed.len() as u64, count);
            assert!(passed.values().all(|times| *times <= 8), "{lap} {count}: {:?}", passed.values().max());
        }
    }

    #[test]
    fn a_circle_is_found_where_only_some_topics_go_round() {
        for (filter, returns) in [("#", "a/#"), ("#", "a/+"), ("a/+", "#"), ("a/#", "+/+"), ("+/#", "a/#")] {
            let passed = round(50_000, filter, returns, &[(0, "a/1".to_owned())]);
            // The second probe is two seconds after the first.
            assert!(passed["a/1"] <= 50, "{filter} {returns}: {passed:?}");
        }
    }

    #[test]
    fn in_a_circle_each_publication_passes_once() {
        let first = (0, "a".to_owned());
        let later = (0..20).map(|n| (2_000_000 + n * 1_000_000, "a".to_owned()));
        let published: Vec<_> = std::iter::once(first.clone()).chain(later).collect();
        let alone = round(50_000, "#", "#", &[first])["a"];
        assert_eq!(round(50_000, "#", "#", &published)["a"], alone + 20);
        // Two at once: one is taken for the echo of the other, whose echo passes instead.
        let twice: Vec<_> = published
            .iter()
            .flat_map(|(when, topic)| [(*when, topic.clone()), (when + 1, topic.clone())])
            .collect();
        assert!(round(50_000, "#", "#", &twice)["a"] >= 42);
    }

    #[test]
    fn what_does_not_come_back_passes_however_often() {
        let mut breaker = Breaker::default();
        let mut probes = 0;
        // Ten alike a second for ten minutes.
        for n in 0..6000 {
            match breaker.judge(at(n * 100_000), "a", b"on") {
                Verdict::Pass => {}
                Verdict::Probe => {
                    probes += 1;
                    assert!(breaker.begin(at(n * 100_000), &rule("#"), "a").is_some());
                }
                Verdict::Drop => panic!("a fast sensor is no circle"),
            }
        }
        assert!((5..=12).contains(&probes), "{probes}");
        let mut breaker = Breaker::default();
        for n in 0..1000_u64 {
            // Every half a minute, and never the same.
            assert_eq!(breaker.judge(at(n * 30_000_000), "a", b"on"), Verdict::Pass);
            assert_eq!(breaker.judge(at(n * 30_000_000), "b", &n.to_le_bytes()), Verdict::Pass);
        }
    }

    #[test]
    fn steady_sensors_are_never_probed() {
        let mut breaker = Breaker::default();
        for tick in 0..6000_u64 {
            // A hundred sensors, each with the same value once a second.
            let (now, sensor) = (at(tick * 10_000), tick % 100);
            assert_eq!(breaker.judge(now, &format!("s/{sensor}"), b"21.5"), Verdict::Pass);
        }
    }

    #[test]
    fn after_a_probe_that_ended_a_connection_the_next_one_waits() {
        let mut breaker = Breaker::new(at(0), PROBE_PAUSE);
        let mut first = None;
        for n in 0..100 {
            let now = at(n * 100_000);
            if breaker.judge(now, "a", b"on") == Verdict::Probe {
                first = first.or(Some(now));
                breaker.begin(now, &rule("#"), "a");
            }
        }
        assert!(first.is_some_and(|first| first.since(at(0)) >= PROBE_PAUSE));
        assert!(breaker.pause() > PROBE_PAUSE);
    }

    #[test]
    fn a_circle_that_was_cut_is_forgotten() {
        let mut breaker = Breaker::default();
        let topic = breaker.begin(at(0), &rule("x/#"), "x/1").unwrap();
        assert!(topic.starts_with("x/cork-probe-"));
        assert!(!breaker.is_probe(at(1), "x/other") && breaker.is_probe(at(1), &topic));
        assert_eq!(breaker.judge(at(2), "x/1", b"on"), Verdict::Pass);
        assert_eq!(breaker.judge(at(3), "x/1", b"on"), Verdict::Drop);
        assert_eq!(breaker.judge(at(4), "y/1", b"on"), Verdict::Pass);
        let mut minute = 0;
        while !breaker.circles.is_empty() {
            minute += 1;
            let now = at(minute * 61_000_000);
            assert_eq!(breaker.judge(now, "x/1", &minute.to_le_bytes()), Verdict::Probe);
            breaker.begin(now, &rule("x/#"), "x/1");
            if minute == 3 {
                // It is there after all.
                assert_eq!(breaker.look(now, &topic, b""), Verdict::Drop);
            }
        }
        assert_eq!(minute, 3 + u64::from(UNANSWERED_MAX) + 1);
        assert_eq!(breaker.begin(at(0), &rule("a"), "a"), None, "no room for a probe");
    }
}
