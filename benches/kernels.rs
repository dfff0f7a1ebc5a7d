//! Speed of the matrix products: per type, level and number of columns, as share of what the processor can do.
//!
//! `cargo bench --bench kernels -- [types] [levels] [columns]`, each a comma-separated list or `-` for the usual ones, such as
//! `cargo bench --bench kernels -- Q4_K,Q6_K avx512vnni,amx 1,512`. One thread. Of several passes the best and the median are
//! printed. Peaks are measured in the same run: integer dot products in registers, and one sequential read of memory.

use std::hint::black_box;
use std::time::Instant;

use loquat::base::{AlignedBuf, MemoryBudget, MemoryCategory, SharedBytes};
use loquat::kernels::{ActKind, Acts, Isa, Kernels, Matrix};
use loquat::quant::{TensorType, row_bytes};

const TYPES: [&str; 25] = [
    "Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS", "MXFP4", "IQ3_S", "IQ3_XXS",
    "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S", "TQ2_0", "TQ1_0", "F16", "BF16", "F32",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let list = |i: usize| args.get(i).filter(|arg| *arg != "-").map(|arg| arg.split(',').map(str::to_owned).collect::<Vec<_>>());
    let types = list(0).unwrap_or_else(|| TYPES.map(str::to_owned).to_vec());
    let levels = list(1).unwrap_or_else(|| Isa::available().iter().rev().map(|isa| isa.name().to_owned()).collect());
    let columns: Vec<usize> = list(2).map_or(vec![1, 2, 4, 8, 512], |list| list.iter().map(|n| n.parse().expect("a number")).collect());

    let read = read_bandwidth();
    let peak = dot_product_peak();
    println!("one thread: read {read:.1} GB/s, 8-bit dot products in registers {peak:.0} GOPS");
    println!("{:7} {:10} {:>5} {:>7}  best (median)", "type", "level", "k", "columns");
    for name in &types {
        let ty = (0..64).filter_map(TensorType::from_ggml).find(|ty| ty.name() == name).expect("a tensor type");
        for &cols in &columns {
            for level in &levels {
                let kernels = Isa::from_name(level).and_then(Kernels::for_isa).expect("a level of this processor");
                for k in [2048, 5632] {
                    if cols > 4 || k == 2048 {
                        measure(kernels, ty, k, cols, read, peak);
                    }
                }
            }
        }
    }
}

