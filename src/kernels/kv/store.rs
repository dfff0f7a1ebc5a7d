//! Keys and values of one position into the cache, in its element type, and keys back.

use super::{KEY_BLOCK, KvType, Q8_KEY_BYTES, Q8_LEN, Q8_VALUE_BYTES};
use crate::kernels::vector::VectorOps;

/// Writes a key head as number `lane` of its block of 16.
///
/// # Safety
/// `block` is a block of keys of that type and dimension, and nobody else touches this lane of it.
pub unsafe fn key(vector: &VectorOps, ty: KvType, k: &[f32], block: *mut u8, lane: usize) {
    let at = |d: usize| d * KEY_BLOCK + lane;
    // SAFETY: the offsets lie in the block by its layout (kernels::kv).
    unsafe {
        match ty {
            KvType::F16 => {
                let mut half = [0u16; KEY_BLOCK];
                for (group, k) in k.chunks(KEY_BLOCK).enumerate() {
                    (vector.to_f16)(k.as_ptr(), half.as_mut_ptr(), k.len());
                    for (i, &x) in half[..k.len()].iter().enumerate() {
                        *block.cast::<u16>().add(at(group * KEY_BLOCK + i)) = x;
                    }
                }
            }
            KvType::Bf16 => {
                for (d, &x) in k.iter().enumerate() {
                    *block.cast::<u16>().add(at(d)) = half::bf16::from_f32(x).to_bits();
                }
            }
            KvType::F32 => {
                for (d, &x) in k.iter().enumerate() {
                    *block.cast::<f32>().add(at(d)) = x;
                }
            }
            KvType::Q8_0 => {
                for (group, k) in k.chunks(Q8_LEN).enumerate() {
                    let group = block.add(group * Q8_KEY_BYTES);
                    let (scale, integers) = quantize(k);
                    group.cast::<f32>().add(lane).write_unaligned(scale);
                    let to = group.add(KEY_BLOCK * size_of::<f32>()).cast::<i8>();
                    for (d, &q) in integers.iter().enumerate() {
                        *to.add(at(d)) = q;
                    }
                }
            }
        }
    }
}

/// Reads a key head, number `lane` of its block of 16.
///
/// # Safety
/// `block` is a block of keys of that type and dimension, and nobody writes this lane of it.
pub unsafe fn read_key(ty: KvType, block: *const u8, lane: usize, k: &mut [f32]) {
    let at = |d: usize| d * KEY_BLOCK + lane;
    for (d, x) in k.iter_mut().enumerate() {
        // SAFETY: the offsets lie in the block by its layout (kernels::kv).
        *x = unsafe {
            match ty {
                KvType::F16 => half::f16::from_bits(*block.cast::<u16>().add(at(d))).to_f32(),
                KvType::Bf16 => half::bf16::from_bits(*block.cast::<u16>().add(at(d))).to_f32(),
                KvType::F32 => *block.cast::<f32>().add(at(d)),
                KvType::Q8_0 => {
                    let group = block.add(d / Q8_LEN * Q8_KEY_BYTES);
                    let integers = group.add(KEY_BLOCK * size_of::<f32>()).cast::<i8>();
                    group.cast::<f32>().add(lane).read_unaligned() * f32::from(*integers.add(at(d % Q8_LEN)))
                }
            }
        };
    }
}

/// Writes a value head.
///
/// # Safety
/// `value` is the place of a value of that type and dimension, and nobody else touches it.
pub unsafe fn value(vector: &VectorOps, ty: KvType, v: &[f32], value: *mut u8) {
    // SAFETY: the offsets lie in the value by its layout (kernels::kv).
    unsafe {
        match ty {
            KvType::F16 => (vector.to_f16)(v.as_ptr(), value.cast(), v.len()),
            KvType::Bf16 => {
                for (d, &x) in v.iter().enumerate() {
                    *value.cast::<u16>().add(d) = half::bf16::from_f32(x).to_bits();
                }
            }
            KvType::F32 => std::ptr::copy_nonoverlapping(v.as_ptr(), value.cast(), v.len()),
            KvType::Q8_0 => {
                for (group, v) in v.chunks(Q8_LEN).enumerate() {
                    let group = value.add(group * Q8_VALUE_BYTES);
                    let (scale, integers) = quantize(v);
                    group.cast::<f32>().write_unaligned(scale);
                    std::ptr::copy_nonoverlapping(integers.as_ptr(), group.add(size_of::<f32>()).cast(), Q8_LEN);
                }
            }
        }
    }
}

/// Up to 32 floats as integers in −127..127 times a scale; what is missing is 0. NaN or infinite input makes the scale NaN.
fn quantize(x: &[f32]) -> (f32, [i8; Q8_LEN]) {
    let largest = x.iter().fold(0.0f32, |top, &x| top.max(x.abs()));
    let mut integers = [0i8; Q8_LEN];
    if !largest.is_finite() || x.iter().any(|x| x.is_nan()) {
        return (f32::NAN, integers);
    }
    let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
    for (q, &x) in integers.iter_mut().zip(x) {
        *q = (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    (largest / 127.0, integers)
}

#[cfg(test)]
mod tests {
    use super::quantize;

    #[test]
    fn integers_are_within_half_a_step() {
        let x: Vec<f32> = (0..32).map(|i| (i as f32 - 11.0) * 0.37).collect();
        let (scale, q) = quantize(&x);
        assert!(x.iter().zip(q).all(|(x, q)| (x - scale * f32::from(q)).abs() <= scale * 0.5001));
        assert_eq!(quantize(&[0.0; 5]), (0.0, [0; 32]));
        assert!(quantize(&[1.0, f32::NAN, 2.0]).0.is_nan());
        assert!(quantize(&[1.0, f32::INFINITY]).0.is_nan());
        assert_eq!(quantize(&[f32::MIN_POSITIVE / 8.0]).1[1..], [0; 31]);
    }
}
