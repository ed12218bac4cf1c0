# SPDX-License-Identifier: Apache-2.0
"""The forward pass against Transformers in float32: logits within 1e-3, 64 greedy tokens identical.

Small random models of every shape the engine knows, each as safetensors, as .bin and as GGUF, and the default model.
Also makes the committed fixtures of tests/unit/test_reference.c (PACO_PARITY_UPDATE=1)."""
import json
import math
import os
import pathlib
import shutil

import numpy
import torch
from transformers import (AutoModelForCausalLM, LlamaForCausalLM, MinPLogitsWarper, TemperatureLogitsWarper,
                          TopKLogitsWarper, TopPLogitsWarper)

from common import FIXTURES, Skipped, case, default_model, equal, expect, finish, note, paco, work
from random_model import random_llama

torch.set_num_threads(2)
TOLERANCE = 1e-3
SMALL = dict(hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=8, vocab_size=320,
             max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
MODELS = {
    "mha-f32": (torch.float32, {}),
    "gqa-bf16": (torch.bfloat16, dict(num_key_value_heads=2)),
    "mqa-f16": (torch.float16, dict(num_key_value_heads=1)),
    "tied-f32": (torch.float32, dict(tie_word_embeddings=True)),
    "biases-f16": (torch.float16, dict(attention_bias=True, mlp_bias=True, num_key_value_heads=4)),
    "linear-bf16": (torch.bfloat16, dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0))),
    "llama3-f32": (torch.float32, dict(rope_parameters=LLAMA3, num_key_value_heads=2)),
    "yarn-f32": (torch.float32, dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=64))),
    "yarn-all-bf16": (torch.bfloat16, dict(rope_parameters=dict(rope_type="yarn", rope_theta=500000.0, factor=16.0, beta_fast=16.0, beta_slow=2.0,
                                                                mscale=1.0, mscale_all_dim=0.5, original_max_position_embeddings=32))),
    "head80-f32": (torch.float32, dict(hidden_size=160, num_attention_heads=2, num_key_value_heads=1)),
    "head6-f16": (torch.float16, dict(hidden_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=6)),
    "one-layer-bf16": (torch.bfloat16, dict(num_hidden_layers=1, vocab_size=32001)),
    "theta-f32": (torch.float32, dict(rope_parameters=dict(rope_type="default", rope_theta=1000000.0), rms_norm_eps=1e-6)),
}
# The committed ones: tiny, and together under 100 kB.
TINY = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=60)
COMMITTED = {
    "gqa-f32": (torch.float32, dict(TINY)),
    "tied-biases-f16": (torch.float16, dict(TINY, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "llama3-bf16": (torch.bfloat16, dict(TINY, rope_parameters=LLAMA3, head_dim=6, num_key_value_heads=4)),
    "linear-mqa-f16": (torch.float16, dict(TINY, num_key_value_heads=1, num_hidden_layers=1,
                                           rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0))),
}


def make(name, dtype, changes):
    """A random model whose logits are well apart, rounded to dtype and held in float32."""
    model = random_llama(name, {**SMALL, **changes}, embedding=1, matrices=1.5)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(dtype).float())
    return model.eval()


def save(model, dtype, where, bin=False):
    where.mkdir(parents=True, exist_ok=True)
    copy = LlamaForCausalLM(model.config).to(dtype)
    copy.load_state_dict(model.state_dict())
    copy.tie_weights()
    copy.save_pretrained(where)
    if bin:
        state = {k: v.clone() for k, v in copy.state_dict().items() if not (model.config.tie_word_embeddings and k == "lm_head.weight")}
        os.remove(where / "model.safetensors")
        torch.save(state, where / "pytorch_model.bin")
    return where


