//! Dot products in bf16: tiles of two rows by up to three columns, two registers of 8 lanes each, as `generic::float` defines them.

use std::arch::x86_64::*;

use super::super::super::table::Job;
use super::super::ahead::Ahead;
use super::super::for_columns;

/// Runs one product.
///
/// # Safety
/// As `Table::matmul`; AVX2, FMA.
pub(super) unsafe fn products(job: &Job<'_>) {
    // SAFETY: passed on; rows and columns exist.
    unsafe {
        for_columns!(first..job.acts.cols, N in [3, 1], {
            for_columns!(row..job.rows, R in [2, 1], tile::<R, N>(job, row, first));
        });
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const R: usize, const N: usize>(job: &Job<'_>, row: usize, first: usize) {
    let layout = job.acts.kind.layout(job.k);
    let ahead = Ahead::new(job);
    // SAFETY: rows and columns exist; columns are padded to 64 bytes, and of the weights only those inside are read.
    unsafe {
        let (mut w, mut a) = ([std::ptr::null::<u8>(); R], [std::ptr::null::<u8>(); N]);
        for r in 0..R {
            w[r] = job.weights.as_ptr().add((row + r) * job.row_bytes);
        }
        for c in 0..N {
            a[c] = job.acts.data.as_ptr().add((first + c) * job.acts.stride);
        }
        let mut acc = [[[_mm256_setzero_ps(); 2]; N]; R];
        let whole = job.k / 32;
        for _ in 0..whole {
            for r in 0..R {
                // By the columns that come first.
                if first == 0 {
                    ahead.pass(w[r], 64);
                }
            }
            step::<R, N>(&mut acc, &w, &a);
            for r in 0..R {
                w[r] = w[r].add(64);
            }
            for c in 0..N {
                a[c] = a[c].add(64);
            }
        }
        if !job.k.is_multiple_of(32) {
            let mut tail = [[0u8; 64]; R];
            for r in 0..R {
                std::ptr::copy_nonoverlapping(w[r], tail[r].as_mut_ptr(), job.k % 32 * 2);
                w[r] = tail[r].as_ptr();
            }
            step::<R, N>(&mut acc, &w, &a);
        }
        for c in 0..N {
            let d = job.acts.data.as_ptr().add((first + c) * job.acts.stride + layout.scales).cast::<f32>().read();
            for r in 0..R {
                *job.out_at(row + r, first + c) = super::super::sum_8(_mm256_add_ps(acc[r][c][0], acc[r][c][1])) * d;
            }
        }
    }
}

/// 32 elements of each row and column.
#[inline(always)]
unsafe fn step<const R: usize, const N: usize>(acc: &mut [[[__m256; 2]; N]; R], w: &[*const u8; R], a: &[*const u8; N]) {
    // SAFETY: 32 elements are readable at each place.
    unsafe {
        for half in 0..2 {
            let mut weights = [[_mm256_setzero_ps(); 2]; R];
            for r in 0..R {
                let [odd, even] = halves(w[r].add(half * 32));
                weights[r] = [normal(odd), normal(even)];
            }
            for c in 0..N {
                let [odd, even] = halves(a[c].add(half * 32));
                for r in 0..R {
                    let sum = _mm256_fmadd_ps(weights[r][0], odd, acc[r][c][half]);
                    acc[r][c][half] = _mm256_fmadd_ps(weights[r][1], even, sum);
                }
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
