// SPDX-License-Identifier: Apache-2.0
#include "weights/write.h"

#include "base/dtype.h"
#include "base/file.h"
#include "weights/manifest_read.h"
#include "weights/narrow.h"
#include "weights/scan.h"
#include "weights/sidecar.h"
#include "weights/stream.h"

#include "paco/paco.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* Space asked for beyond what is counted: directories, the journal, block rounding. */
static const uint64_t SPARE = 4 << 20, PER_TENSOR = 1024;

struct writer {
    const struct pc_checkpoint *ck;
    const struct pc_write_options *opt;
    struct pc_layout *layout;
    struct pc_sidecars sidecars;
    struct pc_journal *journal;
    struct pc_pool *own_pool;
    struct pc_stream stream;
    struct pc_scan *scans; /* only the digests are used: for the content digest */
    char **paths;          /* of the weight files */
    json_t *files;         /* manifest "files" */
    uint64_t small_bytes;  /* of all files that are no weights */
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 4096, "the manifest");
}

/* ---- plan ---- */

static int plan_layout(struct writer *w, struct paco_error *err)
{
    const struct pc_checkpoint *ck = w->ck;
    if (ck->n_tensors == 0)
        return pc_error_set(err, PACO_EFORMAT, "there are no tensors to write");
    struct pc_out_tensor *tensors = pc_alloc_zero(ck->n_tensors, sizeof *tensors);
    if (!tensors)
        return pc_error_mem(err, ck->n_tensors * sizeof *tensors, "the plan of the output files");
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        tensors[i] = (struct pc_out_tensor){.name = t->name, .dtype = t->dtype, .n_dims = t->n_dims};
        memcpy(tensors[i].shape, t->shape, sizeof t->shape);
    }
    int rc = pc_layout_new(
        w->opt->container, tensors, (uint32_t)ck->n_tensors, w->opt->max_shard, &w->layout, err);
    pc_free(tensors);
    return rc;
}

static int plan_sidecars(struct writer *w, struct paco_error *err)
{
    const struct pc_write_options *o = w->opt;
    const struct pc_tensor *embedding = pc_checkpoint_find(w->ck, "model.embed_tokens.weight");
    const struct pc_sidecar_options from = {.dir = o->files_from,
        .tokenizer_dir = o->tokenizer_from,
        .repair = !o->no_repair,
        .dtype = pc_widest_float(w->ck),
        .vocab = embedding ? embedding->n_rows : 0};
    int rc = o->files_from || o->tokenizer_from ? pc_sidecars_plan(&from, o->notes, &w->sidecars, err) : 0;
    for (size_t i = 0; i < o->n_files && rc == 0; i++)
        rc = pc_sidecars_add(&w->sidecars, o->files[i].name, o->files[i].bytes, o->files[i].len, err);
    const char *index = pc_layout_index_name(w->layout);
    if (rc == 0 && index) {
        struct pc_buf b;
        pc_buf_init(&b, (size_t)1 << 30);
        pc_layout_index(w->layout, &b);
        rc = pc_buf_check(&b, index, err);
        if (rc == 0)
            rc = pc_sidecars_add(&w->sidecars, index, b.data, b.len, err);
        pc_buf_release(&b);
    }
    for (size_t i = 0; i < w->sidecars.n; i++)
        w->small_bytes += w->sidecars.v[i].size;
    return rc;
}

static uint64_t weight_bytes(const struct writer *w)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < w->layout->n_files; i++)
        n += w->layout->files[i].size;
    return n;
}

/* The nearest directory above path that exists. */
static void existing_parent(const char *path, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s", path);
    do {
        size_t n = strlen(out);
        while (n > 1 && out[n - 1] == '/')
            out[--n] = '\0';
        char *slash = strrchr(out, '/');
        if (!slash)
            strcpy(out, ".");
        else
            slash[slash == out] = '\0';
    } while (!pc_path_is_dir(out) && strcmp(out, "/") != 0 && strcmp(out, ".") != 0);
}

