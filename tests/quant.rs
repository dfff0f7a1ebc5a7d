//! Every decoder against gguf-py on random bit patterns: bit equality, with NaN equal to NaN.
//!
//! `tests/goldens/quant.py` writes the files that are read here.

use loquat::quant::{TensorType, decode_row, is_decodable, row_bytes};

#[test]
fn every_decoder_gives_the_reference_bits() {
    for ty in TensorType::ALL.into_iter().filter(|&ty| is_decodable(ty)) {
        let path = format!("{}/tests/goldens/quant/{}.bin", env!("CARGO_MANIFEST_DIR"), ty.name().to_lowercase());
        let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let number = |at: usize| u32::from_le_bytes(golden[at..at + 4].try_into().unwrap());
        assert_eq!(number(0), ty.ggml_id(), "{path}");
        let (blocks, expected) = golden[8..].split_at(number(4) as usize);
        let mut out = vec![0.0f32; expected.len() / 4];
        assert_eq!(row_bytes(ty, out.len()), Some(blocks.len()), "{path}");

        decode_row(ty, blocks, &mut out).unwrap();

        let (mut nans, mut infinite, mut finite) = (0, 0, 0);
        for (i, (got, expected)) in out.iter().zip(expected.as_chunks::<4>().0).enumerate() {
            let expected = f32::from_le_bytes(*expected);
            match expected {
                x if x.is_nan() => nans += 1,
                x if x.is_infinite() => infinite += 1,
                _ => finite += 1,
            }
            let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
            assert!(same, "{ty}, block {}, element {}: {got:e}, expected {expected:e}", i / ty.block_len(), i % ty.block_len());
        }
        // The golden must hold what it is for; the scales of the small floats are always finite.
        let extremes = matches!(ty, TensorType::MXFP4 | TensorType::NVFP4) || (nans > 0 && infinite > 0);
        assert!(extremes && finite > 64, "{ty}: {nans} NaN, {infinite} infinite, {finite} finite values");
    }
}

#[test]
fn all_types_of_weights_are_decodable() {
    use TensorType::*;
    for ty in TensorType::ALL {
        // Integers are no weights, and those two are what llama.cpp stores activations as.
        assert_eq!(is_decodable(ty), !matches!(ty, I8 | I16 | I32 | I64 | Q8_1 | Q8_K), "{ty}");
    }
}
