#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco inspect: what it reports, and what it finds wrong."""
import hashlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bad_torch  # noqa: E402
from tiny import case, config, finish, llama, paco, paco_json, safetensors, save, tensor, work, write  # noqa: E402


def a_model(cfg, model):
    d = save(work("model"), model, cfg)
    r = paco_json("inspect", d) or {}
    case("kind, architecture, parameters", (r.get("kind"), r.get("architecture"), r.get("n_params")) ==
         ("model", "LlamaForCausalLM", sum(len(t[2]) // 4 for t in model.values())), r)
    case("no problems", r.get("problems") == [], r.get("problems"))
    case("types", r.get("dtypes", {}).get("f32", {}).get("n_tensors") == len(model), r.get("dtypes"))
    listed = {t["name"]: (t["dtype"], t["shape"], t["bytes"]) for t in r.get("tensors", [])}
    case("every tensor", listed == {n: ("f32", s, len(b)) for n, (_, s, b) in model.items()}, listed)
    r = paco_json("inspect", d, "--hash") or {}
    case("digests", {t["name"]: t["sha256"] for t in r.get("tensors", [])} ==
         {n: hashlib.sha256(b).hexdigest() for n, (_, _, b) in model.items()}, r)
    done = paco("inspect", d, "--tensors")
    case("in words", done.returncode == 0 and "a model, LlamaForCausalLM" in done.stdout and "model.layers.1.mlp.up_proj.weight" in
         done.stdout and "problems" not in done.stdout, done)
    r = paco_json("inspect", os.path.join(d, "model.safetensors")) or {}
    case("a lone file", r.get("kind") == "model" and r.get("n_tensors") == len(model), r)


def problems_of(name, model, cfg, *args):
    r = paco_json("inspect", save(work(name), model, cfg), *args) or {}
    return r.get("kind"), "\n".join(r.get("problems", []))


def suspicious(cfg, model):
    kind, text = problems_of("diff", llama(cfg, norm=0.001, spread=0.001), cfg)
    case("a diff", kind == "diff" and "looks like a weight diff, not a model" in text, text)
    b = bad_torch
    trained = b.checkpoint(b.pickled(b.dict_of([("epoch", b.number(3)), ("state_dict", b.dict_of([("w", b.tensor())]))])))
    r = paco_json("inspect", write(work("trained", "pytorch_model.bin"), trained)) or {}
    case("a trainer's checkpoint", any("the tensors are under 'state_dict', beside 'epoch'" in p for p in r.get("problems", [])), r)
    _, text = problems_of("vocab", model, {**cfg, "vocab_size": 33})
    case("another vocabulary", "vocab_size 33, but 'model.embed_tokens.weight' has 32 rows (and 1 more)" in text, text)
    fewer = {k: v for k, v in model.items() if k != "model.layers.0.mlp.up_proj.weight"}
    _, text = problems_of("missing", fewer, cfg)
    case("a missing tensor", "missing tensor 'model.layers.0.mlp.up_proj.weight'" in text, text)
    _, text = problems_of("extra", {**model, "mm_projector.weight": tensor("F32", [2], [1, 2])}, cfg)
    case("an extra tensor", "'mm_projector.weight' has no place" in text, text)
    _, text = problems_of("noconfig", model, None)
    case("no configuration", "there is no config.json" in text, text)
    kind, text = problems_of("gpt2", model, {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
    case("an architecture paco does not run", "gpt2" in text, text)
    dirty = {**model, "model.norm.weight": tensor("F32", [8], [1, float("nan"), 1, 1, float("inf"), 1, 1, float("nan")])}
    _, text = problems_of("nan", dirty, cfg)
    case("NaN is not looked for unasked", "NaN" not in text, text)
    _, text = problems_of("nan", dirty, cfg, "--scan")
    case("NaN is found by --scan", "'model.norm.weight' holds 2 NaN and 1 infinite values" in text, text)


def tokenizers(cfg, model):
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "\u2581": 3, "a": 4}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, t in enumerate(("<unk>", "<s>", "</s>"))] + [
                 {"id": 5, "content": "<pad>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]
    tokenizer = {"version": "1.0", "added_tokens": added, "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": True, "byte_fallback": False, "vocab": vocab, "merges": []}}
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "tokenizer_class": "LlamaTokenizer"}

    def look(what, cfg, names, words, vocab=None):
        files = {"tokenizer.json": {**tokenizer, "model": {**tokenizer["model"], "vocab": vocab or tokenizer["model"]["vocab"]}},
                 "tokenizer_config.json": names}
        r = paco_json("inspect", save(work("tok"), model, cfg, files)) or {}
        text = "\n".join(r.get("problems", ["?"]))
        case(what, words in text if words else text == "", r.get("problems"))
        return r

    r = look("a tokenizer in order", {**cfg, "pad_token_id": 5}, names, None)
    t = r.get("tokenizer") or {}
    case("what it is", (t.get("kind"), t.get("vocab_size"), t.get("bos_id"), t.get("eos_id"), t.get("pad_id")) == ("SentencePiece", 6, 1, 2, 5), t)
    look("another pad id in the configuration", {**cfg, "pad_token_id": 0}, names, "the configuration's pad id is 0, the tokenizer's 5")
    look("another BOS", {**cfg, "bos_token_id": 3}, names, "BOS id is 3, the tokenizer's 1")
    look("another EOS", {**cfg, "eos_token_id": 4}, names, "EOS id is 4, the tokenizer's 2")
    look("the old class name", {**cfg, "pad_token_id": 5}, {**names, "tokenizer_class": "LLaMATokenizer"}, "LLaMATokenizer -> LlamaTokenizer")
    look("empty special tokens", {**cfg, "pad_token_id": 5}, {**names, "bos_token": ""}, "bos_token \"\" -> <s>")
    look("more tokens than rows", {**cfg, "pad_token_id": 5}, names, "the tokenizer has 40 tokens, the embedding only 32 rows",
         {**vocab, **{"x%d" % i: i for i in range(6, 40)}})


def an_adapter():
    lora = {"base_model.model.model.layers.0.self_attn.q_proj.lora_%s.weight" % k: tensor("F32", s, [0] * 16) for k, s in (("A", [2, 8]), ("B", [8, 2]))}
    d = os.path.dirname(write(work("lora", "adapter_model.safetensors"), safetensors(lora)))
    write(os.path.join(d, "adapter_config.json"), {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "org/base"})
    r = paco_json("inspect", d) or {}
    case("an adapter", r.get("kind") == "adapter" and r.get("adapter") == {"r": 2, "lora_alpha": 4.0, "base": "org/base"}, r)


def unreadable(cfg, model):
    d = save(work("cut"), model, cfg)
    path = os.path.join(d, "model.safetensors")
    os.truncate(path, os.path.getsize(path) - 5)
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 13476925163\n"
    page = b"<!DOCTYPE html><html><body>404</body></html>"
    cases = [("a truncated file", d, "model.safetensors"),
             ("a git-lfs pointer", os.path.dirname(write(work("lfs", "model.safetensors"), lfs)), "git-lfs pointer"),
             ("an HTML page", os.path.dirname(write(work("html", "model.safetensors"), page)), "HTML"),
             ("a broken configuration", save(work("json"), model, None, {"config.json": "{"}), "config.json"),
             ("an empty directory", os.path.dirname(write(work("empty", "notes.txt"), "")), "empty"),
             ("nothing at all", work("nothing"), "nothing")]
    for what, path, words in cases:
        done = paco("inspect", path)
        case("%s: exit 1, one line" % what, done.returncode == 1 and done.stderr.count("\n") == 1 and words in done.stderr
             and not done.stdout, done)


def main():
    cfg = config()
    model = llama(cfg)
    a_model(cfg, model)
    suspicious(cfg, model)
    tokenizers(cfg, model)
    an_adapter()
    unreadable(cfg, model)
    finish()


main()
