// SPDX-License-Identifier: Apache-2.0
/* What `paco finetune` measures and shows as training goes: the loss on held-out examples, benchmarks,
 * answers to a few prompts, files and a page to look at. Here training and evaluation are joined: neither
 * knows the other. */
#ifndef PC_CLI_FINETUNE_WATCH_H
#define PC_CLI_FINETUNE_WATCH_H

#include "cli/answering.h"
#include "cli/finetune_bar.h"
#include "cli/finetune_model.h"
#include "eval/task.h"
#include "train/step_lines.h"
#include "train/watch.h"

enum { PC_FINETUNE_MAX_TASKS = 32 };

/** Everything but f is *owned*: pc_finetune_watch_close. Start from zero. */
struct pc_finetune_watch {
    struct pc_finetune *f; /* borrowed */
    struct pc_finetune_bar bar;
    struct pc_watch *watch;
    struct pc_prompts prompts;
    const struct pc_task *tasks[PC_FINETUNE_MAX_TASKS];
    size_t n_tasks;
    struct pc_answering a;      /* of the model that is trained, as far as it does not change */
    struct pc_step_lines lines; /* of --logging_steps */
};

/** Look at all that is asked for, before anything is computed: prompts, tasks, places. f's model and examples
 * are open. w stays where it is. */
int pc_finetune_watch_open(struct pc_finetune_watch *w, struct pc_finetune *f, struct paco_error *err);
void pc_finetune_watch_close(struct pc_finetune_watch *w);

/** For struct pc_training_options: ctx is the watch. */
int pc_finetune_watch_begin(void *ctx, uint64_t step, struct paco_error *err);
int pc_finetune_watch_step(void *ctx, const struct pc_train_report *report, struct paco_error *err);

/** The run has ended, finished or not: the page. What goes wrong with it is remarked. */
void pc_finetune_watch_end(struct pc_finetune_watch *w, bool finished);

/** paco finetune --report: the page about the runs in dirs, at v->out, else in the first. Returns an exit
 * code. */
int pc_finetune_report(
    const struct pc_command *self, const struct pc_finetune_values *v, const struct pc_strings *dirs);

#endif
