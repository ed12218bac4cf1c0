#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco merge on small models: the sum in its documented order, the files that travel, and what is refused."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import case, config, f32, finish, floats, llama, load, paco, paco_json, safetensors, save, tensor, work, write  # noqa: E402

Q = "model.layers.0.self_attn.q_proj"
LORA = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "base_model_name_or_path": None}


def numbers(n, seed):
    return [((i * 7919 + seed * 104729) % 997 - 498) / 1024 for i in range(n)]


def adapter(name, tensors, cfg=None, files=None):
    d = os.path.dirname(write(work(name, "adapter_model.safetensors"), safetensors(tensors)))
    write(os.path.join(d, "adapter_config.json"), LORA if cfg is None else cfg)
    for n, content in (files or {}).items():
        write(os.path.join(d, n), content)
    return d


def factors(module=Q, rows=8, cols=8, rank=2, seed=1):
    return {"base_model.model.%s.lora_A.weight" % module: tensor("F32", [rank, cols], numbers(rank * cols, seed)),
            "base_model.model.%s.lora_B.weight" % module: tensor("F32", [rows, rank], numbers(rows * rank, seed + 1))}


def merged(w, a, b, scale, rows, cols, rank):
    """W + (B A) * scale, each step rounded to F32, k ascending."""
    out = []
    for i in range(rows):
        for j in range(cols):
            total = 0.0
            for k in range(rank):
                total = f32(total + f32(b[i * rank + k] * a[k * cols + j]))
            out.append(f32(w[i * cols + j] + f32(total * f32(scale))))
    return out


def the_sum(base, model):
    lora = factors()
    d = adapter("plain", lora)
    r = paco_json("merge", "-m", base, "--adapter", d, "--out", work("out"))
    case("the report", r and r["n_tensors"] == len(model) and r["bytes_written"] > 0 and r["warnings"] == [] and "undefined_rows" not in r, r)
    got = load(work("out"))
    a, b = (floats(t) for t in lora.values())
    want = merged(floats(model[Q + ".weight"]), a, b, 1.5, 8, 8, 2)
    case("the documented sum, bit for bit", floats(got[Q + ".weight"]) == want)
    case("nothing else changes", all(got[k] == v for k, v in model.items() if k != Q + ".weight"))
    m = json.load(open(work("out", "paco-manifest.json"), encoding="utf-8"))
    case("the manifest names both inputs", m["job"] == "merge" and [i["role"] for i in m["inputs"]] == ["base", "adapter"], m["inputs"])
    case("verify agrees", paco("verify", work("out")).returncode == 0)
    for threads in (1, 3):
        paco("merge", "-m", base, "--adapter", d, "--out", work("threads"), "--force", "-t", threads)
        case("the same bytes with %d threads" % threads, load(work("threads")) == got)
    done = paco("merge", "-m", base, "--adapter", d, "--out", work("out"))
    case("an output is not overwritten", done.returncode == 1 and "the option force replaces it" in done.stderr, done)
    done = paco("merge", "-m", base, "--adapter", d, "--out", work("dry"), "--dry-run")
    case("a dry run writes nothing", done.returncode == 0 and not os.path.exists(work("dry")), done)


def the_base_it_names(base):
    d = adapter("named", factors(), {**LORA, "base_model_name_or_path": base})
    done = paco("merge", "--lora_model_name_or_path", d, "--output_dir", work("named-out"))
    case("the base that the adapter names, upstream's flags", done.returncode == 0, done)
    d = adapter("lost", factors(), {**LORA, "base_model_name_or_path": "org/not-here"})
    done = paco("merge", "--adapter", d, "--out", work("lost-out"))
    case("a base that is not here", done.returncode == 1 and "org/not-here" in done.stderr and "-m" in done.stderr
         and not os.path.exists(work("lost-out")), done)
    done = paco("merge", "--adapter", adapter("none", factors()), "--out", work("none-out"))
    case("no base at all: exit 2", done.returncode == 2 and "give it with -m" in done.stderr, done)


def tokenizer_files(n, words="t"):
    """A tokenizer.json of n tokens."""
    vocab = {"%s%d" % (words, i): i for i in range(n)}
    return {"tokenizer.json": {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
            "trim_offsets": True, "use_regex": True}, "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True,
            "trim_offsets": True, "use_regex": True}, "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": []}},
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}}


