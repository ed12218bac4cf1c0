#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same answers and the same numbers, to the last bit, from every instruction set: the program by itself with scalar code
and AVX2; in a cross build, where PACO is emulated and PACO_NATIVE is this machine's program, from another kind of processor.
BF16 weights are apart: their products are their own class with AVX-512's BF16 instructions, and everywhere else one."""
import json
import os
import subprocess

from counting import LETTERS, V, tokenizer_json
from tiny import EMULATED, PACO, case, config, finish, llama, paco, save, work

NATIVE = os.environ.get("PACO_NATIVE")
TYPES = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"]


def model():
    cfg = dict(config(vocab=V, hidden=256, layers=1, heads=4, kv_heads=2, ff=512), max_position_embeddings=256,
               eos_token_id=None)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "unk_token": "<unk>"}
    return save(work("model"), llama(cfg, spread=0.08), cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": settings})


def said(program, path, cpu, kv):
    """What a program makes of a model: text that was sampled, and how likely another text is."""
    common = ["-m", path, "--cpu", cpu, "--kv-type", kv, "-q", "--json"]
    text = work("text.txt")
    with open(text, "w", encoding="utf-8") as f:
        f.write((LETTERS + LETTERS[::-1]) * 3)
    answers = []
    for command in (["generate", "-p", "abc", "-n", "40", "--temp", "1", "--seed", "7", "--format", "raw"],
                    ["perplexity", "-f", text, "-c", "70"]):
        done = subprocess.run([program, *command, *common], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=250)
        answers.append(json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr})
    return {k: a.get(k) for a, keys in zip(answers, (["text", "failed"], ["nll", "n_scored", "failed"])) for k in keys}


def compare(what, want, got):
    case(what, want == got and want.get("failed") is None and want["n_scored"] and len(want["text"]) > 20, (want, got))


def main():
    source = model()
    for t in TYPES:
        path = work(t + ".gguf")
        made = paco("convert", source, "--out", path, "--type", t, "-q", timeout=250)
        case("%s: written" % t, made.returncode == 0, made.stderr)
        if NATIVE:
            other = subprocess.run([NATIVE, "convert", source, "--out", path + "-native.gguf", "--type", t, "-q"], capture_output=True)
            same = other.returncode == 0 and open(path, "rb").read() == open(path + "-native.gguf", "rb").read()
            case("%s: the same file from either processor" % t, same, other.stderr)
        kv = "q8_0" if t == "q5_0" else "f32" if t == "f32" else "f16"
        fast = said(PACO, path, "avx2" if t == "bf16" and not EMULATED else "native", kv)
        if NATIVE:
            compare("%s: the same from either processor" % t, said(NATIVE, path, "avx2" if t == "bf16" else "native", kv), fast)
        else:
            compare("%s: native is scalar" % t, said(PACO, path, "scalar", kv), fast)
            if not EMULATED:
                compare("%s: native is AVX2" % t, said(PACO, path, "avx2", kv), fast)


main()
finish()
