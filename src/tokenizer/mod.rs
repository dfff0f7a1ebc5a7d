//! Floor 2: text ↔ token ids.
//!
//! A [`Tokenizer`] is built from a [`Definition`] and never changes. Encoding: `partition` finds special tokens, then
//! `spm`, `bpe` (after its `pretokenizer`) or `wordpiece` encodes the text between them. Decoding: each id has its
//! bytes; [`Detokenizer`] makes whole characters of them. Ids are those of llama.cpp for all valid UTF-8; bytes that aren't
//! UTF-8 are kept as bytes where the vocabulary can express them (llama.cpp turns them into U+FFFD).
//!
//! A tokenizer may also be defined by Hugging Face's `tokenizer.json` ([`JsonDefinition`]); then `hub` encodes.
//!
//! Nothing here reads files: `model::vocabulary` makes the definition.

#![forbid(unsafe_code)]

mod bpe;
mod definition;
mod detokenizer;
mod hub;
mod merge;
mod partition;
mod pretokenizer;
mod special;
mod spm;
mod table;
mod trie;
mod unicode;
mod wordpiece;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::base::{Error, Pace, Result, at_once};

pub use definition::{ByteStrings, Definition, TokenType};
pub use detokenizer::Detokenizer;
pub use hub::{JsonDefinition, TokenHint, Translation};
pub use special::Roles;

use bpe::{Bpe, ByteAlphabet};
use definition::out_of_memory;
use hub::Hub;
use merge::Merger;
use partition::{Part, Partition};
use pretokenizer::PreTokenizer;
use special::{Attributes, Special};
use spm::Spm;
use wordpiece::WordPiece;

/// What stands for a space in SentencePiece: `▁`.
const SPACE: &[u8] = "▁".as_bytes();

/// The longest text of a token, in bytes. Real ones have a few hundred.
const LONGEST_TOKEN: usize = 0xFFFF;

/// The longest text that can be encoded at once, in bytes: offsets are 32 bits, and a space may become three bytes.
const LONGEST_TEXT: usize = u32::MAX as usize / 3 - 16;

/// What a token and a merge cost in one pass over the vocabulary, besides their lengths (see [`Pace::spend`]).
const TOKEN_COST: usize = 32;
const MERGE_COST: usize = 128;
/// Passes over the vocabulary that building a tokenizer makes, about.
const PASSES: usize = 4;

/// How a text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Put BOS, EOS (or what BERT has instead) around the text, as the model says.
    pub add_special: bool,
    /// Recognise control tokens written in the text. User-defined tokens are always recognised.
    pub parse_special: bool,
}

impl Default for EncodeOptions {
    /// A text of a user: around it what the model wants, within it no control tokens.
    fn default() -> Self {
        Self { add_special: true, parse_special: false }
    }
}

/// How ids are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Leave out control and unknown tokens instead of showing their texts.
    pub skip_special: bool,
    /// The ids begin a text, or follow a special token: a leading space that encoding has put there is taken away.
    pub at_start: bool,
}

impl Default for DecodeOptions {
    /// The readable text of a whole sequence.
    fn default() -> Self {
        Self { skip_special: true, at_start: true }
    }
}

enum Kind {
    Spm(Box<Spm>),
    Bpe(Box<Bpe>),
    WordPiece(Box<WordPiece>),
    Hub(Box<Hub>),
}

struct Inner {
    kind: Kind,
    /// Texts as the file has them.
    texts: ByteStrings,
    /// What each token decodes to.
    bytes: ByteStrings,
    special: Special,
    /// Finds all special tokens.
    all_special: Partition,
    /// Finds user-defined tokens only.
    user_defined: Partition,
    add_bos: bool,
    add_eos: bool,
    /// Whether text gets a space at its start, which decoding takes away.
    strips_space: bool,
    warnings: Vec<Cow<'static, str>>,
}

