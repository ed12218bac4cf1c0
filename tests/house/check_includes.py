#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Layers only point down: each #include of src/ names its own folder or a row below, as docs/design/architecture.md
draws them. Neighbours in a row do not know each other; cli may join anything; public headers include only each other."""
import os
import re
import sys

ROWS = [  # top first
    ["cli"],
    ["serve", "eval", "train", "data"],
    ["report", "net"],
    ["engine"],
    ["model", "prompt"],
    ["weights"],
    ["algebra"],
    ["format", "tokenizer"],
    ["kernels"],
    ["base"],
]
ROW_OF = {name: i for i, row in enumerate(ROWS) for name in row}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def complaint(folder, target):
    """Why a file of src/FOLDER may not include TARGET, or None."""
    first = target.split("/")[0]
    if first == "paco" or "/" not in target:  # the public face; a file of the same folder
        return None
    if first not in ROW_OF:
        return f"'{first}' is no row of the house"
    if first == folder or ROW_OF[first] > ROW_OF[folder]:
        return None
    return f"{folder} may not know {first}: " + ("a neighbour" if ROW_OF[first] == ROW_OF[folder] else "it is above")


def sources(root):
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.join(folder, name)


def main():
    root = sys.argv[1]
    found = []
    n = 0
    for path in sources(os.path.join(root, "src")):
        n += 1
        relative = os.path.relpath(path, os.path.join(root, "src"))
        folder = relative.split(os.sep)[0]
        if folder not in ROW_OF:
            found.append(f"src/{relative}: '{folder}' is no row of the house")
            continue
        with open(path, encoding="utf-8") as f:
            for target in INCLUDE.findall(f.read()):
                why = complaint(folder, target)
                if why:
                    found.append(f"src/{relative} includes {target}: {why}")
    for path in sources(os.path.join(root, "include")):
        n += 1
        with open(path, encoding="utf-8") as f:
            for target in INCLUDE.findall(f.read()):
                if not target.startswith("paco/"):
                    found.append(f"{os.path.relpath(path, root)} includes {target}: a public header knows only its own kind")
    for line in found:
        print("# " + line)
    print(("not ok" if found else "ok") + f" - includes of {n} files point down")
    # The checker itself: it must see what it is there to see.
    sees = [complaint("format", "weights/job.h"), complaint("model", "prompt/format.h"), complaint("base", "cli/command.h")]
    allows = [complaint("cli", "engine/engine.h"), complaint("format", "base/file.h"), complaint("engine", "paco/error.h")]
    works = all(sees) and not any(allows)
    print(("ok" if works else "not ok") + " - the checker sees an include that points up")
    return 1 if found or not works else 0


sys.exit(main())
