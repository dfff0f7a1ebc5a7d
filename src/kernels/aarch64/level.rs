//! The levels: which dot products each has, and how a kernel is compiled with its instructions.

use super::dot::{self, Dot};
use super::panel::{ByLane, ByPair, Panel};

/// A kernel with its arguments, written once for all levels.
pub(super) trait Kernel {
    /// Runs it. Implementations are `inline(always)`, so that they are compiled with the features of [`Level::enter`].
    ///
    /// # Safety
    /// The processor has the level; the rest is the kernel's own contract.
    unsafe fn run<L: Level>(self);
}

/// A level of instructions.
pub(super) trait Level {
    /// Products for few columns.
    type Dot: Dot;
    /// Products for many columns.
    type Panel: Panel;
    /// The level whose kernels for few columns this one has.
    type Few: Level;
    /// Runs a kernel with the features of the level.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    unsafe fn enter<K: Kernel>(kernel: K);
}

/// [`Isa::Neon`](super::Isa::Neon).
pub(super) struct Neon;
impl Level for Neon {
    type Dot = dot::Widening;
    type Panel = ByLane<dot::Widening>;
    type Few = Self;
    unsafe fn enter<K: Kernel>(kernel: K) {
        // SAFETY: passed on.
        unsafe { kernel.run::<Self>() }
    }
}

/// [`Isa::Dotprod`](super::Isa::Dotprod).
pub(super) struct Dotprod;
impl Level for Dotprod {
    type Dot = dot::Sdot;
    type Panel = ByLane<dot::Sdot>;
    type Few = Self;
    #[target_feature(enable = "dotprod")]
    unsafe fn enter<K: Kernel>(kernel: K) {
        // SAFETY: passed on.
        unsafe { kernel.run::<Self>() }
    }
}

/// [`Isa::I8mm`](super::Isa::I8mm).
pub(super) struct I8mm;
impl Level for I8mm {
    type Dot = dot::Sdot;
    type Panel = ByPair;
    // One column has no other to be paired with.
    type Few = Dotprod;
    #[target_feature(enable = "dotprod,i8mm")]
    unsafe fn enter<K: Kernel>(kernel: K) {
        // SAFETY: passed on.
        unsafe { kernel.run::<Self>() }
    }
}
