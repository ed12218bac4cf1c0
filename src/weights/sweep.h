// SPDX-License-Identifier: Apache-2.0
/* Many independent tasks of known size, largest first over the workers, with bytes counted and the first
 * error kept: what scanning and comparing checkpoints share. */
#ifndef PC_WEIGHTS_SWEEP_H
#define PC_WEIGHTS_SWEEP_H

#include "base/error.h"
#include "base/progress.h"
#include "base/threads.h"

#include <stddef.h>
#include <stdint.h>

struct pc_sweep;

struct pc_sweep_options {
    /** Handle task i: 0 or a negative code with err set. Calls pc_sweep_step for what it has read. */
    int (*task)(void *ctx, size_t i, struct pc_sweep *sweep, struct paco_error *err);
    void *ctx;
    size_t n;
    const uint64_t *sizes; /* bytes of each task, for the order and the progress */
    struct pc_pool *pool;
    const struct pc_progress *progress; /* may be NULL */
    const char *phase;
};

/** Run all tasks. After a failure the others stop; of several failures the one of the lowest task is
 * returned. */
int pc_sweep_run(const struct pc_sweep_options *options, struct paco_error *err);

/** Count n_bytes as done and report item. Returns PACO_ECANCELLED, with err set, when the task should stop.
 * Thread-safe. */
int pc_sweep_step(struct pc_sweep *sweep, const char *item, uint64_t n_bytes, struct paco_error *err);

#endif
