# SPDX-License-Identifier: Apache-2.0
"""What upstream's evaluation scripts do with a model and with its answers, written anew over Transformers and Python's own
libraries: eval.py holds paco against it. Prompts are eval_prompts.py's.

`Model` answers as Open-Instruct's eval/utils.py (June 2023) has it: batches padded on the left, greedy generation by
Transformers, what lies behind a stop sequence taken off afterwards, the answer cut out of the decoding of prompt and answer.
A row ends at its stop sequence here, which upstream's criterion never achieves; what is left after the cut is the same.

Each benchmark is a function that returns a `Results`: items in upstream's order, and the bytes of upstream's files. Held once
against the scripts themselves at e44fcf588, with SmolLM2 in float32 under the stack "today": docs/internals/eval.md.
"""
import collections
import dataclasses
import functools
import gzip
import io
import json
import re
import shutil
import string
import subprocess
import tempfile

import numpy
import pandas
import torch

import eval_prompts
from common import Skipped, data, expect

CODE_STOPS = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
CATEGORIES = {  # of MMLU, as the paper has them; each with its subcategories
    "STEM": ["physics", "chemistry", "biology", "computer science", "math", "engineering"],
    "humanities": ["history", "philosophy", "law"],
    "social sciences": ["politics", "culture", "economics", "geography", "psychology"],
    "other (business, health, misc.)": ["other", "business", "health"],
}
MEMBERS = {  # in the order metrics.json has them
    "math": "abstract_algebra college_mathematics elementary_mathematics high_school_mathematics high_school_statistics",
    "health": "anatomy clinical_knowledge college_medicine human_aging medical_genetics nutrition professional_medicine virology",
    "physics": "astronomy college_physics conceptual_physics high_school_physics",
    "business": "business_ethics management marketing",
    "biology": "college_biology high_school_biology",
    "chemistry": "college_chemistry high_school_chemistry",
    "computer science": "college_computer_science computer_security high_school_computer_science machine_learning",
    "economics": "econometrics high_school_macroeconomics high_school_microeconomics",
    "engineering": "electrical_engineering",
    "philosophy": "formal_logic logical_fallacies moral_disputes moral_scenarios philosophy world_religions",
    "other": "global_facts miscellaneous professional_accounting",
    "history": "high_school_european_history high_school_us_history high_school_world_history prehistory",
    "geography": "high_school_geography",
    "politics": "high_school_government_and_politics public_relations security_studies us_foreign_policy",
    "psychology": "high_school_psychology professional_psychology",
    "culture": "human_sexuality sociology",
    "law": "international_law jurisprudence professional_law",
}


@dataclasses.dataclass
class Item:
    prompt: str
    answer: object         # the text, or the probabilities of the letters
    extraction: object
    verdict: object        # True or False, or a number from 0 to 1
    name: str = None       # as paco has it, where eval_prompts.py knows it


@dataclasses.dataclass
class Results:
    items: list
    files: dict = dataclasses.field(default_factory=dict)   # name: text
    tables: dict = dataclasses.field(default_factory=dict)  # MMLU's: name: DataFrame


class Ends:
    """A stopping criterion: which rows are at an end of theirs."""

    def __init__(self, is_over):
        self.is_over = is_over

    def __call__(self, ids, scores, **_):
        return torch.tensor([self.is_over(row.tolist()) for row in ids])


