# SPDX-License-Identifier: Apache-2.0
"""llama.cpp through llama-cpp-python's bindings to its library: speeds by request, and a text's perplexity.

    llama_peer.py MODEL.gguf [--threads N] [--context N] [--streams N]

reads one JSON object a line from standard input and answers each with one:

    {"do": "prefill", "tokens": 512}                      {"tok_s": ...}
    {"do": "decode", "tokens": 64, "depth": 0, "batch": 1}

As llama-bench and llama-batched-bench do it: memory cleared, tokens at random, an untimed run first; logits for the last
token of a prompt and for every token that is written."""
import argparse
import ctypes
import json
import math
import os
import random
import sys
import time

import llama_cpp


@llama_cpp.llama_log_callback
def _silent(level, text, data):
    if level == 4:  # errors
        sys.stderr.write(text.decode(errors="replace"))


llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))


class Peer:
    """A model and a context; flash attention, cache types and micro-batch as the library defaults them."""

    def __init__(self, path, threads=2, context=4096, streams=1, batch=2048):
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            sys.exit("llama_peer: cannot load %s" % path)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, batch, 512
        params.n_seq_max = streams
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit("llama_peer: no context of %d tokens" % context)
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.batch, self.room = llama_cpp.llama_batch_init(batch, 0, 1), batch
        self.random = random.Random(42)

    def clear(self):
        llama_cpp.llama_memory_clear(self.memory, True)

    def rows(self, rows):
        """Compute rows of (token, position, sequence, logits wanted), waiting for the result."""
        assert len(rows) <= self.room
        b = self.batch
        b.n_tokens = len(rows)
        for i, (token, pos, seq, logits) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, pos, 1, seq, logits
        code = llama_cpp.llama_decode(self.context, b)
        if code != 0:
            sys.exit("llama_peer: llama_decode says %d" % code)
        llama_cpp.llama_synchronize(self.context)

    def token(self):
        return self.random.randrange(self.n_vocab)

    def prompt(self, n, seq=0, logits=True):
        tokens = [self.token() for _ in range(n)]
        for at in range(0, n, self.room):
            part = tokens[at:at + self.room]
            self.rows([(t, at + i, seq, logits and at + i == n - 1) for i, t in enumerate(part)])

    def steps(self, n, depth, batch):
        for i in range(n):
            self.rows([(self.token(), depth + i, s, True) for s in range(batch)])

    def prefill(self, tokens):
        self.clear()
        self.prompt(min(tokens, 64))
        self.clear()
        start = time.perf_counter()
        self.prompt(tokens)
        return tokens / (time.perf_counter() - start)

    def decode(self, tokens, depth=0, batch=1):
        self.clear()
        for s in range(batch if depth else 0):
            self.prompt(depth, s, False)
        self.steps(4, depth, batch)
        for s in range(batch):
            llama_cpp.llama_memory_seq_rm(self.memory, s, depth, -1)
        start = time.perf_counter()
        self.steps(tokens, depth, batch)
        return tokens * batch / (time.perf_counter() - start)

    def tokenize(self, text):
        data = text.encode()
        out = (llama_cpp.llama_token * (len(data) + 8))()
        n = llama_cpp.llama_tokenize(self.vocab, data, len(data), out, len(out), True, False)
        return list(out[:n])

    def log_probabilities(self, row):
        import numpy
        x = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, row), shape=(self.n_vocab,)).astype(numpy.float64)
        x -= x.max()
        return x - math.log(numpy.exp(x).sum())

    def perplexity(self, ids, context, windows):
        """Mean of -log p over the second halves of windows that lie end to end, as llama.cpp's own tool."""
        bos = llama_cpp.llama_vocab_bos(self.vocab) if llama_cpp.llama_vocab_get_add_bos(self.vocab) else None
        total, n = 0.0, 0
        for w in range(min(windows, len(ids) // context)):
            part = ids[w * context:(w + 1) * context]
            fed = [part[0] if bos is None else bos] + part[1:]
            self.clear()
            self.rows([(t, i, 0, i >= context // 2) for i, t in enumerate(fed)])
            for i in range(context // 2, context - 1):
                total -= self.log_probabilities(i)[part[i + 1]]
                n += 1
        return total / n


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--context", type=int, default=4096)
    a.add_argument("--streams", type=int, default=1)
    a = a.parse_args()
    peer = Peer(a.model, a.threads, a.context, a.streams)
    peer.prompt(8)
    print(json.dumps({"ready": llama_cpp.__version__}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        print(json.dumps({"tok_s": getattr(peer, ask.pop("do"))(**ask)}), flush=True)


if __name__ == "__main__":
    main()