/// A tokenizer. Immutable and cheap to clone; all methods are thread-safe.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0.kind {
            Kind::Spm(_) => "SentencePiece BPE",
            Kind::Bpe(_) => "BPE",
            Kind::WordPiece(_) => "WordPiece",
            Kind::Hub(_) => "tokenizer.json",
        };
        write!(f, "Tokenizer({kind}, {} tokens)", self.vocab_size())
    }
}

/// Grows `out` by room for `tokens` more.
#[inline]
fn reserve(out: &mut Vec<u32>, tokens: usize) -> Result<()> {
    if out.capacity() - out.len() < tokens { out.try_reserve(tokens).map_err(out_of_memory) } else { Ok(()) }
}

/// Replaces the content of `out` by `text` with `▁` for each space, and one before it if `prefix`.
fn escape_spaces(text: &[u8], prefix: bool, out: &mut Vec<u8>) -> Result<()> {
    let spaces = text.iter().filter(|&&byte| byte == b' ').count();
    out.clear();
    out.try_reserve(text.len() + 2 * spaces + SPACE.len()).map_err(out_of_memory)?;
    if prefix {
        out.extend_from_slice(SPACE);
    }
    for piece in text.split_inclusive(|&byte| byte == b' ') {
        match piece.split_last() {
            Some((b' ', word)) => {
                out.extend_from_slice(word);
                out.extend_from_slice(SPACE);
            }
            _ => out.extend_from_slice(piece),
        }
    }
    Ok(())
}

/// The text of the token for one byte.
fn byte_token(byte: u8) -> [u8; 6] {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    [b'<', b'0', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)], b'>']
}

/// The byte that `<0xAB>` stands for.
fn token_byte(text: &[u8]) -> Option<u8> {
    let hex = std::str::from_utf8(text.strip_prefix(b"<0x")?.strip_suffix(b">")?).ok()?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}

impl Tokenizer {
    /// Builds a tokenizer.
    ///
    /// # Errors
    /// `Unsupported` for a tokenizer model or a pre-tokenizer that isn't known, by name; `InvalidFile` where the definition
    /// contradicts itself (equal tokens, too few scores, NaN, BOS wanted but not there); `OutOfMemory`.
    pub fn new(definition: Definition) -> Result<Self> {
        at_once(Self::new_paced(definition, &Pace::unhurried()))
    }

