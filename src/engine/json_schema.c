// SPDX-License-Identifier: Apache-2.0
#include "engine/json_schema.h"

#include "base/memory.h"
#include "engine/json_schema_parts.h"
#include "engine/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 64,      /* of schemas in schemas */
    MAX_KNOWN = 1 << 13, /* schemas, and of what holds at once */
    MAX_BRANCHES = 1024,
    /* What is counted as work: schemas are walked through as often as they are referred to. */
    WORK_PLACE = 1024, /* a place that is compiled */
    WORK_PART = 256,   /* a schema that holds there */
    WORK_KEY = 32,     /* a keyword of it */
    WORK_ITEM = 16,    /* one of a list */
};

/* ---- words ---- */

const char *pc_schema_where(const struct pc_schema_compiler *c)
{
    return *c->path ? c->path : "/";
}

int pc_schema_refuse(const struct pc_schema_compiler *c, const char *key, const char *why)
{
    return pc_error_set(c->err, PACO_EUNSUPPORTED, "\"%.80s\" at %s %s", key, pc_schema_where(c), why);
}

int pc_schema_wrong(
    const struct pc_schema_compiler *c, const char *key, const char *expected, const json_t *found)
{
    return pc_error_set(c->err, PACO_EINVAL, "\"%s\" at %s is %s; %s is expected", key, pc_schema_where(c),
        pc_json_kind(found), expected);
}

int pc_schema_blame(const struct pc_schema_compiler *c, const char *key, int rc)
{
    if (c->err && rc != PACO_EMEM) {
        char why[sizeof c->err->message];
        memcpy(why, c->err->message, sizeof why);
        c->err->code = 0;
        pc_error_set(c->err, rc, "\"%s\" at %s: %.300s", key, pc_schema_where(c), why);
    }
    return rc;
}

/* ---- counts ---- */

/* A count such as minItems; *out stays where there is none. */
static int get_count(
    const struct pc_schema_compiler *c, const json_t *schema, const char *key, bool lower, uint32_t *out)
{
    const json_t *v = json_object_get(schema, key);
    double x = json_number_value(v);
    if (!v)
        return 0;
    if (!json_is_number(v) || x < 0 || (json_is_real(v) && x < 1e9 && x != (double)(uint32_t)x))
        return pc_schema_wrong(c, key, "a whole number of 0 or more", v);
    if (x > PC_SCHEMA_MAX_COUNT)
        return pc_error_set(c->err, PACO_ELIMIT, "\"%s\" at %s is more than %d", key, pc_schema_where(c),
            PC_SCHEMA_MAX_COUNT);
    if (lower ? (uint32_t)x > *out : (uint32_t)x < *out)
        *out = (uint32_t)x;
    return 0;
}

int pc_schema_range(const struct pc_schema_compiler *c, const struct pc_schema_all *all, const char *min_key,
    const char *max_key, uint32_t *min, uint32_t *max)
{
    int rc = 0;
    *min = 0;
    *max = UINT32_MAX;
    for (int i = 0; rc == 0 && i < all->n; i++) {
        rc = get_count(c, all->v[i].schema, min_key, true, min);
        if (rc == 0)
            rc = get_count(c, all->v[i].schema, max_key, false, max);
    }
    if (rc == 0 && *min > *max)
        rc = pc_error_set(
            c->err, PACO_EINVAL, "\"%s\" at %s is more than \"%s\"", min_key, pc_schema_where(c), max_key);
    return rc;
}

/* ---- listed values ---- */

/* A value as it is, as an alternative of rule. */
static int add_value(struct pc_schema_compiler *c, uint32_t rule, const json_t *value)
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

enum type {
    NOTHING = 1,
    BOOLEAN = 2,
    INTEGER = 4,
    NUMBER = 8,
    STRING = 16,
    ARRAY = 32,
    OBJECT = 64,
    ANY = 127
};

static unsigned type_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL: return NOTHING;
    case JSON_TRUE:
    case JSON_FALSE: return BOOLEAN;
    case JSON_INTEGER: return INTEGER;
    case JSON_REAL: {
        double x = json_real_value(v);
        return x >= -1e18 && x <= 1e18 && x == (double)(int64_t)x ? INTEGER : NUMBER;
    }
    case JSON_STRING: return STRING;
    case JSON_ARRAY: return ARRAY;
    case JSON_OBJECT: return OBJECT;
    }
    return 0;
}

