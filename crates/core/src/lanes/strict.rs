//! The strict order of two lanes: which topic goes where, and when the second lane may send.
//!
//! The first lane is kept short, whatever the backlog: of each topic it takes a few messages, and the first message of
//! very many topics. What is more goes into the second lane. So a topic that has few messages does not wait behind one
//! that has millions, and one that has none passes at once.
//!
//! ```text
//! first lane:    a1 b1 a2 c1 … a16 b2 alarm
//! second lane:   a17 a18 a19 … a1000000       waits until a16 is over
//! ```
//!
//! A topic goes back to the first lane when the second holds nothing of it. So what the first lane holds of a topic is
//! always older than what the second one does. That is all that must be known after a restart, when nobody remembers
//! topics: the second lane waits until what was in the first one is over.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Messages that may wait in a lane before it has a backlog.
pub(super) const BACKLOG_MIN: u64 = 64;

/// Messages of one topic that may wait in the first lane while it has a backlog.
const TURNS_MAX: u32 = 16;

/// Messages that may wait in the first lane before each topic has but its first message there.
const FIRST_LANE_LOW: u64 = 1024;

/// Messages that may wait in the first lane before new topics go into the shorter one.
const FIRST_LANE_HIGH: u64 = 16_384;

/// Topics of one lane that are told apart: two megabytes. Beyond that all count as being in it.
const TOPICS_MAX: usize = 65_536;

/// A lane as it is now.
#[derive(Copy, Clone, Debug)]
pub(super) struct View {
    /// Number of its last delivery.
    pub(super) last: u64,
    /// Number of the first one that is not over; `u64::MAX`: all are.
    pub(super) first: u64,
    /// Number of the first one that was not sent; `u64::MAX`: all were.
    pub(super) first_waiting: u64,
    /// How many were not sent.
    pub(super) waiting: u64,
}

impl View {
    const fn has_finished(&self) -> bool {
        self.first == u64::MAX
    }
}

/// What is remembered of two lanes.
#[derive(Debug)]
pub(super) struct Strict {
    topics: [Topics; 2],
    gates: VecDeque<Gate>,
    /// The second lane has taken messages since it is one: only then may messages wait for it.
    is_proven: bool,
    /// The second lane gets only what belongs behind something it has.
    pub(super) is_ending: bool,
}

/// The second lane sends nothing from one of its deliveries on before one of the first lane is over. Both ascend.
#[derive(Copy, Clone, Debug)]
struct Gate {
    from: u64,
    behind: u64,
}

impl Strict {
    pub(super) fn new(first: &View, second: &View, is_ending: bool) -> Self {
        let waits = !first.has_finished() && !second.has_finished();
        Self {
            topics: [Topics::of(first), Topics::of(second)],
            gates: waits.then_some(Gate { from: 0, behind: first.last }).into_iter().collect(),
            is_proven: !second.has_finished(),
            is_ending,
        }
    }

    /// Whether the second lane gets the next message of a topic. `is_idle`: it would send it at once.
    pub(super) fn second_gets(&mut self, [first, second]: [View; 2], is_idle: bool, topic: &str) -> bool {
        self.is_proven |= is_idle;
        self.pass(first.first);
        let topic = hash(topic);
        let [in_first, in_second] = &mut self.topics;
        if in_second.held(topic, &second).is_some() {
            in_second.insert(topic, &second);
            return true;
        }
        let held = in_first.held(topic, &first);
        let full = match held {
            None if is_idle => first.waiting >= FIRST_LANE_LOW,
            None => first.waiting >= FIRST_LANE_HIGH && second.waiting < first.waiting,
            Some(held) => {
                let turns_taken = held.waiting >= TURNS_MAX || first.waiting >= FIRST_LANE_LOW;
                // A first lane that is long for once is not what the second one can wait for.
                turns_taken && first.waiting <= second.waiting.max(FIRST_LANE_HIGH)
            }
        };
        if !(full && self.is_proven && !self.is_ending && first.waiting > BACKLOG_MIN) {
            in_first.insert(topic, &first);
            return false;
        }
        if let Some(held) = held.filter(|held| self.gates.back().is_none_or(|gate| gate.behind < held.last)) {
            self.gates.push_back(Gate { from: second.last + 1, behind: held.last });
        }
        in_second.insert(topic, &second);
        true
    }

    /// Whether the second lane must wait before its delivery `next`, while the first lane's first one is `first`.
    pub(super) fn waits(&self, first: u64, next: u64) -> bool {
        self.gates.iter().find(|gate| first <= gate.behind).is_some_and(|gate| next >= gate.from)
    }

    /// The first lane's first delivery that is not over is now this one; whether that opens a gate.
    pub(super) fn pass(&mut self, first: u64) -> bool {
        let before = self.gates.len();
        while self.gates.front().is_some_and(|gate| gate.behind < first) {
            self.gates.pop_front();
        }
        self.gates.len() < before
    }
}

/// What is known of the topics in a lane.
#[derive(Debug)]
struct Topics {
    held: HashMap<u64, Held, FixedState>,
    /// Deliveries up to this one may be of any topic.
    unknown_up_to: u64,
}

#[derive(Copy, Clone, Debug)]
struct Held {
    /// Its last delivery.
    last: u64,
    /// How many of it wait, at most.
    waiting: u32,
}

impl Topics {
    fn of(lane: &View) -> Self {
        Self { held: empty(), unknown_up_to: if lane.has_finished() { 0 } else { lane.last } }
    }

    /// What the lane may hold of a topic.
    fn held(&self, topic: u64, lane: &View) -> Option<Held> {
        if lane.has_finished() {
            return None;
        }
        let known = self.held.get(&topic).copied().filter(|held| held.last >= lane.first);
        let unknown = Held { last: self.unknown_up_to, waiting: 0 };
        known.or_else(|| (self.unknown_up_to >= lane.first).then_some(unknown))
    }

    /// The lane's next delivery is of this topic.
    fn insert(&mut self, topic: u64, lane: &View) {
        let number = lane.last + 1;
        if self.held.len() >= TOPICS_MAX && !self.held.contains_key(&topic) {
            self.held.retain(|_, held| held.last >= lane.first);
            if self.held.len() > TOPICS_MAX / 2 {
                (self.held, self.unknown_up_to) = (empty(), number);
                return;
            }
        } else if lane.has_finished() && self.held.capacity() > TOPICS_MAX / 16 {
            self.held = empty();
        }
        let held = self.held.entry(topic).or_insert(Held { last: 0, waiting: 0 });
        let waiting = if held.last >= lane.first_waiting { held.waiting } else { 0 };
        *held = Held { last: number, waiting: waiting.saturating_add(1) };
    }
}

fn empty() -> HashMap<u64, Held, FixedState> {
    HashMap::with_hasher(FixedState::with_seed(0))
}

fn hash(topic: &str) -> u64 {
    std::hash::BuildHasher::hash_one(&FixedState::with_seed(0), topic)
}

#[cfg(test)]
mod tests;
