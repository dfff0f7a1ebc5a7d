//! Types whose quants are looked up in a codebook or are digits: taken apart in plain Rust, 32 elements at a time, for all levels but
//! those with AVX-512, which have registers enough to look up in (`x86_64::avx512::lookup`).
//!
//! What the other levels add is the join of magnitudes and signs in their registers. Layouts as in the decoders of `quant`, whose values these
//! are: y = FACTOR·d·scale·q, where the factor makes scales and quants whole numbers.

use super::unpack::{SuperBlock, SuperBlockType};
use crate::quant::grid::{self, signs_of_seven};

/// A type with super-blocks of 256. All functions take the bytes of one.
pub(in crate::kernels) trait Grouped {
    /// Bytes of a super-block.
    const BYTES: usize;
    /// Whether scales are per 32 elements, else per 16.
    const PER_32: bool;
    /// Whether quants are magnitudes with signs apart; else they are what `quants` gives, less `OFFSET`.
    const SIGNED: bool;
    /// With signs: a power of two above all magnitudes. Else what is taken off the quants.
    const OFFSET: u8;
    /// By what the f16 is multiplied, a power of two.
    const FACTOR: f32;
    /// The largest of OFFSET + q.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "asked for where sums have 16 bits"))]
    const LARGEST: u8;
    /// The f16 of the super-block.
    #[inline(always)]
    fn head(block: &[u8]) -> u16 {
        u16_at(block, 0)
    }
    /// 16 scales, or 8 and zeros.
    fn scales(block: &[u8]) -> [i8; 16];
    /// Elements `32 i ..`, a byte each: magnitudes, or quants above their value by `OFFSET`.
    fn quants(block: &[u8], i: usize) -> [u64; 4];
    /// The signs of elements `32 i ..`, set for minus; zero where the type has none.
    #[inline(always)]
    fn signs(_block: &[u8], _i: usize) -> u32 {
        0
    }
}

/// The super-block at `block`.
///
/// # Safety
/// `T::BYTES` bytes are readable there for as long as the reference is used.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code, reason = "the portable kernels have slices"))]
#[inline(always)]
pub(in crate::kernels) unsafe fn bytes_of<'a, T: Grouped>(block: *const u8) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(block, T::BYTES) }
}

impl<T: Grouped> SuperBlockType for T {
    const BYTES: usize = T::BYTES;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> SuperBlock {
        let scales = T::scales(bytes);
        let mut q = [0; 256];
        for (i, q) in q.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (quants, signs) = (T::quants(bytes, i), T::signs(bytes, i));
            for (j, q) in q.iter_mut().enumerate() {
                let byte = quants[j / 8].to_le_bytes()[j % 8] as i8;
                *q = match (T::SIGNED, signs >> j & 1) {
                    (true, 0) => byte,
                    (true, _) => -byte,
                    (false, _) => byte - T::OFFSET as i8,
                };
            }
        }
        SuperBlock {
            d: half::f16::from_bits(T::head(bytes)).to_f32() * T::FACTOR,
            dmin: 0.0,
            q,
            scales: std::array::from_fn(|j| if T::PER_32 { scales[j / 2] } else { scales[j] }),
            mins: [0; 16],
        }
    }
}

#[inline(always)]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// 2s + 1 for each nibble s of the bytes, the low one of a byte first.
#[inline(always)]
fn odd_scales(bytes: &[u8]) -> [i8; 16] {
    let mut scales = [0; 16];
    for (i, &byte) in bytes.iter().enumerate() {
        scales[2 * i] = (2 * (byte & 15) + 1) as i8;
        scales[2 * i + 1] = (2 * (byte >> 4) + 1) as i8;
    }
    scales
}

/// 2s + 1 for the high nibble s of eight bytes that lie `step` apart.
#[inline(always)]
fn top_scales(bytes: &[u8], step: usize) -> [i8; 16] {
    let mut scales = [0; 16];
    for i in 0..8 {
        scales[i] = (2 * (bytes[step * i] >> 4) + 1) as i8;
    }
    scales
}

/// Four times seven signs, each with the eighth that makes the number of minus signs even.
#[inline(always)]
fn four_of_seven(bits: u32) -> u32 {
    signs_of_seven(bits) | signs_of_seven(bits >> 7) << 8 | signs_of_seven(bits >> 14) << 16 | signs_of_seven(bits >> 21) << 24
}

