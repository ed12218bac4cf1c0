// SPDX-License-Identifier: Apache-2.0
/* Objects and arrays. The names an object may have besides those of its schema fall into classes: for each
 * set of patterns the names that these match and no others, an automaton, and what all that speak of them say
 * of their values. A name that is a property's own is in none of them, so that no member comes twice with
 * another value. */
#include "base/memory.h"
#include "engine/json_schema_parts.h"
#include "engine/pattern.h"

#include <stdio.h>
#include <string.h>

enum { MAX_PROPERTIES = 1000, MAX_PATTERNS = 4 };

struct named {
    const char *key;
    bool required;
};

struct pattern {
    int part;
    const json_t *schema;
    struct pc_automaton texts;
};

struct object {
    struct pc_schema_compiler *c;
    const struct pc_schema_all *all;
    struct pc_interner names;
    struct named *v; /* (n) properties in order, then what is only required */
    size_t n, capacity;
    struct pattern patterns[MAX_PATTERNS];
    int n_patterns;
    struct pc_automaton keys; /* of propertyNames */
    bool any_key;
    bool open; /* some part says what others may be */
};

/* ---- what there is ---- */

static int add_name(struct object *o, const char *key, bool required)
{
    struct pc_schema_compiler *c = o->c;
    uint32_t i;
    int rc = pc_automaton_count(&c->work, 16 + strlen(key), c->err);
    if (rc == 0)
        rc = pc_intern(&o->names, key, strlen(key), &i, c->err);
    if (rc == 0 && i == o->n) {
        if (o->n == MAX_PROPERTIES)
            return pc_error_set(
                c->err, PACO_ELIMIT, "more than %d properties at %s", MAX_PROPERTIES, pc_schema_where(c));
        rc = pc_grow(&o->v, &o->capacity, o->n, sizeof *o->v, "properties", c->err);
        if (rc == 0)
            o->v[o->n++] = (struct named){key, false};
    }
    if (rc == 0)
        o->v[i].required |= required;
    return rc;
}

static int add_names(struct object *o, const json_t *schema)
{
    const json_t *properties = json_object_get(schema, "properties");
    const char *key;
    json_t *v;
    int rc = 0;
    if (properties && !json_is_object(properties))
        return pc_schema_wrong(o->c, "properties", "an object", properties);
    json_object_foreach((json_t *)(uintptr_t)properties, key, v) if (rc == 0) rc = add_name(o, key, false);
    return rc;
}

static int add_required(struct object *o, const json_t *schema)
{
    const json_t *required = json_object_get(schema, "required"), *v;
    size_t i;
    int rc = 0;
    if (required && !json_is_array(required))
        return pc_schema_wrong(o->c, "required", "an array", required);
    json_array_foreach(required, i, v)
    {
        if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
            return pc_schema_wrong(o->c, "required", "an array of names", v);
        if ((rc = add_name(o, json_string_value(v), true)) < 0)
            return rc;
    }
    return 0;
}

static int add_patterns(struct object *o, int part)
{
    struct pc_schema_compiler *c = o->c;
    const json_t *list = json_object_get(o->all->v[part].schema, "patternProperties");
    const char *key;
    json_t *v;
    if (list && !json_is_object(list))
        return pc_schema_wrong(c, "patternProperties", "an object", list);
    json_object_foreach((json_t *)(uintptr_t)list, key, v)
    {
        if (o->n_patterns == MAX_PATTERNS)
            return pc_error_set(c->err, PACO_ELIMIT, "\"patternProperties\" at %s: more than %d patterns",
                pc_schema_where(c), MAX_PATTERNS);
        struct pattern *p = &o->patterns[o->n_patterns++];
        *p = (struct pattern){.part = part, .schema = v};
        int rc = pc_pattern_compile(key, strlen(key), false, &c->work, &p->texts, c->err);
        if (rc < 0)
            return pc_schema_blame(c, "patternProperties", rc);
    }
    return 0;
}

