# SPDX-License-Identifier: Apache-2.0
"""What a step of training costs, side by side: PyTorch with Transformers (and PEFT) under BF16 autocast, and paco, on the same examples.

SmolLM2-135M, four examples of 512 tokens a step, AdamW with states in F32; every weight, and LoRA of rank 8 beside all matrices. The two
take turns, the order exchanged each time, each run a process of its own: its first step is not timed, of the others the median is, and
its peak memory is the process's. A ratio is the median of the pairs' ratios. The peer has what makes it faster: scaled_dot_product_attention,
the fused AdamW, no padding, no gradient norm. Losses are compared step by step; both begin from the same adapter, whose A and B are random.

The limit is the machine's BF16 peak, measured before and after (`paco bench`), over six operations for each weight and token, or four where
the weight stays. Examples are pieces of this tree's documentation. The machine should have nothing else to do.

Environment, beside common.py's
    PACO_COST_PAIRS  pairs of runs (default: 3)
    PACO_COST_UNDER  words before both programs, such as "chrt -r 1"
Stack: today.
"""
import json
import math
import os
import pathlib
import statistics
import sys
import tempfile
import time

from common import ROOT, binary, case, default_model, expect, finish, measure, note, paco, work

BATCH, LENGTH, STEPS, RATE, RANK = 4, 512, 4, 2e-5, 8
PAIRS = int(os.environ.get("PACO_COST_PAIRS") or 3)
UNDER = (os.environ.get("PACO_COST_UNDER") or "").split()
LORA = ["--use_lora", "--lora_dropout", 0]


# ---- the peer: this script again, in a process that does nothing else ----

def peer_model(model, adapter):
    """A model to be trained: its own weights, or an adapter's."""
    import torch
    import transformers
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if adapter:
        from peft import PeftModel
        loaded = PeftModel.from_pretrained(loaded, adapter, is_trainable=True)
    return loaded.train()


def peer_batches(model, data):
    """Ids and labels of each step: prompts are not trained."""
    import torch
    import transformers
    tok = transformers.AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line) for line in pathlib.Path(data).read_text().splitlines()]
    for first in range(0, BATCH * STEPS, BATCH):
        step = rows[first:first + BATCH]
        ids = torch.tensor([tok(r["prompt"] + " " + r["completion"])["input_ids"][:LENGTH] for r in step])
        labels = ids.clone()
        for i, r in enumerate(step):
            labels[i, :len(tok(r["prompt"])["input_ids"])] = -100
        yield ids, labels


def peer(model, data, adapter=None):
    """Print seconds and losses of the steps."""
    import torch
    tuned = peer_model(model, adapter)
    adam = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0, fused=True)
    seconds, losses = [], []
    for ids, labels in peer_batches(model, data):
        begin = time.monotonic()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = tuned(input_ids=ids, labels=labels).loss
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        seconds.append(time.monotonic() - begin)
    print(json.dumps({"seconds": seconds, "losses": losses}))


