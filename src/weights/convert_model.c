// SPDX-License-Identifier: Apache-2.0
/* A model in other files: .bin to safetensors and back, GGUF's and Meta's to Hugging Face, any to GGUF or
 * Meta's. Values stay what they are unless a narrower type is asked for; on the way to Hugging Face or Meta
 * block types are expanded, exactly, to F32. */
#include "algebra/order.h"
#include "base/memory.h"
#include "weights/gguf_files.h"
#include "weights/gguf_out.h"
#include "weights/job.h"
#include "weights/meta_out.h"
#include "weights/narrow.h"
#include "weights/pair.h"

struct convert {
    const struct paco_convert_options *opt;
    struct pc_job job;
    struct pc_source source;
    struct pc_checkpoint *ordered, *narrow;
    const struct pc_checkpoint *out; /* what is written */
    struct pc_gguf_out gguf;
    struct pc_gguf_files made;
    struct pc_meta_out meta;
    struct pc_write_file *files;
    size_t n_files;
};

static int n_shards(const struct paco_convert_options *o)
{
    return o->n_shards ? o->n_shards : 1;
}

static int write_out(struct convert *c, struct paco_job_result *result, struct paco_error *err)
{
    const struct pc_write_input input = pc_pair_input("source", &c->source);
    struct pc_write_options o = pc_job_write_options(&c->job);
    json_t *settings = json_pack("{s:s}", "dtype", pc_dtype_choice_name(c->opt->job.dtype));
    if (settings && o.container == PC_META)
        json_object_set_new(settings, "shards", json_integer(n_shards(c->opt)));
    o.job = "convert";
    o.phase = "converting";
    o.inputs = &input;
    o.n_inputs = 1;
    o.files_from =
        c->source.gguf || o.container == PC_GGUF ? NULL : c->source.dir; // a folder of Meta's has licences
    o.gguf = &c->gguf.head;
    o.files = c->files;
    o.n_files = c->n_files;
    o.settings = settings;
    struct pc_write_result written = {0};
    int rc = settings ? pc_write_checkpoint(c->out, &o, &written, err) : pc_error_mem(err, 256, "the job");
    if (rc == 0) {
        pc_job_note_narrowing(&c->job, c->out, &written);
        pc_job_result(&c->job, &written, result);
    }
    json_decref(settings);
    return rc;
}

static int to_gguf(struct convert *c, struct paco_error *err)
{
    char name[256];
    const struct pc_gguf_request q = {.ck = c->source.gguf ? NULL : c->ordered,
        .like = &c->source,
        .tied = pc_pair_tied(&c->source),
        .name = pc_source_name(&c->source, name, sizeof name),
        .o = &c->opt->job,
        .pool = c->job.pool,
        .progress = &c->job.progress,
        .notes = &c->job.notes};
    int rc = pc_gguf_out_make(&q, &c->gguf, err);
    c->out = c->gguf.ck;
    return rc;
}

static int to_meta(struct convert *c, struct paco_error *err)
{
    const struct pc_meta_request q = {.ck = c->narrow,
        .like = &c->source,
        .tied = pc_pair_tied(&c->source),
        .n_shards = (uint32_t)n_shards(c->opt),
        .notes = &c->job.notes};
    int rc = pc_meta_out_make(&q, &c->meta, err);
    c->out = c->meta.ck;
    c->files = rc == 0 ? pc_alloc(c->meta.n_files, sizeof *c->files) : NULL;
    if (rc == 0 && !c->files)
        return pc_error_mem(err, sizeof c->meta.files, "a list of files");
    for (size_t i = 0; i < c->meta.n_files && rc == 0; i++)
        c->files[c->n_files++] = c->meta.files[i];
    return rc;
}

static int run(struct convert *c, struct paco_job_result *result, struct paco_error *err)
{
    int rc = pc_source_open(c->opt->source, &c->source, err);
    if (rc == 0)
        rc = pc_job_check_out(&c->job, err);
    if (rc == 0)
        rc = pc_checkpoint_in_order(c->source.ck, &c->ordered, err);
    if (rc < 0)
        return rc;
    if (c->opt->job.container == PACO_CONTAINER_GGUF) {
        rc = to_gguf(c, err);
        return rc < 0 ? rc : write_out(c, result, err);
    }
    rc = pc_narrow(c->ordered, c->opt->job.dtype, c->ordered, c->job.pool, &c->job.progress, &c->narrow, err);
    c->out = c->narrow;
    if (rc == 0 && c->opt->job.container == PACO_CONTAINER_META) {
        rc = to_meta(c, err);
        return rc < 0 ? rc : write_out(c, result, err);
    }
    if (rc == 0 && pc_source_makes_files(&c->source))
        rc = pc_gguf_files_make(&c->source, c->out, "convert", &c->made, err);
    if (rc == 0)
        rc = pc_job_files(&c->made, c->opt->files, c->opt->n_files, &c->files, &c->n_files, err);
    return rc < 0 ? rc : write_out(c, result, err);
}

struct paco_convert_options paco_convert_options_default(void)
{
    return (struct paco_convert_options){.job = {.dtype = PACO_DTYPE_KEEP}};
}

int paco_convert(
    const struct paco_convert_options *options, struct paco_job_result *result, struct paco_error *err)
{
    struct convert c = {.opt = options};
    *result = (struct paco_job_result){0};
    int rc = pc_job_begin(&c.job, &options->job, err);
    if (rc == 0 && (!options->source || !*options->source))
        rc = pc_error_set(err, PACO_EINVAL, "no source was named");
    if (rc == 0 && (n_shards(options) < 1 || n_shards(options) > PC_META_OUT_SHARDS))
        rc = pc_error_set(
            err, PACO_EINVAL, "%d shards; 1 to %d are written", n_shards(options), PC_META_OUT_SHARDS);
    if (rc == 0)
        rc = run(&c, result, err);
    if (rc < 0)
        paco_job_result_release(result);
    pc_gguf_out_release(&c.gguf);
    pc_meta_out_release(&c.meta);
    pc_checkpoint_close(c.narrow);
    pc_checkpoint_close(c.ordered);
    pc_source_close(&c.source);
    pc_gguf_files_release(&c.made);
    pc_free(c.files);
    pc_job_end(&c.job);
    return rc;
}
