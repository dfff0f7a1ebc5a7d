//! Tiles of `vpdpbusd`: one or two panels of 16 rows by up to six columns, the activations broadcast from memory once for
//! both panels.
//!
//! Two panels by six columns hold 12 sums and 12 totals in registers; more columns spill, fewer wait for the weights.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::super::activation::Layout;
use super::super::super::table::Job;
use super::super::{ahead, for_columns};
use super::is_intel;
use super::lanes;
use super::many::Stretch;
use super::panel::{self, Record};
use super::short_sums;
use super::supers::Super;

/// The most columns of a tile, the first of each list of them below.
const COLUMNS: usize = 6;

/// Evaluates `$call` over all panels of a stretch, two at a time (`$P`), and over the last one alone.
macro_rules! two_by_two {
    ($stretch:ident, $panel:ident, $P:ident, $call:expr) => {
        for $panel in (0..$stretch.count).step_by(2) {
            if $panel + 1 < $stretch.count {
                const $P: usize = 2;
                $call
            } else {
                const $P: usize = 1;
                $call
            }
        }
    };
}

/// All columns over a stretch of super-blocks of which the sub-block scales stand apart from the quants.
///
/// # Safety
/// As `Tile`; AVX-512 F, BW, DQ, VL, VNNI; the records are those of [`panel::build_scaled`].
pub(super) unsafe fn scaled<T: Super>(stretch: &Stretch<'_>) {
    // Where 32 bits are multiplied in one step, half as many such products cost less than sums over half as many elements: Q5_K, 7 % on Zen 4.
    let halves = !T::PER_32 || is_intel();
    let layout = &stretch.job.acts.kind.layout(stretch.job.k);
    for_columns!(first..stretch.job.acts.cols, N in [6, 5, 4, 3, 2, 1], {
        // SAFETY: passed on; the columns and the panels exist.
        unsafe {
            let blocks = stretch.k / 256..stretch.k / 256 + stretch.steps;
            let largest = short_sums::largest(&stretch.job.acts, layout, first..first + N, blocks);
            ask_for_next(stretch, layout, first + N);
            two_by_two!(stretch, panel, P, match const { short_sums::len::<T>() } {
                Some(16) if halves && largest <= short_sums::most::<T>(16) => scaled_tile::<T, N, P, 16, true>(stretch, layout, panel, first),
                Some(32) if largest <= short_sums::most::<T>(32) => scaled_tile::<T, N, P, 32, true>(stretch, layout, panel, first),
                _ if T::PER_32 => scaled_tile::<T, N, P, 32, false>(stretch, layout, panel, first),
                _ => scaled_tile::<T, N, P, 16, false>(stretch, layout, panel, first),
            });
        }
    });
}

/// Asks for what a tile from column `first` on reads first of each column: a prompt of 512 with Q4_K 1 to 3 % (Zen 4), of 256, whose activations
/// fit the second-level cache, nothing.
fn ask_for_next(stretch: &Stretch<'_>, layout: &Layout, first: usize) {
    let acts = &stretch.job.acts;
    for column in first..acts.cols.min(first + COLUMNS) {
        let from = acts.data.as_ptr().wrapping_add(column * acts.stride);
        for at in
            [layout.magnitudes + stretch.k / 64, layout.scales + stretch.k / 64, layout.sums32 + stretch.k / 16, stretch.k, stretch.k + 64]
        {
            ahead::ask(from.wrapping_add(at), 1);
        }
    }
}

/// `LEN` and `SHORT` as in [`totals`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn scaled_tile<T: Super, const N: usize, const P: usize, const LEN: usize, const SHORT: bool>(
    stretch: &Stretch<'_>,
    layout: &Layout,
    panel: usize,
    first: usize,
) {
    let parts = &panel::scaled_record::<T>();
    // SAFETY: the columns hold the parts of their layout, the records those of theirs; the outputs exist.
    unsafe {
        let columns = columns::<N>(stretch.job, first);
        let mut acc = load_outputs::<N, P>(stretch, panel, first);
        for step in 0..stretch.steps {
            let b = stretch.k / 256 + step;
            let records = records::<P>(stretch, panel, step);
            let total = totals::<T, N, P, LEN, SHORT>(&records, parts, &columns, layout, b);
            super_chains::<T, N, P>(&mut acc, &total, &records, parts, &columns, layout, b);
        }
        store_outputs::<N, P>(stretch, panel, first, &acc);
    }
}

