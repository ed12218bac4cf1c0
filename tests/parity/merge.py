#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco merge against PEFT: adapters of every kind a merge understands, made with PEFT and merged by both.

Each tensor is held against `merge_and_unload` within a few ulps (PyTorch's product sums in another order), and, for
updated matrices, bit for bit against the order that docs/formats/adapter.md promises.
"""
import json
import math
import re

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from common import case, equal, expect, finish, note, paco, work
from peft_models import adapter, tiny

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = ATTENTION + ["gate_proj", "up_proj", "down_proj"]


def peft_merge(base, folder, resize=None):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if resize:
        model.resize_token_embeddings(resize)
    merged = PeftModel.from_pretrained(model, folder).merge_and_unload()
    return {k: v.detach().float() for k, v in merged.state_dict().items()}


def documented(w, a, b, scale):
    """W + scale * B A: products rounded, k ascending, then the scale, then the sum; all in float32."""
    w, a, b = (np.asarray(x, dtype=np.float32) for x in (w, a, b))
    acc = np.zeros_like(w)
    for k in range(a.shape[0]):
        acc += b[:, k:k + 1] * a[k:k + 1, :]
    return w + acc * np.float32(scale)


def factors_of(folder):
    """module: (A, B, scale) of what the folder updates, turned to the base's orientation."""
    config = json.loads((folder / "adapter_config.json").read_text())
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path) if path.exists() else torch.load(folder / "adapter_model.bin", weights_only=True)
    out = {}
    for key, a in tensors.items():
        m = re.fullmatch(r"base_model\.model\.(.*)\.lora_(embedding_)?A(\.weight)?", key)
        if not m:
            continue
        b = tensors[key.replace("lora_embedding_A", "lora_embedding_B").replace("lora_A", "lora_B")]
        rank = next((v for k, v in (config.get("rank_pattern") or {}).items() if re.match(r"(.*\.)?(%s)$" % k, m[1])), config["r"])
        alpha = next((v for k, v in (config.get("alpha_pattern") or {}).items() if re.match(r"(.*\.)?(%s)$" % k, m[1])), config["lora_alpha"])
        equal("rank of " + m[1], a.shape[0], rank)
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        out[m[1]] = (a.float().numpy(), b.float().numpy(), scale, bool(m[2]))
    return out


def compare(base, folder, out, want):
    got = load_file(out / "model.safetensors")
    tied = "lm_head.weight" not in got
    equal("names", sorted(got), sorted(k for k in want if not (tied and k == "lm_head.weight")))
    worst = 0.0
    for k, v in got.items():
        equal(k + " shape", tuple(v.shape), tuple(want[k].shape))
        error = (v.float() - want[k]).abs()
        bound = 3e-6 * (want[k].abs() + 1)
        expect(bool((error <= bound).all()), "%s differs by %g" % (k, float(error.max())))
        worst = max(worst, float(error.max()))
    original = load_file(base / "model.safetensors")
    saved = load_file(folder / "adapter_model.safetensors") if (folder / "adapter_model.safetensors").exists() else {}
    n_exact = 0
    for module, (a, b, scale, turned) in factors_of(folder).items():
        w = saved.get("base_model.model.%s.base_layer.weight" % module, original.get(module + ".weight"))
        w = w.float().numpy()
        exact = documented(w.T, a, b, scale).T if turned else documented(w, a, b, scale)
        expect(np.array_equal(exact, got[module + ".weight"].numpy()), module + ": not the documented order")
        n_exact += 1
    note("largest difference to PEFT %.3g; %d matrices bit-equal to the documented order" % (worst, n_exact))


def run(name, base=None, resize=None, flags=(), **kw):
    with case("merge: " + name):
        where = name.replace(" ", "-").replace("/", "-")
        base = base() if base else tiny(where)
        folder = adapter(base, where, resize=resize, **kw)
        out = work(where) / "out"
        paco("merge", "-m", base, "--adapter", folder, "--out", out, *flags)
        compare(base, folder, out, peft_merge(base, folder, resize))
        model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)  # Transformers takes the folder as it is
        equal("vocab_size", model.config.vocab_size, model.get_input_embeddings().weight.shape[0])


