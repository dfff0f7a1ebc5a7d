//! Every instruction set against the portable one (equal bits) and against f64 (close).

use super::attention::{AttentionTile, scratch_floats};
use super::*;
use crate::kernels::kv::{KvLayout, KvShape, PAGE, store};

/// Reproducible floats in −1..1 (a linear congruential generator is random enough here).
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        })
        .collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

fn tables() -> Vec<(Isa, &'static VectorOps)> {
    Isa::available().into_iter().map(|isa| (isa, VectorOps::for_isa(isa))).collect()
}

/// Runs `f` on every table and asserts that all give the bits of the portable one, which are returned.
fn same_bits(f: impl Fn(&VectorOps) -> Vec<f32>) -> Vec<f32> {
    let reference = f(VectorOps::for_isa(Isa::Portable));
    for (isa, ops) in tables() {
        assert_eq!(bits(&f(ops)), bits(&reference), "{}", isa.name());
    }
    reference
}

fn assert_close(got: &[f32], expected: impl Iterator<Item = f64>, tolerance: f64) {
    for (i, (&g, e)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(g) - e).abs() <= tolerance * (1.0 + e.abs()), "element {i}: {g} for {e}");
    }
}

#[test]
fn norms() {
    for n in [1, 15, 16, 17, 48, 100, 896] {
        let (x, w, b) = (noise(1, n), noise(2, n), noise(3, n));
        let got = same_bits(|ops| {
            let mut y = vec![0.0; n];
            // SAFETY: n elements each; the table is of an available instruction set.
            unsafe { (ops.rms)(x.as_ptr(), w.as_ptr(), y.as_mut_ptr(), n, 1e-5) };
            y
        });
        let mean = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n as f64;
        assert_close(&got, (0..n).map(|i| f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(w[i])), 1e-6);

        let got = same_bits(|ops| {
            let mut y = vec![0.0; n];
            // SAFETY: as above.
            unsafe { (ops.layer)(x.as_ptr(), w.as_ptr(), b.as_ptr(), y.as_mut_ptr(), n, 1e-5) };
            y
        });
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n as f64;
        let expected = (0..n).map(|i| (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt() * f64::from(w[i]) + f64::from(b[i]));
        // One element has variance 0: the rounding of the mean is all there is, divided by √eps.
        assert_close(&got, expected, if n == 1 { 1e-4 } else { 3e-6 });
    }
}

#[test]
fn sums_with_a_factor_are_rounded_once() {
    for n in [1, 15, 16, 100] {
        let (x, y) = (noise(7, n), noise(8, n));
        let got = same_bits(|ops| {
            let mut sum = x.clone();
            // SAFETY: n elements each; the table is of an available instruction set.
            unsafe { (ops.add_scaled)(sum.as_mut_ptr(), y.as_ptr(), 0.3, n) };
            sum
        });
        let expected: Vec<f32> = x.iter().zip(&y).map(|(&x, &y)| crate::base::fma::fma(0.3, y, x)).collect();
        assert_eq!(bits(&got), bits(&expected));
    }
}

#[test]
fn activation_functions() {
    let mut gate: Vec<f32> = noise(4, 200).iter().map(|x| x * 30.0).collect();
    gate.extend([0.0, -0.0, 100.0, -100.0, 1e30, -1e30, f32::INFINITY]);
    let up = noise(5, gate.len());
    let got = same_bits(|ops| {
        let mut y = vec![0.0; gate.len()];
        // SAFETY: equal lengths; the table is of an available instruction set.
        unsafe { (ops.silu_mul)(gate.as_ptr(), up.as_ptr(), y.as_mut_ptr(), gate.len()) };
        y
    });
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let expected = gate.iter().zip(&up).map(|(&g, &u)| silu(f64::from(g)) * f64::from(u));
    assert_close(&got[..206], expected.take(206), 1e-6);

    let got = same_bits(|ops| {
        let mut y = gate.clone();
        // SAFETY: as above.
        unsafe { (ops.gelu)(y.as_mut_ptr(), y.len()) };
        y
    });
    let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
    assert_close(&got[..200], gate.iter().take(200).map(|&g| gelu(f64::from(g))), 1e-6);

    let got = same_bits(|ops| {
        let mut y = gate.clone();
        // SAFETY: as above.
        unsafe { (ops.gelu_erf)(y.as_mut_ptr(), y.len()) };
        y
    });
    let exact = |x: f64| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2));
    assert_close(&got[..204], gate.iter().take(204).map(|&g| exact(f64::from(g))), 1e-6);

    let got = same_bits(|ops| {
        let mut y = gate.clone();
        // SAFETY: as above.
        unsafe { (ops.gelu_mul)(y.as_ptr(), up.as_ptr(), y.as_mut_ptr(), y.len()) };
        y
    });
    assert_close(&got[..200], gate.iter().zip(&up).take(200).map(|(&g, &u)| gelu(f64::from(g)) * f64::from(u)), 1e-6);

    let wide: Vec<f32> = up.iter().map(|x| x * 20.0).collect();
    let got = same_bits(|ops| {
        let mut y = gate.clone();
        // SAFETY: as above.
        unsafe { (ops.clamped_swiglu)(y.as_ptr(), wide.as_ptr(), y.as_mut_ptr(), y.len()) };
        y
    });
    let clamped = |g: f64, u: f64| g.min(7.0) / (1.0 + (-1.702 * g.min(7.0)).exp()) * (u.clamp(-7.0, 7.0) + 1.0);
    assert_close(&got[..204], gate.iter().zip(&wide).take(204).map(|(&g, &u)| clamped(f64::from(g), f64::from(u))), 2e-6);

    let got = same_bits(|ops| {
        let mut y = gate.clone();
        // SAFETY: as above.
        unsafe {
            (ops.soft_cap)(y.as_mut_ptr(), 5.0, y.len());
            (ops.scale)(y.as_mut_ptr(), 3.0, y.len());
        }
        y
    });
    assert_close(&got, gate.iter().map(|&g| 15.0 * (f64::from(g) / 5.0).tanh()), 1e-6);

    let nan = same_bits(|ops| {
        let mut y = vec![f32::NAN; 3];
        // SAFETY: as above.
        unsafe { (ops.gelu)(y.as_mut_ptr(), 3) };
        y.iter().map(|v| if v.is_nan() { 1.0 } else { 0.0 }).collect()
    });
    assert_eq!(nan, [1.0; 3]);
}

