# SPDX-License-Identifier: Apache-2.0
"""paco eval against upstream's evaluation (eval_reference.py), in float32: the same prompts, answers, extractions and verdicts,
and the same files.

Two models: the default one, and a tiny random one behind LLaMA's tokenizer, whose answers are any bytes whatever. Of each
benchmark a few questions are asked, with the card's chat format and without:

    PACO_PARITY_ITEMS      how many times as many questions (1: some minutes on two processors)

Probabilities may differ by 1e-4, and a file's bytes in nothing else. Stack: today.
"""
import csv
import io
import json
import math
import os
import re
import shutil
import sys
import types

import sentencepiece
import torch
import transformers

import eval_reference as reference
from common import big, case, data, default_model, equal, expect, finish, note, paco, work
from recover_cost import save_default_model

TOLERANCE = 1e-4
TIMES = int(os.environ.get("PACO_PARITY_ITEMS") or 1)
SUBJECTS = """abstract_algebra anatomy astronomy business_ethics college_biology college_chemistry college_computer_science
econometrics electrical_engineering global_facts high_school_geography high_school_psychology jurisprudence philosophy prehistory
public_relations sociology""".split()  # one of each subcategory: without, upstream ends with an error
BBH = "boolean_expressions causal_judgement dyck_languages multistep_arithmetic_two snarks word_sorting".split()
OUTPUTS = "alpaca_eval/text_davinci_003/model_outputs.json"
BRIEF = [1, 4, 13, 15, 22, 10]  # AlpacaFarm's instructions that SmolLM2 answers in 12 to 133 tokens; others go on to 2,048
CHAT, PLAIN = ["--use_chat_format"], ["--no_chat_format"]

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 2))
transformers.utils.logging.disable_progress_bar()


def fewer_data():
    """The test data but for most of BBH: a folder of links, which both sides read from here on."""
    top = work("data")
    for path in sorted(data(".").iterdir()):
        if path.is_dir() and path.name not in ("bbh", "alpaca_eval"):
            (top / path.name).symlink_to(path.resolve())
    for folder, end in (("bbh", ".json"), ("cot-prompts", ".txt")):
        (top / "bbh" / folder).mkdir(parents=True)
        for task in BBH:
            (top / "bbh" / folder / (task + end)).symlink_to(data("bbh/%s/%s%s" % (folder, task, end)).resolve())
    instructions = json.loads(data(OUTPUTS).read_text(encoding="utf-8"))
    (top / OUTPUTS).parent.mkdir(parents=True)
    (top / OUTPUTS).write_text(json.dumps(instructions if big() else [instructions[i] for i in BRIEF]), encoding="utf-8")
    os.environ["PACO_DATA"] = str(top)
    return top


class Side:
    """A model as both sides have it."""

    def __init__(self, name, folder, times, tokenizer=None):
        self.name, self.folder, self.times = name, folder, times
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.reference = reference.Model(model, tokenizer or transformers.AutoTokenizer.from_pretrained(folder))

    def run(self, where, task, flags):
        out = work(self.name) / where
        paco("eval", task, "-m", self.folder, "--data", os.environ["PACO_DATA"], "--out", out, "--dtype", "f32", "-q", *flags)
        return out / task


def default_side():
    default_model()
    folder = work("SmolLM2")
    save_default_model(folder, torch.float32)
    return Side("SmolLM2", folder, TIMES)


