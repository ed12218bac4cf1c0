// SPDX-License-Identifier: Apache-2.0
/* A recursive descent over ECMA-262's Pattern, with the leniency of its annex B where people rely on it: a
 * brace that begins no count and a bracket that closes nothing are characters. */
#include "engine/pattern.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "engine/pattern_parts.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_GROUPS_DEEP = 64, MAX_TIMES = 100000 };
static const char WHAT[] = "a pattern";

struct parser {
    const char *text;
    size_t len, at;
    int depth;
    struct pc_pattern_tree *t;
    struct pc_char_range *set; /* the class being read */
    size_t n_set, set_capacity;
    struct paco_error *err;
};

void pc_pattern_tree_release(struct pc_pattern_tree *t)
{
    pc_free(t->nodes);
    pc_free(t->sets);
    pc_free(t->ranges);
    pc_free(t->ahead);
    *t = (struct pc_pattern_tree){0};
}

int pc_pattern_add(
    struct pc_pattern_tree *t, struct pc_pattern_node node, uint32_t *out, struct paco_error *err)
{
    int rc = pc_grow(&t->nodes, &t->nodes_capacity, t->n_nodes, sizeof *t->nodes, WHAT, err);
    if (rc < 0)
        return rc;
    *out = (uint32_t)t->n_nodes;
    t->nodes[t->n_nodes++] = node;
    return 0;
}

static int add(struct parser *p, struct pc_pattern_node node, uint32_t *out)
{
    return pc_pattern_add(p->t, node, out, p->err);
}

static int wrong(const struct parser *p, const char *what)
{
    return pc_error_set(p->err, PACO_EINVAL, "there is %s at byte %zu", what, p->at);
}

static int refuse(const struct parser *p, const char *what)
{
    return pc_error_set(p->err, PACO_EUNSUPPORTED, "%s (byte %zu) cannot be held to here", what, p->at);
}

static bool begins(const struct parser *p, const char *s)
{
    size_t n = strlen(s);
    return p->len - p->at >= n && memcmp(p->text + p->at, s, n) == 0;
}

static bool take(struct parser *p, const char *s)
{
    bool there = begins(p, s);
    p->at += there ? strlen(s) : 0;
    return there;
}

/* ---- sets of characters ---- */

static int add_range(struct parser *p, uint32_t first, uint32_t last)
{
    int rc = pc_grow(&p->set, &p->set_capacity, p->n_set, sizeof *p->set, WHAT, p->err);
    if (rc == 0)
        p->set[p->n_set++] = (struct pc_char_range){first, last};
    return rc;
}

