// SPDX-License-Identifier: Apache-2.0
/* Lists are read member by member: a member becomes a small value, is looked at, and what is kept of it is
 * copied. So the memory is that of what is kept. */
#include "weights/manifest_read.h"

#include "base/file.h"
#include "base/json_pull.h"

#include <assert.h>
#include <string.h>

enum {
    MAX_MANIFEST = 256 * 1024 * 1024, /* 100,000 tensors take about 30 MB */
    MAX_VALUES = 256,                 /* of a member of a list: a tensor has some fifteen */
};

static int get_digest(const json_t *obj, const char *key, const char **out, struct paco_error *err)
{
    int rc = pc_json_get_str(obj, key, out, err);
    if (rc == 0 &&
        (strlen(*out) != PC_SHA256_HEX - 1 || strspn(*out, "0123456789abcdef") != PC_SHA256_HEX - 1))
        rc = pc_error_set(err, PACO_EFORMAT, "\"%s\" is no SHA-256 of 64 lower-case digits", key);
    return rc;
}

static int read_shape(const json_t *obj, struct pc_manifest_tensor *t, struct paco_error *err)
{
    const json_t *shape = json_object_get(obj, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > PC_MAX_DIMS)
        return pc_error_set(err, PACO_EFORMAT, "\"shape\" is %s, expected an array of at most %d sizes",
            pc_json_kind(shape), PC_MAX_DIMS);
    t->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < t->n_dims; i++) {
        const json_t *v = json_array_get(shape, (size_t)i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return pc_error_set(err, PACO_EFORMAT, "\"shape\" holds something that is no size");
        t->shape[i] = (uint64_t)json_integer_value(v);
    }
    return 0;
}

static int read_tensor(const json_t *obj, struct pc_manifest_tensor *t, struct paco_error *err)
{
    const char *dtype = NULL;
    int rc = pc_json_get_str(obj, "name", &t->name, err);
    if (rc == 0)
        rc = pc_json_get_str(obj, "file", &t->file, err);
    if (rc == 0)
        rc = pc_json_get_str(obj, "dtype", &dtype, err);
    if (rc == 0 && !pc_dtype_parse(dtype, &t->dtype))
        rc = pc_error_set(err, PACO_EFORMAT, "\"dtype\" is \"%.40s\", which is no type", dtype);
    if (rc == 0)
        rc = read_shape(obj, t, err);
    return rc == 0 ? get_digest(obj, "sha256", &t->sha256, err) : rc;
}

static int read_file(const json_t *obj, struct pc_manifest_file *f, struct paco_error *err)
{
    int64_t bytes = 0;
    int rc = pc_json_get_str(obj, "name", &f->name, err);
    if (rc == 0 && !pc_path_is_plain(f->name))
        rc = pc_error_set(err, PACO_EFORMAT, "\"name\" is \"%.100s\", which is no plain file name", f->name);
    if (rc == 0)
        rc = pc_json_get_i64(obj, "bytes", 0, INT64_MAX, &bytes, err);
    f->bytes = (uint64_t)bytes;
    return rc == 0 ? get_digest(obj, "sha256", &f->sha256, err) : rc;
}

static int read_range(const json_t *obj, struct pc_row_range *r, struct paco_error *err)
{
    int64_t first = 0, n = 0;
    int rc = pc_json_get_str(obj, "tensor", &r->tensor, err);
    if (rc == 0)
        rc = pc_json_get_i64(obj, "first", 0, INT64_MAX / 2, &first, err);
    if (rc == 0)
        rc = pc_json_get_i64(obj, "n", 0, INT64_MAX / 2, &n, err);
    *r = (struct pc_row_range){r->tensor, (uint64_t)first, (uint64_t)n};
    return rc;
}

/* A list that grows: v points at the array, whose members are of size bytes. */
static void *add_member(void *v, size_t *n, size_t size, struct paco_error *err)
{
    void *old;
    memcpy(&old, v, sizeof old);
    // Doubled whenever the count reaches a power of two: no capacity to keep.
    if ((*n & (*n - 1)) == 0) {
        void *grown = pc_realloc(old, *n ? 2 * *n : 1, size);
        if (!grown) {
            pc_error_mem(err, 2 * *n * size, "a manifest");
            return NULL;
        }
        memcpy(v, &grown, sizeof grown);
        old = grown;
    }
    void *member = (char *)old + *n * size;
    memset(member, 0, size);
    ++*n;
    return member;
}

/* Replace a view into a value that is about to go by one into the arena. */
static int keep(struct pc_manifest *m, const char **s, struct paco_error *err)
{
    const char *copy = *s ? pc_arena_strndup(&m->arena, *s, strlen(*s)) : NULL;
    int rc = copy || !*s ? 0 : pc_error_mem(err, strlen(*s), "a manifest");
    *s = copy;
    return rc;
}

