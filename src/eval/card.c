// SPDX-License-Identifier: Apache-2.0
#include "eval/card.h"

#include "eval/flags.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const struct pc_card_setting pc_card_settings[PC_CARD_SETTINGS] = {
    {"mmlu_0shot", "MMLU", "0-shot", 41.5, 14042, false},
    {"mmlu_5shot", "MMLU", "5-shot", 40.3, 14042, false},
    {"gsm_direct", "GSM", "Direct", 7.0, 200, false},
    {"gsm_cot", "GSM", "CoT", 10.0, 200, false},
    {"bbh_direct", "BBH", "Direct", 32.6, 1080, true},
    {"bbh_cot", "BBH", "CoT", 31.8, 1080, true},
    {"tydiqa_goldp", "TydiQA", "Gold-P", 31.2, 900, true},
    {"tydiqa_no_context", "TydiQA", "Closed", 7.2, 900, true},
    {"codex_eval_temp_0.1", "Codex-Eval", "P@1", 13.2, 164, false},
    {"codex_eval_temp_0.8", "Codex-Eval", "P@10", 22.0, 164, false},
    {"alpaca_farm", "AlpacaFarm", "D-003", 21.1, 805, false},
};

double pc_card_error(const struct pc_card_setting *s)
{
    return sqrt(s->score * (100 - s->score) / s->n);
}

/* ---- ours ---- */

/* A benchmark whose number depends on more than the model says so itself. */
static const char *own_difference(const json_t *results)
{
    return json_string_value(json_object_get(json_object_get(results, "metrics"), "not_comparable"));
}

static bool has_fix_for(const json_t *fixes, const struct pc_task *task)
{
    for (size_t i = 0; i < json_array_size(fixes); i++) {
        const char *name = json_string_value(json_array_get(fixes, i));
        if (name && pc_task_flag_concerns(name, task))
            return true;
    }
    return false;
}

/* Flags that take this task's questions away or change them. The seed does not: the card's is not known. */
static const char *flags_difference(const json_t *results, const struct pc_task *task)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(results, "flags"), key, v)
    {
        if (strcmp(key, "limit") == 0)
            return "only the first --limit questions";
        if (strcmp(key, "fix") == 0 && has_fix_for(v, task))
            return "with --fix";
        // Which k are wanted changes no answer.
        if (strcmp(key, "eval_pass_at_ks") != 0 && pc_task_flag_concerns(key, task))
            return "other settings than the card's";
    }
    const char *bos = json_string_value(json_object_get(results, "bos"));
    return bos && strcmp(bos, "auto") != 0 ? "with --bos" : NULL;
}

/* AlpacaFarm's answers have no score before somebody judges them; who does may come in any order. */
static bool is_judge(const struct pc_task *task)
{
    static const char judged[] = "alpaca_judge";
    return strncmp(task->name, judged, sizeof judged - 1) == 0;
}

static bool is_of(
    const struct pc_card_setting *s, const struct pc_card_cell *c, const struct pc_eval_result *r)
{
    bool own = strcmp(s->task, r->task->name) == 0;
    bool judges = strcmp(s->task, "alpaca_farm") == 0 && is_judge(r->task);
    return judges || (own && !((c->measured || c->judged) && isnan(r->score)));
}

void pc_card_add(struct pc_card *card, const struct pc_eval_result *r)
{
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        if (!is_of(&pc_card_settings[i], &card->v[i], r))
            continue;
        struct pc_card_cell *c = &card->v[i];
        *c = (struct pc_card_cell){.measured = !isnan(r->score),
            .score = r->score,
            .se = r->se,
            .judged = is_judge(r->task),
            .n_items = r->n_items,
            .n_failed = r->n_failed,
            .differs = own_difference(r->results)};
        if (!c->differs)
            c->differs = flags_difference(r->results, r->task);
        if (!c->differs && r->n_failed)
            c->differs = "some items failed";
        if (!c->differs && r->n_items != (size_t)pc_card_settings[i].n)
            c->differs = "not as many questions as the card's";
    }
}

/* ---- the average ---- */

double pc_card_average(const double scores[PC_CARD_SETTINGS])
{
    double sum = 0;
    int n_benchmarks = 0;
    for (int i = 0, end; i < PC_CARD_SETTINGS; i = end) {
        double own = 0;
        for (end = i; end < PC_CARD_SETTINGS &&
                      strcmp(pc_card_settings[end].benchmark, pc_card_settings[i].benchmark) == 0;
             end++)
            own += scores[end];
        sum += own / (end - i);
        n_benchmarks++;
    }
    return sum / n_benchmarks;
}

double pc_card_own_average(void)
{
    double scores[PC_CARD_SETTINGS];
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        scores[i] = pc_card_settings[i].score;
    return pc_card_average(scores);
}

/* A thousandth of the last place and less is the noise of binary fractions: 23.25 may come as 23.2499999. */
char *pc_card_round(double x, char out[16])
{
    if (isfinite(x))
        snprintf(out, 16, "%.1f", floor(x * 10 + 0.5 + 1e-6) / 10);
    else
        snprintf(out, 16, "-");
    return out;
}

/* ---- card.json ---- */

static json_t *column(const struct pc_card_setting *s, const struct pc_card_cell *c)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:f, s:f}", "task", s->task, "benchmark", s->benchmark, "setting",
        s->setting, "card_score", s->score, "card_standard_error_at_most", pc_card_error(s));
    if (!o)
        return NULL;
    json_object_set_new(o, "score", pc_json_number(c->measured ? c->score : (double)NAN));
    json_object_set_new(o, "standard_error", pc_json_number(c->measured ? c->se : (double)NAN));
    json_object_set_new(o, "n_items", json_integer((json_int_t)c->n_items));
    json_object_set_new(o, "n_failed", json_integer((json_int_t)c->n_failed));
    json_object_set_new(o, "comparable", json_boolean(c->measured && !c->differs));
    json_object_set_new(o, "differs", c->differs ? json_string(c->differs) : json_null());
    return o;
}

json_t *pc_card_json(const struct pc_card *card)
{
    double ours[PC_CARD_SETTINGS];
    json_t *columns = json_array(), *missing = json_array();
    int bad = 0;
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        const struct pc_card_cell *c = &card->v[i];
        ours[i] = c->measured ? c->score : (double)NAN;
        bad |= json_array_append_new(columns, column(&pc_card_settings[i], c));
        if (!c->measured)
            bad |= json_array_append_new(missing, json_string(pc_card_settings[i].task));
    }
    json_t *o = json_pack("{s:o, s:o, s:o, s:o}", "columns", columns, "average",
        pc_json_number(pc_card_average(ours)), "card_average", pc_json_number(pc_card_own_average()),
        "missing", missing);
    if (bad) {
        json_decref(o);
        return NULL;
    }
    return o;
}
