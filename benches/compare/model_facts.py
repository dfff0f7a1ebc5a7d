"""What a model asks of the machine for each token, counted from its GGUF file: bytes read and multiply-adds, and the limits they set.

Every weight is read once for each pass and multiplied once for each token; of experts only those that a token is sent to. The
embedding is one row and not counted, unless it serves as the output matrix too. Output logits are wanted for the last token only.
"""
import functools
from dataclasses import dataclass

import gguf

KV_BYTES = 2  # f16, both engines' default
UNIT = {"F32": "f32_fma", "F16": "f32_fma", "BF16": "bf16_dot"}  # which unit a tensor type's products need at best; others: int8_dot


@dataclass(frozen=True)
class Facts:
    tensor_bytes: float  # of a pass
    macs: dict  # unit → multiply-adds of a token in the layers' matrices
    output_macs: dict  # unit → of the output matrix
    kv_bytes: int  # that one position adds to the cache
    attention_macs: int  # of one token with one position of the cache


@functools.cache
def read(path):
    """The Facts of the file at `path`."""
    reader = gguf.GGUFReader(str(path))

    def value(key, default=None):
        field = reader.get_field(f"{architecture}.{key}")
        return default if field is None else field.contents()

    architecture = reader.get_field("general.architecture").contents()
    layers, heads, embd = value("block_count"), value("attention.head_count"), value("embedding_length")
    kv_heads = value("attention.head_count_kv", heads)
    key = value("attention.key_length", embd // heads)
    per_layer = (key, value("attention.value_length", key))
    used = value("expert_used_count", 0) / (value("expert_count", 0) or 1)
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    size, macs, output = 0.0, {}, {}
    for tensor in reader.tensors:
        if tensor.name == "token_embd.weight" and not tied:
            continue
        share = used if "_exps." in tensor.name else 1
        size += share * int(tensor.n_bytes)
        if sum(int(n) > 1 for n in tensor.shape) < 2:
            continue
        unit = UNIT.get(tensor.tensor_type.name, "int8_dot")
        where = output if tensor.name in ("output.weight", "token_embd.weight") else macs
        where[unit] = where.get(unit, 0) + share * int(tensor.n_elements)
    return Facts(
        tensor_bytes=size,
        macs=macs,
        output_macs=output,
        kv_bytes=KV_BYTES * layers * kv_heads * sum(per_layer),
        attention_macs=layers * heads * sum(per_layer),
    )


def compute_seconds(macs, limits):
    """The least time for multiply-adds by unit, None where a peak isn't known. Those of f32 can do the work of bf16's, where they are faster."""
    total = 0.0
    for unit, count in macs.items():
        units = ["bf16_dot", "f32_fma"] if unit == "bf16_dot" else [unit]
        peaks = [limits[f"{unit}_gmac_s"]["max"] for unit in units if limits.get(f"{unit}_gmac_s")]
        if not peaks:
            return None
        total += count / (max(peaks) * 1e9)
    return total


def prefill_limit(facts, limits, tokens, depth):
    """Tokens per second that the arithmetic alone allows: matrices at their unit's peak, attention at the f32 peak."""
    pairs = sum(depth + i + 1 for i in range(tokens))
    macs = {unit: tokens * count for unit, count in facts.macs.items()}
    for unit, count in [*facts.output_macs.items(), ("f32_fma", pairs * facts.attention_macs)]:
        macs[unit] = macs.get(unit, 0) + count
    seconds = compute_seconds(macs, limits)
    return None if seconds is None else {"tok_s": tokens / seconds, "of": "arithmetic", "macs_per_prompt": macs}


def decode_limit(facts, limits, depth, tokens, sequences, cache_bytes):
    """Tokens per second (all sequences together) that reading weights and keys and values allows, or arithmetic where that is less.

    None for a model that fits into the caches: memory sets it no limit.
    """
    if limits.get("read_gb_s") is None or facts.tensor_bytes < 2 * (cache_bytes or 0):
        return None
    size = facts.tensor_bytes + sequences * facts.kv_bytes * (depth + tokens / 2)
    macs = {unit: sequences * (facts.macs.get(unit, 0) + facts.output_macs.get(unit, 0)) for unit in {*facts.macs, *facts.output_macs}}
    reading, computing = size / (limits["read_gb_s"]["max"] * 1e9), compute_seconds(macs, limits)
    slower = max(reading, computing or 0)
    return {"tok_s": sequences / slower, "of": "reading" if slower == reading else "arithmetic", "bytes_per_pass": size}
