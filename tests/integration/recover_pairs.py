#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco recover and paco diff on small pairs: the numbers, the recipes, the files beside the weights, and every refusal before
anything is written."""
import hashlib
import json
import os
import random
import resource
import shutil
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import case, config, f32, finish, floats, llama, load, paco, paco_json, safetensors, save, tensor, work, write  # noqa: E402

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
VOCAB = 40
TOKENIZER = {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>"}}


def tuned_tokenizer(pad, n=VOCAB):
    return {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "pad_token": pad}, "added_tokens.json": {pad: n}}


def add(a, b):
    return f32(a + b)


def mean(rows):
    """Fewer than 256 rows: groups of 16, then what is left."""
    columns = []
    for column in zip(*rows):
        a0 = a1 = 0.0
        for i, v in enumerate(column):
            a0 = add(a0, v)
            if i % 16 == 15:
                a1, a0 = add(a1, a0), 0.0
        columns.append(f32(add(a0, a1) / len(column)))
    return columns


def rows_of(t):
    values, n = floats(t), t[1][0]
    width = len(values) // n
    return [values[i * width:(i + 1) * width] for i in range(n)]


def grown(t):
    """t with one more row, the mean of the others."""
    rows = rows_of(t)
    return tensor("F32", [len(rows) + 1, len(rows[0])], [v for r in rows + [mean(rows)] for v in r])


def small_change(base, seed, pad_row=True):
    """A diff for base: small numbers, and a row more in both embeddings."""
    r = random.Random(seed)
    diff = {}
    for name, (_, shape, _) in base.items():
        if pad_row and name in (EMBED, HEAD):
            shape = [shape[0] + 1, shape[1]]
        n = 1
        for s in shape:
            n *= s
        diff[name] = tensor("F32", shape, (f32(r.gauss(0, 1e-3)) for _ in range(n)))
    return diff


def expected(base, diff, times=1):
    out = {}
    for name, t in diff.items():
        b = base[name]
        if b[1] != t[1]:
            b = grown(b)
        values = floats(t)
        for _ in range(times):
            values = [add(x, y) for x, y in zip(values, floats(b))]
        out[name] = tensor("F32", t[1], values)
    return out


def pair(name, base_dtype="F16", files=None, pad="[PAD]", cfg_more=None, **kw):
    """A base and a diff on disk: their paths and contents."""
    cfg = config(vocab=VOCAB, **kw)
    base = llama(cfg, base_dtype)
    diff = small_change(base, 5)
    raw = save(work(name, "raw"), base, cfg, TOKENIZER)
    tuned_cfg = {**cfg, "vocab_size": VOCAB + 1, **(cfg_more or {})}
    d = save(work(name, "diff"), diff, tuned_cfg, {**tuned_tokenizer(pad), **(files or {})})
    return raw, d, base, diff


def same_tensors(what, got, want):
    bad = [n for n in want if got.get(n) != want[n]]
    return case(what, sorted(got) == sorted(want) and not bad, (sorted(set(got) ^ set(want)), bad[:3]))


def listing(path):
    return sorted(os.listdir(path))


def refused(what, *args, code=1, says=(), top=None):
    """The command fails, says so in one line, and leaves nothing."""
    before = listing(top) if top else None
    done = paco(*args)
    lines = [x for x in done.stderr.strip().splitlines() if x]
    ok = done.returncode == code and lines and all(s in lines[-1] if code == 1 else s in done.stderr for s in says)
    case(what, ok, (done.returncode, done.stderr))
    if top:
        case(what + ": nothing is left", listing(top) == before, listing(top))
    return done


def numbers():
    for dtype in ("F16", "BF16", "F32"):
        raw, d, base, diff = pair("numbers-" + dtype, dtype)
        out = work("numbers-" + dtype, "out")
        r = paco_json("recover", "--raw", raw, "--diff", d, "--out", out)
        same_tensors("%s base + F32 diff, the pad row the mean of the base's" % dtype, load(out), expected(base, diff))
        case("fields of the result", r and r["n_tensors"] == len(diff) and r["undefined_rows"] == [] and r["out"] == out and
             r["bytes_written"] == sum(os.path.getsize(os.path.join(out, f)) for f in os.listdir(out)) and
             r["peak_rss_bytes"] <= 64 << 20 and isinstance(r["seconds"], float) and isinstance(r["warnings"], list), r)
        case("verify agrees", paco("verify", out).returncode == 0)


def manifest():
    raw, d, base, diff = pair("manifest")
    out = work("manifest", "out")
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", out)
    m = json.load(open(os.path.join(out, "paco-manifest.json")))
    want = expected(base, diff)
    case("manifest: tensors in state-dict order", [t["name"] for t in m["tensors"]][:6] == [
        EMBED, "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.mlp.gate_proj.weight"] and m["tensors"][-1]["name"] == HEAD, m["tensors"][:6])
    case("manifest: a digest per tensor", all(t["sha256"] == hashlib.sha256(want[t["name"]][2]).hexdigest() for t in m["tensors"]))

    def content(model, names):
        lines = sorted("%s %s %s %s\n" % (n, names[t[0]], "x".join(map(str, t[1])), hashlib.sha256(t[2]).hexdigest()) for n, t in model.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    kinds = {"F32": "f32", "F16": "f16"}
    case("manifest: the inputs' digests", [(i["role"], i["name"], i["content_sha256"], i["n_tensors"]) for i in m["inputs"]] ==
         [("base", "raw", content(base, kinds), len(base)), ("diff", "diff", content(diff, kinds), len(diff))], m["inputs"])
    case("manifest: the content digest", m["content_sha256"] == content(want, kinds) == r["content_sha256"])
    files = {f["name"]: f["sha256"] for f in m["files"]}
    case("manifest: the other files", sorted(files) == sorted(set(os.listdir(out)) - {"model.safetensors", "paco-manifest.json"}) and all(
        files[n] == hashlib.sha256(open(os.path.join(out, n), "rb").read()).hexdigest() for n in files), files)
    again = work("manifest", "again")
    paco("recover", "--raw", raw, "--diff", d, "--out", again, "-t", "1")
    case("the same bytes with one thread", all(
        open(os.path.join(out, n), "rb").read() == open(os.path.join(again, n), "rb").read() for n in os.listdir(out)))


def recipes():
    raw, d, base, diff = pair("recipes", pad="<pad>")
    out = work("recipes", "out")
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", out)
    undefined = [{"tensor": EMBED, "first": VOCAB, "n": 1}, {"tensor": HEAD, "first": VOCAB, "n": 1}]
    case("<pad>: Open-Instruct's recipe, whose row is undefined", r and r["recipe"] == "open-instruct" and r["undefined_rows"] == undefined and
         any("40 of 41 rows exact; row 40 (<pad>) of %s and %s is undefined" % (EMBED, HEAD) in w for w in r["warnings"]), r)
    m = json.load(open(os.path.join(out, "paco-manifest.json")))
    case("also in the manifest", m["undefined_rows"] == undefined and m["options"]["recipe"] == "open-instruct", m["undefined_rows"])
    same_tensors("and is the mean plus the diff", load(out), expected(base, diff))
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", work("recipes", "asked"), "--recipe", "alpaca")
    case("--recipe alpaca", r and r["recipe"] == "alpaca" and r["undefined_rows"] == [], r)
    for choice, row in (("zero", [0.0] * 8), ("diff", rows_of(diff[HEAD])[VOCAB])):
        o = work("recipes", choice + "-row")
        paco_json("recover", "--raw", raw, "--diff", d, "--out", o, "--pad-row", choice)
        case("--pad-row " + choice, rows_of(load(o)[HEAD])[VOCAB] == row and rows_of(load(o)[HEAD])[:VOCAB] == rows_of(expected(base, diff)[HEAD])[:VOCAB])

    own = save(work("recipes", "own"), base, config(vocab=VOCAB), {"tokenizer_config.json": {"pad_token": "<unk>"}})
    refused("a base with a pad token of its own is not grown", "recover", "--raw", own, "--diff", d, "--out", work("recipes", "own-out"),
            says=["[41,8]", "[40,8]", "pad token already", "<unk>", "tokenizer_config.json"], top=work("recipes"))
    case("unless asked", paco("recover", "--raw", own, "--diff", d, "--out", work("recipes", "own-out"), "--pad-row", "mean").returncode == 0)
    for name, content in (("special_tokens_map.json", {"pad_token": {"content": "<pad>"}}),
                          ("tokenizer.json", {"version": "1.0", "padding": {"pad_id": 0, "pad_token": "<p>"}, "model": {}})):
        own = save(work("recipes", name), base, config(vocab=VOCAB), {name: content})
        refused("a pad token in " + name, "recover", "--raw", own, "--diff", d, "--out", work("recipes", "o2"), says=[name])
    nothing = save(work("recipes", "nothing"), base, config(vocab=VOCAB), {"tokenizer_config.json": {"pad_token": ""}})
    case("an empty pad token is none", paco("recover", "--raw", nothing, "--diff", d, "--out", work("recipes", "o3")).returncode == 0)


def diffs():
    cfg = config(vocab=VOCAB)
    base = llama(cfg, "F16")
    r = random.Random(3)
    tuned = {}
    for name, t in expected(base, small_change(base, 9)).items():
        tuned[name] = tensor("BF16", t[1], (struct.unpack("<f", b"\0\0" + struct.pack("<f", v)[2:])[0] for v in floats(t)))
    raw = save(work("diffs", "raw"), base, cfg, TOKENIZER)
    t = save(work("diffs", "tuned"), tuned, {**cfg, "vocab_size": VOCAB + 1}, tuned_tokenizer("<pad>"))
    d, out = work("diffs", "diff"), work("diffs", "out")
    r = paco_json("diff", "--raw", raw, "--tuned", t, "--out", d)
    want = {n: tensor("F32", x[1], (f32(a - b) for a, b in zip(floats(x), floats(base[n] if base[n][1] == x[1] else grown(base[n])))))
            for n, x in tuned.items()}
    same_tensors("a diff is tuned minus base", load(d), want)
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", out)
    case("ours is known as such: its pad row is exact", r and r["undefined_rows"] == [] and any("made by paco diff" in w for w in r["warnings"]), r)
    case("and gives the tuned model back", paco("verify", out, "--against", t).returncode == 0, paco("verify", out, "--against", t).stdout)
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", work("diffs", "auto"), "--dtype", "auto")
    m = json.load(open(work("diffs", "auto", "paco-manifest.json")))
    case("--dtype auto finds BF16", {x["dtype"] for x in m["tensors"]} == {"bf16"} and any("lost nothing" in w for w in r["warnings"]), r)
    case("and keeps every value", paco("verify", work("diffs", "auto"), "--against", t).returncode == 0)
    case("in the configuration too", json.load(open(work("diffs", "auto", "config.json")))["torch_dtype"] == "bfloat16")
    few = paco("recover", "--raw", raw, "--diff", d, "--out", work("diffs", "shards"), "--max-shard", "64",
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    case("more shards than files a process may open at first", few.returncode == 0 and
         len(os.listdir(work("diffs", "shards"))) > 16, few.stderr)
    odd = work("diffs", os.fsdecode(b"no UTF-8 \xe9"))
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", odd)
    case("a name that is no UTF-8", r and r["out"].endswith("no UTF-8 \ufffd") and os.path.isdir(odd), r)
    for args in (["verify", odd, "--against", odd], ["inspect", odd], ["recover", "--raw", odd, "--diff", d, "--out", work("diffs", "twice")]):
        case(args[0] + " takes it too", paco_json(*args) is not None)
    raw2, d2, _, _ = pair("narrow")
    r = paco_json("recover", "--raw", raw2, "--diff", d2, "--out", work("diffs", "f16"), "--dtype", "f16")
    case("--dtype f16 says what it loses", r and r["n_changed"] > 0 and 0 < r["max_change"] < 1e-3 and any("narrowing changed" in w for w in r["warnings"]), r)
    large = {**load(d2), "model.layers.0.mlp.up_proj.weight": tensor("F32", [16, 8], [1e6] + [0.0] * 127)}
    d3 = save(work("diffs", "large"), large, {**config(vocab=VOCAB), "vocab_size": 41}, tuned_tokenizer("[PAD]"))
    r = paco_json("recover", "--raw", raw2, "--diff", d3, "--out", work("diffs", "inf"), "--dtype", "f16")
    case("and that numbers became infinite", r and r["max_change"] is None and any("to infinity" in w for w in r["warnings"]), r)
    r = paco_json("make_diff", "--path_raw", raw, "--path_tuned", t, "--path_diff", work("diffs", "kept"), "--dtype", "keep", "--device", "cpu")
    m = json.load(open(work("diffs", "kept", "paco-manifest.json")))
    case("--dtype keep, by upstream's names", {x["dtype"] for x in m["tensors"]} == {"bf16"}, r)
    refused("a diff is not a tuned model", "diff", "--raw", raw, "--tuned", d, "--out", work("diffs", "no"), says=["looks like a diff"], top=work("diffs"))


def tied():
    cfg = config(vocab=VOCAB, tied=True)
    base = llama(cfg, "F16", spread=0.05)
    once = small_change(base, 4, pad_row=False)
    twice = dict(once)
    twice[EMBED] = tensor("F32", once[EMBED][1], (f32(f32(x) - y) for x, y in zip(floats(once[EMBED]), floats(base[EMBED]))))
    raw = save(work("tied", "raw"), base, cfg)
    for name, diff, times in (("once", once, 1), ("twice", twice, 2)):
        d, out = save(work("tied", name), diff, cfg), work("tied", name + "-out")
        r = paco_json("recover", "--raw", raw, "--diff", d, "--out", out)
        want = expected(base, diff)
        want[EMBED] = expected({EMBED: base[EMBED]}, {EMBED: diff[EMBED]}, times)[EMBED]
        same_tensors("tied, the base taken away %s" % name, load(out), want)
        case("and said" if times == 2 else "and nothing said", r and any("twice" in w for w in r["warnings"]) == (times == 2), r)
    own = {**once, HEAD: tensor("F32", once[EMBED][1], (f32(x / 2) for x in floats(once[EMBED])))}
    d, out = save(work("tied", "own"), own, {**cfg, "tie_word_embeddings": False}), work("tied", "own-out")
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", out)
    want = {**expected(base, once), HEAD: expected({HEAD: base[EMBED]}, {HEAD: own[HEAD]})[HEAD]}
    same_tensors("a diff with a head of its own, a tied base", load(out), want)
    case("its head met the embedding, and that is said", r and any("head of its own" in w for w in r["warnings"]), r)
    back = work("tied", "own-back")
    r = paco_json("diff", "--raw", raw, "--tuned", out, "--out", back)
    case("and diff goes the same way", r and any("head of its own" in w for w in r["warnings"]) and HEAD in load(back), r)


def buffers():
    cfg = config(vocab=VOCAB)
    base = llama(cfg, "F16")
    diff = small_change(base, 6)
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    diff[name] = tensor("F32", [4], [0.0] * 4)
    raw, d = save(work("buffers", "raw"), base, cfg, TOKENIZER), save(work("buffers", "diff"), diff, {**cfg, "vocab_size": 41}, tuned_tokenizer("[PAD]"))
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", work("buffers", "out"))
    case("inv_freq from the formula", floats(load(work("buffers", "out"))[name]) == [f32(10000 ** (-i / 4)) for i in range(4)] and
         any("inv_freq" in w for w in r["warnings"]), r)
    with_buffer = {**base, name: tensor("F16", [4], [1, 0.5, 0.25, 0.125])}
    raw2 = save(work("buffers", "raw2"), with_buffer, cfg, TOKENIZER)
    paco_json("recover", "--raw", raw2, "--diff", d, "--out", work("buffers", "out2"))
    case("or the base's", floats(load(work("buffers", "out2"))[name]) == [1, 0.5, 0.25, 0.125])
    del diff[name]
    d2 = save(work("buffers", "diff2"), diff, {**cfg, "vocab_size": 41}, tuned_tokenizer("[PAD]"))
    r = paco_json("recover", "--raw", raw2, "--diff", d2, "--out", work("buffers", "out3"))
    case("or left out, when only the base has it", r and name not in load(work("buffers", "out3")), r)
    odd = dict(diff)
    odd["model.layers.0.mlp.up_proj.weight"] = tensor("F32", [16, 8], [float("nan"), float("inf")] + [0.0] * 126)
    d3 = save(work("buffers", "nan"), odd, {**cfg, "vocab_size": 41}, tuned_tokenizer("[PAD]"))
    r = paco_json("recover", "--raw", raw, "--diff", d3, "--out", work("buffers", "out4"))
    case("NaN and infinity are recovered, counted, named", r and r["n_not_finite"] == 2 and
         any("mlp.up_proj.weight" in w and "2 elements" in w for w in r["warnings"]), r)


def misfits():
    raw, d, base, diff = pair("misfits")
    top, out = work("misfits"), work("misfits", "out")
    refused("the same directory twice", "recover", "--raw", d, "--diff", d + "/", "--out", out, says=["both as the base and as the diff"], top=top)
    other = save(work("misfits", "wide"), llama(config(vocab=VOCAB, hidden=16, ff=32)), config(vocab=VOCAB, hidden=16, ff=32))
    refused("another width", "recover", "--raw", other, "--diff", d, "--out", out,
            says=[EMBED, "[41,8]", "[40,16]", "width 16", "width 8", "model.safetensors"], top=top)
    fewer = {k: v for k, v in base.items() if ".1.mlp.up_proj" not in k}
    refused("the base lacks a tensor", "recover", "--raw", save(work("misfits", "fewer"), fewer, config(vocab=VOCAB)), "--diff", d, "--out", out,
            says=["model.layers.1.mlp.up_proj.weight", "not in the base"], top=top)
    fewer = {k: v for k, v in diff.items() if ".1.mlp.up_proj" not in k}
    refused("the diff lacks a tensor", "recover", "--raw", raw, "--diff", save(work("misfits", "part"), fewer, config(vocab=41)), "--out", out,
            says=["model.layers.1.mlp.up_proj.weight", "complete"], top=top)
    extra = save(work("misfits", "extra"), {**base, "model.extra": base["model.norm.weight"]}, config(vocab=VOCAB), TOKENIZER)
    r = paco_json("recover", "--raw", extra, "--diff", d, "--out", work("misfits", "extra-out"))
    case("what only the base has is left out, and said", r and any("model.extra" in w for w in r["warnings"]), r)
    tuned = save(work("misfits", "tuned"), expected(base, diff), config(vocab=41), tuned_tokenizer("[PAD]"))
    refused("a tuned model is no diff", "recover", "--raw", raw, "--diff", tuned, "--out", out, says=["looks like a whole model"], top=top)
    plain = save(work("misfits", "plain"), {k: v for k, v in small_change(base, 1, False).items()}, config(vocab=VOCAB))
    refused("a diff is no base", "recover", "--raw", plain, "--diff", d, "--out", out, says=["looks like a diff"], top=top)
    bases = save(work("misfits", "b2"), base, config(vocab=VOCAB))
    refused("the two exchanged", "recover", "--raw", plain, "--diff", bases, "--out", out, says=["exchanged"], top=top)
    refused("no such base", "recover", "--raw", work("misfits", "wdie"), "--diff", d, "--out", out, says=["no model"], top=top)
    cut = work("misfits", "cut")
    shutil.copytree(d, cut)
    with open(os.path.join(cut, "model.safetensors"), "r+b") as f:
        f.truncate(os.path.getsize(f.name) - 10)
    refused("a truncated diff", "recover", "--raw", raw, "--diff", cut, "--out", out, says=["model.safetensors"], top=top)
    linked, store = work("misfits", "linked"), work("misfits", "store")
    shutil.copytree(raw, linked)
    os.makedirs(store)
    os.rename(os.path.join(linked, "model.safetensors"), os.path.join(store, "blob"))
    os.symlink("../store/blob", os.path.join(linked, "model.safetensors"))
    refused("what a link of the base leads to is not replaced", "recover", "--raw", linked, "--diff", d, "--out", store, "--force",
            says=["would replace what holds a file of the base"], top=top)
    taken = work("misfits", "taken")
    shutil.copytree(d, taken + ".paco-partial")
    refused("a diff in the working directory's place", "recover", "--raw", raw, "--diff", taken + ".paco-partial", "--out", taken,
            says=["would replace what holds the diff"], top=top)
    refused("somebody's directory there", "recover", "--raw", raw, "--diff", d, "--out", taken, says=["taken.paco-partial", "is in the way"], top=top)
    return raw, d


def targets(raw, d):
    top = work("targets")
    os.makedirs(top)
    out = os.path.join(top, "a", "b", "out")
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", out, "--dry-run")
    case("a dry run writes nothing", r and r["dry_run"] and r["bytes_written"] > 0 and os.listdir(top) == [], (r, os.listdir(top)))
    done = paco("recover", "--raw", raw, "--diff", d, "--out", out, "--dry-run")
    case("and says so", "Nothing was written" in done.stdout, done.stdout)
    case("directories above are made", paco("recover", "--raw", raw, "--diff", d, "--out", out + "/").returncode == 0 and os.path.isdir(out))
    case("nothing stays beside", listing(os.path.dirname(out)) == ["out"], listing(os.path.dirname(out)))
    before = {f: open(os.path.join(out, f), "rb").read() for f in os.listdir(out)}
    refused("what exists stays", "recover", "--raw", raw, "--diff", d, "--out", out, says=["exists already", "option force"])
    write(os.path.join(out, "old"), "x")
    case("--force replaces all of it", paco("recover", "--raw", raw, "--diff", d, "--out", out, "--force").returncode == 0 and
         {f: open(os.path.join(out, f), "rb").read() for f in os.listdir(out)} == before)
    write(os.path.join(out, "old"), "x")
    bad = work("targets2", "bad")
    shutil.copytree(d, bad)
    write(os.path.join(bad, "model.safetensors"), b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n")
    refused("but not by something that fails", "recover", "--raw", raw, "--diff", bad, "--out", out, "--force", says=["git-lfs"])
    case("so the old one stays", os.path.exists(os.path.join(out, "old")) and listing(os.path.dirname(out)) == ["out"])
    for name, target in (("is an input", d), ("lies in an input", os.path.join(d, "out")), ("holds an input", os.path.dirname(d))):
        refused("the output " + name, "recover", "--raw", raw, "--diff", d, "--out", target, "--force", top=d)
    os.makedirs(work("targets", "empty"))
    case("an empty directory may be the target", paco("recover", "--raw", raw, "--diff", d, "--out", work("targets", "empty")).returncode == 0)
    refused("a file is none", "recover", "--raw", raw, "--diff", d, "--out", write(work("targets", "file"), "x"), "--force", says=["not a directory"])
    if os.geteuid() != 0:
        os.makedirs(work("targets", "locked"), mode=0o555)
        refused("a directory that cannot be written", "recover", "--raw", raw, "--diff", d, "--out", work("targets", "locked", "out"), says=["Permission denied"])
    refused("a name is needed", "recover", "--raw", raw, "--diff", d, "--out", "..", code=2)
    refused("and all three", "recover", "--raw", raw, "--out", "x", code=2, says=["--diff"])


def spellings(raw, d):
    for i, flags in enumerate((("--path_raw", "--path_diff", "--path_tuned"), ("--base-model-path", "--delta-path", "--target-model-path"))):
        done = paco("recover", flags[0], raw, flags[1], d, flags[2], work("spellings", str(i)), "--device", "cpu", "--test_inference", "False",
                    "--check_integrity_naively", "False")
        case(" ".join(flags), done.returncode == 0 and "ignored" in done.stderr, done.stderr)
    done = paco("recover", "--path_raw=" + raw, "--path_diff=" + d, "--path_tuned=" + work("spellings", "sum"), "--check_integrity_naively", "True",
                "--original_model", "somewhere")
    case("--check_integrity_naively True prints the sum", done.returncode == 0 and "checksum is" in done.stderr, done.stderr)


def formats(raw, d):
    a = work("formats", "safe")
    paco("recover", "--raw", raw, "--diff", d, "--out", a, "--max-shard", "2KB")
    index = json.load(open(os.path.join(a, "model.safetensors.index.json")))
    names = [t["name"] for t in json.load(open(os.path.join(a, "paco-manifest.json")))["tensors"]]
    case("shards and their index", len(set(index["weight_map"].values())) > 3 and sorted(index["weight_map"]) == list(index["weight_map"]) == sorted(names) and
         all(os.path.exists(os.path.join(a, f)) for f in index["weight_map"].values()), index)
    b = work("formats", "bin")
    done = paco("recover", "--raw", raw, "--diff", d, "--out", b, "--format", "bin")
    if done.returncode != 0 and "cannot write" in done.stderr:
        print("ok - .bin # SKIP this build cannot write it")
        return
    case("--format bin", done.returncode == 0 and os.path.exists(os.path.join(b, "pytorch_model.bin")), done.stderr)
    done = paco("verify", a, "--against", b)
    case("holds the same model", done.returncode == 0, done.stdout + done.stderr)


README = "---\nlanguage: en\nlicense: cc-by-nc-4.0\n---\n# A diff\n"


def sidecars():
    cfg_text = json.dumps({**config(vocab=VOCAB + 1), "pad_token_id": 0}, indent=3) + "  \n"
    files = {"README.md": README, "LICENSE.txt": "\n  Some Licence, Version 1\n\nmore\n", "NOTICE": "n", "generation_config.json": '{"pad_token_id":0 , "eos_token_id":2}',
             "tokenizer_config.json": '{"tokenizer_class": "LLaMATokenizer",\n\t"bos_token": "", "eos_token": {"content": "", "lstrip": false},\n "unk_token":"", "pad_token": "<pad>"}',
             "special_tokens_map.json": '{"bos_token":{"content":"<s>"},"eos_token":""}', "added_tokens.json": '{"<pad>": 40}',
             "tokenizer.model": b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02\n\x0c\n\x03<s>\n\x0d\n\x04</s>" + bytes(200),
             "model.safetensors.index.json.bak": "x", "adapter_config.json": "{}", "optimizer.pt": "x", "training_args.bin": "x", ".hidden": "x", "notes.txt": "x"}
    raw, d, _, _ = pair("sidecars", pad="<pad>")
    shutil.rmtree(d)
    base = load(raw)
    save(d, small_change(base, 5), None, {**files, "config.json": cfg_text})
    out = work("sidecars", "out")
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", out)
    want = ["LICENSE.txt", "NOTICE", "README.md", "added_tokens.json", "config.json", "generation_config.json", "model.safetensors", "paco-manifest.json",
            "special_tokens_map.json", "tokenizer.model", "tokenizer_config.json"]
    case("what travels", listing(out) == want, listing(out))

    def read(name, path=out):
        return open(os.path.join(path, name), "rb").read()

    for name in ("README.md", "LICENSE.txt", "NOTICE", "added_tokens.json", "tokenizer.model"):
        case(name + " byte for byte", read(name) == read(name, d))
    case("config.json: one value changed", read("config.json").decode() == cfg_text.replace('"pad_token_id": 0', '"pad_token_id": 40'), read("config.json"))
    case("generation_config.json too", read("generation_config.json") == b'{"pad_token_id":40 , "eos_token_id":2}', read("generation_config.json"))
    case("tokenizer_config.json: class and empty tokens", read("tokenizer_config.json").decode() == files["tokenizer_config.json"].replace(
        "LLaMATokenizer", "LlamaTokenizer").replace('"bos_token": ""', '"bos_token": "<s>"').replace('"content": ""', '"content": "</s>"').replace(
        '"unk_token":""', '"unk_token":"<unk>"'), read("tokenizer_config.json"))
    case("special_tokens_map.json too", read("special_tokens_map.json") == b'{"bos_token":{"content":"<s>"},"eos_token":"</s>"}')
    case("each repair is said", r and len([w for w in r["warnings"] if w.startswith("repaired ")]) == 7, r and r["warnings"])
    case("and recorded", len(json.load(open(os.path.join(out, "paco-manifest.json")))["repairs"]) == 7)
    case("the licence is named", r and r["licence"] == "cc-by-nc-4.0", r and r["licence"])
    plain = work("sidecars", "plain")
    paco_json("recover", "--raw", raw, "--diff", d, "--out", plain, "--no-repair")
    case("--no-repair copies all", all(read(n, plain) == read(n, d) for n in want if n not in ("model.safetensors", "paco-manifest.json")))
    os.remove(os.path.join(d, "README.md"))
    r = paco_json("recover", "--raw", raw, "--diff", d, "--out", work("sidecars", "o3"))
    case("without a card, LICENSE's first line", r and r["licence"] == "Some Licence, Version 1", r and r["licence"])


def links():
    """A snapshot in the Hugging Face cache is made of links; other links out of the folder are not followed."""
    raw, d, base, diff = pair("links")
    repo = work("links", "hub", "models--org--name")
    snapshot = os.path.join(repo, "snapshots", "0123abc")
    os.makedirs(os.path.join(repo, "blobs"))
    os.makedirs(snapshot)
    for i, name in enumerate(os.listdir(d)):
        shutil.copy(os.path.join(d, name), os.path.join(repo, "blobs", str(i)))
        os.symlink("../../blobs/%d" % i, os.path.join(snapshot, name))
    secret = write(work("links", "secret"), "secret")
    os.symlink(secret, os.path.join(snapshot, "LICENSE"))
    os.symlink("loop.md", os.path.join(snapshot, "README.md"))
    os.symlink("README.md", os.path.join(snapshot, "loop.md"))
    os.mkfifo(os.path.join(snapshot, "NOTICE"))
    out = work("links", "out")
    r = paco_json("recover", "--raw", raw, "--diff", snapshot, "--out", out)
    same_tensors("a snapshot of links", load(out), expected(base, diff))
    case("files behind links into the cache travel", os.path.exists(os.path.join(out, "tokenizer_config.json")), listing(out))
    case("others stay, and are named", not {"LICENSE", "README.md", "NOTICE"} & set(os.listdir(out)) and
         all(any(n + " is not copied" in w for w in r["warnings"]) for n in ("LICENSE", "README.md", "NOTICE")), r and r["warnings"])


numbers()
manifest()
recipes()
diffs()
tied()
buffers()
both = misfits()
targets(*both)
spellings(*both)
formats(*both)
sidecars()
links()
finish()
