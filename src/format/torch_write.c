// SPDX-License-Identifier: Apache-2.0
/* Writing a PyTorch checkpoint: a zip of stored entries as torch.save lays it out since 1.6
 * (docs/formats/torch.md).
 *
 *     archive/data.pkl   the state dict: names, dtypes, shapes, and which entry holds the values
 *     archive/byteorder  "little"
 *     archive/data/N     the bytes of tensor N, at a multiple of 64
 *     archive/version    "3\n"
 *
 * The name of the folder is free; ours is always "archive", so that a file's bytes do not depend on its name.
 * Times are zip's earliest. CRCs stand in the local headers, so no data descriptors are needed and every
 * offset is known before the first byte is written. */
#include "format/layout.h"

#include "base/crc32.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>

enum {
    ALIGNMENT = 64, /* torch maps storages, and wants them aligned */
    PICKLE_BATCH = 1000,
    CHUNK = 64 * 1024,
    LOCAL_SIZE = 30,
    CENTRAL_SIZE = 46,
    ZIP_VERSION = 20,
    ZIP64_VERSION = 45,
    DOS_1980 = 0x21, /* 1 January 1980 */
    MAX_PICKLE = 1 << 30,
};

#define MAX32 UINT64_C(0xffffffff)

/* What the pickle of a dtype names. */
static const struct {
    const char *storage; /* class in module torch, or NULL: untyped bytes, and the dtype by name */
    const char *dtype;
} g_names[PC_N_DTYPES] = {
    [PC_F32] = {"FloatStorage", NULL},
    [PC_F16] = {"HalfStorage", NULL},
    [PC_BF16] = {"BFloat16Storage", NULL},
    [PC_F64] = {"DoubleStorage", NULL},
    [PC_I64] = {"LongStorage", NULL},
    [PC_I32] = {"IntStorage", NULL},
    [PC_I16] = {"ShortStorage", NULL},
    [PC_I8] = {"CharStorage", NULL},
    [PC_U8] = {"ByteStorage", NULL},
    [PC_BOOL] = {"BoolStorage", NULL},
    [PC_F8_E4M3] = {NULL, "float8_e4m3fn"},
    [PC_F8_E5M2] = {NULL, "float8_e5m2"},
    [PC_U64] = {NULL, "uint64"},
    [PC_U32] = {NULL, "uint32"},
    [PC_U16] = {NULL, "uint16"},
};

/* ---- the pickle ---- */

static void put_le(struct pc_buf *b, uint64_t v, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        pc_buf_putc(b, (char)(v >> (8 * i)));
}

static void put_string(struct pc_buf *b, const char *s)
{
    size_t len = strlen(s);
    pc_buf_putc(b, 'X');
    put_le(b, len, 4);
    pc_buf_add(b, s, len);
}

static void put_int(struct pc_buf *b, uint64_t v)
{
    if (v < 256) {
        pc_buf_putc(b, 'K');
        put_le(b, v, 1);
    } else if (v < 65536) {
        pc_buf_putc(b, 'M');
        put_le(b, v, 2);
    } else if (v <= INT32_MAX) {
        pc_buf_putc(b, 'J');
        put_le(b, v, 4);
    } else {
        int n = 5;
        while (n < 9 && v >> (8 * n - 1))
            n++;
        pc_buf_add(b, "\x8a", 1);
        pc_buf_putc(b, (char)n);
        put_le(b, v, n > 8 ? 8 : n);
        if (n > 8)
            pc_buf_putc(b, 0);
    }
}

static void put_global(struct pc_buf *b, const char *module, const char *name)
{
    pc_buf_printf(b, "c%s\n%s\n", module, name);
}

static void put_tuple(struct pc_buf *b, int n, const uint64_t *items)
{
    static const char *const closing[] = {")", "\x85", "\x86", "\x87"};
    if (n > 3)
        pc_buf_putc(b, '(');
    for (int i = 0; i < n; i++)
        put_int(b, items[i]);
    pc_buf_puts(b, n > 3 ? "t" : closing[n]);
}

