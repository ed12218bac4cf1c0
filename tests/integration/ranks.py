#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Processes under mpirun: messages between ranks, a rank that gives up, and a program without its MPI module."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from counting import model  # noqa: E402
from tiny import PACO, case, finish, write, work  # noqa: E402

PROGRAM, COLLECT, MODULES = os.environ["COMM_RANKS"], os.environ["COLLECT_RANKS"], os.environ["PACO_MODULES"]
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
def mpirun(n, *command, **env):
    return subprocess.run(["mpirun", "--oversubscribe", "-n", str(n), *command], env={**os.environ, **MPI, **env},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)


def run(n, *args, **env):
    return mpirun(n, PROGRAM, *args, **env)


def evaluate():
    """paco eval shared out over ranks leaves the bytes one process leaves."""
    m = model("counts")
    for task in ("boolean_expressions", "word_sorting"):
        examples = [{"input": "abc"[i % 3] * (i % 5 + 1), "target": "bcd"[i % 3]} for i in range(40)]
        write(work("data", "bbh", "bbh", task + ".json"), json.dumps({"canary": "", "examples": examples}))
        write(work("data", "bbh", "cot-prompts", task + ".txt"), "canary\n-----\nDo.\n\nQ: a\nA: So the answer is b.")
    write(work("data", "perplexity", "text.txt"), "".join("abcde fgh\n"[i * i % 10] for i in range(2000)))
    data = os.path.dirname(work("data", "x"))

    def paco_eval(out, n=0, *more):
        args = [PACO, "eval", "bbh_direct", "perplexity", "-c", "32", "-m", m, "--data", data, "--out", out, "--max_num_examples_per_task", "30", *more]
        return mpirun(n, *args) if n else subprocess.run(args, capture_output=True, text=True, timeout=120)

    def files(out):
        found = {}
        for name in (task + "/" + file for task in ("bbh_direct", "perplexity") for file in ("items.jsonl", "results.json", "metrics.json")):
            try:
                with open(os.path.join(out, name), "rb") as f:
                    found[name] = f.read()
            except OSError as e:
                found[name] = str(e)
        return found
    alone = work("alone")
    r = paco_eval(alone)
    case("one process evaluates", r.returncode == 0 and "      60 " in r.stdout and "      62 " in r.stdout, r)
    for n in (2, 3):
        out = work(f"ranks{n}")
        r = paco_eval(out, n)
        case(f"{n} ranks leave the same bytes", r.returncode == 0 and files(out) == files(alone), (r, files(out), files(alone)))
        case(f"{n} ranks print one table", sum(line.startswith("bbh_direct ") for line in r.stdout.splitlines()) == 1, r.stdout)
    r = paco_eval(work("ranks2"), 2)
    case("what is done is not asked again", r.returncode == 0 and "done already" in r.stderr, r)
    r = paco_eval(work("none"), 2, "--model", "no-such-model")
    case("an error all ranks meet is said once", r.returncode == 1 and r.stderr.count("no model 'no-such-model'") == 1, r.stderr)


def collect():
    """Sums in a fixed tree and gathers, held against one process; slow ranks; a rank that dies."""
    def expect(n):
        return "".join(f"rank {i} of {n}: 0 wrong\n" for i in range(n))
    for n in (2, 3, 4):
        r = mpirun(n, COLLECT)
        case(f"{n} ranks add long arrays in the fixed order", (r.returncode, r.stdout) == (0, expect(n)), (r.stdout, r.stderr))
    r = mpirun(3, COLLECT, "late")
    case("ranks that come late change nothing", (r.returncode, r.stdout) == (0, expect(3)), (r.stdout, r.stderr))
    r = mpirun(3, COLLECT, "die")
    case("those who wait for a dead rank name it", r.returncode != 0 and re.search(r"^rank 2 \(process \d+ on .+\) is gone$", r.stderr, re.M),
         (r.returncode, r.stderr))


def main():
    r = subprocess.run([PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    case("a process on its own is rank 0 of 1", (r.returncode, r.stdout) == (0, "rank 0 of 1: 0 good, 0 bad\n"), r)
    r = subprocess.run([COLLECT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    case("a process on its own adds nothing", (r.returncode, r.stdout) == (0, "rank 0 of 1: 0 wrong\n"), r)
    if not shutil.which("mpirun") or not os.path.exists(os.path.join(MODULES, "libpaco-mpi.so")):
        print("ok - ranks # SKIP no mpirun, or built without MPI: install openmpi-bin and libopenmpi-dev")
        return finish()
    evaluate()
    collect()
    for n in (2, 3):
        r = run(n)
        want = sorted(f"rank {i} of {n}: {40 * (n - 1)} good, 0 bad" for i in range(n))
        case(f"{n} ranks: messages of up to 3 MiB arrive whole and in order", r.returncode == 0 and sorted(r.stdout.splitlines()) == want,
             (r.stdout, r.stderr))
    r = run(3, "abort")
    case("a rank that gives up ends the job with its code", r.returncode == 7, (r.returncode, r.stderr))
    with tempfile.TemporaryDirectory() as empty:
        r = run(2, PACO_MODULES=empty)
        case("without the module every rank says what to install", r.returncode == 1 and
             "started by mpirun as one of several processes, but this paco has no libpaco-mpi.so: on Debian, install "
             "libopenmpi-dev and build paco again" in r.stderr, r.stderr)
    return finish()


main()
