//! Kernels for x86-64: which levels the processor has, and their tables.

#![expect(clippy::needless_range_loop, reason = "an index names a column, a row or a panel in several arrays at once")]

mod ahead;
mod amx;
mod avx2;
mod avx512;
pub(super) mod peak;

use std::arch::x86_64::*;

use super::Isa;
use super::columns::for_columns;
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
        Isa::Avx2 => avx2,
        Isa::Avx512 => avx512,
        Isa::Avx512Vnni => avx512 && is_x86_feature_detected!("avx512vnni"),
        Isa::Amx => avx512 && is_x86_feature_detected!("avx512vnni") && amx::is_available(),
        _ => false,
    }
}

/// The table of a level, or `None` for a level of other processors.
pub(super) fn table(isa: Isa) -> Option<&'static Table> {
    match isa {
        Isa::Portable => Some(&super::generic::TABLE),
        Isa::Avx2 => Some(&avx2::TABLE),
        Isa::Avx512 => Some(&avx512::TABLE),
        Isa::Avx512Vnni => Some(&avx512::TABLE_VNNI),
        Isa::Amx => Some(&amx::TABLE),
        _ => None,
    }
}

/// The sum of 8 lanes in the order of `generic::float`: 4 + 4, 2 + 2, 1 + 1.
///
/// # Safety
/// AVX.
#[inline(always)]
unsafe fn sum_8(v: __m256) -> f32 {
    // SAFETY: register arithmetic.
    unsafe {
        let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
    }
}
