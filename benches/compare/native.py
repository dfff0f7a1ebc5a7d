"""The C programs of the comparisons, compiled when they are first wanted: `peer` (llama.cpp without Python) and `limits` (the machine).

`peer.c` takes llama.cpp's headers and libraries from where llama-cpp-python installed them, so it always fits the version that peer.py
uses. Programs lie in `build/` beside this file, and are compiled anew where the source or the compiler's command line has changed.
"""
import os
import pathlib
import shlex
import subprocess
import sys

from lanes import Unavailable

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE / "build"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]


def compiler():
    return shlex.split(os.environ.get("CC", "cc"))


def build(name, before, after=()):
    """Compiles `name`.c with these arguments before and after it, and returns the program's path."""
    source, program, note = HERE / f"{name}.c", BUILD / name, BUILD / f"{name}.command"
    command = [*compiler(), *before, *WARNINGS, str(source), "-o", str(program), *after]
    line = shlex.join(command)
    fresh = program.exists() and program.stat().st_mtime > source.stat().st_mtime and note.exists() and note.read_text() == line
    if not fresh:
        BUILD.mkdir(exist_ok=True)
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise Unavailable("no C compiler (set CC)") from None
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"{name}.c does not compile:\n{error.stderr}") from None
        note.write_text(line)
    return program


def limits():
    """The path of the program that measures what the machine can do."""
    return build("limits", ["-O3", "-march=native", "-pthread"])


def peer():
    """The path of the C peer."""
    import llama_cpp

    package = pathlib.Path(llama_cpp.__file__).parent
    libraries, headers = package / "lib", package.parent / "include"
    if not (headers / "llama.h").exists():
        raise Unavailable("llama-cpp-python installed no llama.h")
    return build("peer", ["-O2", "-isystem", str(headers)], [f"-L{libraries}", "-lllama", f"-Wl,-rpath,{libraries}", "-lm"])


def peer_command():
    """The command line, as a list, that runs llama.cpp's lane: the C peer, or peer.py where that can't be compiled."""
    try:
        return [str(peer())]
    except Unavailable as reason:
        print(f"llama.cpp through Python, whose time per token counts against small models: {reason}", file=sys.stderr)
        return [sys.executable, str(HERE / "peer.py")]


def versions():
    """What took part: llama.cpp and its build, the C compiler of these programs, the commit of this repository. Unknown ones are None."""
    import llama

    def first_line(command):
        try:
            return subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE).stdout.splitlines()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            return None

    return {
        **llama.version(),
        "compiler": first_line([*compiler(), "--version"]),
        "commit": first_line(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]),
    }
