#!/usr/bin/env python3
"""Writes tests/goldens/models: for every family of architectures a model of random weights, small enough to keep, as GGUF, with the logits
that the transformers package computes from the same weights.

    pip install torch transformers safetensors gguf numpy
    python3 tests/goldens/models.py [NAME…]
    python3 tests/goldens/models.py --safetensors DIR [NAME…]   # also as Hugging Face folders
    python3 tests/goldens/models.py --mxfp4                     # only models/mxfp4: gpt-oss as it is published, its experts in MXFP4

All weights are bf16 values held in f32, so that the folders, in bf16, are the same models. The logits are those of all positions of one
sequence; the sequence is longer than the window of the models that have one.
"""

import argparse
import json
import pathlib

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from transformers.utils import logging

OUT = pathlib.Path(__file__).parent / "models"
VOCAB, WIDTH, INNER, HEADS, KV_HEADS, HEAD = 64, 32, 48, 4, 2, 8
LENGTH = 30
BASE = dict(
    vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=2, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
    max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
)


def rope(kind="default", theta=10000.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


def halves_to_pairs(x, heads):
    """Rows of a query or key projection from (i, i + n/2) pairs to (2i, 2i + 1) pairs."""
    return x.reshape(heads, 2, -1, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


# Names of the decoders that descend from Llama; what a family calls otherwise overrides.
LLAMA = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.dense": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_up_proj": "ffn_up", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down", "model.final_layernorm": "output_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp",
    "mlp.experts.down_proj": "ffn_down_exps", "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp", "self_attn.sinks": "attn_sinks",
}
SANDWICH = {
    **LLAMA, "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
GPT = {
    "gpt_neox.embed_in": "token_embd", "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "lm_head": "output",
    "transformer.word_embeddings": "token_embd", "gpt_neox.final_layer_norm": "output_norm", "transformer.ln_f": "output_norm",
    "transformer.norm_f": "output_norm", "input_layernorm": "attn_norm", "ln_1": "attn_norm", "norm_1": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "ln_2": "ffn_norm", "norm_2": "ffn_norm", "ln_attn": "attn_norm_2", "ln_mlp": "attn_norm",
    "attention.query_key_value": "attn_qkv", "self_attention.query_key_value": "attn_qkv", "attn.c_attn": "attn_qkv", "attn.Wqkv": "attn_qkv",
    "attention.dense": "attn_output", "self_attention.dense": "attn_output", "attn.c_proj": "attn_output", "attn.out_proj": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up", "mlp.c_fc": "ffn_up", "ffn.up_proj": "ffn_up", "mlp.dense_4h_to_h": "ffn_down", "mlp.c_proj": "ffn_down",
    "ffn.down_proj": "ffn_down",
}
BERT = {
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm", "embeddings.layer_norm": "token_embd_norm",
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm", "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "attn_output_norm",
    "post_mlp_layernorm": "layer_output_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}

MXFP4 = "gpt-oss-mxfp4"  # written by --mxfp4 only


def gpt_oss(width, inner):
    return (
        "GptOss", "gpt-oss", {**LLAMA, "post_attention_layernorm": "post_attention_norm"},
        dict(hidden_size=width, num_local_experts=4, num_experts_per_tok=2, head_dim=8, intermediate_size=inner, sliding_window=8,
             rope_parameters=rope("yarn", theta=150000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=False, original_max_position_embeddings=16)),
        {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": inner, "attention.sliding_window": 8, "rope.scaling.type": "yarn",
         "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16},
    )


# name: (class, GGUF architecture, names, configuration, keys of the GGUF file besides the common ones)
MODELS = {
    "llama": ("Llama", "llama", LLAMA, dict(rope_parameters=rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)), {}),
    "mistral": ("Mistral", "llama", LLAMA, dict(sliding_window=8), {"attention.sliding_window": 8}),
    "qwen2": ("Qwen2", "qwen2", LLAMA, dict(), {}),
    "qwen2-yarn": ("Qwen2", "qwen2", LLAMA, dict(rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16)),
                   {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}),
    "qwen3": ("Qwen3", "qwen3", LLAMA, dict(head_dim=16, tie_word_embeddings=True), {}),
    "phi2": ("Phi", "phi2", LLAMA, dict(num_key_value_heads=4, rope_parameters=rope(partial_rotary_factor=0.5)), {}),
    "phi3": ("Phi3", "phi3", LLAMA, dict(sliding_window=8), {"attention.sliding_window": 8}),
    "phi3-long": ("Phi3", "phi3", LLAMA, dict(original_max_position_embeddings=16, rope_parameters=rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.3],
                  long_factor=[1.5, 2.0, 3.0, 4.0], original_max_position_embeddings=16)), {"rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.5**0.5}),
    "phi3-short": ("Phi3", "phi3", LLAMA, dict(original_max_position_embeddings=32, rope_parameters=rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.3],
                   long_factor=[1.5, 2.0, 3.0, 4.0], original_max_position_embeddings=32)), {"rope.scaling.original_context_length": 32, "rope.scaling.attn_factor": 1.2**0.5}),
    "gemma": ("Gemma", "gemma", LLAMA, dict(head_dim=16, num_key_value_heads=1), {}),
    "gemma2": ("Gemma2", "gemma2", SANDWICH, dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=8, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
               {"attention.sliding_window": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3": ("Gemma3Text", "gemma3", SANDWICH, dict(head_dim=8, query_pre_attn_scalar=8, sliding_window=8, num_hidden_layers=6, intermediate_size=32,
               rope_parameters={"sliding_attention": rope(theta=10000.0), "full_attention": rope("linear", theta=1000000.0, factor=8.0)}),
               {"attention.sliding_window": 8, "rope.freq_base": 1000000.0, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0}),
    "gpt2": ("GPT2", "gpt2", GPT, dict(n_embd=WIDTH, n_layer=2, n_head=HEADS, n_inner=INNER, n_positions=64), {}),
    "gptneox": ("GPTNeoX", "gptneox", GPT, dict(rope_parameters=rope(partial_rotary_factor=0.5)), {"use_parallel_residual": True}),
    "gptneox-sequential": ("GPTNeoX", "gptneox", GPT, dict(use_parallel_residual=False, rope_parameters=rope(partial_rotary_factor=0.5)), {"use_parallel_residual": False}),
    "starcoder2": ("Starcoder2", "starcoder2", LLAMA, dict(sliding_window=8, tie_word_embeddings=True), {"attention.sliding_window": 8}),
    "falcon": ("Falcon", "falcon", GPT, dict(multi_query=True, parallel_attn=True, ffn_hidden_size=INNER, bias=False), {}),
    "falcon-40b": ("Falcon", "falcon", GPT, dict(new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=INNER, bias=False), {}),
    "stablelm": ("StableLm", "stablelm", LLAMA, dict(use_qkv_bias=True, rope_parameters=rope(partial_rotary_factor=0.5)), {"use_parallel_residual": False}),
    "stablelm-12b": ("StableLm", "stablelm", LLAMA, dict(use_parallel_residual=True, qk_layernorm=True, rope_parameters=rope(partial_rotary_factor=0.5)),
                     {"use_parallel_residual": True}),
    "olmo2": ("Olmo2", "olmo2", SANDWICH, dict(), {}),
    "granite": ("Granite", "granite", LLAMA, dict(embedding_multiplier=3.0, residual_multiplier=0.5, attention_multiplier=0.25, logits_scaling=2.0, tie_word_embeddings=True),
                {"embedding_scale": 3.0, "residual_scale": 0.5, "attention.scale": 0.25, "logit_scale": 2.0}),
    "smollm3": ("SmolLM3", "smollm3", LLAMA, dict(num_hidden_layers=4, intermediate_size=32, tie_word_embeddings=True), {}),
    "command-r": ("Cohere", "command-r", LLAMA, dict(logit_scale=0.25), {"logit_scale": 0.25}),
    "command-r-plus": ("Cohere", "command-r", LLAMA, dict(logit_scale=0.25, use_qk_norm=True), {"logit_scale": 0.25}),
    "mixtral": ("Mixtral", "llama", LLAMA, dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=24, sliding_window=None), {"expert_count": 4, "expert_used_count": 2}),
    "qwen2moe": ("Qwen2Moe", "qwen2moe", LLAMA, dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=20, shared_expert_intermediate_size=28),
                 {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 20, "expert_shared_feed_forward_length": 28}),
    "qwen3moe": ("Qwen3Moe", "qwen3moe", LLAMA, dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=20, head_dim=8, norm_topk_prob=True),
                 {"expert_count": 6, "expert_used_count": 3, "expert_feed_forward_length": 20}),
    "gpt-oss": gpt_oss(WIDTH, 32),
    MXFP4: gpt_oss(64, 96),
    "mpt": ("Mpt", "mpt", GPT, dict(d_model=WIDTH, n_heads=HEADS, n_layers=2, max_seq_len=64, expansion_ratio=4), {"attention.max_alibi_bias": 8.0}),
    "bert": ("Bert", "bert", BERT, dict(), {"pooling_type": 1, "attention.causal": False}),
    "nomic-bert": ("NomicBert", "nomic-bert", BERT, dict(), {"pooling_type": 1, "attention.causal": False}),
}
PAIRED = {"llama", "granite", "smollm3"}  # GGUF architectures whose converter turns halves into pairs
ENCODERS = {"bert", "nomic-bert"}