static int by_first(const void *a, const void *b)
{
    const struct pc_char_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* The ranges from `from` on in order and apart. */
static void tidy(struct parser *p, size_t from)
{
    size_t n = from;
    if (p->n_set > from)
        qsort(p->set + from, p->n_set - from, sizeof *p->set, by_first);
    for (size_t i = from; i < p->n_set; i++) {
        struct pc_char_range r = p->set[i];
        if (n > from && r.first <= p->set[n - 1].last + 1)
            p->set[n - 1].last = r.last > p->set[n - 1].last ? r.last : p->set[n - 1].last;
        else
            p->set[n++] = r;
    }
    p->n_set = n;
}

/* What is not in the ranges from `from` on takes their place. */
static int invert(struct parser *p, size_t from)
{
    uint32_t at = 0;
    tidy(p, from);
    size_t n = p->n_set;
    for (size_t i = from; i < n; i++) {
        struct pc_char_range r = p->set[i];
        if (r.first > at && add_range(p, at, r.first - 1) < 0)
            return PACO_EMEM;
        at = r.last + 1;
    }
    if (at <= PC_LAST_CODE_POINT && add_range(p, at, PC_LAST_CODE_POINT) < 0)
        return PACO_EMEM;
    if (n > from)
        memmove(p->set + from, p->set + n, (p->n_set - n) * sizeof *p->set);
    p->n_set -= n - from;
    return 0;
}

/* \d \w \s and their opposites. */
static int add_named(struct parser *p, char name)
{
    static const struct pc_char_range digits[] = {{'0', '9'}},
                                      words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                                      spaces[] = {{9, 13}, {' ', ' '}, {0xa0, 0xa0}, {0x1680, 0x1680},
                                          {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
                                          {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    bool d = (name | 32) == 'd', w = (name | 32) == 'w';
    const struct pc_char_range *r = d ? digits : w ? words : spaces;
    size_t n = d ? 1 : w ? 4 : sizeof spaces / sizeof *spaces, from = p->n_set;
    for (size_t i = 0; i < n; i++)
        if (add_range(p, r[i].first, r[i].last) < 0)
            return PACO_EMEM;
    return name & 32 ? 0 : invert(p, from);
}

/* The set that was read, as a node. */
static int end_set(struct parser *p, uint32_t *out)
{
    struct pc_pattern_tree *t = p->t;
    tidy(p, 0);
    int rc = pc_grow(&t->sets, &t->sets_capacity, t->n_sets, sizeof *t->sets, WHAT, p->err);
    if (rc == 0)
        t->sets[t->n_sets++] = (struct pc_char_set){(uint32_t)t->n_ranges, (uint32_t)p->n_set};
    for (size_t i = 0; rc == 0 && i < p->n_set; i++) {
        rc = pc_grow(&t->ranges, &t->ranges_capacity, t->n_ranges, sizeof *t->ranges, WHAT, p->err);
        if (rc == 0)
            t->ranges[t->n_ranges++] = p->set[i];
    }
    p->n_set = 0;
    if (rc == 0)
        rc = add(p, (struct pc_pattern_node){PC_PATTERN_CHARS, (uint32_t)t->n_sets - 1, 0, 0, 0}, out);
    return rc;
}

/* ---- characters ---- */

static int read_hex(struct parser *p, int n, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < n; i++, p->at++) {
        char c = p->at < p->len ? p->text[p->at] : 0, lower = (char)(c | 32);
        if (!(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'f'))
            return wrong(p, "no hexadecimal digit");
        *out = *out * 16 + (uint32_t)(c <= '9' ? c - '0' : lower - 'a' + 10);
    }
    return 0;
}

static int read_unicode(struct parser *p, uint32_t *out)
{
    if (take(p, "{")) {
        const char *end = memchr(p->text + p->at, '}', p->len - p->at);
        size_t n = end ? (size_t)(end - (p->text + p->at)) : 0;
        if (n == 0 || n > 6)
            return wrong(p, "no code point in \\u{}");
        int rc = read_hex(p, (int)n, out);
        p->at++;
        return rc == 0 && *out > PC_LAST_CODE_POINT ? wrong(p, "a code point beyond U+10FFFF") : rc;
    }
    int rc = read_hex(p, 4, out);
    if (rc == 0 && *out >= 0xd800 && *out < 0xdc00 && begins(p, "\\u")) {
        size_t back = p->at;
        uint32_t low;
        p->at += 2;
        if ((rc = read_hex(p, 4, &low)) == 0 && low >= 0xdc00 && low < 0xe000)
            *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
        else
            p->at = back;
    }
    return rc;
}

/* Behind a backslash: a character. */
static int read_escape(struct parser *p, uint32_t *out)
{
    static const char letters[] = "nrtfv0", meanings[] = "\n\r\t\f\v";
    if (p->at == p->len)
        return wrong(p, "a backslash with nothing behind it");
    char c = p->text[p->at];
    const char *known = strchr(letters, c);
    bool digit_behind = p->at + 1 < p->len && p->text[p->at + 1] >= '0' && p->text[p->at + 1] <= '9';
    if ((c >= '1' && c <= '9') || (c == '0' && digit_behind) || c == 'k')
        return refuse(p, "a reference to a group");
    if (c == 'b' || c == 'B')
        return refuse(p, "a word boundary");
    if (c == 'p' || c == 'P')
        return refuse(p, "a property of Unicode");
    if (known && c) {
        p->at++;
        *out = (uint8_t)meanings[known - letters];
        return 0;
    }
    if (c == 'x' || c == 'u') {
        p->at++;
        return c == 'x' ? read_hex(p, 2, out) : read_unicode(p, out);
    }
    if (c == 'c') {
        char of = p->at + 1 < p->len ? (char)(p->text[p->at + 1] | 32) : 0;
        if (of < 'a' || of > 'z')
            return wrong(p, "no letter behind \\c");
        p->at += 2;
        *out = (uint32_t)(of - 'a' + 1);
        return 0;
    }
    p->at += pc_utf8_decode((const uint8_t *)p->text + p->at, p->len - p->at, out);
    return 0;
}

static bool is_named(const struct parser *p)
{
    return p->at + 1 < p->len && p->text[p->at] == '\\' && strchr("dDwWsS", p->text[p->at + 1]);
}

/* One character of a class; *named: it was a set of its own, and is added. */
static int read_member(struct parser *p, uint32_t *out, bool *named)
{
    *named = is_named(p);
    if (*named) {
        p->at += 2;
        return add_named(p, p->text[p->at - 1]);
    }
    if (begins(p, "\\b")) {
        p->at += 2;
        *out = '\b';
        return 0;
    }
    if (take(p, "\\"))
        return read_escape(p, out);
    size_t n = pc_utf8_decode((const uint8_t *)p->text + p->at, p->len - p->at, out);
    p->at += n ? n : 1;
    return 0;
}

/* Behind "[". */
static int read_class(struct parser *p, uint32_t *out)
{
    bool negated = take(p, "^");
    while (!take(p, "]")) {
        uint32_t first, last;
        bool named, to_named = false;
        if (p->at == p->len)
            return wrong(p, "a class that does not end");
        int rc = read_member(p, &first, &named);
        if (rc < 0)
            return rc;
        if (begins(p, "-") && !begins(p, "-]")) {
            p->at++;
            if (p->at == p->len)
                return wrong(p, "a class that does not end");
            rc = read_member(p, &last, &to_named);
            if (rc == 0 && (named || to_named)) // no range: three members
                rc = add_range(p, '-', '-');
            if (rc == 0 && !named && !to_named && last < first)
                return wrong(p, "a range of characters the wrong way round");
            if (rc == 0 && named && !to_named)
                rc = add_range(p, last, last);
        } else {
            last = first;
        }
        if (rc == 0 && !named)
            rc = add_range(p, first, to_named ? first : last);
        if (rc < 0)
            return rc;
    }
    int rc = negated ? invert(p, 0) : 0;
    return rc < 0 ? rc : end_set(p, out);
}

/* ---- structure ---- */

static int read_either(struct parser *p, uint32_t *out);

/* Behind "(". */
static int read_group(struct parser *p, uint32_t *out)
{
    if (begins(p, "?=") || begins(p, "?!"))
        return refuse(p, "lookahead that is not where the pattern begins");
    if (begins(p, "?<=") || begins(p, "?<!"))
        return refuse(p, "lookbehind");
    if (take(p, "?<")) {
        const char *end = memchr(p->text + p->at, '>', p->len - p->at);
        if (!end || end == p->text + p->at)
            return wrong(p, "a group without a name");
        p->at = (size_t)(end - p->text) + 1;
    } else if (begins(p, "?") && !take(p, "?:")) {
        return refuse(p, "a group with flags");
    }
    int rc = read_either(p, out);
    if (rc == 0 && !take(p, ")"))
        return wrong(p, "a group that does not end");
    return rc;
}

static int read_atom(struct parser *p, uint32_t *out)
{
    uint32_t c;
    if (take(p, "("))
        return read_group(p, out);
    if (take(p, "["))
        return read_class(p, out);
    if (take(p, "^"))
        return add(p, (struct pc_pattern_node){.kind = PC_PATTERN_BEGIN}, out);
    if (take(p, "$"))
        return add(p, (struct pc_pattern_node){.kind = PC_PATTERN_END}, out);
    if (begins(p, "*") || begins(p, "+") || begins(p, "?"))
        return wrong(p, "nothing to repeat");
    if (take(p, ".")) {
        if (add_range(p, '\n', '\n') < 0 || add_range(p, '\r', '\r') < 0 ||
            add_range(p, 0x2028, 0x2029) < 0 || invert(p, 0) < 0)
            return PACO_EMEM;
        return end_set(p, out);
    }
    if (is_named(p)) {
        p->at += 2;
        int rc = add_named(p, p->text[p->at - 1]);
        return rc < 0 ? rc : end_set(p, out);
    }
    if (take(p, "\\")) {
        int rc = read_escape(p, &c);
        if (rc < 0)
            return rc;
    } else {
        size_t n = pc_utf8_decode((const uint8_t *)p->text + p->at, p->len - p->at, &c);
        p->at += n ? n : 1;
    }
    int rc = add_range(p, c, c);
    return rc < 0 ? rc : end_set(p, out);
}

static bool read_number(struct parser *p, uint32_t *out)
{
    size_t begin = p->at;
    uint32_t x = 0;
    for (; p->at < p->len && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++)
        x = x > MAX_TIMES ? x : x * 10 + (uint32_t)(p->text[p->at] - '0');
    *out = x;
    return p->at > begin;
}

/* {n}, {n,} or {n,m}; false, and nothing taken, when it is none of them. */
static bool read_times(struct parser *p, uint32_t *min, uint32_t *max)
{
    size_t back = p->at;
    bool there = take(p, "{") && read_number(p, min);
    if (there) {
        *max = *min;
        if (take(p, ",") && !read_number(p, max))
            *max = UINT32_MAX;
        there = take(p, "}");
    }
    if (!there)
        p->at = back;
    return there;
}

static int read_repeated(struct parser *p, uint32_t *out)
{
    int rc = read_atom(p, out);
    uint32_t min = 0, max = UINT32_MAX;
    if (rc < 0)
        return rc;
    bool there = true;
    if (take(p, "+"))
        min = 1;
    else if (take(p, "?"))
        max = 1;
    else if (!take(p, "*"))
        there = read_times(p, &min, &max);
    if (!there)
        return 0;
    if (min > max)
        return wrong(p, "a count the wrong way round");
    if (min > MAX_TIMES || (max != UINT32_MAX && max > MAX_TIMES))
        return pc_error_set(p->err, PACO_ELIMIT, "the count at byte %zu is more than %d", p->at, MAX_TIMES);
    take(p, "?"); // lazy
    if (begins(p, "*") || begins(p, "+") || begins(p, "?"))
        return wrong(p, "nothing to repeat");
    return add(p, (struct pc_pattern_node){PC_PATTERN_REPEAT, *out, 0, min, max}, out);
}

static int read_sequence(struct parser *p, uint32_t *out)
{
    int rc = add(p, (struct pc_pattern_node){.kind = PC_PATTERN_EMPTY}, out);
    while (rc == 0 && p->at < p->len && !begins(p, "|") && !begins(p, ")")) {
        uint32_t next;
        rc = read_repeated(p, &next);
        if (rc == 0)
            rc = add(p, (struct pc_pattern_node){PC_PATTERN_BOTH, *out, next, 0, 0}, out);
    }
    return rc;
}

static int read_either(struct parser *p, uint32_t *out)
{
    if (p->depth == MAX_GROUPS_DEEP)
        return pc_error_set(p->err, PACO_ELIMIT, "groups are more than %d deep", MAX_GROUPS_DEEP);
    p->depth++;
    int rc = read_sequence(p, out);
    while (rc == 0 && take(p, "|")) {
        uint32_t other;
        rc = read_sequence(p, &other);
        if (rc == 0)
            rc = add(p, (struct pc_pattern_node){PC_PATTERN_EITHER, *out, other, 0, 0}, out);
    }
    p->depth--;
    return rc;
}

/* "^(?!x)(?=y)" at the beginning, where no alternative does without it. */
static int read_ahead(struct parser *p)
{
    struct pc_pattern_tree *t = p->t;
    while (begins(p, "(?=") || begins(p, "(?!")) {
        struct pc_pattern_ahead a = {.negated = begins(p, "(?!")};
        p->at += 3;
        int rc = read_either(p, &a.node);
        if (rc == 0 && !take(p, ")"))
            rc = wrong(p, "a group that does not end");
        if (rc == 0)
            rc = pc_grow(&t->ahead, &t->ahead_capacity, t->n_ahead, sizeof *t->ahead, WHAT, p->err);
        if (rc < 0)
            return rc;
        t->ahead[t->n_ahead++] = a;
    }
    return 0;
}

static int parse(struct parser *p)
{
    bool has_ahead = begins(p, "^(?=") || begins(p, "^(?!");
    uint32_t begin;
    if (has_ahead) {
        p->at++;
        int rc = read_ahead(p);
        if (rc < 0)
            return rc;
    }
    int rc = has_ahead ? read_sequence(p, &p->t->root) : read_either(p, &p->t->root);
    if (rc == 0 && begins(p, "|"))
        return refuse(p, "an alternative beside lookahead");
    if (rc == 0 && p->at < p->len)
        return wrong(p, "a parenthesis that closes nothing");
    if (rc == 0 && has_ahead)
        rc = add(p, (struct pc_pattern_node){.kind = PC_PATTERN_BEGIN}, &begin);
    if (rc == 0 && has_ahead)
        rc = add(p, (struct pc_pattern_node){PC_PATTERN_BOTH, begin, p->t->root, 0, 0}, &p->t->root);
    return rc;
}

int pc_pattern_parse(const char *pattern, size_t len, struct pc_pattern_tree *t, struct paco_error *err)
{
    struct parser p = {.text = pattern, .len = len, .t = t, .err = err};
    if (len > PC_PATTERN_MAX_SIZE)
        return pc_error_set(
            err, PACO_ELIMIT, "it has %zu bytes; at most %d are possible", len, PC_PATTERN_MAX_SIZE);
    if (!pc_utf8_valid((const uint8_t *)pattern, len, NULL))
        return pc_error_set(err, PACO_EINVAL, "it is no UTF-8");
    int rc = parse(&p);
    pc_free(p.set);
    return rc;
}
