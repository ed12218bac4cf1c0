// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_save.h"

#include "base/file.h"
#include "base/journal.h"
#include "cli/job_args.h"
#include "weights/manifest_read.h"

#include <string.h>

/* An output beside the model, and the part that the model has in making it. */
struct also {
    const char *path, *role;
    bool is_file;
};

static struct also also_diff(const struct pc_finetune *f)
{
    return (struct also){.path = f->v->save_diff, .role = "tuned"};
}

static struct also also_gguf(const struct pc_finetune *f)
{
    return (struct also){.path = f->v->save_gguf, .role = "source", .is_file = true};
}

/* Read the manifest of a folder, or the one beside a file; false when there is none to be read. */
static bool read_manifest(const char *path, bool is_file, struct pc_manifest *m)
{
    struct pc_buf name;
    pc_buf_init(&name, 1 << 16);
    pc_buf_printf(&name, "%s%c%s", path, is_file ? '.' : '/', PC_MANIFEST_NAME);
    bool good = pc_buf_check(&name, "a path", NULL) == 0 && pc_manifest_read(name.data, m, NULL) == 0;
    pc_buf_release(&name);
    return good;
}

/* Whether it was made already, of the very model that lies in the output directory: before an interruption of
 * what comes behind. */
static bool is_made(const struct pc_finetune *f, const struct also *a)
{
    struct pc_manifest model = {.job = NULL}, made = {.job = NULL};
    const char *digest = NULL;
    if (pc_path_exists(a->path) && read_manifest(f->v->out, false, &model) &&
        read_manifest(a->path, a->is_file, &made))
        digest = pc_manifest_input_digest(&made, a->role);
    bool same = digest && strcmp(digest, model.content_sha256) == 0;
    pc_manifest_release(&model);
    pc_manifest_release(&made);
    return same;
}

static bool resumes(const struct pc_finetune *f)
{
    return f->run.resume || f->run.resume_from;
}

static int check(const struct pc_finetune *f, struct also a, struct paco_error *err)
{
    unsigned flags = (f->v->force ? PC_JOURNAL_FORCE : 0) | (a.is_file ? PC_JOURNAL_FILE : 0);
    if (!a.path || (resumes(f) && is_made(f, &a)))
        return 0;
    int rc = pc_journal_check(a.path, flags, err);
    if (rc == PACO_EEXIST && resumes(f))
        pc_error_prefix(err, "not made of the model in %s", f->v->out);
    return rc;
}

int pc_finetune_check_saves(const struct pc_finetune *f, struct paco_error *err)
{
    int rc = check(f, also_diff(f), err);
    return rc < 0 ? rc : check(f, also_gguf(f), err);
}

static bool is_wanted(const struct pc_finetune *f, struct also a)
{
    return a.path && !(resumes(f) && is_made(f, &a));
}

static int save_diff(const struct pc_finetune *f, struct paco_error *err)
{
    struct paco_job_result result = {.n_tensors = 0};
    const struct pc_job_args args = {.out = f->v->save_diff, .threads = f->v->threads, .force = f->v->force};
    struct paco_diff_options o = paco_diff_options_default();
    o.job = pc_job_options(f->self, &args);
    o.raw = f->v->model;
    o.tuned = f->v->out;
    int rc = paco_diff(&o, &result, err);
    paco_job_result_release(&result);
    return rc;
}

static int save_gguf(const struct pc_finetune *f, struct paco_error *err)
{
    struct paco_job_result result = {.n_tensors = 0};
    struct pc_vocab_output vocab = {.n_files = 0};
    const struct pc_job_args args = {.out = f->v->save_gguf,
        .dtype = "keep",
        .format = "gguf",
        .threads = f->v->threads,
        .force = f->v->force};
    struct paco_convert_options o = paco_convert_options_default();
    o.job = pc_job_options(f->self, &args);
    o.source = f->v->out;
    int rc = pc_vocab_output_gguf(f->self, f->v->out, NULL, 0, &vocab, err);
    o.job.vocabulary = vocab.gguf.data;
    o.job.vocabulary_size = vocab.gguf.len;
    if (rc == 0)
        rc = paco_convert(&o, &result, err);
    pc_vocab_output_release(&vocab);
    paco_job_result_release(&result);
    return rc;
}

int pc_finetune_also_save(const struct pc_finetune *f, struct paco_error *err)
{
    int rc = is_wanted(f, also_diff(f)) ? save_diff(f, err) : 0;
    if (rc < 0)
        return pc_error_prefix(err, "the model is saved, but not --save_diff"), rc;
    rc = is_wanted(f, also_gguf(f)) ? save_gguf(f, err) : 0;
    if (rc < 0)
        pc_error_prefix(err, "the model is saved, but not --save_gguf");
    return rc;
}
