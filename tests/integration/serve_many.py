#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco serve with fine-tunes beside their base: adapters and a diff, asked for by name, all at once; and what is refused
before anybody can connect."""
import os
import threading

from counting import V, adapter, babbler, diff, tokenizer_json
from serving import Server
from tiny import case, config, finish, llama, paco, save, work, write

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"


PROMPTS = ["abc", "the cat", "x", "hello there and so on and so forth"]


def ask(s, model, i):
    sampled = {"temperature": 0} if i % 2 else {"temperature": 0.9, "seed": i}
    body = {"model": model, "max_tokens": 24, "logprobs": 2, "prompt": PROMPTS[i % len(PROMPTS)], **sampled}
    status, r = s.post(TEXT, body)
    return status, r.get("choices")


def mixed(base, tunes, *more):
    """Every model's answers in company and alone, on a server of its own."""
    n, label = 6, " ".join(more) or "as it is"
    names = ["base"] + [name for _, name, _ in tunes]
    args = [a for kind, name, path in tunes for a in ("--" + kind, "%s=%s" % (name, path))]
    together = {}
    with Server("-m", base, "--alias", "base", *args, *more) as s:
        def client(name, i):
            together[name, i] = ask(s, name, i)
        threads = [threading.Thread(target=client, args=(name, i)) for i in range(n) for name in names]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    case("everything is answered, %s" % label, all(status == 200 for status, _ in together.values()), together)
    case("and each model says something else, %s" % label, len({str(together[name, 1][1]) for name in names}) == len(names), together)
    for name in names:
        own = [a for kind, n_, path in tunes if n_ == name for a in ("--" + kind, "%s=%s" % (n_, path))]
        with Server("-m", base, "--alias", "base", *own, *more) as s:
            alone = [ask(s, name, i) for i in range(n)]
        case("%s: the same alone, %s" % (name, label), alone == [together[name, i] for i in range(n)], (alone, together))


def against_the_sum(base, tunes):
    """A fine-tune beside its base says in F32 what the model that is made of both says."""
    for kind, name, path in tunes:
        texts = []
        for args, asked in (("%s=%s" % (name, path), name), (path, "base")):
            with Server("-m", base, "--alias", "base", "--dtype", "f32", "--" + kind, args) as s:
                texts.append([s.post(TEXT, {"model": asked, "prompt": p, "max_tokens": 8, "temperature": 0})[1]["choices"][0]["text"] for p in PROMPTS])
        case("%s: what the sum says" % name, texts[0] == texts[1], texts)


def listed(base, tunes):
    args = [a for kind, name, path in tunes for a in ("--" + kind, "%s=%s" % (name, path))]
    with Server("-m", base, "--alias", "base", *args) as s:
        case("what each takes is said", all(any(name + " beside it: " in line and "MB" in line for line in s.said) for _, name, _ in tunes), s.said)
        models = s.get("/v1/models")[1]["data"]
        case("all are listed, the base first", [m["id"] for m in models] == ["base"] + [name for _, name, _ in tunes], models)
        case("with their base and what they take", models[0]["parent"] is None and "bytes" not in models[0] and
             all(m["parent"] == m["root"] == "base" and m["bytes"] > 1000 for m in models[1:]), models)
        status, one = s.get("/v1/models/two")
        case("one of them", status == 200 and one["id"] == "two", one)
        status, none = s.post(TEXT, {"model": "three", "prompt": "a"})
        case("one that is not there", status == 404 and none["error"]["code"] == "model_not_found", none)
        case("its own tokens", len(s.post("/tokenize", {"model": "tuned", "content": "<more>"})[1]["tokens"]) == 1 and
             len(s.post("/tokenize", {"model": "one", "content": "<more>"})[1]["tokens"]) > 1)
        status, r = s.post(CHAT, {"model": "tuned", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1})
        plain = s.post(CHAT, {"model": "one", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1})[1]
        case("its own chat format", status == 200 and r["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"], (r, plain))
        status, r = s.post(TEXT, {"model": "tuned", "prompt": "a", "max_tokens": 1, "logit_bias": {str(V): 100}})
        case("a token that only it has", status == 200, r)
        status, r = s.post(TEXT, {"model": "one", "prompt": "a", "max_tokens": 1, "logit_bias": {str(V): 100}})
        case("which is none of the base's", status == 400, r)
        m = s.metrics()
        case("metrics", m['paco_fine_tune_bytes{model="tuned"}'] == models[1]["bytes"], m)


