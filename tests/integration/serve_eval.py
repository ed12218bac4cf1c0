#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco eval --api against paco serve has the items of paco eval in one process, every byte of them: each built-in setting on a
small random model, and fine-tunes. tests/parity/eval_served.py is the same at size, on a real model."""
import json
import os

from counting import adapter, babbler
from serving import Server
from tiny import SANITIZED, case, finish, paco, work

DATA = os.environ.get("PACO_DATA", "../shared/data")
FEW = 1 if SANITIZED else 2
MMLU = ["--subjects", "anatomy", "--limit", 2 * FEW]
# The letters of this model do not spell the stops: only as texts are they the same from outside.
CODEX = ["--fix", "codex-stop", "--limit", FEW, "--unbiased_sampling_size_n", 3, "--eval_pass_at_ks", 1]
SETTINGS = [("mmlu_0shot", MMLU), ("mmlu_5shot", MMLU), ("gsm_direct", ["--limit", 2 * FEW]), ("gsm_cot", ["--limit", 2 * FEW]), ("bbh_direct", ["--limit", 1]),
            ("tydiqa_goldp", ["--limit", FEW]), ("tydiqa_no_context", ["--limit", FEW]), ("codex_eval_temp_0.1", CODEX), ("codex_eval_temp_0.8", CODEX),
            ("alpaca_farm", ["--limit", FEW]), ("mgsm", ["--limit", FEW]), ("perplexity", ["-c", 64, "--limit", 3]), ("koala", ["--limit", FEW])]


def items(out, task, *args):
    """What a run leaves, line by line."""
    done = paco("eval", task, *args, "--out", work(out), "--force", timeout=280)
    path = os.path.join(work(out), task, "items.jsonl")
    if not os.path.exists(path):
        return ["no items: " + done.stderr]
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def differences(a, b):
    """Of the first items that differ, the fields that do."""
    for x, y in zip(a, b):
        if x != y:
            return {k: (x.get(k), y.get(k)) for k in {**x, **y} if x.get(k) != y.get(k)} if isinstance(x, dict) and isinstance(y, dict) else (x, y)
    return (len(a), len(b))


def settings(server, model):
    url = "http://%s:%d/v1" % (server.host, server.port)
    text = work("text.txt")
    with open(text, "w", encoding="utf-8") as f:
        f.write("a text of many letters, and of few words\n" * 20)
    for task, options in SETTINGS:
        args = [*options, "--data", text if task == "perplexity" else DATA]
        here = items("here", task, *args, "-m", model)
        there = items("there", task, *args, "--api", url, "-m", os.path.basename(model), "--tokenizer", model)
        case("%s: the same %d items" % (task, len(here)), here == there and isinstance(here[0], dict) and not any("error" in i for i in here),
             differences(there, here))


def fine_tunes(model, folder):
    """One that is folded in is the same model; one beside the base is computed in another order, by its name."""
    args = [*MMLU, "--data", DATA]
    base = items("base", "mmlu_0shot", *args, "-m", model)
    tuned = items("tuned", "mmlu_0shot", *args, "-m", model, "--adapter", folder)
    with Server("-m", model, "--adapter", folder, "--alias", "folded") as s:
        got = items("folded", "mmlu_0shot", *args, "--api", "http://%s:%d" % (s.host, s.port), "-m", "folded")
    case("an adapter folded in on both sides: the same items", got == tuned and got != base, differences(got, tuned))
    with Server("-m", model, "--adapter", "tuned=" + folder, "--alias", "base") as s:
        url = "http://%s:%d" % (s.host, s.port)
        named = items("named", "mmlu_0shot", *args, "--api", url, "-m", "tuned")
        plain = items("plain", "mmlu_0shot", *args, "--api", url, "-m", "base")
    case("beside one the base is as it is alone", plain == base, differences(plain, base))
    apart = [abs(x - y) for a, b in zip(named, tuned) for x, y in zip(a["probs"], b["probs"])]
    case("and the one with a name is that fine-tune", len(named) == len(tuned) and max(apart) < 1e-4 and named != base, max(apart))


def main():
    if not os.path.isdir(os.path.join(DATA, "mmlu")):
        print("ok - the same items behind paco serve # SKIP no %s/mmlu (PACO_DATA)" % DATA)
        finish()
    model = babbler(8192)
    with Server("-m", model) as s:
        settings(s, model)
    fine_tunes(model, adapter("tuned-adapter", 3))
    finish()


main()
