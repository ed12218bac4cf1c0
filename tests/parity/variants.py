#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adapters served together against PEFT: every kind beside one base, all asked at once of `paco serve --dtype f32`; the
log-probabilities of prompts and of greedy answers against those of the same adapter in PyTorch, in float32.
"""
import concurrent.futures
import json
import pathlib
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from common import binary, case, expect, finish, note, work
from peft_models import adapter, tiny

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import serving  # noqa: E402
from counting import V, tokenizer_json  # noqa: E402

serving.PACO = str(binary())
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = ATTENTION + ["gate_proj", "up_proj", "down_proj"]
KINDS = {
    "all": {"r": 8, "lora_alpha": 16, "target_modules": ALL},
    "rslora": {"r": 16, "lora_alpha": 8, "target_modules": ALL, "use_rslora": True},
    "attention": {"r": 4, "lora_alpha": 8, "target_modules": ATTENTION},
    "one-matrix": {"r": 1, "lora_alpha": 1, "target_modules": ["down_proj"]},
    "patterns": {"r": 8, "lora_alpha": 8, "target_modules": ALL, "rank_pattern": {"layers.1.self_attn.q_proj": 2, "up_proj": 40},
                 "alpha_pattern": {"v_proj": 32}},
    "some-layers": {"r": 4, "lora_alpha": 8, "target_modules": ALL, "layers_to_transform": [1]},
    "head": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "lm_head"]},
    "embedding": {"r": 4, "lora_alpha": 8, "target_modules": ["v_proj", "embed_tokens"]},
    "saved": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "bias": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "bias": "lora_only"},
    "half": {"r": 8, "lora_alpha": 16, "target_modules": ALL, "dtype": torch.float16},
}
N_ANSWER = 12


def make_base(name, **kw):
    base = tiny(name, vocab_size=V, hidden_size=64, intermediate_size=128, attention_bias=True, **kw)
    (base / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    (base / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
                                                            "unk_token": "<unk>"}))
    return base


def prompts():
    g = torch.Generator().manual_seed(3)
    return [torch.randint(4, V, (n,), generator=g).tolist() for n in (3, 17, 40)]


def of_peft(base, folder):
    """For each prompt: log-probabilities of its tokens behind the first, then those of the greedy answer."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if folder:
        model = PeftModel.from_pretrained(model, folder)
    model.eval()
    out = []
    with torch.no_grad():
        for p in prompts():
            ids, answer = list(p), []
            logp = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            prompt = [logp[i, ids[i + 1]].item() for i in range(len(ids) - 1)]
            for _ in range(N_ANSWER):
                last = model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
                ids.append(int(last.argmax()))
                answer.append(last[ids[-1]].item())
                if ids[-1] == model.config.eos_token_id:
                    break
            out.append((prompt, answer))
    return out


def of_paco(server, name, i):
    body = {"model": name, "prompt": prompts()[i], "max_tokens": N_ANSWER, "temperature": 0, "logprobs": 1, "echo": True}
    status, r = server.post("/v1/completions", body)
    expect(status == 200, "%s: %s" % (name, r))
    found = r["choices"][0]["logprobs"]["token_logprobs"]
    n = len(prompts()[i])
    return found[1:n], found[n:]


def apart(got, want):
    n = min(len(got), len(want))
    expect(n >= len(want) - 1, "%d log-probabilities, %d expected" % (len(got), len(want)))  # an end is not counted
    return max((abs(a - b) for a, b in zip(got, want)), default=0)


def together(base, folders):
    args = [a for name, folder in folders.items() for a in ("--adapter", "%s=%s" % (name, folder))]
    names = ["base", *folders]
    with serving.Server("-m", str(base), "--alias", "base", "--dtype", "f32", "--bos", "never", *args) as s, \
            concurrent.futures.ThreadPoolExecutor(len(names) * 3) as pool:
        asked = {(name, i): pool.submit(of_paco, s, name, i) for name in names for i in range(3)}
        return {key: f.result() for key, f in asked.items()}


def compared(label, base, kinds):
    with case("served together: %s" % label):
        folders = {name: adapter(base, label.replace(" ", "-") + name, **KINDS[name]) for name in kinds}
        found, plain = together(base, folders), of_peft(base, None)
        worst = 0.0
        for name in ["base", *folders]:
            want = of_peft(base, folders.get(name)) if name != "base" else plain
            for i, (prompt, answer) in enumerate(want):
                d = max(apart(found[name, i][0], prompt), apart(found[name, i][1], answer))
                expect(d < 1e-4, "%s, prompt %d: log-probabilities differ by %g" % (name, i, d))
                worst = max(worst, d)
            change = max(apart(a[0], b[0]) for a, b in zip(want, plain))
            expect(name == "base" or change > 1e-3, "%s changes nothing that could be seen" % name)
        note("%d adapters and the base: log-probabilities within %.2g of PEFT's" % (len(folders), worst))


def refused():
    with case("DoRA is refused by name"):
        base = make_base("dora")
        folder = adapter(base, "dora", r=4, target_modules=["q_proj"], use_dora=True)
        try:
            with serving.Server("-m", str(base), "--adapter", "x=%s" % folder):
                expect(False, "it was served")
        except RuntimeError as e:
            expect("DoRA" in str(e) and "fine-tune 'x'" in str(e), str(e))


torch.set_num_threads(1)  # of models this small more threads only wait for each other
compared("heads apart", make_base("apart"), list(KINDS))
compared("head tied", make_base("tied", tie_word_embeddings=True), [k for k in KINDS if k not in ("head", "saved", "embedding")])
refused()
finish()
