//! The codebooks of the IQ types, one byte per element, element 0 lowest: expanded by the compiler from the packed ones.
//!
//! Magnitudes, of which the blocks have the signs apart; in [`IQ1`] the values are signed and stand here as 8·(value + 2).

use super::codebooks;

/// The magnitudes of the IQ2 types.
pub const TWO_BITS: [u8; 3] = [8, 25, 43];
/// The magnitudes of IQ3_XXS.
pub const IQ3_XXS_VALUES: [u8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];
/// The magnitudes of IQ3_S.
pub const IQ3_S_VALUES: [u8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];

/// Of IQ2_XXS.
pub static IQ2_XXS: [u64; 256] = eights(&codebooks::IQ2_XXS, TWO_BITS);
/// Of IQ2_XS.
pub static IQ2_XS: [u64; 512] = eights(&codebooks::IQ2_XS, TWO_BITS);
/// Of IQ2_S.
pub static IQ2_S: [u64; 1024] = eights(&codebooks::IQ2_S, TWO_BITS);
/// Of IQ1_S and IQ1_M: −1, 0 and 1 as 8, 16 and 24, so that a shift by an eighth is one unit.
pub static IQ1: [u64; 2048] = eights(&codebooks::IQ1, [8, 16, 24]);
/// Of IQ3_XXS.
pub static IQ3_XXS: [u32; 256] = fours(&codebooks::IQ3_XXS, IQ3_XXS_VALUES);
/// Of IQ3_S.
pub static IQ3_S: [u32; 512] = fours(&codebooks::IQ3_S, IQ3_S_VALUES);

/// Entries of eight elements of two bits.
const fn eights<const N: usize>(codes: &[u16; N], values: [u8; 3]) -> [u64; N] {
    let mut entries = [0; N];
    let mut at = 0;
    while at < N * 8 {
        let code = codes[at / 8] >> (2 * (at % 8)) & 3;
        entries[at / 8] |= (values[code as usize] as u64) << (8 * (at % 8));
        at += 1;
    }
    entries
}

/// Entries of four elements of three bits.
const fn fours<const N: usize>(codes: &[u16; N], values: [u8; 8]) -> [u32; N] {
    let mut entries = [0; N];
    let mut at = 0;
    while at < N * 4 {
        let code = codes[at / 4] >> (3 * (at % 4)) & 7;
        entries[at / 4] |= (values[code as usize] as u32) << (8 * (at % 4));
        at += 1;
    }
    entries
}

/// The signs of eight elements, bit j for element j, from the seven that are stored: the number of minus signs is even.
pub fn signs_of_seven(seven: u32) -> u32 {
    let seven = seven & 127;
    seven | (seven.count_ones() & 1) << 7
}
