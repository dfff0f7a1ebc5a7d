//! Types of 4 bits with a table: IQ4_NL, IQ4_XS, MXFP4.

use std::arch::aarch64::*;

use super::super::generic::tables::{DOUBLED, HALF_EXPONENTS, Iq4Nl, Iq4Xs, Mxfp4, UNEQUAL, iq4_xs_scales};
use super::blocks::{Block, nibbles};
use super::supers::Super;

/// The values of a table at the nibbles of 16 bytes.
///
/// # Safety
/// 16 bytes are readable at `p`; ASIMD.
#[inline(always)]
unsafe fn looked_up(table: &[i8; 16], p: *const u8) -> [int8x16_t; 2] {
    // SAFETY: 16 bytes of each; the rest is register arithmetic.
    unsafe {
        let (table, [low, high]) = (vld1q_s8(table.as_ptr()), nibbles(p));
        [vqtbl1q_s8(table, low), vqtbl1q_s8(table, high)]
    }
}

impl Block for Iq4Nl {
    const BYTES: usize = 18;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { looked_up(&UNEQUAL, block.add(2)) }
    }
}

impl Block for Mxfp4 {
    const BYTES: usize = 17;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { HALF_EXPONENTS[usize::from(block.read())] }
    }
    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { looked_up(&DOUBLED, block.add(1)) }
    }
    #[inline(always)]
    unsafe fn scales(heads: uint32x4_t) -> float32x4_t {
        // SAFETY: register arithmetic.
        unsafe { vreinterpretq_f32_u32(heads) }
    }
}

impl Super for Iq4Xs {
    const BYTES: usize = 136;
    const PER_32: bool = true;
    const MINS: bool = false;
    #[inline(always)]
    unsafe fn head(block: *const u8) -> u32 {
        // SAFETY: inside the block.
        unsafe { block.cast::<u16>().read_unaligned().into() }
    }
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> int8x16_t {
        // SAFETY: inside the block.
        unsafe {
            let scales = iq4_xs_scales(block.add(4).cast::<u32>().read_unaligned(), block.add(2).cast::<u16>().read_unaligned());
            vcombine_s8(vsub_s8(vcreate_s8(scales), vdup_n_s8(32)), vdup_n_s8(0))
        }
    }
    #[inline(always)]
    unsafe fn mins(_block: *const u8) -> int8x16_t {
        // SAFETY: no memory.
        unsafe { vdupq_n_s8(0) }
    }
    #[inline(always)]
    unsafe fn quants<const I: usize>(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: inside the block.
        unsafe { looked_up(&UNEQUAL, block.add(8 + 16 * I)) }
    }
}
