"""Models whose matrices are blocks of random bits: for types that llama.cpp needs the better part of an hour to search the codes of."""
import gguf
import numpy as np
import rewriting
from gguf import GGMLQuantizationType as Type

# Bytes that hold a block's f16 factor, and what it is multiplied by, about: with it, values are as large as weights.
FACTOR = {Type.IQ2_XS: (0, 8 * 20), Type.IQ3_S: (0, 16 * 8)}
TYPES = [kind.name for kind in FACTOR]


def write(source, target, kind, seed):
    """Writes the GGUF `source` with the matrices of its layers as random blocks of `kind` (a name); everything else stays as it is there."""
    kind, rng = Type[kind], np.random.default_rng(seed)
    length, size = gguf.GGML_QUANT_SIZES[kind]
    reader = gguf.GGUFReader(source)
    writer = rewriting.begun(reader, target)
    for tensor in reader.tensors:
        cols, rows = int(tensor.shape[0]), int(np.prod(tensor.shape[1:]))
        if len(tensor.shape) != 2 or not tensor.name.startswith("blk."):
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        at, about = FACTOR[kind]
        blocks = rng.integers(0, 256, (rows * cols // length, size), np.uint8)
        blocks[:, at : at + 2] = np.array([cols**-0.5 / about], np.float16).view(np.uint8)
        writer.add_tensor(tensor.name, blocks.reshape(rows, cols // length * size), raw_dtype=kind)
    rewriting.finish(writer)
