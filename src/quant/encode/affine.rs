//! The searches for blocks with a scale and an offset: x ≈ scale · q + offset, by weighted least squares in both.

use half::f16;

use super::TILE;
use super::search::{Lanes, as_f16, clamp, low_byte, reciprocal, round};

/// The best scales and offsets so far, and the sums that judge others by.
struct Search<'a, const N: usize, const L: usize> {
    x: &'a Lanes<N, L>,
    w: &'a Lanes<N, L>,
    levels: f32,
    below_zero: bool,
    /// Σw, Σwx and Σwx².
    ww: [f32; L],
    wx: [f32; L],
    wxx: [f32; L],
    errors: [f32; L],
    scales: [f32; L],
    offsets: [f32; L],
}

impl<const N: usize, const L: usize> Search<'_, N, L> {
    /// Takes the scales and offsets that the levels nearest to (x − from)·per_scale ask for, where their errors are smaller.
    #[inline(always)]
    fn consider(&mut self, per_scale: &[f32; L], from: &[f32; L]) {
        let (mut wq, mut wqq, mut wxq) = ([0.0; L], [0.0; L], [0.0; L]);
        for (x, w) in self.x.iter().zip(self.w) {
            for l in 0..L {
                let q = round(clamp((x[l] - from[l]) * per_scale[l], 0.0, self.levels));
                let weighted = w[l] * q;
                wq[l] += weighted;
                wqq[l] += weighted * q;
                wxq[l] += weighted * x[l];
            }
        }
        let (ww, wx) = (&self.ww, &self.wx);
        for l in 0..L {
            let determinant = ww[l] * wqq[l] - wq[l] * wq[l];
            let per = reciprocal(determinant);
            let (scale, offset) = ((ww[l] * wxq[l] - wx[l] * wq[l]) * per, (wqq[l] * wx[l] - wq[l] * wxq[l]) * per);
            // Where all q are alike, nothing tells scale from offset.
            let solvable = determinant > 1e-6 * ww[l] * wqq[l];
            let cut = self.below_zero && (offset > 0.0 || !solvable);
            let scale = if cut { wxq[l] * reciprocal(wqq[l]) } else { scale };
            let offset = if cut { 0.0 } else { offset };
            // Σ w·(x − scale·q − offset)², multiplied out.
            let of_scale = scale * (scale * wqq[l] + 2.0 * (offset * wq[l] - wxq[l]));
            let error = self.wxx[l] + of_scale + offset * (offset * ww[l] - 2.0 * wx[l]);
            let better = error < self.errors[l] && (solvable || cut) && scale > 0.0;
            self.errors[l] = if better { error } else { self.errors[l] };
            self.scales[l] = if better { scale } else { self.scales[l] };
            self.offsets[l] = if better { offset } else { self.offsets[l] };
        }
    }
}

/// Scale and least value of each sub-block: x ≈ scale · q + offset, q from 0 to `levels`, after TRIES from 0.9 levels fewer to 0.9 more. With
/// `below_zero`, no offset is above 0.
#[inline(always)]
pub(super) fn fit_affine<const N: usize, const L: usize, const TRIES: usize>(
    x: &Lanes<N, L>,
    w: &Lanes<N, L>,
    levels: f32,
    below_zero: bool,
) -> ([f32; L], [f32; L]) {
    let (mut least, mut most) = (x[0], x[0]);
    let (mut ww, mut wx, mut wxx) = ([0.0; L], [0.0; L], [0.0; L]);
    for (x, w) in x.iter().zip(w) {
        for l in 0..L {
            least[l] = if x[l] < least[l] { x[l] } else { least[l] };
            most[l] = if x[l] > most[l] { x[l] } else { most[l] };
            ww[l] += w[l];
            wx[l] += w[l] * x[l];
            wxx[l] += w[l] * x[l] * x[l];
        }
    }
    if below_zero {
        for l in 0..L {
            least[l] = if least[l] < 0.0 { least[l] } else { 0.0 };
        }
    }
    // A sub-block of equal values is its offset.
    let (errors, scales, offsets) = ([f32::INFINITY; L], [0.0; L], least);
    let mut search = Search { x, w, levels, below_zero, ww, wx, wxx, errors, scales, offsets };
    for step in 0..TRIES {
        let target = levels - 0.9 + 1.8 * (step as f32 + 0.5) / TRIES as f32;
        let mut per_scale = [0.0; L];
        for l in 0..L {
            per_scale[l] = target * reciprocal(most[l] - least[l]);
        }
        search.consider(&per_scale, &least);
    }
    for _ in 0..if TRIES > 4 { 2 } else { 1 } {
        let mut per_scale = [0.0; L];
        for l in 0..L {
            per_scale[l] = reciprocal(search.scales[l]);
        }
        let from = search.offsets;
        search.consider(&per_scale, &from);
    }
    (search.scales, search.offsets)
}

/// Integer scales and minima of sub-blocks under two f16: x ≈ d · scale · q − dmin · minimum.
pub(super) struct ScalesAndMinima<const L: usize> {
    pub d: f16,
    pub dmin: f16,
    pub scales: [f32; L],
    pub minima: [f32; L],
}

