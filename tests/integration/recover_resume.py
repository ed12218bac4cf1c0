#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco recover, interrupted: killed, told to stop, out of space, changed in between. The same command goes on, and the bytes are
those of a run that nothing disturbed."""
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import PACO, SANITIZED, case, config, finish, paco, paco_json, work, write  # noqa: E402

WIDTH, INNER, LAYERS, VOCAB = (128, 344, 2, 2000) if SANITIZED else (512, 1376, 4, 16000)


def shapes(extra):
    yield "model.embed_tokens.weight", [VOCAB + extra, WIDTH]
    for n in range(LAYERS):
        p = "model.layers.%d." % n
        for x in "qkvo":
            yield p + "self_attn.%s_proj.weight" % x, [WIDTH, WIDTH]
        yield p + "mlp.gate_proj.weight", [INNER, WIDTH]
        yield p + "mlp.down_proj.weight", [WIDTH, INNER]
        yield p + "mlp.up_proj.weight", [INNER, WIDTH]
        yield p + "input_layernorm.weight", [WIDTH]
        yield p + "post_attention_layernorm.weight", [WIDTH]
    yield "model.norm.weight", [WIDTH]
    yield "lm_head.weight", [VOCAB + extra, WIDTH]


def save_large(path, diff):
    """Random numbers of the right size, a megabyte of them over and over: quick to make, and no two tensors alike."""
    r = random.Random(diff)
    code, size = ("f", 4) if diff else ("e", 2)
    block = struct.pack("<%d%s" % (1 << 18, code), *(r.gauss(0, 1e-3 if diff else 0.02) for _ in range(1 << 18))) * 2
    header, at = {}, 0
    for name, shape in shapes(diff):
        n = size * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32" if diff else "F16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    os.makedirs(path)
    with open(os.path.join(path, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for k, v in enumerate(header.values()):
            left = v["data_offsets"][1] - v["data_offsets"][0]
            skip = k * 64 * size
            while left > 0:
                n = min(left, len(block) // 2)
                f.write(block[skip:skip + n])
                left -= n
    cfg = config(vocab=VOCAB + diff, hidden=WIDTH, layers=LAYERS, heads=4, kv_heads=4, ff=INNER)
    write(os.path.join(path, "config.json"), cfg)
    write(os.path.join(path, "tokenizer_config.json"), {"pad_token": "[PAD]"} if diff else {})
    return path


def digest(path):
    """Of everything in a directory."""
    h = hashlib.sha256()
    for name in sorted(set(os.listdir(path)) - {".paco-journal"}):  # there between the rename and the very end
        with open(os.path.join(path, name), "rb") as f:
            data = f.read()
        h.update(("%s %d\n" % (name, len(data))).encode() + data)
    return h.hexdigest()


def start(*args):
    return subprocess.Popen([PACO, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


RAW, DIFF = save_large(work("raw"), 0), save_large(work("diff"), 1)
FLAGS = ["recover", "--raw", RAW, "--diff", DIFF]
first = paco_json(*FLAGS, "--out", work("reference"))


def duration():
    """The shortest of three runs: a busy machine only makes them longer."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        paco(*FLAGS, "--out", work("timed"))
        took.append(time.monotonic() - began)
        shutil.rmtree(work("timed"))
    return min(took)


DURATION = duration()
WANT = digest(work("reference"))
case("undisturbed, within 64 MiB", first and (SANITIZED or first["peak_rss_bytes"] <= 64 << 20), first)


def killed():
    out, r = work("killed", "out"), random.Random(11)
    n_killed, n_partial = 0, 0
    for _ in range(20):
        p = start(*FLAGS, "--out", out)
        time.sleep(r.uniform(0, DURATION))
        p.kill()
        p.communicate()
        n_killed += p.returncode == -signal.SIGKILL
        if os.path.exists(out):
            if digest(out) != WANT:
                case("what has the name is whole", False, os.listdir(out))
            if not os.path.exists(os.path.join(out, ".paco-journal")):
                shutil.rmtree(out)
        n_partial += os.path.isdir(out + ".paco-partial")
    print("# %d of 20 killed in time, %d left work behind" % (n_killed, n_partial))
    r = paco_json(*FLAGS, "--out", out)
    case("killed twenty times, then done", r and digest(out) == WANT, r)
    case("at least five of the kills came before the end", n_killed >= 5, n_killed)
    case("nothing but the output is there", os.listdir(work("killed")) == ["out"], os.listdir(work("killed")))


