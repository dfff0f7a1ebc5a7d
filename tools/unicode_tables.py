#!/usr/bin/env python3
"""Writes src/tokenizer/unicode/tables.rs: the general categories and first canonical decompositions of Unicode 15.1.

    pip install unicodedata2==15.1.0
    python3 tools/unicode_tables.py > src/tokenizer/unicode/tables.rs

The version is pinned: pre-tokenizers of published models (and llama.cpp, which is the reference for token ids) class
characters by 15.1, so a newer table would change token ids of newly assigned characters.
"""

import unicodedata2

assert unicodedata2.unidata_version == "15.1.0"

LETTER, NUMBER, MARK, PUNCTUATION, SYMBOL, WHITESPACE, CONTROL = (1 << bit for bit in range(7))
BY_CATEGORY = {"L": LETTER, "N": NUMBER, "M": MARK, "P": PUNCTUATION, "S": SYMBOL, "C": CONTROL, "Z": 0}
# White_Space of PropList.txt
SPACES = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def class_of(point):
    category = unicodedata2.category(chr(point))
    bits = 0 if category == "Cn" else BY_CATEGORY[category[0]]
    return bits | (WHITESPACE if point in SPACES else 0)


def rows(items, per_row):
    for at in range(0, len(items), per_row):
        print("    " + ", ".join(items[at : at + per_row]) + ",")


classes, last = [], None
for point in range(0x110000):
    bits = class_of(point)
    if bits != last:
        classes.append(f"0x{bits << 24 | point:08x}")
        last = bits

decompositions = []  # [first, last, target]
for point in range(0x110000):
    if 0xD800 <= point < 0xE000:
        continue
    target = ord(unicodedata2.normalize("NFD", chr(point))[0])
    if target == point:
        continue
    if decompositions and decompositions[-1][1] == point - 1 and decompositions[-1][2] == target:
        decompositions[-1][1] = point
    else:
        decompositions.append([point, point, target])

print("//! Character classes and decompositions of Unicode 15.1, written by `tools/unicode_tables.py`. Data only.")
print()
print("/// Where each run of equally classed code points starts: class bits << 24 | first code point, ascending.")
print("#[rustfmt::skip]")
print(f"pub(super) const CLASS_RUNS: [u32; {len(classes)}] = [")
rows(classes, 11)
print("];")
print()
print("/// First code points of canonical decompositions: first << 40 | (last - first) << 24 | target, ascending.")
print("#[rustfmt::skip]")
print(f"pub(super) const DECOMPOSITIONS: [u64; {len(decompositions)}] = [")
rows([f"0x{a << 40 | (b - a) << 24 | t:016x}" for a, b, t in decompositions], 6)
print("];")
