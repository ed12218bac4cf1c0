// SPDX-License-Identifier: Apache-2.0
#include "engine/json_schema.h"

#include "base/memory.h"
#include "engine/json_form.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_DEPTH = 64,        /* of schemas in schemas */
    MAX_PROPERTIES = 1000, /* of an object */
    MAX_COUNT = 1 << 20,   /* of minItems and its like */
    MAX_PATH = 256,
};

/* A schema that was met, and its rule: $ref may lead there again, from within too. */
struct known {
    const json_t *schema;
    uint32_t rule;
};

struct compiler {
    struct pc_json_form form;
    const json_t *root;
    struct known *known;
    size_t n_known, known_capacity;
    char path[MAX_PATH]; /* of the schema at hand, for messages */
    int depth;
    struct paco_error *err;
};

/* ---- schemas ---- */

static int compile(struct compiler *c, const json_t *schema, const char *key, uint32_t *rule);

static const char *where(const struct compiler *c)
{
    return *c->path ? c->path : "/";
}

static int refuse(const struct compiler *c, const char *key, const char *why)
{
    return pc_error_set(c->err, PACO_EUNSUPPORTED, "\"%s\" at %s %s", key, where(c), why);
}

static int wrong(const struct compiler *c, const char *key, const char *expected, const json_t *found)
{
    return pc_error_set(c->err, PACO_EINVAL, "\"%s\" at %s is %s; %s is expected", key, where(c),
        pc_json_kind(found), expected);
}

/* A count such as minItems; *out stays where there is none. */
static int get_count(const struct compiler *c, const json_t *schema, const char *key, uint32_t *out)
{
    const json_t *v = json_object_get(schema, key);
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return wrong(c, key, "a whole number of 0 or more", v);
    if (json_integer_value(v) > MAX_COUNT)
        return pc_error_set(c->err, PACO_ELIMIT, "\"%s\" at %s is more than %d", key, where(c), MAX_COUNT);
    *out = (uint32_t)json_integer_value(v);
    return 0;
}

static int get_range(const struct compiler *c, const json_t *schema, const char *min_key, const char *max_key,
    uint32_t *min, uint32_t *max)
{
    *min = 0;
    *max = UINT32_MAX;
    int rc = get_count(c, schema, min_key, min);
    if (rc == 0)
        rc = get_count(c, schema, max_key, max);
    if (rc == 0 && *min > *max)
        rc =
            pc_error_set(c->err, PACO_EINVAL, "\"%s\" at %s is more than \"%s\"", min_key, where(c), max_key);
    return rc;
}

/* A value as it is, as an alternative of rule. */
static int add_value(struct compiler *c, uint32_t rule, const json_t *value)
{
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    pc_json_write(&b, value, PC_JSON_COMPACT);
    int rc = pc_buf_check(&b, "a schema", c->err);
    if (rc == 0) {
        pc_grammar_text(c->form.b, rule, b.data, b.len);
        pc_grammar_end(c->form.b, rule);
    }
    pc_buf_release(&b);
    return rc;
}

static int add_enum(struct compiler *c, uint32_t rule, const json_t *values)
{
    const json_t *v;
    size_t i;
    int rc = 0;
    if (!json_is_array(values) || json_array_size(values) == 0)
        return wrong(c, "enum", "an array that is not empty", values);
    json_array_foreach(values, i, v) if (rc == 0) rc = add_value(c, rule, v);
    return rc;
}

static int add_any_of(struct compiler *c, uint32_t rule, const char *key, const json_t *schemas)
{
    const json_t *v;
    size_t i;
    int rc = 0;
    if (!json_is_array(schemas) || json_array_size(schemas) == 0)
        return wrong(c, key, "an array that is not empty", schemas);
    json_array_foreach(schemas, i, v)
    {
        char name[48];
        uint32_t one;
        snprintf(name, sizeof name, "%s/%zu", key, i);
        if ((rc = compile(c, v, name, &one)) < 0)
            return rc;
        pc_json_form_end_with(&c->form, rule, one);
    }
    return 0;
}

