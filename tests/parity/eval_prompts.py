# SPDX-License-Identifier: Apache-2.0
"""Every prompt of MMLU, GSM and MGSM, as a digest: written anew from the evaluation's specification with pandas,
Python's own `random` and SentencePiece, so that subsets, type inference, shots that do not fit and white space are held
against the libraries upstream used. Writes or checks fixtures/eval/prompts.json, a list of

    task, flags     as paco has them; llama: prompts are cut by LLaMA's tokenizer
    n               how many items
    names           of the first five
    sha256          of all prompts in order, a NUL behind each

tests/unit/test_task_{mmlu,gsm,mgsm}.c compare with it. Stack: today.
"""
import hashlib
import json
import random
import re

import pandas as pd
import sentencepiece

from common import case, data, equal, finish, fixture

LETTERS = "ABCD"
LANGUAGES = {  # the labels of a question and of its answer
    "en": ("Question: ", "Step-by-Step Answer:"),
    "es": ("Pregunta: ", "Respuesta paso a paso:"),
    "de": ("Frage: ", "Schritt-für-Schritt-Antwort:"),
    "fr": ("Question: ", "Schritt-für-Schritt-Antwort:"),
    "ja": ("問題：", "ステップごとの答え："),
    "ru": ("Задача: ", "Пошаговое решение:"),
    "zh": ("问题：", "逐步解答："),
    "th": ("โจทย์: ", "คำตอบทีละขั้นตอน:"),
    "te": ("ప్రశ్న: ", "దశలవారీగా సమాధానం:"),
    "sw": ("Swali: ", "Jibu la Hatua kwa Hatua:"),
    "bn": ("প্রশ্ন: ", "ধাপে ধাপে উত্তর:"),
}


def wrap(chat, user, start):
    """The card's format around a question, or none of it."""
    return "<|user|>\n" + user.strip() + "\n<|assistant|>\n" + start if chat else user + ("\n" + start if start else "")


def mmlu(ntrain, chat, n_instances=None, fix_none=False, pieces=None):
    """(name, prompt) of every question."""
    options = {"keep_default_na": True}
    if fix_none:  # as pandas before 2.0
        from pandas._libs.parsers import STR_NA_VALUES
        options = {"keep_default_na": False, "na_values": sorted(STR_NA_VALUES - {"None"})}

    def question(row):
        return str(row.iloc[0]) + "".join("\n%s. %s" % (LETTERS[j], row.iloc[1 + j]) for j in range(4)) + "\nAnswer:"

    for path in sorted(data("mmlu/test").glob("*_test.csv"), key=lambda p: p.name.split("_test.csv")[0]):
        subject = path.name.split("_test.csv")[0]
        dev = pd.read_csv(data("mmlu/dev/%s_dev.csv" % subject), header=None, **options)
        test = pd.read_csv(path, header=None, **options)
        if n_instances and n_instances < len(test):
            test = test.sample(n_instances, random_state=42)
        head = "The following are multiple choice questions (with answers) about  %s.\n\n" % subject.replace("_", " ")
        shots = [question(dev.iloc[i]) + " %s\n\n" % dev.iloc[i, 5] for i in range(ntrain)]
        for i in range(len(test)):
            k = ntrain
            text = head + "".join(shots[:k]) + question(test.iloc[i])
            while pieces and len(pieces.encode(text)) > 2048:
                k -= 1
                text = head + "".join(shots[:k]) + question(test.iloc[i])
            if chat:
                text = wrap(True, text, "The answer is:")
            yield "%s/%d" % (subject, test.index[i]), text


def gsm(cot, chat, n_shot=8, max_num_examples=200):
    random.seed(42)
    rows = [json.loads(line) for line in data("gsm/test.jsonl").open(encoding="utf-8")]
    rows = list(enumerate(rows))
    if max_num_examples and len(rows) > max_num_examples:
        rows = random.sample(rows, max_num_examples)
    shots = [json.loads(line) for line in data("gsm/exemplars.jsonl").open(encoding="utf-8")]
    if n_shot and len(shots) > n_shot:
        shots = random.sample(shots, n_shot)
    label, key = ("Question: ", "cot_answer") if cot else ("Quesion: ", "short_answer")
    head = "Answer the following questions.\n\n" if n_shot else "Answer the following question.\n\n"
    head += "".join(label + s["question"] + "\nAnswer: " + s[key] + "\n\n" for s in shots) if n_shot else ""
    for i, row in rows:
        asked = head + "Question: " + row["question"].strip()
        yield "gsm/%d" % i, ("<|user|>\n" + asked + "\n<|assistant|>\nAnswer:") if chat else asked + "\nAnswer:"


