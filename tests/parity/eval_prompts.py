# SPDX-License-Identifier: Apache-2.0
"""Every prompt of MMLU, GSM, MGSM, BBH, TyDi QA and HumanEval, as a digest: written anew from the evaluation's
specification with pandas, Python's own `random` and SentencePiece, so that subsets, type inference, shots and contexts
that do not fit and white space are held against the libraries upstream used. Writes or checks fixtures/eval/prompts.json, a list of

    task, flags     as paco has them; llama: prompts are cut by LLaMA's tokenizer
    n               how many items
    names           of the first five
    sha256          of all prompts in order, a NUL behind each

tests/unit/test_task_{mmlu,gsm,mgsm,bbh,tydiqa,codex}.c compare with it. Stack: today.
"""
import functools
import gzip
import hashlib
import json
import random
import re
import shutil

import pandas as pd
import sentencepiece
import transformers

from common import case, data, equal, expect, finish, fixture, work

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

TYDIQA = {  # instruction with and without a passage; the labels of passage, question and answer
    "arabic": ("أجب على السؤال التالي بناءً على المعلومات في المقطع المعطى.",
        "أجب على السؤال التالي.", "المقطع:", "السؤال:", "الإجابة:"),
    "bengali": ("প্রদত্ত অধ্যায়ের তথ্যের উপর ভিত্তি করে নিম্নলিখিত প্রশ্নের উত্তর দিন।",
        "নিম্নলিখিত প্রশ্নের উত্তর দিন।", "অধ্যায়:", "প্রশ্ন:", "উত্তর:"),
    "english": ("Answer the following question based on the information in the given passage.",
        "Answer the following question.", "Passage:", "Question:", "Answer:"),
    "finnish": ("Vastaa seuraavaan kysymykseen annetun kappaleen tiedon perusteella.",
        "Vastaa seuraavaan kysymykseen.", "Kappale:", "Kysymys:", "Vastaus:"),
    "indonesian": ("Jawab pertanyaan berikut berdasarkan informasi di bagian yang diberikan.",
        "Jawab pertanyaan berikut.", "Bagian:", "Pertanyaan:", "Jawaban:"),
    "korean": ("주어진 문단의 정보에 기반하여 다음 질문에 답하십시오.",
        "다음 질문에 답하십시오.", "문단:", "질문:", "답변:"),
    "russian": ("Ответьте на следующий вопрос на основе информации в данном отрывке.",
        "Ответьте на следующий вопрос.", "Отрывок:", "Вопрос:", "Ответ:"),
    "swahili": ("Jibu swali lifuatalo kulingana na habari kwenye kifungu kilichotolewa.",
        "Jibu swali lifuatalo.", "Kifungu:", "Swali:", "Jibu:"),
    "telugu": ("ఇచ్చిన పేరాలోని సమాచారం ఆధారంగా కింది ప్రశ్నకు సమాధానం ఇవ్వండి.",
        "క్రింది ప్రశ్నకు సమాధానం ఇవ్వండి.", "పేరా:", "ప్రశ్న:", "సమాధానం:"),
}


def wrap(chat, user, start):
    """The card's format around a question, or none of it."""
    return "<|user|>\n" + user.strip() + "\n<|assistant|>\n" + start if chat else user + ("\n" + start if start else "")


def mmlu(ntrain, chat, n_instances=None, fix_none=False, pieces=None, subjects=None):
    """(name, prompt) of every question."""
    options = {"keep_default_na": True}
    if fix_none:  # as pandas before 2.0
        from pandas._libs.parsers import STR_NA_VALUES
        options = {"keep_default_na": False, "na_values": sorted(STR_NA_VALUES - {"None"})}

    def question(row):
        return str(row.iloc[0]) + "".join("\n%s. %s" % (LETTERS[j], row.iloc[1 + j]) for j in range(4)) + "\nAnswer:"

    for path in sorted(data("mmlu/test").glob("*_test.csv"), key=lambda p: p.name.split("_test.csv")[0]):
        subject = path.name.split("_test.csv")[0]
        if subjects and subject not in subjects:
            continue
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


def bbh(cot, chat, n=40):
    random.seed(42)
    for path in sorted(data("bbh/bbh").glob("*.json"), key=lambda p: p.stem):
        rows = list(enumerate(json.loads(path.read_text())["examples"]))
        if n:
            rows = random.sample(rows, n)
        with data("bbh/cot-prompts/%s.txt" % path.stem).open() as f:
            fields = "".join(f.readlines()[2:]).split("\n\n")
        if not cot:
            fields = [x.split("\nA:")[0].strip() + "\nA: " + x.split("So the answer is")[-1].strip()
                      if x.startswith("Q:") else x for x in fields]
        head = "\n\n".join(fields).strip()
        for i, row in rows:
            yield "%s/%d" % (path.stem, i), wrap(chat, head + "\n\nQ: " + row["input"], "A:")


