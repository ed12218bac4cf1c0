#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco verify: manifests, comparisons, exit statuses."""
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import case, config, f32, finish, floats, llama, load, paco, paco_json, save, tensor, work, write  # noqa: E402

NAMES = {"F32": "f32", "F16": "f16", "BF16": "bf16", "I64": "i64"}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def manifest(model, files=None, undefined=None):
    """What paco would write beside the model."""
    tensors = [{"name": n, "dtype": NAMES[d], "shape": s, "file": "model.safetensors", "sha256": sha256(b)} for n, (d, s, b) in model.items()]
    lines = sorted("%s %s %s %s\n" % (t["name"], t["dtype"], "x".join(map(str, t["shape"])), t["sha256"]) for t in tensors)
    return {"format": 1, "paco": "0.1.0", "job": "recover", "options": {}, "inputs": [], "content_sha256": sha256("".join(lines).encode()),
            "n_tensors": len(tensors), "tensor_bytes": sum(len(t[2]) for t in model.values()), "tensors": tensors,
            "files": [{"name": n, "bytes": len(b), "sha256": sha256(b)} for n, b in (files or {}).items()],
            "undefined_rows": undefined or [], "repairs": [], "notes": []}


def changed(model, name, index, value):
    dtype, shape, _ = model[name]
    values = floats(model[name])
    values[index] = value
    return {**model, name: tensor(dtype, shape, values)}


def against_manifest(cfg, model):
    text = json.dumps(cfg).encode()
    d = save(work("good"), model, None, {"config.json": text, "paco-manifest.json": manifest(model, {"config.json": text})})
    r = paco_json("verify", d)
    case("a model that is as its manifest says", r and r["ok"] and r["n_identical"] == len(model) and not r["findings"], r)
    case("the content digest is the documented one", r and r["content_sha256"] == manifest(model)["content_sha256"], r)
    done = paco("verify", d)
    case("it says OK", done.returncode == 0 and "OK: every tensor and file is as the manifest says" in done.stdout, done)

    write(os.path.join(d, "config.json"), text + b"\n")
    r = paco_json("verify", d, code=1)
    case("a changed file", r and not r["ok"] and r["files"] == [{"name": "config.json", "verdict": "different"}], r)
    bad = changed(model, "model.norm.weight", 3, 1.5)
    d = save(work("bad"), bad, cfg, {"paco-manifest.json": manifest(model)})
    r = paco_json("verify", d, code=1)
    case("a changed tensor", r and r["findings"] == [{"name": "model.norm.weight", "verdict": "different"}], r)
    done = paco("verify", d)
    case("which is named", done.returncode == 1 and "different model.norm.weight" in done.stdout and "FAILED" in done.stdout, done)
    r = paco_json("verify", save(work("plain"), model, cfg), "--against", os.path.join(d, "paco-manifest.json"))
    case("a manifest from elsewhere", r and r["ok"] and r["n_identical"] == len(model), r)
    fewer = {k: v for k, v in model.items() if k != "lm_head.weight"}
    r = paco_json("verify", save(work("fewer"), fewer, cfg, {"paco-manifest.json": manifest(model)}), code=1)
    case("a missing tensor", r and r["findings"] == [{"name": "lm_head.weight", "verdict": "missing"}], r)


def against_models(cfg, model):
    a = save(work("a"), model, cfg)
    r = paco_json("verify", a, "--against", save(work("b"), model, cfg))
    case("the same model twice", r and r["ok"] and r["n_identical"] == len(model), r)
    half = llama(cfg, "BF16")  # the same numbers: the seeded weights fit
    r = paco_json("verify", a, "--against", save(work("half"), half, cfg))
    case("another type with the same values", r and r["ok"] and r["n_equal"] == len(model) and r["n_identical"] == 0, r)
    name = "model.layers.1.mlp.up_proj.weight"
    old = floats(model[name])[19]
    b = save(work("b"), changed(model, name, 19, old + 0.25), cfg)
    r = paco_json("verify", a, "--against", b, code=1)
    want = {"name": name, "verdict": "different", "n_elements": 128, "n_different": 1, "row": 2, "column": 3, "n_nonfinite": 0}
    got = r and {k: v for k, v in r["findings"][0].items() if k != "max_abs"}
    case("a changed value, where and by how much", got == want and r["findings"][0]["max_abs"] == abs(f32(old + 0.25) - old), r)
    done = paco("verify", a, "--against", b)
    case("in words", done.returncode == 1 and name + ": 1 of 128 values differ" in done.stdout and "row 2, column 3" in done.stdout
         and "DIFFERENT" in done.stdout, done)
    renamed = {("x" if k == name else k): v for k, v in model.items()}
    r = paco_json("verify", a, "--against", save(work("b"), renamed, cfg), code=1)
    case("a tensor of another name", r and [(f["name"], f["verdict"]) for f in r["findings"]] == [(name, "extra"), ("x", "missing")], r)


