# SPDX-License-Identifier: Apache-2.0
"""A model that counts: behind token t it prefers t + 1, by far. With a tokenizer of letters."""
import random
import struct

from tiny import config, f32, llama, load, safetensors, save, tensor, work, write

LETTERS = "abcdefghijklmnopqrstuvwxyz"
V = 64
# ids 0-3 special, then a-z, a few signs, a space, a newline, and single letters again as filler
PIECES = ["<unk>", "<s>", "</s>", "<end>"] + list(LETTERS) + ["\u0120", "\u010a"] + list("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + list("0123") + ["<", "|"]
ID = {p: i for i, p in enumerate(PIECES)}
SPECIAL = PIECES[:4]


def one_hot(rows, at):
    data = bytearray(4 * V * rows)
    for i in range(rows):
        struct.pack_into("<f", data, 4 * (i * V + at(i)), 8.0)
    return "F32", [rows, V], bytes(data)


def tokenizer_json():
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": ID[s], "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                              "special": True} for s in SPECIAL],
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": ID, "merges": []}}


def model(name, files=None, **more):
    """A directory whose model counts up."""
    cfg = dict(config(vocab=V, hidden=V, layers=1, heads=2, kv_heads=1, ff=8), max_position_embeddings=256, **more)
    weights = {k: (d, s, b"\0" * len(b)) if len(s) == 2 else (d, s, b) for k, (d, s, b) in llama(cfg).items()}
    weights["model.embed_tokens.weight"] = one_hot(V, lambda i: i)
    weights["lm_head.weight"] = one_hot(V, lambda i: (i - 1) % V)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return save(work(name), weights, cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": settings, **(files or {})})


def babbler(positions=1024):
    """A model that says something else each time, and seldom ends."""
    cfg = dict(config(vocab=V, hidden=64, layers=4, heads=2, kv_heads=1, ff=256), max_position_embeddings=positions)
    return save(work("babbler%d" % positions), llama(cfg, spread=0.3), cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}})


def adapter(name, seed, ff=256, files=None):
    """An adapter of the babbler: pairs of rank 4 for two matrices of each layer."""
    r = random.Random(seed)
    tensors = {}
    for module, rows in (("model.layers.%d.self_attn.q_proj", V), ("model.layers.%d.mlp.up_proj", ff)):
        for i in range(4):
            for part, shape in (("A", [4, V]), ("B", [rows, 4])):
                tensors["base_model.model.%s.lora_%s.weight" % (module % i, part)] = tensor(
                    "F32", shape, (r.gauss(0, 0.3) for _ in range(shape[0] * shape[1])))
    write(work(name, "adapter_model.safetensors"), safetensors(tensors))
    write(work(name, "adapter_config.json"), {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": None})
    for n, content in (files or {}).items():
        write(work(name, n), content)
    return work(name)


def diff(name, base):
    """A diff of the babbler: it changes matrices everywhere, with a vocabulary of one more token."""
    r = random.Random(9)
    cfg = dict(config(vocab=V + 1, hidden=V, layers=4, heads=2, kv_heads=1, ff=256), max_position_embeddings=1024)
    tensors = {}
    for n, (dtype, shape, data) in load(base).items():
        if len(shape) == 2:
            rows = shape[0] + 1 if n in ("model.embed_tokens.weight", "lm_head.weight") else shape[0]
            tensors[n] = tensor(dtype, [rows, shape[1]], (f32(r.gauss(0, 0.03)) for _ in range(rows * shape[1])))
        else:
            tensors[n] = tensor(dtype, shape, [0.0] * shape[0])
    words = tokenizer_json()
    words["added_tokens"].append({"id": V, "content": "<more>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                                  "special": True})
    return save(work(name), tensors, cfg, {
        "tokenizer.json": words,
        "generation_config.json": {"do_sample": True, "temperature": 0.5, "top_k": 7},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                                  "chat_template": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + "
                                                   "'<|im_end|>' + '\n' }}{% endfor %}"}})
