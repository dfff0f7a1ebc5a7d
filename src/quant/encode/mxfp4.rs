//! Encoder of MXFP4: of each block of 32, the best of a few exponents, each with the nearest of the sixteen values.

use super::super::fp4::half_of_e8m0;
use super::legacy::pack_nibbles;
use super::search::{low_byte, weighted_lanes};
use super::{Blocks, TILE};

/// The nearest of twice the magnitudes of E2M1.
#[inline(always)]
fn nearest(doubled: f32) -> f32 {
    // Of 0, 1, 2, 3, 4, 6, 8, 12; the even mantissa of two that are as near.
    let mut value = 0.0;
    for (middle, step) in [(0.5, 1.0), (2.5, 1.0), (5.0, 2.0)] {
        value += if doubled > middle { step } else { 0.0 };
    }
    for (middle, step) in [(1.5, 1.0), (3.5, 1.0), (7.0, 2.0), (10.0, 4.0)] {
        value += if doubled >= middle { step } else { 0.0 };
    }
    value
}

/// The largest exponent whose largest value, six times the power, is a float.
pub(super) const MOST_EXPONENT: u8 = 252;

/// The bits of twice a magnitude.
const CODES: [u8; 13] = [0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7];

pub(super) struct Mxfp4;

impl Blocks for Mxfp4 {
    const LEN: usize = 32;
    const BYTES: usize = 17;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (x, w) = weighted_lanes::<32, 8>(values, importance);
        let mut largest = [0.0f32; 8];
        for row in &x {
            for l in 0..8 {
                largest[l] = if row[l].abs() > largest[l] { row[l].abs() } else { largest[l] };
            }
        }
        // Exponents of which the largest element is 4 to 8 times the scale, and their neighbours.
        let usual = largest.map(|largest| (largest.to_bits() >> 23) as i32 - 2);
        let units = usual.map(|usual| half_of_e8m0(exponent(usual)));
        let (mut exponents, mut lowest) = ([0u8; 8], [f32::INFINITY; 8]);
        for step in [0, 1, -1] {
            let candidates = usual.map(|usual| exponent(usual + step));
            let errors = errors(&x, &w, &candidates.map(half_of_e8m0), &units);
            for l in 0..8 {
                let better = errors[l] < lowest[l];
                lowest[l] = if better { errors[l] } else { lowest[l] };
                exponents[l] = if better { candidates[l] } else { exponents[l] };
            }
        }
        let codes = codes(values, &exponents.map(half_of_e8m0));
        for (b, out) in out.as_chunks_mut::<17>().0.iter_mut().enumerate() {
            out[0] = exponents[b];
            pack_nibbles(&codes[32 * b..], &mut out[1..]);
        }
    }
}

/// The exponent `wanted`, or the nearest for which neither scale nor its reciprocal nor a value passes the range of normal floats.
#[inline(always)]
fn exponent(wanted: i32) -> u8 {
    wanted.clamp(2, i32::from(MOST_EXPONENT)) as u8
}

/// Σ w·(x − scale·q)², in squares of the units, so that nothing passes the range of f32. Scales and units are powers of two: their reciprocals
/// are exact.
#[inline(always)]
fn errors(x: &[[f32; 8]; 32], w: &[[f32; 8]; 32], scales: &[f32; 8], units: &[f32; 8]) -> [f32; 8] {
    let (per_scale, per_unit) = (scales.map(|scale| 1.0 / scale), units.map(|unit| 1.0 / unit));
    let mut errors = [0.0; 8];
    for (x, w) in x.iter().zip(w) {
        for l in 0..8 {
            let magnitude = x[l].abs();
            let off = (magnitude - scales[l] * nearest(magnitude * per_scale[l])) * per_unit[l];
            errors[l] += w[l] * (off * off);
        }
    }
    errors
}

#[inline(always)]
fn codes(values: &[f32; TILE], scales: &[f32; 8]) -> [u8; TILE] {
    let mut codes = [0; TILE];
    for l in 0..8 {
        let per_scale = 1.0 / scales[l];
        for i in 32 * l..32 * (l + 1) {
            let magnitude = CODES[usize::from(low_byte(nearest(values[i].abs() * per_scale)))];
            codes[i] = if values[i] < 0.0 && magnitude > 0 { magnitude | 8 } else { magnitude };
        }
    }
    codes
}
