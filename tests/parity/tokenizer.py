# SPDX-License-Identifier: Apache-2.0
"""Token ids on 100,000 lines, and the text they decode to, held against SentencePiece and Transformers.

LLaMA's tokenizer.model against SentencePiece itself, against the slow tokenizer of the era in both forms of folder, and,
as tokenizer.json in today's and yesterday's form, against the tokenizers library; SmolLM2's vocabulary from GGUF and as
tokenizer.json; small vocabularies of other shapes trained here. Stack: today, and era for the slow tokenizer.
"""
import json
import shutil

import sentencepiece
import tokenizers
import transformers
from tokenizers import pre_tokenizers

from common import FIXTURES, Failed, case, data, default_model, equal, expect, finish, note, paco, run_in, work
from tokenizer_lines import documents, lines, raw_lines

N = 100000


def write_lines(name, rows):
    path = work("text") / name
    path.write_bytes(b"".join((r if isinstance(r, bytes) else r.encode()) + b"\n" for r in rows))
    return path


def ids_of(model, path, *args):
    """One list of ids for each line of path."""
    out = paco("tokenize", "-m", model, "--lines", "--file", path, *args, json=False)
    return [[int(i) for i in row.split()] for row in out.stdout.split("\n")[:-1]]


def texts_of(model, rows, *args):
    """What paco decodes each list of ids to."""
    path = write_lines("ids", [" ".join(map(str, r)) for r in rows])
    return [json.loads(r)["text"] for r in paco(
        "tokenize", "-m", model, "--lines", "--decode", "--file", path, *args).stdout.split("\n")[:-1]]


def same(rows, got, want, what="ids"):
    equal("number of lines", len(got), len(want))
    bad = [i for i in range(len(want)) if got[i] != want[i]]
    if bad:
        i = bad[0]
        raise Failed("%d of %d lines have other %s; line %d %r: got %r, expected %r"
                     % (len(bad), len(want), what, i, rows[i][:200], got[i][:80], want[i][:80]))


def hold(rows, path, model, encode, decode, *args):
    """Ids of all rows, then the text of those ids."""
    got, want = ids_of(model, path, *args), [encode(r) for r in rows]
    same(rows, got, want)
    same(rows, texts_of(model, want), [decode(w) for w in want], "text")


def hold_documents(model, encode, *args):
    for name, text in documents():
        path = work("text") / "document"
        path.write_bytes(text.encode())
        out = paco("tokenize", "-m", model, "--file", path, *args, json=False)
        equal(name, [int(i) for i in out.stdout.split()], encode(text))


def folder(name, **files):
    path = work(name)
    for file, value in files.items():
        (path / file.replace("__", ".")).write_text(json.dumps(value))
    return path


def llama(name, **files):
    path = folder(name, **files)
    shutil.copy(str(data("tokenizer/tokenizer.model")), str(path))
    return path


def fast_encoder(tokenizer):
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def fast_decoder(tokenizer):
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)


def gguf_tokenizer():
    """SmolLM2's, as Transformers loads it from GGUF, saved as tokenizer.json."""
    source = default_model()
    path = work("smol")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    tokenizer.save_pretrained(str(path))
    return path, tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))


