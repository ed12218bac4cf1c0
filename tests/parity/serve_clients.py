# SPDX-License-Identifier: Apache-2.0
"""`paco serve` asked by the programs people have: OpenAI's official clients for Python and JavaScript, and
lm-evaluation-harness, all as they are released: what they return, what they raise, and that streams say the same.

The harness runs tasks made up here (choices, words, free answers, whole texts) and some lines of GSM and MMLU, with examples before them, three ways: its `hf` model, which is Transformers
in float32, on a folder that `paco convert` wrote; `local-completions`, which scores by echo and log-probabilities of
token ids, against `paco serve --dtype f32` on the same folder; and `local-chat-completions`. Scores must be equal, and
each log-likelihood within what float32 leaves.

Stack: clients (today, and what clients.txt names). The JavaScript client is looked for below PACO_PARITY_HOME/clients/js, where
setup.sh puts it when npm is there.
"""
import csv
import itertools
import json
import os
import shutil
import subprocess
import sys

from common import ROOT, Skipped, binary, case, data, default_model, equal, expect, finish, note, paco, parity_home, work

os.environ["PACO"] = str(binary())
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from serving import Server  # noqa: E402

MESSAGES = [{"role": "user", "content": "Name a colour."}]
TOLERANCE = 2e-4  # of a log-likelihood in nats: two ways to sum in float32, over some twenty layers


def url(server):
    return "http://%s:%d/v1" % (server.host, server.port)


def openai_client(server):
    try:
        import openai
    except ImportError:
        raise Skipped("no openai (tests/parity/setup.sh)") from None
    return openai, openai.OpenAI(base_url=url(server), api_key="none", max_retries=0)


