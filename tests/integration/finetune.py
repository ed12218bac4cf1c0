#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco finetune, undisturbed and disturbed: killed, told to stop, out of space, over changed data, from damaged checkpoints. What
should be the same bytes is, whatever the threads, the micro-batches and the interruptions."""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from counting import V, tokenizer_json  # noqa: E402
from tiny import PACO, SANITIZED, case, config, finish, llama, paco, paco_json, save, tensor, until_caught, work, write  # noqa: E402

STEPS = 24
TIMES = ("seconds", "tokens_per_s", "peak_rss_bytes")


def make_base(name, broken=False):
    cfg = dict(config(vocab=V, hidden=32, layers=2, heads=4, kv_heads=2, ff=64), max_position_embeddings=256)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "pad_token": "<end>"}
    model = llama(cfg)
    if broken:
        model["model.layers.0.mlp.up_proj.weight"] = tensor("F32", [64, 32], [float("nan")] * 64 * 32)
    return save(work(name), model, cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": settings})


def make_data(name, n, seed=3):
    draw, path = random.Random(seed), work(name)
    with open(path, "w") as f:
        for _ in range(n):
            word = "".join(draw.choice("abcdefgh") for _ in range(draw.randint(2, 30)))
            f.write(json.dumps({"prompt": word, "completion": " " + word[::-1]}) + "\n")
    return path


BASE, DATA = make_base("base"), make_data("data.jsonl", 37)


def flags(out, *more, data=DATA, dtype="f32", batch=2, accumulation=2):
    return ["finetune", "-m", BASE, "--train_file", data, "-o", out, "--dtype", dtype, "--per_device_train_batch_size", str(batch),
            "--gradient_accumulation_steps", str(accumulation), "--max_train_steps", str(STEPS), "--learning_rate", "1e-3",
            "--warmup_ratio", "0.1", "--seed", "5", "-t", "2", *map(str, more)]


def log_of(out):
    with open(os.path.join(out, "train_log.jsonl")) as f:
        return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in f]


def files_of(out):
    """Every file of a finished run but those with times in them, by its bytes."""
    found = {}
    for top, _, names in os.walk(out):
        for name in names:
            path = os.path.join(top, name)
            # with what a kill left of a file of notes that was being replaced: NAME.XXXXXX
            if not name.startswith(("train_log.jsonl", "train_run.json", "report.html")) and "tfevents" not in name:
                with open(path, "rb") as f:
                    found[os.path.relpath(path, out)] = f.read()
    return found


def same(a, b):
    x, y = files_of(a), files_of(b)
    apart = sorted(k for k in set(x) | set(y) if x.get(k) != y.get(k))
    lines = [pair for pair in zip(log_of(a), log_of(b)) if pair[0] != pair[1]][:1]
    return not apart and not lines and len(log_of(a)) == len(log_of(b)), "differ: %s" % (apart or lines)


def weights(out):
    with open(os.path.join(out, "model.safetensors"), "rb") as f:
        return f.read()


def runs(name, *more, **kw):
    out = work(name)
    done = paco(*flags(out, *more, **kw))
    if done.returncode:
        case("paco finetune " + name, False, done.stderr)
    return out


def undisturbed():
    out = work("whole")
    r = paco_json(*flags(out, "--checkpointing_steps", 4))
    case("a run ends", r and r["steps"] == STEPS and r["loss"] < 5 and r["out"] == out, r)
    log = log_of(out)
    want = {"step", "loss", "learning_rate", "grad_norm", "tokens"}
    case("the log has a line for each step", [row["step"] for row in log] == list(range(1, STEPS + 1)), log[:2])
    case("a line has its fields", want <= set(log[0]) and log[0]["learning_rate"] == 0 and log[2]["learning_rate"] == 1e-3, log[:3])
    case("it learned", log[-1]["loss"] < log[0]["loss"], (log[0], log[-1]))
    case("the last two checkpoints stay", sorted(n for n in os.listdir(out) if n.startswith("step_")) == ["step_20", "step_24"], os.listdir(out))
    case("the model verifies", paco("verify", out).returncode == 0)
    case("the model answers", paco("generate", "-m", out, "-p", "abc", "-n", 4).returncode == 0)
    done = paco("generate", "-m", os.path.join(out, "step_20"), "-p", "abc", "-n", 4)
    case("a checkpoint is a model too", done.returncode == 0, done.stderr)
    return out


WHOLE = undisturbed()


def equalities():
    for dtype in ("f32", "bf16"):
        for accum in ((4, 1), (1, 4)) if dtype == "f32" else ((2, 2),):
            first = None
            for threads in (1, 2, 3):
                out = runs("%s-%d-%d" % (dtype, accum[0], threads), "-t", threads, dtype=dtype, batch=accum[0], accumulation=accum[1])
                first = first or out
                case("%s, %d x %d: %d threads" % (dtype, *accum, threads),
                     weights(first) == weights(out) and log_of(first) == log_of(out), out)
            if dtype == "f32":
                case("f32: %d x %d is 2 x 2" % accum, weights(first) == weights(WHOLE) and log_of(first) == log_of(WHOLE), accum)


def start(*args):
    return subprocess.Popen([PACO, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed(name, whole, *more):
    """Twenty kills at any moment; each time the same command goes on."""
    out, draw, n_killed = work(name), random.Random(11), 0
    took = []
    for _ in range(3):  # the shortest: a busy machine only makes them longer
        began = time.monotonic()
        shutil.rmtree(runs(name + "-timed", "--checkpointing_steps", 4, *more))
        took.append(time.monotonic() - began)
    command = flags(out, "--checkpointing_steps", 4, "--resume", *more)
    for _ in range(100):
        if n_killed == 20:
            break
        p = start(*command)
        time.sleep(draw.uniform(0, min(took)))
        p.kill()
        p.communicate()
        n_killed += p.returncode == -signal.SIGKILL
        if any(os.path.exists(os.path.join(out, n)) for n in ("config.json", "adapter_config.json")):
            shutil.rmtree(out)
    done = paco(*command)
    ok, why = same(whole, out)
    case("%s: killed %d times, then done" % (name, n_killed), done.returncode == 0 and ok and n_killed == 20, done.stderr + why)
    done = paco(*command)
    case("%s: nothing is left to do" % name, done.returncode == 0 and "nothing left" in done.stderr and same(whole, out)[0], done.stderr)


def stopped():
    """SIGTERM in the middle: a checkpoint, and how to go on."""
    out = work("stopped")
    p = start(*flags(out, "--keep", 0))
    until_caught(p, signal.SIGTERM)
    while p.poll() is None and not os.path.exists(os.path.join(out, "train_log.jsonl")):
        time.sleep(0.002)
    while p.poll() is None and os.path.getsize(os.path.join(out, "train_log.jsonl")) < 300:
        time.sleep(0.002)
    p.send_signal(signal.SIGTERM)
    _, text = p.communicate()
    left = [n for n in os.listdir(out) if n.startswith("step_")]
    case("told to stop", p.returncode not in (0, None) and len(left) == 1 and "--resume" in text and not os.path.exists(os.path.join(out, "config.json")),
         (p.returncode, text, os.listdir(out)))
    done = paco(*flags(out, "--resume"))
    case("and gone on", done.returncode == 0 and weights(out) == weights(WHOLE) and log_of(out) == log_of(WHOLE), done.stderr)


def loss_of_the_run():
    """What is printed at the end is of the last epoch, however much of it this process has seen."""
    out = runs("loss", "--checkpointing_steps", 23)
    for name in ("config.json", "model.safetensors", "paco-manifest.json"):
        os.remove(os.path.join(out, name))
    r = paco_json(*flags(out, "--resume"))
    last = [row["loss"] for row in log_of(out)[20:]]
    case("the loss is the run's", r and r["first_step"] == 23 and len(last) == 4 and abs(r["loss"] - sum(last) / 4) < 1e-12, (r, last))


def other_runs():
    """A checkpoint belongs to one run."""
    out = work("other")
    shutil.copytree(WHOLE, out)
    for name in ("config.json", "paco-manifest.json"):
        os.remove(os.path.join(out, name))
    changed = make_data("changed.jsonl", 37, seed=4)
    done = paco(*flags(out, "--resume", data=changed))
    case("other data", done.returncode == 1 and "train_file" in done.stderr and "another run" in done.stderr, done.stderr)
    done = paco(*flags(out, "--resume", "--learning_rate", "2e-3"))
    case("another learning rate", done.returncode == 1 and "learning_rate (was 0.001, is 0.002)" in done.stderr, done.stderr)
    for name, value in (("rms_norm_eps", 1e-4), ("rope_theta", 20000.0), ("rope_scaling", {"type": "linear", "factor": 2.0}),
                        ("num_attention_heads", 2)):
        with open(os.path.join(BASE, "config.json")) as f:
            cfg = dict(json.load(f), **{name: value})
        if name == "num_attention_heads":
            cfg["num_key_value_heads"], cfg["head_dim"] = 1, 16
        changed = work("base-" + name)
        shutil.copytree(BASE, changed)
        write(os.path.join(changed, "config.json"), cfg)
        done = paco("finetune", "-m", changed, *flags(out, "--resume")[3:])
        case("a base with another " + name, done.returncode == 1 and "another run" in done.stderr and name in done.stderr, done.stderr)
    state = os.path.join(out, "step_24", "paco-training.json")
    with open(state) as f:
        text = f.read()
    write(state, text.replace('"format": 1', '"format": 2').encode())
    done = paco(*flags(out, "--resume"))
    case("another version", done.returncode == 1 and "has format 2, this program reads 1" in done.stderr, done.stderr)
    write(state, text.encode())
    done = paco(*flags(out, "--resume", "--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 1))
    case("other micro-batches of the same steps", done.returncode == 0 and weights(out) == weights(WHOLE), done.stderr)


def damaged():
    """A checkpoint whose bytes changed is found out, and the one before it taken."""
    out = work("damaged")
    shutil.copytree(WHOLE, out)
    os.remove(os.path.join(out, "paco-manifest.json"))
    with open(os.path.join(out, "step_24", "model.safetensors"), "r+b") as f:
        f.seek(-100, os.SEEK_END)
        byte = f.read(1)
        f.seek(-100, os.SEEK_END)
        f.write(bytes([byte[0] ^ 1]))
    done = paco(*flags(out, "--resume", "--checkpointing_steps", 4))
    case("a damaged checkpoint", done.returncode == 0 and "damaged" in done.stderr and weights(out) == weights(WHOLE), done.stderr)


def refused():
    out = work("refused")
    done = paco(*flags(WHOLE))
    case("an output that is there", done.returncode == 1 and "a training run is there already" in done.stderr, done.stderr)
    os.makedirs(out)
    write(os.path.join(out, "note.txt"), b"mine")
    done = paco(*flags(out))
    case("a folder with something in it", done.returncode == 1 and "note.txt is there already" in done.stderr, done.stderr)
    done = paco(*flags(out, "--force"))
    case("--force leaves what is not a run's", done.returncode == 0 and os.path.exists(os.path.join(out, "note.txt")), done.stderr)
    done = paco(*flags(out, "--force", "--max_train_steps", 2))
    case("--force begins anew", done.returncode == 0 and len(log_of(out)) == 2, done.stderr)
    for more, text in ((["--checkpointing_steps", "often"], "a number of steps, or epoch"), (["--lora_targets", "lm_head"], "'lm_head' is no matrix"),
                       (["--lr_scheduler_type", "polynomial", "--learning_rate", "0"], "ends at 1e-7")):
        done = paco(*flags(work("never"), *more))
        case("refused: " + " ".join(more), done.returncode == 2 and text in done.stderr and not os.path.exists(work("never")), done.stderr)


def slips():
    """What a hurried hand gives: each is said before anything is trained, by file and line where it is in one."""
    good, out = b'{"prompt": "a", "completion": "b"}\n', work("never")
    for what, content, text in (("another encoding", good + b'{"prompt": "\xe4", "completion": "b"}\n', ": line 2: JSON is not valid UTF-8"),
                                ("UTF-16", '{"prompt": "a"}'.encode("utf-16"), ": line 1: this is UTF-16 text: save it as UTF-8"),
                                ("gzip", b"\x1f\x8b\x08\x00", ": line 1: this is packed by gzip"),
                                ("a table", b"prompt,completion\na,b\n", ": line 1: neither JSON lines"),
                                ("nothing", b"", ": line 1: the file holds nothing"),
                                ("a misspelt role", b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistent", "content": "b"}]}\n',
                                 ": line 1: Invalid role: assistent (system, user or assistant"),
                                ("no messages", b'{"messages": []}\n', ": line 1: messages field is empty."),
                                ("other members", b'{"conversations": [], "id": 1}\n', ": line 1: You need to have either 'prompt'&'completion'"),
                                ("a member that lacks", good + b'{"prompt": "a", "complete": "b"}\n', ": line 2: 'completion' is missing"),
                                ("a number for a text", good * 2 + b'{"prompt": "a", "completion": 5}\n', ": line 3: 'completion' is an integer"),
                                ("a torn line", good + b'{"prompt": "a", "comp', ": line 2: JSON"),
                                ("nothing to learn", b'{"messages": [{"role": "user", "content": "a"}]}\n', ": none of its 1 examples has anything to learn")):
        path = write(work("slip.jsonl"), content)
        done = paco(*flags(out, data=path))
        case("data: " + what, done.returncode == 1 and path + text in done.stderr and not os.path.exists(out), done.stderr)
    for what, content in (("lines that end as Windows ends them", good.replace(b"\n", b"\r\n") * 3), ("a byte order mark", b"\xef\xbb\xbf" + good * 3),
                          ("blank lines", b"\n" + good + b"\n\n" + good + good)):
        done = paco(*flags(work("fine"), "--force", "--max_train_steps", 1, data=write(work("slip.jsonl"), content)))
        case("data: %s are fine" % what, done.returncode == 0 and "3 examples" in done.stderr, done.stderr)
    for more, code, text in ((["--learning_rte", "1"], 2, "did you mean --learning_rate?"), (["--dtype", "fp16"], 2, "'fp16' is none of bf16|f32"),
                             (["--type", "q4_k"], 2, "--use_lora trains an adapter beside it"),
                             (["--resume_from_checkpoint", WHOLE], 1, "holds no checkpoint of a training run"),
                             (["--validation_file", work("no.jsonl")], 1, "no.jsonl: cannot open"), (["--init_adapter", work("none")], 1, "none: there is no")):
        done = paco(*flags(out, *more))
        case("slip: " + more[0], done.returncode == code and text in done.stderr and not os.path.exists(out), done.stderr)
    done = paco(*flags(work("fine"), "--force", "--lora_rank", 4, "--max_train_steps", 1))
    case("a rank without an adapter is remarked", done.returncode == 0 and "which --use_lora asks for" in done.stderr, done.stderr)
    r = paco_json(*flags(WHOLE, "--resume"))
    last = [row["loss"] for row in log_of(WHOLE)[20:]]
    case("a run that is done says its result again", r and r["steps"] == r["first_step"] == STEPS and r["tokens"] == 0 and
         abs(r["loss"] - sum(last) / 4) < 1e-12, r)


def not_a_number():
    broken, out = make_base("nan-base", broken=True), work("nan-first")
    done = paco("finetune", "-m", broken, *flags(out)[3:])
    case("no number at the first step: nothing is kept, for nothing was trained", done.returncode == 1 and "step 1: the loss is nan" in done.stderr and
         os.path.isdir(out) and sorted(os.listdir(out)) == ["report.html", "tensorboard", "train_log.jsonl", "train_run.json"], done.stderr)
    out = work("nan")
    done = paco(*flags(out, "--learning_rate", 1000, "--weight_decay", 1000, "--lr_scheduler_type", "constant"))
    left = [n for n in os.listdir(out) if n.startswith("step_")]
    case("a loss that is no number", done.returncode == 1 and "left as they were" in done.stderr and len(left) == 1 and
         not os.path.exists(os.path.join(out, "config.json")), (done.stderr, os.listdir(out)))


def full_disk():
    """A limit on file sizes stands for a disk that fills up at the first checkpoint, and then has room again."""
    out = work("full")
    size = os.path.getsize(os.path.join(WHOLE, "step_24", "model.safetensors"))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
    done = paco(*flags(out, "--checkpointing_steps", 4), preexec_fn=limit)
    case("a full disk", done.returncode == 1 and "saving step 4" in done.stderr and
         not [n for n in os.listdir(out) if n.startswith("step_") and not n.endswith("partial")], (done.stderr, os.listdir(out)))
    done = paco(*flags(out, "--checkpointing_steps", 4, "--resume"))
    case("and room again", done.returncode == 0 and same(WHOLE, out)[0], (done.stderr, same(WHOLE, out)))


def small_disk():
    """What will not fit is refused before the first step; what is reserved is given back."""
    top = work("small", "x")[:-2]
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", top], capture_output=True).returncode != 0:
        print("ok - # SKIP a small disk needs root")
        return
    try:
        out = os.path.join(top, "out")
        done = paco(*flags(out))
        case("a small disk", done.returncode == 1 and "free there" in done.stderr and not os.path.exists(out), done.stderr)
        plan = paco_json(*flags(work("elsewhere"), "--checkpointing_steps", 2, "--plan"))
        beside = 1 << 18  # the log, the page and events are not counted: what others write may be as much any time
        subprocess.run(["mount", "-o", "remount,size=%d" % (plan["disk"]["total"] - beside), top], check=True)
        done = paco(*flags(out, "--checkpointing_steps", 2))
        case("one that is hardly too small", done.returncode == 1 and "free there" in done.stderr and not os.path.exists(out), done.stderr)
        subprocess.run(["mount", "-o", "remount,size=%d" % (plan["disk"]["total"] + beside), top], check=True)
        done = paco(*flags(out, "--checkpointing_steps", 2))
        case("one that is as large as was asked for", done.returncode == 0 and weights(out) == weights(WHOLE) and ".paco-reserved" not in os.listdir(out),
             (done.stderr, os.listdir(top)))
    finally:
        subprocess.run(["umount", top], check=True)


def fill(top):
    """Leave no byte of a file system, but what a run holds."""
    with open(os.path.join(top, "filler"), "wb", buffering=0) as f:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    f.write(bytes(size))
            except OSError:
                pass


def log_on_a_full_disk():
    """Somebody else fills the disk between two checkpoints: what is held for one is enough to keep all steps."""
    top = work("logdisk", "x")[:-2]
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", top], capture_output=True).returncode != 0:
        print("ok - # SKIP a small disk needs root")
        return
    try:
        out, more = os.path.join(top, "out"), ["--max_train_steps", 2000, "--report_to", "none"]
        p = start(*flags(out, *more))
        until_caught(p, signal.SIGTERM)
        while p.poll() is None and not (os.path.exists(os.path.join(out, "train_log.jsonl")) and len(log_of(out)) > 20):
            time.sleep(0.002)
        fill(top)
        _, text = p.communicate(timeout=60)
        left = [n for n in os.listdir(out) if n.startswith("step_")]
        n = len(log_of(out))
        case("the log finds no room: all steps are kept", p.returncode == 1 and 20 < n < 2000 and left == ["step_%d" % n] and
             "is kept in" in text and "No space left" in text, (p.returncode, text, left, n))
        os.remove(os.path.join(top, "filler"))
        done = paco(*flags(out, *more, "--resume"))
        whole = runs("logdisk-whole", *more)
        case("and go on with room again", done.returncode == 0 and "have no line" not in done.stderr and log_of(out) == log_of(whole) and
             weights(out) == weights(whole), done.stderr)
    finally:
        subprocess.run(["umount", top], check=True)


def no_place():
    """The model cannot get its name at the end: what was trained is kept, and the model written when it can be."""
    out = work("no-place")
    os.makedirs(os.path.join(out, "config.json", "in the way"))
    done = paco(*flags(out, "--force"))
    left = [n for n in os.listdir(out) if n.startswith("step_")]
    case("no place for the model", done.returncode == 1 and left == ["step_24"] and "--resume writes the model" in done.stderr, (done.stderr, left))
    shutil.rmtree(os.path.join(out, "config.json"))
    diff = work("no-place-diff")
    done = paco(*flags(out, "--resume"))
    case("and then a place", done.returncode == 0 and weights(out) == weights(WHOLE) and not os.path.exists(os.path.join(out, "final")), done.stderr)
    for _ in range(2):
        done = paco(*flags(out, "--resume", "--save_diff", diff))
        case("a diff afterwards", done.returncode == 0 and os.path.exists(os.path.join(diff, "model.safetensors")), done.stderr)
    other, gguf = runs("no-place-other", "--seed", 6, "--save_diff", work("other-diff"), "--save_gguf", work("other.gguf")), work("other.gguf")
    for more in (["--save_diff", work("other-diff")], ["--save_gguf", gguf]):
        done = paco(*flags(out, "--resume", *more))
        case("%s of another run" % more[0], done.returncode == 1 and "not made of the model in " + out in done.stderr, done.stderr)
    done = paco(*flags(other, "--resume", "--seed", 6, "--save_gguf", gguf))
    case("and of this one", done.returncode == 0 and "nothing left" in done.stderr, done.stderr)


def too_large():
    """More than the machine has: refused with the sums, before anything is read."""
    cfg = config(vocab=V, hidden=16384, layers=500, heads=128, kv_heads=128, ff=65536)
    huge = work("huge")
    shutil.copytree(BASE, huge)
    write(os.path.join(huge, "config.json"), cfg)
    done = paco("finetune", "-m", huge, "--train_file", DATA, "-o", work("never"))
    case("a model that is too large", done.returncode == 1 and "--use_lora trains an adapter" in done.stderr and
         not os.path.exists(work("never")), done.stderr)


def adapters():
    more = ["--use_lora", "--lora_rank", 4, "--lora_targets", "all", "--learning_rate", "1e-2"]
    out, merged = work("adapter"), work("merged")
    paco(*flags(out, *more, "--checkpointing_steps", 4))
    case("an adapter learns", log_of(out)[-1]["loss"] < log_of(out)[0]["loss"], log_of(out)[-1])
    with open(os.path.join(out, "adapter_config.json")) as f:
        c = json.load(f)
    case("its configuration is PEFT's", c["peft_type"] == "LORA" and c["r"] == 4 and c["lora_alpha"] == 16 and len(c["target_modules"]) == 7, c)
    done = paco("merge", "-m", BASE, "--adapter", out, "--out", merged)
    case("it merges", done.returncode == 0, done.stderr)
    killed("adapter-killed", out, *more)
    quantised, gguf = work("quantised"), work("base.gguf")
    paco("convert", BASE, "--out", gguf, "--type", "q8_0")
    done = paco(*flags(quantised, *more, "--type", "q8_0"))
    case("beside a base that is quantised while it is read", done.returncode == 0, done.stderr)
    done = paco("finetune", "-m", gguf, *flags(work("quantised-file"), *more)[3:])
    one, other = (log_of(work(name)) for name in ("quantised", "quantised-file"))
    case("as beside one that is a file", done.returncode == 0 and one == other and one != log_of(out), done.stderr)
    further = work("further")
    done = paco(*flags(further, "--init_adapter", out, "--learning_rate", "1e-3"))
    case("it goes on from there", done.returncode == 0 and log_of(further)[0]["loss"] < log_of(out)[0]["loss"], done.stderr)


def itself():
    """A model is not trained into its own place, nor into what is no run."""
    base, other = work("own-base"), work("no-run")
    shutil.copytree(BASE, base), shutil.copytree(BASE, other)
    before = files_of(base)
    for more in (["--force"], ["--resume"]):
        done = paco("finetune", "-m", base, "--train_file", DATA, "-o", base, "--max_train_steps", 1, *more)
        case("onto its own base %s" % more, done.returncode in (1, 2) and files_of(base) == before, done.stderr)
    case("which says so", "choose another --output_dir" in paco("finetune", "-m", base, "--train_file", DATA, "-o", base, "--force").stderr, base)
    done = paco(*flags(other, "--resume"))
    case("--resume of what is no run", done.returncode == 1 and "is there already" in done.stderr and files_of(other) == before, done.stderr)
    done = paco(*flags(work("many"), batch=2**40, accumulation=2**40))
    case("too many examples in a step", done.returncode != 0 and "at most 1073741824" in done.stderr, done.stderr)


def long_examples():
    """Longer than the model's positions: trained, and said."""
    path = work("long.jsonl")
    with open(path, "w") as f:
        f.write(json.dumps({"prompt": "a", "completion": "b" * 2000}) + "\n")
    done = paco(*flags(work("long"), "--max_seq_length", 1999, data=path))
    case("longer than the model's positions", done.returncode == 0 and "1999 tokens are more than the" in done.stderr, done.stderr)