fn measure(kernels: Kernels, ty: TensorType, k: usize, cols: usize, read: f64, peak: f64) {
    let few = cols <= 4;
    // Few columns read the weights from memory; many find them in the cache.
    let row = row_bytes(ty, k).expect("whole blocks");
    let slow = if kernels.isa() == Isa::Portable { 16 } else { 1 };
    let rows = if few { (256 << 20) / row / slow / 64 * 64 } else { 512 / slow };
    let kind = ActKind::for_type(ty);
    let budget = MemoryBudget::new(u64::MAX);
    let mut bytes = vec![0u8; rows * row];
    let mut state = 1u64;
    for byte in &mut bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    // Random bits of floats are often NaN or subnormal, which no model has.
    match ty {
        TensorType::F32 => bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&(f32::from(b[0]) / 256.0 - 0.5).to_le_bytes())),
        TensorType::MXFP4 => bytes.chunks_exact_mut(17).for_each(|b| b[0] = 120),
        TensorType::F16 | TensorType::BF16 => bytes.chunks_exact_mut(2).for_each(|b| b[1] = 0x38 | b[1] & 0x87),
        _ => {}
    }
    let w = Matrix::new(ty, rows, k, SharedBytes::new(std::sync::Arc::new(bytes))).expect("a matrix");
    let stride = kind.bytes(k);
    let zeroed = |len| AlignedBuf::<u8>::zeroed(&budget, MemoryCategory::Other, len).expect("memory");
    let mut acts = zeroed(stride * cols);
    let x: Vec<f32> = (0..k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    for column in acts.chunks_exact_mut(stride) {
        kernels.quantize(kind, &x, column);
    }
    let mut scratch = zeroed(kernels.scratch_bytes(ty, k, cols));
    let mut out = AlignedBuf::<f32>::zeroed(&budget, MemoryCategory::Other, cols * Kernels::ROW_STEP).expect("memory");
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 3 || (began.elapsed().as_millis() < 600 && times.len() < 50) {
        let start = Instant::now();
        for first in (0..rows).step_by(Kernels::ROW_STEP) {
            let range = first..(first + Kernels::ROW_STEP).min(rows);
            let next = w.rows_bytes(range.end..(range.end + Kernels::ROW_STEP).min(rows));
            let acts = Acts { kind, data: &acts, stride, cols };
            // SAFETY: out holds cols columns of ROW_STEP rows.
            unsafe { kernels.matmul(&w, range, next, acts, out.as_mut_ptr(), Kernels::ROW_STEP, &mut scratch) };
        }
        times.push(start.elapsed().as_secs_f64());
    }
    black_box(&out[..]);
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[times.len() / 2]);
    let name = (ty.name(), kernels.isa().name());
    if few {
        let gb = (rows * row) as f64 / 1e9;
        let (best, median) = (gb / best, gb / median);
        println!("{:7} {:10} {k:5} {cols:7}  {best:6.1} ({median:.1}) GB/s, {:.0} % of reading", name.0, name.1, best / read * 100.0);
    } else {
        let gop = 2.0 * (rows * k * cols) as f64 / 1e9;
        let (best, median) = (gop / best, gop / median);
        println!("{:7} {:10} {k:5} {cols:7}  {best:6.0} ({median:.0}) GOPS, {:.0} % of vpdpbusd", name.0, name.1, best / peak * 100.0);
    }
}

/// GB/s of one thread that reads 512 MiB from start to end.
fn read_bandwidth() -> f64 {
    let data: Vec<u64> = (0..64 << 20).collect();
    let mut best = 0.0f64;
    for _ in 0..8 {
        let start = Instant::now();
        let mut sums = [0u64; 32];
        for chunk in data.chunks_exact(32) {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*value);
            }
        }
        black_box(sums);
        best = best.max((data.len() * 8) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    best
}

/// GOPS of `vpdpbusd` on registers, 0 where the processor has none.
fn dot_product_peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512vnni") {
        return (0..5).map(|_| vpdpbusd_pass()).fold(0.0, f64::max);
    }
    0.0
}

#[cfg(target_arch = "x86_64")]
fn vpdpbusd_pass() -> f64 {
    use std::arch::asm;
    const PASSES: u64 = 5_000_000;
    let start = Instant::now();
    // SAFETY: registers only, all of them declared; the caller has checked for VNNI.
    unsafe {
        asm!(
            "2:",
            "vpdpbusd zmm0, zmm30, zmm31", "vpdpbusd zmm1, zmm30, zmm31", "vpdpbusd zmm2, zmm30, zmm31", "vpdpbusd zmm3, zmm30, zmm31",
            "vpdpbusd zmm4, zmm30, zmm31", "vpdpbusd zmm5, zmm30, zmm31", "vpdpbusd zmm6, zmm30, zmm31", "vpdpbusd zmm7, zmm30, zmm31",
            "vpdpbusd zmm8, zmm30, zmm31", "vpdpbusd zmm9, zmm30, zmm31", "vpdpbusd zmm10, zmm30, zmm31", "vpdpbusd zmm11, zmm30, zmm31",
            "dec {n}", "jnz 2b",
            n = inout(reg) PASSES => _,
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm30") _, out("zmm31") _,
            options(nomem, nostack)
        );
    }
    PASSES as f64 * 12.0 * 128.0 / start.elapsed().as_secs_f64() / 1e9
}