def main():
    rows = lines(N)
    path = write_lines("lines", rows)
    equal("lines", len(rows), N)
    plain = ("--bos", "never", "--no-special-parse")

    with case("llama tokenizer.model = sentencepiece: %d lines" % N):
        model = data("tokenizer/tokenizer.model")
        sp = sentencepiece.SentencePieceProcessor(model_file=str(model))
        hold(rows, path, model, sp.encode, sp.decode, *plain)
    with case("llama tokenizer.model = sentencepiece: raw bytes"):
        raw = raw_lines()
        same(raw, ids_of(model, write_lines("raw", raw), *plain), [sp.encode(r) for r in raw])
    with case("llama tokenizer.model = sentencepiece: documents"):
        hold_documents(model, sp.encode, *plain)

    added = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    for name, files in (("llama-base", {}), ("llama-tuned", {"special_tokens_map__json": added,
                                                            "added_tokens__json": {"<pad>": 32000}})):
        with case("%s folder = slow tokenizer of the era: %d lines" % (name, N)):
            model = llama(name, **files)
            run_in("era", "tokenizer_era.py", model, path, work("text") / "era")
            with open(work("text") / "era") as f:
                want = [json.loads(r) for r in f]
            same(rows, ids_of(model, path), [w[0] for w in want])
            same(rows, texts_of(model, [w[0] for w in want], "--skip-special"), [w[1] for w in want], "text")

    today = work("llama-today")
    with case("llama tokenizer.json, Metaspace form = tokenizers: %d lines" % N):
        config = {"tokenizer_class": "LlamaTokenizer"}
        transformers.AutoTokenizer.from_pretrained(str(llama("llama-raw", tokenizer_config__json=config))).save_pretrained(str(today))
        fast = tokenizers.Tokenizer.from_file(str(today / "tokenizer.json"))
        hold(rows, path, today, fast_encoder(fast), fast_decoder(fast), "--bos", "never")
    with case("llama tokenizer.json, Metaspace form = tokenizers: documents"):
        hold_documents(today, fast_encoder(fast), "--bos", "never")
    with case("llama tokenizer.json, normaliser form = tokenizers: %d lines" % N):
        value = json.loads((today / "tokenizer.json").read_text())
        value["pre_tokenizer"] = None
        value["normalizer"] = {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
        value["added_tokens"][2].update(normalized=True, lstrip=True)
        value["added_tokens"].append(dict(value["added_tokens"][1], id=32000, content="<pad>", rstrip=True, single_word=True))
        model = folder("llama-2023", tokenizer__json=value)
        fast = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
        hold(rows, path, model, fast_encoder(fast), fast_decoder(fast), "--bos", "never")

    with case("SmolLM2 tokenizer.json = tokenizers: %d lines" % N):
        model, fast = gguf_tokenizer()
        hold(rows, path, model, fast_encoder(fast), fast_decoder(fast))
        as_loaded = [fast_encoder(fast)(r) for r in rows]
    with case("SmolLM2 GGUF = tokenizers with its own pre-tokenizer: %d lines" % N):
        # Transformers loads a GGUF without looking at tokenizer.ggml.pre; "smollm" parts digits from what is beside them.
        fast.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
        hold(rows, path, default_model(), fast_encoder(fast), fast_decoder(fast))
        own = [fast_encoder(fast)(r) for r in rows]
        note("%d of %d lines have other ids as Transformers loads the GGUF" % (sum(a != b for a, b in zip(own, as_loaded)), N))
    with case("SmolLM2 GGUF = tokenizers: documents"):
        hold_documents(default_model(), fast_encoder(fast))
    with case("SmolLM2 GGUF = tokenizers: raw bytes, as Python replaces them"):
        same(raw, ids_of(default_model(), write_lines("raw", raw)),
             [fast_encoder(fast)(r.decode("utf-8", "replace")) for r in raw])

    for kind, rules in (("bpe", "nmt_nfkc"), ("unigram", "nmt_nfkc"), ("bpe", "nfkc_cf"), ("unigram", "nmt_nfkc_cf")):
        with case("%s with %s = sentencepiece: %d lines" % (kind, rules, N)):
            prefix = work("trained") / (kind + rules)
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(rows[:N * 45 // 100:5]), model_prefix=str(prefix), model_type=kind, vocab_size=4000, num_threads=2,
                normalization_rule_name=rules, byte_fallback=kind == "bpe", minloglevel=2, hard_vocab_limit=False)
            sp = sentencepiece.SentencePieceProcessor(model_file=str(prefix) + ".model")
            hold(rows, path, str(prefix) + ".model", sp.encode, sp.decode, *plain)

    small = sorted((FIXTURES / "tokenizer").glob("*.model"))
    with case("small SentencePiece models are there"):
        expect(len(small) >= 6, "only %d in fixtures/tokenizer" % len(small))
    for model in small:
        with case("%s = sentencepiece: %d lines" % (model.name, N)):
            sp = sentencepiece.SentencePieceProcessor(model_file=str(model))
            hold(rows, path, model, sp.encode, sp.decode, *plain)
        with case("%s = sentencepiece: raw bytes" % model.name):
            same(raw, ids_of(model, write_lines("raw", raw), *plain), [sp.encode(r) for r in raw])
    for model in sorted((FIXTURES / "tokenizer").glob("*.json")):
        if model.name == "expected.json":
            continue
        with case("%s = tokenizers: %d lines" % (model.name, N)):
            fast = tokenizers.Tokenizer.from_file(str(model))
            hold(rows, path, model, lambda t: fast.encode(t).ids, fast_decoder(fast))


main()
finish()
