//! The normative quantisation of activations.
//!
//! To bf16, see [`bf16`]. To 8 bits, per block of 32 or 256: amax = max |x|; d = amax / 127; q = round-half-even(x · (127 / amax)), clamped to ±127. A block
//! whose amax is zero, or so small that 127 / amax is infinite, has d = 0 and q = 0. A block with a NaN or an infinity has
//! d = NaN and q = 0, so that every product with it is NaN.

use super::super::ActKind;

/// Fills one column of `x.len()` elements. Trailing elements of the last block (where `k` is not a multiple) are an
/// error of the caller: quantised kinds take whole blocks.
pub(super) fn quantize(kind: ActKind, x: &[f32], out: &mut [u8]) {
    let layout = kind.layout(x.len());
    let out = &mut out[..layout.bytes];
    match kind {
        ActKind::F32 => {
            out[x.len() * 4..].fill(0);
            for (to, value) in out.chunks_exact_mut(4).zip(x) {
                to.copy_from_slice(&value.to_ne_bytes());
            }
        }
        ActKind::Bf16 => bf16(x, out, layout.scales),
        ActKind::Q8x32 => {
            out[x.len()..].fill(0);
            for (i, block) in x.chunks_exact(32).enumerate() {
                let d = quantize_block(block, &mut out[i * 32..i * 32 + 32]);
                let sum = sum(&out[i * 32..i * 32 + 32]);
                out[layout.scales + i * 4..][..4].copy_from_slice(&d.to_ne_bytes());
                out[layout.sums + i * 4..][..4].copy_from_slice(&(-128 * sum).to_ne_bytes());
            }
        }
        ActKind::Q8x256 => {
            out[x.len()..].fill(0);
            for (i, block) in x.chunks_exact(256).enumerate() {
                let d = quantize_block(block, &mut out[i * 256..i * 256 + 256]);
                let sum = sum(&out[i * 256..i * 256 + 256]);
                out[layout.scales + i * 4..][..4].copy_from_slice(&d.to_ne_bytes());
                out[layout.sums256 + i * 4..][..4].copy_from_slice(&(-128 * sum).to_ne_bytes());
            }
            for (len, at) in [(16, layout.sums), (32, layout.sums32)] {
                for i in 0..x.len() / len {
                    // 32 · 127 fits an i16.
                    let sum = sum(&out[i * len..i * len + len]) as i16;
                    out[at + i * 2..][..2].copy_from_slice(&sum.to_ne_bytes());
                }
            }
            for i in 0..x.len() / 16 {
                let sum = sum(&out[i * 16..i * 16 + 16]);
                out[layout.offsets16 + i * 4..][..4].copy_from_slice(&(-32 * sum).to_ne_bytes());
            }
            for i in 0..x.len() / 256 {
                let sums = out[i * 256..i * 256 + 256].chunks_exact(16).map(magnitude);
                let largest = sums.max().unwrap_or_default();
                out[layout.magnitudes + i * 4..][..4].copy_from_slice(&largest.to_ne_bytes());
            }
        }
    }
}

/// Writes x as bf16 q and the scale d, with x = d·q: d is a power of two with which the largest |q| is in 2^60 .. 2^61, or
/// smaller where d would be below 2^−126. Each q is rounded to nearest even, and those below 2^14 become zero.
///
/// That last rule costs nothing that bf16 could tell (2^−46 of the largest), and has this use: products with normal bf16
/// weights are multiples of 2^−126, so no sum of them is ever subnormal, and it does not matter that some processors' dot
/// products flush subnormal numbers to zero. With a NaN or an infinity in x, d = NaN and q = 0.
///
/// Inlined into functions for certain instruction sets, where the loops become vectors.
#[inline(always)]
pub(in crate::kernels) fn bf16(x: &[f32], out: &mut [u8], scale_at: usize) {
    let amax = x.iter().fold(0, |max, value| max.max(value.to_bits() & 0x7fff_ffff));
    let (quants, scale) = out.split_at_mut(scale_at);
    scale.fill(0);
    let exponent = amax >> 23;
    // d = 2^(e − 60) for a largest magnitude of 2^e, at least 2^−126; its inverse is at most 2^126.
    let d_exponent = exponent.saturating_sub(60).max(1);
    let (d, inverse) = match exponent {
        0xff => (f32::NAN, 0.0),
        _ => (f32::from_bits(d_exponent << 23), f32::from_bits((254 - d_exponent) << 23)),
    };
    if exponent == 0xff {
        quants.fill(0);
    } else {
        for (q, &value) in quants.chunks_exact_mut(2).zip(x) {
            q.copy_from_slice(&round_to_bf16(value * inverse).to_ne_bytes());
        }
        quants[x.len() * 2..].fill(0);
    }
    scale[..4].copy_from_slice(&d.to_ne_bytes());
}

/// The nearest bf16, ties to even, or zero for magnitudes below 2^14. Not for NaN.
#[inline(always)]
fn round_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    let smallest = (127 + 14) << 7;
    if rounded & 0x7fff < smallest { 0 } else { rounded as u16 }
}

