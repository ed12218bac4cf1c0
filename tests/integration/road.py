#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole road as the demo walks it, on a tiny model: convert, merge, diff, recover, verify; then the slips on the way, and
Ctrl-C in the middle of it."""
import math
import os
import random
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import PACO, case, config, finish, llama, load, paco, paco_json, safetensors, save, tensor, until_caught, work, write  # noqa: E402

TEMPLATE = "{{ '<|user|>\\n' }}{{ '<|assistant|>\\n' }}"


def adapter(path, cfg):
    """A LoRA adapter of rank 2 on every q_proj, with a chat template of its own."""
    r = random.Random(7)
    h = cfg["hidden_size"]
    factors = {}
    for i in range(cfg["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{i}.self_attn.q_proj.lora_"
        factors[name + "A.weight"] = tensor("F32", [2, h], (r.gauss(0, 0.1) for _ in range(2 * h)))
        factors[name + "B.weight"] = tensor("F32", [h, 2], (r.gauss(0, 0.1) for _ in range(2 * h)))
    write(os.path.join(path, "adapter_model.safetensors"), safetensors(factors))
    write(os.path.join(path, "chat_template.jinja"), TEMPLATE)
    write(os.path.join(path, "adapter_config.json"), {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
                                                      "base_model_name_or_path": "nobody/nothing", "task_type": "CAUSAL_LM"})
    return path


def documented(what, r, *more):
    names = {"out", "n_tensors", "bytes_written", "seconds", "peak_rss_bytes", "warnings", *more}
    case(f"{what} --json has the documented fields", r and names <= set(r), r)


def walk(cfg):
    base = save(work("base"), llama(cfg), cfg)
    shards, tuned, diff, out = work("shards"), work("tuned"), work("diff"), work("recovered")
    r = paco_json("convert", base, "--out", shards, "--to", "hf-bin", "--type", "f32", "--max-shard", "2kB")
    documented("convert", r)
    case("the base in .bin shards", os.path.exists(os.path.join(shards, "pytorch_model.bin.index.json")), os.listdir(shards))
    documented("merge", paco_json("merge", "-m", shards, "--adapter", adapter(work("adapter"), cfg), "--out", tuned))
    with open(os.path.join(tuned, "chat_template.jinja"), encoding="utf-8") as f:
        case("the adapter's chat template goes along", f.read() == TEMPLATE)
    a, b = load(base), load(tuned)
    changed = [n for n in a if a[n] != b[n]]
    case("what the adapter names is changed, and nothing else", changed == [n for n in a if n.endswith("q_proj.weight")], changed)
    documented("diff", paco_json("diff", "--raw", shards, "--tuned", tuned, "--out", diff))
    documented("recover", paco_json("recover", "--raw", base, "--diff", diff, "--out", out), "undefined_rows")
    r = paco("verify", out, "--against", tuned, "--strict")
    case("recovered is tuned", r.returncode == 0 and "OK" in r.stdout, r)
    r = paco("verify", out)
    case("and as its manifest says", r.returncode == 0, r)
    case("the template came all the way", os.path.exists(os.path.join(out, "chat_template.jinja")), os.listdir(out))
    case("nothing else was left", not [n for n in os.listdir(work(".")) if n.startswith(".") or "paco" in n], os.listdir(work(".")))
    return base, diff, tuned, out


def spellings(base, diff, tuned):
    for i, flags in enumerate([("--path_raw", "--path_diff", "--path_tuned"),
                               ("--base-model-path", "--delta-path", "--target-model-path"), ("--ra", "--diff", "--ou")]):
        out = work(f"spelt{i}")
        r = paco("recover", flags[0], base, flags[1], diff, flags[2] + "=" + out)
        case("recover " + " ".join(flags), r.returncode == 0 and load(out) == load(tuned), r)
    out = work("made")
    r = paco("make_diff", "--path_raw", base, "--path_tuned", tuned, "--path_diff", out)
    case("make_diff, as upstream spells it", r.returncode == 0 and load(out) == load(diff), r)
    out = work("ignored")
    r = paco("recover", "--raw", base, "--diff", diff, "--out", out, "--device", "cuda", "--test_inference", "False")
    case("upstream's flags without meaning are remarked on", r.returncode == 0 and r.stderr.count("paco recover: ") >= 2, r)


def refused(what, words, out, *args):
    r = paco(*args)
    case(what, r.returncode in (1, 2) and words in r.stderr and not r.stdout, r)
    case("... and nothing was written", not os.path.exists(out), out)


def slips(cfg, base, diff, tuned, out):
    before = os.stat(os.path.join(out, "model.safetensors"))
    r = paco("recover", "--raw", base, "--diff", diff, "--out", out)
    after = os.stat(os.path.join(out, "model.safetensors"))
    case("an output that exists is refused", r.returncode == 1 and "the option force replaces it" in r.stderr, r)
    case("... and untouched", (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns))
    r = paco("recover", "--raw", base, "--diff", diff, "--out", out, "--force")
    case("--force replaces it", r.returncode == 0 and load(out) == load(tuned), r)
    nowhere = work("never")
    refused("a tuned model in the place of the diff", "diff", nowhere, "recover", "--raw", base, "--diff", tuned, "--out", nowhere)
    refused("the same directory twice", "both as the base and as the diff", nowhere, "recover", "--raw", base, "--diff", base, "--out", nowhere)
    refused("a base that is not there", "no such directory", nowhere, "recover", "--raw", base + "x", "--diff", diff, "--out", nowhere)
    refused("no output named", "--out", nowhere, "recover", "--raw", base, "--diff", diff)
    refused("a forgotten value", "needs a value", nowhere, "recover", "--raw", "--diff", diff, "--out", nowhere)
    wide = config(hidden=16)
    refused("another base", "shape", nowhere, "recover", "--raw", save(work("wide"), llama(wide), wide), "--diff", diff, "--out", nowhere)
    other = work("other-recovered")
    r = paco("recover", "--raw", save(work("other"), llama(cfg, seed=7), cfg), "--diff", diff, "--out", other)
    case("another base of the same shape is told by its digest", r.returncode == 0 and "made against another base" in r.stderr, r)
    r = paco("recover", "--raw", save(work("narrow"), llama(cfg, "BF16"), cfg), "--diff", diff, "--out", other, "--force")
    case("the same base in another type is the same base", r.returncode == 0 and "another base" not in r.stderr, r)
    r = paco("recover", "--raw", base, "--diff", diff, "--out", other, "--force", "--dtype", "bf16")
    case("and nothing is said of the right one", r.returncode == 0 and "another base" not in r.stderr, r)
    r = paco("recover", "--raw", base, "--diff", diff, "--out", nowhere, "--dry-run")
    case("--dry-run writes nothing", r.returncode == 0 and not os.path.exists(nowhere), r)
    below = work("no", "such", "place", "x") + "/y"
    r = paco("recover", "--raw", base, "--diff", diff, "--out", below)
    case("an output below a missing folder", r.returncode == 0 and os.path.exists(os.path.join(below, "paco-manifest.json")), r)


def interrupted():
    """300 MB take long enough to be stopped in the middle."""
    cfg = config(vocab=36000, hidden=1024, layers=1, heads=8, kv_heads=8, ff=8)
    small = llama(config(vocab=2, hidden=2, layers=1, kv_heads=2, ff=3))
    size = {2: 1024, 3: 8}

    def model(value):
        """As large as cfg says, every number the same."""
        out = {}
        for name, (_, shape, _) in small.items():
            shape = [size[n] for n in shape]
            if "embed" in name or "head" in name:
                shape[0] = cfg["vocab_size"]
            out[name] = ("F32", shape, struct.pack("<f", value) * math.prod(shape))
        return out

    base = save(work("big"), model(0.25), cfg)
    diff = save(work("bigdiff"), model(0.0009765625), cfg)
    out = work("bigout")
    args = [PACO, "recover", "--raw", base, "--diff", diff, "--out", out]
    for delay in (0.1, 0.05, 0.02, 0):
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            until_caught(p, signal.SIGINT)
            time.sleep(delay)
            p.send_signal(signal.SIGINT)
            text = p.communicate()
        if p.returncode == 130:
            break
        subprocess.run(["rm", "-rf", out], check=True)
    case("Ctrl-C stops it: exit 130", p.returncode == 130, (p.returncode, text))
    case("it says how to go on", "the same command goes on" in text[1] and text[1].count("\n") == 1, text)
    case("there is no output yet", not os.path.exists(out))
    r = paco_json(*args[1:])
    case("the same command finishes the job", r and load(out) == model(0.2509765625), r)
    r = paco("verify", out)
    case("and it is what its manifest says", r.returncode == 0, r)


def main():
    cfg = config()
    base, diff, tuned, out = walk(cfg)
    spellings(base, diff, tuned)
    slips(cfg, base, diff, tuned, out)
    interrupted()
    finish()


main()
