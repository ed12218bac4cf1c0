#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco generate as people and programs use it, on a model that counts: behind token t it prefers t + 1."""
import json
import os
import signal
import struct
import subprocess
import time
import zipfile

from counting import ID, PIECES, V, model, tokenizer_json
from tiny import PACO, SANITIZED, case, config, finish, llama, paco, paco_json, save, tensor, until_caught, work


def says(what, done, part, code=None):
    case(what, part in done.stderr and (code is None or done.returncode == code), done)


def plain(m):
    d = paco("generate", "-m", m, "-p", "abc", "-n", 4, "--format", "raw")
    case("only the new text, and a newline", (d.returncode, d.stdout, d.stderr) == (0, "defg\n", ""), d)
    d = paco("generate", "-m", m, "-p", "abc", "-n", 4)
    case("auto falls back to raw", d.stdout == "defg\n", d)
    says("and says so", d, "no prompt format is known for this model: taking raw")
    d = paco("generate", "-m", m, "-p", "abc", "-n", 0, "--format", "raw")
    case("-n 0 writes nothing", (d.returncode, d.stdout) == (0, ""), d)
    d = subprocess.run([PACO, "generate", "-m", m, "-p", "-", "-n", "3", "--format", "raw"], input="a b", capture_output=True, text=True)
    case("-p - reads standard input", d.stdout == "cde\n", d)
    d = paco("generate", "-m", m, "-p", "y", "-n", 3, "--format", "raw", "-q")
    case("a newline of the answer's own is enough", d.stdout == "z \n", repr(d.stdout))


def fields(m):
    j = paco_json("generate", "-m", m, "-p", "abc", "-n", 4, "--format", "raw")
    case("fields", j and {"text", "ids", "n_prompt", "n_output", "stop", "prefill_tok_s", "decode_tok_s", "peak_rss_bytes"} <= set(j), j)
    case("values", j and (j["text"], j["ids"], j["n_prompt"], j["n_output"], j["stop"]) ==
         ("defg", [ID[c] for c in "defg"], 3, 4, "length"), j)
    d = paco("generate", "-m", m, "-p", "abc", "--logits-json", "-n", 0, "--format", "raw")
    j = json.loads(d.stdout)
    case("logits: ids", j["ids"] == [ID[c] for c in "abc"], j)
    best = j["top"][0]
    case("logits: the best", len(j["top"]) == 20 and best[0] == ID["d"] and best[2] > 50 and best[1] > -1e-6, j["top"][:2])
    case("logits: ties by id", [i for i, _, _ in j["top"][1:]] == [i for i in range(20) if i != ID["d"]], j["top"])
    case("logits: probabilities", all(abs((z - best[2]) - (p - best[1])) < 1e-4 for _, p, z in j["top"]), j["top"][:3])
    says("logits and tokens", paco("generate", "-m", m, "-p", "a", "--logits-json", "-n", 2), "looks at the prompt alone", 2)


def ends(m):
    j = paco_json("generate", "-m", m, "--ids", str(len(PIECES) - 2), "-n", 20)
    case("eos ends: the ids have it, the text does not", j["stop"] == "eos" and j["ids"] == [V - 1, 0, 1, 2] and j["text"] == "|", j)
    d = paco("generate", "-m", m, "-p", "a", "-n", 50, "--stop", "fgh", "--stop", "zzz", "--format", "raw")
    case("--stop is left out", d.stdout == "bcde\n", d)
    j = paco_json("generate", "-m", m, "-p", "a", "-n", 50, "--stop", "fgh", "--format", "raw")
    case("stop in JSON", (j["text"], j["stop"], j["n_output"]) == ("bcde", "stop", 7), j)
    other = model("counts-to-end", {"generation_config.json": {"eos_token_id": [ID["k"], 2]}})
    j = paco_json("generate", "-m", other, "-p", "a", "--format", "raw")
    case("generation_config.json names the end", (j["stop"], j["text"], j["ids"][-1]) == ("eos", "bcdefghij", ID["k"]), j)
    j = paco_json("generate", "-m", m, "--ids", str(V - 2), "-n", 20, "--stop", "<s>")
    case("a special token as --stop", j["ids"] == [V - 1, 0, 1], j)


