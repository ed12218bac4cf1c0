// SPDX-License-Identifier: Apache-2.0
/* Memory: checked sizes, arenas that die with their owner, and two test hooks.
 *
 * Everything in the library is allocated here, so that a test can fail each allocation in turn and a debug
 * guard can prove that the decode loop allocates nothing. */
#ifndef PC_BASE_MEMORY_H
#define PC_BASE_MEMORY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** *out = a * b, or false on overflow. */
static inline bool pc_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a && b > UINT64_MAX / a)
        return false;
    *out = a * b;
    return true;
}

/** *out = a + b, or false on overflow. */
static inline bool pc_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b > UINT64_MAX - a)
        return false;
    *out = a + b;
    return true;
}

/** Allocate n * size bytes, zeroed when asked; NULL on overflow or exhaustion, and for n * size == 0 a unique
 *  pointer. *owned*: release with pc_free. Thread-safe. */
void *pc_alloc(size_t n, size_t size);
void *pc_alloc_zero(size_t n, size_t size);
void *pc_realloc(void *p, size_t n, size_t size);
/** Like pc_alloc, aligned to 4096: direct I/O and vector kernels. Release with pc_free. */
void *pc_alloc_pages(size_t size);
/** Like pc_alloc_pages for what is large and read over and over: the system is asked for large pages. Memory
 * is taken when it is first touched. */
void *pc_alloc_huge(size_t size);
/** Make room for element n of a growing array: where it is full, its memory doubles. array is where the
 * caller keeps the pointer to the elements of size bytes each, *capacity for how many there is room; both 0
 * to begin with. PACO_EMEM, naming what, leaves both as they were. */
int pc_grow(void *array, size_t *capacity, size_t n, size_t size, const char *what, struct paco_error *err);
char *pc_strdup(const char *s);
char *pc_strndup(const char *s, size_t len);
void pc_free(void *p);

/** For a process that lives long: from here on blocks of a megabyte and more go back to the system whenever
 * they are freed. glibc else keeps ever larger ones (up to 32 MiB) for later, in pieces. */
void pc_alloc_give_back(void);

/** Test hook: let n more allocations succeed, then fail every one; negative turns it off. */
void pc_alloc_fail_after(int64_t n);
/** Test hook: while on, any allocation on the calling thread aborts. Nests. */
void pc_alloc_forbid(bool on);

/** A region of many small allocations released together. `{0}` is a valid, unbounded, empty arena. */
struct pc_arena {
    struct pc_arena_block *blocks;
    size_t used;  /* bytes handed out */
    size_t limit; /* most bytes to hand out; 0 = no bound */
};

/** size bytes aligned to 16, zeroed; a *view* into the arena. NULL when memory or the limit is exhausted. */
void *pc_arena_alloc(struct pc_arena *a, size_t n, size_t size);
char *pc_arena_strndup(struct pc_arena *a, const char *s, size_t len);
void pc_arena_release(struct pc_arena *a);

#endif
