//! Floor 6: the measurement suite. Workloads, stop rule, statistics, and the tests that are made of them.
//!
//! Everything here measures the engine through the same public interface that a host has; nothing is estimated from a formula where it can
//! be timed. A figure that could not be measured is `None` and becomes `null`, never 0. Units stand in the names. Long measurements are
//! [jobs](crate::base::Job): their owner polls them, watches their progress, and may end them at any time; the time between polls is not
//! counted ([`Clock`]). What they hand back is a [`Finding`]: figures, JSON, a table for people, and a verdict where there are limits.
//!
//! Not here: what a running host counts about itself (that is [`metrics`](crate::metrics)), and printing of any kind.

#![forbid(unsafe_code)]

mod burners;
mod claim;
mod clock;
pub mod compare;
pub mod convoy;
mod finding;
mod host;
pub mod kv_cache;
mod kv_use;
mod load;
mod plan;
pub mod prefill;
mod recompute;
mod request;
pub mod requests;
mod result;
pub mod saturation;
mod settings;
pub mod statistics;
mod stop;
mod string_map;
mod summary;
mod table;
mod traffic;
mod workload;

pub use claim::{Claim, FEWEST_PAIRS, PairRatio};
pub use clock::Clock;
pub use compare::{Change, Comparison, RegressionLimits};
pub use convoy::{ConvoyFigures, ConvoyLimits, ConvoyOptions, ConvoyRepeat, ConvoyResult, LongRequests};
pub use finding::{Finding, Kind, SCHEMA_VERSION, Verdict, json, text};
pub use host::{Context, Host, Subject};
pub use kv_cache::{KvCacheOptions, KvCacheResult, KvCacheRow};
pub use kv_use::{KvTimeline, KvUse};
pub use load::LoadTimes;
pub use plan::Plan;
pub use prefill::{PrefillOptions, PrefillResult, PrefillRow};
pub use request::RequestTimes;
pub use requests::RequestsOptions;
pub use result::{BenchmarkConfig, BenchmarkResult};
pub use saturation::{SaturationFigures, SaturationLimits, SaturationOptions, SaturationRepeat, SaturationResult};
pub use settings::Settings;
pub use stop::{Sampling, Stop, StopReason, StopRule};
pub use string_map::MapRow;
pub use summary::{BenchmarkSummary, SeriesSummary};
pub use table::{Table, figure};
pub use traffic::{Request, RequestResult, Served};
pub use workload::{Workload, check_deterministic, deterministic_sampler, prompt};
