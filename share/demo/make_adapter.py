# SPDX-License-Identifier: Apache-2.0
"""Make the demo's adapter with paco itself: SmolLM2-135M-Instruct taught the format `<|user|>\\n...\\n<|assistant|>\\n`.

train.jsonl holds 404 short questions with their answers, all written for this project; a LoRA adapter learns to give
such answers in that format, and to stop. (The model's own greedy answers, in its ChatML format, were generated first: of
418 prompts 340 ended within 100 tokens, and on reading, many of those were wrong or repetitive. They were dropped for
that reason alone; no adapter was trained on them, so the two kinds of data were not compared.)

    python3 make_adapter.py PACO MODEL.gguf train      # train.jsonl -> adapter/            (about 3 minutes on two cores)
    python3 make_adapter.py PACO MODEL.gguf check      # questions.txt -> before-after.md   (some seconds)

PACO is the program, MODEL.gguf the default model, SmolLM2-135M-Instruct.Q4_1.gguf, as `make demo` leaves it in demo/.
Training is in F32, whose bytes depend neither on the processor nor on the number of threads: whoever runs this gets the
adapter that is shipped, bit for bit. Needs Python 3 and nothing else.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
EPOCHS = 4
RECIPE = {"use_lora": True, "lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0, "lora_targets": "all",
          "per_device_train_batch_size": 8, "num_train_epochs": EPOCHS, "learning_rate": 1e-3, "warmup_ratio": 0.06,
          "clip_grad_norm": 1, "seed": 20230609, "dtype": "f32"}
FILES = ["adapter_model.safetensors", "adapter_config.json", "chat_template.jinja"]


def flags():
    return [word for name, value in RECIPE.items() for word in (["--" + name] if value is True else ["--" + name, str(value)])]


def train(paco, model, folder):
    out = folder / "out"
    subprocess.run([paco, "finetune", "-m", model, "--train_file", HERE / "train.jsonl", "-o", out, *flags()], check=True)
    adapter = HERE / "adapter"
    for name in FILES:
        shutil.copyfile(out / name, adapter / name)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "HuggingFaceTB/SmolLM2-135M-Instruct"
    (adapter / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    log = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    epochs = [log[at:at + len(log) // EPOCHS] for at in range(0, len(log), len(log) // EPOCHS)]
    version = subprocess.run([paco, "--version"], check=True, capture_output=True, text=True).stdout.split("\n")[0]
    (adapter / "README.md").write_text(CARD)
    (adapter / "training.json").write_text(json.dumps({
        "script": "share/demo/make_adapter.py", "program": version, "examples": 404, "options": RECIPE,
        "mean_loss_per_epoch": [round(sum(step["loss"] for step in e) / len(e), 4) for e in epochs]}, indent=2) + "\n")


def answers(paco, model, questions):
    """Of each question, in the card's format, greedily: its text and whether it ended by itself."""
    done = subprocess.run([paco, "generate", "-q", "-m", model, "-f", questions, "--format", "tulu", "--temp", "0", "-n", "128",
                           "--dtype", "f32", "--json"], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(paco, model, folder):
    questions = (HERE / "questions.txt").read_text().split("\n")[:-1]
    prompts = folder / "questions.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": q}) + "\n" for q in questions))
    subprocess.run([paco, "convert", "-q", model, "--out", folder / "base", "--to", "hf", "--type", "f32"], check=True)
    subprocess.run([paco, "merge", "-q", "-m", folder / "base", "--adapter", HERE / "adapter", "--out", folder / "tuned"], check=True)
    before, after = (answers(paco, folder / name, prompts) for name in ("base", "tuned"))
    ended = ["%d of %d" % (sum(a["stop"] != "length" for a in set_), len(set_)) for set_ in (before, after)]
    lines = ["# Ten questions that are not in train.jsonl", "",
             "Greedy, at most 128 tokens, asked in the format `<|user|>\\n...\\n<|assistant|>\\n`, of the default model",
             "(before) and of the default model with the adapter merged (after). Made by `make_adapter.py ... check`.", "",
             "Ended by themselves: %s before, %s after." % tuple(ended)]
    for question, *both in zip(questions, before, after):
        lines += ["", "## " + question]
        for name, a in zip(("before", "after"), both):
            how = "never ended" if a["stop"] == "length" else "ended after %d tokens" % a["n_output"]
            lines += ["", "%s, %s:" % (name, how), "", "```text", a["text"], "```"]
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
    if len(sys.argv) != 4 or sys.argv[3] not in ("train", "check"):
        sys.exit("usage: make_adapter.py PACO MODEL.gguf train|check")
    paco, model = (os.path.abspath(path) for path in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        {"train": train, "check": check}[sys.argv[3]](paco, model, pathlib.Path(folder))


if __name__ == "__main__":
    main()
