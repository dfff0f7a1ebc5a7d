//! `tokenizer.json` of every kind: ids and texts as Python's `tokenizers` has them, streams in whole characters, and hostile files.
//!
//! `tests/goldens/hub_tokenizers.py` trains the small tokenizers and writes the goldens.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use loquat::base::{Error, ErrorKind, Pace, Result, SharedBytes, at_once};
use loquat::tokenizer::{DecodeOptions, Detokenizer, EncodeOptions, JsonDefinition, Tokenizer};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/hub_tokenizers")
}

fn build(json: &[u8]) -> Result<Tokenizer> {
    let definition = JsonDefinition { json: SharedBytes::copied(json), ..JsonDefinition::default() };
    at_once(Tokenizer::from_json(definition, &Pace::unhurried()))
}

fn encode(tokenizer: &Tokenizer, text: &str, special: bool) -> Vec<u32> {
    let mut ids = vec![];
    tokenizer.encode(text, EncodeOptions { add_special: special, parse_special: special }, &mut ids).unwrap();
    ids
}

fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }))
}

fn checksum(ids: &[u32]) -> u32 {
    crc32(ids.iter().flat_map(|id| id.to_le_bytes()))
}

fn numbers(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u32).collect()
}

#[test]
fn ids_and_texts_are_those_of_the_python_package() {
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(folder().join("texts.json")).unwrap()).unwrap();
    let texts: Vec<&str> = golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(texts.len(), 1000);
    let kinds = golden["expected"].as_object().unwrap();
    assert_eq!(kinds.len(), 11);
    for (name, expected) in kinds {
        let tokenizer =
            build(&std::fs::read(folder().join(format!("{name}.json"))).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let first: Vec<Vec<u32>> = expected["first"].as_array().unwrap().iter().map(numbers).collect();
        let (whole, bare, decoded) = (numbers(&expected["whole"]), numbers(&expected["bare"]), numbers(&expected["decoded"]));
        for (index, text) in texts.iter().enumerate() {
            let ids = encode(&tokenizer, text, true);
            if let Some(first) = first.get(index) {
                assert_eq!(&ids, first, "{name}: {text:?}");
            }
            assert_eq!(checksum(&ids), whole[index], "{name}: {text:?} is {ids:?}");
            let ids = encode(&tokenizer, text, false);
            assert_eq!(checksum(&ids), bare[index], "{name}: {text:?} without special tokens is {ids:?}");

            let bytes = tokenizer.decode(&ids, DecodeOptions::default()).unwrap();
            let lossy = String::from_utf8_lossy(&bytes);
            // The package takes away all spaces of the first token where Metaspace decodes, and the one at the end where BPEDecoder does.
            let there = match &**name {
                "suffixed" => lossy.strip_suffix(' ').unwrap_or(&lossy),
                "unigram" => {
                    let first = tokenizer.decode(&ids[..ids.len().min(1)], DecodeOptions::default()).unwrap();
                    &lossy[first.iter().take_while(|&&byte| byte == b' ').count()..]
                }
                _ => &lossy,
            };
            assert_eq!(crc32(there.bytes()), decoded[index], "{name}: {text:?} becomes {lossy:?}");
            streams_like(&tokenizer, &ids, &lossy);
        }
    }
}

/// What GGUF has words for gives the same ids by them; what it has none for is not taken for something else.
#[test]
fn translations_give_the_same_ids() {
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(folder().join("texts.json")).unwrap()).unwrap();
    let texts: Vec<&str> = golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for (name, expected) in [
        ("bert", Some(("bert", None, true))),
        // Its tokens are such that GPT-2's way to cut words gives the same.
        ("deepseek", Some(("gpt2", Some("gpt-2"), true))),
        ("gpt2", Some(("gpt2", Some("gpt-2"), true))),
        ("llama2", Some(("llama", None, true))),
        ("llama3", Some(("gpt2", Some("llama-bpe"), true))),
        // GGUF has no word for a space at the start of a text that is not put behind special tokens.
        ("metaspace", Some(("llama", None, false))),
        // Nor for the normal form that texts are put into. (The small vocabulary has no numbers that tell the ways to cut apart.)
        ("qwen2", Some(("gpt2", Some("gpt-2"), false))),
        ("roberta", None),
        ("suffixed", None),
        ("unigram", None),
        ("words", None),
    ] {
        let json = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
        let definition = JsonDefinition { json: SharedBytes::copied(&json), ..JsonDefinition::default() };
        let (own, translation) = at_once(Tokenizer::translated(definition, &Pace::unhurried())).unwrap();
        let found = translation.as_ref().map(|found| (found.definition.model.as_str(), found.definition.pre.as_deref(), found.is_exact));
        assert_eq!(found, expected, "{name}");
        let Some(translation) = translation else { continue };
        let translated = Tokenizer::new(translation.definition).unwrap();
        let mut different = 0;
        for text in texts.iter().filter(|text| translation.is_exact || !text.starts_with([' ', '▁'])) {
            let ids = |tokenizer: &Tokenizer| {
                let mut ids = vec![];
                tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: false }, &mut ids).unwrap();
                ids
            };
            let same_in_templates = !translation.is_exact || encode(&translated, text, true) == encode(&own, text, true);
            different += usize::from(ids(&translated) != ids(&own) || !same_in_templates);
        }
        // Two of the texts hold characters that WordPiece takes for punctuation in one library and not in the other.
        let most = if name == "bert" {
            2
        } else if translation.is_exact {
            0
        } else {
            texts.len() / 20
        };
        assert!(different <= most, "{name}: {different} texts");
    }
}

