//! What holds for any text and any vocabulary: decoding undoes encoding, streaming equals decoding at once, nothing grows
//! faster than its input, and nonsense is refused or survived.

use proptest::prelude::*;

use loquat::base::{ErrorKind, MemoryBudget};
use loquat::format::{Access, ModelFile};
use loquat::model::vocabulary;
use loquat::tokenizer::{ByteStrings, DecodeOptions, Definition, Detokenizer, EncodeOptions, Tokenizer};

/// The demo model's vocabulary: byte-level BPE.
fn byte_level() -> Definition {
    let file = ModelFile::open(&test_support::demo("emberfield-3m-q8_0.gguf"), Access::Map, &MemoryBudget::new(u64::MAX)).unwrap();
    vocabulary::definition(&file.metadata).unwrap()
}

/// A SentencePiece vocabulary with all bytes.
fn sentence_piece() -> Definition {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "▁▁", "▁▁▁▁", "a", "b", "ab", "▁a", "aa", "aaaa", "é", "🙂", "🙂🙂", "▁ab", "<x>"].map(String::from));
    let mut types = vec![2, 3, 3];
    types.extend([6; 256]);
    types.extend([1; 13]);
    types.push(4);
    Definition {
        model: "llama".into(),
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        types,
        tokens: tokens.iter().collect(),
        ..Definition::default()
    }
}

fn tokenizers() -> Vec<Tokenizer> {
    let plain = |pre: &str| {
        let mut tokens: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
        tokens.extend(["▁", "a", "b", "ab", "▁a", "é", "\n", "\n\n"].map(String::from));
        Definition {
            model: "gpt2".into(),
            pre: Some(pre.into()),
            types: (0..tokens.len()).map(|id| if id < 256 { 6 } else { 1 }).collect(),
            tokens: tokens.iter().collect(),
            merges: ["a b", "▁ a", "\n \n"].iter().collect(),
            ..Definition::default()
        }
    };
    let names = ["gpt-2", "llama-bpe", "qwen2", "gpt-4o", "deepseek-v3", "deepseek-llm", "superbpe", "kimi-k2"];
    let byte_level = byte_level();
    let mut all: Vec<_> = names.map(|pre| Definition { pre: Some(pre.into()), ..byte_level.clone() }).into();
    all.extend([sentence_piece(), Definition { add_space_prefix: Some(false), ..sentence_piece() }, plain("gemma4"), plain("sarvam-moe")]);
    all.into_iter().map(|definition| Tokenizer::new(definition).unwrap()).collect()
}

fn encode(tokenizer: &Tokenizer, text: &[u8], options: EncodeOptions) -> Vec<u32> {
    let mut ids = vec![7];
    tokenizer.encode(text, options, &mut ids).unwrap();
    assert_eq!(ids.remove(0), 7, "encoding appends");
    ids
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], options: DecodeOptions) -> String {
    let mut stream = Detokenizer::new(tokenizer, options);
    let mut all = String::new();
    let mut out = Vec::new();
    for &id in ids {
        out.clear();
        stream.push(id, &mut out).unwrap();
        all.push_str(std::str::from_utf8(&out).expect("whole characters"));
    }
    out.clear();
    stream.finish(&mut out);
    assert_eq!(stream.pending(), 0);
    all + std::str::from_utf8(&out).unwrap()
}

/// Pieces from which odd texts are made. `▁` is left out: in SentencePiece it can't be told from a space.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ab ]{1,6}",
        Just("<|im_end|>".to_owned()),
        Just("<x>".to_owned()),
        Just("</s>".to_owned()),
        "[ \n\t]{1,4}",
        "[0-9]{1,5}",
        any::<char>().prop_filter("not ▁", |&c| c != '▁').prop_map(String::from),
        "[a-zA-Z'.,é🙂漢]{1,8}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

