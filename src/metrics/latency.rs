//! A latency series: count, sum, extremes, moments and histogram, recorded by one writer and read as a snapshot.
//!
//! The variance is kept by Welford's recurrence and merged by Chan's, which don't cancel where the spread is small against the mean.

use std::sync::atomic::{AtomicU64, Ordering};

use super::epoch::{Cells, add, take};
use super::histogram::{BUCKETS, Histogram, index_of};
use super::rank::is_resolved;

/// The cells of one series.
pub(super) struct LatencyCells {
    counts: [AtomicU64; BUCKETS],
    count: AtomicU64,
    sum_ns: AtomicU64,
    min_ns: AtomicU64,
    max_ns: AtomicU64,
    /// `f64` bits: the running mean of Welford's recurrence and the sum of squared differences from it.
    mean: AtomicU64,
    m2: AtomicU64,
}

impl Default for LatencyCells {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            count: AtomicU64::new(0),
            sum_ns: AtomicU64::new(0),
            min_ns: AtomicU64::new(u64::MAX),
            max_ns: AtomicU64::new(0),
            mean: AtomicU64::new(0),
            m2: AtomicU64::new(0),
        }
    }
}

impl LatencyCells {
    /// Adds one value. Called by the only writer.
    pub fn record(&self, ns: u64) {
        add(&self.counts[index_of(ns)], 1);
        add(&self.sum_ns, ns);
        let count = self.count.load(Ordering::Relaxed) + 1;
        self.count.store(count, Ordering::Relaxed);
        if ns < self.min_ns.load(Ordering::Relaxed) {
            self.min_ns.store(ns, Ordering::Relaxed);
        }
        if ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.store(ns, Ordering::Relaxed);
        }
        let mean = f64::from_bits(self.mean.load(Ordering::Relaxed));
        let delta = ns as f64 - mean;
        let new_mean = mean + delta / count as f64;
        let m2 = f64::from_bits(self.m2.load(Ordering::Relaxed)) + delta * (ns as f64 - new_mean);
        self.mean.store(new_mean.to_bits(), Ordering::Relaxed);
        self.m2.store(m2.to_bits(), Ordering::Relaxed);
    }
}

impl Cells for LatencyCells {
    type Total = LatencyTotal;

