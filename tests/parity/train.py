# SPDX-License-Identifier: Apache-2.0
"""`paco finetune` against PyTorch in float32: 100 steps, loss within 1e-4 and gradient norm within 1e-3 of each step.

Small random models of several shapes, trained on prompt and completion examples in the file's order. The reference runs every
example by itself, in float32, and adds up what the step's examples weigh; its norm is taken in double. Norms of float32 sums
as torch takes them are off by up to 1e-3 by themselves.

Also: that upstream's way (the mean of micro-batch means, decayed norms) is what --upstream-quirks does, that clipping is
torch's, and that the weights at the end are those of the reference."""
import json
import math
import random

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, get_scheduler

from common import case, expect, finish, note, paco, work
from random_model import random_llama

torch.set_num_threads(2)
STEPS = 100
SMALL = dict(hidden_size=48, intermediate_size=128, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, vocab_size=320,
             max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True)
WORDS = ("the a of and to in is was red green blue old new small large house river bird tree stone road name sum list number city "
         "write find sort say make count tell explain why how what who where answer question true false yes no").split()


def tokenizer():
    """A byte-level BPE of a few hundred tokens, learned from the words."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=SMALL["vocab_size"], special_tokens=["<unk>", "<s>", "</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>")


def make_data(seed, n):
    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        prompt = " ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 14)))
        answer = " ".join(sorted(prompt.split())[: draw.randint(1, 9)]) + draw.choice([".", "!", ""])
        rows.append({"prompt": prompt + draw.choice([":", "\n", "?"]), "completion": answer})
    path = work() / ("data-%d.jsonl" % seed)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path, rows


def encode(tok, row, longest):
    """Upstream's prompt and completion encoding."""
    gap = "" if row["prompt"].endswith((" ", "\n", "\t")) or row["completion"].startswith((" ", "\n", "\t")) else " "
    ids = tok(row["prompt"] + gap + row["completion"] + tok.eos_token)["input_ids"][:longest]
    n = len(tok(row["prompt"])["input_ids"][:longest])
    return ids, [-100] * n + ids[n:]


def make_model(name, changes):
    model = random_llama(name, {**SMALL, **changes})
    where = work() / name
    model.save_pretrained(where)
    tok = tokenizer()
    tok.save_pretrained(where)
    return where, model, tok


def losses_of(model, ids, labels):
    logits = model(torch.tensor([ids])).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(labels[1:]), reduction="sum", ignore_index=-100)


def trained(labels):
    return sum(label != -100 for label in labels[1:])


def reference(model, examples, batch, accumulation, quirks=False, rate=1e-3, schedule="linear", warmup=0.0, decay=0.0, clip=0.0):
    """Loss, norm and learning rate of each step."""
    per_epoch = math.ceil(math.ceil(len(examples) / batch) / accumulation)
    groups, learned = [[], []], []
    for key, p in model.named_parameters():
        if p.requires_grad:
            learned.append(p)
            groups["bias" in key or (not quirks and "norm" in key)].append(p)
    adam = torch.optim.AdamW([{"params": groups[0], "weight_decay": decay}, {"params": groups[1], "weight_decay": 0.0}], lr=rate)
    ticks = get_scheduler(schedule, adam, int(STEPS * warmup), STEPS)
    for k in range(STEPS):
        first = k % per_epoch * batch * accumulation
        step = examples[first:first + batch * accumulation]
        parts = [step[i:i + batch] for i in range(0, len(step), batch)] if quirks else [step]
        total = 0.0
        for part in parts:
            n = sum(trained(labels) for _, labels in part) * (accumulation if quirks else 1)
            for ids, labels in part:
                loss = losses_of(model, ids, labels) / n
                loss.backward()
                total += float(loss.detach().double())
        norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in learned))
        for p in learned if clip else []:
            p.grad.mul_(min(1.0, clip / (norm + 1e-6)))
        yield total, norm, adam.param_groups[0]["lr"]
        adam.step()
        ticks.step()
        adam.zero_grad()


def tune(where, name, data, batch, accumulation, quirks=False, rate=1e-3, schedule="linear", warmup=0.0, decay=0.0, clip=0.0, more=()):
    """The folder that paco finetune makes with the same settings."""
    out = work() / (name + "-tuned")
    paco("finetune", "-m", where, "--train_file", data, "-o", out, "--dtype", "f32", "--no_shuffle", "--max_train_steps", STEPS,
         "--per_device_train_batch_size", batch, "--gradient_accumulation_steps", accumulation, "--learning_rate", rate,
         "--lr_scheduler_type", schedule, "--warmup_ratio", warmup, "--weight_decay", decay, "--clip_grad_norm", clip,
         *(["--upstream-quirks"] if quirks else []), *more, json=False)
    return out


