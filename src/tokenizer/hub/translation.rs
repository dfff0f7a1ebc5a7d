//! A `tokenizer.json` in the words of GGUF, for files that other programs are to read too.
//!
//! GGUF names a tokenizer model and a pre-tokenizer; a `tokenizer.json` has patterns and stages. Which name means the same is found by trying:
//! a candidate counts where it gives the ids of the file itself for texts that tell the candidates apart, as llama.cpp's converter tells
//! them by a text; or nearly, where none is exact. Where none does, the file has no translation.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use serde::Deserialize;
use tokenizers::ModelWrapper;

use super::super::definition::{ByteStrings, Definition, TokenType};
use super::super::pretokenizer;
use super::super::{EncodeOptions, SPACE, Tokenizer};
use super::{JsonDefinition, Parts, guarded};
use crate::base::{Pace, Result};

/// Pre-tokenizers of byte-level BPE, the usual ones first, one for each way to cut a text.
const PRE_TOKENIZERS: [&str; 27] = [
    "gpt-2",
    "llama-bpe",
    "qwen2",
    "gpt-4o",
    "smollm",
    "tekken",
    "dbrx",
    "glm4",
    "deepseek-v3",
    "deepseek-llm",
    "deepseek-coder",
    "falcon",
    "qwen35",
    "bloom",
    "viking",
    "jais-2",
    "minicpm5",
    "seed-coder",
    "laguna",
    "exaone-moe",
    "spark2_5",
    "afmoe",
    "youtu",
    "tiny_aya",
    "chameleon",
    "kimi-k2",
    "default",
];

/// Texts that are made of tokens of the vocabulary, and the tokens of each.
const MADE: usize = 2000;
const PIECES: usize = 6;

/// Of so many texts one may differ where nothing says the same: texts in another normal form, for one.
const SHARE: usize = 50;

/// How many of the added tokens are tried within a text.
const ADDED: usize = 16;

/// Texts by which candidates differ: words of several scripts, digits in runs, apostrophes, white space of all kinds, what stands for itself.
const TEXTS: [&str; 6] = [
    "Hello, world! I'm sure you'LL see: we've 3 apples, 1234567890 seeds and 3.14159 pies (they're $9.99 each; 50% off?)...",
    "  Two  spaces,\ttabs\t\tand\n\n\nlines \r\n  of\u{a0}code:\n    for (int i = 0; i<10; ++i) { a[i] += b->c::d(\"x\\n\"); } // done\n\n",
    "Größe, naïve café, ÅNGSTRÖM, İstanbul, ﬁne; Привет, мир 2024! Γειά σου Κόσμε; שלום עולם; مرحبا بالعالم ١٢٣; नमस्ते दुनिया १२३; สวัสดีชาวโลก",
    "你好，世界！今天是2024年11月29日。私はガラスを食べられます。日本語テスト①②③ 안녕하세요 세계 １２３４ ㍿ 𠀀𠀁",
    "\u{1f680} (normal) \u{1f636}\u{200d}\u{1f32b}\u{fe0f} (multiple) \u{2705} \u{1f999}\u{1f999} 3 33 333 3333 33333 333333 3333333 ```````\"\"\"\"......!!!!!!?????? \\ ~ _ __init__ CamelCaseWord snake_case_word",
    "end\u{2028}of\u{3000}it \u{feff}x\u{301}e\u{301} a\u{0}b \u{7f} <|x|> <unk> [MASK] <0x41> ##ing \u{2581}mark \u{120}gpt\u{10a}",
];

/// What of the model is not to be had from the crate.
#[derive(Deserialize)]
struct Merges {
    #[serde(default)]
    merges: Vec<Pair>,
    #[serde(default)]
    ignore_merges: bool,
}

#[derive(Deserialize)]
struct WithMerges {
    model: Merges,
}

/// Older files write the two with a space between them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Pair {
    Text(String),
    Two(String, String),
}

/// A `tokenizer.json` in the words of GGUF.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// The vocabulary.
    pub definition: Definition,
    /// Whether the ids are the same for all texts. GGUF has no words for normal forms, nor for where a space is put before a text.
    pub is_exact: bool,
}

