# SPDX-License-Identifier: Apache-2.0
"""Schemas as people send them, each with documents that it allows, in the order of its properties: what Pydantic and zod make of
models, OpenAI's examples of structured outputs, and what editors and hand-written tools have."""

STR, INT, NUM, BOOL, NULL = ({"type": t} for t in ("string", "integer", "number", "boolean", "null"))


def obj(properties, required=None, **more):
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required,
            "additionalProperties": False, **more}


def arr(items, **more):
    return {"type": "array", "items": items, **more}


def ref(name):
    return {"$ref": "#/$defs/" + name}


def either(*branches, **more):
    return {"anyOf": list(branches), **more}


def text(**more):
    return {"type": "string", **more}


STEP = obj({"explanation": STR, "output": STR})
ZOD_EMAIL = (r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$")

REAL = {
    # OpenAI's guide
    "steps": (obj({"steps": arr(STEP), "final_answer": STR}), [{"steps": [{"explanation": "a", "output": "b"}], "final_answer": "x = 1"}]),
    "calendar": (obj({"name": STR, "date": STR, "participants": arr(STR)}), [{"name": "Fair", "date": "Friday", "participants": ["A", "B"]}]),
    "paper": (obj({"title": STR, "authors": arr(STR), "abstract": STR, "keywords": arr(STR)}),
              [{"title": "t", "authors": [], "abstract": "", "keywords": ["k"]}]),
    "interface": (obj({"type": text(enum=["div", "button", "header"]), "label": STR, "children": arr({"$ref": "#"}),
                       "attributes": arr(obj({"name": STR, "value": STR}))}),
                  [{"type": "div", "label": "", "children": [{"type": "button", "label": "b", "children": [], "attributes": []}], "attributes": []}]),
    "moderation": (obj({"is_violating": BOOL, "category": {"type": ["string", "null"], "enum": ["violence", "sexual", "self_harm", None]},
                        "explanation_if_violating": {"type": ["string", "null"]}}),
                   [{"is_violating": True, "category": "violence", "explanation_if_violating": "why"},
                    {"is_violating": False, "category": None, "explanation_if_violating": None}]),
    "user with limits": (obj({"name": text(description="The user's name"), "username": text(pattern="^@[a-zA-Z0-9_]+$"),
                              "email": text(pattern=r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$")}),
                         [{"name": "J", "username": "@j_1", "email": "a.b+c@ex-ample.co.uk"}]),
    "weather with limits": (obj({"location": STR, "unit": {"type": ["string", "null"], "enum": ["F", "C", None]}, "value": {
        "type": "number", "minimum": -130, "maximum": 130}}), [{"location": "B", "unit": None, "value": -12.5}, {"location": "", "unit": "C", "value": 130}]),
    "address or user": (obj({"item": either(obj({"name": STR, "age": INT}), obj({"number": STR, "street": STR, "city": STR}))}),
                        [{"item": {"name": "A", "age": 3}}, {"item": {"number": "1", "street": "s", "city": "c"}}]),
    "linked list": ({**obj({"linked_list": ref("node")}), "$defs": {"node": obj({"value": NUM, "next": either(ref("node"), NULL)})}},
                    [{"linked_list": {"value": 1, "next": {"value": 2.5, "next": None}}}]),
    # Pydantic
    "optional fields": ({"title": "User", "type": "object", "properties": {
        "id": {"title": "Id", "type": "integer"}, "name": {"title": "Name", "type": "string", "default": "x"},
        "email": {"title": "Email", "anyOf": [text(format="email"), NULL], "default": None}}, "required": ["id"]},
        [{"id": 1}, {"id": 2, "name": "n"}, {"id": 3, "email": None}, {"id": 4, "name": "n", "email": "a@b.example"}]),
    "constrained numbers": ({"type": "object", "title": "Item", "properties": {
        "price": {"exclusiveMinimum": 0, "title": "Price", "type": "number"}, "stars": {"maximum": 5, "minimum": 1, "type": "integer"},
        "share": {"type": "number", "minimum": 0.0, "maximum": 1.0}, "even": {"multipleOf": 2, "type": "integer"}},
        "required": ["price", "stars", "share", "even"]},
        [{"price": 0.01, "stars": 5, "share": 0.25, "even": -4}, {"price": 1200, "stars": 1, "share": 1, "even": 0}]),
    "enum classes": ({"$defs": {"Colour": {"enum": ["red", "green"], "title": "Colour", "type": "string"}, "Level": {"enum": [1, 2, 3], "type": "integer"}},
                      "properties": {"colour": ref("Colour"), "level": {"$ref": "#/$defs/Level", "default": 1}}, "required": ["colour"],
                      "title": "Model", "type": "object"}, [{"colour": "red"}, {"colour": "green", "level": 3}]),
    "allOf of one": ({"definitions": {"A": obj({"x": INT})}, "type": "object", "properties": {
        "a": {"title": "A", "allOf": [{"$ref": "#/definitions/A"}]}}, "required": ["a"]}, [{"a": {"x": 1}}]),
    "discriminated": ({"$defs": {"Cat": obj({"kind": {"const": "cat", "type": "string"}, "lives": INT}), "Dog": obj({"kind": {"const": "dog"}, "barks": BOOL})},
                       "properties": {"pet": {"discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"},
                                              "oneOf": [ref("Cat"), ref("Dog")]}}, "required": ["pet"], "type": "object"},
                      [{"pet": {"kind": "cat", "lives": 9}}, {"pet": {"kind": "dog", "barks": False}}]),
    "dictionary": ({"type": "object", "properties": {"scores": {"additionalProperties": {"type": "integer"}, "type": "object"}}, "required": ["scores"]},
                   [{"scores": {}}, {"scores": {"a": 1, "b c": 2}}]),
    "dictionary of names": ({"patternProperties": {"^[a-z_]+$": STR}, "type": "object", "additionalProperties": False}, [{}, {"a_b": "x", "c": ""}]),
    "extra allowed": ({"additionalProperties": True, "properties": {"id": INT}, "required": ["id"], "type": "object"},
                      [{"id": 1}, {"id": 2, "idx": "x", "i": [1, {}]}]),
    "tuple": ({"maxItems": 2, "minItems": 2, "prefixItems": [NUM, STR], "type": "array"}, [[1.5, "x"]]),
    "dates": ({"type": "object", "properties": {"at": text(format="date-time"), "on": text(format="date"), "time": text(format="time"),
                                                "took": text(format="duration"), "who": text(format="uuid")}, "required": ["at", "on", "time", "took", "who"]},
              [{"at": "2024-02-29T23:59:59.5Z", "on": "2000-02-29", "time": "00:00:00+02:00", "took": "P1DT12H", "who":
                "123e4567-e89b-12d3-a456-426614174000"}]),
    "network": ({"type": "object", "properties": {"v4": text(format="ipv4"), "v6": text(format="ipv6"), "host": text(format="hostname")},
                 "required": ["v4", "v6", "host"]}, [{"v4": "192.0.2.255", "v6": "2001:db8::1", "host": "www.example.com"},
                                                     {"v4": "0.0.0.0", "v6": "::", "host": "localhost"}]),
    "lengths": (obj({"code": text(minLength=3, maxLength=3), "tags": arr(text(maxLength=8), minItems=1, maxItems=4)}),
                [{"code": "abc", "tags": ["x"]}, {"code": "é中\U0001f600", "tags": ["12345678", ""]}]),
    "tree": ({"$defs": {"Node": {"properties": {"name": STR, "children": arr(ref("Node"), default=[])}, "required": ["name"], "type": "object"}},
              "$ref": "#/$defs/Node"}, [{"name": "r"}, {"name": "r", "children": [{"name": "a", "children": []}]}]),
    "any value": ({"properties": {"data": {"title": "Data"}, "meta": {"type": "object"}}, "required": ["data"], "type": "object"},
                  [{"data": [1, {"a": None}]}, {"data": "x", "meta": {"y": [[]]}}]),
    "pattern and length": (obj({"sku": text(pattern="^[A-Z]{2}-\\d+$", minLength=5, maxLength=8)}), [{"sku": "AB-12"}, {"sku": "ZZ-12345"}]),
    # zod
    "zod object": ({"$schema": "https://json-schema.org/draft/2020-12/schema", **obj({
        "id": text(format="uuid", pattern="^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-0000-0000-0000-"
                   "000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$"),
        "age": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991},
        "email": text(format="email", pattern=ZOD_EMAIL)})},
        [{"id": "123e4567-e89b-42d3-a456-426614174000", "age": 30, "email": "a.b@c.example"}]),
    "zod ints": (obj({"i": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991}, "n": {"type": "integer", "minimum": 0}}),
                 [{"i": -9007199254740991, "n": 0}, {"i": 12, "n": 123456789}]),
    "zod record": (obj({"r": {"type": "object", "propertyNames": STR, "additionalProperties": NUM}}), [{"r": {"a": 1, "b": 2.5}}, {"r": {}}]),
    "zod record of an enum": ({"type": "object", "propertyNames": text(enum=["a", "bc"]), "additionalProperties": BOOL}, [{}, {"bc": True, "a": False}]),
    "zod union": ({"type": "array", "items": either(STR, NUM, obj({"k": {"const": 1}}))}, [["a", 1, {"k": 1}], []]),
    "zod intersection": ({"allOf": [{"type": "object", "properties": {"a": STR}, "required": ["a"]},
                                    {"type": "object", "properties": {"b": INT}, "required": ["b"]}]}, [{"a": "x", "b": 1}]),
    "zod reference by path": (obj({"a": obj({"x": INT}), "b": {"$ref": "#/properties/a"}}), [{"a": {"x": 1}, "b": {"x": 2}}]),
    "zod literals": (obj({"v": {"enum": [1, "one", None, True]}}), [{"v": 1}, {"v": "one"}, {"v": None}, {"v": True}]),
    "zod starts with": (obj({"url": text(pattern="^https?:\\/\\/.*"), "has": text(pattern="@")}), [{"url": "http://x/ y", "has": "a@b"}]),
    # by hand
    "enum of objects": ({"enum": [{"a": [1, 2]}, [], "x"]}, ["x", [], {"a": [1, 2]}]),
    "required elsewhere": ({"type": "object", "properties": {"a": INT}, "required": ["a", "b"], "additionalProperties": True}, [{"a": 1, "b": [None]}]),
    "branches beside": ({"type": "object", "properties": {"a": INT, "b": INT}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
                        [{"a": 1}, {"b": 2}, {"a": 1, "b": 2}]),
    "password": (obj({"p": text(pattern="^(?=.*[A-Z])(?=.*\\d).{8,20}$")}), [{"p": "abcdEfg1"}]),
    "prices": (obj({"eur": {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 10000}}), [{"eur": 9.99}, {"eur": 10000}, {"eur": 0.5}]),
    "old tuple": ({"type": "array", "items": [STR, INT], "additionalItems": BOOL}, [["a", 1], ["a", 1, True, False]]),
    "strange names": (obj({"__proto__": INT, "a\"b\\c": STR, "\n": BOOL, "é": NULL, "$ref": INT}, ["__proto__", "é"]),
                      [{"__proto__": 1, "é": None}, {"__proto__": 1, "a\"b\\c": "", "\n": True, "é": None, "$ref": 3}]),
    "expressions": ({"$defs": {"e": either(NUM, obj({"op": text(enum=list("+-*/")), "l": ref("e"), "r": ref("e")}))}, "$ref": "#/$defs/e"},
                    [3, {"op": "+", "l": 1, "r": {"op": "*", "l": 2, "r": 3}}]),
    "mutual recursion": ({"$defs": {"a": obj({"b": either(ref("b"), NULL)}), "b": obj({"a": arr(ref("a"))})}, "$ref": "#/$defs/a"},
                         [{"b": None}, {"b": {"a": [{"b": None}]}}]),
    "a function's arguments": (obj({"table": text(enum=["orders", "customers"]), "columns": arr(text(enum=["id", "status", "when"])), "conditions": arr(obj({
        "column": STR, "operator": text(enum=["=", ">", "<", "<=", ">=", "!="]), "value": either(STR, NUM, obj({"column_name": STR}))})),
        "order_by": text(enum=["asc", "desc"])}),
        [{"table": "orders", "columns": ["id"], "conditions": [{"column": "id", "operator": ">=", "value": {"column_name": "x"}}], "order_by": "asc"}]),
}

# What cannot be held to is said, by these words.
REFUSED = {
    "not": {"not": STR}, "uniqueItems": arr(INT, uniqueItems=True), "if": {"if": STR, "then": STR}, "contains": {"type": "array", "contains": STR},
    "minProperties": {"type": "object", "minProperties": 1}, "unevaluatedProperties": {"type": "object", "unevaluatedProperties": False},
    "dependentRequired": {"type": "object", "dependentRequired": {"a": ["b"]}}, "minimun": {"type": "integer", "minimun": 3},
    "reference to a group": text(pattern="(a)\\1"), "lookbehind": text(pattern="(?<=a)b"), "word boundary": text(pattern="\\bx"),
    "lookahead": text(pattern="a(?=b)"), "property of Unicode": text(pattern="^\\p{L}+$"), "leads out": {"$ref": "https://example.com/x.json"},
    "allows nothing|nothing has this form": {"allOf": [STR, INT]}, "refers to itself": {"$ref": "#"},
    "states|work|places": text(pattern="^(a|b)*a(a|b){24}$"),
}
