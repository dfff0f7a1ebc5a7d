//! The decoder of a `tokenizer.json`, token by token: the bytes that each token adds to a text. What a decoder would do to the text as a whole
//! is done at its start (a space that encoding has put there) or is refused by name.

#![forbid(unsafe_code)]

use fancy_regex::Regex;
use serde_json::Value;
use tokenizers::pre_tokenizers::split::SplitPattern;

use super::super::bpe::ByteAlphabet;
use super::super::definition::{ByteStrings, TokenType};
use super::super::special::Attributes;
use super::super::{LONGEST_TOKEN, token_byte};
use super::pipeline::{Clock, Found, Replacement, compiled, flat, read};
use crate::base::{Error, Pace, Result};

/// Steps in sequences, altogether.
const MOST_STEPS: usize = 64;
/// Bytes of a replacement.
const LONGEST_CONTENT: usize = 64;
/// What the texts of a vocabulary may become: so many times as long, and so many bytes more.
const GROWTH: usize = 20;
const GROWTH_BYTES: usize = 1 << 20;
/// What a token costs (see [`Pace::spend`]).
const TOKEN_COST: usize = 64;

/// What is done to a token that does not begin the text.
enum Step {
    Replace(Regex, String),
    /// `<0x0A>` is a byte.
    ByteFallback,
    /// The token is written in the alphabet of byte-level BPE.
    ByteLevel,
    /// So many of the character are taken from the start and the end of the token.
    Strip(char, usize, usize),
    /// A space goes before the token, or the prefix of a token inside a word goes.
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
    /// A space is put before every token.
    Spaced,
}

/// How tokens become text.
pub(super) struct Decoder {
    steps: Vec<Step>,
    /// A space at the start of a text is the tokenizer's own.
    strips_space: bool,
}

impl Decoder {
    /// The decoder of a file.
    ///
    /// # Errors
    /// `InvalidFile` naming a field, `Unsupported` naming a decoder that needs more than one token at a time.
    pub(super) fn new(decoder: &Value) -> Result<Self> {
        let mut new = Self { steps: vec![], strips_space: false };
        if decoder.is_null() {
            new.steps.push(Step::Spaced);
            new.strips_space = true;
            return Ok(new);
        }
        let (steps, mut fused) = (flat(decoder, "decoder", "decoders")?, false);
        if steps.len() > MOST_STEPS {
            return Err(Error::invalid_file(format!("key 'decoder': more than {MOST_STEPS} steps")));
        }
        for step in steps {
            let kind = step.get("type").and_then(Value::as_str).ok_or_else(|| field(step, "type"))?;
            match kind {
                "Fuse" => fused = true,
                _ => new.add(step, kind, fused)?,
            }
        }
        Ok(new)
    }

    /// Adds a step; behind `Fuse` it sees the text as a whole.
    fn add(&mut self, step: &Value, kind: &str, fused: bool) -> Result<()> {
        let text = |name: &str| step.get(name).and_then(Value::as_str).ok_or_else(|| field(step, name));
        let number = |name: &str| step.get(name).and_then(Value::as_u64).ok_or_else(|| field(step, name));
        let whole = || Error::unsupported(format!("key 'decoder': {kind} on the text as a whole"));
        match kind {
            "Replace" => {
                let Replacement { pattern, content } = read(step, "decoder")?;
                // A single letter is found in tokens as it is in the text that they make.
                if fused && !matches!(&pattern, SplitPattern::String(text) if text.chars().count() == 1) {
                    return Err(whole());
                }
                if content.len() > LONGEST_CONTENT {
                    return Err(Error::unsupported(format!("key 'decoder' (Replace): more than {LONGEST_CONTENT} bytes")));
                }
                self.steps.push(Step::Replace(compiled(&pattern, "decoder")?, content));
            }
            "ByteFallback" => self.steps.push(Step::ByteFallback),
            "ByteLevel" => self.steps.push(Step::ByteLevel),
            "Strip" => {
                let letter = text("content")?.chars().next().ok_or_else(|| field(step, "content"))?;
                let (start, stop) = (number("start")?, number("stop")?);
                match (fused, letter, start, stop) {
                    (true, _, 0, 0) => {}
                    (true, ' ', 1, 0) => self.strips_space = true,
                    (true, ..) => return Err(whole()),
                    (false, ..) => self.steps.push(Step::Strip(letter, start.min(1 << 20) as usize, stop.min(1 << 20) as usize)),
                }
            }
            "Metaspace" => {
                let replacement = step.get("replacement").and_then(Value::as_str).unwrap_or("▁");
                let regex = Regex::new(&fancy_regex::escape(replacement)).map_err(|_| field(step, "replacement"))?;
                self.steps.push(Step::Replace(regex, " ".to_owned()));
                // Older files say `add_prefix_space`.
                let never = step.get("prepend_scheme").and_then(Value::as_str) == Some("never")
                    || step.get("prepend_scheme").is_none() && step.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
                self.strips_space = !never;
            }
            "WordPiece" => {
                let prefix = step.get("prefix").and_then(Value::as_str).unwrap_or("##").to_owned();
                let cleanup = step.get("cleanup").and_then(Value::as_bool).unwrap_or(true);
                self.steps.push(Step::WordPiece { prefix, cleanup });
                self.strips_space = true;
            }
            "BPEDecoder" => {
                let suffix = step.get("suffix").and_then(Value::as_str).unwrap_or("</w>");
                let regex = Regex::new(&fancy_regex::escape(suffix)).map_err(|_| field(step, "suffix"))?;
                self.steps.push(Step::Replace(regex, " ".to_owned()));
            }
            other => return Err(Error::unsupported(format!("key 'decoder': '{}'", other.escape_debug()))),
        }
        Ok(())
    }

