// SPDX-License-Identifier: Apache-2.0
#include "weights/job.h"

#include "base/journal.h"
#include "base/memory.h"
#include "weights/gguf_types.h"
#include "weights/narrow.h"
#include "weights/write_parts.h"

#include <math.h>
#include <string.h>

static int update(void *ctx, const struct pc_progress_event *e)
{
    const struct paco_job_options *opt = ctx;
    struct paco_progress_event event = {e->phase, e->item, e->done, e->total, e->unit};
    return opt->on_progress ? opt->on_progress(opt->ctx, &event) : 0;
}

static void note(void *ctx, const char *text)
{
    const struct paco_job_options *opt = ctx;
    if (opt->on_note)
        opt->on_note(opt->ctx, text);
}

int pc_job_begin(struct pc_job *job, const struct paco_job_options *opt, struct paco_error *err)
{
    *job = (struct pc_job){.opt = opt, .progress = {.update = update, .note = note, .ctx = (void *)opt}};
    job->notes.progress = &job->progress;
    if (!opt->out || !*opt->out)
        return pc_error_set(err, PACO_EINVAL, "no output was named");
    job->out = pc_strdup(opt->out);
    if (!job->out)
        return pc_error_mem(err, strlen(opt->out), "a path");
    if (opt->container != PACO_CONTAINER_GGUF && pc_block_choice(opt->dtype) != PC_N_DTYPES)
        return pc_error_set(err, PACO_EINVAL,
            "%s is for GGUF files alone; safetensors and .bin hold f32, f16 and bf16",
            pc_dtype_choice_name(opt->dtype));
    job->pool = pc_pool_new(opt->n_threads, err);
    return job->pool ? 0 : err ? err->code : PACO_EMEM;
}

void pc_job_end(struct pc_job *job)
{
    pc_pool_free(job->pool);
    pc_free(job->out);
    pc_notes_release(&job->notes);
}

int pc_job_check_out(const struct pc_job *job, struct paco_error *err)
{
    const struct pc_write_options o = pc_job_write_options(job);
    return pc_journal_check(o.out_dir, pc_writer_journal_flags(&o), err);
}

struct pc_write_options pc_job_write_options(const struct pc_job *job)
{
    static const enum pc_container containers[] = {[PACO_CONTAINER_SAFETENSORS] = PC_SAFETENSORS,
        [PACO_CONTAINER_BIN] = PC_TORCH_BIN,
        [PACO_CONTAINER_GGUF] = PC_GGUF,
        [PACO_CONTAINER_META] = PC_META};
    const struct paco_job_options *o = job->opt;
    return (struct pc_write_options){
        .out_dir = o->out,
        .container = containers[o->container],
        .max_shard = o->max_shard,
        .no_repair = o->no_repair,
        .force = o->force,
        .dry_run = o->dry_run,
        .pool = job->pool,
        .progress = &job->progress,
        .notes = (struct pc_notes *)&job->notes,
    };
}

void pc_job_result(struct pc_job *job, const struct pc_write_result *written, struct paco_job_result *r)
{
    r->out = job->out;
    r->n_tensors = written->n_tensors;
    r->n_files = written->n_files;
    r->n_resumed = written->n_resumed;
    r->bytes_written = written->bytes_written;
    r->seconds = written->seconds;
    r->n_changed = written->n_lossy;
    r->max_change = written->max_error;
    r->n_not_finite = written->n_special;
    memcpy(r->content_sha256, written->content_sha256, sizeof r->content_sha256);
    memcpy(r->licence, written->licence, sizeof r->licence);
    r->warnings = job->notes.v;
    r->n_warnings = job->notes.n;
    job->out = NULL;
    job->notes.v = NULL;
    job->notes.n = job->notes.capacity = 0;
}

void paco_job_result_release(struct paco_job_result *r)
{
    for (size_t i = 0; i < r->n_warnings; i++)
        pc_free(r->warnings[i]);
    for (size_t i = 0; i < r->n_undefined_rows; i++)
        pc_free(r->undefined_rows[i].tensor);
    pc_free(r->warnings);
    pc_free(r->undefined_rows);
    pc_free(r->out);
    *r = (struct paco_job_result){0};
}

void pc_job_note_narrowing(
    struct pc_job *job, const struct pc_checkpoint *ck, const struct pc_write_result *written)
{
    bool quantised = pc_block_choice(job->opt->dtype) != PC_N_DTYPES;
    bool copied = job->opt->container == PACO_CONTAINER_GGUF && job->opt->dtype == PACO_DTYPE_KEEP;
    if (job->opt->dtype == PACO_DTYPE_F32 || job->opt->dry_run || quantised ||
        (copied && written->n_lossy == 0))
        return;
    uint64_t n = 0;
    for (size_t i = 0; i < ck->n_tensors; i++)
        n += pc_tensor_n_elements(&ck->tensors[i]);
    if (written->n_lossy == 0)
        pc_note(&job->notes, "narrowing lost nothing: all %llu elements are what they were in F32",
            (unsigned long long)n);
    else if (isinf(written->max_error))
        pc_note(&job->notes,
            "narrowing changed %llu of %llu elements, some of them to infinity: they are beyond the range of "
            "the narrower type",
            (unsigned long long)written->n_lossy, (unsigned long long)n);
    else
        pc_note(&job->notes, "narrowing changed %llu of %llu elements, the largest by %g",
            (unsigned long long)written->n_lossy, (unsigned long long)n, written->max_error);
}