def context(m):
    d = paco("generate", "-m", m, "-p", "abcdef", "-c", 4, "--format", "raw")
    says("a prompt that does not fit", d, "the prompt has 6 tokens, the context holds 4", 1)
    d = paco("generate", "-m", m, "-p", "abcdef", "-c", 10, "-n", 5, "--format", "raw")
    says("an answer that does not fit", d, "the prompt has 6 tokens and -n asks for 5 more, the context holds 10", 1)
    j = paco_json("generate", "-m", m, "-p", "abcdef", "-c", 10, "--format", "raw")
    case("without -n what the context leaves", (j["n_output"], j["stop"]) == (4, "length"), j)
    d = paco("generate", "-m", m, "-p", "ab", "-c", 300, "-n", 1, "--format", "raw")
    says("more than the model was trained for", d, "-c 300 is more than the 256 positions", 0)


def lines(m):
    path = work("questions.jsonl")
    with open(path, "w") as f:
        f.write('{"prompt": "abc"}\n\n{"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "x"}, '
                '{"role": "user", "content": "q"}]}\n{"instruction": "k", "input": "m"}\n{"instruction": "abcd", "input": ""}')
    d = paco("generate", "-m", m, "-f", path, "-n", 2, "--format", "raw")
    got = [json.loads(line) for line in d.stdout.splitlines()]
    case("one answer a line", [g["text"] for g in got] == ["de", "rs", "no", "ef"], d)
    case("prompts as given", [g["n_prompt"] for g in got] == [3, 4, 4, 4], got)
    for text, complaint in (('{"prompt": "a"}\n{"prompt": 3}', "line 2: "), ("[1]", "line 1: "), ('{"x": 1}', "has none of 'prompt'"),
                            ('{"messages": []}', "'messages' is empty"), ('{"messages": [{"role": "user"}]}', "message 0: "),
                            ('{"prompt": "a"', "line 1: JSON: '}' expected near end of the line (at byte 14)"),
                            ('{"prompt": "a"}\n\n{"prompt" "b"}\n', "line 3: JSON: ':' expected near '\"b\"' (column 13) (at byte 30)"),
                            ('{"prompt": "a"}\n {"prompt":\n"b"}\n', "line 2: JSON: unexpected token near end of the line (each object must stand on one line)"),
                            ('What is it?\nAnd why?\n', "line 1: is no JSON object, such as {\"prompt\": \"...\"} (a prompt that is plain text goes by -p -"),
                            ('[{"prompt": "a"},\n{"prompt": "b"}]', "line 1: begins a JSON array"), ('{"prompt": ""}', "prompt 1: the prompt has no tokens")):
        with open(path, "w") as f:
            f.write(text)
        d = paco("generate", "-m", m, "-f", path, "-n", 2, "--format", "raw")
        case("refused before any answer: " + text[:30].replace("\n", " "), d.returncode in (1, 2) and complaint in d.stderr and d.stdout == "", d)


    for text, n in (("", 0), ("\n \r\n", 0), ('\ufeff{"prompt": "a"}\r\n{"prompt": "b"}\r\n', 2)):
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(text)
        d = paco("generate", "-m", m, "-f", path, "-n", 2, "--format", "raw")
        case("%d prompts in %r" % (n, text), d.returncode == 0 and len(d.stdout.splitlines()) == n and ("holds no prompts" in d.stderr) == (n == 0), d)