static int take_tensor(struct pc_manifest *m, const json_t *v, struct paco_error *err)
{
    struct pc_manifest_tensor *t = add_member(&m->tensors, &m->n_tensors, sizeof *t, err);
    int rc = t ? read_tensor(v, t, err) : PACO_EMEM;
    if (rc == 0)
        rc = keep(m, &t->name, err);
    // Neighbours are in one file.
    if (rc == 0 && m->n_tensors > 1 && strcmp(t[-1].file, t->file) == 0)
        t->file = t[-1].file;
    else if (rc == 0)
        rc = keep(m, &t->file, err);
    if (rc == 0)
        rc = keep(m, &t->sha256, err);
    if (rc < 0)
        return rc;
    assert(t->name);
    int added = pc_map_add(&m->by_name, t->name, strlen(t->name), (uint32_t)(m->n_tensors - 1));
    if (added < 0)
        return pc_error_mem(err, strlen(t->name), "a manifest");
    return added ? 0 : pc_error_set(err, PACO_EFORMAT, "'%.200s' appears twice", t->name);
}

static int take_file(struct pc_manifest *m, const json_t *v, struct paco_error *err)
{
    struct pc_manifest_file *f = add_member(&m->files, &m->n_files, sizeof *f, err);
    int rc = f ? read_file(v, f, err) : PACO_EMEM;
    if (rc == 0)
        rc = keep(m, &f->name, err);
    return rc == 0 ? keep(m, &f->sha256, err) : rc;
}

static int take_range(struct pc_manifest *m, const json_t *v, struct paco_error *err)
{
    struct pc_row_range *r = add_member(&m->undefined.v, &m->undefined.n, sizeof *r, err);
    int rc = r ? read_range(v, r, err) : PACO_EMEM;
    return rc == 0 ? keep(m, &r->tensor, err) : rc;
}

static int take_input(struct pc_manifest *m, const json_t *v, struct paco_error *err)
{
    struct pc_manifest_input in = {json_string_value(json_object_get(v, "role")),
        json_string_value(json_object_get(v, "content_sha256"))};
    if (!in.role || !in.content_sha256 || strlen(in.content_sha256) != PC_SHA256_HEX - 1)
        return 0;
    struct pc_manifest_input *to = add_member(&m->inputs, &m->n_inputs, sizeof *to, err);
    int rc = to ? keep(m, &in.role, err) : PACO_EMEM;
    if (rc == 0)
        rc = keep(m, &in.content_sha256, err);
    if (to)
        *to = in;
    return rc;
}

static const struct list {
    const char *key;
    bool required;
    int (*take)(struct pc_manifest *m, const json_t *v, struct paco_error *err);
} g_lists[] = {
    {"tensors", true, take_tensor},
    {"files", false, take_file},
    {"undefined_rows", false, take_range},
    {"inputs", false, take_input},
};
enum { N_LISTS = sizeof g_lists / sizeof *g_lists };

struct reading {
    struct pc_manifest *m;
    struct pc_json_pull json;
    json_t *rest; /* the members that are no such lists; small ones only */
    bool seen[N_LISTS];
};

static int read_list(struct reading *r, const struct list *list, struct paco_error *err)
{
    struct pc_json_pull *json = &r->json;
    int rc = pc_json_next(json, err);
    if (rc >= 0 && rc != PC_JSON_ARRAY)
        return pc_error_file(err, PACO_EFORMAT, json->path, json->at, "\"%s\" is %s, expected an array",
            list->key, pc_json_token_name(json->token));
    for (size_t i = 0; rc >= 0 && (rc = pc_json_next(json, err)) >= 0 && rc != PC_JSON_ARRAY_END; i++) {
        json_t *v;
        uint64_t at = json->at;
        if ((rc = pc_json_pull_value(json, MAX_VALUES, &v, err)) < 0)
            return rc;
        rc = list->take(r->m, v, err);
        json_decref(v);
        if (rc < 0) {
            pc_error_prefix(err, "%s[%zu]", list->key, i);
            pc_error_at(err, json->path, at);
        }
    }
    return rc;
}

/* A member of which only a few kinds of value are of interest: what is large is passed over. */
static int read_other(struct reading *r, const char *key, struct paco_error *err)
{
    struct pc_json_pull *json = &r->json;
    int rc = pc_json_next(json, err);
    if (rc < 0 || rc == PC_JSON_OBJECT || rc == PC_JSON_ARRAY)
        return rc < 0 ? rc : pc_json_skip(json, err);
    json_t *v;
    rc = pc_json_pull_value(json, 1, &v, err);
    if (rc == 0 && json_object_set_new(r->rest, key, v) < 0)
        rc = pc_error_mem(err, strlen(key), "a manifest");
    return rc;
}

