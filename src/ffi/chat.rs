//! Chat
//!
//! Messages, and the prompt that the model's own template makes of them.

use std::borrow::Cow;
use std::ffi::c_char;

use crate::chat::{Message, Template};
use crate::model::Model;

use super::buffer::{self, Buffer};
use super::call::{Failure, call};
use super::error::loquat_error;
use super::handle::{self, Opaque};
use super::model::loquat_model;
use super::settings;
use super::status::loquat_status;

/// A list of messages with the template of a model, each with a role ("system", "user", "assistant", whatever the template knows) and a
/// text.
pub struct loquat_chat {
    _opaque: (),
}

/// The value behind a [`loquat_chat`].
pub(super) struct Chat {
    template: Template,
    /// Role and content.
    messages: Vec<(String, String)>,
}

impl Opaque for loquat_chat {
    type Value = Chat;
    type Side = ();
    const TAG: u32 = u32::from_be_bytes(*b"LqCh");
    const NAME: &'static str = "chat";
}

/// The template of a model, which may name the texts of its first and last token.
fn template_of(model: &Model) -> Result<Template, Failure> {
    let tokenizer = model.tokenizer()?;
    let text = |token: Option<u32>| token.and_then(|id| tokenizer.token_text(id)).map_or(Cow::Borrowed(""), String::from_utf8_lossy);
    Ok(Template::new(model.chat_template()?, &text(tokenizer.bos()), &text(tokenizer.eos()))?)
}

/// A new empty list for a model. Free it with loquat_chat_free.
///
/// LOQUAT_INVALID_ARGUMENT for a model without a template; LOQUAT_TEMPLATE for a template that can't be parsed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_chat_new(
    model: *const loquat_model,
    chat: *mut *mut loquat_chat,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: this and every block below: pointers from C are NULL or valid, as the conventions of the header ask of the caller.
    unsafe {
        call(error, || {
            handle::make(chat, "chat", || {
                let template = template_of(&*handle::shared(model)?)?;
                Ok((Chat { template, messages: Vec::new() }, ()))
            })
        })
    }
}

/// Frees a list. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn loquat_chat_free(chat: *mut loquat_chat) {
    // SAFETY: as above.
    unsafe { handle::free(chat) }
}

/// Adds a message at the end. Both texts are copied.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_chat_add(
    chat: *mut loquat_chat,
    role: *const c_char,
    role_length: usize,
    content: *const c_char,
    content_length: usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(chat, error, |chat| {
            let role = buffer::text(role, role_length, "role")?.to_owned();
            let content = buffer::text(content, content_length, "content")?.to_owned();
            chat.messages.push((role, content));
            Ok(())
        })
    }
}

/// Removes all messages.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_chat_clear(chat: *mut loquat_chat, error: *mut *mut loquat_error) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        settings::change(chat, error, |chat| {
            chat.messages.clear();
            Ok(())
        })
    }
}

/// Fills `prompt` with the messages as the template writes them; `generation_prompt` is 1 to end with the beginning of the assistant's
/// turn, else 0. Give the result to loquat_session_append_text with LOQUAT_PARSE_SPECIAL.
///
/// LOQUAT_BUFFER_TOO_SMALL; LOQUAT_TEMPLATE where the template raises an exception (its message is the error's).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn loquat_chat_render(
    chat: *const loquat_chat,
    generation_prompt: u32,
    prompt: *mut c_char,
    capacity: usize,
    prompt_length: *mut usize,
    error: *mut *mut loquat_error,
) -> loquat_status {
    // SAFETY: as above.
    unsafe {
        call(error, || {
            let out = Buffer::new(prompt.cast::<u8>(), capacity, prompt_length, "prompt")?;
            let generation_prompt = settings::flag("generation_prompt", generation_prompt)?;
            let chat = handle::shared(chat)?;
            let messages: Vec<Message<'_>> = chat.messages.iter().map(|(role, content)| Message { role, content }).collect();
            out.fill(chat.template.render(&messages, generation_prompt)?.as_bytes())
        })
    }
}
