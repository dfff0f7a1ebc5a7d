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
pub mod cold_start;
pub mod compare;
pub mod convoy;
mod demand;
mod divergence;
mod finding;
mod fusion;
mod host;
pub mod kv_cache;
mod kv_use;
mod load;
mod plan;
pub mod prefill;
pub mod quality;
mod recompute;
pub mod report;
mod request;
pub mod requests;
mod result;
mod roof;
pub mod roofline;
pub mod saturation;
mod sensors;
mod settings;
pub mod statistics;
mod stop;
mod string_map;
mod summary;
mod system;
mod table;
mod traffic;
mod workload;

pub use claim::{Claim, FEWEST_PAIRS, PairRatio};
pub use clock::Clock;
pub use cold_start::{Begun, ColdStartOptions, ColdStartResult, PageCache};
pub use compare::{Change, Comparison, RegressionLimits};
pub use convoy::{ConvoyFigures, ConvoyLimits, ConvoyOptions, ConvoyRepeat, ConvoyResult, LongRequests};
pub use demand::{Demand, Work};
pub use finding::{Finding, Kind, SCHEMA_VERSION, Verdict, json, text};
pub use fusion::{Fusion, FusionRow};
pub use host::{Context, Host, Subject};
pub use kv_cache::{KvCacheOptions, KvCacheResult, KvCacheRow};
pub use kv_use::{KvTimeline, KvUse};
pub use load::LoadTimes;
pub use plan::Plan;
pub use prefill::{PrefillOptions, PrefillResult, PrefillRow};
pub use quality::{Perplexity, QualityLimits, QualityOptions, QualityResult};
pub use request::RequestTimes;
pub use requests::RequestsOptions;
pub use result::{BenchmarkConfig, BenchmarkResult};
pub use roof::{BlockRate, Rate, Roof, ThreadRoof};
pub use roofline::{RoofPoint, RooflineOptions, RooflineResult, Way};
pub use saturation::{SaturationFigures, SaturationLimits, SaturationOptions, SaturationRepeat, SaturationResult};
pub use sensors::{Energy, EnergyUse, MemoryUse, Reading, Sensors, SensorsResult, Thermal, Validity};
pub use settings::Settings;
pub use stop::{Sampling, Stop, StopReason, StopRule};
pub use string_map::MapRow;
pub use summary::{BenchmarkSummary, SeriesSummary};
pub use table::{Table, figure};
pub use traffic::{Request, RequestResult, Served};
pub use workload::{Workload, check_deterministic, deterministic_sampler, prompt};
