//! Confidence intervals by resampling (Efron's bootstrap): how far the printed statistic would move if the run were repeated.
//!
//! What is resampled is whole requests, with all values that belong to each: the gaps between the tokens of one request are no independent
//! samples. The generator is the sampler's, its seed is recorded, and bounded numbers are drawn without bias.
//!
//! The ends of an interval are quantiles of the replicates. A replicate of a median is one of the sample's own values, so that the
//! replicates lie in heaps; an end that falls inside a heap is interpolated between the middles of that heap and the next, without which
//! a nominal 95 % would be 92 % for some n. Means of few values are known to give too short intervals in this way; their ends are moved
//! outwards as Student's t has it (Hesterberg 2015, "What teachers should know about the bootstrap", §3.5).

use crate::metrics::rank::nearest_rank;
use crate::sampling::rng::Rng;

use super::percentile::P50;

/// Resamples of a reported interval.
pub const RESAMPLES: usize = 10_000;

/// Fewest requests that an interval is given for.
const FEWEST: usize = 8;
/// Share of repeated runs whose statistic the interval is to cover.
const LEVEL: f64 = 0.95;
/// The two-sided quantile of the normal distribution for [`LEVEL`].
const NORMAL_QUANTILE: f64 = 1.959_964;

/// What is computed of the pooled values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// The mean.
    Mean,
    /// The percentile by nearest rank, in parts of 10,000.
    Percentile(u32),
}

impl Statistic {
    /// The median.
    pub const MEDIAN: Self = Self::Percentile(P50);
}

/// A confidence interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Requests that were resampled (the fewer of two, for a ratio).
    pub n: usize,
    /// How often.
    pub resamples: usize,
    /// Seed of the generator.
    pub seed: u64,
}

impl Interval {
    /// Half of its width as a share of `value`, or `None` where that is 0.
    pub fn half_width_share(&self, value: f64) -> Option<f64> {
        (value != 0.0).then(|| (self.high - self.low) / 2.0 / value.abs())
    }

    /// Whether `value` lies in it.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The values of requests, from which one replicate after the other is drawn.
#[derive(Debug, Clone)]
struct Sample {
    /// All values ascending, each with the number of its request.
    pooled: Vec<(f64, u32)>,
    /// Per request: how many values it has, and their sum.
    requests: Vec<(u64, f64)>,
    /// How often each request is in the resample in hand.
    drawn: Vec<u64>,
}

impl Sample {
    fn new<R: AsRef<[f64]>>(requests: &[R]) -> Option<Self> {
        let requests: Vec<&[f64]> = requests.iter().map(AsRef::as_ref).filter(|values| !values.is_empty()).collect();
        if requests.len() < FEWEST || requests.iter().any(|values| values.iter().any(|value| !value.is_finite())) {
            return None;
        }
        let numbered = requests.iter().enumerate().flat_map(|(number, values)| values.iter().map(move |&value| (value, number as u32)));
        let mut pooled: Vec<(f64, u32)> = numbered.collect();
        pooled.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let drawn = vec![0; requests.len()];
        let requests = requests.iter().map(|values| (values.len() as u64, values.iter().sum())).collect();
        Some(Self { pooled, requests, drawn })
    }

    fn replicate(&mut self, statistic: Statistic, rng: &mut Rng) -> f64 {
        self.drawn.fill(0);
        let (mut count, mut sum) = (0u64, 0.0);
        for _ in 0..self.requests.len() {
            let request = rng.below(self.requests.len() as u64) as usize;
            self.drawn[request] += 1;
            count += self.requests[request].0;
            sum += self.requests[request].1;
        }
        match statistic {
            Statistic::Mean => sum / count as f64,
            Statistic::Percentile(per_myriad) => {
                let (rank, mut seen) = (nearest_rank(count, per_myriad), 0);
                let reached = self.pooled.iter().find(|(_, request)| {
                    seen += self.drawn[*request as usize];
                    seen >= rank
                });
                reached.expect("the rank is at most the number of values").0
            }
        }
    }
}

/// A bootstrap in progress: replicates are added one by one, so that long ones can pause in between.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    over: Sample,
    /// What the statistic of `over` is divided by, for a ratio.
    under: Option<Sample>,
    statistic: Statistic,
    rng: Rng,
    seed: u64,
    replicates: Vec<f64>,
}

impl Bootstrap {
    /// A bootstrap of `statistic` over the values of `requests`, one list for each. `None` where fewer than 8 have values, or a value is not
    /// finite.
    pub fn new<R: AsRef<[f64]>>(requests: &[R], statistic: Statistic, seed: u64) -> Option<Self> {
        let over = Sample::new(requests)?;
        Some(Self { over, under: None, statistic, rng: Rng::new(seed), seed, replicates: vec![] })
    }