static int read_member(struct reading *r, struct paco_error *err)
{
    static const char *const wanted[] = {"format", "job", "content_sha256", "metadata_sha256"};
    for (int i = 0; i < N_LISTS; i++)
        if (strcmp(r->json.text, g_lists[i].key) == 0) {
            r->seen[i] = true;
            return read_list(r, &g_lists[i], err);
        }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (strcmp(r->json.text, wanted[i]) == 0)
            return read_other(r, wanted[i], err);
    int rc = pc_json_next(&r->json, err);
    return rc < 0 ? rc : pc_json_skip(&r->json, err);
}

static int read_members(struct reading *r, struct paco_error *err)
{
    int rc = pc_json_next(&r->json, err);
    if (rc >= 0 && rc != PC_JSON_OBJECT)
        return pc_error_set(
            err, PACO_EFORMAT, "holds %s where a JSON object is expected", pc_json_token_name(r->json.token));
    while (rc >= 0 && (rc = pc_json_next(&r->json, err)) == PC_JSON_KEY)
        rc = read_member(r, err);
    return rc < 0 ? rc : pc_json_next(&r->json, err); // nothing but space may follow
}

/* What another version writes may differ in anything: its number is read before all else. */
static int check_format(const struct pc_file *file, struct paco_error *err)
{
    struct pc_json_pull json;
    int rc = pc_json_pull_file(&json, file, 0, file->size, err);
    if (rc == 0)
        rc = pc_json_next(&json, err);
    while (rc >= 0 && (rc = pc_json_next(&json, err)) == PC_JSON_KEY) {
        bool is_format = strcmp(json.text, "format") == 0;
        rc = pc_json_next(&json, err);
        if (rc == PC_JSON_INTEGER && is_format && json.integer != 1)
            rc = pc_error_file(err, PACO_EUNSUPPORTED, json.path, json.at,
                "is a manifest of format %lld; this version reads format 1", (long long)json.integer);
        if (rc >= 0 && is_format)
            break;
        if (rc >= 0)
            rc = pc_json_skip(&json, err);
    }
    pc_json_pull_release(&json);
    return rc < 0 ? rc : 0;
}

static int read_file_of(struct reading *r, const struct pc_file *file, struct paco_error *err)
{
    if (file->size > MAX_MANIFEST)
        return pc_error_set(err, PACO_ELIMIT, "is %llu bytes; a manifest of at most %d is read",
            (unsigned long long)file->size, MAX_MANIFEST);
    int rc = check_format(file, err);
    if (rc == 0)
        rc = pc_json_pull_file(&r->json, file, 0, file->size, err);
    if (rc == 0 && !(r->rest = json_object()))
        rc = pc_error_mem(err, 256, "a manifest");
    return rc == 0 ? read_members(r, err) : rc;
}

static int take_rest(const struct reading *r, struct paco_error *err)
{
    struct pc_manifest *m = r->m;
    int64_t format;
    int rc = pc_json_get_i64(r->rest, "format", 1, 1, &format, err);
    if (rc == 0)
        rc = pc_json_opt_str(r->rest, "job", &m->job, err);
    if (rc == 0)
        rc = keep(m, &m->job, err);
    if (rc == 0)
        rc = get_digest(r->rest, "content_sha256", &m->content_sha256, err);
    if (rc == 0)
        rc = keep(m, &m->content_sha256, err);
    if (rc == 0 && json_object_get(r->rest, "metadata_sha256"))
        rc = get_digest(r->rest, "metadata_sha256", &m->metadata_sha256, err);
    if (rc == 0)
        rc = keep(m, &m->metadata_sha256, err);
    for (int i = 0; i < N_LISTS && rc == 0; i++)
        if (g_lists[i].required && !r->seen[i])
            rc = pc_error_set(err, PACO_EFORMAT, "\"%s\" is nothing, expected an array", g_lists[i].key);
    return rc;
}

int pc_manifest_read(const char *path, struct pc_manifest *out, struct paco_error *err)
{
    *out = (struct pc_manifest){.path = path};
    struct reading r = {.m = out};
    struct pc_file file = {.fd = -1};
    int rc = keep(out, &out->path, err);
    if (rc == 0)
        rc = pc_file_open(&file, path, err);
    if (rc == 0)
        rc = read_file_of(&r, &file, err);
    if (rc == 0)
        rc = take_rest(&r, err);
    pc_json_pull_release(&r.json);
    pc_file_close(&file);
    json_decref(r.rest);
    if (rc < 0)
        pc_error_path(err, path);
    return rc;
}

const char *pc_manifest_input_digest(const struct pc_manifest *m, const char *role)
{
    for (size_t i = 0; i < m->n_inputs; i++)
        if (strcmp(m->inputs[i].role, role) == 0)
            return m->inputs[i].content_sha256;
    return NULL;
}

void pc_manifest_release(struct pc_manifest *m)
{
    pc_free(m->inputs);
    pc_free(m->tensors);
    pc_free(m->files);
    pc_free(m->undefined.v);
    pc_map_release(&m->by_name);
    pc_arena_release(&m->arena);
    *m = (struct pc_manifest){.path = NULL};
}
