//! Floor 3: configuration, weights, what each architecture computes, and the plan of its forward pass.

pub mod arch;
mod config;
mod estimate;
mod loaded;
mod loader;
pub mod mix;
mod recode;
pub mod stacks;
pub mod vocabulary;
mod weights;

pub use config::{ModelConfig, Pooling, RopeScaling};
pub use estimate::ModelEstimate;
pub use loaded::{LoadOptions, Model};
pub use mix::Mix;
pub(crate) use recode::{recode, recoded};
