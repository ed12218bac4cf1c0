#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that mean harm, or are broken: connections opened and dropped, malformed requests by the thousand, bodies sent byte by byte,
answers read slowly. What must hold: the server stays healthy, answers as before, and its memory does not grow.

The long form, whose figures are in docs/reliability.md: serve_hostile.py 10000 1000000 [MODEL], which then doubles connections three times, and
requests once."""
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time

from counting import babbler
from serving import Server, until
from tiny import SANITIZED, case, finish

TEXT = b"/v1/completions"
SLOW = {"prompt": "abc", "max_tokens": 40, "temperature": 0, "stream": True}
GROWTH = 2 << 20  # bytes that the heap may settle by when all of it comes again


def request(body, length=None, method=b"POST", path=TEXT, version=b"1.1"):
    return b"%b %b HTTP/%b\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (method, path, version, len(body) if length is None else length, body)


def malformed(r):
    """A request that is wrong in one way of many, and whether the connection can be used on."""
    good = json.dumps({"prompt": "abc", "max_tokens": 2}).encode()
    field = r.choice(["prompt", "max_tokens", "n", "temperature", "stop", "logit_bias", "stream", "model", "seed", "logprobs"])
    value = r.choice([None, -1, 1e300, "x" * r.randrange(200), [[]], {"a": {}}, [[1], "a"], 2 ** 70, "\u2603", {"-5": 3}])
    bad = [lambda: request(good[:r.randrange(len(good))]),
           lambda: request(bytes(r.randrange(256) for _ in range(r.randrange(1, 60)))),
           lambda: request(b"[" * r.randrange(1, 5000)),
           lambda: request(json.dumps({"prompt": "a", "max_tokens": 1, "model": "?", field: value}).encode()),
           lambda: request(b'{"prompt":"\\ud800"}'),
           lambda: request(b"", path=b"/" + bytes(r.choice(b"abc%/.~?&") for _ in range(r.randrange(100)))),
           lambda: request(good, method=r.choice([b"PUT", b"DELETE", b"BREW"]))]
    broken = [lambda: bytes(r.randrange(256) for _ in range(r.randrange(1, 100))) + b"\r\n\r\n",
              lambda: request(good, length=r.choice([10 ** 12, len(good) + 5])),
              lambda: b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % TEXT,
              lambda: b"POST %b HTTP/1.1\r\nContent-Length: -4\r\n\r\n" % TEXT]
    return (r.choice(bad)(), True) if r.random() < .95 else (r.choice(broken)(), False)


def read_answer(f):
    """Status and body of one answer with a Content-Length; (0, b"") when there is none."""
    line = f.readline()
    if not line.startswith(b"HTTP/1."):
        return 0, b""
    length = 0
    for header in iter(f.readline, b"\r\n"):
        if not header:
            return 0, b""
        if header.lower().startswith(b"content-length:"):
            length = int(header[15:])
    return int(line.split()[1]), f.read(length)


def torment(s, n, seed):
    """n malformed requests, many over one connection; how often each status came."""
    r, seen, c, f = random.Random(seed), {}, None, None
    for _ in range(n):
        data, goes_on = malformed(r)
        status = 0
        try:
            if c is None:
                c = socket.create_connection((s.host, s.port), 30)
                f = c.makefile("rb")
            c.sendall(data)
            if goes_on:
                status, _ = read_answer(f)
        except OSError:
            status = 0
        if not goes_on or status == 0 or status in (400, 413) and r.random() < .01:
            f.close()
            c.close()
            c = None
        key = status if goes_on else "broken"
        seen[key] = seen.get(key, 0) + 1
    if c:
        f.close()
        c.close()
    return seen


def in_threads(n, f):
    results = [None] * n

    def run(i):
        results[i] = f(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def drop(s, n, seed):
    """n connections opened and dropped: at once, after some bytes, after a request; half of them by a reset."""
    r = random.Random(seed)
    whole = request(json.dumps({"prompt": "abc", "max_tokens": 30}).encode())
    done = 0
    for _ in range(n):
        try:
            with socket.create_connection((s.host, s.port), 30) as c:
                if r.random() < .5:
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.sendall(whole[:r.choice([0, r.randrange(len(whole)), len(whole)])])
                done += 1
        except OSError:
            pass
    return done


def fill(s):
    """As many connections as one address may have, each with as large a head as there may be, and as many tokens as there is room for: what
    memory the server has set aside is touched, so that what grows from here on grows for another reason."""
    open_now = []
    for i in range(240):
        try:
            c = socket.create_connection((s.host, s.port), 30)
            c.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 15000)
            open_now.append(c)
        except OSError:
            break
    time.sleep(.5)
    for c in open_now:
        c.close()
    r = random.Random(3)
    for _ in range(20):
        prompt = "".join(r.choice("abcdefghijk ") for _ in range(100))
        s.post(TEXT.decode(), {"prompt": prompt, "n": 8, "max_tokens": 700, "temperature": 1, "logit_bias": {"2": -100}})


def slow_writer(s):
    """A request of which a byte comes now and then; its status."""
    with socket.create_connection((s.host, s.port), 30) as c:
        data = request(json.dumps({"prompt": "abc", "max_tokens": 1}).encode())
        for i in range(len(data)):
            c.sendall(data[i:i + 1])
            time.sleep(.01)
        with c.makefile("rb") as f:
            return read_answer(f)[0]


def slow_reader(s):
    """A stream read in sips; whether all of it came."""
    with socket.socket() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        c.settimeout(30)
        c.connect((s.host, s.port))
        c.sendall(request(json.dumps(SLOW).encode(), version=b"1.0"))
        got = b""
        while True:
            part = c.recv(256)
            if not part:
                return got.rstrip().endswith(b"data: [DONE]")
            got += part
            time.sleep(.01)


def idle(s):
    try:
        m = s.metrics()
    except OSError:  # just now this address has all the connections it may
        return False
    return m["paco_requests_running"] == m["paco_requests_waiting"] == 0 and m["paco_connections"] <= 1


def healthy(s, want):
    """Whether nothing is left of what was done to it within seconds (an idle connection would stay for a minute), and it answers as before."""
    if not until(lambda: idle(s), 10):
        return False
    return s.get("/health")[0] == 200 and s.post(TEXT.decode(), {"prompt": "abc", "max_tokens": 8, "temperature": 0})[1]["choices"] == want


def opened(s, want, n, seed):
    began = time.monotonic()
    done = sum(in_threads(4, lambda i: drop(s, n // 4, seed + i)))
    took = time.monotonic() - began
    case("healthy after %d connections opened and dropped" % n, healthy(s, want) and done > n * .9, done)
    print("# %.1f s, then %.2f MB resident" % (took, s.rss() / 1e6), flush=True)


def malformed_ones(s, want, n, seed):
    began, seen = time.monotonic(), {}
    for part in in_threads(4, lambda i: torment(s, n // 4, seed + i)):
        for status, k in part.items():
            seen[status] = seen.get(status, 0) + k
    took = time.monotonic() - began
    case("%d malformed requests get an answer, and none an error of ours" % n, seen.get(400, 0) > n * .4 and set(seen) <=
         {200, 400, 404, 405, 429, 501, "broken"}, seen)
    case("healthy after them", healthy(s, want))
    print("# %.1f s, %s, then %.2f MB resident" % (took, seen, s.rss() / 1e6), flush=True)


def large(s, want):
    """Requests that take long to read, some of whose clients do not wait: what others ask meanwhile is answered before them."""
    body = request(json.dumps({"content": "ab c" * (200000 if SANITIZED else 2000000)}).encode(), path=b"/tokenize")
    open_now = [socket.create_connection((s.host, s.port), 60) for _ in range(6)]
    for c in open_now:
        c.sendall(body)
    for c in open_now[1::2]:
        c.close()
    answered = 0
    while answered < 100 and not select.select(open_now[::2], [], [], 0)[0]:
        answered += s.get("/health")[0] == 200
    case("others are answered while large requests are read", answered > 3, answered)
    statuses = []
    for c in open_now[::2]:
        with c, c.makefile("rb") as f:
            statuses.append(read_answer(f)[0])
    case("and they are, too", statuses == [200] * 3, statuses)
    case("healthy after large ones", until(lambda: idle(s), 120) and healthy(s, want))  # those nobody waits for are read as well


def cut_short(s, want, path):
    """Somebody copies another file over the model's."""
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        kept = f.read()
        f.truncate(0)
        case("a model's file cut short under it", healthy(s, want))
        f.seek(0)
        f.write(b"\xff" * size)
        f.flush()
        case("and filled with something else", healthy(s, want))
        f.seek(0)
        f.write(kept)


