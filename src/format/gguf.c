// SPDX-License-Identifier: Apache-2.0
/* The header has no length of its own, so it is read in pieces as the parser walks through it, into one block
 * of memory as large as the header may be; what is never read is never resident. Counts are held against the
 * bytes that are left before anything of their size is allocated. */
#include "format/gguf.h"

#include "format/gguf_parts.h"
#include "format/gguf_write.h"
#include "format/sniff.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows by GGML's number. Those without a dtype are known by name only. */
static const struct {
    const char *name;
    bool known;
    enum pc_dtype dtype;
} g_types[] = {
    [0] = {"F32", true, PC_F32},
    [1] = {"F16", true, PC_F16},
    [2] = {"Q4_0", true, PC_Q4_0},
    [3] = {"Q4_1", true, PC_Q4_1},
    [4] = {"Q4_2", false, 0},
    [5] = {"Q4_3", false, 0},
    [6] = {"Q5_0", true, PC_Q5_0},
    [7] = {"Q5_1", true, PC_Q5_1},
    [8] = {"Q8_0", true, PC_Q8_0},
    [9] = {"Q8_1", false, 0},
    [10] = {"Q2_K", false, 0},
    [11] = {"Q3_K", false, 0},
    [12] = {"Q4_K", true, PC_Q4_K},
    [13] = {"Q5_K", true, PC_Q5_K},
    [14] = {"Q6_K", true, PC_Q6_K},
    [15] = {"Q8_K", false, 0},
    [16] = {"IQ2_XXS", false, 0},
    [17] = {"IQ2_XS", false, 0},
    [18] = {"IQ3_XXS", false, 0},
    [19] = {"IQ1_S", false, 0},
    [20] = {"IQ4_NL", false, 0},
    [21] = {"IQ3_S", false, 0},
    [22] = {"IQ2_S", false, 0},
    [23] = {"IQ4_XS", false, 0},
    [24] = {"I8", true, PC_I8},
    [25] = {"I16", true, PC_I16},
    [26] = {"I32", true, PC_I32},
    [27] = {"I64", true, PC_I64},
    [28] = {"F64", true, PC_F64},
    [29] = {"IQ1_M", false, 0},
    [30] = {"BF16", true, PC_BF16},
    [31] = {"Q4_0_4_4", false, 0},
    [32] = {"Q4_0_4_8", false, 0},
    [33] = {"Q4_0_8_8", false, 0},
    [34] = {"TQ1_0", false, 0},
    [35] = {"TQ2_0", false, 0},
    [39] = {"MXFP4", false, 0},
};
enum { N_TYPES = sizeof g_types / sizeof *g_types };

const char *pc_ggml_type_name(uint32_t ggml_type)
{
    return ggml_type < N_TYPES ? g_types[ggml_type].name : NULL;
}

bool pc_ggml_type_of(enum pc_dtype dtype, uint32_t *ggml_type)
{
    for (uint32_t i = 0; i < N_TYPES; i++)
        if (g_types[i].known && g_types[i].dtype == dtype) {
            *ggml_type = i;
            return true;
        }
    return false;
}