def interrupt(out, *more):
    """Stop attempts until one leaves something journaled behind: later if it was too early, earlier if it was too late.
    How the last one ended, or None if that could not be had."""
    wait = 0.6 * DURATION
    for i in range(40):
        p = start(*FLAGS, "--out", out, "-t", "1", *more)
        time.sleep(wait)
        p.send_signal(signal.SIGINT if i % 2 else signal.SIGTERM)
        _, err = p.communicate()
        if os.path.isdir(out + ".paco-partial"):
            return p.returncode, err
        wait *= 0.85 if p.returncode == 0 else 1.1
        shutil.rmtree(out, ignore_errors=True)
    return None


def stopped():
    """Until one stop falls into the middle, with something journaled."""
    out = work("stopped", "out")
    code, err = interrupt(out) or (None, "")
    case("an interrupt ends it, says how to go on", code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and "same command" in err, (code, err))
    r = paco_json(*FLAGS, "--out", out)
    case("and the same command goes on", r and r["n_resumed"] > 0 and any("going on" in w for w in r["warnings"]), r)
    case("to the same bytes", digest(out) == WANT)


def changed():
    out = work("changed", "out")
    case("a partial result", interrupt(out))
    r = paco_json(*FLAGS, "--out", out, "--dtype", "bf16")
    case("another option starts again, and says so", r and r["n_resumed"] == 0 and any("options.dtype" in w and "starting again" in w for w in r["warnings"]), r)
    shutil.rmtree(out)
    case("a partial result", interrupt(out))
    path = os.path.join(RAW, "model.safetensors")
    old = os.stat(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    r = paco_json(*FLAGS, "--out", out)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    case("a touched base starts again, and says so", r and r["n_resumed"] == 0 and any("the base" in w and "starting again" in w for w in r["warnings"]), r)
    case("to the same bytes", digest(out) == WANT)


def together():
    out = work("together", "out")
    p = start(*FLAGS, "--out", out, "-t", "1")
    journal = out + ".paco-partial/.paco-journal"
    while p.poll() is None and not (os.path.exists(journal) and os.path.getsize(journal)):  # written under the lock
        time.sleep(0.001)
    os.kill(p.pid, signal.SIGSTOP)
    second = paco(*FLAGS, "--out", out)
    os.kill(p.pid, signal.SIGCONT)
    p.communicate()
    case("a second process is refused", second.returncode == 1 and "another process" in second.stderr, (second.returncode, second.stderr))
    case("and does the first no harm", p.returncode == 0 and digest(out) == WANT, p.returncode)


def limited():
    """A limit on file sizes stands for a quota: one error, and the same command works without it."""
    out = work("limited", "out")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = subprocess.run([PACO, *FLAGS, "--out", out], preexec_fn=limit, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    case("a file too large for its limit", done.returncode == 1 and "File too large" in done.stderr and "model.safetensors" in done.stderr, (done.returncode, done.stderr))
    case("leaves nothing, for nothing was done", os.listdir(work("limited")) == [], os.listdir(work("limited")))
    case("and works without", paco(*FLAGS, "--out", out).returncode == 0 and digest(out) == WANT)


def full():
    """A file system of its own, too small."""
    if SANITIZED:
        print("ok - a full disk # SKIP the small model of a sanitized run is less than what recover leaves free")
        return
    top = work("full")
    os.makedirs(top)
    need = first["bytes_written"]
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=%d" % (need * 3 // 2), "none", top], capture_output=True).returncode == 0
    if not mounted:
        print("ok - a full disk # SKIP needs root, to mount one")
        return
    try:
        balloon = os.path.join(top, "balloon")
        with open(balloon, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, need)
        out = os.path.join(top, "out")
        done = paco(*FLAGS, "--out", out)
        case("a full disk is seen in advance, with figures", done.returncode == 1 and "short" in done.stderr and "free there" in done.stderr, done.stderr)
        case("and nothing is left", os.listdir(top) == ["balloon"], os.listdir(top))
        os.remove(balloon)
        case("with room it works", paco(*FLAGS, "--out", out).returncode == 0 and digest(out) == WANT)
        shutil.rmtree(out)
        case("a partial result", interrupt(out))
        with open(balloon, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, need // 3)
        r = paco_json(*FLAGS, "--out", out)
        case("what an earlier attempt wrote needs no new room", r and r["n_resumed"] > 0 and digest(out) == WANT, r)
    finally:
        subprocess.run(["umount", "-l", top])


killed()
stopped()
changed()
together()
limited()
full()
finish()
