// SPDX-License-Identifier: Apache-2.0
#include "train/step_lines.h"

#include "base/json.h"
#include "train/log.h"

#include <stdio.h>

void pc_step_lines_init(struct pc_step_lines *l, const struct pc_trainer *t, uint64_t every)
{
    *l = (struct pc_step_lines){.every = every,
        .per_epoch = t->course.updates_per_epoch,
        .quirks = t->options.quirks,
        .schedule = &t->schedule};
}

int pc_step_lines_begin(struct pc_step_lines *l, const char *dir, uint64_t step, struct paco_error *err)
{
    if (l->every == 0 || step == 0)
        return 0;
    uint64_t first = step / l->every * l->every, epoch = step / l->per_epoch * l->per_epoch;
    if (l->quirks && epoch > first)
        first = epoch;
    return pc_train_log_losses(dir, first, step, &l->sum, &l->n, err);
}

/* Python's way of writing numbers. */
static void write_upstream(const struct pc_step_lines *l, const struct pc_train_report *r, char line[160])
{
    struct pc_buf text;
    pc_buf_init(&text, 160);
    pc_buf_printf(&text, "  Step: %llu, LR: ", (unsigned long long)r->step);
    pc_json_write_double(&text, pc_schedule_rate(l->schedule, r->step));
    pc_buf_puts(&text, ", Loss: ");
    pc_json_write_double(&text, l->sum / (double)l->every);
    snprintf(line, 160, "%s", text.data ? text.data : "");
    pc_buf_release(&text);
}

bool pc_step_lines_add(struct pc_step_lines *l, const struct pc_train_report *r, char line[160])
{
    if (l->quirks && (r->step - 1) % l->per_epoch == 0)
        l->sum = 0;
    l->sum += r->loss;
    l->n++;
    if (l->every == 0 || r->step % l->every)
        return false;
    if (l->quirks)
        write_upstream(l, r, line);
    else
        snprintf(line, 160, "  Step: %llu, LR: %g, Loss: %g", (unsigned long long)r->step, r->rate,
            l->sum / (double)l->n);
    l->sum = 0;
    l->n = 0;
    return true;
}
