// SPDX-License-Identifier: Apache-2.0
/* paco-manifest.json, as docs/formats/manifest.md has it. Nothing in it depends on how the job went: an
 * interrupted one ends with the same bytes. The list of tensors is written as it is made: a tree of it would
 * be larger than all else a job keeps in memory. */
#include "weights/write_parts.h"

#include "base/file.h"
#include "format/gguf_write.h"
#include "weights/manifest_read.h"

#include "paco/paco.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FLUSH = 64 * 1024 };

void pc_json_put(json_t *list, json_t *v, bool *good)
{
    *good = json_array_append_new(list, v) == 0 && *good;
}

void pc_json_set(json_t *object, const char *key, json_t *v, bool *good)
{
    *good = json_object_set_new(object, key, v) == 0 && *good;
}

json_t *pc_json_finished(json_t *v, bool good)
{
    if (good)
        return v;
    json_decref(v);
    return NULL;
}

json_t *pc_writer_options(const struct pc_write_options *o)
{
    static const char *const containers[] = {"safetensors", "bin", "gguf", "meta"};
    json_t *options = json_object();
    char hex[PC_SHA256_HEX];
    bool good = true;
    pc_json_set(options, "container", json_string(containers[o->container]), &good);
    if (o->container == PC_GGUF)
        pc_json_set(options, "metadata_sha256",
            pc_gguf_head_digest(o->gguf, hex, NULL) < 0 ? NULL : json_string(hex), &good);
    else if (o->container != PC_META)
        pc_json_set(options, "max_shard", json_integer((json_int_t)o->max_shard), &good);
    if (o->settings)
        good = json_object_update(options, (json_t *)o->settings) == 0 && good;
    return pc_json_finished(options, good);
}

int pc_writer_add_file(struct pc_writer *w, const struct pc_sidecar *f, const uint8_t sha256[PC_SHA256_SIZE],
    struct paco_error *err)
{
    char hex[PC_SHA256_HEX];
    bool good = true;
    pc_json_put(w->files,
        json_pack("{s:o,s:I,s:s}", "name", json_string_nocheck(f->name), "bytes", (json_int_t)f->size,
            "sha256", pc_sha256_hex(sha256, hex)),
        &good);
    return good ? 0 : pc_error_mem(err, 4096, "the manifest");
}

static bool content_of_input(const struct pc_input_digests *in, char hex[PC_SHA256_HEX])
{
    struct pc_scan *scans = pc_alloc_zero(in->ck->n_tensors, sizeof *scans);
    for (size_t i = 0; scans && i < in->ck->n_tensors; i++)
        memcpy(scans[i].sha256, in->tensors[i].sha256, PC_SHA256_SIZE);
    bool good = scans && pc_content_digest(in->ck, scans, hex, NULL) == 0;
    pc_free(scans);
    return good;
}

static json_t *inputs_json(const struct pc_writer *w, struct pc_write_result *r)
{
    json_t *inputs = json_array();
    bool good = true;
    for (size_t i = 0; i < w->opt->n_inputs; i++) {
        const struct pc_write_input *in = &w->opt->inputs[i];
        char *hex = r->input_sha256[i], path[PATH_MAX];
        snprintf(path, sizeof path, "%s", in->path);
        for (size_t n = strlen(path); n > 1 && path[n - 1] == '/';)
            path[--n] = '\0';
        good = content_of_input(&w->stream.inputs[i], hex) && good;
        pc_json_put(inputs,
            good ? json_pack("{s:s,s:o,s:s,s:I}", "role", in->role, "name",
                       json_string_nocheck(pc_path_base(path)), "content_sha256", hex, "n_tensors",
                       (json_int_t)in->ck->n_tensors)
                 : NULL,
            &good);
    }
    return pc_json_finished(inputs, good);
}

static json_t *tensor_json(const struct pc_writer *w, uint32_t i)
{
    const struct pc_out_tensor *t = &w->layout->tensors[i];
    const struct pc_tensor_result *r = &w->stream.results[i];
    char hex[PC_SHA256_HEX];
    json_t *v = json_object(), *shape = json_array();
    bool good = true;
    for (int d = 0; d < t->n_dims; d++)
        pc_json_put(shape, json_integer((json_int_t)t->shape[d]), &good);
    pc_json_set(v, "name", json_string(t->name), &good);
    pc_json_set(v, "dtype", json_string(pc_dtype_name(t->dtype)), &good);
    pc_json_set(v, "shape", shape, &good);
    pc_json_set(v, "file", json_string(w->layout->files[t->i_file].name), &good);
    pc_json_set(v, "sha256", json_string(pc_sha256_hex(r->sha256, hex)), &good);
    if (r->n_special)
        pc_json_set(v, "n_not_finite", json_integer((json_int_t)r->n_special), &good);
    if (r->n_lossy)
        pc_json_set(v, "n_changed_by_cast", json_integer((json_int_t)r->n_lossy), &good);
    return pc_json_finished(v, good);
}

