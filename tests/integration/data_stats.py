#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco data stats: upstream's JSON, what training sees, examples shown, and what goes wrong. (tests/parity/length_stats.py holds the
numbers against pandas.)"""
import json
import os
import re

from tiny import case, finish, paco, paco_json, work

MODEL = "tests/fixtures/tokenizer/uni_bytes.model"


def length(text):
    return len(json.loads(paco("tokenize", "-m", MODEL, "--bos", "never", "--json", "--", text).stdout)["ids"])


def write(name, rows, array=False):
    path = work(name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(rows) if array else "".join(json.dumps(r) + "\n" for r in rows))
    return path


def chat(i, *texts):
    return {"dataset": "d", "id": "d_%d" % i,
            "messages": [{"role": ("user", "assistant")[k % 2], "content": t} for k, t in enumerate(texts)]}


# The last one's EOS follows the white space of its tag, which it takes with it: masked by upstream's counting, too.
CHATS = [chat(0, "a b c", "d"), chat(1, "question", "a longer answer of words", "and", "so on"), chat(2, "alone"), chat(3, "x", " ")]


def numbers():
    path = write("chats.jsonl", CHATS)
    r = paco("data", "stats", path, "-m", MODEL)
    stats = json.loads(r.stdout)
    users = [length(m["content"]) for c in CHATS for m in c["messages"][::2]]
    answers = [length(m["content"]) for c in CHATS for m in c["messages"][1::2]]
    totals = [sum(length(m["content"]) for m in c["messages"]) for c in CHATS]
    case("instances", stats["num_instances"] == 4, stats)
    case("turns", stats["turns_summary"]["mean"] == 2.25 and stats["turns_summary"]["max"] == 4.0, stats)
    for key, values in (("user_prompt", users), ("assistant_response", answers), ("total", totals)):
        s = stats[key + "_lengths_summary"]
        mean = sum(values) / len(values)
        std = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        case(key, s["count"] == len(values) and s["mean"] == mean and abs(s["std"] - std) < 1e-12
             and s["min"] == min(values) and s["max"] == max(values), (s, values))
    order = [CHATS[i]["id"] for i in sorted(range(4), key=lambda i: (-totals[i], -i))]
    case("longest first, of equal ones the later", stats["top_100_longest_instances"] == order, stats)
    case("indented by four", r.stdout == json.dumps(stats, indent=4) + "\n", r.stdout)
    case("what training sees is said", "training sees 2 examples" in r.stderr and "2 left out" in r.stderr, r.stderr)
    return path


def machine(path):
    done = paco_json("data", "stats", path, "-m", MODEL, "--max_seq_length", "60")
    t = done["training"]
    case("for programs", done["num_instances"] == 4 and t["encoding"] == "messages" and t["max_seq_length"] == 60, done)
    case("truncated and left out", t["truncated"] > 0 and t["left_out"] + t["examples"] == 4 and t["longest"] <= 60, t)
    case("digests", all(re.fullmatch("[0-9a-f]{64}", t[k]) for k in ("digest", "file_sha256")), t)
    whole = paco_json("data", "stats", path, "-m", MODEL)["training"]
    case("empty answers", whole["empty"] == 2 and whole["missing_eos"] == 0 and whole["all_masked"] == 2, whole)
    case("the share", whole["trained_share"] == whole["trained_tokens"] / whole["tokens"], whole)
    case("the digest is of the ids", whole["digest"] != t["digest"] and whole["file_sha256"] == t["file_sha256"])
    array = write("array.json", CHATS, True)
    other = paco_json("data", "stats", array, "-m", MODEL)["training"]
    case("an array trains the same", other["digest"] == whole["digest"] and other["file_sha256"] != whole["file_sha256"], other)


def saved(path):
    out = work("saved.json")
    r = paco("data", "stats", "--data_path", path, "-m", MODEL, "--save_path", out)
    with open(out, encoding="utf-8") as f:
        case("saved without the last newline", f.read() + "\n" == r.stdout)
    r = paco("data", "stats", path, "-m", MODEL, "--save_path", out)
    case("not replaced", r.returncode == 1 and "exists already" in r.stderr, r.stderr)
    r = paco("data", "stats", path, "-m", MODEL, "--save_path", out, "--force")
    case("replaced by --force", r.returncode == 0, r.stderr)


def shown(path):
    r = paco("data", "stats", path, "-m", MODEL, "--show-examples", "9")
    case("two shown", r.stdout.count("--- line ") == 2 and "{+d</s>+}" in r.stdout, r.stdout)
    r = paco("data", "stats", path, "-m", MODEL, "--show-examples", "1", "--color", "always")
    case("one in colour", r.stdout.count("--- line ") == 1 and "\x1b[1;32m" in r.stdout and "{+" not in r.stdout, r.stdout)


def bad():
    one = write("one.jsonl", [{"prompt": "a", "completion": "b"}])
    r = paco("data", "stats", one, "-m", MODEL)
    case("numbers that do not exist", '"std": NaN' in r.stdout and '"top_100_longest_instances"' not in r.stdout, r.stdout)
    for rows, said in (([{"text": "a"}], "line 1: Invalid data format - the data should be either prompt completion data or messages data."),
                       ([CHATS[0], {"messages": 3}], "line 2: 'messages' is an integer where an array is expected"),
                       ([CHATS[0], chat(1, "a"), {"messages": [{"role": "user"}]}], "line 3: message 1: 'content' is missing"),
                       ([{"prompt": "a", "completion": "b"}, {"prompt": "a"}], "line 2: 'completion' is missing")):
        r = paco("data", "stats", write("bad.jsonl", rows), "-m", MODEL)
        case(said, r.returncode == 1 and said in r.stderr and "bad.jsonl" in r.stderr and not r.stdout, r.stderr)
    r = paco("data", "stats", write("role.jsonl", [CHATS[0], {"messages": [{"role": "judge", "content": "x"}]}]), "-m", MODEL)
    case("counted, but not for training", r.returncode == 0 and "training would refuse this file" in r.stderr
         and "line 2: Invalid role: judge" in r.stderr, r.stderr)
    r = paco("data", "stats", "-m", MODEL)
    case("no file", r.returncode == 2 and "which file?" in r.stderr, r.stderr)
    r = paco("data", "stats", work("nothing.jsonl"), "-m", MODEL)
    case("a missing file", r.returncode == 1 and os.path.basename("nothing.jsonl") in r.stderr, r.stderr)


def main():
    path = numbers()
    machine(path)
    saved(path)
    shown(path)
    bad()
    finish()


main()
