//! One runner over every level that this machine has: each type, odd numbers of columns and rows, every buffer against a
//! guard page, bit for bit against the portable kernels; and those against f64.

use super::*;
use crate::base::SharedBytes;
use crate::quant::{TensorType, decode_row, row_bytes};

const TYPES: [TensorType; 28] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q2_K,
    TensorType::Q3_K,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
    TensorType::IQ1_S,
    TensorType::IQ1_M,
    TensorType::IQ2_XXS,
    TensorType::IQ2_XS,
    TensorType::IQ2_S,
    TensorType::IQ3_XXS,
    TensorType::IQ3_S,
    TensorType::IQ4_NL,
    TensorType::IQ4_XS,
    TensorType::TQ1_0,
    TensorType::TQ2_0,
    TensorType::MXFP4,
    TensorType::NVFP4,
    TensorType::Q1_0,
    TensorType::Q2_0,
];

/// Which numbers the weights and the activations hold.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fill {
    /// Random bits, scales of moderate size.
    Random,
    /// Every field of the weights at its largest, activations of one magnitude and alternating or equal sign.
    Saturated(u8),
    /// Random bits in the scales too: infinities, NaN, subnormals.
    AnyScale,
    /// Weights (of BF16) or scales (of MXFP4) that are subnormal or hardly above it, activations of many magnitudes.
    Tiny,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Offsets of the f16 scales in a block.
fn scale_offsets(ty: TensorType) -> &'static [usize] {
    match ty {
        TensorType::Q8_0 | TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q1_0 | TensorType::Q2_0 => &[0],
        TensorType::IQ1_S | TensorType::IQ2_XXS | TensorType::IQ2_XS | TensorType::IQ2_S => &[0],
        TensorType::IQ3_XXS | TensorType::IQ3_S | TensorType::IQ4_NL | TensorType::IQ4_XS => &[0],
        TensorType::TQ1_0 => &[52],
        TensorType::TQ2_0 => &[64],
        TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => &[0, 2],
        TensorType::Q2_K => &[80, 82],
        TensorType::Q3_K => &[108],
        TensorType::Q6_K => &[208],
        _ => &[],
    }
}

fn weights(ty: TensorType, rows: usize, k: usize, fill: Fill, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0u8; rows * row_bytes(ty, k).unwrap()];
    match ty {
        TensorType::F32 => bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&random.unit().to_le_bytes())),
        TensorType::F16 => bytes.chunks_exact_mut(2).for_each(|b| b.copy_from_slice(&half::f16::from_f32(random.unit()).to_le_bytes())),
        TensorType::BF16 if fill == Fill::AnyScale => bytes.iter_mut().for_each(|b| *b = random.next() as u8),
        TensorType::BF16 if fill == Fill::Tiny => bytes.chunks_exact_mut(2).for_each(|b| {
            // Exponents 0 to 3.
            b.copy_from_slice(&(random.next() as u16 & 0x81ff).to_le_bytes());
        }),
        TensorType::BF16 => bytes.chunks_exact_mut(2).for_each(|b| b.copy_from_slice(&half::bf16::from_f32(random.unit()).to_le_bytes())),
        _ => {
            bytes.iter_mut().for_each(|b| *b = random.next() as u8);
            match fill {
                Fill::Saturated(1) => bytes.fill(0x7f),
                Fill::Saturated(2) => bytes.fill(0x80),
                Fill::Saturated(3) => bytes.fill(0),
                Fill::Saturated(_) => bytes.fill(0xff),
                _ => {}
            }
            if fill != Fill::AnyScale {
                for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                    for &at in scale_offsets(ty) {
                        let scale = half::f16::from_f32(random.unit() * 0.01);
                        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                    }
                    match ty {
                        // Four bits of the scale on top of each of the last four u16.
                        TensorType::IQ1_M => {
                            let scale = half::f16::from_f32(random.unit() * 0.01).to_bits();
                            for i in 0..4 {
                                block[49 + 2 * i] = block[49 + 2 * i] & 15 | ((scale >> (4 * i) & 15) << 4) as u8;
                            }
                        }
                        // The smallest four, of which two are subnormal.
                        TensorType::MXFP4 if fill == Fill::Tiny => block[0] %= 4,
                        TensorType::MXFP4 => block[0] = 112 + block[0] % 8,
                        _ => {}
                    }
                }
            }
        }
    }
    bytes
}

