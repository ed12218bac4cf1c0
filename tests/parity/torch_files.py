# SPDX-License-Identifier: Apache-2.0
"""PyTorch files: what torch.save writes is read by paco value for value, and what paco writes torch.load opens.

    torch_files.py                    under the "today" stack; runs itself under "era" too
    torch_files.py make DIR [tiny]    write the files and print what is in them, one JSON object per tensor
    torch_files.py load FILE...       torch.load(weights_only=True) each file, print what is in it likewise

Both forms (zip and legacy), every pickle protocol that torch can load, every dtype the version at hand has, views of
every kind, shared storages, parameters, wrapped dicts, files without CRCs, and files zipped again with deflate.
With PACO_PARITY_UPDATE=1 the small files of both versions become tests/fixtures/torch.
"""
import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import zipfile

DTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "float64": "f64", "float8_e4m3fn": "f8_e4m3",
          "float8_e5m2": "f8_e5m2", "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "uint64": "u64",
          "uint32": "u32", "uint16": "u16", "uint8": "u8", "bool": "bool"}

# The files that are kept as fixtures.
TINY = {("views", "zip", "today"), ("dtypes", "zip", "today"), ("dtypes", "legacy", "today"), ("views", "zip", "era"),
        ("views", "legacy", "era")}


def content(tensor):
    """The bytes of a tensor in row-major order."""
    import torch
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def describe(file, state):
    """One line for each tensor of a state dict."""
    import torch
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            dtype = DTYPES[str(value.dtype).split(".")[1]]
            yield {"file": file, "name": name, "dtype": dtype, "shape": list(value.shape),
                   "sha256": hashlib.sha256(content(value)).hexdigest()}


def random_of(torch, name, shape, generator):
    values = (torch.randn(*shape, generator=generator) * 50).abs()
    dtype = getattr(torch, name)
    return values.to(dtype) if dtype.is_floating_point else values.to(torch.uint8).to(dtype)


def dtypes(torch, generator):
    return {name: random_of(torch, name, (5, 7), generator) for name in DTYPES if hasattr(torch, name)}


def views(torch, generator, rows, columns):
    base = torch.randn(rows, columns, generator=generator)
    cube = torch.randn(3, 4, 5, 6, generator=generator)
    state = collections.OrderedDict(
        base=base, transposed=base.t(), tail=base[3:], block=base[2:9, 5:8], every_third=base[::3, 1::2], row=base[7],
        column=base[:, 9], diagonal=torch.diagonal(base), expanded=base[:1].expand(6, columns),
        expanded_column=base[:, :1].expand(rows, 4), windows=torch.arange(20.).unfold(0, 5, 2), cube=cube,
        permuted=cube.permute(2, 0, 3, 1), scalar=torch.tensor(3.5), element=base[4, 4], empty=torch.zeros(0, 4),
        half=base.half().t(), parameter=torch.nn.Parameter(torch.randn(3, 3, generator=generator)),
        buffer=torch.arange(10)[2:8])
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    return state


def make(folder, tiny):
    """Write the files into folder; yields what is in them."""
    import torch
    folder = pathlib.Path(folder)
    generator = torch.Generator().manual_seed(20230612)
    version = "today" if hasattr(torch, "float8_e4m3fn") else "era"
    size = (11, 13) if tiny else (400, 300)
    wrapped = {"epoch": 3, "model": views(torch, generator, *size), "optimizer": {"state": {}, "lr": [1e-4, None]},
               "rng": torch.Size([2, 3]), "device": torch.device("cpu"), "dtype": torch.float16}
    states = {"views": views(torch, generator, *size), "dtypes": dtypes(torch, generator), "wrapped": wrapped}
    for name, state in states.items():
        for form in ("zip", "legacy"):
            for protocol in [2] if tiny else [1, 2, 3, 4, 5]:
                file = "%s_%s_%s%s.bin" % (version, form, name, "" if tiny else "_%d" % protocol)
                if tiny and (name, form, version) not in TINY:
                    continue
                torch.save(state, folder / file, _use_new_zipfile_serialization=form == "zip", pickle_protocol=protocol)
                yield from describe(file, state["model"] if name == "wrapped" else state)
                if form == "zip" and protocol == 2 and name == "views":
                    yield from rezip(folder, file, state)
    if hasattr(torch.serialization, "set_crc32_options") and not tiny:
        torch.serialization.set_crc32_options(False)
        torch.save(states["views"], folder / "without_crc.bin")
        torch.serialization.set_crc32_options(True)
        yield from describe("without_crc.bin", states["views"])


def rezip(folder, file, state):
    """The same archive, deflated."""
    packed = file.replace("zip", "deflated")
    with zipfile.ZipFile(folder / file) as source, zipfile.ZipFile(folder / packed, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(zipfile.ZipInfo(info.filename), source.read(info), zipfile.ZIP_DEFLATED)
    yield from describe(packed, state)


def load(files):
    import torch
    for file in files:
        state = torch.load(file, weights_only=True)
        yield from describe(pathlib.Path(file).name, state)


def by_file(lines):
    files = collections.OrderedDict()
    for line in lines:
        files.setdefault(line["file"], []).append(line)
    return files


def listed(path, lines, common):
    """Hold what `paco verify -v` lists against lines, order included."""
    text = common.paco("verify", "-v", path, json=False).stdout
    got = [line.split() for line in text.splitlines() if len(line.split()) == 4 and len(line.split()[0]) == 64]
    want = [[t["sha256"], t["dtype"], json.dumps(t["shape"], separators=(",", ":")), t["name"]] for t in lines]
    common.equal(path.name, got, want)


def compare(stack, lines, folder, common):
    copy = common.binary().parent / "tests" / "parity" / "torch_copy"
    copies = {}
    for file, tensors in by_file(lines).items():
        with common.case("%s: %s is read as torch wrote it" % (stack, file)):
            listed(folder / file, tensors, common)
            copies[file] = folder / ("copy_" + file)
            subprocess.run([copy, folder / file, copies[file]], check=True)
            listed(copies[file], tensors, common)
    with common.case("%s: torch.load(weights_only=True) opens what paco wrote" % stack):
        loaded = by_file(common.run_in(stack, "torch_files.py", "load", *copies.values(), timeout=600).lines())
        for file, tensors in by_file(lines).items():
            want = [dict(t, file="copy_" + file) for t in tensors]
            common.equal(file, loaded["copy_" + file], want)


def update_fixtures(common):
    folder = common.FIXTURES / "torch"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "expected.tsv", "w") as out:
        for stack in ("today", "era"):
            for t in common.run_in(stack, "torch_files.py", "make", folder, "tiny").lines():
                out.write("\t".join([t["file"], t["name"], t["dtype"], json.dumps(t["shape"], separators=(",", ":")),
                                     t["sha256"]]) + "\n")


def main():
    import os
    import common
    for stack in ("today", "era"):
        folder = common.work(stack)
        with common.case("%s: files made" % stack):
            lines = common.run_in(stack, "torch_files.py", "make", folder, timeout=600).lines()
            compare(stack, lines, folder, common)
    if os.environ.get("PACO_PARITY_UPDATE"):
        update_fixtures(common)
    common.finish()


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        for line in make(sys.argv[2], "tiny" in sys.argv[3:]):
            print(json.dumps(line))
    elif sys.argv[1:2] == ["load"]:
        for line in load(sys.argv[2:]):
            print(json.dumps(line))
    else:
        main()
