// SPDX-License-Identifier: Apache-2.0
/* Strings and numbers. */
#include "base/memory.h"
#include "engine/json_schema_parts.h"
#include "engine/pattern.h"
#include "engine/text_format.h"

#include <string.h>

/* ---- strings ---- */

/* *a, which is any text before the first call, becomes what it and the pattern allow. */
static int hold_to(struct pc_schema_compiler *c, struct pc_automaton *a, bool *any, const char *key,
    const char *pattern, size_t len)
{
    struct pc_automaton other = {0};
    int rc = pc_pattern_compile(pattern, len, false, &c->work, &other, c->err);
    if (rc == 0 && *any) {
        pc_automaton_release(a);
        *a = other;
        *any = false;
        return 0;
    }
    if (rc == 0)
        rc = pc_automaton_both(a, &other, &c->work, c->err);
    pc_automaton_release(&other);
    return rc < 0 ? pc_schema_blame(c, key, rc) : 0;
}

/* Patterns and formats of all parts. */
static int hold_to_patterns(
    struct pc_schema_compiler *c, const struct pc_schema_all *all, struct pc_automaton *a, bool *any)
{
    for (int i = 0; i < all->n; i++) {
        const json_t *pattern = json_object_get(all->v[i].schema, "pattern"),
                     *format = json_object_get(all->v[i].schema, "format");
        int rc = 0;
        if (pattern && !json_is_string(pattern))
            return pc_schema_wrong(c, "pattern", "a string", pattern);
        if (format && !json_is_string(format))
            return pc_schema_wrong(c, "format", "a string", format);
        if (pattern)
            rc = hold_to(c, a, any, "pattern", json_string_value(pattern), json_string_length(pattern));
        const char *known = format ? pc_text_format_pattern(json_string_value(format)) : NULL;
        if (rc == 0 && known)
            rc = hold_to(c, a, any, "format", known, strlen(known));
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int hold_to_length(struct pc_schema_compiler *c, struct pc_automaton *a, uint32_t min, uint32_t max)
{
    struct pc_automaton other = {0};
    int rc = pc_automaton_of_length(min, max, &other, c->err);
    if (rc == 0)
        rc = pc_automaton_both(a, &other, &c->work, c->err);
    pc_automaton_release(&other);
    return rc < 0 ? pc_schema_blame(c, max == UINT32_MAX ? "minLength" : "maxLength", rc) : 0;
}

int pc_schema_add_string(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all)
{
    struct pc_automaton a = {0};
    bool any = true;
    uint32_t min, max, text;
    int rc = pc_schema_range(c, all, "minLength", "maxLength", &min, &max);
    if (rc == 0)
        rc = hold_to_patterns(c, all, &a, &any);
    if (rc == 0 && any) {
        pc_json_form_string(&c->form, rule, min, max);
        return 0;
    }
    if (rc == 0 && (min > 0 || max != UINT32_MAX))
        rc = hold_to_length(c, &a, min, max);
    if (rc == 0)
        rc = pc_json_form_automaton(&c->form, &a, true, &text, c->err);
    if (rc == 0)
        pc_json_form_end_with(&c->form, rule, text);
    pc_automaton_release(&a);
    return rc;
}

/* The strings among the values of an enum or a const, as words (n of them, *owned*). */
static int list_words(const json_t *schema, struct pc_word **words, size_t *n, struct paco_error *err)
{
    const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
    size_t size = one ? 1 : json_array_size(list);
    *words = pc_alloc(size, sizeof **words);
    *n = 0;
    if (!*words)
        return pc_error_mem(err, size * sizeof **words, "the words of a schema");
    for (size_t i = 0; i < size; i++) {
        const json_t *v = one ? one : json_array_get(list, i);
        if (json_is_string(v))
            (*words)[(*n)++] = (struct pc_word){json_string_value(v), json_string_length(v)};
    }
    return 0;
}

int pc_schema_strings(
    struct pc_schema_compiler *c, struct pc_schema_all *all, struct pc_automaton *out, bool *any)
{
    uint32_t min, max;
    *any = true;
    int rc = pc_schema_flatten(c, all);
    if (rc == 0)
        rc = pc_schema_range(c, all, "minLength", "maxLength", &min, &max);
    if (rc == 0)
        rc = hold_to_patterns(c, all, out, any);
    for (int i = 0; rc == 0 && i < all->n; i++) {
        const json_t *s = all->v[i].schema;
        if (json_object_get(s, "anyOf") || json_object_get(s, "oneOf"))
            return pc_schema_refuse(c, "anyOf", "is not possible for the names of properties here");
        if (!json_object_get(s, "enum") && !json_object_get(s, "const"))
            continue;
        struct pc_word *words;
        size_t n;
        struct pc_automaton listed = {0};
        rc = list_words(s, &words, &n, c->err);
        if (rc == 0)
            rc = pc_automaton_of_words(words, n, &c->work, &listed, c->err);
        if (rc == 0 && !*any)
            rc = pc_automaton_both(&listed, out, &c->work, c->err);
        pc_free(words);
        pc_automaton_release(out);
        *out = listed;
        *any = false;
    }
    if (rc == 0 && (min > 0 || max != UINT32_MAX)) {
        if (*any)
            rc = pc_automaton_of_length(min, max, out, c->err);
        else
            rc = hold_to_length(c, out, min, max);
        *any = false;
    }
    if (rc == 0 && all->nothing) {
        pc_automaton_release(out);
        *any = false;
    }
    return rc;
}

/* ---- numbers ---- */

struct bounds {
    struct pc_decimal least, most;
    bool has_least, has_most, above, below;
};

/* One bound of one part: the narrower one stays. */
static int add_bound(const struct pc_schema_compiler *c, const json_t *schema, const char *key, bool lower,
    bool open, struct bounds *b)
{
    const json_t *v = json_object_get(schema, key);
    struct pc_decimal d, *kept = lower ? &b->least : &b->most;
    bool *has = lower ? &b->has_least : &b->has_most, *is_open = lower ? &b->above : &b->below;
    if (!v)
        return 0;
    if (!json_is_number(v))
        return pc_schema_wrong(c, key, "a number", v);
    int rc = pc_decimal_of(&d, v, c->err);
    if (rc < 0)
        return rc;
    int order = *has ? pc_decimal_compare(&d, kept) * (lower ? 1 : -1) : 1;
    if (order == 0)
        *is_open |= open;
    if (order <= 0)
        return 0;
    *kept = d;
    *has = true;
    *is_open = open;
    return 0;
}

static int find_bounds(const struct pc_schema_compiler *c, const struct pc_schema_all *all, struct bounds *b)
{
    *b = (struct bounds){.has_least = false};
    for (int i = 0; i < all->n; i++) {
        const json_t *s = all->v[i].schema;
        int rc = add_bound(c, s, "minimum", true, false, b);
        if (rc == 0)
            rc = add_bound(c, s, "maximum", false, false, b);
        if (rc == 0)
            rc = add_bound(c, s, "exclusiveMinimum", true, true, b);
        if (rc == 0)
            rc = add_bound(c, s, "exclusiveMaximum", false, true, b);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* *a becomes its numbers that are multiples of each multipleOf, too; empty before: all of those between
 * bounds. */
static int add_steps(struct pc_schema_compiler *c, const struct pc_schema_all *all,
    const struct pc_number_range *range, struct pc_automaton *a)
{
    bool first = true;
    for (int i = 0; i < all->n; i++) {
        const json_t *v = json_object_get(all->v[i].schema, "multipleOf");
        struct pc_decimal step;
        struct pc_number_range stepped = *range;
        struct pc_automaton other = {0};
        if (!v)
            continue;
        if (!json_is_number(v) || !(json_number_value(v) > 0))
            return pc_schema_wrong(c, "multipleOf", "a number above 0", v);
        int rc = pc_decimal_of(&step, v, c->err);
        stepped.step = &step;
        if (rc == 0)
            rc = pc_number_automaton(&stepped, &c->work, first ? a : &other, c->err);
        if (rc == 0 && !first)
            rc = pc_automaton_both(a, &other, &c->work, c->err);
        pc_automaton_release(&other);
        if (rc < 0)
            return pc_schema_blame(c, "multipleOf", rc);
        first = false;
    }
    return first ? pc_number_automaton(range, &c->work, a, c->err) : 0;
}

int pc_schema_add_number(
    struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all, bool whole)
{
    struct bounds b;
    struct pc_automaton a = {0};
    uint32_t number = whole ? c->form.integer : c->form.number;
    bool has_step = false;
    int rc = find_bounds(c, all, &b);
    for (int i = 0; i < all->n; i++)
        has_step |= json_object_get(all->v[i].schema, "multipleOf") != NULL;
    if (rc == 0 && (has_step || b.has_least || b.has_most)) {
        struct pc_number_range range = {.least = b.has_least ? &b.least : NULL,
            .most = b.has_most ? &b.most : NULL,
            .above_least = b.above,
            .below_most = b.below,
            .whole = whole};
        rc = add_steps(c, all, &range, &a);
        if (rc == 0)
            rc = pc_json_form_automaton(&c->form, &a, false, &number, c->err);
        pc_automaton_release(&a);
    }
    if (rc == 0)
        pc_json_form_end_with(&c->form, rule, number);
    return rc;
}

/* ---- listed values ---- */

static bool has_any(const json_t *schema, const char *const *keys)
{
    while (*keys && !json_object_get(schema, *keys))
        keys++;
    return *keys;
}

static int number_fits(
    struct pc_schema_compiler *c, const struct pc_schema_all *all, const json_t *value, bool *fits)
{
    struct bounds b = {.has_least = false};
    struct pc_decimal d;
    int rc = pc_decimal_of(&d, value, c->err);
    if (rc == 0)
        rc = find_bounds(c, all, &b);
    int over = rc == 0 && b.has_least ? pc_decimal_compare(&d, &b.least) : 1,
        under = rc == 0 && b.has_most ? pc_decimal_compare(&d, &b.most) : -1;
    *fits = over >= (b.has_least && b.above) && under <= -(int)(b.has_most && b.below);
    return rc;
}

static int string_fits(
    struct pc_schema_compiler *c, const struct pc_schema_all *all, const json_t *value, bool *fits)
{
    struct pc_automaton a = {0};
    bool any = true;
    uint32_t min, max, n = 0;
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    int rc = pc_schema_range(c, all, "minLength", "maxLength", &min, &max);
    if (rc == 0)
        rc = hold_to_patterns(c, all, &a, &any);
    for (size_t i = 0; i < len; i++)
        n += (text[i] & 0xc0) != 0x80;
    *fits = rc == 0 && n >= min && n <= max && (any || pc_automaton_accepts(&a, text, len));
    pc_automaton_release(&a);
    return rc;
}

/* What it takes to compare a value, as work is counted. */
static uint64_t weigh(const json_t *value)
{
    uint64_t n = 4 + json_string_length(value) / 64;
    const char *key;
    json_t *v;
    size_t i;
    json_array_foreach(value, i, v) n += weigh(v);
    json_object_foreach((json_t *)(uintptr_t)value, key, v) n += 16 + weigh(v);
    return n;
}

int pc_schema_fits(struct pc_schema_compiler *c, const struct pc_schema_all *all, const json_t *from,
    const json_t *value, bool *fits)
{
    static const char *const inner[] = {"properties", "required", "additionalProperties", "patternProperties",
        "propertyNames", "items", "prefixItems", "additionalItems", "minItems", "maxItems", NULL},
                             *const strings[] = {"pattern", "format", "minLength", "maxLength", NULL},
                             *const numbers[] = {
                                 "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", NULL};
    bool has_strings = false, has_numbers = false;
    uint64_t weight = weigh(value);
    *fits = true;
    for (int i = 0; i < all->n; i++) {
        const json_t *s = all->v[i].schema, *list = json_object_get(s, "enum"),
                     *one = json_object_get(s, "const"), *v;
        size_t k;
        bool listed = !list;
        if ((json_is_object(value) || json_is_array(value)) && has_any(s, inner))
            return pc_schema_refuse(
                c, "enum", "of objects or arrays cannot stand beside what they hold here");
        if (json_is_number(value) && json_object_get(s, "multipleOf"))
            return pc_schema_refuse(c, "multipleOf", "cannot stand beside enum or const here");
        has_strings |= has_any(s, strings);
        has_numbers |= has_any(s, numbers);
        if (pc_automaton_count(&c->work, weight * (s == from ? 1 : 1 + json_array_size(list)), c->err) < 0)
            return PACO_ELIMIT;
        if (s == from)
            continue;
        json_array_foreach(list, k, v) listed |=
            json_equal((json_t *)(uintptr_t)v, (json_t *)(uintptr_t)value);
        *fits &= listed && (!one || json_equal((json_t *)(uintptr_t)one, (json_t *)(uintptr_t)value));
    }
    if (*fits && json_is_string(value) && has_strings)
        return string_fits(c, all, value, fits);
    if (*fits && json_is_number(value) && has_numbers)
        return number_fits(c, all, value, fits);
    return 0;
}
