#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco serve as clients see it: every route, what is asked wrongly, clients that go away, and how it ends. On a model that
counts, whose answers are known, and one that says something else each time."""
import base64
import gzip
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading

from counting import ID, V, babbler, model
from serving import Server, until
from tiny import SANITIZED, case, finish, paco, work, write

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def user(text, **more):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def form(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}}


def routes(s):
    case("health", s.get("/health") == (200, {"status": "ok"}))
    status, models = s.get("/v1/models")
    case("models", status == 200 and [m["id"] for m in models["data"]] == ["counts"] and models["data"][0]["object"] == "model", models)
    status, one = s.get("/v1/models/counts")
    case("a model", status == 200 and one["id"] == "counts" and one["max_model_len"] == 256, one)
    status, none = s.get("/v1/models/other")
    case("a model that is not there", status == 404 and none["error"]["code"] == "model_not_found", none)
    status, props = s.get("/props")
    case("props", status == 200 and props["context"] == 256 and props["format"] == "raw" and "arithmetic" in props, props)
    status, t = s.post("/tokenize", {"content": "abc d"})
    case("tokenize", status == 200 and t["tokens"] == [ID[c] for c in "abc"] + [ID["\u0120"], ID["d"]] and t["count"] == 5, t)
    case("detokenize", s.post("/detokenize", {"tokens": t["tokens"]}) == (200, {"content": "abc d"}))
    m = s.metrics()
    case("metrics", {"paco_completion_tokens_total", "paco_requests_waiting", 'paco_requests_total{status="2xx"}'} <= set(m), m)
    status, headers, page = s.ask("GET", "/", headers={"Accept-Encoding": "gzip"})
    case("the page", status == 200 and b"<!doctype html>" in gzip.decompress(page).lower() and "default-src 'none'" in
         headers["Content-Security-Policy"], (status, headers))
    status, headers, page = s.ask("GET", "/", headers={"If-None-Match": headers["ETag"]})
    case("the page, known already", status == 304 and page == b"", (status, page[:100]))
    status, headers, _ = s.ask("GET", CHAT)
    case("a method that is not for it", status == 405, status)
    status, wrong = s.get("/v1/nothing")
    case("a path that is not there", status == 404 and wrong["error"]["code"] == "unknown_url", wrong)
    status, headers, body = s.ask("HEAD", "/health")
    case("HEAD", status == 200 and body == b"", status)


def answers(s):
    status, r = s.post(CHAT, user("abc", max_tokens=4))
    choice = r["choices"][0]
    case("a chat", status == 200 and r["object"] == "chat.completion" and choice["message"]["content"] == "defg" and
         choice["message"]["role"] == "assistant" and choice["finish_reason"] == "length" and r["model"] == "counts", r)
    case("usage", r["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}}, r["usage"])
    parts = [{"type": "text", "text": "ab"}, {"type": "text", "text": "c"}]
    case("content in parts", s.post(CHAT, {"messages": [{"role": "user", "content": parts}], "temperature": 0, "max_completion_tokens": 2})
         [1]["choices"][0]["message"]["content"] == "de")
    r = s.post(TEXT, {"prompt": "abc", "temperature": 0, "max_tokens": 3})[1]
    case("a completion", r["object"] == "text_completion" and r["choices"][0]["text"] == "def", r)
    r = s.post(TEXT, {"prompt": ["abc", "x"], "temperature": 0, "max_tokens": 2, "n": 2})[1]
    case("several prompts, several answers", [(c["index"], c["text"]) for c in r["choices"]] == [(0, "de"), (1, "de"), (2, "yz"), (3, "yz")], r)
    r = s.post(TEXT, {"prompt": [ID["a"], ID["b"]], "temperature": 0, "max_tokens": 1})[1]
    case("a prompt of ids", r["choices"][0]["text"] == "c" and r["usage"]["prompt_tokens"] == 2, r)
    r = s.post(TEXT, {"prompt": [[ID["a"]], [ID["d"], ID["e"]]], "temperature": 0, "max_tokens": 1})[1]
    case("prompts of ids", [c["text"] for c in r["choices"]] == ["b", "f"], r)
    r = s.post(TEXT, {"prompt": "a", "temperature": 0, "max_tokens": 200, "stop": "fgh"})[1]
    case("a stop", r["choices"][0]["text"] == "bcde" and r["choices"][0]["finish_reason"] == "stop", r)
    r = s.post(TEXT, {"prompt": "a", "temperature": 0, "max_tokens": 200, "stop": ["zz", "de", "k"]})[1]
    case("the first of several stops", r["choices"][0]["text"] == "bc", r)
    r = s.post(TEXT, {"prompt": "|", "temperature": 0, "max_tokens": 9})[1]
    case("the end of sequence", r["choices"][0]["finish_reason"] == "stop" and r["usage"]["completion_tokens"] < 9, r)
    r = s.post(TEXT, {"prompt": "a", "temperature": 0, "max_tokens": 3, "logit_bias": {str(ID["c"]): -100}})[1]
    case("a bias", r["choices"][0]["text"][0] == "b" and "c" not in r["choices"][0]["text"], r)
    r = s.post(TEXT, {"prompt": "a", "temperature": 0, "max_tokens": 2, "nothing_known": {"a": [1]}, "user": "me"})
    case("unknown fields are passed over", r[0] == 200, r)
    for what, schema, more, said in (("the best that the form allows", {"type": "boolean"}, {}, "false"), ("a bias within the form",
                                     {"type": "boolean"}, {"logit_bias": {str(ID["t"]): 5}}, "true"), ("one of some", {"enum": [321, 30]}, {}, "30")):
        r = s.post(CHAT, user("abc", max_tokens=20, **form(schema), **more))[1]
        case(what, r["choices"][0]["message"]["content"] == said and r["choices"][0]["finish_reason"] == "stop", r)
    for what, field, said in (("a pattern", {"guided_regex": "[xd]y?z{2}"}, "dyzz"), ("a choice", {"guided_choice": ["zebra", "dog"]}, "dog"),
                              ("another server's schema", {"json_schema": {"enum": [30]}}, "30"), ("a form in its own object",
                              {"structured_outputs": {"choice": ["no"]}}, "no")):
        r = s.post(CHAT, user("abc", max_tokens=20, **field))[1]
        case(what, r["choices"][0]["message"]["content"] == said and r["choices"][0]["finish_reason"] == "stop", r)
    drawn = [s.post(TEXT, {"prompt": "a", "temperature": 1.5, "seed": i, "max_tokens": 20, **form({"type": "integer"})})[1] for i in range(9)]
    case("draws within the form", all(isinstance(json.loads(r["choices"][0]["text"]), int) for r in drawn), drawn)


def logprobs(s):
    r = s.post(CHAT, user("abc", max_tokens=2, logprobs=True, top_logprobs=3))[1]
    notes = r["choices"][0]["logprobs"]["content"]
    case("log-probabilities of a chat", [n["token"] for n in notes] == ["d", "e"] and len(notes[0]["top_logprobs"]) == 3 and
         notes[0]["top_logprobs"][0]["token"] == "d" and notes[0]["bytes"] == [100] and -0.01 < notes[0]["logprob"] <= 0, notes)
    r = s.post(TEXT, {"prompt": "ab z", "temperature": 0, "max_tokens": 2, "logprobs": 1, "echo": True})[1]["choices"][0]
    l = r["logprobs"]
    case("echo", r["text"] == "ab zab"[:4] + r["text"][4:] and len(r["text"]) == 6, r)
    case("log-probabilities of the prompt", l["tokens"][:4] == ["a", "b", " ", "z"] and l["token_logprobs"][0] is None and
         l["token_logprobs"][1] > -0.01 and l["token_logprobs"][2] < -5 and len(l["tokens"]) == 6, l)
    case("the likeliest beside each", l["top_logprobs"][0] is None and max(l["top_logprobs"][2], key=l["top_logprobs"][2].get) == "c" and
         " " in l["top_logprobs"][2], l["top_logprobs"])
    case("offsets", l["text_offset"] == [0, 1, 2, 3, 4, 5], l["text_offset"])
    r = s.post(TEXT, {"prompt": "abc", "temperature": 0, "max_tokens": 0, "logprobs": 0, "echo": True})[1]["choices"][0]
    case("the prompt alone", r["text"] == "abc" and len(r["logprobs"]["token_logprobs"]) == 3 and r["finish_reason"] == "length", r)
    r = s.post(TEXT, {"prompt": [ID["a"], ID["b"]], "temperature": 0, "max_tokens": 1, "echo": True})[1]["choices"][0]
    case("echo of ids", r["text"] == "abc", r)


def embeddings(s):
    status, r = s.post("/v1/embeddings", {"input": ["abc", "abd", "xyz"]})
    v = [d["embedding"] for d in r["data"]]

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b))

    case("embeddings", status == 200 and [len(a) for a in v] == [V] * 3 and all(abs(dot(a, a) - 1) < 1e-5 for a in v) and
         r["usage"] == {"prompt_tokens": 9, "total_tokens": 9}, r)
    case("what is alike is near", dot(v[0], v[1]) > dot(v[0], v[2]) + 0.1, (dot(v[0], v[1]), dot(v[0], v[2])))
    mean = [sum(1 for c in "abc" if ID[c] == i) for i in range(V)]  # each state is the token itself
    case("the mean of all tokens' states", dot(v[0], mean) / dot(mean, mean) ** 0.5 > 0.999, v[0])
    packed = s.post("/v1/embeddings", {"input": "abc", "encoding_format": "base64"})[1]["data"][0]["embedding"]
    case("in base64", max(abs(a - b) for a, b in zip(struct.unpack("<%df" % V, base64.b64decode(packed)), v[0])) < 1e-6)
    status, r = s.post("/v1/embeddings", {"input": "a" * 300})
    case("too long for an embedding", status == 400 and r["error"]["code"] == "context_length_exceeded" and r["error"]["param"] == "input", r)


def streams(s):
    events = list(s.stream(CHAT, user("abc", max_tokens=4, stream_options={"include_usage": True})))
    texts = [e["choices"][0]["delta"].get("content", "") for e in events[:-2]]
    case("a stream", "".join(texts) == "defg" and events[0]["choices"][0]["delta"]["role"] == "assistant" and len(texts) == 6 and
         events[-3]["choices"][0]["finish_reason"] == "length" and events[-1] == "[DONE]", events)
    case("usage at its end", events[-2]["choices"] == [] and events[-2]["usage"]["completion_tokens"] == 4 and events[0]["usage"] is None,
         events[-2])
    events = list(s.stream(TEXT, {"prompt": "a", "temperature": 0, "max_tokens": 200, "stop": "efg"}))
    texts = [e["choices"][0]["text"] for e in events[:-1]]
    case("a stream holds a stop back", "".join(texts) == "bcd" and events[-2]["choices"][0]["finish_reason"] == "stop", texts)
    events = list(s.stream(TEXT, {"prompt": ["a", "k"], "temperature": 0, "max_tokens": 3, "n": 2}))
    whole = {}
    for e in events[:-1]:
        c = e["choices"][0]
        whole[c["index"]] = whole.get(c["index"], "") + c["text"]
    case("a stream of several", whole == {0: "bcd", 1: "bcd", 2: "lmn", 3: "lmn"}, whole)
    events = list(s.stream(TEXT, {"prompt": "ab", "temperature": 0, "max_tokens": 2, "echo": True, "logprobs": 1}))
    tokens = [t for e in events[:-1] if e["choices"][0]["logprobs"] for t in e["choices"][0]["logprobs"]["tokens"]]
    offsets = [t for e in events[:-1] if e["choices"][0]["logprobs"] for t in e["choices"][0]["logprobs"]["text_offset"]]
    case("a stream with echo and log-probabilities", tokens == list("abcd") and offsets == [0, 1, 2, 3], (tokens, offsets))


BAD = [  # what, path, body, status, code, param, words
    ("no JSON", CHAT, b"{\"messages\": [", 400, "invalid_json", None, "not valid JSON"),
    ("nothing", CHAT, b"", 400, "invalid_json", None, "no body"),
    ("a list", CHAT, b"[1]", 400, "invalid_json", None, "must be a JSON object"),
    ("deep nesting", CHAT, b"{\"messages\":" * 1 + b"[" * 100000, 400, "invalid_json", None, "not valid JSON"),
    ("deep nesting, closed", CHAT, b"{\"user\":" + b"[" * 50000 + b"]" * 50000 + b"}", 400, "invalid_json", None, "not valid JSON"),
    ("invalid UTF-8", CHAT, b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}", 400, "invalid_json", None, "UTF-8"),
    ("half a surrogate pair", CHAT, b"{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}", 400, "invalid_json", None, "not valid JSON"),
    ("NUL in a text", CHAT, b"{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}", 400, "invalid_value", "messages[0].content", "NUL"),
    ("NaN", TEXT, b"{\"prompt\":\"a\",\"temperature\":NaN}", 400, "invalid_json", None, "not valid JSON"),
    ("1e999", TEXT, b"{\"prompt\":\"a\",\"temperature\":1e999}", 400, "invalid_json", None, "not valid JSON"),
    ("no messages", CHAT, {}, 400, "missing_required_parameter", "messages", "messages"),
    ("messages of another type", CHAT, {"messages": "hi"}, 400, "invalid_type", "messages", "got a string"),
    ("no message", CHAT, {"messages": []}, 400, "invalid_value", "messages", "0 messages"),
    ("a message of another type", CHAT, {"messages": ["hi"]}, 400, "invalid_type", "messages[0]", "an object"),
    ("no role", CHAT, {"messages": [{"content": "a"}]}, 400, "missing_required_parameter", "messages[0].role", "role"),
    ("an unknown role", CHAT, {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "a"}]}, 400, "invalid_value",
     "messages[1].role", "'tool'"),
    ("content of another type", CHAT, {"messages": [{"role": "user", "content": 7}]}, 400, "invalid_type", "messages[0].content", "got an integer"),
    ("a picture", CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "invalid_value",
     "messages[0].content[0].type", "'text'"),
    ("an assistant that says nothing", CHAT, {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]}, 400,
     "invalid_type", "messages[1].content", "got null"),
    ("calls of tools in a conversation", CHAT, {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}]}, 400,
     "unsupported_parameter", "messages[0].tool_calls", "calls of tools"),
    ("one of two prompts too long", TEXT, {"prompt": ["a", "a" * 300]}, 400, "context_length_exceeded", "prompt[1]", "your prompt[1] resulted in 300"),
    ("no prompt", TEXT, {"max_tokens": 3}, 400, "missing_required_parameter", "prompt", "prompt"),
    ("a prompt of another type", TEXT, {"prompt": {"a": 1}}, 400, "invalid_type", "prompt", "got an object"),
    ("an id too large", TEXT, {"prompt": [1, V]}, 400, "invalid_value", "prompt[1]", "token 64;"),
    ("an id below zero", TEXT, {"prompt": [-1]}, 400, "invalid_value", "prompt[0]", "token -1;"),
    ("texts and ids", TEXT, {"prompt": [1, "a"]}, 400, "invalid_type", "prompt[1]", "a token id"),
    ("an empty prompt", TEXT, {"prompt": ""}, 400, "invalid_value", "prompt", "no tokens"),
    ("no prompts", TEXT, {"prompt": []}, 400, "invalid_value", "prompt", "0 prompts"),
    ("temperature of another type", TEXT, {"prompt": "a", "temperature": "hot"}, 400, "invalid_type", "temperature", "got a string"),
    ("a negative temperature", TEXT, {"prompt": "a", "temperature": -0.1}, 400, "invalid_value", "temperature", "0 to 2"),
    ("top_p above 1", TEXT, {"prompt": "a", "top_p": 1.5}, 400, "invalid_value", "top_p", "0 to 1"),
    ("a penalty too large", TEXT, {"prompt": "a", "presence_penalty": 3}, 400, "invalid_value", "presence_penalty", "-2 to 2"),
    ("max_tokens of another type", TEXT, {"prompt": "a", "max_tokens": 1.5}, 400, "invalid_type", "max_tokens", "an integer"),
    ("max_tokens below zero", TEXT, {"prompt": "a", "max_tokens": -1}, 400, "invalid_value", "max_tokens", "-1"),
    ("max_tokens beyond all", TEXT, {"prompt": "a", "max_tokens": 10 ** 30}, 400, "invalid_value", "max_tokens", "1e+30"),
    ("n of 0", TEXT, {"prompt": "a", "n": 0}, 400, "invalid_value", "n", "from 1"),
    ("n too large", TEXT, {"prompt": "a", "n": 10 ** 6}, 400, "invalid_value", "n", "to 128"),
    ("prompts and n too large", TEXT, {"prompt": ["a"] * 1000, "n": 100}, 400, "invalid_value", "n", "1000 prompts with 100"),
    ("stream of another type", TEXT, {"prompt": "a", "stream": "yes"}, 400, "invalid_type", "stream", "a boolean"),
    ("stream options of another type", TEXT, {"prompt": "a", "stream_options": 1}, 400, "invalid_type", "stream_options", "an object"),
    ("an option of another type", TEXT, {"prompt": "a", "stream_options": {"include_usage": 1}}, 400, "invalid_type",
     "stream_options.include_usage", "a boolean"),
    ("an empty stop", TEXT, {"prompt": "a", "stop": ["x", ""]}, 400, "invalid_value", "stop[1]", "0 bytes"),
    ("thousands of stops", TEXT, {"prompt": "a", "stop": ["x%d" % i for i in range(5000)]}, 400, "invalid_value", "stop", "5000 texts"),
    ("a stop of another type", TEXT, {"prompt": "a", "stop": [3]}, 400, "invalid_type", "stop[0]", "a string"),
    ("a long stop", TEXT, {"prompt": "a", "stop": "x" * 5000}, 400, "invalid_value", "stop", "5000 bytes"),
    ("a bias for no token", TEXT, {"prompt": "a", "logit_bias": {"x": 1}}, 400, "invalid_value", "logit_bias", "'x'"),
    ("a bias too large", TEXT, {"prompt": "a", "logit_bias": {"5": 1000}}, 400, "invalid_value", "logit_bias", "1000"),
    ("a bias of another type", TEXT, {"prompt": "a", "logit_bias": [1]}, 400, "invalid_type", "logit_bias", "got an array"),
    ("seed of another type", TEXT, {"prompt": "a", "seed": "s"}, 400, "invalid_type", "seed", "an integer"),
    ("too many log-probabilities", TEXT, {"prompt": "a", "logprobs": 100}, 400, "invalid_value", "logprobs", "to 20"),
    ("top_logprobs alone", CHAT, user("a", top_logprobs=2), 400, "invalid_value", "top_logprobs", "'logprobs' to be true"),
    ("no schema", CHAT, user("a", response_format={"type": "json_schema", "json_schema": {}}), 400, "invalid_type",
     "response_format.json_schema.schema", "an object, but got nothing"),
    ("a form that is not known", CHAT, user("a", response_format={"type": "yaml"}), 400, "invalid_value", "response_format.type", "'json_schema'"),
    ("a form of another type", CHAT, user("a", response_format="json"), 400, "invalid_type", "response_format", "an object"),
    ("a schema that is not understood", CHAT, user("a", **form({"type": "string", "not": {}})), 400, "invalid_schema",
     "response_format.json_schema.schema", '"not" at / is not a keyword'),
    ("a schema without an end", CHAT, user("a", **form({"$ref": "#"})), 400, "invalid_schema", "response_format.json_schema.schema",
     "refers to itself"),
    ("a schema bomb", CHAT, user("a", **form({"$ref": "#/$defs/d0", "$defs": {"d%d" % i: {"anyOf": [{"$ref": "#/$defs/d%d" % (i + 1)}, {"minItems": i}]}
                                                                             for i in range(80)}})), 400, "invalid_schema",
     "response_format.json_schema.schema", "more than 64 deep"),
    ("a grammar", CHAT, user("a", grammar="root ::= x"), 400, "unsupported_parameter", "grammar", "a JSON schema, a pattern or a list"),
    ("two forms", CHAT, user("a", guided_regex="a", **form({})), 400, "invalid_value", "guided_regex", "by another field"),
    ("tools", CHAT, user("a", tools=[{"type": "function"}]), 400, "unsupported_parameter", "tools", "tools"),
    ("a suffix", TEXT, {"prompt": "a", "suffix": "b"}, 400, "unsupported_parameter", "suffix", "suffix"),
    ("best_of", TEXT, {"prompt": "a", "best_of": 3}, 400, "unsupported_value", "best_of", "best_of"),
    ("an unknown model", TEXT, {"model": "gpt-4", "prompt": "a"}, 404, "model_not_found", "model", "'gpt-4'"),
    ("a model of another type", TEXT, {"model": 4, "prompt": "a"}, 400, "invalid_type", "model", "a string"),
    ("a prompt too long", CHAT, user("a" * 300), 400, "context_length_exceeded", "messages", "256 tokens. However, your messages resulted in 300"),
    ("an answer too long", TEXT, {"prompt": "a" * 200, "max_tokens": 100}, 400, "context_length_exceeded", "prompt",
     "you requested 300 tokens (200 in"),
    ("tokens of another type", "/detokenize", {"tokens": "abc"}, 400, "invalid_type", "tokens", "a list"),
    ("a token that is not there", "/detokenize", {"tokens": [10 ** 6]}, 400, "invalid_value", "tokens", "1000000"),
    ("no text", "/tokenize", {}, 400, "missing_required_parameter", "content", "content"),
]


def refusals(s):
    for what, path, body, status, code, param, words in BAD:
        got, r = s.post(path, body)
        e = r.get("error", {})
        case("refused: " + what, got == status and e.get("code") == code and e.get("param") == param and words in e.get("message", "") and
             e.get("type") == "invalid_request_error", (got, r))
    status, _, reply = s.ask("POST", CHAT, b"x" * (9 << 20))
    case("a body too large", status == 413 and json.loads(reply)["error"]["code"] == "request_too_large", (status, reply))
    back = s.raw(b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % CHAT.encode() +
                 b"10000\r\n" + b"y" * 65536 + b"\r\n" + b"".join(b"100000\r\n" + b"y" * (1 << 20) + b"\r\n" for _ in range(9)) + b"0\r\n\r\n",
                 half_close=True)
    case("a body too large, in chunks", b" 413 " in back[:30], back[:200])
    back = s.raw(b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", half_close=True)
    case("a line too long", back[:12] in (b"HTTP/1.1 414", b"HTTP/1.1 431", b""), back[:100])
    back = s.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %b\r\n" % (i, b"v" * 100) for i in range(2000)) + b"\r\n", half_close=True)
    case("headers too large", back[:12] in (b"HTTP/1.1 413", b"HTTP/1.1 431", b""), back[:100])
    back = s.raw(b"\x16\x03\x01\x02\x00\x01\x00" * 50, half_close=True)
    case("no HTTP at all", b" 200 " not in back[:20], back[:100])
    case("healthy after all that", s.get("/health")[0] == 200 and s.post(CHAT, user("abc", max_tokens=1))[0] == 200)


def access(m):
    with Server("-m", m, "--api-key", "first", env={"PACO_SERVE_API_KEY_FILE": save_keys()}) as s:
        status, r = s.get("/v1/models")
        case("no key", status == 401 and r["error"]["code"] == "invalid_api_key", r)
        for key, want in (("first", 200), ("second", 200), ("firs", 401), ("firstt", 401), ("", 401)):
            status, r = s.get("/v1/models", {"Authorization": "Bearer " + key})
            case("key '%s'" % key, status == want and (not key or key not in json.dumps(r)), r)
        case("health needs no key", s.get("/health")[0] == 200)
        case("the page needs no key", s.ask("GET", "/")[0] == 200)
        status, r = s.post(CHAT, b"x" * 100000)
        case("nobody without a key is listened to", status == 401, r)
    with Server("-m", m, "--cors", "https://pages.example") as s:
        status, headers, _ = s.ask("OPTIONS", CHAT, headers={"Origin": "https://pages.example", "Access-Control-Request-Method": "POST"})
        case("preflight", status == 204 and headers["Access-Control-Allow-Origin"] == "https://pages.example", (status, headers))
        status, headers, _ = s.ask("GET", "/v1/models", headers={"Origin": "https://pages.example"})
        case("an allowed origin", status == 200 and headers["Access-Control-Allow-Origin"] == "https://pages.example", headers)
        case("another origin", s.ask("GET", "/v1/models", headers={"Origin": "https://other.example"})[0] == 403)
    with Server("-m", m) as s:
        case("no origin by default", s.ask("GET", "/v1/models", headers={"Origin": "https://pages.example"})[0] == 403)
        own = "127.0.0.1:%d" % s.port
        case("but its own", s.ask("GET", "/v1/models", headers={"Origin": "http://" + own, "Host": own})[0] == 200)


def save_keys():
    path = work("keys")
    with open(path, "w") as f:
        f.write("second\n\nthird\n")
    return path


def addresses(m):
    path = work("socket")
    with Server("-m", m, "--host", "unix:" + path) as s:
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(path)
            c.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            case("a socket in the file system", b" 200 " in c.recv(1000))
        case("only its owner may connect", os.stat(path).st_mode & 0o777 == 0o600, oct(os.stat(path).st_mode))
        done = paco("serve", "-m", m, "--host", "unix:" + path)
        case("a socket in use", done.returncode == 1 and "a server is listening at" in done.stderr, done)
        case("it is removed in the end", s.end() == 0 and not os.path.exists(path))
    with Server("-m", m, "--host", "unix:" + path) as s:
        s.end(signal.SIGKILL)
    with Server("-m", m, "--host", "unix:" + path) as s:
        case("a socket left behind is replaced", s.end() == 0)
    with open(path, "w") as f:
        f.write("precious")
    done = paco("serve", "-m", m, "--host", "unix:" + path)
    with open(path) as f:
        case("a file is not", done.returncode == 1 and "no socket" in done.stderr and f.read() == "precious", done)
    with Server("-m", m) as s:
        done = paco("serve", "-m", m, "--port", s.port)
        case("a port in use", done.returncode == 1 and "port %d is in use by another program" % s.port in done.stderr, done)
    done = paco("serve", "-m", m, "--host", "192.0.2.1")
    case("no address of ours", done.returncode == 2 and "no address of this machine" in done.stderr, done)
    done = paco("serve", "-m", work("nothing"), "--port", 0)
    case("no model", done.returncode == 1 and "nothing" in done.stderr, done)


def certificate(name):
    """A new certificate and its key, at the same two places whenever it is called with the same name; whether there is one."""
    cert, key = work(name + ".pem"), work(name + "-key.pem")
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key, "-out", cert,
                           "-days", "2", "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], capture_output=True)
    return (cert, key) if case("a certificate for TLS", made.returncode == 0, made) else (None, None)


def handshake(s):
    """A connection over TLS, whatever certificate there is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection((s.host, s.port), 30))