fn activations(k: usize, fill: Fill, random: &mut Random) -> Vec<f32> {
    match fill {
        Fill::Saturated(way) => {
            let sign = |i: usize| if way.is_multiple_of(2) && i % 2 == 1 { -1.0 } else { 1.0 };
            (0..k).map(|i| 3.0 * sign(i)).collect()
        }
        Fill::Tiny => (0..k).map(|_| random.unit() * f32::powi(2.0, -((random.next() % 50) as i32))).collect(),
        _ => {
            // In turn as a model's, of which few are large, and evenly spread: kernels may take sums of the one kind together.
            let spread = |(i, x): (usize, f32)| if i / 256 % 2 == 0 { x * x * x } else { x };
            let mut x: Vec<f32> = (0..k).map(|_| random.unit()).enumerate().map(spread).collect();
            // One block of zeros now and then.
            if random.next().is_multiple_of(4) {
                x[..k.min(256)].fill(0.0);
            }
            x
        }
    }
}

/// Zeroed memory with an inaccessible page right before its start or right after its end.
struct Guarded {
    #[cfg(unix)]
    map: *mut u8,
    #[cfg(unix)]
    map_len: usize,
    #[cfg(not(unix))]
    _memory: crate::base::AlignedBuf<u8>,
    start: *mut u8,
    len: usize,
}

impl Guarded {
    #[cfg(unix)]
    fn new(len: usize, at_end: bool) -> Self {
        // SAFETY: sysconf has no preconditions.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let inner = len.next_multiple_of(page).max(page);
        let map_len = inner + 2 * page;
        // SAFETY: a fresh private mapping.
        let map = unsafe {
            libc::mmap(std::ptr::null_mut(), map_len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0)
        };
        assert_ne!(map, libc::MAP_FAILED);
        let map = map.cast::<u8>();
        for guard in [0, page + inner] {
            // SAFETY: both pages are inside the mapping.
            assert_eq!(unsafe { libc::mprotect(map.add(guard).cast(), page, libc::PROT_NONE) }, 0);
        }
        // SAFETY: inside the mapping.
        let start = unsafe { map.add(page + if at_end { inner - len } else { 0 }) };
        Self { map, map_len, start, len }
    }

    #[cfg(not(unix))]
    fn new(len: usize, _at_end: bool) -> Self {
        let budget = crate::base::MemoryBudget::new(u64::MAX);
        let mut memory = crate::base::AlignedBuf::zeroed(&budget, crate::base::MemoryCategory::Other, len).unwrap();
        Self { start: memory.as_mut_ptr(), len, _memory: memory }
    }

