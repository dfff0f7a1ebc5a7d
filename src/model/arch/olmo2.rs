//! olmo2: OLMo 2 (arXiv 2501.00656): norms after attention and feed-forward layer, and of all queries and all keys.

use super::family::{Family, Norms, QkNorm};

/// The family.
pub const FAMILY: Family = Family { name: "olmo2", models: "OLMo 2", norms: Norms::After, qk_norm: QkNorm::Whole, ..Family::LLAMA };
