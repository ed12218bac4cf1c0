// SPDX-License-Identifier: Apache-2.0
/* What the two judges of AlpacaFarm's answers share: their data, and how a text is put below a title.
 * Included by their files alone, as it says what a task's data are. */
#ifndef PC_EVAL_ALPACA_JUDGE_H
#define PC_EVAL_ALPACA_JUDGE_H

#include "eval/alpaca_pairs.h"

struct pc_task_data {
    struct pc_alpaca_pairs pairs;
    enum pc_format format;
    char judge[200]; /* the annotator's name */
};

/** *out is *owned*: pc_alpaca_judge_close. Errors: pc_alpaca_pairs_open's. */
int pc_alpaca_judge_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err);
void pc_alpaca_judge_close(struct pc_task_data *d); /* NULL is fine */

void pc_alpaca_judge_put(struct pc_buf *b, const char *title, struct pc_text text);

#endif
