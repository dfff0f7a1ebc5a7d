//! A lock and a condition, the standard library's without its poisoning (what panics hold poisons the handle, at the boundary).
//!
//! Why not `parking_lot`: it keeps a table for the life of the process and state in each thread that ever waited, so that a shared library
//! that uses it is not unloaded, or leaves memory behind.

#[cfg(not(loquat_watched))]
mod standard;
#[cfg(loquat_watched)]
mod watched;

#[cfg(not(loquat_watched))]
pub use standard::{Condvar, Mutex};
#[cfg(loquat_watched)]
pub use watched::{Condvar, Mutex};
