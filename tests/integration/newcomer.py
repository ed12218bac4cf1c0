#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people do wrong first, and how the program as a whole behaves in pipes, on full disks and under signals."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tiny import PACO, case, config, finish, llama, paco, save, work  # noqa: E402

COMMANDS = paco("help", "--list").stdout.split()


def one_line(text):
    return len(text.strip().splitlines()) == 1


def slips(model):
    r = paco("inspct", model)
    case("a mistyped command", r.returncode == 2 and "did you mean inspect?" in r.stderr and one_line(r.stderr), r)
    r = paco("insp", model)
    case("a shortened command", r.returncode == 0 and r.stdout, r)
    r = paco("inspect", model, "--jsn")
    case("a mistyped option", r.returncode == 2 and "did you mean --json?" in r.stderr and not r.stdout, r)
    r = paco("recover", "--rwa", model)
    case("two letters exchanged", r.returncode == 2 and "did you mean --raw?" in r.stderr, r)
    r = paco("generate", "-m", model, "-p", "x", "-n", "-1")
    case("bounds are whole numbers", r.returncode == 2 and "outside 0 to 16777216" in r.stderr, r)
    r = paco("generate", "-m", model, "hello")
    case("a prompt without -p", r.returncode == 2 and "'hello' belongs to no option: give the prompt as -p TEXT" in r.stderr, r)
    r = paco("serve", model)
    case("a model without -m, which is needed", r.returncode == 2 and "did you mean --model %s\n" % model in r.stderr, r)
    r = paco("chat", model)
    case("a model without -m, which is not always needed", r.returncode == 2 and "belongs to no option: did you mean -m %s?" % model in r.stderr, r)
    r = paco("chat", "-m", "nosuch.gguf")
    case("a file's name is no model to pull", r.returncode == 1 and "there is no such directory or file" in r.stderr and "paco pull" not in r.stderr, r)
    r = paco("chat", "-m", "some/model")
    case("a name of the hub's is", r.returncode == 1 and "paco pull would get it" in r.stderr, r)
    for origin in ("https://example.org/", "example.org", "https://a.org,https://b.org", "://a", "http://"):
        r = paco("serve", "-m", model, "--cors", origin)
        case("--cors with what no browser sends: %s" % origin, r.returncode == 2 and "SCHEME://HOST" in r.stderr, r)
    r = paco("recover", "base", "diff", "out")
    case("words without their options", r.returncode == 2 and "options --raw MODEL, --diff MODEL and --out DIR are required: "
         "did you mean --raw base --diff diff --out out" in r.stderr, r)
    r = paco("recover", "--raw", "base", "diff")
    case("all options that are missing", r.returncode == 2 and "options --diff MODEL and --out DIR are required\n" in r.stderr, r)
    r = paco("help", "help")
    case("help for help", r.returncode == 0 and r.stdout == paco("help").stdout, r)
    r = paco("--json", "inspect", model)
    case("an option before the command", r.returncode == 2 and "options follow the command" in r.stderr, r)
    r = paco("inspect", work("nowhere"))
    case("a model that is not there", r.returncode == 1 and "no such directory or file" in r.stderr and one_line(r.stderr), r)
    r = paco("inspect", "--color=always", work("nowhere"))
    case("colour when asked for", "\033[" in r.stderr, r)
    r = paco("inspect", work("nowhere\033[31m\n\xff"))
    case("names are shown without what a terminal would obey", "\033" not in r.stderr and "\\x1b[31m\\x0a" in r.stderr and one_line(r.stderr), r)
    r = paco("help", "nonsense-command")
    case("help for what is not there", r.returncode == 2 and "paco help lists them" in r.stderr, r)


def environment(model):
    env = dict(os.environ, PACO_JSON="1", HF_HUB_OFFLINE="1")
    r = subprocess.run([PACO, "inspect", model], env=env, capture_output=True, text=True)
    case("an option from the environment", r.returncode == 0 and r.stdout.startswith("{"), r)
    r = subprocess.run([PACO, "inspect", model, "--json=no"], env=env, capture_output=True, text=True)
    case("the command line wins over it", r.returncode == 0 and not r.stdout.startswith("{"), r)
    r = subprocess.run([PACO, "inspect", model], env=dict(env, PACO_JSON="perhaps"), capture_output=True, text=True)
    case("a bad value there is named", r.returncode == 2 and "environment variable PACO_JSON" in r.stderr, r)


def plumbing(model):
    with open("/dev/full", "w", encoding="utf-8") as full:
        r = subprocess.run([PACO, "inspect", model, "--json"], stdout=full, stderr=subprocess.PIPE, text=True)
    case("a full disk behind stdout", r.returncode == 1 and "No space left on device" in r.stderr and one_line(r.stderr), r)
    r = subprocess.run(f"'{PACO}' inspect '{model}' >&-", shell=True, stderr=subprocess.PIPE, text=True)
    case("a closed stdout", r.returncode == 1 and "standard output" in r.stderr, r)
    r = subprocess.run(f"'{PACO}' inspect '{model}' <&- 2>&-", shell=True, stdout=subprocess.PIPE, text=True)
    case("closed stdin and stderr", r.returncode == 0 and r.stdout, r)
    for name in COMMANDS:
        r = subprocess.run(f"'{PACO}' help {name} | true", shell=True, stderr=subprocess.PIPE, text=True)
        case(f"help {name} into a pipe that is gone", r.returncode == 0 and not r.stderr, r)


def strange_files():
    fifo = work("fifo")
    os.mkfifo(fifo)
    r = paco("inspect", fifo)
    case("a FIFO in a model's place is refused, not waited for", r.returncode == 1 and "fifo" in r.stderr.lower(), r)


def main():
    cfg = config()
    model = save(work("model"), llama(cfg), cfg)
    slips(model)
    environment(model)
    plumbing(model)
    strange_files()
    finish()


main()
