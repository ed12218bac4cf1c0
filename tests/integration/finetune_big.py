#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Full fine-tuning with less memory: BF16 weights, updates in the middle of backward, states on disk. What should be the same bytes is, whatever
the threads and the interruptions; what cannot be had is refused by name."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from counting import V, tokenizer_json  # noqa: E402
from tiny import PACO, case, config, finish, floats, llama, paco, paco_json, save, tensor, until_caught, work  # noqa: E402

STEPS = 12
NARROW = ["--weights", "bf16"]
WITHIN = NARROW + ["--update_in_backward", "--optim_states", "8bit"]
ON_DISK = NARROW + ["--update_in_backward", "--states_on_disk"]


def make_base(name="base", spread=0.02, tiny=1.0, **more):
    cfg = dict(config(vocab=V, hidden=32, layers=3, heads=4, kv_heads=2, ff=64), max_position_embeddings=256, **more)
    model = llama(cfg, spread=spread)
    embedding = "model.embed_tokens.weight"
    model[embedding] = tensor("F32", model[embedding][1], (tiny * x for x in floats(model[embedding])))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "pad_token": "<end>"}
    return save(work(name), model, cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": settings})


def make_words():
    draw = random.Random(5)
    with open(work("words.jsonl"), "w") as f:
        for _ in range(29):
            word = "".join(draw.choice("abcdefgh") for _ in range(draw.randint(2, 30)))
            f.write(json.dumps({"prompt": word, "completion": " " + word[::-1]}) + "\n")
    return work("words.jsonl")


BASE, DATA = make_base(), make_words()


def command(out, *more, base=BASE, batch=4):
    return ["finetune", "-m", base, "--train_file", DATA, "-o", out, "--per_device_train_batch_size", batch, "--max_train_steps", STEPS,
            "--learning_rate", "1e-3", "--weight_decay", "0.1", "--seed", "5", "-t", "2", *more]


def lines(out):
    with open(os.path.join(out, "train_log.jsonl")) as f:
        return [json.loads(line) for line in f]


def numbers(out):
    return [(row["step"], row["loss"], row["grad_norm"], row["tokens"]) for row in lines(out)]


def model_of(out):
    with open(os.path.join(out, "model.safetensors"), "rb") as f:
        return f.read()


def run(name, *more, **kw):
    done = paco(*command(work(name), *more, **kw))
    case("%s ends" % name, done.returncode == 0, done.stderr)
    return work(name)


def same(a, b):
    return model_of(a) == model_of(b) and numbers(a) == numbers(b)


def equalities():
    first = run("narrow", *NARROW)
    case("BF16 weights learn", lines(first)[-1]["loss"] < lines(first)[0]["loss"], numbers(first))
    case("3 threads, BF16 weights", same(first, run("narrow-3", *NARROW, "-t", 3)))
    wide = run("wide")
    case("they go about the way of F32 ones", abs(lines(first)[-1]["loss"] - lines(wide)[-1]["loss"]) < 0.05, (numbers(first)[-1], numbers(wide)[-1]))
    within = run("within", "--update_in_backward")
    pairs = list(zip(numbers(wide), numbers(within)))
    case("updated in backward: the same model", model_of(wide) == model_of(within) and
         all(a[:2] == b[:2] and abs(a[2] - b[2]) < 1e-12 * a[2] for a, b in pairs), pairs[-1])
    one = run("one", "--dtype", "f32", batch=1)
    case("in F32 too", model_of(one) == model_of(run("one-within", "--dtype", "f32", "--update_in_backward", batch=1)))
    all_of_it = run("whole", *WITHIN)
    case("3 threads, all of it", same(all_of_it, run("whole-3", *WITHIN, "-t", 3)))
    case("states on disk", same(all_of_it, run("on-disk", *ON_DISK)))
    case("all of it, packed", numbers(run("packed", *WITHIN, "--packing", "--max_seq_length", 64))[-1][0] == STEPS)
    case("the model answers", paco("generate", "-m", all_of_it, "-p", "abc", "-n", 4).returncode == 0)
    return all_of_it


def types_of(path):
    found = paco_json("inspect", path)
    return {t["dtype"] for t in found["tensors"] if t["name"].endswith("proj.weight")} if found else None


def told_to_stop(out, *more):
    """SIGTERM after the first step; what was said, and the checkpoints that are there. A run that was done sooner is tried again."""
    for _ in range(50):
        shutil.rmtree(out, ignore_errors=True)
        p = subprocess.Popen([PACO, *map(str, command(out, *more))], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until_caught(p, signal.SIGTERM)
        while p.poll() is None and not (os.path.exists(os.path.join(out, "train_log.jsonl")) and lines(out)):
            time.sleep(0.001)
        p.send_signal(signal.SIGTERM)
        _, text = p.communicate()
        if p.returncode:
            break
    return text, [n for n in os.listdir(out) if n.startswith("step_")]


def interrupted(name, whole, *more):
    """Killed after each checkpoint and at any other moment, stopped, and gone on: the bytes of the run that was left alone."""
    out, draw = work(name), random.Random(3)
    again = command(out, *more, "--checkpointing_steps", 3, "--resume")
    for i in range(8):
        p = subprocess.Popen([PACO, *map(str, again)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        states = [] if i % 2 else ["step_%d" % k for k in range(3, STEPS, 3) if not os.path.exists(os.path.join(out, "step_%d" % k))]
        until = time.monotonic() + (draw.uniform(0, 0.3) if not states else 60)
        while p.poll() is None and time.monotonic() < until and not (states and os.path.exists(os.path.join(out, states[0]))):
            time.sleep(0.002)
        p.kill()
        p.communicate()
    done = paco(*again)
    case(name + " 8 times, then done", done.returncode == 0 and same(whole, out), done.stderr)
    case("a checkpoint's matrices are BF16", types_of(os.path.join(out, "step_12")) == {"bf16"} == types_of(out), types_of(os.path.join(out, "step_12")))
    case("it is a model too", paco("generate", "-m", os.path.join(out, "step_12"), "-p", "abc", "-n", 4).returncode == 0)
    out = work(name + "-stopped")
    text, left = told_to_stop(out, *more)
    case("told to stop, " + name, len(left) == 1 and "--resume" in text, (text, left))
    case("no scratch is left", not [n for n in os.listdir(out) if "scratch" in n], os.listdir(out))
    done = paco(*command(out, *(WITHIN if more == tuple(ON_DISK) else ON_DISK), "--resume"))
    case("and gone on with it, whatever the states are in", done.returncode == 0 and same(whole, out), done.stderr)


def refused():
    never = work("never")
    for more, text in ((["--weights", "bf16", "--dtype", "f32"], "--dtype f32 is for exact ones"),
                       (["--weights", "bf16", "--use_lora"], "an adapter's are few"),
                       (["--update_in_backward", "--use_lora"], "an adapter's gradients are small"),
                       (["--update_in_backward", "--clip_grad_norm", "1"], "which --clip_grad_norm needs"),
                       (["--update_in_backward", "--gradient_accumulation_steps", 2], "--gradient_accumulation_steps 1"),
                       (["--states_on_disk"], "--update_in_backward needs them"),
                       (["--update_in_backward", "--dtype", "f32"], "--per_device_train_batch_size 1")):
        done = paco(*command(never, *more))
        case("refused: " + " ".join(map(str, more)), done.returncode == 2 and text in done.stderr and not os.path.exists(never), done.stderr)
    out = work("other")
    shutil.copytree(work("killed"), out)
    for name in ("config.json", "paco-manifest.json"):
        os.remove(os.path.join(out, name))
    done = paco(*command(out, "--optim_states", "8bit", "--resume"))
    case("another way of keeping weights is another run", done.returncode == 1 and 'weights (was "bf16", is not given)' in done.stderr, done.stderr)


def torn():
    """Back through a norm of almost nothing a gradient overflows: the model's end has been updated by then, and the loss was fine."""
    base = make_base("steep", spread=30, tiny=1e-38, rms_norm_eps=1e-44)
    more = [*NARROW, "--update_in_backward"]
    for every, text in (([], "There is no checkpoint yet"), (["--checkpointing_steps", 1], "--resume goes on from " + work("torn", "step_"))):
        out = work("torn")
        shutil.rmtree(out, ignore_errors=True)
        done = paco(*command(out, *more, *every, base=base))
        left = [n for n in os.listdir(out) if n.startswith("step_")]
        case("a gradient that overflows on its way %s" % every, done.returncode == 1 and "has been updated already" in done.stderr and
             text in done.stderr and bool(left) == bool(every) and len(left) == len(lines(out)[:2] if every else []), (done.stderr, left))
    done = paco(*command(work("torn-after"), *NARROW, base=base))
    case("without updates in backward nothing is touched", done.returncode == 1 and "left as they were" in done.stderr, done.stderr)


def planned():
    ways = [paco_json(*command(work("never"), *more, "--plan")) for more in ([], NARROW, WITHIN, ON_DISK)]
    if all(ways):
        wide, narrow, within, on_disk = ([w["memory"][k] for k in ("weights", "gradients", "optimizer_states")] for w in ways)
        case("--plan counts what is kept", narrow[0] < 0.6 * wide[0] and narrow[1:] == wide[1:] and within[0] == narrow[0] and
             within[1] < 0.5 * narrow[1] and within[2] < 0.3 * narrow[2], (wide, narrow, within))
        case("states on disk are counted there", on_disk[2] < within[2] and on_disk[:2] == within[:2] and ways[3]["disk"]["states_in_use"] > 2 *
             12000 and ways[3]["disk"]["total"] == ways[2]["disk"]["total"] + ways[3]["disk"]["states_in_use"], (within, on_disk, ways[3]["disk"]))
        case("and the checkpoint", ways[1]["disk"]["checkpoint"] < ways[0]["disk"]["checkpoint"], [w["disk"] for w in ways])


def small_disk():
    """Room for the states is taken before the first step, and that for a checkpoint; who goes on may do without another."""
    top = work("small", "x")[:-2]

    def resize(size, how="remount,"):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", how + "size=" + size, "none", top], capture_output=True).returncode == 0
    if os.geteuid() != 0 or not resize("300k", ""):
        print("ok - # SKIP a small disk needs root")
        return
    try:
        out = os.path.join(top, "out")
        done = paco(*command(out, *ON_DISK))
        case("a small disk", done.returncode == 1 and "optimiser states in use" in done.stderr and not os.path.exists(out), done.stderr)
        resize("40m")
        text, left = told_to_stop(out, *ON_DISK)
        case("a larger one, and a checkpoint on it", len(left) == 1, (text, left))
        used = shutil.disk_usage(top).used
        plan = paco_json(*command(work("never"), *ON_DISK, "--plan"))
        resize(str(used + plan["disk"]["states_in_use"] + plan["disk"]["model"] + (plan["disk"]["checkpoint"] >> 1)))
        done = paco(*command(out, *ON_DISK, "--resume", "--checkpointing_steps", 2))
        case("too small for the next checkpoint", done.returncode == 1 and "for the next checkpoint and the model" in done.stderr, done.stderr)
        done = paco(*command(out, *ON_DISK, "--resume"))
        case("which is not needed", done.returncode == 0 and "no room for another checkpoint" in done.stderr and same(WHOLE, out), done.stderr)
    finally:
        subprocess.run(["umount", top], check=True)


WHOLE = equalities()
interrupted("killed", WHOLE, *WITHIN)
interrupted("killed-on-disk", WHOLE, *ON_DISK)
refused()
torn()
planned()
small_disk()
finish()
