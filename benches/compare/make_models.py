#!/usr/bin/env python3
"""Make the synthetic models of the comparisons, quantised by llama.cpp itself (some types are filled with random codes: filled.py, from the
Q6_K file). MXFP4, which llama.cpp writes for experts only, is written by c-examples/build/quantize.

    make_models.py --vocabularies DIR --out DIR tinyllama                  # F16 and every type
    make_models.py --vocabularies DIR --out DIR phi-2 --types Q4_K_M Q8_0  # F16 is the source and always made
    make_models.py --list

DIR of --vocabularies holds llama.cpp's vocabulary-only files (`ggml-vocab-llama-spm.gguf`, …). Files are named
`<shape>-<TYPE>.gguf`; one that exists already is kept.
"""
import argparse
import pathlib
import time

import filled
import shapes

TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K"]
TYPES += ["IQ4_NL", "IQ4_XS", *filled.TYPES]
MAIN_SHAPES = ["tinyllama", "qwen3-0.6b", "qwen2.5-0.5b", "phi-2", "llama3.2-1b"]


def make(path, build):
    """Runs `build(temporary path)` and renames the result to `path`, so that a broken run leaves no half file."""
    if path.exists():
        print(f"{path.name}: kept", flush=True)
        return
    began, partial = time.monotonic(), path.with_suffix(".partial")
    build(partial)
    partial.rename(path)
    print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB in {time.monotonic() - began:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"default: {' '.join(MAIN_SHAPES)}")
    parser.add_argument("--types", nargs="+", default=TYPES, choices=TYPES, metavar="TYPE", help=f"of {' '.join(TYPES)}")
    parser.add_argument("--vocabularies", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=0, help="of the quantiser; 0 for all")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--list", action="store_true", help="print the shapes and stop")
    args = parser.parse_args()
    if args.list:
        for name, shape in shapes.SHAPES.items():
            print(name, shape)
        return
    if not args.vocabularies or not args.out:
        parser.error("--vocabularies and --out are needed")
    unknown = set(args.shapes) - set(shapes.SHAPES)
    if unknown:
        parser.error(f"unknown shapes: {', '.join(sorted(unknown))}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.shapes or MAIN_SHAPES:
        source = args.out / f"{name}-F16.gguf"
        make(source, lambda path: shapes.write(name, args.vocabularies, path, args.seed))
        for kind in args.types:
            if kind in filled.TYPES:
                make(args.out / f"{name}-{kind}.gguf", lambda path: filled.write(args.out / f"{name}-Q6_K.gguf", path, kind, args.seed))
            elif kind != "F16":
                import llama  # only here: making F16 files needs no llama.cpp

                make(args.out / f"{name}-{kind}.gguf", lambda path: llama.quantize(source, path, kind, args.threads))


if __name__ == "__main__":
    main()
