//! Encoders against the decoders: errors against bounds, the ends of the range, what is refused.

use super::*;
use crate::base::ErrorKind;
use crate::quant::decode_row;

const TYPES: [TensorType; 13] = {
    use TensorType::*;
    [Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4]
};

/// Numbers that look like weights: a sum of four uniform ones, every 97th eight times as large.
fn weights_like(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut next = |i: usize| (uniform() + uniform() + uniform() + uniform()) * if i % 97 == 5 { 0.4 } else { 0.05 };
    (0..len).map(&mut next).collect()
}

fn encoded(ty: TensorType, values: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut bytes = vec![0xA5; row_bytes(ty, values.len()).unwrap()];
    encode_row(ty, values, importance, &mut bytes).unwrap();
    bytes
}

fn round_trip(ty: TensorType, values: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    decode_row(ty, &encoded(ty, values, importance), &mut out).unwrap();
    out
}

/// √(Σ w·(x − y)² / Σ w·x²)
fn relative_error(x: &[f32], y: &[f32], w: impl Fn(usize) -> f64) -> f64 {
    let sum = |f: &dyn Fn(usize) -> f64| (0..x.len()).map(|i| w(i) * f(i)).sum::<f64>();
    (sum(&|i| f64::from(x[i] - y[i]).powi(2)) / sum(&|i| f64::from(x[i]).powi(2))).sqrt()
}

#[test]
fn errors_are_within_the_bound_of_each_type() {
    let values = weights_like(16 * 1024, 7);
    for (ty, bound) in BOUNDS {
        let error = relative_error(&values, &round_trip(ty, &values, None), |_| 1.0);
        println!("{ty}: {error:.5}, bound {bound:.5}");
        assert!(error <= bound, "{ty}: {error} is above {bound}");
    }
    assert_eq!(round_trip(TensorType::F32, &values, None), values);
}

/// Root mean square errors relative to the values', one or two hundredths above what was measured when the searches were chosen.
const BOUNDS: [(TensorType, f64); 15] = {
    use TensorType::*;
    [
        (F16, 0.00021),
        (BF16, 0.00165),
        (Q8_0, 0.0086),
        (Q4_0, 0.133),
        (Q4_1, 0.0873),
        (Q5_0, 0.067),
        (Q5_1, 0.0419),
        (Q2_K, 0.289),
        (Q3_K, 0.19),
        (Q4_K, 0.0867),
        (Q5_K, 0.0427),
        (Q6_K, 0.0248),
        (IQ4_NL, 0.102),
        (IQ4_XS, 0.1036),
        (MXFP4, 0.1455),
    ]
};

#[test]
fn what_counts_more_comes_out_nearer() {
    let values = weights_like(4096, 11);
    let importance: Vec<f32> = (0..4096).map(|i| if i % 5 == 0 { 50.0 } else { 0.1 }).collect();
    let important = |i: usize| f64::from(importance[i]);
    for ty in TYPES.into_iter().filter(|&ty| ty != TensorType::Q8_0) {
        let with = relative_error(&values, &round_trip(ty, &values, Some(&importance)), important);
        let without = relative_error(&values, &round_trip(ty, &values, None), important);
        println!("{ty}: {with:.5} with importance, {without:.5} without");
        assert!(with < 0.99 * without, "{ty}: {with} with importance, {without} without");
    }
}

#[test]
fn zeros_constants_and_spikes_survive() {
    for ty in TYPES {
        let zeros = [0.0f32; 512];
        assert_eq!(round_trip(ty, &zeros, None), zeros, "{ty}");
        for value in [1.0f32, -1.0, 0.037, -6e4, 1e-3] {
            let row = [value; 512];
            let error = relative_error(&row, &round_trip(ty, &row, None), |_| 1.0);
            // Of a constant, MXFP4 has two bits of mantissa, and Q2_K four bits of scale.
            assert!(error < 0.34, "{ty}, all {value}: {error}");
            let mut spike = [0.0f32; 512];
            spike[300] = value;
            let out = round_trip(ty, &spike, None);
            assert!((out[300] - value).abs() <= 0.2 * value.abs(), "{ty}, spike {value}: {}", out[300]);
        }
    }
}

#[test]
fn the_ends_of_the_range_give_finite_values() {
    for ty in TYPES {
        for scale in [65504.0f32, 1e-8, 1e-20, 1e-37, f32::MIN_POSITIVE, 1e-44] {
            let row: Vec<f32> = (0..256).map(|i| scale * ((i * 37 % 101) as f32 / 50.0 - 1.0)).map(|x| x.clamp(-scale, scale)).collect();
            let out = round_trip(ty, &row, None);
            assert!(out.iter().all(|y| y.is_finite() && y.abs() <= 1.5 * scale.max(1e-4)), "{ty} at {scale:e}");
        }
    }
    let most = most(TensorType::MXFP4);
    assert_eq!(round_trip(TensorType::MXFP4, &[most; 32], None), [most; 32]);
    assert!(round_trip(TensorType::MXFP4, &[1e-20f32; 32], None)[0] > 0.7e-20);
}

#[test]
fn rows_that_end_inside_a_tile_are_encoded_like_whole_ones() {
    let values = weights_like(512, 3);
    for ty in TYPES.into_iter().filter(|ty| ty.block_len() == 32) {
        let whole = encoded(ty, &values, None);
        for blocks in 1..8 {
            let len = 256 + 32 * blocks;
            // The weights of a tile depend on all of it, so that only the whole tile before is the same.
            let part = encoded(ty, &values[..len], None);
            assert_eq!(part[..8 * ty.block_bytes()], whole[..8 * ty.block_bytes()], "{ty}, {len}");
            let mut out = vec![0.0; len];
            decode_row(ty, &part, &mut out).unwrap();
            assert!(relative_error(&values[..len], &out, |_| 1.0) < 0.2, "{ty}, {len}");
        }
    }
}

#[test]
fn what_no_block_can_hold_is_refused_with_its_column() {
    for ty in TYPES.into_iter().chain([TensorType::F16, TensorType::BF16]) {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, if ty == TensorType::BF16 { f32::MAX } else { 3e38 }] {
            if bad == 3e38 && ty == TensorType::MXFP4 && most(ty) > bad {
                continue;
            }
            let mut values = weights_like(512, 1);
            values[301] = bad;
            let error = encode_row(ty, &values, None, &mut vec![0; row_bytes(ty, 512).unwrap()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains("column 301"), "{ty}: {error}");
        }
    }
    let nan = f32::from_bits(0x7fc1_2345);
    assert_eq!(encoded(TensorType::F32, &[nan], None), nan.to_le_bytes());
}

#[test]
fn lengths_types_and_weights_are_checked() {
    let values = [1.0; 256];
    let kind = |ty, values: &[f32], importance: Option<&[f32]>, len: usize| {
        encode_row(ty, values, importance, &mut vec![0; len]).unwrap_err().kind()
    };
    assert_eq!(kind(TensorType::IQ2_XS, &values, None, 74), ErrorKind::Unsupported);
    assert_eq!(kind(TensorType::Q4_K, &values[..255], None, 144), ErrorKind::InvalidArgument);
    assert_eq!(kind(TensorType::Q4_K, &values, None, 143), ErrorKind::InvalidArgument);
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(kind(TensorType::Q4_K, &values, Some(&[bad; 256]), 144), ErrorKind::InvalidArgument);
    }
    assert_eq!(kind(TensorType::Q4_K, &values, Some(&[1.0; 255]), 144), ErrorKind::InvalidArgument);
}
