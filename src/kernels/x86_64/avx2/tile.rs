//! Products with many columns: 8 rows are taken apart once into a panel, `[k / 4][8 rows][4]` bytes, and all columns pass
//! over it, four at a time, their dwords broadcast from memory. Sums of two products stay in 16 bits as long as they fit.

use std::arch::x86_64::*;

use super::super::super::activation::Layout;
use super::super::super::table::Job;
use super::super::for_columns;
use super::blocks::Block;
use super::lanes;
use super::rows::pairs;
use super::supers::Super;

#[repr(C, align(32))]
struct Aligned<T>(T);

/// The record of a super-block: quants `u8[64][8][4]`, scales `(s, s) i16[16][8][2]`, pairs of scales or minima
/// `i16[8][8][2]`, `f32 d[8]`, `f32 dmin[8]`.
const SUPER_RECORD: usize = 2048 + 512 + 256 + 64;
/// The record of a block of 32: quants `[8][8][4]`, `f32 d[8]`, `f32 m[8]`.
const BLOCK_RECORD: usize = 256 + 64;

/// Scratch for [`super_blocks`].
pub(super) fn super_blocks_scratch(blocks: usize) -> usize {
    blocks * SUPER_RECORD
}

/// Scratch for [`blocks`].
pub(super) fn blocks_scratch(blocks: usize) -> usize {
    blocks * BLOCK_RECORD
}

/// The 8 rows from `row` on; rows that are not there repeat the last one.
fn rows_from(job: &Job<'_>, row: usize) -> [*const u8; 8] {
    std::array::from_fn(|r| job.row((row + r).min(job.rows - 1)).as_ptr())
}

