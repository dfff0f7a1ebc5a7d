#!/usr/bin/env python3
"""Writes tests/goldens/quant/<type>.bin: blocks of random bits and what gguf-py decodes them to.

File: u32 ggml type number, u32 bytes of blocks, the blocks, then one f32 per element; little endian.
Every f16 scale field takes each of the special values below in turn (zero, subnormal, largest, infinite, NaN) while
everything else is random; further blocks are all ones and all random. Needs `pip install gguf numpy`, and for the types that gguf-py
does not decode (Q1_0, Q2_0) `pip install llama-cpp-python`, whose own decoders are called.
"""

import ctypes
import pathlib
import struct

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

SPECIAL = [0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7D01]

# The same for super-blocks of two scales, which are a kilobyte decoded: one of each kind.
SPECIAL_FEW = [0x8000, 0x0001, 0x7BFF, 0xFC00, 0x7E00]

# The offsets of the f16 scale fields in a block.
SCALES = {
    T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0],
    T.IQ1_S: [0], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0], T.TQ1_0: [52], T.TQ2_0: [64],
}  # fmt: skip


# Types without an f16 scale field: special values of the bytes at the start of a block.
FIRST_BYTES = {
    T.MXFP4: [[0], [1], [2], [254], [255]],
    T.NVFP4: [[0, 0x7F, 0xFF, 1], [7, 8, 0x7E, 0x80], [0x87, 0x88, 0x78, 0x3F]],
}

# Types that are decoded by llama.cpp's library: number, elements and bytes of a block.
BY_LIBRARY = {"q1_0": (41, 128, 18), "q2_0": (42, 64, 18)}


def blocks_of(ty, rng):
    """One row of blocks."""
    len_, size = GGML_QUANT_SIZES[ty]
    if ty in FIRST_BYTES:
        rows = [np.full(size, 0xFF, dtype=np.uint8)]
        for first in FIRST_BYTES[ty]:
            rows.append(np.frombuffer(bytes(first) + rng.bytes(size - len(first)), dtype=np.uint8))
        return np.concatenate([*rows, np.frombuffer(rng.bytes(8 * size), dtype=np.uint8)])
    if ty == T.IQ1_M:
        rows = [np.full(size, 0xFF, dtype=np.uint8), np.frombuffer(rng.bytes(size), dtype=np.uint8)]
        for value in SPECIAL:  # four bits of the scale on top of each of four u16
            block = np.frombuffer(rng.bytes(size), dtype=np.uint8).copy()
            for i in range(4):
                block[49 + 2 * i] = block[49 + 2 * i] & 15 | (value >> (4 * i) & 15) << 4
            rows.append(block)
        return np.concatenate(rows)
    if ty not in SCALES:
        special = {
            T.F32: [0, 1 << 31, 1, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001],
            T.F16: SPECIAL,
            T.BF16: [0, 0x8000, 1, 0x007F, 0x7F7F, 0x7F80, 0xFF80, 0x7FC0, 0x7F81],
            # Ties, overflow and underflow of the rounding to f32.
            T.F64: [0, 1 << 63, 1, 0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001,
                    0x3FF0000010000000, 0x3FF0000030000000, 0x3FF0000010000001, 0x47EFFFFFF0000000, 0x47EFFFFFEFFFFFFF,
                    0x36A0000000000000, 0x3690000000000000, 0x3690000000000001, 0x380FFFFFF0000000],
        }[ty]  # fmt: skip
        row = b"".join(int(v).to_bytes(size, "little") for v in special)
        return np.frombuffer(row + rng.bytes(size * (128 - len(special))), dtype=np.uint8)
    rows = [np.full(size, 0xFF, dtype=np.uint8), np.frombuffer(rng.bytes(size), dtype=np.uint8)]
    for field in SCALES[ty]:
        for value in SPECIAL if len_ < 256 or len(SCALES[ty]) == 1 else SPECIAL_FEW:
            block = np.frombuffer(rng.bytes(size), dtype=np.uint8).copy()
            for other in SCALES[ty]:  # finite, so that the field under test decides
                block[other + 1] &= 0xBF
            block[field : field + 2] = [value & 0xFF, value >> 8]
            rows.append(block)
    return np.concatenate(rows)


def by_library(name, blocks, elements):
    import llama_cpp  # noqa: PLC0415

    folder = pathlib.Path(llama_cpp.__file__).parent / "lib"
    library = ctypes.CDLL(str(folder / "libggml-base.so"))
    values = np.zeros(elements, dtype="<f4")
    decode = getattr(library, f"dequantize_row_{name}")
    decode.restype = None
    decode(ctypes.c_char_p(blocks.tobytes()), values.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(elements))
    return values


def main():
    out = pathlib.Path(__file__).parent / "quant"
    out.mkdir(exist_ok=True)
    for ty in [T.F32, T.F16, T.BF16, T.F64, *SCALES, T.IQ1_M, *FIRST_BYTES]:
        rng = np.random.default_rng(1000 + ty)
        blocks = blocks_of(ty, rng)
        with np.errstate(all="ignore"):
            values = blocks.view("<f8").astype("<f4") if ty == T.F64 else dequantize(blocks.copy(), ty).astype("<f4")
        data = struct.pack("<II", ty, blocks.size) + blocks.tobytes() + values.tobytes()
        (out / f"{ty.name.lower()}.bin").write_bytes(data)
    for name, (number, len_, size) in BY_LIBRARY.items():
        rng = np.random.default_rng(1000 + number)
        rows = [np.frombuffer(rng.bytes(size), dtype=np.uint8).copy() for _ in SPECIAL]
        for row, value in zip(rows, SPECIAL, strict=True):
            row[:2] = [value & 0xFF, value >> 8]
        blocks = np.concatenate([*rows, np.frombuffer(rng.bytes(3 * size), dtype=np.uint8)])
        values = by_library(name, blocks, blocks.size // size * len_)
        (out / f"{name}.bin").write_bytes(struct.pack("<II", number, blocks.size) + blocks.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
