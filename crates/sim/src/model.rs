//! Value models: what a device measures.

use std::{f64::consts::TAU, sync::Arc, time::Duration};

use crate::{clock::Moment, random::Random};

mod parse;

pub use parse::MODELS;
pub(crate) use parse::{DAY, NUMBER_MAX, PEAK};

/// How one value comes about, message after message. Numbers never leave the bounds that are said.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// Always the same.
    Constant(Sample),
    /// Any number between the bounds, all equally likely, each without regard to the one before.
    Range {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// Goes up or down by at most `step`, and turns back at the bounds.
    Walk {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
        /// The largest difference between two values.
        step: f64,
    },
    /// A sine over the day: `max` at `peak`, `min` half a `period` later, `noise` up or down.
    Daily {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
        /// How far a value may be beside the curve.
        noise: f64,
        /// When it is highest, from midnight on.
        peak: Duration,
        /// How long a day is; not 0.
        period: Duration,
    },
    /// One of some states; each time, with this probability, another one. Begins with the first.
    States {
        /// At least one.
        states: Vec<Sample>,
        /// From 0 to 1.
        probability: f64,
    },
    /// Happens, with this probability, or does not: then there is no message, or the field is left out.
    Event {
        /// What is sent.
        value: Sample,
        /// From 0 to 1.
        probability: f64,
    },
    /// Counts.
    Count {
        /// The first number.
        from: f64,
        /// What is added each time.
        step: f64,
    },
    /// The simulated date and time.
    Time(TimeFormat),
    /// A column of the CSV file that the message replays.
    Column(String),
}

/// How a time is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339, UTC, milliseconds: `2026-01-01T08:00:00.000Z`.
    Rfc3339,
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMillis,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// Rounded when it is written.
    Number(f64),
    /// Written as it stands, in JSON too: a number as somebody wrote it, `true`, `false`.
    Literal(Arc<str>),
    /// Text; in JSON a string.
    Text(Arc<str>),
}

impl Sample {
    /// What somebody wrote, on a command line or in a CSV file: a number, `true`, `false`, or text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if is_json_number(text) || matches!(text, "true" | "false") {
            Self::Literal(text.into())
        } else {
            Self::Text(text.into())
        }
    }
}

/// Whether JSON has a number that is written like this.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    plain(whole)
        && !leading_zero
        && !digits.ends_with('.')
        && !digits.contains(".e")
        && !digits.contains(".E")
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A model at work: what it must remember from one value to the next.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    random: Random,
    state: State,
}

#[derive(Copy, Clone, Debug)]
enum State {
    Fresh,
    Number(f64),
    Index(usize),
}

impl Source {
    pub(crate) const fn new(random: Random) -> Self {
        Self { random, state: State::Fresh }
    }

    /// The next value; `None` when there is none this time. `cell` reads the row that is replayed.
    pub(crate) fn next(
        &mut self,
        model: &Model,
        moment: &Moment,
        cell: impl Fn(&str) -> Option<Sample>,
    ) -> Option<Sample> {
        let random = &mut self.random;
        Some(match model {
            Model::Constant(value) => value.clone(),
            Model::Range { min, max } => Sample::Number(random.between(*min, *max)),
            Model::Walk { min, max, step } => Sample::Number(self.walk(*min, *max, *step)),
            Model::Daily { min, max, noise, peak, period } => {
                let swing = (max - min) / 2.0;
                let turn = (moment.of_day.as_secs_f64() - peak.as_secs_f64()) / period.as_secs_f64();
                let curve = min + swing + swing * (turn * TAU).cos();
                Sample::Number((curve + random.between(-noise, *noise)).clamp(*min, *max))
            }
            Model::States { states, probability } => self.another(states, *probability)?,
            Model::Event { value, probability } => random.chance(*probability).then(|| value.clone())?,
            Model::Count { from, step } => {
                let next = match self.state {
                    State::Number(last) => last + step,
                    _ => *from,
                };
                self.state = State::Number(next);
                Sample::Number(next)
            }
            Model::Time(format) => format.show(moment),
            Model::Column(name) => cell(name)?,
        })
    }

    fn walk(&mut self, min: f64, max: f64, step: f64) -> f64 {
        let next = match self.state {
            State::Number(last) => {
                let next = last + self.random.between(-step, step);
                // Turns back at a bound, as far as it would have gone beyond.
                let turned = if next > max {
                    2.0 * max - next
                } else if next < min {
                    2.0 * min - next
                } else {
                    next
                };
                turned.clamp(min, max)
            }
            // Somewhere in the middle, so that devices differ and none begins at a bound.
            _ => self.random.between(min + (max - min) / 4.0, max - (max - min) / 4.0),
        };
        self.state = State::Number(next);
        next
    }

    fn another(&mut self, states: &[Sample], probability: f64) -> Option<Sample> {
        let next = match self.state {
            State::Index(last) if states.len() > 1 && self.random.chance(probability) => {
                (last + 1 + self.random.below(states.len() - 1)) % states.len()
            }
            State::Index(last) => last,
            _ => 0,
        };
        self.state = State::Index(next);
        states.get(next).cloned()
    }
}

impl TimeFormat {
    fn show(self, moment: &Moment) -> Sample {
        match self {
            Self::Rfc3339 => Sample::Text(format!("{:.3}", moment.time).into()),
            Self::Unix => Sample::Literal(moment.time.as_second().to_string().into()),
            Self::UnixMillis => Sample::Literal(moment.time.as_millisecond().to_string().into()),
        }
    }
}

#[cfg(test)]
mod tests;
