//! Bursts for AArch64: chains of one instruction each, side by side in sixteen registers, so that none waits for its own last result.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::Isa;
use super::super::peak::{Burst, Peaks};
use super::dot::{Dot, Sdot, Widening, smmla};

/// Chains of a round.
const CHAINS: u64 = 16;

/// The loops of a level, or `None` for a level of other processors.
pub(in crate::kernels) fn peaks(isa: Isa) -> Option<&'static Peaks> {
    static NEON: Peaks = Peaks { int8: Burst { run: int8_widening, operations: 2 * 16 * CHAINS }, ..FLOATS };
    static DOTPROD: Peaks = Peaks { int8: Burst { run: int8_sdot, operations: 2 * 16 * CHAINS }, ..FLOATS };
    static I8MM: Peaks = Peaks { int8: Burst { run: int8_smmla, operations: 2 * 32 * CHAINS }, ..FLOATS };
    match isa {
        Isa::Neon => Some(&NEON),
        Isa::Dotprod => Some(&DOTPROD),
        Isa::I8mm => Some(&I8MM),
        _ => None,
    }
}

/// What does not differ between the levels: ASIMD, which is part of the target.
const FLOATS: Peaks = Peaks {
    read,
    int8: Burst { run: int8_widening, operations: 2 * 16 * CHAINS },
    f32: Burst { run: floats, operations: 2 * 4 * CHAINS },
    bf16: Burst { run: bf16, operations: 2 * 4 * CHAINS },
};

fn read(words: &[u64]) -> u64 {
    let (steps, rest) = words.as_chunks::<16>();
    // SAFETY: ASIMD is part of the target; a step is eight registers of two words.
    let all = unsafe {
        let mut sums = [vdupq_n_u64(0); 8];
        for step in steps {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = vaddq_u64(*sum, vld1q_u64(step.as_ptr().add(2 * i)));
            }
        }
        vaddvq_u64(sums.into_iter().fold(vdupq_n_u64(0), |all, sum| vaddq_u64(all, sum)))
    };
    rest.iter().fold(all, |sum, word| sum.wrapping_add(*word))
}

/// Runs `step` on each chain, `rounds` times. Between rounds the compiler knows nothing of the operand.
#[inline(always)]
unsafe fn bytes(rounds: u32, step: impl Fn(int32x4_t, int8x16_t, int8x16_t) -> int32x4_t) {
    // SAFETY: register arithmetic.
    unsafe {
        let mut one = vdupq_n_s8(1);
        let mut chains = [vdupq_n_s32(0); CHAINS as usize];
        for _ in 0..rounds {
            asm!("/* {0:v} */", inout(vreg) one, options(nomem, nostack, preserves_flags));
            for chain in &mut chains {
                *chain = step(*chain, one, one);
            }
        }
        for chain in chains {
            asm!("/* {0:v} */", in(vreg) chain, options(nomem, nostack, preserves_flags));
        }
    }
}

fn int8_widening(rounds: u32) {
    // SAFETY: ASIMD is part of the target.
    unsafe { bytes(rounds, |acc, w, a| Widening::dot(acc, w, a)) }
}

fn int8_sdot(rounds: u32) {
    #[target_feature(enable = "dotprod")]
    unsafe fn run(rounds: u32) {
        // SAFETY: the feature is there.
        unsafe { bytes(rounds, |acc, w, a| Sdot::dot(acc, w, a)) }
    }
    // SAFETY: in the table of a level that has the feature.
    unsafe { run(rounds) }
}

fn int8_smmla(rounds: u32) {
    #[target_feature(enable = "i8mm")]
    unsafe fn run(rounds: u32) {
        // SAFETY: the feature is there.
        unsafe { bytes(rounds, |acc, w, a| smmla(acc, w, a)) }
    }
    // SAFETY: in the table of a level that has the feature.
    unsafe { run(rounds) }
}

fn floats(rounds: u32) {
    // SAFETY: arithmetic on registers; ASIMD is part of the target.
    unsafe {
        let half = vdupq_n_f32(0.5);
        let mut chains = [vdupq_n_f32(0.0); CHAINS as usize];
        for _ in 0..rounds {
            for chain in &mut chains {
                asm!(
                    "fmla {acc:v}.4s, {w:v}.4s, {w:v}.4s",
                    acc = inout(vreg) *chain, w = in(vreg) half, options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
}

fn bf16(rounds: u32) {
    // SAFETY: as above.
    unsafe {
        let (halves, half) = (vdupq_n_u16(0x3f00), vdupq_n_f32(0.5));
        let mut chains = [vdupq_n_f32(0.0); CHAINS as usize];
        for _ in 0..rounds {
            for chain in &mut chains {
                asm!(
                    "shll {t:v}.4s, {w:v}.4h, #16", "fmla {acc:v}.4s, {t:v}.4s, {a:v}.4s",
                    acc = inout(vreg) *chain, t = out(vreg) _, w = in(vreg) halves, a = in(vreg) half,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
}
