//! e to a power that is 0 or less, the same bits on every machine, written so that the compiler turns loops over it into
//! vector code.
//!
//! The system's `exp` differs in its last bits from one C library to the next, which would let the same seed draw different
//! tokens on two machines. Error: below 1.2e-7 relative down to −87, then flushed towards 0 with the result's exponent.

/// e^x for x ≤ 0 (−∞ gives 0). Exactly 1 at 0. The result is 0 below −87.3, where `f32` goes subnormal.
#[inline(always)]
pub fn exp_nonpositive(x: f32) -> f32 {
    // x = n·ln 2 + r with |r| ≤ ln(2)/2; adding and taking away 1.5·2²³ rounds to an integer without a library call.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 355.0 / 512.0; // n·LN2_HIGH is exact for |n| < 2¹⁵
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let y = if x > -87.3 { x } else { -87.3 };
    let rounded = y * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (y - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor to r⁷: the next term is below 6e-9 at |r| = 0.3466.
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    // The low bits of `rounded` hold n as an integer; shifted into the exponent field they give 2ⁿ (n ≥ −126).
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3F80_0000));
    if x > -87.3 { p * power } else { 0.0 }
}

/// Number of partial sums of [`block_sum`]; fixed, so that the width of the machine's vectors can't change the result.
const LANES: usize = 16;

/// How many logits one [`block_sum`] covers: `f32` partial sums of at most 64 terms of at most 1 each keep 1e-6.
pub const BLOCK: usize = LANES * 64;

/// Σ e^(x − max) over `logits`, none of which is above `max`: the blocks' sums, added in ascending order.
pub fn sum_exp(logits: &[f32], max: f32) -> f64 {
    logits.chunks(BLOCK).map(|block| block_sum(block, max)).sum()
}

/// Σ e^(x − max) over one block of at most [`BLOCK`] logits.
pub fn block_sum(block: &[f32], max: f32) -> f64 {
    let mut lanes = [0.0f32; LANES];
    let (rows, tail) = block.as_chunks::<LANES>();
    for row in rows {
        for (lane, &x) in lanes.iter_mut().zip(row) {
            *lane += exp_nonpositive(x - max);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(tail) {
        *lane += exp_nonpositive(x - max);
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_true_exponential() {
        let mut worst = 0.0f64;
        for i in 0..=873_000 {
            let x = -(i as f32) * 1e-4;
            let truth = f64::from(x).exp();
            worst = worst.max((f64::from(exp_nonpositive(x)) - truth).abs() / truth);
        }
        assert!(worst < 1.2e-7, "{worst:e}");
    }

    #[test]
    fn exact_ends() {
        assert_eq!(exp_nonpositive(0.0), 1.0);
        assert_eq!(exp_nonpositive(-0.0), 1.0);
        assert_eq!(exp_nonpositive(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_nonpositive(-1e30), 0.0);
        assert_eq!(exp_nonpositive(f32::MIN), 0.0);
    }

    #[test]
    fn fixed_bits() {
        // Written down from the formula: a change of these is a change of every seeded text.
        let bits: Vec<u32> = [-0.5f32, -1.0, -10.0, -80.0].iter().map(|&x| exp_nonpositive(x).to_bits()).collect();
        assert_eq!(bits, [0x3F1B_4598, 0x3EBC_5AB2, 0x383E_6BCE, 0x05BF_ECBA]);
    }

    #[test]
    fn sums_match_f64() {
        for len in [0, 1, 15, 16, 17, 1023, 1024, 1025, 5000] {
            let logits: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1000) as f32 * -0.01).collect();
            let truth: f64 = logits.iter().map(|&x| f64::from(x - 0.5).exp()).sum();
            let sum = sum_exp(&logits, 0.5);
            assert!((sum - truth).abs() <= truth * 1e-6, "{len}: {sum} {truth}");
        }
    }
}
