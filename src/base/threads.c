// SPDX-License-Identifier: Apache-2.0
/* A round of work is one word, the ticket: the round's number and how many of its units are still to be had.
 *
 * Whoever exchanges the ticket for one with fewer units left owns those units: the claim is valid by itself,
 * so the round's other fields are read after it and stay as they are until the units are done. Nobody enters
 * or leaves a round, and a worker that the machine did not get round to running in time is not waited for: it
 * finds nothing left and looks for the next round. So on busy processors a pool is never slower than its
 * caller by more than the units somebody has in hand.
 *
 * A forward pass opens ten thousand short rounds a second, so those who wait watch the word before they sleep
 * on a condition variable. How long is learnt: each time watching was in vain the patience halves, each time
 * it paid it grows. Beside other processes it ends up at almost nothing, which is what the machine's
 * scheduler rewards: who sleeps while he waits is run at once when there is work (spinning barriers are what
 * makes peers crawl on shared machines).
 *
 * The round's plain fields are written before the ticket (release), read after a claim (acquire), and written
 * again only when no unit is pending. */
#include "base/threads.h"

#include "base/cpu.h"
#include "base/memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum { MAX_THREADS = 512, STACK_SIZE = 1 << 20, CACHE_LINE = 64, MAX_UNITS = 1 << 30, PAUSES = 16 };
enum { LEAST_PATIENCE = 2000, FIRST_PATIENCE = 50000, MOST_PATIENCE = 200000 }; /* nanoseconds */

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

    /* The round. divisor and n_workers only advise: a worker may read those of another round. */
    void (*fn)(void *, int64_t, int64_t, int);
    void *arg;
    uint32_t n_units;
    _Atomic uint32_t divisor; /* a claim is 1 / divisor of what is left, or one unit; 0: always one */
    _Atomic int n_workers;
    _Atomic bool stop;

    alignas(CACHE_LINE) _Atomic uint64_t ticket;    /* number << 32 | units left */
    alignas(CACHE_LINE) _Atomic uint32_t n_pending; /* units not done yet */
    _Atomic bool caller_sleeps;
    alignas(CACHE_LINE) _Atomic int n_sleeping; /* workers */
    int64_t patience;                           /* the caller's */
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Watch until ready(p, seen) or patience runs out; learn from it. */
static bool watch(
    struct pc_pool *p, bool (*ready)(struct pc_pool *, uint32_t), uint32_t seen, int64_t *patience)
{
    int64_t end = 0;
    for (;;) {
        for (int i = 0; i < PAUSES; i++) {
            if (ready(p, seen)) {
                *patience += end ? *patience / 8 : 0;
                *patience = *patience < MOST_PATIENCE ? *patience : MOST_PATIENCE;
                return true;
            }
            relax();
        }
        int64_t t = now();
        end = end ? end : t + *patience;
        if (t >= end) {
            *patience = *patience / 2 > LEAST_PATIENCE ? *patience / 2 : LEAST_PATIENCE;
            return false;
        }
    }
}

/* Own some of the units left: how many, 0 when there are none, and their last one's distance from the end. */
static uint32_t claim(struct pc_pool *p, uint32_t *left)
{
    uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_relaxed);
    for (;;) {
        *left = (uint32_t)ticket;
        if (*left == 0)
            return 0;
        uint32_t divisor = atomic_load_explicit(&p->divisor, memory_order_relaxed);
        uint32_t n = divisor && *left > divisor ? *left / divisor : 1;
        if (atomic_compare_exchange_weak_explicit(
                &p->ticket, &ticket, ticket - n, memory_order_acquire, memory_order_relaxed))
            return n;
    }
}

static void work(struct pc_pool *p, int i_worker)
{
    uint32_t n, left, n_done = 0;
    while ((n = claim(p, &left)) != 0) {
        int64_t first = (int64_t)p->n_units - left;
        p->fn(p->arg, first, first + n, i_worker);
        n_done += n;
    }
    if (n_done == 0 || atomic_fetch_sub(&p->n_pending, n_done) != n_done || !atomic_load(&p->caller_sleeps))
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static bool is_new(struct pc_pool *p, uint32_t seen)
{
    return atomic_load_explicit(&p->ticket, memory_order_acquire) >> 32 != seen;
}

/* Until there is a round other than the one seen last. */
static void wait_for_round(struct pc_pool *p, uint32_t seen, int64_t *patience)
{
    if (watch(p, is_new, seen, patience))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_sleeping, 1);
    while (atomic_load(&p->ticket) >> 32 == seen)
        pthread_cond_wait(&p->work, &p->lock);
    atomic_fetch_sub(&p->n_sleeping, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pc_pool *p = w->pool;
    int64_t patience = FIRST_PATIENCE;
    assert(pc_cpu_keeps_denormals());
    for (uint32_t seen = 0;;) {
        wait_for_round(p, seen, &patience);
        seen = (uint32_t)(atomic_load_explicit(&p->ticket, memory_order_acquire) >> 32);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed))
            return NULL;
        if (w->index < atomic_load_explicit(&p->n_workers, memory_order_relaxed))
            work(p, w->index);
    }
}

