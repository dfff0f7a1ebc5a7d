//! Quantisation of activations, as `generic::quantize` defines it.

use std::arch::x86_64::*;

use super::super::super::{ActKind, generic};
use super::super::avx2::quantize as avx2;

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
            let (mut total, mut largest) = (0, _mm_setzero_si128());
            for i in 0..len / 32 {
                let q = _mm512_cvtepi8_epi16(_mm256_loadu_si256(column.add(b * len + i * 32).cast()));
                // Sums of 2, then of the first and of the last 16.
                let pairs = _mm512_madd_epi16(q, _mm512_set1_epi16(1));
                let low = _mm512_mask_reduce_add_epi32(0x00ff, pairs);
                let high = _mm512_mask_reduce_add_epi32(0xff00, pairs);
                let at = b * (len / 32) + i;
                if kind == ActKind::Q8x32 {
                    column.add(layout.sums).cast::<i32>().add(at).write(-128 * (low + high));
                } else {
                    column.add(layout.sums).cast::<i16>().add(2 * at).write(low as i16);
                    column.add(layout.sums).cast::<i16>().add(2 * at + 1).write(high as i16);
                    column.add(layout.sums32).cast::<i16>().add(at).write((low + high) as i16);
                    column.add(layout.offsets16).cast::<i32>().add(2 * at).write(-32 * low);
                    column.add(layout.offsets16).cast::<i32>().add(2 * at + 1).write(-32 * high);
                    total += low + high;
                    largest = _mm_max_epi32(largest, avx2::magnitudes(column.add(b * len + i * 32)));
                }
            }
            if kind == ActKind::Q8x256 {
                column.add(layout.sums256).cast::<i32>().add(b).write(-128 * total);
                column.add(layout.magnitudes).cast::<i32>().add(b).write(avx2::larger(largest));
            }
        }
    }
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