def twice_damaged():
    """A damaged state is not taken for a saved one when the run gets there again; one without a readable record is passed over."""
    out = work("twice")
    shutil.copytree(runs("twice-whole", "--checkpointing_steps", 4, "--keep", 0), out)
    last = sorted((n for n in os.listdir(out) if n.startswith("step_")), key=lambda n: int(n[5:]))[-1]
    with open(os.path.join(out, last, "paco-training.json"), "w") as f:
        f.write("{")
    for name in ("config.json", "model.safetensors"):
        os.remove(os.path.join(out, name))
    done = paco(*flags(out, "--resume", "--checkpointing_steps", 4, "--keep", 2))
    case("a state without a record is passed over", done.returncode == 0 and weights(out) == weights(WHOLE), done.stderr)
    with open(os.path.join(out, last, "paco-training.json")) as f:
        case("and written again", json.load(f), last)


def templates():
    """What was tuned in a chat format says so; prompts of one's own leave the base's."""
    chats, out = work("chats.jsonl"), work("chats")
    with open(chats, "w") as f:
        for word in ("ab", "cd", "ef"):
            f.write(json.dumps({"messages": [{"role": "user", "content": word}, {"role": "assistant", "content": word}]}) + "\n")
    for more in ([], ["--use_lora"]):
        done = paco(*flags(out, "--force", *more, data=chats))
        with open(os.path.join(out, "chat_template.jinja")) as f:
            case("the format it was tuned in %s" % more, "'<|user|>\\n' + message" in f.read(), done.stderr)
    case("a prompt is no format", not os.path.exists(os.path.join(WHOLE, "chat_template.jinja")), files_of(WHOLE).keys())


