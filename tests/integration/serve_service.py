#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco serve as a service: the log of requests, keys that change, what a service manager hears, and hang-ups."""
import json
import os
import pty
import re
import signal
import socket
import time

from counting import babbler, model
from serving import Server, until
from tiny import PACO, case, finish, paco, work

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def logged(path, n):
    """n lines: a line may come a moment later than the answer it is about."""
    return until(lambda: len(lines(path)) == n)


def log(m):
    path = work("log", "requests")
    with open(work("keys"), "w", encoding="utf-8") as f:
        f.write("first-secret\nsecond-secret\n")
    second = {"Authorization": "Bearer second-secret"}
    with Server("-m", m, "--alias", "counts", "--log", path, "--api-key-file", work("keys")) as s:
        s.get("/health")
        logged(path, 1)
        s.post(TEXT, {"prompt": "abc" * 20, "temperature": 0, "max_tokens": 3}, second)
        logged(path, 2)
        s.post(TEXT, {"prompt": "abc" * 20, "temperature": 0, "max_tokens": 3}, second)
        logged(path, 3)
        s.post(CHAT, {"messages": [{"role": "user", "content": "tell nobody"}]})
        logged(path, 4)
        s.post(CHAT, {"messages": 3}, second)
        logged(path, 5)
        s.ask("GET", "/%0a{\"status\":200}%1b%5b2J%ff%e2%80%a8", headers=second)
        logged(path, 6)
        s.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nUser-Agent: a\x1b[2Jb\"}\r\nConnection: close\r\n\r\n")
        logged(path, 7)
        s.raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer second-secret\r\nContent-Length: 50\r\n\r\n{", half_close=True)
        case("a line each", logged(path, 8), lines(path))
        l = lines(path)
        case("and their order", [(x["method"], x["path"], x["status"]) for x in l[:5]] == [
            ("GET", "/health", 200), ("POST", TEXT, 200), ("POST", TEXT, 200), ("POST", CHAT, 401), ("POST", CHAT, 400)], l)
        case("who", [x["client"] for x in l[:4]] == ["127.0.0.1", "key 2", "key 2", "127.0.0.1"], l)
        case("what of tokens", (l[1]["model"], l[1]["prompt_tokens"], l[1]["cached_tokens"], l[1]["completion_tokens"], l[1]["stream"]) ==
             ("counts", 60, 0, 3, False) and l[2]["cached_tokens"] >= 32, l[1:3])
        case("how long", 0 < l[1]["first_token_ms"] <= l[1]["ms"] < 60000 and l[0]["ms"] >= 0, l[1])
        case("when", all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", x["time"]) for x in l), l)
        case("why", (l[3]["error"], "error" in l[0]) == ("invalid_api_key", False), l[3])
        with open(path, "rb") as f:
            raw = f.read()
        case("no byte from outside ends a line or steers a terminal", raw.count(b"\n") == 8 and all(b == 10 or 32 <= b < 127 for b in raw), raw)
        case("no words and no keys", not any(w in raw for w in (b"tell", b"abc", b"secret")), raw)
        case("one that left before it was whole", l[7]["status"] == 499 and l[7]["path"] == TEXT, l[7])
        mode = os.stat(path).st_mode & 0o777
        case("not for everybody", mode & 0o007 == 0, oct(mode))
        os.rename(path, path + ".1")
        s.get("/health")
        case("what was moved away is written to still", logged(path + ".1", 9))
        s.process.send_signal(signal.SIGHUP)
        s.hear("reloaded")
        s.get("/health")
        case("until it is told", logged(path, 1) and len(lines(path + ".1")) == 9)
        events = list(s.stream(TEXT, {"prompt": "abc", "temperature": 0, "max_tokens": 5}, second))
        case("a stream", events[-1] == "[DONE]" and logged(path, 2) and lines(path)[1]["stream"] is True, lines(path))
        keys_that_change(s)


def keys_that_change(s):
    def asks(key):
        return s.ask("GET", "/v1/models", headers={"Authorization": "Bearer " + key})[0]

    with open(work("keys"), "w", encoding="utf-8") as f:
        f.write("second-secret\nthird-secret\n")
    case("keys stay until it is told", (asks("first-secret"), asks("third-secret")) == (200, 401))
    s.process.send_signal(signal.SIGHUP)
    s.hear("reloaded")
    case("and change then", (asks("first-secret"), asks("second-secret"), asks("third-secret")) == (401, 200, 200))
    with open(work("keys"), "w", encoding="utf-8") as f:
        f.write("\n")
    s.process.send_signal(signal.SIGHUP)
    case("a file without keys opens no door", "stay as they were" in s.hear("keys"))
    s.hear("reloaded")
    case("nor closes one", (asks("nobody"), asks("third-secret")) == (401, 200))


def words(m):
    path = work("log", "words")
    with Server("-m", m, "--log", path, "--log-prompts") as s:
        s.post(TEXT, {"prompt": ["abc", "x\ny"], "temperature": 0, "max_tokens": 3})
        case("prompts and answers, when asked for", until(lambda: lines(path)) and lines(path)[0]["prompts"] == ["abc", "x\ny"] and
             lines(path)[0]["answers"][0] == "def" and len(lines(path)[0]["answers"]) == 2, lines(path))
        case("for the owner alone", os.stat(path).st_mode & 0o077 == 0)
    with Server("-m", m, "--log", "-") as s:
        s.get("/health")
        case("on standard error", json.loads(s.hear("/health"))["status"] == 200)
    with Server("-m", m, "--log", "/dev/full") as s:
        case("a full disk ends nothing", s.get("/health")[0] == 200 and "lines of the log are lost" in s.hear("lost") and s.get("/health")[0] == 200)
    done = paco("serve", "-m", m, "--port", "0", "--log-prompts")
    case("nowhere to write words", done.returncode == 2 and "--log" in done.stderr, done)
    done = paco("serve", "-m", m, "--port", "0", "--log", work("log") + "/none/at/all")
    case("a log that cannot be", done.returncode == 1 and "the log" in done.stderr, done)


def unfinished(m):
    """One that leaves in the middle: what it was sent is counted."""
    path = work("log", "unfinished")
    with Server("-m", m, "--log", path) as s:
        events = s.stream(TEXT, {"prompt": "abc", "max_tokens": 1000, "n": 64, "temperature": 1, "logit_bias": {"2": -100}})
        for _ in range(3):
            next(events)
        events.close()
        case("one that left in the middle", logged(path, 1) and lines(path)[0]["status"] == 499 and lines(path)[0]["completion_tokens"] >= 3, lines(path))
        case("is in the sums, too", until(lambda: s.metrics()["paco_completion_tokens_total"] == lines(path)[0]["completion_tokens"]), s.metrics())


def manager(m, abstract):
    """What systemd would hear."""
    name = "\0paco-test-%d" % os.getpid() if abstract else work("notify")
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(name)
    heard.settimeout(30)

    def hears(word):
        text = heard.recv(4096).decode()
        return word in text.split("\n")[0], text

    with Server("-m", m, env={"NOTIFY_SOCKET": name.replace("\0", "@")}) as s:
        case("it is up", *hears("READY=1"))
        s.process.send_signal(signal.SIGHUP)
        ok, text = hears("RELOADING=1")
        case("it reloads", ok and re.search(r"^MONOTONIC_USEC=\d+$", text, re.M), text)
        case("and is up again", *hears("READY=1"))
        s.process.send_signal(signal.SIGTERM)
        case("it stops", *hears("STOPPING=1"))
        case("well", s.process.wait(30) == 0)
    heard.close()


def terminal(m, nohup):
    """A server at a terminal that goes away."""
    pid, master = pty.fork()
    if pid == 0:  # the leader of a session, as a shell is
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)  # whatever these tests were started under
        err = os.open(work("said-%d" % nohup), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(err, 2)
        os.execv(PACO, [PACO, "serve", "-m", m, "--port", "0"])

    def said(word):
        with open(work("said-%d" % nohup), encoding="utf-8") as f:
            return word in f.read()

    def ended():
        return os.waitpid(pid, os.WNOHANG)[0] == pid

    ok = until(lambda: os.path.exists(work("said-%d" % nohup)) and said("is served at"))
    os.kill(pid, signal.SIGHUP)
    case("told to reload at a terminal", ok and until(lambda: said("reloaded")))
    os.close(master)
    if nohup:
        time.sleep(0.5)
        case("with nohup it outlives its terminal", not ended())
        os.kill(pid, signal.SIGTERM)
    case("and ends" if nohup else "it ends with its terminal", until(ended))


def main():
    m = model("counts")
    log(m)
    words(m)
    unfinished(babbler())
    manager(m, False)
    manager(m, True)
    terminal(m, False)
    terminal(m, True)
    with Server("-m", m, env={"PACO_API_KEY": "of-the-environment"}) as s:
        case("a key of the environment", (s.ask("GET", "/v1/models")[0], s.ask("GET", "/v1/models", headers={
            "Authorization": "Bearer of-the-environment"})[0], s.ask("HEAD", "/health")[2]) == (401, 200, b""))
        status, headers, body = s.ask("HEAD", TEXT, headers={"Authorization": "Bearer of-the-environment"})
        case("HEAD of what is asked by POST", (status, headers["Allow"], body) == (405, "POST", b""), headers)
        case("gzip that is refused", b"<!doctype html>" in s.ask("GET", "/", headers={"Accept-Encoding": "gzip;q=0, identity"})[2][:200].lower())
    finish()


main()
