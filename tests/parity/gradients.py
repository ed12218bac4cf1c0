# SPDX-License-Identifier: Apache-2.0
"""Gradients of every parameter against PyTorch's in float64, tensor by tensor: the norm of the difference is within 1e-4 of
the gradient's in F32, and in BF16 what PyTorch's own autocast makes it, about. PyTorch's float32 is shown beside it.

Small random models of every shape, and the default model."""
import json
import random
import statistics
import subprocess

import numpy
import torch
import transformers
from transformers import AutoModelForCausalLM

from common import Failed, binary, case, default_model, expect, finish, note, work
from random_model import random_llama

torch.set_num_threads(2)
print("torch %s, transformers %s" % (torch.__version__, transformers.__version__), flush=True)
LIMIT = 1e-4
SMALL = dict(hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=8, vocab_size=320,
             max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
MODELS = {
    "mha": {},
    "gqa": dict(num_key_value_heads=2),
    "mqa": dict(num_key_value_heads=1, hidden_size=72, num_attention_heads=6),
    "tied": dict(tie_word_embeddings=True),
    "biases": dict(attention_bias=True, mlp_bias=True, num_key_value_heads=4),
    "odd": dict(hidden_size=42, intermediate_size=37, num_attention_heads=3, num_key_value_heads=3, vocab_size=331),
    "head6": dict(hidden_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=6, rms_norm_eps=1e-6),
    "llama3": dict(rope_parameters=LLAMA3, num_key_value_heads=2),
}


def make(name, changes):
    return random_llama(name, {**SMALL, **changes}, embedding=0.5)


def examples(lengths, vocab, seed):
    """Random tokens; the first third of each example is not trained, nor is the last row."""
    pick = random.Random(seed)
    batch = []
    for n in lengths:
        ids = [pick.randrange(vocab) for _ in range(n)]
        labels = [ids[t + 1] if t + 1 < n and t >= n // 3 else -100 for t in range(n)]
        batch.append(dict(ids=ids, labels=labels, weights=[1 / (2 + t % 3) for t in range(n)]))
    return batch


def reference(model, batch, autocast=False):
    """Losses, and gradients by name, in the model's own precision or with BF16 operands."""
    model.zero_grad()
    losses = []
    for e in batch:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = model(torch.tensor([e["ids"]])).logits[0]
        logits = logits.float() if autocast else logits
        rows = torch.nn.functional.cross_entropy(logits, torch.tensor(e["labels"]), reduction="none", ignore_index=-100)
        # the weights are exact in float32, as paco has them
        weights = torch.tensor(numpy.array(e["weights"], dtype=numpy.float32)).to(rows.dtype)
        (rows * weights).sum().backward()
        losses.append(float(rows.sum().detach()))
    return losses, {k: p.grad.detach().double().numpy() for k, p in model.named_parameters()}


def dump(where, batch, dtype, threads=2):
    program = binary().parent / "tests" / "parity" / "dump_gradients"
    if not program.exists():
        raise Failed("no %s: build the tests (ninja)" % program)
    (work() / "batch.json").write_text(json.dumps(dict(examples=batch)))
    out = work() / "gradients.bin"
    done = subprocess.run([str(program), str(where), str(work() / "batch.json"), str(threads), dtype, str(out)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Failed(done.stderr.decode())
    answer = json.loads(done.stdout)
    flat = numpy.fromfile(out, dtype=numpy.float32)
    return answer["losses"], {k: flat[at:at + n] for k, (at, n) in answer["tensors"].items()}, flat


def off(got, want):
    size = numpy.linalg.norm(want)
    return float(numpy.linalg.norm(got.astype(numpy.float64).ravel() - want.ravel()) / size) if size else float(numpy.abs(got).max())


def errors_of(got, want):
    expect(sorted(got) == sorted(want), "other tensors: %s" % sorted(set(got) ^ set(want)))
    errors = {k: off(got[k], want[k]) for k in want}
    return max(errors.values()), statistics.median(errors.values()), max(errors, key=errors.get)


def compare(where, model, batch, bf16=True):
    # a model from a GGUF file refuses its own .double(), torch's does what is asked
    want_losses, want = reference(torch.nn.Module.double(model), batch)
    own = errors_of(reference(torch.nn.Module.float(model), batch)[1], want)
    cast = errors_of(reference(model, batch, autocast=True)[1], want)
    for dtype, theirs in (("f32", own), ("bf16", cast))[:2 if bf16 else 1]:
        losses, got, flat = dump(where, batch, dtype)
        worst, median, name = errors_of(got, want)
        loss = max(abs(a - b) / max(1, abs(b)) for a, b in zip(losses, want_losses))
        note("%s: largest error of %d tensors %.1e (%s), median %.1e; PyTorch's %.1e, %.1e; of a loss %.1e" %
             (dtype, len(want), worst, name, median, theirs[0], theirs[1], loss))
        expect(worst <= (LIMIT if dtype == "f32" else 2 * theirs[0]), "%s is off by %.3g of its norm" % (name, worst))
        expect(dtype == "f32" or median <= 1.2 * theirs[1], "median error %.3g, PyTorch's %.3g" % (median, theirs[1]))
        expect(loss <= (1e-5 if dtype == "f32" else 0.02), "losses are off by %.3g" % loss)
        expect((dump(where, batch, dtype, threads=1)[2] == flat).all(), "one thread gives other bytes than two")


for name, changes in MODELS.items():
    with case("gradients: %s" % name):
        model = make(name, changes)
        where = work(name)
        model.save_pretrained(where)
        batch = examples([1, 5, 33, 70], model.config.vocab_size, name)
        compare(where, model, batch)

with case("gradients: over a segment of keys"):
    model = make("long", dict(num_key_value_heads=2, num_hidden_layers=1))
    where = work("long")
    model.save_pretrained(where)
    compare(where, model, examples([300], model.config.vocab_size, 5), bf16=False)

with case("gradients: the default model"):
    path = default_model()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    batch = examples([60, 40], model.config.vocab_size, 9)
    compare(path, model, batch)

finish()
