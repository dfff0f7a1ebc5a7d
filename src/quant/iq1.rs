//! Decoders of the 1-bit types with a codebook: IQ1_S, IQ1_M. Eight elements share an entry of −1, 0 and 1, all shifted by an eighth up or
//! down.

use super::grid;
use super::{f16_at, for_blocks, u16_at};

/// `scale` times an entry of the codebook, shifted down where `down`.
fn shifted(scale: f32, index: usize, down: bool, out: &mut [f32]) {
    let shift = if down { -1 } else { 1 };
    for (eighths, y) in grid::IQ1[index].to_le_bytes().into_iter().zip(out) {
        *y = scale * (f32::from(eighths as i8 - 16 + shift) * 0.125);
    }
}

/// d, for each 8 elements the low byte of an index, and for each 32 elements a u16: upper three bits of four indices, a scale of three
/// bits, the direction of the shift.
pub(super) fn iq1_s(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<50, 256>(bytes, out, |block, out| {
        let d = f16_at(block);
        for (eight, out) in out.chunks_exact_mut(8).enumerate() {
            let bits = u16_at(&block[34 + 2 * (eight / 4)..]);
            let index = usize::from(block[2 + eight]) | usize::from(bits >> (3 * (eight % 4)) & 7) << 8;
            shifted(d * f32::from(2 * (bits >> 12 & 7) + 1), index, bits >> 15 == 1, out);
        }
    });
}

/// For each 8 elements the low byte of an index and a nibble of its upper three bits and the direction of the shift; four u16, each with
/// four scales of three bits for 16 elements and, on top, four bits of the f16 d.
pub(super) fn iq1_m(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<56, 256>(bytes, out, |block, out| {
        let scales: [u16; 4] = std::array::from_fn(|i| u16_at(&block[48 + 2 * i..]));
        let d = scales[0] >> 12 | scales[1] >> 12 << 4 | scales[2] >> 12 << 8 | scales[3] >> 12 << 12;
        let d = half::f16::from_bits(d).to_f32();
        for (eight, out) in out.chunks_exact_mut(8).enumerate() {
            let high = super::iq2::nibble(&block[32..48], eight);
            let index = usize::from(block[eight]) | usize::from(high & 7) << 8;
            let sixteen = eight / 2;
            let scale = scales[sixteen / 4] >> (3 * (sixteen % 4)) & 7;
            shifted(d * f32::from(2 * scale + 1), index, high & 8 != 0, out);
        }
    });
}
