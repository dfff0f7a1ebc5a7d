//! Decoders of the 2-bit types with codebooks: IQ2_XXS, IQ2_XS, IQ2_S. Eight elements share an entry of magnitudes and have a sign each.

use super::grid::{self, signs_of_seven};
use super::{f16_at, for_blocks, u16_at, u32_at};

/// `scale` times the magnitudes of an entry, with bit j of `signs` the sign of element j.
pub(super) fn signed(scale: f32, magnitudes: &[u8], signs: u32, out: &mut [f32]) {
    for (j, (&magnitude, y)) in magnitudes.iter().zip(out).enumerate() {
        let sign = if signs >> j & 1 == 1 { -1.0 } else { 1.0 };
        *y = scale * f32::from(magnitude) * sign;
    }
}

/// d, then for each 32 elements four indices and a u32 of four times seven signs and a scale of four bits.
pub(super) fn iq2_xxs(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<66, 256>(bytes, out, |block, out| {
        let d = f16_at(block);
        for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let part = &block[2 + 8 * sub..][..8];
            let bits = u32_at(&part[4..]);
            let scale = d * (0.5 + (bits >> 28) as f32) * 0.25;
            for (l, out) in out.chunks_exact_mut(8).enumerate() {
                let magnitudes = grid::IQ2_XXS[usize::from(part[l])].to_le_bytes();
                signed(scale, &magnitudes, signs_of_seven(bits >> (7 * l)), out);
            }
        }
    });
}

/// d, for each 8 elements a u16 of an index of nine bits and seven signs, for each 16 elements a scale of four bits.
pub(super) fn iq2_xs(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<74, 256>(bytes, out, |block, out| {
        let d = f16_at(block);
        for (eight, out) in out.chunks_exact_mut(8).enumerate() {
            let entry = u16_at(&block[2 + 2 * eight..]);
            let scale = d * (0.5 + f32::from(nibble(&block[66..], eight / 2))) * 0.25;
            let magnitudes = grid::IQ2_XS[usize::from(entry & 511)].to_le_bytes();
            signed(scale, &magnitudes, signs_of_seven(u32::from(entry >> 9)), out);
        }
    });
}

/// d, for each 8 elements the low byte of an index and a byte of signs, for each 32 elements the two upper bits of four indices, for
/// each 16 elements a scale of four bits.
pub(super) fn iq2_s(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<82, 256>(bytes, out, |block, out| {
        let d = f16_at(block);
        let (lows, signs, highs, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..]);
        for (eight, out) in out.chunks_exact_mut(8).enumerate() {
            let high = usize::from(highs[eight / 4] >> (2 * (eight % 4)) & 3);
            let scale = d * (0.5 + f32::from(nibble(scales, eight / 2))) * 0.25;
            let magnitudes = grid::IQ2_S[usize::from(lows[eight]) | high << 8].to_le_bytes();
            signed(scale, &magnitudes, u32::from(signs[eight]), out);
        }
    });
}

/// Nibble `i` of bytes with two each, the low one first.
pub(super) fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 2] >> (4 * (i % 2)) & 15
}
