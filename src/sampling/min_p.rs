//! Keeps tokens that are at least a given fraction as probable as the most probable one (Nguyen et al., 2024).

use super::{Candidates, Stage};
use crate::base::Result;

/// Min-p; 0 < p ≤ 1.
pub(super) struct MinP(pub(super) f32);

impl Stage for MinP {
    fn apply(&mut self, candidates: &mut Candidates<'_>) -> Result<()> {
        let p = self.0;
        // p(token) ≥ min_p · p(top) is e^(logit − max) ≥ min_p: no sum needed. The 0.01 is far above the rounding of `ln`.
        let floor = f64::from(candidates.max()) + f64::from(p).ln() - 0.01;
        candidates.retain(floor as f32, |weight| weight >= p)
    }
}