def undefined_rows(cfg, model):
    last = cfg["vocab_size"] - 1
    name = "lm_head.weight"
    a = save(work("a"), model, cfg)
    rows = [{"tensor": name, "first": last, "n": 1}]
    other = changed(model, name, last * cfg["hidden_size"] + 2, 7)
    b = save(work("b"), other, cfg, {"paco-manifest.json": manifest(other, undefined=rows)})
    for x, y in ((a, b), (b, a)):
        r = paco_json("verify", x, "--against", y)
        case("an undefined row does not count", r and r["ok"] and r["n_undefined"] == 1 and r["findings"][0]["n_undefined_different"] == 1, r)
    case("but does when strict", paco("verify", a, "--against", b, "--strict").returncode == 1)
    other = changed(other, name, 0, 9)
    r = paco_json("verify", a, "--against", save(work("b"), other, cfg, {"paco-manifest.json": manifest(other, undefined=rows)}), code=1)
    case("and hides nothing else", r and r["findings"][0]["n_different"] == 1 and r["findings"][0]["row"] == 0, r)


def errors(cfg, model):
    """Under --json an error is JSON as well, and what is not known is null."""
    done = paco("verify", work("nowhere"), "--json")
    e = json.loads(done.stdout)["error"]
    case("an error is a line of JSON too", done.returncode == 1 and e["code"] == "missing" and e["message"] in done.stderr and e["offset"] is None, done)
    done = paco("verify", "--nonsense", "--json")
    case("and so is misuse", done.returncode == 2 and json.loads(done.stdout)["error"]["code"] == "invalid", done)
    d = save(work("broken"), model, None, {"config.json": "{"})
    done = paco("verify", d)
    case("a broken config.json is said, and the tensors are checked", done.returncode == 0 and "config.json: JSON" in done.stderr and "content digest" in done.stdout, done)
    r = paco_json("convert", save(work("plain2"), model, cfg), "--out", work("dry"), "--to", "hf-bin", "--dry-run")
    case("what a dry run does not know is null", r and r["content_sha256"] is None and r["recipe"] is None and r["licence"] is None, r)


def stanford(cfg):
    for total, words in ((50637.18, "(pass: Alpaca-7B"), (50640, "(fail, if this is meant to be Alpaca-7B"), (3, "says something of Alpaca-7B only")):
        d = save(work("sum"), {"w": tensor("F32", [2], [total - 1, 1])}, cfg)
        done = paco("verify", d)
        case("Stanford's checksum of %g" % total, done.returncode == 0 and words in done.stdout, done.stdout)
    r = paco_json("verify", save(work("sum"), {"w": tensor("F32", [2], [50636, 1])}, cfg))
    case("and for programs", r and r["stanford_sum"] == 50637.0, r)


def misuse():
    case("no model: exit 2", paco("verify").returncode == 2)
    case("two models: exit 2", paco("verify", "a", "b").returncode == 2)
    done = paco("verify", work("nowhere"))
    case("no such model: exit 1, one line", done.returncode == 1 and done.stderr.count("\n") == 1 and "nowhere" in done.stderr, done)


def main():
    cfg = config()
    model = llama(cfg)
    assert load(save(work("check"), model)) == model
    against_manifest(cfg, model)
    against_models(cfg, model)
    undefined_rows(cfg, model)
    stanford(cfg)
    errors(cfg, model)
    misuse()
    finish()


main()