def the_files(cfg, model):
    base = save(work("base2"), model, cfg, {**tokenizer_files(32, "base"), "added_tokens.json": {"x": 1}, "LICENSE": "Some licence\n", "README.md": "---\nlicense: mit\n---\n",
                                           "secret.txt": "no"})
    paco("merge", "-m", base, "--adapter", adapter("notok", factors()), "--out", work("f1"))
    case("the base's files travel", sorted(os.listdir(work("f1"))) == ["LICENSE", "README.md", "added_tokens.json", "config.json", "model.safetensors", "paco-manifest.json",
                                                                    "tokenizer.json", "tokenizer_config.json"], os.listdir(work("f1")))
    d = adapter("tok", factors(), files=tokenizer_files(32, "mine"))
    r = paco_json("merge", "-m", base, "--adapter", d, "--out", work("f2"))
    case("the adapter's tokenizer wins as a whole", "mine0" in open(work("f2", "tokenizer.json"), encoding="utf-8").read()
         and not os.path.exists(work("f2", "added_tokens.json")) and os.path.exists(work("f2", "LICENSE")), os.listdir(work("f2")))
    case("the licence is named", r and r["licence"] == "mit", r)


def a_longer_tokenizer(base, cfg, model):
    d = adapter("longer", factors(), files=tokenizer_files(34))
    done = paco("merge", "-m", base, "--adapter", d, "--out", work("longer-out"))
    case("a tokenizer longer than the embedding", done.returncode == 1 and "34 tokens" in done.stderr and "random rows" in done.stderr
         and "pad-row: mean or zero" in done.stderr and not os.path.exists(work("longer-out")), done)
    r = paco_json("merge", "-m", base, "--adapter", d, "--out", work("zero"), "--pad-row", "zero")
    got = load(work("zero"))
    case("rows of zeros", got["lm_head.weight"][1] == [34, 8] and got["lm_head.weight"][2] == model["lm_head.weight"][2] + bytes(2 * 32))
    case("vocab_size follows", json.load(open(work("zero", "config.json"), encoding="utf-8"))["vocab_size"] == 34)
    case("and both are said", r and any("2 rows added" in w for w in r["warnings"]) and any("vocab_size 32 -> 34" in w for w in r["warnings"]), r)
    paco("merge", "-m", base, "--adapter", d, "--out", work("mean"), "--pad-row", "mean", "--no-repair")
    got = load(work("mean"))
    e = floats(got["model.embed_tokens.weight"])
    case("rows of means", all(abs(e[32 * 8 + j] - sum(e[j:32 * 8:8]) / 32) < 1e-7 and e[32 * 8 + j] == e[33 * 8 + j] for j in range(8)))
    case("vocab_size follows without repairs, too", json.load(open(work("mean", "config.json"), encoding="utf-8"))["vocab_size"] == 34)


def refusals(base, cfg):
    def refused(what, d, words, *args):
        done = paco("merge", "-m", base, "--adapter", d, "--out", work("never"), *args)
        case(what, done.returncode == 1 and done.stderr.count("\n") == 1 and words in done.stderr and not os.path.exists(work("never")), done)

    lora = factors()
    refused("an adapter of another model", adapter("r1", factors("model.layers.9.self_attn.q_proj")), "has no place in the base")
    refused("another rank", adapter("r2", factors(rank=4)), "adapter_config.json gives its module rank 2")
    refused("another width", adapter("r3", factors(cols=16)), "is this the adapter's base?")
    refused("half a pair", adapter("r4", dict(list(lora.items())[:1])), "without its other factor")
    refused("DoRA", adapter("r5", lora, {**LORA, "use_dora": True}), "DoRA")
    refused("another kind of adapter", adapter("r6", lora, {**LORA, "peft_type": "PREFIX_TUNING"}), "PREFIX_TUNING")
    refused("a model in the place of an adapter", base, "holds a whole model")
    refused("no adapter there", work("nowhere"), "there is no such folder")
    refused("an adapter without weights", os.path.dirname(write(work("r7", "adapter_config.json"), LORA)), "neither adapter_model.safetensors nor")
    refused("a base that is a diff", adapter("r8", lora), "looks like a weight diff", "-m",
            save(work("diff"), llama(cfg, norm=0.0001, spread=0.0001), cfg))
    refused("the output inside an input", adapter("r9", lora), "", "--out", base)


def main():
    cfg = config()
    model = llama(cfg)
    base = save(work("base"), model, cfg)
    the_sum(base, model)
    the_base_it_names(base)
    the_files(cfg, model)
    a_longer_tokenizer(base, cfg, model)
    refusals(base, cfg)
    finish()


main()
