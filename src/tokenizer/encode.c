// SPDX-License-Identifier: Apache-2.0
/* A text to ids: cut at added tokens, then each stretch of text by its own rules. See tokenizer_parts.h for
 * the order. */
#include "base/utf8.h"
#include "tokenizer/tokenizer_parts.h"

#include <string.h>

enum { CACHE_FROM = 512 }; /* bytes of text from which remembering words pays */

static int reserve_ids(struct pc_ids *ids, size_t n, struct paco_error *err)
{
    if (ids->capacity - ids->n >= n)
        return 0;
    size_t capacity = ids->capacity + ids->capacity / 2;
    if (capacity < ids->n + n)
        capacity = ids->n + n;
    if (capacity < 64)
        capacity = 64;
    int32_t *v = pc_realloc(ids->v, capacity, sizeof *v);
    if (!v)
        return pc_error_mem(err, capacity * sizeof *v, "token ids");
    ids->v = v;
    ids->capacity = capacity;
    return 0;
}

int pc_ids_add(struct pc_ids *ids, int32_t id, struct paco_error *err)
{
    if (ids->n == ids->capacity && reserve_ids(ids, 1, err) < 0)
        return PACO_EMEM;
    ids->v[ids->n++] = id;
    return 0;
}

int pc_ids_add_n(struct pc_ids *ids, size_t from, size_t n, struct paco_error *err)
{
    if (reserve_ids(ids, n, err) < 0)
        return PACO_EMEM;
    memcpy(ids->v + ids->n, ids->v + from, n * sizeof *ids->v);
    ids->n += n;
    return 0;
}

void pc_ids_release(struct pc_ids *ids)
{
    pc_free(ids->v);
    *ids = (struct pc_ids){0};
}

/* ---- the tokenizers library's way ---- */

/* What Python hands to it is always valid: broken bytes have become U+FFFD, one for each maximal part of a
 * sequence. */
static int make_valid(const char **text, size_t *len, struct pc_buf *fixed, struct paco_error *err)
{
    size_t bad, done = 0;
    while (!pc_utf8_valid((const uint8_t *)*text + done, *len - done, &bad)) {
        pc_buf_add(fixed, *text + done, bad);
        pc_buf_add(fixed, "\xef\xbf\xbd", 3);
        done += bad + pc_utf8_broken((const uint8_t *)*text + done + bad, *len - done - bad);
    }
    if (!done)
        return 0;
    pc_buf_add(fixed, *text + done, *len - done);
    *text = fixed->data;
    *len = fixed->len;
    return pc_buf_check(fixed, "text", err);
}

/* The non-legacy slow tokenizer begins by making the marks in a text spaces, which an added token may then
 * take with it. */
static int marks_to_spaces(const char **text, size_t *len, struct pc_buf *fixed, struct paco_error *err)
{
    const struct pc_normal_step step = {PC_NORMAL_REPLACE, {PC_SPACE_MARK, 3}, {" ", 1}};
    if (!memmem(*text, *len, PC_SPACE_MARK, 3))
        return 0;
    int rc = pc_normalize(&step, 1, *text, *len, fixed, err);
    if (rc == 0)
        rc = pc_buf_check(fixed, "text", err);
    *text = fixed->data;
    *len = fixed->len;
    return rc;
}

static int encode_normalized(struct pc_encoder *e, size_t at, size_t len, bool first)
{
    const struct pc_tokenizer *tok = e->tok;
    if (len == 0)
        return 0;
    if (!tok->after.n_nodes)
        return pc_pretokenize(e, 0, at, len, first);
    struct pc_stretches parts = {0};
    int rc = pc_added_split(
        tok, &tok->after, e->flags & PC_ENCODE_PARSE, false, e->work.data + at, len, &parts, e->err);
    for (size_t i = 0; i < parts.n && rc == 0; i++) {
        const struct pc_stretch *s = &parts.v[i];
        rc = s->added ? pc_ids_add(e->out, s->added->id, e->err)
                      : pc_pretokenize(e, 0, at + s->at, s->len, first && s->at == 0);
    }
    pc_free(parts.v);
    return rc;
}

static int encode_fast(struct pc_encoder *e, const char *text, const struct pc_stretch *s)
{
    size_t at = e->work.len;
    int rc = pc_normalize(e->tok->normal, e->tok->n_normal, text + s->at, s->len, &e->work, e->err);
    if (rc == 0)
        rc = pc_buf_check(&e->work, "normalised text", e->err);
    return rc == 0 ? encode_normalized(e, at, e->work.len - at, s->at == 0) : rc;
}

/* ---- SentencePiece's way ---- */

