//! Floor 6: the measurement suite. Workloads, stop rule, statistics, and the tests that are made of them.
//!
//! Everything here measures the engine through the same public interface that a host has; nothing is estimated from a formula where it can
//! be timed. A figure that could not be measured is `None` and becomes `null`, never 0. Units stand in the names. Long measurements are
//! [jobs](crate::base::Job): their owner polls them, watches their progress, and may end them at any time.
//!
//! Not here: what a running host counts about itself (that is [`metrics`](crate::metrics)), and printing of any kind.

#![forbid(unsafe_code)]

pub mod statistics;