def save_gguf(model, dtype, where):
    """As llama.cpp's converter writes it: q and k permuted into neighbouring pairs, vectors in F32."""
    import gguf
    c = model.config
    theta = c.rope_parameters["rope_theta"]
    kind = {torch.float32: gguf.GGMLQuantizationType.F32, torch.float16: gguf.GGMLQuantizationType.F16,
            torch.bfloat16: gguf.GGMLQuantizationType.BF16}[dtype]
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w = gguf.GGUFWriter(where, "llama")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_rope_dimension_count(head)
    w.add_rope_freq_base(theta)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    if c.rope_parameters["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(c.rope_parameters["factor"])
    if c.rope_parameters["rope_type"] == "yarn":
        rope, usual = c.rope_parameters, 0.1 * math.log(c.rope_parameters["factor"]) + 1
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if "mscale" in rope:
            m, m_all = (0.1 * rope[k] * math.log(rope["factor"]) + 1 for k in ("mscale", "mscale_all_dim"))
            w.add_rope_scaling_attn_factors(m / m_all / usual)
            w.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    if c.rope_parameters["rope_type"] == "llama3":
        rope = c.rope_parameters
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        factors = []
        for i in range(0, head, 2):
            wave = 2 * math.pi * theta ** (i / head)
            ratio = rope["original_max_position_embeddings"] / wave
            if ratio > rope["high_freq_factor"]:
                factors.append(1.0)
            elif ratio < rope["low_freq_factor"]:
                factors.append(rope["factor"])
            else:
                smooth = (ratio - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
                factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
        w.add_tensor("rope_freqs.weight", numpy.array(factors, dtype=numpy.float32))
    w.add_tokenizer_model("llama")
    w.add_token_list(["<unk>", "<s>", "</s>"] + ["t%d" % i for i in range(3, c.vocab_size)])
    w.add_token_scores([-float(i) for i in range(c.vocab_size)])
    w.add_token_types([2, 3, 3] + [1] * (c.vocab_size - 3))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and c.tie_word_embeddings:
            continue
        heads = c.num_attention_heads if ".q_proj." in key else c.num_key_value_heads if ".k_proj." in key else 0
        if heads:
            rest = value.shape[1:]
            value = value.reshape(heads, 2, head // 2, *rest).swapaxes(1, 2).reshape(value.shape)
        array = value.contiguous().numpy()
        if value.dim() == 2:
            array = gguf.quants.quantize(array, kind)
            w.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), array, raw_dtype=kind)
        else:
            w.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), array)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return where


def prompt(n, vocab):
    return [1] + [(i * i * 31 + 7 * i) % (vocab - 3) + 3 for i in range(n - 1)]


@torch.no_grad()
def logits(model, ids):
    return model(torch.tensor([ids])).logits[0, -1]


@torch.no_grad()
def greedy(model, ids, n=64):
    """n tokens by argmax, cut behind an end-of-sequence token; and the smallest lead the winner ever had."""
    eos, out, cache, least = model.config.eos_token_id, [], None, math.inf
    feed = torch.tensor([ids])
    while len(out) < n:
        r = model(feed, past_key_values=cache, use_cache=True)
        cache, top = r.past_key_values, r.logits[0, -1].topk(2)
        least = min(least, float(top.values[0] - top.values[1]))
        out.append(int(top.indices[0]))
        if out[-1] == eos:
            break
        feed = torch.tensor([[out[-1]]])
    return out, least


def compare(what, where, ids, want, want_greedy, *more):
    ids_text = " ".join(map(str, ids))
    got = paco("generate", "-m", where, "--ids", ids_text, "--logits-json", "-n", 0, "--dtype", "f32", *more, json=False).json
    equal(what + ": ids", got["ids"], ids)
    expect(len(got["top"]) == 20, "%s: %d rows in top" % (what, len(got["top"])))
    log_p = torch.log_softmax(want.double(), 0)
    worst = max(max(abs(z - float(want[i])), abs(p - float(log_p[i]))) for i, p, z in got["top"])
    expect(worst < TOLERANCE, "%s: logits off by %g" % (what, worst))
    equal(what + ": the best 20", [i for i, _, _ in got["top"]][:5], want.topk(5).indices.tolist())
    answer = paco("generate", "-m", where, "--ids", ids_text, "-n", 64, "--temp", 0, "--dtype", "f32", *more).json
    equal(what + ": greedy tokens", answer["ids"], want_greedy)
    equal(what + ": stop", answer["stop"], "eos" if want_greedy[-1] == 2 else "length")
    return worst


for name, (dtype, changes) in MODELS.items():
    with case(name):
        model = make(name, dtype, changes)
        worst = 0
        ways = {"safetensors": save(model, dtype, work(name) / "safetensors"), "bin": save(model, dtype, work(name) / "bin", bin=True),
                "gguf": save_gguf(model, dtype, work(name) / "model.gguf")}
        for n in (1, 7, 70):
            ids = prompt(n, model.config.vocab_size)
            want, (tokens, least) = logits(model, ids), greedy(model, ids)
            for way, where in ways.items():
                worst = max(worst, compare("%s, %d tokens" % (way, n), where, ids, want, tokens))
            if n == 7:
                worst = max(worst, compare("scalar, %d tokens" % n, ways["safetensors"], ids, want, tokens, "--cpu", "scalar", "-t", 1))
        note("largest difference %.2g; the winner led by %.2g at least" % (worst, least))

