//! A trained model of 260 k parameters in every container and tensor type that computes the same function, against an independent
//! numpy reference. The files are not part of the repository; the tests say so where they are absent.

use std::path::{Path, PathBuf};

use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::session::{KvType, Session, SessionOptions, Step};
use loquat::tokenizer::EncodeOptions;
use test_support::npy;

/// The variants, with how far a logit may be from the reference: in f64 on the original weights or, for quantised weights (another
/// function), llama.cpp's on the same file.
const VARIANTS: [(&str, f32); 8] = [
    ("f32", 1e-3),
    ("f16", 2e-2),
    ("qwen2-f32", 1e-3),
    ("moe-f32", 1e-3),
    ("wide-f16", 2e-2),
    ("wide-Q4_K_M", 1e-3),
    ("wide-Q2_K", 1e-3),
    ("wide-IQ4_XS", 1e-3),
];

fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/stories260k"));
    if !folder.exists() {
        eprintln!("skipped: {} is absent", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn every_variant_gives_the_reference_logits_and_text() {
    let Some(folder) = folder() else { return };
    let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(2), ..Default::default() }).unwrap();
    for (file, tolerance) in VARIANTS {
        let model = Model::load(&runtime, &folder.join(format!("stories260K-{file}.gguf")), LoadOptions::default()).unwrap();
        let quantised = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/stories260k/{file}.npy"));
        let reference = npy(&if quantised.exists() { quantised.clone() } else { folder.join("expected_logits.npy") });
        let vocab = model.vocab_size().unwrap();
        let (mut worst, mut squares) = (0.0f32, 0.0f64);
        for (index, prompt) in expected["prompts"].as_array().unwrap().iter().enumerate() {
            let text = prompt["prompt"].as_str().unwrap();
            let numbers = |key: &str| prompt[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>();
            let mut ids = vec![];
            model.tokenizer().unwrap().encode(text, EncodeOptions { add_special: true, parse_special: false }, &mut ids).unwrap();
            assert_eq!(ids, numbers("ids"), "{file}: {text:?}");

            let options = SessionOptions { kv_type: KvType::F32, ignore_eog: true, ..Default::default() };
            let mut session = Session::new(&model, &options).unwrap();
            session.append(&ids).unwrap();
            let greedy = numbers("greedy_ids");
            let mut got = vec![];
            for step in 0..greedy.len() {
                let Step::Token { id } = session.step(u64::MAX).unwrap() else { panic!("{file}: the turn ended") };
                got.push(id);
                if step == 0 {
                    for (a, b) in session.logits().unwrap().iter().zip(&reference[index * vocab..][..vocab]) {
                        worst = worst.max((a - b).abs());
                        squares += f64::from(a - b).powi(2);
                    }
                }
            }
            // The reference's choice between nearly equal logits is fragile.
            if !quantised.exists() && prompt["min_top2_gap"].as_f64().unwrap() > 1e-3 {
                assert_eq!(got, greedy, "{file}: {text:?}");
            }
        }
        println!("{file}: largest logit difference {worst}, rms {}", (squares / reference.len() as f64).sqrt());
        assert!(worst <= tolerance, "{file}: a logit differs by {worst}");
    }
}
