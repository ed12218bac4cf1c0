#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""beside.py MODEL [--adapters N] [--rank R,..] [--batch B,..] [--pairs P] [--diff DIR].. [--json]: what fine-tunes cost that share a batch.

N adapters of all seven matrices of a layer, of random numbers, are made in a temporary folder for each rank; `paco bench --beside`
then writes with B sequences of the base, and again with B sequences that take the adapters in turn: a pair. The ratio of the two
speeds is taken pair by pair, for whatever else the machine does meets both; its median counts, and how far the quartiles are apart
is said. --diff measures these folders (diffs or adapters) in place of the adapters. Standard library only.
"""
import argparse
import array
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PACO = os.environ.setdefault("PACO", os.path.join(HERE, "..", "build", "paco"))


def shapes(model):
    """(layers, [(module, n_out, n_in)]) of a model."""
    done = subprocess.run([PACO, "inspect", "--json", model], capture_output=True, text=True, check=True)
    tensors = {t["name"]: t["shape"] for t in json.loads(done.stdout)["tensors"]}
    names = [n[len("model.layers.0."):-len(".weight")] for n in tensors if n.startswith("model.layers.0.") and n.endswith("_proj.weight")]
    return sum(n.endswith("input_layernorm.weight") for n in tensors), [(n, *tensors["model.layers.0.%s.weight" % n]) for n in sorted(names)]


def adapter(folder, layers, modules, rank, seed):
    """A PEFT adapter of numbers like those of a trained one, in F32."""
    r = random.Random(seed)
    some = array.array("f", (r.gauss(0, 0.02) for _ in range(65537)))
    header, size = {}, 0
    for i in range(layers):
        for name, n_out, n_in in modules:
            for part, shape in (("A", [rank, n_in]), ("B", [n_out, rank])):
                n = 4 * shape[0] * shape[1]
                header["base_model.model.model.layers.%d.%s.lora_%s.weight" % (i, name, part)] = {
                    "dtype": "F32", "shape": shape, "data_offsets": [size, size + n]}
                size += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(folder)
    with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        block = some.tobytes()
        f.write((block * (size // len(block) + 1))[:size])
    with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as f:
        json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": [n.split(".")[1] for n, _, _ in modules]}, f)
    return folder


def pair(model, folders, batch, decode, more):
    """Tokens a second of the base, and of the fine-tunes mixed; bytes they take."""
    beside = [a for f in folders for a in ("--beside", f)]
    done = subprocess.run([PACO, "bench", "-q", "-m", model, "--batch", str(batch), "--decode", str(decode), "--repeat", "3", "--json", *beside, *more],
                          capture_output=True, text=True, check=True)
    r = json.loads(done.stdout)
    base, mixed = (row["tok_s"] for row in r["rows"])
    return base, mixed, r["beside_bytes"]


def measure(a, what, folders, out):
    for batch in a.batch:
        pairs = [pair(a.model, folders, batch, a.decode, ["--dtype", "f32"] if a.f32 else []) for _ in range(a.pairs)]
        ratios = sorted(m / b for b, m, _ in pairs)
        row = {"what": what, "batch": batch, "base_tok_s": statistics.median(b for b, _, _ in pairs), "mixed_tok_s": statistics.median(m for _, m, _ in pairs),
               "ratio": statistics.median(ratios), "quartiles": [ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]], "bytes": pairs[0][2]}
        out.append(row)
        if not a.json:
            print("%-24s batch %3d: base %7.1f, mixed %7.1f tok/s, ratio %.3f (%.3f to %.3f), %.1f MB" % (
                what, batch, row["base_tok_s"], row["mixed_tok_s"], row["ratio"], *row["quartiles"], row["bytes"] * 1e-6), flush=True)


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("model")
    p.add_argument("--adapters", type=int, default=8)
    p.add_argument("--rank", type=numbers, default=[8, 16])
    p.add_argument("--batch", type=numbers, default=[8, 16, 32])
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--decode", type=int, default=24)
    p.add_argument("--diff", action="append", default=[])
    p.add_argument("--f32", action="store_true", help="by plain F32 arithmetic")
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    out = []
    if a.diff:
        measure(a, "%d folders" % len(a.diff), a.diff, out)
    else:
        layers, modules = shapes(a.model)
        for rank in a.rank:
            with tempfile.TemporaryDirectory() as d:
                folders = [adapter(os.path.join(d, str(i)), layers, modules, rank, i) for i in range(a.adapters)]
                measure(a, "%d adapters of rank %d" % (a.adapters, rank), folders, out)
    if a.json:
        print(json.dumps(out))


if __name__ == "__main__":
    sys.exit(main())
