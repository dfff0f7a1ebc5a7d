//! Percentiles of raw samples, by the rule that the histograms of the metrics use too.

use crate::metrics::rank::{is_resolved, nearest_rank};

/// The median, in the unit of percentiles (parts of 10,000).
pub const P50: u32 = 5_000;
/// See [`P50`].
pub const P95: u32 = 9_500;
/// See [`P50`].
pub const P99: u32 = 9_900;
/// See [`P50`].
pub const P999: u32 = 9_990;

/// A percentile with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentile {
    /// One of the values that were measured.
    pub value: f64,
    /// How many there were.
    pub n: usize,
    /// Whether there were enough for one to lie beyond: p99 needs 100, p99.9 needs 1,000.
    pub resolved: bool,
}

/// Values in ascending order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// Sorts `values`.
    pub fn new(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Self(sorted)
    }

    /// The values.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The percentile by nearest rank; `None` without values.
    pub fn percentile(&self, per_myriad: u32) -> Option<Percentile> {
        let n = self.0.len() as u64;
        let value = *self.0.get(nearest_rank(n, per_myriad) as usize - 1)?;
        Some(Percentile { value, n: self.0.len(), resolved: is_resolved(n, per_myriad) })
    }
}

/// The percentile of `values`, which are in any order.
pub fn percentile(values: &[f64], per_myriad: u32) -> Option<Percentile> {
    Sorted::new(values).percentile(per_myriad)
}

/// The median by nearest rank: of an even number of values the lower of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, P50).map(|median| median.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::histogram::{HIGHEST_NS, LOWEST_NS};
    use crate::metrics::{RuntimeMetrics, StepRecord, TokenTiming};
    use proptest::prelude::*;

    #[test]
    fn golden_vector() {
        let values: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
        let sorted = Sorted::new(&values);
        for (per_myriad, value) in [(0, 1.0), (P50, 500.0), (P95, 950.0), (P99, 990.0), (P999, 999.0), (10_000, 1_000.0)] {
            assert_eq!(sorted.percentile(per_myriad).unwrap().value, value);
        }
        assert!(sorted.percentile(P999).unwrap().resolved);
        assert!(!Sorted::new(&values[1..]).percentile(P999).unwrap().resolved);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    proptest! {
        #[test]
        fn a_percentile_is_a_value_with_the_right_share_at_or_below_it(
            values in prop::collection::vec(-1e9f64..1e9, 1..200),
            per_myriad in 1u32..=10_000,
        ) {
            let p = percentile(&values, per_myriad).unwrap().value;
            prop_assert!(values.contains(&p));
            let at_or_below = values.iter().filter(|&&v| v <= p).count();
            let below = values.iter().filter(|&&v| v < p).count();
            let share = f64::from(per_myriad) / 10_000.0 * values.len() as f64;
            prop_assert!(at_or_below as f64 >= share - 1e-6 && (below as f64) < share + 1e-6);
        }

        #[test]
        fn the_histogram_of_the_metrics_agrees(values in prop::collection::vec(LOWEST_NS..HIGHEST_NS, 1..300)) {
            let mut recorder = RuntimeMetrics::new().session(0, 0);
            for &ns in &values {
                let token = Some(TokenTiming::Next { since_previous_ns: ns });
                recorder.step(&StepRecord { token, ..Default::default() });
            }
            let theirs = recorder.metrics().snapshot().inter_token.p95.unwrap();
            let exact: Vec<f64> = values.iter().map(|&ns| ns as f64).collect();
            let ours = percentile(&exact, P95).unwrap();
            prop_assert_eq!(ours.resolved, theirs.resolved);
            prop_assert!((ours.value - theirs.value_ns as f64).abs() <= 0.05 * ours.value);
        }
    }
}
