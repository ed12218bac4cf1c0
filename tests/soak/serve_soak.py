#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""serve_soak.py [SECONDS] [--model DIR_OR_GGUF --alias NAME] [--seed N]: `paco serve` under mixed load for an hour (3600), with faults.

Clients compare every answer with the one the same question got at the start, when nothing else was asked: chats, completions, streams, several
answers, drawn ones, forms, embeddings, log-probabilities of prompts, of a base, adapters and a diff. Beside them others leave, read and write slowly, close
a side, send garbage, deep JSON and huge bodies, and flood the queue. Now and then a fault is injected: the process stopped for a while, no file
descriptors left, no more memory, files of the models replaced, cut short or removed, a reload. Every few minutes all stop, and what the server then holds
is written down: memory, descriptors, threads, connections. In the end it drains, and what is under way is finished.

Without --model a small random one is made, with two adapters and a diff. Prints a line for each case, and exits with 1 if one failed. Standard library
only; PACO names the program. With PACO_SANITIZED memory is not judged, nor taken away."""
import argparse
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PACO = os.environ.setdefault("PACO", os.path.join(HERE, "..", "..", "build", "paco"))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
from counting import adapter, babbler  # noqa: E402
from serve_hostile import drop, fill, in_threads, request, slow_reader, slow_writer, torment  # noqa: E402
from serve_many import diff  # noqa: E402
from serving import Server, until  # noqa: E402
from tiny import SANITIZED, case, failures_so_far, work  # noqa: E402

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BUSY = (429, 503, 504)  # what a server may say that has too much to do, or whose memory is taken away
GROWTH = 3 << 20  # bytes of resident memory, from a quarter of the time to its end
QUIET_EVERY = 240  # seconds between two times when all stop
FORM = {"anyOf": [{"type": "integer"}, {"type": "boolean"}, {"enum": [321, None, 30]}]}
WORDS = "the cat sat on a mat and so on and so forth until it was late".split()


def questions(models):
    """(path, body, whether it is asked as a stream), of each kind for each model."""
    r, asks = random.Random(5), []
    for model in models:
        def say(n):
            return " ".join(r.choice(WORDS) for _ in range(n))
        greedy, drawn = {"model": model, "temperature": 0}, {"model": model, "temperature": 0.8, "top_p": 0.95, "seed": 7}
        shared = [{"role": "system", "content": "you are one of many " * 10}]
        asks += [(TEXT, {**greedy, "prompt": say(8), "max_tokens": 24}, False), (TEXT, {**greedy, "prompt": say(30), "max_tokens": 40}, True),
                 (TEXT, {**drawn, "prompt": say(5), "max_tokens": 30, "n": 4}, False), (TEXT, {**drawn, "prompt": say(3), "max_tokens": 60, "n": 2}, True),
                 (TEXT, {**greedy, "prompt": [say(4), say(9), say(2)], "max_tokens": 9, "logprobs": 3}, False),
                 (TEXT, {**greedy, "prompt": say(25), "max_tokens": 0, "echo": True, "logprobs": 2}, False),
                 (TEXT, {**drawn, "prompt": say(6), "max_tokens": 40, "stop": ["a", "zz"], "frequency_penalty": 0.4}, True),
                 (CHAT, {**greedy, "messages": shared + [{"role": "user", "content": say(6)}], "max_tokens": 30}, True),
                 (CHAT, {**drawn, "messages": shared + [{"role": "user", "content": say(4)}], "max_tokens": 20, "logprobs": True, "top_logprobs": 2}, False),
                 (CHAT, {**drawn, "messages": [{"role": "user", "content": say(4)}], "max_tokens": 48, "response_format": {
                     "type": "json_schema", "json_schema": {"name": "it", "schema": FORM}}}, False),
                 ("/v1/embeddings", {"model": model, "input": [say(7), say(12)]}, False),
                 ("/tokenize", {"model": model, "content": say(20)}, False)]
    return asks


def essence(path, body):
    """What of an answer must be the same each time."""
    return body.get("choices") or body.get("data") or body.get("tokens")


def joined(lines):
    """The texts of a stream's answers, or None when it did not come to its end, and whether it told of an error."""
    texts, done, wrong = {}, False, None
    for line in lines:
        if not line.startswith(b"data: "):
            continue
        if line.strip() == b"data: [DONE]":
            done = True
            continue
        event = json.loads(line[6:])
        wrong = event.get("error", wrong)
        for c in event.get("choices", []):
            piece = c.get("text") or c.get("delta", {}).get("content") or ""
            texts[c["index"]] = texts.get(c["index"], "") + piece
    return (sorted(texts.items()) if done else None), wrong


