# SPDX-License-Identifier: Apache-2.0
"""Small models on disk, and a way to run paco on them: what the Python integration scripts share. Standard library only.

    from tiny import case, finish, llama, paco, save, work

A model is a dict from names to tensors; a tensor is (dtype, shape, bytes).
"""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

PACO = os.environ.get("PACO") or sys.exit("PACO is not set")
SANITIZED = "PACO_SANITIZED" in os.environ
EMULATED = bool(os.environ.get("PACO_EMULATED"))
FORMATS = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "U8": "B"}
failures = 0


def case(what, ok, detail=""):
    """Print one verdict."""
    global failures
    print(("ok - " if ok else "not ok - ") + what, flush=True)
    if not ok:
        failures += 1
        print("# " + str(detail).replace("\n", "\n# ")[-2000:], flush=True)
    return ok


def failures_so_far():
    return failures


def finish():
    sys.exit(1 if failures else 0)


_top = None


def work(*parts):
    """A path under a directory that lives as long as the script."""
    global _top
    if _top is None:
        _top = tempfile.TemporaryDirectory(prefix="paco-test.")
    path = os.path.join(_top.name, *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def paco(*args, timeout=60, **kw):
    """Run paco; returns CompletedProcess with text."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PACO_")}
    env["HF_HUB_OFFLINE"] = "1"
    if "input" not in kw:
        kw["stdin"] = subprocess.DEVNULL
    return subprocess.run([PACO, *map(str, args)], capture_output=True, text=True, errors="replace",
                          timeout=timeout, env=env, **kw)


def until_caught(p, number):
    """Wait until a running process has a handler for a signal."""
    caught = False
    while p.poll() is None and not caught:
        time.sleep(0.002)
        with open("/proc/%d/status" % p.pid) as f:
            caught = any(line.startswith("SigCgt:") and int(line.split()[1], 16) >> (number - 1) & 1 for line in f)
    if EMULATED:  # the emulator catches signals from the start
        time.sleep(2)


def paco_json(*args, code=0, **kw):
    """Run paco with --json; the parsed line, or None with a failed case when the exit status is another one."""
    done = paco(*args, "--json", **kw)
    if done.returncode != code:
        case("exit status %d of paco %s" % (code, " ".join(map(str, args))), False, "exit %d\n%s" % (done.returncode, done.stderr))
        return None
    try:
        return json.loads(done.stdout)
    except ValueError:
        case("JSON from paco %s" % " ".join(map(str, args)), False, done.stdout)
        return None


def tensor(dtype, shape, values):
    """A tensor from numbers. BF16 numbers are cut, not rounded: give numbers it holds."""
    values = list(values)
    if dtype == "BF16":
        data = b"".join(struct.pack("<f", v)[2:] for v in values)
    else:
        data = struct.pack("<%d%s" % (len(values), FORMATS[dtype]), *values)
    return dtype, list(shape), data


def floats(t):
    """The numbers of a tensor."""
    dtype, _, data = t
    if dtype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    code = FORMATS[dtype]
    return list(struct.unpack("<%d%s" % (len(data) // struct.calcsize(code), code), data))


def f32(x):
    """x rounded to F32."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def config(vocab=32, hidden=8, layers=2, heads=2, kv_heads=1, ff=16, tied=False):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": ff,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": tied,
            "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}


def llama(cfg, dtype="F32", seed=1, spread=0.02, norm=1.0):
    """Seeded random weights for a configuration."""
    r = random.Random(seed)
    model = {}

    def matrix(name, rows, cols):
        model[name] = tensor(dtype, [rows, cols], (struct.unpack("<f", b"\0\0" + struct.pack("<f", r.gauss(0, spread))[2:])[0]
                                                   for _ in range(rows * cols)))

    def vector(name, n):
        model[name] = tensor(dtype, [n], (norm for _ in range(n)))

    h, ff = cfg["hidden_size"], cfg["intermediate_size"]
    kv = h // cfg["num_attention_heads"] * cfg["num_key_value_heads"]
    matrix("model.embed_tokens.weight", cfg["vocab_size"], h)
    for i in range(cfg["num_hidden_layers"]):
        p = "model.layers.%d." % i
        matrix(p + "self_attn.q_proj.weight", h, h)
        matrix(p + "self_attn.k_proj.weight", kv, h)
        matrix(p + "self_attn.v_proj.weight", kv, h)
        matrix(p + "self_attn.o_proj.weight", h, h)
        matrix(p + "mlp.gate_proj.weight", ff, h)
        matrix(p + "mlp.down_proj.weight", h, ff)
        matrix(p + "mlp.up_proj.weight", ff, h)
        vector(p + "input_layernorm.weight", h)
        vector(p + "post_attention_layernorm.weight", h)
    vector("model.norm.weight", h)
    if not cfg["tie_word_embeddings"]:
        matrix("lm_head.weight", cfg["vocab_size"], h)
    return model


def safetensors(model, metadata=None):
    """The bytes of a safetensors file."""
    header, at = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in model.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in model.values())


def load(path):
    """Read a safetensors file, or the single one in a directory."""
    if os.path.isdir(path):
        path = os.path.join(path, "model.safetensors")
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in header.items()}


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if isinstance(content, (dict, list)):
        content = json.dumps(content, indent=2)
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    return path


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def tree(folder):
    """Every file's bytes but the times."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            if name != "timing.json":
                with open(os.path.join(at, name), "rb") as f:
                    found[os.path.relpath(os.path.join(at, name), folder)] = f.read()
    return found


def save(path, model, cfg=None, files=None):
    """Write a Hugging Face directory of one shard; returns its path."""
    shutil.rmtree(path, ignore_errors=True)
    write(os.path.join(path, "model.safetensors"), safetensors(model))
    if cfg is not None:
        write(os.path.join(path, "config.json"), cfg)
    for name, content in (files or {}).items():
        write(os.path.join(path, name), content)
    return path


def gguf(metadata, tensors):
    """The bytes of a GGUF v3 file. metadata: key to (type, value), types "u32", "f32", "bool", "str", ["str"], ["i32"], ["f32"];
    tensors: name to (GGML type, shape rows first, bytes)."""
    codes = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?")}

    def text(s):
        raw = s if isinstance(s, bytes) else s.encode()
        return struct.pack("<Q", len(raw)) + raw

    def value(kind, v):
        if kind == "str":
            return text(v)
        return struct.pack(codes[kind][1], v)

    out = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for key, (kind, v) in metadata.items():
        out += text(key)
        if isinstance(kind, list):
            inner = 8 if kind[0] == "str" else codes[kind[0]][0]
            out += struct.pack("<IIQ", 9, inner, len(v)) + b"".join(value(kind[0], x) for x in v)
        else:
            out += struct.pack("<I", 8 if kind == "str" else codes[kind][0]) + value(kind, v)
    data = b""
    for name, (ggml, shape, raw) in tensors.items():
        data += b"\0" * (-len(data) % 32)
        out += text(name) + struct.pack("<I%dQIQ" % len(shape), len(shape), *reversed(shape), ggml, len(data))
        data += raw
    return out + b"\0" * (-len(out) % 32) + data
