//! nomic-bert: Nomic Embed (arXiv 2402.01613): BERT with rotary positions, a gated feed-forward layer and no biases but in the norms.

use super::family::{Family, NormKind, Norms};

/// The family.
pub const FAMILY: Family = Family {
    name: "nomic-bert",
    models: "nomic-embed-text v1, v1.5",
    encoder: true,
    norm: NormKind::Layer,
    norms: Norms::OfStream,
    token_types: true,
    ..Family::LLAMA
};
