//! What the context holds: cut back, shifted when it is full, shared with a fork, begun from pages that another session has computed.

use crate::base::pool::{Budget, Cursor};
use crate::base::{Error, ErrorKind, Result};
use crate::kernels::kv::PAGE;
use crate::kernels::kv::prefix::PrefixId;
use crate::kernels::ops::CHUNK;
use crate::metrics::StepRecord;

use super::conversation::{Session, with_room};
use super::options::ContextPolicy;
use super::work::{Work, no_shift};

impl Session {
    /// Whether `count` more tokens may be appended.
    ///
    /// # Errors
    /// `ContextFull` where not.
    pub(super) fn check_append(&self, count: usize) -> Result<()> {
        let waiting = self.tokens.len() - self.cache.len() + count;
        match self.options.context_policy {
            ContextPolicy::Stop => return self.cache.check_room(waiting),
            ContextPolicy::Shift { .. } | ContextPolicy::Slide => {}
        }
        let room = self.room_behind_kept()?;
        if waiting > room {
            let message = format!("{waiting} tokens to compute do not fit: the context has room for {room} behind those that are kept");
            return Err(Error::new(ErrorKind::ContextFull, message));
        }
        Ok(())
    }

    /// Positions of the context behind those that stay when room is made.
    pub(super) fn room_behind_kept(&self) -> Result<usize> {
        let kept = match self.options.context_policy {
            ContextPolicy::Stop => 0,
            ContextPolicy::Shift { keep } => keep as usize,
            ContextPolicy::Slide => self.window()? - 1,
        };
        Ok(self.cache.capacity() - kept)
    }

    /// The window of a model whose context slides.
    pub(super) fn window(&self) -> Result<usize> {
        self.model.program()?.window().ok_or_else(|| Error::internal("a context that slides without a window"))
    }

    /// Makes room in a full context by dropping what no later token sees, in whole chunks of attention, so that sums are made in the same order as
    /// without; false where the positions can't be counted any further.
    pub(super) fn slide(&mut self) -> Result<bool> {
        let unseen = self.cache.len() - (self.window()? - 1);
        let drop = unseen / CHUNK * CHUNK;
        if self.slid + drop + self.cache.capacity() > u32::MAX as usize {
            return Ok(false);
        }
        self.epoch += 1;
        self.cache.forget_first(drop);
        self.tokens.drain(..drop);
        self.slid += drop;
        self.prompt_end = self.prompt_end.saturating_sub(drop);
        self.unbroken = 0;
        self.indexed.clear();
        self.logits = 0..0;
        Ok(true)
    }

