# SPDX-License-Identifier: Apache-2.0
"""What tests of training on several ranks share: a small model and words to be turned round, commands, and what they leave."""
import json
import os
import random
import re
import subprocess
import time

from counting import V, tokenizer_json
from tiny import PACO, config, llama, save, work

MODULES = os.environ["PACO_MODULES"]
ENV = {**{k: v for k, v in os.environ.items() if not k.startswith("PACO_")}, "PACO_MODULES": MODULES, "OMPI_ALLOW_RUN_AS_ROOT": "1",
       "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
STEPS = 14


def inputs():
    """A model of several chunks of parameters, and words to be turned round."""
    cfg = dict(config(vocab=V, hidden=128, layers=3, heads=4, kv_heads=2, ff=352), max_position_embeddings=256)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    m = save(work("model"), llama(cfg), cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": settings})
    rng = random.Random(3)
    with open(work("data.jsonl"), "w", encoding="utf-8") as f:
        for _ in range(37):
            word = "".join(rng.choice("abcdefgh") for _ in range(rng.randint(2, 40)))
            f.write(json.dumps({"prompt": word + " ", "completion": word[::-1]}) + "\n")
    return m


def command(n, out, *more):
    args = [PACO, "finetune", "-m", work("model"), "--train_file", work("data.jsonl"), "--output_dir", out, "--learning_rate", "1e-3",
            "--num_train_epochs", "2", "--per_device_train_batch_size", "3", "--gradient_accumulation_steps", "2", "--warmup_ratio", "0.1",
            "--clip_grad_norm", "1", "--weight_decay", "0.1", *more]
    return ["mpirun", "--oversubscribe", "-n", str(n), *args] if n > 1 else args


def train(n, out, *more):
    return subprocess.run(command(n, out, *more), env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)


def read(*path):
    try:
        with open(os.path.join(*path), "rb") as f:
            return f.read()
    except OSError as e:
        return str(e)


def log(out):
    return [(s["step"], s["loss"], s["grad_norm"], s["learning_rate"], s["tokens"])
            for s in map(json.loads, (read(out, "train_log.jsonl") or b"").splitlines())]


def same(a, b):
    return read(a, "model.safetensors") == read(b, "model.safetensors") and log(a) == log(b)


def wait_for(path, p, seconds=60):
    end = time.time() + seconds
    while not os.path.exists(path) and p.poll() is None and time.time() < end:
        time.sleep(0.01)
    return os.path.exists(path)


def processes(path):
    """Processes of ours that were given path, by rank."""
    found = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        command_line, env = read("/proc", p, "cmdline"), read("/proc", p, "environ")
        if isinstance(env, bytes) and isinstance(command_line, bytes) and command_line.startswith(os.fsencode(PACO) + b"\0") and os.fsencode(path) in command_line:
            rank = re.search(rb"OMPI_COMM_WORLD_RANK=(\d+)", env)
            if rank:
                found[int(rank.group(1))] = int(p)
    return found