def whose_tokenizer():
    """A tokenizer of the base's bytes is there once; a folder without a chat template, or without anything, has the base's."""
    template = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    base = babbler()
    write(os.path.join(base, "tokenizer_config.json"), {**settings, "chat_template": template})
    copies = {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": {**settings, "chat_template": template}}
    folders = {"none": {}, "same": copies, "bare": {**copies, "tokenizer_config.json": settings}}
    args = [a for name, files in folders.items() for a in ("--adapter", "%s=%s" % (name, adapter("a-" + name, 5, files=files)))]
    with Server("-m", base, "--alias", "base", *args) as s:
        own = [name for name in folders if any("and a tokenizer of its own" in line and name + " beside" in line for line in s.said)]
        case("what is the base's is shared", own == ["bare"], s.said)
        chats = {name: s.post(CHAT, {"model": name, "messages": [{"role": "user", "content": "a"}], "max_tokens": 4, "temperature": 0}) for name in ("base", *folders)}
        counts = {name: r["usage"]["prompt_tokens"] for name, (status, r) in chats.items() if status == 200}
        case("all wrap chats as the base does", len(set(counts.values())) == 1 and len(counts) == 4 and counts["base"] > 5, (counts, chats))
        case("and answer alike", chats["none"][1]["choices"] == chats["same"][1]["choices"] == chats["bare"][1]["choices"], chats)


def refused(what, words, base, *args, code=1):
    done = paco("serve", "-m", base, "--port", "0", *args)
    case(what, done.returncode == code and words in done.stderr and "is served at" not in done.stderr, done)


def refusals(base, one, tuned):
    other_cfg = config(vocab=V, hidden=32, layers=2, heads=2, kv_heads=1, ff=64)
    other = save(work("other"), llama(other_cfg, norm=0.0001, spread=0.0001), other_cfg)
    refused("a diff for another base", "fine-tune 'x'", base, "--diff", "x=" + other)
    refused("an adapter for another base", "fine-tune 'x'", base, "--adapter", "x=" + adapter("wide", 5, ff=128))
    refused("a model as a diff", "x", base, "--diff", "x=" + base)
    refused("a model as an adapter", "holds a whole model", base, "--adapter", "x=" + base)
    refused("nothing there", "fine-tune 'x'", base, "--adapter", "x=" + work("nowhere"))
    refused("a name twice", "two fine-tunes are called 'x'", base, "--adapter", "x=" + one, "--diff", "x=" + tuned, code=2)
    refused("the model's own name", "name of the model itself", base, "--alias", "x", "--adapter", "x=" + one, code=2)
    refused("no name", "a name has 1 to 128", base, "--adapter", "=" + one, code=2)
    refused("a name of other characters", "a name has 1 to 128", base, "--adapter", "a b=" + one, code=2)
    refused("no folder", "no folder follows", base, "--adapter", "x=", code=2)
    refused("two that become part of the model", "only one becomes part", base, "--adapter", one, "--adapter", one, code=2)
    refused("beside a sum", "without a name becomes part", base, "--diff", tuned, "--adapter", "x=" + one, code=2)


def main():
    base = babbler()
    one, two = adapter("one", 1), adapter("two", 2)
    tuned = diff("tuned", base)
    tunes = [("diff", "tuned", tuned), ("adapter", "one", one), ("adapter", "two", two)]
    refusals(base, one, tuned)
    listed(base, tunes)
    mixed(base, tunes)
    mixed(base, tunes, "--dtype", "f32")
    against_the_sum(base, tunes)
    whose_tokenizer()
    finish()


if __name__ == "__main__":
    main()
