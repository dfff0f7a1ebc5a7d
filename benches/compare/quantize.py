#!/usr/bin/env python3
"""Compare quantising with llama.cpp: what the files are worth, and how long it takes to make them.

    make -C c-examples
    quantize.py MODEL.gguf --text TEXT [--imatrix TEXT] [--types Q4_K_M …] [--threads N] [--speed] [--out results.json]

MODEL is in F32 or F16. Each type is written by both libraries, and llama.cpp evaluates MODEL and both files on the same windows of TEXT
(512 tokens, the second half of each scored): perplexity, and the mean KL divergence from MODEL's predictions. With --imatrix, ours is also
written with importance from that text. Verdicts, for each type: the tensors of both files have the same types, and our perplexity and KL are at
most 1 % above llama.cpp's (and 1e-5 nats, below which a difference of KL is that of rounding anywhere). One file against one other is also
the chance of their roundings; with --orders the KL is judged by the mean ratio over so many orders of the model's dimensions.
With --speed the two are timed in turn, in fresh processes, and the ratio of the medians must reach 1.5.
Exit status 1 where a verdict fails.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import gguf
import numpy as np
import permuted
import statistic

HERE = pathlib.Path(__file__).resolve().parent
TYPES = """Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS""".split()
WINDOW = 512
MOST_WORSE, LEAST_KL, LEAST_SPEED = 1.01, 1e-5, 1.5
SAME_KL = 1e-5  # what the order of a sum does, with weights and activations in F16


def windows_of(model, text, most):
    """Windows of ids of a text, without BOS."""
    import llama

    vocabulary = llama.Engine(model, 1, vocab_only=True)
    ids, _ = vocabulary.tokenize(text)
    return [ids[at : at + WINDOW] for at in range(0, len(ids) - WINDOW + 1, WINDOW)][:most]


def log_probabilities(model, windows, threads):
    """Of the second half of each window: f32 [windows, positions, vocabulary]."""
    import llama

    engine = llama.Engine(model, threads, context=WINDOW, extra_buffers=False)
    parts = []
    for window in windows:
        logits = engine.all_logits([int(id) for id in window])[WINDOW // 2 : WINDOW - 1].astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        parts.append((logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))).astype(np.float32))
    return np.stack(parts)


def worth(reference, got, windows):
    """Perplexity, and the mean KL divergence from the reference."""
    nats, divergence, count = 0.0, 0.0, 0
    for exact, ours, window in zip(reference, got, windows):
        wanted = window[WINDOW // 2 + 1 :]
        nats -= float(ours[np.arange(len(wanted)), wanted].sum())
        divergence += float((np.exp(exact.astype(np.float64)) * (exact.astype(np.float64) - ours)).sum())
        count += len(wanted)
    return {"perplexity": float(np.exp(nats / count)), "kl": divergence / count}


def types_of(path):
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


def theirs(source, target, kind, threads):
    """Quantises in a process of its own; the seconds inside the call."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import llama; began = time.perf_counter(); "
        "llama.quantize(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])); print(time.perf_counter() - began)"
    )
    command = [sys.executable, "-c", code, str(HERE), str(source), str(target), kind, str(threads)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[-1])


