//! How long things take: counts in fixed buckets, kept by who measures and read by message. Nothing here knows a clock.

/// Upper ends of the buckets, in microseconds; beyond the last one is one more.
pub const BOUNDS_MICROS: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// Counts of times.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket: those that are not longer than its bound, and longer than the one before; the last one has the rest.
    pub counts: [u64; BOUNDS_MICROS.len() + 1],
    /// All times together, in microseconds.
    pub sum_micros: u64,
}

impl Histogram {
    /// Counts one.
    #[inline]
    pub fn record(&mut self, micros: u64) {
        self.counts[BOUNDS_MICROS.partition_point(|bound| *bound < micros)] += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_is_not_shorter() {
        let mut times = Histogram::default();
        for micros in [0, 50, 51, 1_000, 10_000_000, 10_000_001, u64::MAX] {
            times.record(micros);
        }
        let at: Vec<usize> = (0..times.counts.len()).filter(|at| times.counts[*at] > 0).collect();
        assert_eq!(at, [0, 1, 4, 15, 16]);
        assert_eq!((times.counts[0], times.counts[16], times.count()), (2, 2, 7));
        assert_eq!(times.sum_micros, u64::MAX, "it stops at the end");
    }
}
