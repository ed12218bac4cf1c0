// SPDX-License-Identifier: Apache-2.0
/* Whose work a score stands on. */
#ifndef PC_EVAL_CITE_H
#define PC_EVAL_CITE_H

/** Give put the works behind a task ("mmlu_0shot"), one line of plain text each; for NULL those that every
 * evaluation here rests on. */
void pc_cite(const char *task, void (*put)(void *ctx, const char *line), void *ctx);

#endif