impl Tokenizer {
    /// The vocabulary of a `tokenizer.json` in the words of GGUF; `None` where those can't say the same.
    ///
    /// # Errors
    /// As for [`from_json`](Self::from_json).
    pub async fn translated(definition: JsonDefinition, pace: &Pace) -> Result<Option<Translation>> {
        let json = definition.json.clone();
        let parts = Parts::read(definition, pace).await?;
        let bounds = (parts.prefix.clone(), parts.suffix.clone());
        let mut plain = parts.plain.clone();
        let kind = match &parts.engine.model {
            ModelWrapper::BPE(_) if parts.decoder.has_byte_tokens() => Kind::Spm,
            ModelWrapper::BPE(_) => Kind::ByteLevel,
            ModelWrapper::WordPiece(_) => Kind::WordPiece,
            _ => return Ok(None),
        };
        let own = parts.build(pace).await?;
        let known = match kind {
            // There the words of the format stand for what is put around a text.
            Kind::WordPiece => word_piece(&mut plain, &bounds),
            _ => put_around(&mut plain, &bounds),
        };
        if !known {
            return Ok(None);
        }
        let mut candidates = Vec::new();
        match kind {
            Kind::WordPiece => {
                for (lowercase, strip_accents) in [(true, true), (false, false), (true, false), (false, true)] {
                    candidates.push(Definition { lowercase: Some(lowercase), strip_accents: Some(strip_accents), ..Definition::default() });
                }
            }
            Kind::Spm | Kind::ByteLevel => {
                let WithMerges { model } = guarded("key 'model'", || Ok(serde_json::from_slice(&json)?))?;
                pace.work(1).await;
                let Some(merges) = merges(&model)? else { return Ok(None) };
                if kind == Kind::Spm {
                    plain.model = "llama".to_owned();
                    plain.scores = scores(&plain.tokens, &merges);
                    for prefix in [true, false] {
                        candidates.push(Definition { add_space_prefix: Some(prefix), ..Definition::default() });
                    }
                } else {
                    plain.model = "gpt2".to_owned();
                    plain.merges = merges;
                    let alike = |name: &&str| pretokenizer::named(name).is_some_and(|pre| pre.ignore_merges == model.ignore_merges);
                    for name in PRE_TOKENIZERS.into_iter().filter(alike) {
                        candidates.push(Definition { pre: Some(name.to_owned()), ..Definition::default() });
                    }
                }
            }
        }
        let mut near: Option<(usize, Definition)> = None;
        for candidate in candidates {
            let Definition { pre, add_space_prefix, lowercase, strip_accents, .. } = candidate;
            let candidate = Definition { pre, add_space_prefix, lowercase, strip_accents, ..plain.clone() };
            // What can't be built is no translation.
            let Ok(tokenizer) = Self::new_paced(candidate.clone(), pace).await else { continue };
            let least = near.as_ref().map_or(MADE / SHARE, |(least, _)| *least - 1);
            let Some(different) = differences(&own, &tokenizer, false, least, pace).await? else { continue };
            if different == 0 && differences(&own, &tokenizer, true, 0, pace).await?.is_some() {
                return Ok(Some(Translation { definition: candidate, is_exact: true }));
            }
            if near.is_none() || different > 0 {
                near = Some((different, candidate));
            }
            if different == 0 {
                break;
            }
        }
        Ok(near.map(|(_, definition)| Translation { definition, is_exact: false }))
    }
}

/// The tokenizer models of GGUF.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ByteLevel,
    Spm,
    WordPiece,
}

/// Says what is put around a text; false where that is more than BOS and EOS.
fn put_around(plain: &mut Definition, (prefix, suffix): &(Vec<u32>, Vec<u32>)) -> bool {
    let says = |ids: &[u32], id: Option<u32>| match ids {
        [] => Some(false),
        &[only] if Some(only) == id => Some(true),
        _ => None,
    };
    // Where no other file names them, what stands there is what begins and ends a text.
    plain.bos = plain.bos.or(prefix.first().copied());
    plain.eos = plain.eos.or(suffix.last().copied());
    (plain.add_bos, plain.add_eos) = (says(prefix, plain.bos), says(suffix, plain.eos));
    plain.add_bos.is_some() && plain.add_eos.is_some()
}

