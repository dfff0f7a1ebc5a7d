//! The times between tokens: each request's own, and all of them pooled. The time to a request's first token is not among them.

use super::outliers::median_absolute_deviation;
use super::percentile::{P50, P95, P99, P999, Percentile, Sorted};
use super::spread::{mean, sample_std};

/// A gap of more than so many medians is a stall.
const STALL: f64 = 3.0;

/// Figures of inter-token latencies, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct InterToken {
    /// Gaps between tokens, over all requests.
    pub n: usize,
    /// Pooled over the requests, as are the percentiles below.
    pub median_ms: f64,
    /// Mean of the pooled gaps.
    pub mean_ms: f64,
    /// Sample standard deviation; absent below two gaps.
    pub std_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Percentile,
    /// 99th percentile.
    pub p99_ms: Percentile,
    /// 99.9th percentile.
    pub p999_ms: Percentile,
    /// The longest gap.
    pub max_ms: f64,
    /// Median absolute deviation.
    pub mad_ms: f64,
    /// Mean difference between a gap and the one before it in the same request; absent where no request has two gaps.
    pub jitter_ms: Option<f64>,
    /// Gaps of more than three times the median.
    pub stalls: usize,
}

impl InterToken {
    /// The figures of one list of gaps per request; `None` without any.
    pub fn of(requests: &[Vec<f64>]) -> Option<Self> {
        let pooled: Vec<f64> = requests.iter().flatten().copied().collect();
        let sorted = Sorted::new(&pooled);
        let median_ms = sorted.percentile(P50)?.value;
        let steps: Vec<f64> = requests.iter().flat_map(|gaps| gaps.windows(2).map(|pair| (pair[1] - pair[0]).abs())).collect();
        Some(Self {
            n: pooled.len(),
            median_ms,
            mean_ms: mean(&pooled)?,
            std_ms: sample_std(&pooled),
            p95_ms: sorted.percentile(P95)?,
            p99_ms: sorted.percentile(P99)?,
            p999_ms: sorted.percentile(P999)?,
            max_ms: *sorted.values().last()?,
            mad_ms: median_absolute_deviation(&pooled)?,
            jitter_ms: mean(&steps),
            stalls: pooled.iter().filter(|&&gap| gap > STALL * median_ms).count(),
        })
    }

    /// Whether the jitter is at most `threshold`, as a share of the median gap. `None` where there is no jitter to judge.
    pub fn is_low_jitter(&self, threshold: f64) -> Option<bool> {
        Some(self.jitter_ms? <= threshold * self.median_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vector() {
        let figures = InterToken::of(&[vec![10.0, 12.0, 11.0], vec![], vec![10.0, 40.0]]).unwrap();
        assert_eq!((figures.n, figures.median_ms, figures.mean_ms), (5, 11.0, 16.6));
        assert_eq!((figures.max_ms, figures.mad_ms, figures.stalls), (40.0, 1.0, 1));
        // |2|, |−1| and |30|: the step from one request to the next does not count.
        assert_eq!(figures.jitter_ms, Some(11.0));
        assert_eq!((figures.is_low_jitter(1.0), figures.is_low_jitter(0.9)), (Some(true), Some(false)));
        assert!((figures.std_ms.unwrap() - 171.8f64.sqrt()).abs() < 1e-12);
        assert!(!figures.p99_ms.resolved);
    }

    #[test]
    fn what_too_few_gaps_cannot_tell_is_absent() {
        assert_eq!(InterToken::of(&[vec![], vec![]]), None);
        let one = InterToken::of(&[vec![5.0], vec![]]).unwrap();
        assert_eq!((one.std_ms, one.jitter_ms, one.is_low_jitter(1.0)), (None, None, None));
    }
}
