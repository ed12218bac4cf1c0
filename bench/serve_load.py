#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""serve_load.py MODEL.gguf [--peer-command COMMAND | --peer URL] [options]: `paco serve` under load, from the outside. Run it by bench/serve.

load      CLIENTS clients at once, each asking its next question when it has the last answer, by streams: prompts of 20 to 800 tokens and
          answers of 16 to 256, spread evenly over the logarithm, the same for everybody and each round; greedy; ends of the model are passed
          over, so that every server writes as many tokens. Tokens a second, of prompts and answers and of answers alone; time to the first
          piece of text; time between pieces of one stream. With a peer the two take turns, each started anew for its turn, the order
          exchanged every round; a ratio is the median of the rounds' ratios.
shared    one system prompt of a thousand words before 100 questions, asked at the same moment: how many tokens were computed.
overhead  one client alone, beside `paco bench` on the same file: what the server costs a token.

COMMAND starts the peer, {port} and {model} being filled in; llama.cpp's server for example:

    --peer-command 'llama-server -m {model} --port {port} -np 32 -c 40960 -t 2'

Questions come from serve_clients.c, which takes one to three percent of a processor's time per thousand tokens a second. Standard library only.
"""
import argparse
import json
import os
import random
import shlex
import socket
import statistics
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "..", "build")
PACO = os.environ.setdefault("PACO", os.path.join(BUILD, "paco"))
CLIENTS = os.environ.get("CLIENTS", os.path.join(BUILD, "bench", "bench_serve_clients"))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "integration"))
from serving import Server, until  # noqa: E402

WORDS = "the of a in river stone light house tree word sea wind summer bread road glass mountain letter green quiet".split()
CONTEXT = 2048
ALONE = 256  # tokens of the answers to one client


def body(prompt, n_tokens, temperature=0.0):
    return {"prompt": prompt, "max_tokens": n_tokens, "temperature": temperature, "seed": 1, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}}


def between(r, least, most):
    return int(round(least * (most / least) ** r.random()))


def questions(n, temperature, seed=7):
    """A word of WORDS is a token in most vocabularies; each prompt begins in its own way, so that none is known already."""
    r = random.Random(seed)
    return [body(" ".join(r.choice(WORDS) for _ in range(between(r, 20, 800))), between(r, 16, 256), temperature) for _ in range(n)]


class Peer:
    """Another server: started by a command, or there already."""

    def __init__(self, command, url, model):
        self.process = None
        if url:
            self.port = urllib.parse.urlsplit(url).port
            return
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        argv = [a.format(port=self.port, model=model) for a in shlex.split(command)]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        if not until(self.is_ready, 60):
            raise RuntimeError("the peer did not start")
        return self

    def is_ready(self):
        for path in ("/health", "/v1/models"):
            try:
                with urllib.request.urlopen("http://127.0.0.1:%d%s" % (self.port, path), timeout=5) as r:
                    return r.status == 200
            except urllib.error.HTTPError as e:
                if e.code == 503:
                    return False
            except OSError:
                return False
        return False

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()


def ask(server, bodies, n_clients=1):
    """What the clients saw of each answer, and the sum of it."""
    text = "".join(json.dumps(b) + "\n" for b in bodies)
    done = subprocess.run([CLIENTS, str(server.port), str(n_clients)], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[:-1], lines[-1]


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def load(server, bodies, n_clients):
    ask(server, [body("Warm up.", 8)])
    answers, whole = ask(server, bodies, n_clients)
    first = [a["pieces"][0] - a["began"] for a in answers if a["pieces"]]
    gaps = [y - x for a in answers for x, y in zip(a["pieces"], a["pieces"][1:])]
    prompt, answer = (sum(a[k] for a in answers) for k in ("prompt_tokens", "completion_tokens"))
    return {"seconds": whole["seconds"], "prompt_tokens": prompt, "answer_tokens": answer, "tokens_per_s": (prompt + answer) / whole["seconds"],
            "answer_tokens_per_s": answer / whole["seconds"], "first_p50": quantile(first, .5), "first_p95": quantile(first, .95),
            "between_p50": quantile(gaps, .5), "between_p95": quantile(gaps, .95), "between_p99": quantile(gaps, .99),
            "clients_share": whole["cpu_seconds"] / whole["seconds"]}


def paco(o):
    return Server("-m", o.model, "-c", CONTEXT, "--parallel", o.clients, *shlex.split(o.paco_options))


def rounds(o):
    """{"paco": [figures of each round], "peer": [...]}"""
    bodies, seen = questions(o.requests, o.temperature), {"paco": [], "peer": []}
    turns = [("paco", lambda: paco(o))]
    if o.peer or o.peer_command:
        turns.append(("peer", lambda: Peer(o.peer_command, o.peer, o.model)))
    for i in range(o.rounds):
        for name, start in turns if i % 2 == 0 else turns[::-1]:
            with start() as server:
                seen[name].append(load(server, bodies, o.clients))
    return seen


def shared_prompt(o):
    """100 questions behind one beginning, at the same moment: tokens of the prompts, and those computed."""
    system = " ".join(random.Random(1).choice(WORDS) for _ in range(1000))
    with paco(o) as server:
        before = server.metrics()
        answers, whole = ask(server, [body("%s %d?" % (system, i), 4) for i in range(100)], 100)
        until(lambda: server.metrics()["paco_requests_running"] == 0)
        after = server.metrics()
    grown = {k: int(after[n] - before[n]) for k, n in (("prompt", "paco_prompt_tokens_total"), ("computed", "paco_prompt_tokens_computed_total"))}
    return {**grown, "seconds": whole["seconds"], "once": answers[0]["prompt_tokens"]}


def overhead(o):
    """Milliseconds a token of one stream, and of `paco bench` on the file, in turns."""
    served, plain = [], []
    with paco(o) as server:
        ask(server, [body("Warm up.", 8)])
        for i in range(o.pairs):
            answers, _ = ask(server, [body("%d" % i, ALONE)] * 3)
            served.append(statistics.median((a["pieces"][-1] - a["pieces"][0]) / (a["completion_tokens"] - 1) for a in answers) * 1e3)
            done = subprocess.run([PACO, "bench", "-q", "-m", o.model, "--json", "--decode", str(ALONE), "--depth", "0", "--repeat", "3"],
                                  capture_output=True, text=True, check=True)
            plain.append(1e3 / json.loads(done.stdout)["decode_tok_s"])
    return {"served_ms": statistics.median(served), "plain_ms": statistics.median(plain),
            "ratios": [round(a / b, 4) for a, b in zip(served, plain)], "ratio": statistics.median(a / b for a, b in zip(served, plain))}


def tell_load(o, seen):
    for name in ("paco", "peer"):
        for f in seen[name]:
            print("%-5s %%(tokens_per_s)7.0f tokens/s, of answers %%(answer_tokens_per_s)6.0f; first p50 %%(first_p50)6.3f s, p95 %%(first_p95)6.3f; "
                  "between p50 %%(between_p50).4f s, p95 %%(between_p95).4f, p99 %%(between_p99).4f (clients took %%(clients_share).3f of a processor)"
                  % name % f)
    if not seen["peer"]:
        return
    pairs = list(zip(seen["paco"], seen["peer"]))
    for key, what in (("tokens_per_s", "tokens/s"), ("answer_tokens_per_s", "tokens/s of answers"), ("first_p50", "first p50"),
                      ("first_p95", "first p95"), ("between_p50", "between p50"), ("between_p95", "between p95")):
        ratios = [a[key] / b[key] for a, b in pairs]
        print("%-20s %8.3f and %8.3f, ratio of rounds %.2f (%.2f to %.2f)" % (what, statistics.median(a[key] for a, _ in pairs),
              statistics.median(b[key] for _, b in pairs), statistics.median(ratios), min(ratios), max(ratios)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a .gguf file, which a peer reads too")
    parser.add_argument("what", nargs="*", default=["load", "shared", "overhead"], help="some of load, shared, overhead; all")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3, help="of load")
    parser.add_argument("--pairs", type=int, default=5, help="of the server and paco bench")
    parser.add_argument("--peer", metavar="URL", help="on this machine")
    parser.add_argument("--peer-command", metavar="COMMAND")
    parser.add_argument("--paco-options", metavar="OPTIONS", default="", help="for paco serve")
    parser.add_argument("--json", action="store_true")
    o = parser.parse_args()
    result = {}
    if "load" in o.what:
        result["load"] = rounds(o)
    if "shared" in o.what:
        result["shared"] = shared_prompt(o)
    if "overhead" in o.what:
        result["overhead"] = overhead(o)
    if o.json:
        print(json.dumps(result))
        return
    if "load" in result:
        tell_load(o, result["load"])
    if "shared" in result:
        print("a thousand words before 100 questions: %(prompt)d tokens, of which %(computed)d were computed; one prompt has %(once)d; %(seconds).2f s"
              % result["shared"])
    if "overhead" in result:
        print("one client: %(served_ms).3f ms a token, paco bench %(plain_ms).3f (ratio of pairs %(ratio).3f; %(ratios)s)" % result["overhead"])


if __name__ == "__main__":
    main()