class Soak:
    def __init__(self, server, asks, files, seed):
        self.s, self.asks, self.files, self.r = server, asks, files, random.Random(seed)
        self.go, self.stop, self.lock = threading.Event(), threading.Event(), threading.Lock()
        self.counts, self.wrong, self.samples = {}, [], []
        self.idle = 0  # clients that wait
        self.clients = []
        self.fault, self.fault_ended = None, 0.0
        self.without, self.only = (), ()

    # ---- clients ----

    def count(self, what, n=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + n

    def blame(self, what):
        with self.lock:
            self.wrong.append((time.strftime("%H:%M:%S"), self.fault, str(what)[:600]))
        print("# wrong: " + str(what)[:300], flush=True)

    def excused(self):
        """Whether a connection may fail now: a fault is on, or only just over."""
        return self.fault is not None or time.monotonic() - self.fault_ended < 5

    def ask(self, path, body, stream):
        """(status, what it said)"""
        raw = json.dumps({**body, "stream": True} if stream else body).encode()
        c = self.s.connect(90)
        try:
            c.request("POST", path, raw, {"Content-Type": "application/json"})
            reply = c.getresponse()
            data = reply.read()
        finally:
            c.close()
        if reply.status != 200:
            return reply.status, data
        if not stream:
            return 200, essence(path, json.loads(data))
        said, wrong = joined(data.splitlines())
        return (503, wrong) if wrong else (200, said)

    def check(self, i):
        path, body, stream = self.asks[i]
        try:
            status, said = self.ask(path, body, stream)
        except (OSError, ValueError, EOFError) as e:
            said, status = repr(e), 0
        except Exception as e:  # noqa: BLE001 (http.client's own)
            said, status = repr(e), 0
        if status == 200:
            self.count("right answers")
            if said != self.wanted[i]:
                self.blame(("another answer", i, self.asks[i], said, self.wanted[i]))
        elif status in BUSY:
            self.count("told to come again (%d)" % status)
        elif status == 0 and self.excused():
            self.count("connections that failed in a fault")
        elif status == 0:
            self.count("connections that failed otherwise")
        else:
            self.blame((status, self.asks[i], said))

    def cancel(self, r):
        path, body, _ = self.asks[r.randrange(len(self.asks))]
        data = request(json.dumps({**body, "stream": r.random() < .5, "max_tokens": 500} if "max_tokens" in body and body["max_tokens"] else body).encode(),
                       path=path.encode())
        with socket.create_connection((self.s.host, self.s.port), 30) as c:
            c.sendall(data)
            if r.random() < .3:
                c.shutdown(socket.SHUT_WR)
            c.settimeout(r.random() * .2)
            try:
                c.recv(300)
            except OSError:
                pass
        self.count("left in the middle")

    def close_a_side(self, r):
        back = self.s.raw(request(json.dumps({"prompt": "abc", "max_tokens": 20, "temperature": 0}).encode()), half_close=True, timeout=90)
        self.count("closed a side")
        if b" 200 OK" not in back and not any(b" %d " % status in back for status in BUSY) and back and not self.excused():
            self.blame(("closed a side", back[:300]))

    def oddities(self, r):
        seed, kind = r.randrange(1 << 30), r.randrange(8)
        if kind == 0:
            self.count("connections dropped", drop(self.s, 50, seed))
        elif kind == 1:
            self.count("malformed requests", sum(torment(self.s, 100, seed).values()))
        elif kind == 2:
            slow_writer(self.s)
            self.count("slow writers")
        elif kind == 3:
            slow_reader(self.s)
            self.count("slow readers")
        elif kind == 4:
            self.s.ask("POST", TEXT, b"[" * (1 << 20))
            self.s.ask("POST", CHAT, b'{"messages":' + b'{"a":' * 100000 + b"1" + b"}" * 100001)
            self.count("deep JSON", 2)
        elif kind == 5:
            self.s.ask("POST", TEXT, b'{"prompt":"' + b"x" * r.choice([7 << 20, 9 << 20]) + b'"}')
            self.count("huge bodies")
        elif kind == 6:
            self.close_a_side(r)
        else:
            self.cancel(r)

    def flood(self, r):
        """More at once than the queue holds; and those who are not told to come again are answered right."""
        n = 60
        in_threads(n, lambda k: self.check(r.randrange(len(self.asks))))
        self.count("floods")

    def client(self, number, act):
        r = random.Random(1000 * self.r.randrange(1 << 20) + number)
        while not self.stop.is_set():
            if not self.go.is_set():
                with self.lock:
                    self.idle += 1
                self.go.wait()
                with self.lock:
                    self.idle -= 1
                continue
            try:
                act(r)
            except OSError:
                self.count("odd clients that were cut off")
            except Exception as e:  # noqa: BLE001
                if not self.excused():
                    self.count("odd clients that failed: " + type(e).__name__)
            time.sleep(r.random() * .1)

    def start_clients(self):
        acts = [lambda r: self.check(r.randrange(len(self.asks)))] * 6 + [self.oddities] * 3 + [self.cancel]
        for i, act in enumerate(acts):
            t = threading.Thread(target=self.client, args=(i, act), daemon=True)
            t.start()
            self.clients.append(t)

    # ---- the server, as the system sees it ----

    def holdings(self):
        pid = self.s.process.pid
        return {"rss": self.s.rss(), "fds": len(os.listdir("/proc/%d/fd" % pid)), "threads": len(os.listdir("/proc/%d/task" % pid))}

    def limit(self, what, value):
        soft_hard = resource.prlimit(self.s.process.pid, what)
        resource.prlimit(self.s.process.pid, what, (value, soft_hard[1]))
        return soft_hard

    def healthy_again(self, seconds):
        return until(lambda: self.s.get("/health")[0] == 200, seconds)

    # ---- faults ----

    def stopped(self):
        self.s.process.send_signal(signal.SIGSTOP)
        time.sleep(self.r.uniform(.5, 4))
        self.s.process.send_signal(signal.SIGCONT)

    def no_descriptors(self):
        before = self.limit(resource.RLIMIT_NOFILE, self.holdings()["fds"] + self.r.randrange(3))
        in_threads(20, lambda i: self.check(self.r.randrange(len(self.asks))))
        time.sleep(1)
        resource.prlimit(self.s.process.pid, resource.RLIMIT_NOFILE, before)

    def no_memory(self):
        with open("/proc/%d/statm" % self.s.process.pid) as f:
            size = int(f.read().split()[0]) * 4096
        before = self.limit(resource.RLIMIT_AS, size + self.r.choice([0, 1 << 16, 1 << 20, 1 << 23]))
        time.sleep(self.r.uniform(.5, 3))
        resource.prlimit(self.s.process.pid, resource.RLIMIT_AS, before)

    def replaced(self):
        for path in self.files:
            shutil.copyfile(path, path + ".new")
            os.replace(path + ".new", path)

    def cut_short(self):
        """All files of the models are cut to nothing, filled with noise, and after a while put back."""
        kept = [path + ".kept" for path in self.files]
        for path, copy in zip(self.files, kept):
            shutil.copyfile(path, copy)
            size = os.path.getsize(path)
            with open(path, "r+b") as f:
                f.truncate(0)
                if self.r.random() < .5:
                    f.write(os.urandom(min(size, 1 << 20)))
        time.sleep(self.r.uniform(1, 4))
        for path, copy in zip(self.files, kept):
            with open(copy, "rb") as a, open(path, "r+b") as b:
                b.truncate(0)
                shutil.copyfileobj(a, b)
            os.remove(copy)

    def removed(self):
        folders = sorted({os.path.dirname(path) for path in self.files})
        for folder in folders:
            os.rename(folder, folder + ".away")
        time.sleep(self.r.uniform(1, 4))
        for folder in folders:
            os.rename(folder + ".away", folder)

    def reloaded(self):
        self.s.process.send_signal(signal.SIGHUP)
        time.sleep(self.r.uniform(0, 2))

    def reloaded_in_vain(self):
        """A reload while nothing can be read: what is loaded must stay."""
        folders = sorted({os.path.dirname(path) for path in self.files})
        for folder in folders:
            os.rename(folder, folder + ".away")
        self.s.process.send_signal(signal.SIGHUP)
        time.sleep(3)
        for folder in folders:
            os.rename(folder + ".away", folder)

    def flooded(self):
        self.flood(self.r)

    def inject(self):
        faults = [self.stopped, self.no_descriptors, self.flooded, self.reloaded, self.reloaded_in_vain]
        faults += [] if SANITIZED else [self.no_memory]
        faults += [self.replaced, self.cut_short, self.removed] if self.files else []
        f = self.r.choice([f for f in faults if f.__name__ not in self.without and (not self.only or f.__name__ in self.only)])
        self.fault = f.__name__
        try:
            f()
        finally:
            self.fault_ended = time.monotonic()
            self.fault = None
        self.count("fault: " + f.__name__)
        if not self.healthy_again(20):
            self.blame("not healthy 20 s after the fault " + f.__name__)

    # ---- the course of it ----

    def quiet(self):
        """All stop; what the server holds then. False when it does not come to rest."""
        self.go.clear()
        rested = until(lambda: self.idle == len(self.clients), 120)
        def at_rest():
            m = self.s.metrics()
            return m["paco_requests_running"] == m["paco_requests_waiting"] == 0 and m["paco_connections"] <= 1
        rested = until(at_rest, 30) and rested
        for i in range(len(self.asks)):
            status, said = self.ask(*self.asks[i])
            if (status, said) != (200, self.wanted[i]):
                self.blame(("in quiet", status, self.asks[i], said, self.wanted[i]))
        until(at_rest, 5)
        now = self.holdings()
        self.samples.append(now)
        print("# %s  %.1f MB resident, %d descriptors, %d threads, %d right answers, %d wrong" % (
            time.strftime("%H:%M:%S"), now["rss"] / 1e6, now["fds"], now["threads"], self.counts.get("right answers", 0), len(self.wrong)), flush=True)
        if not rested:
            self.blame("it did not come to rest")
        self.go.set()

    def run(self, seconds):
        self.wanted = []
        for path, body, stream in self.asks:
            status, said = self.ask(path, body, stream)
            if status != 200:
                raise RuntimeError("%s %s: %s %s" % (path, body, status, said))
            self.wanted.append(said)
        fill(self.s)
        self.start_clients()
        began, every = time.monotonic(), min(QUIET_EVERY, seconds / 6)
        self.quiet()
        next_quiet = began + every
        while time.monotonic() < began + seconds and self.s.process.poll() is None:
            time.sleep(self.r.uniform(.5, 5))
            self.inject()
            if time.monotonic() > next_quiet and self.s.process.poll() is None:
                self.quiet()
                next_quiet += every
        if self.s.process.poll() is None:
            self.quiet()
        self.stop.set()
        for t in self.clients:
            t.join(120)
        return time.monotonic() - began


def drain(soak):
    """SIGTERM with answers under way: all of them come to their end."""
    ends = [None] * 6

    def read(i):
        ends[i] = soak.ask(TEXT, {"prompt": "abc", "temperature": 1, "seed": i, "max_tokens": 400, "logit_bias": {"2": -100}}, i % 2 == 0)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(ends))]
    for t in threads:
        t.start()
    until(lambda: soak.s.metrics()["paco_requests_running"] == len(ends), 5)
    status = soak.s.end(timeout=60)
    for t in threads:
        t.join(60)
    case("it drains: exit status 0, and what was under way is finished", status == 0 and all(e and e[0] == 200 and e[1] for e in ends), (status, ends))


