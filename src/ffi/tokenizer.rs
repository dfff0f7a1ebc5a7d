//! Tokenizer
//!
//! Text to token ids and back, with the tokenizer of a model.

use std::ffi::c_char;

use crate::tokenizer::{DecodeOptions, Detokenizer, EncodeOptions};

use super::buffer::{self, Buffer, Out};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::model::loquat_model;
use super::status::{LOQUAT_NOT_FOUND, LOQUAT_OK, loquat_status};

/// Add what the model wants around a text: its beginning-of-sequence token and the like.
pub const LOQUAT_ADD_SPECIAL: u32 = 1;
/// Read the text of special tokens ("<|im_start|>") as those tokens. Without it they are plain text: right for what a user typed.
pub const LOQUAT_PARSE_SPECIAL: u32 = 2;

/// Leave special tokens out of the text.
pub const LOQUAT_SKIP_SPECIAL: u32 = 1;
/// The tokens go on from earlier ones: keep a leading space that the tokenizer would take for its own at the start of a text.
pub const LOQUAT_MIDDLE: u32 = 2;

/// Attribute of a token: generation ends with it.
pub const LOQUAT_TOKEN_END: u32 = 1;
/// Attribute of a token: special, not part of the text.
pub const LOQUAT_TOKEN_SPECIAL: u32 = 2;

/// Turns the tokens of one stream into text piece by piece, whole characters only.
pub struct loquat_detokenizer {
    _opaque: (),
}

/// A stream and what it has given out.
pub(super) struct Stream {
    detokenizer: Detokenizer,
    /// What the last call gave out.
    text: Vec<u8>,
}

impl Opaque for loquat_detokenizer {
    type Value = Stream;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqDt");
    const NAME: &'static str = "detokenizer";
}

/// Checks a set of flags against those that exist.
fn known_flags(flags: u32, known: u32) -> Result<(), Failure> {
    if flags & !known != 0 {
        return Err(Failure::argument(format!("flags are {flags:#x}, of which only {known:#x} exist")));
    }
    Ok(())
}

/// The options for a set of LOQUAT_ADD_SPECIAL and LOQUAT_PARSE_SPECIAL.
pub(super) fn encode_options(flags: u32) -> Result<EncodeOptions, Failure> {
    known_flags(flags, LOQUAT_ADD_SPECIAL | LOQUAT_PARSE_SPECIAL)?;
    Ok(EncodeOptions { add_special: flags & LOQUAT_ADD_SPECIAL != 0, parse_special: flags & LOQUAT_PARSE_SPECIAL != 0 })
}

/// The options for a set of LOQUAT_SKIP_SPECIAL and LOQUAT_MIDDLE.
fn decode_options(flags: u32) -> Result<DecodeOptions, Failure> {
    known_flags(flags, LOQUAT_SKIP_SPECIAL | LOQUAT_MIDDLE)?;
    Ok(DecodeOptions { skip_special: flags & LOQUAT_SKIP_SPECIAL != 0, at_start: flags & LOQUAT_MIDDLE == 0 })
}

/// Fills `tokens` with the ids of a text. `flags`: LOQUAT_ADD_SPECIAL, LOQUAT_PARSE_SPECIAL.
///
/// A text never has more tokens than bytes + 2. LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_tokenize(
    model: *const loquat_model,
    text: *const c_char,
    text_length: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            let out = Buffer::new(tokens, capacity, count, "tokens")?;
            let options = encode_options(flags)?;
            let text = buffer::text(text, text_length, "text")?;
            let mut ids = Vec::new();
            handle::shared(model)?.tokenizer()?.encode(text, options, &mut ids)?;
            out.fill(&ids)
        })
    }
}

/// Fills `text` with the text of tokens. `flags`: LOQUAT_SKIP_SPECIAL, LOQUAT_MIDDLE.
///
/// Bytes that are no UTF-8 (half a character at the end) come out as U+FFFD; a stream that goes on wants a loquat_detokenizer.
/// LOQUAT_BUFFER_TOO_SMALL; LOQUAT_INVALID_ARGUMENT for an id outside the vocabulary.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_detokenize(
    model: *const loquat_model,
    tokens: *const u32,
    count: usize,
    flags: u32,
    text: *mut c_char,
    capacity: usize,
    text_length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(text.cast::<u8>(), capacity, text_length, "text")?;
            let options = decode_options(flags)?;
            let tokens = buffer::slice(tokens, count, "tokens")?;
            let bytes = handle::shared(model)?.tokenizer()?.decode(tokens, options)?;
            out.fill(String::from_utf8_lossy(&bytes).as_bytes())
        })
    }
}

