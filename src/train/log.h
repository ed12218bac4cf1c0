// SPDX-License-Identifier: Apache-2.0
/* train_log.jsonl: a line for every step, complete as soon as the step is, and cut back when a run goes on
 * from an earlier one. */
#ifndef PC_TRAIN_LOG_H
#define PC_TRAIN_LOG_H

#include "train/loop.h"

#define PC_TRAIN_LOG_NAME "train_log.jsonl"

struct pc_train_log;

/** Open dir's log, made when it is missing, and drop what follows the line of step (0: everything); missing
 *  counts the steps up to it that have no line. Locked until it is closed: PACO_EEXIST when another process
 *  trains into dir. *owned*: pc_train_log_close. */
int pc_train_log_open(
    const char *dir, uint64_t step, struct pc_train_log **out, uint64_t *missing, struct paco_error *err);

/** Append a step's line: "step", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_s",
 *  "peak_rss_bytes", "epoch", "seconds", "examples", "trained_tokens", "truncated_examples". */
int pc_train_log_add(struct pc_train_log *log, const struct pc_train_report *report, uint64_t peak_memory,
    struct paco_error *err);

/** The sum of the losses of steps (first, end] in dir's log, in order, and how many have a line; none where
 * there is no log. */
int pc_train_log_losses(
    const char *dir, uint64_t first, uint64_t end, double *sum, uint64_t *n, struct paco_error *err);

/** All lines so far are on the disk. */
int pc_train_log_sync(struct pc_train_log *log, struct paco_error *err);

/** NULL is fine. */
void pc_train_log_close(struct pc_train_log *log);

#endif