    /// Whether a leading space of a text is left out.
    pub(super) fn strips_space(&self) -> bool {
        self.strips_space
    }

    /// Whether tokens like `<0x0A>` stand for bytes.
    pub(super) fn has_byte_tokens(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::ByteFallback))
    }

    /// What each token decodes to; special ones to their texts.
    pub(super) async fn table(&self, pace: &Pace, tokens: &ByteStrings, types: &[i32], attributes: &[Attributes]) -> Result<ByteStrings> {
        let most = tokens.text_len().saturating_mul(GROWTH) + GROWTH_BYTES;
        let (alphabet, clock) = (ByteAlphabet::new(), Clock::of_bytes(tokens.text_len()));
        let mut table = ByteStrings::with_room_for(tokens.len(), tokens.text_len())?;
        for (id, (text, attributes)) in tokens.iter().zip(attributes).enumerate() {
            pace.spend(TOKEN_COST + text.len()).await;
            if attributes.any(Attributes::SPECIAL) {
                table.push(text)?;
            } else if types[id] == TokenType::Unused as i32 {
                table.push(b"")?;
            } else {
                let bytes = self.bytes(text, &alphabet, &clock);
                table.push(&bytes.map_err(|error| error.at(format_args!("key 'decoder': token {id}")))?)?;
            }
            if table.text_len() > most {
                return Err(Error::unsupported(format!("key 'decoder': it makes more than {most} bytes of the vocabulary")));
            }
        }
        Ok(table)
    }

    fn bytes(&self, token: &[u8], alphabet: &ByteAlphabet, clock: &Clock) -> Result<Vec<u8>> {
        let mut text = String::from_utf8_lossy(token).into_owned();
        for step in &self.steps {
            match step {
                Step::Replace(regex, content) => {
                    let found = Found::of(regex, &text, clock).map_err(|error| Error::unsupported(error.to_string()))?;
                    text = found.replaced(&text, content);
                }
                Step::ByteFallback => {
                    if let Some(byte) = token_byte(text.as_bytes()) {
                        return Ok(vec![byte]);
                    }
                }
                Step::ByteLevel => {
                    let mut bytes = Vec::new();
                    return Ok(if alphabet.decode(text.as_bytes(), &mut bytes) { bytes } else { text.into_bytes() });
                }
                Step::Strip(letter, start, stop) => {
                    let mut rest = &*text;
                    for _ in 0..*start {
                        let Some(shorter) = rest.strip_prefix(*letter) else { break };
                        rest = shorter;
                    }
                    for _ in 0..*stop {
                        let Some(shorter) = rest.strip_suffix(*letter) else { break };
                        rest = shorter;
                    }
                    text = rest.to_owned();
                }
                Step::WordPiece { prefix, cleanup } => {
                    text = match text.strip_prefix(&**prefix) {
                        Some(inside) => inside.to_owned(),
                        None => format!(" {text}"),
                    };
                    if *cleanup {
                        text = cleaned(&text);
                    }
                }
                Step::Spaced => text.insert(0, ' '),
            }
            // A step makes it longer by a bounded factor, so that this is soon enough.
            if text.len() > LONGEST_TOKEN {
                return Err(Error::unsupported(format!("it becomes longer than {LONGEST_TOKEN} bytes")));
            }
        }
        Ok(text.into_bytes())
    }
}

/// A token without the spaces that English does not write.
fn cleaned(text: &str) -> String {
    const CLEANED: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    CLEANED.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A field that is missing or of the wrong kind.
fn field(step: &Value, name: &str) -> Error {
    let kind = step.get("type").and_then(Value::as_str).unwrap_or("without a type");
    Error::invalid_file(format!("key 'decoder' ({}): field '{name}' is missing or of the wrong kind", kind.escape_debug()))
}
