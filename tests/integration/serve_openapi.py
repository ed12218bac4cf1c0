#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document that paco serve hands out says what paco serve does: its paths are the routes, its fields those that are
read, and every answer is as it describes them."""
import json
import os
import re

from counting import model
from serving import Server
from tiny import case, finish

SOURCE = os.path.join("src", "serve")


def read(*parts):
    with open(os.path.join(SOURCE, *parts), encoding="utf-8") as f:
        return f.read()


def routes():
    found = set()
    for method, path, prefix in re.findall(r'\{"(GET|POST)", "([^"]+)", (true|false),', read("routes.c")):
        found.add((method.lower(), path + ("{model}" if prefix == "true" else "")))
    return found


def fields(*files):
    text = "".join(map(read, files))
    ways = (r'\{"(\w+)", (?:SCHEMA|REGEX|CHOICE|ANY_OBJECT)\}', r'pc_field(?:_\w+)?\(&?\w+, "(\w+)"', r'json_object_get\(\w+, "(\w+)"\)', r'pc_call_read_prompts\(c, &?\w+, "(\w+)"\)')
    return {key for way in ways for key in re.findall(way, text)}


class Checker:
    def __init__(self, doc):
        self.doc, self.wrong = doc, []

    def resolve(self, schema):
        return self.doc["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema

    def fits(self, schema, value):
        before, self.wrong = self.wrong, []
        self.check(schema, value, "")
        ok, self.wrong = not self.wrong, before
        return ok

    def check(self, schema, value, at):
        nullable = schema.get("nullable", False)
        schema = self.resolve(schema)
        if value is None:
            if not (nullable or schema.get("nullable")):
                self.wrong.append(at + " is null")
            return
        if "oneOf" in schema:
            if not any(self.fits(s, value) for s in schema["oneOf"]):
                self.wrong.append("%s fits none: %r" % (at, value))
            return
        kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
        if not isinstance(value, kinds[schema.get("type", "object")]) or isinstance(value, bool) != (schema.get("type") == "boolean"):
            self.wrong.append("%s is %r, no %s" % (at, value, schema.get("type")))
        elif "enum" in schema and value not in schema["enum"]:
            self.wrong.append("%s is %r" % (at, value))
        elif isinstance(value, list):
            for i, v in enumerate(value):
                self.check(schema.get("items", {}), v, "%s[%d]" % (at, i))
        elif isinstance(value, dict):
            self.check_object(schema, value, at)

    def check_object(self, schema, value, at):
        known = schema.get("properties", {})
        more = schema.get("additionalProperties")
        for key in schema.get("required", []):
            if key not in value:
                self.wrong.append("%s has no %s" % (at, key))
        for key, v in value.items():
            if key in known:
                self.check(known[key], v, at + "." + key)
            elif isinstance(more, dict):
                self.check(more, v, at + "." + key)
            elif known:
                self.wrong.append("%s has %s, which is not described" % (at, key))


def responses(doc, s):
    c = Checker(doc)

    def same(what, path, method, status, value, kind="application/json"):
        described = doc["paths"][path][method]["responses"][str(status)]["content"][kind]["schema"]
        c.wrong = []
        c.check(described, value, "")
        case("%s: as described" % what, not c.wrong, (c.wrong[:5], value))

    chat = {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 3, "logprobs": True, "top_logprobs": 2}
    text = {"prompt": "abc", "max_tokens": 3, "logprobs": 2, "echo": True, "n": 2}
    for what, path, body in (("a chat", "/v1/chat/completions", chat), ("a completion", "/v1/completions", text),
                             ("a plain completion", "/v1/completions", {"prompt": "a"}), ("embeddings", "/v1/embeddings", {"input": "abc"}),
                             ("packed embeddings", "/v1/embeddings", {"input": "abc", "encoding_format": "base64"}),
                             ("ids", "/tokenize", {"content": "abc"}), ("text", "/detokenize", {"tokens": [5, 6]}),
                             ("a refusal", "/v1/chat/completions", {}), ("an unknown model", "/v1/completions", {"model": "x", "prompt": "a"})):
        status, value = s.post(path, body)
        same(what, path, "post", status, value)
    for path, asked in (("/health", None), ("/props", None), ("/v1/models", None), ("/v1/models/{model}", "/v1/models/counts")):
        status, value = s.get(asked or path)
        same(path, path, "get", status, value)
    for path, body in (("/v1/chat/completions", chat), ("/v1/completions", text)):
        events = list(s.stream(path, {**body, "stream_options": {"include_usage": True}}))
        c.wrong = []
        for e in events[:-1]:
            c.check(doc["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"], e, "")
        case("chunks of %s: as described" % path, not c.wrong and len(events) > 4, (c.wrong[:5], events[:3]))


def main():
    with Server("-m", model("counts")) as s:
        status, doc = s.get("/openapi.json")
        case("it is handed out, as it is in the tree", status == 200 and doc == json.loads(read("openapi.json")), status)
        described = {(method, path) for path, item in doc["paths"].items() for method in item if method in ("get", "post")}
        case("its paths are the routes", described == routes(), described ^ routes())
        schemas = doc["components"]["schemas"]
        known = set()
        for name in ("ChatRequest", "CompletionRequest", "EmbeddingRequest", "TokenizeRequest", "DetokenizeRequest"):
            known |= set(schemas[name]["properties"])
        chat = schemas["ChatRequest"]["properties"]
        for inner in (schemas["Message"], chat["stream_options"], chat["response_format"], chat["structured_outputs"]):
            known |= set(inner["properties"])
        known |= {"text", "dimensions", "schema"}  # of a content's part; refused; of a form
        asked = fields("call.c", "call_form.c", "call_prompt.c", "routes.c") | {"prompt"}
        case("its fields are those that are read", known - {"user"} == asked, (known - {"user"}) ^ asked)
        responses(doc, s)
    finish()


main()
