#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco data generate against an endpoint on this machine, and against the same pipeline done here with Python's own numbers,
patterns and JSON (upstream's script was run on such replies too): prompts, filters, duplicates, the file; going on after
an interruption and a kill; an endpoint with no room; and what goes wrong."""
import hashlib
import http.server
import json
import os
import random
import re
import signal
import string
import subprocess
import threading
import time

from tiny import PACO, case, finish, paco, paco_json, until_caught, work

NOT_TEXT = ("image images graph graphs picture pictures file files map maps draw plot go_to video audio music flowchart "
            "diagram").replace("_", " ").replace("go to", "go_to").split()
VERBS = ["Write", "List", "Explain", "Name", "Translate", "Compare", "Draw", "Describe", "Plot", "\u00c9crire", "-Sort", "Summarise"]
THINGS = ["three kinds of tea", "the causes of rain", "a short poem about llamas", "two prime numbers", "the image on a wall",
          "how to go to a meeting", "an essay on rivers", "some caf\u00e9s in Paris", "the old map", "ways to save water at home",
          "a reply to an angry customer", "filesystems", "the rules of chess", "a program", "steps of a recipe for bread"]
TAILS = ["", " for a child", " in one sentence", ":", " and say why", " with examples", " carefully and slowly", " 4. today"]


def reply_to(prompt):
    """Some tasks, always the same ones for a prompt, with what upstream's parser meets in each; and how they end."""
    r = random.Random(hashlib.sha256(prompt.encode()).hexdigest())
    first = int(re.findall(r"(\d+)\. Instruction:$", prompt)[0])
    out = ""
    for n in range(first, first + r.randint(1, 9)):
        text = "%s %s%s" % (r.choice(VERBS), r.choice(THINGS), r.choice(TAILS))
        if r.random() < 0.05:
            text = "word " * r.choice([2, 149, 151])
        if n > first:
            out += "###\n%d. Instruction:" % (n if r.random() < 0.95 else n + 1)
        out += " " + text + "\n%d.%sInput:\n%s\n" % (n, r.choice([" ", "\n", "\u00a0"]), r.choice(["<noinput>", "<NoInput> ", "some input", ""]))
        out += "" if r.random() < 0.05 else "%d. Output:\n%s\n" % (n, r.choice(["An answer.", "a\nb\n", "\u4f60\u597d", "see 4. Input: x"]))
    return out, r.choice(["stop", "stop", "length"])


class Endpoint(http.server.BaseHTTPRequestHandler):
    seen, delay, room, fault = [], 0.0, 10000, None
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def say(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # it was killed meanwhile
            self.close_connection = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Endpoint.seen.append((self.path, body))
        time.sleep(Endpoint.delay)
        if Endpoint.fault and len(Endpoint.seen) > Endpoint.fault:
            self.say(401, {"error": {"message": "bad key"}})
        elif body["max_tokens"] > Endpoint.room:
            self.say(400, {"error": {"message": "This model has no room. Please reduce your prompt; or completion length."}})
        else:
            chat = "messages" in body
            text, reason = reply_to(body["messages"][0]["content"] if chat else body["prompt"])
            choice = {"index": 0, "finish_reason": reason}
            choice.update({"message": {"role": "assistant", "content": "4. Instruction:" + text}} if chat else {"text": text})
            self.say(200, {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}})


# ---- the pipeline, done here ----

def words(text):
    return [w for w in re.sub("[^a-z0-9]+", " ", text.lower()).split(" ") if w]


def likeness(new, known):
    row = [0] * (len(known) + 1)
    for a in new:
        before = 0
        for j, b in enumerate(known):
            before, row[j + 1] = row[j + 1], before + 1 if a == b else max(row[j], row[j + 1])
    p, r = (row[-1] / len(known), row[-1] / len(new)) if known and new else (0, 0)
    return 2 * p * r / (p + r) if p + r > 0 else 0.0


def wanted(text):
    pattern = r"\b(%s)\b" % "|".join(w.replace("_", " ") for w in NOT_TEXT)
    return (3 < len(text.split()) <= 150 and not re.search(pattern, text, re.I) and not text.startswith("Write a program")
            and text[0] not in string.punctuation and text[0].isascii())


def tasks_in(reply, reason):
    pieces = ("4. Instruction:" + reply).split("###")
    for n, piece in enumerate(pieces):
        parts = re.split(r"%d\.\s+(?:Instruction|Input|Output):" % (n + 4), piece)
        if len(parts) == 4 and not (n == len(pieces) - 1 and reason == "length"):
            i, x, o = (p.strip() for p in parts[1:])
            if wanted(i):
                yield {"instruction": i, "input": "" if x.lower() == "<noinput>" else x, "output": o}


def prompt_of(preamble, seeds):
    out = preamble + "\n"
    for k, s in enumerate(seeds, 1):
        out += "###\n%d. Instruction: %s\n%d. Input:\n%s\n%d. Output:\n%s\n" % (
            k, re.sub(r"\s+", " ", s["instruction"]).strip().rstrip(":"), k, s["instances"][0]["input"] or "<noinput>", k,
            s["instances"][0]["output"])
    return out + "###\n4. Instruction:"


def pipeline(preamble, seeds, n, batch=5):
    """Prompts asked, and what is in the end in the file (without the mean, which is compared roughly)."""
    random.seed(42)
    known = [(s["instruction"], words(s["instruction"])) for s in seeds]
    prompts, out = [], []
    while len(out) < n:
        asked = [prompt_of(preamble, random.sample(seeds, 3)) for _ in range(batch)]
        prompts += asked
        for task in (t for p in asked for t in tasks_in(*reply_to(p))):
            scores = [likeness(words(task["instruction"]), w) for _, w in known]
            if max(scores) > 0.7:
                continue
            best = sorted(range(len(scores)), key=lambda i: (-scores[i], -i))[:10]
            task["most_similar_instructions"] = {known[i][0]: scores[i] for i in best}
            task["avg_similarity_score"] = sum(scores) / len(scores)
            out.append(task)
            known.append((task["instruction"], words(task["instruction"])))
    return prompts, out


def same(got, want):
    def plain(rows):
        return [{k: v for k, v in r.items() if k != "avg_similarity_score"} for r in rows]
    return plain(got) == plain(want) and all(
        abs(g["avg_similarity_score"] - w["avg_similarity_score"]) < 1e-12 for g, w in zip(got, want))


# ---- the cases ----

def make_seeds():
    r = random.Random(9)
    seeds = [{"id": "seed_task_%d" % i, "name": "n", "is_classification": False,
              "instruction": "Seed %d:  %s\n%s:" % (i, r.choice(THINGS), " ".join(r.choice(string.ascii_lowercase) * 5 for _ in range(6))),
              "instances": [{"input": r.choice(["", "an input \u00e9"]), "output": "out %d" % i}]} for i in range(30)]
    with open(work("seed_tasks.jsonl"), "w", encoding="utf-8") as f:
        f.write("".join(json.dumps(s) + "\n" for s in seeds))
    with open(work("prompt.txt"), "w", encoding="utf-8") as f:
        f.write("Come up with 20 tasks.\n\nList of 20 tasks:")
    return seeds


def arguments(url, out, n, *more):
    return ["data", "generate", "--api", url, "-m", "llama", "--output_dir", out, "-n", str(n), "--seed_tasks_path",
            work("seed_tasks.jsonl"), "--prompt_path", work("prompt.txt"), *more]


def result(out):
    with open(os.path.join(out, "regen.json"), encoding="utf-8") as f:
        text = f.read()
    value = json.loads(text)
    case("regen.json is Python's JSON", text == json.dumps(value, indent=4), text[:300])
    return value


def at_once(url, seeds):
    prompts, want = pipeline("Come up with 20 tasks.\n\nList of 20 tasks:", seeds, 60)
    out = work("once")
    Endpoint.seen.clear()
    done = paco(*arguments(url, out, 60, "--prompt-price", "1", "--completion-price", "2"))
    got = result(out)
    case("the same instructions", same(got, want), (len(got), len(want), done.stderr[-500:]))
    case("the same prompts", sorted(b["prompt"] for _, b in Endpoint.seen) == sorted(prompts))
    body = Endpoint.seen[0][1]
    case("what is asked for", body["stop"] == ["\n20", "20.", "20."] and body["logit_bias"] == {"50256": -100}
         and body["max_tokens"] == 3072 and body["temperature"] == 1 and body["top_p"] == 1 and body["model"] == "llama", body)
    case("what each batch gave is said", re.search(r"Request 1 took \d+\.\d\ds, processing took \d+\.\d\ds", done.stderr)
         and re.search(r"Generated \d+ instructions, kept \d+ instructions", done.stderr), done.stderr[-500:])
    case("tokens to go, and their price", "tokens to go, at your prices" in done.stderr, done.stderr[-500:])
    again = paco_json(*arguments(url, out, 60))
    case("nothing is left to do", again["new"] == 0 and again["requests"] == 0 and again["instructions"] == len(got), again)
    return want


def in_pieces(url, seeds, want):
    out = work("pieces")
    paco(*arguments(url, out, 10))
    Endpoint.delay = 0.3
    argv = [PACO, *arguments(url, out, 60)]
    for number in (signal.SIGINT, signal.SIGKILL):
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until_caught(p, signal.SIGINT)
        time.sleep(0.8)
        p.send_signal(number)
        _, said = p.communicate(timeout=60)
        case("stopped by %d" % number, p.returncode in (128 + signal.SIGINT, -signal.SIGKILL), (p.returncode, said))
    Endpoint.delay = 0.0
    with open(os.path.join(out, "regen.jsonl"), "a", encoding="utf-8") as f:
        f.write('{"request": 99, "records": [{"torn')
    paco(*arguments(url, out, 60))
    case("in pieces as at once", same(result(out), want))


def others(url, want):
    out = work("imported")
    os.makedirs(out)
    with open(os.path.join(out, "regen.json"), "w", encoding="utf-8") as f:
        json.dump(want[:7], f, indent=4)
    paco(*arguments(url, out, 20))
    got = result(out)
    case("a list of upstream's goes on", same(got[:7], want[:7]) and len(got) >= 20, len(got))
    Endpoint.seen.clear()
    Endpoint.room = 2000
    done = paco(*arguments(url, work("room"), 10))
    Endpoint.room = 10000
    case("asked again with fewer tokens", done.returncode == 0 and 1965 in {b["max_tokens"] for _, b in Endpoint.seen}
         and "Reducing target length to 2457, Retrying..." in done.stderr and 1572 not in {b["max_tokens"] for _, b in Endpoint.seen}, done.stderr[-500:])
    Endpoint.seen.clear()
    done = paco(*arguments(url, work("chat"), 10, "--api-chat", "--no_logit_bias"))
    case("a chat endpoint", done.returncode == 0 and len(result(work("chat"))) >= 10
         and Endpoint.seen[0][0].endswith("/chat/completions") and "logit_bias" not in Endpoint.seen[0][1], done.stderr[-500:])
    plan = paco_json("data", "generate", "--plan", "-n", "1000", "--output_dir", out, "--seed_tasks_path", work("seed_tasks.jsonl"),
                     "--prompt_path", work("prompt.txt"), "--prompt-price", "10")
    case("a plan", plan["seeds"] == 30 and plan["there"] == len(got) and plan["prompts"] > 50 and plan["cost"] > 0, plan)


def wrong(url):
    Endpoint.seen.clear()
    Endpoint.fault = 12
    out = work("fault")
    done = paco(*arguments(url, out, 500))
    Endpoint.fault = None
    case("what came before a fault is kept", done.returncode != 0 and "bad key" in done.stderr and len(result(out)) > 0, done.stderr[-500:])
    with open(work("bad.jsonl"), "w") as f:
        f.write('{"instruction": "i", "instances": [{"input": "", "output": ""}]}\n{"instruction": "i", "instances": []}\n')
    args = arguments(url, work("bad"), 10)
    args[args.index("--seed_tasks_path") + 1] = work("bad.jsonl")
    done = paco(*args)
    case("bad seeds", done.returncode == 1 and "line 2: 'instances' holds none" in done.stderr, done.stderr)
    done = paco("data", "generate", "-m", "x")
    case("no endpoint", done.returncode == 2 and "which endpoint?" in done.stderr, done.stderr)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d/v1" % server.server_address[1]
    os.environ.pop("http_proxy", None)
    seeds = make_seeds()
    want = at_once(url, seeds)
    in_pieces(url, seeds, want)
    others(url, want)
    wrong(url)
    server.shutdown()
    finish()


main()
