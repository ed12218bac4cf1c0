// SPDX-License-Identifier: Apache-2.0
/* One pool of workers; work is a count of tasks handed out by an atomic counter.
 *
 * The caller works too, so a pool of one has no threads. Idle workers watch for new work for some
 * microseconds, then sleep. Which worker takes which task is not determined: results must depend on i_task
 * alone. */
#ifndef PC_BASE_THREADS_H
#define PC_BASE_THREADS_H

#include "base/error.h"

#include <stdint.h>

struct pc_pool;

/** n_threads workers, the caller among them; 0 means pc_cpu_count(). *owned*: pc_pool_free. NULL with err set
 * when threads or memory cannot be had. */
struct pc_pool *pc_pool_new(int n_threads, struct paco_error *err);
void pc_pool_free(struct pc_pool *pool);
int pc_pool_size(const struct pc_pool *pool);

/** Run fn(arg, i_task, i_worker) for every i_task in [0, n_tasks), i_worker in [0, pc_pool_size), and return
 * when all are done. One caller at a time; not from inside a task. Stack use of fn stays below 256 KiB. */
void pc_pool_run(
    struct pc_pool *pool, int64_t n_tasks, void (*fn)(void *arg, int64_t i_task, int i_worker), void *arg);

/** The same for many small units: fn(arg, first, end, i_worker) is called for ranges that cover [0, n_units)
 * once, long ones first and short ones last, so that workers end together at the price of few hand-outs. At
 * most n_workers take part (0: all): work of a microsecond or two is done sooner by one alone. */
void pc_pool_share(struct pc_pool *pool, int64_t n_units, int n_workers,
    void (*fn)(void *arg, int64_t first, int64_t end, int i_worker), void *arg);

#endif