def sampling(m):
    soft = ["generate", "-m", m, "-p", "abc", "-n", 30, "--format", "raw", "--temp", 100]
    a, b, c = (paco_json(*soft, "--seed", s) for s in (5, 5, 6))
    case("the same seed, the same answer", a["ids"] == b["ids"] and a["seed"] == 5, (a, b))
    case("another seed, another", a["ids"] != c["ids"], (a, c))
    t = paco_json(*soft, "--seed", 5, "-t", 2), paco_json(*soft, "--seed", 5, "--cpu", "scalar")
    case("whatever the threads and instructions", t[0]["ids"] == a["ids"] == t[1]["ids"], t)
    free = paco_json(*soft), paco_json(*soft)
    case("without a seed they differ, and say theirs", free[0]["ids"] != free[1]["ids"] and free[0]["seed"] != free[1]["seed"], free)
    case("which repeats them", paco_json(*soft, "--seed", free[0]["seed"])["ids"] == free[0]["ids"], free[0])
    case("--top-k 1 is greedy", paco_json(*soft, "--top-k", 1, "--seed", 1)["text"][:5] == "defgh", "")
    case("greedy has no seed", "seed" not in paco_json("generate", "-m", m, "-p", "abc", "-n", 3, "--format", "raw"), "")
    d = paco("generate", "-m", m, "--ids", ID["a"], "-n", 3, "--repeat-penalty", 100)
    case("repetition is held back, not forward", d.stdout == "bcd\n", d)
    chatty = model("samples", {"generation_config.json": {"do_sample": True, "temperature": 100.0, "top_k": 0}})
    a, b = (paco_json("generate", "-m", chatty, "-p", "abc", "-n", 30, "--format", "raw", "--seed", 3) for _ in range(2))
    case("generation_config.json asks for sampling", a["ids"] == b["ids"] and a["text"][:3] != "def", a)
    case("--temp 0 overrides", paco_json("generate", "-m", chatty, "-p", "abc", "-n", 3, "--format", "raw", "--temp", 0)["text"] == "def", "")


def guesses(m):
    """The same answer whatever is guessed, and the counts of it."""
    prompt = "abcdefgh abcdefgh ab"
    for more in ([], ["--temp", 100, "--seed", 4, "--top-k", 5], ["--temp", 60, "--seed", 9, "--repeat-penalty", 1.2], ["--stop", "fgh"]):
        args = ["generate", "-m", m, "-p", prompt, "-n", 80, "--format", "raw", *more]
        off = paco_json(*args, "--speculate", "off")
        case("off counts nothing", "n_drafted" not in off and "n_accepted" not in off, off)
        for n in ("auto", 1, 4, 15):
            j = paco_json(*args, "--speculate", n)
            case("--speculate %s %s: the same answer" % (n, " ".join(map(str, more))), (j["ids"], j["text"], j["stop"]) ==
                 (off["ids"], off["text"], off["stop"]) and 0 <= j["n_accepted"] <= j["n_drafted"], (j, off))
    case("what was quoted is guessed right", paco_json("generate", "-m", m, "-p", prompt, "-n", 6, "--format", "raw", "--speculate", 4)["n_accepted"] >= 4)
    for wrong in ("0", "16", "-1", "4x", "", "Auto"):
        says("--speculate '%s'" % wrong, paco("generate", "-m", m, "-p", "a", "--speculate=" + wrong), "auto, off or a number from 1 to 15", 2)


def formats(m):
    chat = model("chat", {"chat_template.jinja": "{% for m in messages %}{{'<|user|>\\n' + m['content'] + '\\n<|assistant|>\\n'}}{% endfor %}"})
    d = paco("generate", "-m", chat, "-p", "### Instruction:\nHi\n### Response:", "-n", 1)
    says("a prompt in another format", d, "the prompt is in alpaca format, but this model was tuned on tulu")
    d = paco("generate", "-m", chat, "-p", "### Instruction:\nHi\n### Response:", "-n", 1, "--format", "raw")
    says("raw too", d, "the prompt is in alpaca format, but this model was tuned on tulu")
    d = paco("generate", "-m", chat, "-p", "<|user|>\nHi\n<|assistant|>\n", "-n", 1)
    says("wrapped twice", d, "the prompt is in tulu format already and is wrapped in tulu")
    d = paco("generate", "-m", chat, "-p", "<|user|>\nHi\n<|assistant|>\n", "-n", 1, "--format", "raw")
    case("raw in its own format is fine", d.returncode == 0 and d.stderr == "", d)
    d = paco("generate", "-m", chat, "-p", "Hi", "-n", 1, "--format", "alpaca")
    says("--format of another family", d, "--format alpaca, but this model was tuned on tulu")
    d = paco("generate", "-m", chat, "-p", "Hi", "-n", 1, "-q", "--format", "alpaca")
    case("--quiet", d.stderr == "", d)
    ids = [paco_json("generate", "-m", m, "-p", "abc", "-n", 1, "--format", "raw", "--bos", b)["n_prompt"] for b in ("auto", "always", "never")]
    case("--bos", ids == [3, 4, 3], ids)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x40]))


