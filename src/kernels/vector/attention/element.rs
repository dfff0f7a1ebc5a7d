//! How elements of the cache become f32 lanes: one type for each kind of cache. Layouts as in `kernels::kv`.

use crate::kernels::kv::{KEY_BLOCK, Q8_KEY_BYTES, Q8_LEN, Q8_VALUE_BYTES};

use super::super::lanes::Lanes;

/// How elements of the cache become f32 lanes.
pub trait KvElement {
    /// Whether they are something else than f32.
    const CODED: bool = true;

    /// The keys of 16 positions in dimension `d` of a block.
    ///
    /// # Safety
    /// As for [`Lanes::load`]; `block` is a whole block of keys and `d` below their dimension.
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V;

    /// 16 elements of a value from element `d` on, a multiple of 16.
    ///
    /// # Safety
    /// As for [`Lanes::load`]; `value` is a whole padded value and `d + 16` within it.
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V;
}

/// IEEE half precision.
pub struct F16;
/// bfloat16.
pub struct Bf16;
/// IEEE single precision.
pub struct F32;
/// 8-bit integers with a scale per 32 elements.
pub struct Q8;

impl KvElement for F16 {
    #[inline(always)]
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load_f16(block.cast::<u16>().add(d * KEY_BLOCK)) }
    }
    #[inline(always)]
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load_f16(value.cast::<u16>().add(d)) }
    }
}
impl KvElement for Bf16 {
    #[inline(always)]
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load_bf16(block.cast::<u16>().add(d * KEY_BLOCK)) }
    }
    #[inline(always)]
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load_bf16(value.cast::<u16>().add(d)) }
    }
}
impl KvElement for F32 {
    const CODED: bool = false;

    #[inline(always)]
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load(block.cast::<f32>().add(d * KEY_BLOCK)) }
    }
    #[inline(always)]
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load(value.cast::<f32>().add(d)) }
    }
}
impl KvElement for Q8 {
    #[inline(always)]
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V {
        // SAFETY: the layout that kernels::kv describes.
        unsafe {
            let group = block.add(d / Q8_LEN * Q8_KEY_BYTES);
            let integers = group.add(KEY_BLOCK * size_of::<f32>() + d % Q8_LEN * KEY_BLOCK);
            V::load_i8(integers.cast()).mul(V::load(group.cast()))
        }
    }
    #[inline(always)]
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V {
        // SAFETY: as above.
        unsafe {
            let group = value.add(d / Q8_LEN * Q8_VALUE_BYTES);
            let scale = group.cast::<f32>().read_unaligned();
            V::load_i8(group.add(size_of::<f32>() + d % Q8_LEN).cast()).mul(V::splat(scale))
        }
    }
}