def shown(s):
    """The certificate a new connection gets, as PEM."""
    with handshake(s) as c:
        return ssl.DER_cert_to_PEM_cert(c.getpeercert(True)).strip()


def text_of(path):
    with open(path) as f:
        return f.read().strip()


def tls(m):
    cert, key = certificate("cert")
    if not cert:
        return
    with Server("-m", m, "--tls-cert", cert, "--tls-key", key) as s:
        with socket.create_connection((s.host, s.port)) as plain:
            with ssl.create_default_context(cafile=cert).wrap_socket(plain, server_hostname="127.0.0.1") as c:
                c.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                case("TLS", b" 200 " in c.recv(1000))
        case("a draining server with TLS", s.end() == 0)
    done = paco("serve", "-m", m, "--tls-cert", cert, "--port", 0)
    case("a certificate alone", done.returncode == 2 and "belong together" in done.stderr, done)
    done = paco("serve", "-m", m, "--tls-cert", key, "--tls-key", cert, "--port", 0)
    case("the wrong way round", done.returncode == 2 and "certificate" in done.stderr, done)
    empty = write(work("empty.pem"), b"")
    done = paco("serve", "-m", m, "--tls-cert", empty, "--tls-key", empty, "--port", 0)
    case("an empty certificate is not a wish to go without", done.returncode == 2 and "certificate" in done.stderr, done)
    tls_reloaded(m, cert, key)


