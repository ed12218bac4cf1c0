// SPDX-License-Identifier: Apache-2.0
#include "eval/alpaca_pairs.h"

#include "base/memory.h"
#include "eval/results.h"

#include <math.h>
#include <string.h>

void pc_alpaca_pairs_release(struct pc_alpaca_pairs *p)
{
    pc_alpaca_release(&p->baseline);
    pc_alpaca_release(&p->outputs);
    pc_free(p->v);
    pc_free(p->equal);
    *p = (struct pc_alpaca_pairs){0};
}

static bool is_equal(const struct pc_alpaca_row *a, const struct pc_alpaca_row *b)
{
    return a->output.len == b->output.len && memcmp(a->output.v, b->output.v, a->output.len) == 0;
}

/* The baseline against itself: one pair is shown all the same, since a run asks something; it counts as the
 * others. */
static void show_one(struct pc_alpaca_pairs *p)
{
    const struct pc_alpaca_row *base = &p->baseline.v[p->equal[0]];
    p->v[p->n++] = (struct pc_alpaca_pair){base, pc_alpaca_find(&p->outputs, base), p->equal[0]};
    memmove(p->equal, p->equal + 1, --p->n_equal * sizeof *p->equal);
}

static int join(const struct pc_task_env *env, struct pc_alpaca_pairs *p, struct paco_error *err)
{
    size_t limit = env->flags->limit > 0 ? (size_t)env->flags->limit : SIZE_MAX;
    p->v = pc_alloc_zero(p->baseline.n, sizeof *p->v);
    p->equal = pc_alloc_zero(p->baseline.n, sizeof *p->equal);
    if (!p->v || !p->equal)
        return pc_error_mem(err, p->baseline.n * sizeof *p->v, "pairs of answers");
    for (size_t i = 0; i < p->baseline.n && p->n + p->n_equal < limit; i++) {
        const struct pc_alpaca_row *base = &p->baseline.v[i], *model = pc_alpaca_find(&p->outputs, base);
        if (!model || pc_alpaca_find(&p->baseline, base) != base) // a second one with the same instruction
            continue;
        if (is_equal(base, model))
            p->equal[p->n_equal++] = i;
        else
            p->v[p->n++] = (struct pc_alpaca_pair){base, model, i};
    }
    if (p->n + p->n_equal == 0) {
        pc_error_set(err, PACO_EMISMATCH, "answers none of the %zu instructions of %s", p->baseline.n,
            p->baseline.path);
        pc_error_path(err, p->outputs.path);
        return PACO_EMISMATCH;
    }
    if (limit == SIZE_MAX && p->n + p->n_equal < p->baseline.n)
        pc_note(env->notes, "%s: %zu of %zu instructions have no answer there, and are left out",
            p->outputs.path, p->baseline.n - p->n - p->n_equal, p->baseline.n);
    if (p->n == 0)
        show_one(p);
    return 0;
}

int pc_alpaca_pairs_open(const struct pc_task_env *env, struct pc_alpaca_pairs *out, struct paco_error *err)
{
    struct pc_alpaca_pairs p = {0};
    if (!env->outputs)
        return pc_error_set(err, PACO_EINVAL, "which answers are to be judged? --outputs FILE");
    int rc = pc_alpaca_read_baseline(env, &p.baseline, err);
    if (rc == 0)
        rc = pc_alpaca_read(env, env->outputs, "output", &p.outputs, err);
    if (rc == 0)
        rc = join(env, &p, err);
    if (rc < 0) {
        pc_alpaca_pairs_release(&p);
        return rc;
    }
    *out = p;
    return 0;
}

/* ---- what a judge said ---- */

static json_t *annotation(
    const struct pc_alpaca_row *base, const struct pc_alpaca_row *model, const char *judge, double preference)
{
    json_t *o = json_pack("{s:s%, s:s%, s:s%, s:s, s:s%, s:s, s:s}", "instruction", base->instruction.v,
        base->instruction.len, "input", base->input.v, base->input.len, "output_1", base->output.v,
        base->output.len, "generator_1", base->generator ? base->generator : "text_davinci_003", "output_2",
        model->output.v, model->output.len, "generator_2", model->generator ? model->generator : "model",
        "annotator", judge);
    json_t *p = isnan(preference) ? json_null() : json_integer((json_int_t)preference);
    if (o && json_object_set_new(o, "preference", p) == 0)
        return o;
    json_decref(o);
    return NULL;
}

/* All pairs in the baseline's order, equal ones among them. */
static int write_annotations(const struct pc_alpaca_pairs *p, const double *preferences, const char *judge,
    const char *dir, struct paco_error *err)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t a = 0, b = 0; ok && (a < p->n || b < p->n_equal);) {
        bool judged = b == p->n_equal || (a < p->n && p->v[a].i < p->equal[b]);
        const struct pc_alpaca_row *base = judged ? p->v[a].base : &p->baseline.v[p->equal[b]];
        const struct pc_alpaca_row *model = judged ? p->v[a].model : pc_alpaca_find(&p->outputs, base);
        ok = json_array_append_new(list,
                 annotation(base, model, judge, judged && !is_equal(base, model) ? preferences[a] : 0)) == 0;
        *(judged ? &a : &b) += 1;
    }
    int rc = ok ? pc_results_put(dir, "annotations.json", list, PC_JSON_PRETTY_4, false, err)
                : pc_error_mem(err, 0, "annotations");
    json_decref(list);
    return rc;
}

/* Of those that were judged: what judges are known to like too much. */
static void mean_lengths(const struct pc_alpaca_pairs *p, double *base, double *model)
{
    *base = *model = 0;
    for (size_t i = 0; i < p->n; i++) {
        *base += (double)pc_alpaca_length(p->v[i].base->output) / (double)p->n;
        *model += (double)pc_alpaca_length(p->v[i].model->output) / (double)p->n;
    }
}

int pc_alpaca_pairs_finish(const struct pc_alpaca_pairs *p, const double *preferences, const char *judge,
    const char *dir, json_t *metrics, double *score, double *se, struct paco_error *err)
{
    struct pc_win_rate rate = {0};
    double base, model;
    int rc = write_annotations(p, preferences, judge, dir, err);
    for (size_t i = 0; i < p->n; i++)
        pc_win_rate_add(&rate, is_equal(p->v[i].base, p->v[i].model) ? 0 : preferences[i]);
    for (size_t i = 0; i < p->n_equal; i++)
        pc_win_rate_add(&rate, 0);
    pc_win_rate_settle(&rate);
    mean_lengths(p, &base, &model);
    if (rc == 0)
        rc = pc_win_rate_put(&rate, metrics, err);
    json_t *more = json_pack("{s:I, s:f, s:f, s:s, s:b, s:s}", "n_equal", (json_int_t)p->n_equal,
        "mean_length_baseline", base, "mean_length_model", model, "judge", judge, "comparable", 0,
        "not_comparable", "another judge than the card's GPT-4");
    if (rc == 0 && (!more || json_object_update(metrics, more) < 0))
        rc = pc_error_mem(err, 0, "metrics");
    json_decref(more);
    *score = rate.win_rate;
    *se = rate.standard_error;
    return rc;
}
