//! Searches for the scales of blocks: weighted least squares over a few candidates, refined by turns of rounding and refitting.
//!
//! Sub-blocks are searched side by side, one in each lane of an array: `x[i][l]` is element i of sub-block l. For given levels q, the scale
//! that minimises Σ w·(x − d·q)² is Σwxq / Σwq², and it takes (Σwxq)² / Σwq² off the error of d = 0; so a candidate is judged by two sums.

use half::f16;

use super::TILE;

/// Element i of L sub-blocks of N elements.
pub(super) type Lanes<const N: usize, const L: usize> = [[f32; L]; N];

/// Added to and taken from a float below 2²² in magnitude, it leaves the nearest integer, the even one of two.
const ROUND: f32 = 12_582_912.0;

/// The nearest integer of a small number.
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    (value + ROUND) - ROUND
}

/// Two's complement of a small integer, its lowest byte.
#[inline(always)]
pub(super) fn low_byte(integer: f32) -> u8 {
    (integer + ROUND).to_bits() as u8
}

#[inline(always)]
pub(super) fn clamp(value: f32, least: f32, most: f32) -> f32 {
    let value = if value > least { value } else { least };
    if value < most { value } else { most }
}

/// 1 / value, 0 where that would be no use.
#[inline(always)]
pub(super) fn reciprocal(value: f32) -> f32 {
    if value.abs() > 1e-30 { 1.0 / value } else { 0.0 }
}

/// The nearest finite f16, and its value.
#[inline(always)]
pub(super) fn as_f16(value: f32) -> (f16, f32) {
    let half = f16::from_f32(clamp(value, -65504.0, 65504.0));
    (half, half.to_f32())
}

/// The elements of sub-blocks that lie one after the other.
#[inline(always)]
pub(super) fn lanes<const N: usize, const L: usize>(values: &[f32; TILE]) -> Lanes<N, L> {
    let mut lanes = [[0.0; L]; N];
    for l in 0..L {
        for i in 0..N {
            lanes[i][l] = values[l * N + i];
        }
    }
    lanes
}

/// The elements of sub-blocks, and what the square of each one's error counts. Outliers carry the products that a model hangs on, so that larger
/// elements count more.
#[inline(always)]
pub(super) fn weighted_lanes<const N: usize, const L: usize>(
    values: &[f32; TILE],
    importance: Option<&[f32; TILE]>,
) -> (Lanes<N, L>, Lanes<N, L>) {
    let x = lanes::<N, L>(values);
    let mut squares = [0.0f32; L];
    for x in &x {
        for l in 0..L {
            squares[l] += x[l] * x[l];
        }
    }
    let per_rms = reciprocal((squares.iter().sum::<f32>() / TILE as f32).sqrt());
    let mut w = [[0.0; L]; N];
    match importance {
        None => {
            for (w, x) in w.iter_mut().zip(&x) {
                for l in 0..L {
                    w[l] = 1.0 + x[l].abs() * per_rms;
                }
            }
        }
        Some(importance) => {
            let importance = lanes::<N, L>(importance);
            for ((w, x), importance) in w.iter_mut().zip(&x).zip(&importance) {
                for l in 0..L {
                    let relative = x[l] * per_rms;
                    w[l] = importance[l] * (1.0 + relative * relative).sqrt();
                }
            }
        }
    }
    (x, w)
}

/// The values that an element may take in units of its scale.
pub(super) trait Grid {
    /// What the largest element of a block may be mapped to, in the order in which it is tried.
    const TARGETS: &'static [f32];
    /// How often the best of them is refined.
    const REFITS: usize = 2;

    /// The nearest value of the grid.
    fn nearest(value: f32) -> f32;

    /// The bits that stand for a value of the grid.
    fn code(value: f32) -> u8;
}