with case("repetition penalty"):
    where, model = work("gqa-bf16") / "safetensors", make("gqa-bf16", *MODELS["gqa-bf16"])
    for penalty in (0.8, 1.3, 2.0):
        ids = prompt(12, 320)
        want = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=64, repetition_penalty=penalty)[0, 12:].tolist()
        got = paco("generate", "-m", where, "--ids", " ".join(map(str, ids)), "-n", 64, "--repeat-penalty", penalty, "--dtype", "f32").json
        equal("penalty %g" % penalty, got["ids"], want)

with case("sampling draws what Transformers' filters leave"):
    # A model with flat logits, so that the filters have something to cut.
    model = make("gqa-bf16", *MODELS["gqa-bf16"])
    with torch.no_grad():
        model.model.norm.weight.mul_(0.125)
    where = save(model, torch.float32, work("flat"))
    ids = prompt(5, 320)
    for flags, warpers in ((dict(temp=1, top_k=6), [TopKLogitsWarper(6)]), (dict(temp=1, top_k=0, top_p=0.5), [TopPLogitsWarper(0.5)]),
                           (dict(temp=0.7, top_k=0, min_p=0.3), [TemperatureLogitsWarper(0.7), MinPLogitsWarper(0.3)]),
                           (dict(temp=0.8, top_k=20, top_p=0.7, min_p=0.1), [TemperatureLogitsWarper(0.8), TopKLogitsWarper(20),
                                                                              TopPLogitsWarper(0.7), MinPLogitsWarper(0.1)])):
        scores = logits(model, ids)[None]
        for warp in warpers:
            scores = warp(None, scores)
        p, draws = torch.softmax(scores[0], 0), 200
        arguments = [x for k, v in flags.items() for x in ("--" + k.replace("_", "-"), v)]
        seen = [paco("generate", "-m", where, "--ids", " ".join(map(str, ids)), "-n", 1, "--dtype", "f32", "--seed", i, *arguments).json["ids"][0]
                for i in range(draws)]
        stray = {i for i in seen if p[i] == 0}
        expect(not stray, "%s: drew %s, which the filters cut" % (flags, stray))
        for i in (p > 0.03).nonzero()[:, 0].tolist():
            share, error = seen.count(i) / draws, math.sqrt(float(p[i]) / draws)
            expect(abs(share - float(p[i])) < 5 * error, "%s: token %d came %.3f of the time, not %.3f" % (flags, i, share, p[i]))

with case("the default model, dequantised"):
    path = default_model()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    model.config.eos_token_id = 2
    worst = 0
    for ids in ([504, 3575, 282, 4649, 314], prompt(40, 49152), prompt(200, 49152)):
        want, (tokens, least) = logits(model, ids), greedy(model, ids)
        worst = max(worst, compare("%d tokens" % len(ids), path, ids, want, tokens))
        note("%d tokens: largest difference %.2g so far; the winner led by %.2g at least" % (len(ids), worst, least))

for name, (dtype, changes) in COMMITTED.items():
    with case("fixture " + name):
        where = FIXTURES / "models" / name
        if os.environ.get("PACO_PARITY_UPDATE"):
            model = make(name, dtype, changes)
            shutil.rmtree(where, ignore_errors=True)
            save(model, dtype, where)
            ids = prompt(40, model.config.vocab_size)
            value = {"ids": ids, "logits": [float("%.7g" % x) for x in logits(model, ids)], "greedy": greedy(model, ids)[0],
                     "made_with": "transformers %s, torch %s" % (__import__("transformers").__version__, torch.__version__)}
            (where / "expected.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")
            (where / "generation_config.json").unlink(missing_ok=True)
            note("wrote %s" % where)
        else:
            expect((where / "expected.json").exists(), "no %s (PACO_PARITY_UPDATE=1 writes it)" % where)
            model = LlamaForCausalLM.from_pretrained(where, dtype=torch.float32).eval()
        value = json.loads((where / "expected.json").read_text())
        off = float((logits(model, value["ids"]) - torch.tensor(value["logits"])).abs().max())
        expect(off < 1e-4, "Transformers now answers %g differently" % off)
        equal("greedy", greedy(model, value["ids"])[0], value["greedy"])
        compare("fixture", where, value["ids"], torch.tensor(value["logits"]), value["greedy"])

finish()
