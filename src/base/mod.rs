//! Floor 0: what every floor above stands on. Errors, memory and its budget, shared bytes, the worker pool, long work in slices.
//!
//! Nothing here knows of models, files or tokens.

pub mod blocks;
pub mod bytes;
pub mod error;
pub mod float_mode;
pub mod fma;
pub mod job;
pub mod memory;
pub mod pace;
pub mod page_cache;
pub mod pool;
pub mod process;
pub mod procfs;
pub mod sort;
pub mod sync;
pub mod vectors;

pub use blocks::BlockSource;
pub use bytes::SharedBytes;
pub use error::{Error, ErrorKind, Result};
pub use job::{Job, JobState, JobWatch};
pub use memory::{AlignedBuf, MemoryBudget, MemoryCategory, Reservation, Trim};
pub use pace::{Pace, Stage, at_once};
pub use pool::{ParallelFor, Pool, ThreadHooks};
