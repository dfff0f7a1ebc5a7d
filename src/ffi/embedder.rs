//! Embedder
//!
//! Texts to vectors, with an encoder model (BERT and its kind): begin with a text, step until it is done, read the embedding.

use std::ffi::c_char;

use crate::model::Pooling;
use crate::session::{CancelHandle, EmbedStep, Embedder, EmbedderOptions};
use crate::tokenizer::EncodeOptions;

use super::buffer::{self, Buffer, Out};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::model::loquat_model;
use super::status::{LOQUAT_CANCELLED, LOQUAT_NOT_FOUND, LOQUAT_OK, LOQUAT_PENDING, loquat_status};

/// Computes embeddings, one text at a time. It keeps its model, and all memory that a step touches, from its creation on.
pub struct loquat_embedder {
    _opaque: (),
}

impl Opaque for loquat_embedder {
    type Value = Embedder;
    type Side = CancelHandle;
    const TAG: u32 = u32::from_be_bytes(*b"LqEm");
    const NAME: &'static str = "embedder";
}

/// What becomes of the embeddings of a text's tokens: what the model's file says, or the mean where it says nothing.
pub const LOQUAT_POOLING_OF_MODEL: u32 = 0;
/// What becomes of the embeddings of a text's tokens: they stay, one for each token.
pub const LOQUAT_POOLING_NONE: u32 = 1;
/// What becomes of the embeddings of a text's tokens: their mean.
pub const LOQUAT_POOLING_MEAN: u32 = 2;
/// What becomes of the embeddings of a text's tokens: the first one stands for the text.
pub const LOQUAT_POOLING_CLS: u32 = 3;
/// What becomes of the embeddings of a text's tokens: the last one stands for the text.
pub const LOQUAT_POOLING_LAST: u32 = 4;

/// An embedder flag: leave embeddings as they are computed. Otherwise each is divided by its length (L2 norm), so that the similarity of
/// two is their dot product.
pub const LOQUAT_EMBED_RAW: u32 = 1;

/// Opens an embedder for texts of up to `max_tokens` tokens (0: as many as the model was trained for; the memory grows with it) that pools
/// as `pooling` says (a LOQUAT_POOLING_ number). `flags`: LOQUAT_EMBED_RAW, or 0.
///
/// LOQUAT_INVALID_ARGUMENT for a model that is no encoder, one that was loaded without its weights, or more tokens than it has positions
/// for.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_embedder_new(
    model: *const loquat_model,
    max_tokens: u32,
    pooling: u32,
    flags: u32,
    embedder: *mut *mut loquat_embedder,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            handle::make(embedder, "embedder", || {
                let model = handle::shared(model)?;
                let pooling = match pooling {
                    LOQUAT_POOLING_OF_MODEL => None,
                    LOQUAT_POOLING_NONE => Some(Pooling::None),
                    LOQUAT_POOLING_MEAN => Some(Pooling::Mean),
                    LOQUAT_POOLING_CLS => Some(Pooling::Cls),
                    LOQUAT_POOLING_LAST => Some(Pooling::Last),
                    other => return Err(Failure::argument(format!("pooling {other} is none of LOQUAT_POOLING_"))),
                };
                if flags & !LOQUAT_EMBED_RAW != 0 {
                    return Err(Failure::argument(format!("flags {flags:#x} have bits that are not known here")));
                }
                let normalize = flags & LOQUAT_EMBED_RAW == 0;
                let embedder = Embedder::new(&model, &EmbedderOptions { tokens: max_tokens, pooling, normalize, threads: 0 })?;
                let cancel = embedder.cancel_handle();
                Ok((embedder, cancel))
            })
        })
    }
}

/// Frees an embedder and its memory. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_embedder_free(embedder: *mut loquat_embedder) {
    // SAFETY: as above.
    unsafe { handle::free(embedder) }
}

/// Begins with a text (UTF-8), in place of the one before; the model's tokenizer makes the tokens, with the special ones around them that
/// the model was trained with. Nothing is computed yet: that is the steps' work.
///
/// LOQUAT_CONTEXT_FULL for more tokens than the embedder takes; what was there before stays then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_embedder_begin_text(
    embedder: *mut loquat_embedder,
    text: *const c_char,
    text_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let text = buffer::text(text, text_length, "text")?;
            let mut embedder = handle::exclusive(embedder)?;
            let mut tokens = Vec::new();
            embedder.model().tokenizer()?.encode(text, EncodeOptions { add_special: true, parse_special: false }, &mut tokens)?;
            embedder.begin(&tokens)?;
            Ok(LOQUAT_OK)
        })
    }
}

/// Begins with tokens, in place of the text before.
///
/// LOQUAT_CONTEXT_FULL for more tokens than the embedder takes, LOQUAT_INVALID_ARGUMENT for none or an id outside the vocabulary; what was
/// there before stays then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_embedder_begin_tokens(
    embedder: *mut loquat_embedder,
    tokens: *const u32,
    count: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let tokens = buffer::slice(tokens, count, "tokens")?;
            handle::exclusive(embedder)?.begin(tokens)?;
            Ok(LOQUAT_OK)
        })
    }
}

/// Computes until the embeddings are there or `budget_ns` nanoseconds are spent (UINT64_MAX: no limit; 0: one work item).
///
/// LOQUAT_OK: they are there. LOQUAT_PENDING: the budget is spent; call again to go on. LOQUAT_CANCELLED: loquat_embedder_cancel was
/// called; call again to go on. LOQUAT_INVALID_ARGUMENT where no text was begun.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_embedder_step(
    embedder: *mut loquat_embedder,
    budget_ns: u64,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            Ok(match handle::exclusive(embedder)?.step(budget_ns)? {
                EmbedStep::Done => LOQUAT_OK,
                EmbedStep::Pending => LOQUAT_PENDING,
                EmbedStep::Cancelled => LOQUAT_CANCELLED,
            })
        })
    }
}

/// Stops the step in progress, or the next one. Any thread, at any time.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_embedder_cancel(embedder: *const loquat_embedder, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            handle::side(embedder)?.cancel();
            Ok(LOQUAT_OK)
        })
    }
}

/// Stores how many embeddings are there (one for the text, or with LOQUAT_POOLING_NONE one for each token; 0 before they are computed), how
/// many floats each has, and how many tokens a text may have. Each pointer may be NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_embedder_shape(
    embedder: *const loquat_embedder,
    rows: *mut u32,
    width: *mut u32,
    max_tokens: *mut u32,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let embedder = handle::shared(embedder)?;
            for (out, value) in [(rows, embedder.rows()), (width, embedder.width()), (max_tokens, embedder.capacity())] {
                if !out.is_null() {
                    Out::new(out, "rows, width or max_tokens")?.set(value as u32);
                }
            }
            Ok(LOQUAT_OK)
        })
    }
}

/// Copies embedding number `row` into `buffer`, which holds `capacity` floats.
///
/// LOQUAT_NOT_FOUND where there is no such row (yet), LOQUAT_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_embedder_get(
    embedder: *const loquat_embedder,
    row: u32,
    buffer: *mut f32,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(buffer, capacity, length, "buffer")?;
            match handle::shared(embedder)?.row(row as usize) {
                Some(row) => out.fill(row),
                None => Ok(LOQUAT_NOT_FOUND),
            }
        })
    }
}
