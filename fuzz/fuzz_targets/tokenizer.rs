//! Any bytes as `tokenizer.json`. What is taken must encode some texts or say why not, and decode what it encoded, as a whole and as a stream.
//!
//! `cargo fuzz run tokenizer fuzz/corpus/tokenizer fuzz/seeds/tokenizer -- -max_len=4096 -rss_limit_mb=1024 -timeout=20` (with `-s none` on a
//! stable toolchain). Panics inside Hugging Face's crate are errors by design, so the hook that ends the fuzzer at a panic is taken out for them:
//! what is checked here must not panic outside.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loquat::base::{Pace, SharedBytes, at_once};
use loquat::tokenizer::{DecodeOptions, Detokenizer, EncodeOptions, JsonDefinition, Tokenizer};
use test_support::panics;

const TEXTS: [&str; 5] =
    ["", "a", "Hello  world!\n", "\u{e9}e\u{301} \u{4f60}\u{597d} \u{1f642} 1234", "<s><unk> aaaaaaaaaaaaaaaa ab<mask>"];

fuzz_target!(|bytes: &[u8]| panics::only_outside(|| check(bytes)));

fn check(bytes: &[u8]) {
    let definition = JsonDefinition { json: SharedBytes::copied(bytes), rows: Some(8), ..JsonDefinition::default() };
    let Ok(tokenizer) = at_once(Tokenizer::from_json(definition, &Pace::unhurried())) else { return };
    for text in TEXTS {
        for special in [false, true] {
            let mut ids = vec![];
            if tokenizer.encode(text, EncodeOptions { add_special: special, parse_special: special }, &mut ids).is_err() {
                assert!(ids.is_empty());
                continue;
            }
            let whole = tokenizer.decode(&ids, DecodeOptions::default()).expect("ids of the vocabulary");
            let (mut stream, mut text) = (Detokenizer::new(&tokenizer, DecodeOptions::default()), vec![]);
            ids.iter().for_each(|&id| stream.push(id, &mut text).expect("ids of the vocabulary"));
            stream.finish(&mut text);
            assert_eq!(std::str::from_utf8(&text).expect("whole characters"), String::from_utf8_lossy(&whole));
        }
    }
}