class SlowLlama:
    """LLaMA's tokenizer as Transformers' slow one of June 2023 has it, over SentencePiece. (The LlamaTokenizer of Transformers 5
    does not read tokenizer.model to the same ids: it joins spaces otherwise.) Its special tokens are plain strings, as in the
    card's checkpoints, so that text beside one is stripped."""

    SPECIAL = {"<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 32000}
    eos_token, pad_token, pad_token_id = "</s>", "<pad>", 32000

    def __init__(self, file):
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))

    def encode(self, text, add_special_tokens=True):
        ids = [1] if add_special_tokens else []
        parts = re.split("(" + "|".join(map(re.escape, self.SPECIAL)) + ")", text)
        for i, part in enumerate(parts):
            if i % 2:
                ids.append(self.SPECIAL[part])
                continue
            part = part.lstrip() if i > 0 else part
            part = part.rstrip() if i + 1 < len(parts) else part
            ids += self.pieces.encode(part)
        return ids

    def decode(self, ids, skip_special_tokens=False):
        text = self.pieces.decode([i for i in ids if i not in self.SPECIAL.values()])
        return text if skip_special_tokens or ids[:1] != [1] else "<s> " + text

    def __call__(self, texts, add_special_tokens=True, **_):
        rows = [self.encode(text, add_special_tokens) for text in texts]
        width = max(map(len, rows))
        tensors = ([[32000] * (width - len(r)) + r for r in rows], [[0] * (width - len(r)) + [1] * len(r) for r in rows])
        return types.SimpleNamespace(**dict(zip(("input_ids", "attention_mask"), map(torch.tensor, tensors))))


def llama_side():
    """Two random layers behind LLaMA's tokenizer with <pad>: byte pieces, and pieces of every script."""
    folder = work("llama")
    torch.manual_seed(5)
    config = transformers.LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                      num_key_value_heads=4, vocab_size=32001, max_position_embeddings=4096)
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() == 2:
                p.copy_(torch.randn_like(p) * (1 if "embed" in key else 1.5 / math.sqrt(p.shape[1])))
        model.lm_head.weight[3:259] *= 1.5  # bytes, some of which are no text
        model.lm_head.weight[[2, 13]] *= 1.4  # ends, of the answer and of the line
    model.save_pretrained(folder)
    shutil.copy(str(data("tokenizer/tokenizer.model")), str(folder))
    special = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SlowLlama.SPECIAL))
    for name, value in (("tokenizer_config", {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}),
                        ("special_tokens_map", special), ("added_tokens", {"<pad>": 32000})):
        (folder / (name + ".json")).write_text(json.dumps(value))
    return Side("llama", folder, 1, SlowLlama(data("tokenizer/tokenizer.model")))


def same_items(folder, results):
    got = [json.loads(line) for line in (folder / "items.jsonl").open(encoding="utf-8")]
    equal("number of items", len(got), len(results.items))
    worst = 0
    for item, want in zip(got, results.items):
        what = item["key"]
        expect("error" not in item, "%s: %s" % (what, item.get("error")))
        if want.name:
            equal("item", what, want.name)
        equal(what + ": prompt", item["prompt"], want.prompt)
        if isinstance(want.answer, list):
            worst = max([worst] + [abs(a - b) for a, b in zip(item["probs"], want.answer)])
        else:
            equal(what + ": answer", alone(item["output"]).strip() if folder.name.startswith("tydiqa") else alone(item["output"]),
                  want.answer)
        if want.extraction is not None:
            equal(what + ": extraction", item["extraction"], want.extraction)
        if want.verdict is not None:
            equal(what + ": verdict", alone(item["correct"] if "correct" in item else item["score"]), want.verdict)
    expect(worst < TOLERANCE, "probabilities off by %g" % worst)
    return worst


def alone(value):
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def same_table(name, got, want):
    """Of MMLU: all of a line but its four probabilities, which are near."""
    got, want = (list(csv.reader(io.StringIO(text, newline=""))) for text in (got, want))
    equal(name + ": lines", len(got), len(want))
    for a, b in zip(got, want):
        equal(name, a[:-4], b[:-4])
        if a is not got[0]:
            expect(all(abs(float(x) - float(y)) < TOLERANCE for x, y in zip(a[-4:], b[-4:])), "%s: %s and %s" % (name, a, b))


def same_files(folder, results):
    for name, text in results.files.items():
        equal(name, (folder / name).read_text(encoding="utf-8"), text)
    for name, table in results.tables.items():
        same_table(name, (folder / name).read_bytes().decode(), reference.table_text(table))


