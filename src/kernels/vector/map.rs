//! Loops over rows in steps of 16 lanes, with a masked tail.
//!
//! They are macros and not functions that take closures: a closure that the compiler does not inline is compiled without the
//! instruction set of the kernel around it (measured: three times slower).

/// Folds the `$n` elements at `$x` lane by lane with `|acc, v| …` from zero, and sums the lanes.
macro_rules! fold {
    ($lanes:ty, $x:expr, $n:expr, |$acc:ident, $v:ident| $step:expr) => {{
        let (x, n): (*const f32, usize) = ($x, $n);
        let mut $acc = <$lanes>::splat(0.0);
        let mut i = 0;
        while i + $crate::kernels::vector::lanes::LANES <= n {
            let $v = <$lanes>::load(x.add(i));
            $acc = $step;
            i += $crate::kernels::vector::lanes::LANES;
        }
        if i < n {
            let $v = <$lanes>::load_first(x.add(i), n - i);
            $acc = $step;
        }
        $acc.sum()
    }};
}

/// `$y[i] = |a, b| …` of the `$n` elements at `$a` and `$b`; `$y` may be `$a`.
macro_rules! map2 {
    ($lanes:ty, $a:expr, $b:expr, $y:expr, $n:expr, |$v:ident, $w:ident| $value:expr) => {{
        let (a, b, y, n): (*const f32, *const f32, *mut f32, usize) = ($a, $b, $y, $n);
        let mut i = 0;
        while i + $crate::kernels::vector::lanes::LANES <= n {
            let ($v, $w) = (<$lanes>::load(a.add(i)), <$lanes>::load(b.add(i)));
            $value.store(y.add(i));
            i += $crate::kernels::vector::lanes::LANES;
        }
        if i < n {
            let ($v, $w) = (<$lanes>::load_first(a.add(i), n - i), <$lanes>::load_first(b.add(i), n - i));
            $value.store_first(y.add(i), n - i);
        }
    }};
}

pub(super) use {fold, map2};