    /// As [`new`](Self::new), in pieces.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub async fn new_paced(mut definition: Definition, pace: &Pace) -> Result<Self> {
        let tokens = TOKEN_COST * definition.tokens.len() + definition.tokens.text_len();
        pace.expect((PASSES * tokens + MERGE_COST * definition.merges.len() + definition.merges.text_len()) as u64);
        check(&mut definition, pace).await?;
        let mut warnings = Vec::new();
        let pre = pre_tokenizer(&definition, &mut warnings)?;
        let defaults = match definition.model.as_str() {
            "llama" => Roles { bos: Some(1), eos: Some(2), unknown: Some(0), ..Roles::default() },
            "bert" => {
                Roles { bos: Some(101), unknown: Some(100), separator: Some(102), padding: Some(0), mask: Some(103), ..Roles::default() }
            }
            _ => Roles::default(),
        };
        let special = Special::new(pace, &definition, &defaults).await?;
        let roles = &special.roles;
        let (kind, bos_by_default, always_bos) = match pre {
            Some(pre) => (Kind::Bpe(Box::new(Bpe::new(pace, &definition, pre, roles.unknown).await?)), pre.add_bos, pre.always_bos),
            None if definition.model == "bert" => {
                (Kind::WordPiece(Box::new(WordPiece::new(pace, &definition, roles.unknown).await?)), true, true)
            }
            None => (Kind::Spm(Box::new(Spm::new(pace, &definition, roles.unknown).await?)), true, false),
        };
        let wordpiece = matches!(kind, Kind::WordPiece(_));
        if wordpiece && (roles.bos.is_none() || roles.separator.is_none()) {
            return Err(Error::invalid_file("a WordPiece vocabulary without tokens for begin ([CLS]) and separator ([SEP])"));
        }
        if definition.add_bos == Some(true) && roles.bos.is_none() {
            return Err(Error::invalid_file("tokenizer.ggml.add_bos_token is true, but there is no BOS token"));
        }
        if definition.add_eos == Some(true) && roles.eos.is_none() && !wordpiece {
            return Err(Error::invalid_file("tokenizer.ggml.add_eos_token is true, but there is no EOS token"));
        }
        let strips_space = match &kind {
            Kind::Spm(spm) => spm.adds_space_prefix(),
            Kind::Bpe(_) | Kind::Hub(_) => false,
            Kind::WordPiece(_) => true,
        };
        let partition = |wanted, unwanted| Partition::new(pace, &definition.tokens, &special.attributes, wanted, unwanted);
        Ok(Self(Arc::new(Inner {
            bytes: decoded(pace, &definition.tokens, &special.attributes, pre).await?,
            all_special: partition(Attributes::SPECIAL, Attributes::UNDEFINED).await?,
            user_defined: partition(Attributes::USER_DEFINED, Attributes::HIDDEN).await?,
            add_bos: (definition.add_bos.unwrap_or(bos_by_default) || always_bos) && roles.bos.is_some(),
            add_eos: definition.add_eos.unwrap_or(false) && roles.eos.is_some(),
            strips_space,
            kind,
            texts: definition.tokens,
            special,
            warnings,
        })))
    }

    /// Appends the ids of `text` (UTF-8; other bytes are kept where the vocabulary has tokens for bytes) to `out`.
    ///
    /// Takes time near-linear in the length of the text, whatever the text is. Memory: about 32 bytes for each byte of the
    /// longest stretch without a word boundary.
    ///
    /// # Errors
    /// `InvalidArgument` for a text beyond 1.4 GB, `OutOfMemory`; `out` is as before then.
    pub fn encode(&self, text: impl AsRef<[u8]>, options: EncodeOptions, out: &mut Vec<u32>) -> Result<()> {
        let before = out.len();
        let result = self.encode_or_leave_rest(text.as_ref(), options, out);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    fn encode_or_leave_rest(&self, text: &[u8], options: EncodeOptions, out: &mut Vec<u32>) -> Result<()> {
        if let Kind::Hub(hub) = &self.0.kind {
            return hub.encode(text, options, out);
        }
        if text.len() > LONGEST_TEXT {
            return Err(Error::invalid_argument(format!("a text of {} bytes; at most {LONGEST_TEXT} can be encoded at once", text.len())));
        }
        let inner = &*self.0;
        let roles = &inner.special.roles;
        reserve(out, 2)?;
        if options.add_special && inner.add_bos {
            out.extend(roles.bos);
        }
        let partition = if options.parse_special { &inner.all_special } else { &inner.user_defined };
        let mut merger = Merger::default();
        let mut buffer = Vec::new();
        let mut after_special = true;
        partition.split(text, &mut |part| {
            match part {
                Part::Token(id) => {
                    reserve(out, 1)?;
                    out.push(id);
                    after_special = true;
                    return Ok(());
                }
                Part::Text(text) => match &inner.kind {
                    Kind::Spm(spm) => spm.encode(text, after_special, &mut merger, &mut buffer, out)?,
                    Kind::Bpe(bpe) => bpe.encode(text, &mut merger, &mut buffer, out)?,
                    Kind::WordPiece(wordpiece) => wordpiece.encode(text, &mut buffer, out)?,
                    Kind::Hub(_) => {}
                },
            }
            after_special = false;
            Ok(())
        })?;
        reserve(out, 1)?;
        if options.add_special {
            match inner.kind {
                Kind::WordPiece(_) => out.extend(roles.separator),
                _ if inner.add_eos => out.extend(roles.eos),
                _ => {}
            }
        }
        Ok(())
    }

    /// The bytes that `ids` stand for. Decoding what [`encode`](Self::encode) gave with the same choice of special tokens gives
    /// the text back, for BPE and SentencePiece vocabularies that have all bytes. (No clean-up of spaces before punctuation, as
    /// some libraries do: it changes texts.)
    ///
    /// # Errors
    /// `InvalidArgument` for an id outside the vocabulary.
    pub fn decode(&self, ids: &[u32], options: DecodeOptions) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut strip_space = options.at_start;
        for &id in ids {
            let bytes = self.visible(id, options.skip_special, &mut strip_space)?;
            text.try_reserve(bytes.len()).map_err(out_of_memory)?;
            text.extend_from_slice(bytes);
        }
        Ok(text)
    }

    /// What `id` adds to a text. `strip_space` says whether a leading space is the tokenizer's own, and then whether it is for
    /// the next id.
    fn visible(&self, id: u32, skip_special: bool, strip_space: &mut bool) -> Result<&[u8]> {
        let bytes = self
            .token_bytes(id)
            .ok_or_else(|| Error::invalid_argument(format!("token {id} is outside the vocabulary of {} tokens", self.vocab_size())))?;
        let attributes = self.0.special.attributes[id as usize];
        if let Kind::Hub(_) = self.0.kind {
            // There the first token that is seen is the start, and no other.
            if skip_special && attributes.any(Attributes::HIDDEN) {
                return Ok(&[]);
            }
            let strip = std::mem::replace(strip_space, false) && self.0.strips_space && !attributes.any(Attributes::SPECIAL);
            return Ok(if strip { bytes.strip_prefix(b" ").unwrap_or(bytes) } else { bytes });
        }
        let strip = std::mem::replace(strip_space, attributes.any(Attributes::SPECIAL));
        if attributes.any(Attributes::SPECIAL) {
            return Ok(if skip_special && attributes.any(Attributes::HIDDEN) { &[] } else { bytes });
        }
        Ok(if strip && self.0.strips_space { bytes.strip_prefix(b" ").unwrap_or(bytes) } else { bytes })
    }

    /// The number of tokens. Ids are below it.
    pub fn vocab_size(&self) -> u32 {
        self.0.texts.len() as u32
    }

    /// The text of a token as the vocabulary writes it (`Ġthe`, `▁the`, `<0x0A>`), mostly UTF-8.
    pub fn token_text(&self, id: u32) -> Option<&[u8]> {
        self.0.texts.get(id as usize)
    }

    /// The bytes that a token decodes to; for special tokens their text. May be part of a character.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.0.bytes.get(id as usize)
    }

    /// Whether a token is control or unknown: no part of readable text.
    pub fn is_special(&self, id: u32) -> bool {
        self.0.special.attributes.get(id as usize).is_some_and(|attributes| attributes.any(Attributes::HIDDEN))
    }

    /// Whether a token ends a generation: EOS, end of turn, and their like.
    pub fn is_eog(&self, id: u32) -> bool {
        self.0.special.end_of_generation.binary_search(&id).is_ok()
    }

    /// All tokens that end a generation, ascending.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.0.special.end_of_generation
    }

    /// The tokens with a role.
    pub fn roles(&self) -> &Roles {
        &self.0.special.roles
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.roles().bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.roles().eos
    }

    /// Whether `add_special` puts BOS (for BERT, `[CLS]`) first.
    pub fn adds_bos(&self) -> bool {
        self.0.add_bos
    }

    /// Whether `add_special` puts EOS last.
    pub fn adds_eos(&self) -> bool {
        self.0.add_eos
    }

    /// Bytes of memory held, for the budget of whoever keeps the tokenizer. (Encoding needs some of its own while it runs.)
    pub fn memory(&self) -> u64 {
        let inner = &*self.0;
        let kind = match &inner.kind {
            Kind::Spm(spm) => spm.memory(),
            Kind::Bpe(bpe) => bpe.memory(),
            Kind::WordPiece(wordpiece) => wordpiece.memory(),
            Kind::Hub(hub) => hub.memory(),
        };
        let lists = inner.texts.memory() + inner.bytes.memory() + inner.special.attributes.len();
        (size_of::<Inner>() + kind + lists + inner.all_special.memory() + inner.user_defined.memory()) as u64
    }

    /// What a host may want to log: doubtful things in the vocabulary that were worked around.
    pub fn warnings(&self) -> &[Cow<'static, str>] {
        &self.0.warnings
    }
}

