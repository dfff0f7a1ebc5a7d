"""llama.cpp through the low-level C API of llama-cpp-python: quantise, load, evaluate, time.

Only what the comparisons need, and nothing of the package's own Python classes, so that what is measured is llama.cpp.
Times come from the monotonic clock around `llama_decode` and the synchronisation after it.
"""
import ctypes
import os
import time

import llama_cpp as api
import numpy as np


def silence():
    """Stops llama.cpp's log on stderr."""
    global _no_log
    _no_log = api.llama_log_callback(lambda level, text, user: None)
    api.llama_log_set(_no_log, ctypes.c_void_p(0))


def version():
    """Version, system information (what the build uses of this processor) and the library's own version, as a dict."""
    info = {"llama_cpp_python": api.__version__, "system_info": api.llama_print_system_info().decode()}
    if hasattr(api, "llama_version"):
        try:
            info["llama_cpp"] = api.llama_version().decode()
        except AttributeError:
            pass
    return info


def quantize(source, target, kind, threads=0):
    """Quantises the GGUF `source` to `target` as `kind` ("Q4_K_M"), by llama.cpp's own rules, without an importance matrix."""
    silence()
    params = api.llama_model_quantize_default_params()
    params.ftype = getattr(api, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.nthread = threads or os.cpu_count()
    status = api.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    if status != 0:
        raise RuntimeError(f"llama_model_quantize({kind}) returned {status}")


class Engine:
    """A model and one context of it. `flash`: True, False or None (llama.cpp decides)."""

    def __init__(self, path, threads, context=0, batch=512, flash=None, vocab_only=False, kv_type=None, extra_buffers=True):
        silence()
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.n_gpu_layers = 0
        params.vocab_only = vocab_only
        params.use_extra_bufts = extra_buffers
        began = time.perf_counter()
        self.model = api.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp can't load {path}")
        self.load_s = time.perf_counter() - began
        self.vocab = api.llama_model_get_vocab(self.model)
        self.n_vocab = api.llama_vocab_n_tokens(self.vocab)
        self.context, self.batch = None, batch
        self.cpu_s = 0.0  # processor time of all threads in `evaluate`, since creation
        if vocab_only:
            return
        options = api.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = context, batch, batch
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn_type = {
            None: api.LLAMA_FLASH_ATTN_TYPE_AUTO,
            False: api.LLAMA_FLASH_ATTN_TYPE_DISABLED,
            True: api.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        }[flash]
        if kv_type is not None:
            options.type_k = options.type_v = {"f32": api.GGML_TYPE_F32, "f16": api.GGML_TYPE_F16}[kv_type]
        options.no_perf = True
        self.context = api.llama_init_from_model(self.model, options)
        if not self.context:
            raise RuntimeError("llama.cpp can't create a context")
        # One batch for all calls: its arrays are filled anew each time.
        self.tokens = api.llama_batch_init(batch, 0, 1)

    def clear(self):
        """Empties the KV cache."""
        api.llama_memory_clear(api.llama_get_memory(self.context), True)

    def evaluate(self, ids, position, every_logit=False):
        """Runs `ids` (at most one batch) at `position`…; returns the seconds it took, until the results are there."""
        batch = self.tokens
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, position + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = every_logit or i == len(ids) - 1
        began, cpu_began = time.perf_counter(), time.process_time()
        status = api.llama_decode(self.context, batch)
        api.llama_synchronize(self.context)
        took = time.perf_counter() - began
        self.cpu_s += time.process_time() - cpu_began
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
        return took

    def prefill(self, ids):
        """Empties the cache and runs `ids` in batches; returns the seconds."""
        self.clear()
        return sum(self.evaluate(ids[i : i + self.batch], i) for i in range(0, len(ids), self.batch))

    def all_logits(self, ids):
        """Logits of every position of `ids` as f32 [len(ids), n_vocab]."""
        self.clear()
        out = np.empty((len(ids), self.n_vocab), np.float32)
        for begin in range(0, len(ids), self.batch):
            piece = ids[begin : begin + self.batch]
            self.evaluate(piece, begin, every_logit=True)
            for i in range(len(piece)):
                out[begin + i] = np.ctypeslib.as_array(api.llama_get_logits_ith(self.context, i), (self.n_vocab,))
        return out

    def greedy(self):
        """The token of the largest logit after the last evaluation."""
        row = np.ctypeslib.as_array(api.llama_get_logits_ith(self.context, -1), (self.n_vocab,))
        return int(row.argmax())

    def tokenize(self, text, special=False):
        """Ids of the bytes `text` without BOS/EOS, and the seconds of the one timed call (its buffer is large enough at once)."""
        capacity = len(text) + 16
        ids = (api.llama_token * capacity)()
        began = time.perf_counter()
        count = api.llama_tokenize(self.vocab, text, len(text), ids, capacity, special, special)
        took = time.perf_counter() - began
        if count < 0:
            raise RuntimeError(f"llama_tokenize returned {count}")
        return np.frombuffer(ids, np.int32, count).copy(), took
