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

use std::ops::Range;

use crate::base::fma::fma;
use crate::kernels::kv::{KEY_BLOCK, PAGE, Q8_KEY_BYTES, Q8_LEN, Q8_VALUE_BYTES};

use super::elementwise::soft_cap;
use super::lanes::{LANES, Lanes};

/// Positions that are reduced together: whole pages.
pub const CHUNK: usize = 256;
const _: () = assert!(CHUNK.is_multiple_of(PAGE) && PAGE.is_multiple_of(KEY_BLOCK));

/// Most rows that the kernel handles at once.
const ROWS: usize = 8;

/// How elements of the cache become f32 lanes.
pub trait KvElement {
    /// The keys of 16 positions in dimension `d` of a block.
    ///
    /// # Safety
    /// As for [`Lanes::load`]; `block` is a whole block of keys and `d` below their dimension.
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V;

    /// 16 elements of a value from element `d` on, a multiple of 16.
    ///
    /// # Safety
    /// As for [`Lanes::load`]; `value` is a whole padded value and `d + 16` within it.
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V;
}

/// IEEE half precision.
pub struct F16;
/// bfloat16.
pub struct Bf16;
/// IEEE single precision.
pub struct F32;
/// 8-bit integers with a scale per 32 elements.
pub struct Q8;

impl KvElement for F16 {
    #[inline(always)]
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load_f16(block.cast::<u16>().add(d * KEY_BLOCK)) }
    }
    #[inline(always)]
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load_f16(value.cast::<u16>().add(d)) }
    }
}
impl KvElement for Bf16 {
    #[inline(always)]
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load_bf16(block.cast::<u16>().add(d * KEY_BLOCK)) }
    }
    #[inline(always)]
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load_bf16(value.cast::<u16>().add(d)) }
    }
}
impl KvElement for F32 {
    #[inline(always)]
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load(block.cast::<f32>().add(d * KEY_BLOCK)) }
    }
    #[inline(always)]
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V {
        // SAFETY: passed on.
        unsafe { V::load(value.cast::<f32>().add(d)) }
    }
}
impl KvElement for Q8 {
    #[inline(always)]
    unsafe fn key<V: Lanes>(block: *const u8, d: usize) -> V {
        // SAFETY: the layout that kernels::kv describes.
        unsafe {
            let group = block.add(d / Q8_LEN * Q8_KEY_BYTES);
            let integers = group.add(KEY_BLOCK * size_of::<f32>() + d % Q8_LEN * KEY_BLOCK);
            V::load_i8(integers.cast()).mul(V::load(group.cast()))
        }
    }
    #[inline(always)]
    unsafe fn value<V: Lanes>(value: *const u8, d: usize) -> V {
        // SAFETY: as above.
        unsafe {
            let group = value.add(d / Q8_LEN * Q8_VALUE_BYTES);
            let scale = group.cast::<f32>().read_unaligned();
            V::load_i8(group.add(size_of::<f32>() + d % Q8_LEN).cast()).mul(V::splat(scale))
        }
    }
}

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

    /// The block of keys that begins with `position`.
    ///
    /// # Safety
    /// The cache has the page.
    #[inline(always)]
    unsafe fn key_block(&self, position: usize) -> *const u8 {
        // SAFETY: the caller's promise, and the layout of a page (kernels::kv).
        unsafe { (*self.pages.add(position / PAGE)).add(self.keys + position % PAGE / KEY_BLOCK * self.key_block_bytes) }
    }

    /// The value of `position`.
    ///
    /// # Safety
    /// The cache has the page.
    #[inline(always)]
    unsafe fn value(&self, position: usize) -> *const u8 {
        // SAFETY: as above.
        unsafe { (*self.pages.add(position / PAGE)).add(self.values + position % PAGE * self.value_bytes) }
    }
}