    fn filled(bytes: &[u8], at_end: bool) -> Self {
        let mut guarded = Self::new(bytes.len(), at_end);
        guarded.bytes_mut().copy_from_slice(bytes);
        guarded
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: len bytes of the mapping, which lives as long as self.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as bytes, and the reference is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl AsRef<[u8]> for Guarded {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

#[cfg(unix)]
impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: mapped in new.
        unsafe { libc::munmap(self.map.cast(), self.map_len) };
    }
}

// SAFETY: plain memory without interior mutability.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

fn columns(kernels: Kernels, kind: ActKind, xs: &[Vec<f32>], at_end: bool) -> Guarded {
    let stride = kind.bytes(xs[0].len());
    let mut data = Guarded::new(stride * xs.len(), at_end);
    for (x, column) in xs.iter().zip(data.bytes_mut().chunks_exact_mut(stride)) {
        column.fill(0xa5);
        kernels.quantize(kind, x, column);
    }
    data
}

/// Runs a product into a buffer of its own; `out (cols, rows)`.
fn product(kernels: Kernels, w: &Matrix, rows: std::ops::Range<usize>, data: &[u8], cols: usize, at_end: bool) -> Vec<f32> {
    const GAP: usize = 3;
    let kind = ActKind::for_type(w.ty());
    let acts = Acts { kind, data, stride: kind.bytes(w.cols()), cols };
    let ld = rows.len() + GAP;
    let mut out = Guarded::new(((cols - 1) * ld + rows.len()) * 4, at_end);
    out.bytes_mut().fill(0x5a);
    let mut scratch = Guarded::new(kernels.scratch_bytes(w.ty(), w.cols(), cols), at_end);
    scratch.bytes_mut().fill(0xff);
    // SAFETY: out holds cols columns at distance ld, and is used by nothing else.
    unsafe { kernels.matmul(w, rows.clone(), w.rows_bytes(0..1), acts, out.start.cast(), ld, scratch.bytes_mut()) };
    let all: Vec<f32> = out.bytes().chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect();
    let gap = f32::from_ne_bytes([0x5a; 4]);
    let mut result = Vec::new();
    for (i, value) in all.into_iter().enumerate() {
        if i % ld < rows.len() {
            result.push(value);
        } else {
            assert_eq!(value.to_bits(), gap.to_bits(), "{kernels:?} wrote between the columns");
        }
    }
    result
}

fn same_bits(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn check_type(ty: TensorType, ks: &[usize], fills: &[Fill], col_counts: &[usize], ranges: &[std::ops::Range<usize>]) {
    let portable = Kernels::for_isa(Isa::Portable).unwrap();
    let levels: Vec<_> = Isa::available().into_iter().skip(1).map(|isa| Kernels::for_isa(isa).unwrap()).collect();
    let kind = ActKind::for_type(ty);
    let mut random = Random(u64::from(ty.ggml_id()) + 7);
    let matrix_rows = ranges.iter().map(|range| range.end).max().unwrap();
    let max_cols = *col_counts.iter().max().unwrap();
    for (&k, at_end) in ks.iter().flat_map(|k| [(k, true), (k, false)]) {
        for &fill in fills {
            let bytes = weights(ty, matrix_rows, k, fill, &mut random);
            let w = Matrix::new(ty, matrix_rows, k, SharedBytes::new(std::sync::Arc::new(Guarded::filled(&bytes, at_end)))).unwrap();
            let xs: Vec<Vec<f32>> = (0..max_cols).map(|_| activations(k, fill, &mut random)).collect();
            let reference = columns(portable, kind, &xs, at_end);
            let expected = product(portable, &w, 0..matrix_rows, reference.bytes(), max_cols, at_end);
            for &kernels in &levels {
                let data = columns(kernels, kind, &xs, at_end);
                assert!(data.bytes() == reference.bytes(), "{kernels:?} stores {kind:?} of {k} otherwise");
                for &cols in col_counts {
                    for rows in ranges {
                        let stride = kind.bytes(k);
                        let first = max_cols - cols;
                        let part = Guarded::filled(&data.bytes()[first * stride..], at_end);
                        let got = product(kernels, &w, rows.clone(), part.bytes(), cols, at_end);
                        for (i, &value) in got.iter().enumerate() {
                            let (c, r) = (first + i / rows.len(), rows.start + i % rows.len());
                            let want = expected[c * matrix_rows + r];
                            assert!(
                                same_bits(value, want),
                                "{kernels:?} {ty:?} k {k} {fill:?} rows {rows:?} of {cols} columns: row {r} column {c} is {value:e}, not {want:e}"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Several lengths of rows: one block, a few, and one that no power of two divides.
fn lengths(ty: TensorType) -> &'static [usize] {
    match ty.block_len() {
        1 => &[1, 15, 16, 17, 100, 333, 1100],
        64 | 128 => &[128, 256, 384, 1152],
        32 => &[32, 64, 96, 512, 544, 1088],
        _ => &[256, 512, 1280, 4352],
    }
}

fn all_levels_agree(ty: TensorType) {
    let ks = lengths(ty);
    check_type(ty, ks, &[Fill::Random], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 27, 33], &[0..1, 3..20, 5..75]);
    check_type(ty, &ks[..3], &[0, 1, 2, 3].map(Fill::Saturated), &[1, 4, 8, 33], &[0..17, 2..3]);
    check_type(ty, &ks[..2], &[Fill::AnyScale], &[1, 2, 9, 40], &[0..35, 1..2]);
    if cfg!(target_arch = "x86_64") && ty.block_len() == 256 {
        // Some types have tiles of AMX from 129 columns on.
        let fills = [Fill::Random, Fill::AnyScale, Fill::Saturated(0), Fill::Saturated(1), Fill::Saturated(2), Fill::Saturated(3)];
        check_type(ty, &ks[..2], &fills, &[65, 97, 129, 150], &[0..35, 1..2]);
    }
}

macro_rules! agreement {
    ($($name:ident: $ty:ident,)*) => {
        $(#[test] fn $name() { all_levels_agree(TensorType::$ty) })*
    };
}

agreement! {
    f32_agrees: F32,
    f16_agrees: F16,
    bf16_agrees: BF16,
    q8_0_agrees: Q8_0,
    q4_0_agrees: Q4_0,
    q4_1_agrees: Q4_1,
    q5_0_agrees: Q5_0,
    q5_1_agrees: Q5_1,
    q2_k_agrees: Q2_K,
    q3_k_agrees: Q3_K,
    q4_k_agrees: Q4_K,
    q5_k_agrees: Q5_K,
    q6_k_agrees: Q6_K,
    iq1_s_agrees: IQ1_S,
    iq1_m_agrees: IQ1_M,
    iq2_xxs_agrees: IQ2_XXS,
    iq2_xs_agrees: IQ2_XS,
    iq2_s_agrees: IQ2_S,
    iq3_xxs_agrees: IQ3_XXS,
    iq3_s_agrees: IQ3_S,
    iq4_nl_agrees: IQ4_NL,
    iq4_xs_agrees: IQ4_XS,
    tq1_0_agrees: TQ1_0,
    tq2_0_agrees: TQ2_0,
    mxfp4_agrees: MXFP4,
    nvfp4_agrees: NVFP4,
    q1_0_agrees: Q1_0,
    q2_0_agrees: Q2_0,
}

/// Where sums of sub-blocks are at the edge of 16 bits: the largest quants everywhere, and 16 activations whose magnitudes add up to so much.
#[test]
fn sums_at_the_edge_of_16_bits_agree() {
    let portable = Kernels::for_isa(Isa::Portable).unwrap();
    let half = half::f16::from_f32(0.5).to_le_bytes();
    // Scales of 6 bits of both signs, or of 6 bits and minima.
    let q6_k = [vec![0; 192], (0..16).map(|j| (j * 17 + 5) as u8).collect(), half.to_vec()].concat();
    let head = [half, half].concat().into_iter().chain((0..12).map(|j| (j * 21 + 3) as u8));
    let q4_k: Vec<u8> = head.clone().chain([0xff; 128]).collect();
    let q5_k: Vec<u8> = head.chain([0xff; 160]).collect();
    let rows = 37;
    let types = [(TensorType::Q6_K, q6_k, 32, 16), (TensorType::Q4_K, q4_k, 15, 32), (TensorType::Q5_K, q5_k, 31, 16)];
    for (ty, block, largest, len) in types {
        let w = Matrix::new(ty, rows, 256, SharedBytes::copied(&block.repeat(rows))).unwrap();
        let most = 32767 / (largest * len / 16);
        for magnitude in [most - 1, most, most + 1, most + 2] {
            // 127, and fifteen that share the rest.
            let (each, more) = ((magnitude - 127) / 15, (magnitude - 127) % 15);
            let sixteen: Vec<i32> = (0..16).map(|i| if i == 0 { 127 } else { each + i32::from(i <= more) }).collect();
            assert_eq!(sixteen.iter().sum::<i32>(), magnitude);
            for sign in [1, -1] {
                let column: Vec<f32> = (0..256).map(|i| (sign * sixteen[i % 16]) as f32).collect();
                for cols in [5, 33] {
                    let data = columns(portable, ActKind::Q8x256, &vec![column.clone(); cols], true);
                    let expected = product(portable, &w, 0..rows, data.bytes(), cols, true);
                    for kernels in Isa::available().into_iter().filter_map(Kernels::for_isa) {
                        let got = product(kernels, &w, 0..rows, data.bytes(), cols, true);
                        assert!(got.iter().zip(&expected).all(|(&a, &b)| same_bits(a, b)), "{kernels:?} {ty:?} {magnitude} {cols}");
                    }
                }
            }
        }
    }
}

/// The two smallest scales are subnormal.
#[test]
fn mxfp4_agrees_at_the_smallest_scales() {
    check_type(TensorType::MXFP4, &[32, 96, 544], &[Fill::Tiny], &[1, 3, 8, 33], &[0..17, 2..3]);
}

/// Where dot products of bf16 flush what is subnormal to zero, and other instructions do not.
#[test]
fn bf16_agrees_near_the_subnormal_numbers() {
    check_type(TensorType::BF16, &[15, 32, 100, 1024], &[Fill::Tiny], &[1, 3, 8, 13, 27], &[0..17, 2..3]);
    let portable = Kernels::for_isa(Isa::Portable).unwrap();
    let data = columns(portable, ActKind::Bf16, &[vec![1.0; 32]], true);
    for (bits, expected) in [(0x0001u16, 0.0), (0x807f, 0.0), (0x0080, 32.0 * f32::MIN_POSITIVE)] {
        let w = Matrix::new(TensorType::BF16, 1, 32, SharedBytes::copied(&bits.to_le_bytes().repeat(32))).unwrap();
        assert_eq!(product(portable, &w, 0..1, data.bytes(), 1, true), [expected]);
    }
}

/// Rows of which fewer than sixteen are decoded together.
#[test]
fn long_rows_of_floats_agree() {
    for ty in [TensorType::F32, TensorType::F16, TensorType::BF16] {
        check_type(ty, &[13_001], &[Fill::Random], &[27], &[0..29, 3..5]);
    }
}

/// The portable product against the decoded weights times the stored activations, in f64.
#[test]
fn portable_products_match_the_decoders() {
    let portable = Kernels::for_isa(Isa::Portable).unwrap();
    for ty in TYPES {
        let kind = ActKind::for_type(ty);
        for &k in lengths(ty) {
            let mut random = Random(k as u64);
            let rows = 5;
            let bytes = weights(ty, rows, k, Fill::Random, &mut random);
            let w = Matrix::new(ty, rows, k, SharedBytes::copied(&bytes)).unwrap();
            let x = activations(k, Fill::Random, &mut random);
            let data = columns(portable, kind, std::slice::from_ref(&x), true);
            let stored = stored_values(kind, data.bytes(), k);
            for (a, b) in stored.iter().zip(&x) {
                assert!((a - f64::from(*b)).abs() <= if kind == ActKind::F32 { 0.0 } else { 0.0040 }, "{kind:?}: {b} became {a}");
            }
            let got = product(portable, &w, 0..rows, data.bytes(), 1, true);
            for (r, &value) in got.iter().enumerate() {
                let mut decoded = vec![0.0f32; k];
                decode_row(ty, w.rows_bytes(r..r + 1), &mut decoded).unwrap();
                let exact: f64 = decoded.iter().zip(&stored).map(|(&w, &a)| f64::from(w) * a).sum();
                let largest = decoded.iter().fold(0.0f32, |max, w| max.max(w.abs()));
                let size: f64 = stored.iter().map(|a| a.abs() * f64::from(largest)).sum();
                let error = (f64::from(value) - exact).abs();
                assert!(error <= 1e-6 * size, "{ty:?} k {k} row {r}: {value} is not {exact} ({error:e} of {size:e})");
            }
        }
    }
}

/// The values of one column, as f64.
fn stored_values(kind: ActKind, column: &[u8], k: usize) -> Vec<f64> {
    let f32_at = |at: usize| f64::from(f32::from_ne_bytes(column[at..at + 4].try_into().unwrap()));
    let scales = kind.layout(k).scales;
    (0..k)
        .map(|i| match kind {
            ActKind::F32 => f32_at(i * 4),
            ActKind::Bf16 => f64::from(half::bf16::from_ne_bytes([column[2 * i], column[2 * i + 1]]).to_f32()) * f32_at(scales),
            _ => f64::from(column[i] as i8) * f32_at(scales + i / kind.block_len() * 4),
        })
        .collect()
}

/// Activations of every size, hostile ones too, are stored alike on every level.
#[test]
fn stored_activations_agree_on_hostile_values() {
    let portable = Kernels::for_isa(Isa::Portable).unwrap();
    let mut random = Random(3);
    for kernels in Isa::available().into_iter().filter_map(Kernels::for_isa) {
        for kind in [ActKind::F32, ActKind::Bf16, ActKind::Q8x32, ActKind::Q8x256] {
            for round in 0..200 {
                let k = kind.block_len() * (1 + round % 5);
                let scale = f32::powi(10.0, round as i32 % 80 - 42);
                let mut x: Vec<f32> = (0..k).map(|_| random.unit() * scale).collect();
                if round % 3 == 0 {
                    let at = random.next() as usize % k;
                    x[at] = f32::from_bits(random.next() as u32);
                }
                let (mut a, mut b) = (vec![1u8; kind.bytes(k)], vec![2u8; kind.bytes(k)]);
                portable.quantize(kind, &x, &mut a);
                kernels.quantize(kind, &x, &mut b);
                assert_eq!(a, b, "{kernels:?} {kind:?} round {round}");
            }
        }
    }
}

#[test]
fn foreign_arguments_are_refused() {
    let kernels = Kernels::for_isa(Isa::detect()).unwrap();
    let w = Matrix::new(TensorType::Q8_0, 2, 32, SharedBytes::copied(&[0; 68])).unwrap();
    let data = Guarded::new(192, true);
    let mut out = [0.0f32; 4];
    let mut try_with = |kind: ActKind, stride: usize, cols: usize, rows: std::ops::Range<usize>| {
        let acts = Acts { kind, data: data.bytes(), stride, cols };
        let mut scratch = Guarded::new(kernels.scratch_bytes(TensorType::Q8_0, 32, 8), true);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // SAFETY: the calls that get through write at most 2 rows of 1 column.
            unsafe { kernels.matmul(&w, rows, &[], acts, out.as_mut_ptr(), 2, scratch.bytes_mut()) }
        }))
        .is_ok()
    };
    assert!(try_with(ActKind::Q8x32, 192, 1, 0..2));
    assert!(!try_with(ActKind::Q8x256, 192, 1, 0..2));
    assert!(!try_with(ActKind::Q8x32, 128, 1, 0..2));
    assert!(!try_with(ActKind::Q8x32, 192, 2, 0..2));
    assert!(!try_with(ActKind::Q8x32, 192, 0, 0..2));
    assert!(!try_with(ActKind::Q8x32, 192, 1, 0..3));
}