/// All columns with super-blocks of 256.
///
/// # Safety
/// As `Table::matmul`; AVX2, FMA, F16C.
pub(super) unsafe fn super_blocks<T: Super>(job: &Job<'_>, scratch: &mut [u8]) {
    let blocks = job.k / 256;
    assert!(scratch.len() >= super_blocks_scratch(blocks));
    for row in (0..job.rows).step_by(8) {
        let rows = rows_from(job, row);
        // SAFETY: the blocks are inside the rows, the records inside the scratch, and the columns exist.
        unsafe {
            for b in 0..blocks {
                build_super::<T>(rows.map(|row| row.add(b * T::BYTES)), scratch.as_mut_ptr().add(b * SUPER_RECORD));
            }
            for_columns!(first..job.acts.cols, N in [4, 1], super_tile::<T, N>(job, scratch.as_ptr(), row, first));
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn build_super<T: Super>(rows: [*const u8; 8], to: *mut u8) {
    // SAFETY: the blocks are readable, and all stores are inside the record.
    unsafe {
        quants::<T, 0>(rows, to);
        quants::<T, 1>(rows, to);
        quants::<T, 2>(rows, to);
        quants::<T, 3>(rows, to);
        quants::<T, 4>(rows, to);
        quants::<T, 5>(rows, to);
        quants::<T, 6>(rows, to);
        quants::<T, 7>(rows, to);
        let (scales, paired) = (to.add(2048), to.add(2560));
        let mut heads = Aligned([0u32; 8]);
        for (r, row) in rows.iter().enumerate() {
            heads.0[r] = T::head(*row);
            let mut words = Aligned([0i16; 16]);
            _mm256_store_si256(words.0.as_mut_ptr().cast(), T::scales(*row));
            for (j, scale) in words.0.iter().enumerate() {
                scales.cast::<[i16; 2]>().add(j * 8 + r).write([*scale; 2]);
            }
            if T::MINS {
                _mm256_store_si256(words.0.as_mut_ptr().cast(), T::mins(*row));
            }
            for (j, pair) in words.0.chunks_exact(2).enumerate() {
                paired.cast::<[i16; 2]>().add(j * 8 + r).write([pair[0], pair[1]]);
            }
        }
        let heads = _mm256_load_si256(heads.0.as_ptr().cast());
        _mm256_store_ps(to.add(2816).cast(), T::factors(heads));
        _mm256_store_ps(to.add(2848).cast(), lanes::high_halves(heads));
    }
}

/// The 32 elements `I` of 8 rows.
#[inline(always)]
unsafe fn quants<T: Super, const I: usize>(rows: [*const u8; 8], to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        // Loops, because closures are compiled without AVX2 where they are not inlined.
        let mut by_row = [_mm256_setzero_si256(); 8];
        for r in 0..8 {
            by_row[r] = T::quants::<I>(rows[r]);
        }
        for (j, dwords) in lanes::transpose(by_row).into_iter().enumerate() {
            _mm256_store_si256(to.add(I * 256 + j * 32).cast(), dwords);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn super_tile<T: Super, const N: usize>(job: &Job<'_>, records: *const u8, row: usize, first: usize) {
    let layout = job.acts.kind.layout(job.k);
    // SAFETY: the columns hold the parts of their layout, the records are built, the outputs exist.
    unsafe {
        let columns: [*const u8; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride));
        let mut acc = [_mm256_setzero_ps(); N];
        for b in 0..job.k / 256 {
            let record = records.add(b * SUPER_RECORD);
            let (scales, paired) = (record.add(2048), record.add(2560));
            // Dwords of k in a sub-block, and in a sum of 16 bits.
            let sub = if T::PER_32 { 8 } else { 4 };
            let run = if T::ADDS < sub { T::ADDS } else { sub };
            let mut sums = [_mm256_setzero_si256(); N];
            if T::OFFSET != 0 {
                for c in 0..N {
                    let offset = pair_sum::<T>(paired, &layout, columns[c], b);
                    sums[c] = _mm256_mullo_epi32(offset, _mm256_set1_epi32(-T::OFFSET));
                }
            }
            for j in 0..256 / 4 / sub {
                let scale = _mm256_load_si256(scales.add(j * 32).cast());
                for start in (0..sub).step_by(run) {
                    let mut short = [_mm256_setzero_si256(); N];
                    for i in 0..run {
                        let at = j * sub + start + i;
                        let w = _mm256_load_si256(record.add(at * 32).cast());
                        for c in 0..N {
                            let a = _mm256_set1_epi32(columns[c].add(b * 256 + at * 4).cast::<i32>().read());
                            short[c] = _mm256_add_epi16(short[c], pairs(w, a, T::SIGNED));
                        }
                    }
                    for c in 0..N {
                        sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(short[c], scale));
                    }
                }
            }
            let (d, dmin) = (_mm256_load_ps(record.add(2816).cast()), _mm256_load_ps(record.add(2848).cast()));
            for c in 0..N {
                let da = _mm256_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                acc[c] = _mm256_fmadd_ps(_mm256_mul_ps(d, da), _mm256_cvtepi32_ps(sums[c]), acc[c]);
                if T::MINS {
                    acc[c] = _mm256_fnmadd_ps(
                        _mm256_mul_ps(dmin, da),
                        _mm256_cvtepi32_ps(pair_sum::<T>(paired, &layout, columns[c], b)),
                        acc[c],
                    );
                }
            }
        }
        for c in 0..N {
            lanes::store_first(job.out.add((first + c) * job.ld + row), job.rows - row, acc[c]);
        }
    }
}

/// Σ over pairs of (scales or minima) times (sums of activations) of super-block `b`.
#[inline(always)]
unsafe fn pair_sum<T: Super>(paired: *const u8, layout: &Layout, column: *const u8, b: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let a = column.add(if T::PER_32 { layout.sums32 + b * 16 } else { layout.sums + b * 32 }).cast::<i32>();
        let mut sum = _mm256_setzero_si256();
        for j in 0..if T::PER_32 { 4 } else { 8 } {
            let pair = _mm256_load_si256(paired.add(j * 32).cast());
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pair, _mm256_set1_epi32(a.add(j).read())));
        }
        sum
    }
}

