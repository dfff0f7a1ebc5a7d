#!/usr/bin/env python3
"""Writes mixes.json: the tensor types that llama.cpp gives small models of several shapes in each of its mixes.

    pip install gguf numpy llama-cpp-python
    python3 tests/goldens/mixes.py > tests/goldens/mixes.json

The models have the names, row lengths and metadata of real ones, and two rows to a matrix.
"""
import ctypes
import json
import pathlib
import sys
import tempfile

import gguf
import llama_cpp as api
import numpy as np

MIXES = {
    "Q8_0": 7, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15,
    "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "F16": 1, "BF16": 32, "F32": 0, "MXFP4_MOE": 38,
}
SHAPES = {
    "llama, 8 queries to a key": dict(arch="llama", layers=22, heads=32, kv=4, embd=256, ff=512, tied=False),
    "llama of 80 layers": dict(arch="llama", layers=80, heads=64, kv=8, embd=256, ff=256, tied=False),
    "llama, tied, 1 query to a key": dict(arch="llama", layers=9, heads=8, kv=8, embd=256, ff=768, tied=True),
    "qwen2, rows of 896": dict(arch="qwen2", layers=24, heads=14, kv=2, embd=896, ff=4864, tied=True),
    "llama, rows of 100 and 172": dict(arch="llama", layers=5, heads=4, kv=2, embd=100, ff=172, tied=False),
    "mixtral": dict(arch="llama", layers=32, heads=32, kv=8, embd=256, ff=256, tied=False, experts=8),
    "qwen3moe": dict(arch="qwen3moe", layers=12, heads=8, kv=2, embd=256, ff=256, tied=False, experts=128),
    "phi2": dict(arch="phi2", layers=16, heads=8, kv=8, embd=256, ff=512, tied=False),
    "falcon": dict(arch="falcon", layers=32, heads=8, kv=1, embd=256, ff=512, tied=False),
}
TEMPORARY = pathlib.Path(tempfile.mkdtemp())
_log = api.llama_log_callback(lambda level, text, user: None)
api.llama_log_set(_log, ctypes.c_void_p(0))


def tensors(s):
    """Name and dimensions (rows last) of each tensor."""
    e, f, experts = s["embd"], s["ff"], s.get("experts", 0)
    yield "token_embd.weight", [e, 2]
    yield "output_norm.weight", [e]
    if not s["tied"]:
        yield "output.weight", [e, 2]
    for layer in range(s["layers"]):
        p = f"blk.{layer}."
        yield p + "attn_norm.weight", [e]
        fused = s["arch"] in ("phi2", "falcon")
        for name in ["attn_qkv"] if fused else ["attn_q", "attn_k", "attn_v"]:
            yield p + name + ".weight", [e, 2]
        yield p + "attn_output.weight", [e, 2]
        yield p + "ffn_norm.weight", [e]
        if experts:
            yield p + "ffn_gate_inp.weight", [e, experts]
            yield p + "ffn_gate_exps.weight", [e, 1, experts]
            yield p + "ffn_up_exps.weight", [e, 1, experts]
            yield p + "ffn_down_exps.weight", [f, 1, experts]
            continue
        if not fused:
            yield p + "ffn_gate.weight", [e, 2]
        yield p + "ffn_up.weight", [e, 2]
        yield p + "ffn_down.weight", [f, 2]


def keys(s):
    arch = s["arch"]
    numbers = {
        "context_length": 128, "embedding_length": s["embd"], "block_count": s["layers"], "feed_forward_length": s["ff"],
        "attention.head_count": s["heads"], "attention.head_count_kv": s["kv"], "vocab_size": 2,
    }
    if "experts" in s:
        numbers |= {"expert_count": s["experts"], "expert_used_count": 2, "expert_feed_forward_length": s["ff"]}
    return {f"{arch}.{key}": value for key, value in numbers.items()}


def write(s, path):
    writer = gguf.GGUFWriter(path, s["arch"])
    for key, value in keys(s).items():
        writer.add_uint32(key, value)
    for key in ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"):
        writer.add_float32(f"{s['arch']}.{key}", 1e-5)
    rng = np.random.default_rng(1)
    for name, dims in tensors(s):
        data = rng.standard_normal(dims[::-1]).astype(np.float32)
        writer.add_tensor(name, data if len(dims) == 1 else data.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def types(path, mix):
    out = TEMPORARY / "out.gguf"
    params = api.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = MIXES[mix], 1, True
    if api.llama_model_quantize(str(path).encode(), str(out).encode(), ctypes.byref(params)) != 0:
        return None
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(out).tensors}


def compact(types):
    """The most frequent type, and of each other one the tensors: the layers by the part of the name behind them, [] outside of layers."""
    most = max(sorted(set(types.values())), key=list(types.values()).count)
    others = {}
    for name, kind in types.items():
        if kind != most:
            layer, _, part = name.removeprefix("blk.").partition(".") if name.startswith("blk.") else ("", "", name)
            others.setdefault(kind, {}).setdefault(part, []).extend([int(layer)] if layer else [])
    return {"most": most, "others": others}


def main():
    shapes = []
    for name, shape in SHAPES.items():
        path = TEMPORARY / "in.gguf"
        write(shape, path)
        all_tensors = list(tensors(shape))
        mixes = {}
        for mix in MIXES:
            found = types(path, mix)
            if found is None:
                print(f"{name}: llama.cpp refuses {mix}", file=sys.stderr)
                continue
            mixes[mix] = compact({name: found[name] for name, dims in all_tensors if len(dims) > 1})
            assert all(found[name] == "F32" for name, dims in all_tensors if len(dims) == 1)
        outer = {name: dims for name, dims in all_tensors if not name.startswith("blk.")}
        layer = {name.removeprefix("blk.0."): dims for name, dims in all_tensors if name.startswith("blk.0.")}
        shapes.append({"name": name, "arch": shape["arch"], "keys": keys(shape), "outer": outer, "layer": layer, "mixes": mixes})
    print(json.dumps({"llama_cpp_python": api.__version__, "shapes": shapes}, separators=(",", ":")).replace('{"name"', '\n{"name"'))


main()
