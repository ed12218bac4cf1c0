// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_save.h"

#include "base/file.h"
#include "base/journal.h"
#include "cli/job_args.h"
#include "weights/manifest_read.h"

#include <limits.h>
#include <stdlib.h>
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

/* ---- beforehand ---- */

static int clash(const struct also *a, const char *why, const char *path, struct paco_error *err)
{
    pc_error_set(err, PACO_EINVAL, "%s %s%s: write it somewhere else",
        a->is_file ? "the --save_gguf file" : "the --save_diff folder", why, path);
    return pc_error_path(err, a->path), PACO_EINVAL;
}

/* Nothing that the run is made of may be replaced: with --force it would be, after the last step. */
static int check_inputs(
    const struct pc_finetune *f, const struct also *a, const char *to, struct paco_error *err)
{
    const struct pc_finetune_values *v = f->v;
    const char *const inputs[] = {v->model, v->diff, v->init_adapter, v->train_file, v->validation_file,
        v->sample_prompts, v->eval_data, v->resume_from};
    bool there = pc_path_exists(to);
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        char in[PATH_MAX];
        if (!inputs[i] || !realpath(inputs[i], in))
            continue; // of a name in the cache nothing is replaced
        if (pc_journal_replaces(to, in))
            return clash(a, "would replace what this run reads, ", inputs[i], err);
        // A new file may be put beside a model's.
        if (pc_path_is_inside(to, in) && (there || !a->is_file))
            return clash(a, "lies in what this run reads, ", inputs[i], err);
    }
    return 0;
}

/* Of the run's own directory a file of its own name may be in. */
static int check_output(
    const struct pc_finetune *f, const struct also *a, const char *to, struct paco_error *err)
{
    char out[PATH_MAX];
    if (!f->v->out || !pc_path_resolve(f->v->out, out))
        return 0;
    if (pc_journal_replaces(to, out))
        return clash(a, "would replace --output_dir ", f->v->out, err);
    if (!pc_path_is_inside(to, out))
        return 0;
    bool apart = a->is_file && pc_ends_with(to, ".gguf") && !strchr(to + strlen(out) + 1, '/');
    return apart ? 0 : clash(a, "lies in --output_dir ", f->v->out, err);
}

static int check(const struct pc_finetune *f, struct also a, struct paco_error *err)
{
    unsigned flags = (f->v->force ? PC_JOURNAL_FORCE : 0) | (a.is_file ? PC_JOURNAL_FILE : 0);
    char to[PATH_MAX];
    if (!a.path || (resumes(f) && is_made(f, &a)))
        return 0;
    int rc = 0;
    if (pc_path_resolve(a.path, to) && (rc = check_inputs(f, &a, to, err)) == 0)
        rc = check_output(f, &a, to, err);
    if (rc == 0)
        rc = pc_journal_check(a.path, flags, err);
    if (rc == PACO_EEXIST && resumes(f))
        pc_error_prefix(err, "not made of the model in %s", f->v->out);
    return rc;
}

/* Neither may be in the way of the other. */
static int check_both(const struct pc_finetune *f, struct paco_error *err)
{
    const struct also diff = also_diff(f), gguf = also_gguf(f);
    char folder[PATH_MAX], file[PATH_MAX];
    if (!diff.path || !gguf.path || !pc_path_resolve(diff.path, folder) ||
        !pc_path_resolve(gguf.path, file) ||
        (!pc_journal_replaces(folder, file) && !pc_path_is_inside(folder, file)))
        return 0;
    return clash(&gguf, "is in the way of --save_diff ", diff.path, err);
}

int pc_finetune_check_saves(const struct pc_finetune *f, struct paco_error *err)
{
    int rc = check_both(f, err);
    if (rc == 0)
        rc = check(f, also_diff(f), err);
    return rc < 0 ? rc : check(f, also_gguf(f), err);
}

/* ---- afterwards ---- */

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
