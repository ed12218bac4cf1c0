# SPDX-License-Identifier: Apache-2.0
"""Questions of 5-shot MMLU in a second, side by side: upstream's way over Transformers (float32, four prompts at once), paco in F32,
paco as it usually runs, and paco where there is nothing to share.

A fixed sample: every eighth subject, the first of what --n_instances draws. Each side's rate is its tokens of prompts in a second
over the mean length of paco's prompts, since the sides ask different numbers of the same kind. Nothing is shared when each
question is of another subject; what sharing can save is the share of the examples in a prompt, about five sixths. Stack: today; the machine should have nothing else to do.
"""
import json
import os
import time

import torch
import transformers

import eval_prompts
import eval_reference
from common import case, data, default_model, expect, finish, note, paco, work

THEIRS = 2  # questions of each subject
MODES = {"F32": (["--dtype", "f32"], 40), "fast": ([], 100)}  # MMLU has 246 of a subject on average


def subjects():
    return sorted(path.name.split("_test.csv")[0] for path in data("mmlu/test").glob("*_test.csv"))


def upstream(of):
    """Tokens in a second, and how many."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 2))
    path = default_model()
    model = eval_reference.Model(transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32),
                                 transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name))
    prompts = [prompt for _, prompt in eval_prompts.mmlu(5, False, THEIRS, pieces=eval_reference.Pieces(model), subjects=of)]
    n = sum(len(model.ids(prompt)) for prompt in prompts)
    model.choose(prompts[:1])
    started = time.monotonic()
    model.choose(prompts, batch=4)
    seconds = time.monotonic() - started
    note("upstream's way: %d questions, %d tokens, %.1f s" % (len(prompts), n, seconds))
    return n / seconds


def mine(name, of, n, flags):
    """(tokens in a second, tokens of a prompt)."""
    out = work(name)
    paco("eval", "mmlu_5shot", "-m", default_model(), "--data", data("."), "--out", out, "-q", "--n_instances", n, *flags,
         "--no_chat_format", "--subjects", *of)
    items = [json.loads(line)["n_prompt_tokens"] for line in (out / "mmlu_5shot" / "items.jsonl").open(encoding="utf-8")]
    seconds = json.loads((out / "mmlu_5shot" / "timing.json").read_text())["seconds"]
    note("paco, %s: %d questions, %d tokens, %.1f s" % (name, len(items), sum(items), seconds))
    return sum(items) / seconds, sum(items) / len(items)


def main():
    transformers.utils.logging.disable_progress_bar()
    few = subjects()[::8]
    with case("5-shot MMLU: upstream's way and paco, questions in a second"):
        theirs = upstream(few)
        rates = {}
        for mode, (flags, n) in MODES.items():
            together, length = mine(mode, few, n, flags)
            apart, _ = mine(mode + ", nothing to share", subjects()[::3], 1, flags)
            rates[mode] = together
            note("%s: upstream %.2f, paco %.1f (%.1fx); with nothing to share %.2f (%.1fx)" % (
                mode, theirs / length, together / length, together / theirs, apart / length, together / apart))
            expect(together >= 4.5 * apart, "%s: only %.1fx faster than whole prompts" % (mode, together / apart))
        expect(rates["F32"] >= 10 * theirs, "F32: only %.1fx faster than upstream's way" % (rates["F32"] / theirs))
        expect(rates["fast"] >= 20 * theirs, "fast: only %.1fx faster than upstream's way" % (rates["fast"] / theirs))


if __name__ == "__main__":
    main()
    finish()
