#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Processes under mpirun: messages between ranks, a rank that gives up, and a program without its MPI module."""
import os
import shutil
import subprocess
import sys
import tempfile

PROGRAM, MODULES = os.environ["COMM_RANKS"], os.environ["PACO_MODULES"]
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
n_failed = 0


def case(name, good, seen=""):
    global n_failed
    n_failed += not good
    print(("ok - " if good else "not ok - ") + name)
    if not good:
        print("# " + str(seen).replace("\n", "\n# "))


def run(n, *args, **env):
    return subprocess.run(["mpirun", "--oversubscribe", "-n", str(n), PROGRAM, *args], env={**os.environ, **MPI, **env},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)


def main():
    r = subprocess.run([PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    case("a process on its own is rank 0 of 1", (r.returncode, r.stdout) == (0, "rank 0 of 1: 0 good, 0 bad\n"), r)
    if not shutil.which("mpirun") or not os.path.exists(os.path.join(MODULES, "libpaco-mpi.so")):
        print("ok - ranks # SKIP no mpirun, or built without MPI: install openmpi-bin and libopenmpi-dev")
        return n_failed
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
    return n_failed


sys.exit(1 if main() else 0)
