//! Who does what when: a machine that knows no clock and no socket.
//!
//! A [`Schedule`] iterates over the steps in the order of their times. The same [`Plan`] with the same seed gives the
//! same steps. Memory is one entry for each device and message, however long it goes on.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use cork_client::QoS;

use crate::{
    model::Source,
    random::Random,
    scenario::{Kind, Plan},
};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, in simulated time since the start.
    pub at: Duration,
    /// The number of the device, from 0.
    pub device: usize,
    /// What.
    pub action: Action,
}

/// What a device does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connects, for the first time or again.
    Connect,
    /// Says DISCONNECT.
    Leave,
    /// Loses its connection without a word.
    Crash,
    /// Measures, but sends nothing: the event did not happen, the value did not change, the device is away.
    Rest,
    /// Publishes.
    Publish {
        /// The Topic Name.
        topic: Arc<str>,
        /// The payload.
        payload: String,
        /// QoS.
        qos: QoS,
        /// RETAIN.
        retain: bool,
    },
}

/// All steps of a plan, in order.
#[derive(Debug)]
pub struct Schedule {
    plan: Arc<Plan>,
    due: BinaryHeap<Reverse<Entry>>,
    lanes: Vec<Lane>,
    /// Of each device.
    comings: Vec<Coming>,
    /// Messages that may still come.
    left: u64,
}

/// What is due next; the order of the fields is the order of steps.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Duration,
    what: What,
    /// A device, or a lane.
    index: usize,
}

/// At the same time devices come and go before anybody publishes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    ComeOrGo,
    Publish,
}

/// A message of a device at work.
#[derive(Debug)]
struct Lane {
    device: usize,
    topic: usize,
    random: Random,
    sources: Box<[Source]>,
    /// When the next one is due, before jitter.
    nominal: Duration,
    /// The next row that is replayed.
    row: usize,
    /// The payload before, where only changes are sent.
    last: Option<String>,
}

/// A device that comes and goes.
#[derive(Debug)]
struct Coming {
    random: Random,
    is_here: bool,
}

/// Places of chance that have nothing to do with each other.
const LANES: u64 = 1;
const OUTAGES: u64 = 2;

impl Schedule {
    /// The steps of a plan.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        let mut due = BinaryHeap::new();
        let mut lanes = Vec::new();
        let mut comings = Vec::with_capacity(plan.devices.len());
        for (index, device) in plan.devices.iter().enumerate() {
            comings
                .push(Coming { random: Random::stream(&[plan.seed, OUTAGES, index as u64]), is_here: false });
            due.push(Reverse(Entry { at: Duration::ZERO, what: What::ComeOrGo, index }));
            for (topic, (_, kind)) in device.topics.iter().enumerate() {
                let kind = &plan.kinds[*kind];
                let place = [plan.seed, LANES, index as u64, topic as u64];
                let lane = Lane {
                    device: index,
                    topic,
                    random: Random::stream(&place),
                    sources: kind.content.sources(&place),
                    nominal: kind.first(device.phase),
                    row: 0,
                    last: None,
                };
                due.push(Reverse(Entry { at: lane.nominal, what: What::Publish, index: lanes.len() }));
                lanes.push(lane);
            }
        }
        let left = plan.messages.unwrap_or(u64::MAX);
        Self { plan, due, lanes, comings, left }
    }

    fn come_or_go(&mut self, entry: Entry) -> Step {
        let Entry { at, index: device, .. } = entry;
        let coming = &mut self.comings[device];
        coming.is_here = !coming.is_here;
        let outage = self.plan.devices[device].outage;
        if let Some(outage) = outage {
            let usual = if coming.is_here { outage.every } else { outage.away };
            let time = usual.mul_f64(coming.random.between(0.5, 1.5));
            self.due.push(Reverse(Entry { at: at.saturating_add(time), ..entry }));
        }
        let action = match (coming.is_here, outage) {
            (true, _) => Action::Connect,
            (false, Some(outage)) if outage.orderly => Action::Leave,
            (false, _) => Action::Crash,
        };
        Step { at, device, action }
    }

    /// A message, unless nothing is to be sent this time. A device that is away measures, but sends nothing.
    fn publish(&mut self, entry: Entry) -> (usize, Option<Action>) {
        let lane = &mut self.lanes[entry.index];
        let (topic, kind) = &self.plan.devices[lane.device].topics[lane.topic];
        let kind = &self.plan.kinds[*kind];
        let moment = self.plan.clock.moment(entry.at);
        let row = kind.replay.as_deref().map(|replay| (replay, lane.row));
        let payload = kind.content.next(&mut lane.sources, &moment, row);
        if let Some(at) = lane.advance(kind) {
            self.due.push(Reverse(Entry { at, ..entry }));
        }
        let is_here = self.comings[lane.device].is_here;
        let Some(payload) = payload.filter(|payload| is_here && lane.last.as_ref() != Some(payload)) else {
            return (lane.device, None);
        };
        if kind.on_change {
            lane.last = Some(payload.clone());
        }
        self.left -= 1;
        let action =
            Action::Publish { topic: Arc::clone(topic), payload, qos: kind.qos, retain: kind.retain };
        (lane.device, Some(action))
    }
}

impl Iterator for Schedule {
    type Item = Step;

    /// The next step; `None` at the end: the time is over, all messages are sent, or nothing more is due.
    fn next(&mut self) -> Option<Step> {
        if self.left == 0 {
            return None;
        }
        let Reverse(entry) = self.due.pop()?;
        if self.plan.duration.is_some_and(|duration| entry.at >= duration) {
            return None;
        }
        Some(match entry.what {
            What::ComeOrGo => self.come_or_go(entry),
            What::Publish => {
                let (device, action) = self.publish(entry);
                Step { at: entry.at, device, action: action.unwrap_or(Action::Rest) }
            }
        })
    }
}

impl Kind {
    /// Whether the rows of a file say when messages are due.
    fn follows_rows(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.has_times())
    }

    /// When the first message of a device is due: devices of a group share out the time between two messages.
    fn first(&self, phase: f64) -> Duration {
        if self.follows_rows() { Duration::ZERO } else { self.every.mul_f64(phase) }
    }
}

impl Lane {
    /// When the next message is due; `None` after the last.
    fn advance(&mut self, kind: &Kind) -> Option<Duration> {
        let mut gap = kind.every;
        if let Some(replay) = &kind.replay {
            gap = replay.gap(self.row).unwrap_or(gap);
            self.row += 1;
            if self.row == replay.len() {
                if !replay.repeat {
                    return None;
                }
                self.row = 0;
                // All rows at one time, over and over, would be an endless moment.
                if gap.is_zero() {
                    gap = kind.every;
                }
            }
        }
        // Jitter moves a message, not the ones after it: the rate stays what it is.
        self.nominal = self.nominal.saturating_add(gap);
        if kind.jitter.is_zero() || kind.follows_rows() {
            return Some(self.nominal);
        }
        let late = kind.jitter.mul_f64(self.random.between(0.0, 2.0));
        Some(self.nominal.saturating_add(late).saturating_sub(kind.jitter))
    }
}

#[cfg(test)]
mod tests;
