//! Floor 0: what every floor above stands on. Errors, memory and its budget, shared bytes, the worker pool.
//!
//! Nothing here knows of models, files or tokens.

pub mod bytes;
pub mod error;
pub mod fma;
pub mod memory;
pub mod pool;
pub mod sync;

pub use bytes::SharedBytes;
pub use error::{Error, ErrorKind, Result};
pub use memory::{AlignedBuf, MemoryBudget, MemoryCategory, Reservation};
pub use pool::Pool;
