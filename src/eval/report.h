// SPDX-License-Identifier: Apache-2.0
/* `paco eval --report DIR...`: results as one page that opens without anything else: the card's table with
 * the card's own numbers beside ours, a chart per task, how all was measured, whose work it stands on, and a
 * browser of every item. */
#ifndef PC_EVAL_REPORT_H
#define PC_EVAL_REPORT_H

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "eval/task.h"

#include <stddef.h>

enum { PC_MAX_RUNS = 16, PC_MAX_RUN_TASKS = 64 };

/** One task's results, as they lie in a folder. */
struct pc_run_task {
    const struct pc_task *task; /* NULL: a task this paco does not know */
    const char *name;           /* a view into results */
    char *dir;
    json_t *results;
};

/** What one --out holds. Everything is *owned*: pc_run_release. Start from zero. */
struct pc_run {
    const char *dir; /* borrowed */
    char *label;     /* for people: the model's name, and the folder's where other runs are of the same */
    struct pc_run_task tasks[PC_MAX_RUN_TASKS];
    size_t n;
};

/** Read the results.json of dir, which is an --out or one task's folder in it; tasks in the table's order,
 * then by name. PACO_ENOENT where there is none. */
int pc_run_open(const char *dir, struct pc_run *run, struct paco_error *err);
void pc_run_release(struct pc_run *run);
/** The task called name, or NULL. */
const struct pc_run_task *pc_run_find(const struct pc_run *run, const char *name);
/** The model's name, as the first task has it. */
const char *pc_run_model(const struct pc_run *run);

/** Give each of n runs its label. PACO_EMEM. */
int pc_runs_label(struct pc_run *runs, size_t n, struct paco_error *err);

/** Write the page about all dirs (at most PC_MAX_RUNS) to path, whole or not at all. */
int pc_eval_report(const char *const *dirs, size_t n, const char *path, const struct pc_progress *progress,
    struct paco_error *err);

#endif
