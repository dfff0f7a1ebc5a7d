//! Decoders of the 3-bit types with codebooks: IQ3_XXS, IQ3_S. Four elements share an entry of magnitudes and have a sign each.

use super::grid::{self, signs_of_seven};
use super::iq2::{nibble, signed};
use super::{f16_at, for_blocks, u32_at};

/// d, for each 4 elements an index, and for each 32 elements a u32 of four times seven signs and a scale of four bits.
pub(super) fn iq3_xxs(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<98, 256>(bytes, out, |block, out| {
        let d = f16_at(block);
        for (four, out) in out.chunks_exact_mut(4).enumerate() {
            let bits = u32_at(&block[66 + 4 * (four / 8)..]);
            let scale = d * (0.5 + (bits >> 28) as f32) * 0.5;
            let signs = signs_of_seven(bits >> (7 * (four % 8 / 2)));
            let magnitudes = grid::IQ3_XXS[usize::from(block[2 + four])].to_le_bytes();
            signed(scale, &magnitudes, signs >> (4 * (four % 2)), out);
        }
    });
}

/// d, for each 4 elements the low byte of an index, for each 32 elements a byte of the ninth bits of eight indices, for each 8 elements
/// a byte of signs, and for each 32 elements a scale of four bits.
pub(super) fn iq3_s(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<110, 256>(bytes, out, |block, out| {
        let d = f16_at(block);
        let (lows, ninths, signs, scales) = (&block[2..66], &block[66..74], &block[74..106], &block[106..]);
        for (four, out) in out.chunks_exact_mut(4).enumerate() {
            let ninth = usize::from(ninths[four / 8] >> (four % 8) & 1);
            let scale = d * f32::from(1 + 2 * nibble(scales, four / 8));
            let magnitudes = grid::IQ3_S[usize::from(lows[four]) | ninth << 8].to_le_bytes();
            signed(scale, &magnitudes, u32::from(signs[four / 2]) >> (4 * (four % 2)), out);
        }
    });
}
