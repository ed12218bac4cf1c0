#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco convert, recover and merge to GGUF: what is written, what it is read back as, what is refused."""
import glob
import json
import math
import os
import shutil
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import case, config, f32, finish, floats, llama, paco, paco_json, save, tensor, work, write  # noqa: E402

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")


def read(path):
    """Metadata and tensors (GGML type, shape rows first, offset in the file) of a GGUF file, by the specification."""
    with open(path, "rb") as f:
        data = f.read()
    at = 0

    def take(fmt):
        nonlocal at
        v = struct.unpack_from("<" + fmt, data, at)
        at += struct.calcsize("<" + fmt)
        return v[0] if len(v) == 1 else v

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n:at].decode("utf-8", "surrogateescape")

    def value(kind):
        return text() if kind == 8 else take({4: "I", 5: "i", 6: "f", 7: "?"}[kind])

    magic, version, n_tensors, n_kv = take("4sIQQ")
    assert (magic, version) == (b"GGUF", 3)
    meta, tensors = {}, {}
    for _ in range(n_kv):
        key, kind = text(), take("I")
        if kind == 9:
            inner, n = take("IQ")
            meta[key] = [value(inner) for _ in range(n)]
        else:
            meta[key] = value(kind)
    for _ in range(n_tensors):
        name, n_dims = text(), take("I")
        shape = [take("Q") for _ in range(n_dims)][::-1]
        tensors[name] = [take("I"), shape, take("Q")]
    start = (at + 31) // 32 * 32
    for t in tensors.values():
        t[2] += start
    return meta, tensors, data


def byte_level(n):
    """A tokenizer.json of n tokens, two of them special."""
    pieces = ["<|end|>", "<|user|>"] + [chr(c) for c in range(33, 33 + n - 4)] + ["!\"", "#$"]
    added = [{"id": i, "content": pieces[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": i == 0}
             for i in range(2)]
    return {"tokenizer.json": {"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": {
        "type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                              {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
        "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "vocab": {p: i for i, p in enumerate(pieces)}, "merges": ["! \"", "# $"]}},
        "tokenizer_config.json": {"eos_token": "<|end|>", "bos_token": "<|end|>", "chat_template": "{{ messages }}", "add_bos_token": False}}


def same(what, a, b, keys):
    case(what, all(a.get(k) == b.get(k) for k in keys), {k: (a.get(k), b.get(k)) for k in keys if a.get(k) != b.get(k)})


def round_trips():
    for path in sorted(glob.glob(os.path.join(FIXTURES, "models", "*"))):
        name = os.path.basename(path)
        shutil.copytree(path, work(name))
        with open(work(name, "config.json"), encoding="utf-8") as f:
            cfg = json.load(f)
        for file, content in byte_level(cfg["vocab_size"]).items():
            write(work(name, file), content)
        r = paco_json("convert", work(name), "--out", work(name + ".gguf"))
        case("%s: written, and called by its name" % name, r and read(work(name + ".gguf"))[0]["general.name"] == name, r)
        case("%s: the same values" % name, paco("verify", work(name + ".gguf"), "--against", work(name)).returncode == 0)
        a, b = (paco_json("generate", "-m", m, "--format", "raw", "-p", "!\"#$%", "-n", "8", "--dtype", "f32", "--temp", "0")
                for m in (work(name), work(name + ".gguf")))
        case("%s: the same answer" % name, a and b and a["ids"] == b["ids"], (a, b))
        paco("convert", work(name + ".gguf"), "--out", work(name + ".back"))
        with open(work(name + ".back", "config.json"), encoding="utf-8") as f:
            back = json.load(f)
        same("%s: back, the same configuration" % name, cfg, back,
             ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "num_hidden_layers",
              "max_position_embeddings", "vocab_size", "tie_word_embeddings", "attention_bias", "mlp_bias"))
        case("%s: and the same weights" % name, paco("verify", work(name + ".back"), "--against", work(name)).returncode == 0)
        c, d = (paco_json("generate", "-m", m, "--format", "raw", "-p", "!\"#$%", "-n", "0", "--logits-json", "--dtype", "f32")
                for m in (work(name), work(name + ".back")))
        case("%s: and the same logits" % name, c and d and c["top"] == d["top"], (c, d))


