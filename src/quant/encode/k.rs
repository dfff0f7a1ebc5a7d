//! Encoders of the K-quants: the sub-blocks of a super-block are searched side by side, then brought under the scales of the whole.

use super::affine::{affine_codes, fit_scales_and_minima};
use super::search::{Integers, codes, fit_scales, low_byte, weighted_lanes};
use super::{Blocks, TILE};

/// What an element stands for once the integers are chosen: `scale · q + offset` for each sub-block.
struct Affine<const L: usize> {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; L],
    minima: [u8; L],
    codes: [u8; TILE],
}

#[inline(always)]
fn affine<const N: usize, const L: usize>(values: &[f32; TILE], importance: Option<&[f32; TILE]>, levels: f32, most: f32) -> Affine<L> {
    let (x, w) = weighted_lanes::<N, L>(values, importance);
    let found = fit_scales_and_minima::<N, L>(&x, &w, levels, most);
    let (d, dmin) = (found.d.to_f32(), found.dmin.to_f32());
    let (mut scales, mut offsets, mut scale_bits, mut minimum_bits) = ([0.0; L], [0.0; L], [0; L], [0; L]);
    for l in 0..L {
        scales[l] = d * found.scales[l];
        offsets[l] = -(dmin * found.minima[l]);
        scale_bits[l] = low_byte(found.scales[l]);
        minimum_bits[l] = low_byte(found.minima[l]);
    }
    let codes = affine_codes::<N, L>(values, &scales, &offsets, levels);
    Affine { d: found.d.to_le_bytes(), dmin: found.dmin.to_le_bytes(), scales: scale_bits, minima: minimum_bits, codes }
}

/// Signed integers as scales, under d.
#[inline(always)]
fn scaled<const LEAST: i32>(values: &[f32; TILE], importance: Option<&[f32; TILE]>, range: (f32, f32)) -> ([u8; 2], [f32; 16], [u8; TILE]) {
    let (x, w) = weighted_lanes::<16, 16>(values, importance);
    let found = fit_scales::<Integers<LEAST, 6>, 16, 16>(&x, &w, range);
    let d = found.d.to_f32();
    let scales = found.scales.map(|scale| d * scale);
    (found.d.to_le_bytes(), found.scales, codes::<Integers<LEAST, 6>, 16, 16>(values, &scales))
}

/// The two lowest bits of 256 codes: each half of 128 elements has 32 bytes, whose bit pairs hold elements l, l + 32, l + 64 and l + 96.
#[inline(always)]
fn pack_pairs(codes: &[u8; TILE], out: &mut [u8]) {
    for half in 0..2 {
        let (codes, out) = (&codes[128 * half..128 * (half + 1)], &mut out[32 * half..32 * (half + 1)]);
        for l in 0..32 {
            out[l] = codes[l] & 3 | (codes[l + 32] & 3) << 2 | (codes[l + 64] & 3) << 4 | (codes[l + 96] & 3) << 6;
        }
    }
}

/// Importance with its mean added. It is of a sample, and of each element by itself; with four levels what it makes of the others goes wrong: by it
/// alone the demo model came 13 % (4-25) farther from its predictions than without, over nine orders of its dimensions, so 8 % (0-17).
/// Types with more levels came as near with either.
fn evened(importance: &[f32; TILE]) -> [f32; TILE] {
    let mean = importance.iter().sum::<f32>() / TILE as f32;
    importance.map(|importance| importance + mean)
}

pub(super) struct Q2K;

impl Blocks for Q2K {
    const LEN: usize = 256;
    const BYTES: usize = 84;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let importance = importance.map(evened);
        let block = affine::<16, 16>(values, importance.as_ref(), 3.0, 15.0);
        for l in 0..16 {
            out[l] = block.scales[l] | block.minima[l] << 4;
        }
        pack_pairs(&block.codes, &mut out[16..80]);
        out[80..82].copy_from_slice(&block.d);
        out[82..84].copy_from_slice(&block.dmin);
    }
}

