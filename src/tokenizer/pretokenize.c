// SPDX-License-Identifier: Apache-2.0
/* Text to words, by the steps of a pre-tokenizer. Each step hands its pieces to the next at once, so that
 * nothing is listed: a piece of the last step is a word. */
#include "tokenizer/tokenizer_parts.h"

#include <string.h>

/* Pieces of one split on their way out: a match may have to wait for its neighbour. */
struct tiles {
    struct pc_encoder *e;
    size_t i_step, origin;
    bool first;
    enum pc_split_behavior behavior;
    size_t at, len; /* waiting; len 0: nothing */
    bool was_match, waiting;
};

static int emit(struct tiles *t, size_t at, size_t len)
{
    return len ? pc_pretokenize(t->e, t->i_step + 1, at, len, t->first && at == t->origin) : 0;
}

static int flush(struct tiles *t)
{
    int rc = t->waiting ? emit(t, t->at, t->len) : 0;
    t->waiting = false;
    return rc;
}

static int tile(struct tiles *t, size_t at, size_t len, bool match)
{
    bool joins = false;
    if (len == 0)
        return 0;
    switch (t->behavior) {
    case PC_SPLIT_ISOLATED: return emit(t, at, len);
    case PC_SPLIT_REMOVED: return match ? 0 : emit(t, at, len);
    case PC_SPLIT_CONTIGUOUS: joins = t->waiting && match == t->was_match; break;
    case PC_SPLIT_MERGED_WITH_PREVIOUS: joins = t->waiting && match && !t->was_match; break;
    case PC_SPLIT_MERGED_WITH_NEXT: joins = t->waiting && !match && t->was_match; break;
    }
    t->was_match = match;
    if (joins) {
        t->len += len;
        return 0;
    }
    int rc = flush(t);
    t->at = at;
    t->len = len;
    t->waiting = true;
    return rc;
}

static int split_regex(struct tiles *t, size_t at, size_t len, bool invert)
{
    struct pc_encoder *e = t->e;
    const struct pc_regex *re = e->tok->pre[t->i_step].regex;
    if (!e->runs[t->i_step] && !(e->runs[t->i_step] = pc_regex_run_new(re, e->total, e->err)))
        return PACO_EMEM;
    size_t done = 0, from = 0, start, end;
    int rc = 0;
    while (rc == 0 && from <= len) {
        const char *text = e->work.data + at; // may have moved
        int found = pc_regex_next(e->runs[t->i_step], text, len, from, &start, &end, e->err);
        if (found < 0)
            return found;
        if (found == 0)
            break;
        from = end > start ? end : end < len ? end + pc_char_len(text + end, len - end) : len + 1;
        if (end == start)
            continue;
        rc = tile(t, at + done, start - done, invert);
        if (rc == 0)
            rc = tile(t, at + start, end - start, !invert);
        done = end;
    }
    if (rc == 0)
        rc = tile(t, at + done, len - done, invert);
    return rc == 0 ? flush(t) : rc;
}

/* "MergedWithNext" at every U+2581. */
static int split_marks(struct tiles *t, size_t at, size_t len)
{
    size_t done = 0;
    int rc = 0;
    for (size_t i = 0; i + 3 <= len && rc == 0;) {
        if (memcmp(t->e->work.data + at + i, PC_SPACE_MARK, 3) != 0) {
            i++;
            continue;
        }
        rc = tile(t, at + done, i - done, false);
        if (rc == 0)
            rc = tile(t, at + i, 3, true);
        i += 3;
        done = i;
    }
    if (rc == 0)
        rc = tile(t, at + done, len - done, false);
    return rc == 0 ? flush(t) : rc;
}

/* A copy at the end of work with a prefix and, if marks, U+2581 for each space. Returns where it starts. */
static int rewrite(struct pc_encoder *e, const char *prefix, bool marks, size_t *at, size_t *len)
{
    struct pc_buf *work = &e->work;
    size_t start = work->len, n_spaces = 0;
    for (size_t i = 0; marks && i < *len; i++)
        n_spaces += work->data[*at + i] == ' ';
    // Room first: the source lies in the same buffer, which must not move under the copy.
    if (pc_buf_reserve(work, strlen(prefix) + *len + 2 * n_spaces)) {
        const char *from = work->data + *at;
        pc_buf_puts(work, prefix);
        for (size_t i = 0; i < *len; i++) {
            if (marks && from[i] == ' ')
                pc_buf_add(work, PC_SPACE_MARK, 3);
            else
                pc_buf_putc(work, from[i]);
        }
    }
    *at = start;
    *len = work->len - start;
    return pc_buf_check(work, "pre-tokenized text", e->err);
}

static bool begins_with(const struct pc_encoder *e, size_t at, size_t len, const char *s)
{
    size_t n = strlen(s);
    return len >= n && memcmp(e->work.data + at, s, n) == 0;
}

static int metaspace(struct tiles *t, const struct pc_pre_step *step, size_t at, size_t len)
{
    struct pc_encoder *e = t->e;
    bool wanted = step->prefix == PC_PREFIX_ALWAYS || (step->prefix == PC_PREFIX_FIRST && t->first);
    bool has = begins_with(e, at, len, " ") || begins_with(e, at, len, PC_SPACE_MARK);
    int rc = rewrite(e, wanted && !has ? PC_SPACE_MARK : "", true, &at, &len);
    t->origin = at;
    t->behavior = PC_SPLIT_MERGED_WITH_NEXT;
    if (rc < 0)
        return rc;
    return step->cut ? split_marks(t, at, len) : emit(t, at, len);
}

static int byte_level(struct tiles *t, const struct pc_pre_step *step, size_t at, size_t len)
{
    if (step->add_prefix_space && !begins_with(t->e, at, len, " ")) {
        int rc = rewrite(t->e, " ", false, &at, &len);
        if (rc < 0)
            return rc;
        t->origin = at;
    }
    t->behavior = PC_SPLIT_ISOLATED;
    return step->gpt2_split ? split_regex(t, at, len, false) : emit(t, at, len);
}

int pc_pretokenize(struct pc_encoder *e, size_t i_step, size_t at, size_t len, bool first)
{
    if (len == 0)
        return 0;
    if (i_step == e->tok->n_pre)
        return pc_encode_word(e, at, len);
    const struct pc_pre_step *step = &e->tok->pre[i_step].step;
    struct tiles t = {.e = e, .i_step = i_step, .origin = at, .first = first, .behavior = step->behavior};
    switch (step->kind) {
    case PC_PRE_METASPACE: return metaspace(&t, step, at, len);
    case PC_PRE_BYTE_LEVEL: return byte_level(&t, step, at, len);
    default: return split_regex(&t, at, len, step->invert);
    }
}
