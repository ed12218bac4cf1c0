#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco diff --compress on small models: what an adapter can hold comes back through paco merge, what it cannot is said; packed diffs
are recovered as their format says."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import case, config, f32, finish, floats, llama, load, paco, paco_json, save, tensor, work, write  # noqa: E402

Q = "model.layers.0.self_attn.q_proj.weight"
K = "model.layers.1.self_attn.k_proj.weight"
NORM = "model.layers.1.input_layernorm.weight"


def tokenizer_files():
    """A tokenizer.json of 32 letters."""
    vocab = {chr(97 + i) if i < 26 else chr(39 + i): i for i in range(32)}
    return {"tokenizer.json": {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
            "trim_offsets": True, "use_regex": True}, "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True,
            "trim_offsets": True, "use_regex": True}, "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": []}},
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}}


def tuned_of(model):
    """Two matrices changed by rank 1, a norm and two rows of the embedding by whatever."""
    tuned = dict(model)
    for name, rows in ((Q, 8), (K, 4)):
        w = floats(model[name])
        tuned[name] = tensor("F32", [rows, 8], [w[i * 8 + j] + (i - 3) * (j + 1) / 1024 for i in range(rows) for j in range(8)])
    tuned[NORM] = tensor("F32", [8], [1 + i / 64 for i in range(8)])
    e = floats(model["model.embed_tokens.weight"])
    tuned["model.embed_tokens.weight"] = tensor("F32", [32, 8], [x + (16 <= i < 32) / 8 for i, x in enumerate(e)])
    return tuned


def apart(a, b):
    return max(abs(x - y) for x, y in zip(floats(a), floats(b)))


def round_trip(base, model, cfg):
    tuned = tuned_of(model)
    other = save(work("tuned"), tuned, cfg)
    r = paco_json("diff", "--raw", base, "--tuned", other, "--out", work("adapter"), "--compress", "lora:2")
    case("what the adapter holds is said", r and any("rank 2 holds 100.00 %" in w for w in r["warnings"]), r)
    a = json.load(open(work("adapter", "adapter_config.json"), encoding="utf-8"))
    case("PEFT's configuration", a["peft_type"] == "LORA" and a["r"] == 2 and a["lora_alpha"] == 2 and "q_proj" in a["target_modules"]
         and a["modules_to_save"] == ["embed_tokens", "input_layernorm"], a)
    case("merged", paco("merge", "-m", base, "--adapter", work("adapter"), "--out", work("merged")).returncode == 0)
    got = load(work("merged"))
    case("a change of its rank comes back", apart(got[Q], tuned[Q]) < 1e-7 and apart(got[K], tuned[K]) < 1e-7, apart(got[Q], tuned[Q]))
    case("what is no layer's matrix comes back exactly", all(got[k] == tuned[k] for k in (NORM, "model.embed_tokens.weight")))
    case("what did not change stays", all(apart(got[k], model[k]) == 0 for k in model if k not in (Q, K, NORM, "model.embed_tokens.weight")))
    same = []
    for threads in (1, 3):
        paco("diff", "--raw", base, "--tuned", other, "--out", work("t%d" % threads), "--compress", "lora:2", "-t", threads)
        same.append(open(work("t%d" % threads, "adapter_model.safetensors"), "rb").read())
    case("the same bytes with 1 and 3 threads", same[0] == same[1])


def too_small_a_rank(base, model, cfg):
    w = floats(model[Q])
    tuned = {**model, Q: tensor("F32", [8, 8], [x + (i % 9 == 0) / 64 for i, x in enumerate(w)])}  # the identity: rank 8, all alike
    r = paco_json("diff", "--raw", base, "--tuned", save(work("tuned2"), tuned, cfg), "--out", work("half"), "--compress", "lora:4")
    case("half of it is said to be lost", r and any("rank 4 holds 50.00 %" in x for x in r["warnings"]), r)
    r = paco_json("diff", "--raw", base, "--tuned", work("tuned2"), "--out", work("more"), "--compress", "lora:12")
    case("a rank above what a matrix can have", r and any("holds 100.00 %" in x for x in r["warnings"]), r)
    case("merged", paco("merge", "-m", base, "--adapter", work("more"), "--out", work("merged2")).returncode == 0)
    case("is the model", apart(load(work("merged2"))[Q], tuned[Q]) < 1e-7)


