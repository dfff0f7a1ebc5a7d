//! Encoders of the plain float types: F32 as it is, F16 and BF16 by rounding to the nearest, to the even one of two.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

pub(super) fn f32(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut::<4>().0) {
        *out = value.to_le_bytes();
    }
}

pub(super) fn f16(values: &[f32], out: &mut [u8]) {
    for (values, out) in values.chunks(256).zip(out.chunks_mut(512)) {
        let mut halves = [f16::ZERO; 256];
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        for (half, out) in halves.iter().zip(out.as_chunks_mut::<2>().0) {
            *out = half.to_le_bytes();
        }
    }
}

#[inline(always)]
pub(super) fn bf16(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut::<2>().0) {
        *out = bf16::from_f32(*value).to_le_bytes();
    }
}
