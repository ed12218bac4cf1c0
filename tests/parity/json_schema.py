# SPDX-License-Identifier: Apache-2.0
"""Answers of a schema, against Python's jsonschema: what the grammar allows is valid, drawn at random from its bytes and from a model
at a high temperature through paco serve; and what is valid, written in the order of the schema, the grammar allows. On schemas from
real life and on random ones. PACO_SCHEMA_ROUNDS: how many of these. Stack: clients."""
import datetime
import fractions
import ipaddress
import itertools
import json
import os
import random
import re
import subprocess
import sys
import uuid

import jsonschema

from common import ROOT, binary, case, expect, finish, note
from json_schemas import REAL, REFUSED

os.environ.setdefault("PACO", str(binary()))
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from serving import Server  # noqa: E402
from tiny import config, llama, save, work  # noqa: E402

ROUNDS = int(os.environ.get("PACO_SCHEMA_ROUNDS", "1500"))
checker = jsonschema.FormatChecker(formats=[])
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
checks = {
    "date-time": lambda s: datetime.datetime.fromisoformat(s).tzinfo is not None and "T" in s,
    "date": lambda s: len(s) == 10 and datetime.date.fromisoformat(s), "time": lambda s: datetime.time.fromisoformat(s).tzinfo is not None,
    "duration": lambda s: re.fullmatch(r"P(?!$)((\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?|\d+W)", s),
    "email": lambda s: re.fullmatch(r"[^@\s.]+(\.[^@\s.]+)*@%s(\.%s)+" % (LABEL, LABEL), s, re.A),
    "hostname": lambda s: re.fullmatch(r"%s(\.%s)*" % (LABEL, LABEL), s, re.A),
    "ipv4": ipaddress.IPv4Address, "ipv6": ipaddress.IPv6Address, "uuid": lambda s: re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", s),
}
for name, check in checks.items():
    checker.checks(name, raises=ValueError)(lambda s, check=check: not isinstance(s, str) or bool(check(s)))


def step(validator, of, value, schema):
    """multipleOf as it is meant: of decimals, not of what doubles make of them."""
    if validator.is_type(value, "number") and fractions.Fraction(str(value)) % fractions.Fraction(str(of)):
        yield jsonschema.ValidationError("%r is no multiple of %r" % (value, of))


BASE = jsonschema.Draft202012Validator
Validator = jsonschema.validators.extend(BASE, {"multipleOf": step, "oneOf": BASE.VALIDATORS["anyOf"]})


