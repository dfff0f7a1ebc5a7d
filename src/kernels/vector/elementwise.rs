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
    unsafe { map2!(V, x, x, x, n, |v, _same| gelu_tanh::<V>(v)) }
}

/// tanh z as 1 − 2/(e^(2z) + 1): absolute error below 2e-7.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub unsafe fn tanh<V: Lanes>(z: V) -> V {
    // SAFETY: register arithmetic.
    unsafe {
        let e = z.add(z).exp();
        V::splat(1.0).sub(V::splat(2.0).div(e.add(V::splat(1.0))))
    }
}

/// gelu(x) = x·Φ(x) with the tanh form of Φ.
#[inline(always)]
unsafe fn gelu_tanh<V: Lanes>(v: V) -> V {
    // SAFETY: register arithmetic.
    unsafe {
        let cube = v.mul(v).mul(v);
        let z = cube.fma(V::splat(0.044_715), v).mul(V::splat(0.797_884_6));
        let e = z.mul(V::splat(-2.0)).exp();
        v.div(e.add(V::splat(1.0)))
    }
}

/// gelu(x) = x·Φ(x) with Φ(x) = (1 + erf(x/√2))/2; erf by Abramowitz and Stegun 7.1.26, absolute error of Φ below 2e-7.
#[inline(always)]
unsafe fn gelu_exact<V: Lanes>(v: V) -> V {
    // SAFETY: register arithmetic.
    unsafe {
        let zero = V::splat(0.0);
        let a = v.max(zero.sub(v)).mul(V::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = V::splat(1.0).div(a.fma(V::splat(0.327_591_1), V::splat(1.0)));
        let p = V::splat(1.061_405_4);
        let p = p.fma(t, V::splat(-1.453_152));
        let p = p.fma(t, V::splat(1.421_413_8));
        let p = p.fma(t, V::splat(-0.284_496_74));
        let p = p.fma(t, V::splat(0.254_829_6));
        let half = p.mul(t).mul(zero.sub(a.mul(a)).exp()).mul(V::splat(0.5));
        v.mul(v.select_lt(zero, half, V::splat(1.0).sub(half)))
    }
}

/// `y[i] = gelu(gate[i]) · up[i]` in the tanh form (GeGLU: arXiv 2002.05202).
///
/// # Safety
/// As for [`silu_mul`].
#[inline(always)]
pub unsafe fn gelu_mul<V: Lanes>(gate: *const f32, up: *const f32, y: *mut f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe { map2!(V, gate, up, y, n, |g, u| gelu_tanh::<V>(g).mul(u)) }
}

/// The gate of gpt-oss: with g = min(gate, 7) and u = up clamped to ±7, `y[i] = g / (1 + e^(−1.702·g)) · (u + 1)`.
///
/// # Safety
/// As for [`silu_mul`].
#[inline(always)]
pub unsafe fn clamped_swiglu<V: Lanes>(gate: *const f32, up: *const f32, y: *mut f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe {
        map2!(V, gate, up, y, n, |g, u| {
            let most = V::splat(7.0);
            let g = most.select_lt(g, most, g);
            let u = most.select_lt(u, most, u).max(V::splat(-7.0));
            let e = g.mul(V::splat(-1.702)).exp();
            g.div(e.add(V::splat(1.0))).mul(u.add(V::splat(1.0)))
        });
    }
}

/// `x[i] = gelu(x[i])` with the error function.
///
/// # Safety
/// As for [`Lanes`]; `x` has `n` elements.
#[inline(always)]
pub unsafe fn gelu_erf<V: Lanes>(x: *mut f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe { map2!(V, x, x, x, n, |v, _same| gelu_exact::<V>(v)) }
}

/// `x[i] = cap · tanh(x[i] / cap)` (soft-capping: Gemma 2, arXiv 2408.00118).
///
/// # Safety
/// As for [`Lanes`]; `x` has `n` elements.
#[inline(always)]
pub unsafe fn soft_cap<V: Lanes>(x: *mut f32, cap: f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe { map2!(V, x, x, x, n, |v, _same| tanh::<V>(v.div(V::splat(cap))).mul(V::splat(cap))) }
}

/// `x[i] *= factor`
///
/// # Safety
/// As for [`Lanes`]; `x` has `n` elements.
#[inline(always)]
pub unsafe fn scale<V: Lanes>(x: *mut f32, factor: f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe { map2!(V, x, x, x, n, |v, _same| v.mul(V::splat(factor))) }
}

/// `x[i] += factor · y[i]`, rounded once.
///
/// # Safety
/// As for [`Lanes`]; both have `n` elements.
#[inline(always)]
pub unsafe fn add_scaled<V: Lanes>(x: *mut f32, y: *const f32, factor: f32, n: usize) {
    // SAFETY: all offsets are below n.
    unsafe { map2!(V, x, y, x, n, |a, b| V::splat(factor).fma(b, a)) }
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
