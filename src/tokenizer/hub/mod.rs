//! Tokenizers that are defined by a `tokenizer.json`: Hugging Face's own crate encodes, so that ids are those of the Python package.
//!
//! The stages of encoding are that crate's: added tokens are found, the text between them is normalized, cut into words, and tokenized by
//! the model (BPE, Unigram, WordPiece, WordLevel); the post-processor is asked once, when the tokenizer is built, what it puts around a text. `pipeline` runs
//! normalizers and pre-tokenizers, with replacements and patterns of its own that are bounded in time and memory. Decoding is that of all
//! vocabularies here: each token has its bytes, which `decoder` works out, so that streams of tokens come out in whole characters.
//!
//! The file is hostile: its size, the sizes of what it holds, and what it can make of a text are bounded, and a panic inside the crate
//! becomes an error. Truncation and padding, which the file may ask for, are left out, as `transformers` does.

#![forbid(unsafe_code)]

mod bpe;
mod decoder;
mod pipeline;
mod translation;

pub use translation::Translation;

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::PostProcessorWrapper;
use tokenizers::tokenizer::{
    AddedToken, AddedVocabulary, Encoding, Model as _, ModelWrapper, OffsetReferential, OffsetType, PostProcessor as _, Token,
};

use super::definition::{ByteStrings, Definition, TokenType};
use super::partition::Partition;
use super::special::{Attributes, Roles, Special};
use super::{EncodeOptions, Inner, Kind, LONGEST_TOKEN, Tokenizer, reserve, token_byte};
use crate::base::{Error, Pace, Result, SharedBytes};
use bpe::Bpe;
use decoder::Decoder;
use pipeline::Pipeline;

/// The longest text that can be encoded at once, in bytes: the crate takes some 50 bytes of memory for each.
const LONGEST_TEXT: usize = 16 << 20;
/// The longest stages of a file, as text: normalizer, pre-tokenizer, post-processor and decoder. Real ones have some kilobytes; precompiled
/// character maps of SentencePiece have 350 KB.
const LONGEST_STAGES: usize = 4 << 20;
/// Ids that belong to no token, at most.
const MOST_HOLES: usize = 1 << 16;
/// Tokens of a Unigram model are looked for at each character, and words of a WordPiece model in each part of them.
const LONGEST_UNIGRAM: usize = 1024;
const LONGEST_WORD: u64 = 1024;
/// What a token costs (see [`Pace::spend`]).
const TOKEN_COST: usize = 256;

/// A token that another file names, by its text or its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenHint {
    /// Comes first, where the vocabulary has it.
    pub text: Option<String>,
    /// As above.
    pub id: Option<u32>,
}

/// A `tokenizer.json` and what the files beside it say about its tokens.
#[derive(Debug, Clone, Default)]
pub struct JsonDefinition {
    /// The text of the file. Nothing of it has been checked.
    pub json: SharedBytes,
    /// Tokens that the model has rows for; the vocabulary is filled up with tokens that are never produced.
    pub rows: Option<u32>,
    /// Begins a text.
    pub bos: TokenHint,
    /// Ends a text.
    pub eos: TokenHint,
    /// Fills a batch.
    pub padding: TokenHint,
    /// Further tokens that end a generation.
    pub ends: Vec<u32>,
}

/// What encodes.
pub(super) struct Hub {
    model: ModelWrapper,
    pipeline: Pipeline,
    /// Added tokens, all of them found in texts.
    all: AddedVocabulary,
    /// The same, those that are not special found in texts.
    unspecial: AddedVocabulary,
    /// What is put around a text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// About the bytes that all this holds: the crate doesn't say.
    memory: usize,
}

/// The parts of the file that are looked at here, besides by the crate.
#[derive(Deserialize)]
struct Stages {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: ModelHead,
}

#[derive(Deserialize)]
struct ModelHead {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Of BPE; older files have no type.
    merges: Option<IgnoredAny>,
    dropout: Option<f32>,
    max_input_chars_per_word: Option<u64>,
    unk_token: Option<String>,
    unk_id: Option<u32>,
}

