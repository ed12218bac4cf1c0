# SPDX-License-Identifier: Apache-2.0
"""paco beside llama.cpp in alternating pairs: one after the other on the same file, the order exchanged each time, so that
what else this machine does meets both alike. A ratio is the median of the pairs' ratios; a speed the median of its own.

    compare.py HOME [--quick] [--json FILE] [--threads N] [CASE...]        started by bench/peers/run"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PACO = os.environ["PACO"]
PAUSE = 0.3  # seconds: threads of the one that just ran stop watching for work
TYPES = ("q4_0", "q4_1", "q8_0", "bf16")


class Theirs:
    """llama.cpp with a model loaded, answering requests."""

    def __init__(self, model, threads, context=2048, streams=1):
        self.process = subprocess.Popen([sys.executable, str(HERE / "llama_peer.py"), str(model), "--threads", str(threads), "--context",
                                         str(context), "--streams", str(streams)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = json.loads(self.process.stdout.readline())["ready"]

    def ask(self, **what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["tok_s"]

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.stdin.close()
        self.process.wait()


def paco(*args):
    done = subprocess.run([PACO, *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("peers: paco %s: %s" % (" ".join(map(str, args)), done.stderr))
    return json.loads(done.stdout)


def pairs(n, theirs, ours):
    """n pairs (theirs, ours), the first of them in turns."""
    out = []
    for i in range(n):
        got = {}
        for side in ((theirs, ours) if i % 2 == 0 else (ours, theirs)):
            got[side] = side()
            time.sleep(PAUSE)
        out.append((got[theirs], got[ours]))
    return out


class Results:
    def __init__(self):
        self.rows = []

    def add(self, what, goal, found, share=None):
        a, b = (statistics.median(p[i] for p in found) for i in (0, 1))
        ratios = sorted(p[1] / p[0] for p in found)
        row = {"case": what, "llama_cpp": a, "paco": b, "ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1],
               "pairs": len(found), "goal": goal, "share": share}
        self.rows.append(row)
        print("| %-38s | %9.1f | %9.1f | %5.2f (%.2f to %.2f) | %-6s | %s |" % (
            what, a, b, row["ratio"], ratios[0], ratios[-1], goal, "%.0f %%" % (100 * share) if share else ""), flush=True)


def heading():
    print("| case | llama.cpp | paco | ratio of pairs (range) | goal | of the limit |")
    print("| --- | --- | --- | --- | --- | --- |")


def bench(model, threads, *args):
    """A run of paco bench: the first row's speed, and its share of the machine's limit."""
    row = paco("bench", "-q", "-m", model, "-t", threads, "--json", "-r", 3, "--seconds", 1.5, *args)["rows"][0]
    return row["tok_s"], row["share"]


def compare(results, a, what, goal, model, request, flags, n, context=2048, streams=1):
    shares = []

    def ours():
        speed, share = bench(model, a.threads, *flags)
        shares.append(share)
        return speed
    with Theirs(model, a.threads, context, streams) as peer:
        found = pairs(n, lambda: statistics.median(peer.ask(**request) for _ in range(1 if "7b" in model.name else 3)), ours)
    results.add(what, goal, found, statistics.median(shares))


# ---- the cases ----

def decode(results, a, models):
    for kind in TYPES:
        compare(results, a, "decode, SmolLM2-135M, %s" % kind.upper(), ">= 1.5" if kind != "bf16" else "share", models / ("smollm2-%s.gguf" % kind),
                {"do": "decode", "tokens": 64}, ("--decode", 64), a.pairs)


def prefill(results, a, models):
    for kind in TYPES:
        compare(results, a, "prefill 512, SmolLM2-135M, %s" % kind.upper(), ">= 2", models / ("smollm2-%s.gguf" % kind),
                {"do": "prefill", "tokens": 512}, ("--prefill", 512), a.pairs)


def streams(results, a, models):
    for kind in ("q4_0", "q8_0"):
        compare(results, a, "16 streams at 128, SmolLM2-135M, %s" % kind.upper(), ">= 1.5", models / ("smollm2-%s.gguf" % kind),
                {"do": "decode", "tokens": 32, "depth": 128, "batch": 16}, ("--decode", 32, "--depth", 128, "--batch", 16), a.pairs, 4096, 16)


def shape_7b(results, a, models):
    model = models / "llama7b-q4_0.gguf"
    if a.quick or not model.exists():
        print("| 7B shape | skipped | | | | |")
        return
    compare(results, a, "decode, 7B shape, Q4_0", "share", model, {"do": "decode", "tokens": 16}, ("--decode", 16), min(a.pairs, 3))
    compare(results, a, "prefill 512, 7B shape, Q4_0", ">= 2", model, {"do": "prefill", "tokens": 512}, ("--prefill", 512), min(a.pairs, 3))


def load(results, a, models):
    model = models / ("smollm2-q4_0.gguf" if a.quick else "llama7b-q4_0.gguf")
    with open(model, "rb") as f:  # into the page cache
        while f.read(1 << 24):
            pass
    j = paco("bench", "-q", "-m", model, "-t", a.threads, "--json", "-r", 1, "-n", 1)
    print("| load of %s, warm | | opened in %.3f s, first layer repacked at %.3f s, all in %.2f s more | | 0.3 s | |" % (
        model.name, j["load_seconds"], j["first_layer_seconds"], j["repack_seconds"]))


def busy(results, a, models):
    """What is left of decode beside as many busy processes as there are processors."""
    model, n = models / "smollm2-q4_0.gguf", os.cpu_count()

    def kept(speed):
        free = speed()
        neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
        try:
            time.sleep(0.2)
            return speed() / free
        finally:
            for p in neighbours:
                p.kill()
                p.wait()
    with Theirs(model, a.threads) as peer:
        found = pairs(min(a.pairs, 3), lambda: kept(lambda: peer.ask(do="decode", tokens=32)),
                      lambda: kept(lambda: bench(model, a.threads, "--decode", 32)[0]))
    results.add("kept beside %d busy processes, %%" % n, ">= 35", [(100 * x, 100 * y) for x, y in found])


EDIT = """Add a docstring to this function and print it again.