def packed(base, model, cfg):
    """Signs and four bits: the same sums as written out here, and what is no layer's matrix exact."""
    tuned = tuned_of(model)
    paco("diff", "--raw", base, "--tuned", work("tuned"), "--out", work("bits"), "--compress", "bitdelta")
    got = load(work("bits"))
    w, t = floats(model[Q]), floats(tuned[Q])
    d = [f32(a - b) for a, b in zip(t, w)]
    case("a bit for each element", [got[Q + ".signs"][2][i] >> j & 1 for i in range(8) for j in range(8)] == [x >= 0 for x in d])
    case("a scale for each row", floats(got[Q + ".scale"]) == [f32(sum(abs(x) for x in d[i * 8:i * 8 + 8]) / 8) for i in range(8)])
    done = paco("recover", "--raw", base, "--diff", work("bits"), "--out", work("near"))
    case("recovered", done.returncode == 0, done)
    near, scale = load(work("near")), floats(got[Q + ".scale"])
    case("the sum with signs", floats(near[Q]) == [f32(w[i] + (scale[i // 8] if d[i] >= 0 else -scale[i // 8])) for i in range(64)])
    case("all else exact", apart(near[NORM], tuned[NORM]) == 0 and apart(near["model.embed_tokens.weight"], tuned["model.embed_tokens.weight"]) < 1e-7)
    done = paco("diff", "--raw", base, "--tuned", work("tuned"), "--out", work("never"), "--compress", "int4")
    case("rows too short for blocks", done.returncode == 1 and "no multiple of 32" in done.stderr and not os.path.exists(work("never")), done)
    wide = config(hidden=32, ff=64)
    one = llama(wide)
    two = {**one, Q: tensor("F32", [32, 32], [x + (i % 7 - 3) / 256 for i, x in enumerate(floats(one[Q]))])}
    save(work("wide"), one, wide)
    paco("diff", "--raw", work("wide"), "--tuned", save(work("wide-tuned"), two, wide), "--out", work("int4"), "--compress", "int4")
    case("blocks of 18 bytes", load(work("int4"))[Q + ".q4_0"][1] == [32, 18])
    paco("recover", "--raw", work("wide"), "--diff", work("int4"), "--out", work("wide-near"))
    case("close by", apart(load(work("wide-near"))[Q], two[Q]) < 1 / 256 / 2)
    done = paco("generate", "-m", work("wide"), "--diff", work("int4"), "--ids", "1,5,9", "-n", 3, "--json")
    case("runs as a diff", done.returncode == 0, done)


def measured(base, cfg):
    """With a text, how far the result is; without one, that nobody knows."""
    files = tokenizer_files()
    for name in ("base", "tuned"):
        for f, content in files.items():
            write(work(name, f), content)
    text = write(work("text.txt"), "abcabcabacbacb" * 8)
    for how in ("bitdelta", "lora:1"):
        done = paco("diff", "--raw", base, "--tuned", work("tuned"), "--out", work("m-" + how[:4]), "--compress", how, "--text", text, "--json")
        lines = [json.loads(x) for x in done.stdout.splitlines()]
        case("%s: a line for the files, one for the loss" % how, done.returncode == 0 and len(lines) == 2 and lines[0]["n_tensors"] > 0
             and lines[1]["perplexity"] > 1 and 0 < lines[1]["kl_mean"] < 1 and lines[1]["n_scored"] == lines[1]["n_tokens"] - 1, done)
    done = paco("diff", "--raw", base, "--tuned", work("tuned"), "--out", work("unknown"), "--compress", "bitdelta")
    case("not measured, and said so", done.returncode == 0 and "was not measured: --text FILE does" in done.stderr, done)
    done = paco("diff", "--raw", base, "--tuned", work("tuned"), "--out", work("never"), "--text", text)
    case("--text alone: exit 2", done.returncode == 2 and "--text goes with --compress" in done.stderr, done)
    done = paco("diff", "--raw", base, "--tuned", work("tuned"), "--out", work("never"), "--compress", "int4", "--text", work("gone"))
    case("no such text: before any work", done.returncode == 1 and "no such text" in done.stderr and not os.path.exists(work("never")), done)


def refusals(base, model, cfg):
    for word in ("lora", "lora:0", "lora:x", "lora:4x", "lora:-1", "lora:4000", "zip"):
        done = paco("diff", "--raw", base, "--tuned", work("tuned"), "--out", work("never"), "--compress", word)
        case("--compress %s: exit 2" % word, done.returncode == 2 and "bitdelta, int4 or lora:RANK is expected" in done.stderr, done)
    done = paco("diff", "--raw", base, "--tuned", save(work("twin"), model, cfg), "--out", work("never"), "--compress", "lora:2")
    case("nothing to compress", done.returncode == 1 and "the tuned model is its base" in done.stderr and not os.path.exists(work("never")), done)
    done = paco("diff", "--raw", base, "--tuned", work("tuned"), "--out", work("never"), "--compress", "lora:2", "--format", "bin")
    case("an adapter as .bin", done.returncode == 2 and "as safetensors" in done.stderr, done)


def main():
    cfg = config()
    model = llama(cfg)
    base = save(work("base"), model, cfg)
    round_trip(base, model, cfg)
    too_small_a_rank(base, model, cfg)
    packed(base, model, cfg)
    measured(base, cfg)
    refusals(base, model, cfg)
    finish()


main()