/// The integers from LEAST to −LEAST − 1; bits count from LEAST. With TRIES targets: around the ends of the range, from a little inside, so that
/// rounding is finer, to a little outside, so that the largest element is cut.
pub(super) struct Integers<const LEAST: i32, const TRIES: usize>;

impl<const LEAST: i32, const TRIES: usize> Grid for Integers<LEAST, TRIES> {
    const TARGETS: &'static [f32] = &targets::<LEAST, TRIES>();
    const REFITS: usize = if TRIES > 4 { 2 } else { 1 };

    #[inline(always)]
    fn nearest(value: f32) -> f32 {
        round(clamp(value, LEAST as f32, (-LEAST - 1) as f32))
    }

    #[inline(always)]
    fn code(value: f32) -> u8 {
        low_byte(value - LEAST as f32)
    }
}

/// Two of three around the lower end, which reaches further, and one around the upper.
const fn targets<const LEAST: i32, const TRIES: usize>() -> [f32; TRIES] {
    let (mut targets, below) = ([0.0; TRIES], TRIES.div_ceil(3) * 2);
    let mut i = 0;
    while i < TRIES {
        targets[i] = if i < below {
            LEAST as f32 + 0.9 - 1.8 * (i as f32 + 0.5) / below as f32
        } else {
            (-LEAST - 1) as f32 - 0.6 + 1.2 * ((i - below) as f32 + 0.5) / (TRIES - below) as f32
        };
        i += 1;
    }
    targets
}

/// The element of the largest magnitude of each sub-block.
#[inline(always)]
fn peaks<const N: usize, const L: usize>(x: &Lanes<N, L>) -> [f32; L] {
    let mut peaks = [0.0f32; L];
    for row in x {
        for l in 0..L {
            peaks[l] = if row[l].abs() > peaks[l].abs() { row[l] } else { peaks[l] };
        }
    }
    peaks
}

/// Σwxq and Σwq² with q = the nearest to x·per_scale.
#[inline(always)]
fn sums<G: Grid, const N: usize, const L: usize>(x: &Lanes<N, L>, w: &Lanes<N, L>, per_scale: &[f32; L]) -> ([f32; L], [f32; L]) {
    let (mut xq, mut qq) = ([0.0; L], [0.0; L]);
    for (x, w) in x.iter().zip(w) {
        for l in 0..L {
            let q = G::nearest(x[l] * per_scale[l]);
            let wq = w[l] * q;
            xq[l] += wq * x[l];
            qq[l] += wq * q;
        }
    }
    (xq, qq)
}

/// Takes the scales that the levels nearest to x·per_scale ask for, where they gain more than the best so far.
#[inline(always)]
fn consider<G: Grid, const N: usize, const L: usize>(
    x: &Lanes<N, L>,
    w: &Lanes<N, L>,
    per_scale: &[f32; L],
    best: &mut [f32; L],
    scales: &mut [f32; L],
) {
    let (xq, qq) = sums::<G, N, L>(x, w, per_scale);
    for l in 0..L {
        let scale = xq[l] / if qq[l] > 0.0 { qq[l] } else { 1.0 };
        let gain = scale * xq[l];
        let better = gain > best[l];
        best[l] = if better { gain } else { best[l] };
        scales[l] = if better { scale } else { scales[l] };
    }
}

/// The scale of each sub-block: x ≈ scale · q.
#[inline(always)]
pub(super) fn fit_scale<G: Grid, const N: usize, const L: usize>(x: &Lanes<N, L>, w: &Lanes<N, L>) -> [f32; L] {
    let (mut best, mut scales) = ([0.0f32; L], [0.0f32; L]);
    let peaks = peaks(x);
    for &target in G::TARGETS {
        let mut per_scale = [0.0; L];
        for l in 0..L {
            per_scale[l] = target * reciprocal(peaks[l]);
        }
        consider::<G, N, L>(x, w, &per_scale, &mut best, &mut scales);
    }
    for _ in 0..G::REFITS {
        let mut per_scale = [0.0; L];
        for l in 0..L {
            per_scale[l] = reciprocal(scales[l]);
        }
        consider::<G, N, L>(x, w, &per_scale, &mut best, &mut scales);
    }
    scales
}

