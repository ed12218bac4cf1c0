#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco data fetch, from a mirror on this machine: whole sets, an interruption, a second time without the mirror, and what
goes wrong. The mirror is laid out from the addresses that --list --json names, with the files of PACO_DATA."""
import hashlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time

from tiny import PACO, case, finish, paco, paco_json, until_caught, work, write

DATA = os.environ.get("PACO_DATA", "../shared/data")
ELSEWHERE = {"codex_humaneval/HumanEval.jsonl.gz": "human_eval/HumanEval.jsonl.gz"}


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, in parts if asked, at most a little at a time if slow."""
    slow = 0.0
    asked = []

    def log_message(self, *args):
        pass

    def do_GET(self):
        Mirror.asked.append((self.path, self.headers.get("Range")))
        path = self.translate_path(self.path)
        if not os.path.isfile(path):
            self.send_error(404, "nothing here")
            return
        with open(path, "rb") as f:
            data = f.read()
        at = int((self.headers.get("Range") or "bytes=0-").split("=")[1].rstrip("-"))
        self.send_response(206 if at else 200)
        self.send_header("Content-Length", str(len(data) - at))
        self.send_header("ETag", '"%s"' % hashlib.sha256(data).hexdigest()[:8])
        if at:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (at, len(data) - 1, len(data)))
        self.end_headers()
        step = 1 << 14 if Mirror.slow else len(data) or 1
        try:
            for i in range(at, len(data), step):
                self.wfile.write(data[i:i + step])
                self.wfile.flush()
                time.sleep(Mirror.slow)
        except OSError:
            pass


def sets():
    done = paco("data", "fetch", "--list", "--json")
    return {s["set"]: s for s in map(json.loads, done.stdout.splitlines())}


def exemplars():
    """Upstream's Python file, as its exemplars were published."""
    with open(os.path.join(DATA, "gsm/exemplars.jsonl")) as f:
        rows = [json.loads(line) for line in f]
    items = ",\n".join("    {\n" + ",\n".join('        "%s": %s' % (k, json.dumps(v)) for k, v in r.items()) + "\n    }" for r in rows)
    return "# These examplars are from the Table 20 of CoT paper (https://arxiv.org/pdf/2201.11903.pdf).\nEXAMPLARS = [\n" + items + "\n]\n"


def lay_out(top, known):
    for s in known.values():
        for f in s["files"]:
            to = os.path.join(top, f["url"].split("://")[1])
            source = os.path.join(DATA, ELSEWHERE.get(f["path"], f["path"]))
            if f["path"] == "gsm/exemplars.jsonl":
                write(to, exemplars())
            elif f["path"] == "mgsm/exemplars.json":
                pass  # upstream's file cannot be had back from what was made of it: unit tests read one like it
            elif os.path.isfile(source):
                with open(source, "rb") as data:
                    write(to, data.read())


def same(path, other):
    with open(path, "rb") as a, open(other, "rb") as b:
        return a.read() == b.read()


def whole_sets(url, out, known):
    names = ["gsm", "bbh", "codex_humaneval", "alpaca_eval", "creative_tasks"]
    n = sum(len(known[s]["files"]) for s in names)
    r = paco_json("data", "fetch", *names, "--from", url, "--out", out)
    case("five sets are fetched", r and r["n_fetched"] == n and r["n_failed"] == 0, r)
    case("exemplars are made of upstream's Python file", same(out + "/gsm/exemplars.jsonl", DATA + "/gsm/exemplars.jsonl"))
    case("files are what they should be", same(out + "/bbh/bbh/snarks.json", DATA + "/bbh/bbh/snarks.json"))
    case("nothing else is left", not [f for _, _, files in os.walk(out) for f in files if "paco" in f])
    Mirror.asked.clear()
    r = paco_json("data", "fetch", *names, "--from", "http://127.0.0.1:9", "--out", out)
    case("the second time nothing is asked for", r and r["n_there"] == n and not Mirror.asked, r)