static int check_space(const struct writer *w, struct paco_error *err)
{
    char dir[PATH_MAX];
    struct statvfs fs;
    existing_parent(w->opt->out_dir, dir);
    if (access(dir, W_OK | X_OK) < 0) {
        int rc = pc_error_os(err, errno, "cannot write into this directory");
        pc_error_path(err, dir);
        return rc;
    }
    uint64_t need = weight_bytes(w) + w->small_bytes + SPARE + w->layout->n_tensors * PER_TENSOR;
    if (statvfs(dir, &fs) < 0 || fs.f_blocks == 0)
        return 0;
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize, there = pc_journal_occupied(w->opt->out_dir);
    if (free_bytes + there >= need)
        return 0;
    char earlier[64] = "";
    if (there)
        snprintf(earlier, sizeof earlier, " and %.2f GB are written already", (double)there / 1e9);
    pc_error_set(err, PACO_ENOSPC, "the output needs %.2f GB, but %.2f GB are free there%s: %.2f GB short",
        (double)need / 1e9, (double)free_bytes / 1e9, earlier, (double)(need - free_bytes - there) / 1e9);
    pc_error_path(err, w->opt->out_dir);
    return PACO_ENOSPC;
}

/* realpath of what exists of it. */
static bool resolve(const char *path, char out[PATH_MAX])
{
    char parent[PATH_MAX];
    if (realpath(path, out))
        return true;
    existing_parent(path, parent);
    return realpath(parent, out) && strlen(out) + strlen(path) + 2 < PATH_MAX &&
           (snprintf(out + strlen(out), PATH_MAX - strlen(out), "/%s", pc_path_base(path)), true);
}

