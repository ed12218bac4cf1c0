#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Meta's folders against Meta's own arithmetic, and against Transformers on what paco convert makes of them.

Random models are written as Meta writes them, on 1 to 8 machines. The reference here is a forward pass in Meta's terms:
whole matrices from the pieces, rotation of neighbouring elements by complex numbers. So the permutation of q and k, the
axes, the formula of the inner width and the scaled frequencies are held against something that knows no Hugging Face.
The way back, paco convert --to meta, is held against the same models' pieces as torch reads them.
The tokenizer of LLaMA 3 is a few lines of byte pair encoding by ranks.
"""
import base64
import json
import math
import random
import shutil

import regex
import torch
from sentencepiece import SentencePieceProcessor
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import case, data, equal, expect, finish, note, paco, work

IDS = [(37 * i * i + 5) % 101 for i in range(300)]  # long enough for scaled frequencies to tell
AXES = {"wq": 0, "wk": 0, "wv": 0, "wo": 1, "w1": 0, "w2": 1, "w3": 0, "output": 0}


def inner_of(p):
    """FeedForward.__init__ in Meta's model.py."""
    hidden = int(2 * 4 * p["dim"] / 3)
    hidden = int(p.get("ffn_dim_multiplier", 1) * hidden)
    return p["multiple_of"] * ((hidden + p["multiple_of"] - 1) // p["multiple_of"])


def random_model(p, vocab, dtype, tied=False):
    torch.manual_seed(p["dim"] + p["n_layers"])
    dim, d = p["dim"], p["dim"] // p["n_heads"]
    kv, inner = p.get("n_kv_heads", p["n_heads"]) * d, inner_of(p)
    w = {"tok_embeddings.weight": (vocab, dim), "norm.weight": (dim,)}
    if not tied:
        w["output.weight"] = (vocab, dim)
    for i in range(p["n_layers"]):
        q = "layers.%d." % i
        for name, shape in (("attention.wq", (dim, dim)), ("attention.wk", (kv, dim)), ("attention.wv", (kv, dim)), ("attention.wo", (dim, dim)),
                            ("feed_forward.w1", (inner, dim)), ("feed_forward.w2", (dim, inner)), ("feed_forward.w3", (inner, dim)),
                            ("attention_norm", (dim,)), ("ffn_norm", (dim,))):
            w[q + name + ".weight"] = shape
    return {k: (torch.rand(s) * 0.4 + 0.8 if len(s) == 1 else torch.randn(s) * 0.08).to(dtype) for k, s in w.items()}


def save(folder, p, model, n, vocab, rows_of_embedding):
    for i in range(n):
        part = {}
        for k, t in model.items():
            axis = (0 if rows_of_embedding else 1) if k.startswith("tok_") else AXES.get(k.split(".")[-2])
            # Meta's norms share storage with other tensors in some releases: views must be read as views.
            part[k] = torch.cat([t, t])[:len(t)] if axis is None else t.chunk(n, axis)[i].clone()
        part["rope.freqs"] = torch.ones(p["dim"] // p["n_heads"] // 2)
        torch.save(part, folder / ("consolidated.%02d.pth" % i))
    (folder / "params.json").write_text(json.dumps({**p, "vocab_size": p.get("vocab_size", -1)}))


def frequencies(p, d):
    f = 1.0 / (p.get("rope_theta", 10000.0) ** (torch.arange(0, d, 2).float() / d))
    if not p.get("use_scaled_rope"):
        return f
    factor, low, high, old = p.get("rope_scaling_factor", 32 if p["dim"] < 4096 else 8), 1, 4, 8192
    out = []
    for x in f.tolist():
        wavelength = 2 * math.pi / x
        if wavelength < old / high:
            out.append(x)
        elif wavelength > old / low:
            out.append(x / factor)
        else:
            smooth = (old / wavelength - low) / (high - low)
            out.append((1 - smooth) * x / factor + smooth * x)
    return torch.tensor(out)


def reference(p, model, ids):
    """Logits behind the last token."""
    w = {k: t.float() for k, t in model.items()}
    heads, kv_heads, d, n = p["n_heads"], p.get("n_kv_heads", p["n_heads"]), p["dim"] // p["n_heads"], len(ids)

    def norm(x, g):
        return g * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + p["norm_eps"]))

    angles = torch.outer(torch.arange(n).float(), frequencies(p, d))
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]

    def rotate(x):
        return torch.view_as_real(torch.view_as_complex(x.reshape(n, -1, d // 2, 2)) * turn).flatten(2)

    x = w["tok_embeddings.weight"][ids]
    mask = torch.full((n, n), -torch.inf).triu(1)
    for i in range(p["n_layers"]):
        q = "layers.%d." % i
        y = norm(x, w[q + "attention_norm.weight"])
        xq, xk, xv = (y @ w[q + "attention.%s.weight" % m].T for m in ("wq", "wk", "wv"))
        xq, xk, xv = rotate(xq.view(n, heads, d)), rotate(xk.view(n, kv_heads, d)), xv.view(n, kv_heads, d)
        xk, xv = (t.repeat_interleave(heads // kv_heads, 1) for t in (xk, xv))
        scores = torch.einsum("qhd,khd->hqk", xq, xk) / math.sqrt(d) + mask
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), xv).reshape(n, -1)
        x = x + mixed @ w[q + "attention.wo.weight"].T
        y = norm(x, w[q + "ffn_norm.weight"])
        f = q + "feed_forward.%s.weight"
        x = x + (torch.nn.functional.silu(y @ w[f % "w1"].T) * (y @ w[f % "w3"].T)) @ w[f % "w2"].T
    return norm(x[-1], w["norm.weight"]) @ w.get("output.weight", w["tok_embeddings.weight"]).T


def written(source, p, model, n, rows_of_embedding):
    """The folder paco writes for n machines against the model's pieces; params.json against Meta's formula."""
    out = work("meta-again")
    shutil.rmtree(out)
    paco("convert", source, "--out", out, "--to", "meta", "--shards", n)
    made = json.loads((out / "params.json").read_text())
    equal("inner width", inner_of(made), inner_of(p))
    for key, default in (("dim", None), ("n_layers", None), ("n_heads", None), ("n_kv_heads", p["n_heads"]), ("rope_theta", 10000.0),
                         ("use_scaled_rope", False), ("norm_eps", None), ("rope_scaling_factor", 32 if p["dim"] < 4096 else 8)):
        equal(key, made.get(key, default), p.get(key, default))
    for i in range(n):
        part = torch.load(out / ("consolidated.%02d.pth" % i), weights_only=True)
        equal("names", sorted(part), sorted(model))
        for k, t in model.items():
            axis = (0 if rows_of_embedding else 1) if k.startswith("tok_") else AXES.get(k.split(".")[-2])
            want = t if axis is None else t.chunk(n, axis)[i]
            expect(part[k].dtype == want.dtype and part[k].is_contiguous() and torch.equal(part[k], want), "%s of machine %d of %d" % (k, i, n))


def models():
    base = {"dim": 256, "n_layers": 2, "n_heads": 8, "multiple_of": 32, "norm_eps": 1e-5}
    kinds = (
        ("LLaMA, float16", {**base, "norm_eps": 1e-6}, 128, torch.float16, False, False),
        ("LLaMA 2 with grouped heads", {**base, "n_kv_heads": 8, "n_heads": 16, "ffn_dim_multiplier": 1.3}, 128, torch.float16, False, False),
        ("LLaMA 3, bfloat16", {**base, "n_kv_heads": 8, "n_heads": 16, "rope_theta": 500000.0}, 128256, torch.bfloat16, True, False),
        ("LLaMA 3.1, scaled", {**base, "n_kv_heads": 8, "n_heads": 16, "rope_theta": 500000.0, "use_scaled_rope": True, "rope_scaling_factor": 8.0},
         128256, torch.bfloat16, True, False),
        ("LLaMA 3.2, tied", {**base, "rope_theta": 500000.0, "use_scaled_rope": True}, 128256, torch.bfloat16, True, True),
        ("Code Llama, float32", {**base, "rope_theta": 1000000.0}, 160, torch.float32, False, False),
    )
    for name, p, vocab, dtype, rows, tied in kinds:
        model = random_model(p, vocab, dtype, tied)
        want = reference(p, model, IDS)
        for n in (1, 2, 8):
            with case("meta: %s, %d shard%s" % (name, n, "s" if n > 1 else "")):
                folder = work("meta")
                shutil.rmtree(folder)
                folder.mkdir()
                save(folder, p, model, n, vocab, rows)
                top = paco("generate", "-m", folder, "--ids", " ".join(map(str, IDS)), "--logits-json", "--dtype", "f32", json=False).stdout
                error = max(abs(logit - float(want[i])) for i, _, logit in json.loads(top)["top"])
                expect(error < 1e-4, "logits differ by %g from Meta's arithmetic" % error)
                if n == 2:
                    continue
                out = work("meta-hf")
                shutil.rmtree(out)
                paco("convert", folder, "--out", out, "--max-shard", "100MB")
                hf, info = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
                expect(not info["missing_keys"] and not info["unexpected_keys"], "%s" % info)
                with torch.no_grad():
                    other = float((hf(torch.tensor([IDS])).logits[0, -1] - want).abs().max())
                expect(other < 1e-4, "Transformers' logits differ by %g" % other)
                note("within %.1g; Transformers on the converted folder within %.1g" % (error, other))
                for m in (1, 2, 8):
                    written(out, p, model, m, rows)
                note("written again on 1, 2 and 8 machines: torch.load gives the pieces, bit for bit")


# ---- tokenizers ----

PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train(text, n):
    """Ranks: all bytes, then the commonest neighbours of the words, n in all."""
    words = [[bytes([b]) for b in w.encode()] for w in regex.findall(PATTERN, text)]
    ranks = {bytes([b]): b for b in range(256)}
    while len(ranks) < n:
        count = {}
        for w in words:
            for a, b in zip(w, w[1:]):
                count[a + b] = count.get(a + b, 0) + (len(a + b) > 1)
        best = max((c for c in count if c not in ranks), key=lambda c: (count[c], c), default=None)
        if best is None:
            break
        ranks[best] = len(ranks)
        for w in words:
            i = 0
            while i + 1 < len(w):
                if w[i] + w[i + 1] == best:
                    w[i:i + 2] = [best]
                i += 1
    return ranks


def by_ranks(ranks, text):
    """tiktoken's algorithm: a word that is in the list; else neighbours merge, the lowest rank first."""
    out = []
    for word in regex.findall(PATTERN, text):
        w = word.encode()
        parts = [w] if w in ranks else [bytes([b]) for b in w]
        while len(parts) > 1:
            rank, i = min((ranks.get(a + b, math.inf), i) for i, (a, b) in enumerate(zip(parts, parts[1:])))
            if rank == math.inf:
                break
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        out += [ranks[p] for p in parts]
    return out


def lines(n):
    r = random.Random(11)
    words = ["the", "The", "alpaca", "llama's", "don't", "I'LL", "1234567", "3.14", "  ", "\t", "naïve", "e\u0301", "日本語", "Привет", "🙂", "...", "!=",
             "foo_bar(x)", "x\u00a0y", "\u200b", "ß", "hello", "Hello", " world", "wor", "ld"]
    return ["".join(r.choice(words) + r.choice(["", " ", " ", "  "]) for _ in range(r.randrange(1, 12))) for _ in range(n)]


def llama3():
    with case("meta: LLaMA 3's list of ranks"):
        here, made = work("ranks"), work() / "ranks-hf"
        texts = lines(1500)
        ranks = train("\n".join(texts[:300]), 600)
        (here / "tokenizer.model").write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(t), i) for t, i in ranks.items()))
        p = {"dim": 32, "n_layers": 1, "n_heads": 4, "multiple_of": 8, "norm_eps": 1e-5, "use_scaled_rope": True}
        save(here, p, random_model(p, len(ranks) + 256, torch.float32), 1, len(ranks) + 256, True)
        paco("convert", here, "--out", made)
        theirs = AutoTokenizer.from_pretrained(made)
        for source in (here, made):
            got = [x["ids"] for x in paco("tokenize", "-m", source, "--lines", stdin="\n".join(texts) + "\n").lines()]
            for t, ids in zip(texts, got):
                equal("ids of %r" % t, ids, [len(ranks)] + by_ranks(ranks, t))
        for t in texts:
            equal("Transformers' ids of %r" % t, theirs.encode(t), [len(ranks)] + by_ranks(ranks, t))
        text = "a<|eot_id|>b<|python_tag|>"
        equal("special tokens", theirs.encode(text), paco("tokenize", "-m", here, text).json["ids"])
        note("%d texts, the same ids as tiktoken's algorithm, paco's and Transformers'" % len(texts))


def sentencepiece():
    with case("meta: SentencePiece's tokenizer.model"):
        here = work("llama")
        model = here / "7B"
        model.mkdir(exist_ok=True)
        shutil.copy(data("tokenizer/tokenizer.model"), here / "tokenizer.model")
        p = {"dim": 32, "n_layers": 1, "n_heads": 4, "multiple_of": 8, "norm_eps": 1e-6}
        save(model, p, random_model(p, 32000, torch.float16), 1, 32000, False)
        paco("convert", model, "--out", here / "hf")
        sp, theirs, texts = SentencePieceProcessor(str(here / "tokenizer.model")), AutoTokenizer.from_pretrained(here / "hf"), lines(1500)
        got = [x["ids"] for x in paco("tokenize", "-m", model, "--lines", stdin="\n".join(texts) + "\n").lines()]
        for t, ids in zip(texts, got):
            equal("ids of %r" % t, ids, [1] + sp.encode(t))
            equal("Transformers' ids of %r" % t, theirs.encode(t), ids)
        note("%d texts, the same ids as SentencePiece's and Transformers'" % len(texts))


models()
llama3()
sentencepiece()
finish()
