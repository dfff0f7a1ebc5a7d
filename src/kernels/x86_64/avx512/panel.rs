//! Panels: 16 rows taken apart exactly, once, into the order in which products with many columns read them.
//!
//! A panel is a sequence of records. In a record, bytes of 4 consecutive elements of one row make a dword, and the dwords
//! of 16 rows a register: `[k / 4][16 rows][4]`. So a register and one dword of activations give products of 16 rows.

use std::arch::x86_64::*;

use super::blocks::Block;
use super::lanes;
use super::supers::{Super, spread};

/// Where the parts of a record lie.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels::x86_64) struct Record {
    /// `f32 d[16 rows]` (per block of 32: two of these).
    pub scales: usize,
    /// `f32 dmin[16 rows]` (per block of 32: m, two of these).
    pub mins: usize,
    /// Pairs of minima, `i16[pairs][16 rows][2]`; super-blocks only.
    pub pairs: usize,
    /// Scales of sub-blocks, `i32[sub-blocks][16 rows]`; super-blocks whose scales stand apart only.
    pub subs: usize,
    /// Bytes of the record, a multiple of 64.
    pub bytes: usize,
}

/// The record of a super-block of 256: `PLANES` planes of `i8[64][16][4]` of w = scale · (q − OFFSET), then the scales.
pub(in crate::kernels::x86_64) const fn super_record(planes: usize, min_pairs: usize) -> Record {
    let scales = planes * 4096;
    Record { scales, mins: scales + 64, pairs: scales + 128, subs: 0, bytes: scales + 128 + min_pairs * 64 }
}

/// The record of a super-block of 256 whose scales stand apart: `u8[64][16][4]` quants, then all scales.
pub(in crate::kernels::x86_64) const fn scaled_record<T: Super>() -> Record {
    let subs = 4096;
    let scales = subs + if T::PER_32 { 8 } else { 16 } * 64;
    Record { subs, scales, mins: scales + 64, pairs: scales + 128, bytes: scales + 128 + min_pairs::<T>() * 64 }
}

/// The largest record of a super-block.
pub(in crate::kernels::x86_64) const SUPER_RECORD_MAX: usize = super_record(2, 8).bytes;

/// The record of two blocks of 32: `[16][16][4]` quants, then the scales of both.
pub(super) const BLOCK_RECORD: Record = Record { scales: 1024, mins: 1152, pairs: 1280, subs: 0, bytes: 1280 };

/// Pairs of minima in a record.
pub(in crate::kernels::x86_64) const fn min_pairs<T: Super>() -> usize {
    match (T::MINS, T::PER_32) {
        (false, _) => 0,
        (true, true) => 4,
        (true, false) => 8,
    }
}

/// Builds the record of one super-block of 16 rows. With `BIASED`, the last plane is unsigned: `T::BIAS` is added.
///
/// # Safety
/// AVX-512 F, BW, DQ, VL; `T::BYTES` bytes are readable at each of `rows`; a record is writable at `to`, aligned to 64.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::kernels::x86_64) unsafe fn build_super<T: Super, const BIASED: bool>(rows: &[*const u8; 16], to: *mut u8) {
    let record = super_record(T::PLANES, min_pairs::<T>());
    // SAFETY: the blocks are readable, and all stores are inside the record.
    unsafe {
        quarter::<T, 0, BIASED>(rows, to);
        quarter::<T, 1, BIASED>(rows, to);
        quarter::<T, 2, BIASED>(rows, to);
        quarter::<T, 3, BIASED>(rows, to);
        heads::<T>(rows, &record, T::NEGATE, to);
    }
}

