//! Products with few columns: 16 rows abreast, each dword of weights put into the lane of its row as it is read.
//!
//! Taking 16 bytes of 16 rows and transposing them costs 12 insertions and 8 shuffles, once for all columns; then a dword of
//! activations, repeated by its load, meets 16 rows at once, sums and chains are one lane per row, and nothing is summed across
//! lanes or stored in between. Quants are transposed as they are packed, so types of 4 bits cost half of those of 8.
//!
//! Measured on Zen 4, one thread, weights in the cache, 1, 2, 4 and 8 columns: Q4_0 115, 185, 268 and 324 GOPS, where rows one
//! after the other (or panels, with 8) reach 86, 110, 128 and 179; Q4_K 118, 189, 268 and 312 instead of 114, 141, 144 and 190
//! (four rows at a time, which one column of it takes: 131);
//! Q8_0 90, 152, 234 and 325 instead of 86, 118, 125 and 197; Q6_K 72, 124, 192 and 247 instead of 101, 140, 168 and 194. One
//! column from a mapped file: Q4_0 30 GB/s instead of 20, Q8_0 27 instead of 22, Q4_K 26 to 29 instead of 25.
//!
//! Sixteen places at once are more than the processor's own prefetchers follow, so these kernels live on the hints of `ahead`:
//! without them one column is read at 7 to 15 GB/s.

mod blocks;
mod supers;
mod tables;

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::lanes;
pub(super) use blocks::AbreastBlock;
pub(super) use supers::AbreastSuper;

/// Rows of a pass.
const ROWS: usize = 16;
/// Columns of a pass.
const COLUMNS: usize = 8;

/// Runs a product with blocks of 32; `rest` runs what is left of the rows.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL, VNNI.
pub(super) unsafe fn blocks<T: AbreastBlock>(job: &Job<'_>, scratch: &mut [u8], rest: unsafe fn(&Job<'_>, &mut [u8])) {
    // SAFETY: passed on; the columns of each pass exist.
    unsafe {
        let (whole, left) = split(job);
        for (first, count) in passes(job.acts.cols) {
            match count {
                1 => blocks::products::<T, 1>(&whole, first),
                2 => blocks::products::<T, 2>(&whole, first),
                3..=4 => blocks::products::<T, 4>(&whole, first),
                5..=6 => blocks::products::<T, 6>(&whole, first),
                _ => blocks::products::<T, 8>(&whole, first),
            }
        }
        if left.rows > 0 {
            rest(&left, scratch);
        }
    }
}

/// Runs a product with super-blocks of 256; `rest` runs what is left of the rows.
///
/// # Safety
/// As [`blocks`].
pub(super) unsafe fn super_blocks<T: AbreastSuper>(job: &Job<'_>, scratch: &mut [u8], rest: unsafe fn(&Job<'_>, &mut [u8])) {
    // SAFETY: passed on; the columns of each pass exist.
    unsafe {
        let (whole, left) = split(job);
        for (first, count) in passes(job.acts.cols) {
            match count {
                1 => supers::products::<T, 1>(&whole, first),
                2 => supers::products::<T, 2>(&whole, first),
                3..=4 => supers::products::<T, 4>(&whole, first),
                5..=6 => supers::products::<T, 6>(&whole, first),
                _ => supers::products::<T, 8>(&whole, first),
            }
        }
        if left.rows > 0 {
            rest(&left, scratch);
        }
    }
}

/// The rows that fill passes, and those after them.
fn split<'a>(job: &Job<'a>) -> (Job<'a>, Job<'a>) {
    let rows = job.rows / ROWS * ROWS;
    let (weights, left) = job.weights.split_at(rows * job.row_bytes);
    // The outputs of a job have at least as many places as it has rows.
    let out = job.out.wrapping_add(rows);
    (Job { rows, weights, ..*job }, Job { rows: job.rows - rows, weights: left, next: &[], out, ..*job })
}

/// First column and number of columns of each pass, as equal as they can be.
fn passes(columns: usize) -> impl Iterator<Item = (usize, usize)> {
    let step = columns.div_ceil(columns.div_ceil(COLUMNS));
    (0..columns).step_by(step).map(move |first| (first, step.min(columns - first)))
}

/// Where `N` columns of activations begin; those that are not there repeat the last one.
///
/// # Safety
/// Column `first` exists.
#[inline(always)]
unsafe fn columns<const N: usize>(job: &Job<'_>, first: usize) -> [*const u8; N] {
    let last = (job.acts.cols - 1 - first).min(N - 1);
    let mut columns = [std::ptr::null(); N];
    for c in 0..N {
        // SAFETY: the column exists.
        columns[c] = unsafe { job.acts.data.as_ptr().add((first + c.min(last)) * job.acts.stride) };
    }
    columns
}

