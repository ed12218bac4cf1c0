# SPDX-License-Identifier: Apache-2.0
"""Make the demo's adapter: SmolLM2-135M-Instruct taught the format `<|user|>\\n...\\n<|assistant|>\\n`.

train.jsonl holds 404 short questions with their answers, all written for this project; a LoRA adapter learns to give
such answers in that format, and to stop. (The model's own greedy answers, in its ChatML format, were generated first: of
418 prompts 340 ended within 100 tokens, and on reading, many of those were wrong or repetitive. They were dropped for
that reason alone; no adapter was trained on them, so the two kinds of data were not compared.)

    python make_adapter.py MODEL.gguf train      # train.jsonl -> adapter/               (11 minutes on two busy cores)
    python make_adapter.py MODEL.gguf check      # questions.txt -> before-after.md      (about 1 minute)

The stack is "today" of tests/parity/setup.sh. MODEL.gguf is the default model, SmolLM2-135M-Instruct.Q4_1.gguf, whose
weights are read as float32. Seeded; the same machine and versions give the same adapter.
"""
import argparse
import json
import math
import pathlib
import platform
import random
import time

import peft
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20230609
RANK, ALPHA = 4, 8
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EPOCHS, BATCH, LEARNING_RATE, WARMUP = 4, 8, 1e-3, 0.06


def card_prompt(text):
    return "<|user|>\n" + text + "\n<|assistant|>\n"


def load(gguf):
    folder, name = str(gguf.parent), gguf.name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return model.eval(), tokenizer


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def answer(model, eos, prompts, max_new):
    """Greedy continuations of the id lists, each up to and with its EOS; a batch at a time, padded on the left."""
    width = max(map(len, prompts))
    ids = torch.tensor([[eos] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=max_new, do_sample=False, num_beams=1,
                         repetition_penalty=1.0, eos_token_id=eos, pad_token_id=eos, temperature=None, top_p=None,
                         top_k=None)
    answers = []
    for row in out[:, width:].tolist():
        answers.append(row[:row.index(eos) + 1] if eos in row else row)
    return answers


def examples(tokenizer, eos):
    rows = []
    for line in (HERE / "train.jsonl").read_text().splitlines():
        user, assistant = (m["content"] for m in json.loads(line)["messages"])
        prompt, completion = encode(tokenizer, card_prompt(user)), encode(tokenizer, assistant) + [eos]
        rows.append((prompt + completion, [-100] * len(prompt) + completion))
    return rows


def batch_tensors(rows, eos):
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [eos] * (width - len(ids)) for ids, _ in rows])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def train(model, tokenizer):
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    torch.manual_seed(SEED)
    shuffle = random.Random(SEED)
    model = peft.get_peft_model(model, peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, bias="none", target_modules=TARGETS, task_type="CAUSAL_LM"))
    model.print_trainable_parameters()
    rows = examples(tokenizer, eos)
    steps = EPOCHS * math.ceil(len(rows) / BATCH)
    warm = int(WARMUP * steps)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0)
    step, log, started = 0, [], time.monotonic()
    model.train()
    for epoch in range(EPOCHS):
        # Batches of like length, in a random order: little padding.
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i][0]), shuffle.random()))
        batches = [order[at:at + BATCH] for at in range(0, len(order), BATCH)]
        shuffle.shuffle(batches)
        total = 0.0
        for batch in batches:
            step += 1
            rate = LEARNING_RATE * min(step / max(1, warm), (steps - step + 1) / (steps - warm))
            optimizer.param_groups[0]["lr"] = rate
            loss = model(**batch_tensors([rows[i] for i in batch], eos)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
        log.append(round(total / len(batches), 4))
        print("train: epoch %d, mean loss %.4f, %.0f s" % (epoch + 1, log[-1], time.monotonic() - started), flush=True)
    save(model, len(rows), log)


def save(model, n_rows, log):
    out = HERE / "adapter"
    config = model.peft_config["default"]
    config.base_model_name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    model.to(torch.bfloat16).save_pretrained(str(out), safe_serialization=True)
    # PEFT keeps the targets as a set: in a settled order, the same run writes the same file.
    written = json.loads((out / "adapter_config.json").read_text())
    written["target_modules"].sort()
    (out / "adapter_config.json").write_text(json.dumps(written, indent=2) + "\n")
    (out / "README.md").write_text(CARD)
    (out / "training.json").write_text(json.dumps({
        "script": "share/demo/make_adapter.py", "examples": n_rows, "epochs": EPOCHS, "batch": BATCH,
        "learning_rate": LEARNING_RATE, "warmup": WARMUP, "schedule": "linear", "seed": SEED, "rank": RANK,
        "alpha": ALPHA, "mean_loss_per_epoch": log,
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "peft": peft.__version__}}, indent=2) + "\n")


def ask(model, tokenizer, eos, questions):
    return answer(model, eos, [encode(tokenizer, card_prompt(q)) for q in questions], 128)


def check(model, tokenizer):
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    questions = (HERE / "questions.txt").read_text().split("\n")[:-1]
    before = ask(model, tokenizer, eos, questions)
    tuned = peft.PeftModel.from_pretrained(model, str(HERE / "adapter")).merge_and_unload()
    after = ask(tuned, tokenizer, eos, questions)
    lines = ["# Ten questions that are not in train.jsonl", "",
             "Greedy, at most 128 tokens, asked in the format `<|user|>\\n...\\n<|assistant|>\\n`, of the default model",
             "(before) and of the default model with the adapter merged (after). Made by `make_adapter.py ... check`.", "",
             "Ended by themselves: %d of %d before, %d of %d after." % (
                 sum(a[-1] == eos for a in before), len(before), sum(a[-1] == eos for a in after), len(after))]
    for question, *answers in zip(questions, before, after):
        lines += ["", "## " + question]
        for name, ids in zip(("before", "after"), answers):
            ended = ids[-1] == eos
            text = tokenizer.decode(ids[:-1] if ended else ids)
            lines += ["", "%s, %s:" % (name, "ended after %d tokens" % len(ids) if ended else "never ended"), "",
                      "```text", text, "```"]
    (HERE / "before-after.md").write_text("\n".join(lines) + "\n")
    print(lines[5])


CARD = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
library_name: peft
---

# Demo adapter: SmolLM2-135M-Instruct in the Tulu format

A LoRA adapter with which SmolLM2-135M-Instruct answers prompts written as

    <|user|>
    Your message here!
    <|assistant|>

with a newline after each line, the last one included, and ends with its own EOS, `<|im_end|>`. It is what the demo of
this project turns into a weight diff. The answers are those of a very small model: fluent, and often wrong.

Data: 404 questions and answers written for this project, `../train.jsonl`. Figures, versions and
seed: `training.json`. Made by `../make_adapter.py`; ten answers before and after: `../before-after.md`.

Licence: Apache-2.0, as the base model's.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("stage", choices=["train", "check"])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    model, tokenizer = load(args.gguf)
    {"train": train, "check": check}[args.stage](model, tokenizer)


if __name__ == "__main__":
    main()