def tls_reloaded(m, cert, key):
    """Another certificate, while somebody holds a connection; then one that is none."""
    with Server("-m", m, "--tls-cert", cert, "--tls-key", key) as s:
        first = text_of(cert)
        case("the certificate", shown(s) == first)
        with handshake(s) as held:
            held.sendall(b"POST /v1/completions HTTP/1.0\r\nContent-Length: 64\r\n\r\n")  # its body comes later
            certificate("cert")
            s.process.send_signal(signal.SIGHUP)
            s.hear(": reloaded")
            second = text_of(cert)
            case("another one after a hang-up", shown(s) == second != first)
            held.sendall(json.dumps({"prompt": "abc", "max_tokens": 1}).encode().ljust(64))
            answer = b"".join(iter(lambda: held.recv(4096), b""))
            case("who was there before is answered", b" 200 " in answer and b"choices" in answer, answer)
            for bad in (b"none", b""):
                write(cert, bad)
                s.process.send_signal(signal.SIGHUP)
                line = s.hear("stays as it was")
                s.hear(": reloaded")
                case("%r is refused" % bad, "certificate" in line and shown(s) == second, line)
            certificate("cert")
            s.process.send_signal(signal.SIGHUP)
            s.hear(": reloaded")
            case("and a third one", shown(s) == text_of(cert) != second)
        case("it ends", s.end() == 0)


