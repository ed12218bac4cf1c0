// SPDX-License-Identifier: Apache-2.0
/* What a user says of the questions, struct pc_task_flags, as values, names and JSON. */
#ifndef PC_EVAL_FLAGS_H
#define PC_EVAL_FLAGS_H

#include "eval/task.h"

enum { PC_EVAL_SEED = 42 };

/** Nothing said. */
struct pc_task_flags pc_task_flags_default(void);

/** Add the --fix called name; PACO_EINVAL with all names, or the nearest. */
int pc_task_flags_fix(struct pc_task_flags *flags, const char *name, struct paco_error *err);
/** "mmlu-none|gsm-quesion|...", static, for help. */
extern const char pc_fix_names[];

/** Those that were said, by upstream's names, and the seed always: an object. NULL when memory is out. */
json_t *pc_task_flags_json(const struct pc_task_flags *flags);

/** The same without what this task has no use for. */
json_t *pc_task_flags_for(const struct pc_task_flags *flags, const struct pc_task *task);

/** The i-th flag that was said and that this task has no use for, or NULL. */
const char *pc_task_flags_misfit(const struct pc_task_flags *flags, const struct pc_task *task, size_t i);

/** Whether the flag called name, or the --fix, has to do with what this task asks or how it is judged. */
bool pc_task_flag_concerns(const char *name, const struct pc_task *task);

#endif
