// SPDX-License-Identifier: Apache-2.0
#include "weights/manifest_read.h"

#include "base/file.h"

#include <string.h>

/* 100,000 tensors take about 25 MB. */
enum { MAX_MANIFEST = 64 * 1024 * 1024 };

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

/* An array member's size, and room for as many structs in the arena; *out stays NULL when it is absent. */
static int get_array(struct pc_manifest *m, const char *key, bool required, size_t size, const json_t **array,
    void *out, size_t *n, struct paco_error *err)
{
    *array = json_object_get(m->root, key);
    *n = 0;
    if (!*array && !required)
        return 0;
    if (!json_is_array(*array))
        return pc_error_set(err, PACO_EFORMAT, "\"%s\" is %s, expected an array", key, pc_json_kind(*array));
    void *p = pc_arena_alloc(&m->arena, json_array_size(*array), size);
    if (!p)
        return pc_error_mem(err, json_array_size(*array) * size, "a manifest");
    memcpy(out, &p, sizeof p);
    *n = json_array_size(*array);
    return 0;
}

static int read_tensors(struct pc_manifest *m, struct paco_error *err)
{
    const json_t *array;
    int rc = get_array(m, "tensors", true, sizeof *m->tensors, &array, &m->tensors, &m->n_tensors, err);
    for (size_t i = 0; i < m->n_tensors && rc == 0; i++) {
        struct pc_manifest_tensor *t = &m->tensors[i];
        rc = read_tensor(json_array_get(array, i), t, err);
        if (rc < 0)
            return pc_error_prefix(err, "tensors[%zu]", i), rc;
        int added = pc_map_add(&m->by_name, t->name, strlen(t->name), (uint32_t)i);
        if (added < 0)
            return pc_error_mem(err, strlen(t->name), "a manifest");
        if (added == 0)
            return pc_error_set(err, PACO_EFORMAT, "tensors[%zu]: '%.200s' appears twice", i, t->name);
    }
    return rc;
}

static int read_rest(struct pc_manifest *m, struct paco_error *err)
{
    const json_t *array;
    int rc = get_array(m, "files", false, sizeof *m->files, &array, &m->files, &m->n_files, err);
    for (size_t i = 0; i < m->n_files && rc == 0; i++)
        if ((rc = read_file(json_array_get(array, i), &m->files[i], err)) < 0)
            pc_error_prefix(err, "files[%zu]", i);
    if (rc == 0)
        rc = get_array(m, "undefined_rows", false, sizeof *m->undefined.v, &array, &m->undefined.v,
            &m->undefined.n, err);
    for (size_t i = 0; i < m->undefined.n && rc == 0; i++)
        if ((rc = read_range(json_array_get(array, i), &m->undefined.v[i], err)) < 0)
            pc_error_prefix(err, "undefined_rows[%zu]", i);
    return rc;
}

int pc_manifest_read(const char *path, struct pc_manifest *out, struct paco_error *err)
{
    *out = (struct pc_manifest){.path = NULL};
    int64_t format = 0;
    int rc = pc_json_read(path, MAX_MANIFEST, &out->root, err);
    if (rc == 0 && !(out->path = pc_arena_strndup(&out->arena, path, strlen(path))))
        rc = pc_error_mem(err, strlen(path), "a path");
    if (rc == 0)
        rc = pc_json_get_i64(out->root, "format", 0, INT32_MAX, &format, err);
    if (rc == 0 && format != 1)
        rc = pc_error_set(err, PACO_EUNSUPPORTED, "is a manifest of format %lld; this version reads format 1",
            (long long)format);
    if (rc == 0)
        rc = pc_json_opt_str(out->root, "job", &out->job, err);
    if (rc == 0)
        rc = get_digest(out->root, "content_sha256", &out->content_sha256, err);
    if (rc == 0)
        rc = read_tensors(out, err);
    if (rc == 0)
        rc = read_rest(out, err);
    if (rc < 0)
        pc_error_path(err, path);
    return rc;
}

void pc_manifest_release(struct pc_manifest *m)
{
    json_decref(m->root);
    pc_map_release(&m->by_name);
    pc_arena_release(&m->arena);
    *m = (struct pc_manifest){.path = NULL};
}
