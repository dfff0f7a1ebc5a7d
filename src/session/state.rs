//! A session saved and restored: tokens, cache, sampler, text in flight, and where the turn stands.
//!
//! # Format
//! All numbers little-endian. The bytes `LQSESS01`, then sections, then the XXH3 hash (64 bits) of all bytes before it. A section is
//! a tag of four letters, its length (`u64`), and its bytes. A reader skips a section whose tag begins with a small letter and that it does
//! not know, and refuses one that begins with a capital: later versions add what is optional in the first way.
//!
//! | tag | holds |
//! |---|---|
//! | `MODL` | fingerprint of the model (16 bytes), layers, KV heads, key and value dimension (4 × `u32`), the name of the KV type |
//! | `TOKS` | positions that are cached, tokens that were given (not sampled): 2 × `u32`; then all tokens, `u32` each |
//! | `TURN` | generated tokens, why the turn is over (0 for not), the token that ended it plus one (3 × `u32`); the text that waits for a stop string and the bytes of an unfinished character, each a `u32` length and its bytes |
//! | `SAMP` | the sampler's state ([`Sampler::state`]) |
//! | `SLID` | tokens that have slid out of the context, `u64`, a multiple of 256; left out where there are none |
//! | `LOGT` | the logits after the last cached position, `f32` each; left out where there are none |
//! | `KEYV` | keys and values of the cached positions (`kernels::kv::transfer`) |
//!
//! A pass in progress is not part of a state: it begins again.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::base::{Error, Result};
use crate::kernels::ops::CHUNK;
use crate::sampling::Sampler;

use super::conversation::{DoneReason, Session, Turn, with_room};
use super::options::ContextPolicy;

const MAGIC: &[u8; 8] = b"LQSESS01";
const HASH_BYTES: usize = 8;

/// Passes bytes on and hashes them.
struct Hashing<'a> {
    out: &'a mut dyn Write,
    hash: Xxh3,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The sections but for the logits and the cache, which are written from where they lie.
struct Small {
    sections: Vec<([u8; 4], Vec<u8>)>,
}

impl Session {
    /// The model's; turned around where the keys are rotated for a long context, since they fit no short one.
    fn fingerprint(&self) -> u128 {
        let model = self.model.fingerprint();
        if self.rotates_for_long() { !model } else { model }
    }

    fn small_sections(&self) -> Result<Small> {
        let shape = self.cache.shape();
        let mut model = self.fingerprint().to_le_bytes().to_vec();
        put_numbers(&mut model, &[shape.layers, shape.heads, shape.key_dim, shape.value_dim]);
        model.extend_from_slice(self.options.kv_type.name().as_bytes());
        let mut tokens = vec![];
        put_numbers(&mut tokens, &[self.cache.len(), self.prompt_end]);
        self.tokens.iter().for_each(|token| tokens.extend_from_slice(&token.to_le_bytes()));
        let mut turn = vec![];
        let (reason, token) = self.turn.done.map_or((0, None), |(reason, token)| (reason_number(reason), token));
        put_numbers(&mut turn, &[self.turn.generated as usize, reason as usize, token.map_or(0, |token| token as usize + 1)]);
        let (held, pending) = self.text.waiting();
        for text in [held, pending] {
            put_numbers(&mut turn, &[text.len()]);
            turn.extend_from_slice(text);
        }
        let mut sections = vec![(*b"MODL", model), (*b"TOKS", tokens), (*b"TURN", turn), (*b"SAMP", self.sampler.state())];
        if self.slid > 0 {
            sections.push((*b"SLID", (self.slid as u64).to_le_bytes().to_vec()));
        }
        Ok(Small { sections })
    }

    /// The logits after the last cached position, where they are there.
    fn last_logits(&self) -> Option<&[f32]> {
        self.logits_at(self.cache.len().checked_sub(1)?)
    }

    /// Bytes that [`save`](Self::save) writes now.
    ///
    /// # Errors
    /// As for [`save`](Self::save).
    pub fn state_bytes(&mut self) -> Result<u64> {
        self.check_poison()?;
        self.end_shift()?;
        let small: usize = self.small_sections()?.sections.iter().map(|(_, bytes)| 12 + bytes.len()).sum();
        let logits = self.last_logits().map_or(0, |logits| 12 + size_of_val(logits));
        let cache = 12 + self.cache.transfer_bytes(self.cache.len());
        Ok((MAGIC.len() + small + logits + cache + HASH_BYTES) as u64)
    }

