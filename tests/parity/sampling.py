# SPDX-License-Identifier: Apache-2.0
"""What Transformers' logits processors leave of fixed logits: temperature, top-k and top-p in the order of its `generate`.
Writes or checks fixtures/engine/sampling.json:

    logits   "steep", "flat": float32(a * u^4 - 10) for 4096 ids, u = (id * 2654435761 mod 2^32) / 2^32 and a = 40, 12;
             "smollm2": the default model's 512 largest behind the first problem of HumanEval, which are listed
    cases    logits, temperature, top_k, top_p (0: off); ids and probabilities of what is left, the likeliest first

tests/unit/test_sampler.c draws just inside each one's share of [0, 1). Stack: today.
"""
import numpy
import torch
import transformers

import eval_prompts
from common import case, default_model, finish, fixture

SETTINGS = [(0.1, 50, 0.95), (0.8, 50, 0.95), (1.0, 50, 0.95), (1.5, 50, 0.5), (0.8, 50, 0), (0.1, 0, 0.95), (0.3, 0, 0.9), (2.0, 3, 0.95)]


def made(steepness):
    u = (numpy.arange(4096, dtype=numpy.uint64) * 2654435761 % 2**32).astype(numpy.float64) / 2.0**32
    return (steepness * (u * u * u * u) - 10).astype(numpy.float32)


def of_the_model():
    path = default_model()
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    ids = tokenizer(next(eval_prompts.codex(False))[1], return_tensors="pt").input_ids
    with torch.no_grad():
        last = model(ids).logits[0, -1].topk(512).values.numpy()
    return numpy.array(["%.6g" % x for x in last], dtype=numpy.float32)


def left(logits, temperature, k, p):
    config = transformers.GenerationConfig(do_sample=True, temperature=temperature, top_k=k, top_p=p or 1.0)
    chain = transformers.LogitsProcessorList([transformers.TemperatureLogitsWarper(config.temperature)])
    if k:
        chain.append(transformers.TopKLogitsWarper(config.top_k))
    if p:
        chain.append(transformers.TopPLogitsWarper(config.top_p))
    probabilities = torch.softmax(chain(None, torch.tensor(logits)[None])[0], 0)
    ids = [i for i in torch.argsort(probabilities, descending=True, stable=True).tolist() if probabilities[i] > 0]
    return ids, [float("%.9g" % probabilities[i]) for i in ids]


transformers.utils.logging.disable_progress_bar()
with case("sampling: fixtures/engine/sampling.json"):
    logits, cases = {"steep": made(40), "flat": made(12), "smollm2": of_the_model()}, []
    for name, values in logits.items():
        for temperature, k, p in SETTINGS:
            ids, probabilities = left(values, temperature, k, p)
            if len(ids) <= 200:
                cases.append({"logits": name, "temperature": temperature, "top_k": k, "top_p": p, "ids": ids, "p": probabilities})
    fixture("engine/sampling.json", {"made_with": "transformers %s, torch %s" % (transformers.__version__, torch.__version__),
                                     "smollm2": [float("%.9g" % x) for x in logits["smollm2"]], "cases": cases})

finish()