def chats(server, model):
    _, client = openai_client(server)
    create = client.chat.completions.create
    asked = {"model": model, "messages": MESSAGES, "max_tokens": 12, "temperature": 0}
    whole = create(**asked)
    text = whole.choices[0].message.content
    expect(text and whole.usage.total_tokens == whole.usage.prompt_tokens + 12, whole)
    pieces = list(create(**asked, stream=True, stream_options={"include_usage": True}))
    equal("streamed", "".join(p.choices[0].delta.content or "" for p in pieces if p.choices), text)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):  # what was known of the prompt is another matter
        equal(name + " of the stream", getattr(pieces[-1].usage, name), getattr(whole.usage, name))
    equal("fingerprints", {p.system_fingerprint for p in pieces}, {whole.system_fingerprint})
    expect(whole.system_fingerprint.startswith("fp_"), whole.system_fingerprint)
    several = create(**{**asked, "temperature": 1}, n=3, seed=5)
    equal("indices", [c.index for c in several.choices], [0, 1, 2])
    expect(len({c.message.content for c in several.choices}) > 1, several)
    equal("the same seed", [c.message.content for c in create(**{**asked, "temperature": 1}, n=3, seed=5).choices],
          [c.message.content for c in several.choices])
    ended = {**asked, "max_tokens": 400}  # the helper takes an answer that was cut for an error
    with client.chat.completions.stream(**ended) as stream:
        equal("the client's stream", stream.get_final_completion().choices[0].message.content, create(**ended).choices[0].message.content)
    apart = [""] * 3
    for p in create(**{**asked, "temperature": 1}, n=3, seed=5, stream=True):
        apart[p.choices[0].index] += p.choices[0].delta.content or ""
    equal("several streamed", apart, [c.message.content for c in several.choices])
    noted = create(**asked, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    equal("tokens", "".join(t.token for t in noted), text)
    expect(all(len(t.top_logprobs) == 2 and t.top_logprobs[0].token == t.token and t.logprob <= 0 for t in noted), noted)
    word = text.split()[1]
    stopped = create(**asked, stop=[word])
    equal("stopped", (stopped.choices[0].message.content, stopped.choices[0].finish_reason), (text[:text.index(word)], "stop"))


def completions(server, model):
    _, client = openai_client(server)
    create = client.completions.create
    r = create(model=model, prompt="The sky is", max_tokens=3, temperature=0, echo=True, logprobs=2).choices[0]
    l = r.logprobs
    equal("text", "".join(l.tokens), r.text)
    expect(r.text.startswith("The sky is") and l.token_logprobs[0] is None and all(x <= 0 for x in l.token_logprobs[1:]), r)
    equal("offsets", [r.text[a:b] for a, b in zip(l.text_offset, l.text_offset[1:])], l.tokens[:-1])
    several = create(model=model, prompt=["The sky is", "One, two,"], max_tokens=4, temperature=0, n=2).choices
    expect([c.index for c in several] == [0, 1, 2, 3] and several[0].text == several[1].text != several[2].text, several)
    streamed = create(model=model, prompt="One, two,", max_tokens=4, temperature=0, stream=True)
    equal("streamed", "".join(p.choices[0].text for p in streamed), several[2].text)


def forms(server, model):
    """The client's helper for answers of a schema: it needs pydantic, which comes with it."""
    from pydantic import BaseModel

    class Colour(BaseModel):
        name: str
        warm: bool

    _, client = openai_client(server)
    said = client.chat.completions.parse(model=model, messages=MESSAGES, response_format=Colour, temperature=0, max_tokens=200).choices[0]
    expect(said.finish_reason == "stop" and isinstance(said.message.parsed, Colour), said)


def at_once(server, model):
    """The client for asyncio, several requests and a stream side by side."""
    import asyncio
    openai, client = openai_client(server)
    asked = {"model": model, "messages": MESSAGES, "max_tokens": 12, "temperature": 0}

    async def run():
        async with openai.AsyncOpenAI(base_url=url(server), api_key="none", max_retries=0) as c:
            whole = await asyncio.gather(*[c.chat.completions.create(**asked) for _ in range(6)])
            pieces = [p.choices[0].delta.content or "" async for p in await c.chat.completions.create(**asked, stream=True)]
            return [w.choices[0].message.content for w in whole] + ["".join(pieces)]

    equal("all of them", set(asyncio.run(run())), {client.chat.completions.create(**asked).choices[0].message.content})


def busy(gguf):
    """Eight requests at once, of which one is computed and one waits: the others raise InternalServerError (503) or RateLimitError (429), and
    say when to come again. The client is told not to (max_retries 0): who asks again by itself would hide them."""
    import threading
    with Server("-m", gguf, "--parallel", "1", "--queue", "1") as s:
        openai, client = openai_client(s)
        model, seen, done = client.models.list().data[0].id, [], []

        def ask():
            try:
                done.append(client.completions.create(model=model, prompt="One, two,", max_tokens=300, extra_body={"ignore_eos": True}))
            except (openai.RateLimitError, openai.InternalServerError) as e:
                seen.append((e.status_code, int(e.response.headers["Retry-After"]) > 0))
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(done and seen and all(status in (429, 503) and says for status, says in seen), (len(done), seen))


def errors(server, model):
    openai, client = openai_client(server)

    def raised(kind, status, code, **asked):
        try:
            client.chat.completions.create(**{"model": model, "messages": MESSAGES, **asked})
        except openai.APIStatusError as e:
            equal("error", (type(e), e.status_code, e.code), (kind, status, code))
            return e
        raise AssertionError("no error")

    raised(openai.NotFoundError, 404, "model_not_found", model="other")
    equal("param", raised(openai.BadRequestError, 400, "invalid_value", temperature=9).param, "temperature")
    raised(openai.BadRequestError, 400, "context_length_exceeded", messages=[{"role": "user", "content": "word " * 9000}])
    raised(openai.BadRequestError, 400, "invalid_type", extra_body={"n": "two"})


def wrong_key(gguf):
    with Server("-m", gguf, "--api-key", "right") as s:
        openai, client = openai_client(s)
        try:
            client.models.list()
        except openai.AuthenticationError as e:
            equal("code", e.code, "invalid_api_key")
        else:
            raise AssertionError("no error")
        expect(client.with_options(api_key="right").models.list().data, "no models")


def keys_anew(gguf):
    """Keys of a file, over TLS with a certificate made here: what one key may is another's after the file was read again."""
    import signal
    keys, cert, secret = work("keys") / "keys", work("keys") / "cert.pem", work("keys") / "key.pem"
    if not shutil.which("openssl"):
        raise Skipped("no openssl")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", secret, "-out", cert, "-days", "2",
                    "-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    keys.write_text("old\n")
    keys.chmod(0o600)
    with Server("-m", gguf, "--alias", "smollm2", "--api-key-file", keys, "--tls-cert", cert, "--tls-key", secret) as s:
        openai, _ = openai_client(s)
        import httpx2
        import ssl
        trust = httpx2.Client(verify=ssl.create_default_context(cafile=str(cert)))
        client = openai.OpenAI(base_url=url(s).replace("http:", "https:"), api_key="old", max_retries=0, http_client=trust)
        said = client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=12, temperature=0).choices[0].message.content
        streamed = client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=12, temperature=0, stream=True)
        equal("streamed over TLS", "".join(p.choices[0].delta.content or "" for p in streamed if p.choices), said)
        strangers = openai.OpenAI(base_url=client.base_url, api_key="old", max_retries=0)
        try:
            strangers.models.list()
        except openai.APIConnectionError as e:
            expect("certificate" in str(e.__cause__).lower(), e.__cause__)
        else:
            raise AssertionError("a certificate nobody vouched for was taken")
        keys.write_text("new\n")
        s.process.send_signal(signal.SIGHUP)
        s.hear("reloaded")
        try:
            client.models.list()
        except openai.AuthenticationError as e:
            equal("the old key", e.code, "invalid_api_key")
        else:
            raise AssertionError("the old key still does")
        equal("the new key", [m.id for m in client.with_options(api_key="new").models.list()], ["smollm2"])