static int add_listed(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all,
    const json_t *schema, unsigned types)
{
    const json_t *one = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    if (!one && (!json_is_array(list) || json_array_size(list) == 0))
        return pc_schema_wrong(c, "enum", "an array that is not empty", list);
    for (size_t i = 0; i < (one ? 1 : json_array_size(list)); i++) {
        const json_t *v = one ? one : json_array_get(list, i);
        bool fits = (type_of(v) & types) != 0;
        int rc = pc_automaton_count(&c->work, WORK_ITEM, c->err);
        if (rc == 0 && fits)
            rc = pc_schema_fits(c, all, schema, v, &fits);
        if (rc == 0 && fits)
            rc = add_value(c, rule, v);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- types ---- */

static int get_type(struct pc_schema_compiler *c, const json_t *v, unsigned *out)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    if (!json_is_string(v))
        return pc_schema_wrong(c, "type", "a name or an array of names", v);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(json_string_value(v), names[i]) == 0 && json_string_length(v) == strlen(names[i])) {
            *out |= 1u << i == NUMBER ? NUMBER | INTEGER : 1u << i;
            return 0;
        }
    return pc_error_set(c->err, PACO_EINVAL, "\"type\" at %s is \"%.40s\", which is no type of JSON's",
        pc_schema_where(c), json_string_value(v));
}

/* The types that keywords speak of, where none is named. */
static unsigned implied_types(const json_t *schema)
{
    static const struct {
        const char *key;
        unsigned type;
    } signs[] = {{"properties", OBJECT}, {"required", OBJECT}, {"additionalProperties", OBJECT},
        {"patternProperties", OBJECT}, {"propertyNames", OBJECT}, {"items", ARRAY}, {"prefixItems", ARRAY},
        {"minItems", ARRAY}, {"maxItems", ARRAY}, {"minLength", STRING}, {"maxLength", STRING},
        {"pattern", STRING}, {"minimum", NUMBER | INTEGER}, {"maximum", NUMBER | INTEGER},
        {"exclusiveMinimum", NUMBER | INTEGER}, {"exclusiveMaximum", NUMBER | INTEGER},
        {"multipleOf", NUMBER | INTEGER}};
    unsigned types = 0;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (json_object_get(schema, signs[i].key))
            types |= signs[i].type;
    return types;
}

static int find_types(struct pc_schema_compiler *c, const struct pc_schema_all *all, unsigned *types)
{
    unsigned implied = 0;
    bool named = false, listed = false;
    *types = ANY;
    for (int i = 0; i < all->n; i++) {
        const json_t *schema = all->v[i].schema, *type = json_object_get(schema, "type"), *v;
        unsigned mine = 0;
        size_t k;
        int rc = 0;
        implied |= implied_types(schema);
        listed |= json_object_get(schema, "enum") || json_object_get(schema, "const");
        if (!type)
            continue;
        if (json_is_array(type) && json_array_size(type) > 0) {
            json_array_foreach(type, k, v) if (rc == 0) rc = get_type(c, v, &mine);
        } else {
            rc = get_type(c, type, &mine);
        }
        if (rc < 0)
            return rc;
        named = true;
        *types &= mine;
    }
    if (!named && !listed && implied)
        *types = implied;
    return 0;
}

static int add_types(
    struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all, unsigned types)
{
    static const char *const words[] = {"null", "true", "false"};
    int rc = 0;
    if (types == ANY && all->n == 0) {
        pc_json_form_end_with(&c->form, rule, c->form.any);
        return 0;
    }
    for (int i = 0; i < 3; i++)
        if (types & (i ? BOOLEAN : NOTHING)) {
            pc_json_form_text(&c->form, rule, words[i]);
            pc_grammar_end(c->form.b, rule);
        }
    if (types & (NUMBER | INTEGER))
        rc = pc_schema_add_number(c, rule, all, !(types & NUMBER));
    if (rc == 0 && types & STRING)
        rc = pc_schema_add_string(c, rule, all);
    if (rc == 0 && types & ARRAY)
        rc = pc_schema_add_array(c, rule, all);
    if (rc == 0 && types & OBJECT)
        rc = pc_schema_add_object(c, rule, all);
    return rc;
}

/* ---- what must hold at once ---- */