    /// Writes all that another session of the same model needs to go on as this one would, to the bit. The session itself stays as it
    /// is. The options are not part of it: the other session is made with the same sampler and cache type, and room for the tokens.
    ///
    /// # Errors
    /// `Io` where `out` refuses; `OutOfMemory` where a shift of the context was in progress and can't be ended; `Poisoned`.
    pub fn save(&mut self, out: &mut dyn Write) -> Result<()> {
        self.check_poison()?;
        self.end_shift()?;
        let small = self.small_sections()?;
        self.write(small, out).map_err(|error| Error::io("save a session", &error))
    }

    /// Saves into a file, which is there in whole or as it was before: the state is written beside it and takes its place at the end.
    ///
    /// # Errors
    /// As for [`save`](Self::save), with the path.
    pub fn save_file(&mut self, path: &Path) -> Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        let beside = Path::new(&beside);
        let failed = |error: io::Error| Error::io(format!("save a session to {}", path.display()), &error);
        let mut file = BufWriter::with_capacity(1 << 18, File::create(beside).map_err(failed)?);
        let written = self.save(&mut file).and_then(|()| {
            let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
            file.sync_all().and_then(|()| std::fs::rename(beside, path)).map_err(failed)
        });
        if written.is_err() {
            // What is wrong has been said; that the remains can't be removed either adds nothing.
            let _ = std::fs::remove_file(beside);
        }
        written
    }

    /// Restores from a file. A file larger than any state of this session is refused before it is read.
    ///
    /// # Errors
    /// As for [`restore`](Self::restore), and `Io`.
    pub fn restore_file(&mut self, path: &Path) -> Result<()> {
        let failed = |error: io::Error| Error::io(format!("restore a session from {}", path.display()), &error);
        let mut file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let capacity = self.cache.capacity();
        // Eight bytes a position for its token and its place in a penalty window; the rest is kilobytes.
        let most = (self.cache.transfer_bytes(capacity) + 8 * capacity + 4 * self.model.vocab_size()? + (16 << 20)) as u64;
        if size > most {
            return Err(Error::invalid_file(format!("{}: {size} bytes, a state of this session has {most} at most", path.display())));
        }
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(size as usize + 1);
        room.map_err(|_| Error::out_of_memory(format!("{size} bytes of a saved session")))?;
        // No more than there was room for, should the file grow meanwhile.
        Read::take(&mut file, size + 1).read_to_end(&mut bytes).map_err(failed)?;
        self.restore(&bytes).map_err(|error| error.at(path.display().to_string()))
    }

    fn write(&self, small: Small, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Hashing { out, hash: Xxh3::new() };
        out.write_all(MAGIC)?;
        for (tag, bytes) in &small.sections {
            section(&mut out, tag, bytes.len())?;
            out.write_all(bytes)?;
        }
        if let Some(logits) = self.last_logits() {
            section(&mut out, b"LOGT", size_of_val(logits))?;
            for part in logits.chunks(1024) {
                let bytes: Vec<u8> = part.iter().flat_map(|logit| logit.to_le_bytes()).collect();
                out.write_all(&bytes)?;
            }
        }
        section(&mut out, b"KEYV", self.cache.transfer_bytes(self.cache.len()))?;
        self.cache.write(&mut out)?;
        let hash = out.hash.digest();
        out.out.write_all(&hash.to_le_bytes())
    }

    /// Takes up a state that [`save`](Self::save) wrote, in place of all that was there. The bytes may come from anyone: what does not fit is
    /// refused with the reason. The pages of a restored session are not given to other sessions that begin alike.
    ///
    /// # Errors
    /// `InvalidFile` where the bytes are damaged, or are not the state of a session of this model with these options; `ContextFull` where
    /// the context is too small for it; `OutOfMemory`. Nothing has changed then.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.check_poison()?;
        let state = State::parse(state).and_then(|state| self.fitting(state)).map_err(|error| error.at("saved session"))?;
        self.take_up(state)
    }

    /// Compares a state with the session and makes what can be made beside it.
    fn fitting<'a>(&self, state: State<'a>) -> Result<Fitting<'a>> {
        let invalid = |message: String| Err(Error::invalid_file(message));
        let State { model, tokens, turn, sampler, slid, logits, cache } = state;
        let mut model = Reader(model);
        if model.take(16)? != self.fingerprint().to_le_bytes() {
            return invalid("is of another model".into());
        }
        let shape = self.cache.shape();
        for (what, here) in [("layers", shape.layers), ("KV heads", shape.heads), ("keys", shape.key_dim), ("values", shape.value_dim)] {
            let there = model.number()?;
            if there != here {
                return invalid(format!("has {what} of {there}, the model {here}"));
            }
        }
        if model.0 != self.options.kv_type.name().as_bytes() {
            let there = String::from_utf8_lossy(&model.0[..model.0.len().min(16)]);
            return invalid(format!("has a cache of type '{there}', the session {}", self.options.kv_type.name()));
        }
        let mut reader = Reader(tokens);
        let (cached, prompt_end) = (reader.number()?, reader.number()?);
        let (words, rest) = reader.0.as_chunks::<4>();
        let tokens: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
        let vocab_size = self.model.vocab_size()?;
        if !rest.is_empty()
            || cached > tokens.len()
            || prompt_end > tokens.len()
            || tokens.iter().any(|&token| token as usize >= vocab_size)
        {
            return invalid("has tokens that can't be".into());
        }
        let capacity = self.cache.capacity();
        let slid = self.fitting_slide(slid, cached)?;
        // More than the context holds may wait to be computed where room is made in it.
        let fits_shifting = self.options.context_policy != ContextPolicy::Stop && tokens.len() - cached <= self.room_behind_kept()?;
        if cached > capacity || (tokens.len() > capacity + 1 && !fits_shifting) {
            let count = tokens.len();
            return Err(Error::new(crate::base::ErrorKind::ContextFull, format!("has {count} tokens, the context holds {capacity}")));
        }
        if cache.len() != self.cache.transfer_bytes(cached) {
            return invalid(format!("has {} bytes of keys and values for {cached} positions", cache.len()));
        }
        let fits = match logits {
            Some(logits) => cached > 0 && logits.len() == vocab_size * size_of::<f32>(),
            None => cached < tokens.len() || cached == 0,
        };
        if !fits {
            return invalid("has logits that do not fit".into());
        }
        let mut reader = Reader(turn);
        let (generated, reason, token) = (reader.number()?, reader.number()?, reader.number()?);
        let (held, pending) = (reader.text()?, reader.text()?);
        let mut text = self.text.clone();
        text.take_up(held, pending)?;
        if token > vocab_size {
            return invalid("has a last token outside the vocabulary".into());
        }
        let token = token.checked_sub(1).map(|token| token as u32);
        let done = reason_of(reason)?.map(|reason| (reason, token));
        let turn = Turn { generated: generated as u32, done, told: done.is_some(), ..Turn::begin() };
        let mut ready = with_room(&self.model, || Sampler::new(&self.options.sampler, vocab_size, self.model.runtime().budget()))?;
        ready.restore(sampler)?;
        Ok(Fitting { tokens, slid, cached, prompt_end, turn, text, sampler: ready, logits, cache })
    }

    /// The tokens that have slid out of the context of a state in which `cached` positions are left.
    fn fitting_slide(&self, slid: Option<&[u8]>, cached: usize) -> Result<usize> {
        let Some(bytes) = slid else { return Ok(0) };
        if self.options.context_policy != ContextPolicy::Slide {
            return Err(Error::invalid_file("is of a context that slides, the session's does not"));
        }
        let slid = <[u8; 8]>::try_from(bytes).map(u64::from_le_bytes);
        let slid = slid.ok().and_then(|slid| usize::try_from(slid).ok()).filter(|&slid| slid <= u32::MAX as usize - self.cache.capacity());
        match slid {
            Some(slid) if slid.is_multiple_of(CHUNK) && cached + 1 >= self.window()? => Ok(slid),
            _ => Err(Error::invalid_file("has slid as no context does")),
        }
    }

    fn take_up(&mut self, state: Fitting<'_>) -> Result<()> {
        let more = state.tokens.len().saturating_sub(self.tokens.len());
        self.tokens.try_reserve(more).map_err(|_| Error::out_of_memory("a list of tokens"))?;
        let Self { model, cache, .. } = self;
        with_room(model, || cache.read(state.cache, state.cached))?;
        // From here on nothing fails.
        self.cache.truncate(state.cached);
        self.epoch += 1;
        self.work = None;
        self.tokens.clear();
        self.tokens.extend_from_slice(&state.tokens);
        self.slid = state.slid;
        self.prompt_end = state.prompt_end;
        self.indexed.clear();
        // Whoever made the state may have put anything into the cache: it is this session's alone.
        self.unbroken = 0;
        (self.turn, self.text, self.sampler) = (state.turn, state.text, state.sampler);
        self.logits = 0..0;
        if let (Some(logits), Ok(program)) = (state.logits, self.model.program()) {
            let (words, _) = logits.as_chunks::<4>();
            for (to, &word) in self.arena.floats_mut(program.logits(), 0).iter_mut().zip(words) {
                *to = f32::from_le_bytes(word);
            }
            self.logits = state.cached - 1..state.cached;
        }
        Ok(())
    }
}

