// SPDX-License-Identifier: Apache-2.0
/* What GSM and MGSM share: a question about numbers, answered on one line, of whose numbers the last counts.
 */
#ifndef PC_EVAL_MATH_ANSWER_H
#define PC_EVAL_MATH_ANSWER_H

#include "eval/task.h"
#include "eval/text_match.h"

enum { PC_MATH_MAX_TOKENS = 512 };

/** The rest of a question, besides its prompt: greedy, one answer, up to the newline. */
void pc_math_ask(struct pc_ask *ask, const struct pc_ids *newline);

/** Extract, compare and put question, answer, extraction and correct into the record. drop_commas: numbers
 * like 1,000 in the output lose their commas first. fixes: PC_FIX_GSM_SIGN. */
int pc_math_judge(struct pc_text question, struct pc_text answer, const struct pc_answers *answers,
    bool drop_commas, unsigned fixes, json_t *record, struct paco_error *err);

/** Append the record's line of upstream's prediction file; a failed record has none. */
int pc_math_line(struct pc_buf *lines, const json_t *record, struct paco_error *err);

#endif