int pc_schema_add(struct pc_schema_compiler *c, struct pc_schema_all *all, const json_t *schema, int parent,
    const char *key)
{
    if (json_is_true(schema))
        return 0;
    if (json_is_false(schema)) {
        all->nothing = true;
        return 0;
    }
    if (!json_is_object(schema))
        return pc_error_set(c->err, PACO_EINVAL, "the schema at %s%s%s is %s; an object is expected", c->path,
            key || !*c->path ? "/" : "", key ? key : "", pc_json_kind(schema));
    for (int i = parent; i >= 0; i = all->v[i].parent)
        if (all->v[i].schema == schema)
            return pc_error_set(
                c->err, PACO_ELIMIT, "the schema at %s refers to itself without an end", pc_schema_where(c));
    for (int i = 0; i < all->n; i++)
        if (all->v[i].schema == schema)
            return 0;
    if (all->n == PC_SCHEMA_MAX_PARTS)
        return pc_error_set(c->err, PACO_ELIMIT, "more than %d schemas must hold at once at %s",
            PC_SCHEMA_MAX_PARTS, pc_schema_where(c));
    all->v[all->n++] = (struct pc_schema_part){schema, parent, false, false};
    return 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* One step of a pointer: the key behind *s, with ~0, ~1 and %XX resolved. False when it is too long. */
static bool read_step(const char **s, char *key, size_t size)
{
    size_t n = 0;
    for (; **s && **s != '/'; ++*s) {
        const char *p = *s;
        char ch = *p;
        if (ch == '~' && (p[1] == '0' || p[1] == '1')) {
            ch = p[1] == '0' ? '~' : '/';
            ++*s;
        } else if (ch == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
            ch = (char)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
            *s += 2;
        }
        if (n + 1 == size)
            return false;
        key[n++] = ch;
    }
    key[n] = '\0';
    return true;
}

/* "#/$defs/name" and other pointers into the schema. */
static int find_ref(const struct pc_schema_compiler *c, const json_t *ref, const json_t **out)
{
    const json_t *at = c->root;
    if (!json_is_string(ref) || *json_string_value(ref) != '#')
        return pc_schema_refuse(c, "$ref", "leads out of the schema, where nothing is looked up");
    const char *s = json_string_value(ref) + 1;
    while (*s == '/' && at) {
        char key[PC_SCHEMA_MAX_PATH], *end;
        s++;
        if (!read_step(&s, key, sizeof key))
            at = NULL;
        else if (json_is_array(at) && *key >= '0' && *key <= '9')
            at = json_array_get(at, strtoul(key, &end, 10));
        else
            at = json_is_object(at) ? json_object_get(at, key) : NULL;
    }
    if (!at || (size_t)(s - json_string_value(ref)) != json_string_length(ref))
        return pc_error_set(c->err, PACO_EINVAL, "\"$ref\" at %s leads to \"%.80s\", which is not there",
            pc_schema_where(c), json_string_value(ref));
    *out = at;
    return 0;
}

static bool is_among(const char *const *names, const char *key)
{
    while (*names && strcmp(*names, key) != 0)
        names++;
    return *names;
}

/* What is understood, and what says nothing about the form. */
static int check_keywords(const struct pc_schema_compiler *c, const json_t *schema)
{
    static const char *const known[] = {"type", "properties", "required", "additionalProperties",
        "patternProperties", "propertyNames", "items", "prefixItems", "additionalItems", "minItems",
        "maxItems", "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum",
        "exclusiveMaximum", "multipleOf", "$ref", "const", "enum", "anyOf", "oneOf", "allOf", "$schema",
        "$id", "id", "$anchor", "$comment", "$defs", "definitions", "title", "description", "default",
        "examples", "example", "deprecated", "readOnly", "writeOnly", "format", "contentEncoding",
        "contentMediaType", "contentSchema", "discriminator", "nullable", NULL};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)schema, key, v)
    {
        bool off = strcmp(key, "uniqueItems") == 0 && json_is_false(v);
        if (!is_among(known, key) && strncmp(key, "x-", 2) != 0 && !off)
            return pc_schema_refuse(c, key, "is not a keyword that an answer can be held to here");
    }
    return 0;
}

