// SPDX-License-Identifier: Apache-2.0
/* Pairs of answers for a judge: the baseline's and a model's, to the same instruction; and what becomes of
 * its preferences. Pairs of equal answers are draws and are shown to nobody, as upstream has it: so the
 * baseline against itself is 50 with any judge. */
#ifndef PC_EVAL_ALPACA_PAIRS_H
#define PC_EVAL_ALPACA_PAIRS_H

#include "eval/alpaca_data.h"
#include "eval/win_rate.h"

/** `{0}` is valid and empty. */
struct pc_alpaca_pairs {
    struct pc_alpaca_list baseline, outputs;
    struct pc_alpaca_pair {
        const struct pc_alpaca_row *base, *model;
        size_t i; /* of the instruction, in the baseline's order */
    } * v;        /* those to be judged; owned */
    size_t n, n_equal;
    size_t *equal; /* n_equal of baseline.v; owned */
};

/** Join the baseline below env->data_dir with env->outputs, in the baseline's order; at most
 * env->flags->limit pairs. Answers to other instructions are left out, and noted. PACO_EMISMATCH when no
 * instruction is in both. */
int pc_alpaca_pairs_open(const struct pc_task_env *env, struct pc_alpaca_pairs *out, struct paco_error *err);
void pc_alpaca_pairs_release(struct pc_alpaca_pairs *p);

/** Write annotations.json in AlpacaEval's schema into dir, and into metrics the win rate, mean lengths and
 * why it is not to be compared with the card's. preferences[i] belongs to pair i; judge names the annotator.
 */
int pc_alpaca_pairs_finish(const struct pc_alpaca_pairs *p, const double *preferences, const char *judge,
    const char *dir, json_t *metrics, double *score, double *se, struct paco_error *err);

#endif
