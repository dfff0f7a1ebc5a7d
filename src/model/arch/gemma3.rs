//! gemma3: Gemma 3 (arXiv 2503.19786): as Gemma 2, with normalised heads for the caps, and five layers with a window to one without.

use super::family::{Family, Norms, QkNorm};

/// The family.
pub const FAMILY: Family = Family {
    name: "gemma3",
    models: "Gemma 3 (text)",
    options: &["attention.sliding_window", "attention.scale", "final_logit_softcapping"],
    norms: Norms::BeforeAndAfter,
    qk_norm: QkNorm::Heads,
    local_rope_base: Some(10_000.0),
    global_every: 6,
    width_scaled: Some(62), // 27B
    ..super::gemma::FAMILY
};
