// SPDX-License-Identifier: Apache-2.0
#include "engine/constraint.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What looking for the next token may cost: a form made to cost ends there, with the tokens found so far. */
static const uint64_t MAX_WORK = 1 << 21;

struct spelt {
    const char *bytes;
    uint32_t len, common; /* bytes; how many of them the one before in order begins with, too */
    int32_t id;
    uint32_t n_plain; /* characters, all plain (pc_follower_free_run); 0: it has others */
};

struct pc_spelling {
    const struct pc_tokenizer *tok;
    struct spelt *v; /* sorted by bytes */
    size_t n;
};

struct pc_constraint {
    const struct pc_spelling *spelling;
    struct pc_follower *follower;
    bool *allowed; /* (n_tokens) */
    size_t n_tokens;
    int32_t *end_ids;
    size_t n_end_ids;
};

static int by_bytes(const void *a, const void *b)
{
    const struct spelt *x = a, *y = b;
    uint32_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->bytes, y->bytes, n);
    if (order)
        return order;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t count_plain(const char *bytes, size_t len)
{
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)bytes[i];
        bool ends_line = len - i >= 3 && (memcmp(bytes + i, "\xe2\x80\xa8", 3) == 0 ||
                                             memcmp(bytes + i, "\xe2\x80\xa9", 3) == 0);
        if (c < 0x20 || c == '"' || c == '\\' || ends_line)
            return 0;
        n += (c & 0xc0) != 0x80;
    }
    return pc_utf8_valid((const uint8_t *)bytes, len, NULL) ? n : 0;
}

static void find_common(struct pc_spelling *s)
{
    for (size_t i = 1; i < s->n; i++) {
        const struct spelt *before = &s->v[i - 1];
        struct spelt *t = &s->v[i];
        while (
            t->common < t->len && t->common < before->len && t->bytes[t->common] == before->bytes[t->common])
            t->common++;
    }
}

int pc_spelling_new(const struct pc_tokenizer *tok, struct pc_spelling **out, struct paco_error *err)
{
    size_t n = (size_t)pc_tokenizer_n_tokens(tok);
    struct pc_spelling *s = pc_alloc_zero(1, sizeof *s);
    if (s)
        s->v = pc_alloc(n, sizeof *s->v);
    if (!s || !s->v) {
        pc_free(s);
        return pc_error_mem(err, n * sizeof *s->v, "the spelling of tokens");
    }
    s->tok = tok;
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        const char *bytes = pc_tokenizer_bytes(tok, (int32_t)i, &len);
        // What is longer than can be tried is never chosen: runs of hundreds of spaces.
        if (bytes && len > 0 && len <= PC_FOLLOWER_DEPTH && !pc_tokenizer_is_special(tok, (int32_t)i))
            s->v[s->n++] = (struct spelt){bytes, (uint32_t)len, 0, (int32_t)i, count_plain(bytes, len)};
    }
    qsort(s->v, s->n, sizeof *s->v, by_bytes);
    find_common(s);
    *out = s;
    return 0;
}

void pc_spelling_free(struct pc_spelling *s)
{
    if (!s)
        return;
    pc_free(s->v);
    pc_free(s);
}

int pc_constraint_new(const struct pc_spelling *spelling, struct pc_grammar *grammar, const int32_t *end_ids,
    size_t n_end_ids, struct pc_constraint **out, struct paco_error *err)
{
    struct pc_constraint *c = pc_alloc_zero(1, sizeof *c);
    if (!c)
        return pc_error_mem(err, sizeof *c, "a constraint");
    c->spelling = spelling;
    c->n_tokens = (size_t)pc_tokenizer_n_tokens(spelling->tok);
    c->allowed = pc_alloc(c->n_tokens, sizeof *c->allowed);
    c->end_ids = pc_alloc(n_end_ids, sizeof *c->end_ids);
    int rc = c->allowed && c->end_ids ? pc_follower_new(grammar, &c->follower, err)
                                      : pc_error_mem(err, c->n_tokens, "a constraint");
    if (rc == 0 && n_end_ids)
        memcpy(c->end_ids, end_ids, n_end_ids * sizeof *end_ids);
    c->n_end_ids = n_end_ids;
    if (rc < 0)
        pc_constraint_free(c);
    else
        *out = c;
    return rc;
}

void pc_constraint_free(struct pc_constraint *c)
{
    if (!c)
        return;
    pc_follower_free(c->follower);
    pc_free(c->allowed);
    pc_free(c->end_ids);
    pc_free(c);
}

void pc_constraint_reset(struct pc_constraint *c)
{
    pc_follower_reset(c->follower);
}

/* Go on with as many of bytes as fit. */
static size_t follow(struct pc_constraint *c, const char *bytes, size_t len)
{
    size_t i = 0;
    while (i < len && pc_follower_step(c->follower, (uint8_t)bytes[i]))
        i++;
    return i;
}

static const char *spell(const struct pc_constraint *c, int32_t id, size_t *len)
{
    *len = 0;
    return pc_tokenizer_is_special(c->spelling->tok, id) ? NULL
                                                         : pc_tokenizer_bytes(c->spelling->tok, id, len);
}

bool pc_constraint_allows(struct pc_constraint *c, int32_t id)
{
    for (size_t i = 0; i < c->n_end_ids; i++)
        if (c->end_ids[i] == id)
            return pc_follower_may_end(c->follower);
    size_t len;
    const char *bytes = spell(c, id, &len);
    bool fits = bytes && len > 0 && follow(c, bytes, len) == len;
    pc_follower_back(c->follower, 0);
    return fits;
}

static void try_all(struct pc_constraint *c)
{
    const struct pc_spelling *s = c->spelling;
    uint32_t free_run = pc_follower_free_run(c->follower);
    bool begun = false;
    size_t fitted = 0; /* bytes of the token tried last: the follower stands behind them */
    size_t common = 0; /* bytes it shares with the one at hand */
    memset(c->allowed, 0, c->n_tokens * sizeof *c->allowed);
    pc_follower_set_budget(c->follower, MAX_WORK);
    for (size_t i = 0; i < s->n; i++) {
        const struct spelt *t = &s->v[i];
        common = begun && t->common < common ? t->common : common;
        if (t->n_plain > 0 && t->n_plain <= free_run) {
            c->allowed[t->id] = true;
            continue;
        }
        if (common > fitted) // it begins with what did not fit
            continue;
        pc_follower_back(c->follower, common);
        fitted = common + follow(c, t->bytes + common, t->len - common);
        c->allowed[t->id] = fitted == t->len;
        begun = true;
        common = t->len;
    }
    pc_follower_set_budget(c->follower, UINT64_MAX);
    pc_follower_back(c->follower, 0);
}

void pc_constraint_limit(struct pc_constraint *c, float *score, size_t n)
{
    try_all(c);
    for (size_t i = 0; i < c->n_end_ids; i++)
        if (c->end_ids[i] >= 0 && (size_t)c->end_ids[i] < c->n_tokens)
            c->allowed[c->end_ids[i]] = pc_follower_may_end(c->follower);
    for (size_t i = 0; i < n; i++)
        if (i >= c->n_tokens || !c->allowed[i])
            score[i] = -INFINITY;
}

void pc_constraint_accept(struct pc_constraint *c, int32_t id)
{
    size_t len;
    const char *bytes = spell(c, id, &len);
    if (bytes && len && follow(c, bytes, len) == len)
        pc_follower_settle(c->follower);
    else
        pc_follower_back(c->follower, 0);
}
