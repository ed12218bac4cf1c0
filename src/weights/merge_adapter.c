// SPDX-License-Identifier: Apache-2.0
/* The sum is algebra/lowrank.h, what belongs to what weights/adapter.h, the writing weights/write.h. Here is
 * what lies between: which base, which tokenizer, and what to do about a tokenizer that knows more tokens
 * than the embedding. */
#include "algebra/grow.h"
#include "algebra/order.h"
#include "base/file.h"
#include "base/journal.h"
#include "base/memory.h"
#include "weights/adapter.h"
#include "weights/diagnose.h"
#include "weights/gguf_files.h"
#include "weights/gguf_out.h"
#include "weights/job.h"
#include "weights/narrow.h"
#include "weights/pair.h"

#include <stdio.h>
#include <string.h>

struct merge {
    const struct paco_merge_options *opt;
    struct pc_job job;
    struct pc_adapter *adapter;
    struct pc_source base;
    struct pc_adapter_report report;
    struct pc_checkpoint *sum, *grown, *ordered, *narrow;
    const struct pc_checkpoint *out; /* what is written */
    struct pc_gguf_out gguf;
    uint64_t n_added; /* rows of the embedding */
    struct pc_gguf_files made;
    struct pc_buf chat_template; /* the adapter's own */
    struct paco_file *given;     /* opt->files, and the template */
    size_t n_given;
    struct pc_write_file *files;
    size_t n_files;
};

/* The base that was named, or the one the adapter names. */
static int open_base(struct merge *m, struct paco_error *err)
{
    const char *named = m->opt->base && *m->opt->base ? m->opt->base : NULL;
    const char *name = named ? named : m->adapter->config.base;
    if (!name || !*name)
        return pc_error_set(
            err, PACO_EINVAL, "no base was named, and the adapter names none: give it with -m");
    int rc = pc_source_open(name, &m->base, err);
    if (rc < 0 && !named)
        pc_error_prefix(err, "the base that the adapter names (give another place with -m)");
    else if (rc < 0)
        pc_error_prefix(err, "the base");
    else if (!named)
        pc_note(&m->job.notes, "base: %s, as the adapter's configuration says", name);
    return rc;
}

static int check_base(struct merge *m, struct paco_error *err)
{
    struct pc_diagnosis d;
    int rc = pc_diagnose_kind(m->base.ck, &d, err);
    if (rc == 0 && d.kind == PC_KIND_DIFF) {
        rc = pc_error_set(err, PACO_EMISMATCH,
            "the base looks like a weight diff, not a model: %s; recover it first", d.evidence);
        pc_error_path(err, m->base.path);
    }
    return rc;
}

static int apply(struct merge *m, struct paco_error *err)
{
    int rc = pc_adapter_apply(m->adapter, m->base.ck, &m->sum, &m->report, err);
    if (rc < 0)
        return rc;
    if (m->report.ignored_layout)
        pc_note(&m->job.notes, "fan_in_fan_out is set, but these layers are stored (out, in): it is ignored "
                               "for them, as PEFT does");
    if (!m->report.vocab || m->opt->n_tokens <= m->report.vocab)
        return 0;
    m->n_added = m->opt->n_tokens - m->report.vocab;
    if (m->opt->pad_row == PACO_PAD_ROW_DEFAULT)
        return pc_error_set(err, PACO_EMISMATCH,
            "the adapter's tokenizer has %llu tokens, the embedding %llu rows. The published script would "
            "add random rows, other "
            "ones in each run; choose with the option pad-row: mean or zero",
            (unsigned long long)m->opt->n_tokens, (unsigned long long)m->report.vocab);
    pc_note(&m->job.notes, "%llu row%s added for the tokenizer's tokens: %s", (unsigned long long)m->n_added,
        m->n_added == 1 ? "" : "s", m->opt->pad_row == PACO_PAD_ROW_ZERO ? "zero" : "the mean of the others");
    return pc_checkpoint_grow(m->sum, m->opt->n_tokens,
        m->opt->pad_row == PACO_PAD_ROW_ZERO ? PC_GROW_ZERO : PC_GROW_MEAN, &m->grown, err);
}

static bool has_tokenizer(const char *dir)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) {
        char *path = pc_path_join(dir, names[i]);
        found = path && pc_path_exists(path);
        pc_free(path);
    }
    return found;
}

/* An adapter without a tokenizer may still teach a format of its own: chat_template.jinja, which wins over
 * what the base's tokenizer_config.json says. */
static int take_template(struct merge *m, struct paco_error *err)
{
    enum { MAX_TEMPLATE = 1 << 20 };
    pc_buf_init(&m->chat_template, MAX_TEMPLATE);
    m->given = pc_alloc(m->opt->n_files + 1, sizeof *m->given);
    char *path = pc_path_join(m->adapter->dir, "chat_template.jinja");
    int rc = m->given && path ? 0 : pc_error_mem(err, strlen(m->adapter->dir), "the adapter's files");
    for (; rc == 0 && m->n_given < m->opt->n_files; m->n_given++)
        m->given[m->n_given] = m->opt->files[m->n_given];
    if (rc == 0 && !has_tokenizer(m->adapter->dir) && pc_path_exists(path)) {
        rc = pc_file_slurp(path, MAX_TEMPLATE, &m->chat_template, err);
        if (rc == 0) {
            m->given[m->n_given++] =
                (struct paco_file){"chat_template.jinja", m->chat_template.data, m->chat_template.len};
            pc_note(&m->job.notes, "chat template: the adapter's");
        }
    }
    pc_free(path);
    return rc;
}