def metadata():
    cfg = config(vocab=40, hidden=32, heads=2, kv_heads=1, ff=32)
    model = llama(cfg)
    files = byte_level(38)  # two rows more than tokens
    a = save(work("model"), model, cfg, files)
    paco("convert", a, "--out", work("m.gguf"), "--type", "f16")
    meta, tensors, data = read(work("m.gguf"))
    case("sizes", [meta.get("llama." + k) for k in ("block_count", "embedding_length", "feed_forward_length", "attention.head_count",
                                                     "attention.head_count_kv", "context_length", "vocab_size", "rope.dimension_count")] ==
         [2, 32, 32, 2, 1, 64, 40, 16], meta)
    case("general", (meta["general.architecture"], meta["general.file_type"], meta["general.quantization_version"]) == ("llama", 1, 2), meta)
    case("matrices in F16, norms in F32", all(t[0] == (1 if len(t[1]) == 2 else 0) for t in tensors.values()), tensors)
    case("every tensor is aligned", all(t[2] % 32 == 0 for t in tensors.values()) and len(data) % 32 == 0, tensors)
    tokens = meta["tokenizer.ggml.tokens"]
    case("tokens, types and padding rows", (len(tokens), tokens[:2], tokens[38:], meta["tokenizer.ggml.token_type"][:3],
                                            meta["tokenizer.ggml.token_type"][38:]) ==
         (40, ["<|end|>", "<|user|>"], ["[PAD38]", "[PAD39]"], [3, 4, 1], [5, 5]), meta)
    case("merges and how text is cut", (meta["tokenizer.ggml.merges"], meta["tokenizer.ggml.model"], meta["tokenizer.ggml.pre"]) ==
         (["! \"", "# $"], "gpt2", "smollm"), meta)
    case("special tokens and template", (meta["tokenizer.ggml.bos_token_id"], meta["tokenizer.ggml.eos_token_id"],
                                         meta["tokenizer.ggml.add_bos_token"], meta["tokenizer.chat_template"]) == (0, 0, False, "{{ messages }}"), meta)
    rows = floats(model["model.layers.0.self_attn.q_proj.weight"])
    kind, shape, at = tensors["blk.0.attn_q.weight"]
    got = struct.unpack_from("<32e", data, at + 32 * 2)
    case("q is interleaved", list(got) == [struct.unpack("<e", struct.pack("<e", v))[0] for v in rows[8 * 32:9 * 32]], got)
    done = paco("inspect", work("m.gguf"))
    case("inspect reads it", done.returncode == 0 and "LlamaForCausalLM" in done.stdout, done)


def yarn():
    """YaRN's scaling into GGUF's metadata and back."""
    cfg = config(vocab=40, hidden=32, heads=2, kv_heads=1, ff=32)
    rope = {"rope_type": "yarn", "factor": 8.0, "attention_factor": 1.5, "beta_fast": 16.0, "beta_slow": 1.0, "original_max_position_embeddings": 8}
    a = save(work("yarn"), llama(cfg), {**cfg, "rope_scaling": rope}, byte_level(40))
    paco("convert", a, "--out", work("yarn.gguf"))
    meta = {k[len("llama.rope.scaling."):]: v for k, v in read(work("yarn.gguf"))[0].items() if k.startswith("llama.rope.scaling.")}
    times = meta.pop("attn_factor", 0)
    case("yarn: metadata", meta == {"type": "yarn", "factor": 8.0, "original_context_length": 8, "yarn_beta_fast": 16.0}, meta)
    case("yarn: the attention factor counts what llama.cpp multiplies by itself", abs(times * (0.1 * math.log(8) + 1) - 1.5) < 1e-6, times)
    paco("convert", work("yarn.gguf"), "--out", work("yarn.back"))
    with open(work("yarn.back", "config.json"), encoding="utf-8") as f:
        back = json.load(f)["rope_scaling"]
    case("yarn: and back", back.keys() == rope.keys() and all(back[k] == rope[k] for k in rope if k != "attention_factor") and
         abs(back["attention_factor"] - 1.5) < 1e-6, back)
    answers = [paco_json("generate", "-m", m, "--ids", " ".join(["3", "7", "11", "5"] * 12), "-n", "0", "--logits-json", "--dtype", "f32")
               for m in (work("yarn"), work("yarn.gguf"))]
    case("yarn: the same logits", all(answers) and all(abs(x[2] - y[2]) < 1e-5 for x, y in zip(answers[0]["top"], answers[1]["top"])), answers)
    save(work("ramp"), llama(cfg), {**cfg, "rope_scaling": {**rope, "truncate": False}}, byte_level(40))
    done = paco("convert", work("ramp"), "--out", work("ramp.gguf"))
    case("yarn: what GGUF cannot say is refused", done.returncode == 1 and "has no place in GGUF" in done.stderr, done)


