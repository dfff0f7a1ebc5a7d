//! Blocks of the integer types, taken apart exactly: small signed integers and scales.
//!
//! This is what the portable products compute with, and what faster paths fall back on for a type whose bits they do not
//! take apart themselves. The layouts are ggml's; all multi-byte fields are little-endian.

use half::f16;

/// A block of 32 elements: y\[i\] = d·q\[i\] + m.
pub(in crate::kernels) struct Block {
    pub d: f32,
    /// 0 where the type has none.
    pub m: f32,
    pub q: [i8; 32],
}

/// A type with blocks of 32.
pub(in crate::kernels) trait BlockType {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether `m` is part of the type.
    const HAS_MIN: bool;
    /// Takes `bytes` (of length `BYTES`) apart.
    fn unpack(bytes: &[u8]) -> Block;
}

/// A block of 256 elements in sub-blocks of 16: y\[i\] = d·scales\[i/16\]·q\[i\] − dmin·mins\[i/16\].
pub(in crate::kernels) struct SuperBlock {
    pub d: f32,
    /// 0 where the type has none.
    pub dmin: f32,
    pub q: [i8; 256],
    pub scales: [i8; 16],
    pub mins: [u8; 16],
}

/// A type with super-blocks of 256.
pub(in crate::kernels) trait SuperBlockType {
    /// Bytes of a super-block.
    const BYTES: usize;
    /// Whether `dmin` and `mins` are part of the type.
    const HAS_MIN: bool;
    /// Takes `bytes` (of length `BYTES`) apart.
    fn unpack(bytes: &[u8]) -> SuperBlock;
}

/// The f16 at `at`.
pub(super) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The nibbles of 16 bytes: element j the low one of byte j, element j + 16 the high one.
pub(super) fn nibbles(bytes: &[u8]) -> [i8; 32] {
    std::array::from_fn(|j| (if j < 16 { bytes[j] & 15 } else { bytes[j - 16] >> 4 }) as i8)
}

/// Nibbles with bit j of `high` (a little-endian u32) as bit 4 of element j.
fn five_bits(bytes: &[u8], high: &[u8]) -> [i8; 32] {
    let low = nibbles(bytes);
    std::array::from_fn(|j| low[j] | (((high[j / 8] >> (j % 8)) & 1) << 4) as i8)
}

pub(in crate::kernels) struct Q80;
impl BlockType for Q80 {
    const BYTES: usize = 34;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> Block {
        Block { d: half_at(bytes, 0), m: 0.0, q: std::array::from_fn(|j| bytes[2 + j] as i8) }
    }
}

pub(in crate::kernels) struct Q40;
impl BlockType for Q40 {
    const BYTES: usize = 18;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> Block {
        Block { d: half_at(bytes, 0), m: 0.0, q: nibbles(&bytes[2..18]).map(|q| q - 8) }
    }
}

pub(in crate::kernels) struct Q41;
impl BlockType for Q41 {
    const BYTES: usize = 20;
    const HAS_MIN: bool = true;
    fn unpack(bytes: &[u8]) -> Block {
        Block { d: half_at(bytes, 0), m: half_at(bytes, 2), q: nibbles(&bytes[4..20]) }
    }
}

pub(in crate::kernels) struct Q50;
impl BlockType for Q50 {
    const BYTES: usize = 22;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> Block {
        Block { d: half_at(bytes, 0), m: 0.0, q: five_bits(&bytes[6..22], &bytes[2..6]).map(|q| q - 16) }
    }
}

pub(in crate::kernels) struct Q51;
impl BlockType for Q51 {
    const BYTES: usize = 24;
    const HAS_MIN: bool = true;
    fn unpack(bytes: &[u8]) -> Block {
        Block { d: half_at(bytes, 0), m: half_at(bytes, 2), q: five_bits(&bytes[8..24], &bytes[4..8]) }
    }
}

