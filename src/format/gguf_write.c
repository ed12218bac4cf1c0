// SPDX-License-Identifier: Apache-2.0
/* The header depends on names, types, shapes and metadata alone: it is made when the file is placed and kept
 * until it is sealed. What lies between tensors, and after the last, is never written: files begin as zeros.
 */
#include "format/gguf_write.h"

#include "base/file.h"
#include "format/gguf_parts.h"

#include <assert.h>
#include <string.h>

enum { VERSION = 3 };

static void put_le(struct pc_buf *b, uint64_t v, int n_bytes)
{
    uint8_t bytes[8];
    for (int i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    pc_buf_add(b, bytes, (size_t)n_bytes);
}

static void put_text(struct pc_buf *b, const char *text, size_t len)
{
    put_le(b, len, 8);
    pc_buf_add(b, text, len);
}

static uint32_t float_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static void begin(struct pc_gguf_head *h, const char *key, enum pc_gguf_type type)
{
    put_text(&h->bytes, key, strlen(key));
    put_le(&h->bytes, type, 4);
    h->n++;
}

void pc_gguf_head_init(struct pc_gguf_head *h)
{
    *h = (struct pc_gguf_head){.n = 0};
    pc_buf_init(&h->bytes, PC_GGUF_MAX_HEADER);
}

void pc_gguf_head_release(struct pc_gguf_head *h)
{
    pc_buf_release(&h->bytes);
    h->n = 0;
}

int pc_gguf_head_check(const struct pc_gguf_head *h, struct paco_error *err)
{
    return pc_buf_check(&h->bytes, "a GGUF header", err);
}

int pc_gguf_head_digest(const struct pc_gguf_head *h, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    uint8_t digest[PC_SHA256_SIZE];
    struct pc_sha256 *hash = pc_sha256_new(err);
    int rc = hash ? pc_gguf_head_check(h, err) : PACO_EMEM;
    if (rc == 0) {
        pc_sha256_update(hash, h->bytes.data, h->bytes.len);
        pc_sha256_final(hash, digest);
        pc_sha256_hex(digest, hex);
    }
    pc_sha256_free(hash);
    return rc;
}

void pc_gguf_put_u32(struct pc_gguf_head *h, const char *key, uint32_t v)
{
    begin(h, key, PC_GGUF_U32);
    put_le(&h->bytes, v, 4);
}

void pc_gguf_put_f32(struct pc_gguf_head *h, const char *key, float v)
{
    begin(h, key, PC_GGUF_F32);
    put_le(&h->bytes, float_bits(v), 4);
}

void pc_gguf_put_bool(struct pc_gguf_head *h, const char *key, bool v)
{
    begin(h, key, PC_GGUF_BOOL);
    put_le(&h->bytes, v, 1);
}

void pc_gguf_put_str(struct pc_gguf_head *h, const char *key, const char *text, size_t len)
{
    begin(h, key, PC_GGUF_STRING);
    put_text(&h->bytes, text, len);
}

void pc_gguf_put_array(struct pc_gguf_head *h, const char *key, enum pc_gguf_type element, uint64_t n)
{
    assert(element == PC_GGUF_STRING || element == PC_GGUF_F32 || element == PC_GGUF_I32);
    begin(h, key, PC_GGUF_ARRAY);
    put_le(&h->bytes, element, 4);
    put_le(&h->bytes, n, 8);
}

void pc_gguf_add_str(struct pc_gguf_head *h, const char *text, size_t len)
{
    put_text(&h->bytes, text, len);
}

void pc_gguf_add_f32(struct pc_gguf_head *h, float v)
{
    put_le(&h->bytes, float_bits(v), 4);
}

void pc_gguf_add_i32(struct pc_gguf_head *h, int32_t v)
{
    put_le(&h->bytes, (uint32_t)v, 4);
}

void pc_gguf_put_entry(struct pc_gguf_head *h, const struct pc_gguf_entry *e)
{
    put_text(&h->bytes, e->key, e->key_len);
    put_le(&h->bytes, e->is_array ? PC_GGUF_ARRAY : e->value.type, 4);
    if (e->is_array) {
        put_le(&h->bytes, e->value.type, 4);
        put_le(&h->bytes, e->value.n, 8);
    }
    pc_buf_add(&h->bytes, e->value.data, (size_t)pc_gguf_array_size(&e->value));
    h->n++;
}

void pc_gguf_put_head(struct pc_gguf_head *h, const struct pc_gguf_head *more)
{
    pc_buf_add(&h->bytes, more->bytes.data, more->bytes.len);
    h->n += more->n;
}

/* ---- the layout ---- */

static uint64_t align(uint64_t at)
{
    return (at + PC_GGUF_ALIGNMENT - 1) / PC_GGUF_ALIGNMENT * PC_GGUF_ALIGNMENT;
}

static int put_tensor(struct pc_buf *b, const struct pc_out_tensor *t, uint64_t at, struct paco_error *err)
{
    uint32_t type;
    if (!pc_ggml_type_of(t->dtype, &type))
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s': GGUF files cannot hold %s", t->name,
            pc_dtype_name(t->dtype));
    if (t->n_dims < 1 || t->n_dims > PC_GGUF_MAX_DIMS)
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s' has %d dimensions; GGUF files hold 1 to %d",
            t->name, t->n_dims, PC_GGUF_MAX_DIMS);
    put_text(b, t->name, strlen(t->name));
    put_le(b, (uint64_t)t->n_dims, 4);
    for (int d = t->n_dims - 1; d >= 0; d--)
        put_le(b, t->shape[d], 8);
    put_le(b, type, 4);
    put_le(b, at, 8);
    return 0;
}

int pc_gguf_place(struct pc_layout *layout, const struct pc_gguf_head *head, struct paco_error *err)
{
    struct pc_out_file *file = &layout->files[0];
    struct pc_buf b;
    uint64_t at = 0;
    int rc = 0;
    pc_buf_init(&b, PC_GGUF_MAX_HEADER);
    pc_buf_add(&b, "GGUF", 4);
    put_le(&b, VERSION, 4);
    put_le(&b, layout->n_tensors, 8);
    put_le(&b, head->n, 8);
    pc_buf_add(&b, head->bytes.data, head->bytes.len);
    for (uint32_t i = 0; rc == 0 && i < layout->n_tensors; i++) {
        layout->tensors[i].offset = at;
        rc = put_tensor(&b, &layout->tensors[i], at, err);
        at = align(at + layout->tensors[i].size);
    }
    if (rc == 0)
        rc = pc_buf_check(&b, "a GGUF header", err);
    if (rc == 0) {
        file->data_start = align(b.len);
        file->size = file->data_start + at;
        while (b.len < file->data_start && !b.failed)
            pc_buf_putc(&b, '\0');
        file->impl = pc_arena_alloc(&layout->arena, b.len, 1);
        if (!file->impl || b.failed)
            rc = pc_error_mem(err, b.len, "a GGUF header");
        else
            memcpy(file->impl, b.data, b.len);
    }
    for (uint32_t i = 0; rc == 0 && i < layout->n_tensors; i++)
        layout->tensors[i].offset += file->data_start;
    pc_buf_release(&b);
    return rc;
}

int pc_gguf_seal(const struct pc_layout *layout, const struct pc_out_file *file, int fd, const char *path,
    struct paco_error *err)
{
    (void)layout;
    return pc_fd_write(fd, path, 0, file->impl, (size_t)file->data_start, err);
}
