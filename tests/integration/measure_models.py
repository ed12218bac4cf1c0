#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco perplexity, paco bench and paco doctor as people and programs use them."""
import json
import os
import subprocess
import time

from counting import LETTERS, SPECIAL, V, model
from tiny import PACO, case, config, finish, llama, paco, paco_json, save, work


def near(a, b, tolerance=1e-4):
    return a is not None and abs(a - b) <= tolerance * (1 + abs(b))


def text_file(name, text):
    path = work(name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def says(what, done, part, code):
    case(what, part in done.stderr and done.returncode == code and not done.stdout, done)


def predictable(m):
    """The alphabet over and over: every letter but the first of a round is certain."""
    path = text_file("alphabet.txt", LETTERS * 8)
    j = paco_json("perplexity", "-m", m, "-f", path, "-c", 26)
    case("perplexity: fields", j and {"perplexity", "perplexity_error", "nll", "n_tokens", "n_scored", "n_windows", "context", "stride",
                                      "seconds", "tok_s", "peak_rss_bytes"} <= set(j), j)
    case("perplexity: certain letters", j and near(j["perplexity"], 1) and (j["n_windows"], j["n_scored"]) == (8, 8 * 12), j)
    j = paco_json("perplexity", "-m", m, "-f", path, "-c", 52, "--stride", 26)
    case("perplexity: a stride counts every token but the first", j and j["n_scored"] == 26 * 8 - 1 and j["perplexity"] > 2, j)
    j = paco_json("perplexity", "-m", m, "-f", path, "-c", 26, "--chunks", 3)
    case("perplexity: --chunks", j and j["n_windows"] == 3, j)
    d = paco("perplexity", "-m", m, "-f", path, "-c", 26)
    case("perplexity: a line for people", d.stdout.startswith("perplexity 1.00") and "the second halves of 8 windows of 26" in d.stdout, d)
    d = paco("perplexity", "-m", m, "-f", "-", "-c", 26, input=LETTERS * 8)
    case("perplexity: standard input", d.stdout.startswith("perplexity 1.00"), d)
    marked = text_file("marked.txt", (LETTERS[:20] + SPECIAL[3]) * 10)
    j = paco_json("perplexity", "-m", m, "-f", marked, "-c", 8)
    case("perplexity: text that looks like a special token is text", j and j["n_tokens"] > 210, j)


def reference(m):
    path = text_file("alphabet.txt", LETTERS * 8)
    j = paco_json("perplexity", "-m", m, "-f", path, "-c", 26, "--reference", m)
    case("reference: a model is not far from itself", j and j["kl_mean"] == 0 and j["same_top"] == 1 and
         j["reference_perplexity"] == j["perplexity"], j)
    cfg = dict(config(vocab=V, hidden=V, layers=1, heads=2, kv_heads=1, ff=8), max_position_embeddings=256)
    files = {n: json.load(open(os.path.join(m, n))) for n in ("tokenizer.json", "tokenizer_config.json")}
    other = save(work("other"), llama(cfg), cfg, files)
    j = paco_json("perplexity", "-m", m, "-f", path, "-c", 26, "--reference", other)
    case("reference: another model", j and j["kl_mean"] > 1 and j["same_top"] < 0.5 and j["reference_perplexity"] > j["perplexity"] and
         j["kl_median"] <= j["kl_p99"] <= j["kl_max"], j)
    d = paco("perplexity", "-m", m, "-f", path, "-c", 26, "--reference", other)
    case("reference: lines for people", d.stdout.count("\n") == 4 and "same likeliest token in" in d.stdout, d)
    swapped = {n: json.loads(json.dumps(v)) for n, v in files.items()}
    vocab = swapped["tokenizer.json"]["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    strange = save(work("strange"), llama(cfg), cfg, swapped)
    says("reference: another tokenizer", paco("perplexity", "-m", m, "-f", path, "-c", 26, "--reference", strange),
         "the tokenizers differ: token 0 of the text is 4 for the model, 5 for the reference", 1)


def refused(m):
    short = text_file("short.txt", "abc")
    says("too short a text", paco("perplexity", "-m", m, "-f", short, "-c", 26), "the text has 3 tokens, a window 26", 1)
    says("no such text", paco("perplexity", "-m", m, "-f", work("none.txt")), "none.txt", 1)
    says("a stride that leaves out tokens", paco("perplexity", "-m", m, "-f", short, "-c", 8, "--stride", 9), "tokens would be left out", 2)
    says("a diff without its base", paco("perplexity", "-m", m, "-f", short, "--reference-diff", "x"), "needs --reference", 2)
    says("bench: no model", paco("bench", "--prefill", 5), "-m MODEL is missing", 2)
    says("bench: no number", paco("bench", "-m", m, "--batch", "1,,2"), "--batch 1,,2: numbers from 1 to", 2)
    says("bench: zero at once", paco("bench", "-m", m, "--batch", "0"), "--batch 0: numbers from 1 to", 2)


def speeds(m):
    j = paco_json("bench", "-m", m, "--prefill", 32, "--decode", 8, "--batch", 1, "-t", 2)
    case("bench: fields", j and {"prefill_tok_s", "prefill_share", "decode_tok_s", "decode_share", "peak_rss_bytes", "load_seconds",
                                 "first_layer_seconds", "repack_seconds", "machine", "rows"} <= set(j), j)
    case("bench: what was asked for, no more", j and [(r["phase"], r["tokens"], r["depth"], r["batch"]) for r in j["rows"]] ==
         [("prefill", 32, 0, 1), ("decode", 8, 0, 1)], j)
    case("bench: the machine", j and j["machine"]["threads"] == 2 and j["machine"]["read_bytes_s"] > 1e8 and j["machine"]["f32_flop_s"] > 1e6, j)
    case("bench: loading in its parts", j and 0 < j["load_seconds"] < j["first_layer_seconds"] < 5, j)
    case("bench: shares", j and all(r["tok_s"] > 0 and near(r["share"] * r["limit_tok_s"], r["tok_s"], 1e-3) for r in j["rows"]), j)
    case("bench: measuring the machine is not the model's memory", j and j["peak_rss_bytes"] < 300e6, j)
    j = paco_json("bench", "-m", m, "--depth", "3,40", "--batch", "1,2,4", "-n", 4, "-r", 1)
    case("bench: depths, then batches at the first", j and [(r["depth"], r["batch"]) for r in j["rows"]] == [(3, 1), (40, 1), (3, 2), (3, 4)], j)
    d = paco("bench", "-m", m, "--prefill", 16, "--roofline")
    case("bench: a table", "prefill 16" in d.stdout and "bound by" in d.stdout and "decode" not in d.stdout, d)
    d = paco("bench", "-m", m, "-n", 300, "-r", 1)
    case("bench: beyond the context is said", "more than the 256 positions" in d.stderr and d.returncode == 0, d)


def determinism(m):
    d = paco("bench", "-m", m, "--verify-determinism")
    case("bench: the same bytes in every way", d.returncode == 0 and d.stdout.startswith("the same bytes in all of "), d)
    j = paco_json("bench", "-m", m, "--verify-determinism")
    again = paco_json("bench", "-m", m, "--verify-determinism", "--cpu", "scalar")
    case("bench: the ways and a digest", j and j["n_ways"] > 10 and j["n_different"] == 0 and j["first"] is None and len(j["digest"]) == 16, j)
    case("bench: readable kernels keep the promise too", again and again["n_different"] == 0, again)
    says("bench: determinism of what", paco("bench", "--verify-determinism"), "-m MODEL is missing", 2)


def doctor(m):
    j = paco_json("doctor")
    case("doctor: the machine", j and j["machine"]["usable_processors"] >= 1 and j["machine"]["read_bytes_s"] > 1e8 and
         j["machine"]["level"] and len(j["machine"]["kernels"]) > 10 and "model" not in j, j)
    j = paco_json("doctor", "--cpu", "scalar")
    case("doctor: --cpu shows in every kernel", j and set(j["machine"]["kernels"].values()) == {"scalar"} and
         any("readable kernels" in p for p in j["problems"]), j)
    j = paco_json("doctor", "-m", m, "-c", 100)
    case("doctor: tokenizer and memory", j and j["model"]["tokenizer"] and (j["model"]["bos"], j["model"]["eos"]) == (1, 2) and
         j["model"]["memory"]["context"] == 100 and j["model"]["memory"]["total_bytes"] > j["model"]["memory"]["weights_bytes"], j)
    case("doctor: a template is missing", j and any("no chat template" in p for p in j["problems"]), j)
    case("doctor: letters that the vocabulary lacks do not come back", j and j["model"]["round_trips"] < j["model"]["texts"] and
         any("does not give" in p for p in j["problems"]), j)
    wrong = model("wrong", {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<unk>", "eos_token": "<end>"}},
                  eos_token_id=2, bos_token_id=1)
    j = paco_json("doctor", "-m", wrong)
    case("doctor: BOS and EOS that disagree", j and "BOS is 0 for the tokenizer, 1 for the configuration" in j["problems"] and
         any(p.startswith("EOS is 3 for the tokenizer, 2 for the configuration") for p in j["problems"]), j)
    big = config(vocab=V, hidden=V * 8, layers=8, heads=2, kv_heads=2, ff=V)
    heavy = save(work("heavy"), llama(big), big)
    j = paco_json("doctor", "-m", heavy, "-c", 16000000, "--kv-type", "f32")
    case("doctor: more memory than there is", j and j["model"]["memory"] is None and
         any(p.startswith("it cannot be run: needs") for p in j["problems"]), j)
    case("doctor: no tokenizer", j and not j["model"]["tokenizer"] and any(p.startswith("no tokenizer") for p in j["problems"]), j)
    d = paco("doctor", "-m", m)
    case("doctor: for people", d.returncode == 0 and "problems\n" in d.stdout and "kernels\n" in d.stdout, d)
    says("doctor: no such model", paco("doctor", "-m", work("none")), "none", 1)
    says("doctor: context of what", paco("doctor", "-c", 5), "-m MODEL is missing", 2)


def cut_short(m):
    """The file is cut while a command runs from its mapping: one line with the command's name, no signal."""
    text = text_file("long.txt", LETTERS * 20000)
    files = {n: json.load(open(os.path.join(m, n))) for n in ("tokenizer.json", "tokenizer_config.json")}
    cfg = dict(config(vocab=V, hidden=V * 4, layers=2, heads=2, kv_heads=2, ff=V * 8), max_position_embeddings=100000)
    for args in (["perplexity", "-f", text, "-c", "64", "-t", "1"], ["bench", "--decode", "60000", "-r", "1", "--seconds", "50", "-t", "1"]):
        folder = save(work("cut-" + args[0]), llama(cfg), cfg, files)
        weights = os.path.join(folder, "model.safetensors")
        p = subprocess.Popen([PACO, args[0], "-q", "-m", folder, *args[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        mapped = False
        while p.poll() is None and not mapped:
            time.sleep(0.01)
            with open("/proc/%d/maps" % p.pid) as f:
                mapped = weights in f.read()
        time.sleep(0.5)
        os.truncate(weights, 5000)
        _, err = p.communicate(timeout=60)
        case("%s: a file cut short while it is in use" % args[0], p.returncode == 1 and
             (b"paco %s: a file of the model was cut short" % args[0].encode() in err or b"the file shrank" in err), (p.returncode, err))


m = model("counts")
for check in (predictable, reference, refused, speeds, determinism, doctor, cut_short):
    check(m)
finish()
