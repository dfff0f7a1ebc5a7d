//! AMX: tiles of 16 activations by 16 rows, 64 bytes of k at a time, for super-blocks and many columns; all else as with AVX-512 VNNI.
//!
//! Weights enter with their sub-block scales multiplied in, as two planes of 7 and 8 bits, so that a tile sums a whole
//! super-block without a stop: Σ w·a = 128 · Σ rest·a + Σ low·a, exactly. While the tiles of one unit are on their way, the
//! unit before is converted and added to its chains.
//!
//! Blocks of 32 have a scale for each 32 elements: there tiles that stop at each block reached 0.95 to 1.0 of the speed of
//! `vpdpbusd` with 512 columns, and 0.75 of it where there is a minimum too (Emerald Rapids), so they go without.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::super::Isa;
use super::super::generic::{grouped as codebook, tables as table};
use super::super::table::{Job, Table};
use super::avx512::many::{self, Stretch};
use super::avx512::supers::{self, Super};
use super::avx512::{self, lanes};
use crate::quant::TensorType;

/// [`Isa::Amx`].
pub(super) static TABLE: Table = Table { isa: Isa::Amx, quantize: avx512::quantize, matmul, scratch_bytes: avx512::scratch_bytes };

/// Columns of a unit: two tiles.
const COLUMNS: usize = 32;
/// A unit is worked on in this many slices, with the conversion of the unit before between them.
const SLICES: usize = 4;
/// A unit is converted this many units after its tiles, so that nothing waits for their stores.
const LAG: usize = 2;
/// Results that are kept: more than `LAG`.
const BUFFERS: usize = 4;

/// Whether the processor has int8 tiles and the system lets this process use them.
pub(super) fn is_available() -> bool {
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(|| {
        let features = __cpuid_count(7, 0).edx;
        let tile_and_int8 = 1 << 24 | 1 << 25;
        features & tile_and_int8 == tile_and_int8 && request()
    })
}

/// Asks the system for the tile registers, for all threads of the process.
#[cfg(target_os = "linux")]
fn request() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn request() -> bool {
    false
}

/// Each type has the number of columns from which on tiles beat AVX-512 VNNI, measured on Emerald Rapids: lowest for what is quickly taken
/// apart and multiplied by its scales, highest for what is looked up. With 512 columns they are 1.1 to 3.4 times as fast, 1.8 for Q4_K.
unsafe fn matmul(job: &Job<'_>, scratch: &mut [u8]) {
    // SAFETY: passed on; the table is used on processors of its level only.
    unsafe {
        match job.ty {
            TensorType::Q2_K => with_supers::<supers::Q2K>(job, scratch, 12, plane_units::<1, 8>),
            TensorType::Q3_K => with_supers::<supers::Q3K>(job, scratch, 12, plane_units::<1, 0>),
            TensorType::Q4_K => with_supers::<supers::Q4K>(job, scratch, 25, plane_units::<2, 4>),
            TensorType::Q5_K => with_supers::<supers::Q5K>(job, scratch, 25, plane_units::<2, 4>),
            TensorType::Q6_K => with_supers::<supers::Q6K>(job, scratch, 25, plane_units::<2, 0>),
            TensorType::IQ4_XS => with_supers::<table::Iq4Xs>(job, scratch, 25, plane_units::<2, 0>),
            TensorType::IQ1_S => with_supers::<codebook::Iq1S>(job, scratch, 129, plane_units::<2, 0>),
            TensorType::IQ1_M => with_supers::<codebook::Iq1M>(job, scratch, 129, plane_units::<2, 0>),
            TensorType::IQ2_XXS => with_supers::<codebook::Iq2Xxs>(job, scratch, 97, plane_units::<2, 0>),
            TensorType::IQ2_XS => with_supers::<codebook::Iq2Xs>(job, scratch, 97, plane_units::<2, 0>),
            TensorType::IQ2_S => with_supers::<codebook::Iq2S>(job, scratch, 97, plane_units::<2, 0>),
            TensorType::IQ3_XXS => with_supers::<codebook::Iq3Xxs>(job, scratch, 65, plane_units::<2, 0>),
            TensorType::IQ3_S => with_supers::<codebook::Iq3S>(job, scratch, 65, plane_units::<2, 0>),
            TensorType::TQ1_0 => with_supers::<codebook::Tq10>(job, scratch, 12, plane_units::<1, 0>),
            TensorType::TQ2_0 => with_supers::<codebook::Tq20>(job, scratch, 12, plane_units::<1, 0>),
            _ => avx512::matmul::<true>(job, scratch),
        }
    }
}

