#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad tokenizer files, and what paco must say of each.

    bad_tokenizer.py OUT    writes the cases under OUT, with OUT/expected.tsv: path, tab, a part of the message
    bad_tokenizer.py        (with PACO set) writes them, and holds `paco tokenize -m` against every line: exit 1 within seconds,
                            one message on stderr with that part in it, nothing on stdout, memory bounded

Standard library only. A case is a file, or a directory for what takes several.
"""
import copy
import json
import os
import resource
import struct
import sys

MARK = "\u2581"


# --- SentencePiece: protocol buffers by hand ----------------------------------------------------------------------------

def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def field(number, value):
    """A number as a varint, a float as four bytes, bytes and text with their length."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text, score=0.0, kind=1):
    return field(1, field(1, text) + field(2, score) + field(3, kind))


def model(*more, kind=2, normalizer=b"", trainer=b""):
    """<unk> <s> </s> U+2581 a, then more."""
    return (piece("<unk>", kind=2) + piece("<s>", kind=3) + piece("</s>", kind=3) + piece(MARK, -2.0) + piece("a", -1.0) +
            b"".join(more) + field(2, field(3, kind) + trainer) + field(3, normalizer))


def bytes_but(missing):
    return [piece("<0x%02X>" % b, kind=6) for b in range(256) if b != missing]


GOOD_MODEL = model()


def bad_models():
    """(name, bytes, part of the message)"""
    yield "truncated", GOOD_MODEL[:-9], "is not a SentencePiece model"
    yield "length-beyond-the-end", b"\x0a\xff\xff\xff\xff\x0f", "is not a SentencePiece model"
    yield "length-of-64-bits", b"\x0a" + b"\xff" * 9 + b"\x01", "is not a SentencePiece model"
    yield "groups-without-end", b"\x0b" * 1000, "is not a SentencePiece model"
    yield "no-pieces", field(2, field(3, 2)), "it has no pieces"
    yield "seven-million-empty-pieces", b"\x0a\x00" * (7 << 20), "is not a SentencePiece model"
    yield "empty-piece", model(piece("")), "piece 5 is empty"
    yield "piece-twice", model(piece("a")), "piece 5 'a' was there before"
    yield "two-unknowns", model(piece("<u>", kind=2)), "pieces 0 and 5 are both the unknown piece"
    yield "no-unknown", piece("a") + field(2, field(3, 2)), "without an unknown piece"
    yield "type-seven", model(piece("b", kind=7)), "piece 5 'b' has type 7"
    yield "type-beyond-32-bits", model(piece("b", kind=2**63)), "piece 5 'b' has type"
    yield "score-nan", model(piece("b", float("nan"))), "piece 5 'b' has no finite score"
    yield "score-infinite", model(piece("b", float("inf"))), "piece 5 'b' has no finite score"
    yield "piece-of-two-kilobytes", model(piece("x" * 2048)), "piece 5 has 2048 bytes"
    yield "byte-piece-misspelt", model(piece("<0xG0>", kind=6)), "is a byte piece, but not of the form <0x0A>"
    yield "byte-missing", model(*bytes_but(0x41), trainer=field(35, 1)), "there is no piece <0x41>"
    yield "word-model", model(kind=3), "a SentencePiece model of type 3 (word)"
    yield "character-model", model(kind=4), "a SentencePiece model of type 4 (character)"
    yield "model-type-900", model(kind=900), "a SentencePiece model of type 900"
    yield "charsmap-too-short", model(normalizer=field(2, b"abc")), "precompiled_charsmap has 3 bytes"
    yield "charsmap-trie-beyond-the-end", model(normalizer=field(2, struct.pack("<I", 2**31) + bytes(64))), "it is truncated or damaged"
    yield "charsmap-without-end", model(normalizer=field(2, struct.pack("<I", 8) + bytes(8) + b"abc")), "not NUL-terminated UTF-8"
    yield "denormalizer", model() + field(5, field(2, b"1234")), "with a denormalizer"
    yield "git-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 499723\n", "is a git-lfs pointer"
    yield "html-page", b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n", "is an HTML page"
    yield "empty", b"", "is empty"
    yield "zeros", bytes(4096), "starts with nothing but zero bytes"