static uint64_t count_elements(const struct pc_out_tensor *t, uint64_t stride[PC_MAX_DIMS])
{
    uint64_t n = 1, step = 1;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        stride[i] = step;
        step *= t->shape[i] ? t->shape[i] : 1;
        n *= t->shape[i];
    }
    return n;
}

/* 'name': _rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict()), or v3 with a dtype at the end.
 */
static void put_tensor(struct pc_buf *b, const struct pc_out_tensor *t, uint32_t i_entry)
{
    const char *storage = g_names[t->dtype].storage;
    uint64_t stride[PC_MAX_DIMS];
    uint64_t n = count_elements(t, stride);
    char key[16];
    snprintf(key, sizeof key, "%u", i_entry);
    put_string(b, t->in_file);
    put_global(b, "torch._utils", storage ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
    pc_buf_puts(b, "((");
    put_string(b, "storage");
    put_global(b, storage ? "torch" : "torch.storage", storage ? storage : "UntypedStorage");
    put_string(b, key);
    put_string(b, "cpu");
    put_int(b, storage ? n : t->size);
    pc_buf_puts(b, "tQ");
    put_int(b, 0);
    put_tuple(b, t->n_dims, t->shape);
    put_tuple(b, t->n_dims, stride);
    pc_buf_puts(b, "\x89");
    put_global(b, "collections", "OrderedDict");
    pc_buf_puts(b, ")R");
    if (!storage)
        put_global(b, "torch", g_names[t->dtype].dtype);
    pc_buf_puts(b, "tR");
}

static void put_pickle(struct pc_buf *b, const struct pc_out_tensor *tensors, uint32_t n)
{
    pc_buf_puts(b, "\x80\x02}");
    for (uint32_t i = 0; i < n; i++) {
        if (i % PICKLE_BATCH == 0)
            pc_buf_puts(b, i ? "u(" : "(");
        put_tensor(b, &tensors[i], i);
    }
    pc_buf_puts(b, n ? "u." : ".");
}

/* ---- entries ---- */

struct pickle {
    const char *bytes;
    size_t len;
};

struct entry {
    char name[32];
    uint64_t size, header_at, data_at;
    uint32_t crc32;
    const void *bytes; /* what seal writes, or NULL: a tensor */
    const struct pc_out_tensor *tensor;
};

/* Entries are visited in the order they lie in; the state of a walk is its last entry. */
struct walk {
    const struct pc_out_file *file;
    const struct pc_out_tensor *tensors; /* the file's first */
    const struct pickle *pickle;
    uint64_t i;   /* of the next entry */
    uint64_t end; /* of the last entry's data */
};

static uint64_t n_entries(const struct pc_out_file *file)
{
    return (uint64_t)file->n + 3;
}

static void set_text(struct entry *e, const char *name, const void *bytes, size_t len)
{
    snprintf(e->name, sizeof e->name, "archive/%s", name);
    e->bytes = bytes;
    e->size = len;
    e->crc32 = pc_crc32(0, bytes, len);
}

static bool needs_zip64(const struct entry *e)
{
    return e->size >= MAX32;
}

static bool next_entry(struct walk *w, struct entry *e)
{
    static const char byteorder[] = "little", version[] = "3\n";
    *e = (struct entry){.header_at = w->end};
    if (w->i == n_entries(w->file))
        return false;
    if (w->i == 0) {
        set_text(e, "data.pkl", w->pickle->bytes, w->pickle->len);
    } else if (w->i == 1) {
        set_text(e, "byteorder", byteorder, sizeof byteorder - 1);
    } else if (w->i == n_entries(w->file) - 1) {
        set_text(e, "version", version, sizeof version - 1);
    } else {
        uint32_t i = (uint32_t)(w->i - 2);
        snprintf(e->name, sizeof e->name, "archive/data/%u", i);
        e->tensor = &w->tensors[i];
        e->size = e->tensor->size;
        e->crc32 = e->tensor->crc32;
    }
    // The padding is an extra field of its own, four bytes at least.
    uint64_t least = e->header_at + LOCAL_SIZE + strlen(e->name) + (needs_zip64(e) ? 20 : 0) + 4;
    e->data_at = (least + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    w->end = e->data_at + e->size;
    w->i++;
    return true;
}

static struct walk walk_file(const struct pc_layout *layout, const struct pc_out_file *file)
{
    return (struct walk){.file = file, .tensors = layout->tensors + file->first, .pickle = file->impl};
}

/* ---- headers ---- */

static uint64_t saturated(uint64_t v)
{
    return v < MAX32 ? v : MAX32;
}

/* What the local header and the central one have in common, from "version needed" to the length of the name.
 */
static void put_common(struct pc_buf *b, const struct entry *e, bool zip64)
{
    put_le(b, zip64 ? ZIP64_VERSION : ZIP_VERSION, 2);
    put_le(b, 0, 2); // flags
    put_le(b, 0, 2); // method: stored
    put_le(b, 0, 2); // time
    put_le(b, DOS_1980, 2);
    put_le(b, e->crc32, 4);
    put_le(b, saturated(e->size), 4);
    put_le(b, saturated(e->size), 4);
    put_le(b, strlen(e->name), 2);
}

static void put_local(struct pc_buf *b, const struct entry *e)
{
    uint64_t extra = e->data_at - e->header_at - LOCAL_SIZE - strlen(e->name);
    pc_buf_puts(b, "PK\3\4");
    put_common(b, e, needs_zip64(e));
    put_le(b, extra, 2);
    pc_buf_puts(b, e->name);
    if (needs_zip64(e)) {
        put_le(b, 1, 2);
        put_le(b, 16, 2);
        put_le(b, e->size, 8);
        put_le(b, e->size, 8);
        extra -= 20;
    }
    pc_buf_puts(b, "FB"); // as torch calls its padding
    put_le(b, extra - 4, 2);
    for (uint64_t i = 4; i < extra; i++)
        pc_buf_putc(b, 'Z');
}

static void put_central(struct pc_buf *b, const struct entry *e)
{
    bool far = e->header_at >= MAX32;
    size_t payload = (needs_zip64(e) ? 16 : 0) + (far ? 8 : 0);
    pc_buf_puts(b, "PK\1\2");
    put_le(b, ZIP64_VERSION, 2); // made by
    put_common(b, e, payload > 0);
    put_le(b, payload ? payload + 4 : 0, 2);
    put_le(b, 0, 2); // comment
    put_le(b, 0, 2); // disk
    put_le(b, 0, 2); // internal attributes
    put_le(b, 0, 4); // external attributes
    put_le(b, saturated(e->header_at), 4);
    pc_buf_puts(b, e->name);
    if (payload) {
        put_le(b, 1, 2);
        put_le(b, payload, 2);
        for (int i = 0; needs_zip64(e) && i < 2; i++)
            put_le(b, e->size, 8);
        if (far)
            put_le(b, e->header_at, 8);
    }
}

static uint64_t central_size(const struct entry *e)
{
    uint64_t payload = (needs_zip64(e) ? 16u : 0u) + (e->header_at >= MAX32 ? 8u : 0u);
    return CENTRAL_SIZE + strlen(e->name) + payload + (payload ? 4 : 0);
}

static bool end_needs_zip64(uint64_t n, uint64_t at, uint64_t size)
{
    return n >= 0xffff || at >= MAX32 || size >= MAX32;
}

/* The records after the central directory, which begins at `at` and is size bytes long. */
static void put_end(struct pc_buf *b, uint64_t n, uint64_t at, uint64_t size)
{
    if (end_needs_zip64(n, at, size)) {
        pc_buf_puts(b, "PK\6\6");
        put_le(b, 44, 8);
        put_le(b, ZIP64_VERSION, 2);
        put_le(b, ZIP64_VERSION, 2);
        put_le(b, 0, 8); // disks
        put_le(b, n, 8);
        put_le(b, n, 8);
        put_le(b, size, 8);
        put_le(b, at, 8);
        pc_buf_puts(b, "PK\6\7");
        put_le(b, 0, 4);
        put_le(b, at + size, 8);
        put_le(b, 1, 4);
    }
    uint64_t few = n < 0xffff ? n : 0xffff;
    pc_buf_puts(b, "PK\5\6");
    put_le(b, 0, 4); // disks
    put_le(b, few, 2);
    put_le(b, few, 2);
    put_le(b, saturated(size), 4);
    put_le(b, saturated(at), 4);
    put_le(b, 0, 2); // comment
}

/* ---- the two doors ---- */

static int make_pickle(struct pc_layout *layout, struct pc_out_file *file, struct paco_error *err)
{
    const struct pc_out_tensor *tensors = layout->tensors + file->first;
    struct pickle *pickle = pc_arena_alloc(&layout->arena, 1, sizeof *pickle);
    for (uint32_t i = 0; i < file->n; i++)
        if (!g_names[tensors[i].dtype].storage && !g_names[tensors[i].dtype].dtype)
            return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s': PyTorch files cannot hold %s",
                tensors[i].name, pc_dtype_name(tensors[i].dtype));
    struct pc_buf b;
    pc_buf_init(&b, MAX_PICKLE);
    put_pickle(&b, tensors, file->n);
    int rc = pc_buf_check(&b, "the pickle of a PyTorch file", err);
    if (rc == 0) {
        if (pickle)
            *pickle = (struct pickle){pc_arena_strndup(&layout->arena, b.data, b.len), b.len};
        if (!pickle || !pickle->bytes)
            rc = pc_error_mem(err, b.len, "the pickle of a PyTorch file");
    }
    file->impl = pickle;
    pc_buf_release(&b);
    return rc;
}

int pc_torch_place(struct pc_layout *layout, struct pc_out_file *file, struct paco_error *err)
{
    int rc = make_pickle(layout, file, err);
    if (rc < 0)
        return rc;
    struct walk w = walk_file(layout, file);
    struct entry e;
    uint64_t directory = 0;
    while (next_entry(&w, &e)) {
        directory += central_size(&e);
        if (e.tensor)
            layout->tensors[e.tensor - layout->tensors].offset = e.data_at;
        if (w.i == 3)
            file->data_start = e.data_at;
    }
    file->size = w.end + directory + 22 + (end_needs_zip64(n_entries(file), w.end, directory) ? 56 + 20 : 0);
    return 0;
}

/* Write what b holds at *at, step over it, and empty b. */
static int flush(struct pc_buf *b, int fd, const char *path, uint64_t *at, struct paco_error *err)
{
    int rc = pc_buf_check(b, "a zip header", err);
    if (rc == 0)
        rc = pc_fd_write(fd, path, *at, b->data, b->len, err);
    *at += b->len;
    pc_buf_clear(b);
    return rc;
}

static int write_entries(struct walk w, int fd, const char *path, struct pc_buf *b, struct paco_error *err)
{
    struct entry e;
    int rc = 0;
    while (rc == 0 && next_entry(&w, &e)) {
        uint64_t at = e.header_at;
        put_local(b, &e);
        rc = flush(b, fd, path, &at, err);
        if (rc == 0 && e.bytes)
            rc = pc_fd_write(fd, path, e.data_at, e.bytes, (size_t)e.size, err);
    }
    return rc;
}

static int write_directory(struct walk w, int fd, const char *path, struct pc_buf *b, struct paco_error *err)
{
    struct walk all = w;
    struct entry e;
    while (next_entry(&all, &e))
        continue;
    const uint64_t start = all.end;
    uint64_t at = start;
    int rc = 0;
    while (rc == 0 && next_entry(&w, &e)) {
        put_central(b, &e);
        if (b->len > CHUNK)
            rc = flush(b, fd, path, &at, err);
    }
    if (rc < 0)
        return rc;
    put_end(b, n_entries(w.file), start, at + b->len - start);
    return flush(b, fd, path, &at, err);
}

int pc_torch_seal(const struct pc_layout *layout, const struct pc_out_file *file, int fd, const char *path,
    struct paco_error *err)
{
    struct walk w = walk_file(layout, file);
    struct pc_buf b;
    pc_buf_init(&b, 2 * CHUNK);
    int rc = write_entries(w, fd, path, &b, err);
    if (rc == 0)
        rc = write_directory(w, fd, path, &b, err);
    pc_buf_release(&b);
    return rc;
}