def compare(side, name, task, flags, results):
    with case("%s: %s" % (side.name, name)):
        folder = side.run(name, task, flags)
        want = results(side.reference)
        worst = same_items(folder, want)
        same_files(folder, want)
        good = [x.verdict for x in want.items if x.verdict is not None]
        note("%d items%s%s" % (len(want.items), ", score %.3f" % (sum(good) / len(good)) if good else "",
                               ", probabilities off by %.1g" % worst if worst else ""))


def mmlu(side):
    for name, shots, chat, n, subjects in (("mmlu0-chat", 0, True, 2, SUBJECTS), ("mmlu0", 0, False, 1, []),
                                           ("mmlu5-chat", 5, True, 1, SUBJECTS), ("mmlu5", 5, False, 1, SUBJECTS)):
        n *= side.times
        flags = ["--n_instances", n] + (CHAT if chat else PLAIN) + (["--subjects", *subjects] if subjects else [])
        compare(side, name, "mmlu_%dshot" % shots, flags, lambda m: reference.mmlu(m, shots, chat, n, subjects))


def gsm(side):
    n = 4 * side.times
    for name, cot, chat, shots in (("gsm_direct-chat", False, True, 8), ("gsm_cot-chat", True, True, 8), ("gsm_direct", False, False, 4),
                                   ("gsm_cot", True, False, 0)):
        flags = ["--max_num_examples", n, "--n_shot", shots] + (CHAT if chat else PLAIN)
        compare(side, name, "gsm_cot" if cot else "gsm_direct", flags, lambda m: reference.gsm(m, cot, chat, n, shots))


def bbh(side):
    n = side.times
    for name, cot, chat in (("bbh_direct-chat", False, True), ("bbh_cot-chat", True, True), ("bbh_direct", False, False),
                            ("bbh_cot", True, False)):
        flags = ["--max_num_examples_per_task", n] + (CHAT if chat else PLAIN)
        compare(side, name, "bbh_cot" if cot else "bbh_direct", flags, lambda m: reference.bbh(m, cot, chat, n))


def tydiqa(side):
    for name, context, chat, n, shots, limit in (("tydiqa-chat", True, True, 2, 1, 512), ("tydiqa", True, False, 2, 1, 200),
                                                 ("tydiqa_nc-chat", False, True, 4, 1, 512), ("tydiqa_nc", False, False, 4, 2, 512)):
        n *= side.times
        flags = ["--max_num_examples_per_lang", n, "--n_shot", shots, "--max_context_length", limit] + (CHAT if chat else PLAIN)
        compare(side, name, "tydiqa_goldp" if context else "tydiqa_no_context", flags,
                lambda m: reference.tydiqa(m, context, chat, n, shots, limit))


def codex(side):
    n = 4 * side.times
    for name, chat in (("codex", False), ("codex-chat", True)):
        flags = ["--max_num_examples", n, "--unbiased_sampling_size_n", 1, "--eval_pass_at_ks", 1, "--temperature", 0]
        compare(side, name, "codex_eval_temp_0.1", flags + (CHAT if chat else PLAIN), lambda m: reference.codex(m, chat, n))


def alpaca(side):
    n = 2 if side.name != "SmolLM2" else 2 * side.times if big() else len(BRIEF)
    compare(side, "alpaca", "alpaca_farm", ["--limit", n] + CHAT,
            lambda m: reference.alpaca_farm(m, side.folder.name, json.loads(data(OUTPUTS).read_text(encoding="utf-8")), n))


def main():
    wanted = sys.argv[1:]  # of the parts below and the sides, by name; none: all
    with case("the test data"):
        fewer_data()
    for make in (llama_side, default_side):
        if wanted and not {"llama", "default"} & set(wanted) or not wanted or make.__name__.split("_")[0] in wanted:
            side = None
            with case("a model for both: " + make.__name__.split("_")[0]):
                side = make()
            for part in (mmlu, gsm, bbh, tydiqa, codex, alpaca) if side else ():
                if not set(wanted) - {"llama", "default"} or part.__name__ in wanted:
                    part(side)


if __name__ == "__main__":
    main()
    finish()
