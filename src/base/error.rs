//! The one error type of the library: a kind, which becomes a C status, and a message that names the place.
//!
//! Messages are for people and may change; [`ErrorKind`] is what programs act on.

use std::borrow::Cow;
use std::fmt;

/// A `Result` whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in the categories that a host can act on. Each has one C status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is outside its range, or the call makes no sense in the present state.
    InvalidArgument,
    /// The operating system refused: file not found, permission, read failure.
    Io,
    /// A file (model, tokenizer, template) contradicts its own format. The message names the place.
    InvalidFile,
    /// A well-formed thing that this version can't run; the message names it.
    Unsupported,
    /// The memory budget or the system has no room for it. Nothing was changed.
    OutOfMemory,
    /// The session's context has no room for more tokens.
    ContextFull,
    /// The handle is in use by another thread.
    Busy,
    /// An earlier panic left the handle in an unknown state; only freeing it is allowed.
    Poisoned,
    /// Logits that are NaN or infinite: a broken model file or a numeric overflow.
    NonFinite,
    /// A chat template that the engine can't parse, or that raised an exception.
    Template,
    /// A fault of this library.
    Internal,
}

/// An error: its kind and a message for people.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

impl Error {
    /// An error of `kind` with `message`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }

    /// [`ErrorKind::InvalidArgument`].
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// [`ErrorKind::InvalidFile`].
    pub fn invalid_file(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidFile, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::OutOfMemory`].
    pub fn out_of_memory(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::OutOfMemory, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// [`ErrorKind::Io`] from a system error, with what was being done ("open model.gguf").
    pub fn io(doing: impl fmt::Display, error: &std::io::Error) -> Self {
        let kind = if error.kind() == std::io::ErrorKind::OutOfMemory { ErrorKind::OutOfMemory } else { ErrorKind::Io };
        Self::new(kind, format!("{doing}: {error}"))
    }

    /// The same error with `place` and a colon before the message.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{place}: {}", self.message).into() }
    }

    /// The category.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message, without the category.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_prepended_and_kind_kept() {
        let error = Error::invalid_file("length 7 exceeds 3").at("key 'a'").at("model.gguf");
        assert_eq!(error.kind(), ErrorKind::InvalidFile);
        assert_eq!(error.to_string(), "model.gguf: key 'a': length 7 exceeds 3");
    }
}
