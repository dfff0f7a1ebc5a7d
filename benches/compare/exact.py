#!/usr/bin/env python3
"""The same model with every weight in F32: what a quantised file means, without an engine's 8-bit activations.

    exact.py MODEL.gguf OUT.gguf

Each tensor becomes the F32 values that its blocks stand for (by gguf-py, no engine's code), all other keys stay. An engine that
runs the result multiplies F32 by F32, so its logits are those of the quantised file but for the rounding of sums: `quality.py
--exact` takes llama.cpp's as the exact reference, and checks that ours are the same.
"""
import argparse

import gguf
import numpy as np
import shapes
from gguf import GGUFReader, GGUFWriter

ROWS = 8192  # at a time: a whole embedding's intermediate values take several times its F32 bytes


def write(source, target):
    """Writes the GGUF `source` to `target` with all tensors in F32. Streams: memory for one tensor."""
    reader = GGUFReader(str(source))
    writer = GGUFWriter(str(target), reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in ("general.architecture", "general.file_type", "general.quantization_version"):
            shapes.copy_key(writer, key, field)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), 4 * int(tensor.n_elements))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        data = np.empty([int(n) for n in reversed(tensor.shape)], np.float32)
        for row in range(0, len(data), ROWS):
            data[row : row + ROWS] = gguf.quants.dequantize(tensor.data[row : row + ROWS], tensor.tensor_type)
        writer.write_tensor_data(data)
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    args = parser.parse_args()
    write(args.model, args.out)


if __name__ == "__main__":
    main()
