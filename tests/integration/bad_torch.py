#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad PyTorch files, and what paco must say of each.

    bad_torch.py OUT        writes the cases under OUT, with OUT/expected.tsv: path, tab, a part of the message
    bad_torch.py            (with PACO set) writes them, and holds `paco inspect` against every line, or `paco verify` for
                            what only reading shows: exit 1 within seconds, one message on stderr with that part in it,
                            nothing on stdout, memory bounded
    bad_torch.py --corpus   writes good and bad files as the fuzzing corpus, tests/fuzz/corpus/{torch,pickle}

Standard library only: zip archives and pickles are put together by hand.
"""
import io
import os
import struct
import sys
import zipfile
import zlib


def u16(x):
    return struct.pack("<H", x)


def u32(x):
    return struct.pack("<I", x & 0xffffffff)


def u64(x):
    return struct.pack("<Q", x & 0xffffffffffffffff)


# --- pickles ----------------------------------------------------------------------------------------------------------

def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return b"X" + u32(len(s)) + s


def number(i):
    if -2**31 <= i < 2**31:
        return b"J" + u32(i)
    raw = i.to_bytes(i.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name_of(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def numbers(ints):
    return tuple_of(*[number(i) for i in ints])


ORDERED = name_of("collections", "OrderedDict") + b")R"


def storage(key="0", n=6, kind="FloatStorage", view=b""):
    return tuple_of(text("storage"), name_of("torch", kind), text(key), text("cpu"), number(n), view) + b"Q"


def tensor(shape=(2, 3), stride=(3, 1), offset=0, **where):
    return name_of("torch._utils", "_rebuild_tensor_v2") + tuple_of(
        storage(**where), number(offset), numbers(shape), numbers(stride), b"\x89", ORDERED) + b"R"


def dict_of(items):
    return b"}(" + b"".join((text(k) if isinstance(k, (str, bytes)) else number(k)) + v for k, v in items) + b"u"


def pickled(value):
    return b"\x80\x02" + value + b"."


GOOD = pickled(dict_of([("w", tensor())]))
DATA = bytes(range(24))
CALL = name_of("posix", "system") + text("touch /tmp/owned") + b"\x85R"


# --- archives ---------------------------------------------------------------------------------------------------------

class Entry:
    """One entry of an archive; every field of its two headers may be a lie."""

    def __init__(self, name, data, local=None, **lies):
        self.name, self.data = name, data
        self.local, self.lies = local or {}, lies
        self.at = None

    def field(self, name, honest, local):
        return (self.local if local else {}).get(name, self.lies.get(name, honest))

    def common(self, local):
        f = self.field
        crc, size = zlib.crc32(self.data), len(self.data)
        name = f("name", self.name, local)
        return b"".join([u16(20), u16(f("flags", 0, local)), u16(f("method", 0, local)), u32(0x210000), u32(f("crc", crc, local)),
                         u32(f("packed", size, local)), u32(f("size", size, local)), u16(len(name))]), name.encode("latin-1")

    def header(self):
        fixed, name = self.common(True)
        return b"PK\3\4" + fixed + u16(0) + name

    def central(self):
        fixed, name = self.common(False)
        extra = self.lies.get("extra", b"")
        return b"PK\1\2" + u16(45) + fixed + u16(len(extra)) + bytes(10) + u32(self.lies.get("at", self.at)) + name + extra


def archive(entries, **end):
    out = b""
    for e in entries:
        e.at = len(out)
        out += e.header() + e.data
    at = len(out)
    directory = b"".join(e.central() for e in entries)
    n = end.get("n", len(entries))
    return out + directory + end.get("before", b"") + b"PK\5\6" + u32(0) + u16(n) + u16(n) + u32(end.get("size", len(directory))) + u32(
        end.get("at", at)) + u16(0)


def checkpoint(pickle=GOOD, data=DATA, more=(), **end):
    return archive([Entry("archive/data.pkl", pickle), Entry("archive/data/0", data)] + list(more), **end)


def zipped(entries, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in entries:
            z.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def spoiled(raw, at, new):
    return raw[:at] + new + raw[at + len(new):]


def zip64_end(n, size, at):
    record = b"PK\6\6" + u64(44) + u16(45) + u16(45) + u64(0) + u64(n) + u64(n) + u64(size) + u64(at)
    return record


# --- the legacy form --------------------------------------------------------------------------------------------------

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def legacy(state=None, keys=("0",), storages=((6, DATA),), version=1001, little=b"\x88", listed=None):
    state = pickled(dict_of([("w", tensor(view=b"N"))])) if state is None else state
    info = pickled(dict_of([("protocol_version", number(1001)), ("little_endian", little)]))
    listed = pickled(b"](" + b"".join(text(k) for k in keys) + b"e") if listed is None else listed
    return MAGIC + pickled(number(version)) + info + state + listed + b"".join(u64(n) + data for n, data in storages)


# --- the cases --------------------------------------------------------------------------------------------------------

def in_zip(value):
    """A whole checkpoint around one pickled dict value."""
    return checkpoint(pickled(dict_of([("w", value)])))


def bad_pickles():
    """(name, bytes, part of the message)"""
    yield "calls-system", in_zip(CALL), "global 'posix.system'"
    yield "calls-eval", in_zip(name_of("builtins", "eval") + text("1") + b"\x85R"), "global 'builtins.eval'"
    yield "calls-by-stack-global", in_zip(b"\x8c\x02os\x8c\x06system\x93" + text("id") + b"\x85R"), "global 'os.system'"
    yield "calls-by-inst", in_zip(b"(" + text("id") + b"ios\nsystem\n"), "global 'os.system'"
    yield "calls-torch-load", in_zip(name_of("torch", "load") + text("x") + b"\x85R"), "global 'torch.load'"
    yield "hides-a-pickle", in_zip(name_of("torch.storage", "_load_from_bytes") + b"C\x01x\x85R"), "hides a second pickle"
    yield "nested-getattr", in_zip(b"\x8c\x05torch\x8c\x17serialization.os.system\x93"), "global 'torch.serialization.os.system'"
    yield "import-of-a-module", in_zip(name_of("runpy", "_run_code") + b")R"), "global 'runpy._run_code'"
    yield "whole-model", in_zip(name_of("transformers.models.llama.modeling_llama", "LlamaForCausalLM") + b")\x81"), "a whole model object"
    yield "reduce-of-a-storage-class", in_zip(name_of("torch", "FloatStorage") + number(1 << 30) + b"\x85R"), "is none a checkpoint makes"
    yield "reduce-of-a-string", in_zip(text("eval") + b")R"), "a call of a string"
    yield "build-of-a-tensor", in_zip(tensor() + b"}b"), "sets attributes of a tensor"
    yield "extension-registry", in_zip(b"\x82\x01"), "opcode EXT1"
    yield "protocol-zero", in_zip(b"S'x'\n"), "opcode STRING"
    yield "protocol-nine", checkpoint(b"\x80\x09}."), "pickle protocol 9"
    yield "no-opcode", in_zip(b"\xee"), "0xee is no opcode"
    yield "nested-to-the-bottom", checkpoint(b"\x80\x02" + b"(" * 100000), "nests deeper than 1000"
    yield "two-million-values-stacked", checkpoint(b"\x80\x02" + b"N" * (2 << 20)), "stacks more than 1048576 values"
    yield "memo-index-of-a-billion", checkpoint(b"\x80\x02Nr" + u32(1 << 30) + b"."), "memo index 1073741824 is out of proportion"
    yield "memo-never-put", checkpoint(b"\x80\x02h\x07."), "memo 7 was never put"
    yield "dicts-of-a-long-list", checkpoint(b"\x80\x02" + name_of("collections", "OrderedDict") + b"q\x00]q\x01(" + b"NN\x86" * 50000 + b"e" +
                                             b"h\x00h\x01\x85R0" * 50000 + b"N."), "too much memory"
    yield "string-of-two-gigabytes", checkpoint(b"\x80\x02X" + u32(0x7fffffff) + b"x."), "a string of 2147483647 bytes where 2 are left"
    yield "string-of-all-ones", checkpoint(b"\x80\x04\x8d" + u64(-1) + b"x."), "a string of 18446744073709551615 bytes"
    yield "empty-stack", checkpoint(b"\x80\x02."), "takes a value from an empty stack"
    yield "dict-key-without-value", checkpoint(b"\x80\x02}(" + text("w") + b"u."), "a dict's last key has no value"
    yield "pickle-cut-short", checkpoint(GOOD[:-20]), "the pickle ends in the middle"
    yield "persistent-id-is-text", checkpoint(b"\x80\x02P0\n."), "opcode PERSID"
    yield "storage-is-of-no-class", in_zip(tuple_of(text("storage"), text("torch"), text("0"), text("cpu"), number(6)) + b"Q"), "a storage has a string as type"


def bad_tensors():
    n = 2**31 - 1
    yield "negative-stride", in_zip(tensor(stride=(3, -1))), "tensor 'w': dimension 1 has size 3 and stride -1"
    yield "negative-size", in_zip(tensor(shape=(-2, 3))), "dimension 0 has size -2"
    yield "negative-offset", in_zip(tensor(offset=-6)), "begins at element -6"
    yield "beyond-its-storage", in_zip(tensor(offset=1)), "reaches to element 6 of f32, beyond its storage of 24 bytes"
    yield "stride-of-exabytes", in_zip(tensor(stride=(2**62, 2**62))), "reaches to element 13835058055282163712 of f32"
    yield "stride-overflows", in_zip(tensor(shape=(5, 3), stride=(2**62, 2**62))), "its shape and strides are of no possible size"
    yield "shape-overflows", in_zip(tensor(shape=(n, n, n), stride=(0, 0, 0))), "of no possible size"
    yield "size-beyond-64-bits", in_zip(tensor(shape=(2**70, 1))), "wants a storage, an offset, and a size and a stride"
    yield "expands-without-end", in_zip(tensor(shape=(n, 1000), stride=(0, 0))), "would expand 24 bytes of storage"
    yield "nine-dimensions", in_zip(tensor(shape=(1,) * 9, stride=(1,) * 9)), "has 9 dimensions"
    yield "strides-of-another-rank", in_zip(tensor(stride=(3,))), "a size and a stride of equal length"
    yield "negative-count", in_zip(tensor(n=-6)), "its storage is -6 elements of f32"
    yield "count-is-not-size", in_zip(tensor(n=7)), "zip entry 'archive/data/0' has 24 bytes, but its storage is 7 elements of f32"
    yield "storage-missing", in_zip(tensor(key="1")), "zip entry 'archive/data/1', its storage, is not in the archive"
    yield "storage-by-path", in_zip(tensor(key="../../../etc/passwd")), "is not in the archive"
    yield "complex-numbers", in_zip(tensor(kind="ComplexFloatStorage", n=3)), "complex numbers are not supported"
    yield "name-twice", checkpoint(pickled(dict_of([("w", tensor()), ("w", tensor())]))), "tensor 'w' appears twice"
    yield "name-not-utf-8", checkpoint(pickled(dict_of([(b"w\xff", tensor())]))), "non-UTF-8 name"
    yield "name-empty", checkpoint(pickled(dict_of([("", tensor())]))), "empty, overlong or non-UTF-8 name"
    yield "a-list", checkpoint(pickled(b"](" + tensor() + b"e")), "holds a list where a dict of named tensors is expected"
    yield "no-tensors", checkpoint(pickled(dict_of([("epoch", number(3))]))), "holds no named tensors, only 'epoch' (an integer)"


def bad_archives():
    good = checkpoint()
    pkl, data = Entry("archive/data.pkl", GOOD), Entry("archive/data/0", DATA)
    yield "cut-in-the-middle", good[:len(good) // 2], "is a zip archive without its end"
    yield "cut-by-one", good[:-1], "is a zip archive without its end"
    yield "only-the-head", good[:4], "is a zip archive without its end"
    yield "more-behind", good + b"x", "the zip archive ends here, but 1 more byte follows"
    yield "entry-twice", checkpoint(more=[Entry("archive/data/0", DATA)]), "zip entry 'archive/data/0' appears twice"
    inner = Entry("archive/data/1", DATA)
    outer = Entry("archive/data/0", inner.header() + DATA)
    raw = archive([pkl, outer])
    inner.lies["at"] = outer.at + len(outer.header())
    body = raw[:raw.index(b"PK\1\2")]
    directory = pkl.central() + outer.central() + inner.central()
    yield "overlap", body + directory + b"PK\5\6" + u32(0) + u16(3) * 2 + u32(len(directory)) + u32(len(body)) + u16(0), "zip entry 'archive/data/1' overlaps 'archive/data/0'"
    yield "entry-beyond-the-end", archive([pkl, Entry("archive/data/0", DATA, at=0x7fffffff)]), "outside of the archive's data"
    yield "entry-larger-than-the-file", archive([pkl, Entry("archive/data/0", DATA, packed=0x7fffffff, size=0x7fffffff)]), "outside of the archive's data"
    yield "another-name-inside", archive([pkl, Entry("archive/data/0", DATA, {"name": "archive/data/1"})]), "has another name in its own header"
    yield "another-size-inside", archive([pkl, Entry("archive/data/0", DATA, {"size": 25})]), "differ from those in the directory"
    yield "leads-out", checkpoint(more=[Entry("archive/../../x", b"x")]), "leads out of the archive"
    yield "absolute", checkpoint(more=[Entry("/etc/passwd", b"x")]), "leads out of the archive"
    yield "entry-name-not-utf-8", checkpoint(more=[Entry("\xff", b"x")]), "not UTF-8"
    yield "encrypted", archive([pkl, Entry("archive/data/0", DATA, flags=1)]), "is encrypted"
    yield "method-12", archive([pkl, Entry("archive/data/0", DATA, method=12)]), "compressed by method 12"
    yield "stored-yet-larger", archive([pkl, Entry("archive/data/0", DATA, size=25)]), "is stored, yet 24 bytes become 25"
    yield "bomb", archive([pkl, Entry("archive/data/0", DATA, method=8, size=0x7fffffff)]), "a zip bomb?"
    yield "sixty-thousand-entries", checkpoint(n=60000), "claims 60000 entries"
    yield "fewer-entries", checkpoint(n=1), "longer than its 1 entries"
    yield "directory-elsewhere", checkpoint(at=3), "do not end where the end record begins"
    size = 46 * 2 + len("archive/data.pkl") + len("archive/data/0")
    body = len(archive([pkl, data])) - 22 - size
    locator = b"PK\6\7" + u32(0) + u64(body + size) + u32(1)
    yield "zip64-of-all-ones", checkpoint(before=zip64_end(2**64 - 1, size, body) + locator, n=0xffff), "claims 18446744073709551615 entries"
    yield "zip64-disagrees", checkpoint(before=zip64_end(3, size, body) + locator), "two end records disagree"
    yield "zip64-elsewhere", checkpoint(before=zip64_end(2, size, body) + b"PK\6\7" + u32(0) + u64(7) + u32(1)), "points to byte 7"
    yield "word-document", zipped([("word/document.xml", b"<x/>")]), "none of its 1 entries is a data.pkl"
    yield "two-state-dicts", archive([pkl, Entry("b/data.pkl", GOOD)]), "has two state dicts"
    yield "torchscript", checkpoint(more=[Entry("archive/constants.pkl", b"\x80\x02).")]), "is a TorchScript program"
    yield "big-endian", checkpoint(more=[Entry("archive/byteorder", b"big")]), "was written on a big-endian machine"
    yield "pickle-damaged", spoiled(good, good.index(b"storage"), b"S"), "zip entry 'archive/data.pkl' is damaged"
    yield "deflated-pickle-damaged", damaged_stream("archive/data.pkl"), "zip entry 'archive/data.pkl' is damaged"


def damaged_stream(name):
    raw = zipped([("archive/data.pkl", GOOD), ("archive/data/0", DATA * 4)])
    at = raw.index(name.encode()) + len(name)
    return spoiled(raw, at, b"\xff" * 8)


def bad_legacy():
    yield "bare-pickle", pickled(b"}"), "but not a PyTorch checkpoint: PyTorch's magic number is missing"
    yield "bare-pickle-with-code", pickled(CALL), "global 'posix.system'"
    yield "code-in-the-state-dict", legacy(pickled(dict_of([("w", CALL)]))), "global 'posix.system'"
    yield "code-in-the-keys", legacy(listed=pickled(CALL)), "global 'posix.system'"
    yield "version-1002", legacy(version=1002), "is not of version 1001"
    yield "of-a-big-endian-machine", legacy(little=b"\x89"), "was written on a big-endian machine"
    yield "a-pickled-module", legacy(pickled(tuple_of(text("module"), b"N", b"N", b"N") + b"Q")), "a whole model object"
    yield "storage-not-listed", legacy(keys=()), "storage '0' is not in the file's list"
    yield "storage-listed-twice", legacy(keys=("0", "0"), storages=((6, DATA),) * 2), "storage '0' is listed twice"
    yield "storage-nobody-wants", legacy(keys=("0", "1"), storages=((6, DATA),) * 2), "names one that the state dict does not"
    yield "count-disagrees", legacy(storages=((7, DATA + b"1234"),)), "storage '0' has 7 elements here and 6 in the state dict"
    yield "count-negative", legacy(storages=((-1, DATA),)), "storage '0' has -1 elements here"
    yield "storage-cut-short", legacy()[:-1], "storage '0' is 24 bytes, but the file ends 23 bytes after its start"
    yield "ends-before-its-storages", legacy(storages=()), "storage '0': the file ends at byte"
    yield "two-sizes-of-one-storage", legacy(pickled(dict_of([("w", tensor(view=b"N")), ("v", tensor(n=7, view=b"N"))]))), "storage '0' is 24 bytes here and 28 elsewhere"
    yield "view-beyond-its-storage", legacy(pickled(dict_of([("w", tensor(shape=(2,), stride=(1,), view=tuple_of(text("v"), number(5), number(2))))]))), "a view of 2 elements from 5 of storage '0'"
    yield "tar", tar_file(), "is a tar archive, not a PyTorch checkpoint: PyTorch wrote such files before version 0.2"


def tar_file():
    block = bytearray(512)
    block[:8] = b"sys_info"
    block[257:262] = b"ustar"
    return bytes(block) + bytes(1024)


def bad_downloads():
    yield "git-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9877989586\n", "is a git-lfs pointer, not the file of 9877989586 bytes"
    yield "html-page", b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n", "is an HTML page, not a PyTorch checkpoint"
    yield "error-message", b"Access to model x is restricted.", "is a short text"
    yield "empty", b"", "is empty"
    yield "zeros", bytes(4096), "starts with nothing but zero bytes"
    yield "safetensors", u64(2) + b"{}", "is a safetensors file, not a PyTorch checkpoint"


def bad_content():
    """What only reading the tensors shows."""
    good = checkpoint()
    yield "flipped-bit", spoiled(good, good.index(DATA), b"\x01"), "tensor 'w': zip entry 'archive/data/0' is damaged"
    wide = pickled(dict_of([("w", tensor(shape=(4, 2), stride=(1, 3), n=24))]))
    raw = checkpoint(wide, DATA * 4)
    yield "flipped-bit-under-a-view", spoiled(raw, raw.index(DATA), b"\x01"), "tensor 'w': zip entry 'archive/data/0' is damaged"
    longer = pickled(dict_of([("w", tensor(shape=(24,), stride=(1,), n=24))]))
    raw = zipped([("archive/data.pkl", longer), ("archive/data/0", DATA * 4)])
    at = raw.index(b"archive/data/0") + 14
    yield "stream-damaged", spoiled(raw, at, b"\xff" * 8), "tensor 'w': zip entry 'archive/data/0' is damaged at unpacked byte"
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    short = packed.compress(bytes(90)) + packed.flush()
    lie = Entry("archive/data/0", short, method=8, size=96, crc=0)
    yield "stream-ends-early", archive([Entry("archive/data.pkl", longer), lie]), "ends early at unpacked byte"


def cases():
    """(path, bytes, part of the message, command that shows it)"""
    for folder, made, command in (("pickle", bad_pickles(), "inspect"), ("tensor", bad_tensors(), "inspect"),
                                  ("archive", bad_archives(), "inspect"), ("legacy", bad_legacy(), "inspect"),
                                  ("download", bad_downloads(), "inspect"), ("content", bad_content(), "verify")):
        for name, raw, part in made:
            yield "torch/%s/%s.bin" % (folder, name), raw, part, command


def write_all(out):
    written = []
    for path, raw, part, command in cases():
        full = os.path.join(out, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(raw)
        written.append((path, part, command))
    with open(os.path.join(out, "expected.tsv"), "w", encoding="utf-8") as f:
        f.writelines("%s\t%s\n" % (path, part) for path, part, _ in written)
    return written


# --- the fuzzing corpus -----------------------------------------------------------------------------------------------

def without_sums(raw):
    """The same archive with every CRC zero, which means "none": so that what mutates is still read."""
    raw = bytearray(raw)
    for signature, at in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        i = raw.find(signature)
        while i >= 0:
            raw[i + at:i + at + 4] = bytes(4)
            i = raw.find(signature, i + 4)
    return bytes(raw)


def good_files():
    views = pickled(dict_of([("a", tensor()), ("t", tensor((3, 2), (1, 3))), ("e", tensor((4, 6), (0, 1))), ("s", tensor((2,), (3,), 1)),
                             ("z", tensor((0, 3), (3, 1))), ("p", name_of("torch._utils", "_rebuild_parameter") + tensor() + b"\x88" + ORDERED + b"\x87R"),
                             ("n", number(3)), (7, tensor())]))
    wrapped = pickled(dict_of([("epoch", number(1)), ("state_dict", name_of("collections", "OrderedDict") + b")R(" + text("w") + tensor() + b"u}" +
                               text("_metadata") + ORDERED + b"sb")]))
    size = 46 * 2 + len("archive/data.pkl") + len("archive/data/0")
    body = len(checkpoint(views)) - 22 - size
    locator = b"PK\6\7" + u32(0) + u64(body + size) + u32(1)
    yield "good_zip", without_sums(checkpoint(views))
    yield "good_zip_sums", checkpoint(views)
    yield "good_zip64", without_sums(checkpoint(views, before=zip64_end(2, size, body) + locator))
    yield "good_wrapped", without_sums(checkpoint(wrapped))
    yield "good_deflated", without_sums(zipped([("archive/data.pkl", GOOD), ("archive/data/0", DATA)]))
    yield "good_legacy", legacy()
    yield "good_legacy_view", legacy(pickled(dict_of([("w", tensor((2,), (1,), 0, view=tuple_of(text("v"), number(1), number(4))))])))


def write_corpus(root):
    n = 0
    for folder in ("torch", "pickle"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)

    def put(folder, name, raw):
        with open(os.path.join(root, folder, name.replace("-", "_")), "wb") as f:
            f.write(raw)
        return 1
    for name, raw in good_files():
        n += put("torch", name, raw)
    for path, raw, _, _ in cases():
        if len(raw) <= 4096:
            n += put("torch", "bad_%s_%s" % tuple(path[:-4].split("/")[1:]), raw)
        start, end = raw.find(b"\x80"), raw.find(b"PK\3\4", 4)
        if "/pickle/" in path and len(raw) <= 4096:
            n += put("pickle", "bad_" + os.path.basename(path)[:-4], raw[start:end])
    n += put("pickle", "good", GOOD)
    n += put("pickle", "protocol_4", b"\x80\x04\x95\x1e\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94K\x01\x8c\x01b]\x94(N\x88\x89eu\x8c\x01c\x94C\x02hi\x94s.")
    n += put("pickle", "numbers", b"\x80\x02(K\x01M\1\2J\0\0\0\x80\x8a\x02\0\1\x8b\x02\0\0\0\0\1I01\nL12L\nG?\xf8\0\0\0\0\0\0t.")
    return n


def bound_memory():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.argv[1:] == ["--corpus"]:
        print("%d files" % write_corpus(os.path.join(here, "..", "fuzz", "corpus")))
        return
    if len(sys.argv) > 1:
        print("%d cases" % len(write_all(sys.argv[1])))
        return
    sys.path.insert(0, here)
    from tiny import SANITIZED, case, finish, paco, work
    out = work("bad")
    for path, message, command in write_all(out):
        done = paco(command, os.path.join(out, path), timeout=10, preexec_fn=None if SANITIZED else bound_memory)
        lines = done.stderr.strip().split("\n")
        case(path, done.returncode == 1 and done.stdout == "" and len(lines) == 1 and message in done.stderr and
             os.path.basename(path) in done.stderr, done)
    finish()


if __name__ == "__main__":
    main()