def build(name):
    """The model with its random weights."""
    kind, arch, _, options, _ = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**{**BASE, **options})
    if kind == "GptOss":
        config.layer_types = ["sliding_attention", "full_attention"]
    head = {"GPT2": "LMHeadModel", "Bert": "Model", "NomicBert": "Model"}.get(kind, "ForCausalLM")
    extra = {"add_pooling_layer": False} if arch in ENCODERS else {}
    kind = kind.removesuffix("Text")
    model = getattr(transformers, f"{kind}{head}")(config, **extra).eval().float()
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    for key, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        lower = key.lower()
        if key.endswith("sinks"):
            value = noise
        elif key.endswith("bias"):
            value = 0.2 * noise
        elif parameter.ndim == 1 or "norm" in lower and "proj" not in lower:
            value = 0.2 * noise if kind.startswith("Gemma") else 1 + 0.2 * noise
        elif "embed" in lower or "wte" in lower or "wpe" in lower:
            value = 0.6 * noise
        elif "mlp.gate.weight" in key or "router" in key:
            value = 0.5 * noise
        else:
            value = 1.2 * noise / parameter.shape[-1] ** 0.5
        parameter.data = value.bfloat16().float()
    return model, config


def tensors(name, model, config):
    """(GGUF name, values) of every tensor."""
    _, arch, names, _, _ = MODELS[name]
    tied = getattr(config, "tie_word_embeddings", False)
    norms, fused = {}, {}
    for key, value in model.state_dict().items():
        value = value.float().numpy()
        stem, _, suffix = key.rpartition(".")
        if suffix not in ("weight", "bias"):
            stem, suffix = key, "weight"
        if stem == "lm_head" and tied:
            continue
        parts = stem.split(".")
        index = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        prefix, rest = "", stem
        if index is not None and "norms" not in parts[:index]:
            prefix, rest = f"blk.{parts[index]}.", ".".join(parts[index + 1 :])
        if "layernorm.norms" in rest:  # StableLM: a norm for each head
            norms.setdefault(prefix + ("attn_q_norm" if "q_layernorm" in rest else "attn_k_norm"), []).append(value)
            continue
        if rest.startswith("mlp.experts.gate_up_proj"):
            bias = rest.endswith("_bias")
            if arch == "gpt-oss":
                value = value if bias else value.swapaxes(1, 2)
                gate, up = value[:, 0::2], value[:, 1::2]
            else:
                gate, up = np.split(value, 2, axis=1)
            yield f"{prefix}ffn_gate_exps.{'bias' if bias else 'weight'}", gate
            yield f"{prefix}ffn_up_exps.{'bias' if bias else 'weight'}", up
            continue
        if rest.startswith("mlp.experts.down_proj"):
            bias = rest.endswith("_bias")
            value = value.swapaxes(1, 2) if arch == "gpt-oss" and not bias else value
            yield f"{prefix}ffn_down_exps.{'bias' if bias else 'weight'}", value
            continue
        gg = names[rest]
        if kind_of(name) == "GPT2" and value.ndim == 2 and gg.split(".")[0] in ("attn_qkv", "attn_output", "ffn_up", "ffn_down"):
            value = value.T  # Conv1D
        if arch in PAIRED and gg in ("attn_q", "attn_k"):
            value = halves_to_pairs(value, HEADS if gg == "attn_q" else KV_HEADS)
        if gg == "attn_qkv" and arch == "gptneox":  # [head][q k v] to q k v
            value = value.reshape(HEADS, 3, HEAD, -1).swapaxes(0, 1).reshape(3 * WIDTH, -1)
            value = value[:, 0] if suffix == "bias" else value
        if gg == "attn_qkv" and arch == "falcon" and config.new_decoder_architecture:
            groups = config.num_kv_heads
            each = HEADS // groups
            split = value.reshape(groups, each + 2, HEAD, -1)
            value = np.concatenate([split[:, :each].reshape(-1, WIDTH), split[:, each].reshape(-1, WIDTH), split[:, each + 1].reshape(-1, WIDTH)])
        if kind_of(name).startswith("Gemma") and gg.endswith("norm"):
            value = value + 1
        if gg == "ffn_gate_inp_shexp":
            value = value.reshape(-1)
        if arch == "nomic-bert" and gg in ("attn_q", "attn_k", "attn_v"):
            fused.setdefault(prefix, {})[gg] = value
            continue
        yield f"{prefix}{gg}.{suffix}", value
    for prefix, parts in fused.items():
        yield f"{prefix}attn_qkv.weight", np.concatenate([parts[part] for part in ("attn_q", "attn_k", "attn_v")])
    for key, values in norms.items():
        yield f"{key}.weight", np.stack(values)
    scaling = getattr(config, "rope_parameters", None) or {}
    if scaling.get("rope_type") == "llama3":
        yield "rope_freqs.weight", llama3_factors(scaling, HEAD)
    if scaling.get("rope_type") == "longrope":
        yield "rope_factors_long.weight", np.array(scaling["long_factor"], np.float32)
        yield "rope_factors_short.weight", np.array(scaling["short_factor"], np.float32)


