//! Keeps the k tokens of the largest logits, by one pass and a partial selection.

use super::{Candidates, Stage};
use crate::base::Result;

/// Top-k; k at least 1.
pub(super) struct TopK(pub(super) usize);

impl Stage for TopK {
    fn apply(&mut self, candidates: &mut Candidates<'_>) -> Result<()> {
        candidates.keep_top(self.0)
    }
}
