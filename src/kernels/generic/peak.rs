//! Bursts of the portable level, and its loop that reads memory.

use std::hint::black_box;

use super::super::peak::{Burst, Peaks};

/// See [`Peaks`].
pub(in crate::kernels) static PEAKS: Peaks = Peaks {
    read: |words| words.iter().fold(0, |sum, word| sum.wrapping_add(*word)),
    int8: Burst { run: int8, operations: 2 * 64 },
    f32: Burst { run: floats, operations: 2 * 64 },
    bf16: Burst { run: bf16, operations: 2 * 64 },
};

/// Multiplies and adds 64 pairs of bytes a round, as the portable products do: in 32 bits.
fn int8(rounds: u32) {
    let (w, a) = (black_box([3i8; 64]), black_box([5i8; 64]));
    let mut sums = [0i32; 64];
    for _ in 0..rounds {
        for i in 0..64 {
            sums[i] = sums[i].wrapping_add(i32::from(w[i]) * i32::from(a[i]));
        }
        black_box(&mut sums);
    }
}

/// Multiplies and adds 64 pairs of floats a round. Rounded twice, where the level's own products are fused: what the instructions do that every
/// processor of the architecture has.
fn floats(rounds: u32) {
    let (w, a) = (black_box([0.5f32; 64]), black_box([0.25f32; 64]));
    let mut sums = [0f32; 64];
    for _ in 0..rounds {
        for i in 0..64 {
            sums[i] += w[i] * a[i];
        }
        black_box(&mut sums);
    }
}

/// The same with one factor widened from bf16.
fn bf16(rounds: u32) {
    let (w, a) = (black_box([0x3f00u16; 64]), black_box([0.25f32; 64]));
    let mut sums = [0f32; 64];
    for _ in 0..rounds {
        for i in 0..64 {
            sums[i] += f32::from_bits(u32::from(w[i]) << 16) * a[i];
        }
        black_box(&mut sums);
    }
}
