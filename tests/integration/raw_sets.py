# SPDX-License-Identifier: Apache-2.0
"""The twelve raw data sets that paco data reformat takes, made up: small, and with what makes converters stumble in each."""
import json
import os
import random

WORDS = ["", " ", "word", "two words", " edges ", "line\nbreak\n", "colon:", "colon: \n", "tab\t", "caf\u00e9 \u4f60\u597d", "\U0001f999 llama",
         "\u00a0nbsp\u00a0", "\u2028sep", "{braces} {instruction}", "quote \" back \\ slash", "nul \u0000 and \u007f", "None", "\u0085nel"]


def text(r, least=0):
    return " ".join(r.choice(WORDS) for _ in range(r.randint(1, 4))) + "x" * least


def write(path, rows, array, sort=False):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        if array:
            json.dump(rows, f, ensure_ascii=False, indent=1)
        else:
            for i, row in enumerate(rows):
                f.write(json.dumps(row, ensure_ascii=i % 2 == 0, sort_keys=sort) + "\n")


def tasks(r, n):
    return [{"instruction": text(r, 1), "input": r.choice(["", "  ", None, text(r), text(r, 1)]), "output": text(r)} for _ in range(n)]


def instances(r, n):
    return [{"id": "t-%d-%s" % (i, r.choice("ab\u00e9")), "input": text(r), "output": [text(r), "other"]} for i in range(n)]


def super_ni(r, top):
    names = {"task001_a": (200, 5), "task002_b": (80, 2), "task003_c": (61, 1), "task004_d": (60, 3), "task005_e": (3, 0), "task006_f": (81, 40)}
    os.makedirs(os.path.join(top, "splits/xlingual"))
    with open(os.path.join(top, "splits/xlingual/train_tasks.txt"), "w") as f:
        f.write("".join(" %s \n" % n for n in names) + "task777_mmmlu_x\ntask001_a")
    for name, (n, positive) in names.items():
        write(os.path.join(top, "tasks", name + ".json"), {
            "Definition": [text(r, 1), "second"], "Instances": instances(r, n), "Extra": None,
            "Positive Examples": [{"input": text(r), "output": text(r), "explanation": ""} for _ in range(positive)]}, True)


def tree(r, depth, role="prompter"):
    other = "assistant" if role == "prompter" else "prompter"
    if r.random() < 0.1:
        other = role
    return {"text": text(r), "role": role, "lang": "en",
            "replies": [tree(r, depth - 1, other) for _ in range(r.randint(0, 3))] if depth else []}


def sharegpt(r, n):
    people = ["human", "gpt", "user", "chatgpt"]
    rows = []
    for i in range(n):
        turns = [{"from": r.choice(people), "value": text(r)} for _ in range(r.randint(0, 6))]
        if r.random() < 0.15:
            turns.insert(r.randint(0, len(turns)), {"from": r.choice(["system", "bing"]), "value": "x"})
            turns += [{"from": "nobody", "value": 3}] if r.random() < 0.5 else []
        rows.append({"id": r.choice(["abc_%d" % i, i, "\u00e9\u4f60"]), "conversations": turns})
    return rows


def baize(r, n):
    rows = []
    for _ in range(n):
        s = r.choice(["", "The conversation between human and AI assistant.\n"])
        for _ in range(r.randint(0, 4)):
            s += "[|Human|]" + r.choice([text(r), " \n", text(r) + "[|AI|]" + text(r), text(r) + "\n[|AI|]" + text(r)])
        rows.append({"topic": "t", "input": s})
    return rows


def make(top, seed=1, n=60, n_cot=50010):
    """Write all under top; returns the names."""
    r = random.Random(seed)
    for name, file, array in (("stanford_alpaca", "alpaca_data.json", True), ("code_alpaca", "code_alpaca_20k.json", True),
                              ("gpt4_alpaca", "alpaca_gpt4_data.json", True), ("self_instruct", "all_instances_82K.jsonl", False)):
        write(os.path.join(top, name, file), tasks(r, n), array)
    write(os.path.join(top, "dolly/databricks-dolly-15k.jsonl"),
          [{"instruction": t["instruction"], "context": t["input"], "response": t["output"], "category": "c"} for t in tasks(r, n)], False)
    write(os.path.join(top, "unnatural_instructions/core_data.jsonl"), [
        {"instruction": text(r, 1), "instances": [
            dict(t, constraints=r.choice([None, "", "None", "none.", "NONE.", "None of these.", text(r, 1)]), instruction_with_input="")
            for t in tasks(r, r.randint(0, 3))]} for _ in range(n)], False)
    flan = [{"inputs": text(r), "targets": text(r), "task": "t"} for _ in range(n)]
    write(os.path.join(top, "flan_v2/flan_v2_resampled_100k.jsonl"), flan, False)
    write(os.path.join(top, "cot/cot_zsopt.jsonl"), [{"inputs": "q%d:" % i, "targets": "a"} for i in range(n_cot)], False)
    write(os.path.join(top, "cot/cot_fsopt.jsonl"), flan, False)
    write(os.path.join(top, "sharegpt/sharegpt_html_cleaned_and_split.json"), sharegpt(r, n), True)
    for name in ("alpaca", "medical", "quora", "stackoverflow"):
        write(os.path.join(top, "baize/%s_chat_data.json" % name), baize(r, n // 3), True)
    write(os.path.join(top, "oasst1/2023-04-12_oasst_ready.trees.jsonl"),
          [{"message_tree_id": "i", "prompt": tree(r, 4)} for _ in range(n // 3)], False)
    super_ni(r, os.path.join(top, "super_ni"))
    return sorted(os.listdir(top))
