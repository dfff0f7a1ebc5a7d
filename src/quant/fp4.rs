//! Decoders of the 4-bit floats with one exponent or scale per block: MXFP4 and NVFP4.

use super::for_blocks;
use super::iq4::nibbles;

/// Twice the sixteen values of E2M1.
pub const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of 2^(e − 127), the value of an E8M0 exponent; subnormal for the two smallest, and there is no NaN.
pub const fn half_of_e8m0(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e as u32 - 1) << 23 })
}

/// Half of an unsigned E4M3 scale, whose sign bit is not looked at; 0x7f, the NaN of that format, is zero.
fn half_of_ue4m3(scale: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(scale >> 3 & 15), u32::from(scale & 7));
    match (scale, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => mantissa as f32 / 1024.0,
        _ => f32::from_bits((exponent + 119) << 23 | mantissa << 20),
    }
}

/// E8M0 exponent, nibbles\[16\] ordered as in Q4_0.
pub(super) fn mxfp4(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<17, 32>(bytes, out, |block, out| nibbles(&DOUBLED, half_of_e8m0(block[0]), &block[1..], out));
}

/// Four scales, then for each 16 elements eight bytes of nibbles, the low ones first.
pub(super) fn nvfp4(bytes: &[u8], out: &mut [f32]) {
    for_blocks::<36, 64>(bytes, out, |block, out| {
        for (sub, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            nibbles(&DOUBLED, half_of_ue4m3(block[sub]), &block[4 + 8 * sub..][..8], out);
        }
    });
}
