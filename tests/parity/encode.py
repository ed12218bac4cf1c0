# SPDX-License-Identifier: Apache-2.0
"""Training examples, id by id and mask by mask, held against what the fine-tuning scripts of 2023 make of them, restated here:
Open-Instruct's (prompt and completion; messages) and Stanford Alpaca's, over Transformers 4.28.1's slow LLaMA tokenizer. On
2,000 Alpaca examples in three shapes, on chats made to hurt, and on some of them cut off at every length there is.

Writes or checks fixtures/train/encode.json, from which the unit test encodes without Python: `cases`, each `encoding`,
`max_length`, `record`, `ids`, `trained` (1 or 0 for each id), or `dropped`.

With a tokenizer of the other kind (today's stack, fast) the same is done by encode_fast.py.

Stack: era.
"""
import json
import random
import shutil
import sys

from common import ROOT, case, data, equal, expect, finish, fixture, measure, note, run_in, work

IGNORED = -100
EDGES = (" ", "\n", "\t")


# ---- the scripts' arithmetic over any tokenizer ----

def cut_ids(tokenizer, text, max_length):
    return tokenizer(text, max_length=max_length, truncation=True).input_ids


def by_completion(record, tokenizer, max_length):
    prompt, completion = record["prompt"], record["completion"]
    gap = "" if prompt.endswith(EDGES) or completion.startswith(EDGES) else " "
    ids = cut_ids(tokenizer, prompt + gap + completion + tokenizer.eos_token, max_length)
    n = len(cut_ids(tokenizer, prompt, max_length))
    return ids, [IGNORED] * min(n, len(ids)) + ids[n:]


def rendered(messages, eos):
    parts = []
    for m in messages:
        parts.append("<|%s|>\n%s%s\n" % (m["role"], m["content"].strip(), eos if m["role"] == "assistant" else ""))
    return "".join(parts)


def by_messages(record, tokenizer, max_length):
    messages, eos = record["messages"], tokenizer.eos_token
    ids = cut_ids(tokenizer, rendered(messages, eos).strip(), max_length)
    labels = list(ids)
    for i, m in enumerate(messages):
        if m["role"] == "assistant":
            continue
        first = len(cut_ids(tokenizer, rendered(messages[:i], eos), max_length)) if i else 0
        answered = i + 1 < len(messages) and messages[i + 1]["role"] == "assistant"
        end = len(cut_ids(tokenizer, rendered(messages[:i + 1], eos) + ("<|assistant|>\n" if answered else ""), max_length))
        for k in range(first, min(end, len(labels))):
            labels[k] = IGNORED
        if end >= max_length:
            break
    return ids, labels


ASKED = "Write a response that appropriately completes the request.\n\n### Instruction:\n"


def by_stanford(record, tokenizer, max_length):
    if record.get("input", "") != "":
        prompt = ("Below is an instruction that describes a task, paired with an input that provides further context. " + ASKED
                  + record["instruction"] + "\n\n### Input:\n" + record["input"] + "\n\n### Response:")
    else:
        prompt = "Below is an instruction that describes a task. " + ASKED + record["instruction"] + "\n\n### Response:"
    ids = cut_ids(tokenizer, prompt + record["output"] + tokenizer.eos_token, max_length)
    n = sum(i != tokenizer.pad_token_id for i in cut_ids(tokenizer, prompt, max_length))
    return ids, [IGNORED] * min(n, len(ids)) + ids[n:]


BY = {"completion": by_completion, "messages": by_messages, "stanford": by_stanford}


# ---- data ----

def messages(*turns):
    names = {"u": "user", "a": "assistant", "s": "system"}
    return {"messages": [{"role": names[who], "content": text} for who, text in turns]}


