//! Decoders of the 4-bit types with a table of unequal steps: IQ4_NL and IQ4_XS.

use super::{f16_at, for_blocks};

/// The sixteen values that a nibble stands for.
pub const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Two elements of each byte, places in a table: low nibbles first, then high ones, each times `scale`.
pub(super) fn nibbles(table: &[i8; 16], scale: f32, quants: &[u8], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(quants.len());
    for ((&byte, low), high) in quants.iter().zip(low).zip(high) {
        *low = scale * f32::from(table[usize::from(byte & 15)]);
        *high = scale * f32::from(table[usize::from(byte >> 4)]);
    }
}

/// d, nibbles\[16\].
pub(super) fn iq4_nl(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<18, 32>(bytes, out, |block, out| nibbles(&VALUES, f16_at(block), &block[2..], out));
}

/// 8 sub-blocks of 32: d, high two bits of the scales (u16), low nibbles of the scales\[4\], nibbles\[128\].
pub(super) fn iq4_xs(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<136, 256>(bytes, out, |block, out| {
        let d = f16_at(block);
        let high = u16::from_le_bytes([block[2], block[3]]);
        for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = block[4 + sub / 2] >> (4 * (sub % 2)) & 15;
            let scale = low | (((high >> (2 * sub)) as u8 & 3) << 4);
            nibbles(&VALUES, d * f32::from(scale as i8 - 32), &block[8 + 16 * sub..][..16], out);
        }
    });
}