def besides_what_is_read():
    """--force replaces an earlier run's files, never what this one is made of; what cannot be written is known before the first step."""
    top = work("inputs", "x")[:-2]
    base, data, more = os.path.join(top, "base"), os.path.join(top, "data.jsonl"), os.path.join(top, "held-out.jsonl")
    shutil.copytree(BASE, base)
    for path in (data, more):
        shutil.copy(DATA, path)
    gguf, linked, out = os.path.join(top, "base.gguf"), work("linked.gguf"), work("clash")
    paco("convert", base, "--out", gguf, "--to", "gguf")
    os.symlink(gguf, linked)
    before = files_of(top), files_of(base)
    for model, option, path, text in ((gguf, "--save_gguf", gguf, "would replace what this run reads, " + gguf),
                                      (linked, "--save_gguf", gguf, "would replace what this run reads"),
                                      (base, "--save_gguf", data, "would replace what this run reads, " + data),
                                      (base, "--save_gguf", more, "would replace what this run reads, " + more),
                                      (base, "--save_gguf", os.path.join(base, "model.safetensors"), "lies in what this run reads, " + base),
                                      (base, "--save_diff", top, "would replace what this run reads"),
                                      (base, "--save_diff", os.path.join(base, "diff"), "lies in what this run reads"),
                                      (base, "--save_diff", out, "would replace --output_dir"),
                                      (base, "--save_diff", os.path.join(out, "deep", "diff"), "lies in --output_dir"),
                                      (base, "--save_gguf", os.path.join(out, "model.safetensors"), "lies in --output_dir"),
                                      (base, "--save_gguf", os.path.join(out, "step_20", "x.gguf"), "lies in --output_dir")):
        for force in ([], ["--force"]):
            done = paco("finetune", "-m", model, *flags(out, "--validation_file", more, option, path, *force, data=data)[3:])
            case("refused %s: %s %s" % (force, option, os.path.basename(path)), done.returncode == 2 and text in done.stderr and
                 not os.path.exists(out) and (files_of(top), files_of(base)) == before, done.stderr)
    both = work("both")
    done = paco(*flags(out, "--save_diff", both, "--save_gguf", os.path.join(both, "x.gguf")))
    case("a GGUF file in the diff's way", done.returncode == 2 and "is in the way of --save_diff" in done.stderr and not os.path.exists(out), done.stderr)
    done = paco("finetune", "-m", gguf, *flags(out, "--save_gguf", os.path.join(out, "x.gguf"), "--max_train_steps", 1)[3:])
    case("a file of its own name is welcome", done.returncode == 0 and os.path.exists(os.path.join(out, "x.gguf")), done.stderr)