void pc_gguf_refuse(struct pc_gguf_reader *r, int code, uint64_t offset, const char *fmt, ...)
{
    if (r->rc < 0)
        return;
    char text[sizeof r->err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r->rc = pc_error_file(r->err, code, r->gguf->flat.file.path, offset, "%s", text);
}

/* Have at least the bytes up to end, and some more if the file has them. */
static bool fill(struct pc_gguf_reader *r, uint64_t end)
{
    const uint64_t piece = 256 * 1024;
    uint64_t target = r->limit - r->have < piece ? r->limit : r->have + piece;
    if (target < end)
        target = end;
    r->rc = pc_file_read(
        &r->gguf->flat.file, r->have, r->gguf->bytes + r->have, (size_t)(target - r->have), r->err);
    if (r->rc == 0)
        r->have = target;
    return r->rc == 0;
}

const uint8_t *pc_gguf_take(struct pc_gguf_reader *r, uint64_t n, const char *what)
{
    uint64_t size = r->gguf->flat.file.size;
    if (r->rc < 0)
        return NULL;
    if (n > size - r->pos) {
        pc_gguf_refuse(r, PACO_EFORMAT, r->pos,
            "%s takes %" PRIu64 " bytes, but the file ends after %" PRIu64 " (truncated?)", what, n,
            size - r->pos);
        return NULL;
    }
    if (n > r->limit - r->pos) {
        pc_gguf_refuse(
            r, PACO_ELIMIT, r->pos, "metadata and tensor table take more than %d bytes", PC_GGUF_MAX_HEADER);
        return NULL;
    }
    if (r->pos + n > r->have && !fill(r, r->pos + n))
        return NULL;
    const uint8_t *at = r->gguf->bytes + r->pos;
    r->pos += n;
    return at;
}

static uint64_t take_uint(struct pc_gguf_reader *r, unsigned n, const char *what)
{
    const uint8_t *b = pc_gguf_take(r, n, what);
    uint64_t v = 0;
    for (unsigned i = 0; b && i < n; i++)
        v |= (uint64_t)b[i] << (8 * i);
    return v;
}

uint32_t pc_gguf_take_u32(struct pc_gguf_reader *r, const char *what)
{
    return (uint32_t)take_uint(r, 4, what);
}

uint64_t pc_gguf_take_u64(struct pc_gguf_reader *r, const char *what)
{
    return take_uint(r, 8, what);
}

const char *pc_gguf_take_str(struct pc_gguf_reader *r, uint64_t *len, const char *what)
{
    *len = pc_gguf_take_u64(r, what);
    return (const char *)pc_gguf_take(r, *len, what);
}

static void check_magic(struct pc_gguf_reader *r)
{
    enum pc_file_kind kind = PC_FILE_UNKNOWN;
    r->rc = pc_sniff(&r->gguf->flat.file, &kind, r->err);
    if (r->rc == 0 && kind != PC_FILE_GGUF)
        r->rc = pc_sniff_refuse(&r->gguf->flat.file, kind, "a GGUF file", r->err);
    pc_gguf_take(r, 4, "GGUF's magic number");
    uint32_t version = pc_gguf_take_u32(r, "the version number");
    if (r->rc < 0 || version == 2 || version == 3)
        return;
    if (version == 1)
        pc_gguf_refuse(r, PACO_EUNSUPPORTED, 4,
            "is GGUF version 1, of August 2023; versions 2 and 3 are read: convert the model again");
    else if (version > 0 && (version & 0xffff) == 0)
        pc_gguf_refuse(
            r, PACO_EUNSUPPORTED, 4, "is a big-endian GGUF file; only little-endian ones are read");
    else
        pc_gguf_refuse(
            r, PACO_EUNSUPPORTED, 4, "is GGUF version %" PRIu32 "; versions 2 and 3 are read", version);
}

/* n things of at least `least` bytes each must fit into what is left of the file. */
static void check_count(
    struct pc_gguf_reader *r, uint64_t n, uint64_t least, uint64_t max, uint64_t offset, const char *what)
{
    uint64_t left = r->gguf->flat.file.size - r->pos;
    if (n > left / least)
        pc_gguf_refuse(r, PACO_EFORMAT, offset,
            "says it has %" PRIu64 " %s, but only %" PRIu64 " bytes follow (truncated?)", n, what, left);
    else if (n > max)
        pc_gguf_refuse(
            r, PACO_ELIMIT, offset, "has %" PRIu64 " %s; at most %" PRIu64 " are read", n, what, max);
}

static void read_type(struct pc_gguf_reader *r, const char *name, int name_len, enum pc_dtype *dtype)
{
    uint64_t at = r->pos;
    uint32_t type = pc_gguf_take_u32(r, "a tensor's type");
    if (r->rc < 0)
        return;
    const char *type_name = pc_ggml_type_name(type);
    if (type >= N_TYPES || !g_types[type].known)
        pc_gguf_refuse(r, PACO_EUNSUPPORTED, at,
            "tensor '%.*s' is of GGML type %" PRIu32 " (%s), which paco does not read", name_len, name, type,
            type_name ? type_name : "unknown");
    else
        *dtype = g_types[type].dtype;
}

static void read_tensor(struct pc_gguf_reader *r, struct pc_checkpoint *ck)
{
    uint64_t entry = r->pos, len;
    const char *name = pc_gguf_take_str(r, &len, "a tensor's name");
    if (name && len > PC_MAX_NAME)
        pc_gguf_refuse(r, PACO_ELIMIT, entry, "a tensor's name is %" PRIu64 " bytes; at most %d are read",
            len, PC_MAX_NAME);
    uint64_t at = r->pos;
    uint32_t n_dims = pc_gguf_take_u32(r, "a tensor's shape");
    if (r->rc == 0 && n_dims > PC_GGUF_MAX_DIMS)
        pc_gguf_refuse(r, PACO_EFORMAT, at, "tensor '%.*s' has %" PRIu32 " dimensions; GGUF allows %d",
            (int)len, name, n_dims, PC_GGUF_MAX_DIMS);
    uint64_t shape[PC_GGUF_MAX_DIMS] = {0};
    for (uint32_t i = 0; r->rc == 0 && i < n_dims; i++)
        shape[n_dims - 1 - i] = pc_gguf_take_u64(r, "a tensor's shape");
    enum pc_dtype dtype = PC_F32;
    if (r->rc == 0)
        read_type(r, name, (int)len, &dtype);
    uint64_t offset = pc_gguf_take_u64(r, "a tensor's offset");
    if (r->rc < 0)
        return;
    const struct pc_dtype_traits *traits = pc_dtype_traits(dtype);
    uint64_t row = n_dims ? shape[n_dims - 1] : 1;
    if (row % traits->n_block != 0) {
        pc_gguf_refuse(r, PACO_EFORMAT, entry,
            "tensor '%.*s': a row of %" PRIu64 " elements is no whole number of %s blocks of %" PRIu32,
            (int)len, name, row, traits->name, traits->n_block);
        return;
    }
    r->rc = pc_checkpoint_add_tensor(ck, name, (size_t)len, dtype, (int)n_dims, shape, r->err);
    if (r->rc < 0)
        pc_error_at(r->err, r->gguf->flat.file.path, entry);
    else
        r->gguf->flat.offsets[ck->n_tensors - 1] = offset;
}

static uint64_t alignment(struct pc_gguf_reader *r, const struct pc_checkpoint *ck)
{
    int64_t n = 32;
    if (r->rc == 0)
        r->rc = pc_gguf_opt_i64(ck, "general.alignment", 1, PC_GGUF_MAX_ALIGNMENT, &n, r->err);
    if (r->rc == 0 && (n & (n - 1)) != 0)
        pc_gguf_refuse(r, PACO_EFORMAT, pc_gguf_find(ck, "general.alignment")->offset,
            "general.alignment is %" PRId64 ", which is no power of two", n);
    return (uint64_t)n;
}

static void check_split(struct pc_gguf_reader *r, const struct pc_checkpoint *ck)
{
    int64_t n = 1;
    if (r->rc == 0)
        r->rc = pc_gguf_opt_i64(ck, "split.count", 0, 65535, &n, r->err);
    if (r->rc == 0 && n > 1)
        pc_gguf_refuse(r, PACO_EUNSUPPORTED, pc_gguf_find(ck, "split.count")->offset,
            "is one of %" PRId64 " parts of a split model: join them first (llama-gguf-split --merge)", n);
}

/* From offsets relative to the data to offsets in the file, checked. */
static void place_tensors(struct pc_gguf_reader *r, struct pc_checkpoint *ck)
{
    uint64_t align = alignment(r, ck), size = r->gguf->flat.file.size;
    uint64_t data = (r->pos + align - 1) / align * align;
    for (size_t i = 0; r->rc == 0 && i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        uint64_t offset = r->gguf->flat.offsets[i];
        if (offset % align != 0)
            pc_gguf_refuse(r, PACO_EFORMAT, r->pos,
                "tensor '%s' is at byte %" PRIu64 " of the data, no multiple of the alignment %" PRIu64,
                t->name, offset, align);
        else if (t->size && (data > size || offset > size - data || t->size > size - data - offset))
            pc_gguf_refuse(r, PACO_EFORMAT, size,
                "tensor '%s' takes %" PRIu64 " bytes from byte %" PRIu64
                " of the data, which begin at byte %" PRIu64 " of the file, but the file ends at %" PRIu64
                " (truncated?)",
                t->name, t->size, offset, data, size);
        r->gguf->flat.offsets[i] = t->size ? data + offset : 0;
    }
}

struct place {
    uint64_t begin, end;
    uint32_t index;
};

static int by_begin(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static void check_overlaps(struct pc_gguf_reader *r, const struct pc_checkpoint *ck)
{
    if (r->rc < 0 || ck->n_tensors == 0)
        return;
    struct place *places = pc_alloc(ck->n_tensors, sizeof *places);
    if (!places) {
        r->rc = pc_error_mem(r->err, ck->n_tensors * sizeof *places, "a check for overlaps");
        return;
    }
    for (uint32_t i = 0; i < ck->n_tensors; i++) {
        uint64_t begin = r->gguf->flat.offsets[i];
        places[i] = (struct place){begin, begin + ck->tensors[i].size, i};
    }
    qsort(places, ck->n_tensors, sizeof *places, by_begin);
    for (size_t i = 1; r->rc == 0 && i < ck->n_tensors; i++)
        if (places[i].begin < places[i - 1].end)
            pc_gguf_refuse(r, PACO_EFORMAT, places[i].begin,
                "tensor '%s' begins inside tensor '%s', which ends at byte %" PRIu64,
                ck->tensors[places[i].index].name, ck->tensors[places[i - 1].index].name, places[i - 1].end);
    pc_free(places);
}

static void read_tensors(struct pc_gguf_reader *r, struct pc_checkpoint *ck, uint64_t n)
{
    if (r->rc < 0)
        return;
    r->gguf->flat.offsets = pc_arena_alloc(&ck->arena, n, sizeof(uint64_t));
    if (!r->gguf->flat.offsets)
        r->rc = pc_error_mem(r->err, n * sizeof(uint64_t), "a tensor table");
    for (uint64_t i = 0; r->rc == 0 && i < n; i++)
        read_tensor(r, ck);
}

static int read_all(struct pc_gguf *gguf, struct pc_checkpoint *ck, struct paco_error *err)
{
    uint64_t size = gguf->flat.file.size;
    struct pc_gguf_reader r = {.gguf = gguf, .arena = &ck->arena, .err = err};
    r.limit = size < PC_GGUF_MAX_HEADER ? size : PC_GGUF_MAX_HEADER;
    gguf->bytes = pc_alloc((size_t)r.limit, 1);
    if (!gguf->bytes)
        return pc_error_mem(err, r.limit, "a GGUF header");
    check_magic(&r);
    uint64_t n_tensors = pc_gguf_take_u64(&r, "the number of tensors");
    uint64_t n_entries = pc_gguf_take_u64(&r, "the number of metadata entries");
    // A key's length, one byte, a type, one byte; a name's length, one byte, no dimensions, a type, an
    // offset.
    if (r.rc == 0)
        check_count(&r, n_entries, 8 + 1 + 4 + 1, PC_GGUF_MAX_ENTRIES, 16, "metadata entries");
    if (r.rc == 0)
        check_count(&r, n_tensors, 8 + 1 + 4 + 4 + 8, PC_MAX_TENSORS, 8, "tensors");
    pc_gguf_read_metadata(&r, n_entries);
    check_split(&r, ck);
    read_tensors(&r, ck, n_tensors);
    place_tensors(&r, ck);
    check_overlaps(&r, ck);
    return r.rc;
}

static void gguf_close(struct pc_checkpoint *ck)
{
    struct pc_gguf *gguf = ck->impl;
    pc_map_release(&gguf->by_key);
    pc_free(gguf->bytes);
    pc_flat_close(ck);
}

static const struct pc_checkpoint_ops g_ops = {
    .read = pc_flat_read, .map = pc_flat_map, .where = pc_flat_where, .close = gguf_close};

bool pc_is_gguf(const struct pc_checkpoint *ck)
{
    return ck && ck->ops == &g_ops;
}

int pc_gguf_open(const char *path, struct pc_checkpoint **out, struct paco_error *err)
{
    *out = NULL;
    struct pc_checkpoint *ck = NULL;
    int rc = pc_flat_open("gguf", &g_ops, path, sizeof(struct pc_gguf), &ck, err);
    if (rc < 0)
        return rc;
    rc = read_all(ck->impl, ck, err);
    if (rc < 0) {
        pc_error_path(err, path);
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