/// Tiles from `columns` columns on.
unsafe fn with_supers<T: Super>(job: &Job<'_>, scratch: &mut [u8], columns: usize, tile: many::Tile) {
    // SAFETY: passed on.
    unsafe {
        if job.acts.cols < columns {
            return avx512::matmul::<true>(job, scratch);
        }
        many::super_blocks::<T, false>(job, scratch, tile);
        release();
    }
}

/// The memory image of a tile configuration.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Configures the tiles: 0 and 1 results of the first `n` columns (16 at most), 2 and 3 of the next 16; 4 and 5 activations
/// of these, 64 bytes of each; 6 and 7 weights.
unsafe fn configure(n: usize) {
    let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    let (first, second) = (n.min(16) as u8, n.saturating_sub(16).clamp(1, 16) as u8);
    config.row_bytes[..8].copy_from_slice(&[64; 8]);
    config.rows[..8].copy_from_slice(&[first, first, second, second, first, second, 16, 16]);
    // SAFETY: 64 bytes of a valid configuration.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack)) };
}

unsafe fn release() {
    // SAFETY: the tile registers are this module's.
    unsafe { asm!("tilerelease", options(nostack)) };
}

/// Operations of a round of [`burst`]: four products of 16 x 64 by 64 x 16 bytes.
pub(super) const BURST_OPERATIONS: u64 = 4 * 2 * 16 * 16 * 64;

/// Products of full tiles that wait for no memory, for [`peak`](super::peak).
pub(super) fn burst(rounds: u32) {
    // SAFETY: in the table of the level alone; the tiles are configured, written first, and released.
    unsafe {
        configure(32);
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "tilezero tmm5",
            "tilezero tmm6",
            "tilezero tmm7",
            options(nomem, nostack)
        );
        for _ in 0..rounds {
            asm!(
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                options(nomem, nostack, preserves_flags)
            );
        }
        release();
    }
}

/// Results of some units: `i32[tile][16 columns][16 rows]`, 4 tiles each.
#[repr(C, align(64))]
struct Results([[u8; 4096]; BUFFERS]);

/// A unit whose results are to be added to the chains.
#[derive(Clone, Copy)]
struct Unit {
    panel: usize,
    step: usize,
}

/// Runs `tiles` and `finish` over all units of a stretch: for [`COLUMNS`] columns at a time, for each step, for each panel.
/// Each slice of the tiles of a unit is followed by the same slice of `finish` of an earlier one: the out-of-order window
/// does not reach across a whole unit. Both get the unit, the slice, the first column, the number of columns.
#[inline(always)]
unsafe fn units(
    stretch: &Stretch<'_>,
    tiles: impl Fn(Unit, usize, usize, usize, *mut u8),
    finish: impl Fn(Unit, usize, usize, usize, *const u8),
) {
    let mut results = Results([[0; 4096]; BUFFERS]);
    for first in (0..stretch.job.acts.cols).step_by(COLUMNS) {
        let n = (stretch.job.acts.cols - first).min(COLUMNS);
        // SAFETY: the level is there.
        unsafe { configure(n) };
        let count = stretch.steps * stretch.count;
        let unit = |i: usize| Unit { panel: i % stretch.count, step: i / stretch.count };
        for i in 0..count + LAG {
            for slice in 0..SLICES {
                if i < count {
                    tiles(unit(i), slice, first, n, results.0[i % BUFFERS].as_mut_ptr());
                }
                if i >= LAG {
                    finish(unit(i - LAG), slice, first, n, results.0[(i - LAG) % BUFFERS].as_ptr());
                }
            }
        }
    }
}

/// The columns of a slice.
#[inline(always)]
fn slice_of(slice: usize, n: usize) -> std::ops::Range<usize> {
    // A slice does not reach from one tile into the next.
    let width = if n > 16 { 8 } else { 4 };
    (slice * width).min(n)..((slice + 1) * width).min(n)
}

