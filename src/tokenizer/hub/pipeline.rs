//! Normalizers and pre-tokenizers of a `tokenizer.json`: Hugging Face's, but for those that run a pattern of the file over the text. These are
//! run here, because a pattern can be made to run for ages, and a replacement to grow without end; here that is an error.

#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fancy_regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;
use tokenizers::ModelWrapper;
use tokenizers::pattern::{Invert, Pattern};
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::{
    AddedToken, AddedVocabulary, NormalizedString, Normalizer, NormalizerWrapper, PreTokenizedString, PreTokenizer as _,
    PreTokenizerWrapper, SplitDelimiterBehavior,
};
use tokenizers::{Offsets, Result as EngineResult};

use crate::base::{Error, Result};

/// Stages within sequences, altogether.
const MOST_STAGES: usize = 256;
/// Bytes of a text that is put in front of texts.
const LONGEST_PREPENDED: usize = 64;
/// What a text may become by normalisation: so many times as long, and so many bytes more.
const GROWTH: usize = 20;
const GROWTH_BYTES: usize = 4096;
/// Steps that a pattern may go back in one match.
const BACKTRACKING: usize = 100_000;
/// Time that the patterns of one text may take, and for each byte of it. Real ones take some 100 ns a byte.
const PATTERN_TIME: Duration = Duration::from_secs(1);
const PATTERN_TIME_PER_BYTE: Duration = Duration::from_micros(5);

/// How a text becomes words.
pub(super) struct Pipeline {
    normalizers: Vec<Normal>,
    pre_tokenizers: Vec<Pre>,
}

/// A normalizer.
enum Normal {
    Hub(Box<NormalizerWrapper>),
    Replace { pattern: Regex, content: String },
}

/// A pre-tokenizer.
enum Pre {
    Hub(Box<PreTokenizerWrapper>),
    Split { pattern: Regex, behavior: SplitDelimiterBehavior, invert: bool },
}

#[derive(Deserialize)]
pub(super) struct Replacement {
    pub pattern: SplitPattern,
    pub content: String,
}

#[derive(Deserialize)]
struct Splitting {
    pattern: SplitPattern,
    behavior: SplitDelimiterBehavior,
    invert: bool,
}

impl Pipeline {
    /// The stages of a file.
    ///
    /// # Errors
    /// `InvalidFile` naming the stage.
    pub(super) fn new(normalizer: &Value, pre_tokenizer: &Value) -> Result<Self> {
        let normalizers = flat(normalizer, "normalizer", "normalizers")?;
        let pre_tokenizers = flat(pre_tokenizer, "pre_tokenizer", "pretokenizers")?;
        Ok(Self {
            normalizers: normalizers.into_iter().map(normal).collect::<Result<_>>()?,
            pre_tokenizers: pre_tokenizers.into_iter().map(pre).collect::<Result<_>>()?,
        })
    }

    /// The normalizers, for texts of `len` bytes in all.
    fn run(&self, len: usize) -> Run<'_> {
        Run {
            normalizers: &self.normalizers,
            limit: len.saturating_mul(GROWTH) + GROWTH_BYTES,
            clock: Clock::of_bytes(len),
            failed: OnceLock::new(),
        }
    }

    /// The added tokens, as they are found in normalized texts.
    pub(super) fn added(&self, tokens: &[AddedToken], model: &ModelWrapper) -> EngineResult<AddedVocabulary> {
        let mut run = self.run(tokens.iter().map(|token| token.content.len()).sum());
        let mut added = AddedVocabulary::new();
        added.add_tokens(tokens.iter().cloned(), model, Some(&run))?;
        run.failed.take().map_or(Ok(added), Err)
    }

    /// The words of `text` and the added tokens among them.
    pub(super) fn words(&self, added: &AddedVocabulary, text: &str) -> EngineResult<PreTokenizedString> {
        let mut run = self.run(text.len());
        let mut words = added.extract_and_normalize(Some(&run), text);
        if let Some(error) = run.failed.take() {
            return Err(error);
        }
        for stage in &self.pre_tokenizers {
            match stage {
                Pre::Hub(stage) => stage.pre_tokenize(&mut words)?,
                Pre::Split { pattern, behavior, invert: false } => words.split(|_, part| {
                    let found = Found::of(pattern, part.get(), &run.clock)?;
                    part.split(found, *behavior)
                })?,
                Pre::Split { pattern, behavior, invert: true } => words.split(|_, part| {
                    let found = Found::of(pattern, part.get(), &run.clock)?;
                    part.split(Invert(found), *behavior)
                })?,
            }
        }
        Ok(words)
    }
}

/// The stages of sequences in sequences, one behind the other.
pub(super) fn flat<'a>(stage: &'a Value, name: &str, within: &str) -> Result<Vec<&'a Value>> {
    let mut flat = Vec::new();
    let mut waiting = vec![stage];
    // Depth is bounded by the JSON parser, breadth here.
    while let Some(stage) = waiting.pop() {
        if flat.len() + waiting.len() > MOST_STAGES {
            return Err(Error::invalid_file(format!("key '{name}': more than {MOST_STAGES} stages")));
        }
        match stage.get("type").and_then(Value::as_str) {
            _ if stage.is_null() => {}
            Some("Sequence") => {
                let stages = stage.get(within).and_then(Value::as_array);
                let stages = stages.ok_or_else(|| Error::invalid_file(format!("key '{name}': a sequence without '{within}'")))?;
                waiting.extend(stages.iter().rev());
            }
            _ => flat.push(stage),
        }
    }
    Ok(flat)
}