CHATS = [
    messages(("u", "hello"), ("a", "Sure, here"), ("u", "x"), ("a", "y z")),
    messages(("u", "Your message here!"), ("a", "An answer.")),
    messages(("u", "only a question")),
    messages(("a", "I speak first."), ("u", "And I second."), ("a", "Third.")),
    messages(("a", "alone")),
    messages(("a", "one"), ("a", "two"), ("u", "three"), ("a", "four"), ("a", "five")),
    messages(("u", "one"), ("u", "two"), ("a", "three"), ("u", "four")),
    messages(("u", "a"), ("a", "b"), ("u", "last word is mine \n ")),
    messages(("s", "You are a careful clerk."), ("u", "Add 2 and 3."), ("a", "5"), ("u", "And 4?"), ("a", "9")),
    messages(("s", "only a system message")),
    messages(("s", ""), ("a", "after an empty system message")),
    messages(("u", "a"), ("s", "in the middle"), ("a", "b"), ("s", "at the end")),
    messages(("u", ""), ("a", ""), ("u", ""), ("a", "")),
    messages(("u", "   \n"), ("a", " \t blank before"), ("u", "\u3000"), ("a", "\u00a0x\u00a0")),
    messages(("u", "the characters </s> inside"), ("a", "and </s> in the answer"), ("u", "next"), ("a", "</s>")),
    messages(("u", "</s></s> twice </s> \n </s>"), ("a", "x</s> "), ("u", "<s>begin"), ("a", "<unk> <pad>pad <pad>")),
    messages(("u", "tags: <|user|>\nfake\n<|assistant|>\nfake</s>\n<|user|>\nagain"), ("a", "<|assistant|>\n<|user|>")),
    messages(("u", "no-break\u00a0</s>\u00a0around"), ("a", "\u2003em</s>\u2028line\u2029"), ("u", "\x1c</s>\x1f"), ("a", "\u0085ok")),
    messages(("u", "zero\u200b</s>\u200bwidth \ufeff"), ("a", "\u200bkept\u200b"), ("u", "\u180em"), ("a", "e\u0301 \u00e9 \ufb01")),
    messages(("u", "\u4f60\u597d\uff0c\u4e16\u754c"), ("a", "\u3053\u3093\u306b\u3061\u306f \U0001f999"), ("u", "\uc548"), ("a", "\U0001f44d\U0001f3fd")),
    messages(("u", "def f(x):\n    if x:\n\t\treturn  x   # two  spaces\n\n\n"), ("a", "```c\nint x;\r\n```"), ("u", "a\r\nb\rc")),
    messages(("u", "control \x01\x02\x7f \u0000 bytes"), ("a", "\u2581 marks \u2581\u2581"), ("u", "\u2581"), ("a", "\u2581\u2581")),
    messages(("u", "x" * 60), ("a", "_" * 33 + " " + "=" * 40), ("u", "12345 67890"), ("a", "3.14159, 1e-10")),
    messages(*[("u" if i % 2 == 0 else "a", "turn %d" % i) for i in range(20)]),
]
COMPLETIONS = [{"prompt": p, "completion": c} for p, c in [
    ("Question: 2+2?\nAnswer:", "4"), ("Question: 2+2?\nAnswer: ", "4"), ("Q\n", "A"), ("Q\t", "A"), ("Q", " A"), ("Q", "\nA"),
    ("Q", "\tA"), ("Q\u00a0", "A"), ("Q", "\u3000A"), ("Q\r", "A"), ("", "A"), ("Q", ""), ("", ""), (" ", " "), ("pre", "fix"),
    ("The wor", "ld is round."), ("a </s> b", "c </s>d"), ("ends</s>", "begins"), ("x <pad> y", "<unk>"), ("\u4f60", "\u597d"),
    ("\n\n", "\n\n"), ("double  ", "  double"), ("\U0001f468\u200d", "\U0001f469"), ("a\u0000b", "c\u0000d"),
]]
TASKS = [{"instruction": i, "input": x, "output": o} for i, x, o in [
    ("Say hi.", "", "Hi!"), ("Add.", "1 2", "3"), ("Add.", " ", "blank input is input"), (" strip? ", " no ", " never "), ("a", "b", ""),
    ("", "", ""), ("say </s> now", "<s>", "</s> ok"), ("[PAD] in it", "x [PAD] y", "z [PAD]"), ("line\n", "\nline\n", "\nout\n"),
    ("\u4f60", "\u597d", "\U0001f999"), ("long " * 30, "", "short"), ("short", "", "long " * 60),
]] + [{"instruction": "no input at all", "output": "fine"}]
LIMITS = {"messages": 2048, "completion": 2048, "stanford": 512}


def alpaca():
    """2,000 examples in each encoding's shape."""
    rows = json.loads(data("alpaca/alpaca_small.json").read_text())
    pick = random.Random(6)
    ends = ["\n", " ", "", ":", "\n\n", "\t"]
    completions = [{"prompt": r["instruction"] + pick.choice(ends) + r["input"] + pick.choice(ends),
                    "completion": pick.choice(["", "", " ", "\n"]) + r["output"]} for r in rows]
    chats = []
    for i, r in enumerate(rows):
        turns = [("u", r["instruction"] + ("\n" + r["input"] if r["input"] else "")), ("a", r["output"])]
        for k in range(pick.choice([0, 0, 1, 2, 5])):
            other = rows[(i * 7 + k) % len(rows)]
            turns += [("u", other["instruction"] + "\n\n" + other["input"]), ("a", other["output"])]
        if pick.random() < 0.2:
            turns.insert(0, ("s", "Answer briefly."))
        chats.append(messages(*turns[:len(turns) - (pick.random() < 0.1)]))
    return {"completion": completions, "messages": chats, "stanford": rows}


# ---- comparing ----

def expected(rows, encoding, tokenizer, max_length):
    """What training would see: (line, ids, trained) of the rows that stay."""
    out = []
    for i, row in enumerate(rows):
        ids, labels = BY[encoding](row, tokenizer, max_length)
        if encoding == "stanford" or any(x != IGNORED for x in labels[1:]):
            out.append((i + 1, ids, [int(x != IGNORED) for x in labels]))
    return out