/// The 2-bit values of Q2_K and Q3_K: two halves of 128 elements in 32 bytes each, four planes of 2 bits.
fn two_bits(qs: &[u8]) -> [i8; 256] {
    std::array::from_fn(|i| ((qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3) as i8)
}

pub(in crate::kernels) struct Q2K;
impl SuperBlockType for Q2K {
    const BYTES: usize = 84;
    const HAS_MIN: bool = true;
    fn unpack(bytes: &[u8]) -> SuperBlock {
        SuperBlock {
            d: half_at(bytes, 80),
            dmin: half_at(bytes, 82),
            q: two_bits(&bytes[16..80]),
            scales: std::array::from_fn(|j| (bytes[j] & 15) as i8),
            mins: std::array::from_fn(|j| bytes[j] >> 4),
        }
    }
}

pub(in crate::kernels) struct Q3K;
impl SuperBlockType for Q3K {
    const BYTES: usize = 110;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> SuperBlock {
        let (hmask, packed) = (&bytes[..32], &bytes[96..108]);
        let low = two_bits(&bytes[32..96]);
        SuperBlock {
            d: half_at(bytes, 108),
            dmin: 0.0,
            // A clear bit of the mask subtracts 4.
            q: std::array::from_fn(|i| low[i] - if (hmask[i % 32] >> (i / 32)) & 1 == 0 { 4 } else { 0 }),
            scales: std::array::from_fn(|j| {
                let low = if j < 8 { packed[j] & 15 } else { packed[j - 8] >> 4 };
                (low | (((packed[8 + j % 4] >> (j / 4 * 2)) & 3) << 4)) as i8 - 32
            }),
            mins: [0; 16],
        }
    }
}

/// The 6-bit scales and mins of the 8 sub-blocks of Q4_K and Q5_K, from 12 bytes.
fn six_bit_scales(s: &[u8]) -> ([u8; 8], [u8; 8]) {
    let scale = |j: usize| if j < 4 { s[j] & 63 } else { (s[j + 4] & 15) | (s[j - 4] >> 6 << 4) };
    let min = |j: usize| if j < 4 { s[j + 4] & 63 } else { (s[j + 4] >> 4) | (s[j] >> 6 << 4) };
    (std::array::from_fn(scale), std::array::from_fn(min))
}

/// The nibbles of Q4_K and Q5_K: of each 32 bytes, the low ones are one sub-block and the high ones the next.
fn nibble_pairs(qs: &[u8]) -> [i8; 256] {
    std::array::from_fn(|i| ((qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15) as i8)
}

pub(in crate::kernels) struct Q4K;
impl SuperBlockType for Q4K {
    const BYTES: usize = 144;
    const HAS_MIN: bool = true;
    fn unpack(bytes: &[u8]) -> SuperBlock {
        let (scales, mins) = six_bit_scales(&bytes[4..16]);
        SuperBlock {
            d: half_at(bytes, 0),
            dmin: half_at(bytes, 2),
            q: nibble_pairs(&bytes[16..144]),
            scales: std::array::from_fn(|j| scales[j / 2] as i8),
            mins: std::array::from_fn(|j| mins[j / 2]),
        }
    }
}

pub(in crate::kernels) struct Q5K;
impl SuperBlockType for Q5K {
    const BYTES: usize = 176;
    const HAS_MIN: bool = true;
    fn unpack(bytes: &[u8]) -> SuperBlock {
        let (scales, mins) = six_bit_scales(&bytes[4..16]);
        let (low, high) = (nibble_pairs(&bytes[48..176]), &bytes[16..48]);
        SuperBlock {
            d: half_at(bytes, 0),
            dmin: half_at(bytes, 2),
            q: std::array::from_fn(|i| low[i] | (((high[i % 32] >> (i / 32)) & 1) << 4) as i8),
            scales: std::array::from_fn(|j| scales[j / 2] as i8),
            mins: std::array::from_fn(|j| mins[j / 2]),
        }
    }
}

pub(in crate::kernels) struct Q6K;
impl SuperBlockType for Q6K {
    const BYTES: usize = 210;
    const HAS_MIN: bool = false;
    fn unpack(bytes: &[u8]) -> SuperBlock {
        SuperBlock {
            d: half_at(bytes, 208),
            dmin: 0.0,
            // Halves of 128 elements in 64 low and 32 high bytes; of a half, four quarters of 32.
            q: std::array::from_fn(|i| {
                let (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
                let low = bytes[64 * half + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
                let high = bytes[128 + 32 * half + l] >> (quarter * 2) & 3;
                (low | (high << 4)) as i8 - 32
            }),
            scales: std::array::from_fn(|j| bytes[192 + j] as i8),
            mins: [0; 16],
        }
    }
}
