// SPDX-License-Identifier: Apache-2.0
#include "algebra/combine.h"
#include "base/journal.h"
#include "base/json.h"
#include "weights/compress.h"
#include "weights/job.h"
#include "weights/narrow.h"
#include "weights/packed_diff.h"
#include "weights/pair.h"

struct make_diff {
    const struct paco_diff_options *opt;
    struct pc_job job;
    struct pc_source raw, tuned;
    struct pc_checkpoint *difference, *out;
    struct pc_combine_report report;
    struct pc_compressed compressed;
    struct pc_checkpoint *adapter, *packed;
};

static int subtract(struct make_diff *m, struct paco_error *err)
{
    struct pc_combine_options o = {.tied = pc_pair_tied(&m->tuned),
        .base_tied = pc_pair_tied(&m->raw),
        .pad_row = PC_PAD_MEAN,
        .rope_theta = m->tuned.has_config ? (double)m->tuned.config.rope_theta : 0};
    int rc = pc_checkpoint_subtract(m->raw.ck, m->tuned.ck, &o, &m->difference, &m->report, err);
    if (rc == PACO_EMISMATCH)
        pc_pair_explain(m->raw.ck, "base", m->tuned.ck, "tuned model", err);
    if (rc == 0 && m->report.head_is_embedding)
        pc_note(&m->job.notes,
            "the base ties its head to the embedding, and the tuned model has a head of its own: the base's "
            "embedding is taken away from it, as the published script does");
    return rc < 0 ? rc
                  : pc_pair_check_missing(m->raw.ck, m->tuned.ck, "tuned model", o.tied, &m->job.notes, err);
}

static json_t *settings_of(const struct make_diff *m)
{
    const char *dtype = pc_dtype_choice_name(m->opt->job.dtype);
    if (m->adapter)
        return json_pack("{s:s,s:s,s:i}", "dtype", dtype, "compress", "lora", "rank", (int)m->opt->lora_rank);
    if (m->packed)
        return json_pack("{s:s,s:s}", "dtype", dtype, "compress",
            m->opt->packing == PACO_PACKING_INT4 ? "int4" : "bitdelta");
    return m->report.n_grown ? json_pack("{s:s,s:s}", "dtype", dtype, "pad_row", "mean")
                             : json_pack("{s:s}", "dtype", dtype);
}

static int write_out(struct make_diff *m, struct paco_job_result *result, struct paco_error *err)
{
    const struct pc_write_input inputs[] = {
        pc_pair_input("base", &m->raw), pc_pair_input("tuned", &m->tuned)};
    struct pc_write_options o = pc_job_write_options(&m->job);
    json_t *settings = settings_of(m);
    o.job = "diff";
    o.phase = "subtracting";
    o.inputs = inputs;
    o.n_inputs = sizeof inputs / sizeof *inputs;
    o.files_from = m->tuned.kind == PC_SOURCE_GGUF ? NULL : m->tuned.dir;
    o.settings = settings;
    const struct pc_write_file config = {
        "adapter_config.json", m->compressed.config.data, m->compressed.config.len};
    if (m->adapter) {
        o.file_name = "adapter_model.safetensors";
        o.files = &config;
        o.n_files = 1;
        o.tokenizer_from = o.files_from;
        o.files_from = NULL;
    }
    struct pc_write_result written = {0};
    int rc = settings ? pc_write_checkpoint(m->out, &o, &written, err) : pc_error_mem(err, 256, "the job");
    if (rc == 0) {
        pc_job_note_narrowing(&m->job, m->out, &written);
        pc_job_result(&m->job, &written, result);
    }
    json_decref(settings);
    return rc;
}

