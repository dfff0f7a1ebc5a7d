#!/usr/bin/env python3
"""Compare logits with llama.cpp on the same files and token ids.

    cargo build --release --example logits
    quality.py --models DIR tinyllama qwen3-0.6b [--types Q8_0 Q4_K_M …] [--work DIR] [--out results.json]

For each shape, with DIR from make_models.py:
  F16     cosine of our logits with llama.cpp's at every position; the smallest must reach 0.9999.
  others  mean KL divergence from llama.cpp's F16 logits, of ours and of llama.cpp's own logits of the quantised file; ours must
          not pass 1.1 times its.
  all     the same top-1 token at every position where llama.cpp's two largest logits of that file differ by more than 0.1.
          Where that fails, the row under it says how far llama.cpp is from itself with flash attention switched.

--exact judges top-1 by a third party instead: the same file with every weight in F32 (exact.py), run by llama.cpp with an F32
cache, has no 8-bit activations. Each engine's logits of the quantised file have a distance from those exact ones. Verdicts:
  distance   the RMS of ours must not pass 1.1 times llama.cpp's.
  faults     no position where llama.cpp has the exact top-1 token, we have another, and the exact lead is larger than 5 times
             the RMS by which llama.cpp's activations move such leads in that file (README.md says why 5).
  F32 file   our logits of it differ from the exact ones by at most 0.001, with the same top-1 where they lead by over 0.01.
The raw disagreements stay in the output, with who of both has the exact token. A file takes 4 bytes per weight in --work for
the time of its row.
Exit status 1 where a verdict fails.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import exact
import numpy as np
import statistic

HERE = pathlib.Path(__file__).resolve().parent
TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K"]
LEAST_COSINE, MOST_KL_RATIO, CLEAR_GAP = 0.9999, 1.1, 0.1
MOST_DISTANCE_RATIO, MOVED_BY_ACTIVATIONS = 1.1, 5
MOST_F32_DIFFERENCE, CLEAR_F32_GAP = 1e-3, 0.01


def run(command):
    """The JSON object that `command` prints; its failure is ours."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


class Lanes:
    """Both engines on the same ids. llama.cpp's logits are kept in `work`, ours are computed anew."""

    def __init__(self, args, work):
        self.args, self.work = args, work

    def peer_command(self, *more):
        return [sys.executable, HERE / "peer.py", *more]

    def peer(self, model, ids, flash=None):
        flash = flash or self.args.flash
        flags = f"{flash}{'-norepack' if self.args.no_repack else ''}"
        out = self.work / f"{model.stem}-{self.args.positions}-{self.args.seed}-{flags}.npy"
        if not out.exists():
            partial = out.with_name("partial.npy")
            command = self.peer_command("logits", "-m", model, "-t", self.args.threads, "--ids", ids, "--out", partial)
            run([*command, "--flash", flash, *(["--no-repack"] if self.args.no_repack else [])])
            partial.rename(out)
        return np.load(out)

    def ours(self, model, ids, kv="f16"):
        out = self.work / "ours.f32"
        info = run([self.args.ours, model, ids, out, "--threads", self.args.threads, "--kv", kv])
        return np.fromfile(out, "<f4").reshape(info["positions"], info["n_vocab"]), info

    def exact(self, model, ids):
        """llama.cpp's and our logits of `model` with all weights in F32, cache in F32."""
        f32 = self.work / f"{model.stem}-in-F32.gguf"
        out = self.work / f"{model.stem}-{self.args.positions}-{self.args.seed}-exact.npy"
        try:
            exact.write(model, f32)
            if not out.exists():
                partial = out.with_name("partial.npy")
                options = ["-t", self.args.threads, "--ids", ids, "--out", partial, "--kv", "f32", "--flash", "off"]
                run(self.peer_command("logits", "-m", f32, *options))
                partial.rename(out)
            return np.load(out), self.ours(f32, ids, "f32")[0]
        finally:
            f32.unlink(missing_ok=True)


def write_ids(path, n_vocab, positions, seed):
    """Seeded random ids, past the control tokens that stand first in most vocabularies."""
    rng = random.Random(seed)
    path.write_text(" ".join(str(rng.randrange(min(300, n_vocab - 1), n_vocab)) for _ in range(positions)) + "\n")


def vocabulary_size(model):
    import llama

    return llama.Engine(model, 1, vocab_only=True).n_vocab


def top_1(reference, other, gap=CLEAR_GAP):
    clear, wrong = statistic.top_1_disagreements(reference, other, gap)
    return {"clear_positions": clear, "agreeing": clear - len(wrong), "disagreements_lead": wrong, "passed": not wrong}


def spread(values):
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "p99": float(statistic.percentile(values.tolist(), 99)),
        "max": float(values.max()),
    }


