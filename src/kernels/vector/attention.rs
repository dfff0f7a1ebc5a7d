//! Attention of a few query rows over one KV head.
//!
//! For row r at position p and query q: `s_j = scale · Σ_d q_d · k_jd` over the positions j that the row sees, `out = Σ_j softmax(s)_j · v_j`.
//! It sees j ≤ p, or with a window of w only p − w < j ≤ p (Beltagy et al. 2020, arXiv 2004.05150), or in an encoder all that there are.
//! A soft cap makes `cap · tanh(s_j / cap)` of a score (arXiv 2408.00118), a slope adds `slope · (j − p)` to it (ALiBi: Press et al.
//! 2021, arXiv 2108.12409), and a sink is one more score, without a value, in the softmax (gpt-oss).
//!
//! The cached positions are walked in chunks of [`CHUNK`], counted from position 0. Each chunk is reduced on its own (its
//! maximum m, the sum l of e^(s−m), the vector o = Σ e^(s−m)·v) and merged into the running m, l, o in ascending order (online softmax:
//! Milakov and Gimelshein 2018, arXiv 1805.02867). Within a chunk a score is one chain over d, o_d one chain over j, and l sixteen
//! lanes by j mod 16. None of that depends on how many rows are computed together, so prefill and decode give equal bits.

mod chunk;
mod element;

use std::ops::Range;

use crate::base::fma::fma;
use crate::kernels::kv::{KEY_BLOCK, PAGE};

use super::lanes::{LANES, Lanes};
use chunk::Room;
pub use element::{Bf16, F16, F32, KvElement, Q8};

/// Positions that are reduced together: whole pages.
pub const CHUNK: usize = 256;
const _: () = assert!(CHUNK.is_multiple_of(PAGE) && PAGE.is_multiple_of(KEY_BLOCK));

/// The query rows of one KV head over a few columns (positions).
#[derive(Debug, Clone, Copy)]
pub struct AttentionTile {
    /// First query head of the group, first column: `[column][group][key_dim]` with `q_stride` floats between columns.
    pub q: *const f32,
    /// Floats between columns of `q`.
    pub q_stride: usize,
    /// `[column][group][value_dim]` with `out_stride` floats between columns.
    pub out: *mut f32,
    /// Floats between columns of `out`.
    pub out_stride: usize,
    /// Query heads that share the KV head.
    pub group: usize,
    /// Elements of a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Columns of the tile.
    pub columns: usize,
    /// Position of the first column; column c stands at first + c.
    pub first: usize,
    /// The pages of the cache, each of [`PAGE`] positions.
    pub pages: *const *mut u8,
    /// Where the keys of the head begin in a page: blocks of 16 positions.
    pub keys: usize,
    /// Bytes between blocks of keys.
    pub key_block_bytes: usize,
    /// Where the values of the head begin in a page, by position.
    pub values: usize,
    /// Bytes between values.
    pub value_bytes: usize,
    /// Elements of a value with its padding.
    pub value_stride: usize,
    /// Factor on the scores, 1/√key_dim as a rule.
    pub scale: f32,
    /// Positions that a row sees, its own and those right before it; `usize::MAX` for all.
    pub window: usize,
    /// Bound of the scores; 0 for none.
    pub soft_cap: f32,
    /// Of each head of the group, what a score loses per position of distance (ALiBi); null for none.
    pub slopes: *const f32,
    /// Of each head of the group, one more score; null for none.
    pub sinks: *const f32,
    /// Positions that every row sees, whatever its own (encoders); 0 for causal attention.
    pub seen: usize,
}

impl AttentionTile {
    /// The positions that row `row` sees.
    #[inline(always)]
    fn sight(&self, row: usize) -> Range<usize> {
        if self.seen > 0 {
            return 0..self.seen;
        }
        let end = self.first + row / self.group + 1;
        end.saturating_sub(self.window)..end
    }

    /// Positions that any row sees, or that come before them.
    #[inline(always)]
    fn end(&self) -> usize {
        self.sight(self.columns * self.group - 1).end
    }

    /// The block of keys that begins with `position`.
    ///
    /// # Safety
    /// The cache has the page.
    #[inline(always)]
    unsafe fn key_block(&self, position: usize) -> *const u8 {
        // SAFETY: the caller's promise, and the layout of a page (kernels::kv).
        unsafe { (*self.pages.add(position / PAGE)).add(self.keys + position % PAGE / KEY_BLOCK * self.key_block_bytes) }
    }
}