# --- tokenizer.json -----------------------------------------------------------------------------------------------------

GOOD_JSON = {"added_tokens": [{"id": 4, "content": "</s>", "special": True}], "normalizer": None, "pre_tokenizer": None,
             "post_processor": None, "decoder": None,
             "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, MARK: 3}, "merges": ["a b"]}}


def changed(path, value):
    """GOOD_JSON with the member at path set."""
    out = copy.deepcopy(GOOD_JSON)
    at = out
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return out


def bad_json():
    """(name, value or bytes, part of the message)"""
    good = json.dumps(GOOD_JSON).encode()
    yield "truncated", good[:-20], "JSON"
    yield "not-utf-8", good.replace(b'"ab"', b'"a\xff"'), "UTF-8"
    yield "piece-twice", good.replace(b'"ab"', b'"a"'), "duplicate object key"
    yield "nested-to-the-bottom", b'{"model":' + b"[" * 100000, "nested deeper"
    yield "thirty-million-values", b'{"model":[' + b"0," * (30 << 20) + b"0]}", "JSON values"
    yield "config-instead", {"model_type": "llama"}, "has no model: not a tokenizer.json"
    yield "unigram", changed(["model"], {"type": "Unigram", "vocab": [["a", 0]]}), "the model 'Unigram' is not supported"
    yield "word-piece", changed(["model", "type"], "WordPiece"), "the model 'WordPiece' is not supported"
    yield "vocab-is-a-list", changed(["model", "vocab"], ["a"]), "model.vocab is not an object"
    yield "id-negative", changed(["model", "vocab", "b"], -1), "'b' has no id below"
    yield "id-of-a-billion", changed(["model", "vocab", "b"], 10**9), "'b' has no id below"
    yield "id-beyond-64-bits", changed(["model", "vocab", "b"], 10**30), "'a' has no id below"
    yield "id-is-text", changed(["model", "vocab", "b"], "1"), "'b' has no id below"
    yield "id-twice", changed(["model", "vocab", "b"], 0), "has id 0, as another piece has"
    yield "merge-of-strangers", changed(["model", "merges"], ["a c"]), "merge 0, 'a' and 'c', is not of pieces of the vocabulary"
    yield "merge-of-three", changed(["model", "merges"], [["a", "b", "a"]]), "merge 0 is not two pieces"
    yield "merge-without-a-space", changed(["model", "merges"], ["ab"]), "merge 0 is not two pieces"
    yield "merges-missing", changed(["model", "merges"], None), "model.merges is not a list"
    yield "unknown-of-no-piece", changed(["model", "unk_token"], "<unk>"), "unk_token is not a piece"
    yield "end-of-word", changed(["model", "end_of_word_suffix"], "</w>"), "'end_of_word_suffix' is not supported"
    yield "added-without-id", changed(["added_tokens"], [{"content": "x"}]), "added_tokens: entry 0"
    yield "added-empty", changed(["added_tokens"], [{"id": 4, "content": ""}]), "an added token without content"
    yield "added-of-two-kilobytes", changed(["added_tokens"], [{"id": 4, "content": "x" * 2048}]), "added token 4 has 2048 bytes"
    yield "added-id-of-two-billion", changed(["added_tokens"], [{"id": 2**31 - 1, "content": "x"}]), "an added token has id 2147483647"
    yield "normalizer-unknown", changed(["normalizer"], {"type": "BertNormalizer"}), "the normalizer 'BertNormalizer'"
    yield "normalizer-with-escape", changed(["normalizer"], {"type": "\x1b[31m"}), "the normalizer '\\x1b[31m'"
    yield "pre-tokenizer-unknown", changed(["pre_tokenizer"], {"type": "UnicodeScripts"}), "the pre_tokenizer 'UnicodeScripts'"
    yield "pre-tokenizer-of-twenty", changed(["pre_tokenizer"], {"type": "Sequence", "pretokenizers": [{"type": "Digits"}] * 20}), "more than 16 steps"
    split = lambda regex: changed(["pre_tokenizer"], {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"})
    yield "expression-unclosed", split("(a"), "regular expression: missing closing parenthesis"
    yield "expression-huge", split("(?:a{65535}){65535}"), "regular expression is too large"
    yield "expression-of-a-megabyte", split("a" * (1 << 20)), "regular expression of 1048576 bytes"
    yield "expression-in-another-dialect", split("[a&&b]"), "regular expression: && in a class"
    yield "expression-nested", split("(" * 5000 + "a" + ")" * 5000), "regular expression"
    yield "expression-that-explodes", split("(a+)+[bc]"), "takes too long on this text"
    yield "template-undefined", changed(["post_processor"], {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}), \
        "a special token it does not define"
    yield "template-beyond", changed(["post_processor"], {"type": "RobertaProcessing", "cls": ["x", 99], "sep": ["y", 0]}), "a token in front of a text is id 99"


# --- folders ------------------------------------------------------------------------------------------------------------

def bad_folders():
    """(name, files, part of the message)"""
    yield "without-a-tokenizer", {"config.json": b"{}"}, "neither tokenizer.json nor tokenizer.model"
    yield "map-truncated", {"tokenizer.model": GOOD_MODEL, "special_tokens_map.json": b'{"pad_token":'}, "special_tokens_map.json"
    yield "map-is-a-list", {"tokenizer.model": GOOD_MODEL, "special_tokens_map.json": b"[]"}, "special_tokens_map.json"
    yield "config-is-a-page", {"tokenizer.model": GOOD_MODEL, "tokenizer_config.json": b"<html>"}, "tokenizer_config.json"
    yield "added-without-a-number", {"tokenizer.model": GOOD_MODEL, "added_tokens.json": b'{"<pad>":"5"}'}, "added_tokens.json"
    yield "added-far-away", {"tokenizer.model": GOOD_MODEL, "added_tokens.json": b'{"<pad>":90000000}'}, "an added token has id 90000000"
    yield "decoder-without-ids", {"tokenizer.model": GOOD_MODEL, "tokenizer_config.json": b'{"added_tokens_decoder":{"x":{"content":"y"}}}'}, \
        "added_tokens_decoder has a bad entry 'x'"
    yield "model-is-a-folder", {"tokenizer.model/inside": b""}, "tokenizer.model"


def write(out, path, content):
    full = os.path.join(out, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as f:
        f.write(content if isinstance(content, bytes) else json.dumps(content).encode())


def write_all(out):
    expected = []
    for name, content, message in bad_models():
        expected.append(("models/%s/tokenizer.model" % name, message))
        write(out, expected[-1][0], content)
    for name, content, message in bad_json():
        expected.append(("json/%s/tokenizer.json" % name, message))
        write(out, expected[-1][0], content)
    for name, files, message in bad_folders():
        expected.append(("folders/%s" % name, message))
        for file, content in files.items():
            write(out, expected[-1][0] + "/" + file, content)
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "expected.tsv"), "w", encoding="utf-8") as f:
        for path, message in expected:
            f.write("%s\t%s\n" % (path, message))
    return expected


def bound_memory():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def main():
    if len(sys.argv) > 1:
        print("%d cases" % len(write_all(sys.argv[1])))
        return
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from tiny import SANITIZED, case, finish, paco, work
    out = work("bad-tokenizers")
    for path, message in write_all(out):
        done = paco("tokenize", "-m", os.path.join(out, path), "a" * 2000, timeout=30, preexec_fn=None if SANITIZED else bound_memory)
        lines = done.stderr.strip().split("\n")
        case(path, done.returncode == 1 and done.stdout == "" and len(lines) == 1 and message in done.stderr and "\x1b" not in done.stderr, done)
    for name, content in (("tokenizer.model", GOOD_MODEL), ("tokenizer.json", GOOD_JSON)):
        write(out, "good/" + name, content)
        case("good " + name, paco("tokenize", "-m", os.path.join(out, "good", name), "a").returncode == 0)
    finish()


main()
