# SPDX-License-Identifier: Apache-2.0
"""What the published weight-diff scripts do, restated: two whole float32 models in memory, through Transformers.

    python weight_diff_reference.py make_diff --recipe open-instruct|alpaca --raw R --tuned T --out D [--seed N] [--shard SIZE] [--safe]
    python weight_diff_reference.py recover --raw R --diff D --out T [--checksum] [--shard SIZE] [--safe]

Written from a description of their behaviour, not from their text. Runs under both stacks. Prints one line of JSON:
seconds, peak_rss_bytes, n_tensors and, if asked, checksum, the plain float32 sum over all tensors.

Where the recipes part: a base without a pad token gets one, and a row for it in both embeddings. recover always fills
the row with the mean of the others. make_diff does so as well in alpaca's recipe; in Open-Instruct's it leaves the random
row of the resize there, which --seed makes repeatable here.
"""
import argparse
import json
import resource
import time

import torch
import transformers

MODERN = int(transformers.__version__.split(".")[0]) >= 5


def load_model(path):
    """In float32 whatever is on disk."""
    dtype = {"dtype" if MODERN else "torch_dtype": torch.float32}
    return transformers.AutoModelForCausalLM.from_pretrained(path, low_cpu_mem_usage=True, **dtype)


def load_tokenizer(path):
    return transformers.AutoTokenizer.from_pretrained(path, use_fast=MODERN)


def add_pad(model, tokenizer, mean):
    """Give a tokenizer without a pad token one, and the model its row: random, then the mean if asked for."""
    if tokenizer.pad_token is not None:
        return
    n = tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model.resize_token_embeddings(len(tokenizer), **({"mean_resizing": False} if MODERN else {}))
    if not mean or n == 0:
        return
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        rows = embedding.weight.data
        rows[-n:] = rows[:-n].mean(dim=0, keepdim=True)


def combine(model, other, sign):
    """model += sign * other, tensor by tensor in state-dict order; a tensor with two names is met twice."""
    mine, theirs = model.state_dict(), other.state_dict()
    for name in mine:
        if mine[name].shape != theirs[name].shape:
            raise SystemExit("%s: %s against %s" % (name, tuple(mine[name].shape), tuple(theirs[name].shape)))
        mine[name].add_(sign * theirs[name])
    return len(mine)


def checksum(model):
    total = torch.zeros((), dtype=torch.float32)
    for tensor in model.state_dict().values():
        total += tensor.sum()
    return total.item()


def save(model, tokenizer, path, shard, safe):
    """In pickle format, as the scripts do, or safetensors; Transformers 5 knows only the latter."""
    kind = {} if MODERN else {"safe_serialization": safe}
    model.save_pretrained(path, max_shard_size=shard, **kind)
    tokenizer.save_pretrained(path)


def make_diff(args):
    tuned, raw = load_model(args.tuned), load_model(args.raw)
    tuned_tokenizer, raw_tokenizer = load_tokenizer(args.tuned), load_tokenizer(args.raw)
    torch.manual_seed(args.seed)
    add_pad(raw, raw_tokenizer, mean=args.recipe == "alpaca")
    n = combine(tuned, raw, -1)
    save(tuned, tuned_tokenizer, args.out, args.shard, args.safe)
    return {"n_tensors": n}


def recover(args):
    raw, diff = load_model(args.raw), load_model(args.diff)
    add_pad(raw, load_tokenizer(args.raw), mean=True)
    diff_tokenizer = load_tokenizer(args.diff)
    n = combine(diff, raw, 1)
    found = {"n_tensors": n}
    if args.checksum:
        found["checksum"] = checksum(diff)
    save(diff, diff_tokenizer, args.out, args.shard, args.safe)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["make_diff", "recover"])
    parser.add_argument("--recipe", choices=["open-instruct", "alpaca"])
    for name in ("raw", "tuned", "diff", "out"):
        parser.add_argument("--" + name)
    parser.add_argument("--shard", default="10GB")
    parser.add_argument("--safe", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checksum", action="store_true")
    args = parser.parse_args()
    started = time.monotonic()
    with torch.no_grad():
        found = make_diff(args) if args.task == "make_diff" else recover(args)
    found.update(seconds=round(time.monotonic() - started, 2),
                 peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    print(json.dumps(found))


main()