static int write_out(struct merge *m, struct paco_job_result *result, struct paco_error *err)
{
    static const char *const pad_names[] = {"none", "mean", "zero", "diff"};
    const struct pc_write_input inputs[] = {
        pc_pair_input("base", &m->base), {"adapter", m->adapter->dir, m->adapter->ck}};
    struct pc_write_options o = pc_job_write_options(&m->job);
    json_t *settings = json_pack("{s:s,s:s}", "dtype", pc_dtype_choice_name(m->opt->job.dtype), "pad_row",
        m->n_added ? pad_names[m->opt->pad_row] : "none");
    o.job = "merge";
    o.one_in_hand = true; // widened factors
    o.phase = "merging";
    o.inputs = inputs;
    o.n_inputs = sizeof inputs / sizeof *inputs;
    o.gguf = &m->gguf.head;
    bool folder = o.container != PC_GGUF;
    o.files_from = folder && !m->base.gguf ? m->base.dir : NULL;
    o.tokenizer_from = folder && has_tokenizer(m->adapter->dir) ? m->adapter->dir : NULL;
    o.files = m->files;
    o.n_files = m->n_files;
    // Rows that were added change vocab_size, repairs or not.
    o.no_repair = o.no_repair && m->n_added == 0;
    o.settings = settings;
    struct pc_write_result written = {0};
    int rc = settings ? pc_write_checkpoint(m->out, &o, &written, err) : pc_error_mem(err, 256, "the job");
    if (rc == 0) {
        pc_job_note_narrowing(&m->job, m->out, &written);
        pc_job_result(&m->job, &written, result);
    }
    json_decref(settings);
    return rc;
}

static int to_gguf(struct merge *m, struct paco_error *err)
{
    char name[256];
    const struct pc_gguf_request q = {.ck = m->ordered,
        .keep = m->base.ck,
        .like = &m->base,
        .tied = pc_pair_tied(&m->base),
        .name = pc_source_name(&m->base, name, sizeof name),
        .o = &m->opt->job,
        .pool = m->job.pool,
        .progress = &m->job.progress,
        .notes = &m->job.notes};
    int rc = pc_gguf_out_make(&q, &m->gguf, err);
    m->out = m->gguf.ck;
    return rc;
}

static int run(struct merge *m, struct paco_job_result *result, struct paco_error *err)
{
    int rc = pc_adapter_open(m->opt->adapter, &m->adapter, err);
    if (rc == 0)
        rc = open_base(m, err);
    if (rc == 0)
        rc = pc_job_check_out(&m->job, err);
    if (rc == 0)
        rc = check_base(m, err);
    if (rc == 0)
        rc = apply(m, err);
    if (rc == 0)
        rc = pc_checkpoint_in_order(m->grown ? m->grown : m->sum, &m->ordered, err);
    if (rc < 0)
        return rc;
    if (m->opt->job.container == PACO_CONTAINER_GGUF) {
        rc = to_gguf(m, err);
        return rc < 0 ? rc : write_out(m, result, err);
    }
    rc = pc_narrow(m->ordered, m->opt->job.dtype, m->base.ck, m->job.pool, &m->job.progress, &m->narrow, err);
    m->out = m->narrow;
    if (rc == 0 && pc_source_makes_files(&m->base))
        rc = pc_gguf_files_make(&m->base, m->out, "merge", &m->made, err);
    if (rc == 0)
        rc = take_template(m, err);
    if (rc == 0)
        rc = pc_job_files(&m->made, m->given, m->n_given, &m->files, &m->n_files, err);
    return rc < 0 ? rc : write_out(m, result, err);
}

struct paco_merge_options paco_merge_options_default(void)
{
    return (struct paco_merge_options){.adapter = NULL};
}

int paco_merge(
    const struct paco_merge_options *options, struct paco_job_result *result, struct paco_error *err)
{
    struct merge m = {.opt = options};
    *result = (struct paco_job_result){0};
    int rc = pc_job_begin(&m.job, &options->job, err);
    if (rc == 0 && (!options->adapter || !*options->adapter))
        rc = pc_error_set(err, PACO_EINVAL, "no adapter was named");
    if (rc == 0)
        rc = run(&m, result, err);
    if (rc < 0)
        paco_job_result_release(result);
    pc_gguf_out_release(&m.gguf);
    pc_checkpoint_close(m.narrow);
    pc_checkpoint_close(m.ordered);
    pc_checkpoint_close(m.grown);
    pc_checkpoint_close(m.sum);
    pc_gguf_files_release(&m.made);
    pc_buf_release(&m.chat_template);
    pc_free(m.given);
    pc_free(m.files);
    pc_adapter_close(m.adapter);
    pc_source_close(&m.base);
    pc_job_end(&m.job);
    return rc;
}
