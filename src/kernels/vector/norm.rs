//! RMS and layer normalisation of one row.

use super::lanes::{LANES, Lanes};
use super::map::{fold, map2};

/// `y[i] = (x[i] · 1/√(mean(x²) + eps)) · w[i]` (Zhang and Sennrich 2019, arXiv 1910.07467).
///
/// # Safety
/// As for [`Lanes`]; `x`, `weight` and `y` have `n` elements; `y` may be `x`.
#[inline(always)]
pub unsafe fn rms<V: Lanes>(x: *const f32, weight: *const f32, y: *mut f32, n: usize, eps: f32) {
    // SAFETY: all offsets are below n.
    unsafe {
        let squares = fold!(V, x, n, |acc, v| v.fma(v, acc));
        let factor = 1.0 / (squares / n as f32 + eps).sqrt();
        map2!(V, x, weight, y, n, |v, w| v.mul(V::splat(factor)).mul(w));
    }
}

/// `y[i] = (x[i] − mean)/√(variance + eps) · w[i] + b[i]` (Ba et al. 2016, arXiv 1607.06450), variance over n.
///
/// # Safety
/// As for [`rms`], `bias` too has `n` elements.
#[inline(always)]
pub unsafe fn layer<V: Lanes>(x: *const f32, weight: *const f32, bias: *const f32, y: *mut f32, n: usize, eps: f32) {
    // SAFETY: all offsets are below n. The zeros that pad the last block become −mean in it, so it is masked again.
    unsafe {
        let mean = fold!(V, x, n, |acc, v| acc.add(v)) / n as f32;
        let whole = n / LANES * LANES;
        let mut acc = V::splat(0.0);
        let mut i = 0;
        while i < whole {
            let centred = V::load(x.add(i)).sub(V::splat(mean));
            acc = centred.fma(centred, acc);
            i += LANES;
        }
        if i < n {
            let mut tail = [0.0f32; LANES];
            V::load_first(x.add(i), n - i).sub(V::splat(mean)).store(tail.as_mut_ptr());
            let centred = V::load_first(tail.as_ptr(), n - i);
            acc = centred.fma(centred, acc);
        }
        let factor = 1.0 / (acc.sum() / n as f32 + eps).sqrt();
        map2!(V, x, weight, y, n, |v, w| v.sub(V::splat(mean)).mul(V::splat(factor)).mul(w));
        map2!(V, y, bias, y, n, |v, b| v.add(b));
    }
}
