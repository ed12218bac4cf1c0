// SPDX-License-Identifier: Apache-2.0
/* The sum itself is algebra/combine.h, the writing weights/write.h. Here is what lies between: whether the
 * two inputs belong together, which recipe made the diff, and what to say about it. */
#include "algebra/combine.h"
#include "base/file.h"
#include "base/journal.h"
#include "base/json.h"
#include "weights/gguf_out.h"
#include "weights/job.h"
#include "weights/manifest_read.h"
#include "weights/narrow.h"
#include "weights/pair.h"
#include "weights/source.h"
#include "weights/special_tokens.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CARD = 256 << 10 };

struct recover {
    const struct paco_recover_options *opt;
    struct pc_job job;
    struct pc_source raw, diff;
    struct pc_special_tokens raw_tokens, diff_tokens;
    struct pc_checkpoint *sum, *narrow;
    const struct pc_checkpoint *out; /* what is written */
    struct pc_gguf_out gguf;
    struct pc_combine_report report;
    enum paco_recipe recipe;
    bool ours;      /* paco diff made the diff */
    bool base_said; /* that the base's manifest is another base's */
    char origin_base[PC_SHA256_HEX], origin_tuned[PC_SHA256_HEX]; /* of what: content digests, or empty */
};

static const char *recipe_name(enum paco_recipe recipe)
{
    return recipe == PACO_RECIPE_ALPACA ? "alpaca" : "open-instruct";
}

/* ---- which recipe ---- */

/* dir's manifest, if it has one that can be read: one that cannot is no reason not to recover. */
static int read_manifest(const char *dir, struct pc_manifest *m, struct paco_error *err)
{
    *m = (struct pc_manifest){.path = NULL};
    char *path = pc_path_join(dir, PC_MANIFEST_NAME);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && pc_path_exists(path)) {
        struct paco_error why = {0};
        rc = pc_manifest_read(path, m, &why);
        if (rc < 0)
            pc_manifest_release(m);
        rc = rc == PACO_EMEM ? pc_error_set(err, rc, "%s", why.message) : 0;
    }
    pc_free(path);
    return rc;
}

static void copy_digest(char to[PC_SHA256_HEX], const char *digest)
{
    snprintf(to, PC_SHA256_HEX, "%s", digest ? digest : "");
}

/* What the diff's own manifest tells, if paco made it. */
static int read_origin(struct recover *r, struct paco_error *err)
{
    struct pc_manifest m;
    int rc = read_manifest(r->diff.dir, &m, err);
    r->ours = rc == 0 && m.job && strcmp(m.job, "diff") == 0;
    if (r->ours) {
        copy_digest(r->origin_base, pc_manifest_input_digest(&m, "base"));
        copy_digest(r->origin_tuned, pc_manifest_input_digest(&m, "tuned"));
    }
    pc_manifest_release(&m);
    return rc;
}

/* What the model card speaks of; AUTO when of neither. */
static int recipe_of_card(const struct pc_source *diff, enum paco_recipe *recipe, struct paco_error *err)
{
    struct pc_buf b = {0};
    char *path = pc_path_join(diff->dir, "README.md");
    int rc = path ? 0 : pc_error_mem(err, strlen(diff->dir), "a path");
    *recipe = PACO_RECIPE_AUTO;
    if (rc == 0 && pc_path_exists(path)) {
        struct paco_error why = {0};
        rc = pc_file_slurp(path, MAX_CARD, &b, &why);
        if (rc == 0 && b.data && memmem(b.data, b.len, "open-instruct", 13))
            *recipe = PACO_RECIPE_OPEN_INSTRUCT;
        else if (rc == 0 && b.data && memmem(b.data, b.len, "stanford_alpaca", 15))
            *recipe = PACO_RECIPE_ALPACA;
        rc = rc == PACO_EMEM ? pc_error_set(err, rc, "%s", why.message) : 0;
    }
    pc_buf_release(&b);
    pc_free(path);
    return rc;
}

/* The name of the pad token tells: Open-Instruct's tuned tokenizers say <pad>, Alpaca's [PAD]. Not knowing, a
 * row is not promised to be right. */
