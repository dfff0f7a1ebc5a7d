//! The fused multiply-add that the order of arithmetic is defined by.
//!
//! `f32::mul_add` is one instruction where the compiler knows that the processor has it, and else a call to the C library, whose answer
//! is not rounded once everywhere (MinGW's rounds twice). This one is right everywhere, and faster than a call.

/// `a · b + c`, rounded once, to nearest even.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(any(target_feature = "fma", target_arch = "aarch64"))]
    return a.mul_add(b, c);
    #[cfg(not(any(target_feature = "fma", target_arch = "aarch64")))]
    by_rounding_to_odd(a, b, c)
}

/// In f64 the product is exact; the sum is rounded to odd (Boldo and Melquiond 2008, doi 10.1109/TC.2007.70819), so that the
/// second rounding, to f32, gives what one rounding of the exact value would.
#[cfg_attr(any(target_feature = "fma", target_arch = "aarch64"), allow(dead_code, reason = "there it is the tests' reference alone"))]
#[inline(always)]
fn by_rounding_to_odd(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // The error of the sum, exactly (Knuth's TwoSum).
    let back = sum - product;
    let error = (product - (sum - back)) + (c - back);
    let bits = sum.to_bits();
    if error == 0.0 || bits & 1 == 1 || !sum.is_finite() {
        return sum as f32;
    }
    // Inexact and even: step to the odd neighbour on the side of the exact value.
    let odd = if (error > 0.0) == (sum > 0.0) { bits + 1 } else { bits - 1 };
    f64::from_bits(odd) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_once() {
        // (2^12 + 1)² = 2^24 + 2^13 + 1 is a tie when 0 is added; 2^-40 above it, the upper neighbour is right.
        let x = 4097.0f32;
        assert_eq!(by_rounding_to_odd(x, x, 0.0), 16_785_408.0);
        assert_eq!(by_rounding_to_odd(x, x, 2.0f32.powi(-40)), 16_785_410.0);
        assert_eq!(by_rounding_to_odd(-x, x, -(2.0f32.powi(-40))), -16_785_410.0);
        assert_eq!(by_rounding_to_odd(x, x, -(2.0f32.powi(-40))), 16_785_408.0);
    }

    #[test]
    fn specials() {
        assert!(by_rounding_to_odd(f32::NAN, 1.0, 1.0).is_nan());
        assert!(by_rounding_to_odd(f32::INFINITY, 1.0, f32::NEG_INFINITY).is_nan());
        assert_eq!(by_rounding_to_odd(f32::MAX, 2.0, f32::MIN), f32::MAX);
        assert_eq!(by_rounding_to_odd(f32::MAX, f32::MAX, 1.0), f32::INFINITY);
        assert_eq!(by_rounding_to_odd(0.0, -1.0, 0.0).to_bits(), 0);
        assert_eq!(by_rounding_to_odd(0.0, -1.0, -0.0).to_bits(), (-0.0f32).to_bits());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn equals_the_instruction() {
        #[target_feature(enable = "fma")]
        fn instruction(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
        if !std::arch::is_x86_feature_detected!("fma") {
            eprintln!("skipped: this processor has no FMA");
            return;
        }
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f32::from_bits((state >> 32) as u32)
        };
        for round in 0..2_000_000 {
            let (a, b, c) = (next(), next(), next());
            // Half of the time c is near the product, where cancellation and ties are.
            let c = if round % 2 == 0 { c } else { -(a * b) * (1.0 + c % 1e-6) };
            // SAFETY: the processor has it (above).
            let expected = unsafe { instruction(a, b, c) };
            let got = by_rounding_to_odd(a, b, c);
            assert!(
                got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(),
                "{a:e} {b:e} {c:e}: {got:e}, not {expected:e}"
            );
        }
    }
}
