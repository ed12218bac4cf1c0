// SPDX-License-Identifier: Apache-2.0
/* `paco finetune --report DIR...`, and OUT/report.html at the end of a run: one page that opens without
 * anything else. Curves of loss, learning rate, gradient norm, speed and memory, of scores measured on the
 * way; answers before and after; what was trained on what, how. Of several runs the curves lie over each
 * other. */
#ifndef PC_TRAIN_TRAIN_REPORT_H
#define PC_TRAIN_TRAIN_REPORT_H

#include "base/error.h"

#include <stddef.h>

enum { PC_MAX_TRAIN_RUNS = 12 };

/** Write the page about the runs in dirs (at most PC_MAX_TRAIN_RUNS; train/run_log.h says what is read) to
 * path, whole or not at all. */
int pc_train_report(const char *const *dirs, size_t n, const char *path, struct paco_error *err);

#endif