static int find_parts(struct object *o)
{
    struct pc_schema_all names = {.n = 0};
    int rc = 0;
    for (int i = 0; rc == 0 && i < o->all->n; i++)
        rc = add_names(o, o->all->v[i].schema);
    for (int i = 0; rc == 0 && i < o->all->n; i++) {
        const json_t *schema = o->all->v[i].schema, *of_names = json_object_get(schema, "propertyNames");
        rc = add_required(o, schema);
        if (rc == 0)
            rc = add_patterns(o, i);
        if (rc == 0 && of_names)
            rc = pc_schema_add(o->c, &names, of_names, -1, "propertyNames");
        o->open |= json_object_get(schema, "additionalProperties") != NULL;
    }
    if (rc == 0 && (names.n > 0 || names.nothing))
        rc = pc_schema_strings(o->c, &names, &o->keys, &o->any_key);
    o->open |= o->n == 0 && o->n_patterns == 0;
    return rc;
}

/* ---- members ---- */

/* "key": value, as the rule *out. */
static int add_member(struct object *o, const char *key, uint32_t *out)
{
    struct pc_schema_compiler *c = o->c;
    struct pc_schema_all value = {
        .nothing = !o->any_key && !pc_automaton_accepts(&o->keys, key, strlen(key))};
    char name[96];
    uint32_t rule = 0;
    int rc = 0;
    snprintf(name, sizeof name, "properties/%.80s", key);
    for (int i = 0; rc == 0 && i < o->all->n; i++) {
        const json_t *schema = o->all->v[i].schema, *more = json_object_get(schema, "additionalProperties"),
                     *own = json_object_get(json_object_get(schema, "properties"), key);
        bool spoken = own != NULL;
        if (own)
            rc = pc_schema_add(c, &value, own, -1, name);
        for (int k = 0; rc == 0 && k < o->n_patterns; k++)
            if (o->patterns[k].part == i && pc_automaton_accepts(&o->patterns[k].texts, key, strlen(key))) {
                spoken = true;
                rc = pc_schema_add(c, &value, o->patterns[k].schema, -1, name);
            }
        if (rc == 0 && !spoken && more)
            rc = pc_schema_add(c, &value, more, -1, name);
    }
    if (rc == 0)
        rc = pc_schema_compile(c, &value, name, &rule);
    if (rc < 0)
        return rc;
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    pc_json_write_string(&b, key, strlen(key), false);
    rc = pc_buf_check(&b, "a schema", c->err);
    *out = pc_grammar_rule(c->form.b);
    if (rc == 0) {
        pc_grammar_text(c->form.b, *out, b.data, b.len);
        pc_json_form_colon(&c->form, *out);
        pc_json_form_end_with(&c->form, *out, rule);
    }
    pc_buf_release(&b);
    return rc;
}

/* The names that are no property's own and match the patterns of mask alone. */
static int find_keys(struct object *o, unsigned mask, struct pc_automaton *keys)
{
    struct pc_schema_compiler *c = o->c;
    struct pc_automaton own = {0};
    struct pc_word *words = pc_alloc(o->n, sizeof *words);
    int rc = words ? pc_automaton_of_length(0, UINT32_MAX, keys, c->err)
                   : pc_error_mem(c->err, o->n * sizeof *words, "names");
    if (rc == 0 && !o->any_key)
        rc = pc_automaton_both(keys, &o->keys, &c->work, c->err);
    for (int k = 0; rc == 0 && k < o->n_patterns; k++)
        rc = (mask >> k & 1 ? pc_automaton_both : pc_automaton_without)(
            keys, &o->patterns[k].texts, &c->work, c->err);
    for (size_t i = 0; rc == 0 && i < o->n; i++)
        words[i] = (struct pc_word){o->v[i].key, strlen(o->v[i].key)};
    if (rc == 0)
        rc = pc_automaton_of_words(words, o->n, &c->work, &own, c->err);
    if (rc == 0)
        rc = pc_automaton_without(keys, &own, &c->work, c->err);
    pc_automaton_release(&own);
    pc_free(words);
    return rc < 0 ? pc_schema_blame(c, "additionalProperties", rc) : 0;
}

/* What members of a class have as their value. */
static int find_value(struct object *o, unsigned mask, uint32_t *rule)
{
    struct pc_schema_all value = {.n = 0};
    int rc = 0;
    for (int i = 0; rc == 0 && i < o->all->n; i++) {
        const json_t *more = json_object_get(o->all->v[i].schema, "additionalProperties");
        bool spoken = false;
        for (int k = 0; rc == 0 && k < o->n_patterns; k++)
            if (o->patterns[k].part == i && mask >> k & 1) {
                spoken = true;
                rc = pc_schema_add(o->c, &value, o->patterns[k].schema, -1, "patternProperties");
            }
        if (rc == 0 && !spoken && more)
            rc = pc_schema_add(o->c, &value, more, -1, "additionalProperties");
    }
    return rc < 0 ? rc : pc_schema_compile(o->c, &value, "additionalProperties", rule);
}

