//! Quantisation of activations, as `generic::quantize` defines it.

use std::arch::x86_64::*;

use super::super::super::activation::Layout;
use super::super::super::{ActKind, generic};

/// Fills one column; see `Table::quantize`.
///
/// # Safety
/// AVX-512 F, BW, DQ, VL; `x` is whole blocks and `out` holds a column.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
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
            let d = quantize_block(block, column.add(b * len));
            column.add(layout.scales).cast::<f32>().add(b).write(d);
            if kind == ActKind::Q8x256 {
                sums(column, &layout, b);
            } else {
                let q = _mm512_cvtepi8_epi16(_mm256_loadu_si256(column.add(b * 32).cast()));
                let sum = _mm512_reduce_add_epi32(_mm512_madd_epi16(q, _mm512_set1_epi16(1)));
                column.add(layout.sums).cast::<i32>().add(b).write(-128 * sum);
            }
        }
    }
}

/// Writes the sums of block `b` of 256 that is there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn sums(column: *mut u8, layout: &Layout, b: usize) {
    // SAFETY: all places are inside the column, by its layout.
    unsafe {
        let mut sums = [_mm512_setzero_si512(); 4];
        let mut largest = _mm512_setzero_si512();
        for i in 0..4 {
            let q = _mm512_loadu_si512(column.add(b * 256 + i * 64).cast());
            // Sums of 8 bytes that are unsigned by an addition of 128; then of 16, twice in each 128 bits.
            sums[i] = with_other_half(_mm512_sad_epu8(_mm512_xor_si512(q, _mm512_set1_epi8(-128)), _mm512_setzero_si512()));
            largest = _mm512_max_epu32(largest, with_other_half(_mm512_sad_epu8(_mm512_abs_epi8(q), _mm512_setzero_si512())));
        }
        // Four of each register, in order.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
        let low = _mm512_permutex2var_epi32(sums[0], order, sums[1]);
        let high = _mm512_permutex2var_epi32(sums[2], order, sums[3]);
        let of_16 = _mm512_sub_epi32(_mm512_mask_blend_epi32(0xff00, low, high), _mm512_set1_epi32(16 * 128));
        let words = _mm512_cvtepi32_epi16(of_16);
        let of_32 = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
        _mm256_storeu_si256(column.add(layout.sums).cast::<__m256i>().add(b), words);
        _mm_storeu_si128(column.add(layout.sums32).cast::<__m128i>().add(b), _mm256_cvtepi32_epi16(of_32));
        let minus_32 = _mm512_slli_epi32::<5>(_mm512_sub_epi32(_mm512_setzero_si512(), of_16));
        _mm512_storeu_si512(column.add(layout.offsets16).cast::<__m512i>().add(b).cast(), minus_32);
        column.add(layout.sums256).cast::<i32>().add(b).write(-128 * _mm512_reduce_add_epi32(of_16));
        column.add(layout.magnitudes).cast::<i32>().add(b).write(_mm512_reduce_max_epu32(largest) as i32);
    }
}

/// `v` plus itself with the halves of each 128 bits exchanged.
#[inline]
#[target_feature(enable = "avx512f")]
fn with_other_half(v: __m512i) -> __m512i {
    _mm512_add_epi32(v, _mm512_shuffle_epi32::<0b01_00_11_10>(v))
}

/// Writes the i8 values of one block, a multiple of 32 floats, and returns its scale.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn quantize_block(x: &[f32], q: *mut u8) -> f32 {
    let mut max = _mm512_setzero_si512();
    for x in x.chunks_exact(16) {
        // SAFETY: 16 floats.
        let bits = _mm512_castps_si512(unsafe { _mm512_loadu_ps(x.as_ptr()) });
        max = _mm512_max_epu32(max, _mm512_and_si512(bits, _mm512_set1_epi32(0x7fff_ffff)));
    }
    let amax = f32::from_bits(_mm512_reduce_max_epu32(max));
    let id = 127.0 / amax;
    if !amax.is_finite() || !id.is_finite() {
        // SAFETY: the block has x.len() bytes.
        unsafe { q.write_bytes(0, x.len()) };
        return if amax.is_finite() { 0.0 } else { f32::NAN };
    }
    for (i, x) in x.chunks_exact(16).enumerate() {
        // SAFETY: 16 floats, and the block has x.len() bytes.
        unsafe {
            let scaled = _mm512_mul_ps(_mm512_loadu_ps(x.as_ptr()), _mm512_set1_ps(id));
            let rounded = _mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(scaled);
            _mm_storeu_si128(q.add(i * 16).cast(), _mm512_cvtsepi32_epi8(rounded));
        }
    }
    amax / 127.0
}
