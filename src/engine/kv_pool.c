// SPDX-License-Identifier: Apache-2.0
#include "engine/kv_pool.h"

#include "base/memory.h"

#include <assert.h>

enum { ALIGN = 64 };

struct pc_kv_slab {
    struct pc_kv_slab *next;
    struct pc_kv_page *free;
    uint64_t n, n_used;
    void *memory;
    struct pc_kv_page pages[];
};

void pc_kv_pool_init(struct pc_kv_pool *pool, size_t page_size)
{
    *pool = (struct pc_kv_pool){.page_size = (page_size + ALIGN - 1) / ALIGN * ALIGN};
}

static void free_slab(struct pc_kv_pool *pool, struct pc_kv_slab *slab)
{
    pool->n_pages -= slab->n;
    pc_free(slab->memory);
    pc_free(slab);
}

void pc_kv_pool_release(struct pc_kv_pool *pool)
{
    assert(pool->n_used == 0);
    for (struct pc_kv_slab *s = pool->slabs, *next; s; s = next) {
        next = s->next;
        free_slab(pool, s);
    }
    pool->slabs = NULL;
}

static uint64_t n_missing(const struct pc_kv_pool *pool, uint64_t n)
{
    uint64_t spare = pool->n_pages - pool->n_reserved;
    return n > spare ? n - spare : 0;
}

uint64_t pc_kv_reserve_size(const struct pc_kv_pool *pool, uint64_t n)
{
    uint64_t size;
    return pc_mul_u64(n_missing(pool, n), pool->page_size + sizeof(struct pc_kv_page), &size) ? size
                                                                                              : UINT64_MAX;
}

int pc_kv_reserve(struct pc_kv_pool *pool, uint64_t n, struct paco_error *err)
{
    uint64_t missing = n_missing(pool, n), size = pc_kv_reserve_size(pool, n);
    if (missing) {
        struct pc_kv_slab *s =
            size < SIZE_MAX / 2 ? pc_alloc_zero(1, sizeof *s + missing * sizeof *s->pages) : NULL;
        if (s) /* zeroed memory is not touched before it is used */
            s->memory = pc_alloc_zero((size_t)(missing * pool->page_size) + ALIGN, 1);
        if (!s || !s->memory) {
            pc_free(s);
            return pc_error_mem(err, size, "keys and values");
        }
        unsigned char *data = s->memory;
        data += (ALIGN - (uintptr_t)data % ALIGN) % ALIGN;
        s->n = missing;
        for (uint64_t i = missing; i-- > 0;) {
            s->pages[i] = (struct pc_kv_page){data + i * pool->page_size, 0, s, s->free};
            s->free = &s->pages[i];
        }
        s->next = pool->slabs;
        pool->slabs = s;
        pool->n_pages += missing;
    }
    pool->n_reserved += n;
    return 0;
}

void pc_kv_unreserve(struct pc_kv_pool *pool, uint64_t n)
{
    assert(n <= pool->n_reserved);
    pool->n_reserved -= n;
    uint64_t keep = pool->n_reserved > pool->n_floor ? pool->n_reserved : pool->n_floor;
    for (struct pc_kv_slab **at = &pool->slabs, *s; (s = *at) != NULL;)
        if (s->n_used == 0 && pool->n_pages - s->n >= keep) {
            *at = s->next;
            free_slab(pool, s);
        } else {
            at = &s->next;
        }
}

struct pc_kv_page *pc_kv_take(struct pc_kv_pool *pool)
{
    struct pc_kv_slab *s = pool->slabs;
    while (s && !s->free)
        s = s->next;
    assert(s);
    struct pc_kv_page *page = s->free;
    s->free = page->next;
    s->n_used++;
    pool->n_used++;
    page->n_holders = 1;
    return page;
}

struct pc_kv_page *pc_kv_share(struct pc_kv_page *page)
{
    assert(page->n_holders > 0);
    page->n_holders++;
    return page;
}

void pc_kv_drop(struct pc_kv_pool *pool, struct pc_kv_page *page)
{
    assert(page->n_holders > 0);
    if (--page->n_holders > 0)
        return;
    page->next = page->slab->free;
    page->slab->free = page;
    page->slab->n_used--;
    pool->n_used--;
}
