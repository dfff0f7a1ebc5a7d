//! Decoders of the K-quants: super-blocks of 256 elements whose sub-blocks carry small integer scales (and minima), themselves scaled by f16.
//!
//! Each value takes two roundings for its sub-block's scale and offset and one per arithmetic operation: `(d·sc)·q − (dmin·mn)`.

use super::{f16_at, for_blocks};

/// 16 sub-blocks of 16: scales\[16\] (low nibble scale, high nibble minimum), 2-bit q\[64\], d, dmin.
pub(super) fn q2_k(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<84, 256>(bytes, out, |block, out| {
        let (scales, quants) = (&block[..16], &block[16..80]);
        let (d, dmin) = (f16_at(&block[80..]), f16_at(&block[82..]));
        for (sub, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(scales[sub] & 15);
            let min = dmin * f32::from(scales[sub] >> 4);
            for (l, y) in out.iter_mut().enumerate() {
                *y = scale * f32::from(two_bits(quants, sub, l)) - min;
            }
        }
    });
}

/// 16 sub-blocks of 16: third bits\[32\], 2-bit q\[64\], 6-bit scales\[12\], d.
pub(super) fn q3_k(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<110, 256>(bytes, out, |block, out| {
        let (thirds, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
        let d = f16_at(&block[108..]);
        for (sub, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let low = if sub < 8 { scales[sub] & 15 } else { scales[sub - 8] >> 4 };
            let high = scales[8 + sub % 4] >> (2 * (sub / 4)) & 3;
            let scale = d * f32::from((low | high << 4) as i8 - 32);
            for (l, y) in out.iter_mut().enumerate() {
                // Of the third bits, byte i serves the elements that are i modulo 32; a set bit means that nothing is taken off.
                let third = thirds[16 * (sub % 2) + l] >> (sub / 2) & 1;
                *y = scale * f32::from(two_bits(quants, sub, l) as i8 - 4 * (1 - third as i8));
            }
        }
    });
}

/// 8 sub-blocks of 32: d, dmin, 6-bit scales and minima\[12\], nibbles\[128\].
pub(super) fn q4_k(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<144, 256>(bytes, out, |block, out| {
        let (d, dmin) = (f16_at(block), f16_at(&block[2..]));
        let (scales, quants) = (&block[4..16], &block[16..]);
        for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = scale_and_min(scales, sub);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            for (l, y) in out.iter_mut().enumerate() {
                *y = scale * f32::from(nibble(quants, sub, l)) - min;
            }
        }
    });
}

/// 8 sub-blocks of 32: d, dmin, 6-bit scales and minima\[12\], fifth bits\[32\], nibbles\[128\].
pub(super) fn q5_k(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<176, 256>(bytes, out, |block, out| {
        let (d, dmin) = (f16_at(block), f16_at(&block[2..]));
        let (scales, fifths, quants) = (&block[4..16], &block[16..48], &block[48..]);
        for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = scale_and_min(scales, sub);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            for (l, y) in out.iter_mut().enumerate() {
                let fifth = fifths[l] >> sub & 1;
                *y = scale * f32::from(nibble(quants, sub, l) | fifth << 4) - min;
            }
        }
    });
}

/// 16 sub-blocks of 16: nibbles\[128\], upper two bits\[64\], i8 scales\[16\], d.
pub(super) fn q6_k(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<210, 256>(bytes, out, |block, out| {
        let (nibbles, uppers, scales) = (&block[..128], &block[128..192], &block[192..208]);
        let d = f16_at(&block[208..]);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            // Half of 128 elements, and the quarter of 32 in it: the quarters lie in low nibbles, low, high, high.
            let (half, quarter) = (group / 4, group % 4);
            for (l, y) in out.iter_mut().enumerate() {
                let low = nibbles[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
                let high = uppers[32 * half + l] >> (2 * quarter) & 3;
                let scale = d * f32::from(scales[2 * group + l / 16] as i8);
                *y = scale * f32::from((low | high << 4) as i8 - 32);
            }
        }
    });
}

/// Element `l` of sub-block `sub` (of 16 elements) in 2-bit packing: each half of 128 elements has 32 bytes, whose bit pairs hold
/// elements l, l + 32, l + 64 and l + 96.
fn two_bits(quants: &[u8], sub: usize, l: usize) -> u8 {
    quants[32 * (sub / 8) + 16 * (sub % 2) + l] >> (sub % 8 / 2 * 2) & 3
}

/// Element `l` of sub-block `sub` (of 32 elements): two sub-blocks share 32 bytes, the even one in the low nibbles.
fn nibble(quants: &[u8], sub: usize, l: usize) -> u8 {
    quants[32 * (sub / 2) + l] >> (4 * (sub % 2)) & 15
}

/// The 6-bit scale and minimum of sub-block `sub` (of 8) from 12 packed bytes: those of the first four lie whole in bytes 0–7,
/// those of the last four have their low nibbles in bytes 8–11 and their upper two bits on top of bytes 0–7.
fn scale_and_min(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        (packed[sub] & 63, packed[sub + 4] & 63)
    } else {
        (packed[sub + 4] & 15 | packed[sub - 4] >> 6 << 4, packed[sub + 4] >> 4 | packed[sub] >> 6 << 4)
    }
}
