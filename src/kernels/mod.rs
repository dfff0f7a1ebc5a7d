//! Floor 2: arithmetic on slices, chosen once at run time for the instruction set.
//!
//! - [`Matrix`]: weights where they are mapped, in the bytes of their tensor type.
//! - [`ActKind`], [`Acts`]: how the other operand is stored.
//! - [`peak`]: what the processor can do at most, to measure the products against.
//! - [`Kernels`]: the functions of one [`Isa`]. All levels give the same bits; `generic` defines them.
//!
//! The order of arithmetic is fixed (see `generic::integer` and `generic::float`), so a result does not depend on the number
//! of columns, on how rows are split, or on the level.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod activation;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod columns;
pub mod encode;
mod generic;
mod isa;
pub mod kv;
mod matrix;
pub mod ops;
pub mod peak;
mod table;
#[cfg(test)]
mod tests;
pub mod vector;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activation::{ActKind, Acts};
pub use isa::Isa;
pub use matrix::Matrix;
pub use table::Kernels;