class Model:
    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model.eval(), tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def ids(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def newline(self):
        return [self.ids("\n")[-1:]]

    def after_space(self, texts):
        return [self.ids(" " + text)[1:] for text in texts]

    def shorten(self, limit, text):
        """A passage of TyDi QA: the decoding of its first ids, when there are more."""
        ids = self.tokenizer.encode(text)
        return text if len(ids) <= limit else self.tokenizer.decode(ids[:limit])

    @torch.no_grad()
    def choose(self, prompts, choices="ABCD", batch=4):
        """(n, 4): softmax over the choices' logits alone, behind each prompt."""
        candidates, out = [self.ids(choice)[0] for choice in choices], []
        for at in range(0, len(prompts), batch):
            given = self.tokenizer(prompts[at:at + batch], padding="longest", return_tensors="pt", add_special_tokens=False)
            last = self.model(given.input_ids, attention_mask=given.attention_mask, logits_to_keep=1).logits[:, -1]
            out += torch.softmax(last[:, candidates], -1).tolist()
        return out

    @torch.no_grad()
    def answer(self, prompts, limit, stops=(), until_blank_line=False, special=False, new_only=False, batch=8):
        out = []
        for at in range(0, len(prompts), batch):
            given = self.tokenizer(prompts[at:at + batch], padding="longest", return_tensors="pt", add_special_tokens=special)
            width = given.input_ids.shape[1]

            def is_over(row):
                if any(row[max(width, len(row) - len(s)):] == s for s in stops):
                    return True
                return until_blank_line and "\n\n" in self.tokenizer.decode(row[width:], skip_special_tokens=True).lstrip()

            rows = self.model.generate(
                input_ids=given.input_ids, attention_mask=given.attention_mask, do_sample=False, max_new_tokens=limit,
                stopping_criteria=[Ends(is_over)], pad_token_id=self.tokenizer.pad_token_id)
            for row, prompt in zip(rows.tolist(), given.input_ids.tolist()):
                new = row[width:]
                cut = next((i for i in range(len(new)) if any(new[i:i + len(s)] == s for s in stops)), len(new))
                new[cut:] = [self.tokenizer.pad_token_id] * (len(new) - cut)
                out.append(self.text([] if new_only else prompt, new))
        return out

    def text(self, prompt, new):
        """The new ids' part of the decoding of all of them: so much as it is longer than the prompt's, in characters."""
        before = self.tokenizer.decode(prompt, skip_special_tokens=True)
        return self.tokenizer.decode(prompt + new, skip_special_tokens=True)[len(before):]


# ---- metrics

NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(prediction, target):
    """Of Hugging Face's `evaluate` 0.4.0, ignoring case and punctuation."""
    return prediction.lower().translate(NO_PUNCTUATION) == target.lower().translate(NO_PUNCTUATION)


def squad_words(text):
    return re.sub(r"\b(?:a|an|the)\b", " ", text.lower().translate(NO_PUNCTUATION)).split()


def squad(prediction, answers):
    """(exact match, F1) of SQuAD 1.1, the best over the answers."""
    found, exact, f1 = squad_words(prediction), 0, 0
    for answer in map(squad_words, answers):
        exact = max(exact, int(found == answer))
        common = sum((collections.Counter(found) & collections.Counter(answer)).values())
        if common:
            p, r = 1.0 * common / len(found), 1.0 * common / len(answer)
            f1 = max(f1, (2 * p * r) / (p + r))
    return exact, f1


def mean(values):
    """As upstream has it of verdicts: numpy's."""
    return float(numpy.mean(numpy.array(values)))


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


# ---- the benchmarks

def mmlu(model, shots, chat, n, subjects=None):
    named = [(name, prompt) for name, prompt in eval_prompts.mmlu(shots, chat, n, pieces=Pieces(model), subjects=subjects)]
    probabilities = model.choose([prompt for _, prompt in named])
    results, by_subject = Results([]), {}
    for (name, prompt), p in zip(named, probabilities):
        subject, row = name.split("/")
        by_subject.setdefault(subject, []).append((int(row), p))
        answer = mmlu_table("test", subject).iloc[int(row), -1]
        letter = "ABCD"[int(numpy.argmax(p))]
        results.items.append(Item(prompt, p, letter, letter == answer, name))
    correct = {}
    for subject, rows in by_subject.items():
        table = mmlu_table("test", subject).iloc[[row for row, _ in rows]].copy()
        correct[subject] = ["ABCD"[int(numpy.argmax(p))] == a for (_, p), a in zip(rows, table.iloc[:, -1])]
        table["correct"] = correct[subject]
        for k, letter in enumerate("ABCD"):
            table["choice%s_probs" % letter] = [p[k] for _, p in rows]
        results.tables[subject + ".csv"] = table

    def share(names):
        verdicts = [v for name in names for v in correct.get(name, [])]
        return mean(verdicts) if verdicts else None

    parts = {name: share(members.split()) for name, members in MEMBERS.items()}
    wholes = {name: share(" ".join(MEMBERS[part] for part in of).split()) for name, of in CATEGORIES.items()}
    metrics = {"average_acc": share(correct)}
    for key, values in (("subcat_acc", parts), ("cat_acc", wholes)):
        metrics[key] = {name: value for name, value in values.items() if value is not None}
    results.files["metrics.json"] = json.dumps(metrics)
    return results


@functools.lru_cache(None)
def mmlu_table(kind, subject):
    return pandas.read_csv(data("mmlu/%s/%s_%s.csv" % (kind, subject, kind)), header=None)


class Pieces:
    """A model's tokenizer as eval_prompts.py counts with it."""

    def __init__(self, model):
        self.encode = model.ids


def gsm(model, cot, chat, n, shots=8):
    named = list(eval_prompts.gsm(cot, chat, shots, n))
    source = [json.loads(line) for line in data("gsm/test.jsonl").open(encoding="utf-8")]
    targets, results, rows = eval_prompts.gsm_targets(), Results([]), []
    answers = model.answer([prompt for _, prompt in named], 512, model.newline())
    for (name, prompt), answer in zip(named, answers):
        i = int(name.split("/")[1])
        text = re.sub(r"(\d),(\d)", r"\1\2", answer)
        numbers = re.findall(r"[-+]?\d*\.\d+|\d+", text)
        found = numbers[-1] if numbers else text
        results.items.append(Item(prompt, answer, found, exact_match(found, targets[i]), name))
        rows.append({"question": source[i]["question"], "answer": targets[i], "model_output": answer, "prediction": found})
    results.files["predictions.jsonl"] = lines(rows)
    results.files["metrics.json"] = json.dumps({"exact_match": mean([x.verdict for x in results.items])}, indent=4)
    return results


def bbh(model, cot, chat, n):
    named = list(eval_prompts.bbh(cot, chat, n))
    answers = model.answer([prompt for _, prompt in named], 512, until_blank_line=True)
    results, rows = Results([]), {}
    for (name, prompt), answer in zip(named, answers):
        task, i = name.split("/")
        example = json.loads(data("bbh/bbh/%s.json" % task).read_text())["examples"][int(i)]
        kept = answer.strip().split("\n\n")[0].strip()
        said = re.search(r"So the answer is (.*?)\.", kept)
        found = said.group(1).strip() if said else kept
        results.items.append(Item(prompt, answer, found, exact_match(found, example["target"]), name))
        rows.setdefault(task, []).append(dict(example, raw_output=answer, prediction=found))
    metrics = {}
    for task, given in rows.items():
        metrics[task] = mean([exact_match(row["prediction"], row["target"]) for row in given])
        results.files["predictions/%s.jsonl" % task] = lines(given)
    metrics["average_exact_match"] = sum(metrics.values()) / len(metrics)
    results.files["metrics.json"] = json.dumps(metrics, indent=4)
    return results


def tydiqa(model, context, chat, n, shots=1, limit=512):
    shorten = functools.partial(model.shorten, limit)
    named = list(eval_prompts.tydiqa(context, chat, shots, n, shorten=shorten))
    source = {item["id"]: item for language in eval_prompts.TYDIQA for item in eval_prompts.tydiqa_questions(language, "dev")}
    answers = [x.strip() for x in model.answer([prompt for _, prompt in named], 50, model.newline())]
    results, rows, scores = Results([]), [], {}
    for (name, prompt), answer in zip(named, answers):
        item, language = source[name], name.split("-")[0]
        exact, f1 = squad(answer, [a["text"] for a in item["answers"]])
        results.items.append(Item(prompt, answer, answer, f1, name))
        scores.setdefault(language, []).append((exact, f1))
        rows.append({"id": name, "lang": language, "context": shorten(item["context"]), "question": item["question"],
                     "answers": item["answers"], "prediction_text": answer})
    metrics = {language: {key: 100.0 * sum(s[k] for s in of) / len(of) for k, key in enumerate(("exact_match", "f1"))}
               for language, of in scores.items()}
    metrics["average"] = {key: mean([m[key] for m in metrics.values()]) for key in ("f1", "exact_match")}
    results.files["tydiaqa_predictions.jsonl"] = lines(rows)
    results.files["metrics.json"] = json.dumps(metrics, indent=4)
    return results


# Prints how a program ends. What it prints itself is swallowed, and what it returns is not looked at.
JUDGE = r"""
import contextlib, io, os, signal, sys
program, verdict = sys.stdin.read(), os.dup(1)
sys.stdin, done = io.StringIO(), "passed"
class Alarm(Exception): pass
def alarm(*_): raise Alarm
signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 3.0)
try:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        exec(program, {})
except Alarm:
    done = "timed out"
except BaseException as e:
    done = "failed: %s" % e
signal.setitimer(signal.ITIMER_REAL, 0)
os.write(verdict, done.encode())
"""


def execute(program):
    """How a program ends: "passed", "timed out" or "failed: ...". A model wrote it, so it is shut in."""
    if not shutil.which("bwrap"):
        raise Skipped("no bwrap to shut the model's programs in")
    shut = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink",
            "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    with tempfile.TemporaryFile() as out:
        try:
            subprocess.run(shut + ["/usr/bin/python3", "-I", "-c", JUDGE], input=program.encode(), stdout=out,
                           stderr=subprocess.DEVNULL, timeout=6, check=False)
        except subprocess.TimeoutExpired:
            return "timed out"
        out.seek(0)
        return out.read().decode() or "timed out"


def codex(model, chat, n):
    """Greedily, one sample each."""
    source = [json.loads(line) for line in gzip.open(data("human_eval/HumanEval.jsonl.gz"), "rt")]
    chosen = eval_prompts.draw(source, n)
    prompts = dict(eval_prompts.codex(chat))
    answers = model.answer([prompts[x["task_id"]] for x in chosen], 512, model.after_space(CODE_STOPS))
    results, rows = Results([]), []
    for example, answer in zip(chosen, answers):
        end = execute(example["prompt"] + answer + "\n" + example["test"] + "\ncheck(%s)" % example["entry_point"])
        results.items.append(Item(prompts[example["task_id"]], answer, None, end == "passed", example["task_id"]))
        rows.append({"task_id": example["task_id"], "prompt": example["prompt"], "completion": answer, "result": end,
                     "passed": end == "passed"})
    bare = [{k: row[k] for k in ("task_id", "prompt", "completion")} for row in rows]
    results.files["codex_eval_predictions.jsonl"] = lines(bare)
    results.files["codex_eval_predictions.jsonl_results.jsonl"] = lines(rows)
    results.files["metrics.json"] = json.dumps({"pass@1": mean([float(x.verdict) for x in results.items])})
    return results


def alpaca_farm(model, name, source, n, limit=2048):
    """The answers alone; name: of the model, as its folder has it."""
    results, rows = Results([]), []
    prompts = []
    for row in source[:n]:
        asked = row["instruction"]
        if row.get("input"):
            asked = asked.strip() + "\n\n" + row["input"].strip()
        prompts.append("<|user|>\n" + asked + "\n<|assistant|>\n")
    answers = model.answer(prompts, limit, special=True, new_only=True)
    for row, prompt, answer in zip(source, prompts, answers):
        results.items.append(Item(prompt, answer, None, None))
        rows.append({"instruction": row["instruction"], "input": row.get("input", ""), "generator": name + "-greedy-long",
                     "output": answer})
    results.files[name + "-greedy-long-output.json"] = json.dumps(rows, indent=4)
    return results


def table_text(table):
    """As upstream saves it."""
    out = io.StringIO()
    table.to_csv(out, index=None)
    expect(out.getvalue(), "an empty table")
    return out.getvalue()