def besides():
    """--save_diff and --save_gguf, refused beforehand or written afterwards; --show-examples."""
    diff, gguf, again = work("besides-diff"), work("besides.gguf"), work("besides-again")
    done = paco(*flags(work("besides"), "--save_diff", WHOLE))
    case("a diff where something is", done.returncode == 1 and not os.path.exists(work("besides")), done.stderr)
    out = runs("besides", "--save_diff", diff, "--save_gguf", gguf)
    paco("recover", "--raw", BASE, "--diff", diff, "--out", again)
    answers = [paco("generate", "-m", m, "-p", "abc", "-n", 8, "--dtype", "f32").stdout for m in (out, again, gguf)]
    case("base and diff answer as the model", answers[0] == answers[1] and answers[0], answers)
    case("the GGUF file too", answers[0] == answers[2], answers)
    for dtype, more in (("bf16", []), ("f32", []), ("bf16", ["--use_lora"])):
        tuned = work("of-gguf-%s-%d" % (dtype, len(more)))
        done = paco("finetune", "-m", gguf, *flags(tuned, "--checkpointing_steps", 20, *more, dtype=dtype)[3:])
        said = []
        for top in (tuned, os.path.join(tuned, "step_20")):
            path = os.path.join(top, "config.json")
            said += [json.load(open(path))["torch_dtype"]] if os.path.exists(path) else []
        want = [] if more else [{"bf16": "bfloat16", "f32": "float32"}[dtype], "float32"]
        case("a configuration made of a GGUF file's says what is written: %s %s" % (dtype, more), done.returncode == 0 and said == want, (done.stderr, said))
    done = paco(*flags(work("shown"), "--show-examples", 2, "--max_train_steps", 1))
    case("two examples are shown", done.stderr.count("{+") >= 2, done.stderr)