#[test]
fn decoding_undoes_encoding_and_streaming_agrees() {
    let tokenizers = tokenizers();
    proptest!(ProptestConfig::with_cases(400), |(text in text(), add_special: bool, parse_special: bool)| {
        for tokenizer in &tokenizers {
            let ids = encode(tokenizer, text.as_bytes(), EncodeOptions { add_special, parse_special });
            if !(add_special && parse_special) {
                // What was added is hidden; what was written in the text is shown.
                let options = DecodeOptions { skip_special: !parse_special, at_start: true };
                let decoded = tokenizer.decode(&ids, options).unwrap();
                prop_assert_eq!(String::from_utf8_lossy(&decoded), text.as_str(), "{:?} {:?}", tokenizer, ids);
            }
            for skip_special in [false, true] {
                for at_start in [false, true] {
                    let options = DecodeOptions { skip_special, at_start };
                    let whole = tokenizer.decode(&ids, options).unwrap();
                    let lossy = String::from_utf8_lossy(&whole);
                    prop_assert_eq!(streamed(tokenizer, &ids, options), lossy.as_ref());
                }
            }
        }
    });
}

#[test]
fn bytes_that_are_not_utf8_survive() {
    let tokenizers = tokenizers();
    proptest!(|(text in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xE2), Just(0x96), Just(0xF0), Just(b'a')], 0..40))| {
        for tokenizer in &tokenizers {
            let ids = encode(tokenizer, &text, EncodeOptions { add_special: false, parse_special: false });
            let decoded = tokenizer.decode(&ids, DecodeOptions::default()).unwrap();
            if !text.windows(3).any(|window| window == "▁".as_bytes()) {
                prop_assert_eq!(&decoded, &text);
            }
            let lossy = String::from_utf8_lossy(&decoded);
            prop_assert_eq!(streamed(tokenizer, &ids, DecodeOptions::default()), lossy.as_ref());
        }
    });
}

#[test]
fn any_ids_stream_as_they_decode() {
    let tokenizers = tokenizers();
    proptest!(|(numbers in prop::collection::vec(any::<u32>(), 0..40), skip_special: bool, at_start: bool)| {
        for tokenizer in &tokenizers {
            let ids: Vec<u32> = numbers.iter().map(|number| number % tokenizer.vocab_size()).collect();
            let options = DecodeOptions { skip_special, at_start };
            let whole = tokenizer.decode(&ids, options).unwrap();
            let lossy = String::from_utf8_lossy(&whole);
            prop_assert_eq!(streamed(tokenizer, &ids, options), lossy.as_ref());
        }
    });
}

#[test]
fn a_character_goes_out_when_its_last_byte_comes() {
    let tokenizer = Tokenizer::new(sentence_piece()).unwrap();
    let byte = |byte: u8| u32::from(byte) + 3;
    let mut stream = Detokenizer::new(&tokenizer, DecodeOptions::default());
    let mut steps = Vec::new();
    for id in [0xF0, 0x9F, 0x99, 0x82, 0xF0, 0x9F, b'a', 0x80, 0xE2, 0x82].map(byte) {
        let mut out = Vec::new();
        stream.push(id, &mut out).unwrap();
        steps.push(String::from_utf8(out).unwrap());
    }
    let mut out = Vec::new();
    stream.finish(&mut out);
    steps.push(String::from_utf8(out.clone()).unwrap());
    // The two bytes of a second emoji can go no further once an 'a' follows; a lone tail byte never can.
    assert_eq!(steps, ["", "", "", "🙂", "", "", "\u{FFFD}a", "\u{FFFD}", "", "", "\u{FFFD}"]);
    assert_eq!(stream.push(tokenizer.vocab_size(), &mut out).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_steady_stream_needs_no_memory_of_its_own() {
    let tokenizer = Tokenizer::new(sentence_piece()).unwrap();
    let mut stream = Detokenizer::new(&tokenizer, DecodeOptions::default());
    let mut out = Vec::with_capacity(64);
    let place = out.as_ptr();
    for round in 0..10_000u32 {
        out.clear();
        stream.push(round % tokenizer.vocab_size(), &mut out).unwrap();
    }
    assert_eq!((out.as_ptr(), out.capacity()), (place, 64));
}

/// Megabytes that make careless tokenizers quadratic. The time limit of the test run is the judge of last resort; the work is
/// asserted where it is done, beside the code.
#[test]
fn hostile_megabytes_pass() {
    let mut noise = 1u32;
    let noise: Vec<u8> = (0..1 << 20)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .collect();
    let texts = ["a", " ", "🙂", "ab", "\n", "<", "<|im_end|>", "<|im_", " a"].map(|unit| unit.repeat((1 << 20) / unit.len()).into_bytes());
    for tokenizer in tokenizers().iter().step_by(4) {
        for text in texts.iter().chain([&noise]) {
            let ids = encode(tokenizer, text, EncodeOptions { add_special: false, parse_special: true });
            let options = DecodeOptions { skip_special: false, at_start: true };
            assert!(tokenizer.decode(&ids, options).unwrap() == *text, "{tokenizer:?} on {:?}…", &text[..8]);
        }
    }
}

fn refused(edit: impl FnOnce(&mut Definition)) -> loquat::base::Error {
    let mut definition = sentence_piece();
    edit(&mut definition);
    Tokenizer::new(definition).unwrap_err()
}

#[test]
fn contradictions_are_refused_by_name() {
    let has = |error: loquat::base::Error, kind: ErrorKind, part: &str| {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(part), "{error}");
    };
    has(refused(|d| d.model = "t5".into()), ErrorKind::Unsupported, "'t5'");
    has(refused(|d| (d.model, d.pre) = ("gpt2".into(), Some("no-such".into()))), ErrorKind::Unsupported, "'no-such'");
    has(refused(|d| d.tokens = ByteStrings::new()), ErrorKind::InvalidFile, "without tokens");
    has(refused(|d| d.tokens.push(b"<s>").unwrap()), ErrorKind::InvalidFile, "token");
}

#[test]
fn contradictions_in_numbers() {
    for error in [
        refused(|d| d.scores.truncate(5)),
        refused(|d| d.types.truncate(5)),
        refused(|d| d.scores[9] = f32::NAN),
        refused(|d| (d.add_eos, d.eos, d.tokens) = (Some(true), None, ["a"].iter().collect())),
        refused(|d| (d.model, d.tokens) = ("bert".into(), ["[UNK]"].iter().collect())),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidFile, "{error}");
    }
    let long = "x".repeat(70_000);
    assert_eq!(refused(|d| d.tokens = [&long].into_iter().collect()).kind(), ErrorKind::Unsupported);
}

