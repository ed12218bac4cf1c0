// SPDX-License-Identifier: Apache-2.0
#include "weights/write.h"

#include "base/file.h"
#include "base/host.h"
#include "weights/write_parts.h"

#include <string.h>
#include <unistd.h>

static int prepare_stream(struct pc_writer *w, struct paco_error *err)
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
        .one_in_hand = o->one_in_hand,
        .journal_each = o->journal_each};
    s->results = pc_alloc_zero(w->layout->n_tensors, sizeof *s->results);
    s->files = pc_alloc_zero(n_files, sizeof *s->files);
    for (uint32_t i = 0; s->files && i < n_files; i++) {
        s->files[i].fd = -1;
        s->files[i].direct_fd = -1;
    }
    s->inputs = pc_alloc_zero(o->n_inputs + 1, sizeof *s->inputs);
    w->paths = pc_alloc_zero(n_files, sizeof *w->paths);
    w->scans = pc_alloc_zero(w->layout->n_tensors, sizeof *w->scans);
    w->files = json_array();
    if (!s->results || !s->files || !s->inputs || !w->paths || !w->scans || !w->files)
        return pc_error_mem(err, w->layout->n_tensors * sizeof *w->scans, "a job's tables");
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

static int restore(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err)
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
static int remove_small_files(const struct pc_writer *w, struct paco_error *err)
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

static int open_files(struct pc_writer *w, struct paco_error *err)
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

static int seal_files(struct pc_writer *w, struct paco_error *err)
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

static int write_small_files(struct pc_writer *w, struct paco_error *err)
{
    for (size_t i = 0; i < w->sidecars.n; i++) {
        uint8_t digest[PC_SHA256_SIZE];
        int rc = pc_sidecar_write(&w->sidecars.v[i], pc_journal_dir(w->journal), digest, err);
        if (rc == 0)
            rc = pc_writer_add_file(w, &w->sidecars.v[i], digest, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int sum_up(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err)
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

static void note_special(const struct pc_writer *w, const struct pc_write_result *r)
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

static int work(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err)
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
            rc = pc_writer_check_unchanged(w, err);
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
    rc = pc_journal_is_complete(w->journal) ? pc_writer_read_manifest(w, r, err)
                                            : pc_writer_write_manifest(w, r, err);
    return rc == 0 ? pc_journal_commit(w->journal, err) : rc;
}

/* Whether the same call may yet succeed, so that what was done is worth keeping. */
static bool may_go_on(int code)
{
    return code == PACO_EIO || code == PACO_ENOSPC || code == PACO_ECANCELLED || code == PACO_EMEM ||
           code == PACO_EEXIST;
}

static bool any_done(const struct pc_writer *w)
{
    for (uint32_t i = 0; w->stream.results && i < w->layout->n_tensors; i++)
        if (w->stream.results[i].done)
            return true;
    return false;
}

static int run(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err)
{
    w->identity = pc_writer_identity(w, err);
    if (!w->identity)
        return PACO_EMEM;
    int rc = prepare_stream(w, err);
    if (rc == 0)
        rc = pc_journal_open(
            w->opt->out_dir, w->identity, pc_writer_journal_flags(w->opt), w->opt->notes, &w->journal, err);
    w->stream.journal = w->journal;
    if (rc == 0)
        rc = work(w, r, err);
    for (uint32_t i = 0; w->stream.files && i < w->layout->n_files; i++)
        pc_disk_close(&w->stream.files[i]);
    pc_journal_close(w->journal, rc < 0 && !(may_go_on(rc) && any_done(w)));
    return rc;
}

static void writer_release(struct pc_writer *w)
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
    json_decref(w->identity);
    pc_pool_free(w->own_pool);
    pc_sidecars_release(&w->sidecars);
    pc_layout_free(w->layout);
}

int pc_write_checkpoint(const struct pc_checkpoint *ck, const struct pc_write_options *opt,
    struct pc_write_result *result, struct paco_error *err)
{
    double start = pc_seconds();
    struct pc_writer w = {.ck = ck, .opt = opt};
    struct pc_write_result r = {0};
    int rc = pc_writer_plan(&w, err);
    if (rc == 0 && !opt->dry_run)
        rc = run(&w, &r, err);
    if (rc == 0) {
        r.n_tensors = w.layout->n_tensors;
        r.n_files = w.layout->n_files;
        r.tensor_bytes = w.layout->total_size;
        r.bytes_written = pc_writer_weight_bytes(&w) + w.small_bytes;
        memcpy(r.licence, w.sidecars.licence, sizeof r.licence);
        r.seconds = opt->dry_run ? pc_writer_estimate(&w) : pc_seconds() - start;
        *result = r;
    }
    writer_release(&w);
    return rc;
}
