// SPDX-License-Identifier: Apache-2.0
#include "eval/win_rate.h"

#include "eval/alpaca_data.h"

#include <math.h>
#include <string.h>

double pc_preference_value(double preference)
{
    return preference == 0 ? 0.5 : preference - 1;
}

bool pc_win_rate_add(struct pc_win_rate *r, double preference)
{
    if (isnan(preference)) {
        r->n_missing++;
        return true;
    }
    if (preference != 0 && !(preference >= 1 && preference <= 2))
        return false;
    double value = pc_preference_value(preference);
    r->n_wins += value > 0.5;
    r->n_wins_base += value < 0.5;
    r->n_draws += value == 0.5;
    r->n_total++;
    r->sum += value;
    r->sum_of_squares += value * value;
    return true;
}

void pc_win_rate_settle(struct pc_win_rate *r)
{
    double n = (double)r->n_total;
    r->win_rate = r->n_total ? r->sum / n * 100 : NAN;
    double squares = r->sum_of_squares - r->sum * r->sum / n;
    r->standard_error = r->n_total > 1 ? 100 * sqrt(fmax(squares, 0) / (n - 1)) / sqrt(n) : NAN;
}

static int put(json_t *o, const char *name, json_t *v, struct paco_error *err)
{
    return json_object_set_new(o, name, v) < 0 ? pc_error_mem(err, 0, "metrics") : 0;
}

static json_t *real(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

int pc_win_rate_put(const struct pc_win_rate *r, json_t *metrics, struct paco_error *err)
{
    const struct {
        const char *name;
        size_t n;
    } counts[] = {{"n_wins", r->n_wins}, {"n_wins_base", r->n_wins_base}, {"n_draws", r->n_draws},
        {"n_total", r->n_total}, {"n_missing", r->n_missing}};
    int rc = put(metrics, "win_rate", real(r->win_rate), err);
    if (rc == 0)
        rc = put(metrics, "standard_error", real(r->standard_error), err);
    for (size_t i = 0; i < sizeof counts / sizeof *counts && rc == 0; i++)
        rc = put(metrics, counts[i].name, json_integer((json_int_t)counts[i].n), err);
    return rc;
}

int pc_preference_read(const json_t *row, double *preference, struct paco_error *err)
{
    const json_t *v = json_object_get(row, "preference");
    *preference = NAN;
    if (!v || json_is_null(v))
        return 0;
    double x = json_number_value(v);
    if (!json_is_number(v) || (x != 0 && !(x >= 1 && x <= 2)))
        return pc_error_set(err, PACO_EFORMAT,
            "'preference' must be 0, a number from 1 to 2, or null (1: output_1 is better, 2: output_2)");
    *preference = x;
    return 0;
}

/* Preferences mean the opposite where the two changed places. */
static int check_sides(const json_t *row, struct paco_error *err)
{
    const char *first = json_string_value(json_object_get(row, "generator_1"));
    const char *second = json_string_value(json_object_get(row, "generator_2"));
    static const char baseline[] = "text_davinci_003";
    if (first && second && strcmp(second, baseline) == 0 && strcmp(first, baseline) != 0)
        return pc_error_set(err, PACO_EMISMATCH,
            "output_2 is %s's, the baseline's, and should be the model's: these preferences mean the "
            "opposite",
            baseline);
    return 0;
}

int pc_win_rate_of_file(
    const struct pc_task_env *env, const char *path, struct pc_win_rate *out, struct paco_error *err)
{
    json_t *root = NULL;
    struct paco_error own = {0};
    int rc = pc_eval_json(env, path, &root, err);
    *out = (struct pc_win_rate){0};
    if (rc == 0 && (!json_is_array(root) || json_array_size(root) == 0))
        rc = pc_error_file(err, PACO_EFORMAT, path, 0, "must be a list of annotations, and is %s",
            json_is_array(root) ? "an empty one" : pc_json_kind(root));
    for (size_t i = 0; rc == 0 && i < json_array_size(root); i++) {
        double preference = NAN;
        const json_t *row = json_array_get(root, i);
        int bad = json_is_object(row)
                      ? pc_preference_read(row, &preference, &own)
                      : pc_error_set(&own, PACO_EFORMAT, "is %s, not an object", pc_json_kind(row));
        bad = bad < 0 ? bad : check_sides(row, &own);
        if (bad < 0) {
            pc_error_set(err, bad, "annotation %zu (from 0): %s", i, own.message);
            pc_error_path(err, path);
            rc = bad;
        }
        pc_win_rate_add(out, preference);
    }
    json_decref(root);
    pc_win_rate_settle(out);
    return rc;
}

/* The recorded preference for this very answer, or NAN. */
static double recorded(const struct pc_alpaca_list *annotations, const struct pc_alpaca_row *answer)
{
    double preference = (double)NAN;
    const struct pc_alpaca_row *row = pc_alpaca_find(annotations, answer);
    if (row && row->output.len == answer->output.len &&
        memcmp(row->output.v, answer->output.v, row->output.len) == 0)
        pc_preference_read(row->json, &preference, NULL);
    return preference;
}

int pc_win_rate_of_answers(const struct pc_task_env *env, const char *path, const char *outputs_path,
    struct pc_win_rate *out, struct paco_error *err)
{
    struct pc_alpaca_list annotations = {0}, answers = {0};
    struct pc_win_rate all;
    int rc = pc_win_rate_of_file(env, path, &all, err); // every row must make sense
    if (rc == 0)
        rc = pc_alpaca_read(env, path, "output_2", &annotations, err);
    if (rc == 0)
        rc = pc_alpaca_read(env, outputs_path, "output", &answers, err);
    *out = (struct pc_win_rate){0};
    for (size_t i = 0; i < answers.n && rc == 0; i++)
        pc_win_rate_add(out, recorded(&annotations, &answers.v[i]));
    pc_win_rate_settle(out);
    if (rc == 0 && out->n_total == 0) {
        rc = pc_error_set(err, PACO_EMISMATCH, "has a preference for none of the %zu answers in %s",
            answers.n, outputs_path);
        pc_error_path(err, path);
    }
    pc_alpaca_release(&annotations);
    pc_alpaca_release(&answers);
    return rc;
}
