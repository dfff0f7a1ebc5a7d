//! Activation functions and sums, element by element.

use super::lanes::Lanes;
use super::map::map2;

/// `y[i] = silu(gate[i]) · up[i]`, silu(x) = x / (1 + e^−x) (SwiGLU, Shazeer 2020, arXiv 2002.05202).
///
/// # Safety
/// As for [`Lanes`]; all have `n` elements; `y` may be `gate`.
#[inline(always)]
pub unsafe fn silu_mul<V: Lanes>(gate: *const f32, up: *const f32, y: *mut f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe {
        map2!(V, gate, up, y, n, |g, u| {
            let e = V::splat(0.0).sub(g).exp();
            g.div(e.add(V::splat(1.0))).mul(u)
        });
    }
}

/// `x[i] = gelu(x[i])` in the tanh form: x/2·(1 + tanh z) = x / (1 + e^(−2z)), z = √(2/π)·(x + 0.044715·x³)
/// (Hendrycks and Gimpel 2016, arXiv 1606.08415).
///
/// # Safety
/// As for [`Lanes`]; `x` has `n` elements.
#[inline(always)]
pub unsafe fn gelu<V: Lanes>(x: *mut f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe {
        map2!(V, x, x, x, n, |v, _same| {
            let cube = v.mul(v).mul(v);
            let z = cube.fma(V::splat(0.044_715), v).mul(V::splat(0.797_884_6));
            let e = z.mul(V::splat(-2.0)).exp();
            v.div(e.add(V::splat(1.0)))
        });
    }
}

/// `x[i] += y[i]`
///
/// # Safety
/// As for [`Lanes`]; both have `n` elements.
#[inline(always)]
pub unsafe fn add<V: Lanes>(x: *mut f32, y: *const f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe { map2!(V, x, y, x, n, |a, b| a.add(b)) }
}
