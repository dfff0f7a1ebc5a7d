//! The bucket layout of every latency histogram, and a histogram's counts as plain numbers.
//!
//! Log-linear from 1 µs to 10 min: 20 buckets of equal width in each doubling, so that a bucket is never wider than 5 % of its
//! lower bound. With `o` the doubling and `j` the bucket in it:
//! ```text
//! bucket 0              0 ≤ v ≤ 1 µs
//! bucket 1 + 20·o + j   50·2^o·(20 + j) < v ≤ 50·2^o·(21 + j)   nanoseconds, o = 0…29, j = 0…19
//! last finite bucket    … < v ≤ 10 min
//! overflow              v > 10 min
//! ```
//! A value equal to a bound lies in the bucket of which it is the upper bound, as Prometheus' `le` has it. This file does no
//! recording; `latency.rs` does.

use super::rank::nearest_rank;

/// Bounds in nanoseconds of the smallest and of the last finite bucket.
pub const LOWEST_NS: u64 = 1_000;
/// See [`LOWEST_NS`].
pub const HIGHEST_NS: u64 = 600_000_000_000;
/// Buckets with a finite upper bound.
pub const FINITE_BUCKETS: usize = log_linear(HIGHEST_NS) + 1;
/// All buckets: the finite ones and the overflow.
pub const BUCKETS: usize = FINITE_BUCKETS + 1;

/// Buckets per doubling and the width of the smallest, in nanoseconds: 20 · 50 = 1 µs.
const STEPS: u64 = 20;
const WIDTH_NS: u64 = 50;

/// The bucket that `ns` falls into.
pub const fn index_of(ns: u64) -> usize {
    if ns <= LOWEST_NS {
        return 0;
    }
    if ns > HIGHEST_NS {
        return FINITE_BUCKETS;
    }
    log_linear(ns)
}

/// The layout without its ends: `ns` above [`LOWEST_NS`].
const fn log_linear(ns: u64) -> usize {
    let steps = (ns - 1) / WIDTH_NS; // ≥ STEPS; less one, so that an upper bound stays below the next bucket
    let doubling = (steps / STEPS).ilog2();
    let step = (steps >> doubling) - STEPS;
    (1 + STEPS * doubling as u64 + step) as usize
}

/// The inclusive upper bound of bucket `index` in nanoseconds; `None` for the overflow.
pub const fn upper_bound_ns(index: usize) -> Option<u64> {
    if index == 0 {
        return Some(LOWEST_NS);
    }
    if index >= FINITE_BUCKETS {
        return None;
    }
    let (doubling, step) = ((index as u64 - 1) / STEPS, (index as u64 - 1) % STEPS);
    let bound = (WIDTH_NS * (STEPS + 1 + step)) << doubling;
    Some(if bound > HIGHEST_NS { HIGHEST_NS } else { bound })
}

/// Counts per bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// `BUCKETS` counts, the overflow last.
    counts: Box<[u64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice() }
    }
}

impl Histogram {
    /// Counts `by` more values in bucket `index` (below [`BUCKETS`]).
    pub(super) fn add(&mut self, index: usize, by: u64) {
        self.counts[index] = self.counts[index].saturating_add(by);
    }