static bool inside(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static int check_inputs(const struct pc_write_options *o, struct paco_error *err)
{
    char out[PATH_MAX], in[PATH_MAX];
    if (!resolve(o->out_dir, out))
        return 0;
    for (size_t i = 0; i < o->n_inputs; i++) {
        if (!resolve(o->inputs[i].path, in))
            continue;
        bool same = strcmp(in, out) == 0;
        if (!same && !inside(out, in) && !inside(in, out))
            continue;
        pc_error_set(err, PACO_EEXIST, "the output %s the %s, %s: write it somewhere else",
            same              ? "is"
            : inside(out, in) ? "lies inside"
                              : "would replace what holds",
            o->inputs[i].role, o->inputs[i].path);
        pc_error_path(err, o->out_dir);
        return PACO_EEXIST;
    }
    return 0;
}

/* ---- identity ---- */

static void hash_text(struct pc_sha256 *h, const char *text)
{
    pc_sha256_update(h, text, strlen(text) + 1);
}

/* The table as the file's header gave it, and of each file behind it the name, size and time. */
static void hash_tensor(struct pc_sha256 *h, const struct pc_tensor *t, const char **last)
{
    char shape[160], line[256];
    const char *path = NULL;
    uint64_t offset = 0;
    hash_text(h, t->name);
    hash_text(h, pc_tensor_shape(t, shape, sizeof shape));
    if (!t->owner->ops->where || !t->owner->ops->where(t, &path, &offset))
        path = t->owner->path;
    snprintf(line, sizeof line, "%s %llu", pc_dtype_name(t->dtype), (unsigned long long)offset);
    hash_text(h, line);
    struct stat st;
    if (!path || (*last && strcmp(path, *last) == 0) || stat(path, &st) < 0)
        return;
    *last = path;
    snprintf(line, sizeof line, "%lld %lld.%09ld", (long long)st.st_size, (long long)st.st_mtim.tv_sec,
        st.st_mtim.tv_nsec);
    hash_text(h, pc_path_base(path));
    hash_text(h, line);
}

static char *fingerprint(const struct pc_checkpoint *ck, struct pc_sha256 *h, char hex[PC_SHA256_HEX])
{
    uint8_t digest[PC_SHA256_SIZE];
    const char *last = NULL;
    pc_sha256_reset(h);
    for (size_t i = 0; i < ck->n_tensors; i++)
        hash_tensor(h, &ck->tensors[i], &last);
    pc_sha256_final(h, digest);
    return pc_sha256_hex(digest, hex);
}

static json_t *options_json(const struct pc_write_options *o)
{
    json_t *options = json_pack("{s:s,s:I}", "container",
        o->container == PC_SAFETENSORS ? "safetensors" : "bin", "max_shard", (json_int_t)o->max_shard);
    if (options && o->settings)
        json_object_update(options, (json_t *)o->settings);
    return options;
}

static json_t *identity_json(const struct writer *w, struct paco_error *err)
{
    const struct pc_write_options *o = w->opt;
    char hex[PC_SHA256_HEX];
    struct pc_sha256 *h = pc_sha256_new(err);
    if (!h)
        return NULL;
    json_t *inputs = json_array();
    for (size_t i = 0; i < o->n_inputs; i++)
        json_array_append_new(inputs, json_pack("{s:s,s:s}", "role", o->inputs[i].role, "fingerprint",
                                          fingerprint(o->inputs[i].ck, h, hex)));
    json_t *id = json_pack("{s:s,s:s,s:o,s:o,s:s}", "paco", paco_version(), "job", o->job, "options",
        options_json(o), "inputs", inputs, "output", fingerprint(w->ck, h, hex));
    pc_sha256_free(h);
    if (!id)
        out_of_memory(err);
    return id;
}

/* ---- the work ---- */

static int prepare_stream(struct writer *w, struct paco_error *err)
{
    const struct pc_write_options *o = w->opt;
    struct pc_stream *s = &w->stream;
    uint32_t n_files = w->layout->n_files;
    *s = (struct pc_stream){.ck = w->ck,
        .layout = w->layout,
        .n_inputs = o->n_inputs,
        .pool = o->pool,
        .progress = o->progress,
        .phase = o->phase,
        .journal_each = o->journal_each};
    s->results = pc_alloc_zero(w->layout->n_tensors, sizeof *s->results);
    s->files = pc_alloc_zero(n_files, sizeof *s->files);
    s->inputs = pc_alloc_zero(o->n_inputs + 1, sizeof *s->inputs);
    w->paths = pc_alloc_zero(n_files, sizeof *w->paths);
    w->scans = pc_alloc_zero(w->layout->n_tensors, sizeof *w->scans);
    w->files = json_array();
    if (!s->results || !s->files || !s->inputs || !w->paths || !w->scans || !w->files)
        return pc_error_mem(err, w->layout->n_tensors * sizeof *w->scans, "a job's tables");
    for (uint32_t i = 0; i < n_files; i++) {
        s->files[i].fd = -1;
        s->files[i].direct_fd = -1;
    }
    for (size_t i = 0; i < o->n_inputs; i++) {
        s->inputs[i].ck = o->inputs[i].ck;
        s->inputs[i].tensors = pc_alloc_zero(o->inputs[i].ck->n_tensors, sizeof *s->inputs[i].tensors);
        if (!s->inputs[i].tensors)
            return pc_error_mem(err, o->inputs[i].ck->n_tensors, "a job's tables");
    }
    if (!s->pool)
        s->pool = w->own_pool = pc_pool_new(0, err);
    return s->pool ? 0 : err ? err->code : PACO_EMEM;
}

static int restore(struct writer *w, struct pc_write_result *r, struct paco_error *err)
{
    size_t n = pc_journal_n_records(w->journal);
    for (size_t i = 0; i < n; i++) {
        int rc = pc_stream_restore(&w->stream, pc_journal_record(w->journal, i), err);
        if (rc < 0)
            return rc;
    }
    for (uint32_t i = 0; i < w->layout->n_tensors; i++)
        r->n_resumed += w->stream.results[i].done;
    if (r->n_resumed)
        pc_note(w->opt->notes, "going on with an interrupted attempt: %u of %u tensors are there",
            r->n_resumed, w->layout->n_tensors);
    return 0;
}

/* Files that an earlier attempt put beside the weights: they are written anew. */
static int remove_small_files(const struct writer *w, struct paco_error *err)
{
    const char *dir = pc_journal_dir(w->journal);
    char **names;
    size_t n;
    int rc = pc_dir_list(dir, &names, &n, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        bool weights = names[i][0] == '.';
        for (uint32_t f = 0; f < w->layout->n_files && !weights; f++)
            weights = strcmp(names[i], w->layout->files[f].name) == 0;
        char *path = weights ? NULL : pc_path_join(dir, names[i]);
        if (path)
            (void)unlink(path);
        pc_free(path);
    }
    pc_names_free(names, n);
    return 0;
}

static int open_files(struct writer *w, struct paco_error *err)
{
    const char *dir = pc_journal_dir(w->journal);
    for (uint32_t i = 0; i < w->layout->n_files; i++) {
        w->paths[i] = pc_path_join(dir, w->layout->files[i].name);
        if (!w->paths[i])
            return pc_error_mem(err, strlen(dir), "a path");
        int rc =
            pc_disk_open(&w->stream.files[i], w->paths[i], w->layout->files[i].size, !w->opt->no_direct, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int seal_files(struct writer *w, struct paco_error *err)
{
    for (uint32_t i = 0; i < w->layout->n_files; i++) {
        struct pc_disk_file *f = &w->stream.files[i];
        int rc = pc_layout_seal(w->layout, i, f->fd, w->paths[i], err);
        if (rc == 0)
            rc = pc_disk_sync(f, err);
        if (rc < 0)
            return rc;
        pc_disk_close(f);
    }
    return 0;
}

static int write_small_files(struct writer *w, struct paco_error *err)
{
    for (size_t i = 0; i < w->sidecars.n; i++) {
        const struct pc_sidecar *f = &w->sidecars.v[i];
        uint8_t digest[PC_SHA256_SIZE];
        char hex[PC_SHA256_HEX];
        int rc = pc_sidecar_write(f, pc_journal_dir(w->journal), digest, err);
        if (rc < 0)
            return rc;
        json_array_append_new(w->files, json_pack("{s:s,s:I,s:s}", "name", f->name, "bytes",
                                            (json_int_t)f->size, "sha256", pc_sha256_hex(digest, hex)));
    }
    return 0;
}

/* ---- manifest ---- */

static int content_of_input(
    const struct pc_input_digests *in, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    struct pc_scan *scans = pc_alloc_zero(in->ck->n_tensors, sizeof *scans);
    if (!scans)
        return pc_error_mem(err, in->ck->n_tensors * sizeof *scans, "digests");
    for (size_t i = 0; i < in->ck->n_tensors; i++)
        memcpy(scans[i].sha256, in->tensors[i].sha256, PC_SHA256_SIZE);
    int rc = pc_content_digest(in->ck, scans, hex, err);
    pc_free(scans);
    return rc;
}

static json_t *inputs_json(const struct writer *w, struct paco_error *err)
{
    json_t *inputs = json_array();
    for (size_t i = 0; i < w->opt->n_inputs; i++) {
        const struct pc_write_input *in = &w->opt->inputs[i];
        char hex[PC_SHA256_HEX], path[PATH_MAX];
        snprintf(path, sizeof path, "%s", in->path);
        for (size_t n = strlen(path); n > 1 && path[n - 1] == '/';)
            path[--n] = '\0';
        if (content_of_input(&w->stream.inputs[i], hex, err) < 0) {
            json_decref(inputs);
            return NULL;
        }
        json_array_append_new(inputs,
            json_pack("{s:s,s:o,s:s,s:I}", "role", in->role, "name", json_string_nocheck(pc_path_base(path)),
                "content_sha256", hex, "n_tensors", (json_int_t)in->ck->n_tensors));
    }
    return inputs;
}

static json_t *tensors_json(const struct writer *w)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < w->layout->n_tensors; i++) {
        const struct pc_out_tensor *t = &w->layout->tensors[i];
        const struct pc_tensor_result *r = &w->stream.results[i];
        char hex[PC_SHA256_HEX];
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
        json_t *v =
            json_pack("{s:s,s:s,s:o,s:s,s:s}", "name", t->name, "dtype", pc_dtype_name(t->dtype), "shape",
                shape, "file", w->layout->files[t->i_file].name, "sha256", pc_sha256_hex(r->sha256, hex));
        if (v && r->n_special)
            json_object_set_new(v, "n_not_finite", json_integer((json_int_t)r->n_special));
        if (v && r->n_lossy)
            json_object_set_new(v, "n_changed_by_cast", json_integer((json_int_t)r->n_lossy));
        json_array_append_new(list, v);
    }
    return list;
}

static json_t *notes_json(const struct pc_notes *notes)
{
    json_t *list = json_array();
    for (size_t i = 0; notes && i < notes->n; i++)
        json_array_append_new(list, json_string(notes->v[i]));
    return list;
}

static json_t *manifest_json(struct writer *w, struct pc_write_result *r, struct paco_error *err)
{
    json_t *inputs = inputs_json(w, err);
    if (!inputs)
        return NULL;
    json_t *m = json_pack("{s:i,s:s,s:s,s:o,s:o,s:s,s:I,s:I,s:o,s:O}", "format", 1, "paco", paco_version(),
        "job", w->opt->job, "options", options_json(w->opt), "inputs", inputs, "content_sha256",
        r->content_sha256, "n_tensors", (json_int_t)w->layout->n_tensors, "tensor_bytes",
        (json_int_t)w->layout->total_size, "tensors", tensors_json(w), "files", w->files);
    if (!m) {
        out_of_memory(err);
        return NULL;
    }
    if (w->opt->extra)
        json_object_update(m, (json_t *)w->opt->extra);
    json_object_set_new(m, "repairs", notes_json(&w->sidecars.repairs));
    return m;
}

static int write_manifest(struct writer *w, struct pc_write_result *r, struct paco_error *err)
{
    struct pc_buf b;
    r->manifest = manifest_json(w, r, err);
    if (!r->manifest)
        return PACO_EMEM;
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

/* ---- all of it ---- */

static int sum_up(struct writer *w, struct pc_write_result *r, struct paco_error *err)
{
    for (uint32_t i = 0; i < w->layout->n_tensors; i++) {
        const struct pc_tensor_result *t = &w->stream.results[i];
        memcpy(w->scans[i].sha256, t->sha256, PC_SHA256_SIZE);
        r->n_special += t->n_special;
        r->n_lossy += t->n_lossy;
        r->max_error = t->max_error > r->max_error ? t->max_error : r->max_error;
    }
    return pc_content_digest(w->ck, w->scans, r->content_sha256, err);
}

static void note_special(const struct writer *w, const struct pc_write_result *r)
{
    const uint32_t most = 8;
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->layout->n_tensors && r->n_special; i++) {
        uint64_t special = w->stream.results[i].n_special;
        if (special && n++ < most)
            pc_note(w->opt->notes, "tensor '%s': %llu elements are NaN or infinite",
                w->layout->tensors[i].name, (unsigned long long)special);
    }
    if (n > most)
        pc_note(w->opt->notes, "and %u more tensors with NaN or infinite elements", n - most);
}

static int work(struct writer *w, struct pc_write_result *r, struct paco_error *err)
{
    int rc = restore(w, r, err);
    if (rc == 0 && !pc_journal_is_complete(w->journal)) {
        rc = remove_small_files(w, err);
        if (rc == 0)
            rc = open_files(w, err);
        if (rc == 0)
            rc = pc_stream_run(&w->stream, err);
        if (rc == 0)
            rc = pc_stream_rest_of_inputs(&w->stream, err);
        if (rc == 0)
            rc = seal_files(w, err);
        if (rc == 0)
            rc = write_small_files(w, err);
    }
    if (rc == 0)
        rc = sum_up(w, r, err);
    if (rc < 0)
        return rc;
    note_special(w, r);
    if (!pc_journal_is_complete(w->journal)) {
        rc = write_manifest(w, r, err);
    } else {
        char *path = pc_path_join(pc_journal_dir(w->journal), PC_MANIFEST_NAME);
        rc = path ? pc_json_read(path, (size_t)1 << 28, &r->manifest, err) : out_of_memory(err);
        pc_free(path);
    }
    return rc == 0 ? pc_journal_commit(w->journal, err) : rc;
}

/* Whether the same call may yet succeed, so that what was done is worth keeping. */
static bool may_go_on(int code)
{
    return code == PACO_EIO || code == PACO_ENOSPC || code == PACO_ECANCELLED || code == PACO_EMEM ||
           code == PACO_EEXIST;
}

static bool any_done(const struct writer *w)
{
    for (uint32_t i = 0; w->stream.results && i < w->layout->n_tensors; i++)
        if (w->stream.results[i].done)
            return true;
    return false;
}

static int run(struct writer *w, struct pc_write_result *r, struct paco_error *err)
{
    json_t *identity = identity_json(w, err);
    if (!identity)
        return PACO_EMEM;
    int rc = prepare_stream(w, err);
    if (rc == 0)
        rc = pc_journal_open(w->opt->out_dir, identity, w->opt->force, w->opt->notes, &w->journal, err);
    w->stream.journal = w->journal;
    json_decref(identity);
    if (rc == 0)
        rc = work(w, r, err);
    for (uint32_t i = 0; w->stream.files && i < w->layout->n_files; i++)
        pc_disk_close(&w->stream.files[i]);
    pc_journal_close(w->journal, rc < 0 && !(may_go_on(rc) && any_done(w)));
    return rc;
}

static void writer_release(struct writer *w)
{
    for (uint32_t i = 0; w->paths && w->layout && i < w->layout->n_files; i++)
        pc_free(w->paths[i]);
    for (size_t i = 0; w->stream.inputs && i < w->opt->n_inputs; i++)
        pc_free(w->stream.inputs[i].tensors);
    pc_free(w->paths);
    pc_free(w->scans);
    pc_free(w->stream.inputs);
    pc_free(w->stream.files);
    pc_free(w->stream.results);
    json_decref(w->files);
    pc_pool_free(w->own_pool);
    pc_sidecars_release(&w->sidecars);
    pc_layout_free(w->layout);
}

int pc_write_checkpoint(const struct pc_checkpoint *ck, const struct pc_write_options *opt,
    struct pc_write_result *result, struct paco_error *err)
{
    double start = seconds();
    struct writer w = {.ck = ck, .opt = opt};
    struct pc_write_result r = {0};
    int rc = check_inputs(opt, err);
    if (rc == 0)
        rc = pc_journal_check(opt->out_dir, opt->force, err);
    if (rc == 0)
        rc = plan_layout(&w, err);
    if (rc == 0)
        rc = plan_sidecars(&w, err);
    if (rc == 0)
        rc = check_space(&w, err);
    if (rc == 0 && !opt->dry_run)
        rc = run(&w, &r, err);
    if (rc == 0) {
        r.n_tensors = w.layout->n_tensors;
        r.n_files = w.layout->n_files;
        r.tensor_bytes = w.layout->total_size;
        r.bytes_written = weight_bytes(&w) + w.small_bytes;
        memcpy(r.licence, w.sidecars.licence, sizeof r.licence);
        r.seconds = seconds() - start;
        *result = r;
    } else {
        pc_write_result_release(&r);
    }
    writer_release(&w);
    return rc;
}

void pc_write_result_release(struct pc_write_result *r)
{
    json_decref(r->manifest);
    *r = (struct pc_write_result){0};
}
