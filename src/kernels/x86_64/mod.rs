//! Kernels for x86-64: which levels the processor has, and their tables.

#![expect(clippy::needless_range_loop, reason = "an index names a column, a row or a panel in several arrays at once")]

mod amx;
mod avx512;

use super::Isa;
use super::table::Table;

/// Whether the processor has the features of `isa`.
pub(super) fn is_available(isa: Isa) -> bool {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match isa {
        Isa::Portable => true,
        Isa::Avx2 => false,
        Isa::Avx512 => avx512,
        Isa::Avx512Vnni => avx512 && is_x86_feature_detected!("avx512vnni"),
        Isa::Amx => avx512 && is_x86_feature_detected!("avx512vnni") && amx::is_available(),
    }
}

/// The table of a level that is available.
pub(super) fn table(isa: Isa) -> &'static Table {
    match isa {
        Isa::Portable | Isa::Avx2 => &super::generic::TABLE,
        Isa::Avx512 => &avx512::TABLE,
        Isa::Avx512Vnni => &avx512::TABLE_VNNI,
        Isa::Amx => &amx::TABLE,
    }
}
