# SPDX-License-Identifier: Apache-2.0
"""Perplexity and divergence against Transformers in float32: both ways of laying windows over a text."""
import json
import math

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from common import ROOT, case, default_model, equal, expect, finish, note, paco, work

torch.set_num_threads(2)


@torch.no_grad()
def log_p(model, ids):
    """(n, V) in double: what is predicted behind each of n tokens."""
    return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)


def end_to_end(n, context):
    """(start, end, first prediction that counts) of windows as llama.cpp's tool lays them."""
    return [(at, at + context, context // 2) for at in range(0, n - context + 1, context)]


def sliding(n, context, stride):
    """The same of Transformers' guide "Perplexity of fixed-length models"."""
    out, done = [], 1
    for at in range(0, n, stride):
        end = min(at + context, n)
        out.append((at, end, max(done - at - 1, 0)))
        done = end
        if end == n:
            return out


def measure(model, other, ids, windows):
    nll, kl, same = [], [], 0
    for start, end, first in windows:
        part = ids[start:end]
        p, q = log_p(model, part), log_p(other, part)
        for i in range(first, len(part) - 1):
            nll.append(-float(p[i, part[i + 1]]))
            kl.append(float((q[i].exp() * (q[i] - p[i])).sum()))
            same += int(p[i].argmax() == q[i].argmax())
    return sum(nll) / len(nll), sum(kl) / len(kl), same / len(kl), len(nll)


text = work("text") / "text.txt"
text.write_text("".join(sorted(p.read_text() for p in (ROOT / "docs").glob("math/*.md")))[:4000])
path = default_model()
model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
config = LlamaConfig(**{k: v for k, v in model.config.to_dict().items() if k != "quantization_config"})
other = LlamaForCausalLM(config).eval()
other.load_state_dict(model.state_dict())
with torch.no_grad():  # a model not far away
    torch.manual_seed(1)
    for p in other.parameters():
        if p.dim() == 2:
            p.add_(0.02 * p.std() * torch.randn_like(p))
where = work("other")
other.save_pretrained(where)
ids = paco("tokenize", "-m", path, "--bos", "never", text.read_text()).json["ids"]

for what, windows, flags in (("windows end to end", end_to_end(len(ids), 128), ("-c", 128)),
                             ("windows that slide", sliding(len(ids), 160, 96), ("-c", 160, "--stride", 96))):
    with case(what):
        nll, kl, same, n = measure(model, other, ids, windows)
        got = paco("perplexity", "-m", path, "-f", text, "--reference", where, "--dtype", "f32", *flags).json
        equal("tokens", got["n_tokens"], len(ids))
        equal("counted", got["n_scored"], n)
        expect(abs(got["nll"] - nll) < 1e-5, "nll %.8f, not %.8f" % (got["nll"], nll))
        expect(abs(got["kl_mean"] - kl) < 1e-5 * (1 + kl), "divergence %.8f, not %.8f" % (got["kl_mean"], kl))
        expect(abs(got["same_top"] - same) < 1.5 / n, "same likeliest %.4f, not %.4f" % (got["same_top"], same))
        note("perplexity %.4f over %d tokens, off by %.1e; divergence %.6f, off by %.1e" %
             (math.exp(nll), n, abs(got["nll"] - nll), kl, abs(got["kl_mean"] - kl)))

with case("paco eval perplexity"):
    got = paco("perplexity", "-m", path, "-f", text, "--dtype", "f32", "-c", 128).json
    paco("eval", "perplexity", "-m", path, "--data", text, "--dtype", "f32", "-c", 128, "--out", work("eval"))
    mine = json.loads((work("eval") / "perplexity" / "metrics.json").read_text())
    equal("nats a token", mine["nats_per_token"], got["nll"])
    equal("perplexity", mine["perplexity"], got["perplexity"])

finish()