def company(m):
    """Each answer alone, then all at once: the same bytes."""
    asks = [{"prompt": "abcdefgh"[:1 + i % 8] + "xyz"[i % 3], "max_tokens": 20 + i, "temperature": (0, 1, 0.7)[i % 3], "seed": i, "n": 1 + i % 2,
             "logprobs": 2 if i % 4 == 0 else None, "echo": i % 5 == 0, "top_p": 0.9 if i % 2 else 1,
             "frequency_penalty": 0.5 if i % 7 == 0 else 0} for i in range(24)]
    with Server("-m", m, "--parallel", 5) as s:
        alone = [s.post(TEXT, a)[1]["choices"] for a in asks]
        got = [None] * len(asks)

        def ask(i):
            got[i] = s.post(TEXT, asks[i])[1]["choices"]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asks))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        case("the same bytes alone and in company", got == alone, next(((a, b) for a, b in zip(alone, got) if a != b), None))
        case("seeds tell answers apart", alone[1] != alone[4] and alone[1][0]["text"] != alone[1][1]["text"], alone[1])
        streamed = "".join(e["choices"][0]["text"] for e in s.stream(TEXT, {**asks[2], "n": 1}) if e != "[DONE]")
        case("a stream says the same", streamed == alone[2][0]["text"], streamed)


