//! bert: BERT (arXiv 1810.04805) and sentence encoders of its shape: embeddings, not text.

use crate::kernels::ops::Activation;

use super::family::{Family, Norms};

/// The family.
pub const FAMILY: Family = Family {
    name: "bert",
    models: "BERT, all-MiniLM, bge (English), e5",
    encoder: true,
    norms: Norms::OfStream,
    rope: None,
    learned_positions: true,
    token_types: true,
    activation: Activation::GeluErf,
    ..Family::GPT
};