/// Σ scale · Σ q·a of super-block `b`, with inner sums over `LEN` elements. Where they are `SHORT`, that is, fit 16 bits, `vpdpwssd` multiplies and
/// adds in one step; 32 bits take two for the product on Intel's processors, and one for the sum. Both give the same integers.
#[inline(always)]
unsafe fn totals<T: Super, const N: usize, const P: usize, const LEN: usize, const SHORT: bool>(
    records: &[*const u8; P],
    parts: &Record,
    columns: &[*const u8; N],
    layout: &Layout,
    b: usize,
) -> [[__m512i; P]; N] {
    // SAFETY: the columns hold the parts of their layout, the records those of theirs.
    unsafe {
        let mut total = [[_mm512_setzero_si512(); P]; N];
        for i in 0..256 / LEN {
            let j = i * LEN / T::SUB_BLOCK_LEN;
            let mut sums = [[_mm512_setzero_si512(); P]; N];
            if T::OFFSET != 0 {
                for c in 0..N {
                    sums[c] = [T::minus_offset(columns[c].add(layout.offsets16).cast(), b, j); P];
                }
            }
            add_dots::<N, P>(&mut sums, records, columns, b, i * LEN..(i + 1) * LEN);
            for p in 0..P {
                let mut scale = _mm512_load_si512(records[p].add(parts.subs + j * 64).cast());
                if SHORT && T::NEGATIVE_SCALES {
                    // The upper half of a sum is its sign, which is to count for nothing.
                    scale = _mm512_and_si512(scale, _mm512_set1_epi32(0xffff));
                }
                for c in 0..N {
                    total[c][p] = if SHORT {
                        lanes::dot_i16::<true>(total[c][p], sums[c][p], scale)
                    } else {
                        _mm512_add_epi32(total[c][p], _mm512_mullo_epi32(sums[c][p], scale))
                    };
                }
            }
        }
        total
    }
}

/// Adds the products of the quants and activations `range` of super-block `b`.
#[inline(always)]
unsafe fn add_dots<const N: usize, const P: usize>(
    sums: &mut [[__m512i; P]; N],
    records: &[*const u8; P],
    columns: &[*const u8; N],
    b: usize,
    range: Range<usize>,
) {
    for k in range.step_by(4) {
        // SAFETY: the columns hold the activations, the records the quants.
        unsafe {
            let mut w = [_mm512_setzero_si512(); P];
            for p in 0..P {
                w[p] = _mm512_load_si512(records[p].add(k * 16).cast());
            }
            for c in 0..N {
                let a = _mm512_set1_epi32(columns[c].add(b * 256 + k).cast::<i32>().read());
                for p in 0..P {
                    sums[c][p] = _mm512_dpbusd_epi32(sums[c][p], w[p], a);
                }
            }
        }
    }
}