def refused():
    with case("merge: DoRA is refused by name"):
        base = tiny("dora")
        folder = adapter(base, "dora", r=4, target_modules=["q_proj"], use_dora=True)
        outcome = paco("merge", "-m", base, "--adapter", folder, "--out", work("dora") / "out", code=1)
        expect("DoRA" in outcome.stderr, outcome.stderr)
        expect(not (work("dora") / "out").exists(), "an output was left")


def narrow():
    with case("merge: --dtype keep writes the base's type"):
        base = tiny("keep", dtype=torch.bfloat16)
        folder = adapter(base, "keep", r=4, lora_alpha=8, target_modules=ATTENTION)
        paco("merge", "-m", base, "--adapter", folder, "--out", work("keep") / "f32")
        paco("merge", "-m", base, "--adapter", folder, "--out", work("keep") / "out", "--dtype", "keep")
        full, got = load_file(work("keep") / "f32" / "model.safetensors"), load_file(work("keep") / "out" / "model.safetensors")
        for k, v in got.items():
            equal(k, v.dtype, torch.bfloat16)
            expect(torch.equal(v, full[k].to(torch.bfloat16)), k + " is not the F32 result rounded")


def upstream_names():
    with case("merge: upstream's flags, the base from the adapter's configuration, .bin out"):
        base = tiny("names")
        folder = adapter(base, "names", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
        out = work("names") / "out"
        paco("merge", "--lora_model_name_or_path", folder, "--output_dir", out, "--format", "bin")
        got, want = torch.load(out / "pytorch_model.bin", weights_only=True), peft_merge(base, folder)
        for k, v in got.items():
            expect(bool(((v - want[k]).abs() <= 3e-6).all()), k)


def main():
    run("query and value", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    run("every matrix, rank 64", r=64, lora_alpha=16, target_modules=ALL)
    run("rank and alpha patterns", r=8, lora_alpha=16, target_modules=ALL,
        rank_pattern={"q_proj": 4, r"layers\.1\.mlp\..*": 2, "model.layers.0.self_attn.o_proj": 16},
        alpha_pattern={"v_proj|k_proj": 3, "up_proj": 7.5})
    run("rank-stabilised", r=8, lora_alpha=16, use_rslora=True, target_modules=ATTENTION)
    run("fan_in_fan_out on linear layers", r=8, lora_alpha=16, fan_in_fan_out=True, target_modules=ALL)
    run("embedding and head", r=4, lora_alpha=8, target_modules=["embed_tokens", "lm_head", "q_proj"])
    run("modules saved whole", r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])
    run("a grown vocabulary", resize=163, r=4, lora_alpha=8, target_modules=["q_proj"])
    run("a grown vocabulary, saved whole", resize=161, r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])
    run("biases of updated layers", base=lambda: tiny("bias1", attention_bias=True, mlp_bias=True), r=4, bias="lora_only", target_modules=["q_proj", "up_proj"])
    run("all biases", base=lambda: tiny("bias2", attention_bias=True, mlp_bias=True), r=4, bias="all", target_modules=["q_proj"])
    run("bfloat16 factors", dtype=torch.bfloat16, r=8, lora_alpha=16, target_modules=ATTENTION)
    run("float16 base", base=lambda: tiny("half", dtype=torch.float16), r=8, lora_alpha=16, target_modules=ATTENTION)
    run("adapter_model.bin", safe=False, r=8, lora_alpha=16, target_modules=ATTENTION)
    run("a tied model", base=lambda: tiny("tied", tie_word_embeddings=True), r=8, lora_alpha=16, target_modules=ATTENTION)
    narrow()
    upstream_names()
    refused()
    finish()


main()
