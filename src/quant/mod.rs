//! Floor 1: block types of quantised tensors: layout, exact decoding. No speed here; that is `kernels`.