    fn drain(&self, total: &mut LatencyTotal) {
        let count = take(&self.count);
        if count == 0 {
            return;
        }
        let mut part = Moments {
            count,
            sum_ns: take(&self.sum_ns),
            min_ns: self.min_ns.load(Ordering::Relaxed),
            max_ns: take(&self.max_ns),
            mean: f64::from_bits(take(&self.mean)),
            m2: f64::from_bits(take(&self.m2)),
        };
        self.min_ns.store(u64::MAX, Ordering::Relaxed);
        std::mem::swap(&mut part, &mut total.moments);
        total.moments.merge(&part);
        for (index, cell) in self.counts.iter().enumerate() {
            let n = take(cell);
            if n > 0 {
                total.histogram.add(index, n);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Moments {
    count: u64,
    sum_ns: u64,
    /// Meaningless while `count` is 0.
    min_ns: u64,
    max_ns: u64,
    mean: f64,
    m2: f64,
}

impl Moments {
    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other.clone();
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.mean += delta * (m / (n + m));
        self.m2 += other.m2 + delta * delta * (n * m / (n + m));
        self.count += other.count;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

/// What was drained from one or more series.
#[derive(Clone, Default)]
pub(super) struct LatencyTotal {
    moments: Moments,
    histogram: Histogram,
}

impl LatencyTotal {
    /// Adds another series.
    pub fn merge(&mut self, other: &Self) {
        self.moments.merge(&other.moments);
        self.histogram.merge(&other.histogram);
    }

    /// The figures for people and programs.
    pub fn snapshot(&self) -> LatencySnapshot {
        let Moments { count, sum_ns, min_ns, max_ns, m2, .. } = self.moments;
        let some = count > 0;
        let mean_ns = some.then(|| sum_ns as f64 / count as f64);
        let variance_ns2 = (count > 1).then(|| m2.max(0.0) / (count - 1) as f64);
        let std_ns = variance_ns2.map(f64::sqrt);
        let cv_pct = std_ns.zip(mean_ns).filter(|(_, mean)| *mean > 0.0).map(|(std, mean)| 100.0 * std / mean);
        let quantile = |per_myriad: u32| {
            let value_ns = self.histogram.quantile_ns(per_myriad, min_ns, max_ns)?;
            Some(Quantile { value_ns, resolved: is_resolved(count, per_myriad) })
        };
        LatencySnapshot {
            count,
            sum_ns,
            min_ns: some.then_some(min_ns),
            max_ns: some.then_some(max_ns),
            mean_ns,
            variance_ns2,
            std_ns,
            cv_pct,
            p50: quantile(5_000),
            p95: quantile(9_500),
            p99: quantile(9_900),
            p999: quantile(9_990),
            overflow: self.histogram.overflow(),
            histogram: self.histogram.clone(),
        }
    }
}

/// One quantile of a series, by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantile {
    /// Nanoseconds; at most 2.5 % off for values from 1 µs to 10 min.
    pub value_ns: u64,
    /// Whether there are enough values for at least one to lie beyond: p50 needs 2, p95 20, p99 100, p99.9 1,000.
    pub resolved: bool,
}

/// The figures of a latency series at one moment. All of them describe the same records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LatencySnapshot {
    /// Values recorded.
    pub count: u64,
    /// Their sum in nanoseconds (it saturates after 584 years).
    pub sum_ns: u64,
    /// The smallest value; absent without values.
    pub min_ns: Option<u64>,
    /// The largest value; absent without values.
    pub max_ns: Option<u64>,
    /// Absent without values.
    pub mean_ns: Option<f64>,
    /// Sample variance (n − 1) in square nanoseconds; absent below two values.
    pub variance_ns2: Option<f64>,
    /// Sample standard deviation; absent below two values.
    pub std_ns: Option<f64>,
    /// Coefficient of variation, 100 · std / mean; absent below two values or with a mean of 0.
    pub cv_pct: Option<f64>,
    /// Median; absent without values, like the quantiles below.
    pub p50: Option<Quantile>,
    /// 95th percentile.
    pub p95: Option<Quantile>,
    /// 99th percentile.
    pub p99: Option<Quantile>,
    /// 99.9th percentile.
    pub p999: Option<Quantile>,
    /// Values above 10 minutes, which the histogram can't tell apart.
    pub overflow: u64,
    /// The counts per bucket.
    pub histogram: Histogram,
}

#[cfg(test)]
mod tests {
    use super::super::epoch::Recorder;
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> LatencySnapshot {
        let mut recorder = Recorder::<LatencyCells>::new();
        values.iter().for_each(|&ns| recorder.update(|cells| cells.record(ns)));
        recorder.reader().collect(|total| total.snapshot())
    }

    #[test]
    fn nothing_recorded_is_absent_not_zero() {
        let empty = of(&[]);
        assert_eq!((empty.count, empty.sum_ns, empty.overflow), (0, 0, 0));
        assert_eq!((empty.min_ns, empty.max_ns, empty.mean_ns), (None, None, None));
        assert_eq!((empty.variance_ns2, empty.std_ns, empty.cv_pct), (None, None, None));
        assert_eq!((empty.p50, empty.p999), (None, None));
        let one = of(&[1_500]);
        assert_eq!((one.min_ns, one.max_ns, one.mean_ns, one.variance_ns2), (Some(1_500), Some(1_500), Some(1_500.0), None));
        assert_eq!(one.p50, Some(Quantile { value_ns: 1_500, resolved: false }), "kept between the extremes");
    }

    #[test]
    fn variance_does_not_cancel() {
        // The textbook case: a spread of a few units on a large offset. Exact sample variance 30.
        let offset = 500_000_000_000;
        let snapshot = of(&[offset + 4, offset + 7, offset + 13, offset + 16]);
        assert!((snapshot.variance_ns2.unwrap() - 30.0).abs() < 1e-3, "{:?}", snapshot.variance_ns2);
        assert_eq!(snapshot.mean_ns, Some(offset as f64 + 10.0));
    }

    #[test]
    fn golden_vector() {
        // 1…1000 µs: mean 500.5, sample variance n(n+1)/12.
        let values: Vec<u64> = (1..=1_000).map(|us| us * 1_000).collect();
        let snapshot = of(&values);
        assert_eq!((snapshot.count, snapshot.sum_ns), (1_000, 500_500_000));
        assert_eq!((snapshot.min_ns, snapshot.max_ns), (Some(1_000), Some(1_000_000)));
        let variance = 1_000.0 * 1_001.0 / 12.0 * 1e6;
        assert!((snapshot.variance_ns2.unwrap() / variance - 1.0).abs() < 1e-12);
        assert!((snapshot.cv_pct.unwrap() - 100.0 * variance.sqrt() / 500_500.0).abs() < 1e-9);
        for (quantile, exact) in [(snapshot.p50, 500_000u64), (snapshot.p95, 950_000), (snapshot.p99, 990_000), (snapshot.p999, 999_000)] {
            let quantile = quantile.unwrap();
            assert!(quantile.resolved && quantile.value_ns.abs_diff(exact) * 40 <= exact, "{quantile:?} for {exact}");
        }
    }

    #[test]
    fn a_quantile_is_resolved_when_values_can_lie_beyond_it() {
        let n = |count: usize| of(&vec![5_000; count]);
        assert!(!n(19).p95.unwrap().resolved && n(20).p95.unwrap().resolved);
        assert!(!n(99).p99.unwrap().resolved && n(100).p99.unwrap().resolved);
        assert!(!n(999).p999.unwrap().resolved && n(1_000).p999.unwrap().resolved);
    }

    #[test]
    fn extreme_values_saturate() {
        let snapshot = of(&[u64::MAX, u64::MAX, 0]);
        assert_eq!((snapshot.count, snapshot.sum_ns, snapshot.overflow), (3, u64::MAX, 2));
        assert_eq!((snapshot.min_ns, snapshot.max_ns), (Some(0), Some(u64::MAX)));
    }

    proptest! {
        #[test]
        fn parts_merge_to_the_whole(values in prop::collection::vec(0u64..10_000_000_000, 2..200), cut in 0usize..200) {
            let cut = cut.min(values.len());
            let mut recorder = Recorder::<LatencyCells>::new();
            let reader = recorder.reader();
            for (i, &ns) in values.iter().enumerate() {
                if i == cut {
                    reader.collect(|_| ()); // drain in between
                }
                recorder.update(|cells| cells.record(ns));
            }
            let parts = reader.collect(|total| total.snapshot());
            let whole = of(&values);
            prop_assert_eq!(&parts.histogram, &whole.histogram);
            prop_assert_eq!((parts.count, parts.sum_ns, parts.min_ns, parts.max_ns), (whole.count, whole.sum_ns, whole.min_ns, whole.max_ns));
            let mean = values.iter().map(|&v| v as f64).sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
            for got in [parts.variance_ns2.unwrap(), whole.variance_ns2.unwrap()] {
                prop_assert!((got - variance).abs() <= 1e-9 * variance.max(1.0), "{} for {}", got, variance);
            }
        }
    }
}
