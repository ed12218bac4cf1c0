#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""serve_load.py MODEL.gguf [--clients N] [--requests N] [--peer PYTHON] [--json]: `paco serve` under load, from the outside.

Clients ask at once, each its next question when the last is answered, by streams, with prompts of 16 to 512 words and
answers of 16 to 96 tokens, the same for everybody: total tokens of answers a second, time to the first token, time between
tokens (of one stream). Then one system prompt of a thousand words before 100 questions, and how many of their tokens were computed.
Then one client alone, beside `paco bench` on the same file: what the server costs a token.

--peer PYTHON runs llama-cpp-python's server (`PYTHON -m llama_cpp.server`) after paco's with the same questions. That one answers
one request at a time; it is what pip installs of llama.cpp's servers. Standard library only.
"""
import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PACO = os.environ.setdefault("PACO", os.path.join(HERE, "..", "build", "paco"))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "integration"))
from serving import Server, until  # noqa: E402

WORDS = "the of a in river stone light house tree word sea wind summer bread road glass mountain letter green quiet".split()

CONTEXT = 4096
ALONE = 128  # tokens of the answers to one client


def questions(n, seed=7):
    """n pairs of a prompt and an answer's length."""
    r = random.Random(seed)
    return [("%d: " % i + " ".join(r.choice(WORDS) for _ in range(r.choice((16, 64, 128, 512)))), r.choice((16, 32, 64, 96))) for i in range(n)]


class Peer:
    """llama-cpp-python's server, ready when entered."""

    def __init__(self, python, model, context):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host, self.port = s.getsockname()
        self.process = subprocess.Popen([python, "-m", "llama_cpp.server", "--model", model, "--port", str(self.port), "--n_ctx", str(context), "--n_threads",
                                         str(os.cpu_count()), "--interrupt_requests", "false"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        if not until(self.ready, 60):
            raise RuntimeError("the peer did not start")
        return self

    def ready(self):
        try:
            c = http.client.HTTPConnection(self.host, self.port, timeout=5)
            c.request("GET", "/v1/models")
            return c.getresponse().status == 200
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def ask(server, prompt, n_tokens):
    """Seconds from asking to each piece of the answer, which is a token but where a character takes several."""
    c = http.client.HTTPConnection(server.host, server.port, timeout=300)
    began = time.monotonic()
    body = {"prompt": prompt, "max_tokens": n_tokens, "temperature": 0, "stream": True}
    c.request("POST", "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    r = c.getresponse()
    if r.status != 200:
        raise RuntimeError("status %d: %s" % (r.status, r.read()))
    times = []
    for line in r:
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:])["choices"]
            if choices and choices[0]["finish_reason"] is None:
                times.append(time.monotonic() - began)
    c.close()
    return times


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def load(server, asked, n_clients):
    """All questions by n_clients at once; figures."""
    rest, lock, first, between, tokens, failed = list(asked), threading.Lock(), [], [], [0], []

    def client():
        while True:
            with lock:
                if not rest:
                    return
                prompt, n = rest.pop(0)
            try:
                times = ask(server, prompt, n)
            except (OSError, RuntimeError, http.client.HTTPException) as e:
                failed.append(str(e))
                continue
            with lock:
                first.extend(times[:1])
                between.extend(b - a for a, b in zip(times, times[1:]))
                tokens[0] += len(times)

    threads = [threading.Thread(target=client) for _ in range(n_clients)]
    began = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seconds = time.monotonic() - began
    if failed:
        raise RuntimeError("%d requests failed: %s" % (len(failed), failed[0]))
    return {"tokens": tokens[0], "tokens_per_s": tokens[0] / seconds, "first_p50": quantile(first, .5), "first_p95": quantile(first, .95),
            "between_p95": quantile(between, .95)}


def shared_prompt(server):
    """100 questions behind one beginning: (tokens of the prompts, tokens computed)."""
    system = " ".join(random.Random(1).choice(WORDS) for _ in range(1000))
    ask(server, system, 1)
    before = server.metrics()
    load(server, [("%s %d?" % (system, i), 4) for i in range(100)], 16)
    after = server.metrics()
    return {k: after[n] - before[n] for k, n in (("prompt", "paco_prompt_tokens_total"), ("computed", "paco_prompt_tokens_computed_total"))}


def overhead(server, model, pairs):
    """Milliseconds a token of one stream, and of `paco bench` on the file, in turns; medians, and that of the pairs' ratios."""
    served, plain = [], []
    for i in range(pairs):
        times = ask(server, "%d, two, three," % i, ALONE)
        served.append((times[-1] - times[0]) / (len(times) - 1) * 1e3)
        done = subprocess.run([PACO, "bench", "-q", "-m", model, "--json", "--decode", str(ALONE), "--depth", "0", "--repeat", "3"],
                              capture_output=True, text=True, check=True)
        plain.append(1e3 / json.loads(done.stdout)["decode_tok_s"])
    return {"served_ms": statistics.median(served), "plain_ms": statistics.median(plain),
            "ratio": statistics.median(a / b for a, b in zip(served, plain))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="a .gguf file, which a peer reads too")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--pairs", type=int, default=3, help="of the server and paco bench")
    parser.add_argument("--peer", metavar="PYTHON")
    parser.add_argument("--json", action="store_true")
    o = parser.parse_args()
    asked, result = questions(o.requests), {}
    with Server("-m", o.model, "-c", CONTEXT) as s:
        ask(s, "Warm up.", 8)
        result["paco"] = load(s, asked, o.clients)
        result["shared"] = shared_prompt(s)
        result["overhead"] = overhead(s, o.model, o.pairs)
    if o.peer:
        with Peer(o.peer, o.model, CONTEXT) as s:
            ask(s, "Warm up.", 8)
            result["peer"] = load(s, asked, o.clients)
    if o.json:
        print(json.dumps(result))
        return
    for who in ("paco", "peer"):
        if who in result:
            print("%-5s %d clients: %%(tokens_per_s)7.0f tokens/s, first token %%(first_p50).2f s (p95 %%(first_p95).2f), between tokens p95 "
                  "%%(between_p95).4f s" % (who, o.clients) % result[who])
    print("a thousand words before 100 questions: %(prompt)d tokens, of which %(computed)d were computed" % result["shared"])
    print("one client: %(served_ms).3f ms a token, paco bench %(plain_ms).3f (ratio of pairs %(ratio).3f)" % result["overhead"])


if __name__ == "__main__":
    main()