def follow(model, examples, out, batch, accumulation, rate=1e-3, **settings):
    """Hold the log in out against the reference, step by step."""
    log = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    expect(len(log) == STEPS, "%d lines in the log" % len(log))
    worst = [0.0, 0.0]
    for k, (loss, norm, lr) in enumerate(reference(model, examples, batch, accumulation, rate=rate, **settings)):
        off = [abs(log[k]["loss"] / loss - 1), abs(log[k]["grad_norm"] / norm - 1), abs(log[k]["learning_rate"] - lr) / rate]
        worst = [max(a, b) for a, b in zip(worst, off)]
        expect(off[0] < 1e-4, "step %d: loss %.9g, the reference has %.9g" % (k + 1, log[k]["loss"], loss))
        expect(off[1] < 1e-3, "step %d: norm %.9g, the reference has %.9g" % (k + 1, log[k]["grad_norm"], norm))
        expect(off[2] < 1e-9, "step %d: rate %.9g, the reference has %.9g" % (k + 1, log[k]["learning_rate"], lr))
    return worst + [log[0]["loss"], log[-1]["loss"]]


def compare(before, tuned, want):
    """How far apart the weights end, of the way they went."""
    apart = moved = 0.0
    for key, p in want.items():
        expect(tuned[key].dtype == torch.float32, "%s is %s" % (key, tuned[key].dtype))
        apart += float((tuned[key].double() - p.detach().double()).square().sum())
        moved += float((tuned[key].double() - before[key].double()).square().sum())
    expect(apart < 1e-4 * moved, "the weights end %g of their way apart" % math.sqrt(apart / moved))
    return math.sqrt(apart / moved)


def hold(name, changes, batch, accumulation, longest=512, **settings):
    where, model, tok = make_model(name, changes)
    data, rows = make_data(len(name), 61)
    examples = [e for e in (encode(tok, row, longest) for row in rows) if trained(e[1])]
    out = tune(where, name, data, batch, accumulation, more=["--max_seq_length", longest], **settings)
    off = follow(model, examples, out, batch, accumulation, **settings)
    apart = compare(load_file(where / "model.safetensors"), load_file(out / "model.safetensors"), dict(model.named_parameters()))
    note("loss off by %.1e, norm by %.1e; weights apart by %.1e of their way; loss %.3f to %.3f" % (*off[:2], apart, *off[2:]))


def hold_adapter(name, changes, targets, rank, alpha, batch, accumulation, **settings):
    """From an adapter that PEFT made, and back into PEFT."""
    from peft import LoraConfig, PeftModel, get_peft_model
    where, model, tok = make_model(name, changes)
    data, rows = make_data(len(name), 61)
    examples = [e for e in (encode(tok, row, 512) for row in rows) if trained(e[1])]
    tuned = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for key, p in tuned.named_parameters():
            if "lora_B" in key:
                p.copy_(0.05 * torch.randn_like(p))
    first = work() / (name + "-first")
    tuned.save_pretrained(first)
    out = tune(where, name, data, batch, accumulation, more=["--init_adapter", first, "--lora_dropout", 0], **settings)
    off = follow(tuned, examples, out, batch, accumulation, **settings)
    want = {key.replace(".default", ""): p for key, p in tuned.named_parameters() if p.requires_grad}
    apart = compare(load_file(first / "adapter_model.safetensors"), load_file(out / "adapter_model.safetensors"), want)
    again = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(where), out).eval()
    merged = work() / (name + "-merged")
    paco("merge", "-m", where, "--adapter", out, "--out", merged, json=False)
    with torch.no_grad():
        ids = torch.tensor([examples[0][0]])
        far = float((again(ids).logits - LlamaForCausalLM.from_pretrained(merged)(ids).logits).abs().max())
        near = float((again(ids).logits - tuned.eval()(ids).logits).abs().max())
    expect(far < 1e-4 and near < 1e-3, "logits: merged %g, PEFT's own %g apart" % (far, near))
    note("loss off by %.1e, norm by %.1e; factors apart by %.1e of their way; loss %.3f to %.3f; PEFT loads it: logits within %.1e"
         % (*off[:2], apart, *off[2:], far))


with case("tied, one example a micro-batch"):
    hold("tied", {}, 1, 4)
with case("untied, warm-up, cosine, clipping"):
    hold("untied", dict(tie_word_embeddings=False, num_key_value_heads=6), 4, 2, schedule="cosine", warmup=0.1, clip=1.0)
with case("biases, decay"):
    hold("biases", dict(attention_bias=True, mlp_bias=True, num_hidden_layers=3), 8, 1, decay=0.1)
with case("cut off at 12 tokens, one key/value head"):
    hold("short", dict(num_key_value_heads=1), 3, 2, longest=12, schedule="constant")
with case("upstream's quirks"):
    hold("quirks", dict(num_attention_heads=3, num_key_value_heads=3), 2, 3, quirks=True, decay=0.1, schedule="polynomial", warmup=0.03)
with case("an adapter beside q and v"):
    hold_adapter("adapter", {}, ["q_proj", "v_proj"], 4, 8, 2, 2, schedule="cosine", warmup=0.03)
with case("an adapter beside everything, biases, clipping, decay"):
    hold_adapter("adapters", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
                 ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], 6, 3, 4, 1, rate=5e-3, clip=0.5, decay=0.1)
finish()
