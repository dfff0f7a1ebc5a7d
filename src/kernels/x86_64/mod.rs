//! Kernels for x86-64: which levels the processor has, and their tables.

use super::Isa;
use super::table::Table;

/// Whether the processor has the features of `isa` and this folder has kernels for it: none yet.
pub(super) fn is_available(_isa: Isa) -> bool {
    false
}

/// The table of a level that is available.
pub(super) fn table(_isa: Isa) -> &'static Table {
    &super::generic::TABLE
}