/// Σ w·(x − scale·q)² with the nearest q.
#[inline(always)]
fn errors<G: Grid, const N: usize, const L: usize>(x: &Lanes<N, L>, w: &Lanes<N, L>, scales: &[f32; L]) -> [f32; L] {
    let mut per_scale = [0.0; L];
    for l in 0..L {
        per_scale[l] = reciprocal(scales[l]);
    }
    let mut errors = [0.0; L];
    for (x, w) in x.iter().zip(w) {
        for l in 0..L {
            let off = x[l] - scales[l] * G::nearest(x[l] * per_scale[l]);
            errors[l] += w[l] * (off * off);
        }
    }
    errors
}

/// Integer scales of sub-blocks under one f16: x ≈ d · scale · q.
pub(super) struct Scales<const L: usize> {
    pub d: f16,
    pub scales: [f32; L],
}

/// The scales of sub-blocks, integers from `least` to `most`, under one d.
#[inline(always)]
pub(super) fn fit_scales<G: Grid, const N: usize, const L: usize>(
    x: &Lanes<N, L>,
    w: &Lanes<N, L>,
    (least, most): (f32, f32),
) -> Scales<L> {
    let wanted = fit_scale::<G, N, L>(x, w);
    let peak = wanted.iter().fold(0.0f32, |peak, scale| if scale.abs() > peak.abs() { *scale } else { peak });
    let (mut half, mut d) = as_f16(peak / least);
    let mut scales = [0.0; L];
    for l in 0..L {
        scales[l] = round(clamp(wanted[l] * reciprocal(d), least, most));
    }
    let mut best = Scales { d: half, scales };
    let mut best_error = f32::INFINITY;
    for first in [true, false] {
        // Of each sub-block, the best of the scale and its neighbours; then, for another d, how good these are.
        let mut lowest = [f32::INFINITY; L];
        let around = scales;
        for &step in if first { &[0.0, -1.0, 1.0][..] } else { &[0.0][..] } {
            let (mut candidates, mut products) = ([0.0; L], [0.0; L]);
            for l in 0..L {
                candidates[l] = clamp(around[l] + step, least, most);
                products[l] = d * candidates[l];
            }
            let errors = errors::<G, N, L>(x, w, &products);
            for l in 0..L {
                let better = errors[l] < lowest[l];
                lowest[l] = if better { errors[l] } else { lowest[l] };
                scales[l] = if better { candidates[l] } else { scales[l] };
            }
        }
        let error: f32 = lowest.iter().sum();
        if error < best_error {
            (best, best_error) = (Scales { d: half, scales }, error);
        }
        // d anew for these scales: Σ w·x·(scale·q) / Σ w·(scale·q)².
        let mut per_scale = [0.0; L];
        for l in 0..L {
            per_scale[l] = reciprocal(d * scales[l]);
        }
        let (xq, qq) = sums::<G, N, L>(x, w, &per_scale);
        let (mut up, mut down) = (0.0, 0.0);
        for l in 0..L {
            up += scales[l] * xq[l];
            down += scales[l] * scales[l] * qq[l];
        }
        (half, d) = as_f16(up * reciprocal(down));
    }
    best
}

/// The bits of every element, in its order, for these scales of sub-blocks.
#[inline(always)]
pub(super) fn codes<G: Grid, const N: usize, const L: usize>(values: &[f32; TILE], scales: &[f32; L]) -> [u8; TILE] {
    let mut codes = [0; TILE];
    for l in 0..L {
        let per_scale = reciprocal(scales[l]);
        for i in 0..N {
            codes[l * N + i] = G::code(G::nearest(values[l * N + i] * per_scale));
        }
    }
    codes
}