def kind_of(name):
    return MODELS[name][0]


def llama3_factors(scaling, dim):
    """What each frequency of Llama 3.1 is divided by."""
    low, high, factor, original = (scaling[key] for key in ("low_freq_factor", "high_freq_factor", "factor", "original_max_position_embeddings"))
    lengths = 2 * np.pi * scaling["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    smooth = (original / lengths - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(lengths < original / high, 1.0, np.where(lengths > original / low, factor, between)).astype(np.float32)


def write_mxfp4(out):
    """gpt-oss with experts of random codes and scales: the folder, the GGUF file and the logits of the same model."""
    model, config = build(MXFP4)
    generator = torch.Generator().manual_seed(11)
    blocks_of = {}
    for key, parameter in model.named_parameters():
        if not key.endswith(("experts.gate_up_proj", "experts.down_proj")):
            continue
        experts, inputs, outputs = parameter.shape
        blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(121, 125, blocks.shape[:-1], generator=generator, dtype=torch.uint8)
        # A few that no float16 holds.
        scales[0, 0, 0], scales[-1, -1, -1] = 100, 0
        parameter.data = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
        blocks_of[key] = (blocks, scales)
    with torch.no_grad():
        np.save(out / "logits.npy", model(input_ids=torch.tensor(token_ids()[None]), use_cache=False).logits[0].float().numpy())

    tensors_of = {key: value.bfloat16().contiguous() for key, value in model.state_dict().items() if key not in blocks_of}
    for key, (blocks, scales) in blocks_of.items():
        tensors_of[f"{key}_blocks"], tensors_of[f"{key}_scales"] = blocks, scales
    save_file(tensors_of, out / "folder" / "model.safetensors", metadata={"format": "pt"})
    # With the keys of the published configuration, which are older than those that the package writes.
    described = {key: value for key, value in config.to_diff_dict().items() if key not in ("rope_parameters", "transformers_version")}
    scaling = dict(config.rope_parameters)
    described |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling, "experts_per_token": config.num_experts_per_tok}
    described |= {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}}
    (out / "folder" / "config.json").write_text(json.dumps(described, indent=2) + "\n")

    def in_blocks(values):
        """The bytes of GGUF's blocks whose values these are, all exactly."""
        data = gguf.quants.quantize(values, gguf.GGMLQuantizationType.MXFP4)
        assert np.array_equal(gguf.quants.dequantize(data, gguf.GGMLQuantizationType.MXFP4), values)
        return data

    write_gguf(out / "model.gguf", MXFP4, model, config, lambda key, values: in_blocks(values) if key.endswith("exps.weight") else None)


