// SPDX-License-Identifier: Apache-2.0
/* The rows of the table of tasks, each defined in its benchmark's file. A new one is declared here and put in
 * its place in tasks.c. */
#ifndef PC_EVAL_TASKS_H
#define PC_EVAL_TASKS_H

#include "eval/task.h"

extern const struct pc_task pc_task_mmlu_0shot, pc_task_mmlu_5shot;
extern const struct pc_task pc_task_gsm_direct, pc_task_gsm_cot;
extern const struct pc_task pc_task_bbh_direct, pc_task_bbh_cot;
extern const struct pc_task pc_task_tydiqa_goldp, pc_task_tydiqa_no_context;
extern const struct pc_task pc_task_codex_low, pc_task_codex_high;
extern const struct pc_task pc_task_alpaca_farm, pc_task_alpaca_judge, pc_task_alpaca_judge_text;
extern const struct pc_task pc_task_mgsm;
extern const struct pc_task pc_task_perplexity;
extern const struct pc_task pc_task_koala, pc_task_self_instruct, pc_task_vicuna;

/** The task called name, or NULL with err naming all those of its family ("mmlu", "humaneval"), or the
 * nearest. */
const struct pc_task *pc_task_find(const char *name, struct paco_error *err);

#endif