/* Members of the names of a class, as alternatives of rule. */
static int add_class(struct object *o, unsigned mask, uint32_t rule)
{
    struct pc_schema_compiler *c = o->c;
    struct pc_automaton keys = {0};
    uint32_t key = c->form.string, value;
    bool all = o->any_key && o->n == 0 && o->n_patterns == 0;
    int rc = find_value(o, mask, &value);
    if (rc == 0 && !all)
        rc = find_keys(o, mask, &keys);
    if (rc == 0 && !all)
        rc = pc_json_form_automaton(&c->form, &keys, true, &key, c->err);
    pc_automaton_release(&keys);
    if (rc < 0)
        return rc;
    pc_grammar_call(c->form.b, rule, key);
    pc_json_form_colon(&c->form, rule);
    pc_grammar_call(c->form.b, rule, value);
    pc_json_form_end_with(&c->form, rule, c->form.space);
    return 0;
}

/* What may stand behind the last property: other members where they are allowed, then the end. rest has two
 * rules: without a member before it, and behind one. */
static int make_tail(struct object *o, uint32_t rest[2])
{
    struct pc_json_form *f = &o->c->form;
    uint32_t member = pc_grammar_rule(f->b), next = pc_grammar_rule(f->b);
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        rest[i] = pc_grammar_rule(f->b);
        pc_json_form_text(f, rest[i], "}");
        pc_grammar_end(f->b, rest[i]);
    }
    for (unsigned mask = 0; rc == 0 && mask < 1u << o->n_patterns; mask++)
        if (mask || o->open)
            rc = add_class(o, mask, member);
    pc_json_form_text(f, next, ",");
    pc_grammar_call(f->b, next, f->space);
    pc_json_form_end_with(f, next, member);
    for (int i = 0; i < 2; i++) {
        pc_grammar_call(f->b, rest[i], i ? next : member);
        pc_grammar_repeat(f->b, rest[i], next, 0, UINT32_MAX);
        pc_json_form_text(f, rest[i], "}");
        pc_grammar_end(f->b, rest[i]);
    }
    return rc;
}

/* From the last property to the first: each leads to what may follow it. */
static int add_members(struct object *o, uint32_t rule)
{
    struct pc_json_form *f = &o->c->form;
    uint32_t rest[2], *members = pc_alloc(o->n, sizeof *members);
    int rc = members ? make_tail(o, rest) : pc_error_mem(o->c->err, o->n * sizeof *members, "properties");
    for (size_t i = 0; rc == 0 && i < o->n; i++)
        rc = add_member(o, o->v[i].key, &members[i]);
    for (size_t i = o->n; rc == 0 && i-- > 0;) {
        uint32_t before[2] = {pc_grammar_rule(f->b), pc_grammar_rule(f->b)};
        for (int k = 0; k < 2; k++) {
            if (k) {
                pc_json_form_text(f, before[k], ",");
                pc_grammar_call(f->b, before[k], f->space);
            }
            pc_grammar_call(f->b, before[k], members[i]);
            pc_grammar_call(f->b, before[k], f->space);
            pc_json_form_end_with(f, before[k], rest[1]);
            if (!o->v[i].required)
                pc_json_form_end_with(f, before[k], rest[k]);
        }
        memcpy(rest, before, sizeof rest);
    }
    pc_free(members);
    if (rc == 0) {
        pc_json_form_text(f, rule, "{");
        pc_grammar_call(f->b, rule, f->space);
        pc_json_form_end_with(f, rule, rest[0]);
    }
    return rc;
}

int pc_schema_add_object(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all)
{
    struct object o = {.c = c, .all = all, .any_key = true};
    bool says_more = false;
    int rc = find_parts(&o);
    for (int i = 0; i < all->n; i++) {
        const json_t *more = json_object_get(all->v[i].schema, "additionalProperties");
        says_more |= more && !json_is_true(more);
    }
    if (rc == 0 && o.n == 0 && o.n_patterns == 0 && o.any_key && !says_more)
        pc_json_form_end_with(&c->form, rule, c->form.any_object);
    else if (rc == 0)
        rc = add_members(&o, rule);
    for (int i = 0; i < o.n_patterns; i++)
        pc_automaton_release(&o.patterns[i].texts);
    pc_automaton_release(&o.keys);
    pc_interner_release(&o.names);
    pc_free(o.v);
    return rc;
}

