//! Floor 4: messages → prompt text, by the model's own chat template.
//!
//! Templates are Jinja, and the reference is Python's jinja2 set up as Hugging Face `transformers` sets it up: a sandboxed
//! environment with `trim_blocks` and `lstrip_blocks`, loop controls, `{% generation %}`, its own `tojson`,
//! `raise_exception` and `strftime_now`. minijinja runs them. Between the two stands a translation: the source is read by
//! jinja2's rules (`lexer`, `statements`, `expressions`) and written anew for minijinja with each operator, subscript,
//! loop source and method call as a call of a function of ours, which does what Python does (`operators`, `methods`,
//! `filters`, `is_tests`, `text`) and pays for the memory and work it takes (`limits`).
//!
//! A template comes out of a model file and is hostile: nesting, length, instructions, memory and work are bounded, and
//! what passes a bound is an error of kind [`Template`](crate::base::ErrorKind::Template), as is a template that can't be
//! parsed or that raises. No template can reach files, other templates, the environment or the network.
//!
//! Not here: where the template comes from (the model's metadata), and tokenizing the prompt.
//!
//! Differences from Python that remain: names in templates are ASCII; integers have 128 bits; `include`, `import`, `extends`
//! and `autoescape` are refused; `varargs` and `kwargs` in macros, `cycler`, `joiner`, `lipsum` and the filters
//! `filesizeformat`, `forceescape`, `pprint`, `random`, `striptags`, `truncate`, `urlencode`, `urlize`, `wordwrap` and
//! `xmlattr` don't exist; `range`, `dict.items()` and filters that give generators give lists; a namespace can't be
//! assigned to a namespace's attribute; `safe` marks nothing; sorting without regard to case does so for ASCII; a chain of
//! comparisons evaluates all of its operands; a constant that can't be sliced raises (jinja2's optimiser makes it undefined);
//! an undefined value given to a macro counts as not given.
#![forbid(unsafe_code)]

mod calendar;
mod expressions;
mod filters;
mod is_tests;
mod lexer;
mod limits;
mod methods;
mod operators;
mod statements;
mod template;
mod text;

pub use calendar::DateTime;
pub use template::{Message, Options, Template, Variable};

use crate::base::{Error, ErrorKind, Result};

/// An error of kind [`ErrorKind::Template`]; very long messages, which templates can raise, are cut.
fn failure(message: impl Into<String>) -> Error {
    const LONGEST: usize = 2000;
    let mut message: String = message.into();
    if message.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(cut);
        message.push('…');
    }
    Error::new(ErrorKind::Template, format!("chat template: {message}"))
}
