//! Quantisation of activations, as `generic::quantize` defines it.

use std::arch::x86_64::*;

use super::super::super::{ActKind, generic};

/// Fills one column; see `Table::quantize`.
///
/// # Safety
/// AVX2; `x` is whole blocks and `out` holds a column.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quantize(kind: ActKind, x: &[f32], out: &mut [u8]) {
    let layout = kind.layout(x.len());
    let out = &mut out[..layout.bytes];
    if kind == ActKind::F32 {
        out[x.len() * 4..].fill(0);
        // SAFETY: the column has room for the floats.
        unsafe { std::ptr::copy_nonoverlapping(x.as_ptr().cast::<u8>(), out.as_mut_ptr(), x.len() * 4) };
        return;
    }
    if kind == ActKind::Bf16 {
        return generic::quantize::bf16(x, out, layout.scales);
    }
    out[x.len()..].fill(0);
    let column = out.as_mut_ptr();
    let len = kind.block_len();
    for (b, block) in x.chunks_exact(len).enumerate() {
        // SAFETY: all places are inside the column, by its layout.
        unsafe {
            column.add(layout.scales).cast::<f32>().add(b).write(quantize_block(block, column.add(b * len)));
            let (mut total, mut largest) = (0, _mm_setzero_si128());
            for i in 0..len / 32 {
                let q = _mm256_loadu_si256(column.add(b * len + i * 32).cast());
                let fours = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q), _mm256_set1_epi16(1));
                let (low, high) = (sum_4(_mm256_castsi256_si128(fours)), sum_4(_mm256_extracti128_si256::<1>(fours)));
                let at = b * (len / 32) + i;
                total += low + high;
                if kind == ActKind::Q8x256 {
                    column.add(layout.sums).cast::<i16>().add(2 * at).write(low as i16);
                    column.add(layout.sums).cast::<i16>().add(2 * at + 1).write(high as i16);
                    column.add(layout.sums32).cast::<i16>().add(at).write((low + high) as i16);
                    column.add(layout.offsets16).cast::<i32>().add(2 * at).write(-32 * low);
                    column.add(layout.offsets16).cast::<i32>().add(2 * at + 1).write(-32 * high);
                    largest = _mm_max_epi32(largest, magnitudes(column.add(b * len + i * 32)));
                }
            }
            if kind == ActKind::Q8x256 {
                column.add(layout.magnitudes).cast::<i32>().add(b).write(larger(largest));
            }
            let totals = if kind == ActKind::Q8x32 { layout.sums } else { layout.sums256 };
            column.add(totals).cast::<i32>().add(b).write(-128 * total);
        }
    }
}

/// Σ|q| of 16 and of the next 16 bytes, in the lanes 0 and 2.
///
/// # Safety
/// AVX2; 32 bytes are readable.
#[inline(always)]
unsafe fn magnitudes(q: *const u8) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = _mm256_sad_epu8(_mm256_abs_epi8(_mm256_loadu_si256(q.cast())), _mm256_setzero_si256());
        let (low, high) = (_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        _mm_add_epi64(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high))
    }
}

/// The larger of the lanes 0 and 2.
///
/// # Safety
/// SSE 4.1.
#[inline(always)]
unsafe fn larger(v: __m128i) -> i32 {
    // SAFETY: register arithmetic.
    unsafe { _mm_cvtsi128_si32(_mm_max_epi32(v, _mm_unpackhi_epi64(v, v))) }
}

#[inline(always)]
unsafe fn sum_4(v: __m128i) -> i32 {
    // SAFETY: register arithmetic.
    unsafe {
        let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
        _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32::<0b10_11_00_01>(v)))
    }
}

/// Writes the i8 values of one block, a multiple of 32 floats, and returns its scale.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn quantize_block(x: &[f32], q: *mut u8) -> f32 {
    let mut max = _mm256_setzero_si256();
    for x in x.chunks_exact(8) {
        // SAFETY: 8 floats.
        let bits = _mm256_castps_si256(unsafe { _mm256_loadu_ps(x.as_ptr()) });
        max = _mm256_max_epu32(max, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fff_ffff)));
    }
    let mut each = [0u32; 8];
    // SAFETY: 32 bytes.
    unsafe { _mm256_storeu_si256(each.as_mut_ptr().cast(), max) };
    let amax = f32::from_bits(each.into_iter().fold(0, u32::max));
    let id = 127.0 / amax;
    if !amax.is_finite() || !id.is_finite() {
        // SAFETY: the block has x.len() bytes.
        unsafe { q.write_bytes(0, x.len()) };
        return if amax.is_finite() { 0.0 } else { f32::NAN };
    }
    for (i, x) in x.chunks_exact(32).enumerate() {
        // SAFETY: 32 floats, and the block has x.len() bytes.
        unsafe {
            let part = |j: usize| {
                let scaled = _mm256_mul_ps(_mm256_loadu_ps(x.as_ptr().add(j * 8)), _mm256_set1_ps(id));
                _mm256_cvtps_epi32(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(scaled))
            };
            let words = _mm256_packs_epi16(_mm256_packs_epi32(part(0), part(1)), _mm256_packs_epi32(part(2), part(3)));
            // Packing works in halves: put the groups of four back in order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_storeu_si256(q.add(i * 32).cast(), _mm256_permutevar8x32_epi32(words, order));
        }
    }
    amax / 127.0
}
