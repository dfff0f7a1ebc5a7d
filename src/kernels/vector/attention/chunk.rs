//! One chunk of positions, reduced for some rows: scores, their softmax, and the sum of values that it weighs.
//!
//! Rows go in groups that share each register of keys and values. Where there are several groups, keys and values are decoded to f32 once for all
//! of them, a few at a time, so that they stay in the first-level cache. Where there is one group, the same places of the next chunk are asked for
//! beside those of the present one: a page has 4 KiB of keys and of values of a head, which is as far as a processor looks ahead by itself
//! (Zen 4, TinyLlama's shape with Q4_K_M, old and new in turn: behind 3000 tokens 1.07 times as many tokens a second, behind 4000 1.28).

use std::ops::Range;

use crate::kernels::kv::{KEY_BLOCK, PAGE};

use super::super::elementwise::soft_cap;
use super::super::lanes::{LANES, Lanes};
use super::element::{F32, KvElement};
use super::{AttentionTile, CHUNK};

/// Most rows that are reduced together.
pub(super) const ROWS: usize = 32;
/// Blocks of keys that are decoded together.
const BLOCKS: usize = 2;
/// Registers of 16 elements of all values of the chunk that are decoded together.
const VECTORS: usize = 2;

/// Scratch for a chunk.
pub(super) struct Room {
    /// Rows of `CHUNK` scores.
    scores: *mut f32,
    /// Rows of `value_stride` sums.
    part: *mut f32,
    /// `[BLOCKS][key_dim][16]`
    keys: *mut f32,
    /// `[CHUNK][VECTORS][16]`
    values: *mut f32,
    value_stride: usize,
}

impl Room {
    /// Floats that it takes.
    pub fn floats(rows: usize, key_dim: usize, value_stride: usize) -> usize {
        rows.min(ROWS) * (CHUNK + value_stride) + BLOCKS * key_dim * KEY_BLOCK + CHUNK * VECTORS * LANES
    }

    /// # Safety
    /// `scratch` has [`Self::floats`].
    pub unsafe fn new(scratch: *mut f32, rows: usize, key_dim: usize, value_stride: usize) -> Self {
        // SAFETY: the parts follow one another, as they are counted above.
        unsafe {
            let part = scratch.add(rows.min(ROWS) * CHUNK);
            let keys = part.add(rows.min(ROWS) * value_stride);
            Self { scores: scratch, part, keys, values: keys.add(BLOCKS * key_dim * KEY_BLOCK), value_stride }
        }
    }

    /// o of row `r`.
    ///
    /// # Safety
    /// It exists.
    pub unsafe fn part(&self, r: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.part.add(r * self.value_stride) }
    }

    unsafe fn scores(&self, r: usize) -> *mut f32 {
        // SAFETY: as above.
        unsafe { self.scores.add(r * CHUNK) }
    }
}

/// Where values lie: in pages.
#[derive(Clone, Copy)]
struct Values {
    pages: *const *mut u8,
    /// Of the first value in a page.
    offset: usize,
    /// From one value to the next.
    bytes: usize,
    /// From one register of a value to the next, about.
    vector_bytes: usize,
    /// Positions that there are to be asked for.
    end: usize,
}

impl Values {
    /// Those of the cache.
    fn cached(tile: &AttentionTile) -> Self {
        let vector_bytes = tile.value_bytes * LANES / tile.value_stride;
        Self { pages: tile.pages, offset: tile.values, bytes: tile.value_bytes, vector_bytes, end: tile.end() }
    }

    /// # Safety
    /// The page exists.
    #[inline(always)]
    unsafe fn at(&self, position: usize) -> *const u8 {
        // SAFETY: the caller's promise, and the layout of a page (kernels::kv).
        unsafe { (*self.pages.add(position / PAGE)).add(self.offset + position % PAGE * self.bytes) }
    }
}

/// Positions of the chunk that each row sees; both ends ascend with the row.
type Sights = [(usize, usize)];

/// Evaluates `$call` with `$R` the rows of a group, as many as `$count` says, and `$W` what stands beside that number in the first list where there are
/// 32 registers, else in the second: how many blocks of keys or registers of a value are computed at once, so that chains of sums hide each
/// other's latency.
macro_rules! with_rows {
    ($V:ident, $count:expr, $R:ident, $W:ident, [$($r:literal: $w:literal),*], [$($few:literal: $narrow:literal),*], $call:expr) => {
        match (<$V>::REGISTERS >= 32, $count) {
            $((true, $r) => {
                const $R: usize = $r;
                const $W: usize = $w;
                $call
            })*
            $((false, $few) => {
                const $R: usize = $few;
                const $W: usize = $narrow;
                $call
            })*
            _ => unreachable!("groups have no other numbers of rows"),
        }
    };
}

