// SPDX-License-Identifier: Apache-2.0
/* The header is parsed by jansson, then every range is checked against the file, its dtype and shape, and its
 * neighbours before the table is handed out: afterwards a read can only fail for reasons of the disk. Tensors
 * are sorted by their place in the file, which is the order a streaming reader wants and the order the
 * reference writer keeps. */
#include "format/safetensors.h"

#include "base/json.h"
#include "base/utf8.h"
#include "format/flat.h"
#include "format/sniff.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum pc_dtype dtype;
} g_dtypes[] = {
    {"F32", PC_F32},
    {"F16", PC_F16},
    {"BF16", PC_BF16},
    {"F64", PC_F64},
    {"F8_E4M3", PC_F8_E4M3},
    {"F8_E5M2", PC_F8_E5M2},
    {"I64", PC_I64},
    {"I32", PC_I32},
    {"I16", PC_I16},
    {"I8", PC_I8},
    {"U64", PC_U64},
    {"U32", PC_U32},
    {"U16", PC_U16},
    {"U8", PC_U8},
    {"BOOL", PC_BOOL},
};

const char *pc_safetensors_dtype(enum pc_dtype dtype)
{
    for (size_t i = 0; i < sizeof g_dtypes / sizeof *g_dtypes; i++)
        if (g_dtypes[i].dtype == dtype)
            return g_dtypes[i].name;
    return NULL;
}

static bool parse_dtype(const char *name, enum pc_dtype *out)
{
    for (size_t i = 0; i < sizeof g_dtypes / sizeof *g_dtypes; i++)
        if (strcmp(g_dtypes[i].name, name) == 0) {
            *out = g_dtypes[i].dtype;
            return true;
        }
    return false;
}

struct entry {
    const char *name; /* view into the parsed header */
    enum pc_dtype dtype;
    int n_dims;
    uint64_t shape[PC_MAX_DIMS];
    uint64_t begin, end; /* relative to the data */
    uint32_t order;      /* in the header */
};

struct reader {
    struct pc_file *file;
    char *header;
    uint64_t header_size, data_start, data_size;
    json_t *root;
    struct entry *entries;
    size_t n;
};

/* Where the header speaks of name: messages about an entry point there. Names with escapes fall back to the
 * start. */
static uint64_t entry_offset(const struct reader *r, const char *name)
{
    size_t len = strlen(name);
    const char *end = r->header + r->header_size;
    for (const char *p = r->header; (size_t)(end - p) >= len + 2; p++) {
        p = memchr(p, '"', (size_t)(end - p) - len - 1);
        if (!p)
            break;
        if (memcmp(p + 1, name, len) == 0 && p[len + 1] == '"')
            return 8 + (uint64_t)(p - r->header);
    }
    return 8;
}

/* What does not look like safetensors may be something else that can be named; if not, say what was found. */
static int not_safetensors(const struct reader *r, const char *found, uint64_t offset, struct paco_error *err)
{
    enum pc_file_kind kind = PC_FILE_UNKNOWN;
    int rc = pc_sniff(r->file, &kind, err);
    if (rc < 0)
        return rc;
    if (kind != PC_FILE_UNKNOWN && kind != PC_FILE_SAFETENSORS)
        return pc_sniff_refuse(r->file, kind, "a safetensors file", err);
    return pc_error_file(
        err, PACO_EFORMAT, r->file->path, offset, "%s (truncated, or not a safetensors file)", found);
}

static int read_header(struct reader *r, struct paco_error *err)
{
    uint8_t head[9] = {0};
    char found[128];
    size_t n = r->file->size < sizeof head ? (size_t)r->file->size : sizeof head;
    int rc = pc_file_read(r->file, 0, head, n, err);
    if (rc < 0)
        return rc;
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--)
        size = size << 8 | head[i];
    if (n < sizeof head) {
        snprintf(found, sizeof found, "the file is %zu bytes; a header length and a header are expected", n);
        return not_safetensors(r, found, n, err);
    }
    if (size == 0 || head[8] != '{')
        return not_safetensors(r, "the header does not begin with '{'", 8, err);
    if (size > r->file->size - 8) {
        snprintf(found, sizeof found, "the header is said to be %" PRIu64 " bytes, but %" PRIu64 " follow",
            size, r->file->size - 8);
        return not_safetensors(r, found, 0, err);
    }
    if (size > PC_SAFETENSORS_MAX_HEADER)
        return pc_error_file(err, PACO_ELIMIT, r->file->path, 0,
            "the header is %" PRIu64 " bytes; at most %d are read", size, PC_SAFETENSORS_MAX_HEADER);
    r->header = pc_alloc((size_t)size + 1, 1);
    if (!r->header)
        return pc_error_mem(err, size, "a safetensors header");
    r->header_size = size;
    r->data_start = 8 + size;
    r->data_size = r->file->size - r->data_start;
    return pc_file_read(r->file, 8, r->header, (size_t)size, err);
}

