#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Meta's folders, wherever a model may stand: convert, generate, inspect, verify, and as the base of a recover; and
written by convert."""
import json
import os
import shutil
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import case, config, finish, llama, load, paco, paco_json, save, work, write  # noqa: E402

NAMES = {"self_attn.q_proj": ("attention.wq", 0), "self_attn.k_proj": ("attention.wk", 0), "self_attn.v_proj": ("attention.wv", 0),
         "self_attn.o_proj": ("attention.wo", 1), "mlp.gate_proj": ("feed_forward.w1", 0), "mlp.down_proj": ("feed_forward.w2", 1),
         "mlp.up_proj": ("feed_forward.w3", 0), "input_layernorm": ("attention_norm", None), "post_attention_layernorm": ("ffn_norm", None)}
TOP = {"model.embed_tokens.weight": ("tok_embeddings.weight", 1), "model.norm.weight": ("norm.weight", None), "lm_head.weight": ("output.weight", 0)}


def rows_of(raw, n):
    size = len(raw) // n
    return [raw[i * size:(i + 1) * size] for i in range(n)]


def to_pairs(raw, n_rows, n_heads):
    """Rows of each head from halves to neighbours."""
    rows, d = rows_of(raw, n_rows), n_rows // n_heads
    return b"".join(rows[h * d + a * (d // 2) + j] for h in range(n_heads) for j in range(d // 2) for a in range(2))


def cut(t, axis, i, n):
    dtype, shape, raw = t
    if axis is None or n == 1:
        return t
    if axis == 0:
        return dtype, [shape[0] // n] + shape[1:], raw[i * len(raw) // n:(i + 1) * len(raw) // n]
    piece = len(raw) // shape[0] // n
    return dtype, [shape[0], shape[1] // n], b"".join(r[i * piece:(i + 1) * piece] for r in rows_of(raw, shape[0]))


def piece(cfg, model, i, n):
    """What machine i of n has of the model."""
    part = {}
    for name, t in model.items():
        if name in TOP:
            new, axis = TOP[name]
        else:
            _, _, layer, rest = name.split(".", 3)
            new, axis = NAMES[rest[:-len(".weight")]]
            new = "layers.%s.%s.weight" % (layer, new)
        heads = {"attention.wq": cfg["num_attention_heads"], "attention.wk": cfg["num_key_value_heads"]}.get(new.split(".", 2)[-1][:-7])
        if heads:
            t = t[0], t[1], to_pairs(t[2], t[1][0], heads)
        part[new] = cut(t, axis, i, n)
    return part


def meta(folder, cfg, model, n=1, params=None):
    """The model as Meta would have written it on n machines."""
    for i in range(n):
        part = piece(cfg, model, i, n)
        part["rope.freqs"] = ("F32", [2], struct.pack("<2f", 1, 1))
        shutil.rmtree(work("part.bin"), ignore_errors=True)
        done = paco("convert", save(work("part"), part), "--out", work("part.bin"), "--to", "hf-bin")
        if done.returncode:
            sys.exit(done.stderr)
        os.makedirs(work(folder), exist_ok=True)
        os.rename(work("part.bin", "pytorch_model.bin"), work(folder, "consolidated.%02d.pth" % i))
    args = {"dim": cfg["hidden_size"], "n_layers": cfg["num_hidden_layers"], "n_heads": cfg["num_attention_heads"],
            "n_kv_heads": cfg["num_key_value_heads"], "multiple_of": 16, "norm_eps": 1e-05, "vocab_size": -1}
    write(work(folder, "params.json"), json.dumps({**args, **(params or {})}).encode())
    return work(folder)


def answers(*args):
    r = paco_json("generate", *args, "--ids", "1 5 9 3 7 30", "-n", "12", "--temp", "0")
    return r and r["ids"]


def converted(cfg, model):
    hf = save(work("hf"), model, cfg)
    for n in (1, 2, 4):
        folder = meta("meta%d" % n, cfg, model, n)
        r = paco_json("convert", folder, "--out", work("out%d" % n))
        case("%d shards become the model that was cut" % n, r and load(work("out%d" % n)) == model, r)
        with open(work("out%d" % n, "config.json"), encoding="utf-8") as f:
            made = json.load(f)
        keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size", "rms_norm_eps",
                "tie_word_embeddings", "torch_dtype")
        case("and its configuration", all(made[k] == cfg[k] for k in keys) and made["bos_token_id"] == 1 and made["eos_token_id"] == 2, made)
        case("verify: the same model", paco("verify", folder, "--against", hf).returncode == 0)
        case("generate: the same ids", answers("-m", folder) == answers("-m", hf))
        r = paco_json("inspect", folder)
        case("inspect reads it", r and r["kind"] == "model" and r["architecture"] == "LlamaForCausalLM" and not r["problems"], r)
    a, b = (json.load(open(work(d, "paco-manifest.json"), encoding="utf-8")) for d in ("out1", "out4"))
    case("the manifest's digests of the input are those of the model, however it was cut",
         a["tensors"] == b["tensors"] and a["inputs"][0]["content_sha256"] == b["inputs"][0]["content_sha256"], a["inputs"])


def written(cfg, model):
    """HF -> Meta -> HF: each file is the machine's piece, and the way back gives the model."""
    hf = save(work("hf"), model, cfg)
    for n in (1, 2, 4):
        out = work("written%d" % n)
        r = paco_json("convert", hf, "--out", out, "--to", "meta", "--shards", n)
        files = ["consolidated.%02d.pth" % i for i in range(n)] + ["paco-manifest.json", "params.json"]
        case("--shards %d writes %d files" % (n, n), r and r["n_files"] == n and sorted(os.listdir(out)) == files, r and os.listdir(out))
        for i in range(n):
            paco("convert", os.path.join(out, "consolidated.%02d.pth" % i), "--out", work("piece%d.%d" % (n, i)))
        case("each of them is a machine's piece", all(load(work("piece%d.%d" % (n, i))) == piece(cfg, model, i, n) for i in range(n)))
        paco_json("convert", out, "--out", work("back%d" % n))
        case("and the way back gives the model", load(work("back%d" % n)) == model)
        case("verify holds it against its manifest", paco("verify", out).returncode == 0)
        case("generate: the same ids", answers("-m", out) == answers("-m", hf))
    with open(work("written4", "params.json"), encoding="utf-8") as f:
        p = json.load(f)
    case("params.json has Meta's words", p == {"dim": 16, "multiple_of": 16, "n_heads": 4, "n_layers": 2, "norm_eps": 1e-05,
                                               "vocab_size": 32}, p)
    r = paco_json("convert", hf, "--out", work("dry"), "--to", "meta", "--shards", 2)
    case("what params.json cannot say is remarked on", r and any("no word for the context" in w for w in r["warnings"]), r)
    with open(work("written2", "consolidated.01.pth"), "r+b") as f:
        f.seek(os.path.getsize(f.name) // 2)
        b = f.read(1)
        f.seek(os.path.getsize(f.name) // 2)
        f.write(bytes([b[0] ^ 1]))
    case("verify finds a changed bit in a piece", paco("verify", work("written2")).returncode == 1)
    again = paco_json("convert", work("written4"), "--out", work("cut-again"), "--to", "meta", "--shards", 2)
    case("from Meta's to Meta's: cut again", again and paco("verify", work("cut-again"), "--against", hf).returncode == 0, again)
    tied = {k: v for k, v in model.items() if k != "lm_head.weight"}
    save(work("tied"), tied, {**cfg, "tie_word_embeddings": True})
    paco_json("convert", work("tied"), "--out", work("tied-meta"), "--to", "meta")
    paco_json("convert", work("tied-meta"), "--out", work("tied-back"))
    case("a tied model stays tied", load(work("tied-back")) == tied)


def cannot_be_written(cfg, model):
    for what, args, config_of, words in (
            ("three machines and four heads", ("--shards", 3), cfg,
             "4 attention heads cannot be dealt to 3 shards equally: 4 = 3 x 1 + 1 (possible: 1, 2, 4)"),
            ("a pad row", ("--shards", 2), {**cfg, "vocab_size": 33}, "33 rows of the output matrix cannot be dealt to 2 shards equally: 33 = 2 x 16 + 1"),
            ("linear scaling", (), {**cfg, "rope_scaling": {"type": "linear", "factor": 2.0}}, "RoPE scaling of type 'linear' has no place"),
            ("biases", (), {**cfg, "attention_bias": True}, "has no place in Meta's files")):
        m = llama(config_of)
        if config_of.get("attention_bias"):
            m["model.layers.0.self_attn.q_proj.bias"] = ("F32", [16], bytes(64))
        save(work("unfit"), m, config_of)
        done = paco("convert", work("unfit"), "--out", work("never"), "--to", "meta", *args)
        case("%s: refused, nothing written" % what, done.returncode == 1 and words in done.stderr and not os.path.exists(work("never")), done.stderr)
        shutil.rmtree(work("unfit"))
    save(work("lone"), model)
    done = paco("convert", work("lone"), "--out", work("never"), "--to", "meta")
    case("no configuration: refused", done.returncode == 1 and "holds no config.json" in done.stderr, done.stderr)
    done = paco("convert", work("hf"), "--out", work("never"), "--shards", 2)
    case("--shards without --to meta is misuse", done.returncode == 2 and "--shards is for --to meta" in done.stderr, done.stderr)
    done = paco("convert", work("hf"), "--out", work("never"), "--to", "meta", "--type", "q4_0")
    case("so are block types", done.returncode == 2 and "is for GGUF files" in done.stderr, done.stderr)


def recovered(cfg, model):
    tuned = llama({**cfg, "vocab_size": cfg["vocab_size"] + 1}, seed=9)
    save(work("tuned"), tuned, {**cfg, "vocab_size": cfg["vocab_size"] + 1}, {"added_tokens.json": b'{"<pad>": 32}'})
    paco("diff", "--raw", work("hf"), "--tuned", work("tuned"), "--out", work("diff"))
    for raw in ("hf", "meta4"):
        done = paco("recover", "--raw", work(raw), "--diff", work("diff"), "--out", work("from-" + raw))
        case("recover from %s" % raw, done.returncode == 0, done.stderr)
    case("recover: the same from Meta's files", load(work("from-hf")) == load(work("from-meta4")))
    case("base and diff answer without being added up", answers("-m", work("meta4"), "--diff", work("diff")) == answers("-m", work("from-hf")))


def refused(cfg, model):
    other = llama(cfg, seed=4, norm=0.5)
    meta("two", cfg, model, 2)
    meta("other", cfg, other, 2)
    shutil.copy(work("other", "consolidated.01.pth"), work("two", "consolidated.01.pth"))
    for what, prepare, words in (
            ("shards of two models", lambda: None, "should be the same in every shard"),
            ("a missing shard", lambda: os.remove(work("two", "consolidated.01.pth")), "there is 1 of 2 shards: consolidated.01.pth is missing"),
            ("a login page", lambda: write(work("two", "consolidated.01.pth"), b"<!DOCTYPE html><html><body>Sign in</body></html>"), "HTML"),
            ("no params.json", lambda: os.remove(work("two", "params.json")), "whose params.json is missing")):
        prepare()
        done = paco("convert", work("two"), "--out", work("refused"))
        case("%s: one clear error, nothing written" % what, done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1 and
             not os.path.exists(work("refused")), done.stderr)


def tokenizers(cfg, model):
    """LLaMA 3's list of ranks in the folder, SentencePiece's in the one above."""
    ranks = b"".join(b"%s %d\n" % (t, i) for i, t in enumerate((b"SGVs", b"bG8=", b"SGVsbG8=", b"IA==", b"SA==", b"bw==")))
    folder = meta("ranks", {**cfg, "vocab_size": 6 + 256}, llama({**cfg, "vocab_size": 6 + 256}), 2)
    write(os.path.join(folder, "tokenizer.model"), ranks)
    ids = paco_json("tokenize", "-m", folder, "Hello H")
    case("tokenize reads the ranks", ids and ids["ids"] == [6, 2, 3, 4], ids)
    r = paco_json("convert", folder, "--out", work("from-ranks"))
    again = paco_json("tokenize", "-m", work("from-ranks"), "Hello H")
    case("and convert writes them as tokenizer.json", r and again == ids, (r, again))
    r = paco_json("convert", folder, "--out", work("ranks.gguf"), "--to", "gguf")
    again = paco_json("tokenize", "-m", work("ranks.gguf"), "Hello H")
    case("or into a GGUF file", r and again and again["ids"] == ids["ids"], (r, again))
    r = paco_json("convert", work("ranks.gguf"), "--out", work("of-gguf"), "--to", "meta", "--shards", 2)
    case("of which Meta's files are made again", r and paco("verify", work("of-gguf"), "--against", folder).returncode == 0, r)
    r = paco_json("convert", folder, "--out", work("ranks-again"), "--to", "meta")
    again = paco_json("tokenize", "-m", work("ranks-again"), "Hello H")
    case("the list of ranks goes along to Meta's files", r and again == ids, (r, again))
    data = os.path.join(os.environ.get("PACO_DATA", os.path.join("..", "shared", "data")), "tokenizer", "tokenizer.model")
    if not os.path.exists(data):
        print("# SKIP LLaMA's tokenizer.model is not there (PACO_DATA)")
        return
    big = {**cfg, "vocab_size": 32000}
    folder = meta(os.path.join("llama", "7B"), big, llama(big), 1)
    shutil.copy(data, work("llama", "tokenizer.model"))
    r = paco_json("convert", folder, "--out", work("llama-again"), "--to", "meta")
    with open(work("llama-again", "tokenizer.model"), "rb") as a, open(data, "rb") as b:
        case("SentencePiece's from the folder above goes along to Meta's files", r and a.read() == b.read(), r)
    text = "The quick  brown fox\n\tjumps: \u65e5\u672c\u8a9e </s> x"
    ids = paco_json("tokenize", "-m", folder, text)
    r = paco_json("convert", folder, "--out", work("from-spm"))
    case("SentencePiece's from the folder above", ids and r and ids["ids"] == paco_json("tokenize", "-m", work("from-spm"), text)["ids"], (ids, r))
    with open(work("from-spm", "tokenizer.model"), "rb") as a, open(data, "rb") as b:
        case("which is copied too", a.read() == b.read())


def main():
    cfg = {**config(vocab=32, hidden=16, heads=4, kv_heads=4, ff=48), "torch_dtype": "float32"}
    model = llama(cfg, spread=0.4)
    converted(cfg, model)
    written(cfg, model)
    cannot_be_written(cfg, model)
    recovered(cfg, model)
    refused(cfg, model)
    tokenizers(cfg, model)
    finish()


main()