/// The sections of a state, as they lie in it.
struct State<'a> {
    model: &'a [u8],
    tokens: &'a [u8],
    turn: &'a [u8],
    sampler: &'a [u8],
    slid: Option<&'a [u8]>,
    logits: Option<&'a [u8]>,
    cache: &'a [u8],
}

/// A state that fits the session.
struct Fitting<'a> {
    tokens: Vec<u32>,
    slid: usize,
    cached: usize,
    prompt_end: usize,
    turn: Turn,
    text: super::text::TextStream,
    sampler: Sampler,
    logits: Option<&'a [u8]>,
    cache: &'a [u8],
}

impl<'a> State<'a> {
    fn parse(state: &'a [u8]) -> Result<Self> {
        let (rest, hash) = state.split_last_chunk::<HASH_BYTES>().ok_or_else(|| Error::invalid_file("ends too early"))?;
        let mut reader = Reader(rest);
        let magic = reader.take(MAGIC.len())?;
        if magic[..6] != MAGIC[..6] {
            return Err(Error::invalid_file("is none"));
        }
        if magic != MAGIC {
            let version = String::from_utf8_lossy(&magic[6..]);
            return Err(Error::unsupported(format!("is of version '{version}', this library reads 01")));
        }
        if xxh3_64(rest).to_le_bytes() != *hash {
            return Err(Error::invalid_file("is damaged: its checksum does not match"));
        }
        let mut found: [(&[u8; 4], Option<&[u8]>); 7] =
            [(b"MODL", None), (b"TOKS", None), (b"TURN", None), (b"SAMP", None), (b"LOGT", None), (b"KEYV", None), (b"SLID", None)];
        while !reader.0.is_empty() {
            let tag = reader.take(4)?;
            let len = reader.take(8)?.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
            let bytes = reader.take(usize::try_from(len).unwrap_or(usize::MAX))?;
            match found.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, place @ None)) => *place = Some(bytes),
                Some(_) => return Err(Error::invalid_file("has a section twice")),
                None if tag[0].is_ascii_lowercase() => {}
                None => return Err(Error::unsupported(format!("has a section '{}' that this version does not know", tag.escape_ascii()))),
            }
        }
        let needed = |index: usize| {
            let (tag, bytes): (&[u8; 4], Option<&'a [u8]>) = found[index];
            bytes.ok_or_else(|| Error::invalid_file(format!("has no section '{}'", tag.escape_ascii())))
        };
        let (logits, slid) = (found[4].1, found[6].1);
        Ok(Self { model: needed(0)?, tokens: needed(1)?, turn: needed(2)?, sampler: needed(3)?, slid, logits, cache: needed(5)? })
    }
}

