#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco convert on small models: safetensors, .bin and GGUF, types, and the files made from a GGUF's metadata."""
import json
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import case, config, finish, floats, gguf, llama, load, paco, paco_json, save, tensor, work, write  # noqa: E402


def read_json(*parts):
    with open(work(*parts), encoding="utf-8") as f:
        return json.load(f)


def containers(cfg, model):
    a = save(work("a"), model, cfg, {"LICENSE": "Apache License\n"})
    r = paco_json("convert", a, "--out", work("b"), "--to", "hf-bin", "--max-shard", "1kB")
    shards = [n for n in os.listdir(work("b")) if n.endswith(".bin")]
    case("shards and an index", len(shards) > 2 and read_json("b", "pytorch_model.bin.index.json")["metadata"]["total_size"] ==
         sum(len(t[2]) for t in model.values()), shards)
    case("the licence is named", r and r["licence"] == "Apache License", r)
    paco("convert", work("b"), "--out", work("c"), "--to", "hf")
    case("and back, the same model", load(work("c")) == model)
    order = list(load(work("c")))
    case("in the state dict's order", order[:3] == ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                                                    "model.layers.0.self_attn.k_proj.weight"] and order[-1] == "lm_head.weight", order)
    case("a lone file", paco("convert", os.path.join(a, "model.safetensors"), "--out", work("d")).returncode == 0 and load(work("d")) == model)


def types(cfg, model):
    a = work("a")
    paco("convert", a, "--out", work("bf16"), "--type", "bf16")
    got = load(work("bf16"))
    case("bf16 holds these weights", all(v[0] == "BF16" and floats(v) == floats(model[k]) for k, v in got.items()))
    case("torch_dtype follows", read_json("bf16", "config.json")["torch_dtype"] == "bfloat16")
    r = paco_json("convert", a, "--out", work("auto"), "--type", "auto")
    case("auto finds the narrowest type", r and load(work("auto")) == got and any("lost nothing" in w for w in r["warnings"]), r)
    fine = {**model, "model.norm.weight": tensor("F32", [8], [1.0001] * 8)}
    r = paco_json("convert", save(work("fine"), fine, cfg), "--out", work("f16"), "--type", "f16")
    case("f16 says what it lost", r and r["n_changed"] == 8 and any("changed 8 of" in w for w in r["warnings"]), r)
    done = paco("convert", a, "--out", work("q"), "--type", "q4_k")
    case("block types are for GGUF files: exit 2", done.returncode == 2 and "--type q4_k is for GGUF files" in done.stderr and
         not os.path.exists(work("q")), done)


TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def gguf_model(cfg, model, tokenizer, replaced=None):
    """A GGUF file: q and k interleaved as GGUF has them. replaced: tensors to put in the place of the model's."""
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    tensors = {}
    for name, (_, shape, raw) in model.items():
        if name in top:
            tensors[top[name]] = (0, shape, raw)
            continue
        layer, rest = name[len("model.layers."):].split(".", 1)
        module = rest[:-len(".weight")]
        if module in ("self_attn.q_proj", "self_attn.k_proj"):
            heads = cfg["num_attention_heads"] if module[10] == "q" else cfg["num_key_value_heads"]
            d, row = shape[0] // heads, len(raw) // shape[0]
            rows = [raw[i * row:(i + 1) * row] for i in range(shape[0])]
            raw = b"".join(rows[h * d + a * (d // 2) + j] for h in range(heads) for j in range(d // 2) for a in range(2))
        tensors["blk.%s.%s.weight" % (layer, names[module])] = (0, shape, raw)
    meta = {"general.architecture": ("str", "llama"), "general.license": ("str", "mit"), "general.name": ("str", "tiny"),
            "llama.block_count": ("u32", cfg["num_hidden_layers"]), "llama.context_length": ("u32", 64),
            "llama.embedding_length": ("u32", cfg["hidden_size"]), "llama.feed_forward_length": ("u32", cfg["intermediate_size"]),
            "llama.attention.head_count": ("u32", cfg["num_attention_heads"]), "llama.attention.head_count_kv": ("u32", cfg["num_key_value_heads"]),
            "llama.attention.layer_norm_rms_epsilon": ("f32", 1e-5), "llama.rope.dimension_count": ("u32", cfg["hidden_size"] // cfg["num_attention_heads"]),
            "llama.vocab_size": ("u32", cfg["vocab_size"])}
    return gguf({**meta, **tokenizer}, {**tensors, **(replaced or {})})


def byte_level(n):
    alphabet = [chr(c) for c in list(range(33, 127))][:n - 4]
    tokens = ["<|end|>", "<|user|>"] + alphabet
    tokens += ["!\"", "#$"]
    return {"tokenizer.ggml.model": ("str", "gpt2"), "tokenizer.ggml.pre": ("str", "smollm"), "tokenizer.ggml.tokens": (["str"], tokens),
            "tokenizer.ggml.token_type": (["i32"], [3, 4] + [1] * (n - 2)), "tokenizer.ggml.merges": (["str"], ["! \"", "# $"]),
            "tokenizer.ggml.bos_token_id": ("u32", 0), "tokenizer.ggml.eos_token_id": ("u32", 0), "tokenizer.chat_template": ("str", TEMPLATE)}


def from_gguf(cfg, model):
    path = write(work("tiny.gguf"), gguf_model(cfg, model, byte_level(32)))
    r = paco_json("convert", path, "--out", work("g"))
    case("from GGUF: weights, names and rows", load(work("g")) == model)
    c = read_json("g", "config.json")
    want = {k: v for k, v in cfg.items() if k not in ("bos_token_id", "eos_token_id")}
    case("its configuration", {k: c.get(k) for k in want} == want and c["bos_token_id"] == 0, c)
    case("the licence travels", r and r["licence"] == "mit" and "license: \"mit\"" in open(work("g", "README.md"), encoding="utf-8").read(), r)
    t, tc = read_json("g", "tokenizer.json"), read_json("g", "tokenizer_config.json")
    case("its tokenizer", t["model"]["vocab"]["!\""] == 30 and t["model"]["merges"] == ["! \"", "# $"] and
         [(a["content"], a["special"]) for a in t["added_tokens"]] == [("<|end|>", True), ("<|user|>", False)], t)
    case("its chat template", tc["chat_template"] == TEMPLATE and tc["eos_token"] == "<|end|>", tc)
    for text in ("!\"#$%&", "<|user|>!!\"<|end|>", "ABC'#"):
        a, b = (paco_json("tokenize", "-m", m, text) for m in (path, work("g")))
        case("the same ids for %s" % text, a and b and a["ids"] == b["ids"] and a["ids"], (a, b))
    again = paco_json("convert", path, "--out", work("g"), "--force")
    case("twice, the same bytes", again and again["content_sha256"] == r["content_sha256"])
    case("verify agrees", paco("verify", work("g")).returncode == 0 and paco("verify", work("g"), "--against", path).returncode == 0)
    done = paco("convert", write(work("odd.gguf"), gguf_model(cfg, model, {**byte_level(32), "tokenizer.ggml.pre": ("str", "martian")})), "--out", work("odd"))
    case("a pre-tokenizer nobody knows", done.returncode == 1 and "'martian'" in done.stderr and not os.path.exists(work("odd")), done)
    twice = byte_level(32)
    twice["tokenizer.ggml.tokens"][1][31] = "!"
    done = paco("convert", write(work("twice.gguf"), gguf_model(cfg, model, twice)), "--out", work("twice"))
    case("a piece that comes twice", done.returncode == 1 and not os.path.exists(work("twice")), done)


def a_quantised_block():
    """One Q8_0 block: half-precision scale 0.5, quants -16 .. 15."""
    raw = struct.pack("<e32b", 0.5, *range(-16, 16))
    cfg = config(vocab=32, hidden=32, layers=1, heads=2, kv_heads=2, ff=32)
    model = llama(cfg)
    blob = gguf_model(cfg, model, byte_level(32), {"token_embd.weight": (8, [32, 32], raw * 32)})
    path = write(work("q8.gguf"), blob)
    paco("convert", path, "--out", work("q8"))
    got = load(work("q8"))["model.embed_tokens.weight"]
    case("a Q8_0 tensor becomes F32", got[0] == "F32" and floats(got)[:32] == [0.5 * q for q in range(-16, 16)], got[0])


def main():
    cfg = config()
    model = llama(cfg)
    containers(cfg, model)
    types(cfg, model)
    from_gguf(cfg, model)
    a_quantised_block()
    case("no model: exit 2", paco("convert", "--out", work("x")).returncode == 2)
    finish()


main()