/// All columns over a stretch of super-blocks.
///
/// # Safety
/// As `Tile`; the level is there; all planes are signed.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn plane_units<const PLANES: usize, const PAIRS: usize>(stretch: &Stretch<'_>) {
    let job = stretch.job;
    let layout = job.acts.kind.layout(job.k);
    let (acts, stride, out, ld) = (job.acts.data.as_ptr(), job.acts.stride, job.out, job.ld);
    let column = |c: usize| acts.wrapping_add(c * stride);
    let tiles = |unit: Unit, slice: usize, first: usize, n: usize, results: *mut u8| {
        // SAFETY: the record and the columns exist; the configuration has n columns of 64 bytes.
        unsafe {
            let w = stretch.record(unit.panel, unit.step).add(slice * 1024);
            let a = column(first).add(stretch.k + unit.step * 256 + slice * 64);
            let (s, l) = (job.acts.stride, 64usize);
            if slice == 0 {
                asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack));
            }
            // The same part of the next panel.
            let next = w.wrapping_add(stretch.steps * stretch.record.bytes);
            for line in 0..16 {
                _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line * 64).cast());
                if PLANES == 2 {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(4096 + line * 64).cast());
                }
            }
            asm!(
                "tileloadd tmm4, [{a} + {s}]", "tileloadd tmm6, [{w} + {l}]", "tdpbssd tmm0, tmm4, tmm6",
                a = in(reg) a, s = in(reg) s, w = in(reg) w, l = in(reg) l, options(nostack)
            );
            if PLANES == 2 {
                asm!("tileloadd tmm7, [{w} + {l} + 4096]", "tdpbssd tmm1, tmm4, tmm7", w = in(reg) w, l = in(reg) l, options(nostack));
            }
            if n > 16 {
                asm!("tileloadd tmm5, [{a} + {s}]", "tdpbssd tmm2, tmm5, tmm6", a = in(reg) a.add(16 * s), s = in(reg) s, options(nostack));
                if PLANES == 2 {
                    asm!("tdpbssd tmm3, tmm5, tmm7", options(nostack));
                }
            }
            if slice == SLICES - 1 {
                asm!("tilestored [{r} + {l}], tmm0", "tilestored [{r} + {l} + 2048], tmm2", r = in(reg) results, l = in(reg) l, options(nostack));
                if PLANES == 2 {
                    asm!("tilestored [{r} + {l} + 1024], tmm1", "tilestored [{r} + {l} + 3072], tmm3", r = in(reg) results, l = in(reg) l, options(nostack));
                }
            }
        }
    };
    let finish = |unit: Unit, slice: usize, first: usize, n: usize, results: *const u8| {
        // SAFETY: the record, the columns and the outputs exist; the results have n columns.
        unsafe {
            let record = stretch.record(unit.panel, unit.step);
            let mask = lanes::first(stretch.rows(unit.panel));
            let b = stretch.k / 256 + unit.step;
            let d = _mm512_load_ps(record.add(stretch.record.scales).cast());
            let dmin = _mm512_load_ps(record.add(stretch.record.mins).cast());
            let pairs: [__m512i; PAIRS] =
                std::array::from_fn(|pair| _mm512_load_si512(record.add(stretch.record.pairs + pair * 64).cast()));
            // Pointers step from column to column: the products of tiles leave little time for addresses.
            let range = slice_of(slice, n);
            let mut at = results.add(range.start / 16 * 2048 + range.start % 16 * 64);
            let mut out = out.add((first + range.start) * ld + stretch.row + unit.panel * 16);
            let mut column = column(first + range.start);
            let sums = if PAIRS == 4 { layout.sums32 + b * 16 } else { layout.sums + b * 32 };
            let scale = layout.scales + b * 4;
            for _ in range {
                let mut sum = _mm512_load_si512(at.cast());
                if PLANES == 2 {
                    sum = _mm512_add_epi32(sum, _mm512_slli_epi32::<7>(_mm512_load_si512(at.add(1024).cast())));
                }
                let da = _mm512_set1_ps(column.add(scale).cast::<f32>().read());
                let acc = if b == 0 { _mm512_setzero_ps() } else { _mm512_maskz_loadu_ps(mask, out) };
                let mut acc = _mm512_fmadd_ps(_mm512_mul_ps(d, da), _mm512_cvtepi32_ps(sum), acc);
                if PAIRS > 0 {
                    let sums = column.add(sums).cast::<i32>();
                    let mut sum = _mm512_setzero_si512();
                    for (i, pair) in pairs.iter().enumerate() {
                        sum = lanes::dot_i16::<true>(sum, *pair, _mm512_set1_epi32(sums.add(i).read()));
                    }
                    acc = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, da), _mm512_cvtepi32_ps(sum), acc);
                }
                _mm512_mask_storeu_ps(out, mask, acc);
                at = at.add(64);
                out = out.wrapping_add(ld);
                column = column.wrapping_add(stride);
            }
        }
    };
    // SAFETY: passed on.
    unsafe { units(stretch, tiles, finish) }
}
