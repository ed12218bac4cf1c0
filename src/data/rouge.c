// SPDX-License-Identifier: Apache-2.0
#include "data/rouge.h"

#include "base/map.h"
#include "base/memory.h"
#include "base/py_text.h"

#include <string.h>

enum { MAX_WORDS = PC_ROUGE_MAX_WORDS, MAX_TEXT = 1 << 26 };

struct text {
    size_t at; /* of its first word */
    uint32_t n;
};

struct pc_rouge {
    struct pc_pool *pool;
    struct pc_map ids; /* of words, whose bytes are in arena */
    struct pc_arena arena;
    uint32_t n_ids;
    uint32_t *words; /* of all texts, by id */
    size_t n_words, words_capacity;
    struct text *texts;
    size_t n_texts, texts_capacity;
    /* The text at hand. */
    uint32_t *query;
    size_t n_query, query_capacity;
    uint32_t *row_of; /* by word id: 1 + its row of masks, or 0 */
    size_t row_capacity;
    uint64_t *masks; /* (rows, blocks): bit i of a row: word i of the query is this */
    size_t n_blocks;
    uint64_t *work; /* (workers, blocks) */
    double *scores;
};

struct pc_rouge *pc_rouge_new(struct pc_pool *pool, struct paco_error *err)
{
    struct pc_rouge *r = pc_alloc_zero(1, sizeof *r);
    if (r)
        r->pool = pool;
    else
        pc_error_mem(err, sizeof *r, "a collection of texts");
    return r;
}

void pc_rouge_free(struct pc_rouge *r)
{
    if (!r)
        return;
    pc_map_release(&r->ids);
    pc_arena_release(&r->arena);
    pc_free(r->words);
    pc_free(r->texts);
    pc_free(r->query);
    pc_free(r->row_of);
    pc_free(r);
}

size_t pc_rouge_n(const struct pc_rouge *r)
{
    return r->n_texts;
}

/* ---- words ---- */

static int id_of(struct pc_rouge *r, const char *word, size_t len, uint32_t *id, struct paco_error *err)
{
    if (pc_map_get(&r->ids, word, len, id))
        return 0;
    char *own = pc_arena_strndup(&r->arena, word, len);
    if (!own || pc_map_add(&r->ids, own, len, r->n_ids) < 0)
        return pc_error_mem(err, len, "a word");
    *id = r->n_ids++;
    return 0;
}

static bool is_of_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* The ids of a text's words into query. */
static int read_words(struct pc_rouge *r, const char *text, size_t len, struct paco_error *err)
{
    struct pc_buf low;
    pc_buf_init(&low, MAX_TEXT);
    pc_py_lower(&low, text, len);
    int rc = pc_buf_check(&low, "a text", err);
    r->n_query = 0;
    for (size_t i = 0, n; rc == 0 && i < low.len; i += n ? n : 1) {
        for (n = 0; i + n < low.len && is_of_word(low.data[i + n]); n++)
            ;
        if (!n)
            continue;
        if (r->n_query == MAX_WORDS)
            rc = pc_error_set(err, PACO_ELIMIT, "a text of more than %d words", MAX_WORDS);
        if (rc == 0)
            rc = pc_grow(&r->query, &r->query_capacity, r->n_query, sizeof *r->query, "words", err);
        if (rc == 0)
            rc = id_of(r, low.data + i, n, &r->query[r->n_query], err);
        r->n_query += rc == 0;
    }
    pc_buf_release(&low);
    return rc;
}

int pc_rouge_add(struct pc_rouge *r, const char *text, size_t len, struct paco_error *err)
{
    int rc = read_words(r, text, len, err);
    if (rc == 0)
        rc = pc_grow(&r->texts, &r->texts_capacity, r->n_texts, sizeof *r->texts, "texts", err);
    for (size_t i = 0; i < r->n_query && rc == 0; i++) {
        rc = pc_grow(&r->words, &r->words_capacity, r->n_words + i, sizeof *r->words, "words", err);
        if (rc == 0)
            r->words[r->n_words + i] = r->query[i];
    }
    if (rc < 0)
        return rc;
    r->texts[r->n_texts++] = (struct text){r->n_words, (uint32_t)r->n_query};
    r->n_words += r->n_query;
    return 0;
}