static int encode_spm(struct pc_encoder *e, const char *text, const struct pc_stretch *s, bool prefix)
{
    size_t at = e->work.len;
    int rc = pc_spm_normalize(e->tok, text + s->at, s->len, prefix, &e->work, e->err);
    return rc == 0 ? pc_encode_spm(e, at, e->work.len - at) : rc;
}

/* The non-legacy slow tokenizer puts its mark in front of the whole text, and takes it back when a special
 * token follows at once; before any other added token it stays. */
static int encode_lone_mark(struct pc_encoder *e, const struct pc_stretches *parts)
{
    if (e->tok->segments != PC_SEGMENTS_MODERN || !parts->n || !parts->v[0].added ||
        parts->v[0].added->special)
        return 0;
    size_t at = e->work.len;
    if (e->tok->spm.add_dummy_prefix)
        pc_buf_puts(&e->work, PC_SPACE_MARK);
    return pc_encode_spm(e, at, e->work.len - at);
}

static int encode_text(struct pc_encoder *e, const char *text, size_t len)
{
    const struct pc_tokenizer *tok = e->tok;
    const bool fast = tok->segments == PC_SEGMENTS_FAST;
    struct pc_buf fixed;
    struct pc_stretches parts = {0};
    pc_buf_init(&fixed, PC_MAX_TEXT);
    int rc = fast ? make_valid(&text, &len, &fixed, e->err) : 0;
    if (rc == 0 && tok->segments == PC_SEGMENTS_MODERN)
        rc = marks_to_spaces(&text, &len, &fixed, e->err);
    if (rc == 0)
        rc = pc_added_split(tok, &tok->before, e->flags & PC_ENCODE_PARSE, !fast, text, len, &parts, e->err);
    if (rc == 0 && !fast)
        rc = encode_lone_mark(e, &parts);
    for (size_t i = 0; i < parts.n && rc == 0; i++) {
        const struct pc_stretch *s = &parts.v[i];
        if (s->added)
            rc = pc_ids_add(e->out, s->added->id, e->err);
        else
            rc = fast ? encode_fast(e, text, s)
                      : encode_spm(e, text, s, tok->segments == PC_SEGMENTS_LEGACY || i == 0);
    }
    pc_free(parts.v);
    pc_buf_release(&fixed);
    return rc;
}

/* ---- the call ---- */

static int add_around(struct pc_encoder *e, const int32_t *ids, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = pc_ids_add(e->out, ids[i], e->err);
    return rc;
}

static int start(struct pc_encoder *e, size_t len)
{
    if (len > PC_MAX_TEXT / 3)
        return pc_error_set(
            e->err, PACO_ELIMIT, "a text of %zu bytes: at most %d are encoded at once", len, PC_MAX_TEXT / 3);
    pc_buf_init(&e->work, PC_MAX_TEXT);
    if (len >= CACHE_FROM && !(e->cache = pc_alloc_zero(PC_CACHE_SLOTS, sizeof *e->cache)))
        return pc_error_mem(e->err, PC_CACHE_SLOTS * sizeof *e->cache, "a cache of words");
    // Undoing merges needs to know all of them: a word copied from the cache would not tell.
    if (e->tok->has_unused) {
        pc_free(e->cache);
        e->cache = NULL;
        e->last_left = pc_alloc_zero((size_t)e->tok->n_tokens, sizeof *e->last_left);
        if (!e->last_left)
            return pc_error_mem(e->err, (size_t)e->tok->n_tokens * sizeof *e->last_left, "unused pieces");
    }
    return 0;
}

int pc_tokenizer_encode(const struct pc_tokenizer *tok, const char *text, size_t len, unsigned flags,
    struct pc_ids *out, struct paco_error *err)
{
    struct pc_encoder e = {.tok = tok, .out = out, .err = err, .flags = flags, .total = len};
    const size_t before = out->n;
    int rc = start(&e, len);
    if (rc == 0 && (flags & PC_ENCODE_SPECIAL))
        rc = add_around(&e, tok->prefix, tok->n_prefix);
    if (rc == 0 && len)
        rc = encode_text(&e, text, len);
    if (rc == 0 && (flags & PC_ENCODE_SPECIAL))
        rc = add_around(&e, tok->suffix, tok->n_suffix);
    for (size_t i = 0; i < PC_MAX_STEPS; i++)
        pc_regex_run_free(e.runs[i]);
    pc_free(e.cache);
    pc_free(e.parts);
    pc_free(e.last_left);
    pc_buf_release(&e.work);
    if (rc < 0)
        out->n = before;
    return rc;
}