static int add_array(struct compiler *c, uint32_t rule, const json_t *schema)
{
    const json_t *items = json_object_get(schema, "items"), *prefix = json_object_get(schema, "prefixItems"),
                 *v;
    uint32_t item = c->form.any, min, max;
    size_t i, n = json_array_size(prefix);
    int rc = get_range(c, schema, "minItems", "maxItems", &min, &max);
    if (rc == 0 && items && !json_is_false(items))
        rc = compile(c, items, "items", &item);
    if (rc < 0)
        return rc;
    if (prefix && !json_is_array(prefix))
        return wrong(c, "prefixItems", "an array", prefix);
    if (json_is_false(items) && max > n)
        max = (uint32_t)n;
    if (n == 0) {
        pc_json_form_list(&c->form, rule, "[]", item, min, max);
        return 0;
    }
    // All of the prefix is asked for: what may be left out of it seldom is meant.
    pc_json_form_text(&c->form, rule, "[");
    pc_grammar_call(c->form.b, rule, c->form.space);
    json_array_foreach(prefix, i, v)
    {
        char name[48];
        uint32_t one;
        snprintf(name, sizeof name, "prefixItems/%zu", i);
        if ((rc = compile(c, v, name, &one)) < 0)
            return rc;
        if (i) {
            pc_json_form_text(&c->form, rule, ",");
            pc_grammar_call(c->form.b, rule, c->form.space);
        }
        pc_grammar_call(c->form.b, rule, one);
        pc_grammar_call(c->form.b, rule, c->form.space);
    }
    if (max > n && items && !json_is_false(items)) {
        uint32_t next = pc_grammar_rule(c->form.b);
        pc_json_form_text(&c->form, next, ",");
        pc_grammar_call(c->form.b, next, c->form.space);
        pc_grammar_call(c->form.b, next, item);
        pc_grammar_call(c->form.b, next, c->form.space);
        pc_grammar_end(c->form.b, next);
        pc_grammar_repeat(c->form.b, rule, next, min > n ? min - (uint32_t)n : 0,
            max == UINT32_MAX ? max : max - (uint32_t)n);
    }
    pc_json_form_text(&c->form, rule, "]");
    pc_grammar_end(c->form.b, rule);
    return 0;
}

static bool is_required(const json_t *schema, const char *key)
{
    const json_t *v;
    size_t i;
    json_array_foreach(json_object_get(schema, "required"), i,
        v) if (json_is_string(v) && strcmp(json_string_value(v), key) == 0) return true;
    return false;
}

/* Properties that are only required have any value. */
static int check_required(struct compiler *c, const json_t *schema, const json_t *properties)
{
    const json_t *required = json_object_get(schema, "required"), *v;
    size_t i;
    if (required && !json_is_array(required))
        return wrong(c, "required", "an array", required);
    json_array_foreach(required, i, v)
    {
        if (!json_is_string(v))
            return wrong(c, "required", "an array of strings", v);
        if (!json_object_get(properties, json_string_value(v)))
            return pc_error_set(c->err, PACO_EUNSUPPORTED,
                "\"required\" at %s names \"%.60s\", which is not among its properties", where(c),
                json_string_value(v));
    }
    return 0;
}

/* "key": value, as the rule *out. */
static int add_member(struct compiler *c, const char *key, const json_t *schema, uint32_t *out)
{
    char name[96];
    uint32_t value;
    snprintf(name, sizeof name, "properties/%.80s", key);
    int rc = compile(c, schema, name, &value);
    if (rc < 0)
        return rc;
    json_t *text_of_key = json_string(key);
    if (!text_of_key)
        return pc_error_mem(c->err, strlen(key), "a key");
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    pc_json_write(&b, text_of_key, PC_JSON_COMPACT);
    json_decref(text_of_key);
    rc = pc_buf_check(&b, "a schema", c->err);
    *out = pc_grammar_rule(c->form.b);
    if (rc == 0) {
        pc_grammar_text(c->form.b, *out, b.data, b.len);
        pc_json_form_colon(&c->form, *out);
        pc_json_form_end_with(&c->form, *out, value);
    }
    pc_buf_release(&b);
    return rc;
}

