#!/usr/bin/env python3
"""Writes tests/goldens/gguf_files.json: what gguf-py's GGUFReader finds in the real files beside the repository.

Per file: the number of keys and tensors, and the CRC-32 of a text that lists every key with its type and value and every tensor
with its shape, type, place and size. tests/gguf.rs writes the same text. Usage: gguf_files.py FOLDER (the folder that holds
demo-model and data). Needs `pip install gguf numpy`.
"""

import json
import pathlib
import sys
import zlib

from gguf import GGUFReader, GGUFValueType

NAMES = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"]


def scalar(part, ty):
    if ty == GGUFValueType.STRING:
        return part.tobytes().hex()
    if ty == GGUFValueType.BOOL:
        return "true" if part[0] else "false"
    return part.astype(part.dtype.newbyteorder("<")).tobytes().hex()


def describe(path):
    reader = GGUFReader(path)
    lines = []
    for name, field in reader.fields.items():
        if name.startswith("GGUF."):  # the reader's own: version and counts
            continue
        types = [NAMES[ty] for ty in field.types]
        if field.types[0] == GGUFValueType.ARRAY:
            element = field.types[-1] if len(field.types) > 1 else None
            value = ",".join(scalar(field.parts[i], element) for i in field.data)
        else:
            value = scalar(field.parts[field.data[0]], field.types[0])
        lines.append(f"{name} {' '.join(types)} {value}\n")
    for tensor in reader.tensors:
        dims = "x".join(str(int(dim)) for dim in tensor.shape)
        lines.append(f"{tensor.name} {dims} {tensor.tensor_type.name} {int(tensor.data_offset)} {int(tensor.n_bytes)}\n")
    keys = sum(not name.startswith("GGUF.") for name in reader.fields)
    return {"keys": keys, "tensors": len(reader.tensors), "crc32": f"{zlib.crc32(''.join(lines).encode()):08x}"}


def main():
    root = pathlib.Path(sys.argv[1])
    files = sorted(root.glob("demo-model/**/*.gguf")) + sorted(root.glob("data/**/*.gguf"))
    golden = {str(path.relative_to(root)): describe(path) for path in files}
    text = ",\n".join(f"  {json.dumps(name)}: {json.dumps(found)}" for name, found in golden.items())
    (pathlib.Path(__file__).parent / "gguf_files.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
