//! Floor 4: logits → token: the chain of samplers.
