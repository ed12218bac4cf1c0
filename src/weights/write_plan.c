// SPDX-License-Identifier: Apache-2.0
/* What the writer settles before the first byte. */
#include "weights/write_parts.h"

#include "algebra/trace.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/host.h"
#include "format/gguf_write.h"
#include "weights/narrow.h"
#include "weights/repair.h"

#include "paco/paco.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

uint64_t pc_write_spare(uint64_t n_tensors)
{
    return (4 << 20) + n_tensors * 1024;
}

/* For an estimate: no disk was asked. */
static const double DISK_RATE = 1e9;
enum { SAMPLE = 32 << 20 };

static int plan_layout(struct pc_writer *w, struct paco_error *err)
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
    uint32_t n = (uint32_t)ck->n_tensors;
    int rc;
    if (w->opt->container == PC_GGUF)
        rc = pc_layout_new_gguf(w->opt->gguf, pc_path_base(w->opt->out_dir), tensors, n, &w->layout, err);
    else if (w->opt->container == PC_META)
        rc = pc_layout_new_meta(tensors, n, &w->layout, err);
    else
        rc = pc_layout_new(w->opt->container, tensors, n, w->opt->file_name ? INT64_MAX : w->opt->max_shard,
            &w->layout, err);
    if (rc == 0 && w->opt->file_name) {
        char *name = pc_arena_strndup(&w->layout->arena, w->opt->file_name, strlen(w->opt->file_name));
        rc = name ? 0 : pc_error_mem(err, strlen(w->opt->file_name), "a file name");
        w->layout->files[0].name = name;
    }
    pc_free(tensors);
    return rc;
}

/* A configuration that was made elsewhere says what is written here, as one that travels does. */
static int add_made(struct pc_writer *w, const struct pc_write_file *f, const struct pc_sidecar_options *from,
    struct paco_error *err)
{
    enum { MAX_CONFIG = 1 << 24 };
    static const struct pc_special_tokens none;
    const struct pc_repair_options repair = {.tokens = &none, .dtype = from->dtype, .vocab = from->vocab};
    struct pc_buf text, said;
    if (!from->repair || strcmp(f->name, "config.json") != 0)
        return pc_sidecars_add(&w->sidecars, f->name, f->bytes, f->len, err);
    pc_buf_init(&text, MAX_CONFIG);
    pc_buf_init(&said, MAX_CONFIG);
    pc_buf_add(&text, f->bytes, f->len);
    int rc = pc_buf_check(&text, f->name, err);
    if (rc == 0)
        pc_repair(f->name, &repair, &text, &said);
    if (rc == 0)
        rc = pc_buf_check(&text, f->name, err);
    if (rc == 0)
        rc = pc_sidecars_add(&w->sidecars, f->name, text.data, text.len, err);
    pc_buf_release(&text);
    pc_buf_release(&said);
    return rc;
}

