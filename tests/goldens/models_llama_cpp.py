#!/usr/bin/env python3
"""Writes tests/goldens/models/llama_cpp.json: for each model of tests/goldens/models the largest difference between llama.cpp's logits and
the golden ones, and the package's version.

    pip install llama-cpp-python numpy
    python3 tests/goldens/models_llama_cpp.py
"""

import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp as llama
import numpy as np

# llama.cpp leaves out the sliding window of these architectures: it agrees as far as nothing has left the window.
UNWINDOWED = {"mistral": 8, "phi3": 8, "starcoder2": 8}
# It rounds contexts up to 256 positions and rotates for a long one where that is more than what the model was trained with: trained with so
# many, these are rotated as for a short one.
SHORT = {"phi3-short": "phi3.rope.scaling.original_context_length"}
CONTEXT = 256
FOLDER = pathlib.Path(__file__).parent / "models"


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(_level, _text, _data):
    pass


def with_u32(path, key, value):
    """The file's bytes, one of its metadata values changed."""
    data = bytearray(path.read_bytes())
    at = data.index(key.encode()) + len(key)
    assert data[at : at + 4] == (4).to_bytes(4, "little"), "the key is a uint32"
    data[at + 4 : at + 8] = value.to_bytes(4, "little")
    return data


def outputs(path, ids, width, encoder):
    """The logits, or for an encoder the embeddings, of every position."""
    llama.llama_log_set(silent, None)
    llama.llama_backend_init()
    options = llama.llama_model_default_params()
    options.use_extra_bufts = False
    model = llama.llama_model_load_from_file(str(path).encode(), options)
    if not model:
        raise SystemExit("llama.cpp does not load it")
    options = llama.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch, options.n_threads, options.n_threads_batch = CONTEXT, 64, 64, 1, 1
    options.type_k = options.type_v = 0  # f32
    options.flash_attn_type = 0
    options.embeddings, options.pooling_type = encoder, 0
    session = llama.llama_init_from_model(model, options)
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, id in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = id, i, 1, 0, 1
    assert (llama.llama_encode if encoder else llama.llama_decode)(session, batch) == 0
    get = llama.llama_get_embeddings_ith if encoder else llama.llama_get_logits_ith
    return np.stack([np.ctypeslib.as_array(get(session, i), shape=(width,)).copy() for i in range(len(ids))])


def one(name):
    ids = json.loads((FOLDER / "tokens.json").read_text())
    golden = np.load(FOLDER / f"{name}.npy")
    path = FOLDER / f"{name}.gguf"
    with tempfile.NamedTemporaryFile(suffix=".gguf") as changed:
        if name in SHORT:
            changed.write(with_u32(path, SHORT[name], CONTEXT))
            changed.flush()
            path = changed.name
        rows = outputs(path, ids, golden.shape[1], name.endswith("bert"))
    print(float(np.abs(rows - golden)[: UNWINDOWED.get(name)].max()))


def main():
    results = {"llama-cpp-python": llama.__version__, "differences": {}, "first_positions_only": UNWINDOWED}
    for path in sorted(FOLDER.glob("*.gguf")):
        # A process of its own: a failed assertion inside ends it.
        run = subprocess.run([sys.executable, __file__, path.stem], capture_output=True, text=True)
        good = run.returncode == 0
        results["differences"][path.stem] = float(f"{float(run.stdout):.2e}") if good else None
        print(path.stem, results["differences"][path.stem] if good else run.stderr.strip().splitlines()[-1:])
    (FOLDER / "llama_cpp.json").write_text(json.dumps(results, indent=1) + "\n")


one(sys.argv[1]) if len(sys.argv) > 1 else main()
