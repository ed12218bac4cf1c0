// SPDX-License-Identifier: Apache-2.0
/* paco-manifest.json, as docs/formats/manifest.md has it. Nothing in it depends on how the job went: an
 * interrupted one ends with the same bytes. */
#include "weights/write_parts.h"

#include "base/file.h"
#include "weights/manifest_read.h"

#include "paco/paco.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

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
    json_t *options = json_object();
    bool good = true;
    pc_json_set(
        options, "container", json_string(o->container == PC_SAFETENSORS ? "safetensors" : "bin"), &good);
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

static json_t *inputs_json(const struct pc_writer *w)
{
    json_t *inputs = json_array();
    bool good = true;
    for (size_t i = 0; i < w->opt->n_inputs; i++) {
        const struct pc_write_input *in = &w->opt->inputs[i];
        char hex[PC_SHA256_HEX], path[PATH_MAX];
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

static json_t *manifest_json(struct pc_writer *w, const struct pc_write_result *r)
{
    json_t *m = json_object(), *tensors = json_array(), *repairs = json_array();
    bool good = true;
    for (uint32_t i = 0; i < w->layout->n_tensors; i++)
        pc_json_put(tensors, tensor_json(w, i), &good);
    for (size_t i = 0; i < w->sidecars.repairs.n; i++)
        pc_json_put(repairs, json_string(w->sidecars.repairs.v[i]), &good);
    pc_json_set(m, "format", json_integer(1), &good);
    pc_json_set(m, "paco", json_string(paco_version()), &good);
    pc_json_set(m, "job", json_string(w->opt->job), &good);
    pc_json_set(m, "options", pc_writer_options(w->opt), &good);
    pc_json_set(m, "inputs", inputs_json(w), &good);
    pc_json_set(m, "content_sha256", json_string(r->content_sha256), &good);
    pc_json_set(m, "n_tensors", json_integer((json_int_t)w->layout->n_tensors), &good);
    pc_json_set(m, "tensor_bytes", json_integer((json_int_t)w->layout->total_size), &good);
    pc_json_set(m, "tensors", tensors, &good);
    pc_json_set(m, "files", json_incref(w->files), &good);
    if (w->opt->extra)
        good = json_object_update(m, (json_t *)w->opt->extra) == 0 && good;
    pc_json_set(m, "repairs", repairs, &good);
    return pc_json_finished(m, good);
}

int pc_writer_write_manifest(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err)
{
    struct pc_buf b;
    r->manifest = manifest_json(w, r);
    if (!r->manifest)
        return pc_error_mem(err, 4096, "the manifest");
    pc_buf_init(&b, (size_t)1 << 30);
    pc_json_write(&b, r->manifest, PC_JSON_PRETTY);
    pc_buf_putc(&b, '\n');
    int rc = pc_buf_check(&b, PC_MANIFEST_NAME, err);
    if (rc == 0) {
        struct pc_sidecar f = {.name = (char[]){PC_MANIFEST_NAME}, .text = b.data, .size = b.len};
        uint8_t digest[PC_SHA256_SIZE];
        rc = pc_sidecar_write(&f, pc_journal_dir(w->journal), digest, err);
        w->small_bytes += b.len;
    }
    pc_buf_release(&b);
    return rc;
}
