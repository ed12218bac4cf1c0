#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco data reformat: upstream's bytes for made-up raw data of all twelve sets and for real Alpaca data, and what goes wrong.

The digests below are of what Open-Instruct's reformat_datasets.py (commit e44fcf588) wrote under CPython 3.11, with folders
listed in sorted order, from the data that raw_sets.py makes."""
import hashlib
import json
import os
import shutil

import raw_sets
from tiny import case, finish, paco, paco_json, work

UPSTREAM = {  # (seed of the data, --seed): SHA-256 of all outputs, in sorted order
    (1, 42): "321b4ec989985e2728cd1337ced8d0f8df66311e3a2c93ae74ecea54e98b3c51",
    (2, 42): "697dcc2991f862c086f5e8baa8403df06e4fb73d0cbd9c71aef7cf89abc950c7",
    (3, 7): "e572eb32edf7f28aa6b56812e7daf53543e53363b2a11ddabf6863916224feb8",
}
REAL = {  # with seed 42, code_alpaca first
    "code_alpaca": ("alpaca/code_alpaca_2k.json", "code_alpaca_20k.json",
                    "85fda2040578bb8f4e8ec6093667a1f9e074b10a2e594efdde9de516fd591ddc"),
    "stanford_alpaca": ("alpaca/alpaca_small.json", "alpaca_data.json",
                        "8ad8922ab1134663add80d131a5e80883ab3bda0501bd41ae458655c64e55c49"),
}
DATA = os.environ.get("PACO_DATA", "../shared/data")


def reformat(raw, out, *args, **kw):
    return paco("data", "reformat", "--raw_data_dir", raw, "--output_dir", out, *args, **kw)


def output(out, name):
    with open(os.path.join(out, name, name + "_data.jsonl"), "rb") as f:
        return f.read()


def made_up():
    for (seed, up), digest in UPSTREAM.items():
        raw, out = work("raw%d" % seed), work("out%d" % seed)
        names = raw_sets.make(raw, seed, n=200, n_cot=50010 if seed == 1 else 10)
        case("all twelve sets", len(names) == 12, names)
        r = reformat(raw, out, "--seed", str(up))
        case("reformatted, data %d" % seed, r.returncode == 0, r.stderr)
        h = hashlib.sha256()
        for name in names:
            h.update(output(out, name))
        case("upstream's bytes, data %d" % seed, h.hexdigest() == digest, h.hexdigest())
    return work("raw2"), work("out2")


def real():
    raw, out = work("real"), work("real_out")
    for name, (source, file, _) in REAL.items():
        if not os.path.exists(os.path.join(DATA, source)):
            case("real Alpaca data # SKIP no %s (set PACO_DATA)" % source, True)
            return
        os.makedirs(os.path.join(raw, name))
        shutil.copyfile(os.path.join(DATA, source), os.path.join(raw, name, file))
    done = paco_json("data", "reformat", "--raw_data_dir", raw, "--output_dir", out)
    case("counts", [(s["set"], s["examples"]) for s in done["sets"]] == [("code_alpaca", 2017), ("stanford_alpaca", 2000)], done)
    for name, (_, _, digest) in REAL.items():
        case("upstream's bytes, " + name, hashlib.sha256(output(out, name)).hexdigest() == digest)


def order(raw):
    one, two = work("order1"), work("order2")
    reformat(raw, one, "--order", "dolly,stanford_alpaca")
    reformat(raw, two, "--order", "stanford_alpaca,dolly")
    case("--order takes only what it names", sorted(os.listdir(one)) == ["dolly", "stanford_alpaca"], os.listdir(one))
    case("the order decides what is drawn", output(one, "dolly") != output(two, "dolly"))
    r = reformat(raw, work("order3"), "--order", "dolly,llama")
    case("an unknown name in the order", r.returncode == 2 and "'llama' in the order is no data set" in r.stderr, r.stderr)
    r = reformat(raw, work("order3"), "--order", "dolly,dolly")
    case("a name twice in the order", r.returncode == 2 and "'dolly' is in the order twice" in r.stderr, r.stderr)


def existing(raw, out):
    before = output(out, "dolly")
    r = reformat(raw, out)
    case("what is there is not replaced", r.returncode == 1 and "exists already (--force replaces it)" in r.stderr, r.stderr)
    r = reformat(raw, out, "--order", "dolly", "--seed", "5", "--force")
    case("--force replaces it", r.returncode == 0 and output(out, "dolly") != before, r.stderr)


def bad(name, file, content, *said):
    raw, out = work("bad"), work("bad_out")
    for d in (raw, out):
        shutil.rmtree(d, ignore_errors=True)
    path = os.path.join(raw, name, file)
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    r = reformat(raw, out)
    left = [f for _, _, files in os.walk(out) for f in files]
    case("%s: %s" % (name, said[0]), r.returncode == 1 and all(s in r.stderr for s in (file, *said)) and not left, r.stderr + repr(left))


def bad_data():
    good = json.dumps({"instruction": "i", "context": "", "response": "r"}) + "\n"
    dolly = ("dolly", "databricks-dolly-15k.jsonl")
    bad(*dolly, good + good.replace('"response"', '"answer"'), "line 2: 'response' is missing")
    bad(*dolly, good + '{"instruction": null, "context": "", "response": ""}', "line 2: 'instruction' is null where a string is expected")
    bad(*dolly, good + "\n[1]\n", "line 3: holds an array where an object is expected")
    bad(*dolly, good + '{"instruction"', "line 2: JSON: ")
    bad(*dolly, good.encode() + b'{"instruction": "\xff"}\n', "line 2: JSON is not valid UTF-8")
    bad("stanford_alpaca", "alpaca_data.json", "[" + good.replace("context", "input").replace("response", "output"), "line 2: the file ends inside the array (truncated?)")
    bad("sharegpt", "sharegpt_html_cleaned_and_split.json", '[{"id": "a", "conversations": [\n{"from": "alien", "value": "x"}]}]',
        "line 1: Unknown message sender: alien")
    bad("baize", "alpaca_chat_data.json", json.dumps([{"input": "[|Human|]a[|AI|]b[|AI|]c"}]), "line 1: two [|AI|] after one [|Human|]")
    bad("oasst1", "2023-04-12_oasst_ready.trees.jsonl", json.dumps({"prompt": {"role": "judge", "text": "x", "replies": []}}),
        "line 1: Unknown role: judge")
    bad("unnatural_instructions", "core_data.jsonl", json.dumps({"instruction": "i", "instances": [{"input": "", "output": "o"}]}),
        "line 1: instance 1: 'constraints' is missing")
    bad("super_ni", "splits/xlingual/train_tasks.txt", "../../etc/passwd\n", "line 1: is no name of a task")
    raw = work("missing")
    os.makedirs(os.path.join(raw, "cot"))
    r = reformat(raw, work("missing_out"))
    case("a missing file is named", r.returncode == 1 and "cot_zsopt.jsonl" in r.stderr, r.stderr)
    raw = work("others")
    os.makedirs(os.path.join(raw, "lima"))
    r = reformat(raw, work("others_out"))
    case("an unknown folder is passed over in upstream's words", r.returncode == 1
         and "Warning: lima in the raw data folder is not a supported dataset. We will skip it." in r.stderr
         and "holds no folder of a data set" in r.stderr, r.stderr)


def main():
    raw, out = made_up()
    real()
    order(raw)
    existing(raw, out)
    bad_data()
    finish()


main()