/// Two entries of four elements.
#[inline(always)]
fn two(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

/// IQ2_XXS.
pub(in crate::kernels) struct Iq2Xxs;
impl Grouped for Iq2Xxs {
    const BYTES: usize = 66;
    const PER_32: bool = true;
    const SIGNED: bool = true;
    const OFFSET: u8 = 64;
    const FACTOR: f32 = 0.125;
    const LARGEST: u8 = 64 + 43;
    #[inline(always)]
    fn scales(block: &[u8]) -> [i8; 16] {
        top_scales(&block[9..], 8)
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let entry = |l: usize| grid::IQ2_XXS[usize::from(block[2 + 8 * i + l])];
        [entry(0), entry(1), entry(2), entry(3)]
    }
    #[inline(always)]
    fn signs(block: &[u8], i: usize) -> u32 {
        four_of_seven(u32_at(block, 6 + 8 * i))
    }
}

/// IQ2_XS.
pub(in crate::kernels) struct Iq2Xs;
impl Grouped for Iq2Xs {
    const BYTES: usize = 74;
    const PER_32: bool = false;
    const SIGNED: bool = true;
    const OFFSET: u8 = 64;
    const FACTOR: f32 = 0.125;
    const LARGEST: u8 = 64 + 43;
    #[inline(always)]
    fn scales(block: &[u8]) -> [i8; 16] {
        odd_scales(&block[66..74])
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let entry = |l: usize| grid::IQ2_XS[usize::from(u16_at(block, 2 + 8 * i + 2 * l) & 511)];
        [entry(0), entry(1), entry(2), entry(3)]
    }
    #[inline(always)]
    fn signs(block: &[u8], i: usize) -> u32 {
        let signs = |l: usize| signs_of_seven(u32::from(u16_at(block, 2 + 8 * i + 2 * l) >> 9)) << (8 * l);
        signs(0) | signs(1) | signs(2) | signs(3)
    }
}

/// IQ2_S.
pub(in crate::kernels) struct Iq2S;
impl Grouped for Iq2S {
    const BYTES: usize = 82;
    const PER_32: bool = false;
    const SIGNED: bool = true;
    const OFFSET: u8 = 64;
    const FACTOR: f32 = 0.125;
    const LARGEST: u8 = 64 + 43;
    #[inline(always)]
    fn scales(block: &[u8]) -> [i8; 16] {
        odd_scales(&block[74..82])
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let high = usize::from(block[66 + i]);
        let entry = |l: usize| grid::IQ2_S[usize::from(block[2 + 4 * i + l]) | (high >> (2 * l) & 3) << 8];
        [entry(0), entry(1), entry(2), entry(3)]
    }
    #[inline(always)]
    fn signs(block: &[u8], i: usize) -> u32 {
        u32_at(block, 34 + 4 * i)
    }
}

/// IQ3_XXS.
pub(in crate::kernels) struct Iq3Xxs;
impl Grouped for Iq3Xxs {
    const BYTES: usize = 98;
    const PER_32: bool = true;
    const SIGNED: bool = true;
    const OFFSET: u8 = 64;
    const FACTOR: f32 = 0.25;
    const LARGEST: u8 = 64 + 62;
    #[inline(always)]
    fn scales(block: &[u8]) -> [i8; 16] {
        top_scales(&block[69..], 4)
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let entry = |l: usize| grid::IQ3_XXS[usize::from(block[2 + 8 * i + l])];
        [two(entry(0), entry(1)), two(entry(2), entry(3)), two(entry(4), entry(5)), two(entry(6), entry(7))]
    }
    #[inline(always)]
    fn signs(block: &[u8], i: usize) -> u32 {
        four_of_seven(u32_at(block, 66 + 4 * i))
    }
}

/// IQ3_S.
pub(in crate::kernels) struct Iq3S;
impl Grouped for Iq3S {
    const BYTES: usize = 110;
    const PER_32: bool = true;
    const SIGNED: bool = true;
    const OFFSET: u8 = 16;
    const FACTOR: f32 = 1.0;
    const LARGEST: u8 = 16 + 15;
    #[inline(always)]
    fn scales(block: &[u8]) -> [i8; 16] {
        odd_scales(&block[106..110])
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let ninths = usize::from(block[66 + i]);
        let entry = |l: usize| grid::IQ3_S[usize::from(block[2 + 8 * i + l]) | (ninths >> l & 1) << 8];
        [two(entry(0), entry(1)), two(entry(2), entry(3)), two(entry(4), entry(5)), two(entry(6), entry(7))]
    }
    #[inline(always)]
    fn signs(block: &[u8], i: usize) -> u32 {
        u32_at(block, 74 + 4 * i)
    }
}

/// Eight eighths of an IQ1 entry, one unit up or down.
#[inline(always)]
fn shifted(index: usize, down: bool) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // All bytes are 8 to 24, so no unit is carried or borrowed.
    if down { grid::IQ1[index] - ONES } else { grid::IQ1[index] + ONES }
}

