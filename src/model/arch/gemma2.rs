//! gemma2: Gemma 2 (arXiv 2408.00118): norms before and after, capped scores and logits, a window in every other layer.

use super::family::{Family, Norms};

/// The family.
pub const FAMILY: Family = Family {
    name: "gemma2",
    models: "Gemma 2",
    options: &["attention.sliding_window", "attention.scale", "attn_logit_softcapping", "final_logit_softcapping"],
    norms: Norms::BeforeAndAfter,
    global_every: 2,
    width_scaled: Some(46), // 27B
    ..super::gemma::FAMILY
};
