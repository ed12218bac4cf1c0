#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad inputs to whole jobs: recover, diff, merge, convert, verify, generate, tokenize on what they must refuse.

    bad_jobs.py           (with PACO set) runs each case with a bound on memory and a few seconds of time: exit 1, one message with
                          the expected parts, nothing on stdout, no output directory and no working directory left

The files of bad_formats.py and bad_torch.py go through a job too, since a job must not leave anything behind. Standard
library only; under sanitizers memory is not bounded.
"""
import json
import os
import shutil
import struct
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bad_formats  # noqa: E402
import bad_torch  # noqa: E402
from tiny import SANITIZED, case, config, finish, floats, llama, paco, safetensors, save, tensor, work, write  # noqa: E402

SECONDS = 10
MEMORY = 1 << 30


def bound_memory():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def refuse(what, command, *args, says=(), code=1):
    """Run a job that must fail. says: parts of its one message."""
    top = work("jobs", "out")
    shutil.rmtree(os.path.dirname(top), ignore_errors=True)
    os.makedirs(os.path.dirname(top))
    full = [command, *args] + (["--out", top] if command in ("recover", "diff", "merge", "convert") else [])
    done = paco(*full, timeout=SECONDS, preexec_fn=None if SANITIZED else bound_memory)
    errors = [line for line in done.stderr.strip().split("\n") if line]
    says = [says] if isinstance(says, str) else says
    left = os.listdir(os.path.dirname(top))
    ok = done.returncode == code and done.stdout == "" and len(errors) == 1 and all(s in done.stderr for s in says) and not left
    case("%s %s" % (command, what), ok, "left %s, wanted %s\n%s" % (left, says, done))


def folder(*parts, **files):
    """A directory with these files, names with _ for ."""
    d = work(*parts)
    shutil.rmtree(d, ignore_errors=True)
    os.makedirs(d)
    for name, content in files.items():
        write(os.path.join(d, name.replace("__", ".")), content)
    return d


def changed(model, name, dtype, shape, values):
    return {**model, name: tensor(dtype, shape, values)}


def pairs(cfg, model):
    """Bases and diffs that do not belong together."""
    base = save(work("base"), model, cfg)
    diff_model = llama(cfg, seed=2, norm=0.0005, spread=0.001)
    diff = save(work("diff"), diff_model, cfg)
    tuned = save(work("tuned"), llama(cfg, seed=3), cfg)
    other_cfg = config(hidden=16, ff=32)
    other = save(work("other"), llama(other_cfg), other_cfg)
    deep_cfg = config(layers=3)
    deep = save(work("deep"), llama(deep_cfg, seed=2, norm=0.0005, spread=0.001), deep_cfg)
    refuse("of a model with itself", "recover", "--raw", base, "--diff", base, says=["both as the base and as the diff", "base"])
    refuse("through a link to the same folder", "recover", "--raw", base, "--diff", link("alias", base), says="both as the base and as the diff")
    refuse("of a tuned model in the place of the diff", "recover", "--raw", base, "--diff", tuned, says=["tuned"])
    refuse("of the two exchanged", "recover", "--raw", diff, "--diff", base, says=[])
    refuse("with a base of another width", "recover", "--raw", other, "--diff", diff, says=["width 16", "width 8"])
    refuse("with a base of fewer layers", "recover", "--raw", base, "--diff", deep, says=["3 layers", "2 layers"])
    refuse("with a diff of more than one kind of row", "recover", "--raw", base, "--diff",
           save(work("rows"), changed(diff_model, "model.layers.0.mlp.up_proj.weight", "F32", [17, 8], [0] * 136), cfg), says="mlp.up_proj.weight")
    refuse("with an unknown tensor in the diff", "recover", "--raw", base, "--diff",
           save(work("extra"), changed(diff_model, "model.mm_projector.weight", "F32", [2], [0, 0]), cfg), says="mm_projector")
    refuse("with an incomplete diff", "recover", "--raw", base, "--diff",
           save(work("less"), {k: v for k, v in diff_model.items() if "layers.1" not in k}, cfg), says=[])
    refuse("with integers in the place of weights", "recover", "--raw", base, "--diff",
           save(work("ints"), changed(diff_model, "model.norm.weight", "I64", [8], [0] * 8), cfg), says="model.norm.weight")
    refuse("of what is not there", "recover", "--raw", base, "--diff", work("nowhere"), says=["diff", "nowhere"])
    refuse("with an empty name", "recover", "--raw", "", "--diff", diff, says=[], code=2)
    refuse("of two different models", "diff", "--raw", other, "--tuned", tuned, says=["width 16", "width 8"])
    refuse("of a model with itself", "diff", "--raw", base, "--tuned", base, says="both as")
    refuse("with a diff in the place of the tuned model", "diff", "--raw", base, "--tuned", diff, says="diff")
    return base, diff


def link(name, target):
    path = work("links", name)
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)
    return path


def special_files(base, cfg, model):
    """Links, pipes, folders and sizes that are no files."""
    def as_diff(what, d, says, command="recover"):
        if command == "recover":
            refuse(what, command, "--raw", base, "--diff", d, says=says)
        else:
            refuse(what, command, d, says=says)

    as_diff("of an empty folder", folder("empty"), "empty")
    as_diff("of a folder with a configuration only", folder("bare", config__json=json.dumps(cfg)), "no model.safetensors")
    d = folder("loop", config__json=json.dumps(cfg))
    os.symlink("model.safetensors", os.path.join(d, "model.safetensors"))
    as_diff("of a link to itself", d, ["loop"])
    os.symlink("b", work("links", "a"))
    os.symlink("a", work("links", "b"))
    as_diff("of a path that leads in a circle", work("links", "a"), [])
    d = folder("dangling", config__json=json.dumps(cfg))
    os.symlink("../blobs/gone", os.path.join(d, "model.safetensors"))
    as_diff("of a dangling link", d, ["leads nowhere", "model.safetensors"])
    d = folder("pipe", config__json=json.dumps(cfg))
    os.mkfifo(os.path.join(d, "model.safetensors"))
    as_diff("of a pipe", d, "not a regular file")
    as_diff("to a pipe", d, "not a regular file", "convert")
    as_diff("of a device", "/dev/zero", ["/dev/zero"], "convert")
    d = folder("configpipe", model__safetensors=safetensors(model))
    os.mkfifo(os.path.join(d, "config.json"))
    as_diff("of a configuration that is a pipe", d, ["config.json", "not a regular file"], "convert")
    d = folder("fold", config__json=json.dumps(cfg))
    os.makedirs(os.path.join(d, "model.safetensors"))
    as_diff("of weights that are a folder", d, "not a regular file", "convert")
    d = folder("sparse", config__json=json.dumps(cfg))
    with open(os.path.join(d, "model.safetensors"), "wb") as f:
        f.truncate(1 << 40)
    as_diff("of a terabyte of nothing", d, ["nothing but zero bytes"], "convert")
    index = {"metadata": {}, "weight_map": {n: "../../etc/passwd" for n in model}}
    as_diff("of an index that leads out of the folder", folder("escape", config__json=json.dumps(cfg),
                                                              model__safetensors__index__json=json.dumps(index)), "../../etc/passwd")
    index = {"metadata": {}, "weight_map": {n: "model-00001-of-00002.safetensors" for n in model}}
    as_diff("of an index without its shards", folder("unsharded", config__json=json.dumps(cfg),
                                                    model__safetensors__index__json=json.dumps(index)), "model-00001-of-00002.safetensors")


def zip_bombs():
    """Archives that grow."""
    d = work("bombs")
    os.makedirs(d, exist_ok=True)
    pickle = b"\x80\x02" + b"(" * 100000 + b"."
    for name, member, raw in (("deep", "archive/data.pkl", pickle), ("big", "archive/data.pkl", bytes(300 << 20)),
                              ("names", None, None)):
        path = os.path.join(d, name + ".bin")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
            if member:
                z.writestr(member, raw)
            else:
                for i in range(3000):
                    z.writestr("archive/data/%d" % i, b"x" * 40)
        refuse("of a zip bomb (%s)" % name, "convert", path, says=name)
    quine = os.path.join(d, "nested.bin")
    with zipfile.ZipFile(quine, "w", zipfile.ZIP_STORED) as z:
        z.writestr("archive/data.pkl", open(os.path.join(d, "names.bin"), "rb").read())
    refuse("of a zip in a zip", "convert", quine, says="nested")


def adapters(base, model):
    """Adapters that do not fit, or are none."""
    lora = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    q = "base_model.model.model.layers.0.self_attn.q_proj."
    good = {q + "lora_A.weight": tensor("F32", [2, 8], [0.01] * 16), q + "lora_B.weight": tensor("F32", [8, 2], [0.01] * 16)}

    def refused(what, says, cfg=lora, tensors=good, raw=None, **files):
        d = folder("adapter", adapter_config__json=cfg if isinstance(cfg, str) else json.dumps(cfg), **files)
        if tensors or raw:
            write(os.path.join(d, "adapter_model.safetensors"), raw or safetensors(tensors))
        refuse(what, "merge", "-m", base, "--adapter", d, says=says)

    refused("with a broken configuration", ["adapter_config.json", "at byte"], cfg="{\"peft_type\": \"LORA\", ")
    refused("with a configuration that is a list", "expected an object", cfg="[]")
    refused("with a configuration nested too deep", "adapter_config.json", cfg="{\"a\":" * 500 + "1" + "}" * 500)
    refused("of rank -1", "\"r\" is -1", cfg={**lora, "r": -1})
    refused("of an absurd rank", "\"r\" is", cfg={**lora, "r": 1 << 40})
    refused("with a rank pattern that never ends", "takes too long", cfg={**lora, "rank_pattern": {"(.*)*(.*)*(.*)*[^a-z0-9_.]": 4}})
    refused("with a pattern that is no expression", "no regular expression", cfg={**lora, "alpha_pattern": {"(": 4}})
    refused("with a prompt-tuning adapter", "PROMPT_TUNING", cfg={"peft_type": "PROMPT_TUNING"})
    refused("with a PiSSA adapter", "pissa", cfg={**lora, "init_lora_weights": "pissa"})
    refused("with another rank", ["lora_A.weight", "rank 4"], cfg={**lora, "r": 4})
    refused("with one factor", "without its other factor", tensors={q + "lora_A.weight": good[q + "lora_A.weight"]})
    refused("with a layer the base lacks", ["layers.7", "has no place in the base"], tensors={k.replace("layers.0", "layers.7"): v for k, v in good.items()})
    refused("with factors of another width", "cannot take an update", tensors={**good, q + "lora_A.weight": tensor("F32", [2, 9], [0] * 18)})
    refused("with integer factors of a strange type", "lora_A.weight", tensors={**good, q + "lora_A.weight": ("X7", [2, 8], bytes(16))})
    refused("with truncated weights", ["adapter_model.safetensors", "truncated"], raw=safetensors(good)[:-9])
    refused("with a git-lfs pointer", "git-lfs pointer", raw=b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    refused("with a tensor named like a path", "../../etc/passwd", tensors={"../../etc/passwd": tensor("F32", [1], [0])})
    refused("with a name that a terminal would obey", "\\x1b", tensors={"\x1b]0;x\x07": tensor("F32", [1], [0])})
    refused("with the weights missing", "neither adapter_model.safetensors nor", tensors=None)
    refused("with a broken tokenizer", "tokenizer.json", tokenizer__json="{\"model\": ")
    folder("adapter", adapter_model__safetensors=safetensors(good))
    os.mkfifo(os.path.join(work("adapter"), "adapter_config.json"))
    refuse("with a configuration that is a pipe", "merge", "-m", base, "--adapter", work("adapter"), says="not a regular file")
    refuse("of a model in the place of an adapter", "merge", "-m", base, "--adapter", base, says="holds a whole model")
    refuse("of a file in the place of an adapter", "merge", "-m", base, "--adapter", os.path.join(base, "model.safetensors"), says="is a file")


def manifests(base, model):
    """paco-manifest.json from strangers."""
    head = {"format": 1, "content_sha256": "0" * 64, "tensors": []}
    for what, text, says in (
            ("that is no JSON", "{", ["paco-manifest.json", "at byte"]),
            ("of a later format", json.dumps({**head, "format": 9}), "format 9"),
            ("without tensors", json.dumps({"format": 1, "content_sha256": "0" * 64}), "\"tensors\""),
            ("with a path in the place of a name", json.dumps({**head, "files": [{"name": "../../etc/passwd", "bytes": 1, "sha256": "0" * 64}]}), "../../etc/passwd"),
            ("with a tensor twice", json.dumps({**head, "tensors": [{"name": "w", "file": "f", "dtype": "f32", "shape": [1], "sha256": "0" * 64}] * 2}), "appears twice"),
            ("with a shape below nothing", json.dumps({**head, "tensors": [{"name": "w", "file": "f", "dtype": "f32", "shape": [-1], "sha256": "0" * 64}]}), "no size"),
            ("with a short digest", json.dumps({**head, "content_sha256": "12"}), "no SHA-256")):
        d = folder("manifest", model__safetensors=safetensors(model))
        write(os.path.join(d, "paco-manifest.json"), text)
        refuse("with a manifest " + what, "verify", d, says=says)
    d = folder("manifest", model__safetensors=safetensors(model))
    os.mkfifo(os.path.join(d, "paco-manifest.json"))
    refuse("with a manifest that is a pipe", "verify", d, says="not a regular file")
    refuse("against what is not there", "verify", base, "--against", work("nowhere"), says="nowhere")


def corpora():
    """The readers' own corpora through a job: nothing may be left."""
    out = work("readers")
    listed = [(p, m) for p, m in bad_formats.write_all(os.path.join(out, "formats"))]
    for path, message in listed:
        refuse(path, "convert", os.path.join(out, "formats", path), says=message)
    for path, message, _ in bad_torch.write_all(os.path.join(out, "torch")):
        refuse(path, "convert", os.path.join(out, "torch", path), says=message)