pub(super) struct Q3K;

impl Blocks for Q3K {
    const LEN: usize = 256;
    const BYTES: usize = 110;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (d, scales, codes) = scaled::<-4>(values, importance, (-32.0, 31.0));
        for l in 0..32 {
            out[l] = (0..8).fold(0, |bits, group| bits | (codes[32 * group + l] >> 2) << group);
        }
        pack_pairs(&codes, &mut out[32..96]);
        let packed = &mut out[96..108];
        packed.fill(0);
        for (sub, scale) in scales.iter().enumerate() {
            let scale = low_byte(scale + 32.0);
            packed[sub % 8] |= (scale & 15) << (4 * (sub / 8));
            packed[8 + sub % 4] |= (scale >> 4) << (2 * (sub / 4));
        }
        out[108..110].copy_from_slice(&d);
    }
}

/// The 6-bit scales and minima of eight sub-blocks: those of the first four whole in bytes 0–7, of the last four the low nibbles in bytes 8–11
/// and the upper two bits on top of bytes 0–7.
#[inline(always)]
fn pack_scales(scales: &[u8; 8], minima: &[u8; 8], out: &mut [u8]) {
    for j in 0..4 {
        out[j] = scales[j] | scales[j + 4] >> 4 << 6;
        out[j + 4] = minima[j] | minima[j + 4] >> 4 << 6;
        out[j + 8] = scales[j + 4] & 15 | minima[j + 4] << 4;
    }
}

/// The low nibbles of 256 codes: two sub-blocks of 32 share 32 bytes, the even one in the low halves.
#[inline(always)]
fn pack_nibbles(codes: &[u8; TILE], out: &mut [u8]) {
    for pair in 0..4 {
        let (codes, out) = (&codes[64 * pair..64 * (pair + 1)], &mut out[32 * pair..32 * (pair + 1)]);
        for l in 0..32 {
            out[l] = codes[l] & 15 | codes[l + 32] << 4;
        }
    }
}

pub(super) struct Q4K;

impl Blocks for Q4K {
    const LEN: usize = 256;
    const BYTES: usize = 144;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let block = affine::<32, 8>(values, importance, 15.0, 63.0);
        out[..2].copy_from_slice(&block.d);
        out[2..4].copy_from_slice(&block.dmin);
        pack_scales(&block.scales, &block.minima, &mut out[4..16]);
        pack_nibbles(&block.codes, &mut out[16..]);
    }
}

pub(super) struct Q5K;

impl Blocks for Q5K {
    const LEN: usize = 256;
    const BYTES: usize = 176;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let block = affine::<32, 8>(values, importance, 31.0, 63.0);
        out[..2].copy_from_slice(&block.d);
        out[2..4].copy_from_slice(&block.dmin);
        pack_scales(&block.scales, &block.minima, &mut out[4..16]);
        for l in 0..32 {
            out[16 + l] = (0..8).fold(0, |bits, sub| bits | (block.codes[32 * sub + l] >> 4) << sub);
        }
        pack_nibbles(&block.codes, &mut out[48..]);
    }
}

pub(super) struct Q6K;

impl Blocks for Q6K {
    const LEN: usize = 256;
    const BYTES: usize = 210;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (d, scales, codes) = scaled::<-32>(values, importance, (-128.0, 127.0));
        for half in 0..2 {
            let codes = &codes[128 * half..128 * (half + 1)];
            for l in 0..64 {
                out[64 * half + l] = codes[l] & 15 | codes[l + 64] << 4;
            }
            for l in 0..32 {
                out[128 + 32 * half + l] = codes[l] >> 4 | codes[l + 32] >> 4 << 2 | codes[l + 64] >> 4 << 4 | codes[l + 96] >> 4 << 6;
            }
        }
        for (out, scale) in out[192..208].iter_mut().zip(scales) {
            *out = low_byte(scale);
        }
        out[208..210].copy_from_slice(&d);
    }
}