def interrupted(url, out):
    Mirror.slow = 0.05
    args = [PACO, "data", "fetch", "gsm", "--from", url, "--out", out]
    p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = out + "/gsm/test.jsonl.paco-part"
    until_caught(p, signal.SIGINT)
    while p.poll() is None and not (os.path.exists(part) and os.path.getsize(part) > 50000):
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate()
    case("Ctrl-C keeps what came", p.returncode == 130 and os.path.getsize(part) > 50000, (p.returncode, err))
    case("and gives no file its name", not os.path.exists(out + "/gsm/test.jsonl"))
    case("and says how to go on", "the same command goes on" in err, err)
    Mirror.slow = 0
    Mirror.asked.clear()
    done = paco(*args[1:])
    case("the same command goes on", done.returncode == 0 and any(r and r != "bytes=0-" for _, r in Mirror.asked), (done, Mirror.asked))
    case("to the same bytes", same(out + "/gsm/test.jsonl", DATA + "/gsm/test.jsonl"))


def what_goes_wrong(url, top, out, known):
    tar = os.path.join(top, known["mmlu"]["files"][0]["url"].split("://")[1])
    write(tar, "not that tar")
    done = paco("data", "fetch", "mmlu", "--from", url, "--out", out)
    case("another file than the known one is refused", done.returncode == 1 and "12 bytes came, and the file has 166184960" in done.stderr, done)
    case("and not kept", not os.path.exists(out + "/mmlu"))
    done = paco("data", "fetch", "tydiqa", "mgsm", "--from", url, "--out", out)
    case("what cannot be had does not keep others from coming", done.returncode == 1 and os.path.exists(out + "/mgsm/mgsm_de.tsv"), done)
    case("and is named", "3 of 14 files could not be had" in done.stderr and "status 404" in done.stderr and "tydiqa-goldp" in done.stderr, done)
    done = paco("data", "fetch", "bbh", "--from", "http://127.0.0.1:9/x", "--out", out, "--json", timeout=120)
    case("no network: one line names the first address", done.returncode == 1 and "127.0.0.1:9/x/raw.githubusercontent.com" in done.stderr, done)
    done = paco("data", "fetch", "everything")
    case("no such set: exit 2", done.returncode == 2 and "there is no data set 'everything': --list shows them" in done.stderr, done)
    done = paco("data", "fetch", "bbh", "--from", work("no-mirror"), "--out", out)
    case("no such mirror", done.returncode == 1 and "no-mirror: there is no such folder (--from)" in done.stderr, done)
    case("no set: exit 2", paco("data", "fetch").returncode == 2)
    os.environ["https_proxy"] = "http://127.0.0.1:9"
    done = paco("data", "fetch", "bbh", "--out", out, timeout=120)
    del os.environ["https_proxy"]
    case("no network: how to do without", done.returncode == 1 and "--urls lists the addresses" in done.stderr, done)
    for args, part in ((["fetch", "evla"], "there is no data set 'evla' (did you mean eval?)"), (["fetch", "humaneval"], "did you mean codex_humaneval?"),
                       (["mmul"], "there is no job 'mmul' (did you mean fetch mmlu?)"), (["fetchh"], "(did you mean fetch?)"), (["refromat"], "(did you mean reformat?)"), ([], "which job? There are fetch, generate, reformat")):
        done = paco("data", *args)
        case("paco data " + " ".join(args) + ": exit 2", done.returncode == 2 and part in done.stderr and done.stderr.count("SET...") == 1, done)
    done = paco("data", "fetch", "gsm", "mgsm", "--urls")
    case("--urls", done.returncode == 0 and done.stdout.split() == [f["url"] for s in ("gsm", "mgsm") for f in known[s]["files"]], done)


def main():
    if not os.path.exists(os.path.join(DATA, "gsm/test.jsonl")):
        print("ok - fetching data # SKIP no %s (PACO_DATA)" % DATA)
        return
    known = sets()
    top = work("mirror")
    lay_out(top, known)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Mirror(*a, directory=top))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    url = "http://127.0.0.1:%d" % server.server_port
    whole_sets(url, work("all"), known)
    interrupted(url, work("interrupted"))
    what_goes_wrong(url, top, work("wrong"), known)
    r = paco_json("data", "fetch", "gsm", "--from", top, "--out", work("folder"))
    case("a folder does as well as a mirror", r and r["n_fetched"] == 2 and same(work("folder") + "/gsm/test.jsonl", DATA + "/gsm/test.jsonl"), r)
    finish()


main()