/* What may stand behind the last property: other members where they are allowed, then the end. rest has two
 * rules: without a member before it, and behind one. */
static int make_tail(struct compiler *c, const json_t *more, uint32_t rest[2])
{
    uint32_t value = c->form.any, member, next;
    for (int i = 0; i < 2; i++) {
        rest[i] = pc_grammar_rule(c->form.b);
        pc_json_form_text(&c->form, rest[i], "}");
        pc_grammar_end(c->form.b, rest[i]);
    }
    if (!more || json_is_false(more))
        return 0;
    int rc = compile(c, more, "additionalProperties", &value);
    if (rc < 0)
        return rc;
    member = pc_grammar_rule(c->form.b);
    next = pc_grammar_rule(c->form.b);
    pc_grammar_call(c->form.b, member, c->form.string);
    pc_json_form_colon(&c->form, member);
    pc_grammar_call(c->form.b, member, value);
    pc_json_form_end_with(&c->form, member, c->form.space);
    pc_json_form_text(&c->form, next, ",");
    pc_grammar_call(c->form.b, next, c->form.space);
    pc_json_form_end_with(&c->form, next, member);
    for (int i = 0; i < 2; i++) {
        pc_grammar_call(c->form.b, rest[i], i ? next : member);
        pc_grammar_repeat(c->form.b, rest[i], next, 0, UINT32_MAX);
        pc_json_form_text(&c->form, rest[i], "}");
        pc_grammar_end(c->form.b, rest[i]);
    }
    return 0;
}

static int add_object(struct compiler *c, uint32_t rule, const json_t *schema)
{
    const json_t *properties = json_object_get(schema, "properties"),
                 *more = json_object_get(schema, "additionalProperties");
    if (properties && !json_is_object(properties))
        return wrong(c, "properties", "an object", properties);
    int rc = check_required(c, schema, properties);
    if (rc < 0)
        return rc;
    size_t n = json_object_size(properties);
    if (n > MAX_PROPERTIES)
        return pc_error_set(c->err, PACO_ELIMIT, "%zu properties at %s; at most %d are possible", n, where(c),
            MAX_PROPERTIES);
    if (n == 0 && (!more || json_is_true(more))) {
        pc_json_form_end_with(&c->form, rule, c->form.any_object);
        return 0;
    }
    // From the last property to the first: each leads to what may follow it.
    uint32_t rest[2], *members = pc_alloc(n, sizeof *members);
    bool *optional = pc_alloc(n, sizeof *optional);
    const char *key;
    json_t *v;
    size_t i = 0;
    rc = members && optional ? make_tail(c, more, rest) : pc_error_mem(c->err, n * 5, "properties");
    if (rc == 0)
        json_object_foreach((json_t *)properties, key, v)
        {
            if (rc == 0)
                rc = add_member(c, key, v, &members[i]);
            optional[i++] = !is_required(schema, key);
        }
    for (i = n; rc == 0 && i-- > 0;) {
        uint32_t before[2] = {pc_grammar_rule(c->form.b), pc_grammar_rule(c->form.b)};
        for (int k = 0; k < 2; k++) {
            if (k) {
                pc_json_form_text(&c->form, before[k], ",");
                pc_grammar_call(c->form.b, before[k], c->form.space);
            }
            pc_grammar_call(c->form.b, before[k], members[i]);
            pc_grammar_call(c->form.b, before[k], c->form.space);
            pc_json_form_end_with(&c->form, before[k], rest[1]);
            if (optional[i])
                pc_json_form_end_with(&c->form, before[k], rest[k]);
        }
        memcpy(rest, before, sizeof rest);
    }
    pc_free(members);
    pc_free(optional);
    if (rc == 0) {
        pc_json_form_text(&c->form, rule, "{");
        pc_grammar_call(c->form.b, rule, c->form.space);
        pc_json_form_end_with(&c->form, rule, rest[0]);
    }
    return rc;
}

