//! Floor 1: what the library counts about itself. Recording, snapshots, JSON and Prometheus text.
//!
//! Recording costs a few nanoseconds, takes no lock and allocates nothing: each session writes to cells of its own
//! ([`SessionRecorder`], [`DispatchRecorder`]), and whoever asks for a snapshot gathers them ([`epoch`] says how, without a
//! torn figure). A value that could not be measured is `None` and `null`, never 0; times are nanoseconds of the monotonic
//! clock, sizes are bytes, and the unit stands in the name.
//!
//! Nothing here measures: the floors above read the clock and hand the figures in.

#![forbid(unsafe_code)]

pub mod dispatch;
mod epoch;
pub mod histogram;
pub mod json;
pub mod latency;
pub mod prometheus;
pub mod rank;
pub mod runtime;
pub mod session;

pub use dispatch::{Device, DeviceSnapshot, DispatchMetrics, DispatchRecorder, DispatchSnapshot};
pub use histogram::Histogram;
pub use latency::{LatencySnapshot, Quantile};
pub use runtime::{CategoryUse, MemorySnapshot, RuntimeFacts, RuntimeMetrics, RuntimeSnapshot};
pub use session::{Outcome, SessionMetrics, SessionRecorder, SessionSnapshot, StepRecord, TokenTiming};
