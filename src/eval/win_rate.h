// SPDX-License-Identifier: Apache-2.0
/* Preferences between two answers, and the win rate they make: AlpacaFarm's and AlpacaEval's score.
 *
 * A preference is about output_1, the baseline's, and output_2, the model's: 1 the first is better, 2 the
 * second, 0 or 1.5 a draw, anything between 1 and 2 a degree of it. win_rate is 100 times the mean of 0, 1/2
 * and 1, standard_error 100 times their sample standard deviation (n - 1) over the root of n. What was not
 * judged (null, missing) has no part in either.
 *
 * Source: AlpacaEval's metrics, checked against its leaderboard of GPT-4's preferences: alpaca-7b
 * is 26.459627. */
#ifndef PC_EVAL_WIN_RATE_H
#define PC_EVAL_WIN_RATE_H

#include "eval/task.h"

struct pc_win_rate {
    double win_rate, standard_error; /* 0 to 100; NAN without preferences, the latter also with one */
    size_t n_wins, n_wins_base, n_draws, n_total, n_missing;
    double sum, sum_of_squares; /* of 0 to 1 */
};

/** Count one preference, NAN for a missing one. False for a number that is none. */
bool pc_win_rate_add(struct pc_win_rate *r, double preference);
/** Fill win_rate and standard_error. */
void pc_win_rate_settle(struct pc_win_rate *r);
/** What a preference is worth to the model, 0 to 1. */
double pc_preference_value(double preference);

/** Add upstream's columns to metrics by their names, and n_missing. PACO_EMEM. */
int pc_win_rate_put(const struct pc_win_rate *r, json_t *metrics, struct paco_error *err);

/** The preference in a row of annotations: NAN when null or missing. PACO_EFORMAT for anything else that is
 * no preference. */
int pc_preference_read(const json_t *row, double *preference, struct paco_error *err);

/** The win rate of a whole file of annotations (AlpacaEval's annotations.json: a list of objects), every row
 * counting. PACO_EMISMATCH where the baseline is output_2. env (files, notes) may be NULL. */
int pc_win_rate_of_file(
    const struct pc_task_env *env, const char *path, struct pc_win_rate *out, struct paco_error *err);

/** The win rate of the answers in the file outputs_path (AlpacaFarm's or AlpacaEval's rows), by annotations
 * made of them: an answer that the annotations do not have, letter for letter, counts as not judged, and
 * PACO_EMISMATCH when that is so of all. */
int pc_win_rate_of_answers(const struct pc_task_env *env, const char *path, const char *outputs_path,
    struct pc_win_rate *out, struct paco_error *err);

#endif