static int parse_header(struct reader *r, struct paco_error *err)
{
    uint64_t n_values = pc_json_count_values(r->header, (size_t)r->header_size);
    if (n_values > PC_SAFETENSORS_MAX_VALUES)
        return pc_error_file(err, PACO_ELIMIT, r->file->path, 8,
            "the header holds some %" PRIu64 " JSON values; at most %d are read", n_values,
            PC_SAFETENSORS_MAX_VALUES);
    return pc_json_parse(r->header, (size_t)r->header_size, r->file->path, 8, &r->root, err);
}

static int check_metadata(const struct reader *r, const json_t *meta, struct paco_error *err)
{
    uint64_t at = entry_offset(r, "__metadata__");
    if (!json_is_object(meta))
        return pc_error_file(err, PACO_EFORMAT, r->file->path, at,
            "__metadata__ is %s where an object of strings is expected", pc_json_kind(meta));
    json_t *obj = (json_t *)(uintptr_t)meta; // jansson's iterators take a non-const object and change nothing
    const char *key;
    json_t *v;
    json_object_foreach(obj, key, v) if (!json_is_string(v)) return pc_error_file(err, PACO_EFORMAT,
        r->file->path, at, "__metadata__ '%s' is %s where a string is expected", key, pc_json_kind(v));
    return 0;
}

/* A number beyond 64 bits anywhere makes the parser turn all of them into reals, so whole reals are taken
 * too: then the message names the one at fault. */
static bool read_uint(const json_t *v, uint64_t *out)
{
    const int64_t max = INT64_C(1) << 53;
    double real = json_is_real(v) ? json_real_value(v) : -1;
    int64_t x = json_is_integer(v)                 ? json_integer_value(v)
                : real >= 0 && real <= (double)max ? (int64_t)real
                                                   : -1;
    *out = (uint64_t)x;
    return x >= 0 && x <= max && (json_is_integer(v) || (double)x == real);
}

/* An array of non-negative integers of at most max members, into out. */
static int read_uints(const struct reader *r, const char *tensor, const char *key, const json_t *v,
    size_t max, uint64_t *out, struct paco_error *err)
{
    const char *path = r->file->path;
    if (!json_is_array(v))
        return pc_error_file(err, PACO_EFORMAT, path, entry_offset(r, tensor),
            "tensor '%s': \"%s\" is %s where an array of integers is expected", tensor, key, pc_json_kind(v));
    size_t n = json_array_size(v);
    if (n > max)
        return pc_error_file(err, PACO_EFORMAT, path, entry_offset(r, tensor),
            "tensor '%s': \"%s\" has %zu members; at most %zu are expected", tensor, key, n, max);
    for (size_t i = 0; i < n; i++) {
        if (!read_uint(json_array_get(v, i), &out[i]))
            return pc_error_file(err, PACO_EFORMAT, path, entry_offset(r, tensor),
                "tensor '%s': \"%s\"[%zu] is no integer from 0 to 2^53", tensor, key, i);
    }
    return (int)n;
}

static int read_entry(const struct reader *r, const json_t *v, struct entry *e, struct paco_error *err)
{
    const char *path = r->file->path;
    if (!json_is_object(v))
        return pc_error_file(err, PACO_EFORMAT, path, entry_offset(r, e->name),
            "tensor '%s' is %s where an object is expected", e->name, pc_json_kind(v));
    const char *dtype = NULL;
    int rc = pc_json_get_str(v, "dtype", &dtype, err);
    if (rc < 0) {
        pc_error_prefix(err, "tensor '%s'", e->name);
        pc_error_at(err, path, entry_offset(r, e->name));
        return rc;
    }
    if (!parse_dtype(dtype, &e->dtype))
        return pc_error_file(err, PACO_EUNSUPPORTED, path, entry_offset(r, e->name),
            "tensor '%s' has the dtype '%s', which paco does not read", e->name, dtype);
    e->n_dims = read_uints(r, e->name, "shape", json_object_get(v, "shape"), PC_MAX_DIMS, e->shape, err);
    if (e->n_dims < 0)
        return e->n_dims;
    uint64_t range[2] = {0};
    int n = read_uints(r, e->name, "data_offsets", json_object_get(v, "data_offsets"), 2, range, err);
    if (n < 0)
        return n;
    if (n != 2)
        return pc_error_file(err, PACO_EFORMAT, path, entry_offset(r, e->name),
            "tensor '%s': \"data_offsets\" has %d members; 2 are expected", e->name, n);
    e->begin = range[0];
    e->end = range[1];
    return 0;
}

