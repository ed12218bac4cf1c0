// SPDX-License-Identifier: Apache-2.0
/* PyTorch checkpoints made by hand, zip and legacy form: what test_torch.c and test_torch_legacy.c spoil. */
#ifndef PC_TESTS_TORCH_BUILD_H
#define PC_TESTS_TORCH_BUILD_H

#include "unit.h"

#include "base/file.h"
#include "format/torch.h"
#include "scratch.h"
#include "zip_build.h"

#include <stdio.h>

static struct scratch g_dir;

/* ---- pickles ---- */

/* A tensor of a hand-made state dict. Strides and sizes are signed, so that they may be wrong. */
struct item {
    const char *name, *storage_class, *key;
    int32_t n_elements, offset;
    int n_dims;
    int32_t shape[9], stride[9];
};

static inline void put_string(struct pc_buf *b, const char *s)
{
    pc_buf_putc(b, 'X');
    zb_put(b, strlen(s), 4);
    pc_buf_puts(b, s);
}

static inline void put_int(struct pc_buf *b, int32_t i)
{
    pc_buf_putc(b, 'J');
    zb_put(b, (uint32_t)i, 4);
}

static inline void put_ints(struct pc_buf *b, int n, const int32_t *ints)
{
    pc_buf_putc(b, '(');
    for (int i = 0; i < n; i++)
        put_int(b, ints[i]);
    pc_buf_putc(b, 't');
}

static inline void put_tensor(struct pc_buf *b, const struct item *t, bool legacy)
{
    pc_buf_puts(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_string(b, "storage");
    pc_buf_printf(b, "ctorch\n%s\n", t->storage_class);
    put_string(b, t->key);
    put_string(b, "cpu");
    put_int(b, t->n_elements);
    pc_buf_puts(b, legacy ? "NtQ" : "tQ");
    put_int(b, t->offset);
    put_ints(b, t->n_dims, t->shape);
    put_ints(b, t->n_dims, t->stride);
    pc_buf_puts(b, "\x89"
                   "ccollections\nOrderedDict\n)RtR");
}

static inline void put_dict(struct pc_buf *b, const struct item *items, size_t n, bool legacy)
{
    pc_buf_puts(b, "}(");
    for (size_t i = 0; i < n; i++) {
        put_string(b, items[i].name);
        put_tensor(b, &items[i], legacy);
    }
    pc_buf_putc(b, 'u');
}

static inline struct pc_buf state_dict(const struct item *items, size_t n)
{
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    pc_buf_puts(&b, "\x80\2");
    put_dict(&b, items, n, false);
    pc_buf_putc(&b, '.');
    return b;
}

/* ---- files ---- */

static const char *g_path; /* of the last file written */

static inline int open_bytes(
    const char *name, const void *bytes, size_t len, struct pc_checkpoint **ck, struct paco_error *err)
{
    *err = (struct paco_error){0};
    *ck = NULL;
    g_path = scratch_write(&g_dir, name, bytes, len);
    return pc_torch_open(g_path, ck, err);
}

static inline struct pc_checkpoint *open_zip(const struct zb *z)
{
    struct pc_checkpoint *ck;
    struct paco_error err;
    if (open_bytes("x.bin", z->b.data, z->b.len, &ck, &err) < 0)
        fail_msg("%s at %llu", err.message, (unsigned long long)err.offset);
    return ck;
}

static inline void refuse_bytes(const void *bytes, size_t len, int code, const char *part, uint64_t *offset)
{
    struct pc_checkpoint *ck;
    struct paco_error err;
    assert_int_equal(open_bytes("bad.bin", bytes, len, &ck, &err), code);
    assert_int_equal(err.code, code);
    assert_null(ck);
    assert_contains(err.message, part);
    assert_string_equal(err.path, g_path);
    assert_true(err.has_offset && err.offset <= len);
    *offset = err.offset;
}

/* A one-storage archive: data/0 holds the bytes 0, 1, 2 ... (mod 251). */
struct one {
    struct zb z;
    struct zb_entry *pkl, *data;
    uint8_t *bytes;
};

static inline void one_finish(
    struct one *o, const struct item *items, size_t n, size_t storage_size, bool deflated)
{
    struct pc_buf pkl = state_dict(items, n);
    *o = (struct one){.bytes = malloc(storage_size + 1)};
    assert_non_null(o->bytes);
    for (size_t i = 0; i < storage_size; i++)
        o->bytes[i] = (uint8_t)(i % 251);
    o->pkl = zb_add(&o->z, "archive/data.pkl", pkl.data, pkl.len, deflated);
    o->data = zb_add(&o->z, "archive/data/0", o->bytes, storage_size, deflated);
    zb_finish(&o->z);
    pc_buf_release(&pkl);
}

static inline void one_release(struct one *o)
{
    pc_buf_release(&o->z.b);
    free(o->bytes);
}

#endif