def judge(soak, took):
    print("# %.0f s: %s" % (took, "; ".join("%s %d" % item for item in sorted(soak.counts.items()))))
    case("every answer is the one of the beginning", not [w for w in soak.wrong] and soak.counts["right answers"] > 0, "\n".join(map(str, soak.wrong[:20])))
    case("connections failed in faults alone", not soak.counts.get("connections that failed otherwise"), soak.counts)
    first, last = soak.samples[1:] or soak.samples, soak.samples[-1]
    case("no descriptor is left open", last["fds"] <= first[0]["fds"] + 1, soak.samples)
    case("nor a thread", last["threads"] <= first[0]["threads"], soak.samples)
    if not SANITIZED:
        case("memory is flat", last["rss"] < soak.samples[len(soak.samples) // 4]["rss"] + GROWTH, soak.samples)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("seconds", nargs="?", type=float, default=3600)
    p.add_argument("--model")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--without", default="", help="faults that are not injected, by name, with commas between them")
    p.add_argument("--only", default="", help="those that alone are")
    o = p.parse_args()
    tunes, files = [], []
    if o.model:
        args, models = ["-m", o.model, "--alias", "base", "--context", 1024, "--parallel", 8], ["base"]
    else:
        base = babbler()
        tunes = [("diff", "tuned", diff("tuned", base)), ("adapter", "one", adapter("one", 1)), ("adapter", "two", adapter("two", 2))]
        args = ["-m", base, "--alias", "base", "--parallel", 8] + [a for kind, name, path in tunes for a in ("--" + kind, "%s=%s" % (name, path))]
        models = ["base"] + [name for _, name, _ in tunes]
        for folder in [base] + [path for _, _, path in tunes]:
            files += [os.path.join(folder, f) for f in sorted(os.listdir(folder)) if f.endswith(".safetensors")]
    with Server(*args, "--queue", 24, "--timeout", 60) as s:
        said = []
        threading.Thread(target=lambda: said.extend(s.process.stderr), daemon=True).start()
        soak = Soak(s, questions(models), files, o.seed)
        soak.without, soak.only = o.without.split(","), o.only.split(",") if o.only else ()
        took = soak.run(o.seconds)
        judge(soak, took)
        if case("it is still there", s.process.poll() is None, "".join(said[-20:])):
            drain(soak)
    sys.exit(1 if failures_so_far() else 0)


if __name__ == "__main__":
    main()
