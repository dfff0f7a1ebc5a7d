#!/usr/bin/env python3
"""Compare speed with llama.cpp on the same file: interleaved, each run a fresh process, the ratio of each pair.

    make -C c-examples build/bench_stats
    speed.py -m MODEL [-m MODEL …] [-t 2] [-p 512] [-n 64] [-d 0] [--pairs 5] [--least 0.8] [--out DIR]

Per pair the order of the two lanes alternates, so that neither always runs on the warmer machine. The ratio of a pair is ours
over llama.cpp's; above 1 we are faster. A run counts only with its conditions, so the result names them: load before each run,
processor, versions, both command lines. Nothing is left out as an outlier; look at the spread.
With --least the exit status is 1 where the median ratio of prefill or decode is lower.
"""
import argparse
import json
import pathlib
import sys
import time

import lanes as both
import native

ROOT = both.ROOT
KINDS = ["prefill_tok_s", "decode_tok_s"]


def commands(args, model):
    """The command lines of both lanes."""
    common = ["-m", str(model), "-t", args.threads, "-p", args.prompt, "-n", args.generate, "-r", args.repeats, "-d", args.depth]
    ours = [args.ours, *common, "--json"]
    peer = [*native.peer_command(), "bench", *common, "--flash", args.flash, *(["--no-repack"] if args.no_repack else [])]
    return {"ours": list(map(str, ours)), "llama_cpp": list(map(str, peer))}


def compare(args, model):
    lanes = commands(args, model)
    runs = {lane: [] for lane in lanes}
    for pair in range(args.pairs):
        order = ["ours", "llama_cpp"] if pair % 2 == 0 else ["llama_cpp", "ours"]
        for lane in order:
            time.sleep(args.pause)
            runs[lane].append(both.run(lanes[lane]))
    result = {"model": model.name, "commands": {lane: both.portable(line) for lane, line in lanes.items()}, "runs": runs}
    for kind in KINDS:
        medians = {lane: [one["output"][kind]["median"] for one in runs[lane]] for lane in lanes}
        if None in medians["ours"] + medians["llama_cpp"]:
            result[kind] = None
            continue
        result[kind] = {
            **{lane: both.summary(values) for lane, values in medians.items()},
            **both.ratios(medians["ours"], medians["llama_cpp"]),
        }
    return result


def print_result(result, args):
    loads = [one["load_1min_before"] for runs in result["runs"].values() for one in runs]
    print(f"{result['model']}, {args.threads} threads, depth {args.depth}, {args.pairs} pairs, load {min(loads):.1f}–{max(loads):.1f}")
    for kind in KINDS:
        figures = result[kind]
        if figures is None:
            print(f"  {kind:14} not measured")
            continue
        ours, theirs = figures["ours"], figures["llama_cpp"]
        print(
            f"  {kind:14} ours {ours['median']:8.2f} ({ours['min']:.2f}–{ours['max']:.2f})"
            f"  llama.cpp {theirs['median']:8.2f} ({theirs['min']:.2f}–{theirs['max']:.2f})"
            f"  ratio {figures['ratio_median']:.3f} ({figures['ratio_min']:.3f}–{figures['ratio_max']:.3f})",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=pathlib.Path, action="append", required=True)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=64)
    parser.add_argument("-d", "--depth", type=int, default=0)
    parser.add_argument("-r", "--repeats", type=int, default=3, help="repeats within a run")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before each run")
    parser.add_argument("--flash", default="auto", choices=["auto", "on", "off"], help="llama.cpp's flash attention")
    parser.add_argument("--no-repack", action="store_true", help="llama.cpp without repacked weights")
    parser.add_argument("--ours", type=pathlib.Path, default=ROOT / "c-examples/build/bench_stats")
    parser.add_argument("--least", type=float, help="fail below this median ratio")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benches/results", help="directory of the JSON result")
    args = parser.parse_args()
    results = []
    for model in args.model:
        results.append(compare(args, model))
        print_result(results[-1], args)
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    document = {"schema": "loquat.speed", "schema_version": 1, "time": began, "host": both.host(), "versions": native.versions(), "results": results}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"speed-{began.replace(':', '')}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written: {path}")
    slow = [(r["model"], kind) for r in results for kind in KINDS if args.least and r[kind] and r[kind]["ratio_median"] < args.least]
    for model, kind in slow:
        print(f"FAIL: {model} {kind} below {args.least}")
    sys.exit(bool(slow))


if __name__ == "__main__":
    main()
