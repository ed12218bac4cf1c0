#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`paco tokenize` as people use it: arguments, files and standard input, lines, ids back to text, JSON, exit codes."""
import json
import os

from tiny import case, finish, paco, work, write

MODEL = os.path.join("tests", "fixtures", "tokenizer", "bpe_identity.model")
BYTES = os.path.join("tests", "fixtures", "tokenizer", "llama3.json")
TEXT = "  taundistion, caf\u00e9 \U0001f999\n\tend "


def ids_of(*args, **kw):
    done = paco("tokenize", "-m", MODEL, *args, **kw)
    return [int(i) for i in done.stdout.split()]


plain = ids_of(TEXT)
case("a text gives ids, BOS first", len(plain) > 5 and plain[0] == 1, plain)
case("standard input gives the same", ids_of(input=TEXT) == plain == ids_of("-", input=TEXT))
path = work("text.txt")
write(path, TEXT.encode())
case("a file gives the same", ids_of("--file", path) == plain)
case("--bos", ids_of("--bos", "never", TEXT) == plain[1:] and ids_of("--bos", "always", TEXT) == plain)

done = paco("tokenize", "-m", MODEL, "--json", TEXT)
value = json.loads(done.stdout)
case("--json has ids and pieces", value["ids"] == plain and len(value["pieces"]) == len(plain) and value["pieces"][0] == "<s>", done)

for spelling in ([str(i) for i in plain], [" ".join(map(str, plain))], [",".join(map(str, plain))], [json.dumps(plain)]):
    done = paco("tokenize", "-m", MODEL, "--decode", "--skip-special", *spelling)
    case("ids as %.12s... decode to the text" % spelling[0], done.stdout == TEXT + "\n", done)
done = paco("tokenize", "-m", MODEL, "--decode", "--json", *map(str, plain))
case("--decode --json has text", json.loads(done.stdout)["text"] == "<s> " + TEXT, done)

lines = ["one tion", "", "caf\u00e9 ", "</s>"]
done = paco("tokenize", "-m", MODEL, "--lines", input="\n".join(lines) + "\n")
case("--lines gives a line for each", [[int(i) for i in r.split()] for r in done.stdout.split("\n")[:-1]] == [ids_of(t) for t in lines], done)
done = paco("tokenize", "-m", MODEL, "--lines", input="a\nb")
case("the last line need not end", done.stdout.count("\n") == 2, done)

case("special tokens in a text are tokens", ids_of("</s>") == [1, 2])
case("--no-special-parse makes them text", 2 not in ids_of("--no-special-parse", "</s>"))

done = paco("tokenize", "-m", MODEL, "--show", "tion \U0001f999")
rows = done.stdout.split("\n")
case("--show has a row per token, and a character where it is whole", rows[0].split()[1] == "1" and '"\U0001f999"' in rows[-2], done)

done = paco("tokenize", "-m", BYTES, "--decode", "--skip-special", input=paco("tokenize", "-m", BYTES, TEXT).stdout)
case("byte-level ids decode to the text", done.stdout == TEXT + "\n", done)

done = paco("tokenize", "-m", MODEL, "--format", "tulu", "--bos", "never", "hi")
case("--format wraps the text", done.stdout.split() == [str(i) for i in ids_of("--bos", "never", "<|user|>\nhi\n<|assistant|>\n")], done)
done = paco("tokenize", "-m", MODEL, "--format", "auto", "hi")
case("--format auto says when it guesses", done.returncode == 0 and "taking raw" in done.stderr, done)

for args, code, words in (
        (["-m", MODEL, "--decode", "1", "x"], 2, "not a list of token ids"),
        (["-m", MODEL, "--decode", "1", "99999"], 2, "position 1: token id 99999 is not in the vocabulary"),
        (["-m", MODEL, "--decode", "99999999999999999999"], 2, "not a list of token ids"),
        (["-m", MODEL, "two", "words"], 2, "one TEXT or one --file"),
        (["-m", MODEL, "--file", path, "x"], 2, "one TEXT or one --file"),
        (["-m", MODEL, "--show", "--json", "x"], 2, "exclude each other"),
        (["-m", MODEL, "--file", path + ".none"], 1, ".none"),
        (["-m", "no/such-model", "x"], 1, "no/such-model"),
        (["x"], 2, "model")):
    done = paco("tokenize", *args)
    case("%s: exit %d" % (" ".join(args)[-40:], code), done.returncode == code and words in done.stderr and (done.stdout == "") == ("--json" not in args), done)
finish()
