//! Products with many columns: up to 64 rows become panels, a stretch of k at a time, and all columns pass over them.
//!
//! This file has the loops around the tiles, shared by the VNNI tiles here and those of AMX. The chains of multiply-adds go
//! on from one stretch of k to the next in the output itself.

use super::super::super::ActKind;
use super::super::super::table::Job;
use super::super::ahead;
use super::blocks::Block;
use super::panel::{self, Record};
use super::supers::Super;

/// Panels of 16 rows that are built together.
const PANELS: usize = 4;
/// Elements of a row that are built together: as panels they fit the second-level cache.
const STRETCH: usize = 2048;

/// What a tile computes: some columns with some panels over a stretch of k.
pub(in crate::kernels::x86_64) struct Stretch<'a> {
    pub job: &'a Job<'a>,
    /// The first record; that of panel p and step s is `panels + (p * steps + s) * record.bytes`.
    pub panels: *const u8,
    pub record: Record,
    /// Records per panel.
    pub steps: usize,
    /// Number of panels, 1 to 4; the last may have fewer than 16 rows.
    pub count: usize,
    /// The first row of the first panel.
    pub row: usize,
    /// The first element of the stretch.
    pub k: usize,
    /// Elements of the stretch.
    pub len: usize,
}

impl Stretch<'_> {
    /// The record of a step of a panel.
    ///
    /// # Safety
    /// Both exist.
    #[inline(always)]
    pub unsafe fn record(&self, panel: usize, step: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe { self.panels.add((panel * self.steps + step) * self.record.bytes) }
    }

    /// The outputs of a panel in a column.
    ///
    /// # Safety
    /// Both exist.
    #[inline(always)]
    pub unsafe fn out(&self, panel: usize, column: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.job.out.add(column * self.job.ld + self.row + panel * 16) }
    }

    /// Rows of a panel.
    #[inline(always)]
    pub fn rows(&self, panel: usize) -> usize {
        (self.job.rows - self.row - panel * 16).min(16)
    }
}

/// A tile: all columns of the job over one stretch.
///
/// # Safety
/// The panels of the stretch are built, and the job's promises hold.
pub(in crate::kernels::x86_64) type Tile = unsafe fn(&Stretch<'_>);

/// Scratch for the panels of rows of `k` elements.
pub(in crate::kernels::x86_64) fn scratch_bytes(kind: ActKind, k: usize) -> usize {
    let k = k.min(STRETCH);
    match kind {
        ActKind::F32 | ActKind::Bf16 => 0,
        ActKind::Q8x32 => PANELS * k.div_ceil(64) * panel::BLOCK_RECORD.bytes,
        ActKind::Q8x256 => PANELS * (k / 256) * panel::SUPER_RECORD_MAX,
    }
}

/// Runs `tile` over all stretches of a product with super-blocks whose scales stand apart.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL.
pub(in crate::kernels::x86_64) unsafe fn scaled_blocks<T: Super>(job: &Job<'_>, scratch: &mut [u8], tile: Tile) {
    const { assert!(panel::scaled_record::<T>().bytes <= panel::SUPER_RECORD_MAX) };
    let build = |rows: &[*const u8; 16], step: usize, to: *mut u8| {
        // SAFETY: the step is inside the rows, and the record inside the scratch.
        unsafe { panel::build_scaled::<T>(&rows.map(|row| row.add(step * T::BYTES)), to) }
    };
    // SAFETY: passed on.
    unsafe { stretches(job, scratch, panel::scaled_record::<T>(), 256, T::BYTES, build, tile) }
}

/// Runs `tile` over all stretches of a product with super-blocks whose scales are multiplied in.
///
/// # Safety
/// As `Table::matmul`; AVX-512 F, BW, DQ, VL.
pub(in crate::kernels::x86_64) unsafe fn super_blocks<T: Super, const BIASED: bool>(job: &Job<'_>, scratch: &mut [u8], tile: Tile) {
    let record = panel::super_record(T::PLANES, panel::min_pairs::<T>());
    let build = |rows: &[*const u8; 16], step: usize, to: *mut u8| {
        // SAFETY: the step is inside the rows, and the record inside the scratch.
        unsafe { panel::build_super::<T, BIASED>(&rows.map(|row| row.add(step * T::BYTES)), to) }
    };
    // SAFETY: passed on.
    unsafe { stretches(job, scratch, record, 256, T::BYTES, build, tile) }
}

/// Runs `tile` over all stretches of a product with blocks of 32.
///
/// # Safety
/// As [`super_blocks`].
pub(super) unsafe fn blocks<T: Block>(job: &Job<'_>, scratch: &mut [u8], tile: Tile) {
    let blocks = job.k / 32;
    let build = |rows: &[*const u8; 16], step: usize, to: *mut u8| {
        // SAFETY: the step is inside the rows, and the record inside the scratch.
        unsafe { panel::build_blocks::<T>(&rows.map(|row| row.add(step * 2 * T::BYTES)), 2 * step + 1 < blocks, to) }
    };
    // SAFETY: passed on.
    unsafe { stretches(job, scratch, panel::BLOCK_RECORD, 64, 2 * T::BYTES, build, tile) }
}

/// `step_len` and `step_bytes`: elements and bytes of a row per record. `build` builds the record of a step (counted from the start of the rows).
#[inline(always)]
unsafe fn stretches(
    job: &Job<'_>,
    scratch: &mut [u8],
    record: Record,
    step_len: usize,
    step_bytes: usize,
    build: impl Fn(&[*const u8; 16], usize, *mut u8),
    tile: Tile,
) {
    assert!(scratch.len() >= PANELS * job.k.min(STRETCH).div_ceil(step_len) * record.bytes);
    for row in (0..job.rows).step_by(16 * PANELS) {
        let count = (job.rows - row).min(16 * PANELS).div_ceil(16);
        for k in (0..job.k).step_by(STRETCH) {
            let len = (job.k - k).min(STRETCH);
            let steps = len.div_ceil(step_len);
            for p in 0..count {
                // Rows that are not there repeat the last one; their results are not stored.
                let rows = std::array::from_fn(|r| job.row((row + p * 16 + r).min(job.rows - 1)).as_ptr());
                // Sixteen rows side by side are more streams than the processor follows, so the panel after this one is asked for.
                let next = match (p + 1 < count, k + STRETCH < job.k) {
                    (true, _) => (row + (p + 1) * 16, k),
                    (false, true) => (row, k + STRETCH),
                    (false, false) => (row + 16 * PANELS, 0),
                };
                for s in 0..steps {
                    for r in next.0..(next.0 + 16).min(job.rows) {
                        ahead::ask(job.row(r).as_ptr().wrapping_add((next.1 / step_len + s) * step_bytes), step_bytes);
                    }
                    // SAFETY: inside the scratch, by the assertion.
                    let to = unsafe { scratch.as_mut_ptr().add((p * steps + s) * record.bytes) };
                    build(&rows, k / step_len + s, to);
                }
            }
            let stretch = Stretch { job, panels: scratch.as_ptr(), record, steps, count, row, k, len };
            // SAFETY: the panels are built.
            unsafe { tile(&stretch) };
        }
    }
}
