//! Small models of every kind of architecture with changed configurations and tensors. Either the loader refuses the file, naming what is
//! wrong with it, or the model computes: no panic, and equal bits whether the tokens come at once or one by one.
//!
//! `cargo fuzz run architecture fuzz/corpus/architecture fuzz/seeds/architecture -- -max_len=64 -rss_limit_mb=1024`
//! The first byte chooses the model; behind it each six bytes are a change (`tests/support/model_changes.rs`).

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use test_support::model_changes;

const MODELS: [&[u8]; 8] = [
    include_bytes!("../../tests/goldens/models/bert.gguf"),
    include_bytes!("../../tests/goldens/models/falcon-40b.gguf"),
    include_bytes!("../../tests/goldens/models/gemma2.gguf"),
    include_bytes!("../../tests/goldens/models/gpt-oss.gguf"),
    include_bytes!("../../tests/goldens/models/llama.gguf"),
    include_bytes!("../../tests/goldens/models/phi3-long.gguf"),
    include_bytes!("../../tests/goldens/models/qwen2moe.gguf"),
    include_bytes!("../../tests/goldens/models/stablelm-12b.gguf"),
];

/// Sessions of changed models stay small.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let options = RuntimeOptions { threads: Threads::Count(1), memory_limit: Some(256 << 20), ..Default::default() };
    Runtime::new(options).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&model, changes)) = bytes.split_first() else { return };
    model_changes::check(&RUNTIME, model_changes::read(MODELS[model as usize % MODELS.len()]), changes);
});
