//! Ids back to text as they come: only whole UTF-8 characters go out.

#![forbid(unsafe_code)]

use crate::base::Result;

use super::{DecodeOptions, Tokenizer};

const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// Turns a stream of ids into UTF-8 text. Bytes of an unfinished character wait for the next id; bytes that can't become a
/// character any more come out as U+FFFD at once, so that the whole output is what `String::from_utf8_lossy` makes of all
/// bytes together. Nothing is allocated but what the caller's buffer needs.
#[derive(Clone)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special: bool,
    /// Whether a leading space of the next text belongs to the tokenizer, not to the text.
    strip_space: bool,
    /// The beginning of a character.
    pending: [u8; 4],
    pending_len: usize,
}

impl Detokenizer {
    /// A stream at its beginning.
    pub fn new(tokenizer: &Tokenizer, options: DecodeOptions) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            skip_special: options.skip_special,
            strip_space: options.at_start,
            pending: [0; 4],
            pending_len: 0,
        }
    }

    /// Appends to `out` the text that `id` completes: whole characters, maybe none.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::base::ErrorKind::InvalidArgument) for an id outside the vocabulary; nothing changes then.
    pub fn push(&mut self, id: u32, out: &mut Vec<u8>) -> Result<()> {
        let tokenizer = self.tokenizer.clone();
        let bytes = tokenizer.visible(id, self.skip_special, &mut self.strip_space)?;
        self.feed(bytes, out);
        Ok(())
    }

    /// Ends the stream: an unfinished character comes out as U+FFFD. The stream can begin again.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.pending_len > 0 {
            out.extend_from_slice(REPLACEMENT);
        }
        self.pending_len = 0;
    }

    /// The number of bytes that wait for the rest of their character.
    pub fn pending(&self) -> usize {
        self.pending_len
    }

    /// The bytes that wait for the rest of their character.
    pub fn pending_bytes(&self) -> &[u8] {
        &self.pending[..self.pending_len]
    }

    /// Takes up [`pending_bytes`](Self::pending_bytes) of another stream; false, and nothing changed, where they are not the beginning of
    /// a character.
    pub fn take_up(&mut self, pending: &[u8]) -> bool {
        let begins =
            pending.len() < 4 && std::str::from_utf8(pending).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none());
        if !pending.is_empty() && !begins {
            return false;
        }
        self.pending[..pending.len()].copy_from_slice(pending);
        self.pending_len = pending.len();
        true
    }

    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while self.pending_len > 0 && !bytes.is_empty() {
            self.pending[self.pending_len] = bytes[0];
            match std::str::from_utf8(&self.pending[..=self.pending_len]) {
                Ok(character) => {
                    out.extend_from_slice(character.as_bytes());
                    self.pending_len = 0;
                }
                Err(error) if error.error_len().is_none() => self.pending_len += 1,
                // The bytes before this one can't go on; this one begins anew.
                Err(_) => {
                    out.extend_from_slice(REPLACEMENT);
                    self.pending_len = 0;
                    continue;
                }
            }
            bytes = &bytes[1..];
        }
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            out.extend_from_slice(chunk.valid().as_bytes());
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let unfinished = chunks.peek().is_none() && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if unfinished {
                self.pending[..invalid.len()].copy_from_slice(invalid);
                self.pending_len = invalid.len();
            } else {
                out.extend_from_slice(REPLACEMENT);
            }
        }
    }
}
