// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_save.h"

#include "base/file.h"
#include "base/journal.h"
#include "cli/job_args.h"

/* Whether path is still to be written: a run that goes on may have done it. */
static bool is_wanted(const struct pc_finetune *f, const char *path)
{
    bool resumes = f->run.resume || f->run.resume_from;
    return path && !(resumes && pc_path_exists(path));
}

int pc_finetune_check_saves(const struct pc_finetune *f, struct paco_error *err)
{
    unsigned force = f->v->force ? PC_JOURNAL_FORCE : 0;
    int rc = is_wanted(f, f->v->save_diff) ? pc_journal_check(f->v->save_diff, force, err) : 0;
    if (rc == 0 && is_wanted(f, f->v->save_gguf))
        rc = pc_journal_check(f->v->save_gguf, force | PC_JOURNAL_FILE, err);
    return rc;
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
    int rc = is_wanted(f, f->v->save_diff) ? save_diff(f, err) : 0;
    if (rc < 0)
        return pc_error_prefix(err, "the model is saved, but not --save_diff"), rc;
    rc = is_wanted(f, f->v->save_gguf) ? save_gguf(f, err) : 0;
    if (rc < 0)
        pc_error_prefix(err, "the model is saved, but not --save_gguf");
    return rc;
}