def new_pad():
    """LLaMA's tokenizer has no pad token: the model gets one, and a row for it, as upstream's scripts do."""
    spm = os.path.join(os.environ.get("PACO_DATA", "../shared/data"), "tokenizer", "tokenizer.model")
    if not os.path.exists(spm):
        print("ok - # SKIP no %s (set PACO_DATA)" % spm)
        return
    cfg = config(vocab=32000, hidden=8, layers=1, heads=2, kv_heads=2, ff=16)
    base, out = save(work("llama"), llama(cfg), cfg, {}), work("padded")
    shutil.copy(spm, base)
    done = paco("finetune", "-m", base, "--train_file", DATA, "-o", out, "--dtype", "f32", "--max_train_steps", 2)
    case("a model without a pad token", done.returncode == 0 and "<pad> becomes token 32000" in done.stderr, done.stderr)
    r = paco_json("inspect", out)
    shapes = {t["name"]: t["shape"] for t in r["tensors"]} if r else {}
    case("it has a row for it", shapes.get("model.embed_tokens.weight") == shapes.get("lm_head.weight") == [32001, 8], shapes)
    with open(os.path.join(out, "added_tokens.json")) as f:
        case("and its name", json.load(f) == {"<pad>": 32000})
    case("nothing is wrong with it", r and not r["problems"], r and r["problems"])
    done = paco("finetune", "-m", out, "--train_file", DATA, "-o", work("padded-again"), "--dtype", "f32", "--max_train_steps", 1)
    case("it can be tuned again", done.returncode == 0 and "becomes token" not in done.stderr, done.stderr)


