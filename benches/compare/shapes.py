"""Synthetic models: the tensor shapes of real models, seeded random weights, a real vocabulary.

For measurements at real sizes where trained weights can't be shipped: the arithmetic, the bytes and the shapes are those of
the real model; the text that comes out means nothing. `write` streams, so that a 7B shape needs little memory.
"""
import pathlib
from dataclasses import dataclass

import gguf
import numpy as np
from gguf import GGUFReader, GGUFWriter


@dataclass(frozen=True)
class Shape:
    """What decides the tensor shapes of a model. Sizes in elements."""

    arch: str
    embd: int  # hidden size
    layers: int
    heads: int
    kv: int  # key/value heads
    head: int  # elements per head; heads * head may differ from embd
    ff: int
    vocab: str  # ggml-vocab-<vocab>.gguf
    rope: float
    tied: bool  # no output.weight: the embedding is used again
    rotary: int = 0  # rotated elements per head, 0 for all
    experts: int = 0  # of a layer; `ff` is the width of each
    used: int = 0  # experts that compute for a token
    window: int = 0  # positions of a sliding window

    @property
    def phi(self):
        """LayerNorm with biases, fused qkv, parallel attention and feed-forward."""
        return self.arch == "phi2"


SHAPES = {
    "mini-llama": Shape("llama", 256, 4, 8, 4, 32, 768, "llama-spm", 1e4, False),
    "qwen2.5-0.5b": Shape("qwen2", 896, 24, 14, 2, 64, 4864, "qwen2", 1e6, True),
    "qwen3-0.6b": Shape("qwen3", 1024, 28, 16, 8, 128, 3072, "qwen2", 1e6, True),
    "tinyllama": Shape("llama", 2048, 22, 32, 4, 64, 5632, "llama-spm", 1e4, False),
    "llama3.2-1b": Shape("llama", 2048, 16, 32, 8, 64, 8192, "llama-bpe", 5e5, True),
    "phi-2": Shape("phi2", 2560, 32, 32, 32, 80, 10240, "gpt-2", 1e4, False, rotary=32),
    # The first layers of large models: what is measured is the shape of a layer.
    "gemma2-2b-6layers": Shape("gemma2", 2304, 6, 8, 4, 256, 9216, "llama-spm", 1e4, True, window=4096),
    "phi3-mini-6layers": Shape("phi3", 3072, 6, 32, 32, 96, 8192, "llama-spm", 1e4, False),
    "qwen3-30b-a3b-2layers": Shape("qwen3moe", 2048, 2, 32, 4, 128, 768, "qwen2", 1e6, False, experts=128, used=8),
    "llama2-7b": Shape("llama", 4096, 32, 32, 32, 128, 11008, "llama-spm", 1e4, False),
}


