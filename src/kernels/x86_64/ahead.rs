//! Asking memory for weights before they are used.
//!
//! The processor's own prefetchers stop at each page and fall behind where the work on a line is longer than adding it up: the
//! hints here took one thread from 11 to 21 GB/s with Q4_K, from 20 to 22 with Q8_0 (Zen 4). They fill the second-level cache:
//! into the first-level one they gave 13.

use std::arch::x86_64::*;

use super::super::table::Job;

/// Asks for the weights of some rows later, in this job or the next one, at the pace at which the present ones are read.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// From a place in the present rows to the same place in the later ones.
    distance: usize,
    /// The first place whose counterpart is beyond the weights of the next job.
    end: usize,
}

/// About how many bytes before their use memory is asked for weights: far enough to cover the way from memory, and near enough that the
/// lines are still in the second-level cache. A whole item ahead (512 KiB) gave 18 GB/s with Q6_K and one thread, 32 to 64 KiB gave 25.
const LEAD_BYTES: usize = 64 << 10;
/// About how many bytes have their pages translated together. With half of it one thread read rows of 1,152 bytes (Q4_K) 4 % slower; twice
/// as many gave nothing.
const TRANSLATED_BYTES: usize = 32 << 10;

/// How far ahead of their use weights are asked for: the same for all rows of a job, and no farther than the next job.
#[derive(Clone, Copy)]
pub(super) struct Lead {
    rows: usize,
    /// Rows whose pages are translated together, a power of two.
    group: usize,
}

impl Lead {
    pub fn of(job: &Job<'_>) -> Self {
        let row_bytes = job.row_bytes.max(1);
        Self { rows: (LEAD_BYTES / row_bytes + 1).min(job.rows), group: (TRANSLATED_BYTES / row_bytes).next_power_of_two() }
    }
}

impl Ahead {
    /// For the time while `rows` rows from `row` on are used, also by kernels that then do not ask: an `Option` of it made one of them keep its
    /// sums in memory (BF16 with 8 columns and more: 87 to 100 GOPS instead of 209); `rows` is a power of two, and `row` a multiple of it where they are more than one.
    pub fn of(job: &Job<'_>, lead: Lead, row: usize, rows: usize) -> Self {
        let (later, group) = (row + lead.rows, lead.group.max(rows));
        if row & (group - 1) == 0 {
            translate(job, later + group, group);
        }
        if later < job.rows {
            return Self { distance: lead.rows * job.row_bytes, end: usize::MAX };
        }
        let from = job.weights.as_ptr().addr() + row * job.row_bytes;
        let (next, skip) = (job.next.as_ptr().addr(), (later - job.rows) * job.row_bytes);
        Self { distance: (next + skip).wrapping_sub(from), end: from + job.next.len().saturating_sub(skip) }
    }

    /// While `len` bytes at `at` are used: asks for as many.
    #[inline(always)]
    pub fn pass(self, at: *const u8, len: usize) {
        if at.addr() < self.end {
            ask(at.wrapping_add(self.distance), len);
        }
    }
}

/// Asks for `len` bytes at `at`.
#[inline(always)]
pub(super) fn ask(at: *const u8, len: usize) {
    for line in (0..len).step_by(64) {
        // SAFETY: a hint; no address is wrong.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(line).cast()) };
    }
}

/// Asks for one line of each page of the weights of `rows` rows from `row` on, in a job or, beyond its last row, in the next one: so
/// that the addresses are translated, several at once, before the lines of a page are asked for one after the other. Where the rows pass
/// the end of the job, the first ones of the next job are left out.
///
/// A request without a translation holds up all that follow it. From a mapped file (pages of 4 KiB) this took one thread from
/// 20 to 26 GB/s with rows of 3,168 bytes (Q4_K), two threads from 35 to 50.
fn translate(job: &Job<'_>, row: usize, rows: usize) {
    const PAGE: usize = 4096;
    let (weights, row) = if row < job.rows { (job.weights, row) } else { (job.next, row - job.rows) };
    let from = row * job.row_bytes;
    for at in (from..weights.len().min(from + rows * job.row_bytes)).step_by(PAGE) {
        // SAFETY: a hint; no address is wrong.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(weights.as_ptr().wrapping_add(at).cast()) };
    }
}
