# SPDX-License-Identifier: Apache-2.0
"""GGUF files paco writes, in other hands: Python's gguf reads them, and llama.cpp answers from them.

The default model goes to Hugging Face's layout and back to GGUF in every type. gguf's own quantisers (it has none for the K types) are
the measure of ours. llama.cpp comes from PyPI's llama-cpp-python, in an environment of its own, which bench/peers/run makes.
"""
import json
import os
import shutil

import gguf
import numpy
from common import FIXTURES, Skipped, case, default_model, equal, expect, finish, measure, note, paco, work
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file

TYPES = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k")
ARRAYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")
SCALARS = ("tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
           "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id", "tokenizer.ggml.add_bos_token", "tokenizer.chat_template",
           "llama.block_count", "llama.context_length", "llama.embedding_length", "llama.feed_forward_length", "llama.attention.head_count",
           "llama.attention.head_count_kv", "llama.rope.freq_base", "llama.rope.dimension_count", "llama.vocab_size",
           "llama.attention.layer_norm_rms_epsilon", "general.architecture")

# Reads JSON lines {"model", "text" or "ids", "n"}: tokenises the text if there is one, answers greedily, prints ids and answer.
LLAMA_CPP = """
import json, sys, llama_cpp
for line in sys.stdin:
    q = json.loads(line)
    m = llama_cpp.Llama(q["model"], n_ctx=256, n_threads=2, verbose=False)
    ids = q.get("ids") or m.tokenize(q["text"].encode(), add_bos=True, special=False)
    out = []
    if q["n"]:
        for t in m.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0):
            out.append(int(t))
            if len(out) == q["n"] or t == m.token_eos():
                break
    print(json.dumps({"ids": [int(i) for i in ids], "out": out, "version": llama_cpp.__version__}), flush=True)
"""


def value(field):
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        return [bytes(field.parts[i]) for i in field.data]
    return bytes(field.parts[-1])


def hugging_face():
    """The default model in Hugging Face's layout, as BF16."""
    out = work() / "hf"
    if not out.exists():
        paco("convert", default_model(), "--out", out, "--to", "hf", "--type", "bf16")
    return out


def made(kind):
    out = work() / (kind + ".gguf")
    if not out.exists():
        paco("convert", hugging_face(), "--out", out, "--type", kind)
    return out