/// Rows of the group that begins with row `r` of `rows`.
#[inline(always)]
fn group<V: Lanes>(r: usize, rows: usize) -> usize {
    if V::REGISTERS >= 32 && rows - r >= 8 { 8 } else { (rows - r).min(4) }
}

/// Evaluates `$call` for all groups of `$rows` rows: `$r` is the first of a group, `$group` how many they are. (Not a function with a closure, which
/// the compiler would not let have the instructions of the function around it.)
macro_rules! for_groups {
    ($V:ident, $r:ident..$rows:expr, $group:ident, $call:expr) => {
        let rows = $rows;
        let mut $r = 0;
        while $r < rows {
            let $group = group::<$V>($r, rows);
            $call;
            $r += $group;
        }
    };
}

/// Reduces the chunk that begins with position `start` for some rows of the tile: m and l of those that see some of it, and their o in `room`.
///
/// # Safety
/// As [`super::attend`]; at most [`ROWS`] rows.
#[inline(always)]
pub(super) unsafe fn reduce<V: Lanes, E: KvElement>(
    tile: &AttentionTile,
    start: usize,
    rows: Range<usize>,
    room: &Room,
) -> [Option<(f32, f32)>; ROWS] {
    let (first, count) = (rows.start, rows.len());
    let mut reduced = [None; ROWS];
    let mut sights = [(0, 0); ROWS];
    for (r, sight) in sights.iter_mut().enumerate().take(count) {
        let seen = tile.sight(first + r);
        *sight = (seen.start.saturating_sub(start).min(CHUNK), seen.end.saturating_sub(start).min(CHUNK));
    }
    let sights = &sights[..count];
    if sights.iter().all(|(from, to)| from >= to) {
        return reduced;
    }
    // SAFETY: passed on; there is room for the rows.
    unsafe {
        let together = E::CODED && group::<V>(0, count) < count;
        if together {
            decoded_scores::<V, E>(tile, start, first, sights, room);
        } else {
            let end = tile.end();
            let keys = |block: usize| {
                let here = start + block * KEY_BLOCK;
                let later = if here + CHUNK < end { here + CHUNK } else { here };
                [tile.key_block(here), tile.key_block(later)]
            };
            for_groups!(V, r..count, group, score::<V, E>(tile, first + r, group, blocks(&sights[r..r + group]), keys, room.scores(r)));
        }
        for (r, &(from, to)) in sights.iter().enumerate() {
            if from < to {
                reduced[r] = Some(softmax::<V>(tile, start, first + r, from..to, room.scores(r)));
            }
        }
        if together {
            decoded_weigh::<V, E>(tile, start, sights, room);
        } else {
            let values = Values::cached(tile);
            for_groups!(V, r..count, group, {
                let (scores, part) = (room.scores(r), room.part(r));
                weigh::<V, E>(values, start, &sights[r..r + group], scores, part, tile.value_stride, tile.value_stride / LANES);
            });
        }
    }
    reduced
}

/// The blocks of keys that a group of rows looks at.
fn blocks(sights: &Sights) -> Range<usize> {
    sights[0].0 / KEY_BLOCK..sights[sights.len() - 1].1.div_ceil(KEY_BLOCK)
}

/// As [`score`] for all rows, with keys decoded once.
#[inline(always)]
unsafe fn decoded_scores<V: Lanes, E: KvElement>(tile: &AttentionTile, start: usize, first: usize, sights: &Sights, room: &Room) {
    let all = blocks(sights);
    let floats = tile.key_dim * KEY_BLOCK;
    for block in all.clone().step_by(BLOCKS) {
        let end = all.end.min(block + BLOCKS);
        // SAFETY: the blocks exist, and there is room for them.
        unsafe {
            for b in block..end {
                let (keys, to) = (tile.key_block(start + b * KEY_BLOCK), room.keys.add((b - block) * floats));
                for d in 0..tile.key_dim {
                    E::key::<V>(keys, d).store(to.add(d * KEY_BLOCK));
                }
            }
            let keys = |b: usize| [room.keys.add((b - block) * floats).cast_const().cast(); 2];
            for_groups!(V, r..sights.len(), group, {
                let seen = blocks(&sights[r..r + group]);
                let seen = seen.start.max(block)..seen.end.min(end);
                score::<V, F32>(tile, first + r, group, seen, keys, room.scores(r));
            });
        }
    }
}

