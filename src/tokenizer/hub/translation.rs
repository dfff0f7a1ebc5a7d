//! A `tokenizer.json` in the words of GGUF, for files that other programs are to read too.
//!
//! GGUF names a tokenizer model and a pre-tokenizer; a `tokenizer.json` has patterns and stages. Which name means the same is found by trying:
//! a candidate counts where it gives the ids of the file itself for texts that tell the candidates apart, as llama.cpp's converter tells
//! them by a text; or nearly, where none is exact. Where none does, the file has no translation.

#![forbid(unsafe_code)]

use tokenizers::ModelWrapper;
use tokenizers::models::bpe::Merges;

use super::super::definition::{ByteStrings, Definition, TokenType};
use super::super::pretokenizer;
use super::super::{EncodeOptions, SPACE, Tokenizer};
use super::bpe::Merging;
use super::{JsonDefinition, Parts, Whole, guarded};
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

/// A `tokenizer.json` in the words of GGUF.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// The vocabulary.
    pub definition: Definition,
    /// Whether the ids are the same for all texts. GGUF has no words for normal forms, nor for where a space is put before a text.
    pub is_exact: bool,
}

impl Tokenizer {
    /// The tokenizer of a `tokenizer.json`, and its vocabulary in the words of GGUF; `None` where those can't say the same.
    ///
    /// # Errors
    /// As for [`from_json`](Self::from_json).
    pub async fn translated(definition: JsonDefinition, pace: &Pace) -> Result<(Self, Option<Translation>)> {
        let json = definition.json.clone();
        let parts = Parts::read(definition, pace).await?;
        let bounds = (parts.prefix.clone(), parts.suffix.clone());
        let mut plain = parts.plain.clone();
        let kind = match &parts.engine.model {
            ModelWrapper::BPE(_) if parts.decoder.has_byte_tokens() => Some(Kind::Spm),
            ModelWrapper::BPE(_) => Some(Kind::ByteLevel),
            ModelWrapper::WordPiece(_) => Some(Kind::WordPiece),
            _ => None,
        };
        let own = parts.build(pace).await?;
        let candidates = match kind {
            Some(kind) => candidates(kind, &mut plain, &bounds, &json, pace).await?,
            None => vec![],
        };
        let translation = if candidates.is_empty() { None } else { nearest(&own, &plain, &candidates, pace).await };
        Ok((own, translation))
    }
}

/// What candidates differ in.
struct Candidate {
    pre: Option<&'static str>,
    add_space_prefix: Option<bool>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
}

impl Candidate {
    const NONE: Self = Self { pre: None, add_space_prefix: None, lowercase: None, strip_accents: None };

    fn definition(&self, plain: &Definition) -> Definition {
        let Self { pre, add_space_prefix, lowercase, strip_accents } = *self;
        Definition { pre: pre.map(str::to_owned), add_space_prefix, lowercase, strip_accents, ..plain.clone() }
    }
}

/// The candidates for a tokenizer model; completes `plain` with what they have in common. None where GGUF has no words for it.
async fn candidates(kind: Kind, plain: &mut Definition, bounds: &(Vec<u32>, Vec<u32>), json: &[u8], pace: &Pace) -> Result<Vec<Candidate>> {
    if kind == Kind::WordPiece {
        let known = word_piece(plain, bounds);
        let normalisations: &[(bool, bool)] = if known { &[(true, true), (false, false), (true, false), (false, true)] } else { &[] };
        let candidate = |&(lowercase, accents): &(bool, bool)| Candidate {
            lowercase: Some(lowercase),
            strip_accents: Some(accents),
            ..Candidate::NONE
        };
        return Ok(normalisations.iter().map(candidate).collect());
    }
    if !put_around(plain, bounds) {
        return Ok(vec![]);
    }
    let (ignores_merges, merges) = guarded("key 'model'", || {
        let Whole { model } = serde_json::from_slice::<Whole<Merging>>(json)?;
        Ok((model.ignores_merges(), model.merges()?))
    })?;
    pace.work(1).await;
    let Some(merges) = written(&merges)? else { return Ok(vec![]) };
    if kind == Kind::Spm {
        plain.model = "llama".to_owned();
        plain.scores = scores(&plain.tokens, &merges);
        return Ok([true, false].map(|prefix| Candidate { add_space_prefix: Some(prefix), ..Candidate::NONE }).into());
    }
    plain.model = "gpt2".to_owned();
    plain.merges = merges;
    let alike = |name: &&str| pretokenizer::named(name).is_some_and(|pre| pre.ignore_merges == ignores_merges);
    let candidate = |name| Candidate { pre: Some(name), ..Candidate::NONE };
    Ok(PRE_TOKENIZERS.into_iter().filter(alike).map(candidate).collect())
}

