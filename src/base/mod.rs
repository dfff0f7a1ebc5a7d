//! Floor 0: what every floor above stands on. Errors, memory and its budget, shared bytes.
//!
//! Nothing here knows of models, files or tokens.

pub mod bytes;
pub mod error;
pub mod memory;

pub use bytes::SharedBytes;
pub use error::{Error, ErrorKind, Result};
pub use memory::{AlignedBuf, MemoryBudget, MemoryCategory, Reservation};