def upstream_s_command():
    """The words of Open-Instruct's scripts, as they stand there."""
    out = work("upstream")
    done = paco("finetune", "--model_name_or_path", BASE, "--use_flash_attn", "--tokenizer_name", BASE, "--use_slow_tokenizer", "--train_file", DATA,
                "--max_seq_length", 2048, "--preprocessing_num_workers", 16, "--per_device_train_batch_size", 2, "--gradient_accumulation_steps", 16,
                "--learning_rate", "2e-5", "--lr_scheduler_type", "linear", "--warmup_ratio", "0.03", "--weight_decay", "0.", "--num_train_epochs", 2,
                "--use_lora", "--lora_rank", 8, "--lora_alpha", 8, "--lora_dropout", "0.05", "--save_merged_lora_model", "--checkpointing_steps", "epoch",
                "--output_dir", out, "--with_tracking", "--report_to", "tensorboard", "--logging_steps", 1, "--low_cpu_mem_usage", "--seed", 1)
    case("upstream's command line", done.returncode == 0 and done.stderr.count("Step: ") == 4 and
         {"epoch_0", "epoch_1", "adapter_config.json"} <= set(os.listdir(out)), done.stderr)


def packed():
    """Short examples that share a place: fewer, fuller steps of every example, and the same going on."""
    more = ["--packing", "--max_seq_length", 80, "--max_train_steps", 0, "--num_train_epochs", 4]
    plan = paco_json("finetune", "-m", BASE, "--train_file", DATA, "--plan", *map(str, more))
    out = runs("packed", "--checkpointing_steps", 4, "--keep", 0, *more)
    log = log_of(out)
    per_epoch = len(log) // 4
    case("packs are fewer than examples", plan and plan["packs"] < 37 and -(-plan["packs"] // 8) == plan["steps_per_epoch"], plan)
    seen = [sum(row["examples"] for row in log[k * per_epoch:(k + 1) * per_epoch]) for k in range(4)]
    case("every example is seen once an epoch", seen == [37] * 4 and per_epoch == -(-plan["packs"] // 4), (seen, plan))
    again = work("packed-again")
    done = paco(*flags(again, "--resume_from_checkpoint", os.path.join(out, "step_8"), *more))
    case("packs go on from a checkpoint", done.returncode == 0 and weights(out) == weights(again) and log_of(again) == log[8:], done.stderr)
    done = paco(*flags(work("unpacked"), "--resume_from_checkpoint", os.path.join(out, "step_8"), *more[1:]))
    case("and not without them", done.returncode == 1 and "packing" in done.stderr, done.stderr)
    for dtype in ("f32", "bf16"):
        one, two = (runs("packed-%s-%s" % (dtype, t), "-t", t, *more, dtype=dtype) for t in (1, 3))
        case("packs in %s, 1 and 3 threads" % dtype, weights(one) == weights(two) and log_of(one) == log_of(two), one)


def planned():
    r = paco_json("finetune", "-m", BASE, "--train_file", DATA, "--plan", "--max_train_steps", 10)
    case("a plan", r and r["steps"] == 10 and r["memory"]["total"] > r["memory"]["gradients"] > 0 and r["tokens_per_s"] > 0 and
         r["disk"]["total"] > 0, r)


if len(sys.argv) > 1:  # by name, while working on one
    for name in sys.argv[1:]:
        globals()[name]()
    finish()
equalities()
killed("killed", WHOLE)
NARROW = ["--dtype", "bf16", "--optim_states", "8bit"]
killed("killed-narrow", runs("narrow", *NARROW, "--checkpointing_steps", 4), *NARROW)
stopped()
loss_of_the_run()
other_runs()
damaged()
refused()
slips()
not_a_number()
full_disk()
small_disk()
log_on_a_full_disk()
no_place()
too_large()
adapters()
templates()
itself()
long_examples()
twice_damaged()
besides()
besides_what_is_read()
upstream_s_command()
new_pad()
packed()
planned()
finish()