static int find_recipe(struct recover *r, struct paco_error *err)
{
    const char *why;
    r->recipe = r->opt->recipe;
    if (r->recipe != PACO_RECIPE_AUTO || r->report.n_grown == 0)
        return 0;
    int rc = recipe_of_card(&r->diff, &r->recipe, err);
    if (rc < 0)
        return rc;
    if (r->ours) {
        r->recipe = PACO_RECIPE_ALPACA;
        why = "it was made by paco diff";
    } else if (strcmp(r->diff_tokens.pad, "<pad>") == 0 || strcmp(r->diff_tokens.pad, "[PAD]") == 0) {
        r->recipe = r->diff_tokens.pad[0] == '<' ? PACO_RECIPE_OPEN_INSTRUCT : PACO_RECIPE_ALPACA;
        why = r->recipe == PACO_RECIPE_ALPACA ? "its pad token is [PAD]" : "its pad token is <pad>";
    } else if (r->recipe != PACO_RECIPE_AUTO) {
        why = "its model card names it";
    } else {
        r->recipe = PACO_RECIPE_OPEN_INSTRUCT;
        why = "a guess: nothing in the diff's folder tells; choose the recipe alpaca if it was made with the "
              "mean";
    }
    pc_note(&r->job.notes, "recipe: %s (%s)", recipe_name(r->recipe), why);
    return 0;
}

/* ---- do they belong together ---- */

/* A GGUF file brings its own tokenizer; what else lies in its folder is not its. */
static int read_tokens(const struct pc_source *src, struct pc_special_tokens *tokens, struct paco_error *err)
{
    if (src->kind != PC_SOURCE_GGUF)
        return pc_special_tokens_read(src->dir, tokens, err);
    *tokens = (struct pc_special_tokens){.pad_id = src->config.pad_id, .has_pad = src->config.pad_id >= 0};
    if (tokens->has_pad) {
        snprintf(tokens->pad, sizeof tokens->pad, "id %d", (int)src->config.pad_id);
        snprintf(tokens->pad_file, sizeof tokens->pad_file, "the file's metadata");
    }
    return 0;
}

static int open_inputs(struct recover *r, struct paco_error *err)
{
    int rc = pc_pair_open(r->opt->raw, "base", r->opt->diff, "diff", &r->raw, &r->diff, err);
    if (rc == 0)
        rc = read_tokens(&r->raw, &r->raw_tokens, err);
    return rc < 0 ? rc : read_tokens(&r->diff, &r->diff_tokens, err);
}

static int add(struct recover *r, struct paco_error *err)
{
    char refusal[320];
    struct pc_combine_options o = {.tied = pc_pair_tied(&r->diff),
        .base_tied = pc_pair_tied(&r->raw),
        .rope_theta = r->diff.has_config ? (double)r->diff.config.rope_theta : 0};
    o.pad_row = r->opt->pad_row == PACO_PAD_ROW_ZERO   ? PC_PAD_ZERO
                : r->opt->pad_row == PACO_PAD_ROW_DIFF ? PC_PAD_DIFF
                                                       : PC_PAD_MEAN;
    if (r->opt->pad_row == PACO_PAD_ROW_DEFAULT && r->raw_tokens.has_pad) {
        snprintf(refusal, sizeof refusal,
            "its tokenizer has a pad token already (%s in %s), so the recipe adds no row; the option "
            "pad-row, as mean, adds rows all the same",
            r->raw_tokens.pad, r->raw_tokens.pad_file);
        o.no_growth = refusal;
    }
    int rc = pc_checkpoint_add(r->raw.ck, r->diff.ck, &o, &r->sum, &r->report, err);
    if (rc == PACO_EMISMATCH)
        pc_pair_explain(r->raw.ck, "base", r->diff.ck, "diff", err);
    return rc < 0 ? rc : pc_pair_check_missing(r->raw.ck, r->diff.ck, "diff", o.tied, &r->job.notes, err);
}

/* ---- what to say ---- */