/// Takes bytes off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(len).ok_or_else(|| Error::invalid_file("ends too early"))?;
        self.0 = left;
        Ok(taken)
    }

    /// A `u32`.
    fn number(&mut self) -> Result<usize> {
        Ok(self.take(4)?.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }
}

fn section(out: &mut dyn Write, tag: &[u8; 4], len: usize) -> io::Result<()> {
    out.write_all(tag)?;
    out.write_all(&(len as u64).to_le_bytes())
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[usize]) {
    numbers.iter().for_each(|&number| out.extend_from_slice(&(number as u32).to_le_bytes()));
}

fn reason_number(reason: DoneReason) -> u32 {
    match reason {
        DoneReason::EndOfGeneration => 1,
        DoneReason::StopString => 2,
        DoneReason::TokenLimit => 3,
        DoneReason::ContextFull => 4,
    }
}

fn reason_of(number: usize) -> Result<Option<DoneReason>> {
    Ok(match number {
        0 => None,
        1 => Some(DoneReason::EndOfGeneration),
        2 => Some(DoneReason::StopString),
        3 => Some(DoneReason::TokenLimit),
        4 => Some(DoneReason::ContextFull),
        _ => return Err(Error::invalid_file(format!("has a turn that is over for reason {number}"))),
    })
}