/// The part that is large, as what it is read for.
#[derive(Deserialize)]
struct Whole<M> {
    model: M,
}

/// The model of a file.
fn model(head: &ModelHead, json: &[u8]) -> Result<ModelWrapper> {
    let is_bpe = head.kind.as_deref().map_or(head.merges.is_some(), |kind| kind == "BPE");
    guarded("key 'model'", || {
        if is_bpe {
            let Whole { model } = serde_json::from_slice::<Whole<Bpe>>(json)?;
            Ok(ModelWrapper::BPE(model.build()?))
        } else {
            let Whole { model } = serde_json::from_slice(json)?;
            Ok(model)
        }
    })
}

/// Model and added tokens.
struct Engine {
    model: ModelWrapper,
    added: AddedVocabulary,
}

impl Engine {
    fn token_to_id(&self, text: &str) -> Option<u32> {
        self.added.token_to_id(text, &self.model)
    }
}

/// Runs what is not ours: a panic in it is an error about the file.
fn guarded<T>(what: &str, run: impl FnOnce() -> std::result::Result<T, tokenizers::Error>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(error) => Error::invalid_file(format!("{what}: {error}")),
        }),
        Err(_) => Err(Error::invalid_file(format!("{what}: the definition makes the tokenizer fail"))),
    }
}

impl Tokenizer {
    /// Builds a tokenizer of a `tokenizer.json`, in few pieces: reading the file is one.
    ///
    /// # Errors
    /// `InvalidFile` naming the place, `Unsupported` naming what can't be done here, `OutOfMemory`.
    pub async fn from_json(definition: JsonDefinition, pace: &Pace) -> Result<Self> {
        Parts::read(definition, pace).await?.build(pace).await
    }
}

/// A file that has been read.
struct Parts {
    engine: Engine,
    pipeline: Pipeline,
    decoder: Decoder,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// Tokens, their types and their roles.
    plain: Definition,
    /// Bytes of the file.
    len: usize,
}

impl Parts {
    async fn read(definition: JsonDefinition, pace: &Pace) -> Result<Self> {
        pace.expect(4);
        let stages: Stages = parsed(&definition.json)?;
        stages.check()?;
        pace.work(1).await;
        let model = model(&stages.model, &definition.json)?;
        pace.work(1).await;
        let decoder = Decoder::new(&stages.decoder)?;
        let pipeline = Pipeline::new(&stages.normalizer, &stages.pre_tokenizer)?;
        let added = guarded("key 'added_tokens'", || pipeline.added(&stages.added_tokens, &model))?;
        let engine = Engine { model, added };
        let (prefix, suffix) = around(&stages.post_processor)?;
        let (tokens, types) = vocabulary(&engine, &stages, &decoder, definition.rows, pace).await?;
        if let Some(id) = prefix.iter().chain(&suffix).find(|&&id| id as usize >= tokens.len()) {
            return Err(Error::invalid_file(format!("key 'post_processor': token {id} is outside the vocabulary")));
        }
        pace.work(1).await;

        let id = |hint: &TokenHint| hint.text.as_ref().and_then(|text| engine.token_to_id(text)).or(hint.id);
        let unknown = match &stages.model.unk_token {
            Some(text) => engine.token_to_id(text),
            None => stages.model.unk_id,
        };
        let plain = Definition {
            model: "tokenizer.json".to_owned(),
            bos: id(&definition.bos),
            eos: id(&definition.eos),
            padding: id(&definition.padding),
            ends: definition.ends,
            unknown,
            tokens,
            types,
            ..Definition::default()
        };
        Ok(Self { engine, pipeline, decoder, prefix, suffix, plain, len: definition.json.len() })
    }

