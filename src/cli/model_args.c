// SPDX-License-Identifier: Apache-2.0
#include "cli/model_args.h"

#include "weights/diagnose.h"
#include "weights/pair.h"
#include "weights/retype.h"

static int open_sum(struct pc_model *m, const struct pc_model_args *args, struct paco_error *err)
{
    int rc = pc_pair_open(args->model, "base", args->diff, "diff", &m->source, &m->diff, err);
    return rc < 0 ? rc : pc_pair_sum(&m->source, &m->diff, &m->sum, err);
}

/* A diff has every tensor a model has, and would answer with noise. */
static int refuse_diff(const struct pc_model *m, struct paco_error *err)
{
    struct pc_diagnosis d;
    int rc = pc_diagnose_kind(m->weights, &d, err);
    if (rc < 0 || d.kind != PC_KIND_DIFF)
        return rc;
    pc_error_set(err, PACO_EMISMATCH,
        "is a weight diff, not a model: %s (recover it first, or give its base with -m and this with --diff)",
        d.evidence);
    pc_error_path(err, m->source.path);
    return PACO_EMISMATCH;
}

static int fold_adapter(struct pc_model *m, const char *dir, struct paco_error *err)
{
    struct pc_adapter_report report = {0};
    int rc = pc_adapter_open(dir, &m->adapter, err);
    if (rc == 0)
        rc = pc_adapter_apply(m->adapter, m->weights, &m->adapted, &report, err);
    if (rc < 0)
        return rc;
    m->weights = m->adapted;
    m->adapted_config = *m->config;
    m->adapted_config.vocab_size = (int32_t)report.vocab;
    m->config = &m->adapted_config;
    return 0;
}

int pc_model_open(const struct pc_model_args *args, struct pc_model *m, struct paco_error *err)
{
    int rc = args->diff ? open_sum(m, args, err) : pc_source_open(args->model, &m->source, err);
    if (rc < 0)
        return rc;
    m->lead = args->diff ? &m->diff : &m->source;
    m->weights = args->diff ? m->sum : m->source.ck;
    m->config = &m->lead->config;
    if (!m->lead->has_config) {
        pc_error_set(err, PACO_ENOENT, "there is no config.json, which says how the weights are used");
        pc_error_path(err, m->lead->dir);
        return PACO_ENOENT;
    }
    rc = args->diff ? 0 : refuse_diff(m, err);
    if (rc == 0 && args->adapter)
        rc = fold_adapter(m, args->adapter, err);
    if (rc == 0 && args->type) {
        rc = pc_retype(m->weights, m->config, pc_job_dtype(args->type), &m->notes, &m->typed, err);
        m->weights = m->typed;
    }
    return rc;
}

void pc_model_say(const struct pc_command *self, const struct pc_model *m)
{
    for (size_t i = 0; i < m->notes.n; i++)
        pc_command_note(self, "%s", m->notes.v[i]);
}

void pc_model_remark_context(const struct pc_command *self, const struct pc_model *m, int32_t n_tokens)
{
    int32_t own = m->config->max_positions;
    if (own > 0 && n_tokens > own)
        pc_command_note(
            self, "-c %d is more than the %d positions this model was trained for", n_tokens, own);
}

void pc_model_close(struct pc_model *m)
{
    pc_notes_release(&m->notes);
    pc_checkpoint_close(m->typed);
    pc_checkpoint_close(m->adapted);
    pc_adapter_close(m->adapter);
    pc_checkpoint_close(m->sum);
    pc_source_close(&m->diff);
    pc_source_close(&m->source);
    *m = (struct pc_model){.sum = NULL};
}

struct pc_engine_options pc_model_engine_options(const struct pc_model_args *args)
{
    struct pc_engine_options o = {.n_threads = (int)args->threads,
        .f32 = args->dtype != NULL,
        .llm_int8 = args->load_in_8bit,
        .has_kv_type = args->kv_type != NULL};
    if (args->kv_type)
        pc_dtype_parse(args->kv_type, &o.kv_type);
    return o;
}
