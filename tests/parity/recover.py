# SPDX-License-Identifier: Apache-2.0
"""recover and diff on random state dicts, against the same arithmetic in PyTorch, bit for bit.

What era_recover.py shows on the scripts' own stack for whole models, this shows for everything a folder may look like: any
mixture of element types, any container and sharding on either side, tied models, buffers, narrow outputs, pad rows of
vocabularies large enough for every level of the mean's cascade. Stack: today.
"""
import itertools
import json
import random

import safetensors.torch
import torch

from common import case, equal, expect, finish, note, paco, work

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
F32, F16, BF16, F64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
torch.set_num_threads(1)  # the mean's order, where a thread's share of the columns ends, depends on it


def shapes(vocab, width, inner, layers):
    yield EMBED, (vocab, width)
    for n in range(layers):
        p = "model.layers.%d." % n
        for x in "qkvo":
            yield p + "self_attn.%s_proj.weight" % x, (width, width)
        yield p + "mlp.gate_proj.weight", (inner, width)
        yield p + "mlp.down_proj.weight", (width, inner)
        yield p + "mlp.up_proj.weight", (inner, width)
        yield p + "input_layernorm.weight", (width,)
        yield p + "post_attention_layernorm.weight", (width,)
    yield "model.norm.weight", (width,)
    yield HEAD, (vocab, width)


def base_model(vocab, width, inner, layers, dtypes, seed):
    g = torch.Generator().manual_seed(seed)
    pick = random.Random(seed)
    out = {}
    for name, shape in shapes(vocab, width, inner, layers):
        values = torch.randn(shape, generator=g) * 0.02 + (1 if len(shape) == 1 else 0)
        out[name] = values.to(pick.choice(dtypes))
    return out


def with_mean(rows, n):
    """rows with their mean n times behind them."""
    return torch.cat([rows, rows.mean(dim=0, keepdim=True).expand(n, -1)])


def add(base, diff, times=1):
    """recover: diff[key] += raw[key], all in F32."""
    out = {}
    for name, d in diff.items():
        b = base[name].float()
        if b.shape != d.shape:
            b = with_mean(b, d.shape[0] - b.shape[0])
        d = d.float().clone()
        for _ in range(times if name in (EMBED, HEAD) else 1):
            d += b
        out[name] = d
    return out


def tuned_model(base, n_new, dtypes, seed):
    g = torch.Generator().manual_seed(seed)
    pick = random.Random(seed)
    out = {}
    for name, b in base.items():
        b = b.float()
        if n_new and name in (EMBED, HEAD):
            b = torch.cat([b, torch.randn(n_new, b.shape[1], generator=g) * 0.02])
        out[name] = (b + torch.randn(b.shape, generator=g) * 1e-3).to(pick.choice(dtypes))
    return out


def write(path, model, container, n_files, seed, config):
    """A folder with model in n_files files; names go to files, and stand in them, in random order."""
    path.mkdir(parents=True)
    names = list(model)
    random.Random(seed).shuffle(names)
    parts = [names[i::n_files] for i in range(n_files)]
    stem, suffix = ("model", "safetensors") if container == "safetensors" else ("pytorch_model", "bin")
    weight_map = {}
    for i, part in enumerate(parts):
        file = "%s.%s" % (stem, suffix) if n_files == 1 else "%s-%05d-of-%05d.%s" % (stem, i + 1, n_files, suffix)
        tensors = {n: model[n].contiguous() for n in part}
        if container == "safetensors":
            safetensors.torch.save_file(tensors, str(path / file), metadata={"format": "pt"})
        else:
            torch.save(tensors, str(path / file), _use_new_zipfile_serialization=container == "zip")
        weight_map.update(dict.fromkeys(part, file))
    if n_files > 1:
        size = sum(t.numel() * t.element_size() for t in model.values())
        (path / ("%s.%s.index.json" % (stem, suffix))).write_text(
            json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}))
    (path / "config.json").write_text(json.dumps(config))
    return path


def config(vocab, width, inner, layers, tied=False):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": width,
            "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 2, "rms_norm_eps": 1e-6,
            "tie_word_embeddings": tied}


def pad_token(path, name, at):
    (path / "tokenizer_config.json").write_text(json.dumps({"pad_token": name}))
    (path / "added_tokens.json").write_text(json.dumps({name: at}))


def tensors(path):
    found = {}
    for file in sorted(path.glob("*.safetensors")):
        found.update(safetensors.torch.load_file(str(file)))
    for file in sorted(path.glob("*.bin")):
        found.update(torch.load(str(file), weights_only=True))
    return found


