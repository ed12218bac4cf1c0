// SPDX-License-Identifier: Apache-2.0
/* `paco eval --compare A B`: two runs on the same items, task by task. */
#ifndef PC_EVAL_COMPARE_H
#define PC_EVAL_COMPARE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

/** Compare the results in the folders a and b (eval/report.h, pc_run_open): *out is *owned*,
 *
 *     {"a": {"dir", "model"}, "b": ..., "tasks": [{"task", "unit", "n_items", "only_in_a", "only_in_b",
 *       "prompts_differ", "mean_a", "mean_b", "difference", "ci95": [low, high], "better_in_a",
 * "better_in_b", "mcnemar_p", "flipped": [{"key", "a", "b"}]}], "only_in_a": [tasks], "only_in_b": [tasks]}
 *
 * Items go together by key; those that failed on a side count as not there. Means are over the items both
 * have, 0 to 100, and so are the difference (b - a) and its interval; mcnemar_p is null where an item can be
 * partly right. Of perplexity the
 * items are windows, the unit is nats a token and not percent, and the smaller number is the better. Errors:
 * those of reading; PACO_EMISMATCH when no task is in both. */
int pc_eval_compare(const char *a, const char *b, json_t **out, struct paco_error *err);

/** The same as text; of what flipped at most n_flipped items a task and direction. */
void pc_compare_text(const json_t *comparison, size_t n_flipped, struct pc_buf *out);

#endif