#[test]
fn a_missing_pre_tokenizer_is_the_default_one_with_a_warning() {
    let definition = Definition { pre: None, ..byte_level() };
    let tokenizer = Tokenizer::new(definition.clone()).unwrap();
    assert_eq!(tokenizer.warnings().len(), 1);
    let named = Tokenizer::new(Definition { pre: Some("default".into()), ..definition }).unwrap();
    assert!(named.warnings().is_empty());
    let options = EncodeOptions::default();
    assert_eq!(encode(&tokenizer, b"12345 it's", options), encode(&named, b"12345 it's", options));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nonsense_vocabularies_are_refused_or_survived(
        model in prop::sample::select(vec!["llama", "gpt2", "bert", "gemma4"]),
        pre in prop::option::of(prop::sample::select(vec!["gpt-2", "llama3", "gemma4", "whitespace", "kimi-k2"])),
        tokens in prop::collection::vec(prop_oneof![prop::collection::vec(any::<u8>(), 0..4), "[ab▁Ġ<>]{0,4}".prop_map(String::into_bytes)], 0..40),
        scores in prop::collection::vec(any::<f32>(), 0..60),
        types in prop::collection::vec(-2i32..9, 0..60),
        merges in prop::collection::vec(prop_oneof![prop::collection::vec(any::<u8>(), 0..6), "[ab▁Ġ]{0,2} [ab▁Ġ]{0,2}".prop_map(String::into_bytes)], 0..30),
        ids in prop::collection::vec(prop::option::of(any::<u32>()), 6),
        flags in prop::collection::vec(prop::option::of(any::<bool>()), 4),
        name in prop::sample::select(vec!["", "phi-3", "modern-bert"]),
        text in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(b'b'), Just(b' ')], 0..60),
    ) {
        let definition = Definition {
            model: model.into(), pre: pre.map(String::from), name: name.into(),
            tokens: tokens.iter().collect(), merges: merges.iter().collect(),
            scores: if scores.len() < 10 { Vec::new() } else { scores },
            types: if types.len() < 10 { Vec::new() } else { types },
            bos: ids[0], eos: ids[1], eot: ids[2], unknown: ids[3].map(|id| id % 50), separator: ids[4].map(|id| id % 50), fim_padding: ids[5],
            add_bos: flags[0], add_eos: flags[1], add_space_prefix: flags[2], lowercase: flags[3],
            ..Definition::default()
        };
        if let Ok(tokenizer) = Tokenizer::new(definition) {
            let count = tokenizer.vocab_size();
            let encoded = encode(&tokenizer, &text, EncodeOptions { add_special: true, parse_special: true });
            prop_assert!(encoded.iter().all(|&id| id < count));
            prop_assert!(tokenizer.end_of_generation().iter().all(|&id| id < count));
            let whole = tokenizer.decode(&encoded, DecodeOptions::default()).unwrap();
            let lossy = String::from_utf8_lossy(&whole);
            prop_assert_eq!(streamed(&tokenizer, &encoded, DecodeOptions::default()), lossy.as_ref());
        }
    }
}

