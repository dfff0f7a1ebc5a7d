//! Floor 3: configuration, weights, what each architecture computes, and the plan of its forward pass.
