//! Dot products in bf16: tiles of two rows by up to three columns, as `generic::float` defines them.

use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead::{Ahead, Lead};
use super::super::for_columns;

/// Runs one product.
///
/// # Safety
/// As `Table::matmul`; AVX2, FMA.
pub(super) unsafe fn products(job: &Job<'_>) {
    // SAFETY: passed on.
    unsafe {
        // Rarely are there any, and to know it is cheaper than to mask each weight for each pair of columns.
        if job.acts.cols <= 2 || any_subnormal(job.weights) { tiles::<true>(job) } else { tiles::<false>(job) }
    }
}

unsafe fn tiles<const SUBNORMAL: bool>(job: &Job<'_>) {
    let lead = Lead::of(job);
    // SAFETY: passed on; rows and columns exist.
    unsafe {
        for_columns!(first..job.acts.cols, N in [3, 2, 1], {
            for_columns!(row..job.rows, R in [2, 1], tile::<R, N, SUBNORMAL>(job, lead, row, first));
        });
    }
}

/// Whether there is a subnormal number among the weights, or in a rest of less than 16 of them something else than zero.
///
/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
unsafe fn any_subnormal(weights: &[u8]) -> bool {
    let registers = weights.chunks_exact(32);
    let mut any = _mm256_setzero_si256();
    let rest = registers.remainder().iter().any(|&byte| byte != 0);
    for weights in registers {
        // SAFETY: 32 bytes.
        let weights = unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) };
        // Magnitudes of 1 to 0x7f: one less is below 0x7f, and zero wraps round to the largest.
        let less = _mm256_sub_epi16(_mm256_and_si256(weights, _mm256_set1_epi16(0x7fff)), _mm256_set1_epi16(1));
        any = _mm256_or_si256(any, _mm256_cmpeq_epi16(_mm256_min_epu16(less, _mm256_set1_epi16(0x7e)), less));
    }
    rest || _mm256_testz_si256(any, any) == 0
}

/// With `SUBNORMAL`, the weights may contain subnormal numbers.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const R: usize, const N: usize, const SUBNORMAL: bool>(job: &Job<'_>, lead: Lead, row: usize, first: usize) {
    let layout = job.acts.kind.layout(job.k);
    // By the columns that come first.
    let ahead = (first == 0).then(|| Ahead::of(job, lead, row, R));
    // SAFETY: rows and columns exist; columns are padded to 64 bytes, and of the weights only those inside are read.
    unsafe {
        let (mut w, mut a) = ([std::ptr::null::<u8>(); R], [std::ptr::null::<u8>(); N]);
        for r in 0..R {
            w[r] = job.weights.as_ptr().add((row + r) * job.row_bytes);
        }
        for c in 0..N {
            a[c] = job.acts.data.as_ptr().add((first + c) * job.acts.stride);
        }
        // Before the sums begin, because a call in between would keep them in memory.
        let mut tail = [[0u8; 64]; R];
        for r in 0..R {
            std::ptr::copy_nonoverlapping(w[r].add(job.k / 32 * 64), tail[r].as_mut_ptr(), job.k % 32 * 2);
        }
        // Once over the row for each half of the lanes: both would need more registers than there are.
        let low = lanes::<R, N, SUBNORMAL>(&w, &tail, &a, job.k, 0, ahead);
        let high = lanes::<R, N, SUBNORMAL>(&w, &tail, &a, job.k, 1, None);
        for c in 0..N {
            let d = a[c].add(layout.scales).cast::<f32>().read();
            for r in 0..R {
                *job.out_at(row + r, first + c) = super::super::sum_8(_mm256_add_ps(low[r][c], high[r][c])) * d;
            }
        }
    }
}

/// Lanes `8 half ..` of each row and column.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn lanes<const R: usize, const N: usize, const SUBNORMAL: bool>(
    w: &[*const u8; R],
    tail: &[[u8; 64]; R],
    a: &[*const u8; N],
    k: usize,
    half: usize,
    ahead: Option<Ahead>,
) -> [[__m256; N]; R] {
    let mut acc = [[_mm256_setzero_ps(); N]; R];
    let whole = k / 32 * 64;
    // SAFETY: the caller's promise.
    unsafe {
        for at in (0..whole).step_by(64) {
            let (mut weights, mut columns) = ([std::ptr::null(); R], [std::ptr::null(); N]);
            for r in 0..R {
                if let Some(ahead) = ahead {
                    ahead.pass(w[r].add(at), 64);
                }
                weights[r] = w[r].add(at + half * 32);
            }
            for c in 0..N {
                columns[c] = a[c].add(at + half * 32);
            }
            step::<R, N, SUBNORMAL>(&mut acc, &weights, &columns);
        }
        if !k.is_multiple_of(32) {
            let (mut weights, mut columns) = ([std::ptr::null(); R], [std::ptr::null(); N]);
            for r in 0..R {
                weights[r] = tail[r].as_ptr().add(half * 32);
            }
            for c in 0..N {
                columns[c] = a[c].add(whole + half * 32);
            }
            step::<R, N, SUBNORMAL>(&mut acc, &weights, &columns);
        }
    }
    acc
}

/// 16 elements of each row and column.
#[inline(always)]
unsafe fn step<const R: usize, const N: usize, const SUBNORMAL: bool>(acc: &mut [[__m256; N]; R], w: &[*const u8; R], a: &[*const u8; N]) {
    // SAFETY: 16 elements are readable at each place.
    unsafe {
        let mut weights = [[_mm256_setzero_ps(); 2]; R];
        for r in 0..R {
            let [odd, even] = halves(w[r]);
            weights[r] = if SUBNORMAL { [normal(odd), normal(even)] } else { [odd, even] };
        }
        for c in 0..N {
            let [odd, even] = halves(a[c]);
            for r in 0..R {
                acc[r][c] = _mm256_fmadd_ps(weights[r][1], even, _mm256_fmadd_ps(weights[r][0], odd, acc[r][c]));
            }
        }
    }
}

/// The odd and the even ones of 16 elements.
#[inline(always)]
unsafe fn halves(p: *const u8) -> [__m256; 2] {
    // SAFETY: 32 bytes are readable.
    unsafe {
        let pairs = _mm256_loadu_si256(p.cast());
        let odd = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32));
        [_mm256_castsi256_ps(odd), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs))]
    }
}

/// Zero instead of subnormal numbers.
#[inline(always)]
unsafe fn normal(v: __m256) -> __m256 {
    // SAFETY: register arithmetic.
    unsafe {
        let exponent = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7f80_0000));
        _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(exponent, _mm256_setzero_si256())), v)
    }
}