def sentencepiece():
    """A folder with tokenizer.model, and one with the tokenizer.json made of it: the same vocabulary in both GGUF files."""
    spm = os.path.join(FIXTURES, "tokenizer", "bpe_identity.model")
    with open(spm, "rb") as f:
        blob = f.read()
    n = 440  # more than it has pieces
    cfg = config(vocab=n, hidden=32, heads=2, kv_heads=1, ff=32)
    a = save(work("spm"), llama(cfg), cfg, {"tokenizer.model": blob, "tokenizer_config.json": {"add_bos_token": True, "tokenizer_class": "LlamaTokenizer"}})
    r = paco_json("convert", a, "--out", work("spm.gguf"))
    case("tokenizer.model: written", r is not None)
    meta = read(work("spm.gguf"))[0]
    case("a llama vocabulary with scores", meta["tokenizer.ggml.model"] == "llama" and len(meta["tokenizer.ggml.scores"]) == n and
         meta["tokenizer.ggml.add_bos_token"] is True, {k: v for k, v in meta.items() if not isinstance(v, list)})
    for text in ("hello world", "  two  spaces", "Ünïcode \u4e16\u754c\n\ttab", ""):
        x, y = (paco_json("tokenize", "-m", m, text) for m in (a, work("spm.gguf")))
        case("the same ids for %r" % text, x and y and x["ids"] == y["ids"], (x, y))
    paco("convert", work("spm.gguf"), "--out", work("spm-json"))
    case("Hugging Face's files have no tokenizer.model", not os.path.exists(work("spm-json", "tokenizer.model")))
    done = paco("convert", work("spm-json"), "--out", work("spm2.gguf"))
    case("tokenizer.json of merges: written", done.returncode == 0, done)
    for text in ("hello world", "  two  spaces", "Ünïcode \u4e16\u754c\n\ttab"):
        x, y = (paco_json("tokenize", "-m", m, text) for m in (work("spm.gguf"), work("spm2.gguf")))
        case("scores from merges: the same ids for %r" % text, x and y and x["ids"] == y["ids"], (x, y))


TYPES = {"q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q4_k": 12, "q5_k": 13, "q6_k": 14}
FILE_TYPES = {"q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q4_k": 15, "q5_k": 17, "q6_k": 18}