/* ---- scores ---- */

/* The longest common subsequence: zeros of v are where it grew. */
static uint32_t common(const struct pc_rouge *r, const struct text *t, uint64_t *v)
{
    uint32_t n = 0;
    memset(v, 0xff, r->n_blocks * sizeof *v);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t row = r->row_of[r->words[t->at + i]];
        if (!row)
            continue;
        const uint64_t *mask = r->masks + (row - 1) * r->n_blocks;
        uint64_t carry = 0;
        for (size_t b = 0; b < r->n_blocks; b++) {
            uint64_t hit = v[b] & mask[b], sum = v[b] + hit, with_carry = sum + carry;
            carry = (sum < hit) | (with_carry < sum);
            v[b] = with_carry | (v[b] & ~mask[b]);
        }
    }
    for (size_t b = 0; b < r->n_blocks; b++) {
        uint64_t zeros = ~v[b];
        if (b + 1 == r->n_blocks && r->n_query % 64)
            zeros &= (UINT64_C(1) << r->n_query % 64) - 1;
        n += (uint32_t)__builtin_popcountll(zeros);
    }
    return n;
}

static void score_range(void *arg, int64_t first, int64_t end, int i_worker)
{
    struct pc_rouge *r = arg;
    uint64_t *v = r->work + (size_t)i_worker * r->n_blocks;
    for (int64_t i = first; i < end; i++) {
        const struct text *t = &r->texts[i];
        double n = t->n && r->n_query ? common(r, t, v) : 0;
        double p = t->n ? n / t->n : 0, recall = r->n_query ? n / (double)r->n_query : 0;
        r->scores[i] = p + recall > 0 ? 2 * p * recall / (p + recall) : 0;
    }
}

/* A row of bits for each word of the query. */
static int make_masks(struct pc_rouge *r, struct paco_error *err)
{
    size_t n_rows = 0;
    r->n_blocks = r->n_query / 64 + 1;
    if (!r->row_of || r->row_capacity < r->n_ids) {
        uint32_t *rows = pc_realloc(r->row_of, r->n_ids + r->n_ids / 2, sizeof *rows);
        if (!rows)
            return pc_error_mem(err, r->n_ids * sizeof *rows, "words");
        r->row_of = rows;
        r->row_capacity = r->n_ids + r->n_ids / 2;
    }
    memset(r->row_of, 0, r->row_capacity * sizeof *r->row_of);
    r->masks = pc_alloc_zero(r->n_query * r->n_blocks + 1, sizeof *r->masks);
    if (!r->masks)
        return pc_error_mem(err, r->n_query * r->n_blocks * sizeof *r->masks, "words");
    for (size_t i = 0; i < r->n_query; i++) {
        uint32_t *row = &r->row_of[r->query[i]];
        if (!*row)
            *row = (uint32_t)++n_rows;
        r->masks[(*row - 1) * r->n_blocks + i / 64] |= UINT64_C(1) << i % 64;
    }
    return 0;
}

int pc_rouge_scores(struct pc_rouge *r, const char *text, size_t len, double *scores, struct paco_error *err)
{
    const size_t n_workers = r->pool ? (size_t)pc_pool_size(r->pool) : 1;
    int rc = read_words(r, text, len, err);
    if (rc == 0)
        rc = make_masks(r, err);
    r->work = rc == 0 ? pc_alloc(n_workers * r->n_blocks, sizeof *r->work) : NULL;
    if (rc == 0 && !r->work)
        rc = pc_error_mem(err, n_workers * r->n_blocks * sizeof *r->work, "comparing texts");
    r->scores = scores;
    if (rc == 0 && r->pool)
        pc_pool_share(r->pool, (int64_t)r->n_texts, r->n_texts < 256 ? 1 : 0, score_range, r);
    else if (rc == 0)
        score_range(r, 0, (int64_t)r->n_texts, 0);
    pc_free(r->work);
    pc_free(r->masks);
    r->work = r->masks = NULL;
    return rc;
}