/// The first candidate that is exact, or else the nearest of those that are near.
async fn nearest(own: &Tokenizer, plain: &Definition, candidates: &[Candidate], pace: &Pace) -> Option<Translation> {
    let (trials, are_all) = trials(own, pace).await;
    let mut near: Option<(usize, Definition)> = None;
    for candidate in candidates {
        let definition = candidate.definition(plain);
        // What can't be built is no translation.
        let Ok(tokenizer) = Tokenizer::new_paced(definition.clone(), pace).await else { continue };
        let most = near.as_ref().map_or(MADE / SHARE, |(least, _)| *least - 1);
        let Some(different) = differences(&trials, &tokenizer, false, most, pace).await else { continue };
        if different > 0 {
            near = Some((different, definition));
            continue;
        }
        let is_exact = are_all && differences(&trials, &tokenizer, true, 0, pace).await.is_some();
        return Some(Translation { definition, is_exact });
    }
    near.map(|(_, definition)| Translation { definition, is_exact: false })
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

/// Merges as GGUF has them, `left right`; `None` where a space stands within.
fn written(merges: &Merges) -> Result<Option<ByteStrings>> {
    let mut written = ByteStrings::new();
    for (left, right) in merges {
        if left.contains(' ') || right.contains(' ') {
            return Ok(None);
        }
        written.push([left, " ", right].concat().as_bytes())?;
    }
    Ok(Some(written))
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

/// A text, and its ids by the file itself.
struct Trial {
    text: Vec<u8>,
    /// As a text of a user, and as a part of a template.
    ids: [Vec<u32>; 2],
}

/// How the two kinds of ids are made: what is put around a text is tried with those of users.
const WAYS: [EncodeOptions; 2] =
    [EncodeOptions { add_special: true, parse_special: false }, EncodeOptions { add_special: false, parse_special: true }];

fn encoded(tokenizer: &Tokenizer, text: &[u8], way: EncodeOptions) -> Result<Vec<u32>> {
    let mut ids = vec![];
    tokenizer.encode(text, way, &mut ids)?;
    Ok(ids)
}

/// The texts that are tried, and what they are to become; and whether those are all. A text for which the file itself has no ids tells nothing.
async fn trials(own: &Tokenizer, pace: &Pace) -> (Vec<Trial>, bool) {
    let added: Vec<&[u8]> =
        (0..own.vocab_size()).filter(|&id| own.is_special(id)).filter_map(|id| own.token_text(id)).take(ADDED).collect();
    let within: Vec<u8> = added.iter().flat_map(|token| [b"word ", *token, b" and", *token, b"\n"].concat()).collect();
    let words = TEXTS.iter().flat_map(|text| text.split_inclusive(' ')).chain(TEXTS);
    let mut texts: Vec<Vec<u8>> = words.map(|text| text.as_bytes().to_vec()).collect();
    texts.extend([within, vec![], b" ".to_vec()]);
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
        texts.push(String::from_utf8_lossy(&text).into_owned().into_bytes());
    }
    let all = texts.len();
    let mut trials = Vec::with_capacity(all);
    for text in texts {
        if let (Ok(plain), Ok(parsed)) = (encoded(own, &text, WAYS[0]), encoded(own, &text, WAYS[1])) {
            trials.push(Trial { text, ids: [plain, parsed] });
        }
        pace.spend(1 << 14).await;
    }
    let are_all = trials.len() == all;
    (trials, are_all)
}

/// For how many texts `other` gives other ids, `None` for more than `most`: of all texts, in templates too, where they are to be `exact`; else of
/// those of users that do not begin with a space or its sign.
async fn differences(trials: &[Trial], other: &Tokenizer, exact: bool, most: usize, pace: &Pace) -> Option<usize> {
    let mut different = 0;
    for Trial { text, ids } in trials.iter().filter(|trial| exact || !trial.text.starts_with(b" ") && !trial.text.starts_with(SPACE)) {
        let ways = if exact { &WAYS[..] } else { &WAYS[..1] };
        let mut same = true;
        for (&way, ids) in ways.iter().zip(ids) {
            same &= encoded(other, text, way).is_ok_and(|given| given == *ids);
        }
        different += usize::from(!same);
        if different > most {
            return None;
        }
        pace.spend(1 << 14).await;
    }
    Some(different)
}