static int add_type(struct compiler *c, uint32_t rule, const json_t *schema, const char *type)
{
    uint32_t min, max;
    if (strcmp(type, "object") == 0)
        return add_object(c, rule, schema);
    if (strcmp(type, "array") == 0)
        return add_array(c, rule, schema);
    if (strcmp(type, "string") == 0) {
        int rc = get_range(c, schema, "minLength", "maxLength", &min, &max);
        if (rc == 0)
            pc_json_form_string(&c->form, rule, min, max);
        return rc;
    }
    if (strcmp(type, "number") == 0 || strcmp(type, "integer") == 0) {
        pc_json_form_end_with(&c->form, rule, *type == 'n' ? c->form.number : c->form.integer);
    } else if (strcmp(type, "null") == 0) {
        pc_json_form_text(&c->form, rule, "null");
        pc_grammar_end(c->form.b, rule);
    } else if (strcmp(type, "boolean") == 0) {
        pc_json_form_text(&c->form, rule, "true");
        pc_grammar_end(c->form.b, rule);
        pc_json_form_text(&c->form, rule, "false");
        pc_grammar_end(c->form.b, rule);
    } else {
        return pc_error_set(
            c->err, PACO_EINVAL, "\"type\" at %s is \"%.40s\", which is no type of JSON's", where(c), type);
    }
    return 0;
}