/// The error function by its series and, far out, its limit.
fn erf(x: f64) -> f64 {
    // Beyond, the terms are so large that what is left of them in f64 is wrong, and the limit is right to 2e-10.
    if x.abs() > 4.5 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    (2.0 / std::f64::consts::PI.sqrt() * sum).clamp(-1.0, 1.0)
}

#[test]
fn half_floats_round_to_even() {
    let x: Vec<f32> = noise(6, 37).iter().map(|v| v * 70000.0).chain([1e-7, 65504.0, 65520.0, f32::INFINITY]).collect();
    for (isa, ops) in tables() {
        let mut y = vec![0u16; x.len()];
        // SAFETY: equal lengths.
        unsafe { (ops.to_f16)(x.as_ptr(), y.as_mut_ptr(), x.len()) };
        let expected: Vec<u16> = x.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
        assert_eq!(y, expected, "{}", isa.name());
    }
}

/// What a cache of type `ty` makes of `x`, an element of `group`.
fn rounded(ty: KvType, x: f32, group: &[f32]) -> f32 {
    match ty {
        KvType::F16 => half::f16::from_f32(x).to_f32(),
        KvType::Bf16 => half::bf16::from_f32(x).to_f32(),
        KvType::F32 => x,
        KvType::Q8_0 => {
            let largest = group.iter().fold(0.0f32, |top, x| top.max(x.abs()));
            (x * (127.0 / largest)).round_ties_even() * (largest / 127.0)
        }
    }
}

/// One KV head with random contents, and queries for `columns` columns from `first` on.
struct Head {
    layout: KvLayout,
    pages: Vec<Vec<u8>>,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    q: Vec<f32>,
    group: usize,
    key_dim: usize,
    value_dim: usize,
    rules: Rules,
}

