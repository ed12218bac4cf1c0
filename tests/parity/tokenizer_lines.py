# SPDX-License-Identifier: Apache-2.0
"""100,000 lines to tokenise, the same on every machine: test data of a dozen languages and of code, and what people and
programs do to text: white space of all kinds, any character, broken bytes, emoji, marks that combine, special tokens spelt out.

    lines(n)       text lines, none with a newline inside
    raw_lines(n)   lines of any bytes but the newline
    documents()    name and text of whole files, and of text made to be slow
"""
import gzip
import json
import random

from common import data

SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|user|>", "<|assistant|>",
           "<|system|>", "[PAD]", "[INST]", "<<SYS>>", "<0x0A>", "</ s>", "<s", "<repo_name>", "<file_sep>"]
SPACES = [" ", "  ", "   ", "\t", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u2028",
          "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff", " " * 17, "\t\t"]
EMOJI = ["\U0001f999", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1eb\U0001f1f7", "\u2764\ufe0f",
         "1\ufe0f\u20e3", "\U0001fae0", "\u263a", "\U0001f3f4\U000e0067\U000e0062\U000e007f"]
MARKS = ["e\u0301", "\u0301", "n\u0303\u0327", "\u0928\u093f", "\u0e19\u0e49\u0e33", "\u0644\u0651\u064e", "a" + "\u0300" * 5, "\u1100\u1161\u11a8",
         "\ufb01", "\u2460", "\uff21", "\u01c5", "\u017f", "\u212a", "\u0130"]
WORDS = ["the", "The", "THE", "don't", "we'll", "I'VE", "x_y", "snake_case", "camelCase", "naïve", "Straße", "Ελλάδα", "мир", "日本語",
         "한국어", "العربية", "हिन्दी", "ไทย", "తెలుగు", "বাংলা", "1", "12", "123", "1234", "3.14", "1e-5", "0xFF", "½", "²", "Ⅷ", "@", "#", "...",
         "--", "==", "\u2581", "\u2581\u2581x", "'s", "'S", "'", "\"", "``", "{", "}", "();", "->", "//", "\\n", "http://a.b/c?d=e&f", "a@b.co"]


def _texts():
    """Every line of the data, in order."""
    for name in ("en", "de", "es", "fr", "ru", "zh", "ja", "th", "sw", "bn", "te"):
        yield from data("mgsm/mgsm_%s.tsv" % name).read_text("utf-8").split("\n")
    for path in sorted(data("tydiqa").glob("*_dev.json")):
        for article in json.loads(path.read_text("utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                yield from paragraph["context"].split("\n")
                yield from (qa["question"] for qa in paragraph["qas"])
    for name in ("alpaca/alpaca_data_1k.json", "alpaca/code_alpaca_2k.json"):
        for row in json.loads(data(name).read_text("utf-8")):
            for key in ("instruction", "input", "output"):
                yield from row[key].split("\n")


def _code():
    with gzip.open(data("human_eval/HumanEval.jsonl.gz"), "rt", encoding="utf-8") as f:
        for row in map(json.loads, f):
            for key in ("prompt", "canonical_solution", "test"):
                yield from row[key].split("\n")


def _any_char(rng):
    """A scalar value: mostly from the planes in use, sometimes unassigned."""
    while True:
        top = rng.choice([0x80, 0x250, 0x600, 0x1000, 0x3100, 0xa000, 0x10000, 0x20000, 0x32400, 0x110000])
        c = rng.randrange(top)
        if not 0xd800 <= c < 0xe000 and c != 10:
            return chr(c)


def _mix(rng, parts, most):
    return "".join(rng.choice(rng.choice(parts)) for _ in range(rng.randint(1, most)))


def _damage(rng, line):
    """A line with characters taken out, put in and doubled."""
    out = list(line[:400])
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(out))
        what = rng.randrange(4)
        if what == 0 and at < len(out):
            del out[at]
        elif what == 1:
            out[at:at] = rng.choice(SPACES + EMOJI + MARKS)
        elif what == 2:
            out[at:at] = out[max(0, at - rng.randint(1, 9)):at]
        else:
            out.insert(at, _any_char(rng))
    return "".join(out)


def lines(n=100000):
    rng = random.Random(20230612)
    text = [t for t in _texts() if t]
    code = [t for t in _code() if t]
    rng.shuffle(text)
    out = text[:n * 45 // 100]
    out += [rng.choice(code) for _ in range(n * 8 // 100)]
    out += [_mix(rng, [SPACES, SPACES, WORDS], 14) for _ in range(n * 10 // 100)]
    out += [_mix(rng, [WORDS, WORDS, [" "]], 24) for _ in range(n * 8 // 100)]
    out += [_mix(rng, [EMOJI, MARKS, WORDS, [" "]], 10) for _ in range(n * 6 // 100)]
    out += ["".join(_any_char(rng) for _ in range(rng.randint(1, 40))) for _ in range(n * 8 // 100)]
    out += [rng.randbytes(rng.randint(1, 60)).decode("utf-8", "replace") for _ in range(n * 5 // 100)]
    out += [_mix(rng, [SPECIAL, SPECIAL, WORDS, SPACES], 9) for _ in range(n * 5 // 100)]
    out += ["", " ", "  ", "\u2581", "</s>", " </s> ", "\t", "a" * 5000, " " * 5000, "ab" * 3000, "\U0001f999" * 800]
    while len(out) < n:
        out.append(_damage(rng, rng.choice(text)))
    # A line ends at a newline and nothing else; lone surrogates are no text.
    return [t.replace("\n", " ").encode("utf-8", "replace").decode("utf-8") for t in out[:n]]


def raw_lines(n=5000):
    rng = random.Random(65)
    text = [t.encode() for t in _texts() if t][:2000]
    out = [rng.randbytes(rng.randint(1, 80)) for _ in range(n // 2)]
    while len(out) < n:
        line = bytearray(rng.choice(text)[:200])
        for _ in range(rng.randint(1, 8)):
            line[rng.randrange(len(line))] = rng.randrange(256)
        out.append(bytes(line))
    return [t.replace(b"\n", b" ") for t in out]


def documents():
    rng = random.Random(7)
    yield "alpaca_small.json", data("alpaca/alpaca_small.json").read_text("utf-8")
    yield "telugu", data("tydiqa/telugu_tydiqa_dev.json").read_text("utf-8")[:400000]
    yield "mgsm", "".join(data("mgsm/mgsm_%s.tsv" % n).read_text("utf-8") for n in ("ja", "th", "ru", "bn"))
    size = 1 << 20
    yield "a megabyte of one letter", "a" * size
    yield "of spaces", " " * size
    yield "of newlines", "\n" * size
    yield "of two letters", "ab" * (size // 2)
    yield "of letters", "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(size))
    yield "of digits", "".join(rng.choice("0123456789") for _ in range(size))
    yield "of one emoji", "\U0001f999" * (size // 4)
    yield "of emoji", "".join(chr(0x1f300 + rng.randrange(700)) for _ in range(size // 4))
    yield "of spaces and newlines", "".join(rng.choice(" \n\t") for _ in range(size))
    yield "of any character", "".join(_any_char(rng) for _ in range(size // 3))
