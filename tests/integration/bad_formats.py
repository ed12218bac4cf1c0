#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad safetensors, GGUF, config and index files, and what paco must say of each.

    bad_formats.py OUT    writes the cases under OUT, with OUT/expected.tsv: path, tab, a part of the message
    bad_formats.py        (with PACO set) writes them, and holds `paco inspect` against every line: exit 1 within seconds, one
                          message on stderr with that part in it, nothing on stdout, memory bounded

Standard library only. A case is a file, or a directory for what takes several.
"""
import json
import os
import struct
import sys


def u32(x):
    return struct.pack("<I", x)


def u64(x):
    return struct.pack("<Q", x)


# --- safetensors ------------------------------------------------------------------------------------------------------

def st(header, data=b""):
    """A safetensors file with this header, JSON text or a value, in front of data."""
    text = header if isinstance(header, bytes) else header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return u64(len(text)) + text + data


def entry(begin, end, shape=None, dtype="U8"):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


GOOD = st({"model.norm.weight": entry(0, 16, [4], "F32")}, bytes(16))


def bad_safetensors():
    """(name, bytes, part of the message)"""
    yield "truncated-in-length", GOOD[:5], "truncated"
    yield "truncated-in-header", GOOD[:40], "the header is said to be"
    yield "truncated-in-data", GOOD[:-3], "ends at byte 16 of the data, but the file holds 13 (truncated?)"
    yield "length-of-all-ones", u64(2**64 - 1) + b"{}", "the header is said to be 18446744073709551615 bytes"
    yield "header-17-mib", u64(17 << 20) + b"{" + bytes((17 << 20) - 1), "the header is 17825792 bytes; at most 16777216"
    yield "two-million-values", st('{"a":[' + "0," * (2 << 20) + "0]}"), "tensor 'a' is an array where an object is expected"
    yield "overlap", st({"a": entry(0, 8), "b": entry(6, 14)}, bytes(14)), "tensor 'b' begins at byte 6 of the data and overlaps tensor 'a'"
    yield "hole", st({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20)), "4 bytes of the data before tensor 'b' belong to no tensor"
    yield "bytes-behind", st({"a": entry(0, 8)}, bytes(11)), "3 bytes behind the last tensor belong to none"
    yield "ends-before-it-begins", st({"a": entry(8, 0, [8])}, bytes(8)), "ends at byte 0 of the data, before it begins at 8"
    yield "negative-offset", st({"a": entry(-8, 0, [8])}, bytes(8)), "\"data_offsets\"[0] is no integer from 0 to 2^53"
    yield "offset-beyond-64-bits", st({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 2**70]}}, b"x"), "\"data_offsets\"[1] is no integer"
    yield "negative-shape", st({"a": entry(0, 8, [-2, -4])}, bytes(8)), "\"shape\"[0] is no integer"
    yield "shape-overflows", st({"a": entry(0, 8, [2**40, 2**40])}, bytes(8)), "shape [1099511627776,1099511627776] in u8 is no possible size"
    yield "row-of-a-terabyte", st({"a": entry(0, 8, [1, 2**40])}, bytes(8)), "tensor 'a' has 8 bytes; its shape [1,1099511627776] in U8 takes 1099511627776"
    yield "nine-dimensions", st({"a": entry(0, 1, [1] * 9)}, b"x"), "\"shape\" has 9 members"
    yield "size-is-not-shape", st({"a": entry(0, 12, [2, 2], "F32")}, bytes(12)), "tensor 'a' has 12 bytes; its shape [2,2] in F32 takes 16"
    yield "unknown-dtype", st({"a": entry(0, 8, [8], "F4")}, bytes(8)), "tensor 'a' has the dtype 'F4', which paco does not read"
    yield "dtype-is-a-number", st({"a": {"dtype": 3, "shape": [], "data_offsets": [0, 1]}}, b"x"), "\"dtype\" is an integer where a string"
    yield "no-dtype", st({"a": {"shape": [1], "data_offsets": [0, 1]}}, b"x"), "\"dtype\" is missing"
    yield "one-offset", st({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}, b"x"), "\"data_offsets\" has 1 members; 2 are expected"
    yield "tensor-is-a-list", st({"a": []}), "tensor 'a' is an array where an object is expected"
    yield "name-twice", st('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xy"), "duplicate object key"
    yield "name-not-utf-8", st(b'{"a\xff":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"), "not valid UTF-8"
    yield "name-with-a-nul", st('{"a\\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"), "JSON: NUL"
    yield "name-of-two-kilobytes", st({"a" * 2048: entry(0, 1)}, b"x"), "empty, overlong or non-UTF-8 name"
    yield "nested-to-the-bottom", st('{"a":{"x":' + "[" * 100000), "JSON nested deeper than 64 levels"
    yield "header-is-a-list", st("[]"), "does not begin with '{'"
    yield "metadata-is-a-number", st({"__metadata__": {"format": 1}}), "__metadata__ 'format' is an integer where a string is expected"
    yield "empty", b"", "is empty"
    yield "zeros", bytes(4096), "starts with nothing but zero bytes"
    yield "git-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9976576392\n", "is a git-lfs pointer"
    yield "html-page", b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n", "is an HTML page, not a safetensors file"
    yield "error-message", b"Invalid username or password.", "is a short text"
    yield "zip", b"PK\x03\x04" + bytes(60), "is a zip archive"


# --- GGUF -------------------------------------------------------------------------------------------------------------

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


def string(s):
    s = s if isinstance(s, bytes) else s.encode()
    return u64(len(s)) + s


def pair(key, kind, value):
    return string(key) + u32(kind) + value


def info(name, dims, kind, offset):
    return string(name) + u32(len(dims)) + b"".join(u64(d) for d in dims) + u32(kind) + u64(offset)


def gguf(pairs=(), infos=(), data=b"", version=3, n_tensors=None, n_pairs=None):
    head = b"GGUF" + u32(version) + u64(len(infos) if n_tensors is None else n_tensors) + u64(len(pairs) if n_pairs is None else n_pairs)
    head += b"".join(pairs) + b"".join(infos)
    return head + bytes(-len(head) % 32) + data


ARCH = pair("general.architecture", STRING, string("llama"))


def llama(**changes):
    sizes = {"block_count": 1, "embedding_length": 32, "feed_forward_length": 32, "attention.head_count": 2, "context_length": 64,
             "vocab_size": 4, **changes}
    return [ARCH, pair("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5))] + [
        pair("llama." + k, U32, u32(v)) for k, v in sizes.items()]


def bad_gguf():
    good = gguf(llama(), [info("token_embd.weight", [32, 4], 0, 0)], bytes(512))
    yield "truncated-in-magic", b"GG", "not a GGUF file"
    yield "truncated-in-metadata", good[:200], "but the file ends after"
    yield "truncated-in-data", good[:-100], "but the file ends at"
    yield "version-1", gguf(version=1), "is GGUF version 1, of August 2023"
    yield "version-9", gguf(version=9), "is GGUF version 9; versions 2 and 3 are read"
    yield "big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is a big-endian GGUF file"
    yield "tera-tensors", gguf(n_tensors=10**12), "says it has 1000000000000 tensors"
    yield "tera-entries", gguf(n_pairs=2**64 - 1), "says it has 18446744073709551615 metadata entries"
    yield "key-of-all-ones", gguf([u64(2**64 - 1) + bytes(32)]), "a metadata key takes 18446744073709551615 bytes"
    yield "key-twice", gguf([ARCH, ARCH]), "metadata key 'general.architecture' appears twice"
    yield "key-not-utf-8", gguf([pair(b"a\xff", U8, b"\0")]), "metadata key 0 is empty, longer than 65535 bytes or no UTF-8 text"
    yield "unknown-value-type", gguf([pair("a", 99, bytes(16))]), "metadata 'a' is of the unknown value type 99"
    yield "array-of-arrays", gguf([pair("a", ARRAY, u32(ARRAY) + u64(1) + u32(ARRAY) + u64(0))]), "metadata 'a' is an array of arrays"
    yield "tera-array", gguf([pair("a", ARRAY, u32(F64) + u64(10**12))]), "metadata 'a' says it has 1000000000000 elements"
    yield "bool-of-seven", gguf([pair("a", BOOL, b"\7")]), "metadata 'a' holds a bool of value 7"
    yield "alignment-48", gguf([pair("general.alignment", U32, u32(48))]), "general.alignment is 48, which is no power of two"
    yield "one-part-of-five", gguf([pair("split.count", U16, struct.pack("<H", 5))]), "is one of 5 parts of a split model"
    yield "type-q2-k", gguf(llama(), [info("t", [256], 10, 0)], bytes(84)), "tensor 't' is of GGML type 10 (Q2_K), which paco does not read"
    yield "type-4711", gguf(llama(), [info("t", [256], 4711, 0)], bytes(84)), "tensor 't' is of GGML type 4711 (unknown)"
    yield "part-of-a-block", gguf(llama(), [info("t", [48, 2], 8, 0)], bytes(999)), "a row of 48 elements is no whole number of q8_0 blocks of 32"
    yield "five-dimensions", gguf(llama(), [info("t", [1] * 5, 0, 0)], bytes(99)), "tensor 't' has 5 dimensions; GGUF allows 4"
    yield "shape-overflows", gguf(llama(), [info("t", [2**40, 2**40], 0, 0)], bytes(99)), "in f32 is no possible size"
    yield "tensor-twice", gguf(llama(), [info("t", [8], 0, 0), info("t", [8], 0, 32)], bytes(64)), "tensor 't' appears twice"
    yield "tensors-overlap", gguf(llama(), [info("a", [32], 0, 0), info("b", [8], 0, 64)], bytes(128)), "tensor 'b' begins inside tensor 'a'"
    yield "offset-unaligned", gguf(llama(), [info("t", [8], 0, 8)], bytes(64)), "no multiple of the alignment 32"
    yield "offset-beyond", gguf(llama(), [info("t", [8], 0, 2**63)], bytes(64)), "takes 32 bytes from byte 9223372036854775808 of the data"
    yield "name-not-utf-8", gguf(llama(), [info(b"\xc3(", [8], 0, 0)], bytes(64)), "tensor 0 has an empty, overlong or non-UTF-8 name"
    yield "no-architecture", gguf(), "metadata 'general.architecture' is missing"
    yield "billions-of-layers", gguf(llama(block_count=4 * 10**9)), "metadata 'llama.block_count' is 4000000000, outside 1 to 1000"
    yield "width-is-a-string", gguf([ARCH, pair("llama.block_count", U32, u32(1)), pair("llama.embedding_length", STRING, string("8"))]), "'llama.embedding_length' is a string where an integer is expected"
    yield "heads-do-not-divide", gguf(llama(**{"attention.head_count_kv": 3})), "2 attention heads cannot share 3 key/value heads evenly"
    yield "no-heads", gguf(llama(**{"attention.head_count": 0})), "metadata 'llama.attention.head_count' is 0, outside 1 to 16384"
    yield "rows-are-no-heads", gguf(llama(), [info("blk.0.attn_q.weight", [32, 5], 0, 0)], bytes(640)), "whose rows are no even number for each of 2 heads"
    yield "html-page", b"<html>404</html>", "is an HTML page, not a GGUF file"


# --- directories ------------------------------------------------------------------------------------------------------

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
         "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}


def bad_configs():
    """(name, text of config.json beside good weights, part of the message)"""
    def but(**changes):
        return json.dumps({k: v for k, v in {**LLAMA, **changes}.items() if v != "gone"})

    yield "not-json", "{'model_type': 'llama'}", "config.json: JSON:"
    yield "cut-short", but()[:-9], "config.json: JSON:"
    yield "a-list", "[]", "holds an array where a JSON object is expected"
    yield "key-twice", but()[:-1] + ', "vocab_size": 7}', "duplicate object key"
    yield "billions-of-layers", but(num_hidden_layers=10**9), "\"num_hidden_layers\" is 1000000000, outside 1 to 1000"
    yield "layers-beyond-64-bits", but(num_hidden_layers=10**30), "\"num_hidden_layers\" is a real number where an integer is expected"
    yield "negative-width", but(hidden_size=-64), "\"hidden_size\" is -64, outside 1 to 1048576"
    yield "width-is-a-string", but(hidden_size="64"), "\"hidden_size\" is a string where an integer is expected"
    yield "no-vocabulary", but(vocab_size="gone"), "\"vocab_size\" is missing"
    yield "heads-do-not-divide", but(num_key_value_heads=3), "4 attention heads cannot share 3 key/value heads"
    yield "width-does-not-divide", but(num_attention_heads=5), "a width of 64 cannot be split into 5 heads"
    yield "odd-heads", but(head_dim=15), "heads of 15 elements: RoPE rotates pairs"
    yield "epsilon-of-zero", but(rms_norm_eps=0), "\"rms_norm_eps\" is 0; a finite number above 0 is expected"
    yield "base-of-infinity", but(rope_theta=1e300), "\"rope_theta\" is 1e+300; a finite number above 0 is expected"
    yield "scaling-without-factor", but(rope_scaling={"type": "linear"}), "has no \"factor\""
    yield "ends-with-a-thousand", but(eos_token_id=list(range(1000))), "\"eos_token_id\" lists 1000 ids; at most 8"
    yield "two-megabytes", " " * (2 << 20) + but(), "a file of this kind has at most 1048576"
    yield "deep", '{"a":' * 1000 + "1" + "}" * 1000, "nested deeper than 64 levels"


SHARD = "model-00001-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def bad_indexes():
    """(name, text of the index beside the good shard SHARD, what else is there: name -> bytes or link target, message)"""
    def to(**where):
        return json.dumps({"metadata": {"total_size": 16}, "weight_map": {"model.norm.weight": SHARD, **where}})

    yield "escapes", to(x="../" + SHARD), {}, "tensor 'x' is in '../" + SHARD + "', which is no plain file name"
    yield "absolute", to(x="/etc/passwd"), {}, "'/etc/passwd', which is no plain file name"
    yield "into-a-folder", to(x="shards/" + SHARD), {}, "which is no plain file name"
    yield "dot-dot", to(x=".."), {}, "which is no plain file name"
    yield "name-with-a-nul", to(x=SHARD + "\0"), {}, "which is no plain file name"
    yield "two-missing", to(x="b", y="a", z="a"), {}, "2 of the 3 shards it names are missing, the first of them 'a'"
    yield "tensor-not-in-shard", to(x=SHARD), {}, "tensor 'x' is not in the shard '" + SHARD + "'"
    yield "file-is-a-number", to(x=7), {}, "tensor 'x' is in an integer where a file name is expected"
    yield "map-is-a-list", '{"weight_map": []}', {}, "\"weight_map\" is an array where an object is expected"
    yield "map-is-empty", '{"weight_map": {}}', {}, "\"weight_map\" is empty"
    yield "no-map", "{}", {}, "\"weight_map\" is missing"
    yield "not-json", "<html>", {}, "JSON:"
    yield "empty", "", {}, "JSON:"
    yield "tensor-twice", '{"weight_map": {"a": "%s", "a": "%s"}}' % (SHARD, SHARD), {}, "duplicate object key"
    yield "shard-is-a-pointer", to(x="b"), {"b": b"version https://git-lfs.github.com/spec/v1\nsize 9\n"}, "is a git-lfs pointer"
    yield "shard-is-a-page", to(x="b.safetensors"), {"b.safetensors": b"<html>"}, "is an HTML page"
    yield "links-in-a-loop", to(x="b"), {"b": "c", "c": "b"}, "leads round in a loop"
    yield "link-to-nowhere", to(x="b"), {"b": "../blobs/0123"}, "leads nowhere"
    yield "shard-is-a-folder", to(x="folder"), {"folder/x": b""}, "is a directory, not a regular file"
    yield "tensor-in-both", to(x="b.safetensors"), {"b.safetensors": st({"x": entry(0, 4), "y": entry(4, 8)}, bytes(8)),
                                                     SHARD: st({"model.norm.weight": entry(0, 4), "y": entry(4, 8)}, bytes(8))}, "tensor 'y' appears twice"


def put(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if isinstance(content, str):
        os.symlink(content, path)
        return
    with open(path, "wb") as f:
        f.write(content)


def write_all(out):
    """Write every case under out. Returns [(path, part of the message)], paths relative to out."""
    cases = []
    for kind, made, suffix in (("safetensors", bad_safetensors(), ".safetensors"), ("gguf", bad_gguf(), ".gguf")):
        for name, content, message in made:
            put(os.path.join(out, kind, name + suffix), content)
            cases.append((kind + "/" + name + suffix, message))
    for name, text, message in bad_configs():
        put(os.path.join(out, "config", name, "model.safetensors"), GOOD)
        put(os.path.join(out, "config", name, "config.json"), text.encode())
        cases.append(("config/" + name, message))
    for name, text, files, message in bad_indexes():
        for file, content in {SHARD: GOOD, INDEX: text.encode(), **files}.items():
            put(os.path.join(out, "index", name, file), content)
        cases.append(("index/" + name, message))
    put(os.path.join(out, "index", "nothing-there", "README.md"), b"# A model\n")
    cases.append(("index/nothing-there", "no model.safetensors, pytorch_model.bin or index of shards in this directory"))
    put(os.path.join(out, "index", "shard-without-index", SHARD), GOOD)
    cases.append(("index/shard-without-index", "looks like a shard whose index file is missing"))
    os.makedirs(os.path.join(out, "index", "weights-are-a-pipe"))
    os.mkfifo(os.path.join(out, "index", "weights-are-a-pipe", "model.safetensors"))
    cases.append(("index/weights-are-a-pipe", "is a device, pipe or socket, not a regular file"))
    with open(os.path.join(out, "expected.tsv"), "w", encoding="utf-8") as f:
        f.writelines("%s\t%s\n" % c for c in cases)
    return cases


def bound_memory():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def main():
    if len(sys.argv) > 1:
        print("%d cases" % len(write_all(sys.argv[1])))
        return
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from tiny import SANITIZED, case, finish, paco, work
    out = work("bad")
    for path, message in write_all(out):
        done = paco("inspect", os.path.join(out, path), timeout=10, preexec_fn=None if SANITIZED else bound_memory)
        lines = done.stderr.strip().split("\n")
        case(path, done.returncode == 1 and done.stdout == "" and len(lines) == 1 and message in done.stderr and
             os.path.basename(path).split(".")[0] in done.stderr, done)
    finish()


if __name__ == "__main__":
    main()