def make_adapter(model, to):
    """PEFT's, with a B that is not zero, so that all of it is at work from the first step on."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model
    torch.manual_seed(7)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), config)
    with torch.no_grad():
        for key, p in tuned.named_parameters():
            if "lora_B" in key:
                p.copy_(0.01 * torch.randn_like(p))
    tuned.save_pretrained(to)


# ---- the two, in turns ----

class Run:
    """A process: seconds a step, losses, peak memory in bytes."""

    def __init__(self, name, seconds, losses, memory):
        self.seconds, self.losses, self.memory = statistics.median(seconds[1:]), losses, memory
        note("%s: %s s; %.2f GB" % (name, ", ".join("%.2f" % s for s in seconds), memory / 1e9))


def started(argv):
    done = measure([*UNDER, *argv])
    expect(done.code == 0, "%s: exit %d: %s" % (argv[0], done.code, done.stderr.strip()[-800:]))
    return done


def theirs(model, data, adapter):
    done = started([sys.executable, __file__, "peer", model, data, *([adapter] if adapter else [])])
    return Run("PyTorch", done.json["seconds"], done.json["losses"], done.peak_rss)


def ours(model, data, adapter, *flags):
    with tempfile.TemporaryDirectory(dir=work()) as out:
        done = started([binary(), "finetune", "-q", "-m", model, "--train_file", data, "-o", out, "--no_shuffle", "--max_seq_length", LENGTH,
                        "--per_device_train_batch_size", BATCH, "--max_train_steps", STEPS, "--learning_rate", RATE,
                        "--lr_scheduler_type", "constant", "--report_to", "none", "--force",
                        *(["--init_adapter", adapter, *LORA] if adapter else []), *flags])
        log = [json.loads(line) for line in (pathlib.Path(out) / "train_log.jsonl").read_text().splitlines()]
    expect(all(line["tokens"] == BATCH * LENGTH for line in log), "steps of %s tokens" % [line["tokens"] for line in log])
    return Run("paco", [line["seconds"] for line in log], [line["loss"] for line in log], done.peak_rss)


def peak():
    """BF16 operations in a second, all threads."""
    return started([binary(), "bench", "-q", "--json"]).json["machine"]["bf16_flop_s"]


def same_losses(a, b):
    """The first of the same weights, the others behind updates that rounding leads a little apart."""
    off = [abs(x / y - 1) for x, y in zip(a.losses, b.losses)]
    expect(len(off) == STEPS and off[0] < 2e-3 and max(off) < 1e-2, "losses %s, the peer has %s" % (a.losses, b.losses))
    return max(off)


def compare(what, files, flops, goals):
    """Pairs; goals: times faster, part of the memory. Returns the peer's memory."""
    limit, pairs = peak(), []
    for i in range(PAIRS):
        order = [theirs, ours] if i % 2 == 0 else [ours, theirs]
        runs = {run: run(*files) for run in order}
        pairs.append((runs[theirs], runs[ours]))
    limit = max(limit, peak())
    ratios = sorted(a.seconds / b.seconds for a, b in pairs)
    ratio, off = statistics.median(ratios), max(same_losses(b, a) for a, b in pairs)
    a, b = ([statistics.median(getattr(p[k], of) for p in pairs) for of in ("seconds", "memory")] for k in (0, 1))
    tokens = BATCH * LENGTH
    note("%s: PyTorch %.2f s a step (%.0f tokens/s), %.2f GB; paco %.2f s (%.0f tokens/s), %.2f GB" % (
        what, a[0], tokens / a[0], a[1] / 1e9, b[0], tokens / b[0], b[1] / 1e9))
    note("%s: %.2f times faster (%.2f to %.2f in %d pairs), %.2f of the memory; losses within %.1e" % (
        what, ratio, ratios[0], ratios[-1], PAIRS, b[1] / a[1], off))
    note("%s: %.0f %% of %.0f GFLOP/s in BF16; PyTorch %.0f %%" % (
        what, 100 * flops / b[0] / limit, limit / 1e9, 100 * flops / a[0] / limit))
    expect(ratio >= goals[0], "%.2f times faster, not %.1f" % (ratio, goals[0]))
    expect(b[1] <= goals[1] * a[1], "%.2f of the memory, more than %.2f" % (b[1] / a[1], goals[1]))
    return a[1]


def make_data():
    """Pieces of the documentation, each longer than it may be."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
    size = 8 * LENGTH
    pieces = [text[i:i + size].strip() for i in range(0, len(text) - size, size)][:BATCH * STEPS]
    expect(len(pieces) == BATCH * STEPS, "only %d examples in docs" % len(pieces))
    path = work() / "examples.jsonl"
    path.write_text("".join(json.dumps({"prompt": "Continue:", "completion": p}) + "\n" for p in pieces))
    return path


def main():
    os.environ["HF_HUB_OFFLINE"] = "1"
    model, adapter, data = work() / "model", work() / "adapter", make_data()
    paco("convert", default_model(), "--out", model, "--to", "hf", "--type", "f32", "-q")
    started([sys.executable, __file__, "adapter", model, adapter])
    weights, factors = ((path / name).stat().st_size / 4 for path, name in (
        (model, "model.safetensors"), (adapter, "adapter_model.safetensors")))
    tokens, memory = BATCH * LENGTH, math.nan
    with case("every weight: PyTorch under autocast and paco"):
        memory = compare("every weight", (model, data, None), 6 * weights * tokens, (2, 0.45))
    with case("every weight, AdamW's means in BF16: memory"):
        run = ours(model, data, None, "--optim_states", "bf16")
        note("%.2f s a step, %.2f GB: %.2f of PyTorch's with F32 states" % (run.seconds, run.memory / 1e9, run.memory / memory))
        expect(run.memory <= 0.4 * memory, "%.2f of the memory, more than 0.4" % (run.memory / memory))
    with case("LoRA of rank 8 beside all matrices: PEFT under autocast and paco"):
        compare("LoRA", (model, data, adapter), (4 * weights + 6 * factors) * tokens, (3, 0.4))


if __name__ == "__main__":
    if sys.argv[1:2] == ["peer"]:
        peer(*sys.argv[2:])
    elif sys.argv[1:2] == ["adapter"]:
        make_adapter(*sys.argv[2:])
    else:
        main()
        finish()
