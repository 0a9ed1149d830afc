//! Distributions of times, and the file of one.

use std::fmt::Write as _;
use std::path::Path;

use hdrhistogram::Histogram;

use crate::Failure;
use crate::units::{Nanos, SECOND};

/// An empty distribution of nanoseconds, three significant digits, up to a thousand seconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1000 * SECOND, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are in order"))
}

/// A quantile in microseconds: `at(&times, 0.99)`.
pub(crate) fn micros(times: &Histogram<u64>, quantile: f64) -> f64 {
    as_micros(times.value_at_quantile(quantile))
}

fn as_micros(time: Nanos) -> f64 {
    time as f64 / 1e3
}

/// Writes the distribution by percentile, times in microseconds, as HdrHistogram's own tools do.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(times: &Histogram<u64>, file: &Path) -> Result<(), Failure> {
    std::fs::write(file, text(times))
        .map_err(|error| Failure::system(&format!("--hdr {}: cannot write it", file.display()), &error))
}

fn text(times: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    // Writing to a string does not fail.
    for step in times.iter_quantiles(5) {
        let (value, quantile) = (as_micros(step.value_iterated_to()), step.quantile_iterated_to());
        let _ = write!(text, "{value:>12.3} {quantile:>14.12} {:>10}", step.count_at_value_sum(times));
        if quantile < 1.0 {
            let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n#[Max     = {:>12.3}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]",
        times.mean() / 1e3,
        times.stdev() / 1e3,
        as_micros(times.max()),
        times.len(),
        times.buckets(),
        2048
    );
    text
}

/// How many values lie at or below a step of the iteration.
trait CountTo {
    fn count_at_value_sum(&self, times: &Histogram<u64>) -> u64;
}

impl CountTo for hdrhistogram::iterators::IterationValue<u64> {
    fn count_at_value_sum(&self, times: &Histogram<u64>) -> u64 {
        times.count_between(0, self.value_iterated_to())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_known_distribution() {
        let mut times = histogram();
        for microsecond in 1..=10_000 {
            times.saturating_record(microsecond * 1_000);
        }
        for (quantile, expected) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.999, 9_990.0), (1.0, 10_000.0)] {
            let got = micros(&times, quantile);
            assert!((got / expected - 1.0).abs() < 0.001, "{quantile}: {got} instead of {expected}");
        }
    }

    #[test]
    fn a_stall_shows_in_the_tail() {
        // 1,000 messages a second for 10 s, each 1 ms late; the broker sleeps from second 5 to 6.
        let mut times = histogram();
        for k in 0..10_000_u64 {
            let due = k * 1_000_000;
            let arrives = if (5 * SECOND..6 * SECOND).contains(&due) { 6 * SECOND } else { due } + 1_000_000;
            times.saturating_record(arrives - due);
        }
        assert!((micros(&times, 0.5) - 1_000.0).abs() < 2.0);
        assert!((micros(&times, 0.95) - 501_000.0).abs() < 1_000.0, "half of those that waited");
        assert!((micros(&times, 1.0) - 1_001_000.0).abs() < 1_000.0);
    }

    #[test]
    fn the_file_has_rising_percentiles_up_to_all() {
        let mut times = histogram();
        for time in [1_000, 2_000, 3_000, 900_000] {
            times.saturating_record(time);
        }
        let text = text(&times);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]), "{text}");
        assert_eq!(rows.last().unwrap()[1..], [1.0, 4.0], "{text}");
        assert!(text.contains("Total count    =            4"), "{text}");
    }
}
