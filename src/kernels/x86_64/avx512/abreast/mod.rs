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
//! K-quants multiply sums of 16 bits where they fit ([`short_sums`]), up to three columns share an address, and what is inserted stays out of
//! the units that multiply ([`lanes::put_together`]). Without these (the figures above) 8 sequences with TinyLlama's shape and 2 threads are
//! slower, old and new in turn: Q4_K_M 1.08 times, Q2_K 1.10, Q6_K, Q5_K_M and Q8_0 1.03.
//!
//! Sixteen places at once are more than the processor's own prefetchers follow, so these kernels live on the hints of `ahead`:
//! without them one column is read at 7 to 15 GB/s.

mod blocks;
mod supers;
mod tables;

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::{lanes, short_sums};
pub(super) use blocks::AbreastBlock;
pub(super) use supers::AbreastSuper;

/// Rows of a pass.
const ROWS: usize = 16;
/// Columns of a pass.
const COLUMNS: usize = 8;

/// Evaluates `$call` with a number of columns as a constant.
macro_rules! for_count {
    ($count:ident, $N:ident, $call:expr) => {
        for_count!($count, $N, $call, 1 2 3 4 5 6 7 8)
    };
    ($count:ident, $N:ident, $call:expr, $($n:literal)*) => {
        match $count {
            $($n => {
                const $N: usize = $n;
                $call
            })*
            _ => unreachable!("more columns than a pass has"),
        }
    };
}

/// Runs a product with blocks of 32; `rest` runs what is left of the rows.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL, VNNI.
pub(super) unsafe fn blocks<T: AbreastBlock>(job: &Job<'_>, scratch: &mut [u8], rest: unsafe fn(&Job<'_>, &mut [u8])) {
    // SAFETY: passed on; the columns of each pass exist.
    unsafe {
        let (whole, left) = split(job);
        for (first, count) in passes(job.acts.cols) {
            for_count!(count, N, blocks::products::<T, N>(&whole, first));
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
        let layout = &job.acts.kind.layout(job.k);
        for (first, count) in passes(job.acts.cols) {
            let largest = || short_sums::largest(&job.acts, layout, first..first + count, 0..job.k / 256);
            let short = const { supers::short::<T>() } && largest() <= short_sums::most::<T>(T::SUB_BLOCK_LEN);
            for_count!(
                count,
                N,
                if short { supers::products::<T, N, true>(&whole, first) } else { supers::products::<T, N, false>(&whole, first) }
            );
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

/// A place in `N` columns of activations, at most nine.
#[derive(Clone, Copy)]
struct Columns<const N: usize> {
    /// The place in columns 0, 3 and 6, as far as there are any.
    threes: [*const u8; 3],
    stride: usize,
}

impl<const N: usize> Columns<N> {
    /// The beginning of columns `first ..` of a job.
    #[inline(always)]
    fn new(job: &Job<'_>, first: usize) -> Self {
        const { assert!(N <= 9) };
        let start = job.acts.data.as_ptr().wrapping_add(first * job.acts.stride);
        let mut columns = Self { threes: [start; 3], stride: job.acts.stride };
        for i in 0..3 {
            columns.threes[i] = start.wrapping_add(3 * i * job.acts.stride);
        }
        columns.pass(0);
        columns
    }

    /// Goes on by `len` bytes.
    ///
    /// The addresses are hidden from the compiler as those of [`Rows`] are: eight of them took registers that there are not.
    #[inline(always)]
    #[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read through them")]
    fn pass(&mut self, len: usize) {
        for i in 0..N.div_ceil(3) {
            let mut three = self.threes[i].wrapping_add(len);
            // SAFETY: no instruction.
            unsafe { asm!("/* {0} {1} */", inout(reg) three, inout(reg) self.stride, options(pure, nomem, nostack, preserves_flags)) };
            self.threes[i] = three;
        }
    }

    /// The byte at `at` of column `c`.
    #[inline(always)]
    fn at(&self, c: usize, at: usize) -> *const u8 {
        let three = self.threes[c / 3].wrapping_add(at);
        match c % 3 {
            0 => three,
            1 => three.wrapping_add(self.stride),
            _ => three.wrapping_add(2 * self.stride),
        }
    }

    /// The dword at `at` of column `c` in all lanes.
    ///
    /// # Safety
    /// It exists; AVX-512 F.
    #[inline(always)]
    unsafe fn dword(&self, c: usize, at: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi32(self.at(c, at).cast::<i32>().read()) }
    }

    /// The float at `at` of column `c` in all lanes.
    ///
    /// # Safety
    /// As [`Self::dword`].
    #[inline(always)]
    unsafe fn float(&self, c: usize, at: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_ps(self.at(c, at).cast::<f32>().read()) }
    }
}

/// Leaves 16 rows of `N` columns in the outputs.
///
/// # Safety
/// AVX-512 F; the rows and the columns exist.
#[inline(always)]
unsafe fn store<const N: usize>(job: &Job<'_>, start: usize, first: usize, acc: &[__m512; N]) {
    for c in 0..N {
        // SAFETY: the outputs exist.
        unsafe { _mm512_storeu_ps(job.out.add((first + c) * job.ld + start), acc[c]) };
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
                v[r] = lanes::put_together([self.at(r, at), self.at(4 + r, at), self.at(8 + r, at), self.at(12 + r, at)]);
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