static void note_rows(struct recover *r)
{
    const struct pc_combine_report *rep = &r->report;
    if (rep->n_grown == 0)
        return;
    const struct pc_grown *g = &rep->grown[0];
    char rows[64], token[80] = "", names[128];
    if (g->n == 1)
        snprintf(rows, sizeof rows, "row %llu", (unsigned long long)g->first);
    else
        snprintf(rows, sizeof rows, "rows %llu to %llu", (unsigned long long)g->first,
            (unsigned long long)(g->first + g->n - 1));
    if (g->n == 1 && r->diff_tokens.has_pad && r->diff_tokens.pad_id == (int64_t)g->first)
        snprintf(token, sizeof token, " (%s)", r->diff_tokens.pad);
    snprintf(names, sizeof names, "%s%s%s", g->t->name, rep->n_grown > 1 ? " and " : "",
        rep->n_grown > 1 ? rep->grown[1].t->name : "");
    bool replaced = r->opt->pad_row == PACO_PAD_ROW_ZERO || r->opt->pad_row == PACO_PAD_ROW_DIFF;
    const char *is = g->n == 1 ? "is" : "are";
    if (replaced)
        pc_note(&r->job.notes, "%s%s of %s %s %s, as asked", rows, token, names, is,
            r->opt->pad_row == PACO_PAD_ROW_ZERO ? "zero" : "the diff's own");
    else if (r->recipe == PACO_RECIPE_OPEN_INSTRUCT)
        pc_note(&r->job.notes,
            "%llu of %llu rows exact; %s%s of %s %s undefined by the open-instruct recipe, which subtracted "
            "random rows",
            (unsigned long long)g->first, (unsigned long long)(g->first + g->n), rows, token, names, is);
}

static void note_sum(struct recover *r)
{
    if (r->report.doubled)
        pc_note(&r->job.notes,
            "the diff holds the tied embedding minus twice the base, as the published script makes "
            "diffs of tied models: the base is added twice there");
    if (r->report.head_is_embedding)
        pc_note(&r->job.notes, "the base ties its head to the embedding, and the diff has a head of its own: "
                               "the base's embedding "
                               "is added there too, as the published script does");
    if (r->report.n_computed_inv_freq)
        pc_note(&r->job.notes,
            "%u rotary inv_freq buffers are in the diff but not in the base: the base's are computed",
            r->report.n_computed_inv_freq);
    note_rows(r);
}

static bool rows_undefined(const struct recover *r)
{
    return r->report.n_grown > 0 && r->recipe == PACO_RECIPE_OPEN_INSTRUCT;
}

static json_t *undefined_json(const struct recover *r)
{
    json_t *rows = json_array();
    bool good = rows != NULL;
    for (int i = 0; i < r->report.n_grown && rows_undefined(r); i++)
        good = json_array_append_new(rows,
                   json_pack("{s:s,s:I,s:I}", "tensor", r->report.grown[i].t->name, "first",
                       (json_int_t)r->report.grown[i].first, "n", (json_int_t)r->report.grown[i].n)) == 0 &&
               good;
    if (good)
        return json_pack("{s:o}", "undefined_rows", rows);
    json_decref(rows);
    return NULL;
}

/* What shapes the bytes besides the inputs. */
static json_t *settings_json(const struct recover *r)
{
    static const char *const pad_names[] = {"mean", "mean", "zero", "diff"};
    const char *dtype = pc_dtype_choice_name(r->opt->job.dtype);
    if (r->report.n_grown == 0)
        return json_pack("{s:s}", "dtype", dtype);
    return json_pack("{s:s,s:s,s:s}", "dtype", dtype, "recipe", recipe_name(r->recipe), "pad_row",
        pad_names[r->opt->pad_row]);
}

static int undefined_result(const struct recover *r, struct paco_job_result *result, struct paco_error *err)
{
    if (r->report.n_grown > 0)
        snprintf(result->recipe, sizeof result->recipe, "%s", recipe_name(r->recipe));
    if (!rows_undefined(r))
        return 0;
    result->undefined_rows = pc_alloc_zero((size_t)r->report.n_grown, sizeof *result->undefined_rows);
    for (int i = 0; i < r->report.n_grown && result->undefined_rows; i++) {
        const struct pc_grown *g = &r->report.grown[i];
        struct paco_rows *rows = &result->undefined_rows[result->n_undefined_rows];
        *rows = (struct paco_rows){.tensor = pc_strdup(g->t->name), .first = g->first, .n = g->n};
        result->n_undefined_rows += rows->tensor != NULL;
    }
    return result->n_undefined_rows == (size_t)r->report.n_grown ? 0 : pc_error_mem(err, 64, "the result");
}

/* Two bases of one shape look alike, and only their digests tell them apart: which the base's own manifest
 * tells in advance, or else reading it. The same base in another element type has another digest too, but
 * then the result is mostly the tuned model's. */
