//! Keeps the smallest set of most probable tokens that together reach a probability (nucleus sampling, Holtzman et al., 2020).

use super::{Candidates, Stage};
use crate::base::Result;

/// Top-p; 0 < p < 1.
pub(super) struct TopP(pub(super) f32);

impl Stage for TopP {
    fn apply(&mut self, candidates: &mut Candidates<'_>) -> Result<()> {
        let p = f64::from(self.0);
        let sum = candidates.sum();
        // The tokens less probable than (1 − p)/n make less than 1 − p together, so none of them is among the first that
        // reach p. The 0.01 is far above the rounding of `ln`; what it lets through too much, the exact sum sorts out.
        let floor = f64::from(candidates.max()) + ((1.0 - p) * sum / candidates.count() as f64).ln() - 0.01;
        candidates.keep_mass(p * sum, floor as f32)
    }
}