def against_exact(exact_logits, theirs, ours):
    """Both engines' logits of one file against exact ones."""
    token, lead = exact_logits.argmax(axis=1), statistic.leads(exact_logits)
    right_theirs, right_ours = theirs.argmax(axis=1) == token, ours.argmax(axis=1) == token
    moved_theirs, moved_ours = (statistic.lead_movement(exact_logits, logits) for logits in (theirs, ours))
    most_moved = MOVED_BY_ACTIVATIONS * statistic.rms(moved_theirs)
    distance_theirs, distance_ours = (statistic.rms(logits - exact_logits) for logits in (theirs, ours))
    who = {(True, True): "both", (True, False): "ours", (False, True): "llama.cpp", (False, False): "neither"}
    judged = right_theirs & (lead > most_moved)

    def disagreements(leader, other):
        _, wrong = statistic.top_1_disagreements(leader, other, CLEAR_GAP)
        return [
            {"position": i, "lead": gap, "exact_lead": float(lead[i]), "has_exact_token": who[bool(right_ours[i]), bool(right_theirs[i])]}
            for i, gap in wrong
        ]

    row = {
        "distance_ours": distance_ours,
        "distance_llama_cpp": distance_theirs,
        "distance_ratio": distance_ours / distance_theirs if distance_theirs else None,
        "kl_ours": spread(statistic.kl_divergence(exact_logits, ours)),
        "kl_llama_cpp": spread(statistic.kl_divergence(exact_logits, theirs)),
        "top_1_changed_ours": int((~right_ours).sum()),
        "top_1_changed_llama_cpp": int((~right_theirs).sum()),
        "only_ours_exact": int((right_ours & ~right_theirs).sum()),
        "only_llama_cpp_exact": int((right_theirs & ~right_ours).sum()),
        "largest_lead_changed_ours": float(lead[~right_ours].max(initial=0)),
        "largest_lead_changed_llama_cpp": float(lead[~right_theirs].max(initial=0)),
        "lead_moved_rms_ours": statistic.rms(moved_ours),
        "lead_moved_rms_llama_cpp": statistic.rms(moved_theirs),
        "lead_moved_max_ours": float(moved_ours.max()),
        "lead_moved_max_llama_cpp": float(moved_theirs.max()),
        # A lead speaks for the token of the engine that has it, so each list alone favours its leader.
        "disagreements_llama_cpp_leads": disagreements(theirs, ours),
        "disagreements_ours_leads": disagreements(ours, theirs),
        "fault_above_lead": most_moved,
        "positions_above": int(judged.sum()),
        "faults": [(int(i), float(lead[i])) for i in np.flatnonzero(judged & ~right_ours)],
    }
    row["passed"] = distance_ours <= MOST_DISTANCE_RATIO * distance_theirs and not row["faults"]
    return row


def judge_exactly(lanes, model, ids, theirs, ours):
    exact_logits, ours_f32 = lanes.exact(model, ids)
    row = against_exact(exact_logits, theirs, ours)
    difference = float(np.abs(ours_f32 - exact_logits).max())
    row["f32_file"] = {"max_abs_difference": difference, "top_1": top_1(exact_logits, ours_f32, CLEAR_F32_GAP)}
    row["f32_file"]["passed"] = difference <= MOST_F32_DIFFERENCE and row["f32_file"]["top_1"]["passed"]
    row["passed"] &= row["f32_file"]["passed"]
    return row


def compare_f16(lanes, model, ids):
    reference = lanes.peer(model, ids)
    ours, info = lanes.ours(model, ids)
    cosines = statistic.cosine(reference, ours)
    row = {
        "type": "F16",
        "isa": info["isa"],
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
        "max_abs_difference": float(np.abs(reference - ours).max()),
        "kl": spread(statistic.kl_divergence(reference, ours)),
        "top_1": top_1(reference, ours),
    }
    if lanes.args.exact:
        row["exact"] = judge_exactly(lanes, model, ids, reference, ours)
    row["passed"] = row["cosine_min"] >= LEAST_COSINE and row.get("exact", row["top_1"])["passed"]
    return row, reference


def compare_quantised(lanes, kind, model, ids, reference):
    theirs = lanes.peer(model, ids)
    ours, info = lanes.ours(model, ids)
    kl_theirs, kl_ours = (spread(statistic.kl_divergence(reference, logits)) for logits in (theirs, ours))
    ratio = kl_ours["mean"] / kl_theirs["mean"] if kl_theirs["mean"] else None
    row = {
        "type": kind,
        "isa": info["isa"],
        "kl_ours": kl_ours,
        "kl_llama_cpp": kl_theirs,
        "kl_ratio": ratio,
        "cosine_min": float(statistic.cosine(theirs, ours).min()),
        "rms_difference": float(np.sqrt(np.mean((theirs - ours) ** 2))),
        "top_1": top_1(theirs, ours),
    }
    if lanes.args.exact:
        row["exact"] = judge_exactly(lanes, model, ids, theirs, ours)
    row["passed"] = ratio is not None and ratio <= MOST_KL_RATIO and row.get("exact", row["top_1"])["passed"]
    if not row["top_1"]["passed"]:
        row["llama_cpp_against_itself"] = own_noise(lanes, model, ids, theirs)
    return row


def own_noise(lanes, model, ids, theirs):
    """How far llama.cpp is from itself when only its attention changes: the measure for a disagreement near the limit."""
    other = lanes.peer(model, ids, flash="on" if lanes.args.flash == "off" else "off")
    return {"rms_difference": float(np.sqrt(np.mean((theirs - other) ** 2))), "top_1": top_1(theirs, other)}


