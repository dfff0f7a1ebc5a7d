//! Token ids against vectors that others made: llama.cpp's own, the demo model's, and those of stories260K.

mod common;

use std::path::{Path, PathBuf};

use loquat::base::MemoryBudget;
use loquat::format::{Access, ModelFile};
use loquat::model::vocabulary;
use loquat::tokenizer::{DecodeOptions, EncodeOptions, Tokenizer};

/// A path beside the repository, or `None` with the reason printed.
fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

fn load(path: &Path) -> Tokenizer {
    let file = ModelFile::open(path, Access::Map, &MemoryBudget::new(u64::MAX)).unwrap();
    Tokenizer::new(vocabulary::definition(&file.metadata).unwrap()).unwrap()
}

fn encode(tokenizer: &Tokenizer, text: &[u8], add_special: bool, parse_special: bool) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, EncodeOptions { add_special, parse_special }, &mut ids).unwrap();
    ids
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn llama_cpp_vectors() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    names.sort();
    assert!(names.len() >= 8);
    for path in names {
        let tokenizer = load(&path);
        let beside = |extension: &str| std::fs::read(path.with_extension(format!("gguf.{extension}"))).unwrap();
        let (input, output) = (beside("inp"), String::from_utf8(beside("out")).unwrap());
        let texts: Vec<&str> = std::str::from_utf8(&input).unwrap().split("\n__ggml_vocab_test__\n").collect();
        let expected: Vec<Vec<u32>> = output.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
        assert!(expected.len() >= 40);
        for (text, expected) in texts.iter().zip(&expected) {
            let found = encode(&tokenizer, text.as_bytes(), false, false);
            assert_eq!(found, *expected, "{} on {text:?}", path.display());
        }
    }
}

#[test]
fn demo_model_vectors() {
    let tokenizer = load(&common::demo("emberfield-3m-q8_0.gguf"));
    let goldens: serde_json::Value = serde_json::from_slice(&std::fs::read(common::demo("goldens.json")).unwrap()).unwrap();
    for (list, count) in [("tokenizer", 44), ("prompts", 18)] {
        let list = goldens[list].as_array().unwrap();
        assert_eq!(list.len(), count);
        for vector in list {
            let text = vector["text"].as_str().unwrap();
            assert_eq!(encode(&tokenizer, text.as_bytes(), true, true), ids(&vector["ids"]), "{text:?}");
            if let Some(text) = vector["greedy_text"].as_str() {
                let options = DecodeOptions { skip_special: false, at_start: false };
                let decoded = tokenizer.decode(&ids(&vector["greedy"]), options).unwrap();
                assert!(String::from_utf8_lossy(&decoded).starts_with(text.trim_end_matches('\u{FFFD}')), "{text:?}");
            }
        }
    }
    assert_eq!(serde_json::json!(tokenizer.end_of_generation()), goldens["about"]["eog_ids"]);
}

#[test]
fn stories_vectors() {
    let Some(folder) = shared("data/stories260k") else { return };
    let tokenizer = load(&folder.join("stories260K-f32.gguf"));
    let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    for vector in expected["tokenizer"].as_array().unwrap() {
        let text = vector["text"].as_str().unwrap();
        let found = encode(&tokenizer, text.as_bytes(), false, false);
        assert_eq!(found, ids(&vector["ids"]), "{text:?}");
        assert_eq!(tokenizer.decode(&found, DecodeOptions::default()).unwrap(), text.as_bytes());
    }
    for prompt in expected["prompts"].as_array().unwrap() {
        let text = prompt["prompt"].as_str().unwrap();
        assert_eq!(encode(&tokenizer, text.as_bytes(), true, false), ids(&prompt["ids"]), "{text:?}");
    }
}