static int read_entries(struct reader *r, struct paco_error *err)
{
    r->entries = pc_alloc_zero(json_object_size(r->root), sizeof *r->entries);
    if (!r->entries)
        return pc_error_mem(err, json_object_size(r->root) * sizeof *r->entries, "a safetensors header");
    const char *key;
    json_t *v;
    json_object_foreach(r->root, key, v)
    {
        int rc;
        if (strcmp(key, "__metadata__") == 0) {
            rc = check_metadata(r, v, err);
        } else {
            struct entry *e = &r->entries[r->n];
            e->name = key;
            e->order = (uint32_t)r->n++;
            rc = read_entry(r, v, e, err);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* The ranges must tile the data: each begins where the last ended. */
static int check_place(const struct reader *r, size_t i, struct paco_error *err)
{
    const struct entry *e = &r->entries[i];
    const char *path = r->file->path;
    uint64_t expected = i ? r->entries[i - 1].end : 0;
    if (e->end < e->begin)
        return pc_error_file(err, PACO_EFORMAT, path, entry_offset(r, e->name),
            "tensor '%s' ends at byte %" PRIu64 " of the data, before it begins at %" PRIu64, e->name, e->end,
            e->begin);
    if (e->end > r->data_size)
        return pc_error_file(err, PACO_EFORMAT, path, r->file->size,
            "tensor '%s' ends at byte %" PRIu64 " of the data, but the file holds %" PRIu64 " (truncated?)",
            e->name, e->end, r->data_size);
    if (e->begin < expected)
        return pc_error_file(err, PACO_EFORMAT, path, r->data_start + e->begin,
            "tensor '%s' begins at byte %" PRIu64
            " of the data and overlaps tensor '%s', which ends at %" PRIu64,
            e->name, e->begin, r->entries[i - 1].name, expected);
    if (e->begin > expected)
        return pc_error_file(err, PACO_EFORMAT, path, r->data_start + expected,
            "%" PRIu64 " bytes of the data before tensor '%s' belong to no tensor", e->begin - expected,
            e->name);
    return 0;
}

static int add_tensor(
    struct pc_checkpoint *ck, const struct reader *r, const struct entry *e, struct paco_error *err)
{
    int rc = pc_checkpoint_add_tensor(ck, e->name, strlen(e->name), e->dtype, e->n_dims, e->shape, err);
    if (rc < 0) {
        pc_error_at(err, r->file->path, entry_offset(r, e->name));
        return rc;
    }
    const struct pc_tensor *t = &ck->tensors[ck->n_tensors - 1];
    if (t->size != e->end - e->begin) {
        char shape[160];
        return pc_error_file(err, PACO_EFORMAT, r->file->path, r->data_start + e->begin,
            "tensor '%s' has %" PRIu64 " bytes; its shape %s in %s takes %" PRIu64, e->name,
            e->end - e->begin, pc_tensor_shape(t, shape, sizeof shape), pc_safetensors_dtype(e->dtype),
            t->size);
    }
    return 0;
}

static int fill_table(struct pc_checkpoint *ck, struct reader *r, struct paco_error *err)
{
    struct pc_flat *flat = ck->impl;
    if (r->n > 1)
        qsort(r->entries, r->n, sizeof *r->entries, by_place);
    flat->offsets = pc_arena_alloc(&ck->arena, r->n, sizeof *flat->offsets);
    if (!flat->offsets)
        return pc_error_mem(err, r->n * sizeof *flat->offsets, "a safetensors header");
    for (size_t i = 0; i < r->n; i++) {
        int rc = check_place(r, i, err);
        if (rc == 0)
            rc = add_tensor(ck, r, &r->entries[i], err);
        if (rc < 0)
            return rc;
        flat->offsets[i] = r->data_start + r->entries[i].begin;
    }
    uint64_t end = r->n ? r->entries[r->n - 1].end : 0;
    if (end != r->data_size)
        return pc_error_file(err, PACO_EFORMAT, r->file->path, r->data_start + end,
            "%" PRIu64 " bytes behind the last tensor belong to none", r->data_size - end);
    return 0;
}

static const struct pc_checkpoint_ops g_ops = {pc_flat_read, pc_flat_map, pc_flat_where, pc_flat_close};

int pc_safetensors_open(const char *path, struct pc_checkpoint **out, struct paco_error *err)
{
    *out = NULL;
    struct pc_checkpoint *ck = NULL;
    int rc = pc_flat_open("safetensors", &g_ops, path, sizeof(struct pc_flat), &ck, err);
    if (rc < 0)
        return rc;
    struct reader r = {.file = &((struct pc_flat *)ck->impl)->file};
    rc = read_header(&r, err);
    if (rc == 0)
        rc = parse_header(&r, err);
    if (rc == 0)
        rc = read_entries(&r, err);
    if (rc == 0)
        rc = fill_table(ck, &r, err);
    json_decref(r.root);
    pc_free(r.entries);
    pc_free(r.header);
    if (rc < 0) {
        pc_error_path(err, path);
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