/// Floats of scratch that a tile of `rows` rows needs.
pub fn scratch_floats(rows: usize, value_stride: usize) -> usize {
    let rows = rows.next_multiple_of(ROWS);
    // scores of one chunk for ROWS rows, one chunk's o for ROWS rows, running o, m and l for all rows
    ROWS * CHUNK + ROWS * value_stride + rows * value_stride + 2 * rows
}

/// Computes the tile.
///
/// # Safety
/// As for [`Lanes`]; the pointers of `tile` are valid for the shapes it states, the pages
/// hold keys and values of what the rows see, keys up to the end of its block of 16; `scratch` has [`scratch_floats`] floats for `columns · group` rows; nothing overlaps `out`.
#[inline(always)]
pub unsafe fn attend<V: Lanes, E: KvElement>(tile: &AttentionTile, scratch: *mut f32) {
    let rows = tile.columns * tile.group;
    let padded = rows.next_multiple_of(ROWS);
    // SAFETY: the layout of scratch_floats; row and column indices stay below rows and columns.
    unsafe {
        let scores = scratch;
        let part = scores.add(ROWS * CHUNK);
        let running = part.add(ROWS * tile.value_stride);
        let maxima = running.add(padded * tile.value_stride);
        let sums = maxima.add(padded);
        std::ptr::write_bytes(running, 0, padded * tile.value_stride);
        for row in 0..rows {
            *maxima.add(row) = f32::NEG_INFINITY;
            *sums.add(row) = 0.0;
        }
        let end = tile.sight(rows - 1).end;
        let mut start = tile.sight(0).start / CHUNK * CHUNK;
        while start < end {
            let mut row = 0;
            while row < rows {
                // Each load of keys or values, with its conversion, serves that many rows.
                let count = if V::REGISTERS >= 32 && rows - row >= ROWS { ROWS } else { (rows - row).min(4) };
                // Positions of this chunk that each row sees; both ends ascend with the row.
                let mut sights = [(0usize, 0usize); ROWS];
                for (r, sight) in sights.iter_mut().enumerate().take(count) {
                    let seen = tile.sight(row + r);
                    *sight = (seen.start.saturating_sub(start).min(CHUNK), seen.end.saturating_sub(start).min(CHUNK));
                }
                if sights[..count].iter().any(|(from, to)| from < to) {
                    match (count, V::REGISTERS < 32) {
                        (ROWS, false) => rows_of_chunk::<V, E, ROWS, 2>(tile, start, row, &sights, scores, part),
                        (4, false) => rows_of_chunk::<V, E, 4, 2>(tile, start, row, &sights, scores, part),
                        (3, false) => rows_of_chunk::<V, E, 3, 2>(tile, start, row, &sights, scores, part),
                        (2, false) => rows_of_chunk::<V, E, 2, 4>(tile, start, row, &sights, scores, part),
                        (_, false) => rows_of_chunk::<V, E, 1, 8>(tile, start, row, &sights, scores, part),
                        (4, true) => rows_of_chunk::<V, E, 4, 1>(tile, start, row, &sights, scores, part),
                        (3, true) => rows_of_chunk::<V, E, 3, 1>(tile, start, row, &sights, scores, part),
                        (2, true) => rows_of_chunk::<V, E, 2, 2>(tile, start, row, &sights, scores, part),
                        (_, true) => rows_of_chunk::<V, E, 1, 4>(tile, start, row, &sights, scores, part),
                    }
                    for (r, &(from, to)) in sights.iter().enumerate().take(count) {
                        if from < to {
                            let (m, l) = (maxima.add(row + r), sums.add(row + r));
                            let o = running.add((row + r) * tile.value_stride);
                            merge::<V>(m, l, o, scores.add(r * CHUNK), part.add(r * tile.value_stride), tile.value_stride);
                        }
                    }
                }
                row += count;
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

/// One chunk of R rows, first row `row`: leaves e^(s−m) in `scores[r][..]` with m and l in its first two elements, and o in `part[r]`.
/// Works on B blocks of 16 positions at once so that the chains hide each other's latency.
#[inline(always)]
unsafe fn rows_of_chunk<V: Lanes, E: KvElement, const R: usize, const B: usize>(
    tile: &AttentionTile,
    start: usize,
    row: usize,
    sights: &[(usize, usize); ROWS],
    scores: *mut f32,
    part: *mut f32,
) {
    let mut q = [std::ptr::null::<f32>(); R];
    // SAFETY: rows are below columns · group; blocks below the limit rounded up to 16; score indices below CHUNK.
    unsafe {
        for (r, q) in q.iter_mut().enumerate() {
            *q = tile.q.add((row + r) / tile.group * tile.q_stride + (row + r) % tile.group * tile.key_dim);
        }
        let (first, blocks) = (sights[0].0 / KEY_BLOCK, sights[R - 1].1.div_ceil(KEY_BLOCK));
        let mut block = first;
        while block + B <= blocks {
            score_blocks::<V, E, R, B>(&q, start + block * KEY_BLOCK, tile, scores.add(block * KEY_BLOCK));
            block += B;
        }
        while block < blocks {
            score_blocks::<V, E, R, 1>(&q, start + block * KEY_BLOCK, tile, scores.add(block * KEY_BLOCK));
            block += 1;
        }
        let mut totals = [(0.0f32, 0.0f32); R];
        for r in 0..R {
            let (from, to) = sights[r];
            if from >= to {
                continue;
            }
            let s = scores.add(r * CHUNK);
            if tile.soft_cap > 0.0 {
                soft_cap::<V>(s.add(first * LANES), tile.soft_cap, (blocks - first) * LANES);
            }
            if !tile.slopes.is_null() {
                let slope = *tile.slopes.add((row + r) % tile.group);
                let own = tile.first + (row + r) / tile.group;
                for block in (first * LANES..blocks * LANES).step_by(LANES) {
                    // Exact: positions are far below 2²⁴.
                    let distances: [f32; LANES] = std::array::from_fn(|j| own.abs_diff(start + block + j) as f32);
                    V::splat(-slope).fma(V::load(distances.as_ptr()), V::load(s.add(block))).store(s.add(block));
                }
            }
            for j in (first * KEY_BLOCK..from).chain(to..blocks * KEY_BLOCK) {
                *s.add(j) = f32::NEG_INFINITY;
            }
            let mut top = V::load(s.add(first * LANES));
            for b in first + 1..blocks {
                top = V::load(s.add(b * LANES)).max(top);
            }
            let m = top.max_lane();
            let mut sum = V::splat(0.0);
            for b in first..blocks {
                let p = V::load(s.add(b * LANES)).sub(V::splat(m)).exp();
                p.store(s.add(b * LANES));
                sum = sum.add(p);
            }
            totals[r] = (m, sum.sum());
        }
        let mut d = 0;
        let vectors = tile.value_stride / LANES;
        // Sums that are kept at once, R of each.
        let together = if V::REGISTERS < 32 { 4 / R } else { 16 / R };
        while together >= 4 && d + 4 <= vectors {
            weigh::<V, E, R, 4>(tile, start, sights, scores, part, d);
            d += 4;
        }
        while together >= 2 && d + 2 <= vectors {
            weigh::<V, E, R, 2>(tile, start, sights, scores, part, d);
            d += 2;
        }
        while d < vectors {
            weigh::<V, E, R, 1>(tile, start, sights, scores, part, d);
            d += 1;
        }
        for (r, (m, l)) in totals.into_iter().enumerate() {
            *scores.add(r * CHUNK) = m;
            *scores.add(r * CHUNK + 1) = l;
        }
    }
}

/// `scores[r][16·b ..] = scale · Σ_d q[r][d] · K[b][d]` for B blocks from `position` on.
#[inline(always)]
unsafe fn score_blocks<V: Lanes, E: KvElement, const R: usize, const B: usize>(
    q: &[*const f32; R],
    position: usize,
    tile: &AttentionTile,
    scores: *mut f32,
) {
    // SAFETY: the caller's ranges.
    unsafe {
        let mut keys = [std::ptr::null::<u8>(); B];
        for (b, keys) in keys.iter_mut().enumerate() {
            *keys = tile.key_block(position + b * KEY_BLOCK);
        }
        let mut acc = [[V::splat(0.0); B]; R];
        for d in 0..tile.key_dim {
            let mut k = [V::splat(0.0); B];
            for (b, k) in k.iter_mut().enumerate() {
                *k = E::key::<V>(keys[b], d);
            }
            for r in 0..R {
                let x = V::splat(*q[r].add(d));
                for b in 0..B {
                    acc[r][b] = x.fma(k[b], acc[r][b]);
                }
            }
        }
        for (r, row) in acc.into_iter().enumerate() {
            for (b, s) in row.into_iter().enumerate() {
                s.mul(V::splat(tile.scale)).store(scores.add(r * CHUNK + b * KEY_BLOCK));
            }
        }
    }
}

/// `part[r][16·d ..] = Σ_j p[r][j] · V[j]` for N vectors of 16 value elements, j ascending over what each row sees.
#[inline(always)]
unsafe fn weigh<V: Lanes, E: KvElement, const R: usize, const N: usize>(
    tile: &AttentionTile,
    start: usize,
    sights: &[(usize, usize); ROWS],
    scores: *const f32,
    part: *mut f32,
    d: usize,
) {
    // SAFETY: the caller's ranges; both ends of them ascend with the row.
    unsafe {
        let mut acc = [[V::splat(0.0); N]; R];
        // What all rows see is read once for them; what lies before and behind it, by each that sees it.
        let common = sights[R - 1].0..sights[0].1.max(sights[R - 1].0);
        for r in 0..R {
            for j in sights[r].0..sights[r].1.min(common.start) {
                weigh_one::<V, E, N>(tile, start + j, *scores.add(r * CHUNK + j), d, &mut acc[r]);
            }
        }
        let mut from = common.start;
        while from < common.end {
            let to = (from / PAGE * PAGE + PAGE).min(common.end);
            let values = tile.value(start + from);
            for j in from..to {
                let mut v = [V::splat(0.0); N];
                for (n, v) in v.iter_mut().enumerate() {
                    *v = E::value::<V>(values.add((j - from) * tile.value_bytes), (d + n) * LANES);
                }
                for r in 0..R {
                    let p = V::splat(*scores.add(r * CHUNK + j));
                    for n in 0..N {
                        acc[r][n] = p.fma(v[n], acc[r][n]);
                    }
                }
            }
            from = to;
        }
        for r in 0..R {
            for j in common.end..sights[r].1 {
                weigh_one::<V, E, N>(tile, start + j, *scores.add(r * CHUNK + j), d, &mut acc[r]);
            }
            for n in 0..N {
                acc[r][n].store(part.add(r * tile.value_stride + (d + n) * LANES));
            }
        }
    }
}

/// `acc += p · V[position]` for N vectors from element 16·d on.
#[inline(always)]
unsafe fn weigh_one<V: Lanes, E: KvElement, const N: usize>(tile: &AttentionTile, position: usize, p: f32, d: usize, acc: &mut [V; N]) {
    // SAFETY: the caller's ranges.
    unsafe {
        let value = tile.value(position);
        for n in 0..N {
            let v = E::value::<V>(value, (d + n) * LANES);
            acc[n] = V::splat(p).fma(v, acc[n]);
        }
    }
}

/// Merges a chunk (m and l at the start of `chunk`, o in `part`) into the running maximum, sum and vector.
#[inline(always)]
unsafe fn merge<V: Lanes>(m: *mut f32, l: *mut f32, o: *mut f32, chunk: *const f32, part: *const f32, n: usize) {
    // SAFETY: the caller's ranges; n is a multiple of 16.
    unsafe {
        let (m_chunk, l_chunk) = (*chunk, *chunk.add(1));
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