/// Fills `text` with how the vocabulary writes one token: the raw entry, with the tokenizer's own marks for spaces and bytes.
///
/// LOQUAT_BUFFER_TOO_SMALL; LOQUAT_NOT_FOUND for an id outside the vocabulary.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_token_text(
    model: *const loquat_model,
    token: u32,
    text: *mut c_char,
    capacity: usize,
    text_length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(text.cast::<u8>(), capacity, text_length, "text")?;
            let model = handle::shared(model)?;
            match model.tokenizer()?.token_text(token) {
                Some(text) => out.fill(text),
                None => Ok(LOQUAT_NOT_FOUND),
            }
        })
    }
}

/// Stores the attributes of a token, a set of LOQUAT_TOKEN_END and LOQUAT_TOKEN_SPECIAL.
///
/// LOQUAT_NOT_FOUND for an id outside the vocabulary.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_model_token_attributes(
    model: *const loquat_model,
    token: u32,
    attributes: *mut u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let attributes = Out::new(attributes, "attributes")?;
            let model = handle::shared(model)?;
            let tokenizer = model.tokenizer()?;
            if token >= tokenizer.vocab_size() {
                return Ok(LOQUAT_NOT_FOUND);
            }
            let end = if tokenizer.is_eog(token) { LOQUAT_TOKEN_END } else { 0 };
            let special = if tokenizer.is_special(token) { LOQUAT_TOKEN_SPECIAL } else { 0 };
            attributes.set(end | special);
            Ok(LOQUAT_OK)
        })
    }
}

/// A new stream of tokens to be turned into text. `flags`: LOQUAT_SKIP_SPECIAL, LOQUAT_MIDDLE. Free it with
/// loquat_detokenizer_free.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_detokenizer_new(
    model: *const loquat_model,
    flags: u32,
    detokenizer: *mut *mut loquat_detokenizer,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::make(detokenizer, "detokenizer", || {
                let detokenizer = Detokenizer::new(handle::shared(model)?.tokenizer()?, decode_options(flags)?);
                Ok((Stream { detokenizer, text: Vec::new() }, ()))
            })
        })
    }
}

/// Frees a stream. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_detokenizer_free(detokenizer: *mut loquat_detokenizer) {
    // SAFETY: as above.
    unsafe { handle::free(detokenizer) }
}

/// Adds a token to the stream and stores what text is complete now: whole UTF-8 characters, perhaps none. The text is not
/// NUL-terminated and lives until the next call on the stream.
///
/// LOQUAT_INVALID_ARGUMENT for an id outside the vocabulary.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_detokenizer_push(
    detokenizer: *mut loquat_detokenizer,
    token: u32,
    text: *mut *const c_char,
    text_length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let (text, text_length) = (Out::new(text, "text")?, Out::new(text_length, "text_length")?);
            let mut stream = handle::exclusive(detokenizer)?;
            let Stream { detokenizer, text: piece } = &mut *stream;
            piece.clear();
            detokenizer.push(token, piece)?;
            text.set(piece.as_ptr().cast());
            text_length.set(piece.len());
            Ok(LOQUAT_OK)
        })
    }
}

/// Ends the stream and stores the rest: U+FFFD where the tokens ended inside a character. The stream can then be used afresh.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_detokenizer_finish(
    detokenizer: *mut loquat_detokenizer,
    text: *mut *const c_char,
    text_length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let (text, text_length) = (Out::new(text, "text")?, Out::new(text_length, "text_length")?);
            let mut stream = handle::exclusive(detokenizer)?;
            let Stream { detokenizer, text: piece } = &mut *stream;
            piece.clear();
            detokenizer.finish(piece);
            text.set(piece.as_ptr().cast());
            text_length.set(piece.len());
            Ok(LOQUAT_OK)
        })
    }
}