def ours(program, source, target, kind, threads, *more):
    """The same by the example program; the seconds of the process."""
    began = time.perf_counter()
    subprocess.run([program, source, target, kind, "--threads", str(threads), *more], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def judged(paths, windows, reference, threads):
    """The worth of each file."""
    return {name: worth(reference, log_probabilities(path, windows, threads), windows) for name, path in paths.items()}


def ratios(samples, name, of):
    """The mean ratio of two files' KL divergence over all orders of the dimensions, and where it lies."""
    values = [sample[name]["kl"] / sample[of]["kl"] for sample in samples]
    return {"mean": statistic.geometric_mean(values), "interval": statistic.geometric_interval(values), "each": values}


def said_ratio(ratio, name):
    low, high = ratio["interval"] or (min(ratio["each"]), max(ratio["each"]))
    return f"KL, {name}, {len(ratio['each'])} orders: {ratio['mean']:.3f} ({low:.3f}-{high:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path, help="text to judge the files by")
    parser.add_argument("--imatrix", type=pathlib.Path, help="text to measure importance with")
    parser.add_argument("--orders", type=int, default=0, help="judge so many other orders of the model's dimensions too (permuted.py)")
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ours", type=pathlib.Path, default=HERE.parent.parent / "c-examples/build/quantize")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        paths = {name: work / f"{name}.gguf" for name in ("llama.cpp", "ours", "ours, imatrix") if args.imatrix or name != "ours, imatrix"}
        sources = [args.model, *(work / f"order-{seed}.gguf" for seed in range(1, args.orders + 1))]
        for seed, source in enumerate(sources[1:], 1):
            permuted.write(args.model, source, seed)
        if args.text:
            windows = windows_of(args.model, args.text.read_bytes(), args.windows)
            reference = log_probabilities(args.model, windows, args.threads)
            exact = worth(reference, reference, windows)["perplexity"]
            print(f"{args.model.name}: {len(windows)} windows, perplexity {exact:.5f}")
            if args.orders and worth(reference, log_probabilities(sources[1], windows, args.threads), windows)["kl"] > SAME_KL:
                raise SystemExit("the model in another order is another function")

        def write(source, kind):
            took = {"llama.cpp": theirs(source, paths["llama.cpp"], kind, args.threads)}
            took["ours"] = ours(args.ours, source, paths["ours"], kind, args.threads)
            if args.imatrix:
                ours(args.ours, source, paths["ours, imatrix"], kind, args.threads, "--imatrix", args.imatrix)
            return took

        for kind in args.types:
            row, took = {"type": kind}, [write(args.model, kind)]
            row["same_types"] = types_of(paths["llama.cpp"]) == types_of(paths["ours"])
            verdicts = [row["same_types"]]
            said = [f"{kind:7}"]
            if args.text:
                row |= judged(paths, windows, reference, args.threads)
                said += [f"{name}: {row[name]['perplexity']:.5f} KL {row[name]['kl']:.6f}" for name in paths]
                verdicts.append(row["ours"]["perplexity"] <= MOST_WORSE * row["llama.cpp"]["perplexity"])
            if args.text and args.orders:
                samples = [{name: row[name] for name in paths}]
                for source in sources[1:]:
                    write(source, kind)
                    samples.append(judged(paths, windows, reference, args.threads))
                row["kl_ratio"] = ratios(samples, "ours", "llama.cpp")
                said.append(said_ratio(row["kl_ratio"], "ours / llama.cpp's"))
                means = {name: statistics.fmean(sample[name]["kl"] for sample in samples) for name in paths}
                verdicts.append(row["kl_ratio"]["mean"] <= MOST_WORSE or means["ours"] <= MOST_WORSE * means["llama.cpp"] + LEAST_KL)
                if args.imatrix:
                    row["importance_kl_ratio"] = ratios(samples, "ours, imatrix", "ours")
                    said.append(said_ratio(row["importance_kl_ratio"], "with importance / without"))
            elif args.text:
                verdicts.append(row["ours"]["kl"] <= MOST_WORSE * row["llama.cpp"]["kl"] + LEAST_KL)
            if args.speed:
                took += [write(args.model, kind) for _ in range(1, args.repeat)]
                row["seconds"] = {name: [one[name] for one in took] for name in took[0]}
                row["times_faster"] = statistics.median(row["seconds"]["llama.cpp"]) / statistics.median(row["seconds"]["ours"])
                said.append(f"{statistics.median(row['seconds']['ours']):.2f} s, {row['times_faster']:.2f} times llama.cpp's speed")
                verdicts.append(row["times_faster"] >= LEAST_SPEED)
            row["passed"] = all(verdicts)
            failed |= not row["passed"]
            rows.append(row)
            print(" | ".join(said), "" if row["passed"] else f"FAILED {verdicts}", flush=True)
    if args.out:
        result = {"model": args.model.name, "threads": args.threads, "rows": rows}
        if args.text:
            result |= {"windows": len(windows), "text": args.text.name, "perplexity": exact}
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if failed else 0)


main()
