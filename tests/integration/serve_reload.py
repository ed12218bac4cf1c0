#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco serve told to reload: fine-tunes and the base exchanged while requests are under way, reloads that fail, and many of
them under load."""
import os
import random
import shutil
import signal
import threading

from counting import V, babbler, tokenizer_json
from serving import Server, until
from tiny import SANITIZED, case, config, finish, llama, safetensors, save, tensor, work, write

TEXT = "/v1/completions"
PROMPT = "the beginning of all that is asked here is long enough to be kept, so that "  # more than a block of 32
Q = "model.layers.%d.self_attn.q_proj"


def adapter(path, seed, rows=V):
    """Pairs of rank 4 in a new folder that then takes the place of what is there, as a publisher would put it."""
    r, new = random.Random(seed), path + ".new"
    tensors = {}
    for i in range(4):
        for part, shape in (("A", [4, V]), ("B", [rows, 4])):
            tensors["base_model.model.%s.lora_%s.weight" % (Q % i, part)] = tensor(
                "F32", shape, (r.gauss(0, 0.3) for _ in range(shape[0] * shape[1])))
    os.makedirs(new)
    write(os.path.join(new, "adapter_model.safetensors"), safetensors(tensors))
    write(os.path.join(new, "adapter_config.json"), {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": None})
    exchange(new, path)
    return path


def exchange(new, path):
    if os.path.exists(path):
        os.rename(path, path + ".old")
    os.rename(new, path)
    shutil.rmtree(path + ".old", ignore_errors=True)


def other_base(name):
    cfg = dict(config(vocab=V, hidden=V, layers=4, heads=2, kv_heads=1, ff=256), max_position_embeddings=1024)
    return save(work(name), llama(cfg, spread=0.5), cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}})


def reload(s, says="reloaded"):
    s.process.send_signal(signal.SIGHUP)
    return s.hear(says)


def ask(s, model, **more):
    status, r = s.post(TEXT, {"model": model, "prompt": PROMPT, "max_tokens": 24, "temperature": 0, "logprobs": 2, **more})
    return status, r.get("choices", r)


def alone(base, path, model):
    with Server("-m", base, "--alias", "base", "--adapter", "one=" + path) as s:
        return ask(s, model)


class Held:
    """A stream whose client reads the first event and then nothing, until it is asked for the rest: far more than sockets
    hold, so that the answer is under way all the while."""
    BODY = {"prompt": PROMPT, "max_tokens": 800, "n": 16, "logprobs": 20, "temperature": 0.9, "seed": 5, "logit_bias": {"2": -100}}

    def __init__(self, s, model):
        self.events = s.stream(TEXT, {"model": model, **self.BODY})
        self.first = [self.plain(next(self.events))]

    @staticmethod
    def plain(event):
        return event if isinstance(event, str) else [event["model"], event.get("choices"), event.get("error")]

    def rest(self):
        events = self.first + [self.plain(e) for e in self.events]
        texts = {}
        for e in events:  # several samples' chunks come in the order of steps, which is not promised
            if not isinstance(e, str):
                for c in e[1] or [e[2]]:
                    texts.setdefault(c.get("index"), []).append(c)
        return events[-1], texts


class Health(threading.Thread):
    """Asks all the time; what was not 200."""

    def __init__(self, s):
        super().__init__()
        self.s, self.bad, self.n, self.goes_on = s, [], 0, True

    def run(self):
        while self.goes_on:
            try:
                status = self.s.ask("GET", "/health")[0]
            except OSError as e:
                status = e
            self.n += 1
            if status != 200:
                self.bad.append(status)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.goes_on = False
        self.join()


def fine_tunes(base):
    """One fine-tune is exchanged, one stays."""
    one, two = adapter(work("one"), 1), adapter(work("two"), 2)
    with Server("-m", base, "--alias", "base", "--adapter", "one=" + one, "--adapter", "two=" + two) as s, Health(s) as health:
        before, kept, plain = ask(s, "one"), ask(s, "two"), ask(s, "base")
        case("what it says before", before == alone(base, one, "one") and before[0] == 200, before)
        whole = Held(s, "one").rest()
        held = Held(s, "one")
        adapter(one, 3)
        reload(s)
        after = ask(s, "one")
        case("a fine-tune exchanged says what the new one says", after == alone(base, one, "one") and after != before, (before, after))
        case("though its prompt was known of the old one", ask(s, "one") == after)
        case("what stayed says the same", (ask(s, "two"), ask(s, "base")) == (kept, plain))
        opened = [line for line in s.said if " beside it: " in line]
        case("and was not opened again", len(opened) == 3 and sum("one beside it" in line for line in opened) == 2, opened)
        m = s.metrics()
        case("the stream is under way still", m["paco_requests_running"] == 1 and m["paco_reloads_total{result=\"done\"}"] == 1, m)
        last, texts = held.rest()
        case("a stream across the reload is the old one's, byte for byte", last == "[DONE]" and (last, texts) == whole,
             (len(texts), {k: len(v) for k, v in texts.items()}))
        case("health all the while", not health.bad and health.n > 3, (health.n, health.bad))
        case("and it ends as ever", s.end() == 0)


def failures(base):
    one = adapter(work("lost"), 1)
    with Server("-m", base, "--alias", "base", "--adapter", "one=" + one) as s, Health(s) as health:
        before = ask(s, "one")
        os.rename(one, one + ".away")
        line = reload(s, "not reloaded")
        case("a folder that is gone", "fine-tune 'one'" in line and ask(s, "one") == before, line)
        adapter(one, 4, rows=2 * V)
        line = reload(s, "not reloaded")
        case("another shape", "fine-tune 'one'" in line and ask(s, "one") == before, line)
        write(os.path.join(one, "adapter_model.safetensors"), b"\x10\x00\x00")
        line = reload(s, "not reloaded")
        case("a file that is none", ask(s, "one") == before, line)
        os.rename(base, base + ".away")
        line = reload(s, "not reloaded")
        case("the base is gone", ask(s, "one") == before and ask(s, "base")[0] == 200, line)
        os.rename(base + ".away", base)
        adapter(one, 5)
        reload(s)
        case("and then it is well", ask(s, "one") == alone(base, one, "one") != before)
        m = s.metrics()
        case("they are counted", (m['paco_reloads_total{result="done"}'], m['paco_reloads_total{result="failed"}']) == (1, 4), m)
        case("health all the while, failing", not health.bad, health.bad)


def bases():
    """The base itself is exchanged, and what is beside it with it."""
    base, second, one = work("changing"), other_base("second"), adapter(work("beside"), 1)
    shutil.copytree(babbler(), base)
    with Server("-m", base, "--alias", "base", "--adapter", "one=" + one) as s, Health(s) as health:
        before = {m: ask(s, m) for m in ("base", "one")}
        wholes = {m: Held(s, m).rest() for m in ("base", "one")}
        held = {m: Held(s, m) for m in ("base", "one")}
        exchange(second, base)
        reload(s)
        after = {m: ask(s, m) for m in ("base", "one")}
        new = {m: alone(base, one, m) for m in ("base", "one")}
        case("another base", after == new and after["base"] != before["base"] and after["one"] != before["one"], (before, after))
        case("streams of the old one go on beside it", s.metrics()["paco_requests_running"] == 2)
        case("to their end, byte for byte", all(held[m].rest() == wholes[m] for m in held))
        case("health meanwhile", not health.bad, health.bad)
        held = Held(s, "one")
        s.process.send_signal(signal.SIGHUP)
        s.process.send_signal(signal.SIGTERM)
        held.rest()
        status = s.process.wait(60)
        case("a reload and the end at once", status == 0, (status, s.process.stderr.read()))


def many(base):
    """Reload after reload while clients ask: each answer is one of those there are, whole, and memory stays."""
    one = adapter(work("often"), 10)
    known = [alone(base, one, "one"), alone(base, adapter(one, 11), "one")]
    with Server("-m", base, "--alias", "base", "--adapter", "one=" + one) as s, Health(s) as health:
        goes_on, wrong, n = True, [], [0, 0]

        def client(seed):
            while goes_on:
                r = ask(s, "one")
                if r not in known:
                    wrong.append(r)
                else:
                    n[known.index(r)] += 1

        threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        sizes = []
        for i in range(20):
            adapter(one, 10 + i % 2)
            reload(s)
            sizes.append(s.rss())
        goes_on = False
        for t in threads:
            t.join()
        case("20 reloads under load: nothing but answers of the old and the new", not wrong and min(n) > 0, (n, wrong[:2]))
        case("and the last one counts", ask(s, "one") == known[1])
        case("memory stays", SANITIZED or max(sizes[10:]) < max(sizes[:10]) + (4 << 20), sizes)
        case("health under load", not health.bad, health.bad)
        case("nothing is held", until(lambda: s.metrics()["paco_requests_running"] == 0))
        case("and it ends", s.end() == 0)


def main():
    base = babbler()
    fine_tunes(base)
    failures(base)
    bases()
    many(base)
    finish()


main()
