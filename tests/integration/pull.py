#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco pull, from a hub on this machine: whole models, what is left out, interruptions, and everything that goes wrong between
a client and a hub. The cache it leaves is held against huggingface_hub's rules (tests/parity/hub_cache.py asks the original)."""
import fcntl
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time

from counting import model as counting_model
from fake_hub import Hub, Repo, git_blob
from tiny import PACO, case, finish, work, write

hub = Hub()
n_homes = 0


def home():
    global n_homes
    n_homes += 1
    path = work("home%d" % n_homes)
    os.makedirs(path)
    return path


def environment(at, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PACO_", "HF_")) and "proxy" not in k.lower()}
    env.update(HF_HOME=at, HF_ENDPOINT=hub.url, HOME=at)
    env.update(more)
    return {k: v for k, v in env.items() if v is not None}


def pull(at, *args, timeout=60, **more):
    hub.asked.clear()
    return subprocess.run([PACO, "pull", *args], capture_output=True, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL,
                          env=environment(at, **more))


def pulled(at, *args, **more):
    done = pull(at, *args, "--json", **more)
    return json.loads(done.stdout) if done.returncode == 0 else done


def repo_dir(at, name):
    return os.path.join(at, "hub", "models--" + name.replace("/", "--"))


def blobs(at, name):
    path = os.path.join(repo_dir(at, name), "blobs")
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def check_layout(at, name, repo, names, revision="main"):
    """What huggingface_hub expects of a repository in its cache."""
    top = repo_dir(at, name)
    snapshot = os.path.join(top, "snapshots", repo.commit)
    wrong = []
    for f in names:
        path, data = os.path.join(snapshot, f), repo.files[f]
        digest = hashlib.sha256(data).hexdigest() if f in repo.lfs else git_blob(data)
        if not os.path.islink(path) or os.path.isabs(os.readlink(path)):
            wrong.append("%s is no relative link" % f)
        elif os.path.realpath(path) != os.path.realpath(os.path.join(top, "blobs", digest)) or open(path, "rb").read() != data:
            wrong.append("%s is not its blob" % f)
    found = sorted(os.path.relpath(os.path.join(d, f), snapshot) for d, _, files in os.walk(snapshot) for f in files)
    if found != sorted(names):
        wrong.append("holds %s" % found)
    if sorted(os.listdir(top)) != ["blobs", "refs", "snapshots"] or [b for b in blobs(at, name) if not set(b) <= set("0123456789abcdef")]:
        wrong.append("holds more: %s %s" % (os.listdir(top), blobs(at, name)))
    ref = os.path.join(top, "refs", revision)
    if open(ref).read() != repo.commit:
        wrong.append("refs/%s is %r" % (revision, open(ref).read()))
    return wrong


def model_files(seed=1, size=300000):
    files = {}
    top = counting_model("counting%d" % seed)
    for f in os.listdir(top):
        with open(os.path.join(top, f), "rb") as data:
            files[f] = data.read()
    files["README.md"] = b"# A model\n"
    files["model.safetensors"] += b"" if seed == 1 else b" "
    files["extra/notes with space+%.txt"] = b"notes"
    files["extra/big.dat"] = random.Random(seed).randbytes(size)
    return files


def plain():
    files = model_files()
    repo = Repo(files, ["model.safetensors", "extra/big.dat"])
    hub.repos["org/plain"] = {"main": repo, "v1/x": repo}
    at = home()
    r = pulled(at, "org/plain")
    case("a model is pulled", isinstance(r, dict) and r["n_fetched"] == len(files) and r["commit"] == repo.commit, r)
    case("its folder is named", isinstance(r, dict) and os.path.samefile(r["path"], repo_dir(at, "org/plain") + "/snapshots/" + repo.commit), r)
    wrong = check_layout(at, "org/plain", repo, files)
    case("the cache is laid out as huggingface_hub does", not wrong, wrong)
    case("large files came from the storage", any(a[0] == "storage" for a in hub.asked), hub.asked)
    done = subprocess.run([PACO, "generate", "-m", "org/plain", "-p", "ab", "--format", "raw", "-n", "3"], capture_output=True, text=True,
                          env=environment(at, HF_HUB_OFFLINE="1"))
    case("-m finds it by its name", done.stdout.strip() == "cde", done)
    done = pull(at, "org/plain")
    case("the second time no file is asked for", done.returncode == 0 and len(hub.asked) == 1 and "%d were there" % len(files) in done.stderr,
         (done, hub.asked))
    case("stdout is the folder alone", done.stdout == r["path"] + "\n", done.stdout)
    done = pull(at, "org/plain@v1/x")
    case("a branch with a slash", done.returncode == 0 and not check_layout(at, "org/plain", repo, files, "v1/x") and "revision/v1%2Fx?" in hub.asked[0][1],
         (done, hub.asked))
    done = pull(at, "org/plain@" + repo.commit)
    case("a commit", done.returncode == 0, done)
    done = pull(at, "org/plain", HF_HUB_OFFLINE="1")
    case("offline it is found without a request", done.returncode == 0 and done.stdout == r["path"] + "\n" and not hub.asked, done)
    done = pull(home(), "org/plain", HF_HUB_OFFLINE="1")
    case("offline and not there", done.returncode == 1 and "HF_HUB_OFFLINE is set" in done.stderr and "paco pull would" not in done.stderr and not hub.asked, done)
    at = home()
    done = pull(at, "org/plain", "--dry-run")
    case("--dry-run writes nothing", done.returncode == 0 and "to come" in done.stderr and not os.path.exists(at + "/hub"), done)
    done = pull(at, "org/plain", HF_HUB_CACHE=at + "/elsewhere")
    case("HF_HUB_CACHE", done.returncode == 0 and os.path.isdir(at + "/elsewhere/models--org--plain"), done)
    return repo


def damaged(repo):
    at = home()
    pull(at, "org/plain")
    blob = os.path.join(repo_dir(at, "org/plain"), "blobs", hashlib.sha256(repo.files["extra/big.dat"]).hexdigest())
    with open(blob, "r+b") as f:
        f.write(b"damage")
    r = pulled(at, "org/plain")
    case("damage of the same size is not looked for", isinstance(r, dict) and r["n_fetched"] == 0, r)
    r = pulled(at, "org/plain", "--verify")
    case("but by --verify it is, and mended", isinstance(r, dict) and r["n_fetched"] == 1 and not check_layout(at, "org/plain", repo, repo.files), r)
    with open(blob, "wb") as f:
        f.write(b"short")
    r = pulled(at, "org/plain")
    case("a blob of another size is fetched again", isinstance(r, dict) and r["n_fetched"] == 1 and not check_layout(at, "org/plain", repo, repo.files), r)


def update(repo):
    """A new commit breaks off, and the version before stays; then it comes."""
    at = home()
    pull(at, "org/plain")
    files = dict(repo.files, **{"README.md": b"# Newer\n", "extra/big.dat": random.Random(9).randbytes(200000)})
    newer = Repo(files, repo.lfs, commit="b" * 40)
    hub.repos["org/plain"]["main"] = newer
    hub.faults["extra/big.dat"] = ["wrong", "wrong", "wrong"]
    done = pull(at, "org/plain")
    ref = open(repo_dir(at, "org/plain") + "/refs/main").read()
    case("an update that fails leaves the version before", done.returncode == 1 and ref == repo.commit and
         os.listdir(repo_dir(at, "org/plain") + "/snapshots") == [repo.commit], done)
    case("and says what came", "other bytes came than the hub announced" in done.stderr and "extra/big.dat" in done.stderr, done.stderr)
    hub.faults.clear()
    r = pulled(at, "org/plain")
    case("then it comes, and only what is new", isinstance(r, dict) and r["n_fetched"] == 1 + (r["n_there"] < len(files) - 1) and
         not check_layout(at, "org/plain", newer, files), r)
    hub.repos["org/plain"]["main"] = repo


def faults(repo):
    big = "extra/big.dat"
    for fault, n_least, what in (("break", 2, "a broken connection goes on where it ended"), ("503", 2, "a server that is busy is asked again"),
                                 ("429", 2, "429 with Retry-After is waited for"), ("wrong", 2, "a wrong digest is fetched once more"),
                                 ("longer", 2, "more bytes than announced"), ("shorter", 2, "fewer bytes than announced")):
        at = home()
        hub.faults = {big: [fault, None]}
        start = time.time()
        r = pulled(at, "org/plain")
        asked = [a for a in hub.asked if a[0] == "storage" and "big.dat" in a[1]]
        case(what, isinstance(r, dict) and len(asked) >= n_least and not check_layout(at, "org/plain", repo, repo.files), (r, asked))
        if fault in ("break", "shorter"):
            case("... not from the beginning (%s)" % fault, any(a[2] and a[2] != "bytes=0-" for a in asked), asked)
        if fault == "429":
            case("... for as long as it says", time.time() - start >= 1, time.time() - start)
    at = home()
    hub.faults = {big: ["break"] * 9 + [None]}
    r = pulled(at, "org/plain", timeout=120)
    case("nine breaks, each of which brought something", isinstance(r, dict) and not check_layout(at, "org/plain", repo, repo.files), r)
    at = home()
    hub.faults = {big: ["stall", None]}
    r = pulled(at, "org/plain", HF_HUB_DOWNLOAD_TIMEOUT="1")
    case("a connection that stalls is given up, and goes on", isinstance(r, dict) and not check_layout(at, "org/plain", repo, repo.files), r)
    at = home()
    hub.faults = {big: ["break", "other", None]}
    r = pulled(at, "org/plain")
    case("another version's validator on the second try", isinstance(r, dict) and not check_layout(at, "org/plain", repo, repo.files), r)
    at = home()
    hub.faults = {big: ["break", None]}
    hub.ranges = False
    r = pulled(at, "org/plain")
    hub.ranges = True
    case("a server without ranges begins again", isinstance(r, dict) and not check_layout(at, "org/plain", repo, repo.files), r)
    at = home()
    hub.faults = {big: ["page", "page", "page"]}
    done = pull(at, "org/plain")
    case("a sign-in page is no file", done.returncode == 1 and "extra/big.dat" in done.stderr and not os.path.exists(repo_dir(at, "org/plain") + "/refs/main"),
         done)
    hub.faults = {}
    hub.info_faults = ["429", "break"]
    case("faults while asking", isinstance(pulled(home(), "org/plain"), dict))


def interrupted(repo):
    at, big = home(), "extra/big.dat"
    digest = hashlib.sha256(repo.files[big]).hexdigest()
    part = os.path.join(repo_dir(at, "org/plain"), "blobs", digest + ".incomplete")
    hub.slow = 0.05
    p = subprocess.Popen([PACO, "pull", "org/plain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(at))
    while p.poll() is None and not (os.path.exists(part) and os.path.getsize(part) > 60000):
        time.sleep(0.005)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate()
    size = os.path.getsize(part)
    case("Ctrl-C keeps what came", p.returncode == 130 and size > 60000 and "the same command goes on" in err, (p.returncode, err))
    case("and shows no model", not os.listdir(repo_dir(at, "org/plain") + "/snapshots") and not os.listdir(repo_dir(at, "org/plain") + "/refs"))
    p = subprocess.Popen([PACO, "pull", "org/plain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(at))
    while p.poll() is None and os.path.getsize(part) < size + 40000:
        time.sleep(0.005)
    p.kill()
    p.communicate()
    case("kill -9, too", os.path.getsize(part) > size, os.path.getsize(part))
    size = os.path.getsize(part)
    hub.slow = 0
    r = pulled(at, "org/plain")
    asked = [a for a in hub.asked if a[0] == "storage" and "big.dat" in a[1]]
    case("the same command goes on from there", isinstance(r, dict) and [a[2] for a in asked] == ["bytes=%d-" % size], (r, asked, size))
    case("to the same bytes", not check_layout(at, "org/plain", repo, repo.files), check_layout(at, "org/plain", repo, repo.files))
    at = home()
    part = os.path.join(repo_dir(at, "org/plain"), "blobs", digest + ".incomplete")
    write(part, b"x" * 1000)
    r = pulled(at, "org/plain")
    case("a part of something else is found out", isinstance(r, dict) and not check_layout(at, "org/plain", repo, repo.files), r)
    at = home()
    part = os.path.join(repo_dir(at, "org/plain"), "blobs", digest + ".incomplete")
    write(part, repo.files[big])
    r = pulled(at, "org/plain")
    case("a part that is whole is not asked for", isinstance(r, dict) and not [a for a in hub.asked if "big.dat" in a[1]] and
         not check_layout(at, "org/plain", repo, repo.files), (r, hub.asked))


def two_at_once(repo):
    at = home()
    hub.slow = 0.03
    hub.asked.clear()
    both = [subprocess.Popen([PACO, "pull", "org/plain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(at)) for _ in range(2)]
    ends = [(p.communicate(), p.returncode) for p in both]
    hub.slow = 0
    asked = [a for a in hub.asked if a[0] == "storage" and "big.dat" in a[1]]
    case("two at once share the work", [c for _, c in ends] == [0, 0] and len(asked) == 1 and not check_layout(at, "org/plain", repo, repo.files), (ends, asked))
    digest = hashlib.sha256(repo.files["extra/big.dat"]).hexdigest()
    at = home()
    lock = write(os.path.join(at, "hub/.locks/models--org--plain", digest + ".lock"), b"")
    with open(lock) as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        p = subprocess.Popen([PACO, "pull", "org/plain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(at))
        time.sleep(1)
        waits = p.poll() is None
    _, err = p.communicate(timeout=30)
    case("huggingface_hub's lock is waited for", waits and p.returncode == 0 and "another process is downloading it" in err, err)


def choices():
    w = b"w" * 100
    names = ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
             "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "original/consolidated.00.pth", "original/params.json", "tf_model.h5",
             "flax_model.msgpack", "onnx/model.onnx", "onnx/config.json", "model.Q8_0.gguf", "optimizer.pt", "training_args.bin", "rng_state_0.pth",
             "runs/events.out.tfevents.1", "checkpoint-5/model.safetensors", "openvino_model.bin", "LICENSE", "adapter_model.bin"]
    hub.repos["org/many"] = {"main": Repo({n: n.encode() for n in names})}
    at = home()
    r = pulled(at, "org/many")
    want = ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "LICENSE",
            "adapter_model.bin"]
    wrong = check_layout(at, "org/many", hub.repos["org/many"]["main"], want) if isinstance(r, dict) else r
    case("the same weights are taken once", not wrong, wrong)
    notes = "\n".join(r["notes"]) if isinstance(r, dict) else ""
    for part in ("2 of PyTorch's files", "1 of GGUF files", "of other programs' files", "of a training's files", "2 of files in folders"):
        case("said: %s" % part, part in notes, notes)
    r = pulled(at, "org/many", "--include", "original/", "--include", "*.gguf", "--exclude", "*.json")
    both = want + ["original/consolidated.00.pth", "model.Q8_0.gguf"]
    wrong = check_layout(at, "org/many", hub.repos["org/many"]["main"], both) if isinstance(r, dict) else r
    case("--include and --exclude", not wrong and r["n_files"] == 2, wrong or r)
    hub.repos["org/bin"] = {"main": Repo({n: w for n in ("pytorch_model.bin", "config.json", "training_args.bin")})}
    r = pulled(at, "org/bin")
    case(".bin is taken where there is nothing better", isinstance(r, dict) and r["n_files"] == 2, r)
    hub.repos["org/meta"] = {"main": Repo({n: n.encode() for n in ("7B/consolidated.00.pth", "7B/params.json", "tokenizer.model")})}
    r = pulled(at, "org/meta")
    case("weights in a folder, where there are no others", isinstance(r, dict) and r["n_files"] == 3, r)
    hub.repos["org/gguf"] = {"main": Repo({n: n.encode() for n in ("a.Q4_K.gguf", "a.Q8_0.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf")})}
    done = pull(at, "org/gguf")
    case("of several GGUF models one must be named", done.returncode == 2 and "3 GGUF models" in done.stderr and "a.Q4_K.gguf, a.Q8_0.gguf, b-00001" in done.stderr, done)
    r = pulled(at, "org/gguf", "--include", "*Q4_K*")
    case("... as a pattern", isinstance(r, dict) and r["n_files"] == 1, r)
    r = pulled(at, "org/gguf", "--exclude", "a.*")
    case("... or by leaving others out; pieces of one are one", isinstance(r, dict) and r["n_files"] == 2, r)
    done = pull(at, "org/many", "--include", "*.xyz")
    case("a pattern that matches nothing", done.returncode == 1 and "matches none of the 22 files" in done.stderr, done)
    done = pull(at, "org/many", "--exclude", "*")
    case("nothing left", done.returncode == 1 and "none is left" in done.stderr, done)


def access():
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    hub.repos["org/private"] = {"main": Repo(files, private=True)}
    hub.repos["org/gated"] = {"main": Repo(files, ["model.safetensors"], gated=True)}
    hub.repos["org/refused"] = {"main": Repo(files, gated="refused")}
    at, token = home(), hub.token
    done = pull(at, "org/nothing")
    case("no such model, no token", done.returncode == 2 and "no model 'org/nothing', or it is private" in done.stderr and "HF_TOKEN" in done.stderr, done)
    done = pull(at, "org/nothing", HF_TOKEN=token)
    case("no such model, with a token", done.returncode == 1 and "your token may not see it" in done.stderr, done)
    done = pull(at, "org/private", HF_TOKEN="hf_wrongwrong")
    case("a wrong token", done.returncode == 2 and "does not take your token" in done.stderr and "hf_wrong" not in done.stderr, done)
    done = pull(at, "org/private", HF_TOKEN=token)
    case("a private model", done.returncode == 0 and all(a[3] == "Bearer " + token for a in hub.asked), (done, hub.asked))
    done = pull(at, "org/gated")
    case("gated, no token", done.returncode == 2 and "is gated: accept its terms at %s/org/gated" % hub.url in done.stderr, done)
    done = pull(at, "org/refused", HF_TOKEN=token)
    case("gated, and not granted", done.returncode == 2 and "ask for access at %s/org/refused" % hub.url in done.stderr, done)
    write(at + "/token", token + "\n")
    done = pull(at, "org/gated")
    case("gated, with the token of the file", done.returncode == 0, done)
    elsewhere = [a for a in hub.asked if a[0] == "storage"]
    case("the token goes to no other host", elsewhere and not any(a[3] for a in elsewhere), elsewhere)
    done = pull(home(), "org/gated", HF_TOKEN_PATH=at + "/token")
    case("HF_TOKEN_PATH", done.returncode == 0, done)
    done = pull(at, "org/plain", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
    case("HF_HUB_DISABLE_IMPLICIT_TOKEN", done.returncode == 0 and not any(a[3] for a in hub.asked), hub.asked)
    write(at + "/token", "two words\n")
    done = pull(at, "org/plain")
    case("a token file that holds none", done.returncode == 1 and "characters that no token has" in done.stderr and "two words" not in done.stderr, done)
    os.unlink(at + "/token")
    hub.faults = {"config.json": ["429"] * 9}
    done = pull(at, "org/plain@nosuch")
    hub.faults = {}
    case("no such revision", done.returncode == 1 and "has no revision 'nosuch'" in done.stderr, done)
    done = pull(at, "org/plain", HF_ENDPOINT="http://127.0.0.1:9", timeout=100)
    case("no hub there", done.returncode == 1 and "127.0.0.1:9" in done.stderr, done)
    done = pull(home(), "org/plain", HF_ENDPOINT="hub.example")
    case("a hub that is no URL", done.returncode == 2 and "HF_ENDPOINT is 'hub.example'" in done.stderr, done)
    done = pull(home(), hub.url + "/org/plain")
    case("a page's address for a name", done.returncode == 2 and "what follows the host" in done.stderr, done)
    for name in ("../x", "a/b/c", "", "a b/c", "org/name@../x"):
        done = pull(at, "--", name)
        case("no name: %r" % name, done.returncode == 2 and not hub.asked, done)
    done = pull(at)
    case("no name at all", done.returncode == 2 and "which model?" in done.stderr, done)


def hostile():
    def info(*siblings, **more):
        return dict({"sha": "a" * 40, "siblings": list(siblings)}, **more)

    def sibling(name, **more):
        return dict({"rfilename": name, "size": 3, "blobId": "0" * 40}, **more)

    cases = [(n, info(sibling("config.json"), sibling(n)), "safe to write") for n in
             ("../evil", "/etc/evil", "a/../../evil", "a//b", "a/./b", ".", "a\n.txt", "a\x1b[2J", "a\\..\\b", "x" * 300, "a\0b", "")]
    cases += [("the same name twice", info(sibling("a"), sibling("a")), "two files called 'a'"),
              ("a file that is a folder", info(sibling("a/b"), sibling("a-b"), sibling("a")), "two files called 'a'"),
              ("a digest that leads elsewhere", info(sibling("a", blobId="../../evil")), "digest is none"),
              ("a SHA-256 that leads elsewhere", info(sibling("a", lfs={"sha256": "../" * 20 + "evil", "size": 3})), "digest is none"),
              ("no digest", info({"rfilename": "a", "size": 3}), "blobId"), ("a negative size", info(sibling("a", size=-3)), "size"),
              ("a size beyond all measure", info(sibling("a", size=1 << 62)), "size"), ("a commit that leads elsewhere", info(sibling("a"), sha="../../x"), "no commit"),
              ("no commit", {"siblings": []}, "sha"), ("no files", info(), "none is left"), ("no list of files", {"sha": "a" * 40}, "'siblings' is missing"),
              ("a list of no files", info(7), "holds an integer"), ("an answer that is a list", [1], "no answer of a hub"),
              ("a web page", b"<html>sign in</html>", "no answer of a hub: <html>sign in"),
              ("deep nesting", b"[" * 100000, "no answer of a hub"), ("JSON cut off", b'{"sha": "' + b"a" * 40, "no answer of a hub"),
              ("millions of values", b'{"sha":"' + b"a" * 40 + b'","x":[' + b"0," * 3000000 + b"0]}", "values"),
              ("60,000 files", info(*[sibling("f%d" % i) for i in range(60000)]), "60000 files"),
              ("a file larger than the disk", info(sibling("a", size=1 << 49)), "GB short")]
    at = home()
    for what, answer, part in cases:
        hub.info = answer
        hub.repos["org/hostile"] = {"main": Repo({})}
        done = pull(at, "org/hostile")
        case("%.60r" % what, done.returncode == 1 and part in done.stderr and "\x1b" not in done.stderr and not os.path.exists(at + "/hub"), done)
    hub.info = None
    case("nothing was written anywhere", not [f for _, _, files in os.walk(at) for f in files], list(os.walk(at)))


def many():
    files = {"f/%05d.txt" % i: b"%d" % (i % 50) for i in range(20000)}
    repo = Repo(dict(files, **{"config.json": b"{}"}))
    hub.repos["org/many20k"] = {"main": repo}
    at = home()
    r = pulled(at, "org/many20k", "--dry-run")
    case("20,000 files are looked at", isinstance(r, dict) and r["n_files"] == 20001, r)
    r = pulled(at, "org/many20k", "--include", "f/00*", timeout=120)
    case("1,000 files of 50 contents", isinstance(r, dict) and r["n_files"] == 1000 and r["n_fetched"] == 50 and len(blobs(at, "org/many20k")) == 50, r)


def terminal_free():
    """The bar on a pipe never goes back."""
    at = home()
    hub.slow = 0.2
    hub.faults = {"extra/big.dat": ["break", "wrong", None]}
    p = subprocess.run([PACO, "pull", "org/plain"], capture_output=True, text=True, env=environment(at))
    hub.slow = 0
    hub.faults = {}
    shares = [int(w) for line in p.stderr.splitlines() for w, sign in zip(line.split(), line.split()[1:]) if sign == "%" and w.isdigit()]
    case("the bar does not go back", p.returncode == 0 and shares == sorted(shares) and shares, (p.stderr, shares))


repo = plain()
damaged(repo)
update(repo)
faults(repo)
interrupted(repo)
two_at_once(repo)
choices()
access()
hostile()
many()
terminal_free()
finish()
