// SPDX-License-Identifier: Apache-2.0
#include "eval/alpaca_judge.h"

#include "base/memory.h"
#include "eval/wrap.h"

#include <stdio.h>

void pc_alpaca_judge_close(struct pc_task_data *d)
{
    if (!d)
        return;
    pc_alpaca_pairs_release(&d->pairs);
    pc_free(d);
}

int pc_alpaca_judge_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    (void)task;
    if (!d)
        return pc_error_mem(err, sizeof *d, "pairs of answers");
    int rc = pc_alpaca_pairs_open(env, &d->pairs, err);
    if (rc < 0) {
        pc_alpaca_judge_close(d);
        return rc;
    }
    d->format = pc_wrap_format(env);
    snprintf(d->judge, sizeof d->judge, "%s", env->model_name ? env->model_name : "model");
    *out = d;
    return 0;
}

void pc_alpaca_judge_put(struct pc_buf *b, const char *title, struct pc_text text)
{
    pc_buf_puts(b, title);
    pc_buf_add(b, text.v, text.len);
}