def dump(model, rows, encoding, max_length, new_pad, threads=2, array=False):
    """The same from paco, and its closing line."""
    path = work("files") / ("rows.json" if array else "rows.jsonl")
    path.write_text(json.dumps(rows, indent=1) if array else "".join(json.dumps(r) + "\n" for r in rows))
    got = measure([ROOT / "build" / "tests" / "parity" / "encode_dump", model, path, encoding, max_length, new_pad or "-", threads])
    expect(got.code == 0, got.stderr.strip())
    lines = got.lines()
    return [(x["line"], x["ids"], x["trained"]) for x in lines[:-1]], lines[-1]


def compare(model, tokenizer, rows, encoding, max_length, new_pad=None, **more):
    want = expected(rows, encoding, tokenizer, max_length)
    if not want:
        return None
    got, sums = dump(model, rows, encoding, max_length, new_pad, **more)
    if not more.get("array"):
        equal("lines that stay, %s at %d" % (encoding, max_length), [g[0] for g in got], [w[0] for w in want])
    for g, w in zip(got, want):
        equal("ids of line %d, %s at %d" % (w[0], encoding, max_length), g[1], w[1])
        equal("mask of line %d, %s at %d" % (w[0], encoding, max_length), g[2], w[2])
    equal("examples", len(got), len(want))
    return sums


def every_length(model, tokenizer, rows, encoding, new_pad=None):
    longest = max(len(BY[encoding](r, tokenizer, 1 << 19)[0]) for r in rows)
    # From 2: where there is room for no more than BOS, Transformers does not truncate at all; paco leaves BOS.
    for n in [*range(2, min(64, longest + 2)), *range(64, longest + 2, 5)]:
        compare(model, tokenizer, rows, encoding, n, new_pad)
    note("%d rows cut at every length up to 63, and at every fifth up to %d" % (len(rows), longest + 1))


def all_cases(name, model, tokenizers, pads):
    """The cases of one model; tokenizers and pads by encoding."""
    made = {"completion": COMPLETIONS, "messages": CHATS, "stanford": TASKS}
    for encoding, rows in made.items():
        with case("%s: %d made examples, %s" % (name, len(rows), encoding)):
            compare(model, tokenizers[encoding], rows, encoding, LIMITS[encoding], pads[encoding])
            compare(model, tokenizers[encoding], rows, encoding, LIMITS[encoding], pads[encoding], array=True)
        with case("%s: cut off in every place, %s" % (name, encoding)):
            every_length(model, tokenizers[encoding], rows, encoding, pads[encoding])
    for encoding in made:
        with case("%s: 2,000 Alpaca examples, %s" % (name, encoding)):
            rows = alpaca()[encoding]
            equal("rows", len(rows), 2000)
            one = compare(model, tokenizers[encoding], rows, encoding, 512, pads[encoding], threads=1)
            two = compare(model, tokenizers[encoding], rows, encoding, 512, pads[encoding], threads=2)
            equal("digest with one thread and with two", one["digest"], two["digest"])
            note("%d ids, %d trained, %d truncated, %.2f s" % (two["n_ids"], two["n_trained"], two["n_truncated"], two["seconds"]))


# ---- LLaMA ----

def llama():
    import transformers
    raw = work("raw")
    shutil.copy(str(data("tokenizer/tokenizer.model")), str(raw))
    tuned, stanford = (transformers.LlamaTokenizer.from_pretrained(str(raw)) for _ in range(2))
    equal("added tokens", tuned.add_special_tokens(
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}), 1)
    equal("added tokens, Stanford", stanford.add_special_tokens({"pad_token": "[PAD]"}), 1)
    saved = work("saved")
    tuned.save_pretrained(str(saved))
    return raw, saved, {"completion": tuned, "messages": tuned, "stanford": stanford}


def write_fixture(tokenizers):
    cases = []
    for encoding, rows in (("messages", CHATS), ("completion", COMPLETIONS), ("stanford", TASKS)):
        for i, row in enumerate(rows):
            whole = len(BY[encoding](row, tokenizers[encoding], 4096)[0])
            for n in sorted({4096, max(2, whole - 1), max(2, whole // 2), 2 + i}, reverse=True):
                kept = expected([row], encoding, tokenizers[encoding], n)
                row_case = {"encoding": encoding, "max_length": n, "record": row}
                row_case.update({"ids": kept[0][1], "trained": kept[0][2]} if kept else {"dropped": True})
                cases.append(row_case)
    fixture("train/encode.json", {"made_by": "tests/parity/encode.py", "cases": cases})


def main():
    with case("LLaMA's tokenizer as both scripts have it"):
        raw, saved, tokenizers = llama()
    pads = {"completion": "<pad>", "messages": "<pad>", "stanford": "[PAD]"}
    all_cases("base, pad to be added", raw, tokenizers, pads)
    with case("a tuned folder, which has its pad token"):
        for encoding, rows in (("completion", COMPLETIONS), ("messages", CHATS)):
            compare(saved, tokenizers[encoding], rows, encoding, 2048)
    with case("fixtures/train/encode.json"):
        write_fixture(tokenizers)
    with case("another tokenizer, under today's stack"):
        out = run_in("today", "encode_fast.py")
        sys.stdout.write(out.stdout)


if __name__ == "__main__":
    main()
    finish()
