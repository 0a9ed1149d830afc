//! What several measurements say together.

/// The median; between the two in the middle when their number is even. `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.as_slice() {
        [] => None,
        sorted if sorted.len() % 2 == 1 => Some(sorted[middle]),
        sorted => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// How far the extremes are apart, in percent of the median; 0 for fewer than two values.
pub(crate) fn spread_percent(values: &[f64]) -> f64 {
    let (Some(middle), Some(min), Some(max)) = (
        median(values),
        values.iter().copied().min_by(f64::total_cmp),
        values.iter().copied().max_by(f64::total_cmp),
    ) else {
        return 0.0;
    };
    crate::units::ratio(max - min, middle.abs()) * 100.0
}

/// How many times as good `value` is as `other`.
pub(crate) fn advantage(value: f64, other: f64, more_is_better: bool) -> Option<f64> {
    let (better, worse) = if more_is_better { (value, other) } else { (other, value) };
    (better > 0.0 && worse > 0.0).then(|| better / worse)
}

/// The best of some values.
pub(crate) fn best(values: impl Iterator<Item = f64>, more_is_better: bool) -> Option<f64> {
    if more_is_better { values.max_by(f64::total_cmp) } else { values.min_by(f64::total_cmp) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn spread() {
        assert_eq!((spread_percent(&[]), spread_percent(&[7.0])), (0.0, 0.0));
        assert!((spread_percent(&[90.0, 100.0, 120.0]) - 30.0).abs() < 1e-9);
    }

    #[test]
    fn advantages_point_the_same_way_for_rates_and_for_times() {
        assert_eq!(advantage(200.0, 100.0, true), Some(2.0));
        assert_eq!(advantage(50.0, 100.0, false), Some(2.0));
        assert_eq!(advantage(0.0, 100.0, true), None);
        assert_eq!(best([1.0, 3.0, 2.0].into_iter(), true), Some(3.0));
        assert_eq!(best([1.0, 3.0, 2.0].into_iter(), false), Some(1.0));
    }
}