def main():
    n_connections, n_requests = (int(a) for a in (sys.argv[1:3] or (10000, 4000)))
    model = sys.argv[3] if len(sys.argv) > 3 else babbler()
    with Server("-m", model, "--parallel", 8) as s:
        reader = threading.Thread(target=s.process.stderr.read, daemon=True)  # so that a full pipe stops nobody
        reader.start()
        want = s.post(TEXT.decode(), {"prompt": "abc", "max_tokens": 8, "temperature": 0})[1]["choices"]
        fresh = s.rss()
        # All of it once: what is set aside is touched, buffers of as many connections as there may be among it, and is used again.
        fill(s)
        in_threads(4, lambda i: drop(s, n_connections // 4, i))
        in_threads(4, lambda i: torment(s, 500, i))
        case("healthy at the beginning", healthy(s, want))
        before = s.rss()
        print("# %.2f MB resident at the start, %.2f MB when all of it was seen once" % (fresh / 1e6, before / 1e6), flush=True)
        for k in (1, 2, 4, 8) if sys.argv[1:] else (1,):
            opened(s, want, n_connections * k, 10 * k)
        for k in (1, 2) if sys.argv[1:] else (1,):
            malformed_ones(s, want, n_requests * k, 100 * k)
        results = in_threads(12, lambda i: slow_writer(s) if i % 2 else slow_reader(s))
        case("slow writers and readers are served", results == [True, 200] * 6, results)
        case("healthy after slow ones", healthy(s, want))
        if not SANITIZED:
            case("memory is flat", s.rss() < before + GROWTH, (before, s.rss()))
        large(s, want)
        if len(sys.argv) <= 3:
            cut_short(s, want, os.path.join(model, "model.safetensors"))
        case("it ends as it should", s.end() == 0)
    finish()


if __name__ == "__main__":
    main()