/* ---- arrays ---- */

/* The places that a part names, and what it says of those behind them; the older words for it, too. */
static const json_t *places_of(const json_t *schema)
{
    const json_t *items = json_object_get(schema, "items");
    return json_is_array(items) ? items : json_object_get(schema, "prefixItems");
}

static const json_t *items_of(const json_t *schema)
{
    const json_t *items = json_object_get(schema, "items");
    return json_is_array(items) ? json_object_get(schema, "additionalItems") : items;
}

/* What all parts say of place i. */
static int add_place(struct pc_schema_compiler *c, const struct pc_schema_all *all, size_t i, uint32_t *rule)
{
    struct pc_schema_all value = {.n = 0};
    char name[48];
    int rc = 0;
    snprintf(name, sizeof name, "prefixItems/%zu", i);
    for (int k = 0; rc == 0 && k < all->n; k++) {
        const json_t *places = places_of(all->v[k].schema), *items = items_of(all->v[k].schema),
                     *one = i < json_array_size(places) ? json_array_get(places, i) : items;
        if (one)
            rc = pc_schema_add(c, &value, one, -1, name);
    }
    return rc < 0 ? rc : pc_schema_compile(c, &value, name, rule);
}

static int add_items(
    struct pc_schema_compiler *c, const struct pc_schema_all *all, uint32_t *rule, bool *said)
{
    struct pc_schema_all value = {.n = 0};
    int rc = 0;
    *said = false;
    for (int k = 0; rc == 0 && k < all->n; k++) {
        const json_t *items = items_of(all->v[k].schema);
        *said |= items != NULL;
        if (items)
            rc = pc_schema_add(c, &value, items, -1, "items");
    }
    return rc < 0 ? rc : pc_schema_compile(c, &value, "items", rule);
}

/* All of the places are asked for: what may be left out of them seldom is meant. */
static int add_places(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all, size_t n)
{
    pc_json_form_text(&c->form, rule, "[");
    pc_grammar_call(c->form.b, rule, c->form.space);
    for (size_t i = 0; i < n; i++) {
        uint32_t one;
        int rc = add_place(c, all, i, &one);
        if (rc < 0)
            return rc;
        if (i) {
            pc_json_form_text(&c->form, rule, ",");
            pc_grammar_call(c->form.b, rule, c->form.space);
        }
        pc_grammar_call(c->form.b, rule, one);
        pc_grammar_call(c->form.b, rule, c->form.space);
    }
    return 0;
}

int pc_schema_add_array(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all)
{
    uint32_t item, min, max;
    size_t n = 0;
    bool said = false;
    for (int k = 0; k < all->n; k++) {
        const json_t *places = places_of(all->v[k].schema);
        if (places && !json_is_array(places))
            return pc_schema_wrong(c, "prefixItems", "an array", places);
        n = json_array_size(places) > n ? json_array_size(places) : n;
    }
    int rc = pc_schema_range(c, all, "minItems", "maxItems", &min, &max);
    if (rc == 0)
        rc = add_items(c, all, &item, &said);
    if (rc != 0)
        return rc;
    n = n > max ? max : n;
    if (n == 0) {
        pc_json_form_list(&c->form, rule, "[]", item, min, max);
        return 0;
    }
    rc = add_places(c, rule, all, n);
    if (rc == 0 && max > n && (said || min > n)) {
        uint32_t next = pc_grammar_rule(c->form.b);
        pc_json_form_text(&c->form, next, ",");
        pc_grammar_call(c->form.b, next, c->form.space);
        pc_grammar_call(c->form.b, next, item);
        pc_grammar_call(c->form.b, next, c->form.space);
        pc_grammar_end(c->form.b, next);
        pc_grammar_repeat(c->form.b, rule, next, min > n ? min - (uint32_t)n : 0,
            max == UINT32_MAX ? max : max - (uint32_t)n);
    }
    if (rc == 0) {
        pc_json_form_text(&c->form, rule, "]");
        pc_grammar_end(c->form.b, rule);
    }
    return rc;
}
