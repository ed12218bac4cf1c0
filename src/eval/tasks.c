// SPDX-License-Identifier: Apache-2.0
#include "eval/tasks.h"

#include <string.h>
#include <strings.h>

enum { MAX_FAMILY = 8 };

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
    &pc_task_perplexity,
    &pc_task_koala,
    &pc_task_self_instruct,
    &pc_task_vicuna,
    NULL,
};

/* "mmlu" is the beginning of two names, "humaneval" what two tasks' summaries speak of, "AlpacaFarm" a
 * benchmark of the card. */
static bool is_family(const struct pc_task *t, const char *name)
{
    return strncasecmp(t->name, name, strlen(name)) == 0 || strcasestr(t->summary, name) ||
           (t->benchmark && strcasecmp(t->benchmark, name) == 0);
}

/* The tasks that name may mean, "a, b or c" into out; how many. */
static size_t name_family(const char *name, struct pc_buf *out)
{
    const struct pc_task *v[MAX_FAMILY];
    size_t n = 0;
    for (const struct pc_task *const *t = pc_tasks; *t && n < MAX_FAMILY && strlen(name) >= 3; t++)
        if (is_family(*t, name))
            v[n++] = *t;
    for (size_t i = 0; i < n; i++)
        pc_buf_printf(out, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " or ", v[i]->name);
    return n;
}

static const struct pc_task *nearest_to(const char *name)
{
    const struct pc_task *nearest = NULL;
    int best = 1 + (int)strlen(name) / 3;
    for (const struct pc_task *const *t = pc_tasks; *t; t++) {
        int d = pc_edit_distance((*t)->name, name);
        if (d < best) {
            best = d;
            nearest = *t;
        }
    }
    return nearest;
}

const struct pc_task *pc_task_find(const char *name, struct paco_error *err)
{
    for (const struct pc_task *const *t = pc_tasks; *t; t++)
        if (strcmp((*t)->name, name) == 0)
            return *t;
    struct pc_buf family;
    pc_buf_init(&family, 1024);
    const struct pc_task *nearest = NULL;
    if (name_family(name, &family) > 0)
        pc_error_set(err, PACO_EINVAL, "there is no task '%s' (did you mean %s?)", name,
            family.data ? family.data : "");
    else if ((nearest = nearest_to(name)))
        pc_error_set(err, PACO_EINVAL, "there is no task '%s' (did you mean %s?)", name, nearest->name);
    else
        pc_error_set(err, PACO_EINVAL, "there is no task '%s' (--list shows them)", name);
    pc_buf_release(&family);
    return NULL;
}