/// What there is about the scores besides their scale.
#[derive(Default, Clone)]
struct Rules {
    window: Option<usize>,
    soft_cap: f32,
    slopes: Vec<f32>,
    sinks: Vec<f32>,
    both_ways: bool,
}

impl Rules {
    fn pointer(values: &[f32]) -> *const f32 {
        if values.is_empty() { std::ptr::null() } else { values.as_ptr() }
    }
}

impl Head {
    fn new(ty: KvType, key_dim: usize, value_dim: usize, group: usize, positions: usize) -> Self {
        let shape = KvShape { layers: 1, heads: 1, key_dim, value_dim };
        let layout = KvLayout::new(shape, ty).unwrap();
        let mut pages = vec![vec![0u8; layout.page_bytes(1).unwrap()]; positions.div_ceil(PAGE)];
        let (mut keys, mut values) = (vec![], vec![]);
        for p in 0..positions {
            let k: Vec<f32> = noise(100 + p as u64, key_dim).into_iter().map(|x| x * 3.0).collect();
            let v: Vec<f32> = noise(9000 + p as u64, value_dim);
            let (block, value) = (layout.key_block(0, 0, p), layout.value(0, 0, p));
            let memory = &mut pages[p / PAGE];
            let portable = VectorOps::for_isa(Isa::Portable);
            // SAFETY: the places are those of position p in memory of this layout.
            unsafe {
                store::key(portable, ty, &k, memory[block..].as_mut_ptr(), p % 16);
                store::value(portable, ty, &v, memory[value..].as_mut_ptr());
            }
            keys.push(k.iter().enumerate().map(|(d, &x)| rounded(ty, x, &k[d / 32 * 32..key_dim.min(d / 32 * 32 + 32)])).collect());
            values.push(v.iter().enumerate().map(|(d, &x)| rounded(ty, x, &v[d / 32 * 32..value_dim.min(d / 32 * 32 + 32)])).collect());
        }
        let q = noise(7, positions * group * key_dim);
        Self { layout, pages, keys, values, q, group, key_dim, value_dim, rules: Rules::default() }
    }

    /// The outputs of columns `first..first + columns`, computed in tiles of `tile` columns.
    fn attend(&self, ops: &VectorOps, first: usize, columns: usize, tile: usize) -> Vec<f32> {
        let out_stride = self.group * self.value_dim;
        let mut out = vec![0.0; columns * out_stride];
        let mut scratch = vec![f32::NAN; scratch_floats(tile * self.group, self.key_dim, self.layout.value_stride)];
        let pages: Vec<*mut u8> = self.pages.iter().map(|page| page.as_ptr().cast_mut()).collect();
        for start in (0..columns).step_by(tile) {
            let args = AttentionTile {
                q: self.q[(first + start) * self.group * self.key_dim..].as_ptr(),
                q_stride: self.group * self.key_dim,
                out: out[start * out_stride..].as_mut_ptr(),
                out_stride,
                group: self.group,
                key_dim: self.key_dim,
                value_dim: self.value_dim,
                columns: tile.min(columns - start),
                first: first + start,
                pages: pages.as_ptr(),
                keys: self.layout.keys(0, 0),
                key_block_bytes: self.layout.key_block_bytes,
                values: self.layout.values(0, 0),
                value_bytes: self.layout.value_bytes,
                value_stride: self.layout.value_stride,
                scale: 1.0 / (self.key_dim as f32).sqrt(),
                window: self.rules.window.unwrap_or(usize::MAX),
                soft_cap: self.rules.soft_cap,
                slopes: Rules::pointer(&self.rules.slopes),
                sinks: Rules::pointer(&self.rules.sinks),
                seen: if self.rules.both_ways { first + columns } else { 0 },
            };
            // SAFETY: the layout is that of the memory, and out and scratch have the sizes that the contract asks for.
            unsafe { ops.attend(self.layout.ty)(&args, scratch.as_mut_ptr()) };
        }
        out
    }

