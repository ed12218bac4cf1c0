# SPDX-License-Identifier: Apache-2.0
"""recover and diff, end to end, against the published scripts' algorithm on the stack they ran on.

Small random LLaMAs with LLaMA's real tokenizer (32000 pieces, no pad token) are saved by Transformers 4.28.1, as a base
and as a tuned model with one more row; weight_diff_reference.py makes the diff in both recipes and recovers it; paco
does the same. Every tensor must be equal bit for bit; the pad row within 1e-6, for its mean depends on how many threads
PyTorch has. Stack: era.
"""
import json
import shutil

import safetensors.torch
import torch
import transformers

from common import Failed, case, data, equal, expect, finish, note, paco, run_in, work

N_BASE = 32000
PAD = {"open-instruct": "<pad>", "alpaca": "[PAD]"}
EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")
PAD_TOLERANCE = 1e-6
INTEGER = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}


def tokenizer_dir(pad):
    """A folder with LLaMA's tokenizer; pad names its pad token, or is None for none."""
    out = work("tokenizer." + (pad or "none").strip("<>"))
    if not (out / "tokenizer_config.json").exists():
        source = work("tokenizer.source")
        shutil.copy(str(data("tokenizer/tokenizer.model")), str(source))
        tokenizer = transformers.LlamaTokenizer.from_pretrained(str(source))
        if pad:
            tokenizer.add_special_tokens({"pad_token": pad})
        tokenizer.save_pretrained(str(out))
    return out


def save(model, path, dtype, shard, safe, pad):
    model.to(dtype).save_pretrained(str(path), max_shard_size=shard, safe_serialization=safe)
    for file in tokenizer_dir(pad).iterdir():
        shutil.copy(str(file), str(path))


def make_pair(name, seed, raw, tuned, grow=True, pad="<pad>"):
    """A base and a tuned model; raw and tuned are (dtype, shard size, safetensors or not). pad is what the tuned one
    calls its pad token: paco tells the recipe by it."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(vocab_size=N_BASE, hidden_size=96, intermediate_size=264, num_hidden_layers=3,
                                      num_attention_heads=6, max_position_embeddings=256)
    model = transformers.LlamaForCausalLM(config)
    raw_dir, tuned_dir = work(name + "/raw"), work(name + "/tuned")
    save(model, raw_dir, *raw, pad=None if grow else "<unk>")
    model = transformers.LlamaForCausalLM.from_pretrained(str(raw_dir), torch_dtype=torch.float32)
    if grow:
        model.resize_token_embeddings(N_BASE + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    save(model, tuned_dir, *tuned, pad=pad if grow else "<unk>")
    return raw_dir, tuned_dir


def weight_files(path):
    return sorted(list(path.glob("*.safetensors")) + list(path.glob("*.bin")))


def tensors(path):
    """Every tensor of a model's folder."""
    found = {}
    for file in weight_files(path):
        part = (safetensors.torch.load_file(str(file)) if file.suffix == ".safetensors"
                else torch.load(str(file), map_location="cpu"))
        expect(not set(part) & set(found), "%s repeats tensors of another file" % file)
        found.update(part)
    return found


def same_bits(a, b):
    return torch.equal(a.view(INTEGER[a.dtype]), b.view(INTEGER[b.dtype]))


def compare(got, want, pad="near", ignore=()):
    """Hold two models' tensors together bit for bit. pad: what to ask of the added row: "exact", "near" or "free"."""
    got = {k: v for k, v in got.items() if not any(part in k for part in ignore)}
    want = {k: v for k, v in want.items() if not any(part in k for part in ignore)}
    equal("tensor names", sorted(got), sorted(want))
    worst = 0.0
    for name, theirs in want.items():
        mine = got[name]
        equal(name + ": dtype and shape", (mine.dtype, tuple(mine.shape)), (theirs.dtype, tuple(theirs.shape)))
        if pad != "exact" and name in EMBEDDINGS and theirs.shape[0] > N_BASE:
            worst = max(worst, (mine[N_BASE:] - theirs[N_BASE:]).abs().max().item())
            mine, theirs = mine[:N_BASE].contiguous(), theirs[:N_BASE].contiguous()
        if not same_bits(mine, theirs):
            at = (mine != theirs).nonzero()
            raise Failed("%s: %d of %d elements differ, first at %s: got %r, expected %r" % (
                name, len(at), mine.numel(), at[0].tolist(), mine[tuple(at[0])].item(), theirs[tuple(at[0])].item()))
    expect(pad != "near" or worst <= PAD_TOLERANCE, "the pad row is off by %g, more than %g" % (worst, PAD_TOLERANCE))
    return worst


def there_and_back(tuned, base):
    """(tuned - base) + base in float32, rows that the base lacks as they are."""
    out = tuned.clone()
    out[:len(base)] = (tuned[:len(base)] - base) + base
    return out


def upstream(task, shard="10GB", safe=False, **paths):
    argv = [task, "--shard", shard] + (["--safe"] if safe else [])
    for name, value in paths.items():
        argv += ["--" + name, value]
    return run_in("era", "weight_diff_reference.py", *argv)


SPELLINGS = [("--raw", "--diff", "--out"), ("--path_raw", "--path_diff", "--path_tuned"),
             ("--base-model-path", "--delta-path", "--target-model-path")]

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
# name, recipe, the base, the tuned model, (shard, safetensors) of the diff
PAIRS = [
    ("whole .bin, f16 base, bf16 tuned", "open-instruct", (F16, "10GB", False), (BF16, "10GB", False), ("10GB", False)),
    ("sharded .bin, f16 base, f32 tuned", "open-instruct", (F16, "7MB", False), (F32, "20MB", False), ("14MB", False)),
    ("safetensors, f16 base, bf16 tuned", "open-instruct", (F16, "10GB", True), (BF16, "10GB", True), ("10GB", True)),
    ("whole .bin, f16 base, bf16 tuned", "alpaca", (F16, "10GB", False), (BF16, "10GB", False), ("10GB", False)),
    ("sharded safetensors, f32 base, f16 tuned", "alpaca", (F32, "20MB", True), (F16, "7MB", False), ("14MB", True)),
    ("shards smaller than the embedding, bf16 base", "alpaca", (BF16, "2MB", False), (F32, "2MB", True), ("2MB", False)),
]