/// All columns with blocks of 32.
///
/// # Safety
/// As [`super_blocks`].
pub(super) unsafe fn blocks<T: Block>(job: &Job<'_>, scratch: &mut [u8]) {
    let blocks = job.k / 32;
    assert!(scratch.len() >= blocks_scratch(blocks));
    for row in (0..job.rows).step_by(8) {
        let rows = rows_from(job, row);
        // SAFETY: the blocks are inside the rows, the records inside the scratch, and the columns exist.
        unsafe {
            for b in 0..blocks {
                build_block::<T>(rows.map(|row| row.add(b * T::BYTES)), scratch.as_mut_ptr().add(b * BLOCK_RECORD));
            }
            for_columns!(first..job.acts.cols, N in [4, 1], block_tile::<T, N>(job, scratch.as_ptr(), row, first));
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn build_block<T: Block>(rows: [*const u8; 8], to: *mut u8) {
    // SAFETY: the blocks are readable, and all stores are inside the record.
    unsafe {
        let mut by_row = [_mm256_setzero_si256(); 8];
        let mut heads = Aligned([0u32; 8]);
        for r in 0..8 {
            by_row[r] = T::quants(rows[r]);
            heads.0[r] = T::head(rows[r]);
        }
        for (j, dwords) in lanes::transpose(by_row).into_iter().enumerate() {
            _mm256_store_si256(to.add(j * 32).cast(), dwords);
        }
        let heads = _mm256_load_si256(heads.0.as_ptr().cast());
        _mm256_store_ps(to.add(256).cast(), T::scales(heads));
        _mm256_store_ps(to.add(288).cast(), lanes::high_halves(heads));
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block_tile<T: Block, const N: usize>(job: &Job<'_>, records: *const u8, row: usize, first: usize) {
    let layout = job.acts.kind.layout(job.k);
    // SAFETY: the columns hold the parts of their layout, the records are built, the outputs exist.
    unsafe {
        let columns: [*const u8; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride));
        let mut acc = [_mm256_setzero_ps(); N];
        for b in 0..job.k / 32 {
            let record = records.add(b * BLOCK_RECORD);
            let mut sums = [_mm256_setzero_si256(); N];
            for start in (0..8).step_by(T::ADDS) {
                let mut short = [_mm256_setzero_si256(); N];
                for at in start..start + T::ADDS {
                    let w = _mm256_load_si256(record.add(at * 32).cast());
                    for c in 0..N {
                        let a = _mm256_set1_epi32(columns[c].add(b * 32 + at * 4).cast::<i32>().read());
                        short[c] = _mm256_add_epi16(short[c], pairs(w, a, T::SIGNED));
                    }
                }
                for c in 0..N {
                    sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(short[c], _mm256_set1_epi16(1)));
                }
            }
            let (d, m) = (_mm256_load_ps(record.add(256).cast()), _mm256_load_ps(record.add(288).cast()));
            for c in 0..N {
                let da = _mm256_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                let minus_128 = columns[c].add(layout.sums).cast::<i32>().add(b).read();
                let offset = if T::MIN || T::SIGNED { 0 } else { minus_128 >> T::SHIFT };
                let sum = _mm256_add_epi32(sums[c], _mm256_set1_epi32(offset));
                acc[c] = _mm256_fmadd_ps(_mm256_mul_ps(d, da), _mm256_cvtepi32_ps(sum), acc[c]);
                if T::MIN {
                    let a_sum = _mm256_set1_ps((minus_128 / -128) as f32);
                    acc[c] = _mm256_fmadd_ps(_mm256_mul_ps(m, da), a_sum, acc[c]);
                }
            }
        }
        for c in 0..N {
            lanes::store_first(job.out.add((first + c) * job.ld + row), job.rows - row, acc[c]);
        }
    }
}
