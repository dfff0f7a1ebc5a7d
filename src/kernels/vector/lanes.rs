//! Sixteen f32 lanes: the unit that every floating-point kernel is written in, once, for all instruction sets.
//!
//! The lanes are *virtual*: an implementation may use one 512-bit register, two of 256 bits, four of 128 or a plain array, but each lane does the
//! same correctly rounded operations in the same order, so that results are equal bit for bit on all of them. Horizontal sums use
//! one fixed tree (8+8, 4+4, 2+2, 1+1).

#[cfg(target_arch = "aarch64")]
mod neon;

use crate::base::fma::fma;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;

/// Lanes in the unit.
pub const LANES: usize = 16;

/// Sixteen f32 lanes of one instruction set.
///
/// # Safety
/// Every method may be called only where the processor has the implementor's instructions, and the pointer methods only on memory
/// valid for the number of elements that they state. No alignment is needed.
#[expect(clippy::missing_safety_doc, reason = "the contract of all methods is stated once, on the trait")]
pub unsafe trait Lanes: Copy {
    /// How many units of 16 lanes the registers hold: kernels keep a good half as many sums at once.
    const REGISTERS: usize;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self;
    /// 16 floats from `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// 16 floats to `to`.
    unsafe fn store(self, to: *mut f32);
    /// 16 IEEE half floats from `from`.
    unsafe fn load_f16(from: *const u16) -> Self;
    /// 16 IEEE half floats to `to`, rounded to nearest even.
    unsafe fn store_f16(self, to: *mut u16);
    /// 16 bfloat16 values from `from`.
    unsafe fn load_bf16(from: *const u16) -> Self;
    /// 16 signed bytes from `from`.
    unsafe fn load_i8(from: *const i8) -> Self;
    /// `self + b`
    unsafe fn add(self, b: Self) -> Self;
    /// `self - b`
    unsafe fn sub(self, b: Self) -> Self;
    /// `self * b`
    unsafe fn mul(self, b: Self) -> Self;
    /// `self / b`
    unsafe fn div(self, b: Self) -> Self;
    /// `self * b + c`, rounded once.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// `self > b ? self : b` in each lane.
    unsafe fn max(self, b: Self) -> Self;
    /// `self < b ? yes : no` in each lane.
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self;
    /// `2^n` where the lane holds `n + 1.5·2²³` (the integer n sits in the low mantissa bits), −126 ≤ n ≤ 127.
    unsafe fn pow2_biased(self) -> Self;
    /// The sum of the lanes by the fixed tree.
    unsafe fn sum(self) -> f32;

    /// Asks for the line at `at` before it is read, where the processor can be asked; any address will do.
    #[inline(always)]
    fn ask(_at: *const u8) {}

    /// The largest lane.
    #[inline(always)]
    unsafe fn max_lane(self) -> f32 {
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has 16 elements.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
    }

    /// The first `n` ≤ 16 floats from `from`, then zeros.
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut lanes = [0.0f32; LANES];
        // SAFETY: the caller vouches for n elements; the array has 16.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n.min(LANES));
            Self::load(lanes.as_ptr())
        }
    }

    /// The first `n` ≤ 16 lanes to `to`.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        let mut lanes = [0.0f32; LANES];
        // SAFETY: the caller vouches for n elements; the array has 16.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n.min(LANES));
        }
    }

    /// e^x. Relative error below 2e-7 for −87 ≤ x ≤ 88; 0 below, clamped above; NaN stays NaN.
    ///
    /// Cody-Waite reduction to |r| ≤ ln2/2 and the degree-6 polynomial of the Cephes library (`expf`).
    #[inline(always)]
    unsafe fn exp(self) -> Self {
        const BIAS: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to an integer
        // SAFETY: register arithmetic only, under the caller's promise.
        unsafe {
            let top = Self::splat(88.0);
            let x = top.select_lt(self, top, self);
            let biased = x.fma(Self::splat(std::f32::consts::LOG2_E), Self::splat(BIAS));
            let n = biased.sub(Self::splat(BIAS));
            let r = n.fma(Self::splat(-0.693_359_4), x);
            let r = n.fma(Self::splat(2.121_944_4e-4), r);
            let p = Self::splat(1.987_569_1e-4);
            let p = p.fma(r, Self::splat(1.398_199_9e-3));
            let p = p.fma(r, Self::splat(8.333_452e-3));
            let p = p.fma(r, Self::splat(4.166_579_6e-2));
            let p = p.fma(r, Self::splat(0.166_666_65));
            let p = p.fma(r, Self::splat(0.5));
            let p = p.fma(r.mul(r), r).add(Self::splat(1.0));
            x.select_lt(Self::splat(-87.0), Self::splat(0.0), p.mul(biased.pow2_biased()))
        }
    }
}

/// The portable implementation: an array. The reference of all others.
#[derive(Clone, Copy)]
pub struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