def closed(schema):
    """The schema with what is our own rule: no other properties where some are named."""
    if isinstance(schema, list):
        return [closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {k: closed(v) if k not in ("enum", "const", "default", "required") else v for k, v in schema.items()}
    if isinstance(out.get("items"), list):
        out["prefixItems"] = out.pop("items")
        out["items"] = out.pop("additionalItems", True)
    return out


def is_valid(schema, value):
    return Validator(closed(schema), format_checker=checker).is_valid(value)


class Forms:
    """The grammar's side: tests/parity/json_forms.c."""

    def __init__(self):
        self.process = subprocess.Popen([ROOT / "build" / "tests" / "parity" / "json_forms"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, schema=None, documents=(), samples=0, seed=1, regex=None):
        asked = {"seed": seed, "samples": samples, "documents": list(documents), **({"regex": regex} if regex else {"schema": schema})}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def texts(documents, schema):
    """In three styles; what a schema lists has one."""
    styles = [{"separators": (",", ":")}] + [{}, {"indent": 2}] * (not re.search(r'"(enum|const)": \[?[\[{]', json.dumps(schema)))
    return [json.dumps(d, ensure_ascii=False, **style) for d in documents for style in styles]


def hold(forms, schema, seed, documents=(), samples=12):
    """What is wrong with a schema's answers, or None; and what came back."""
    got = forms.ask(schema, texts(documents, schema), samples, seed)
    if "error" in got:
        return got["error"], got
    for s in got["samples"]:
        try:
            value = json.loads(s)
        except ValueError:
            return "drawn, and no JSON: %r" % s, got
        if not is_valid(schema, value):
            return "drawn, and not valid: %s" % s, got
    for t, fits in zip(texts(documents, schema), got["verdicts"]):
        if not fits:
            return "valid, and not allowed: %s" % t, got
    return None, got


# ---- random ones ----

PATTERNS = ["^a", "b$", "^[a-c]{1,3}$", "a|b", "^(ab)*$", "[^a]", "^.?b", "^\\w+-\\d{2}$", "^(?!a)", "a{2}", "^[^ ]*$", "^$|^c"]
NAMES = ["a", "b", "ab", "name", "x y", "é"]


def pick_number(r):
    return r.choice([0, 1, -1, 5, 10, 100, -7, 0.5, -2.25, 99.9, 1e3, 12345678, r.randint(-50, 50), round(r.uniform(-9, 9), r.randint(0, 4))])


def random_schema(r, depth, defs=True):
    if depth <= 0 or r.random() < 0.15:
        return r.choice([True, {}, {"type": "string"}, {"type": "integer"}, {"type": "null"}, {"const": r.choice([1, "a", None, [1], {"a": 1}])}, {"type": "boolean"}])
    kind = r.random()
    if kind < 0.16:
        s = {"type": "string"} if r.random() < 0.8 else {}
        if r.random() < 0.7:
            s["pattern"] = r.choice(PATTERNS)
        if r.random() < 0.3:
            s["minLength"] = r.randint(0, 3)
        if r.random() < 0.3:
            s["maxLength"] = r.randint(3, 6)
        return s
    if kind < 0.34:
        s = {"type": r.choice(["integer", "number"])}
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if r.random() < 0.35:
                s[key] = pick_number(r)
        if r.random() < 0.2:
            s["multipleOf"] = r.choice([2, 3, 0.5, 0.01, 7, 2.5])
        return s
    if kind < 0.42:
        s = {"enum": r.sample([1, 2, -3, "a", "b", "ab", "", None, True, 0.5], r.randint(1, 5))}
        if r.random() < 0.4:
            s["type"] = r.choice(["string", "integer", ["null", "string"], "number"])
        if r.random() < 0.2:
            s["minimum"] = 0
        return s
    if kind < 0.5:
        return {"type": "string", "format": r.choice(list(checks))}
    if kind < 0.64:
        s = {"type": "array"}
        if r.random() < 0.7:
            s["items"] = random_schema(r, depth - 1, defs)
        if r.random() < 0.3:
            s["prefixItems"] = [random_schema(r, depth - 1, defs) for _ in range(r.randint(1, 3))]
        if r.random() < 0.4:
            s["minItems"] = r.randint(0, 3)
        if r.random() < 0.4:
            s["maxItems"] = r.randint(2, 4)
        return s
    if kind < 0.84:
        s = {"type": "object"}
        names = r.sample(NAMES, r.randint(0, 4))
        if names and r.random() < 0.9:
            s["properties"] = {n: random_schema(r, depth - 1, defs) for n in names}
        if r.random() < 0.5:
            s["required"] = r.sample(names + ["z"], r.randint(0, len(names)))
        if r.random() < 0.5:
            s["additionalProperties"] = r.choice([False, True, random_schema(r, depth - 1, defs)])
        if r.random() < 0.15:
            s["patternProperties"] = {p: random_schema(r, depth - 1, defs) for p in r.sample(["^a", "b$", "^x_"], r.randint(1, 2))}
        if r.random() < 0.1:
            s["propertyNames"] = r.choice([{"pattern": "^[a-z_ ]*$"}, {"maxLength": 4}, {"enum": ["a", "b", "zz"]}])
        return s
    key = r.choice(["anyOf", "allOf", "anyOf", "oneOf"])
    s = {key: [random_schema(r, depth - 1, defs) for _ in range(r.randint(1, 3))]}
    if r.random() < 0.4:
        beside = random_schema(r, depth - 1, defs)
        s.update(beside if isinstance(beside, dict) and r.random() < 0.5 else {"type": r.choice(["string", "object", "number", ["array", "integer"]])})
    if defs and r.random() < 0.3:
        s[key].append({"$ref": "#/$defs/d"})
    return s


def random_value(r, depth):
    kind = r.random()
    if depth <= 0 or kind < 0.6:
        x = pick_number(r)
        return r.choice([None, True, False, int(x) if x == int(x) else x, r.randint(-20, 200), "", "a", "b", "ab", "c", "aab", "x-12", "é", "2024-01-31", "a@b.cd",
                         "10:00:00Z", "P1D", "192.0.2.1", "::1"])
    if kind < 0.78:
        return [random_value(r, depth - 1) for _ in range(r.randint(0, 4))]
    return {n: random_value(r, depth - 1) for n in NAMES + ["z", "ax", "x_"] if r.random() < 0.3}


def has(schema, keys):
    if isinstance(schema, list):
        return any(has(s, keys) for s in schema)
    return isinstance(schema, dict) and (any(k in schema for k in keys) or any(has(v, keys) for v in schema.values()))


def in_order(schema, value):
    """Whether a document is one that is written as ours are: only for schemas without choices, whose properties have one order."""
    if has(schema, ("anyOf", "oneOf", "allOf", "$ref", "patternProperties", "propertyNames")):
        return False
    if isinstance(schema, dict) and "type" not in schema and has([schema], ("pattern", "minLength", "maxLength")) and not isinstance(value, str):
        return False  # keywords say which type is meant
    if isinstance(value, list) and isinstance(schema, dict):
        prefix = schema.get("prefixItems", [])
        return (len(value) >= min(len(prefix), schema.get("maxItems", 99)) and (not prefix or "items" in schema or len(value) <= max(len(prefix), schema.get("minItems", 0))) and
                all(in_order(s, v) for s, v in zip(itertools.chain(prefix, itertools.repeat(schema.get("items", True))), value)))
    if isinstance(value, dict) and isinstance(schema, dict):
        if "enum" in schema or "const" in schema:
            return True
        names = list(schema.get("properties", {})) + [n for n in schema.get("required", []) if n not in schema.get("properties", {})]
        mine = [n for n in value if n in names]
        others = [n for n in value if n not in names]
        if list(value) != mine + others or mine != [n for n in names if n in value] or (names and others and "additionalProperties" not in schema):
            return False
        return all(in_order(schema.get("properties", {}).get(n, schema.get("additionalProperties", True)), v) for n, v in value.items())
    return True


def random_round(forms, seed):
    r = random.Random(seed)
    schema = random_schema(r, 3)
    if schema is True:
        return "plain"
    schema = {**schema, "$defs": {"d": random_schema(r, 2, defs=False)}}
    plain = {k: v for k, v in schema.items() if k != "$defs"}
    documents = []
    for _ in range(150):
        value = random_value(r, 2)
        if is_valid(schema, value) and in_order(plain, value):
            documents.append(value)
    wrong, got = hold(forms, schema, seed, documents[:20])
    if "error" in got:
        known = re.search("nothing has this form|refers to itself|ways open|cannot stand beside|more than \"|digits must|is not possible", got["error"])
        expect(known, "%s: %s" % (json.dumps(schema), got["error"]))
        expect(not documents or "nothing has" not in got["error"], "%s allows %r" % (json.dumps(schema), documents[:1]))
        return "refused"
    expect(wrong is None, "%s: %s" % (json.dumps(schema), wrong))
    return "drawn" if got["samples"] else "cut"


def patterns(forms):
    """Patterns against re: the texts of a small alphabet up to six letters, each."""
    r = random.Random(5)

    def make(depth):
        kind = r.random()
        if depth == 0 or kind < 0.35:
            return r.choice(["a", "b", "-", "[ab]", "[^a]", ".", "\\w", "\\d", "[a-]", "\\-", "(?:)"])
        if kind < 0.6:
            return make(depth - 1) + make(depth - 1)
        if kind < 0.75:
            return "(%s|%s)" % (make(depth - 1), make(depth - 1))
        if kind < 0.9:
            return "(?:%s)%s" % (make(depth - 1), r.choice(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "{0}"]))
        return r.choice(["^%s", "%s$", "(^%s)", "(?:%s$|b)", "^(?!a)%s" if depth == 4 else "%s"]) % make(depth - 1)

    words = ["".join(w) for n in range(5) for w in itertools.product("ab-1", repeat=n)]
    for _ in range(400):
        pattern = make(4)
        got = forms.ask({"type": "string", "pattern": pattern}, ['"%s"' % w for w in words])
        found = [bool(re.search(pattern, w, re.A)) for w in words]
        if "error" in got:
            expect("nothing has" in got["error"] and not any(found) or "lookahead" in got["error"], "%s: %s" % (pattern, got["error"]))
            continue
        for w, fits, want in zip(words, got["verdicts"], found):
            expect(fits == want, "%s and %r: %s" % (pattern, w, fits))


def babbler():
    """A model that says something else each time, over a vocabulary that has every byte."""
    with open(ROOT / "tests" / "fixtures" / "tokenizer" / "llama3.json") as f:
        tokenizer = json.load(f)
    cfg = dict(config(vocab=301, hidden=64, layers=2, heads=2, kv_heads=1, ff=128), max_position_embeddings=2048, bos_token_id=0, eos_token_id=1)
    return save(work("babbler"), llama(cfg, spread=0.3), cfg, {"tokenizer.json": tokenizer, "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>"}})