def tensors(s, n_vocab):
    """The tensor list of shape `s`: (name, (rows, cols) or (n,), mean, standard deviation). Matrices become F16, vectors F32."""
    qkv_rows, kv_rows = s.heads * s.head, s.kv * s.head

    def matrix(name, rows, cols, std=None):
        return name, (rows, cols), 0.0, std or cols**-0.5

    def vector(name, n, mean=0.0):
        return name, (n,), mean, 0.1

    def norm(name, n):
        yield vector(name + ".weight", n, 1.0)
        if s.phi:
            yield vector(name + ".bias", n)

    def linear(name, rows, cols, bias):
        yield matrix(name + ".weight", rows, cols)
        if bias:
            yield vector(name + ".bias", rows)

    yield matrix("token_embd.weight", n_vocab, s.embd, 0.05 if s.tied else 1.0)
    yield from norm("output_norm", s.embd)
    if not s.tied:
        yield from linear("output", n_vocab, s.embd, s.phi)
    for layer in range(s.layers):
        p = f"blk.{layer}."
        yield from norm(p + "attn_norm", s.embd)
        if s.phi:
            yield from linear(p + "attn_qkv", 3 * s.embd, s.embd, True)
            yield from linear(p + "attn_output", s.embd, s.embd, True)
            yield from linear(p + "ffn_up", s.ff, s.embd, True)
            yield from linear(p + "ffn_down", s.embd, s.ff, True)
            continue
        if s.arch == "phi3":
            yield from linear(p + "attn_qkv", qkv_rows + 2 * kv_rows, s.embd, False)
            yield from linear(p + "attn_output", s.embd, qkv_rows, False)
            yield from norm(p + "ffn_norm", s.embd)
            yield from linear(p + "ffn_up", 2 * s.ff, s.embd, False)
            yield from linear(p + "ffn_down", s.embd, s.ff, False)
            continue
        biases = s.arch == "qwen2"
        yield from linear(p + "attn_q", qkv_rows, s.embd, biases)
        yield from linear(p + "attn_k", kv_rows, s.embd, biases)
        yield from linear(p + "attn_v", kv_rows, s.embd, biases)
        yield from linear(p + "attn_output", s.embd, qkv_rows, False)
        if s.arch in ("qwen3", "qwen3moe"):
            yield vector(p + "attn_q_norm.weight", s.head, 1.0)
            yield vector(p + "attn_k_norm.weight", s.head, 1.0)
        if s.arch == "gemma2":
            yield from norm(p + "post_attention_norm", s.embd)
            yield from norm(p + "post_ffw_norm", s.embd)
        yield from norm(p + "ffn_norm", s.embd)
        if s.experts:
            yield matrix(p + "ffn_gate_inp.weight", s.experts, s.embd)
            for part, rows, cols in [("gate", s.ff, s.embd), ("up", s.ff, s.embd), ("down", s.embd, s.ff)]:
                yield p + f"ffn_{part}_exps.weight", (s.experts, rows, cols), 0.0, cols**-0.5
            continue
        yield from linear(p + "ffn_gate", s.ff, s.embd, False)
        yield from linear(p + "ffn_up", s.ff, s.embd, False)
        yield from linear(p + "ffn_down", s.embd, s.ff, False)


def copy_key(writer, key, field):
    """Writes the key of a `GGUFReader` as it was read; returns its value."""
    value = field.contents()
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        writer.add_array(key, value)
    else:
        writer.add_key_value(key, value, field.types[0])
    return value


def copy_vocabulary(writer, path):
    """Copies every `tokenizer.*` key of the GGUF at `path`; returns the number of tokens."""
    n_vocab = 0
    for key, field in GGUFReader(str(path)).fields.items():
        if key.startswith("tokenizer."):
            value = copy_key(writer, key, field)
            if key.endswith(".tokens"):
                n_vocab = len(value)
    return n_vocab


def write(name, vocabularies, out, seed=7):
    """Writes the shape `name` as an F16 GGUF to `out`, with the vocabulary found in the directory `vocabularies`."""
    s = SHAPES[name]
    writer = GGUFWriter(str(out), s.arch)
    n_vocab = copy_vocabulary(writer, pathlib.Path(vocabularies) / f"ggml-vocab-{s.vocab}.gguf")
    # llama.cpp looks for Phi-3's special tokens in models with "phi3" in their name.
    writer.add_name(f"{name.replace('phi3', 'phi 3')}-synthetic")
    writer.add_context_length(8192)
    writer.add_embedding_length(s.embd)
    writer.add_block_count(s.layers)
    writer.add_feed_forward_length(s.ff)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv)
    writer.add_rope_freq_base(s.rope)
    writer.add_rope_dimension_count(s.rotary or s.head)
    if s.phi:
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_key_length(s.head)
        writer.add_value_length(s.head)
    if s.experts:
        writer.add_expert_count(s.experts)
        writer.add_expert_used_count(s.used)
        writer.add_expert_feed_forward_length(s.ff)
    if s.window:
        writer.add_sliding_window(s.window)
    if s.arch == "gemma2":
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)
    writer.add_vocab_size(n_vocab)
    writer.add_file_type(1)
    table = list(tensors(s, n_vocab))
    for tensor, shape, _, _ in table:
        dtype = np.dtype(np.float16 if len(shape) > 1 else np.float32)
        writer.add_tensor_info(tensor, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(seed)
    for _, shape, mean, std in table:
        data = np.empty(shape, np.float16 if len(shape) > 1 else np.float32)
        step = 8192 if len(shape) < 3 else 8  # in pieces: the F32 normals of a whole embedding would double the memory
        for row in range(0, shape[0], step):
            piece = data[row : row + step]
            piece[...] = mean + std * rng.standard_normal(piece.shape, np.float32)
        writer.write_tensor_data(data)
    writer.close()
    return n_vocab
