//! The names of pre-tokenizers in `tokenizer.ggml.pre`, and what each name implies.

#![forbid(unsafe_code)]

use super::Stage;
use super::{digits, runs, words};

/// A pre-tokenizer and the rules that come with its name.
#[derive(Clone, Copy)]
pub(in super::super) struct PreTokenizer {
    pub stages: &'static [Stage],
    /// Token texts are in GPT-2's byte alphabet; else they are plain UTF-8 with `<0xAB>` for single bytes.
    pub byte_level: bool,
    /// Spaces become `▁` first.
    pub escape_spaces: bool,
    /// A word that is a token is that token, whether or not merges lead to it.
    pub ignore_merges: bool,
    /// The same for words of line feeds only.
    pub newline_tokens: bool,
    /// Whether BOS is added where the file doesn't say.
    pub add_bos: bool,
    /// BOS is added even where the file says no.
    pub always_bos: bool,
}

const fn stages(stages: &'static [Stage]) -> PreTokenizer {
    PreTokenizer {
        stages,
        byte_level: true,
        escape_spaces: false,
        ignore_merges: false,
        newline_tokens: false,
        add_bos: false,
        always_bos: false,
    }
}

const LLAMA3: PreTokenizer = stages(&[words::llama3]);
const GPT2: PreTokenizer = stages(&[words::gpt2]);
const QWEN2: PreTokenizer = stages(&[words::qwen2]);
const STARCODER: PreTokenizer = stages(&[runs::each_number, words::gpt2]);
const DEEPSEEK3: PreTokenizer = stages(&[runs::numbers_by_three, runs::cjk_and_kana, words::deepseek3]);
const BLOOM: PreTokenizer = stages(&[runs::between_marks]);
const LINES: PreTokenizer = PreTokenizer { byte_level: false, escape_spaces: true, ..stages(&[runs::lines]) };

const DEEPSEEK_LLM: &[Stage] =
    &[runs::each_newline, runs::cased_words, runs::wide_punctuation, runs::trailing_space, runs::cjk_and_below, runs::numbers];
const DEEPSEEK_CODER: &[Stage] =
    &[runs::each_newline, runs::letters_after_space, runs::punctuation_after_space, runs::cjk_and_below, runs::each_number];
const CHAMELEON: &[Stage] =
    &[runs::sentinels, runs::image_tokens, runs::indentation, runs::each_number, runs::each_punctuation, words::gpt2];
const DEFAULT: &[Stage] = &[runs::punctuation_and_symbols_but_backtick, words::gpt2, runs::numbers, runs::three_digits];

/// All names, for tests and messages.
#[cfg(test)]
#[rustfmt::skip]
pub(super) const NAMES: &[&str] = &[
    "a.x-4.0", "afmoe", "bailingmoe", "bailingmoe2", "bloom", "chameleon", "chatglm-bpe", "codeshell", "cohere2moe", "command-r", "dbrx",
    "deepseek-coder", "deepseek-llm", "deepseek-r1-qwen", "deepseek-v3", "default", "exaone", "exaone-moe", "exaone4", "f2llmv2",
    "falcon", "falcon-h1", "falcon3", "gemma4", "gigachat", "glm4", "glm5", "gpt-2", "gpt-4o", "gpt3-finnish", "granite-docling",
    "granite-embed-multi-311m", "granite-embed-multi-97m", "grok-2", "hunyuan", "hunyuan-dense", "hy_v4", "jais", "jais-2", "jina-de",
    "jina-es", "jina-v1-en", "jina-v2-code", "jina-v2-de", "jina-v2-es", "jina-v5-nano", "joyai-llm", "kanana2", "kimi-k2", "kormo",
    "laguna", "lfm2", "llada-moe", "llama-bpe", "llama-v3", "llama3", "llama4", "megrez", "mellum", "mellum2", "midm-2.0", "minerva-7b",
    "minicpm5", "minimax-m2", "modern-bert", "mpt", "olmo", "phi-2", "pixtral", "poro-chat", "qwen2", "qwen35", "refact", "roberta-bpe",
    "sarvam-moe", "seed-coder", "smaug-bpe", "smollm", "solar-open", "spark2_5", "stablelm2", "starcoder", "superbpe", "talkie", "tekken",
    "tiny_aya", "trillion", "ufakzeka", "viking", "whitespace", "youtu",
];

/// The pre-tokenizer of that name.
pub(in super::super) fn named(name: &str) -> Option<PreTokenizer> {
    Some(match name {
        "default" => stages(DEFAULT),
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" | "jina-v5-nano" => {
            PreTokenizer { ignore_merges: true, add_bos: true, ..LLAMA3 }
        }
        "dbrx" | "smaug-bpe" | "chatglm-bpe" => LLAMA3,
        "glm4" | "glm5" => PreTokenizer { ignore_merges: true, ..LLAMA3 },
        "jais-2" => stages(&[words::jais2]),
        "minicpm5" => PreTokenizer { ignore_merges: true, ..stages(&[runs::numbers_by_three, words::minicpm5]) },
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de" | "jina-v1-en" | "jina-v2-code" | "roberta-bpe"
        | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert" | "mpt" | "olmo" | "jais" | "exaone4" | "trillion" | "granite-docling" => GPT2,
        "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => STARCODER,
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "stablelm2" | "hunyuan" | "solar-open" | "megrez" | "grok-2"
        | "bailingmoe" | "bailingmoe2" | "llada-moe" => QWEN2,
        "qwen35" => stages(&[words::qwen35]),
        "ufakzeka" => stages(&[words::ufakzeka]),
        "seed-coder" => stages(&[words::seed_coder]),
        "laguna" => stages(&[runs::lines, words::qwen2]),
        "exaone-moe" => stages(&[words::exaone_moe]),
        "deepseek-llm" => stages(DEEPSEEK_LLM),
        "deepseek-coder" => stages(DEEPSEEK_CODER),
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => DEEPSEEK3,
        "spark2_5" => stages(&[runs::numbers_by_three, runs::cjk_and_kana, words::spark, runs::each_number]),
        "afmoe" => stages(&[digits::grouped_with_text_before, runs::asian_scripts, words::deepseek3]),
        "youtu" => PreTokenizer { ignore_merges: true, ..stages(&[runs::youtu_groups, words::youtu]) },
        "falcon" => stages(&[runs::punctuation_and_symbols, words::gpt2, runs::three_digits]),
        "bloom" | "poro-chat" | "gpt3-finnish" => BLOOM,
        "viking" => stages(&[runs::between_marks, runs::each_number]),
        "tekken" => PreTokenizer { ignore_merges: true, add_bos: true, ..stages(&[words::tekken]) },
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => stages(&[words::gpt4o]),
        "granite-embed-multi-97m" => PreTokenizer { ignore_merges: true, ..stages(&[words::granite_multilingual]) },
        "tiny_aya" | "cohere2moe" => stages(&[digits::grouped_with_text_before, words::tiny_aya]),
        "chameleon" => PreTokenizer { add_bos: true, ..stages(CHAMELEON) },
        "kimi-k2" => stages(&[words::kimi]),
        "superbpe" => stages(&[runs::numbers, digits::cut_before_groups]),
        "gemma4" | "granite-embed-multi-311m" => PreTokenizer { newline_tokens: true, always_bos: true, ..LINES },
        "sarvam-moe" => LINES,
        "whitespace" => PreTokenizer { byte_level: false, ..stages(&[runs::words_between_spaces]) },
        _ => return None,
    })
}
