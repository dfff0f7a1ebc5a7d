//! Floor 2: text ↔ token ids.
