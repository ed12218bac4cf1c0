// SPDX-License-Identifier: Apache-2.0
/* Zip archives made in memory, whose every field a test may then spoil: positions are remembered. */
#ifndef PC_TESTS_ZIP_BUILD_H
#define PC_TESTS_ZIP_BUILD_H

#include "unit.h"

#include "base/buf.h"
#include "base/crc32.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum { ZB_MAX = 64 };

struct zb_entry {
    char name[128];
    size_t header_at, data_at, central_at;
    size_t size, packed_size;
    uint32_t crc32;
    bool deflated;
};

struct zb {
    struct pc_buf b;
    struct zb_entry entries[ZB_MAX];
    size_t n, directory_at, end_at;
    bool zip64; /* ZIP64 fields and end record, as if they were needed */
};

static inline void zb_put(struct pc_buf *b, uint64_t v, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        pc_buf_putc(b, i < 8 ? (char)(v >> (8 * i)) : 0);
}

static inline void zb_common(struct pc_buf *b, const struct zb_entry *e, bool zip64)
{
    zb_put(b, 20, 2);
    zb_put(b, 0, 2);
    zb_put(b, e->deflated ? 8 : 0, 2);
    zb_put(b, 0, 4);
    zb_put(b, e->crc32, 4);
    zb_put(b, zip64 ? 0xffffffff : e->packed_size, 4);
    zb_put(b, zip64 ? 0xffffffff : e->size, 4);
    zb_put(b, strlen(e->name), 2);
}

static inline void zb_extra64(struct pc_buf *b, const struct zb_entry *e, bool with_offset)
{
    zb_put(b, 1, 2);
    zb_put(b, with_offset ? 24 : 16, 2);
    zb_put(b, e->size, 8);
    zb_put(b, e->packed_size, 8);
    if (with_offset)
        zb_put(b, e->header_at, 8);
}

/* Append an entry and return its record. Its data begins at a multiple of 8. */
static inline struct zb_entry *zb_add(
    struct zb *z, const char *name, const void *bytes, size_t len, bool deflated)
{
    if (z->n == 0)
        pc_buf_init(&z->b, 64u << 20);
    assert_true(z->n < ZB_MAX);
    struct zb_entry *e = &z->entries[z->n++];
    *e = (struct zb_entry){
        .size = len, .packed_size = len, .deflated = deflated, .crc32 = pc_crc32(0, bytes, len)};
    snprintf(e->name, sizeof e->name, "%s", name);
    void *packed = NULL;
    if (deflated) {
        z_stream s = {0};
        packed = malloc(compressBound(len) + 64);
        assert_non_null(packed);
        assert_int_equal(deflateInit2(&s, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        s.next_in = (Bytef *)(uintptr_t)bytes;
        s.avail_in = (uInt)len;
        s.next_out = packed;
        s.avail_out = (uInt)compressBound(len) + 64;
        assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
        e->packed_size = s.total_out;
        deflateEnd(&s);
    }
    e->header_at = z->b.len;
    zb_put(&z->b, 0x04034b50, 4);
    zb_common(&z->b, e, z->zip64);
    // Pad the data to a multiple of 8 by an extra field, as torch does to 64.
    size_t extra = (z->zip64 ? 20 : 0) + 4;
    while ((z->b.len + 2 + strlen(name) + extra) % 8)
        extra++;
    zb_put(&z->b, extra, 2);
    pc_buf_puts(&z->b, name);
    if (z->zip64)
        zb_extra64(&z->b, e, false);
    zb_put(&z->b, 0x4246, 2);
    zb_put(&z->b, extra - (z->zip64 ? 20 : 0) - 4, 2);
    while (z->b.len % 8)
        pc_buf_putc(&z->b, 'Z');
    e->data_at = z->b.len;
    pc_buf_add(&z->b, packed ? packed : bytes, e->packed_size);
    free(packed);
    return e;
}

static inline void zb_central(struct zb *z, struct zb_entry *e)
{
    struct pc_buf *b = &z->b;
    e->central_at = b->len;
    zb_put(b, 0x02014b50, 4);
    zb_put(b, 45, 2);
    zb_common(b, e, z->zip64);
    zb_put(b, z->zip64 ? 28 : 0, 2);
    zb_put(b, 0, 10);
    zb_put(b, z->zip64 ? 0xffffffff : e->header_at, 4);
    pc_buf_puts(b, e->name);
    if (z->zip64)
        zb_extra64(b, e, true);
}

/* Write directory and end records. */
static inline void zb_finish(struct zb *z)
{
    struct pc_buf *b = &z->b;
    z->directory_at = b->len;
    for (size_t i = 0; i < z->n; i++)
        zb_central(z, &z->entries[i]);
    size_t size = b->len - z->directory_at;
    if (z->zip64) {
        size_t at = b->len;
        zb_put(b, 0x06064b50, 4);
        zb_put(b, 44, 8);
        zb_put(b, 45, 2);
        zb_put(b, 45, 2);
        zb_put(b, 0, 8);
        zb_put(b, z->n, 8);
        zb_put(b, z->n, 8);
        zb_put(b, size, 8);
        zb_put(b, z->directory_at, 8);
        zb_put(b, 0x07064b50, 4);
        zb_put(b, 0, 4);
        zb_put(b, at, 8);
        zb_put(b, 1, 4);
    }
    z->end_at = b->len;
    zb_put(b, 0x06054b50, 4);
    zb_put(b, 0, 4);
    zb_put(b, z->zip64 ? 0xffff : z->n, 2);
    zb_put(b, z->zip64 ? 0xffff : z->n, 2);
    zb_put(b, z->zip64 ? 0xffffffff : size, 4);
    zb_put(b, z->zip64 ? 0xffffffff : z->directory_at, 4);
    zb_put(b, 0, 2);
    assert_false(b->failed);
}

static inline void zb_patch(struct zb *z, size_t at, uint64_t v, int n_bytes)
{
    assert_true(at + (size_t)n_bytes <= z->b.len);
    for (int i = 0; i < n_bytes; i++)
        z->b.data[at + (size_t)i] = (char)(v >> (8 * i));
}

#endif
