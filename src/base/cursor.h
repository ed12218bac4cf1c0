// SPDX-License-Identifier: Apache-2.0
/* A bounds-checked reader over bytes in memory, little-endian, with a sticky error: once a read runs past the
 * end, every later read returns zero and `failed` stays set, so a parser may check once per structure. */
#ifndef PC_BASE_CURSOR_H
#define PC_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct pc_cursor {
    const uint8_t *p, *end; /* a view into the caller's bytes */
    uint64_t offset;        /* position of p in the file */
    bool failed;
};

static inline struct pc_cursor pc_cursor(const void *bytes, size_t len, uint64_t offset)
{
    const uint8_t *p = bytes;
    return (struct pc_cursor){p, p + len, offset, false};
}

static inline size_t pc_cursor_left(const struct pc_cursor *c)
{
    return (size_t)(c->end - c->p);
}

/** The next len bytes as a view, or NULL and failed. */
static inline const uint8_t *pc_cursor_bytes(struct pc_cursor *c, uint64_t len)
{
    if (c->failed || len > pc_cursor_left(c)) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *at = c->p;
    c->p += len;
    c->offset += len;
    return at;
}

static inline uint64_t pc_cursor_uint(struct pc_cursor *c, unsigned n_bytes)
{
    const uint8_t *b = pc_cursor_bytes(c, n_bytes);
    uint64_t v = 0;
    for (unsigned i = 0; b && i < n_bytes; i++)
        v |= (uint64_t)b[i] << (8 * i);
    return v;
}

static inline uint16_t pc_cursor_u16(struct pc_cursor *c)
{
    return (uint16_t)pc_cursor_uint(c, 2);
}

static inline uint32_t pc_cursor_u32(struct pc_cursor *c)
{
    return (uint32_t)pc_cursor_uint(c, 4);
}

static inline uint64_t pc_cursor_u64(struct pc_cursor *c)
{
    return pc_cursor_uint(c, 8);
}

#endif
