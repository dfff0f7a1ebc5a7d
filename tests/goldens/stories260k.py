#!/usr/bin/env python3
"""Writes tests/goldens/stories260k/<variant>.npy: llama.cpp's logits of the last position of each prompt of expected.json, for the
variants with quantised weights. Those compute another function than the reference in f64, so llama.cpp is the peer to agree with.

    pip install llama-cpp-python numpy
    python3 tests/goldens/stories260k.py ../shared/data/stories260k
"""

import ctypes
import json
import pathlib
import sys

import llama_cpp as llama
import numpy as np

QUANTISED = ["wide-Q4_K_M", "wide-Q2_K", "wide-IQ4_XS"]


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(_level, _text, _data):
    pass


def last_logits(path, prompts):
    options = llama.llama_model_default_params()
    options.use_extra_bufts = False  # the plain kernels, whatever the processor
    model = llama.llama_model_load_from_file(str(path).encode(), options)
    rows = []
    for ids in prompts:
        options = llama.llama_context_default_params()
        options.n_ctx, options.n_threads, options.n_threads_batch = 512, 1, 1
        options.type_k = options.type_v = 0  # f32
        options.flash_attn_type = 0
        context = llama.llama_init_from_model(model, options)
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        assert llama.llama_decode(context, llama.llama_batch_get_one(tokens, len(ids))) == 0
        rows.append(np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), shape=(512,)).copy())
        llama.llama_free(context)
    return np.stack(rows)


def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent / "stories260k"
    llama.llama_log_set(silent, None)
    llama.llama_backend_init()
    prompts = [prompt["ids"] for prompt in json.loads((folder / "expected.json").read_text())["prompts"]]
    out.mkdir(exist_ok=True)
    for variant in QUANTISED:
        np.save(out / f"{variant}.npy", last_logits(folder / f"stories260K-{variant}.gguf", prompts))


main()