    async fn build(self, pace: &Pace) -> Result<Tokenizer> {
        let Self { engine, pipeline, decoder, prefix, suffix, plain, len } = self;
        let special = Special::new(pace, &plain, &Roles::default()).await?;
        let bytes = decoder.table(pace, &plain.tokens, &plain.types, &special.attributes).await?;
        let none = || Partition::new(pace, &plain.tokens, &special.attributes, Attributes::UNDEFINED, Attributes::UNDEFINED);
        let (all_special, user_defined) = (none().await?, none().await?);

        let Engine { model, added: all } = engine;
        let mut unspecial = all.clone();
        unspecial.set_encode_special_tokens(true);
        // Two tables of texts by id and back, and the pairs of merges, in hash tables.
        let memory = 2 * (plain.tokens.text_len() + 64 * plain.tokens.len()) + len;
        let add_bos = special.roles.bos.is_some() && prefix.first() == special.roles.bos.as_ref();
        let add_eos = special.roles.eos.is_some() && suffix.last() == special.roles.eos.as_ref();
        let hub = Hub { model, pipeline, all, unspecial, prefix, suffix, memory };
        Ok(Tokenizer(std::sync::Arc::new(Inner {
            kind: Kind::Hub(Box::new(hub)),
            bytes,
            all_special,
            user_defined,
            add_bos,
            add_eos,
            strips_space: decoder.strips_space(),
            texts: plain.tokens,
            special,
            warnings: vec![],
        })))
    }
}

/// The stages of the file, with the byte where it is not JSON.
fn parsed(json: &[u8]) -> Result<Stages> {
    serde_json::from_slice(json).map_err(|error| {
        let lines = json.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
        let byte = lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
        Error::invalid_file(format!("at byte {byte}: {error}"))
    })
}

impl Stages {
    /// Refuses what is out of proportion, or random.
    fn check(&self) -> Result<()> {
        for (name, stage) in [
            ("normalizer", &self.normalizer),
            ("pre_tokenizer", &self.pre_tokenizer),
            ("post_processor", &self.post_processor),
            ("decoder", &self.decoder),
        ] {
            let len = stage.to_string().len();
            if len > LONGEST_STAGES {
                return Err(Error::invalid_file(format!("key '{name}': {len} bytes; at most {LONGEST_STAGES} are allowed")));
            }
        }
        if let Some(version) = self.version.as_deref().filter(|version| *version != "1.0") {
            return Err(Error::unsupported(format!("key 'version': '{}' (known: 1.0)", version.escape_debug())));
        }
        if self.model.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err(Error::unsupported("key 'model.dropout': ids that are drawn at random"));
        }
        match self.model.max_input_chars_per_word {
            Some(most) if most > LONGEST_WORD => {
                Err(Error::unsupported(format!("key 'model.max_input_chars_per_word': {most}; at most {LONGEST_WORD} are allowed")))
            }
            _ => Ok(()),
        }
    }
}

/// What the post-processor puts before and behind a text.
fn around(processor: &Value) -> Result<(Vec<u32>, Vec<u32>)> {
    /// Stands for the text; no token has this id.
    const TEXT: u32 = u32::MAX;
    if processor.is_null() {
        return Ok(Default::default());
    }
    let text = Token::new(TEXT, String::new(), (0, 0));
    let ids = guarded("key 'post_processor'", || {
        let processor = PostProcessorWrapper::deserialize(processor)?;
        let encoding = processor.process(Encoding::from_tokens(vec![text], 0), None, true)?;
        Ok(encoding.get_ids().to_vec())
    })?;
    let mut parts = ids.split(|&id| id == TEXT).map(<[u32]>::to_vec);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(prefix), Some(suffix), None) => Ok((prefix, suffix)),
        _ => Err(Error::unsupported("key 'post_processor': the text does not stand once in its template")),
    }
}

/// Appends the ids of `tokens`.
fn extend(out: &mut Vec<u32>, tokens: &[Token]) -> Result<()> {
    reserve(out, tokens.len())?;
    out.extend(tokens.iter().map(|token| token.id));
    Ok(())
}