    fn reference(&self, position: usize, g: usize, end: usize) -> Vec<f64> {
        let rules = &self.rules;
        let q = &self.q[(position * self.group + g) * self.key_dim..][..self.key_dim];
        let seen = if rules.both_ways { end } else { position + 1 };
        let scores: Vec<f64> = self.keys[..seen]
            .iter()
            .enumerate()
            .map(|(j, k)| {
                let mut score = k.iter().zip(q).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() / (self.key_dim as f64).sqrt();
                if rules.soft_cap > 0.0 {
                    score = f64::from(rules.soft_cap) * (score / f64::from(rules.soft_cap)).tanh();
                }
                if let Some(slope) = rules.slopes.get(g) {
                    score -= f64::from(*slope) * position.abs_diff(j) as f64;
                }
                if rules.window.is_some_and(|window| j + window <= position) { f64::NEG_INFINITY } else { score }
            })
            .collect();
        let sink = rules.sinks.get(g).map_or(f64::NEG_INFINITY, |&sink| f64::from(sink));
        let top = scores.iter().copied().fold(sink, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
        let total: f64 = weights.iter().sum::<f64>() + (sink - top).exp();
        (0..self.value_dim).map(|d| weights.iter().zip(&self.values).map(|(w, v)| w * f64::from(v[d])).sum::<f64>() / total).collect()
    }
}

#[test]
fn attention_matches_f64_and_all_instruction_sets() {
    for ty in [KvType::F16, KvType::Bf16, KvType::F32, KvType::Q8_0] {
        for (key_dim, value_dim, group) in [(8, 8, 2), (64, 64, 8), (80, 80, 1), (128, 128, 2), (20, 33, 3)] {
            let head = Head::new(ty, key_dim, value_dim, group, 600);
            for (first, columns) in [(0, 1), (0, 5), (250, 20), (599, 1)] {
                let got = same_bits(|ops| head.attend(ops, first, columns, columns));
                let expected = (first..first + columns).flat_map(|p| (0..group).flat_map(move |g| vec![(p, g)]));
                let expected: Vec<f64> = expected.flat_map(|(p, g)| head.reference(p, g, first + columns)).collect();
                assert_close(&got, expected.into_iter(), 3e-6);
            }
        }
    }
}

#[test]
fn attention_does_not_depend_on_the_tile() {
    let head = Head::new(KvType::F16, 64, 64, 3, 530);
    for (_, ops) in tables() {
        let whole = head.attend(ops, 0, 530, 530);
        for tile in [1, 2, 7, 32] {
            assert_eq!(bits(&head.attend(ops, 0, 530, tile)), bits(&whole));
        }
    }
}

#[test]
fn attention_by_every_rule_matches_f64_and_does_not_depend_on_the_tile() {
    let rules = [
        Rules { window: Some(1), ..Default::default() },
        Rules { window: Some(7), soft_cap: 2.0, ..Default::default() },
        Rules { window: Some(256), sinks: vec![0.5, -1.0, 20.0], ..Default::default() },
        Rules { window: Some(300), slopes: vec![0.5, 0.25, 0.125], ..Default::default() },
        Rules { sinks: vec![-30.0, 0.0, 3.0], ..Default::default() },
        Rules { both_ways: true, slopes: vec![0.5, 0.25, 0.125], ..Default::default() },
    ];
    for ty in [KvType::F16, KvType::F32] {
        let mut head = Head::new(ty, 20, 33, 3, 600);
        for rules in &rules {
            head.rules = rules.clone();
            for (first, columns) in [(0, 1), (0, 40), (250, 20), (511, 3), (599, 1)] {
                let got = same_bits(|ops| head.attend(ops, first, columns, columns));
                let expected = (first..first + columns).flat_map(|p| (0..3).flat_map(move |g| vec![(p, g)]));
                let expected: Vec<f64> = expected.flat_map(|(p, g)| head.reference(p, g, first + columns)).collect();
                assert_close(&got, expected.into_iter(), 3e-6);
                for (_, ops) in tables() {
                    for tile in [1, 3, 10, 32] {
                        assert_eq!(bits(&head.attend(ops, first, columns, tile)), bits(&got));
                    }
                }
            }
        }
    }
}