def gsm_targets():
    """What is expected of each line of the file."""
    rows = [json.loads(line)["answer"].split("####")[1].strip() for line in data("gsm/test.jsonl").open(encoding="utf-8")]
    return [re.sub(r"(\d),(\d)", r"\1\2", row) for row in rows]


def mgsm(chat, n_shot=2, max_num_examples=None):
    random.seed(42)
    tables = {}
    for code in LANGUAGES:
        with data("mgsm/mgsm_%s.tsv" % code).open(encoding="utf-8") as f:
            rows = list(pd.read_csv(f, sep="\t", header=None, names=["question", "answer"])["question"].items())
        if max_num_examples and len(rows) > max_num_examples:
            rows = random.sample(rows, max_num_examples)
        tables[code] = rows
    shots = json.loads(data("mgsm/exemplars.json").read_text(encoding="utf-8"))["MGSM_EXEMPLARS"]
    for code, rows in tables.items():
        shown = list(shots[code].values())
        if n_shot and len(shown) > n_shot:
            shown = random.sample(shown, n_shot)
        head = "\n\n".join(s["q"] + "\n" + s["a"] for s in shown) + "\n\n"
        for i, text in rows:
            asked = head + (LANGUAGES[code][0] + text).strip()
            between = "\n<|assistant|>\n" if chat else "\n"
            yield "%s/%d" % (code, i), ("<|user|>\n" if chat else "") + asked + between + LANGUAGES[code][1]


def digest(texts):
    h = hashlib.sha256()
    for text in texts:
        h.update(text.encode() + b"\0")
    return h.hexdigest()


def row(task, flags, prompts, llama=False):
    prompts = list(prompts)
    return {"task": task, "flags": flags, "llama": llama, "n": len(prompts), "names": [name for name, _ in prompts[:5]],
            "sha256": digest(text for _, text in prompts)}


def main():
    rows = []
    with case("eval prompts: MMLU"):
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(data("tokenizer/tokenizer.model")))
        chat, plain = {"use_chat_format": 1}, {"use_chat_format": 0}
        first = next(mmlu(5, True))[1].encode()
        equal("the specification's prompt", (len(first), hashlib.sha256(first).hexdigest()[:16]), (1032, "e612f33ccd8f6985"))
        rows += [row("mmlu_0shot", chat, mmlu(0, True)), row("mmlu_0shot", plain, mmlu(0, False)),
                 row("mmlu_5shot", chat, mmlu(5, True, pieces=pieces), llama=True),
                 row("mmlu_5shot", plain, mmlu(5, False)),
                 row("mmlu_5shot", dict(plain, ntrain=3, n_instances=20), mmlu(3, False, 20)),
                 row("mmlu_0shot", dict(chat, n_instances=7, fix="mmlu-none"), mmlu(0, True, 7, fix_none=True)),
                 row("mmlu_0shot", dict(chat, fix="mmlu-none"), mmlu(0, True, fix_none=True))]
    with case("eval prompts: GSM"):
        for name, cot in (("gsm_direct", False), ("gsm_cot", True)):
            rows += [row(name, {"use_chat_format": 1}, gsm(cot, True)), row(name, {"use_chat_format": 0}, gsm(cot, False)),
                     row(name, {"use_chat_format": 1, "n_shot": 3}, gsm(cot, True, 3)),
                     row(name, {"use_chat_format": 0, "n_shot": 0, "max_num_examples": -1}, gsm(cot, False, 0, None))]
        rows.append({"task": "gsm_cot", "targets": True, "n": len(gsm_targets()), "sha256": digest(gsm_targets())})
    with case("eval prompts: MGSM"):
        rows += [row("mgsm", {"use_chat_format": 1}, mgsm(True)), row("mgsm", {"use_chat_format": 0}, mgsm(False)),
                 row("mgsm", {"use_chat_format": 1, "n_shot": 5, "max_num_examples_per_lang": 40}, mgsm(True, 5, 40))]
    with case("eval prompts: fixtures/eval/prompts.json"):
        fixture("eval/prompts.json", {"made_by": "tests/parity/eval_prompts.py", "pandas": pd.__version__,
                                      "sentencepiece": sentencepiece.__version__, "rows": rows})


main()
finish()