/// Writes the i8 values of one block and returns its scale.
fn quantize_block(x: &[f32], q: &mut [u8]) -> f32 {
    // Comparing magnitudes as integers puts infinities above all numbers and NaN above infinities.
    let amax = f32::from_bits(x.iter().fold(0, |max, value| max.max(value.to_bits() & 0x7fff_ffff)));
    if !amax.is_finite() {
        q.fill(0);
        return f32::NAN;
    }
    let id = 127.0 / amax;
    if !id.is_finite() {
        q.fill(0);
        return 0.0;
    }
    for (q, &value) in q.iter_mut().zip(x) {
        *q = (value * id).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
    }
    amax / 127.0
}

fn sum(q: &[u8]) -> i32 {
    q.iter().map(|&q| i32::from(q as i8)).sum()
}

/// Σ|q|.
fn magnitude(q: &[u8]) -> i32 {
    q.iter().map(|&q| i32::from((q as i8).unsigned_abs())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32_at(column: &[u8], at: usize) -> f32 {
        f32::from_ne_bytes(column[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn a_block_of_32_rounds_half_to_even() {
        let mut x = [0.0f32; 32];
        (x[0], x[1], x[2], x[3], x[4]) = (-127.0, 0.5, 1.5, 2.5, -0.5);
        let mut column = vec![0xaa; ActKind::Q8x32.bytes(32)];
        quantize(ActKind::Q8x32, &x, &mut column);
        assert_eq!(column[..5].iter().map(|&q| q as i8).collect::<Vec<_>>(), [-127, 0, 2, 2, 0]);
        assert_eq!(f32_at(&column, 64), 1.0);
        assert_eq!(i32::from_ne_bytes(column[128..132].try_into().unwrap()), -128 * -123);
        assert!(column[32..64].iter().chain(&column[68..128]).chain(&column[132..]).all(|&b| b == 0), "padding is zero");
    }

    #[test]
    fn sums_of_256_are_per_16_and_per_32() {
        let x: Vec<f32> = (0..512).map(|i| if i < 256 { 127.0 } else { -127.0 + (i % 2 * 200) as f32 }).collect();
        let layout = ActKind::Q8x256.layout(512);
        let mut column = vec![0xaa; layout.bytes];
        quantize(ActKind::Q8x256, &x, &mut column);
        let i16_at = |at: usize| i16::from_ne_bytes(column[at..at + 2].try_into().unwrap());
        assert_eq!((i16_at(layout.sums), i16_at(layout.sums + 32)), (16 * 127, 8 * (73 - 127)));
        assert_eq!((i16_at(layout.sums32), i16_at(layout.sums32 + 16)), (32 * 127, 16 * (73 - 127)));
        let magnitude = |i: usize| i32::from_ne_bytes(column[layout.magnitudes + i * 4..][..4].try_into().unwrap());
        assert_eq!((magnitude(0), magnitude(1)), (16 * 127, 8 * (73 + 127)));
    }

    #[test]
    fn bf16_has_a_power_of_two_and_no_small_values() {
        let x = [1.0f32, -3.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 1e-20, f32::powi(2.0, -45), 0.0];
        let layout = ActKind::Bf16.layout(x.len());
        let mut column = vec![0xaa; layout.bytes];
        quantize(ActKind::Bf16, &x, &mut column);
        let d = f32_at(&column, layout.scales);
        assert_eq!(d, f32::powi(2.0, 1 - 60));
        let stored = [0, 1, 2, 3, 4, 5, 6].map(|i| half::bf16::from_ne_bytes([column[2 * i], column[2 * i + 1]]).to_f32() * d);
        // Steps are of 2^-7 here, and ties go to even.
        assert_eq!(stored, [1.0, -3.0, 1.0, 1.015_625, 0.0, f32::powi(2.0, -45), 0.0]);
        assert!(column[14..64].iter().chain(&column[68..]).all(|&b| b == 0), "padding is zero");
        for bad in [f32::NAN, f32::INFINITY] {
            quantize(ActKind::Bf16, &[1.0, bad], &mut column);
            assert!(f32_at(&column, layout.scales).is_nan() && column[..64].iter().all(|&b| b == 0));
        }
        quantize(ActKind::Bf16, &[1e-45, 0.0], &mut column);
        assert!(column[..64].iter().all(|&b| b == 0));
        quantize(ActKind::Bf16, &[f32::MAX], &mut column);
        assert_eq!(half::bf16::from_ne_bytes([column[0], column[1]]).to_f32(), f32::powi(2.0, 61));
    }

    #[test]
    fn hostile_values_end_in_nan_or_zero() {
        let scale_of = |value: f32| {
            let mut x = [1.0f32; 32];
            x[7] = value;
            let mut column = vec![0xaa; ActKind::Q8x32.bytes(32)];
            quantize(ActKind::Q8x32, &x, &mut column);
            (f32_at(&column, 64), column[0])
        };
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (d, q) = scale_of(bad);
            assert!(d.is_nan());
            assert_eq!(q, 0);
        }
        let mut column = vec![0xaa; ActKind::Q8x32.bytes(32)];
        quantize(ActKind::Q8x32, &[1e-40; 32], &mut column);
        assert_eq!((f32_at(&column, 64), column[0]), (0.0, 0));
        quantize(ActKind::Q8x32, &[f32::MAX; 32], &mut column);
        assert_eq!((f32_at(&column, 64), column[0]), (f32::MAX / 127.0, 127));
    }
}
