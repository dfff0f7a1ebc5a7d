#!/usr/bin/env python3
"""Round the matrices of a Hugging Face folder's F32 model.safetensors to F16, as GGUF's F16 files do; norms stay F32.

  python half_hf.py --hf ../hf

This is how the shipped folder is made from the exact one that export.py writes (half the bytes; the F32 GGUF keeps the exact
weights). Rounding is to nearest, ties to even: the matrices are bit for bit those of emberfield-3m-f16.gguf, up to the
order of rows in q_proj and k_proj.
"""
import argparse
import json
import struct

import numpy as np


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--hf", default="../hf")
    path = ap.parse_args().hf
    with open(f"{path}/model.safetensors", "rb") as f:
        raw = f.read()
    length = struct.unpack("<Q", raw[:8])[0]
    header, body = json.loads(raw[8:8 + length]), raw[8 + length:]
    out = {"__metadata__": header.pop("__metadata__", {"format": "pt"})}
    parts, at = [], 0
    for name, info in sorted(header.items(), key=lambda kv: kv[1]["data_offsets"][0]):
        begin, end = info["data_offsets"]
        data, dtype = body[begin:end], info["dtype"]
        if dtype == "F32" and len(info["shape"]) == 2:
            data, dtype = np.frombuffer(data, "<f4").astype("<f2").tobytes(), "F16"
        out[name] = {"dtype": dtype, "shape": info["shape"], "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(out, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{path}/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
    with open(f"{path}/config.json", encoding="utf-8") as f:
        config = json.load(f)
    config["torch_dtype"] = "float16"
    with open(f"{path}/config.json", "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2, ensure_ascii=False)
        f.write("\n")


if __name__ == "__main__":
    main()
