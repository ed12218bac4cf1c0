#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training over a network: two ranks that see nothing of each other but TCP, each in a network, process and host name space of its own."""
import os
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ranked import ENV, MODULES, command, inputs, processes, same, train, wait_for  # noqa: E402
from tiny import case, finish, work  # noqa: E402

NET = f"paco-net{os.getpid()}"
SUBNET = "10.214.0"
# What mpirun calls in place of ssh.
AGENT = f"""#!/bin/sh
i=$((${{1##*.}} - 1))
shift
exec ip netns exec {NET}-$i unshare --uts --pid --fork --kill-child --mount-proc sh -c "hostname machine$i; $*"
"""


def run(*command_line):
    return subprocess.run(command_line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def make_network():
    """Two namespaces and a cable. None, or why not."""
    for tool in ("ip", "unshare"):
        if not shutil.which(tool):
            return f"no {tool}"
    for i in (0, 1):
        r = run("ip", "netns", "add", f"{NET}-{i}")
        if r.returncode != 0:
            return r.stdout.strip()
    steps = [["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", f"{NET}-1"]]
    for i in (0, 1):
        steps += [(i, "addr", "add", f"{SUBNET}.{i + 1}/24", "dev", "eth0"), (i, "link", "set", "eth0", "up"), (i, "link", "set", "lo", "up")]
    for step in steps:
        i, rest = (step[0], step[1:]) if isinstance(step[0], int) else (0, step)
        r = run("ip", "-n", f"{NET}-{i}", *rest)
        if r.returncode != 0:
            return r.stdout.strip()
    r = run("ip", "netns", "exec", f"{NET}-1", "unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "hostname", "machine1")
    return r.stdout.strip() or "unshare fails" if r.returncode != 0 else None


def over_net(out, *more):
    """mpirun beside rank 0, which reaches rank 1 by the agent and TCP."""
    tcp = ["--mca", "plm_rsh_agent", work("agent"), "--mca", "oob_tcp_if_include", SUBNET + ".0/24", "--mca", "btl", "self,tcp",
           "--mca", "btl_tcp_if_include", SUBNET + ".0/24", "--bind-to", "none", "--host", f"{SUBNET}.1,{SUBNET}.2"]
    return ["ip", "netns", "exec", f"{NET}-0", "mpirun", *tcp, "-n", "2", "-x", "PACO_MODULES", *command(1, out, *more)]


def same_bytes():
    for zero in ("1", "3"):
        one, two = work("one"), work("two-" + zero)
        r = train(1, one, "--dtype", "f32", "--force")
        s = subprocess.run(over_net(two, "--dtype", "f32", "--zero", zero), env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        case(f"two ranks over TCP, --zero {zero}: the bytes of one process", (r.returncode, s.returncode) == (0, 0) and same(one, two), (r, s))


def dead_rank():
    """mpirun alone can tell: no rank sees the other's process."""
    whole, more = work("whole"), ("--dtype", "f32", "--num_train_epochs", "30", "--checkpointing_steps", "10", "--keep", "0")
    r = train(1, whole, *more)
    case("one process trains", r.returncode == 0, r)
    for victim, n in ((1, 4), (0, 1)):
        out = work(f"dead-{victim}")
        p = subprocess.Popen(over_net(out, *more), env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun = wait_for(os.path.join(out, "step_20"), p)  # all have heard of step_10 then
        try:
            os.kill(processes(out)[victim], signal.SIGKILL)
        except (KeyError, ProcessLookupError) as e:
            begun = f"{begun}, {e!r}"
        _, err = p.communicate(timeout=60)
        case(f"rank {victim} dies on its machine: the job ends, and says how to go on", begun is True and p.returncode != 0 and
             re.search(r"mpirun ends the job: a rank is gone.* The same command with --resume goes on from .*/step_\d+", err) and
             re.search(rf"process rank {victim} .*signal 9", err), (begun, p.returncode, err))
        r = train(n, out, *more, "--resume")
        case(f"{n} on one machine end with the bytes of a run that nothing disturbed", r.returncode == 0 and same(out, whole), r)


def main():
    if not shutil.which("mpirun") or not os.path.exists(os.path.join(MODULES, "libpaco-mpi.so")):
        print("ok - training over a network # SKIP no mpirun, or built without MPI: install openmpi-bin and libopenmpi-dev")
        return finish()
    try:
        why = make_network()
        if why:
            print(f"ok - training over a network # SKIP no namespaces can be made ({why}): run as root, with iproute2")
            return finish()
        inputs()
        with open(work("agent"), "w", encoding="utf-8") as f:
            f.write(AGENT)
        os.chmod(work("agent"), 0o755)
        same_bytes()
        dead_rank()
    finally:
        for i in (0, 1):
            run("ip", "netns", "del", f"{NET}-{i}")
    return finish()


main()