/* An adapter in the diff's place. */
static int compress(struct make_diff *m, struct paco_error *err)
{
    m->compressed = (struct pc_compressed){.tuned = m->tuned.ck,
        .difference = m->difference,
        .base_name = m->opt->raw,
        .rank = m->opt->lora_rank,
        .tied = pc_pair_tied(&m->tuned)};
    if (m->report.head_is_embedding)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "the base ties its head to the embedding and the tuned model does not: no adapter says that");
    int rc = pc_compress_lora(&m->compressed, m->job.pool, &m->job.progress, &m->adapter, err);
    const struct pc_truncated *s = &m->compressed.sums;
    if (rc == 0)
        pc_note(&m->job.notes, "rank %u holds %.2f %% of what the layers' matrices change (sum of squares)%s",
            m->opt->lora_rank, s->all > 0 ? 100 * s->held / s->all : 100,
            m->compressed.n_whole ? "; other tensors that change go along whole" : "");
    return rc;
}

static int run(struct make_diff *m, struct paco_job_result *result, struct paco_error *err)
{
    int rc = pc_pair_open(m->opt->raw, "base", m->opt->tuned, "tuned model", &m->raw, &m->tuned, err);
    if (rc == 0)
        rc = pc_job_check_out(&m->job, err);
    if (rc == 0)
        rc = subtract(m, err);
    if (rc == 0)
        rc = pc_pair_check_tuned(&m->raw, &m->tuned, &m->job.notes, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < m->report.n_grown; i++)
        pc_note(&m->job.notes,
            "%s has %llu rows more than the base: the mean of the base's rows stands for them",
            m->report.grown[i].t->name, (unsigned long long)m->report.grown[i].n);
    if (m->opt->lora_rank && (rc = compress(m, err)) < 0)
        return rc;
    if (m->opt->packing != PACO_PACKING_NONE) {
        rc = pc_diff_pack(m->difference,
            m->opt->packing == PACO_PACKING_INT4 ? PC_PACKING_INT4 : PC_PACKING_SIGNS, &m->packed, err);
        if (rc < 0)
            return rc;
    }
    const struct pc_checkpoint *made = m->adapter ? m->adapter : m->packed ? m->packed : m->difference;
    rc = pc_narrow(made, m->opt->job.dtype, m->tuned.ck, m->job.pool, &m->job.progress, &m->out, err);
    return rc < 0 ? rc : write_out(m, result, err);
}

struct paco_diff_options paco_diff_options_default(void)
{
    return (struct paco_diff_options){0};
}

int paco_diff(const struct paco_diff_options *options, struct paco_job_result *result, struct paco_error *err)
{
    struct make_diff m = {.opt = options};
    *result = (struct paco_job_result){0};
    int rc = pc_job_begin(&m.job, &options->job, err);
    if (rc == 0 && options->job.container == PACO_CONTAINER_GGUF)
        rc = pc_error_set(err, PACO_EINVAL, "a diff is written as safetensors or .bin, not as GGUF");
    if (rc == 0 && options->lora_rank && options->job.container != PACO_CONTAINER_SAFETENSORS)
        rc = pc_error_set(err, PACO_EINVAL, "an adapter is written as safetensors");
    if (rc == 0 && options->packing != PACO_PACKING_NONE &&
        (options->lora_rank ||
            (options->job.dtype != PACO_DTYPE_F32 && options->job.dtype != PACO_DTYPE_AUTO)))
        rc = pc_error_set(err, PACO_EINVAL,
            "a packed diff is exact where it is not packed (dtype f32 or auto), and no adapter");
    if (rc == 0 && options->lora_rank > 1024)
        rc = pc_error_set(err, PACO_EINVAL, "rank %u: 1 to 1024 are possible", options->lora_rank);
    if (rc == 0)
        rc = run(&m, result, err);
    if (rc < 0)
        paco_job_result_release(result);
    pc_checkpoint_close(m.out);
    pc_checkpoint_close(m.adapter);
    pc_checkpoint_close(m.packed);
    pc_compressed_release(&m.compressed);
    pc_checkpoint_close(m.difference);
    pc_source_close(&m.tuned);
    pc_source_close(&m.raw);
    pc_job_end(&m.job);
    return rc;
}
