#!/usr/bin/env python3
"""Writes src/quant/codebooks.rs: the codebooks of the IQ types, as packed codes, from those of gguf-py.

    tools/codebooks.py > src/quant/codebooks.rs && rustfmt src/quant/codebooks.rs

Needs `pip install gguf numpy`. The entries are facts of the file format; they are stored as indices into the few values that the
elements take, element 0 in the lowest bits.
"""

import numpy as np
from gguf import quants

BOOKS = [
    ("IQ2_XXS", quants.IQ2_XXS, 2, "8 elements of 2 bits"),
    ("IQ2_XS", quants.IQ2_XS, 2, "8 elements of 2 bits"),
    ("IQ2_S", quants.IQ2_S, 2, "8 elements of 2 bits"),
    ("IQ3_XXS", quants.IQ3_XXS, 3, "4 elements of 3 bits"),
    ("IQ3_S", quants.IQ3_S, 3, "4 elements of 3 bits"),
    ("IQ1", quants.IQ1_S, 2, "IQ1_S and IQ1_M: 8 elements of 2 bits"),
]

print("//! The codebooks of the IQ types, packed: an entry holds its elements' indices into the values of the type, element 0 lowest.")
print("//! Written by `tools/codebooks.py`.")
for name, ty, bits, what in BOOKS:
    ty.init_grid()
    grid = ty.grid.reshape(ty.grid_shape).astype(np.int64)
    index = {value: i for i, value in enumerate(ty.grid_map)}
    codes = [sum(index[value] << (bits * i) for i, value in enumerate(row)) for row in grid.tolist()]
    print(f"\n/// {what}.")
    print(f"pub const {name}: [u16; {len(codes)}] = [")
    print(", ".join(f"0x{code:x}" for code in codes))
    print("];")
