//! Token ids against vectors that others made: llama.cpp's own, the demo model's, and those of stories260K.

use std::path::{Path, PathBuf};

use loquat::base::MemoryBudget;
use loquat::format::{Access, ModelFile};
use loquat::model::vocabulary;
use loquat::tokenizer::{DecodeOptions, Definition, EncodeOptions, Tokenizer};

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
    let tokenizer = load(&test_support::demo("emberfield-3m-q8_0.gguf"));
    let goldens: serde_json::Value = serde_json::from_slice(&std::fs::read(test_support::demo("goldens.json")).unwrap()).unwrap();
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

/// FNV-1a, 64 bits, as `goldens/pre_tokenizers.py` takes it.
fn digest(state: u64, ids: &[u32]) -> u64 {
    let bytes = ids.iter().chain([&u32::MAX]).flat_map(|id| id.to_le_bytes());
    bytes.fold(state, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn strings(value: &serde_json::Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The tokens and, behind them, what the merges make of them.
fn with_merged(mut tokens: Vec<String>, merges: &[&str]) -> Vec<String> {
    let mut known: std::collections::HashSet<String> = tokens.iter().cloned().collect();
    for text in merges.iter().map(|merge| merge.replacen(' ', "", 1)) {
        if known.insert(text.clone()) {
            tokens.push(text);
        }
    }
    tokens
}

#[test]
fn every_pre_tokenizer_of_llama_cpp() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("goldens/pre_tokenizers.json")).unwrap();
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100..;
    let alphabet = (0..=255u8).map(|byte| if printable(&byte) { u32::from(byte) } else { others.next().unwrap() });
    let mut tokens: Vec<String> = alphabet.map(|point| char::from_u32(point).unwrap().to_string()).collect();
    tokens.extend(strings(&golden["unreachable"]).iter().map(ToString::to_string));
    let merges = strings(&golden["merges"]);
    let bytes = Definition {
        model: "gpt2".into(),
        tokens: with_merged(tokens, &merges).iter().collect(),
        merges: merges.iter().collect(),
        ..Definition::default()
    };
    let mut tokens: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    tokens.extend(golden["plain_characters"].as_str().unwrap().chars().map(String::from));
    tokens.extend(strings(&golden["plain_unreachable"]).iter().map(ToString::to_string));
    let merges = strings(&golden["plain_merges"]);
    let tokens = with_merged(tokens, &merges);
    let plain = Definition {
        types: (0..tokens.len()).map(|id| if id < 256 { 6 } else { 1 }).collect(),
        tokens: tokens.iter().collect(),
        merges: merges.iter().collect(),
        ..bytes.clone()
    };
    let texts = strings(&golden["texts"]);
    let names = golden["digests"].as_object().unwrap();
    assert!(names.len() >= 91);
    for (name, expected) in names {
        let is_plain = ["gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace"].contains(&name.as_str());
        let definition = Definition { pre: Some(name.clone()), ..if is_plain { &plain } else { &bytes }.clone() };
        let tokenizer = Tokenizer::new(definition).unwrap();
        let mut state = 0xcbf2_9ce4_8422_2325;
        for text in &texts {
            // llama.cpp aborts on these with this one name.
            let spaces = |pair: &[char]| pair.iter().all(|c| c.is_whitespace() || ('\x1c'..='\x1f').contains(c));
            if name == "whitespace" && text.chars().collect::<Vec<_>>().windows(2).any(spaces) {
                continue;
            }
            state = digest(state, &encode(&tokenizer, text.as_bytes(), false, false));
        }
        assert_eq!(format!("{state:016x}"), expected.as_str().unwrap(), "{name}");
    }
}

#[test]
fn special_tokens_as_llama_cpp_has_them() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("goldens/special_tokens.json")).unwrap();
    let texts = strings(&golden["texts"]);
    for (name, expected) in golden["vocabularies"].as_object().unwrap() {
        let path = match name.strip_prefix("demo-model/") {
            Some(file) => test_support::demo(file),
            None => match shared(name) {
                Some(path) => path,
                None => continue,
            },
        };
        let tokenizer = load(&path);
        let start = 0xcbf2_9ce4_8422_2325;
        for (choice, expected) in strings(&expected["encoded"]).iter().enumerate() {
            let (add, parse) = (choice & 2 != 0, choice & 1 != 0);
            let state = texts.iter().fold(start, |state, text| digest(state, &encode(&tokenizer, text.as_bytes(), add, parse)));
            assert_eq!(format!("{state:016x}"), *expected, "{name}, add {add}, parse {parse}");
        }
        let decoded = (0..tokenizer.vocab_size()).fold(start, |state, id| {
            digest(state, &tokenizer.token_bytes(id).unwrap().iter().map(|&byte| byte.into()).collect::<Vec<u32>>())
        });
        assert_eq!(format!("{decoded:016x}"), expected["decoded"].as_str().unwrap(), "{name}");
        assert_eq!(tokenizer.end_of_generation(), ids(&expected["end_of_generation"]), "{name}");
    }
}
