#!/usr/bin/env python3
"""Create the Python environment of the comparisons: llama.cpp (through llama-cpp-python), gguf, numpy.

    python3 environment.py DIRECTORY [--portable | --no-amx]

llama-cpp-python compiles llama.cpp natively for this processor (a few minutes; needs a C++ compiler and CMake), which is what
a fair comparison wants, and never takes a build that pip has kept. `--portable` asks for a build that runs on any x86-64 with
AVX2 instead; `--no-amx` for a native one without AMX, which GCC 12 miscompiles (README.md; CC=clang CXX=clang++ does not).
Then run the other scripts with DIRECTORY/bin/python.
"""
import argparse
import os
import pathlib
import shlex
import subprocess
import venv

PACKAGES = ["llama-cpp-python", "gguf", "numpy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--portable", action="store_true", help="compile llama.cpp without -march=native")
    parser.add_argument("--no-amx", action="store_true", help="compile llama.cpp without AMX")
    args = parser.parse_args()
    venv.create(args.directory, with_pip=True)
    environment = dict(os.environ)
    options = ["-DGGML_NATIVE=OFF" if args.portable else "-DGGML_NATIVE=ON"]
    if args.no_amx:
        options += [f"-DCMAKE_{language}_FLAGS=-mno-amx-int8 -mno-amx-tile -mno-amx-bf16" for language in ("C", "CXX")]
    environment["CMAKE_ARGS"] = shlex.join(options)
    python = args.directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--no-cache-dir", "--no-binary", "llama-cpp-python", *PACKAGES], env=environment, check=True)
    subprocess.run([python, pathlib.Path(__file__).with_name("peer.py"), "version"], check=True)


if __name__ == "__main__":
    main()