/// Words as GGUF has them: the first piece of a word behind `▁`, the others without a mark.
fn word_piece(plain: &mut Definition, (prefix, suffix): &(Vec<u32>, Vec<u32>)) -> bool {
    let (&[begin], &[separator]) = (&prefix[..], &suffix[..]) else { return false };
    let mut tokens = ByteStrings::new();
    for (text, &ty) in plain.tokens.iter().zip(&plain.types) {
        let pushed = match text.strip_prefix(b"##") {
            _ if ty != TokenType::Normal as i32 => tokens.push(text),
            Some(rest) if !rest.is_empty() => tokens.push(rest),
            _ => tokens.push(&[SPACE, text].concat()),
        };
        if pushed.is_err() {
            return false;
        }
    }
    let find = |wanted: &[u8]| tokens.iter().position(|text| text == wanted).map(|id| id as u32);
    (plain.mask, plain.padding) = (find(b"[MASK]"), plain.padding.or(find(b"[PAD]")));
    (plain.bos, plain.separator, plain.tokens) = (Some(begin), Some(separator), tokens);
    plain.model = "bert".to_owned();
    true
}

/// Each as `left right`; `None` where a space stands within.
fn merges(model: &Merges) -> Result<Option<ByteStrings>> {
    let mut merges = ByteStrings::new();
    for pair in &model.merges {
        let text = match pair {
            Pair::Text(text) => text.clone(),
            Pair::Two(left, right) => format!("{left} {right}"),
        };
        if text.split(' ').count() != 2 {
            return Ok(None);
        }
        merges.push(text.as_bytes())?;
    }
    Ok(Some(merges))
}

/// The place of the merge that makes a token, as SentencePiece's scores: the earlier, the higher. What no merge makes comes last.
fn scores(tokens: &ByteStrings, merges: &ByteStrings) -> Vec<f32> {
    let mut places = std::collections::HashMap::new();
    for (place, merge) in merges.iter().enumerate() {
        let text: Vec<u8> = merge.iter().copied().filter(|&byte| byte != b' ').collect();
        places.entry(text).or_insert(place);
    }
    tokens.iter().map(|text| -(places.get(text).copied().unwrap_or(merges.len()) as f32)).collect()
}

/// For how many texts the two give other ids, `None` for more than `most`: of all texts where they are to be `exact`, else of those of users that do
/// not begin with a space.
async fn differences(own: &Tokenizer, other: &Tokenizer, exact: bool, most: usize, pace: &Pace) -> Result<Option<usize>> {
    let added: Vec<&[u8]> =
        (0..own.vocab_size()).filter(|&id| own.is_special(id)).filter_map(|id| own.token_text(id)).take(ADDED).collect();
    let within: Vec<u8> = added.iter().flat_map(|token| [b"word ", *token, b" and", *token, b"\n"].concat()).collect();
    let words = TEXTS.iter().flat_map(|text| text.split_inclusive(' ')).map(str::as_bytes);
    let mut texts: Vec<Cow<'_, [u8]>> = words.chain(TEXTS.iter().map(|text| text.as_bytes())).map(Cow::Borrowed).collect();
    texts.extend([within, vec![], b" ".to_vec()].map(Cow::Owned));
    // What the vocabulary can say: here candidates differ that cut the usual words alike.
    let mut random = 1u64;
    for _ in 0..MADE {
        let mut text = Vec::new();
        for _ in 0..PIECES {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = ((random >> 33) % u64::from(own.vocab_size())) as u32;
            if !own.is_special(id) {
                text.extend_from_slice(own.token_bytes(id).unwrap_or_default());
            }
        }
        texts.push(Cow::Owned(String::from_utf8_lossy(&text).into_owned().into_bytes()));
        pace.spend(1 << 10).await;
    }
    let mut different = 0;
    for text in texts.iter().filter(|text| exact || !text.starts_with(b" ") && !text.starts_with(SPACE)) {
        different += usize::from(!agree(own, other, text, exact)?);
        if different > most {
            return Ok(None);
        }
        pace.spend(1 << 14).await;
    }
    Ok(Some(different))
}

/// Whether both give the same ids for a text, where they are to be `exact` in a template too.
fn agree(own: &Tokenizer, other: &Tokenizer, text: &[u8], exact: bool) -> Result<bool> {
    // What is put around a text is tried with the texts of users.
    let ways = [EncodeOptions { add_special: true, parse_special: false }, EncodeOptions { add_special: false, parse_special: true }];
    for options in ways.into_iter().take(if exact { 2 } else { 1 }) {
        let (mut expected, mut found) = (vec![], vec![]);
        own.encode(text, options, &mut expected)?;
        other.encode(text, options, &mut found)?;
        if expected != found {
            return Ok(false);
        }
    }
    Ok(true)
}
