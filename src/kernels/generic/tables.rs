//! Types of 4 bits whose quants are the places of values in a table: IQ4_NL, IQ4_XS, MXFP4.

use super::unpack::{Block, BlockType, SuperBlock, SuperBlockType, half_at, nibbles};
use crate::quant::fp4::half_of_e8m0;

pub(in crate::kernels) use crate::quant::fp4::DOUBLED;
pub(in crate::kernels) use crate::quant::iq4::VALUES as UNEQUAL;

/// A table with `offset` added to its values.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for products of unsigned bytes"))]
pub(in crate::kernels) const fn above(table: &[i8; 16], offset: i16) -> [u8; 16] {
    let mut values = [0; 16];
    let mut i = 0;
    while i < 16 {
        values[i] = (table[i] as i16 + offset) as u8;
        i += 1;
    }
    values
}

/// The scales of IQ4_XS, each 32 too large, in bytes of their order: low nibbles from a u32, upper two bits from a u16.
#[inline(always)]
pub(in crate::kernels) fn iq4_xs_scales(low: u32, high: u16) -> u64 {
    let low = u64::from(low);
    let low = (low | low << 16) & 0x0000_ffff_0000_ffff;
    let low = (low | low << 8) & 0x00ff_00ff_00ff_00ff;
    let low = (low | low << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let high = u64::from(high);
    let high = (high | high << 24) & 0x0000_00ff_0000_00ff;
    let high = (high | high << 12) & 0x000f_000f_000f_000f;
    let high = (high | high << 6) & 0x0303_0303_0303_0303;
    low | high << 4
}

/// Half of 2^(e − 127) for each exponent e, as bits of an f32: half, because [`DOUBLED`] has twice the values.
pub(in crate::kernels) static HALF_EXPONENTS: [u32; 256] = half_exponents();

const fn half_exponents() -> [u32; 256] {
    let mut halves = [0; 256];
    let mut e = 0;
    while e < 256 {
        halves[e] = half_of_e8m0(e as u8).to_bits();
        e += 1;
    }
    halves
}

pub(in crate::kernels) struct Iq4Nl;
impl BlockType for Iq4Nl {
    const BYTES: usize = 18;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> Block {
        let d = half_at(bytes, 0);
        Block { d, m: 0.0, q: nibbles(&bytes[2..18]).map(|q| UNEQUAL[q as usize]) }
    }
}

pub(in crate::kernels) struct Mxfp4;
impl BlockType for Mxfp4 {
    const BYTES: usize = 17;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> Block {
        let d = f32::from_bits(HALF_EXPONENTS[usize::from(bytes[0])]);
        Block { d, m: 0.0, q: nibbles(&bytes[1..17]).map(|q| DOUBLED[q as usize]) }
    }
}

pub(in crate::kernels) struct Iq4Xs;
impl SuperBlockType for Iq4Xs {
    const BYTES: usize = 136;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> SuperBlock {
        let low = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let scales = iq4_xs_scales(low, u16::from_le_bytes([bytes[2], bytes[3]])).to_le_bytes();
        let mut q = [0; 256];
        for (q, packed) in q.as_chunks_mut::<32>().0.iter_mut().zip(bytes[8..].as_chunks::<16>().0) {
            *q = nibbles(packed).map(|q| UNEQUAL[q as usize]);
        }
        SuperBlock { d: half_at(bytes, 0), dmin: 0.0, q, scales: std::array::from_fn(|j| scales[j / 2] as i8 - 32), mins: [0; 16] }
    }
}
