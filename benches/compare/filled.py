"""Models whose matrices are blocks of random bits: for types that llama.cpp needs the better part of an hour to search the codes of."""
import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

# Bytes that hold a block's f16 factor, and what it is multiplied by, about: with it, values are as large as weights.
FACTOR = {Type.IQ2_XS: (0, 8 * 20), Type.IQ3_S: (0, 16 * 8)}
TYPES = [kind.name for kind in FACTOR]


def write(source, target, kind, seed):
    """Writes the GGUF `source` with the matrices of its layers as random blocks of `kind` (a name); everything else stays as it is there."""
    kind, rng = Type[kind], np.random.default_rng(seed)
    length, size = gguf.GGML_QUANT_SIZES[kind]
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(key, field.contents())
        else:
            writer.add_key_value(key, field.contents(), field.types[0])
    for tensor in reader.tensors:
        cols, rows = int(tensor.shape[0]), int(np.prod(tensor.shape[1:]))
        if len(tensor.shape) != 2 or not tensor.name.startswith("blk."):
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        at, about = FACTOR[kind]
        blocks = rng.integers(0, 256, (rows * cols // length, size), np.uint8)
        blocks[:, at : at + 2] = np.array([cols**-0.5 / about], np.float16).view(np.uint8)
        writer.add_tensor(tensor.name, blocks.reshape(rows, cols // length * size), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
