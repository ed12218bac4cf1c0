// SPDX-License-Identifier: Apache-2.0
#include "weights/sweep.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct sized {
    uint64_t size;
    size_t i;
};

struct pc_sweep {
    const struct pc_sweep_options *options;
    struct sized *order;
    uint64_t done, total;
    pthread_mutex_t lock;
    size_t i_failed; /* lowest task that failed so far */
    struct paco_error error;
    atomic_int code; /* not 0: stop */
};

int pc_sweep_step(struct pc_sweep *s, const char *item, uint64_t n_bytes, struct paco_error *err)
{
    pthread_mutex_lock(&s->lock);
    s->done += n_bytes;
    const struct pc_progress_event event = {
        .phase = s->options->phase, .item = item, .done = s->done, .total = s->total, .unit = "B"};
    int stop = pc_progress(s->options->progress, &event);
    pthread_mutex_unlock(&s->lock);
    if (stop || atomic_load(&s->code))
        return pc_error_set(err, PACO_ECANCELLED, "stopped");
    return 0;
}

static void sweep_task(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    struct pc_sweep *s = arg;
    if (atomic_load(&s->code))
        return;
    size_t i = s->order[i_task].i;
    struct paco_error err = {0};
    int rc = s->options->task(s->options->ctx, i, s, &err);
    if (rc == 0)
        return;
    pthread_mutex_lock(&s->lock);
    // Others stop because of the first failure: their "stopped" must not hide it.
    bool first = !s->error.code || (s->error.code == PACO_ECANCELLED && rc != PACO_ECANCELLED);
    if (first || (rc != PACO_ECANCELLED && i < s->i_failed)) {
        s->error = err;
        s->error.code = rc;
        s->i_failed = i;
    }
    atomic_store(&s->code, rc);
    pthread_mutex_unlock(&s->lock);
}

static int largest_first(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return (x->i > y->i) - (x->i < y->i);
}

int pc_sweep_run(const struct pc_sweep_options *options, struct paco_error *err)
{
    struct pc_sweep s = {.options = options, .order = pc_alloc(options->n, sizeof *s.order)};
    if (!s.order)
        return pc_error_mem(err, options->n * sizeof *s.order, "the order of tasks");
    for (size_t i = 0; i < options->n; i++) {
        s.order[i] = (struct sized){options->sizes[i], i};
        s.total += options->sizes[i];
    }
    qsort(s.order, options->n, sizeof *s.order, largest_first);
    pthread_mutex_init(&s.lock, NULL);
    pc_pool_run(options->pool, (int64_t)options->n, sweep_task, &s);
    pthread_mutex_destroy(&s.lock);
    pc_free(s.order);
    if (s.error.code && err)
        *err = s.error;
    return s.error.code;
}
