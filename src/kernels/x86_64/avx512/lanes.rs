//! Registers of 512 bits: sums across lanes, transpositions, and integer dot products with or without VNNI.
//!
//! The helpers are inlined into functions that enable AVX-512; none of them is called by itself. They have loops where a
//! closure would read better: a closure that is not inlined is compiled without AVX-512.

use std::arch::asm;
use std::arch::x86_64::*;

/// Lane i of the result is the sum of the 16 lanes of `v[i]`.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub(in crate::kernels::x86_64) unsafe fn sum_16(v: [__m512i; 16]) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe {
        let mut quads = [_mm512_setzero_si512(); 4];
        for i in 0..4 {
            quads[i] = sum_4([v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]]);
        }
        sum_groups(sum_groups(quads[0], quads[1]), sum_groups(quads[2], quads[3]))
    }
}

/// Lane i of the result is the sum of the 16 lanes of `v[i]`, added 8 + 8, 4 + 4, 2 + 2, 1 + 1.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub(super) unsafe fn sum_16_floats(v: [__m512; 16]) -> __m512 {
    // SAFETY: register arithmetic.
    unsafe {
        // Group L of `fours[j]` is what is left of `v[4 * L + j]`.
        let mut fours = [_mm512_setzero_ps(); 4];
        for j in 0..4 {
            let low = add_halves::<0x44, 0xee>(v[j], v[4 + j]);
            let high = add_halves::<0x44, 0xee>(v[8 + j], v[12 + j]);
            fours[j] = add_halves::<0x88, 0xdd>(low, high);
        }
        let twos = [add_pairs(fours[0], fours[1]), add_pairs(fours[2], fours[3])];
        _mm512_add_ps(_mm512_shuffle_ps::<0x88>(twos[0], twos[1]), _mm512_shuffle_ps::<0xdd>(twos[0], twos[1]))
    }
}

/// The groups of 4 lanes of `a` and `b` that `LOW` takes and those that `HIGH` takes, added.
#[inline(always)]
unsafe fn add_halves<const LOW: i32, const HIGH: i32>(a: __m512, b: __m512) -> __m512 {
    // SAFETY: register arithmetic.
    unsafe { _mm512_add_ps(_mm512_shuffle_f32x4::<LOW>(a, b), _mm512_shuffle_f32x4::<HIGH>(a, b)) }
}

/// In each group of 4 lanes the first two and the last two of `a`, added, then those of `b`.
#[inline(always)]
unsafe fn add_pairs(a: __m512, b: __m512) -> __m512 {
    // SAFETY: register arithmetic.
    unsafe {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)))
    }
}

/// In each group L of 4 lanes, lane j is the sum of group L of `v[j]`.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub(in crate::kernels::x86_64) unsafe fn sum_4(v: [__m512i; 4]) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe {
        let t0 = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
        let t1 = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
        _mm512_add_epi32(_mm512_unpacklo_epi64(t0, t1), _mm512_unpackhi_epi64(t0, t1))
    }
}

/// Groups 0 + 1 and 2 + 3 of `a`, then those of `b`.
#[inline(always)]
unsafe fn sum_groups(a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe { _mm512_add_epi32(_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b)) }
}

/// Each `v[j]` holds two vectors of 8 lanes; lane 2j of the result is the sum of the low one, lane 2j + 1 of the high one.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub(in crate::kernels::x86_64) unsafe fn sum_8_pairs(v: [__m512i; 8]) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe {
        let low = sum_4([v[0], v[1], v[2], v[3]]);
        let high = sum_4([v[4], v[5], v[6], v[7]]);
        let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
        _mm512_permutexvar_epi32(order, sum_groups(low, high))
    }
}

/// Rows become columns: lane i of result j is lane j of `v[i]`.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub(in crate::kernels::x86_64) unsafe fn transpose(v: [__m512i; 16]) -> [__m512i; 16] {
    // SAFETY: register arithmetic.
    unsafe {
        // s[i][j] has, in group L, lane 4L + j of the rows 4i..4i + 4.
        let mut s = [[_mm512_setzero_si512(); 4]; 4];
        for i in 0..4 {
            s[i] = transpose_4([v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]]);
        }
        let mut out = [_mm512_setzero_si512(); 16];
        for j in 0..4 {
            let (a, b) = (_mm512_shuffle_i32x4::<0x88>(s[0][j], s[1][j]), _mm512_shuffle_i32x4::<0xdd>(s[0][j], s[1][j]));
            let (c, d) = (_mm512_shuffle_i32x4::<0x88>(s[2][j], s[3][j]), _mm512_shuffle_i32x4::<0xdd>(s[2][j], s[3][j]));
            // a: groups 0 and 2 of both, b: groups 1 and 3.
            out[j] = _mm512_shuffle_i32x4::<0x88>(a, c);
            out[4 + j] = _mm512_shuffle_i32x4::<0x88>(b, d);
            out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(a, c);
            out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(b, d);
        }
        out
    }
}