def token_ids():
    return np.random.default_rng(7).integers(3, VOCAB, LENGTH)


def write_gguf(path, name, model, config, quantised=lambda key, values: None):
    """`quantised`: the bytes of a tensor in MXFP4, None for one in f32."""
    _, arch, _, _, keys = MODELS[name]
    writer = gguf.GGUFWriter(path, arch)
    get = lambda *names, default=None: next((getattr(config, n) for n in names if getattr(config, n, None) is not None), default)
    heads = get("num_attention_heads", "n_head", "n_heads")
    kv = get("num_kv_heads" if arch == "falcon" else "num_key_value_heads", default=heads)
    if arch == "falcon" and not config.new_decoder_architecture:
        kv = 1
    if kind_of(name) in ("GPTNeoX", "GPT2", "Bert", "NomicBert", "Mpt"):
        kv = heads
    width = get("hidden_size", "n_embd", "d_model")
    head = get("head_dim", default=width // heads)
    inner = get("ffn_hidden_size" if arch == "falcon" else "intermediate_size", "n_inner", default=4 * width)
    if kind_of(name) == "GPT2":
        inner = config.n_inner
    if kind_of(name) == "Mpt":
        inner = 4 * width
    epsilon = get("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layer_norm_epsilon", "norm_epsilon", default=1e-5)
    writer.add_uint32(f"{arch}.vocab_size", VOCAB)
    writer.add_uint32(f"{arch}.context_length", 64)
    writer.add_uint32(f"{arch}.embedding_length", width)
    writer.add_uint32(f"{arch}.block_count", get("num_hidden_layers", "n_layer", "n_layers"))
    writer.add_uint32(f"{arch}.feed_forward_length", inner)
    writer.add_uint32(f"{arch}.attention.head_count", heads)
    writer.add_uint32(f"{arch}.attention.head_count_kv", kv)
    rms = get("rms_norm_eps") is not None
    writer.add_float32(f"{arch}.attention.layer_norm_{'rms_' if rms else ''}epsilon", epsilon)
    if head * heads != width or arch.startswith("gemma") or arch == "gpt-oss":
        writer.add_uint32(f"{arch}.attention.key_length", head)
        writer.add_uint32(f"{arch}.attention.value_length", head)
    scaling = getattr(config, "rope_parameters", None)
    if scaling and "rope.freq_base" not in keys:
        scaling = scaling.get("full_attention", scaling)
        writer.add_float32(f"{arch}.rope.freq_base", scaling["rope_theta"])
    if scaling and kind_of(name) != "Mpt":
        writer.add_uint32(f"{arch}.rope.dimension_count", int(head * (scaling.get("partial_rotary_factor") or 1.0)))
    if arch in ENCODERS:
        writer.add_uint32("tokenizer.ggml.token_type_count", 2)
    for key, value in keys.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(f"{arch}.{key}", value)
    if arch == "bert":  # letters, so that there is an encoder that reads text
        letters = [chr(ord("a") + i) for i in range(26)]
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["\u2581" + letter for letter in letters] + letters
        pieces += [f"[unused{i}]" for i in range(VOCAB - len(pieces))]
        writer.add_string("tokenizer.ggml.model", "bert")
        writer.add_array("tokenizer.ggml.tokens", pieces)
        writer.add_array("tokenizer.ggml.token_type", [3 if piece[0] == "[" else 1 for piece in pieces])
        for key, id in [("bos", 2), ("cls", 2), ("eos", 3), ("seperator", 3), ("unknown", 1), ("padding", 0), ("mask", 4)]:
            writer.add_uint32(f"tokenizer.ggml.{key}_token_id", id)
    else:
        writer.add_string("tokenizer.ggml.model", "no_vocab")
    for key, value in tensors(name, model, config):
        value = np.ascontiguousarray(value, np.float32)
        data = quantised(key, value)
        if data is None:
            writer.add_tensor(key, value)
        else:
            writer.add_tensor(key, data, raw_dtype=gguf.GGMLQuantizationType.MXFP4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--safetensors", type=pathlib.Path)
    parser.add_argument("--mxfp4", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    OUT.mkdir(exist_ok=True)
    if arguments.mxfp4:
        (OUT / "mxfp4" / "folder").mkdir(parents=True, exist_ok=True)
        return write_mxfp4(OUT / "mxfp4")
    ids = token_ids()
    (OUT / "tokens.json").write_text(json.dumps([int(id) for id in ids]) + "\n")
    failed = []
    for name in arguments.names or (name for name in MODELS if name != MXFP4):
        try:
            model, config = build(name)
            with torch.no_grad():
                output = model(input_ids=torch.tensor(ids[None]), use_cache=False) if name not in ENCODERS else model(input_ids=torch.tensor(ids[None]))
            rows = output.last_hidden_state if name in ENCODERS else output.logits
            np.save(OUT / f"{name}.npy", rows[0].float().numpy())
            write_gguf(OUT / f"{name}.gguf", name, model, config)
            print(f"{name}: |logits| up to {rows.abs().max():.2f}, deviation {rows.std():.2f}")
            if arguments.safetensors:
                model.bfloat16().save_pretrained(arguments.safetensors / name)
        except Exception as error:
            import traceback; traceback.print_exc()
            print(f"{name}: FAILED {error!r}")
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


main()
