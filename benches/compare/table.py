#!/usr/bin/env python3
"""The whole comparison with llama.cpp as one table: speeds, their share of the machine's limits, start, memory, a busy machine.

    make -C c-examples
    table.py --models DIR [--shapes tinyllama] [--types Q4_K_M …] [--rows prefill,decode,…] [--pairs 5]
    table.py -m MODEL [-m MODEL …] [--rows …]
    table.py --list

DIR is make_models.py's: files `<shape>-<TYPE>.gguf`; each row has the types it is about, those without a file are named and left out.
The machine's limits (limits.c) are measured before the rows and after them. Before a model's figures count, both engines must agree on
the token behind a prompt. Each row first looks which setting of llama.cpp is its fastest (flash attention on or off, and where it
matters one KV buffer or several, repacked weights or not) and then runs pairs of fresh processes, in alternating order, with that one.
Ratios are ours over llama.cpp's. What can't be measured is null in the JSON, with the reason beside it.
"""
import argparse
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import lanes as both
import model_facts
import native
import numpy as np
from lanes import ROOT, Unavailable

LANES = ["ours", "llama_cpp"]
ALL_TYPES = ["Q4_K_M", "Q4_0", "Q8_0", "Q6_K", "Q5_K_M", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "F16", "BF16"]
RARER_TYPES = ["IQ4_NL", "IQ4_XS", "MXFP4", "IQ3_S", "IQ2_XS"]
DEMO = ROOT / "models/emberfield-3m-q8_0.gguf"
EXAMPLES = ROOT / "c-examples/build"
OURS = []  # options of all our programs
CLEAR_GAP = 0.1  # below this lead of llama.cpp's first token over its second, another token is no fault (quality.py)
QUIET = 0.2  # processors that others may use between runs without a warning
CHECK_TEXT = "The old lighthouse keeper climbed the stairs once more, because the lamp"


# ---- What is measured: a condition is a command of each lane and the figures it gives ----


@dataclasses.dataclass(frozen=True)
class Speed:
    """Tokens per second by bench_stats and the peer's bench."""

    name: str
    metric: str  # a key of both programs' JSON
    threads: int
    prompt: int = 0
    generate: int = 0
    depth: int = 0
    sequences: int = 1
    repeats: int = 3
    busy: bool = False  # with another process that wants a processor all the time

    @property
    def metrics(self):
        return {self.metric: "higher"}

    @property
    def choices(self):
        """The settings of llama.cpp among which the fastest is taken."""
        flash = [["--flash", "on"], ["--flash", "off"]]
        buffers = [[], ["--kv-unified"]] if self.sequences > 1 else [[]]
        return [one + other for one, other in itertools.product(flash, buffers)]

    def command(self, lane, model, settings):
        options = ["-t", self.threads, "-p", self.prompt, "-n", self.generate, "-d", self.depth, "-r", self.repeats]
        if self.sequences > 1:
            options += ["--sequences", self.sequences]
        program = [EXAMPLES / "bench_stats", "--json", *OURS] if lane == "ours" else [*native.peer_command(), "bench", *settings]
        return [str(part) for part in [*program, "-m", model, *options]]

    def run(self, lane, model, settings, timeout):
        with other_process() if self.busy else contextlib.nullcontext():
            done = both.run(self.command(lane, model, settings), timeout)
        value = done["output"].get(self.metric, {}).get("median")
        if value is None:
            raise Unavailable(f"printed no {self.metric}")
        return {self.metric: value}

    def limit(self, facts, limits, cache_bytes):
        if self.busy or self.threads not in limits:
            return None
        if self.generate:
            return model_facts.decode_limit(facts, limits[self.threads], self.depth, self.generate, self.sequences, cache_bytes)
        return model_facts.prefill_limit(facts, limits[self.threads], self.prompt, self.depth)


@dataclasses.dataclass(frozen=True)
class Start:
    """From the start of a process to its first token, and the memory it has taken by then."""

    name: str
    threads: int
    context: int = 2048
    tokens: int = 8

    metrics = {"first_token_s": "lower", "peak_resident_bytes": "lower", "private_bytes": "lower"}
    choices = [one + other for one, other in itertools.product([["--flash", "on"], ["--flash", "off"]], [[], ["--no-repack"]])]

    def command(self, lane, model, settings):
        options = ["-m", model, "-t", self.threads, "-c", self.context]
        text = text_of(model, self.tokens)
        if lane == "ours":
            program = [EXAMPLES / "generate", *OURS, "--ids", "--ignore-eos", "-n", 1, "-p", text]
        else:
            program = [native.peer(), "first", "--text", text, *settings]
        return [str(part) for part in [*program, *options]]

    def run(self, lane, model, settings, timeout):
        return first_output(self.command(lane, model, settings), timeout)

    def limit(self, facts, limits, cache_bytes):
        return None


