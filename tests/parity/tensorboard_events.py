#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Event files as paco writes them, read by TensorBoard's own reader: every value, texts among them, and one curve for a run
that was killed and went on."""
import math
import struct
import subprocess

from common import case, Failed, binary, equal, expect, finish, work

import tensorboard
from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.util import tensor_util

print("tensorboard %s" % tensorboard.__version__, flush=True)


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def accumulate(path):
    everything = dict(event_accumulator.STORE_EVERYTHING_SIZE_GUIDANCE)
    a = event_accumulator.EventAccumulator(str(path), size_guidance=everything)
    a.Reload()
    return a


def scalars(a, tag):
    return [(e.step, e.value) for e in a.Scalars(tag)]


out = work("events") / "tensorboard"
program = binary().parent / "tests" / "parity" / "write_events"
if not program.exists():
    raise SystemExit("no %s: build the tests (ninja)" % program)
subprocess.run([str(program), str(out)], check=True)
files = sorted(out.iterdir())

with case("tensorboard: every record of a file is whole"):
    equal("files", len(files), 2)
    for path, first, last in zip(files, (0, 51), (60, 100)):
        events = list(event_file_loader.EventFileLoader(str(path)).Load())
        equal("version", events[0].file_version, "brain.Event:2")
        equal("start", (events[1].session_log.status, events[1].step), (1, first))
        equal("steps", [e.step for e in events[2:]], list(range(first, last + 1)))
        expect(all(e.wall_time > 1.6e9 for e in events), "an event from before 2020")

with case("tensorboard: a run that went on is one curve"):
    a = accumulate(out)
    equal("scalars", sorted(a.Tags()["scalars"]), ["train/grad_norm", "train/loss"])
    equal("texts", a.Tags()["tensors"], ["samples/0"])
    want = [(i, f32((100 if i <= 50 else 200) + 1.0 / (i + 1))) for i in range(101)]
    equal("train/loss", scalars(a, "train/loss"), want)
    norms = scalars(a, "train/grad_norm")
    equal("steps", [s for s, _ in norms], list(range(101)))
    expect(math.isnan(norms[3][1]), "what is no number came back as %r" % norms[3][1])
    equal("numbers", [v for s, v in norms if s != 3], [float(s) for s in range(101) if s != 3])

with case("tensorboard: texts are for the text dashboard"):
    equal("plugin", a.SummaryMetadata("samples/0").plugin_data.plugin_name, "text")
    texts = [(e.step, tensor_util.make_ndarray(e.tensor_proto)) for e in a.Tensors("samples/0")]
    equal("steps", [s for s, _ in texts], [0, 25, 50, 75, 100])
    equal("shape", texts[0][1].shape, (1,))
    equal("text", texts[0][1][0].decode(), "    # no heading\n    Grüß dich <b>")

with case("tensorboard: a file cut short is read as far as it goes"):
    cut = work("cut")
    whole = files[0].read_bytes()
    (cut / files[0].name).write_bytes(whole[:-5])
    equal("steps", [s for s, _ in scalars(accumulate(cut), "train/loss")], list(range(60)))

with case("tensorboard: the same bytes as its own writer's"):
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter
    theirs = work("theirs") / "events"
    with open(theirs, "wb") as f:
        writer = RecordWriter(f)
        for event in event_file_loader.RawEventFileLoader(str(files[0])).Load():
            parsed = event_pb2.Event.FromString(event)
            writer.write(parsed.SerializeToString(deterministic=True))
        writer.flush()
    got = theirs.read_bytes()
    if got != whole:
        at = next((i for i, (x, y) in enumerate(zip(got, whole)) if x != y), min(len(got), len(whole)))
        raise Failed("lengths %d and %d, first difference at %d" % (len(got), len(whole), at))

finish()
