//! Quantisation of activations, as `generic::quantize` defines it.

use std::arch::aarch64::*;

use super::super::{ActKind, generic};

/// Fills one column; see `Table::quantize`.
pub(super) fn quantize(kind: ActKind, x: &[f32], out: &mut [u8]) {
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
            column.add(layout.scales).cast::<f32>().add(b).write(quantize_block(block, column.add(b * len).cast()));
            let (mut total, mut largest) = (0, 0);
            for at in b * (len / 32)..(b + 1) * (len / 32) {
                let q = column.add(at * 32).cast::<i8>();
                let parts = [vld1q_s8(q), vld1q_s8(q.add(16))];
                let [low, high] = [vaddlvq_s8(parts[0]), vaddlvq_s8(parts[1])];
                total += i32::from(low + high);
                if kind == ActKind::Q8x256 {
                    column.add(layout.sums).cast::<i16>().add(2 * at).write(low);
                    column.add(layout.sums).cast::<i16>().add(2 * at + 1).write(high);
                    column.add(layout.sums32).cast::<i16>().add(at).write(low + high);
                    column.add(layout.offsets16).cast::<i32>().add(2 * at).write(-32 * i32::from(low));
                    column.add(layout.offsets16).cast::<i32>().add(2 * at + 1).write(-32 * i32::from(high));
                    for part in parts {
                        largest = largest.max(i32::from(vaddlvq_s8(vabsq_s8(part))));
                    }
                }
            }
            if kind == ActKind::Q8x256 {
                column.add(layout.magnitudes).cast::<i32>().add(b).write(largest);
            }
            let totals = if kind == ActKind::Q8x32 { layout.sums } else { layout.sums256 };
            column.add(totals).cast::<i32>().add(b).write(-128 * total);
        }
    }
}

/// Writes the i8 values of one block, a multiple of 32 floats, and returns its scale.
///
/// # Safety
/// `q` has `x.len()` bytes.
unsafe fn quantize_block(x: &[f32], q: *mut i8) -> f32 {
    // SAFETY: loads and stores are inside x and q, whose length is a multiple of 32.
    unsafe {
        let mut max = vdupq_n_u32(0);
        for four in x.chunks_exact(4) {
            // Magnitudes as integers: infinities above all numbers, NaN above infinities.
            let bits = vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(four.as_ptr())));
            max = vmaxq_u32(max, bits);
        }
        let amax = f32::from_bits(vmaxvq_u32(max));
        let id = 127.0 / amax;
        if !amax.is_finite() || !id.is_finite() {
            q.write_bytes(0, x.len());
            return if amax.is_finite() { 0.0 } else { f32::NAN };
        }
        for (i, eight) in x.chunks_exact(8).enumerate() {
            let low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(eight.as_ptr()), id));
            let high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(eight.as_ptr().add(4)), id));
            // At most 127 and a rounding, which rounds to 127.
            vst1_s8(q.add(i * 8), vqmovn_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high))));
        }
        amax / 127.0
    }
}