def first_output(command, timeout):
    """Runs `command`: seconds from its start to the first byte it prints (both programs print the token's id at once), and its memory then."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        first = process.stdout.read(1)
        took = time.monotonic() - began
        memory = memory_of(process.pid)
        try:
            _, complaint = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Unavailable(f"took longer than {timeout:.0f} s") from None
    if process.returncode != 0 or not first:
        raise Unavailable(both.failure(process.returncode, complaint.decode(errors="replace")))
    return {"first_token_s": took, **memory}


def memory_of(pid):
    """Most resident memory so far, and what of the present is the process's own (mapped files are not); None where it isn't told."""
    fields = {}
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            key, _, rest = line.partition(":")
            fields[key] = rest.split()
    kib = {key: int(fields[key][0]) * 1024 if key in fields else None for key in ["VmHWM", "RssAnon"]}
    return {"peak_resident_bytes": kib["VmHWM"], "private_bytes": kib["RssAnon"]}


@contextlib.contextmanager
def other_process():
    """A process that wants one processor all the time. It also ends by itself, after 15 minutes of processor time."""
    process = subprocess.Popen(["sh", "-c", "ulimit -t 900; while :; do :; done"])
    try:
        time.sleep(0.5)
        yield
        if process.poll() is not None:
            raise Unavailable("the busy process ended too early")
    finally:
        process.kill()
        process.wait()


@functools.cache
def text_of(model, tokens):
    """A text of this many tokens, those that the tokenizer adds included."""
    for words in range(1, 4 * tokens):
        text = " ".join(["a"] * words)
        done = subprocess.run([EXAMPLES / "tokenize", "-m", model, "-p", text], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(both.failure(done.returncode, done.stderr))
        if len(done.stdout.split()) >= tokens:
            return text
    raise Unavailable(f"found no text of {tokens} tokens")


# ---- The rows: name → what it is, types, and groups of conditions. In a group of two the second is set against the first. ----


def rows(threads):
    quick = dict(generate=32)
    deep = dict(generate=32, depth=4096, repeats=1)
    prompt = dict(prompt=128, repeats=2)

    def prefill(name, threads=threads, **more):
        return Speed(name, "prefill_tok_s", threads, **more)

    def decode(name, threads=threads, **more):
        return Speed(name, "decode_tok_s", threads, **more)

    return {
        "prefill": ("prefill of 512 tokens", ALL_TYPES + RARER_TYPES, [[prefill("prefill 512", prompt=512, repeats=2)]]),
        "prefill-4096": ("prefill of 4096 tokens", ["Q4_K_M"], [[prefill("prefill 4096", prompt=4096, repeats=1)]]),
        "decode": ("decode", ALL_TYPES + RARER_TYPES, [[decode("decode", **quick)]]),
        "decode-1": ("decode with one thread", ALL_TYPES, [[decode("decode", 1, **quick)]]),
        "decode-4096": ("decode behind 4096 tokens", ["Q4_K_M"], [[decode("decode at 4096", **deep)]]),
        "busy": (
            "one other busy process, against the own quiet speed",
            ["Q4_K_M"],
            [
                [prefill("prefill 128", **prompt), prefill("prefill 128, busy", busy=True, **prompt)],
                [decode("decode", **quick), decode("decode, busy", busy=True, **quick)],
            ],
        ),
        "sequences": (
            "8 sequences in one pass, against 1",
            ["Q4_K_M"],
            [[decode("1 sequence", **quick), Speed("8 sequences", "batch_decode_tok_s", threads, sequences=8, **quick)]],
        ),
        "load": ("process start to first token, and memory", ["Q4_K_M", "Q8_0"], [[Start("first token", threads)]]),
        "demo": (
            "decode of the demo model",
            None,
            [[decode("decode", 1, generate=128)], [decode("decode", generate=128)]],
        ),
        "threads": (
            f"{2 * threads} threads against {threads}",
            ["Q4_K_M"],
            [
                [prefill("prefill 128", **prompt), prefill("prefill 128", 2 * threads, **prompt)],
                [decode("decode", **quick), decode("decode", 2 * threads, **quick)],
            ],
        ),
    }


SLOW = ["prefill-4096", "decode-4096"]  # minutes for each pair: fewer of them


# ---- Measuring ----


def fastest_setting(condition, model, timeout):
    """Runs llama.cpp once with each of its settings; the fastest, and what each gave."""
    metric, better = next(iter(condition.metrics.items()))
    tried = []
    for settings in condition.choices:
        try:
            tried.append({"settings": settings, metric: condition.run("llama_cpp", model, settings, timeout)[metric]})
        except Unavailable as reason:
            tried.append({"settings": settings, metric: None, "reason": str(reason)})
    able = [one for one in tried if one[metric] is not None]
    if not able:
        return None, tried
    return (max if better == "higher" else min)(able, key=lambda one: one[metric])["settings"], tried


def measure(group, model, pairs, args):
    """Runs the pairs of a group of conditions; for each condition: settings, values by lane and pair, reasons where there are none."""
    results, chosen = [], {}
    for condition in group:
        # What differs only in disturbance keeps the setting of the quiet run.
        key = str(condition.choices)
        if key not in chosen:
            chosen[key] = fastest_setting(condition, model, args.timeout)
        settings, tried = chosen[key]
        results.append({"condition": condition, "settings": settings, "tried": tried, "values": {lane: [] for lane in LANES}, "reasons": {}})
        if settings is None:
            results[-1]["reasons"]["llama_cpp"] = tried[0]["reason"]
    busy = []
    for pair in range(pairs):
        for lane in LANES if pair % 2 == 0 else reversed(LANES):
            for result in results:
                if lane in result["reasons"]:
                    continue
                busy.append(both.busy_processors(args.pause))
                try:
                    result["values"][lane].append(result["condition"].run(lane, model, result["settings"], args.timeout))
                except Unavailable as reason:
                    result["reasons"][lane] = str(reason)
    return results, [one for one in busy if one is not None]


def figures(result, base, metric):
    """One line of the table: both lanes, the ratio of the pairs, and each lane's share of what it does in the condition `base`."""
    line, values = {}, {}
    for lane in LANES:
        series = [] if lane in result["reasons"] else [one[metric] for one in result["values"][lane]]
        known = [value for value in series if value is not None]
        values[lane], line[lane] = series, both.summary(known) if known else None
    whole = [pair for pair in zip(*values.values()) if None not in pair]
    line["ratio"] = both.ratios(*zip(*whole)) if whole else None
    line["of_base"] = None
    if base is not None:
        line["of_base"] = {}
        for lane in LANES:
            before = [one.get(metric_of(base)) for one in base["values"][lane]]
            shares = [] if lane in base["reasons"] else [a / b for a, b in zip(values[lane], before) if a and b]
            line["of_base"][lane] = both.summary(shares) if shares else None
    return line