def total_price(items, tax_rate, discount):
    subtotal = 0
    for item in items:
        subtotal = subtotal + item.price * item.quantity
    subtotal = subtotal - subtotal * discount
    return subtotal + subtotal * tax_rate

def total_weight(items):
    weight = 0
    for item in items:
        weight = weight + item.weight * item.quantity
    return weight

def total_price(items, tax_rate, discount):
    subtotal = 0
    for item in items:
        subtotal = subtotal + item.price * item.quantity
"""
STORY = "Write a short story about a lighthouse keeper who finds a letter."


def repetitive(results, a, models):
    """paco with and without guesses from the text so far; the answers have to be the same."""
    model = models / "smollm2-q4_1.gguf"
    for what, prompt, form, goal in (("guesses, repetitive text", EDIT, "raw", ">= 1.5"), ("guesses, ordinary text", STORY, "auto", ">= 0.98")):
        answers = set()

        def run(*flags):
            j = paco("generate", "-q", "-m", model, "-p", prompt, "--format", form, "-n", 160, "--temp", 0, "--json", "-t", a.threads, *flags)
            answers.add(tuple(j["ids"]))
            return j["decode_tok_s"]
        found = pairs(a.pairs, lambda: run("--speculate", "off"), lambda: run("--speculate", "auto"))
        results.add(what + " (against plain)", goal, found)
        if len(answers) != 1:
            sys.exit("peers: guesses changed the answer")


def tiny(results, a, models):
    compare(results, a, "decode, 260,000 parameters, F32", "", models / "tiny-f32.gguf", {"do": "decode", "tokens": 200}, ("--decode", 200),
            a.pairs, 512)


CASES = {"load": load, "decode": decode, "prefill": prefill, "streams": streams, "7b": shape_7b, "busy": busy, "repetitive": repetitive,
         "tiny": tiny}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("home")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--json")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--pairs", type=int)
    p.add_argument("cases", nargs="*")
    a = p.parse_intermixed_args()
    if set(a.cases) - set(CASES):
        p.error("cases are: " + " ".join(CASES))
    a.pairs = a.pairs or (3 if a.quick else 5)
    models, results = pathlib.Path(a.home) / "models", Results()
    import llama_cpp
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print("%s; %s, %d threads; llama.cpp of llama-cpp-python %s\n" % (datetime.date.today(), cpu, a.threads, llama_cpp.__version__))
    heading()
    for name in a.cases or CASES:
        CASES[name](results, a, models)
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps(results.rows, indent=2) + "\n")


main()