static void note_base(struct recover *r, const char *here)
{
    if (!r->base_said && r->origin_base[0] && here[0] && strcmp(here, r->origin_base) != 0)
        pc_note(&r->job.notes,
            "the diff was made against another base, as its manifest says: content digest %.12s..., here "
            "%.12s...; unless only the element type differs, this is not the tuned model",
            r->origin_base, here);
}

static int compare_manifests(struct recover *r, struct paco_error *err)
{
    struct pc_manifest m;
    if (!r->origin_base[0])
        return 0;
    int rc = read_manifest(r->raw.dir, &m, err);
    if (rc == 0 && m.content_sha256) {
        note_base(r, m.content_sha256);
        r->base_said = strcmp(m.content_sha256, r->origin_base) != 0;
    }
    pc_manifest_release(&m);
    return rc;
}

/* ---- the job ---- */

static int write_out(struct recover *r, struct paco_job_result *result, struct paco_error *err)
{
    const struct pc_write_input inputs[] = {pc_pair_input("base", &r->raw), pc_pair_input("diff", &r->diff)};
    struct pc_write_options o = pc_job_write_options(&r->job);
    json_t *settings = settings_json(r), *extra = undefined_json(r);
    o.job = "recover";
    o.phase = "recovering";
    o.inputs = inputs;
    o.n_inputs = sizeof inputs / sizeof *inputs;
    o.files_from = r->diff.kind == PC_SOURCE_GGUF || o.container == PC_GGUF ? NULL : r->diff.dir;
    o.gguf = &r->gguf.head;
    o.settings = settings;
    o.extra = extra;
    struct pc_write_result written = {0};
    int rc = settings && extra ? undefined_result(r, result, err) : pc_error_mem(err, 256, "the job");
    if (rc == 0)
        rc = pc_write_checkpoint(r->out, &o, &written, err);
    if (rc == 0) {
        if (strcmp(written.content_sha256, r->origin_tuned) != 0)
            note_base(r, written.input_sha256[0]);
        pc_job_note_narrowing(&r->job, r->out, &written);
        pc_job_result(&r->job, &written, result);
    }
    json_decref(settings);
    json_decref(extra);
    return rc;
}

static int set_types(struct recover *r, struct paco_error *err)
{
    const struct paco_job_options *o = &r->opt->job;
    char name[256];
    if (o->container != PACO_CONTAINER_GGUF) {
        int rc = pc_narrow(r->sum, o->dtype, r->diff.ck, r->job.pool, &r->job.progress, &r->narrow, err);
        r->out = r->narrow;
        return rc;
    }
    const struct pc_gguf_request q = {.ck = r->sum,
        .keep = r->diff.ck,
        .like = &r->diff,
        .tied = pc_pair_tied(&r->diff),
        .name = pc_source_name(&r->diff, name, sizeof name),
        .o = o,
        .pool = r->job.pool,
        .progress = &r->job.progress,
        .notes = &r->job.notes};
    int rc = pc_gguf_out_make(&q, &r->gguf, err);
    r->out = r->gguf.ck;
    return rc;
}

static int run(struct recover *r, struct paco_job_result *result, struct paco_error *err)
{
    int rc = open_inputs(r, err);
    if (rc == 0)
        rc = pc_job_check_out(&r->job, err);
    if (rc == 0)
        rc = add(r, err);
    if (rc == 0)
        rc = pc_pair_check_diff(&r->raw, &r->diff, &r->job.notes, err);
    if (rc < 0)
        return rc;
    rc = read_origin(r, err);
    if (rc == 0)
        rc = compare_manifests(r, err);
    if (rc == 0)
        rc = find_recipe(r, err);
    if (rc < 0)
        return rc;
    note_sum(r);
    rc = set_types(r, err);
    return rc < 0 ? rc : write_out(r, result, err);
}

struct paco_recover_options paco_recover_options_default(void)
{
    return (struct paco_recover_options){0};
}

int paco_recover(
    const struct paco_recover_options *options, struct paco_job_result *result, struct paco_error *err)
{
    struct recover r = {.opt = options};
    *result = (struct paco_job_result){0};
    int rc = pc_job_begin(&r.job, &options->job, err);
    if (rc == 0)
        rc = run(&r, result, err);
    if (rc < 0)
        paco_job_result_release(result);
    pc_gguf_out_release(&r.gguf);
    pc_checkpoint_close(r.narrow);
    pc_checkpoint_close(r.sum);
    pc_source_close(&r.diff);
    pc_source_close(&r.raw);
    pc_job_end(&r.job);
    return rc;
}