def vanishing(m):
    with Server("-m", m, "--parallel", 2, "--timeout", 30) as s:
        long = {"prompt": "abc", "max_tokens": 1000, "temperature": 1, "n": 8, "stream": True, "logit_bias": {"2": -100}}
        body = json.dumps(long).encode()
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (TEXT.encode(), len(body))
        for what, stream, close_first in (("mid-stream", True, False), ("while it waits", False, False), ("mid-stream", True, True),
                                          ("while it waits", False, True)):
            raw = json.dumps({**long, "n": 64, "stream": stream}).encode()
            c = socket.create_connection((s.host, s.port))
            c.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (TEXT.encode(), len(raw)) + raw)
            if stream:
                c.recv(100)
            until(lambda: s.metrics()["paco_requests_running"] > 0, 2)
            before = s.metrics()["paco_requests_cancelled_total"]
            if close_first:
                c.shutdown(socket.SHUT_WR)
                case("whoever closed a side only is there %s" % what, not until(lambda: s.metrics()["paco_requests_running"] == 0, .3), s.metrics())
            c.close()
            case("a client that vanishes %s ends its work%s" % (what, ", a side first" if close_first else ""), until(lambda: s.metrics()["paco_requests_running"] == 0) and
                 s.metrics()["paco_requests_cancelled_total"] == before + 1, s.metrics())
        cut = s.raw(head[:-10])
        case("half a head", cut == b"" or b"40" in cut[:20], cut[:50])
        c = socket.create_connection((s.host, s.port))
        c.sendall(head + body[:5])
        c.close()
        case("half a body", s.get("/health")[0] == 200)
        case("places that nothing came of are free again", until(lambda: s.metrics()["paco_connections"] == 1, 5), s.metrics())
        for version in (b"1.1", b"1.0"):  # behind a whole request a side may be closed; but in HTTP/1.0 nobody can ask who is still there
            for stream in (False, True):
                raw = json.dumps({"prompt": "abc", "max_tokens": 900, "temperature": 1, "logit_bias": {"2": -100}, "n": 4, "stream": stream}).encode()
                back = s.raw(b"POST %b HTTP/%b\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (TEXT.encode(), version, len(raw)) + raw, half_close=True)
                told = b"data: [DONE]" in back if stream else b'"completion_tokens":3600' in back
                case("a client that closed its side and reads: HTTP/%s%s" % (version.decode(), ", a stream" if stream else ""),
                     told or version == b"1.0" and not stream and b" 499 " in back[:15], (back[:80], back[-80:]))
        raw = json.dumps({"prompt": "abc", "max_tokens": 100, "temperature": 1, "logit_bias": {"2": -100}}).encode()
        whole = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (TEXT.encode(), len(raw)) + raw
        backs = []
        threads = [threading.Thread(target=lambda: backs.extend(s.raw(whole, half_close=True) for _ in range(10))) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        bad = [b for b in backs if b'"completion_tokens":100' not in b and b" 429 " not in b]
        case("many that closed a side", len(backs) == 60 and not bad, (len(bad), bad[:2]))
        slow = socket.create_connection((s.host, s.port))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(head + body)
        quick = s.post(TEXT, {"prompt": "a", "max_tokens": 5})
        case("one who does not read holds up nobody", quick[0] == 200)
        slow.close()
        case("healthy after that", until(lambda: s.metrics()["paco_requests_running"] == 0) and s.get("/health")[0] == 200)


def limits(m):
    with Server("-m", m, "--parallel", 1, "--queue", 4, "--timeout", 3) as s:
        results = []

        def ask(i):
            results.append(s.ask("POST", TEXT, json.dumps({"prompt": "abc" + "xyz"[i % 3], "max_tokens": 1000, "temperature": 1,
                                                           "logit_bias": {"2": -100}}).encode()))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        by = {}
        for status, headers, raw in results:
            by.setdefault(status, []).append((headers, json.loads(raw)))
        case("a full queue says come again", 429 in by and all(1 <= int(h["Retry-After"]) <= 30 for h, _ in by[429]) and
             by[429][0][1]["error"]["type"] == "rate_limit_error", {k: len(v) for k, v in by.items()})
        case("the others are answered, or told that it took too long", set(by) <= {200, 429, 503, 504}, {k: len(v) for k, v in by.items()})
    with Server("-m", m, "--timeout", 0.2) as s:
        status, r = s.post(TEXT, {"prompt": ["abc" + chr(97 + i % 26) for i in range(200)], "max_tokens": 1000, "temperature": 1,
                                  "logit_bias": {"2": -100}})
        case("a deadline", status == 504 and r["error"]["type"] == "timeout_error", r)
        events = list(s.stream(TEXT, {"prompt": ["abc"] * 100, "max_tokens": 1000, "temperature": 1, "logit_bias": {"2": -100}}))
        case("a deadline in a stream", events[-1] == "[DONE]" and events[-2].get("error", {}).get("type") == "timeout_error", events[-2:])
        case("healthy after that", s.post(TEXT, {"prompt": "a", "max_tokens": 2})[0] == 200)


def endings(m):
    with Server("-m", m, "--parallel", 2) as s:
        got = []
        t = threading.Thread(target=lambda: got.append(s.post(TEXT, {"prompt": "abc", "max_tokens": 800, "temperature": 0, "logit_bias": {"2": -100}})))
        t.start()
        until(lambda: s.metrics()["paco_requests_running"] > 0)
        code = s.end()
        t.join()
        case("SIGTERM finishes what is under way", code == 0 and got[0][0] == 200 and got[0][1]["usage"]["completion_tokens"] == 800, (code, got))
    with Server("-m", m, "--parallel", 1) as s:
        threads = [threading.Thread(target=lambda: swallow(s)) for _ in range(3)]
        for t in threads:
            t.start()
        until(lambda: s.metrics()["paco_requests_waiting"] > 0)
        s.process.send_signal(signal.SIGINT)
        until(lambda: not listens(s))
        case("a draining server takes nothing new", not listens(s))
        code = s.end(signal.SIGINT)
        case("a second signal ends it", code == -signal.SIGINT, code)
        for t in threads:
            t.join()
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server("-m", m) as s:
            idle = s.connect()
            idle.request("GET", "/health")
            idle.getresponse().read()
            case("an idle server ends at once", s.end(number) == 0)


def swallow(s):
    try:
        s.post(TEXT, {"prompt": "abc", "max_tokens": 1000, "temperature": 0, "n": 16, "logit_bias": {"2": -100}})
    except OSError:
        pass
    except Exception:  # the server went away in the middle
        pass


def listens(s):
    try:
        socket.create_connection((s.host, s.port), 1).close()
        return True
    except OSError:
        return False


def connections(m):
    with Server("-m", m) as s:
        s.get("/health")
        before = s.rss()
        for _ in range(300 if SANITIZED else 2000):
            socket.create_connection((s.host, s.port)).close()
        case("connections opened and dropped", s.get("/health")[0] == 200 and s.rss() < before + (4 << 20), (before, s.rss()))
        held = []
        try:
            for _ in range(600):
                held.append(socket.create_connection((s.host, s.port), 2))
        except OSError:
            pass
        for c in held:
            c.close()
        case("more of them than are allowed", until(lambda: s.get("/health")[0] == 200))


def scored(m):
    """paco eval through the server, and in its own process: the same items."""
    data = os.environ.get("PACO_DATA", "../shared/data")
    if not os.path.isdir(os.path.join(data, "eval", "gsm")) and not os.path.isdir(os.path.join(data, "gsm")):
        print("ok - paco eval through the server # SKIP no evaluation data: set PACO_DATA")
        return
    more = ["gsm_cot", "--data", data, "--limit", "6", "-q"]
    with Server("-m", m, "--alias", "babbler") as s:
        inside = paco("eval", *more, "-m", m, "--no_chat_format", "--out", work("inside"), timeout=120)
        outside = paco("eval", *more, "--api", "http://127.0.0.1:%d/v1" % s.port, "--model", "babbler", "--out", work("outside"), timeout=120)
        items = [open(work(side, "gsm_cot", "items.jsonl"), "rb").read() if d.returncode == 0 else b""
                 for side, d in (("inside", inside), ("outside", outside))]
        case("paco eval through the server: the same items", items[0] == items[1] != b"", (inside, outside, items[0][:300], items[1][:300]))
        if not os.path.isdir(os.path.join(data, "eval", "mmlu")) and not os.path.isdir(os.path.join(data, "mmlu")):
            print("ok - multiple choice through the server # SKIP no MMLU: set PACO_DATA")
            return
        more = ["mmlu_0shot", "--data", data, "--subjects", "anatomy", "--limit", "6", "-q"]
        inside = paco("eval", *more, "-m", m, "--no_chat_format", "--out", work("inside"), timeout=120)
        outside = paco("eval", *more, "--api", "http://127.0.0.1:%d/v1" % s.port, "--model", "babbler", "--out", work("outside"), timeout=120)
        items = [[json.loads(l) for l in open(work(side, "mmlu_0shot", "items.jsonl"))] if d.returncode == 0 else []
                 for side, d in (("inside", inside), ("outside", outside))]
        for item in items[0] + items[1]:
            item.pop("n_output_tokens")  # a server must say one to be asked
        near = [abs(p - q) < 1e-5 for a, b in zip(*items) for p, q in zip(a.pop("probs"), b.pop("probs"))]
        case("multiple choice through the server: the same items, probabilities to the last digits",
             len(near) == 24 and all(near) and items[0] == items[1], (inside, outside, items))


def main():
    counts = model("counts")
    with Server("-m", counts) as s:
        routes(s)
        answers(s)
        logprobs(s)
        streams(s)
        embeddings(s)
        refusals(s)
    access(counts)
    addresses(counts)
    tls(counts)
    connections(counts)
    m = babbler()
    company(m)
    vanishing(m)
    limits(m)
    endings(m)
    scored(babbler(8192))
    finish()


main()