int pc_schema_flatten(struct pc_schema_compiler *c, struct pc_schema_all *all)
{
    for (int i = 0; i < all->n; i++) {
        const json_t *schema = all->v[i].schema, *ref = json_object_get(schema, "$ref"),
                     *list = json_object_get(schema, "allOf"), *target, *v;
        size_t k;
        int rc = pc_automaton_count(&c->work,
            WORK_PART + WORK_KEY * json_object_size(schema) +
                WORK_ITEM * (json_array_size(list) + json_array_size(json_object_get(schema, "type"))) +
                json_string_length(ref),
            c->err);
        if (rc == 0)
            rc = check_keywords(c, schema);
        if (rc == 0 && ref && (rc = find_ref(c, ref, &target)) == 0)
            rc = pc_schema_add(c, all, target, i, NULL);
        if (rc == 0 && list && (!json_is_array(list) || json_array_size(list) == 0))
            rc = pc_schema_wrong(c, "allOf", "an array that is not empty", list);
        json_array_foreach(list, k, v) if (rc == 0) rc = pc_schema_add(c, all, v, i, "allOf");
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Whether a part still says something, behind its references and decided choices. */
static bool speaks(const struct pc_schema_part *p)
{
    return implied_types(p->schema) || json_object_get(p->schema, "type") ||
           json_object_get(p->schema, "enum") || json_object_get(p->schema, "const") ||
           json_object_get(p->schema, "format") || (json_object_get(p->schema, "anyOf") && !p->any_done) ||
           (json_object_get(p->schema, "oneOf") && !p->one_done);
}

/* Leave out what says nothing more: what is the same then is known to be. */
static void keep_speakers(struct pc_schema_all *all)
{
    int to[PC_SCHEMA_MAX_PARTS], n = 0;
    for (int i = 0; i < all->n; i++) {
        struct pc_schema_part p = all->v[i];
        int parent = p.parent < 0 ? -1 : to[p.parent];
        bool kept = speaks(&p);
        to[i] = kept ? n : parent;
        p.parent = parent;
        if (kept)
            all->v[n++] = p;
    }
    all->n = n;
}

/* Each branch of the first choice that is open, with all the rest. */
static int add_choice(
    struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all, int at, bool any)
{
    const char *key = any ? "anyOf" : "oneOf";
    const json_t *list = json_object_get(all->v[at].schema, key), *v;
    uint32_t *seen = NULL;
    size_t i, n_seen = 0, n = json_array_size(list);
    int rc = 0;
    if (!json_is_array(list) || n == 0)
        return pc_schema_wrong(c, key, "an array that is not empty", list);
    if (n > MAX_BRANCHES)
        return pc_error_set(c->err, PACO_ELIMIT, "\"%s\" at %s has %zu branches; at most %d are possible",
            key, pc_schema_where(c), n, MAX_BRANCHES);
    if (!(seen = pc_alloc(n, sizeof *seen)))
        return pc_error_mem(c->err, n * sizeof *seen, "branches");
    json_array_foreach(list, i, v)
    {
        struct pc_schema_all branch = *all;
        char name[48];
        uint32_t one = 0;
        *(any ? &branch.v[at].any_done : &branch.v[at].one_done) = true;
        snprintf(name, sizeof name, "%s/%zu", key, i);
        rc = pc_schema_add(c, &branch, v, at, name);
        if (rc == 0)
            rc = pc_schema_compile(c, &branch, name, &one);
        if (rc < 0)
            break;
        size_t k = 0;
        while (k < n_seen && seen[k] != one)
            k++;
        if (k == n_seen) {
            seen[n_seen++] = one;
            pc_json_form_end_with(&c->form, rule, one);
        }
    }
    pc_free(seen);
    return rc;
}

static int add_all(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all)
{
    unsigned types;
    for (int i = 0; i < all->n; i++) {
        const struct pc_schema_part *p = &all->v[i];
        if (json_object_get(p->schema, "anyOf") && !p->any_done)
            return add_choice(c, rule, all, i, true);
        if (json_object_get(p->schema, "oneOf") && !p->one_done)
            return add_choice(c, rule, all, i, false);
    }
    int rc = find_types(c, all, &types);
    for (int i = 0; rc == 0 && i < all->n; i++)
        if (json_object_get(all->v[i].schema, "const") || json_object_get(all->v[i].schema, "enum"))
            return add_listed(c, rule, all, all->v[i].schema, types);
    return rc < 0 ? rc : add_types(c, rule, all, types);
}

/* The rule of what was compiled before, or a new one. */
static int find_known(
    struct pc_schema_compiler *c, const struct pc_schema_all *all, uint32_t *rule, bool *is_new)
{
    struct {
        uintptr_t schema, done;
    } key[PC_SCHEMA_MAX_PARTS];
    size_t known = c->known.n;
    uint32_t number;
    memset(key, 0, sizeof key);
    for (int i = 0; i < all->n; i++) {
        key[i].schema = (uintptr_t)all->v[i].schema;
        key[i].done = (uintptr_t)all->v[i].any_done * 2 + all->v[i].one_done;
    }
    if (known == MAX_KNOWN)
        return pc_error_set(c->err, PACO_ELIMIT, "there are more than %d schemas", MAX_KNOWN);
    int rc = pc_grow(&c->rules, &c->rules_capacity, known, sizeof *c->rules, "schemas", c->err);
    if (rc == 0)
        rc = pc_intern(&c->known, key, (size_t)all->n * sizeof *key, &number, c->err);
    if (rc < 0)
        return rc;
    *is_new = number == known;
    if (*is_new)
        c->rules[number] = pc_grammar_rule(c->form.b);
    *rule = c->rules[number];
    return 0;
}

int pc_schema_compile(
    struct pc_schema_compiler *c, const struct pc_schema_all *given, const char *key, uint32_t *rule)
{
    struct pc_schema_all all = *given;
    bool is_new = false;
    if (c->depth == MAX_DEPTH)
        return pc_error_set(
            c->err, PACO_ELIMIT, "schemas at %s are more than %d deep", pc_schema_where(c), MAX_DEPTH);
    size_t len = strlen(c->path);
    if (key)
        snprintf(c->path + len, sizeof c->path - len, "/%s", key);
    c->depth++;
    int rc = pc_automaton_count(&c->work, WORK_PLACE, c->err);
    if (rc == 0)
        rc = pc_schema_flatten(c, &all);
    keep_speakers(&all);
    if (rc == 0 && all.nothing)
        *rule = pc_grammar_rule(c->form.b); // without an alternative
    else if (rc == 0 && (rc = find_known(c, &all, rule, &is_new)) == 0 && is_new)
        rc = add_all(c, *rule, &all);
    c->depth--;
    if (rc == 0)
        c->path[len] = '\0';
    return rc;
}

int pc_json_schema_compile(const json_t *schema, struct pc_grammar **out, struct paco_error *err)
{
    struct pc_schema_compiler c = {.root = schema, .work = PC_AUTOMATON_WORK, .err = err};
    struct pc_schema_all all = {.n = 0};
    struct pc_grammar_build *b;
    int rc = pc_grammar_begin(&b, err);
    if (rc < 0)
        return rc;
    pc_json_form_make(&c.form, b);
    uint32_t root = c.form.any_object;
    if (schema)
        rc = pc_schema_add(&c, &all, schema, -1, NULL);
    if (rc == 0 && schema)
        rc = pc_schema_compile(&c, &all, NULL, &root);
    pc_json_form_release(&c.form);
    pc_interner_release(&c.known);
    pc_free(c.rules);
    if (rc == 0)
        return pc_grammar_finish(b, root, out, err);
    pc_grammar_drop(b);
    return rc;
}

/* ---- what is no JSON ---- */

static int finish_texts(const struct pc_automaton *a, struct pc_grammar **out, struct paco_error *err)
{
    struct pc_json_form form;
    struct pc_grammar_build *b;
    uint32_t root;
    int rc = pc_grammar_begin(&b, err);
    if (rc < 0)
        return rc;
    pc_json_form_make(&form, b);
    rc = pc_json_form_automaton(&form, a, false, &root, err);
    pc_json_form_release(&form);
    if (rc == 0)
        return pc_grammar_finish(b, root, out, err);
    pc_grammar_drop(b);
    return rc;
}

int pc_json_regex_compile(const char *pattern, size_t len, struct pc_grammar **out, struct paco_error *err)
{
    struct pc_automaton a = {0};
    uint64_t work = PC_AUTOMATON_WORK;
    int rc = pc_pattern_compile(pattern, len, true, &work, &a, err);
    if (rc == 0)
        rc = finish_texts(&a, out, err);
    pc_automaton_release(&a);
    return rc;
}

int pc_json_choice_compile(const json_t *choices, struct pc_grammar **out, struct paco_error *err)
{
    struct pc_automaton a = {0};
    uint64_t work = PC_AUTOMATON_WORK;
    const json_t *v;
    size_t i, n = json_array_size(choices);
    if (n == 0)
        return pc_error_set(err, PACO_EINVAL, "a list of texts that is not empty is expected");
    struct pc_word *words = pc_alloc(n, sizeof *words);
    if (!words)
        return pc_error_mem(err, n * sizeof *words, "choices");
    int rc = 0;
    json_array_foreach(choices, i, v)
    {
        if (!json_is_string(v) || json_string_length(v) == 0)
            rc = pc_error_set(err, PACO_EINVAL, "choice %zu is %s; a text is expected", i,
                json_is_string(v) ? "empty" : pc_json_kind(v));
        else
            words[i] = (struct pc_word){json_string_value(v), json_string_length(v)};
        if (rc < 0)
            break;
    }
    if (rc == 0)
        rc = pc_automaton_of_words(words, n, &work, &a, err);
    if (rc == 0)
        rc = finish_texts(&a, out, err);
    pc_free(words);
    pc_automaton_release(&a);
    return rc;
}