/// Transposes 4 x 4 lanes in each group of 4.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub(super) unsafe fn transpose_4(v: [__m512i; 4]) -> [__m512i; 4] {
    // SAFETY: register arithmetic.
    unsafe {
        let (a, b) = (_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
        let (c, d) = (_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
        [_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c), _mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d)]
    }
}

/// 16 bytes from each of four places.
///
/// By halves: to insert into 256 bits is a load with a mask, while in 512 bits it takes the units that multiply (Zen 4: beside eight dot
/// products 2.5 steps for eight of them, where in halves there are none).
///
/// # Safety
/// AVX-512 F; the bytes are readable.
#[inline(always)]
pub(super) unsafe fn put_together(places: [*const u8; 4]) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b, c, d] = places.map(|at| at.cast());
        let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(_mm_loadu_si128(a)), _mm_loadu_si128(b));
        let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(_mm_loadu_si128(c)), _mm_loadu_si128(d));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

/// Transposes 16 vectors of 16 lanes that lie one after the other at `from`, to the same shape at `to`.
///
/// Groups of 4 lanes are put together by loads, which costs fewer shuffles than [`transpose`].
///
/// # Safety
/// AVX-512 F; 1,024 bytes are readable at `from` and writable at `to`, which do not overlap.
#[inline(always)]
pub(in crate::kernels::x86_64) unsafe fn transpose_memory(from: *const u8, to: *mut u8) {
    // SAFETY: the addresses are inside the 1,024 bytes.
    unsafe {
        for group in 0..4 {
            // Register r: group `group` of rows r, 4 + r, 8 + r, 12 + r.
            let mut gathered = [_mm512_setzero_si512(); 4];
            for r in 0..4 {
                let at = from.add(r * 64 + group * 16);
                gathered[r] = put_together([at, at.add(256), at.add(512), at.add(768)]);
            }
            let columns = transpose_4(gathered);
            for (j, column) in columns.into_iter().enumerate() {
                _mm512_storeu_si512(to.add((group * 4 + j) * 64).cast(), column);
            }
        }
    }
}

/// `acc + Σ w·a` over the 4 bytes of each lane, w unsigned and at most 127, a signed.
///
/// # Safety
/// AVX-512 F and BW, and VNNI where `VNNI` says so.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::kernels::x86_64) unsafe fn dot_u7<const VNNI: bool>(acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
    if VNNI {
        // SAFETY: VNNI is there.
        unsafe { dpbusd(acc, w, a) }
    } else {
        // 2 · 127 · 127 fits 16 bits.
        _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(w, a), _mm512_set1_epi16(1)))
    }
}

/// `acc + Σ w·a` over the 4 bytes of each lane, w unsigned, a signed.
///
/// # Safety
/// AVX-512 F and BW, and VNNI where `VNNI` says so.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::kernels::x86_64) unsafe fn dot_u8<const VNNI: bool>(acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
    if VNNI {
        // SAFETY: VNNI is there.
        unsafe { dpbusd(acc, w, a) }
    } else {
        // Even and odd bytes as 16 bits each: no product and no sum of two saturates.
        let even_a = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(a));
        let even = _mm512_madd_epi16(_mm512_and_si512(w, _mm512_set1_epi16(0xff)), even_a);
        let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(w), _mm512_srai_epi16::<8>(a));
        _mm512_add_epi32(acc, _mm512_add_epi32(even, odd))
    }
}

/// `acc + Σ a·b` over the two 16-bit values of each lane.
///
/// # Safety
/// AVX-512 F and BW, and VNNI where `VNNI` says so.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::kernels::x86_64) unsafe fn dot_i16<const VNNI: bool>(mut acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
    if VNNI {
        // As text, because a function for both kinds of processor can't enable VNNI; and the compiler would make a product and a sum of it.
        // SAFETY: VNNI is there; registers only.
        unsafe {
            asm!("vpdpwssd {}, {}, {}", inout(zmm_reg) acc, in(zmm_reg) a, in(zmm_reg) b, options(pure, nomem, nostack, preserves_flags))
        };
        acc
    } else {
        _mm512_add_epi32(acc, _mm512_madd_epi16(a, b))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn dpbusd(mut acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
    // SAFETY: the caller has VNNI; registers only.
    unsafe {
        asm!("vpdpbusd {}, {}, {}", inout(zmm_reg) acc, in(zmm_reg) w, in(zmm_reg) a, options(pure, nomem, nostack, preserves_flags))
    };
    acc
}

/// The f16 in the low half of each lane, as f32.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub(in crate::kernels::x86_64) unsafe fn low_halves(v: __m512i) -> __m512 {
    // SAFETY: register arithmetic.
    unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)) }
}

/// The f16 in the high half of each lane, as f32.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub(in crate::kernels::x86_64) unsafe fn high_halves(v: __m512i) -> __m512 {
    // SAFETY: register arithmetic.
    unsafe { low_halves(_mm512_srli_epi32::<16>(v)) }
}

/// Lanes `0..n`, all 16 for more.
#[inline(always)]
pub(in crate::kernels::x86_64) fn first(n: usize) -> __mmask16 {
    if n >= 16 { 0xffff } else { (1 << n) - 1 }
}