/// IQ1_S.
pub(in crate::kernels) struct Iq1S;
impl Grouped for Iq1S {
    const BYTES: usize = 50;
    const PER_32: bool = true;
    const SIGNED: bool = false;
    const OFFSET: u8 = 16;
    const FACTOR: f32 = 0.125;
    const LARGEST: u8 = 25;
    #[inline(always)]
    fn scales(block: &[u8]) -> [i8; 16] {
        let mut scales = [0; 16];
        for i in 0..8 {
            scales[i] = (2 * (block[35 + 2 * i] >> 4 & 7) + 1) as i8;
        }
        scales
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let bits = usize::from(u16_at(block, 34 + 2 * i));
        let entry = |l: usize| shifted(usize::from(block[2 + 4 * i + l]) | (bits >> (3 * l) & 7) << 8, bits >> 15 == 1);
        [entry(0), entry(1), entry(2), entry(3)]
    }
}

/// IQ1_M.
pub(in crate::kernels) struct Iq1M;
impl Grouped for Iq1M {
    const BYTES: usize = 56;
    const PER_32: bool = false;
    const SIGNED: bool = false;
    const OFFSET: u8 = 16;
    const FACTOR: f32 = 0.125;
    const LARGEST: u8 = 25;
    #[inline(always)]
    fn head(block: &[u8]) -> u16 {
        // The top nibbles of four u16, the first one lowest.
        let top = |i: usize| u16::from(block[49 + 2 * i] >> 4) << (4 * i);
        top(0) | top(1) | top(2) | top(3)
    }
    #[inline(always)]
    fn scales(block: &[u8]) -> [i8; 16] {
        let mut scales = [0; 16];
        for (i, scale) in scales.iter_mut().enumerate() {
            *scale = (2 * (u16_at(block, 48 + i / 4 * 2) >> (3 * (i % 4)) & 7) + 1) as i8;
        }
        scales
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let bits = usize::from(u16_at(block, 32 + 2 * i));
        let entry = |l: usize| {
            let high = bits >> (4 * l);
            shifted(usize::from(block[4 * i + l]) | (high & 7) << 8, high & 8 != 0)
        };
        [entry(0), entry(1), entry(2), entry(3)]
    }
}

/// The scales of types that have none.
#[inline(always)]
fn ones() -> [i8; 16] {
    [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// TQ1_0.
pub(in crate::kernels) struct Tq10;
impl Grouped for Tq10 {
    const BYTES: usize = 54;
    const PER_32: bool = true;
    const SIGNED: bool = false;
    const OFFSET: u8 = 1;
    const FACTOR: f32 = 1.0;
    const LARGEST: u8 = 2;
    #[inline(always)]
    fn head(block: &[u8]) -> u16 {
        u16_at(block, 52)
    }
    #[inline(always)]
    fn scales(_block: &[u8]) -> [i8; 16] {
        ones()
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let mut quants = [0; 4];
        for (j, quants) in quants.iter_mut().enumerate() {
            for k in 0..8 {
                let element = 32 * i + 8 * j + k;
                // The first 32 bytes have five digits each, 16 have five, 4 have four; of each part first digits come first.
                let (byte, digit) = match element {
                    0..160 => (element % 32, element / 32),
                    160..240 => (32 + element % 16, (element - 160) / 16),
                    _ => (48 + element % 4, (element - 240) / 4),
                };
                let rest = block[byte].wrapping_mul([1, 3, 9, 27, 81][digit]);
                *quants |= u64::from((u16::from(rest) * 3) >> 8) << (8 * k);
            }
        }
        quants
    }
}

/// TQ2_0.
pub(in crate::kernels) struct Tq20;
impl Grouped for Tq20 {
    const BYTES: usize = 66;
    const PER_32: bool = true;
    const SIGNED: bool = false;
    const OFFSET: u8 = 1;
    const FACTOR: f32 = 1.0;
    const LARGEST: u8 = 3;
    #[inline(always)]
    fn head(block: &[u8]) -> u16 {
        u16_at(block, 64)
    }
    #[inline(always)]
    fn scales(_block: &[u8]) -> [i8; 16] {
        ones()
    }
    #[inline(always)]
    fn quants(block: &[u8], i: usize) -> [u64; 4] {
        let eight = |j: usize| {
            let at = i / 4 * 32 + 8 * j;
            (two(u32_at(block, at), u32_at(block, at + 4)) >> (i % 4 * 2)) & 0x0303_0303_0303_0303
        };
        [eight(0), eight(1), eight(2), eight(3)]
    }
}