/// Refuses sizes that can't be handled, and names empty tokens.
async fn check(definition: &mut Definition, pace: &Pace) -> Result<()> {
    let tokens = &definition.tokens;
    if tokens.is_empty() {
        return Err(Error::invalid_file("a vocabulary without tokens"));
    }
    if tokens.len() > i32::MAX as usize || definition.merges.len() > (i32::MAX / 4) as usize {
        return Err(Error::unsupported(format!("a vocabulary of {} tokens and {} merges", tokens.len(), definition.merges.len())));
    }
    let mut empty = false;
    for id in 0..tokens.len() {
        let len = tokens.get(id).unwrap_or_default().len();
        if len > LONGEST_TOKEN {
            return Err(Error::unsupported(format!("token {id} is longer than {LONGEST_TOKEN} bytes")));
        }
        empty |= len == 0;
        pace.spend(TOKEN_COST / 8).await;
    }
    if empty {
        let mut named = ByteStrings::new();
        for id in 0..tokens.len() {
            let text = tokens.get(id).unwrap_or_default();
            if text.is_empty() {
                named.push(format!("[EMPTY_{id}]").as_bytes())?
            } else {
                named.push(text)?
            }
            pace.spend(TOKEN_COST + text.len()).await;
        }
        definition.tokens = named;
    }
    Ok(())
}