def metric_of(result):
    return next(iter(result["condition"].metrics))


def measure_row(name, group, model, args, pairs):
    """The finished lines of one group for one model."""
    results, busy = measure(group, model, pairs, args)
    lines = []
    for index, result in enumerate(results):
        condition = result["condition"]
        for metric, better in condition.metrics.items():
            commands = {}
            for lane in LANES:
                with contextlib.suppress(Unavailable):
                    commands[lane] = both.portable(condition.command(lane, model, result["settings"] or []))
            line = {
                "row": name,
                "model": model.name,
                "condition": {"class": type(condition).__name__, **dataclasses.asdict(condition)},
                "metric": metric,
                "better": better,
                "pairs": pairs,
                **figures(result, results[0] if index else None, metric),
                "llama_cpp_settings": result["settings"],
                "llama_cpp_settings_tried": result["tried"],
                "not_available": result["reasons"] or None,
                "others_busy": both.summary(busy) if busy else None,  # processors that others used in the pauses before the runs
                "commands": commands,
            }
            lines.append((condition, line))
    return lines


def measure_limits(threads, repeats):
    """The machine's limits by number of threads."""
    program = native.limits()
    return {count: both.run([str(program), "-t", str(count), "-r", str(repeats)])["output"] for count in sorted(threads)}


def merge_limits(first, second):
    """Limits of two measurements as one: all samples, their median and largest."""
    merged = {}
    for count, before in first.items():
        merged[count] = dict(before)
        for key, value in before.items():
            if isinstance(value, dict):
                samples = value["samples"] + second[count][key]["samples"]
                merged[count][key] = {"samples": samples, "median": statistics.median(samples), "max": max(samples)}
    return merged


