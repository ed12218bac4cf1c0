// SPDX-License-Identifier: Apache-2.0
/* GGUF's metadata: values stay where they lie in the header's bytes; an entry knows where that is. Only
 * strings in arrays, whose place depends on all before them, get a table of places, four bytes each since the
 * header is below 4 GiB. */
#include "format/gguf_parts.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name, *with_article;
    unsigned size; /* 0: variable */
} g_types[PC_GGUF_N_TYPES] = {
    [PC_GGUF_U8] = {"uint8", "a uint8", 1},
    [PC_GGUF_I8] = {"int8", "an int8", 1},
    [PC_GGUF_U16] = {"uint16", "a uint16", 2},
    [PC_GGUF_I16] = {"int16", "an int16", 2},
    [PC_GGUF_U32] = {"uint32", "a uint32", 4},
    [PC_GGUF_I32] = {"int32", "an int32", 4},
    [PC_GGUF_F32] = {"float32", "a float32", 4},
    [PC_GGUF_BOOL] = {"bool", "a bool", 1},
    [PC_GGUF_STRING] = {"string", "a string", 0},
    [PC_GGUF_ARRAY] = {"array", "an array", 0},
    [PC_GGUF_U64] = {"uint64", "a uint64", 8},
    [PC_GGUF_I64] = {"int64", "an int64", 8},
    [PC_GGUF_F64] = {"float64", "a float64", 8},
};

uint64_t pc_gguf_array_size(const struct pc_gguf_array *a)
{
    if (a->type != PC_GGUF_STRING)
        return a->n * g_types[a->type].size;
    size_t len = 0;
    if (a->n)
        (void)pc_gguf_array_str(a, a->n - 1, &len);
    return a->n ? a->at[a->n - 1] + 8 + len : 0;
}

static enum pc_gguf_type take_type(struct pc_gguf_reader *r, const struct pc_gguf_entry *e)
{
    uint64_t at = r->pos;
    uint32_t type = pc_gguf_take_u32(r, "a metadata value's type");
    if (r->rc == 0 && type >= PC_GGUF_N_TYPES)
        pc_gguf_refuse(r, PACO_EFORMAT, at, "metadata '%.*s' is of the unknown value type %" PRIu32,
            (int)e->key_len, e->key, type);
    return r->rc == 0 ? (enum pc_gguf_type)type : PC_GGUF_U8;
}

static void take_strings(struct pc_gguf_reader *r, struct pc_gguf_entry *e)
{
    uint32_t *at = pc_arena_alloc(r->arena, e->value.n, sizeof *at);
    if (!at) {
        r->rc = pc_error_mem(r->err, e->value.n * sizeof *at, "a GGUF array of strings");
        return;
    }
    uint64_t start = r->pos, len;
    for (uint64_t i = 0; r->rc == 0 && i < e->value.n; i++) {
        at[i] = (uint32_t)(r->pos - start);
        pc_gguf_take_str(r, &len, "a string in a metadata array");
    }
    e->value.at = at;
}

static void check_bools(struct pc_gguf_reader *r, const struct pc_gguf_entry *e)
{
    for (uint64_t i = 0; i < e->value.n; i++)
        if (e->value.data[i] > 1) {
            pc_gguf_refuse(r, PACO_EFORMAT, e->offset,
                "metadata '%.*s' holds a bool of value %d; 0 or 1 is expected", (int)e->key_len, e->key,
                e->value.data[i]);
            return;
        }
}

static void take_array_head(struct pc_gguf_reader *r, struct pc_gguf_entry *e)
{
    e->is_array = true;
    e->value.type = take_type(r, e);
    if (r->rc == 0 && e->value.type == PC_GGUF_ARRAY)
        pc_gguf_refuse(r, PACO_EUNSUPPORTED, e->offset,
            "metadata '%.*s' is an array of arrays, which is not read", (int)e->key_len, e->key);
    e->value.n = pc_gguf_take_u64(r, "a metadata array's length");
    uint64_t least = e->value.type == PC_GGUF_STRING ? 8 : g_types[e->value.type].size;
    uint64_t left = r->gguf->flat.file.size - r->pos;
    if (r->rc == 0 && e->value.n > left / least)
        pc_gguf_refuse(r, PACO_EFORMAT, e->offset,
            "metadata '%.*s' says it has %" PRIu64 " elements, but only %" PRIu64
            " bytes follow (truncated?)",
            (int)e->key_len, e->key, e->value.n, left);
    else if (r->rc == 0 && e->value.n > PC_GGUF_MAX_HEADER / least)
        pc_gguf_refuse(r, PACO_ELIMIT, e->offset,
            "metadata '%.*s' has %" PRIu64 " elements; at most %" PRIu64 " are read", (int)e->key_len, e->key,
            e->value.n, PC_GGUF_MAX_HEADER / least);
}

