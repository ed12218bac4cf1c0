// SPDX-License-Identifier: Apache-2.0
/* Pages of keys and values: one block of 32 positions of all layers each, counted, shared, taken back.
 *
 *     pc_kv_pool_init(&pool, page_size);
 *     pc_kv_reserve(&pool, n, most, &err)     room for n more pages; may allocate, may fail
 *     page = pc_kv_take(&pool)                within what is reserved: never fails, allocates nothing
 *     pc_kv_share(page)                       one more holder
 *     pc_kv_drop(&pool, page)                 one less; the last one gives it back
 *     pc_kv_unreserve(&pool, n)
 *     pc_kv_pool_release(&pool)
 *
 * Whoever may come to hold n pages reserves n, so that there is always a free page for one who takes it: each
 * page in use is held by somebody who has room for it. Pages come in slabs, one for each reservation that
 * found too few; a slab goes when none of its pages is in use and the rest is room enough. Memory is touched
 * when a page is first written. For one thread at a time. */
#ifndef PC_ENGINE_KV_POOL_H
#define PC_ENGINE_KV_POOL_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct pc_kv_page {
    void *data; /* page_size bytes, 64-byte aligned */
    uint32_t n_holders;
    struct pc_kv_slab *slab;
    struct pc_kv_page *next; /* free ones */
};

struct pc_kv_pool {
    size_t page_size;
    uint64_t n_pages, n_reserved, n_used;
    uint64_t n_floor; /* slabs stay while there would be fewer pages without them; the owner's to set */
    struct pc_kv_slab *slabs;
};

void pc_kv_pool_init(struct pc_kv_pool *pool, size_t page_size);
/** Every page has been dropped. */
void pc_kv_pool_release(struct pc_kv_pool *pool);

/** Bytes that reserving n more pages would allocate; UINT64_MAX when that is no number. */
uint64_t pc_kv_reserve_size(const struct pc_kv_pool *pool, uint64_t n);
/** PACO_EMEM when memory is out. */
int pc_kv_reserve(struct pc_kv_pool *pool, uint64_t n, struct paco_error *err);
void pc_kv_unreserve(struct pc_kv_pool *pool, uint64_t n);

/** A page with one holder; its bytes are whatever they were. */
struct pc_kv_page *pc_kv_take(struct pc_kv_pool *pool);
struct pc_kv_page *pc_kv_share(struct pc_kv_page *page);
void pc_kv_drop(struct pc_kv_pool *pool, struct pc_kv_page *page);

#endif
