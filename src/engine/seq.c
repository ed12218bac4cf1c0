// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "engine/engine_parts.h"

#include <assert.h>
#include <string.h>

enum { MAX_POSITION = 1 << 24 }; /* float32 counts no further */

static int32_t pages_of(int32_t n_tokens)
{
    return (n_tokens + PC_KV_BLOCK - 1) / PC_KV_BLOCK;
}

int pc_seq_new(struct pc_engine *e, int32_t max_tokens, struct pc_seq **out, struct paco_error *err)
{
    if (max_tokens < 1 || max_tokens > MAX_POSITION)
        return pc_error_set(
            err, PACO_EINVAL, "a sequence of %d tokens; 1 to %d are possible", max_tokens, MAX_POSITION);
    int32_t n = pages_of(max_tokens);
    uint64_t size = pc_kv_reserve_size(&e->pages, (uint64_t)n), left = pc_engine_memory_left(e);
    if (size > left)
        return pc_error_set(err, PACO_ELIMIT,
            "keys and values of %d tokens need %.3f GB; %.3f GB are available, enough for %lld tokens",
            max_tokens, (double)size * 1e-9, (double)left * 1e-9, (long long)(left / e->plan.kv_token));
    struct pc_seq *s = pc_alloc_zero(1, sizeof *s + (size_t)n * sizeof *s->pages);
    if (!s)
        return pc_error_mem(err, sizeof *s + (size_t)n * sizeof *s->pages, "a sequence");
    int rc = pc_kv_reserve(&e->pages, (uint64_t)n, err);
    if (rc < 0) {
        pc_free(s);
        return rc;
    }
    s->engine = e;
    s->capacity = max_tokens;
    s->max_pages = n;
    *out = s;
    return 0;
}

int pc_seq_fork(
    struct pc_seq *from, int32_t n, int32_t max_tokens, struct pc_seq **out, struct paco_error *err)
{
    assert(n >= 0 && n <= from->length);
    if (n > max_tokens)
        return pc_error_set(err, PACO_EINVAL, "a sequence of %d tokens cannot begin with %d", max_tokens, n);
    int rc = pc_seq_new(from->engine, max_tokens, out, err);
    if (rc < 0)
        return rc;
    struct pc_seq *s = *out;
    for (; s->n_pages < pages_of(n); s->n_pages++)
        s->pages[s->n_pages] = pc_kv_share(from->pages[s->n_pages]);
    s->length = n;
    s->variant = from->variant;
    return 0;
}

static void drop_pages(struct pc_seq *s, int32_t n)
{
    while (s->n_pages > n)
        pc_kv_drop(&s->engine->pages, s->pages[--s->n_pages]);
}

void pc_seq_free(struct pc_seq *s)
{
    if (!s)
        return;
    drop_pages(s, 0);
    pc_kv_unreserve(&s->engine->pages, (uint64_t)s->max_pages);
    pc_free(s);
}

int32_t pc_seq_length(const struct pc_seq *s)
{
    return s->length;
}

int32_t pc_seq_capacity(const struct pc_seq *s)
{
    return s->capacity;
}

void pc_seq_truncate(struct pc_seq *s, int32_t n)
{
    assert(n >= 0 && n <= s->length);
    s->length = n;
    drop_pages(s, pages_of(n));
}

void *pc_kv_block(struct pc_seq *s, int32_t i_block)
{
    assert(i_block >= 0 && i_block < s->n_pages);
    return s->pages[i_block]->data;
}

void pc_seq_prepare(struct pc_seq *s, int32_t pos)
{
    struct pc_kv_pool *pool = &s->engine->pages;
    int32_t i = pos / PC_KV_BLOCK;
    assert(i <= s->n_pages && i < s->max_pages);
    if (i == s->n_pages) {
        s->pages[s->n_pages++] = pc_kv_take(pool);
        return;
    }
    struct pc_kv_page *shared = s->pages[i];
    if (shared->n_holders == 1)
        return;
    /* Within its reservation, since the shared page is about to be one less of this sequence's. */
    s->pages[i] = pc_kv_take(pool);
    if (pos % PC_KV_BLOCK != 0)
        memcpy(s->pages[i]->data, shared->data, pool->page_size);
    pc_kv_drop(pool, shared);
}