/// `scores[r][j] = scale · Σ_d q[row + r][d] · K[j][d]` for a group of rows and the positions of some blocks of the chunk; `keys` tells where a block is,
/// and one to ask for.
#[inline(always)]
unsafe fn score<V: Lanes, E: KvElement>(
    tile: &AttentionTile,
    row: usize,
    rows: usize,
    blocks: Range<usize>,
    keys: impl Fn(usize) -> [*const u8; 2],
    scores: *mut f32,
) {
    // SAFETY: rows are below columns · group.
    with_rows!(V, rows, R, B, [8: 2, 4: 2, 3: 2, 2: 4, 1: 8], [4: 1, 3: 1, 2: 2, 1: 4], unsafe {
        let mut q = [std::ptr::null::<f32>(); R];
        for (r, q) in q.iter_mut().enumerate() {
            *q = tile.q.add((row + r) / tile.group * tile.q_stride + (row + r) % tile.group * tile.key_dim);
        }
        let mut block = blocks.start;
        while block + B <= blocks.end {
            score_blocks::<V, E, R, B>(&q, std::array::from_fn(|b| keys(block + b)), tile, scores.add(block * KEY_BLOCK));
            block += B;
        }
        while block < blocks.end {
            score_blocks::<V, E, R, 1>(&q, [keys(block)], tile, scores.add(block * KEY_BLOCK));
            block += 1;
        }
    });
}

