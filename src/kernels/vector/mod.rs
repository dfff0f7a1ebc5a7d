//! Floating-point kernels over rows: norms, activation functions, attention.
//!
//! Each is written once over [`lanes::Lanes`] and instantiated per instruction set below, in a table of function pointers that is
//! chosen with the [`Isa`]. All instances give the same bits.

pub mod attention;
pub mod elementwise;
pub mod lanes;
mod map;
pub mod norm;

use crate::kernels::Isa;
use crate::kernels::kv::KvType;
use attention::AttentionTile;

/// Attention of one tile; see [`attention::attend`].
pub type Attend = unsafe fn(&AttentionTile, *mut f32);

/// The kernels of one instruction set. Their contracts are those of the functions that they are named after.
pub struct VectorOps {
    /// [`norm::rms`]
    pub rms: unsafe fn(*const f32, *const f32, *mut f32, usize, f32),
    /// [`norm::layer`]
    pub layer: unsafe fn(*const f32, *const f32, *const f32, *mut f32, usize, f32),
    /// [`elementwise::silu_mul`]
    pub silu_mul: unsafe fn(*const f32, *const f32, *mut f32, usize),
    /// [`elementwise::gelu_mul`]
    pub gelu_mul: unsafe fn(*const f32, *const f32, *mut f32, usize),
    /// [`elementwise::clamped_swiglu`]
    pub clamped_swiglu: unsafe fn(*const f32, *const f32, *mut f32, usize),
    /// [`elementwise::gelu`]
    pub gelu: unsafe fn(*mut f32, usize),
    /// [`elementwise::gelu_erf`]
    pub gelu_erf: unsafe fn(*mut f32, usize),
    /// [`elementwise::soft_cap`]
    pub soft_cap: unsafe fn(*mut f32, f32, usize),
    /// [`elementwise::scale`]
    pub scale: unsafe fn(*mut f32, f32, usize),
    /// [`elementwise::add_scaled`]
    pub add_scaled: unsafe fn(*mut f32, *const f32, f32, usize),
    /// [`elementwise::add`]
    pub add: unsafe fn(*mut f32, *const f32, usize),
    /// `n` floats to IEEE half, rounded to nearest even.
    pub to_f16: unsafe fn(*const f32, *mut u16, usize),
    attend_f16: Attend,
    attend_bf16: Attend,
    attend_f32: Attend,
    attend_q8: Attend,
}

impl VectorOps {
    /// The table of `isa`.
    pub fn for_isa(isa: Isa) -> &'static Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni | Isa::Amx => &avx512::TABLE,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::TABLE,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::Dotprod | Isa::I8mm => &neon::TABLE,
            // And the levels of other processors, which this one does not offer.
            _ => &portable::TABLE,
        }
    }

    /// Attention over a cache of type `ty`.
    pub fn attend(&self, ty: KvType) -> Attend {
        match ty {
            KvType::F16 => self.attend_f16,
            KvType::Bf16 => self.attend_bf16,
            KvType::F32 => self.attend_f32,
            KvType::Q8_0 => self.attend_q8,
        }
    }
}

/// Converts `n` floats to half floats.
///
/// # Safety
/// As for [`lanes::Lanes`]; both have `n` elements.
#[inline(always)]
unsafe fn to_f16<V: lanes::Lanes>(x: *const f32, y: *mut u16, n: usize) {
    // SAFETY: all offsets are below n; the array has 16 elements.
    unsafe {
        let mut i = 0;
        while i + lanes::LANES <= n {
            V::load(x.add(i)).store_f16(y.add(i));
            i += lanes::LANES;
        }
        if i < n {
            let mut tail = [0u16; lanes::LANES];
            V::load_first(x.add(i), n - i).store_f16(tail.as_mut_ptr());
            std::ptr::copy_nonoverlapping(tail.as_ptr(), y.add(i), n - i);
        }
    }
}

