//! Encoders of the blocks of 32 with one scale: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1. Eight blocks are searched at a time.

use super::affine::{affine_codes, fit_affine};
use super::search::{Grid, Integers, as_f16, codes, fit_scale, low_byte, reciprocal, round, weighted_lanes};
use super::{Blocks, TILE};

/// Elements of a block, and blocks of a tile.
const N: usize = 32;
const L: usize = 8;
/// Few, since these types are chosen where it is to be fast, and most of the gain over none is in the first.
const TRIES: usize = 3;

/// Steps are so fine that the largest element alone sets the scale.
#[inline(always)]
pub(super) fn q8_0(values: &[f32], out: &mut [u8]) {
    for (values, out) in values.as_chunks::<N>().0.iter().zip(out.as_chunks_mut::<34>().0) {
        let mut largest = [0.0f32; 16];
        for part in values.as_chunks::<16>().0 {
            for l in 0..16 {
                largest[l] = if part[l].abs() > largest[l] { part[l].abs() } else { largest[l] };
            }
        }
        let (half, d) = as_f16(largest.iter().fold(0.0f32, |a, b| a.max(*b)) / 127.0);
        out[..2].copy_from_slice(&half.to_le_bytes());
        let per = reciprocal(d);
        for (out, value) in out[2..].iter_mut().zip(values) {
            // The rounding of d may take the largest just past 127.5.
            *out = low_byte(round(super::search::clamp(value * per, -127.0, 127.0)));
        }
    }
}

/// Blocks with a scale alone: their scales and the bits of their elements.
#[inline(always)]
pub(super) fn scaled<G: Grid>(values: &[f32; TILE], importance: Option<&[f32; TILE]>) -> ([half::f16; L], [u8; TILE]) {
    let (x, w) = weighted_lanes::<N, L>(values, importance);
    let mut scales = fit_scale::<G, N, L>(&x, &w);
    let mut halves = [half::f16::ZERO; L];
    for l in 0..L {
        (halves[l], scales[l]) = as_f16(scales[l]);
    }
    (halves, codes::<G, N, L>(values, &scales))
}

/// Blocks with scale and offset.
#[inline(always)]
fn affine(values: &[f32; TILE], importance: Option<&[f32; TILE]>, levels: f32) -> ([half::f16; L], [half::f16; L], [u8; TILE]) {
    let (x, w) = weighted_lanes::<N, L>(values, importance);
    let (mut scales, mut offsets) = fit_affine::<N, L, TRIES>(&x, &w, levels, false);
    let (mut half_scales, mut half_offsets) = ([half::f16::ZERO; L], [half::f16::ZERO; L]);
    for l in 0..L {
        (half_scales[l], scales[l]) = as_f16(scales[l]);
        (half_offsets[l], offsets[l]) = as_f16(offsets[l]);
    }
    (half_scales, half_offsets, affine_codes::<N, L>(values, &scales, &offsets, levels))
}

/// The low nibbles of a block's 32 codes: of element j in the low and of element j + 16 in the high half of byte j.
#[inline(always)]
pub(super) fn pack_nibbles(codes: &[u8], out: &mut [u8]) {
    for j in 0..16 {
        out[j] = codes[j] & 15 | codes[j + 16] << 4;
    }
}

/// The fifth bits of a block's 32 codes.
#[inline(always)]
fn pack_fifths(codes: &[u8], out: &mut [u8]) {
    let fifths = codes.iter().enumerate().fold(0u32, |bits, (j, code)| bits | u32::from(code >> 4) << j);
    out.copy_from_slice(&fifths.to_le_bytes());
}

pub(super) struct Q40;

impl Blocks for Q40 {
    const LEN: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (d, codes) = scaled::<Integers<-8, TRIES>>(values, importance);
        for (b, out) in out.as_chunks_mut::<18>().0.iter_mut().enumerate() {
            out[..2].copy_from_slice(&d[b].to_le_bytes());
            pack_nibbles(&codes[N * b..], &mut out[2..]);
        }
    }
}

pub(super) struct Q41;

impl Blocks for Q41 {
    const LEN: usize = 32;
    const BYTES: usize = 20;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (d, m, codes) = affine(values, importance, 15.0);
        for (b, out) in out.as_chunks_mut::<20>().0.iter_mut().enumerate() {
            out[..2].copy_from_slice(&d[b].to_le_bytes());
            out[2..4].copy_from_slice(&m[b].to_le_bytes());
            pack_nibbles(&codes[N * b..], &mut out[4..]);
        }
    }
}

pub(super) struct Q50;

impl Blocks for Q50 {
    const LEN: usize = 32;
    const BYTES: usize = 22;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (d, codes) = scaled::<Integers<-16, TRIES>>(values, importance);
        for (b, out) in out.as_chunks_mut::<22>().0.iter_mut().enumerate() {
            out[..2].copy_from_slice(&d[b].to_le_bytes());
            pack_fifths(&codes[N * b..N * (b + 1)], &mut out[2..6]);
            pack_nibbles(&codes[N * b..], &mut out[6..]);
        }
    }
}

pub(super) struct Q51;

impl Blocks for Q51 {
    const LEN: usize = 32;
    const BYTES: usize = 24;

    #[inline(always)]
    fn encode(values: &[f32; TILE], importance: Option<&[f32; TILE]>, out: &mut [u8]) {
        let (d, m, codes) = affine(values, importance, 31.0);
        for (b, out) in out.as_chunks_mut::<24>().0.iter_mut().enumerate() {
            out[..2].copy_from_slice(&d[b].to_le_bytes());
            out[2..4].copy_from_slice(&m[b].to_le_bytes());
            pack_fifths(&codes[N * b..N * (b + 1)], &mut out[4..8]);
            pack_nibbles(&codes[N * b..], &mut out[8..]);
        }
    }
}