/// Scores of R rows and B blocks.
#[inline(always)]
unsafe fn score_blocks<V: Lanes, E: KvElement, const R: usize, const B: usize>(
    q: &[*const f32; R],
    keys: [[*const u8; 2]; B],
    tile: &AttentionTile,
    scores: *mut f32,
) {
    // SAFETY: the caller's ranges.
    unsafe {
        let mut acc = [[V::splat(0.0); B]; R];
        let dimension_bytes = tile.key_block_bytes / tile.key_dim;
        for d in 0..tile.key_dim {
            let mut k = [V::splat(0.0); B];
            for (b, k) in k.iter_mut().enumerate() {
                let [here, later] = keys[b];
                *k = E::key::<V>(here, d);
                if E::CODED {
                    V::ask(later.wrapping_add(d * dimension_bytes));
                }
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

/// Makes e^(s − m) of the scores that a row sees, and zero of those beside them in their blocks; m and l = Σ e^(s − m).
#[inline(always)]
unsafe fn softmax<V: Lanes>(tile: &AttentionTile, start: usize, row: usize, seen: Range<usize>, s: *mut f32) -> (f32, f32) {
    let (first, end) = (seen.start / LANES * LANES, seen.end.next_multiple_of(LANES));
    // SAFETY: the blocks of the row's scores are there.
    unsafe {
        if tile.soft_cap > 0.0 {
            soft_cap::<V>(s.add(first), tile.soft_cap, end - first);
        }
        if !tile.slopes.is_null() {
            let slope = *tile.slopes.add(row % tile.group);
            let own = tile.first + row / tile.group;
            for block in (first..end).step_by(LANES) {
                // Exact: positions are far below 2²⁴.
                let distances: [f32; LANES] = std::array::from_fn(|j| own.abs_diff(start + block + j) as f32);
                V::splat(-slope).fma(V::load(distances.as_ptr()), V::load(s.add(block))).store(s.add(block));
            }
        }
        for j in (first..seen.start).chain(seen.end..end) {
            *s.add(j) = f32::NEG_INFINITY;
        }
        let mut top = V::load(s.add(first));
        for block in (first + LANES..end).step_by(LANES) {
            top = V::load(s.add(block)).max(top);
        }
        let m = top.max_lane();
        let mut sum = V::splat(0.0);
        for block in (first..end).step_by(LANES) {
            let p = V::load(s.add(block)).sub(V::splat(m)).exp();
            p.store(s.add(block));
            sum = sum.add(p);
        }
        (m, sum.sum())
    }
}

/// As [`weigh`] for all rows, with values decoded once.
#[inline(always)]
unsafe fn decoded_weigh<V: Lanes, E: KvElement>(tile: &AttentionTile, start: usize, sights: &Sights, room: &Room) {
    const BYTES: usize = VECTORS * LANES * size_of::<f32>();
    let cached = Values::cached(tile);
    let pages: [*mut u8; CHUNK / PAGE] = std::array::from_fn(|page| room.values.cast::<u8>().wrapping_add(page * PAGE * BYTES));
    // Pages are counted from position 0.
    let decoded = Values { pages: pages.as_ptr().wrapping_sub(start / PAGE), offset: 0, bytes: BYTES, vector_bytes: 0, end: 0 };
    let vectors = tile.value_stride / LANES;
    for d in (0..vectors).step_by(VECTORS) {
        let count = (vectors - d).min(VECTORS);
        // SAFETY: the cache has the positions, and there is room for the chunk.
        unsafe {
            for j in sights[0].0..sights[sights.len() - 1].1 {
                let (value, to) = (cached.at(start + j), room.values.add(j * VECTORS * LANES));
                for n in 0..count {
                    E::value::<V>(value, (d + n) * LANES).store(to.add(n * LANES));
                }
            }
            for_groups!(V, r..sights.len(), group, {
                let part = room.part(r).add(d * LANES);
                weigh::<V, F32>(decoded, start, &sights[r..r + group], room.scores(r), part, tile.value_stride, count);
            });
        }
    }
}

/// `part[r][..] = Σ_j p[r][j] · V[j]` for a group of rows and the first `vectors` registers of the values.
#[inline(always)]
unsafe fn weigh<V: Lanes, E: KvElement>(
    values: Values,
    start: usize,
    sights: &Sights,
    scores: *const f32,
    part: *mut f32,
    value_stride: usize,
    vectors: usize,
) {
    // SAFETY: passed on.
    with_rows!(V, sights.len(), R, N, [8: 2, 4: 4, 3: 4, 2: 4, 1: 4], [4: 1, 3: 1, 2: 2, 1: 4], unsafe {
        let mut d = 0;
        while d + N <= vectors {
            weigh_vectors::<V, E, R, N>(values, start, sights, scores, part.add(d * LANES), value_stride, d);
            d += N;
        }
        while N > 2 && d + 2 <= vectors {
            weigh_vectors::<V, E, R, 2>(values, start, sights, scores, part.add(d * LANES), value_stride, d);
            d += 2;
        }
        while d < vectors {
            weigh_vectors::<V, E, R, 1>(values, start, sights, scores, part.add(d * LANES), value_stride, d);
            d += 1;
        }
    });
}

/// `part[r][..]` of N registers from register `d` of the values on, j ascending over what each row sees.
#[inline(always)]
unsafe fn weigh_vectors<V: Lanes, E: KvElement, const R: usize, const N: usize>(
    values: Values,
    start: usize,
    sights: &Sights,
    scores: *const f32,
    part: *mut f32,
    value_stride: usize,
    d: usize,
) {
    // SAFETY: the caller's ranges; both ends of them ascend with the row.
    unsafe {
        let mut acc = [[V::splat(0.0); N]; R];
        // What all rows see is read once for them; what lies before and behind it, by each that sees it.
        let common = sights[R - 1].0..sights[0].1.max(sights[R - 1].0);
        for r in 0..R {
            let before = sights[r].0..sights[r].1.min(common.start);
            weigh_apart::<V, E, N>(values, start, before, scores.add(r * CHUNK), d, &mut acc[r]);
        }
        let mut from = common.start;
        while from < common.end {
            let to = (from / PAGE * PAGE + PAGE).min(common.end);
            let value = values.at(start + from);
            let later = start + from + CHUNK;
            let later = if later < values.end { values.at(later) } else { value }.wrapping_add(d * values.vector_bytes);
            for j in from..to {
                if E::CODED {
                    V::ask(later.wrapping_add((j - from) * values.bytes));
                }
                let mut v = [V::splat(0.0); N];
                for (n, v) in v.iter_mut().enumerate() {
                    *v = E::value::<V>(value.add((j - from) * values.bytes), (d + n) * LANES);
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
            weigh_apart::<V, E, N>(values, start, common.end..sights[r].1, scores.add(r * CHUNK), d, &mut acc[r]);
            for n in 0..N {
                acc[r][n].store(part.add(r * value_stride + n * LANES));
            }
        }
    }
}

/// `acc += Σ_j p[j] · V[j]` of one row for N registers from register `d` of the values on, j ascending over `seen`.
#[inline(always)]
unsafe fn weigh_apart<V: Lanes, E: KvElement, const N: usize>(
    values: Values,
    start: usize,
    seen: Range<usize>,
    scores: *const f32,
    d: usize,
    acc: &mut [V; N],
) {
    for j in seen {
        // SAFETY: the caller's ranges.
        unsafe {
            let (value, p) = (values.at(start + j), V::splat(*scores.add(j)));
            for n in 0..N {
                acc[n] = p.fma(E::value::<V>(value, (d + n) * LANES), acc[n]);
            }
        }
    }
}
