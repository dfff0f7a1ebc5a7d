//! The statistics of samples, in one place: every figure of the suite that is not a single measurement comes from here.
//!
//! Percentiles are by nearest rank, as in [`metrics`](crate::metrics::rank); spreads are those of samples (n − 1); intervals come from a
//! bootstrap with a recorded seed. What too few values can't tell is `None`.

mod bootstrap;
mod inter_token;
mod outliers;
mod percentile;
mod spread;
mod trend;

pub use bootstrap::{Bootstrap, Interval, RESAMPLES, Statistic, interval, ratio_interval};
pub use inter_token::InterToken;
pub use outliers::{Outliers, median_absolute_deviation};
pub use percentile::{P50, P95, P99, P999, Percentile, Sorted, median, percentile};
pub use spread::{coefficient_of_variation, increase_pct, mean, sample_std};
pub use trend::{Trend, mann_kendall};