/// Leaves 16 rows of the columns that are there in the outputs.
///
/// # Safety
/// AVX-512 F; the rows and column `first` exist.
#[inline(always)]
unsafe fn store<const N: usize>(job: &Job<'_>, start: usize, first: usize, acc: &[__m512; N]) {
    for c in 0..N {
        if first + c < job.acts.cols {
            // SAFETY: the outputs exist.
            unsafe { _mm512_storeu_ps(job.out.add((first + c) * job.ld + start), acc[c]) };
        }
    }
}

/// A place in 16 rows that lie one after the other.
#[derive(Clone, Copy)]
struct Rows {
    /// The place in rows 0, 4, 8 and 12.
    fours: [*const u8; 4],
    /// Bytes of one row and of three.
    stride: usize,
    three: usize,
}

impl Rows {
    #[inline(always)]
    fn new(start: *const u8, stride: usize) -> Self {
        let mut rows = Self { fours: [start; 4], stride, three: 3 * stride };
        for g in 0..4 {
            rows.fours[g] = start.wrapping_add(4 * g * stride);
        }
        rows.pass(0);
        rows
    }

    /// Goes on by `len` bytes.
    ///
    /// The addresses are hidden from the compiler, which would put each of the sixteen together from parts that it has no registers
    /// for: that took a third of the time.
    #[inline(always)]
    #[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read through them")]
    fn pass(&mut self, len: usize) {
        let [mut a, mut b, mut c, mut d] = self.fours.map(|at| at.wrapping_add(len));
        // SAFETY: no instruction.
        unsafe {
            asm!("/* {0} {1} {2} {3} {4} {5} */", inout(reg) a, inout(reg) b, inout(reg) c, inout(reg) d, inout(reg) self.stride,
                inout(reg) self.three, options(pure, nomem, nostack, preserves_flags));
        }
        self.fours = [a, b, c, d];
    }

    /// The byte at `at` of row `r`.
    #[inline(always)]
    fn at(self, r: usize, at: usize) -> *const u8 {
        let four = self.fours[r / 4].wrapping_add(at);
        match r % 4 {
            0 => four,
            1 => four.wrapping_add(self.stride),
            2 => four.wrapping_add(2 * self.stride),
            _ => four.wrapping_add(self.three),
        }
    }

    /// Result i has, in lane r, dword i of the 16 bytes at `at` of row r.
    ///
    /// # Safety
    /// The bytes are readable; AVX-512 F.
    #[inline(always)]
    unsafe fn dwords(self, at: usize) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut v = [_mm512_setzero_si512(); 4];
            for r in 0..4 {
                // Group g of register r: row 4g + r.
                v[r] = _mm512_castsi128_si512(_mm_loadu_si128(self.at(r, at).cast()));
                v[r] = _mm512_inserti32x4::<1>(v[r], _mm_loadu_si128(self.at(4 + r, at).cast()));
                v[r] = _mm512_inserti32x4::<2>(v[r], _mm_loadu_si128(self.at(8 + r, at).cast()));
                v[r] = _mm512_inserti32x4::<3>(v[r], _mm_loadu_si128(self.at(12 + r, at).cast()));
            }
            lanes::transpose_4(v)
        }
    }
}

/// Dwords of 16 rows at places that are not transposed, collected row by row some blocks before they are used: a load of what
/// was stored in parts a moment ago would wait.
#[repr(C, align(64))]
struct Ring([[u32; ROWS]; 4]);

impl Ring {
    /// How many blocks before its use a dword is collected.
    const LEAD: usize = 2;

    fn new() -> Self {
        Self([[0; ROWS]; 4])
    }

    #[inline(always)]
    fn put(&mut self, block: usize, r: usize, dword: u32) {
        self.0[block % 4][r] = dword;
    }

    /// # Safety
    /// AVX-512 F.
    #[inline(always)]
    unsafe fn get(&self, block: usize) -> __m512i {
        // SAFETY: 64 aligned bytes.
        unsafe { _mm512_load_si512(self.0[block % 4].as_ptr().cast()) }
    }
}

/// The nibbles of each byte: low ones with `HIGH` 0, high ones with 1.
#[inline(always)]
unsafe fn nibbles<const HIGH: usize>(v: __m512i) -> __m512i {
    // SAFETY: register arithmetic.
    unsafe { _mm512_and_si512(if HIGH == 0 { v } else { _mm512_srli_epi32::<4>(v) }, _mm512_set1_epi8(15)) }
}
