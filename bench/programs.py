#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""programs.py PACO DATA [SAMPLES]: what the sandbox costs. HumanEval's own solutions stand for a model's answers, behind an endpoint made
up here, and paco runs 164 x SAMPLES (20) programs as it runs any. Beside it, as many at once: an interpreter that starts and does
nothing, before and after, and the same programs as bare files."""
import gzip
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

PACO, DATA = sys.argv[1], sys.argv[2]
SAMPLES = int(sys.argv[3]) if len(sys.argv) > 3 else 20
AT_ONCE = os.cpu_count()


def problems():
    for name in ("codex_humaneval/HumanEval.jsonl.gz", "human_eval/HumanEval.jsonl.gz"):
        if os.path.exists(os.path.join(DATA, name)):
            with gzip.open(os.path.join(DATA, name), "rt") as f:
                return [json.loads(line) for line in f if line.strip()]
    sys.exit("programs.py: no HumanEval in " + DATA)


PROBLEMS = problems()
SOLUTION = {p["prompt"]: p["canonical_solution"] for p in PROBLEMS}


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = SOLUTION.get(body.get("prompt"), " 5")
        n = body.get("n", 1)
        raw = json.dumps({"choices": [{"index": i, "text": text} for i in range(n)]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def bare(argument_lists):
    """Each list a program of its own, as many at once as paco runs; seconds."""
    def start(arguments):
        subprocess.run([PYTHON, "-S", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begin = time.time()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(start, argument_lists))
    return time.time() - begin


def sandboxed(url, top):
    begin = time.time()
    done = subprocess.run([PACO, "eval", "codex_eval_temp_0.1", "--api", url, "--model", "solutions", "--data", DATA, "--out", top, "--json", "-q",
                           "--unbiased_sampling_size_n", str(SAMPLES), "--eval_pass_at_ks", "1", "--judges", str(AT_ONCE)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return time.time() - begin, json.loads(done.stdout)


PYTHON = os.path.realpath(sys.executable)  # run this with the python3 that paco would take
N = len(PROBLEMS) * SAMPLES
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
threading.Thread(target=server.serve_forever, daemon=True).start()
with tempfile.TemporaryDirectory() as top:
    files = []
    for i, p in enumerate(PROBLEMS):
        files.append(os.path.join(top, "%d.py" % i))
        with open(files[-1], "w", encoding="utf-8") as f:
            f.write(p["prompt"] + p["canonical_solution"] + "\n" + p["test"] + "\ncheck(" + p["entry_point"] + ")")
    rows = [("an interpreter that does nothing", bare([["-c", "pass"]] * N))]
    seconds, result = sandboxed("http://127.0.0.1:%d/v1" % server.server_port, os.path.join(top, "out"))
    rows += [("the programs in the sandbox", seconds), ("the programs, bare", bare([[f] for f in files] * SAMPLES)),
             ("an interpreter that does nothing, again", bare([["-c", "pass"]] * N))]
    print("%d programs, %d at once, score %.2f" % (N, AT_ONCE, result["score"]))
    for what, seconds in rows:
        print("%-40s %7.1f s  %5.1f ms each" % (what, seconds, 1000 * seconds / N))