def print_row(shape, row):
    agreement = f"{row['top_1']['agreeing']}/{row['top_1']['clear_positions']}"
    verdict = "pass" if row["passed"] else "FAIL"
    if row["type"] == "F16":
        figures = f"cosine min {row['cosine_min']:.7f}  max |d| {row['max_abs_difference']:.4f}  KL {row['kl']['mean']:.2e}"
    else:
        figures = f"KL ours {row['kl_ours']['mean']:.6f}  llama.cpp {row['kl_llama_cpp']['mean']:.6f}  ratio {row['kl_ratio']:.3f}  rms d {row['rms_difference']:.3f}"
    leads = "".join(f"  lead {lead:.3f} at {position}" for position, lead in row["top_1"]["disagreements_lead"])
    print(f"{shape:14} {row['type']:7} {figures}  top-1 {agreement:9} {verdict}{leads}", flush=True)
    if "llama_cpp_against_itself" in row:
        noise = row["llama_cpp_against_itself"]
        leads = "".join(f"  lead {lead:.3f} at {position}" for position, lead in noise["top_1"]["disagreements_lead"])
        print(f"{'':22} llama.cpp against itself, other attention: rms d {noise['rms_difference']:.3f}{leads or '  same top-1'}", flush=True)
    if "exact" in row:
        print_exact(row["exact"])


def print_exact(row):
    """Figures of both engines stand as ours / llama.cpp's."""
    f32, indent = row["f32_file"], " " * 22
    print(
        f"{indent} exact: distance {row['distance_ours']:.4f} / {row['distance_llama_cpp']:.4f}, ratio {row['distance_ratio']:.3f}"
        f"  KL {row['kl_ours']['mean']:.6f} / {row['kl_llama_cpp']['mean']:.6f}"
        f"  leads moved rms {row['lead_moved_rms_ours']:.3f} / {row['lead_moved_rms_llama_cpp']:.3f}"
        f" max {row['lead_moved_max_ours']:.3f} / {row['lead_moved_max_llama_cpp']:.3f}"
    )
    print(
        f"{indent} top-1 changed {row['top_1_changed_ours']} / {row['top_1_changed_llama_cpp']}"
        f", up to lead {row['largest_lead_changed_ours']:.3f} / {row['largest_lead_changed_llama_cpp']:.3f}"
        f"  where both differ {row['only_ours_exact']} / {row['only_llama_cpp_exact']} exact"
        f"  faults above lead {row['fault_above_lead']:.3f}: {len(row['faults'])}/{row['positions_above']}"
        f"  F32 file max |d| {f32['max_abs_difference']:.6f}, top-1 {f32['top_1']['agreeing']}/{f32['top_1']['clear_positions']}"
    )
    for leader in ("llama_cpp", "ours"):
        for one in row[f"disagreements_{leader}_leads"]:
            leads = f"{leader.replace('_', '.')} leads by {one['lead']:.3f}, exact lead {one['exact_lead']:.3f}"
            print(f"{indent} at {one['position']}: {leads}: {one['has_exact_token']} exact")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="+", metavar="SHAPE")
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--types", nargs="*", default=TYPES, help="those whose file is missing are named and left out")
    parser.add_argument("--ours", type=pathlib.Path, default=HERE.parent.parent / "target/release/examples/logits")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--positions", type=int, default=256)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--flash", default="auto", choices=["auto", "on", "off"], help="llama.cpp's flash attention")
    parser.add_argument("--no-repack", action="store_true", help="llama.cpp without repacked weights")
    parser.add_argument("--exact", action="store_true", help="judge top-1 by the same weights in F32")
    parser.add_argument("--work", type=pathlib.Path, help="keep llama.cpp's logits here for the next run")
    parser.add_argument("--out", type=pathlib.Path, help="write all figures as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        lanes, results = Lanes(args, work), {}
        for shape in args.shapes:
            model, ids = args.models / f"{shape}-F16.gguf", work / f"{shape}.ids"
            write_ids(ids, vocabulary_size(model), args.positions, args.seed)
            row, reference = compare_f16(lanes, model, ids)
            results[shape] = [row]
            print_row(shape, row)
            for kind in args.types:
                path = args.models / f"{shape}-{kind}.gguf"
                if not path.exists():
                    print(f"{shape:14} {kind:7} skipped: no file")
                    continue
                row = compare_quantised(lanes, kind, path, ids, reference)
                results[shape].append(row)
                print_row(shape, row)
        if args.out:
            peer = run(lanes.peer_command("version"))
            settings = {"positions": args.positions, "seed": args.seed, "threads": args.threads, "flash": args.flash, "exact": args.exact}
            document = {"schema": "loquat.quality", "schema_version": 1, "llama_cpp": peer, "settings": settings, "results": results}
            args.out.write_text(json.dumps(document, indent=1) + "\n")
    failed = [f"{shape} {row['type']}" for shape, rows in results.items() for row in rows if not row["passed"]]
    print("all passed" if not failed else f"failed: {', '.join(failed)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