/* The type, where keywords say it without the word. */
static const char *implied_type(const json_t *schema)
{
    static const struct {
        const char *key, *type;
    } signs[] = {{"properties", "object"}, {"required", "object"}, {"additionalProperties", "object"},
        {"items", "array"}, {"prefixItems", "array"}, {"minItems", "array"}, {"maxItems", "array"},
        {"minLength", "string"}, {"maxLength", "string"}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (json_object_get(schema, signs[i].key))
            return signs[i].type;
    return NULL;
}

static int add_types(struct compiler *c, uint32_t rule, const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type"), *v;
    const char *implied = implied_type(schema);
    size_t i;
    int rc = 0;
    if (json_is_string(type))
        return add_type(c, rule, schema, json_string_value(type));
    if (!type && implied)
        return add_type(c, rule, schema, implied);
    if (!type) {
        pc_json_form_end_with(&c->form, rule, c->form.any);
        return 0;
    }
    if (!json_is_array(type) || json_array_size(type) == 0)
        return wrong(c, "type", "a name or an array of names", type);
    json_array_foreach(type, i, v)
    {
        if (!json_is_string(v))
            return wrong(c, "type", "an array of names", v);
        if (rc == 0)
            rc = add_type(c, rule, schema, json_string_value(v));
    }
    return rc;
}

/* "#/$defs/name" and other pointers into the schema. */
static int add_ref(struct compiler *c, uint32_t rule, const json_t *ref)
{
    if (!json_is_string(ref) || *json_string_value(ref) != '#')
        return refuse(c, "$ref", "leads out of the schema, where nothing is looked up");
    const json_t *at = c->root;
    const char *s = json_string_value(ref) + 1;
    while (*s == '/' && at) {
        char key[MAX_PATH];
        size_t n = 0;
        for (s++; *s && *s != '/' && n + 1 < sizeof key; s++) {
            bool escaped = *s == '~' && (s[1] == '0' || s[1] == '1');
            key[n++] = (char)(escaped ? s[1] == '0' ? '~' : '/' : *s);
            s += escaped;
        }
        key[n] = '\0';
        at = json_is_object(at) ? json_object_get(at, key) : NULL;
    }
    if (!at || *s)
        return pc_error_set(c->err, PACO_EINVAL, "\"$ref\" at %s leads to \"%.80s\", which is not there",
            where(c), json_string_value(ref));
    uint32_t target;
    int rc = compile(c, at, NULL, &target);
    if (rc == 0)
        pc_json_form_end_with(&c->form, rule, target);
    return rc;
}

static const char *const g_silent[] = {"$schema", "$id", "$anchor", "$comment", "$defs", "definitions",
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format",
    "contentEncoding", "contentMediaType", "discriminator", NULL};
static const char *const g_spoken[] = {"type", "properties", "required", "additionalProperties", "items",
    "prefixItems", "minItems", "maxItems", "minLength", "maxLength", NULL};
static const char *const g_alone[] = {"$ref", "const", "enum", "anyOf", "oneOf", "allOf", NULL};

static bool is_among(const char *const *names, const char *key)
{
    while (*names && strcmp(*names, key) != 0)
        names++;
    return *names;
}

/* Which of g_alone decides the form, if one does; the others may not stand beside it, but for the type. */
static int find_alone(const struct compiler *c, const json_t *schema, const char **alone)
{
    const char *key, *other = NULL;
    json_t *v;
    *alone = NULL;
    json_object_foreach((json_t *)schema, key, v)
    {
        if (is_among(g_alone, key)) {
            if (*alone)
                return refuse(c, key, "stands beside another of its kind; one of them is possible");
            *alone = key;
        } else if (is_among(g_spoken, key)) {
            if (strcmp(key, "type") != 0)
                other = key;
        } else if (!is_among(g_silent, key)) {
            return refuse(c, key, "is not a keyword that an answer can be held to here");
        }
    }
    return *alone && other ? refuse(c, *alone, "cannot stand beside keywords of a type here") : 0;
}

static int add_alone(struct compiler *c, uint32_t rule, const json_t *schema, const char *key)
{
    const json_t *v = json_object_get(schema, key);
    if (strcmp(key, "$ref") == 0)
        return add_ref(c, rule, v);
    if (strcmp(key, "const") == 0)
        return add_value(c, rule, v);
    if (strcmp(key, "enum") == 0)
        return add_enum(c, rule, v);
    if (strcmp(key, "allOf") == 0 && json_array_size(v) != 1)
        return refuse(c, key, "is possible here with one schema in it");
    return add_any_of(c, rule, key, v);
}

static int add_schema(struct compiler *c, uint32_t rule, const json_t *schema)
{
    const char *alone;
    if (json_is_true(schema)) {
        pc_json_form_end_with(&c->form, rule, c->form.any);
        return 0;
    }
    if (json_is_false(schema))
        return pc_error_set(c->err, PACO_EUNSUPPORTED, "the schema at %s allows nothing", where(c));
    if (!json_is_object(schema))
        return pc_error_set(c->err, PACO_EINVAL, "the schema at %s is %s; an object is expected", where(c),
            pc_json_kind(schema));
    int rc = find_alone(c, schema, &alone);
    if (rc < 0)
        return rc;
    return alone ? add_alone(c, rule, schema, alone) : add_types(c, rule, schema);
}

/* The rule of a schema, made when it is first met. key is what leads there from the schema at hand; NULL: a
 * reference. */
static int compile(struct compiler *c, const json_t *schema, const char *key, uint32_t *rule)
{
    for (size_t i = 0; i < c->n_known; i++)
        if (c->known[i].schema == schema) {
            *rule = c->known[i].rule;
            return 0;
        }
    if (c->depth == MAX_DEPTH)
        return pc_error_set(c->err, PACO_ELIMIT, "schemas at %s are more than %d deep", where(c), MAX_DEPTH);
    // Values without members (true, false) are one object for all: they are met anew each time.
    *rule = pc_grammar_rule(c->form.b);
    if (json_is_object(schema)) {
        int rc = pc_grow(&c->known, &c->known_capacity, c->n_known, sizeof *c->known, "schemas", c->err);
        if (rc < 0)
            return rc;
        c->known[c->n_known++] = (struct known){schema, *rule};
    }
    size_t len = strlen(c->path);
    if (key)
        snprintf(c->path + len, sizeof c->path - len, "/%s", key);
    c->depth++;
    int rc = add_schema(c, *rule, schema);
    c->depth--;
    c->path[len] = '\0';
    return rc;
}

int pc_json_schema_compile(const json_t *schema, struct pc_grammar **out, struct paco_error *err)
{
    struct compiler c = {.root = schema, .err = err};
    struct pc_grammar_build *b;
    int rc = pc_grammar_begin(&b, err);
    if (rc < 0)
        return rc;
    pc_json_form_make(&c.form, b);
    uint32_t root = c.form.any_object;
    if (schema)
        rc = compile(&c, schema, NULL, &root);
    pc_free(c.known);
    if (rc == 0)
        return pc_grammar_finish(b, root, out, err);
    pc_grammar_drop(b);
    return rc;
}
