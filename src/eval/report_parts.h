// SPDX-License-Identifier: Apache-2.0
/* Between report.c (the page) and report_task.c (a task's part of it). */
#ifndef PC_EVAL_REPORT_PARTS_H
#define PC_EVAL_REPORT_PARTS_H

#include "eval/card.h"
#include "eval/report.h"
#include "report/page.h"

/** Append a task's section: score, charts by group and by what metrics.json sums up, and the browser of its
 * items. id is unique in the page. */
int pc_report_task(struct pc_buf *page, const struct pc_run *run, const struct pc_run_task *t, const char *id,
    struct paco_error *err);

/** Put a task's result where it belongs on a card, if anywhere. */
void pc_report_add(struct pc_card *card, const struct pc_run_task *t);

/** A task's score and items, without what it differs in. */
struct pc_card_cell pc_report_cell(const struct pc_run_task *t);

/** Where all items that did not fail came out alike: Wilson's 95 % interval of the score, 0 to 100. */
bool pc_report_interval(const struct pc_card_cell *c, double *low, double *high);

#endif