/// Builds the record of one super-block of 16 rows with the quants as they are, unsigned, and the scales apart.
///
/// # Safety
/// As [`build_super`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::kernels::x86_64) unsafe fn build_scaled<T: Super>(rows: &[*const u8; 16], to: *mut u8) {
    let record = scaled_record::<T>();
    // SAFETY: the blocks are readable, and all stores are inside the record.
    unsafe {
        if T::LOOKED_UP {
            quarters::<T>(rows, to);
        } else {
            quants::<T, 0>(rows, to);
            quants::<T, 1>(rows, to);
            quants::<T, 2>(rows, to);
            quants::<T, 3>(rows, to);
        }
        let mut scales = Aligned([[0u32; 16]; 16]);
        for r in 0..16 {
            _mm512_store_si512(scales.0[r].as_mut_ptr().cast(), _mm512_cvtepi16_epi32(T::scales(rows[r])));
        }
        let mut by_row = [_mm512_setzero_si512(); 16];
        for r in 0..16 {
            by_row[r] = _mm512_load_si512(scales.0[r].as_ptr().cast());
        }
        let by_sub = lanes::transpose(by_row);
        for j in 0..if T::PER_32 { 8 } else { 16 } {
            _mm512_store_si512(to.add(record.subs + j * 64).cast(), by_sub[j]);
        }
        heads::<T>(rows, &record, false, to);
    }
}

/// All quarters of each row before anything is stored, so that they share what is looked up: with 64 columns IQ1_S reached 283 GOPS
/// instead of 205. Types without codebooks lose some percent by it.
#[inline(always)]
unsafe fn quarters<T: Super>(rows: &[*const u8; 16], to: *mut u8) {
    let mut by_row = Aligned([[[0u8; 64]; 16]; 4]);
    // SAFETY: the caller's promise; the stores are inside the record.
    unsafe {
        for r in 0..16 {
            let q = [T::quants::<0>(rows[r]), T::quants::<1>(rows[r]), T::quants::<2>(rows[r]), T::quants::<3>(rows[r])];
            for i in 0..4 {
                _mm512_store_si512(by_row.0[i][r].as_mut_ptr().cast(), q[i]);
            }
        }
        for i in 0..4 {
            lanes::transpose_memory(by_row.0[i].as_ptr().cast(), to.add(i * 1024));
        }
    }
}

/// Quarter `I` of the quants of a super-block.
#[inline(always)]
unsafe fn quants<T: Super, const I: usize>(rows: &[*const u8; 16], to: *mut u8) {
    let mut by_row = Aligned([[0u8; 64]; 16]);
    // SAFETY: the caller's promise; the stores are inside the record.
    unsafe {
        for r in 0..16 {
            _mm512_store_si512(by_row.0[r].as_mut_ptr().cast(), T::quants::<I>(rows[r]));
        }
        lanes::transpose_memory(by_row.0.as_ptr().cast(), to.add(I * 1024));
    }
}

/// The scales and minima of a super-block, and the pairs of minima of its sub-blocks.
#[inline(always)]
unsafe fn heads<T: Super>(rows: &[*const u8; 16], record: &Record, negate: bool, to: *mut u8) {
    // SAFETY: the caller's promise; the stores are inside the record.
    unsafe {
        let mut heads = Aligned([0u32; 16]);
        for (r, row) in rows.iter().enumerate() {
            heads.0[r] = T::head(*row);
            if T::MINS {
                let mut mins = Aligned([0u32; 8]);
                _mm256_storeu_si256(mins.0.as_mut_ptr().cast(), T::mins(*row));
                for (pair, min) in mins.0.iter().enumerate().take(min_pairs::<T>()) {
                    to.add(record.pairs + pair * 64).cast::<u32>().add(r).write(*min);
                }
            }
        }
        let heads = _mm512_load_si512(heads.0.as_ptr().cast());
        let d = T::factors(heads);
        let d = if negate { _mm512_sub_ps(_mm512_set1_ps(-0.0), d) } else { d };
        _mm512_store_ps(to.add(record.scales).cast(), d);
        _mm512_store_ps(to.add(record.mins).cast(), lanes::high_halves(heads));
    }
}

#[repr(C, align(64))]
struct Aligned<T>(T);