def add_limits(lines, models, limits, cache_bytes):
    """Sets `limit` of each line and both lanes' share of it."""
    for condition, line in lines:
        limit = condition.limit(model_facts.read(models[line["model"]]), limits, cache_bytes) if limits else None
        line["limit"] = limit
        line["share_of_limit"] = {lane: line[lane]["median"] / limit["tok_s"] if limit and line[lane] else None for lane in LANES}


# ---- Both engines must mean the same ----


def check_agreement(model, threads):
    """Both engines' most probable token behind CHECK_TEXT, and how far apart their logits are (llama.cpp's own two attentions too)."""
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "logits"

        def logits(*command):
            done = subprocess.run([str(part) for part in command] + ["--logits", str(file)], capture_output=True, text=True)
            if done.returncode != 0:
                raise Unavailable(both.failure(done.returncode, done.stderr))
            return np.fromfile(file, "<f4"), done

        common = ["-m", model, "-t", threads, "-c", 256]
        ours, done = logits(EXAMPLES / "generate", *OURS, "--ids", "--ignore-eos", "--stats", "-n", 1, "-p", CHECK_TEXT, *common)
        tokens_ours = json.loads(done.stderr.splitlines()[-1])["prompt_tokens"]
        theirs, done = logits(native.peer(), "first", "--text", CHECK_TEXT, "--flash", "on", *common)
        tokens_theirs = json.loads(done.stdout.splitlines()[-1])["prompt_tokens"]
        other, _ = logits(native.peer(), "first", "--text", CHECK_TEXT, "--flash", "off", *common)
    length = min(len(ours), len(theirs))
    second, first = np.partition(theirs, -2)[-2:]
    check = {
        "prompt_tokens": {"ours": tokens_ours, "llama_cpp": tokens_theirs},
        "top_1": {"ours": int(ours.argmax()), "llama_cpp": int(theirs.argmax())},
        "llama_cpp_lead": float(first - second),
        "rms_difference": float(np.sqrt(np.mean((ours[:length] - theirs[:length]) ** 2))),
        "llama_cpp_rms_between_attentions": float(np.sqrt(np.mean((theirs - other) ** 2))),
    }
    same = check["top_1"]["ours"] == check["top_1"]["llama_cpp"]
    check["passed"] = tokens_ours == tokens_theirs and (same or check["llama_cpp_lead"] <= CLEAR_GAP)
    return check


def checked(model, threads):
    """check_agreement with its warning; None where it can't be done."""
    try:
        check = check_agreement(model, threads)
    except Unavailable as reason:
        print(f"WARNING {model.name}: not known whether both engines give the same token: {reason}")
        return None
    if not check["passed"]:
        print(
            f"WARNING {model.name}: the engines differ: tokens {check['top_1']}, llama.cpp's lead {check['llama_cpp_lead']:.3f}, "
            f"rms difference {check['rms_difference']:.3f}, prompt {check['prompt_tokens']}"
        )
    return check


# ---- Printing ----


def scale(metric):
    """What a figure is divided by for printing, and its unit."""
    return {"first_token_s": (1e-3, "ms"), "peak_resident_bytes": (1e6, "MB"), "private_bytes": (1e6, "MB")}.get(metric, (1, "tok/s"))


def print_line(line):
    by, unit = scale(line["metric"])

    def lane(label, key):
        one = line[key]
        if one is None:
            return f"{label} not available ({(line['not_available'] or {}).get(key, 'not told')})"
        share = (line.get("share_of_limit") or {}).get(key)
        base = (line["of_base"] or {}).get(key)
        text = f"{label} {one['median'] / by:.1f} ({one['min'] / by:.1f}–{one['max'] / by:.1f})"
        text += f" = {share:.0%} of limit" if share is not None else ""
        return text + (f" = {base['median']:.2f} ({base['min']:.2f}–{base['max']:.2f}) of base" if base else "")

    ratio = line["ratio"]
    text = f"{ratio['ratio_median']:.3f} ({ratio['ratio_min']:.3f}–{ratio['ratio_max']:.3f})" if ratio else "–"
    limit = f"  limit {line['limit']['tok_s']:.1f} ({line['limit']['of']})" if line.get("limit") else ""
    settings = " ".join(line["llama_cpp_settings"] or [])
    what = {"first_token_s": "time", "peak_resident_bytes": "peak memory", "private_bytes": "private memory"}.get(line["metric"], "")
    label = f"{line['condition']['name']}, {line['condition']['threads']}t {what}".strip()
    print(
        f"{line['row']:13} {line['model'].removesuffix('.gguf'):22} {label:28} ratio {text:22} {unit}: {lane('ours', 'ours')}"
        f"  {lane('llama.cpp', 'llama_cpp')}{limit}  [{settings}]",
        flush=True,
    )
    if line["others_busy"] and line["others_busy"]["max"] > QUIET:
        print(f"WARNING: others used up to {line['others_busy']['max']:.1f} processors between these runs; the ratio may flatter us", flush=True)


