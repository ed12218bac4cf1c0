#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of the tree that a program can check: unique file names, bounded length, licence lines, no leftovers."""
import collections
import os
import re
import subprocess
import sys

MAX_LINES = 1000
CODE = (".c", ".h", ".py", ".sh")
MAY_REPEAT = {"meson.build", "README.md", "run"}
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
DECLARED = re.compile(r"^(static inline )?(?=\S)[^\n#=({;]*?\b(pc_\w+)\(", re.M)  # what is indented is called, not declared
PASTED = re.compile(r"pc_f32_to_\w+|pc_\w+_to_f32|pc_pack_\w+")  # spelt nowhere, made by macros
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def tracked(root):
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], capture_output=True, check=True, text=True)
        return [p for p in out.stdout.splitlines() if os.path.isfile(os.path.join(root, p))]
    except (OSError, subprocess.CalledProcessError):  # a tarball
        return [os.path.relpath(os.path.join(d, n), root) for d, _, names in os.walk(root) for n in names
                if not os.path.relpath(d, root).startswith(("build", ".git", "demo"))]


def is_code(root, path):
    if path.endswith(CODE):
        return True
    if "." in os.path.basename(path):
        return False
    with open(os.path.join(root, path), "rb") as f:
        return f.read(2) == b"#!"


def unused(text):
    """Functions that headers of src/ declare and nothing mentions but their own definition."""
    code = {p: COMMENT.sub(" ", t) for p, t in text.items() if p.endswith((".c", ".h"))}
    uses = collections.Counter(name for t in code.values() for name in re.findall(r"\bpc_\w+", t))
    return [f"{p}: {name}" for p, t in sorted(code.items()) if p.startswith("src/") and p.endswith(".h")
            for inline, name in DECLARED.findall(t) if uses[name] <= (1 if inline else 2) and not PASTED.fullmatch(name)]


def report(what, complaints):
    for c in complaints:
        print("# " + c)
    print(("not ok" if complaints else "ok") + " - " + what)
    return bool(complaints)


def main():
    root = sys.argv[1]
    paths = [p for p in tracked(root) if not p.startswith(("tests/fuzz/corpus/", "tests/bad/", "tests/fixtures/", "share/"))]
    code = [p for p in paths if is_code(root, p)]
    text = {}
    for p in code:
        with open(os.path.join(root, p), encoding="utf-8") as f:
            text[p] = f.read()
    by_name = {}
    for p in paths:
        if p.startswith("include/"):  # paco/engine.h is the public face of engine/engine.h
            continue
        by_name.setdefault(os.path.basename(p), []).append(p)
    failed = [
        report("file names are unique", [f"{n}: " + ", ".join(ps) for n, ps in sorted(by_name.items())
                                         if len(ps) > 1 and n not in MAY_REPEAT]),
        report(f"no file above {MAX_LINES} lines", [f"{p}: {t.count(chr(10))} lines" for p, t in text.items() if t.count("\n") > MAX_LINES]),
        report("every file names its licence", [p for p, t in text.items() if "SPDX-License-Identifier: Apache-2.0" not in
                                                "\n".join(t.splitlines()[:3])]),
        report("no leftovers", [f"{p}:{i}: {line.strip()}" for p, t in text.items() if not p.endswith("check_tree.py")
                                for i, line in enumerate(t.splitlines(), 1) if LEFTOVER.search(line)]),
        report("what headers declare is used", unused(text)),
    ]
    return 1 if any(failed) else 0


sys.exit(main())