/// Quarter `I` of the planes of a super-block.
#[inline(always)]
unsafe fn quarter<T: Super, const I: usize, const BIASED: bool>(rows: &[*const u8; 16], to: *mut u8) {
    // SAFETY: the caller's promise; the stores are inside the planes.
    unsafe {
        let mut by_row = Aligned([[[0u8; 64]; 16]; 2]);
        let low_byte = _mm512_set1_epi16(0xff);
        let low_bits = _mm512_set1_epi16(0x7f);
        for (r, row) in rows.iter().enumerate() {
            let scale = spread::<T, I>(T::scales(*row));
            let scale = if T::NEGATE { _mm512_sub_epi16(_mm512_setzero_si512(), scale) } else { scale };
            let q = T::quants::<I>(*row);
            let offset = _mm512_set1_epi16(T::OFFSET as i16);
            // Even and odd elements as 16 bits each.
            let even = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_and_si512(q, low_byte), offset), scale);
            let odd = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_srli_epi16::<8>(q), offset), scale);
            let bias = _mm512_set1_epi8(if BIASED { T::BIAS as i8 } else { 0 });
            if T::PLANES == 1 {
                let w = bytes(even, odd, low_byte);
                _mm512_store_si512(by_row.0[0][r].as_mut_ptr().cast(), _mm512_add_epi8(w, bias));
            } else {
                let low = bytes(_mm512_and_si512(even, low_bits), _mm512_and_si512(odd, low_bits), low_byte);
                let rest = bytes(_mm512_srai_epi16::<7>(even), _mm512_srai_epi16::<7>(odd), low_byte);
                _mm512_store_si512(by_row.0[0][r].as_mut_ptr().cast(), low);
                _mm512_store_si512(by_row.0[1][r].as_mut_ptr().cast(), _mm512_add_epi8(rest, bias));
            }
        }
        for plane in 0..T::PLANES {
            lanes::transpose_memory(by_row.0[plane].as_ptr().cast(), to.add(plane * 4096 + I * 1024));
        }
    }
}

/// The low bytes of `even` and `odd`, in turn.
#[inline(always)]
unsafe fn bytes(even: __m512i, odd: __m512i, low_byte: __m512i) -> __m512i {
    // SAFETY: register arithmetic. 0xea is (a & b) | c.
    unsafe { _mm512_ternarylogic_epi32::<0xea>(even, low_byte, _mm512_slli_epi16::<8>(odd)) }
}

/// Builds the record of two blocks of 32 of 16 rows; with `second` false the second one is not there and not read.
/// Quants of types without a minimum are unsigned, 128 above their value.
///
/// # Safety
/// As [`build_super`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn build_blocks<T: Block>(rows: &[*const u8; 16], second: bool, to: *mut u8) {
    let next = if second { T::BYTES } else { 0 };
    let mut by_row = Aligned([[0u8; 64]; 16]);
    let mut heads = Aligned([[0u32; 16]; 2]);
    let offset = if T::MIN { 0 } else { (128 >> T::SHIFT) - 128 };
    // SAFETY: the blocks are readable, and all stores are inside the record.
    unsafe {
        for (r, row) in rows.iter().enumerate() {
            let q = _mm512_sub_epi8(T::pair(*row, row.add(next)), _mm512_set1_epi8(offset as i8));
            _mm512_store_si512(by_row.0[r].as_mut_ptr().cast(), q);
            heads.0[0][r] = T::head(*row);
            heads.0[1][r] = T::head(row.add(next));
        }
        lanes::transpose_memory(by_row.0.as_ptr().cast(), to);
        for (half, heads) in heads.0.iter().enumerate() {
            let heads = _mm512_load_si512(heads.as_ptr().cast());
            _mm512_store_ps(to.add(BLOCK_RECORD.scales + half * 64).cast(), T::scales(heads));
            _mm512_store_ps(to.add(BLOCK_RECORD.mins + half * 64).cast(), lanes::high_halves(heads));
        }
    }
}
