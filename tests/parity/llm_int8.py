# SPDX-License-Identifier: Apache-2.0
"""--load_in_8bit's product against bitsandbytes on the CPU: weights rounded to the same integers, and products with and without
outliers that differ by no more than the roundings to F16 that bitsandbytes makes and paco does not (docs/math/llm_int8.md).

PyTorch divides 127 by a number as 127 times its reciprocal, which may be off in the last place: values within 1e-4 of a half
may come out as either neighbour.

bitsandbytes takes a column in which any row has an outlier out of all rows, so rows are given to it one at a time.
Stack: today."""
import struct
import subprocess

import numpy
import torch

from common import ROOT, Skipped, case, equal, expect, finish, note, work

try:
    import bitsandbytes
    import bitsandbytes.functional
except ImportError as error:
    bitsandbytes, missing = None, str(error)

HALF = 2.0 ** -11  # of the last place of F16


def ours(x, w):
    (n_x, k), n_out = x.shape, len(w)
    given, made = work("product") / "in", work("product") / "out"
    given.write_bytes(struct.pack("<QQQ", n_x, n_out, k) + x.float().numpy().tobytes() + w.float().numpy().tobytes())
    subprocess.run([str(ROOT / "build/tests/parity/llm_int8_product"), str(given), str(made)], check=True)
    return torch.from_numpy(numpy.fromfile(made, dtype="<f4").reshape(n_x, n_out).copy())


class Theirs:
    """A matrix as Linear8bitLt keeps it."""

    def __init__(self, w):
        self.q, self.most, _ = bitsandbytes.functional.int8_vectorwise_quant(w)

    def times(self, x):
        state = bitsandbytes.MatmulLtState()
        state.threshold, state.has_fp16_weights, state.is_training = 6.0, False, False
        state.CB, state.SCB = self.q, self.most
        return bitsandbytes.matmul(x, self.q, state=state, threshold=6.0)

    def left(self):
        """The weights that INT8 leaves, in F16."""
        return (self.q.float() * self.most[:, None] / 127).half()


def matrices(seed, n_x, n_out, k, n_outliers):
    g = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(n, k, generator=g) for n in (n_x, n_out))
    x, w = x.clamp(-5.9, 5.9), w * torch.rand(n_out, 1, generator=g) * 0.2
    for row in x:
        for i in torch.randperm(k, generator=g)[:n_outliers]:
            row[i] = (6 + 30 * torch.rand((), generator=g)) * (1 if torch.rand((), generator=g) < 0.5 else -1)
    return x.half(), w.half()


def near_half(values):
    """Of rows in F16 without outliers: which are as near to either integer."""
    scaled = values.double() * 127 / values.double().abs().amax(1, keepdim=True)
    return ((scaled - scaled.floor() - 0.5).abs() < 1e-4)


def same_weights(seed, n_out, k):
    """A row with a single 1 brings out a column of the integers: 127 q a 1 / 127^2."""
    with case("weights (%d, %d)" % (n_out, k)):
        _, w = matrices(seed, 1, n_out, k, 0)
        theirs = Theirs(w)
        equal("largest of each row", theirs.most.tolist(), w.float().abs().amax(1).tolist())
        columns = ours(torch.eye(k), w)
        got = torch.round(columns.T * 127 / theirs.most[:, None])
        off, either = (got - theirs.q.float()).abs(), near_half(w)
        expect(off.max() <= 1 and not off[~either].any(), "%d integers differ" % (off[~either] > 0).sum())
        note("%d integers equal, %d near a half with a difference of one" % ((off == 0).sum(), (off > 0).sum()))


def same_products(seed, n_x, n_out, k, n_outliers):
    with case("(%d, %d) with %d, %d outliers a row" % (n_x, k, n_out, n_outliers)):
        x, w = matrices(seed, n_x, n_out, k, n_outliers)
        theirs = Theirs(w)
        got, want = ours(x, w), torch.cat([theirs.times(row[None]) for row in x]).float()
        apart = x.float() * (x.abs() >= 6)
        outliers = apart @ theirs.left().float().T
        inner = x * (x.abs() < 6)
        step = inner.float().abs().amax(1, keepdim=True) / 127 * w.float().abs().amax(1)
        steps = near_half(inner).sum(1, keepdim=True) * step + near_half(w).sum(1) * step
        bound = HALF * (2 * (got - outliers).abs() + 2 * outliers.abs() + got.abs()) + steps + 1e-4
        off = (got - want).abs()
        expect((off <= bound).all(), "off by %g where roundings to F16 allow %g" %
               (off[off > bound].max() if (off > bound).any() else 0, bound[off > bound].max() if (off > bound).any() else 0))
        plain = (got - x.float() @ w.float().T).abs()
        note("off by %.2g (roundings to F16: up to %.2g); INT8 itself is off by %.2g" % (off.max(), bound.max(), plain.max()))


def main():
    if bitsandbytes is None:
        with case("bitsandbytes"):
            raise Skipped(missing)
        return
    same_weights(1, 48, 256)
    same_weights(2, 33, 576)
    for seed, shape in enumerate([(8, 64, 256, 0), (8, 64, 256, 1), (5, 100, 576, 7), (3, 48, 1536, 20), (4, 64, 4096, 6), (2, 17, 100, 100)]):
        same_products(seed, *shape)


if __name__ == "__main__":
    main()
    finish()
