//! Floor 7: the C ABI. The only `extern "C"` of the crate.
