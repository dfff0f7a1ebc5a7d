//! The one definition of a percentile: nearest rank. Histograms and the statistics of benchmarks both use it.
//!
//! The percentile p of n sorted values is value number ⌈n·p⌉, counted from 1 (and the first for p = 0). It is always a value that was
//! measured, never one between two. `p` is given in parts of 10,000: 9,990 is p99.9.

/// The whole: 100 % in the unit of percentiles.
pub const WHOLE: u32 = 10_000;

/// The number, counted from 1, of the value that is the percentile of `n` values.
pub fn nearest_rank(n: u64, per_myriad: u32) -> u64 {
    ((u128::from(n) * u128::from(per_myriad.min(WHOLE))).div_ceil(u128::from(WHOLE)) as u64).max(1)
}

/// Whether `n` values are enough for at least one to lie beyond the percentile: p50 needs 2, p95 20, p99 100, p99.9 1,000.
pub fn is_resolved(n: u64, per_myriad: u32) -> bool {
    u128::from(n) * u128::from(WHOLE.saturating_sub(per_myriad)) >= u128::from(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_by_hand() {
        for (n, per_myriad, rank) in [
            (1, 0, 1),
            (1, 10_000, 1),
            (4, 5_000, 2),
            (5, 5_000, 3),
            (100, 9_900, 99),
            (101, 9_900, 100),
            (1_000, 9_990, 999),
            (10, 20_000, 10),
            (u64::MAX, 10_000, u64::MAX),
        ] {
            assert_eq!(nearest_rank(n, per_myriad), rank, "n {n}, {per_myriad}");
        }
    }

    #[test]
    fn what_it_takes_for_a_value_to_lie_beyond() {
        for (least, per_myriad) in [(2, 5_000), (20, 9_500), (100, 9_900), (1_000, 9_990)] {
            assert!(is_resolved(least, per_myriad) && !is_resolved(least - 1, per_myriad), "{per_myriad}");
        }
        assert!(!is_resolved(u64::MAX, 10_000), "nothing lies beyond the greatest value");
    }
}
