// SPDX-License-Identifier: Apache-2.0
/* Between train_report.c (the page and its curves) and the parts that have files of their own. */
#ifndef PC_TRAIN_TRAIN_REPORT_PARTS_H
#define PC_TRAIN_TRAIN_REPORT_PARTS_H

#include "base/buf.h"
#include "train/run_log.h"

struct pc_report_run {
    const char *name; /* for people; a view into label, or the folder as it was named */
    char *label;
    struct pc_run_log log;
};

/** The table on top: a column for each run. */
void pc_train_report_facts(struct pc_buf *page, const struct pc_report_run *runs, size_t n);

/** The answers given as training went, prompt by prompt: the first and the last beside each other. Nothing
 * where there are none. */
void pc_train_report_answers(struct pc_buf *page, const struct pc_report_run *runs, size_t n);

#endif