def served():
    """A model that says something else each time, at its wildest: what ends by itself is valid, what is cut says so."""
    ended = cut = 0
    with Server("-m", babbler()) as s:
        for i, (name, (schema, _)) in enumerate(REAL.items()):
            for seed in range(3):
                status, r = s.post("/v1/completions", {"prompt": "Once", "temperature": 2, "seed": seed + i, "max_tokens": 300, "response_format": {
                    "type": "json_schema", "json_schema": {"name": "it", "schema": schema}}})
                expect(status == 200, "%s: %s" % (name, r))
                c = r["choices"][0]
                if c["finish_reason"] == "length":
                    cut += 1
                    continue
                ended += 1
                expect(is_valid(schema, json.loads(c["text"])), "%s: %s" % (name, c["text"]))
    note("%d answers ended, %d were cut" % (ended, cut))
    expect(ended > 10, "only %d answers ended" % ended)


def main():
    forms = Forms()
    for i, (name, (schema, documents)) in enumerate(REAL.items()):
        with case("schema: " + name):
            for d in documents:
                expect(is_valid(schema, d), "the test's own document is not valid: %r" % (d,))
            wrong, got = hold(forms, schema, i, documents, 60)
            expect(wrong is None, wrong)
            expect(len(got["samples"]) > 0, "nothing was drawn")
    for words, schema in REFUSED.items():
        with case("refused: " + words):
            got = forms.ask(schema)
            expect(re.search(words, got.get("error", "")), str(got))
    with case("patterns"):
        patterns(forms)
    with case("%d random schemas" % ROUNDS):
        counts = {}
        for seed in range(ROUNDS):
            what = random_round(forms, seed)
            counts[what] = counts.get(what, 0) + 1
        note(str(counts))
        expect(counts.get("drawn", 0) > ROUNDS // 2, str(counts))
    with case("a model's answers"):
        served()


main()
finish()
