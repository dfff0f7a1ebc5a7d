//! starcoder2: StarCoder 2 (arXiv 2402.19173).

use super::family::Family;

/// The family.
pub const FAMILY: Family = Family { name: "starcoder2", models: "StarCoder 2", options: &["attention.sliding_window"], ..Family::GPT };