/* Open the next round; no unit of the last one is pending. */
static void announce(struct pc_pool *p, uint32_t n_units)
{
    uint64_t number = (atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 32) + 1;
    atomic_store_explicit(&p->n_pending, n_units, memory_order_relaxed);
    atomic_store(&p->ticket, number << 32 | n_units); /* before the look at n_sleeping */
    if (atomic_load(&p->n_sleeping) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static bool is_done(struct pc_pool *p, uint32_t unused)
{
    (void)unused;
    return atomic_load_explicit(&p->n_pending, memory_order_acquire) == 0;
}

static void wait_for_workers(struct pc_pool *p)
{
    if (watch(p, is_done, 0, &p->patience))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->n_pending) != 0)
        pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

void pc_pool_share(
    struct pc_pool *p, int64_t n_units, int n_workers, void (*fn)(void *, int64_t, int64_t, int), void *arg)
{
    assert(n_units <= MAX_UNITS);
    if (n_units <= 0)
        return;
    n_workers = n_workers > 0 && n_workers < p->n_threads ? n_workers : p->n_threads;
    if (p->n_started == 0 || n_units == 1 || n_workers == 1) {
        fn(arg, 0, n_units, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_units = (uint32_t)n_units;
    atomic_store_explicit(&p->divisor, 2 * (uint32_t)n_workers, memory_order_relaxed);
    atomic_store_explicit(&p->n_workers, n_workers, memory_order_relaxed);
    announce(p, (uint32_t)n_units);
    work(p, 0);
    wait_for_workers(p);
}

struct tasks {
    void (*fn)(void *, int64_t, int);
    void *arg;
    int64_t first;
};

static void run_tasks(void *arg, int64_t first, int64_t end, int i_worker)
{
    const struct tasks *t = arg;
    for (; first < end; first++)
        t->fn(t->arg, t->first + first, i_worker);
}

void pc_pool_run(struct pc_pool *p, int64_t n_tasks, void (*fn)(void *, int64_t, int), void *arg)
{
    struct tasks t = {fn, arg, 0};
    if (p->n_started == 0 || n_tasks <= 1) {
        run_tasks(&t, 0, n_tasks, 0);
        return;
    }
    p->fn = run_tasks;
    p->arg = &t;
    for (; t.first < n_tasks; t.first += p->n_units) {
        p->n_units = (uint32_t)(n_tasks - t.first < MAX_UNITS ? n_tasks - t.first : MAX_UNITS);
        atomic_store_explicit(&p->divisor, 0, memory_order_relaxed);
        atomic_store_explicit(&p->n_workers, p->n_threads, memory_order_relaxed);
        announce(p, p->n_units);
        work(p, 0);
        wait_for_workers(p);
    }
    p->arg = NULL;
}

static int start(struct pc_pool *p)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    int rc = 0;
    for (int i = 1; i < p->n_threads && rc == 0; i++) {
        struct worker *w = &p->workers[i];
        *w = (struct worker){.pool = p, .index = i};
        rc = pthread_create(&w->thread, &attr, worker_main, w);
        if (rc == 0)
            p->n_started++;
    }
    pthread_attr_destroy(&attr);
    return rc;
}

struct pc_pool *pc_pool_new(int n_threads, struct paco_error *err)
{
    if (n_threads <= 0)
        n_threads = pc_cpu_count();
    if (n_threads > MAX_THREADS)
        n_threads = MAX_THREADS;
    struct pc_pool *p = pc_alloc_pages(sizeof *p); /* for the alignment */
    struct worker *workers = pc_alloc_zero((size_t)n_threads, sizeof *workers);
    if (!p || !workers) {
        pc_free(p);
        pc_free(workers);
        pc_error_mem(err, sizeof *p, "a thread pool");
        return NULL;
    }
    *p = (struct pc_pool){.n_threads = n_threads, .workers = workers, .patience = FIRST_PATIENCE};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    int rc = start(p);
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
    announce(p, 0);
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