def data_at(path, entry):
    with open(path, "rb") as f:
        f.seek(entry.header_offset + 26)
        return f.tell() + 4 + sum(struct.unpack("<HH", f.read(4)))


def weights(m):
    cfg = config()
    bad = save(work("misfit"), llama(cfg), dict(cfg, intermediate_size=24))
    says("a shape config.json contradicts", paco("generate", "-m", bad, "--ids", "1 2"),
         "tensor 'model.layers.0.mlp.gate_proj.weight': shape [16,8], config.json says [24,8]", 1)
    bad = save(work("bare"), llama(cfg))
    says("no config.json", paco("generate", "-m", bad, "--ids", "1 2"), "there is no config.json", 1)
    bad = save(work("diff-as-model"), llama(cfg, spread=0.001, norm=0.0001), cfg)
    says("a diff is no model", paco("generate", "-m", bad, "--ids", "1 2"), "is a weight diff, not a model", 1)
    nan = llama(cfg)
    nan["model.norm.weight"] = tensor("F32", [8], [float("nan")] * 8)
    bad = save(work("not-a-number"), nan, cfg)
    says("weights that are no numbers", paco("generate", "-m", bad, "--ids", "1 2", "-n", 2), "every logit is NaN", 1)
    paco_json("convert", m, "--out", work("damaged-bin"), "--to", "hf-bin")
    file = os.path.join(work("damaged-bin"), "pytorch_model.bin")
    with zipfile.ZipFile(file) as z:
        storages = [e for e in z.infolist() if "/data/" in e.filename]
    for e in storages:
        middle = data_at(file, e) + e.file_size // 2
        flip(file, middle)
        says(f"a byte of {e.filename} is not what it was", paco("generate", "-m", os.path.dirname(file), "--ids", "1 2", "-n", 1),
             f"zip entry '{e.filename}' is damaged", 1)
        flip(file, middle)
    d = paco("generate", "-m", os.path.dirname(file), "--ids", "1 2", "-n", 1)
    case("all bytes are what they were", len(storages) == 12 and d.returncode == 0, d)
    says("ids beyond the vocabulary", paco("generate", "-m", m, "--ids", "1 64"), "token 1 of the prompt is 64, the model's vocabulary has 64", 2)
    says("no prompt", paco("generate", "-m", m), "give the prompt as one of", 2)
    says("a NUL in the prompt", subprocess.run([PACO, "generate", "-m", m, "-p", "-"], input="a\0b", capture_output=True, text=True),
         "the prompt has a NUL byte at 1", 1)


def top(*args):
    d = paco("generate", *args, "--logits-json")
    return d.stdout if d.returncode == 0 else d


