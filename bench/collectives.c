// SPDX-License-Identifier: Apache-2.0
/* How fast ranks add and gather long arrays, and how much of it hides behind computing; see
 * docs/design/distributed.md.
 *
 *     mpirun -n 2 build/bench/bench_collectives [MILLIONS of elements, 64] [TURNS, 5]
 *
 * Rank 0 prints a line for each collective: the median of the turns, and what each rank sent per second. For
 * the last line the ranks compute in the foreground for about as long as an addition takes, so that 100 %
 * hidden means the longer of both. */
#include "base/collect.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_RANKS = 512, MOST_TURNS = 99 };

struct bench {
    struct pc_comm *comm;
    struct pc_collect *c;
    float *array;
    int64_t n, bounds[MOST_RANKS + 1];
    int n_turns;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check(int rc, const struct paco_error *err)
{
    if (rc == 0)
        return;
    fprintf(stderr, "bench_collectives: %s\n", err->message);
    exit(1);
}

static void meet(struct bench *b)
{
    struct paco_error err = {0};
    char here[MOST_RANKS] = {0};
    check(pc_collect_all(b->c, here, 1, &err), &err);
}

/* Some floating-point work that stays in registers, for about so many seconds. */
static float compute(double seconds)
{
    float x = 1;
    for (double end = now() + seconds; now() < end;)
        for (int i = 0; i < 20000; i++)
            x = x * 0.999f + 0.001f;
    return x;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int add(struct bench *b, int64_t *ticket, struct paco_error *err)
{
    return pc_collect_add(b->c, b->array, b->bounds, ticket, err);
}

static int gather(struct bench *b, int64_t *ticket, struct paco_error *err)
{
    return pc_collect_gather(b->c, b->array, b->bounds, sizeof(float), ticket, err);
}

/* The median of the turns; at the same time computing for so many seconds. */
static double time_of(
    struct bench *b, int (*begin)(struct bench *, int64_t *, struct paco_error *), double seconds)
{
    double took[MOST_TURNS];
    for (int i = 0; i < b->n_turns; i++) {
        struct paco_error err = {0};
        int64_t ticket;
        meet(b);
        double t = now();
        check(begin(b, &ticket, &err), &err);
        if (seconds > 0)
            b->array[0] += compute(seconds) * 0;
        check(pc_collect_wait(b->c, ticket, &err), &err);
        meet(b);
        took[i] = now() - t;
    }
    qsort(took, (size_t)b->n_turns, sizeof *took, by_value);
    return took[b->n_turns / 2];
}

static void print(const struct bench *b, const char *what, double seconds)
{
    int size = pc_collect_size(b->c);
    double sent = 4.0 * (double)b->n * (size - 1) / size;
    if (pc_collect_rank(b->c) == 0)
        printf("%-28s %8.1f ms  %6.2f GB/s sent by each rank\n", what, seconds * 1e3, sent / seconds * 1e-9);
}

int main(int argc, char **argv)
{
    struct bench b = {
        .n = (argc > 1 ? atoll(argv[1]) : 64) * 1000000, .n_turns = argc > 2 ? atoi(argv[2]) : 5};
    struct paco_error err = {0};
    check(pc_comm_open(&b.comm, &err), &err);
    check(pc_collect_open(&b.c, b.comm, &err), &err);
    int size = pc_collect_size(b.c);
    if (size < 2 || size > MOST_RANKS || b.n <= 0 || b.n_turns < 1 || b.n_turns > MOST_TURNS) {
        fputs("usage: mpirun -n RANKS bench_collectives [MILLIONS] [TURNS]\n", stderr);
        return 2;
    }
    b.array = pc_alloc_zero((size_t)b.n, sizeof *b.array);
    if (!b.array)
        return 1;
    for (int64_t i = 0; i < b.n; i += 1024)
        b.array[i] = 1; // touched, so that the first turn is like the others
    for (int r = 0; r <= size; r++)
        b.bounds[r] = b.n / size * r;
    double sum = time_of(&b, add, 0), all = time_of(&b, gather, 0), both = time_of(&b, add, sum);
    if (pc_collect_rank(b.c) == 0)
        printf("%d ranks, %lld elements of F32\n", size, (long long)b.n);
    print(&b, "add (reduce-scatter)", sum);
    print(&b, "gather (all-gather)", all);
    if (pc_collect_rank(b.c) == 0)
        printf("%-28s %8.1f ms  %.0f %% of the addition hidden\n", "add while computing", both * 1e3,
            100 * (2 * sum - both) / sum);
    pc_free(b.array);
    pc_collect_close(b.c);
    check(pc_comm_close(b.comm, &err), &err);
    return 0;
}
