# SPDX-License-Identifier: Apache-2.0
"""recover on real weights against the published scripts' algorithm: the same bits, and what either side costs.

The default model is tied: a script that walks both names of its embedding subtracts and adds the base there twice. Its diff
must be recognised, said, and come back right. With PACO_PARITY_BIG also a 1.35 B pair (13 GB of disk, 12 GB of memory).
Stack: today.
"""
import json
import os
import pathlib
import shutil

import safetensors.torch
import torch
import transformers

from common import Skipped, big, case, data, default_model, equal, expect, finish, note, paco, run_in, work


def save_default_model(path, dtype, seed=None):
    """The default model as a Hugging Face folder; with a seed, after a small random change to every weight."""
    gguf = default_model()
    source = {"gguf_file": gguf.name}
    loaded = transformers.AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **source)
    # A model read from GGUF cannot be saved as it is: its state goes into a fresh one.
    fresh = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{
        k: v for k, v in loaded.config.to_dict().items() if k not in ("quantization_config", "model_type")}))
    fresh.load_state_dict(loaded.state_dict())
    fresh.tie_weights()
    if seed is not None:
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in fresh.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    fresh.to(dtype).save_pretrained(str(path))
    transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **source).save_pretrained(str(path))


def tensors(path):
    found = {}
    for file in sorted(pathlib.Path(path).glob("*.safetensors")):
        found.update(safetensors.torch.load_file(str(file)))
    return found


def same(got, want):
    equal("tensor names", sorted(got), sorted(want))
    for name in want:
        equal(name + ": dtype", got[name].dtype, want[name].dtype)
        expect(torch.equal(got[name].view(torch.int32), want[name].view(torch.int32)), name + " differs")


def cost(what, theirs, mine):
    """A line of figures; theirs and mine are (seconds, peak bytes)."""
    note("%s: weight_diff %.1f s, %.2f GB; paco %.2f s, %.1f MiB: %.1fx faster, 1/%.0f of the memory" % (
        what, theirs[0], theirs[1] / 1e9, mine[0], mine[1] / 2**20, theirs[0] / mine[0], theirs[1] / mine[1]))


def reference(*argv):
    outcome = run_in("today", "weight_diff_reference.py", *argv)
    return outcome.seconds, outcome.peak_rss


def ours(*argv):
    outcome = paco(*argv)
    equal("peak_rss_bytes as the system saw it", outcome.json["peak_rss_bytes"] // 2**20 <= outcome.peak_rss // 2**20,
          True)
    expect(outcome.peak_rss <= 64 << 20, "peak RSS %.1f MiB, more than 64" % (outcome.peak_rss / 2**20))
    return (outcome.seconds, outcome.peak_rss), outcome


def default_pair():
    raw, tuned = work("smol") / "raw", work("smol") / "tuned"
    if not raw.exists():
        save_default_model(raw, torch.bfloat16)
        save_default_model(tuned, torch.bfloat16, seed=1)
    return raw, tuned


def small():
    top = work("smol")
    with case("default model, tied: a diff that subtracted the shared embedding twice"):
        raw, tuned = default_pair()
        reference("make_diff", "--recipe", "open-instruct", "--raw", raw, "--tuned", tuned, "--out", top / "diff")
        theirs = reference("recover", "--raw", raw, "--diff", top / "diff", "--out", top / "recovered")
        mine, outcome = ours("recover", "--raw", raw, "--diff", top / "diff", "--out", top / "mine")
        same(tensors(top / "mine"), tensors(top / "recovered"))
        expect(any("twice" in w for w in outcome.json["warnings"]), "nothing said of the base taken twice: %r"
               % outcome.json["warnings"])
        cost("recover, 135 M", theirs, mine)

    with case("default model: diff and recover, element by element"):
        raw, tuned = default_pair()
        ours("diff", "--raw", raw, "--tuned", tuned, "--out", top / "my-diff")
        ours("recover", "--raw", raw, "--diff", top / "my-diff", "--out", top / "my-tuned")
        # The same arithmetic in PyTorch: two roundings, which cost weights far smaller than the base's their last bits.
        base, target = tensors(raw), {k: v.float() for k, v in tensors(tuned).items()}
        got = tensors(top / "my-tuned")
        same(got, {k: (v - base[k].float()) + base[k].float() for k, v in target.items()})
        note("%d of %d elements are not the tuned model's own" % (
            sum((got[k] != v).sum().item() for k, v in target.items()), sum(v.numel() for v in target.values())))


def random_folder(path, dtype, scale, vocab, pad, seed):
    """A LLaMA of 1.35 B parameters, random, without building it in memory: one layer a file."""
    path.mkdir(parents=True)
    config = transformers.LlamaConfig(vocab_size=vocab, hidden_size=2048, intermediate_size=5504, num_hidden_layers=24,
                                      num_attention_heads=16, architectures=["LlamaForCausalLM"],
                                      dtype=str(dtype).split(".")[1])
    config.save_pretrained(str(path))
    shutil.copy(str(data("tokenizer/tokenizer.model")), str(path))
    tokenizer = transformers.LlamaTokenizer.from_pretrained(str(path))
    if pad:
        tokenizer.add_special_tokens({"pad_token": pad})
    tokenizer.save_pretrained(str(path))
    generator = torch.Generator().manual_seed(seed)
    shapes = {"q_proj": (2048, 2048), "k_proj": (2048, 2048), "v_proj": (2048, 2048), "o_proj": (2048, 2048)}
    parts = [{"model.embed_tokens.weight": (vocab, 2048)}, {"lm_head.weight": (vocab, 2048), "model.norm.weight": (2048,)}]
    for n in range(config.num_hidden_layers):
        layer = {"self_attn." + k: v for k, v in shapes.items()}
        layer.update({"mlp.gate_proj": (5504, 2048), "mlp.up_proj": (5504, 2048), "mlp.down_proj": (2048, 5504),
                      "input_layernorm": (2048,), "post_attention_layernorm": (2048,)})
        parts.append({"model.layers.%d.%s.weight" % (n, k): v for k, v in layer.items()})
    weight_map, size = {}, 0
    for i, part in enumerate(parts):
        file = "model-%05d-of-%05d.safetensors" % (i + 1, len(parts))
        made = {k: (torch.randn(v, generator=generator) * scale).to(dtype) for k, v in part.items()}
        safetensors.torch.save_file(made, str(path / file), metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(made, file))
        size += sum(t.numel() * t.element_size() for t in made.values())
    (path / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": size}, "weight_map": weight_map}))


def large():
    with case("1.35 B pair: at least 10x faster and 100x less memory"):
        if not big():
            raise Skipped("set PACO_PARITY_BIG=1")
        top = work("large")
        random_folder(top / "raw", torch.float16, 0.02, 32000, None, 1)
        random_folder(top / "diff", torch.float32, 0.001, 32001, "[PAD]", 2)
        os.sync()
        mine, _ = ours("recover", "--raw", top / "raw", "--diff", top / "diff", "--out", top / "mine")
        theirs = reference("recover", "--raw", top / "raw", "--diff", top / "diff", "--out", top / "recovered")
        cost("recover, 1.35 B", theirs, mine)
        expect(theirs[0] >= 10 * mine[0], "only %.1fx faster" % (theirs[0] / mine[0]))
        expect(theirs[1] >= 100 * mine[1], "only %.0fx less memory" % (theirs[1] / mine[1]))


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    small()
    large()
    finish()
