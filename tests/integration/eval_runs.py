#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco eval from data to results, on a model that counts and benchmarks made up here: scores, files, runs that are killed."""
import csv
import io
import json
import math
import os
import random
import re
import signal
import subprocess
import time

from counting import V, adapter, model, tokenizer_json
from tiny import PACO, SANITIZED, case, config, finish, llama, paco, paco_json, read, save, tree, until_caught, work, write

N_BBH = 12 if SANITIZED else 200  # questions of each task: some seconds, one after the other


def rows(n, answers):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for i in range(n):
        writer.writerow(["a question\nof two lines, number %d" % i, "one", "two", "three", "four", answers[i % len(answers)]])
    return out.getvalue()


def lines(records):
    return "".join(json.dumps(r) + "\n" for r in records)


def bbh_prompt(name):
    return "a canary\n-----\nOf %s.\n\n%s" % (name, "\n\n".join(
        "Q: what is %d?\nA: Let's think. So the answer is %d." % (i, i) for i in range(3)))


def data(name):
    """A folder laid out as upstream's, small."""
    d = work(name)
    for subject in ("anatomy", "virology"):
        write(os.path.join(d, "mmlu/dev/%s_dev.csv" % subject), rows(5, "ABCD"))
        write(os.path.join(d, "mmlu/test/%s_test.csv" % subject), rows(8, "ABCD" if subject == "anatomy" else "AAAD"))
    write(os.path.join(d, "gsm/exemplars.jsonl"), lines(
        {"question": "what is %d?" % i, "cot_answer": "it is. So the answer is %d." % i, "short_answer": str(i)} for i in range(1, 9)))
    write(os.path.join(d, "gsm/test.jsonl"), lines({"question": "what is %d?" % i, "answer": "it is\n#### %d" % i} for i in range(1, 7)))
    for task in ("one_task", "two_task"):
        write(os.path.join(d, "bbh/bbh/%s.json" % task), {"canary": "", "examples": [
            {"input": "q" * (1 + i % 7) + str(i), "target": "yes"} for i in range(N_BBH)]})
        write(os.path.join(d, "bbh/cot-prompts/%s.txt" % task), bbh_prompt(task))
    return d


def ev(*args, **kw):
    return paco("eval", *args, **kw)


def items(out, task):
    return [json.loads(line) for line in read(out, task, "items.jsonl").splitlines()]


def command_line(m, d):
    done = ev("--list")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    case("--list", done.returncode == 0 and names[:2] == ["mmlu_0shot", "mmlu_5shot"] and names[-1] == "card" and not done.stderr, done)
    listed = [json.loads(line)["task"] for line in ev("--list", "--json").stdout.splitlines()]
    case("--list --json", listed == names[:-1], listed)
    for what, args, part in (
            ("a task that is not", ["mmlu_Oshot", "-m", m, "--data", d, "--out", "x"], "did you mean mmlu_0shot?"),
            ("no task", ["-m", m, "--data", d, "--out", "x"], "which task? --list shows them"),
            ("no model", ["gsm_cot", "--data", d, "--out", "x"], "-m MODEL is missing"),
            ("no data", ["gsm_cot", "-m", m, "--out", "x"], "--data DIR is missing"),
            ("nowhere to go", ["gsm_cot", "-m", m, "--data", d], "--out DIR is missing"),
            ("--gptq", ["gsm_cot", "--gptq", "-m", m, "--data", d, "--out", "x"], "--type q4_k"),
            ("--openai_engine", ["gsm_cot", "--openai_engine", "davinci", "-m", m], "--api URL --model NAME"),
            ("a fix that is not", ["gsm_cot", "--fix", "it", "-m", m, "--data", d, "--out", "x"], "none of mmlu-none|"),
            ("both formats", ["gsm_cot", "--use_chat", "--no_chat", "-m", m, "--data", d, "--out", "x"], "contradict")):
        done = ev(*args)
        case(what + " is misuse", done.returncode == 2 and part in done.stderr and not done.stdout, done)
    done = ev("gsm_cot", "-m", m, "--data", work("nothing", "here"), "--out", work("x"))
    case("no such data", done.returncode == 1 and "there is no such folder of data" in done.stderr, done)


