#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco convert against Transformers: GGUF to a Hugging Face folder, and .bin to safetensors and back.

The folder made from a GGUF file must load with the Auto classes and give the weights, logits and token ids that
Transformers gets from the GGUF file itself.
"""
import json
import os
import random

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from sentencepiece import SentencePieceProcessor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from common import case, data, default_model, equal, expect, finish, note, paco, work


def lines(n=2000):
    """Texts of many kinds: scripts, numbers, code, white space, special tokens spelt out."""
    r = random.Random(5)
    fixed = ["", " ", "Hello world", "  two  spaces\tand\ttabs ", "1234567 x=3.14", "don't I'LL it's", "日本語のテキスト。", "Привет, мир!",
             "def f(x):\n    return x**2\n", "\n\n\n", "naïve café e\u0301", "🙂🙂", "<|im_start|>user\nhi<|im_end|>\n", "a <|endoftext|> b",
             "</s> x <s>", " lead", "trail ", "ß ẞ İ ı", "x</s>", "<unk>", "\u2581under\u2581", "\r\n\r\n", "a\u00a0b", "\u200b"]
    pick = [lambda: r.randrange(32, 127), lambda: r.randrange(32, 127), lambda: 32, lambda: r.randrange(0xa0, 0x2000),
            lambda: r.randrange(0x3000, 0xd7ff), lambda: r.randrange(0x1f300, 0x1f700)]
    return fixed + ["".join(chr(r.choice(pick)()) for _ in range(r.randrange(1, 60))) for _ in range(n)]


def make_gguf(path, kind, dtype, vocab=None, tied=False):
    """A random model of two layers, with LLaMA's vocabulary when it is there."""
    r = np.random.default_rng(3)
    w = gguf.GGUFWriter(str(path), "llama")
    hidden, ff, heads, kv = 64, 128, 4, 2
    n = len(vocab[0]) if vocab else 320
    w.add_block_count(2)
    w.add_context_length(256)
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(ff)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(hidden // heads)
    w.add_rope_freq_base(10000.0)
    w.add_vocab_size(n)
    w.add_license("apache-2.0")
    if vocab:
        w.add_tokenizer_model("llama")
        w.add_token_list(vocab[0])
        w.add_token_scores(vocab[1])
        w.add_token_types(vocab[2])
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_unk_token_id(0)

    def tensor(name, rows, cols):
        x = (r.standard_normal((rows, cols)) * 0.05).astype(np.float32)
        if dtype in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            w.add_tensor(name, x.astype(np.float16 if dtype == gguf.GGMLQuantizationType.F16 else np.float32))
        else:
            w.add_tensor(name, gguf.quants.quantize(x, dtype), raw_dtype=dtype)

    tensor("token_embd.weight", n, hidden)
    for i in range(2):
        p = "blk.%d." % i
        tensor(p + "attn_q.weight", hidden, hidden)
        tensor(p + "attn_k.weight", hidden // heads * kv, hidden)
        tensor(p + "attn_v.weight", hidden // heads * kv, hidden)
        tensor(p + "attn_output.weight", hidden, hidden)
        tensor(p + "ffn_gate.weight", ff, hidden)
        tensor(p + "ffn_up.weight", ff, hidden)
        tensor(p + "ffn_down.weight", hidden, ff)
        for norm in ("attn_norm", "ffn_norm"):
            w.add_tensor(p + norm + ".weight", r.uniform(0.5, 1.5, hidden).astype(np.float32))
    w.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    if not tied:
        tensor("output.weight", n, hidden)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def llama_vocabulary():
    sp = SentencePieceProcessor(str(data("tokenizer/tokenizer.model")))
    tokens, scores, types = [], [], []
    for i in range(sp.vocab_size()):
        tokens.append(sp.id_to_piece(i).encode())
        scores.append(sp.get_score(i))
        types.append(2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1)
    return tokens, scores, types


def same_ids(folder, model):
    """Transformers on the folder, paco on the folder and paco on the GGUF file agree on every line."""
    ours = AutoTokenizer.from_pretrained(folder)
    texts = lines()
    flat = [t for t in texts if "\n" not in t and "\r" not in t]
    want = [ours.encode(t) for t in flat]
    for source in (folder, model):
        out = paco("tokenize", "-m", source, "--lines", stdin="\n".join(flat) + "\n")
        got = [x["ids"] for x in out.lines()]
        equal("lines from " + str(source), len(got), len(want))
        for t, a, b in zip(flat, got, want):
            equal("ids of %r" % t, a, b)
    for t in [t for t in texts if "\n" in t or "\r" in t][:40]:
        equal("ids of %r" % t, paco("tokenize", "-m", model, stdin=t).json["ids"], ours.encode(t))
    note("%d texts, the same ids" % len(flat))


def same_model(folder, model, exact=True):
    """Weights and logits of the folder are those Transformers reads from the GGUF file."""
    theirs = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
    ours, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    expect(not info["missing_keys"] and not info["unexpected_keys"], "%s" % info)
    want, got = theirs.state_dict(), ours.state_dict()
    equal("names", sorted(got), sorted(want))
    for k, v in want.items():
        error = float((got[k] - v).abs().max())
        expect(error == 0 if exact else error < 1e-6, "%s differs by %g" % (k, error))
    ids = torch.tensor([[1, 5, 9, 100, 42, 7, 300, 11]])
    with torch.no_grad():
        error = float((ours(ids).logits - theirs(ids).logits).abs().max())
    expect(error < 1e-4, "logits differ by %g" % error)
    note("%d tensors equal, logits within %.2g" % (len(want), error))
    return ours


def tiny_ggufs():
    kinds = gguf.GGMLQuantizationType
    for name, dtype, tied in (("f32", kinds.F32, False), ("f16", kinds.F16, True), ("q8_0", kinds.Q8_0, False), ("q4_0", kinds.Q4_0, False),
                              ("q4_1", kinds.Q4_1, True)):
        with case("convert: a %s GGUF file" % name):
            model = make_gguf(work("gguf-" + name) / "model.gguf", name, dtype, tied=tied)
            folder = work("gguf-" + name) / "hf"
            out = paco("convert", model, "--out", folder, "--to", "hf")
            same_model(folder, model)
            types = {str(v.dtype) for v in load_file(folder / "model.safetensors").values()}
            equal("types", types, {"torch.float32", "torch.float16"} if name == "f16" else {"torch.float32"})
            equal("licence", json.loads(out.stdout)["licence"], "apache-2.0")


def llama_gguf():
    with case("convert: LLaMA's vocabulary in a GGUF file"):
        model = make_gguf(work("vocab") / "model.gguf", "llama", gguf.GGMLQuantizationType.F16, vocab=llama_vocabulary())
        folder = work("vocab") / "hf"
        paco("convert", model, "--out", folder)
        same_ids(folder, model)
        same_model(folder, model)


def smollm2():
    with case("convert: SmolLM2, weights and logits"):
        model = default_model()
        folder = work("smollm2") / "hf"
        out = paco("convert", model, "--out", folder, "--to", "hf", "--type", "f32")
        expect(out.peak_rss <= 64 << 20, "peak memory %d" % out.peak_rss)
        ours = same_model(folder, model, exact=False)
        tok = AutoTokenizer.from_pretrained(folder)
        ids = tok.apply_chat_template([{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True,
                                      return_tensors="pt", return_dict=True)["input_ids"]
        text = tok.decode(ours.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1]:])
        expect("Paris" in text, "it answered %r" % text)
    with case("convert: SmolLM2, token ids"):
        same_ids(work("smollm2") / "hf", default_model())


def bin_and_back():
    with case("convert: .bin, safetensors, and narrow types"):
        torch.manual_seed(1)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                                             num_key_value_heads=4)).to(torch.bfloat16)
        here = work("bin")
        model.save_pretrained(here / "a")
        paco("convert", here / "a", "--out", here / "b", "--to", "hf-bin", "--max-shard", "20kB")
        shards = sorted(p for p in os.listdir(here / "b") if p.endswith(".bin"))
        expect(len(shards) > 1, "%s" % shards)
        state = {}
        for p in shards:
            state.update(torch.load(here / "b" / p, weights_only=True))
        for k, v in model.state_dict().items():
            expect(torch.equal(state[k], v), k)
        paco("convert", here / "b", "--out", here / "c", "--to", "hf", "--type", "auto")
        got = load_file(here / "c" / "model.safetensors")
        for k, v in model.state_dict().items():
            expect(got[k].dtype == torch.bfloat16 and torch.equal(got[k], v), k)
        paco("convert", here / "b", "--out", here / "d", "--type", "f16")
        got = load_file(here / "d" / "model.safetensors")
        for k, v in model.state_dict().items():
            expect(torch.equal(got[k], v.float().to(torch.float16)), k)
        equal("torch_dtype", json.loads((here / "d" / "config.json").read_text()).get("dtype") or
              json.loads((here / "d" / "config.json").read_text()).get("torch_dtype"), "float16")


def main():
    tiny_ggufs()
    llama_gguf()
    smollm2()
    bin_and_back()
    finish()


main()
