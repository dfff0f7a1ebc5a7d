//! phi2: Phi-2 (Microsoft 2023): attention and feed-forward layer side by side on one layer norm, biases everywhere.

use super::family::{Family, Output, Presence, Residual};

/// The family.
pub const FAMILY: Family = Family {
    name: "phi2",
    models: "Phi-1, 1.5, 2",
    residual: Residual::Parallel,
    output_bias: Presence::Always,
    output: Output::Own,
    ..Family::GPT
};
