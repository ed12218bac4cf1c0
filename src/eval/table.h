// SPDX-License-Identifier: Apache-2.0
/* Results as text, for terminals. */
#ifndef PC_EVAL_TABLE_H
#define PC_EVAL_TABLE_H

#include "eval/card.h"

/** Append the card's table, the card's row and ours, 100 columns wide; or, where there are fewer, a line per
 * setting. What is missing and what is not to be compared is said below. */
void pc_table_card(struct pc_buf *out, const struct pc_card *card, int width);

/** Append a line per result. */
void pc_table_results(struct pc_buf *out, const struct pc_eval_result *const *results, size_t n);

#endif
