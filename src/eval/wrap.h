// SPDX-License-Identifier: Apache-2.0
/* The chat format around a benchmark's prompt. Upstream knows one, the card's; a model tuned on another is
 * asked in its own, with the same words in the user's part and the same beginning of the assistant's. */
#ifndef PC_EVAL_WRAP_H
#define PC_EVAL_WRAP_H

#include "eval/task.h"

/** The card's format where --use_chat_format asks for it, PC_FORMAT_RAW with --no_chat_format; where neither
 * is said what the model was tuned on, and RAW where nobody knows. */
enum pc_format pc_wrap_format(const struct pc_task_env *env);

/** prompt holds what the user says: put format around it (RAW: nothing but answer behind it), ending with how
 * the assistant begins. The card's format is upstream's byte for byte. */
int pc_wrap(enum pc_format format, struct pc_buf *prompt, const char *answer, struct paco_error *err);

/** The ids that end an answer of one line: the last one that a newline encodes to. Empty without a tokenizer.
 */
int pc_newline_stop(const struct pc_tokenizer *tok, struct pc_ids *out, struct paco_error *err);

#endif