def print_limits(limits):
    for threads, one in limits.items():
        values = [f"{key} {v['max']:.1f} (median {v['median']:.1f})" if v else f"{key} unknown" for key, v in one.items() if key.endswith("_s")]
        print(f"limits, {threads} threads: {', '.join(values)}", flush=True)


# ---- The command ----


def models_of(types, args):
    """The files that a row of these types is measured with; None is the demo model."""
    if types is None:
        return [DEMO]
    if args.model:
        return args.model
    found = []
    for shape in args.shapes:
        for kind in args.types or types:
            path = args.models / f"{shape}-{kind}.gguf"
            if path.exists():
                found.append(path)
            else:
                print(f"{path.name}: no file, left out")
    return found


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help="of those that --list names, separated by commas (default: all)")
    parser.add_argument("--list", action="store_true", help="print the rows and stop")
    parser.add_argument("--models", type=pathlib.Path, help="directory of make_models.py")
    parser.add_argument("--shapes", nargs="+", default=["tinyllama"])
    parser.add_argument("--types", nargs="+", help="instead of each row's own types")
    parser.add_argument("-m", "--model", type=pathlib.Path, action="append", help="these files instead, for every row")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--isa", help="instructions for ours, as bench_stats --isa: where llama.cpp was compiled for less than the machine has")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--slow-pairs", type=int, default=3, help=f"of {', '.join(SLOW)}")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds before each run")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that a run may take")
    parser.add_argument("--limit-repeats", type=int, default=7, help="of the machine's limits, before and again after the rows; 0: none")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benches/results", help="directory of the JSON result")
    args = parser.parse_args()
    if not args.list and not args.models and not args.model and args.rows != "demo":
        parser.error("--models or -m is needed")
    known = rows(args.threads)
    args.rows = args.rows.split(",") if args.rows else list(known)
    if unknown := set(args.rows) - set(known):
        parser.error(f"unknown rows: {', '.join(sorted(unknown))}")
    if args.isa:
        OURS.extend(["--isa", args.isa])
    return args, known


def our_version():
    """Our library's version and what of the processor it uses."""
    done = both.run([str(EXAMPLES / "bench_stats"), "--json", "-m", str(DEMO), "-p", "1", "-n", "0", "-r", "1", *OURS])
    return {key: done["output"].get(key) for key in ["version", "isa"]}


def main():
    args, known = parse()
    if args.list:
        for name, (about, types, _) in known.items():
            print(f"{name:13} {about}; {', '.join(types) if types else DEMO.name}")
        return
    if not (EXAMPLES / "bench_stats").exists():
        sys.exit("build our programs first: make -C c-examples")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a busy process is ended with us
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"table-{began.replace(':', '')}.json"
    document = {
        "schema": "loquat.table",
        "schema_version": 1,
        "time": began,
        "command": both.portable([pathlib.Path(__file__).resolve(), *sys.argv[1:]]),
        "host": both.host(),
        "versions": {"loquat": our_version(), **native.versions()},
        "limits": None,
        "checks": {},
    }
    cache_bytes, lines, models = document["host"]["last_level_cache_bytes"], [], {}

    def save(limits):
        add_limits(lines, models, limits, cache_bytes)
        document.update(limits=limits, lines=[line for _, line in lines])
        path.write_text(json.dumps(document, indent=1) + "\n")

    limits = measure_limits({1, args.threads}, args.limit_repeats) if args.limit_repeats else None
    print_limits(limits or {})
    for name in args.rows:
        _, types, groups = known[name]
        for model in models_of(types, args):
            if model.name not in models:
                models[model.name] = model
                document["checks"][model.name] = checked(model, args.threads)
            for group in groups:
                new = measure_row(name, group, model, args, args.slow_pairs if name in SLOW else args.pairs)
                lines += new
                save(limits)  # after each: a run that is broken off keeps what it has
                for _, line in new:
                    print_line(line)
    if limits:
        limits = merge_limits(limits, measure_limits({1, args.threads}, args.limit_repeats))
        print("with both measurements, shares in the file are of these:")
        print_limits(limits)
    save(limits)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