/// Goes on with the chains of a tile by one super-block. All chains take a step before one takes the next, so that none is waited for (a
/// prompt with Q2_K, which has eight steps of minima: 5 %, Zen 4).
#[inline(always)]
unsafe fn super_chains<T: Super, const N: usize, const P: usize>(
    acc: &mut [[__m512; P]; N],
    total: &[[__m512i; P]; N],
    records: &[*const u8; P],
    parts: &Record,
    columns: &[*const u8; N],
    layout: &Layout,
    b: usize,
) {
    // SAFETY: the columns hold the parts of their layout, the records those of theirs.
    unsafe {
        for c in 0..N {
            let da = _mm512_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
            for p in 0..P {
                let d = _mm512_load_ps(records[p].add(parts.scales).cast());
                acc[c][p] = _mm512_fmadd_ps(_mm512_mul_ps(d, da), _mm512_cvtepi32_ps(total[c][p]), acc[c][p]);
            }
        }
        if !T::MINS {
            return;
        }
        let mut sums = [[_mm512_setzero_si512(); P]; N];
        for pair in 0..panel::min_pairs::<T>() {
            for c in 0..N {
                let from = columns[c].add(if T::PER_32 { layout.sums32 + b * 16 } else { layout.sums + b * 32 });
                let a = _mm512_set1_epi32(from.cast::<i32>().add(pair).read());
                for p in 0..P {
                    let m = _mm512_load_si512(records[p].add(parts.pairs + pair * 64).cast());
                    sums[c][p] = lanes::dot_i16::<true>(sums[c][p], m, a);
                }
            }
        }
        for c in 0..N {
            let da = _mm512_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
            for p in 0..P {
                let dmin = _mm512_load_ps(records[p].add(parts.mins).cast());
                acc[c][p] = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, da), _mm512_cvtepi32_ps(sums[c][p]), acc[c][p]);
            }
        }
    }
}