// SAFETY: plain Rust on arrays; the pointer methods read and write exactly the 16 elements stated.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "each body is one read or write of the 16 elements that the trait's contract vouches for"
)]
unsafe impl Lanes for Portable {
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        Self(bits.map(|b| half::f16::from_bits(b).to_f32()))
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        let bits = self.0.map(|x| half::f16::from_f32(x).to_bits());
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(bits) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        Self(bits.map(|b| f32::from_bits(u32::from(b) << 16)))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        let bytes = unsafe { from.cast::<[i8; LANES]>().read_unaligned() };
        Self(bytes.map(f32::from))
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.zip(b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        self.zip(b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| fma(self.0[i], b.0[i], c.0[i])))
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        self.zip(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] < b.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    unsafe fn pow2_biased(self) -> Self {
        Self(self.0.map(|x| f32::from_bits(x.to_bits().wrapping_add(127) << 23)))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let a = self.0;
        let b: [f32; 8] = std::array::from_fn(|i| a[i] + a[i + 8]);
        let c: [f32; 4] = std::array::from_fn(|i| b[i] + b[i + 4]);
        (c[0] + c[2]) + (c[1] + c[3])
    }
}

/// One 512-bit register.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx512(std::arch::x86_64::__m512);

// SAFETY: AVX-512F/BW/DQ/VL intrinsics on registers; the pointer methods use unaligned loads and stores of exactly 16 elements.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::undocumented_unsafe_blocks, reason = "each body is intrinsics that the trait's contract vouches for")]
unsafe impl Lanes for Avx512 {
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn ask(at: *const u8) {
        use std::arch::x86_64::*;
        // SAFETY: a hint; no address is wrong.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self(unsafe { std::arch::x86_64::_mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { std::arch::x86_64::_mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { std::arch::x86_64::_mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        use std::arch::x86_64::*;
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) })
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        use std::arch::x86_64::*;
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        use std::arch::x86_64::*;
        Self(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast())))) })
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        use std::arch::x86_64::*;
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) })
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        Self(unsafe { std::arch::x86_64::_mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        Self(unsafe { std::arch::x86_64::_mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        Self(unsafe { std::arch::x86_64::_mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        Self(unsafe { std::arch::x86_64::_mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Self(unsafe { std::arch::x86_64::_mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // vmaxps returns the second operand unless the first is greater: the contract of the trait.
        Self(unsafe { std::arch::x86_64::_mm512_max_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        use std::arch::x86_64::*;
        Self(unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0), no.0, yes.0) })
    }
    #[inline(always)]
    unsafe fn pow2_biased(self) -> Self {
        use std::arch::x86_64::*;
        Self(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_set1_epi32(127)))) })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        use std::arch::x86_64::*;
        unsafe { sum8(_mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0))) }
    }
}

/// The tree below 8 lanes: 4+4, 2+2, 1+1.
///
/// # Safety
/// The processor has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn sum8(x: std::arch::x86_64::__m256) -> f32 {
    use std::arch::x86_64::*;
    // SAFETY: AVX and below, register operations.
    unsafe {
        let c = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let d = _mm_add_ps(c, _mm_movehl_ps(c, c));
        _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)))
    }
}

/// Two 256-bit registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx2(std::arch::x86_64::__m256, std::arch::x86_64::__m256);

// SAFETY: AVX2, FMA and F16C intrinsics on registers; the pointer methods use unaligned loads and stores of exactly 16 elements.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::undocumented_unsafe_blocks, reason = "each body is intrinsics that the trait's contract vouches for")]
unsafe impl Lanes for Avx2 {
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn ask(at: *const u8) {
        use std::arch::x86_64::*;
        // SAFETY: a hint; no address is wrong.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        let x = unsafe { std::arch::x86_64::_mm256_set1_ps(x) };
        Self(x, x)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        use std::arch::x86_64::*;
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        use std::arch::x86_64::*;
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        use std::arch::x86_64::*;
        unsafe { Self(_mm256_cvtph_ps(_mm_loadu_si128(from.cast())), _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast()))) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        use std::arch::x86_64::*;
        unsafe {
            _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0));
            _mm_storeu_si128(to.add(8).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        use std::arch::x86_64::*;
        unsafe {
            let (low, high) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(8).cast()));
            Self(
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(low))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(high))),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        use std::arch::x86_64::*;
        unsafe {
            let (low, high) = (_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(8).cast()));
            Self(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)))
        }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        unsafe { Self(std::arch::x86_64::_mm256_add_ps(self.0, b.0), std::arch::x86_64::_mm256_add_ps(self.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        unsafe { Self(std::arch::x86_64::_mm256_sub_ps(self.0, b.0), std::arch::x86_64::_mm256_sub_ps(self.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        unsafe { Self(std::arch::x86_64::_mm256_mul_ps(self.0, b.0), std::arch::x86_64::_mm256_mul_ps(self.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        unsafe { Self(std::arch::x86_64::_mm256_div_ps(self.0, b.0), std::arch::x86_64::_mm256_div_ps(self.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        use std::arch::x86_64::*;
        unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0), _mm256_fmadd_ps(self.1, b.1, c.1)) }
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        unsafe { Self(std::arch::x86_64::_mm256_max_ps(self.0, b.0), std::arch::x86_64::_mm256_max_ps(self.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        use std::arch::x86_64::*;
        unsafe {
            Self(
                _mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, b.0)),
                _mm256_blendv_ps(no.1, yes.1, _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, b.1)),
            )
        }
    }
    #[inline(always)]
    unsafe fn pow2_biased(self) -> Self {
        use std::arch::x86_64::*;
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let (low, high) = (_mm256_castps_si256(self.0), _mm256_castps_si256(self.1));
            Self(
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(low, bias))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(high, bias))),
            )
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { sum8(std::arch::x86_64::_mm256_add_ps(self.0, self.1)) }
    }
}