def llama_cpp(*questions):
    home = os.environ.get("PACO_PEERS_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "paco-peers")
    python = os.path.join(home, "venv", "bin", "python")
    if not os.path.exists(python):
        raise Skipped("no %s: bench/peers/run makes it" % python)
    done = measure([python, "-c", LLAMA_CPP], stdin="".join(json.dumps({**q, "model": str(q["model"])}) + "\n" for q in questions))
    expect(done.code == 0, "llama.cpp: exit %d: %s" % (done.code, done.stderr.strip()[-1500:]))
    return done.lines()


def relative(error, weight, x):
    return float(numpy.sqrt((weight * error.astype(numpy.float64) ** 2).sum() / (weight * x.astype(numpy.float64) ** 2).sum()))


with case("metadata and vocabulary come back"):
    a, b = gguf.GGUFReader(default_model()), gguf.GGUFReader(made("bf16"))
    for key in ARRAYS + SCALARS:
        if key in a.fields:
            expect(key in b.fields, "%s is missing" % key)
            equal(key, value(b.fields[key]), value(a.fields[key]))
    equal("shapes", {t.name: list(t.shape) for t in b.tensors}, {t.name: list(t.shape) for t in a.tensors})

for kind in TYPES:
    with case("%s: gguf reads what paco reads" % kind):
        out = work() / ("back-" + kind)
        paco("convert", made(kind), "--out", out, "--to", "hf", "--type", "f32")
        back = load_file(out / "model.safetensors")
        total = 0
        for t in gguf.GGUFReader(made(kind)).tensors:
            x = dequantize(t.data, t.tensor_type).astype(numpy.float32)
            part = t.name.split(".")
            names = {"token_embd": "model.embed_tokens.weight", "ffn_down": "model.layers.%s.mlp.down_proj.weight" % part[1]}
            name = names.get(part[-2])
            if name:
                total += x.size
                expect((x.view(numpy.uint32) == back[name].view(numpy.uint32)).all(), "%s differs" % t.name)
        note("%d elements" % total)
        shutil.rmtree(out)

for kind in TYPES[:5]:
    with case("%s: no worse than gguf's own quantiser" % kind):
        source = {t.name: dequantize(t.data, t.tensor_type).astype(numpy.float32) for t in gguf.GGUFReader(made("bf16")).tensors}
        qtype, worst = gguf.GGMLQuantizationType[kind.upper()], [0.0, 0.0]
        for t in gguf.GGUFReader(made(kind)).tensors:
            if t.tensor_type != qtype or not t.name.startswith("blk"):
                continue
            x = source[t.name]
            ours, theirs = dequantize(t.data, qtype) - x, dequantize(quantize(x, qtype), qtype) - x
            blocks = x.reshape(-1, 32).astype(numpy.float64)
            weighted = (numpy.sqrt((blocks ** 2).mean(1))[:, None] + abs(blocks)).reshape(x.shape)
            for i, w in enumerate((numpy.ones_like(weighted), weighted)):
                worst[i] = max(worst[i], relative(ours, w, x) / relative(theirs, w, x))
        note("error over gguf's, worst tensor: %.3f plain, %.3f weighted" % tuple(worst))
        expect(max(worst) <= 1.0, "a tensor has %.4f of gguf's error" % max(worst))

TEXT = "The capital of France is"
with case("llama.cpp: BF16 answers alike from its own file and from ours"):
    a, b = llama_cpp(*({"model": m, "text": TEXT, "n": 24} for m in (default_model(), made("bf16"))))
    note("llama-cpp-python %s" % a["version"])
    equal("ids", b["ids"], a["ids"])
    c, = llama_cpp({"model": made("f32"), "text": TEXT, "n": 24})
    equal("F32's answer", b["out"][:8], c["out"][:8])

for kind in TYPES:
    with case("llama.cpp: answers from %s as paco does" % kind):
        a, = llama_cpp({"model": made(kind), "text": TEXT, "n": 8})
        b = paco("generate", "-m", made(kind), "--format", "raw", "-p", TEXT, "-n", "8", "--temp", "0").json
        equal("prompt", b["n_prompt"], len(a["ids"]))
        # Its activations are rounded otherwise: a near tie may fall the other way, but not at once.
        equal("first tokens", b["ids"][:2], a["out"][:2])
        same = next((i for i, (x, y) in enumerate(zip(a["out"], b["ids"])) if x != y), 8)
        note("%d of 8 tokens the same" % same)

for name in ("gqa-f32", "linear-mqa-f16", "llama3-bf16", "tied-biases-f16"):
    with case("llama.cpp: %s answers alike" % name):
        folder = work() / name
        shutil.copytree(FIXTURES / "models" / name, folder)
        vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
        pieces = ["<|end|>", "<|user|>"] + [chr(c) for c in range(33, 33 + vocab - 4)] + ["!\"", "#$"]
        (folder / "tokenizer.json").write_text(json.dumps({
            "version": "1.0", "normalizer": None, "post_processor": None, "decoder": {"type": "ByteLevel"},
            "added_tokens": [{"id": i, "content": pieces[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                              "special": True} for i in range(2)],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "vocab": {p: i for i, p in enumerate(pieces)}, "merges": ["! \"", "# $"]}}))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "add_bos_token": False}))
        paco("convert", folder, "--out", work() / (name + ".gguf"), "--type", "f32")
        a, = llama_cpp({"model": work() / (name + ".gguf"), "text": "!\"#$%&'()*", "n": 16})
        b = paco("generate", "-m", work() / (name + ".gguf"), "--format", "raw", "-p", "!\"#$%&'()*", "-n", "16", "--temp", "0", "--dtype", "f32").json
        equal("answer", b["ids"], a["out"][:len(b["ids"])])  # the configuration's end token is one more to stop at

with case("llama.cpp: a SentencePiece vocabulary gives the same ids"):
    folder = work() / "spm"
    paco_config = json.loads((FIXTURES / "models" / "gqa-f32" / "config.json").read_text())
    tensors = load_file(FIXTURES / "models" / "gqa-f32" / "model.safetensors")
    rows = 440
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = numpy.resize(tensors[name], (rows, tensors[name].shape[1])).astype(numpy.float32)
    folder.mkdir()
    from safetensors.numpy import save_file
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**paco_config, "vocab_size": rows}))
    shutil.copy(FIXTURES / "tokenizer" / "bpe_identity.model", folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True, "tokenizer_class": "LlamaTokenizer"}))
    paco("convert", folder, "--out", work() / "spm.gguf", "--type", "f32")
    texts = ["hello world", "  two  spaces", "\u00dcn\u00efcode \u4e16\u754c\n\ttab", "1234 apples, 5.6%", "a"]
    for text, got in zip(texts, llama_cpp(*({"model": work() / "spm.gguf", "text": t, "n": 0} for t in texts))):
        equal(repr(text), paco("tokenize", "-m", folder, text).json["ids"], got["ids"])
finish()