static int plan_sidecars(struct pc_writer *w, struct paco_error *err)
{
    const struct pc_write_options *o = w->opt;
    const struct pc_tensor *embedding = pc_checkpoint_find(w->ck, "model.embed_tokens.weight");
    const struct pc_sidecar_options from = {.dir = o->files_from,
        .tokenizer_dir = o->tokenizer_from,
        .repair = !o->no_repair,
        .only_papers = o->container == PC_META,
        .dtype = pc_widest_float(w->ck),
        .vocab = embedding && embedding->n_dims ? embedding->shape[0] : 0};
    int rc = o->files_from || o->tokenizer_from ? pc_sidecars_plan(&from, o->notes, &w->sidecars, err) : 0;
    for (size_t i = 0; i < o->n_files && rc == 0; i++)
        rc = add_made(w, &o->files[i], &from, err);
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

uint64_t pc_writer_weight_bytes(const struct pc_writer *w)
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

static int check_space(const struct pc_writer *w, struct paco_error *err)
{
    char dir[PATH_MAX];
    struct statvfs fs;
    existing_parent(w->opt->out_dir, dir);
    if (access(dir, W_OK | X_OK) < 0) {
        int rc = pc_error_os(err, errno, "cannot write into this directory");
        pc_error_path(err, dir);
        return rc;
    }
    uint64_t need = pc_writer_weight_bytes(w) + w->small_bytes + pc_write_spare(w->layout->n_tensors);
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

/* The file that holds t. */
static const char *file_of(const struct pc_tensor *t, uint64_t *offset)
{
    const char *path = NULL;
    *offset = 0;
    if (t->owner->ops->where)
        (void)t->owner->ops->where(t, &path, offset); // names the file even of what is no run of it
    return path ? path : t->owner->path;
}

/* The first file of an input, reached by whatever links, that the job would remove; NULL if there is none. */
static const char *replaced_file(const struct pc_checkpoint *ck, const char *out)
{
    const char *last = NULL;
    char real[PATH_MAX];
    uint64_t offset;
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const char *path = file_of(&ck->tensors[i], &offset);
        if (!path || (last && strcmp(path, last) == 0))
            continue;
        last = path;
        if (realpath(path, real) && pc_journal_replaces(out, real))
            return path;
    }
    return NULL;
}

static int clash(const struct pc_write_options *o, const char *how, const char *role, const char *path,
    struct paco_error *err)
{
    pc_error_set(err, PACO_EEXIST, "the output %s the %s, %s: write it somewhere else", how, role, path);
    pc_error_path(err, o->out_dir);
    return PACO_EEXIST;
}

static int check_inputs(const struct pc_write_options *o, struct paco_error *err)
{
    char out[PATH_MAX], in[PATH_MAX];
    if (!pc_path_resolve(o->out_dir, out))
        return 0;
    for (size_t i = 0; i < o->n_inputs; i++) {
        const struct pc_write_input *input = &o->inputs[i];
        bool known = pc_path_resolve(input->path, in);
        if (known && strcmp(in, out) == 0)
            return clash(o, "is", input->role, input->path, err);
        // A file may be put beside those it is made of.
        if (known && o->container != PC_GGUF && pc_path_is_inside(out, in))
            return clash(o, "lies inside", input->role, input->path, err);
        if (known && pc_journal_replaces(out, in))
            return clash(o, "would replace what holds", input->role, input->path, err);
        const char *file = replaced_file(input->ck, out);
        if (file)
            return clash(o, "would replace what holds a file of", input->role, file, err);
    }
    return 0;
}

unsigned pc_writer_journal_flags(const struct pc_write_options *o)
{
    return (o->force ? PC_JOURNAL_FORCE : 0u) | (o->container == PC_GGUF ? PC_JOURNAL_FILE : 0u);
}

static void note_skipped(const struct pc_write_options *o)
{
    for (size_t i = 0; i < o->n_inputs; i++)
        if (o->inputs[i].ck->note)
            pc_note(o->notes, "the %s: %s", o->inputs[i].role, o->inputs[i].ck->note);
}

int pc_writer_plan(struct pc_writer *w, struct paco_error *err)
{
    int rc = check_inputs(w->opt, err);
    if (rc == 0)
        note_skipped(w->opt);
    if (rc == 0)
        rc = pc_journal_check(w->opt->out_dir, pc_writer_journal_flags(w->opt), err);
    if (rc == 0)
        rc = plan_layout(w, err);
    if (rc == 0)
        rc = plan_sidecars(w, err);
    return rc < 0 ? rc : check_space(w, err);
}

/* ---- how long ---- */

/* Seconds one worker takes for a byte of output; 0 when that cannot be found out. */
static double seconds_per_byte(const struct pc_tensor *t)
{
    struct pc_trace tr = {0};
    struct pc_sha256 *h = pc_sha256_new(NULL);
    uint64_t rows = pc_trace_rows(t, t->n_rows), done = 0;
    void *buf = rows ? pc_alloc_pages((size_t)(rows * t->row_size)) : NULL;
    double start = pc_seconds();
    for (uint64_t row = 0; h && buf && row + rows <= t->n_rows && done < SAMPLE; row += rows) {
        pc_trace_reset(&tr);
        if (pc_tensor_read_traced(t, row, rows, buf, &tr, NULL) < 0)
            break;
        pc_sha256_update(h, buf, (size_t)(rows * t->row_size));
        for (size_t i = 0; i < tr.n_views; i++)
            pc_sha256_update(h, tr.views[i].bytes, (size_t)(tr.views[i].n_rows * tr.views[i].t->row_size));
        done += rows * t->row_size;
    }
    double took = pc_seconds() - start;
    pc_free(buf);
    pc_sha256_free(h);
    pc_trace_release(&tr);
    return done ? took / (double)done : 0;
}

double pc_writer_estimate(const struct pc_writer *w)
{
    const struct pc_tensor *largest = &w->ck->tensors[0];
    for (size_t i = 1; i < w->ck->n_tensors; i++)
        if (w->ck->tensors[i].size > largest->size)
            largest = &w->ck->tensors[i];
    double bytes = (double)w->layout->total_size, disk = bytes / DISK_RATE;
    double work = bytes * seconds_per_byte(largest) / (w->opt->pool ? pc_pool_size(w->opt->pool) : 1);
    return work > disk ? work : disk;
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
    uint64_t offset;
    const char *path = file_of(t, &offset);
    hash_text(h, t->name);
    hash_text(h, pc_tensor_shape(t, shape, sizeof shape));
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

json_t *pc_writer_identity(const struct pc_writer *w, struct paco_error *err)
{
    const struct pc_write_options *o = w->opt;
    char hex[PC_SHA256_HEX];
    struct pc_sha256 *h = pc_sha256_new(err);
    if (!h)
        return NULL;
    json_t *id = json_object(), *inputs = json_array();
    bool good = true;
    for (size_t i = 0; i < o->n_inputs; i++)
        pc_json_put(inputs,
            json_pack(
                "{s:s,s:s}", "role", o->inputs[i].role, "fingerprint", fingerprint(o->inputs[i].ck, h, hex)),
            &good);
    pc_json_set(id, "paco", json_string(paco_version()), &good);
    pc_json_set(id, "job", json_string(o->job), &good);
    pc_json_set(id, "options", pc_writer_options(o), &good);
    pc_json_set(id, "inputs", inputs, &good);
    pc_json_set(id, "output", json_string(fingerprint(w->ck, h, hex)), &good);
    pc_sha256_free(h);
    if (!good)
        pc_error_mem(err, 4096, "the journal");
    return pc_json_finished(id, good);
}

/* The inputs are what they were when the job began: a download that was still going on, or a file saved anew
 * meanwhile, would otherwise give a mixture. */
int pc_writer_check_unchanged(const struct pc_writer *w, struct paco_error *err)
{
    json_t *now = pc_writer_identity(w, err);
    if (!now)
        return PACO_EMEM;
    bool same = json_equal(now, w->identity);
    json_decref(now);
    return same ? 0 : pc_error_set(err, PACO_EMISMATCH, "the inputs changed while they were read");
}
