// SPDX-License-Identifier: Apache-2.0
#include "eval/tasks.h"

#include <string.h>

const struct pc_task *const pc_tasks[] = {
    &pc_task_mmlu_0shot,
    &pc_task_mmlu_5shot,
    &pc_task_gsm_direct,
    &pc_task_gsm_cot,
    &pc_task_bbh_direct,
    &pc_task_bbh_cot,
    &pc_task_tydiqa_goldp,
    &pc_task_tydiqa_no_context,
    &pc_task_codex_low,
    &pc_task_codex_high,
    &pc_task_alpaca_farm,
    &pc_task_alpaca_judge,
    &pc_task_alpaca_judge_text,
    &pc_task_mgsm,
    &pc_task_koala,
    &pc_task_self_instruct,
    &pc_task_vicuna,
    NULL,
};

const struct pc_task *pc_task_find(const char *name, struct paco_error *err)
{
    const struct pc_task *nearest = NULL;
    int best = 1 + (int)strlen(name) / 3;
    size_t len = strlen(name);
    for (const struct pc_task *const *t = pc_tasks; *t; t++) {
        if (strcmp((*t)->name, name) == 0)
            return *t;
        // "mmlu" is the beginning of two names, and far from both.
        int d = strncmp((*t)->name, name, len) == 0 ? 0 : pc_edit_distance((*t)->name, name);
        if (d < best) {
            best = d;
            nearest = *t;
        }
    }
    if (nearest)
        pc_error_set(err, PACO_EINVAL, "there is no task '%s' (did you mean %s?)", name, nearest->name);
    else
        pc_error_set(err, PACO_EINVAL, "there is no task '%s' (--list shows them)", name);
    return NULL;
}
