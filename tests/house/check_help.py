#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: help, manual and completion agree, and slips get a useful answer."""
import os
import re
import subprocess
import sys

PACO = sys.argv[1]
failures = 0


def run(*args, **kw):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PACO_")}
    return subprocess.run([PACO, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, timeout=60, **kw)


def check(what, ok, detail=""):
    global failures
    print(("ok" if ok else "not ok") + " - " + what)
    if not ok:
        failures += 1
        print("# " + str(detail).replace("\n", "\n# "))


def options_of(text):
    return set(re.findall(r"^\s+(?:-\w, )?--([a-z0-9][\w-]*)", text, re.M))


def manual_options(text):
    return set(m.replace("\\-", "-") for m in re.findall(r"\\-\\-([a-z0-9](?:\w|\\-|-)*)\\fR", text))


def check_command(name):
    h, shown, man = run(name, "-h"), run("help", name), run("help", "--man", name)
    check(f"{name} -h", h.returncode == 0 and h.stdout and not h.stderr, h)
    check(f"{name} -h is paco help {name}", h.stdout == shown.stdout, shown)
    check(f"{name} -h fits 110 columns", all(len(line) <= 110 for line in h.stdout.splitlines()), h.stdout)
    missing = options_of(h.stdout) ^ manual_options(man.stdout)
    check(f"{name}: manual and -h agree", man.returncode == 0 and not missing, missing)
    r = run(name, "--quiett")
    check(f"{name}: a slip is answered", r.returncode == 2 and "did you mean --quiet?" in r.stderr and not r.stdout, r)
    r = run(name, "--color=sometimes")
    check(f"{name}: a wrong choice", r.returncode == 2 and "auto|always|never" in r.stderr, r)


def main():
    listed = run("help")
    names = run("help", "--list").stdout.split()
    shown = re.findall(r"^  ([a-z]+)  ", listed.stdout, re.M)
    check("help lists the commands, sorted", listed.returncode == 0 and shown == names == sorted(names), listed)
    for name in names:
        check_command(name)
        r = run(name + "x")
        check(f"{name}x: did you mean", r.returncode == 2 and f"did you mean {name}?" in r.stderr, r)
    r = run()
    check("no command: usage on stderr, exit 2", r.returncode == 2 and not r.stdout and "usage" in r.stderr, r)
    r = run("--version")
    check("--version", r.returncode == 0 and re.fullmatch(r"paco \d+\.\d+\.\d+\n", r.stdout), r)
    for shell in ("bash", "zsh", "fish"):
        r = run("help", "--completion", shell)
        check(f"completion for {shell} knows tasks and data sets", all(f" {n}" in r.stdout for n in ("mmlu_5shot", "perplexity", "fetch eval train all", "reformat")), r)
        check(f"completion for {shell} knows every command", r.returncode == 0 and all(n in r.stdout for n in names), r)
    with open("/dev/full", "w", encoding="utf-8") as full:
        r = subprocess.run([PACO, "help"], stdout=full, stderr=subprocess.PIPE, text=True)
    check("a full disk behind stdout is an error", r.returncode == 1 and "No space left" in r.stderr, r)
    r = subprocess.run(f"'{PACO}' help >&-", shell=True, stderr=subprocess.PIPE, text=True)
    check("a closed stdout is an error", r.returncode == 1 and "standard output" in r.stderr, r)
    return 1 if failures else 0


sys.exit(main())