def round_trip(i, recipe, raw, tuned, diff_kind):
    """Every comparison for one pair."""
    name = "pair%d" % i
    raw_dir, tuned_dir = make_pair(name, 100 + i, raw, tuned, pad=PAD[recipe])
    diff, recovered = work(name) / "diff", work(name) / "recovered"
    upstream("make_diff", *diff_kind, recipe=recipe, raw=raw_dir, tuned=tuned_dir, out=diff)
    upstream("recover", raw=raw_dir, diff=diff, out=recovered)

    mine = work(name) / "paco-recovered"
    flags = SPELLINGS[i % len(SPELLINGS)]
    outcome = paco("recover", flags[0], raw_dir, flags[1], diff, flags[2], mine)
    worst = compare(tensors(mine), tensors(recovered))
    note("recover: %d tensors equal; pad row off by at most %g; peak %.1f MiB"
         % (outcome.json["n_tensors"], worst, outcome.json["peak_rss_bytes"] / 2**20))
    equal("undefined_rows reported", bool(outcome.json["undefined_rows"]), recipe == "open-instruct")

    mine_diff, again = work(name) / "paco-diff", work(name) / "paco-again"
    paco("diff", "--raw", raw_dir, "--tuned", tuned_dir, "--out", mine_diff)
    compare(tensors(mine_diff), tensors(diff), pad="near" if recipe == "alpaca" else "free")
    # Our own diff takes the same mean on both sides, so that the pad row comes back too. Two roundings lie on the way: where
    # a weight is much smaller than the base's, its last bits are lost, and no float32 diff could have kept them.
    outcome = paco("recover", "--raw", raw_dir, "--diff", mine_diff, "--out", again)
    equal("undefined_rows of our own diff", outcome.json["undefined_rows"], [])
    base, target = tensors(raw_dir), {k: v.float() for k, v in tensors(tuned_dir).items()}
    compare(tensors(again), {k: there_and_back(v, base[k].float()) for k, v in target.items()})
    got = tensors(again)
    n, off = sum(v.numel() for v in target.values()), sum((got[k] != v).sum().item() for k, v in target.items())
    note("diff, recover: %d of %d elements are not the tuned model's own" % (off, n))

    # And the era's Transformers opens what we wrote.
    loaded = transformers.AutoModelForCausalLM.from_pretrained(str(mine), torch_dtype=F32).state_dict()
    compare(loaded, tensors(mine), pad="exact")


def main():
    for i, (name, recipe, raw, tuned, diff_kind) in enumerate(PAIRS):
        with case("%s: %s" % (recipe, name)):
            round_trip(i, recipe, raw, tuned, diff_kind)

    with case("a base with a pad token of its own does not grow"):
        raw_dir, tuned_dir = make_pair("own-pad", 7, (F16, "10GB", False), (F32, "10GB", False), grow=False)
        top = work("own-pad")
        upstream("make_diff", recipe="open-instruct", raw=raw_dir, tuned=tuned_dir, out=top / "diff")
        upstream("recover", raw=raw_dir, diff=top / "diff", out=top / "recovered")
        paco("recover", "--raw", raw_dir, "--diff", top / "diff", "--out", top / "mine")
        compare(tensors(top / "mine"), tensors(top / "recovered"), pad="exact")

    with case("a base without inv_freq, a diff with it"):
        raw_dir, tuned_dir = make_pair("no-inv-freq", 8, (F16, "10GB", False), (BF16, "10GB", False))
        top = work("no-inv-freq")
        kept = {k: v for k, v in tensors(raw_dir).items() if "inv_freq" not in k}
        torch.save(kept, str(raw_dir / "pytorch_model.bin"))
        upstream("make_diff", recipe="alpaca", raw=raw_dir, tuned=tuned_dir, out=top / "diff")
        upstream("recover", raw=raw_dir, diff=top / "diff", out=top / "recovered")
        paco("recover", "--raw", raw_dir, "--diff", top / "diff", "--out", top / "mine")
        compare(tensors(top / "mine"), tensors(top / "recovered"))

    with case("a .bin written by paco, with upstream's shards"):
        top = work("bin")
        raw_dir, tuned_dir = make_pair("bin", 9, (F16, "10GB", False), (BF16, "10GB", False))
        upstream("make_diff", recipe="alpaca", raw=raw_dir, tuned=tuned_dir, out=top / "diff")
        upstream("recover", shard="14MB", raw=raw_dir, diff=top / "diff", out=top / "recovered")
        paco("recover", "--raw", raw_dir, "--diff", top / "diff", "--out", top / "mine", "--format", "bin",
             "--max-shard", "14MB")
        compare(tensors(top / "mine"), tensors(top / "recovered"))
        index = "pytorch_model.bin.index.json"
        equal(index, json.loads((top / "mine" / index).read_text()), json.loads((top / "recovered" / index).read_text()))
        loaded = transformers.AutoModelForCausalLM.from_pretrained(str(top / "mine"), torch_dtype=F32).state_dict()
        compare(loaded, tensors(top / "mine"), pad="exact")


transformers.utils.logging.disable_progress_bar()
main()
finish()