pub(super) fn read<T: serde::de::DeserializeOwned>(stage: &Value, name: &str) -> Result<T> {
    let kind = stage.get("type").and_then(Value::as_str).unwrap_or("without a type");
    T::deserialize(stage).map_err(|error| Error::invalid_file(format!("key '{name}' ({}): {error}", kind.escape_debug())))
}

fn normal(stage: &Value) -> Result<Normal> {
    let name = "normalizer";
    match stage.get("type").and_then(Value::as_str) {
        Some("Replace") => {
            let Replacement { pattern, content } = read(stage, name)?;
            Ok(Normal::Replace { pattern: compiled(&pattern, name)?, content })
        }
        Some("Prepend") if stage.get("prepend").and_then(Value::as_str).is_some_and(|text| text.len() > LONGEST_PREPENDED) => {
            Err(Error::unsupported(format!("key '{name}' (Prepend): more than {LONGEST_PREPENDED} bytes")))
        }
        _ => read(stage, name).map(Box::new).map(Normal::Hub),
    }
}

fn pre(stage: &Value) -> Result<Pre> {
    let name = "pre_tokenizer";
    match stage.get("type").and_then(Value::as_str) {
        Some("Split") => {
            let Splitting { pattern, behavior, invert } = read(stage, name)?;
            Ok(Pre::Split { pattern: compiled(&pattern, name)?, behavior, invert })
        }
        _ => read(stage, name).map(Box::new).map(Pre::Hub),
    }
}

/// A pattern, or a text as one.
pub(super) fn compiled(pattern: &SplitPattern, name: &str) -> Result<Regex> {
    let text = match pattern {
        SplitPattern::Regex(pattern) => pattern.clone(),
        SplitPattern::String(text) => fancy_regex::escape(text).into_owned(),
    };
    let regex = RegexBuilder::new(&text).backtrack_limit(BACKTRACKING).build();
    regex.map_err(|error| Error::unsupported(format!("key '{name}': pattern '{}': {error}", text.escape_debug())))
}

/// When the patterns of a text must have ended.
pub(super) struct Clock {
    start: Instant,
    limit: Duration,
}

impl Clock {
    /// For `len` bytes.
    pub(super) fn of_bytes(len: usize) -> Self {
        Self { start: Instant::now(), limit: PATTERN_TIME + PATTERN_TIME_PER_BYTE * u32::try_from(len).unwrap_or(u32::MAX) }
    }

    fn check(&self) -> EngineResult<()> {
        if self.start.elapsed() > self.limit { Err("a pattern runs too long on this text".into()) } else { Ok(()) }
    }
}

/// Where a pattern fits in a text.
pub(super) struct Found(Vec<(Offsets, bool)>);

impl Found {
    pub(super) fn of(pattern: &Regex, text: &str, clock: &Clock) -> EngineResult<Self> {
        if text.is_empty() {
            return Ok(Self(vec![((0, 0), false)]));
        }
        let (mut parts, mut end) = (Vec::new(), 0);
        for (number, found) in pattern.find_iter(text).enumerate() {
            let found = found?;
            if number % 16 == 0 {
                clock.check()?;
            }
            if end != found.start() {
                parts.push(((end, found.start()), false));
            }
            parts.push(((found.start(), found.end()), true));
            end = found.end();
        }
        clock.check()?;
        if end != text.len() {
            parts.push(((end, text.len()), false));
        }
        Ok(Self(parts))
    }

    /// The text with `content` in place of each fit.
    pub(super) fn replaced(&self, text: &str, content: &str) -> String {
        self.0.iter().map(|&((start, end), fits)| if fits { content } else { &text[start..end] }).collect()
    }

    /// Bytes of the text after each fit has become `content`.
    fn replaced_len(&self, content: &str) -> usize {
        self.0.iter().map(|&((start, end), fits)| if fits { content.len() } else { end - start }).fold(0, usize::saturating_add)
    }
}

impl Pattern for Found {
    fn find_matches(&self, _: &str) -> EngineResult<Vec<(Offsets, bool)>> {
        Ok(self.0.clone())
    }
}

/// All normalizers, on one text.
struct Run<'a> {
    normalizers: &'a [Normal],
    /// Bytes that the text may become.
    limit: usize,
    clock: Clock,
    /// The first error: who calls the normalizer passes over it.
    failed: OnceLock<tokenizers::Error>,
}

impl Run<'_> {
    fn normalized(&self, text: &mut NormalizedString) -> EngineResult<()> {
        for stage in self.normalizers {
            match stage {
                Normal::Hub(stage) => stage.normalize(text)?,
                Normal::Replace { pattern, content } => {
                    let found = Found::of(pattern, text.get(), &self.clock)?;
                    self.check(found.replaced_len(content))?;
                    text.replace(found, content)?;
                }
            }
            self.check(text.get().len())?;
        }
        Ok(())
    }

    fn check(&self, len: usize) -> EngineResult<()> {
        if len > self.limit { Err(format!("normalisation makes more than {} bytes of the text", self.limit).into()) } else { Ok(()) }
    }
}

impl Normalizer for Run<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> EngineResult<()> {
        if let Err(error) = self.normalized(text) {
            // The first one is kept.
            let _ = self.failed.set(error);
        }
        Ok(())
    }
}
