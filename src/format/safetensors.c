// SPDX-License-Identifier: Apache-2.0
/* The header is read token by token, then every range is checked against the file, its dtype and shape, and
 * its neighbours before the table is handed out: afterwards a read can only fail for reasons of the disk.
 * Tensors are sorted by their place in the file, which is the order a streaming reader wants and the order
 * the reference writer keeps. */
#include "format/safetensors.h"

#include "base/json_pull.h"
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
    const char *name; /* view into the reader's arena */
    enum pc_dtype dtype;
    int n_dims;
    uint64_t shape[PC_MAX_DIMS];
    uint64_t begin, end; /* relative to the data */
    uint64_t at;         /* in the file: where the header begins to speak of it */
};

struct reader {
    struct pc_file *file;
    uint64_t header_size, data_start, data_size;
    struct pc_json_pull json;
    struct pc_arena names;
    struct entry *entries;
    size_t n, capacity;
};

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
    r->header_size = size;
    r->data_start = 8 + size;
    r->data_size = r->file->size - r->data_start;
    return 0;
}

/* The tensor's own members, collected until all are there. */
struct members {
    bool has_dtype, has_shape, has_range;
    int n_range;
    uint64_t range[2];
};

/* The next token: what it is, or a negative code. */
static int next(struct reader *r, struct paco_error *err)
{
    return pc_json_next(&r->json, err);
}

static int read_metadata(struct reader *r, struct paco_error *err)
{
    const char *path = r->file->path;
    uint64_t at = r->json.at;
    char key[64] = "";
    int token = next(r, err);
    if (token >= 0 && token != PC_JSON_OBJECT)
        return pc_error_file(err, PACO_EFORMAT, path, at,
            "__metadata__ is %s where an object of strings is expected", pc_json_token_name(token));
    while (token >= 0 && (token = next(r, err)) >= 0 && token != PC_JSON_OBJECT_END) {
        if (token == PC_JSON_KEY)
            snprintf(key, sizeof key, "%s", r->json.text);
        else if (token != PC_JSON_STRING)
            return pc_error_file(err, PACO_EFORMAT, path, at,
                "__metadata__ '%s' is %s where a string is expected", key, pc_json_token_name(token));
    }
    return token < 0 ? token : 0;
}

/* An array of non-negative integers, the first max members into out: how many there are. */
static int read_uints(struct reader *r, const struct entry *e, const char *key, size_t max, uint64_t *out,
    struct paco_error *err)
{
    const char *path = r->file->path;
    int token = next(r, err);
    if (token >= 0 && token != PC_JSON_ARRAY)
        return pc_error_file(err, PACO_EFORMAT, path, e->at,
            "tensor '%s': \"%s\" is %s where an array of integers is expected", e->name, key,
            pc_json_token_name(token));
    size_t n = 0;
    for (; token >= 0 && (token = next(r, err)) >= 0 && token != PC_JSON_ARRAY_END; n++) {
        if (n >= max) {
            if ((token = pc_json_skip(&r->json, err)) < 0)
                return token;
            continue;
        }
        if (token != PC_JSON_INTEGER || r->json.integer < 0 || r->json.integer > INT64_C(1) << 53)
            return pc_error_file(err, PACO_EFORMAT, path, e->at,
                "tensor '%s': \"%s\"[%zu] is no integer from 0 to 2^53", e->name, key, n);
        out[n] = (uint64_t)r->json.integer;
    }
    if (token >= 0 && n > max)
        return pc_error_file(err, PACO_EFORMAT, path, e->at,
            "tensor '%s': \"%s\" has %zu members; at most %zu are expected", e->name, key, n, max);
    return token < 0 ? token : (int)n;
}

static int read_dtype(struct reader *r, struct entry *e, struct paco_error *err)
{
    int token = next(r, err);
    if (token >= 0 && token != PC_JSON_STRING)
        return pc_error_file(err, PACO_EFORMAT, r->file->path, e->at,
            "tensor '%s': \"dtype\" is %s where a string is expected", e->name, pc_json_token_name(token));
    if (token >= 0 && !parse_dtype(r->json.text, &e->dtype))
        return pc_error_file(err, PACO_EUNSUPPORTED, r->file->path, e->at,
            "tensor '%s' has the dtype '%.100s', which paco does not read", e->name, r->json.text);
    return token < 0 ? token : 0;
}