def socket_and_talk(gguf):
    """Over a socket in the file system, and with turns as the client hands them back: whole messages, a refusal among them."""
    path = work("socket") / "s"
    with Server("-m", gguf, "--alias", "smollm2", "--host", "unix:%s" % path) as s:
        openai, _ = openai_client(s)
        import httpx2
        client = openai.OpenAI(base_url="http://paco/v1", api_key="none", max_retries=0, http_client=httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))))
        create = client.chat.completions.create
        first = create(model="smollm2", messages=MESSAGES, max_tokens=12, temperature=0).choices[0].message
        talk = [*MESSAGES, first, {"role": "user", "content": "Another one."}]
        asked = {"model": "smollm2", "max_tokens": 12, "temperature": 0}
        again = create(**asked, messages=talk).choices[0].message.content
        refused = [*MESSAGES, {"role": "assistant", "content": None, "refusal": first.content}, talk[-1]]
        equal("a refusal is what it said", create(**asked, messages=refused).choices[0].message.content, again)
        try:
            create(**asked, messages=[*MESSAGES, {"role": "assistant", "content": None}])
        except openai.BadRequestError as e:
            equal("the turn that says nothing", e.param, "messages[1].content")
        else:
            raise AssertionError("no error")


def lists_and_embeddings(server, model):
    _, client = openai_client(server)
    equal("models", [m.id for m in client.models.list()], [model])
    equal("a model", client.models.retrieve(model).id, model)
    packed = client.embeddings.create(model=model, input=["sky", "sea"])  # the client asks for base64
    plain = client.embeddings.create(model=model, input=["sky", "sea"], encoding_format="float")
    for a, b in zip(packed.data, plain.data):
        expect(abs(sum(x * x for x in a.embedding) - 1) < 1e-4, "length")
        expect(len(a.embedding) == 576 and max(abs(x - y) for x, y in zip(a.embedding, b.embedding)) < 1e-6, (a, b))


