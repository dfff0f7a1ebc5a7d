//! Floor 5: a conversation with a model: KV cache, scratch arena, step cursor.
