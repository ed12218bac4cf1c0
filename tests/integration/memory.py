#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peak resident memory of the streaming commands, whatever the model: 64 MiB for tens of thousands of tensors, for a row of
gigabytes, for transposed and for deflated shards. The large files are holes: they take no room on the disk."""
import json
import os
import struct
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import SANITIZED, case, config, finish, paco_json, work, write  # noqa: E402

LIMIT = 64 << 20
MANY = 2000 if SANITIZED else 20000
WIDE = 1 << 16 if SANITIZED else 512_000_000  # 2 GB in F32


def within(what, r):
    """Sanitizers have their own memory; there only that it works is asked."""
    case(what + ": within 64 MiB", r and (SANITIZED or r["peak_rss_bytes"] <= LIMIT), r and r["peak_rss_bytes"])


def holes(path, tensors, dtype, shards=1):
    """A safetensors model of zeros: name to shape."""
    os.makedirs(path)
    size = {"F32": 4, "F16": 2}[dtype]
    index = {}
    for s in range(shards):
        name = "model.safetensors" if shards == 1 else "model-%05d-of-%05d.safetensors" % (s + 1, shards)
        header, at = {}, 0
        for t in sorted(tensors)[s::shards]:
            n = size
            for d in tensors[t]:
                n *= d
            header[t] = {"dtype": dtype, "shape": tensors[t], "data_offsets": [at, at + n]}
            index[t] = name
            at += n
        text = json.dumps(header).encode()
        with open(os.path.join(path, name), "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            f.truncate(8 + len(text) + at)
    if shards > 1:
        write(os.path.join(path, "model.safetensors.index.json"), {"metadata": {}, "weight_map": index})
    write(os.path.join(path, "config.json"), config(vocab=8, hidden=8, layers=1, heads=2, kv_heads=2, ff=8))
    return path


def many_tensors():
    names = {"model.layers.%d.mlp.experts.%d.%s_proj.weight" % (i // 300, i // 3 % 100, ("gate", "up", "down")[i % 3]): [4, 16]
             for i in range(MANY)}
    raw, diff = holes(work("many", "raw"), names, "F16", 8), holes(work("many", "diff"), names, "F32", 8)
    out, binary = work("many", "out"), work("many", "bin")
    within("%d tensors, recover" % MANY, paco_json("recover", "--raw", raw, "--diff", diff, "--out", out))
    within("%d tensors, diff" % MANY, paco_json("diff", "--raw", raw, "--tuned", out, "--out", work("many", "again")))
    within("%d tensors, convert to .bin" % MANY, paco_json("convert", out, "--out", binary, "--to", "hf-bin"))
    within("%d tensors, convert from .bin" % MANY, paco_json("convert", binary, "--out", work("many", "back"), "--to", "hf"))
    within("%d tensors, verify" % MANY, paco_json("verify", out))
    within("%d tensors, verify --against .bin" % MANY, paco_json("verify", out, "--against", binary))


def one_row():
    """Also experts in one tensor, whose slices are tens of millions of elements. What is written is no hole: a twentieth of it."""
    for n, shape in ((2, lambda wide: [1, wide]), (3, lambda wide: [2, wide // 16, 8])):
        whole, part = shape(WIDE), shape(WIDE // 20 // 16 * 16)
        top = "row%d" % n
        within("a tensor %s, verify" % whole, paco_json("verify", holes(work(top, "whole"), {"x": whole}, "F32"), timeout=300))
        raw, diff = holes(work(top, "raw"), {"x": part}, "F16"), holes(work(top, "diff"), {"x": part}, "F32")
        r = paco_json("recover", "--raw", raw, "--diff", diff, "--out", work(top, "out"), "--dtype", "f16", timeout=300)
        within("a tensor %s, recover" % part, r)


def transposed(path, n_shards, n, deflated):
    """Shards of one F32 matrix each, n by n, stored by columns; a pickle written by hand, as torch.save would."""
    os.makedirs(path)
    index = {}
    for s in range(n_shards):
        name = "pytorch_model-%05d-of-%05d.bin" % (s + 1, n_shards)
        key = "model.layers.%d.mlp.up_proj.weight" % s
        out = b"\x80\x02}("
        out += b"X" + struct.pack("<I", len(key)) + key.encode()
        out += b"ctorch._utils\n_rebuild_tensor_v2\n("
        out += b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ" + struct.pack("<i", n * n) + b"tQ"
        out += b"K\x00" + (b"J" + struct.pack("<i", n)) * 2 + b"\x86" + b"K\x01J" + struct.pack("<i", n) + b"\x86"
        out += b"\x89ccollections\nOrderedDict\n)RtRu."
        with zipfile.ZipFile(os.path.join(path, name), "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as z:
            z.writestr("archive/data.pkl", out)
            z.writestr("archive/data/0", struct.pack("<%df" % n, *range(n)) * n)
            z.writestr("archive/version", "3\n")
        index[key] = name
    write(os.path.join(path, "pytorch_model.bin.index.json"), {"metadata": {}, "weight_map": index})
    write(os.path.join(path, "config.json"), config(vocab=8, hidden=8, layers=1, heads=2, kv_heads=2, ff=8))
    return path


def shards():
    n = 64 if SANITIZED else 1024
    for what, deflated in (("stored", False), ("deflated", True)):
        raw, diff = transposed(work(what, "raw"), 8, n, deflated), transposed(work(what, "diff"), 8, n, deflated)
        r = paco_json("recover", "--raw", raw, "--diff", diff, "--out", work(what, "out"), timeout=300)
        within("8 and 8 transposed shards, %s" % what, r)
        with open(os.path.join(work(what, "out"), "model.safetensors"), "rb") as f:
            size, = struct.unpack("<Q", f.read(8))
            f.seek(8 + size + 4 * n * 5)
            row = struct.unpack("<%df" % n, f.read(4 * n))
        case("and the sum is right", row == (10.0,) * n, row[:8])


many_tensors()
one_row()
shards()
finish()
