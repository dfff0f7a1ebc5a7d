//! Registers of 256 bits: sums across lanes and transpositions.
//!
//! The helpers are inlined into functions that enable AVX2; none of them is called by itself. They have loops where a
//! closure would read better: a closure that is not inlined is compiled without AVX2.

use std::arch::x86_64::*;

/// Lane i of the result is the sum of the 8 lanes of `v[i]`.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn sum_8(v: [__m256i; 8]) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe {
        let (a, b) = (sum_4([v[0], v[1], v[2], v[3]]), sum_4([v[4], v[5], v[6], v[7]]));
        _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b))
    }
}

/// In each half, lane j is the sum of that half of `v[j]`.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn sum_4(v: [__m256i; 4]) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe { _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3])) }
}

/// Rows become columns: lane i of result j is lane j of `v[i]`.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn transpose(v: [__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: register arithmetic.
    unsafe {
        let (a, b) = (transpose_4([v[0], v[1], v[2], v[3]]), transpose_4([v[4], v[5], v[6], v[7]]));
        let mut out = [_mm256_setzero_si256(); 8];
        for j in 0..4 {
            out[j] = _mm256_permute2x128_si256::<0x20>(a[j], b[j]);
            out[4 + j] = _mm256_permute2x128_si256::<0x31>(a[j], b[j]);
        }
        out
    }
}

/// Transposes 4 x 4 lanes in each half.
#[inline(always)]
unsafe fn transpose_4(v: [__m256i; 4]) -> [__m256i; 4] {
    // SAFETY: register arithmetic.
    unsafe {
        let (a, b) = (_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
        let (c, d) = (_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
        [_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c), _mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d)]
    }
}

/// The f16 in the low half of each lane, as f32.
///
/// # Safety
/// AVX2, F16C.
#[inline(always)]
pub(super) unsafe fn low_halves(v: __m256i) -> __m256 {
    // SAFETY: register arithmetic.
    unsafe {
        let halves = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
        let packed = _mm256_permute4x64_epi64::<0b10_00>(_mm256_packus_epi32(halves, halves));
        _mm256_cvtph_ps(_mm256_castsi256_si128(packed))
    }
}

/// The f16 in the high half of each lane, as f32.
///
/// # Safety
/// AVX2, F16C.
#[inline(always)]
pub(super) unsafe fn high_halves(v: __m256i) -> __m256 {
    // SAFETY: register arithmetic.
    unsafe { low_halves(_mm256_srli_epi32::<16>(v)) }
}

/// Stores the first `n` lanes.
///
/// # Safety
/// AVX2; `n` floats are writable.
#[inline(always)]
pub(super) unsafe fn store_first(p: *mut f32, n: usize, v: __m256) {
    // SAFETY: masked lanes are not written.
    unsafe { if n >= 8 { _mm256_storeu_ps(p, v) } else { _mm256_maskstore_ps(p, first(n), v) } }
}

#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    // SAFETY: register arithmetic.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}