/* The member whose key is at hand. Those that the format does not know are passed over. */
static int read_member(struct reader *r, struct entry *e, struct members *m, struct paco_error *err)
{
    int rc = 0;
    if (strcmp(r->json.text, "dtype") == 0) {
        m->has_dtype = true;
        rc = read_dtype(r, e, err);
    } else if (strcmp(r->json.text, "shape") == 0) {
        m->has_shape = true;
        rc = e->n_dims = read_uints(r, e, "shape", PC_MAX_DIMS, e->shape, err);
    } else if (strcmp(r->json.text, "data_offsets") == 0) {
        m->has_range = true;
        rc = m->n_range = read_uints(r, e, "data_offsets", 2, m->range, err);
    } else if ((rc = next(r, err)) >= 0) {
        rc = pc_json_skip(&r->json, err);
    }
    return rc < 0 ? rc : 0;
}

static int read_entry(struct reader *r, struct entry *e, struct paco_error *err)
{
    const char *path = r->file->path, *missing;
    struct members m = {.n_range = 0};
    int rc = next(r, err);
    if (rc >= 0 && rc != PC_JSON_OBJECT)
        return pc_error_file(err, PACO_EFORMAT, path, e->at, "tensor '%s' is %s where an object is expected",
            e->name, pc_json_token_name(rc));
    while (rc >= 0 && (rc = next(r, err)) >= 0 && rc != PC_JSON_OBJECT_END)
        rc = read_member(r, e, &m, err);
    if (rc < 0)
        return rc;
    missing = !m.has_dtype ? "dtype" : !m.has_shape ? "shape" : !m.has_range ? "data_offsets" : NULL;
    if (missing)
        return pc_error_file(
            err, PACO_EFORMAT, path, e->at, "tensor '%s': \"%s\" is missing", e->name, missing);
    if (m.n_range != 2)
        return pc_error_file(err, PACO_EFORMAT, path, e->at,
            "tensor '%s': \"data_offsets\" has %d members; 2 are expected", e->name, m.n_range);
    e->begin = m.range[0];
    e->end = m.range[1];
    return 0;
}

/* Room for one more, named by the key at hand. */
static int add_entry(struct reader *r, struct paco_error *err)
{
    if (r->n == PC_MAX_TENSORS)
        return pc_error_file(
            err, PACO_ELIMIT, r->file->path, r->json.at, "more than %d tensors", PC_MAX_TENSORS);
    if (pc_grow(&r->entries, &r->capacity, r->n, sizeof *r->entries, "a safetensors header", err) < 0)
        return PACO_EMEM;
    const char *name = pc_arena_strndup(&r->names, r->json.text, r->json.len);
    if (!name)
        return pc_error_mem(err, r->json.len, "a safetensors header");
    r->entries[r->n++] = (struct entry){.name = name, .at = r->json.at};
    return 0;
}

static int read_entries(struct reader *r, struct paco_error *err)
{
    int rc = pc_json_pull_file(&r->json, r->file, 8, r->data_start, err);
    if (rc == 0)
        rc = next(r, err); // '{', as was seen
    while (rc >= 0 && (rc = next(r, err)) > PC_JSON_END && rc != PC_JSON_OBJECT_END) {
        if (strcmp(r->json.text, "__metadata__") == 0)
            rc = read_metadata(r, err);
        else if ((rc = add_entry(r, err)) == 0)
            rc = read_entry(r, &r->entries[r->n - 1], err);
    }
    return rc < 0 ? rc : next(r, err); // nothing but space may follow
}

static int by_place(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* The ranges must tile the data: each begins where the last ended. */
static int check_place(const struct reader *r, size_t i, struct paco_error *err)
{
    const struct entry *e = &r->entries[i];
    const char *path = r->file->path;
    uint64_t expected = i ? r->entries[i - 1].end : 0;
    if (e->end < e->begin)
        return pc_error_file(err, PACO_EFORMAT, path, e->at,
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
        pc_error_at(err, r->file->path, e->at);
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
    int rc = pc_checkpoint_reserve(ck, r->n, false, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < r->n; i++) {
        rc = check_place(r, i, err);
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

static const struct pc_checkpoint_ops g_ops = {
    .read = pc_flat_read, .map = pc_flat_map, .where = pc_flat_where, .close = pc_flat_close};

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
        rc = read_entries(&r, err);
    if (rc == 0)
        rc = fill_table(ck, &r, err);
    pc_json_pull_release(&r.json);
    pc_arena_release(&r.names);
    pc_free(r.entries);
    if (rc < 0) {
        pc_error_path(err, path);
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
