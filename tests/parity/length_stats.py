# SPDX-License-Identifier: Apache-2.0
"""paco data stats, byte for byte against what pandas says of the same lengths in Open-Instruct's form: on Alpaca's 2,000 examples
as chats and as prompts, on few examples, on one. Where several instances are equally long, upstream's order is chance; here
the later comes first. Stack: today."""
import json

import numpy
import pandas
import transformers

from common import case, data, default_model, equal, finish, paco, work
from encode import CHATS, COMPLETIONS, alpaca


def summary(values):
    return pandas.Series(values, dtype="int64").describe().to_dict()


def above(values, bound):
    return int(numpy.sum(numpy.array(values) > bound))


def of_chats(rows, count):
    user, answers, totals = [], [], []
    for row in rows:
        n = [(m["role"], count(m["content"])) for m in row["messages"]]
        user += [k for role, k in n if role == "user"]
        answers += [k for role, k in n if role == "assistant"]
        totals.append(sum(k for role, k in n if role != "system"))
    out = {"num_instances": len(rows), "turns_summary": summary([len(r["messages"]) for r in rows]),
           "user_prompt_lengths_summary": summary(user), "assistant_response_lengths_summary": summary(answers),
           "total_lengths_summary": summary(totals)}
    for bound in (512, 768, 1024, 1536, 2048, 4096):
        out["num_instances_with_total_length_gt_%d" % bound] = above(totals, bound)
    out["top_100_longest_instances"] = [rows[i]["id"] for i in numpy.argsort(totals, kind="stable")[-100:][::-1]]
    return out


def of_pairs(rows, count):
    prompts, completions = [count(r["prompt"]) for r in rows], [count(r["completion"]) for r in rows]
    both = [a + b for a, b in zip(prompts, completions)]
    return {"num_instances": len(rows), "prompt_lengths_summary": summary(prompts), "completion_lengths_summary": summary(completions),
            "prompt_completion_lengths_summary": summary(both), "num_instances_with_prompt_length_gt_512": above(prompts, 512),
            "num_instances_with_completion_length_gt_512": above(completions, 512),
            "num_instances_with_prompt_completion_length_gt_512": above(both, 512),
            "num_instances_with_completion_length_gt_768": above(completions, 768),
            "num_instances_with_prompt_completion_length_gt_1024": above(both, 1024)}


def main():
    source = default_model()
    folder = work("smol")
    transformers.AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name).save_pretrained(str(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))

    def count(text):
        return len(tokenizer(text, add_special_tokens=False).input_ids)

    def hold(name, rows, describe):
        with case("data stats: " + name):
            for i, row in enumerate(rows):
                row["id"] = "%s_%d" % (name, i)
            path = work("rows") / "rows.jsonl"
            path.write_text("".join(json.dumps(r) + "\n" for r in rows))
            want = json.dumps(describe(rows, count), indent=4) + "\n"
            for threads in (1, 2):
                equal(name, paco("data", "stats", path, "-m", folder, "-t", threads, json=False).stdout, want)
            saved = work("rows") / "saved.json"
            paco("data", "stats", "--data_path", path, "-m", folder, "--save_path", saved, "--force", json=False)
            equal("saved", saved.read_text(), want[:-1])

    data("alpaca/alpaca_small.json")
    sets = alpaca()
    hold("2,000 chats", sets["messages"], of_chats)
    hold("2,000 prompts", sets["completion"], of_pairs)
    hold("made-up chats", [c for c in CHATS], of_chats)
    hold("made-up prompts", [c for c in COMPLETIONS], of_pairs)
    for n in (1, 2, 3, 5, 7, 8, 9, 127, 129, 200, 301):
        hold("%d chats" % n, sets["messages"][:n], of_chats)
    hold("one prompt", sets["completion"][:1], of_pairs)


main()
finish()
