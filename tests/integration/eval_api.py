#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco eval of a model behind an endpoint: one made up here, which answers by a hash of the prompt, and which can be slow,
busy, broken or something else altogether. The same questions must end in the same bytes whatever it went through."""
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time

from tiny import PACO, SANITIZED, case, finish, paco, paco_json, work, write

DATA = os.environ.get("PACO_DATA", "../shared/data")
KEY = "sk-this-is-secret-0123456789"


def words(text):
    return re.findall(r"\s?\S+|\s", text)


def word_logprob(word):
    return -1 - len(word) / 8


class Endpoint(http.server.BaseHTTPRequestHandler):
    """The class's attributes say how it behaves."""
    protocol_version = "HTTP/1.1"
    logprobs, chat_only, key = True, False, None
    faults = []       # what the next real questions meet, one each: a status, or "close", "cut", "html"
    html_for = None   # a text whose prompts are always answered with a web page
    withheld = {}     # by a text: what goes into the choice of prompts with it, whose text is empty
    pause = 0.0
    lock = threading.Lock()
    real, bodies = 0, []

    def log_message(self, *args):
        pass

    def reply(self, status, text, kind="application/json", headers=()):
        raw = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        for k, v in headers:
            self.send_header(k, v)
        self.end_headers()
        try:
            self.wfile.write(raw)
        except OSError:  # the client was killed
            self.close_connection = True

    def fault(self, fault):
        if fault == "close":
            self.close_connection = True
        elif fault == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"choices\": [")
            self.close_connection = True
        elif fault == 429:
            self.reply(429, '{"error": {"message": "slow down"}}', headers=[("Retry-After", "1")])
        else:
            self.reply(fault, "<html>bad gateway</html>", "text/html")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.path.endswith("/chat/completions")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        real = not prompt.startswith("1, 2, 3, 4,") and prompt != "A, A"
        with Endpoint.lock:
            fault = Endpoint.faults.pop(0) if real and Endpoint.faults else None
            Endpoint.real += real
            if real:
                Endpoint.bodies.append(body)
        if Endpoint.key and self.headers.get("Authorization") != "Bearer " + Endpoint.key:
            return self.reply(401, json.dumps({"error": {"message": "wrong key: " + self.headers.get("Authorization", "none")}}))
        if chat != Endpoint.chat_only:
            return self.reply(404, '{"error": {"message": "no such route here"}}')
        if real and Endpoint.html_for and Endpoint.html_for in prompt:
            return self.reply(200, "<!DOCTYPE html><title>Sign in, please</title>", "text/html")
        time.sleep(Endpoint.pause if real else 0)
        if fault:
            return self.fault(fault)
        self.reply(200, json.dumps(self.answer(prompt, body, chat)))

    def answer(self, prompt, body, chat):
        h = int(hashlib.sha256(prompt.encode()).hexdigest(), 16)
        n = body.get("max_tokens")
        text = " The answer is %d.\n\nQ:" % (h % 100)
        if "# Comparison 5" in prompt:
            text = "\n".join("%d. Output (%s)" % (i + 1, "ab"[h >> i & 1]) for i in range(5))
        extra = next((v for k, v in Endpoint.withheld.items() if k in prompt), {})
        text = "" if extra else text
        if n == 1:
            text = " " + "ABCD"[h % 4]
        if body.get("echo"):
            text = prompt
        choice = {"index": 0, "message": {"content": text}} if chat else {"index": 0, "text": text}
        choice.update(extra)
        if Endpoint.logprobs and body.get("logprobs") and not chat:
            if body.get("echo"):
                tokens = words(prompt)
                choice["logprobs"] = {"tokens": tokens, "token_logprobs": [None, *map(word_logprob, tokens[1:])], "top_logprobs": [None] * len(tokens)}
            else:
                top = {" " + c: -1.0 - (i + h) % 4 for i, c in enumerate("ABCD")}
                best = max(top, key=top.get)
                choice["logprobs"] = {"tokens": [best], "token_logprobs": [top[best]], "top_logprobs": [top]}
        return {"choices": [choice] * max(1, body.get("n", 1)), "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


def begin(**behaviour):
    for k, v in dict(logprobs=True, chat_only=False, key=None, faults=[], html_for=None, withheld={}, pause=0.0, real=0, bodies=[]).items():
        setattr(Endpoint, k, v)
    for k, v in behaviour.items():
        setattr(Endpoint, k, v)


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def text(path):
    with open(path, "rb") as f:
        return f.read()


def gsm(url, out, *more, limit=6):
    return ["eval", "gsm_cot", "--api", url, "--model", "m", "--data", DATA, "--out", out, "--limit", limit, *more]


def through_thick_and_thin(url):
    begin()
    done = paco(*gsm(url, work("plain")))
    items = lines(work("plain") + "/gsm_cot/items.jsonl")
    case("an endpoint is scored", done.returncode == 0 and len(items) == 6 and "gsm_cot" in done.stdout, done)
    case("its answers are upstream's kind", items[0]["prompt"].endswith("\nAnswer:") and items[0]["output"].startswith(" The answer is"), items[0])
    case("the newline ends them", "Q:" not in json.dumps([i["output"] for i in items]), items[0])
    case("prompts are sent as they are", any(b["prompt"] == items[0]["prompt"] for b in Endpoint.bodies))
    case("greedy, with the stop text", Endpoint.bodies[0]["temperature"] == 0 and Endpoint.bodies[0]["stop"] == ["\n"], Endpoint.bodies[0])
    begin(faults=[429, "close", 503, "cut", 500, 502])
    done = paco(*gsm(url, work("thin")))
    case("busy, broken, cut off: the same bytes", done.returncode == 0 and Endpoint.real == 12 and
         text(work("plain") + "/gsm_cot/items.jsonl") == text(work("thin") + "/gsm_cot/items.jsonl"), (done, Endpoint.real))


def one_that_fails(url):
    begin()
    items = lines(work("plain") + "/gsm_cot/items.jsonl")
    begin(html_for=items[3]["prompt"][-60:])
    done = paco(*gsm(url, work("html")))
    case("a web page for an answer: the item fails, and is counted", done.returncode == 1 and "1 items failed" in done.stderr, done)
    failed = [i for i in lines(work("html") + "/gsm_cot/items.jsonl") if "error" in i]
    case("and says what came", len(failed) == 1 and "web page, no JSON" in failed[0]["error"] and "Sign in, please" in failed[0]["error"], failed)
    begin()
    done = paco(*gsm(url, work("html")))
    case("the same command asks it again, and only it", done.returncode == 0 and Endpoint.real == 1, (done, Endpoint.real))
    case("with the same bytes in the end", text(work("html") + "/gsm_cot/items.jsonl") == text(work("plain") + "/gsm_cot/items.jsonl"))


def withheld(url):
    begin()
    items = lines(work("plain") + "/gsm_cot/items.jsonl")
    begin(withheld={items[1]["prompt"][-60:]: {"finish_reason": "content_filter"}, items[4]["prompt"][-60:]: {"error": {"message": "GPU lost"}}})
    done = paco(*gsm(url, work("withheld")))
    case("answers that were withheld or failed are not wrong ones", done.returncode == 1 and "2 items failed" in done.stderr, done)
    got = lines(work("withheld") + "/gsm_cot/items.jsonl")
    case("and say why", "(finish_reason 'content_filter')" in got[1].get("error", "") and "GPU lost" in got[4].get("error", "") and
         not any("correct" in got[i] for i in (1, 4)) and sum("error" in i for i in got) == 2, got)
    with open(work("withheld") + "/gsm_cot/results.json") as f:
        case("and have no part in the score", json.load(f)["score"] == 100 * sum(i["correct"] for i in got if "correct" in i) / 4)


def killed(url):
    n = 40
    begin()
    paco(*gsm(url, work("whole"), limit=n))
    begin(pause=0.3)
    p = subprocess.Popen([PACO, *map(str, gsm(url, work("killed"), "--batch", 4, limit=n))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while Endpoint.real < 20 and p.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    p.send_signal(signal.SIGKILL)
    p.wait()
    begin()
    done = paco(*gsm(url, work("killed"), "--batch", 4, limit=n))
    case("killed: it goes on, and asks less", done.returncode == 0 and 0 < Endpoint.real < n, (done, Endpoint.real))
    same = [f for f in ("items.jsonl", "metrics.json", "predictions.jsonl") if text(work("killed") + "/gsm_cot/" + f) == text(work("whole") + "/gsm_cot/" + f)]
    case("to the same bytes", len(same) == 3, same)


def choices(url):
    args = ["eval", "mmlu_0shot", "--subjects", "anatomy", "--api", url, "--model", "m", "--data", DATA, "--limit", 5, "--out"]
    begin()
    done = paco(*args, work("mmlu"))
    items = lines(work("mmlu") + "/mmlu_0shot/items.jsonl")
    case("choices are read from log-probabilities", done.returncode == 0 and abs(sum(items[0]["probs"]) - 1) < 1e-6 and
         len(set(items[0]["probs"])) == 4, (done, items[:1]))
    case("one request each", Endpoint.real == 5, Endpoint.real)
    begin(logprobs=False)
    done = paco(*args, work("mmlu2"))
    case("an endpoint without them says so before it is asked", done.returncode == 1 and Endpoint.real == 0 and
         "gives no log-probabilities" in done.stderr and "mmlu_0shot" in done.stderr, (done, Endpoint.real))
    begin(chat_only=True)
    done = paco(*gsm(url, work("chat"), limit=2))
    case("one that only chats gets messages", done.returncode == 0 and Endpoint.bodies[0]["messages"][0]["content"].endswith("Answer:") and
         "it has no completions" in done.stderr, (done, Endpoint.bodies[:1]))


def texts(url):
    """Perplexity, by echo: windows of four bytes a token, of which the second half's words count."""
    prose = " ".join("word" * (i % 3) + str(i) for i in range(200))
    args = ["eval", "perplexity", "--api", url, "--model", "m", "-c", 64, "--data", write(work("prose.txt"), prose), "--out"]
    begin(faults=[503])
    done = paco(*args, work("prose"))
    items = lines(work("prose") + "/perplexity/items.jsonl")
    with open(work("prose") + "/perplexity/results.json") as f:
        r = json.load(f)
    case("perplexity by echo", done.returncode == 0 and Endpoint.real == 2 * len(items) + 1 and
         "".join(i["prompt"] for i in items) == prose[:sum(len(i["prompt"]) for i in items)], (done, items[:1]))
    good = True
    for i in items:
        tail = i["prompt"][-i["n_scored_bytes"]:]
        want = words(tail)
        good &= tail[0] == " " and i["n_scored"] == len(want) and abs(i["nats"] + sum(map(word_logprob, want))) < 1e-9
        good &= 100 < len(i["prompt"]) / 2 <= i["n_scored_bytes"] + 16 and len(i["prompt"]) <= 256
    case("each window's words", good and len(items) > 3, items)
    n = sum(i["n_scored"] for i in items)
    case("their mean", abs(r["metrics"]["nats_per_token"] - sum(i["nats"] for i in items) / n) < 1e-9 and r["metrics"]["n_scored"] == n, r)
    begin(logprobs=False)
    done = paco(*args, work("prose2"))
    case("an endpoint without echo says so before it is asked", done.returncode == 1 and Endpoint.real == 0 and
         "perplexity" in done.stderr and "does not tell how likely the tokens of a prompt are" in done.stderr, done)


def keys(url):
    begin(key=KEY)
    env = dict(os.environ, MY_KEY=KEY, HF_HUB_OFFLINE="1")
    run = lambda *a, **k: subprocess.run([PACO, *map(str, a)], capture_output=True, text=True, env=dict(env, **k))
    done = run(*gsm(url, work("key"), "--api-key-env", "MY_KEY", limit=2))
    case("the key opens", done.returncode == 0, done)
    written = b"".join(text(os.path.join(d, f)) for d, _, files in os.walk(work("key")) for f in files)
    case("and is written nowhere", KEY.encode() not in written and KEY not in done.stdout + done.stderr)
    named = url.replace("://", "://bob:hunter22@") + "/v1"
    args = ["eval", "gsm_direct", "--api", named, "--api-key-env", "MY_KEY", "--data", DATA, "--out", work("named"), "--limit", 1]
    done = run(*args)
    written = b"".join(text(os.path.join(d, f)) for d, _, files in os.walk(work("named")) for f in files)
    case("nor is a password in the URL", os.path.exists(work("named")) and b"hunter22" not in written and
         "hunter22" not in done.stdout + done.stderr, (done, written[-2000:]))
    done = run(*gsm(url, work("key2"), "--api-key-env", "MY_KEY", limit=2), MY_KEY=KEY + "9")
    case("a wrong one does not, and is not repeated", done.returncode != 0 and "status 401: wrong key: Bearer [key]" in done.stderr and
         KEY not in done.stderr, done)
    done = run(*gsm(url, work("key3"), "--api-key-env", "NO_SUCH", limit=2))
    case("a variable that is not there is named", done.returncode == 2 and "NO_SUCH" in done.stderr, done)


def judges(url):
    outputs = os.path.join(DATA, "alpaca_eval/alpaca-7b/model_outputs.json")
    args = ["eval", "--judge-api", url, "--judge-model", "gpt-x", "--outputs", outputs, "--data", DATA, "--limit", 12, "--out"]
    os.environ["XDG_CACHE_HOME"] = work("cache")
    begin(chat_only=True, faults=[500, 429])
    done = paco(*args, work("judged"))
    case("a judge behind an endpoint", done.returncode == 0 and Endpoint.real == 5, (done, Endpoint.real))
    case("says what it will cost first", re.search(r"judging 1\d pairs: 3 requests, about \d+ tokens of prompts", done.stderr), done.stderr)
    body = Endpoint.bodies[0]
    case("is asked five comparisons at once", "# Comparison 5" in body["messages"][0]["content"] and body["max_tokens"] == 250, body)
    with open(work("judged") + "/alpaca_judge_text/metrics.json") as f:
        m = json.load(f)
    case("its number is not the card's", m["comparable"] is False and m["n_total"] == 12 and m["judge"] == "gpt-x", m)
    r = paco_json("eval", "--annotations", work("judged") + "/alpaca_judge_text/annotations.json")
    case("its annotations are like any other", r and r["win_rate"] == m["win_rate"] and r["standard_error"] == m["standard_error"], (r, m))
    begin(chat_only=True)
    done = paco(*args, work("judged"))
    case("nothing is asked twice", done.returncode == 0 and Endpoint.real == 0, (done, Endpoint.real))
    done = paco(*args, work("elsewhere"))
    case("nor in another place", done.returncode == 0 and Endpoint.real == 0 and
         text(work("elsewhere") + "/alpaca_judge_text/annotations.json") == text(work("judged") + "/alpaca_judge_text/annotations.json"),
         (done, Endpoint.real))
    case("and that is said", "3 replies of gpt-x had been kept by an earlier run" in done.stderr, done.stderr)
    kept = os.path.join(work("cache"), "paco/judge")
    for name in os.listdir(kept):
        with open(os.path.join(kept, name), "w") as f:
            f.write('{"choices": [')
    begin(chat_only=True)
    done = paco(*args, work("mended"))
    case("what is kept and cannot be read is asked anew", done.returncode == 0 and Endpoint.real == 3 and
         text(work("mended") + "/alpaca_judge_text/annotations.json") == text(work("judged") + "/alpaca_judge_text/annotations.json"),
         (done, Endpoint.real))
    done = paco("eval", "--judge-api", url, "--outputs", outputs, "--data", DATA, "--out", work("j"))
    case("which model: exit 2", done.returncode == 2 and "--judge-model" in done.stderr, done)


def annotations():
    path = os.path.join(DATA, "alpaca_eval/alpaca-7b/annotations_alpaca_eval_gpt4.json")
    done = paco("eval", "--annotations", path)
    case("alpaca-7b's published win rate", done.returncode == 0 and done.stdout.splitlines()[1].split() ==
         ["26.459627", "1.535711", "205", "584", "16", "805"], done)
    with open(path) as f:
        rows = json.load(f)
    rows[0]["preference"] = None
    rows[1]["preference"] = 7
    done = paco("eval", "--annotations", write(work("bad.json"), rows))
    case("a preference that is none is named", done.returncode == 1 and "annotation 1 (from 0)" in done.stderr and "bad.json" in done.stderr, done)
    done = paco("eval", "--annotations", work("nowhere.json"))
    case("no such file: exit 1", done.returncode == 1 and "nowhere.json" in done.stderr, done)


def certificates():
    openssl = shutil.which("openssl")
    if not openssl:
        print("ok - certificates # SKIP no openssl")
        return
    key, cert = work("tls/key.pem"), work("tls/cert.pem")
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                    "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "https://127.0.0.1:%d" % server.server_port
    begin()
    done = paco(*gsm(url, work("tls1"), limit=1))
    case("a certificate nobody knows is refused", done.returncode == 1 and "certificate is not to be trusted" in done.stderr, done)
    os.environ["SSL_CERT_FILE"] = cert
    done = paco(*gsm(url, work("tls2"), limit=1))
    del os.environ["SSL_CERT_FILE"]
    case("unless SSL_CERT_FILE vouches for it", done.returncode == 0, done)


def costs_nothing_unused():
    done = subprocess.run([PACO], capture_output=True, text=True, env=dict(os.environ, LD_TRACE_LOADED_OBJECTS="1"))
    case("the program does not link libcurl", "libcurl" not in done.stdout, done.stdout)


def main():
    if not os.path.exists(os.path.join(DATA, "gsm/test.jsonl")):
        print("ok - evaluating endpoints # SKIP no %s (PACO_DATA)" % DATA)
        return
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"):
            del os.environ[name]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d" % server.server_port
    through_thick_and_thin(url)
    one_that_fails(url)
    withheld(url)
    killed(url)
    choices(url)
    texts(url)
    keys(url)
    judges(url)
    annotations()
    certificates()
    if not SANITIZED:
        costs_nothing_unused()
    finish()


main()
