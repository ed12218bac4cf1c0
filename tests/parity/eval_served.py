# SPDX-License-Identifier: Apache-2.0
"""`paco eval --api` against `paco serve` beside `paco eval` of the same model in one process: every built-in setting, the
same items to the last digit. Stack: none; the standard library.

    eval_served.py [TASK...]      all tasks, or those named

PACO_PARITY_MODEL is another model than the default one. The sampled settings are asked for fewer samples than the card's.
"""
import json
import os
import sys

from common import ROOT, binary, case, data, default_model, equal, expect, finish, note, paco, work

os.environ["PACO"] = str(binary())
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from serving import Server  # noqa: E402

# What is asked of each, so that it is a few dozen items (of MMLU 228) and some minutes of a small machine.
TASKS = {
    "mmlu_0shot": ["--limit", 4],
    "mmlu_5shot": ["--limit", 1],
    "gsm_direct": ["--limit", 40],
    "gsm_cot": ["--limit", 30],
    "bbh_direct": ["--limit", 2],
    "bbh_cot": ["--limit", 1],
    "tydiqa_goldp": ["--limit", 4],
    "tydiqa_no_context": ["--limit", 4],
    "codex_eval_temp_0.1": ["--limit", 4, "--unbiased_sampling_size_n", 4, "--eval_pass_at_ks", 1],
    "codex_eval_temp_0.8": ["--limit", 4, "--unbiased_sampling_size_n", 4, "--eval_pass_at_ks", 1],
    "alpaca_farm": ["--limit", 6],
    "mgsm": ["--limit", 2],
    "perplexity": ["--limit", 6],
    "koala": ["--limit", 4],
    "self_instruct": ["--limit", 4],
    "vicuna": ["--limit", 4],
}


def items(out, task):
    with open(out / task / "items.jsonl", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def compare(task, here, there):
    got, want = items(there, task), items(here, task)
    equal("keys", [i["key"] for i in got], [i["key"] for i in want])
    expect(want, "no items")
    bad = [(a, b) for a, b in zip(got, want) if a != b]
    note("%s: %d items, %d differ" % (task, len(want), len(bad)))
    if bad:
        a, b = bad[0]
        fields = {k: (a.get(k), b.get(k)) for k in {**a, **b} if a.get(k) != b.get(k)}
        kinds = sorted({k for a, b in bad for k in {**a, **b} if a.get(k) != b.get(k)})
        raise AssertionError("%d of %d items differ, in %s; %s, --api and in-process: %s" % (len(bad), len(want), kinds, a["key"], str(fields)[:1500]))


def main():
    model = os.environ.get("PACO_PARITY_MODEL") or str(default_model())
    name = os.path.basename(model)  # upstream's files carry it
    texts = work("texts") / "prose.txt"
    texts.write_text("".join(open(p, encoding="utf-8").read() for p in sorted((ROOT / "docs").glob("*.md")))[:60000], encoding="utf-8")
    wanted = sys.argv[1:] or list(TASKS)
    with Server("-m", model, "--alias", name) as s:
        for task in wanted:
            with case("eval_served: " + task):
                common = [task, *TASKS[task], "--data", texts if task == "perplexity" else data("."), "--out"]
                paco("eval", *common, work("here"), "-m", model)
                paco("eval", *common, work("there"), "--api", "http://%s:%d/v1" % (s.host, s.port), "-m", name, "--tokenizer", model)
                compare(task, work("here"), work("there"))
    finish()


main()