    /// Forgets all tokens from `len` on, a pass in progress and the turn. Logits are gone until the next pass.
    ///
    /// # Errors
    /// `OutOfMemory` where a shift of the context was in progress and can't be ended; `InvalidArgument` where the context has slid and the next
    /// token would see what is no longer there (not for a `len` of 0); `Poisoned` after an internal fault.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        self.check_poison()?;
        self.end_shift()?;
        if len >= self.tokens.len() {
            return Ok(());
        }
        if self.slid > 0 && len > 0 && len < self.window()? {
            let (least, slid) = (self.window()?, self.slid);
            let message =
                format!("{len} tokens are fewer than the window of {least}, and the {slid} before them have slid out of the context");
            return Err(Error::invalid_argument(message));
        }
        self.epoch += 1;
        self.work = None;
        self.logits = 0..0;
        self.tokens.truncate(len);
        // The last token is computed again, so that its logits are there to go on from.
        self.cache.truncate(len.saturating_sub(1));
        self.indexed.truncate(self.cache.len() / PAGE);
        if len == 0 {
            self.slid = 0;
        }
        if self.cache.len() <= self.unbroken && self.slid == 0 {
            self.unbroken = usize::MAX;
        }
        self.prompt_end = self.prompt_end.min(len);
        self.begin_turn();
        self.sampler.reset();
        for &token in &self.tokens {
            self.sampler.accept(token);
        }
        Ok(())
    }

    /// Forgets everything but the options; the sampler begins again from its seed.
    ///
    /// # Errors
    /// `Poisoned` after an internal fault.
    pub fn reset(&mut self) -> Result<()> {
        if self.in_shift() {
            self.work = None;
        }
        self.truncate(0)
    }

    /// A second session that has come as far as this one and goes on by itself, with the same options and the same random numbers. What is
    /// cached is shared until one of the two writes into it. A pass in progress begins again in the fork; a cancellation is not taken over.
    ///
    /// # Errors
    /// `OutOfMemory`; `Poisoned` after an internal fault.
    pub fn fork(&mut self) -> Result<Self> {
        self.check_poison()?;
        self.end_shift()?;
        let mut options = self.options.clone();
        let reserve = std::mem::replace(&mut options.reserve, false);
        let mut fork = Self::new(&self.model, &options)?;
        fork.options.reserve = reserve;
        fork.cache = with_room(&self.model, || self.cache.fork())?;
        fork.tokens.extend_from_slice(&self.tokens);
        fork.slid = self.slid;
        fork.prompt_end = self.prompt_end;
        fork.indexed.clone_from(&self.indexed);
        fork.unbroken = self.unbroken;
        fork.sampler.restore(&self.sampler.state())?;
        fork.text = self.text.clone();
        fork.turn = self.turn;
        if !self.in_pass() && !self.logits.is_empty() {
            let view = self.model.program()?.logits();
            for column in 0..self.logits.len() {
                fork.arena.floats_mut(view, column).copy_from_slice(self.arena.floats(view, column));
            }
            fork.logits = self.logits.clone();
        }
        Ok(fork)
    }

    /// Begins to make room in a full context: the first tokens stay, the oldest of the others go.
    pub(super) fn begin_shift(&mut self) {
        self.epoch += 1;
        self.work = Some(Work::Shift(Cursor::default()));
    }

    /// The keys and values behind the gap have moved forward.
    pub(super) fn complete_shift(&mut self) -> Result<()> {
        let shift = self.shift.as_ref().ok_or_else(no_shift)?;
        let (keep, drop) = (shift.keep(), shift.dropped());
        self.cache.truncate(self.cache.len() - drop);
        self.tokens.drain(keep..keep + drop);
        self.prompt_end = if self.prompt_end > keep { self.prompt_end.saturating_sub(drop).max(keep) } else { self.prompt_end };
        self.unbroken = self.unbroken.min(keep);
        self.indexed.truncate(keep / PAGE);
        self.logits = 0..0;
        Ok(())
    }

    /// Ends a shift in progress, whatever time it takes: half a shift is no state that anything else could begin from.
    pub(super) fn end_shift(&mut self) -> Result<()> {
        if self.in_shift() {
            self.run_work(Budget::Unlimited, &mut StepRecord::default())?;
        }
        Ok(())
    }

    /// Takes the next pages from the model's prefix index, as far as they are there.
    pub(super) fn reuse_prefix(&mut self) {
        while let Some((before, tokens)) = self.next_page()
            && self.could_reuse_page()
        {
            let Some((id, page)) = self.model.prefixes().find(before, self.options.kv_type, tokens) else { return };
            let index = self.indexed.len();
            self.cache.adopt(index, &[page], (index + 1) * PAGE);
            self.indexed.push(id);
        }
    }

    /// Whether the next page may come from elsewhere: the last token is computed in any case, since its logits are needed.
    pub(super) fn could_reuse_page(&self) -> bool {
        self.cache.len() < self.prompt_end && self.tokens.len() > (self.indexed.len() + 1) * PAGE
    }

    /// The page that is computed next, or in part, by its place in the prefix index; where all pages before it are in the index.
    pub(super) fn next_page(&self) -> Option<(PrefixId, &[u32; PAGE])> {
        let start = self.indexed.len() * PAGE;
        if !self.shares_prefix() || self.cache.len() >= start + PAGE {
            return None;
        }
        Some((self.indexed.last().copied().unwrap_or_else(|| self.prefix_root()), self.tokens.get(start..)?.first_chunk()?))
    }

    fn prefix_root(&self) -> PrefixId {
        if self.rotates_for_long() { PrefixId::LONG_ROOT } else { PrefixId::ROOT }
    }

    /// Whether the keys are rotated for a long context.
    pub(super) fn rotates_for_long(&self) -> bool {
        self.model.program().is_ok_and(|program| program.rotates_for_long(self.cache.capacity()))
    }

    fn shares_prefix(&self) -> bool {
        self.options.prefix_reuse && !self.options.all_logits && self.unbroken == usize::MAX && self.model.prefixes().limit() > 0
    }

    /// Gives the pages that have become full to the model's prefix index.
    pub(super) fn index_pages(&mut self) {
        if !self.shares_prefix() {
            return;
        }
        for index in self.indexed.len()..self.cache.len() / PAGE {
            let before = self.indexed.last().copied().unwrap_or_else(|| self.prefix_root());
            let tokens = self.tokens[index * PAGE..].first_chunk().expect("the tokens of a full page");
            let page = &self.cache.full_pages()[index];
            let Some(id) = self.model.prefixes().insert(before, self.options.kv_type, tokens, page) else { return };
            self.indexed.push(id);
        }
    }
}
