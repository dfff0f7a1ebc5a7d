//! Bursts for x86-64: chains of one instruction each, side by side in twelve registers, so that none waits for its own last result.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::Isa;
use super::super::peak::{Burst, Peaks};
use super::amx;

/// Chains of a round.
const CHAINS: u64 = 12;

/// The loops of a level, or `None` for a level of other processors.
pub(in crate::kernels) fn peaks(isa: Isa) -> Option<&'static Peaks> {
    static AVX2: Peaks = Peaks {
        read: read_avx2,
        int8: Burst { run: int8_avx2, operations: 2 * 32 * CHAINS },
        f32: Burst { run: f32_avx2, operations: 2 * 8 * CHAINS },
        bf16: Burst { run: bf16_avx2, operations: 2 * 8 * CHAINS },
    };
    static AVX512: Peaks = Peaks {
        read: read_avx512,
        int8: Burst { run: int8_avx512, operations: 2 * 64 * CHAINS },
        f32: Burst { run: f32_avx512, operations: 2 * 16 * CHAINS },
        bf16: BF16_WIDENED,
    };
    static VNNI: Peaks = Peaks { int8: INT8_VNNI, ..AVX512 };
    static VNNI_BF16: Peaks = Peaks { bf16: BF16_DOT, ..VNNI };
    static AMX: Peaks = Peaks { int8: INT8_TILES, ..AVX512 };
    static AMX_BF16: Peaks = Peaks { bf16: BF16_DOT, ..AMX };
    // As the products choose.
    let dot = is_x86_feature_detected!("avx512bf16");
    match isa {
        Isa::Avx2 => Some(&AVX2),
        Isa::Avx512 => Some(&AVX512),
        Isa::Avx512Vnni => Some(if dot { &VNNI_BF16 } else { &VNNI }),
        Isa::Amx => Some(if dot { &AMX_BF16 } else { &AMX }),
        _ => None,
    }
}

const INT8_VNNI: Burst = Burst { run: int8_vnni, operations: 2 * 64 * CHAINS };
const INT8_TILES: Burst = Burst { run: amx::burst, operations: amx::BURST_OPERATIONS };
const BF16_WIDENED: Burst = Burst { run: bf16_avx512, operations: 2 * 16 * CHAINS };
const BF16_DOT: Burst = Burst { run: bf16_dot, operations: 2 * 32 * CHAINS };

// Sums side by side in registers of the level. (Written over words, the loop was vectorised across its steps, with a gather in place of each load.)

fn read_avx2(words: &[u64]) -> u64 {
    #[target_feature(enable = "avx2")]
    fn read(words: &[u64]) -> u64 {
        let (steps, rest) = words.as_chunks::<32>();
        let mut sums = [_mm256_setzero_si256(); 8];
        for step in steps {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a step is eight registers of four words.
                *sum = _mm256_add_epi64(*sum, unsafe { _mm256_loadu_si256(step.as_ptr().add(4 * i).cast()) });
            }
        }
        let mut lanes = [0u64; 4];
        let all = sums.into_iter().fold(_mm256_setzero_si256(), |all, sum| _mm256_add_epi64(all, sum));
        // SAFETY: a register is four words.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), all) };
        lanes.iter().chain(rest).fold(0, |sum, word| sum.wrapping_add(*word))
    }
    // SAFETY: in the table of a level that has AVX2.
    unsafe { read(words) }
}

fn read_avx512(words: &[u64]) -> u64 {
    #[target_feature(enable = "avx512f")]
    fn read(words: &[u64]) -> u64 {
        let (steps, rest) = words.as_chunks::<64>();
        let mut sums = [_mm512_setzero_si512(); 8];
        for step in steps {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a step is eight registers of eight words.
                *sum = _mm512_add_epi64(*sum, unsafe { _mm512_loadu_si512(step.as_ptr().add(8 * i).cast()) });
            }
        }
        let all = sums.into_iter().fold(_mm512_setzero_si512(), |all, sum| _mm512_add_epi64(all, sum));
        rest.iter().fold(_mm512_reduce_add_epi64(all).cast_unsigned(), |sum, word| sum.wrapping_add(*word))
    }
    // SAFETY: in the table of a level that has these.
    unsafe { read(words) }
}

/// A function that runs `rounds` times the instructions of a text on each chain: `{acc}` is the chain, `{w}` and `{a}` hold small numbers,
/// `{t}` is at their disposal. Written as assembly, so that the compiler does not see that every round does the same.
macro_rules! burst {
    ($name:ident, $features:literal, $class:ident, $zero:expr, $one:expr, $text:literal) => {
        fn $name(rounds: u32) {
            #[target_feature(enable = $features)]
            fn run(rounds: u32) {
                let (zero, one) = ($zero, $one);
                let mut chains = [zero; CHAINS as usize];
                for _ in 0..rounds {
                    for chain in &mut chains {
                        // SAFETY: arithmetic on registers, by instructions of the features.
                        unsafe {
                            asm!(
                                concat!($text, " # {w} {a} {t}"),
                                acc = inout($class) *chain, w = in($class) one, a = in($class) one, t = out($class) _,
                                options(nomem, nostack, preserves_flags)
                            );
                        }
                    }
                }
            }
            // SAFETY: in the table of a level that has the features.
            unsafe { run(rounds) }
        }
    };
}

// Bytes of value 1; floats of value 0.5, and the same in bf16.
const BYTES: i32 = 0x0101_0101;
const HALVES: i32 = 0x3f00_3f00;

burst!(
    int8_avx2,
    "avx2",
    ymm_reg,
    _mm256_setzero_si256(),
    _mm256_set1_epi32(BYTES),
    "vpmaddubsw {t}, {w}, {a}\nvpmaddwd {t}, {t}, {a}\nvpaddd {acc}, {acc}, {t}"
);
burst!(f32_avx2, "avx2,fma", ymm_reg, _mm256_setzero_ps(), _mm256_set1_ps(0.5), "vfmadd231ps {acc}, {w}, {a}");
burst!(
    bf16_avx2,
    "avx2,fma",
    ymm_reg,
    _mm256_setzero_si256(),
    _mm256_set1_epi32(HALVES),
    "vpslld {t}, {w}, 16\nvfmadd231ps {acc}, {t}, {a}"
);
burst!(
    int8_avx512,
    "avx512f,avx512bw",
    zmm_reg,
    _mm512_setzero_si512(),
    _mm512_set1_epi32(BYTES),
    "vpmaddubsw {t}, {w}, {a}\nvpmaddwd {t}, {t}, {a}\nvpaddd {acc}, {acc}, {t}"
);
burst!(int8_vnni, "avx512f", zmm_reg, _mm512_setzero_si512(), _mm512_set1_epi32(BYTES), "vpdpbusd {acc}, {w}, {a}");
burst!(f32_avx512, "avx512f", zmm_reg, _mm512_setzero_ps(), _mm512_set1_ps(0.5), "vfmadd231ps {acc}, {w}, {a}");
burst!(
    bf16_avx512,
    "avx512f",
    zmm_reg,
    _mm512_setzero_si512(),
    _mm512_set1_epi32(HALVES),
    "vpslld {t}, {w}, 16\nvfmadd231ps {acc}, {t}, {a}"
);
burst!(bf16_dot, "avx512f", zmm_reg, _mm512_setzero_si512(), _mm512_set1_epi32(HALVES), "vdpbf16ps {acc}, {w}, {a}");
