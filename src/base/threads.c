// SPDX-License-Identifier: Apache-2.0
/* A round of work is one word: its number, whether it is open, and how many workers are inside.
 *
 * Workers watch the word briefly, since a forward pass starts hundreds of short rounds a second, then park on
 * a condition variable, since spinning beside other processes is what makes peers crawl on shared machines. A
 * worker enters a round while it is open. The caller works through the tasks too, closes the round when none
 * is left, and waits for those inside alone: a worker that the machine did not get round to running in time
 * is not waited for, it finds the door shut and looks for the next round. So on busy processors a pool is
 * never slower than its caller by more than a task.
 *
 * The round's fields are plain: they are written before the word (release), read after entering by it
 * (acquire), and written again only when the round is closed and empty. */
#include "base/threads.h"

#include "base/cpu.h"
#include "base/memory.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

enum { MAX_THREADS = 512, SPINS = 4000, STACK_SIZE = 1 << 20 };
static const uint64_t OPEN = 1u << 31, INSIDE = (1u << 31) - 1;

struct worker {
    struct pc_pool *pool;
    pthread_t thread;
    int index;
};

struct pc_pool {
    int n_threads, n_started;
    struct worker *workers;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    _Atomic uint64_t round; /* number << 32 | OPEN | workers inside */
    _Atomic int64_t next_task;
    _Atomic bool stop;
    int64_t n_tasks;
    void (*fn)(void *, int64_t, int);
    void *arg;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_tasks(struct pc_pool *p, int i_worker)
{
    for (int64_t i; (i = atomic_fetch_add_explicit(&p->next_task, 1, memory_order_relaxed)) < p->n_tasks;)
        p->fn(p->arg, i, i_worker);
}

/* The number of a round other than the one seen last. */
static uint64_t wait_for_round(struct pc_pool *p, uint64_t seen)
{
    uint64_t number;
    for (int i = 0; i < SPINS; i++) {
        number = atomic_load_explicit(&p->round, memory_order_acquire) >> 32;
        if (number != seen)
            return number;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    while ((number = atomic_load_explicit(&p->round, memory_order_acquire) >> 32) == seen)
        pthread_cond_wait(&p->work, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return number;
}

static bool enter(struct pc_pool *p, uint64_t number)
{
    uint64_t round = atomic_load_explicit(&p->round, memory_order_relaxed);
    while (round >> 32 == number && (round & OPEN))
        if (atomic_compare_exchange_weak_explicit(
                &p->round, &round, round + 1, memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

static void leave(struct pc_pool *p)
{
    uint64_t round = atomic_fetch_sub_explicit(&p->round, 1, memory_order_release) - 1;
    if (round & (OPEN | INSIDE))
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pc_pool *p = w->pool;
    assert(pc_cpu_keeps_denormals());
    for (uint64_t seen = 0;;) {
        seen = wait_for_round(p, seen);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed))
            return NULL;
        if (enter(p, seen)) {
            take_tasks(p, w->index);
            leave(p);
        }
    }
}

/* Open the next round; no worker is inside the last one. */
static void announce(struct pc_pool *p)
{
    uint64_t number = (atomic_load_explicit(&p->round, memory_order_relaxed) >> 32) + 1;
    pthread_mutex_lock(&p->lock);
    atomic_store_explicit(&p->round, number << 32 | OPEN, memory_order_release);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static bool anyone_inside(struct pc_pool *p)
{
    return (atomic_load_explicit(&p->round, memory_order_acquire) & INSIDE) != 0;
}

void pc_pool_run(struct pc_pool *p, int64_t n_tasks, void (*fn)(void *, int64_t, int), void *arg)
{
    if (p->n_started == 0 || n_tasks <= 1) {
        for (int64_t i = 0; i < n_tasks; i++)
            fn(arg, i, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->next_task, 0, memory_order_relaxed);
    announce(p);
    take_tasks(p, 0);
    atomic_fetch_and_explicit(&p->round, ~OPEN, memory_order_acquire);
    for (int i = 0; i < SPINS; i++) {
        if (!anyone_inside(p))
            return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    while (anyone_inside(p))
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

struct pc_pool *pc_pool_new(int n_threads, struct paco_error *err)
{
    if (n_threads <= 0)
        n_threads = pc_cpu_count();
    if (n_threads > MAX_THREADS)
        n_threads = MAX_THREADS;
    struct pc_pool *p = pc_alloc_zero(1, sizeof *p);
    struct worker *workers = pc_alloc_zero((size_t)n_threads, sizeof *workers);
    if (!p || !workers) {
        pc_free(p);
        pc_free(workers);
        pc_error_mem(err, sizeof *p, "a thread pool");
        return NULL;
    }
    p->workers = workers;
    p->n_threads = n_threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    int rc = 0;
    for (int i = 1; i < n_threads && rc == 0; i++) {
        struct worker *w = &workers[i];
        *w = (struct worker){.pool = p, .index = i};
        rc = pthread_create(&w->thread, &attr, worker_main, w);
        if (rc == 0)
            p->n_started++;
    }
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        pc_pool_free(p);
        pc_error_os(err, rc, "cannot start %d threads (give fewer with -t)", n_threads);
        return NULL;
    }
    return p;
}

void pc_pool_free(struct pc_pool *p)
{
    if (!p)
        return;
    atomic_store_explicit(&p->stop, true, memory_order_relaxed);
    announce(p);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    pc_free(p->workers);
    pc_free(p);
}

int pc_pool_size(const struct pc_pool *p)
{
    return p->n_threads;
}