def same(got, want):
    equal("tensor names", sorted(got), sorted(want))
    bits = {F32: torch.int32, F16: torch.int16, BF16: torch.int16, F64: torch.int64}
    for name, t in want.items():
        equal(name + ": dtype", got[name].dtype, t.dtype)
        equal(name + ": shape", got[name].shape, t.shape)
        a, b = (x.contiguous().view(bits[t.dtype]) if t.dtype in bits else x for x in (got[name], t))
        if not torch.equal(a, b):
            at = (a != b).nonzero()
            raise AssertionError("%s: %d of %d elements differ, first at %s: %r, expected %r" % (
                name, len(at), t.numel(), at[0].tolist(), got[name][tuple(at[0])].item(), t[tuple(at[0])].item()))


# PyTorch sums columns behind the last multiple of 64 in another order: here there are none, in means() there are.
SIZE = dict(vocab=1500, width=64, inner=100, layers=2)
KINDS = [("safetensors", 1), ("safetensors", 3), ("zip", 1), ("zip", 4), ("legacy", 2)]
MIXES = [(F16,), (BF16,), (F32,), (F16, BF16, F32, F64)]


def folders():
    n = 0
    for (raw_kind, diff_kind), mix in zip(itertools.product(KINDS, KINDS), itertools.cycle(MIXES)):
        n += 1
        name = "%s/%d + %s/%d, %s" % (*raw_kind, *diff_kind, " ".join(str(d).split(".")[1] for d in mix))
        with case(name):
            top = work("folders%d" % n)
            base = base_model(dtypes=mix, seed=n, **SIZE)
            tuned = tuned_model(base, 1, MIXES[n % 3], n + 1000)
            diff = {k: t.float() - (base[k].float() if base[k].shape == t.shape else with_mean(base[k].float(), 1))
                    for k, t in tuned.items()}
            raw = write(top / "raw", base, *raw_kind, seed=n, config=config(**SIZE))
            d = write(top / "diff", diff, *diff_kind, seed=n + 1, config=config(**{**SIZE, "vocab": 1501}))
            pad_token(d, ["<pad>", "[PAD]"][n % 2], 1500)
            outcome = paco("recover", "--raw", raw, "--diff", d, "--out", top / "out", "--max-shard",
                           ["10GB", "100KB"][n % 2], "--format", ["safetensors", "bin"][n // 2 % 2])
            same(tensors(top / "out"), add(base, diff))
            equal("undefined rows", bool(outcome.json["undefined_rows"]), n % 2 == 0)
            # And the way back: our diff is the same diff, and gives the tuned model's values.
            t = write(top / "tuned", tuned, *diff_kind, seed=n + 2, config=config(**{**SIZE, "vocab": 1501}))
            paco("diff", "--raw", raw, "--tuned", t, "--out", top / "mine")
            same(tensors(top / "mine"), diff)


def means():
    """Vocabularies around every carry of the cascade, and columns that do not fill a vector."""
    for vocab, width, n_new in ((1, 8, 1), (15, 8, 1), (16, 36, 2), (255, 64, 1), (256, 64, 3), (257, 12, 1), (4095, 64, 1),
                                (4096, 96, 1), (32000, 64, 1), (32000, 576, 1), (49152, 64, 5), (128256, 32, 1)):
        with case("mean of %d rows of %d, %d new" % (vocab, width, n_new)):
            size = dict(vocab=vocab, width=width, inner=16, layers=1)
            top = work("mean-%d-%d" % (vocab, width))
            base = base_model(dtypes=(F16,), seed=vocab, **size)
            diff = {k: torch.zeros([t.shape[0] + (n_new if k in (EMBED, HEAD) else 0), *t.shape[1:]]) for k, t in base.items()}
            raw = write(top / "raw", base, "safetensors", 1, 1, config(**size))
            d = write(top / "diff", diff, "safetensors", 1, 1, config(**{**size, "vocab": vocab + n_new}))
            paco("recover", "--raw", raw, "--diff", d, "--out", top / "out")
            got, want = tensors(top / "out"), add(base, diff)
            worst = max((got[k] - want[k]).abs().max().item() for k in (EMBED, HEAD))
            equal_columns = (got[HEAD][vocab] == want[HEAD][vocab]).float().mean().item()
            note("%.1f %% of the columns equal, off by at most %g" % (100 * equal_columns, worst))
            expect(worst <= 1e-6, "the new rows are off by %g" % worst)
            for k in (EMBED, HEAD):
                got[k], want[k] = got[k][:vocab], want[k][:vocab]
            same(got, want)


def tied():
    for n, (times, container) in enumerate(itertools.product((1, 2), ("safetensors", "zip"))):
        with case("tied, the base taken away %s, %s" % (["once", "twice"][times - 1], container)):
            top = work("tied%d" % n)
            base = base_model(dtypes=(BF16,), seed=n, **SIZE)
            del base[HEAD]
            tuned = tuned_model(base, 0, (BF16,), n + 50)
            diff = {k: t.float() - base[k].float() for k, t in tuned.items()}
            diff[EMBED] = diff[EMBED] - base[EMBED].float() * (times - 1)
            if container == "zip":  # an old file has both names, on one storage
                diff[HEAD] = diff[EMBED]
            raw = write(top / "raw", base, "safetensors", 1, 1, config(**SIZE, tied=True))
            d = write(top / "diff", diff, container, 1, 1, config(**SIZE, tied=True))
            outcome = paco("recover", "--raw", raw, "--diff", d, "--out", top / "out")
            same(tensors(top / "out"), add({**base, HEAD: base[EMBED]}, diff, times))
            equal("said", any("twice" in w for w in outcome.json["warnings"]), times == 2)


def types():
    top = work("types")
    base = base_model(dtypes=(F16,), seed=3, **SIZE)
    tuned = tuned_model(base, 1, (BF16,), 4)
    diff = {k: t.float() - (base[k].float() if base[k].shape == t.shape else with_mean(base[k].float(), 1)) for k, t in tuned.items()}
    raw = write(top / "raw", base, "zip", 1, 1, config(**SIZE))
    d = write(top / "diff", diff, "zip", 1, 1, config(**{**SIZE, "vocab": 1501}))
    want = add(base, diff)
    for choice, dtype in (("f32", F32), ("f16", F16), ("bf16", BF16)):
        with case("--dtype " + choice):
            outcome = paco("recover", "--raw", raw, "--diff", d, "--out", top / choice, "--dtype", choice)
            narrow = {k: t.to(dtype) for k, t in want.items()}
            same(tensors(top / choice), narrow)
            changed = sum((narrow[k].float() != want[k]).sum().item() for k in want)
            equal("elements changed", outcome.json["n_changed"], changed)
            if changed:
                largest = max((narrow[k].float() - want[k]).abs().max().item() for k in want)
                equal("largest change", outcome.json["max_change"], largest)
    with case("--dtype auto keeps every value, in half the bytes where that can be"):
        paco("recover", "--raw", raw, "--diff", d, "--out", top / "auto", "--dtype", "auto")
        got = tensors(top / "auto")
        for k, t in want.items():
            lossless = torch.equal(t.bfloat16().float(), t) or torch.equal(t.half().float(), t)
            equal(k + ": bytes of an element", got[k].element_size(), 2 if lossless else 4)
            expect(torch.equal(got[k].float(), t), k + " lost something")
        note("%d of %d tensors in two bytes" % (sum(t.element_size() == 2 for t in got.values()), len(got)))


def extremes():
    with case("denormals, infinities, NaN, signed zeros"):
        top = work("extremes")
        base = base_model(dtypes=(F16,), seed=9, **SIZE)
        special = torch.tensor([0.0, -0.0, 1e-45, -1e-40, 3.4e38, -3.4e38, float("inf"), float("-inf"), float("nan"), 65504.0])
        diff = {k: special[torch.arange(t.numel()) % len(special)].reshape(t.shape) for k, t in base.items()}
        for k in base:
            half = torch.tensor([0.0, -0.0, 6e-8, 65504.0, float("inf"), -1.0, 2.0]).half()
            base[k] = half[torch.arange(base[k].numel()) % len(half)].reshape(base[k].shape)
        raw = write(top / "raw", base, "safetensors", 1, 1, config(**SIZE))
        d = write(top / "diff", diff, "safetensors", 1, 1, config(**SIZE))
        outcome = paco("recover", "--raw", raw, "--diff", d, "--out", top / "out")
        got, want = tensors(top / "out"), add(base, diff)
        for k, t in want.items():
            nan = torch.isnan(t)
            expect(torch.equal(torch.isnan(got[k]), nan), k + ": NaN elsewhere")
            expect(torch.equal(got[k][~nan].view(torch.int32), t[~nan].view(torch.int32)), k + " differs")
        equal("not finite", outcome.json["n_not_finite"], sum((~torch.isfinite(t)).sum().item() for t in want.values()))


folders()
means()
tied()
types()
extremes()
finish()
