// SPDX-License-Identifier: Apache-2.0
#include "eval/eval_data.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "base/zlib_memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int pc_data_error(struct paco_error *err, int code, const char *path, const char *fmt, ...)
{
    char text[sizeof err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    pc_error_set(err, code, "%s", text);
    pc_error_path(err, path);
    return code;
}

/* What tells a file from others in a result, wherever the data lies. */
static const char *listed_as(const char *path, const char *root)
{
    if (!root || !pc_path_is_inside(path, root))
        return path;
    const char *rest = path + strlen(root);
    while (*rest == '/')
        rest++;
    return *rest ? rest : path;
}

static int list_file(
    const struct pc_task_env *env, const char *path, const struct pc_buf *bytes, struct paco_error *err)
{
    if (!env || !env->files)
        return 0;
    struct pc_sha256 *h = pc_sha256_new(err);
    uint8_t digest[PC_SHA256_SIZE];
    char hex[PC_SHA256_HEX];
    if (!h)
        return PACO_EMEM;
    pc_sha256_update(h, bytes->data, bytes->len);
    pc_sha256_final(h, digest);
    pc_sha256_free(h);
    json_t *text = json_string(pc_sha256_hex(digest, hex));
    if (json_object_set_new_nocheck(env->files, listed_as(path, env->data_dir), text) < 0)
        return pc_error_mem(err, sizeof hex, "the list of data files");
    return 0;
}

/* The places of one name: below the folder given, below upstream's folders in it, or the folder given is the
 * benchmark's own. */
static int find_one(const char *data_dir, const char *name, char **path, struct paco_error *err)
{
    const char *slash = strchr(name, '/');
    static const char *const formats[] = {"%s/%s", "%s/data/eval/%s", "%s/eval/%s", "%s/%s"};
    size_t room = strlen(data_dir) + strlen(name) + 16;
    char *p = pc_alloc(room, 1);
    if (!p)
        return pc_error_mem(err, room, "a path");
    for (int i = 0; i < 4; i++) {
        if (i == 3 && !slash)
            break;
        snprintf(p, room, formats[i], data_dir, i == 3 ? slash + 1 : name);
        if (pc_path_exists(p)) {
            *path = p;
            return 0;
        }
    }
    pc_free(p);
    return 0;
}

int pc_eval_find(
    const char *data_dir, const char *what, const char *const *names, char **path, struct paco_error *err)
{
    // The first folder of a name is what `paco data fetch` calls the set.
    int set = (int)strcspn(names[0], "/");
    *path = NULL;
    if (!pc_path_is_dir(data_dir)) {
        pc_error_set(err, PACO_ENOENT, "no such folder for the data of %s (`paco data fetch %.*s` fills one)",
            what, set, names[0]);
        pc_error_path(err, data_dir);
        return PACO_ENOENT;
    }
    char looked_for[512];
    size_t n = 0;
    for (size_t i = 0; names[i]; i++) {
        int rc = find_one(data_dir, names[i], path, err);
        if (rc < 0 || *path)
            return rc;
        if (n < sizeof looked_for)
            n += (size_t)snprintf(looked_for + n, sizeof looked_for - n, "%s%s", i ? " or " : "", names[i]);
    }
    pc_error_set(err, PACO_ENOENT,
        "no data of %s: neither here nor in data/eval below is there %s (`paco data fetch %.*s` gets it)",
        what, looked_for, set, names[0]);
    pc_error_path(err, data_dir);
    return PACO_ENOENT;
}

/* All members of a gzip file, one after the other. */
static int inflate_members(
    z_stream *z, const char *path, const struct pc_buf *packed, struct pc_buf *out, struct paco_error *err)
{
    z->next_in = (Bytef *)packed->data;
    z->avail_in = (uInt)packed->len;
    for (;;) {
        enum { STEP = 256 << 10 };
        char *to = pc_buf_reserve(out, STEP);
        if (!to) {
            int rc = pc_buf_check(out, "the inflated file", err);
            pc_error_path(err, path);
            return rc;
        }
        z->next_out = (Bytef *)to;
        z->avail_out = STEP;
        int zrc = inflate(z, Z_NO_FLUSH);
        out->len += STEP - z->avail_out;
        out->data[out->len] = '\0';
        if (zrc == Z_STREAM_END && z->avail_in == 0)
            return 0;
        if (zrc == Z_STREAM_END)
            zrc = inflateReset(z);
        if (zrc == Z_MEM_ERROR)
            return pc_error_mem(err, 64 << 10, "inflating");
        if (zrc != Z_OK)
            return pc_error_file(err, PACO_EFORMAT, path, packed->len - z->avail_in,
                z->avail_in == 0 ? "the gzip data end too early (truncated?)" : "bad gzip data (%s)",
                z->msg ? z->msg : "no gzip header");
    }
}

static int gunzip(const char *path, struct pc_buf *b, struct paco_error *err)
{
    enum { GZIP_ONLY = 16 + MAX_WBITS };
    z_stream z = {.zalloc = pc_zlib_alloc, .zfree = pc_zlib_free};
    if (inflateInit2(&z, GZIP_ONLY) != Z_OK)
        return pc_error_mem(err, 64 << 10, "inflating");
    struct pc_buf out;
    pc_buf_init(&out, PC_EVAL_MAX_FILE);
    int rc = inflate_members(&z, path, b, &out, err);
    inflateEnd(&z);
    pc_buf_release(rc < 0 ? &out : b);
    if (rc == 0)
        *b = out;
    return rc;
}

int pc_eval_slurp(const struct pc_task_env *env, const char *path, struct pc_buf *out, struct paco_error *err)
{
    int rc = pc_file_slurp(path, PC_EVAL_MAX_FILE, out, err);
    if (rc == 0)
        rc = list_file(env, path, out, err);
    if (rc == 0 && pc_ends_with(path, ".gz"))
        rc = gunzip(path, out, err);
    return rc;
}

int pc_eval_json(const struct pc_task_env *env, const char *path, json_t **out, struct paco_error *err)
{
    struct pc_buf b;
    *out = NULL;
    int rc = pc_eval_slurp(env, path, &b, err);
    if (rc == 0)
        rc = pc_json_parse(b.data ? b.data : "", b.len, path, 0, out, err);
    pc_buf_release(&b);
    if (rc == 0 && !json_is_object(*out) && !json_is_array(*out)) {
        rc = pc_data_error(
            err, PACO_EFORMAT, path, "holds %s where an object or an array is expected", pc_json_kind(*out));
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

static int keep_line(struct pc_jsonl *lines, json_t *v, size_t line, struct paco_error *err)
{
    int rc = pc_grow(&lines->v, &lines->capacity, lines->n, sizeof *lines->v, "JSON lines", err);
    if (rc == 0)
        rc = pc_grow(&lines->line, &lines->line_capacity, lines->n, sizeof *lines->line, "JSON lines", err);
    if (rc < 0)
        return rc;
    lines->v[lines->n] = v;
    lines->line[lines->n++] = line;
    return 0;
}

static bool is_blank(const char *s, size_t len)
{
    pc_utf8_strip(&s, &len);
    return len == 0;
}

static int parse_line(
    struct pc_jsonl *lines, const char *s, size_t len, uint64_t offset, size_t line, struct paco_error *err)
{
    json_t *v = NULL;
    if (is_blank(s, len))
        return 0;
    int rc = pc_json_parse_line(s, len, lines->path, offset, &v, err);
    if (rc == 0 && !json_is_object(v))
        rc = pc_error_file(
            err, PACO_EFORMAT, lines->path, offset, "%s where an object is expected", pc_json_kind(v));
    if (rc == 0 && lines->n >= PC_EVAL_MAX_ITEMS)
        rc = pc_error_file(err, PACO_ELIMIT, lines->path, offset, "more than %d items", PC_EVAL_MAX_ITEMS);
    if (rc == 0)
        rc = keep_line(lines, v, line, err);
    if (rc < 0) {
        json_decref(v);
        pc_error_prefix(err, "line %zu", line);
    }
    return rc;
}

int pc_jsonl_parse(
    const char *text, size_t len, const char *path, struct pc_jsonl *out, struct paco_error *err)
{
    *out = (struct pc_jsonl){.path = pc_strdup(path)};
    if (!out->path)
        return pc_error_mem(err, strlen(path), "a path");
    int rc = 0;
    for (size_t at = 0, line = 1; rc == 0 && at < len; line++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        rc = parse_line(out, text + at, n, at, line, err);
        at += n + 1;
    }
    if (rc == 0 && out->n == 0)
        rc = pc_data_error(err, PACO_EFORMAT, path, "is empty where JSON lines are expected");
    if (rc < 0)
        pc_jsonl_release(out);
    return rc;
}

int pc_jsonl_read(
    const struct pc_task_env *env, const char *path, struct pc_jsonl *out, struct paco_error *err)
{
    struct pc_buf b;
    *out = (struct pc_jsonl){0};
    int rc = pc_eval_slurp(env, path, &b, err);
    if (rc == 0)
        rc = pc_jsonl_parse(b.data ? b.data : "", b.len, path, out, err);
    pc_buf_release(&b);
    return rc;
}

void pc_jsonl_release(struct pc_jsonl *lines)
{
    for (size_t i = 0; i < lines->n; i++)
        json_decref(lines->v[i]);
    pc_free(lines->v);
    pc_free(lines->line);
    pc_free(lines->path);
    *lines = (struct pc_jsonl){0};
}

int pc_member_text(const json_t *object, const char *key, struct pc_text *out, struct paco_error *err)
{
    const char *s;
    int rc = pc_json_get_str(object, key, &s, err);
    if (rc == 0)
        *out = (struct pc_text){s, json_string_length(json_object_get(object, key))};
    return rc;
}

int pc_jsonl_text(
    const struct pc_jsonl *lines, size_t i, const char *key, struct pc_text *out, struct paco_error *err)
{
    int rc = pc_member_text(lines->v[i], key, out, err);
    if (rc < 0) {
        pc_error_prefix(err, "line %zu", lines->line[i]);
        pc_error_path(err, lines->path);
    }
    return rc;
}