def tydiqa_questions(language, kind):
    path = data("tydiqa") / ("%s_tydiqa_%s.json" % (language, kind))
    return [dict(qa, context=paragraph["context"]) for article in json.loads(path.read_text(encoding="utf-8"))["data"]
            for paragraph in article["paragraphs"] for qa in paragraph["qas"]] if path.exists() else []


def cut(pieces, context, limit=512):
    """With BOS, as the slow tokenizer of Transformers 4.28.1 decodes it; "<s>" is followed by a space as in 5."""
    ids = [1] + pieces.encode(context)
    return context if len(ids) <= limit else "<s> " + pieces.decode(ids[1:limit])


def tydiqa(context, chat, n_shot=1, n=100, shorten=lambda passage: passage):
    random.seed(42)
    test, shots = {}, {}
    for language in sorted(TYDIQA):
        test[language] = tydiqa_questions(language, "dev")
        if len(test[language]) > n:
            test[language] = random.sample(test[language], n)
    for language in sorted(TYDIQA):
        train = tydiqa_questions(language, "train")
        if len(train) >= n_shot:
            shots[language] = random.sample(train, n_shot)
    for language in sorted(shots):
        with_context, without, p, q, a = TYDIQA[language]

        def asked(item):
            passage = p + " " + shorten(item["context"]) + "\n" if context else ""
            return passage + q + " " + item["question"] + "\n"

        head = (with_context if context else without) + "\n\n"
        head += "".join(asked(s) + a + " " + s["answers"][0]["text"] + "\n\n" for s in shots[language])
        for item in test[language]:
            yield item["id"], wrap(True, head + asked(item), a) if chat else head + asked(item) + a


def check_contexts(pieces):
    """What cut() writes of every context that is too long, and Transformers 5 decodes from the same ids. It shows
    U+FFFD for every byte of a run that is no text as a whole; SentencePiece, and the slow tokenizer, only for those
    bytes that are none."""
    path = work("llama")
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true}')
    shutil.copy(str(data("tokenizer/tokenizer.model")), str(path))
    tokenizer, n = transformers.AutoTokenizer.from_pretrained(str(path)), 0
    for language in sorted(TYDIQA):
        for item in tydiqa_questions(language, "dev") + tydiqa_questions(language, "train"):
            text = cut(pieces, item["context"])
            if text != item["context"]:
                want = tokenizer.decode([1] + pieces.encode(item["context"])[:511], skip_special_tokens=False)
                end = want.find("\ufffd")
                text, want = (text[:end], want[:end]) if end >= 0 else (text, want)
                equal(item["id"], text, want)
                n += 1
    expect(n > 500, "only %d contexts are too long" % n)


def draw(rows, n):
    """n of HumanEval's problems, as --max_num_examples has them; all without n."""
    random.seed(42)
    return random.sample(rows, n) if n and len(rows) > n else rows


def codex(chat):
    for line in gzip.open(data("human_eval/HumanEval.jsonl.gz"), "rt"):
        row = json.loads(line)
        start = "<|user|>\nComplete the following python function.\n\n\n" + row["prompt"]
        start += "\n<|assistant|>\nHere is the completed function:\n\n\n"
        yield row["task_id"], (start if chat else "") + row["prompt"]


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
    with case("eval prompts: BBH"):
        for name, cot in (("bbh_direct", False), ("bbh_cot", True)):
            rows += [row(name, {"use_chat_format": 1}, bbh(cot, True)), row(name, {"use_chat_format": 0}, bbh(cot, False)),
                     row(name, {"use_chat_format": 1, "max_num_examples_per_task": -1}, bbh(cot, True, None)),
                     row(name, {"use_chat_format": 0, "max_num_examples_per_task": 146}, bbh(cot, False, 146))]
    with case("eval prompts: TyDi QA"):
        short = functools.partial(cut, pieces)
        for name, context in (("tydiqa_goldp", True), ("tydiqa_no_context", False)):
            rows += [row(name, {"use_chat_format": 1}, tydiqa(context, True, shorten=short), llama=True),
                     row(name, {"use_chat_format": 0}, tydiqa(context, False, shorten=short), llama=True),
                     row(name, {"use_chat_format": 1, "n_shot": 3}, tydiqa(context, True, 3)),
                     row(name, {"use_chat_format": 0, "n_shot": 0, "max_num_examples_per_lang": 20}, tydiqa(context, False, 0, 20))]
    with case("eval prompts: TyDi QA's long contexts = Transformers"):
        check_contexts(pieces)
    with case("eval prompts: HumanEval"):
        rows += [row("codex_eval_temp_0.1", {"use_chat_format": 1}, codex(True)), row("codex_eval_temp_0.8", {}, codex(False))]
    with case("eval prompts: fixtures/eval/prompts.json"):
        fixture("eval/prompts.json", {"made_by": "tests/parity/eval_prompts.py", "pandas": pd.__version__,
                                      "sentencepiece": sentencepiece.__version__, "rows": rows})


if __name__ == "__main__":
    main()
    finish()
