//! Divides logits by the temperature. 0 is not a division but greedy choice, which the chain makes without this stage.

use super::{Candidates, Stage};
use crate::base::Result;

/// Temperature, above 0.
pub(super) struct Temperature(pub(super) f32);

impl Stage for Temperature {
    fn apply(&mut self, candidates: &mut Candidates<'_>) -> Result<()> {
        candidates.divide(self.0);
        Ok(())
    }
}
