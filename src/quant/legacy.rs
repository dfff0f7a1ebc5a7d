//! Decoders of the blocks of 32 with one scale: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.
//!
//! Scales are f16. Packed nibbles keep element j in the low and element j + 16 in the high half of byte j.

use super::{f16_at, for_blocks};

/// `d·q`: d f16, q i8\[32\].
pub(super) fn q8_0(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<34, 32>(bytes, out, |block, out| {
        let d = f16_at(block);
        for (q, y) in block[2..].iter().zip(out) {
            *y = f32::from(*q as i8) * d;
        }
    });
}

/// `d·(q−8)`: d f16, nibbles\[16\].
pub(super) fn q4_0(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<18, 32>(bytes, out, |block, out| {
        let d = f16_at(block);
        for (j, q) in block[2..].iter().enumerate() {
            out[j] = d * f32::from((q & 15) as i8 - 8);
            out[j + 16] = d * f32::from((q >> 4) as i8 - 8);
        }
    });
}

/// `d·q + m`: d f16, m f16, nibbles\[16\].
pub(super) fn q4_1(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<20, 32>(bytes, out, |block, out| {
        let (d, m) = (f16_at(block), f16_at(&block[2..]));
        for (j, q) in block[4..].iter().enumerate() {
            out[j] = d * f32::from(q & 15) + m;
            out[j + 16] = d * f32::from(q >> 4) + m;
        }
    });
}

/// `d·(q−16)`: d f16, fifth bits (bit j of a u32 belongs to element j), nibbles\[16\].
pub(super) fn q5_0(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<22, 32>(bytes, out, |block, out| {
        let d = f16_at(block);
        let (fifths, nibbles) = fifths_and_nibbles(&block[2..]);
        for (j, q) in nibbles.iter().enumerate() {
            let (low, high) = five_bits(*q, fifths, j);
            out[j] = d * f32::from(low as i8 - 16);
            out[j + 16] = d * f32::from(high as i8 - 16);
        }
    });
}

/// `d·q + m`: d f16, m f16, fifth bits, nibbles\[16\].
pub(super) fn q5_1(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<24, 32>(bytes, out, |block, out| {
        let (d, m) = (f16_at(block), f16_at(&block[2..]));
        let (fifths, nibbles) = fifths_and_nibbles(&block[4..]);
        for (j, q) in nibbles.iter().enumerate() {
            let (low, high) = five_bits(*q, fifths, j);
            out[j] = d * f32::from(low) + m;
            out[j + 16] = d * f32::from(high) + m;
        }
    });
}

fn fifths_and_nibbles(bytes: &[u8]) -> (u32, &[u8]) {
    (u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), &bytes[4..])
}

/// Elements j and j + 16 from byte j of the nibbles and the fifth bits.
fn five_bits(nibbles: u8, fifths: u32, j: usize) -> (u8, u8) {
    let fifth = |element: usize| ((fifths >> element & 1) as u8) << 4;
    (nibbles & 15 | fifth(j), nibbles >> 4 | fifth(j + 16))
}
