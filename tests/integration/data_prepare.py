#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco data split-sharegpt and resample-flan, against the same done here with Python's own numbers and JSON. (Upstream's scripts
were run on such data too, with the same bytes.)"""
import json
import os
import random

from tiny import case, finish, paco, paco_json, work

MODEL = "tests/fixtures/tokenizer/uni_bytes.model"
PARTS = ("flan_zsopt flan_fsopt flan_zsnoopt flan_fsnoopt t0_zsopt t0_fsopt t0_zsnoopt t0_fsnoopt niv2_zsopt niv2_fsopt "
         "cot_zsopt cot_fsopt dialog_zsopt dialog_fsopt").split()
SHARES = [.1] * 4 + [.08] * 4 + [.1] * 2 + [.025] * 2 + [.015] * 2


# ---- split-sharegpt ----

def conversations(r, n):
    words = ["word", "two words", "caf\u00e9 \u4f60", "\U0001f999", "line\nbreak", "  "]
    rows = []
    for i in range(n):
        turns = [{"from": ("human", "gpt")[k % 2] if r.random() < .97 else "system", "extra": [1, 2.5, None, {}, []],
                  "value": " ".join(r.choice(words) for _ in range(r.choice([1, 3, 10, 40])))}
                 for k in range(r.choice([0, 1, 2, 3, 4, 6, 9, 20]))]
        rows.append({"id": "c%d_\u00e9" % i, "conversations": turns, "other": 1})
    return rows


def lengths_of(rows):
    texts = work("texts")
    every = [t["value"].replace("\n", "\x01") for row in rows for t in row["conversations"]]
    with open(texts, "w", encoding="utf-8") as f:
        f.write("".join(t + "\n" for t in every))
    lines = paco("tokenize", "-m", MODEL, "--lines", "--json", "--file", texts).stdout.splitlines()
    return {t.replace("\x01", "\n"): len(json.loads(line)["ids"]) + 6 for t, line in zip(every, lines)}


def pieces(row, lengths, most):
    """First and last message of each piece."""
    turns = row["conversations"][:len(row["conversations"]) // 2 * 2]
    out, first, used = [], 0, 0
    for i in range(0, len(turns), 2):
        pair = lengths[turns[i]["value"]] + lengths[turns[i + 1]["value"]]
        if used + pair > most:
            out.append((first, i))
            first, used = (i + 2 if pair > most else i), 0
        elif i + 2 == len(turns):
            out.append((first, i + 2))
        used += pair
    return [(a, b) for a, b in out if b > a and all(t["from"] == ("human", "gpt")[k % 2] for k, t in enumerate(turns[a:b]))]


def split():
    r = random.Random(3)
    files, rows = [], []
    for i in range(2):
        part = conversations(r, 120)
        files.append(work("sg%d.json" % i))
        with open(files[-1], "w", encoding="utf-8") as f:
            json.dump(part, f, ensure_ascii=False)
        rows += part
    lengths = lengths_of(rows)
    out = work("split.json")
    for most, begin, end in ((60, 0, None), (200, 7, 220), (100000, 0, None)):
        want = [{"id": "%s_%d" % (row["id"], a), "conversations": row["conversations"][a:b]}
                for row in rows[begin:end] for a, b in pieces(row, lengths, most)]
        args = ["--begin", str(begin)] + (["--end", str(end)] if end else [])
        for threads in ("1", "3"):
            done = paco("data", "split-sharegpt", "--in-files", *files, "--out-file", out, "-m", MODEL, "--max-length", str(most),
                        "--force", "-t", threads, *args)
            with open(out, encoding="utf-8") as f:
                text = f.read()
            case("pieces of at most %d, %s threads" % (most, threads), text == json.dumps(want, indent=2), done.stderr)
        case("its summary", done.stdout == "total: 240, new: %d\n" % len(want), done.stdout)
    with open(files[0], "w", encoding="utf-8") as f:
        f.write("[]")
    done = paco_json("data", "split-sharegpt", files[0], "--out-file", work("none.json"), "-m", MODEL)
    with open(work("none.json"), encoding="utf-8") as f:
        case("none", f.read() == "[]" and done["total"] == done["new"] == 0, done)
    with open(files[0], "w", encoding="utf-8") as f:
        f.write('[{"id": "a", "conversations": []},\n{"id": 3, "conversations": []}]')
    done = paco("data", "split-sharegpt", files[0], "--out-file", work("bad.json"), "-m", MODEL)
    case("bad data", done.returncode == 1 and "line 2: 'id' is an integer where a string is expected" in done.stderr
         and not os.path.exists(work("bad.json")), done.stderr)
    done = paco("data", "split-sharegpt", "-m", MODEL)
    case("no files", done.returncode == 2 and "which files?" in done.stderr, done.stderr)


# ---- resample-flan ----

def resample():
    r = random.Random(4)
    folder, out = work("flan"), work("flan.jsonl")
    os.makedirs(folder)
    for i, part in enumerate(PARTS):
        end = ("\n", "\r\n", "\r")[i % 3]
        text = "".join('{"inputs": "%s %d"}%s' % (part, k, end) for k in range(r.randint(150, 900)))
        with open(os.path.join(folder, part + ".jsonl"), "w", newline="") as f:
            f.write(text[:-len(end)] if i % 4 == 1 else text)
    for n, seed in ((1000, 42), (99, 7)):
        random.seed(seed)
        want = ""
        for part, share in zip(PARTS, SHARES):
            with open(os.path.join(folder, part + ".jsonl")) as f:
                lines = list(f)
            drawn = set(random.sample(range(len(lines)), int(share * n)))
            want += "".join(line for i, line in enumerate(lines) if i in drawn)
        done = paco("data", "resample-flan", "--flan_v2_data_dir", folder, "--total_num_samples", str(n), "--output_path", out,
                    "--seed", str(seed), "--force")
        with open(out, newline="") as f:
            case("%d lines, seed %d" % (n, seed), f.read() == want, done.stderr)
    done = paco("data", "resample-flan", "--flan_v2_data_dir", folder, "--total_num_samples", "100000", "--output_path", out, "--force")
    case("a part that is too short", done.returncode == 1 and "lines, of which 10000 are to be drawn" in done.stderr
         and "flan_zsopt.jsonl" in done.stderr and os.path.exists(out), done.stderr)
    done = paco("data", "resample-flan", "--flan_v2_data_dir", folder, "--total_num_samples", "10", "--output_path", out)
    case("not replaced", done.returncode == 1 and "exists already" in done.stderr, done.stderr)


def main():
    split()
    resample()
    finish()


main()