/// Scales and minima of sub-blocks, integers from 0 to `most`, for q from 0 to `levels`.
#[inline(always)]
pub(super) fn fit_scales_and_minima<const N: usize, const L: usize>(
    x: &Lanes<N, L>,
    w: &Lanes<N, L>,
    levels: f32,
    most: f32,
) -> ScalesAndMinima<L> {
    let (wanted_scales, offsets) = fit_affine::<N, L, 13>(x, w, levels, true);
    let (mut largest_scale, mut least_offset) = (0.0f32, 0.0f32);
    for l in 0..L {
        largest_scale = largest_scale.max(wanted_scales[l]);
        least_offset = least_offset.min(offsets[l]);
    }
    let (mut half_d, mut d) = as_f16(largest_scale / most);
    let (mut half_dmin, mut dmin) = as_f16(-least_offset / most);
    let (mut scales, mut minima) = ([0.0; L], [0.0; L]);
    for l in 0..L {
        scales[l] = round(clamp(wanted_scales[l] * reciprocal(d), 0.0, most));
        minima[l] = round(clamp(-offsets[l] * reciprocal(dmin), 0.0, most));
    }
    let mut best = ScalesAndMinima { d: half_d, dmin: half_dmin, scales, minima };
    let mut best_error = f32::INFINITY;
    for _ in 0..2 {
        let mut lowest = [f32::INFINITY; L];
        let around = (scales, minima);
        for step in 0..9 {
            // The values in hand come first, so that they stay where others are only as good.
            let (scale_step, minimum_step) = ([0.0, -1.0, 1.0][step / 3], [0.0, -1.0, 1.0][step % 3]);
            let (mut candidates, mut candidate_minima) = ([0.0; L], [0.0; L]);
            for l in 0..L {
                candidates[l] = clamp(around.0[l] + scale_step, 0.0, most);
                candidate_minima[l] = clamp(around.1[l] + minimum_step, 0.0, most);
            }
            let (mut products, mut per_scale, mut subtrahends) = ([0.0; L], [0.0; L], [0.0; L]);
            for l in 0..L {
                products[l] = d * candidates[l];
                per_scale[l] = reciprocal(products[l]);
                subtrahends[l] = dmin * candidate_minima[l];
            }
            let mut errors = [0.0; L];
            for (x, w) in x.iter().zip(w) {
                for l in 0..L {
                    let above = x[l] + subtrahends[l];
                    let off = above - products[l] * round(clamp(above * per_scale[l], 0.0, levels));
                    errors[l] += w[l] * (off * off);
                }
            }
            for l in 0..L {
                let better = errors[l] < lowest[l];
                lowest[l] = if better { errors[l] } else { lowest[l] };
                scales[l] = if better { candidates[l] } else { scales[l] };
                minima[l] = if better { candidate_minima[l] } else { minima[l] };
            }
        }
        let error: f32 = lowest.iter().sum();
        if error < best_error {
            (best, best_error) = (ScalesAndMinima { d: half_d, dmin: half_dmin, scales, minima }, error);
        }
        // d and dmin anew for these integers: least squares in u = scale·q and v = −minimum.
        let (mut uu, mut uv, mut vv, mut ux, mut vx) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let (mut wq, mut wqq, mut wxq, mut ww, mut wx) = ([0.0; L], [0.0; L], [0.0; L], [0.0; L], [0.0; L]);
        let (mut per_scale, mut subtrahends) = ([0.0; L], [0.0; L]);
        for l in 0..L {
            per_scale[l] = reciprocal(d * scales[l]);
            subtrahends[l] = dmin * minima[l];
        }
        for (x, w) in x.iter().zip(w) {
            for l in 0..L {
                let q = round(clamp((x[l] + subtrahends[l]) * per_scale[l], 0.0, levels));
                let weighted = w[l] * q;
                wq[l] += weighted;
                wqq[l] += weighted * q;
                wxq[l] += weighted * x[l];
                ww[l] += w[l];
                wx[l] += w[l] * x[l];
            }
        }
        for l in 0..L {
            uu += scales[l] * scales[l] * wqq[l];
            uv -= scales[l] * minima[l] * wq[l];
            vv += minima[l] * minima[l] * ww[l];
            ux += scales[l] * wxq[l];
            vx -= minima[l] * wx[l];
        }
        let per = reciprocal(uu * vv - uv * uv);
        let (new_d, new_dmin) = match per > 0.0 {
            true => ((vv * ux - uv * vx) * per, (uu * vx - uv * ux) * per),
            false => (ux * reciprocal(uu), dmin),
        };
        (half_d, d) = as_f16(new_d.max(0.0));
        (half_dmin, dmin) = as_f16(new_dmin.max(0.0));
    }
    best
}

/// The bits of every element, in its order: the nearest q from 0 to `levels` with x ≈ scale · q + offset.
#[inline(always)]
pub(super) fn affine_codes<const N: usize, const L: usize>(
    values: &[f32; TILE],
    scales: &[f32; L],
    offsets: &[f32; L],
    levels: f32,
) -> [u8; TILE] {
    let mut codes = [0; TILE];
    for l in 0..L {
        let per_scale = reciprocal(scales[l]);
        for i in 0..N {
            codes[l * N + i] = low_byte(round(clamp((values[l * N + i] - offsets[l]) * per_scale, 0.0, levels)));
        }
    }
    codes
}