def javascript(server, model):
    module = parity_home() / "clients" / "js" / "node_modules" / "openai" / "index.mjs"
    node = shutil.which("node")
    if not node or not module.exists():
        raise Skipped("no node or no %s (tests/parity/setup.sh)" % module)
    _, client = openai_client(server)
    done = subprocess.run([node, ROOT / "tests" / "parity" / "serve_clients.mjs", module, url(server), model], capture_output=True, text=True,
                          timeout=300, check=False)
    expect(done.returncode == 0, done.stderr)
    seen = json.loads(done.stdout)
    whole = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12, temperature=0)
    text, usage = whole.choices[0].message.content, whole.usage.total_tokens
    equal("models", seen["models"], [model])
    equal("chat", seen["chat"], [text, "length", usage])
    equal("stream", seen["stream"], [text, usage])
    equal("runner", seen["runner"], text)
    equal("stopped", seen["stopped"], True)
    r = client.completions.create(model=model, prompt="The sky is", max_tokens=2, temperature=0, echo=True, logprobs=2).choices[0]
    equal("completion", seen["completion"], [r.text, r.logprobs.tokens, r.logprobs.token_logprobs])
    v = client.embeddings.create(model=model, input=["sky", "sea"])
    expect(max(abs(x - y) for a, b in zip(seen["embedding"], v.data) for x, y in zip(a, b.embedding)) < 1e-6, seen["embedding"])
    equal("no such model", seen["no such model"], {"raised": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model"})
    equal("bad request", seen["bad request"], {"raised": "BadRequestError", "status": 400, "code": "invalid_value", "param": "temperature"})


CHOICES = [("The capital of France is", ["Paris", "London", "Rome", "Madrid"]), ("Water is made of hydrogen and", ["gold", "oxygen", "iron"]),
           ("A triangle has", ["four sides", "three sides", "no sides"]), ("The opposite of hot is", ["warm", "cold", "dry", "tall"]),
           ("The largest planet is", ["Mars", "Jupiter", "Venus"]), ("Two plus two is", ["five", "three", "four"]),
           ("Caf\u00e9 is French for", ["coffee house", "chair", "\u2603 snow"]), ("A dog is", ["an animal", "a plant", "a rock"])]
ASKED = ["What colour is the sky?", "Name three fruits.", "How many days has a week?", "What is 7 + 5?", "Who wrote Hamlet?"]
TEXTS = ["The quick brown fox jumps over the lazy dog. " * 3, "na\u00efve r\u00e9sum\u00e9s \u2014 \u65e5\u672c\u8a9e, 12345", "def f(x):\n    return x + 1\n"]
TASKS = {
    "paco_choices": (["question", "choices", "answer"], """
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
output_type: multiple_choice
metric_list:
  - metric: acc
  - metric: acc_norm
"""),
    "paco_answers": (["question"], """
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{question}}"
output_type: generate_until
generation_kwargs:
  until: ["\\n", "Q:"]
  do_sample: false
  max_gen_toks: 24
metric_list:
  - metric: exact_match
"""),
    "paco_texts": (["text"], """
doc_to_text: ""
doc_to_target: "{{text}}"
output_type: loglikelihood_rolling
metric_list:
  - metric: word_perplexity
  - metric: bits_per_byte
"""),
    "paco_words": (["text", "word"], """
doc_to_text: "{{text}}"
doc_to_target: " {{word}}"
output_type: loglikelihood
metric_list:
  - metric: perplexity
  - metric: acc
"""),
    "paco_gsm": (["question", "answer"], """
fewshot_split: train
fewshot_config:
  sampler: first_n
num_fewshot: 2
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: " {{answer}}"
output_type: generate_until
generation_kwargs:
  until: ["Question:", "####", "</s>"]
  do_sample: false
  max_gen_toks: 32
metric_list:
  - metric: exact_match
"""),
    "paco_mmlu": (["question", "choices", "answer"], """
fewshot_split: train
fewshot_config:
  sampler: first_n
num_fewshot: 3
doc_to_text: "{{question}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\nC. {{choices[2]}}\\nD. {{choices[3]}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
output_type: multiple_choice
metric_list:
  - metric: acc
"""),
}


def first_lines(name, n):
    with open(data(name), encoding="utf-8", newline="") as f:
        return list(itertools.islice(csv.reader(f) if name.endswith(".csv") else map(json.loads, f), n))


def published():
    """Tasks of published data, as {task: {split: rows}}; none where the data is not there."""
    try:
        gsm, shots = first_lines("gsm/test.jsonl", 2), first_lines("gsm/train.jsonl", 4)
        mmlu = {split: [{"question": q, "choices": c, "answer": "ABCD".index(a)} for q, *c, a in first_lines("mmlu/%s/formal_logic_%s.csv" % (split, split), 4)]
                for split in ("test", "dev")}
    except Skipped as e:
        note("harness: without GSM and MMLU: %s" % e)
        return {}
    return {"paco_gsm": {"test": gsm, "train": shots}, "paco_mmlu": {"test": mmlu["test"], "train": mmlu["dev"]}}


def write_tasks():
    rows = {"paco_choices": [{"question": q, "choices": c, "answer": i % len(c)} for i, (q, c) in enumerate(CHOICES)],
            "paco_answers": [{"question": q} for q in ASKED], "paco_texts": [{"text": t} for t in TEXTS],
            "paco_words": [{"text": q, "word": c[1]} for q, c in CHOICES]}
    tasks = {**{name: {"test": r} for name, r in rows.items()}, **published()}
    top = work("tasks")
    for name, splits in tasks.items():
        files = ""
        for split, lines in splits.items():
            path = top / ("%s.%s.json" % (name, split))
            path.write_text("".join(json.dumps(row) + "\n" for row in lines))
            files += "    %s: %s\n" % (split, path)
        train = "training_split: train\n" if "train" in splits else ""
        (top / (name + ".yaml")).write_text("task: %s\ndataset_path: json\ndataset_kwargs:\n  data_files:\n%stest_split: test\n%s%s"
                                            % (name, files, train, TASKS[name][1].lstrip()))
    return list(tasks)


def harness(kind, arguments, tasks, chat=False):
    """Results and samples of lm_eval's model kind."""
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager
    except ImportError as e:
        raise Skipped("no lm_eval: %s (tests/parity/setup.sh)" % e) from None
    os.environ.setdefault("HF_DATASETS_CACHE", str(work("datasets")))
    got = lm_eval.simple_evaluate(model=kind, model_args=arguments, tasks=tasks, task_manager=TaskManager(include_path=str(work("tasks"))),
                                  batch_size=1, bootstrap_iters=0, apply_chat_template=chat, random_seed=0)
    return got["results"], {task: sorted(rows, key=lambda r: r["doc_id"]) for task, rows in got["samples"].items()}


def same_results(ours, theirs):
    for task, want in theirs.items():
        for key, value in want.items():
            if isinstance(value, float) and "stderr" not in key:
                expect(abs(ours[task][key] - value) <= TOLERANCE * max(1, abs(value)), "%s %s: %r, Transformers %r" % (task, key, ours[task][key], value))


def floats(x):
    """All log-likelihoods in what a sample's responses hold."""
    if isinstance(x, float):
        return [x]
    return [f for y in x for f in floats(y)] if isinstance(x, (list, tuple)) else []


def completions_in_harness(folder, server, tasks):
    results, samples = harness("hf", "pretrained=%s,dtype=float32,device=cpu" % folder, tasks)
    ours, our_samples = harness("local-completions", "model=folder,base_url=%s/completions,tokenizer=%s,num_concurrent=4,max_length=2048"
                                % (url(server), folder), tasks)
    worst = 0.0
    for task in tasks:
        for got, want in zip(our_samples[task], samples[task]):
            if TASKS[task][1].find("generate_until") >= 0:
                equal("%s %d" % (task, want["doc_id"]), got["filtered_resps"], want["filtered_resps"])
                continue
            a, b = floats(got["resps"]), floats(want["resps"])
            expect(len(a) == len(b) and a, (got["resps"], want["resps"]))
            worst = max([worst] + [abs(x - y) / max(1, abs(y)) for x, y in zip(a, b)])
    note("largest difference of a log-likelihood: %.2g of it" % worst)
    expect(worst <= TOLERANCE, "log-likelihoods differ by %g of themselves" % worst)
    same_results(ours, results)
    note(json.dumps({task: {k: v for k, v in results[task].items() if isinstance(v, float)} for task in results}))


def chats_in_harness(folder, server):
    _, samples = harness("hf", "pretrained=%s,dtype=float32,device=cpu" % folder, ["paco_answers"], chat=True)
    _, ours = harness("local-chat-completions", "model=folder,base_url=%s/chat/completions,num_concurrent=2,max_length=2048" % url(server),
                      ["paco_answers"], chat=True)
    for got, want in zip(ours["paco_answers"], samples["paco_answers"]):
        equal("answer %d" % want["doc_id"], got["filtered_resps"], want["filtered_resps"])


def main():
    os.environ.update(HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1", OPENAI_API_KEY="none")
    try:
        gguf = default_model()
    except Skipped as e:
        with case("serve: clients"):
            raise Skipped(str(e))
        finish()
    with Server("-m", gguf, "--alias", "smollm2") as s:
        for name, f in (("chats", chats), ("completions", completions), ("errors", errors), ("models and embeddings", lists_and_embeddings),
                        ("forms", forms), ("asyncio", at_once)):
            with case("serve: the Python client: " + name):
                f(s, "smollm2")
        with case("serve: the JavaScript client"):
            javascript(s, "smollm2")
    with case("serve: the Python client: keys"):
        wrong_key(gguf)
    with case("serve: the Python client: a full queue"):
        busy(gguf)
    with case("serve: the Python client: TLS, and keys read again"):
        keys_anew(gguf)
    with case("serve: the Python client: a socket, and turns handed back"):
        socket_and_talk(gguf)
    folder = work() / "folder"
    with case("serve: a folder for Transformers"):
        paco("convert", gguf, "--out", folder, "--dtype", "f32")
        tasks = write_tasks()
    with Server("-m", folder, "--dtype", "f32", "-c", "2048") as s:
        with case("serve: lm-evaluation-harness, local-completions"):
            completions_in_harness(folder, s, tasks)
        with case("serve: lm-evaluation-harness, local-chat-completions"):
            chats_in_harness(folder, s)


if __name__ == "__main__":
    main()
    finish()