def diff(m):
    """-m BASE --diff DIR answers as the recovered model does, down to the last bit of the logits."""
    def model_of(vocab, seed, dtype="F32", tied=False, norm=1.0):
        cfg = config(vocab=vocab, hidden=16, ff=48, tied=tied)
        return llama(cfg, dtype=dtype, seed=seed, spread=0.5, norm=norm), {**cfg, "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]}

    ids, text = "5 9 3 30 0 11", work("text.txt")
    for dtype, vocab, tied, how in (("F32", 32, False, []), ("F16", 32, False, []), ("BF16", 33, False, []), ("BF16", 32, True, []),
                                    ("F16", 33, True, []), ("F16", 33, False, ["--max-shard", "2kB"]), ("BF16", 33, False, ["--to", "hf-bin"]),
                                    ("F16", 32, True, ["--to", "hf-bin", "--max-shard", "3kB"])):
        name = "%s-%d%s%s" % (dtype, vocab, "-tied" if tied else "", "".join(how))
        base, cfg = model_of(32, 1, dtype, tied)
        tuned, tuned_cfg = model_of(vocab, 2, dtype, tied, norm=1.0625)
        for part, (weights, c) in (("base", (base, cfg)), ("tuned", (tuned, tuned_cfg))):
            save(work(name, "plain-" + part), weights, c, {"tokenizer.json": tokenizer_json()} if part == "tuned" else None)
        b, t, d, r = (work(name, n) for n in ("base", "tuned", "diff", "recovered"))
        ok = all(paco("convert", work(name, "plain-" + p), "--out", o, *how).returncode == 0 for p, o in (("base", b), ("tuned", t)))
        fmt = ["--format", "bin"] if "hf-bin" in how else []
        done = paco("diff", "--raw", b, "--tuned", t, "--out", d, *[x for x in how if x not in ("--to", "hf-bin")], *fmt)
        ok = ok and done.returncode == 0 and paco("recover", "--raw", b, "--diff", d, "--out", r).returncode == 0
        case("%s: a base and its diff" % name, ok, done)
        want, got = top("-m", r, "--ids", ids), top("-m", b, "--diff", d, "--ids", ids)
        case("%s: the logits of the recovered model" % name, want == got and isinstance(want, str), (want, got))
        want, got = (paco_json("generate", *x, "--ids", ids, "-n", 30, "--temp", 1, "--seed", 2) for x in (("-m", r), ("-m", b, "--diff", d)))
        case("%s: and its tokens" % name, want and got and got["ids"] == want["ids"], (got, want))
    # A tuned model that untied the head its base shares: the base's embedding stands for both.
    base, cfg = model_of(32, 1, "F16", True)
    tuned, tuned_cfg = model_of(32, 2, "F16", False, norm=1.0625)
    b, t = save(work("untied-base"), base, cfg), save(work("untied-tuned"), tuned, tuned_cfg, {"tokenizer.json": tokenizer_json()})
    d, r = work("untied-diff"), work("untied-recovered")
    done = paco("diff", "--raw", b, "--tuned", t, "--out", d)
    ok = done.returncode == 0 and paco("recover", "--raw", b, "--diff", d, "--out", r).returncode == 0
    case("an untied diff of a tied base", ok, done)
    want, got = top("-m", r, "--ids", ids), top("-m", b, "--diff", d, "--ids", ids)
    case("an untied diff of a tied base: the logits of the recovered model", want == got and isinstance(want, str), (want, got))
    want, got = (paco_json("generate", *x, "--ids", ids, "-n", 30, "--temp", 0) for x in (("-m", r), ("-m", b, "--diff", d)))
    case("an untied diff of a tied base: and its tokens", want and got and got["ids"] == want["ids"], (got, want))
    with open(text, "w") as f:
        f.write("abc def ghi jkl mno pqr stu " * 8)
    base, cfg = model_of(V, 1)
    tuned, _ = model_of(V, 2, norm=1.0625)
    b, t, d = save(work("base"), base, cfg), save(work("tuned"), tuned, cfg, {"tokenizer.json": tokenizer_json()}), work("diff")
    case("paco diff", paco("diff", "--raw", b, "--tuned", t, "--out", d).returncode == 0)
    case("paco recover", paco("recover", "--raw", b, "--diff", d, "--out", work("recovered")).returncode == 0)
    want, got = (paco_json("perplexity", *x, "-f", text, "-c", 32) for x in (("-m", work("recovered")), ("-m", b, "--diff", d)))
    case("perplexity too", want and got and want["nll"] == got["nll"], (want, got))
    want, got = (paco_json("tokenize", *x, "abc de") for x in (("-m", t), ("-m", b, "--diff", d)))
    case("tokenize takes the diff's tokenizer", want and got == want, (want, got))
    says("the tuned model is no diff", paco("generate", "-m", b, "--diff", t, "--ids", "1 2"), "looks like a whole model", 1)
    want, got = top("-m", t, "--ids", "5 9 3"), top("-m", b, "--ids", "5 9 3")
    case("the base is another model", want != got)


def resident(m):
    """Of base and diff only the sum stays in memory."""
    cfg = dict(config(vocab=V, hidden=512, layers=6, heads=8, kv_heads=8, ff=1536), max_position_embeddings=64)
    rows = {}

    def big(seed, norm):
        weights = {}
        for name, (_, shape, _) in llama({**cfg, "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}).items():
            shape = [{8: 512, 16: 1536}.get(n, n) for n in shape]
            n = shape[0] * (shape[1] if len(shape) > 1 else 1)
            row = rows.setdefault((seed, len(shape)), struct.pack("<512f", *(norm if len(shape) == 1 else ((i * seed) % 17 - 8) / 256 for i in range(512))))
            weights[name] = "F32", shape, (row * (n // 512 + 1))[:4 * n]
        return weights

    b, t = save(work("rss-base"), big(3, 1.0), cfg), save(work("rss-tuned"), big(5, 1.0625), cfg)
    d, r = work("rss-diff"), work("rss-recovered")
    ok = paco("diff", "--raw", b, "--tuned", t, "--out", d).returncode == 0 and paco("recover", "--raw", b, "--diff", d, "--out", r).returncode == 0
    case("a larger pair", ok)
    size = os.path.getsize(os.path.join(r, "model.safetensors"))
    one, two = (paco_json("generate", *x, "--ids", "5 9 3", "-n", 4)["peak_rss_bytes"] for x in (("-m", r), ("-m", b, "--diff", d)))
    case("base and diff take the memory of one model (%.0f MB: %.0f MB recovered, %.0f MB added up)" % (size / 1e6, one / 1e6, two / 1e6),
         two < 1.1 * size + (24 << 20) or SANITIZED)


def streams(m):
    """Text comes as it is made; Ctrl-C keeps it; a closed pipe is no crash."""
    slow = model("slow", None)
    args = [PACO, "generate", "-m", slow, "-p", "abc", "-n", "250", "--format", "raw"]
    p = subprocess.Popen(["sh", "-c", '"$@" | head -c 5', "sh", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = p.communicate(timeout=60)
    case("| head", out == b"defgh" and err == b"", (out, err))
    big = config(vocab=V, hidden=V * 2, layers=2, heads=2, kv_heads=2, ff=V * 4)
    big.update(max_position_embeddings=100000, eos_token_id=None)
    heavy = save(work("heavy"), llama(big, spread=0.02), big, {"tokenizer.json": tokenizer_json()})
    p = subprocess.Popen([PACO, "generate", "-m", heavy, "--ids", "1 2 3", "-n", "90000", "--temp", "1", "-t", "1", "--stop", "never"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = os.read(p.stdout.fileno(), 1)
    time.sleep(0.2)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    case("Ctrl-C: exit 130, the text so far, one line", p.returncode == 130 and first and (first + out).endswith(b"\n"), (p.returncode, out[-80:], err))
    p = subprocess.Popen([PACO, "generate", "-m", heavy, "--ids", "1 2 3", "-n", "90000", "--temp", "1", "--json"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until_caught(p, signal.SIGINT)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    done = p.returncode == 130 and json.loads(out)["stop"] == "cancelled"
    case("Ctrl-C with --json", done, (p.returncode, out[-200:], err))
    p = subprocess.Popen([PACO, "generate", "-m", heavy, "--ids", "1 2 3", "-n", "90000", "--temp", "1", "-t", "1", "--stop", "never"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.read(p.stdout.fileno(), 1)
    os.truncate(os.path.join(heavy, "model.safetensors"), 5000)
    out, err = p.communicate(timeout=60)
    case("a file cut short while it is in use", p.returncode == 1 and (b"was cut short" in err or b"the file shrank" in err), (p.returncode, err))


m = model("counts")
for check in (plain, fields, ends, context, lines, sampling, guesses, formats, weights, diff, resident, streams):
    check(m)
finish()
