//! The text of a turn as it streams: whole characters, cut before a stop string.

use crate::base::{Error, Result};
use crate::tokenizer::{DecodeOptions, Detokenizer, Tokenizer};

/// Most and longest stop strings.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 1024;

/// Turns sampled ids into text. Text that may be the beginning of a stop string is held back until that is decided.
#[derive(Clone)]
pub struct TextStream {
    detokenizer: Option<Detokenizer>,
    stops: Vec<Vec<u8>>,
    /// Decoded and not yet given out.
    held: Vec<u8>,
    /// Given out by the last step.
    out: Vec<u8>,
}

impl TextStream {
    /// A stream for `tokenizer`; without one all text is empty.
    ///
    /// # Errors
    /// `InvalidArgument` for empty, too many or too long stop strings, or stop strings without a tokenizer.
    pub fn new(tokenizer: Option<&Tokenizer>, stops: &[Vec<u8>], show_special: bool) -> Result<Self> {
        if stops.len() > MAX_STOPS || stops.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
            return Err(Error::invalid_argument(format!("stop strings: at most {MAX_STOPS}, each of 1 to {MAX_STOP_BYTES} bytes")));
        }
        if stops.iter().any(|stop| std::str::from_utf8(stop).is_err()) {
            return Err(Error::invalid_argument("a stop string that is not UTF-8"));
        }
        if tokenizer.is_none() && !stops.is_empty() {
            return Err(Error::invalid_argument("stop strings for a model without a tokenizer"));
        }
        let longest = stops.iter().map(Vec::len).max().unwrap_or(0);
        let mut stream = Self { detokenizer: None, stops: stops.to_vec(), held: Vec::new(), out: Vec::new() };
        // Room for what usual tokens add, so that a steady step does not allocate.
        stream.held.reserve(longest + 1024);
        stream.out.reserve(longest + 1024);
        stream.detokenizer =
            tokenizer.map(|tokenizer| Detokenizer::new(tokenizer, DecodeOptions { skip_special: !show_special, at_start: false }));
        Ok(stream)
    }

    /// Begins a turn.
    pub fn begin(&mut self) {
        self.held.clear();
        self.out.clear();
        if let Some(detokenizer) = &mut self.detokenizer {
            detokenizer.finish(&mut self.out);
        }
        self.out.clear();
    }

    /// Begins a step: nothing is given out yet.
    pub fn clear(&mut self) {
        self.out.clear();
    }

    /// Takes in a sampled id. True where a stop string has come up: the text before it is given out, the turn is over.
    ///
    /// # Errors
    /// `InvalidArgument` for an id outside the vocabulary of the tokenizer.
    pub fn push(&mut self, id: u32) -> Result<bool> {
        let Some(detokenizer) = &mut self.detokenizer else { return Ok(false) };
        detokenizer.push(id, &mut self.held)?;
        let found = (0..self.held.len()).find(|&at| self.stops.iter().any(|stop| self.held[at..].starts_with(stop)));
        if let Some(at) = found {
            self.out.extend_from_slice(&self.held[..at]);
            self.held.clear();
            return Ok(true);
        }
        // The earliest place from which a stop string may still be coming. Both texts are whole characters, so it is between two.
        let hold = (0..self.held.len()).find(|&at| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..])));
        let free = hold.unwrap_or(self.held.len());
        self.out.extend_from_slice(&self.held[..free]);
        self.held.drain(..free);
        Ok(false)
    }

    /// Ends the turn: everything held back is given out, an unfinished character as U+FFFD.
    pub fn finish(&mut self) {
        self.out.append(&mut self.held);
        if let Some(detokenizer) = &mut self.detokenizer {
            detokenizer.finish(&mut self.out);
        }
    }

    /// What is decoded and not given out, and the bytes of an unfinished character: the state of the stream between two steps.
    pub fn waiting(&self) -> (&[u8], &[u8]) {
        (&self.held, self.detokenizer.as_ref().map_or(&[], |detokenizer| detokenizer.pending_bytes()))
    }

    /// Takes up the [`waiting`](Self::waiting) text of another stream, from untrusted bytes.
    ///
    /// # Errors
    /// `InvalidFile` where it is none; nothing changes then.
    pub fn take_up(&mut self, held: &[u8], pending: &[u8]) -> Result<()> {
        let fits = held.len() <= MAX_STOP_BYTES && std::str::from_utf8(held).is_ok();
        let taken = match &mut self.detokenizer {
            Some(detokenizer) => fits && detokenizer.take_up(pending),
            None => held.is_empty() && pending.is_empty(),
        };
        if !taken {
            return Err(Error::invalid_file("text that can't be waiting for a stop string or the rest of a character"));
        }
        self.held.clear();
        self.held.extend_from_slice(held);
        self.out.clear();
        Ok(())
    }

    /// What the last step gave out: whole UTF-8 characters.
    pub fn text(&self) -> &[u8] {
        &self.out
    }
}