def running(base, cfg, model):
    """What generate and tokenize refuse."""
    refuse("from a model without a tokenizer", "generate", "-m", base, "-p", "x", says=[])
    refuse("from a file that is none", "tokenize", "-m", write(work("junk.gguf"), b"GGUF" + struct.pack("<I", 3) + b"\xff" * 16), "x", says="junk.gguf")
    refuse("with a tokenizer nested too deep", "tokenize", "-m", folder("nest", tokenizer__json="[" * 100000), "x", says="tokenizer.json")
    refuse("with an empty vocabulary", "tokenize", "-m", folder("novocab", tokenizer__json='{"model": {"type": "BPE", "vocab": {}, "merges": []}}'), "x", says="novocab")
    refuse("with a vocabulary of ids beyond measure", "tokenize", "-m", folder(
        "hugeid", tokenizer__json='{"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}}'), "x", says="hugeid")
    refuse("with a tokenizer.model of garbage", "tokenize", "-m", folder("garbage", tokenizer__model=b"\x0a\xff\xff\xff\xff\x0f" + bytes(40)), "x", says="tokenizer.model")


def main():
    cfg = config()
    model = llama(cfg)
    assert floats(model["model.norm.weight"]) == [1.0] * 8
    base, _ = pairs(cfg, model)
    special_files(base, cfg, model)
    zip_bombs()
    adapters(base, model)
    manifests(base, model)
    running(base, cfg, model)
    corpora()
    finish()


main()
