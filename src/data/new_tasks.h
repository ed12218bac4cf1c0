// SPDX-License-Identifier: Apache-2.0
/* The texts of self-instruct as Stanford Alpaca's generate_instruction.py has them: the prompt that asks for
 * more tasks like a few given ones, and the tasks in what comes back. */
#ifndef PC_DATA_NEW_TASKS_H
#define PC_DATA_NEW_TASKS_H

#include "base/buf.h"

#include <stdbool.h>

struct pc_task_text {
    const char *s;
    size_t len;
};

struct pc_new_task {
    struct pc_task_text instruction, input, output; /* views */
};

/** Append the prompt: preamble (the text of prompt.txt), a newline, n tasks with their numbers, and the
 * number of the next. */
void pc_new_tasks_prompt(
    struct pc_buf *out, struct pc_task_text preamble, const struct pc_new_task *tasks, size_t n);

/** Call each(ctx, task) for every task of a reply to a prompt with n tasks that is complete and passes
 * upstream's filters; it ends early, with that, when each returns other than 0. was_cut: the reply ended for
 * its length, and its last task is left out. chat: the reply may begin with the number and "Instruction:"
 * that the prompt ended with. *found, if not NULL: tasks that were passed on. */
int pc_new_tasks_parse(struct pc_task_text reply, size_t n, bool was_cut, bool chat,
    int (*each)(void *ctx, const struct pc_new_task *task), void *ctx, size_t *found, struct paco_error *err);

/** Whether an instruction passes the filters: more than 3 and at most 150 words, none of those that speak of
 * what is no text, no "Write a program" at its start, and first a character that is ASCII and no punctuation.
 */
bool pc_new_task_passes(struct pc_task_text instruction);

#endif