/// The pre-tokenizer of a BPE vocabulary, `None` for the other kinds.
fn pre_tokenizer(definition: &Definition, warnings: &mut Vec<Cow<'static, str>>) -> Result<Option<PreTokenizer>> {
    let name = match (definition.model.as_str(), definition.pre.as_deref()) {
        ("llama" | "bert", _) => return Ok(None),
        ("gemma4", _) => "gemma4",
        ("gpt2", Some(name)) if !name.is_empty() => name,
        ("gpt2", _) => {
            warnings.push("the file names no pre-tokenizer (tokenizer.ggml.pre); the default one may split words in other places".into());
            "default"
        }
        (model, _) => return Err(Error::unsupported(format!("tokenizer model '{model}' (tokenizer.ggml.model)"))),
    };
    match pretokenizer::named(name) {
        Some(pre) => Ok(Some(pre)),
        None => Err(Error::unsupported(format!("pre-tokenizer '{name}' (tokenizer.ggml.pre)"))),
    }
}

/// What each token decodes to.
async fn decoded(pace: &Pace, tokens: &ByteStrings, attributes: &[Attributes], pre: Option<PreTokenizer>) -> Result<ByteStrings> {
    let alphabet = ByteAlphabet::new();
    let byte_level = pre.is_some_and(|pre| pre.byte_level);
    let escaped = pre.is_none_or(|pre| pre.escape_spaces);
    let mut all = ByteStrings::with_room_for(tokens.len(), tokens.text_len())?;
    let mut buffer = Vec::new();
    for (id, attributes) in attributes.iter().enumerate() {
        let text = tokens.get(id).unwrap_or_default();
        pace.work(TOKEN_COST + text.len()).await;
        if attributes.any(Attributes::SPECIAL) {
            all.push(text)?;
        } else if attributes.any(Attributes::BYTE) {
            match token_byte(text) {
                Some(byte) => all.push(&[byte])?,
                None => all.push(text)?,
            }
        } else if !attributes.any(Attributes::NORMAL) {
            all.push(b"")?;
        } else if byte_level {
            all.push(if alphabet.decode(text, &mut buffer) { &buffer } else { text })?;
        } else if escaped {
            buffer.clear();
            let mut rest = text;
            while let Some((&byte, next)) = rest.split_first() {
                rest = match rest.strip_prefix(SPACE) {
                    Some(next) => {
                        buffer.push(b' ');
                        next
                    }
                    None => {
                        buffer.push(byte);
                        next
                    }
                };
            }
            all.push(&buffer)?;
        } else {
            all.push(text)?;
        }
    }
    Ok(all)
}