    /// A bootstrap of the ratio of the statistic of `over` to that of `under`, two runs whose requests have nothing to do with each other.
    /// `None` as for [`new`](Self::new).
    pub fn of_ratio<R: AsRef<[f64]>>(over: &[R], under: &[R], statistic: Statistic, seed: u64) -> Option<Self> {
        Some(Self { under: Some(Sample::new(under)?), ..Self::new(over, statistic, seed)? })
    }

    /// Adds a replicate.
    pub fn resample(&mut self) {
        let mut replicate = self.over.replicate(self.statistic, &mut self.rng);
        if let Some(under) = &mut self.under {
            replicate /= under.replicate(self.statistic, &mut self.rng);
        }
        self.replicates.push(replicate);
    }

    /// The interval of the replicates; `None` without any, or where a ratio divided by 0.
    pub fn interval(mut self) -> Option<Interval> {
        if self.replicates.is_empty() || self.replicates.iter().any(|replicate| !replicate.is_finite()) {
            return None;
        }
        self.replicates.sort_unstable_by(f64::total_cmp);
        let n = self.under.iter().map(|under| under.requests.len()).fold(self.over.requests.len(), usize::min);
        let tail = match self.statistic {
            Statistic::Mean => student_tail(n),
            Statistic::Percentile(_) => (1.0 - LEVEL) / 2.0,
        };
        let heaps = heaps(&self.replicates);
        let (low, high) = (quantile(&heaps, tail), quantile(&heaps, 1.0 - tail));
        Some(Interval { low, high, n, resamples: self.replicates.len(), seed: self.seed })
    }

    fn run(mut self) -> Option<Interval> {
        (0..RESAMPLES).for_each(|_| self.resample());
        self.interval()
    }
}

/// The 95 % interval of `statistic` over `values`, each from a request of its own; `None` below 8 values.
pub fn interval(values: &[f64], statistic: Statistic, seed: u64) -> Option<Interval> {
    Bootstrap::new(values.as_chunks::<1>().0, statistic, seed)?.run()
}

/// The 95 % interval of the ratio of the statistic of `over` to that of `under`; `None` where either has fewer than 8 values.
pub fn ratio_interval(over: &[f64], under: &[f64], statistic: Statistic, seed: u64) -> Option<Interval> {
    Bootstrap::of_ratio(over.as_chunks::<1>().0, under.as_chunks::<1>().0, statistic, seed)?.run()
}

/// Equal values of a sorted list as one: value, and the share of the list at the middle of its heap.
fn heaps(sorted: &[f64]) -> Vec<(f64, f64)> {
    let (mut seen, n) = (0, sorted.len() as f64);
    let heaps = sorted.chunk_by(|a, b| a == b).map(|heap| {
        seen += heap.len();
        (heap[0], (seen as f64 - heap.len() as f64 / 2.0) / n)
    });
    heaps.collect()
}

/// The value at `share`, interpolated between the middles of heaps.
fn quantile(heaps: &[(f64, f64)], share: f64) -> f64 {
    let above = heaps.partition_point(|heap| heap.1 < share);
    match (above.checked_sub(1).map(|below| heaps[below]), heaps.get(above)) {
        (Some(below), Some(above)) => below.0 + (above.0 - below.0) * ((share - below.1) / (above.1 - below.1)),
        (Some(last), None) => last.0,
        (None, _) => heaps[0].0,
    }
}

/// The share of replicates of a mean of `n` values that lies beyond each end: below 2.5 % by what Student's t is wider than the normal
/// distribution, and the sample's spread greater than the replicates'.
fn student_tail(n: usize) -> f64 {
    let (z, v) = (NORMAL_QUANTILE, (n - 1) as f64);
    // Student's quantile by powers of 1/v (Abramowitz and Stegun 26.7.5): within 0.001 for the 7 degrees of freedom that there are at least.
    let t = z
        + (z.powi(3) + z) / (4.0 * v)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * v.powi(2))
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * v.powi(3));
    normal_tail(t * (n as f64 / v).sqrt())
}

