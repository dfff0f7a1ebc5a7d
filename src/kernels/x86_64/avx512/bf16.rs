//! Dot products in bf16: tiles of a few rows by a few columns, one register of 16 lanes each, as `generic::float` defines them.
//!
//! With the instruction `vdpbf16ps` where the processor has it, else with two multiply-adds of its halves. So too on Intel's for many columns,
//! all halves made once (see `decoded`): Emerald Rapids does 86 billion multiply-adds a second in two threads with the instruction, and twice
//! as many without.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead::{Ahead, Lead};
use super::super::for_columns;
use super::decoded::{self, Decode};
use super::{float, is_intel};

/// How 16 pairs are multiplied and added.
trait Dot {
    /// Weights and activations, made ready once for all columns or rows.
    type Weights: Copy;
    type Activations: Copy;
    /// # Safety
    /// For all: AVX-512 F, and bf16 where the instruction is used.
    unsafe fn weights(pairs: __m512i) -> Self::Weights;
    unsafe fn activations(pairs: __m512i) -> Self::Activations;
    unsafe fn add(acc: __m512, w: Self::Weights, a: Self::Activations) -> __m512;
}

struct Instruction;
impl Dot for Instruction {
    type Weights = __m512i;
    type Activations = __m512i;
    #[inline(always)]
    unsafe fn weights(pairs: __m512i) -> __m512i {
        pairs
    }
    #[inline(always)]
    unsafe fn activations(pairs: __m512i) -> __m512i {
        pairs
    }
    #[inline(always)]
    unsafe fn add(acc: __m512, w: __m512i, a: __m512i) -> __m512 {
        // SAFETY: passed on.
        unsafe { vdpbf16ps(acc, w, a) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn vdpbf16ps(mut acc: __m512, w: __m512i, a: __m512i) -> __m512 {
    // As text, because a function for both kinds of processor can't enable the feature.
    // SAFETY: the caller has the instruction; registers only.
    unsafe {
        asm!("vdpbf16ps {}, {}, {}", inout(zmm_reg) acc, in(zmm_reg) w, in(zmm_reg) a, options(pure, nomem, nostack, preserves_flags))
    };
    acc
}

struct Halves;
impl Dot for Halves {
    /// The odd elements, and the even ones.
    type Weights = [__m512; 2];
    type Activations = [__m512; 2];
    #[inline(always)]
    unsafe fn weights(pairs: __m512i) -> [__m512; 2] {
        // SAFETY: register arithmetic.
        unsafe {
            let mut halves = <Self as Dot>::activations(pairs);
            for half in &mut halves {
                // Subnormal ones are zero.
                let normal = _mm512_test_epi32_mask(_mm512_castps_si512(*half), _mm512_set1_epi32(0x7f80_0000));
                *half = _mm512_maskz_mov_ps(normal, *half);
            }
            halves
        }
    }
    #[inline(always)]
    unsafe fn activations(pairs: __m512i) -> [__m512; 2] {
        // SAFETY: register arithmetic.
        unsafe {
            let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            [_mm512_castsi512_ps(odd), _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))]
        }
    }
    #[inline(always)]
    unsafe fn add(acc: __m512, w: [__m512; 2], a: [__m512; 2]) -> __m512 {
        // SAFETY: register arithmetic.
        unsafe { _mm512_fmadd_ps(w[1], a[1], _mm512_fmadd_ps(w[0], a[0], acc)) }
    }
}

impl Decode for Halves {
    const STEP: usize = 32;
    const BYTES: usize = 2;
    const BOTH: bool = true;
    #[inline(always)]
    unsafe fn weights(from: *const u8, there: u32, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { store(to, <Self as Dot>::weights(_mm512_maskz_loadu_epi16(there, from.cast()))) }
    }
    #[inline(always)]
    unsafe fn activations(from: *const u8, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { store(to, <Self as Dot>::activations(_mm512_loadu_si512(from.cast()))) }
    }
    fn scale(job: &Job<'_>, column: usize) -> f32 {
        let scales = job.acts.kind.layout(job.k).scales;
        // SAFETY: the column exists, and any bytes are an f32.
        unsafe { job.acts.data.as_ptr().add(column * job.acts.stride + scales).cast::<f32>().read() }
    }
}

/// The halves one after the other.
#[inline(always)]
unsafe fn store(to: *mut f32, [odd, even]: [__m512; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        _mm512_store_ps(to, odd);
        _mm512_store_ps(to.add(16), even);
    }
}

/// Runs one product, with the instruction where `INSTRUCTION` says that the processor has it.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL.
pub(super) unsafe fn products<const INSTRUCTION: bool>(job: &Job<'_>, scratch: &mut [u8]) {
    if decoded::are_many(job.acts.cols) && (!INSTRUCTION || is_intel()) {
        // SAFETY: passed on.
        return unsafe { decoded::products::<Halves>(job, scratch) };
    }
    let lead = Lead::of(job);
    // SAFETY: passed on; rows and columns exist.
    unsafe {
        if job.acts.cols <= 4 {
            // Few rows side by side: each is a stream of its own from memory.
            for_columns!(row..job.rows, R in [1], {
                for_columns!(first..job.acts.cols, N in [4, 2, 1], either::<INSTRUCTION, R, N>(job, lead, row, first));
            });
        } else if INSTRUCTION {
            for_columns!(first..job.acts.cols, N in [6, 4, 2, 1], {
                for_columns!(row..job.rows, R in [4, 2, 1], tile::<Instruction, R, N>(job, lead, row, first));
            });
        } else {
            for_columns!(first..job.acts.cols, N in [6, 4, 2, 1], {
                for_columns!(row..job.rows, R in [2, 1], tile::<Halves, R, N>(job, lead, row, first));
            });
        }
    }
}

unsafe fn either<const INSTRUCTION: bool, const R: usize, const N: usize>(job: &Job<'_>, lead: Lead, row: usize, first: usize) {
    // SAFETY: passed on.
    unsafe { if INSTRUCTION { tile::<Instruction, R, N>(job, lead, row, first) } else { tile::<Halves, R, N>(job, lead, row, first) } }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn tile<D: Dot, const R: usize, const N: usize>(job: &Job<'_>, lead: Lead, row: usize, first: usize) {
    let layout = job.acts.kind.layout(job.k);
    let ahead = Ahead::of(job, lead, row, R);
    // SAFETY: rows and columns exist; columns are padded to 64 bytes, and of the weights only those inside are read.
    unsafe {
        let (mut w, mut a) = ([std::ptr::null::<u8>(); R], [std::ptr::null::<u8>(); N]);
        for r in 0..R {
            w[r] = job.weights.as_ptr().add((row + r) * job.row_bytes);
        }
        for c in 0..N {
            a[c] = job.acts.data.as_ptr().add((first + c) * job.acts.stride);
        }
        let mut acc = [[_mm512_setzero_ps(); N]; R];
        let whole = job.k / 32;
        for i in 0..whole {
            let mut weights = [D::weights(_mm512_setzero_si512()); R];
            for r in 0..R {
                // By the columns that come first.
                if first == 0 {
                    ahead.pass(w[r].add(i * 64), 64);
                }
                weights[r] = D::weights(_mm512_loadu_si512(w[r].add(i * 64).cast()));
            }
            for c in 0..N {
                let a = D::activations(_mm512_loadu_si512(a[c].add(i * 64).cast()));
                for r in 0..R {
                    acc[r][c] = D::add(acc[r][c], weights[r], a);
                }
            }
        }
        if !job.k.is_multiple_of(32) {
            let there = (1u32 << (job.k % 32)) - 1;
            for r in 0..R {
                let w = D::weights(_mm512_maskz_loadu_epi16(there, w[r].add(whole * 64).cast()));
                for c in 0..N {
                    let a = D::activations(_mm512_loadu_si512(a[c].add(whole * 64).cast()));
                    acc[r][c] = D::add(acc[r][c], w, a);
                }
            }
        }
        for c in 0..N {
            let d = a[c].add(layout.scales).cast::<f32>().read();
            for r in 0..R {
                *job.out_at(row + r, first + c) = float::sum(acc[r][c]) * d;
            }
        }
    }
}