def scores(m, d):
    out = work("out")
    done = ev("mmlu_0shot", "gsm_cot", "-m", m, "--data", d, "--out", out, "--ntrain", 0)
    case("a run", done.returncode == 0 and "no chat format is known for this model, so prompts are plain" in done.stderr, done)
    case("what a task has no use for is said", "--ntrain means nothing to gsm_cot" in done.stderr, done.stderr)
    found = items(out, "mmlu_0shot")
    case("items in order", [r["key"] for r in found] == [s + "/%d" % i for s in ("anatomy", "virology") for i in range(8)], found[:2])
    case("all choices are alike to it, so it takes the first", all(r["extraction"] == "A" for r in found), found[0])
    case("verdicts", [r["correct"] for r in found] == [r["answer"] == "A" for r in found], found[0])
    results = json.loads(read(out, "mmlu_0shot", "results.json"))
    case("score", results["score"] == 50.0 and results["n_items"] == 16 and results["n_failed"] == 0, results)
    case("metrics.json is upstream's, without a newline",
         read(out, "mmlu_0shot", "metrics.json").startswith('{"average_acc": 0.5, "subcat_acc": {'), read(out, "mmlu_0shot", "metrics.json"))
    case("what it depends on", len(results["model"]["content_sha256"]) == 64 and results["flags"] == {"ntrain": 0, "seed": 42, "fix": []} and
         sorted(results["data"]) == ["mmlu/test/anatomy_test.csv", "mmlu/test/virology_test.csv"], results)
    gsm = items(out, "gsm_cot")
    case("an answer ends before the newline", len(gsm) == 6 and all("\n" not in r["output"] and r["output"] for r in gsm), gsm[0])
    case("prompts", gsm[0]["prompt"].startswith("Answer the following questions.\n\nQuestion: what is 1?\nAnswer: it is."), gsm[0])
    before = tree(out)
    done = ev("mmlu_0shot", "gsm_cot", "-m", m, "--data", d, "--out", out, "--ntrain", 0, "--json")
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    case("done already, as JSON", done.returncode == 0 and [r["task"] for r in printed] == ["mmlu_0shot", "gsm_cot"] and
         "2 of 2 tasks were done already" in done.stderr and tree(out) == before, done)
    other = tokenizer_json()
    other["pre_tokenizer"]["add_prefix_space"] = True
    for what, name, now in (("other ends", "generation_config.json", {"eos_token_id": [2, 3]}), ("other ways to encode", "tokenizer.json", other)):
        path = os.path.join(m, name)
        was = read(path) if os.path.exists(path) else None
        write(path, now)
        done = ev("mmlu_0shot", "gsm_cot", "-m", m, "--data", d, "--out", out, "--ntrain", 0)
        case(what + " are another model", done.returncode == 1 and "another model" in done.stderr and tree(out) == before, done)
        write(path, was) if was else os.unlink(path)
    done = ev("mmlu_0shot", "-m", m, "--data", d, "--out", out, "--ntrain", 1)
    case("other flags do not replace it", done.returncode == 1 and "(flags was " in done.stderr and tree(out) == before, done)
    done = ev("mmlu_0shot", "-m", m, "--data", d, "--out", out, "--ntrain", 1, "--force", "--subjects", "anatomy", "--limit", 3)
    case("unless they are told to", done.returncode == 0 and len(items(out, "mmlu_0shot")) == 3, done)
    done = ev("--subjects", "anatomy", "virology", "mmlu_0shot", "--n-inst", 2, "-m", m, "--data", d, "--out", work("two"))
    case("a list of subjects, ended by a task", done.returncode == 0 and len(items(work("two"), "mmlu_0shot")) == 4, done)


def records(out, task="bbh_direct"):
    """How many the journal of an unfinished run has."""
    try:
        with open(os.path.join(out, task + ".paco-partial", ".paco-journal"), "rb") as f:
            return f.read().count(b"\n")
    except OSError:
        return 0


def wait_for_more(out, before, task="bbh_direct"):
    for _ in range(4000):
        if records(out, task) > before + 1:
            return True
        time.sleep(0.005)
    return False


def babbler():
    """A model that says something else each time, and does not end."""
    cfg = dict(config(vocab=V, hidden=64, layers=4, heads=2, kv_heads=1, ff=256), max_position_embeddings=1024)
    return save(work("babbler"), llama(cfg, spread=0.3), cfg, {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}})