/// Instantiates every kernel for one implementation of the lanes. The attribute enables the instructions.
macro_rules! instantiate {
    ($isa:ident, $lanes:ty $(, $attribute:meta)?) => {
        mod $isa {
            use super::attention::{AttentionTile, Bf16, F16, F32, Q8, attend};
            use super::{VectorOps, elementwise, norm};

            pub static TABLE: VectorOps = VectorOps {
                rms,
                layer,
                silu_mul,
                gelu_mul,
                clamped_swiglu,
                gelu,
                gelu_erf,
                soft_cap,
                scale,
                add_scaled,
                add,
                to_f16,
                attend_f16,
                attend_bf16,
                attend_f32,
                attend_q8,
            };

            $(#[$attribute])?
            unsafe fn rms(x: *const f32, weight: *const f32, y: *mut f32, n: usize, eps: f32) {
                // SAFETY: the caller's contract; the attribute enables what the lanes need.
                unsafe { norm::rms::<$lanes>(x, weight, y, n, eps) }
            }
            $(#[$attribute])?
            unsafe fn layer(x: *const f32, weight: *const f32, bias: *const f32, y: *mut f32, n: usize, eps: f32) {
                // SAFETY: as above.
                unsafe { norm::layer::<$lanes>(x, weight, bias, y, n, eps) }
            }
            $(#[$attribute])?
            unsafe fn silu_mul(gate: *const f32, up: *const f32, y: *mut f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::silu_mul::<$lanes>(gate, up, y, n) }
            }
            $(#[$attribute])?
            unsafe fn gelu_mul(gate: *const f32, up: *const f32, y: *mut f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::gelu_mul::<$lanes>(gate, up, y, n) }
            }
            $(#[$attribute])?
            unsafe fn clamped_swiglu(gate: *const f32, up: *const f32, y: *mut f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::clamped_swiglu::<$lanes>(gate, up, y, n) }
            }
            $(#[$attribute])?
            unsafe fn gelu_erf(x: *mut f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::gelu_erf::<$lanes>(x, n) }
            }
            $(#[$attribute])?
            unsafe fn soft_cap(x: *mut f32, cap: f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::soft_cap::<$lanes>(x, cap, n) }
            }
            $(#[$attribute])?
            unsafe fn scale(x: *mut f32, factor: f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::scale::<$lanes>(x, factor, n) }
            }
            $(#[$attribute])?
            unsafe fn gelu(x: *mut f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::gelu::<$lanes>(x, n) }
            }
            $(#[$attribute])?
            unsafe fn add_scaled(x: *mut f32, y: *const f32, factor: f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::add_scaled::<$lanes>(x, y, factor, n) }
            }
            $(#[$attribute])?
            unsafe fn add(x: *mut f32, y: *const f32, n: usize) {
                // SAFETY: as above.
                unsafe { elementwise::add::<$lanes>(x, y, n) }
            }
            $(#[$attribute])?
            unsafe fn to_f16(x: *const f32, y: *mut u16, n: usize) {
                // SAFETY: as above.
                unsafe { super::to_f16::<$lanes>(x, y, n) }
            }
            $(#[$attribute])?
            unsafe fn attend_f16(tile: &AttentionTile, scratch: *mut f32) {
                // SAFETY: as above.
                unsafe { attend::<$lanes, F16>(tile, scratch) }
            }
            $(#[$attribute])?
            unsafe fn attend_bf16(tile: &AttentionTile, scratch: *mut f32) {
                // SAFETY: as above.
                unsafe { attend::<$lanes, Bf16>(tile, scratch) }
            }
            $(#[$attribute])?
            unsafe fn attend_f32(tile: &AttentionTile, scratch: *mut f32) {
                // SAFETY: as above.
                unsafe { attend::<$lanes, F32>(tile, scratch) }
            }
            $(#[$attribute])?
            unsafe fn attend_q8(tile: &AttentionTile, scratch: *mut f32) {
                // SAFETY: as above.
                unsafe { attend::<$lanes, Q8>(tile, scratch) }
            }
        }
    };
}

instantiate!(portable, super::lanes::Portable);
#[cfg(target_arch = "x86_64")]
instantiate!(avx2, super::lanes::Avx2, target_feature(enable = "avx2,fma,f16c"));
#[cfg(target_arch = "x86_64")]
instantiate!(avx512, super::lanes::Avx512, target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"));

#[cfg(target_arch = "aarch64")]
instantiate!(neon, super::lanes::Neon, target_feature(enable = "neon"));

#[cfg(test)]
mod tests;