/// All columns over a stretch of super-blocks in one plane, in which the sub-block scales are multiplied in.
///
/// # Safety
/// As `Tile`; AVX-512 F, BW, DQ, VL, VNNI; the plane is unsigned, by `T::BIAS`.
pub(super) unsafe fn planes<T: Super>(stretch: &Stretch<'_>) {
    let layout = &stretch.job.acts.kind.layout(stretch.job.k);
    for_columns!(first..stretch.job.acts.cols, N in [6, 5, 4, 3, 2, 1], {
        // SAFETY: passed on; the columns and the panels exist.
        unsafe { two_by_two!(stretch, panel, P, plane_tile::<T, N, P>(stretch, layout, panel, first)) };
    });
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn plane_tile<T: Super, const N: usize, const P: usize>(stretch: &Stretch<'_>, layout: &Layout, panel: usize, first: usize) {
    const { assert!(T::PLANES == 1 && (T::BIAS == 0 || T::BIAS == 128)) };
    // SAFETY: the columns hold the parts of their layout, the records those of theirs; the outputs exist.
    unsafe {
        let columns = columns::<N>(stretch.job, first);
        let mut acc = load_outputs::<N, P>(stretch, panel, first);
        for step in 0..stretch.steps {
            let b = stretch.k / 256 + step;
            let records = records::<P>(stretch, panel, step);
            let mut sums = [[_mm512_setzero_si512(); P]; N];
            if T::BIAS != 0 {
                for c in 0..N {
                    sums[c] = [_mm512_set1_epi32(columns[c].add(layout.sums256).cast::<i32>().add(b).read()); P];
                }
            }
            add_dots::<N, P>(&mut sums, &records, &columns, b, 0..256);
            super_chains::<T, N, P>(&mut acc, &sums, &records, &stretch.record, &columns, layout, b);
        }
        store_outputs::<N, P>(stretch, panel, first, &acc);
    }
}

/// All columns over a stretch of blocks of 32, in panels whose quants are unsigned.
///
/// # Safety
/// As [`planes`].
pub(super) unsafe fn blocks<const MIN: bool>(stretch: &Stretch<'_>) {
    let layout = &stretch.job.acts.kind.layout(stretch.job.k);
    for_columns!(first..stretch.job.acts.cols, N in [6, 5, 4, 3, 2, 1], {
        // SAFETY: passed on; the columns and the panels exist.
        unsafe { two_by_two!(stretch, panel, P, block_tile::<N, P, MIN>(stretch, layout, panel, first)) };
    });
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn block_tile<const N: usize, const P: usize, const MIN: bool>(stretch: &Stretch<'_>, layout: &Layout, panel: usize, first: usize) {
    // SAFETY: the columns hold the parts of their layout, the records those of theirs; the outputs exist.
    unsafe {
        let columns = columns::<N>(stretch.job, first);
        let mut acc = load_outputs::<N, P>(stretch, panel, first);
        for block in 0..stretch.len / 32 {
            let b = stretch.k / 32 + block;
            let half = block % 2;
            let records = records::<P>(stretch, panel, block / 2);
            let mut sums = [[_mm512_setzero_si512(); P]; N];
            if !MIN {
                for c in 0..N {
                    sums[c] = [_mm512_set1_epi32(columns[c].add(layout.sums).cast::<i32>().add(b).read()); P];
                }
            }
            for i in 0..8 {
                let mut w = [_mm512_setzero_si512(); P];
                for p in 0..P {
                    w[p] = _mm512_load_si512(records[p].add((half * 8 + i) * 64).cast());
                }
                for c in 0..N {
                    let a = _mm512_set1_epi32(columns[c].add(b * 32 + i * 4).cast::<i32>().read());
                    for p in 0..P {
                        sums[c][p] = _mm512_dpbusd_epi32(sums[c][p], w[p], a);
                    }
                }
            }
            for p in 0..P {
                let d = _mm512_load_ps(records[p].add(stretch.record.scales + half * 64).cast());
                for c in 0..N {
                    let da = _mm512_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                    acc[c][p] = _mm512_fmadd_ps(_mm512_mul_ps(d, da), _mm512_cvtepi32_ps(sums[c][p]), acc[c][p]);
                    if MIN {
                        let m = _mm512_load_ps(records[p].add(stretch.record.mins + half * 64).cast());
                        let a_sum = (columns[c].add(layout.sums).cast::<i32>().add(b).read() / -128) as f32;
                        acc[c][p] = _mm512_fmadd_ps(_mm512_mul_ps(m, da), _mm512_set1_ps(a_sum), acc[c][p]);
                    }
                }
            }
        }
        store_outputs::<N, P>(stretch, panel, first, &acc);
    }
}

/// The records of a step of `P` panels.
#[inline(always)]
unsafe fn records<const P: usize>(stretch: &Stretch<'_>, panel: usize, step: usize) -> [*const u8; P] {
    let mut records = [std::ptr::null(); P];
    for p in 0..P {
        // SAFETY: the panels and the step exist.
        records[p] = unsafe { stretch.record(panel + p, step) };
    }
    records
}

/// Where `N` columns of activations begin.
#[inline(always)]
unsafe fn columns<const N: usize>(job: &Job<'_>, first: usize) -> [*const u8; N] {
    let mut columns = [std::ptr::null(); N];
    for c in 0..N {
        // SAFETY: the columns exist.
        columns[c] = unsafe { job.acts.data.as_ptr().add((first + c) * job.acts.stride) };
    }
    columns
}

/// What the chains of a tile have come to before the stretch.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn load_outputs<const N: usize, const P: usize>(stretch: &Stretch<'_>, panel: usize, first: usize) -> [[__m512; P]; N] {
    let mut acc = [[_mm512_setzero_ps(); P]; N];
    if stretch.k > 0 {
        for c in 0..N {
            for p in 0..P {
                // SAFETY: the outputs exist; rows that are not there are not read.
                acc[c][p] = unsafe { _mm512_maskz_loadu_ps(lanes::first(stretch.rows(panel + p)), stretch.out(panel + p, first + c)) };
            }
        }
    }
    acc
}

/// Leaves the chains of a tile in the outputs.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn store_outputs<const N: usize, const P: usize>(stretch: &Stretch<'_>, panel: usize, first: usize, acc: &[[__m512; P]; N]) {
    for c in 0..N {
        for p in 0..P {
            // SAFETY: the outputs exist; rows that are not there are not written.
            unsafe { _mm512_mask_storeu_ps(stretch.out(panel + p, first + c), lanes::first(stretch.rows(panel + p)), acc[c][p]) };
        }
    }
}
