// SPDX-License-Identifier: Apache-2.0
/* GGUF files by hand, for tests: append what should stand there, right or wrong. */
#ifndef PC_TESTS_GGUF_BUILDER_H
#define PC_TESTS_GGUF_BUILDER_H

#include "unit.h"

#include "format/gguf.h"

struct blob {
    unsigned char bytes[1 << 16];
    size_t len;
};

static inline void blob_bytes(struct blob *b, const void *p, size_t n)
{
    assert_true(b->len + n <= sizeof b->bytes);
    memcpy(b->bytes + b->len, p, n);
    b->len += n;
}

static inline void blob_uint(struct blob *b, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        blob_bytes(b, &(unsigned char){(unsigned char)(v >> (8 * i))}, 1);
}

static inline void blob_str(struct blob *b, const char *s)
{
    blob_uint(b, strlen(s), 8);
    blob_bytes(b, s, strlen(s));
}

static inline void blob_head(struct blob *b, uint32_t version, uint64_t n_tensors, uint64_t n_entries)
{
    b->len = 0;
    blob_bytes(b, "GGUF", 4);
    blob_uint(b, version, 4);
    blob_uint(b, n_tensors, 8);
    blob_uint(b, n_entries, 8);
}

static inline void blob_key(struct blob *b, const char *key, enum pc_gguf_type type)
{
    blob_str(b, key);
    blob_uint(b, type, 4);
}

static inline void blob_key_u32(struct blob *b, const char *key, uint32_t v)
{
    blob_key(b, key, PC_GGUF_U32);
    blob_uint(b, v, 4);
}

static inline void blob_key_f32(struct blob *b, const char *key, float v)
{
    blob_key(b, key, PC_GGUF_F32);
    blob_bytes(b, &v, 4);
}

static inline void blob_key_str(struct blob *b, const char *key, const char *v)
{
    blob_key(b, key, PC_GGUF_STRING);
    blob_str(b, v);
}

/* dims in GGUF's order, columns first; 0 ends them. */
static inline void blob_tensor(
    struct blob *b, const char *name, uint32_t ggml_type, uint64_t d0, uint64_t d1, uint64_t offset)
{
    blob_str(b, name);
    blob_uint(b, d1 ? 2 : 1, 4);
    blob_uint(b, d0, 8);
    if (d1)
        blob_uint(b, d1, 8);
    blob_uint(b, ggml_type, 4);
    blob_uint(b, offset, 8);
}

/* Pad to align, then n bytes 0, 1, 2 ... */
static inline void blob_data(struct blob *b, size_t align, size_t n)
{
    while (b->len % align)
        blob_uint(b, 0, 1);
    for (size_t i = 0; i < n; i++)
        blob_uint(b, i & 255, 1);
}

#endif