/// Texts and types of all tokens, by id.
async fn vocabulary(
    engine: &Engine,
    stages: &Stages,
    decoder: &Decoder,
    rows: Option<u32>,
    pace: &Pace,
) -> Result<(ByteStrings, Vec<i32>)> {
    let added = engine.added.get_vocab();
    let own = engine.model.get_vocab().into_iter().filter(|(text, _)| !added.contains_key(text));
    let mut known: Vec<(u32, String)> = own.map(|(text, id)| (id, text)).collect();
    known.extend(added.iter().map(|(text, &id)| (id, text.clone())));
    known.sort_unstable();
    let Some(&(last, _)) = known.last() else { return Err(Error::invalid_file("key 'model': a vocabulary without tokens")) };
    if last as usize >= known.len() + MOST_HOLES {
        return Err(Error::invalid_file(format!("key 'model.vocab': {} tokens, but the last one has the id {last}", known.len())));
    }
    // The model's rows may be more, to suit the hardware that it was trained on.
    let count = (last as usize + 1).max(rows.map_or(0, |rows| rows as usize).min(known.len() + MOST_HOLES));
    let mut tokens = ByteStrings::with_room_for(count, 0)?;
    let mut types = Vec::new();
    types.try_reserve_exact(count).map_err(super::out_of_memory)?;
    let added = engine.added.get_added_tokens_decoder();
    let longest = if matches!(engine.model, ModelWrapper::Unigram(_)) { LONGEST_UNIGRAM } else { LONGEST_TOKEN };
    let mut known = known.into_iter().peekable();
    for id in 0..count as u32 {
        pace.spend(TOKEN_COST).await;
        let mut found = None;
        // Two texts may have one id; an added token is the one that is meant.
        while let Some((_, text)) = known.next_if(|(next, _)| *next == id) {
            found = Some(text);
        }
        let added = added.get(&id);
        let Some(text) = added.map(|token| token.content.clone()).or(found) else {
            tokens.push(format!("[UNUSED_{id}]").as_bytes())?;
            types.push(TokenType::Unused as i32);
            continue;
        };
        if text.len() > longest {
            return Err(Error::unsupported(format!("key 'model.vocab': token {id} is longer than {longest} bytes")));
        }
        let unknown = stages.model.unk_token.as_deref() == Some(&*text) || stages.model.unk_id == Some(id);
        let kind = match added {
            Some(token) if token.special && unknown => TokenType::Unknown,
            Some(token) if token.special => TokenType::Control,
            Some(_) => TokenType::UserDefined,
            None if unknown => TokenType::Unknown,
            None if decoder.has_byte_tokens() && token_byte(text.as_bytes()).is_some() => TokenType::Byte,
            None => TokenType::Normal,
        };
        tokens.push(text.as_bytes())?;
        types.push(kind as i32);
    }
    Ok((tokens, types))
}

impl Hub {
    /// Appends the ids of `text`; bytes that are not UTF-8 become U+FFFD.
    pub(super) fn encode(&self, text: &[u8], options: EncodeOptions, out: &mut Vec<u32>) -> Result<()> {
        if text.len() > LONGEST_TEXT {
            return Err(Error::invalid_argument(format!(
                "a text of {} bytes; at most {LONGEST_TEXT} can be encoded at once by a tokenizer.json",
                text.len()
            )));
        }
        let text = String::from_utf8_lossy(text);
        let added = if options.parse_special { &self.all } else { &self.unspecial };
        reserve(out, self.prefix.len() + self.suffix.len())?;
        if options.add_special {
            out.extend(&self.prefix);
        }
        guarded("tokenizer.json", || {
            let words = self.pipeline.words(added, &text)?;
            // Most words come again and again.
            let mut seen = HashMap::new();
            for (word, _, added) in words.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                let start = out.len();
                if let Some(added) = added {
                    extend(out, added)?;
                } else if let Some(before) = seen.get(word).cloned() {
                    reserve(out, Range::len(&before))?;
                    out.extend_from_within(before);
                } else {
                    extend(out, &self.model.tokenize(word)?)?;
                    seen.insert(word, start..out.len());
                }
            }
            Ok(())
        })?;
        reserve(out, self.suffix.len())?;
        if options.add_special {
            out.extend(&self.suffix);
        }
        Ok(())
    }

    /// About the bytes held.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}
