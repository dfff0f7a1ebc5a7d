//! Any bytes as `tokenizer.json` that is put into the words of GGUF. Where the file is taken it has a translation or none, but no error; one with as
//! many tokens, which a tokenizer can be made of, and where it is called exact that gives the same ids.
//!
//! `cargo fuzz run translation fuzz/corpus/translation fuzz/seeds/tokenizer -- -max_len=4096 -rss_limit_mb=1024 -timeout=60` (with `-s none` on a
//! stable toolchain). Panics inside Hugging Face's crate are errors by design, so the hook that ends the fuzzer at a panic is taken out for them:
//! what is checked here must not panic outside.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loquat::base::{Pace, SharedBytes, at_once};
use loquat::tokenizer::{EncodeOptions, JsonDefinition, Tokenizer};
use test_support::panics;

const TEXTS: [&str; 4] = ["a", "Hello  world!\n", " \u{e9}\u{4f60}\u{597d} \u{1f642} 1234", "aaaaaaaaaaaaaaaa ab"];

fuzz_target!(|bytes: &[u8]| panics::only_outside(|| check(bytes)));

fn check(bytes: &[u8]) {
    let definition = || JsonDefinition { json: SharedBytes::copied(bytes), rows: Some(8), ..JsonDefinition::default() };
    let Ok(own) = at_once(Tokenizer::from_json(definition(), &Pace::unhurried())) else { return };
    let (same, translation) = at_once(Tokenizer::translated(definition(), &Pace::unhurried())).expect("what can be loaded");
    assert_eq!(same.vocab_size(), own.vocab_size());
    let Some(translation) = translation else { return };
    let other = Tokenizer::new(translation.definition).expect("what was tried");
    assert_eq!(other.vocab_size(), own.vocab_size());
    for text in TEXTS.into_iter().filter(|_| translation.is_exact) {
        let [ours, theirs] = [&own, &other].map(|tokenizer| {
            let mut ids = vec![];
            tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: false }, &mut ids).map(|()| ids)
        });
        if let Ok(ours) = ours {
            assert_eq!(theirs.expect("ids"), ours, "{text:?}");
        }
    }
}