/// A stream of the ids gives whole characters, and all of them.
fn streams_like(tokenizer: &Tokenizer, ids: &[u32], whole: &str) {
    let mut stream = Detokenizer::new(tokenizer, DecodeOptions::default());
    let mut text = String::new();
    for &id in ids {
        let mut piece = vec![];
        stream.push(id, &mut piece).unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let mut piece = vec![];
    stream.finish(&mut piece);
    text.push_str(std::str::from_utf8(&piece).unwrap());
    assert_eq!(text, whole);
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let tokenizer = build(&std::fs::read(folder().join("gpt2.json")).unwrap()).unwrap();
    let (mut found, mut expected) = (vec![], vec![]);
    tokenizer.encode(b"a\xFFb", EncodeOptions::default(), &mut found).unwrap();
    tokenizer.encode("a\u{FFFD}b", EncodeOptions::default(), &mut expected).unwrap();
    assert_eq!(found, expected);
}

#[track_caller]
fn refused(json: &str, kind: ErrorKind, says: &str) {
    let error = build(json.as_bytes()).expect_err("the file was taken");
    assert!(error.message().contains(says), "'{says}' is not in: {error}");
    assert_eq!(error.kind(), kind, "{error}");
}

/// A small BPE with other stages.
fn with(stages: &str) -> String {
    format!(r#"{{"version":"1.0","added_tokens":[],{stages},"model":{{"type":"BPE","vocab":{{"a":0,"b":1,"ab":2}},"merges":["a b"]}}}}"#)
}

#[test]
fn faults_are_errors_that_name_the_place() {
    use ErrorKind::{InvalidFile, Unsupported};
    refused("", InvalidFile, "at byte 0");
    refused("{", InvalidFile, "at byte 0");
    refused("[]", InvalidFile, "at byte");
    refused(r#"{"model": 1}"#, InvalidFile, "at byte 10");
    refused(r#"{"model": {"type": "BPE", "vocab": {}, "merges": []}}"#, InvalidFile, "without tokens");
    refused(r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a c"]}}"#, InvalidFile, "key 'model'");
    refused(r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 4000000000}, "merges": []}}"#, InvalidFile, "the id 4000000000");
    refused(r#"{"model": {"type": "BPE", "dropout": 0.1, "vocab": {"a": 0}, "merges": []}}"#, Unsupported, "model.dropout");
    refused(r#"{"model": {"type": "Oracle", "vocab": {"a": 0}}}"#, InvalidFile, "key 'model'");
    refused(
        &with(r#""pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated","invert":false}"#),
        Unsupported,
        "key 'pre_tokenizer'",
    );
    refused(&with(r#""decoder":{"type":"CTC","pad_token":"a","word_delimiter_token":"b","cleanup":true}"#), Unsupported, "'CTC'");
    refused(&with(r#""normalizer":{"type":"Sequence","normalizers":3}"#), InvalidFile, "key 'normalizer'");
    let prepend = format!(r#""normalizer":{{"type":"Prepend","prepend":"{}"}}"#, "x".repeat(100));
    refused(&with(&prepend), Unsupported, "Prepend");
    refused(&with(&format!(r#""normalizer":{}null{}"#, "[".repeat(1000), "]".repeat(1000))), InvalidFile, "recursion limit");
    let twice = r#""post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],"special_tokens":{}}"#;
    refused(&with(twice), Unsupported, "post_processor");
    let outside = r#""post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],"special_tokens":{"x":{"id":"x","ids":[7],"tokens":["x"]}}}"#;
    refused(&with(outside), InvalidFile, "token 7 is outside the vocabulary");
    refused(&with(r#""normalizer":null"#).replace("1.0", "2.0"), Unsupported, "key 'version'");
}

fn encoding_error(json: &str, text: &str) -> Error {
    let tokenizer = build(json.as_bytes()).unwrap();
    let (mut ids, start) = (vec![7], Instant::now());
    let error = tokenizer.encode(text, EncodeOptions::default(), &mut ids).expect_err("the text was encoded");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(ids, [7]);
    error
}

#[test]
fn patterns_and_replacements_are_bounded() {
    let split = |pattern: &str| {
        with(&format!(r#""pre_tokenizer":{{"type":"Split","pattern":{{"Regex":"{pattern}"}},"behavior":"Isolated","invert":false}}"#))
    };
    // Exponential by back references, and quadratic without end.
    let error = encoding_error(&split(r"(a+)+\\1b(?=c)"), &"a".repeat(5000));
    assert!(error.message().contains("tokenizer.json"), "{error}");
    let error = encoding_error(&split(r"(?=a*b)a|a*(?=b)|x(?!a)"), &"a".repeat(200_000));
    assert!(error.message().contains("tokenizer.json"), "{error}");
    let replace = |times: usize| {
        let step = format!(r#"{{"type":"Replace","pattern":{{"String":"a"}},"content":"{}"}}"#, "a".repeat(60));
        with(&format!(r#""normalizer":{{"type":"Sequence","normalizers":[{}]}}"#, vec![step; times].join(",")))
    };
    let error = encoding_error(&replace(20), &"a".repeat(10_000));
    assert!(error.message().contains("normalisation makes more than"), "{error}");
    // Added tokens are normalised when the file is read, and tokens decoded.
    let added =
        r#""added_tokens":[{"id":3,"content":"a","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false}]"#;
    let grown = replace(20).replace(r#""added_tokens":[]"#, added);
    let error = build(grown.as_bytes()).expect_err("the file was taken");
    assert!(error.message().contains("normalisation makes more than"), "{error}");
    let step = format!(r#"{{"type":"Replace","pattern":{{"String":"a"}},"content":"{}"}}"#, "a".repeat(60));
    let decoders = with(&format!(r#""decoder":{{"type":"Sequence","decoders":[{}]}}"#, vec![step; 8].join(",")));
    let error = build(decoders.as_bytes()).expect_err("the file was taken");
    assert!(error.message().contains("it becomes longer than"), "{error}");
    let tokenizer = build(replace(1).as_bytes()).unwrap();
    let mut ids = vec![];
    assert!(tokenizer.encode(vec![b'a'; (16 << 20) + 1], EncodeOptions::default(), &mut ids).is_err());
}

#[test]
fn cut_and_mutated_files_are_errors_or_work() {
    let mut random = 88172645463325252u64;
    let mut next = move |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit as u64) as usize
    };
    for name in ["llama2", "unigram", "bert", "roberta"] {
        let (mut taken, mut refused) = (0, 0);
        let bytes = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
        for round in 0..20 {
            let len = bytes.len() * round / 20;
            assert_eq!(build(&bytes[..len]).unwrap_err().kind(), ErrorKind::InvalidFile, "{name} cut at {len}");
        }
        for round in 0..300 {
            let mut mutated = bytes.clone();
            for _ in 0..1 + next(3) {
                let at = next(mutated.len());
                mutated[at] = match (round % 2, mutated[at]) {
                    // Digits for digits and letters for letters leave the JSON whole.
                    (0, b'0'..=b'9') => b"0123456789"[next(10)],
                    (0, b'a'..=b'z') => b"abcdefghijklmnopqrstuvwxyz"[next(26)],
                    (0, other) => other,
                    _ => b"0123456789\"{}[],:aetnull-. "[next(27)],
                };
            }
            let Ok(tokenizer) = build(&mutated) else {
                refused += 1;
                continue;
            };
            taken += 1;
            let mut ids = vec![];
            if tokenizer.encode("Mira lit the <mask> lantern. 你好\n", EncodeOptions::default(), &mut ids).is_ok() {
                let text = tokenizer.decode(&ids, DecodeOptions::default());
                assert!(text.is_ok(), "{ids:?}");
            }
        }
        assert!(taken >= 20 && refused >= 20, "{name}: {taken} taken, {refused} refused");
    }
}