def types():
    """llama.cpp's choice for each tensor; rows of 256 and of 32."""
    cfg = config(vocab=64, hidden=256, layers=8, heads=4, kv_heads=2, ff=288)
    a = save(work("wide"), llama(cfg), cfg, byte_level(64))
    b = save(work("wide-tuned"), llama(cfg, seed=2), cfg, byte_level(64))
    paco("diff", "--raw", a, "--tuned", b, "--out", work("wide-diff"))
    paco("recover", "--raw", a, "--diff", work("wide-diff"), "--out", work("wide-again"))
    for name, number in TYPES.items():
        r = paco_json("convert", a, "--out", work(name + ".gguf"), "--type", name, "-t", "1")
        meta, tensors, _ = read(work(name + ".gguf"))
        fits = {"q4_k": 6, "q5_k": 7, "q6_k": 8}.get(name, number)  # rows of 288
        more = [i for i in range(8) if i < 1 or i >= 7 or (i - 1) % 3 == 2] if name in ("q4_k", "q5_k") else []
        want = {"token_embd.weight": number, "output.weight": 8 if name == "q8_0" else 14, "output_norm.weight": 0}
        for i in range(8):
            for t in ("attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"):
                want["blk.%d.%s.weight" % (i, t)] = number
            want["blk.%d.attn_v.weight" % i] = 14 if i in more else number
            want["blk.%d.ffn_down.weight" % i] = 8 if i in more else fits
            want["blk.%d.attn_norm.weight" % i] = want["blk.%d.ffn_norm.weight" % i] = 0
        case("%s: the types llama.cpp would choose" % name, {k: v[0] for k, v in tensors.items()} == want and
             meta["general.file_type"] == FILE_TYPES[name], {k: v[0] for k, v in tensors.items() if v[0] != want.get(k)})
        if name[3] == "k":
            case("%s: what fell back is said" % name, r and any("rows of 288 are no multiple of 256" in w for w in r["warnings"]), r)
        paco("convert", a, "--out", work("threads.gguf"), "--type", name, "-t", "2", "--force")
        with open(work(name + ".gguf"), "rb") as x, open(work("threads.gguf"), "rb") as y:
            case("%s: the same bytes from two threads" % name, x.read() == y.read())
        case("%s: verify agrees" % name, paco("verify", work(name + ".gguf")).returncode == 0)
        r = paco_json("recover", "--raw", a, "--diff", work("wide-diff"), "--out", work("recovered-%s.gguf" % name), "--type", name)
        again = paco_json("convert", work("wide-again"), "--out", work("again-%s.gguf" % name), "--type", name)
        case("%s: recover to GGUF is recover, then convert" % name, r and again and r["content_sha256"] == again["content_sha256"], (r, again))
        x, y, z = (paco_json("generate", *m, "--format", "raw", "-p", "!\"#$%&'", "-n", "6", "--temp", "0") for m in (
            ("-m", work("again-%s.gguf" % name)), ("-m", work("wide-again"), "--type", name),
            ("-m", a, "--diff", work("wide-diff"), "--type", name)))
        case("%s: quantised while loading, the same answer" % name, x and y and x["ids"] == y["ids"] and x["ids"], (x, y))
        case("%s: and from base and diff" % name, x and z and x["ids"] == z["ids"], (x, z))
    r = paco_json("convert", work("q8_0.gguf"), "--out", work("again.gguf"), "--type", "q4_0")
    case("quantised twice is said", r and any("quantised a second time" in w for w in r["warnings"]), r)
    r = paco_json("convert", work("q8_0.gguf"), "--out", work("keep.gguf"))
    case("keep copies blocks", r and not r["warnings"] and {k: v[0] for k, v in read(work("keep.gguf"))[1].items()} ==
         {k: v[0] for k, v in read(work("q8_0.gguf"))[1].items()}, r)
    case("and the file type", read(work("keep.gguf"))[0]["general.file_type"] == 7)


