#!/usr/bin/env python3
"""llama.cpp as the other lane of a comparison. One command per process; the result is one JSON object on standard output.

    peer.py version
    peer.py bench    -m MODEL -t 2 -p 512 -n 64 -d 0 -r 5 [--flash auto|on|off]
    peer.py logits   -m MODEL -t 2 --ids ids.txt --out logits.npy [--flash …] [--batch 512] [--kv f16|f32]
    peer.py tokenize -m MODEL --text file.txt -r 5 [--out ids.txt]

`bench`, one repeat: with D tokens in the cache, prefill of P tokens, then decode of N; the decode is fed seeded random ids
one at a time, so that neither sampling nor text counts. `…_tok_cpu_s` are tokens per second of processor time, all
threads added, which other load on the machine disturbs less. `ids.txt` holds decimal ids between white space.
"""
import argparse
import json
import pathlib
import random
import statistics
import sys

import llama

FLASH = {"auto": None, "on": True, "off": False}


def summary(samples):
    """median, mean, min, max and the samples themselves; a statistic that can't be had is None."""
    if not samples:
        return {"n": 0, "median": None, "mean": None, "std": None, "min": None, "max": None, "samples": []}
    return {
        "n": len(samples),
        "median": statistics.median(samples),
        "mean": statistics.fmean(samples),
        "std": statistics.stdev(samples) if len(samples) > 1 else None,
        "min": min(samples),
        "max": max(samples),
        "samples": samples,
    }


def bench(args):
    context = -(-(args.depth + args.prompt + args.generate + 8) // 256) * 256
    engine = llama.Engine(args.model, args.threads, context, args.batch, FLASH[args.flash], extra_buffers=not args.no_repack)
    rng = random.Random(args.seed)

    def ids(n):
        return [rng.randrange(3, engine.n_vocab) for _ in range(n)]

    def fill_to_depth():
        if args.depth:
            engine.prefill(ids(args.depth))
        else:
            engine.clear()

    def chunks(tokens):
        return sum(engine.evaluate(tokens[i : i + args.batch], args.depth + i) for i in range(0, len(tokens), args.batch))

    prefill, decode, itl_ms, prefill_cpu, decode_cpu = [], [], [], [], []
    for repeat in range(-args.warm_up, args.repeats):
        if args.prompt:
            fill_to_depth()
            before = engine.cpu_s
            rate = args.prompt / chunks(ids(args.prompt))
            if repeat >= 0:
                prefill.append(rate)
                prefill_cpu.append(args.prompt / (engine.cpu_s - before))
        if args.generate:
            begin = args.depth + args.prompt
            if not begin:
                fill_to_depth()
                begin = 1
                engine.evaluate(ids(1), 0)  # the first token after an empty cache is not part of the decode
            elif not args.prompt:
                fill_to_depth()
            before = engine.cpu_s
            times = [engine.evaluate(ids(1), begin + i) for i in range(args.generate if repeat >= 0 else min(4, args.generate))]
            if repeat >= 0:
                decode.append(len(times) / sum(times))
                decode_cpu.append(len(times) / (engine.cpu_s - before))
                itl_ms += [1e3 * t for t in times]
    return {
        **llama.version(),
        "model": pathlib.Path(args.model).name,
        "threads": args.threads,
        "prompt_tokens": args.prompt,
        "generated_tokens": args.generate,
        "depth": args.depth,
        "batch": args.batch,
        "flash": args.flash,
        "repack": not args.no_repack,
        "load_s": engine.load_s,
        "prefill_tok_s": summary(prefill),
        "decode_tok_s": summary(decode),
        "inter_token_ms": summary(itl_ms),
        "prefill_tok_cpu_s": summary(prefill_cpu),
        "decode_tok_cpu_s": summary(decode_cpu),
    }


def logits(args):
    import numpy as np

    ids = [int(word) for word in pathlib.Path(args.ids).read_text().split()]
    batch = min(args.batch, max(len(ids), 1))
    context = -(-(len(ids) + 1) // 256) * 256
    engine = llama.Engine(args.model, args.threads, context, batch, FLASH[args.flash], False, args.kv, not args.no_repack)
    np.save(args.out, engine.all_logits(ids))
    return {"model": pathlib.Path(args.model).name, "positions": len(ids), "n_vocab": engine.n_vocab}


def tokenize(args):
    engine = llama.Engine(args.model, 1, vocab_only=True)
    text = pathlib.Path(args.text).read_bytes()
    runs = [engine.tokenize(text, args.special) for _ in range(args.repeats)]
    if args.out:
        pathlib.Path(args.out).write_text(" ".join(map(str, runs[0][0])) + "\n")
    seconds = summary([took for _, took in runs])
    return {
        **llama.version(),
        "model": pathlib.Path(args.model).name,
        "bytes": len(text),
        "tokens": len(runs[0][0]),
        "tokenize_s": seconds,
        "mb_per_s": len(text) / 1e6 / seconds["median"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("version").set_defaults(run=lambda args: llama.version())

    def command(name, run):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("-m", "--model", required=True)
        return sub

    def engine_options(sub):
        sub.add_argument("-t", "--threads", type=int, default=2)
        sub.add_argument("--flash", choices=FLASH, default="auto", help="flash attention")
        sub.add_argument("--batch", type=int, default=512, help="tokens per llama_decode")
        sub.add_argument("--no-repack", action="store_true", help="without llama.cpp's repacked weight buffers (AMX and the like)")

    sub = command("bench", bench)
    engine_options(sub)
    sub.add_argument("-p", "--prompt", type=int, default=512)
    sub.add_argument("-n", "--generate", type=int, default=64)
    sub.add_argument("-d", "--depth", type=int, default=0)
    sub.add_argument("-r", "--repeats", type=int, default=5)
    sub.add_argument("--warm-up", type=int, default=1, help="repeats before the ones that count")
    sub.add_argument("--seed", type=int, default=1)
    sub = command("logits", logits)
    engine_options(sub)
    sub.add_argument("--ids", required=True)
    sub.add_argument("--out", required=True)
    sub.add_argument("--kv", choices=["f16", "f32"], default="f16")
    sub = command("tokenize", tokenize)
    sub.add_argument("--text", required=True)
    sub.add_argument("--out")
    sub.add_argument("--special", action="store_true", help="add BOS/EOS and parse special tokens")
    sub.add_argument("-r", "--repeats", type=int, default=5)
    args = parser.parse_args()
    json.dump(args.run(args), sys.stdout)
    print()


if __name__ == "__main__":
    main()
