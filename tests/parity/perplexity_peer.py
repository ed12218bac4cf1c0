# SPDX-License-Identifier: Apache-2.0
"""Perplexity of each quantised type against llama.cpp's library on the same file: within 0.5 %.

bench/peers/run makes the stack and the models; without them this skips."""
import math
import os
import pathlib
import sys

from common import ROOT, Skipped, case, equal, expect, finish, note, paco, work

sys.path.insert(0, str(ROOT / "bench" / "peers"))
HOME = pathlib.Path(os.environ.get("PACO_PEERS_HOME") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "paco-peers")
MODELS = sorted((HOME / "models").glob("smollm2-*.gguf"))
CONTEXT, WINDOWS, TOLERANCE = 512, 24, 0.005  # 6,120 tokens: of fewer, what rounding happens to do shows

text = work("text") / "text.txt"
text.write_text("\n".join(p.read_text() for p in sorted((ROOT / "docs").glob("*/*.md"))))

if not MODELS:
    with case("perplexity beside llama.cpp"):
        raise Skipped("no models in %s: bench/peers/run makes them" % (HOME / "models"))
for path in MODELS:
    with case(path.stem):
        from llama_peer import Peer
        peer = Peer(str(path), 2, CONTEXT, 1, CONTEXT)
        ids = peer.tokenize(text.read_text())
        want = math.exp(peer.perplexity(ids, CONTEXT, WINDOWS))
        got = paco("perplexity", "-m", path, "-f", text, "-c", CONTEXT, "--chunks", WINDOWS).json
        equal("tokens", got["n_tokens"], len(ids))
        note("llama.cpp %.4f, paco %.4f: %+.2f %%" % (want, got["perplexity"], 100 * (got["perplexity"] / want - 1)))
        expect(abs(got["perplexity"] / want - 1) < TOLERANCE, "perplexity %.4f, llama.cpp's is %.4f" % (got["perplexity"], want))

finish()