def adapters():
    cfg = config(vocab=38, hidden=32, heads=2, kv_heads=1, ff=32)
    base = save(work("base"), llama(cfg), cfg, byte_level(38))
    factors = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": tensor("F32", [2, 32], [f32(0.01 * i) for i in range(64)]),
               "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": tensor("F32", [32, 2], [f32(0.02 * i) for i in range(64)])}
    lora = save(work("lora"), factors)
    os.rename(os.path.join(lora, "model.safetensors"), os.path.join(lora, "adapter_model.safetensors"))
    write(os.path.join(lora, "adapter_config.json"), {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"})
    paco("merge", "-m", base, "--adapter", lora, "--out", work("merged"))
    paco("convert", work("merged"), "--out", work("merged-then.gguf"), "--type", "q8_0")
    done = paco("merge", "-m", base, "--adapter", lora, "--out", work("merged-at-once.gguf"), "--type", "q8_0")
    case("merge to GGUF is merge, then convert", done.returncode == 0 and
         paco("verify", work("merged-at-once.gguf"), "--against", work("merged-then.gguf")).returncode == 0, done)
    done = paco("merge", "--adapter", lora, "--out", work("x.gguf"))
    case("merge to GGUF wants the base named: exit 2", done.returncode == 2, done)


def gone(name):
    return not glob.glob(work(name) + "*")


def refusals():
    cfg = config(vocab=38, hidden=32, heads=2, kv_heads=1, ff=32)
    model = llama(cfg)
    good = save(work("good"), model, cfg, byte_level(38))
    paco("convert", good, "--out", work("there.gguf"))
    done = paco("convert", good, "--out", work("there.gguf"))
    case("what exists is left alone", done.returncode == 1 and "exists already; the option force" in done.stderr, done)
    case("unless told", paco("convert", good, "--out", work("there.gguf"), "--force", "--type", "q8_0").returncode == 0 and
         paco("verify", work("there.gguf")).returncode == 0)
    done = paco("convert", good, "--out", good, "--to", "gguf", "--force")
    case("a directory is no file", done.returncode == 1 and "is a directory" in done.stderr and os.path.exists(os.path.join(good, "config.json")), done)
    done = paco("convert", work("there.gguf"), "--out", work("there.gguf"), "--force", "--type", "q4_0")
    case("nor is the source an output", done.returncode == 1 and "the output is the source" in done.stderr and
         paco("verify", work("there.gguf")).returncode == 0, done)
    case("a file may lie among its sources", paco("convert", good, "--out", os.path.join(good, "good.gguf")).returncode == 0)
    os.remove(os.path.join(good, "good.gguf"))
    done = paco("convert", good, "--out", work("dry.gguf"), "--dry-run", "--type", "q4_0")
    case("a dry run writes nothing", done.returncode == 0 and gone("dry.gguf"), done)

    name = "model.layers.1.mlp.up_proj.weight"
    for what, bad in (("NaN", float("nan")), ("infinity", float("inf"))):
        values = floats(model[name])
        values[5 * 32 + 7] = bad
        path = save(work("bad"), {**model, name: tensor("F32", [32, 32], values)}, cfg, byte_level(38))
        done = paco("convert", path, "--out", work("bad.gguf"), "--type", "q4_k")
        case("%s is refused by name" % what, done.returncode == 1 and "blk.1.ffn_up.weight" in done.stderr and "row 5 holds NaN or infinity" in done.stderr
             and gone("bad.gguf"), done)
    path = save(work("huge"), {**model, name: tensor("F32", [32, 32], [1e9] * 1024)}, cfg, byte_level(38))
    done = paco("convert", path, "--out", work("huge.gguf"), "--type", "q4_0")
    case("what no scale holds too", done.returncode == 1 and "too large for a scale" in done.stderr and gone("huge.gguf"), done)

    path = save(work("more"), {**model, "model.layers.0.mlp.router.weight": tensor("F32", [2, 2], [0] * 4)}, cfg, byte_level(38))
    done = paco("convert", path, "--out", work("more.gguf"))
    case("a tensor no LLaMA has", done.returncode == 1 and "'model.layers.0.mlp.router.weight' is none of a LLaMA's" in done.stderr and gone("more.gguf"), done)
    done = paco("convert", save(work("mute"), model, cfg), "--out", work("mute.gguf"))
    case("no tokenizer", done.returncode == 1 and "holds no tokenizer" in done.stderr and gone("mute.gguf"), done)
    done = paco("convert", save(work("plain"), model, None, byte_level(38)), "--out", work("plain.gguf"))
    case("no configuration", done.returncode == 1 and "config.json" in done.stderr and gone("plain.gguf"), done)
    files = byte_level(38)
    files["tokenizer.json"]["pre_tokenizer"]["pretokenizers"][0] = {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": False}
    done = paco("convert", save(work("odd"), model, cfg, files), "--out", work("odd.gguf"))
    case("text cut in no way GGUF knows", done.returncode == 1 and "tokenizer.ggml.pre" in done.stderr and gone("odd.gguf"), done)
    done = paco("diff", "--raw", good, "--tuned", good, "--out", work("d.gguf"), "--format", "gguf")
    case("a diff is no GGUF file: exit 2", done.returncode == 2, done)
    done = paco("convert", good, "--out", work("t.gguf"), "--type", "q3_k")
    case("a type nobody knows: exit 2", done.returncode == 2 and "q3_k" in done.stderr, done)


def changes_are_found():
    cfg = config(vocab=38, hidden=32, heads=2, kv_heads=1, ff=32)
    a = save(work("sound"), llama(cfg), cfg, byte_level(38))
    paco("convert", a, "--out", work("sound.gguf"))
    with open(work("sound.gguf"), "rb") as f:
        data = f.read()
    for what, old, new in (("a changed template", b"{{ messages }}", b"{{ massages }}"), ("a changed weight", data[-64:], b"\1" * 64)):
        write(work("sound.gguf"), data[::-1].replace(old[::-1], new[::-1], 1)[::-1])
        done = paco("verify", work("sound.gguf"))
        case("verify finds %s" % what, done.returncode == 1 and "FAILED" in done.stdout, done)


def main():
    round_trips()
    metadata()
    yarn()
    sentencepiece()
    types()
    adapters()
    refusals()
    changes_are_found()
    finish()


main()