/// Floats of scratch that a tile of `rows` rows needs.
pub fn scratch_floats(rows: usize, key_dim: usize, value_stride: usize) -> usize {
    Room::floats(rows, key_dim, value_stride) + rows * (value_stride + 2)
}

/// Computes the tile.
///
/// # Safety
/// As for [`Lanes`]; the pointers of `tile` are valid for the shapes it states, the pages
/// hold keys and values of what the rows see, keys up to the end of its block of 16; `scratch` has [`scratch_floats`] floats for `columns · group` rows; nothing overlaps `out`.
#[inline(always)]
pub unsafe fn attend<V: Lanes, E: KvElement>(tile: &AttentionTile, scratch: *mut f32) {
    let rows = tile.columns * tile.group;
    // SAFETY: the layout of scratch_floats; row and column indices stay below rows and columns.
    unsafe {
        let room = Room::new(scratch, rows, tile.key_dim, tile.value_stride);
        let running = scratch.add(Room::floats(rows, tile.key_dim, tile.value_stride));
        let maxima = running.add(rows * tile.value_stride);
        let sums = maxima.add(rows);
        std::ptr::write_bytes(running, 0, rows * tile.value_stride);
        for row in 0..rows {
            *maxima.add(row) = f32::NEG_INFINITY;
            *sums.add(row) = 0.0;
        }
        let end = tile.end();
        let mut start = tile.sight(0).start / CHUNK * CHUNK;
        while start < end {
            for row in (0..rows).step_by(chunk::ROWS) {
                let count = (rows - row).min(chunk::ROWS);
                let reduced = chunk::reduce::<V, E>(tile, start, row..row + count, &room);
                for (r, chunk) in reduced.into_iter().enumerate().take(count) {
                    if let Some(chunk) = chunk {
                        let o = running.add((row + r) * tile.value_stride);
                        merge::<V>(maxima.add(row + r), sums.add(row + r), o, chunk, room.part(r), tile.value_stride);
                    }
                }
            }
            start += CHUNK;
        }
        for row in 0..rows {
            let out = tile.out.add(row / tile.group * tile.out_stride + row % tile.group * tile.value_dim);
            let o = running.add(row * tile.value_stride);
            let inverse = match tile.sinks.is_null() {
                true => V::splat(1.0 / *sums.add(row)),
                false => V::splat(with_sink::<V>(*maxima.add(row), *sums.add(row), *tile.sinks.add(row % tile.group))),
            };
            let mut d = 0;
            while d < tile.value_dim {
                let n = (tile.value_dim - d).min(LANES);
                let v = V::load(o.add(d)).mul(inverse);
                if n == LANES {
                    v.store(out.add(d))
                } else {
                    v.store_first(out.add(d), n)
                }
                d += LANES;
            }
        }
    }
}

/// What a row's vector is multiplied by where its softmax has one more score, `sink`: 1/(l + e^(sink − m)), with both parts taken relative
/// to the larger of m and sink.
#[inline(always)]
unsafe fn with_sink<V: Lanes>(m: f32, l: f32, sink: f32) -> f32 {
    let top = if m > sink { m } else { sink };
    let mut exponents = [0.0f32; LANES];
    (exponents[0], exponents[1]) = (m - top, sink - top);
    // SAFETY: the array has 16 elements.
    unsafe { V::load(exponents.as_ptr()).exp().store(exponents.as_mut_ptr()) };
    exponents[0] / fma(l, exponents[0], exponents[1])
}

/// Merges a chunk (its m and l, and its o in `part`) into the running maximum, sum and vector.
#[inline(always)]
unsafe fn merge<V: Lanes>(m: *mut f32, l: *mut f32, o: *mut f32, (m_chunk, l_chunk): (f32, f32), part: *const f32, n: usize) {
    // SAFETY: the caller's ranges; n is a multiple of 16.
    unsafe {
        let top = if m_chunk > *m { m_chunk } else { *m };
        let mut factors = [0.0f32; LANES];
        let mut exponents = [0.0f32; LANES];
        exponents[0] = *m - top;
        exponents[1] = m_chunk - top;
        V::load(exponents.as_ptr()).exp().store(factors.as_mut_ptr());
        let (old, new) = (factors[0], factors[1]);
        *m = top;
        *l = fma(*l, old, l_chunk * new);
        let mut d = 0;
        while d < n {
            let merged = V::load(o.add(d)).fma(V::splat(old), V::load(part.add(d)).mul(V::splat(new)));
            merged.store(o.add(d));
            d += LANES;
        }
    }
}