static void take_value(struct pc_gguf_reader *r, struct pc_gguf_entry *e)
{
    e->value.type = take_type(r, e);
    e->value.n = 1;
    e->offset = r->pos;
    if (e->value.type == PC_GGUF_ARRAY)
        take_array_head(r, e);
    if (r->rc < 0)
        return;
    e->value.data = r->gguf->bytes + r->pos;
    if (e->value.type == PC_GGUF_STRING)
        take_strings(r, e);
    else
        pc_gguf_take(r, e->value.n * g_types[e->value.type].size, "a metadata value");
    if (r->rc == 0 && e->value.type == PC_GGUF_BOOL)
        check_bools(r, e);
}

static void take_entry(struct pc_gguf_reader *r, size_t i)
{
    struct pc_gguf_entry *e = &r->gguf->entries[i];
    uint64_t at = r->pos, len;
    e->key = pc_gguf_take_str(r, &len, "a metadata key");
    if (r->rc < 0)
        return;
    e->key_len = (size_t)len;
    if (len == 0 || len > UINT16_MAX || memchr(e->key, 0, e->key_len) ||
        !pc_utf8_valid((const uint8_t *)e->key, e->key_len, NULL)) {
        pc_gguf_refuse(
            r, PACO_EFORMAT, at, "metadata key %zu is empty, longer than 65535 bytes or no UTF-8 text", i);
        return;
    }
    int added = pc_map_add(&r->gguf->by_key, e->key, e->key_len, (uint32_t)i);
    if (added < 0)
        r->rc = pc_error_mem(r->err, e->key_len, "the table of metadata keys");
    else if (added == 0)
        pc_gguf_refuse(r, PACO_EFORMAT, at, "metadata key '%.*s' appears twice", (int)e->key_len, e->key);
    else
        take_value(r, e);
}

void pc_gguf_read_metadata(struct pc_gguf_reader *r, uint64_t n)
{
    if (r->rc < 0)
        return;
    r->gguf->entries = pc_arena_alloc(r->arena, n, sizeof *r->gguf->entries);
    if (!r->gguf->entries)
        r->rc = pc_error_mem(r->err, n * sizeof *r->gguf->entries, "GGUF metadata");
    for (uint64_t i = 0; r->rc == 0 && i < n; i++) {
        take_entry(r, i);
        r->gguf->n_entries = i + 1;
    }
}

const struct pc_gguf_entry *pc_gguf_entries(const struct pc_checkpoint *ck, size_t *n)
{
    const struct pc_gguf *gguf = ck->impl;
    *n = gguf->n_entries;
    return gguf->entries;
}

const struct pc_gguf_entry *pc_gguf_find(const struct pc_checkpoint *ck, const char *key)
{
    const struct pc_gguf *gguf = ck->impl;
    uint32_t i;
    return pc_map_get(&gguf->by_key, key, strlen(key), &i) ? &gguf->entries[i] : NULL;
}

