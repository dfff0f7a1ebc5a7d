//! Decoders of the types of one and two bits without codebooks: TQ1_0, TQ2_0, Q1_0, Q2_0.

use super::{f16_at, for_blocks};

/// Digits of three in bytes: five to each of 48 bytes, four to each of 4, then d. A byte is a fraction of 256 whose first digit is that of
/// the first elements; times three, the next one is the first.
pub(super) fn tq1_0(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<54, 256>(bytes, out, |block, out| {
        let d = f16_at(&block[52..]);
        // Of each part, the first digits of all bytes come first, then the second ones.
        for (part, digits, start) in [(0..32, 5, 0), (32..48, 5, 160), (48..52, 4, 240)] {
            let width = part.len();
            for (i, &byte) in block[part].iter().enumerate() {
                let mut rest = byte;
                for digit in 0..digits {
                    let three = u16::from(rest) * 3;
                    out[start + digit * width + i] = d * f32::from((three >> 8) as i8 - 1);
                    rest = three as u8;
                }
            }
        }
    });
}

/// `d·(q−1)`: 2-bit q\[64\], packed as those of Q2_K, then d.
pub(super) fn tq2_0(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<66, 256>(bytes, out, |block, out| {
        let d = f16_at(&block[64..]);
        for (i, y) in out.iter_mut().enumerate() {
            let q = block[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            *y = d * f32::from(q as i8 - 1);
        }
    });
}

/// d, then a bit per element: set for d, clear for −d.
pub(super) fn q1_0(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<18, 128>(bytes, out, |block, out| {
        let d = f16_at(block);
        for (i, y) in out.iter_mut().enumerate() {
            *y = if block[2 + i / 8] >> (i % 8) & 1 == 1 { d } else { -d };
        }
    });
}

/// `d·(q−1)`: d, then 2-bit q, four to a byte in their order.
pub(super) fn q2_0(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<18, 64>(bytes, out, |block, out| {
        let d = f16_at(block);
        for (i, y) in out.iter_mut().enumerate() {
            let q = block[2 + i / 4] >> (2 * (i % 4)) & 3;
            *y = d * f32::from(q as i8 - 1);
        }
    });
}