/* The text on its way into the file. */
struct text {
    struct pc_buf b;
    char *path;
    int fd, rc;
    uint64_t at; /* written so far */
    bool any;    /* members */
    struct paco_error *err;
};

static void flush(struct text *o, size_t at_least)
{
    if (o->rc == 0)
        o->rc = pc_buf_check(&o->b, PC_MANIFEST_NAME, o->err);
    if (o->rc < 0 || o->b.len < at_least)
        return;
    o->rc = pc_fd_write(o->fd, o->path, o->at, o->b.data, o->b.len, o->err);
    o->at += o->b.len;
    pc_buf_clear(&o->b);
}

/* Takes v. */
static void put_value(struct text *o, json_t *v, int depth)
{
    if (!v && o->rc == 0)
        o->rc = pc_error_mem(o->err, 4096, "the manifest");
    if (o->rc == 0)
        pc_json_write_at(&o->b, v, PC_JSON_PRETTY, depth);
    json_decref(v);
    flush(o, FLUSH);
}

static void put_key(struct text *o, const char *key)
{
    pc_buf_puts(&o->b, o->any ? ",\n  " : "{\n  ");
    pc_json_write_string(&o->b, key, strlen(key), true);
    pc_buf_puts(&o->b, ": ");
    o->any = true;
}

/* Takes v. */
static void put_member(struct text *o, const char *key, json_t *v)
{
    put_key(o, key);
    put_value(o, v, 1);
}

static void put_tensors(struct text *o, const struct pc_writer *w)
{
    put_key(o, "tensors");
    pc_buf_putc(&o->b, '[');
    for (uint32_t i = 0; i < w->layout->n_tensors && o->rc == 0; i++) {
        pc_buf_puts(&o->b, i ? ",\n    " : "\n    ");
        put_value(o, tensor_json(w, i), 2);
    }
    pc_buf_puts(&o->b, w->layout->n_tensors ? "\n  ]" : "]");
}

static json_t *repairs_json(const struct pc_writer *w)
{
    json_t *repairs = json_array();
    bool good = true;
    for (size_t i = 0; i < w->sidecars.repairs.n; i++)
        pc_json_put(repairs, json_string(w->sidecars.repairs.v[i]), &good);
    return pc_json_finished(repairs, good);
}

static void put_manifest(struct text *o, struct pc_writer *w, struct pc_write_result *r)
{
    put_member(o, "format", json_integer(1));
    put_member(o, "paco", json_string(paco_version()));
    put_member(o, "job", json_string(w->opt->job));
    put_member(o, "options", pc_writer_options(w->opt));
    put_member(o, "inputs", inputs_json(w, r));
    put_member(o, "content_sha256", json_string(r->content_sha256));
    char hex[PC_SHA256_HEX];
    if (w->opt->container == PC_GGUF)
        put_member(
            o, "metadata_sha256", pc_gguf_head_digest(w->opt->gguf, hex, NULL) < 0 ? NULL : json_string(hex));
    put_member(o, "n_tensors", json_integer((json_int_t)w->layout->n_tensors));
    put_member(o, "tensor_bytes", json_integer((json_int_t)w->layout->total_size));
    put_tensors(o, w);
    put_member(o, "files", json_incref(w->files));
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)w->opt->extra, key, v) put_member(o, key, json_incref(v));
    put_member(o, "repairs", repairs_json(w));
    pc_buf_puts(&o->b, "\n}\n");
    flush(o, 0);
}

int pc_writer_write_manifest(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err)
{
    const char *dir = pc_journal_dir(w->journal);
    struct text o = {.fd = -1, .path = pc_path_join(dir, PC_MANIFEST_NAME), .err = err};
    if (!o.path)
        return pc_error_mem(err, strlen(dir), "a path");
    pc_buf_init(&o.b, (size_t)1 << 30);
    o.fd = open(o.path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (o.fd < 0)
        o.rc = pc_error_os(err, errno, "cannot create");
    else
        put_manifest(&o, w, r);
    if (o.rc == 0 && fsync(o.fd) < 0)
        o.rc = pc_error_os(err, errno, "cannot sync");
    if (o.rc < 0)
        pc_error_path(err, o.path);
    if (o.fd >= 0)
        close(o.fd);
    pc_buf_release(&o.b);
    pc_free(o.path);
    w->small_bytes += o.at;
    return o.rc;
}

int pc_writer_read_manifest(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err)
{
    char *path = pc_journal_path(w->journal, PC_MANIFEST_NAME);
    struct pc_manifest m = {.path = NULL};
    int rc = path ? pc_manifest_read(path, &m, err) : pc_error_mem(err, PATH_MAX, "a path");
    for (size_t i = 0; i < w->opt->n_inputs && rc == 0; i++) {
        const char *digest = pc_manifest_input_digest(&m, w->opt->inputs[i].role);
        snprintf(r->input_sha256[i], PC_SHA256_HEX, "%s", digest ? digest : "");
    }
    pc_manifest_release(&m);
    pc_free(path);
    return rc;
}