static uint64_t uint_at(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

const char *pc_gguf_array_str(const struct pc_gguf_array *a, uint64_t i, size_t *len)
{
    const uint8_t *p = a->data + a->at[i];
    *len = (size_t)uint_at(p, 8);
    return (const char *)p + 8;
}

int64_t pc_gguf_array_i64(const struct pc_gguf_array *a, uint64_t i)
{
    unsigned size = g_types[a->type].size;
    uint64_t v = uint_at(a->data + i * size, size);
    switch (a->type) {
    case PC_GGUF_I8: return (int8_t)v;
    case PC_GGUF_I16: return (int16_t)v;
    case PC_GGUF_I32: return (int32_t)v;
    case PC_GGUF_U64: return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    default: return (int64_t)v;
    }
}

double pc_gguf_array_f64(const struct pc_gguf_array *a, uint64_t i)
{
    unsigned size = g_types[a->type].size;
    uint64_t bits = uint_at(a->data + i * size, size);
    if (a->type == PC_GGUF_F32) {
        float x;
        memcpy(&x, &(uint32_t){(uint32_t)bits}, sizeof x);
        return (double)x;
    }
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static bool is_of(enum pc_gguf_type type, enum pc_gguf_type family)
{
    switch (family) {
    case PC_GGUF_I64: return type < PC_GGUF_F32 || type == PC_GGUF_U64 || type == PC_GGUF_I64;
    case PC_GGUF_F64: return type == PC_GGUF_F32 || type == PC_GGUF_F64;
    default: return type == family;
    }
}

/* The entry when it is there and of the right kind; NULL and *rc otherwise. */
static const struct pc_gguf_entry *entry(const struct pc_checkpoint *ck, const char *key, bool required,
    bool array, enum pc_gguf_type family, const char *expected, int *rc, struct paco_error *err)
{
    const struct pc_gguf_entry *e = pc_gguf_find(ck, key);
    *rc = 0;
    if (!e) {
        if (required) {
            *rc = pc_error_set(err, PACO_EFORMAT, "metadata '%s' is missing", key);
            pc_error_path(err, ck->path);
        }
        return NULL;
    }
    if (e->is_array == array && is_of(e->value.type, family))
        return e;
    *rc = pc_error_file(err, PACO_EFORMAT, ck->path, e->offset, "metadata '%s' is %s%s where %s is expected",
        key, e->is_array ? "an array of " : "",
        e->is_array ? g_types[e->value.type].name : g_types[e->value.type].with_article, expected);
    return NULL;
}

static int take_i64(const struct pc_checkpoint *ck, const char *key, bool required, int64_t min, int64_t max,
    int64_t *out, struct paco_error *err)
{
    int rc;
    const struct pc_gguf_entry *e = entry(ck, key, required, false, PC_GGUF_I64, "an integer", &rc, err);
    if (!e)
        return rc;
    int64_t v = pc_gguf_array_i64(&e->value, 0);
    if (v < min || v > max)
        return pc_error_file(err, PACO_EFORMAT, ck->path, e->offset,
            "metadata '%s' is %" PRId64 ", outside %" PRId64 " to %" PRId64, key, v, min, max);
    *out = v;
    return 0;
}

int pc_gguf_get_i64(const struct pc_checkpoint *ck, const char *key, int64_t min, int64_t max, int64_t *out,
    struct paco_error *err)
{
    return take_i64(ck, key, true, min, max, out, err);
}

int pc_gguf_opt_i64(const struct pc_checkpoint *ck, const char *key, int64_t min, int64_t max, int64_t *out,
    struct paco_error *err)
{
    return take_i64(ck, key, false, min, max, out, err);
}

static int take_f64(
    const struct pc_checkpoint *ck, const char *key, bool required, double *out, struct paco_error *err)
{
    int rc;
    const struct pc_gguf_entry *e = entry(ck, key, required, false, PC_GGUF_F64, "a real number", &rc, err);
    if (e)
        *out = pc_gguf_array_f64(&e->value, 0);
    return rc;
}

int pc_gguf_get_f64(const struct pc_checkpoint *ck, const char *key, double *out, struct paco_error *err)
{
    return take_f64(ck, key, true, out, err);
}

int pc_gguf_opt_f64(const struct pc_checkpoint *ck, const char *key, double *out, struct paco_error *err)
{
    return take_f64(ck, key, false, out, err);
}

static int take_str(const struct pc_checkpoint *ck, const char *key, bool required, const char **out,
    size_t *len, struct paco_error *err)
{
    int rc;
    const struct pc_gguf_entry *e = entry(ck, key, required, false, PC_GGUF_STRING, "a string", &rc, err);
    if (e)
        *out = pc_gguf_array_str(&e->value, 0, len);
    return rc;
}

int pc_gguf_get_str(
    const struct pc_checkpoint *ck, const char *key, const char **out, size_t *len, struct paco_error *err)
{
    return take_str(ck, key, true, out, len, err);
}

int pc_gguf_opt_str(
    const struct pc_checkpoint *ck, const char *key, const char **out, size_t *len, struct paco_error *err)
{
    return take_str(ck, key, false, out, len, err);
}

int pc_gguf_opt_bool(const struct pc_checkpoint *ck, const char *key, bool *out, struct paco_error *err)
{
    int rc;
    const struct pc_gguf_entry *e = entry(ck, key, false, false, PC_GGUF_BOOL, "a bool", &rc, err);
    if (e)
        *out = e->value.data[0] != 0;
    return rc;
}

static int take_array(const struct pc_checkpoint *ck, const char *key, bool required,
    enum pc_gguf_type element, struct pc_gguf_array *out, struct paco_error *err)
{
    const char *expected = element == PC_GGUF_STRING ? "an array of strings"
                           : element == PC_GGUF_I64  ? "an array of integers"
                           : element == PC_GGUF_F64  ? "an array of real numbers"
                                                     : "an array of bools";
    int rc;
    const struct pc_gguf_entry *e = entry(ck, key, required, true, element, expected, &rc, err);
    if (e)
        *out = e->value;
    return rc;
}

int pc_gguf_get_array(const struct pc_checkpoint *ck, const char *key, enum pc_gguf_type element,
    struct pc_gguf_array *out, struct paco_error *err)
{
    return take_array(ck, key, true, element, out, err);
}

int pc_gguf_opt_array(const struct pc_checkpoint *ck, const char *key, enum pc_gguf_type element,
    struct pc_gguf_array *out, struct paco_error *err)
{
    return take_array(ck, key, false, element, out, err);
}