/// The share of the normal distribution above `x` ≥ 0 (Abramowitz and Stegun 26.2.17: within 1e-7).
fn normal_tail(x: f64) -> f64 {
    let k = 1.0 / (1.0 + 0.231_641_9 * x);
    let series = k * (0.319_381_530 + k * (-0.356_563_782 + k * (1.781_477_937 + k * (-1.821_255_978 + k * 1.330_274_429))));
    (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series
}

#[cfg(test)]
mod tests {
    use super::super::percentile::P99;
    use super::*;
    use crate::sampling::rng::Rng;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    /// A normally distributed number (Box and Muller).
    fn normal(rng: &mut Rng) -> f64 {
        (-2.0 * (1.0 - rng.next_f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.next_f64()).cos()
    }

    #[test]
    fn tails_by_tables() {
        assert!((normal_tail(1.959_964) - 0.025).abs() < 1e-6);
        assert!((normal_tail(0.0) - 0.5).abs() < 1e-6);
        // t of 15 degrees of freedom is 2.131 at 2.5 %: the tail beyond 2.131 · √(16/15).
        assert!((student_tail(16) - 0.013_87).abs() < 1e-4, "{}", student_tail(16));
    }

    /// Share of intervals that cover the true value, of `n` values each.
    fn coverage(n: usize, statistic: Statistic, draw: fn(&mut Rng) -> f64, truth: f64) -> f64 {
        const RUNS: usize = 1_500;
        let mut rng = Rng::new(n as u64);
        let covers = |run: usize| {
            let values: Vec<[f64; 1]> = (0..n).map(|_| [draw(&mut rng)]).collect();
            let mut bootstrap = Bootstrap::new(&values, statistic, run as u64).unwrap();
            (0..2_000).for_each(|_| bootstrap.resample());
            bootstrap.interval().unwrap().contains(truth)
        };
        (0..RUNS).map(covers).filter(|&covered| covered).count() as f64 / RUNS as f64
    }

    #[test]
    fn ninety_five_percent_are_ninety_three_to_ninety_seven() {
        for n in [16, 32, 64, 100] {
            let log_normal: fn(&mut Rng) -> f64 = |rng| (0.5 * normal(rng)).exp();
            for (name, statistic, draw, truth) in [
                ("median, normal", Statistic::MEDIAN, normal as fn(&mut Rng) -> f64, 0.0),
                ("median, log-normal", Statistic::MEDIAN, log_normal, 1.0),
                ("mean, normal", Statistic::Mean, normal, 0.0),
            ] {
                let coverage = coverage(n, statistic, draw, truth);
                assert!((0.93..=0.97).contains(&coverage), "{name}, n = {n}: {coverage}");
            }
        }
    }

    #[test]
    fn resamples_differ() {
        let values: Vec<[f64; 1]> = (0..16).map(|value| [f64::from(value)]).collect();
        let mut bootstrap = Bootstrap::new(&values, Statistic::Mean, 0).unwrap();
        (0..1_000).for_each(|_| bootstrap.resample());
        bootstrap.replicates.sort_unstable_by(f64::total_cmp);
        let distinct = bootstrap.replicates.chunk_by(|a, b| a == b).count();
        assert!(distinct > 60, "{distinct} different means of 1,000 resamples");
    }

    #[test]
    fn requests_are_resampled_whole() {
        // Eight requests, each of 50 equal values: the interval must be as wide as that of 8 values, not of 400.
        let requests: Vec<Vec<f64>> = (0..8).map(|request| vec![f64::from(request); 50]).collect();
        let singles: Vec<f64> = (0..8).map(f64::from).collect();
        let whole = Bootstrap::new(&requests, Statistic::Mean, 5).unwrap().run().unwrap();
        let single = interval(&singles, Statistic::Mean, 5).unwrap();
        assert_eq!((whole.low, whole.high, whole.n), (single.low, single.high, 8));
    }

    #[test]
    fn too_few_values_are_refused() {
        assert_eq!(interval(&[1.0; 7], Statistic::MEDIAN, 0), None);
        assert_eq!(interval(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, f64::NAN], Statistic::MEDIAN, 0), None);
        assert!(Bootstrap::new(&[vec![1.0; 100], vec![]], Statistic::MEDIAN, 0).is_none());
        assert_eq!(ratio_interval(&[1.0; 8], &[0.0; 8], Statistic::MEDIAN, 0), None);
    }

    #[test]
    fn the_ratio_of_two_runs_is_covered() {
        let mut rng = Rng::new(9);
        let mut run = |scale: f64| -> Vec<f64> { (0..300).map(|_| scale * (10.0 + normal(&mut rng))).collect() };
        let (slow, fast) = (run(1.5), run(1.0));
        let interval = ratio_interval(&slow, &fast, Statistic::Percentile(P99), 1).unwrap();
        assert!(interval.contains(1.5) && interval.high - interval.low < 0.3, "{interval:?}");
        assert_eq!(interval.n, 300);
    }

    proptest! {
        #[test]
        fn an_interval_lies_within_the_values_and_is_the_same_for_the_same_seed(
            values in prop::collection::vec(0.0f64..1e6, 8..40), seed: u64,
        ) {
            for statistic in [Statistic::MEDIAN, Statistic::Mean] {
                let found = interval(&values, statistic, seed).unwrap();
                let least = values.iter().copied().fold(f64::MAX, f64::min);
                let most = values.iter().copied().fold(0.0, f64::max);
                prop_assert!(least <= found.low && found.low <= found.high && found.high <= most);
                prop_assert_eq!(interval(&values, statistic, seed), Some(found));
            }
        }
    }
}
