//! Tiles of `vpdpbusd`: one or two panels with a few columns, the activations broadcast from memory.

use std::arch::x86_64::*;

use super::super::for_columns;
use super::lanes;
use super::many::Stretch;

/// All columns over a stretch of super-blocks. `BIAS` is what was added to the last plane.
///
/// # Safety
/// As `Tile`; AVX-512 F, BW, DQ, VL, VNNI; the last plane is unsigned.
pub(super) unsafe fn planes<const PLANES: usize, const PAIRS: usize, const BIAS: i32>(stretch: &Stretch<'_>) {
    for_columns!(first..stretch.job.acts.cols, N in [8, 4, 2, 1], {
        for panel in 0..stretch.count {
            // SAFETY: passed on; the columns and the panel exist.
            unsafe { plane_tile::<N, PLANES, PAIRS, BIAS>(stretch, panel, first) };
        }
    });
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn plane_tile<const N: usize, const PLANES: usize, const PAIRS: usize, const BIAS: i32>(
    stretch: &Stretch<'_>,
    panel: usize,
    first: usize,
) {
    let job = stretch.job;
    let layout = job.acts.kind.layout(job.k);
    // SAFETY: the columns hold the parts of their layout, the records those of theirs; the outputs exist.
    unsafe {
        let mask = lanes::first(stretch.rows(panel));
        let out: [*mut f32; N] = std::array::from_fn(|c| job.out.add((first + c) * job.ld + stretch.row + panel * 16));
        let columns: [*const u8; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride));
        let mut acc: [__m512; N] =
            std::array::from_fn(|c| if stretch.k == 0 { _mm512_setzero_ps() } else { _mm512_maskz_loadu_ps(mask, out[c]) });
        for step in 0..stretch.steps {
            let record = stretch.record(panel, step);
            let b = stretch.k / 256 + step;
            let mut low = [_mm512_setzero_si512(); N];
            let mut rest: [__m512i; N] = std::array::from_fn(|c| {
                if BIAS == 0 {
                    return _mm512_setzero_si512();
                }
                let minus_128 = columns[c].add(layout.sums256).cast::<i32>().add(b).read();
                _mm512_set1_epi32(if BIAS == 64 { minus_128 >> 1 } else { minus_128 })
            });
            for i in 0..64 {
                let w0 = _mm512_load_si512(record.add(i * 64).cast());
                let w1 = if PLANES == 2 { _mm512_load_si512(record.add(4096 + i * 64).cast()) } else { w0 };
                for c in 0..N {
                    let a = _mm512_set1_epi32(columns[c].add(b * 256 + i * 4).cast::<i32>().read());
                    if PLANES == 2 {
                        low[c] = lanes::dot_u7::<true>(low[c], w0, a);
                    }
                    rest[c] = if BIAS == 128 { lanes::dot_u8::<true>(rest[c], w1, a) } else { lanes::dot_u7::<true>(rest[c], w1, a) };
                }
            }
            let d = _mm512_load_ps(record.add(stretch.record.scales).cast());
            let dmin = _mm512_load_ps(record.add(stretch.record.mins).cast());
            for c in 0..N {
                let sum = if PLANES == 2 { _mm512_add_epi32(low[c], _mm512_slli_epi32::<7>(rest[c])) } else { rest[c] };
                let da = _mm512_set1_ps(columns[c].add(layout.scales).cast::<f32>().add(b).read());
                acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, da), _mm512_cvtepi32_ps(sum), acc[c]);
                if PAIRS > 0 {
                    let sums = columns[c].add(if PAIRS == 4 { layout.sums32 + b * 16 } else { layout.sums + b * 32 });
                    let mut sum = _mm512_setzero_si512();
                    for pair in 0..PAIRS {
                        let m = _mm512_load_si512(record.add(stretch.record.pairs + pair * 64).cast());
                        let a = _mm512_set1_epi32(sums.cast::<i32>().add(pair).read());
                        sum = lanes::dot_i16::<true>(sum, m, a);
                    }
                    acc[c] = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, da), _mm512_cvtepi32_ps(sum), acc[c]);
                }
            }
        }
        for c in 0..N {
            _mm512_mask_storeu_ps(out[c], mask, acc[c]);
        }
    }
}

/// All columns over a stretch of blocks of 32, in panels whose quants are unsigned.
///
/// # Safety
/// As [`planes`].
pub(super) unsafe fn blocks<const MIN: bool>(stretch: &Stretch<'_>) {
    for_columns!(first..stretch.job.acts.cols, N in [6, 4, 2, 1], {
        for panel in (0..stretch.count).step_by(2) {
            // SAFETY: passed on; the columns and the panels exist.
            unsafe {
                if panel + 1 < stretch.count {
                    block_tile::<N, 2, MIN>(stretch, panel, first);
                } else {
                    block_tile::<N, 1, MIN>(stretch, panel, first);
                }
            }
        }
    });
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn block_tile<const N: usize, const P: usize, const MIN: bool>(stretch: &Stretch<'_>, panel: usize, first: usize) {
    let job = stretch.job;
    let layout = job.acts.kind.layout(job.k);
    // SAFETY: the columns hold the parts of their layout, the records those of theirs; the outputs exist.
    unsafe {
        let mask: [__mmask16; P] = std::array::from_fn(|p| lanes::first(stretch.rows(panel + p)));
        let columns: [*const u8; N] = std::array::from_fn(|c| job.acts.data.as_ptr().add((first + c) * job.acts.stride));
        let out = |c: usize, p: usize| job.out.add((first + c) * job.ld + stretch.row + (panel + p) * 16);
        let mut acc: [[__m512; P]; N] = std::array::from_fn(|c| {
            std::array::from_fn(|p| if stretch.k == 0 { _mm512_setzero_ps() } else { _mm512_maskz_loadu_ps(mask[p], out(c, p)) })
        });
        for block in 0..stretch.len / 32 {
            let b = stretch.k / 32 + block;
            let records: [*const u8; P] = std::array::from_fn(|p| stretch.record(panel + p, block / 2));
            let half = block % 2;
            let mut sums: [[__m512i; P]; N] = std::array::from_fn(|c| {
                let start = if MIN { 0 } else { columns[c].add(layout.sums).cast::<i32>().add(b).read() };
                [_mm512_set1_epi32(start); P]
            });
            for i in 0..8 {
                let w: [__m512i; P] = std::array::from_fn(|p| _mm512_load_si512(records[p].add((half * 8 + i) * 64).cast()));
                for c in 0..N {
                    let a = _mm512_set1_epi32(columns[c].add(b * 32 + i * 4).cast::<i32>().read());
                    for p in 0..P {
                        sums[c][p] =
                            if MIN { lanes::dot_u7::<true>(sums[c][p], w[p], a) } else { lanes::dot_u8::<true>(sums[c][p], w[p], a) };
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
        for c in 0..N {
            for p in 0..P {
                _mm512_mask_storeu_ps(out(c, p), mask[p], acc[c][p]);
            }
        }
    }
}
