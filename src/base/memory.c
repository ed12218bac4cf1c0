// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

enum { GIVE_BACK = 1 << 20 }; /* bytes of the smallest block that goes back at once */

static _Atomic int64_t g_fail_after = -1;
static _Thread_local int t_forbidden;

static bool may_allocate(void)
{
    if (t_forbidden)
        abort();
    int64_t left = atomic_load_explicit(&g_fail_after, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak(&g_fail_after, &left, left - 1))
            return true;
    return left < 0;
}

void pc_alloc_fail_after(int64_t n)
{
    atomic_store(&g_fail_after, n < 0 ? -1 : n);
}

void pc_alloc_forbid(bool on)
{
    t_forbidden += on ? 1 : -1;
}

void *pc_realloc(void *p, size_t n, size_t size)
{
    uint64_t total;
    if (!pc_mul_u64(n, size, &total) || total > PTRDIFF_MAX || !may_allocate())
        return NULL;
    return realloc(p, total ? (size_t)total : 1);
}

int pc_grow(void *array, size_t *capacity, size_t n, size_t size, const char *what, struct paco_error *err)
{
    if (n < *capacity)
        return 0;
    void *old;
    memcpy(&old, array, sizeof old); // whatever type the pointer points to
    size_t larger = *capacity ? 2 * *capacity : 4;
    void *grown = pc_realloc(old, larger, size);
    if (!grown)
        return pc_error_mem(err, (uint64_t)larger * size, what);
    memcpy(array, &grown, sizeof grown);
    *capacity = larger;
    return 0;
}

void *pc_alloc(size_t n, size_t size)
{
    return pc_realloc(NULL, n, size);
}

void *pc_alloc_zero(size_t n, size_t size)
{
    uint64_t total;
    if (!pc_mul_u64(n, size, &total) || total > PTRDIFF_MAX || !may_allocate())
        return NULL;
    return calloc(total ? (size_t)total : 1, 1);
}

void *pc_alloc_pages(size_t size)
{
    const size_t page = 4096;
    if (size > PTRDIFF_MAX - page || !may_allocate())
        return NULL;
    size_t rounded = (size + page - 1) / page * page;
    return aligned_alloc(page, rounded ? rounded : page);
}

void *pc_alloc_huge(size_t size)
{
    const size_t page = (size_t)2 << 20;
    if (size < page)
        return pc_alloc_pages(size);
    if (size > PTRDIFF_MAX - page || !may_allocate())
        return NULL;
    size = (size + page - 1) / page * page;
    void *p = aligned_alloc(page, size);
#ifdef MADV_HUGEPAGE
    if (p)
        (void)madvise(p, size, MADV_HUGEPAGE);
#endif
    return p;
}

char *pc_strndup(const char *s, size_t len)
{
    char *copy = pc_alloc(len + 1, 1);
    if (copy) {
        memcpy(copy, s, len);
        copy[len] = '\0';
    }
    return copy;
}

char *pc_strdup(const char *s)
{
    return pc_strndup(s, strlen(s));
}

void pc_free(void *p)
{
    free(p);
}

void pc_alloc_give_back(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, GIVE_BACK);
#endif
}

struct pc_arena_block {
    struct pc_arena_block *next;
    size_t size, used;
    _Alignas(16) unsigned char bytes[];
};

void *pc_arena_alloc(struct pc_arena *a, size_t n, size_t size)
{
    const size_t block_size = 64 * 1024;
    uint64_t want;
    if (!pc_mul_u64(n, size, &want) || want > PTRDIFF_MAX - 16)
        return NULL;
    size_t need = ((size_t)want + 15) & ~(size_t)15;
    if (a->limit && (need > a->limit || a->used > a->limit - need))
        return NULL;
    if (!a->blocks || a->blocks->size - a->blocks->used < need) {
        size_t payload = need > block_size ? need : block_size;
        struct pc_arena_block *b = pc_alloc_zero(sizeof *b + payload, 1);
        if (!b)
            return NULL;
        b->size = payload;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = a->blocks->bytes + a->blocks->used;
    a->blocks->used += need;
    a->used += need;
    return p;
}

char *pc_arena_strndup(struct pc_arena *a, const char *s, size_t len)
{
    char *copy = pc_arena_alloc(a, len + 1, 1);
    if (copy)
        memcpy(copy, s, len);
    return copy;
}

void pc_arena_release(struct pc_arena *a)
{
    for (struct pc_arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        pc_free(b);
    }
    *a = (struct pc_arena){0};
}
