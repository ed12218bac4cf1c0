#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What paco finetune measures and shows as it goes: held-out loss, answers, benchmarks, event files, the page. The same numbers as
the commands that measure them on the saved model, whatever interrupted the run."""
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from counting import V, tokenizer_json  # noqa: E402
from tiny import PACO, case, config, finish, llama, paco, paco_json, read, save, tree, work, write  # noqa: E402

STEPS, EVERY = 12, 4
PROMPTS = ["abcde", "hgf"]


def make_base():
    cfg = dict(config(vocab=V, hidden=32, layers=2, heads=4, kv_heads=2, ff=64), max_position_embeddings=256)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "pad_token": "<end>"}
    return save(work("base"), llama(cfg), cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": settings})


def make_data(name, n, longest=30, seed=3):
    draw, path = random.Random(seed), work(name)
    with open(path, "w") as f:
        for _ in range(n):
            word = "".join(draw.choice("abcdefgh") for _ in range(draw.randint(2, longest)))
            f.write(json.dumps({"prompt": word, "completion": " " + word[::-1]}) + "\n")
    return path


def make_benchmark():
    row = '"what is %d?",one,two,three,four,%s\r\n'
    for subject in ("anatomy", "virology"):
        write(work("bench/mmlu/dev/%s_dev.csv" % subject), "".join(row % (i, "ABCD"[i % 4]) for i in range(5)))
        write(work("bench/mmlu/test/%s_test.csv" % subject), "".join(row % (i, "ABCD"[i % 4]) for i in range(8)))
    return work("bench")


BASE, DATA, BENCH = make_base(), make_data("data.jsonl", 40), make_benchmark()
ASKED = write(work("prompts.jsonl"), "".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS)) or work("prompts.jsonl")


def flags(out, *more, dtype="f32"):
    return ["finetune", "-m", BASE, "--train_file", DATA, "-o", out, "--dtype", dtype, "--per_device_train_batch_size", "4",
            "--max_train_steps", str(STEPS), "--learning_rate", "3e-3", "-t", "2", *map(str, more)]


def watched(out, *more, **kw):
    return flags(out, "--validation_split_percentage", 10, "--sample_prompts", ASKED, "--sample_length", 12, "--eval_tasks", "mmlu_0shot",
                 "--eval_data", BENCH, "--eval_limit", 6, "--eval_steps", EVERY, *more, **kw)


def lines(out, name):
    with open(os.path.join(out, name), encoding="utf-8") as f:
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in f]


def agrees(what, model, out, results):
    """What was measured at the end is what paco eval and paco generate find in the saved model."""
    again = work(what, "again", os.path.basename(out))
    done = paco("eval", "mmlu_0shot", "-m", model, "--data", BENCH, "--limit", "6", "--out", again)
    case("%s: paco eval ends" % what, done.returncode == 0, done.stderr)
    mine, theirs = tree(results), tree(again)
    apart = sorted(k for k in set(mine) | set(theirs) if mine.get(k) != theirs.get(k))
    case("%s: the same bytes as paco eval's" % what, len(mine) > 3 and not apart, apart)
    for row in lines(out, "samples.jsonl")[-len(PROMPTS):]:
        r = paco_json("generate", "-m", model, "-p", PROMPTS[row["prompt_index"]], "--format", "raw", "-n", "12", "--temp", "0", "--json")
        case("%s: the answer to %s is paco generate's" % (what, PROMPTS[row["prompt_index"]]),
             row["step"] == STEPS and r and (r["text"], r["stop"]) == (row["answer"], row["stop"]), (row, r))


def whole(dtype):
    out = work(dtype, "run")
    done = paco(*watched(out, "--checkpointing_steps", 3, dtype=dtype))
    case("%s: a watched run ends" % dtype, done.returncode == 0, done.stderr)
    scores = lines(out, "eval_log.jsonl")
    wanted = [(s, n) for s in range(0, STEPS + 1, EVERY) for n in ("validation_loss", "mmlu_0shot")]
    case("%s: scores of each step that is due" % dtype, [(r["step"], r["name"]) for r in scores] == wanted, scores)
    losses = [r["value"] for r in scores if r["name"] == "validation_loss"]
    case("%s: the held-out loss falls" % dtype, losses[-1] < losses[0] and scores[0]["n"] > 10, losses)
    asked = [(r["step"], r["prompt_index"]) for r in lines(out, "samples.jsonl")]
    case("%s: answers of each" % dtype, asked == [(s, i) for s in range(0, STEPS + 1, EVERY) for i in range(2)], asked)
    case("%s: held-out examples are not trained" % dtype, json.loads(read(out, "train_run.json"))["examples"]["trained"] == 36)
    page = read(out, "report.html")
    case("%s: the page" % dtype, "<h1>Training of run</h1>" in page and "validation, step %d" % STEPS in page and
         "mmlu_0shot" in page and "<h2>Answers</h2>" in page and "src=" not in page and "http" not in page.split("</style>")[1], page[:300])
    agrees(dtype, out, out, os.path.join(out, "eval", "step_%d" % STEPS))
    return out


WHOLE = whole("f32")


def adapter():
    out, merged = work("lora", "run"), work("lora", "merged", "run")
    done = paco(*watched(out, "--use_lora", "--lora_rank", 4, dtype="bf16"))
    case("lora: a watched run ends", done.returncode == 0, done.stderr)
    case("lora: it merges", paco("merge", "-m", BASE, "--adapter", out, "--out", merged, "--dtype", "keep").returncode == 0)
    agrees("lora", merged, out, os.path.join(out, "eval", "step_%d" % STEPS))


def has_state(out):
    return os.path.isdir(out) and any(name.startswith("step_") and "." not in name for name in os.listdir(out))


def killed():
    """At any moment, measuring among them; the first time when there is something to go on from."""
    out, draw, n = work("killed", "run"), random.Random(7), 0
    command = watched(out, "--checkpointing_steps", 3, "--resume")
    for i in range(8):
        p = subprocess.Popen([PACO, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while i == 0 and p.poll() is None and not has_state(out):
            time.sleep(0.01)
        time.sleep(draw.random() * 0.4 if i else 0)
        p.send_signal(signal.SIGKILL)
        n += p.wait() == -signal.SIGKILL
    done = paco(*command)
    same = all(lines(WHOLE, f) == lines(out, f) for f in ("eval_log.jsonl", "samples.jsonl"))
    case("killed %d times: the same scores and answers" % n, done.returncode == 0 and same, done.stderr)
    case("killed: the same results", tree(os.path.join(WHOLE, "eval")) == tree(os.path.join(out, "eval")))
    about = json.loads(read(out, "train_run.json"))
    case("killed: starts are counted", about["finished"] and len(about["starts"]) > 1, about["starts"])
    names = sorted(os.listdir(os.path.join(out, "tensorboard")))
    case("killed: an event file for each", all(n.startswith("events.out.tfevents.") for n in names) and names, names)
    done = paco(*watched(out, "--force"))
    left = os.listdir(os.path.join(out, "tensorboard"))
    case("begun anew: what was measured before is gone", done.returncode == 0 and len(left) == 1 and
         lines(out, "eval_log.jsonl") == lines(WHOLE, "eval_log.jsonl"), (done.stderr, left))


def losses():
    """The held-out loss of the training file is the loss of a step with all of it."""
    out = work("all")
    done = paco(*flags(out, "--validation_file", DATA, "--per_device_train_batch_size", 40, "--max_train_steps", 1))
    first = lines(out, "train_log.jsonl")[0]["loss"]
    scores = lines(out, "eval_log.jsonl")
    case("validation is the loss of a step", done.returncode == 0 and abs(scores[0]["value"] - first) < 1e-12 * first and
         [r["step"] for r in scores] == [0, 1], (scores, first))
    long = make_data("long.jsonl", 5, longest=200, seed=9)
    for dtype in ("f32", "bf16"):
        done = paco(*flags(work("long", dtype), "--validation_file", long, "--report_to", "none", dtype=dtype))
        case("%s: held-out examples longer than any trained" % dtype, done.returncode == 0, done.stderr)
    case("--report_to none: no event files", not os.path.exists(work("long", dtype, "tensorboard")))


def page():
    other = work("bf16", "run")
    paco(*flags(other, dtype="bf16"))
    out = work("both.html")
    done = paco("finetune", "--report", WHOLE, other, "-o", out)
    case("--report: two runs", done.returncode == 0 and done.stdout == out + "\n" and other in read(out), done)
    case("--report: an output that is there", paco("finetune", "--report", WHOLE, other, "-o", out).returncode == 1)
    case("--report: --force", paco("finetune", "--report", WHOLE, other, "-o", out, "--force").returncode == 0)
    case("--report: a run's own page is made anew", paco("finetune", "--report", WHOLE).stdout == os.path.join(WHOLE, "report.html\n"))
    done = paco("finetune", "--report")
    case("--report of nothing", done.returncode == 2 and "which" not in done.stderr and "--report of what?" in done.stderr, done)
    done = paco("finetune", "--report", work("nowhere"))
    case("--report of no run", done.returncode == 1 and "train_log.jsonl" in done.stderr, done)
    write(work("broken", "train_log.jsonl"), '{"step":1,"loss":2}\n{"step":2,,}\n')
    done = paco("finetune", "--report", work("broken"))
    case("--report of a broken log", done.returncode == 1 and "train_log.jsonl: line 2: " in done.stderr and
         not os.path.exists(work("broken", "report.html")), done)


def refused():
    """Before anything is computed or written."""
    bad = work("bad.jsonl")
    write(bad, '{"prompt": "a"}\n["b"]\n')
    write(work("empty.jsonl"), "")
    both = ["--validation_file", DATA, "--validation_split_percentage", 5]
    for what, more, words in (
            ("an unknown task", ["--eval_tasks", "mmlu_0shto", "--eval_data", BENCH], ["--eval_tasks", "mmlu_0shot"]),
            ("no data", ["--eval_tasks", "mmlu_0shot"], ["--eval_data", "missing"]),
            ("data that are not there", ["--eval_tasks", "mmlu_0shot", "--eval_data", work("no")], ["no folder"]),
            ("a prompt that is none", ["--sample_prompts", bad], ["bad.jsonl", "line 2"]),
            ("no prompt", ["--sample_prompts", work("empty.jsonl")], ["0 prompts"]),
            ("two ways to validate", both, ["--validation_file", "give one"]),
            ("no validation file", ["--validation_file", work("no.jsonl")], ["no.jsonl"]),
            ("a pattern of tasks too many", ["--report_to", "wandb"], ["all|tensorboard|none"])):
        out = work("refused", "out")
        done = paco(*flags(out, *more))
        case("refused: " + what, done.returncode in (1, 2) and all(w in done.stderr for w in words) and not os.path.exists(out), done.stderr)


whole("bf16")
adapter()
killed()
losses()
page()
refused()
finish()
