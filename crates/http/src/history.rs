//! What the overview said: an hour second by second, a day minute by minute, in memory.

use std::collections::{BTreeMap, VecDeque};

use cork_store::WallTime;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{overview::Overview, time};

/// Seconds that are kept one by one.
const FINE: usize = 3600;
/// Minutes that are kept.
const COARSE: usize = 1440;
/// Seconds in a coarse step.
const STEP: u32 = 60;

/// The names of the series, in the order of [`Row`].
const NAMES: [&str; 18] = [
    "messages_in",
    "messages_out",
    "bytes_in",
    "bytes_out",
    "connects",
    "dropped",
    "clients",
    "sockets",
    "sessions",
    "subscriptions",
    "shared_subscriptions",
    "retained",
    "queued_messages",
    "queued_bytes",
    "output_bytes",
    "in_flight",
    "cpu",
    "memory_bytes",
];

type Row = [f64; NAMES.len()];

/// The past.
#[derive(Default)]
pub(crate) struct History {
    fine: VecDeque<Row>,
    coarse: VecDeque<Row>,
    sum: Row,
    summed: u32,
    last: WallTime,
}

/// The past as an answer: equally long lists, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Series {
    /// Seconds between two values.
    step_seconds: u32,
    /// When the first value was taken.
    from: String,
    /// By name; null where the broker was not there.
    series: BTreeMap<&'static str, Vec<Option<f64>>>,
}

impl History {
    /// One more second.
    pub(crate) fn push(&mut self, at: WallTime, overview: &Overview) {
        let row = row(overview);
        if self.fine.len() == FINE {
            self.fine.pop_front();
        }
        self.fine.push_back(row);
        self.last = at;
        for (sum, value) in self.sum.iter_mut().zip(row) {
            *sum += value;
        }
        self.summed += 1;
        if self.summed == STEP {
            if self.coarse.len() == COARSE {
                self.coarse.pop_front();
            }
            self.coarse.push_back(std::mem::take(&mut self.sum).map(|sum| sum / f64::from(STEP)));
            self.summed = 0;
        }
    }

    /// The last `seconds`.
    pub(crate) fn series(&self, seconds: u32) -> Series {
        let fine = seconds as usize <= FINE;
        let (rows, step) = if fine { (&self.fine, 1) } else { (&self.coarse, STEP) };
        let wanted = seconds.div_ceil(step) as usize;
        let missing = wanted.saturating_sub(rows.len());
        let shown = rows.iter().skip(rows.len().saturating_sub(wanted));
        let mut series: BTreeMap<_, Vec<_>> =
            NAMES.into_iter().map(|name| (name, vec![None; missing])).collect();
        for row in shown {
            for (name, value) in NAMES.into_iter().zip(row) {
                if let Some(values) = series.get_mut(name) {
                    values.push(Some(*value));
                }
            }
        }
        let open = if fine { 0 } else { self.summed };
        let back = u64::from(open) + (wanted as u64).saturating_sub(1) * u64::from(step);
        let from = WallTime(self.last.0.saturating_sub(back * 1_000_000));
        Series { step_seconds: step, from: time::text(from), series }
    }
}

fn row(overview: &Overview) -> Row {
    #[expect(clippy::cast_precision_loss, reason = "a chart shows fewer digits")]
    let gauge = |name: &str| overview.gauges.get(name).copied().unwrap_or_default() as f64;
    NAMES.map(|name| match name {
        "cpu" => overview.process.cpu,
        #[expect(clippy::cast_precision_loss, reason = "a chart shows fewer digits")]
        "memory_bytes" => overview.process.memory_bytes as f64,
        name => overview.rates.get(name).copied().unwrap_or_else(|| gauge(name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rate: f64) -> Overview {
        Overview { rates: BTreeMap::from([("messages_in", rate)]), ..Overview::default() }
    }

    #[test]
    fn the_past_ends_now_and_has_gaps_before_the_start() {
        let mut history = History::default();
        for second in 1..=3_u32 {
            history.push(WallTime(u64::from(second) * 1_000_000), &at(f64::from(second)));
        }
        let series = history.series(5);
        assert_eq!(series.series["messages_in"], [None, None, Some(1.0), Some(2.0), Some(3.0)]);
        assert_eq!(history.series(2).series["messages_in"], [Some(2.0), Some(3.0)]);
        assert_eq!(history.series(2).from, "1970-01-01T00:00:02.000Z");
    }

    #[test]
    fn minutes_are_averages_and_the_oldest_go() {
        let mut history = History::default();
        for second in 0..4000_u32 {
            history.push(WallTime(u64::from(second) * 1_000_000), &at(f64::from(second / 60)));
        }
        let day = history.series(86_400);
        assert_eq!((day.step_seconds, day.series["messages_in"].len()), (60, 1440));
        assert_eq!(day.series["messages_in"][1439], Some(65.0));
        assert_eq!(day.series["messages_in"][1440 - 66], Some(0.0));
        assert_eq!(day.series["messages_in"][1440 - 67], None);
        let hour = history.series(3600);
        assert_eq!(hour.series["messages_in"].len(), 3600);
        assert_eq!(hour.series["messages_in"][3599], Some(66.0));
    }
}
