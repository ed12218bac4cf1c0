// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_bar.h"

#include "base/host.h"

#include <stdio.h>
#include <string.h>

static const char TRAINING[] = "training"; /* the phase of steps in train/loop.c */

static int update(void *ctx, const struct pc_progress_event *event)
{
    const struct pc_finetune_bar *bar = ctx;
    struct pc_progress_event with = *event;
    if (event->phase && strcmp(event->phase, TRAINING) == 0 && bar->status[0])
        with.status = bar->status;
    return pc_progress(bar->bar, &with);
}

static void note(void *ctx, const char *text)
{
    const struct pc_finetune_bar *bar = ctx;
    bar->bar->note(bar->bar->ctx, text);
}

void pc_finetune_bar_init(struct pc_finetune_bar *bar, const struct pc_command *self)
{
    *bar = (struct pc_finetune_bar){
        .progress = {update, note, bar}, .bar = pc_progress_bar(self), .limit = pc_host_memory_limit()};
}

void pc_finetune_bar_step(struct pc_finetune_bar *bar, const struct pc_train_report *report, uint64_t n_steps)
{
    const struct pc_progress_event event = {
        .phase = TRAINING, .done = report->step, .total = n_steps, .unit = "steps"};
    double tokens_per_s = (double)report->n_tokens / (report->seconds > 0 ? report->seconds : 1);
    char held[32];
    uint64_t resident = pc_host_memory_resident();
    int n = snprintf(bar->status, sizeof bar->status, "loss %.3f  %.0f tokens/s  lr %.2e  %s", report->loss,
        tokens_per_s, report->rate, pc_human_bytes(resident, held));
    if (bar->limit != UINT64_MAX && n > 0 && (size_t)n < sizeof bar->status)
        snprintf(bar->status + n, sizeof bar->status - (size_t)n, " (%.0f %% of memory)",
            100 * (double)resident / (double)bar->limit);
    update(bar, &event); // a wish to stop is heard before the next step
}

void pc_finetune_bar_note(struct pc_finetune_bar *bar, const char *fmt, ...)
{
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    note(bar, text);
}
