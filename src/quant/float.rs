//! Decoders of the plain float types: F32, F16, BF16, F64 (rounded to nearest f32).

use half::f16;
use half::slice::HalfFloatSliceExt;

pub(super) fn f32(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.as_chunks::<4>().0.iter().zip(out) {
        *out = f32::from_le_bytes(*bytes);
    }
}

pub(super) fn f16(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks(512).zip(out.chunks_mut(256)) {
        let mut halves = [f16::ZERO; 256];
        let halves = &mut halves[..out.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(out);
    }
}

/// The upper half of an f32's bits.
pub(super) fn bf16(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.as_chunks::<2>().0.iter().zip(out) {
        *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

pub(super) fn f64(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.as_chunks::<8>().0.iter().zip(out) {
        *out = f64::from_le_bytes(*bytes) as f32;
    }
}
