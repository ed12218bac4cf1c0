// SPDX-License-Identifier: Apache-2.0
/* Between report.c (the page) and report_task.c (a task's part of it). */
#ifndef PC_EVAL_REPORT_PARTS_H
#define PC_EVAL_REPORT_PARTS_H

#include "eval/report.h"
#include "report/page.h"

/** Append a task's section: score, charts by group and by what metrics.json sums up, and the browser of its
 * items. id is unique in the page. */
int pc_report_task(struct pc_buf *page, const struct pc_run *run, const struct pc_run_task *t, const char *id,
    struct paco_error *err);

#endif