def killed(m, d):
    whole, out = work("whole"), work("killed")
    args = ["bbh_direct", "-m", m, "--data", d, "--max_num_examples_per_task", N_BBH, "-q"]
    done = ev(*args, "--out", whole, "--batch", 1, "-t", 1, timeout=240)
    case("a longer run, one question at a time", done.returncode == 0, done)
    done = ev(*args, "--out", work("wide"), "--batch", 64, "--judges", 3)
    case("many at once: the same bytes", done.returncode == 0 and tree(work("wide")) == tree(whole), done)
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        before = records(out)
        with subprocess.Popen([PACO, "eval", *map(str, args), "--out", out, "--batch", "1", "-t", "1"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            there = wait_for_more(out, before)
            until_caught(p, signal.SIGINT)
            p.send_signal(number)
            _, err = p.communicate(timeout=60)
        if p.returncode == 0:  # a fast machine
            case("signal %d" % number + " # SKIP it was done before", True)
            continue
        case("signal %d" % number, there and p.returncode == code, (p.returncode, err))
        if number != signal.SIGKILL:
            case("says how far it came", "items answered; the same command goes on from there" in err, err)
        case("nothing has the name yet", not os.path.exists(os.path.join(out, "bbh_direct")))
    done = ev(*args, "--out", out)
    case("killed and resumed: the same bytes", done.returncode == 0 and tree(out) == tree(whole), done)
    timing = json.loads(read(out, "bbh_direct", "timing.json"))
    case("and not from the beginning", timing["n_resumed"] > 0, timing)


def prose(seed, n):
    r = random.Random(seed)
    return "".join(r.choice("abcdefghijklmnopqrstuvwxyz  \n") for _ in range(n))


def texts(m):
    """Perplexity of texts: the number paco perplexity prints, window by window."""
    d, n = work("texts"), 4000 if SANITIZED else 40000
    for name, seed, size in (("b.txt", 1, n), ("a.txt", 2, 700), ("short.txt", 3, 50), ("c.md", 4, 700)):
        write(os.path.join(d, "perplexity", name), prose(seed, size))
    one, out = os.path.join(d, "perplexity", "a.txt"), work("perplexity")
    for what, flags, more in (("one text", (), ()), ("with BOS", ("--bos", "always"), ("--bos", "always")), ("the first three windows", ("--limit", 3), ("--chunks", 3))):
        want = paco_json("perplexity", "-m", m, "-f", one, "-c", 64, *more)
        done = ev("perplexity", "-m", m, "--data", one, "-c", 64, "--out", out, "--force", *flags)
        results = json.loads(read(out, "perplexity", "results.json"))
        got = results["metrics"]
        case("perplexity of " + what, done.returncode == 0 and "format" not in done.stderr and got["perplexity"] == want["perplexity"] == results["score"] and
             got["nats_per_token"] == want["nll"] and got["n_scored"] == want["n_scored"] and got["n_windows"] == want["n_windows"], (got, want, done))
    windows = [r["nats"] / r["n_scored"] for r in items(out, "perplexity")]
    mean = sum(windows) / 3
    error = math.sqrt(sum((x - mean) ** 2 for x in windows) / 2 / 3)
    case("its standard error is over windows", abs(got["nats_per_token_standard_error"] - error) < 1e-9 and
         abs(results["standard_error"] - error * got["perplexity"]) < 1e-9 * got["perplexity"], (got, error))
    case("a letter is a byte", abs(got["bits_per_byte"] - mean / math.log(2)) < 1e-9, got)
    case("what it depends on", list(results["data"]) == ["a.txt"] and results["flags"]["max_context_length"] == 64, results)
    case("a window is text", items(out, "perplexity")[1]["prompt"] == prose(2, 700)[64:128], items(out, "perplexity")[1])
    case("metrics.json", json.loads(read(out, "perplexity", "metrics.json")) == got)
    whole, killed_out = work("texts-whole"), work("texts-killed")
    args = ["perplexity", "-m", m, "--data", d, "-c", 64, "-q"]
    done = ev(*args, "--out", whole, "--batch", 1, "-t", 1)
    keys = [r["key"] for r in items(whole, "perplexity")]
    case("texts in the order of their names", done.returncode == 0 and keys[:11] == ["a.txt/%d" % i for i in range(10)] + ["b.txt/0"] and
         "perplexity " in done.stdout, (done, keys[:12]))
    results = json.loads(read(whole, "perplexity", "results.json"))
    case("each has its numbers", sorted(results["metrics"]["texts"]) == ["a.txt", "b.txt", "short.txt"] and
         results["metrics"]["texts"]["short.txt"]["perplexity"] is None and "short.txt has" in results["notes"][0], results)
    done = ev(*args, "--out", work("texts-wide"), "-t", 2)
    case("many windows at once: the same bytes", done.returncode == 0 and tree(work("texts-wide")) == tree(whole), done)
    with subprocess.Popen([PACO, "eval", *map(str, args), "--out", killed_out, "--batch", "1", "-t", "1"], stderr=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        there = wait_for_more(killed_out, 0, "perplexity")
        p.kill()
        p.communicate(timeout=60)
    done = ev(*args, "--out", killed_out)
    timing = json.loads(read(killed_out, "perplexity", "timing.json"))
    case("killed and resumed: the same bytes", done.returncode == 0 and tree(killed_out) == tree(whole), done)
    case("and not from the beginning" + (" # SKIP it was done before" if p.returncode == 0 else ""),
         p.returncode == 0 or (there and timing["n_resumed"] > 0), timing)
    return whole


def texts_compared(whole, other):
    """Two models over the same windows."""
    d, out = work("texts"), work("texts-other")
    done = ev("perplexity", "-m", other, "--data", d, "-c", 64, "--out", out)
    a, b = [[r["nats"] / r["n_scored"] for r in items(x, "perplexity")] for x in (whole, out)]
    c = json.loads(ev("--compare", whole, out, "--json").stdout)["tasks"][0]
    case("--compare by windows", done.returncode == 0 and c["unit"] == "nats_per_token" and c["n_items"] == len(a) == len(b) and
         abs(c["mean_a"] - sum(a) / len(a)) < 1e-9 and abs(c["difference"] - (sum(b) - sum(a)) / len(a)) < 1e-9 and
         c["better_in_a"] == sum(x < y for x, y in zip(a, b)) and c["better_in_b"] == sum(y < x for x, y in zip(a, b)) and
         c["mcnemar_p"] is None and c["ci95"][0] <= c["difference"] <= c["ci95"][1], c)
    done = ev("--compare", whole, out)
    case("as text", done.returncode == 0 and "nats a token, less is better: perplexities" in done.stdout, done)
    page = work("texts.html")
    done = ev("--report", whole, out, "--out", page)
    html = read(page)
    case("--report", done.returncode == 0 and "nats a token" in html and "bits a byte" in html and "Perplexity by text" in html and
         "Wilson's 95&nbsp;% interval:" not in html, done)
    for what, args, part in (
            ("no texts", ["--data", data("no-texts")], "no folder `perplexity`, and no file whose name ends in .txt"),
            ("too short", ["--data", d], "no text is as long as a window of 65536 tokens"),
            ("no window", ["--data", d, "-c", 2], "windows of 2 tokens (-c)")):
        flags = ["-c", 65536] if what == "too short" else []
        done = ev("perplexity", "-m", other, "--out", work("nowhere"), *flags, *args)
        case("perplexity: " + what, done.returncode in (1, 2) and part in done.stderr and not os.path.exists(work("nowhere")), done)


def bad_data(m):
    d = data("bad")
    out = work("bad-out")
    with open(os.path.join(d, "gsm/test.jsonl"), "a", encoding="utf-8") as f:
        f.write('{"question": "what is 9?", "answer": \n')
    done = ev("mmlu_0shot", "gsm_cot", "-m", m, "--data", d, "--out", out)
    case("a bad line: file and line, and nothing is begun", done.returncode == 1 and "gsm/test.jsonl" in done.stderr and
         "line 7" in done.stderr and not os.path.exists(out), done)
    done = ev("--tasks", "mmlu_0shot,gsm_cot", "-m", m, "--data", d, "--out", out)
    case("tasks as an option", done.returncode == 1 and "gsm/test.jsonl" in done.stderr and not os.path.exists(out), done)
    os.unlink(os.path.join(d, "mmlu/test/virology_test.csv"))
    done = ev("mmlu_0shot", "-m", m, "--data", d, "--out", out)
    case("subjects that are not there are said", done.returncode == 0 and "virology" not in read(out, "mmlu_0shot", "items.jsonl"), done)
    done = ev("mmlu_0shot", "-m", work("no-model"), "--data", d, "--out", out, "--force")
    case("no model", done.returncode == 1 and "no model" in done.stderr, done)


def places(m, d):
    """What is wrong with --out is said before the model is looked at."""
    in_the_way = write(work("a-file"), "no folder")
    for what, out in (("a file", in_the_way), ("below a file", os.path.join(in_the_way, "x", "y"))):
        done = ev("gsm_cot", "-m", work("no-model"), "--data", d, "--out", out)
        case("--out is " + what, done.returncode == 1 and "a-file: is a file: --out names a folder" in done.stderr, done)
    done = ev("humaneval", "-m", m, "--data", d, "--out", "x")
    case("what a name may mean", done.returncode == 2 and "(did you mean codex_eval_temp_0.1 or codex_eval_temp_0.8?)" in done.stderr, done)


def full_disk(m, d):
    """A file system of its own, too small for what is answered."""
    top = work("full")
    os.makedirs(top)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", top], capture_output=True).returncode != 0:
        case("a full disk # SKIP needs root, to mount one", True)
        return
    args = ["bbh_direct", "-m", m, "--data", d, "--max_num_examples_per_task", N_BBH, "--out", os.path.join(top, "out"), "--batch", 1]
    try:
        done = ev(*args, timeout=240)
        case("a full disk", done.returncode == 1 and "No space left on device" in done.stderr and
             re.search(r"bbh_direct: stopped with \d+ of \d+ items answered, which are kept: when there is room, the same command", done.stderr), done)
        kept = records(os.path.join(top, "out")) - 1
        case("as many as it says", " stopped with %d of" % kept in done.stderr, (kept, done.stderr))
        subprocess.run(["mount", "-o", "remount,size=64m", top], check=True)
        done = ev(*args, timeout=240)
        timing = json.loads(read(top, "out/bbh_direct/timing.json")) if done.returncode == 0 else None
        case("with room it goes on", timing and timing["n_resumed"] == kept and tree(os.path.join(top, "out")) == tree(work("whole")), (done, timing))
    finally:
        subprocess.run(["umount", "-l", top])


def adapted(m, d):
    """An adapter folded in scores as the model merged with it; another one is another model."""
    one, out = adapter("adapter", 1), work("adapted")
    paco("merge", "-m", m, "--adapter", one, "--out", work("merged"), "--type", "f32")
    done = ev("gsm_cot", "mmlu_0shot", "-m", m, "--adapter", one, "--data", d, "--out", out, "--dtype", "f32")
    whole = ev("gsm_cot", "mmlu_0shot", "-m", work("merged"), "--data", d, "--out", work("of-merged"), "--dtype", "f32")
    plain = ev("gsm_cot", "-m", m, "--data", d, "--out", work("of-base"), "--dtype", "f32")
    case("runs with an adapter, merged, and plain", done.returncode == whole.returncode == plain.returncode == 0, (done, whole, plain))
    case("an adapter scores as merged", all(items(out, t) == items(work("of-merged"), t) for t in ("gsm_cot", "mmlu_0shot")), items(out, "gsm_cot")[0])
    case("which is not the base", items(out, "gsm_cot") != items(work("of-base"), "gsm_cot"))
    before = tree(out)
    path = os.path.join(one, "adapter_config.json")
    write(path, {**json.loads(read(path)), "lora_alpha": 9})
    for what, args in (("the same at another strength", ["--adapter", one]), ("without it", [])):
        done = ev("gsm_cot", "-m", m, *args, "--data", d, "--out", out, "--dtype", "f32")
        case("another model: " + what, done.returncode == 1 and "another model" in done.stderr and tree(out) == before, done)


def main():
    m, d = model("counts"), data("data")
    command_line(m, d)
    scores(m, d)
    places(m, d)
    m = babbler()
    killed(m, d)
    full_disk(m, d)
    adapted(m, data("more-data"))
    bad_data(model("counts-again"))
    texts_compared(texts(m), model("counts-still"))
    finish()


main()