/// Merging word for word as it is defined, quadratic: the best pair, of equals the leftmost, until none is left. `rank` gives
/// the rank of a pair, smaller is better.
fn merge_slowly<R: PartialOrd + Copy>(text: &str, rank: impl Fn(&str, &str) -> Option<R>) -> Vec<String> {
    let mut pieces: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(R, usize)> = None;
        for (at, pair) in pieces.windows(2).enumerate() {
            if let Some(rank) = rank(&pair[0], &pair[1])
                && best.is_none_or(|(least, _)| rank < least)
            {
                best = Some((rank, at));
            }
        }
        let Some((_, at)) = best else { return pieces };
        let right = pieces.remove(at + 1);
        pieces[at].push_str(&right);
    }
}

proptest! {
    #[test]
    fn merges_as_defined(merges in prop::collection::vec(("[abc]{1,4}", "[abc]{1,4}"), 0..30), text in "[abc]{0,200}") {
        let mut tokens: Vec<String> = ["a", "b", "c"].map(String::from).into();
        for (left, right) in &merges {
            for token in [left.clone(), right.clone(), left.clone() + right] {
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
            }
        }
        let rank = |left: &str, right: &str| merges.iter().position(|(l, r)| l == left && r == right);
        let expected = merge_slowly(&text, rank);
        let bpe = Tokenizer::new(Definition {
            model: "gpt2".into(),
            pre: Some("gpt-2".into()),
            tokens: tokens.iter().collect(),
            merges: merges.iter().map(|(left, right)| format!("{left} {right}")).collect(),
            ..Definition::default()
        }).unwrap();
        let shown = |tokenizer: &Tokenizer| {
            // Twice: the second time known words take the short way.
            let options = EncodeOptions { add_special: false, parse_special: false };
            let ids = encode(tokenizer, text.as_bytes(), options);
            assert_eq!(encode(tokenizer, text.as_bytes(), options), ids);
            ids.iter().map(|&id| String::from_utf8(tokenizer.token_text(id).unwrap().to_vec()).unwrap()).collect::<Vec<_>>()
        };
        prop_assert_eq!(shown(&bpe), expected);
    }

    #[test]
    fn scores_as_defined(tokens in prop::collection::btree_map("[ab▁]{1,5}", -3i8..3, 0..40), text in "[ab ]{0,160}") {
        let mut scores: Vec<(String, f32)> = tokens.into_iter().map(|(token, score)| (token, score.into())).collect();
        for single in ["a", "b", "▁"] {
            if !scores.iter().any(|(token, _)| token == single) {
                scores.push((single.into(), 0.0));
            }
        }
        let rank = |left: &str, right: &str| {
            let whole = left.to_owned() + right;
            scores.iter().find(|(token, _)| *token == whole).map(|(_, score)| -score)
        };
        let expected = merge_slowly(&text.replace(' ', "▁"), rank);
        let spm = Tokenizer::new(Definition {
            model: "llama".into(),
            add_space_prefix: Some(false),
            tokens: scores.iter().map(|(token, _)| token).collect(),
            scores: scores.iter().map(|(_, score)| *score).collect(),
            ..Definition::default()
        }).unwrap();
        for _ in 0..2 {
            let ids = encode(&spm, text.as_bytes(), EncodeOptions { add_special: false, parse_special: false });
            let shown: Vec<_> = ids.iter().map(|&id| String::from_utf8(spm.token_text(id).unwrap().to_vec()).unwrap()).collect();
            prop_assert_eq!(shown, expected.clone());
        }
    }
}