    /// Adds all counts of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, &n| sum.saturating_add(n))
    }

    /// The number of values above 10 minutes.
    pub fn overflow(&self) -> u64 {
        self.counts[FINITE_BUCKETS]
    }

    /// The number of values ≤ `bound_ns`, exact where `bound_ns` is a bucket's bound, else that of the next lower bound.
    pub fn count_le(&self, bound_ns: u64) -> u64 {
        let whole = index_of(bound_ns);
        let end = if upper_bound_ns(whole) == Some(bound_ns) { whole + 1 } else { whole };
        self.counts[..end].iter().sum()
    }

    /// The buckets that hold values: (inclusive upper bound in nanoseconds, `None` for the overflow; count).
    pub fn occupied(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(index, &n)| (upper_bound_ns(index), n))
    }

    /// The nearest-rank quantile at `per_myriad` / 10,000 (9,990 is p99.9): the middle of the bucket of value number
    /// ⌈n·p⌉, which is at most 2.5 % off for values from 1 µs to 10 min. `None` without values.
    ///
    /// `min_ns` and `max_ns` are the smallest and largest value recorded; the answer is kept between them, and the overflow
    /// is answered with `max_ns`.
    pub fn quantile_ns(&self, per_myriad: u32, min_ns: u64, max_ns: u64) -> Option<u64> {
        let rank = nearest_rank(self.count(), per_myriad);
        let mut seen = 0u64;
        let index = self.counts.iter().position(|&count| {
            seen = seen.saturating_add(count);
            seen >= rank
        })?;
        let lower = if index == 0 { 0 } else { upper_bound_ns(index - 1)? };
        let middle = upper_bound_ns(index).map_or(max_ns, |upper| lower.midpoint(upper));
        Some(middle.max(min_ns).min(max_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&v| histogram.add(index_of(v), 1));
        histogram
    }

    #[test]
    fn bounds_ascend_by_at_most_five_percent_and_hold_their_own_value() {
        let mut lower = LOWEST_NS;
        assert_eq!(index_of(0), 0);
        assert_eq!(index_of(lower), 0);
        for index in 1..FINITE_BUCKETS {
            let upper = upper_bound_ns(index).unwrap();
            assert!(upper > lower && (upper - lower) * 20 <= lower, "bucket {index}: ({lower}, {upper}]");
            assert_eq!(index_of(lower + 1), index);
            assert_eq!(index_of(upper), index);
            lower = upper;
        }
        assert_eq!(lower, HIGHEST_NS);
        assert_eq!(index_of(HIGHEST_NS + 1), FINITE_BUCKETS);
        assert_eq!(index_of(u64::MAX), FINITE_BUCKETS);
        assert_eq!(upper_bound_ns(FINITE_BUCKETS), None);
    }

    #[test]
    fn doublings_of_a_microsecond_are_bounds() {
        for doubling in 0..30 {
            let bound = LOWEST_NS << doubling;
            assert_eq!(upper_bound_ns(index_of(bound)), Some(bound));
        }
    }

    #[test]
    fn cumulative_counts_include_the_bound() {
        let histogram = of(&[0, 1_000, 1_001, 1_050, 1_051, 2_000, HIGHEST_NS, HIGHEST_NS + 1]);
        assert_eq!(histogram.count(), 8);
        assert_eq!(histogram.count_le(1_000), 2);
        assert_eq!(histogram.count_le(1_050), 4);
        assert_eq!(histogram.count_le(1_060), 4, "between bounds: the lower bound's count");
        assert_eq!(histogram.count_le(2_000), 6);
        assert_eq!(histogram.count_le(HIGHEST_NS), 7);
        assert_eq!(histogram.overflow(), 1);
    }

    #[test]
    fn quantiles_of_nothing_and_of_the_overflow() {
        assert_eq!(Histogram::default().quantile_ns(5_000, 0, 0), None);
        let max = 2 * HIGHEST_NS;
        assert_eq!(of(&[max]).quantile_ns(5_000, max, max), Some(max));
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_five_percent_of_the_nearest_rank(
            values in prop::collection::vec(prop_oneof![1_000u64..100_000, 1_000u64..HIGHEST_NS, Just(1_000), Just(2_000), Just(HIGHEST_NS)], 1..400),
            per_myriad in 1u32..=10_000,
        ) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = (sorted.len() * per_myriad as usize).div_ceil(10_000) - 1;
            let exact = sorted[rank];
            let got = of(&values).quantile_ns(per_myriad, sorted[0], sorted[sorted.len() - 1]).unwrap();
            prop_assert!(got.abs_diff(exact) as f64 <= 0.05 * exact as f64, "{got} for {exact}");
        }

        #[test]
        fn every_value_lies_within_its_bucket(ns in 0..=2 * HIGHEST_NS) {
            let index = index_of(ns);
            prop_assert!(upper_bound_ns(index).is_none_or(|upper| ns <= upper));
            prop_assert!(index == 0 || ns > upper_bound_ns(index - 1).unwrap());
        }
    }
}
